/* SPDX-License-Identifier: MIT */
/*
 * The cursor as a pseudo-rectangle (Cursor, XCursor and CursorWithAlpha in rfbproto.rst): the rectangle's x and y are the hot
 * spot. Guests draw with alpha; only one of the three kinds has that. For the others a pixel is there or it is not: at
 * least half opaque is, in its own colour, without what shone through.
 */
#include <errno.h>

#include "display/scanout.h"
#include "rfb/encode.h"

enum { OPAQUE = 128 };

static unsigned alpha_of(uint32_t px)
{
	return px >> 24;
}

static uint32_t channel_straight(uint32_t px, unsigned shift)
{
	uint32_t a = alpha_of(px), v = ((px >> shift & 255) * 255 + a / 2) / a;

	return (v > 255 ? 255 : v) << shift; /* more than its alpha: not premultiplied, a guest's mistake */
}

/* The colour of a pixel that is there */
static uint32_t straight(uint32_t px)
{
	return channel_straight(px, 16) | channel_straight(px, 8) | channel_straight(px, 0);
}

static unsigned luma(uint32_t rgb)
{
	return (2 * (rgb >> 16 & 255) + 5 * (rgb >> 8 & 255) + (rgb & 255)) / 8;
}

/* Is this pixel's bit set? */
typedef bool bit_of(uint32_t px, unsigned level);

static bool bit_mask(uint32_t px, unsigned level)
{
	(void)level;
	return alpha_of(px) >= OPAQUE;
}

static bool bit_light(uint32_t px, unsigned level)
{
	return alpha_of(px) >= OPAQUE && luma(straight(px)) > level;
}

/* Rows padded to bytes, the leftmost pixel in the highest bit */
static void put_bits(struct buf *out, const struct scanout_view_cursor *c, bit_of *bit, unsigned level)
{
	for (uint32_t y = 0; y < c->h; y++)
		for (uint32_t x = 0; x < c->w; x += 8) {
			unsigned v = 0;

			for (uint32_t i = x; i < x + 8; i++)
				v = v << 1 | (i < c->w && bit(c->px[y * c->w + i], level));
			buf_u8(out, (uint8_t)v);
		}
}

static void put_rich(struct buf *out, const struct rfb_format *f, const struct scanout_view_cursor *c)
{
	for (uint32_t i = 0; i < c->w * c->h; i++) {
		uint32_t px = alpha_of(c->px[i]) >= OPAQUE ? straight(c->px[i]) : 0;
		uint8_t b[4];

		buf_put(out, b, rfb_pixel_put(f, b, rfb_pixel(f, px)));
	}
	put_bits(out, c, bit_mask, 0);
}

static void put_mean(struct buf *out, const uint32_t sum[3], uint32_t n)
{
	for (unsigned i = 0; i < 3; i++)
		buf_u8(out, (uint8_t)(n ? (sum[i] + n / 2) / n : 0));
}

/* Two colours: the means of what is lighter and what is not lighter than half way between the extremes */
static void put_x(struct buf *out, const struct scanout_view_cursor *c)
{
	uint32_t sum[2][3] = {{0}}, n[2] = {0};
	unsigned lo = 255, hi = 0, level;

	for (uint32_t i = 0; i < c->w * c->h; i++)
		if (alpha_of(c->px[i]) >= OPAQUE) {
			unsigned l = luma(straight(c->px[i]));

			lo = l < lo ? l : lo;
			hi = l > hi ? l : hi;
		}
	level = (lo + hi) / 2;
	for (uint32_t i = 0; i < c->w * c->h; i++)
		if (alpha_of(c->px[i]) >= OPAQUE) {
			uint32_t px = straight(c->px[i]);
			bool light = bit_light(c->px[i], level);

			for (unsigned k = 0; k < 3; k++)
				sum[light][k] += px >> (16 - 8 * k) & 255;
			n[light]++;
		}
	put_mean(out, sum[1], n[1]);
	put_mean(out, sum[0], n[0]);
	put_bits(out, c, bit_light, level);
	put_bits(out, c, bit_mask, 0);
}

static void put_alpha(struct buf *out, const struct scanout_view_cursor *c)
{
	for (uint32_t i = 0; i < c->w * c->h; i++) {
		buf_u8(out, (uint8_t)(c->px[i] >> 16));
		buf_u8(out, (uint8_t)(c->px[i] >> 8));
		buf_u8(out, (uint8_t)c->px[i]);
		buf_u8(out, (uint8_t)alpha_of(c->px[i]));
	}
}

int rfb_cursor_encode(int32_t encoding, const struct rfb_format *f, const struct scanout_view_cursor *c, struct buf *out)
{
	bool none = !c->w || !c->h || c->w > SCANOUT_CURSOR_MAX || c->h > SCANOUT_CURSOR_MAX;
	struct rect r = {c->hot_x, c->hot_y, c->w, c->h};

	if (encoding != RFB_CURSOR && encoding != RFB_X_CURSOR && encoding != RFB_CURSOR_WITH_ALPHA)
		return -EINVAL;
	if (none)
		r = (struct rect){0, 0, 0, 0};
	rfb_rect_header(out, r, encoding);
	if (encoding == RFB_CURSOR_WITH_ALPHA)
		buf_be32(out, RFB_RAW); /* encoded how: there even if it is empty */
	if (none)
		return out->failed ? -ENOMEM : 1;
	if (encoding == RFB_CURSOR)
		put_rich(out, f, c);
	else if (encoding == RFB_X_CURSOR)
		put_x(out, c);
	else
		put_alpha(out, c);
	return out->failed ? -ENOMEM : 1;
}
