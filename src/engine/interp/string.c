/* SPDX-License-Identifier: MIT */
/*
 * String instructions. With a REP prefix they run in chunks: as many elements as fit into the pages
 * at hand are moved by the host's own REP MOVS or STOS; everything else goes element by element.
 * After each chunk the registers are right, so that an interrupt or fault finds the state the
 * manual promises; the instruction is then simply started again.
 */
#include "engine/interp/alu.h"
#include "engine/interp/interp-int.h"

enum { CHUNK = 4096 }; /* elements between looks at interrupts, at most */

struct str {
	unsigned size, adsize;
	uint64_t amask;
	int64_t step;
	unsigned seg;
	uint16_t op;
};

static uint64_t count_get(const struct engine_cpu *c, const struct str *s)
{
	return c->s.gpr[X86_RCX] & s->amask;
}

static void ptr_add(struct engine_cpu *c, const struct str *s, unsigned reg, int64_t d)
{
	reg_put(c, reg * 8, s->adsize, c->s.gpr[reg] + (uint64_t)d);
}

static uint64_t lin_src(struct engine_cpu *c, const struct iop *op, const struct str *s, bool wr)
{
	return seg_lin(c, op, s->seg, c->s.gpr[X86_RSI] & s->amask, s->size, wr);
}

static uint64_t lin_dst(struct engine_cpu *c, const struct iop *op, const struct str *s, bool wr)
{
	return seg_lin(c, op, X86_ES, c->s.gpr[X86_RDI] & s->amask, s->size, wr);
}

/* One element; registers are written after all accesses. */
static void one(struct engine_cpu *c, const struct iop *op, const struct str *s)
{
	const struct cpu_host *h = c->vm->host;
	uint64_t a, b;
	uint16_t port = (uint16_t)c->s.gpr[X86_RDX];

	switch (s->op) {
	case X86_OP_MOVS:
		a = load(c, op, lin_src(c, op, s, false), s->size);
		store(c, op, lin_dst(c, op, s, true), s->size, a);
		ptr_add(c, s, X86_RSI, s->step);
		ptr_add(c, s, X86_RDI, s->step);
		break;
	case X86_OP_STOS:
		store(c, op, lin_dst(c, op, s, true), s->size, reg_get(c, 0, s->size));
		ptr_add(c, s, X86_RDI, s->step);
		break;
	case X86_OP_LODS:
		a = load(c, op, lin_src(c, op, s, false), s->size);
		reg_put(c, 0, s->size, a);
		ptr_add(c, s, X86_RSI, s->step);
		break;
	case X86_OP_CMPS:
	case X86_OP_SCAS:
		if (s->op == X86_OP_CMPS)
			a = load(c, op, lin_src(c, op, s, false), s->size);
		else
			a = reg_get(c, 0, s->size);
		b = load(c, op, lin_dst(c, op, s, false), s->size);
		switch (s->size) {
		case 1:
			alu_sub8((uint8_t)a, (uint8_t)b, &c->fl);
			break;
		case 2:
			alu_sub16((uint16_t)a, (uint16_t)b, &c->fl);
			break;
		case 4:
			alu_sub32((uint32_t)a, (uint32_t)b, &c->fl);
			break;
		default:
			alu_sub64(a, b, &c->fl);
		}
		if (s->op == X86_OP_CMPS)
			ptr_add(c, s, X86_RSI, s->step);
		ptr_add(c, s, X86_RDI, s->step);
		break;
	case X86_OP_INS:
		/* the page is checked before the device is touched */
		b = lin_dst(c, op, s, true);
		c->op = op;
		mem_probe_write(c, b, s->size, X86_ES);
		a = h->read(h->m, c->id, true, port, s->size);
		store(c, op, b, s->size, a);
		ptr_add(c, s, X86_RDI, s->step);
		break;
	default:
		a = load(c, op, lin_src(c, op, s, false), s->size);
		h->write(h->m, c->id, true, port, a, s->size);
		ptr_add(c, s, X86_RSI, s->step);
	}
}

/* Elements from lin to the end of its page in walking direction forward */
static uint64_t in_page(uint64_t lin, unsigned size)
{
	return (0x1000 - (lin & 0xfff)) / size;
}

/* Forward MOVS and STOS on plain memory; how many elements were done, 0: take the slow way. */
static uint64_t fast(struct engine_cpu *c, const struct str *s, uint64_t n)
{
	uint64_t dst = c->s.gpr[X86_RDI], src = c->s.gpr[X86_RSI], k;
	const struct tlb *t = &c->tlb[c->mmu];
	unsigned d, r;
	void *dp;

	if (c->mode != X86_MODE64 || s->adsize != 8 || s->step < 0)
		return 0;
	d = tlb_index(dst);
	if (t->wtag[d] != dst >> 12)
		return 0;
	n = min_u64(n, in_page(dst, s->size));
	dp = (void *)(uintptr_t)(dst + t->addend[d]);
	if (s->op == X86_OP_STOS) {
		k = n;
		switch (s->size) {
		case 1:
			__asm__ volatile("rep stosb"
					 : "+D"(dp), "+c"(k)
					 : "a"(c->s.gpr[0])
					 : "memory");
			break;
		case 2:
			__asm__ volatile("rep stosw"
					 : "+D"(dp), "+c"(k)
					 : "a"(c->s.gpr[0])
					 : "memory");
			break;
		case 4:
			__asm__ volatile("rep stosl"
					 : "+D"(dp), "+c"(k)
					 : "a"(c->s.gpr[0])
					 : "memory");
			break;
		default:
			__asm__ volatile("rep stosq"
					 : "+D"(dp), "+c"(k)
					 : "a"(c->s.gpr[0])
					 : "memory");
		}
		return n;
	}
	if (s->op != X86_OP_MOVS)
		return 0;
	if (s->seg >= X86_FS)
		src += c->s.seg[s->seg].base;
	r = tlb_index(src);
	if (t->rtag[r] != src >> 12)
		return 0;
	n = min_u64(n, in_page(src, s->size));
	k = n;
	void *sp = (void *)(uintptr_t)(src + t->addend[r]);

	switch (s->size) {
	case 1:
		__asm__ volatile("rep movsb" : "+D"(dp), "+S"(sp), "+c"(k) : : "memory");
		break;
	case 2:
		__asm__ volatile("rep movsw" : "+D"(dp), "+S"(sp), "+c"(k) : : "memory");
		break;
	case 4:
		__asm__ volatile("rep movsl" : "+D"(dp), "+S"(sp), "+c"(k) : : "memory");
		break;
	default:
		__asm__ volatile("rep movsq" : "+D"(dp), "+S"(sp), "+c"(k) : : "memory");
	}
	return n;
}

const struct iop *op_string(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	const bool rep = i->pfx & (X86_PFX_F2 | X86_PFX_F3), ne = i->pfx & X86_PFX_F2;
	const bool cmp = i->op == X86_OP_CMPS || i->op == X86_OP_SCAS;
	struct str s = {.size = i->opsize,
		.adsize = i->adsize,
		.amask = op->amask,
		.seg = i->seg,
		.op = i->op};

	s.step = c->s.rflags & X86_DF ? -(int64_t)s.size : (int64_t)s.size;
	c->op = op;
	if (i->op == X86_OP_INS || i->op == X86_OP_OUTS)
		io_check(c, (uint16_t)c->s.gpr[X86_RDX], s.size);
	if (!rep) {
		one(c, op, &s);
		return op_next(c, op);
	}
	/* alone (single step, watchpoints) means one repetition */
	for (unsigned budget = c->in_single ? 1 : CHUNK; budget;) {
		uint64_t left = count_get(c, &s), n;

		if (!left) {
			/* a 32-bit count register is written even when nothing was done */
			return op_next(c, op);
		}
		n = cmp ? 0 : fast(c, &s, min_u64(left, budget));
		if (n) {
			if (s.op == X86_OP_MOVS)
				ptr_add(c, &s, X86_RSI, (int64_t)(n * s.size));
			ptr_add(c, &s, X86_RDI, (int64_t)(n * s.size));
		} else {
			one(c, op, &s);
			n = 1;
		}
		reg_put(c, X86_RCX * 8, s.adsize, left - n);
		budget -= (unsigned)n;
		if (cmp && !!(c->fl & FL_ZF) == ne)
			return op_next(c, op);
		if (left == n)
			return op_next(c, op);
		if (atomic_load_explicit(&c->attention, memory_order_relaxed) & c->attn_mask)
			break;
	}
	/* not done yet: look around, then come back to this instruction */
	return op_goto(c, op_rip(c, op));
}
