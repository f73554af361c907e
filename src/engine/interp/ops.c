/* SPDX-License-Identifier: MIT */
/*
 * Moves and the arithmetic of one and two operands, made by macros per operand size and shape, and op_bind(), which
 * chooses the C function of every instruction. What has no function made to measure gets a generic one that looks at
 * struct x86_insn again (flow.c, arith.c, string.c, vecops.c, seg.c, sys.c).
 *
 * A function goes on by op_next(), or ends the block by op_goto(). Memory is accessed before registers are
 * written, so that faults are precise.
 */
#include "engine/interp/alu.h"
#include "engine/interp/ops-int.h"

/* ---- operands ---- */

uint64_t rm_get(struct engine_cpu *c, const struct iop *op, unsigned size)
{
	if (!op->insn->is_mem)
		return reg_get(c, op->dst, size);
	return load(c, op, op_lin(c, op, size, false), size);
}

void rm_put(struct engine_cpu *c, const struct iop *op, unsigned size, uint64_t v)
{
	if (!op->insn->is_mem)
		reg_put(c, op->dst, size, v);
	else
		store(c, op, op_lin(c, op, size, true), size, v);
}

/* ---- moves, loads, stores ---- */

#define MOVES(bits)                                                                                \
	SOP(op_mov_rr##bits)                                                                       \
	{                                                                                          \
		SET_DST(bits, RS(bits));                                                           \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_ri##bits)                                                                       \
	{                                                                                          \
		SET_DST(bits, op->imm);                                                            \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_rm##bits)                                                                       \
	{                                                                                          \
		SET_DST(bits, mem_ld##bits(c, op, op_lin(c, op, bits / 8, false)));                \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_mr##bits)                                                                       \
	{                                                                                          \
		mem_st##bits(c, op, op_lin(c, op, bits / 8, true), RS(bits));                      \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_mov_mi##bits)                                                                       \
	{                                                                                          \
		mem_st##bits(c, op, op_lin(c, op, bits / 8, true), (uint##bits##_t)op->imm);       \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_cmov_rr##bits)                                                                      \
	{                                                                                          \
		uint##bits##_t v = RS(bits);                                                       \
		SET_DST(bits, cond(c->fl, op->cc) ? v : RD(bits));                                 \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_cmov_rm##bits)                                                                      \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		SET_DST(bits, cond(c->fl, op->cc) ? v : RD(bits));                                 \
		return op_next(c, op);                                                                     \
	}
MOVES(8)
MOVES(16)
MOVES(32)
MOVES(64)
#define BY_SIZE(t) {t##8, t##16, t##32, t##64}
static iop_fn *const mov_rr[4] = BY_SIZE(op_mov_rr), *const mov_ri[4] = BY_SIZE(op_mov_ri),
		     *const mov_rm[4] = BY_SIZE(op_mov_rm), *const mov_mr[4] = BY_SIZE(op_mov_mr),
		     *const mov_mi[4] = BY_SIZE(op_mov_mi), *const cmov_rr[4] = BY_SIZE(op_cmov_rr),
		     *const cmov_rm[4] = BY_SIZE(op_cmov_rm);

/* MOVZX, MOVSX by destination and source size */
#define EXTEND(dbits, sbits)                                                                       \
	SOP(op_movzx_rr##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, RS(sbits));                                                         \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_movzx_rm##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, mem_ld##sbits(c, op, op_lin(c, op, sbits / 8, false)));             \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_movsx_rr##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, (int##sbits##_t)RS(sbits));                                         \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_movsx_rm##dbits##_##sbits)                                                          \
	{                                                                                          \
		SET_DST(dbits, (int##sbits##_t)mem_ld##sbits(c, op, op_lin(c, op, sbits / 8, false))); \
		return op_next(c, op);                                                                     \
	}
EXTEND(16, 8)
EXTEND(16, 16)
EXTEND(32, 8)
EXTEND(32, 16)
EXTEND(32, 32)
EXTEND(64, 8)
EXTEND(64, 16)
EXTEND(64, 32)
#define EXT_ROW(k)                                                                                 \
	{{k##16_8, k##16_16, NULL}, {k##32_8, k##32_16, k##32_32}, {k##64_8, k##64_16, k##64_32}}
static iop_fn *const movzx_rr[3][3] = EXT_ROW(op_movzx_rr), *const movzx_rm[3][3] = EXT_ROW(op_movzx_rm),
		     *const movsx_rr[3][3] = EXT_ROW(op_movsx_rr),
		     *const movsx_rm[3][3] = EXT_ROW(op_movsx_rm);

SOP(op_lea16)
{
	SET_DST(16, op_off(c, op));
	return op_next(c, op);
}
SOP(op_lea32)
{
	SET_DST(32, op_off(c, op));
	return op_next(c, op);
}
SOP(op_lea64)
{
	SET_DST(64, op_off(c, op));
	return op_next(c, op);
}

SOP(op_nop)
{
	return op_next(c, op);
}

SOP(op_pause)
{
	__builtin_ia32_pause();
	return op_goto(c, op_next_rip(c, op));
}
/* ---- the eight of group 1, and TEST ---- */

#define ALU_FORMS(name, fn, bits)                                                                  \
	SOP(op_##name##_rr##bits)                                                                  \
	{                                                                                          \
		SET_DST(bits, fn##bits(RD(bits), RS(bits), &c->fl));                               \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_ri##bits)                                                                  \
	{                                                                                          \
		SET_DST(bits, fn##bits(RD(bits), (uint##bits##_t)op->imm, &c->fl));                \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_rm##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		SET_DST(bits, fn##bits(RD(bits), v, &c->fl));                                      \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mr##bits)                                                                  \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = fn##bits(p->v, RS(bits), &c->fl);                                           \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mi##bits)                                                                  \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = fn##bits(p->v, (uint##bits##_t)op->imm, &c->fl);                            \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_lr##bits)                                                                  \
	{                                                                                          \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_##name##bits(p, RS(bits), &c->fl);                                        \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_li##bits)                                                                  \
	{                                                                                          \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_##name##bits(p, (uint##bits##_t)op->imm, &c->fl);                         \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}
/* CMP and TEST: no result */
#define CMP_FORMS(name, fn, bits)                                                                  \
	SOP(op_##name##_rr##bits)                                                                  \
	{                                                                                          \
		fn##bits(RD(bits), RS(bits), &c->fl);                                              \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_ri##bits)                                                                  \
	{                                                                                          \
		fn##bits(RD(bits), (uint##bits##_t)op->imm, &c->fl);                               \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_rm##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		fn##bits(RD(bits), v, &c->fl);                                                     \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mr##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		fn##bits(v, RS(bits), &c->fl);                                                     \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_mi##bits)                                                                  \
	{                                                                                          \
		uint##bits##_t v = mem_ld##bits(c, op, op_lin(c, op, bits / 8, false));            \
		fn##bits(v, (uint##bits##_t)op->imm, &c->fl);                                      \
		return op_next(c, op);                                                                     \
	}
#define FOUR(m, name, fn) m(name, fn, 8) m(name, fn, 16) m(name, fn, 32) m(name, fn, 64)
FOUR(ALU_FORMS, add, alu_add)
FOUR(ALU_FORMS, or, alu_or)
FOUR(ALU_FORMS, adc, alu_adc)
FOUR(ALU_FORMS, sbb, alu_sbb)
FOUR(ALU_FORMS, and, alu_and)
FOUR(ALU_FORMS, sub, alu_sub)
FOUR(ALU_FORMS, xor, alu_xor)
FOUR(CMP_FORMS, cmp, alu_sub)
FOUR(CMP_FORMS, test, alu_and)

enum { SH_RR, SH_RI, SH_RM, SH_MR, SH_MI, SH_LR, SH_LI, SH_COUNT };
#define ALU_ROW(n)                                                                                 \
	{BY_SIZE(op_##n##_rr), BY_SIZE(op_##n##_ri), BY_SIZE(op_##n##_rm), BY_SIZE(op_##n##_mr),   \
		BY_SIZE(op_##n##_mi), BY_SIZE(op_##n##_lr), BY_SIZE(op_##n##_li)}
#define CMP_ROW(n)                                                                                 \
	{BY_SIZE(op_##n##_rr), BY_SIZE(op_##n##_ri), BY_SIZE(op_##n##_rm), BY_SIZE(op_##n##_mr),   \
		BY_SIZE(op_##n##_mi)}
static iop_fn *const alu_fns[9][SH_COUNT][4] = {ALU_ROW(add), ALU_ROW(or), ALU_ROW(adc), ALU_ROW(sbb),
	ALU_ROW(and), ALU_ROW(sub), ALU_ROW(xor), CMP_ROW(cmp), CMP_ROW(test)};
/* ---- one operand ---- */

#define UNARY(name, bits)                                                                          \
	SOP(op_##name##_r##bits)                                                                   \
	{                                                                                          \
		SET_DST(bits, alu_##name##bits(RD(bits), &c->fl));                                 \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_m##bits)                                                                   \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = alu_##name##bits(p->v, &c->fl);                                             \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_##name##_l##bits)                                                                   \
	{                                                                                          \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_##name##bits(p, &c->fl);                                                  \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}
/* NOT leaves the flags alone; the LOCK form's flag word is simply written back as it was */
#define alu_not_def(bits)                                                                          \
	static inline uint##bits##_t alu_not##bits(uint##bits##_t a, uint32_t *fl)                 \
	{                                                                                          \
		(void)fl;                                                                          \
		return (uint##bits##_t)~a;                                                         \
	}
alu_not_def(8)
alu_not_def(16)
alu_not_def(32)
alu_not_def(64)
#define FOUR1(name) UNARY(name, 8) UNARY(name, 16) UNARY(name, 32) UNARY(name, 64)
FOUR1(inc)
FOUR1(dec)
FOUR1(neg)
#define NOT(bits)                                                                                  \
	SOP(op_not_r##bits)                                                                        \
	{                                                                                          \
		SET_DST(bits, alu_not##bits(RD(bits), &c->fl));                                    \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_not_m##bits)                                                                        \
	{                                                                                          \
		any_u##bits *p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));              \
		p->v = alu_not##bits(p->v, &c->fl);                                                \
		mem_rmw_done(c);                                                                   \
		return op_next(c, op);                                                                     \
	}                                                                                          \
	SOP(op_not_l##bits)                                                                        \
	{                                                                                          \
		uint32_t fl = c->fl;                                                               \
		void *p;                                                                           \
		c->locked = true;                                                                  \
		p = mem_rmw##bits(c, op, op_lin(c, op, bits / 8, true));                           \
		alu_lock_not##bits(p, &fl);                                                        \
		mem_rmw_done(c);                                                                   \
		c->locked = false;                                                                 \
		return op_next(c, op);                                                                     \
	}
NOT(8)
NOT(16)
NOT(32)
NOT(64)
#define UNARY_ROW(n) {BY_SIZE(op_##n##_r), BY_SIZE(op_##n##_m), BY_SIZE(op_##n##_l)}
static iop_fn *const not_fns[3][4] = UNARY_ROW(not), *const neg_fns[3][4] = UNARY_ROW(neg),
		     *const inc_fns[3][4] = UNARY_ROW(inc), *const dec_fns[3][4] = UNARY_ROW(dec);
/* ---- binding ---- */

static unsigned log2_size(unsigned size)
{
	return size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
}

/* Byte offset of a register operand: AH..BH are byte 1 of the first four, unless there is a REX. */
static uint8_t reg_off(const struct x86_insn *i, unsigned reg, unsigned size)
{
	if (size == 1 && !i->rex && !(i->attr & X86_A_VEX) && reg >= 4 && reg < 8)
		return (uint8_t)((reg - 4) * 8 + 1);
	return (uint8_t)(reg * 8);
}

/* Functions that read struct x86_insn again. ends: the block ends here. */
static const struct generic {
	iop_fn *fn;
	bool ends;
} generic[X86_OP_COUNT] = {
	[X86_OP_UD] = {op_ud, true},
	[X86_OP_UD2] = {op_ud, true},
	[X86_OP_ROL] = {op_shift, false},
	[X86_OP_ROR] = {op_shift, false},
	[X86_OP_RCL] = {op_shift, false},
	[X86_OP_RCR] = {op_shift, false},
	[X86_OP_SHL] = {op_shift, false},
	[X86_OP_SHR] = {op_shift, false},
	[X86_OP_SAL] = {op_shift, false},
	[X86_OP_SAR] = {op_shift, false},
	[X86_OP_MUL] = {op_mul1, false},
	[X86_OP_IMUL1] = {op_mul1, false},
	[X86_OP_DIV] = {op_div, false},
	[X86_OP_IDIV] = {op_div, false},
	[X86_OP_IMUL2] = {op_imul2, false},
	[X86_OP_IMUL3] = {op_imul2, false},
	[X86_OP_XCHG] = {op_xchg, false},
	[X86_OP_XADD] = {op_xadd, false},
	[X86_OP_CMPXCHG] = {op_cmpxchg, false},
	[X86_OP_CMPXCHG8B] = {op_cmpxchg8b, false},
	[X86_OP_BSWAP] = {op_bswap, false},
	[X86_OP_MOVBE] = {op_movbe, false},
	[X86_OP_PUSH] = {op_push, false},
	[X86_OP_POP] = {op_pop, false},
	[X86_OP_PUSHA] = {op_pusha, false},
	[X86_OP_POPA] = {op_popa, false},
	[X86_OP_PUSHF] = {op_pushf, false},
	[X86_OP_POPF] = {op_popf, true},
	[X86_OP_PUSHSEG] = {op_pushseg, false},
	[X86_OP_POPSEG] = {op_popseg, true},
	[X86_OP_ENTER] = {op_enter, false},
	[X86_OP_LEAVE] = {op_leave, false},
	[X86_OP_JMPIND] = {op_jmpind, true},
	[X86_OP_CALLIND] = {op_callind, true},
	[X86_OP_JMPFAR] = {op_jmpfar, true},
	[X86_OP_CALLFAR] = {op_callfar, true},
	[X86_OP_RETFAR] = {op_retfar, true},
	[X86_OP_IRET] = {op_iret, true},
	[X86_OP_LOOP] = {op_loop, true},
	[X86_OP_LOOPE] = {op_loop, true},
	[X86_OP_LOOPNE] = {op_loop, true},
	[X86_OP_JCXZ] = {op_loop, true},
	[X86_OP_SETCC] = {op_setcc, false},
	[X86_OP_BT] = {op_bt, false},
	[X86_OP_BTS] = {op_bt, false},
	[X86_OP_BTR] = {op_bt, false},
	[X86_OP_BTC] = {op_bt, false},
	[X86_OP_BSF] = {op_bsf, false},
	[X86_OP_BSR] = {op_bsf, false},
	[X86_OP_TZCNT] = {op_tzcnt, false},
	[X86_OP_LZCNT] = {op_lzcnt, false},
	[X86_OP_POPCNT] = {op_popcnt, false},
	[X86_OP_SHLD] = {op_shld, false},
	[X86_OP_SHRD] = {op_shld, false},
	[X86_OP_ADCX] = {op_adcx, false},
	[X86_OP_ADOX] = {op_adcx, false},
	[X86_OP_CRC32] = {op_crc32, false},
	[X86_OP_ANDN] = {op_bmi, false},
	[X86_OP_BEXTR] = {op_bmi, false},
	[X86_OP_BLSI] = {op_bmi, false},
	[X86_OP_BLSMSK] = {op_bmi, false},
	[X86_OP_BLSR] = {op_bmi, false},
	[X86_OP_BZHI] = {op_bmi, false},
	[X86_OP_MULX] = {op_bmi, false},
	[X86_OP_PDEP] = {op_bmi, false},
	[X86_OP_PEXT] = {op_bmi, false},
	[X86_OP_RORX] = {op_bmi, false},
	[X86_OP_SARX] = {op_bmi, false},
	[X86_OP_SHLX] = {op_bmi, false},
	[X86_OP_SHRX] = {op_bmi, false},
	[X86_OP_CBW] = {op_cbw, false},
	[X86_OP_CWD] = {op_cwd, false},
	[X86_OP_XLAT] = {op_xlat, false},
	[X86_OP_LAHF] = {op_lahf, false},
	[X86_OP_SAHF] = {op_sahf, false},
	[X86_OP_SALC] = {op_salc, false},
	[X86_OP_DAA] = {op_daa, false},
	[X86_OP_DAS] = {op_daa, false},
	[X86_OP_AAA] = {op_aaa, false},
	[X86_OP_AAS] = {op_aaa, false},
	[X86_OP_AAM] = {op_aam, false},
	[X86_OP_AAD] = {op_aam, false},
	[X86_OP_BOUND] = {op_bound, false},
	[X86_OP_ARPL] = {op_arpl, false},
	[X86_OP_CLC] = {op_flag, false},
	[X86_OP_STC] = {op_flag, false},
	[X86_OP_CMC] = {op_flag, false},
	[X86_OP_CLD] = {op_flag, false},
	[X86_OP_STD] = {op_flag, false},
	[X86_OP_CLI] = {op_cli, false},
	[X86_OP_STI] = {op_sti, true},
	[X86_OP_MOVS] = {op_string, false},
	[X86_OP_CMPS] = {op_string, false},
	[X86_OP_STOS] = {op_string, false},
	[X86_OP_LODS] = {op_string, false},
	[X86_OP_SCAS] = {op_string, false},
	[X86_OP_INS] = {op_string, false},
	[X86_OP_OUTS] = {op_string, false},
	[X86_OP_IN] = {op_in, true},
	[X86_OP_OUT] = {op_out, true},
	[X86_OP_NOP] = {op_nop, false},
	[X86_OP_PAUSE] = {op_pause, true},
	[X86_OP_LDS] = {op_lds, true},
	[X86_OP_MOVSEG_TO] = {op_movseg_to, true},
	[X86_OP_MOVSEG_FROM] = {op_movseg_from, false},
	[X86_OP_MOVCR_TO] = {op_movcr, true},
	[X86_OP_MOVCR_FROM] = {op_movcr, true},
	[X86_OP_MOVDR_TO] = {op_movdr, true},
	[X86_OP_MOVDR_FROM] = {op_movdr, true},
	[X86_OP_INT] = {op_int, true},
	[X86_OP_INT3] = {op_int3, true},
	[X86_OP_INT1] = {op_int1, true},
	[X86_OP_INTO] = {op_into, false},
	[X86_OP_HLT] = {op_hlt, true},
	[X86_OP_SYSCALL] = {op_syscall, true},
	[X86_OP_SYSRET] = {op_sysret, true},
	[X86_OP_SYSENTER] = {op_sysenter, true},
	[X86_OP_SYSEXIT] = {op_sysexit, true},
	[X86_OP_CPUID] = {op_cpuid, true},
	[X86_OP_RDTSC] = {op_rdtsc, false},
	[X86_OP_RDTSCP] = {op_rdtsc, false},
	[X86_OP_RDPID] = {op_rdtsc, false},
	[X86_OP_RDPMC] = {op_rdpmc, true},
	[X86_OP_RDMSR] = {op_msr, true},
	[X86_OP_WRMSR] = {op_msr, true},
	[X86_OP_RDRAND] = {op_rdrand, false},
	[X86_OP_RDSEED] = {op_rdrand, false},
	[X86_OP_CLTS] = {op_clts, true},
	[X86_OP_INVD] = {op_wbinvd, false},
	[X86_OP_WBINVD] = {op_wbinvd, false},
	[X86_OP_INVLPG] = {op_invlpg, true},
	[X86_OP_INVPCID] = {op_invpcid, true},
	[X86_OP_SGDT] = {op_dtable, false},
	[X86_OP_SIDT] = {op_dtable, false},
	[X86_OP_LGDT] = {op_dtable, false},
	[X86_OP_LIDT] = {op_dtable, false},
	[X86_OP_SMSW] = {op_smsw, false},
	[X86_OP_LMSW] = {op_lmsw, true},
	[X86_OP_SLDT] = {op_sldt, false},
	[X86_OP_STR] = {op_str, false},
	[X86_OP_LLDT] = {op_lldt, false},
	[X86_OP_LTR] = {op_ltr, false},
	[X86_OP_VERR] = {op_verr, false},
	[X86_OP_VERW] = {op_verr, false},
	[X86_OP_LAR] = {op_lar, false},
	[X86_OP_LSL] = {op_lar, false},
	[X86_OP_SWAPGS] = {op_swapgs, false},
	[X86_OP_RDFSBASE] = {op_fsgsbase, false},
	[X86_OP_RDGSBASE] = {op_fsgsbase, false},
	[X86_OP_WRFSBASE] = {op_fsgsbase, false},
	[X86_OP_WRGSBASE] = {op_fsgsbase, false},
	[X86_OP_CLAC] = {op_stac, true},
	[X86_OP_STAC] = {op_stac, true},
	[X86_OP_MONITOR] = {op_monitor, true},
	[X86_OP_MWAIT] = {op_monitor, true},
	[X86_OP_XGETBV] = {op_xcr, false},
	[X86_OP_XSETBV] = {op_xcr, true},
	[X86_OP_VMCALL] = {op_vmcall, true},
	[X86_OP_RDPRU] = {op_ud, true},
	[X86_OP_LFENCE] = {op_fence, false},
	[X86_OP_SFENCE] = {op_fence, false},
	[X86_OP_MFENCE] = {op_fence, false},
	[X86_OP_SERIALIZE] = {op_fence, true},
	[X86_OP_CLFLUSH] = {op_fence, false},
	[X86_OP_FXSAVE] = {op_fxsave, false},
	[X86_OP_FXRSTOR] = {op_fxsave, false},
	[X86_OP_XSAVE] = {op_xsave, false},
	[X86_OP_XSAVEOPT] = {op_xsave, false},
	[X86_OP_XSAVEC] = {op_xsave, false},
	[X86_OP_XRSTOR] = {op_xsave, false},
	[X86_OP_LDMXCSR] = {op_mxcsr, false},
	[X86_OP_STMXCSR] = {op_mxcsr, false},
	[X86_OP_MOVNTI] = {op_movnti, false},
	[X86_OP_GATHER] = {op_vec_elements, false},
	[X86_OP_MASKMOV] = {op_vec_elements, false},
	[X86_OP_VMASKMOV] = {op_vec_elements, false},
	[X86_OP_VEC] = {op_vec, false},
	[X86_OP_VZERO] = {op_vec, false},
	[X86_OP_MMX] = {op_vec, false},
	[X86_OP_X87] = {op_vec, false},
	[X86_OP_FWAIT] = {op_vec, false},
};

/* The functions made per size; NULL: the generic one. */
static iop_fn *bind_fast(struct engine_cpu *c, struct iop *op, const struct x86_insn *i)
{
	unsigned z = log2_size(i->opsize);
	bool lock = i->pfx & X86_PFX_LOCK, m = i->is_mem;

	switch (i->op) {
	case X86_OP_ADD:
	case X86_OP_OR:
	case X86_OP_ADC:
	case X86_OP_SBB:
	case X86_OP_AND:
	case X86_OP_SUB:
	case X86_OP_XOR:
	case X86_OP_CMP:
	case X86_OP_TEST: {
		unsigned k = i->op == X86_OP_TEST ? 8 : i->op - X86_OP_ADD, shape;

		switch (i->form) {
		case X86_F_RM_R:
			shape = m ? lock ? SH_LR : SH_MR : SH_RR;
			break;
		case X86_F_R_RM:
			shape = m ? SH_RM : SH_RR;
			break;
		case X86_F_RM_I:
			shape = m ? lock ? SH_LI : SH_MI : SH_RI;
			break;
		default:
			shape = SH_RI;
		}
		return alu_fns[k][shape][z];
	}
	case X86_OP_NOT:
		return not_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_NEG:
		return neg_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_INC:
		return inc_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_DEC:
		return dec_fns[m ? lock ? 2 : 1 : 0][z];
	case X86_OP_MOV:
		switch (i->form) {
		case X86_F_RM_R:
		case X86_F_M_A:
			return m ? mov_mr[z] : mov_rr[z];
		case X86_F_R_RM:
		case X86_F_A_M:
			return m ? mov_rm[z] : mov_rr[z];
		case X86_F_RM_I:
			return m ? mov_mi[z] : mov_ri[z];
		default:
			return mov_ri[z];
		}
	case X86_OP_MOVZX:
	case X86_OP_MOVSX: {
		unsigned d = z ? z - 1 : 0, s = log2_size(i->srcsize);

		if (i->op == X86_OP_MOVZX)
			return m ? movzx_rm[d][s] : movzx_rr[d][s];
		return m ? movsx_rm[d][s] : movsx_rr[d][s];
	}
	case X86_OP_LEA:
		if (!m)
			return op_ud;
		return i->opsize == 8 ? op_lea64 : i->opsize == 4 ? op_lea32 : op_lea16;
	case X86_OP_CMOVCC:
		return m ? cmov_rm[z] : cmov_rr[z];
	case X86_OP_JCC:
		return c->mode == X86_MODE64 ? jcc64[i->cc] : op_jcc;
	case X86_OP_JMP:
		return op_jmp;
	case X86_OP_CALL:
		return c->mode == X86_MODE64 ? op_call64 : op_call;
	case X86_OP_RET:
		return c->mode == X86_MODE64 ? op_ret64 : op_ret;
	case X86_OP_PUSH:
		return c->mode == X86_MODE64 && i->opsize == 8 && !m && i->form != X86_F_I ? op_push64
											   : NULL;
	case X86_OP_POP:
		return c->mode == X86_MODE64 && i->opsize == 8 && !m ? op_pop64 : NULL;
	case X86_OP_SHL:
	case X86_OP_SAL:
	case X86_OP_SHR:
	case X86_OP_SAR: {
		unsigned n = i->form == X86_F_RM_1 ? 1 : (unsigned)i->imm & (i->opsize == 8 ? 63 : 31);

		if (m || i->form == X86_F_RM_CL || i->opsize < 4 || !n)
			return NULL;
		op->imm = n;
		if (i->op == X86_OP_SHR)
			return i->opsize == 8 ? op_shr_ri64 : op_shr_ri32;
		if (i->op == X86_OP_SAR)
			return i->opsize == 8 ? op_sar_ri64 : op_sar_ri32;
		return i->opsize == 8 ? op_shl_ri64 : op_shl_ri32;
	}
	default:
		return NULL;
	}
}

/* MOVUPS, MOVAPS, MOVDQU, MOVDQA between memory and XMM, legacy encoding */
static iop_fn *bind_vec(struct iop *op, const struct x86_insn *i)
{
	bool ld = i->opcode == 0x28 || i->opcode == 0x10 || i->opcode == 0x6f;
	bool st = i->opcode == 0x29 || i->opcode == 0x11 || i->opcode == 0x7f;

	if (i->op != X86_OP_VEC || i->attr & X86_A_VEX || i->map != 1 || !i->is_mem || i->memsize != 16 ||
		(!ld && !st))
		return op_vec;
	op->cc = i->reg;
	op->imm = i->attr & X86_A_ALIGN ? 15 : 0;
	return ld ? op_vec_load16 : op_vec_store16;
}

unsigned op_bind(struct engine_cpu *c, struct iop *op, const struct x86_insn *i)
{
	const struct generic *g = &generic[i->op];
	bool ends = g->ends, wants = false;
	iop_fn *fn;

	op->imm = i->imm;
	op->disp = i->disp;
	op->amask = i->adsize == 8 ? ~0ull : i->adsize == 4 ? 0xffffffff : 0xffff;
	op->base = i->base < 0 ? R_ZERO : i->base == X86_BASE_RIP ? R_PC : (uint8_t)i->base;
	if (i->base == X86_BASE_RIP)
		op->disp += op->next_off;
	op->index = i->index < 0 || i->op == X86_OP_GATHER ? R_ZERO : (uint8_t)i->index;
	op->scale = i->scale;
	/* without a memory operand it is the stack that may fault */
	op->seg = i->is_mem || i->op == X86_OP_MASKMOV || i->op == X86_OP_XLAT ||
				  (i->op >= X86_OP_MOVS && i->op <= X86_OP_OUTS)
		? i->seg
		: X86_SS;
	op->flat = c->mode == X86_MODE64 && i->seg < X86_FS;
	op->cc = i->cc;
	op->len = i->len;
	op->size = i->opsize;
	/* dst and src as the form says; generic functions want rm in dst, reg in src */
	switch (i->form) {
	case X86_F_R_RM:
		if (i->op >= X86_OP_ADD && i->op <= X86_OP_CMP) {
			op->dst = reg_off(i, i->reg, i->opsize);
			op->src = reg_off(i, i->rm, i->opsize);
			break;
		}
		if (i->op == X86_OP_MOV || i->op == X86_OP_MOVZX || i->op == X86_OP_MOVSX ||
			i->op == X86_OP_LEA || i->op == X86_OP_CMOVCC) {
			op->dst = reg_off(i, i->reg, i->opsize);
			op->src = reg_off(i, i->rm, i->srcsize ? i->srcsize : i->opsize);
			break;
		}
		op->dst = reg_off(i, i->rm, i->srcsize ? i->srcsize : i->opsize);
		op->src = reg_off(i, i->reg, i->opsize);
		break;
	case X86_F_A_I:
	case X86_F_A_M:
	case X86_F_A_D:
		op->dst = 0;
		break;
	case X86_F_M_A:
		op->src = 0;
		break;
	case X86_F_A_O:
		op->dst = reg_off(i, i->rm, i->opsize);
		op->src = 0;
		break;
	default:
		op->dst = reg_off(i, i->rm, i->srcsize ? i->srcsize : i->opsize);
		op->src = reg_off(i, i->reg, i->opsize);
	}
	if (i->op == X86_OP_RET)
		op->imm = i->form == X86_F_I ? (uint16_t)i->imm : 0;
	fn = bind_fast(c, op, i);
	if (!fn && op_is_vec(i->op))
		fn = g->fn == op_vec ? bind_vec(op, i) : g->fn;
	if (!fn) {
		fn = g->fn;
		wants = true;
	}
	op->fn = fn ? fn : op_ud;
	if (i->op == X86_OP_JCC || i->op == X86_OP_JMP || i->op == X86_OP_CALL || i->op == X86_OP_RET)
		ends = true;
	return (ends ? BIND_ENDS : 0u) | (wants ? BIND_INSN : 0u);
}

/* The pseudo-instruction behind a full block. */
void op_bind_end(struct iop *op)
{
	op->fn = op_end;
	op->len = 0;
}

static const struct iop *op_stop(struct engine_cpu *c, const struct iop *op)
{
	(void)c;
	return op;
}

void op_bind_stop(struct iop *op)
{
	op->fn = op_stop;
	op->len = 0;
}
