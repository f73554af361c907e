/* SPDX-License-Identifier: MIT */
/*
 * The FXSAVE and XSAVE images of x86/fpu.c against the host CPU: the same state saved by both, the same
 * image, good or bad, loaded by both.
 *
 * Not compared: FOP, FIP and FDP (AMD keeps them only beside a pending exception), and which components the
 * CPU takes for unused, as it may take none: then XSTATE_BV has more bits and more is written.
 *
 *     fpu_test [seed]
 */
#undef NDEBUG
#include <assert.h>
#include <cpuid.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "native.h"
#include "random.h"
#include "x86/fpu.h"

enum { PAGE = 4096, BV = 512, XCOMP = 520, HEADER = 512 };

enum insn { FXSAVE, FXRSTOR, XSAVE, XSAVEOPT, XSAVEC, XRSTOR, NINSNS };
static const struct {
	const char *name;
	uint8_t bytes[3]; /* with [rdi] */
} insns[NINSNS] = {
	{"fxsave", {0x0f, 0xae, 0x07}}, {"fxrstor", {0x0f, 0xae, 0x0f}}, {"xsave", {0x0f, 0xae, 0x27}},
	{"xsaveopt", {0x0f, 0xae, 0x37}}, {"xsavec", {0x0f, 0xc7, 0x27}}, {"xrstor", {0x0f, 0xae, 0x2f}},
};

static uint8_t *code_rw, *code_rx, *img; /* img: one page */

static void arena_init(void)
{
	int fd = memfd_create("fpu-test", MFD_CLOEXEC | 0x10);

	if (fd < 0)
		fd = memfd_create("fpu-test", MFD_CLOEXEC);
	assert(fd >= 0 && !ftruncate(fd, PAGE));
	code_rw = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	code_rx = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	img = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(code_rw != MAP_FAILED && code_rx != MAP_FAILED && img != MAP_FAILED);
}

static void rnd_bytes(uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		p[i] = (uint8_t)rnd();
}

/* Runs the instruction on img; returns the exception, 0 for none. */
static int host_run(enum insn in, bool rexw, struct x86_state *s)
{
	struct native_exit x;
	unsigned n = 0;

	if (rexw)
		code_rw[n++] = 0x48;
	memcpy(code_rw + n, insns[in].bytes, 3);
	code_rw[n + 3] = 0xcc;
	s->rip = (uint64_t)(uintptr_t)code_rx;
	s->gpr[X86_RDI] = (uint64_t)(uintptr_t)img;
	native_run(s, &x);
	return x.trap == X86_BP ? 0 : x.trap;
}

static void state_make(struct x86_state *s, bool avx)
{
	memset(s, 0, sizeof *s);
	s->seg[X86_CS].sel = 0x33;
	rnd_fpu(&s->fpu, avx);
	/* components in their initial state */
	if (rnd_below(4) == 0)
		for (unsigned i = 0; i < 16; i++)
			memset(s->fpu.ymm[i] + 16, 0, 16);
	if (rnd_below(4) == 0)
		for (unsigned i = 0; i < 16; i++)
			memset(s->fpu.ymm[i], 0, 16);
	if (rnd_below(4) == 0) {
		uint32_t mxcsr = s->fpu.mxcsr;
		uint8_t ymm[16][32];

		memcpy(ymm, s->fpu.ymm, sizeof ymm);
		x86_fpu_reset(&s->fpu);
		memcpy(s->fpu.ymm, ymm, sizeof ymm);
		s->fpu.mxcsr = mxcsr;
	}
	if (rnd_below(4) == 0)
		s->fpu.mxcsr = 0x1f80;
}

static void diff(const char *what, const uint8_t *a, const uint8_t *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (a[i] != b[i])
			printf("  %s byte %u: host %02x ours %02x\n", what, i, a[i], b[i]);
}

static void test_save(enum insn in, bool avx)
{
	static uint8_t before[X86_XSAVE_SIZE_AVX], ours[X86_XSAVE_SIZE_AVX];
	uint64_t mask = rnd_below(8), xcr0 = avx ? 7 : 3, bv, in_use;
	bool rexw = rnd() & 1;
	struct x86_state s;
	int trap;

	state_make(&s, avx);
	rnd_bytes(before, sizeof before);
	/* what is there of a header is right, or XSAVE would add to nonsense */
	memset(before + HEADER, 0, 64);
	put_u64(before + BV, rnd() & xcr0);
	memcpy(img, before, sizeof before);
	memcpy(ours, before, sizeof before);
	s.gpr[X86_RAX] = in == FXSAVE ? 0 : mask;
	s.gpr[X86_RDX] = 0;
	mask &= xcr0;
	if (in == FXSAVE)
		x86_fpu_fxsave(&s.fpu, ours, rexw);
	else
		x86_fpu_xsave(&s.fpu, ours, mask, rexw, in == XSAVEC, in != XSAVE);
	in_use = x86_fpu_xinuse(&s.fpu);
	trap = host_run(in, rexw, &s);
	assert(!trap);

	/* a component the host wrote though it need not */
	bv = get_u64(img + BV) & ~get_u64(ours + BV) & mask;
	assert(in != FXSAVE || !bv);
	assert(!(bv & in_use));
	put_u64(ours + BV, get_u64(ours + BV) | bv);
	if (in != XSAVE && bv & 1) {
		memcpy(ours, img, 24);
		memcpy(ours + 32, img + 32, 128);
	}
	if (in != XSAVE && bv & 2) {
		memcpy(ours + 160, img + 160, 256);
		if (in == XSAVEC)
			memcpy(ours + 24, img + 24, 8);
	}
	if (in != XSAVE && bv & 4)
		memcpy(ours + X86_XSAVE_AVX_OFF, img + X86_XSAVE_AVX_OFF, 256);
	/* pointers; and the host's MXCSR_MASK may have a bit that guests are not given */
	memcpy(ours + 6, img + 6, 18);
	if (in == FXSAVE || mask & 6)
		if (get_u32(ours + 28) == X86_MXCSR_MASK)
			put_u32(img + 28, get_u32(img + 28) & X86_MXCSR_MASK);
	if (memcmp(ours, img, sizeof ours)) {
		printf("%s, mask %" PRIx64 "\n", insns[in].name, mask);
		diff("image", img, ours, sizeof ours);
		exit(1);
	}
}

static unsigned refused;

static void test_load(enum insn in, bool avx)
{
	uint64_t mask = rnd_below(8), xcr0 = avx ? 7 : 3;
	bool rexw = rnd() & 1;
	struct x86_state s, from;
	struct x86_fpu ours;
	int trap, rc;

	state_make(&s, avx);
	state_make(&from, avx);
	memset(img, 0, X86_XSAVE_SIZE_AVX);
	/* the compacted form has AVX at the same place, so one image serves both */
	x86_fpu_xsave(&from.fpu, img, 7, rexw, rnd_below(3) == 0, false);
	put_u64(img + BV, rnd() & 7);
	if (get_u64(img + XCOMP))
		put_u64(img + XCOMP, 1ull << 63 | get_u64(img + BV) | (rnd() & 7));
	if (!avx)
		put_u64(img + BV, get_u64(img + BV) & 3);
	put_u16(img + 2, (uint16_t)rnd()); /* the summary bits need not fit */
	put_u16(img, (uint16_t)rnd());
	switch (rnd_below(12)) { /* what must be refused, or ignored */
	case 0:
		put_u32(img + 24, (uint32_t)rnd() & ~0x20000u);
		break;
	case 1:
		img[BV + rnd_below(64)] |= (uint8_t)(1u << rnd_below(8));
		break;
	case 2:
		put_u64(img + XCOMP, (uint64_t)rnd_below(16) | (rnd() & 1) << 63);
		break;
	}
	ours = s.fpu;
	s.gpr[X86_RAX] = mask;
	s.gpr[X86_RDX] = 0;
	if (in == FXRSTOR)
		rc = x86_fpu_fxrstor(&ours, img, rexw);
	else
		rc = x86_fpu_xrstor(&ours, img, mask & xcr0, xcr0, rexw);
	trap = host_run(in, rexw, &s);
	/* components beyond ours may be on in the host's XCR0 */
	if (in == XRSTOR && rc && !trap && (get_u64(img + BV) | (get_u64(img + XCOMP) & ~(1ull << 63))) & ~xcr0)
		return;
	ours.fip = s.fpu.fip;
	ours.fdp = s.fpu.fdp;
	ours.fop = s.fpu.fop;
	refused += !!rc;
	if (trap != (rc ? X86_GP : 0) || memcmp(&ours, &s.fpu, sizeof ours)) {
		printf("%s: exception %d, ours %d; mask %" PRIx64 " bv %" PRIx64 " xcomp %" PRIx64 " mxcsr %x\n",
			insns[in].name, trap, rc, mask, get_u64(img + BV), get_u64(img + XCOMP), get_u32(img + 24));
		diff("state", (uint8_t *)&s.fpu, (uint8_t *)&ours, sizeof ours);
		exit(1);
	}
}

static void test_reset(void)
{
	struct x86_fpu f;

	memset(&f, 0xa5, sizeof f);
	x86_fpu_reset(&f);
	assert(f.fcw == 0x37f && !f.fsw && !f.ftw && f.mxcsr == 0x1f80 && !x86_fpu_xinuse(&f));
	f.ymm[15][31] = 1;
	assert(x86_fpu_xinuse(&f) == 4);
	f.ymm[15][15] = 1;
	assert(x86_fpu_xinuse(&f) == 6);
	f.st[7][9] = 1;
	assert(x86_fpu_xinuse(&f) == 7);
}

/* For XSAVEC a MXCSR of its own makes SSE count as used; CPUs that always count it cannot show that. */
static void test_xsavec_mxcsr(void)
{
	static uint8_t out[X86_XSAVE_SIZE_AVX];
	struct x86_fpu f, g;

	x86_fpu_reset(&f);
	x86_fpu_xsave(&f, out, 7, true, true, true);
	assert(get_u64(out + BV) == 0 && get_u64(out + XCOMP) == (1ull << 63 | 7));
	f.mxcsr = 0x1fa0;
	x86_fpu_xsave(&f, out, 7, true, true, true);
	assert(get_u64(out + BV) == 2);
	x86_fpu_reset(&g);
	assert(!x86_fpu_xrstor(&g, out, 7, 7, true) && g.mxcsr == 0x1fa0);
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : now_ns() & 0xffffffff;
	unsigned a, b, c, d, xsave_features = 0;
	bool avx = native_has_avx();

	printf("seed %#" PRIx64 "\n", seed);
	rnd_seed(seed);
	arena_init();
	native_init();
	test_reset();
	test_xsavec_mxcsr();
	__cpuid(1, a, b, c, d);
	if (c & bit_OSXSAVE) {
		__cpuid_count(0xd, 1, a, b, c, d);
		xsave_features = 4 | (a & 3); /* 1: XSAVEOPT, 2: XSAVEC */
	}
	for (unsigned k = 0; k < 20000; k++) {
		test_save(FXSAVE, avx);
		test_load(FXRSTOR, avx);
		if (xsave_features & 4) {
			test_save(XSAVE, avx);
			test_load(XRSTOR, avx);
		}
		if (xsave_features & 1)
			test_save(XSAVEOPT, avx);
		if (xsave_features & 2)
			test_save(XSAVEC, avx);
	}
	assert(refused > 100);
	return 0;
}
