/* SPDX-License-Identifier: MIT */
/*
 * Tight's "fill" and "basic" compression. Pixels go through a filter (none, palette, gradient), and then through one of
 * four zlib streams, which live as long as the connection.
 */
#include <emmintrin.h>
#include <stdlib.h>

#include "base/util.h"
#include "rfb/tight-int.h"

enum { CONTROL_FILL = 0x80, CONTROL_FILTER = 0x40, FILTER_PALETTE = 1, FILTER_GRADIENT = 2 };
enum { COMPRESS_MIN = 12 };    /* fewer bytes are sent as they are, without a length */
enum { DEFAULT_LEVEL = 2, DEFAULT_LEVEL_MONO = 3 };
enum { FULL_PIXELS = 65536 };  /* in one rectangle of full colour: bounds memory, and its compressed length */
enum { SPLIT_PIXELS = 8192 };  /* a rectangle with too many colours is halved, down to this */
enum { COLOUR_PIXELS = 32 };   /* a palette is not compressed: it pays for so many pixels per colour */
enum { HASH = 1024, HASH_SHIFT = 32 - 10 };

void *tight_mem(struct tight_job *j, struct tight_mem *m, size_t n)
{
	if (n <= m->cap)
		return m->p;
	free(m->p); /* what was in it is of no use */
	m->cap = 0;
	m->p = malloc(n);
	if (!m->p) {
		j->out->failed = true;
		return NULL;
	}
	m->cap = n;
	return m->p;
}

void tight_begin(struct tight_job *j, struct rect r, uint8_t control)
{
	rfb_rect_header(j->out, r, j->p->tight);
	buf_u8(j->out, control);
	j->n++;
}

void tight_data(struct tight_job *j, const void *p, size_t n)
{
	if (n < 0x80) {
		buf_u8(j->out, (uint8_t)n);
	} else if (n < 0x4000) {
		buf_u8(j->out, (uint8_t)(n & 0x7f) | 0x80);
		buf_u8(j->out, (uint8_t)(n >> 7));
	} else {
		buf_u8(j->out, (uint8_t)(n & 0x7f) | 0x80);
		buf_u8(j->out, (uint8_t)(n >> 7 & 0x7f) | 0x80);
		buf_u8(j->out, (uint8_t)(n >> 14));
	}
	buf_put(j->out, p, n);
}

/* ---- zlib ---- */

static bool stream_ready(struct tight_stream *s, int level, int strategy)
{
	if (!s->open) {
		s->z = (z_stream){0};
		if (deflateInit2(&s->z, level, Z_DEFLATED, MAX_WBITS, MAX_MEM_LEVEL, strategy) != Z_OK)
			return false;
		s->open = true;
		s->level = level;
	} else if (s->reset) {
		deflateReset(&s->z);
	}
	s->reset = false;
	return true;
}

size_t tight_deflate(struct tight_job *j, struct tight_stream *s, int strategy, const void *p, size_t n, bool finish,
	size_t at)
{
	int ours = s == &j->enc->stream[TIGHT_MONO] ? DEFAULT_LEVEL_MONO : DEFAULT_LEVEL;
	int level = j->p->level >= 0 && j->p->level <= 9 ? j->p->level : ours;
	size_t cap = at + n + n / 8 + 256; /* more than any level makes of it, with what was kept back */
	uint8_t *to = tight_mem(j, &j->enc->packed, cap);

	if (!to || !stream_ready(s, level, strategy)) {
		j->out->failed = true;
		return 0;
	}
	s->z.next_in = (z_const Bytef *)(uintptr_t)p;
	s->z.avail_in = 0;
	s->z.next_out = to + at;
	s->z.avail_out = (uInt)(cap - at);
	if (s->level != level) { /* may have something to write, too */
		deflateParams(&s->z, level, strategy);
		s->level = level;
	}
	s->z.avail_in = (uInt)n;
	if (deflate(&s->z, finish ? Z_FINISH : Z_SYNC_FLUSH) < 0 || s->z.avail_in || !s->z.avail_out) {
		j->out->failed = true;
		return 0;
	}
	return cap - at - s->z.avail_out;
}

/* Control bytes of a stream; what has to be reset is, when the data comes. */
static uint8_t control_of(const struct tight_job *j, unsigned stream)
{
	return (uint8_t)(stream << 4 | (unsigned)j->enc->stream[stream].reset << stream);
}

static void basic_data(struct tight_job *j, unsigned stream, const uint8_t *p, size_t n)
{
	static const int strategy[] = {[TIGHT_FULL] = Z_DEFAULT_STRATEGY, [TIGHT_MONO] = Z_DEFAULT_STRATEGY,
		[TIGHT_INDEXED] = Z_DEFAULT_STRATEGY, [TIGHT_GRADIENT] = Z_HUFFMAN_ONLY};
	size_t len;

	if (n < COMPRESS_MIN) {
		if (j->enc->stream[stream].reset && j->enc->stream[stream].open) /* the other side was told so */
			deflateReset(&j->enc->stream[stream].z);
		j->enc->stream[stream].reset = false;
		buf_put(j->out, p, n);
		return;
	}
	len = tight_deflate(j, &j->enc->stream[stream], strategy[stream], p, n, false, 0);
	if (len)
		tight_data(j, j->enc->packed.p, len);
}

/* ---- pixels ---- */

static void tpixels(const struct rfb_format *f, uint8_t *to, const uint32_t *px, uint32_t n)
{
	if (rfb_tpixel(f) != 3) {
		rfb_translate(f, to, px, n);
		return;
	}
	for (uint32_t i = 0; i < n; i++, to += 3) {
		to[0] = (uint8_t)(px[i] >> 16);
		to[1] = (uint8_t)(px[i] >> 8);
		to[2] = (uint8_t)px[i];
	}
}

static void put_colours(struct tight_job *j, const uint32_t *px, unsigned n)
{
	uint8_t b[TIGHT_COLOURS * 4];

	tpixels(&j->p->format, b, px, n);
	buf_put(j->out, b, (size_t)n * rfb_tpixel(&j->p->format));
}

void tight_fill(struct tight_job *j, struct rect r, uint32_t colour)
{
	tight_begin(j, r, CONTROL_FILL);
	put_colours(j, &colour, 1);
}

static void begin_filter(struct tight_job *j, struct rect r, unsigned stream, uint8_t filter)
{
	tight_begin(j, r, control_of(j, stream) | CONTROL_FILTER);
	buf_u8(j->out, filter);
}

static void begin_palette(struct tight_job *j, struct rect r, unsigned stream, const uint32_t *colour, unsigned n)
{
	begin_filter(j, r, stream, FILTER_PALETTE);
	buf_u8(j->out, (uint8_t)(n - 1));
	put_colours(j, colour, n);
}

/* ---- two colours ---- */

unsigned tight_bits(uint8_t *dst, const uint32_t *src, unsigned n, uint32_t b)
{
	const __m128i rgb = _mm_set1_epi32(0xffffff), want = _mm_set1_epi32((int)b);
	unsigned set = 0, last = 0;

	for (; n >= 8; n -= 8, src += 8) {
		__m128i lo = _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)src), rgb);
		__m128i hi = _mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)(src + 4)), rgb);
		unsigned v;

		/* backwards, since the mask has its first element in the lowest bit */
		lo = _mm_shuffle_epi32(_mm_cmpeq_epi32(lo, want), 0x1b);
		hi = _mm_shuffle_epi32(_mm_cmpeq_epi32(hi, want), 0x1b);
		lo = _mm_packs_epi32(hi, lo);
		v = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(lo, lo)) & 255;
		*dst++ = (uint8_t)v;
		set += (unsigned)__builtin_popcount(v);
	}
	if (!n)
		return set;
	for (unsigned i = 0; i < 8; i++)
		last = last << 1 | (i < n && (src[i] & 0xffffff) == b);
	*dst = (uint8_t)last;
	return set + (unsigned)__builtin_popcount(last);
}

void tight_two(struct tight_job *j, struct rect r, uint32_t a, uint32_t b)
{
	size_t row = (r.w + 7) / 8;
	uint32_t colour[2] = {a, b};
	uint64_t set = 0;
	uint8_t *bits;

	if (j->p->png) {
		tight_png_two(j, r, a, b);
		return;
	}
	bits = tight_mem(j, &j->enc->raw, row * r.h);
	if (!bits)
		return;
	for (uint32_t y = 0; y < r.h; y++)
		set += tight_bits(bits + y * row, surface_row(j->s, r.x, r.y + y), r.w, b);
	/* The background is always 0: the same letter is then the same bytes in any colours. */
	if (set > (uint64_t)r.w * r.h / 2) {
		uint8_t pad = (uint8_t)(0xff << (row * 8 - r.w));

		for (size_t i = 0; i < row * r.h; i++)
			bits[i] = (uint8_t)~bits[i];
		for (uint32_t y = 0; y < r.h; y++)
			bits[y * row + row - 1] &= pad;
		colour[0] = b;
		colour[1] = a;
	}
	begin_palette(j, r, TIGHT_MONO, colour, 2);
	basic_data(j, TIGHT_MONO, bits, row * r.h);
}

/* ---- palette ---- */

bool tight_index(struct tight_job *j, struct rect r, struct tight_palette *pal)
{
	uint16_t slot[HASH] = {0}; /* index + 1 */
	uint32_t filters = j->p->png ? r.h : 0;
	uint8_t *to = tight_mem(j, &j->enc->raw, (size_t)r.w * r.h + filters);
	uint32_t last = ~*surface_row(j->s, r.x, r.y) & 0xffffff;
	uint8_t index = 0;

	pal->n = 0;
	if (!to)
		return false;
	to += filters;
	for (uint32_t y = 0; y < r.h; y++) {
		const uint32_t *px = surface_row(j->s, r.x, r.y + y);

		for (uint32_t x = 0; x < r.w; x++) {
			uint32_t v = px[x] & 0xffffff, h;

			if (v == last) {
				*to++ = index;
				continue;
			}
			for (h = v * 0x9e3779b1u >> HASH_SHIFT; slot[h] && pal->colour[slot[h] - 1] != v; h = (h + 1) % HASH)
				;
			if (!slot[h]) {
				if (pal->n == TIGHT_COLOURS)
					return false;
				pal->colour[pal->n++] = v;
				slot[h] = (uint16_t)pal->n;
			}
			last = v;
			index = (uint8_t)(slot[h] - 1);
			*to++ = index;
		}
	}
	return true;
}

/* As indices, or whatever few colours allow; false, and nothing was sent: they are not so few. */
static bool few(struct tight_job *j, struct rect r)
{
	struct tight_palette pal;

	/* an index is no smaller than a pixel of 8 bits */
	if ((j->p->format.bpp == 8 && !j->p->png) || !tight_index(j, r, &pal))
		return false;
	if (pal.n > 2 && (uint64_t)r.w * r.h / pal.n < COLOUR_PIXELS)
		return false;
	if (pal.n == 1) {
		tight_fill(j, r, pal.colour[0]);
	} else if (pal.n == 2) {
		tight_two(j, r, pal.colour[0], pal.colour[1]);
	} else if (j->p->png) {
		tight_png_indexed(j, r, &pal);
	} else {
		begin_palette(j, r, TIGHT_INDEXED, pal.colour, pal.n);
		basic_data(j, TIGHT_INDEXED, j->enc->raw.p, (size_t)r.w * r.h);
	}
	return true;
}

/* ---- full colour, and the gradient filter ---- */

/* What is left of a channel after the prediction: to the left + above - above to the left, within 0 to 255 */
static inline uint8_t rest(uint32_t v, uint32_t left, uint32_t up, uint32_t corner, unsigned shift)
{
	int p = (int)(left >> shift & 255) + (int)(up >> shift & 255) - (int)(corner >> shift & 255);

	p = p < 0 ? 0 : p > 255 ? 255 : p;
	return (uint8_t)((v >> shift) - (uint32_t)p);
}

/* Only for TPIXELs of 3 bytes: with fewer bits for each channel, zlib does better without. */
static void gradient(struct tight_job *j, struct rect r)
{
	static const uint32_t black[TIGHT_WIDTH];
	size_t n = (size_t)r.w * r.h * 3;
	uint8_t *to = tight_mem(j, &j->enc->raw, n);

	if (!to)
		return;
	for (uint32_t y = 0; y < r.h; y++) {
		const uint32_t *px = surface_row(j->s, r.x, r.y + y);
		const uint32_t *above = y ? surface_row(j->s, r.x, r.y + y - 1) : black;
		uint32_t left = 0, corner = 0;

		for (uint32_t x = 0; x < r.w; x++, to += 3) {
			to[0] = rest(px[x], left, above[x], corner, 16);
			to[1] = rest(px[x], left, above[x], corner, 8);
			to[2] = rest(px[x], left, above[x], corner, 0);
			left = px[x];
			corner = above[x];
		}
	}
	begin_filter(j, r, TIGHT_GRADIENT, FILTER_GRADIENT);
	basic_data(j, TIGHT_GRADIENT, j->enc->raw.p, n);
}

/* By the green channel of some rows */
bool tight_smooth(const struct tight_job *j, struct rect r)
{
	uint32_t plain[256] = {0}, left[256] = {0};
	uint64_t equal_plain = 0, equal_left = 0;

	for (uint32_t y = 1; y < r.h; y += 8) {
		const uint32_t *px = surface_row(j->s, r.x, r.y + y), *above = surface_row(j->s, r.x, r.y + y - 1);

		for (uint32_t x = 1; x < r.w; x++) {
			plain[px[x] >> 8 & 255]++;
			left[rest(px[x], px[x - 1], above[x], above[x - 1], 8)]++;
		}
	}
	/* How likely two values are the same. Plain pixels repeat in longer runs, too, which this does not see: hence a margin. */
	for (unsigned i = 0; i < 256; i++) {
		equal_plain += (uint64_t)plain[i] * plain[i];
		equal_left += (uint64_t)left[i] * left[i];
	}
	return 2 * equal_left > 3 * equal_plain;
}

static void full(struct tight_job *j, struct rect r)
{
	const struct rfb_format *f = &j->p->format;
	unsigned bytes = rfb_tpixel(f);
	uint8_t *to;

	if (j->p->gradient && bytes == 3 && tight_smooth(j, r)) {
		gradient(j, r);
		return;
	}
	to = tight_mem(j, &j->enc->raw, (size_t)r.w * r.h * bytes);
	if (!to)
		return;
	for (uint32_t y = 0; y < r.h; y++)
		tpixels(f, to + (size_t)y * r.w * bytes, surface_row(j->s, r.x, r.y + y), r.w);
	tight_begin(j, r, control_of(j, TIGHT_FULL));
	basic_data(j, TIGHT_FULL, to, (size_t)r.w * r.h * bytes);
}

void tight_photo(struct tight_job *j, struct rect r)
{
	uint32_t rows = FULL_PIXELS / r.w, h;

	for (uint32_t y = 0; y < r.h && !j->out->failed; y += h) {
		struct rect part = {r.x, r.y + y, r.w, h = (uint32_t)min_u64(rows, r.h - y)};

		if (few(j, part))
			continue;
		if (j->p->png)
			tight_png_full(j, part);
		else
			full(j, part);
	}
}

void tight_many(struct tight_job *j, struct rect r)
{
	if (j->out->failed)
		return;
	if (j->p->format.bpp == 8 || (uint64_t)r.w * r.h <= SPLIT_PIXELS) {
		tight_photo(j, r);
	} else if (few(j, r)) {
		return;
	} else if (r.w > r.h) {
		uint32_t w = (r.w / 2 + 7) / 8 * 8;

		tight_many(j, (struct rect){r.x, r.y, w, r.h});
		tight_many(j, (struct rect){r.x + w, r.y, r.w - w, r.h});
	} else {
		uint32_t h = r.h / 2;

		tight_many(j, (struct rect){r.x, r.y, r.w, h});
		tight_many(j, (struct rect){r.x, r.y + h, r.w, r.h - h});
	}
}
