/* SPDX-License-Identifier: MIT */
/*
 * The form of the decoder's table: rows (decode_table.c) and what decode.c makes of them.
 */
#ifndef X86_DECODE_INT_H
#define X86_DECODE_INT_H

#include <stdint.h>

#include "x86/decode.h"

/* How to go on from a row: it is the instruction, or an array of rows indexed by ... */
enum {
	PICK_DONE,
	PICK_PP,   /* mandatory prefix: none, 66, F3, F2 */
	PICK_MOD,  /* ModRM: memory, register */
	PICK_REG,  /* ModRM.reg */
	PICK_RM,   /* ModRM.rm */
	PICK_MODE, /* 16 and 32-bit modes, 64-bit mode */
	PICK_VEX,  /* legacy, VEX */
	PICK_W,    /* VEX.W */
	PICK_NOP,  /* opcode 90: exchange (REX.B), NOP, PAUSE */
};

/* Operand size. The columns are in opsize_of[] (decode.c). */
enum {
	SZ_SAME, /* not given: srcsize as size, size 4 */
	SZ_B, /* 1 */
	SZ_W, /* 2 */
	SZ_D, /* 4 */
	SZ_Q, /* 8 */
	SZ_V, /* 2, 4 or 8: mode, 66, REX.W */
	SZ_Z, /* as V, but never 8 */
	SZ_Y, /* 4, or 8 by REX.W or VEX.W in 64-bit mode; 66 does not count */
	SZ_M, /* 8 in 64-bit mode, else 4: control and debug registers */
	SZ_S, /* stack: as V, but 8 by default in 64-bit mode (there is no 4) */
	SZ_N, /* near branch: as V, but always 8 in 64-bit mode (Intel; AMD honours 66) */
	SZ_COUNT,
};

/* Immediate. */
enum {
	IMM_NONE,
	IMM_S8,    /* a byte, sign-extended */
	IMM_U8,    /* a byte, zero-extended */
	IMM_U16,   /* RET */
	IMM_Z,     /* 2 or 4 bytes by operand size, sign-extended to 8 */
	IMM_V,     /* 1, 2, 4 or 8 by operand size: MOV r, imm */
	IMM_PTR,   /* offset by operand size, then a selector */
	IMM_ENTER, /* 16 bits, then 8 */
	IMM_MOFFS, /* an address, by address size; goes to disp */
};

/* Memory size: below 0x80 in bytes (0: that of the operation), else one of these. */
enum {
	MS_FULL = 0x80, /* vector: 16 or 32 by VEX.L, and fractions of it */
	MS_HALF,
	MS_QUARTER,
	MS_EIGHTH,
	MS_NONE, /* no size fit to tell: address only (LEA, INVLPG), or an area (FXSAVE, XSAVE) */
	MS_DDUP, /* 8, with VEX.L 32: MOVDDUP */
	MS_Y,    /* operand size of a GPR form in memory */
	MS_ELEM, /* 4, with VEX.W 8: gathers */
	MS_FAR,  /* offset and selector */
	MS_PAIR, /* twice the operand size */
	MS_DTR,  /* limit and base of a descriptor table */
	MS_ENV,  /* x87 environment: 28 or 14 */
	MS_SAVE, /* x87 state: 108 or 94 */
};

/* When the row holds; anything else is undefined. */
enum {
	ONLY_LEGACY = 1 << 0, /* not in 64-bit mode */
	ONLY_64 = 1 << 1,
	ONLY_MEM = 1 << 2,
	ONLY_REG = 1 << 3,
	VEX_OK = 1 << 4,      /* also in VEX form */
	VEX_ONLY = 1 << 5,
	VEX_L0 = 1 << 6,      /* VEX.L must be 0 */
	VEX_L1 = 1 << 7,      /* ... 1 */
	VEX_LIG = 1 << 8,     /* VEX.L is ignored: scalars */
	VEX_W0 = 1 << 9,
	VEX_W1 = 1 << 10,
	CR_REG = 1 << 11,     /* ModRM.reg is a control register: there are 0, 2, 3, 4, 8 */
	DR_REG = 1 << 12,     /* ... a debug register: 0 to 7 */
	/* and properties */
	AVX2_256 = 1 << 13,   /* X86_A_AVX2 when 256 bits wide */
	AVX2_ALL = 1 << 14,
	UNALIGNED = 1 << 15,  /* legacy 16-byte memory operand may be anywhere */
	ALIGNED = 1 << 16,    /* VEX memory operand must be aligned */
	NO_MOD = 1 << 17,     /* ModRM.mod counts as 3 whatever it is: MOV CR, MOV DR */
	SREG_REG = 1 << 18,   /* segment register number in ModRM.reg */
	SREG_OP = 1 << 19,    /* ... in opcode bits 5:3 */
	CC = 1 << 20,         /* condition in opcode bits 3:0 */
	BY_COUNT = 1 << 21,   /* flags depend on a shift count: see shift_flags() */
	REP_FLAGS = 1 << 22,  /* with REP flags may stay as they were */
};

/* What it does to the flags: index of x86_flags_of[]. */
enum {
	FL_NONE, FL_ALL, FL_ADC, FL_LOGIC, FL_INC, FL_ROT, FL_RCX, FL_SHIFT, FL_SHXD, FL_MUL, FL_DIV,
	FL_BT, FL_BSF, FL_TZCNT, FL_ANDN, FL_BEXTR, FL_BLS, FL_C, FL_IN_C, FL_C_C, FL_O_O, FL_IN_O,
	FL_Z, FL_IN_Z, FL_AAA, FL_DAA, FL_AAM, FL_SAHF, FL_LAHF, FL_PUSHF, FL_POPF, FL_IN_DF, FL_CMPS,
	FL_DF, FL_SYSCALL, FL_FCOMI, FL_IN_BE, FL_IN_P,
	FL_COUNT_,
};

struct x86_flags {
	uint16_t in, out, undef;
};

/* Operands of the vector instructions: index of x86_shape_of[]. */
struct x86_shape {
	uint8_t kreg, areg, kvex, avex, krm, arm;
};

/*
 * Letters as in SDM Vol. 2 A.2: V xmm in reg, W xmm or memory in rm, H xmm in vvvv, G gpr in reg, E gpr
 * or memory in rm, P mm in reg, Q mm or memory in rm, M memory. The destination comes first, A is one
 * that is read, too, R stands for none. "H" is in the VEX form only: the legacy form reads its
 * destination instead.
 */
enum {
	SH_NONE,
	SH_VW, SH_VHW, SH_WV, SH_WHV, SH_RVW, SH_AHW,
	SH_GW, SH_VE, SH_VHE, SH_EV, SH_EG, SH_HW /* destination H, or W itself */, SH_AHx /* gathers */,
	SH_MHV /* masked store */,
	SH_PQ, SH_AQ, SH_QP, SH_PE, SH_AE, SH_EP, SH_GQ, SH_PW, SH_VQ, SH_VAQ, SH_RPQ, SH_Q,
	SH_M, SH_TOM, SH_TOAX, /* x87: memory read, written; FNSTSW AX */
	SH_COUNT,
};

struct row {
	uint8_t pick;
	uint8_t op, form;
	uint8_t size, srcsize; /* SZ_*; 0: as size */
	uint8_t imm, msize, flags, shape, arm;
	uint16_t attr;
	uint32_t rule;
	const struct row *sub;
};

extern const struct row x86_map[4][256]; /* one-byte, 0F, 0F 38, 0F 3A */
extern const struct x86_flags x86_flags_of[FL_COUNT_];
extern const struct x86_shape x86_shape_of[SH_COUNT][2]; /* legacy, VEX */

#endif
