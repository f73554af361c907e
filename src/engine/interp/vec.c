/* SPDX-License-Identifier: MIT */
/*
 * Vector, MMX and x87 instructions, run by the host CPU on the guest's saved registers.
 *
 * An instruction is normalised: its vector and general registers become fixed ones and its memory
 * operand becomes [rsi], so that no REX.RXB is needed and all instructions that differ only in
 * registers and addressing share one thunk:
 *
 *     ModRM.reg -> 1    ModRM.rm -> 2 or [rsi]    VEX.vvvv -> 3    imm8[7:4] -> 4
 *
 * Implicit XMM0, RAX, RCX and RDX stay what they are. The thunk is a function of one argument, the
 * frame (struct vec_frame), that loads those registers through the frame's pointers, runs the
 * instruction and leaves the result in the frame; C code copies it to where it belongs. The guest's
 * state is thus unchanged until the instruction is known to have completed.
 *
 *   legacy SSE  moves 16 bytes of each register: the upper halves stay as they are by not being touched
 *   VEX         moves 32 bytes: the CPU clears what VEX.128 clears
 *   MMX         MM registers are loaded with MOVQ; tags, TOP and exponents are set here
 *   x87         the whole x87 state goes through FRSTOR and FNSAVE, ST(i) are not renamed
 *
 * Why the host cannot fault in a thunk (there is no signal handler to catch it):
 *   #UD  only opcodes in the tables below run, and only if the host's CPUID and XCR0 have them
 *   #GP  the caller's copy of the memory operand is aligned; MXCSR is masked to its defined bits
 *   #PF  memory is the frame, that copy, the registers in x86_state, and the thunk
 *   #AC  the flags loaded are arithmetic ones, AC is never set
 *   #XM  instructions marked X86_A_FP run with all exceptions masked; what the guest unmasked is
 *        found in the flags afterwards (see run_fp())
 *   #MF  a pending x87 exception is delivered to the guest before a waiting instruction runs, so
 *        what runs with FSW.ES set does not wait; nor does FNSAVE, which comes next and clears all
 *
 * Code memory is a memfd mapped twice, writable and executable, at unrelated addresses. It is
 * bounded; what does not fit any more is built in one reserved slot for each use, under a lock.
 */
#include <assert.h>
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/interp/vec-int.h"
#include "x86/fpu.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif

enum { REG_XMM0, REG_REG, REG_RM, REG_VEX, REG_IS4, REG_COUNT }; /* host register numbers */
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_COUNT };                   /* REG_REG is RCX, REG_RM is RDX */

struct vec_frame {
	uint8_t out[32]; /* the vector or MM register written */
	void *mem;       /* the memory operand */
	uint8_t *src[REG_COUNT];
	uint64_t gpr[GPR_COUNT];
	uint64_t rflags;
	uint32_t mxcsr, mxcsr_out, mxcsr_host;
};

/* FNSAVE in 64-bit mode, 32-bit operands: SDM Vol. 1, figure 8-9 and 8.1.11 */
struct x87_image {
	uint32_t fcw, fsw, ftw, pointers[4];
	uint8_t st[8][10];
};
static_assert(sizeof(struct x87_image) == 108, "FNSAVE image");

struct x87_frame {
	struct x87_image image;
	uint16_t fcw_host;
	void *mem;
	uint64_t rflags;
};

enum {
	ARENA_SIZE = 4 << 20,
	CODE_MAX = 256,   /* of one thunk */
	CODE_ALIGN = 32,
	KEY_MAX = 15,     /* a normalised instruction */
	HASH_SIZE = 1 << 15, /* a power of two; half of it is used at most */
};

/* Each thunk in the arena: what it runs, then code. The private slot has the same form. */
struct thunk {
	uint8_t keylen, key[KEY_MAX];
	uint8_t code[];
};

struct vec {
	pthread_mutex_t lock;
	uint8_t *rw, *rx;
	size_t size, used; /* [0, CODE_MAX) is the private slot */
	uint32_t features; /* of the host */
	bool pi2ps_enters_mmx; /* CVTPI2PS from memory makes the transition to MMX state */
	unsigned nthunks;
	uint32_t hash[HASH_SIZE]; /* offset of the thunk, 0 is free */
};

/*
 * Which opcodes may run, and what the host must have for it. The decoder has the last word on
 * prefixes and operands; this table has it on what is ever handed to the CPU.
 */
enum {
	F_BASE = 0, /* x86-64: SSE2, MMX, x87 */
	F_SSE3 = 1 << 0, F_SSSE3 = 1 << 1, F_SSE41 = 1 << 2, F_SSE42 = 1 << 3, F_AES = 1 << 4,
	F_CLMUL = 1 << 5, F_SHA = 1 << 6, F_AVX = 1 << 7, F_AVX2 = 1 << 8, F_FMA = 1 << 9,
	F_F16C = 1 << 10, F_VAES = 1 << 11, F_VCLMUL = 1 << 12, F_GFNI = 1 << 13,
	F_NEVER = 1 << 30,
};

enum { PN = 1, P66 = 2, PF3 = 4, PF2 = 8, PANY = 15 }; /* mandatory prefix, 1 << insn.vexpp */

struct opcode_row {
	uint8_t map, first, last, prefixes;
	uint32_t feature;
};

static const struct opcode_row legacy_rows[] = { /* the first match counts */
	{1, 0x12, 0x12, PF3 | PF2, F_SSE3},
	{1, 0x16, 0x16, PF3, F_SSE3},
	{1, 0x10, 0x17, PANY, F_BASE},
	{1, 0x28, 0x2f, PANY, F_BASE},
	{1, 0x50, 0x77, PANY, F_BASE},
	{1, 0x7c, 0x7d, P66 | PF2, F_SSE3},
	{1, 0x7e, 0x7f, PANY, F_BASE},
	{1, 0xc2, 0xc2, PANY, F_BASE},
	{1, 0xc4, 0xc6, PANY, F_BASE},
	{1, 0xd0, 0xd0, P66 | PF2, F_SSE3},
	{1, 0xf0, 0xf0, PF2, F_SSE3},
	{1, 0xd1, 0xfe, PANY, F_BASE},
	{2, 0x00, 0x0b, PN | P66, F_SSSE3},
	{2, 0x1c, 0x1e, PN | P66, F_SSSE3},
	{2, 0x10, 0x10, P66, F_SSE41},
	{2, 0x14, 0x15, P66, F_SSE41},
	{2, 0x17, 0x17, P66, F_SSE41},
	{2, 0x20, 0x25, P66, F_SSE41},
	{2, 0x28, 0x2b, P66, F_SSE41},
	{2, 0x30, 0x35, P66, F_SSE41},
	{2, 0x37, 0x37, P66, F_SSE42},
	{2, 0x38, 0x41, P66, F_SSE41},
	{2, 0xc8, 0xcd, PN, F_SHA},
	{2, 0xcf, 0xcf, P66, F_GFNI},
	{2, 0xdb, 0xdf, P66, F_AES},
	{3, 0x08, 0x0e, P66, F_SSE41},
	{3, 0x0f, 0x0f, PN | P66, F_SSSE3},
	{3, 0x14, 0x17, P66, F_SSE41},
	{3, 0x20, 0x22, P66, F_SSE41},
	{3, 0x40, 0x42, P66, F_SSE41},
	{3, 0x44, 0x44, P66, F_CLMUL},
	{3, 0x60, 0x63, P66, F_SSE42},
	{3, 0xcc, 0xcc, PN, F_SHA},
	{3, 0xce, 0xcf, P66, F_GFNI},
	{3, 0xdf, 0xdf, P66, F_AES},
};

static const struct opcode_row vex_rows[] = { /* AVX2 is in insn.attr */
	{1, 0x10, 0x17, PANY, F_AVX},
	{1, 0x28, 0x2f, PANY, F_AVX},
	{1, 0x50, 0x76, PANY, F_AVX},
	{1, 0x7c, 0x7f, PANY, F_AVX},
	{1, 0xc2, 0xc2, PANY, F_AVX},
	{1, 0xc4, 0xc6, PANY, F_AVX},
	{1, 0xd0, 0xfe, PANY, F_AVX},
	{2, 0x13, 0x13, P66, F_AVX | F_F16C},
	{2, 0x00, 0x0f, P66, F_AVX},
	{2, 0x16, 0x1e, P66, F_AVX},
	{2, 0x20, 0x2b, P66, F_AVX},
	{2, 0x30, 0x41, P66, F_AVX},
	{2, 0x45, 0x47, P66, F_AVX2},
	{2, 0x58, 0x5a, P66, F_AVX2},
	{2, 0x78, 0x79, P66, F_AVX2},
	{2, 0x96, 0x9f, P66, F_AVX | F_FMA},
	{2, 0xa6, 0xaf, P66, F_AVX | F_FMA},
	{2, 0xb6, 0xbf, P66, F_AVX | F_FMA},
	{2, 0xcf, 0xcf, P66, F_AVX | F_GFNI},
	{2, 0xdb, 0xdf, P66, F_AVX | F_AES},
	{3, 0x00, 0x0f, P66, F_AVX},
	{3, 0x14, 0x19, P66, F_AVX},
	{3, 0x1d, 0x1d, P66, F_AVX | F_F16C},
	{3, 0x20, 0x22, P66, F_AVX},
	{3, 0x38, 0x39, P66, F_AVX2},
	{3, 0x40, 0x42, P66, F_AVX},
	{3, 0x44, 0x44, P66, F_AVX | F_CLMUL},
	{3, 0x46, 0x46, P66, F_AVX2},
	{3, 0x4a, 0x4c, P66, F_AVX},
	{3, 0x60, 0x63, P66, F_AVX},
	{3, 0xce, 0xcf, P66, F_AVX | F_GFNI},
	{3, 0xdf, 0xdf, P66, F_AVX | F_AES},
};

static bool is_vex(const struct x86_insn *i)
{
	return i->attr & X86_A_VEX;
}

static uint32_t vec_features_needed(const struct x86_insn *i)
{
	const struct opcode_row *row = is_vex(i) ? vex_rows : legacy_rows;
	size_t n = is_vex(i) ? ARRAY_LEN(vex_rows) : ARRAY_LEN(legacy_rows);
	uint32_t f;

	for (; n && !(row->map == i->map && row->first <= i->opcode && i->opcode <= row->last &&
		     row->prefixes & 1 << i->vexpp); n--)
		row++;
	if (!n)
		return F_NEVER;
	f = row->feature;
	if (is_vex(i) && i->attr & X86_A_AVX2)
		f |= F_AVX2;
	if (is_vex(i) && i->vl) {
		if (f & F_AES)
			f |= F_VAES;
		if (f & F_CLMUL)
			f |= F_VCLMUL;
	}
	return f;
}

/* Bit n: /n of the memory forms of D8+i exists. */
static const uint8_t x87_mem[8] = {0xff, 0xfd, 0xff, 0xaf, 0xff, 0xdf, 0xff, 0xff};
/* Bit n: the register form with ModRM C0+n exists; aliases that all CPUs have are in. */
#define BITS(first, last) ((~0ull >> (63 - ((last) - (first)))) << (first))
static const uint64_t x87_reg[8] = {
	[0] = ~0ull,
	[1] = BITS(0x00, 0x10) | BITS(0x18, 0x21) | BITS(0x24, 0x25) | BITS(0x28, 0x2e) | BITS(0x30, 0x3f),
	[2] = BITS(0x00, 0x1f) | BITS(0x29, 0x29),
	[3] = BITS(0x00, 0x24) | BITS(0x28, 0x37),
	[4] = ~0ull,
	[5] = BITS(0x00, 0x2f),
	[6] = BITS(0x00, 0x17) | BITS(0x19, 0x19) | BITS(0x20, 0x3f),
	[7] = BITS(0x00, 0x20) | BITS(0x28, 0x37),
};

static uint32_t x87_features_needed(const struct x86_insn *i)
{
	unsigned op = i->opcode & 7, sub = i->modrm >> 3 & 7;

	if (i->map || (i->opcode & 0xf8) != 0xd8)
		return F_NEVER;
	if (!i->is_mem)
		return x87_reg[op] >> (i->modrm & 0x3f) & 1 ? F_BASE : F_NEVER;
	if (!(x87_mem[op] >> sub & 1))
		return F_NEVER;
	return (op == 3 || op == 5 || op == 7) && sub == 1 ? F_SSE3 /* FISTTP */ : F_BASE;
}

static uint32_t host_features(void)
{
	unsigned a, b, c, d, xcr0 = 0;
	uint32_t f = 0;

	if (!__get_cpuid(1, &a, &b, &c, &d))
		return 0;
	f |= (c & bit_SSE3 ? F_SSE3 : 0) | (c & bit_SSSE3 ? F_SSSE3 : 0) | (c & bit_SSE4_1 ? F_SSE41 : 0) |
		(c & bit_SSE4_2 ? F_SSE42 : 0) | (c & bit_AES ? F_AES : 0) | (c & bit_PCLMUL ? F_CLMUL : 0);
	if (c & bit_OSXSAVE)
		__asm__("xgetbv" : "=a"(xcr0), "=d"(d) : "c"(0));
	if (c & bit_AVX && (xcr0 & 6) == 6) {
		f |= F_AVX | (c & bit_FMA ? F_FMA : 0) | (c & bit_F16C ? F_F16C : 0);
		if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
			f |= (b & bit_AVX2 ? F_AVX2 : 0) | (c & 1 << 9 ? F_VAES : 0) |
				(c & 1 << 10 ? F_VCLMUL : 0);
	}
	if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
		f |= (b & 1 << 29 ? F_SHA : 0) | (c & 1 << 8 ? F_GFNI : 0);
	return f;
}

/*
 * CVTPI2PS with a memory operand touches no MM register; Intel's manual has it enter MMX state
 * nevertheless, AMD's CPUs do not. Guests get what the host does.
 */
static bool host_pi2ps_enters_mmx(void)
{
	static const uint64_t operand = 0;
	struct { uint16_t fcw, r0, fsw, r1, ftw, r2; uint32_t rest[4]; } env;

	__asm__ volatile("fninit; cvtpi2ps %1, %%xmm0; fnstenv %0; fninit" : "=m"(env) : "m"(operand) : "xmm0");
	return env.ftw != 0xffff;
}

/*
 * The code builder. Everything that may be emitted is a few fixed forms; the operand is the frame
 * (rdi + 32-bit displacement).
 */
struct emit {
	uint8_t b[CODE_MAX - sizeof(struct thunk)];
	unsigned n;
};

static void emit_bytes(struct emit *e, const void *p, unsigned n)
{
	memcpy(e->b + e->n, p, n); /* the longest thunk is far below the limit, see build_vec() */
	e->n += n;
}

#define EMIT(e, ...) emit_bytes(e, (const uint8_t[]){__VA_ARGS__}, sizeof (uint8_t[]){__VA_ARGS__})

/* ModRM and displacement of the frame's field at off */
static void emit_frame(struct emit *e, unsigned reg, size_t off)
{
	uint32_t disp = (uint32_t)off;

	EMIT(e, (uint8_t)(0x80 | reg << 3 | 7));
	emit_bytes(e, &disp, 4);
}

static void emit_load64(struct emit *e, unsigned reg, size_t off)
{
	EMIT(e, 0x48, 0x8b);
	emit_frame(e, reg, off);
}

static void emit_store64(struct emit *e, unsigned reg, size_t off)
{
	EMIT(e, 0x48, 0x89);
	emit_frame(e, reg, off);
}

static void emit_stmxcsr(struct emit *e, size_t off)
{
	EMIT(e, 0x0f, 0xae);
	emit_frame(e, 3, off);
}

static void emit_ldmxcsr(struct emit *e, size_t off)
{
	EMIT(e, 0x0f, 0xae);
	emit_frame(e, 2, off);
}

static void emit_flags_in(struct emit *e, size_t off)
{
	EMIT(e, 0xff); /* push qword [rdi+off] */
	emit_frame(e, 6, off);
	EMIT(e, 0x9d); /* popfq */
}

static void emit_flags_out(struct emit *e, size_t off)
{
	EMIT(e, 0x9c, 0x8f); /* pushfq; pop qword [rdi+off] */
	emit_frame(e, 0, off);
}

static bool pcmpstr(const struct x86_insn *i)
{
	return i->attr & X86_A_PCMPSTR;
}

static bool pcmpstr_mask(const struct x86_insn *i)
{
	return pcmpstr(i) && !(i->opcode & 1); /* 60, 62: xMPxSTRM; 61, 63: the index form */
}

/* What kind of register the host register number n of the normalised instruction is. */
static enum x86_kind slot_kind(const struct x86_insn *i, unsigned n)
{
	switch (n) {
	case REG_XMM0:
		return i->attr & X86_A_XMM0 ? X86_K_XMM : X86_K_NONE;
	case REG_REG:
		return i->kreg;
	case REG_RM:
		return i->is_mem || !i->has_modrm ? X86_K_NONE : i->krm;
	case REG_VEX:
		return i->kvex;
	default:
		return i->attr & X86_A_IS4 ? X86_K_XMM : X86_K_NONE;
	}
}

/* The one vector or MM register that is written, -1 if none. */
static int slot_written(const struct x86_insn *i)
{
	enum x86_kind k;

	if (pcmpstr_mask(i))
		return REG_XMM0;
	k = slot_kind(i, REG_REG);
	if (i->areg & X86_ACC_W && (k == X86_K_XMM || k == X86_K_MM))
		return REG_REG;
	k = slot_kind(i, REG_RM);
	if (i->arm & X86_ACC_W && (k == X86_K_XMM || k == X86_K_MM))
		return REG_RM;
	if (i->avex & X86_ACC_W && i->kvex == X86_K_XMM)
		return REG_VEX;
	return -1;
}

static bool uses_gprs(const struct x86_insn *i)
{
	return i->kreg == X86_K_GPR || (i->krm == X86_K_GPR && !i->is_mem) || pcmpstr(i);
}

/* Is it one whose memory operand is as wide as the general register that could stand there? */
static bool gpr_or_mem(const struct x86_insn *i)
{
	if (i->map == 1)
		return i->opcode == 0x2a || i->opcode == 0x6e || (i->opcode == 0x7e && i->vexpp < 2);
	return i->map == 3 && (i->opcode == 0x16 || i->opcode == 0x22);
}

/* The instruction with renamed registers, see the top of the file. Returns its length. */
static unsigned normalise_vec(const struct x86_insn *i, uint8_t key[KEY_MAX])
{
	static const uint8_t prefix[4] = {0, 0x66, 0xf3, 0xf2};
	/* an opcode extension stays; everything else is register 1 */
	unsigned reg = i->kreg == X86_K_NONE ? i->reg & 7 : REG_REG;
	unsigned w = i->vexw, n = 0;

	/* outside 64-bit mode W does not widen a general register: the decoder's sizes decide */
	if (i->kreg == X86_K_GPR)
		w = i->regsize == 8;
	else if (i->krm == X86_K_GPR)
		w = i->rmsize == 8;
	else if (i->is_mem && gpr_or_mem(i))
		w = i->memsize == 8;
	if (is_vex(i)) {
		unsigned vvvv = i->kvex == X86_K_NONE ? 0 : REG_VEX;

		key[n++] = 0xc4;
		key[n++] = 0xe0 | i->map;
		key[n++] = (uint8_t)(w << 7 | (~vvvv & 15) << 3 | (i->vl ? 4u : 0u) | i->vexpp);
	} else {
		if (i->vexpp)
			key[n++] = prefix[i->vexpp];
		if (w)
			key[n++] = 0x48;
		key[n++] = 0x0f;
		if (i->map > 1)
			key[n++] = i->map == 2 ? 0x38 : 0x3a;
	}
	key[n++] = i->opcode;
	if (i->has_modrm)
		key[n++] = (uint8_t)(i->is_mem ? reg << 3 | 6 : 0xc0 | reg << 3 |
			(i->krm == X86_K_NONE ? i->modrm & 7u : REG_RM));
	if (i->size_imm)
		key[n++] = i->attr & X86_A_IS4 ? (uint8_t)(REG_IS4 << 4 | (i->imm & 15)) : (uint8_t)i->imm;
	return n;
}

/*
 * At most 5 register loads of 11 bytes, 7 moves of general registers of 7, 4 MXCSR accesses of 7,
 * 16 for flags and result, the instruction, and 6 to leave: 170 bytes.
 */
static void build_vec(struct emit *e, const struct x86_insn *i, const uint8_t *key, unsigned len)
{
	int out = slot_written(i);

	for (unsigned n = 0; n < REG_COUNT; n++) {
		enum x86_kind k = slot_kind(i, n);

		if (k != X86_K_XMM && k != X86_K_MM)
			continue;
		emit_load64(e, GPR_RAX, offsetof(struct vec_frame, src) + n * sizeof(void *));
		if (k == X86_K_MM)
			EMIT(e, 0x0f, 0x6f, (uint8_t)(n << 3)); /* movq mm, [rax] */
		else if (is_vex(i))
			EMIT(e, 0xc5, 0xfe, 0x6f, (uint8_t)(n << 3)); /* vmovdqu ymm, [rax] */
		else
			EMIT(e, 0xf3, 0x0f, 0x6f, (uint8_t)(n << 3)); /* movdqu xmm, [rax] */
	}
	for (unsigned n = 0; uses_gprs(i) && n < GPR_COUNT; n++)
		emit_load64(e, n, offsetof(struct vec_frame, gpr) + n * 8);
	if (i->is_mem)
		emit_load64(e, X86_RSI, offsetof(struct vec_frame, mem));
	if (i->attr & X86_A_FP) {
		emit_stmxcsr(e, offsetof(struct vec_frame, mxcsr_host));
		emit_ldmxcsr(e, offsetof(struct vec_frame, mxcsr));
	}
	emit_bytes(e, key, len);
	if (i->attr & X86_A_FP) {
		emit_stmxcsr(e, offsetof(struct vec_frame, mxcsr_out));
		emit_ldmxcsr(e, offsetof(struct vec_frame, mxcsr_host));
	}
	if (i->attr & X86_A_FLAGS)
		emit_flags_out(e, offsetof(struct vec_frame, rflags));
	for (unsigned n = 0; uses_gprs(i) && n < GPR_COUNT; n++)
		emit_store64(e, n, offsetof(struct vec_frame, gpr) + n * 8);
	if (out >= 0) {
		if (slot_kind(i, (unsigned)out) == X86_K_MM)
			EMIT(e, 0x0f, 0x7f);
		else if (is_vex(i))
			EMIT(e, 0xc5, 0xfe, 0x7f);
		else
			EMIT(e, 0xf3, 0x0f, 0x7f);
		emit_frame(e, (unsigned)out, offsetof(struct vec_frame, out));
	}
	if (is_vex(i))
		EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	if (i->op == X86_OP_MMX)
		EMIT(e, 0x0f, 0x77); /* emms */
	EMIT(e, 0xc3);
}

static unsigned normalise_x87(const struct x86_insn *i, uint8_t key[KEY_MAX])
{
	unsigned n = 0;

	/* operand size matters for FLDENV, FNSTENV, FRSTOR, FNSAVE only */
	if (i->is_mem && (i->memsize == 14 || i->memsize == 94))
		key[n++] = 0x66;
	key[n++] = i->opcode;
	key[n++] = i->is_mem ? (uint8_t)((i->modrm & 0x38) | 6) : i->modrm;
	return n;
}

static void build_x87(struct emit *e, const struct x86_insn *i, const uint8_t *key, unsigned len)
{
	if (i->is_mem)
		emit_load64(e, X86_RSI, offsetof(struct x87_frame, mem));
	EMIT(e, 0xd9); /* fnstcw */
	emit_frame(e, 7, offsetof(struct x87_frame, fcw_host));
	EMIT(e, 0xdd); /* frstor */
	emit_frame(e, 4, offsetof(struct x87_frame, image));
	emit_flags_in(e, offsetof(struct x87_frame, rflags));
	emit_bytes(e, key, len);
	emit_flags_out(e, offsetof(struct x87_frame, rflags));
	EMIT(e, 0xdd); /* fnsave */
	emit_frame(e, 6, offsetof(struct x87_frame, image));
	EMIT(e, 0xd9); /* fldcw */
	emit_frame(e, 5, offsetof(struct x87_frame, fcw_host));
	EMIT(e, 0xc3);
}

/* Writes key and code at off; the caller holds the lock and knows that CODE_MAX bytes are free. */
static size_t thunk_write(struct vec *v, size_t off, const struct x86_insn *i, const uint8_t *key,
	unsigned len)
{
	struct thunk *t = (struct thunk *)(void *)(v->rw + off);
	struct emit e = {.n = 0};

	if (i->op == X86_OP_X87)
		build_x87(&e, i, key, len);
	else
		build_vec(&e, i, key, len);
	memset(t->key, 0, sizeof t->key);
	memcpy(t->key, key, len);
	t->keylen = (uint8_t)len;
	memcpy(t->code, e.b, e.n);
	return sizeof *t + e.n;
}

static void (*thunk_fn(struct vec *v, size_t off))(void *)
{
	uintptr_t p = (uintptr_t)(v->rx + off + offsetof(struct thunk, code));
	void (*fn)(void *);

	/* a data pointer is not a function pointer in C11; POSIX says they have one representation */
	memcpy(&fn, &p, sizeof fn);
	return fn;
}

static uint32_t key_hash(const uint8_t *key, unsigned len)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (unsigned n = 0; n < len; n++)
		h = (h ^ key[n]) * 16777619u;
	return h ^ h >> 15;
}

/* The shared thunk for the key, made if need be; NULL if there is no more room. */
static void (*thunk_get(struct vec *v, const struct x86_insn *i, const uint8_t *key, unsigned len))(void *)
{
	void (*fn)(void *) = NULL;
	uint32_t h = key_hash(key, len) % HASH_SIZE;

	pthread_mutex_lock(&v->lock);
	for (; v->hash[h]; h = (h + 1) % HASH_SIZE) {
		const struct thunk *t = (const struct thunk *)(const void *)(v->rw + v->hash[h]);

		if (t->keylen == len && !memcmp(t->key, key, len)) {
			fn = thunk_fn(v, v->hash[h]);
			goto out;
		}
	}
	if (v->size - v->used < CODE_MAX || v->nthunks >= HASH_SIZE / 2)
		goto out;
	v->hash[h] = (uint32_t)v->used;
	v->nthunks++;
	fn = thunk_fn(v, v->used);
	v->used += align_up(thunk_write(v, v->used, i, key, len), CODE_ALIGN);
out:
	pthread_mutex_unlock(&v->lock);
	return fn;
}

/*
 * Without a thunk of its own the instruction is built in the private slot. The slot is written through
 * one address and run at another, so the CPU has to be serialised in between (SDM Vol. 3A, 9.1.3).
 */
static void thunk_run_private(struct vec *v, const struct x86_insn *i, void *frame)
{
	uint8_t key[KEY_MAX];
	unsigned len = i->op == X86_OP_X87 ? normalise_x87(i, key) : normalise_vec(i, key);
	unsigned a, b, c, d;

	pthread_mutex_lock(&v->lock);
	thunk_write(v, 0, i, key, len);
	__cpuid(0, a, b, c, d);
	__asm__ volatile("" : : "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
	thunk_fn(v, 0)(frame);
	pthread_mutex_unlock(&v->lock);
}

static void op_run(struct vec *v, const struct vec_op *op, void *frame)
{
	if (likely(op->fn))
		op->fn(frame);
	else
		thunk_run_private(v, &op->insn, frame);
}

/* Code memory of n bytes; MFD_EXEC is there since Linux 6.3 and needed where vm.memfd_noexec is set. */
static int arena_map(struct vec *v, size_t n, struct err *e)
{
	int fd = memfd_create("husk-vec", MFD_CLOEXEC | MFD_EXEC), rc = 0;
	void *p;

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("husk-vec", MFD_CLOEXEC);
	if (fd < 0)
		return err_set(e, errno, "cannot create memory for code: memfd_create: %s", strerror(errno));
	if (ftruncate(fd, (off_t)n)) {
		rc = err_set(e, errno, "cannot create memory for code: %s", strerror(errno));
		goto out;
	}
	p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		rc = err_set(e, errno, "cannot map memory for code: %s", strerror(errno));
		goto out;
	}
	v->rw = p;
	p = mmap(NULL, n, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		rc = err_set(e, errno, "this host does not let a program make executable memory (%s); "
			"look for SELinux execmem or a hardened container", strerror(errno));
		goto out;
	}
	v->rx = p;
	v->size = n;
out:
	close(fd);
	return rc;
}

int vec_new_sized(struct vec **vp, size_t arena, struct err *e)
{
	struct vec *v = calloc(1, sizeof *v);
	int rc;

	*vp = NULL;
	if (!v)
		return err_set(e, ENOMEM, "out of memory");
	pthread_mutex_init(&v->lock, NULL);
	rc = arena_map(v, arena, e);
	if (rc) {
		vec_free(v);
		return rc;
	}
	v->used = CODE_MAX;
	v->features = host_features();
	v->pi2ps_enters_mmx = host_pi2ps_enters_mmx();
	*vp = v;
	return 0;
}

int vec_new(struct vec **v, struct err *e)
{
	return vec_new_sized(v, ARENA_SIZE, e);
}

void vec_free(struct vec *v)
{
	if (!v)
		return;
	if (v->rx)
		munmap(v->rx, v->size);
	if (v->rw)
		munmap(v->rw, v->size);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

/* EMMS has no operand to compute with, and FWAIT, VZEROUPPER and VZEROALL are as simple. */
static bool needs_thunk(const struct x86_insn *i)
{
	return i->op == X86_OP_VEC || i->op == X86_OP_X87 ||
		(i->op == X86_OP_MMX && !(i->map == 1 && i->opcode == 0x77));
}

enum { HOW_GPR = 1, HOW_MM = 2, HOW_IS4 = 4, HOW_VEX = 8, HOW_FP = 16, HOW_FLAGS = 32 };

static void vec_plan(struct vec_op *op)
{
	const struct x86_insn *i = &op->insn;
	const uint8_t number[REG_COUNT] = {0, i->reg, i->rm, i->vvvv, (uint8_t)(i->imm >> 4 & 15)};

	op->plan.out = (int8_t)slot_written(i);
	for (unsigned n = 0; n < REG_COUNT; n++) {
		op->plan.src[n] = (uint16_t)((number[n] & 15) * sizeof ((struct x86_fpu *)0)->ymm[0]);
		if (slot_kind(i, n) == X86_K_MM)
			op->plan.how |= HOW_MM;
	}
	op->plan.how |= (uses_gprs(i) ? HOW_GPR : 0) | (i->attr & X86_A_IS4 ? HOW_IS4 : 0) |
		(is_vex(i) ? HOW_VEX : 0) | (i->attr & X86_A_FP ? HOW_FP : 0) |
		(i->attr & X86_A_FLAGS ? HOW_FLAGS : 0);
}

bool vec_runs(const struct vec *v, const struct x86_insn *insn)
{
	uint32_t need = insn->op == X86_OP_X87 ? x87_features_needed(insn) : vec_features_needed(insn);

	return !(need & ~v->features);
}

int vec_prepare(struct vec *v, struct vec_op *op, const struct x86_insn *insn)
{
	uint8_t key[KEY_MAX];
	unsigned len;

	*op = (struct vec_op){.insn = *insn};
	if (!needs_thunk(insn))
		return 0;
	if (!vec_runs(v, insn))
		return -1;
	if (insn->op == X86_OP_X87) {
		len = normalise_x87(insn, key);
	} else {
		len = normalise_vec(insn, key);
		vec_plan(op);
	}
	op->fn = thunk_get(v, insn, key, len);
	return 0;
}

enum { FSW_TOP_SHIFT = 11, FSW_TOP = 7 << 11, FSW_ES = 0x80, FSW_B = 0x8000,
	EXC_IE = 1, EXC_DE = 2, EXC_ZE = 4, EXC_OE = 8, EXC_UE = 16, EXC_PE = 32, EXC_ALL = 0x3f };

uint8_t *vec_mmx_reg(struct x86_fpu *f, unsigned n)
{
	return f->st[(n - (f->fsw >> FSW_TOP_SHIFT)) & 7];
}

void vec_mmx_enter(struct x86_fpu *f)
{
	unsigned top = f->fsw >> FSW_TOP_SHIFT & 7;

	if (top) {
		uint8_t st[8][16];

		memcpy(st, f->st, sizeof st);
		for (unsigned n = 0; n < 8; n++)
			memcpy(f->st[n], st[(n - top) & 7], sizeof st[0]);
		f->fsw &= (uint16_t)~FSW_TOP;
	}
	f->ftw = 0xff;
}

/* FSW.ES follows from the flags and masks, whoever wrote the state: thunks rely on it. */
static void x87_summary(struct x86_fpu *f)
{
	f->fsw &= (uint16_t)~(FSW_ES | FSW_B);
	if (f->fsw & ~f->fcw & EXC_ALL)
		f->fsw |= FSW_ES | FSW_B;
}

static void run_vzero(const struct x86_insn *i, struct x86_state *s)
{
	unsigned n = x86_code64(s) ? 16 : 8;

	for (unsigned r = 0; r < n; r++)
		memset(s->fpu.ymm[r] + (i->vl ? 0 : 16), 0, i->vl ? 32 : 16);
}

enum { MXCSR_FLAGS = 0x3f, MXCSR_MASKS = 0x1f80, MXCSR_MASK_SHIFT = 7, MXCSR_FTZ = 0x8000 };

static bool is_ps2ph(const struct x86_insn *i)
{
	return i->map == 3 && i->opcode == 0x1d;
}

/* Did VCVTPS2PH make a half precision number that is not normalised? */
static bool half_tiny(const struct x86_insn *i, const struct vec_frame *f)
{
	const uint8_t *out = i->is_mem ? f->mem : f->out;

	for (unsigned n = 0; n < (i->vl ? 8 : 4); n++)
		if (!(get_u16(out + 2 * n) & 0x7c00) && get_u16(out + 2 * n) & 0x3ff)
			return true;
	return false;
}

/*
 * Floating point with MXCSR as the guest has it but for the masks. If the guest unmasked what
 * occurred, the instruction must not complete, with flags as SDM Vol. 1, 11.5.3 has it: invalid,
 * denormal and divide-by-zero are found before the computation (in any element) and then the later ones
 * are not looked for.
 *
 * A masked underflow needs a tiny and inexact result, an unmasked one a tiny result only. So if
 * the guest unmasked it, a first run with flush-to-zero finds tiny results: they are flushed, which sets
 * UE whether or not they were exact. (FTZ itself has no effect while underflow is unmasked.) VCVTPS2PH does
 * not know FTZ; there the result shows it.
 *
 * XXX Flags that come with an unmasked exception are not always the CPU's: PE beside an unmasked OE or UE
 * (it tells whether the result with unbounded exponent is exact; here it is set), and DPPS/DPPD, where a
 * later step's flags are in, though the CPU stopped at an earlier one. No program is known to look.
 *
 * Returns 0 or X86_XM.
 */
static int run_fp(struct vec *v, const struct vec_op *op, struct x86_fpu *fpu, struct vec_frame *f)
{
	uint32_t mxcsr = fpu->mxcsr & X86_MXCSR_MASK;
	uint32_t unmasked = ~(mxcsr >> MXCSR_MASK_SHIFT) & MXCSR_FLAGS, flags, tiny = 0;
	uint32_t quiet = (mxcsr & ~(uint32_t)MXCSR_FLAGS) | MXCSR_MASKS;

	if (unlikely(unmasked & EXC_UE)) {
		f->mxcsr = quiet | MXCSR_FTZ;
		op_run(v, op, f);
		tiny = f->mxcsr_out & EXC_UE;
		quiet &= ~(uint32_t)MXCSR_FTZ;
	}
	f->mxcsr = quiet;
	op_run(v, op, f);
	if (unlikely(unmasked & EXC_UE) && is_ps2ph(&op->insn) && half_tiny(&op->insn, f))
		tiny = EXC_UE;
	flags = (f->mxcsr_out & MXCSR_FLAGS) | tiny;
	if (likely(!(flags & unmasked))) {
		fpu->mxcsr = mxcsr | flags;
		return 0;
	}
	if (flags & unmasked & (EXC_IE | EXC_DE | EXC_ZE))
		flags &= EXC_IE | EXC_DE | EXC_ZE;
	fpu->mxcsr = mxcsr | flags;
	return X86_XM;
}

static void gprs_in(const struct x86_insn *i, const struct x86_state *s, struct vec_frame *f)
{
	f->gpr[GPR_RAX] = s->gpr[X86_RAX];
	f->gpr[GPR_RCX] = s->gpr[i->reg];
	f->gpr[GPR_RDX] = s->gpr[pcmpstr(i) ? X86_RDX : i->rm];
	if (pcmpstr(i) && !x86_code64(s)) {
		/* W may have been set, and means nothing there: lengths are EAX and EDX */
		f->gpr[GPR_RAX] = (uint64_t)(int32_t)f->gpr[GPR_RAX];
		f->gpr[GPR_RDX] = (uint64_t)(int32_t)f->gpr[GPR_RDX];
	}
}

static void gprs_out(const struct x86_insn *i, struct x86_state *s, const struct vec_frame *f)
{
	if (pcmpstr(i)) {
		if (!pcmpstr_mask(i))
			s->gpr[X86_RCX] = f->gpr[GPR_RCX];
	} else if (i->kreg == X86_K_GPR && i->areg & X86_ACC_W) {
		s->gpr[i->reg] = f->gpr[GPR_RCX];
	} else if (i->krm == X86_K_GPR && i->arm & X86_ACC_W) {
		s->gpr[i->rm] = f->gpr[GPR_RDX];
	}
}

static int run_vec(struct vec *v, const struct vec_op *op, struct x86_state *s, void *mem)
{
	const struct x86_insn *i = &op->insn;
	const unsigned how = op->plan.how;
	struct vec_frame f;
	uint8_t *out;

	assert(!i->is_mem || !((uintptr_t)mem & 31));
	f.mem = mem;
	for (unsigned n = 0; n < REG_COUNT; n++)
		f.src[n] = (uint8_t *)&s->fpu + op->plan.src[n]; /* from ymm on, which comes first */
	if (how & HOW_MM) {
		if (i->kreg == X86_K_MM)
			f.src[REG_REG] = vec_mmx_reg(&s->fpu, i->reg & 7);
		if (i->krm == X86_K_MM)
			f.src[REG_RM] = vec_mmx_reg(&s->fpu, i->rm & 7);
	}
	if (how & HOW_IS4 && !x86_code64(s)) /* the top bit is ignored then */
		f.src[REG_IS4] = s->fpu.ymm[i->imm >> 4 & 7];
	if (how & HOW_GPR)
		gprs_in(i, s, &f);

	if (how & HOW_FP) {
		int exc = run_fp(v, op, &s->fpu, &f);

		if (exc)
			return exc;
	} else {
		op_run(v, op, &f);
	}

	if (how & HOW_FLAGS)
		s->rflags = (s->rflags & ~(uint64_t)X86_ARITH) | (f.rflags & X86_ARITH);
	if (how & HOW_GPR)
		gprs_out(i, s, &f);
	if (op->plan.out < 0)
		return 0;
	out = f.src[op->plan.out];
	if (how & HOW_VEX) {
		memcpy(out, f.out, 32);
	} else if (how & HOW_MM && slot_kind(i, (unsigned)op->plan.out) == X86_K_MM) {
		memcpy(out, f.out, 8);
		put_u16(out + 8, 0xffff);
	} else {
		memcpy(out, f.out, 16);
	}
	return 0;
}

/*
 * x87. Opcode and ModRM as one number: 0xd900 | modrm for register forms, 0xd90n for /n with memory.
 */
static unsigned x87_form(const struct x86_insn *i)
{
	return (unsigned)i->opcode << 8 | (i->is_mem ? i->modrm >> 3 & 7u : i->modrm);
}

enum {
	X87_FLDENV = 0xd904, X87_FLDCW = 0xd905, X87_FNSTENV = 0xd906, X87_FNSTCW = 0xd907,
	X87_FRSTOR = 0xdd04, X87_FNSAVE = 0xdd06, X87_FNSTSW = 0xdd07, X87_FNSTSW_AX = 0xdfe0,
	X87_FNENI = 0xdbe0, X87_FNDISI = 0xdbe1, X87_FNCLEX = 0xdbe2, X87_FNINIT = 0xdbe3,
	X87_FNSETPM = 0xdbe4,
};

/* Control instructions do not record themselves in FOP, FIP and FDP (SDM Vol. 1, 8.1.8). */
static bool x87_control(unsigned form)
{
	switch (form) {
	case X87_FLDENV: case X87_FLDCW: case X87_FNSTENV: case X87_FNSTCW: case X87_FRSTOR:
	case X87_FNSAVE: case X87_FNSTSW: case X87_FNSTSW_AX: case X87_FNENI: case X87_FNDISI:
	case X87_FNCLEX: case X87_FNINIT: case X87_FNSETPM:
		return true;
	}
	return false;
}

static bool x87_waits(unsigned form)
{
	return !x87_control(form) || form == X87_FLDENV || form == X87_FLDCW || form == X87_FRSTOR;
}

/*
 * The pointers in the environment image (SDM Vol. 1, figures 8-9 to 8-12): the thunk's own would be
 * there, or none. The layout depends on the operand size and on whether addresses are protected
 * mode ones.
 */
static void env_put_pointers(const struct x86_fpu *f, uint8_t *env, bool wide, bool real)
{
	uint32_t ip = (uint32_t)f->fip, dp = (uint32_t)f->fdp, op = f->fop & 0x7ff;

	if (wide && real) {
		put_u32(env + 12, 0xffff0000u | (ip & 0xffff));
		put_u32(env + 16, (ip >> 16) << 12 | op);
		put_u32(env + 20, 0xffff0000u | (dp & 0xffff));
		put_u32(env + 24, (dp >> 16) << 12);
	} else if (wide) {
		put_u32(env + 12, ip);
		put_u32(env + 16, op << 16);
		put_u32(env + 20, dp);
		put_u32(env + 24, 0xffff0000u);
	} else {
		put_u16(env + 6, (uint16_t)ip);
		put_u16(env + 8, real ? (uint16_t)(ip >> 16 << 12 | op) : 0);
		put_u16(env + 10, (uint16_t)dp);
		put_u16(env + 12, real ? (uint16_t)(dp >> 16 << 12) : 0);
	}
}

static void env_get_pointers(struct x86_fpu *f, const uint8_t *env, bool wide, bool real)
{
	if (wide && real) {
		uint32_t ip_op = get_u32(env + 16);

		f->fip = get_u16(env + 12) | (ip_op >> 12 & 0xffff) << 16;
		f->fop = ip_op & 0x7ff;
		f->fdp = get_u16(env + 20) | (get_u32(env + 24) >> 12 & 0xffff) << 16;
	} else if (wide) {
		f->fip = get_u32(env + 12);
		f->fop = get_u16(env + 18) & 0x7ff;
		f->fdp = get_u32(env + 20);
	} else {
		uint16_t ip_op = get_u16(env + 8);

		f->fip = get_u16(env + 6) | (real ? (uint32_t)(ip_op >> 12) << 16 : 0);
		f->fop = real ? ip_op & 0x7ff : 0;
		f->fdp = get_u16(env + 10) | (real ? (uint32_t)(get_u16(env + 12) >> 12) << 16 : 0);
	}
}

/* CVTPI2PD from memory stays out of MMX state on all CPUs (its page says so), CVTPI2PS on some. */
static bool mmx_enters(const struct vec *v, const struct x86_insn *i)
{
	return !(i->map == 1 && i->opcode == 0x2a && i->is_mem && (i->vexpp == 1 || !v->pi2ps_enters_mmx));
}

int vec_pending(const struct vec *v, const struct vec_op *op, const struct x86_state *s)
{
	const struct x86_insn *i = &op->insn;

	/* not FSW.ES: it follows from these, whoever wrote the state */
	if (likely(!(s->fpu.fsw & ~s->fpu.fcw & EXC_ALL)))
		return 0;
	switch (i->op) {
	case X86_OP_X87:
		return x87_waits(x87_form(i)) ? X86_MF : 0;
	case X86_OP_MMX:
		return mmx_enters(v, i) ? X86_MF : 0;
	case X86_OP_FWAIT:
		return X86_MF;
	}
	return 0;
}

static int run_mmx(struct vec *v, const struct vec_op *op, struct x86_state *s, void *mem)
{
	const struct x86_insn *i = &op->insn;

	if (!mmx_enters(v, i))
		return run_vec(v, op, s, mem);
	if (!needs_thunk(i)) { /* EMMS */
		vec_mmx_enter(&s->fpu);
		s->fpu.ftw = 0;
		return 0;
	}
	/* even if it then ends in #XM, as CPUs do it */
	vec_mmx_enter(&s->fpu);
	return run_vec(v, op, s, mem);
}

static int run_x87(struct vec *v, const struct vec_op *op, struct x86_state *s, void *mem, uint64_t fip,
	uint64_t fdp)
{
	const struct x86_insn *i = &op->insn;
	bool real = !(s->cr0 & X86_CR0_PE) || s->rflags & X86_VM;
	bool wide = i->memsize == 28 || i->memsize == 108;
	unsigned form = x87_form(i);
	struct x86_fpu *fpu = &s->fpu;
	struct x87_frame f = {.mem = mem};

	x87_summary(fpu);
	f.image.fcw = fpu->fcw;
	f.image.fsw = fpu->fsw;
	for (unsigned n = 0; n < 8; n++) {
		/* of the tags only "empty" counts, the CPU finds the rest itself */
		f.image.ftw |= fpu->ftw >> n & 1 ? 0 : 3u << 2 * n;
		memcpy(f.image.st[n], fpu->st[n], sizeof f.image.st[n]);
	}
	f.rflags = X86_FLAG1 | (s->rflags & X86_ARITH);

	op_run(v, op, &f);

	fpu->fcw = (uint16_t)f.image.fcw;
	fpu->fsw = (uint16_t)f.image.fsw;
	fpu->ftw = 0;
	for (unsigned n = 0; n < 8; n++) {
		fpu->ftw |= (f.image.ftw >> 2 * n & 3) == 3 ? 0 : 1u << n;
		memcpy(fpu->st[n], f.image.st[n], sizeof f.image.st[n]);
	}
	s->rflags = (s->rflags & ~(uint64_t)X86_ARITH) | (f.rflags & X86_ARITH);

	switch (form) {
	case X87_FNSTENV:
	case X87_FNSAVE:
		env_put_pointers(fpu, mem, wide, real);
		break;
	case X87_FLDENV:
	case X87_FRSTOR:
		env_get_pointers(fpu, mem, wide, real);
		break;
	case X87_FNSTSW_AX:
		s->gpr[X86_RAX] = (s->gpr[X86_RAX] & ~0xffffull) | fpu->fsw;
		break;
	}
	if (form == X87_FNINIT || form == X87_FNSAVE)
		fpu->fip = fpu->fdp = fpu->fop = 0;
	if (x87_control(form))
		return 0;
	fpu->fip = fip;
	fpu->fop = (uint16_t)((i->opcode & 7) << 8 | i->modrm);
	if (i->is_mem)
		fpu->fdp = fdp;
	/* an unmasked exception found before the store leaves memory as it was */
	if (i->is_mem && i->arm & X86_ACC_W && fpu->fsw & ~fpu->fcw & (EXC_IE | EXC_OE | EXC_UE))
		return VEC_NOSTORE;
	return 0;
}

int vec_run(struct vec *v, const struct vec_op *op, struct x86_state *s, void *mem, uint64_t fip,
	uint64_t fdp)
{
	int exc = vec_pending(v, op, s);

	if (exc)
		return exc;
	switch (op->insn.op) {
	case X86_OP_VEC:
		return run_vec(v, op, s, mem);
	case X86_OP_MMX:
		return run_mmx(v, op, s, mem);
	case X86_OP_X87:
		return run_x87(v, op, s, mem, fip, fdp);
	case X86_OP_VZERO:
		run_vzero(&op->insn, s);
		return 0;
	}
	return 0; /* FWAIT */
}
