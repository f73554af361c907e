/* SPDX-License-Identifier: MIT */
/*
 * Segmentation and everything that goes through descriptors: loads of segment registers, far calls,
 * jumps and returns, gates, interrupt and exception delivery, IRET, SYSCALL and its relatives,
 * hardware task switches (SDM Vol. 3A chapters 3, 5, 6 and 7; Vol. 2 for the instructions).
 *
 * Order matters here: all checks and all memory accesses that may fault come first, registers
 * are written last, so that a fault leaves the state as the instruction found it.
 */
#include "engine/interp/interp-int.h"

noreturn void raise_fault(struct engine_cpu *c, unsigned vector, uint32_t code)
{
	c->fault.vector = (uint8_t)vector;
	c->fault.has_code = true;
	c->fault.code = code;
	longjmp(c->jb, JMP_FAULT);
}

noreturn void raise_plain(struct engine_cpu *c, unsigned vector)
{
	c->fault.vector = (uint8_t)vector;
	c->fault.has_code = false;
	c->fault.code = 0;
	longjmp(c->jb, JMP_FAULT);
}

/* ---- descriptors ---- */

struct desc {
	uint64_t raw;  /* first 8 bytes */
	uint64_t high; /* of a 16-byte system descriptor */
	uint64_t at;   /* linear address, to set the accessed or busy bit */
	uint16_t sel;
};

static unsigned desc_type(const struct desc *d)
{
	return d->raw >> 40 & 0xf;
}

static bool desc_s(const struct desc *d)
{
	return d->raw >> 44 & 1;
}

static unsigned desc_dpl(const struct desc *d)
{
	return d->raw >> 45 & 3;
}

static bool desc_p(const struct desc *d)
{
	return d->raw >> 47 & 1;
}

static bool desc_code(const struct desc *d)
{
	return desc_s(d) && desc_type(d) & X86_SEG_CODE;
}

static struct x86_seg desc_seg(const struct desc *d)
{
	struct x86_seg s = {.sel = d->sel, .attr = d->raw >> 40 & 0xf0ff};

	s.base = (d->raw >> 16 & 0xffffff) | (d->raw >> 32 & 0xff000000);
	s.limit = (uint32_t)((d->raw & 0xffff) | (d->raw >> 32 & 0xf0000));
	if (s.attr & X86_SEG_G)
		s.limit = s.limit << 12 | 0xfff;
	return s;
}

/* False when sel lies outside its table. Page faults are raised. */
static bool desc_try(struct engine_cpu *c, uint16_t sel, struct desc *d)
{
	uint64_t base = c->s.gdt.base, limit = c->s.gdt.limit;

	d->sel = sel;
	d->high = 0;
	if (sel & 4) {
		if (!(c->s.ldt.attr & X86_SEG_P) || !(c->s.ldt.sel & ~3))
			return false;
		base = c->s.ldt.base;
		limit = c->s.ldt.limit;
	}
	if ((sel & ~7u) + 7u > limit)
		return false;
	d->at = base + (sel & ~7u);
	if (!x86_long_mode(&c->s))
		d->at = (uint32_t)d->at;
	d->raw = mem_sys_load(c, d->at, 8);
	return true;
}

static void desc_load(struct engine_cpu *c, uint16_t sel, struct desc *d, unsigned exc)
{
	if (!desc_try(c, sel, d))
		raise_fault(c, exc, sel & 0xfffc);
}

/* System descriptors (TSS, LDT, call gates) are 16 bytes long in long mode. */
static void desc_load_high(struct engine_cpu *c, struct desc *d, unsigned exc)
{
	uint64_t limit = d->sel & 4 ? c->s.ldt.limit : c->s.gdt.limit;

	if ((d->sel & ~7u) + 15u > limit)
		raise_fault(c, exc, d->sel & 0xfffc);
	d->high = mem_sys_load(c, d->at + 8, 8);
	if (d->high >> 40 & 0x1f)
		raise_fault(c, exc, d->sel & 0xfffc);
}

static void desc_set_accessed(struct engine_cpu *c, struct desc *d)
{
	if (d->raw >> 40 & 1)
		return;
	d->raw |= 1ull << 40;
	mem_sys_store(c, d->at + 5, d->raw >> 40 & 0xff, 1);
}

static bool real_mode(const struct engine_cpu *c)
{
	return !(c->s.cr0 & X86_CR0_PE);
}

static bool vm86(const struct engine_cpu *c)
{
	return c->s.rflags & X86_VM;
}

/* ---- what follows from the segment registers ---- */

void cpu_mode_update(struct engine_cpu *c)
{
	const struct x86_state *s = &c->s;

	if (x86_code64(s))
		c->mode = X86_MODE64;
	else if (s->seg[X86_CS].attr & X86_SEG_DB)
		c->mode = X86_MODE32;
	else
		c->mode = X86_MODE16;
	c->stack_size = c->mode == X86_MODE64 ? 8 : s->seg[X86_SS].attr & X86_SEG_DB ? 4 : 2;
	c->flat_segs = 0;
	for (unsigned i = 0; i < X86_NSEG; i++) {
		const struct x86_seg *g = &s->seg[i];
		const unsigned want = X86_SEG_P | X86_SEG_S | X86_SEG_WR;

		if (g->base == 0 && g->limit == 0xffffffff && (g->attr & want) == want &&
			!(g->attr & (X86_SEG_CODE | X86_SEG_DC)))
			c->flat_segs |= (uint8_t)(1 << i);
	}
	mmu_update(c);
}

uint64_t seg_lin_slow(struct engine_cpu *c, unsigned seg, uint64_t off, unsigned len, bool write)
{
	const struct x86_seg *g = &c->s.seg[seg];
	const unsigned exc = seg == X86_SS ? X86_SS_EXC : X86_GP;
	uint64_t last = off + len - 1;
	bool ok;

	if (c->mode == X86_MODE64)
		return seg >= X86_FS ? off + g->base : off;
	if (!(g->attr & X86_SEG_P) || !(g->attr & X86_SEG_S))
		raise_fault(c, exc, 0);
	if (!real_mode(c) && !vm86(c)) {
		if (g->attr & X86_SEG_CODE)
			ok = !write && g->attr & X86_SEG_WR;
		else
			ok = !write || g->attr & X86_SEG_WR;
		if (!ok)
			raise_fault(c, exc, 0);
	}
	if ((g->attr & (X86_SEG_CODE | X86_SEG_DC)) == X86_SEG_DC) {
		uint64_t top = g->attr & X86_SEG_DB ? 0xffffffff : 0xffff;

		ok = off > g->limit && last <= top;
	} else {
		ok = last <= g->limit;
	}
	if (!ok)
		raise_fault(c, exc, 0);
	return (uint32_t)(g->base + off);
}

/* Loads an ordinary data or stack segment register; code segments have their own ways. */
static void seg_put(struct engine_cpu *c, unsigned seg, struct x86_seg v)
{
	c->s.seg[seg] = v;
	cpu_mode_update(c);
}

static struct x86_seg seg_real(struct engine_cpu *c, unsigned seg, uint16_t sel)
{
	struct x86_seg v = c->s.seg[seg];

	v.sel = sel;
	v.base = (uint64_t)sel << 4;
	if (vm86(c)) {
		v.limit = 0xffff;
		v.attr = X86_SEG_P | X86_SEG_S | X86_SEG_WR | X86_SEG_ACCESSED | X86_SEG_DPL;
	} else {
		/* limit and size stay: "unreal mode" */
		v.attr = (v.attr & (X86_SEG_DB | X86_SEG_G)) | X86_SEG_P | X86_SEG_S | X86_SEG_WR |
			 X86_SEG_ACCESSED;
	}
	return v;
}

/* SS for a given privilege level; the checks of MOV SS, with the exception that the caller names.
 */
static struct x86_seg seg_stack(
	struct engine_cpu *c, uint16_t sel, unsigned cpl, unsigned exc, unsigned exc_np)
{
	struct desc d;

	if (!(sel & ~3)) {
		if (c->mode == X86_MODE64 && cpl < 3 && (sel & 3) == cpl)
			return (struct x86_seg){.sel = sel, .attr = (uint16_t)(cpl << 5)};
		raise_fault(c, exc, 0);
	}
	desc_load(c, sel, &d, exc);
	if ((sel & 3) != cpl || desc_dpl(&d) != cpl || !desc_s(&d) || desc_code(&d) ||
		!(desc_type(&d) & X86_SEG_WR))
		raise_fault(c, exc, sel & 0xfffc);
	if (!desc_p(&d))
		raise_fault(c, exc_np, sel & 0xfffc);
	desc_set_accessed(c, &d);
	return desc_seg(&d);
}

static struct x86_seg seg_data(struct engine_cpu *c, unsigned seg, uint16_t sel)
{
	struct desc d;

	if (real_mode(c) || vm86(c))
		return seg_real(c, seg, sel);
	if (seg == X86_SS)
		return seg_stack(c, sel, c->cpl, X86_GP, X86_SS_EXC);
	if (!(sel & ~3)) {
		/* a null selector makes the segment unusable; FS and GS bases become 0 */
		return (struct x86_seg){.sel = sel};
	}
	desc_load(c, sel, &d, X86_GP);
	if (!desc_s(&d) || (desc_code(&d) && !(desc_type(&d) & X86_SEG_WR)))
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (!(desc_code(&d) && desc_type(&d) & X86_SEG_DC) &&
		(desc_dpl(&d) < (sel & 3u) || desc_dpl(&d) < c->cpl))
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (!desc_p(&d))
		raise_fault(c, X86_NP, sel & 0xfffc);
	desc_set_accessed(c, &d);
	return desc_seg(&d);
}

void seg_load(struct engine_cpu *c, unsigned seg, uint16_t sel)
{
	seg_put(c, seg, seg_data(c, seg, sel));
}

/* Sets CS so that CPL becomes cpl. SS.DPL carries the CPL in this engine (x86_cpl()). */
static void cs_put(struct engine_cpu *c, struct x86_seg v, unsigned cpl)
{
	v.sel = (uint16_t)((v.sel & ~3u) | cpl);
	c->s.seg[X86_CS] = v;
	c->s.seg[X86_SS].attr = (uint16_t)((c->s.seg[X86_SS].attr & ~X86_SEG_DPL) | cpl << 5);
	cpu_mode_update(c);
}

/* Checks that the target lies in the code segment: canonical in 64-bit mode, in the limit
 * otherwise. */
static void check_target(struct engine_cpu *c, const struct x86_seg *cs, uint64_t rip)
{
	if (x86_long_mode(&c->s) && cs->attr & X86_SEG_L) {
		if (!x86_canonical(rip))
			raise_gp(c);
	} else if (rip > cs->limit) {
		raise_gp(c);
	}
}

/* ---- stacks ---- */

/* A stack that is not (yet) the current one: its own size and, outside 64-bit mode, limits. */
struct stack {
	struct x86_seg seg;
	uint64_t sp;
	uint64_t mask;
	bool flat;    /* 64-bit: no base, no limit */
	bool sys;     /* supervisor accesses whatever the current CPL */
	unsigned exc; /* #SS error code source: selector of a new stack, else 0 */
};

static struct stack stack_of(const struct x86_seg *ss, uint64_t sp, bool long64)
{
	struct stack k = {.seg = *ss, .sp = sp, .flat = long64};

	k.mask = long64 ? ~0ull : ss->attr & X86_SEG_DB ? 0xffffffff : 0xffff;
	return k;
}

static uint64_t stack_addr(struct engine_cpu *c, const struct stack *k, uint64_t sp, unsigned size)
{
	uint64_t off = sp & k->mask;

	if (k->flat) {
		if (!x86_canonical(off) || !x86_canonical(off + size - 1))
			raise_fault(c, X86_SS_EXC, k->exc);
		return off;
	}
	if (k->seg.attr & X86_SEG_DC) {
		if (off <= k->seg.limit || off + size - 1 > k->mask)
			raise_fault(c, X86_SS_EXC, k->exc);
	} else if (off + size - 1 > k->seg.limit) {
		raise_fault(c, X86_SS_EXC, k->exc);
	}
	return (uint32_t)(k->seg.base + off);
}

static void stack_put(struct engine_cpu *c, struct stack *k, unsigned size, uint64_t v)
{
	uint64_t sp = k->sp - size, lin = stack_addr(c, k, sp, size);

	if (k->sys)
		mem_sys_store(c, lin, v, size);
	else
		mem_store_slow(c, lin, v, size, X86_SS);
	k->sp = (k->sp & ~k->mask) | (sp & k->mask);
}

static uint64_t stack_take(struct engine_cpu *c, struct stack *k, unsigned size)
{
	uint64_t lin = stack_addr(c, k, k->sp, size), v;
	const struct tlb *t = &c->tlb[c->mmu];
	unsigned n = tlb_index(lin);

	if (likely(t->rtag[n] == (lin + size - 1) >> 12))
		v = get_size((const void *)(uintptr_t)(lin + t->addend[n]), size);
	else
		v = mem_load_slow(c, lin, size, X86_SS);
	k->sp = (k->sp & ~k->mask) | ((k->sp + size) & k->mask);
	return v;
}

static struct stack stack_now(struct engine_cpu *c)
{
	return stack_of(&c->s.seg[X86_SS], c->s.gpr[X86_RSP], c->mode == X86_MODE64);
}

/* Stack pointer and segment for privilege level cpl from the TSS. */
static uint64_t tss_stack(struct engine_cpu *c, unsigned cpl, uint16_t *ss)
{
	const struct x86_seg *tr = &c->s.tr;
	bool wide = tr->attr & 8; /* 386 or 64-bit TSS */
	uint64_t off = wide ? 4 + cpl * 8 : 2 + cpl * 4, sp;

	if (off + (wide ? 6 : 4) - 1 > tr->limit)
		raise_fault(c, X86_TS, tr->sel & 0xfffc);
	sp = mem_sys_load(c, tr->base + off, wide ? 4 : 2);
	*ss = (uint16_t)mem_sys_load(c, tr->base + off + (wide ? 4 : 2), 2);
	return sp;
}

static uint64_t tss_rsp(struct engine_cpu *c, unsigned off)
{
	uint64_t sp;

	if (off + 7 > c->s.tr.limit)
		raise_fault(c, X86_TS, c->s.tr.sel & 0xfffc);
	sp = mem_sys_load(c, c->s.tr.base + off, 8);
	return sp;
}

/* ---- hardware task switch (SDM Vol. 3A 7.3) ---- */

enum task_why { TASK_JMP, TASK_CALL, TASK_IRET, TASK_INT };

static void task_switch(struct engine_cpu *c, uint16_t sel, enum task_why why, bool has_code,
	uint32_t code, uint64_t next_rip)
{
	struct x86_state *s = &c->s;
	const unsigned exc = why == TASK_IRET ? X86_TS : X86_GP;
	struct desc d, old;
	struct x86_seg tss;
	bool wide, old_wide = s->tr.attr & 8;
	uint32_t r[8], eip, efl, cr3 = 0, link;
	uint16_t sg[6], ldt;
	uint64_t b;

	if (sel & 4 || !desc_try(c, sel, &d))
		raise_fault(c, exc, sel & 0xfffc);
	if (desc_s(&d) || (desc_type(&d) & 5) != 1 || !!(desc_type(&d) & 2) != (why == TASK_IRET))
		raise_fault(c, exc, sel & 0xfffc);
	if (!desc_p(&d))
		raise_fault(c, X86_NP, sel & 0xfffc);
	tss = desc_seg(&d);
	wide = tss.attr & 8;
	if (tss.limit < (wide ? 103u : 43u))
		raise_fault(c, X86_TS, sel & 0xfffc);
	/* read the new task before anything changes */
	b = tss.base;
	if (wide) {
		cr3 = (uint32_t)mem_sys_load(c, b + 28, 4);
		eip = (uint32_t)mem_sys_load(c, b + 32, 4);
		efl = (uint32_t)mem_sys_load(c, b + 36, 4);
		for (unsigned i = 0; i < 8; i++)
			r[i] = (uint32_t)mem_sys_load(c, b + 40 + 4 * i, 4);
		for (unsigned i = 0; i < 6; i++)
			sg[i] = (uint16_t)mem_sys_load(c, b + 72 + 4 * i, 2);
		ldt = (uint16_t)mem_sys_load(c, b + 96, 2);
	} else {
		eip = (uint32_t)mem_sys_load(c, b + 14, 2);
		efl = (uint32_t)mem_sys_load(c, b + 16, 2);
		for (unsigned i = 0; i < 8; i++)
			r[i] = 0xffff0000 | (uint32_t)mem_sys_load(c, b + 18 + 2 * i, 2);
		for (unsigned i = 0; i < 4; i++)
			sg[i] = (uint16_t)mem_sys_load(c, b + 34 + 2 * i, 2);
		sg[4] = sg[5] = 0;
		ldt = (uint16_t)mem_sys_load(c, b + 42, 2);
	}
	/* save the old one */
	link = s->tr.sel;
	b = s->tr.base;
	uint64_t fl = get_rflags(c) & (why == TASK_IRET ? ~(uint64_t)X86_NT : ~0ull);
	if (old_wide) {
		mem_sys_store(c, b + 32, next_rip, 4);
		mem_sys_store(c, b + 36, fl, 4);
		for (unsigned i = 0; i < 8; i++)
			mem_sys_store(c, b + 40 + 4 * i, s->gpr[i], 4);
		for (unsigned i = 0; i < 6; i++)
			mem_sys_store(c, b + 72 + 4 * i, s->seg[i].sel, 2);
	} else {
		mem_sys_store(c, b + 14, next_rip, 2);
		mem_sys_store(c, b + 16, fl, 2);
		for (unsigned i = 0; i < 8; i++)
			mem_sys_store(c, b + 18 + 2 * i, s->gpr[i], 2);
		for (unsigned i = 0; i < 4; i++)
			mem_sys_store(c, b + 34 + 2 * i, s->seg[i].sel, 2);
	}
	if (why == TASK_JMP || why == TASK_IRET) {
		if (desc_try(c, s->tr.sel, &old))
			mem_sys_store(c, old.at + 5, (old.raw >> 40 & 0xff) & ~2u, 1);
	} else {
		mem_sys_store(c, tss.base, link, 2);
		efl |= X86_NT;
	}
	if (why != TASK_IRET)
		mem_sys_store(c, d.at + 5, (d.raw >> 40 & 0xff) | 2, 1);
	/* from here on the new task is the one that faults */
	tss.attr |= 2;
	s->tr = tss;
	s->cr0 |= X86_CR0_TS;
	s->dr7 &= ~0x155ull;
	if (wide && s->cr0 & X86_CR0_PG && s->cr3 != cr3) {
		s->cr3 = cr3;
		if (s->cr4 & X86_CR4_PAE)
			for (unsigned i = 0; i < 4; i++)
				if (mem_get(c->vm->mem, (cr3 & 0xffffffe0) + 8 * i,
					    &c->paging.pdpte[i], 8))
					c->paging.pdpte[i] = 0;
		tlb_flush(c);
	}
	for (unsigned i = 0; i < 8; i++)
		s->gpr[i] = r[i];
	set_rflags(c, efl,
		X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF | X86_VM |
			X86_AC | X86_ID);
	c->rip = eip;
	s->ldt = (struct x86_seg){.sel = ldt};
	for (unsigned i = 0; i < 6; i++)
		s->seg[i] = (struct x86_seg){.sel = sg[i]};
	c->block = NULL;
	c->op = NULL; /* faults below belong to the first instruction of the new task */
	if (ldt & ~3) {
		if (ldt & 4 || !desc_try(c, ldt, &d) || desc_s(&d) || desc_type(&d) != 2 ||
			!desc_p(&d))
			raise_fault(c, X86_TS, ldt & 0xfffc);
		s->ldt = desc_seg(&d);
	}
	if (efl & X86_VM) {
		for (unsigned i = 0; i < 6; i++)
			s->seg[i] = seg_real(c, i, sg[i]);
		cs_put(c, s->seg[X86_CS], 3);
		s->seg[X86_CS].sel = sg[X86_CS];
	} else {
		unsigned cpl = sg[X86_CS] & 3;

		if (!(sg[X86_CS] & ~3) || !desc_try(c, sg[X86_CS], &d) || !desc_code(&d))
			raise_fault(c, X86_TS, sg[X86_CS] & 0xfffc);
		if (desc_type(&d) & X86_SEG_DC ? desc_dpl(&d) > cpl : desc_dpl(&d) != cpl)
			raise_fault(c, X86_TS, sg[X86_CS] & 0xfffc);
		if (!desc_p(&d))
			raise_fault(c, X86_NP, sg[X86_CS] & 0xfffc);
		desc_set_accessed(c, &d);
		cs_put(c, desc_seg(&d), cpl);
		seg_put(c, X86_SS, seg_stack(c, sg[X86_SS], cpl, X86_TS, X86_SS_EXC));
		for (unsigned i = 0; i < 6; i++)
			if (i != X86_CS && i != X86_SS)
				seg_load(c, i, sg[i]);
	}
	if (has_code) {
		struct stack k = stack_now(c);

		stack_put(c, &k, wide ? 4 : 2, code);
		s->gpr[X86_RSP] = k.sp;
	}
	if (eip > s->seg[X86_CS].limit)
		raise_gp(c);
}

/* ---- interrupts and exceptions (SDM Vol. 3A 6.12, 6.14; Vol. 2 INT n) ---- */

static uint32_t ext_bit(enum event ev)
{
	return ev == EV_SOFT || ev == EV_INT3 ? 0 : 1;
}

static void deliver_real(struct engine_cpu *c, unsigned vector)
{
	struct stack k = stack_now(c);
	uint32_t entry;

	if (vector * 4u + 3u > c->s.idt.limit)
		raise_fault(c, X86_GP, vector * 8 + 2);
	entry = (uint32_t)mem_sys_load(c, c->s.idt.base + vector * 4u, 4);
	stack_put(c, &k, 2, get_rflags(c));
	stack_put(c, &k, 2, c->s.seg[X86_CS].sel);
	stack_put(c, &k, 2, c->rip);
	c->s.gpr[X86_RSP] = k.sp;
	c->s.rflags &= ~(uint64_t)(X86_IF | X86_TF | X86_AC | X86_RF);
	c->s.seg[X86_CS].sel = (uint16_t)(entry >> 16);
	c->s.seg[X86_CS].base = (entry >> 16) << 4;
	c->rip = entry & 0xffff;
	cpu_mode_update(c);
}

static void deliver_long(
	struct engine_cpu *c, unsigned vector, enum event ev, bool has_code, uint32_t code)
{
	const uint32_t err = vector * 8 + 2 + ext_bit(ev);
	struct x86_state *s = &c->s;
	uint64_t lo, hi, target, rsp;
	struct x86_seg cs, ss = s->seg[X86_SS];
	struct stack k;
	struct desc d;
	unsigned type, ist, cpl;

	if (vector * 16u + 15u > s->idt.limit)
		raise_fault(c, X86_GP, err);
	lo = mem_sys_load(c, s->idt.base + vector * 16u, 8);
	hi = mem_sys_load(c, s->idt.base + vector * 16u + 8, 8);
	type = lo >> 40 & 0x1f;
	if (type != 14 && type != 15)
		raise_fault(c, X86_GP, err);
	if ((ev == EV_SOFT || ev == EV_INT3) && (lo >> 45 & 3) < c->cpl)
		raise_fault(c, X86_GP, err);
	if (!(lo >> 47 & 1))
		raise_fault(c, X86_NP, err);
	target = (lo & 0xffff) | (lo >> 32 & 0xffff0000) | hi << 32;
	ist = lo >> 32 & 7;
	d.sel = lo >> 16 & 0xffff;
	if (!(d.sel & ~3))
		raise_fault(c, X86_GP, ext_bit(ev));
	if (!desc_try(c, d.sel, &d))
		raise_fault(c, X86_GP, (d.sel & 0xfffc) | ext_bit(ev));
	if (!desc_code(&d) || desc_dpl(&d) > c->cpl)
		raise_fault(c, X86_GP, (d.sel & 0xfffc) | ext_bit(ev));
	if (!desc_p(&d))
		raise_fault(c, X86_NP, (d.sel & 0xfffc) | ext_bit(ev));
	cs = desc_seg(&d);
	if (!(cs.attr & X86_SEG_L) || cs.attr & X86_SEG_DB)
		raise_fault(c, X86_GP, (d.sel & 0xfffc) | ext_bit(ev));
	cpl = desc_type(&d) & X86_SEG_DC ? c->cpl : desc_dpl(&d);
	if (ist || cpl < c->cpl) {
		rsp = tss_rsp(c, ist ? 36 + (ist - 1) * 8 : 4 + cpl * 8);
		if (!x86_canonical(rsp))
			raise_fault(c, X86_SS_EXC, ext_bit(ev));
	} else {
		rsp = s->gpr[X86_RSP];
	}
	if (!x86_canonical(target))
		raise_fault(c, X86_GP, ext_bit(ev));
	if (cpl < c->cpl)
		ss = (struct x86_seg){.sel = (uint16_t)cpl, .attr = (uint16_t)(cpl << 5)};
	k = stack_of(&ss, rsp & ~15ull, true);
	k.exc = ext_bit(ev);
	k.sys = cpl < 3;
	stack_put(c, &k, 8, s->seg[X86_SS].sel);
	stack_put(c, &k, 8, s->gpr[X86_RSP]);
	stack_put(c, &k, 8, get_rflags(c));
	stack_put(c, &k, 8, s->seg[X86_CS].sel);
	stack_put(c, &k, 8, c->rip);
	if (has_code)
		stack_put(c, &k, 8, code);
	desc_set_accessed(c, &d);
	s->gpr[X86_RSP] = k.sp;
	s->seg[X86_SS] = ss;
	s->rflags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | X86_VM | (type == 14 ? X86_IF : 0));
	c->rip = target;
	cs_put(c, cs, cpl);
}

static void deliver_legacy(
	struct engine_cpu *c, unsigned vector, enum event ev, bool has_code, uint32_t code)
{
	const uint32_t ext = ext_bit(ev), err = vector * 8 + 2 + ext;
	struct x86_state *s = &c->s;
	const uint64_t old_fl = get_rflags(c);
	uint64_t gate, target, esp;
	unsigned type, cpl, size;
	struct x86_seg cs, ss;
	struct stack k;
	struct desc d;
	uint16_t sel;

	if (vector * 8u + 7u > s->idt.limit)
		raise_fault(c, X86_GP, err);
	gate = mem_sys_load(c, s->idt.base + vector * 8u, 8);
	type = gate >> 40 & 0x1f;
	if (type != 5 && type != 6 && type != 7 && type != 14 && type != 15)
		raise_fault(c, X86_GP, err);
	if ((ev == EV_SOFT || ev == EV_INT3) && (gate >> 45 & 3) < c->cpl)
		raise_fault(c, X86_GP, err);
	if (!(gate >> 47 & 1))
		raise_fault(c, X86_NP, err);
	sel = gate >> 16 & 0xffff;
	if (type == 5) {
		task_switch(c, sel, TASK_INT, has_code, code, c->rip);
		return;
	}
	size = type & 8 ? 4 : 2;
	target = (gate & 0xffff) | (size == 4 ? gate >> 32 & 0xffff0000 : 0);
	if (!(sel & ~3))
		raise_fault(c, X86_GP, ext);
	if (!desc_try(c, sel, &d) || !desc_code(&d) || desc_dpl(&d) > c->cpl)
		raise_fault(c, X86_GP, (sel & 0xfffc) | ext);
	if (!desc_p(&d))
		raise_fault(c, X86_NP, (sel & 0xfffc) | ext);
	cs = desc_seg(&d);
	cpl = desc_type(&d) & X86_SEG_DC ? c->cpl : desc_dpl(&d);
	if (old_fl & X86_VM && cpl != 0)
		raise_fault(c, X86_GP, (sel & 0xfffc) | ext);
	if (cpl < c->cpl) {
		uint16_t nss;

		esp = tss_stack(c, cpl, &nss);
		if (!(nss & ~3))
			raise_fault(c, X86_TS, ext);
		ss = seg_stack(c, nss, cpl, X86_TS, X86_SS_EXC);
		k = stack_of(&ss, esp, false);
		k.exc = (nss & 0xfffc) | ext;
		k.sys = cpl < 3;
		if (old_fl & X86_VM) {
			static const uint8_t order[] = {X86_GS, X86_FS, X86_DS, X86_ES};

			for (unsigned i = 0; i < 4; i++)
				stack_put(c, &k, size, s->seg[order[i]].sel);
		}
		stack_put(c, &k, size, s->seg[X86_SS].sel);
		stack_put(c, &k, size, s->gpr[X86_RSP]);
	} else {
		ss = s->seg[X86_SS];
		k = stack_now(c);
		k.exc = ext;
	}
	stack_put(c, &k, size, old_fl);
	stack_put(c, &k, size, s->seg[X86_CS].sel);
	stack_put(c, &k, size, c->rip);
	if (has_code)
		stack_put(c, &k, size, code);
	if (target > cs.limit)
		raise_fault(c, X86_GP, ext);
	desc_set_accessed(c, &d);
	if (old_fl & X86_VM) {
		for (unsigned i = X86_DS; i <= X86_GS; i++)
			s->seg[i] = (struct x86_seg){0};
		s->seg[X86_ES] = (struct x86_seg){0};
	}
	s->seg[X86_SS] = ss;
	s->gpr[X86_RSP] =
		cpl < c->cpl ? (k.mask == 0xffff ? (s->gpr[X86_RSP] & 0xffff0000) | (k.sp & 0xffff)
						 : (uint32_t)k.sp)
			     : k.sp;
	s->rflags &= ~(uint64_t)(X86_TF | X86_NT | X86_RF | X86_VM | (type & 1 ? 0 : X86_IF));
	c->rip = target;
	cs_put(c, cs, cpl);
}

void deliver(struct engine_cpu *c, unsigned vector, enum event ev, bool has_code, uint32_t code)
{
	if (real_mode(c))
		deliver_real(c, vector);
	else if (x86_long_mode(&c->s))
		deliver_long(c, vector, ev, has_code, code);
	else
		deliver_legacy(c, vector, ev, has_code, code);
}

/* INT n and its relatives: traps, the pushed RIP is that of the next instruction. */
static const struct iop *soft_int(
	struct engine_cpu *c, const struct iop *op, unsigned vector, enum event ev)
{
	c->op = op;
	if (vm86(c) && ev == EV_SOFT && (c->s.rflags & X86_IOPL) != X86_IOPL)
		raise_gp(c);
	/* a fault in here must report this instruction, success pushes the next one */
	c->rip = op_next_rip(c, op);
	deliver(c, vector, ev, false, 0);
	c->no_step = c->in_single; /* only step() asks, and takes it back */
	return op_goto(c, c->rip);
}

const struct iop *op_int(struct engine_cpu *c, const struct iop *op)
{
	return soft_int(c, op, op->insn->imm & 0xff, EV_SOFT);
}

const struct iop *op_int3(struct engine_cpu *c, const struct iop *op)
{
	return soft_int(c, op, X86_BP, EV_INT3);
}

const struct iop *op_int1(struct engine_cpu *c, const struct iop *op)
{
	/* one #DB for this and for a data breakpoint that MOV SS held back */
	c->s.dr6 = (c->s.dr6 & ~0xfull) | (c->dr6_pending & 0xf);
	c->trap_pending = false;
	c->dr6_pending = 0;
	return soft_int(c, op, X86_DB, EV_INT1);
}

const struct iop *op_into(struct engine_cpu *c, const struct iop *op)
{
	if (!(c->fl & FL_OF))
		return op_goto(c, op_next_rip(c, op)); /* it ends a block */
	return soft_int(c, op, X86_OFV, EV_INT3);
}

/* ---- far transfers ---- */

/* The far pointer: from the instruction, or from memory (offset first). */
static void far_operand(struct engine_cpu *c, const struct iop *op, uint16_t *sel, uint64_t *off)
{
	const struct x86_insn *i = op->insn;
	uint64_t lin;

	c->op = op;
	if (i->form == X86_F_PTR) {
		*off = (uint64_t)i->imm & (i->opsize == 2 ? 0xffff : 0xffffffff);
		*sel = i->imm2;
		return;
	}
	lin = op_lin(c, op, i->opsize + 2u, false);
	*off = load(c, op, lin, i->opsize);
	*sel = (uint16_t)load(c, op, lin + i->opsize, 2);
}

/* A code segment for JMP and CALL without a gate. */
static struct x86_seg far_code(struct engine_cpu *c, struct desc *d)
{
	struct x86_seg cs;

	if (desc_type(d) & X86_SEG_DC) {
		if (desc_dpl(d) > c->cpl)
			raise_fault(c, X86_GP, d->sel & 0xfffc);
	} else if ((d->sel & 3u) > c->cpl || desc_dpl(d) != c->cpl) {
		raise_fault(c, X86_GP, d->sel & 0xfffc);
	}
	if (!desc_p(d))
		raise_fault(c, X86_NP, d->sel & 0xfffc);
	cs = desc_seg(d);
	if (x86_long_mode(&c->s) &&
		(cs.attr & (X86_SEG_L | X86_SEG_DB)) == (X86_SEG_L | X86_SEG_DB))
		raise_fault(c, X86_GP, d->sel & 0xfffc);
	return cs;
}

static void far_gate(struct engine_cpu *c, const struct iop *op, struct desc *g, bool call)
{
	struct x86_state *s = &c->s;
	const bool lm = x86_long_mode(s);
	unsigned type = desc_type(g), size = lm ? 8 : type & 8 ? 4 : 2, cpl, nparam;
	uint64_t target;
	struct x86_seg cs, ss;
	struct stack k;
	struct desc d;
	uint16_t sel = g->raw >> 16 & 0xffff;

	if (type == 5 || (type & ~8u & ~2u) == 1) { /* task gate, TSS */
		if (lm || desc_dpl(g) < c->cpl || desc_dpl(g) < (g->sel & 3u))
			raise_fault(c, X86_GP, g->sel & 0xfffc);
		if (!desc_p(g))
			raise_fault(c, X86_NP, g->sel & 0xfffc);
		task_switch(c, type == 5 ? sel : g->sel, call ? TASK_CALL : TASK_JMP, false, 0,
			op_next_rip(c, op));
		return;
	}
	if ((type != 4 && type != 12) || (lm && type != 12) || desc_dpl(g) < c->cpl ||
		desc_dpl(g) < (g->sel & 3u))
		raise_fault(c, X86_GP, g->sel & 0xfffc);
	if (!desc_p(g))
		raise_fault(c, X86_NP, g->sel & 0xfffc);
	target = (g->raw & 0xffff) | (type & 8 ? g->raw >> 32 & 0xffff0000 : 0);
	nparam = g->raw >> 32 & 0x1f;
	if (lm) {
		desc_load_high(c, g, X86_GP);
		target |= g->high << 32;
		nparam = 0;
	}
	if (!(sel & ~3))
		raise_gp(c);
	desc_load(c, sel, &d, X86_GP);
	if (!desc_code(&d) || desc_dpl(&d) > c->cpl)
		raise_fault(c, X86_GP, sel & 0xfffc);
	cs = desc_seg(&d);
	if (lm && (cs.attr & (X86_SEG_L | X86_SEG_DB)) != X86_SEG_L)
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (!call && !(desc_type(&d) & X86_SEG_DC) && desc_dpl(&d) != c->cpl)
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (!desc_p(&d))
		raise_fault(c, X86_NP, sel & 0xfffc);
	check_target(c, &cs, target);
	cpl = desc_type(&d) & X86_SEG_DC ? c->cpl : desc_dpl(&d);
	if (!call) {
		desc_set_accessed(c, &d);
		cs_put(c, cs, c->cpl);
		c->rip = target;
		return;
	}
	if (cpl < c->cpl) {
		struct stack old = stack_now(c);
		uint32_t param[31];

		if (lm) {
			k.sp = tss_rsp(c, 4 + cpl * 8);
			if (!x86_canonical(k.sp))
				raise_fault(c, X86_SS_EXC, 0);
			ss = (struct x86_seg){.sel = (uint16_t)cpl, .attr = (uint16_t)(cpl << 5)};
		} else {
			uint16_t nss;

			k.sp = tss_stack(c, cpl, &nss);
			if (!(nss & ~3))
				raise_fault(c, X86_TS, 0);
			ss = seg_stack(c, nss, cpl, X86_TS, X86_SS_EXC);
		}
		k = stack_of(&ss, k.sp, lm);
		k.exc = lm ? 0 : ss.sel & 0xfffc;
		k.sys = true;
		stack_put(c, &k, size, s->seg[X86_SS].sel);
		stack_put(c, &k, size, s->gpr[X86_RSP]);
		for (unsigned i = 0; i < nparam; i++)
			param[i] = (uint32_t)stack_take(c, &old, size);
		while (nparam)
			stack_put(c, &k, size, param[--nparam]);
	} else {
		ss = s->seg[X86_SS];
		k = stack_of(&ss, s->gpr[X86_RSP], lm);
	}
	stack_put(c, &k, size, s->seg[X86_CS].sel);
	stack_put(c, &k, size, op_next_rip(c, op));
	desc_set_accessed(c, &d);
	s->seg[X86_SS] = ss;
	s->gpr[X86_RSP] = k.sp;
	cs_put(c, cs, cpl);
	c->rip = target;
}

static const struct iop *far_transfer(struct engine_cpu *c, const struct iop *op, bool call)
{
	struct x86_state *s = &c->s;
	unsigned size = op->insn->opsize;
	struct x86_seg cs;
	struct stack k;
	struct desc d;
	uint16_t sel;
	uint64_t off;

	far_operand(c, op, &sel, &off);
	if (real_mode(c) || vm86(c)) {
		if (off > s->seg[X86_CS].limit)
			raise_gp(c);
		if (call) {
			k = stack_now(c);
			stack_put(c, &k, size, s->seg[X86_CS].sel);
			stack_put(c, &k, size, op_next_rip(c, op));
			s->gpr[X86_RSP] = k.sp;
		}
		s->seg[X86_CS].sel = sel;
		s->seg[X86_CS].base = (uint64_t)sel << 4;
		cpu_mode_update(c);
		return op_goto(c, off);
	}
	if (!(sel & ~3))
		raise_gp(c);
	desc_load(c, sel, &d, X86_GP);
	if (!desc_s(&d)) {
		far_gate(c, op, &d, call);
		return op_goto(c, c->rip);
	}
	if (!desc_code(&d))
		raise_fault(c, X86_GP, sel & 0xfffc);
	cs = far_code(c, &d);
	check_target(c, &cs, off);
	if (call) {
		k = stack_now(c);
		stack_put(c, &k, size, s->seg[X86_CS].sel);
		stack_put(c, &k, size, op_next_rip(c, op));
	}
	desc_set_accessed(c, &d);
	if (call)
		s->gpr[X86_RSP] = k.sp;
	cs_put(c, cs, c->cpl);
	return op_goto(c, off);
}

const struct iop *op_callfar(struct engine_cpu *c, const struct iop *op)
{
	return far_transfer(c, op, true);
}

const struct iop *op_jmpfar(struct engine_cpu *c, const struct iop *op)
{
	return far_transfer(c, op, false);
}

/* Data segments that the outer level may not use become null (SDM RET, IRET). */
static void drop_inner_segs(struct engine_cpu *c, unsigned cpl)
{
	static const uint8_t segs[] = {X86_ES, X86_DS, X86_FS, X86_GS};

	for (unsigned i = 0; i < ARRAY_LEN(segs); i++) {
		struct x86_seg *g = &c->s.seg[segs[i]];
		bool conforming =
			(g->attr & (X86_SEG_CODE | X86_SEG_DC)) == (X86_SEG_CODE | X86_SEG_DC);

		if (g->attr & X86_SEG_P && !conforming && (g->attr >> 5 & 3u) < cpl) {
			uint64_t base = g->base;

			*g = (struct x86_seg){0};
			if (x86_long_mode(&c->s) && segs[i] >= X86_FS)
				g->base = base; /* as AMD and Intel do: the base stays behind */
		}
	}
	cpu_mode_update(c);
}

/* The code segment of a far return; its RPL is the new CPL. */
static struct x86_seg return_code(struct engine_cpu *c, uint16_t sel, struct desc *d)
{
	struct x86_seg cs;

	if (!(sel & ~3))
		raise_gp(c);
	desc_load(c, sel, d, X86_GP);
	if (!desc_code(d) || (sel & 3u) < c->cpl)
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (desc_type(d) & X86_SEG_DC ? desc_dpl(d) > (sel & 3u) : desc_dpl(d) != (sel & 3u))
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (!desc_p(d))
		raise_fault(c, X86_NP, sel & 0xfffc);
	cs = desc_seg(d);
	if (x86_long_mode(&c->s) &&
		(cs.attr & (X86_SEG_L | X86_SEG_DB)) == (X86_SEG_L | X86_SEG_DB))
		raise_fault(c, X86_GP, sel & 0xfffc);
	return cs;
}

/* SS of a return to an outer level, or of any 64-bit IRET: null is fine for 64-bit code below
 * ring 3. */
static struct x86_seg return_stack(
	struct engine_cpu *c, uint16_t sel, unsigned cpl, const struct x86_seg *cs)
{
	struct desc d;

	if (!(sel & ~3)) {
		if (x86_long_mode(&c->s) && cs->attr & X86_SEG_L && cpl < 3)
			return (struct x86_seg){.sel = sel, .attr = (uint16_t)(cpl << 5)};
		raise_gp(c);
	}
	desc_load(c, sel, &d, X86_GP);
	if ((sel & 3u) != cpl || desc_dpl(&d) != cpl || !desc_s(&d) || desc_code(&d) ||
		!(desc_type(&d) & X86_SEG_WR))
		raise_fault(c, X86_GP, sel & 0xfffc);
	if (!desc_p(&d))
		raise_fault(c, X86_SS_EXC, sel & 0xfffc);
	desc_set_accessed(c, &d);
	return desc_seg(&d);
}

const struct iop *op_retfar(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	struct x86_state *s = &c->s;
	uint64_t release = i->form == X86_F_I ? (uint16_t)i->imm : 0, off;
	struct stack k = stack_now(c);
	struct x86_seg cs, ss;
	struct desc d;
	unsigned cpl;
	uint16_t sel;

	c->op = op;
	off = stack_take(c, &k, i->opsize);
	sel = (uint16_t)stack_take(c, &k, i->opsize);
	if (real_mode(c) || vm86(c)) {
		if (off > s->seg[X86_CS].limit)
			raise_gp(c);
		s->gpr[X86_RSP] = (k.sp & ~k.mask) | ((k.sp + release) & k.mask);
		s->seg[X86_CS].sel = sel;
		s->seg[X86_CS].base = (uint64_t)sel << 4;
		cpu_mode_update(c);
		return op_goto(c, off);
	}
	cs = return_code(c, sel, &d);
	check_target(c, &cs, off);
	cpl = sel & 3;
	k.sp = (k.sp & ~k.mask) | ((k.sp + release) & k.mask);
	if (cpl > c->cpl) {
		uint64_t nsp = stack_take(c, &k, i->opsize);
		uint16_t nss = (uint16_t)stack_take(c, &k, i->opsize);

		ss = return_stack(c, nss, cpl, &cs);
		desc_set_accessed(c, &d);
		s->seg[X86_SS] = ss;
		cs_put(c, cs, cpl);
		if (c->mode == X86_MODE64 || ss.attr & X86_SEG_DB)
			s->gpr[X86_RSP] =
				i->opsize == 8 ? nsp + release : (uint32_t)(nsp + release);
		else
			s->gpr[X86_RSP] =
				(s->gpr[X86_RSP] & ~0xffffull) | ((nsp + release) & 0xffff);
		drop_inner_segs(c, cpl);
	} else {
		desc_set_accessed(c, &d);
		s->gpr[X86_RSP] = k.sp;
		cs_put(c, cs, cpl);
	}
	return op_goto(c, off);
}

/* ---- IRET ---- */

static const struct iop *iret_to_vm86(
	struct engine_cpu *c, struct stack *k, uint64_t off, uint16_t sel, uint64_t fl)
{
	static const uint8_t order[] = {X86_ES, X86_DS, X86_FS, X86_GS};
	struct x86_state *s = &c->s;
	uint64_t sp = stack_take(c, k, 4);
	uint16_t ss = (uint16_t)stack_take(c, k, 4), segs[4];

	for (unsigned i = 0; i < 4; i++)
		segs[i] = (uint16_t)stack_take(c, k, 4);
	set_rflags(c, fl,
		X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_RF | X86_VM |
			X86_AC | X86_VIF | X86_VIP | X86_ID);
	for (unsigned i = 0; i < 4; i++)
		s->seg[order[i]] = seg_real(c, order[i], segs[i]);
	s->seg[X86_SS] = seg_real(c, X86_SS, ss);
	s->seg[X86_CS] = seg_real(c, X86_CS, sel);
	s->gpr[X86_RSP] = (uint32_t)sp;
	cpu_mode_update(c);
	return op_goto(c, off & 0xffff);
}

const struct iop *op_iret(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	struct x86_state *s = &c->s;
	const unsigned size = i->opsize;
	const bool lm64 = c->mode == X86_MODE64;
	uint64_t off, fl, mask;
	struct stack k = stack_now(c);
	struct x86_seg cs, ss;
	struct desc d;
	unsigned cpl, old_cpl = c->cpl;
	uint16_t sel;

	c->op = op;
	mask = X86_ARITH | X86_TF | X86_DF | X86_NT | X86_RF | X86_AC | X86_ID;
	if (size == 2)
		mask &= 0xffff;
	if (vm86(c) && (s->rflags & X86_IOPL) != X86_IOPL)
		raise_gp(c);
	if (!real_mode(c) && !vm86(c) && s->rflags & X86_NT) {
		if (x86_long_mode(s))
			raise_gp(c);
		task_switch(c, (uint16_t)mem_sys_load(c, s->tr.base, 2), TASK_IRET, false, 0,
			op_next_rip(c, op));
		return op_goto(c, c->rip);
	}
	off = stack_take(c, &k, size);
	sel = (uint16_t)stack_take(c, &k, size);
	fl = stack_take(c, &k, size);
	if (real_mode(c) || vm86(c)) {
		if (off > s->seg[X86_CS].limit)
			raise_gp(c);
		mask |= X86_IF;
		if (real_mode(c))
			mask |= X86_IOPL;
		s->gpr[X86_RSP] = k.sp;
		s->seg[X86_CS].sel = sel;
		s->seg[X86_CS].base = (uint64_t)sel << 4;
		set_rflags(c, fl, mask);
		s->nmi_blocked = false;
		cpu_mode_update(c);
		return op_goto(c, off);
	}
	if (fl & X86_VM && size == 4 && c->cpl == 0 && !x86_long_mode(s))
		return iret_to_vm86(c, &k, off, sel, fl);
	cs = return_code(c, sel, &d);
	cpl = sel & 3;
	if (cpl > c->cpl || lm64) {
		uint64_t nsp = stack_take(c, &k, size);
		uint16_t nss = (uint16_t)stack_take(c, &k, size);

		ss = return_stack(c, nss, cpl, &cs);
		check_target(c, &cs, off);
		desc_set_accessed(c, &d);
		s->seg[X86_SS] = ss;
		cs_put(c, cs, cpl);
		if (c->mode == X86_MODE64 || ss.attr & X86_SEG_DB)
			s->gpr[X86_RSP] = size == 8 ? nsp : (uint32_t)nsp;
		else
			s->gpr[X86_RSP] = (s->gpr[X86_RSP] & ~0xffffull) | (nsp & 0xffff);
	} else {
		check_target(c, &cs, off);
		desc_set_accessed(c, &d);
		s->gpr[X86_RSP] = k.sp;
		cs_put(c, cs, cpl);
	}
	if (old_cpl <= (s->rflags >> 12 & 3))
		mask |= X86_IF;
	if (old_cpl == 0)
		mask |= X86_IOPL | (size > 2 ? X86_VIF | X86_VIP : 0);
	set_rflags(c, fl, mask);
	if (cpl > old_cpl)
		drop_inner_segs(c, cpl);
	else
		cpu_mode_update(c);
	s->nmi_blocked = false;
	/*
	 * RF, which every fault leaves in its frame, holds instruction breakpoints back for one instruction. When
	 * there are none, and no event that would save it again, a translator need not step over that for it.
	 */
	if (c->vm->hooks && !c->dr_exec && !atomic_load_explicit(&c->attention, memory_order_relaxed))
		s->rflags &= ~(uint64_t)X86_RF;
	return op_goto(c, off);
}

/* ---- fast system calls ---- */

static struct x86_seg flat_seg(uint16_t sel, bool code, unsigned dpl, bool code64)
{
	struct x86_seg g = {.sel = sel, .limit = 0xffffffff};

	g.attr = (uint16_t)(X86_SEG_P | X86_SEG_S | X86_SEG_WR | X86_SEG_ACCESSED | X86_SEG_G |
			    dpl << 5);
	if (code)
		g.attr |= (uint16_t)(X86_SEG_CODE | (code64 ? X86_SEG_L : X86_SEG_DB));
	else
		g.attr |= X86_SEG_DB;
	return g;
}

const struct iop *op_syscall(struct engine_cpu *c, const struct iop *op)
{
	struct x86_state *s = &c->s;
	uint64_t next = op_next_rip(c, op);

	c->op = op;
	if (!(s->efer & X86_EFER_SCE) || real_mode(c))
		raise_ud(c);
	if (x86_long_mode(s)) {
		s->gpr[X86_RCX] = next;
		s->gpr[11] = get_rflags(c) & ~(uint64_t)X86_RF;
		next = c->mode == X86_MODE64 ? s->lstar : s->cstar;
		set_rflags(c, get_rflags(c) & ~s->sfmask & ~(uint64_t)X86_RF,
			0xffffffff & ~(uint64_t)X86_VM);
	} else {
		s->gpr[X86_RCX] = (uint32_t)next;
		next = (uint32_t)s->star;
		s->rflags &= ~(uint64_t)(X86_IF | X86_VM | X86_RF);
	}
	s->seg[X86_SS] = flat_seg((uint16_t)((s->star >> 32 & 0xfffc) + 8), false, 0, false);
	cs_put(c, flat_seg((uint16_t)(s->star >> 32 & 0xfffc), true, 0, x86_long_mode(s)), 0);
	return op_goto(c, next);
}

const struct iop *op_sysret(struct engine_cpu *c, const struct iop *op)
{
	struct x86_state *s = &c->s;
	uint16_t base = s->star >> 48 & 0xffff;
	uint64_t rip;

	c->op = op;
	if (!(s->efer & X86_EFER_SCE) || real_mode(c))
		raise_ud(c);
	if (c->cpl)
		raise_gp(c);
	/* with TF in R11 the trap comes right behind this instruction, not behind the next */
	if (x86_long_mode(s) && s->gpr[11] & X86_TF && !c->in_single)
		longjmp(c->jb, JMP_ONE);
	if (op->insn->opsize == 8) {
		rip = s->gpr[X86_RCX];
		if (!x86_canonical(rip))
			raise_gp(c);
	} else {
		rip = (uint32_t)s->gpr[X86_RCX];
	}
	if (x86_long_mode(s))
		set_rflags(c, s->gpr[11], 0x3c7fd7 & ~(uint64_t)X86_RF);
	else
		s->rflags |= X86_IF;
	s->rflags &= ~(uint64_t)X86_RF;
	s->seg[X86_SS] = flat_seg((uint16_t)((base + 8) | 3), false, 3, false);
	if (op->insn->opsize == 8)
		cs_put(c, flat_seg((uint16_t)((base + 16) | 3), true, 3, true), 3);
	else
		cs_put(c, flat_seg((uint16_t)(base | 3), true, 3, false), 3);
	return op_goto(c, rip);
}

const struct iop *op_sysenter(struct engine_cpu *c, const struct iop *op)
{
	struct x86_state *s = &c->s;
	bool lm = x86_long_mode(s);

	c->op = op;
	if (real_mode(c) || !(s->sysenter_cs & 0xfffc))
		raise_gp(c);
	s->rflags &= ~(uint64_t)(X86_VM | X86_IF | X86_RF);
	s->seg[X86_SS] = flat_seg((uint16_t)((s->sysenter_cs & 0xfffc) + 8), false, 0, false);
	s->gpr[X86_RSP] = lm ? s->sysenter_esp : (uint32_t)s->sysenter_esp;
	cs_put(c, flat_seg((uint16_t)(s->sysenter_cs & 0xfffc), true, 0, lm), 0);
	return op_goto(c, lm ? s->sysenter_eip : (uint32_t)s->sysenter_eip);
}

const struct iop *op_sysexit(struct engine_cpu *c, const struct iop *op)
{
	struct x86_state *s = &c->s;
	bool wide = op->insn->opsize == 8;
	uint64_t rip = s->gpr[X86_RDX], sp = s->gpr[X86_RCX];
	uint16_t base = s->sysenter_cs & 0xfffc;

	c->op = op;
	if (real_mode(c) || !base || c->cpl)
		raise_gp(c);
	if (wide && (!x86_canonical(rip) || !x86_canonical(sp)))
		raise_gp(c);
	s->seg[X86_SS] = flat_seg((uint16_t)((base + (wide ? 40 : 24)) | 3), false, 3, false);
	s->gpr[X86_RSP] = wide ? sp : (uint32_t)sp;
	cs_put(c, flat_seg((uint16_t)((base + (wide ? 32 : 16)) | 3), true, 3, wide), 3);
	return op_goto(c, wide ? rip : (uint32_t)rip);
}

/* ---- instructions on selectors ---- */

const struct iop *op_movseg_to(struct engine_cpu *c, const struct iop *op)
{
	unsigned seg = op->insn->sreg;
	uint16_t sel;

	c->op = op;
	if (seg == X86_CS || seg > X86_GS)
		raise_ud(c);
	sel = (uint16_t)rm_get(c, op, 2);
	c->op = op;
	seg_load(c, seg, sel);
	if (seg == X86_SS)
		c->s.movss_shadow = true;
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_movseg_from(struct engine_cpu *c, const struct iop *op)
{
	unsigned seg = op->insn->sreg;

	c->op = op;
	if (seg > X86_GS)
		raise_ud(c);
	rm_put(c, op, op->insn->is_mem ? 2 : op->insn->opsize, c->s.seg[seg].sel);
	return op_next(c, op);
}

const struct iop *op_pushseg(struct engine_cpu *c, const struct iop *op)
{
	uint64_t sp = c->s.gpr[X86_RSP];

	c->op = op;
	stack_push(c, op, &sp, op->insn->opsize, c->s.seg[op->insn->sreg].sel);
	stack_commit(c, sp);
	return op_next(c, op);
}

const struct iop *op_popseg(struct engine_cpu *c, const struct iop *op)
{
	unsigned seg = op->insn->sreg;
	uint64_t sp = c->s.gpr[X86_RSP];
	uint16_t sel;

	c->op = op;
	sel = (uint16_t)stack_pop(c, op, &sp, op->insn->opsize);
	c->op = op;
	if (seg == X86_SS) {
		struct x86_seg g = seg_data(c, seg, sel);

		stack_commit(c, sp);
		seg_put(c, seg, g);
		c->s.movss_shadow = true;
	} else {
		seg_load(c, seg, sel);
		stack_commit(c, sp);
	}
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_lds(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	uint64_t lin, off;
	uint16_t sel;

	c->op = op;
	lin = op_lin(c, op, i->opsize + 2u, false);
	off = load(c, op, lin, i->opsize);
	sel = (uint16_t)load(c, op, lin + i->opsize, 2);
	c->op = op;
	seg_load(c, i->sreg, sel);
	reg_put(c, i->reg * 8u, i->opsize, off);
	if (i->sreg == X86_SS)
		c->s.movss_shadow = true;
	return op_goto(c, op_next_rip(c, op));
}

static void need_protected(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (real_mode(c) || vm86(c))
		raise_ud(c);
}

const struct iop *op_sldt(struct engine_cpu *c, const struct iop *op)
{
	need_protected(c, op);
	if (c->cpl && c->s.cr4 & X86_CR4_UMIP)
		raise_gp(c);
	rm_put(c, op, op->insn->is_mem ? 2 : op->insn->opsize, c->s.ldt.sel);
	return op_next(c, op);
}

const struct iop *op_str(struct engine_cpu *c, const struct iop *op)
{
	need_protected(c, op);
	if (c->cpl && c->s.cr4 & X86_CR4_UMIP)
		raise_gp(c);
	rm_put(c, op, op->insn->is_mem ? 2 : op->insn->opsize, c->s.tr.sel);
	return op_next(c, op);
}

static struct x86_seg system_seg(struct engine_cpu *c, struct desc *d)
{
	struct x86_seg g;

	if (!desc_p(d))
		raise_fault(c, X86_NP, d->sel & 0xfffc);
	if (x86_long_mode(&c->s))
		desc_load_high(c, d, X86_GP);
	g = desc_seg(d);
	g.base |= d->high << 32;
	if (x86_long_mode(&c->s) && !x86_canonical(g.base))
		raise_fault(c, X86_GP, d->sel & 0xfffc);
	return g;
}

const struct iop *op_lldt(struct engine_cpu *c, const struct iop *op)
{
	struct desc d;
	uint16_t sel;

	need_protected(c, op);
	if (c->cpl)
		raise_gp(c);
	sel = (uint16_t)rm_get(c, op, 2);
	c->op = op;
	if (!(sel & ~3)) {
		c->s.ldt = (struct x86_seg){.sel = sel};
		return op_next(c, op);
	}
	if (sel & 4 || !desc_try(c, sel, &d) || desc_s(&d) || desc_type(&d) != 2)
		raise_fault(c, X86_GP, sel & 0xfffc);
	c->s.ldt = system_seg(c, &d);
	return op_next(c, op);
}

const struct iop *op_ltr(struct engine_cpu *c, const struct iop *op)
{
	struct x86_seg g;
	struct desc d;
	uint16_t sel;

	need_protected(c, op);
	if (c->cpl)
		raise_gp(c);
	sel = (uint16_t)rm_get(c, op, 2);
	c->op = op;
	if (!(sel & ~3))
		raise_gp(c);
	if (sel & 4 || !desc_try(c, sel, &d) || desc_s(&d) ||
		(desc_type(&d) != 9 && (desc_type(&d) != 1 || x86_long_mode(&c->s))))
		raise_fault(c, X86_GP, sel & 0xfffc);
	g = system_seg(c, &d);
	mem_sys_store(c, d.at + 5, (d.raw >> 40 & 0xff) | 2, 1);
	g.attr |= 2;
	c->s.tr = g;
	return op_next(c, op);
}

/* Is the descriptor visible at this CPL and RPL (VERR, LAR, LSL)? */
static bool visible(struct engine_cpu *c, const struct desc *d)
{
	if (desc_code(d) && desc_type(d) & X86_SEG_DC)
		return true;
	return desc_dpl(d) >= c->cpl && desc_dpl(d) >= (d->sel & 3u);
}

static void set_zf(struct engine_cpu *c, bool on)
{
	c->fl = on ? c->fl | FL_ZF : c->fl & ~(uint32_t)FL_ZF;
}

const struct iop *op_verr(struct engine_cpu *c, const struct iop *op)
{
	bool write = op->insn->op == X86_OP_VERW, ok;
	struct desc d;
	uint16_t sel;

	need_protected(c, op);
	sel = (uint16_t)rm_get(c, op, 2);
	c->op = op;
	ok = sel & ~3 && desc_try(c, sel, &d) && desc_s(&d) && visible(c, &d);
	if (ok) {
		unsigned t = desc_type(&d);

		if (write)
			ok = !(t & X86_SEG_CODE) && t & X86_SEG_WR;
		else
			ok = !(t & X86_SEG_CODE) || t & X86_SEG_WR;
	}
	set_zf(c, ok);
	return op_next(c, op);
}

/* LAR and LSL */
const struct iop *op_lar(struct engine_cpu *c, const struct iop *op)
{
	bool lsl = op->insn->op == X86_OP_LSL, ok;
	struct desc d;
	uint16_t sel;

	need_protected(c, op);
	sel = (uint16_t)rm_get(c, op, 2);
	c->op = op;
	ok = sel & ~3 && desc_try(c, sel, &d) && visible(c, &d);
	if (ok && !desc_s(&d)) {
		unsigned t = desc_type(&d);

		if (x86_long_mode(&c->s))
			ok = t == 2 || t == 9 || t == 11 || (!lsl && t == 12);
		else
			ok = t == 1 || t == 2 || t == 3 || t == 9 || t == 11 ||
			     (!lsl && (t == 4 || t == 5 || t == 12));
	}
	if (ok)
		reg_put(c, op->insn->reg * 8u, op->insn->opsize,
			lsl ? desc_seg(&d).limit : d.raw >> 32 & 0xffff00);
	set_zf(c, ok);
	return op_next(c, op);
}

const struct iop *op_arpl(struct engine_cpu *c, const struct iop *op)
{
	uint16_t dst, src;

	need_protected(c, op);
	dst = (uint16_t)rm_get(c, op, 2);
	src = (uint16_t)reg_get(c, op->insn->reg * 8u, 2);
	if ((dst & 3) < (src & 3)) {
		rm_put(c, op, 2, (dst & ~3u) | (src & 3u));
		set_zf(c, true);
	} else {
		set_zf(c, false);
	}
	return op_next(c, op);
}

const struct iop *op_bound(struct engine_cpu *c, const struct iop *op)
{
	unsigned size = op->insn->opsize;
	uint64_t lin;
	int64_t v, lo, hi;

	c->op = op;
	lin = op_lin(c, op, 2 * size, false);
	v = (int64_t)reg_get(c, op->insn->reg * 8u, size);
	lo = (int64_t)load(c, op, lin, size);
	hi = (int64_t)load(c, op, lin + size, size);
	if (size == 2) {
		v = (int16_t)v;
		lo = (int16_t)lo;
		hi = (int16_t)hi;
	} else {
		v = (int32_t)v;
		lo = (int32_t)lo;
		hi = (int32_t)hi;
	}
	if (v < lo || v > hi) {
		c->op = op;
		raise_plain(c, X86_BR);
	}
	return op_next(c, op);
}
