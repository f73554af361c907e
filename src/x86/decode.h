/* SPDX-License-Identifier: MIT */
/*
 * The table decoder (SDM Vol. 2, chapters 2 and appendix A). One table feeds interp, the translator
 * and the tests, so none can miss an opcode. Pure: bytes in, struct x86_insn out; no state, no I/O,
 * any thread. Instructions husk hides from guests (AVX-512, VMX, SVM, TSX, 3DNow, XOP, MPX, CET ...)
 * decode as X86_OP_UD: correct length where it matters is not promised for those.
 */
#ifndef X86_DECODE_H
#define X86_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum x86_mode { X86_MODE16, X86_MODE32, X86_MODE64 };

/*
 * What the instruction does, operand shape apart. Groups keep SDM order where interp computes with
 * it: ADD..CMP are ModRM.reg of group 1, ROL..SAR of group 2, the condition code of Jcc, SETcc and
 * CMOVcc is in insn.cc.
 */
enum x86_op {
	X86_OP_UD, /* undefined, or hidden: #UD */
	X86_OP_ADD, X86_OP_OR, X86_OP_ADC, X86_OP_SBB, X86_OP_AND, X86_OP_SUB, X86_OP_XOR, X86_OP_CMP,
	X86_OP_ROL, X86_OP_ROR, X86_OP_RCL, X86_OP_RCR, X86_OP_SHL, X86_OP_SHR, X86_OP_SAL, X86_OP_SAR,
	X86_OP_TEST, X86_OP_NOT, X86_OP_NEG, X86_OP_MUL, X86_OP_IMUL1 /* one operand */, X86_OP_DIV,
	X86_OP_IDIV, X86_OP_INC, X86_OP_DEC, X86_OP_IMUL2 /* reg, rm */, X86_OP_IMUL3 /* reg, rm, imm */,
	X86_OP_MOV, X86_OP_MOVZX, X86_OP_MOVSX /* also MOVSXD */, X86_OP_LEA, X86_OP_XCHG, X86_OP_XADD,
	X86_OP_CMPXCHG, X86_OP_CMPXCHG8B /* 16B when opsize 8 */, X86_OP_BSWAP, X86_OP_MOVBE,
	X86_OP_PUSH, X86_OP_POP, X86_OP_PUSHA, X86_OP_POPA, X86_OP_PUSHF, X86_OP_POPF, X86_OP_PUSHSEG,
	X86_OP_POPSEG, X86_OP_ENTER, X86_OP_LEAVE,
	X86_OP_JCC, X86_OP_JMP, X86_OP_JMPIND, X86_OP_CALL, X86_OP_CALLIND, X86_OP_RET, X86_OP_JMPFAR,
	X86_OP_CALLFAR, X86_OP_RETFAR, X86_OP_IRET, X86_OP_LOOP, X86_OP_LOOPE, X86_OP_LOOPNE, X86_OP_JCXZ,
	X86_OP_SETCC, X86_OP_CMOVCC,
	X86_OP_BT, X86_OP_BTS, X86_OP_BTR, X86_OP_BTC, X86_OP_BSF, X86_OP_BSR, X86_OP_TZCNT, X86_OP_LZCNT,
	X86_OP_POPCNT, X86_OP_SHLD, X86_OP_SHRD, X86_OP_ADCX, X86_OP_ADOX, X86_OP_CRC32,
	X86_OP_ANDN, X86_OP_BEXTR, X86_OP_BLSI, X86_OP_BLSMSK, X86_OP_BLSR, X86_OP_BZHI, X86_OP_MULX,
	X86_OP_PDEP, X86_OP_PEXT, X86_OP_RORX, X86_OP_SARX, X86_OP_SHLX, X86_OP_SHRX,
	X86_OP_CBW /* CWDE, CDQE by opsize */, X86_OP_CWD /* CDQ, CQO */, X86_OP_XLAT, X86_OP_LAHF,
	X86_OP_SAHF, X86_OP_SALC, X86_OP_DAA, X86_OP_DAS, X86_OP_AAA, X86_OP_AAS, X86_OP_AAM, X86_OP_AAD,
	X86_OP_BOUND, X86_OP_ARPL,
	X86_OP_CLC, X86_OP_STC, X86_OP_CMC, X86_OP_CLD, X86_OP_STD, X86_OP_CLI, X86_OP_STI,
	X86_OP_MOVS, X86_OP_CMPS, X86_OP_STOS, X86_OP_LODS, X86_OP_SCAS, X86_OP_INS, X86_OP_OUTS,
	X86_OP_IN, X86_OP_OUT,
	X86_OP_NOP /* also hint nops, PREFETCH*, ENDBR: operands are not touched */, X86_OP_PAUSE,
	X86_OP_LDS /* LES LDS LSS LFS LGS: the segment is in insn.sreg */, X86_OP_MOVSEG_TO /* MOV Sreg, rm */,
	X86_OP_MOVSEG_FROM, X86_OP_MOVCR_TO, X86_OP_MOVCR_FROM, X86_OP_MOVDR_TO, X86_OP_MOVDR_FROM,
	X86_OP_INT, X86_OP_INT3, X86_OP_INT1, X86_OP_INTO, X86_OP_UD2 /* also UD0, UD1: #UD on purpose */,
	X86_OP_HLT, X86_OP_SYSCALL, X86_OP_SYSRET, X86_OP_SYSENTER, X86_OP_SYSEXIT, X86_OP_CPUID,
	X86_OP_RDTSC, X86_OP_RDTSCP, X86_OP_RDPMC, X86_OP_RDMSR, X86_OP_WRMSR, X86_OP_RDRAND,
	X86_OP_RDSEED, X86_OP_RDPID, X86_OP_CLTS, X86_OP_INVD, X86_OP_WBINVD, X86_OP_INVLPG,
	X86_OP_INVPCID, X86_OP_SGDT, X86_OP_SIDT, X86_OP_LGDT, X86_OP_LIDT, X86_OP_SMSW, X86_OP_LMSW,
	X86_OP_SLDT, X86_OP_STR, X86_OP_LLDT, X86_OP_LTR, X86_OP_VERR, X86_OP_VERW, X86_OP_LAR, X86_OP_LSL,
	X86_OP_SWAPGS, X86_OP_RDFSBASE, X86_OP_RDGSBASE, X86_OP_WRFSBASE, X86_OP_WRGSBASE,
	X86_OP_CLAC, X86_OP_STAC, X86_OP_MONITOR, X86_OP_MWAIT, X86_OP_XGETBV, X86_OP_XSETBV,
	X86_OP_VMCALL /* also VMMCALL: the hypercall of either vendor */, X86_OP_RDPRU,
	X86_OP_LFENCE, X86_OP_SFENCE, X86_OP_MFENCE, X86_OP_SERIALIZE,
	X86_OP_CLFLUSH /* CLFLUSHOPT, CLWB, CLDEMOTE: touch for reading at most */,
	X86_OP_FXSAVE, X86_OP_FXRSTOR, X86_OP_XSAVE, X86_OP_XSAVEOPT, X86_OP_XSAVEC, X86_OP_XRSTOR,
	X86_OP_LDMXCSR, X86_OP_STMXCSR,
	/*
	 * The rest is pure computation that engines run by executing the instruction itself; the row
	 * says which registers and how much memory it touches (kinds below).
	 */
	X86_OP_VEC,   /* SSE..AVX2, FMA, AES, SHA, PCLMUL, F16C, also their GPR forms (MOVD, PEXTRW ...) */
	X86_OP_MOVNTI, /* store of a GPR */
	X86_OP_GATHER, /* VSIB gathers */
	X86_OP_MASKMOV, /* (V)MASKMOVDQU, MASKMOVQ: store bytes by mask to seg:(E/R)DI */
	X86_OP_VMASKMOV, /* VMASKMOVPS/PD, VPMASKMOVD/Q: memory elements whose mask is clear never fault */
	X86_OP_VZERO, /* VZEROUPPER, VZEROALL (VEX.L) */
	X86_OP_MMX,   /* any instruction that touches an MM register, and EMMS */
	X86_OP_X87,   /* D8..DF, but for the next line */
	X86_OP_FWAIT,
	X86_OP_COUNT
};

/* Which operands an integer or system instruction has. rm is ModRM.rm: register or memory. */
enum x86_form {
	X86_F_NONE,
	X86_F_RM_R,  /* rm, reg      (dst, src) */
	X86_F_R_RM,  /* reg, rm */
	X86_F_RM_I,  /* rm, imm */
	X86_F_RM_1,  /* rm, 1  (shifts) */
	X86_F_RM_CL, /* rm, CL (shifts); SHLD/SHRD: rm, reg, CL */
	X86_F_RM_R_I, /* rm, reg, imm (SHLD) */
	X86_F_R_RM_I, /* reg, rm, imm (IMUL3, RORX) */
	X86_F_R_V_RM, /* reg, vvvv, rm (ANDN, MULX, PDEP, PEXT) */
	X86_F_R_RM_V, /* reg, rm, vvvv (BEXTR, BZHI, SHLX ...) */
	X86_F_V_RM,  /* vvvv, rm (BLSR ...) */
	X86_F_RM,    /* rm alone */
	X86_F_O,     /* register in the low opcode bits: insn.rm holds it (REX.B applied) */
	X86_F_O_I,   /* same with an immediate (MOV r, imm) */
	X86_F_A_I,   /* AL/AX/EAX/RAX, imm; also IN/OUT with imm8 */
	X86_F_A_O,   /* accumulator, register in low opcode bits (XCHG) */
	X86_F_A_M,   /* accumulator, moffs: disp is the address (MOV A0/A1) */
	X86_F_M_A,   /* moffs, accumulator (A2/A3) */
	X86_F_A_D,   /* accumulator, DX (IN/OUT) */
	X86_F_I,     /* imm alone (PUSH imm, INT, RET imm) */
	X86_F_I_I,   /* ENTER imm16, imm8: imm, imm2 */
	X86_F_REL,   /* imm is the signed displacement from the next instruction */
	X86_F_PTR,   /* far pointer: imm offset, imm2 selector */
	X86_F_VEC,   /* see kreg, kvex, krm */
};

/* Operand kinds of the VEC, MMX and related classes. */
enum x86_kind {
	X86_K_NONE,
	X86_K_GPR,  /* general register; size in the *size field */
	X86_K_XMM,  /* XMM or YMM, by insn.vl */
	X86_K_MM,
	X86_K_VSIB,
};

enum { X86_ACC_R = 1, X86_ACC_W = 2 }; /* how an operand is accessed */

enum { /* insn.attr */
	X86_A_VEX = 1,        /* VEX encoded: upper halves are zeroed, #UD rules of VEX */
	X86_A_FP = 2,         /* may raise SIMD floating-point exceptions (MXCSR matters) */
	X86_A_ALIGN = 4,      /* legacy SSE memory operand must be aligned to memsize, else #GP */
	X86_A_FLAGS = 8,      /* vector instruction that writes EFLAGS (PTEST, COMIS, PCMPxSTRx) */
	X86_A_XMM0 = 16,      /* XMM0 is an implicit source (BLENDVPS legacy, SHA256RNDS2) ... */
	X86_A_PCMPSTR = 32,   /* PCMPESTRI/M, PCMPISTRI/M: RAX/RDX sources, RCX or XMM0 result */
	X86_A_IS4 = 64,       /* fourth register operand in imm8[7:4] */
	X86_A_LOCKABLE = 128, /* LOCK allowed (with a memory destination) */
	X86_A_AVX2 = 256,     /* not in an AVX1-only guest; hidden with CPUID.AVX2 */
	X86_A_BRANCH = 512,   /* ends a basic block: changes RIP */
	X86_A_PRIV = 1024,    /* #GP(0) when CPL != 0 */
	X86_A_EAX64 = 2048,   /* default operand size is 64 in long mode (applied to opsize already) */
	X86_A_IMPLICIT_RMW = 4096, /* XCHG: locked with a memory operand even without LOCK */
};

struct x86_insn {
	uint16_t op;   /* enum x86_op */
	uint8_t form;  /* enum x86_form */
	uint8_t len;   /* 1 to 15 */
	uint8_t opsize; /* bytes of the operation: 1, 2, 4, 8 (far pointers: of the offset part) */
	uint8_t srcsize; /* MOVZX, MOVSX, CRC32: bytes of rm; otherwise opsize */
	uint8_t adsize; /* 2, 4, 8 */
	uint8_t cc;    /* condition code 0..15 */

	uint8_t map;   /* 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
	uint8_t opcode; /* last opcode byte */
	uint8_t rex;   /* whole REX byte, 0 if none (VEX: synthesized 0x40|WRXB is NOT put here) */
	uint8_t pfx;   /* X86_PFX_* */
	uint8_t seg;   /* effective segment of the memory operand (enum x86_sreg), default applied */
	uint8_t sreg;  /* PUSHSEG, POPSEG, LDS, MOVSEG: which segment register (may be > 5: #UD) */

	bool has_modrm;
	bool is_mem;   /* rm is a memory operand (moffs counts, too) */
	uint8_t modrm;
	uint8_t reg;   /* ModRM.reg with REX.R: 0..15 (opcode extension groups: plain 0..7) */
	uint8_t rm;    /* ModRM.rm with REX.B when a register; X86_F_O: the register */
	int8_t base;   /* 0..15, X86_BASE_RIP, or -1 */
	int8_t index;  /* 0..15 or -1 (VSIB: vector register) */
	uint8_t scale; /* log2: 0..3 */
	uint8_t vvvv;  /* VEX.vvvv, not inverted: 0..15 */
	uint8_t vl;    /* VEX.L: 0 = 128, 1 = 256 */
	uint8_t vexw;  /* VEX.W or REX.W */
	uint8_t vexpp; /* mandatory prefix: 0 none, 1 66, 2 F3, 3 F2 (both legacy and VEX) */
	int32_t disp32; /* spare copy for the translator: disp truncated */
	int64_t disp;  /* sign extended; moffs: the full address */
	int64_t imm;   /* sign extended to 64 bits as the instruction uses it */
	uint16_t imm2;

	/* X86_F_VEC only; but arm and memsize are right for every ModRM operand and moffs */
	uint8_t kreg, kvex, krm;    /* enum x86_kind of ModRM.reg, VEX.vvvv, ModRM.rm when a register */
	uint8_t areg, avex, arm;    /* X86_ACC_* of each; arm also for the memory form */
	uint8_t regsize, rmsize;    /* GPR operands: 1, 2, 4, 8 as written (PEXTRB to a register: 4) */
	uint8_t memsize;            /* bytes of the memory operand, 0 if no memory form; 1..32; X87: 2..108 */
	uint16_t attr;              /* X86_A_* */

	/*
	 * EFLAGS (X86_ARITH bits and DF) read, written, left undefined. What may stay as it was (shift by
	 * CL, REP CMPS: the count may be 0) is read, too, so that a liveness pass need not know why.
	 */
	uint16_t fl_in, fl_out, fl_undef;

	/* where things are, for code that copies and patches: offsets from the first byte, 0 = absent */
	uint8_t off_opcode, off_modrm, off_disp, off_imm;
	uint8_t size_disp, size_imm;
};

enum { X86_BASE_RIP = 16 };
enum { X86_PFX_66 = 1, X86_PFX_67 = 2, X86_PFX_F2 = 4, X86_PFX_F3 = 8, X86_PFX_LOCK = 16,
	X86_PFX_SEG = 32, X86_PFX_VEX2 = 64, X86_PFX_VEX3 = 128 };

/*
 * Decodes one instruction from n bytes (more than 15 are never read). Returns its length, 0 when the
 * bytes end before the instruction does, or -1 for one that is longer than 15 bytes (#GP). Undefined
 * encodings return a length (at least the bytes looked at) with op X86_OP_UD. LOCK on something
 * that cannot take it, VEX with legacy prefixes, bad VEX.vvvv/L/W are X86_OP_UD already here.
 */
int x86_decode(struct x86_insn *i, enum x86_mode mode, const uint8_t *p, size_t n);

/* Mnemonic of the class for debug output: "add", "vec". Never NULL. */
const char *x86_op_name(enum x86_op op);

#endif
