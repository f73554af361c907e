/* SPDX-License-Identifier: MIT */
/*
 * TightPNG: the same rectangles, each of them a picture of its own (ISO/IEC 15948): without state, decoded by the browser.
 * Written here, in few lines, since all of it is one IHDR, maybe a PLTE, one IDAT.
 */
#include "base/util.h"
#include "rfb/tight-int.h"

enum { CONTROL_PNG = 0xa0, COLOUR_RGB = 2, COLOUR_INDEXED = 3, FILTER_NONE = 0, FILTER_PAETH = 4 };
enum { HEAD_MAX = 8 + 12 + 13 + 12 + 3 * TIGHT_COLOURS + 8, TAIL = 4 + 12 };

static uint8_t *put_be32(uint8_t *p, uint32_t v)
{
	put_u32(p, __builtin_bswap32(v));
	return p + 4;
}

static uint8_t *chunk(uint8_t *p, const char type[4], const uint8_t *data, uint32_t n)
{
	p = put_be32(p, n);
	memcpy(p, type, 4);
	if (n)
		memcpy(p + 4, data, n);
	return put_be32(p + 4 + n, (uint32_t)crc32(0, p, n + 4));
}

static uint8_t *head(uint8_t *p, struct rect r, uint8_t depth, uint8_t type, const uint32_t *colour, unsigned n)
{
	static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
	uint8_t ihdr[13] = {0}, plte[3 * TIGHT_COLOURS];

	memcpy(p, signature, sizeof signature);
	put_be32(ihdr, r.w);
	put_be32(ihdr + 4, r.h);
	ihdr[8] = depth;
	ihdr[9] = type;
	p = chunk(p + sizeof signature, "IHDR", ihdr, sizeof ihdr);
	for (unsigned i = 0; i < n; i++) {
		plte[3 * i] = (uint8_t)(colour[i] >> 16);
		plte[3 * i + 1] = (uint8_t)(colour[i] >> 8);
		plte[3 * i + 2] = (uint8_t)colour[i];
	}
	return n ? chunk(p, "PLTE", plte, 3 * n) : p;
}

/* raw: rows, each with its filter in front */
static void send(struct tight_job *j, struct rect r, uint8_t depth, uint8_t type, const uint32_t *colour, unsigned n,
	const uint8_t *raw, size_t len)
{
	struct tight_stream *z = &j->enc->png;
	uint8_t start[HEAD_MAX], *p = head(start, r, depth, type, colour, n), *all;
	size_t at = (size_t)(p - start) + 8;

	z->reset = true; /* each is a stream of its own */
	len = tight_deflate(j, z, Z_DEFAULT_STRATEGY, raw, len, true, at + TAIL);
	if (!len)
		return;
	all = j->enc->packed.p;
	memmove(all + at, all + at + TAIL, len);
	memcpy(all, start, at - 8);
	put_be32(all + at - 8, (uint32_t)len);
	memcpy(all + at - 4, "IDAT", 4);
	p = put_be32(all + at + len, (uint32_t)crc32(0, all + at - 4, (uInt)len + 4));
	p = chunk(p, "IEND", NULL, 0);
	tight_begin(j, r, CONTROL_PNG);
	tight_data(j, all, (size_t)(p - all));
}

void tight_png_two(struct tight_job *j, struct rect r, uint32_t a, uint32_t b)
{
	uint32_t colour[2] = {a, b};
	size_t row = 1 + (r.w + 7) / 8;
	uint8_t *raw = tight_mem(j, &j->enc->raw, row * r.h);

	if (!raw)
		return;
	for (uint32_t y = 0; y < r.h; y++) {
		raw[y * row] = FILTER_NONE;
		tight_bits(raw + y * row + 1, surface_row(j->s, r.x, r.y + y), r.w, b);
	}
	send(j, r, 1, COLOUR_INDEXED, colour, 2, raw, row * r.h);
}

void tight_png_indexed(struct tight_job *j, struct rect r, const struct tight_palette *pal)
{
	uint8_t *raw = j->enc->raw.p;

	/* tight_index() has left room in front of the indices for the filters: each row moves a little less. */
	for (uint32_t y = 0; y < r.h; y++) {
		memmove(raw + (size_t)y * (r.w + 1) + 1, raw + r.h + (size_t)y * r.w, r.w);
		raw[(size_t)y * (r.w + 1)] = FILTER_NONE;
	}
	send(j, r, 8, COLOUR_INDEXED, pal->colour, pal->n, raw, (size_t)(r.w + 1) * r.h);
}

static uint8_t paeth(int left, int up, int corner)
{
	int dl = up - corner, du = left - corner, dc = dl + du;

	dl = dl < 0 ? -dl : dl;
	du = du < 0 ? -du : du;
	dc = dc < 0 ? -dc : dc;
	return (uint8_t)(dl <= du && dl <= dc ? left : du <= dc ? up : corner);
}

static void full_row(uint8_t *to, const uint32_t *px, const uint32_t *above, uint32_t w, bool smooth)
{
	uint32_t left = 0, corner = 0;

	*to++ = smooth ? FILTER_PAETH : FILTER_NONE;
	for (uint32_t x = 0; x < w; x++) {
		uint32_t up = above ? above[x] : 0;

		for (unsigned shift = 16; shift <= 16; shift -= 8) {
			uint8_t p = smooth ? paeth(left >> shift & 255, up >> shift & 255, corner >> shift & 255) : 0;

			*to++ = (uint8_t)((px[x] >> shift) - p);
		}
		left = px[x];
		corner = up;
	}
}

void tight_png_full(struct tight_job *j, struct rect r)
{
	bool smooth = tight_smooth(j, r);
	size_t row = 1 + 3 * (size_t)r.w;
	uint8_t *raw = tight_mem(j, &j->enc->raw, row * r.h);

	if (!raw)
		return;
	for (uint32_t y = 0; y < r.h; y++)
		full_row(raw + y * row, surface_row(j->s, r.x, r.y + y), y ? surface_row(j->s, r.x, r.y + y - 1) : NULL, r.w,
			smooth);
	send(j, r, 8, COLOUR_RGB, NULL, 0, raw, row * r.h);
}
