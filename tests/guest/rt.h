/* SPDX-License-Identifier: MIT */
/*
 * The runtime of husk's guest tests: freestanding, no interrupts unless a test wants them, no devices
 * but a text port and the exit port. A test defines test_main(), which
 * runs on CPU 0 in 64-bit mode at CPL 0 (64-bit images) or in flat 32-bit protected mode (32-bit ones).
 *
 *	section("name");             following checks belong to this sub-case
 *	check(cond, fmt, ...);       counts; prints the text when it fails
 *	t = catch(fn, a, b, c);      calls fn and returns the exception it raised (t->vec, NOTRAP if none)
 *	t = user(fn, a, b);          the same at CPL 3; fn ends with int $0x80 (USER_RET)
 *	skip("why");                 the sub-case cannot run on this CPU
 *	quirks("why");               all checks of this section may fail on TCG
 *	quirk("why");                the next failing check is TCG's fault: counts as known there only
 *
 * Code snippets that must have exact addresses are written with SNIPPET() (CPL 0) or USER_SNIPPET().
 */
#ifndef GUEST_RT_H
#define GUEST_RT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rt-asm.h"

typedef unsigned long ulong; /* a register */

enum { NOTRAP = -1, USER_RET = 0x80, NPAGE = 4096 };
enum { DE, DB, NMI, BP, OF, BR, UD, NM, DF, CSO, TS, NP, SS, GP, PF, MF = 16, AC, MC, XM };
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_R = 8, PF_I = 16, PF_K = 32 };

/* Registers at an exception, lowest address first: what the stubs pushed. */
struct frame {
#ifdef __x86_64__
	ulong r15, r14, r13, r12, r11, r10, r9, r8;
#endif
	ulong di, si, bp, sp_, bx, dx, cx, ax;
	ulong vec, err, ip, cs, flags, sp, ss; /* 32-bit: sp and ss only from an outer ring */
};

struct trap {
	long vec; /* NOTRAP: returned normally */
	ulong err, ip, cs, flags, sp, ss, cr2;
	struct frame regs;
	ulong handler_sp; /* where the frame was pushed */
	ulong handler_flags;
};

#define SNIPPET(name, text) SNIPPET_IN(".text", name, text)
#define USER_SNIPPET(name, text) SNIPPET_IN(".section .user.text, \"ax\"", name, text)
#define SNIPPET_IN(where, name, text) \
	__asm__(where "\n.globl " #name "\n" #name ":\n" text "\n.globl " #name "_end\n" #name \
		"_end:\n.text\n"); \
	extern const char name[], name##_end[]
#define LABEL(name) extern const char name[] /* a .globl label in a snippet */
#define USER_DATA __attribute__((section(".user.data")))

void test_main(void);

/* ---- reporting */
void section(const char *name);
void check_(bool ok, const char *cond, int line, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
#define check(cond, ...) check_(cond, #cond, __LINE__, __VA_ARGS__)
void skip(const char *why);
void quirk(const char *why);
void quirks(const char *why);
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void finish(void) __attribute__((noreturn));
void leave(uint32_t code) __attribute__((noreturn)); /* debug exit port, no words */

/* ---- exceptions */
struct trap *catch_(const void *fn, ulong a, ulong b, ulong c);
#define catch(fn, ...) CATCH_((const void *)(fn), ##__VA_ARGS__, 0, 0, 0, 0)
#define CATCH_(fn, a, b, c, ...) catch_(fn, (ulong)(a), (ulong)(b), (ulong)(c))
/* The usual check: vector, error code (0 if it has none) and, unless NULL, the address. */
void want_(struct trap *t, long vec, ulong err, const void *ip, const char *what, int line);
#define want(t, vec, err, ip, what) want_(t, vec, err, ip, what, __LINE__)
typedef bool (*hook_fn)(struct frame *f);
extern hook_fn rt_hook[256]; /* true: handled, return to the interrupted code */
void rt_gate(unsigned vec, const void *fn, unsigned dpl, unsigned ist, unsigned type, unsigned sel);
void rt_gate_reset(unsigned vec); /* back to the runtime's stub, type 14, DPL 0 (3: vectors 3, 4, 0x80) */
void rt_gate_present(unsigned vec, bool present);
void rt_gate_ist(unsigned vec, unsigned ist);
extern const char rt_stubs[], rt_iret[], rt_enter_iret[];

/* ---- CPL 3 and other contexts */
struct enter {
	ulong cs, ss, sp, flags;
};
struct trap *enter(const void *ip, ulong a, ulong b, const struct enter *e);
struct trap *user_(const void *fn, ulong a, ulong b);
#define user(fn, ...) USER_((const void *)(fn), ##__VA_ARGS__, 0, 0, 0)
#define USER_(fn, a, b, ...) user_(fn, (ulong)(a), (ulong)(b))
struct trap *user32(const void *fn, ulong a, ulong b); /* compatibility mode */
extern char rt_user_stack[16384];
#define rt_user_stack_top (rt_user_stack + sizeof(rt_user_stack))
extern char user_begin[], user_end[];

/* ---- tables */
extern uint64_t rt_gdt[];
void rt_gdt_set(unsigned sel, uint64_t desc);
uint64_t rt_desc(uint32_t base, uint32_t limit, unsigned type_s_dpl_p, unsigned flags); /* flags: AVL L D G */
ulong *rt_tss_sp0(void);
uint8_t *rt_tss(void); /* this CPU's, with I/O bitmap room behind it */
enum { RT_TSS_SIZE = 104, RT_TSS_ROOM = 104 + 8192 + 1 };
extern ulong rt_ist_top[4]; /* tops of IST stacks 1..3 of CPU 0 */

/* ---- pages */
void *page_alloc(void); /* zeroed, below 4 GiB, identity mapped */
void *page_alloc_n(unsigned n, ulong align);
#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_PWT 8ull
#define PTE_PCD 16ull
#define PTE_A 32ull
#define PTE_D 64ull
#define PTE_PS 128ull
#define PTE_G 256ull
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull
#ifdef __x86_64__
extern uint64_t rt_pml4[512], rt_pdpt[512], rt_pd[2048], rt_pt[1024];
/* The entry of va at level (1: PTE .. 4: PML4E), tables made as needed with P W U. */
uint64_t *pte_at(uint64_t *pml4, ulong va, int level);
#endif

/* ---- other CPUs */
unsigned rt_ncpus(void);
unsigned rt_cpu(void);                 /* number of this CPU: 0, or the order of arrival */
unsigned rt_smp_start(void);           /* starts all; returns how many run, itself included */
void rt_on(unsigned cpu, void (*fn)(ulong arg), ulong arg); /* asynchronously, on cpu */
void rt_wait(unsigned cpu);            /* until it is idle again */
extern volatile uint32_t rt_apic_id[RT_NCPU];

/* ---- local APIC in whichever mode it is */
uint32_t apic_read(unsigned reg); /* xAPIC offset: 0x20, 0x30, ... */
void apic_write(unsigned reg, uint32_t v);
void apic_icr(uint32_t dest, uint32_t low);
bool apic_x2(void); /* switches this CPU to x2APIC; false if it has none */
void apic_enable(void); /* spurious vector register: on, vector 0xff */
void pic_mask_all(void);
void ioapic_write(unsigned reg, uint32_t v);
uint32_t ioapic_read(unsigned reg);

/* ---- small things */
const char *rt_args(void);
bool rt_arg(const char *word, ulong *v); /* "word=number" on the command line */
extern bool rt_tcg;
void *memset(void *d, int c, size_t n);
void *memcpy(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);
int strcmp(const char *a, const char *b);
void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4]);
/* Bit of a CPUID register: CPUID_(leaf, subleaf, register 0-3, bit) */
bool cpu_has(uint64_t f);
#define CPUID_(leaf, sub, reg, bit) ((uint64_t)(leaf) << 32 | (sub) << 16 | (reg) << 8 | (bit))
#define F_TSC      CPUID_(1, 0, 3, 4)
#define F_SEP      CPUID_(1, 0, 3, 11)
#define F_CX16     CPUID_(1, 0, 2, 13)
#define F_PCID     CPUID_(1, 0, 2, 17)
#define F_X2APIC   CPUID_(1, 0, 2, 21)
#define F_DEADLINE CPUID_(1, 0, 2, 24)
#define F_XSAVE    CPUID_(1, 0, 2, 26)
#define F_AVX      CPUID_(1, 0, 2, 28)
#define F_FSGSBASE CPUID_(7, 0, 1, 0)
#define F_SMEP     CPUID_(7, 0, 1, 7)
#define F_ERMS     CPUID_(7, 0, 1, 9)
#define F_INVPCID  CPUID_(7, 0, 1, 10)
#define F_SMAP     CPUID_(7, 0, 1, 20)
#define F_UMIP     CPUID_(7, 0, 2, 2)
#define F_PKU      CPUID_(7, 0, 2, 3)
#define F_LA57     CPUID_(7, 0, 2, 16)
#define F_XSAVEOPT CPUID_(0xd, 1, 0, 0)
#define F_XSAVEC   CPUID_(0xd, 1, 0, 1)
#define F_SYSCALL  CPUID_(0x80000001u, 0, 3, 11)
#define F_1G       CPUID_(0x80000001u, 0, 3, 26)
#define F_RDTSCP   CPUID_(0x80000001u, 0, 3, 27)
unsigned rt_maxphyaddr(void);

#define barrier() __asm__ volatile("" ::: "memory")
static inline void pause_(void) { __asm__ volatile("pause" ::: "memory"); }
static inline void outb(uint16_t p, uint8_t v) { __asm__ volatile("outb %0, %1" :: "a"(v), "Nd"(p)); }
static inline void outw(uint16_t p, uint16_t v) { __asm__ volatile("outw %0, %1" :: "a"(v), "Nd"(p)); }
static inline void outl(uint16_t p, uint32_t v) { __asm__ volatile("outl %0, %1" :: "a"(v), "Nd"(p)); }
static inline uint8_t inb(uint16_t p)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(p));
	return v;
}
static inline uint16_t inw(uint16_t p)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(p));
	return v;
}
static inline uint32_t inl(uint16_t p)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(p));
	return v;
}
static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr" :: "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
}
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}
#define CR_ACCESS(n) \
	static inline ulong rdcr##n(void) \
	{ \
		ulong v; \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v) :: "memory"); \
		return v; \
	} \
	static inline void wrcr##n(ulong v) { __asm__ volatile("mov %0, %%cr" #n :: "r"(v) : "memory"); }
CR_ACCESS(0)
CR_ACCESS(2)
CR_ACCESS(3)
CR_ACCESS(4)
#define DR_ACCESS(n) \
	static inline ulong rddr##n(void) \
	{ \
		ulong v; \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(v)); \
		return v; \
	} \
	static inline void wrdr##n(ulong v) { __asm__ volatile("mov %0, %%dr" #n :: "r"(v) : "memory"); }
DR_ACCESS(0)
DR_ACCESS(1)
DR_ACCESS(2)
DR_ACCESS(3)
DR_ACCESS(6)
DR_ACCESS(7)
#ifdef __x86_64__
CR_ACCESS(8)
#endif
static inline void invlpg(const void *p) { __asm__ volatile("invlpg (%0)" :: "r"(p) : "memory"); }
static inline void sti(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void cli(void) { __asm__ volatile("cli" ::: "memory"); }
static inline void sti_nop_cli(void) { __asm__ volatile("sti; nop; nop; cli" ::: "memory"); }
static inline ulong rdflags(void)
{
	ulong v;

	__asm__ volatile("pushf; pop %0" : "=r"(v));
	return v;
}
/* Waits until cond or about seven seconds; value: cond held. */
#define until(cond) ({ \
	uint64_t t0_ = rdtsc(); \
	bool ok_; \
	while (!(ok_ = (cond)) && rdtsc() - t0_ < 20000000000ull) \
		pause_(); \
	ok_ || (cond); })

#endif
