/* SPDX-License-Identifier: MIT */
/*
 * One picture out of several scanouts. A wake-up, which is one count of the event fd for any number of commits, looks at each
 * scanout once, and makes at most one call of each kind to a sink: so what a producer may cost is bounded by how often we
 * look, not by how much it writes. Another layout is dear, since viewers take it for a new screen; producers that change modes
 * faster than LAYOUT_NS get the last of them only. Until then the picture is what it was, and damage waits: the new layout is all
 * damaged anyway.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "display/display.h"
#include "display/rects-int.h"

enum { VIEWS = 1 + SCANOUT_HEADS, RECTS = 64 };
#define LAYOUT_NS 4000000u

struct source {
	struct scanout_view *v;
	uint32_t generation; /* of the layout */
	int head;            /* in the picture; -1: not shown */
	struct scanout_view_cursor cursor;
};

struct display {
	struct loop *loop;
	struct watch event;
	struct timer timer; /* armed: there is a layout to come */
	uint64_t laid_out;
	struct source source[VIEWS];
	unsigned n;
	struct display_picture picture;
	struct scanout_view_cursor cursor;
	int pointed; /* source of the cursor, -1: none */
	struct display_sink *sinks, *next; /* next: to be called, while we call them */
};

/* ---- the layout ---- */

/* Puts a head right of what is there, if the picture has room for it. */
static void head_add(struct display *d, unsigned i, const struct surface *s)
{
	struct display_picture *p = &d->picture;
	uint32_t x = p->nheads ? p->w : 0, h = p->nheads ? (uint32_t)max_u64(p->h, s->h) : s->h;

	if (4 * ((uint64_t)x + s->w) * h > DISPLAY_PIXELS_MAX)
		return;
	d->source[i].head = (int)p->nheads;
	p->head[p->nheads++] = (struct display_head){{x, 0, s->w, s->h}, *s, i ? i - 1 : 0};
	p->w = x + s->w;
	p->h = h;
}

static void lay_out(struct display *d)
{
	struct surface s[VIEWS];
	bool on[VIEWS];

	d->picture = (struct display_picture){.w = DISPLAY_WIDTH_DEFAULT, .h = DISPLAY_HEIGHT_DEFAULT};
	for (unsigned i = 0; i < d->n; i++) {
		on[i] = scanout_view_mode(d->source[i].v, &s[i], &d->source[i].generation);
		d->source[i].head = -1;
	}
	for (unsigned i = 1; i < d->n; i++)
		if (on[i])
			head_add(d, i, &s[i]);
	if (!d->picture.nheads && on[0]) {
		head_add(d, 0, &s[0]);
		d->picture.firmware = d->picture.nheads;
	}
	for (unsigned i = 0; i < d->n; i++) { /* so far */
		struct rect all;

		scanout_view_damage(d->source[i].v, &all, 1);
	}
	d->laid_out = now_ns();
}

static bool layout_is_old(struct display *d)
{
	bool old = false;

	for (unsigned i = 0; i < d->n; i++) {
		struct surface s;
		uint32_t g;

		scanout_view_mode(d->source[i].v, &s, &g);
		old = old || g != d->source[i].generation;
	}
	return old;
}

/* ---- the cursor ---- */

static bool has_cursor(const struct display *d, int i)
{
	return i >= 0 && d->source[i].head >= 0 && d->source[i].cursor.w;
}

/* The head whose cursor moved last has it, until it is hidden there. True: display_cursor() is another one now. */
static bool cursor_look(struct display *d)
{
	int was = d->pointed;
	uint32_t generation = d->cursor.generation, w = d->cursor.w;
	bool changed = false;

	for (unsigned i = 0; i < d->n; i++) {
		struct source *s = &d->source[i];
		uint32_t before = s->cursor.generation;

		if (!scanout_view_cursor(s->v, &s->cursor))
			continue;
		changed = changed || s->head >= 0;
		if (has_cursor(d, (int)i))
			d->pointed = (int)i;
		if ((int)i == was && s->cursor.generation != before)
			was = -1; /* another picture */
	}
	for (int i = 0; i < (int)d->n && !has_cursor(d, d->pointed); i++)
		d->pointed = i;
	if (!has_cursor(d, d->pointed))
		d->pointed = -1;
	if (d->pointed < 0) {
		d->cursor.w = d->cursor.h = d->cursor.hot_x = d->cursor.hot_y = 0;
		d->cursor.generation = generation + (w != 0);
		return w != 0;
	}
	if (changed || d->pointed != was) {
		const struct source *s = &d->source[d->pointed];
		struct rect place = d->picture.head[s->head].place;

		if (d->pointed != was) {
			d->cursor = s->cursor;
			d->cursor.generation = generation + 1;
		}
		/* no producer's number overflows */
		d->cursor.x = (int32_t)(uint32_t)((uint32_t)s->cursor.x + place.x);
		d->cursor.y = (int32_t)(uint32_t)((uint32_t)s->cursor.y + place.y);
		return true;
	}
	return false;
}

/* ---- looking ---- */

enum call { RESIZED, DAMAGED, CURSOR };

static void call(struct display *d, enum call c, const struct rect *r, unsigned n)
{
	for (struct display_sink *k = d->sinks; k; k = d->next) {
		d->next = k->next;
		if (c == RESIZED)
			k->resized(k);
		else if (c == DAMAGED)
			k->damaged(k, r, n);
		else
			k->cursor(k);
	}
	d->next = NULL;
}

static void damage_look(struct display *d)
{
	struct rect all[RECTS];
	unsigned n = 0;

	for (unsigned i = 0; i < d->n; i++) {
		struct source *s = &d->source[i];
		struct rect r[RECTS];
		unsigned nr = scanout_view_damage(s->v, r, RECTS);

		for (unsigned k = 0; k < nr && s->head >= 0; k++) {
			struct rect place = d->picture.head[s->head].place;

			n = rects_add(all, n, RECTS, (struct rect){place.x + r[k].x, place.y + r[k].y, r[k].w, r[k].h});
		}
	}
	if (n)
		call(d, DAMAGED, all, n);
}

static void look(struct display *d)
{
	if (layout_is_old(d)) {
		if (now_ns() - d->laid_out < LAYOUT_NS && !timer_set(d->loop, &d->timer, d->laid_out + LAYOUT_NS))
			return;
		lay_out(d);
		d->pointed = -1; /* its place is another one */
		cursor_look(d);
		call(d, RESIZED, NULL, 0);
		call(d, CURSOR, NULL, 0);
		return;
	}
	damage_look(d);
	if (cursor_look(d))
		call(d, CURSOR, NULL, 0);
}

static void ready(struct watch *w, uint32_t events)
{
	struct display *d = CONTAINER_OF(w, struct display, event);
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, sizeof n) < 0 && errno != EAGAIN && errno != EINTR) {
		loop_del(d->loop, w); /* not an event fd: no more pictures, but no endless loop */
		return;
	}
	look(d);
}

static void fire(struct timer *t)
{
	look(CONTAINER_OF(t, struct display, timer));
}

/* ---- for others ---- */

int display_new(struct display **out, struct loop *l, const int *fds, unsigned n, int event_fd, struct err *e)
{
	struct display *d = xcalloc(1, sizeof *d);
	int rc = 0;

	assert(n >= 1 && n <= VIEWS);
	d->loop = l;
	d->event = (struct watch){.fd = event_fd, .ready = ready};
	d->timer.fire = fire;
	d->pointed = -1;
	for (; d->n < n && !rc; d->n += !rc)
		rc = scanout_view_open(&d->source[d->n].v, fds[d->n], e);
	if (!rc) {
		rc = loop_add(l, &d->event, EPOLLIN);
		if (rc)
			err_set(e, -rc, "cannot watch for changes of the screen: %s", strerror(-rc));
	}
	if (rc) {
		display_free(d);
		return rc;
	}
	lay_out(d);
	cursor_look(d);
	*out = d;
	return 0;
}

void display_free(struct display *d)
{
	if (!d)
		return;
	loop_del(d->loop, &d->event);
	timer_set(d->loop, &d->timer, 0);
	for (unsigned i = 0; i < d->n; i++)
		scanout_view_close(d->source[i].v);
	free(d);
}

void display_attach(struct display *d, struct display_sink *k)
{
	k->next = d->sinks;
	d->sinks = k;
}

void display_detach(struct display *d, struct display_sink *k)
{
	struct display_sink **p = &d->sinks;

	while (*p && *p != k)
		p = &(*p)->next;
	if (!*p)
		return;
	*p = k->next;
	if (d->next == k)
		d->next = k->next;
}

const struct display_picture *display_picture(const struct display *d)
{
	return &d->picture;
}

static struct rect meet(struct rect a, struct rect b)
{
	uint32_t x = (uint32_t)max_u64(a.x, b.x), y = (uint32_t)max_u64(a.y, b.y);
	uint32_t r = (uint32_t)min_u64(a.x + a.w, b.x + b.w), u = (uint32_t)min_u64(a.y + a.h, b.y + b.h);

	return r > x && u > y ? (struct rect){x, y, r - x, u - y} : (struct rect){0, 0, 0, 0};
}

void display_read(const struct display *d, struct surface *dst, struct rect r)
{
	const struct display_picture *p = &d->picture;
	uint64_t covered = 0;

	assert(dst->w == p->w && dst->h == p->h);
	r = rect_clip(r, p->w, p->h);
	for (unsigned i = 0; i < p->nheads; i++) {
		struct rect m = meet(r, p->head[i].place);

		covered += (uint64_t)m.w * m.h;
	}
	if (covered < (uint64_t)r.w * r.h)
		for (uint32_t y = r.y; y < r.y + r.h; y++)
			memset(surface_row(dst, r.x, y), 0, 4ull * r.w);
	for (unsigned i = 0; i < p->nheads; i++) {
		const struct display_head *h = &p->head[i];
		struct rect m = meet(r, h->place);

		for (uint32_t y = m.y; y < m.y + m.h; y++) {
			const uint32_t *from = surface_row(&h->surface, m.x - h->place.x, y - h->place.y);
			uint32_t *to = surface_row(dst, m.x, y);

			for (uint32_t x = 0; x < m.w; x++)
				to[x] = from[x] & 0xffffff;
		}
	}
}

const struct scanout_view_cursor *display_cursor(const struct display *d)
{
	return &d->cursor;
}
