/* SPDX-License-Identifier: MIT */
/*
 * Moves: what a guest scrolled or dragged, found in the pixels, since nobody tells us.
 *
 *	anchors     runs of RUN pixels of cur, on a grid in what has changed, hashed. A run of one colour is none; one that is there
 *	            twice does not vote, so that empty lines, borders and patterns do not outvote what is unique
 *	votes       a hash rolls along rows of old; where it meets an anchor, that is a vote for a distance. Only every 2^k-th row
 *	            of old, and every odd-numbered-th of cur, is looked at: as both steps have no common factor, any distance keeps its share of
 *	            votes. In a film nothing meets, and it ends here
 *	score       the few distances with the most votes are tried on all anchors, those that could not vote, too
 *	map         which tiles of the changed area are exactly what lies there in old; the rectangle of such tiles with the
 *	            most changed pixels in it is found by the heights of columns and a stack, and then grown pixel by pixel, and cut
 *	            to what has changed
 *
 * The map is made for the best distance first, and rectangles are taken from it until none is worth it; then for the next, as long as
 * much is left: so two windows, or the parts of a text around a pointer, become a move each. They all read the picture as it was, while a viewer makes them one
 * after the other: they are put in an order in which none reads what one before has written; one that does not fit in is left out.
 *
 * Nothing is sent on the word of a hash: the map is made of comparisons. And all of it is bounded by the size of the picture.
 */
#include <assert.h>
#include <stdlib.h>

#include "display/pixels-int.h"
#include "display/refine.h"

enum {
	RUN = 32,            /* pixels: four letters */
	ANCHORS = 1 << 14,   /* at most */
	TABLE = 1 << 15,
	FILTER = 18,         /* 2^18 bits, most of them 0: most pixels of old end here */
	VOTES = 1 << 14,
	PROBES = 8,          /* slots that a vote may be in */
	HITS = 3,            /* places in old where an anchor votes: more are a pattern */
	VOTES_MIN = 4,
	TRIED = 12,          /* distances whose score is taken */
	MAPS = 4,            /* of those, the best */
	ROLLED = 300000,     /* pixels of old, about, that the hash rolls over */
	MARGIN = 32,         /* around what has changed, in old */
	GROW = 2 * REFINE_TILE,
	LEAST = 8000,        /* changed pixels, for all this to be worth while */
	WORTH = 2048,        /* changed pixels in a move, */
	SHARE = 32,          /* and this part of all that has changed, */
	MARKS = 8,           /* and anchors: that something has become empty is no move */
};
#define BASE UINT64_C(0x9e3779b97f4a7c55)

struct anchor {
	uint64_t hash;
	uint32_t x, y;
	bool twice;   /* another one has this hash: it does not vote, and this one is in the table */
	uint8_t hits;
};

struct vote {
	int32_t dx, dy;
	uint32_t n;
};

/* In tiles, or in pixels; x1 and y1 are behind it. */
struct box {
	uint32_t x0, y0, x1, y1;
};

struct map {
	int32_t dx, dy;
	uint8_t *same; /* of tiles: byte tw * y + x */
};

struct bar {
	uint32_t x, h;
};

struct mover {
	uint64_t power[RUN];
	struct anchor anchor[ANCHORS];
	unsigned nanchors;
	uint16_t table[TABLE]; /* anchor + 1 */
	uint64_t filter[(1u << FILTER) / 64];
	struct vote vote[VOTES];
	struct map map[MAPS];
	/* for a picture of so many tiles */
	uint32_t tw, th;
	size_t ntiles;
	uint8_t *same;
	uint32_t *gain;   /* (tw + 1) * (th + 1): changed pixels left of and above a corner of tiles */
	uint32_t *height; /* tw */
	struct bar *bar;  /* tw + 1 */
};

struct mover *mover_new(void)
{
	struct mover *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->power[RUN - 1] = 1;
	for (unsigned i = RUN - 1; i--;)
		m->power[i] = m->power[i + 1] * BASE;
	return m;
}

static void tiles_free(struct mover *m)
{
	free(m->same);
	free(m->gain);
	free(m->height);
	free(m->bar);
	m->same = NULL;
	m->gain = m->height = NULL;
	m->bar = NULL;
	m->ntiles = 0;
}

void mover_free(struct mover *m)
{
	if (!m)
		return;
	tiles_free(m);
	free(m);
}

/* False: no memory. */
static bool tiles_room(struct mover *m, const struct surface *s)
{
	size_t n;

	m->tw = (s->w + REFINE_TILE - 1) / REFINE_TILE;
	m->th = (s->h + REFINE_TILE - 1) / REFINE_TILE;
	n = (size_t)(m->tw + 1) * (m->th + 1);
	if (n > m->ntiles || !m->height) {
		tiles_free(m);
		m->same = malloc(n * MAPS);
		m->gain = malloc(n * sizeof *m->gain);
		/* of any shape with so many tiles */
		m->height = malloc(n * sizeof *m->height);
		m->bar = malloc(n * sizeof *m->bar);
		if (!m->same || !m->gain || !m->height || !m->bar) {
			tiles_free(m);
			return false;
		}
		m->ntiles = n;
	}
	for (unsigned i = 0; i < MAPS; i++)
		m->map[i].same = m->same + i * n;
	return true;
}

static uint64_t region_area(const pixman_region32_t *r)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(r, &n);
	uint64_t a = 0;

	for (int i = 0; i < n; i++)
		a += (uint64_t)(b[i].x2 - b[i].x1) * (uint64_t)(b[i].y2 - b[i].y1);
	return a;
}

/* ---- anchors ---- */

static void anchor_add(struct mover *m, const struct surface *cur, uint32_t x, uint32_t y)
{
	const uint32_t *p = surface_row(cur, x, y);
	struct anchor *a = &m->anchor[m->nanchors];
	uint32_t first = p[0], differ = 0, i;
	uint64_t h = 0;

	if (m->nanchors == ANCHORS)
		return;
	for (i = 0; i < RUN; i++) {
		h += (p[i] & PIXEL_MASK) * m->power[i];
		differ |= p[i] ^ first;
	}
	if (!(differ & PIXEL_MASK))
		return;
	*a = (struct anchor){h, x, y, false, 0};
	for (i = h >> 40 & (TABLE - 1); m->table[i]; i = (i + 1) & (TABLE - 1)) {
		struct anchor *b = &m->anchor[m->table[i] - 1];

		if (b->hash != h)
			continue;
		if (b->x == x && b->y == y) /* of the changed rectangle beside */
			return;
		b->twice = true;
		m->nanchors++;
		return;
	}
	m->table[i] = (uint16_t)++m->nanchors;
	m->filter[h >> (64 - FILTER) >> 6] |= 1ull << (h >> (64 - FILTER) & 63);
}

static void anchors_take(struct mover *m, const struct surface *cur, const pixman_region32_t *changed, uint64_t area)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(changed, &n);
	uint32_t step = (uint32_t)max_u64(3, area / RUN / ANCHORS * 5 / 4 + 1) | 1;

	m->nanchors = 0;
	memset(m->table, 0, sizeof m->table);
	memset(m->filter, 0, sizeof m->filter);
	for (int i = 0; i < n; i++)
		for (uint32_t y = ((uint32_t)b[i].y1 + step - 1) / step * step; y < (uint32_t)b[i].y2; y += step)
			for (uint32_t x = (uint32_t)b[i].x1 / RUN * RUN; x < (uint32_t)b[i].x2; x += RUN)
				anchor_add(m, cur, (uint32_t)min_u64(x, cur->w - RUN), y);
}

/* ---- votes ---- */

static void vote(struct mover *m, int32_t dx, int32_t dy)
{
	uint32_t h = (uint32_t)dx * 0x9e3779b1u ^ (uint32_t)dy * 0x85ebca77u;

	for (unsigned i = 0; i < PROBES; i++) {
		struct vote *v = &m->vote[((h >> 16) + i) & (VOTES - 1)];

		if (!v->n)
			*v = (struct vote){dx, dy, 0};
		if (v->dx == dx && v->dy == dy) {
			v->n++;
			return;
		}
	}
}

static void meet(struct mover *m, uint64_t h, uint32_t x, uint32_t y)
{
	for (uint32_t i = h >> 40 & (TABLE - 1); m->table[i]; i = (i + 1) & (TABLE - 1)) {
		struct anchor *a = &m->anchor[m->table[i] - 1];

		if (a->hash != h)
			continue;
		if (!a->twice && a->hits < HITS && (a->x != x || a->y != y)) {
			a->hits++;
			vote(m, (int32_t)(a->x - x), (int32_t)(a->y - y));
		}
		return;
	}
}

static void roll(struct mover *m, const struct surface *old, struct box in)
{
	uint64_t area = (uint64_t)(in.x1 - in.x0) * (in.y1 - in.y0), out = m->power[0] * BASE;
	uint32_t step = 1;

	while (area / step > ROLLED)
		step *= 2;
	memset(m->vote, 0, sizeof m->vote);
	for (uint32_t y = in.y0 / step * step; y < in.y1; y += step) {
		const uint32_t *p = surface_row(old, in.x0, y);
		uint32_t n = in.x1 - in.x0;
		uint64_t h = 0;

		for (uint32_t i = 0; i < n; i++) {
			h = h * BASE + (p[i] & PIXEL_MASK);
			if (i >= RUN)
				h -= (p[i - RUN] & PIXEL_MASK) * out;
			if (m->filter[h >> (64 - FILTER) >> 6] >> (h >> (64 - FILTER) & 63) & 1 && i >= RUN - 1)
				meet(m, h, in.x0 + i - (RUN - 1), y);
		}
	}
}

/* Is what is at r in cur what was at (r.x - dx, r.y - dy) in old? False also if that is outside. */
static bool came_from(const struct surface *cur, const struct surface *old, struct box r, int32_t dx, int32_t dy)
{
	int64_t x = (int64_t)r.x0 - dx, y = (int64_t)r.y0 - dy;

	if (x < 0 || y < 0 || x + (r.x1 - r.x0) > old->w || y + (r.y1 - r.y0) > old->h)
		return false;
	for (uint32_t i = 0; i < r.y1 - r.y0; i++)
		if (!pixels_same(surface_row(cur, r.x0, r.y0 + i), surface_row(old, (uint32_t)x, (uint32_t)y + i), r.x1 - r.x0))
			return false;
	return true;
}

/* A vote list, best first, of at most max. */
static unsigned rank(struct vote *top, unsigned n, unsigned max, struct vote v)
{
	unsigned i = n < max ? n++ : max - 1;

	if (n == max && i == max - 1 && top[i].n >= v.n && top[i].n)
		return n;
	for (; i && top[i - 1].n < v.n; i--)
		top[i] = top[i - 1];
	top[i] = v;
	return n;
}

/* The distances for which a map is made: how many. */
static unsigned elect(struct mover *m, const struct surface *cur, const struct surface *old)
{
	struct vote top[TRIED] = {{0}}, best[MAPS] = {{0}};
	unsigned n = 0, nbest = 0, least, k;

	for (unsigned i = 0; i < VOTES; i++)
		if (m->vote[i].n >= VOTES_MIN)
			n = rank(top, n, TRIED, m->vote[i]);
	least = top[0].n / 16;
	for (unsigned i = 0; i < n && top[i].n >= least; i++) {
		top[i].n = 0;
		for (unsigned a = 0; a < m->nanchors; a++) {
			const struct anchor *p = &m->anchor[a];

			top[i].n += came_from(cur, old, (struct box){p->x, p->y, p->x + RUN, p->y + 1}, top[i].dx, top[i].dy);
		}
		nbest = rank(best, nbest, MAPS, top[i]);
	}
	for (k = 0; k < nbest && best[k].n >= 2 * VOTES_MIN && best[k].n >= best[0].n / 16; k++) {
		m->map[k].dx = best[k].dx;
		m->map[k].dy = best[k].dy;
	}
	return k;
}

/* ---- rectangles ---- */

static struct box tile_box(const struct surface *s, uint32_t x0, uint32_t y0, uint32_t x1, uint32_t y1)
{
	return (struct box){x0 * REFINE_TILE, y0 * REFINE_TILE, (uint32_t)min_u64(x1 * REFINE_TILE, s->w),
		(uint32_t)min_u64(y1 * REFINE_TILE, s->h)};
}

static void map_make(struct mover *m, struct map *p, const struct surface *cur, const struct surface *old, struct box t)
{
	for (uint32_t y = t.y0; y < t.y1; y++)
		for (uint32_t x = t.x0; x < t.x1; x++)
			p->same[m->tw * y + x] = came_from(cur, old, tile_box(cur, x, y, x + 1, y + 1), p->dx, p->dy);
}

/* Changed pixels per tile of t, and then the sums. */
static void gain_make(struct mover *m, const pixman_region32_t *rest)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(rest, &n);
	uint32_t stride = m->tw + 1;

	memset(m->gain, 0, (size_t)stride * (m->th + 1) * sizeof *m->gain);
	for (int i = 0; i < n; i++)
		for (int32_t y = b[i].y1 / REFINE_TILE; y * REFINE_TILE < b[i].y2; y++)
			for (int32_t x = b[i].x1 / REFINE_TILE; x * REFINE_TILE < b[i].x2; x++) {
				int32_t x0 = x * REFINE_TILE, y0 = y * REFINE_TILE, x1 = x0 + REFINE_TILE, y1 = y0 + REFINE_TILE;

				x0 = x0 > b[i].x1 ? x0 : b[i].x1;
				y0 = y0 > b[i].y1 ? y0 : b[i].y1;
				x1 = x1 < b[i].x2 ? x1 : b[i].x2;
				y1 = y1 < b[i].y2 ? y1 : b[i].y2;
				m->gain[(uint32_t)(y + 1) * stride + (uint32_t)x + 1] += (uint32_t)((x1 - x0) * (y1 - y0));
			}
	for (uint32_t y = 1; y <= m->th; y++)
		for (uint32_t x = 1; x <= m->tw; x++)
			m->gain[y * stride + x] += m->gain[y * stride + x - 1] + m->gain[(y - 1) * stride + x] -
				m->gain[(y - 1) * stride + x - 1];
}

static uint32_t gain_of(const struct mover *m, struct box b)
{
	uint32_t stride = m->tw + 1;

	return m->gain[b.y1 * stride + b.x1] - m->gain[b.y1 * stride + b.x0] - m->gain[b.y0 * stride + b.x1] +
		m->gain[b.y0 * stride + b.x0];
}

/* The rectangle of moved tiles within t that gains most, in tiles; what it gains. */
static uint32_t map_best(const struct mover *m, const struct map *p, struct box t, struct box *best)
{
	uint32_t most = 0;

	memset(m->height, 0, m->tw * sizeof *m->height);
	for (uint32_t y = t.y0; y < t.y1; y++) {
		unsigned n = 0;

		/* bars that are still open, each higher than the one before; one behind the end closes all */
		for (uint32_t x = t.x0; x <= t.x1; x++) {
			uint32_t h = 0, from = x;

			if (x < t.x1)
				h = m->height[x] = p->same[m->tw * y + x] ? m->height[x] + 1 : 0;
			while (n && m->bar[n - 1].h >= h) {
				struct bar b = m->bar[--n];
				struct box r = {b.x, y + 1 - b.h, x, y + 1};
				uint32_t g = gain_of(m, r);

				from = b.x;
				if (g > most) {
					most = g;
					*best = r;
				}
			}
			if (h)
				m->bar[n++] = (struct bar){from, h};
		}
	}
	return most;
}

static void grow(const struct surface *cur, const struct surface *old, struct box *r, int32_t dx, int32_t dy)
{
	unsigned n;

	for (n = 0; n < GROW && r->y0 && came_from(cur, old, (struct box){r->x0, r->y0 - 1, r->x1, r->y0}, dx, dy); n++)
		r->y0--;
	for (n = 0; n < GROW && r->y1 < cur->h && came_from(cur, old, (struct box){r->x0, r->y1, r->x1, r->y1 + 1}, dx, dy); n++)
		r->y1++;
	for (n = 0; n < GROW && r->x0 && came_from(cur, old, (struct box){r->x0 - 1, r->y0, r->x0, r->y1}, dx, dy); n++)
		r->x0--;
	for (n = 0; n < GROW && r->x1 < cur->w && came_from(cur, old, (struct box){r->x1, r->y0, r->x1 + 1, r->y1}, dx, dy); n++)
		r->x1++;
}

static unsigned anchors_in(const struct mover *m, struct box b)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->nanchors; i++) {
		const struct anchor *a = &m->anchor[i];

		n += a->x >= b.x0 && a->x + RUN <= b.x1 && a->y >= b.y0 && a->y < b.y1;
	}
	return n;
}

/* Takes the best rectangle of the n maps off rest. False: it is not worth it. */
static bool take(struct mover *m, unsigned n, const struct surface *cur, const struct surface *old, struct box t, uint64_t worth,
	pixman_region32_t *rest, struct move *out)
{
	struct box best = {0}, b = {0};
	const struct map *p = NULL;
	uint32_t most = 0;
	pixman_region32_t in;
	const pixman_box32_t *e;
	uint64_t gain;
	bool good;

	gain_make(m, rest);
	for (unsigned i = 0; i < n; i++) {
		uint32_t g = map_best(m, &m->map[i], t, &b);

		if (g > most) {
			most = g;
			best = b;
			p = &m->map[i];
		}
	}
	if (!p)
		return false;
	b = tile_box(cur, best.x0, best.y0, best.x1, best.y1);
	grow(cur, old, &b, p->dx, p->dy);
	pixman_region32_init(&in);
	pixman_region32_intersect_rect(&in, rest, (int)b.x0, (int)b.y0, b.x1 - b.x0, b.y1 - b.y0);
	gain = region_area(&in);
	e = pixman_region32_extents(&in);
	*out = (struct move){{(uint32_t)e->x1, (uint32_t)e->y1, (uint32_t)(e->x2 - e->x1), (uint32_t)(e->y2 - e->y1)}, p->dx, p->dy};
	good = gain >= worth && anchors_in(m, b) >= MARKS;
	if (good)
		pixman_region32_subtract(rest, rest, &in);
	pixman_region32_fini(&in);
	return good;
}

/* ---- order ---- */

/* Does a read what b writes? */
static bool reads(const struct move *a, const struct move *b)
{
	int64_t x = (int64_t)a->dst.x - a->dx, y = (int64_t)a->dst.y - a->dy;

	return x < (int64_t)b->dst.x + b->dst.w && b->dst.x < x + a->dst.w && y < (int64_t)b->dst.y + b->dst.h &&
		b->dst.y < y + a->dst.h;
}

/* The moves of in, which come best first, in an order in which they can be made; those that are in a circle, less the last of it. */
static unsigned put_in_order(struct move *in, unsigned n, struct move *out)
{
	unsigned k = 0;

	while (n) {
		unsigned i, j;

		for (i = 0; i < n; i++) {
			for (j = 0; j < n && (j == i || !reads(&in[j], &in[i])); j++)
				;
			if (j == n)
				break;
		}
		if (i < n)
			out[k++] = in[i];
		else
			i = n - 1;
		memmove(&in[i], &in[i + 1], (--n - i) * sizeof *in);
	}
	return k;
}

unsigned mover_find(struct mover *m, const struct surface *cur, const struct surface *old, const pixman_region32_t *changed,
	struct move *out, unsigned max)
{
	struct move found[REFINE_MOVES];
	uint64_t area;
	pixman_region32_t rest;
	const pixman_box32_t *e;
	struct box in, t;
	unsigned nmaps, made = 0, n = 0;

	assert(cur->w == old->w && cur->h == old->h);
	max = (unsigned)min_u64(max, REFINE_MOVES);
	pixman_region32_init(&rest);
	pixman_region32_intersect_rect(&rest, changed, 0, 0, cur->w, cur->h);
	area = region_area(&rest);
	if (area < LEAST || cur->w < RUN || !tiles_room(m, cur))
		goto out;
	e = pixman_region32_extents(&rest);
	in = (struct box){(uint32_t)e->x1, (uint32_t)e->y1, (uint32_t)e->x2, (uint32_t)e->y2};
	t = (struct box){in.x0 / REFINE_TILE, in.y0 / REFINE_TILE, (in.x1 + REFINE_TILE - 1) / REFINE_TILE,
		(in.y1 + REFINE_TILE - 1) / REFINE_TILE};
	in = (struct box){in.x0 > MARGIN ? in.x0 - MARGIN : 0, in.y0 > MARGIN ? in.y0 - MARGIN : 0,
		(uint32_t)min_u64(in.x1 + MARGIN, cur->w), (uint32_t)min_u64(in.y1 + MARGIN, cur->h)};
	anchors_take(m, cur, &rest, area);
	if (m->nanchors < VOTES_MIN)
		goto out;
	roll(m, old, in);
	nmaps = elect(m, cur, old);
	while (n < max && region_area(&rest) >= LEAST) {
		if (take(m, made, cur, old, t, max_u64(WORTH, area / SHARE), &rest, &found[n]))
			n++;
		else if (made < nmaps)
			map_make(m, &m->map[made++], cur, old, t);
		else
			break;
	}
	n = put_in_order(found, n, out);
out:
	pixman_region32_fini(&rest);
	return n;
}

void move_apply(struct surface *old, const struct move *m)
{
	for (uint32_t i = 0; i < m->dst.h; i++) {
		uint32_t y = m->dst.y + (m->dy > 0 ? m->dst.h - 1 - i : i); /* not over what is still to be read */

		memmove(surface_row(old, m->dst.x, y),
			surface_row(old, (uint32_t)((int32_t)m->dst.x - m->dx), (uint32_t)((int32_t)y - m->dy)), 4ull * m->dst.w);
	}
}
