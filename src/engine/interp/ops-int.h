/* SPDX-License-Identifier: MIT */
/* What the files with instruction functions share; op_bind() in ops.c knows them all. */
#ifndef ENGINE_INTERP_OPS_INT_H
#define ENGINE_INTERP_OPS_INT_H

#include "engine/interp/interp-int.h"

#define OP(name)  const struct iop *name(struct engine_cpu *c, const struct iop *op)
#define SOP(name) static OP(name)

/* Registers of the iop by size */
#define RD(bits) (*(any_u##bits *)(void *)reg8(c, op->dst)).v
#define RS(bits) (*(any_u##bits *)(void *)reg8(c, op->src)).v
/* 32-bit results clear the upper half */
#define SET_DST(bits, val)                                                                         \
	do {                                                                                       \
		uint##bits##_t set_v = (uint##bits##_t)(val);                                      \
		if ((bits) == 32)                                                                  \
			(*(any_u64 *)(void *)reg8(c, op->dst)).v = set_v;                          \
		else                                                                               \
			RD(bits) = set_v;                                                          \
	} while (0)

/* flow.c */
extern iop_fn *const jcc64[16]; /* Jcc by condition, 64-bit mode */
iop_fn op_end, op_jmp, op_jcc, op_loop, op_call64, op_ret64, op_call, op_ret, op_jmpind,
	op_callind, op_push64, op_pop64, op_push, op_pop, op_pusha, op_popa, op_enter, op_leave;

/* arith.c */
iop_fn op_shift, op_shld, op_mul1, op_imul2, op_div, op_xchg, op_xadd, op_cmpxchg, op_cmpxchg8b,
	op_bswap, op_movbe, op_bt, op_bsf, op_adcx, op_crc32, op_bmi, op_setcc, op_cbw, op_cwd, op_xlat,
	op_lahf, op_sahf, op_salc, op_flag, op_daa, op_aaa, op_aam, op_ud, op_movnti, op_shl_ri32,
	op_shl_ri64, op_shr_ri32, op_shr_ri64, op_sar_ri32, op_sar_ri64, op_tzcnt, op_lzcnt, op_popcnt;

/* vecops.c */
iop_fn op_vec, op_vec_load16, op_vec_store16, op_vec_elements;

#endif
