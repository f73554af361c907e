/* SPDX-License-Identifier: MIT */
/*
 * The decoder: walks the table of decode_table.c (SDM Vol. 2 chapter 2).
 *
 * Steps: legacy prefixes and REX; VEX or escape bytes, which select the map; the row, by whatever the
 * table asks for; ModRM, SIB, displacement, immediate; the row's rules; then sizes, operands and
 * flags as the row says.
 *
 * Reading beyond the end: after at most four prefix bytes an instruction takes at most 11 more
 * (C7 /0 with SIB, disp32, imm32; VEX3 with SIB, disp32, imm8), so that 15 readable bytes need no further
 * check. Shorter or more prefixed input is copied to a zero-filled buffer first. What was decoded from
 * fill bytes does not count: it is longer than the input, so the answer is "more bytes". For the
 * same reason everything undefined gets a length that covers all bytes looked at.
 *
 * Where vendors differ we do as Intel: near branches in 64-bit mode ignore 66, far ones take REX.W,
 * MOVSXD with 66 reads two bytes. Whether VEX is allowed at all (not in real and virtual-8086 mode) and
 * what depends on control registers is the engine's matter.
 */
#include <assert.h>
#include <string.h>

#include "x86/decode-int.h"
#include "x86/state.h"

static_assert(X86_OP_COUNT <= UINT8_MAX && sizeof(struct row) == 24, "rows stay small");

enum { MAX_LEN = 15, MAX_TAIL = 11, EASY_PREFIXES = MAX_LEN - MAX_TAIL };

/* Prefix bytes; REX has a mark of its own and counts in 64-bit mode only. */
enum { REX = 128 };
static_assert((int)X86_PFX_VEX3 == (int)REX, "not a prefix by itself, so its bit is free here");
static const uint8_t prefix_of[256] = {
	[0x26] = X86_PFX_SEG, [0x2e] = X86_PFX_SEG, [0x36] = X86_PFX_SEG, [0x3e] = X86_PFX_SEG,
	[0x64] = X86_PFX_SEG, [0x65] = X86_PFX_SEG, [0x66] = X86_PFX_66, [0x67] = X86_PFX_67,
	[0xf0] = X86_PFX_LOCK, [0xf2] = X86_PFX_F2, [0xf3] = X86_PFX_F3,
	[0x40] = REX, REX, REX, REX, REX, REX, REX, REX, REX, REX, REX, REX, REX, REX, REX, REX,
};

/* Operand size by SZ_*, mode, 66 prefix, W: {none, W, 66, 66 and W}. */
static const uint8_t opsize_of[SZ_COUNT][3][4] = {
	/*            16-bit          32-bit          64-bit mode */
	[SZ_SAME] = {{4, 4, 4, 4}, {4, 4, 4, 4}, {4, 4, 4, 4}},
	[SZ_B] = {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
	[SZ_W] = {{2, 2, 2, 2}, {2, 2, 2, 2}, {2, 2, 2, 2}},
	[SZ_D] = {{4, 4, 4, 4}, {4, 4, 4, 4}, {4, 4, 4, 4}},
	[SZ_Q] = {{8, 8, 8, 8}, {8, 8, 8, 8}, {8, 8, 8, 8}},
	[SZ_V] = {{2, 2, 4, 4}, {4, 4, 2, 2}, {4, 8, 2, 8}},
	[SZ_Z] = {{2, 2, 4, 4}, {4, 4, 2, 2}, {4, 4, 2, 4}},
	[SZ_Y] = {{4, 4, 4, 4}, {4, 4, 4, 4}, {4, 8, 4, 8}},
	[SZ_M] = {{4, 4, 4, 4}, {4, 4, 4, 4}, {8, 8, 8, 8}},
	[SZ_S] = {{2, 2, 4, 4}, {4, 4, 2, 2}, {8, 8, 2, 8}},
	[SZ_N] = {{2, 2, 4, 4}, {4, 4, 2, 2}, {8, 8, 8, 8}},
};

/* Flags read by condition code / 2: O, C, Z, BE, S, P, L, LE */
static const uint16_t cc_flags[8] = {
	X86_OF, X86_CF, X86_ZF, X86_CF | X86_ZF, X86_SF, X86_PF, X86_SF | X86_OF,
	X86_SF | X86_OF | X86_ZF,
};

/* Which forms have ModRM, a register in the opcode, or use VEX.vvvv. Of X86_F_VEC the shape tells. */
enum { USES_MODRM = 1, USES_OPCODE = 2, USES_VVVV = 4 };
static const uint8_t form_uses[X86_F_VEC + 1] = {
	[X86_F_RM_R] = USES_MODRM, [X86_F_R_RM] = USES_MODRM, [X86_F_RM_I] = USES_MODRM,
	[X86_F_RM_1] = USES_MODRM, [X86_F_RM_CL] = USES_MODRM, [X86_F_RM_R_I] = USES_MODRM,
	[X86_F_R_RM_I] = USES_MODRM, [X86_F_RM] = USES_MODRM, [X86_F_R_V_RM] = USES_MODRM | USES_VVVV,
	[X86_F_R_RM_V] = USES_MODRM | USES_VVVV, [X86_F_V_RM] = USES_MODRM | USES_VVVV,
	[X86_F_O] = USES_OPCODE, [X86_F_O_I] = USES_OPCODE, [X86_F_A_O] = USES_OPCODE,
};

/* 16-bit addressing (SDM table 2-1) */
static const int8_t base16[8] = {
	X86_RBX, X86_RBX, X86_RBP, X86_RBP, X86_RSI, X86_RDI, X86_RBP, X86_RBX,
};
static const int8_t index16[8] = {X86_RSI, X86_RDI, X86_RSI, X86_RDI, -1, -1, -1, -1};

/* What is known before the row is, and does not go to struct x86_insn as it is. */
struct ctx {
	enum x86_mode mode;
	const uint8_t *p;
	unsigned o;     /* offset of the next byte */
	unsigned wrxb;  /* REX or VEX: W R X B as 8 4 2 1 */
	unsigned pp;    /* mandatory prefix as in insn.vexpp */
	unsigned vvvv;  /* with all four bits in any mode */
	bool vex, seg;  /* VEX encoded; a segment prefix counts */
	bool group;     /* ModRM.reg is a part of the opcode */
};

static uint64_t get_le(const uint8_t *p, unsigned n)
{
	uint64_t v = 0;

	switch (n) { /* compilers make one load of each */
	case 1:
		return p[0];
	case 2:
		return (uint64_t)p[0] | (uint64_t)p[1] << 8;
	case 4:
		return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
	}
	for (unsigned k = 0; k < n; k++)
		v |= (uint64_t)p[k] << 8 * k;
	return v;
}

static int64_t get_signed(const uint8_t *p, unsigned n)
{
	switch (n) {
	case 1:
		return (int8_t)p[0];
	case 2:
		return (int16_t)get_le(p, 2);
	case 4:
		return (int32_t)get_le(p, 4);
	}
	return (int64_t)get_le(p, n);
}

/*
 * Legacy prefixes and REX in the first max bytes. False if there is nothing else.
 */
static bool get_prefixes(struct x86_insn *i, struct ctx *x, unsigned max)
{
	const uint8_t *p = x->p;
	unsigned o;

	for (o = 0; o < max; o++) {
		unsigned kind = prefix_of[p[o]];

		if (!kind || (kind == REX && x->mode != X86_MODE64))
			break;
		if (kind == REX) {
			i->rex = p[o];
			continue;
		}
		i->rex = 0; /* counts right before the opcode only */
		if (kind & (X86_PFX_F2 | X86_PFX_F3)) {
			i->pfx &= ~(X86_PFX_F2 | X86_PFX_F3); /* the last one counts */
		} else if (kind == X86_PFX_SEG) {
			uint8_t seg = p[o] >= 0x64 ? p[o] - 0x64 + X86_FS : p[o] >> 3 & 3;

			if (x->mode == X86_MODE64 && seg < X86_FS)
				continue; /* ignored, and does not undo FS or GS */
			i->seg = seg;
			x->seg = true;
		}
		i->pfx |= kind;
	}
	x->o = o;
	x->wrxb = i->rex & 15;
	x->pp = i->pfx & X86_PFX_F2 ? 3 : i->pfx & X86_PFX_F3 ? 2 : i->pfx & X86_PFX_66;
	return o < max;
}

/*
 * VEX, C4 or C5 (SDM Vol. 2 2.3.5); R, X, B and vvvv are inverted. False if it is none of ours.
 */
static bool get_vex(struct x86_insn *i, struct ctx *x)
{
	const uint8_t *p = x->p + x->o;
	bool legacy = i->pfx & (X86_PFX_66 | X86_PFX_F2 | X86_PFX_F3 | X86_PFX_LOCK) || i->rex;
	uint8_t last;

	x->vex = true;
	if (p[0] == 0xc5) {
		last = p[1];
		x->wrxb = ~last >> 5 & 4;
		x->o += 2;
		i->pfx |= X86_PFX_VEX2;
		i->map = 1;
	} else {
		last = p[2];
		x->wrxb = (~p[1] >> 5 & 7) | (last >> 4 & 8);
		x->o += 3;
		i->pfx |= X86_PFX_VEX3;
		i->map = p[1] & 31;
	}
	if (legacy || i->map < 1 || i->map > 3) {
		i->map = 0;
		return false;
	}
	x->vvvv = i->vvvv = ~last >> 3 & 15;
	if (x->mode != X86_MODE64) { /* eight registers; but an unused vvvv must be 15 here, too */
		x->wrxb &= 8;
		i->vvvv &= 7;
	}
	x->pp = last & 3;
	i->vl = last >> 2 & 1;
	return true;
}

/* VEX or escape bytes, and the opcode. NULL: undefined. */
static const struct row *get_opcode(struct x86_insn *i, struct ctx *x)
{
	const uint8_t *p = x->p;
	unsigned o = x->o;

	if (p[o] == 0x0f) {
		i->map = p[o + 1] == 0x38 ? 2 : p[o + 1] == 0x3a ? 3 : 1;
		x->o += i->map == 1 ? 1 : 2;
	} else if ((p[o] & 0xfe) == 0xc4 && (x->mode == X86_MODE64 || p[o + 1] >= 0xc0)) {
		/* In the other modes C4 and C5 with a memory operand are LES and LDS. */
		if (!get_vex(i, x))
			return NULL;
	}
	i->off_opcode = x->o;
	i->opcode = p[x->o++];
	return &x86_map[i->map][i->opcode];
}

static const struct row *pick_row(struct x86_insn *i, struct ctx *x, const struct row *r)
{
	uint8_t m = x->p[x->o]; /* if it is a ModRM */
	unsigned k = 0;

	while (r->pick) {
		switch (r->pick) {
		case PICK_PP:
			k = x->pp;
			break;
		case PICK_MOD:
			i->has_modrm = true;
			k = m >= 0xc0;
			break;
		case PICK_REG:
			i->has_modrm = x->group = true;
			k = m >> 3 & 7;
			break;
		case PICK_RM:
			i->has_modrm = x->group = true;
			k = m & 7;
			break;
		case PICK_MODE:
			k = x->mode == X86_MODE64;
			break;
		case PICK_VEX:
			k = x->vex;
			break;
		case PICK_W:
			k = x->wrxb >> 3;
			break;
		case PICK_NOP:
			k = i->pfx & X86_PFX_F3 ? 2 : !(x->wrxb & 1);
			break;
		}
		r = r->sub + k;
	}
	return r;
}

/* ModRM, SIB and displacement. */
static void get_modrm(struct x86_insn *i, struct ctx *x, const struct row *r)
{
	const uint8_t *p = x->p;
	unsigned m = p[x->o], mod = m >> 6, rm = m & 7, size = mod == 2 ? 4 : mod;

	i->has_modrm = true;
	i->modrm = m;
	i->off_modrm = x->o++;
	i->reg = (m >> 3 & 7) | (x->wrxb & 4) << 1;
	if (x->group || r->rule & SREG_REG)
		i->reg &= 7;
	i->rm = rm | (x->wrxb & 1) << 3;
	if (mod == 3 || r->rule & NO_MOD)
		return;

	i->is_mem = true;
	if (i->adsize == 2) {
		i->base = base16[rm];
		i->index = index16[rm];
		if (mod == 2)
			size = 2;
		if (mod == 0 && rm == 6) {
			i->base = -1;
			size = 2;
		}
	} else if (rm == 4) {
		unsigned s = p[x->o++], index = (s >> 3 & 7) | (x->wrxb & 2) << 2;

		i->scale = s >> 6;
		if (index != X86_RSP || r->op == X86_OP_GATHER)
			i->index = index;
		if (mod == 0 && (s & 7) == 5)
			size = 4;
		else
			i->base = (s & 7) | (x->wrxb & 1) << 3;
	} else if (mod == 0 && rm == 5) {
		size = 4;
		if (x->mode == X86_MODE64)
			i->base = X86_BASE_RIP;
	} else {
		i->base = i->rm;
	}
	if (!x->seg && (i->base == X86_RSP || i->base == X86_RBP))
		i->seg = X86_SS;
	if (size) {
		i->off_disp = x->o;
		i->size_disp = size;
		i->disp = get_signed(p + x->o, size);
		x->o += size;
	}
}

static void get_imm(struct x86_insn *i, struct ctx *x, const struct row *r)
{
	const uint8_t *p = x->p + x->o;
	unsigned size = 1;

	i->off_imm = x->o;
	switch (r->imm) {
	case IMM_S8:
		i->imm = (int8_t)p[0];
		break;
	case IMM_U8:
		i->imm = p[0];
		break;
	case IMM_U16:
		size = 2;
		i->imm = (int64_t)get_le(p, 2);
		break;
	case IMM_Z:
		size = i->opsize == 2 ? 2 : 4;
		i->imm = get_signed(p, size);
		break;
	case IMM_V:
		size = i->opsize;
		i->imm = get_signed(p, size);
		break;
	case IMM_PTR:
		size = i->opsize + 2;
		i->imm = (int64_t)get_le(p, i->opsize);
		i->imm2 = get_le(p + i->opsize, 2);
		break;
	case IMM_ENTER:
		size = 3;
		i->imm = (int64_t)get_le(p, 2);
		i->imm2 = p[2];
		break;
	case IMM_MOFFS:
		size = i->adsize;
		i->is_mem = true;
		i->off_disp = i->off_imm;
		i->size_disp = size;
		i->disp = (int64_t)get_le(p, size);
		i->off_imm = 0;
		x->o += size;
		return;
	}
	i->size_imm = size;
	x->o += size;
}

/* Is the encoding what the row wants? */
static bool rules_hold(const struct x86_insn *i, const struct ctx *x, const struct row *r)
{
	uint32_t rule = r->rule;

	if (i->pfx & X86_PFX_LOCK && !(r->attr & X86_A_LOCKABLE && i->is_mem))
		return false;
	if (rule & (i->is_mem ? ONLY_REG : ONLY_MEM))
		return false;
	if (rule & CR_REG && !(1u << i->reg & (1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8)))
		return false;
	if (rule & DR_REG && i->reg > 7)
		return false;
	if (rule & SREG_REG && i->reg > X86_GS)
		return false;
	if (i->op == X86_OP_MOVSEG_TO && i->reg == X86_CS)
		return false;
	/* A gather must have a SIB byte, and three different registers. */
	if (i->op == X86_OP_GATHER && (i->index < 0 || i->adsize == 2 || i->reg == i->index ||
		i->reg == i->vvvv || i->index == i->vvvv))
		return false;
	if (!x->vex)
		return !(rule & VEX_ONLY);
	if (!(rule & (VEX_OK | VEX_ONLY)))
		return false;
	if (rule & (i->vl ? VEX_L0 : VEX_L1) || rule & (i->vexw ? VEX_W0 : VEX_W1))
		return false;
	return !x->vvvv || form_uses[r->form] & USES_VVVV || x86_shape_of[r->shape][1].kvex;
}

static unsigned mem_size(const struct x86_insn *i, const struct ctx *x, const struct row *r)
{
	switch (r->msize) {
	case 0:
		return i->form == X86_F_VEC ? 0 : i->srcsize;
	case MS_FULL:
	case MS_HALF:
	case MS_QUARTER:
	case MS_EIGHTH:
		return 16u >> (r->msize - MS_FULL) << i->vl;
	case MS_NONE:
		return 0;
	case MS_DDUP:
		return i->vl ? 32 : 8;
	case MS_Y:
		return i->opsize;
	case MS_ELEM:
		return i->vexw ? 8 : 4;
	case MS_FAR:
		return i->opsize + 2u;
	case MS_PAIR:
		return 2u * i->opsize;
	case MS_DTR:
		return x->mode == X86_MODE64 ? 10 : 6;
	case MS_ENV:
		return i->opsize == 2 ? 14 : 28;
	case MS_SAVE:
		return i->opsize == 2 ? 94 : 108;
	}
	return r->msize;
}

/*
 * Shifts and rotates leave all flags alone when the (masked) count is 0, define OF for 1 only, and CF
 * of SHL and SHR up to the operand's width. A count in CL is not known: what may stay is an input,
 * what may be undefined is undefined.
 */
static void shift_flags(struct x86_insn *i)
{
	unsigned width = 8u * i->opsize, count = i->imm & (i->opsize == 8 ? 63 : 31);

	if (i->form == X86_F_RM_1)
		return;
	if (i->form == X86_F_RM_CL) {
		i->fl_in |= i->fl_out | i->fl_undef;
		i->fl_undef |= X86_OF;
	} else if (!count) {
		i->fl_in = i->fl_out = i->fl_undef = 0;
	} else {
		bool out = i->op == X86_OP_SHL || i->op == X86_OP_SAL || i->op == X86_OP_SHR;
		bool dbl = i->op == X86_OP_SHLD || i->op == X86_OP_SHRD;

		if (count > 1)
			i->fl_undef |= X86_OF;
		if (out && count >= width)
			i->fl_undef |= X86_CF;
		if (dbl && count > width)
			i->fl_undef = X86_ARITH;
	}
	i->fl_out &= ~i->fl_undef;
}

static void set_flags(struct x86_insn *i, const struct row *r)
{
	const struct x86_flags *f = &x86_flags_of[r->flags];

	i->fl_in = f->in;
	i->fl_out = f->out;
	i->fl_undef = f->undef;
	if (r->rule & CC) {
		i->cc = i->opcode & 15;
		i->fl_in = cc_flags[i->cc >> 1];
	} else if (r->rule & BY_COUNT) {
		shift_flags(i);
	} else if (r->rule & REP_FLAGS && i->pfx & (X86_PFX_F2 | X86_PFX_F3)) {
		i->fl_in |= i->fl_out;
	}
}

static void vector_operands(struct x86_insn *i, const struct ctx *x, const struct row *r)
{
	const struct x86_shape *s = &x86_shape_of[r->shape][x->vex];

	if (s->kreg == X86_K_MM)
		i->reg &= 7; /* REX has no say in MM and ST registers */
	if (s->krm == X86_K_MM || i->op == X86_OP_X87)
		i->rm &= 7;
	i->kreg = s->kreg;
	i->kvex = s->kvex;
	i->krm = i->is_mem && s->krm != X86_K_VSIB ? X86_K_NONE : s->krm;
	i->areg = s->areg;
	i->avex = s->avex;
	i->arm = s->arm;
	i->regsize = i->kreg == X86_K_GPR ? i->opsize : 0;
	i->rmsize = i->krm == X86_K_GPR ? i->opsize : 0;
	if (x->vex ? (r->rule & ALIGNED) != 0 : i->memsize == 16 && !(r->rule & UNALIGNED))
		i->attr |= X86_A_ALIGN;
	if (x->vex && (r->rule & AVX2_ALL || (r->rule & AVX2_256 && i->vl)))
		i->attr |= X86_A_AVX2;
	if (i->fl_out)
		i->attr |= X86_A_FLAGS;
}

/* Bytes that end, or are too long, before the instruction does. */
static int too_long(size_t n)
{
	return n < MAX_LEN ? 0 : -1;
}

static int undefined(struct x86_insn *i, unsigned len, size_t n)
{
	uint8_t map = i->map, opcode = i->opcode, off = i->off_opcode;

	if (len > (n < MAX_LEN ? n : MAX_LEN))
		return too_long(n);
	memset(i, 0, sizeof(*i));
	i->op = X86_OP_UD;
	i->len = len;
	i->base = i->index = -1;
	i->map = map;
	i->opcode = opcode;
	i->off_opcode = off;
	return len;
}

int x86_decode(struct x86_insn *i, enum x86_mode mode, const uint8_t *p, size_t n)
{
	uint8_t filled[MAX_LEN + MAX_TAIL];
	struct ctx x = {.mode = mode, .p = p};
	unsigned max = n < MAX_LEN ? n : MAX_LEN, size;
	const struct row *r;

	memset(i, 0, sizeof(*i)); /* padding, too: equal instructions are equal bytes */
	i->seg = X86_DS;
	i->base = i->index = -1;

	if (!get_prefixes(i, &x, max))
		return too_long(n);
	if (n < MAX_LEN || x.o > EASY_PREFIXES) {
		memcpy(filled, p, max);
		memset(filled + max, 0, sizeof(filled) - max);
		x.p = filled;
	}
	r = get_opcode(i, &x);
	if (r)
		r = pick_row(i, &x, r);
	if (!r || r->op == X86_OP_UD || r->rule & (mode == X86_MODE64 ? ONLY_LEGACY : ONLY_64))
		return undefined(i, x.o + i->has_modrm, n);

	i->op = r->op;
	i->form = r->form;
	i->attr = r->attr | (x.vex ? X86_A_VEX : 0) |
		(r->size == SZ_S || r->size == SZ_N ? X86_A_EAX64 : 0);
	i->vexw = x.wrxb >> 3;
	i->vexpp = x.pp;
	size = (i->pfx & X86_PFX_66) << 1 | i->vexw;
	i->opsize = opsize_of[r->size][mode][size];
	i->srcsize = r->srcsize ? opsize_of[r->srcsize][mode][size] : i->opsize;
	i->adsize = i->pfx & X86_PFX_67 ? (mode == X86_MODE32 ? 2 : 4) : 2u << mode;
	if (r->rule & VEX_LIG)
		i->vl = 0;

	if (i->has_modrm || form_uses[r->form] & USES_MODRM || r->shape)
		get_modrm(i, &x, r);
	else if (form_uses[r->form] & USES_OPCODE)
		i->rm = (i->opcode & 7) | (x.wrxb & 1) << 3;
	if (r->imm)
		get_imm(i, &x, r);
	if (x.o > max)
		return too_long(n);
	if (!rules_hold(i, &x, r))
		return undefined(i, x.o, n);

	i->len = x.o;
	i->disp32 = (int32_t)i->disp;
	if (r->rule & SREG_REG)
		i->sreg = i->reg;
	else if (r->rule & SREG_OP)
		i->sreg = i->opcode >> 3 & 7;
	else if (r->op == X86_OP_LDS)
		i->sreg = i->map ? i->opcode & 7 : i->opcode & 1 ? X86_DS : X86_ES;
	i->memsize = mem_size(i, &x, r);
	i->arm = r->arm;
	set_flags(i, r);
	if (r->form == X86_F_VEC)
		vector_operands(i, &x, r);
	return i->len;
}

static const char *const op_names[X86_OP_COUNT] = {
	[X86_OP_UD] = "ud", [X86_OP_ADD] = "add", [X86_OP_OR] = "or", [X86_OP_ADC] = "adc",
	[X86_OP_SBB] = "sbb", [X86_OP_AND] = "and", [X86_OP_SUB] = "sub", [X86_OP_XOR] = "xor",
	[X86_OP_CMP] = "cmp", [X86_OP_ROL] = "rol", [X86_OP_ROR] = "ror", [X86_OP_RCL] = "rcl",
	[X86_OP_RCR] = "rcr", [X86_OP_SHL] = "shl", [X86_OP_SHR] = "shr", [X86_OP_SAL] = "sal",
	[X86_OP_SAR] = "sar", [X86_OP_TEST] = "test", [X86_OP_NOT] = "not", [X86_OP_NEG] = "neg",
	[X86_OP_MUL] = "mul", [X86_OP_IMUL1] = "imul1", [X86_OP_DIV] = "div", [X86_OP_IDIV] = "idiv",
	[X86_OP_INC] = "inc", [X86_OP_DEC] = "dec", [X86_OP_IMUL2] = "imul2", [X86_OP_IMUL3] = "imul3",
	[X86_OP_MOV] = "mov", [X86_OP_MOVZX] = "movzx", [X86_OP_MOVSX] = "movsx", [X86_OP_LEA] = "lea",
	[X86_OP_XCHG] = "xchg", [X86_OP_XADD] = "xadd", [X86_OP_CMPXCHG] = "cmpxchg",
	[X86_OP_CMPXCHG8B] = "cmpxchg8b", [X86_OP_BSWAP] = "bswap", [X86_OP_MOVBE] = "movbe",
	[X86_OP_PUSH] = "push", [X86_OP_POP] = "pop", [X86_OP_PUSHA] = "pusha", [X86_OP_POPA] = "popa",
	[X86_OP_PUSHF] = "pushf", [X86_OP_POPF] = "popf", [X86_OP_PUSHSEG] = "pushseg",
	[X86_OP_POPSEG] = "popseg", [X86_OP_ENTER] = "enter", [X86_OP_LEAVE] = "leave",
	[X86_OP_JCC] = "jcc", [X86_OP_JMP] = "jmp", [X86_OP_JMPIND] = "jmpind", [X86_OP_CALL] = "call",
	[X86_OP_CALLIND] = "callind", [X86_OP_RET] = "ret", [X86_OP_JMPFAR] = "jmpfar",
	[X86_OP_CALLFAR] = "callfar", [X86_OP_RETFAR] = "retfar", [X86_OP_IRET] = "iret",
	[X86_OP_LOOP] = "loop", [X86_OP_LOOPE] = "loope", [X86_OP_LOOPNE] = "loopne",
	[X86_OP_JCXZ] = "jcxz", [X86_OP_SETCC] = "setcc", [X86_OP_CMOVCC] = "cmovcc",
	[X86_OP_BT] = "bt", [X86_OP_BTS] = "bts", [X86_OP_BTR] = "btr", [X86_OP_BTC] = "btc",
	[X86_OP_BSF] = "bsf", [X86_OP_BSR] = "bsr", [X86_OP_TZCNT] = "tzcnt", [X86_OP_LZCNT] = "lzcnt",
	[X86_OP_POPCNT] = "popcnt", [X86_OP_SHLD] = "shld", [X86_OP_SHRD] = "shrd",
	[X86_OP_ADCX] = "adcx", [X86_OP_ADOX] = "adox", [X86_OP_CRC32] = "crc32",
	[X86_OP_ANDN] = "andn", [X86_OP_BEXTR] = "bextr", [X86_OP_BLSI] = "blsi",
	[X86_OP_BLSMSK] = "blsmsk", [X86_OP_BLSR] = "blsr", [X86_OP_BZHI] = "bzhi",
	[X86_OP_MULX] = "mulx", [X86_OP_PDEP] = "pdep", [X86_OP_PEXT] = "pext", [X86_OP_RORX] = "rorx",
	[X86_OP_SARX] = "sarx", [X86_OP_SHLX] = "shlx", [X86_OP_SHRX] = "shrx", [X86_OP_CBW] = "cbw",
	[X86_OP_CWD] = "cwd", [X86_OP_XLAT] = "xlat", [X86_OP_LAHF] = "lahf", [X86_OP_SAHF] = "sahf",
	[X86_OP_SALC] = "salc", [X86_OP_DAA] = "daa", [X86_OP_DAS] = "das", [X86_OP_AAA] = "aaa",
	[X86_OP_AAS] = "aas", [X86_OP_AAM] = "aam", [X86_OP_AAD] = "aad", [X86_OP_BOUND] = "bound",
	[X86_OP_ARPL] = "arpl", [X86_OP_CLC] = "clc", [X86_OP_STC] = "stc", [X86_OP_CMC] = "cmc",
	[X86_OP_CLD] = "cld", [X86_OP_STD] = "std", [X86_OP_CLI] = "cli", [X86_OP_STI] = "sti",
	[X86_OP_MOVS] = "movs", [X86_OP_CMPS] = "cmps", [X86_OP_STOS] = "stos", [X86_OP_LODS] = "lods",
	[X86_OP_SCAS] = "scas", [X86_OP_INS] = "ins", [X86_OP_OUTS] = "outs", [X86_OP_IN] = "in",
	[X86_OP_OUT] = "out", [X86_OP_NOP] = "nop", [X86_OP_PAUSE] = "pause", [X86_OP_LDS] = "lds",
	[X86_OP_MOVSEG_TO] = "movseg_to", [X86_OP_MOVSEG_FROM] = "movseg_from",
	[X86_OP_MOVCR_TO] = "movcr_to", [X86_OP_MOVCR_FROM] = "movcr_from",
	[X86_OP_MOVDR_TO] = "movdr_to", [X86_OP_MOVDR_FROM] = "movdr_from", [X86_OP_INT] = "int",
	[X86_OP_INT3] = "int3", [X86_OP_INT1] = "int1", [X86_OP_INTO] = "into", [X86_OP_UD2] = "ud2",
	[X86_OP_HLT] = "hlt", [X86_OP_SYSCALL] = "syscall", [X86_OP_SYSRET] = "sysret",
	[X86_OP_SYSENTER] = "sysenter", [X86_OP_SYSEXIT] = "sysexit", [X86_OP_CPUID] = "cpuid",
	[X86_OP_RDTSC] = "rdtsc", [X86_OP_RDTSCP] = "rdtscp", [X86_OP_RDPMC] = "rdpmc",
	[X86_OP_RDMSR] = "rdmsr", [X86_OP_WRMSR] = "wrmsr", [X86_OP_RDRAND] = "rdrand",
	[X86_OP_RDSEED] = "rdseed", [X86_OP_RDPID] = "rdpid", [X86_OP_CLTS] = "clts",
	[X86_OP_INVD] = "invd", [X86_OP_WBINVD] = "wbinvd", [X86_OP_INVLPG] = "invlpg",
	[X86_OP_INVPCID] = "invpcid", [X86_OP_SGDT] = "sgdt", [X86_OP_SIDT] = "sidt",
	[X86_OP_LGDT] = "lgdt", [X86_OP_LIDT] = "lidt", [X86_OP_SMSW] = "smsw", [X86_OP_LMSW] = "lmsw",
	[X86_OP_SLDT] = "sldt", [X86_OP_STR] = "str", [X86_OP_LLDT] = "lldt", [X86_OP_LTR] = "ltr",
	[X86_OP_VERR] = "verr", [X86_OP_VERW] = "verw", [X86_OP_LAR] = "lar", [X86_OP_LSL] = "lsl",
	[X86_OP_SWAPGS] = "swapgs", [X86_OP_RDFSBASE] = "rdfsbase", [X86_OP_RDGSBASE] = "rdgsbase",
	[X86_OP_WRFSBASE] = "wrfsbase", [X86_OP_WRGSBASE] = "wrgsbase", [X86_OP_CLAC] = "clac",
	[X86_OP_STAC] = "stac", [X86_OP_MONITOR] = "monitor", [X86_OP_MWAIT] = "mwait",
	[X86_OP_XGETBV] = "xgetbv", [X86_OP_XSETBV] = "xsetbv", [X86_OP_VMCALL] = "vmcall",
	[X86_OP_RDPRU] = "rdpru", [X86_OP_LFENCE] = "lfence", [X86_OP_SFENCE] = "sfence",
	[X86_OP_MFENCE] = "mfence", [X86_OP_SERIALIZE] = "serialize", [X86_OP_CLFLUSH] = "clflush",
	[X86_OP_FXSAVE] = "fxsave", [X86_OP_FXRSTOR] = "fxrstor", [X86_OP_XSAVE] = "xsave",
	[X86_OP_XSAVEOPT] = "xsaveopt", [X86_OP_XSAVEC] = "xsavec", [X86_OP_XRSTOR] = "xrstor",
	[X86_OP_LDMXCSR] = "ldmxcsr", [X86_OP_STMXCSR] = "stmxcsr", [X86_OP_VEC] = "vec",
	[X86_OP_MOVNTI] = "movnti", [X86_OP_GATHER] = "gather", [X86_OP_MASKMOV] = "maskmov",
	[X86_OP_VMASKMOV] = "vmaskmov", [X86_OP_VZERO] = "vzero", [X86_OP_MMX] = "mmx",
	[X86_OP_X87] = "x87", [X86_OP_FWAIT] = "fwait",
};

const char *x86_op_name(enum x86_op op)
{
	return (unsigned)op < X86_OP_COUNT ? op_names[op] : "?";
}
