/* SPDX-License-Identifier: MIT */
/*
 * FXSAVE and XSAVE images: SDM Vol. 1, 10.5.1 (legacy region), 13.4 (XSAVE area), 13.7 to 13.12 and
 * the pages of FXSAVE, FXRSTOR, XSAVE, XSAVEC, XSAVEOPT and XRSTOR in Vol. 2.
 *
 * FCS and FDS are written as zero and ignored, as by CPUs with CPUID.(7,0):EBX[13].
 */
#include <string.h>

#include "base/util.h"
#include "x86/fpu.h"

enum { /* offsets in the legacy region and the header */
	IMG_FCW = 0, IMG_FSW = 2, IMG_FTW = 4, IMG_FOP = 6, IMG_FIP = 8, IMG_FDP = 16, IMG_MXCSR = 24,
	IMG_MXCSR_MASK = 28, IMG_ST = 32, IMG_XMM = 160, IMG_XSTATE_BV = 512, IMG_XCOMP_BV = 520,
	IMG_HEADER_END = 576,
};

enum { XCOMP_X87 = 1, XCOMP_SSE = 2, XCOMP_AVX = 4, XCOMP_KNOWN = 7 };
#define XCOMP_COMPACT (1ull << 63)

enum { FCW_INIT = 0x37f, FCW_KEEP = 0x1f3f, FCW_ONE = 0x40, FSW_EXC = 0x3f, FSW_ES_B = 0x8080,
	MXCSR_INIT = 0x1f80 };

static void x87_init(struct x86_fpu *f)
{
	f->fcw = FCW_INIT;
	f->fsw = 0;
	f->ftw = 0;
	f->fop = 0;
	f->fip = 0;
	f->fdp = 0;
	memset(f->st, 0, sizeof f->st);
}

void x86_fpu_reset(struct x86_fpu *f)
{
	memset(f, 0, sizeof *f);
	x87_init(f);
	f->mxcsr = MXCSR_INIT;
}

static void x87_save(const struct x86_fpu *f, uint8_t *img, bool rexw)
{
	put_u16(img + IMG_FCW, f->fcw);
	put_u16(img + IMG_FSW, f->fsw);
	put_u16(img + IMG_FTW, f->ftw);
	put_u16(img + IMG_FOP, f->fop);
	put_u64(img + IMG_FIP, rexw ? f->fip : (uint32_t)f->fip);
	put_u64(img + IMG_FDP, rexw ? f->fdp : (uint32_t)f->fdp);
	for (unsigned i = 0; i < 8; i++) {
		memcpy(img + IMG_ST + 16 * i, f->st[i], 10);
		memset(img + IMG_ST + 16 * i + 10, 0, 6);
	}
}

static void x87_load(struct x86_fpu *f, const uint8_t *img, bool rexw)
{
	f->fcw = (get_u16(img + IMG_FCW) & FCW_KEEP) | FCW_ONE;
	f->fsw = get_u16(img + IMG_FSW) & (uint16_t)~FSW_ES_B;
	/* the summary bits follow from the others, whatever the image says */
	if (f->fsw & ~f->fcw & FSW_EXC)
		f->fsw |= FSW_ES_B;
	f->ftw = img[IMG_FTW];
	f->fop = get_u16(img + IMG_FOP) & 0x7ff;
	f->fip = rexw ? get_u64(img + IMG_FIP) : get_u32(img + IMG_FIP);
	f->fdp = rexw ? get_u64(img + IMG_FDP) : get_u32(img + IMG_FDP);
	for (unsigned i = 0; i < 8; i++) {
		memcpy(f->st[i], img + IMG_ST + 16 * i, 10);
		memset(f->st[i] + 10, 0, 6);
	}
}

static void mxcsr_save(const struct x86_fpu *f, uint8_t *img)
{
	put_u32(img + IMG_MXCSR, f->mxcsr);
	put_u32(img + IMG_MXCSR_MASK, X86_MXCSR_MASK);
}

/* part: byte offset of the half in ymm, 0 or 16 */
static void halves_save(const struct x86_fpu *f, uint8_t *img, unsigned part)
{
	for (unsigned i = 0; i < 16; i++)
		memcpy(img + 16 * i, f->ymm[i] + part, 16);
}

static void halves_load(struct x86_fpu *f, const uint8_t *img, unsigned part)
{
	for (unsigned i = 0; i < 16; i++)
		memcpy(f->ymm[i] + part, img + 16 * i, 16);
}

static void halves_init(struct x86_fpu *f, unsigned part)
{
	for (unsigned i = 0; i < 16; i++)
		memset(f->ymm[i] + part, 0, 16);
}

static bool halves_used(const struct x86_fpu *f, unsigned part)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < 16; i++)
		any |= get_u64(f->ymm[i] + part) | get_u64(f->ymm[i] + part + 8);
	return any;
}

static bool x87_used(const struct x86_fpu *f)
{
	uint64_t any = f->fip | f->fdp | f->fop | f->ftw | f->fsw | (uint64_t)(f->fcw ^ FCW_INIT);

	for (unsigned i = 0; i < 8; i++)
		any |= get_u64(f->st[i]) | get_u16(f->st[i] + 8);
	return any;
}

uint64_t x86_fpu_xinuse(const struct x86_fpu *f)
{
	/* MXCSR is not counted: XSAVE's page, 13.6 */
	return (x87_used(f) ? XCOMP_X87 : 0) | (halves_used(f, 0) ? XCOMP_SSE : 0) |
		(halves_used(f, 16) ? XCOMP_AVX : 0);
}

void x86_fpu_fxsave(const struct x86_fpu *f, uint8_t img[X86_FXSAVE_SIZE], bool rexw)
{
	x87_save(f, img, rexw);
	mxcsr_save(f, img);
	halves_save(f, img + IMG_XMM, 0);
}

int x86_fpu_fxrstor(struct x86_fpu *f, const uint8_t img[X86_FXSAVE_SIZE], bool rexw)
{
	uint32_t mxcsr = get_u32(img + IMG_MXCSR);

	if (mxcsr & ~X86_MXCSR_MASK)
		return -1;
	x87_load(f, img, rexw);
	f->mxcsr = mxcsr;
	halves_load(f, img + IMG_XMM, 0);
	return 0;
}

void x86_fpu_xsave(const struct x86_fpu *f, uint8_t *img, uint64_t mask, bool rexw, bool compact, bool opt)
{
	uint64_t inuse = x86_fpu_xinuse(f), save, bv;

	mask &= XCOMP_KNOWN;
	if (compact) {
		/* here MXCSR belongs to SSE: a value of its own makes the component in use */
		if (f->mxcsr != MXCSR_INIT)
			inuse |= XCOMP_SSE;
		bv = mask & inuse;
	} else {
		bv = (get_u64(img + IMG_XSTATE_BV) & ~mask) | (mask & inuse);
	}
	save = opt || compact ? mask & inuse : mask;

	if (save & XCOMP_X87)
		x87_save(f, img, rexw);
	if ((compact ? save & XCOMP_SSE : mask & (XCOMP_SSE | XCOMP_AVX)))
		mxcsr_save(f, img);
	if (save & XCOMP_SSE)
		halves_save(f, img + IMG_XMM, 0);
	if (save & XCOMP_AVX)
		halves_save(f, img + X86_XSAVE_AVX_OFF, 16); /* the first one, so the same when compact */
	put_u64(img + IMG_XSTATE_BV, bv);
	if (compact)
		put_u64(img + IMG_XCOMP_BV, mask | XCOMP_COMPACT);
}

static bool bytes_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return !any;
}

int x86_fpu_xrstor(struct x86_fpu *f, const uint8_t *img, uint64_t mask, uint64_t xcr0, bool rexw)
{
	uint64_t bv = get_u64(img + IMG_XSTATE_BV), xcomp = get_u64(img + IMG_XCOMP_BV), load;
	uint32_t mxcsr = get_u32(img + IMG_MXCSR);
	bool compact = xcomp & XCOMP_COMPACT, load_mxcsr;

	mask &= XCOMP_KNOWN;
	if (compact) {
		xcomp &= ~XCOMP_COMPACT;
		if (xcomp & ~xcr0 || bv & ~xcomp)
			return -1;
	} else if (xcomp || bv & ~xcr0) {
		return -1;
	}
	/*
	 * The rest of the header: the standard form looks at bytes 23:8 only, the compacted one at
	 * 63:16 (XRSTOR's page).
	 */
	if (!bytes_zero(img + IMG_XCOMP_BV + 8, compact ? IMG_HEADER_END - IMG_XCOMP_BV - 8 : 8))
		return -1;

	load = mask & bv;
	load_mxcsr = compact ? load & XCOMP_SSE : mask & (XCOMP_SSE | XCOMP_AVX);
	if (load_mxcsr && mxcsr & ~X86_MXCSR_MASK)
		return -1;

	if (load & XCOMP_X87)
		x87_load(f, img, rexw);
	else if (mask & XCOMP_X87)
		x87_init(f);
	if (load_mxcsr)
		f->mxcsr = mxcsr;
	else if (mask & XCOMP_SSE)
		f->mxcsr = MXCSR_INIT;
	if (load & XCOMP_SSE)
		halves_load(f, img + IMG_XMM, 0);
	else if (mask & XCOMP_SSE)
		halves_init(f, 0);
	if (load & XCOMP_AVX)
		halves_load(f, img + X86_XSAVE_AVX_OFF, 16);
	else if (mask & XCOMP_AVX)
		halves_init(f, 16);
	return 0;
}
