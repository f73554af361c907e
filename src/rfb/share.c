/* SPDX-License-Identifier: MIT */
/*
 * Viewers that are alike and in step share a view: one copy of the picture, one comparison, one encoding, whose bytes go to
 * each of them; what else a viewer is told, its requests, its window and its fences stay its own. The members of a view are
 * the connections that point to it; one of them is its owner, who speaks for it.
 *
 * A view that is shared begins an update when all members can take one. Those that cannot a frame after the first could are
 * too slow for the others, and leave with a copy of what they have on their screens. So do those that wish for something
 * else, or ask for a part of the screen, or for what they have been sent already.
 *
 * They join when it has been quiet for a while: then nothing is pending, under way, or sent with loss, and two views of the
 * same wishes with the same picture are one. Their streams differ, but can begin anew (Tight; other encodings have none, or
 * cannot: zlib, ZRLE). Who has left waits twice as long as the last time, so that one who is too slow again and again costs
 * the others little.
 */
#include "rfb/server-int.h"

enum { JOINS = 4, FALLS_MAX = 5, CALM = 64, REFRESH_BYTES = 256 << 10 };
static const uint64_t FRAME_NS = 16600000u, STALE_NS = 1000000000u, MORE_NS = 5000000u;

static struct view_wish wish_of(const struct rfb_conn *c)
{
	bool shape = c->enc.can & (CAN_CURSOR | CAN_X_CURSOR | CAN_ALPHA_CURSOR);
	struct view_wish w = {.ops = c->enc.ops, .copyrect = c->enc.can & CAN_COPYRECT, .draw_cursor = !shape};

	w.params = (struct rfb_params){.format = c->format, .level = c->enc.level,
		.quality = c->s->c.lossless ? -1 : c->enc.quality,
		.tight = c->enc.id == RFB_TIGHT_PNG ? RFB_TIGHT_PNG : RFB_TIGHT, .png = c->enc.id == RFB_TIGHT_PNG};
	return w;
}

static bool wish_same(const struct view_wish *a, const struct view_wish *b)
{
	const struct rfb_params *p = &a->params, *q = &b->params;

	return a->ops == b->ops && a->copyrect == b->copyrect && a->draw_cursor == b->draw_cursor &&
		rfb_format_same(&p->format, &q->format) && p->level == q->level && p->quality == q->quality &&
		p->tight == q->tight && p->png == q->png && p->gradient == q->gradient;
}

static bool wishes_so(const struct rfb_conn *c)
{
	struct view_wish w = wish_of(c);

	return c->view->wish.ops && wish_same(&w, &c->view->wish);
}

static uint64_t refresh_bytes(const struct rfb_conn *c)
{
	return c->enc.can & CAN_FENCE ? pace_window(&c->pace) / 2 : REFRESH_BYTES;
}

void conn_area(const struct rfb_conn *c, pixman_region32_t *area)
{
	const struct rect *a = &c->continuous_area;

	pixman_region32_copy(area, &c->asked);
	if (c->continuous && !rect_empty(*a))
		pixman_region32_union_rect(area, area, (int)a->x, (int)a->y, a->w, a->h);
	pixman_region32_intersect_rect(area, area, 0, 0, c->view->copy.w, c->view->copy.h);
}

static bool is_all(const struct rfb_conn *c, const pixman_region32_t *area)
{
	pixman_box32_t all = {0, 0, (int)c->view->copy.w, (int)c->view->copy.h};

	return pixman_region32_contains_rectangle(area, &all) == PIXMAN_REGION_IN;
}

static bool asks_all(const struct rfb_conn *c)
{
	pixman_region32_t area;
	bool all;

	pixman_region32_init(&area);
	conn_area(c, &area);
	all = is_all(c, &area);
	pixman_region32_fini(&area);
	return all;
}

unsigned share_members(const struct rfb_view *v, struct rfb_conn **m)
{
	const struct rfb_conn *owner = v->owner;
	unsigned n = 0;

	for (struct rfb_conn *c = owner->s->conns; c && n < RFB_CLIENTS; c = c->next)
		if (c->view == v)
			m[n++] = c;
	return n;
}

void share_own(struct rfb_conn *c, struct rfb_view *v)
{
	c->view = v;
	v->owner = c;
	v->members = 1;
	v->done = conn_view_done;
	v->wake = conn_view_wake;
}

void share_close(struct rfb_conn *c)
{
	struct rfb_view *v = c->view;

	c->view = NULL;
	if (!v)
		return;
	if (!--v->members) {
		view_free(v);
		return;
	}
	v->owner = v->owner == c ? NULL : v->owner;
	for (struct rfb_conn *o = c->s->conns; o && !v->owner; o = o->next)
		v->owner = o->view == v ? o : NULL;
}

static uint64_t quiet_ns(const struct rfb_server *s)
{
	return s->c.join_ms * UINT64_C(1000000);
}

void share_later(struct rfb_server *s)
{
	if (s->nviewers > 1)
		timer_set(s->env.loop, &s->joiner, now_ns() + quiet_ns(s));
}

static bool leave(struct rfb_conn *c, struct rfb_view *own)
{
	if (!own) {
		conn_close(c, "no memory");
		return false;
	}
	share_close(c);
	share_own(c, own);
	c->join_ns = now_ns() + (quiet_ns(c->s) << c->falls);
	if (c->falls < FALLS_MAX)
		c->falls++;
	share_later(c->s);
	return true;
}

bool share_leave(struct rfb_conn *c)
{
	return c->view->members == 1 || leave(c, view_split(c->view));
}

bool share_resize(struct rfb_conn *c, uint32_t w, uint32_t h)
{
	struct rfb_view *own;

	if (c->view->members == 1)
		return view_resize(c->view, w, h);
	own = view_new(&c->s->env, w, h);
	if (own)
		view_restart(own);
	return own && leave(c, own);
}

bool share_settle(struct rfb_conn *c)
{
	if (!wishes_so(c)) {
		if (!share_leave(c))
			return false;
		c->view->wish = wish_of(c);
		share_later(c->s);
	}
	c->view->refresh_bytes = refresh_bytes(c);
	return true;
}

/* As conn_pump() finds it when it has come to the picture */
static bool can_take(struct rfb_conn *c)
{
	return conn_idle(c) && !c->clip_due && (c->asked_any || c->continuous) && asks_all(c) && conn_may_send(c);
}

bool share_ready(struct rfb_conn *c, const pixman_region32_t *area)
{
	struct rfb_view *v = c->view;
	struct rfb_conn *m[RFB_CLIENTS];
	unsigned n = share_members(v, m), slow = 0;
	uint64_t now = now_ns();

	if (v->members == 1)
		return true;
	if (!is_all(c, area))
		return share_leave(c);
	for (unsigned i = 0; i < n; i++) {
		if (m[i] == c)
			continue;
		if (!wishes_so(m[i]))
			share_leave(m[i]);
		else if (!can_take(m[i]))
			m[slow++] = m[i];
		else
			v->refresh_bytes = min_u64(v->refresh_bytes, refresh_bytes(m[i]));
	}
	if (slow && (!v->wait_ns || now > v->wait_ns + STALE_NS))
		v->wait_ns = now + FRAME_NS;
	if (slow && now < v->wait_ns) {
		timer_set(c->s->env.loop, &c->again, v->wait_ns);
		return false;
	}
	v->wait_ns = 0;
	for (unsigned i = 0; i < slow; i++)
		share_leave(m[i]);
	return true;
}

static bool can_join(const struct rfb_conn *c)
{
	return view_quiet(c->view) && !c->hold && conn_idle(c) && (c->asked_any || c->continuous) && asks_all(c) && wishes_so(c);
}

/* It is of a kind that could, once it is in step. */
static bool may_join(const struct rfb_conn *c)
{
	return c->state == CONN_NORMAL && view_can_restart(c->view) && (c->enc.ops->stateless || c->enc.ops->restart);
}

/* Those that can join a's view, at most so many. How many have. later: when it is to be tried again */
static unsigned join(struct rfb_conn *a, unsigned most, uint64_t now, uint64_t *later)
{
	unsigned n = 0;

	for (struct rfb_conn *b = a->next; b && n < most; b = b->next) {
		uint64_t at = max_u64(a->join_ns, b->join_ns);

		if (b->view == a->view || !may_join(b) || !can_join(b) || !wish_same(&a->view->wish, &b->view->wish))
			continue;
		if (at > now) {
			*later = *later ? min_u64(*later, at) : at;
			continue;
		}
		if (!view_same(a->view, b->view))
			continue;
		share_close(b);
		b->view = a->view;
		b->view->members++;
		view_restart(b->view);
		n++;
	}
	return n;
}

void share_join(struct timer *t)
{
	struct rfb_server *s = CONTAINER_OF(t, struct rfb_server, joiner);
	uint64_t now = now_ns(), later = 0;
	unsigned n = 0;

	for (struct rfb_conn *c = s->conns; c && n < JOINS; c = c->next) {
		if (!may_join(c))
			continue;
		c->missed = !can_join(c);
		if (!c->missed)
			n += join(c, JOINS - n, now, &later);
	}
	if (n == JOINS)
		later = now + MORE_NS;
	if (later)
		timer_set(s->env.loop, t, later);
}

void share_idle(struct rfb_conn *c)
{
	if (c->missed && !c->s->joiner.deadline_ns)
		share_later(c->s);
	c->missed = false;
}

void share_sent(struct rfb_conn *c)
{
	if (c->view->members > 1 && c->falls && c->updates % CALM == 0)
		c->falls--;
}
