/* SPDX-License-Identifier: MIT */
/*
 * Branches, calls and the stack. Direct branches inside a page are linked to the block they lead to
 * once it is known; everything else ends in op_goto(), which leaves the search to the loop in
 * interp.c.
 */
#include "engine/interp/ops-int.h"

/* ---- stack accesses ---- */

static uint64_t stack_mask(const struct engine_cpu *c)
{
	return c->stack_size == 8 ? ~0ull : c->stack_size == 4 ? 0xffffffff : 0xffff;
}

/* #SS even if the instruction has a memory operand in another segment, which op->seg tells about */
static void stack_canonical(struct engine_cpu *c, const struct iop *op, uint64_t off)
{
	if (unlikely(c->mode == X86_MODE64 && !x86_canonical(off))) {
		c->op = op;
		raise_fault(c, X86_SS_EXC, 0);
	}
}

void stack_push(struct engine_cpu *c, const struct iop *op, uint64_t *sp, unsigned size, uint64_t v)
{
	uint64_t mask = stack_mask(c), off = (*sp - size) & mask;

	stack_canonical(c, op, off);
	store(c, op, seg_lin(c, op, X86_SS, off, size, true), size, v);
	*sp = (*sp & ~mask) | off;
}

uint64_t stack_pop(struct engine_cpu *c, const struct iop *op, uint64_t *sp, unsigned size)
{
	uint64_t mask = stack_mask(c), off = *sp & mask, v;

	stack_canonical(c, op, off);
	v = load(c, op, seg_lin(c, op, X86_SS, off, size, false), size);
	*sp = (*sp & ~mask) | ((off + size) & mask);
	return v;
}

void stack_commit(struct engine_cpu *c, uint64_t sp)
{
	c->s.gpr[X86_RSP] = sp;
}
/* ---- control flow ---- */

const struct iop *op_goto(struct engine_cpu *c, uint64_t rip)
{
	c->rip = rip;
	c->link = NULL;
	c->next = NULL;
	return NULL;
}

/* A direct branch: the target's block is linked in here once it is known (same page only). */
static inline const struct iop *go_direct(
	struct engine_cpu *c, const struct iop *op, uint64_t rip, unsigned way)
{
	c->rip = rip;
	if (op->link) {
		c->link = &op->link[way];
		c->next = op->link[way];
	} else {
		c->link = NULL;
		c->next = NULL;
	}
	return NULL;
}

/* Near branch targets are cut to the operand size outside 64-bit mode and checked. */
static uint64_t near_target(struct engine_cpu *c, const struct iop *op, uint64_t rip, unsigned size)
{
	if (c->mode == X86_MODE64) {
		if (unlikely(!x86_canonical(rip))) {
			c->op = op;
			raise_gp(c);
		}
		return rip;
	}
	rip &= size == 2 ? 0xffff : 0xffffffff;
	if (unlikely(rip > c->s.seg[X86_CS].limit)) {
		c->op = op;
		raise_gp(c);
	}
	return rip;
}

OP(op_end) /* the block is full: go on behind it */
{
	return go_direct(c, op, c->s.gpr[R_PC] + op->next_off, 0);
}

OP(op_jmp)
{
	return go_direct(
		c, op, near_target(c, op, op_next_rip(c, op) + (uint64_t)op->imm, op->size), 1);
}

#define JCC(n)                                                                                     \
	SOP(op_jcc_##n)                                                                            \
	{                                                                                          \
		if (cond(c->fl, n))                                                                \
			return go_direct(c, op, op_next_rip(c, op) + (uint64_t)op->imm, 1);        \
		return go_direct(c, op, op_next_rip(c, op), 0);                                    \
	}
JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(10)
JCC(11)
JCC(12)
JCC(13)
JCC(14)
JCC(15)
iop_fn *const jcc64[16] = {op_jcc_0, op_jcc_1, op_jcc_2, op_jcc_3, op_jcc_4, op_jcc_5, op_jcc_6,
	op_jcc_7, op_jcc_8, op_jcc_9, op_jcc_10, op_jcc_11, op_jcc_12, op_jcc_13, op_jcc_14,
	op_jcc_15};

OP(op_jcc)
{
	if (!cond(c->fl, op->cc))
		return go_direct(c, op, op_next_rip(c, op), 0);
	return op_jmp(c, op);
}

/* LOOP, LOOPE, LOOPNE, JCXZ; the count register has the address size. */
OP(op_loop)
{
	const struct x86_insn *i = op->insn;
	uint64_t n = reg_get(c, X86_RCX * 8, i->adsize), target;
	bool taken;

	if (i->op == X86_OP_JCXZ) {
		taken = n == 0;
	} else {
		n--;
		if (i->adsize == 2)
			n &= 0xffff;
		else if (i->adsize == 4)
			n &= 0xffffffff;
		taken = n != 0;
		if (i->op == X86_OP_LOOPE)
			taken &= !!(c->fl & FL_ZF);
		else if (i->op == X86_OP_LOOPNE)
			taken &= !(c->fl & FL_ZF);
	}
	target = taken ? near_target(c, op, op_next_rip(c, op) + (uint64_t)i->imm, i->opsize)
		       : op_next_rip(c, op);
	if (i->op != X86_OP_JCXZ)
		reg_put(c, X86_RCX * 8, i->adsize, n);
	return op_goto(c, target);
}

OP(op_call64)
{
	uint64_t sp = c->s.gpr[X86_RSP] - 8, next = op_next_rip(c, op);

	mem_st64(c, op, sp, next);
	c->s.gpr[X86_RSP] = sp;
	return go_direct(c, op, next + (uint64_t)op->imm, 1);
}

OP(op_ret64)
{
	uint64_t sp = c->s.gpr[X86_RSP], rip = mem_ld64(c, op, sp);

	rip = near_target(c, op, rip, 8);
	c->s.gpr[X86_RSP] = sp + 8 + (uint64_t)op->imm;
	return op_goto(c, rip);
}

OP(op_call)
{
	uint64_t sp = c->s.gpr[X86_RSP], next = op_next_rip(c, op);
	uint64_t rip = near_target(c, op, next + (uint64_t)op->imm, op->size);

	stack_push(c, op, &sp, op->size, next);
	stack_commit(c, sp);
	return op_goto(c, rip);
}

OP(op_ret)
{
	uint64_t sp = c->s.gpr[X86_RSP], mask = stack_mask(c);
	uint64_t rip = near_target(c, op, stack_pop(c, op, &sp, op->size), op->size);

	stack_commit(c, (sp & ~mask) | ((sp + (uint64_t)op->imm) & mask));
	return op_goto(c, rip);
}

OP(op_jmpind)
{
	unsigned size = op->insn->opsize;

	return op_goto(c, near_target(c, op, rm_get(c, op, size), size));
}

OP(op_callind)
{
	uint64_t sp = c->s.gpr[X86_RSP], rip;
	unsigned size = op->insn->opsize;

	rip = near_target(c, op, rm_get(c, op, size), size);
	stack_push(c, op, &sp, size, op_next_rip(c, op));
	stack_commit(c, sp);
	return op_goto(c, rip);
}
/* ---- stack ---- */

OP(op_push64)
{
	uint64_t sp = c->s.gpr[X86_RSP] - 8;

	mem_st64(c, op, sp, RD(64));
	c->s.gpr[X86_RSP] = sp;
	return op_next(c, op);
}

OP(op_pop64)
{
	uint64_t sp = c->s.gpr[X86_RSP], v = mem_ld64(c, op, sp);

	c->s.gpr[X86_RSP] = sp + 8;
	RD(64) = v;
	return op_next(c, op);
}

OP(op_push)
{
	const struct x86_insn *i = op->insn;
	uint64_t sp = c->s.gpr[X86_RSP], v;

	v = i->form == X86_F_I ? (uint64_t)i->imm : rm_get(c, op, i->opsize);
	stack_push(c, op, &sp, i->opsize, v);
	stack_commit(c, sp);
	return op_next(c, op);
}

/* POP to memory computes its address after RSP was incremented. */
OP(op_pop)
{
	const struct x86_insn *i = op->insn;
	uint64_t old = c->s.gpr[X86_RSP], sp = old, v = stack_pop(c, op, &sp, i->opsize), lin;

	if (!i->is_mem) {
		stack_commit(c, sp);
		reg_put(c, op->dst, i->opsize, v);
		return op_next(c, op);
	}
	c->s.gpr[X86_RSP] = sp;
	lin = op_off(c, op);
	c->s.gpr[X86_RSP] = old;
	lin = op->flat ? lin : seg_lin(c, op, op->seg, lin, i->opsize, true);
	store(c, op, lin, i->opsize, v);
	stack_commit(c, sp);
	return op_next(c, op);
}

OP(op_pusha)
{
	const struct x86_insn *i = op->insn;
	uint64_t sp = c->s.gpr[X86_RSP];

	/* probe the far end first: a fault leaves nothing changed that matters */
	for (unsigned k = 0; k < 8; k++)
		stack_push(c, op, &sp, i->opsize, reg_get(c, k * 8, i->opsize));
	stack_commit(c, sp);
	return op_next(c, op);
}

OP(op_popa)
{
	const struct x86_insn *i = op->insn;
	uint64_t sp = c->s.gpr[X86_RSP], v[8];

	for (unsigned k = 8; k-- > 0;)
		v[k] = stack_pop(c, op, &sp, i->opsize);
	for (unsigned k = 0; k < 8; k++)
		if (k != X86_RSP)
			reg_put(c, k * 8, i->opsize, v[k]);
	stack_commit(c, sp);
	return op_next(c, op);
}

OP(op_enter)
{
	const struct x86_insn *i = op->insn;
	unsigned level = i->imm2 & 31, size = i->opsize;
	uint64_t mask = stack_mask(c), sp = c->s.gpr[X86_RSP], bp = c->s.gpr[X86_RBP], frame;

	stack_push(c, op, &sp, size, bp);
	frame = sp;
	if (level) {
		for (unsigned k = 1; k < level; k++) {
			uint64_t off;

			bp = (bp & ~mask) | ((bp - size) & mask);
			off = bp & mask;
			stack_push(c, op, &sp, size,
				load(c, op, seg_lin(c, op, X86_SS, off, size, false), size));
		}
		stack_push(c, op, &sp, size, frame);
	}
	sp = (sp & ~mask) | ((sp - (uint16_t)i->imm) & mask);
	/* the final stack pointer must be writable, or ENTER faults with everything undone */
	c->op = op;
	mem_probe_write(c, seg_lin(c, op, X86_SS, sp & mask, 1, true), 1, X86_SS);
	reg_put(c, X86_RBP * 8, size, frame);
	stack_commit(c, sp);
	return op_next(c, op);
}

OP(op_leave)
{
	const struct x86_insn *i = op->insn;
	uint64_t mask = stack_mask(c), sp = c->s.gpr[X86_RSP], v;

	sp = (sp & ~mask) | (c->s.gpr[X86_RBP] & mask);
	v = stack_pop(c, op, &sp, i->opsize);
	stack_commit(c, sp);
	reg_put(c, X86_RBP * 8, i->opsize, v);
	return op_next(c, op);
}
