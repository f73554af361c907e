/* SPDX-License-Identifier: MIT */
/* Raw, CopyRect, RRE, Hextile, zlib and ZRLE, as in rfbproto.rst "Encodings". */
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "wire.h"

static unsigned bytes_pp(const struct rfb_decoder *d)
{
	return d->format.bpp / 8u;
}

static ssize_t unused_bits(struct rfb_decoder *d)
{
	return rfb_decode_fail(d, "a pixel with bits of no channel");
}

/* w * h pixels at p, row by row */
static bool put_raw(struct rfb_decoder *d, struct rect r, const uint8_t *p)
{
	unsigned bytes = bytes_pp(d);
	bool ok = true;

	for (uint32_t y = 0; y < r.h; y++) {
		uint32_t *to = rfb_decode_row(d, r.x, r.y + y);

		for (uint32_t x = 0; x < r.w; x++, p += bytes)
			to[x] = rfb_decode_pixel(d, p, &ok);
	}
	return ok;
}

static size_t raw_len(const struct rfb_decoder *d, struct rect r)
{
	return (size_t)r.w * r.h * bytes_pp(d);
}

static ssize_t decode_raw(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	size_t len = raw_len(d, r);

	if (n < len)
		return rfb_decode_more(d, len);
	return put_raw(d, r, p) ? (ssize_t)len : unused_bits(d);
}

static ssize_t decode_copy(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	uint32_t sx, sy;

	if (n < 4)
		return rfb_decode_more(d, 4);
	sx = be16(p);
	sy = be16(p + 2);
	if (sx + r.w > d->w || sy + r.h > d->h)
		return rfb_decode_fail(d, "copied from %u,%u, outside", sx, sy);
	if (sx == r.x && sy == r.y && !d->lax)
		return rfb_decode_fail(d, "copied from where it is");
	for (uint32_t i = 0; i < r.h; i++) {
		uint32_t y = sy < r.y ? r.h - 1 - i : i;

		memmove(rfb_decode_row(d, r.x, r.y + y), rfb_decode_row(d, sx, sy + y), r.w * sizeof *d->px);
	}
	return 4;
}

static ssize_t decode_rre(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	unsigned bytes = bytes_pp(d);
	bool ok = true;
	uint32_t background, count;
	size_t len;

	if (n < 4 + bytes)
		return rfb_decode_more(d, 4 + bytes);
	count = be32(p);
	len = 4 + bytes + (size_t)count * (bytes + 8);
	if (count > (uint64_t)r.w * r.h)
		return rfb_decode_fail(d, "%u subrectangles", count);
	if (n < len)
		return rfb_decode_more(d, len);
	background = rfb_decode_pixel(d, p + 4, &ok);
	rfb_decode_fill(d, r, background);
	p += 4 + bytes;
	for (uint32_t i = 0; i < count; i++, p += bytes + 8) {
		uint32_t v = rfb_decode_pixel(d, p, &ok);
		struct rect s = {be16(p + bytes), be16(p + bytes + 2), be16(p + bytes + 4), be16(p + bytes + 6)};

		if (rect_empty(s) || s.x + s.w > r.w || s.y + s.h > r.h)
			return rfb_decode_fail(d, "subrectangle %u: %ux%u at %u,%u", i, s.w, s.h, s.x, s.y);
		if (v == background && !d->lax)
			return rfb_decode_fail(d, "subrectangle %u has the background's colour", i);
		s.x += r.x;
		s.y += r.y;
		rfb_decode_fill(d, s, v);
	}
	return ok ? (ssize_t)len : unused_bits(d);
}

/* ---- Hextile ---- */

enum { HEX_RAW = 1, HEX_BACKGROUND = 2, HEX_FOREGROUND = 4, HEX_SUBRECTS = 8, HEX_COLOURED = 16 };

/* The length of the tile at p, w x h; 0: *need bytes would tell more */
static size_t hextile_len(const struct rfb_decoder *d, const uint8_t *p, size_t n, struct rect t, size_t *need)
{
	unsigned bytes = bytes_pp(d), m;
	size_t len = 1;

	*need = 1;
	if (n < 1)
		return 0;
	m = p[0];
	if (m & HEX_RAW) {
		len += raw_len(d, t);
	} else {
		len += (m & HEX_BACKGROUND ? bytes : 0) + (m & HEX_FOREGROUND ? bytes : 0);
		if (m & HEX_SUBRECTS) {
			*need = len + 1;
			if (n < len + 1)
				return 0;
			len += 1 + p[len] * (size_t)(m & HEX_COLOURED ? bytes + 2 : 2);
		}
	}
	*need = len;
	return n < len ? 0 : len;
}

struct hextile {
	uint32_t background, foreground;
	bool has_background, has_foreground;
};

static ssize_t hextile_tile(struct rfb_decoder *d, struct hextile *s, struct rect t, const uint8_t *p)
{
	unsigned bytes = bytes_pp(d), m = *p++, count;
	bool ok = true;

	if (m & ~31u || (!d->lax && m & HEX_RAW && m != HEX_RAW))
		return rfb_decode_fail(d, "mask %#x", m);
	if (m & HEX_RAW) {
		s->has_background = s->has_foreground = false;
		return put_raw(d, t, p) ? 0 : unused_bits(d);
	}
	if (m & HEX_FOREGROUND && m & HEX_COLOURED)
		return rfb_decode_fail(d, "a foreground and coloured subrectangles");
	if (m & HEX_COLOURED && !(m & HEX_SUBRECTS) && !d->lax)
		return rfb_decode_fail(d, "coloured, but no subrectangles");
	if (m & HEX_BACKGROUND) {
		s->background = rfb_decode_pixel(d, p, &ok);
		s->has_background = true;
		p += bytes;
	}
	if (!s->has_background)
		return rfb_decode_fail(d, "no background yet");
	rfb_decode_fill(d, t, s->background);
	if (m & HEX_FOREGROUND) {
		s->foreground = rfb_decode_pixel(d, p, &ok);
		s->has_foreground = true;
		p += bytes;
	}
	if (m & HEX_COLOURED)
		s->has_foreground = false;
	if (m & HEX_SUBRECTS && !(m & HEX_COLOURED) && !s->has_foreground)
		return rfb_decode_fail(d, "no foreground yet");
	count = m & HEX_SUBRECTS ? *p++ : 0;
	for (unsigned i = 0; i < count; i++) {
		uint32_t v = s->foreground;
		struct rect r;

		if (m & HEX_COLOURED) {
			v = rfb_decode_pixel(d, p, &ok);
			p += bytes;
		}
		r = (struct rect){p[0] >> 4, p[0] & 15u, (p[1] >> 4) + 1u, (p[1] & 15u) + 1u};
		p += 2;
		if (r.x + r.w > t.w || r.y + r.h > t.h)
			return rfb_decode_fail(d, "subrectangle %ux%u at %u,%u of a tile of %ux%u", r.w, r.h, r.x, r.y, t.w, t.h);
		r.x += t.x;
		r.y += t.y;
		rfb_decode_fill(d, r, v);
	}
	return ok ? 0 : unused_bits(d);
}

static struct rect tile_of(struct rect r, uint32_t x, uint32_t y, uint32_t side)
{
	return (struct rect){r.x + x, r.y + y, (uint32_t)min_u64(side, r.w - x), (uint32_t)min_u64(side, r.h - y)};
}

static ssize_t decode_hextile(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	struct hextile s = {0};
	size_t at = 0, need;

	/* First without effects: is it whole? */
	for (uint32_t y = 0; y < r.h; y += 16)
		for (uint32_t x = 0; x < r.w; x += 16) {
			size_t len = hextile_len(d, p + at, n - at, tile_of(r, x, y, 16), &need);

			if (!len)
				return rfb_decode_more(d, at + need);
			at += len;
		}
	at = 0;
	for (uint32_t y = 0; y < r.h; y += 16)
		for (uint32_t x = 0; x < r.w; x += 16) {
			struct rect t = tile_of(r, x, y, 16);
			ssize_t rc = hextile_tile(d, &s, t, p + at);

			if (rc)
				return rc;
			at += hextile_len(d, p + at, n - at, t, &need);
		}
	return (ssize_t)at;
}

/* ---- zlib, ZRLE ---- */

/* The length field in front of zlib's data; what of it is sane: stored blocks and flushes are few bytes per 16 KiB. */
static ssize_t zlib_len(struct rfb_decoder *d, const uint8_t *p, size_t n, size_t max, size_t *len)
{
	if (n < 4)
		return rfb_decode_more(d, 4);
	*len = be32(p);
	if (*len > max + max / 256 + 1024)
		return rfb_decode_fail(d, "%zu bytes that can be %zu at most", *len, max);
	if (!*len)
		return rfb_decode_fail(d, "nothing");
	return n < 4 + *len ? rfb_decode_more(d, 4 + *len) : 1;
}

static ssize_t decode_zlib(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	size_t len, full = raw_len(d, r);
	ssize_t rc = zlib_len(d, p, n, full, &len);

	if (rc <= 0)
		return rc;
	rc = rfb_decode_inflate(d, &d->zlib, p + 4, len, full);
	if (rc)
		return rc;
	return put_raw(d, r, d->scratch) ? (ssize_t)(4 + len) : unused_bits(d);
}

/* CPIXELs are spread to PIXELs here, by the words of the specification and not with the encoder's function. */
struct zrle {
	struct rfb_decoder *d;
	const uint8_t *p, *end;
	unsigned bytes;   /* of a CPIXEL */
	bool high;        /* the most significant 3 bytes */
	bool ok, short_;  /* short_: it ended too early */
	uint32_t palette[128];
	unsigned ncolours;
};

static void zrle_cpixel_kind(struct zrle *z)
{
	const struct rfb_format *f = &z->d->format;
	uint32_t bits = (uint32_t)f->rmax << f->rshift | (uint32_t)f->gmax << f->gshift | (uint32_t)f->bmax << f->bshift;

	z->bytes = f->bpp / 8u;
	if (f->bpp != 32 || f->depth > 24 || !f->true_colour)
		return;
	if (bits <= 0xffffff) {
		z->bytes = 3;
	} else if (!(bits & 0xff)) {
		z->bytes = 3;
		z->high = true;
	}
}

static const uint8_t *zrle_take(struct zrle *z, size_t n)
{
	static const uint8_t nothing[4];
	const uint8_t *p = z->p;

	if ((size_t)(z->end - z->p) < n) {
		z->short_ = true;
		return n <= sizeof nothing ? nothing : NULL;
	}
	z->p += n;
	return p;
}

static uint32_t zrle_cpixel(struct zrle *z)
{
	const uint8_t *p = zrle_take(z, z->bytes);
	uint8_t full[4] = {0};
	bool first = z->d->format.big_endian == z->high; /* of the 4 bytes, the 3 first are sent */

	if (z->bytes == 3)
		memcpy(full + (first ? 0 : 1), p, 3);
	else
		memcpy(full, p, z->bytes);
	return rfb_decode_pixel(z->d, full, &z->ok);
}

static size_t zrle_run(struct zrle *z, size_t max)
{
	size_t len = 1;
	uint8_t b;

	do {
		b = *zrle_take(z, 1);
		len += b;
	} while (b == 255 && len <= max);
	return len;
}

/* -1: an index that the palette does not have */
static ssize_t zrle_packed(struct zrle *z, uint32_t *out, struct rect t)
{
	unsigned bits = z->ncolours == 2 ? 1 : z->ncolours <= 4 ? 2 : 4;
	size_t row = ((size_t)t.w * bits + 7) / 8;
	const uint8_t *p = zrle_take(z, row * t.h);

	if (z->short_)
		return 0;
	for (uint32_t y = 0; y < t.h; y++, p += row) {
		for (uint32_t x = 0; x < t.w; x++) {
			unsigned i = p[x * bits / 8] >> (8 - bits - x * bits % 8) & ((1u << bits) - 1);

			if (i >= z->ncolours)
				return -1;
			*out++ = z->palette[i];
		}
		if (t.w * bits % 8 && p[row - 1] & ((1u << (8 - t.w * bits % 8)) - 1) && !z->d->lax)
			return rfb_decode_fail(z->d, "padding bits are set");
	}
	return 0;
}

static ssize_t zrle_runs(struct zrle *z, uint32_t *out, size_t left)
{
	while (left && !z->short_) {
		size_t len = 1;
		uint32_t v;

		if (z->ncolours) {
			unsigned i = *zrle_take(z, 1);

			if ((i & 127) >= z->ncolours)
				return -1;
			v = z->palette[i & 127];
			if (i & 128)
				len = zrle_run(z, left);
			if (i & 128 && len == 1 && !z->d->lax)
				return rfb_decode_fail(z->d, "a run of one pixel with a length");
		} else {
			v = zrle_cpixel(z);
			len = zrle_run(z, left);
		}
		if (len > left)
			return rfb_decode_fail(z->d, "a run of %zu where %zu pixels are left", len, left);
		left -= len;
		while (len--)
			*out++ = v;
	}
	return 0;
}

static ssize_t zrle_tile(struct zrle *z, struct rect t)
{
	uint32_t px[64 * 64];
	unsigned type = *zrle_take(z, 1);
	size_t n = (size_t)t.w * t.h;
	ssize_t rc = 0;

	if ((type >= 17 && type <= 127) || type == 129)
		return rfb_decode_fail(z->d, "tile of type %u", type);
	z->ncolours = type & 127;
	for (unsigned i = 0; i < z->ncolours; i++) {
		z->palette[i] = zrle_cpixel(z);
		for (unsigned j = 0; j < i && !z->d->lax && !z->short_; j++)
			if (z->palette[j] == z->palette[i])
				return rfb_decode_fail(z->d, "colour %u of the palette is that of %u", i, j);
	}
	if (type == 0)
		for (size_t i = 0; i < n; i++)
			px[i] = zrle_cpixel(z);
	else if (type == 1)
		for (size_t i = 0; i < n; i++)
			px[i] = z->palette[0];
	else if (type <= 16)
		rc = zrle_packed(z, px, t);
	else
		rc = zrle_runs(z, px, n);
	if (rc == -1)
		return rfb_decode_fail(z->d, "no such colour in a palette of %u", z->ncolours);
	if (rc)
		return rc;
	if (z->short_)
		return rfb_decode_fail(z->d, "the data ends in a tile of type %u", type);
	for (uint32_t y = 0; y < t.h; y++)
		memcpy(rfb_decode_row(z->d, t.x, t.y + y), px + (size_t)y * t.w, t.w * sizeof *px);
	return 0;
}

static ssize_t decode_zrle(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n)
{
	struct zrle z = {.d = d, .ok = true};
	size_t len, got, tiles = (size_t)((r.w + 63) / 64) * ((r.h + 63) / 64), max;
	ssize_t rc;

	zrle_cpixel_kind(&z);
	/* The longest that a tile can be: plain RLE with runs of one; and for small tiles a palette that is not used */
	max = (size_t)r.w * r.h * (z.bytes + 1) + tiles * (1 + 127 * 4);
	rc = zlib_len(d, p, n, max, &len);
	if (rc <= 0)
		return rc;
	rc = rfb_decode_inflate_upto(d, &d->zrle, p + 4, len, max, &got);
	if (rc)
		return rc;
	z.p = d->scratch;
	z.end = d->scratch + got;
	for (uint32_t y = 0; y < r.h; y += 64)
		for (uint32_t x = 0; x < r.w; x += 64) {
			rc = zrle_tile(&z, tile_of(r, x, y, 64));
			if (rc)
				return rc;
		}
	if (z.p != z.end)
		return rfb_decode_fail(d, "%zu bytes after the last tile", (size_t)(z.end - z.p));
	return z.ok ? (ssize_t)(4 + len) : unused_bits(d);
}

ssize_t rfb_decode_pixels(struct rfb_decoder *d, struct rect r, int32_t encoding, const uint8_t *p, size_t n)
{
	switch (encoding) {
	case RFB_RAW:
		return decode_raw(d, r, p, n);
	case RFB_COPYRECT:
		return decode_copy(d, r, p, n);
	case RFB_RRE:
		return decode_rre(d, r, p, n);
	case RFB_HEXTILE:
		return decode_hextile(d, r, p, n);
	case RFB_ZLIB:
		return decode_zlib(d, r, p, n);
	case RFB_ZRLE:
		return decode_zrle(d, r, p, n);
	default:
		return rfb_decode_fail(d, "unknown encoding");
	}
}
