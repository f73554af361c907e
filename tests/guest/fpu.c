/* SPDX-License-Identifier: MIT */
/* x87, SSE and AVX state: FXSAVE, XSAVE in its forms, lazy switching by CR0.TS, control and status */
#include "rt.h"

SNIPPET(s_fxrstor, "fxrstor (%rdi)\n ret");
SNIPPET(s_xrstor, "mov %esi, %eax\n mov %rsi, %rdx\n shr $32, %rdx\n .globl s_xrstor_at\ns_xrstor_at: xrstor (%rdi)\n ret");
LABEL(s_xrstor_at);
SNIPPET(s_xsave, "mov %esi, %eax\n mov %rsi, %rdx\n shr $32, %rdx\n .globl s_xsave_at\ns_xsave_at: xsave (%rdi)\n ret");
LABEL(s_xsave_at);
SNIPPET(s_xsaveopt, "mov %esi, %eax\n xor %edx, %edx\n xsaveopt (%rdi)\n ret");
SNIPPET(s_xsavec, "mov %esi, %eax\n xor %edx, %edx\n .globl s_xsavec_at\ns_xsavec_at: xsavec (%rdi)\n ret");
LABEL(s_xsavec_at);
SNIPPET(s_vaddps, ".byte 0xc5, 0xf4, 0x58, 0xc2\n ret"); /* vaddps %ymm2, %ymm1, %ymm0 */

static uint8_t area[2][4096] __attribute__((aligned(64)));

static void load_all(void)
{
	__asm__ volatile("fninit\n fld1\n fldpi\n fldz\n"
		"mov $0x1111111111111111, %%rax\n movq %%rax, %%xmm0\n mov $0xfefefefefefefefe, %%rax\n movq %%rax, %%xmm15\n" ::: "rax");
}

static void fxsave(void)
{
	uint8_t *a = area[0], *b = area[1];

	section("FXSAVE");
	load_all();
	memset(a, 0xcc, 512);
	__asm__ volatile("fxsave64 (%0)" :: "r"(a) : "memory");
	check(*(uint16_t *)a == 0x37f, "FCW %x", *(uint16_t *)a);
	check((*(uint16_t *)(a + 2) >> 11 & 7) == 5, "TOP %x", *(uint16_t *)(a + 2));
	check(a[4] == 0xe0, "abridged tag %x", a[4]);
	check(*(uint32_t *)(a + 24) == 0x1f80, "MXCSR %x", *(uint32_t *)(a + 24));
	check(*(uint64_t *)(a + 32) == 0 && *(uint16_t *)(a + 40) == 0, "ST0 is 0");
	check(*(uint64_t *)(a + 48) == 0xc90fdaa22168c235 && *(uint16_t *)(a + 56) == 0x4000, "ST1 is pi");
	check(*(uint64_t *)(a + 64) == 0x8000000000000000 && *(uint16_t *)(a + 72) == 0x3fff, "ST2 is 1");
	check(*(uint64_t *)(a + 160) == 0x1111111111111111, "xmm0");
	check(*(uint64_t *)(a + 160 + 240) == 0xfefefefefefefefe, "xmm15");
	memcpy(b, a, 512);
	__asm__ volatile("fninit\n pxor %%xmm0, %%xmm0\n pxor %%xmm15, %%xmm15\n fxrstor64 (%0)" :: "r"(b) : "memory");
	memset(b, 0xcc, 512);
	__asm__ volatile("fxsave64 (%0)" :: "r"(b) : "memory");
	check(!memcmp(a, b, 4) && a[4] == b[4] && !memcmp(a + 24, b + 24, 4) && !memcmp(a + 160, b + 160, 256), "there and back");
	for (unsigned i = 0; i < 8; i++)
		check(!memcmp(a + 32 + 16 * i, b + 32 + 16 * i, 10), "st%u", i);
	memcpy(b, a, 512);
	*(uint32_t *)(b + 24) = 0x10000;
	quirk("TCG 7.2 accepts it");
	want(catch(s_fxrstor, b), GP, 0, s_fxrstor, "reserved MXCSR bits");
	want(catch(s_fxrstor, a + 8), GP, 0, s_fxrstor, "misaligned");
	__asm__ volatile("fninit");
}

static void xsave(void)
{
	uint8_t *a = area[0], *b = area[1];
	ulong cr4 = rdcr4();
	bool avx = cpu_has(F_AVX);
	uint64_t *bv = (uint64_t *)(void *)(a + 512);

	section("XSAVE");
	if (!cpu_has(F_XSAVE)) {
		skip("no XSAVE");
		return;
	}
	want(catch(s_xsave, a, 3), UD, 0, s_xsave_at, "without OSXSAVE");
	wrcr4(cr4 | CR4_OSXSAVE);
	__asm__ volatile("xsetbv" :: "a"(avx ? 7 : 3), "d"(0), "c"(0));
	load_all();
	memset(a, 0, 4096);
	catch(s_xsave, a, 3);
	check((*bv & 3) == 3, "XSTATE_BV %llx", (unsigned long long)*bv);
	check(*(uint64_t *)(a + 160) == 0x1111111111111111, "xmm0");
	memset(a, 0, 4096);
	catch(s_xsave, a, 1);
	check((*bv & 3) == 1 && *(uint64_t *)(a + 160) == 0, "x87 only: bv %llx", (unsigned long long)*bv);
	memset(a, 0, 4096);
	*bv = 4; /* not asked for: must stay */
	catch(s_xsave, a, 2);
	check((*bv & 4) == 4, "bits outside the mask stay: %llx", (unsigned long long)*bv);
	/* restoring with a bit clear initialises */
	memset(a, 0, 4096);
	catch(s_xsave, a, 3);
	*bv = 1;
	catch(s_xrstor, a, 3);
	{
		uint64_t x;

		__asm__ volatile("movq %%xmm0, %0" : "=r"(x));
		check(x == 0, "XRSTOR with the SSE bit clear zeroes: %llx", (unsigned long long)x);
		__asm__ volatile("movq %0, %%xmm0" :: "r"(0x55ull));
		*bv = 3;
		catch(s_xrstor, a, 1);
		__asm__ volatile("movq %%xmm0, %0" : "=r"(x));
		check(x == 0x55, "XRSTOR outside the mask leaves it");
		catch(s_xrstor, a, 3);
		__asm__ volatile("movq %%xmm0, %0" : "=r"(x));
		check(x == 0x1111111111111111, "XRSTOR");
	}
	want(catch(s_xsave, a + 16, 3), GP, 0, s_xsave_at, "misaligned");
	*bv = 1ull << 40;
	want(catch(s_xrstor, a, -1ul), GP, 0, s_xrstor_at, "XSTATE_BV with unknown bits");
	*bv = 3;
	bv[2] = 1;
	want(catch(s_xrstor, a, 3), GP, 0, s_xrstor_at, "reserved bytes of the header");
	bv[2] = 0;
	bv[1] = 5;
	quirk("TCG 7.2 does not check");
	want(catch(s_xrstor, a, 3), GP, 0, s_xrstor_at, "XCOMP_BV without the compact bit");
	bv[1] = 0;
	if (avx) {
		section("AVX");
		__asm__ volatile("mov $0x7777, %%eax\n movq %%rax, %%xmm1\n .byte 0xc4,0xe3,0x75,0x18,0xc9,1" ::: "rax"); /* vinsertf128 $1,xmm1,ymm1,ymm1 */
		memset(a, 0, 4096);
		catch(s_xsave, a, 7);
		check(*(uint64_t *)(a + 576 + 16) == 0x7777 && *bv == 7, "upper half of ymm1: %llx", (unsigned long long)*(uint64_t *)(a + 576 + 16));
		__asm__ volatile(".byte 0xc5,0xf8,0x77"); /* vzeroupper */
		memset(b, 0, 4096);
		catch(s_xsave, b, 7);
		check(*(uint64_t *)(b + 576 + 16) == 0, "vzeroupper");
		catch(s_xrstor, a, 7);
		memset(b, 0, 4096);
		catch(s_xsave, b, 4);
		check(*(uint64_t *)(b + 576 + 16) == 0x7777, "XRSTOR brings it back");
		/* an SSE instruction keeps the upper half, a VEX.128 one clears it */
		__asm__ volatile("xorps %%xmm1, %%xmm1" ::: "memory");
		catch(s_xsave, b, 4);
		check(*(uint64_t *)(b + 576 + 16) == 0x7777, "xorps keeps the upper half");
		__asm__ volatile(".byte 0xc5,0xf0,0x57,0xc9" ::: "memory"); /* vxorps %xmm1,%xmm1,%xmm1 */
		memset(b, 0, 4096);
		catch(s_xsave, b, 4);
		check(*(uint64_t *)(b + 576 + 16) == 0, "vxorps xmm clears the upper half");
		__asm__ volatile("xsetbv" :: "a"(3), "d"(0), "c"(0));
		want(catch(s_vaddps), UD, 0, s_vaddps, "AVX with XCR0.AVX clear");
		__asm__ volatile("xsetbv" :: "a"(7), "d"(0), "c"(0));
		wrcr0(rdcr0() | CR0_TS);
		want(catch(s_vaddps), NM, 0, s_vaddps, "AVX with CR0.TS");
		quirk("TCG 7.2 does not check");
		want(catch(s_xsave, a, 7), NM, 0, s_xsave_at, "XSAVE with CR0.TS");
		quirk("TCG 7.2 does not check");
		want(catch(s_xrstor, a, 7), NM, 0, s_xrstor_at, "XRSTOR with CR0.TS");
		wrcr0(rdcr0() & ~(ulong)CR0_TS);
		want(catch(s_vaddps), NOTRAP, 0, NULL, "AVX");
		wrcr4(cr4);
		want(catch(s_vaddps), UD, 0, s_vaddps, "AVX without OSXSAVE");
		wrcr4(cr4 | CR4_OSXSAVE);
	}
	if (cpu_has(F_XSAVEC)) {
		section("XSAVEC");
		load_all();
		memset(a, 0, 4096);
		catch(s_xsavec, a, 3);
		check(bv[1] == (1ull << 63 | 3) && (bv[0] & ~3ull) == 0, "XCOMP_BV %llx", (unsigned long long)bv[1]);
		__asm__ volatile("pxor %%xmm15, %%xmm15" ::: "memory");
		want(catch(s_xrstor, a, 3), NOTRAP, 0, NULL, "compact XRSTOR");
		memset(b, 0, 4096);
		catch(s_xsave, b, 3);
		check(*(uint64_t *)(b + 160 + 240) == 0xfefefefefefefefe, "xmm15");
		bv[1] |= 1ull << 30;
		want(catch(s_xrstor, a, 3), GP, 0, s_xrstor_at, "compact, component not in XCR0");
	}
	if (cpu_has(F_XSAVEOPT)) {
		section("XSAVEOPT");
		load_all();
		memset(a, 0, 4096);
		catch(s_xsaveopt, a, 3);
		check(*(uint64_t *)(a + 160 + 240) == 0xfefefefefefefefe, "xmm15");
	}
	__asm__ volatile("fninit");
	wrcr4(cr4);
}

static void x87(void)
{
	uint8_t env[28];
	uint16_t sw, cw = 0x37e;
	uint64_t r;

	section("x87");
	__asm__ volatile("fninit\n fnstsw %0" : "=m"(sw));
	check(sw == 0, "status after fninit: %x", sw);
	__asm__ volatile("fld1\n fld1\n faddp\n fistpll %0" : "=m"(r));
	check(r == 2, "1 + 1");
	__asm__ volatile("fldpi\n fstpl %0" : "=m"(r));
	check(r == 0x400921fb54442d18, "pi: %llx", (unsigned long long)r);
	__asm__ volatile("fninit\n .rept 9\n fld1\n .endr\n fnstsw %0" : "=m"(sw));
	quirk("TCG 7.2 has no stack faults");
	check((sw & 0x241) == 0x241, "stack overflow: %x", sw);
	__asm__ volatile("fninit\n fldz\n fnstenv %0" : "=m"(env));
	check(*(uint16_t *)(env + 8) == 0x7fff, "tags: one zero at 7: %x", *(uint16_t *)(env + 8));
	__asm__ volatile("fninit\n fld1\n fldz\n fucomip\n fstp %%st(0)\n pushf\n pop %0" : "=r"(r) :: "cc");
	check((r & (FL_CF | FL_ZF | FL_PF)) == FL_CF, "fucomip: 0 < 1: %llx", (unsigned long long)r);
	__asm__ volatile("fninit\n fldcw %1\n fnstcw %0" : "=m"(sw) : "m"(cw));
	check(sw == 0x37e, "control word %x", sw);
	__asm__ volatile("fninit\n fnclex");
	section("MXCSR");
	{
		uint32_t m = 0x1f80, n;
		float z = 0, o = 1;

		__asm__ volatile("ldmxcsr %1\n movss %2, %%xmm0\n divss %3, %%xmm0\n stmxcsr %0" : "=m"(n) : "m"(m), "m"(o), "m"(z));
		check(n == (0x1f80 | 4), "ZE flag: %x", n);
		__asm__ volatile("ldmxcsr %0" :: "m"(m));
		m = 0x7f80; /* toward zero */
		__asm__ volatile("ldmxcsr %1\n mov $3, %%eax\n cvtsi2ss %%eax, %%xmm0\n mov $2, %%eax\n cvtsi2ss %%eax, %%xmm1\n divss %%xmm1, %%xmm0\n cvtss2si %%xmm0, %%rax\n mov %%rax, %0"
			: "=m"(r) : "m"(m) : "rax");
		check(r == 1, "1.5 rounded toward zero: %llu", (unsigned long long)r);
		m = 0x5f80;
		__asm__ volatile("ldmxcsr %1\n cvtss2si %%xmm0, %%rax\n mov %%rax, %0" : "=m"(r) : "m"(m) : "rax");
		check(r == 2, "1.5 rounded up: %llu", (unsigned long long)r);
		m = 0x1f80;
		__asm__ volatile("ldmxcsr %0" :: "m"(m));
	}
}

void test_main(void)
{
	fxsave();
	xsave();
	x87();
}
