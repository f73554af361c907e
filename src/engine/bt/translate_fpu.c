/* SPDX-License-Identifier: MIT */
/*
 * x87, MMX, SSE and AVX instructions, run as they are on the guest's registers, which are in the host's (glue.c).
 *
 * That is so where the key says that no exception they may raise is unmasked and that control registers
 * let them run (key_of() in bt.c); so there is none. Instructions that change masks look at the new value
 * first: with an exception unmasked interp executes them, the key changes, and interp goes on from there. What
 * they look at is a copy of their operand in struct bt_cpu, as another CPU of the guest may write to the operand.
 *
 * FIP, FDP and FOP in cpu.s.fpu are those of the last instruction that interp ran; the host's are of the code cache,
 * so environments go through struct bt_cpu, where the pointers are exchanged. FRSTOR, FNSAVE and the environments of
 * 16-bit code are interp's.
 */
#include "engine/bt/translate-int.h"
#include "x86/fpu.h"

#define FPU(field) CPU(cpu.s.fpu.field)

enum { FCW_MASKS = 0x3f, FSW_ES_B = 0x8080, MXCSR_MASKS = 0x1f80 };

static bool has_xmm(const struct x86_insn *i)
{
	return i->kreg == X86_K_XMM || i->krm == X86_K_XMM || i->attr & X86_A_FP;
}

unsigned regs_used(const struct x86_insn *i)
{
	switch (i->op) {
	case X86_OP_VEC: case X86_OP_VZERO: case X86_OP_VMASKMOV: case X86_OP_LDMXCSR: case X86_OP_STMXCSR:
		return BT_REGS_VEC;
	case X86_OP_MMX:
		return BT_REGS_X87 | (has_xmm(i) ? BT_REGS_VEC : 0);
	case X86_OP_X87:
		return BT_REGS_X87;
	}
	return 0;
}

/* Has the current instruction's registers loaded. In front of it: flags may be lost that are not spared. */
static void regs_needed(struct tr *t)
{
	static const uint8_t kinds[] = {BT_REGS_VEC, BT_REGS_X87};
	unsigned missing = regs_used(&t->now->i) & ~(unsigned)t->regs;

	for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
		struct cold *c;

		if (!(missing & kinds[k]))
			continue;
		flags_spare(t);
		emit_op_gs(&t->e, false, 0xf6, 0, CPU(regs_loaded)); /* test byte */
		e8(&t->e, kinds[k]);
		c = cold_new(t, COLD_REGS, emit_jcc(&t->e, CC_E));
		t->held = 0; /* nor R9, R11 */
		c->index = kinds[k];
		c->resume = t->e.p;
		t->regs |= kinds[k];
		t->r10 = -1; /* what loads them may want it */
	}
}

static void copy(struct tr *t)
{
	regs_needed(t);
	if (t->now->i.is_mem)
		copy_mem(t);
	else
		copy_regs(t);
}

static unsigned vec_key(const struct x86_insn *i)
{
	return i->attr & X86_A_VEX ? BT_KEY_VEC | BT_KEY_AVX : BT_KEY_VEC;
}

void rule_vec(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;

	if (vec_key(i) & ~t->key || (i->op == X86_OP_VEC && !vec_runs(t->v->vm.vec, i)) ||
		(i->is_mem && i->op == X86_OP_VZERO))
		call_interp(t);
	else
		copy(t);
}

void rule_mmx(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned want = BT_KEY_X87 | (has_xmm(i) ? BT_KEY_VEC : 0);

	if (want & ~t->key || !vec_runs(t->v->vm.vec, i))
		call_interp(t);
	else
		copy(t);
}

void rule_fwait(struct tr *t)
{
	if (!(t->key & BT_KEY_X87))
		call_interp(t);
}

/*
 * Where everything its operand spans is accessible, it may as well be executed: that is allowed to look at
 * elements whose mask is clear. Otherwise interp goes element by element. The host has it, as the guest's AVX.
 */
void rule_vmaskmov(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;

	if (vec_key(i) & ~t->key || !i->is_mem || (i->attr & X86_A_AVX2 && !__builtin_cpu_supports("avx2")))
		call_interp(t);
	else
		copy(t);
}

/* Checks the operand, of size bytes, with the registers loaded. False: interp executes the instruction. */
static bool operand(struct tr *t, unsigned size, bool write, struct mem_op *m)
{
	struct gea g = gea_of(t, &t->now->i);

	if (!gea_fits(&g)) {
		call_interp(t);
		return false;
	}
	regs_needed(t);
	flags_spare(t);
	t->retry = t->e.p;
	*m = check(t, &g, size, write, 0);
	return true;
}

/* Interp's if R9D, a new control word, is not like bits where mask has ones. R10 is lost. */
static void unless_like(struct tr *t, uint32_t bits, uint32_t mask)
{
	struct emit *e = &t->e;

	emit_op_r(e, false, OP_MOV_STORE, R9, R10);
	E(e, 0x41, 0x81, 0xf2); /* xor r10d */
	e32(e, bits);
	E(e, 0x41, 0xf7, 0xc2); /* test r10d */
	e32(e, mask);
	t->r10 = -1;
	slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
}

static void fldcw(struct tr *t)
{
	unsigned since = t->ncold;
	struct mem_op m;

	if (!operand(t, 2, false, &m))
		return;
	emit_op_m(&t->e, false, 0x0fb7, R9, &m);
	unless_like(t, FCW_MASKS, FCW_MASKS);
	emit_op_gs(&t->e, false, OP_MOV_STORE, R9, CPU(x87)); /* the image is not in use now */
	emit_op_gs(&t->e, false, 0xd9, 5, CPU(x87));
	slow_resume(t, since);
}

/* The environment's parts in 64-bit mode: SDM Vol. 1, figure 8-9. CS and DS are gone. */
enum { ENV_FCW = 0, ENV_FSW = 4, ENV_FIP = 12, ENV_FOP = 16, ENV_FDP = 20, ENV_FDS = 24, ENV_SIZE = 28 };

/* Between the guest's memory and the image, through R9 */
static void env_copy(struct tr *t, const struct mem_op *at, bool to_guest)
{
	struct mem_op m = *at;

	for (unsigned k = 0; k < ENV_SIZE; k += 8, m.disp += 8) {
		bool wide = k + 8 <= ENV_SIZE;

		if (to_guest) {
			emit_op_gs(&t->e, wide, OP_MOV_LOAD, R9, CPU(x87) + k);
			emit_op_m(&t->e, wide, OP_MOV_STORE, R9, &m);
		} else {
			emit_op_m(&t->e, wide, OP_MOV_LOAD, R9, &m);
			emit_op_gs(&t->e, wide, OP_MOV_STORE, R9, CPU(x87) + k);
		}
	}
}

static void env_store(struct tr *t)
{
	unsigned since = t->ncold;
	struct emit *e = &t->e;
	struct mem_op m;

	if (!operand(t, ENV_SIZE, true, &m))
		return;
	emit_op_gs(e, false, 0xd9, 6, CPU(x87)); /* fnstenv */
	emit_op_gs(e, false, OP_MOV_LOAD, R9, FPU(fip));
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(x87) + ENV_FIP);
	emit_op_gs(e, false, 0x0fb7, R9, FPU(fop));
	E(e, 0x41, 0xc1, 0xe1, 16); /* shl r9d, 16 */
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(x87) + ENV_FOP);
	emit_op_gs(e, false, OP_MOV_LOAD, R9, FPU(fdp));
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(x87) + ENV_FDP);
	emit_op_gs(e, false, 0xc7, 0, CPU(x87) + ENV_FDS);
	e32(e, 0xffff0000);
	env_copy(t, &m, true);
	slow_resume(t, since);
}

static void env_load(struct tr *t)
{
	unsigned since = t->ncold;
	struct emit *e = &t->e;
	struct mem_op m;

	if (!operand(t, ENV_SIZE, false, &m))
		return;
	env_copy(t, &m, false);
	emit_op_gs(e, false, 0x0fb7, R9, CPU(x87) + ENV_FCW);
	unless_like(t, FCW_MASKS, FCW_MASKS);
	emit_op_gs(e, false, 0x81, 4, CPU(x87) + ENV_FSW); /* and: no exception is pending then */
	e32(e, ~(uint32_t)FSW_ES_B);
	emit_op_gs(e, false, OP_MOV_LOAD, R9, CPU(x87) + ENV_FIP);
	emit_op_gs(e, true, OP_MOV_STORE, R9, FPU(fip));
	emit_op_gs(e, false, 0x0fb7, R9, CPU(x87) + ENV_FOP + 2);
	E(e, 0x41, 0x81, 0xe1); /* and r9d: of 11 bits */
	e32(e, 0x7ff);
	e8(e, 0x66);
	emit_op_gs(e, false, OP_MOV_STORE, R9, FPU(fop));
	emit_op_gs(e, false, OP_MOV_LOAD, R9, CPU(x87) + ENV_FDP);
	emit_op_gs(e, true, OP_MOV_STORE, R9, FPU(fdp));
	emit_op_gs(e, false, 0xd9, 4, CPU(x87)); /* fldenv */
	slow_resume(t, since);
}

void rule_mxcsr(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned since = t->ncold;
	struct mem_op m;

	if (vec_key(i) & ~t->key) {
		call_interp(t);
	} else if (i->op == X86_OP_STMXCSR) {
		copy(t);
	} else if (operand(t, 4, false, &m)) {
		emit_op_m(&t->e, false, OP_MOV_LOAD, R9, &m);
		unless_like(t, MXCSR_MASKS, MXCSR_MASKS | ~X86_MXCSR_MASK);
		emit_op_gs(&t->e, false, OP_MOV_STORE, R9, FPU(mxcsr));
		emit_op_gs(&t->e, false, 0x0fae, 2, FPU(mxcsr));
		slow_resume(t, since);
	}
}

enum { /* opcode and ModRM, or opcode and /n for those with memory */
	FLDENV = 0xd904, FLDCW = 0xd905, FNSTENV = 0xd906, FNINIT = 0xdbe3, FRSTOR = 0xdd04, FNSAVE = 0xdd06,
};

void rule_x87(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;

	if (!(t->key & BT_KEY_X87) || !vec_runs(t->v->vm.vec, i)) {
		call_interp(t);
		return;
	}
	switch (i->opcode << 8 | (i->is_mem ? i->modrm >> 3 & 7 : i->modrm)) {
	case FLDENV: case FNSTENV:
		if (i->memsize != ENV_SIZE)
			call_interp(t);
		else if (i->arm & X86_ACC_W)
			env_store(t);
		else
			env_load(t);
		break;
	case FRSTOR: case FNSAVE:
		call_interp(t);
		break;
	case FLDCW:
		fldcw(t);
		break;
	case FNINIT:
		copy(t);
		emit_imm(&t->e, R9, 0); /* flags stay */
		emit_op_gs(&t->e, true, OP_MOV_STORE, R9, FPU(fip));
		emit_op_gs(&t->e, true, OP_MOV_STORE, R9, FPU(fdp));
		e8(&t->e, 0x66);
		emit_op_gs(&t->e, false, OP_MOV_STORE, R9, FPU(fop));
		break;
	default:
		copy(t);
	}
}
