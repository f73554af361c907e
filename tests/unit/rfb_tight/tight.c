/* SPDX-License-Identifier: MIT */
/* Tight: what is encoded is decoded by tests/rfb, and compared. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../rfb/decode.h"
#include "pictures.h"
#include "rfb/encode.h"

enum { FILL = 8, JPEG = 9, PNG = 10, HEADER = 12, KINDS = 16 };

struct session {
	struct rfb_encoder *enc;
	struct rfb_decoder dec;
	struct rfb_params p;
	struct buf out;
	pixman_region32_t lossy;
	/* of the last update */
	int rects;
	unsigned kind[KINDS];     /* by the upper half of control bytes */
	unsigned reset[4], filter[3], colours_max;
};

static struct surface surface_new(uint32_t w, uint32_t h)
{
	struct surface s = {w, h, w * 4 + 12, NULL};

	s.px = malloc((size_t)s.stride * h);
	assert(s.px);
	return s;
}

static void session_start(struct session *t, uint32_t w, uint32_t h, const struct rfb_params *p)
{
	*t = (struct session){.enc = rfb_tight.open(), .p = *p};
	assert(t->enc && !rfb_decoder_init(&t->dec, w, h));
	t->dec.format = p->format;
	t->dec.tight_png = p->tight == RFB_TIGHT_PNG;
	pixman_region32_init(&t->lossy);
}

static void session_end(struct session *t)
{
	rfb_tight.close(t->enc);
	rfb_decoder_fini(&t->dec);
	buf_fini(&t->out);
	pixman_region32_fini(&t->lossy);
}

static void count(struct session *t, const uint8_t *p, pixman_region32_t *jpeg)
{
	struct rect r = t->dec.rect;
	unsigned control = p[HEADER];
	pixman_region32_t part;

	t->kind[control >> 4]++;
	for (unsigned i = 0; i < 4; i++)
		t->reset[i] += control >> i & 1;
	pixman_region32_init_rect(&part, (int)r.x, (int)r.y, r.w, r.h);
	if (control >> 4 == JPEG)
		pixman_region32_union(jpeg, jpeg, &part);
	else
		pixman_region32_subtract(jpeg, jpeg, &part);
	pixman_region32_fini(&part);
	if (control & 0x80)
		return;
	t->filter[control & 0x40 ? p[HEADER + 1] : 0]++;
	if (control & 0x40 && p[HEADER + 1] == 1 && p[HEADER + 2] + 1u > t->colours_max)
		t->colours_max = p[HEADER + 2] + 1u;
}

static uint64_t region_area(pixman_region32_t *region)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(region, &n);
	uint64_t area = 0;

	for (int i = 0; i < n; i++)
		area += (uint64_t)(b[i].x2 - b[i].x1) * (uint64_t)(b[i].y2 - b[i].y1);
	return area;
}

/*
 * Decodes what is in out; r is covered exactly once, but for what is in a JPEG and sent again. lossy is what a JPEG was the
 * last of.
 */
static void session_decode(struct session *t, struct rect r)
{
	pixman_region32_t jpeg;
	uint64_t area = 0;
	size_t at = 0;

	for (uint32_t y = r.y; y < r.y + r.h; y++) /* nothing may be right by chance */
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			t->dec.px[(size_t)y * t->dec.w + x] = 0xdeadbeef;
	for (unsigned i = 0; i < KINDS; i++)
		t->kind[i] = 0;
	for (unsigned i = 0; i < 4; i++)
		t->reset[i] = t->filter[i % 3] = 0;
	t->colours_max = 0;
	pixman_region32_init(&jpeg);
	for (int i = 0; i < t->rects; i++) {
		ssize_t n = rfb_decode_rect(&t->dec, t->out.p + at, t->out.len - at);
		struct rect d = t->dec.rect;

		if (n <= 0)
			printf("%zd: %s\n", n, t->dec.why);
		assert(n > 0 && t->dec.encoding == t->p.tight);
		assert(d.x >= r.x && d.y >= r.y && d.x + d.w <= r.x + r.w && d.y + d.h <= r.y + r.h);
		count(t, t->out.p + at, &jpeg);
		if (t->out.p[at + HEADER] >> 4 != JPEG)
			area += (uint64_t)d.w * d.h;
		at += (size_t)n;
	}
	assert(pixman_region32_equal(&jpeg, &t->lossy));
	assert(at == t->out.len && area + region_area(&t->lossy) == (uint64_t)r.w * r.h);
	pixman_region32_fini(&jpeg);
}

static void session_encode(struct session *t, const struct surface *s, struct rect r)
{
	buf_clear(&t->out);
	pixman_region32_clear(&t->lossy);
	t->rects = rfb_tight.encode(t->enc, &t->p, s, r, &t->out, &t->lossy);
	assert(t->rects > 0);
}

static void session_update(struct session *t, const struct surface *s, struct rect r)
{
	session_encode(t, s, r);
	session_decode(t, r);
}

/* The viewer has r of s; but where it may differ, by how much (mean square of 8-bit channels)? */
static double compare(struct session *t, const struct surface *s, struct rect r)
{
	double sum = 0;
	uint64_t n = 0;

	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++) {
			uint32_t got = t->dec.px[(size_t)y * t->dec.w + x], px = *surface_row(s, x, y), seen;

			if (!pixman_region32_contains_point(&t->lossy, (int)x, (int)y, NULL)) {
				assert(got == rfb_pixel(&t->p.format, px));
				continue;
			}
			seen = rfb_decode_xrgb(&t->p.format, got);
			for (unsigned shift = 0; shift < 24; shift += 8) {
				double d = (double)(seen >> shift & 255) - (double)(px >> shift & 255);

				sum += d * d;
			}
			n += 3;
		}
	return n ? sum / (double)n : 0;
}

static const struct rfb_params lossless = {.format = {32, 24, false, true, 255, 255, 255, 16, 8, 0}, .level = -1, .quality = -1,
	.tight = RFB_TIGHT};

/* All pictures, sizes and formats, with and without PNG; each session goes through several pictures. */
static void everything(bool png)
{
	static const uint32_t size[][2] = {
		{1, 1}, {1, 97}, {2, 2}, {3, 3}, {4, 3}, {8, 12}, {97, 1}, {7, 5}, {16, 16}, {40, 33}, {200, 130}, {2100, 20},
	};

	for (unsigned f = 0; f < PIC_FORMATS; f++)
		for (unsigned i = 0; i < ARRAY_LEN(size); i++) {
			uint32_t w = size[i][0] + f % 3 * 9, h = size[i][1] + f % 2 * 5;
			struct rfb_params p = lossless;
			struct surface s = surface_new(w, h);
			struct session t;

			p.format = pic_format[f];
			p.png = png;
			p.tight = png ? RFB_TIGHT_PNG : RFB_TIGHT;
			session_start(&t, w, h, &p);
			for (enum picture k = 0; k < PICTURES; k++) {
				struct rect r = {pic_random() % (w - size[i][0] + 1), pic_random() % (h - size[i][1] + 1), size[i][0], size[i][1]};

				pic_seed(f * 100 + i * 10 + k);
				pic_paint(&s, k);
				t.p.level = (int)(pic_random() % 11) - 1;
				t.p.gradient = pic_random() % 2;
				session_update(&t, &s, r);
				compare(&t, &s, r);
				if (png)
					assert(t.kind[FILL] + t.kind[PNG] == (unsigned)t.rects);
				if (k == SOLID && size[i][0] <= 2048)
					assert(t.rects == 1 && t.kind[FILL] == 1 && t.out.len <= 32);
			}
			session_end(&t);
			free(s.px);
		}
}

/* As large as a rectangle can be, in both directions */
static void strips(void)
{
	for (unsigned i = 0; i < 4; i++) {
		uint32_t w = i % 2 ? 65535 : 2, h = i % 2 ? 2 : 65535;
		struct surface s = surface_new(w, h);
		struct session t;

		session_start(&t, w, h, &lossless);
		pic_paint(&s, i < 2 ? COLOURS_3 : NOISE);
		session_update(&t, &s, (struct rect){0, 0, w, h});
		compare(&t, &s, (struct rect){0, 0, w, h});
		session_end(&t);
		free(s.px);
	}
}

/* The right tool for each kind of picture */
static void choice(void)
{
	struct rect r = {0, 0, 320, 200};
	struct surface s = surface_new(r.w, r.h);
	struct session t;
	size_t plain;

	session_start(&t, r.w, r.h, &lossless);
	pic_seed(5);
	pic_paint(&s, SOLID);
	session_update(&t, &s, r);
	assert(t.kind[FILL] == 1 && t.out.len == HEADER + 1 + 3);
	pic_paint(&s, TEXT);
	session_update(&t, &s, r);
	assert(t.rects == 1 && t.filter[1] == 1 && t.colours_max == 2 && t.out.len < 4000);
	/* the same again repeats what was sent, even if it begins with ink this time */
	plain = t.out.len;
	*surface_row(&s, 0, 0) ^= 0xaaaaaa;
	session_update(&t, &s, r);
	assert(t.out.len < plain / 8);
	pic_paint(&s, COLOURS_2);
	session_update(&t, &s, r);
	assert(t.colours_max == 2 && t.out.len < r.w * r.h / 8 * 11 / 10);
	pic_paint(&s, COLOURS_255);
	session_update(&t, &s, r);
	assert(t.rects == 1 && t.colours_max == 255 && t.out.len < r.w * r.h * 11 / 10);
	pic_paint(&s, COLOURS_256);
	session_update(&t, &s, r);
	assert(t.rects == 1 && t.colours_max == 256 && t.out.len < r.w * r.h * 11 / 10);
	pic_paint(&s, COLOURS_257);
	session_update(&t, &s, r);
	assert(t.filter[0] > 0 && t.out.len < r.w * r.h * 3);
	pic_paint(&s, TEXT_SOFT);
	session_update(&t, &s, r);
	assert(t.rects == 1 && t.filter[1] == 1 && t.colours_max > 2 && t.out.len < 11000);
	pic_paint(&s, STRIPES);
	session_update(&t, &s, r);
	assert(t.rects < 10 && t.out.len < 500);
	/* what is large and of one colour is filled, though its colour would do as the paper of what is below */
	pic_paint(&s, TEXT);
	for (uint32_t y = 0; y < r.h / 2; y++)
		memset(surface_row(&s, 0, y), 0, r.w * 4);
	session_update(&t, &s, r);
	assert(t.kind[FILL] == 1 && t.rects == 2);
	/* the gradient filter: only if it may be, and pays */
	pic_paint(&s, PHOTO);
	session_update(&t, &s, r);
	assert(!t.filter[2]);
	plain = t.out.len;
	t.p.gradient = true;
	session_update(&t, &s, r);
	compare(&t, &s, r);
	assert(t.filter[2] > 0 && t.out.len < plain);
	pic_paint(&s, NOISE);
	session_update(&t, &s, r);
	assert(!t.filter[2]);
	compare(&t, &s, r);
	session_end(&t);
	free(s.px);
}

static double decibels(double mse)
{
	return 10 * log10(255.0 * 255.0 / (mse + 1e-9));
}

/* With loss: photographs are JPEG, and good enough; nothing else is. */
static void loss(void)
{
	struct rect all = {0, 0, 480, 320}, w = DESKTOP_WINDOW;
	struct surface s = surface_new(all.w, all.h);
	double before = 0;
	size_t len = 0;

	for (int q = 0; q <= 9; q++) {
		struct rfb_params p = lossless;
		struct session t;
		double db;
		uint64_t n = 0;

		p.quality = q;
		session_start(&t, all.w, all.h, &p);
		pic_seed(1);
		pic_paint(&s, PHOTO);
		session_update(&t, &s, all);
		db = decibels(compare(&t, &s, all));
		assert(t.kind[JPEG] == (unsigned)t.rects && db > (q < 3 ? 26 : q < 6 ? 28 : q < 8 ? 30 : 34));
		assert(db > before && t.out.len > len);
		before = db;
		len = t.out.len;
		for (enum picture k = 0; k <= GRADIENT_V; k++) {
			if (k >= COLOURS_16 && k <= COLOURS_257) /* noise: might be a photograph as well */
				continue;
			pic_paint(&s, k);
			session_update(&t, &s, all);
			compare(&t, &s, all);
			assert(!t.kind[JPEG]);
		}
		pic_paint(&s, DESKTOP);
		session_update(&t, &s, all);
		assert(decibels(compare(&t, &s, all)) > (q < 3 ? 26 : q < 6 ? 28 : q < 8 ? 30 : 34));
		for (uint32_t y = 0; y < all.h; y++)
			for (uint32_t x = 0; x < all.w; x++) {
				bool lost = pixman_region32_contains_point(&t.lossy, (int)x, (int)y, NULL);
				bool window = x >= w.x && y >= w.y && x < w.x + w.w && y < w.y + w.h;

				assert(!lost || !window);
				n += lost;
			}
		assert(n > ((uint64_t)all.w * all.h - (uint64_t)w.w * w.h) * 8 / 10);
		/* ... and one update without loss in between */
		t.p.quality = -1;
		session_update(&t, &s, all);
		compare(&t, &s, all);
		assert(!t.kind[JPEG]);
		session_end(&t);
	}
	for (unsigned f = 0; f < PIC_FORMATS; f++) { /* other formats */
		struct rfb_params p = lossless;
		struct session t;

		p.quality = 8;
		p.format = pic_format[f];
		session_start(&t, all.w, all.h, &p);
		pic_paint(&s, DESKTOP);
		session_update(&t, &s, all);
		compare(&t, &s, all);
		assert(!t.kind[JPEG] == (p.format.bpp == 8));
		session_end(&t);
	}
	free(s.px);
}

/* Letters right on a photograph: exact (but for a dot here and there), though it goes on around them, in the same JPEG */
static void labels(void)
{
	struct rect all = {0, 0, 480, 320};
	struct surface s = surface_new(all.w, all.h);
	struct rfb_params p = lossless;
	struct session t;
	unsigned ink = 0, lost = 0;

	p.quality = 6;
	session_start(&t, all.w, all.h, &p);
	pic_seed(3);
	pic_paint(&s, LABELS);
	session_update(&t, &s, all);
	compare(&t, &s, all);
	for (uint32_t y = 0; y < all.h; y++)
		for (uint32_t x = 0; x < all.w; x++) {
			if ((*surface_row(&s, x, y) & 0xffffff) != 0xff00ff)
				continue;
			ink++;
			lost += pixman_region32_contains_point(&t.lossy, (int)x, (int)y, NULL);
		}
	assert(ink > 2000 && lost * 200 < ink && t.kind[JPEG] > 0 && t.kind[JPEG] < 30);
	assert(region_area(&t.lossy) > (uint64_t)all.w * all.h * 7 / 10);
	session_end(&t);
	free(s.px);
}

/* A thin piece of a photograph, as it is left over when a window moves, is worth JPEG, too; a tiny one is not. */
static void thin(void)
{
	struct surface s = surface_new(640, 360);
	struct rfb_params p = lossless;
	struct session t;

	p.quality = 8;
	session_start(&t, s.w, s.h, &p);
	pic_paint(&s, PHOTO);
	session_update(&t, &s, (struct rect){37, 5, 6, 350});
	assert(t.kind[JPEG] == 1 && t.rects == 1 && t.out.len < 6 * 350);
	session_update(&t, &s, (struct rect){11, 21, 600, 3});
	assert(t.kind[JPEG] == 1 && t.rects == 1 && t.out.len < 2200);
	session_update(&t, &s, (struct rect){11, 21, 8, 8});
	assert(!t.kind[JPEG]);
	session_end(&t);
	free(s.px);
}

/* One after the other, what each of the streams is used for */
static const enum picture streams[] = {PHOTO, TEXT, TEXT_SOFT, NOISE};

/* Starting again: each stream says so once, when it is used next; a viewer that comes then can follow, and so does the old one. */
static void restart(void)
{
	struct rect all = {0, 0, 320, 200}, part = {3, 3, 2, 1};
	struct surface s = surface_new(all.w, all.h);
	struct rfb_params p = lossless;
	struct rfb_decoder late;
	struct session t;

	p.gradient = true;
	session_start(&t, all.w, all.h, &p);
	for (unsigned i = 0; i < ARRAY_LEN(streams); i++) {
		pic_paint(&s, streams[i]);
		session_update(&t, &s, all);
		for (unsigned k = 0; k < 4; k++)
			assert(!t.reset[k]);
	}
	rfb_tight.restart(t.enc);
	assert(!rfb_decoder_init(&late, all.w, all.h));
	for (unsigned round = 0; round < 2; round++) {
		unsigned n[4] = {0};

		for (unsigned i = 0; i < ARRAY_LEN(streams) + 2; i++) {
			struct rect r = i < 2 ? part : all; /* so few bytes that they are not compressed reset a stream all the same */

			pic_paint(&s, i < 2 ? (i ? COLOURS_2 : NOISE) : streams[i - 2]);
			session_update(&t, &s, r);
			compare(&t, &s, r);
			for (size_t at = 0; at < t.out.len;) {
				ssize_t used = rfb_decode_rect(&late, t.out.p + at, t.out.len - at);

				assert(used > 0);
				at += (size_t)used;
			}
			for (unsigned k = 0; k < 4; k++)
				n[k] += t.reset[k];
		}
		for (unsigned k = 0; k < 4; k++)
			assert(n[k] == !round);
	}
	assert(!memcmp(late.px, t.dec.px, (size_t)all.w * all.h * 4));
	rfb_decoder_fini(&late);
	session_end(&t);
	free(s.px);
}

/* A copy goes on as its origin would have, and neither disturbs the other. */
static void copy(void)
{
	struct rect all = {0, 0, 320, 200};
	struct surface s = surface_new(all.w, all.h);
	struct rfb_encoder *first, *second, *fresh;
	struct rfb_params p = lossless;
	struct session t;

	p.gradient = true;
	for (unsigned restarted = 0; restarted < 2; restarted++) {
		struct buf out = {0};
		size_t len;

		session_start(&t, all.w, all.h, &p);
		fresh = rfb_tight.copy(t.enc);
		for (unsigned i = 0; i < ARRAY_LEN(streams) - restarted; i++) { /* one may not be open yet */
			pic_seed(i);
			pic_paint(&s, streams[i]);
			session_update(&t, &s, all);
		}
		if (restarted)
			rfb_tight.restart(t.enc);
		second = rfb_tight.copy(t.enc);
		assert(fresh && second);
		for (unsigned i = 0; i < ARRAY_LEN(streams); i++) {
			pic_seed(i);
			pic_paint(&s, streams[i]);
			session_update(&t, &s, all);
			compare(&t, &s, all);
			len = out.len;
			assert(rfb_tight.encode(second, &p, &s, all, &out, &t.lossy) == t.rects);
			assert(out.len - len == t.out.len && !memcmp(out.p + len, t.out.p, t.out.len));
			if (i == 1) { /* what was seen before is shorter, but for one who has not */
				out.len = len = 0;
				assert(rfb_tight.encode(fresh, &p, &s, all, &out, &t.lossy) > 0);
				assert(restarted ? out.len >= t.out.len : out.len > t.out.len);
			}
		}
		first = t.enc;
		t.enc = second;
		rfb_tight.close(first);
		pic_paint(&s, TEXT);
		session_update(&t, &s, all);
		compare(&t, &s, all);
		rfb_tight.close(fresh);
		buf_fini(&out);
		session_end(&t);
	}
	rfb_tight.close(NULL);
	free(s.px);
}

/* Wherever the room ends: an error, no more bytes than allowed. */
static void limits(void)
{
	struct rect all = {0, 0, 480, 320};
	struct surface s = surface_new(all.w, all.h);
	pixman_region32_t lossy;

	pic_paint(&s, DESKTOP);
	pixman_region32_init(&lossy);
	for (unsigned k = 0; k < 3; k++)
		for (size_t max = 1; max < 100000; max = max * 3 / 2 + 1) {
			struct rfb_params p = lossless;
			struct rfb_encoder *enc = rfb_tight.open();
			struct buf out = {.max = max};

			p.quality = k == 1 ? 6 : -1;
			p.png = k == 2;
			assert(rfb_tight.encode(enc, &p, &s, all, &out, &lossy) == -ENOMEM || k == 1);
			assert(out.len <= max);
			buf_fini(&out);
			rfb_tight.close(enc);
		}
	pixman_region32_fini(&lossy);
	free(s.px);
}

/* What a screen's text costs; loose, so that only mistakes show. */
static void sizes(void)
{
	struct rect all = {0, 0, 1280, 800};
	struct surface s = surface_new(all.w, all.h);
	struct rfb_params p = lossless;
	struct session t;

	p.quality = 6;
	session_start(&t, all.w, all.h, &p);
	pic_seed(9);
	pic_paint(&s, TEXT_COLOURS);
	session_update(&t, &s, all);
	assert(!t.kind[JPEG] && t.out.len < 85000);
	pic_paint(&s, PHOTO);
	session_update(&t, &s, all);
	assert(t.out.len < 160000 && t.rects < 6);
	session_end(&t);
	free(s.px);
}

static void table(void)
{
	assert(rfb_encoder_find(RFB_RAW) == &rfb_raw && rfb_encoder_find(RFB_RRE) == &rfb_rre);
	assert(rfb_encoder_find(RFB_HEXTILE) == &rfb_hextile && rfb_encoder_find(RFB_ZLIB) == &rfb_zlib);
	assert(rfb_encoder_find(RFB_ZRLE) == &rfb_zrle && rfb_encoder_find(RFB_TIGHT) == &rfb_tight);
	assert(rfb_encoder_find(RFB_TIGHT_PNG) == &rfb_tight);
	assert(!rfb_encoder_find(RFB_COPYRECT) && !rfb_encoder_find(RFB_CURSOR) && !rfb_encoder_find(-1));
}

int main(void)
{
	table();
	everything(false);
	everything(true);
	strips();
	choice();
	loss();
	labels();
	thin();
	restart();
	copy();
	limits();
	sizes();
	return 0;
}
