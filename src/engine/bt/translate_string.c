/* SPDX-License-Identifier: MIT */
/*
 * String instructions, forward and with 64-bit addresses; all else is interp's.
 *
 * With REP the guest's own instruction runs on host addresses, over as many elements as lie in the pages at
 * hand: both are looked up in the TLB, RDI and RSI are made host addresses by adding the addends, which
 * are subtracted again afterwards. After each chunk RCX, RSI and RDI are right, so the instruction can be left for
 * an event and simply begun again. Overlapping MOVS: pages that are neighbours to the guest need not be for
 * the host, but a chunk lies in one page of each, and what two addresses have in common in memory they have
 * in common here, whichever virtual page leads there.
 *
 * What the fast path cannot do - a TLB miss that no fill helps, an element across two pages, DF - is interp's
 * op_string(): it does a chunk in its own way and comes back to this instruction, or behind it.
 *
 * Device memory and pages that hold code never have the tags that are looked for here.
 */
#include "engine/bt/translate-int.h"

static const struct gea source = {.base = RSI, .index = -1}, target = {.base = RDI, .index = -1};

static bool is_rep(const struct x86_insn *i)
{
	return i->pfx & (X86_PFX_F2 | X86_PFX_F3);
}

/* Opcode, with operand size, of the string instruction or of one that takes a register of its size */
static void op_size(struct tr *t, unsigned opcode, unsigned reg, const struct mem_op *m)
{
	unsigned size = t->now->i.opsize;

	if (size == 2)
		e8(&t->e, 0x66);
	emit_op_m(&t->e, size == 8, size == 1 ? opcode & ~1u : opcode, reg, m);
}

static void advance(struct tr *t, unsigned reg)
{
	const struct mem_op m = {.base = (int8_t)reg, .index = -1, .disp = t->now->i.opsize};

	emit_op_m(&t->e, true, OP_LEA, reg, &m);
}

/* Slow when DF is set. */
static void check_forward(struct tr *t)
{
	emit_op_gs(&t->e, false, 0xf6, 0, CPU(cpu.s.rflags) + 1); /* test byte, DF */
	e8(&t->e, X86_DF >> 8);
	slow(t, emit_jcc(&t->e, CC_NE), 0, false)->ea = target;
}

static struct mem_op check_source(struct tr *t)
{
	struct gea g = source;

	g.seg = t->now->i.seg >= X86_FS ? t->now->i.seg : 0;
	return check(t, &g, t->now->i.opsize, false, 0);
}

static void once(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	struct mem_op m;

	check_forward(t);
	switch (i->op) {
	case X86_OP_MOVS:
		m = check_source(t);
		op_size(t, OP_MOV_LOAD, R11, &m);
		m = check(t, &target, i->opsize, true, 0);
		op_size(t, OP_MOV_STORE, R11, &m);
		break;
	case X86_OP_STOS:
		m = check(t, &target, i->opsize, true, 0);
		op_size(t, OP_MOV_STORE, RAX, &m);
		break;
	case X86_OP_LODS:
		m = check_source(t);
		op_size(t, OP_MOV_LOAD, RAX, &m);
		break;
	case X86_OP_CMPS:
		m = check_source(t);
		op_size(t, OP_MOV_LOAD, R11, &m);
		m = check(t, &target, i->opsize, false, 0);
		op_size(t, OP_CMP, R11, &m);
		t->fl_mem = false;
		break;
	default:
		m = check(t, &target, i->opsize, false, 0);
		op_size(t, OP_CMP, RAX, &m);
		t->fl_mem = false;
	}
	if (i->op == X86_OP_MOVS || i->op == X86_OP_LODS || i->op == X86_OP_CMPS)
		advance(t, RSI);
	if (i->op != X86_OP_LODS)
		advance(t, RDI);
}

/*
 * R10 = place in the TLB of the page in reg, slow if it is not there; R9 is lost. Then R9 = bytes to
 * the end of the page.
 */
static void find_page(struct tr *t, unsigned reg, bool write)
{
	struct emit *e = &t->e;
	uint8_t *found = NULL;
	struct cold *c;

	E(e, 0xc4, 0x63, 0x7b, 0xf0, 0xd0 | reg, 0x0c); /* rorx r10d, e?i, 12 */
	emit_op_r(e, true, OP_MOV_STORE, reg, R9);
	E(e, 0x45, 0x0f, 0xb6, 0xd2); /* movzx r10d, r10b */
	E(e, 0x49, 0xc1, 0xe9, 0x0c); /* shr r9, 12 */
	emit_op_gs8(e, true, OP_CMP, R9, R10, write ? TLB(t->mmu, wtag) : TLB(t->mmu, rtag));
	if (t->now->i.op == X86_OP_MOVS && reg == RDI) {
		/* another page with the same place in the TLB as the source's would take turns with it for ever */
		found = emit_jcc(e, CC_E);
		emit_op_r(e, false, OP_MOV_STORE, RSI, R9);
		emit_op_r(e, false, 0x33, R9, RDI); /* xor */
		E(e, 0x41, 0xf7, 0xc1); /* test r9d, (TLB_SIZE - 1) << 12 */
		e32(e, (TLB_SIZE - 1) << 12);
		c = slow(t, emit_jcc(e, CC_E), 0, write);
		c->ea = target;
		c = slow(t, emit_jmp(e), 1, write);
		emit_fix(e, found);
	} else {
		c = slow(t, emit_jcc(e, CC_NE), 1, write);
	}
	c->ea = reg == RSI ? source : target;
	emit_op_r(e, false, OP_MOV_STORE, reg, R9);
	E(e, 0x49, 0x81, 0xc9, 0x00, 0xf0, 0xff, 0xff); /* or r9, -4096 */
	E(e, 0x49, 0xf7, 0xd9); /* neg r9 */
}

/* REP MOVS and STOS. R11 = count that is left, R10 and cpu.string addends */
static void repeat(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	const unsigned log2 = (unsigned)__builtin_ctz(i->opsize);
	const bool movs = i->op == X86_OP_MOVS;
	struct emit *e = &t->e;
	uint8_t *again = e->p, *done, *rel;
	struct cold *c;

	E(e, 0x48, 0x85, 0xc9); /* test rcx, rcx */
	done = emit_jcc(e, CC_E);
	check_forward(t);
	if (movs) {
		find_page(t, RSI, false);
		emit_op_gs8(e, true, OP_MOV_LOAD, R10, R10, TLB(t->mmu, addend));
		emit_op_gs(e, true, OP_MOV_STORE, R10, CPU(string));
		emit_op_r(e, true, OP_MOV_STORE, R9, R11);
	}
	find_page(t, RDI, true);
	emit_op_gs8(e, true, OP_MOV_LOAD, R10, R10, TLB(t->mmu, addend));
	if (movs) {
		emit_op_r(e, true, OP_CMP, R9, R11);
		emit_op_r(e, true, 0x0f47, R9, R11); /* cmova r9, r11 */
	}
	if (log2) {
		emit_op_r(e, true, 0xc1, 5, R9); /* shr */
		e8(e, log2);
		c = slow(t, emit_jcc(e, CC_E), 0, true);
		c->ea = target;
	}
	emit_op_r(e, true, OP_MOV_STORE, RCX, R11);
	emit_op_r(e, true, OP_CMP, R9, RCX);
	emit_op_r(e, true, 0x0f47, R9, RCX); /* cmova r9, rcx */
	emit_op_r(e, true, 0x2b, R11, R9); /* sub */
	emit_op_r(e, true, OP_MOV_STORE, R9, RCX);
	emit_op_r(e, true, 0x03, RDI, R10); /* add */
	if (movs)
		emit_op_gs(e, true, 0x03, RSI, CPU(string));
	if (i->opsize == 2)
		e8(e, 0x66);
	e8(e, 0xf3);
	if (i->opsize == 8)
		e8(e, 0x48);
	e8(e, i->opcode);
	emit_op_r(e, true, 0x2b, RDI, R10);
	if (movs)
		emit_op_gs(e, true, 0x2b, RSI, CPU(string));
	emit_op_r(e, true, OP_MOV_STORE, R11, RCX);
	E(e, 0x48, 0x85, 0xc9); /* test rcx, rcx */
	rel = emit_jcc(e, CC_E);
	poll_at(t, insn_va(t));
	emit_jmp_to(e, again);
	emit_fix(e, done);
	emit_fix(e, rel);
}

/* The slow paths since number since are op_string()'s: it does more at once than one element. */
static void slow_call(struct tr *t, unsigned since)
{
	unsigned bound;
	uint32_t call = call_new(t, &bound);

	t->v->calls[call]->regs = t->regs & t->now->regs;
	for (unsigned k = since; k < t->ncold; k++)
		if (t->cold[k].kind == COLD_MEM) {
			t->v->sites[t->cold[k].index].string = true;
			t->v->sites[t->cold[k].index].resume = call;
		}
}

void rule_string(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned since = t->ncold;

	if (i->adsize != 8 || (is_rep(i) && ((i->op != X86_OP_MOVS && i->op != X86_OP_STOS) || i->seg >= X86_FS))) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	t->retry = t->e.p;
	if (is_rep(i)) {
		repeat(t);
		slow_resume(t, since);
		slow_call(t, since);
	} else {
		once(t);
		slow_resume(t, since);
	}
}
