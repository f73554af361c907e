/* SPDX-License-Identifier: MIT */
/* The byte emitter: SDM Vol. 2, chapter 2. */
#include "engine/bt/emit.h"

void emit_modrm(struct emit *e, unsigned reg, const struct mem_op *m)
{
	unsigned r = (reg & 7) << 3, mod;

	if (m->base < 0) {
		/* SIB without base: disp32 follows. ModRM 05 would be RIP-relative. */
		e8(e, r | 4);
		e8(e, (unsigned)m->scale << 6 | (m->index < 0 ? 4u : (unsigned)m->index & 7u) << 3 | 5);
		e32(e, (uint32_t)m->disp);
		return;
	}
	mod = m->disp == 0 && (m->base & 7) != RBP ? 0 : m->disp == (int8_t)m->disp ? 0x40 : 0x80;
	if (m->index >= 0 || (m->base & 7) == RSP) {
		e8(e, mod | r | 4);
		e8(e, (unsigned)m->scale << 6 | (m->index < 0 ? 4u : (unsigned)m->index & 7u) << 3 |
			((unsigned)m->base & 7u));
	} else {
		e8(e, mod | r | ((unsigned)m->base & 7u));
	}
	if (mod == 0x40)
		e8(e, (uint8_t)m->disp);
	else if (mod == 0x80)
		e32(e, (uint32_t)m->disp);
}

static void opcode_bytes(struct emit *e, unsigned opcode)
{
	if (opcode >> 8)
		e8(e, opcode >> 8);
	e8(e, opcode & 0xff);
}

void emit_op_m(struct emit *e, bool wide, unsigned opcode, unsigned reg, const struct mem_op *m)
{
	unsigned rex = (wide ? 8u : 0u) | (reg >> 3 & 1) << 2 |
		       (m->index >= 8 ? 2u : 0u) | (m->base >= 8 ? 1u : 0u);

	if (m->gs)
		e8(e, 0x65);
	if (rex)
		e8(e, 0x40 | rex);
	opcode_bytes(e, opcode);
	emit_modrm(e, reg, m);
}

void emit_op_r(struct emit *e, bool wide, unsigned opcode, unsigned reg, unsigned rm)
{
	unsigned rex = (wide ? 8u : 0u) | (reg >> 3 & 1) << 2 | (rm >> 3 & 1);

	if (rex)
		e8(e, 0x40 | rex);
	opcode_bytes(e, opcode);
	e8(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}

void emit_op_gs(struct emit *e, bool wide, unsigned opcode, unsigned reg, size_t off)
{
	const struct mem_op m = {.base = -1, .index = -1, .gs = true, .disp = (int32_t)off};

	emit_op_m(e, wide, opcode, reg, &m);
}

void emit_op_gs8(struct emit *e, bool wide, unsigned opcode, unsigned reg, unsigned index, size_t off)
{
	const struct mem_op m = {
		.base = -1, .index = (int8_t)index, .scale = 3, .gs = true, .disp = (int32_t)off};

	emit_op_m(e, wide, opcode, reg, &m);
}

void emit_imm(struct emit *e, unsigned reg, uint64_t v)
{
	if (v == (uint32_t)v) {
		if (reg >= 8)
			e8(e, 0x41);
		e8(e, 0xb8 | (reg & 7));
		e32(e, (uint32_t)v);
	} else if ((uint64_t)(int32_t)v == v) {
		e8(e, reg >= 8 ? 0x49 : 0x48);
		e8(e, 0xc7);
		e8(e, 0xc0 | (reg & 7));
		e32(e, (uint32_t)v);
	} else {
		e8(e, reg >= 8 ? 0x49 : 0x48);
		e8(e, 0xb8 | (reg & 7));
		e64(e, v);
	}
}

void emit_align4(struct emit *e, unsigned ahead)
{
	unsigned n = -(unsigned)((uintptr_t)e->p + ahead) & 3;

	if (n == 1)
		e8(e, 0x90);
	else if (n == 2)
		E(e, 0x66, 0x90);
	else if (n == 3)
		E(e, 0x0f, 0x1f, 0x00);
}

uint8_t *emit_jmp(struct emit *e)
{
	e8(e, 0xe9);
	e32(e, 0);
	return e->p - 4;
}

uint8_t *emit_jcc(struct emit *e, unsigned cc)
{
	e8(e, 0x0f);
	e8(e, 0x80 | cc);
	e32(e, 0);
	return e->p - 4;
}

void emit_fix_to(uint8_t *rel, const uint8_t *target)
{
	int32_t d = (int32_t)(target - (rel + 4));

	/* one store: other CPUs may be executing this */
	__atomic_store_n((int32_t *)(void *)rel, d, __ATOMIC_RELEASE);
}

void emit_jmp_to(struct emit *e, const uint8_t *target)
{
	uint8_t *rel = emit_jmp(e);

	if (!e->full)
		emit_fix_to(rel, target);
}
