/* SPDX-License-Identifier: MIT */
/*
 * ZRLE: tiles of 64 x 64, each in one of five forms, deflated by one stream for the whole session.
 *
 * A tile is looked at once, run by run: how many runs there are, how long their lengths come out, which colours they have. That
 * gives the length of each form before zlib, and the shortest is taken. But packed indices come out of zlib much smaller than
 * runs, because what is alike on the screen is alike in them: text is 15 % smaller with packed tiles than with shorter ones of
 * runs. So they count only PACKED_GAIN-th.
 *
 * Indices and runs are few bytes, and a better level pays there (a page of text: 21,600 bytes in 3.1 ms at level 1, 17,800 in 4.2
 * at level 5); pixels are many, and it hardly does (a photo: 1 % fewer bytes for half as much time again). So the level
 * changes with the kind of tile, which costs the end of a block, some 10 bytes, each time.
 */
#include <errno.h>
#include <stdlib.h>

#include "rfb/deflate-int.h"
#include "rfb/encode.h"
#include "rfb/palette-int.h"

enum { SIDE = 64, TILE = SIDE * SIDE, PACKED_MAX = 16, PACKED_GAIN = 8, PLAIN_RLE = 128, LEVEL_PIXELS = 1,
	LEVEL_INDICES = 5 };

struct run {
	uint16_t len;
	uint8_t colour; /* in the palette, if there is one */
};

struct rfb_encoder {
	struct deflater stream;
	uint32_t px[TILE];
	struct run run[TILE];
	struct palette pal;
	uint8_t data[1 + TILE * 4]; /* a tile before zlib: none of its forms is chosen that is longer than raw */
};

/* What was found out about a tile */
struct look {
	unsigned runs, singles; /* all, those of one pixel */
	unsigned extra;         /* bytes 255 in their lengths */
	bool palette;           /* at most PALETTE_MAX colours */
};

static struct rfb_encoder *zrle_open(void)
{
	return calloc(1, sizeof(struct rfb_encoder));
}

static void zrle_close(struct rfb_encoder *enc)
{
	if (enc)
		deflater_fini(&enc->stream);
	free(enc);
}

static struct rfb_encoder *zrle_copy(const struct rfb_encoder *enc)
{
	struct rfb_encoder *e = zrle_open();

	if (e && !deflater_copy(&e->stream, &enc->stream)) {
		zrle_close(e);
		return NULL;
	}
	return e;
}

static struct look look_at(struct rfb_encoder *e, unsigned n)
{
	struct look l = {.palette = true};

	palette_clear(&e->pal);
	for (unsigned i = 0, end; i < n; i = end) {
		uint32_t v = e->px[i];
		int colour = 0;

		for (end = i + 1; end < n && e->px[end] == v; end++)
			;
		if (l.palette)
			colour = palette_add(&e->pal, v, end - i);
		if (colour < 0)
			l.palette = false;
		e->run[l.runs++] = (struct run){(uint16_t)(end - i), (uint8_t)colour};
		l.singles += end - i == 1;
		l.extra += (end - i - 1) / 255;
	}
	return l;
}

static unsigned packed_bits(unsigned colours)
{
	return colours <= 2 ? 1 : colours <= 4 ? 2 : 4;
}

static uint8_t *put_length(uint8_t *p, unsigned len)
{
	for (len--; len >= 255; len -= 255)
		*p++ = 255;
	*p++ = (uint8_t)len;
	return p;
}

static uint8_t *put_packed(const struct rfb_encoder *e, unsigned w, unsigned h, uint8_t *p)
{
	unsigned bits = packed_bits(e->pal.n), left = 0;
	const struct run *run = e->run;

	for (unsigned y = 0; y < h; y++) {
		unsigned acc = 0, have = 0;

		for (unsigned x = 0; x < w; x++) {
			if (!left)
				left = run->len;
			acc = acc << bits | run->colour;
			have += bits;
			if (have == 8) {
				*p++ = (uint8_t)acc;
				acc = have = 0;
			}
			if (!--left)
				run++;
		}
		if (have)
			*p++ = (uint8_t)(acc << (8 - have));
	}
	return p;
}

static uint8_t *put_palette(const struct rfb_encoder *e, const struct rfb_format *f, uint8_t *p)
{
	rfb_cpixels_put(f, p, e->pal.value, e->pal.n);
	return p + e->pal.n * rfb_cpixel(f);
}

static uint8_t *put_indexed(const struct rfb_encoder *e, unsigned runs, uint8_t *p)
{
	for (unsigned i = 0; i < runs; i++) {
		if (e->run[i].len == 1) {
			*p++ = e->run[i].colour;
		} else {
			*p++ = e->run[i].colour | 128;
			p = put_length(p, e->run[i].len);
		}
	}
	return p;
}

static uint8_t *put_plain(const struct rfb_encoder *e, const struct rfb_format *f, unsigned runs, uint8_t *p)
{
	const uint32_t *px = e->px;

	for (unsigned i = 0; i < runs; px += e->run[i++].len) {
		p += rfb_cpixel_put(f, p, *px);
		p = put_length(p, e->run[i].len);
	}
	return p;
}

/* At which level the tile at data is to be deflated; a solid one says nothing. */
static int level_of(const struct rfb_params *p, const uint8_t *data, int now)
{
	int level = p->level < 0 ? LEVEL_PIXELS : p->level;

	if (data[0] == 1)
		return now;
	return data[0] && data[0] != PLAIN_RLE && level && level < LEVEL_INDICES ? LEVEL_INDICES : level;
}

/* The tile in e->px into e->data; its length */
static size_t tile(struct rfb_encoder *e, const struct rfb_format *f, unsigned w, unsigned h)
{
	unsigned n = w * h, cp = rfb_cpixel(f);
	struct look l = look_at(e, n);
	size_t raw = (size_t)n * cp, plain = (size_t)l.runs * (cp + 1) + l.extra, indexed = SIZE_MAX, packed = SIZE_MAX;
	uint8_t *p = e->data;

	if (l.palette) {
		indexed = e->pal.n * cp + l.singles + (l.runs - l.singles) * 2 + l.extra;
		if (e->pal.n <= PACKED_MAX)
			packed = e->pal.n * cp + (size_t)(w * packed_bits(e->pal.n) + 7) / 8 * h;
	}
	if (l.palette && e->pal.n == 1) {
		*p++ = 1;
		p = put_palette(e, f, p);
	} else if (e->pal.n <= PACKED_MAX && l.palette && packed / PACKED_GAIN <= min_u64(indexed, plain) && packed <= raw) {
		*p++ = (uint8_t)e->pal.n;
		p = put_palette(e, f, p);
		p = put_packed(e, w, h, p);
	} else if (indexed <= plain && indexed <= raw) {
		*p++ = (uint8_t)(PLAIN_RLE + e->pal.n);
		p = put_palette(e, f, p);
		p = put_indexed(e, l.runs, p);
	} else if (plain < raw) {
		*p++ = PLAIN_RLE;
		p = put_plain(e, f, l.runs, p);
	} else {
		*p++ = 0;
		rfb_cpixels_put(f, p, e->px, n);
		p += raw;
	}
	return (size_t)(p - e->data);
}

static int zrle_encode(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r, struct buf *out,
	pixman_region32_t *lossy)
{
	size_t mark;

	(void)lossy;
	rfb_rect_header(out, r, RFB_ZRLE);
	if (!deflate_begin(&enc->stream, enc->stream.open ? enc->stream.level : LEVEL_PIXELS, out, &mark))
		return -ENOMEM;
	for (uint32_t y = 0; y < r.h; y += SIDE)
		for (uint32_t x = 0; x < r.w; x += SIDE) {
			unsigned w = (unsigned)min_u64(SIDE, r.w - x), h = (unsigned)min_u64(SIDE, r.h - y);
			size_t len;

			for (unsigned i = 0; i < h; i++)
				rfb_pixels(&p->format, enc->px + i * w, surface_row(s, r.x + x, r.y + y + i), w);
			len = tile(enc, &p->format, w, h);
			if (!deflate_level(&enc->stream, level_of(p, enc->data, enc->stream.level), out) ||
			    !deflate_put(&enc->stream, enc->data, len, out))
				return -ENOMEM;
		}
	return deflate_end(&enc->stream, out, mark) ? 1 : -ENOMEM;
}

const struct rfb_encoder_ops rfb_zrle = {
	.id = RFB_ZRLE,
	.name = "ZRLE",
	.open = zrle_open,
	.copy = zrle_copy,
	.close = zrle_close,
	.encode = zrle_encode,
};
