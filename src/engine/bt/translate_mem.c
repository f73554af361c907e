/* SPDX-License-Identifier: MIT */
/*
 * Memory operands: the check in front of an access, and how most of them are saved.
 *
 * Most accesses of a block go to a few places: the stack frame, a structure. So a check looks ahead: it covers
 * all that the block will touch at the same base (a range of at most FACT_SPAN bytes), and what it
 * found, the addend of that page, is kept: a fact. An access that lies in a fact's range needs no check, just the
 * addend, which may even still be in R10. Checks for reading and for writing are facts of their own; who may
 * write may read.
 *
 * To know that two accesses have the same base, every register has a value: a number and a distance from what the
 * number stands for. MOV r, r copies it, ADD, SUB, LEA, PUSH, POP with constants move it on, everything else that
 * writes the register gives it a number never used before. This is what keeps the guest out of our
 * memory: a fact must never be used with another address than the one that was checked. gprs_written() lists what is
 * known not to write; what it does not list writes everything.
 *
 * When a range goes over a page's end, or is not wholly accessible, the check fails where the access alone
 * might not. The block is left then for a narrow one (BT_KEY_NARROW), which begins at this instruction
 * and checks each access on its own.
 *
 * A fact holds until the block ends or C has run: the TLB may have lost a right in between (a page of code must not
 * be written any more, see mem.c). So behind a slow path code does not come back into a block that has facts.
 */
#include "engine/bt/translate-int.h"

enum { FACT_SPAN = 240, DELTA_MAX = 1 << 20 };

/* ---- values ---- */

#define ALL_GPRS 0xffffu

/* The register that a byte operand names: AH is RAX */
static unsigned owner(const struct x86_insn *i, unsigned reg)
{
	bool high = i->opsize == 1 && !i->rex && !(i->attr & X86_A_VEX) && reg >= 4 && reg < 8;

	return high ? reg - 4 : reg & 15;
}

unsigned gprs_written(const struct x86_insn *i)
{
	unsigned reg = 1u << owner(i, i->reg), rm = i->is_mem ? 0 : 1u << owner(i, i->rm), v = 1u << (i->vvvv & 15);
	const unsigned whole_reg = 1u << (i->reg & 15), whole_rm = i->is_mem ? 0 : 1u << (i->rm & 15);

	switch (i->op) {
	case X86_OP_CMP: case X86_OP_TEST: case X86_OP_BT: case X86_OP_NOP: case X86_OP_CLC: case X86_OP_STC:
	case X86_OP_CMC: case X86_OP_SAHF: case X86_OP_JCC: case X86_OP_LFENCE: case X86_OP_SFENCE:
	case X86_OP_MFENCE: case X86_OP_MOVNTI: case X86_OP_CLI: case X86_OP_STI: case X86_OP_VZERO:
	case X86_OP_VMASKMOV: case X86_OP_LDMXCSR: case X86_OP_STMXCSR: case X86_OP_FWAIT:
	case X86_OP_PUSH: case X86_OP_PUSHF:
		return 0; /* RSP is value_step()'s affair */
	case X86_OP_ADD: case X86_OP_OR: case X86_OP_ADC: case X86_OP_SBB: case X86_OP_AND: case X86_OP_SUB:
	case X86_OP_XOR: case X86_OP_MOV: case X86_OP_MOVBE:
		switch (i->form) {
		case X86_F_RM_R: case X86_F_RM_I: case X86_F_O_I:
			return rm;
		case X86_F_R_RM:
			return reg;
		case X86_F_A_I: case X86_F_A_M:
			return 1u << RAX;
		case X86_F_M_A:
			return 0;
		default:
			return ALL_GPRS;
		}
	case X86_OP_INC: case X86_OP_DEC: case X86_OP_NEG: case X86_OP_NOT: case X86_OP_ROL: case X86_OP_ROR:
	case X86_OP_RCL: case X86_OP_RCR: case X86_OP_SHL: case X86_OP_SHR: case X86_OP_SAL: case X86_OP_SAR:
	case X86_OP_SHLD: case X86_OP_SHRD: case X86_OP_BTS: case X86_OP_BTR: case X86_OP_BTC:
	case X86_OP_SETCC: case X86_OP_BSWAP:
		return rm;
	case X86_OP_MOVZX: case X86_OP_MOVSX: case X86_OP_LEA: case X86_OP_IMUL2: case X86_OP_IMUL3:
	case X86_OP_CMOVCC: case X86_OP_BSF: case X86_OP_BSR: case X86_OP_TZCNT: case X86_OP_LZCNT:
	case X86_OP_POPCNT: case X86_OP_ADCX: case X86_OP_ADOX: case X86_OP_CRC32: case X86_OP_ANDN:
	case X86_OP_BEXTR: case X86_OP_BZHI: case X86_OP_PDEP: case X86_OP_PEXT: case X86_OP_RORX:
	case X86_OP_SARX: case X86_OP_SHLX: case X86_OP_SHRX:
		return whole_reg;
	case X86_OP_BLSI: case X86_OP_BLSMSK: case X86_OP_BLSR:
		return v;
	case X86_OP_MULX:
		return reg | v;
	case X86_OP_XCHG:
		return i->form == X86_F_A_O ? rm | 1u << RAX : reg | rm;
	case X86_OP_XADD:
		return reg | rm;
	case X86_OP_CMPXCHG:
		return rm | 1u << RAX;
	case X86_OP_CMPXCHG8B: case X86_OP_MUL: case X86_OP_IMUL1: case X86_OP_DIV: case X86_OP_IDIV:
		return 1u << RAX | 1u << RDX;
	case X86_OP_CBW: case X86_OP_CWD: case X86_OP_LAHF:
		return 1u << RAX | 1u << RDX;
	case X86_OP_X87:
		return i->opcode == 0xdf && i->modrm == 0xe0 ? 1u << RAX : 0; /* FNSTSW AX */
	case X86_OP_VEC: case X86_OP_MMX:
		return (i->kreg == X86_K_GPR ? whole_reg : 0) | (i->krm == X86_K_GPR ? whole_rm : 0) |
		       (i->kvex == X86_K_GPR ? v : 0) | (i->attr & X86_A_PCMPSTR ? 1u << RCX : 0);
	default:
		return ALL_GPRS;
	}
}

static struct value value_new(struct tr *t)
{
	return (struct value){.id = ++t->last_value};
}

static struct value value_add(struct tr *t, struct value v, int64_t n)
{
	if (n < -DELTA_MAX || n > DELTA_MAX || v.delta + n < -DELTA_MAX || v.delta + n > DELTA_MAX)
		return value_new(t);
	v.delta += (int32_t)n;
	return v;
}

static void values_reset(struct tr *t)
{
	for (unsigned k = 0; k < 16; k++)
		t->value[k] = value_new(t);
	for (unsigned k = X86_FS; k < X86_NSEG; k++)
		t->seg_value[k] = value_new(t);
}

/* What the registers hold behind instruction i. What is not known to leave them alone may write segments, too. */
static void value_step(struct tr *t, const struct x86_insn *i)
{
	struct value *v = t->value;
	const bool wide = i->opsize == 8;
	unsigned m;

	switch (i->op) {
	case X86_OP_PUSH: case X86_OP_PUSHF:
		v[RSP] = wide ? value_add(t, v[RSP], -8) : value_new(t);
		return;
	case X86_OP_POP:
		if (!wide || i->is_mem)
			break;
		v[RSP] = value_add(t, v[RSP], 8);
		v[i->rm & 15] = value_new(t);
		return;
	case X86_OP_LEAVE:
		if (!wide)
			break;
		v[RSP] = value_add(t, v[RBP], 8);
		v[RBP] = value_new(t);
		return;
	case X86_OP_MOV:
		if (!wide || i->is_mem || (i->form != X86_F_RM_R && i->form != X86_F_R_RM))
			break;
		if (i->form == X86_F_RM_R)
			v[i->rm & 15] = v[i->reg & 15];
		else
			v[i->reg & 15] = v[i->rm & 15];
		return;
	case X86_OP_LEA:
		if (!wide || !i->is_mem || i->adsize != 8 || i->index >= 0 || i->base < 0 ||
			i->base == X86_BASE_RIP)
			break;
		v[i->reg & 15] = value_add(t, v[i->base], i->disp);
		return;
	case X86_OP_ADD: case X86_OP_SUB:
		if (!wide || i->is_mem || (i->form != X86_F_RM_I && i->form != X86_F_A_I))
			break;
		m = i->form == X86_F_A_I ? RAX : i->rm & 15u;
		v[m] = value_add(t, v[m], i->op == X86_OP_ADD ? i->imm : -i->imm);
		return;
	case X86_OP_INC: case X86_OP_DEC:
		if (!wide || i->is_mem)
			break;
		v[i->rm & 15] = value_add(t, v[i->rm & 15], i->op == X86_OP_INC ? 1 : -1);
		return;
	default:
		break;
	}
	m = gprs_written(i);
	if (m == ALL_GPRS) {
		values_reset(t);
		return;
	}
	for (unsigned k = 0; k < 16; k++)
		if (m >> k & 1)
			v[k] = value_new(t);
}

/* ---- the plan: what will be accessed at which value ---- */

/* False: an address that is not worth or not fit to be remembered. */
static bool spot_of(const struct tr *t, const struct gea *g, struct spot *s)
{
	*s = (struct spot){.off = g->disp};
	if (g->ready || g->ad32)
		return false;
	if (g->base >= 0) {
		s->base = t->value[g->base].id;
		s->off += t->value[g->base].delta;
	}
	if (g->index >= 0) {
		s->index = t->value[g->index].id;
		s->scale = g->scale;
		s->off += (int64_t)t->value[g->index].delta << g->scale;
	}
	if (g->seg)
		s->seg = t->seg_value[g->seg].id;
	/* a constant may be any canonical address, everything else is near; a check moves disp by FACT_SPAN at most */
	if ((s->base || s->index) && !(fits32(g->disp - 2 * FACT_SPAN) && fits32(g->disp + 2 * FACT_SPAN)))
		return false;
	return (s->base || s->index || s->seg) ? s->off >= INT32_MIN / 2 && s->off <= INT32_MAX / 2
					       : x86_canonical((uint64_t)s->off);
}

static bool same_spot(const struct spot *a, const struct spot *b)
{
	return a->base == b->base && a->index == b->index && a->seg == b->seg && a->scale == b->scale;
}

static void plan(struct tr *t, unsigned k, const struct gea *g, unsigned size, bool write)
{
	struct planned *p = &t->plan[t->nplan];

	if (t->nplan < MAX_PLAN && spot_of(t, g, &p->at)) {
		p->insn = (uint8_t)k;
		p->size = (uint8_t)size;
		p->write = write;
		t->nplan++;
	}
}

void facts_plan(struct tr *t)
{
	t->nplan = t->nfacts = 0;
	t->r10 = -1;
	values_reset(t);
	if (t->key & BT_KEY_NARROW)
		return;
	for (unsigned k = 0; k < t->n; k++) {
		const struct x86_insn *i = &t->in[k].i;

		static const struct gea frame = {.base = RBP, .index = -1};
		struct gea g;

		t->now = &t->in[k];
		if (i->is_mem && i->memsize && i->memsize <= 32 && i->op != X86_OP_LEA && i->op != X86_OP_NOP) {
			g = gea_of(t, i);
			plan(t, k, &g, i->memsize, i->arm & X86_ACC_W);
		}
		switch (i->op) {
		case X86_OP_PUSH: case X86_OP_PUSHF: case X86_OP_CALL: case X86_OP_CALLIND:
			plan(t, k, &at_push, 8, true);
			break;
		case X86_OP_POP: case X86_OP_RET:
			plan(t, k, &at_top, 8, false);
			break;
		case X86_OP_LEAVE:
			plan(t, k, &frame, 8, false);
			break;
		}
		value_step(t, i);
	}
	/* again from the beginning, with the same numbers, for check() */
	t->last_value = 0;
	values_reset(t);
}

void facts_step(struct tr *t)
{
	value_step(t, &t->now->i);
	if (!t->r10_kept)
		t->r10 = -1;
	if (!t->held_kept)
		t->held = 0;
	t->r10_kept = t->held_kept = false;
}

void facts_forget(struct tr *t)
{
	t->nfacts = 0;
	t->r10 = -1;
	t->held = 0;
}

static int fact_find(const struct tr *t, const struct spot *s, unsigned size, bool write)
{
	for (unsigned k = 0; k < t->nfacts; k++) {
		const struct fact *f = &t->fact[k];

		if (same_spot(&f->at, s) && s->off >= f->at.off && s->off + (int64_t)size <= f->end &&
			(f->write || !write))
			return (int)k;
	}
	return -1;
}

/* A fact for this access and what follows at the same place; NULL: nothing follows. */
static struct fact *fact_new(struct tr *t, const struct spot *s, unsigned size, bool write)
{
	unsigned now = (unsigned)(t->now - t->in), more = 0;
	struct fact *f;

	if (t->key & BT_KEY_NARROW || t->next_fact == BT_FACTS || t->nfacts == MAX_FACTS)
		return NULL;
	f = &t->fact[t->nfacts];
	*f = (struct fact){.at = *s, .end = s->off + (int64_t)size, .write = write};
	for (unsigned k = 0; k < t->nplan; k++) {
		const struct planned *p = &t->plan[k];
		int64_t lo, end;

		if (p->insn <= now || !same_spot(&p->at, s) || (p->write && !write))
			continue;
		lo = p->at.off < f->at.off ? p->at.off : f->at.off;
		end = p->at.off + p->size > f->end ? p->at.off + p->size : f->end;
		if (end - lo > FACT_SPAN)
			continue;
		/* a constant's page is known: no need to fail there */
		if (!s->base && !s->index && !s->seg && !same_page((uint64_t)lo, (uint64_t)end - 1))
			continue;
		f->at.off = lo;
		f->end = end;
		more++;
	}
	if (!more)
		return NULL;
	f->slot = t->next_fact++;
	t->nfacts++;
	return f;
}

/* ---- addresses ---- */

struct gea gea_of(const struct tr *t, const struct x86_insn *i)
{
	struct gea g = {.base = i->base, .index = i->index, .scale = i->scale, .disp = i->disp,
		.seg = i->seg >= X86_FS ? i->seg : 0, .ad32 = i->adsize == 4};

	if (i->base == X86_BASE_RIP) {
		g.base = -1;
		g.disp += (int64_t)next_va(t);
	}
	if (g.ad32 && g.base < 0 && g.index < 0) {
		g.disp = (uint32_t)g.disp;
		g.ad32 = false;
	}
	return g;
}

/* A register plus a constant: needs no instruction of its own */
static bool gea_simple(const struct gea *g)
{
	return g->base >= 0 && !is_scratch(g->base) && g->index < 0 && !g->seg && !g->ad32 && !g->ready &&
	       fits32(g->disp + 2 * FACT_SPAN) && fits32(g->disp - 2 * FACT_SPAN);
}

static void load_base(struct tr *t, unsigned host, unsigned seg)
{
	emit_op_gs(&t->e, true, OP_MOV_LOAD, host,
		CPU(cpu.s.seg) + seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, base));
}

/* R11 = linear address. R9 may be lost. */
void emit_ea(struct tr *t, const struct gea *g)
{
	struct mem_op m = {.base = g->base, .index = g->index, .scale = g->scale, .disp = (int32_t)g->disp};
	struct emit *e = &t->e;

	if (g->base < 0 && g->index < 0) {
		if (!g->seg) {
			emit_imm(e, R11, (uint64_t)g->disp);
			return;
		}
		load_base(t, R11, g->seg);
		if (fits32(g->disp)) {
			m = (struct mem_op){.base = R11, .index = -1, .disp = (int32_t)g->disp};
			if (m.disp)
				emit_op_m(e, true, OP_LEA, R11, &m);
		} else {
			emit_imm(e, R9, (uint64_t)g->disp);
			m = (struct mem_op){.base = R11, .index = R9};
			emit_op_m(e, true, OP_LEA, R11, &m);
		}
		return;
	}
	if (is_scratch(g->base)) {
		load_gpr(t, R11, (unsigned)g->base);
		m.base = R11;
	}
	if (is_scratch(g->index)) {
		load_gpr(t, R9, (unsigned)g->index);
		m.index = R9;
	}
	emit_op_m(e, !g->ad32, OP_LEA, R11, &m);
	if (g->seg) {
		load_base(t, R9, g->seg);
		m = (struct mem_op){.base = R11, .index = R9};
		emit_op_m(e, true, OP_LEA, R11, &m);
	}
}

/* ---- checks ---- */

uint32_t site_new(struct tr *t, unsigned size, bool write)
{
	uint32_t k = t->v->nsites++;

	t->v->sites[k] = (struct bt_site){.block = (uint32_t)(t->blk - t->v->blocks), .off = t->now->off,
		.len = t->now->i.len, .size = (uint8_t)size, .write = write, .regs = t->regs & t->now->regs,
		.retry = t->retry ? offset_of(t, t->retry) : 0};
	return k;
}

struct cold *slow(struct tr *t, uint8_t *from, unsigned size, bool write)
{
	struct cold *c = cold_new(t, COLD_MEM, from);

	if (t->checked == t->now)
		size = 0;
	else if (size)
		t->checked = t->now;
	c->index = site_new(t, size, write);
	return c;
}

void slow_resume(struct tr *t, unsigned since)
{
	if (t->nfacts)
		return;
	for (unsigned k = since; k < t->ncold; k++)
		if (t->cold[k].kind == COLD_MEM && !t->cold[k].resume) {
			t->cold[k].resume = t->e.p;
			t->cold[k].fl_mem = !t->fl_mem && t->now->live;
		}
}

/* The flags are out of the way; here a failed check is tried again. */
static void begin_check(struct tr *t)
{
	if (t->retry)
		return;
	flags_spare(t);
	t->retry = t->e.p;
}

static void rorx_page(struct emit *e, unsigned from)
{
	E(e, 0xc4, from >= 8 ? 0x43 : 0x63, 0x7b, 0xf0, 0xd0 | (from & 7), 0x0c); /* rorx r10d, from, 12 */
}

/* R10D = index from its low byte, R9 = address of the last byte: compares. */
static struct cold *compare(struct tr *t, unsigned size, bool write)
{
	struct emit *e = &t->e;

	E(e, 0x45, 0x0f, 0xb6, 0xd2); /* movzx r10d, r10b */
	E(e, 0x49, 0xc1, 0xe9, 0x0c); /* shr r9, 12 */
	emit_op_gs8(e, true, OP_CMP, R9, R10, write ? TLB(t->mmu, wtag) : TLB(t->mmu, rtag));
	return slow(t, emit_jcc(e, CC_NE), size, write);
}

static void load_addend(struct tr *t)
{
	emit_op_gs8(&t->e, true, OP_MOV_LOAD, R10, R10, TLB(t->mmu, addend));
}

static void load_fact(struct tr *t, int k)
{
	/* an earlier check of this instruction that fails comes back without R10 */
	if (t->r10 != k || t->retry)
		emit_op_gs(&t->e, true, OP_MOV_LOAD, R10, CPU(fact) + 8u * t->fact[k].slot);
	t->r10 = k;
	t->r10_kept = true;
}

/* R10 holds the addend of what has been checked. */
static void keep_fact(struct tr *t, const struct fact *f)
{
	t->r10 = -1;
	if (!f)
		return;
	emit_op_gs(&t->e, true, OP_MOV_STORE, R10, CPU(fact) + 8u * f->slot);
	t->r10 = (int)(f - t->fact);
	t->r10_kept = true;
}

struct mem_op check(struct tr *t, const struct gea *g, unsigned size, bool write, unsigned align)
{
	const bool simple = gea_simple(g), constant = !g->ready && g->base < 0 && g->index < 0 && !g->seg;
	struct mem_op m = {.base = g->base, .index = -1, .disp = (int32_t)g->disp};
	struct gea wide = *g;
	struct emit *e = &t->e;
	struct fact *f = NULL;
	struct spot s;
	struct cold *c;
	int32_t more = 0; /* from the first byte of the check to that of the access */
	int known = -1;

	if (align) {
		begin_check(t);
		if (simple) {
			emit_op_m(e, false, OP_LEA, R9, &m);
			E(e, 0x41, 0xf6, 0xc1, align); /* test r9b, align */
		} else {
			if (!g->ready)
				emit_ea(t, g);
			E(e, 0x41, 0xf6, 0xc3, align); /* test r11b, align */
		}
		c = slow(t, emit_jcc(e, CC_NE), 0, write);
		c->ea = *g;
		c->in_r11 = !simple;
	}
	if (spot_of(t, g, &s)) {
		known = fact_find(t, &s, size, write);
		/* not for the second access of an instruction: a failure would be the first one's */
		if (known < 0 && t->checked != t->now)
			f = fact_new(t, &s, size, write);
	}
	if (known >= 0) {
		if (constant && fits32(g->disp)) {
			load_fact(t, known);
			return (struct mem_op){.base = R10, .index = -1, .disp = m.disp};
		}
		if (!simple)
			emit_ea(t, g);
		load_fact(t, known);
		return simple ? (struct mem_op){.base = g->base, .index = R10, .disp = m.disp}
			      : (struct mem_op){.base = R11, .index = R10};
	}
	begin_check(t);
	if (f) {
		more = (int32_t)(s.off - f->at.off);
		wide.disp -= more;
		size = (unsigned)(f->end - f->at.off);
	}
	if (constant && (wide.disp & 0xfff) + (int64_t)size <= 0x1000 && fits32(wide.disp) && fits32(g->disp) &&
		!(g->disp & align)) {
		/* its place in the TLB is constant, too */
		size_t k = 8 * tlb_index((uint64_t)wide.disp);

		emit_imm(e, R9, (uint64_t)wide.disp >> 12);
		emit_op_gs(e, true, OP_CMP, R9, (write ? TLB(t->mmu, wtag) : TLB(t->mmu, rtag)) + k);
		c = slow(t, emit_jcc(e, CC_NE), size, write);
		c->ea = wide;
		t->v->sites[c->index].wide = f != NULL;
		emit_op_gs(e, true, OP_MOV_LOAD, R10, TLB(t->mmu, addend) + k);
		keep_fact(t, f);
		return (struct mem_op){.base = R10, .index = -1, .disp = m.disp};
	}
	if (simple) {
		m.disp = (int32_t)wide.disp;
		if (m.disp)
			emit_op_m(e, false, OP_LEA, R10, &m);
		rorx_page(e, m.disp ? (unsigned)R10 : (unsigned)g->base);
	} else {
		if (!g->ready)
			emit_ea(t, &wide);
		rorx_page(e, R11);
		m = (struct mem_op){.base = R11, .index = -1};
	}
	m.disp += (int32_t)size - 1;
	if (m.disp)
		emit_op_m(e, true, OP_LEA, R9, &m);
	else
		emit_op_r(e, true, OP_MOV_STORE, (unsigned)m.base, R9);
	c = compare(t, size, write);
	c->ea = wide;
	c->in_r11 = !simple;
	t->v->sites[c->index].wide = f != NULL;
	if (!simple && !f) {
		t->r10 = -1;
		emit_op_gs8(e, true, 0x03, R11, R10, TLB(t->mmu, addend)); /* add r11, addend */
		return (struct mem_op){.base = R11, .index = -1};
	}
	load_addend(t);
	keep_fact(t, f);
	return simple ? (struct mem_op){.base = g->base, .index = R10, .disp = (int32_t)g->disp}
		      : (struct mem_op){.base = R11, .index = R10, .disp = more};
}
