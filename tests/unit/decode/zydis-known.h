/* SPDX-License-Identifier: MIT */
/*
 * Where our decoder and Zydis 4.0 differ on purpose. Part of zydis.c. A line that no instruction of the
 * sweep needs is an error: lists like these must not grow moss.
 */
/* Features that husk guests do not have: their opcodes are #UD. */
static struct hidden {
	ZydisISAExt ext;
	bool seen;
	const char *why;
} hidden_ext[] = {
	{ZYDIS_ISA_EXT_AMD3DNOW, 0, "gone from CPUs since 2011"},
	{ZYDIS_ISA_EXT_AMD_INVLPGB, 0, "host feature of AMD EPYC"},
	{ZYDIS_ISA_EXT_AMX_BF16, 0, "AMX is not offered"},
	{ZYDIS_ISA_EXT_AMX_INT8, 0, "AMX is not offered"},
	{ZYDIS_ISA_EXT_AMX_TILE, 0, "AMX is not offered"},
	{ZYDIS_ISA_EXT_AVX512EVEX, 0, "AVX-512 is not offered"},
	{ZYDIS_ISA_EXT_AVX512VEX, 0, "AVX-512 is not offered (KMOVx and friends)"},
	{ZYDIS_ISA_EXT_AVX_VNNI, 0, "newer than x86-64-v3"},
	{ZYDIS_ISA_EXT_CET, 0, "shadow stacks are not offered"},
	{ZYDIS_ISA_EXT_CLZERO, 0, "not offered"},
	{ZYDIS_ISA_EXT_ENQCMD, 0, "not offered"},
	{ZYDIS_ISA_EXT_FMA4, 0, "AMD family 15h only"},
	{ZYDIS_ISA_EXT_GFNI, 0, "newer than x86-64-v3"},
	{ZYDIS_ISA_EXT_HRESET, 0, "not offered"},
	{ZYDIS_ISA_EXT_KEYLOCKER, 0, "not offered"},
	{ZYDIS_ISA_EXT_KEYLOCKER_WIDE, 0, "not offered"},
	{ZYDIS_ISA_EXT_KNC, 0, "another CPU (Knights Corner)"},
	{ZYDIS_ISA_EXT_KNCV, 0, "another CPU (Knights Corner)"},
	{ZYDIS_ISA_EXT_MCOMMIT, 0, "not offered"},
	{ZYDIS_ISA_EXT_MONITORX, 0, "not offered"},
	{ZYDIS_ISA_EXT_MOVDIR, 0, "not offered"},
	{ZYDIS_ISA_EXT_PADLOCK, 0, "VIA only"},
	{ZYDIS_ISA_EXT_PCONFIG, 0, "not offered"},
	{ZYDIS_ISA_EXT_PKU, 0, "protection keys are not offered"},
	{ZYDIS_ISA_EXT_PT, 0, "processor trace is not offered"},
	{ZYDIS_ISA_EXT_RTM, 0, "TSX is not offered"},
	{ZYDIS_ISA_EXT_SGX, 0, "not offered"},
	{ZYDIS_ISA_EXT_SGX_ENCLV, 0, "not offered"},
	{ZYDIS_ISA_EXT_SMX, 0, "GETSEC is not offered"},
	{ZYDIS_ISA_EXT_SNP, 0, "no nested virtualization"},
	{ZYDIS_ISA_EXT_SSE4A, 0, "AMD only, dead"},
	{ZYDIS_ISA_EXT_SVM, 0, "no nested virtualization (VMMCALL is another matter)"},
	{ZYDIS_ISA_EXT_TDX, 0, "no nested virtualization"},
	{ZYDIS_ISA_EXT_TSX_LDTRK, 0, "TSX is not offered"},
	{ZYDIS_ISA_EXT_UINTR, 0, "user interrupts are not offered"},
	{ZYDIS_ISA_EXT_VMFUNC, 0, "no nested virtualization"},
	{ZYDIS_ISA_EXT_VTX, 0, "no nested virtualization (VMCALL is another matter)"},
	{ZYDIS_ISA_EXT_WAITPKG, 0, "TPAUSE, UMONITOR, UMWAIT are not offered"},
	{ZYDIS_ISA_EXT_XOP, 0, "AMD family 15h only"},
	{ZYDIS_ISA_EXT_XSAVES, 0, "supervisor state is not offered"},
};

static bool is_hidden(const struct both *b)
{
	if (b->z->mnemonic == ZYDIS_MNEMONIC_VMCALL || b->z->mnemonic == ZYDIS_MNEMONIC_VMMCALL)
		return false;
	if (b->z->mnemonic == ZYDIS_MNEMONIC_RSM)
		return true; /* #UD outside of system management mode, which a guest never enters */
	for (unsigned k = 0; k < LEN(hidden_ext); k++)
		if (hidden_ext[k].ext == b->z->meta.isa_ext) {
			hidden_ext[k].seen = true;
			return true;
		}
	return false;
}
/* Mnemonics that are one class here. */
static const struct alias {
	const char *theirs;
	enum x86_op op;
} alias[] = {
	{"movsb", X86_OP_MOVS}, {"movsw", X86_OP_MOVS}, {"movsd", X86_OP_MOVS}, {"movsq", X86_OP_MOVS},
	{"cmpsb", X86_OP_CMPS}, {"cmpsw", X86_OP_CMPS}, {"cmpsd", X86_OP_CMPS}, {"cmpsq", X86_OP_CMPS},
	{"stosb", X86_OP_STOS}, {"stosw", X86_OP_STOS}, {"stosd", X86_OP_STOS}, {"stosq", X86_OP_STOS},
	{"lodsb", X86_OP_LODS}, {"lodsw", X86_OP_LODS}, {"lodsd", X86_OP_LODS}, {"lodsq", X86_OP_LODS},
	{"scasb", X86_OP_SCAS}, {"scasw", X86_OP_SCAS}, {"scasd", X86_OP_SCAS}, {"scasq", X86_OP_SCAS},
	{"insb", X86_OP_INS}, {"insw", X86_OP_INS}, {"insd", X86_OP_INS},
	{"outsb", X86_OP_OUTS}, {"outsw", X86_OP_OUTS}, {"outsd", X86_OP_OUTS},
	{"cbw", X86_OP_CBW}, {"cwde", X86_OP_CBW}, {"cdqe", X86_OP_CBW}, {"cwd", X86_OP_CWD},
	{"cdq", X86_OP_CWD}, {"cqo", X86_OP_CWD}, {"movsxd", X86_OP_MOVSX},
	{"pushfd", X86_OP_PUSHF}, {"pushfq", X86_OP_PUSHF}, {"popfd", X86_OP_POPF}, {"popfq", X86_OP_POPF},
	{"pushad", X86_OP_PUSHA}, {"popad", X86_OP_POPA}, {"push", X86_OP_PUSHSEG}, {"pop", X86_OP_POPSEG},
	{"jmp", X86_OP_JMPIND}, {"jmp", X86_OP_JMPFAR}, {"call", X86_OP_CALLIND}, {"call", X86_OP_CALLFAR},
	{"ret", X86_OP_RETFAR}, {"iretd", X86_OP_IRET}, {"iretq", X86_OP_IRET}, {"jcxz", X86_OP_JCXZ},
	{"jecxz", X86_OP_JCXZ}, {"jrcxz", X86_OP_JCXZ}, {"imul", X86_OP_IMUL1}, {"imul", X86_OP_IMUL2},
	{"imul", X86_OP_IMUL3}, {"cmpxchg16b", X86_OP_CMPXCHG8B}, {"les", X86_OP_LDS}, {"lss", X86_OP_LDS},
	{"lfs", X86_OP_LDS}, {"lgs", X86_OP_LDS}, {"mov", X86_OP_MOVSEG_TO}, {"mov", X86_OP_MOVSEG_FROM},
	{"mov", X86_OP_MOVCR_TO}, {"mov", X86_OP_MOVCR_FROM}, {"mov", X86_OP_MOVDR_TO},
	{"mov", X86_OP_MOVDR_FROM}, {"ud0", X86_OP_UD2}, {"ud1", X86_OP_UD2}, {"vmmcall", X86_OP_VMCALL},
	{"wbnoinvd", X86_OP_WBINVD}, {"clflushopt", X86_OP_CLFLUSH}, {"clwb", X86_OP_CLFLUSH},
	{"fxsave64", X86_OP_FXSAVE}, {"fxrstor64", X86_OP_FXRSTOR}, {"xsave64", X86_OP_XSAVE},
	{"xrstor64", X86_OP_XRSTOR}, {"xsaveopt64", X86_OP_XSAVEOPT}, {"xsavec64", X86_OP_XSAVEC},
	{"vldmxcsr", X86_OP_LDMXCSR}, {"vstmxcsr", X86_OP_STMXCSR},
	{"prefetch", X86_OP_NOP}, {"prefetchw", X86_OP_NOP}, {"prefetchwt1", X86_OP_NOP},
	{"prefetchnta", X86_OP_NOP}, {"prefetcht0", X86_OP_NOP}, {"prefetcht1", X86_OP_NOP},
	{"prefetcht2", X86_OP_NOP}, {"endbr32", X86_OP_NOP}, {"endbr64", X86_OP_NOP},
	{"maskmovq", X86_OP_MASKMOV}, {"maskmovdqu", X86_OP_MASKMOV}, {"vmaskmovdqu", X86_OP_MASKMOV},
	{"vmaskmovps", X86_OP_VMASKMOV}, {"vmaskmovpd", X86_OP_VMASKMOV}, {"vpmaskmovd", X86_OP_VMASKMOV},
	{"vpmaskmovq", X86_OP_VMASKMOV}, {"vzeroall", X86_OP_VZERO}, {"vzeroupper", X86_OP_VZERO},
	{"shl", X86_OP_SAL},
};

static bool same_name(const struct x86_insn *i, const char *ours, const char *theirs)
{
	/* condition codes in SDM order, the names Zydis uses */
	static const char *const cc[16] = {"o", "no", "b", "nb", "z", "nz", "be", "nbe", "s", "ns", "p", "np",
		"l", "nl", "le", "nle"};
	char name[16];

	if (i->op == X86_OP_JCC || i->op == X86_OP_SETCC || i->op == X86_OP_CMOVCC) {
		snprintf(name, sizeof(name), "%.*s%s", (int)strlen(ours) - 2, ours, cc[i->cc]);
		return !strcmp(name, theirs);
	}
	if (i->op == X86_OP_GATHER)
		return !strncmp(theirs, "vgather", 7) || !strncmp(theirs, "vpgather", 8);
	if (!strcmp(ours, theirs))
		return true;
	for (unsigned k = 0; k < LEN(alias); k++)
		if (alias[k].op == i->op && !strcmp(alias[k].theirs, theirs))
			return true;
	return false;
}

static bool in_memory(const struct both *b)
{
	return b->i->is_mem;
}

static bool legacy(const struct both *b)
{
	return !(b->i->attr & X86_A_VEX);
}

static bool repeated(const struct both *b)
{
	return b->i->pfx & (X86_PFX_F2 | X86_PFX_F3);
}

static bool with_rexw(const struct both *b)
{
	return b->i->rex & 8;
}

static bool with_66(const struct both *b)
{
	return b->i->pfx & X86_PFX_66;
}

static bool hint(const struct both *b)
{
	return b->i->op == X86_OP_NOP || b->i->op == X86_OP_UD2;
}

static bool shift(const struct both *b)
{
	return b->i->form == X86_F_RM_1 || b->i->form == X86_F_RM_CL || b->i->form == X86_F_RM_R_I ||
		(b->i->op >= X86_OP_ROL && b->i->op <= X86_OP_SAR);
}

static bool sib_no_base(const struct both *b)
{
	const uint8_t *m = b->p + b->i->off_modrm;

	return b->i->has_modrm && b->mode == X86_MODE64 && b->i->adsize == 4 && m[0] >> 6 == 0 &&
		(m[0] & 7) == 4 && (m[1] & 7) == 5 && b->i->base == -1;
}

#define M(x) ZYDIS_MNEMONIC_##x
static struct allowed {
	unsigned fields;
	bool (*when)(const struct both *b); /* NULL: always */
	const char *why;
	ZydisMnemonic of[20]; /* empty: any */
	bool seen;
} allowed[] = {
	/* Zydis is wrong. */
	{D_ADDRESS, sib_no_base,
		"REX.B with SIB.base 5, mod 0: no base, disp32 (SDM table 2-3); Zydis takes r13d", {0}, 0},
	{D_FLAGS_OUT | D_FLAGS_UNDEF, NULL, "SBB defines AF (SDM); Zydis says undefined", {M(SBB)}, 0},
	{D_FLAGS_OUT, NULL, "these clear OF, SF, AF, PF (SDM); Zydis has CF and ZF only",
		{M(VPTEST), M(VTESTPS), M(VTESTPD)}, 0},
	{D_FLAGS_OUT | D_FLAGS_UNDEF, NULL, "clears CF and OF (SDM)", {M(BEXTR)}, 0},
	{D_MEMSIZE, with_66, "66: two bytes (SDM; AMD CPUs read four); Zydis has 2 for a register, 4 in memory",
		{M(MOVSXD)}, 0},
	{D_OPSIZE, with_rexw, "no 64-bit ports", {M(INSD), M(OUTSD)}, 0},
	{D_ATTR, NULL, "#GP unless CPL 0 (SDM)", {M(LGDT)}, 0},
	{D_ALIGN, NULL, "may be unaligned (SDM)", {M(MOVUPS), M(MOVUPD), M(MOVDQU), M(LDDQU), M(PCMPESTRI),
		M(PCMPESTRM), M(PCMPISTRI), M(PCMPISTRM)}, 0},
	{D_FP, NULL, "SIMD FP exceptions (SDM); Zydis has no exception class",
		{M(CVTPI2PS), M(CVTPS2PI), M(CVTTPS2PI), M(CVTPD2PI), M(CVTTPD2PI)}, 0},
	{D_ALIGN, NULL, "16 bytes, aligned (SDM); Zydis has no exception class",
		{M(CVTPD2PI), M(CVTTPD2PI)}, 0},
	{D_REGACC, legacy, "legacy form keeps a part of the destination: it is read, too", {M(MOVHPS), M(MOVHPD),
		M(MOVLPS), M(MOVLPD), M(MOVHLPS), M(MOVLHPS), M(MOVSS), M(MOVSD), M(SQRTSS), M(SQRTSD),
		M(RSQRTSS), M(RCPSS), M(ROUNDSS), M(ROUNDSD), M(CVTSS2SD), M(CVTSD2SS), M(CVTPI2PS),
		M(CVTSI2SS), M(CVTSI2SD)}, 0},
	/* The same thing, described another way. */
	{D_FLAGS_IN | D_FLAGS_OUT | D_FLAGS_UNDEF, shift,
		"by the count: untouched for 0, OF defined for 1, CF undefined beyond the width", {0}, 0},
	{D_FLAGS_IN, repeated, "flags stay when rCX is 0", {M(CMPSB), M(CMPSW), M(CMPSD), M(CMPSQ), M(SCASB),
		M(SCASW), M(SCASD), M(SCASQ)}, 0},
	{D_FLAGS_IN, NULL, "pushes EFLAGS, or copies it to R11",
		{M(INT), M(INT1), M(INT3), M(INTO), M(SYSCALL)}, 0},
	{D_FLAGS_OUT, NULL, "a hypercall changes no flags; Zydis describes VMX", {M(VMCALL)}, 0},
	{D_ADDRESS, NULL, "only the offset counts", {M(LEA)}, 0},
	{D_MEMSIZE, NULL, "only the address counts", {M(LEA), M(INVLPG)}, 0},
	{D_MEMSIZE | D_ACCESS | D_OPSIZE | D_REGACC, hint, "operands are not touched", {0}, 0},
	{D_ACCESS, NULL, "only the address counts", {M(INVLPG)}, 0},
	{D_MEMSIZE, NULL, "size of the area is the engine's matter", {M(FXSAVE), M(FXSAVE64), M(FXRSTOR),
		M(FXRSTOR64), M(XSAVE), M(XSAVE64), M(XRSTOR), M(XRSTOR64), M(XSAVEOPT), M(XSAVEOPT64),
		M(XSAVEC), M(XSAVEC64)}, 0},
	{D_MEMSIZE, NULL, "any byte of the line", {M(CLFLUSH), M(CLFLUSHOPT), M(CLWB)}, 0},
	{D_OPSIZE, NULL, "only the selector is read (SDM)", {M(LAR), M(LSL)}, 0},
	{D_OPSIZE, legacy, "the upper half of the register is zero either way",
		{M(MOVMSKPS), M(MOVMSKPD)}, 0},
	{D_ATTR, NULL, "changes RIP", {M(INT), M(INT1), M(INT3), M(INTO), M(IRET), M(IRETD), M(IRETQ),
		M(SYSCALL), M(SYSRET), M(SYSENTER), M(SYSEXIT)}, 0},
	{D_ATTR, NULL, "#UD, not #GP, unless CPL 0", {M(MONITOR), M(MWAIT), M(CLAC), M(STAC)}, 0},
	{D_OP, in_memory, "enters MMX state even with a memory operand (SDM)", {M(CVTPI2PS)}, 0},
};
#undef M

static bool known(const struct both *b, enum field f)
{
	for (unsigned k = 0; k < LEN(allowed); k++) {
		struct allowed *a = &allowed[k];
		bool of = !a->of[0];

		if (!(a->fields & f) || (a->when && !a->when(b)))
			continue;
		for (unsigned m = 0; m < LEN(a->of) && a->of[m] && !of; m++)
			of = a->of[m] == b->z->mnemonic;
		if (of) {
			a->seen = true;
			return true;
		}
	}
	return false;
}

static unsigned unused_lines(void)
{
	unsigned n = 0;

	for (unsigned k = 0; k < LEN(allowed); k++)
		if (!allowed[k].seen)
			printf("never needed: \"%s\"\n", allowed[k].why), n++;
	for (unsigned k = 0; k < LEN(hidden_ext); k++)
		if (!hidden_ext[k].seen)
			printf("never seen: %s (%s)\n", ZydisISAExtGetString(hidden_ext[k].ext),
				hidden_ext[k].why), n++;
	return n;
}
