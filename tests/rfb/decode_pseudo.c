/* SPDX-License-Identifier: MIT */
/* Pseudo-rectangles: cursors, sizes, what the server can. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "wire.h"

/* A whole cursor has come: takes argb, w * h, which may be NULL if that is 0. */
static void cursor_set(struct rfb_decoder *d, struct rect r, uint32_t *argb)
{
	struct rfb_decode_cursor *c = &d->cursor;

	free(c->argb);
	*c = (struct rfb_decode_cursor){.generation = c->generation + 1, .encoding = d->encoding, .w = r.w, .h = r.h, .hot_x = r.x,
		.hot_y = r.y, .argb = argb};
}

static bool mask_bit(const uint8_t *mask, uint32_t w, uint32_t x, uint32_t y)
{
	return mask[(size_t)y * ((w + 7) / 8) + x / 8] >> (7 - x % 8) & 1;
}

static bool mask_padding_ok(const struct rfb_decoder *d, const uint8_t *mask, struct rect r)
{
	for (uint32_t y = 0; y < r.h && r.w % 8 && !d->lax; y++)
		if (mask[(size_t)y * ((r.w + 7) / 8) + r.w / 8] & ((1u << (8 - r.w % 8)) - 1))
			return false;
	return true;
}

static ssize_t cursor_rich(struct rfb_decoder *d, struct rect r, const uint8_t *p, uint32_t *argb)
{
	unsigned bytes = d->format.bpp / 8u;
	const uint8_t *mask = p + (size_t)r.w * r.h * bytes;
	bool ok = true;

	if (!mask_padding_ok(d, mask, r))
		return rfb_decode_fail(d, "padding bits of the mask are set");
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++, p += bytes) {
			uint32_t v = rfb_decode_pixel(d, p, &ok);

			argb[(size_t)y * r.w + x] = mask_bit(mask, r.w, x, y) ? 0xff000000 | rfb_decode_xrgb(&d->format, v) : 0;
		}
	return ok ? 0 : rfb_decode_fail(d, "a pixel with bits of no channel");
}

static ssize_t cursor_x(struct rfb_decoder *d, struct rect r, const uint8_t *p, uint32_t *argb)
{
	const uint8_t *bits = p + 6, *mask = bits + (size_t)((r.w + 7) / 8) * r.h;

	if (!mask_padding_ok(d, bits, r) || !mask_padding_ok(d, mask, r))
		return rfb_decode_fail(d, "padding bits of the mask are set");
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			const uint8_t *c = p + (mask_bit(bits, r.w, x, y) ? 0 : 3);

			argb[(size_t)y * r.w + x] = mask_bit(mask, r.w, x, y) ? 0xff000000 | (uint32_t)c[0] << 16 | (uint32_t)c[1] << 8 |
				c[2] : 0;
		}
	return 0;
}

static ssize_t cursor_alpha(struct rfb_decoder *d, struct rect r, const uint8_t *p, uint32_t *argb)
{
	p += 4;
	for (size_t i = 0; i < (size_t)r.w * r.h; i++, p += 4) {
		if (!d->lax && (p[0] > p[3] || p[1] > p[3] || p[2] > p[3]))
			return rfb_decode_fail(d, "a colour above its alpha: not premultiplied");
		argb[i] = (uint32_t)p[3] << 24 | (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	}
	return 0;
}

static ssize_t decode_cursor(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	size_t px = (size_t)r.w * r.h, mask = (size_t)((r.w + 7) / 8) * r.h, len;
	uint32_t *argb = NULL;
	ssize_t rc;

	if (r.w > RFB_DECODE_CURSOR_MAX || r.h > RFB_DECODE_CURSOR_MAX)
		return rfb_decode_fail(d, "too large a cursor");
	if (!d->lax && (px ? r.x >= r.w || r.y >= r.h : r.x || r.y || r.w || r.h))
		return rfb_decode_fail(d, "hot spot outside");
	if (d->encoding == RFB_CURSOR)
		len = px * (d->format.bpp / 8u) + mask;
	else if (d->encoding == RFB_X_CURSOR)
		len = px ? 6 + 2 * mask : 0;
	else
		len = 4 + px * 4;
	if (n < len)
		return rfb_decode_more(d, len);
	if (d->encoding == RFB_CURSOR_WITH_ALPHA && be32(p) != RFB_RAW)
		return rfb_decode_fail(d, "a cursor in encoding %d", (int32_t)be32(p));
	if (px) {
		argb = malloc(px * sizeof *argb);
		if (!argb)
			return -ENOMEM;
		rc = d->encoding == RFB_CURSOR ? cursor_rich(d, r, p, argb) : d->encoding == RFB_X_CURSOR ? cursor_x(d, r, p, argb) :
			cursor_alpha(d, r, p, argb);
		if (rc) {
			free(argb);
			return rc;
		}
	}
	cursor_set(d, r, argb);
	return (ssize_t)len;
}

/* Another size: what both have in common stays. */
static ssize_t resize(struct rfb_decoder *d, struct rect r)
{
	uint32_t *px;

	if (rect_empty(r) || (uint64_t)r.w * r.h > d->pixels_max)
		return rfb_decode_fail(d, "no size for a picture");
	if (d->updating && d->pixels_sent && !d->lax)
		return rfb_decode_fail(d, "pixels and a new size in one update");
	d->resized = true;
	if (r.w == d->w && r.h == d->h)
		return 0;
	px = calloc((size_t)r.w * r.h, sizeof *px);
	if (!px)
		return -ENOMEM;
	for (uint32_t y = 0; y < r.h && y < d->h; y++)
		memcpy(px + (size_t)y * r.w, d->px + (size_t)y * d->w, min_u64(r.w, d->w) * sizeof *px);
	free(d->px);
	d->px = px;
	d->w = r.w;
	d->h = r.h;
	d->generation++;
	return 0;
}

static ssize_t decode_size(struct rfb_decoder *d, struct rect r)
{
	if (!d->lax && (r.x || r.y))
		return rfb_decode_fail(d, "x or y set");
	if (!d->lax && r.w == d->w && r.h == d->h) /* sends some clients into a loop */
		return rfb_decode_fail(d, "the size that it is already");
	return resize(d, r);
}

static ssize_t decode_layout(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	unsigned count;
	size_t len;
	ssize_t rc;

	if (n < 4)
		return rfb_decode_more(d, 4);
	count = p[0];
	len = 4 + (size_t)count * 16;
	if (n < len)
		return rfb_decode_more(d, len);
	if (!d->lax && (p[1] || p[2] || p[3] || !count || r.x > 2 || r.y > 4 || (r.x != 1 && r.y)))
		return rfb_decode_fail(d, "padding, reason or status; %u screens", count);
	for (unsigned i = 0; i < count; i++) {
		const uint8_t *q = p + 4 + (size_t)i * 16;
		struct rfb_decode_screen s = {be32(q), be32(q + 12), (uint16_t)be16(q + 4), (uint16_t)be16(q + 6),
			(uint16_t)be16(q + 8), (uint16_t)be16(q + 10)};

		if (!s.w || !s.h || s.x + s.w > (int)r.w || s.y + s.h > (int)r.h)
			return rfb_decode_fail(d, "screen %u: %ux%u at %u,%u", i, s.w, s.h, s.x, s.y);
		for (unsigned j = 0; j < i; j++)
			if (d->screen[j].id == s.id)
				return rfb_decode_fail(d, "two screens %#x", s.id);
		d->screen[i] = s;
	}
	rc = resize(d, r);
	if (rc)
		return rc;
	d->nscreens = count;
	d->reason = r.x;
	d->status = r.y;
	return (ssize_t)len;
}

/* 0: not UTF-8 */
static size_t utf8_len(const uint8_t *p, size_t n)
{
	static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
	uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);

	if (!len || len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		c = c << 6 | (p[i] & 63);
	}
	return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

static ssize_t decode_name(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	size_t len, step;

	if (!d->lax && (r.x || r.y || r.w || r.h))
		return rfb_decode_fail(d, "a name's place");
	if (n < 4)
		return rfb_decode_more(d, 4);
	len = be32(p);
	if (len > RFB_DECODE_NAME_MAX)
		return rfb_decode_fail(d, "a name of %zu bytes", len);
	if (n < 4 + len)
		return rfb_decode_more(d, 4 + len);
	p += 4;
	for (size_t i = 0; i < len && !d->lax; i += step) {
		step = utf8_len(p + i, len - i);
		if (!step || !p[i])
			return rfb_decode_fail(d, "the name is not UTF-8");
	}
	memcpy(d->name, p, len);
	d->name[len] = '\0';
	return (ssize_t)(4 + len);
}

static ssize_t decode_leds(struct rfb_decoder *d, const uint8_t *p, size_t n)
{
	uint32_t v;

	if (d->encoding == RFB_QEMU_LED_STATE) {
		if (n < 1)
			return rfb_decode_more(d, 1);
		if (p[0] > 7 && !d->lax)
			return rfb_decode_fail(d, "LEDs %#x", p[0]);
		d->leds = p[0] & 7;
		return 1;
	}
	if (n < 4)
		return rfb_decode_more(d, 4);
	v = be32(p);
	if (v > 7 && !d->lax)
		return rfb_decode_fail(d, "LEDs %#x", v);
	d->leds = v & 7; /* scroll 1, num 2, caps 4 there, too */
	return 4;
}

static ssize_t must_be_empty(struct rfb_decoder *d, struct rect r, bool *seen)
{
	if (!d->lax && (r.x || r.y || r.w || r.h))
		return rfb_decode_fail(d, "not empty");
	if (seen)
		*seen = true;
	return 0;
}

ssize_t rfb_decode_pseudo(struct rfb_decoder *d, struct rect r, int32_t encoding, const uint8_t *p, size_t n)
{
	switch (encoding) {
	case RFB_CURSOR:
	case RFB_X_CURSOR:
	case RFB_CURSOR_WITH_ALPHA:
		return decode_cursor(d, r, p, n);
	case RFB_DESKTOP_SIZE:
		return decode_size(d, r);
	case RFB_EXTENDED_DESKTOP_SIZE:
		return decode_layout(d, r, p, n);
	case RFB_DESKTOP_NAME:
		return decode_name(d, r, p, n);
	case RFB_LAST_RECT:
		return must_be_empty(d, r, NULL);
	case RFB_POINTER_MOTION_CHANGE:
		if (r.x > 1)
			return rfb_decode_fail(d, "pointer %u", r.x);
		d->pointer = (int)r.x;
		return 0;
	case RFB_QEMU_EXTENDED_KEY:
		return must_be_empty(d, r, &d->extended_key);
	case RFB_EXTENDED_MOUSE_BUTTONS:
		return must_be_empty(d, r, &d->extended_buttons);
	case RFB_QEMU_LED_STATE:
	case RFB_VMWARE_LED_STATE:
		return decode_leds(d, p, n);
	default:
		return rfb_decode_fail(d, "unknown pseudo-encoding");
	}
}
