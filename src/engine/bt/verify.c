/* SPDX-License-Identifier: MIT */
/*
 * A second opinion on emitted code: decodes it again, and lets it pass only if all it can do is compute, jump
 * within its block or to the glue, and touch memory that it may touch. With v->verify each block is looked at
 * before it is published; one that does not pass is not used, and interp goes on.
 *
 * Memory operands are
 *   gs:[constant]           inside struct bt_cpu; what may be written is listed (writable[]);
 *   gs:[r * 8 + constant]   the same for every value that r may have;
 *   [r + R10 + d], [R11]    after a TLB check that covers these bytes for this kind of access;
 *   RDI, RSI of REP         host addresses made by such a check, and a count that ends with the page.
 *
 * To know that, registers are followed symbolically. A register holds an unknown plus a constant, a number, or one
 * of the steps of a check (enum kind). The check itself is a CMP of a PAGE with the tag at an INDEX, both of the
 * same unknown; when the JNE behind it is not taken, all bytes from the one that made the index to the one that made
 * the page are good, and the addend at the same index makes a host pointer of that unknown. Addends may be
 * kept in the vCPU's block (fact[]), whose contents are followed like registers. What an instruction writes is
 * told by written(), which knows less than the translator does and nothing of it.
 *
 * Where code is jumped to, what is known is what holds on all ways there. Jumps forward are met before their target,
 * so that is simply kept. For jumps back - loops, the return from code behind the block, and the retry when
 * the glue has filled the TLB - it is assumed that only R9-R11 have changed; when the jump is met and says otherwise,
 * what it contradicts is struck out at the target, and all begins again. Where C comes back to
 * after it has executed an instruction for the guest, no fact is left, and only what the code for it leaves alone.
 *
 * An instruction that faults on the host would be husk's end, as nothing catches that: those with aligned operands
 * want a test of the address, divisions the comparison that rules the fault out (div_guarded()), bit strings
 * a bounded bit number; control words are loaded from struct bt_cpu only, where their new value has been looked at.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/bt/translate-int.h"

#define SIZE(field) sizeof(((struct bt_cpu *)0)->field)
#define RANGE(field) {CPU(field), SIZE(field)}

/* What translated code may write in the vCPU's block. */
static const struct {
	size_t at, len;
} writable[] = {
	{CPU(cpu.s.gpr), 16 * 8}, RANGE(cpu.s.rflags), {CPU(cpu.s.seg[X86_FS].base), 8},
	{CPU(cpu.s.seg[X86_GS].base), 8}, RANGE(cpu.s.kernel_gs_base), RANGE(cpu.s.fpu), RANGE(cpu.s.sti_shadow),
	RANGE(cpu.fl), RANGE(cpu.mmu), RANGE(cpu.cpl), RANGE(cpu.s.seg[X86_CS]), RANGE(cpu.s.seg[X86_SS]),
	RANGE(nsens), RANGE(x87),
};

enum { CODE_MAX = 64 << 10, LABELS_MAX = 1024, ROUNDS = 24 };
/* What is followed: 16 registers, fact[], string, the guest's R9-R11 in memory, the bases of FS and GS */
enum { FACTS = 16, STRING = FACTS + BT_FACTS, GUEST = STRING + 1, SEGS = GUEST + 3, KNOWN = SEGS + 2,
	SUMS_MAX = 256 };

/* What is known of a register: */
enum kind {
	VALUE,   /* unknown id, plus off; id 0: off alone */
	NUMBER,  /* in compared.index: a place that is known */
	LOW,     /* the low 32 bits of id + off, the upper ones clear */
	TURNED,  /* those rotated right by 12 */
	INDEX,   /* bits 12-19 of id + off */
	PAGE,    /* id + off >> 12 */
	BELOW,   /* at most off */
	ADDEND,  /* added to id, makes a host pointer; good for id + lo to id + hi */
	POINTER, /* id + off as the host sees it, good from lo to hi bytes further */
	NEGROOM, /* less the bytes from id + off to the page's end */
	ROOM,    /* at most that, also of id2 + off2 if there is an id2; >> shift */
	CODE,    /* from the jump cache, for the address that was asked for */
};

struct content {
	uint8_t kind; /* enum kind */
	uint8_t shift;
	bool write;     /* ADDEND, POINTER */
	uint32_t id, id2;
	int64_t off, off2;
	int64_t lo, hi; /* ADDEND, POINTER */
};

/* A CMP with a tag, or with the jump cache; when it has been passed, also that */
struct compared {
	bool tag, jc, write;
	struct content index;
	int64_t lo, hi;
};

struct tested {
	bool set;
	uint8_t mask;
	uint32_t id;
	int64_t off;
};

struct state {
	struct content known[KNOWN];
	struct compared cmp, passed;
	struct tested test, aligned;
	struct x86_insn last[2]; /* the last instruction and the one before */
};

struct label {
	uint32_t off; /* in the block */
	bool forward; /* from has been set */
	bool back;    /* jumped to from behind */
	bool outside; /* C comes here when it has done something ... */
	const struct x86_insn *call; /* ... namely this instruction of the guest */
	uint32_t since; /* ... namely the guest's instruction whose code begins here; UINT32_MAX: something else */
	bool met;     /* assumed has been set */
	uint32_t fresh; /* ids from here on were made up at this label */
	uint64_t weak; /* of known[]: what a jump back contradicts */
	struct state from, assumed;
};

struct bt_verifier {
	const struct bt_vm *v;
	const uint8_t *from, *to;
	const struct bt_verify_range *range;
	unsigned mmu;
	uint32_t ids;
	bool again;
	/* unknowns that are made of others: always the same one of the same */
	unsigned nsums;
	struct { struct content a, b; unsigned scale; uint32_t id; } sum[SUMS_MAX];
	struct state s;
	const char *why;
	const uint8_t *at;
	uint8_t starts[CODE_MAX / 8];
	uint16_t label_at[CODE_MAX]; /* number of the label + 1 */
	unsigned nlabels;
	struct label label[LABELS_MAX];
};

#define REG(f, n) (&(f)->s.known[(n) & 15])

static bool bit(const uint8_t *map, size_t n)
{
	return map[n / 8] >> (n % 8) & 1;
}

static void bit_set(uint8_t *map, size_t n)
{
	map[n / 8] |= (uint8_t)(1u << (n % 8));
}

static bool bad(struct bt_verifier *f, const char *why)
{
	if (!f->why)
		f->why = why;
	return false;
}

static struct content fresh(struct bt_verifier *f)
{
	return (struct content){.kind = VALUE, .id = ++f->ids};
}

static bool same(const struct content *a, const struct content *b)
{
	return a->kind == b->kind && a->shift == b->shift && a->write == b->write && a->id == b->id &&
	       a->id2 == b->id2 && a->off == b->off && a->off2 == b->off2 && a->lo == b->lo && a->hi == b->hi;
}

/* What does not outlive a label */
static void forget_steps(struct state *s)
{
	s->cmp.tag = s->cmp.jc = s->passed.tag = s->passed.jc = s->test.set = s->aligned.set = false;
	s->last[0].op = s->last[1].op = X86_OP_NOP;
}

static void forget(struct bt_verifier *f)
{
	for (unsigned r = 0; r < KNOWN; r++)
		f->s.known[r] = fresh(f);
	forget_steps(&f->s);
}

static void forget_scratch(struct bt_verifier *f)
{
	for (unsigned r = R9; r <= R11; r++)
		f->s.known[r] = fresh(f);
	forget_steps(&f->s);
}

/* ---- memory ---- */

static bool cpu_block(struct bt_verifier *f, size_t at, size_t len, bool write)
{
	if (at > sizeof(struct bt_cpu) || len > sizeof(struct bt_cpu) - at)
		return bad(f, "gs: outside of the vCPU's block");
	for (size_t k = 0; write && k < ARRAY_LEN(writable); k++)
		if (at >= writable[k].at && at + len <= writable[k].at + writable[k].len)
			return true;
	return write ? bad(f, "gs: a write to what translated code must not write") : true;
}

/* The greatest value of a register, if there is a small one. */
static bool bounded(const struct content *v, int64_t *max)
{
	*max = v->kind == INDEX ? TLB_SIZE - 1 : v->off;
	return v->kind == INDEX || v->kind == BELOW;
}

static bool is_aligned(const struct bt_verifier *f, uint32_t id, int64_t off, unsigned mask)
{
	return f->s.aligned.set && f->s.aligned.id == id && f->s.aligned.off == off && (f->s.aligned.mask & mask) == mask;
}

static unsigned alignment(const struct x86_insn *i)
{
	if (i->op == X86_OP_CMPXCHG8B)
		return i->memsize == 16 ? 15 : 0;
	return i->attr & X86_A_ALIGN ? i->memsize - 1u : 0;
}

static bool is_gs(const struct x86_insn *i)
{
	return i->is_mem && i->pfx & X86_PFX_SEG && i->seg == X86_GS;
}

/* Which of what is followed in the vCPU's block is this operand? */
static struct content *slot_of(struct bt_verifier *f, const struct x86_insn *i)
{
	int64_t at = i->disp - (int64_t)CPU(fact);

	if (!is_gs(i) || i->index >= 0 || i->opsize != 8)
		return NULL;
	if (at >= 0 && at < (int64_t)SIZE(fact) && !(at & 7))
		return &f->s.known[FACTS + at / 8];
	at = i->disp - (int64_t)(CPU(cpu.s.gpr) + 8 * R9);
	if (at >= 0 && at < 24 && !(at & 7))
		return &f->s.known[GUEST + at / 8];
	for (unsigned s = 0; s < 2; s++)
		if (i->disp == (int64_t)(CPU(cpu.s.seg) + (X86_FS + s) * sizeof(struct x86_seg) +
			offsetof(struct x86_seg, base)))
			return &f->s.known[SEGS + s];
	return i->disp == (int64_t)CPU(string) ? &f->s.known[STRING] : NULL;
}

static bool memory(struct bt_verifier *f, const struct x86_insn *i)
{
	const bool write = i->arm & X86_ACC_W;
	const unsigned align = alignment(i);
	int64_t max;

	if (!i->memsize || i->adsize != 8 || i->base == X86_BASE_RIP)
		return bad(f, "a memory operand of no known kind");
	if (i->pfx & X86_PFX_SEG) {
		if (i->seg != X86_GS)
			return bad(f, "a segment other than gs:");
		if (i->base >= 0 || (i->index >= 0 && i->scale != 3))
			return bad(f, "gs: with registers");
		if (align)
			return bad(f, "gs: where alignment matters");
		if (i->disp < 0)
			return bad(f, "gs: outside of the vCPU's block");
		if (i->index < 0 && write && i->op == X86_OP_MOV && slot_of(f, i))
			return true;
		if (i->index < 0)
			return cpu_block(f, (size_t)i->disp, i->memsize, write);
		if (!bounded(REG(f, i->index), &max))
			return bad(f, "gs: with an index that may be anything");
		return cpu_block(f, (size_t)i->disp, (size_t)max * 8 + i->memsize, write);
	}
	if (i->op == X86_OP_LDMXCSR || (i->op == X86_OP_X87 && i->opcode == 0xd9 && (i->modrm >> 3 & 7) == 5))
		return bad(f, "a control word from the guest's memory");
	if (i->base < 0)
		return bad(f, "an absolute address");
	for (unsigned turn = 0; turn < 2; turn++) {
		/* the addend may be base or index */
		const struct content *p = REG(f, turn ? i->index & 15 : i->base);
		const struct content *q = i->index < 0 || turn ? REG(f, i->base) : REG(f, i->index);
		int64_t first = i->disp, id_off = 0;

		if (turn && i->index < 0)
			break;
		if (i->index < 0) {
			if (p->kind == POINTER && first >= p->lo && first + i->memsize - 1 <= p->hi &&
				(p->write || !write) && (!align || is_aligned(f, p->id, p->off + first, align)))
				return true;
			/* a constant address plus its addend */
			if (p->kind == ADDEND && !p->id && first >= p->lo && first + i->memsize - 1 <= p->hi &&
				(p->write || !write) && !(first & align))
				return true;
			break;
		}
		if (p->kind != ADDEND || q->kind != VALUE || q->id != p->id || (turn && i->scale))
			continue;
		if (!turn && i->scale)
			continue;
		id_off = q->off + first;
		if (id_off >= p->lo && id_off + i->memsize - 1 <= p->hi && (p->write || !write) &&
			(!align || is_aligned(f, q->id, id_off, align)))
			return true;
	}
	return bad(f, align ? "memory that has not been checked, or not for alignment" :
		"memory that has not been checked for this access");
}

/* ---- what instructions do to registers ---- */

/* Which column of the TLB is at a displacement in struct bt_cpu? */
static bool column(const struct bt_verifier *f, int64_t disp, size_t member, int64_t *rest)
{
	*rest = disp - (int64_t)(CPU(cpu.tlb) + f->mmu * sizeof(struct tlb) + member);
	return *rest >= 0 && *rest < 8 * TLB_SIZE && !(*rest & 7);
}

/* CMP r, gs:[...]: is it one with a tag, or with the jump cache? */
static void compare(struct bt_verifier *f, const struct x86_insn *i)
{
	const struct content *r = REG(f, i->reg), *x = i->index >= 0 ? REG(f, i->index) : NULL;
	struct compared *c = &f->s.cmp;
	int64_t rest;

	if (!is_gs(i) || i->opsize != 8 || i->form != X86_F_R_RM)
		return;
	c->write = column(f, i->disp, offsetof(struct tlb, wtag), &rest);
	if (c->write || column(f, i->disp, offsetof(struct tlb, rtag), &rest)) {
		if (x && !rest && x->kind == INDEX && r->kind == PAGE && r->id == x->id && r->off >= x->off &&
			r->off - x->off < MEM_PAGE) {
			c->tag = true;
			c->index = *x;
			c->lo = x->off;
			c->hi = r->off;
		} else if (!x && r->kind == VALUE && !r->id && (r->off & (TLB_SIZE - 1)) == rest / 8) {
			c->tag = true;
			c->index = (struct content){.kind = NUMBER, .off = rest};
			c->lo = (int64_t)((uint64_t)r->off << 12);
			c->hi = c->lo + MEM_PAGE - 1;
		}
	} else if (i->disp == (int64_t)CPU(jc_va) && x && x->kind == BELOW && x->off <= BT_JC - 1) {
		c->jc = true;
		c->index = *x;
	}
}

/* The addend at the place whose tag was right */
static bool addend(const struct bt_verifier *f, const struct x86_insn *i, struct content *out)
{
	const struct compared *p = &f->s.passed;
	int64_t rest;

	if (!p->tag || !is_gs(i) || i->opsize != 8 || !column(f, i->disp, offsetof(struct tlb, addend), &rest))
		return false;
	if (i->index >= 0 ? rest || !same(REG(f, i->index), &p->index) : p->index.kind != NUMBER || p->index.off != rest)
		return false;
	*out = (struct content){.kind = ADDEND, .id = i->index >= 0 ? p->index.id : 0, .lo = p->lo, .hi = p->hi,
		.write = p->write};
	return true;
}

/* What is loaded from the vCPU's block, if that is known */
static bool loaded(struct bt_verifier *f, const struct x86_insn *i, struct content *out)
{
	const struct content *slot = slot_of(f, i);

	if (addend(f, i, out))
		return true;
	if (slot)
		*out = *slot;
	return slot;
}

/* The register that a number names: of AH it is RAX */
static unsigned owner(const struct x86_insn *i, unsigned n)
{
	const bool high = i->opsize == 1 && !i->rex && !(i->attr & X86_A_VEX) && n >= 4 && n < 8;

	return high ? n - 4 : n & 15;
}

/* Something else than a MOV of 64 bits to what is writable[], perhaps to R9-R11 */
static void guest_written(struct bt_verifier *f, int64_t disp, unsigned len)
{
	int64_t at = disp - (int64_t)(CPU(cpu.s.gpr) + 8 * R9);

	for (int64_t r = 0; r < 3; r++)
		if (at < 8 * r + 8 && at + len > 8 * r)
			f->s.known[GUEST + r] = fresh(f);
	at = disp - (int64_t)CPU(cpu.s.seg);
	for (unsigned s = 0; s < 2 && at >= 0 && at < (int64_t)SIZE(cpu.s.seg); s++)
		f->s.known[SEGS + s] = fresh(f);
}

static void moves(struct bt_verifier *f, const struct x86_insn *i)
{
	const bool regs = !i->is_mem && (i->form == X86_F_RM_R || i->form == X86_F_R_RM);
	const struct content *src = REG(f, i->form == X86_F_RM_R ? i->reg : i->rm);
	struct content *d = i->form == X86_F_R_RM ? REG(f, i->reg) : i->form == X86_F_A_M ? REG(f, RAX) : REG(f, i->rm), a;

	if (i->is_mem && i->form != X86_F_R_RM && i->form != X86_F_A_M) {
		d = slot_of(f, i);
		if (d)
			*d = i->form == X86_F_RM_R ? *src : fresh(f);
		else if (is_gs(i))
			guest_written(f, i->disp, i->memsize);
		return;
	}
	if (i->form == X86_F_R_RM && loaded(f, i, &a))
		*d = a;
	else if (i->form == X86_F_R_RM && is_gs(i) && i->opsize == 8 && f->s.passed.jc && i->index >= 0 &&
		 i->disp == (int64_t)CPU(jc_code) && same(REG(f, i->index), &f->s.passed.index))
		*d = (struct content){.kind = CODE};
	else if (regs && i->opsize == 8)
		*d = *src;
	else if (regs && i->opsize == 4 && src->kind == VALUE)
		*d = (struct content){.kind = LOW, .id = src->id, .off = src->off};
	else if (!i->is_mem && i->opsize >= 4 && (i->form == X86_F_RM_I || i->form == X86_F_O_I))
		*d = (struct content){.kind = VALUE, .off = i->opsize == 4 ? (uint32_t)i->imm : i->imm};
	else if (i->form == X86_F_A_M)
		*d = fresh(f);
	else
		*REG(f, owner(i, i->form == X86_F_R_RM ? i->reg : i->rm)) = fresh(f);
}

/* What an address is made of may be a step by chance: as good as an unknown. */
static struct content sum(struct bt_verifier *f, const struct content *a, const struct content *b, unsigned scale)
{
	unsigned n = 0;

	while (n < f->nsums && (!same(&f->sum[n].a, a) || !same(&f->sum[n].b, b) || f->sum[n].scale != scale))
		n++;
	if (n == SUMS_MAX)
		return fresh(f);
	if (n == f->nsums) {
		f->sum[n].a = *a;
		f->sum[n].b = *b;
		f->sum[n].scale = scale;
		f->sum[n].id = ++f->ids;
		f->nsums++;
	}
	return (struct content){.kind = VALUE, .id = f->sum[n].id};
}

static struct content *as_address(struct bt_verifier *f, unsigned reg)
{
	struct content *v = REG(f, reg);

	if (v->kind != VALUE && v->kind != ADDEND && v->kind != POINTER &&
		!(v->kind == LOW && (reg == R9 || reg == R10))) {
		struct content none = {.kind = NUMBER};

		*v = sum(f, v, &none, 0);
	}
	return v;
}

static struct content plus(struct bt_verifier *f, const struct content *v, int64_t n)
{
	struct content out = *v;

	if (v->kind != VALUE)
		return fresh(f);
	out.off = (int64_t)((uint64_t)v->off + (uint64_t)n);
	return out;
}

static void lea(struct bt_verifier *f, const struct x86_insn *i)
{
	struct content out = fresh(f);

	if (i->base >= 0 && i->base < 16 && i->index < 0 && i->adsize == 8 && i->opsize >= 4) {
		out = plus(f, as_address(f, (unsigned)i->base), i->disp);
		if (i->opsize == 4)
			out.kind = LOW; /* if it was nothing known: of a new unknown */
	}
	else if (i->index >= 0 && i->base < 16 && i->adsize == 8 && i->opsize >= 4) {
		struct content b = {.kind = NUMBER}, x = *as_address(f, (unsigned)i->index);
		int64_t off = i->disp;

		if (i->base >= 0)
			b = *as_address(f, (unsigned)i->base);
		off += (b.kind == VALUE ? b.off : 0) + (x.kind == VALUE ? (int64_t)((uint64_t)x.off << i->scale) : 0);
		if ((b.kind == VALUE || b.kind == NUMBER) && x.kind == VALUE) {
			b.off = x.off = 0;
			if (!i->scale && b.kind == VALUE && x.id < b.id) /* in one order */
				out = sum(f, &x, &b, 0);
			else
				out = sum(f, &b, &x, i->scale);
			out.off = off;
			if (i->opsize == 4)
				out.kind = LOW;
		}
	}
	*REG(f, i->reg) = out;
}

/* ADD of an address and its addend */
static bool to_host(struct content *v, const struct content *a)
{
	if (v->kind != VALUE || a->kind != ADDEND || v->id != a->id)
		return false;
	v->kind = POINTER;
	v->lo = a->lo - v->off;
	v->hi = a->hi - v->off;
	v->write = a->write;
	return true;
}

/* General registers that another instruction than those of effect() may write */
static unsigned written(const struct x86_insn *i)
{
	unsigned reg = 1u << owner(i, i->reg), rm = i->is_mem ? 0 : 1u << owner(i, i->rm), v = 1u << (i->vvvv & 15);

	switch (i->op) {
	case X86_OP_MOV:
		return i->form == X86_F_R_RM ? reg : i->form == X86_F_A_M ? 1u << RAX : rm;
	case X86_OP_LEA:
		return reg;
	case X86_OP_CMP: case X86_OP_TEST: case X86_OP_BT: case X86_OP_JCC: case X86_OP_JMP: case X86_OP_JMPIND:
	case X86_OP_NOP: case X86_OP_CLC: case X86_OP_STC: case X86_OP_CMC: case X86_OP_SAHF: case X86_OP_PAUSE:
	case X86_OP_LFENCE: case X86_OP_SFENCE: case X86_OP_MFENCE: case X86_OP_MOVNTI: case X86_OP_LDMXCSR:
	case X86_OP_STMXCSR: case X86_OP_VZERO:
		return 0;
	case X86_OP_ADD: case X86_OP_OR: case X86_OP_ADC: case X86_OP_SBB: case X86_OP_AND: case X86_OP_SUB:
	case X86_OP_XOR: case X86_OP_MOVBE:
		return i->form == X86_F_A_I ? 1u << RAX : i->form == X86_F_R_RM ? reg : rm;
	case X86_OP_ROL: case X86_OP_ROR: case X86_OP_RCL: case X86_OP_RCR: case X86_OP_SHL: case X86_OP_SHR:
	case X86_OP_SAL: case X86_OP_SAR: case X86_OP_NOT: case X86_OP_NEG: case X86_OP_INC: case X86_OP_DEC:
	case X86_OP_SHLD: case X86_OP_SHRD: case X86_OP_BTS: case X86_OP_BTR: case X86_OP_BTC: case X86_OP_SETCC:
	case X86_OP_BSWAP:
		return rm;
	case X86_OP_IMUL2: case X86_OP_IMUL3: case X86_OP_MOVSX: case X86_OP_MOVZX: case X86_OP_CMOVCC:
	case X86_OP_BSF: case X86_OP_BSR: case X86_OP_TZCNT: case X86_OP_LZCNT: case X86_OP_POPCNT: case X86_OP_ADCX:
	case X86_OP_ADOX: case X86_OP_CRC32: case X86_OP_ANDN: case X86_OP_BEXTR: case X86_OP_BZHI: case X86_OP_PDEP:
	case X86_OP_PEXT: case X86_OP_RORX: case X86_OP_SARX: case X86_OP_SHLX: case X86_OP_SHRX:
		return reg;
	case X86_OP_BLSI: case X86_OP_BLSMSK: case X86_OP_BLSR:
		return v;
	case X86_OP_MULX:
		return reg | v;
	case X86_OP_MUL: case X86_OP_IMUL1: case X86_OP_DIV: case X86_OP_IDIV: case X86_OP_CMPXCHG8B:
	case X86_OP_CWD: case X86_OP_RDTSC:
		return 1u << RAX | 1u << RDX;
	case X86_OP_CBW: case X86_OP_LAHF:
		return 1u << RAX;
	case X86_OP_X87: /* FNSTSW AX */
		return i->opcode == 0xdf && i->modrm == 0xe0 ? 1u << RAX : 0;
	case X86_OP_XADD:
		return reg | rm;
	case X86_OP_XCHG:
		return i->form == X86_F_A_O ? rm | 1u << RAX : reg | rm;
	case X86_OP_CMPXCHG:
		return rm | 1u << RAX;
	case X86_OP_VEC: case X86_OP_MMX:
		return (i->kreg == X86_K_GPR ? reg : 0) | (i->krm == X86_K_GPR ? rm : 0) |
		       (i->kvex == X86_K_GPR ? v : 0) | (i->attr & X86_A_PCMPSTR ? 1u << RCX : 0);
	/* by interp only */
	case X86_OP_PUSH: case X86_OP_PUSHF:
		return 1u << RSP;
	case X86_OP_POP:
		return 1u << RSP | (i->is_mem ? 0 : 1u << (i->rm & 15));
	case X86_OP_LEAVE:
		return 1u << RSP | 1u << RBP;
	case X86_OP_CLD: case X86_OP_STD: case X86_OP_CLI: case X86_OP_STI: case X86_OP_FWAIT:
		return 0;
	case X86_OP_MOVS: case X86_OP_STOS:
		return 1u << RCX | 1u << RSI | 1u << RDI;
	default:
		return 0xffff;
	}
}

/* The instructions that checks are made of. True: that is all they do. */
static bool step(struct bt_verifier *f, const struct x86_insn *i)
{
	struct content *rm = REG(f, i->rm), *reg = REG(f, i->reg), a;
	const struct x86_insn *before = &f->s.last[0];
	const bool imm = !i->is_mem && (i->form == X86_F_RM_I || i->form == X86_F_A_I);

	if (i->form == X86_F_A_I)
		rm = REG(f, RAX);
	switch (i->op) {
	case X86_OP_MOV:
		moves(f, i);
		return true;
	case X86_OP_LEA:
		lea(f, i);
		return true;
	case X86_OP_CMP:
		compare(f, i);
		return true;
	case X86_OP_TEST:
		if (imm && (i->rm == R9 || i->rm == R11))
			rm = as_address(f, i->rm);
		if (imm && i->opsize == 1 && i->rex && (rm->kind == VALUE || rm->kind == LOW))
			f->s.test = (struct tested){.set = true, .mask = (uint8_t)i->imm, .id = rm->id, .off = rm->off};
		return true;
	case X86_OP_RORX:
		rm = as_address(f, i->rm);
		if (i->is_mem || i->opsize != 4 || i->imm != 12 || (rm->kind != LOW && rm->kind != VALUE))
			return false;
		*reg = (struct content){.kind = TURNED, .id = rm->id, .off = rm->off};
		return true;
	case X86_OP_MOVZX:
		if (i->is_mem || i->srcsize != 1 || i->opsize < 4 || !i->rex || rm->kind != TURNED)
			return false;
		*reg = (struct content){.kind = INDEX, .id = rm->id, .off = rm->off};
		return true;
	case X86_OP_SHR:
		if (!imm || i->opsize != 8)
			return false;
		if (rm->kind == VALUE && i->imm == 12)
			rm->kind = PAGE;
		else if (rm->kind == ROOM && !rm->shift && i->imm < 4)
			rm->shift = (uint8_t)i->imm;
		else
			return false;
		return true;
	case X86_OP_AND:
		if (!imm || i->opsize != 4 || i->imm < 0)
			return false;
		*rm = (struct content){.kind = BELOW, .off = i->imm};
		return true;
	case X86_OP_OR:
		if (!imm || i->opsize != 8 || i->imm != -MEM_PAGE || rm->kind != LOW)
			return false;
		rm->kind = NEGROOM;
		return true;
	case X86_OP_NEG:
		if (i->is_mem || i->opsize != 8 || rm->kind != NEGROOM)
			return false;
		rm->kind = ROOM;
		return true;
	case X86_OP_CMOVCC: /* CMP a, b; CMOVA a, b: the lesser of them */
		if (i->is_mem || i->opsize != 8 || i->cc != CC_A || before->op != X86_OP_CMP || before->is_mem ||
			before->form != X86_F_R_RM || before->opsize != 8 || before->reg != i->reg || before->rm != i->rm ||
			reg->kind != ROOM)
			return false;
		if (rm->kind == ROOM && !reg->id2 && !rm->id2 && reg->shift == rm->shift) {
			reg->id2 = rm->id;
			reg->off2 = rm->off;
		}
		return true;
	case X86_OP_ADD: case X86_OP_SUB:
		if (i->opsize != 8)
			return false;
		if (imm) {
			*rm = plus(f, rm, i->op == X86_OP_ADD ? i->imm : (int64_t)-(uint64_t)i->imm);
			return true;
		}
		if (i->op == X86_OP_SUB || i->form != X86_F_R_RM)
			return false;
		return i->is_mem ? loaded(f, i, &a) && to_host(reg, &a) : to_host(reg, rm);
	case X86_OP_INC: case X86_OP_DEC:
		if (i->is_mem || i->opsize != 8)
			return false;
		*rm = plus(f, rm, i->op == X86_OP_INC ? 1 : -1);
		return true;
	default:
		return false;
	}
}

static void effect(struct bt_verifier *f, const struct x86_insn *i)
{
	unsigned m;

	if (is_gs(i) && i->arm & X86_ACC_W && i->index < 0 && i->op != X86_OP_MOV)
		guest_written(f, i->disp, i->memsize);
	if (step(f, i))
		return;
	m = written(i);
	for (unsigned r = 0; r < 16; r++)
		if (m >> r & 1)
			*REG(f, r) = fresh(f);
}

/* ---- what instructions there may be ---- */

static bool div_guarded(const struct bt_verifier *f, const struct x86_insn *i)
{
	const struct x86_insn *j = &f->s.last[0], *c = &f->s.last[1];

	if (i->is_mem || i->opsize < 4 || j->op != X86_OP_JCC || c->op != X86_OP_CMP || c->is_mem ||
		c->opsize != i->opsize)
		return false;
	if (i->op == X86_OP_DIV) /* CMP rdx, divisor; JAE away */
		return j->cc == CC_AE && c->form == X86_F_R_RM && c->reg == RDX && c->rm == i->rm;
	return j->cc == CC_BE && c->form == X86_F_RM_I && c->imm == 1; /* CMP divisor + 1, 1; JBE away */
}

static bool covers(const struct content *room, const struct content *p)
{
	return (room->id == p->id && room->off == p->off) || (room->id2 == p->id && room->off2 == p->off);
}

/* REP: the pointers are the host's, and the count does not go over the end of either page */
static bool rep_good(const struct bt_verifier *f, const struct x86_insn *i)
{
	const struct content *n = REG(f, RCX), *d = REG(f, RDI), *s = REG(f, RSI);

	if (!(i->pfx & X86_PFX_F3) || i->pfx & (X86_PFX_F2 | X86_PFX_SEG | X86_PFX_67) || n->kind != ROOM ||
		1u << n->shift != i->opsize)
		return false;
	if (d->kind != POINTER || !d->write || d->lo > 0 || d->hi < 0 || !covers(n, d))
		return false;
	return i->op == X86_OP_STOS || (s->kind == POINTER && s->lo <= 0 && s->hi >= 0 && covers(n, s));
}

static bool allowed(struct bt_verifier *f, const struct x86_insn *i)
{
	int64_t max;

	switch (i->op) {
	case X86_OP_DIV: case X86_OP_IDIV:
		return div_guarded(f, i) || bad(f, "a division that may fault");
	case X86_OP_BT: case X86_OP_BTS: case X86_OP_BTR: case X86_OP_BTC:
		return !i->is_mem || i->form != X86_F_RM_R ||
		       (bounded(REG(f, i->reg), &max) && max < 8 * i->opsize) ||
		       bad(f, "a bit outside of its operand");
	case X86_OP_MOVS: case X86_OP_STOS:
		return rep_good(f, i) || bad(f, "a string that has not been checked");
	case X86_OP_JMPIND:
		if (i->is_mem)
			return (is_gs(i) && i->disp == (int64_t)CPU(jc_code) && i->index >= 0 && f->s.passed.jc &&
				       same(REG(f, i->index), &f->s.passed.index)) ||
			       bad(f, "an indirect jump to anywhere");
		return REG(f, i->rm)->kind == CODE || bad(f, "an indirect jump to anywhere");
	case X86_OP_X87:
		/* FLDENV, FNSTENV, FRSTOR, FNSAVE: never straight to or from the guest */
		return !i->is_mem || (i->opcode != 0xd9 && i->opcode != 0xdd) || (i->modrm >> 3 & 5) != 4 ||
		       (i->opcode == 0xd9 && i->pfx & X86_PFX_SEG) || bad(f, "the x87 environment");
	case X86_OP_JCC: case X86_OP_JMP:
	case X86_OP_CBW: case X86_OP_CWD: case X86_OP_LAHF: case X86_OP_SAHF: case X86_OP_SETCC: case X86_OP_CMOVCC:
	case X86_OP_SHLD: case X86_OP_SHRD: case X86_OP_BSF: case X86_OP_BSR: case X86_OP_TZCNT: case X86_OP_LZCNT:
	case X86_OP_POPCNT: case X86_OP_ADCX: case X86_OP_ADOX: case X86_OP_CRC32: case X86_OP_ANDN: case X86_OP_BEXTR:
	case X86_OP_BLSI: case X86_OP_BLSMSK: case X86_OP_BLSR: case X86_OP_BZHI: case X86_OP_MULX: case X86_OP_PDEP:
	case X86_OP_PEXT: case X86_OP_RORX: case X86_OP_SARX: case X86_OP_SHLX: case X86_OP_SHRX:
	case X86_OP_CLC: case X86_OP_STC: case X86_OP_CMC: case X86_OP_NOP: case X86_OP_PAUSE:
	case X86_OP_LFENCE: case X86_OP_SFENCE: case X86_OP_MFENCE: case X86_OP_RDTSC:
	case X86_OP_VEC: case X86_OP_VMASKMOV: case X86_OP_MOVNTI: case X86_OP_VZERO: case X86_OP_MMX:
	case X86_OP_LDMXCSR: case X86_OP_STMXCSR:
		return true;
	default:
		return (i->op >= X86_OP_ADD && i->op < X86_OP_PUSH) || bad(f, "an instruction that does not belong here");
	}
}

/* ---- where code goes ---- */

/* Labels are found in the first pass; later ones ask. */
static struct label *label_find(struct bt_verifier *f, const uint8_t *p)
{
	unsigned n = f->label_at[p - f->from];

	return n ? &f->label[n - 1] : NULL;
}

static struct label *label_make(struct bt_verifier *f, const uint8_t *p)
{
	struct label *l;

	if (p < f->from || p >= f->to)
		goto none;
	l = label_find(f, p);
	if (l)
		return l;
	if (f->nlabels == LABELS_MAX)
		goto none;
	l = &f->label[f->nlabels++];
	l->off = (uint32_t)(p - f->from);
	l->forward = l->back = l->outside = l->met = false;
	l->weak = 0;
	l->since = UINT32_MAX;
	l->call = NULL;
	f->label_at[l->off] = (uint16_t)f->nlabels;
	return l;
none:
	bad(f, "an entry out of the block, or too many");
	return NULL;
}

/* *s = what it and another way to the same place agree on */
static void merge(struct bt_verifier *f, struct state *s, const struct state *other)
{
	for (unsigned r = 0; r < KNOWN; r++)
		if (!same(&s->known[r], &other->known[r]))
			s->known[r] = fresh(f);
	if (s->passed.tag != other->passed.tag || s->passed.jc != other->passed.jc ||
		s->passed.write != other->passed.write || s->passed.lo != other->passed.lo ||
		s->passed.hi != other->passed.hi || !same(&s->passed.index, &other->passed.index))
		s->passed.tag = s->passed.jc = false;
	s->cmp.tag = s->cmp.jc = s->test.set = s->aligned.set = false;
	s->last[0].op = s->last[1].op = X86_OP_NOP;
}

/* Jumped to label l from behind, in state f->s: does that agree with what was assumed there? */
static void jump_back(struct bt_verifier *f, struct label *l)
{
	for (unsigned r = 0; r < KNOWN; r++) {
		const struct content *a = &l->assumed.known[r];

		if (same(a, &f->s.known[r]) || (a->kind == VALUE && !a->off && a->id >= l->fresh &&
			a->id < l->fresh + KNOWN))
			continue;
		l->weak |= 1ull << r;
		f->again = true;
	}
}

static void jump_to(struct bt_verifier *f, const uint8_t *target)
{
	struct label *l = label_find(f, target);

	if (l->met) {
		jump_back(f, l);
	} else if (l->forward) {
		merge(f, &l->from, &f->s);
	} else {
		l->from = f->s;
		l->forward = true;
	}
}

/* The target of the next JMP, if that is near and leads back */
static const struct label *back_at(struct bt_verifier *f, const uint8_t *p)
{
	for (unsigned n = 0; n < 8 && p < f->to; n++) {
		struct x86_insn i;

		if (x86_decode(&i, X86_MODE64, p, (size_t)(f->to - p)) <= 0)
			break;
		p += i.len;
		if (i.op == X86_OP_JMP)
			return p + i.imm >= f->from && p + i.imm < p ? label_find(f, p + i.imm) : NULL;
	}
	return NULL;
}

/*
 * C may have come here. If it has executed the instruction that the code above is for, it has written no other
 * registers than that code.
 */
static void returned(struct bt_verifier *f, const struct label *l, bool falls)
{
	const struct label *b = l->since < l->off ? label_find(f, f->from + l->since) : NULL, *t;
	const struct content *behind = f->s.known;

	if (!falls && l->call && l->forward) {
		/* as in front of the call, but for what the instruction writes */
		unsigned m = written(l->call);

		f->s = l->from;
		for (unsigned r = 0; r < 16; r++)
			if (m >> r & 1)
				f->s.known[r >= R9 && r <= R11 ? GUEST + r - R9 : r] = fresh(f);
		for (unsigned r = FACTS; r < GUEST; r++)
			f->s.known[r] = fresh(f);
		forget_scratch(f);
		return;
	}
	if (!falls) {
		/* behind the block: it goes back to where that code ends */
		t = back_at(f, f->from + l->off);
		behind = t && t->met ? t->assumed.known : NULL;
	}
	for (unsigned r = 0; r < KNOWN; r++)
		if (b && b->met && behind && (r < R9 || (r > R11 && r < FACTS) || r >= GUEST) &&
			same(&b->assumed.known[r], &behind[r]))
			f->s.known[r] = behind[r];
		else
			f->s.known[r] = fresh(f);
	forget_steps(&f->s);
}

/* f->s is what is known when the label is reached from above, if it is. */
static void label_reached(struct bt_verifier *f, struct label *l, bool falls)
{
	if (l->forward && falls)
		merge(f, &f->s, &l->from);
	else if (l->forward)
		f->s = l->from;
	if (l->outside)
		returned(f, l, falls);
	else if (!l->forward && !falls)
		forget(f);
	/* ids that stand for nothing but what is not known here */
	l->fresh = f->ids + 1;
	f->ids += KNOWN;
	if (l->back) {
		for (unsigned r = 0; r < KNOWN; r++)
			if (l->weak >> r & 1 || (r >= R9 && r <= R11) || r == STRING || (l->outside && r >= FACTS && r < GUEST))
				f->s.known[r] = (struct content){.kind = VALUE, .id = l->fresh + r};
		forget_steps(&f->s);
	}
	l->assumed = f->s;
	l->met = true;
}

static bool inside(const struct bt_verifier *f, const uint8_t *p)
{
	return p >= f->from && p < f->to;
}

/* A piece of the glue: which, and where it comes back to. R10 holds a number in most. */
static bool glue(struct bt_verifier *f, const uint8_t *p, const uint8_t *behind)
{
	const struct bt_verify_range *g = f->range;
	const struct content *n = REG(f, R10);
	const struct bt_vm *v = f->v;
	bool mem = p == v->glue_mem;

	for (unsigned m = 0; m < MMU_CACHED; m++)
		mem |= m == f->mmu && (p == v->glue_fill[m][0] || p == v->glue_fill[m][1]);
	if (p == v->glue_leave)
		return true;
	if (p == v->glue_vec || p == v->glue_x87) {
		const struct x86_insn *l = &f->s.last[0];

		/* LEA r11, [behind]; it comes back there */
		return (l->op == X86_OP_LEA && l->base == X86_BASE_RIP && l->reg == R11 && l->opsize == 8 &&
			       f->at + l->disp == behind) || bad(f, "a way back from the glue");
	}
	if (n->kind != VALUE || n->id)
		return bad(f, "a number for the glue");
	if (p == v->glue_call) {
		struct label *l = inside(f, behind) ? label_find(f, behind) : NULL;

		if (l && l->call) {
			l->from = f->s;
			l->forward = true;
		}
		return (n->off >= g->calls && n->off < v->ncalls) || bad(f, "a call that is not this block's");
	}
	if (p == v->glue_link)
		return (n->off >= g->links && n->off < v->nlinks) || bad(f, "a link that is not this block's");
	if (!mem && p != v->glue_ind)
		return bad(f, "a jump out of the block");
	if (n->off < g->sites || n->off >= v->nsites)
		return bad(f, "a site that is not this block's");
	if (mem && v->sites[n->off].size) {
		const struct bt_site *s = &v->sites[n->off];
		const uint8_t *retry = v->rw + s->retry;
		struct label *l = retry >= f->from && retry < f->to ? label_find(f, retry) : NULL;

		if (!l || !l->met)
			return bad(f, "a retry that is not in front");
		forget_scratch(f);
		jump_back(f, l);
	}
	return true;
}

/* Where instructions begin, and which of these are jumped to. */
static bool map_code(struct bt_verifier *f)
{
	const struct bt_vm *v = f->v;

	for (f->at = f->from; f->at < f->to;) {
		struct x86_insn i;

		if (x86_decode(&i, X86_MODE64, f->at, (size_t)(f->to - f->at)) <= 0)
			return bad(f, "bytes that are no instruction");
		bit_set(f->starts, (size_t)(f->at - f->from));
		if (i.op == X86_OP_JCC || i.op == X86_OP_JMP) {
			const uint8_t *t = f->at + i.len + i.imm;
			struct label *l = inside(f, t) ? label_make(f, t) : NULL;

			if (inside(f, t) && !l)
				return false;
			if (l)
				l->back |= t <= f->at;
		}
		f->at += i.len;
	}
	f->at = f->from;
	for (uint32_t s = f->range->sites; s < v->nsites; s++) {
		uint32_t resume = v->sites[s].string ? v->calls[v->sites[s].resume]->resume : v->sites[s].resume;
		struct label *l;

		if (v->sites[s].size) {
			l = label_make(f, v->rw + v->sites[s].retry);
			if (!l)
				return false;
			l->back = true;
		}
		if (!resume)
			continue;
		l = label_make(f, v->rw + resume);
		if (!l)
			return false;
		l->outside = true;
		if (!v->sites[s].string && v->sites[s].retry &&
			v->sites[s].retry - (uint32_t)(f->from - v->rw) < l->since)
			l->since = v->sites[s].retry - (uint32_t)(f->from - v->rw);
	}
	for (uint32_t c = f->range->calls; c < v->ncalls; c++) {
		struct label *l = v->calls[c]->resume ? label_make(f, v->rw + v->calls[c]->resume) : NULL;

		if (v->calls[c]->resume && !l)
			return false;
		if (!l)
			continue;
		l->outside = true;
		for (unsigned n = 0; n < f->range->n; n++)
			if (f->range->in[n].off + f->range->in[n].i.len == v->calls[c]->op[0].next_off)
				l->call = &f->range->in[n].i;
	}
	if (!label_make(f, f->range->entry))
		return false;
	label_find(f, f->range->entry)->outside = true;
	for (unsigned n = 0; n < f->nlabels; n++)
		if (!bit(f->starts, f->label[n].off)) {
			f->at = f->from + f->label[n].off;
			return bad(f, "a jump into an instruction");
		}
	return true;
}

/* A branch: what is known on either side of it. */
static bool branch(struct bt_verifier *f, const struct x86_insn *i)
{
	const uint8_t *behind = f->at + i->len, *target = behind + i->imm;
	const struct compared cmp = f->s.cmp;
	const struct tested test = f->s.test;
	const bool conditional = i->op == X86_OP_JCC;
	struct state here;

	f->s.cmp.tag = f->s.cmp.jc = f->s.test.set = false;
	here = f->s;
	if (conditional && i->cc == CC_E && (cmp.tag || cmp.jc))
		f->s.passed = cmp;
	if (!inside(f, target)) {
		if (!glue(f, target, behind))
			return false;
		if (conditional)
			return bad(f, "a conditional jump to the glue");
		return true;
	}
	jump_to(f, target);
	f->s = here;
	if (conditional && i->cc == CC_NE && (cmp.tag || cmp.jc))
		f->s.passed = cmp;
	if (conditional && i->cc == CC_NE && test.set)
		f->s.aligned = test;
	return true;
}

static bool follow(struct bt_verifier *f)
{
	bool falls = false;

	f->again = false;
	f->ids = 0;
	f->nsums = 0;
	for (unsigned n = 0; n < f->nlabels; n++)
		f->label[n].met = f->label[n].forward = false;
	forget(f);
	for (f->at = f->from; f->at < f->to;) {
		struct label *l = label_find(f, f->at);
		struct x86_insn i;

		x86_decode(&i, X86_MODE64, f->at, (size_t)(f->to - f->at));
		if (l)
			label_reached(f, l, falls);
		else if (!falls)
			forget(f);
		falls = true;
		if (!allowed(f, &i))
			return false;
		if (i.is_mem && i.op != X86_OP_LEA && i.op != X86_OP_NOP && !memory(f, &i))
			return false;
		if (i.op == X86_OP_JCC || i.op == X86_OP_JMP) {
			const uint8_t *target = f->at + i.len + i.imm;

			if (!branch(f, &i))
				return false;
			falls = i.op == X86_OP_JCC;
			if (target == f->v->glue_vec || target == f->v->glue_x87) {
				forget_scratch(f);
				falls = true;
			}
		} else {
			f->s.cmp.tag = f->s.cmp.jc = f->s.test.set = false;
			effect(f, &i);
			falls = i.op != X86_OP_JMPIND;
		}
		f->s.last[1] = f->s.last[0];
		f->s.last[0] = i;
		f->at += i.len;
	}
	return !falls || bad(f, "a block that runs on behind its end");
}

bool bt_verify(struct bt_vm *v, const uint8_t *from, const uint8_t *to, unsigned mmu,
	const struct bt_verify_range *range, struct bt_violation *out)
{
	struct bt_verifier *f = v->verifier;
	bool ok;

	if (!f)
		f = v->verifier = malloc(sizeof *f);
	*out = (struct bt_violation){.why = "no memory to verify it"};
	if (!f)
		return false;
	f->v = v;
	f->from = from;
	f->to = to;
	f->mmu = mmu;
	f->range = range;
	f->nlabels = 0;
	f->why = NULL;
	f->at = from;
	ok = to - from <= CODE_MAX || bad(f, "a block that is too long");
	if (ok) {
		memset(f->starts, 0, (size_t)(to - from) / 8 + 1);
		memset(f->label_at, 0, (size_t)(to - from) * sizeof f->label_at[0]);
		ok = map_code(f) && follow(f);
	}
	for (unsigned n = 0; f->again && n < ROUNDS; n++) {
		f->why = NULL;
		ok = follow(f);
	}
	if (ok && f->again)
		ok = bad(f, "loops that are beyond the verifier");
	if (!ok)
		*out = (struct bt_violation){.why = f->why, .off = (size_t)(f->at - from)};
	return ok;
}
