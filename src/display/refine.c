/* SPDX-License-Identifier: MIT */
/*
 * Comparison. What is to be compared is widened to whole tiles, so that no tile is looked at twice; a row of tiles is read pixel row by
 * pixel row, as it lies in memory, with an accumulator of differences per tile: equal pictures, the most frequent case, cost the time
 * to read them. The top byte of a pixel is masked once per tile.
 *
 * Tiles that differ become runs, runs become rectangles, rectangles are joined while that covers few equal pixels more, and
 * at last they are cropped, which is what makes it exact, and cut where that leaves much out: an encoder of smooth pictures must not see the
 * text beside.
 */
#include <assert.h>
#include <stdlib.h>

#include "display/pixels-int.h"
#include "display/rects-int.h"
#include "display/refine.h"

enum {
	LIST = 1024,  /* rectangles of tiles before they are joined */
	CHUNK = 256,  /* tiles in a row at a time */
	WASTE = 4,    /* equal tiles that a join may cover: about what a rectangle more costs in any encoding */
	NEAR = 96,    /* how far in the list to look for one to join with */
	CUTS = 3,     /* how often a rectangle is cut in two */
	CUT_LEAST = 1024, /* equal pixels that a cut leaves out, and a quarter of all */
	CUT_ROWS = 2048,
	CUT_BOXES = 64, /* no cuts where there are more already */
};

struct box {
	uint32_t x0, y0, x1, y1;
};

struct list {
	struct box box[LIST];
	unsigned n;
	uint64_t waste; /* limit of the last join */
};

static uint64_t area(struct box b)
{
	return (uint64_t)(b.x1 - b.x0) * (b.y1 - b.y0);
}

static struct box around(struct box a, struct box b)
{
	return (struct box){(uint32_t)min_u64(a.x0, b.x0), (uint32_t)min_u64(a.y0, b.y0), (uint32_t)max_u64(a.x1, b.x1),
		(uint32_t)max_u64(a.y1, b.y1)};
}

/* Joins what lies near in the list and covers no more than the limit in excess. */
static void list_join(struct list *l)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++) {
		struct box b = l->box[i];
		bool again = true;

		while (again) {
			again = false;
			for (unsigned k = n; k-- > 0 && n - k <= NEAR;) {
				struct box u = around(l->box[k], b);

				if (area(u) > area(b) + area(l->box[k]) + l->waste)
					continue;
				b = u;
				memmove(&l->box[k], &l->box[k + 1], (--n - k) * sizeof b);
				again = true;
				break;
			}
		}
		l->box[n++] = b;
	}
	l->n = n;
}

static void list_coarsen(struct list *l, unsigned max)
{
	while (l->n > max) {
		l->waste = l->waste ? l->waste * 2 : 1;
		list_join(l);
	}
}

/* A run of tiles in row y: under one of the same width above, or by itself. */
static void list_run(struct list *l, uint32_t x0, uint32_t x1, uint32_t y)
{
	for (unsigned k = l->n; k-- > 0 && l->n - k <= NEAR;)
		if (l->box[k].y1 == y && l->box[k].x0 == x0 && l->box[k].x1 == x1) {
			l->box[k].y1 = y + 1;
			return;
		}
	if (l->n == LIST)
		list_coarsen(l, LIST / 2);
	l->box[l->n++] = (struct box){x0, y, x1, y + 1};
}

/* Row of tiles ty, from tile x0 to x1: at most CHUNK. */
static void compare_row(const struct surface *cur, const struct surface *old, uint32_t x0, uint32_t x1, uint32_t ty, struct list *l)
{
	pixels4 diff[CHUNK] = {{0}};
	uint32_t full = (uint32_t)min_u64(x1, cur->w / REFINE_TILE), first = x1;
	uint32_t y1 = (uint32_t)min_u64((ty + 1) * REFINE_TILE, cur->h);

	for (uint32_t y = ty * REFINE_TILE; y < y1; y++) {
		const uint32_t *a = surface_row(cur, x0 * REFINE_TILE, y), *b = surface_row(old, x0 * REFINE_TILE, y);
		pixels4 *d = diff;

		for (uint32_t t = x0; t < full; t++, a += REFINE_TILE, b += REFINE_TILE, d++)
			*d |= pixels16_differ(a, b);
		if (full < x1 && !pixels_same(a, b, cur->w % REFINE_TILE))
			*d = (pixels4){1};
	}
	for (uint32_t t = x0; t < x1; t++) {
		if (!pixels_any(diff[t - x0])) {
			if (first < t)
				list_run(l, first, t, ty);
			first = x1;
		} else if (first == x1) {
			first = t;
		}
	}
	if (first < x1)
		list_run(l, first, x1, ty);
}

/* To the pixels that differ, at the outline. False: none differ any more. */
static bool crop(const struct surface *cur, const struct surface *old, struct box *b)
{
	struct box c = *b;
	uint32_t left, right;

	while (c.y0 < c.y1 && pixels_same(surface_row(cur, c.x0, c.y0), surface_row(old, c.x0, c.y0), c.x1 - c.x0))
		c.y0++;
	while (c.y0 < c.y1 && pixels_same(surface_row(cur, c.x0, c.y1 - 1), surface_row(old, c.x0, c.y1 - 1), c.x1 - c.x0))
		c.y1--;
	left = c.x1;
	right = c.x0;
	for (uint32_t y = c.y0; y < c.y1; y++) {
		left = c.x0 + pixels_same_first(surface_row(cur, c.x0, y), surface_row(old, c.x0, y), left - c.x0);
		right = c.x1 - pixels_same_last(surface_row(cur, right, y), surface_row(old, right, y), c.x1 - right);
	}
	*b = (struct box){left, c.y0, right, c.y1};
	return left < right && c.y0 < c.y1;
}

/*
 * What has the shape of an L or a T, as a window that was dragged leaves, is better cut in two, below a row of pixels. The row where the
 * lower part begins, 0 if it is not worth it.
 */
static uint32_t cut(const struct surface *cur, const struct surface *old, struct box c)
{
	uint16_t left[CUT_ROWS], right[CUT_ROWS]; /* of the rows from this one on; a picture's side is less than 2^16 */
	uint32_t w = c.x1 - c.x0, h = c.y1 - c.y0, best = 0;
	uint32_t x0 = w, x1 = 0; /* of the rows down to this one */
	uint64_t least = area(c) - max_u64(CUT_LEAST, area(c) / 4);

	if (h > CUT_ROWS || w > UINT16_MAX || area(c) < 2 * CUT_LEAST)
		return 0;
	for (uint32_t y = h; y--;) {
		const uint32_t *p = surface_row(cur, c.x0, c.y0 + y), *q = surface_row(old, c.x0, c.y0 + y);
		uint32_t l = pixels_same_first(p, q, w), r = l < w ? w - pixels_same_last(p, q, w) : 0;

		left[y] = (uint16_t)(y + 1 < h ? min_u64(l, left[y + 1]) : l);
		right[y] = (uint16_t)(y + 1 < h ? max_u64(r, right[y + 1]) : r);
	}
	for (uint32_t y = 0; y + 1 < h; y++) {
		const uint32_t *p = surface_row(cur, c.x0, c.y0 + y), *q = surface_row(old, c.x0, c.y0 + y);
		uint64_t both;

		x0 = pixels_same_first(p, q, x0);
		x1 = w - pixels_same_last(p + x1, q + x1, w - x1);
		if (x0 >= x1 || left[y + 1] >= right[y + 1])
			continue;
		both = (uint64_t)(x1 - x0) * (y + 1) + (uint64_t)(right[y + 1] - left[y + 1]) * (h - y - 1);
		if (both <= least) {
			least = both;
			best = c.y0 + y + 1;
		}
	}
	return best;
}

/* One box as one or more, at most max, into out; how many. */
static unsigned box_put(const struct surface *cur, const struct surface *old, struct box c, pixman_box32_t *out, unsigned max,
	unsigned cuts)
{
	uint32_t y;

	if (!crop(cur, old, &c))
		return 0;
	y = cuts && max >= 2 ? cut(cur, old, c) : 0;
	if (y) {
		unsigned n = box_put(cur, old, (struct box){c.x0, c.y0, c.x1, y}, out, max - 1, cuts - 1);

		return n + box_put(cur, old, (struct box){c.x0, y, c.x1, c.y1}, out + n, max - n, cuts - 1);
	}
	*out = (pixman_box32_t){(int32_t)c.x0, (int32_t)c.y0, (int32_t)c.x1, (int32_t)c.y1};
	return 1;
}

/* The tiles that where touches, in tiles. */
static void to_tiles(const struct surface *s, const pixman_region32_t *where, pixman_region32_t *tiles)
{
	int n;
	/* pixman's functions that only read take no const */
	pixman_region32_t w = *where;
	const pixman_box32_t *b = pixman_region32_rectangles(&w, &n);

	pixman_region32_init(tiles);
	for (int i = 0; i < n; i++) {
		int x1 = b[i].x1 > 0 ? b[i].x1 : 0, y1 = b[i].y1 > 0 ? b[i].y1 : 0;
		int x2 = b[i].x2 < (int64_t)s->w ? b[i].x2 : (int)s->w, y2 = b[i].y2 < (int64_t)s->h ? b[i].y2 : (int)s->h;

		if (x1 >= x2 || y1 >= y2)
			continue;
		x1 /= REFINE_TILE;
		y1 /= REFINE_TILE;
		x2 = (x2 + REFINE_TILE - 1) / REFINE_TILE;
		y2 = (y2 + REFINE_TILE - 1) / REFINE_TILE;
		pixman_region32_union_rect(tiles, tiles, x1, y1, (unsigned)(x2 - x1), (unsigned)(y2 - y1));
	}
}

void refine_find(const struct surface *cur, const struct surface *old, const pixman_region32_t *where, pixman_region32_t *changed)
{
	struct list l = {.n = 0};
	pixman_box32_t out[REFINE_RECTS];
	pixman_region32_t tiles;
	const pixman_box32_t *b;
	unsigned n;
	int nboxes;

	assert(cur->w == old->w && cur->h == old->h);
	to_tiles(cur, where, &tiles);
	b = pixman_region32_rectangles(&tiles, &nboxes);
	for (int i = 0; i < nboxes; i++)
		for (int32_t y = b[i].y1; y < b[i].y2; y++)
			for (int32_t x = b[i].x1; x < b[i].x2; x += CHUNK)
				compare_row(cur, old, (uint32_t)x, (uint32_t)min_u64((uint32_t)b[i].x2, (uint32_t)x + CHUNK), (uint32_t)y,
					&l);
	pixman_region32_fini(&tiles);
	l.waste = WASTE;
	list_join(&l);
	/* What differs in height side by side costs a region several rectangles: if too many, again with fewer. */
	for (unsigned max = REFINE_RECTS;; max /= 2) {
		list_coarsen(&l, max);
		n = 0;
		for (unsigned i = 0; i < l.n; i++) {
			struct box t = l.box[i];

			n += box_put(cur, old, (struct box){t.x0 * REFINE_TILE, t.y0 * REFINE_TILE,
				(uint32_t)min_u64(t.x1 * REFINE_TILE, cur->w), (uint32_t)min_u64(t.y1 * REFINE_TILE, cur->h)},
				&out[n], REFINE_RECTS - n - (l.n - i - 1), max == REFINE_RECTS && l.n <= CUT_BOXES ? CUTS : 0);
		}
		pixman_region32_fini(changed);
		pixman_region32_init_rects(changed, out, (int)n);
		if (pixman_region32_n_rects(changed) <= REFINE_RECTS)
			return;
	}
}

unsigned refine_rects(const pixman_region32_t *region, struct rect *out, unsigned max)
{
	pixman_region32_t r = *region;
	int nboxes;
	const pixman_box32_t *b = pixman_region32_rectangles(&r, &nboxes);
	unsigned n = 0;

	for (int i = 0; i < nboxes; i++)
		n = rects_add(out, n, max, (struct rect){(uint32_t)b[i].x1, (uint32_t)b[i].y1, (uint32_t)(b[i].x2 - b[i].x1),
			(uint32_t)(b[i].y2 - b[i].y1)});
	return n;
}

void refine_copy(struct surface *old, const struct surface *cur, struct rect r)
{
	r = rect_clip(r, old->w, old->h);
	for (uint32_t y = r.y; y < r.y + r.h; y++) {
		const uint32_t *from = surface_row(cur, r.x, y);
		uint32_t *to = surface_row(old, r.x, y);

		for (uint32_t x = 0; x < r.w; x++)
			to[x] = from[x] & PIXEL_MASK;
	}
}
