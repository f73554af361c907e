/* SPDX-License-Identifier: MIT */
/*
 * The reference decoder itself: what it must refuse (rfb-research.md 4.3, 13 to 15), that it waits for a whole rectangle, and what it
 * makes of pseudo-rectangles. Bytes are written by hand, in format BGR233 unless told.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../rfb/decode.h"

enum { W = 100, H = 80 };
static const struct rfb_format bgr233 = {8, 8, false, true, 7, 7, 3, 0, 3, 6};

struct bytes {
	uint8_t p[4096];
	size_t n;
};

static void add(struct bytes *b, const void *p, size_t n)
{
	assert(b->n + n <= sizeof b->p);
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void add_u(struct bytes *b, uint32_t v, unsigned bytes)
{
	while (bytes--)
		add(b, &(uint8_t){(uint8_t)(v >> 8 * bytes)}, 1);
}

static void add_header(struct bytes *b, struct rect r, int32_t encoding)
{
	add_u(b, r.x, 2);
	add_u(b, r.y, 2);
	add_u(b, r.w, 2);
	add_u(b, r.h, 2);
	add_u(b, (uint32_t)encoding, 4);
}

/* p deflated into b behind its length, with a stream of its own */
static void add_zlib(struct bytes *b, const void *p, size_t n, int flush, size_t cut, size_t more)
{
	uint8_t out[2048];
	z_stream z = {.next_in = p, .avail_in = (uInt)n, .next_out = out, .avail_out = sizeof out};

	assert(deflateInit(&z, 1) == Z_OK && deflate(&z, flush) >= Z_OK);
	add_u(b, (uint32_t)(z.total_out - cut + more), 4);
	add(b, out, z.total_out - cut);
	for (size_t i = 0; i < more; i++)
		add_u(b, 0, 1);
	deflateEnd(&z);
}

static void init(struct rfb_decoder *d, bool lax)
{
	assert(!rfb_decoder_init(d, W, H));
	d->format = bgr233;
	d->lax = lax;
}

enum { NO, LAX, YES }; /* refused; only with lax; taken */
static unsigned cases;

/* After `before`, if any, b is taken, all of it, or refused; and until it is whole nothing happens. */
static void judge(const struct bytes *before, const struct bytes *b, int verdict, const char *name)
{
	for (int lax = 0; lax < 2; lax++) {
		struct rfb_decoder d;
		ssize_t rc;

		init(&d, lax);
		if (before)
			assert(rfb_decode_rect(&d, before->p, before->n) == (ssize_t)before->n);
		for (size_t n = 0; n < b->n && verdict == YES; n++) {
			uint8_t *exact = malloc(n + 1); /* for the sanitizer */

			memcpy(exact, b->p, n);
			assert(rfb_decode_rect(&d, exact, n) == 0 && d.need > n && d.need <= b->n);
			for (size_t i = 0; i < (size_t)d.w * d.h && n + 1 == b->n && !before; i++)
				assert(!d.px[i]);
			free(exact);
		}
		rc = rfb_decode_rect(&d, b->p, b->n);
		if (verdict == YES || (verdict == LAX && lax)) {
			if (rc != (ssize_t)b->n)
				fprintf(stderr, "%s: %zd of %zu: %s\n", name, rc, b->n, d.why);
			assert(rc == (ssize_t)b->n);
		} else {
			if (rc != -EPROTO)
				fprintf(stderr, "%s: %zd\n", name, rc);
			assert(rc == -EPROTO && d.why[0]);
		}
		rfb_decoder_fini(&d);
		cases++;
	}
}

static void rect_is(int verdict, struct rect r, int32_t encoding, const void *p, size_t n, const char *name)
{
	struct bytes b = {.n = 0};

	add_header(&b, r, encoding);
	add(&b, p, n);
	judge(NULL, &b, verdict, name);
}

#define IS(verdict, x, y, w, h, encoding, name, ...) \
	do { \
		static const uint8_t payload[] = {__VA_ARGS__}; \
		rect_is(verdict, (struct rect){x, y, w, h}, encoding, payload, sizeof payload, name); \
	} while (0)
#define EMPTY(verdict, x, y, w, h, encoding, name) rect_is(verdict, (struct rect){x, y, w, h}, encoding, "", 0, name)

static void plain(void)
{
	IS(YES, 0, 0, 2, 1, RFB_RAW, "raw", 1, 2);
	IS(YES, W - 1, H - 1, 1, 1, RFB_RAW, "raw in the corner", 1);
	IS(NO, W - 1, 0, 2, 1, RFB_RAW, "right edge by one", 1, 2);
	IS(NO, 0, H - 1, 1, 2, RFB_RAW, "lower edge by one", 1, 2);
	IS(NO, W, 0, 1, 1, RFB_RAW, "outside", 1);
	IS(NO, 65535, 65535, 65535, 65535, RFB_RAW, "sums of 17 bits", 1);
	EMPTY(NO, 0, 0, 0, 1, RFB_RAW, "no width");
	EMPTY(NO, 0, 0, 1, 0, RFB_RAW, "no height");
	IS(NO, 0, 0, 1, 1, 4, "CoRRE", 0);
	IS(NO, 0, 0, 1, 1, 12345, "unknown", 0);
	IS(NO, 0, 0, 1, 1, -9999, "unknown pseudo", 0);
	IS(NO, 0, 0, 1, 1, RFB_TIGHT_PNG, "PNG that nobody asked for", 0x80, 0);

	IS(YES, 10, 10, 5, 5, RFB_COPYRECT, "copy", 0, 12, 0, 8);
	IS(YES, 0, 0, 5, 5, RFB_COPYRECT, "copy from the corner", 0, W - 5, 0, H - 5);
	IS(NO, 0, 0, 5, 5, RFB_COPYRECT, "copy from outside", 0, W - 4, 0, 0);
	IS(NO, 0, 0, 5, 5, RFB_COPYRECT, "copy from below", 0, 0, 0, H - 4);
	IS(NO, 0, 0, 5, 5, RFB_COPYRECT, "copy from far outside", 0xff, 0xff, 0xff, 0xff);
	IS(LAX, 9, 9, 5, 5, RFB_COPYRECT, "copy to itself", 0, 9, 0, 9);

	IS(YES, 1, 1, 4, 4, RFB_RRE, "RRE", 0, 0, 0, 1, 0, 7, 0, 1, 0, 1, 0, 3, 0, 3);
	IS(YES, 1, 1, 4, 4, RFB_RRE, "RRE without", 0, 0, 0, 0, 9);
	IS(NO, 1, 1, 4, 4, RFB_RRE, "subrectangle right", 0, 0, 0, 1, 0, 7, 0, 1, 0, 1, 0, 4, 0, 3);
	IS(NO, 1, 1, 4, 4, RFB_RRE, "subrectangle below", 0, 0, 0, 1, 0, 7, 0, 1, 0, 1, 0, 3, 0, 4);
	IS(NO, 1, 1, 4, 4, RFB_RRE, "subrectangle far", 0, 0, 0, 1, 0, 7, 0xff, 0xff, 0, 1, 0, 1, 0, 1);
	IS(NO, 1, 1, 4, 4, RFB_RRE, "subrectangle empty", 0, 0, 0, 1, 0, 7, 0, 1, 0, 1, 0, 0, 0, 1);
	IS(NO, 1, 1, 4, 4, RFB_RRE, "more than pixels", 0, 0, 0, 17, 0);
	IS(NO, 1, 1, 4, 4, RFB_RRE, "2^32 - 1", 0xff, 0xff, 0xff, 0xff, 0);
	IS(LAX, 1, 1, 4, 4, RFB_RRE, "background on it", 0, 0, 0, 1, 7, 7, 0, 1, 0, 1, 0, 1, 0, 1);
}

static void hextile(void)
{
	IS(YES, 0, 0, 16, 16, RFB_HEXTILE, "solid", 2, 5);
	IS(YES, 3, 3, 2, 1, RFB_HEXTILE, "raw tile", 1, 5, 6);
	IS(LAX, 3, 3, 2, 1, RFB_HEXTILE, "raw with more bits", 3, 5, 6);
	IS(NO, 3, 3, 2, 1, RFB_HEXTILE, "bit 5", 2 | 32, 5);
	IS(NO, 0, 0, 16, 16, RFB_HEXTILE, "no background", 0);
	IS(NO, 0, 0, 16, 16, RFB_HEXTILE, "no background, but foreground", 4 | 8, 7, 1, 0, 0);
	IS(NO, 0, 0, 16, 16, RFB_HEXTILE, "no foreground", 2 | 8, 5, 1, 0, 0);
	IS(NO, 0, 0, 16, 16, RFB_HEXTILE, "foreground and coloured", 2 | 4 | 8 | 16, 5, 6, 1, 7, 0, 0);
	IS(LAX, 0, 0, 16, 16, RFB_HEXTILE, "coloured nothing", 2 | 16, 5);
	IS(YES, 0, 0, 16, 16, RFB_HEXTILE, "whole tile", 2 | 4 | 8, 5, 6, 1, 0x00, 0xff);
	IS(NO, 0, 0, 16, 16, RFB_HEXTILE, "past the tile's right", 2 | 4 | 8, 5, 6, 1, 0x10, 0xff);
	IS(NO, 0, 0, 16, 16, RFB_HEXTILE, "past the tile's end", 2 | 4 | 8, 5, 6, 1, 0x01, 0xff);
	IS(YES, 0, 0, 3, 2, RFB_HEXTILE, "small tile", 2 | 4 | 8, 5, 6, 1, 0x11, 0x10);
	IS(NO, 0, 0, 3, 2, RFB_HEXTILE, "past a small tile", 2 | 4 | 8, 5, 6, 1, 0x11, 0x20);
	IS(NO, 0, 0, 3, 2, RFB_HEXTILE, "below a small tile", 2 | 4 | 8, 5, 6, 1, 0x11, 0x01);
	IS(YES, 0, 0, 48, 16, RFB_HEXTILE, "carried over", 2 | 4 | 8, 5, 6, 1, 0, 0, 0, 8, 1, 0, 0);
	IS(NO, 0, 0, 32, 16, RFB_HEXTILE, "foreground after coloured", 2 | 8 | 16, 5, 1, 7, 0, 0, 8, 1, 0, 0);
	IS(NO, 0, 0, 48, 16, RFB_HEXTILE, "foreground through coloured", 2 | 4 | 8, 5, 6, 1, 0, 0, 8 | 16, 1, 7, 0, 0, 8, 1, 0, 0);
	/* 1 x 17: the first tile has 16 raw pixels */
	IS(NO, 0, 0, 1, 17, RFB_HEXTILE, "background after raw", 1, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0);
	IS(NO, 0, 0, 1, 17, RFB_HEXTILE, "foreground after raw", 1, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 2 | 8, 5, 1, 0, 0);
	IS(NO, 0, 0, 1, 33, RFB_HEXTILE, "foreground through raw", 2 | 4 | 8, 5, 6, 1, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6,
		7, 8, 2 | 8, 5, 1, 0, 0);
}

static void zlib_is(int verdict, struct rect r, int32_t encoding, const void *p, size_t n, int flush, size_t cut, size_t more,
	const char *name)
{
	struct bytes b = {.n = 0};

	add_header(&b, r, encoding);
	add_zlib(&b, p, n, flush, cut, more);
	judge(NULL, &b, verdict, name);
}

static void zlib(void)
{
	static const uint8_t px[200];
	struct rect r = {1, 1, 9, 11};
	struct bytes first = {.n = 0}, second = {.n = 0};

	zlib_is(YES, r, RFB_ZLIB, px, 99, Z_SYNC_FLUSH, 0, 0, "zlib");
	zlib_is(NO, r, RFB_ZLIB, px, 98, Z_SYNC_FLUSH, 0, 0, "a pixel too few");
	zlib_is(NO, r, RFB_ZLIB, px, 100, Z_SYNC_FLUSH, 0, 0, "a pixel too many");
	zlib_is(NO, r, RFB_ZLIB, px, 99, Z_FINISH, 0, 0, "the stream ends");
	zlib_is(NO, r, RFB_ZLIB, px, 99, Z_FINISH, 0, 3, "the stream ends, then more");
	zlib_is(NO, r, RFB_ZLIB, px, 99, Z_SYNC_FLUSH, 9, 0, "cut short");
	IS(NO, 1, 1, 9, 11, RFB_ZLIB, "length 0", 0, 0, 0, 0);
	IS(NO, 1, 1, 9, 11, RFB_ZLIB, "length 2^32 - 1", 0xff, 0xff, 0xff, 0xff);
	IS(NO, 1, 1, 9, 11, RFB_ZLIB, "no zlib", 0, 0, 0, 4, 0x12, 0x34, 0x56, 0x78);
	IS(NO, 1, 1, 1, 1, RFB_ZRLE, "length 2^31", 0x80, 0, 0, 0);
	/* a second stream's header in the middle of the first */
	add_header(&first, r, RFB_ZLIB);
	add_zlib(&first, px, 99, Z_SYNC_FLUSH, 0, 0);
	judge(&first, &first, NO, "another stream");
	/* zlib and ZRLE have streams of their own */
	add_header(&second, r, RFB_ZRLE);
	add_zlib(&second, "\1\5", 2, Z_SYNC_FLUSH, 0, 0);
	judge(&first, &second, YES, "two streams");
}

static void zrle_is(int verdict, uint32_t w, uint32_t h, const void *p, size_t n, const char *name)
{
	zlib_is(verdict, (struct rect){2, 3, w, h}, RFB_ZRLE, p, n, Z_SYNC_FLUSH, 0, 0, name);
}

#define ZRLE(verdict, w, h, name, ...) \
	do { \
		static const uint8_t payload[] = {__VA_ARGS__}; \
		zrle_is(verdict, w, h, payload, sizeof payload, name); \
	} while (0)

static void zrle(void)
{
	uint8_t many[1 + 127 + 4];

	ZRLE(YES, 64, 64, "solid", 1, 5);
	ZRLE(NO, 64, 64, "solid without colour", 1);
	ZRLE(NO, 64, 64, "more after it", 1, 5, 6);
	ZRLE(NO, 65, 64, "second tile missing", 1, 5);
	ZRLE(YES, 65, 64, "two tiles", 1, 5, 1, 6);
	ZRLE(YES, 2, 2, "raw", 0, 1, 2, 3, 4);
	ZRLE(NO, 2, 2, "raw too short", 0, 1, 2, 3);
	ZRLE(YES, 9, 1, "packed", 2, 1, 2, 0xff, 0x80);
	ZRLE(LAX, 9, 1, "padding bits", 2, 1, 2, 0xff, 0xc0);
	ZRLE(NO, 9, 1, "packed too short", 2, 1, 2, 0xff);
	ZRLE(YES, 5, 1, "3 colours", 3, 1, 2, 3, 0x1a, 0x40);
	ZRLE(NO, 5, 1, "3 colours, the fourth", 3, 1, 2, 3, 0x1b, 0x40);
	ZRLE(NO, 2, 1, "5 colours, the sixth", 5, 1, 2, 3, 4, 5, 0x05);
	ZRLE(LAX, 2, 1, "a colour twice", 3, 1, 2, 1, 0x00);
	for (unsigned type = 17; type < 128; type++) {
		memset(many, 0, sizeof many);
		many[0] = (uint8_t)type;
		zrle_is(NO, 1, 1, many, 1 + type + 1, "unused type");
	}
	ZRLE(NO, 1, 1, "unused type 129", 129, 1, 0);
	ZRLE(YES, 4, 4, "plain RLE", 128, 7, 14, 8, 0);
	ZRLE(NO, 4, 4, "a run past the end", 128, 7, 14, 8, 1);
	ZRLE(NO, 4, 4, "a run of 255s", 128, 7, 255, 255, 255, 255);
	ZRLE(NO, 4, 4, "a run without length", 128, 7);
	ZRLE(YES, 64, 4, "a run of 256", 128, 7, 255, 0);
	ZRLE(NO, 64, 4, "a run of 257", 128, 7, 255, 1);
	ZRLE(YES, 4, 4, "palette RLE", 130, 1, 2, 0, 1, 128, 12, 1);
	ZRLE(NO, 4, 4, "index past the palette", 130, 1, 2, 0, 2, 128, 12, 1);
	ZRLE(NO, 4, 4, "run's index past the palette", 130, 1, 2, 0, 1, 130, 12, 1);
	ZRLE(LAX, 4, 4, "length of a run of one", 130, 1, 2, 129, 0, 1, 128, 12, 1);
	ZRLE(NO, 4, 4, "palette run past the end", 130, 1, 2, 0, 1, 128, 13, 1);
	/* a palette of 127 */
	many[0] = 255;
	for (unsigned i = 0; i < 127; i++)
		many[1 + i] = (uint8_t)i;
	many[128] = 126;
	many[129] = 127;
	zrle_is(YES, 1, 1, many, 129, "127 colours");
	zrle_is(NO, 2, 1, many, 130, "127 colours, the 128th");
}

static void unused_bits(void)
{
	struct rfb_decoder d;
	static const uint8_t raw[] = {0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 2, 3, 0x80};

	for (int lax = 0; lax < 2; lax++) {
		init(&d, lax);
		d.format = rfb_format_native;
		assert(rfb_decode_rect(&d, raw, sizeof raw) == (lax ? (ssize_t)sizeof raw : -EPROTO));
		assert(!lax || d.px[0] == 0x030201);
		rfb_decoder_fini(&d);
	}
}

static void cursors(void)
{
	IS(YES, 1, 0, 2, 2, RFB_CURSOR, "cursor", 1, 2, 3, 4, 0x80, 0x40);
	IS(LAX, 1, 0, 2, 2, RFB_CURSOR, "cursor's padding", 1, 2, 3, 4, 0x80, 0x60);
	IS(LAX, 2, 0, 2, 2, RFB_CURSOR, "hot spot right of it", 1, 2, 3, 4, 0x80, 0x40);
	IS(LAX, 0, 2, 2, 2, RFB_CURSOR, "hot spot below it", 1, 2, 3, 4, 0x80, 0x40);
	EMPTY(YES, 0, 0, 0, 0, RFB_CURSOR, "no cursor");
	EMPTY(YES, 0, 0, 0, 0, RFB_X_CURSOR, "no X cursor");
	EMPTY(NO, 0, 0, 65535, 65535, RFB_CURSOR, "huge cursor");
	EMPTY(NO, 0, 0, 1025, 1, RFB_X_CURSOR, "wide cursor");
	IS(YES, 0, 1, 3, 2, RFB_X_CURSOR, "X cursor", 1, 2, 3, 4, 5, 6, 0x40, 0x20, 0xe0, 0xc0);
	IS(LAX, 0, 1, 3, 2, RFB_X_CURSOR, "X cursor's padding", 1, 2, 3, 4, 5, 6, 0x50, 0x20, 0xe0, 0xc0);
	IS(YES, 0, 0, 1, 1, RFB_CURSOR_WITH_ALPHA, "alpha", 0, 0, 0, 0, 1, 2, 3, 3);
	IS(LAX, 0, 0, 1, 1, RFB_CURSOR_WITH_ALPHA, "not premultiplied", 0, 0, 0, 0, 1, 4, 3, 3);
	IS(NO, 0, 0, 1, 1, RFB_CURSOR_WITH_ALPHA, "alpha in RRE", 0, 0, 0, 2, 0, 0, 0, 0);
	IS(YES, 0, 0, 0, 0, RFB_CURSOR_WITH_ALPHA, "no alpha", 0, 0, 0, 0);
}

static void cursor_pixels(void)
{
	static const uint8_t rich[] = {0, 1, 0, 0, 0, 2, 0, 1, 0xff, 0xff, 0xff, 0x11, 0x07, 0xc0, 0x40};
	static const uint8_t x[] = {0, 0, 0, 0, 0, 3, 0, 1, 0xff, 0xff, 0xff, 0x10, 1, 2, 3, 4, 5, 6, 0x40, 0xc0};
	struct rfb_decoder d;

	init(&d, false);
	assert(rfb_decode_rect(&d, rich, sizeof rich) == sizeof rich);
	assert(d.cursor.w == 2 && d.cursor.h == 1 && d.cursor.hot_x == 1 && !d.cursor.hot_y && d.cursor.encoding == RFB_CURSOR);
	assert(d.cursor.argb[0] == 0 && d.cursor.argb[1] == 0xff0000ff && d.cursor.generation == 1);
	assert(rfb_decode_rect(&d, x, sizeof x) == sizeof x);
	assert(d.cursor.argb[0] == 0xff040506 && d.cursor.argb[1] == 0xff010203 && d.cursor.argb[2] == 0 && d.cursor.generation == 2);
	rfb_decoder_fini(&d);
}

static void others(void)
{
	EMPTY(YES, 0, 0, 50, 40, RFB_DESKTOP_SIZE, "size");
	EMPTY(LAX, 0, 0, W, H, RFB_DESKTOP_SIZE, "the same size");
	EMPTY(LAX, 1, 0, 50, 40, RFB_DESKTOP_SIZE, "size with a place");
	EMPTY(NO, 0, 0, 0, 40, RFB_DESKTOP_SIZE, "size 0");
	EMPTY(NO, 0, 0, 65535, 65535, RFB_DESKTOP_SIZE, "size of all memory");
	IS(YES, 1, 0, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "screen", 1, 0, 0, 0, 0, 0, 0, 9, 0, 10, 0, 0, 0, 40, 0, 40, 0, 0, 0, 0);
	IS(NO, 0, 0, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "screen right", 1, 0, 0, 0, 0, 0, 0, 9, 0, 11, 0, 0, 0, 40, 0, 40, 0, 0, 0, 0);
	IS(NO, 0, 0, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "screen below", 1, 0, 0, 0, 0, 0, 0, 9, 0, 10, 0, 1, 0, 40, 0, 40, 0, 0, 0, 0);
	IS(NO, 0, 0, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "screen empty", 1, 0, 0, 0, 0, 0, 0, 9, 0, 10, 0, 0, 0, 0, 0, 40, 0, 0, 0, 0);
	IS(NO, 0, 0, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "one id twice", 2, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 0,
		0, 0, 0, 9, 0, 4, 0, 0, 0, 4, 0, 4, 0, 0, 0, 0);
	IS(LAX, 0, 0, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "no screen", 0, 0, 0, 0);
	IS(LAX, 0, 3, 50, 40, RFB_EXTENDED_DESKTOP_SIZE, "status without wish", 1, 0, 0, 0, 0, 0, 0, 9, 0, 10, 0, 0, 0, 40, 0, 40, 0, 0,
		0, 0);
	IS(YES, 0, 0, 0, 0, RFB_DESKTOP_NAME, "name", 0, 0, 0, 3, 'a', 0xc3, 0xa4);
	IS(LAX, 0, 0, 0, 0, RFB_DESKTOP_NAME, "Latin-1", 0, 0, 0, 2, 'a', 0xe4);
	IS(LAX, 0, 0, 0, 0, RFB_DESKTOP_NAME, "overlong", 0, 0, 0, 2, 0xc0, 0x80);
	IS(LAX, 0, 0, 0, 0, RFB_DESKTOP_NAME, "half a surrogate", 0, 0, 0, 3, 0xed, 0xa0, 0x80);
	IS(LAX, 0, 0, 0, 1, RFB_DESKTOP_NAME, "name with height", 0, 0, 0, 1, 'a');
	IS(NO, 0, 0, 0, 0, RFB_DESKTOP_NAME, "name of 2^32 - 1", 0xff, 0xff, 0xff, 0xff);
	EMPTY(YES, 0, 0, 0, 0, RFB_LAST_RECT, "last");
	EMPTY(LAX, 0, 0, 1, 0, RFB_LAST_RECT, "last with width");
	EMPTY(YES, 1, 0, 7, 7, RFB_POINTER_MOTION_CHANGE, "absolute");
	EMPTY(NO, 2, 0, 7, 7, RFB_POINTER_MOTION_CHANGE, "neither");
	EMPTY(YES, 0, 0, 0, 0, RFB_QEMU_EXTENDED_KEY, "keys");
	EMPTY(LAX, 0, 0, 7, 7, RFB_QEMU_EXTENDED_KEY, "keys of QEMU");
	EMPTY(YES, 0, 0, 0, 0, RFB_EXTENDED_MOUSE_BUTTONS, "buttons");
	IS(YES, 0, 0, 0, 0, RFB_QEMU_LED_STATE, "LEDs", 5);
	IS(LAX, 0, 0, 0, 0, RFB_QEMU_LED_STATE, "LED 3", 8);
	IS(YES, 0, 0, 0, 0, RFB_VMWARE_LED_STATE, "VMware's", 0, 0, 0, 5);
}

static void updates(void)
{
	struct rfb_decoder d;
	struct bytes b = {.n = 0};
	uint32_t map[256] = {0};
	static const uint8_t colours[] = {1, 0, 0, 255, 0, 1, 0x12, 0xff, 0x34, 0, 0x56, 0xff};
	static const uint8_t too_many[] = {1, 0, 0, 255, 0, 2, 0, 0, 0, 0, 0, 0};

	/* 65535 announced, LastRect after two */
	add(&b, "\0\0\xff\xff", 4);
	add_header(&b, (struct rect){1, 1, 1, 1}, RFB_RAW);
	add_u(&b, 9, 1);
	add_header(&b, (struct rect){2, 1, 3, 3}, RFB_COPYRECT);
	add_u(&b, 1u << 16 | 1, 4);
	add_header(&b, (struct rect){0, 0, 0, 0}, RFB_LAST_RECT);
	for (size_t step = 1; step < 20; step++) {
		size_t at = 0, have = 0;

		init(&d, false);
		while (have < b.n) {
			ssize_t used;

			have = min_u64(have + step, b.n);
			used = rfb_decode_update(&d, b.p + at, have - at);
			assert(used >= 0);
			at += (size_t)used;
			assert(d.updating == (at >= 4 && at < b.n));
		}
		assert(at == b.n && d.nrects == 3 && d.px[W + 1] == 9 && d.px[W + 2] == 9);
		rfb_decoder_fini(&d);
	}
	/* an update without rectangles; with pixels and a new size */
	init(&d, false);
	assert(rfb_decode_update(&d, (const uint8_t *)"\0\0\0\0", 4) == 4 && !d.updating);
	b.n = 0;
	add(&b, "\0\0\0\2", 4);
	add_header(&b, (struct rect){0, 0, 50, 40}, RFB_DESKTOP_SIZE);
	add_header(&b, (struct rect){1, 1, 1, 1}, RFB_RAW);
	add_u(&b, 9, 1);
	assert(rfb_decode_update(&d, b.p, b.n) == -EPROTO);
	assert(d.w == 50 && d.h == 40);
	rfb_decoder_fini(&d);
	init(&d, false);
	assert(rfb_decode_update(&d, (const uint8_t *)"\2\0\0\0", 4) == -EPROTO);
	rfb_decoder_fini(&d);
	init(&d, false);
	for (size_t n = 0; n < sizeof colours; n++)
		assert(rfb_decode_colour_map(&d, colours, n, map) == 0);
	assert(rfb_decode_colour_map(&d, colours, sizeof colours, map) == sizeof colours && map[255] == 0x123456 && !map[254]);
	assert(rfb_decode_colour_map(&d, too_many, sizeof too_many, map) == -EPROTO);
	rfb_decoder_fini(&d);
}

/* What is in both sizes stays, what is new is black; overlapping copies go the right way in all directions. */
static void content(void)
{
	struct rfb_decoder d;
	struct bytes b;

	init(&d, false);
	for (unsigned i = 0; i < W * H; i++)
		d.px[i] = i;
	for (unsigned i = 0; i < 9; i++) {
		struct rect r = {10 + i % 3, 10 + i / 3, 30, 20};
		uint32_t *before = malloc(sizeof *before * W * H);

		if (i == 4)
			r.w++; /* (11, 11) to itself is refused: another place */
		memcpy(before, d.px, sizeof *before * W * H);
		b.n = 0;
		add_header(&b, r, RFB_COPYRECT);
		add_u(&b, i == 4 ? 30u << 16 | 40 : 11u << 16 | 11, 4);
		assert(rfb_decode_rect(&d, b.p, b.n) == (ssize_t)b.n);
		for (unsigned y = 0; y < r.h; y++)
			for (unsigned x = 0; x < r.w; x++)
				assert(d.px[(r.y + y) * W + r.x + x] == before[(i == 4 ? 40 + y : 11 + y) * W + (i == 4 ? 30 : 11) + x]);
		free(before);
	}
	d.px[5 * W + 6] = 77;
	b.n = 0;
	add_header(&b, (struct rect){0, 0, 120, 7}, RFB_DESKTOP_SIZE);
	assert(rfb_decode_rect(&d, b.p, b.n) == (ssize_t)b.n);
	assert(d.w == 120 && d.h == 7 && d.px[5 * 120 + 6] == 77 && d.px[5 * 120 + 110] == 0 && d.generation == 1);
	rfb_decoder_fini(&d);
}

int main(void)
{
	plain();
	hextile();
	zlib();
	zrle();
	unused_bits();
	cursors();
	cursor_pixels();
	others();
	updates();
	content();
	printf("ok, %u cases\n", cases);
	return 0;
}
