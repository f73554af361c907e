/* SPDX-License-Identifier: MIT */
/*
 * The architectural state of one x86-64 CPU, shared by all engines: what SDM Vol. 3A chapter 2 and
 * Vol. 1 chapters 3, 8, 10, 13 call registers, plus the few bits of pipeline memory a guest can see
 * (interrupt shadow, NMI blocking, halt). Segment bases of FS and GS are the MSRs.
 */
#ifndef X86_STATE_H
#define X86_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum x86_gpr { X86_RAX, X86_RCX, X86_RDX, X86_RBX, X86_RSP, X86_RBP, X86_RSI, X86_RDI };
enum x86_sreg { X86_ES, X86_CS, X86_SS, X86_DS, X86_FS, X86_GS, X86_NSEG };

enum {
	X86_CF = 1 << 0,
	X86_FLAG1 = 1 << 1, /* always one */
	X86_PF = 1 << 2,
	X86_AF = 1 << 4,
	X86_ZF = 1 << 6,
	X86_SF = 1 << 7,
	X86_TF = 1 << 8,
	X86_IF = 1 << 9,
	X86_DF = 1 << 10,
	X86_OF = 1 << 11,
	X86_IOPL = 3 << 12,
	X86_NT = 1 << 14,
	X86_RF = 1 << 16,
	X86_VM = 1 << 17,
	X86_AC = 1 << 18,
	X86_VIF = 1 << 19,
	X86_VIP = 1 << 20,
	X86_ID = 1 << 21,
	X86_ARITH = X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF,
};

#define X86_CR0_PE 0x00000001u
#define X86_CR0_MP 0x00000002u
#define X86_CR0_EM 0x00000004u
#define X86_CR0_TS 0x00000008u
#define X86_CR0_ET 0x00000010u
#define X86_CR0_NE 0x00000020u
#define X86_CR0_WP 0x00010000u
#define X86_CR0_AM 0x00040000u
#define X86_CR0_NW 0x20000000u
#define X86_CR0_CD 0x40000000u
#define X86_CR0_PG 0x80000000u

#define X86_CR4_VME        (1u << 0)
#define X86_CR4_PVI        (1u << 1)
#define X86_CR4_TSD        (1u << 2)
#define X86_CR4_DE         (1u << 3)
#define X86_CR4_PSE        (1u << 4)
#define X86_CR4_PAE        (1u << 5)
#define X86_CR4_MCE        (1u << 6)
#define X86_CR4_PGE        (1u << 7)
#define X86_CR4_PCE        (1u << 8)
#define X86_CR4_OSFXSR     (1u << 9)
#define X86_CR4_OSXMMEXCPT (1u << 10)
#define X86_CR4_UMIP       (1u << 11)
#define X86_CR4_LA57       (1u << 12)
#define X86_CR4_FSGSBASE   (1u << 16)
#define X86_CR4_PCIDE      (1u << 17)
#define X86_CR4_OSXSAVE    (1u << 18)
#define X86_CR4_SMEP       (1u << 20)
#define X86_CR4_SMAP       (1u << 21)
#define X86_CR4_PKE        (1u << 22)

#define X86_EFER_SCE     0x001u
#define X86_EFER_LME     0x100u
#define X86_EFER_LMA     0x400u
#define X86_EFER_NXE     0x800u
#define X86_EFER_FFXSR   0x4000u
#define X86_EFER_AUTOIBRS 0x200000u

enum x86_exc {
	X86_DE = 0, X86_DB = 1, X86_NMI = 2, X86_BP = 3, X86_OFV = 4, X86_BR = 5, X86_UD = 6, X86_NM = 7,
	X86_DF_EXC = 8, X86_TS = 10, X86_NP = 11, X86_SS_EXC = 12, X86_GP = 13, X86_PF_EXC = 14,
	X86_MF = 16, X86_AC_EXC = 17, X86_MC = 18, X86_XM = 19,
};

/* Page fault error code, SDM Vol. 3A 4.7 */
enum { X86_PF_P = 1, X86_PF_W = 2, X86_PF_U = 4, X86_PF_RSVD = 8, X86_PF_I = 16 };

/*
 * A segment register with its hidden part. attr is laid out as bytes 5 and 6 of a descriptor (VMX
 * access rights without "unusable"): type 0-3, S 4, DPL 5-6, P 7, AVL 12, L 13, D/B 14, G 15.
 * limit is in bytes, scaled already. A null selector in a data register has attr 0.
 */
struct x86_seg {
	uint64_t base;
	uint32_t limit;
	uint16_t sel;
	uint16_t attr;
};
enum {
	X86_SEG_TYPE = 0xf, X86_SEG_ACCESSED = 1, X86_SEG_WR = 2 /* data: writable, code: readable */,
	X86_SEG_DC = 4 /* data: expand down, code: conforming */, X86_SEG_CODE = 8, X86_SEG_S = 0x10,
	X86_SEG_DPL = 0x60, X86_SEG_P = 0x80, X86_SEG_AVL = 0x1000, X86_SEG_L = 0x2000,
	X86_SEG_DB = 0x4000, X86_SEG_G = 0x8000,
};

struct x86_table {
	uint64_t base;
	uint16_t limit;
};

/* FXSAVE's first 160 bytes say the same; ymm holds the low halves (xmm) and the high halves. */
struct x86_fpu {
	uint8_t ymm[16][32];
	uint8_t st[8][16]; /* physical order as FXSAVE: st[i] is ST(i); 10 bytes used */
	uint64_t fip, fdp; /* FOP, FIP, FDP of the last x87 instruction, best effort */
	uint16_t fcw, fsw;
	uint8_t ftw; /* abridged: bit set = register (physical number) in use */
	uint16_t fop;
	uint32_t mxcsr;
} __attribute__((aligned(32)));

/* What the CPU is doing besides running; MP_* as in KVM_GET_MP_STATE terms. */
enum x86_mp { X86_MP_RUN, X86_MP_HALT, X86_MP_WAIT_SIPI, X86_MP_SHUTDOWN };

enum { X86_NMTRR_VAR = 8, X86_NMTRR_FIX = 11 };

struct x86_state {
	uint64_t gpr[18]; /* 16 registers; the last two are engines' scratch, 0 outside of run() */
	uint64_t rip, rflags;
	struct x86_seg seg[X86_NSEG], ldt, tr;
	struct x86_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, xcr0;
	uint64_t dr[4], dr6, dr7;
	struct x86_fpu fpu;

	/* model specific registers */
	uint64_t efer, star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, misc_enable, apic_base, tsc_aux, spec_ctrl;
	uint64_t tsc_offset; /* guest TSC = host TSC + offset */
	uint64_t tsc_adjust;
	uint64_t mtrr_def, mtrr_base[X86_NMTRR_VAR], mtrr_mask[X86_NMTRR_VAR], mtrr_fix[X86_NMTRR_FIX];
	uint64_t kvm_wall_clock, kvm_system_time; /* MSR 0x4b564d00, 0x4b564d01 */

	uint8_t mp;           /* enum x86_mp */
	uint8_t sipi_vector;
	bool sti_shadow, movss_shadow; /* interrupts blocked for the next instruction */
	bool nmi_pending, nmi_blocked;
};

/* SDM Vol. 3A table 9-1. cpu 0 starts running at the reset vector, others wait for a SIPI. */
void x86_reset(struct x86_state *s, unsigned cpu);
/* INIT (SDM 9.1): as reset, but FPU, MTRRs, TSC, CR0.CD/NW and MSRs of its list stay. */
void x86_init(struct x86_state *s, unsigned cpu);
void x86_sipi(struct x86_state *s, uint8_t vector); /* in X86_MP_WAIT_SIPI only; else nothing */

static inline unsigned x86_cpl(const struct x86_state *s)
{
	/* SS.DPL is the CPL (SDM Vol. 3A 5.5 note; true in real mode and VM86, too, by our loads) */
	return (s->seg[X86_SS].attr >> 5) & 3;
}

static inline bool x86_long_mode(const struct x86_state *s)
{
	return s->efer & X86_EFER_LMA;
}

static inline bool x86_code64(const struct x86_state *s)
{
	return x86_long_mode(s) && s->seg[X86_CS].attr & X86_SEG_L;
}

static inline bool x86_canonical(uint64_t va)
{
	return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

#endif
