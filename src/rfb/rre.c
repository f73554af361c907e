/* SPDX-License-Identifier: MIT */
/*
 * RRE: a background and rectangles of one colour. Large areas go in pieces, each with a background of its own; a piece that
 * would be larger than its pixels is sent as Raw, which every client knows.
 */
#include <errno.h>
#include <stdlib.h>

#include "rfb/encode.h"
#include "rfb/palette-int.h"
#include "rfb/subrect-int.h"

enum { PIECE_WIDTH = 2048, PIECE_PIXELS = 65536 };

struct rfb_encoder {
	uint32_t px[PIECE_PIXELS];
};

static uint32_t run_right(const uint32_t *px, uint32_t max, uint32_t value)
{
	uint32_t n = 0;

	while (n < max && px[n] == value)
		n++;
	return n;
}

struct rect subrect_take(uint32_t *px, uint32_t w, uint32_t h, uint32_t x, uint32_t y, uint32_t background)
{
	uint32_t *at = px + (size_t)y * w + x, v = *at;
	uint32_t ww = run_right(at, w - x, v), wh = 1, tw = 1, th = 1;
	bool fits = true;

	/* Each of the two looks at no more pixels than it has, and one row or column more. */
	while (y + wh < h && run_right(at + (size_t)wh * w, ww, v) == ww)
		wh++;
	while (y + th < h && at[(size_t)th * w] == v)
		th++;
	while (fits && tw < ww) {
		for (uint32_t i = 0; i < th && fits; i++)
			fits = at[(size_t)i * w + tw] == v;
		tw += fits;
	}
	if ((uint64_t)tw * th > (uint64_t)ww * wh) {
		ww = tw;
		wh = th;
	}
	for (uint32_t j = 0; j < wh; j++)
		for (uint32_t i = 0; i < ww; i++)
			at[(size_t)j * w + i] = background;
	return (struct rect){x, y, ww, wh};
}

static struct rfb_encoder *rre_open(void)
{
	return malloc(sizeof(struct rfb_encoder));
}

static struct rfb_encoder *rre_copy(const struct rfb_encoder *enc)
{
	(void)enc; /* nothing lasts from one rectangle to the next */
	return rre_open();
}

static void rre_close(struct rfb_encoder *enc)
{
	free(enc);
}

/* The most frequent colour; if there are very many, of those that were seen first, which is as good as any */
static uint32_t background_of(const uint32_t *px, size_t n)
{
	struct palette pal;
	size_t end;

	palette_clear(&pal);
	for (size_t i = 0; i < n; i = end) {
		for (end = i + 1; end < n && px[end] == px[i]; end++)
			;
		palette_add(&pal, px[i], (uint32_t)(end - i));
	}
	return pal.value[palette_most(&pal)];
}

/* What of the piece is worth it; false: it would be larger than Raw, or there is no memory */
static bool subrects(struct rfb_encoder *enc, const struct rfb_format *f, struct rect r, struct buf *out)
{
	size_t bytes = f->bpp / 8u, start = out->len, limit = (size_t)r.w * r.h * bytes, count_at;
	uint32_t background = background_of(enc->px, (size_t)r.w * r.h), count = 0;
	uint8_t *p;

	rfb_rect_header(out, r, RFB_RRE);
	count_at = out->len;
	limit += count_at;
	buf_be32(out, 0);
	p = buf_room(out, bytes);
	if (!p)
		return false;
	out->len += rfb_pixel_put(f, p, background);
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			uint32_t v = enc->px[(size_t)y * r.w + x];
			struct rect s;

			if (v == background)
				continue;
			s = subrect_take(enc->px, r.w, r.h, x, y, background);
			p = buf_room(out, bytes);
			if (!p || out->len + bytes + 8 > limit) {
				out->len = start;
				return false;
			}
			out->len += rfb_pixel_put(f, p, v);
			buf_be16(out, (uint16_t)s.x);
			buf_be16(out, (uint16_t)s.y);
			buf_be16(out, (uint16_t)s.w);
			buf_be16(out, (uint16_t)s.h);
			count++;
		}
	if (out->failed)
		return false;
	put_u32(out->p + count_at, __builtin_bswap32(count));
	return true;
}

static int rre_encode(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r, struct buf *out,
	pixman_region32_t *lossy)
{
	uint32_t side_w = (uint32_t)min_u64(r.w, PIECE_WIDTH), side_h = PIECE_PIXELS / side_w;
	int count = 0;

	for (uint32_t y = 0; y < r.h; y += side_h)
		for (uint32_t x = 0; x < r.w; x += side_w) {
			struct rect piece = {r.x + x, r.y + y, (uint32_t)min_u64(side_w, r.w - x),
				(uint32_t)min_u64(side_h, r.h - y)};

			for (uint32_t i = 0; i < piece.h; i++)
				rfb_pixels(&p->format, enc->px + (size_t)i * piece.w, surface_row(s, piece.x, piece.y + i), piece.w);
			if (!subrects(enc, &p->format, piece, out) && rfb_raw.encode(NULL, p, s, piece, out, lossy) < 0)
				return -ENOMEM;
			count++;
		}
	return out->failed ? -ENOMEM : count;
}

const struct rfb_encoder_ops rfb_rre = {
	.id = RFB_RRE,
	.name = "RRE",
	.open = rre_open,
	.copy = rre_copy,
	.close = rre_close,
	.stateless = true,
	.encode = rre_encode,
};
