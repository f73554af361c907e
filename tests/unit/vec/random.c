/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/util.h"
#include "random.h"

/* Random numbers: splitmix64, so that a seed means the same everywhere. */
static uint64_t rng_state;

void rnd_seed(uint64_t seed)
{
	rng_state = seed;
}

uint64_t rnd(void)
{
	uint64_t z = rng_state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

unsigned rnd_below(unsigned n)
{
	return (unsigned)(rnd() % n);
}

/* Values floating point is interested in */
static uint32_t rnd_f32(void)
{
	static const uint32_t special[] = {0, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000,
		0x7f800001, 0xffa00000, 0x7fc00000, 0xffc12345, 1, 0x807fffff, 0x00800000, 0x80800001,
		0x7f7fffff, 0xff7fffff, 0x4f000000, 0xcf000000, 0x5f000000, 0x3f000000, 0x34000000,
		0x00ffffff, 0x20000000, 0x1f000001};

	return rnd() & 1 ? special[rnd_below(ARRAY_LEN(special))] : (uint32_t)rnd();
}

static uint64_t rnd_f64(void)
{
	static const uint64_t special[] = {0, 1ull << 63, 0x3ff0000000000000, 0xbff0000000000000,
		0x7ff0000000000000, 0xfff0000000000000, 0x7ff0000000000001, 0xfff4000000000000,
		0x7ff8000000000000, 0xfff8000012345678, 1, 0x800fffffffffffff, 0x0010000000000000,
		0x8010000000000001, 0x7fefffffffffffff, 0xffefffffffffffff, 0x41e0000000000000,
		0xc1e0000000000000, 0x43e0000000000000, 0x3fe0000000000000, 0x36a0000000000000,
		0x3800000000000000, 0x3690000000000000, 0x47efffffe0000000, 0x47efffffffffffff,
		0x2000000000000000, 0x1ff0000000000001};

	return rnd() & 1 ? special[rnd_below(ARRAY_LEN(special))] : rnd();
}

void rnd_lanes(uint8_t *p, unsigned n)
{
	unsigned kind = rnd_below(5);

	for (unsigned i = 0; i < n; i += 8) {
		uint64_t v = rnd();

		if (kind == 0)
			v = rnd_f64();
		else if (kind == 1)
			v = (uint64_t)rnd_f32() << 32 | rnd_f32();
		else if (kind == 2)
			v &= 0x8001ff007f80ff01;
		put_u64(p + i, v);
	}
}

void rnd_f80(uint8_t *p)
{
	static const uint16_t exps[] = {0, 1, 0x7fff, 0x7ffe, 0x3fff, 0x4000, 0x403e, 0x3f81, 0x3c01,
		0x3f6a, 0x407e, 0x43fe, 0x401e, 0x400e, 0x3ffe};
	static const uint64_t mants[] = {0, 1ull << 63, 3ull << 62, 0xa000000000000000, 1, ~0ull,
		0x8000000000000001, 0x4000000000000000, 0xffffff0000000000, 0x8000010000000000};
	uint64_t m = rnd() & 1 ? mants[rnd_below(ARRAY_LEN(mants))] : rnd() | (rnd() & 3 ? 1ull << 63 : 0);
	uint16_t e = rnd() & 1 ? exps[rnd_below(ARRAY_LEN(exps))] : (uint16_t)(0x3fff - 40 + rnd_below(80));

	put_u64(p, m);
	put_u16(p + 8, (uint16_t)(e | (rnd() & 1) << 15));
	memset(p + 10, 0, 6);
}

void rnd_fpu(struct x86_fpu *f, bool avx)
{
	memset(f, 0, sizeof *f);
	rnd_lanes(f->ymm[0], sizeof f->ymm);
	f->mxcsr = (uint32_t)(rnd() & 0xe07f) | 0x1f80;
	if (rnd_below(4) == 0)
		f->mxcsr &= (uint32_t)(rnd() & 0x1f80) | ~0x1f80u;
	for (unsigned i = 0; i < 8; i++)
		rnd_f80(f->st[i]);
	if (!avx)
		for (unsigned i = 0; i < 16; i++)
			memset(f->ymm[i] + 16, 0, 16);
	f->fcw = (uint16_t)(0x7f | (rnd() & 0xf00));
	if (rnd_below(3) == 0)
		f->fcw &= (uint16_t)(rnd() | 0xff40);
	f->fsw = (uint16_t)rnd() & 0x7f00;
	if (rnd_below(3) == 0)
		f->fsw |= (uint16_t)rnd() & 0x7f;
	if (rnd_below(8) && f->fsw & ~f->fcw & 0x3f)
		f->fsw &= 0x7f00;
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= 0x8080;
	f->ftw = rnd_below(3) ? 0xff : (uint8_t)rnd();
}
