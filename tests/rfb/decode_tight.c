/* SPDX-License-Identifier: MIT */
/* Tight and TightPNG ("Tight Encoding" in rfbproto.rst). */
#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <turbojpeg.h>

#include "decode.h"
#include "wire.h"

enum { WIDTH_MAX = 2048, COMPRESS_MIN = 12, FILL = 8, JPEG = 9, PNG = 10 };
enum filter { COPY, PALETTE, GRADIENT };

/* Where in the payload we are; lacks: it ends too early, at least at bytes have to be there. */
struct in {
	const uint8_t *p;
	size_t n, at;
	bool lacks;
};

static const uint8_t *take(struct in *in, size_t n)
{
	const uint8_t *p = in->p + in->at;

	in->at += n; /* what is needed in all, if it is not there */
	if (in->lacks || in->at > in->n) {
		in->lacks = true;
		return NULL;
	}
	return p;
}

static size_t take_length(struct in *in)
{
	size_t v = 0;

	for (unsigned shift = 0; shift <= 14; shift += 7) {
		const uint8_t *p = take(in, 1);

		if (!p)
			return 0;
		v |= (size_t)(shift == 14 ? *p : *p & 0x7f) << shift;
		if (!(*p & 0x80))
			break;
	}
	return v;
}

static uint32_t tpixel(const struct rfb_decoder *d, const uint8_t *p, bool *ok)
{
	return rfb_tpixel(&d->format) == 3 ? rfb_decode_rgb(d, p[0], p[1], p[2]) : rfb_decode_pixel(d, p, ok);
}

/* ---- pictures ---- */

static void put_picture(struct rfb_decoder *d, struct rect r, const uint8_t *rgb)
{
	for (uint32_t y = 0; y < r.h; y++) {
		uint32_t *to = rfb_decode_row(d, r.x, r.y + y);

		for (uint32_t x = 0; x < r.w; x++, rgb += 3)
			to[x] = rfb_decode_rgb(d, rgb[0], rgb[1], rgb[2]);
	}
}

static const char *jpeg(struct rect r, const uint8_t *p, size_t n, uint8_t *rgb)
{
	tjhandle tj = tjInitDecompress();
	int w, h, sampling, space;
	const char *why = NULL;

	if (!tj)
		return "no memory";
	if (tjDecompressHeader3(tj, p, n, &w, &h, &sampling, &space))
		why = "JPEG: bad header";
	else if ((uint32_t)w != r.w || (uint32_t)h != r.h)
		why = "JPEG: not the rectangle's size";
	else if (tjDecompress2(tj, p, n, rgb, w, w * 3, h, TJPF_RGB, 0))
		why = "JPEG: broken";
	tjDestroy(tj);
	return why;
}

static const char *png(struct rect r, const uint8_t *p, size_t n, uint8_t *rgb)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	const char *why = NULL;

	if (!png_image_begin_read_from_memory(&image, p, n))
		return "PNG: bad header";
	image.format = PNG_FORMAT_RGB;
	if (image.width != r.w || image.height != r.h)
		why = "PNG: not the rectangle's size";
	else if (!png_image_finish_read(&image, NULL, rgb, 0, NULL) || image.warning_or_error)
		why = "PNG: broken";
	png_image_free(&image);
	return why;
}

static ssize_t picture(struct rfb_decoder *d, struct rect r, struct in *in, unsigned kind)
{
	size_t len = take_length(in);
	const uint8_t *p = take(in, len);
	const char *why;
	uint8_t *rgb;

	if (!p)
		return rfb_decode_more(d, in->at);
	if (kind == JPEG && d->format.bpp == 8)
		return rfb_decode_fail(d, "JPEG with 8 bits per pixel");
	rgb = malloc((size_t)r.w * r.h * 3 + 1);
	if (!rgb)
		return -ENOMEM;
	why = kind == JPEG ? jpeg(r, p, len, rgb) : png(r, p, len, rgb);
	if (!why)
		put_picture(d, r, rgb);
	free(rgb);
	return why ? rfb_decode_fail(d, "%s", why) : (ssize_t)in->at;
}

/* ---- basic ---- */

struct basic {
	enum filter filter;
	unsigned n; /* colours */
	uint32_t colour[256];
};

static size_t basic_row(const struct rfb_decoder *d, const struct basic *b, uint32_t w)
{
	if (b->filter != PALETTE)
		return (size_t)w * rfb_tpixel(&d->format);
	return b->n == 2 ? (w + 7) / 8 : w;
}

static const char *put_palette(struct rfb_decoder *d, const struct basic *b, uint32_t *to, const uint8_t *p, uint32_t w)
{
	for (uint32_t x = 0; x < w; x++) {
		unsigned i = b->n == 2 ? p[x / 8] >> (7 - x % 8) & 1 : p[x];

		if (i >= b->n)
			return "an index outside of the palette";
		to[x] = b->colour[i];
	}
	if (b->n == 2 && w % 8 && p[w / 8] & 0xff >> w % 8 && !d->lax)
		return "padding is not 0";
	return NULL;
}

static uint32_t predict(const uint32_t at[3], unsigned shift, uint32_t max)
{
	int64_t v = (int64_t)(at[0] >> shift & max) + (at[1] >> shift & max) - (at[2] >> shift & max);

	return (uint32_t)(v < 0 ? 0 : v > max ? max : v);
}

static const char *put_gradient(struct rfb_decoder *d, struct rect r, uint32_t y, const uint8_t *p)
{
	struct rfb_format f = d->format;
	uint32_t *to = rfb_decode_row(d, r.x, r.y + y), *up = y ? rfb_decode_row(d, r.x, r.y + y - 1) : NULL;
	uint32_t max[3] = {f.rmax, f.gmax, f.bmax};
	unsigned shift[3] = {f.rshift, f.gshift, f.bshift}, bytes = rfb_tpixel(&f);
	bool ok = true;

	for (uint32_t x = 0; x < r.w; x++, p += bytes) {
		uint32_t left_up_corner[3] = {x ? to[x - 1] : 0, up ? up[x] : 0, x && up ? up[x - 1] : 0};
		uint32_t delta = tpixel(d, p, &ok), v = 0;

		for (unsigned k = 0; k < 3; k++)
			v |= (((delta >> shift[k] & max[k]) + predict(left_up_corner, shift[k], max[k])) & max[k]) << shift[k];
		to[x] = v;
	}
	return ok ? NULL : "unused bits are set";
}

static const char *put_basic(struct rfb_decoder *d, const struct basic *b, struct rect r, const uint8_t *p)
{
	size_t row = basic_row(d, b, r.w);
	unsigned bytes = rfb_tpixel(&d->format);
	const char *why = NULL;
	bool ok = true;

	for (uint32_t y = 0; y < r.h && !why; y++, p += row) {
		uint32_t *to = rfb_decode_row(d, r.x, r.y + y);

		if (b->filter == PALETTE)
			why = put_palette(d, b, to, p, r.w);
		else if (b->filter == GRADIENT)
			why = put_gradient(d, r, y, p);
		else
			for (uint32_t x = 0; x < r.w; x++)
				to[x] = tpixel(d, p + x * bytes, &ok);
	}
	return ok ? why : "unused bits are set";
}

static ssize_t basic_head(struct rfb_decoder *d, struct in *in, struct basic *b)
{
	unsigned bytes = rfb_tpixel(&d->format);
	const uint8_t *p = take(in, 1);
	bool ok = true;

	if (!p)
		return 0;
	if (*p > GRADIENT)
		return rfb_decode_fail(d, "filter %u", *p);
	b->filter = *p;
	if (b->filter == GRADIENT && d->format.bpp == 8)
		return rfb_decode_fail(d, "a gradient with 8 bits per pixel");
	if (b->filter != PALETTE)
		return 0;
	p = take(in, 1);
	if (!p)
		return 0;
	b->n = *p + 1u;
	if (b->n < 2)
		return rfb_decode_fail(d, "a palette of one");
	p = take(in, (size_t)b->n * bytes);
	for (unsigned i = 0; p && i < b->n; i++)
		b->colour[i] = tpixel(d, p + (size_t)i * bytes, &ok);
	return ok ? 0 : rfb_decode_fail(d, "unused bits are set in a palette");
}

static ssize_t basic(struct rfb_decoder *d, struct rect r, struct in *in, uint8_t control)
{
	struct basic b = {.filter = COPY};
	const uint8_t *p;
	size_t len, plain;
	const char *why;
	ssize_t rc = 0;

	if (control & 0x40)
		rc = basic_head(d, in, &b);
	if (rc < 0)
		return rc;
	plain = basic_row(d, &b, r.w) * r.h;
	len = plain < COMPRESS_MIN ? plain : take_length(in);
	p = take(in, len);
	if (!p)
		return rfb_decode_more(d, in->at);
	for (unsigned i = 0; i < 4; i++)
		if (control & 1 << i)
			rfb_decode_stream_reset(&d->tight[i]);
	if (plain >= COMPRESS_MIN) {
		rc = rfb_decode_inflate(d, &d->tight[control >> 4 & 3], p, len, plain);
		if (rc)
			return rc;
		p = d->scratch;
	}
	why = put_basic(d, &b, r, p);
	return why ? rfb_decode_fail(d, "%s", why) : (ssize_t)in->at;
}

ssize_t rfb_decode_tight(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n, bool tight_png)
{
	struct in in = {.p = p, .n = n};
	const uint8_t *control = take(&in, 1), *pixel;
	unsigned kind;
	bool ok = true;

	if (r.w > WIDTH_MAX)
		return rfb_decode_fail(d, "too wide");
	if (!control)
		return rfb_decode_more(d, in.at);
	kind = *control >> 4;
	if (kind < FILL && tight_png)
		return rfb_decode_fail(d, "basic compression in TightPNG");
	if (kind < FILL)
		return basic(d, r, &in, *control);
	if (*control & 15 && !d->lax) /* allowed, but not all viewers expect it there */
		return rfb_decode_fail(d, "a stream is reset, but not used");
	if (kind == JPEG || (kind == PNG && tight_png))
		return picture(d, r, &in, kind);
	if (kind != FILL)
		return rfb_decode_fail(d, "compression %u", kind);
	pixel = take(&in, rfb_tpixel(&d->format));
	if (!pixel)
		return rfb_decode_more(d, in.at);
	rfb_decode_fill(d, r, tpixel(d, pixel, &ok));
	return ok ? (ssize_t)in.at : rfb_decode_fail(d, "unused bits are set");
}
