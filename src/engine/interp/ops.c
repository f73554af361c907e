/* SPDX-License-Identifier: MIT */
/*
 * Integer instructions: one C function each, and op_bind(), which chooses it. The common shapes
 * of the common instructions have functions of their own (made by macros per operand size); the
 * rest go through generic ones that look at struct x86_insn again.
 *
 * A function returns the next instruction of the block, or ends the block by op_goto(). Memory is
 * accessed before registers are written, so that faults are precise.
 */
#include "engine/interp/alu.h"
#include "engine/interp/interp-int.h"

__extension__ typedef __int128 i128;
__extension__ typedef unsigned __int128 u128;

#define OP(name) const struct iop *name(struct engine_cpu *c, const struct iop *op)
#define SOP(name) static OP(name)

/* ---- operands ---- */

uint64_t rm_get(struct engine_cpu *c, const struct iop *op, unsigned size)
{
	if (!op->insn->is_mem)
		return reg_get(c, op->dst, size);
	return load(c, op, op_lin(c, op, size, false), size);
}

void rm_put(struct engine_cpu *c, const struct iop *op, unsigned size, uint64_t v)
{
	if (!op->insn->is_mem)
		reg_put(c, op->dst, size, v);
	else
		store(c, op, op_lin(c, op, size, true), size, v);
}

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

SOP(op_end) /* the block is full: go on behind it */
{
	return go_direct(c, op, c->s.gpr[R_PC] + op->next_off, 0);
}

SOP(op_jmp)
{
	return go_direct(c, op, near_target(c, op, op_next_rip(c, op) + (uint64_t)op->imm, op->size), 1);
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
static iop_fn *const jcc64[16] = {op_jcc_0, op_jcc_1, op_jcc_2, op_jcc_3, op_jcc_4, op_jcc_5, op_jcc_6,
	op_jcc_7, op_jcc_8, op_jcc_9, op_jcc_10, op_jcc_11, op_jcc_12, op_jcc_13, op_jcc_14, op_jcc_15};

SOP(op_jcc)
{
	if (!cond(c->fl, op->cc))
		return go_direct(c, op, op_next_rip(c, op), 0);
	return op_jmp(c, op);
}

/* LOOP, LOOPE, LOOPNE, JCXZ; the count register has the address size. */
SOP(op_loop)
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

SOP(op_call64)
{
	uint64_t sp = c->s.gpr[X86_RSP] - 8, next = op_next_rip(c, op);

	mem_st64(c, op, sp, next);
	c->s.gpr[X86_RSP] = sp;
	return go_direct(c, op, next + (uint64_t)op->imm, 1);
}

SOP(op_ret64)
{
	uint64_t sp = c->s.gpr[X86_RSP], rip = mem_ld64(c, op, sp);

	rip = near_target(c, op, rip, 8);
	c->s.gpr[X86_RSP] = sp + 8 + (uint64_t)op->imm;
	return op_goto(c, rip);
}

SOP(op_call)
{
	uint64_t sp = c->s.gpr[X86_RSP], next = op_next_rip(c, op);
	uint64_t rip = near_target(c, op, next + (uint64_t)op->imm, op->size);

	stack_push(c, op, &sp, op->size, next);
	stack_commit(c, sp);
	return op_goto(c, rip);
}

SOP(op_ret)
{
	uint64_t sp = c->s.gpr[X86_RSP], mask = stack_mask(c);
	uint64_t rip = near_target(c, op, stack_pop(c, op, &sp, op->size), op->size);

	stack_commit(c, (sp & ~mask) | ((sp + (uint64_t)op->imm) & mask));
	return op_goto(c, rip);
}

SOP(op_jmpind)
{
	unsigned size = op->insn->opsize;

	return op_goto(c, near_target(c, op, rm_get(c, op, size), size));
}

SOP(op_callind)
{
	uint64_t sp = c->s.gpr[X86_RSP], rip;
	unsigned size = op->insn->opsize;

	rip = near_target(c, op, rm_get(c, op, size), size);
	stack_push(c, op, &sp, size, op_next_rip(c, op));
	stack_commit(c, sp);
	return op_goto(c, rip);
}

/* ---- moves, loads, stores ---- */

#define RD(bits) (*(any_u##bits *)(void *)reg8(c, op->dst)).v
#define RS(bits) (*(any_u##bits *)(void *)reg8(c, op->src)).v
/* 32-bit results clear the upper half */
#define SET_DST(bits, val)                                                                         \
	do {                                                                                       \
		uint##bits##_t set_v = (uint##bits##_t)(val);                                      \
		if ((bits) == 32)                                                                  \
			(*(any_u64 *)(void *)reg8(c, op->dst)).v = set_v;                          \
		else                                                                               \
			RD(bits) = set_v;                                                          \
	} while (0)

#define MOVES(bits)                                                                                \
	SOP(op_mov_rr##bits)                                                                       \
	{                                                                                          \
		SET_DST(bits, RS(bits));                                                           \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_ri##bits)                                                                       \
	{                                                                                          \
		SET_DST(bits, op->imm);                                                            \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_rm##bits)                                                                       \
	{                                                                                          \
		SET_DST(bits, mem_ld##bits(c, op, op_lin(c, op, bits / 8, false)));                \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_mr##bits)                                                                       \
	{                                                                                          \
		mem_st##bits(c, op, op_lin(c, op, bits / 8, true), RS(bits));                      \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_mi##bits)                                                                       \
	{                                                                                          \
		mem_st##bits(c, op, op_lin(c, op, bits / 8, true), (uint##bits##_t)op->imm);       \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_cmov_rr##bits)                                                                      \
	{                                                                                          \
		uint##bits##_t v = RS(bits);                                                       \
		SET_DST(bits, cond(c->fl, op->cc) ? v : RD(bits));                                 \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_cmov_rm##bits)                                                                      \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		SET_DST(bits, cond(c->fl, op->cc) ? v : RD(bits));                                 \
		return op_next(c, op);                                                                     \
	}
MOVES(8)
MOVES(16)
MOVES(32)
MOVES(64)
#define BY_SIZE(t) {t##8, t##16, t##32, t##64}
static iop_fn *const mov_rr[4] = BY_SIZE(op_mov_rr), *const mov_ri[4] = BY_SIZE(op_mov_ri),
		     *const mov_rm[4] = BY_SIZE(op_mov_rm), *const mov_mr[4] = BY_SIZE(op_mov_mr),
		     *const mov_mi[4] = BY_SIZE(op_mov_mi), *const cmov_rr[4] = BY_SIZE(op_cmov_rr),
		     *const cmov_rm[4] = BY_SIZE(op_cmov_rm);

/* MOVZX, MOVSX by destination and source size */
#define EXTEND(dbits, sbits)                                                                       \
	SOP(op_movzx_rr##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, RS(sbits));                                                         \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_movzx_rm##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, mem_ld##sbits(c, op, op_lin(c, op, sbits / 8, false)));             \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_movsx_rr##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, (int##sbits##_t)RS(sbits));                                         \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_movsx_rm##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, (int##sbits##_t)mem_ld##sbits(c, op, op_lin(c, op, sbits / 8, false))); \
		return op_next(c, op);                                                                     \
	}
EXTEND(16, 8)
EXTEND(16, 16)
EXTEND(32, 8)
EXTEND(32, 16)
EXTEND(32, 32)
EXTEND(64, 8)
EXTEND(64, 16)
EXTEND(64, 32)
#define EXT_ROW(k)                                                                                 \
	{{k##16_8, k##16_16, NULL}, {k##32_8, k##32_16, k##32_32}, {k##64_8, k##64_16, k##64_32}}
static iop_fn *const movzx_rr[3][3] = EXT_ROW(op_movzx_rr), *const movzx_rm[3][3] = EXT_ROW(op_movzx_rm),
		     *const movsx_rr[3][3] = EXT_ROW(op_movsx_rr),
		     *const movsx_rm[3][3] = EXT_ROW(op_movsx_rm);

SOP(op_lea16)
{
	SET_DST(16, op_off(c, op));
	return op_next(c, op);
}
SOP(op_lea32)
{
	SET_DST(32, op_off(c, op));
	return op_next(c, op);
}
SOP(op_lea64)
{
	SET_DST(64, op_off(c, op));
	return op_next(c, op);
}

SOP(op_nop)
{
	return op_next(c, op);
}

SOP(op_pause)
{
	__builtin_ia32_pause();
	return op_goto(c, op_next_rip(c, op));
}

/* ---- the eight of group 1, and TEST ---- */

#define ALU_FORMS(name, fn, bits)                                                                  \
	SOP(op_##name##_rr##bits)                                                                  \
	{                                                                                          \
		SET_DST(bits, fn##bits(RD(bits), RS(bits), &c->fl));                               \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_ri##bits)                                                                  \
	{                                                                                          \
		SET_DST(bits, fn##bits(RD(bits), (uint##bits##_t)op->imm, &c->fl));                \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_rm##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		SET_DST(bits, fn##bits(RD(bits), v, &c->fl));                                      \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mr##bits)                                                                  \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = fn##bits(p->v, RS(bits), &c->fl);                                           \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mi##bits)                                                                  \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = fn##bits(p->v, (uint##bits##_t)op->imm, &c->fl);                            \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_lr##bits)                                                                  \
	{                                                                                          \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_##name##bits(p, RS(bits), &c->fl);                                        \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_li##bits)                                                                  \
	{                                                                                          \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_##name##bits(p, (uint##bits##_t)op->imm, &c->fl);                         \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}
/* CMP and TEST: no result */
#define CMP_FORMS(name, fn, bits)                                                                  \
	SOP(op_##name##_rr##bits)                                                                  \
	{                                                                                          \
		fn##bits(RD(bits), RS(bits), &c->fl);                                              \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_ri##bits)                                                                  \
	{                                                                                          \
		fn##bits(RD(bits), (uint##bits##_t)op->imm, &c->fl);                               \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_rm##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		fn##bits(RD(bits), v, &c->fl);                                                     \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mr##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		fn##bits(v, RS(bits), &c->fl);                                                     \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mi##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		fn##bits(v, (uint##bits##_t)op->imm, &c->fl);                                      \
		return op_next(c, op);                                                                     \
	}
#define FOUR(m, name, fn) m(name, fn, 8) m(name, fn, 16) m(name, fn, 32) m(name, fn, 64)
FOUR(ALU_FORMS, add, alu_add)
FOUR(ALU_FORMS, or, alu_or)
FOUR(ALU_FORMS, adc, alu_adc)
FOUR(ALU_FORMS, sbb, alu_sbb)
FOUR(ALU_FORMS, and, alu_and)
FOUR(ALU_FORMS, sub, alu_sub)
FOUR(ALU_FORMS, xor, alu_xor)
FOUR(CMP_FORMS, cmp, alu_sub)
FOUR(CMP_FORMS, test, alu_and)

enum { SH_RR, SH_RI, SH_RM, SH_MR, SH_MI, SH_LR, SH_LI, SH_COUNT };
#define ALU_ROW(n)                                                                                 \
	{BY_SIZE(op_##n##_rr), BY_SIZE(op_##n##_ri), BY_SIZE(op_##n##_rm), BY_SIZE(op_##n##_mr),   \
		BY_SIZE(op_##n##_mi), BY_SIZE(op_##n##_lr), BY_SIZE(op_##n##_li)}
#define CMP_ROW(n)                                                                                 \
	{BY_SIZE(op_##n##_rr), BY_SIZE(op_##n##_ri), BY_SIZE(op_##n##_rm), BY_SIZE(op_##n##_mr),   \
		BY_SIZE(op_##n##_mi)}
static iop_fn *const alu_fns[9][SH_COUNT][4] = {ALU_ROW(add), ALU_ROW(or), ALU_ROW(adc), ALU_ROW(sbb),
	ALU_ROW(and), ALU_ROW(sub), ALU_ROW(xor), CMP_ROW(cmp), CMP_ROW(test)};

/* ---- one operand ---- */

#define UNARY(name, bits)                                                                          \
	SOP(op_##name##_r##bits)                                                                   \
	{                                                                                          \
		SET_DST(bits, alu_##name##bits(RD(bits), &c->fl));                                 \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_m##bits)                                                                   \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = alu_##name##bits(p->v, &c->fl);                                             \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_l##bits)                                                                   \
	{                                                                                          \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_##name##bits(p, &c->fl);                                                  \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}
/* NOT leaves the flags alone; the LOCK form's flag word is simply written back as it was */
#define alu_not_def(bits)                                                                          \
	static inline uint##bits##_t alu_not##bits(uint##bits##_t a, uint32_t *fl)                 \
	{                                                                                          \
		(void)fl;                                                                          \
		return (uint##bits##_t)~a;                                                         \
	}
alu_not_def(8)
alu_not_def(16)
alu_not_def(32)
alu_not_def(64)
#define FOUR1(name) UNARY(name, 8) UNARY(name, 16) UNARY(name, 32) UNARY(name, 64)
FOUR1(inc)
FOUR1(dec)
FOUR1(neg)
#define NOT(bits)                                                                                  \
	SOP(op_not_r##bits)                                                                        \
	{                                                                                          \
		SET_DST(bits, alu_not##bits(RD(bits), &c->fl));                                    \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_not_m##bits)                                                                        \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = alu_not##bits(p->v, &c->fl);                                                \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_not_l##bits)                                                                        \
	{                                                                                          \
		uint32_t fl = c->fl;                                                               \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_not##bits(p, &fl);                                                        \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}
NOT(8)
NOT(16)
NOT(32)
NOT(64)
#define UNARY_ROW(n) {BY_SIZE(op_##n##_r), BY_SIZE(op_##n##_m), BY_SIZE(op_##n##_l)}
static iop_fn *const not_fns[3][4] = UNARY_ROW(not), *const neg_fns[3][4] = UNARY_ROW(neg),
		     *const inc_fns[3][4] = UNARY_ROW(inc), *const dec_fns[3][4] = UNARY_ROW(dec);

/* ---- shifts and rotates ---- */

#define SHIFT_CASE(bits)                                                                           \
	static uint64_t shift##bits(unsigned kind, uint64_t v, uint8_t n, uint32_t *fl)            \
	{                                                                                          \
		uint##bits##_t a = (uint##bits##_t)v;                                              \
		switch (kind) {                                                                    \
		case X86_OP_ROL:                                                                   \
			return alu_rol##bits(a, n, fl);                                            \
		case X86_OP_ROR:                                                                   \
			return alu_ror##bits(a, n, fl);                                            \
		case X86_OP_RCL:                                                                   \
			return alu_rcl##bits(a, n, fl);                                            \
		case X86_OP_RCR:                                                                   \
			return alu_rcr##bits(a, n, fl);                                            \
		case X86_OP_SHR:                                                                   \
			return alu_shr##bits(a, n, fl);                                            \
		case X86_OP_SAR:                                                                   \
			return alu_sar##bits(a, n, fl);                                            \
		default:                                                                           \
			return alu_shl##bits(a, n, fl);                                            \
		}                                                                                  \
	}
SHIFT_CASE(8)
SHIFT_CASE(16)
SHIFT_CASE(32)
SHIFT_CASE(64)

static uint64_t shift(unsigned kind, unsigned size, uint64_t v, unsigned n, uint32_t *fl)
{
	uint32_t old = *fl;

	n &= size == 8 ? 63 : 31;
	if (!n)
		return v;
	switch (size) {
	case 1:
		v = shift8(kind, v, (uint8_t)n, fl);
		/* a rotation by a multiple of the width: the host's CF and OF are right, the rest stays */
		break;
	case 2:
		v = shift16(kind, v, (uint8_t)n, fl);
		break;
	case 4:
		v = shift32(kind, v, (uint8_t)n, fl);
		break;
	default:
		v = shift64(kind, v, (uint8_t)n, fl);
	}
	/*
	 * OF did not go into the host's flags: RCL and RCR with a count that is 0 modulo the width + 1
	 * leave all flags alone.
	 */
	if ((kind == X86_OP_RCL || kind == X86_OP_RCR) && size < 4 && n % (size * 8 + 1) == 0)
		*fl = old;
	return v;
}

static unsigned shift_count(const struct engine_cpu *c, const struct iop *op)
{
	return op->insn->form == X86_F_RM_CL ? (uint8_t)c->s.gpr[X86_RCX]
		: op->insn->form == X86_F_RM_1 ? 1
					       : (uint8_t)op->insn->imm;
}

static void *rmw_any(struct engine_cpu *c, const struct iop *op, uint64_t lin, unsigned size)
{
	switch (size) {
	case 1:
		return mem_rmw8(c, op, lin);
	case 2:
		return mem_rmw16(c, op, lin);
	case 4:
		return mem_rmw32(c, op, lin);
	default:
		return mem_rmw64(c, op, lin);
	}
}

static uint64_t get_size(const void *p, unsigned size)
{
	switch (size) {
	case 1:
		return *(const uint8_t *)p;
	case 2:
		return get_u16(p);
	case 4:
		return get_u32(p);
	default:
		return get_u64(p);
	}
}

static void put_size(void *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		*(uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		put_u16(p, (uint16_t)v);
		break;
	case 4:
		put_u32(p, (uint32_t)v);
		break;
	default:
		put_u64(p, v);
	}
}

SOP(op_shift)
{
	const struct x86_insn *i = op->insn;
	unsigned n = shift_count(c, op), size = i->opsize;

	if (!i->is_mem) {
		reg_put(c, op->dst, size, shift(i->op, size, reg_get(c, op->dst, size), n, &c->fl));
	} else {
		/* written even when the count is 0: the permission is needed then, too */
		void *p = rmw_any(c, op, op_lin(c, op, size, true), size);

		put_size(p, size, shift(i->op, size, get_size(p, size), n, &c->fl));
		mem_rmw_done(c);
	}
	return op_next(c, op);
}

#define SHIFT_RI(name, kind, bits)                                                                 \
	SOP(op_##name##_ri##bits)                                                                  \
	{                                                                                          \
		SET_DST(bits, alu_##name##bits(RD(bits), (uint8_t)op->imm, &c->fl));               \
		return op_next(c, op);                                                                     \
	}
SHIFT_RI(shl, X86_OP_SHL, 32)
SHIFT_RI(shl, X86_OP_SHL, 64)
SHIFT_RI(shr, X86_OP_SHR, 32)
SHIFT_RI(shr, X86_OP_SHR, 64)
SHIFT_RI(sar, X86_OP_SAR, 32)
SHIFT_RI(sar, X86_OP_SAR, 64)

SOP(op_shld)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize, n = i->form == X86_F_RM_CL ? (uint8_t)c->s.gpr[X86_RCX] : (uint8_t)i->imm;
	uint64_t v, src = reg_get(c, i->reg * 8u, size);
	bool left = i->op == X86_OP_SHLD;
	uint32_t fl = c->fl;
	void *p = NULL;

	n &= size == 8 ? 63 : 31;
	if (i->is_mem) {
		p = rmw_any(c, op, op_lin(c, op, size, true), size);
		v = get_size(p, size);
	} else {
		v = reg_get(c, op->dst, size);
	}
	if (n) {
		switch (size) {
		case 2:
			v = left ? alu_shld16((uint16_t)v, (uint16_t)src, (uint8_t)n, &fl)
				 : alu_shrd16((uint16_t)v, (uint16_t)src, (uint8_t)n, &fl);
			break;
		case 4:
			v = left ? alu_shld32((uint32_t)v, (uint32_t)src, (uint8_t)n, &fl)
				 : alu_shrd32((uint32_t)v, (uint32_t)src, (uint8_t)n, &fl);
			break;
		default:
			v = left ? alu_shld64(v, src, (uint8_t)n, &fl) : alu_shrd64(v, src, (uint8_t)n, &fl);
		}
	}
	if (i->is_mem) {
		put_size(p, size, v);
		mem_rmw_done(c);
	} else {
		reg_put(c, op->dst, size, v);
	}
	c->fl = fl;
	return op_next(c, op);
}

/* ---- multiply, divide ---- */

SOP(op_mul1)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->opsize);
	bool sign = i->op == X86_OP_IMUL1;
	uint64_t *a = &c->s.gpr[X86_RAX], *d = &c->s.gpr[X86_RDX];

	switch (i->opsize) {
	case 1: {
		uint16_t r = sign ? alu_imul1_8((uint8_t)*a, (uint8_t)v, &c->fl)
				  : alu_mul8((uint8_t)*a, (uint8_t)v, &c->fl);

		put_u16(a, r);
		break;
	}
	case 2: {
		uint16_t lo = (uint16_t)*a, hi;

		if (sign)
			alu_imul1_16(&lo, &hi, (uint16_t)v, &c->fl);
		else
			alu_mul16(&lo, &hi, (uint16_t)v, &c->fl);
		put_u16(a, lo);
		put_u16(d, hi);
		break;
	}
	case 4: {
		uint32_t lo = (uint32_t)*a, hi;

		if (sign)
			alu_imul1_32(&lo, &hi, (uint32_t)v, &c->fl);
		else
			alu_mul32(&lo, &hi, (uint32_t)v, &c->fl);
		*a = lo;
		*d = hi;
		break;
	}
	default: {
		uint64_t lo = *a, hi;

		if (sign)
			alu_imul1_64(&lo, &hi, v, &c->fl);
		else
			alu_mul64(&lo, &hi, v, &c->fl);
		*a = lo;
		*d = hi;
	}
	}
	return op_next(c, op);
}

SOP(op_imul2)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->opsize), old;

	old = i->op == X86_OP_IMUL3 ? (uint64_t)i->imm : reg_get(c, i->reg * 8u, i->opsize);
	switch (i->opsize) {
	case 2:
		v = alu_imul16((uint16_t)old, (uint16_t)v, &c->fl);
		break;
	case 4:
		v = alu_imul32((uint32_t)old, (uint32_t)v, &c->fl);
		break;
	default:
		v = alu_imul64(old, v, &c->fl);
	}
	reg_put(c, i->reg * 8u, i->opsize, v);
	return op_next(c, op);
}

static noreturn void raise_de(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	raise_plain(c, X86_DE);
}

/* The flags are undefined after a division; they stay as they were, as AMD's and newer Intel's do. */
SOP(op_div)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->opsize);
	uint64_t *a = &c->s.gpr[X86_RAX], *d = &c->s.gpr[X86_RDX];
	bool sign = i->op == X86_OP_IDIV;

	if (i->opsize == 8) {
		if (!v)
			raise_de(c, op);
		if (!sign) {
			if (*d >= v)
				raise_de(c, op);
			__asm__("divq %[v]" : "+a"(*a), "+d"(*d) : [v] "r"(v) : "cc");
		} else {
			i128 n = (i128)((u128)*d << 64 | *a), q;
			int64_t s = (int64_t)v;

			if (s == -1 && n == (i128)((u128)1 << 127))
				raise_de(c, op);
			q = n / s;
			if (q != (int64_t)q)
				raise_de(c, op);
			*a = (uint64_t)q;
			*d = (uint64_t)(n % s);
		}
		return op_next(c, op);
	}
	if (!sign) {
		uint64_t n, bits = i->opsize * 8u;

		v &= (1ull << bits) - 1;
		n = i->opsize == 1 ? (uint16_t)*a
				   : reg_get(c, X86_RDX * 8, i->opsize) << bits |
				reg_get(c, X86_RAX * 8, i->opsize);
		if (!v || n / v >> bits)
			raise_de(c, op);
		reg_put(c, X86_RAX * 8, i->opsize, n / v);
		reg_put(c, i->opsize == 1 ? 1 : X86_RDX * 8, i->opsize, n % v);
	} else {
		int64_t n, s, q, r;

		switch (i->opsize) {
		case 1:
			n = (int16_t)*a;
			s = (int8_t)v;
			break;
		case 2:
			n = (int32_t)((uint32_t)(uint16_t)*d << 16 | (uint16_t)*a);
			s = (int16_t)v;
			break;
		default:
			n = (int64_t)(*d << 32 | (uint32_t)*a);
			s = (int32_t)v;
		}
		if (!s || (s == -1 && n == INT64_MIN))
			raise_de(c, op);
		q = n / s;
		r = n % s;
		if ((i->opsize == 1 && q != (int8_t)q) || (i->opsize == 2 && q != (int16_t)q) ||
			(i->opsize == 4 && q != (int32_t)q))
			raise_de(c, op);
		reg_put(c, X86_RAX * 8, i->opsize, (uint64_t)q);
		reg_put(c, i->opsize == 1 ? 1 : X86_RDX * 8, i->opsize, (uint64_t)r);
	}
	return op_next(c, op);
}

/* ---- exchange ---- */

SOP(op_xchg)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize;
	uint64_t v;

	if (!i->is_mem) {
		v = reg_get(c, op->dst, size);
		reg_put(c, op->dst, size, reg_get(c, op->src, size));
		reg_put(c, op->src, size, v);
		return op_next(c, op);
	}
	c->locked = true;
	switch (size) {
	case 1: {
		any_u8 *p = mem_rmw8(c, op, op_lin(c, op, 1, true));

		v = __atomic_exchange_n(&p->v, (uint8_t)reg_get(c, op->src, 1), __ATOMIC_SEQ_CST);
		break;
	}
	case 2: {
		void *p = mem_rmw16(c, op, op_lin(c, op, 2, true));
		uint16_t x = (uint16_t)reg_get(c, op->src, 2);

		__asm__ volatile("xchgw %0, (%1)" : "+r"(x) : "r"(p) : "memory");
		v = x;
		break;
	}
	case 4: {
		void *p = mem_rmw32(c, op, op_lin(c, op, 4, true));
		uint32_t x = (uint32_t)reg_get(c, op->src, 4);

		__asm__ volatile("xchgl %0, (%1)" : "+r"(x) : "r"(p) : "memory");
		v = x;
		break;
	}
	default: {
		void *p = mem_rmw64(c, op, op_lin(c, op, 8, true));
		uint64_t x = reg_get(c, op->src, 8);

		__asm__ volatile("xchgq %0, (%1)" : "+r"(x) : "r"(p) : "memory");
		v = x;
	}
	}
	mem_rmw_done(c);
	c->locked = false;
	reg_put(c, op->src, size, v);
	return op_next(c, op);
}

SOP(op_xadd)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize;
	uint64_t src = reg_get(c, op->src, size), old = 0;
	uint32_t f = 0;
	void *p;

	if (!i->is_mem) {
		old = reg_get(c, op->dst, size);
		switch (size) {
		case 1:
			src = alu_add8((uint8_t)old, (uint8_t)src, &c->fl);
			break;
		case 2:
			src = alu_add16((uint16_t)old, (uint16_t)src, &c->fl);
			break;
		case 4:
			src = alu_add32((uint32_t)old, (uint32_t)src, &c->fl);
			break;
		default:
			src = alu_add64(old, src, &c->fl);
		}
		reg_put(c, op->src, size, old);
		reg_put(c, op->dst, size, src);
		return op_next(c, op);
	}
	c->locked = i->pfx & X86_PFX_LOCK;
	p = rmw_any(c, op, op_lin(c, op, size, true), size);
	old = src;
#define XADD(sfx, mod)                                                                             \
	__asm__ volatile("lock xadd" sfx " %" mod "[v], (%[p])\n\t" ALU_FLAGS                      \
		: [v] "+&r"(old), "=&a"(f)                                                         \
		: [p] "r"(p)                                                                       \
		: "cc", "memory")
	switch (size) {
	case 1:
		XADD("b", "b");
		break;
	case 2:
		XADD("w", "w");
		break;
	case 4:
		XADD("l", "k");
		break;
	default:
		XADD("q", "q");
	}
	mem_rmw_done(c);
	c->locked = false;
	c->fl = (uint16_t)f;
	reg_put(c, op->src, size, old);
	return op_next(c, op);
}

SOP(op_cmpxchg)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize;
	uint64_t acc = reg_get(c, X86_RAX * 8, size), src = reg_get(c, op->src, size), old = acc, f = c->fl, dst;
	void *p;

	if (!i->is_mem) {
		dst = reg_get(c, op->dst, size);
		p = &dst;
		goto run;
run_done:
		c->fl = (uint16_t)f;
		if (c->fl & FL_ZF) {
			reg_put(c, op->dst, size, src);
		} else {
			/* the destination is not touched, not even the upper half of a 32-bit one */
			reg_put(c, X86_RAX * 8, size, old);
		}
		return op_next(c, op);
	}
	c->locked = i->pfx & X86_PFX_LOCK;
	p = rmw_any(c, op, op_lin(c, op, size, true), size);
run:
#define CMPXCHG(sfx, mod)                                                                          \
	__asm__ volatile("lock cmpxchg" sfx " %" mod "[s], (%[p])\n\t"                             \
		"movq %%rax, %[old]\n\t" ALU_FLAGS "\n\tmovq %%rax, %[f]"                          \
		: "+&a"(acc), [old] "=&r"(old), [f] "=&r"(f)                                       \
		: [s] "r"(src), [p] "r"(p)                                                         \
		: "cc", "memory")
	switch (size) {
	case 1:
		CMPXCHG("b", "b");
		break;
	case 2:
		CMPXCHG("w", "w");
		break;
	case 4:
		CMPXCHG("l", "k");
		break;
	default:
		CMPXCHG("q", "q");
	}
	if (!i->is_mem)
		goto run_done;
	mem_rmw_done(c);
	c->locked = false;
	c->fl = (uint16_t)f;
	if (!(c->fl & FL_ZF))
		reg_put(c, X86_RAX * 8, size, old);
	return op_next(c, op);
}

SOP(op_cmpxchg8b)
{
	bool wide = op->insn->opsize == 8, ok;
	uint64_t *g = c->s.gpr, lin = op_lin(c, op, wide ? 16 : 8, true);

	c->op = op;
	c->locked = true;
	if (wide) {
		uint64_t a = g[X86_RAX], d = g[X86_RDX];
		void *p;

		if (lin & 15) {
			c->locked = false;
			raise_gp(c);
		}
		p = mem_rmw_slow(c, lin, 16, op->seg);
		__asm__ volatile("lock cmpxchg16b (%[p])"
			: "+a"(a), "+d"(d), "=@ccz"(ok)
			: [p] "r"(p), "b"(g[X86_RBX]), "c"(g[X86_RCX])
			: "memory");
		mem_rmw_done(c);
		if (!ok) {
			g[X86_RAX] = a;
			g[X86_RDX] = d;
		}
	} else {
		uint64_t want = g[X86_RDX] << 32 | (uint32_t)g[X86_RAX];
		uint64_t set = g[X86_RCX] << 32 | (uint32_t)g[X86_RBX];
		void *p = mem_rmw64(c, op, lin);

		__asm__ volatile("lock cmpxchgq %[s], (%[p])"
			: "+a"(want), "=@ccz"(ok)
			: [p] "r"(p), [s] "r"(set)
			: "memory");
		mem_rmw_done(c);
		if (!ok) {
			g[X86_RAX] = (uint32_t)want;
			g[X86_RDX] = want >> 32;
		}
	}
	c->locked = false;
	c->fl = ok ? c->fl | FL_ZF : c->fl & ~(uint32_t)FL_ZF;
	return op_next(c, op);
}

SOP(op_bswap)
{
	if (op->size == 8)
		RD(64) = __builtin_bswap64(RD(64));
	else if (op->size == 4)
		SET_DST(32, __builtin_bswap32(RD(32)));
	else
		RD(16) = 0; /* undefined by the manual; what processors do */
	return op_next(c, op);
}

SOP(op_movbe)
{
	const struct x86_insn *i = op->insn;
	bool to_mem = i->form == X86_F_RM_R;
	uint64_t v = to_mem ? reg_get(c, i->reg * 8u, i->opsize) : rm_get(c, op, i->opsize);

	v = i->opsize == 8 ? __builtin_bswap64(v)
		: i->opsize == 4 ? __builtin_bswap32((uint32_t)v)
				 : __builtin_bswap16((uint16_t)v);
	if (to_mem)
		rm_put(c, op, i->opsize, v);
	else
		reg_put(c, i->reg * 8u, i->opsize, v);
	return op_next(c, op);
}

/* ---- stack ---- */

SOP(op_push64)
{
	uint64_t sp = c->s.gpr[X86_RSP] - 8;

	mem_st64(c, op, sp, RD(64));
	c->s.gpr[X86_RSP] = sp;
	return op_next(c, op);
}

SOP(op_pop64)
{
	uint64_t sp = c->s.gpr[X86_RSP], v = mem_ld64(c, op, sp);

	c->s.gpr[X86_RSP] = sp + 8;
	RD(64) = v;
	return op_next(c, op);
}

SOP(op_push)
{
	const struct x86_insn *i = op->insn;
	uint64_t sp = c->s.gpr[X86_RSP], v;

	v = i->form == X86_F_I ? (uint64_t)i->imm : rm_get(c, op, i->opsize);
	stack_push(c, op, &sp, i->opsize, v);
	stack_commit(c, sp);
	return op_next(c, op);
}

/* POP to memory computes its address after RSP was incremented. */
SOP(op_pop)
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

SOP(op_pusha)
{
	const struct x86_insn *i = op->insn;
	uint64_t sp = c->s.gpr[X86_RSP];

	/* probe the far end first: a fault leaves nothing changed that matters */
	for (unsigned k = 0; k < 8; k++)
		stack_push(c, op, &sp, i->opsize, reg_get(c, k * 8, i->opsize));
	stack_commit(c, sp);
	return op_next(c, op);
}

SOP(op_popa)
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

SOP(op_enter)
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

SOP(op_leave)
{
	const struct x86_insn *i = op->insn;
	uint64_t mask = stack_mask(c), sp = c->s.gpr[X86_RSP], v;

	sp = (sp & ~mask) | (c->s.gpr[X86_RBP] & mask);
	v = stack_pop(c, op, &sp, i->opsize);
	stack_commit(c, sp);
	reg_put(c, X86_RBP * 8, i->opsize, v);
	return op_next(c, op);
}

/* ---- bits ---- */

/* BT with a register as bit number reaches memory around the operand. */
SOP(op_bt)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize, bits = size * 8, bit;
	bool write = i->op != X86_OP_BT, old;
	uint64_t v, m;

	if (!i->is_mem) {
		uint64_t n = i->form == X86_F_RM_I ? (uint64_t)i->imm : reg_get(c, i->reg * 8u, size);

		bit = (unsigned)(n & (bits - 1));
		v = reg_get(c, op->dst, size);
		old = v >> bit & 1;
		m = 1ull << bit;
		if (i->op == X86_OP_BTS)
			v |= m;
		else if (i->op == X86_OP_BTR)
			v &= ~m;
		else if (i->op == X86_OP_BTC)
			v ^= m;
		if (write)
			reg_put(c, op->dst, size, v);
	} else {
		uint64_t off = op_off(c, op), lin;

		if (i->form == X86_F_RM_I) {
			bit = (unsigned)i->imm & (bits - 1);
		} else {
			uint64_t r = reg_get(c, i->reg * 8u, size);
			int64_t n = size == 8 ? (int64_t)r : size == 4 ? (int32_t)r : (int16_t)r;

			bit = (unsigned)n & (bits - 1);
			off = (off + (uint64_t)((n - (int64_t)bit) / 8)) & op->amask;
		}
		lin = op->flat ? off : seg_lin(c, op, op->seg, off, size, write);
		m = 1ull << bit;
		if (!write) {
			old = load(c, op, lin, size) >> bit & 1;
		} else {
			/* one byte is enough for the operation; the page checks are made for the whole */
			bool lock = i->pfx & X86_PFX_LOCK;
			void *p;

			c->locked = lock;
			p = rmw_any(c, op, lin, size);
#define BIT_LOCK(T)                                                                                \
	do {                                                                                       \
		T *q = p, o, mm = (T)m;                                                            \
		if (!lock) {                                                                       \
			memcpy(&o, q, sizeof o);                                                   \
			T nv = i->op == X86_OP_BTS ? (T)(o | mm)                                   \
				: i->op == X86_OP_BTR ? (T)(o & (T)~mm)                            \
						      : (T)(o ^ mm);                               \
			memcpy(q, &nv, sizeof nv);                                                 \
		} else if (i->op == X86_OP_BTS) {                                                  \
			o = __atomic_fetch_or(q, mm, __ATOMIC_SEQ_CST);                            \
		} else if (i->op == X86_OP_BTR) {                                                  \
			o = __atomic_fetch_and(q, (T)~mm, __ATOMIC_SEQ_CST);                       \
		} else {                                                                           \
			o = __atomic_fetch_xor(q, mm, __ATOMIC_SEQ_CST);                           \
		}                                                                                  \
		old = o >> bit & 1;                                                                \
	} while (0)
			if (size == 2)
				BIT_LOCK(uint16_t);
			else if (size == 4)
				BIT_LOCK(uint32_t);
			else
				BIT_LOCK(uint64_t);
			mem_rmw_done(c);
			c->locked = false;
		}
	}
	c->fl = old ? c->fl | FL_CF : c->fl & ~(uint32_t)FL_CF;
	return op_next(c, op);
}

#define SCAN(name)                                                                                 \
	SOP(op_##name)                                                                             \
	{                                                                                          \
		const struct x86_insn *i = op->insn;                                               \
		uint64_t v = rm_get(c, op, i->opsize), old = reg_get(c, i->reg * 8u, i->opsize);   \
                                                                                                   \
		switch (i->opsize) {                                                               \
		case 2:                                                                            \
			v = alu_##name##16((uint16_t)old, (uint16_t)v, &c->fl);                    \
			break;                                                                     \
		case 4:                                                                            \
			v = alu_##name##32((uint32_t)old, (uint32_t)v, &c->fl);                    \
			break;                                                                     \
		default:                                                                           \
			v = alu_##name##64(old, v, &c->fl);                                        \
		}                                                                                  \
		reg_put(c, i->reg * 8u, i->opsize, v);                                             \
		return op_next(c, op);                                                                     \
	}
SCAN(tzcnt)
SCAN(lzcnt)
SCAN(popcnt)

/* A source of 0 leaves the destination as it is, all 64 bits of it (AMD documents it, Intel does it). */
SOP(op_bsf)
{
	const struct x86_insn *i = op->insn;
	bool fwd = i->op == X86_OP_BSF;
	uint64_t v = rm_get(c, op, i->opsize), old = reg_get(c, i->reg * 8u, i->opsize), r;

	switch (i->opsize) {
	case 2:
		r = fwd ? alu_bsf16((uint16_t)old, (uint16_t)v, &c->fl) : alu_bsr16((uint16_t)old, (uint16_t)v, &c->fl);
		break;
	case 4:
		r = fwd ? alu_bsf32((uint32_t)old, (uint32_t)v, &c->fl) : alu_bsr32((uint32_t)old, (uint32_t)v, &c->fl);
		break;
	default:
		r = fwd ? alu_bsf64(old, v, &c->fl) : alu_bsr64(old, v, &c->fl);
	}
	if (v)
		reg_put(c, i->reg * 8u, i->opsize, r);
	return op_next(c, op);
}

SOP(op_adcx)
{
	const struct x86_insn *i = op->insn;
	uint32_t bit = i->op == X86_OP_ADCX ? FL_CF : FL_OF;
	uint64_t a = rm_get(c, op, i->opsize), b = reg_get(c, i->reg * 8u, i->opsize), r;
	uint64_t cin = c->fl & bit ? 1 : 0;
	bool out;

	if (i->opsize == 4) {
		r = (uint64_t)(uint32_t)a + (uint32_t)b + cin;
		out = r >> 32;
	} else {
		u128 w = (u128)a + b + cin;

		r = (uint64_t)w;
		out = (bool)(w >> 64);
	}
	reg_put(c, i->reg * 8u, i->opsize, r);
	c->fl = out ? c->fl | bit : c->fl & ~bit;
	return op_next(c, op);
}

SOP(op_crc32)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->srcsize), crc = (uint32_t)reg_get(c, i->reg * 8u, 4);

	switch (i->srcsize) {
	case 1:
		__asm__("crc32b %b1, %k0" : "+r"(crc) : "r"(v));
		break;
	case 2:
		__asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(v));
		break;
	case 4:
		__asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(v));
		break;
	default:
		__asm__("crc32q %1, %0" : "+r"(crc) : "r"(v));
	}
	reg_put(c, i->reg * 8u, 8, (uint32_t)crc);
	return op_next(c, op);
}

SOP(op_bmi)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize, bits = size * 8;
	unsigned dst = i->form == X86_F_V_RM ? i->vvvv : i->reg;
	uint64_t rm, v, r = 0;
	uint32_t fl = c->fl;

	c->op = op;
	if (!(c->s.cr0 & X86_CR0_PE) || c->s.rflags & X86_VM)
		raise_ud(c); /* there is no VEX in real and virtual 8086 mode */
	rm = rm_get(c, op, size);
	v = reg_get(c, i->vvvv * 8u, size);

#define BMI(name, ...) (r = size == 4 ? alu_##name##32(__VA_ARGS__, &fl) : alu_##name##64(__VA_ARGS__, &fl))
	switch (i->op) {
	case X86_OP_ANDN:
		r = size == 4 ? alu_andn32((uint32_t)v, (uint32_t)rm, &fl) : alu_andn64(v, rm, &fl);
		break;
	case X86_OP_BEXTR:
		r = size == 4 ? alu_bextr32((uint32_t)rm, (uint32_t)v, &fl) : alu_bextr64(rm, v, &fl);
		break;
	case X86_OP_BZHI:
		r = size == 4 ? alu_bzhi32((uint32_t)rm, (uint32_t)v, &fl) : alu_bzhi64(rm, v, &fl);
		break;
	case X86_OP_BLSI:
		r = size == 4 ? alu_blsi32((uint32_t)rm, &fl) : alu_blsi64(rm, &fl);
		break;
	case X86_OP_BLSMSK:
		r = size == 4 ? alu_blsmsk32((uint32_t)rm, &fl) : alu_blsmsk64(rm, &fl);
		break;
	case X86_OP_BLSR:
		r = size == 4 ? alu_blsr32((uint32_t)rm, &fl) : alu_blsr64(rm, &fl);
		break;
	case X86_OP_MULX: {
		uint64_t d = reg_get(c, X86_RDX * 8, size);
		u128 w = (u128)d * rm;

		if (size == 4)
			w = (uint64_t)(uint32_t)d * (uint32_t)rm;
		/* the low half first: with equal registers the high half stays */
		reg_put(c, i->vvvv * 8u, size, (uint64_t)w);
		r = (uint64_t)(w >> bits);
		break;
	}
	case X86_OP_PDEP:
		__asm__("pdepq %2, %1, %0" : "=r"(r) : "r"(v), "r"(rm));
		break;
	case X86_OP_PEXT:
		__asm__("pextq %2, %1, %0" : "=r"(r) : "r"(v), "r"(rm));
		break;
	case X86_OP_RORX: {
		unsigned n = (unsigned)i->imm & (bits - 1);

		r = n ? rm >> n | rm << (bits - n) : rm;
		break;
	}
	case X86_OP_SARX:
		r = size == 4 ? (uint64_t)((int32_t)rm >> (v & 31)) : (uint64_t)((int64_t)rm >> (v & 63));
		break;
	case X86_OP_SHLX:
		r = rm << (v & (bits - 1));
		break;
	case X86_OP_SHRX:
		r = rm >> (v & (bits - 1));
		break;
	default:
		break;
	}
	reg_put(c, dst * 8u, size, r);
	c->fl = fl;
	return op_next(c, op);
}

/* ---- small ones ---- */

SOP(op_setcc)
{
	uint8_t v = cond(c->fl, op->cc);

	if (op->insn->is_mem)
		mem_st8(c, op, op_lin(c, op, 1, true), v);
	else
		RD(8) = v;
	return op_next(c, op);
}

SOP(op_cbw)
{
	uint64_t a = c->s.gpr[X86_RAX];

	reg_put(c, X86_RAX * 8, op->size,
		op->size == 8 ? (uint64_t)(int32_t)a
			: op->size == 4 ? (uint64_t)(int16_t)a
					: (uint64_t)(int8_t)a);
	return op_next(c, op);
}

SOP(op_cwd)
{
	uint64_t a = c->s.gpr[X86_RAX];
	bool neg = op->size == 8 ? a >> 63 : op->size == 4 ? a >> 31 & 1 : a >> 15 & 1;

	reg_put(c, X86_RDX * 8, op->size, neg ? ~0ull : 0);
	return op_next(c, op);
}

SOP(op_xlat)
{
	const struct x86_insn *i = op->insn;
	uint64_t off = (c->s.gpr[X86_RBX] + (uint8_t)c->s.gpr[X86_RAX]) & op->amask;

	reg_put(c, 0, 1, mem_ld8(c, op, seg_lin(c, op, i->seg, off, 1, false)));
	return op_next(c, op);
}

SOP(op_lahf)
{
	*reg8(c, 1) = (uint8_t)(c->fl >> 8 & 0xd5) | 2;
	return op_next(c, op);
}

SOP(op_sahf)
{
	c->fl = (c->fl & FL_OF) | (uint32_t)(*reg8(c, 1) & 0xd5) << 8;
	return op_next(c, op);
}

SOP(op_salc)
{
	*reg8(c, 0) = c->fl & FL_CF ? 0xff : 0;
	return op_next(c, op);
}

SOP(op_flag)
{
	switch (op->insn->op) {
	case X86_OP_CLC:
		c->fl &= ~(uint32_t)FL_CF;
		break;
	case X86_OP_STC:
		c->fl |= FL_CF;
		break;
	case X86_OP_CMC:
		c->fl ^= FL_CF;
		break;
	case X86_OP_CLD:
		c->s.rflags &= ~(uint64_t)X86_DF;
		break;
	default:
		c->s.rflags |= X86_DF;
	}
	return op_next(c, op);
}

/* SF, ZF, PF of a byte; AF and CF given, OF cleared */
static uint32_t bcd_flags(uint8_t v, bool af, bool cf)
{
	uint32_t f = 0;

	alu_or8(v, v, &f);
	return (f & (FL_SF | FL_ZF | FL_PF)) | (af ? FL_AF : 0) | (cf ? FL_CF : 0);
}

SOP(op_daa)
{
	bool sub = op->insn->op == X86_OP_DAS, af = c->fl & FL_AF, cf = c->fl & FL_CF, ncf = false;
	uint8_t old = *reg8(c, 0), al = old;

	if ((al & 15) > 9 || af) {
		ncf = cf || (sub ? al < 6 : al > 0xf9);
		al = (uint8_t)(sub ? al - 6 : al + 6);
		af = true;
	} else {
		af = false;
	}
	if (old > 0x99 || cf) {
		al = (uint8_t)(sub ? al - 0x60 : al + 0x60);
		ncf = true;
	} else if (!sub) {
		ncf = false;
	}
	*reg8(c, 0) = al;
	c->fl = bcd_flags(al, af, ncf);
	return op_next(c, op);
}

SOP(op_aaa)
{
	bool sub = op->insn->op == X86_OP_AAS;
	uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];
	bool adj = (ax & 15) > 9 || c->fl & FL_AF;

	if (adj)
		ax = (uint16_t)(sub ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	put_u16(c->s.gpr, ax);
	c->fl = bcd_flags((uint8_t)ax, adj, adj);
	return op_next(c, op);
}

SOP(op_aam)
{
	uint8_t base = (uint8_t)op->insn->imm, al = *reg8(c, 0);

	if (op->insn->op == X86_OP_AAM) {
		if (!base)
			raise_de(c, op);
		put_u16(c->s.gpr, (uint16_t)(al / base << 8 | al % base));
	} else {
		put_u16(c->s.gpr, (uint8_t)(al + *reg8(c, 1) * base));
	}
	c->fl = bcd_flags(*reg8(c, 0), false, false);
	return op_next(c, op);
}

SOP(op_ud)
{
	c->op = op;
	raise_ud(c);
}

SOP(op_movnti)
{
	const struct x86_insn *i = op->insn;

	store(c, op, op_lin(c, op, i->regsize, true), i->regsize, reg_get(c, i->reg * 8u, i->regsize));
	return op_next(c, op);
}

/* ---- vectors, x87 ---- */

static void vec_check(struct engine_cpu *c, const struct iop *op, const struct x86_insn *i)
{
	c->op = op;
	if (i->op == X86_OP_X87 || i->op == X86_OP_MMX || i->op == X86_OP_FWAIT) {
		if (i->op == X86_OP_FWAIT) {
			if ((c->s.cr0 & (X86_CR0_MP | X86_CR0_TS)) == (X86_CR0_MP | X86_CR0_TS))
				raise_plain(c, X86_NM);
			return;
		}
		if (i->op == X86_OP_MMX && c->s.cr0 & X86_CR0_EM)
			raise_ud(c);
		if (c->s.cr0 & (X86_CR0_EM | X86_CR0_TS))
			raise_plain(c, X86_NM);
		return;
	}
	if (i->attr & X86_A_VEX ? !c->avx_ok : !c->vec_ok)
		raise_ud(c);
	if (c->s.cr0 & X86_CR0_TS)
		raise_plain(c, X86_NM);
}

/* What alignment checks want of the operand: its size, for the odd sizes of x87 that of their parts. */
static unsigned vec_alignment(const struct x86_insn *i)
{
	switch (i->memsize) {
	case 10:
		return 8;
	case 14:
	case 94:
		return 2;
	case 28:
	case 108:
		return 4;
	case 32:
		return 16;
	}
	return i->memsize;
}

static const struct iop *vec_go(struct engine_cpu *c, const struct iop *op, const struct vec_op *v)
{
	const struct x86_insn *i = &v->insn;
	uint8_t mem[128] __attribute__((aligned(64)));
	uint64_t lin = 0, off = 0;
	int exc;

	if (unlikely(i->op == X86_OP_X87 || i->op == X86_OP_MMX)) {
		/* before the operand is looked at */
		c->op = op;
		if (vec_pending(c->vm->vec, v, &c->s))
			raise_plain(c, X86_MF);
	}
	if (i->is_mem && i->memsize) {
		off = op_off(c, op);
		if (i->attr & X86_A_ALIGN && (op->flat ? off : off + c->s.seg[op->seg].base) & (i->memsize - 1u)) {
			c->op = op;
			raise_gp(c);
		}
		lin = op->flat ? off : seg_lin(c, op, op->seg, off, i->memsize, i->arm & X86_ACC_W);
		c->op = op;
		if (unlikely(c->mmu == MMU_CHECKED) && x86_canonical(lin))
			mem_check_align(c, lin, vec_alignment(i));
		if (i->arm & X86_ACC_R)
			mem_read_bytes(c, lin, mem, i->memsize, op->seg);
		if (i->arm & X86_ACC_W)
			mem_probe_write(c, lin, i->memsize, op->seg);
	}
	if (i->attr & X86_A_FLAGS || i->op == X86_OP_X87)
		c->s.rflags = get_rflags(c);
	exc = vec_run(c->vm->vec, v, &c->s, mem, op_rip(c, op), off);
	c->op = op;
	if (exc == X86_XM && !(c->s.cr4 & X86_CR4_OSXMMEXCPT))
		raise_ud(c);
	if (exc > 0)
		raise_plain(c, (unsigned)exc);
	if (i->attr & X86_A_FLAGS || i->op == X86_OP_X87)
		set_rflags(c, c->s.rflags, X86_ARITH);
	if (i->is_mem && i->arm & X86_ACC_W && exc != VEC_NOSTORE)
		mem_write_bytes(c, lin, mem, i->memsize, op->seg);
	return op_next(c, op);
}

SOP(op_vec)
{
	vec_check(c, op, &op->vec->insn);
	return vec_go(c, op, op->vec);
}

/* Whole-register moves between memory and vector registers make most of what kernels and C libraries do:
 * they need no thunk. */
static bool vec_usable(struct engine_cpu *c, const struct iop *op)
{
	if (likely(c->vec_ok && !(c->s.cr0 & X86_CR0_TS)))
		return true;
	vec_check(c, op, &op->vec->insn);
	return true;
}

SOP(op_vec_load16)
{
	uint64_t lin = op_lin(c, op, 16, false);
	const struct tlb_entry *e = &c->tlb[c->mmu][tlb_index(lin)];

	vec_usable(c, op);
	if (likely(((lin + 15) & ~0xfffull) == e->rtag && !(lin & (uint64_t)op->imm))) {
		memcpy(c->s.fpu.ymm[op->cc], (const void *)(uintptr_t)(lin + e->addend), 16);
		return op_next(c, op);
	}
	return vec_go(c, op, op->vec);
}

SOP(op_vec_store16)
{
	uint64_t lin = op_lin(c, op, 16, true);
	const struct tlb_entry *e = &c->tlb[c->mmu][tlb_index(lin)];

	vec_usable(c, op);
	if (likely(((lin + 15) & ~0xfffull) == e->wtag && !(lin & (uint64_t)op->imm))) {
		memcpy((void *)(uintptr_t)(lin + e->addend), c->s.fpu.ymm[op->cc], 16);
		return op_next(c, op);
	}
	return vec_go(c, op, op->vec);
}

static void elem_read(void *arg, uint64_t off, void *dst, unsigned len)
{
	struct engine_cpu *c = arg;

	mem_read_bytes(c, seg_lin(c, c->op, c->op->seg, off, len, false), dst, len, c->op->seg);
}

static void elem_write(void *arg, uint64_t off, const void *src, unsigned len)
{
	struct engine_cpu *c = arg;

	mem_write_bytes(c, seg_lin(c, c->op, c->op->seg, off, len, true), src, len, c->op->seg);
}

SOP(op_vec_elements)
{
	const struct vec_mem m = {elem_read, elem_write, c};
	int exc;

	vec_check(c, op, &op->vec->insn);
	c->op = op;
	/* GPRs are in place; RIP is for RIP-relative operands */
	c->s.rip = op_rip(c, op);
	exc = vec_run_elements(c->vm->vec, &op->vec->insn, &c->s, &m);
	c->op = op;
	if (exc < 0)
		raise_ud(c);
	if (exc)
		raise_plain(c, (unsigned)exc);
	return op_next(c, op);
}

/* ---- binding ---- */

static unsigned log2_size(unsigned size)
{
	return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

/* Byte offset of a register operand: AH..BH are byte 1 of the first four, unless there is a REX. */
static uint8_t reg_off(const struct x86_insn *i, unsigned reg, unsigned size)
{
	if (size == 1 && !i->rex && !(i->attr & X86_A_VEX) && reg >= 4 && reg < 8)
		return (uint8_t)((reg - 4) * 8 + 1);
	return (uint8_t)(reg * 8);
}

/* Functions that read struct x86_insn again. ends: the block ends here. */
static const struct generic {
	iop_fn *fn;
	bool ends;
} generic[X86_OP_COUNT] = {
	[X86_OP_UD] = {op_ud, true},
	[X86_OP_UD2] = {op_ud, true},
	[X86_OP_ROL] = {op_shift, false},
	[X86_OP_ROR] = {op_shift, false},
	[X86_OP_RCL] = {op_shift, false},
	[X86_OP_RCR] = {op_shift, false},
	[X86_OP_SHL] = {op_shift, false},
	[X86_OP_SHR] = {op_shift, false},
	[X86_OP_SAL] = {op_shift, false},
	[X86_OP_SAR] = {op_shift, false},
	[X86_OP_MUL] = {op_mul1, false},
	[X86_OP_IMUL1] = {op_mul1, false},
	[X86_OP_DIV] = {op_div, false},
	[X86_OP_IDIV] = {op_div, false},
	[X86_OP_IMUL2] = {op_imul2, false},
	[X86_OP_IMUL3] = {op_imul2, false},
	[X86_OP_XCHG] = {op_xchg, false},
	[X86_OP_XADD] = {op_xadd, false},
	[X86_OP_CMPXCHG] = {op_cmpxchg, false},
	[X86_OP_CMPXCHG8B] = {op_cmpxchg8b, false},
	[X86_OP_BSWAP] = {op_bswap, false},
	[X86_OP_MOVBE] = {op_movbe, false},
	[X86_OP_PUSH] = {op_push, false},
	[X86_OP_POP] = {op_pop, false},
	[X86_OP_PUSHA] = {op_pusha, false},
	[X86_OP_POPA] = {op_popa, false},
	[X86_OP_PUSHF] = {op_pushf, false},
	[X86_OP_POPF] = {op_popf, true},
	[X86_OP_PUSHSEG] = {op_pushseg, false},
	[X86_OP_POPSEG] = {op_popseg, true},
	[X86_OP_ENTER] = {op_enter, false},
	[X86_OP_LEAVE] = {op_leave, false},
	[X86_OP_JMPIND] = {op_jmpind, true},
	[X86_OP_CALLIND] = {op_callind, true},
	[X86_OP_JMPFAR] = {op_jmpfar, true},
	[X86_OP_CALLFAR] = {op_callfar, true},
	[X86_OP_RETFAR] = {op_retfar, true},
	[X86_OP_IRET] = {op_iret, true},
	[X86_OP_LOOP] = {op_loop, true},
	[X86_OP_LOOPE] = {op_loop, true},
	[X86_OP_LOOPNE] = {op_loop, true},
	[X86_OP_JCXZ] = {op_loop, true},
	[X86_OP_SETCC] = {op_setcc, false},
	[X86_OP_BT] = {op_bt, false},
	[X86_OP_BTS] = {op_bt, false},
	[X86_OP_BTR] = {op_bt, false},
	[X86_OP_BTC] = {op_bt, false},
	[X86_OP_BSF] = {op_bsf, false},
	[X86_OP_BSR] = {op_bsf, false},
	[X86_OP_TZCNT] = {op_tzcnt, false},
	[X86_OP_LZCNT] = {op_lzcnt, false},
	[X86_OP_POPCNT] = {op_popcnt, false},
	[X86_OP_SHLD] = {op_shld, false},
	[X86_OP_SHRD] = {op_shld, false},
	[X86_OP_ADCX] = {op_adcx, false},
	[X86_OP_ADOX] = {op_adcx, false},
	[X86_OP_CRC32] = {op_crc32, false},
	[X86_OP_ANDN] = {op_bmi, false},
	[X86_OP_BEXTR] = {op_bmi, false},
	[X86_OP_BLSI] = {op_bmi, false},
	[X86_OP_BLSMSK] = {op_bmi, false},
	[X86_OP_BLSR] = {op_bmi, false},
	[X86_OP_BZHI] = {op_bmi, false},
	[X86_OP_MULX] = {op_bmi, false},
	[X86_OP_PDEP] = {op_bmi, false},
	[X86_OP_PEXT] = {op_bmi, false},
	[X86_OP_RORX] = {op_bmi, false},
	[X86_OP_SARX] = {op_bmi, false},
	[X86_OP_SHLX] = {op_bmi, false},
	[X86_OP_SHRX] = {op_bmi, false},
	[X86_OP_CBW] = {op_cbw, false},
	[X86_OP_CWD] = {op_cwd, false},
	[X86_OP_XLAT] = {op_xlat, false},
	[X86_OP_LAHF] = {op_lahf, false},
	[X86_OP_SAHF] = {op_sahf, false},
	[X86_OP_SALC] = {op_salc, false},
	[X86_OP_DAA] = {op_daa, false},
	[X86_OP_DAS] = {op_daa, false},
	[X86_OP_AAA] = {op_aaa, false},
	[X86_OP_AAS] = {op_aaa, false},
	[X86_OP_AAM] = {op_aam, false},
	[X86_OP_AAD] = {op_aam, false},
	[X86_OP_BOUND] = {op_bound, false},
	[X86_OP_ARPL] = {op_arpl, false},
	[X86_OP_CLC] = {op_flag, false},
	[X86_OP_STC] = {op_flag, false},
	[X86_OP_CMC] = {op_flag, false},
	[X86_OP_CLD] = {op_flag, false},
	[X86_OP_STD] = {op_flag, false},
	[X86_OP_CLI] = {op_cli, false},
	[X86_OP_STI] = {op_sti, true},
	[X86_OP_MOVS] = {op_string, false},
	[X86_OP_CMPS] = {op_string, false},
	[X86_OP_STOS] = {op_string, false},
	[X86_OP_LODS] = {op_string, false},
	[X86_OP_SCAS] = {op_string, false},
	[X86_OP_INS] = {op_string, false},
	[X86_OP_OUTS] = {op_string, false},
	[X86_OP_IN] = {op_in, true},
	[X86_OP_OUT] = {op_out, true},
	[X86_OP_NOP] = {op_nop, false},
	[X86_OP_PAUSE] = {op_pause, true},
	[X86_OP_LDS] = {op_lds, true},
	[X86_OP_MOVSEG_TO] = {op_movseg_to, true},
	[X86_OP_MOVSEG_FROM] = {op_movseg_from, false},
	[X86_OP_MOVCR_TO] = {op_movcr, true},
	[X86_OP_MOVCR_FROM] = {op_movcr, true},
	[X86_OP_MOVDR_TO] = {op_movdr, true},
	[X86_OP_MOVDR_FROM] = {op_movdr, true},
	[X86_OP_INT] = {op_int, true},
	[X86_OP_INT3] = {op_int3, true},
	[X86_OP_INT1] = {op_int1, true},
	[X86_OP_INTO] = {op_into, false},
	[X86_OP_HLT] = {op_hlt, true},
	[X86_OP_SYSCALL] = {op_syscall, true},
	[X86_OP_SYSRET] = {op_sysret, true},
	[X86_OP_SYSENTER] = {op_sysenter, true},
	[X86_OP_SYSEXIT] = {op_sysexit, true},
	[X86_OP_CPUID] = {op_cpuid, true},
	[X86_OP_RDTSC] = {op_rdtsc, false},
	[X86_OP_RDTSCP] = {op_rdtsc, false},
	[X86_OP_RDPID] = {op_rdtsc, false},
	[X86_OP_RDPMC] = {op_rdpmc, true},
	[X86_OP_RDMSR] = {op_msr, true},
	[X86_OP_WRMSR] = {op_msr, true},
	[X86_OP_RDRAND] = {op_rdrand, false},
	[X86_OP_RDSEED] = {op_rdrand, false},
	[X86_OP_CLTS] = {op_clts, true},
	[X86_OP_INVD] = {op_wbinvd, false},
	[X86_OP_WBINVD] = {op_wbinvd, false},
	[X86_OP_INVLPG] = {op_invlpg, true},
	[X86_OP_INVPCID] = {op_invpcid, true},
	[X86_OP_SGDT] = {op_dtable, false},
	[X86_OP_SIDT] = {op_dtable, false},
	[X86_OP_LGDT] = {op_dtable, false},
	[X86_OP_LIDT] = {op_dtable, false},
	[X86_OP_SMSW] = {op_smsw, false},
	[X86_OP_LMSW] = {op_lmsw, true},
	[X86_OP_SLDT] = {op_sldt, false},
	[X86_OP_STR] = {op_str, false},
	[X86_OP_LLDT] = {op_lldt, false},
	[X86_OP_LTR] = {op_ltr, false},
	[X86_OP_VERR] = {op_verr, false},
	[X86_OP_VERW] = {op_verr, false},
	[X86_OP_LAR] = {op_lar, false},
	[X86_OP_LSL] = {op_lar, false},
	[X86_OP_SWAPGS] = {op_swapgs, false},
	[X86_OP_RDFSBASE] = {op_fsgsbase, false},
	[X86_OP_RDGSBASE] = {op_fsgsbase, false},
	[X86_OP_WRFSBASE] = {op_fsgsbase, false},
	[X86_OP_WRGSBASE] = {op_fsgsbase, false},
	[X86_OP_CLAC] = {op_stac, true},
	[X86_OP_STAC] = {op_stac, true},
	[X86_OP_MONITOR] = {op_monitor, true},
	[X86_OP_MWAIT] = {op_monitor, true},
	[X86_OP_XGETBV] = {op_xcr, false},
	[X86_OP_XSETBV] = {op_xcr, true},
	[X86_OP_VMCALL] = {op_vmcall, true},
	[X86_OP_RDPRU] = {op_ud, true},
	[X86_OP_LFENCE] = {op_fence, false},
	[X86_OP_SFENCE] = {op_fence, false},
	[X86_OP_MFENCE] = {op_fence, false},
	[X86_OP_SERIALIZE] = {op_fence, true},
	[X86_OP_CLFLUSH] = {op_fence, false},
	[X86_OP_FXSAVE] = {op_fxsave, false},
	[X86_OP_FXRSTOR] = {op_fxsave, false},
	[X86_OP_XSAVE] = {op_xsave, false},
	[X86_OP_XSAVEOPT] = {op_xsave, false},
	[X86_OP_XSAVEC] = {op_xsave, false},
	[X86_OP_XRSTOR] = {op_xsave, false},
	[X86_OP_LDMXCSR] = {op_mxcsr, false},
	[X86_OP_STMXCSR] = {op_mxcsr, false},
	[X86_OP_MOVNTI] = {op_movnti, false},
	[X86_OP_GATHER] = {op_vec_elements, false},
	[X86_OP_MASKMOV] = {op_vec_elements, false},
	[X86_OP_VMASKMOV] = {op_vec_elements, false},
	[X86_OP_VEC] = {op_vec, false},
	[X86_OP_VZERO] = {op_vec, false},
	[X86_OP_MMX] = {op_vec, false},
	[X86_OP_X87] = {op_vec, false},
	[X86_OP_FWAIT] = {op_vec, false},
};

static bool is_vec(unsigned op)
{
	return op == X86_OP_VEC || op == X86_OP_VZERO || op == X86_OP_MMX || op == X86_OP_X87 ||
		op == X86_OP_FWAIT || op == X86_OP_GATHER || op == X86_OP_MASKMOV || op == X86_OP_VMASKMOV;
}

/* The functions made per size; NULL: the generic one. */
static iop_fn *bind_fast(struct engine_cpu *c, struct iop *op, const struct x86_insn *i)
{
	unsigned z = log2_size(i->opsize);
	bool lock = i->pfx & X86_PFX_LOCK, m = i->is_mem;

	switch (i->op) {
	case X86_OP_ADD:
	case X86_OP_OR:
	case X86_OP_ADC:
	case X86_OP_SBB:
	case X86_OP_AND:
	case X86_OP_SUB:
	case X86_OP_XOR:
	case X86_OP_CMP:
	case X86_OP_TEST: {
		unsigned k = i->op == X86_OP_TEST ? 8 : i->op - X86_OP_ADD, shape;

		switch (i->form) {
		case X86_F_RM_R:
			shape = m ? lock ? SH_LR : SH_MR : SH_RR;
			break;
		case X86_F_R_RM:
			shape = m ? SH_RM : SH_RR;
			break;
		case X86_F_RM_I:
			shape = m ? lock ? SH_LI : SH_MI : SH_RI;
			break;
		default:
			shape = SH_RI;
		}
		return alu_fns[k][shape][z];
	}
	case X86_OP_NOT:
		return not_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_NEG:
		return neg_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_INC:
		return inc_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_DEC:
		return dec_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_MOV:
		switch (i->form) {
		case X86_F_RM_R:
		case X86_F_M_A:
			return m ? mov_mr[z] : mov_rr[z];
		case X86_F_R_RM:
		case X86_F_A_M:
			return m ? mov_rm[z] : mov_rr[z];
		case X86_F_RM_I:
			return m ? mov_mi[z] : mov_ri[z];
		default:
			return mov_ri[z];
		}
	case X86_OP_MOVZX:
	case X86_OP_MOVSX: {
		unsigned d = z ? z - 1 : 0, s = log2_size(i->srcsize);

		if (i->op == X86_OP_MOVZX)
			return m ? movzx_rm[d][s] : movzx_rr[d][s];
		return m ? movsx_rm[d][s] : movsx_rr[d][s];
	}
	case X86_OP_LEA:
		if (!m)
			return op_ud;
		return i->opsize == 8 ? op_lea64 : i->opsize == 4 ? op_lea32 : op_lea16;
	case X86_OP_CMOVCC:
		return m ? cmov_rm[z] : cmov_rr[z];
	case X86_OP_JCC:
		return c->mode == X86_MODE64 ? jcc64[i->cc] : op_jcc;
	case X86_OP_JMP:
		return op_jmp;
	case X86_OP_CALL:
		return c->mode == X86_MODE64 ? op_call64 : op_call;
	case X86_OP_RET:
		return c->mode == X86_MODE64 ? op_ret64 : op_ret;
	case X86_OP_PUSH:
		return c->mode == X86_MODE64 && i->opsize == 8 && !m && i->form != X86_F_I ? op_push64
											   : NULL;
	case X86_OP_POP:
		return c->mode == X86_MODE64 && i->opsize == 8 && !m ? op_pop64 : NULL;
	case X86_OP_SHL:
	case X86_OP_SAL:
	case X86_OP_SHR:
	case X86_OP_SAR: {
		unsigned n = i->form == X86_F_RM_1 ? 1 : (unsigned)i->imm & (i->opsize == 8 ? 63 : 31);

		if (m || i->form == X86_F_RM_CL || i->opsize < 4 || !n)
			return NULL;
		op->imm = n;
		if (i->op == X86_OP_SHR)
			return i->opsize == 8 ? op_shr_ri64 : op_shr_ri32;
		if (i->op == X86_OP_SAR)
			return i->opsize == 8 ? op_sar_ri64 : op_sar_ri32;
		return i->opsize == 8 ? op_shl_ri64 : op_shl_ri32;
	}
	default:
		return NULL;
	}
}

/* MOVUPS, MOVAPS, MOVDQU, MOVDQA between memory and XMM, legacy encoding */
static iop_fn *bind_vec(struct iop *op, const struct x86_insn *i)
{
	bool ld = i->opcode == 0x28 || i->opcode == 0x10 || i->opcode == 0x6f;
	bool st = i->opcode == 0x29 || i->opcode == 0x11 || i->opcode == 0x7f;

	if (i->op != X86_OP_VEC || i->attr & X86_A_VEX || i->map != 1 || !i->is_mem || i->memsize != 16 ||
		(!ld && !st))
		return op_vec;
	op->cc = i->reg;
	op->imm = i->attr & X86_A_ALIGN ? 15 : 0;
	return ld ? op_vec_load16 : op_vec_store16;
}

unsigned op_bind(struct engine_cpu *c, struct iop *op, const struct x86_insn *i)
{
	const struct generic *g = &generic[i->op];
	bool ends = g->ends, wants = false;
	iop_fn *fn;

	op->imm = i->imm;
	op->disp = i->disp;
	op->amask = i->adsize == 8 ? ~0ull : i->adsize == 4 ? 0xffffffff : 0xffff;
	op->base = i->base < 0 ? R_ZERO : i->base == X86_BASE_RIP ? R_PC : (uint8_t)i->base;
	if (i->base == X86_BASE_RIP)
		op->disp += op->next_off;
	op->index = i->index < 0 || i->op == X86_OP_GATHER ? R_ZERO : (uint8_t)i->index;
	op->scale = i->scale;
	/* without a memory operand it is the stack that may fault */
	op->seg = i->is_mem || i->op == X86_OP_MASKMOV || i->op == X86_OP_XLAT ||
				  (i->op >= X86_OP_MOVS && i->op <= X86_OP_OUTS)
		? i->seg
		: X86_SS;
	op->flat = c->mode == X86_MODE64 && i->seg < X86_FS;
	op->cc = i->cc;
	op->len = i->len;
	op->size = i->opsize;
	/* dst and src as the form says; generic functions want rm in dst, reg in src */
	switch (i->form) {
	case X86_F_R_RM:
		if (i->op >= X86_OP_ADD && i->op <= X86_OP_CMP) {
			op->dst = reg_off(i, i->reg, i->opsize);
			op->src = reg_off(i, i->rm, i->opsize);
			break;
		}
		if (i->op == X86_OP_MOV || i->op == X86_OP_MOVZX || i->op == X86_OP_MOVSX ||
			i->op == X86_OP_LEA || i->op == X86_OP_CMOVCC) {
			op->dst = reg_off(i, i->reg, i->opsize);
			op->src = reg_off(i, i->rm, i->srcsize ? i->srcsize : i->opsize);
			break;
		}
		op->dst = reg_off(i, i->rm, i->srcsize ? i->srcsize : i->opsize);
		op->src = reg_off(i, i->reg, i->opsize);
		break;
	case X86_F_A_I:
	case X86_F_A_M:
	case X86_F_A_D:
		op->dst = 0;
		break;
	case X86_F_M_A:
		op->src = 0;
		break;
	case X86_F_A_O:
		op->dst = reg_off(i, i->rm, i->opsize);
		op->src = 0;
		break;
	default:
		op->dst = reg_off(i, i->rm, i->srcsize ? i->srcsize : i->opsize);
		op->src = reg_off(i, i->reg, i->opsize);
	}
	if (i->op == X86_OP_RET)
		op->imm = i->form == X86_F_I ? (uint16_t)i->imm : 0;
	fn = bind_fast(c, op, i);
	if (!fn && is_vec(i->op))
		fn = g->fn == op_vec ? bind_vec(op, i) : g->fn;
	if (!fn) {
		fn = g->fn;
		wants = true;
	}
	op->fn = fn ? fn : op_ud;
	if (i->op == X86_OP_JCC || i->op == X86_OP_JMP || i->op == X86_OP_CALL || i->op == X86_OP_RET)
		ends = true;
	return (ends ? BIND_ENDS : 0u) | (wants ? BIND_INSN : 0u);
}

/* The pseudo-instruction behind a full block. */
void op_bind_end(struct iop *op)
{
	op->fn = op_end;
	op->len = 0;
}
