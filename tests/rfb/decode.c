/* SPDX-License-Identifier: MIT */
/* Updates and rectangles, and what the decoders of the encodings share. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "decode.h"
#include "wire.h"

enum { HEADER = 12 };

ssize_t rfb_decode_fail(struct rfb_decoder *d, const char *fmt, ...)
{
	char text[120];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	snprintf(d->why, sizeof d->why, "encoding %d, %ux%u at %u,%u: %s", d->encoding, d->rect.w, d->rect.h, d->rect.x, d->rect.y,
		text);
	return -EPROTO;
}

ssize_t rfb_decode_more(struct rfb_decoder *d, size_t n)
{
	/* Nothing honest is much longer than 4 bytes per pixel and some for each small rectangle. */
	if (n > ((size_t)RFB_DECODE_PIXELS_MAX << 4))
		return rfb_decode_fail(d, "absurd length %zu", n);
	d->need = n;
	return 0;
}

int rfb_decoder_init(struct rfb_decoder *d, uint32_t w, uint32_t h)
{
	*d = (struct rfb_decoder){.format = rfb_format_native, .w = w, .h = h, .pointer = -1, .leds = -1,
		.pixels_max = RFB_DECODE_PIXELS_MAX};
	if (w > RFB_DECODE_SIDE_MAX || h > RFB_DECODE_SIDE_MAX || (uint64_t)w * h > RFB_DECODE_PIXELS_MAX)
		return -EINVAL;
	d->px = calloc((size_t)w * h + 1, sizeof *d->px);
	return d->px ? 0 : -ENOMEM;
}

void rfb_decode_stream_reset(struct rfb_decode_stream *s)
{
	if (s->open)
		inflateEnd(&s->z);
	*s = (struct rfb_decode_stream){0};
}

void rfb_decoder_fini(struct rfb_decoder *d)
{
	rfb_decode_stream_reset(&d->zlib);
	rfb_decode_stream_reset(&d->zrle);
	for (unsigned i = 0; i < ARRAY_LEN(d->tight); i++)
		rfb_decode_stream_reset(&d->tight[i]);
	free(d->px);
	free(d->cursor.argb);
	free(d->scratch);
	*d = (struct rfb_decoder){0};
}

static uint32_t channel_bits(const struct rfb_format *f)
{
	return (uint32_t)f->rmax << f->rshift | (uint32_t)f->gmax << f->gshift | (uint32_t)f->bmax << f->bshift;
}

uint32_t rfb_decode_pixel(const struct rfb_decoder *d, const uint8_t *p, bool *ok)
{
	const struct rfb_format *f = &d->format;
	uint32_t v;

	if (f->bpp == 8)
		v = p[0];
	else if (f->bpp == 16)
		v = f->big_endian ? be16(p) : le16(p);
	else
		v = f->big_endian ? be32(p) : le32(p);
	if (v & ~channel_bits(f) && !d->lax)
		*ok = false;
	return v & channel_bits(f);
}

uint32_t rfb_decode_rgb(const struct rfb_decoder *d, uint8_t r, uint8_t g, uint8_t b)
{
	return rfb_pixel(&d->format, (uint32_t)r << 16 | (uint32_t)g << 8 | b);
}

static uint32_t channel_8(uint32_t v, uint16_t max, uint8_t shift)
{
	return max ? ((v >> shift & max) * 255 + max / 2) / max : 0;
}

uint32_t rfb_decode_xrgb(const struct rfb_format *f, uint32_t value)
{
	return channel_8(value, f->rmax, f->rshift) << 16 | channel_8(value, f->gmax, f->gshift) << 8 |
	       channel_8(value, f->bmax, f->bshift);
}

uint32_t *rfb_decode_row(const struct rfb_decoder *d, uint32_t x, uint32_t y)
{
	assert(x <= d->w && y < d->h);
	return d->px + (size_t)y * d->w + x;
}

void rfb_decode_fill(const struct rfb_decoder *d, struct rect r, uint32_t value)
{
	assert(r.x + r.w <= d->w && r.y + r.h <= d->h);
	for (uint32_t y = 0; y < r.h; y++) {
		uint32_t *to = rfb_decode_row(d, r.x, r.y + y);

		for (uint32_t x = 0; x < r.w; x++)
			to[x] = value;
	}
}

/* ---- zlib ---- */

static int scratch_room(struct rfb_decoder *d, size_t n)
{
	uint8_t *p;

	if (n <= d->scratch_len)
		return 0;
	p = realloc(d->scratch, n);
	if (!p)
		return -ENOMEM;
	d->scratch = p;
	d->scratch_len = n;
	return 0;
}

int rfb_decode_inflate_upto(struct rfb_decoder *d, struct rfb_decode_stream *s, const uint8_t *p, size_t n, size_t max, size_t *len)
{
	int rc;

	if (n > UINT32_MAX || max > UINT32_MAX - 1)
		return (int)rfb_decode_fail(d, "more than zlib takes");
	if (!s->open && inflateInit(&s->z) != Z_OK)
		return -ENOMEM;
	s->open = true;
	/* One byte of room above the limit shows output that should not be there. */
	if (scratch_room(d, max + 1 < 64 ? 64 : max + 1))
		return -ENOMEM;
	s->z.next_in = p;
	s->z.avail_in = (uInt)n;
	s->z.next_out = d->scratch;
	s->z.avail_out = (uInt)max + 1;
	rc = inflate(&s->z, Z_SYNC_FLUSH);
	*len = max + 1 - s->z.avail_out;
	if (rc == Z_MEM_ERROR)
		return -ENOMEM;
	if (rc != Z_OK && rc != Z_BUF_ERROR)
		return (int)rfb_decode_fail(d, "zlib: %s (%d)", s->z.msg ? s->z.msg : "the stream ends", rc);
	if (*len > max || s->z.avail_in)
		return (int)rfb_decode_fail(d, "zlib: more than %zu bytes", max);
	return 0;
}

int rfb_decode_inflate(struct rfb_decoder *d, struct rfb_decode_stream *s, const uint8_t *p, size_t n, size_t len)
{
	size_t got;
	int rc = rfb_decode_inflate_upto(d, s, p, n, len, &got);

	if (!rc && got != len)
		return (int)rfb_decode_fail(d, "zlib: %zu bytes instead of %zu", got, len);
	return rc;
}

/* ---- rectangles ---- */

static bool is_pseudo(int32_t encoding)
{
	return encoding == RFB_VMWARE_LED_STATE || (encoding < 0 && encoding != RFB_TIGHT_PNG);
}

static ssize_t payload(struct rfb_decoder *d, const uint8_t *p, size_t n)
{
	struct rect r = d->rect;

	if (is_pseudo(d->encoding))
		return rfb_decode_pseudo(d, r, d->encoding, p, n);
	/* Sides of 16 bits: no sum wraps */
	if (r.x + r.w > d->w || r.y + r.h > d->h)
		return rfb_decode_fail(d, "outside of %ux%u", d->w, d->h);
	if (rect_empty(r))
		return rfb_decode_fail(d, "empty");
	if (d->updating && d->resized)
		return rfb_decode_fail(d, "pixels and a new size in one update");
	if (d->encoding == RFB_TIGHT_PNG && !d->tight_png)
		return rfb_decode_fail(d, "not asked for");
	if (d->encoding == RFB_TIGHT || d->encoding == RFB_TIGHT_PNG)
		return rfb_decode_tight(d, r, p, n, d->encoding == RFB_TIGHT_PNG);
	return rfb_decode_pixels(d, r, d->encoding, p, n);
}

ssize_t rfb_decode_rect(struct rfb_decoder *d, const uint8_t *p, size_t n)
{
	ssize_t used;

	if (n < HEADER) {
		d->need = HEADER;
		return 0;
	}
	d->rect = (struct rect){be16(p), be16(p + 2), be16(p + 4), be16(p + 6)};
	d->encoding = (int32_t)be32(p + 8);
	d->need = 0;
	used = payload(d, p + HEADER, n - HEADER);
	if (used < 0)
		return used;
	if (d->need) { /* a payload of 0 bytes is whole, too */
		assert(!used && d->need > n - HEADER);
		d->need += HEADER;
		return 0;
	}
	assert((size_t)used <= n - HEADER);
	d->pixels_sent |= !is_pseudo(d->encoding);
	d->rect_len = HEADER + (size_t)used;
	return (ssize_t)d->rect_len;
}

ssize_t rfb_decode_update(struct rfb_decoder *d, const uint8_t *p, size_t n)
{
	size_t used = 0;

	if (!d->updating) {
		if (n < 4) {
			d->need = 4;
			return 0;
		}
		d->rect = (struct rect){0};
		d->encoding = 0;
		if (p[0])
			return rfb_decode_fail(d, "message %u is no update", p[0]);
		if (p[1] && !d->lax)
			return rfb_decode_fail(d, "padding is %u", p[1]);
		d->left = be16(p + 2);
		d->nrects = 0;
		d->pixels_sent = d->resized = false;
		d->updating = d->left;
		used = 4;
	}
	while (d->updating) {
		ssize_t rc = rfb_decode_rect(d, p + used, n - used);

		if (rc < 0)
			return rc;
		if (!rc) {
			d->need += used;
			break;
		}
		used += (size_t)rc;
		d->nrects++;
		d->left = d->encoding == RFB_LAST_RECT ? 0 : d->left - 1;
		d->updating = d->left;
	}
	return (ssize_t)used;
}

ssize_t rfb_decode_colour_map(struct rfb_decoder *d, const uint8_t *p, size_t n, uint32_t xrgb[256])
{
	unsigned first, count;

	d->rect = (struct rect){0};
	d->encoding = 0;
	if (n < 6) {
		d->need = 6;
		return 0;
	}
	first = be16(p + 2);
	count = be16(p + 4);
	if (p[0] != 1 || (p[1] && !d->lax))
		return rfb_decode_fail(d, "no SetColourMapEntries");
	if (first + count > 256)
		return rfb_decode_fail(d, "colours from %u, %u of them", first, count);
	if (n < 6 + 6 * (size_t)count) {
		d->need = 6 + 6 * (size_t)count;
		return 0;
	}
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *c = p + 6 + 6 * (size_t)i;

		xrgb[first + i] = (uint32_t)c[0] << 16 | (uint32_t)c[2] << 8 | c[4];
	}
	return (ssize_t)(6 + 6 * (size_t)count);
}
