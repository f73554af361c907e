/* SPDX-License-Identifier: MIT */
/* One picture out of several scanouts: layouts, damage, cursors, sinks that come and go, producers that do too much. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "display/display.h"
#include "display/scanout-int.h"
#include "frames.h"

enum { N = 3 };
static struct loop *loop;
static struct display *d;
static struct scanout *s[N];
static int fds[N], ev;

static struct sink {
	struct display_sink k;
	unsigned resized, damaged, cursor, n;
	struct rect r[64];
	struct sink *detach;
} a, b;

static void on_resized(struct display_sink *k)
{
	CONTAINER_OF(k, struct sink, k)->resized++;
}

static void on_damaged(struct display_sink *k, const struct rect *r, unsigned n)
{
	struct sink *t = CONTAINER_OF(k, struct sink, k);

	assert(n && n <= ARRAY_LEN(t->r));
	t->damaged++;
	t->n = n;
	memcpy(t->r, r, n * sizeof *r);
	for (unsigned i = 0; i < n; i++) {
		struct rect c = rect_clip(r[i], display_picture(d)->w, display_picture(d)->h);

		assert(!memcmp(&c, &r[i], sizeof c) && !rect_empty(c));
	}
	if (t->detach)
		display_detach(d, &t->detach->k);
}

static void on_cursor(struct display_sink *k)
{
	CONTAINER_OF(k, struct sink, k)->cursor++;
}

static void end_of_run(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static void run_ms(unsigned ms)
{
	struct timer t = {.fire = end_of_run};

	assert(!timer_set(loop, &t, now_ns() + ms * 1000000ull) && !loop_run(loop));
}

/* Until there is a call more of the kind. */
static void run_until(const unsigned *count)
{
	unsigned was = *count;

	for (unsigned i = 0; i < 5000 && *count == was; i++)
		run_ms(1);
	assert(*count > was);
}

static void begin(void)
{
	ev = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop = loop_new();
	assert(ev >= 0 && loop);
	for (unsigned i = 0; i < N; i++) {
		fds[i] = scanout_create("test", NULL);
		assert(fds[i] >= 0 && !scanout_open(&s[i], fds[i], ev, NULL));
	}
	assert(!display_new(&d, loop, fds, N, ev, NULL));
	memset(&a, 0, sizeof a);
	a.k = (struct display_sink){on_resized, on_damaged, on_cursor, NULL};
	b = a;
	display_attach(d, &a.k);
}

static void end(void)
{
	display_free(d);
	for (unsigned i = 0; i < N; i++) {
		scanout_close(s[i]);
		close(fds[i]);
	}
	loop_free(loop);
	close(ev);
}

static void mode(unsigned i, uint32_t w, uint32_t h, uint32_t colour)
{
	struct surface p;

	if (!w)
		scanout_off(s[i]);
	else if (scanout_mode(s[i], w, h, &p))
		frame_fill(&p, (struct rect){0, 0, w, h}, colour);
	scanout_commit(s[i]);
}

static void is_picture(uint32_t w, uint32_t h, unsigned nheads, bool firmware)
{
	const struct display_picture *p = display_picture(d);

	assert(p->w == w && p->h == h && p->nheads == nheads && p->firmware == firmware);
	for (unsigned i = 0; i < nheads; i++)
		assert(p->head[i].surface.w == p->head[i].place.w && p->head[i].surface.h == p->head[i].place.h);
}

static void test_layouts(void)
{
	const struct display_picture *p;
	struct surface dst = frame_new(160, 60);

	begin();
	is_picture(DISPLAY_WIDTH_DEFAULT, DISPLAY_HEIGHT_DEFAULT, 0, false);
	mode(0, 640, 480, 1);
	run_until(&a.resized);
	is_picture(640, 480, 1, true);
	mode(1, 100, 50, 0xff000011); /* a head: the framebuffer is hidden */
	run_until(&a.resized);
	is_picture(100, 50, 1, false);
	mode(2, 60, 60, 0x22);
	run_until(&a.resized);
	is_picture(160, 60, 2, false);
	p = display_picture(d);
	assert(p->head[0].number == 0 && p->head[1].number == 1 && p->head[1].place.x == 100 && !p->head[1].place.y);
	frame_fill(&dst, (struct rect){0, 0, 160, 60}, 0x99999999);
	display_read(d, &dst, (struct rect){1, 0, 5000, 5000});
	for (uint32_t y = 0; y < 60; y++)
		for (uint32_t x = 0; x < 160; x++)
			assert(*surface_row(&dst, x, y) == (!x ? 0x99999999 : x >= 100 ? 0x22 : y < 50 ? 0x11 : 0));
	display_read(d, &dst, (struct rect){0, 3, 1, 1});
	assert(*surface_row(&dst, 0, 3) == 0x11 && *surface_row(&dst, 0, 4) == 0x99999999);
	display_read(d, &dst, (struct rect){200, 3, 1, 1});
	mode(1, 0, 0, 0); /* the second alone */
	run_until(&a.resized);
	is_picture(60, 60, 1, false);
	assert(display_picture(d)->head[0].number == 1);
	mode(2, 0, 0, 0);
	run_until(&a.resized);
	is_picture(640, 480, 1, true);
	mode(0, 0, 0, 0);
	run_until(&a.resized);
	is_picture(DISPLAY_WIDTH_DEFAULT, DISPLAY_HEIGHT_DEFAULT, 0, false);
	frame_free(&dst);
	dst = frame_new(DISPLAY_WIDTH_DEFAULT, DISPLAY_HEIGHT_DEFAULT);
	frame_fill(&dst, (struct rect){0, 0, 1, 1}, 5);
	display_read(d, &dst, (struct rect){0, 0, 1, 1});
	assert(!*surface_row(&dst, 0, 0));
	frame_free(&dst);
	/* more than a viewer can be asked for: the second is left out */
	mode(1, 8192, 2048, 0);
	run_until(&a.resized);
	mode(2, 2048, 8192, 0);
	run_until(&a.resized);
	is_picture(8192, 2048, 1, false);
	mode(1, 4096, 4096, 0);
	mode(2, 4096, 4096, 0);
	run_until(&a.resized);
	run_ms(10);
	is_picture(8192, 4096, 2, false);
	assert(!a.damaged);
	/* the same size again, black: all is damaged */
	mode(1, 0, 0, 0);
	mode(1, 4096, 4096, 0);
	run_until(&a.resized);
	end();
}

static void test_damage(void)
{
	uint32_t seen = 0;

	begin();
	mode(0, 50, 50, 0);
	mode(1, 100, 50, 0);
	mode(2, 60, 60, 0);
	run_until(&a.resized);
	run_ms(10);
	display_attach(d, &b.k);
	scanout_damage(s[2], (struct rect){5, 6, 7, 8});
	scanout_commit(s[2]);
	run_until(&a.damaged);
	assert(a.n == 1 && a.r[0].x == 105 && a.r[0].y == 6 && a.r[0].w == 7 && a.r[0].h == 8 && b.damaged == 1 && b.n == 1);
	/* one call for what has come together, joined; nothing of what is hidden */
	scanout_damage(s[0], (struct rect){0, 0, 50, 50});
	scanout_damage(s[1], (struct rect){95, 0, 5, 5});
	scanout_commit(s[1]);
	scanout_damage(s[2], (struct rect){0, 0, 5, 5});
	scanout_commit(s[2]);
	scanout_damage(s[1], (struct rect){0, 0, 5, 5});
	scanout_commit(s[1]);
	scanout_commit(s[0]);
	run_until(&a.damaged);
	assert(a.damaged == 2 && a.n == 2 && a.r[0].x == 95 && a.r[0].w == 10 && a.r[1].x == 0);
	scanout_damage(s[0], (struct rect){0, 0, 50, 50});
	scanout_commit(s[0]);
	run_ms(5);
	assert(a.damaged == 2);
	/* far more than the list holds: all is covered, in one call */
	for (uint32_t i = 0; i < 200; i++)
		scanout_damage(s[1], (struct rect){i * 37 % 100, i * 11 % 50, 1, 1});
	scanout_commit(s[1]);
	run_until(&a.damaged);
	assert(a.damaged == 3);
	for (uint32_t i = 0; i < 200; i++)
		for (unsigned k = 0; k < a.n; k++)
			if (!rect_empty(rect_clip((struct rect){i * 37 % 100 - a.r[k].x, i * 11 % 50 - a.r[k].y, 1, 1}, a.r[k].w, a.r[k].h))) {
				seen++;
				break;
			}
	assert(seen == 200);
	/* detached: no call, also not of the round that is under way */
	a.detach = &b;
	b.detach = &a;
	scanout_damage(s[1], (struct rect){0, 0, 1, 1});
	scanout_commit(s[1]);
	run_ms(20);
	assert(a.damaged + b.damaged == 3 + 3 + 1);
	display_detach(d, &a.k);
	display_detach(d, &b.k);
	display_detach(d, &b.k);
	scanout_damage(s[1], (struct rect){0, 0, 1, 1});
	scanout_commit(s[1]);
	mode(1, 10, 10, 0);
	run_ms(20);
	assert(a.damaged + b.damaged == 7);
	end();
}

static void test_cursor(void)
{
	static const uint32_t px[4] = {1, 2, 3, 4}, px2[4] = {5, 6, 7, 8};
	const struct scanout_view_cursor *c;
	uint32_t g;

	begin();
	mode(1, 100, 50, 0);
	mode(2, 60, 60, 0);
	run_until(&a.resized);
	run_ms(10);
	c = display_cursor(d);
	assert(!c->w);
	scanout_cursor(s[2], 2, 2, 1, 1, px);
	scanout_cursor_at(s[2], 10, -4);
	scanout_commit(s[2]);
	run_until(&a.cursor);
	assert(c->w == 2 && c->h == 2 && c->hot_x == 1 && c->x == 110 && c->y == -4 && !memcmp(c->px, px, sizeof px));
	g = c->generation;
	scanout_cursor_at(s[2], INT32_MAX, INT32_MIN);
	scanout_commit(s[2]);
	run_until(&a.cursor);
	assert(c->generation == g && c->y == INT32_MIN);
	/* the one that is used last, until it is hidden */
	scanout_cursor(s[1], 2, 2, 0, 0, px2);
	scanout_cursor_at(s[1], 7, 8);
	scanout_commit(s[1]);
	run_until(&a.cursor);
	assert(c->generation != g && c->x == 7 && c->y == 8 && !memcmp(c->px, px2, sizeof px2));
	g = c->generation;
	scanout_cursor(s[1], 0, 0, 0, 0, NULL);
	scanout_commit(s[1]);
	run_until(&a.cursor);
	assert(c->generation != g && c->w == 2 && !memcmp(c->px, px, sizeof px));
	g = c->generation;
	scanout_cursor(s[2], 2, 1, 0, 0, px2); /* another picture of the same head */
	scanout_commit(s[2]);
	run_until(&a.cursor);
	assert(c->generation != g && c->h == 1 && !memcmp(c->px, px2, 8));
	scanout_cursor(s[2], 0, 0, 0, 0, NULL);
	scanout_commit(s[2]);
	run_until(&a.cursor);
	assert(!c->w);
	/* of a head that is not shown: none */
	scanout_cursor(s[0], 2, 2, 0, 0, px);
	scanout_commit(s[0]);
	run_ms(10);
	assert(!c->w && !a.damaged);
	mode(1, 0, 0, 0);
	mode(2, 0, 0, 0);
	mode(0, 9, 9, 0);
	run_until(&a.resized);
	run_ms(10);
	assert(c->w == 2);
	end();
}

/* A new mode with each commit, and an event fd that is never quiet. */
static void test_storm(void)
{
	uint64_t start;

	begin();
	start = now_ns();
	for (uint32_t i = 0; i < 1000; i++) {
		mode(1, 1 + i % 7, 1 + i % 5, i);
		if (i % 10 == 0)
			run_ms(0);
	}
	mode(1, 123, 45, 1);
	run_until(&a.resized);
	run_ms(10);
	is_picture(123, 45, 1, false);
	assert(a.resized <= 2 + (now_ns() - start) / 4000000);
	/* the first of a storm is not late: no wait in an idle display */
	run_ms(20);
	a.resized = 0;
	mode(1, 12, 12, 1);
	mode(1, 13, 13, 1);
	run_ms(0);
	run_ms(0);
	assert(a.resized == 1);
	is_picture(13, 13, 1, false);
	end();
}

/* A guest that tries what modes there are: whatever is shown is shown right, to the last pixel. */
static void test_absurd(void)
{
	static const uint32_t sides[] = {1, 2, 15, 16, 17, 4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 0x7fffffff, UINT32_MAX, 0};
	struct surface p, line = {.stride = 0, .px = calloc(SCANOUT_SIDE_MAX, 4)}; /* all its rows are one */

	begin();
	for (unsigned i = 0; i < ARRAY_LEN(sides) * ARRAY_LEN(sides); i++) {
		uint32_t w = sides[i / ARRAY_LEN(sides)], h = sides[i % ARRAY_LEN(sides)];

		if (!scanout_mode(s[1], w, h, &p))
			continue;
		*surface_row(&p, w - 1, h - 1) = 0xff000000 | i;
		scanout_damage(s[1], (struct rect){w - 1, h - 1, UINT32_MAX, UINT32_MAX});
		scanout_commit(s[1]);
		display_free(d); /* which would wait a little before it shows the next one */
		assert(!display_new(&d, loop, fds, N, ev, NULL));
		is_picture(w, h, 1, false);
		line.w = w;
		line.h = h;
		*surface_row(&line, w - 1, 0) = 0x77777777;
		display_read(d, &line, (struct rect){w - 1, h - 1, 9, 9});
		assert(*surface_row(&line, w - 1, 0) == i);
	}
	free(line.px);
	end();
}

static void test_refused(void)
{
	struct display *other = NULL;
	struct err e;
	int bad[2];

	begin();
	bad[0] = fds[0];
	bad[1] = ev;
	assert(display_new(&other, loop, bad, 2, ev, &e) == -EINVAL && !other && *e.text);
	assert(display_new(&other, loop, fds, 1, fds[0], &e) < 0 && !other); /* a file cannot be watched */
	display_free(NULL);
	end();
}

int main(void)
{
	test_layouts();
	test_damage();
	test_cursor();
	test_storm();
	test_absurd();
	test_refused();
	return 0;
}
