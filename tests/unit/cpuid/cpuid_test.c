/* SPDX-License-Identifier: MIT */
/* CPU models on this host: nothing is offered that the host has not or that husk hides. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "x86/cpuid.h"
#include "x86/state.h"

static void host(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	uint32_t max;

	__asm__ volatile("cpuid"
			 : "=a"(max), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf & 0x80000000), "c"(0));
	memset(r, 0, 16);
	if (leaf <= max)
		__asm__ volatile("cpuid"
				 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
				 : "a"(leaf), "c"(sub));
}

static void ask(const struct x86_cpuid *c, unsigned cpu, uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	x86_cpuid_query(c, cpu, leaf, sub, 0, 0xfee00800, 1, r);
}

/* Bits that need the host's silicon, and bits that no guest may see. */
static const struct {
	uint32_t leaf, sub, reg, silicon, hidden;
} bits[] = {
	/* hidden: MONITOR VMX DCA OSXSAVE (CR4 says) */
	{1, 0, 2, 0x7e980203 & ~(1u << 27), 1u << 2 | 1u << 3 | 1u << 5 | 1u << 18 | 1u << 27},
	{1, 0, 3, 0x0788a101, 0},
	/* hidden: HLE RTM MPX AVX-512* PQM */
	{7, 0, 1, 0x218c0328, 0xdc23d010},
	/* hidden: AVX512_VBMI PKU OSPKE WAITPKG VBMI2 SHSTK GFNI AVX512_* LA57 */
	{7, 0, 2, 0x00000600, 0x000179fa & ~0x600u},
	{7, 0, 3, 0x00000010, 0x03d0090c},             /* AVX-512, AMX, IBT, TSX */
	{7, 1, 0, 0, 0xffffffff}, {0xd, 1, 0, 7, ~7u}, /* XSAVES */
	/* hidden: SVM SSE4A XOP FMA4 TBM MONITORX, performance counters */
	{0x80000001, 0, 2, 0x00000121, 0x3bb18a54 & ~0x20u},
	{0x80000001, 0, 3, 0, 0xc0000000 | 1u << 25}, /* 3DNow, FFXSR */
	{0x80000007, 0, 3, 0x100, ~0x100u},
	{0x80000008, 0, 1, 0, 0x00000203}, /* CLZERO, IRPERF, WBNOINVD */
};

static void check_model(const char *model, unsigned ncpus)
{
	struct x86_cpuid c;
	struct err e = {0};
	uint32_t r[4], h[4];
	unsigned shift;

	assert(!x86_cpuid_init(&c, model, ncpus, 2500000, &e));
	assert(c.n > 20 && c.n < X86_CPUID_LEAVES && c.ncpus == ncpus);
	for (unsigned i = 0; i < c.n; i++)
		for (unsigned j = 0; j < i; j++)
			assert(c.leaf[i].leaf != c.leaf[j].leaf ||
				(c.leaf[i].has_subleaf && c.leaf[j].has_subleaf &&
					c.leaf[i].subleaf != c.leaf[j].subleaf));
	for (unsigned i = 0; i < ARRAY_LEN(bits); i++) {
		ask(&c, 0, bits[i].leaf, bits[i].sub, r);
		host(bits[i].leaf, bits[i].sub, h);
		assert(!(r[bits[i].reg] & bits[i].hidden));
		assert(!(r[bits[i].reg] & bits[i].silicon & ~h[bits[i].reg]));
	}
	/* every leaf is within the maxima */
	ask(&c, 0, 0, 0, r);
	for (unsigned i = 0; i < c.n; i++)
		assert(c.leaf[i].leaf >= 0x40000000 || c.leaf[i].leaf <= r[0]);
	ask(&c, 0, 0x80000000, 0, r);
	for (unsigned i = 0; i < c.n; i++)
		assert(c.leaf[i].leaf < 0x80000000 || c.leaf[i].leaf <= r[0]);

	/* what Linux requires of a 64-bit CPU, and what husk promises */
	ask(&c, 0, 1, 0, r);
	assert((r[3] & 0x0700a169) ==
		0x0700a169); /* FPU PSE MSR PAE CX8 APIC PGE CMOV FXSR SSE SSE2 */
	assert(r[2] >> 31 && r[2] >> 21 & 1 && r[2] >> 24 & 1 && r[2] >> 13 & 1 && c.x2apic &&
		c.pcid);
	assert((r[1] >> 8 & 0xff) == 8 && (r[1] >> 16 & 0xff) >= ncpus);
	assert(!!(r[3] >> 28 & 1) == (ncpus > 1));
	assert(c.avx == (r[2] >> 28 & 1) && c.xsave == (r[2] >> 26 & 1));
	ask(&c, 0, 0x80000001, 0, r);
	assert(r[3] >> 29 & 1 && r[3] >> 20 & 1 && r[3] >> 11 & 1 && r[3] >> 27 & 1 &&
		r[3] >> 26 & 1);
	ask(&c, 0, 7, 0, r);
	assert(c.avx2 == (r[1] >> 5 & 1) && c.bmi == ((r[1] >> 3 & 1) && (r[1] >> 8 & 1)));
	assert(r[3] >> 14 & 1); /* SERIALIZE */
	assert(!!(c.arch_caps) == (r[3] >> 29 & 1));
	assert(c.cr4_mask & X86_CR4_SMEP && c.cr4_mask & X86_CR4_SMAP &&
		c.cr4_mask & X86_CR4_PCIDE && c.cr4_mask & X86_CR4_FSGSBASE &&
		c.cr4_mask & X86_CR4_UMIP);
	assert(!(c.cr4_mask & (X86_CR4_LA57 | X86_CR4_PKE | X86_CR4_VME)));
	assert(!!(c.cr4_mask & X86_CR4_OSXSAVE) == c.xsave);

	/* immune, in AMD's words, so that Linux turns Automatic IBRS on and nothing else */
	if (c.amd) {
		ask(&c, 0, 0x80000021, 0, r);
		assert(r[0] >> 8 & 1 && r[0] >> 29 & 1 && (r[2] & 6) == 6 &&
			c.efer_mask & X86_EFER_AUTOIBRS);
		ask(&c, 0, 0x80000008, 0, r);
		assert(r[1] >> 26 & 1 && r[1] >> 29 & 1 && !(r[1] & (1 << 12 | 1 << 14 | 1 << 15)));
	}
	ask(&c, 0, 0x80000008, 0, r);
	assert((r[0] & 0xff) == c.maxphyaddr && (r[0] >> 8 & 0xff) == 48 && c.maxphyaddr >= 36);

	/* topology: leaf 1, 0xb and AMD's leaves agree */
	ask(&c, 0, 0xb, 1, r);
	shift = r[0];
	assert(r[1] == ncpus && (r[2] >> 8) == 2 && (1u << shift) >= ncpus &&
		(1u << shift) < 2 * ncpus);
	ask(&c, 0, 0xb, 0, r);
	assert(r[0] == 0 && r[1] == 1 && (r[2] >> 8) == 1);
	for (unsigned i = 0; i < ncpus; i++) {
		for (unsigned sub = 0; sub < 4; sub++) {
			ask(&c, i, 0xb, sub, r);
			assert(r[3] == i && (r[2] & 0xff) == sub && (sub < 2 || !(r[2] >> 8)));
		}
		ask(&c, i, 1, 0, r);
		assert(r[1] >> 24 == i && (r[1] >> 8 & 0xff) == 8);
		if (c.amd) {
			ask(&c, i, 0x8000001e, 0, r);
			assert(r[0] == i && r[1] == i && r[2] == 0);
		}
	}
	if (c.amd) {
		ask(&c, 0, 0x80000008, 0, r);
		assert((r[2] & 0xff) == ncpus - 1 && (r[2] >> 12 & 0xf) == shift);
	}

	/* dynamic bits */
	x86_cpuid_query(&c, 0, 1, 0, X86_CR4_OSXSAVE, 0xfee00800, 1, r);
	assert(r[2] >> 27 & 1 && r[3] >> 9 & 1);
	x86_cpuid_query(&c, 0, 1, 0, 0, 0xfee00000, 1, r);
	assert(!(r[2] >> 27 & 1) && !(r[3] >> 9 & 1));
	if (c.xsave) {
		x86_cpuid_query(&c, 0, 0xd, 0, 0, 0, 3, r);
		assert(r[0] == c.xcr0_mask && r[1] == 576 && r[2] == c.xsave_size);
		x86_cpuid_query(&c, 0, 0xd, 0, 0, 0, c.xcr0_mask, r);
		assert(r[1] == c.xsave_size);
	} else {
		ask(&c, 0, 0xd, 0, r);
		assert(!(r[0] | r[1] | r[2] | r[3]) && !c.xcr0_mask);
	}
	if (c.avx) {
		ask(&c, 0, 0xd, 2, r);
		assert(r[0] == 256 && r[1] == 576 && c.xsave_size == 832 && c.xcr0_mask == 7);
	}

	/* time */
	ask(&c, 0, 0x15, 0, r);
	assert((uint64_t)r[2] * r[1] / r[0] == 2500000000u);
	ask(&c, 0, 0x40000010, 0, r);
	assert(r[0] == 2500000 && r[1] * 1000u == 1000000000u);
	ask(&c, 0, 0x40000000, 0, r);
	assert(r[0] == 0x40000010 && !memcmp(r + 1, "KVMKVMKVM\0\0\0", 12));
	ask(&c, 0, 0x40000001, 0, r);
	assert(r[0] == 0x0100000b);

	/* what is not there is zero */
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t none[4] = {0x17, 0x40000011, 0x80000022, 0xc0000000};

		ask(&c, 0, none[i], 0, r);
		assert(!(r[0] | r[1] | r[2] | r[3]));
	}
}

static void check_native(const char *model)
{
	struct x86_cpuid c, n;
	struct err e;
	uint32_t a[4], b[4], h[4];

	assert(!x86_cpuid_init(&c, model, 2, 2500000, &e));
	x86_cpuid_native(&n, &c, 2600000);
	assert(n.ncpus == 2 && n.tsc_khz == 2600000 && !n.arch_caps &&
		n.maxphyaddr == c.maxphyaddr);
	for (unsigned i = 0; i < 2; i++) { /* the same features ... */
		ask(&c, 0, i ? 7 : 1, 0, a);
		ask(&n, 0, i ? 7 : 1, 0, b);
		assert(a[2] == b[2]);
	}
	host(0, 0, h); /* ... and the host's name */
	ask(&n, 0, 0, 0, b);
	assert(!memcmp(h + 1, b + 1, 12));
	host(1, 0, h);
	ask(&n, 0, 1, 0, b);
	assert(h[0] == b[0]);
	ask(&n, 0, 0x80000008, 0, b);
	assert(!(b[1] & (1u << 26 | 1u << 29)));
	ask(&n, 0, 0x80000021, 0, b);
	assert(!(b[0] & (1u << 8 | 1u << 29)) && !b[2]);
	assert(!(n.efer_mask & X86_EFER_AUTOIBRS));
}

static void check_errors(void)
{
	struct x86_cpuid c;
	struct err e;

	assert(x86_cpuid_init(&c, "x86-64-v9", 1, 2500000, &e) == -EINVAL);
	assert(strstr(e.text, "x86-64-v9") && strstr(e.text, "x86-64-v2") &&
		strstr(e.text, "host"));
	assert(x86_cpuid_init(&c, "", 1, 2500000, &e) == -EINVAL);
	assert(x86_cpuid_init(&c, NULL, 0, 2500000, &e) == -EINVAL);
	assert(x86_cpuid_init(&c, NULL, 255, 2500000, &e) == -EINVAL);
	assert(x86_cpuid_init(&c, NULL, 4000000000u, 2500000, &e) == -EINVAL);
	assert(x86_cpuid_init(&c, NULL, 1, 0, &e) == -EINVAL);
	assert(x86_cpuid_init(&c, NULL, 1, 2500000, NULL) == 0);
}

static void check_tsc(void)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	uint32_t khz = x86_host_tsc_khz();
	bool near = false;

	/* again, as a busy machine may stop us between the two clocks */
	for (int i = 0; i < 10 && !near; i++) {
		uint64_t ns = now_ns(), tsc = __builtin_ia32_rdtsc(), measured;

		nanosleep(&pause, NULL);
		tsc = __builtin_ia32_rdtsc() - tsc;
		ns = now_ns() - ns;
		measured = tsc * 1000000 / ns;
		near = measured > khz - khz / 200 && measured < khz + khz / 200;
		printf("TSC %u kHz, over 50 ms %llu kHz\n", khz, (unsigned long long)measured);
	}
	assert(near);
	assert(x86_host_tsc_khz() == khz);
}

int main(void)
{
	static const unsigned ncpus[] = {1, 2, 3, 4, 7, 8, 64, 128, 129, 254};
	const char *const *models = x86_cpuid_models();
	struct x86_cpuid c;
	struct err e;

	assert(!strcmp(models[0], "x86-64-v2") && !strcmp(models[1], "x86-64-v3") &&
		!strcmp(models[2], "host") && !models[3]);
	for (unsigned m = 0; models[m]; m++) {
		if (x86_cpuid_init(&c, models[m], 1, 2500000, &e)) {
			printf("%s\n", e.text);
			assert(m == 1 && strstr(e.text, "lacks"));
			continue;
		}
		for (unsigned i = 0; i < ARRAY_LEN(ncpus); i++)
			check_model(models[m], ncpus[i]);
		check_native(models[m]);
	}
	check_model(NULL, 2);
	check_errors();
	check_tsc();
	return 0;
}
