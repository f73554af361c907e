/* SPDX-License-Identifier: MIT */
/*
 * Vector instructions that touch memory element by element: gathers, VMASKMOVPS/PD, VPMASKMOVD/Q,
 * MASKMOVDQU and MASKMOVQ. An access may end in a page fault, after which the instruction is started
 * again; so nothing but what the manual lets show is changed before the last access.
 */
#include <string.h>

#include "base/util.h"
#include "engine/interp/vec-int.h"

static uint64_t offset_cut(const struct x86_insn *i, uint64_t off)
{
	return i->adsize == 8 ? off : i->adsize == 4 ? (uint32_t)off : (uint16_t)off;
}

/* The effective address without an index. */
static uint64_t address_base(const struct x86_insn *i, const struct x86_state *s)
{
	uint64_t off = (uint64_t)i->disp;

	if (i->base == X86_BASE_RIP)
		off += s->rip + i->len;
	else if (i->base >= 0)
		off += s->gpr[i->base];
	return off;
}

static uint64_t address(const struct x86_insn *i, const struct x86_state *s)
{
	uint64_t off = address_base(i, s);

	if (i->index >= 0)
		off += s->gpr[i->index] << i->scale;
	return offset_cut(i, off);
}

/* Is the sign bit of the element at p set? */
static bool element_masked_in(const uint8_t *p, unsigned size)
{
	return p[size - 1] & 0x80;
}

static int gather(const struct x86_insn *i, struct x86_state *s, const struct vec_mem *mem)
{
	unsigned size = i->vexw ? 8 : 4, isize = i->opcode & 1 ? 8 : 4;
	unsigned n = (i->vl ? 32 : 16) / (size > isize ? size : isize);
	uint64_t base = address_base(i, s);
	uint8_t *dst, *mask, *index;

	if (i->map != 2 || (i->opcode & 0xfc) != 0x90 || i->index < 0)
		return -1;
	if (i->reg == i->vvvv || i->reg == i->index || i->vvvv == i->index)
		return -1;
	dst = s->fpu.ymm[i->reg & 15];
	mask = s->fpu.ymm[i->vvvv & 15];
	index = s->fpu.ymm[i->index & 15];
	for (unsigned k = 0; k < n; k++) {
		uint64_t off;

		if (!element_masked_in(mask + k * size, size))
			continue;
		off = isize == 8 ? get_u64(index + k * 8) : (uint64_t)(int32_t)get_u32(index + k * 4);
		mem->read(mem->arg, offset_cut(i, base + (off << i->scale)), dst + k * size, size);
		memset(mask + k * size, 0, size);
	}
	memset(mask, 0, 32);
	memset(dst + n * size, 0, 32 - n * size);
	return 0;
}

/* 2C-2F: VMASKMOVPS/PD, the second two are stores. 8C, 8E: VPMASKMOVD/Q by VEX.W. */
static int vmaskmov(const struct x86_insn *i, struct x86_state *s, const struct vec_mem *mem)
{
	unsigned size, n;
	uint64_t off = address(i, s);
	const uint8_t *mask = s->fpu.ymm[i->vvvv & 15];
	uint8_t *reg = s->fpu.ymm[i->reg & 15], tmp[32] = {0};
	bool store;

	if (i->map != 2 || !i->is_mem)
		return -1;
	switch (i->opcode) {
	case 0x2c: case 0x2d: case 0x2e: case 0x2f:
		size = i->opcode & 1 ? 8 : 4;
		store = i->opcode >= 0x2e;
		break;
	case 0x8c: case 0x8e:
		size = i->vexw ? 8 : 4;
		store = i->opcode == 0x8e;
		break;
	default:
		return -1;
	}
	n = (i->vl ? 32 : 16) / size;
	for (unsigned k = 0; k < n; k++) {
		uint64_t at = offset_cut(i, off + k * size);

		if (!element_masked_in(mask + k * size, size))
			continue;
		if (store)
			mem->write(mem->arg, at, reg + k * size, size);
		else
			mem->read(mem->arg, at, tmp + k * size, size);
	}
	if (!store)
		memcpy(reg, tmp, 32);
	return 0;
}

/* MASKMOVQ with MM registers, (V)MASKMOVDQU with XMM; always to (E/R)DI. */
static int maskmov(const struct x86_insn *i, struct x86_state *s, const struct vec_mem *mem)
{
	bool mmx = i->kreg == X86_K_MM;
	unsigned n = mmx ? 8 : 16;
	uint8_t src[16], mask[16];

	if (i->map != 1 || i->opcode != 0xf7 || i->is_mem)
		return -1;
	if (mmx) {
		if (s->fpu.fsw & ~s->fpu.fcw & 0x3f)
			return X86_MF;
		memcpy(src, vec_mmx_reg(&s->fpu, i->reg & 7), 8);
		memcpy(mask, vec_mmx_reg(&s->fpu, i->rm & 7), 8);
	} else {
		memcpy(src, s->fpu.ymm[i->reg & 15], 16);
		memcpy(mask, s->fpu.ymm[i->rm & 15], 16);
	}
	for (unsigned k = 0; k < n; k++)
		if (mask[k] & 0x80)
			mem->write(mem->arg, offset_cut(i, s->gpr[X86_RDI] + k), src + k, 1);
	if (mmx)
		vec_mmx_enter(&s->fpu);
	return 0;
}

int vec_run_elements(struct vec *v, const struct x86_insn *insn, struct x86_state *s,
	const struct vec_mem *mem)
{
	(void)v;
	switch (insn->op) {
	case X86_OP_GATHER:
		return gather(insn, s, mem);
	case X86_OP_VMASKMOV:
		return vmaskmov(insn, s, mem);
	case X86_OP_MASKMOV:
		return maskmov(insn, s, mem);
	}
	return -1;
}
