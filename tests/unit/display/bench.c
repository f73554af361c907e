/* SPDX-License-Identifier: MIT */
/* display-bench [-v]: what comparison and moves cost and gain, per frame, in CPU time. Not a test. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "display/refine.h"
#include "base/util.h"
#include "frames.h"

enum { W = 1280, H = 800, FRAMES = 30 };
static bool verbose;
static struct surface cur, old;
static pixman_region32_t all;

static uint64_t area(const pixman_region32_t *g)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(g, &n);
	uint64_t a = 0;

	for (int i = 0; i < n; i++)
		a += (uint64_t)(b[i].x2 - b[i].x1) * (uint64_t)(b[i].y2 - b[i].y1);
	return a;
}

/* of this thread: other programs do not count */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct sums {
	uint64_t find_ns, move_ns, again_ns, move_max, changed, rest, rects;
	unsigned moved, moves;
};

static void frame(struct mover *m, struct sums *s)
{
	pixman_region32_t changed;
	struct move mv[REFINE_MOVES];
	struct rect r[REFINE_RECTS];
	uint64_t t0, t1, t2, t3;
	unsigned n;

	pixman_region32_init(&changed);
	t0 = cpu_ns();
	refine_find(&cur, &old, &all, &changed);
	t1 = cpu_ns();
	s->changed += area(&changed);
	n = mover_find(m, &cur, &old, &changed, mv, REFINE_MOVES);
	t2 = cpu_ns();
	for (unsigned i = 0; i < n; i++) {
		move_apply(&old, &mv[i]);
		if (verbose)
			printf("  move %u,%u %ux%u by %d,%d\n", mv[i].dst.x, mv[i].dst.y, mv[i].dst.w, mv[i].dst.h, mv[i].dx, mv[i].dy);
	}
	t3 = cpu_ns();
	if (n)
		refine_find(&cur, &old, &changed, &changed);
	s->again_ns += cpu_ns() - t3;
	s->find_ns += t1 - t0;
	s->move_ns += t2 - t1;
	s->move_max = max_u64(s->move_max, t2 - t1);
	s->moved += n > 0;
	s->moves += n;
	s->rest += area(&changed);
	n = refine_rects(&changed, r, REFINE_RECTS);
	s->rects += n;
	for (unsigned i = 0; i < n; i++)
		refine_copy(&old, &cur, r[i]);
	pixman_region32_fini(&changed);
	for (uint32_t y = 0; y < H; y++)
		assert(!memcmp(surface_row(&cur, 0, y), surface_row(&old, 0, y), 4 * W));
}

static void show(const char *name, const struct sums *s)
{
	printf("%-12s compare %.3f ms, moves %.3f ms (max %.3f), again %.3f ms; changed %7lu -> %6lu px in %.1f rectangles; "
	       "moved %u of %d, %u moves\n", name, (double)s->find_ns / FRAMES / 1e6, (double)s->move_ns / FRAMES / 1e6,
		(double)s->move_max / 1e6, (double)s->again_ns / FRAMES / 1e6, (unsigned long)(s->changed / FRAMES),
		(unsigned long)(s->rest / FRAMES), (double)s->rects / FRAMES, s->moved, FRAMES, s->moves);
}

int main(int argc, char **argv)
{
	static const char *names[] = {"equal", "scroll", "scroll-back", "scroll-1px", "scroll-window", "drag", "page", "photo", "video",
		"solid"};
	struct mover *m = mover_new();
	struct surface wall = frame_new(W, H), win = frame_new(W * 2 / 5, H * 9 / 20);

	verbose = argc > 1 && !strcmp(argv[1], "-v");
	cur = frame_new(W, H);
	old = frame_new(W, H);
	pixman_region32_init_rect(&all, 0, 0, W, H);
	frame_photo(&wall, (struct rect){0, 0, W, H}, 0);
	frame_window(&win);
	for (unsigned k = 0; k < ARRAY_LEN(names); k++) {
		const char *n = names[k];
		struct sums s = {0};

		frame_seed(12345);
		frame_text_begin();
		if (!strcmp(n, "drag"))
			frame_put(&cur, &wall, 0, 0);
		else
			frame_page(&cur, (struct rect){0, 0, W, H}, 0);
		frame_put(&old, &cur, 0, 0);
		if (!strcmp(n, "drag"))
			frame_put(&old, &win, 20, 20);
		for (unsigned i = 1; i <= FRAMES; i++) {
			struct rect whole = {0, 0, W, H}, part = {300, 100, 640, 480};

			if (!strcmp(n, "scroll")) {
				frame_scroll(&cur, whole, 0, -16);
				frame_text(&cur, 0, H - 16, W / 8, 0);
			} else if (!strcmp(n, "scroll-back")) {
				frame_scroll(&cur, whole, 0, 48);
				frame_page(&cur, (struct rect){0, 0, W, 48}, 0);
			} else if (!strcmp(n, "scroll-1px")) {
				frame_scroll(&cur, whole, 0, -1);
			} else if (!strcmp(n, "scroll-window")) {
				frame_scroll(&cur, part, 0, -16);
				frame_text(&cur, 300, 564, 80, 0);
			} else if (!strcmp(n, "drag")) {
				frame_put(&cur, &wall, 0, 0);
				frame_put(&cur, &win, 20 + i * 6, 20 + i * 3);
			} else if (!strcmp(n, "page")) {
				frame_page(&cur, whole, 0);
			} else if (!strcmp(n, "photo")) {
				frame_photo(&cur, whole, i * 0.25);
			} else if (!strcmp(n, "video")) {
				frame_photo(&cur, (struct rect){W / 4, H / 4, W / 2, H / 2}, i * 0.25);
			} else if (!strcmp(n, "solid")) {
				frame_fill(&cur, whole, i * 0x123457u & 0xffffff);
			}
			frame(m, &s);
		}
		show(n, &s);
	}
	mover_free(m);
	pixman_region32_fini(&all);
	frame_free(&wall);
	frame_free(&win);
	frame_free(&cur);
	frame_free(&old);
	return 0;
}
