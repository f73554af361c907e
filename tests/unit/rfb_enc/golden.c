/* SPDX-License-Identifier: MIT */
/* Bytes written by hand, from rfbproto.rst: what encoders make, and that the reference decoder reads it the same way. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "../../rfb/decode.h"
#include "pictures.h"
#include "rfb/encode.h"

enum { W = 128, H = 64 };
static uint32_t px[W * H];
static const struct surface s = {W, H, W * 4, (uint8_t *)px};
static const struct rfb_format bgr233 = {8, 8, false, true, 7, 7, 3, 0, 3, 6};

static void clear(uint32_t v)
{
	for (unsigned i = 0; i < W * H; i++)
		px[i] = v;
}

static void box(unsigned x, unsigned y, unsigned w, unsigned h, uint32_t v)
{
	for (unsigned j = y; j < y + h; j++)
		for (unsigned i = x; i < x + w; i++)
			px[j * W + i] = v;
}

static void hex(const char *name, const uint8_t *p, size_t n)
{
	fprintf(stderr, "%s", name);
	for (size_t i = 0; i < n; i++)
		fprintf(stderr, " %02x", p[i]);
	fprintf(stderr, "\n");
}

/* r in format f is these bytes, and they are decoded to r. With a stream, what is inflated is compared. */
static void is(const struct rfb_encoder_ops *ops, const struct rfb_format *f, struct rect r, const void *expect, size_t n)
{
	struct rfb_params p = {.format = *f, .level = -1, .quality = -1};
	struct rfb_encoder *enc = ops->open();
	struct buf out = {0};
	uint8_t big[4096];
	const uint8_t *got;
	uLongf len = sizeof big;
	pixman_region32_t lossy;
	struct rfb_decoder d;
	uint8_t header[12] = {0, (uint8_t)r.x, 0, (uint8_t)r.y, 0, (uint8_t)r.w, 0, (uint8_t)r.h, 0, 0, 0, (uint8_t)ops->id};

	pixman_region32_init(&lossy);
	assert(enc && ops->encode(enc, &p, &s, r, &out, &lossy) == 1);
	assert(out.len > 12 && !memcmp(out.p, header, 12));
	got = out.p + 12;
	if (ops == &rfb_zlib || ops == &rfb_zrle) {
		z_stream z = {.next_in = out.p + 16, .avail_in = (uInt)out.len - 16, .next_out = big, .avail_out = sizeof big};

		assert(out.len - 16 == ((size_t)out.p[12] << 24 | (size_t)out.p[13] << 16 | (size_t)out.p[14] << 8 | out.p[15]));
		assert(inflateInit(&z) == Z_OK && inflate(&z, Z_SYNC_FLUSH) == Z_OK && !z.avail_in);
		len = z.total_out;
		inflateEnd(&z);
		got = big;
	} else {
		len = out.len - 12;
	}
	if (len != n || memcmp(got, expect, n)) {
		hex("expected", expect, n);
		hex("got     ", got, len);
	}
	assert(len == n && !memcmp(got, expect, n));
	assert(!rfb_decoder_init(&d, W, H));
	d.format = *f;
	assert(rfb_decode_rect(&d, out.p, out.len) == (ssize_t)out.len);
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++)
			assert(d.px[(r.y + y) * W + r.x + x] == rfb_pixel(f, px[(r.y + y) * W + r.x + x]));
	rfb_decoder_fini(&d);
	pixman_region32_fini(&lossy);
	buf_fini(&out);
	ops->close(enc);
}

#define IS(ops, f, r, ...) \
	do { \
		static const uint8_t bytes[] = {__VA_ARGS__}; \
		is(&(ops), &(f), r, bytes, sizeof bytes); \
	} while (0)

static void raw(void)
{
	static const struct rfb_format be565 = {16, 16, true, true, 31, 63, 31, 11, 5, 0};

	clear(0);
	px[W + 1] = 0xff112233;
	px[W + 2] = 0x00ff8000;
	IS(rfb_raw, rfb_format_native, ((struct rect){1, 1, 2, 1}), 0x33, 0x22, 0x11, 0, 0x00, 0x80, 0xff, 0);
	/* 0x11 * 31 / 255 = 2.07, 0x22 * 63 / 255 = 8.4, 0x33 * 31 / 255 = 6.2; 0x80 * 63 / 255 = 31.6 */
	IS(rfb_raw, be565, ((struct rect){1, 1, 2, 1}), 0x11, 0x06, 0xfc, 0x00);
	IS(rfb_zlib, be565, ((struct rect){1, 1, 2, 1}), 0x11, 0x06, 0xfc, 0x00);
}

static void rre(void)
{
	clear(0xffffff);
	box(2, 1, 3, 2, 0xff0000);
	box(0, 4, 1, 4, 0x00ff00);
	box(1, 4, 1, 1, 0x00ff00);
	/* the second: 1 x 4 is larger than 2 x 1, and what is left of that comes after it */
	IS(rfb_rre, bgr233, ((struct rect){0, 0, 8, 8}), 0, 0, 0, 3, 0xff, 0x07, 0, 2, 0, 1, 0, 3, 0, 2, 0x38, 0, 0, 0, 4, 0, 1, 0, 4,
		0x38, 0, 1, 0, 4, 0, 1, 0, 1);
	clear(0);
	IS(rfb_rre, rfb_format_native, ((struct rect){5, 5, 100, 50}), 0, 0, 0, 0, 0, 0, 0, 0);
}

static void hextile(void)
{
	struct rect r = {0, 0, 128, 16};

	clear(0);
	box(1, 2, 3, 4, 0xffffff);                  /* 0: background, foreground, one subrectangle */
	box(16 + 15, 15, 1, 1, 0xffffff);           /* 1: both carried over */
	/* 2: nothing but the background, carried over */
	box(48, 0, 16, 1, 0xffffff);                /* 3: foreground carried over through tile 2 */
	box(64, 0, 1, 1, 0xff0000);                 /* 4: coloured */
	box(64 + 8, 8, 2, 2, 0xffffff);
	box(80, 3, 2, 1, 0xffffff);                 /* 5: the foreground again, which 4 has ended */
	box(96, 0, 16, 16, 0x0000ff);               /* 6: another background alone */
	box(112, 0, 16, 16, 0x0000ff);              /* 7: and a foreground that was carried through it */
	box(113, 0, 1, 2, 0xffffff);
	IS(rfb_hextile, bgr233, r,
		2 | 4 | 8, 0x00, 0xff, 1, 0x12, 0x23,
		8, 1, 0xff, 0x00,
		0,
		8, 1, 0x00, 0xf0,
		8 | 16, 2, 0x07, 0x00, 0x00, 0xff, 0x88, 0x11,
		4 | 8, 0xff, 1, 0x03, 0x10,
		2, 0xc0,
		8, 1, 0x10, 0x01);
	/* A raw tile ends both. */
	clear(0);
	box(3, 3, 1, 1, 0xffffff);
	for (unsigned i = 0; i < 256; i++) /* different from their neighbours */
		px[i / 16 * W + 16 + i % 16] = (i * 73 & 0xe0) << 16 | (i * 37 & 0xe0) << 8 | (i * 11 & 0xc0);
	box(32 + 4, 5, 1, 1, 0xffffff);
	{
		uint8_t expect[6 + 1 + 256 + 6 + 1] = {2 | 4 | 8, 0x00, 0xff, 1, 0x33, 0x00, 1};
		uint32_t n = 7;

		for (unsigned i = 0; i < 256; i++)
			expect[n++] = (uint8_t)rfb_pixel(&bgr233, px[i / 16 * W + 16 + i % 16]);
		memcpy(expect + n, (uint8_t[]){2 | 4 | 8, 0x00, 0xff, 1, 0x45, 0x00, 0}, 7);
		is(&rfb_hextile, &bgr233, (struct rect){0, 0, 64, 16}, expect, n + 7);
	}
	/* edges: 17 x 17 has tiles of 1 x 16, 16 x 1, 1 x 1 */
	clear(0);
	box(16, 0, 1, 17, 0xffffff);
	IS(rfb_hextile, bgr233, ((struct rect){0, 0, 17, 17}), 2, 0x00, 2, 0xff, 2, 0x00, 2, 0xff);
}

/* A tile's rows of 4 bits, ... are padded to bytes; runs go on over the end of a row. */
static void zrle(void)
{
	struct rfb_format high = {32, 24, true, true, 255, 255, 255, 24, 16, 8};

	clear(0x112233);
	IS(rfb_zrle, rfb_format_native, ((struct rect){0, 0, 64, 64}), 1, 0x33, 0x22, 0x11);
	IS(rfb_zrle, high, ((struct rect){0, 0, 1, 1}), 1, 0x11, 0x22, 0x33);
	/* two tiles, the second of 1 x 2 */
	IS(rfb_zrle, bgr233, ((struct rect){0, 0, 65, 2}), 1, 0x48, 1, 0x48); /* 0.5, 0.9, 0.6: 0, 1, 1 */
	/* 2 colours in 10 columns: 1 bit, 2 bytes a row */
	clear(0);
	box(9, 0, 1, 1, 0xffffff);
	box(0, 1, 1, 1, 0xffffff);
	IS(rfb_zrle, rfb_format_native, ((struct rect){0, 0, 10, 3}), 2, 0, 0, 0, 0xff, 0xff, 0xff, 0x00, 0x40, 0x80, 0x00, 0, 0);
	/* 3 colours: 2 bits */
	box(1, 0, 1, 1, 0xff0000);
	IS(rfb_zrle, bgr233, ((struct rect){0, 0, 10, 2}), 3, 0x00, 0x07, 0xff, 0x10, 0x00, 0x20, 0x80, 0, 0);
	/* 5 colours: 4 bits */
	clear(0);
	for (unsigned i = 0; i < 9; i++)
		px[i] = (i % 5) << 5;
	IS(rfb_zrle, rfb_format_native, ((struct rect){0, 0, 9, 1}), 5, 0, 0, 0, 0x20, 0, 0, 0x40, 0, 0, 0x60, 0, 0, 0x80, 0, 0,
		0x01, 0x23, 0x40, 0x12, 0x30);
	/* Palette RLE would take 13 bytes, but zlib likes packed indices better. */
	clear(0);
	px[W + 15] = 0xffffff;
	{
		uint8_t expect[1 + 6 + 32] = {2, 0, 0, 0, 0xff, 0xff, 0xff};

		expect[7 + 3] = 1;
		is(&rfb_zrle, &rfb_format_native, (struct rect){0, 0, 16, 16}, expect, sizeof expect);
	}
	/* few pixels of many colours: raw */
	for (unsigned i = 0; i < 3; i++)
		px[i] = i << 5;
	IS(rfb_zrle, rfb_format_native, ((struct rect){0, 0, 3, 1}), 0, 0, 0, 0, 0x20, 0, 0, 0x40, 0, 0);
	/*
	 * 18 colours, long runs: palette RLE. 4096 pixels: 32 runs of one, one of 255 (254), another colour for the rest, 3809 =
	 * 1 + 14 * 255 + 238. Colours are in the order of their first pixel.
	 */
	clear(0);
	for (unsigned i = 0; i < 32; i++)
		px[i] = (i % 16 + 1) << 3;
	for (unsigned i = 32; i < 32 + 255; i++)
		px[i / 64 * W + i % 64] = 0x010000;
	{
		uint8_t expect[1 + 18 * 3 + 32 + 2 + 16], *p = expect;

		*p++ = 128 + 18;
		for (unsigned i = 0; i < 16; i++, p += 3)
			memcpy(p, (uint8_t[3]){(uint8_t)((i + 1) << 3), 0, 0}, 3);
		memcpy(p, "\0\0\1\0\0\0", 6);
		p += 6;
		for (unsigned i = 0; i < 32; i++)
			*p++ = (uint8_t)(i % 16);
		*p++ = 128 + 16;
		*p++ = 254;
		*p++ = 128 + 17;
		memset(p, 255, 14);
		p += 14;
		*p++ = 238;
		is(&rfb_zrle, &rfb_format_native, (struct rect){0, 0, 64, 64}, expect, (size_t)(p - expect));
	}
	/* more colours than a palette has, in runs: plain RLE. 128 runs of 2, then one of 3840 = 1 + 15 * 255 + 14 */
	clear(0);
	for (unsigned i = 0; i < 256; i++)
		px[i / 64 * W + i % 64] = (i / 2 + 1) << 8;
	{
		uint8_t expect[1 + 128 * 4 + 3 + 16], *p = expect;

		*p++ = 128;
		for (unsigned i = 0; i < 128; i++, p += 4)
			memcpy(p, (uint8_t[4]){0, (uint8_t)(i + 1), 0, 1}, 4);
		memset(p, 0, 3);
		p += 3;
		memset(p, 255, 15);
		p += 15;
		*p++ = 14;
		is(&rfb_zrle, &rfb_format_native, (struct rect){0, 0, 64, 64}, expect, (size_t)(p - expect));
	}
}

int main(void)
{
	raw();
	rre();
	hextile();
	zrle();
	puts("ok");
	return 0;
}
