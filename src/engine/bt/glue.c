/* SPDX-License-Identifier: MIT */
/*
 * The few pieces of code between C and translated code, made once at the start of the cache.
 *
 * In translated code the guest's RAX RCX RDX RBX RSP RBP RSI RDI R8 R12-R15 are in the host registers of the same
 * name, R9 R10 R11 are scratch, GS points to struct bt_cpu. As RSP is the guest's, no host stack exists: no
 * push, no call. Everything that leaves goes through one of the pieces below, with arguments in R11 and R10D. They
 * store the guest's registers where interp looks for them, take up the host's stack, and call the C
 * function; it answers with the address in code to go on at, or NULL to return to the caller of enter().
 * C code may jump out of there by longjmp: all state is in struct engine_cpu by then.
 *
 * Vector and x87 registers are lazy in both directions, apart from each other: they are loaded when a block that
 * uses them finds that they are not (regs_loaded), and stored when C is called while they are loaded.
 *
 * For x87 that is FRSTOR and FNSAVE, which leave the vector registers alone, leave an x87 unit behind as C
 * expects it, and (on Zen 4) together take 213 cycles; FXSAVE and FXRSTOR would take 192, XSAVE and XRSTOR with
 * x87 alone 350. What the CPU keeps as address of the last instruction and operand is of this cache: it never
 * gets into the guest's state, where FIP, FDP and FOP stay those of the last instruction that interp ran.
 */
#include <assert.h>

#include "engine/bt/bt-int.h"

#define CPU(field) offsetof(struct bt_cpu, field)
#define FPU(field) CPU(cpu.s.fpu.field)

static const uint8_t mapped[] = {RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R12, R13, R14, R15};
static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

static void gprs(struct emit *e, unsigned opcode)
{
	for (unsigned i = 0; i < sizeof mapped; i++)
		emit_op_gs(e, true, opcode, mapped[i], CPU(cpu.s.gpr) + mapped[i] * 8u);
}

static void mxcsr(struct emit *e, unsigned digit, size_t off)
{
	emit_op_gs(e, false, 0x0fae, digit, off);
}

/* A VEX.0F instruction (W 0) with registers reg and vvvv and part off of all guest registers from ymm0 on */
static void vex_fpu(struct emit *e, unsigned pp, bool wide, unsigned opcode, unsigned reg, unsigned vvvv, size_t off)
{
	const struct mem_op m = {.base = -1, .index = -1, .gs = true,
		.disp = (int32_t)(FPU(ymm) + off)};

	e8(e, 0x65);
	E(e, 0xc5, (uint8_t)((reg & 8 ? 0 : 0x80) | (~vvvv & 15) << 3 | (wide ? 4u : 0u) | pp), (uint8_t)opcode);
	emit_modrm(e, reg, &m);
}

enum { VMOVUPS_LOAD = 0x10, VMOVUPS_STORE = 0x11 };

static void moves(struct emit *e, bool wide, unsigned opcode)
{
	for (unsigned i = 0; i < 16; i++)
		vex_fpu(e, 0, wide, opcode, i, 0, 32 * i);
}

static void moves_sse(struct emit *e, unsigned opcode)
{
	for (unsigned i = 0; i < 16; i++)
		emit_op_gs(e, false, 0x0f00 | opcode, i, FPU(ymm) + 32 * i);
}

/*
 * Upper halves that are zero must be known to be zero by the CPU: it tracks that, and as long as it does not
 * know, instructions of SSE have to merge, and so wait for the register they overwrite (measured on Zen 4: a
 * chain of MOVAPS and MULPS takes eight times as long). So they are looked at, and 16 bytes are loaded, behind
 * a VZEROUPPER, if they are zero, which they are in most programs.
 */
static void load_vectors(struct emit *e, bool avx)
{
	uint8_t *full, *done;

	if (!avx) {
		moves_sse(e, VMOVUPS_LOAD);
		return;
	}
	for (unsigned i = 0; i < 16; i++)
		if (i < 2) /* vmovdqu; two chains */
			vex_fpu(e, 2, false, 0x6f, i, 0, 32 * i + 16);
		else /* vpor */
			vex_fpu(e, 1, false, 0xeb, i & 1, i & 1, 32 * i + 16);
	E(e, 0xc5, 0xf9, 0xeb, 0xc1); /* vpor xmm0, xmm0, xmm1 */
	E(e, 0xc4, 0xe2, 0x79, 0x17, 0xc0); /* vptest xmm0, xmm0 */
	full = emit_jcc(e, CC_NE);
	E(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	moves(e, false, VMOVUPS_LOAD);
	done = emit_jmp(e);
	emit_fix(e, full);
	moves(e, true, VMOVUPS_LOAD);
	emit_fix(e, done);
}

/*
 * Offsets in FNSAVE's image (SDM Vol. 1, figure 8-9). Its tag word has two bits for each register, both set when
 * it is empty; cpu.s.fpu.ftw one, clear then.
 */
enum { IMG_FCW = 0, IMG_FSW = 4, IMG_FTW = 8, IMG_POINTERS = 12, IMG_ST = 28 };
enum { FSW_ES_B = 0x8080 };

static void mov_word_store(struct emit *e, unsigned reg, size_t off)
{
	e8(e, 0x66);
	emit_op_gs(e, false, OP_MOV_STORE, reg, off);
}

/* RAX and RCX are lost. */
static void save_x87(struct emit *e)
{
	emit_op_gs(e, false, 0xdd, 6, CPU(x87)); /* fnsave */
	emit_op_gs(e, false, OP_MOV_LOAD, RAX, CPU(x87) + IMG_FCW);
	mov_word_store(e, RAX, FPU(fcw));
	emit_op_gs(e, false, OP_MOV_LOAD, RAX, CPU(x87) + IMG_FSW);
	mov_word_store(e, RAX, FPU(fsw));
	emit_op_gs(e, false, OP_MOV_LOAD, RAX, CPU(x87) + IMG_FTW);
	E(e, 0x89, 0xc1, 0xd1, 0xe9); /* mov ecx, eax; shr ecx, 1 */
	E(e, 0x21, 0xc8, 0xf7, 0xd0); /* and eax, ecx; not eax */
	emit_imm(e, RCX, 0x5555);
	E(e, 0xc4, 0xe2, 0x7a, 0xf5, 0xc1); /* pext eax, eax, ecx */
	emit_op_gs(e, false, 0x88, RAX, FPU(ftw));
	for (unsigned i = 0; i < 8; i++) {
		emit_op_gs(e, true, OP_MOV_LOAD, RAX, CPU(x87) + IMG_ST + 10 * i);
		emit_op_gs(e, true, OP_MOV_STORE, RAX, FPU(st) + 16 * i);
		emit_op_gs(e, false, 0x0fb7, RAX, CPU(x87) + IMG_ST + 10 * i + 8);
		mov_word_store(e, RAX, FPU(st) + 16 * i + 8);
	}
}

/* R9 and the flags are lost. */
static void load_x87(struct emit *e)
{
	emit_op_gs(e, false, 0x0fb7, R9, FPU(fcw));
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(x87) + IMG_FCW);
	emit_op_gs(e, false, 0x0fb7, R9, FPU(fsw));
	E(e, 0x41, 0x81, 0xe1); /* and r9d: nothing is pending, or this code would not run */
	e32(e, ~(uint32_t)FSW_ES_B);
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(x87) + IMG_FSW);
	emit_op_gs(e, true, OP_MOV_STORE, R10, CPU(x87) + IMG_POINTERS); /* spilled */
	emit_op_gs(e, false, 0x0fb6, R9, FPU(ftw));
	E(e, 0x41, 0x81, 0xf1); /* xor r9d */
	e32(e, 0xff);
	emit_imm(e, R10, 0x5555);
	E(e, 0xc4, 0x42, 0x33, 0xf5, 0xca); /* pdep r9d, r9d, r10d */
	E(e, 0x47, 0x8d, 0x0c, 0x49); /* lea r9d, [r9 + r9 * 2] */
	emit_op_gs(e, true, OP_MOV_LOAD, R10, CPU(x87) + IMG_POINTERS);
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(x87) + IMG_FTW);
	E(e, 0x45, 0x31, 0xc9); /* xor r9d, r9d */
	emit_op_gs(e, true, OP_MOV_STORE, R9, CPU(x87) + IMG_POINTERS);
	emit_op_gs(e, true, OP_MOV_STORE, R9, CPU(x87) + IMG_POINTERS + 8);
	for (unsigned i = 0; i < 8; i++) {
		emit_op_gs(e, true, OP_MOV_LOAD, R9, FPU(st) + 16 * i);
		emit_op_gs(e, true, OP_MOV_STORE, R9, CPU(x87) + IMG_ST + 10 * i);
		emit_op_gs(e, false, 0x0fb7, R9, FPU(st) + 16 * i + 8);
		mov_word_store(e, R9, CPU(x87) + IMG_ST + 10 * i + 8);
	}
	emit_op_gs(e, false, 0xdd, 4, CPU(x87)); /* frstor */
}

static uint8_t *skip_unless(struct emit *e, size_t off, unsigned bit)
{
	emit_op_gs(e, false, 0xf6, 0, off); /* test byte */
	e8(e, bit);
	return emit_jcc(e, CC_E);
}

static void cmp_byte_0(struct emit *e, size_t off)
{
	emit_op_gs(e, false, 0x80, 7, off);
	e8(e, 0);
}

static void mov_byte(struct emit *e, size_t off, unsigned v)
{
	emit_op_gs(e, false, 0xc6, 0, off);
	e8(e, v);
}

static void or_byte(struct emit *e, size_t off, unsigned v)
{
	emit_op_gs(e, false, 0x80, 1, off);
	e8(e, v);
}

static uint8_t *piece(struct emit *e)
{
	while ((uintptr_t)e->p & 15)
		e8(e, 0xcc);
	return e->p;
}

/*
 * The TLB's second level (interp-int.h), asked when the first misses: what it knows is put into the first, and
 * the access is tried again. R11: linear address, R10D: site. If the first level knows the page already,
 * something else is wrong with the access, which C will find out.
 */
static uint8_t *second_level(const struct bt_vm *v, struct emit *e, unsigned mmu, bool write)
{
	const size_t tlb = CPU(cpu.tlb) + mmu * sizeof(struct tlb);
	uint8_t *start = piece(e), *miss, *known, *rel;
	const struct mem_op times3 = {.base = R10, .index = R10, .scale = 1};
	const struct mem_op retry = {.base = R11, .index = R10, .scale = 3, .disp = offsetof(struct bt_site, retry)};

	static_assert(sizeof(struct bt_site) == 24, "the index is scaled by 3 * 8");
	emit_op_gs(e, true, OP_MOV_STORE, R10, CPU(fill_site));
	emit_op_gs(e, true, OP_MOV_STORE, R11, CPU(fill_lin));
	emit_op_r(e, true, OP_MOV_STORE, R11, R9);
	E(e, 0x49, 0xc1, 0xe9, 0x0c); /* shr r9, 12 */
	emit_op_r(e, true, OP_MOV_STORE, R9, R10);
	E(e, 0x49, 0xc1, 0xea, TLB2_BITS); /* shr r10, TLB2_BITS */
	emit_op_r(e, true, 0x33, R10, R9); /* xor r10, r9 */
	E(e, 0x41, 0x81, 0xf2); /* xor r10d, mode */
	e32(e, mmu * TLB2_MODE);
	E(e, 0x41, 0x81, 0xe2); /* and r10d, TLB2_SIZE - 1 */
	e32(e, TLB2_SIZE - 1);
	emit_op_gs(e, true, 0x33, R9, CPU(cpu.tlb2_key) + 8 * mmu); /* xor r9, key */
	emit_op_gs8(e, true, OP_CMP, R9, R10, write ? CPU(cpu.tlb2.wtag) : CPU(cpu.tlb2.rtag));
	miss = emit_jcc(e, CC_NE);
	if (!write) {
		/* may it be written, too? */
		emit_op_gs8(e, true, OP_CMP, R9, R10, CPU(cpu.tlb2.wtag));
		emit_op_gs(e, false, 0x0f95, 0, CPU(fill_read_only)); /* setne */
	}
	emit_op_gs8(e, true, OP_MOV_LOAD, R9, R10, CPU(cpu.tlb2.addend));
	emit_op_r(e, true, OP_MOV_STORE, R11, R10);
	E(e, 0x49, 0xc1, 0xea, 0x0c); /* shr r10, 12 */
	E(e, 0x45, 0x0f, 0xb6, 0xda); /* movzx r11d, r10b */
	emit_op_gs8(e, true, OP_CMP, R10, R11, tlb + (write ? offsetof(struct tlb, wtag) : offsetof(struct tlb, rtag)));
	known = emit_jcc(e, CC_E);
	emit_op_gs8(e, true, OP_MOV_STORE, R9, R11, tlb + offsetof(struct tlb, addend));
	emit_op_gs8(e, true, OP_MOV_STORE, R10, R11, tlb + offsetof(struct tlb, rtag));
	emit_op_gs8(e, true, 0xc7, 0, R11, tlb + offsetof(struct tlb, xtag));
	e32(e, UINT32_MAX); /* TLB_NONE, sign-extended */
	if (!write) {
		cmp_byte_0(e, CPU(fill_read_only));
		rel = emit_jcc(e, CC_E);
		emit_imm(e, R10, TLB_NONE);
		emit_fix(e, rel);
	}
	emit_op_gs8(e, true, OP_MOV_STORE, R10, R11, tlb + offsetof(struct tlb, wtag));
	/* mov byte gs:[r11 + global] */
	E(e, 0x65, 0x41, 0xc6, 0x83);
	e32(e, (uint32_t)(tlb + offsetof(struct tlb, global)));
	e8(e, mmu == MMU_KERNEL);
	emit_op_gs(e, true, OP_MOV_LOAD, R10, CPU(fill_site));
	emit_op_m(e, true, OP_LEA, R10, &times3);
	emit_imm(e, R11, (uintptr_t)v->sites);
	emit_op_m(e, false, OP_MOV_LOAD, R11, &retry);
	emit_imm(e, R9, (uintptr_t)v->rx);
	emit_op_r(e, true, 0x03, R11, R9);
	E(e, 0x41, 0xff, 0xe3); /* jmp r11 */

	emit_fix(e, miss);
	emit_fix(e, known);
	emit_op_gs(e, true, OP_MOV_LOAD, R11, CPU(fill_lin));
	emit_op_gs(e, true, OP_MOV_LOAD, R10, CPU(fill_site));
	emit_jmp_to(e, v->glue_mem);
	return start;
}

void bt_glue(struct bt_vm *v, struct emit *e)
{
	static const struct {
		void *(*fn)(struct bt_cpu *, uint64_t, uint32_t);
		size_t at;
	} out[] = {
		{bt_timed_mem, offsetof(struct bt_vm, glue_mem)},
		{bt_timed_call, offsetof(struct bt_vm, glue_call)},
		{bt_timed_link, offsetof(struct bt_vm, glue_link)},
		{bt_timed_ind, offsetof(struct bt_vm, glue_ind)},
		{bt_c_leave, offsetof(struct bt_vm, glue_leave)},
	};
	const bool avx = __builtin_cpu_supports("avx");
	uint8_t *load, *save, *back, *leave, *rel;

	load = piece(e); /* R11 survives */
	rel = skip_unless(e, CPU(regs_want), BT_REGS_VEC);
	load_vectors(e, avx);
	mxcsr(e, 2, FPU(mxcsr));
	emit_fix(e, rel);
	rel = skip_unless(e, CPU(regs_want), BT_REGS_X87);
	load_x87(e);
	emit_fix(e, rel);
	emit_op_gs(e, false, 0x0fb6, RAX, CPU(regs_want));
	emit_op_gs(e, false, 0x88, RAX, CPU(regs_loaded));
	mov_byte(e, CPU(regs_want), 0);
	e8(e, 0xc3);

	save = piece(e); /* R10 and R11 survive */
	rel = skip_unless(e, CPU(regs_loaded), BT_REGS_X87);
	save_x87(e);
	emit_fix(e, rel);
	rel = skip_unless(e, CPU(regs_loaded), BT_REGS_VEC);
	if (avx)
		moves(e, true, VMOVUPS_STORE);
	else
		moves_sse(e, VMOVUPS_STORE);
	mxcsr(e, 3, FPU(mxcsr));
	mxcsr(e, 2, CPU(host_mxcsr));
	if (avx)
		E(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	emit_fix(e, rel);
	mov_byte(e, CPU(regs_loaded), 0);
	e8(e, 0xc3);

	/* back into code at RAX, on the host's stack */
	back = piece(e);
	emit_op_r(e, true, OP_MOV_STORE, RAX, R11);
	cmp_byte_0(e, CPU(regs_want));
	rel = emit_jcc(e, CC_E);
	e8(e, 0xe8); /* call */
	e32(e, 0);
	emit_fix_to(e->p - 4, load);
	emit_fix(e, rel);
	gprs(e, OP_MOV_LOAD);
	E(e, 0x41, 0xff, 0xe3); /* jmp r11 */

	leave = piece(e);
	E(e, 0x48, 0x83, 0xc4, 0x08); /* add rsp, 8 */
	for (unsigned i = sizeof callee_saved; i-- > 0;) {
		if (callee_saved[i] >= 8)
			e8(e, 0x41);
		e8(e, 0x58 | (callee_saved[i] & 7));
	}
	e8(e, 0xc3);

	v->enter = (void (*)(struct bt_cpu *, void *))(uintptr_t)(piece(e) - v->rw + v->rx);
	for (unsigned i = 0; i < sizeof callee_saved; i++) {
		if (callee_saved[i] >= 8)
			e8(e, 0x41);
		e8(e, 0x50 | (callee_saved[i] & 7));
	}
	E(e, 0x48, 0x83, 0xec, 0x08); /* sub rsp, 8 */
	emit_op_gs(e, true, OP_MOV_STORE, RSP, CPU(host_rsp));
	emit_op_r(e, true, OP_MOV_STORE, RSI, RAX);
	emit_jmp_to(e, back);

	for (size_t i = 0; i < ARRAY_LEN(out); i++) {
		uint8_t *start = piece(e);

		memcpy((uint8_t *)v + out[i].at, &start, sizeof start);
		gprs(e, OP_MOV_STORE);
		emit_op_gs(e, true, OP_MOV_LOAD, RSP, CPU(host_rsp));
		cmp_byte_0(e, CPU(regs_loaded));
		rel = emit_jcc(e, CC_E);
		e8(e, 0xe8);
		e32(e, 0);
		emit_fix_to(e->p - 4, save);
		emit_fix(e, rel);
		emit_op_gs(e, true, OP_MOV_LOAD, RDI, CPU(self));
		emit_op_r(e, true, OP_MOV_STORE, R11, RSI);
		emit_op_r(e, false, OP_MOV_STORE, R10, RDX);
		emit_imm(e, RAX, (uintptr_t)out[i].fn);
		E(e, 0xff, 0xd0); /* call rax */
		E(e, 0x48, 0x85, 0xc0); /* test rax, rax */
		emit_fix_to(emit_jcc(e, CC_E), leave);
		emit_jmp_to(e, back);
	}

	for (unsigned m = 0; m < MMU_CACHED; m++)
		for (unsigned w = 0; w < 2; w++)
			v->glue_fill[m][w] = second_level(v, e, m, w);

	/* Registers, from within code: comes back to R11. R9 and flags are lost. */
	v->glue_vec = piece(e);
	load_vectors(e, avx);
	mxcsr(e, 2, FPU(mxcsr));
	or_byte(e, CPU(regs_loaded), BT_REGS_VEC);
	E(e, 0x41, 0xff, 0xe3);

	v->glue_x87 = piece(e);
	load_x87(e);
	or_byte(e, CPU(regs_loaded), BT_REGS_X87);
	E(e, 0x41, 0xff, 0xe3);
}
