/* SPDX-License-Identifier: MIT */
/*
 * Writes x86-64 machine code. The buffer is the writable mapping of the code cache; addresses in the code are
 * of the executable mapping, rx bytes further. Nothing is written behind end: the caller looks at
 * emit_full() when it is done.
 */
#ifndef ENGINE_BT_EMIT_H
#define ENGINE_BT_EMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

struct emit {
	uint8_t *p, *end;
	bool full;
};

/* A host memory operand: [base + index << scale + disp], or gs: of it. -1: none. */
struct mem_op {
	int8_t base, index;
	uint8_t scale;
	bool gs;
	int32_t disp;
};

static inline void e8(struct emit *e, unsigned v)
{
	if (e->p < e->end)
		*e->p++ = (uint8_t)v;
	else
		e->full = true;
}

static inline void e32(struct emit *e, uint32_t v)
{
	if (e->end - e->p >= 4) {
		memcpy(e->p, &v, 4);
		e->p += 4;
	} else {
		e->full = true;
	}
}

static inline void e64(struct emit *e, uint64_t v)
{
	e32(e, (uint32_t)v);
	e32(e, (uint32_t)(v >> 32));
}

static inline void ebytes(struct emit *e, const void *p, size_t n)
{
	if ((size_t)(e->end - e->p) >= n) {
		memcpy(e->p, p, n);
		e->p += n;
	} else {
		e->full = true;
	}
}

#define E(e, ...) ebytes(e, (const uint8_t[]){__VA_ARGS__}, sizeof(uint8_t[]){__VA_ARGS__})

/* ModRM, SIB and displacement for register field reg (its low three bits). */
void emit_modrm(struct emit *e, unsigned reg, const struct mem_op *m);
/* One-byte opcode (or 0F xx as 0x0fxx) with operands reg and a memory operand. */
void emit_op_m(struct emit *e, bool wide, unsigned opcode, unsigned reg, const struct mem_op *m);
/* ... and rm a register */
void emit_op_r(struct emit *e, bool wide, unsigned opcode, unsigned reg, unsigned rm);
/* reg and gs:[off] */
void emit_op_gs(struct emit *e, bool wide, unsigned opcode, unsigned reg, size_t off);
/* reg and gs:[index * 8 + off] */
void emit_op_gs8(struct emit *e, bool wide, unsigned opcode, unsigned reg, unsigned index, size_t off);
/* Shortest MOV of a constant; flags stay. */
void emit_imm(struct emit *e, unsigned reg, uint64_t v);
/* NOPs until the byte at p + ahead is aligned to 4. */
void emit_align4(struct emit *e, unsigned ahead);

/* JMP rel32, Jcc rel32 (cc 0-15): the address of the displacement, for emit_fix(). */
uint8_t *emit_jmp(struct emit *e);
uint8_t *emit_jcc(struct emit *e, unsigned cc);
/* Lets the displacement at rel lead to here, or to target. Both in the writable mapping. */
void emit_fix_to(uint8_t *rel, const uint8_t *target);
static inline void emit_fix(struct emit *e, uint8_t *rel)
{
	if (!e->full)
		emit_fix_to(rel, e->p);
}
void emit_jmp_to(struct emit *e, const uint8_t *target);

#define OP_MOV_STORE 0x89
#define OP_MOV_LOAD  0x8b
#define OP_LEA       0x8d
#define OP_CMP       0x3b /* reg, rm */
enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

#endif
