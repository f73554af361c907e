/* SPDX-License-Identifier: MIT */
/*
 * The decoder's tricky cases by hand. The sweep against Zydis (zydis.c) covers the breadth; here is
 * what Zydis cannot know (our classes and attributes), what it gets wrong, and the edges of the input.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "x86/decode.h"
#include "x86/state.h"

#define M16 X86_MODE16
#define M32 X86_MODE32
#define M64 X86_MODE64

static unsigned parse(const char *hex, uint8_t *p)
{
	unsigned n = 0;
	char *end;

	for (; *hex; hex = end + (*end == ' ')) {
		p[n++] = (uint8_t)strtoul(hex, &end, 16);
		assert(end != hex && n <= 32);
	}
	return n;
}

static bool equal(const struct x86_insn *a, const struct x86_insn *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/*
 * Decodes all of the bytes as one instruction. On the way: every shorter input is "more bytes", the
 * answer does not depend on what follows, and nothing after the input is touched (it is the end of an
 * allocation: the address sanitizer looks).
 */
static struct x86_insn get(enum x86_mode mode, const char *hex)
{
	uint8_t p[32], *exact;
	unsigned n = parse(hex, p);
	struct x86_insn i, again;

	for (unsigned k = 0; k < n; k++) {
		exact = malloc(k + 1);
		memcpy(exact + 1, p, k);
		assert(x86_decode(&i, mode, exact + 1, k) == 0);
		free(exact);
	}
	exact = malloc(n);
	memcpy(exact, p, n);
	memset(&i, 0xa5, sizeof(i));
	memset(&again, 0x5a, sizeof(again));
	if (x86_decode(&i, mode, exact, n) != (int)n) {
		printf("%s: not %u bytes: %s\n", hex, n, x86_op_name(i.op));
		abort();
	}
	free(exact);
	for (unsigned fill = 0; fill < 256; fill += 51) {
		memset(p + n, fill, sizeof(p) - n);
		assert(x86_decode(&again, mode, p, sizeof(p)) == (int)n && equal(&i, &again));
	}
	assert(i.len == n);
	return i;
}

static unsigned op(enum x86_mode mode, const char *hex)
{
	return get(mode, hex).op;
}

/* Undefined, whatever length that has. */
static bool ud(enum x86_mode mode, const char *hex)
{
	uint8_t p[32] = {0};
	struct x86_insn i;

	parse(hex, p);
	assert(x86_decode(&i, mode, p, 15) > 0);
	return i.op == X86_OP_UD;
}

static void test_length(void)
{
	uint8_t p[32];
	struct x86_insn i;

	/* 15 bytes are one instruction, 16 are none */
	get(M64, "66 66 66 66 66 66 66 66 66 66 66 66 66 66 90");
	get(M64, "2e 2e 2e 2e 66 81 84 88 00 00 00 00 34 12");
	get(M64, "2e 2e 2e 2e 81 84 88 00 00 00 00 78 56 34 12");
	get(M64, "66 2e 2e 2e 81 84 88 00 00 00 00 34 12");
	get(M64, "67 67 67 67 64 48 b8 88 77 66 55 44 33 22 11");
	memset(p, 0x66, sizeof(p));
	assert(x86_decode(&i, M64, p, sizeof(p)) == -1);
	assert(x86_decode(&i, M64, p, 15) == -1);
	assert(x86_decode(&i, M64, p, 14) == 0);
	assert(x86_decode(&i, M64, p, 0) == 0);
	for (unsigned n = 5; n < 15; n++) {
		unsigned len = n + 11 > 15 ? 0 : n + 11;

		memset(p, 0x2e, sizeof(p));
		memcpy(p + n, "\x81\x84\x88\0\0\0\0\0\0\0\0", 11);
		assert(x86_decode(&i, M64, p, sizeof(p)) == (len ? (int)len : -1));
		assert(x86_decode(&i, M64, p, 15) == (len ? (int)len : -1));
		assert(x86_decode(&i, M64, p, 14) == 0);
	}
}

static void test_rex(void)
{
	struct x86_insn i;

	i = get(M64, "48 89 d8"); /* mov rax, rbx */
	assert(i.op == X86_OP_MOV && i.form == X86_F_RM_R && i.opsize == 8 && i.reg == 3);
	assert(i.rm == 0);
	assert(i.rex == 0x48 && i.off_opcode == 1 && i.off_modrm == 2 && !i.is_mem);
	assert(i.arm == X86_ACC_W);
	i = get(M64, "48 66 89 d8"); /* REX does not count: not last */
	assert(i.opsize == 2 && i.rex == 0);
	i = get(M64, "4f 40 89 d8"); /* the last REX counts */
	assert(i.opsize == 4 && i.rex == 0x40 && i.reg == 3 && i.rm == 0);
	i = get(M64, "66 48 89 d8"); /* W beats 66 */
	assert(i.opsize == 8);
	assert(op(M32, "48") == X86_OP_DEC);
	i = get(M64, "40 b4 01"); /* mov spl, 1 */
	assert(i.rex == 0x40 && i.rm == 4 && i.form == X86_F_O_I && i.imm == 1);
	i = get(M64, "44 8c c0"); /* mov eax, es: REX.R is ignored */
	assert(i.op == X86_OP_MOVSEG_FROM && i.sreg == X86_ES);
	i = get(M64, "4d 0f 6f c9"); /* MM registers have no REX */
	assert(i.op == X86_OP_MMX && i.reg == 1 && i.rm == 1 && i.kreg == X86_K_MM);
	i = get(M64, "49 bf 88 77 66 55 44 33 22 11");
	assert(i.opsize == 8 && i.rm == 15 && i.imm == 0x1122334455667788 && i.size_imm == 8);
	assert(i.off_imm == 2);
	/* group extensions are not extended */
	i = get(M64, "44 f7 d8");
	assert(i.op == X86_OP_NEG && i.reg == 3);
}

static void test_nop(void)
{
	assert(op(M64, "90") == X86_OP_NOP && op(M64, "48 90") == X86_OP_NOP);
	assert(op(M64, "f3 90") == X86_OP_PAUSE && op(M32, "f3 90") == X86_OP_PAUSE);
	assert(op(M64, "41 90") == X86_OP_XCHG && get(M64, "41 90").rm == 8);
	assert(get(M64, "91").form == X86_F_A_O);
	assert(op(M64, "f3 0f 1e fa") == X86_OP_NOP);
	assert(op(M64, "f3 48 0f 1e c8") == X86_OP_NOP /* RDSSP */);
	assert(op(M64, "66 0f 1f 84 00 00 00 00 00") == X86_OP_NOP);
	assert(op(M64, "0f 0d 08") == X86_OP_NOP);
	assert(op(M64, "0f 18 08") == X86_OP_NOP && op(M64, "0f 1a c0") == X86_OP_NOP);
	assert(op(M64, "0f b9 c0") == X86_OP_UD2 && op(M64, "0f ff 00") == X86_OP_UD2);
	assert(op(M64, "0f 0b") == X86_OP_UD2);
}

static void test_address(void)
{
	struct x86_insn i;

	i = get(M64, "8b 05 44 33 22 11");
	assert(i.is_mem && i.base == X86_BASE_RIP && i.index == -1 && i.disp == 0x11223344);
	assert(i.seg == X86_DS);
	assert(i.off_disp == 2 && i.size_disp == 4 && i.adsize == 8);
	i = get(M64, "67 8b 05 44 33 22 11");
	assert(i.base == X86_BASE_RIP && i.adsize == 4);
	assert(get(M32, "8b 05 44 33 22 11").base == -1);
	/* REX.B and SIB.base 5 without mod: no base (Zydis 4.0 says r13d with 67) */
	i = get(M64, "67 41 8b 04 25 44 33 22 81");
	assert(i.base == -1 && i.index == -1 && i.disp == (int32_t)0x81223344);
	assert(i.disp32 == (int32_t)0x81223344);
	i = get(M64, "42 8b 04 a5 00 00 00 00"); /* REX.X: r12 can be an index */
	assert(i.index == 12 && i.base == -1 && i.scale == 2);
	/* SS by rSP and rBP, in every address size */
	assert(get(M64, "8b 04 24").seg == X86_SS && get(M64, "8b 45 00").seg == X86_SS);
	assert(get(M64, "41 8b 04 24").seg == X86_DS && get(M64, "41 8b 45 00").seg == X86_DS);
	assert(get(M32, "8b 45 00").seg == X86_SS && get(M16, "8b 46 00").seg == X86_SS);
	assert(get(M16, "8b 02").seg == X86_SS && get(M16, "8b 06 00 00").seg == X86_DS);
	assert(get(M32, "8b 44 28 00").seg == X86_DS /* ebp is the index */);
	assert(get(M32, "3e 8b 45 00").seg == X86_DS && get(M32, "26 8b 45 00").seg == X86_ES);
	/* 64-bit mode: only FS and GS count, and nothing takes them back */
	i = get(M64, "26 8b 45 00");
	assert(i.seg == X86_SS && !(i.pfx & X86_PFX_SEG));
	i = get(M64, "65 2e 8b 00");
	assert(i.seg == X86_GS && i.pfx & X86_PFX_SEG);
	assert(get(M64, "64 65 8b 00").seg == X86_GS);
	i = get(M16, "8b 40 80");
	assert(i.base == X86_RBX && i.index == X86_RSI && i.disp == -128 && i.adsize == 2);
	/* moffs */
	i = get(M64, "48 a1 88 77 66 55 44 33 22 81");
	assert(i.form == X86_F_A_M && i.is_mem && i.disp == (int64_t)0x8122334455667788);
	assert(i.memsize == 8);
	assert(i.off_disp == 2 && i.size_disp == 8 && !i.off_imm && i.arm == X86_ACC_R);
	i = get(M64, "67 a2 00 00 00 ff");
	assert(i.form == X86_F_M_A && i.disp == 0xff000000 && i.opsize == 1 && i.arm == X86_ACC_W);
	assert(get(M16, "a1 34 f2").disp == 0xf234);
}

static void test_stack_and_branches(void)
{
	struct x86_insn i;

	assert(get(M64, "50").opsize == 8 && get(M64, "66 50").opsize == 2);
	assert(get(M32, "66 50").opsize == 2);
	assert(get(M64, "50").attr & X86_A_EAX64 && !(get(M64, "89 d8").attr & X86_A_EAX64));
	i = get(M64, "68 00 00 00 80");
	assert(i.opsize == 8 && i.imm == (int32_t)0x80000000);
	i = get(M64, "66 68 00 80");
	assert(i.opsize == 2 && i.imm == -32768);
	assert(get(M64, "6a ff").imm == -1);
	/* near branches are 64 bits whatever 66 says (Intel) */
	i = get(M64, "66 e8 fc ff ff ff");
	assert(i.op == X86_OP_CALL && i.opsize == 8 && i.imm == -4 && i.attr & X86_A_BRANCH);
	assert(get(M64, "66 c3").opsize == 8 && get(M64, "66 ff e0").opsize == 8);
	assert(get(M32, "66 e8 fc ff").opsize == 2 && get(M16, "e8 fc ff").imm == -4);
	i = get(M64, "0f 84 10 00 00 00");
	assert(i.op == X86_OP_JCC && i.cc == 4 && i.fl_in == X86_ZF);
	assert(get(M64, "7f 00").fl_in == (X86_ZF | X86_SF | X86_OF));
	assert(get(M64, "c2 00 80").imm == 0x8000);
	/* far: operand size 32 by default; 64 by REX.W (Intel) */
	assert(get(M64, "cb").opsize == 4 && get(M64, "48 cb").opsize == 8);
	assert(get(M64, "48 cf").opsize == 8);
	i = get(M64, "48 ff 28");
	assert(i.op == X86_OP_JMPFAR && i.opsize == 8 && i.memsize == 10);
	i = get(M32, "ea 78 56 34 12 cd ab");
	assert(i.form == X86_F_PTR && i.imm == 0x12345678 && i.imm2 == 0xabcd);
	assert(ud(M64, "ea 78 56 34 12 cd ab"));
	i = get(M16, "9a 78 d6 34 12");
	assert(i.imm == 0xd678 && i.imm2 == 0x1234);
	assert(ud(M64, "ff e8") && ud(M32, "ff d8")); /* far through a register */
	i = get(M64, "c8 00 80 ff");
	assert(i.op == X86_OP_ENTER && i.opsize == 8 && i.imm == 0x8000 && i.imm2 == 0xff);
	assert(get(M64, "67 e3 00").adsize == 4 && get(M64, "67 e3 00").opsize == 8);
	assert(get(M32, "0f a8").sreg == X86_GS && get(M64, "0f a1").sreg == X86_FS);
	assert(get(M32, "16").sreg == X86_SS);
	assert(get(M64, "0f 05").attr & X86_A_BRANCH && get(M64, "cd 80").imm == 0x80);
}

static void test_legacy_only(void)
{
	static const char *const gone[] = {"06", "07", "0e", "16", "17", "1e", "1f", "27", "2f", "37",
		"3f", "60", "61", "62 00", "82 c0 00", "9a 00 00 00 00 00 00", "c4 00", "c5 00", "ce",
		"d4 0a", "d5 0a", "d6", "ea 00 00 00 00 00 00"};

	for (unsigned k = 0; k < sizeof(gone) / sizeof(gone[0]); k++)
		assert(ud(M64, gone[k]));
	for (unsigned k = 0; k < sizeof(gone) / sizeof(gone[0]); k++)
		assert(!ud(M32, gone[k]));
	assert(op(M64, "63 c3") == X86_OP_MOVSX && get(M64, "48 63 c3").srcsize == 4);
	assert(op(M32, "63 c3") == X86_OP_ARPL && get(M32, "63 00").memsize == 2);
	assert(get(M32, "c4 00").sreg == X86_ES && get(M32, "c5 00").sreg == X86_DS);
	assert(get(M64, "0f b2 00").sreg == X86_SS && get(M64, "0f b4 00").sreg == X86_FS &&
		get(M64, "48 0f b5 00").sreg == X86_GS && get(M64, "48 0f b5 00").memsize == 10);
	assert(ud(M64, "0f b2 c0"));
}

static void test_lock(void)
{
	assert(op(M64, "f0 01 00") == X86_OP_ADD && ud(M64, "f0 01 c0") && ud(M64, "f0 03 00"));
	assert(ud(M64, "f0 39 00") && ud(M64, "f0 89 00") && ud(M64, "f0 90"));
	assert(ud(M64, "f0 0f a3 00"));
	assert(op(M64, "f0 0f ab 00") == X86_OP_BTS && op(M64, "f0 0f c7 08") == X86_OP_CMPXCHG8B);
	assert(op(M64, "f0 87 00") == X86_OP_XCHG && get(M64, "87 00").attr & X86_A_IMPLICIT_RMW);
	assert(op(M64, "f0 83 20 00") == X86_OP_AND && ud(M64, "f0 83 38 00"));
	assert(ud(M32, "f0 0f 20 c0") && ud(M64, "f0 0f 22 c0")); /* AMD's LOCK MOV CR8 */
	assert(op(M64, "f2 f0 ff 00") == X86_OP_INC); /* XACQUIRE */
}

static void test_system(void)
{
	struct x86_insn i;

	i = get(M64, "44 0f 22 c0");
	assert(i.op == X86_OP_MOVCR_TO && i.form == X86_F_R_RM && i.reg == 8 && i.rm == 0);
	assert(i.opsize == 8);
	i = get(M64, "0f 20 18"); /* mod is ignored */
	assert(i.op == X86_OP_MOVCR_FROM && i.form == X86_F_RM_R && !i.is_mem && i.reg == 3);
	assert(i.rm == 0);
	assert(get(M64, "0f 20 04").len == 3 && get(M32, "0f 22 c0").opsize == 4);
	assert(ud(M64, "0f 20 c8") && ud(M64, "0f 20 e8") && ud(M64, "44 0f 20 c8"));
	assert(ud(M64, "44 0f 21 c0"));
	assert(ud(M64, "8e c8") && ud(M64, "8e f0") && ud(M64, "8c f8"));
	assert(op(M64, "8c c8") == X86_OP_MOVSEG_FROM);
	assert(op(M64, "0f 01 f8") == X86_OP_SWAPGS && ud(M32, "0f 01 f8"));
	assert(op(M64, "0f 01 c1") == X86_OP_VMCALL && op(M64, "0f 01 d9") == X86_OP_VMCALL);
	assert(op(M64, "0f 01 c8") == X86_OP_MONITOR && op(M64, "0f 01 c9") == X86_OP_MWAIT);
	assert(op(M64, "0f 01 ca") == X86_OP_CLAC && op(M64, "0f 01 cb") == X86_OP_STAC);
	assert(op(M64, "0f 01 d0") == X86_OP_XGETBV && op(M64, "0f 01 d1") == X86_OP_XSETBV);
	assert(op(M64, "0f 01 f9") == X86_OP_RDTSCP && op(M64, "0f 01 e8") == X86_OP_SERIALIZE);
	assert(op(M64, "0f 01 fd") == X86_OP_RDPRU && ud(M64, "0f 01 fc") && ud(M64, "0f 01 d8"));
	assert(ud(M64, "0f 01 d5") && ud(M64, "0f 01 d6") && ud(M64, "0f 01 c2"));
	assert(ud(M64, "0f 01 ee"));
	assert(ud(M64, "c7 f8 00 00 00 00") && ud(M64, "c6 f8 00") && ud(M64, "c7 c8 00 00 00 00"));
	i = get(M64, "0f 01 10");
	assert(i.op == X86_OP_LGDT && i.memsize == 10 && i.opsize == 8 && i.attr & X86_A_PRIV);
	assert(get(M32, "0f 01 18").memsize == 6);
	i = get(M64, "48 0f 00 c8");
	assert(i.op == X86_OP_STR && i.opsize == 8);
	assert(get(M64, "48 0f 00 08").memsize == 2);
	i = get(M64, "48 0f c7 08");
	assert(i.op == X86_OP_CMPXCHG8B && i.opsize == 8 && i.memsize == 16 && i.fl_out == X86_ZF);
	assert(get(M32, "0f c7 08").memsize == 8 && ud(M64, "0f c7 c8"));
	assert(op(M64, "48 0f c7 f0") == X86_OP_RDRAND && op(M64, "0f c7 f8") == X86_OP_RDSEED);
	assert(get(M64, "f3 0f c7 f8").op == X86_OP_RDPID && get(M64, "f3 0f c7 f8").opsize == 8);
	assert(get(M64, "f3 48 0f ae c0").op == X86_OP_RDFSBASE);
	assert(get(M64, "f3 0f ae d8").op == X86_OP_WRGSBASE);
	assert(ud(M32, "f3 0f ae c0") && ud(M64, "0f ae c0"));
	assert(op(M64, "0f ae e8") == X86_OP_LFENCE && op(M64, "0f ae f0") == X86_OP_MFENCE);
	assert(op(M64, "0f ae f8") == X86_OP_SFENCE);
	assert(op(M64, "66 0f ae 38") == X86_OP_CLFLUSH);
	assert(op(M64, "66 0f ae 30") == X86_OP_CLFLUSH);
	assert(get(M64, "48 0f ae 21").op == X86_OP_XSAVE && get(M64, "48 0f ae 21").opsize == 8);
	assert(op(M64, "0f c7 21") == X86_OP_XSAVEC && ud(M64, "0f c7 29") && ud(M64, "0f c7 19"));
	i = get(M64, "66 0f 38 82 08");
	assert(i.op == X86_OP_INVPCID && i.opsize == 8 && i.memsize == 16);
	assert(ud(M64, "66 0f 38 80 08") && ud(M64, "0f 0f c0 9e") && ud(M64, "0f aa"));
	assert(ud(M64, "0f 37"));
	assert(op(M64, "f3 0f 09") == X86_OP_WBINVD);
}

static void test_flags(void)
{
	struct x86_insn i;
	const unsigned all = X86_ARITH;

	i = get(M64, "01 d8");
	assert(i.fl_in == 0 && i.fl_out == all && i.fl_undef == 0);
	i = get(M64, "11 d8");
	assert(i.fl_in == X86_CF);
	i = get(M64, "31 c0");
	assert(i.fl_out == (all & ~X86_AF) && i.fl_undef == X86_AF);
	assert(get(M64, "ff c0").fl_out == (all & ~X86_CF));
	/* shifts: 0, 1, 2, too many, CL */
	i = get(M64, "c1 e0 20");
	assert(i.op == X86_OP_SHL && !i.fl_in && !i.fl_out && !i.fl_undef && i.imm == 0x20);
	i = get(M64, "48 c1 e0 20");
	assert(i.fl_out == (all & ~X86_AF & ~X86_OF) && i.fl_undef == (X86_AF | X86_OF));
	assert(get(M64, "d1 e0").fl_out == (all & ~X86_AF));
	assert(get(M64, "c1 e0 01").fl_out == (all & ~X86_AF));
	assert(get(M64, "c1 e0 02").fl_undef == (X86_AF | X86_OF) && get(M64, "c1 c0 02").fl_undef == X86_OF);
	assert(get(M64, "c1 c0 01").fl_undef == 0 && get(M64, "c1 d0 03").fl_in == X86_CF);
	assert(get(M64, "0f ac c0 02").fl_undef == (X86_AF | X86_OF));
	assert(get(M64, "c0 e8 07").fl_undef == (X86_AF | X86_OF) && get(M64, "0f ac c0 01").fl_undef == X86_AF);
	assert(get(M64, "c0 e0 08").fl_undef == (X86_AF | X86_OF | X86_CF));
	assert(get(M64, "c0 f8 08").fl_undef == (X86_AF | X86_OF));
	i = get(M64, "d3 e0");
	assert(i.fl_in == all && i.fl_undef == (X86_AF | X86_OF));
	assert(i.fl_out == (all & ~X86_AF & ~X86_OF));
	i = get(M64, "d3 c0");
	assert(i.fl_in == (X86_CF | X86_OF) && i.fl_out == X86_CF && i.fl_undef == X86_OF);
	i = get(M64, "66 0f a4 c0 11");
	assert(i.op == X86_OP_SHLD && i.form == X86_F_RM_R_I && i.fl_undef == all && !i.fl_out);
	assert(get(M64, "0f a5 c0").form == X86_F_RM_CL);
	assert(get(M64, "f3 a6").fl_in == (all | X86_DF) && get(M64, "a6").fl_in == X86_DF);
	assert(get(M64, "f3 a4").fl_in == X86_DF && !get(M64, "f3 a4").fl_out);
	assert(get(M64, "0f bc c0").fl_out == X86_ZF);
	assert(get(M64, "f3 0f bc c0").fl_out == (X86_ZF | X86_CF));
	assert(get(M64, "66 0f 38 f6 c0").op == X86_OP_ADCX);
	assert(get(M64, "66 0f 38 f6 c0").fl_out == X86_CF);
	assert(get(M64, "f3 0f 38 f6 c0").op == X86_OP_ADOX);
	assert(get(M64, "f3 0f 38 f6 c0").fl_in == X86_OF);
	assert(get(M64, "9d").fl_out == (all | X86_DF) && get(M64, "cc").fl_in == (all | X86_DF));
	assert(get(M64, "db f1").fl_out == all && get(M64, "da c1").fl_in == X86_CF);
	assert(get(M64, "d9 c1").fl_in == 0);
}

static void test_prefix_selects(void)
{
	assert(op(M64, "0f bc c0") == X86_OP_BSF && op(M64, "f2 0f bc c0") == X86_OP_BSF);
	assert(op(M64, "f3 0f bc c0") == X86_OP_TZCNT && op(M64, "66 f3 0f bd c0") == X86_OP_LZCNT);
	assert(get(M64, "66 f3 0f bd c0").opsize == 2 && op(M64, "f2 f3 0f bd c0") == X86_OP_LZCNT);
	assert(op(M64, "f3 f2 0f bd c0") == X86_OP_BSR);
	assert((get(M64, "f3 f2 0f bd c0").pfx & X86_PFX_F3) == 0);
	assert(op(M64, "f3 0f b8 c0") == X86_OP_POPCNT && ud(M64, "0f b8 c0"));
	struct x86_insn i = get(M64, "f2 0f 38 f0 c4");

	assert(i.op == X86_OP_CRC32 && i.srcsize == 1 && i.opsize == 4);
	i = get(M64, "66 f2 0f 38 f1 c4");
	assert(i.srcsize == 2 && i.opsize == 4);
	i = get(M64, "f2 48 0f 38 f1 00");
	assert(i.srcsize == 8 && i.opsize == 8 && i.memsize == 8);
	assert(op(M64, "0f 38 f0 00") == X86_OP_MOVBE && ud(M64, "0f 38 f0 c0"));
	assert(get(M64, "66 0f 38 f1 00").opsize == 2);
	i = get(M64, "0f be c3");
	assert(i.op == X86_OP_MOVSX && i.srcsize == 1 && i.opsize == 4 && i.rm == 3);
	assert(get(M64, "0f b7 00").memsize == 2);
	assert(op(M64, "f6 c8 01") == X86_OP_TEST && op(M64, "d0 f0") == X86_OP_SAL);
	assert(get(M64, "48 ed").opsize == 4 && get(M64, "e4 ff").imm == 0xff);
	assert(get(M64, "f3 48 ab").op == X86_OP_STOS && get(M64, "f3 48 ab").opsize == 8);
	assert(get(M64, "65 a4").seg == X86_GS && get(M64, "65 d7").seg == X86_GS);
	assert(get(M32, "26 6e").seg == X86_ES);
	assert(op(M64, "0f c3 00") == X86_OP_MOVNTI && get(M64, "48 0f c3 00").regsize == 8);
	assert(ud(M64, "0f c3 c0"));
	assert(ud(M64, "66 0f c3 00"));
}

static void vec_is(struct x86_insn i, unsigned kreg, unsigned areg, unsigned kvex, unsigned avex,
	unsigned krm, unsigned arm, unsigned memsize, unsigned attr)
{
	assert(i.form == X86_F_VEC && i.kreg == kreg && i.areg == areg && i.kvex == kvex);
	assert(i.avex == avex);
	assert(i.krm == krm && i.arm == arm && i.memsize == memsize && i.attr == attr);
}

static void test_vector(void)
{
	enum { G = X86_K_GPR, X = X86_K_XMM, Q = X86_K_MM, R = X86_ACC_R, W = X86_ACC_W, RW = R | W,
		FP = X86_A_FP, AL = X86_A_ALIGN, VEX = X86_A_VEX };
	struct x86_insn i;

	vec_is(get(M64, "0f 58 c1"), X, RW, 0, 0, X, R, 16, FP | AL);
	vec_is(get(M64, "0f 58 00"), X, RW, 0, 0, 0, R, 16, FP | AL);
	vec_is(get(M64, "c5 f4 58 c2"), X, W, X, R, X, R, 32, FP | VEX);
	vec_is(get(M64, "f3 0f 10 c1"), X, RW, 0, 0, X, R, 4, 0); /* movss merges ... */
	vec_is(get(M64, "f3 0f 10 00"), X, W, 0, 0, 0, R, 4, 0);  /* ... but not from memory */
	vec_is(get(M64, "c5 fa 10 c1"), X, W, X, R, X, R, 4, VEX);
	vec_is(get(M64, "f2 0f 11 c1"), X, R, 0, 0, X, RW, 8, 0);
	vec_is(get(M64, "f2 0f 11 00"), X, R, 0, 0, 0, W, 8, 0);
	assert(ud(M64, "c5 f2 10 00")); /* vmovss xmm, m32 has no vvvv */
	vec_is(get(M64, "0f 28 00"), X, W, 0, 0, 0, R, 16, AL);
	vec_is(get(M64, "c5 fc 28 00"), X, W, 0, 0, 0, R, 32, AL | VEX);
	vec_is(get(M64, "c5 fc 10 00"), X, W, 0, 0, 0, R, 32, VEX);
	vec_is(get(M64, "0f 10 00"), X, W, 0, 0, 0, R, 16, 0);
	vec_is(get(M64, "66 0f 7f 00"), X, R, 0, 0, 0, W, 16, AL);
	vec_is(get(M64, "f2 0f f0 00"), X, W, 0, 0, 0, R, 16, 0);
	vec_is(get(M64, "66 0f 3a 63 00 0c"), X, R, 0, 0, 0, R, 16, X86_A_PCMPSTR | X86_A_FLAGS);
	vec_is(get(M64, "66 0f 38 17 c1"), X, R, 0, 0, X, R, 16, AL | X86_A_FLAGS);
	vec_is(get(M64, "66 0f 2f c1"), X, R, 0, 0, X, R, 8, FP | X86_A_FLAGS);
	vec_is(get(M64, "66 0f 38 14 c1"), X, RW, 0, 0, X, R, 16, AL | X86_A_XMM0);
	vec_is(get(M64, "c4 e3 71 4a c2 30"), X, W, X, R, X, R, 16, VEX | X86_A_IS4);
	vec_is(get(M64, "c5 fd 6f 00"), X, W, 0, 0, 0, R, 32, AL | VEX);
	vec_is(get(M64, "c5 f5 fe c2"), X, W, X, R, X, R, 32, VEX | X86_A_AVX2);
	vec_is(get(M64, "c5 f1 fe c2"), X, W, X, R, X, R, 16, VEX);
	vec_is(get(M64, "c4 e2 79 18 00"), X, W, 0, 0, 0, R, 4, VEX);
	vec_is(get(M64, "c4 e2 79 18 c0"), X, W, 0, 0, X, R, 4, VEX | X86_A_AVX2);
	vec_is(get(M64, "c4 e2 7d 1a 00"), X, W, 0, 0, 0, R, 16, VEX);
	vec_is(get(M64, "c4 e3 75 18 00 01"), X, W, X, R, 0, R, 16, VEX);
	vec_is(get(M64, "66 0f 38 32 00"), X, W, 0, 0, 0, R, 2, 0); /* pmovzxbq */
	vec_is(get(M64, "c4 e2 7d 22 00"), X, W, 0, 0, 0, R, 4, VEX | X86_A_AVX2);
	vec_is(get(M64, "c5 fc 5a 00"), X, W, 0, 0, 0, R, 16, FP | VEX); /* vcvtps2pd ymm, m128 */
	vec_is(get(M64, "0f 5a 00"), X, W, 0, 0, 0, R, 8, FP);
	vec_is(get(M64, "0f 16 00"), X, RW, 0, 0, 0, R, 8, 0);
	vec_is(get(M64, "c5 ff 12 00"), X, W, 0, 0, 0, R, 32, VEX); /* vmovddup */
	vec_is(get(M64, "f2 0f 12 00"), X, W, 0, 0, 0, R, 8, 0);
	vec_is(get(M64, "66 0f 73 d8 04"), 0, 0, 0, 0, X, RW, 0, 0); /* psrldq */
	vec_is(get(M64, "c5 f9 73 d8 04"), 0, 0, X, W, X, R, 0, VEX);
	vec_is(get(M64, "0f d4 c1"), Q, RW, 0, 0, Q, R, 8, 0);
	vec_is(get(M64, "66 0f d2 00"), X, RW, 0, 0, 0, R, 16, AL);
	vec_is(get(M64, "c5 fd d2 00"), X, W, X, R, 0, R, 16, VEX | X86_A_AVX2);
	vec_is(get(M64, "c4 e2 f1 98 c2"), X, RW, X, R, X, R, 16, FP | VEX); /* fma */
	vec_is(get(M64, "c4 e2 f5 99 c2"), X, RW, X, R, X, R, 8, FP | VEX);
	assert(get(M64, "c4 e2 f5 99 c2").vl == 0); /* a scalar: L is ignored */
	vec_is(get(M64, "0f 38 c8 00"), X, RW, 0, 0, 0, R, 16, AL); /* SHA */
	vec_is(get(M64, "c4 e2 75 dc c2"), X, W, X, R, X, R, 32, VEX); /* VAES */

	i = get(M64, "f2 48 0f 2a c1");
	vec_is(i, X, RW, 0, 0, G, R, 8, FP);
	assert(i.rmsize == 8 && get(M64, "f2 0f 2a 00").memsize == 4);
	assert(get(M64, "f2 0f 2a c0").rmsize == 4);
	i = get(M64, "f2 48 0f 2c c1");
	vec_is(i, G, W, 0, 0, X, R, 8, FP);
	assert(i.regsize == 8);
	i = get(M64, "66 0f 3a 14 c8 05");
	vec_is(i, X, R, 0, 0, G, W, 1, 0);
	assert(i.rmsize == 4 && i.imm == 5 && get(M64, "66 0f 3a 14 08 05").rmsize == 0);
	i = get(M64, "66 0f 3a 14 08 ff");
	assert(i.memsize == 1 && i.imm == 0xff && i.op == X86_OP_VEC);
	assert(get(M64, "66 48 0f 6e c0").rmsize == 8 && get(M32, "66 0f 6e c0").rmsize == 4);
	i = get(M64, "0f d7 c1");
	assert(i.op == X86_OP_MMX && i.kreg == G && i.krm == Q && i.regsize == 4);
	assert(op(M64, "0f 77") == X86_OP_MMX && op(M64, "c5 f8 77") == X86_OP_VZERO);
	assert(get(M64, "c5 fc 77").vl == 1);
	assert(op(M64, "0f f7 c1") == X86_OP_MASKMOV && get(M64, "64 66 0f f7 c1").seg == X86_FS);

	i = get(M64, "c4 e2 e9 90 04 60"); /* vpgatherdq xmm0, [rax + xmm4 * 2], xmm2 */
	assert(i.op == X86_OP_GATHER && i.base == 0 && i.index == 4 && i.scale == 1);
	assert(i.memsize == 8);
	assert(i.krm == X86_K_VSIB && i.avex == RW && i.areg == RW && i.vvvv == 2);
	assert(i.attr & X86_A_AVX2);
	assert(ud(M64, "c4 e2 e9 90 00") && ud(M64, "c4 e2 f9 90 04 60"));
	assert(ud(M64, "c4 e2 e9 90 14 60"));
	i = get(M64, "c4 e2 75 2e 10");
	assert(i.op == X86_OP_VMASKMOV && i.arm == W && i.avex == R && i.areg == R);
	assert(i.memsize == 32);

	/* VEX and other prefixes; W, L, vvvv */
	assert(ud(M64, "66 c5 f8 58 c1") && ud(M64, "f3 c5 f8 58 c1"));
	assert(ud(M64, "48 c5 f8 58 c1") && ud(M64, "f0 c5 f8 58 c1"));
	assert(get(M64, "64 67 c5 f8 58 00").seg == X86_FS);
	assert(op(M64, "48 2e c5 f8 58 c1") == X86_OP_VEC);
	assert(ud(M64, "c5 f0 28 c1") && ud(M64, "c5 fd 6e c0") && ud(M64, "c4 e3 7d 00 c0 00"));
	assert(ud(M64, "c4 e0 78 58 c1"));
	assert(ud(M64, "c4 e2 7c f2 c0") && ud(M64, "c5 f8 b0 c0"));
	assert(ud(M64, "62 f1 7c 48 58 c1") && ud(M64, "8f e9 78 81 c0"));
	assert(ud(M64, "66 0f 38 cf c0") && ud(M64, "66 0f 79 c0") && ud(M64, "c5 f8 41 c0"));
	/* 32-bit: eight registers; C4 and C5 with a memory operand are LES and LDS */
	i = get(M32, "c4 c1 30 58 c1");
	assert(i.op == X86_OP_VEC && i.rm == 1 && i.vvvv == 1 && op(M32, "c5 00") == X86_OP_LDS);

	/* BMI */
	i = get(M64, "c4 e2 f0 f2 c2");
	assert(i.op == X86_OP_ANDN && i.form == X86_F_R_V_RM && i.vvvv == 1 && i.opsize == 8);
	assert(i.attr == VEX);
	assert(get(M64, "c4 e3 fb f0 c2 05").form == X86_F_R_RM_I);
	assert(get(M64, "c4 e2 70 f3 ca").form == X86_F_V_RM);
	assert(get(M32, "c4 e2 f0 f2 c2").opsize == 4);
	assert(op(M64, "c5 f8 ae 10") == X86_OP_LDMXCSR && ud(M64, "c5 fc ae 10"));
	assert(ud(M64, "c5 f8 ae 00"));
}

static void test_x87(void)
{
	struct x86_insn i;

	i = get(M64, "d9 30");
	assert(i.op == X86_OP_X87 && i.arm == X86_ACC_W && i.memsize == 28);
	assert(get(M64, "66 d9 30").memsize == 14);
	assert(get(M16, "d9 30").memsize == 14 && get(M16, "66 d9 20").memsize == 28);
	assert(get(M64, "66 48 d9 30").memsize == 28);
	assert(get(M64, "dd 30").memsize == 108 && get(M16, "dd 20").memsize == 94);
	assert(get(M16, "dd 20").arm == X86_ACC_R);
	assert(get(M64, "db 28").memsize == 10 && get(M64, "db 38").arm == X86_ACC_W);
	assert(get(M64, "df 20").memsize == 10);
	assert(get(M64, "d9 28").memsize == 2 && get(M64, "d9 38").arm == X86_ACC_W);
	assert(get(M64, "dd 00").memsize == 8);
	i = get(M64, "df e0"); /* fnstsw ax */
	assert(i.krm == X86_K_GPR && i.rm == 0 && i.rmsize == 2 && i.arm == X86_ACC_W);
	assert(get(M64, "41 df e0").rm == 0 && get(M64, "9b").op == X86_OP_FWAIT);
	/* aliases that CPUs execute, and what they do not */
	assert(!ud(M64, "dc d0") && !ud(M64, "dc d8") && !ud(M64, "dd c8") && !ud(M64, "de d0"));
	assert(!ud(M64, "df c0"));
	assert(!ud(M64, "df c8") && !ud(M64, "df d0") && !ud(M64, "df d8") && !ud(M64, "d9 d8"));
	assert(!ud(M64, "db e4"));
	assert(ud(M64, "d9 d1") && ud(M64, "d9 08") && ud(M64, "d9 e2") && ud(M64, "da e0"));
	assert(ud(M64, "da f0"));
	assert(ud(M64, "db e5") && ud(M64, "db 20") && ud(M64, "dd f0") && ud(M64, "de d8"));
	assert(ud(M64, "df e1") && ud(M64, "df f8"));
}

static void test_names(void)
{
	for (unsigned k = 0; k < X86_OP_COUNT; k++) {
		assert(x86_op_name(k) && x86_op_name(k)[0] && x86_op_name(k)[0] != '?');
		for (unsigned j = 0; j < k; j++)
			assert(strcmp(x86_op_name(j), x86_op_name(k)));
	}
	assert(!strcmp(x86_op_name(X86_OP_ADD), "add") && !strcmp(x86_op_name(X86_OP_VEC), "vec"));
	assert(x86_op_name(X86_OP_COUNT) != NULL);
}

int main(void)
{
	test_length();
	test_rex();
	test_nop();
	test_address();
	test_stack_and_branches();
	test_legacy_only();
	test_lock();
	test_system();
	test_flags();
	test_prefix_selects();
	test_vector();
	test_x87();
	test_names();
	return 0;
}
