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
 * Vector registers are lazy in both directions: they are loaded when a block that uses them says so
 * (vec_loaded), and stored when C is called while they are loaded.
 */
#include "engine/bt/bt-int.h"

#define CPU(field) offsetof(struct bt_cpu, field)

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
		.disp = (int32_t)(CPU(cpu.s.fpu.ymm) + off)};

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
		emit_op_gs(e, false, 0x0f00 | opcode, i, CPU(cpu.s.fpu.ymm) + 32 * i);
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

static uint8_t *piece(struct emit *e)
{
	while ((uintptr_t)e->p & 15)
		e8(e, 0xcc);
	return e->p;
}

void bt_glue(struct bt_vm *v, struct emit *e)
{
	static const struct {
		void *(*fn)(struct bt_cpu *, uint64_t, uint32_t);
		size_t at;
	} out[] = {
		{bt_c_mem, offsetof(struct bt_vm, glue_mem)},
		{bt_c_call, offsetof(struct bt_vm, glue_call)},
		{bt_c_link, offsetof(struct bt_vm, glue_link)},
		{bt_c_ind, offsetof(struct bt_vm, glue_ind)},
		{bt_c_leave, offsetof(struct bt_vm, glue_leave)},
	};
	const bool avx = __builtin_cpu_supports("avx");
	uint8_t *load_vec, *save_vec, *back, *leave, *rel;

	load_vec = piece(e);
	load_vectors(e, avx);
	mxcsr(e, 2, CPU(cpu.s.fpu.mxcsr));
	mov_byte(e, CPU(vec_loaded), 1);
	mov_byte(e, CPU(vec_want), 0);
	e8(e, 0xc3);

	save_vec = piece(e);
	if (avx)
		moves(e, true, VMOVUPS_STORE);
	else
		moves_sse(e, VMOVUPS_STORE);
	mxcsr(e, 3, CPU(cpu.s.fpu.mxcsr));
	mxcsr(e, 2, CPU(host_mxcsr));
	mov_byte(e, CPU(vec_loaded), 0);
	if (avx)
		E(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	e8(e, 0xc3);

	/* back into code at RAX, on the host's stack */
	back = piece(e);
	emit_op_r(e, true, OP_MOV_STORE, RAX, R11);
	cmp_byte_0(e, CPU(vec_want));
	rel = emit_jcc(e, CC_E);
	e8(e, 0xe8); /* call */
	e32(e, 0);
	emit_fix_to(e->p - 4, load_vec);
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
		cmp_byte_0(e, CPU(vec_loaded));
		rel = emit_jcc(e, CC_E);
		e8(e, 0xe8);
		e32(e, 0);
		emit_fix_to(e->p - 4, save_vec);
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

	/* Vector registers, from within code: comes back to R11. Flags are lost. */
	v->glue_vec = piece(e);
	load_vectors(e, avx);
	mxcsr(e, 2, CPU(cpu.s.fpu.mxcsr));
	mov_byte(e, CPU(vec_loaded), 1);
	E(e, 0x41, 0xff, 0xe3);
}
