/* SPDX-License-Identifier: MIT */
/*
 * Hextile: tiles of 16 x 16 with a background, and rectangles on it in one foreground or in colours of their own. Background and
 * foreground carry over from tile to tile; a raw tile ends both, coloured rectangles end the foreground (a viewer may have
 * taken the last of their colours for it), and a tile without rectangles leaves it as it is.
 */
#include <errno.h>

#include "rfb/encode.h"
#include "rfb/palette-int.h"
#include "rfb/subrect-int.h"

enum { SIDE = 16, RAW = 1, BACKGROUND = 2, FOREGROUND = 4, SUBRECTS = 8, COLOURED = 16 };

struct rfb_encoder {
	char nothing;
};
static struct rfb_encoder the_one; /* nothing lasts from one rectangle to the next */

struct carried {
	uint32_t background, foreground;
	bool has_background, has_foreground;
};

static struct rfb_encoder *hextile_open(void)
{
	return &the_one;
}

static struct rfb_encoder *hextile_copy(const struct rfb_encoder *enc)
{
	(void)enc;
	return &the_one;
}

static void hextile_close(struct rfb_encoder *enc)
{
	(void)enc;
}

static size_t raw_tile(const struct rfb_format *f, struct carried *c, const uint32_t *px, unsigned n, uint8_t *to)
{
	to[0] = RAW;
	rfb_pixels_put(f, to + 1, px, n);
	c->has_background = c->has_foreground = false;
	return 1 + (size_t)n * (f->bpp / 8u);
}

/* Two colours: the more frequent one is the background, unless only the other can be carried over. */
static unsigned background_of(const struct palette *pal, const struct carried *c)
{
	unsigned most = palette_most(pal);

	if (pal->n == 2 && c->has_background && pal->count[0] == pal->count[1] && c->background == pal->value[!most])
		return !most;
	return most;
}

/* The tile at px (w * h, no gaps) to to, which has room for all of it raw and one byte. The length */
static size_t tile(const struct rfb_format *f, struct carried *c, const uint32_t *px, unsigned w, unsigned h, uint8_t *to)
{
	unsigned n = w * h, bytes = f->bpp / 8u, mask = 0, count = 0, each, bg, limit = 1 + n * bytes;
	uint32_t left[SIDE * SIDE], background, foreground;
	struct palette pal;
	uint8_t *p = to + 1, *count_at;

	palette_clear(&pal);
	for (unsigned i = 0, end; i < n; i = end) {
		for (end = i + 1; end < n && px[end] == px[i]; end++)
			;
		if (palette_add(&pal, px[i], end - i) < 0)
			return raw_tile(f, c, px, n, to);
	}
	bg = background_of(&pal, c);
	background = pal.value[bg];
	if (!c->has_background || c->background != background) {
		mask |= BACKGROUND;
		p += rfb_pixel_put(f, p, background);
	}
	if (pal.n == 1) {
		to[0] = (uint8_t)mask;
		c->background = background;
		c->has_background = true;
		return (size_t)(p - to);
	}
	mask |= SUBRECTS;
	foreground = pal.value[!bg];
	if (pal.n > 2)
		mask |= COLOURED;
	else if (!c->has_foreground || c->foreground != foreground)
		mask |= FOREGROUND;
	each = 2 + (mask & COLOURED ? bytes : 0);
	if ((size_t)(p - to) + (mask & FOREGROUND ? bytes : 0) + 1 >= limit)
		return raw_tile(f, c, px, n, to);
	if (mask & FOREGROUND)
		p += rfb_pixel_put(f, p, foreground);
	count_at = p++;
	memcpy(left, px, n * sizeof *px);
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++) {
			struct rect s;

			if (left[y * w + x] == background)
				continue;
			/* Long before there are 256: one colour has half the pixels at most, others are 3 bytes each or more. */
			if ((size_t)(p - to) + each >= limit)
				return raw_tile(f, c, px, n, to);
			if (mask & COLOURED)
				p += rfb_pixel_put(f, p, left[y * w + x]);
			s = subrect_take(left, w, h, x, y, background);
			*p++ = (uint8_t)(s.x << 4 | s.y);
			*p++ = (uint8_t)((s.w - 1) << 4 | (s.h - 1));
			count++;
		}
	to[0] = (uint8_t)mask;
	*count_at = (uint8_t)count;
	*c = (struct carried){background, foreground, true, !(mask & COLOURED)};
	return (size_t)(p - to);
}

static int hextile_encode(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r,
	struct buf *out, pixman_region32_t *lossy)
{
	struct carried c = {0};
	uint32_t px[SIDE * SIDE];

	(void)enc;
	(void)lossy;
	rfb_rect_header(out, r, RFB_HEXTILE);
	for (uint32_t y = 0; y < r.h; y += SIDE)
		for (uint32_t x = 0; x < r.w; x += SIDE) {
			unsigned w = (unsigned)min_u64(SIDE, r.w - x), h = (unsigned)min_u64(SIDE, r.h - y);
			uint8_t *to = buf_room(out, 1 + (size_t)w * h * 4);

			if (!to)
				return -ENOMEM;
			for (unsigned i = 0; i < h; i++)
				rfb_pixels(&p->format, px + i * w, surface_row(s, r.x + x, r.y + y + i), w);
			out->len += tile(&p->format, &c, px, w, h, to);
		}
	return 1;
}

const struct rfb_encoder_ops rfb_hextile = {
	.id = RFB_HEXTILE,
	.name = "Hextile",
	.open = hextile_open,
	.copy = hextile_copy,
	.close = hextile_close,
	.stateless = true,
	.encode = hextile_encode,
};
