/* SPDX-License-Identifier: MIT */
/* Every encoder, every format, many pictures: what the reference decoder makes of it is the same, to the bit. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../rfb/decode.h"
#include "pictures.h"
#include "rfb/encode.h"

static const struct rfb_encoder_ops *const encoders[] = {&rfb_raw, &rfb_rre, &rfb_hextile, &rfb_zlib, &rfb_zrle};
enum { GUARD = 0x00a5a5a5 };

/* One view: what the server has, its encoder, and the viewer's end */
struct view {
	const struct rfb_encoder_ops *ops;
	struct rfb_encoder *enc;
	struct rfb_params p;
	struct surface s;
	struct rfb_decoder d;
	struct buf out;
	uint64_t total;
};

static void view_init(struct view *v, const struct rfb_encoder_ops *ops, const struct rfb_format *f, uint32_t w, uint32_t h)
{
	*v = (struct view){.ops = ops, .p = {.format = *f, .level = -1, .quality = -1, .tight = RFB_TIGHT}};
	v->enc = ops->open();
	v->s = (struct surface){w, h, (w + 3) * 4, malloc((size_t)(w + 3) * 4 * h)};
	assert(v->enc && v->s.px && !rfb_decoder_init(&v->d, w, h));
	memset(v->s.px, 0x77, (size_t)v->s.stride * h);
	v->d.format = *f;
	for (size_t i = 0; i < (size_t)w * h; i++)
		v->d.px[i] = GUARD;
}

static void view_fini(struct view *v)
{
	v->ops->close(v->enc);
	free(v->s.px);
	rfb_decoder_fini(&v->d);
	buf_fini(&v->out);
}

static void encode(struct view *v, struct rect r, struct buf *out)
{
	pixman_region32_t lossy;
	int count;
	size_t at = 0;

	pixman_region32_init(&lossy);
	buf_clear(out);
	count = v->ops->encode(v->enc, &v->p, &v->s, r, out, &lossy);
	assert(count > 0 && !out->failed && !pixman_region32_not_empty(&lossy));
	for (int i = 0; i < count; i++) {
		ssize_t used = rfb_decode_rect(&v->d, out->p + at, out->len - at);

		if (used <= 0)
			printf("%s: %s\n", v->ops->name, used ? v->d.why : "too short");
		assert(used > 0);
		assert(v->d.encoding == v->ops->id || v->d.encoding == RFB_RAW);
		at += (size_t)used;
	}
	assert(at == out->len);
	v->total += out->len;
	pixman_region32_fini(&lossy);
}

static void same(const struct view *v, struct rect r)
{
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++)
			assert(v->d.px[(size_t)(r.y + y) * v->d.w + r.x + x] == rfb_pixel(&v->p.format, *surface_row(&v->s, r.x + x, r.y + y)));
}

/* Draws, encodes and compares r; what is around it stays as it was. */
static void step(struct view *v, struct rect r, enum picture kind, unsigned n, uint32_t seed)
{
	size_t px = (size_t)v->d.w * v->d.h;
	uint32_t *before = malloc(px * 4);

	assert(before);
	memcpy(before, v->d.px, px * 4);
	picture_draw(&v->s, r, kind, n, seed);
	encode(v, r, &v->out);
	same(v, r);
	for (uint32_t y = 0; y < r.h; y++)
		memcpy(before + (size_t)(r.y + y) * v->d.w + r.x, v->d.px + (size_t)(r.y + y) * v->d.w + r.x, r.w * (size_t)4);
	assert(!memcmp(before, v->d.px, px * 4));
	free(before);
}

/* On one stream: sizes with odd edges in any place, all pictures, levels that change */
static void session(const struct rfb_encoder_ops *ops, const struct rfb_format *f, bool all)
{
	static const unsigned colours[] = {1, 2, 3, 4, 5, 16, 17, 127, 128, 256};
	static const struct rect rects[] = {{0, 0, 130, 70}, {3, 5, 17, 33}, {129, 69, 1, 1}, {0, 0, 1, 70}, {0, 69, 130, 1},
		{64, 0, 64, 64}, {10, 10, 16, 16}, {1, 1, 65, 65}, {7, 3, 2, 2}, {0, 0, 3, 1}};
	struct view v;
	uint32_t seed = 1;

	view_init(&v, ops, f, 130, 70);
	for (unsigned i = 0; i < ARRAY_LEN(rects); i++)
		for (unsigned kind = 0; kind < PICTURES; kind++)
			for (unsigned k = 0; k < ARRAY_LEN(colours); k++) {
				if (((!all || i) && seed++ % (all ? 3 : 13)) || (kind == PICTURE_TEXT && colours[k] > 16))
					continue;
				v.p.level = (int)(seed % 11) - 1;
				step(&v, rects[i], kind, colours[k], seed++);
				if (kind == PICTURE_SOLID || kind >= PICTURE_GRADIENT)
					break;
			}
	view_fini(&v);
}

static void extreme_sizes(const struct rfb_encoder_ops *ops)
{
	static const struct rect sizes[] = {{0, 0, 65535, 1}, {0, 0, 1, 65535}, {0, 0, 2049, 33}, {0, 0, 33, 2049}};

	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		struct view v;

		view_init(&v, ops, &test_formats[i * 5].format, sizes[i].w, sizes[i].h);
		step(&v, sizes[i], PICTURE_RUNS, 20, i);
		step(&v, sizes[i], PICTURE_NOISE, 0, i);
		step(&v, sizes[i], PICTURE_SOLID, 1, i);
		view_fini(&v);
	}
}

/* A copy in the middle goes on exactly as the original would, and from then on apart. */
static void copies(const struct rfb_encoder_ops *ops)
{
	struct rect r = {0, 0, 100, 80};
	struct view a, b;
	struct buf first = {0};

	for (unsigned when = 0; when < 4; when++) {
		view_init(&a, ops, &test_formats[0].format, r.w, r.h);
		view_init(&b, ops, &test_formats[0].format, r.w, r.h);
		for (unsigned i = 0; i < when; i++) {
			step(&a, r, PICTURE_TEXT, 3, i);
			step(&b, r, PICTURE_TEXT, 3, i); /* for the decoder: it sees the same */
		}
		ops->close(b.enc);
		b.enc = ops->copy(a.enc);
		assert(b.enc);
		picture_draw(&a.s, r, PICTURE_MIXED, 3, 77);
		picture_draw(&b.s, r, PICTURE_MIXED, 3, 77);
		encode(&a, r, &first);
		encode(&b, r, &b.out);
		assert(first.len == b.out.len && !memcmp(first.p, b.out.p, first.len));
		step(&a, r, PICTURE_DOTS, 5, 1);
		step(&b, r, PICTURE_RUNS, 9, 2);
		step(&a, r, PICTURE_TEXT, 2, 3);
		if (when & 1) { /* either may go first */
			view_fini(&a);
			step(&b, r, PICTURE_TEXT, 2, 4);
			view_fini(&b);
		} else {
			view_fini(&b);
			step(&a, r, PICTURE_TEXT, 2, 4);
			view_fini(&a);
		}
	}
	buf_fini(&first);
}

/* No memory, at each place in turn: an error, never a short rectangle */
static void limits(const struct rfb_encoder_ops *ops)
{
	struct rect r = {0, 0, 70, 70};
	pixman_region32_t lossy;
	struct view v;
	size_t full;

	view_init(&v, ops, &test_formats[0].format, r.w, r.h);
	picture_draw(&v.s, r, PICTURE_MIXED, 3, 5);
	encode(&v, r, &v.out);
	full = v.out.len;
	pixman_region32_init(&lossy);
	for (size_t max = 1; max < full; max += 1 + max / 8) {
		struct rfb_encoder *enc = ops->open();
		struct buf out = {.max = max};

		assert(enc && ops->encode(enc, &v.p, &v.s, r, &out, &lossy) < 0 && out.len <= max);
		ops->close(enc);
		buf_fini(&out);
	}
	pixman_region32_fini(&lossy);
	view_fini(&v);
}

/* Not too long either: within some bytes of Raw whatever the picture, and text within bounds that were measured */
static void lengths(const struct rfb_encoder_ops *ops, size_t text)
{
	struct rect r = {0, 0, 640, 400};
	struct view v;

	view_init(&v, ops, &rfb_format_native, r.w, r.h);
	step(&v, r, PICTURE_NOISE, 0, 1);
	assert(v.out.len <= (size_t)r.w * r.h * 4 * 101 / 100);
	step(&v, r, PICTURE_TEXT, 2, 1);
	if (v.out.len > text)
		printf("%s: %zu bytes of text\n", ops->name, v.out.len);
	assert(v.out.len <= text);
	view_fini(&v);
}

int main(void)
{
	for (unsigned i = 0; i < ARRAY_LEN(encoders); i++) {
		for (unsigned k = 0; k < test_nformats; k++)
			session(encoders[i], &test_formats[k].format, k == 0);
		extreme_sizes(encoders[i]);
		copies(encoders[i]);
		limits(encoders[i]);
		assert(rfb_encoder_find(encoders[i]->id) == encoders[i]);
		assert(!encoders[i]->restart);
	}
	lengths(&rfb_raw, 640 * 400 * 4 + 12);
	lengths(&rfb_rre, 400000);
	lengths(&rfb_hextile, 88000);
	lengths(&rfb_zlib, 81000);
	lengths(&rfb_zrle, 22500);
	puts("ok");
	return 0;
}
