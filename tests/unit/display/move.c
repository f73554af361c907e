/* SPDX-License-Identifier: MIT */
/*
 * Moves in pictures as guests make them. Of each answer: it lies inside, the moves made one after the other give what is shown,
 * pixel by pixel; and of those that must be found, little remains.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "display/refine.h"
#include "frames.h"

enum { W = 1280, H = 800 };
static struct mover *m;
static struct surface cur, old;
static struct move last[REFINE_MOVES];

static uint64_t area(const pixman_region32_t *g)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(g, &n);
	uint64_t a = 0;

	for (int i = 0; i < n; i++)
		a += (uint64_t)(b[i].x2 - b[i].x1) * (uint64_t)(b[i].y2 - b[i].y1);
	return a;
}

/* Is what a shows in r what b shows at x, y? */
static bool same(const struct surface *a, struct rect r, const struct surface *b, uint32_t x, uint32_t y)
{
	for (uint32_t i = 0; i < r.h; i++)
		if (memcmp(surface_row(a, r.x, r.y + i), surface_row(b, x, y + i), 4ul * r.w) != 0)
			return false;
	return true;
}

static bool touch(struct rect a, struct rect b)
{
	return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

/* One frame: finds, checks, and makes old what cur is. The number of moves; rest: pixels still to be sent. */
static unsigned step(uint64_t *rest)
{
	pixman_region32_t all, changed;
	struct surface was = frame_new(old.w, old.h), want = frame_new(old.w, old.h);
	unsigned n;

	frame_put(&was, &old, 0, 0);
	refine_copy(&want, &cur, (struct rect){0, 0, cur.w, cur.h});
	pixman_region32_init_rect(&all, 0, 0, cur.w, cur.h);
	pixman_region32_init(&changed);
	refine_find(&cur, &old, &all, &changed);
	n = mover_find(m, &cur, &old, &changed, last, REFINE_MOVES);
	assert(n <= REFINE_MOVES);
	for (unsigned i = 0; i < n; i++) {
		const struct move *v = &last[i];
		struct rect c = rect_clip(v->dst, cur.w, cur.h), src = v->dst;
		int64_t x = (int64_t)v->dst.x - v->dx, y = (int64_t)v->dst.y - v->dy;

		assert(!memcmp(&c, &v->dst, sizeof c) && !rect_empty(c) && (v->dx || v->dy));
		assert(x >= 0 && y >= 0 && x + c.w <= old.w && y + c.h <= old.h);
		src.x = (uint32_t)x;
		src.y = (uint32_t)y;
		for (unsigned k = 0; k < i; k++)
			assert(!touch(src, last[k].dst));
		assert(same(&want, c, &was, src.x, src.y));
		move_apply(&old, v);
		assert(same(&want, c, &old, c.x, c.y));
	}
	refine_find(&cur, &old, &all, &changed);
	*rest = area(&changed);
	frame_put(&old, &want, 0, 0);
	pixman_region32_fini(&all);
	pixman_region32_fini(&changed);
	frame_free(&was);
	frame_free(&want);
	return n;
}

static void begin(uint32_t seed)
{
	frame_seed(seed);
	frame_text_begin();
	m = mover_new();
	assert(m);
	cur = frame_new(W, H);
	old = frame_new(W, H);
}

static void end(void)
{
	mover_free(m);
	frame_free(&cur);
	frame_free(&old);
}

/* A console: text by text, as much as is new below remains. */
static void test_scroll(void)
{
	static const int by[] = {-48, -1, -7, 33, 1, -160, 400};
	unsigned found = 0;
	uint64_t rest;

	begin(12345);
	frame_page(&cur, (struct rect){0, 0, W, H}, 0);
	step(&rest);
	for (unsigned i = 0; i < 30; i++) {
		frame_scroll(&cur, (struct rect){0, 0, W, H}, 0, -16);
		frame_text(&cur, 0, H - 16, W / 8, 0);
		found += step(&rest) && rest <= W * 20;
	}
	assert(found >= 29);
	for (unsigned i = 0; i < ARRAY_LEN(by); i++) {
		frame_scroll(&cur, (struct rect){0, 0, W, H}, 0, by[i]);
		assert(step(&rest) && last[0].dy == by[i] && !last[0].dx && rest <= W * 20);
	}
	/* the top bytes mean nothing */
	frame_page(&cur, (struct rect){0, 0, W, H}, 0);
	step(&rest);
	frame_scroll(&cur, (struct rect){0, 0, W, H}, 0, -16);
	for (uint32_t y = 0; y < H; y++)
		for (uint32_t x = 0; x < W; x++)
			*surface_row(&cur, x, y) |= (x * y) << 24;
	assert(step(&rest) && last[0].dy == -16);
	end();
}

/* A part of the picture, sideways and aslant, too; a pointer that stays within. */
static void test_parts(void)
{
	static const struct {
		int dx, dy;
	} by[] = {{0, -16}, {0, 3}, {-8, 0}, {5, 0}, {-40, -16}, {31, 17}, {0, 1}, {1, 0}};
	struct rect part = {301, 103, 648, 480};
	uint64_t rest;

	begin(7);
	frame_photo(&cur, (struct rect){0, 0, W, H}, 0);
	frame_fill(&cur, part, 0xffffff);
	for (unsigned i = 0; i < ARRAY_LEN(by); i++) {
		frame_page(&cur, part, 0xffffff);
		step(&rest);
		frame_scroll(&cur, part, by[i].dx, by[i].dy);
		assert(step(&rest) && last[0].dx == by[i].dx && last[0].dy == by[i].dy && rest < 30000);
		assert(last[0].dst.x >= part.x - 40 && last[0].dst.x + last[0].dst.w <= part.x + part.w + 40);
	}
	/* the pointer: all around it, in several moves */
	frame_page(&cur, part, 0xffffff);
	frame_fill(&cur, (struct rect){600, 300, 12, 19}, 0x123456);
	step(&rest);
	frame_scroll(&cur, part, 0, -16);
	frame_fill(&cur, (struct rect){600, 284, 12, 19}, 0xffffff);
	frame_fill(&cur, (struct rect){600, 300, 12, 19}, 0x123456);
	assert(step(&rest) >= 2 && rest < 40000);
	end();
}

static void test_drag(void)
{
	static const struct {
		int x, y;
	} by[] = {{6, 3}, {6, 3}, {-6, -3}, {0, 1}, {1, 0}, {-50, 20}, {300, 170}, {-400, 17}, {7, -200}};
	struct surface wall, win, win2;
	int x = 420, y = 220;
	uint64_t rest;

	begin(3);
	wall = frame_new(W, H);
	win = frame_new(512, 360);
	win2 = frame_new(300, 200);
	frame_photo(&wall, (struct rect){0, 0, W, H}, 0);
	frame_window(&win);
	frame_page(&win2, (struct rect){0, 0, 300, 200}, 0x203040);
	frame_put(&cur, &wall, 0, 0);
	frame_put(&cur, &win, 420, 220);
	step(&rest);
	for (unsigned i = 0; i < ARRAY_LEN(by); i++) {
		int dx = by[i].x < 0 ? -by[i].x : by[i].x, dy = by[i].y < 0 ? -by[i].y : by[i].y;

		x += by[i].x;
		y += by[i].y;
		frame_put(&cur, &wall, 0, 0);
		frame_put(&cur, &win, (uint32_t)x, (uint32_t)y);
		assert(step(&rest) && last[0].dx == by[i].x && last[0].dy == by[i].y);
		/* the wallpaper that was under it, and little more */
		assert(rest <= (uint64_t)(dx + 16) * 360 + (uint64_t)(dy + 16) * 512);
	}
	/* two at once, one of them reading where the other one writes; exchanged: one can be made, not both */
	for (unsigned i = 0; i < 3; i++) {
		frame_put(&cur, &wall, 0, 0);
		frame_put(&cur, &win, 20, 20);
		frame_put(&cur, &win2, 600, 20);
		step(&rest);
		frame_put(&cur, &wall, 0, 0);
		frame_put(&cur, i == 2 ? &win2 : &win, i == 1 ? 600 : 30, i == 1 ? 300 : 25);
		frame_put(&cur, i == 2 ? &win : &win2, i == 1 ? 50 : 610, 30);
		assert(step(&rest) >= (i == 2 ? 1 : 2));
		assert(i != 1 || (last[0].dx == 580 && last[1].dx == -550));
		assert(rest < (i == 0 ? 20000 : 512 * 360 + 2 * 300 * 200));
	}
	/* a photo in a photo, by one pixel */
	frame_seed(77);
	frame_photo(&win, (struct rect){0, 0, 512, 360}, 3);
	frame_put(&cur, &win, 100, 100);
	step(&rest);
	frame_put(&cur, &win, 101, 101);
	assert(step(&rest) == 1 && last[0].dx == 1 && last[0].dy == 1 && rest < 1200);
	frame_free(&wall);
	frame_free(&win);
	frame_free(&win2);
	end();
}

/* Lists of lines that are alike but for a few letters: the distance is that of the lines, not of the first that fits. */
static void test_alike(void)
{
	struct surface line = frame_new(W, 16);
	uint64_t rest;

	begin(5);
	frame_text(&line, 0, 0, W / 8, 0);
	for (uint32_t i = 0; i < H / 16; i++) {
		frame_put(&cur, &line, 0, i * 16);
		frame_text(&cur, 320, i * 16, 20, 0);
	}
	step(&rest);
	for (unsigned i = 0; i < 3; i++) {
		frame_scroll(&cur, (struct rect){0, 0, W, H}, 0, -16);
		frame_text(&cur, 320, H - 16, 20, 0);
		assert(step(&rest) && last[0].dy == -16 && rest < 20 * W);
	}
	/* one pattern all over, moved: found or not, but right */
	for (uint32_t y = 0; y < H; y++)
		for (uint32_t x = 0; x < W; x++)
			*surface_row(&cur, x, y) = (x / 3 + y / 5) % 7 * 0x102030;
	step(&rest);
	frame_scroll(&cur, (struct rect){0, 0, W, H}, 1, 1);
	step(&rest);
	frame_free(&line);
	end();
}

/* What comes from outside the picture did not come from the row below. */
static void test_edge(void)
{
	uint64_t rest;

	begin(11);
	for (int dx = -24; dx <= 24; dx += 48) {
		frame_page(&cur, (struct rect){0, 0, W / 2, H}, 0);
		frame_page(&cur, (struct rect){W / 2, 0, W / 2, H}, 0);
		frame_fill(&cur, (struct rect){W - 24, 0, 24, H}, 0xffffff);
		frame_fill(&cur, (struct rect){dx < 0 ? 0 : W - 40, 0, 40, H}, 0);
		step(&rest);
		frame_scroll(&cur, (struct rect){0, 0, W, H}, dx, 0);
		frame_fill(&cur, (struct rect){dx < 0 ? W - 24 : 0, 0, 24, H}, 0);
		assert(step(&rest) && last[0].dx == dx && rest < 30 * H);
	}
	end();
}

/* Where nothing moved, nothing is found. */
static void test_none(void)
{
	unsigned n = 0;
	uint64_t rest;

	begin(1);
	assert(!step(&rest) && !rest);
	for (unsigned i = 0; i < 3; i++) {
		frame_photo(&cur, (struct rect){0, 0, W / 2, H / 2}, i * 0.25);
		assert(!step(&rest));
	}
	frame_fill(&cur, (struct rect){0, 0, W, H}, 0x123456);
	assert(!step(&rest));
	/* other text: what is alike by chance is not worth it */
	for (unsigned i = 0; i < 3; i++) {
		frame_page(&cur, (struct rect){0, 0, W, H}, 0);
		n += step(&rest);
	}
	assert(n <= 1);
	memset(cur.px, 0, 4ul * W * H);
	step(&rest);
	/* too little to look at */
	frame_page(&cur, (struct rect){0, 0, 80, 80}, 0);
	step(&rest);
	frame_scroll(&cur, (struct rect){0, 0, 80, 80}, 0, -16);
	assert(!step(&rest));
	end();
}

/* Any size of picture, parts moved anywhere, over each other: right, whatever is found. */
static void test_random(void)
{
	unsigned found = 0;

	begin(99);
	for (unsigned round = 0; round < 45; round++) {
		uint32_t w = 20 + frame_random() % (round % 7 ? 400 : 4500), h = 1 + frame_random() % (round % 7 ? 250 : 60);
		uint64_t rest;

		frame_free(&cur);
		frame_free(&old);
		cur = frame_new(w, h);
		old = frame_new(w, h);
		if (round % 5 == 0)
			frame_photo(&cur, (struct rect){0, 0, w, h}, round);
		else
			for (uint32_t y = 0; y < h; y += 16)
				frame_text(&cur, 0, y, (w + 7) / 8, 0);
		step(&rest);
		for (unsigned i = 0; i < 3; i++) {
			struct rect r = {frame_random() % w, frame_random() % h, 1 + frame_random() % w, 1 + frame_random() % h};

			r = rect_clip(r, w, h);
			frame_scroll(&cur, r, (int)(frame_random() % 41) - 20, (int)(frame_random() % 41) - 20);
			if (round % 4 == 0)
				found += step(&rest) > 0;
		}
		found += step(&rest) > 0;
	}
	assert(found >= 5);
	end();
}

static void test_apply(void)
{
	static const struct move moves[] = {{{5, 5, 20, 20}, 1, 0}, {{5, 5, 20, 20}, -1, 0}, {{5, 5, 20, 20}, 0, 1}, {{5, 5, 20, 20}, 0, -1},
		{{0, 0, 30, 30}, -10, -10}, {{10, 10, 30, 30}, 10, 10}, {{0, 10, 30, 30}, -10, 10}, {{10, 0, 30, 30}, 10, -10},
		{{39, 39, 1, 1}, 39, 39}};

	for (unsigned i = 0; i < ARRAY_LEN(moves); i++) {
		struct surface a = frame_new(40, 40), b = frame_new(40, 40);
		const struct move *v = &moves[i];

		for (uint32_t k = 0; k < 1600; k++)
			*surface_row(&a, k % 40, k / 40) = k;
		frame_put(&b, &a, 0, 0);
		move_apply(&a, v);
		for (uint32_t y = 0; y < 40; y++)
			for (uint32_t x = 0; x < 40; x++) {
				bool inside = x - v->dst.x < v->dst.w && y - v->dst.y < v->dst.h;

				assert(*surface_row(&a, x, y) == *surface_row(&b, inside ? x - (uint32_t)v->dx : x,
					inside ? y - (uint32_t)v->dy : y));
			}
		frame_free(&a);
		frame_free(&b);
	}
	mover_free(NULL);
}

int main(void)
{
	test_apply();
	test_scroll();
	test_parts();
	test_drag();
	test_alike();
	test_edge();
	test_none();
	test_random();
	return 0;
}
