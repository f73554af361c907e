/* SPDX-License-Identifier: MIT */
/*
 * x87, MMX, SSE and AVX in code that is executed again and again, so that an engine that translates runs its
 * translation: registers across misses of the TLB, control words that unmask, CR0.TS, two contexts in turn. The
 * compiler uses none of these registers.
 */
#include "rt.h"

enum { PAGES = 700, TIMES = 12 };

static uint8_t *pages; /* PAGES of them: more than any first-level TLB of husk's has */
static uint8_t area[2][4096] __attribute__((aligned(64)));

static uint32_t *word(unsigned page)
{
	return (uint32_t *)(void *)(pages + (ulong)page * NPAGE + page % 1000 * 4);
}

static void fxsave_to(uint8_t *a)
{
	__asm__ volatile("fxsave64 (%0)" :: "r"(a) : "memory");
}

static void x87_misses(void)
{
	uint8_t *a = area[0];
	uint64_t want = 0, sum;
	uint16_t sw;

	section("x87 across TLB misses");
	for (unsigned i = 0; i < PAGES; i++)
		want += *word(i);
	for (unsigned n = 0; n < TIMES; n++) {
		__asm__ volatile("fninit\n fld1\n fldpi\n fldl2e\n fldlg2\n fldz");
		for (unsigned i = 0; i < PAGES; i++) /* one is pushed and popped each time; the stack goes round */
			__asm__ volatile("fildl (%0)\n faddp\n fincstp\n fdecstp" :: "r"(word(i)) : "memory");
		fxsave_to(a);
		__asm__ volatile("fistpll %0\n fnstsw %1" : "=m"(sum), "=m"(sw));
		check(sum == want, "sum %llu, not %llu", (unsigned long long)sum, (unsigned long long)want);
		check((sw & 0x3800) == 4 << 11 && !(sw & 0x7f), "status %x", sw);
		check(a[4] == 0xf8, "tags %x", a[4]);
		check(*(uint64_t *)(a + 64) == 0xb8aa3b295c17f0bc && *(uint64_t *)(a + 80) == 0xc90fdaa22168c235 &&
			*(uint64_t *)(a + 96) == 1ull << 63, "log2 e, pi and 1 are where they were");
		check(*(uint64_t *)(a + 8) >> 32 == 0 && *(uint64_t *)(a + 16) >> 32 == 0,
			"FIP %llx, FDP %llx: not of this program", *(unsigned long long *)(a + 8),
			*(unsigned long long *)(a + 16));
	}
	__asm__ volatile("fninit");
	section("80 bits across TLB misses");
	for (unsigned n = 0; n < TIMES; n++) {
		for (unsigned i = 0; i < PAGES; i++)
			__asm__ volatile("fildl %0\n fldpi\n fmulp\n fstpt (%1)" :: "m"(i),
				"r"(pages + (ulong)i * NPAGE + 4080 - 10 * (n & 1)) : "memory");
		for (unsigned i = 0; i < PAGES; i++) {
			uint32_t r;

			__asm__ volatile("fldt (%1)\n fldpi\n fdivrp\n fistpl %0" : "=m"(r)
				: "r"(pages + (ulong)i * NPAGE + 4080 - 10 * (n & 1)) : "memory");
			if (r != i) {
				check(r == i, "%u instead of %u", r, i);
				break;
			}
		}
	}
	__asm__ volatile("fnstsw %0" : "=m"(sw));
	check(!(sw & 0x3801), "an even stack: %x", sw);
}

static void mmx_misses(void)
{
	uint8_t *a = area[0];
	uint64_t r;
	uint32_t want = 0;

	section("MMX across TLB misses");
	for (unsigned i = 0; i < PAGES; i++)
		want += *word(i);
	for (unsigned n = 0; n < TIMES; n++) {
		__asm__ volatile("fninit\n fld1\n pxor %%mm0, %%mm0\n mov $0x1234, %%eax\n movd %%eax, %%mm7" ::: "eax");
		for (unsigned i = 0; i < PAGES; i++)
			__asm__ volatile("movd (%0), %%mm1\n paddd %%mm1, %%mm0\n movq2dq %%mm1, %%xmm2\n"
				"movdq2q %%xmm2, %%mm3\n psubd %%mm3, %%mm1" :: "r"(word(i)) : "memory");
		fxsave_to(a);
		__asm__ volatile("movq %%mm0, %0\n emms" : "=r"(r));
		check(r == want, "sum %llu, not %u", (unsigned long long)r, want);
		check(*(uint16_t *)(a + 2) == 0 && a[4] == 0xff, "MMX state: %x %x", *(uint16_t *)(a + 2), a[4]);
		quirk("TCG 7.2 leaves the exponent");
		check(*(uint64_t *)(a + 32 + 7 * 16) == 0x1234 && *(uint16_t *)(a + 40 + 7 * 16) == 0xffff, "mm7");
		check(!*(uint64_t *)(a + 48), "mm1");
		fxsave_to(a);
		check(a[4] == 0, "tags after EMMS: %x", a[4]);
	}
}

static void avx_misses(void)
{
	uint64_t r[4];

	section("upper halves across TLB misses");
	if (!cpu_has(F_XSAVE) || !cpu_has(F_AVX)) {
		skip("no AVX");
		return;
	}
	wrcr4(rdcr4() | CR4_OSXSAVE);
	__asm__ volatile("xsetbv" :: "a"(7), "d"(0), "c"(0));
	for (unsigned n = 0; n < TIMES; n++) {
		uint32_t want = 0;
		uint64_t mark = n & 1 ? 0x7777 + n : 0;

		/* ymm3's upper half, and no other, is the mark */
		__asm__ volatile(".byte 0xc5,0xfc,0x77\n movq %0, %%xmm3\n"
			".byte 0xc4,0xe3,0x65,0x18,0xdb,1" /* vinsertf128 $1, xmm3, ymm3, ymm3 */
			:: "r"(mark) );
		__asm__ volatile("pxor %%xmm3, %%xmm3" ::); /* keeps it */
		for (unsigned i = 0; i < PAGES; i++) {
			__asm__ volatile("movd (%0), %%xmm4\n paddd %%xmm4, %%xmm3" :: "r"(word(i)) );
			want += *word(i);
		}
		__asm__ volatile(".byte 0xc5,0xfe,0x7f,0x1f" :: "D"(r) : "memory"); /* vmovdqu [rdi], ymm3 */
		check(r[0] == want && !r[1], "sum %llx, not %x", (unsigned long long)r[0], want);
		check(r[2] == mark && !r[3], "upper half %llx, not %llx", (unsigned long long)r[2],
			(unsigned long long)mark);
	}
	__asm__ volatile(".byte 0xc5,0xf8,0x77"); /* vzeroupper */
}

SNIPPET(s_x87_div, "fnclex\n fldcw (%rdi)\n fld1\n fldz\n fdivrp\n .globl s_x87_wait\ns_x87_wait: fwait\n fstp %st(0)\n ret");
LABEL(s_x87_wait);
SNIPPET(s_sse_div, "ldmxcsr (%rdi)\n mov $1, %eax\n cvtsi2sd %eax, %xmm0\n xorps %xmm1, %xmm1\n"
	".globl s_sse_at\ns_sse_at: divsd %xmm1, %xmm0\n ret");
LABEL(s_sse_at);
SNIPPET(s_fld1, "fld1\n fstp %st(0)\n ret");
SNIPPET(s_mmx, "pxor %mm0, %mm0\n emms\n ret");
SNIPPET(s_fwait, "fwait\n ret");

static void masks(void)
{
	uint32_t m;
	uint16_t cw, sw;

	section("masks that come and go");
	wrcr0(rdcr0() | CR0_NE);
	wrcr4(rdcr4() | CR4_OSXMMEXCPT);
	for (unsigned n = 0; n < 4 * TIMES; n++) {
		bool on = n % 5 == 4;

		cw = on ? 0x37b : 0x37f; /* zero divide */
		quirk("TCG 7.2 knows no #MF");
		want(catch(s_x87_div, &cw), on ? MF : NOTRAP, 0, on ? s_x87_wait : NULL, "x87: 1 / 0");
		__asm__ volatile("fnstsw %0\n fninit" : "=m"(sw));
		check((sw & 4) && !!(sw & 0x80) == on, "status %x", sw);
		m = on ? 0x1d80 : 0x1f80;
		quirk("TCG 7.2 knows no #XM");
		want(catch(s_sse_div, &m), on ? XM : NOTRAP, 0, on ? s_sse_at : NULL, "SSE: 1 / 0");
		__asm__ volatile("stmxcsr %0" : "=m"(m));
		check(m == (on ? 0x1d84 : 0x1f84), "MXCSR %x", m);
		m = 0x1f80;
		__asm__ volatile("ldmxcsr %0" :: "m"(m));
	}
	section("rounding");
	for (unsigned n = 0; n < 4 * TIMES; n++) {
		static const int32_t want[4] = {2, 1, 2, 1};
		static const uint32_t three = 3, two = 2;
		int32_t r, s;

		cw = (uint16_t)(0x37f | (n & 3) << 10);
		m = 0x1f80 | (n & 3) << 13;
		__asm__ volatile("fldcw %2\n fildl %3\n fidivl %4\n fistpl %0\n fnstcw %1"
			: "=m"(r), "=m"(sw) : "m"(cw), "m"(three), "m"(two));
		check(r == want[n & 3] && sw == cw, "x87 %x: %d", cw, r);
		__asm__ volatile("ldmxcsr %2\n cvtsi2sdl %3, %%xmm0\n cvtsi2sdl %4, %%xmm1\n divsd %%xmm1, %%xmm0\n"
			"cvtsd2si %%xmm0, %0\n stmxcsr %1" : "=r"(s), "=m"(m) : "m"(m), "m"(three), "m"(two)
			);
		check(s == want[n & 3] && m == (0x1fa0 | (n & 3) << 13), "SSE: %d, MXCSR %x", s, m);
	}
	m = 0x1f80;
	__asm__ volatile("fninit\n ldmxcsr %0" :: "m"(m));
	section("environments");
	quirks("in TCG 7.2 FNSTENV masks nothing");
	for (unsigned n = 0; n < 4 * TIMES; n++) {
		uint8_t env[28], all[108];

		cw = 0x37a;
		__asm__ volatile("fninit\n fldcw %1\n fld1\n fldpi\n fnstenv %0" : "=m"(env) : "m"(cw));
		__asm__ volatile("fnstcw %0" : "=m"(sw));
		check(sw == 0x37f && *(uint16_t *)env == 0x37a, "FNSTENV masks: %x, %x", sw, *(uint16_t *)env);
		*(uint16_t *)env = 0x37f;
		__asm__ volatile("fldenv %1\n fsubp\n fnsave %0" : "=m"(all) : "m"(env));
		__asm__ volatile("fnstcw %0" : "=m"(sw));
		check(sw == 0x37f && (*(uint16_t *)(all + 4) >> 11 & 7) == 7, "FNSAVE: %x, %x", sw, *(uint16_t *)(all + 4));
		__asm__ volatile("frstor %1\n fstpt %0" : "=m"(env) : "m"(all));
		check(!memcmp(env, all + 28, 10), "FRSTOR");
	}
	__asm__ volatile("fninit");
}

static void task_switched(void)
{
	section("CR0.TS, EM");
	for (unsigned n = 0; n < 3 * TIMES; n++) {
		ulong cr0 = rdcr0() & ~(ulong)(CR0_TS | CR0_EM | CR0_MP);
		bool ts = n % 3 == 1, em = n % 3 == 2;

		wrcr0(cr0 | (ts ? CR0_TS | CR0_MP : 0) | (em ? CR0_EM : 0));
		want(catch(s_fld1), ts || em ? NM : NOTRAP, 0, ts || em ? s_fld1 : NULL, "x87");
		want(catch(s_mmx), em ? UD : ts ? NM : NOTRAP, 0, ts || em ? s_mmx : NULL, "MMX");
		want(catch(s_fwait), ts ? NM : NOTRAP, 0, ts ? s_fwait : NULL, "FWAIT");
		wrcr0(cr0 | CR0_MP);
	}
}

/* As a kernel does it: two sets of registers in turn, each counting in its own. */
static void contexts(void)
{
	enum { SWITCHES = 400 };
	uint32_t m[2] = {0x1f80, 0x7f80};
	uint16_t cw[2] = {0x37f, 0xf7f};

	section("two contexts");
	for (unsigned c = 0; c < 2; c++) {
		__asm__ volatile("fninit\n fldcw %1\n ldmxcsr %2\n fildl %0\n cvtsi2sdl %0, %%xmm5" :: "m"(c), "m"(cw[c]),
			"m"(m[c]) );
		fxsave_to(area[c]);
	}
	for (unsigned n = 0; n < SWITCHES; n++) {
		uint8_t *a = area[n & 1];

		__asm__ volatile("fxrstor64 (%0)\n fld1\n faddp\n mov $1, %%eax\n cvtsi2sdl %%eax, %%xmm6\n"
			"addsd %%xmm6, %%xmm5\n fxsave64 (%0)" :: "r"(a) : "memory", "eax");
	}
	for (unsigned c = 0; c < 2; c++) {
		uint16_t w;
		uint32_t x, r, s;

		__asm__ volatile("fxrstor64 (%4)\n fnstcw %0\n stmxcsr %1\n fistpl %2\n cvttsd2si %%xmm5, %3"
			: "=m"(w), "=m"(x), "=m"(r), "=r"(s) : "r"(area[c]) : "memory");
		check(w == cw[c] && x == m[c], "control words %x, %x", w, x);
		check(r == c + SWITCHES / 2 && s == r, "%u and %u switches", r, s);
	}
	__asm__ volatile("fninit\n ldmxcsr %0" :: "m"(m[0]));
}

void test_main(void)
{
	pages = page_alloc_n(PAGES, NPAGE);
	for (unsigned i = 0; i < PAGES; i++)
		*word(i) = i * 2654435761u >> 8;
	x87_misses();
	mmx_misses();
	avx_misses();
	masks();
	task_switched();
	contexts();
}
