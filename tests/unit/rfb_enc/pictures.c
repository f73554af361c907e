/* SPDX-License-Identifier: MIT */
#include "pictures.h"

static uint32_t next(uint32_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 17;
	*s ^= *s << 5;
	return *s;
}

/* Colour i of the seed's; far from each other, so that few formats make two of them one */
static uint32_t colour(uint32_t seed, unsigned i)
{
	return (i + 1) * 0x9e3779b1u + seed * 0x85ebca6bu;
}

static void set(const struct surface *s, uint32_t x, uint32_t y, uint32_t value, uint32_t rubbish)
{
	*surface_row(s, x, y) = (value & 0xffffff) | (rubbish & 0xff000000);
}

static void draw_runs(const struct surface *s, struct rect r, unsigned n, uint32_t seed, uint32_t state)
{
	static const uint32_t lengths[] = {1, 1, 1, 2, 3, 17, 64, 254, 255, 256, 257, 510, 511, 600};
	uint32_t left = 0, v = 0;

	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			if (!left--) {
				left = lengths[next(&state) % ARRAY_LEN(lengths)] - 1;
				v = colour(seed, next(&state) % n);
			}
			set(s, r.x + x, r.y + y, v, state);
		}
}

static void draw_boxes(const struct surface *s, struct rect r, unsigned n, uint32_t seed, uint32_t state)
{
	for (unsigned i = 0; i < 2 * n; i++) {
		uint32_t x = i ? next(&state) % r.w : 0, y = i ? next(&state) % r.h : 0;
		uint32_t w = i ? 1 + next(&state) % (r.w - x) : r.w, h = i ? 1 + next(&state) % (r.h - y) : r.h;

		for (uint32_t j = 0; j < h; j++)
			for (uint32_t k = 0; k < w; k++)
				set(s, r.x + x + k, r.y + y + j, colour(seed, i % n), state);
	}
}

static uint32_t text_pixel(uint32_t x, uint32_t y, unsigned n, uint32_t seed)
{
	uint32_t glyph = (x / 8 + y / 16 * 131 + seed) * 0x9e3779b1u >> 27, line = (glyph * 16 + y % 16) * 0x85ebca6bu;

	if (glyph < 8 || x % 8 == 7 || y % 16 < 3 || !(line >> (16 + x % 7) & 1))
		return colour(seed, 0);
	return colour(seed, 1 + (x / 40 + y / 16) % n);
}

static uint32_t gradient_pixel(uint32_t x, uint32_t y)
{
	return (x & 255) << 16 | (y & 255) << 8 | ((x + y) / 2 & 255);
}

void picture_draw(const struct surface *s, struct rect r, enum picture kind, unsigned n, uint32_t seed)
{
	uint32_t state = seed * 2654435761u + 12345;

	if (!state)
		state = 1;
	if (kind == PICTURE_RUNS) {
		draw_runs(s, r, n, seed, state);
		return;
	}
	if (kind == PICTURE_BOXES) {
		draw_boxes(s, r, n, seed, state);
		return;
	}
	if (kind == PICTURE_MIXED) {
		for (uint32_t y = 0; y < r.h; y += 32)
			for (uint32_t x = 0; x < r.w; x += 32) {
				struct rect t = {r.x + x, r.y + y, (uint32_t)min_u64(32, r.w - x), (uint32_t)min_u64(32, r.h - y)};

				picture_draw(s, t, next(&state) % PICTURE_MIXED, 1 + next(&state) % 20, state >> 8);
			}
		return;
	}
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			uint32_t v = colour(seed, 0);

			next(&state);
			if (kind == PICTURE_DOTS)
				v = colour(seed, (state >> 8) % n);
			else if (kind == PICTURE_TEXT)
				v = text_pixel(x, y, n, seed);
			else if (kind == PICTURE_GRADIENT)
				v = gradient_pixel(x, y);
			else if (kind == PICTURE_NOISE)
				v = state >> 4;
			set(s, r.x + x, r.y + y, v, state);
		}
}

#define F(bpp, depth, big, rm, gm, bm, rs, gs, bs) {bpp, depth, big, true, rm, gm, bm, rs, gs, bs}
const struct named_format test_formats[] = {
	{"native", F(32, 24, false, 255, 255, 255, 16, 8, 0)},
	{"32 big-endian", F(32, 24, true, 255, 255, 255, 16, 8, 0)},
	{"32 BGR", F(32, 24, false, 255, 255, 255, 0, 8, 16)},
	{"32 high", F(32, 24, false, 255, 255, 255, 24, 16, 8)},
	{"32 high big-endian", F(32, 24, true, 255, 255, 255, 8, 16, 24)},
	{"32 depth 32", F(32, 32, false, 255, 255, 255, 16, 8, 0)},
	{"32 wide apart", F(32, 24, false, 255, 255, 255, 24, 8, 0)},
	{"30 bits", F(32, 30, false, 1023, 1023, 1023, 20, 10, 0)},
	{"32 as 565", F(32, 16, false, 31, 63, 31, 11, 5, 0)},
	{"32 as high 565", F(32, 16, true, 31, 63, 31, 27, 21, 16)},
	{"565", F(16, 16, false, 31, 63, 31, 11, 5, 0)},
	{"565 big-endian", F(16, 16, true, 31, 63, 31, 11, 5, 0)},
	{"555", F(16, 15, false, 31, 31, 31, 10, 5, 0)},
	{"444 BGR", F(16, 12, true, 15, 15, 15, 0, 4, 8)},
	{"332", F(8, 8, false, 7, 7, 3, 5, 2, 0)},
	{"BGR 233", F(8, 8, false, 7, 7, 3, 0, 3, 6)},
	{"3 bits", F(8, 3, false, 1, 1, 1, 2, 1, 0)},
	{"16 bits of red", F(32, 32, false, 65535, 255, 255, 16, 8, 0)},
	{"one bit at 31", F(32, 31, true, 1, 127, 32767, 31, 0, 7)},
};
#undef F
const unsigned test_nformats = ARRAY_LEN(test_formats);
