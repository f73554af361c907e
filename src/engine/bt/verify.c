/* SPDX-License-Identifier: MIT */
/*
 * A second opinion on emitted code: decodes it again, and lets it pass only if all it can do is compute, jump
 * within its block or to the glue, and touch memory that it may touch. With v->verify each block is looked at
 * before it is published; one that does not pass is not used, and interp goes on.
 *
 * Memory operands are
 *   gs:[constant]           inside struct bt_cpu; what may be written is listed (writable[]);
 *   gs:[r * 8 + constant]   the same for every value that r may have;
 *   [r + R10 + d], [R11]    after a TLB check that covers these bytes for this kind of access.
 *
 * To know the last two, registers are followed symbolically in a straight line. A register holds an unknown
 * plus a constant, a number, or one of the steps of a check (enum kind). The check itself is
 * a CMP of a PAGE with the tag at an INDEX, both of the same unknown; when the JNE behind it is not taken, all bytes
 * from the one that made the index to the one that made the page are good, and the addend at the same index
 * makes a pointer of that unknown. Where code is jumped to, everything is forgotten. What an
 * instruction does to registers is over-estimated for all but those that checks are made of.
 *
 * An instruction that faults on the host would be husk's end, as nothing catches that: those with aligned operands
 * want a test of the address, divisions the comparison that rules the fault out (div_guarded()), bit strings
 * a bounded bit number; control words are loaded from struct bt_cpu only, where their new value has been looked at.
 */
#include <stdio.h>

#include "engine/bt/bt-int.h"
#include "base/log.h"

#define CPU(field) offsetof(struct bt_cpu, field)
#define SIZE(field) sizeof(((struct bt_cpu *)0)->field)
#define RANGE(field) {CPU(field), SIZE(field)}

/* What translated code may write in the vCPU's block. */
static const struct {
	size_t at, len;
} writable[] = {
	{CPU(cpu.s.gpr), 16 * 8}, RANGE(cpu.s.rflags), {CPU(cpu.s.seg[X86_FS].base), 8},
	{CPU(cpu.s.seg[X86_GS].base), 8}, RANGE(cpu.s.kernel_gs_base), RANGE(cpu.s.fpu), RANGE(cpu.s.sti_shadow),
	RANGE(cpu.fl), RANGE(nsens), RANGE(x87),
};

enum { CODE_MAX = 64 << 10, ACCESSES_MAX = 64 };

/* What is known of a register: */
enum kind {
	VALUE,   /* unknown id, plus off */
	NUMBER,  /* off */
	LOW,     /* the low 32 bits of id + off, the upper ones clear */
	TURNED,  /* those rotated right by 12 */
	INDEX,   /* bits 12-19 of id + off */
	PAGE,    /* id + off >> 12 */
	BELOW,   /* at most off */
	ADDEND,  /* added to id, makes a host pointer; good for id + lo to id + hi */
	POINTER, /* to the host's memory, good for 0 to hi */
	CODE,    /* from the jump cache, for the address that was asked for */
};

struct value {
	enum kind kind;
	bool write;     /* ADDEND, POINTER */
	uint32_t id;
	int64_t off;
	int64_t lo, hi; /* ADDEND, POINTER */
};

struct verify {
	const struct bt_vm *v;
	const uint8_t *from, *to;
	unsigned mmu;
	uint32_t ids;
	struct value reg[16];
	/* what the last instruction compared: a JNE that is not taken makes it passed */
	struct { bool tag, jc, write; struct value index; int64_t lo, hi; } cmp, passed;
	struct { bool set; uint8_t mask; uint32_t id; int64_t off; } test, aligned;
	struct x86_insn last[2]; /* the last instruction and the one before */
	const char *why;
	const uint8_t *at;
	uint8_t starts[CODE_MAX / 8], targets[CODE_MAX / 8];
};

static bool bit(const uint8_t *map, size_t n)
{
	return map[n / 8] >> (n % 8) & 1;
}

static void bit_set(uint8_t *map, size_t n)
{
	map[n / 8] |= (uint8_t)(1u << (n % 8));
}

static bool bad(struct verify *f, const char *why)
{
	f->why = why;
	return false;
}

static struct value fresh(struct verify *f)
{
	return (struct value){.kind = VALUE, .id = ++f->ids};
}

static void forget(struct verify *f)
{
	for (unsigned r = 0; r < 16; r++)
		f->reg[r] = fresh(f);
	f->cmp.tag = f->cmp.jc = f->passed.tag = f->passed.jc = f->test.set = f->aligned.set = false;
	f->last[0].op = f->last[1].op = X86_OP_NOP;
}

/* ---- memory ---- */

static bool cpu_block(struct verify *f, size_t at, size_t len, bool write)
{
	if (at > sizeof(struct bt_cpu) || len > sizeof(struct bt_cpu) - at)
		return bad(f, "gs: outside of the vCPU's block");
	for (size_t k = 0; write && k < ARRAY_LEN(writable); k++)
		if (at >= writable[k].at && at + len <= writable[k].at + writable[k].len)
			return true;
	return write ? bad(f, "gs: a write to what translated code must not write") : true;
}

/* The greatest value of a register, if there is a small one. */
static bool bounded(const struct value *v, int64_t *max)
{
	*max = v->kind == INDEX ? TLB_SIZE - 1 : v->off;
	return v->kind == INDEX || v->kind == BELOW;
}

static bool is_aligned(const struct verify *f, uint32_t id, int64_t off, unsigned mask)
{
	return f->aligned.set && f->aligned.id == id && f->aligned.off == off && (f->aligned.mask & mask) == mask;
}

static unsigned alignment(const struct x86_insn *i)
{
	if (i->op == X86_OP_CMPXCHG8B)
		return i->memsize == 16 ? 15 : 0;
	return i->attr & X86_A_ALIGN ? i->memsize - 1u : 0;
}

static bool memory(struct verify *f, const struct x86_insn *i)
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
		if (i->index < 0)
			return cpu_block(f, (size_t)i->disp, i->memsize, write);
		if (!bounded(&f->reg[i->index], &max))
			return bad(f, "gs: with an index that may be anything");
		return cpu_block(f, (size_t)i->disp, (size_t)max * 8 + i->memsize, write);
	}
	if (i->op == X86_OP_LDMXCSR || (i->op == X86_OP_X87 && i->opcode == 0xd9 && (i->modrm >> 3 & 7) == 5))
		return bad(f, "a control word from the guest's memory");
	if (i->base < 0)
		return bad(f, "an absolute address");
	for (unsigned turn = 0; turn < 2; turn++) {
		/* the addend may be base or index */
		const struct value *p = &f->reg[turn ? i->index & 15 : i->base];
		const struct value *q = i->index < 0 || turn ? &f->reg[i->base] : &f->reg[i->index];
		int64_t first = i->disp, id_off = 0;

		if (turn && i->index < 0)
			break;
		if (i->index < 0) {
			if (p->kind == POINTER && first >= 0 && first + i->memsize - 1 <= p->hi &&
				(p->write || !write) && (!align || is_aligned(f, p->id, p->off + first, align)))
				return true;
			/* a constant address plus its addend */
			if (p->kind == ADDEND && !p->id && first >= p->lo && first + i->memsize - 1 <= p->hi &&
				(p->write || !write) && !(first & align))
				return true;
			break;
		}
		if (p->kind != ADDEND || q->kind != VALUE || q->id != p->id || (turn && i->scale) || !p->id)
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
static bool column(const struct verify *f, int64_t disp, size_t member, int64_t *rest)
{
	*rest = disp - (int64_t)(CPU(cpu.tlb) + f->mmu * sizeof(struct tlb) + member);
	return *rest >= 0 && *rest < 8 * TLB_SIZE && !(*rest & 7);
}

/* CMP r, gs:[...]: is it one with a tag, or with the jump cache? */
static void compare(struct verify *f, const struct x86_insn *i)
{
	const struct value *r = &f->reg[i->reg], *x = i->index >= 0 ? &f->reg[i->index] : NULL;
	const bool w = column(f, i->disp, offsetof(struct tlb, wtag), &(int64_t){0});
	int64_t rest;

	if (!i->is_mem || i->seg != X86_GS || !(i->pfx & X86_PFX_SEG) || i->opsize != 8 || i->form != X86_F_R_RM)
		return;
	f->cmp.write = w;
	if (column(f, i->disp, w ? offsetof(struct tlb, wtag) : offsetof(struct tlb, rtag), &rest)) {
		if (x && !rest && x->kind == INDEX && r->kind == PAGE && r->id == x->id && r->off >= x->off &&
			r->off - x->off < MEM_PAGE) {
			f->cmp.tag = true;
			f->cmp.index = *x;
			f->cmp.lo = x->off;
			f->cmp.hi = r->off;
		} else if (!x && r->kind == NUMBER && (r->off & (TLB_SIZE - 1)) == rest / 8) {
			f->cmp.tag = true;
			f->cmp.index = (struct value){.kind = NUMBER, .off = rest};
			f->cmp.lo = (int64_t)((uint64_t)r->off << 12);
			f->cmp.hi = f->cmp.lo + MEM_PAGE - 1;
		}
	} else if (i->disp == (int64_t)CPU(jc_va) && x && x->kind == BELOW && x->off <= BT_JC - 1) {
		f->cmp.jc = true;
		f->cmp.index = *x;
	}
}

static bool same_index(const struct value *a, const struct value *b)
{
	return a->kind == b->kind && a->id == b->id && a->off == b->off;
}

/* The addend at the place whose tag was right */
static bool addend(const struct verify *f, const struct x86_insn *i, struct value *out)
{
	int64_t rest;

	if (!f->passed.tag || !(i->pfx & X86_PFX_SEG) || i->opsize != 8 ||
		!column(f, i->disp, offsetof(struct tlb, addend), &rest))
		return false;
	if (i->index >= 0 ? rest || !same_index(&f->reg[i->index], &f->passed.index) :
			    f->passed.index.kind != NUMBER || f->passed.index.off != rest)
		return false;
	*out = (struct value){.kind = ADDEND, .id = i->index >= 0 ? f->passed.index.id : 0, .lo = f->passed.lo,
		.hi = f->passed.hi, .write = f->passed.write};
	return true;
}

static void moves(struct verify *f, const struct x86_insn *i)
{
	struct value *d = i->form == X86_F_RM_R || i->form == X86_F_RM_I || i->form == X86_F_O_I ? &f->reg[i->rm] :
		&f->reg[i->reg];
	struct value a;

	if (i->is_mem && i->form != X86_F_R_RM)
		return; /* a store */
	if (i->form == X86_F_A_M)
		d = &f->reg[RAX];
	if (i->is_mem && i->form == X86_F_R_RM && addend(f, i, &a))
		*d = a;
	else if (i->is_mem && i->form == X86_F_R_RM && i->opsize == 8 && f->passed.jc && i->index >= 0 &&
		 i->disp == (int64_t)CPU(jc_code) && same_index(&f->reg[i->index], &f->passed.index))
		*d = (struct value){.kind = CODE};
	else if (!i->is_mem && i->opsize == 8 && (i->form == X86_F_RM_R || i->form == X86_F_R_RM))
		*d = f->reg[i->form == X86_F_RM_R ? i->reg : i->rm];
	else if (!i->is_mem && i->opsize >= 4 && (i->form == X86_F_RM_I || i->form == X86_F_O_I))
		*d = (struct value){.kind = NUMBER, .off = i->opsize == 4 ? (uint32_t)i->imm : i->imm};
	else
		*d = fresh(f);
}

/* A number that an address is made of: as good as an unknown. */
static struct value *as_address(struct verify *f, struct value *v)
{
	if (v->kind == NUMBER)
		*v = fresh(f);
	return v;
}

static void lea(struct verify *f, const struct x86_insn *i)
{
	struct value *b = i->base >= 0 && i->base < 16 ? as_address(f, &f->reg[i->base]) : NULL;
	struct value out = fresh(f);

	if (b && i->index < 0 && b->kind == VALUE && i->adsize == 8 && i->opsize >= 4) {
		out = *b;
		out.off = (int64_t)((uint64_t)out.off + (uint64_t)i->disp);
		if (i->opsize == 4)
			out.kind = LOW;
	}
	f->reg[i->reg] = out;
}

static void effect(struct verify *f, const struct x86_insn *i)
{
	struct value *rm = &f->reg[i->rm & 15], *reg = &f->reg[i->reg & 15];

	switch (i->op) {
	case X86_OP_MOV:
		moves(f, i);
		return;
	case X86_OP_LEA:
		lea(f, i);
		return;
	case X86_OP_CMP:
		compare(f, i);
		return;
	case X86_OP_TEST:
		if (!i->is_mem && i->form == X86_F_RM_I && i->opsize == 1 && (rm->kind == VALUE || rm->kind == LOW) &&
			i->rex) {
			f->test.set = true;
			f->test.mask = (uint8_t)i->imm;
			f->test.id = rm->id;
			f->test.off = rm->off;
		}
		return;
	case X86_OP_JCC: case X86_OP_JMP: case X86_OP_JMPIND: case X86_OP_NOP: case X86_OP_BT:
	case X86_OP_CLC: case X86_OP_STC: case X86_OP_CMC: case X86_OP_SAHF:
		return;
	case X86_OP_RORX:
		rm = as_address(f, rm);
		if (!i->is_mem && i->opsize == 4 && i->imm == 12 && (rm->kind == LOW || rm->kind == VALUE)) {
			*reg = (struct value){.kind = TURNED, .id = rm->id, .off = rm->off};
			return;
		}
		*reg = fresh(f);
		return;
	case X86_OP_MOVZX:
		if (!i->is_mem && i->srcsize == 1 && i->opsize >= 4 && rm->kind == TURNED && i->rm >= 4 && i->rex)
			*reg = (struct value){.kind = INDEX, .id = rm->id, .off = rm->off};
		else if (i->srcsize == 1 && i->opsize >= 4)
			*reg = (struct value){.kind = BELOW, .off = 255};
		else
			*reg = fresh(f);
		return;
	case X86_OP_SHR:
		if (!i->is_mem && i->form == X86_F_RM_I && i->opsize == 8 && i->imm == 12 && rm->kind == VALUE) {
			rm->kind = PAGE;
			return;
		}
		break;
	case X86_OP_AND:
		if (!i->is_mem && i->form == X86_F_RM_I && i->opsize == 4 && i->imm >= 0) {
			*rm = (struct value){.kind = BELOW, .off = i->imm};
			return;
		}
		break;
	case X86_OP_ADD:
		if (i->is_mem && i->form == X86_F_R_RM && reg->kind == VALUE) {
			struct value a;

			if (addend(f, i, &a) && a.id == reg->id && a.lo == reg->off) {
				*reg = (struct value){.kind = POINTER, .id = a.id, .off = a.lo, .hi = a.hi - a.lo,
					.write = a.write};
				return;
			}
		}
		break;
	case X86_OP_OR: case X86_OP_ADC: case X86_OP_SBB: case X86_OP_SUB: case X86_OP_XOR:
	case X86_OP_ROL: case X86_OP_ROR: case X86_OP_RCL: case X86_OP_RCR: case X86_OP_SHL: case X86_OP_SAL: case X86_OP_SAR:
		break;
	default:
		/* whatever it writes, explicitly or not */
		*reg = fresh(f);
		if (!i->is_mem)
			*rm = fresh(f);
		f->reg[i->vvvv & 15] = fresh(f);
		f->reg[RAX] = fresh(f);
		f->reg[RCX] = fresh(f);
		f->reg[RDX] = fresh(f);
		return;
	}
	if (i->form == X86_F_A_I)
		f->reg[RAX] = fresh(f);
	else if (i->form == X86_F_R_RM)
		*reg = fresh(f);
	else if (!i->is_mem)
		*rm = fresh(f);
}

/* ---- what instructions there may be ---- */

static bool div_guarded(const struct verify *f, const struct x86_insn *i)
{
	const struct x86_insn *j = &f->last[0], *c = &f->last[1];

	if (i->is_mem || i->opsize < 4 || j->op != X86_OP_JCC || c->op != X86_OP_CMP || c->is_mem || c->opsize != i->opsize)
		return false;
	if (i->op == X86_OP_DIV) /* CMP rdx, divisor; JAE away */
		return j->cc == CC_AE && c->form == X86_F_R_RM && c->reg == RDX && c->rm == i->rm;
	return j->cc == CC_BE && c->form == X86_F_RM_I && c->imm == 1; /* CMP divisor + 1, 1; JBE away */
}

static bool allowed(struct verify *f, const struct x86_insn *i)
{
	int64_t max;

	switch (i->op) {
	case X86_OP_DIV: case X86_OP_IDIV:
		return div_guarded(f, i) || bad(f, "a division that may fault");
	case X86_OP_BT: case X86_OP_BTS: case X86_OP_BTR: case X86_OP_BTC:
		return !i->is_mem || i->form != X86_F_RM_R ||
		       (bounded(&f->reg[i->reg], &max) && max < 8 * i->opsize) ||
		       bad(f, "a bit outside of its operand");
	case X86_OP_JMPIND:
		if (i->is_mem)
			return (i->pfx & X86_PFX_SEG && i->seg == X86_GS && i->disp == (int64_t)CPU(jc_code) && i->index >= 0 &&
				       f->passed.jc && same_index(&f->reg[i->index], &f->passed.index)) ||
			       bad(f, "an indirect jump to anywhere");
		return f->reg[i->rm].kind == CODE || bad(f, "an indirect jump to anywhere");
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

/* Pieces of the glue */
static bool is_glue(const struct bt_vm *v, const uint8_t *p)
{
	for (unsigned m = 0; m < MMU_CACHED; m++)
		if (p == v->glue_fill[m][0] || p == v->glue_fill[m][1])
			return true;
	return p == v->glue_mem || p == v->glue_call || p == v->glue_link || p == v->glue_ind || p == v->glue_leave ||
	       p == v->glue_vec || p == v->glue_x87;
}

static const uint8_t *branch_target(const struct verify *f, const struct x86_insn *i)
{
	return f->at + i->len + i->imm;
}

/* Where instructions begin, and which of these are jumped to. */
static bool map_code(struct verify *f)
{
	for (f->at = f->from; f->at < f->to;) {
		struct x86_insn i;

		if (x86_decode(&i, X86_MODE64, f->at, (size_t)(f->to - f->at)) <= 0)
			return bad(f, "bytes that are no instruction");
		bit_set(f->starts, (size_t)(f->at - f->from));
		if (i.op == X86_OP_JCC || i.op == X86_OP_JMP) {
			const uint8_t *t = branch_target(f, &i);

			if (t >= f->from && t < f->to)
				bit_set(f->targets, (size_t)(t - f->from));
			else if (!is_glue(f->v, t))
				return bad(f, "a jump out of the block");
		}
		f->at += i.len;
	}
	for (size_t n = 0; n < (size_t)(f->to - f->from); n++)
		if (bit(f->targets, n) && !bit(f->starts, n)) {
			f->at = f->from + n;
			return bad(f, "a jump into an instruction");
		}
	return true;
}

static bool follow(struct verify *f)
{
	forget(f);
	for (f->at = f->from; f->at < f->to;) {
		const bool tag = f->cmp.tag || f->cmp.jc, test = f->test.set;
		struct x86_insn i;

		x86_decode(&i, X86_MODE64, f->at, (size_t)(f->to - f->at));
		if (bit(f->targets, (size_t)(f->at - f->from)))
			forget(f);
		if (!allowed(f, &i))
			return false;
		if (i.is_mem && i.op != X86_OP_LEA && i.op != X86_OP_NOP && !memory(f, &i))
			return false;
		if (i.op == X86_OP_JCC && i.cc == CC_NE && tag)
			f->passed.tag = f->cmp.tag, f->passed.jc = f->cmp.jc, f->passed.write = f->cmp.write,
			f->passed.index = f->cmp.index, f->passed.lo = f->cmp.lo, f->passed.hi = f->cmp.hi;
		if (i.op == X86_OP_JCC && i.cc == CC_NE && test)
			f->aligned.set = true, f->aligned.mask = f->test.mask, f->aligned.id = f->test.id,
			f->aligned.off = f->test.off;
		f->cmp.tag = f->cmp.jc = f->test.set = false;
		effect(f, &i);
		f->last[1] = f->last[0];
		f->last[0] = i;
		f->at += i.len;
		if (i.op == X86_OP_JMP || i.op == X86_OP_JMPIND)
			forget(f);
	}
	if (f->last[0].op != X86_OP_NOP) /* forget() has left it so behind a jump */
		return bad(f, "a block that runs on behind its end");
	return true;
}

bool bt_verify(const struct bt_vm *v, const uint8_t *from, const uint8_t *to, unsigned mmu, const uint32_t *entries,
	unsigned nentries, struct bt_violation *out)
{
	struct verify f = {.v = v, .from = from, .to = to, .mmu = mmu};
	bool ok = to - from <= CODE_MAX || bad(&f, "a block that is too long");

	for (unsigned n = 0; ok && n < nentries; n++) {
		const uint8_t *p = v->rw + entries[n];

		if (!entries[n])
			continue;
		if (p < from || p >= to)
			ok = bad(&f, "an entry out of the block");
		else
			bit_set(f.targets, (size_t)(p - from));
	}
	ok = ok && map_code(&f) && follow(&f);
	if (!ok)
		*out = (struct bt_violation){.why = f.why, .off = f.at ? (size_t)(f.at - from) : 0};
	return ok;
}
