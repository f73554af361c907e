/* SPDX-License-Identifier: MIT */
/*
 * Vector, MMX and x87 instructions as interp runs them: checks that depend on control registers,
 * the memory operand, then vec.c, which executes the instruction itself on the saved registers.
 */
#include "engine/interp/ops-int.h"

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

/* What alignment checks want of the operand: its size, for the odd sizes of x87 that of their
 * parts. */
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
		if (i->attr & X86_A_ALIGN &&
			(op->flat ? off : off + c->s.seg[op->seg].base) & (i->memsize - 1u)) {
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

OP(op_vec)
{
	vec_check(c, op, &op->vec->insn);
	return vec_go(c, op, op->vec);
}

/* Whole-register moves between memory and vector registers make most of what kernels and C
 * libraries do: they need no thunk. */
static bool vec_usable(struct engine_cpu *c, const struct iop *op)
{
	if (likely(c->vec_ok && !(c->s.cr0 & X86_CR0_TS)))
		return true;
	vec_check(c, op, &op->vec->insn);
	return true;
}

OP(op_vec_load16)
{
	uint64_t lin = op_lin(c, op, 16, false);
	const struct tlb *t = &c->tlb[c->mmu];
	const unsigned k = tlb_index(lin);

	vec_usable(c, op);
	if (likely((lin + 15) >> 12 == t->rtag[k] && !(lin & (uint64_t)op->imm))) {
		memcpy(c->s.fpu.ymm[op->cc], (const void *)(uintptr_t)(lin + t->addend[k]), 16);
		return op_next(c, op);
	}
	return vec_go(c, op, op->vec);
}

OP(op_vec_store16)
{
	uint64_t lin = op_lin(c, op, 16, true);
	const struct tlb *t = &c->tlb[c->mmu];
	const unsigned k = tlb_index(lin);

	vec_usable(c, op);
	if (likely((lin + 15) >> 12 == t->wtag[k] && !(lin & (uint64_t)op->imm))) {
		memcpy((void *)(uintptr_t)(lin + t->addend[k]), c->s.fpu.ymm[op->cc], 16);
		return op_next(c, op);
	}
	return vec_go(c, op, op->vec);
}

/* len: 1, 4 or 8 */
static void elem_read(void *arg, uint64_t off, void *dst, unsigned len)
{
	struct engine_cpu *c = arg;
	uint64_t lin = seg_lin(c, c->op, c->op->seg, off, len, false);
	const struct tlb *t = &c->tlb[c->mmu];
	const unsigned k = tlb_index(lin);

	if (likely((lin + len - 1) >> 12 == t->rtag[k]))
		put_size(dst, len, get_size((const void *)(uintptr_t)(lin + t->addend[k]), len));
	else
		mem_read_bytes(c, lin, dst, len, c->op->seg);
}

static void elem_write(void *arg, uint64_t off, const void *src, unsigned len)
{
	struct engine_cpu *c = arg;
	uint64_t lin = seg_lin(c, c->op, c->op->seg, off, len, true);
	const struct tlb *t = &c->tlb[c->mmu];
	const unsigned k = tlb_index(lin);

	if (likely((lin + len - 1) >> 12 == t->wtag[k]))
		put_size((void *)(uintptr_t)(lin + t->addend[k]), len, get_size(src, len));
	else
		mem_write_bytes(c, lin, src, len, c->op->seg);
}

OP(op_vec_elements)
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
