/* SPDX-License-Identifier: MIT */
/*
 * Pixel formats. Two steps take a surface's pixel to the wire: rfb_pixels() gives values (channels scaled and moved to
 * their places, a uint32_t each), which is what encoders compare and count; a put gives them byte order and size.
 *
 * Loops run over blocks of a constant size, because that is what compilers turn into vector code at -O2.
 */
#include <string.h>

#include "rfb/rfb.h"

enum { BLOCK = 16, PIECE = 512 };

const struct rfb_format rfb_format_native = {.bpp = 32, .depth = 24, .true_colour = true, .rmax = 255, .gmax = 255, .bmax = 255,
	.rshift = 16, .gshift = 8, .bshift = 0};

/* What indices of rfb_colour_map() mean */
static const struct rfb_format map_format = {.bpp = 8, .depth = 8, .true_colour = true, .rmax = 7, .gmax = 7, .bmax = 3,
	.rshift = 0, .gshift = 3, .bshift = 6};

void rfb_format_put(struct buf *b, const struct rfb_format *f)
{
	static const uint8_t padding[3];

	buf_u8(b, f->bpp);
	buf_u8(b, f->depth);
	buf_u8(b, f->big_endian);
	buf_u8(b, f->true_colour);
	buf_be16(b, f->rmax);
	buf_be16(b, f->gmax);
	buf_be16(b, f->bmax);
	buf_u8(b, f->rshift);
	buf_u8(b, f->gshift);
	buf_u8(b, f->bshift);
	buf_put(b, padding, sizeof padding);
}

static uint32_t channel_mask(uint16_t max, uint8_t shift)
{
	return (uint32_t)max << shift;
}

static bool channel_ok(uint16_t max, uint8_t shift, uint8_t bpp)
{
	unsigned bits = 32 - (unsigned)__builtin_clz(max | 1u);

	return max && !(max & (max + 1u)) && shift < bpp && shift + bits <= bpp;
}

bool rfb_format_get(struct rfb_format *f, const uint8_t p[RFB_FORMAT_LEN])
{
	struct rfb_format n = {.bpp = p[0], .depth = p[1], .big_endian = p[2], .true_colour = p[3],
		.rmax = (uint16_t)(p[4] << 8 | p[5]), .gmax = (uint16_t)(p[6] << 8 | p[7]), .bmax = (uint16_t)(p[8] << 8 | p[9]),
		.rshift = p[10], .gshift = p[11], .bshift = p[12]};
	uint32_t r, g, b;

	if ((n.bpp != 8 && n.bpp != 16 && n.bpp != 32) || n.depth > n.bpp)
		return false;
	if (n.bpp == 8)
		n.big_endian = false;
	if (!n.true_colour) { /* the other fields mean nothing */
		if (n.bpp != 8)
			return false;
		*f = (struct rfb_format){.bpp = 8, .depth = n.depth};
		return true;
	}
	if (!channel_ok(n.rmax, n.rshift, n.bpp) || !channel_ok(n.gmax, n.gshift, n.bpp) || !channel_ok(n.bmax, n.bshift, n.bpp))
		return false;
	r = channel_mask(n.rmax, n.rshift);
	g = channel_mask(n.gmax, n.gshift);
	b = channel_mask(n.bmax, n.bshift);
	if ((r & g) | (r & b) | (g & b))
		return false;
	*f = n;
	return true;
}

bool rfb_format_same(const struct rfb_format *a, const struct rfb_format *b)
{
	return a->bpp == b->bpp && a->depth == b->depth && a->big_endian == b->big_endian && a->true_colour == b->true_colour &&
	       a->rmax == b->rmax && a->gmax == b->gmax && a->bmax == b->bmax &&
	       a->rshift == b->rshift && a->gshift == b->gshift && a->bshift == b->bshift;
}

static void put_map_channel(struct buf *out, unsigned i, uint16_t max, uint8_t shift)
{
	buf_be16(out, (uint16_t)((i >> shift & max) * 65535 / max));
}

void rfb_colour_map(struct rfb_format *f, struct buf *out)
{
	const struct rfb_format *m = &map_format;

	buf_u8(out, 1);    /* SetColourMapEntries */
	buf_u8(out, 0);
	buf_be16(out, 0);  /* first */
	buf_be16(out, 256);
	for (unsigned i = 0; i < 256; i++) {
		put_map_channel(out, i, m->rmax, m->rshift);
		put_map_channel(out, i, m->gmax, m->gshift);
		put_map_channel(out, i, m->bmax, m->bshift);
	}
	*f = map_format;
}

/* Where the 3 bytes of a CPIXEL are: 0 the least significant, 8 the most significant, -1: all 4 are sent */
static int cpixel_shift(const struct rfb_format *f)
{
	uint32_t used = channel_mask(f->rmax, f->rshift) | channel_mask(f->gmax, f->gshift) | channel_mask(f->bmax, f->bshift);

	if (f->bpp != 32 || !f->true_colour || f->depth > 24)
		return -1;
	if (!(used & 0xff000000))
		return 0;
	return used & 0xff ? -1 : 8;
}

unsigned rfb_cpixel(const struct rfb_format *f)
{
	return cpixel_shift(f) >= 0 ? 3 : f->bpp / 8u;
}

unsigned rfb_tpixel(const struct rfb_format *f)
{
	bool three = f->bpp == 32 && f->depth == 24 && f->true_colour && f->rmax == 255 && f->gmax == 255 && f->bmax == 255;

	return three ? 3 : f->bpp / 8u;
}

uint32_t rfb_pixel(const struct rfb_format *f, uint32_t xrgb)
{
	uint32_t r = xrgb >> 16 & 255, g = xrgb >> 8 & 255, b = xrgb & 255;

	return (r * f->rmax + 127) / 255 << f->rshift | (g * f->gmax + 127) / 255 << f->gshift | (b * f->bmax + 127) / 255 << f->bshift;
}

/* x / 255 for x < 65535, which v * max + 127 is as long as max is at most 255 */
static inline uint32_t div255(uint32_t x)
{
	return (x + 1 + (x >> 8)) >> 8;
}

enum kind { NATIVE, SHIFTED, SCALED, WIDE };

static enum kind kind_of(const struct rfb_format *f)
{
	if (f->rmax > 255 || f->gmax > 255 || f->bmax > 255)
		return WIDE;
	if (f->rmax != 255 || f->gmax != 255 || f->bmax != 255)
		return SCALED;
	return f->rshift == 16 && f->gshift == 8 && f->bshift == 0 ? NATIVE : SHIFTED;
}

static inline void block_native(uint32_t *restrict dst, const uint32_t *restrict src)
{
	for (unsigned i = 0; i < BLOCK; i++)
		dst[i] = src[i] & 0xffffff;
}

static inline void block_shifted(const struct rfb_format *f, uint32_t *restrict dst, const uint32_t *restrict src)
{
	unsigned rs = f->rshift, gs = f->gshift, bs = f->bshift;

	for (unsigned i = 0; i < BLOCK; i++)
		dst[i] = (src[i] >> 16 & 255) << rs | (src[i] >> 8 & 255) << gs | (src[i] & 255) << bs;
}

static inline void block_scaled(const struct rfb_format *f, uint32_t *restrict dst, const uint32_t *restrict src)
{
	uint32_t rm = f->rmax, gm = f->gmax, bm = f->bmax;
	unsigned rs = f->rshift, gs = f->gshift, bs = f->bshift;

	for (unsigned i = 0; i < BLOCK; i++)
		dst[i] = div255((src[i] >> 16 & 255) * rm + 127) << rs | div255((src[i] >> 8 & 255) * gm + 127) << gs |
			 div255((src[i] & 255) * bm + 127) << bs;
}

static void block_wide(const struct rfb_format *f, uint32_t *restrict dst, const uint32_t *restrict src)
{
	for (unsigned i = 0; i < BLOCK; i++)
		dst[i] = rfb_pixel(f, src[i]);
}

static inline void block_values(const struct rfb_format *f, enum kind k, uint32_t *restrict dst, const uint32_t *restrict src)
{
	switch (k) {
	case NATIVE:
		block_native(dst, src);
		break;
	case SHIFTED:
		block_shifted(f, dst, src);
		break;
	case SCALED:
		block_scaled(f, dst, src);
		break;
	case WIDE:
		block_wide(f, dst, src);
		break;
	}
}

static inline void block_put16(uint8_t *restrict dst, const uint32_t *restrict v, bool swap)
{
	uint16_t t[BLOCK];

	for (unsigned i = 0; i < BLOCK; i++)
		t[i] = (uint16_t)(swap ? (v[i] & 255) << 8 | (v[i] >> 8 & 255) : v[i]);
	memcpy(dst, t, sizeof t);
}

static inline void block_put32(uint8_t *restrict dst, const uint32_t *restrict v, bool swap)
{
	uint32_t t[BLOCK];

	for (unsigned i = 0; i < BLOCK; i++)
		t[i] = swap ? __builtin_bswap32(v[i]) : v[i];
	memcpy(dst, t, sizeof t);
}

static inline void block_put(const struct rfb_format *f, uint8_t *restrict dst, const uint32_t *restrict v)
{
	if (f->bpp == 8)
		for (unsigned i = 0; i < BLOCK; i++)
			dst[i] = (uint8_t)v[i];
	else if (f->bpp == 16)
		block_put16(dst, v, f->big_endian);
	else
		block_put32(dst, v, f->big_endian);
}

void rfb_pixels(const struct rfb_format *f, uint32_t *dst, const uint32_t *src, unsigned n)
{
	enum kind k = kind_of(f);
	uint32_t in[BLOCK] = {0}, out[BLOCK];

	for (; n >= BLOCK; n -= BLOCK, src += BLOCK, dst += BLOCK) {
		block_values(f, k, out, src);
		memcpy(dst, out, sizeof out);
	}
	if (!n)
		return;
	memcpy(in, src, n * sizeof *src);
	block_values(f, k, out, in);
	memcpy(dst, out, n * sizeof *dst);
}

void rfb_pixels_put(const struct rfb_format *f, uint8_t *dst, const uint32_t *value, unsigned n)
{
	unsigned bytes = f->bpp / 8u;
	uint32_t in[BLOCK] = {0};
	uint8_t out[BLOCK * 4];

	for (; n >= BLOCK; n -= BLOCK, value += BLOCK, dst += BLOCK * bytes)
		block_put(f, dst, value);
	if (!n)
		return;
	memcpy(in, value, n * sizeof *value);
	block_put(f, out, in);
	memcpy(dst, out, n * bytes);
}

void rfb_translate(const struct rfb_format *f, uint8_t *dst, const uint32_t *src, unsigned n)
{
	uint32_t v[PIECE];

	while (n) {
		unsigned k = n < PIECE ? n : PIECE;

		rfb_pixels(f, v, src, k);
		rfb_pixels_put(f, dst, v, k);
		src += k;
		dst += k * (f->bpp / 8u);
		n -= k;
	}
}

unsigned rfb_pixel_put(const struct rfb_format *f, uint8_t *dst, uint32_t value)
{
	switch (f->bpp) {
	case 8:
		dst[0] = (uint8_t)value;
		return 1;
	case 16:
		put_u16(dst, f->big_endian ? __builtin_bswap16((uint16_t)value) : (uint16_t)value);
		return 2;
	default:
		put_u32(dst, f->big_endian ? __builtin_bswap32(value) : value);
		return 4;
	}
}

unsigned rfb_cpixel_put(const struct rfb_format *f, uint8_t *dst, uint32_t value)
{
	int shift = cpixel_shift(f);

	if (shift < 0)
		return rfb_pixel_put(f, dst, value);
	value >>= shift;
	dst[0] = (uint8_t)(f->big_endian ? value >> 16 : value);
	dst[1] = (uint8_t)(value >> 8);
	dst[2] = (uint8_t)(f->big_endian ? value : value >> 16);
	return 3;
}

void rfb_cpixels_put(const struct rfb_format *f, uint8_t *dst, const uint32_t *value, unsigned n)
{
	int shift = cpixel_shift(f);

	if (shift < 0) {
		rfb_pixels_put(f, dst, value, n);
		return;
	}
	for (unsigned i = 0; i < n; i++, dst += 3) {
		uint32_t v = value[i] >> shift;

		dst[0] = (uint8_t)(f->big_endian ? v >> 16 : v);
		dst[1] = (uint8_t)(v >> 8);
		dst[2] = (uint8_t)(f->big_endian ? v : v >> 16);
	}
}
