/* SPDX-License-Identifier: MIT */
/* CPU models on hosts that this machine is not: an Intel server, a CPU from 2009, an OS without
 * AVX. */
#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct answer {
	uint32_t leaf, sub, r[4];
};

static const struct answer *answers;
static uint64_t answer_xcr0;

static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	memset(r, 0, 16);
	for (const struct answer *a = answers; a->leaf != UINT32_MAX; a++)
		if (a->leaf == leaf && a->sub == subleaf)
			memcpy(r, a->r, 16);
}

static uint64_t host_xcr0(void)
{
	return answer_xcr0;
}

#define X86_CPUID_OTHER_HOST
#include "x86/cpuid.c"

#define INTEL 0x756e6547, 0x6c65746e, 0x49656e69
#define END                                                                                        \
	{                                                                                          \
		UINT32_MAX, 0,                                                                     \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}

/* A server of 2021 (AVX-512, no SSE4A, caches shared by 64 APIC IDs). */
static const struct answer icelake[] = {
	{0, 0, {0x1b, INTEL}},
	{1, 0, {0x000606a6, 0x00400800, 0x7ffefbff, 0xbfebfbff}},
	{2, 0, {0x00feff01, 0xf0, 0, 0}},
	{4, 0, {0xfc004121, 0x02c0003f, 0x3f, 0}},
	{4, 1, {0xfc004122, 0x01c0003f, 0x3f, 0}},
	{4, 2, {0xfc004143, 0x04c0003f, 0x3ff, 0}},
	{4, 3, {0xfc1fc163, 0x02c0003f, 0xdfff, 4}},
	{7, 0, {1, 0xf3bfbfef, 0x00415f5e, 0xbc040412}},
	{0xd, 0, {0x2e7, 0xa88, 0xa88, 0}},
	{0xd, 1, {0xf, 0xa08, 0x100, 0}},
	{0x80000000, 0, {0x80000008, 0, 0, 0}},
	{0x80000001, 0, {0, 0, 0x121, 0x2c100800}},
	{0x80000002, 0, {0x6c65746e, 0x20295228, 0x6e6f6558, 0}},
	{0x80000006, 0, {0, 0, 0x05007040, 0}},
	{0x80000007, 0, {0, 0, 0, 0x100}},
	{0x80000008, 0, {0x3934, 0, 0, 0}},
	END,
};

/* Nehalem: SSE4.2 and POPCNT, neither AES nor XSAVE. */
static const struct answer nehalem[] = {
	{0, 0, {0xb, INTEL}},
	{1, 0, {0x000106a5, 0x00100800, 0x009ce3bd, 0xbfebfbff}},
	{0x80000000, 0, {0x80000008, 0, 0, 0}},
	{0x80000001, 0, {0, 0, 1, 0x28100800}},
	{0x80000007, 0, {0, 0, 0, 0x100}},
	{0x80000008, 0, {0x3024, 0, 0, 0}},
	END,
};

/* Core 2: no SSE4.2, no POPCNT. */
static const struct answer core2[] = {
	{0, 0, {0xa, INTEL}},
	{1, 0, {0x000006fb, 0x800, 0x0000e3bd, 0xbfebfbff}},
	{0x80000000, 0, {0x80000008, 0, 0, 0}},
	{0x80000001, 0, {0, 0, 1, 0x20100800}},
	{0x80000008, 0, {0x3024, 0, 0, 0}},
	END,
};

static void check_icelake(void)
{
	struct x86_cpuid c, n;
	struct err e;
	uint32_t r[4];

	answers = icelake;
	answer_xcr0 = 7;
	assert(!x86_cpuid_init(&c, "host", 6, 2000000, &e));
	assert(!c.amd && c.avx2 && c.xsave && c.maxphyaddr == 48); /* of 52 */
	x86_cpuid_query(&c, 0, 0, 0, 0, 0x800, 1, r);
	assert(r[1] == 0x756e6547 && r[0] == 0x16);
	/* immune in Intel's words: RDCL_NO, IBRS_ALL, MDS_NO, ITS_NO ... */
	x86_cpuid_query(&c, 0, 7, 0, 0, 0x800, 1, r);
	assert((r[3] & (1u << 26 | 1u << 29)) == (1u << 26 | 1u << 29) && !(r[3] & 1u << 27));
	assert((c.arch_caps & 0x400000000d10a17b) == 0x400000000d10a17b);
	assert(!(r[1] & 0xd0030000) && !(r[3] & 0xc)); /* no AVX-512 */
	x86_cpuid_query(&c, 0, 7, 2, 0, 0x800, 1, r);
	assert(r[3] == 1u << 4);
	/* caches: L1, L2 private, L3 of 6 CPUs, which count as 8 */
	x86_cpuid_query(&c, 0, 4, 2, 0, 0x800, 1, r);
	assert((r[0] >> 14 & 0xfff) == 0 && r[0] >> 26 == 7 && r[2] == 0x3ff);
	x86_cpuid_query(&c, 0, 4, 3, 0, 0x800, 1, r);
	assert((r[0] >> 14 & 0xfff) == 7 && r[0] >> 26 == 7);
	x86_cpuid_query(&c, 0, 4, 4, 0, 0x800, 1, r);
	assert(!r[0]);
	x86_cpuid_query(&c, 0, 2, 0, 0, 0x800, 1, r);
	assert(r[0] == 0x00feff01);
	/* no leaf of AMD's, and its bits are not there */
	x86_cpuid_query(&c, 0, 0x80000000, 0, 0, 0x800, 1, r);
	assert(r[0] == 0x80000008 && !r[1]);
	x86_cpuid_query(&c, 0, 0x80000001, 0, 0, 0x800, 1, r);
	assert(!(r[2] & 1u << 22) && !(r[2] & 2) && (r[3] & 0x0183f3ff) == 0 && !(r[3] & 1u << 22));
	x86_cpuid_query(&c, 0, 0x80000002, 0, 0, 0x800, 1, r);
	assert(r[0] == 0x6c65746e);

	/* for kvm: no claims */
	x86_cpuid_native(&n, &c, 2000000);
	assert(!n.arch_caps && !n.amd);
	x86_cpuid_query(&n, 0, 7, 0, 0, 0x800, 1, r);
	assert(!(r[3] & (1u << 26 | 1u << 29)));

	/* the named model is the same CPU as on AMD; RDPID and UMIP are ours to give */
	assert(!x86_cpuid_init(&c, NULL, 1, 2000000, &e) && c.amd && c.model == 1 &&
		c.maxphyaddr == 46);
	x86_cpuid_query(&c, 0, 0x8000001d, 3, 0, 0x800, 1, r);
	assert(r[2] == 32767 && (r[0] >> 5 & 7) == 3);
	x86_cpuid_query(&c, 0, 4, 0, 0, 0x800, 1, r);
	assert(!r[0]);

	/* an operating system that does not save YMM: no AVX, nor what builds on it */
	answer_xcr0 = 3;
	assert(x86_cpuid_init(&c, "x86-64-v3", 1, 2000000, &e) < 0);
	assert(strstr(e.text, "avx") && strstr(e.text, "fma") && !strstr(e.text, "bmi1"));
	assert(!x86_cpuid_init(&c, "host", 1, 2000000, &e) && !c.avx && !c.avx2 && c.xsave);
	assert(c.xcr0_mask == 3 && c.xsave_size == 576);
	x86_cpuid_query(&c, 0, 7, 0, 0, 0x800, 1, r);
	assert(!(r[2] & 0x600)); /* VAES, VPCLMULQDQ */
	assert(!x86_cpuid_init(&c, NULL, 1, 2000000, &e) && c.model == 0);
}

static void check_old(void)
{
	struct x86_cpuid c;
	struct err e;

	answers = nehalem;
	answer_xcr0 = 0;
	assert(!x86_cpuid_init(&c, NULL, 2, 2000000, &e) && c.model == 0 && !c.xsave &&
		c.maxphyaddr == 36);
	assert(!(c.cr4_mask & X86_CR4_OSXSAVE));
	assert(x86_cpuid_init(&c, "x86-64-v3", 2, 2000000, &e) < 0 && strstr(e.text, "avx2"));
	assert(!x86_cpuid_init(&c, "host", 2, 2000000, &e));
	answers = core2;
	assert(x86_cpuid_init(&c, NULL, 1, 2000000, &e) < 0);
	assert(strstr(e.text, "sse4_2") && strstr(e.text, "popcnt"));
	assert(x86_cpuid_init(&c, "host", 1, 2000000, &e) < 0);
}

int main(void)
{
	check_icelake();
	check_old();
	return 0;
}
