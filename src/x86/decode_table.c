/* SPDX-License-Identifier: MIT */
/*
 * The instruction table: every x86 instruction that husk executes is one row here, every other encoding
 * is undefined. Sources: SDM Vol. 2 chapters 3 to 5 and appendix A, AMD APM Vol. 3 appendix A.
 *
 * x86_map[m][b] is the row of opcode byte b in map m. A row either is the instruction, or says what to
 * look at next (ModRM.mod, .reg, .rm, the mandatory prefix, ...) and has an array with a row for
 * each value: G_MOD(memory, register), G_REG(/0 .. /7), G_PP(none, 66, F3, F2). These nest. Rows left
 * out are zero, and zero is X86_OP_UD.
 *
 * I(op, form, size, access to rm, ...) makes the row of an integer or system instruction;
 * V(shape, memory size, rules, ...) that of a vector instruction. One V row describes both the legacy
 * and the VEX form: where VEX has a separate first source (H in the shape), the legacy form reads its
 * destination instead. What else there is to say follows as IMM(), FL(), ATTR() and so on.
 *
 * Prefixes: integer rows ignore 66, F2, F3 as the hardware does, unless a G_PP stands before them.
 * Vector rows always stand in a G_PP.
 */
#include "x86/decode-int.h"
#include "x86/state.h"

#define I(o, f, s, ...)                                                                            \
	{.op = X86_OP_##o, .form = X86_F_##f, .size = SZ_##s, .arm = __VA_ARGS__}
#define X(o, sh, ms, ...)                                                                          \
	{.op = X86_OP_##o, .form = X86_F_VEC, .shape = SH_##sh, .msize = ms, .rule = __VA_ARGS__}
#define V(sh, ms, ...) X(VEC, sh, ms, __VA_ARGS__)
#define M(sh, ...) {.op = X86_OP_MMX, .form = X86_F_VEC, .shape = SH_##sh, .msize = __VA_ARGS__}
#define UD {.op = X86_OP_UD}

#define SUB(p, n, ...) {.pick = p, .sub = (const struct row[n]){__VA_ARGS__}}
#define G_PP(...) SUB(PICK_PP, 4, __VA_ARGS__)
#define G_MOD(...) SUB(PICK_MOD, 2, __VA_ARGS__)
#define G_REG(...) SUB(PICK_REG, 8, __VA_ARGS__)
#define G_RM(...) SUB(PICK_RM, 8, __VA_ARGS__)
#define G_MODE(...) SUB(PICK_MODE, 2, __VA_ARGS__)
#define G_VEX(...) SUB(PICK_VEX, 2, __VA_ARGS__)
#define G_W(...) SUB(PICK_W, 2, __VA_ARGS__)

#define IMM(k) .imm = IMM_##k
#define FL(k) .flags = FL_##k
#define ATTR(a) .attr = (a)
#define RULE(r) .rule = (r)
#define MEM(m) .msize = (m)
#define SRC(s) .srcsize = SZ_##s
#define SIZE(s) .size = SZ_##s

#define LOCK ATTR(X86_A_LOCKABLE)
#define BR ATTR(X86_A_BRANCH)
#define PRIV ATTR(X86_A_PRIV)
#define FP ATTR(X86_A_FP)

enum { N = 0, R = X86_ACC_R, W = X86_ACC_W, RW = X86_ACC_R | X86_ACC_W };

/* Rules of the usual vector rows. */
enum {
	VF = VEX_OK,            /* packed FP and the like: any vector length in AVX */
	VI = VEX_OK | AVX2_256, /* packed integer: 256 bits came with AVX2 */
	VS = VEX_OK | VEX_LIG,  /* scalar */
	V0 = VEX_OK | VEX_L0,   /* 128 bits only */
	V2 = VEX_ONLY | AVX2_ALL,
	V2L1 = V2 | VEX_L1,
	V1 = VEX_ONLY,
	V1L1 = VEX_ONLY | VEX_L1,
	MO = ONLY_MEM,
	RO = ONLY_REG,
};

/* Six forms of ADD, OR, ADC ...: b is the first opcode. */
#define ALU(b, o, f, ...)                                                                          \
	[b] = I(o, RM_R, B, __VA_ARGS__, FL(f)), [b + 1] = I(o, RM_R, V, __VA_ARGS__, FL(f)),          \
	[b + 2] = I(o, R_RM, B, R, FL(f)), [b + 3] = I(o, R_RM, V, R, FL(f)),                          \
	[b + 4] = I(o, A_I, B, N, IMM(S8), FL(f)), [b + 5] = I(o, A_I, V, N, IMM(Z), FL(f))
#define GROUP1(s, ...)                                                                             \
	G_REG(I(ADD, RM_I, s, RW, FL(ALL), LOCK, __VA_ARGS__),                                         \
		I(OR, RM_I, s, RW, FL(LOGIC), LOCK, __VA_ARGS__),                                          \
		I(ADC, RM_I, s, RW, FL(ADC), LOCK, __VA_ARGS__),                                           \
		I(SBB, RM_I, s, RW, FL(ADC), LOCK, __VA_ARGS__),                                           \
		I(AND, RM_I, s, RW, FL(LOGIC), LOCK, __VA_ARGS__),                                         \
		I(SUB, RM_I, s, RW, FL(ALL), LOCK, __VA_ARGS__),                                           \
		I(XOR, RM_I, s, RW, FL(LOGIC), LOCK, __VA_ARGS__),                                         \
		I(CMP, RM_I, s, R, FL(ALL), __VA_ARGS__))
/* Shifts: the count is an immediate, one, or CL. */
#define GROUP2(f, s, ...)                                                                          \
	G_REG(I(ROL, f, s, RW, FL(ROT), __VA_ARGS__), I(ROR, f, s, RW, FL(ROT), __VA_ARGS__),          \
		I(RCL, f, s, RW, FL(RCX), __VA_ARGS__), I(RCR, f, s, RW, FL(RCX), __VA_ARGS__),            \
		I(SHL, f, s, RW, FL(SHIFT), __VA_ARGS__), I(SHR, f, s, RW, FL(SHIFT), __VA_ARGS__),        \
		I(SAL, f, s, RW, FL(SHIFT), __VA_ARGS__), I(SAR, f, s, RW, FL(SHIFT), __VA_ARGS__))
#define GROUP3(s, im)                                                                              \
	G_REG(I(TEST, RM_I, s, R, IMM(im), FL(LOGIC)), I(TEST, RM_I, s, R, IMM(im), FL(LOGIC)),        \
		I(NOT, RM, s, RW, LOCK), I(NEG, RM, s, RW, FL(ALL), LOCK), I(MUL, RM, s, R, FL(MUL)),      \
		I(IMUL1, RM, s, R, FL(MUL)), I(DIV, RM, s, R, FL(DIV)), I(IDIV, RM, s, R, FL(DIV)))
#define HINT I(NOP, RM, V, N, MEM(MS_NONE))
#define X2(b, ...) [b] = __VA_ARGS__, [(b) + 1] = __VA_ARGS__
#define X4(b, ...) X2(b, __VA_ARGS__), X2((b) + 2, __VA_ARGS__)
#define X8(b, ...) X4(b, __VA_ARGS__), X4((b) + 4, __VA_ARGS__)
#define X16(b, ...) X8(b, __VA_ARGS__), X8((b) + 8, __VA_ARGS__)

/* The four precisions: ADDPS, ADDPD, ADDSS, ADDSD. */
#define FP4(...)                                                                                   \
	G_PP(V(VHW, MS_FULL, VF, __VA_ARGS__), V(VHW, MS_FULL, VF, __VA_ARGS__),                       \
		V(VHW, 4, VS, __VA_ARGS__), V(VHW, 8, VS, __VA_ARGS__))
/* PS and PD. */
#define FP2(sh, ms, ...) G_PP(V(sh, ms, __VA_ARGS__), V(sh, ms, __VA_ARGS__))
/* MMX, and its SSE2/AVX/AVX2 extension under 66. */
#define MMX_SSE(...) G_PP(M(AQ, 8, __VA_ARGS__), V(VHW, MS_FULL, VI, __VA_ARGS__))
#define P66(...) G_PP(UD, __VA_ARGS__)
/* FMA3: PS and PD are VEX.W 0 and 1. */
#define FMA P66(V(AHW, MS_FULL, V1, FP))
#define FMAS P66(G_W(V(AHW, 4, V1 | VEX_LIG, FP), V(AHW, 8, V1 | VEX_LIG, FP)))

/* x87 (SDM Vol. 2 A.5) */
#define F(sh, ...) {.op = X86_OP_X87, .form = X86_F_VEC, .shape = SH_##sh, .msize = __VA_ARGS__}
#define FR F(NONE, 0)

/* clang-format off */
const struct row x86_map[4][256] = {
[0] = {
	ALU(0x00, ADD, ALL, RW, LOCK), ALU(0x08, OR, LOGIC, RW, LOCK), ALU(0x10, ADC, ADC, RW, LOCK),
	ALU(0x18, SBB, ADC, RW, LOCK), ALU(0x20, AND, LOGIC, RW, LOCK), ALU(0x28, SUB, ALL, RW, LOCK),
	ALU(0x30, XOR, LOGIC, RW, LOCK), ALU(0x38, CMP, ALL, R),
	[0x06] = I(PUSHSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x07] = I(POPSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x0e] = I(PUSHSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x16] = I(PUSHSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x17] = I(POPSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x1e] = I(PUSHSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x1f] = I(POPSEG, NONE, S, N, RULE(ONLY_LEGACY | SREG_OP)),
	[0x27] = I(DAA, NONE, B, N, FL(DAA), RULE(ONLY_LEGACY)),
	[0x2f] = I(DAS, NONE, B, N, FL(DAA), RULE(ONLY_LEGACY)),
	[0x37] = I(AAA, NONE, B, N, FL(AAA), RULE(ONLY_LEGACY)),
	[0x3f] = I(AAS, NONE, B, N, FL(AAA), RULE(ONLY_LEGACY)),

	X8(0x40, I(INC, O, V, N, FL(INC), RULE(ONLY_LEGACY))), /* 64-bit: REX */
	X8(0x48, I(DEC, O, V, N, FL(INC), RULE(ONLY_LEGACY))),
	X8(0x50, I(PUSH, O, S, N)),
	X8(0x58, I(POP, O, S, N)),

	[0x60] = I(PUSHA, NONE, V, N, RULE(ONLY_LEGACY)),
	[0x61] = I(POPA, NONE, V, N, RULE(ONLY_LEGACY)),
	[0x62] = I(BOUND, R_RM, V, R, MEM(MS_PAIR), RULE(ONLY_LEGACY | ONLY_MEM)), /* else EVEX */
	[0x63] = G_MODE(I(ARPL, RM_R, W, RW, FL(Z)), I(MOVSX, R_RM, V, R, SRC(Z))),
	[0x68] = I(PUSH, I, S, N, IMM(Z)),
	[0x69] = I(IMUL3, R_RM_I, V, R, IMM(Z), FL(MUL)),
	[0x6a] = I(PUSH, I, S, N, IMM(S8)),
	[0x6b] = I(IMUL3, R_RM_I, V, R, IMM(S8), FL(MUL)),
	[0x6c] = I(INS, NONE, B, N, FL(IN_DF)),
	[0x6d] = I(INS, NONE, Z, N, FL(IN_DF)),
	[0x6e] = I(OUTS, NONE, B, N, FL(IN_DF)),
	[0x6f] = I(OUTS, NONE, Z, N, FL(IN_DF)),
	X16(0x70, I(JCC, REL, N, N, IMM(S8), RULE(CC), BR)),

	[0x80] = GROUP1(B, IMM(S8)), [0x81] = GROUP1(V, IMM(Z)),
	[0x82] = GROUP1(B, IMM(S8), RULE(ONLY_LEGACY)), [0x83] = GROUP1(V, IMM(S8)),
	[0x84] = I(TEST, RM_R, B, R, FL(LOGIC)), [0x85] = I(TEST, RM_R, V, R, FL(LOGIC)),
	[0x86] = I(XCHG, RM_R, B, RW, ATTR(X86_A_LOCKABLE | X86_A_IMPLICIT_RMW)),
	[0x87] = I(XCHG, RM_R, V, RW, ATTR(X86_A_LOCKABLE | X86_A_IMPLICIT_RMW)),
	[0x88] = I(MOV, RM_R, B, W), [0x89] = I(MOV, RM_R, V, W),
	[0x8a] = I(MOV, R_RM, B, R), [0x8b] = I(MOV, R_RM, V, R),
	[0x8c] = I(MOVSEG_FROM, RM, V, W, MEM(2), RULE(SREG_REG)),
	[0x8d] = I(LEA, R_RM, V, N, MEM(MS_NONE), RULE(ONLY_MEM)),
	[0x8e] = I(MOVSEG_TO, RM, V, R, SRC(W), MEM(2), RULE(SREG_REG)),
	[0x8f] = G_REG(I(POP, RM, S, W)), /* else XOP */

	[0x90] = {.pick = PICK_NOP, .sub = (const struct row[3]){
		I(XCHG, A_O, V, N), I(NOP, NONE, V, N), I(PAUSE, NONE, V, N) }},
	[0x91] = I(XCHG, A_O, V, N), X2(0x92, I(XCHG, A_O, V, N)), X4(0x94, I(XCHG, A_O, V, N)),
	[0x98] = I(CBW, NONE, V, N), [0x99] = I(CWD, NONE, V, N),
	[0x9a] = I(CALLFAR, PTR, V, N, IMM(PTR), RULE(ONLY_LEGACY), BR),
	[0x9b] = I(FWAIT, NONE, V, N),
	[0x9c] = I(PUSHF, NONE, S, N, FL(PUSHF)), [0x9d] = I(POPF, NONE, S, N, FL(POPF)),
	[0x9e] = I(SAHF, NONE, B, N, FL(SAHF)), [0x9f] = I(LAHF, NONE, B, N, FL(LAHF)),

	[0xa0] = I(MOV, A_M, B, R, IMM(MOFFS)), [0xa1] = I(MOV, A_M, V, R, IMM(MOFFS)),
	[0xa2] = I(MOV, M_A, B, W, IMM(MOFFS)), [0xa3] = I(MOV, M_A, V, W, IMM(MOFFS)),
	[0xa4] = I(MOVS, NONE, B, N, FL(IN_DF)), [0xa5] = I(MOVS, NONE, V, N, FL(IN_DF)),
	[0xa6] = I(CMPS, NONE, B, N, FL(CMPS), RULE(REP_FLAGS)),
	[0xa7] = I(CMPS, NONE, V, N, FL(CMPS), RULE(REP_FLAGS)),
	[0xa8] = I(TEST, A_I, B, N, IMM(S8), FL(LOGIC)), [0xa9] = I(TEST, A_I, V, N, IMM(Z), FL(LOGIC)),
	[0xaa] = I(STOS, NONE, B, N, FL(IN_DF)), [0xab] = I(STOS, NONE, V, N, FL(IN_DF)),
	[0xac] = I(LODS, NONE, B, N, FL(IN_DF)), [0xad] = I(LODS, NONE, V, N, FL(IN_DF)),
	[0xae] = I(SCAS, NONE, B, N, FL(CMPS), RULE(REP_FLAGS)),
	[0xaf] = I(SCAS, NONE, V, N, FL(CMPS), RULE(REP_FLAGS)),
	X8(0xb0, I(MOV, O_I, B, N, IMM(V))), X8(0xb8, I(MOV, O_I, V, N, IMM(V))),

	[0xc0] = GROUP2(RM_I, B, RULE(BY_COUNT), IMM(U8)),
	[0xc1] = GROUP2(RM_I, V, RULE(BY_COUNT), IMM(U8)),
	[0xc2] = I(RET, I, N, N, IMM(U16), BR), [0xc3] = I(RET, NONE, N, N, BR),
	[0xc4] = I(LDS, R_RM, V, R, MEM(MS_FAR), RULE(ONLY_LEGACY | ONLY_MEM)), /* else VEX */
	[0xc5] = I(LDS, R_RM, V, R, MEM(MS_FAR), RULE(ONLY_LEGACY | ONLY_MEM)),
	[0xc6] = G_REG(I(MOV, RM_I, B, W, IMM(S8))), [0xc7] = G_REG(I(MOV, RM_I, V, W, IMM(Z))),
	[0xc8] = I(ENTER, I_I, S, N, IMM(ENTER)), [0xc9] = I(LEAVE, NONE, S, N),
	[0xca] = I(RETFAR, I, V, N, IMM(U16), BR), [0xcb] = I(RETFAR, NONE, V, N, BR),
	[0xcc] = I(INT3, NONE, V, N, FL(PUSHF), BR), [0xcd] = I(INT, I, V, N, IMM(U8), FL(PUSHF), BR),
	[0xce] = I(INTO, NONE, V, N, FL(PUSHF), RULE(ONLY_LEGACY), BR),
	[0xcf] = I(IRET, NONE, V, N, FL(POPF), BR),

	[0xd0] = GROUP2(RM_1, B, RULE(BY_COUNT)), [0xd1] = GROUP2(RM_1, V, RULE(BY_COUNT)),
	[0xd2] = GROUP2(RM_CL, B, RULE(BY_COUNT)), [0xd3] = GROUP2(RM_CL, V, RULE(BY_COUNT)),
	[0xd4] = I(AAM, I, B, N, IMM(U8), FL(AAM), RULE(ONLY_LEGACY)),
	[0xd5] = I(AAD, I, B, N, IMM(U8), FL(AAM), RULE(ONLY_LEGACY)),
	[0xd6] = I(SALC, NONE, B, N, FL(IN_C), RULE(ONLY_LEGACY)),
	[0xd7] = I(XLAT, NONE, B, N),
	[0xd8] = G_MOD(F(M, 4), FR),
	[0xd9] = G_MOD(
		G_REG(F(M, 4), UD, F(TOM, 4), F(TOM, 4), F(M, MS_ENV, SIZE(V)), F(M, 2),
			F(TOM, MS_ENV, SIZE(V)), F(TOM, 2)),
		G_REG(FR /* FLD */, FR /* FXCH */, G_RM(FR /* FNOP */), FR /* FSTP, alias */,
			G_RM(FR, FR, UD, UD, FR, FR), G_RM(FR, FR, FR, FR, FR, FR, FR), FR, FR)),
	[0xda] = G_MOD(F(M, 4), G_REG(F(NONE, 0, FL(IN_C)), F(NONE, 0, FL(IN_Z)), F(NONE, 0, FL(IN_BE)),
		F(NONE, 0, FL(IN_P)), UD, G_RM(UD, FR /* FUCOMPP */))),
	[0xdb] = G_MOD(G_REG(F(M, 4), F(TOM, 4), F(TOM, 4), F(TOM, 4), UD, F(M, 10), UD, F(TOM, 10)),
		G_REG(F(NONE, 0, FL(IN_C)), F(NONE, 0, FL(IN_Z)), F(NONE, 0, FL(IN_BE)),
			F(NONE, 0, FL(IN_P)),
			G_RM(FR /* FENI */, FR /* FDISI */, FR /* FNCLEX */, FR /* FNINIT */,
				FR /* FSETPM */),
			F(NONE, 0, FL(FCOMI)), F(NONE, 0, FL(FCOMI)))),
	[0xdc] = G_MOD(F(M, 8), FR), /* with FCOM, FCOMP aliases */
	[0xdd] = G_MOD(
		G_REG(F(M, 8), F(TOM, 8), F(TOM, 8), F(TOM, 8), F(M, MS_SAVE, SIZE(V)), UD,
			F(TOM, MS_SAVE, SIZE(V)), F(TOM, 2)),
		G_REG(FR, FR /* FXCH, alias */, FR, FR, FR, FR)),
	[0xde] = G_MOD(F(M, 2), G_REG(FR, FR, FR /* FCOMP, alias */, G_RM(UD, FR /* FCOMPP */), FR, FR,
		FR, FR)),
	[0xdf] = G_MOD(
		G_REG(F(M, 2), F(TOM, 2), F(TOM, 2), F(TOM, 2), F(M, 10), F(M, 8), F(TOM, 10), F(TOM, 8)),
		G_REG(FR /* FFREEP */, FR /* FXCH, alias */, FR /* FSTP, alias */, FR /* the same */,
			G_RM(F(TOAX, 0, SIZE(W))), F(NONE, 0, FL(FCOMI)), F(NONE, 0, FL(FCOMI)))),

	[0xe0] = I(LOOPNE, REL, N, N, IMM(S8), FL(IN_Z), BR),
	[0xe1] = I(LOOPE, REL, N, N, IMM(S8), FL(IN_Z), BR),
	[0xe2] = I(LOOP, REL, N, N, IMM(S8), BR), [0xe3] = I(JCXZ, REL, N, N, IMM(S8), BR),
	[0xe4] = I(IN, A_I, B, N, IMM(U8)), [0xe5] = I(IN, A_I, Z, N, IMM(U8)),
	[0xe6] = I(OUT, A_I, B, N, IMM(U8)), [0xe7] = I(OUT, A_I, Z, N, IMM(U8)),
	[0xe8] = I(CALL, REL, N, N, IMM(Z), BR), [0xe9] = I(JMP, REL, N, N, IMM(Z), BR),
	[0xea] = I(JMPFAR, PTR, V, N, IMM(PTR), RULE(ONLY_LEGACY), BR),
	[0xeb] = I(JMP, REL, N, N, IMM(S8), BR),
	[0xec] = I(IN, A_D, B, N), [0xed] = I(IN, A_D, Z, N),
	[0xee] = I(OUT, A_D, B, N), [0xef] = I(OUT, A_D, Z, N),
	[0xf1] = I(INT1, NONE, V, N, FL(PUSHF), BR),
	[0xf4] = I(HLT, NONE, V, N, PRIV),
	[0xf5] = I(CMC, NONE, V, N, FL(C_C)),
	[0xf6] = GROUP3(B, S8), [0xf7] = GROUP3(V, Z),
	[0xf8] = I(CLC, NONE, V, N, FL(C)), [0xf9] = I(STC, NONE, V, N, FL(C)),
	[0xfa] = I(CLI, NONE, V, N), [0xfb] = I(STI, NONE, V, N),
	[0xfc] = I(CLD, NONE, V, N, FL(DF)), [0xfd] = I(STD, NONE, V, N, FL(DF)),
	[0xfe] = G_REG(I(INC, RM, B, RW, FL(INC), LOCK), I(DEC, RM, B, RW, FL(INC), LOCK)),
	[0xff] = G_REG(I(INC, RM, V, RW, FL(INC), LOCK), I(DEC, RM, V, RW, FL(INC), LOCK),
		I(CALLIND, RM, N, R, BR), I(CALLFAR, RM, V, R, MEM(MS_FAR), RULE(ONLY_MEM), BR),
		I(JMPIND, RM, N, R, BR), I(JMPFAR, RM, V, R, MEM(MS_FAR), RULE(ONLY_MEM), BR),
		I(PUSH, RM, S, R)),
},

[1] = { /* 0F */
	[0x00] = G_REG(I(SLDT, RM, V, W, MEM(2)), I(STR, RM, V, W, MEM(2)), I(LLDT, RM, W, R, PRIV),
		I(LTR, RM, W, R, PRIV), I(VERR, RM, W, R, FL(Z)), I(VERW, RM, W, R, FL(Z))),
	[0x01] = G_MOD(
		G_REG(I(SGDT, RM, M, W, MEM(MS_DTR)), I(SIDT, RM, M, W, MEM(MS_DTR)),
			I(LGDT, RM, M, R, MEM(MS_DTR), PRIV), I(LIDT, RM, M, R, MEM(MS_DTR), PRIV),
			I(SMSW, RM, V, W, MEM(2)), UD, I(LMSW, RM, W, R, PRIV),
			I(INVLPG, RM, B, N, MEM(MS_NONE), PRIV)),
		G_REG(
			G_RM(UD, G_PP(I(VMCALL, NONE, V, N))),
			G_PP(G_RM(I(MONITOR, NONE, V, N), I(MWAIT, NONE, V, N), I(CLAC, NONE, V, N),
				I(STAC, NONE, V, N))),
			G_PP(G_RM(I(XGETBV, NONE, V, N), I(XSETBV, NONE, V, N, PRIV))),
			G_RM(UD, I(VMCALL, NONE, V, N) /* VMMCALL */),
			I(SMSW, RM, V, W),
			G_RM(G_PP(I(SERIALIZE, NONE, V, N))),
			I(LMSW, RM, W, R, PRIV),
			G_RM(I(SWAPGS, NONE, V, N, RULE(ONLY_64), PRIV), I(RDTSCP, NONE, V, N), UD, UD,
				UD, I(RDPRU, NONE, V, N)))),
	[0x02] = I(LAR, R_RM, V, R, SRC(W), FL(Z)), [0x03] = I(LSL, R_RM, V, R, SRC(W), FL(Z)),
	[0x05] = I(SYSCALL, NONE, V, N, FL(SYSCALL), BR),
	[0x06] = I(CLTS, NONE, V, N, PRIV),
	[0x07] = I(SYSRET, NONE, V, N, FL(POPF), ATTR(X86_A_BRANCH | X86_A_PRIV)),
	[0x08] = I(INVD, NONE, V, N, PRIV), [0x09] = I(WBINVD, NONE, V, N, PRIV), /* F3: WBNOINVD */
	[0x0b] = I(UD2, NONE, V, N),
	[0x0d] = HINT, /* PREFETCHW */
	[0x10] = G_PP(V(VW, MS_FULL, VF | UNALIGNED), V(VW, MS_FULL, VF | UNALIGNED),
		G_MOD(V(VW, 4, VS), V(VHW, 4, VS)), G_MOD(V(VW, 8, VS), V(VHW, 8, VS))),
	[0x11] = G_PP(V(WV, MS_FULL, VF | UNALIGNED), V(WV, MS_FULL, VF | UNALIGNED),
		G_MOD(V(WV, 4, VS), V(WHV, 4, VS)), G_MOD(V(WV, 8, VS), V(WHV, 8, VS))),
	/* MOVLPS and, register form, MOVHLPS; MOVLPD; MOVSLDUP; MOVDDUP */
	[0x12] = G_PP(V(VHW, 8, V0), V(VHW, 8, V0 | MO), V(VW, MS_FULL, VF), V(VW, MS_DDUP, VF)),
	[0x13] = FP2(WV, 8, V0 | MO),
	[0x14] = FP2(VHW, MS_FULL, VF), [0x15] = FP2(VHW, MS_FULL, VF), /* UNPCKxPS */
	/* MOVHPS, MOVLHPS; MOVHPD; MOVSHDUP */
	[0x16] = G_PP(V(VHW, 8, V0), V(VHW, 8, V0 | MO), V(VW, MS_FULL, VF)),
	[0x17] = FP2(WV, 8, V0 | MO),
	X8(0x18, HINT), /* PREFETCHh; BNDxxx without MPX, RDSSP without CET, ENDBR, CLDEMOTE */

	[0x20] = I(MOVCR_FROM, RM_R, M, W, RULE(NO_MOD | CR_REG), PRIV),
	[0x21] = I(MOVDR_FROM, RM_R, M, W, RULE(NO_MOD | DR_REG), PRIV),
	[0x22] = I(MOVCR_TO, R_RM, M, R, RULE(NO_MOD | CR_REG), PRIV),
	[0x23] = I(MOVDR_TO, R_RM, M, R, RULE(NO_MOD | DR_REG), PRIV),
	[0x28] = FP2(VW, MS_FULL, VF | ALIGNED), [0x29] = FP2(WV, MS_FULL, VF | ALIGNED), /* MOVAPx */
	/* CVTPI2PS, CVTPI2PD, CVTSI2SS, CVTSI2SD */
	[0x2a] = G_PP(M(VAQ, 8, FP), G_MOD(V(VW, 8, 0), M(VQ, 8)), V(VHE, MS_Y, VS, SIZE(Y), FP),
		V(VHE, MS_Y, VS, SIZE(Y), FP)),
	[0x2b] = FP2(WV, MS_FULL, VF | ALIGNED | MO), /* MOVNTPx */
	[0x2c] = G_PP(M(PW, 8, FP), M(PW, 16, FP), V(GW, 4, VS, SIZE(Y), FP), V(GW, 8, VS, SIZE(Y), FP)),
	[0x2d] = G_PP(M(PW, 8, FP), M(PW, 16, FP), V(GW, 4, VS, SIZE(Y), FP), V(GW, 8, VS, SIZE(Y), FP)),
	[0x2e] = G_PP(V(RVW, 4, VS, FL(ALL), FP), V(RVW, 8, VS, FL(ALL), FP)), /* UCOMISx */
	[0x2f] = G_PP(V(RVW, 4, VS, FL(ALL), FP), V(RVW, 8, VS, FL(ALL), FP)), /* COMISx */

	[0x30] = I(WRMSR, NONE, V, N, PRIV), [0x31] = I(RDTSC, NONE, V, N),
	[0x32] = I(RDMSR, NONE, V, N, PRIV), [0x33] = I(RDPMC, NONE, V, N),
	[0x34] = I(SYSENTER, NONE, V, N, BR),
	[0x35] = I(SYSEXIT, NONE, V, N, ATTR(X86_A_BRANCH | X86_A_PRIV)),
	X16(0x40, I(CMOVCC, R_RM, V, R, RULE(CC))),

	[0x50] = FP2(GW, 0, VF | RO), /* MOVMSKPx */
	[0x51] = G_PP(V(VW, MS_FULL, VF, FP), V(VW, MS_FULL, VF, FP), V(VHW, 4, VS, FP),
		V(VHW, 8, VS, FP)), /* SQRT */
	[0x52] = G_PP(V(VW, MS_FULL, VF), UD, V(VHW, 4, VS)), /* RSQRT */
	[0x53] = G_PP(V(VW, MS_FULL, VF), UD, V(VHW, 4, VS)), /* RCP */
	[0x54] = FP2(VHW, MS_FULL, VF), [0x55] = FP2(VHW, MS_FULL, VF), /* AND, ANDN, OR, XOR */
	[0x56] = FP2(VHW, MS_FULL, VF), [0x57] = FP2(VHW, MS_FULL, VF),
	[0x58] = FP4(FP), [0x59] = FP4(FP), /* ADD, MUL */
	/* CVTPS2PD, CVTPD2PS, CVTSS2SD, CVTSD2SS; CVTDQ2PS, CVTPS2DQ, CVTTPS2DQ */
	[0x5a] = G_PP(V(VW, MS_HALF, VF, FP), V(VW, MS_FULL, VF, FP), V(VHW, 4, VS, FP),
		V(VHW, 8, VS, FP)),
	[0x5b] = G_PP(V(VW, MS_FULL, VF, FP), V(VW, MS_FULL, VF, FP), V(VW, MS_FULL, VF, FP)),
	[0x5c] = FP4(FP), [0x5d] = FP4(FP), [0x5e] = FP4(FP), [0x5f] = FP4(FP), /* SUB MIN DIV MAX */

	/* PUNPCKLxx mm read 32 bits, xmm 128 */
	[0x60] = G_PP(M(AQ, 4), V(VHW, MS_FULL, VI)), [0x61] = G_PP(M(AQ, 4), V(VHW, MS_FULL, VI)),
	[0x62] = G_PP(M(AQ, 4), V(VHW, MS_FULL, VI)),
	[0x63] = MMX_SSE(), X4(0x64, MMX_SSE()), X4(0x68, MMX_SSE()),
	X2(0x6c, P66(V(VHW, MS_FULL, VI))), /* PUNPCKxQDQ */
	[0x6e] = G_PP(M(PE, MS_Y, SIZE(Y)), V(VE, MS_Y, V0, SIZE(Y))), /* MOVD, MOVQ */
	[0x6f] = G_PP(M(PQ, 8), V(VW, MS_FULL, VF | ALIGNED), V(VW, MS_FULL, VF | UNALIGNED)),
	/* PSHUFW, PSHUFD, PSHUFHW, PSHUFLW */
	[0x70] = G_PP(M(PQ, 8, IMM(U8)), V(VW, MS_FULL, VI, IMM(U8)), V(VW, MS_FULL, VI, IMM(U8)),
		V(VW, MS_FULL, VI, IMM(U8))),
#define SHIFT_I G_PP(X(MMX, Q, 0, RO, IMM(U8)), V(HW, 0, VI | RO, IMM(U8)))
	[0x71] = G_REG(UD, UD, SHIFT_I, UD, SHIFT_I, UD, SHIFT_I),
	[0x72] = G_REG(UD, UD, SHIFT_I, UD, SHIFT_I, UD, SHIFT_I),
	[0x73] = G_REG(UD, UD, SHIFT_I, P66(V(HW, 0, VI | RO, IMM(U8))) /* PSRLDQ */, UD, UD, SHIFT_I,
		P66(V(HW, 0, VI | RO, IMM(U8)))),
#undef SHIFT_I
	[0x74] = MMX_SSE(), X2(0x75, MMX_SSE()), /* PCMPEQx */
	[0x77] = G_VEX(G_PP(M(NONE, 0)) /* EMMS */, G_PP(X(VZERO, NONE, 0, VEX_ONLY))),
	X2(0x7c, G_PP(UD, V(VHW, MS_FULL, VF, FP), UD, V(VHW, MS_FULL, VF, FP))), /* HADD, HSUB */
	[0x7e] = G_PP(M(EP, MS_Y, SIZE(Y)), V(EV, MS_Y, V0, SIZE(Y)), V(VW, 8, V0)),
	[0x7f] = G_PP(M(QP, 8), V(WV, MS_FULL, VF | ALIGNED), V(WV, MS_FULL, VF | UNALIGNED)),

	X16(0x80, I(JCC, REL, N, N, IMM(Z), RULE(CC), BR)),
	X16(0x90, I(SETCC, RM, B, W, RULE(CC))),
	[0xa0] = I(PUSHSEG, NONE, S, N, RULE(SREG_OP)), [0xa1] = I(POPSEG, NONE, S, N, RULE(SREG_OP)),
	[0xa2] = I(CPUID, NONE, V, N),
	[0xa3] = I(BT, RM_R, V, R, FL(BT)),
	[0xa4] = I(SHLD, RM_R_I, V, RW, IMM(U8), FL(SHXD), RULE(BY_COUNT)),
	[0xa5] = I(SHLD, RM_CL, V, RW, FL(SHXD), RULE(BY_COUNT)),
	[0xa8] = I(PUSHSEG, NONE, S, N, RULE(SREG_OP)), [0xa9] = I(POPSEG, NONE, S, N, RULE(SREG_OP)),
	[0xab] = I(BTS, RM_R, V, RW, FL(BT), LOCK),
	[0xac] = I(SHRD, RM_R_I, V, RW, IMM(U8), FL(SHXD), RULE(BY_COUNT)),
	[0xad] = I(SHRD, RM_CL, V, RW, FL(SHXD), RULE(BY_COUNT)),
	[0xae] = G_MOD(
		G_REG(G_PP(I(FXSAVE, RM, Y, W, MEM(MS_NONE))), G_PP(I(FXRSTOR, RM, Y, R, MEM(MS_NONE))),
			G_PP(I(LDMXCSR, RM, D, R, RULE(VEX_OK | VEX_L0))),
			G_PP(I(STMXCSR, RM, D, W, RULE(VEX_OK | VEX_L0))),
			G_PP(I(XSAVE, RM, Y, RW, MEM(MS_NONE))), G_PP(I(XRSTOR, RM, Y, R, MEM(MS_NONE))),
			G_PP(I(XSAVEOPT, RM, Y, RW, MEM(MS_NONE)), I(CLFLUSH, RM, B, R) /* CLWB */),
			G_PP(I(CLFLUSH, RM, B, R), I(CLFLUSH, RM, B, R) /* CLFLUSHOPT */)),
		G_REG(G_PP(UD, UD, I(RDFSBASE, RM, Y, W, RULE(ONLY_64))),
			G_PP(UD, UD, I(RDGSBASE, RM, Y, W, RULE(ONLY_64))),
			G_PP(UD, UD, I(WRFSBASE, RM, Y, R, RULE(ONLY_64))),
			G_PP(UD, UD, I(WRGSBASE, RM, Y, R, RULE(ONLY_64))),
			UD, G_PP(I(LFENCE, RM, V, N)), G_PP(I(MFENCE, RM, V, N)),
			G_PP(I(SFENCE, RM, V, N)))),
	[0xaf] = I(IMUL2, R_RM, V, R, FL(MUL)),

	[0xb0] = I(CMPXCHG, RM_R, B, RW, FL(ALL), LOCK), [0xb1] = I(CMPXCHG, RM_R, V, RW, FL(ALL), LOCK),
	[0xb2] = I(LDS, R_RM, V, R, MEM(MS_FAR), RULE(ONLY_MEM)),
	[0xb3] = I(BTR, RM_R, V, RW, FL(BT), LOCK),
	[0xb4] = I(LDS, R_RM, V, R, MEM(MS_FAR), RULE(ONLY_MEM)),
	[0xb5] = I(LDS, R_RM, V, R, MEM(MS_FAR), RULE(ONLY_MEM)),
	[0xb6] = I(MOVZX, R_RM, V, R, SRC(B)), [0xb7] = I(MOVZX, R_RM, V, R, SRC(W)),
	[0xb8] = G_PP(UD, UD, I(POPCNT, R_RM, V, R, FL(ALL))),
	[0xb9] = I(UD2, R_RM, V, N, MEM(MS_NONE)), /* UD1 */
	[0xba] = G_REG(UD, UD, UD, UD, I(BT, RM_I, V, R, IMM(U8), FL(BT)),
		I(BTS, RM_I, V, RW, IMM(U8), FL(BT), LOCK), I(BTR, RM_I, V, RW, IMM(U8), FL(BT), LOCK),
		I(BTC, RM_I, V, RW, IMM(U8), FL(BT), LOCK)),
	[0xbb] = I(BTC, RM_R, V, RW, FL(BT), LOCK),
	[0xbc] = G_PP(I(BSF, R_RM, V, R, FL(BSF)), I(BSF, R_RM, V, R, FL(BSF)),
		I(TZCNT, R_RM, V, R, FL(TZCNT)), I(BSF, R_RM, V, R, FL(BSF))),
	[0xbd] = G_PP(I(BSR, R_RM, V, R, FL(BSF)), I(BSR, R_RM, V, R, FL(BSF)),
		I(LZCNT, R_RM, V, R, FL(TZCNT)), I(BSR, R_RM, V, R, FL(BSF))),
	[0xbe] = I(MOVSX, R_RM, V, R, SRC(B)), [0xbf] = I(MOVSX, R_RM, V, R, SRC(W)),
	[0xc0] = I(XADD, RM_R, B, RW, FL(ALL), LOCK), [0xc1] = I(XADD, RM_R, V, RW, FL(ALL), LOCK),
	[0xc2] = FP4(FP, IMM(U8)), /* CMP */
	[0xc3] = G_PP(X(MOVNTI, EG, MS_Y, MO, SIZE(Y))),
	[0xc4] = G_PP(M(AE, 2, IMM(U8)), V(VHE, 2, V0, IMM(U8))), /* PINSRW */
	[0xc5] = G_PP(X(MMX, GQ, 0, RO, IMM(U8)), V(GW, 0, V0 | RO, IMM(U8))), /* PEXTRW */
	[0xc6] = FP2(VHW, MS_FULL, VF, IMM(U8)), /* SHUFPx */
	[0xc7] = G_MOD(
		G_REG(UD, I(CMPXCHG8B, RM, Y, RW, MEM(MS_PAIR), FL(Z), LOCK), UD, UD,
			G_PP(I(XSAVEC, RM, Y, W, MEM(MS_NONE)))),
		G_REG(UD, UD, UD, UD, UD, UD,
			G_PP(I(RDRAND, RM, V, W, FL(ALL)), I(RDRAND, RM, V, W, FL(ALL))),
			G_PP(I(RDSEED, RM, V, W, FL(ALL)), I(RDSEED, RM, V, W, FL(ALL)),
				G_MODE(I(RDPID, RM, D, W), I(RDPID, RM, Q, W))))),
	X8(0xc8, I(BSWAP, O, V, N)),

	[0xd0] = G_PP(UD, V(VHW, MS_FULL, VF, FP), UD, V(VHW, MS_FULL, VF, FP)), /* ADDSUB */
	/* Shifts by an xmm or memory: the count is 16 bytes with any VEX.L. */
#define SHIFT_X G_PP(M(AQ, 8), V(VHW, 16, VI))
	[0xd1] = SHIFT_X, X2(0xd2, SHIFT_X),
	[0xd4] = MMX_SSE(), [0xd5] = MMX_SSE(), /* PADDQ, PMULLW */
	[0xd6] = G_PP(UD, V(WV, 8, V0), X(MMX, VQ, 0, RO) /* MOVQ2DQ */, X(MMX, PW, 0, RO)),
	[0xd7] = G_PP(X(MMX, GQ, 0, RO), V(GW, 0, VI | RO)), /* PMOVMSKB */
	X8(0xd8, MMX_SSE()),
	[0xe0] = MMX_SSE(), X2(0xe1, SHIFT_X), [0xe3] = MMX_SSE(), X2(0xe4, MMX_SSE()),
	/* CVTTPD2DQ, CVTDQ2PD, CVTPD2DQ */
	[0xe6] = G_PP(UD, V(VW, MS_FULL, VF, FP), V(VW, MS_HALF, VF), V(VW, MS_FULL, VF, FP)),
	[0xe7] = G_PP(X(MMX, QP, 8, MO), V(WV, MS_FULL, VF | MO | ALIGNED)), /* MOVNTQ, MOVNTDQ */
	X8(0xe8, MMX_SSE()),
	[0xf0] = G_PP(UD, UD, UD, V(VW, MS_FULL, VF | MO | UNALIGNED)), /* LDDQU */
	[0xf1] = SHIFT_X, X2(0xf2, SHIFT_X),
#undef SHIFT_X
	X2(0xf4, MMX_SSE()), [0xf6] = MMX_SSE(),
	[0xf7] = G_PP(X(MASKMOV, RPQ, 8, RO), X(MASKMOV, RVW, 16, V0 | RO)),
	X4(0xf8, MMX_SSE()), X2(0xfc, MMX_SSE()), [0xfe] = MMX_SSE(),
	[0xff] = I(UD2, R_RM, V, N, MEM(MS_NONE)), /* UD0 */
},

[2] = { /* 0F 38 */
	X8(0x00, MMX_SSE()), X4(0x08, MMX_SSE()), /* PSHUFB PHADDx PMADDUBSW PHSUBx PSIGNx PMULHRSW */
	X2(0x0c, P66(V(VHW, MS_FULL, V1 | VEX_W0))), /* VPERMILPx */
	X2(0x0e, P66(V(RVW, MS_FULL, V1 | VEX_W0, FL(ALL)))), /* VTESTPx */
	[0x10] = P66(V(VHW, MS_FULL, 0, ATTR(X86_A_XMM0))), /* PBLENDVB */
	[0x13] = P66(V(VW, MS_HALF, V1 | VEX_W0, FP)), /* VCVTPH2PS */
	X2(0x14, P66(V(VHW, MS_FULL, 0, ATTR(X86_A_XMM0)))), /* BLENDVPx */
	[0x16] = P66(V(VHW, MS_FULL, V2L1 | VEX_W0)), /* VPERMPS */
	[0x17] = P66(V(RVW, MS_FULL, VF, FL(ALL))), /* PTEST */
	/* VBROADCASTSS, SD: the register forms came with AVX2 */
	[0x18] = P66(G_MOD(V(VW, 4, V1 | VEX_W0), V(VW, 4, V2 | VEX_W0))),
	[0x19] = P66(G_MOD(V(VW, 8, V1L1 | VEX_W0), V(VW, 8, V2L1 | VEX_W0))),
	[0x1a] = P66(V(VW, 16, V1L1 | VEX_W0 | MO)), /* VBROADCASTF128 */
#define PABS G_PP(M(PQ, 8), V(VW, MS_FULL, VI))
	X2(0x1c, PABS), [0x1e] = PABS,
#undef PABS
#define PMOVX(b)                                                                                   \
	[b] = P66(V(VW, MS_HALF, VI)), [b + 1] = P66(V(VW, MS_QUARTER, VI)),                           \
	[b + 2] = P66(V(VW, MS_EIGHTH, VI)), [b + 3] = P66(V(VW, MS_HALF, VI)),                        \
	[b + 4] = P66(V(VW, MS_QUARTER, VI)), [b + 5] = P66(V(VW, MS_HALF, VI))
	PMOVX(0x20), PMOVX(0x30),
#undef PMOVX
	X2(0x28, P66(V(VHW, MS_FULL, VI))), /* PMULDQ, PCMPEQQ */
	[0x2a] = P66(V(VW, MS_FULL, VI | MO | ALIGNED)), /* MOVNTDQA */
	[0x2b] = P66(V(VHW, MS_FULL, VI)), /* PACKUSDW */
	X2(0x2c, P66(X(VMASKMOV, VHW, MS_FULL, V1 | VEX_W0 | MO))),
	X2(0x2e, P66(X(VMASKMOV, MHV, MS_FULL, V1 | VEX_W0 | MO))),
	[0x36] = P66(V(VHW, MS_FULL, V2L1 | VEX_W0)), /* VPERMD */
	[0x37] = P66(V(VHW, MS_FULL, VI)), /* PCMPGTQ */
	X8(0x38, P66(V(VHW, MS_FULL, VI))), /* PMINxx, PMAXxx */
	[0x40] = P66(V(VHW, MS_FULL, VI)), /* PMULLD */
	[0x41] = P66(V(VW, MS_FULL, V0)), /* PHMINPOSUW */
	[0x45] = P66(V(VHW, MS_FULL, V2)), [0x46] = P66(V(VHW, MS_FULL, V2 | VEX_W0)),
	[0x47] = P66(V(VHW, MS_FULL, V2)), /* VPSRLVx, VPSRAVD, VPSLLVx */
	[0x58] = P66(V(VW, 4, V2 | VEX_W0)), [0x59] = P66(V(VW, 8, V2 | VEX_W0)), /* VPBROADCASTD Q */
	[0x5a] = P66(V(VW, 16, V2L1 | VEX_W0 | MO)), /* VBROADCASTI128 */
	[0x78] = P66(V(VW, 1, V2 | VEX_W0)), [0x79] = P66(V(VW, 2, V2 | VEX_W0)), /* VPBROADCASTB W */
	[0x82] = P66(I(INVPCID, R_RM, M, R, MEM(16), RULE(ONLY_MEM), PRIV)),
	[0x8c] = P66(X(VMASKMOV, VHW, MS_FULL, V2 | MO)),
	[0x8e] = P66(X(VMASKMOV, MHV, MS_FULL, V2 | MO)),
	X4(0x90, P66(X(GATHER, AHx, MS_ELEM, V2 | MO))),
#define FMA_ROWS(b)                                                                                \
	X2((b) + 6, FMA), [(b) + 8] = FMA, [(b) + 9] = FMAS, [(b) + 10] = FMA, [(b) + 11] = FMAS,      \
	[(b) + 12] = FMA, [(b) + 13] = FMAS, [(b) + 14] = FMA, [(b) + 15] = FMAS
	FMA_ROWS(0x90), FMA_ROWS(0xa0), FMA_ROWS(0xb0),
#undef FMA_ROWS
	X2(0xc8, G_PP(V(VHW, 16, 0))), [0xca] = G_PP(V(VHW, 16, 0)), /* SHA1NEXTE, SHA1MSG1, SHA1MSG2 */
	[0xcb] = G_PP(V(VHW, 16, 0, ATTR(X86_A_XMM0))), X2(0xcc, G_PP(V(VHW, 16, 0))), /* SHA256 */
	[0xdb] = P66(V(VW, MS_FULL, V0)), /* AESIMC */
	X4(0xdc, P66(V(VHW, MS_FULL, VF))), /* AESENC AESENCLAST AESDEC AESDECLAST */
	[0xf0] = G_PP(I(MOVBE, R_RM, V, R, RULE(ONLY_MEM)), I(MOVBE, R_RM, V, R, RULE(ONLY_MEM)), UD,
		I(CRC32, R_RM, Y, R, SRC(B))),
	[0xf1] = G_PP(I(MOVBE, RM_R, V, W, RULE(ONLY_MEM)), I(MOVBE, RM_R, V, W, RULE(ONLY_MEM)), UD,
		I(CRC32, R_RM, Y, R, SRC(V))),
	[0xf2] = G_PP(I(ANDN, R_V_RM, Y, R, FL(ANDN), RULE(VEX_ONLY | VEX_L0))),
	[0xf3] = G_REG(UD, G_PP(I(BLSR, V_RM, Y, R, FL(BLS), RULE(VEX_ONLY | VEX_L0))),
		G_PP(I(BLSMSK, V_RM, Y, R, FL(BLS), RULE(VEX_ONLY | VEX_L0))),
		G_PP(I(BLSI, V_RM, Y, R, FL(BLS), RULE(VEX_ONLY | VEX_L0)))),
	[0xf5] = G_PP(I(BZHI, R_RM_V, Y, R, FL(BLS), RULE(VEX_ONLY | VEX_L0)), UD,
		I(PEXT, R_V_RM, Y, R, RULE(VEX_ONLY | VEX_L0)),
		I(PDEP, R_V_RM, Y, R, RULE(VEX_ONLY | VEX_L0))),
	[0xf6] = G_PP(UD, I(ADCX, R_RM, Y, R, FL(C_C)), I(ADOX, R_RM, Y, R, FL(O_O)),
		I(MULX, R_V_RM, Y, R, RULE(VEX_ONLY | VEX_L0))),
	[0xf7] = G_PP(I(BEXTR, R_RM_V, Y, R, FL(BEXTR), RULE(VEX_ONLY | VEX_L0)),
		I(SHLX, R_RM_V, Y, R, RULE(VEX_ONLY | VEX_L0)),
		I(SARX, R_RM_V, Y, R, RULE(VEX_ONLY | VEX_L0)),
		I(SHRX, R_RM_V, Y, R, RULE(VEX_ONLY | VEX_L0))),
},

[3] = { /* 0F 3A; all but RORX of them with an immediate byte */
	X2(0x00, P66(V(VW, MS_FULL, V2L1 | VEX_W1, IMM(U8)))), /* VPERMQ, VPERMPD */
	[0x02] = P66(V(VHW, MS_FULL, V2 | VEX_W0, IMM(U8))), /* VPBLENDD */
	X2(0x04, P66(V(VW, MS_FULL, V1 | VEX_W0, IMM(U8)))), /* VPERMILPx */
	[0x06] = P66(V(VHW, MS_FULL, V1L1 | VEX_W0, IMM(U8))), /* VPERM2F128 */
	X2(0x08, P66(V(VW, MS_FULL, VF, FP, IMM(U8)))), /* ROUNDPx */
	[0x0a] = P66(V(VHW, 4, VS, FP, IMM(U8))), [0x0b] = P66(V(VHW, 8, VS, FP, IMM(U8))),
	X2(0x0c, P66(V(VHW, MS_FULL, VF, IMM(U8)))), /* BLENDPx */
	[0x0e] = P66(V(VHW, MS_FULL, VI, IMM(U8))), /* PBLENDW */
	[0x0f] = MMX_SSE(IMM(U8)), /* PALIGNR */
	[0x14] = P66(V(EV, 1, V0, IMM(U8))), [0x15] = P66(V(EV, 2, V0, IMM(U8))), /* PEXTRB, W */
	[0x16] = P66(V(EV, MS_Y, V0, SIZE(Y), IMM(U8))), /* PEXTRD, Q */
	[0x17] = P66(V(EV, 4, V0, IMM(U8))), /* EXTRACTPS */
	[0x18] = P66(V(VHW, 16, V1L1 | VEX_W0, IMM(U8))), /* VINSERTF128 */
	[0x19] = P66(V(WV, 16, V1L1 | VEX_W0, IMM(U8))), /* VEXTRACTF128 */
	[0x1d] = P66(V(WV, MS_HALF, V1 | VEX_W0, FP, IMM(U8))), /* VCVTPS2PH */
	[0x20] = P66(V(VHE, 1, V0, IMM(U8))), /* PINSRB */
	[0x21] = P66(V(VHW, 4, V0, IMM(U8))), /* INSERTPS */
	[0x22] = P66(V(VHE, MS_Y, V0, SIZE(Y), IMM(U8))), /* PINSRD, Q */
	[0x38] = P66(V(VHW, 16, V2L1 | VEX_W0, IMM(U8))), /* VINSERTI128 */
	[0x39] = P66(V(WV, 16, V2L1 | VEX_W0, IMM(U8))), /* VEXTRACTI128 */
	[0x40] = P66(V(VHW, MS_FULL, VF, FP, IMM(U8))), [0x41] = P66(V(VHW, MS_FULL, V0, FP, IMM(U8))),
	[0x42] = P66(V(VHW, MS_FULL, VI, IMM(U8))), /* MPSADBW */
	[0x44] = P66(V(VHW, MS_FULL, VF, IMM(U8))), /* PCLMULQDQ */
	[0x46] = P66(V(VHW, MS_FULL, V2L1 | VEX_W0, IMM(U8))), /* VPERM2I128 */
	X2(0x4a, P66(V(VHW, MS_FULL, V1 | VEX_W0, IMM(U8), ATTR(X86_A_IS4)))), /* VBLENDVPx */
	[0x4c] = P66(V(VHW, MS_FULL, V1 | VEX_W0 | AVX2_256, IMM(U8), ATTR(X86_A_IS4))), /* VPBLENDVB */
#define PCMPSTR P66(V(RVW, 16, V0 | UNALIGNED, IMM(U8), FL(ALL), ATTR(X86_A_PCMPSTR)))
	X4(0x60, PCMPSTR),
#undef PCMPSTR
	[0xcc] = G_PP(V(VHW, 16, 0, IMM(U8))), /* SHA1RNDS4 */
	[0xdf] = P66(V(VW, MS_FULL, V0, IMM(U8))), /* AESKEYGENASSIST */
	[0xf0] = G_PP(UD, UD, UD, I(RORX, R_RM_I, Y, R, IMM(U8), RULE(VEX_ONLY | VEX_L0))),
},
};
/* clang-format on */

/*
 * Effects on CF PF AF ZF SF OF and DF. "in" is what the result can depend on, which for shifts by CL and
 * repeated compares includes the flags that stay when the count is zero; decode.c adds those.
 */
enum {
	C_ = X86_CF, P_ = X86_PF, A_ = X86_AF, Z_ = X86_ZF, S_ = X86_SF, O_ = X86_OF, D_ = X86_DF,
	ALL_ = X86_ARITH,
};
const struct x86_flags x86_flags_of[FL_COUNT_] = {
	[FL_ALL] = {0, ALL_, 0},
	[FL_ADC] = {C_, ALL_, 0},
	[FL_LOGIC] = {0, ALL_ & ~A_, A_},
	[FL_INC] = {0, ALL_ & ~C_, 0},
	[FL_ROT] = {0, C_ | O_, 0},
	[FL_RCX] = {C_, C_ | O_, 0},
	[FL_SHIFT] = {0, ALL_ & ~A_, A_},
	[FL_SHXD] = {0, ALL_ & ~A_, A_},
	[FL_MUL] = {0, C_ | O_, S_ | Z_ | A_ | P_},
	[FL_DIV] = {0, 0, ALL_},
	[FL_BT] = {0, C_, O_ | S_ | A_ | P_},
	[FL_BSF] = {0, Z_, ALL_ & ~Z_},
	[FL_TZCNT] = {0, C_ | Z_, O_ | S_ | A_ | P_},
	[FL_ANDN] = {0, C_ | O_ | S_ | Z_, A_ | P_},
	[FL_BEXTR] = {0, C_ | O_ | Z_, A_ | P_ | S_},
	[FL_BLS] = {0, C_ | O_ | S_ | Z_, A_ | P_},
	[FL_C] = {0, C_, 0},
	[FL_IN_C] = {C_, 0, 0},
	[FL_C_C] = {C_, C_, 0},
	[FL_O_O] = {O_, O_, 0},
	[FL_IN_O] = {O_, 0, 0},
	[FL_Z] = {0, Z_, 0},
	[FL_IN_Z] = {Z_, 0, 0},
	[FL_IN_BE] = {C_ | Z_, 0, 0},
	[FL_IN_P] = {P_, 0, 0},
	[FL_AAA] = {A_, A_ | C_, O_ | S_ | Z_ | P_},
	[FL_DAA] = {A_ | C_, ALL_ & ~O_, O_},
	[FL_AAM] = {0, S_ | Z_ | P_, O_ | A_ | C_},
	[FL_SAHF] = {0, ALL_ & ~O_, 0},
	[FL_LAHF] = {ALL_ & ~O_, 0, 0},
	[FL_PUSHF] = {ALL_ | D_, 0, 0},
	[FL_POPF] = {0, ALL_ | D_, 0},
	[FL_SYSCALL] = {ALL_ | D_, ALL_ | D_, 0},
	[FL_IN_DF] = {D_, 0, 0},
	[FL_CMPS] = {D_, ALL_, 0},
	[FL_DF] = {0, D_, 0},
	[FL_FCOMI] = {0, ALL_, 0},
};

enum { GPR = X86_K_GPR, XMM = X86_K_XMM, MM = X86_K_MM, VSIB = X86_K_VSIB };
const struct x86_shape x86_shape_of[SH_COUNT][2] = {
	/*         legacy: reg, vvvv, rm           VEX */
	[SH_VW] = {{XMM, W, 0, 0, XMM, R}, {XMM, W, 0, 0, XMM, R}},
	[SH_VHW] = {{XMM, RW, 0, 0, XMM, R}, {XMM, W, XMM, R, XMM, R}},
	[SH_WV] = {{XMM, R, 0, 0, XMM, W}, {XMM, R, 0, 0, XMM, W}},
	[SH_WHV] = {{XMM, R, 0, 0, XMM, RW}, {XMM, R, XMM, R, XMM, W}},
	[SH_RVW] = {{XMM, R, 0, 0, XMM, R}, {XMM, R, 0, 0, XMM, R}},
	[SH_AHW] = {{0}, {XMM, RW, XMM, R, XMM, R}},
	[SH_GW] = {{GPR, W, 0, 0, XMM, R}, {GPR, W, 0, 0, XMM, R}},
	[SH_VE] = {{XMM, W, 0, 0, GPR, R}, {XMM, W, 0, 0, GPR, R}},
	[SH_VHE] = {{XMM, RW, 0, 0, GPR, R}, {XMM, W, XMM, R, GPR, R}},
	[SH_EV] = {{XMM, R, 0, 0, GPR, W}, {XMM, R, 0, 0, GPR, W}},
	[SH_EG] = {{GPR, R, 0, 0, 0, W}},
	[SH_HW] = {{0, 0, 0, 0, XMM, RW}, {0, 0, XMM, W, XMM, R}},
	[SH_AHx] = {{0}, {XMM, RW, XMM, RW, VSIB, R}},
	[SH_MHV] = {{0}, {XMM, R, XMM, R, 0, W}},
	[SH_PQ] = {{MM, W, 0, 0, MM, R}},
	[SH_AQ] = {{MM, RW, 0, 0, MM, R}},
	[SH_QP] = {{MM, R, 0, 0, MM, W}},
	[SH_PE] = {{MM, W, 0, 0, GPR, R}},
	[SH_AE] = {{MM, RW, 0, 0, GPR, R}},
	[SH_EP] = {{MM, R, 0, 0, GPR, W}},
	[SH_GQ] = {{GPR, W, 0, 0, MM, R}},
	[SH_PW] = {{MM, W, 0, 0, XMM, R}},
	[SH_VQ] = {{XMM, W, 0, 0, MM, R}},
	[SH_VAQ] = {{XMM, RW, 0, 0, MM, R}},
	[SH_RPQ] = {{MM, R, 0, 0, MM, R}},
	[SH_Q] = {{0, 0, 0, 0, MM, RW}},
	[SH_M] = {{0, 0, 0, 0, 0, R}},
	[SH_TOM] = {{0, 0, 0, 0, 0, W}},
	[SH_TOAX] = {{0, 0, 0, 0, GPR, W}},
};
