/* SPDX-License-Identifier: MIT */
/* The comparison against the plainest one: pixel by pixel. Seeded. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>

#include "display/refine.h"
#include "frames.h"

static uint32_t upto(uint32_t n)
{
	return frame_random() % (n + 1);
}

static void region_rect(pixman_region32_t *g, int x, int y, unsigned w, unsigned h)
{
	pixman_region32_init_rect(g, x, y, w, h);
}

static bool in(const pixman_region32_t *g, uint32_t x, uint32_t y)
{
	return pixman_region32_contains_point(g, (int)x, (int)y, NULL);
}

static uint64_t area(const pixman_region32_t *g)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(g, &n);
	uint64_t a = 0;

	for (int i = 0; i < n; i++)
		a += (uint64_t)(b[i].x2 - b[i].x1) * (uint64_t)(b[i].y2 - b[i].y1);
	return a;
}

/* All that differs in where is found, and nothing outside the picture. */
static void check(const struct surface *cur, const struct surface *old, const pixman_region32_t *where, pixman_region32_t *changed)
{
	const pixman_box32_t *e;

	refine_find(cur, old, where, changed);
	for (uint32_t y = 0; y < cur->h; y++)
		for (uint32_t x = 0; x < cur->w; x++)
			if ((*surface_row(cur, x, y) ^ *surface_row(old, x, y)) & 0xffffff && in(where, x, y))
				assert(in(changed, x, y));
	e = pixman_region32_extents(changed);
	assert(e->x1 >= 0 && e->y1 >= 0 && e->x2 <= (int)cur->w && e->y2 <= (int)cur->h);
	assert(pixman_region32_n_rects(changed) <= REFINE_RECTS);
	assert(area(changed) || !pixman_region32_not_empty(changed));
}

static void is_one(const pixman_region32_t *g, int x, int y, int w, int h)
{
	const pixman_box32_t *e = pixman_region32_extents(g);

	assert(pixman_region32_n_rects(g) == 1 && e->x1 == x && e->y1 == y && e->x2 == x + w && e->y2 == y + h);
}

static void test_exact(void)
{
	static const struct rect at[] = {{0, 0, 1, 1}, {15, 15, 1, 1}, {15, 15, 2, 2}, {699, 332, 1, 1}, {695, 320, 5, 13}, {16, 16, 16, 16},
		{100, 100, 200, 3}, {100, 7, 1, 300}, {0, 0, 700, 333}, {688, 0, 12, 1}};
	struct surface cur = frame_new(700, 333), old = frame_new(700, 333);
	pixman_region32_t all, changed;

	frame_seed(3);
	frame_photo(&old, (struct rect){0, 0, 700, 333}, 1);
	memcpy(cur.px, old.px, 333ul * cur.stride);
	region_rect(&all, -5, -5, 5000, 5000);
	pixman_region32_init(&changed);
	check(&cur, &old, &all, &changed);
	assert(!pixman_region32_not_empty(&changed));
	/* the top byte means nothing */
	for (uint32_t i = 0; i < 700 * 333; i++)
		*surface_row(&cur, i % 700, i / 700) |= frame_random() << 24;
	check(&cur, &old, &all, &changed);
	assert(!pixman_region32_not_empty(&changed));
	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		struct rect r = at[i];

		for (uint32_t y = r.y; y < r.y + r.h; y++)
			for (uint32_t x = r.x; x < r.x + r.w; x++)
				*surface_row(&cur, x, y) ^= 1u << (x + y) % 24; /* any bit */
		check(&cur, &old, &all, &changed);
		is_one(&changed, (int)r.x, (int)r.y, (int)r.w, (int)r.h);
		refine_copy(&old, &cur, r);
		for (uint32_t y = r.y; y < r.y + r.h; y++)
			assert(!(*surface_row(&old, r.x, y) >> 24));
		check(&cur, &old, &all, &changed);
		assert(!pixman_region32_not_empty(&changed));
	}
	/* two far apart are two; two near are one */
	*surface_row(&cur, 3, 3) ^= 4;
	*surface_row(&cur, 600, 300) ^= 4;
	check(&cur, &old, &all, &changed);
	assert(pixman_region32_n_rects(&changed) == 2 && area(&changed) == 2);
	*surface_row(&cur, 600, 300) ^= 4;
	*surface_row(&cur, 20, 3) ^= 4;
	check(&cur, &old, &all, &changed);
	is_one(&changed, 3, 3, 18, 1);
	/* nothing is looked at where it is not asked for, but for the tile */
	pixman_region32_fini(&all);
	region_rect(&all, 100, 100, 10, 10);
	check(&cur, &old, &all, &changed);
	assert(!pixman_region32_not_empty(&changed));
	pixman_region32_fini(&all);
	region_rect(&all, 4, 4, 1, 1);
	check(&cur, &old, &all, &changed);
	is_one(&changed, 3, 3, 1, 1);
	pixman_region32_fini(&all);
	region_rect(&all, 700, 0, 5, 5); /* outside */
	check(&cur, &old, &all, &changed);
	assert(!pixman_region32_not_empty(&changed));
	refine_copy(&old, &cur, (struct rect){690, 330, UINT32_MAX, UINT32_MAX});
	refine_copy(&old, &cur, (struct rect){5000, 0, 1, 1});
	pixman_region32_fini(&all);
	pixman_region32_fini(&changed);
	frame_free(&cur);
	frame_free(&old);
}

/* Wider than what is compared at a time: each tile counts, at each end of it. */
static void test_wide(void)
{
	struct surface cur = frame_new(20000, 17), old = frame_new(20000, 17);
	pixman_region32_t all, changed;

	region_rect(&all, 0, 0, 20000, 17);
	pixman_region32_init(&changed);
	for (uint32_t x = 0; x < 20000; x += 16) {
		*surface_row(&cur, x, 16) = 1;
		refine_find(&cur, &old, &all, &changed);
		is_one(&changed, (int)x, 16, 1, 1);
		*surface_row(&cur, x, 16) = 0;
	}
	pixman_region32_fini(&all);
	pixman_region32_fini(&changed);
	frame_free(&cur);
	frame_free(&old);
}

/* Pictures of any size, differing anywhere, asked for anywhere. */
static void test_random(void)
{
	frame_seed(99);
	for (unsigned round = 0; round < 150; round++) {
		uint32_t w = 1 + upto(round % 10 ? 150 : 5000), h = 1 + upto(round % 10 ? 150 : 40);
		struct surface cur = frame_new(w, h), old = frame_new(w, h);
		pixman_region32_t where, changed, g;

		for (uint32_t i = 0, n = upto(round % 3 ? 20 : 3000); i < n; i++)
			*surface_row(&cur, upto(w - 1), upto(h - 1)) ^= 1u << upto(31);
		pixman_region32_init(&where);
		pixman_region32_init(&changed);
		for (uint32_t i = 0, n = upto(4); i <= n; i++)
			pixman_region32_union_rect(&where, &where, (int)upto(w) - 20, (int)upto(h) - 20, upto(w) + 1, upto(h) + 1);
		check(&cur, &old, &where, &changed);
		/* taken over, all of where is equal */
		for (int i = 0; i < pixman_region32_n_rects(&changed); i++) {
			pixman_box32_t b = pixman_region32_rectangles(&changed, NULL)[i];

			refine_copy(&old, &cur, (struct rect){(uint32_t)b.x1, (uint32_t)b.y1, (uint32_t)(b.x2 - b.x1),
				(uint32_t)(b.y2 - b.y1)});
		}
		pixman_region32_init(&g);
		check(&cur, &old, &where, &g);
		assert(!pixman_region32_not_empty(&g));
		pixman_region32_fini(&g);
		pixman_region32_fini(&where);
		pixman_region32_fini(&changed);
		frame_free(&cur);
		frame_free(&old);
	}
}

/* More than fits: coarser, but few. And few stay few. */
static void test_many(void)
{
	struct surface cur = frame_new(2000, 1600), old = frame_new(2000, 1600);
	struct rect r[40];
	pixman_region32_t all, changed, back;
	unsigned n;

	region_rect(&all, 0, 0, 2000, 1600);
	pixman_region32_init(&changed);
	for (uint32_t y = 0; y < 1600; y += 64)
		for (uint32_t x = 0; x < 2000; x += 64)
			*surface_row(&cur, x + y / 64, y + x / 64) = 5;
	check(&cur, &old, &all, &changed);
	assert(pixman_region32_n_rects(&changed) > 8);
	/* as rectangles: all covered, whatever there is room for */
	for (unsigned max = 1; max <= 40; max += 13) {
		n = refine_rects(&changed, r, max);
		assert(n && n <= max);
		pixman_region32_init(&back);
		for (unsigned i = 0; i < n; i++)
			pixman_region32_union_rect(&back, &back, (int)r[i].x, (int)r[i].y, r[i].w, r[i].h);
		pixman_region32_subtract(&back, &changed, &back);
		assert(!pixman_region32_not_empty(&back));
		pixman_region32_fini(&back);
	}
	/* side by side, of different heights: a region has five rectangles for it, we have two */
	memset(cur.px, 0, 1600ul * cur.stride);
	frame_fill(&cur, (struct rect){0, 3, 40, 100}, 9);
	frame_fill(&cur, (struct rect){400, 10, 40, 70}, 9);
	check(&cur, &old, &all, &changed);
	assert(pixman_region32_n_rects(&changed) == 4 && refine_rects(&changed, r, 40) == 2);
	assert(!memcmp(r, (struct rect[2]){{0, 3, 40, 100}, {400, 10, 40, 70}}, sizeof *r * 2));
	/* a page of text: not hundreds */
	frame_page(&cur, (struct rect){0, 0, 1280, 800}, 0);
	check(&cur, &old, &all, &changed);
	assert(refine_rects(&changed, r, 40) < 40);
	pixman_region32_fini(&all);
	pixman_region32_fini(&changed);
	frame_free(&cur);
	frame_free(&old);
}

/* Shapes of an L, a T, a U: what is cut is exact, and few. */
static void test_cut(void)
{
	static const struct {
		struct rect a, b, c;
		unsigned n;
		uint64_t area;
	} shapes[] = {
		{{100, 50, 512, 3}, {100, 50, 6, 360}, {0, 0, 0, 0}, 2, 512 * 3 + 6 * 357}, /* dragged right and down */
		{{100, 407, 512, 3}, {606, 50, 6, 360}, {0, 0, 0, 0}, 2, 512 * 3 + 6 * 357}, /* left and up */
		{{100, 50, 512, 7}, {300, 50, 50, 300}, {0, 0, 0, 0}, 2, 512 * 7 + 50 * 293},
		{{100, 50, 512, 7}, {300, 50, 50, 300}, {5, 336, 600, 34}, 3, 512 * 7 + 50 * 279 + 600 * 34},
	};
	struct surface cur = frame_new(701, 501), old = frame_new(701, 501);
	pixman_region32_t all, changed;
	struct rect r[40];

	region_rect(&all, 0, 0, 701, 501);
	pixman_region32_init(&changed);
	for (unsigned i = 0; i < ARRAY_LEN(shapes); i++) {
		memset(cur.px, 0, 501ul * cur.stride);
		frame_fill(&cur, shapes[i].a, 9);
		frame_fill(&cur, shapes[i].b, 9);
		frame_fill(&cur, shapes[i].c, 9);
		check(&cur, &old, &all, &changed);
		assert(refine_rects(&changed, r, 40) == shapes[i].n && area(&changed) == shapes[i].area);
	}
	pixman_region32_fini(&all);
	pixman_region32_fini(&changed);
	frame_free(&cur);
	frame_free(&old);
}

/* Parts of larger surfaces, at any address: the stride is not the width. */
static void test_parts(void)
{
	struct surface big = frame_new(300, 100), old = frame_new(101, 50);
	struct surface cur = surface_part(&big, (struct rect){199, 50, 101, 50});
	pixman_region32_t all, changed;

	region_rect(&all, 0, 0, 101, 50);
	pixman_region32_init(&changed);
	frame_fill(&big, (struct rect){0, 0, 199, 100}, 7);
	frame_fill(&big, (struct rect){0, 0, 300, 50}, 7);
	check(&cur, &old, &all, &changed);
	assert(!pixman_region32_not_empty(&changed));
	*surface_row(&cur, 100, 49) = 1;
	check(&cur, &old, &all, &changed);
	is_one(&changed, 100, 49, 1, 1);
	pixman_region32_fini(&all);
	pixman_region32_fini(&changed);
	frame_free(&big);
	frame_free(&old);
}

int main(void)
{
	test_exact();
	test_wide();
	test_random();
	test_many();
	test_cut();
	test_parts();
	return 0;
}
