/* SPDX-License-Identifier: MIT */
/*
 * x87, MMX, SSE and AVX instructions, run as they are on the guest's registers, which are in the host's (glue.c).
 *
 * That is so where the key says that no exception they may raise is unmasked and that control registers
 * let them run (key_of() in bt.c); so there is none. Instructions that change masks look at the new value
 * first: with an exception unmasked interp executes them, the key changes, and interp goes on from there. What
 * they look at is a copy of their operand in struct bt_cpu, as another CPU of the guest may write to the operand.
 *
 * Everything that keeps the x87 pointers (FLDENV, FNSTENV, FRSTOR, FNSAVE) is interp's.
 */
#include "engine/bt/translate-int.h"
#include "x86/fpu.h"

#define FPU(field) CPU(cpu.s.fpu.field)

enum { FCW_MASKS = 0x3f, MXCSR_MASKS = 0x1f80 };

static bool has_xmm(const struct x86_insn *i)
{
	return i->kreg == X86_K_XMM || i->krm == X86_K_XMM || i->attr & X86_A_FP;
}

unsigned regs_used(const struct x86_insn *i)
{
	switch (i->op) {
	case X86_OP_VEC: case X86_OP_VZERO: case X86_OP_LDMXCSR: case X86_OP_STMXCSR:
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

/* R9D = the operand, of 2 or 4 bytes. False: interp executes the instruction. */
static bool load_operand(struct tr *t, unsigned size)
{
	struct gea g = gea_of(t, &t->now->i);
	struct mem_op m;

	if ((g.ad32 && g.seg) || (!fits32(g.disp) && g.base >= 0)) {
		call_interp(t);
		return false;
	}
	regs_needed(t);
	flags_spare(t);
	t->retry = t->e.p;
	m = check(t, &g, size, false, 0);
	emit_op_m(&t->e, false, size == 2 ? 0x0fb7 : OP_MOV_LOAD, R9, &m);
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
	slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
}

static void fldcw(struct tr *t)
{
	unsigned since = t->ncold;

	if (!load_operand(t, 2))
		return;
	unless_like(t, FCW_MASKS, FCW_MASKS);
	emit_op_gs(&t->e, false, OP_MOV_STORE, R9, CPU(x87)); /* the image is not in use now */
	emit_op_gs(&t->e, false, 0xd9, 5, CPU(x87));
	slow_resume(t, since);
}

void rule_mxcsr(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned since = t->ncold;

	if (vec_key(i) & ~t->key) {
		call_interp(t);
	} else if (i->op == X86_OP_STMXCSR) {
		copy(t);
	} else if (load_operand(t, 4)) {
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
	case FLDENV: case FNSTENV: case FRSTOR: case FNSAVE:
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
