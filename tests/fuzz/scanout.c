/* SPDX-License-Identifier: MIT */
/*
 * A hostile producer: any bytes in the headers of two scanouts, between any two looks of their readers; also what a new producer
 * makes of what such a one has left. All that readers are told must lie inside pictures that there is room for.
 *
 * Input: records of a byte that says what is done, and what that needs (little endian):
 *	0, 1  bytes into the header of scanout 0 or 1: offset (2), length (1), bytes
 *	2, 3  a number into it: offset / 4 (2), value (4)
 *	4     head += (1), of both
 *	5     look: mode, damage, cursor of the view      6     the display's loop runs once
 *	7     another display                              8, 9  another producer for scanout 0 or 1, which shows (2) x (2)
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "display/display.h"
#include "display/scanout-int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int fds[2], ev;
static struct scanout_header *h[2];
static struct loop *loop;
static struct display *d;
static struct scanout_view *v;

static void inside(const struct rect *r, unsigned n, uint32_t w, uint32_t height)
{
	for (unsigned i = 0; i < n; i++)
		assert(!rect_empty(r[i]) && r[i].x < w && r[i].y < height && r[i].w <= w - r[i].x && r[i].h <= height - r[i].y);
}

static void touch(const struct surface *s)
{
	volatile uint32_t sum = *surface_row(s, 0, 0) + *surface_row(s, s->w - 1, 0) + *surface_row(s, 0, s->h - 1);

	(void)sum;
	(void)*(volatile uint32_t *)surface_row(s, s->w - 1, s->h - 1);
}

static void is_cursor(const struct scanout_view_cursor *c)
{
	assert(c->w <= SCANOUT_CURSOR_MAX && c->h <= SCANOUT_CURSOR_MAX && !c->w == !c->h);
	assert(!c->w || (c->hot_x < c->w && c->hot_y < c->h));
}

static void look(void)
{
	static struct scanout_view_cursor c;
	struct surface s;
	struct rect r[20];
	uint32_t g;
	bool on = scanout_view_mode(v, &s, &g);
	unsigned n = scanout_view_damage(v, r, 1 + g % ARRAY_LEN(r));

	assert(on == (s.w != 0) && n <= ARRAY_LEN(r) && (on || !n));
	inside(r, n, s.w, s.h);
	if (on) {
		assert(scanout_mode_ok(s.w, s.h) && s.stride >= 4 * s.w);
		touch(&s);
	}
	if (scanout_view_cursor(v, &c))
		is_cursor(&c);
	scanout_view_wait(v, 0);
}

static void is_picture(void)
{
	static uint32_t row[SCANOUT_HEADS * SCANOUT_SIDE_MAX];
	const struct display_picture *p = display_picture(d);
	struct surface line = {p->w, p->h, 0, (uint8_t *)row}; /* all its rows are one */
	uint32_t x = 0;

	assert(p->w && p->h && 4ull * p->w * p->h <= DISPLAY_PIXELS_MAX && p->w <= ARRAY_LEN(row) && p->nheads <= 1);
	for (unsigned i = 0; i < p->nheads; i++) {
		assert(p->head[i].place.x == x && scanout_mode_ok(p->head[i].surface.w, p->head[i].surface.h));
		x += p->head[i].place.w;
		inside(&p->head[i].place, 1, p->w, p->h);
		touch(&p->head[i].surface);
	}
	display_read(d, &line, (struct rect){0, p->h - 1, p->w, 2});
	display_read(d, &line, (struct rect){p->w - 1, 0, UINT32_MAX, 2});
	is_cursor(display_cursor(d));
}

static void resized(struct display_sink *k)
{
	(void)k;
	is_picture();
}

static void damaged(struct display_sink *k, const struct rect *r, unsigned n)
{
	(void)k;
	assert(n && n <= 64);
	inside(r, n, display_picture(d)->w, display_picture(d)->h);
}

static void over(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static struct display_sink sink = {resized, damaged, resized, NULL};

static void display_again(void)
{
	display_free(d);
	d = NULL;
	if (display_new(&d, loop, fds, 2, ev, NULL)) { /* the magic is gone */
		h[0]->magic = h[1]->magic = SCANOUT_MAGIC;
		h[0]->version = h[1]->version = SCANOUT_VERSION;
		assert(!display_new(&d, loop, fds, 2, ev, NULL));
	}
	display_attach(d, &sink);
	is_picture();
}

static void run(void)
{
	struct timer t = {.fire = over};
	uint64_t one = 1;

	assert(write(ev, &one, sizeof one) == sizeof one && !timer_set(loop, &t, now_ns()) && !loop_run(loop));
	is_picture();
}

static void producer(unsigned i, uint32_t w, uint32_t height)
{
	struct scanout *s;
	struct surface p;

	if (scanout_open(&s, fds[i], ev, NULL))
		return;
	if (scanout_mode(s, w, height, &p))
		touch(&p);
	scanout_damage(s, (struct rect){w, height, w, height});
	scanout_damage(s, (struct rect){1, 2, 3, 4});
	scanout_cursor_at(s, (int32_t)w, (int32_t)height);
	scanout_close(s);
}

static void set_up(void)
{
	ev = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	loop = loop_new();
	assert(loop && ev >= 0);
	for (unsigned i = 0; i < 2; i++) {
		fds[i] = scanout_create("fuzz", NULL);
		assert(fds[i] >= 0);
		h[i] = mmap(NULL, SCANOUT_HEADER, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);
		assert(h[i] != MAP_FAILED);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (!loop)
		set_up();
	for (unsigned i = 0; i < 2; i++) {
		memset(h[i], 0, sizeof *h[i]);
		h[i]->magic = SCANOUT_MAGIC;
		h[i]->version = SCANOUT_VERSION;
	}
	assert(!scanout_view_open(&v, fds[1], NULL));
	display_again();
	while (n >= 5) {
		unsigned op = p[0] % 10, a = get_u16(p + 1), b = get_u16(p + 3), k = op & 1;
		size_t used = 1;

		if (op < 2) {
			size_t len = p[3], at = a % sizeof *h[k];

			len = min_u64(min_u64(len, n - 4), sizeof *h[k] - at);
			memcpy((uint8_t *)h[k] + at, p + 4, len);
			used = 4 + len;
		} else if (op < 4 && n >= 7) {
			put_u32((uint8_t *)h[k] + 4 * (a % (sizeof *h[k] / 4)), get_u32(p + 3));
			used = 7;
		} else if (op == 4) {
			h[0]->head += p[1];
			h[1]->head += p[1];
			used = 2;
		} else if (op == 5) {
			look();
		} else if (op == 6) {
			run();
		} else if (op == 7) {
			display_again();
		} else if (op >= 8) {
			producer(k, a, b);
			used = 5;
		}
		p += used;
		n -= used;
	}
	look();
	run();
	display_free(d);
	d = NULL;
	scanout_view_close(v);
	return 0;
}
