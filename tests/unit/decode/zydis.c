/* SPDX-License-Identifier: MIT */
/*
 * Our decoder against Zydis 4, an independent table: everything both say about an instruction is compared.
 * Input: a sweep over modes, opcode maps, prefixes, ModRM and SIB; with --code the host's libc and the
 * kernel HUSK_KERNEL; else the code sections of the ELF files given as arguments. --bench FILE measures
 * the speed of both on its .text.
 *
 * What differs on purpose is in two lists below: hidden[], features a husk guest does not have, and
 * allowed[], where Zydis and we (or Zydis and the SDM, or Zydis and real CPUs) tell different tales. Each
 * line has its reason, and one that never matches in the sweep fails the test.
 */
#undef NDEBUG
#include <Zydis/Zydis.h>
#include <assert.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "x86/decode.h"
#include "x86/state.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

/* What was compared, for the lists and the messages. */
enum field {
	D_DEFINED = 1 << 0, D_LENGTH = 1 << 1, D_OPCODE = 1 << 2, D_LAYOUT = 1 << 3, D_OP = 1 << 4,
	D_ADDRESS = 1 << 5, D_OPSIZE = 1 << 6, D_MEMSIZE = 1 << 7, D_ACCESS = 1 << 8, D_FLAGS_IN = 1 << 9,
	D_FLAGS_OUT = 1 << 10, D_FLAGS_UNDEF = 1 << 11, D_REGS = 1 << 12, D_IMM = 1 << 13, D_ATTR = 1 << 14,
	D_REGACC = 1 << 15, D_ALIGN = 1 << 16, D_FP = 1 << 17, D_COUNT = 18,
};
static const char *const field_name[D_COUNT] = {"defined", "length", "opcode", "layout", "op", "address",
	"operand size", "memory size", "memory access", "flags read", "flags written", "flags undefined",
	"registers", "immediate", "attributes", "register access", "alignment", "fp"};

static ZydisDecoder decoder[3];
static unsigned long compared, both_defined, differences;

struct both {
	const uint8_t *p;
	enum x86_mode mode;
	const struct x86_insn *i;
	const ZydisDecodedInstruction *z;
	const ZydisDecodedOperand *ops;
};

#include "zydis-known.h"

static void show(const struct both *b, enum field f, const char *detail, long ours, long theirs)
{
	static const char *const mode_name[] = {"16", "32", "64"};
	static struct { unsigned key; unsigned n; } seen[4096];
	unsigned row = b->z->mnemonic ? 0 : b->i->opcode * 4u + b->i->map;
	unsigned key = ((unsigned)b->z->mnemonic * 31 + (unsigned)f) * 4099 + row + 1;
	unsigned h = key * 2654435761u >> 20;

	differences++;
	while (seen[h].n && seen[h].key != key)
		h = (h + 1) % LEN(seen);
	seen[h].key = key;
	if (seen[h].n++ >= 3)
		return; /* the same again and again helps nobody */
	printf("%s-bit", mode_name[b->mode]);
	for (int k = 0; k < 15; k++)
		printf(" %02x", b->p[k]);
	printf(": %s", x86_op_name(b->i->op));
	if (b->z->length)
		printf(" | %s", ZydisMnemonicGetString(b->z->mnemonic));
	for (unsigned k = 0; k < D_COUNT; k++)
		if (f & 1u << k)
			printf(": %s", field_name[k]);
	printf(" (%s: ours %#lx, zydis %#lx)\n", detail, ours, theirs);
}

/* Compares one value; where they differ and it is not a known difference, says so. */
static void same(const struct both *b, enum field f, const char *detail, long ours, long theirs)
{
	if (ours == theirs || known(b, f))
		return;
	show(b, f, detail, ours, theirs);
}

static unsigned access_of(const ZydisDecodedOperand *o)
{
	return (o->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? X86_ACC_R : 0) |
		(o->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? X86_ACC_W : 0);
}

static int reg_id(ZydisRegister r)
{
	return r == ZYDIS_REGISTER_NONE ? -1 : r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP ?
		X86_BASE_RIP : ZydisRegisterGetId(r);
}

static unsigned kind_of(ZydisRegister r)
{
	switch (ZydisRegisterGetClass(r)) {
	case ZYDIS_REGCLASS_GPR8:
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		return X86_K_GPR;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		return X86_K_XMM;
	case ZYDIS_REGCLASS_MMX:
		return X86_K_MM;
	default:
		return X86_K_NONE;
	}
}

/* Register number as we count: byte registers without REX are 0..7, AH is 4 */
static unsigned reg_number(const struct both *b, ZydisRegister r)
{
	(void)b;
	if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BH)
		return r - ZYDIS_REGISTER_AL;
	if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_R15B)
		return r - ZYDIS_REGISTER_SPL + 4;
	return ZydisRegisterGetId(r);
}

static const ZydisDecodedOperand *find(const struct both *b, ZydisOperandEncoding e)
{
	for (unsigned k = 0; k < b->z->operand_count; k++)
		if (b->ops[k].encoding == e)
			return &b->ops[k];
	return NULL;
}

static bool has(const ZydisDecodedInstruction *z, ZydisInstructionAttributes a)
{
	return z->attributes & a;
}

static void compare_layout(const struct both *b)
{
	const struct x86_insn *i = b->i;
	const ZydisDecodedInstruction *z = b->z;
	unsigned map = z->opcode_map == ZYDIS_OPCODE_MAP_0F3A ? 3 :
		z->opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 2 : z->opcode_map == ZYDIS_OPCODE_MAP_0F;
	unsigned imm = z->raw.imm[0].size + z->raw.imm[1].size, imm_off = z->raw.imm[0].offset;

	same(b, D_OPCODE, "map", i->map, map);
	same(b, D_OPCODE, "opcode", i->opcode, z->opcode);
	same(b, D_OPCODE, "byte at off_opcode", b->p[i->off_opcode], i->opcode);
	same(b, D_LAYOUT, "has ModRM", i->has_modrm, has(z, ZYDIS_ATTRIB_HAS_MODRM));
	if (i->has_modrm) {
		same(b, D_LAYOUT, "ModRM", i->modrm,
			z->raw.modrm.mod << 6 | z->raw.modrm.reg << 3 | z->raw.modrm.rm);
		same(b, D_LAYOUT, "ModRM offset", i->off_modrm, z->raw.modrm.offset);
	}
	same(b, D_LAYOUT, "disp offset", i->off_disp, z->raw.disp.offset);
	same(b, D_LAYOUT, "disp size", i->size_disp, z->raw.disp.size / 8);
	same(b, D_LAYOUT, "imm offset", i->off_imm, imm_off);
	same(b, D_LAYOUT, "imm size", i->size_imm, imm / 8);
	same(b, D_LAYOUT, "REX", i->rex, has(z, ZYDIS_ATTRIB_HAS_REX) ? b->p[z->raw.rex.offset] : 0);
	same(b, D_LAYOUT, "adsize", i->adsize, z->address_width / 8);
}

/* Whose operand size is not to be seen in an explicit operand. */
static bool width_matters(enum x86_op op)
{
	switch (op) {
	case X86_OP_PUSH: case X86_OP_POP: case X86_OP_PUSHA: case X86_OP_POPA: case X86_OP_PUSHF:
	case X86_OP_POPF: case X86_OP_PUSHSEG: case X86_OP_POPSEG: case X86_OP_ENTER: case X86_OP_LEAVE:
	case X86_OP_JCC: case X86_OP_JMP: case X86_OP_JMPIND: case X86_OP_CALL: case X86_OP_CALLIND:
	case X86_OP_RET: case X86_OP_JMPFAR: case X86_OP_CALLFAR: case X86_OP_RETFAR: case X86_OP_IRET:
	case X86_OP_LOOP: case X86_OP_LOOPE: case X86_OP_LOOPNE: case X86_OP_JCXZ: case X86_OP_CBW:
	case X86_OP_CWD: case X86_OP_MOVS: case X86_OP_CMPS: case X86_OP_STOS: case X86_OP_LODS:
	case X86_OP_SCAS: case X86_OP_INS: case X86_OP_OUTS: case X86_OP_SYSRET: case X86_OP_SYSEXIT:
		return true;
	default:
		return false;
	}
}

static bool has_accumulator(enum x86_form f)
{
	return f == X86_F_A_I || f == X86_F_A_O || f == X86_F_A_M || f == X86_F_M_A || f == X86_F_A_D;
}

static void compare_operands(const struct both *b)
{
	const struct x86_insn *i = b->i;
	const ZydisDecodedInstruction *z = b->z;
	bool vec = i->form == X86_F_VEC;
	bool integer = !vec;
	const ZydisDecodedOperand *rm = find(b, ZYDIS_OPERAND_ENCODING_MODRM_RM),
		*reg = find(b, ZYDIS_OPERAND_ENCODING_MODRM_REG),
		*vvvv = find(b, ZYDIS_OPERAND_ENCODING_NDSNDD), *is4 = find(b, ZYDIS_OPERAND_ENCODING_IS4),
		*low = find(b, ZYDIS_OPERAND_ENCODING_OPCODE);

	if (!rm)
		rm = find(b, ZYDIS_OPERAND_ENCODING_DISP16_32_64);
	if (rm && rm->type != ZYDIS_OPERAND_TYPE_REGISTER && rm->type != ZYDIS_OPERAND_TYPE_MEMORY)
		rm = NULL;
	if (rm)
		same(b, D_ADDRESS, "is_mem", i->is_mem, rm->type == ZYDIS_OPERAND_TYPE_MEMORY);
	if (rm && rm->type == ZYDIS_OPERAND_TYPE_MEMORY && i->is_mem) {
		same(b, D_ADDRESS, "base", i->base, reg_id(rm->mem.base));
		same(b, D_ADDRESS, "index", i->index, reg_id(rm->mem.index));
		if (rm->mem.index)
			same(b, D_ADDRESS, "scale", 1 << i->scale, rm->mem.scale);
		if (i->form == X86_F_A_M || i->form == X86_F_M_A) /* an address, not signed */
			same(b, D_ADDRESS, "moffs", i->disp,
				rm->mem.disp.value & ~0ull >> (64 - 8 * i->adsize));
		else
			same(b, D_ADDRESS, "disp", i->disp, rm->mem.disp.value);
		same(b, D_ADDRESS, "disp32", i->disp32, (int32_t)i->disp);
		same(b, D_ADDRESS, "segment", i->seg, ZydisRegisterGetId(rm->mem.segment));
		same(b, D_MEMSIZE, "bytes", i->memsize, rm->size / 8);
		same(b, D_ACCESS, "rm", i->arm, access_of(rm));
	}
	if (rm && rm->type == ZYDIS_OPERAND_TYPE_REGISTER && !i->is_mem) {
		same(b, D_REGS, "rm", i->rm, reg_number(b, rm->reg.value));
		if (vec)
			same(b, D_REGS, "krm", i->krm, kind_of(rm->reg.value));
		if (vec && i->krm == X86_K_GPR)
			same(b, D_OPSIZE, "rmsize", i->rmsize, rm->size / 8);
		if (integer)
			same(b, D_OPSIZE, "rm register", i->srcsize, rm->size / 8);
		if (i->op != X86_OP_X87 || i->krm)
			same(b, D_REGACC, "rm", i->arm, access_of(rm));
	}
	if (reg && reg->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		bool seg = ZydisRegisterGetClass(reg->reg.value) == ZYDIS_REGCLASS_SEGMENT;

		same(b, D_REGS, "reg", seg ? i->sreg : i->reg, reg_number(b, reg->reg.value));
		if (vec)
			same(b, D_REGS, "kreg", i->kreg, kind_of(reg->reg.value));
		if (vec && i->kreg == X86_K_GPR)
			same(b, D_OPSIZE, "regsize", i->regsize, reg->size / 8);
		if (integer && !seg)
			same(b, D_OPSIZE, "reg", i->opsize, reg->size / 8);
		if (vec)
			same(b, D_REGACC, "reg", i->areg, access_of(reg));
	} else if (vec) {
		same(b, D_REGS, "kreg", i->kreg, X86_K_NONE);
	}
	if (vvvv && vvvv->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		same(b, D_REGS, "vvvv", i->vvvv, reg_number(b, vvvv->reg.value));
		if (vec) {
			same(b, D_REGS, "kvex", i->kvex, kind_of(vvvv->reg.value));
			same(b, D_REGACC, "vvvv", i->avex, access_of(vvvv));
		} else {
			same(b, D_OPSIZE, "vvvv", i->opsize, vvvv->size / 8);
		}
	} else if (vec) {
		same(b, D_REGS, "kvex", i->kvex, X86_K_NONE);
	}
	same(b, D_REGS, "is4", (i->attr & X86_A_IS4) != 0, is4 != NULL);
	if (low && low->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		same(b, D_REGS, "opcode register", i->rm, reg_number(b, low->reg.value));
		same(b, D_OPSIZE, "opcode register", i->opsize, low->size / 8);
	}
	for (unsigned k = 0; k < z->operand_count; k++) {
		const ZydisDecodedOperand *o = &b->ops[k];

		bool hidden = o->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;

		if (o->type == ZYDIS_OPERAND_TYPE_REGISTER && o->encoding == ZYDIS_OPERAND_ENCODING_NONE &&
			!hidden && !vec) {
			ZydisRegister r = o->reg.value;

			if (ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_SEGMENT)
				same(b, D_REGS, "sreg", i->sreg, ZydisRegisterGetId(r));
			if (has_accumulator(i->form) && ZydisRegisterGetId(r) == 0)
				same(b, D_OPSIZE, "accumulator", i->opsize, o->size / 8);
		}
		/* the source of string instructions, XLAT, MASKMOV */
		if (o->type == ZYDIS_OPERAND_TYPE_MEMORY && hidden && o->mem.base &&
			o->mem.segment != ZYDIS_REGISTER_ES && o->mem.segment != ZYDIS_REGISTER_SS)
			same(b, D_ADDRESS, "implicit segment", i->seg, ZydisRegisterGetId(o->mem.segment));
	}
	if (integer)
		if (width_matters(i->op))
			same(b, D_OPSIZE, "operand width", i->opsize, z->operand_width / 8);
}

static void compare_imm(const struct both *b)
{
	const struct x86_insn *i = b->i;
	const ZydisDecodedOperand *imm[2] = {0};
	unsigned n = 0;

	for (unsigned k = 0; k < b->z->operand_count; k++)
		if (b->ops[k].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && n < 2 && b->ops[k].encoding)
			imm[n++] = &b->ops[k];
		else if (b->ops[k].type == ZYDIS_OPERAND_TYPE_POINTER) {
			same(b, D_IMM, "offset", i->imm, b->ops[k].ptr.offset);
			same(b, D_IMM, "selector", i->imm2, b->ops[k].ptr.segment);
		}
	if (n > 0) {
		uint64_t mask = imm[0]->size >= 64 ? ~0ull : (1ull << imm[0]->size) - 1;

		if (imm[0]->imm.is_signed)
			same(b, D_IMM, "signed", i->imm, imm[0]->imm.value.s);
		else
			same(b, D_IMM, "unsigned", i->imm & mask, imm[0]->imm.value.u);
	}
	if (n > 1)
		same(b, D_IMM, "second", i->imm2, imm[1]->imm.value.u);
}

static void compare_flags(const struct both *b)
{
	static const ZydisAccessedFlags none;
	const ZydisAccessedFlags *z = b->z->cpu_flags ? b->z->cpu_flags : &none;
	const struct x86_insn *i = b->i;
	const unsigned all = X86_ARITH | X86_DF;
	unsigned undef = z->undefined & all, out = (z->modified | z->set_0 | z->set_1) & all;

	same(b, D_FLAGS_IN, "in", i->fl_in, z->tested & all);
	same(b, D_FLAGS_OUT, "out", i->fl_out, out & ~undef);
	same(b, D_FLAGS_UNDEF, "undef", i->fl_undef, undef);
	assert(!(i->fl_out & i->fl_undef));
}

static void compare_attr(const struct both *b)
{
	const struct x86_insn *i = b->i;
	const ZydisDecodedInstruction *z = b->z;
	ZydisExceptionClass e = z->meta.exception_class;
	bool vec = i->form == X86_F_VEC && i->op != X86_OP_X87, xmm0 = false;
	bool vex = z->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;

	for (unsigned k = 0; k < z->operand_count; k++)
		if (b->ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
			b->ops[k].reg.value == ZYDIS_REGISTER_XMM0 &&
			b->ops[k].encoding == ZYDIS_OPERAND_ENCODING_NONE &&
			access_of(&b->ops[k]) == X86_ACC_R)
			xmm0 = true;
	same(b, D_ATTR, "VEX prefix", !!(i->pfx & (X86_PFX_VEX2 | X86_PFX_VEX3)), vex);
	same(b, D_ATTR, "VEX", !!(i->attr & X86_A_VEX), vex);
	same(b, D_ATTR, "lockable", i->attr & X86_A_LOCKABLE && i->is_mem,
		has(z, ZYDIS_ATTRIB_ACCEPTS_LOCK));
	same(b, D_ATTR, "privileged", !!(i->attr & X86_A_PRIV), has(z, ZYDIS_ATTRIB_IS_PRIVILEGED));
	same(b, D_ATTR, "branch", !!(i->attr & X86_A_BRANCH), z->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE);
	same(b, D_ATTR, "AVX2", !!(i->attr & X86_A_AVX2), z->meta.isa_ext == ZYDIS_ISA_EXT_AVX2 ||
		z->meta.isa_ext == ZYDIS_ISA_EXT_AVX2GATHER);
	same(b, D_ATTR, "XMM0", (i->attr & X86_A_XMM0) != 0, xmm0);
	if (!vec)
		return;
	same(b, D_FP, "A_FP", (i->attr & X86_A_FP) != 0,
		e == ZYDIS_EXCEPTION_CLASS_SSE2 || e == ZYDIS_EXCEPTION_CLASS_SSE3 ||
		e == ZYDIS_EXCEPTION_CLASS_AVX2 || e == ZYDIS_EXCEPTION_CLASS_AVX3 ||
		e == ZYDIS_EXCEPTION_CLASS_AVX11);
	if (!i->is_mem)
		return;
	same(b, D_ALIGN, "A_ALIGN", (i->attr & X86_A_ALIGN) != 0,
		e == ZYDIS_EXCEPTION_CLASS_AVX1 || (i->memsize == 16 && (e == ZYDIS_EXCEPTION_CLASS_SSE1 ||
			e == ZYDIS_EXCEPTION_CLASS_SSE2 || e == ZYDIS_EXCEPTION_CLASS_SSE4)));
}

/* The class: by name, or by what it belongs to. */
static void compare_op(const struct both *b)
{
	const char *ours = x86_op_name(b->i->op), *theirs = ZydisMnemonicGetString(b->z->mnemonic);
	ZydisISAExt e = b->z->meta.isa_ext;
	bool mm = false, ok;

	switch (b->i->op) {
	case X86_OP_VEC:
	case X86_OP_MMX:
		for (unsigned k = 0; k < b->z->operand_count; k++)
			if (b->ops[k].type == ZYDIS_OPERAND_TYPE_REGISTER &&
				kind_of(b->ops[k].reg.value) == X86_K_MM)
				mm = true;
		if (b->z->mnemonic == ZYDIS_MNEMONIC_EMMS)
			mm = true;
		same(b, D_OP, "MMX", b->i->op == X86_OP_MMX, mm);
		ok = e == ZYDIS_ISA_EXT_SSE || e == ZYDIS_ISA_EXT_SSE2 || e == ZYDIS_ISA_EXT_SSE3 ||
			e == ZYDIS_ISA_EXT_SSSE3 || e == ZYDIS_ISA_EXT_SSE4 || e == ZYDIS_ISA_EXT_AVX ||
			e == ZYDIS_ISA_EXT_AVX2 || e == ZYDIS_ISA_EXT_AES || e == ZYDIS_ISA_EXT_AVXAES ||
			e == ZYDIS_ISA_EXT_VAES || e == ZYDIS_ISA_EXT_PCLMULQDQ || e == ZYDIS_ISA_EXT_VPCLMULQDQ ||
			e == ZYDIS_ISA_EXT_SHA || e == ZYDIS_ISA_EXT_FMA || e == ZYDIS_ISA_EXT_F16C ||
			e == ZYDIS_ISA_EXT_MMX;
		same(b, D_OP, "vector extension", 1, ok);
		return;
	case X86_OP_X87:
		same(b, D_OP, "x87", 1, e == ZYDIS_ISA_EXT_X87 || e == ZYDIS_ISA_EXT_SSE3 /* FISTTP */);
		return;
	default:
		ok = same_name(b->i, ours, theirs);
		same(b, D_OP, "name", 1, ok);
	}
}

static int compare(const uint8_t *p, size_t n, enum x86_mode mode)
{
	ZydisDecodedInstruction z;
	ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
	struct x86_insn i;
	struct both b = {p, mode, &i, &z, ops};
	int len;
	bool theirs, ours;

	memset(&z, 0, sizeof(z));
	compared++;
	len = x86_decode(&i, mode, p, n);
	theirs = ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder[mode], p, n, &z, ops));
	if (!theirs)
		z.mnemonic = 0, z.length = 0;
	if (len <= 0) {
		show(&b, D_LENGTH, "no length", len, z.length);
		return 1;
	}
	ours = i.op != X86_OP_UD;
	assert(i.len == len && len <= 15);
	if (theirs && is_hidden(&b)) {
		if (ours)
			show(&b, D_DEFINED, "hidden feature", 1, 0);
		return z.length;
	}
	same(&b, D_DEFINED, "", ours, theirs);
	if (!ours || !theirs)
		return theirs ? z.length : 1;
	both_defined++;
	same(&b, D_LENGTH, "", len, z.length);
	compare_layout(&b);
	compare_operands(&b);
	compare_imm(&b);
	compare_flags(&b);
	compare_attr(&b);
	compare_op(&b);
	return z.length;
}

/* Deterministic filler for displacements and immediates: small, negative and large values. */
static uint8_t filler(void)
{
	static uint32_t s = 0x2545f491;

	s ^= s << 13;
	s ^= s >> 17;
	s ^= s << 5;
	return s >> 9;
}

struct prefix {
	unsigned n;
	uint8_t b[4];
	bool only64;
};
static const struct prefix main_prefixes[] = {
	{0, {0}, 0}, {1, {0x66}, 0}, {1, {0xf2}, 0}, {1, {0xf3}, 0}, {1, {0xf0}, 0}, {1, {0x48}, 1},
};
static const struct prefix more_prefixes[] = {
	{1, {0x67}, 0}, {1, {0x64}, 0}, {1, {0x26}, 0}, {1, {0x2e}, 0}, {1, {0x36}, 0}, {1, {0x3e}, 0},
	{1, {0x65}, 0}, {2, {0x66, 0xf2}, 0}, {2, {0xf3, 0x66}, 0}, {2, {0xf2, 0xf3}, 0},
	{2, {0xf3, 0xf2}, 0}, {2, {0x66, 0x67}, 0}, {2, {0xf0, 0xf2}, 0}, {2, {0x66, 0xf0}, 0},
	{3, {0xf0, 0x67, 0x65}, 0}, {2, {0x64, 0x2e}, 0}, {2, {0x65, 0x64}, 0},
	{1, {0x40}, 1}, {1, {0x41}, 1}, {1, {0x44}, 1}, {1, {0x47}, 1}, {1, {0x4f}, 1}, {2, {0x66, 0x48}, 1},
	{2, {0xf2, 0x48}, 1}, {2, {0xf3, 0x48}, 1}, {2, {0xf3, 0x4f}, 1}, {2, {0x66, 0x4f}, 1},
	{2, {0x48, 0x66}, 1}, {2, {0x67, 0x4d}, 1}, {2, {0xf0, 0x4c}, 1}, {2, {0x4f, 0x40}, 1},
	{3, {0x66, 0xf3, 0x48}, 1}, {3, {0x66, 0xf2, 0x4c}, 1}, {3, {0x64, 0x67, 0x41}, 1},
	{2, {0x41, 0x65}, 1},
};
/* ModRM bytes that show every shape of address, for the less usual prefixes. */
static const uint8_t modrm_rm[] = {0x00, 0x04, 0x05, 0x06, 0x45, 0x84, 0x86, 0xc0, 0xc3, 0xc7};

static void one(enum x86_mode mode, const uint8_t *head, unsigned n, bool sib_sweep)
{
	uint8_t p[16];

	memcpy(p, head, n);
	for (unsigned k = n; k < 16; k++)
		p[k] = filler();
	if (sib_sweep) {
		for (unsigned s = 0; s < 256; s++) {
			p[n] = s;
			compare(p, 15, mode);
		}
		return;
	}
	compare(p, 15, mode);
}

static void sweep_legacy(enum x86_mode mode)
{
	static const uint8_t esc[4][2] = {{0}, {0x0f}, {0x0f, 0x38}, {0x0f, 0x3a}};

	for (unsigned set = 0; set < 2; set++)
	for (unsigned k = 0; k < (set ? LEN(more_prefixes) : LEN(main_prefixes)); k++) {
		const struct prefix *x = set ? &more_prefixes[k] : &main_prefixes[k];

		if (x->only64 && mode != X86_MODE64)
			continue;
		for (unsigned map = 0; map < 4; map++)
		for (unsigned op = 0; op < 256; op++) {
			uint8_t h[16];
			unsigned n = x->n, modrms = set ? 8 * LEN(modrm_rm) : 256;

			memcpy(h, x->b, n);
			memcpy(h + n, esc[map], map > 1 ? 2 : map);
			n += map > 1 ? 2 : map;
			h[n++] = op;
			if (map == 0 && (op == 0x0f || (mode == X86_MODE64 && (op == 0xc4 || op == 0xc5))))
				continue; /* escape: the other maps; VEX: below */
			for (unsigned m = 0; m < modrms; m++) {
				h[n] = set ? modrm_rm[m / 8] | (m % 8) << 3 : m;
				one(mode, h, n + 1, false);
			}
		}
	}
	/* every SIB with every REX and address size */
	for (unsigned rex = mode == X86_MODE64 ? 0x40 : 0; rex <= (mode == X86_MODE64 ? 0x4f : 0); rex++)
	for (unsigned a = 0; a < 2; a++)
	for (unsigned mod = 0; mod < 3; mod++) {
		uint8_t h[8];
		unsigned n = 0;

		if (a)
			h[n++] = 0x67;
		if (rex)
			h[n++] = rex;
		h[n++] = 0x03;
		h[n++] = mod << 6 | 0x0c;
		one(mode, h, n, true);
	}
}

static void sweep_vex(enum x86_mode mode)
{
	static const uint8_t rxb[] = {0xe0, 0x60, 0xc0, 0x00};

	for (unsigned map = 0; map < 5; map++)
	for (unsigned op = 0; op < 256; op++)
	for (unsigned last = 0; last < 256; last++) {
		/* vvvv: all of them for a few, else 15 (unused), 14, 4 */
		unsigned v = last >> 3 & 15;

		if (v != 15 && v != 14 && v != 4 && op % 16)
			continue;
		for (unsigned r = 0; r < LEN(rxb); r++) {
			static const uint8_t few[] = {0x04, 0x0d, 0x45, 0xd1, 0xe6, 0xfb, 0xca, 0x13};

			if (r && (v != 15 || last & 0x80) && mode != X86_MODE32)
				continue;
			for (unsigned m = 0; m < LEN(few); m++) {
				uint8_t h[8] = {0xc4, rxb[r] | map, last, op, few[m]};

				if (v != 15 && m % 2 && op % 16)
					continue;
				one(mode, h, 5, false);
			}
		}
	}
	for (unsigned op = 0; op < 256; op++)
	for (unsigned last = mode == X86_MODE64 ? 0 : 0xc0; last < 256; last++)
	for (unsigned m = 0; m < 256; m += (last & 0x78) == 0x78 ? 5 : 37) {
		uint8_t h[8] = {0xc5, last, op, m};

		one(mode, h, 4, false);
	}
	/* prefixes that are allowed before VEX and those that are not; modes beyond bounds of the maps */
	for (unsigned k = 0; k < LEN(more_prefixes); k++)
	for (unsigned op = 0; op < 256; op++) {
		const struct prefix *x = &more_prefixes[k];
		uint8_t h[16];

		if (x->only64 && mode != X86_MODE64)
			continue;
		memcpy(h, x->b, x->n);
		h[x->n] = 0xc5;
		h[x->n + 1] = 0xf9;
		h[x->n + 2] = op;
		h[x->n + 3] = 0x45;
		one(mode, h, x->n + 4, false);
	}
	for (unsigned map = 5; map < 32; map++) {
		uint8_t h[8] = {0xc4, 0xe0 | map, 0x79, 0x58, 0xc1};

		one(mode, h, 5, false);
	}
	/* gathers: VSIB */
	for (unsigned op = 0x90; op < 0x94; op++)
	for (unsigned w = 0; w < 4; w++)
	for (unsigned m = 0; m < 3; m++) {
		uint8_t h[8] = {0xc4, 0xe2, 0x61 | (w & 1) << 7 | (w & 2) << 1, op, m << 6 | 0x0c};

		one(mode, h, 5, true);
	}
}

static double cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* the machine may be busy */
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Decodes a section again and again, with us and with Zydis, and prints the best speeds. */
static void bench(const uint8_t *p, size_t size)
{
	double best[2] = {0};
	struct x86_insn i;
	ZydisDecodedInstruction z;

	for (unsigned turn = 0; turn < 10; turn++) {
		double start = cpu_time(), speed;
		long insns = 0;

		for (size_t o = 0; o + 15 <= size; insns++) {
			int len;

			if (turn % 2 == 0)
				len = x86_decode(&i, X86_MODE64, p + o, size - o);
			else
				len = ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder[X86_MODE64], NULL,
					p + o, size - o, &z)) ? z.length : 0;
			o += len > 0 ? len : 1;
		}
		speed = insns / (cpu_time() - start) / 1e6;
		if (speed > best[turn % 2])
			best[turn % 2] = speed;
	}
	printf("decode %.1f Minsn/s\nZydisDecoderDecodeInstruction %.1f Minsn/s\n", best[0], best[1]);
}

/* All executable sections of a 64-bit ELF file; for speed, .text alone. */
static int compare_file(const char *name, bool speed)
{
	FILE *f = fopen(name, "rb");
	const Elf64_Shdr *names;
	Elf64_Ehdr *e;
	uint8_t *d;
	long size, insns = 0;

	if (!f || fseek(f, 0, SEEK_END) || (size = ftell(f)) < (long)sizeof(*e)) {
		perror(name);
		return 1;
	}
	rewind(f);
	d = malloc(size);
	assert(d && fread(d, 1, size, f) == (size_t)size);
	fclose(f);
	e = (Elf64_Ehdr *)d;
	assert(!memcmp(d, ELFMAG, SELFMAG) && e->e_machine == EM_X86_64);
	names = (const Elf64_Shdr *)(d + e->e_shoff) + e->e_shstrndx;
	for (unsigned k = 0; k < e->e_shnum; k++) {
		const Elf64_Shdr *s = (const Elf64_Shdr *)(d + e->e_shoff) + k;
		const uint8_t *p = d + s->sh_offset;

		if (!(s->sh_flags & SHF_EXECINSTR) || s->sh_type != SHT_PROGBITS)
			continue;
		assert(s->sh_offset + s->sh_size <= (unsigned long)size);
		if (!speed)
			for (size_t o = 0; o + 15 <= s->sh_size; insns++)
				o += compare(p + o, s->sh_size - o, X86_MODE64);
		else if (!strcmp((char *)d + names->sh_offset + s->sh_name, ".text"))
			bench(p, s->sh_size);
	}
	if (!speed)
		printf("%s: %ld instructions\n", name, insns);
	free(d);
	return 0;
}

/* The host's libc, and a kernel (vmlinux, an ELF file) if HUSK_KERNEL names one. */
static int compare_code(void)
{
	char line[1024], path[512] = "";
	FILE *f = fopen("/proc/self/maps", "r");
	const char *kernel = getenv("HUSK_KERNEL");

	assert(f);
	while (!path[0] && fgets(line, sizeof(line), f))
		if (strstr(line, "/libc.so") || strstr(line, "/libc-"))
			sscanf(line, "%*s %*s %*s %*s %*s %511s", path);
	fclose(f);
	if (path[0] && compare_file(path, false))
		return 1;
	if (!kernel)
		printf("HUSK_KERNEL is not set: no kernel compared\n");
	else if (compare_file(kernel, false))
		return 1;
	if (!both_defined)
		return 77;
	return 0;
}

int main(int argc, char **argv)
{
	static const ZydisMachineMode machine[] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32,
		ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth width[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
		ZYDIS_STACK_WIDTH_64};

	for (unsigned m = 0; m < 3; m++) {
		assert(ZYAN_SUCCESS(ZydisDecoderInit(&decoder[m], machine[m], width[m])));
		/* hidden: their opcodes are hint NOPs then */
		assert(ZYAN_SUCCESS(ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_MPX, 0)));
		assert(ZYAN_SUCCESS(ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_CET, 0)));
		assert(ZYAN_SUCCESS(ZydisDecoderEnableMode(&decoder[m], ZYDIS_DECODER_MODE_CLDEMOTE, 0)));
	}
	if (argc > 1 && !strcmp(argv[1], "--code")) {
		int r = compare_code();

		if (r)
			return r;
	} else if (argc > 2 && !strcmp(argv[1], "--bench")) {
		return compare_file(argv[2], true);
	} else if (argc > 1) {
		for (int k = 1; k < argc; k++)
			if (compare_file(argv[k], false))
				return 1;
	} else {
		for (enum x86_mode m = X86_MODE16; m <= X86_MODE64; m++) {
			sweep_legacy(m);
			sweep_vex(m);
		}
		differences += unused_lines();
	}
	printf("%lu compared, %lu defined, %lu differences\n", compared, both_defined, differences);
	return differences != 0;
}
