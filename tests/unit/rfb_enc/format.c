/* SPDX-License-Identifier: MIT */
/* Pixel formats: which are served, and every value of every channel in them. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "pictures.h"

static void bytes_of(const struct rfb_format *f, uint8_t p[RFB_FORMAT_LEN])
{
	struct buf b = {0};

	rfb_format_put(&b, f);
	assert(b.len == RFB_FORMAT_LEN);
	memcpy(p, b.p, RFB_FORMAT_LEN);
	buf_fini(&b);
}

static bool ok(uint8_t bpp, uint8_t depth, uint16_t rm, uint16_t gm, uint16_t bm, uint8_t rs, uint8_t gs, uint8_t bs)
{
	struct rfb_format f = {bpp, depth, false, true, rm, gm, bm, rs, gs, bs}, g;
	uint8_t p[RFB_FORMAT_LEN];

	bytes_of(&f, p);
	if (!rfb_format_get(&g, p))
		return false;
	assert(rfb_format_same(&f, &g));
	return true;
}

static void which_are_served(void)
{
	static const uint8_t wrong_bpp[] = {0, 1, 7, 9, 15, 24, 31, 33, 64, 128, 255};

	for (unsigned i = 0; i < test_nformats; i++) {
		const struct rfb_format *f = &test_formats[i].format;
		uint8_t p[RFB_FORMAT_LEN];
		struct rfb_format g;

		bytes_of(f, p);
		assert(rfb_format_get(&g, p));
		assert(rfb_format_same(f, &g));
		for (unsigned j = 0; j < i; j++)
			assert(!rfb_format_same(f, &test_formats[j].format));
	}
	assert(ok(32, 24, 255, 255, 255, 16, 8, 0));
	for (unsigned i = 0; i < ARRAY_LEN(wrong_bpp); i++)
		assert(!ok(wrong_bpp[i], 1, 1, 1, 1, 0, 1, 2));
	assert(ok(32, 32, 255, 255, 255, 16, 8, 0));
	assert(!ok(32, 33, 255, 255, 255, 16, 8, 0));
	assert(!ok(16, 17, 31, 63, 31, 11, 5, 0));
	assert(!ok(8, 9, 7, 7, 3, 0, 3, 6));
	/* maxima */
	assert(!ok(32, 24, 0, 255, 255, 16, 8, 0));
	assert(!ok(32, 24, 255, 0, 255, 16, 8, 0));
	assert(!ok(32, 24, 255, 255, 0, 16, 8, 0));
	assert(!ok(32, 24, 254, 255, 255, 16, 8, 0));
	assert(!ok(32, 24, 255, 256, 255, 16, 8, 0));
	assert(!ok(32, 24, 255, 255, 5, 16, 8, 0));
	assert(!ok(32, 24, 65535, 65535, 65535, 16, 8, 0));
	assert(ok(32, 24, 65535, 255, 255, 16, 8, 0));
	assert(!ok(16, 16, 65535, 1, 1, 0, 0, 0));
	assert(!ok(8, 8, 255, 1, 1, 0, 1, 2));
	/* shifts */
	assert(ok(32, 24, 1, 255, 255, 31, 8, 0));
	assert(!ok(32, 24, 3, 255, 255, 31, 8, 0));
	assert(ok(16, 16, 31, 63, 31, 11, 5, 0));
	assert(!ok(16, 16, 31, 63, 31, 12, 5, 0));
	assert(!ok(8, 8, 7, 7, 3, 6, 3, 0));
	for (unsigned s = 32; s < 256; s++) {
		assert(!ok(32, 24, 1, 255, 255, (uint8_t)s, 8, 0));
		assert(!ok(32, 24, 255, 1, 255, 16, (uint8_t)s, 0));
		assert(!ok(32, 24, 255, 255, 1, 16, 8, (uint8_t)s));
	}
	/* overlaps */
	assert(!ok(32, 24, 255, 255, 255, 8, 8, 0));
	assert(!ok(32, 24, 255, 255, 255, 16, 1, 0));
	assert(!ok(32, 24, 255, 255, 255, 7, 8, 0));
	assert(!ok(16, 16, 31, 63, 31, 10, 5, 0));
}

static void without_true_colour(void)
{
	static const uint8_t p8[RFB_FORMAT_LEN] = {8, 8, 1, 0, 0xff, 0xff, 9, 9, 9, 9, 99, 99, 99};
	uint8_t p[RFB_FORMAT_LEN];
	struct rfb_format f, g;
	struct buf b = {0};

	assert(rfb_format_get(&f, p8) && !f.true_colour && f.bpp == 8);
	memcpy(p, p8, sizeof p);
	p[0] = 16;
	assert(!rfb_format_get(&g, p));
	p[0] = 32;
	assert(!rfb_format_get(&g, p));
	rfb_colour_map(&f, &b);
	assert(f.true_colour && f.bpp == 8);
	assert(b.len == 6 + 256 * 6 && !memcmp(b.p, "\x01\x00\x00\x00\x01\x00", 6));
	for (unsigned c = 0; c < 256; c++) {
		const uint8_t *e = b.p + 6 + 6 * (size_t)c;
		uint32_t rgb = (uint32_t)e[0] << 16 | (uint32_t)e[2] << 8 | e[4];

		/* each colour of the map is shown by its own index, and by that alone */
		assert(rfb_pixel(&f, rgb) == c);
	}
	assert(!memcmp(b.p + 6, "\0\0\0\0\0\0", 6) && !memcmp(b.p + 6 + 255 * (size_t)6, "\xff\xff\xff\xff\xff\xff", 6));
	bytes_of(&f, p);
	assert(rfb_format_get(&g, p) && rfb_format_same(&f, &g));
	buf_fini(&b);
}

/* The definition, in words as in rfb.h: to the nearest */
static uint32_t nearest(uint32_t v, uint32_t max)
{
	uint32_t best = 0;

	for (uint32_t q = v * max / 255; q <= v * max / 255 + 1 && q <= max; q++) {
		int64_t d = (int64_t)q * 255 - (int64_t)v * max, e = (int64_t)best * 255 - (int64_t)v * max;

		if ((d < 0 ? -d : d) < (e < 0 ? -e : e))
			best = q;
	}
	return best;
}

static void put(const struct rfb_format *f, uint8_t *p, uint32_t v)
{
	unsigned bytes = f->bpp / 8u;

	for (unsigned i = 0; i < bytes; i++)
		p[f->big_endian ? bytes - 1 - i : i] = (uint8_t)(v >> 8 * i);
}

static void values(void)
{
	enum { N = 256 + 77 };
	uint32_t src[N], v[N], in_place[N];
	uint8_t wire[N * 4 + 1], expect[4], cp[N * 4 + 1];

	for (unsigned i = 0; i < test_nformats; i++) {
		const struct rfb_format *f = &test_formats[i].format;
		unsigned bytes = f->bpp / 8u, cbytes = rfb_cpixel(f);

		for (unsigned c = 0; c < 256; c++) {
			uint32_t r = nearest(c, f->rmax), g = nearest(c ^ 0x55, f->gmax), b = nearest(255 - c, f->bmax);

			src[c] = 0xab000000 | c << 16 | (c ^ 0x55) << 8 | (255 - c);
			assert(rfb_pixel(f, src[c]) == (r << f->rshift | g << f->gshift | b << f->bshift));
		}
		assert(rfb_pixel(f, 0xff000000) == 0);
		for (unsigned k = 256; k < N; k++)
			src[k] = k * 0x9e3779b1u;
		for (unsigned n = 0; n <= N; n = n < 40 ? n + 1 : n + 97) {
			memset(v, 0x5a, sizeof v);
			memset(wire, 0x5a, sizeof wire);
			memset(cp, 0x5a, sizeof cp);
			rfb_pixels(f, v, src, n);
			rfb_translate(f, wire, src, n);
			rfb_cpixels_put(f, cp, v, n);
			memcpy(in_place, src, sizeof src);
			rfb_pixels(f, in_place, in_place, n);
			assert(!memcmp(in_place, v, n * sizeof *v));
			for (unsigned k = 0; k < n; k++) {
				uint8_t one[4];

				assert(v[k] == rfb_pixel(f, src[k]));
				put(f, expect, v[k]);
				assert(!memcmp(wire + k * bytes, expect, bytes));
				assert(rfb_pixel_put(f, one, v[k]) == bytes && !memcmp(one, expect, bytes));
				assert(rfb_cpixel_put(f, one, v[k]) == cbytes && !memcmp(cp + k * cbytes, one, cbytes));
			}
			assert(n == N || v[n] == 0x5a5a5a5a);
			assert(wire[n * bytes] == 0x5a && cp[n * cbytes] == 0x5a);
		}
	}
}

/* Every product that the fast division may see */
static void division(void)
{
	for (unsigned bits = 1; bits <= 8; bits++) {
		uint16_t max = (uint16_t)((1u << bits) - 1);
		struct rfb_format f = {32, 24, false, true, max, 255, 127, 24, 16, 0};
		uint32_t src[256], v[256];

		for (unsigned c = 0; c < 256; c++)
			src[c] = c << 16 | c << 8 | c;
		rfb_pixels(&f, v, src, 256);
		for (unsigned c = 0; c < 256; c++)
			assert(v[c] == (nearest(c, max) << 24 | c << 16 | nearest(c, 127)));
	}
}

static void compressed_pixels(void)
{
	struct rfb_format f = rfb_format_native;
	uint8_t p[4];

	assert(rfb_cpixel(&f) == 3 && rfb_tpixel(&f) == 3);
	rfb_cpixel_put(&f, p, 0x112233);
	assert(!memcmp(p, "\x33\x22\x11", 3));
	f.big_endian = true;
	rfb_cpixel_put(&f, p, 0x112233);
	assert(rfb_cpixel(&f) == 3 && !memcmp(p, "\x11\x22\x33", 3));
	f.rshift = 24;
	f.gshift = 16;
	f.bshift = 8;
	rfb_cpixel_put(&f, p, 0x11223300);
	assert(rfb_cpixel(&f) == 3 && rfb_tpixel(&f) == 3 && !memcmp(p, "\x11\x22\x33", 3));
	f.big_endian = false;
	rfb_cpixel_put(&f, p, 0x11223300);
	assert(rfb_cpixel(&f) == 3 && !memcmp(p, "\x33\x22\x11", 3));
	f.depth = 25;
	assert(rfb_cpixel(&f) == 4 && rfb_tpixel(&f) == 4);
	f.depth = 24;
	f.bshift = 0; /* in both the highest and the lowest byte */
	assert(rfb_cpixel(&f) == 4 && rfb_tpixel(&f) == 3);
	rfb_cpixel_put(&f, p, 0x11220033);
	assert(!memcmp(p, "\x33\x00\x22\x11", 4));
	/* depth 16 of 32: 3 bytes; bits that both the lowest and the highest 3 bytes hold: the lowest */
	f = (struct rfb_format){32, 16, false, true, 31, 63, 31, 19, 13, 8};
	rfb_cpixel_put(&f, p, 0x00abcd00);
	assert(rfb_cpixel(&f) == 3 && rfb_tpixel(&f) == 4 && !memcmp(p, "\x00\xcd\xab", 3));
	f = (struct rfb_format){16, 16, false, true, 31, 63, 31, 11, 5, 0};
	assert(rfb_cpixel(&f) == 2 && rfb_tpixel(&f) == 2);
	f = (struct rfb_format){8, 8, false, true, 7, 7, 3, 0, 3, 6};
	assert(rfb_cpixel(&f) == 1 && rfb_tpixel(&f) == 1);
}

int main(void)
{
	which_are_served();
	without_true_colour();
	values();
	division();
	compressed_pixels();
	puts("ok");
	return 0;
}
