/* SPDX-License-Identifier: MIT */
/*
 * CPU models.
 *
 * A model is a list of features (table below) and an identity: vendor, family, caches, brand. A
 * feature is either *computed by the host's silicon* (arithmetic that engines run natively: offered
 * only if the host has it, or a guest that asked CPUID would die of #UD) or *made by husk* (paging
 * bits, APIC, MSRs: the same on every host; an engine on real hardware takes what that cannot do
 * away again). Leaves are composed once, at start; a query is a table look-up and a few bits that
 * follow CR4, XCR0 and the APIC. CPUID itself is executed only while a model is made: inside a VM
 * each costs a microsecond and more.
 *
 * Identity of the named models. They say AuthenticAMD, family 0x19, model 1 (Zen 3: the family
 * whose features are ours: VEX forms of AES and CLMUL, PCID, no AVX-512, no 5-level paging). An
 * operating system looks up what speculation does wrong in tables by vendor and family, and then
 * works around it. For an engine in software that costs a lot and helps nothing: guest user and
 * guest kernel share the address space and the privilege level of one host process, so PTI, VERW
 * and retpolines guard no boundary that the silicon knows. (The boundary that counts is the
 * process: see docs, "nothing worth stealing".) So the model says: not affected. Checked against
 * Linux 6.1.192 arch/x86/kernel/cpu/{common,bugs,amd}.c; what makes each table happy:
 *   Meltdown, L1TF, MDS, TAA, MMIO, BHI, ITS, GDS, RFDS, swapgs   vendor AMD
 *   Spectre v2: "Enhanced / Automatic IBRS", no retpolines         AutoIBRS, 0x80000021 EAX[8]
 *   speculative store bypass                                      SSB_NO, 0x80000008 EBX[26]
 *   Retbleed                                                      BTC_NO, 0x80000008 EBX[29]
 *   SRSO                                                          SRSO_NO, 0x80000021 EAX[29]
 *   TSA (asked of every Zen guest)                                SQ_NO, L1_NO, 0x80000021 ECX[2:1]
 *   FXSAVE leak, null selector, LFENCE                            XSaveErPtr, 0x80000021 EAX[6,2]
 *
 * Left is Spectre v1 (a few LFENCEs) and the RSB refill at a context switch. IBRS, IBPB, STIBP,
 * SSBD are not offered, so SPEC_CTRL and PRED_CMD are never touched. Family 0x1a would do as well
 * in 6.1, but newer kernels take RDSEED away from it, unless they like the microcode revision.
 *
 * "host" has the host's identity, too, with the same immunities in its vendor's words: for Intel
 * ARCH_CAPABILITIES (arch_caps), which brings SPEC_CTRL with it.
 *
 * Where the guest runs on the silicon (kvm) all of the above is wrong: there the boundary is real
 * and the host's. x86_cpuid_native() keeps the features and takes the host's identity, without
 * any immunity; the engine adds what KVM says about that.
 *
 * MSRs that Linux 6.1 touches because of this identity, besides the architectural ones of
 * x86_state, the APIC's, MTRRs (CPUID.MTRR is set) and KVM's clock (0x4b564d00, 0x4b564d01): read
 * and must not fault: SYSCFG 0xc0010010 (0: TOM2 off), HWCR 0xc0010015 (bit 24: the TSC counts at
 * P0 frequency, else a firmware-bug warning), MCG_CAP 0x179 (0: no banks; then nothing else of MCA
 * is read); read with a fix-up, #GP is fine: PATCH_LEVEL 0x8b, DE_CFG 0xc0011029 (set bit 1 if
 * readable: LFENCE serializes), PERF_CTL/CTR 0xc0010000-7 (#GP: no PMU, which is meant).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/util.h"
#include "x86/cpuid.h"
#include "x86/state.h"

/* The registers of CPUID that hold features. */
enum word { W1C, W1D, W7B, W7C, W7D, WD1A, WX1C, WX1D, WX7D, NWORD };

static const struct {
	uint32_t leaf;
	uint8_t subleaf, reg; /* reg 0..3: eax ebx ecx edx */
} word_at[NWORD] = {
	[W1C] = {1, 0, 2},
	[W1D] = {1, 0, 3},
	[W7B] = {7, 0, 1},
	[W7C] = {7, 0, 2},
	[W7D] = {7, 0, 3},
	[WD1A] = {0xd, 1, 0},
	[WX1C] = {0x80000001, 0, 2},
	[WX1D] = {0x80000001, 0, 3},
	[WX7D] = {0x80000007, 0, 3},
};

/* When a model has the feature: the level of the psABI it belongs to, or that brings it. */
enum when {
	ALWAYS, /* every x86-64 CPU; must be there */
	V2,     /* x86-64-v2: must be there */
	OPT2,   /* offered from v2 on if it is there */
	V3,     /* x86-64-v3: must be there */
	OPT3,   /* offered from v3 on if it is there */
};
enum from {
	HOST, /* runs on the host's silicon */
	SELF, /* made by the engine, whatever the host has */
	AMD,  /* as SELF, but reserved or different at other vendors */
};

struct feature {
	uint8_t word, bit, when, from;
	const char *name;
	uint32_t cr4; /* control bits that come with it */
};

static const struct feature features[] = {
	{W1D, 0, ALWAYS, HOST, "fpu", 0},
	{W1D, 2, ALWAYS, SELF, "de", X86_CR4_DE},
	{W1D, 3, ALWAYS, SELF, "pse", X86_CR4_PSE},
	{W1D, 4, ALWAYS, HOST, "tsc", X86_CR4_TSD},
	{W1D, 5, ALWAYS, SELF, "msr", 0},
	{W1D, 6, ALWAYS, SELF, "pae", X86_CR4_PAE},
	{W1D, 7, ALWAYS, SELF, "mce", X86_CR4_MCE},
	{W1D, 8, ALWAYS, HOST, "cx8", 0},
	{W1D, 9, ALWAYS, SELF, "apic", 0},
	{W1D, 11, ALWAYS, SELF, "sep", 0},
	{W1D, 12, ALWAYS, SELF, "mtrr", 0},
	{W1D, 13, ALWAYS, SELF, "pge", X86_CR4_PGE},
	{W1D, 14, ALWAYS, SELF, "mca", 0},
	{W1D, 15, ALWAYS, HOST, "cmov", 0},
	{W1D, 16, ALWAYS, SELF, "pat", 0},
	{W1D, 17, ALWAYS, SELF, "pse36", 0},
	{W1D, 19, ALWAYS, HOST, "clflush", 0},
	{W1D, 23, ALWAYS, HOST, "mmx", 0},
	{W1D, 24, ALWAYS, HOST, "fxsr", X86_CR4_OSFXSR},
	{W1D, 25, ALWAYS, HOST, "sse", X86_CR4_OSXMMEXCPT},
	{W1D, 26, ALWAYS, HOST, "sse2", 0},
	{WX1D, 11, ALWAYS, SELF, "syscall", 0},
	{WX1D, 20, ALWAYS, SELF, "nx", 0},
	{WX1D, 22, ALWAYS, AMD, "mmxext", 0}, /* MMX instructions of SSE */
	{WX1D, 29, ALWAYS, SELF, "lm", 0},

	{W1C, 0, V2, HOST, "sse3", 0},
	{W1C, 9, V2, HOST, "ssse3", 0},
	{W1C, 13, V2, HOST, "cx16", 0},
	{W1C, 19, V2, HOST, "sse4_1", 0},
	{W1C, 20, V2, HOST, "sse4_2", 0},
	{W1C, 23, V2, HOST, "popcnt", 0},
	{WX1C, 0, V2, HOST, "lahf_lm", 0},

	{W1C, 1, OPT2, HOST, "pclmulqdq", 0},
	{W1C, 17, OPT2, SELF, "pcid", X86_CR4_PCIDE},
	{W1C, 21, OPT2, SELF, "x2apic", 0},
	{W1C, 24, OPT2, SELF, "tsc_deadline_timer", 0},
	{W1C, 25, OPT2, HOST, "aes", 0},
	{W1C, 30, OPT2, HOST, "rdrand", 0},
	{W7B, 0, OPT2, SELF, "fsgsbase", X86_CR4_FSGSBASE},
	{W7B, 1, OPT2, SELF, "tsc_adjust", 0},
	{W7B, 7, OPT2, SELF, "smep", X86_CR4_SMEP},
	{W7B, 9, OPT2, HOST, "erms", 0},
	{W7B, 10, OPT2, SELF, "invpcid", 0},
	{W7B, 18, OPT2, HOST, "rdseed", 0},
	{W7B, 19, OPT2, HOST, "adx", 0},
	{W7B, 20, OPT2, SELF, "smap", X86_CR4_SMAP},
	{W7B, 23, OPT2, HOST, "clflushopt", 0},
	{W7B, 24, OPT2, HOST, "clwb", 0},
	{W7B, 29, OPT2, HOST, "sha_ni", 0},
	{W7C, 2, OPT2, SELF, "umip", X86_CR4_UMIP},
	{W7C, 22, OPT2, SELF, "rdpid", 0},
	{W7D, 4, OPT2, HOST, "fsrm", 0},
	/* Linux: one instruction instead of an IRET to itself on each CPU after patching code */
	{W7D, 14, OPT2, SELF, "serialize", 0},
	{WX1C, 8, OPT2, HOST, "3dnowprefetch", 0}, /* PREFETCHW */
	{WX1C, 22, OPT2, AMD, "topoext", 0},       /* leaves 0x8000001d, 0x8000001e */
	{WX1D, 26, OPT2, SELF, "pdpe1gb", 0},
	{WX1D, 27, OPT2, SELF, "rdtscp", 0},
	{WX7D, 8, OPT2, HOST, "invariant tsc", 0},

	{W1C, 12, V3, HOST, "fma", 0},
	{W1C, 22, V3, HOST, "movbe", 0},
	{W1C, 26, V3, HOST, "xsave", X86_CR4_OSXSAVE},
	{W1C, 28, V3, HOST, "avx", 0},
	{W1C, 29, V3, HOST, "f16c", 0},
	{W7B, 3, V3, HOST, "bmi1", 0},
	{W7B, 5, V3, HOST, "avx2", 0},
	{W7B, 8, V3, HOST, "bmi2", 0},
	{WX1C, 5, V3, HOST, "lzcnt", 0},

	{W7C, 9, OPT3, HOST, "vaes", 0},
	{W7C, 10, OPT3, HOST, "vpclmulqdq", 0},
	{WD1A, 0, OPT3, HOST, "xsaveopt", 0},
	{WD1A, 1, OPT3, HOST, "xsavec", 0},
	{WD1A, 2, OPT3, HOST, "xgetbv1", 0},
};

/* A bit that is senseless, or not enumerated by software that looks, without the other. */
static const struct {
	uint8_t word, bit, needs_word, needs_bit;
} depends[] = {
	{W1C, 28, W1C, 26}, /* avx: xsave */
	{W1C, 12, W1C, 28},
	{W1C, 29, W1C, 28},
	{W7B, 5, W1C, 28}, /* fma f16c avx2: avx */
	{W7C, 9, W7B, 5},
	{W7C, 10, W7B, 5}, /* vaes vpclmulqdq: avx2 */
	{WD1A, 0, W1C, 26},
	{WD1A, 1, W1C, 26},
	{WD1A, 2, W1C, 26},
};

enum model { MODEL_V2, MODEL_V3, MODEL_HOST };
static const char *const model_names[] = {"x86-64-v2", "x86-64-v3", "host", NULL};

const char *const *x86_cpuid_models(void)
{
	return model_names;
}

struct host {
	uint32_t max, xmax; /* highest basic and extended leaf */
	uint32_t vendor[3]; /* ebx, edx, ecx of leaf 0: the order of the letters */
	bool amd;
	uint32_t word[NWORD];
	uint32_t signature; /* leaf 1 eax */
	uint32_t x8b;       /* leaf 0x80000008 ebx */
	unsigned maxphyaddr;
};

static const uint32_t vendor_amd[3] = {0x68747541, 0x69746e65, 0x444d4163};   /* AuthenticAMD */
static const uint32_t vendor_hygon[3] = {0x6f677948, 0x6e65476e, 0x656e6975}; /* HygonGenuine */

/* Tests that need another host's answers replace these two. */
#ifndef X86_CPUID_OTHER_HOST
/* Not the compiler's <cpuid.h>: in this folder that name finds our own header. */
static void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(subleaf));
}

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return (uint64_t)hi << 32 | lo;
}
#endif

static void host_cpuid(const struct host *h, uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	if (leaf > (leaf & 0x80000000 ? h->xmax : h->max))
		memset(r, 0, 4 * sizeof r[0]);
	else
		cpuid(leaf, subleaf, r);
}

static void host_read(struct host *h)
{
	uint32_t r[4];

	*h = (struct host){0};
	cpuid(0, 0, r);
	h->max = r[0];
	h->vendor[0] = r[1];
	h->vendor[1] = r[3];
	h->vendor[2] = r[2];
	cpuid(0x80000000, 0, r);
	h->xmax = r[0];
	h->amd = !memcmp(h->vendor, vendor_amd, sizeof vendor_amd) ||
		 !memcmp(h->vendor, vendor_hygon, sizeof vendor_hygon);
	for (unsigned w = 0; w < NWORD; w++) {
		host_cpuid(h, word_at[w].leaf, word_at[w].subleaf, r);
		h->word[w] = r[word_at[w].reg];
	}
	host_cpuid(h, 1, 0, r);
	h->signature = r[0];
	host_cpuid(h, 0x80000008, 0, r);
	h->x8b = r[1];
	h->maxphyaddr = r[0] & 0xff ? r[0] & 0xff : 36;
	/* What the host's kernel does not save, nobody here can use. */
	if (!(h->word[W1C] & 1u << 27)) /* OSXSAVE */
		h->word[W1C] &= ~(1u << 26);
	else if ((host_xcr0() & 6) != 6)
		h->word[W1C] &= ~(1u << 28);
}

static bool has(const uint32_t *word, unsigned w, unsigned bit)
{
	return word[w] >> bit & 1;
}

/* The feature words of a model on this host; NULL host: as if it had everything. */
static void select_features(uint32_t word[NWORD], enum model m, const struct host *h, bool amd)
{
	memset(word, 0, NWORD * sizeof word[0]);
	for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
		const struct feature *f = &features[i];

		if (m == MODEL_V2 && f->when >= V3)
			continue;
		if (f->from == HOST && h && !has(h->word, f->word, f->bit))
			continue;
		if (f->from == AMD && !amd)
			continue;
		word[f->word] |= 1u << f->bit;
	}
	for (unsigned i = 0; i < ARRAY_LEN(depends); i++)
		if (!has(word, depends[i].needs_word, depends[i].needs_bit))
			word[depends[i].word] &= ~(1u << depends[i].bit);
}

/* Names what the model must have and this host lacks; returns how many. */
static unsigned missing(enum model m, const struct host *h, char *buf, size_t len)
{
	uint32_t word[NWORD];
	unsigned n = 0;
	size_t at = 0;

	if (len)
		buf[0] = 0;
	select_features(word, m, h, true);
	for (unsigned i = 0; i < ARRAY_LEN(features); i++) {
		const struct feature *f = &features[i];
		bool must = f->when == ALWAYS || f->when == V2 || (f->when == V3 && m == MODEL_V3);

		if (!must || has(word, f->word, f->bit))
			continue;
		if (at < len) {
			int k = snprintf(buf + at, len - at, "%s%s", n ? " " : "", f->name);

			at += k > 0 ? (size_t)k : 0;
		}
		n++;
	}
	return n;
}

static struct x86_cpuid_leaf *put(struct x86_cpuid *c, uint32_t leaf, int subleaf, uint32_t eax,
	uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct x86_cpuid_leaf *l = &c->leaf[c->n];

	/* All callers together put fewer than half of them. */
	if (c->n == X86_CPUID_LEAVES)
		__builtin_trap();
	c->n++;
	*l = (struct x86_cpuid_leaf){.leaf = leaf,
		.subleaf = subleaf < 0 ? 0 : (uint32_t)subleaf,
		.eax = eax,
		.ebx = ebx,
		.ecx = ecx,
		.edx = edx,
		.has_subleaf = subleaf >= 0};
	return l;
}

static unsigned log2_up(unsigned n)
{
	unsigned b = 0;

	while (1u << b < n)
		b++;
	return b;
}

/* The APIC timer counts at this rate, in KVM and in dev/lapic alike; so it is the crystal, too. */
enum { CRYSTAL_HZ = 1000000000 };

/* Caches as AMD's leaves 0x80000005, 0x80000006, 0x8000001d tell them: Zen 3, one core complex. */
static void put_caches_amd(struct x86_cpuid *c, const struct host *h)
{
	/* level and type, share (all CPUs?), ways - 1, sets - 1, flags; 64-byte lines */
	static const struct {
		uint32_t eax, ways, sets, edx;
		bool shared;
	} zen3[] = {
		{0x121, 7, 63, 0, false},   /* L1 data, 32 KiB */
		{0x122, 7, 63, 0, false},   /* L1 code, 32 KiB */
		{0x143, 7, 1023, 2, false}, /* L2, 512 KiB, inclusive */
		{0x163, 15, 32767, 1, true} /* L3, 32 MiB */
	};
	uint32_t r[4];

	for (unsigned i = 0; i < 4; i++) {
		uint32_t eax = zen3[i].eax, ebx = zen3[i].ways << 22 | 63, ecx = zen3[i].sets;
		uint32_t edx = zen3[i].edx;
		bool shared = zen3[i].shared;

		if (h && h->amd && h->xmax >= 0x8000001d) {
			host_cpuid(h, 0x8000001d, i, r);
			if (!(r[0] & 0x1f))
				break;
			eax = r[0] & 0x3ff; /* without who shares it and reserved bits */
			ebx = r[1];
			ecx = r[2];
			edx = r[3];
			shared = (r[0] >> 5 & 7) >= 3;
		}
		put(c, 0x8000001d, (int)i, eax | (shared ? c->ncpus - 1 : 0) << 14, ebx, ecx, edx);
	}
	put(c, 0x8000001d, 4, 0, 0, 0, 0);
}

/* Intel's leaves 2 and 4 are the host's, but for who shares the caches. */
static void put_caches_intel(struct x86_cpuid *c, const struct host *h)
{
	uint32_t r[4], cores = (1u << log2_up(c->ncpus)) - 1;

	host_cpuid(h, 2, 0, r);
	put(c, 2, -1, r[0], r[1], r[2], r[3]);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t shared;

		host_cpuid(h, 4, i, r);
		shared = (r[0] >> 5 & 7) >= 3 ? cores : 0;
		if (r[0] & 0x1f)
			r[0] = (r[0] & 0x3fff) | shared << 14 | (cores > 63 ? 63 : cores) << 26;
		else
			memset(r, 0, sizeof r);
		put(c, 4, (int)i, r[0], r[1], r[2], r[3]);
		if (!(r[0] & 0x1f))
			break;
	}
}

static void put_brand(struct x86_cpuid *c, const struct host *h, enum model m)
{
	uint32_t r[4];
	char text[48] = "";

	if (!h)
		snprintf(text, sizeof text, "husk %s virtual CPU", model_names[m]);
	for (unsigned i = 0; i < 3; i++) {
		if (h)
			host_cpuid(h, 0x80000002 + i, 0, r);
		else
			memcpy(r, text + 16 * i, sizeof r);
		put(c, 0x80000002 + i, -1, r[0], r[1], r[2], r[3]);
	}
}

#define X7D_SPEC_CTRL (1u << 26)
#define X7D_ARCH_CAPS (1u << 29)

/*
 * Composes all leaves. word: the features; h: whose identity, NULL for that of the named models;
 * immune: says that no known speculation bug concerns this CPU.
 */
static void compose(struct x86_cpuid *c, enum model m, const uint32_t word[NWORD],
	const struct host *h, bool immune)
{
	unsigned bits = log2_up(c->ncpus);
	uint32_t signature = h ? h->signature : 0x00a00f11; /* family 0x19, model 1, stepping 1 */
	const uint32_t *vendor = h ? h->vendor : vendor_amd;
	uint32_t x7d = word[W7D], x72d = 0, x1c = word[WX1C], x1d = word[WX1D], x8b = 0, x21a = 0;
	uint32_t x21c = 0, mhz = c->tsc_khz / 1000;
	uint32_t max = 0x16, xmax;

	c->n = 0;
	c->amd = !h || h->amd;
	c->arch_caps = 0;
	xmax = c->amd ? 0x80000021 : 0x80000008;
	if (c->amd) {
		x1d |= word[W1D] & 0x0183f3ff; /* where leaf 1 is repeated */
		x8b |= 1u << 2;                /* XSaveErPtr: x87 pointers are always saved */
		x21a |= 1u << 2 | 1u << 6; /* LFENCE serializes, null selectors clear the base */
		if (c->ncpus > 1)
			x1c |= 1u << 1; /* CMP_LEGACY: the APIC IDs are of cores */
		if (immune) {
			x8b |= 1u << 26 | 1u << 29; /* SSB_NO, BTC_NO */
			x21a |= 1u << 8 | 1u << 29; /* AutoIBRS, SRSO_NO */
			x21c |= 1u << 1 | 1u << 2;  /* TSA_SQ_NO, TSA_L1_NO */
		}
	} else if (immune) {
		x7d |= X7D_SPEC_CTRL | X7D_ARCH_CAPS;
		x72d |= 1u << 4; /* BHI_CTRL */
		/*
		 * RDCL_NO IBRS_ALL SKIP_L1DFL SSB_NO MDS_NO PSCHANGE_MC_NO TAA_NO SBDR_SSDP_NO
		 * FBSDP_NO PSDP_NO BHI_NO PBRSB_NO GDS_NO RFDS_NO, ITS_NO
		 */
		c->arch_caps = 1ull << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 |
			       1 << 13 | 1 << 14 | 1 << 15 | 1 << 20 | 1 << 24 | 1 << 26 | 1 << 27 |
			       1ull << 62;
	}

	c->avx = has(word, W1C, 28);
	c->avx2 = has(word, W7B, 5);
	c->bmi = has(word, W7B, 3) && has(word, W7B, 8);
	c->xsave = has(word, W1C, 26);
	c->x2apic = has(word, W1C, 21);
	c->pcid = has(word, W1C, 17);
	c->xcr0_mask = !c->xsave ? 0 : c->avx ? 7 : 3;
	c->xsave_size = c->avx ? 832 : 576;
	c->cr4_mask = X86_CR4_PCE;
	for (unsigned i = 0; i < ARRAY_LEN(features); i++)
		if (has(word, features[i].word, features[i].bit))
			c->cr4_mask |= features[i].cr4;
	c->efer_mask = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE |
		       (x21a >> 8 & 1 ? X86_EFER_AUTOIBRS : 0);

	put(c, 0, -1, max, vendor[0], vendor[2], vendor[1]);
	/* number of APIC IDs, line size of CLFLUSH; the CPU's own APIC ID is added by the query */
	put(c, 1, -1, signature, (uint32_t)min_u64(1u << bits, 255) << 16 | 8 << 8,
		word[W1C] | 1u << 31, word[W1D] | (c->ncpus > 1 ? 1u << 28 : 0));
	if (!c->amd)
		put_caches_intel(c, h);
	put(c, 6, -1, 1 << 2, 0, 0, 0); /* ARAT: the APIC timer never stops */
	put(c, 7, 0, 2, word[W7B], word[W7C], x7d);
	put(c, 7, 1, 0, 0, 0, 0);
	put(c, 7, 2, 0, 0, 0, x72d);
	put(c, 0xb, 0, 0, 1, 1 << 8, 0);               /* threads of a core: 1 */
	put(c, 0xb, 1, bits, c->ncpus, 2 << 8 | 1, 0); /* CPUs of the socket */
	put(c, 0xb, 2, 0, 0, 2, 0);
	if (c->xsave) {
		put(c, 0xd, 0, (uint32_t)c->xcr0_mask, c->xsave_size, c->xsave_size, 0);
		put(c, 0xd, 1, word[WD1A], c->xsave_size, 0, 0);
		if (c->avx)
			put(c, 0xd, 2, 256, 576, 0, 0);
	}
	/* TSC = crystal * ebx / eax; MHz: base, maximum, bus */
	put(c, 0x15, -1, CRYSTAL_HZ / 1000, c->tsc_khz, CRYSTAL_HZ, 0);
	put(c, 0x16, -1, mhz, mhz, 100, 0);

	/* KVM's clock, also in engines that are not KVM: the guest needs no calibration. */
	put(c, 0x40000000, -1, 0x40000010, 0x4b4d564b, 0x564b4d56, 0x4d);
	/* CLOCKSOURCE, NOP_IO_DELAY, CLOCKSOURCE2, CLOCKSOURCE_STABLE */
	put(c, 0x40000001, -1, 1 << 0 | 1 << 1 | 1 << 3 | 1 << 24, 0, 0, 0);
	put(c, 0x40000010, -1, c->tsc_khz, CRYSTAL_HZ / 1000, 0, 0);

	put(c, 0x80000000, -1, xmax, c->amd ? vendor[0] : 0, c->amd ? vendor[2] : 0,
		c->amd ? vendor[1] : 0);
	put(c, 0x80000001, -1, c->amd ? signature : 0, 0, x1c, x1d);
	put_brand(c, h, m);
	if (c->amd) {
		uint32_t r5[4] = {0xff48ff40, 0xff48ff40, 0x20080140, 0x20080140};
		uint32_t r6[4] = {0x48002200, 0x68004200, 0x02006140, 0x01009140};

		if (h) {
			host_cpuid(h, 0x80000005, 0, r5);
			host_cpuid(h, 0x80000006, 0, r6);
		}
		put(c, 0x80000005, -1, r5[0], r5[1], r5[2], r5[3]);
		put(c, 0x80000006, -1, r6[0], r6[1], r6[2], r6[3]);
	} else {
		uint32_t r[4];

		host_cpuid(h, 0x80000006, 0, r);
		put(c, 0x80000006, -1, 0, 0, r[2], 0);
	}
	put(c, 0x80000007, -1, 0, 0, 0, word[WX7D]);
	put(c, 0x80000008, -1, c->maxphyaddr | 48 << 8, x8b,
		c->amd ? bits << 12 | (c->ncpus - 1) : 0, 0);
	if (c->amd) {
		if (has(word, WX1C, 22)) {
			put_caches_amd(c, h);
			put(c, 0x8000001e, -1, 0, 0, 0, 0);
		}
		put(c, 0x80000021, -1, x21a, 0, x21c, 0);
	}
}

enum { MAX_CPUS = 254 }; /* APIC ID 255 is the broadcast */

int x86_cpuid_init(struct x86_cpuid *c, const char *model, unsigned ncpus, uint32_t tsc_khz,
	struct err *e)
{
	uint32_t word[NWORD];
	char lacks[200];
	struct host h;
	enum model m;

	*c = (struct x86_cpuid){0};
	if (!ncpus || ncpus > MAX_CPUS)
		return err_set(
			e, EINVAL, "%u CPUs are not possible: choose 1 to %d", ncpus, MAX_CPUS);
	/* the lower bound keeps 0x16's MHz and KVM's arithmetic sane */
	if (tsc_khz < 100000)
		return err_set(e, EINVAL, "a TSC of %" PRIu32 " kHz is not possible", tsc_khz);
	host_read(&h);
	if (missing(MODEL_V2, &h, lacks, sizeof lacks))
		return err_set(e, ENOTSUP,
			"this host's CPU is too old for any CPU model: it lacks %s", lacks);
	if (!model) {
		m = missing(MODEL_V3, &h, NULL, 0) ? MODEL_V2 : MODEL_V3;
	} else {
		for (m = MODEL_V2; strcmp(model_names[m], model) != 0; m++)
			if (m == MODEL_HOST)
				return err_set(e, EINVAL,
					"unknown CPU model '%.40s': choose x86-64-v2, "
					"x86-64-v3 or host",
					model);
		if (m == MODEL_V3 && missing(m, &h, lacks, sizeof lacks))
			return err_set(e, ENOTSUP,
				"CPU model x86-64-v3 is not possible on this host, which "
				"lacks %s: choose x86-64-v2 or host",
				lacks);
	}
	c->model = (uint8_t)m;
	c->ncpus = ncpus;
	c->tsc_khz = tsc_khz;
	/* 46 bits are 64 TiB and common, so that a named model is the same on most hosts */
	c->maxphyaddr = (unsigned)min_u64(h.maxphyaddr, m == MODEL_HOST ? 48 : 46);
	select_features(word, m, &h, m != MODEL_HOST || h.amd);
	compose(c, m, word, m == MODEL_HOST ? &h : NULL, true);
	return 0;
}

void x86_cpuid_native(struct x86_cpuid *c, const struct x86_cpuid *like, uint32_t tsc_khz)
{
	uint32_t word[NWORD];
	enum model m = (enum model)like->model;
	struct host h;

	host_read(&h);
	*c = (struct x86_cpuid){.model = like->model,
		.ncpus = like->ncpus,
		.tsc_khz = tsc_khz,
		.maxphyaddr = like->maxphyaddr};
	select_features(word, m, &h, h.amd);
	compose(c, m, word, &h, false);
}

void x86_cpuid_query(const struct x86_cpuid *c, unsigned cpu, uint32_t leaf, uint32_t subleaf,
	uint64_t cr4, uint64_t apic_base, uint64_t xcr0, uint32_t out[4])
{
	const struct x86_cpuid_leaf *l = NULL;
	uint32_t apic_bit = apic_base >> 11 & 1 ? 0 : 1u << 9;

	for (unsigned i = 0; i < c->n && !l; i++)
		if (c->leaf[i].leaf == leaf &&
			(!c->leaf[i].has_subleaf || c->leaf[i].subleaf == subleaf))
			l = &c->leaf[i];
	if (!l) {
		/* Beyond the last leaf Intel repeats the last one; nobody misses that. */
		memset(out, 0, 4 * sizeof out[0]);
		if (leaf == 0xb) { /* invalid levels still say which and who asks */
			out[2] = subleaf & 0xff;
			out[3] = cpu;
		}
		return;
	}
	out[0] = l->eax;
	out[1] = l->ebx;
	out[2] = l->ecx;
	out[3] = l->edx;
	switch (leaf) {
	case 1:
		out[1] |= cpu << 24;
		if (cr4 & X86_CR4_OSXSAVE)
			out[2] |= 1u << 27;
		out[3] &= ~apic_bit;
		break;
	case 0xb:
		out[3] = cpu;
		break;
	case 0xd: /* what the components in force need; subleaf 1: compacted, which is the same */
		if (subleaf <= 1)
			out[1] = xcr0 & 4 ? 832 : 576;
		break;
	case 0x80000001:
		if (c->amd)
			out[3] &= ~apic_bit;
		break;
	case 0x8000001e:
		out[0] = cpu;
		out[1] = cpu & 0xff;
		break;
	default:
		break;
	}
}

/* One reading of both clocks: the closest of a few, as an interrupt may come between. */
static void clocks(uint64_t *tsc, uint64_t *ns)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 8; i++) {
		uint64_t a = __builtin_ia32_rdtsc(), t = now_ns(), b = __builtin_ia32_rdtsc();

		if (b - a < best) {
			best = b - a;
			*tsc = a + (b - a) / 2;
			*ns = t;
		}
	}
}

static uint32_t measure_tsc_khz(void)
{
	const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
	uint64_t tsc0 = 0, ns0 = 0, tsc1 = 0, ns1 = 0;

	clocks(&tsc0, &ns0);
	nanosleep(&pause, NULL); /* cut short by a signal it is less exact, but not wrong */
	clocks(&tsc1, &ns1);
	if (ns1 <= ns0)
		return 0;
	return (uint32_t)(((tsc1 - tsc0) * 1000000 + (ns1 - ns0) / 2) / (ns1 - ns0));
}

uint32_t x86_host_tsc_khz(void)
{
	static _Atomic uint32_t known;
	uint32_t khz = atomic_load_explicit(&known, memory_order_relaxed), r[4];

	if (khz)
		return khz;
	cpuid(0, 0, r);
	if (r[0] >= 0x15) {
		cpuid(0x15, 0, r);
		if (r[0] && r[1] && r[2])
			khz = (uint32_t)((uint64_t)r[2] * r[1] / r[0] / 1000);
	}
	cpuid(1, 0, r);
	/* a hypervisor may say, in a leaf that VMware made and KVM's users took over */
	if (!khz && r[2] >> 31) {
		cpuid(0x40000000, 0, r);
		if (r[0] >= 0x40000010 && r[0] < 0x40000100) {
			cpuid(0x40000010, 0, r);
			khz = r[0];
		}
	}
	if (khz < 100000 || khz > 20000000) /* absent or absurd */
		khz = measure_tsc_khz();
	atomic_store_explicit(&known, khz, memory_order_relaxed);
	return khz;
}
