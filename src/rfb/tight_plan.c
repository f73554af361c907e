/* SPDX-License-Identifier: MIT */
/*
 * What is sent as what.
 *
 * A part of the picture is cut into cells of 8x16 pixels (at places that do not depend on the part: terminals have such
 * cells, too), and each cell is looked at: one colour, two colours, many, or photo-like. Then
 *
 *  1. rectangles of photo-like cells are taken out, if they are large enough to be worth their headers: JPEG, or full
 *     colour if nothing may be lost. Few cells of that kind among others (an icon) are just "many". Few cells of other
 *     kinds among them are covered by the JPEG, and then sent again as what they are: cheaper than many small JPEGs.
 *  2. What remains of each row of cells becomes runs: as far as two colours suffice, and as far as they do not.
 *     Neighbours are joined when one palette for both is cheaper than two rectangles.
 *  3. Runs that continue those of the row above are joined with them.
 *
 * Two colours at a time are what makes text small: it is one bit per pixel, 8 times less for zlib to look at, and zlib
 * sees 8 times as far. So a line of text with words in three colours is three rectangles.
 *
 * Photo-like is decided by neighbours, since it is what those who look can tell: in drawn pictures (text, windows, areas
 * that are flat or change in one direction) colours are few, or many neighbours are equal, and where they are not the
 * step is often large; in photographs noise makes nearly all of them differ by a little. When in doubt it is not a photo:
 * that costs bytes, not legibility.
 */
#include <emmintrin.h>

#include "base/util.h"
#include "rfb/tight-int.h"

enum { CELL_W = 8, CELL_H = 16, COLS_MAX = TIGHT_WIDTH / CELL_W + 1 };
enum { PHOTO_MIN = 1024 };             /* pixels: fewer do not pay for JPEG's tables */
enum { PHOTO_MAX = 512 * 1024 };       /* pixels: the length must fit, and the other side can begin earlier */
enum { HOLE_MAX = 4 };                 /* cells: drawn over a photograph that goes on behind it */
enum { PHOTO_MAX_16 = 64 * 1024 };     /* libvncclient's room for a JPEG, if it is not 32 bits that it wants in the end */
enum { MANY_MAX = 64 * 1024, COLUMN = 256 / CELL_W };
enum { TWO_MAX = 1024 * 1024 };
enum { PHOTO_COLOURS = 8 };            /* a cell with no more of them is drawn */
enum { INK_MIN = 6, INK_SHARE = 16 };  /* pixels, and one in so many */
enum { STRONG = 64 };                  /* a step between neighbours that is an edge */
enum { SOLID_LARGE = 8192 };           /* pixels: worth a rectangle of their own */

/* Bytes, about: a rectangle, and a cell in it */
enum { COST_FILL = 16, COST_TWO = 30, COST_MANY = 42, COST_PNG = 70, COST_CELL_TWO = 2 };
enum { MANY_SOLID = 1, MANY_TWO = 5, MANY_MANY = 10, MANY_PHOTO = 200 };

enum cell_kind { CELL_DONE, CELL_SOLID, CELL_TWO, CELL_MANY, CELL_PHOTO };

struct cell {
	uint32_t colour[2];
	uint8_t kind;
	bool edges; /* a photo with strong steps in it */
};

struct plan {
	struct tight_job *j;
	struct rect r;
	unsigned cols, rows;
	struct cell *cell;
	bool jpeg;
	uint64_t photo_max; /* pixels */
	unsigned hole_max;  /* cells */
};

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static struct cell *cell_at(const struct plan *p, unsigned x, unsigned y)
{
	return &p->cell[y * p->cols + x];
}

/* The pixels of cells [x0, x1) x [y0, y1) */
static struct rect cells_rect(const struct plan *p, unsigned x0, unsigned x1, unsigned y0, unsigned y1)
{
	uint32_t bx = p->r.x / CELL_W, by = p->r.y / CELL_H;
	uint32_t left = most(p->r.x, (bx + x0) * CELL_W), right = least(p->r.x + p->r.w, (bx + x1) * CELL_W);
	uint32_t top = most(p->r.y, (by + y0) * CELL_H), bottom = least(p->r.y + p->r.h, (by + y1) * CELL_H);

	return (struct rect){left, top, right - left, bottom - top};
}

static uint64_t area(struct rect r)
{
	return (uint64_t)r.w * r.h;
}

/* ---- looking at a cell ---- */

struct row {
	__m128i lo, hi;
};

static struct row row_load(const uint32_t *px, unsigned w)
{
	const __m128i rgb = _mm_set1_epi32(0xffffff);
	uint32_t t[CELL_W] = {0};

	if (w < CELL_W) {
		memcpy(t, px, w * sizeof *px);
		px = t;
	}
	return (struct row){_mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)px), rgb),
		_mm_and_si128(_mm_loadu_si128((const __m128i *)(const void *)(px + 4)), rgb)};
}

/* A bit per pixel that is set in m */
static inline unsigned row_mask(__m128i lo, __m128i hi)
{
	return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(_mm_packs_epi32(lo, hi), _mm_setzero_si128()));
}

static inline unsigned row_is(struct row v, uint32_t colour)
{
	const __m128i c = _mm_set1_epi32((int)colour);

	return row_mask(_mm_cmpeq_epi32(v.lo, c), _mm_cmpeq_epi32(v.hi, c));
}

static inline unsigned row_equal(struct row a, struct row b)
{
	return row_mask(_mm_cmpeq_epi32(a.lo, b.lo), _mm_cmpeq_epi32(a.hi, b.hi));
}

static inline __m128i weak(__m128i a, __m128i b)
{
	__m128i d = _mm_or_si128(_mm_subs_epu8(a, b), _mm_subs_epu8(b, a));

	return _mm_cmpeq_epi32(_mm_subs_epu8(d, _mm_set1_epi8(STRONG)), _mm_setzero_si128());
}

static inline unsigned row_strong(struct row a, struct row b)
{
	return ~row_mask(weak(a.lo, b.lo), weak(a.hi, b.hi));
}

/* Each pixel's right neighbour; the last one has none */
static inline struct row row_next(struct row v)
{
	return (struct row){_mm_or_si128(_mm_srli_si128(v.lo, 4), _mm_slli_si128(v.hi, 12)), _mm_srli_si128(v.hi, 4)};
}

/* More than n different colours (n at most PHOTO_COLOURS)? Those of a photo show soon. */
static bool more_colours(const struct surface *s, struct rect r, unsigned n)
{
	uint32_t seen[PHOTO_COLOURS];
	unsigned k, nseen = 0;

	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			uint32_t v = *surface_row(s, r.x + x, r.y + y) & 0xffffff;

			for (k = 0; k < nseen && seen[k] != v; k++)
				;
			if (k < nseen)
				continue;
			if (nseen == n)
				return true;
			seen[nseen++] = v;
		}
	return false;
}

/*
 * Where few neighbours are equal and many steps are large there may be letters on a photograph: then a good deal of the
 * pixels have the one colour of the ink. A hash finds the candidate.
 */
static bool has_ink(const struct surface *s, struct rect r)
{
	uint8_t count[256] = {0}, top = 0;
	uint32_t ink = 0, n = 0;

	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			uint32_t v = *surface_row(s, r.x + x, r.y + y) & 0xffffff;
			uint8_t *c = &count[v * 0x9e3779b1u >> 24];

			if (++*c > top) {
				top = *c;
				ink = v;
			}
		}
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++)
			n += (*surface_row(s, r.x + x, r.y + y) & 0xffffff) == ink;
	return n >= INK_MIN && n * INK_SHARE >= r.w * r.h;
}

static bool looks_photo(const struct surface *s, struct rect r, unsigned equal, unsigned strong, unsigned pairs)
{
	if (equal * 5 >= pairs)
		return equal * 5 < pairs * 2 && !strong;
	return strong * 32 < pairs || !has_ink(s, r);
}

static void cell_many(struct cell *c, const struct surface *s, struct rect r)
{
	unsigned all = (1u << r.w) - 1, inner = all >> 1, equal = 0, strong = 0, pairs = 0;
	struct row above = {0};

	for (uint32_t y = 0; y < r.h; y++) {
		struct row v = row_load(surface_row(s, r.x, r.y + y), r.w), next = row_next(v);
		unsigned e = row_equal(v, next) & inner, st = row_strong(v, next) & inner;

		if (y) {
			e |= (row_equal(v, above) & all) << 8;
			st |= (row_strong(v, above) & all) << 8;
			pairs += r.w;
		}
		equal += (unsigned)__builtin_popcount(e);
		strong += (unsigned)__builtin_popcount(st);
		pairs += r.w - 1;
		above = v;
	}
	c->edges = strong;
	c->kind = CELL_MANY;
	if (looks_photo(s, r, equal, strong, pairs) && more_colours(s, r, least(PHOTO_COLOURS, r.w * r.h / 4)))
		c->kind = CELL_PHOTO;
}

static void cell_look(struct cell *c, const struct surface *s, struct rect r)
{
	unsigned all = (1u << r.w) - 1;

	c->kind = CELL_SOLID;
	c->colour[0] = *surface_row(s, r.x, r.y) & 0xffffff;
	for (uint32_t y = 0; y < r.h; y++) {
		const uint32_t *px = surface_row(s, r.x, r.y + y);
		struct row v = row_load(px, r.w);
		unsigned other = all & ~row_is(v, c->colour[0]);

		if (!other)
			continue;
		if (c->kind == CELL_SOLID) {
			c->kind = CELL_TWO;
			c->colour[1] = px[__builtin_ctz(other)] & 0xffffff;
		}
		if (other & ~row_is(v, c->colour[1])) {
			cell_many(c, s, r);
			return;
		}
	}
}

/* ---- photographs ---- */

static bool is_photo(const struct plan *p, unsigned x, unsigned y)
{
	return cell_at(p, x, y)->kind == CELL_PHOTO;
}

static bool is_drawn(const struct plan *p, unsigned x, unsigned y)
{
	return x < p->cols && y < p->rows && cell_at(p, x, y)->kind != CELL_PHOTO;
}

/* A photo-like cell with edges next to a drawn one may have the end of a letter in it. */
static void photos_doubt(struct plan *p)
{
	for (unsigned y = 0; y < p->rows; y++)
		for (unsigned x = 0; x < p->cols; x++) {
			struct cell *c = cell_at(p, x, y);

			c->edges = c->kind == CELL_PHOTO && c->edges && (is_drawn(p, x - 1, y) || is_drawn(p, x + 1, y) ||
				is_drawn(p, x, y - 1) || is_drawn(p, x, y + 1));
		}
	for (unsigned i = 0; i < p->cols * p->rows; i++)
		if (p->cell[i].edges)
			p->cell[i].kind = CELL_MANY;
}

/* Are these photo-like, but for few and small holes? */
static bool row_photo(const struct plan *p, unsigned x0, unsigned x1, unsigned y)
{
	unsigned holes = 0, hole = 0;

	for (unsigned x = x0; x < x1; x++) {
		if (is_photo(p, x, y)) {
			hole = 0;
			continue;
		}
		holes++;
		if (++hole > p->hole_max || cell_at(p, x, y)->kind == CELL_DONE)
			return false;
	}
	return holes * 4 <= x1 - x0;
}

/* How far right it goes on from a photo-like cell */
static unsigned photo_right(const struct plan *p, unsigned x, unsigned y)
{
	unsigned last = x, near = x + 1;

	for (unsigned i = x + 1; i < p->cols && i - last <= p->hole_max + 1; i++)
		if (is_photo(p, i, y))
			last = i;
	if (row_photo(p, x, last + 1, y))
		return last + 1;
	while (near < p->cols && is_photo(p, near, y))
		near++;
	return near;
}

/* How far down all of [x0, x1) goes on, within what may be sent as one */
static unsigned photo_down(const struct plan *p, unsigned x0, unsigned x1, unsigned y)
{
	unsigned y1 = y + 1;

	while (y1 < p->rows && row_photo(p, x0, x1, y1) && area(cells_rect(p, x0, x1, y, y1 + 1)) <= p->photo_max)
		y1++;
	return y1;
}

/* What was photo-like is done; lossy: and not what it was. Holes are still to be sent. */
static void photo_done(struct plan *p, unsigned x0, unsigned x1, unsigned y, bool lossy)
{
	pixman_region32_t *region = p->j->lossy;

	for (unsigned x = x0, end; x < x1; x = end + 1) {
		struct rect r;

		for (end = x; end < x1 && is_photo(p, end, y); end++)
			cell_at(p, end, y)->kind = CELL_DONE;
		if (end == x || !lossy)
			continue;
		r = cells_rect(p, x, end, y, y + 1);
		if (!pixman_region32_union_rect(region, region, (int)r.x, (int)r.y, r.w, r.h))
			p->j->out->failed = true;
	}
}

static void photo_send(struct plan *p, unsigned x0, unsigned x1, unsigned y0, unsigned y1)
{
	struct rect r = cells_rect(p, x0, x1, y0, y1);
	bool lossy = false;

	if (area(r) < PHOTO_MIN) {
		for (unsigned y = y0; y < y1; y++)
			for (unsigned x = x0; x < x1; x++)
				if (is_photo(p, x, y))
					cell_at(p, x, y)->kind = CELL_MANY;
		return;
	}
	if (p->jpeg)
		lossy = tight_jpeg(p->j, r);
	if (!lossy)
		tight_photo(p->j, r);
	for (unsigned y = y0; y < y1; y++)
		photo_done(p, x0, x1, y, lossy);
}

/* Greedy: each rectangle begins at the first cell left, and goes right then down or down then right, whichever is larger. */
static void photos(struct plan *p)
{
	for (unsigned y = 0; y < p->rows; y++)
		for (unsigned x = 0; x < p->cols; x++) {
			unsigned right, down, narrow = x + 1, tall;

			if (!is_photo(p, x, y))
				continue;
			right = photo_right(p, x, y);
			down = photo_down(p, x, right, y);
			tall = photo_down(p, x, x + 1, y);
			while (narrow < right && is_photo(p, narrow, y) && photo_down(p, narrow, narrow + 1, y) >= tall &&
			       area(cells_rect(p, x, narrow + 1, y, tall)) <= p->photo_max)
				narrow++;
			if (area(cells_rect(p, x, right, y, down)) >= area(cells_rect(p, x, narrow, y, tall)))
				photo_send(p, x, right, y, down);
			else
				photo_send(p, x, narrow, y, tall);
		}
}

/* ---- runs ---- */

struct run {
	unsigned x0, x1, y0, y1;
	bool many;
	unsigned n; /* colours, if not many */
	uint32_t colour[2];
	uint32_t cost_many; /* of its cells, if they were many */
};

static struct run run_of(const struct cell *c, unsigned x, unsigned y)
{
	static const uint32_t cost[] = {[CELL_SOLID] = MANY_SOLID, [CELL_TWO] = MANY_TWO, [CELL_MANY] = MANY_MANY,
		[CELL_PHOTO] = MANY_PHOTO};

	return (struct run){.x0 = x, .x1 = x + 1, .y0 = y, .y1 = y + 1, .many = c->kind > CELL_TWO,
		.n = c->kind == CELL_TWO ? 2 : 1, .colour = {c->colour[0], c->colour[1]}, .cost_many = cost[c->kind]};
}

/* Adds the colours of b to a's; false, and nothing changes: there would be more than two */
static bool colours_join(struct run *a, const struct run *b)
{
	unsigned n = a->n;
	uint32_t second = a->colour[1];

	for (unsigned i = 0; i < b->n; i++) {
		if (b->colour[i] == a->colour[0] || (n == 2 && b->colour[i] == second))
			continue;
		if (n == 2)
			return false;
		second = b->colour[i];
		n = 2;
	}
	a->n = n;
	a->colour[1] = second;
	return true;
}

static uint32_t run_cost(const struct plan *p, const struct run *r)
{
	uint32_t png = p->j->p->png ? COST_PNG : 0;

	if (r->many)
		return COST_MANY + png + r->cost_many;
	return r->n == 1 ? COST_FILL : COST_TWO + png + COST_CELL_TWO * (r->x1 - r->x0);
}

/* Are the last n runs cheaper as one with a palette? Then they are one. */
static bool runs_join(const struct plan *p, struct run *r, unsigned *nr, unsigned n)
{
	uint32_t apart = 0;
	struct run all;

	if (*nr < n)
		return false;
	r += *nr - n;
	all = r[0];
	all.many = true;
	all.cost_many = 0;
	for (unsigned i = 0; i < n; i++) {
		if (i && r[i - 1].x1 != r[i].x0)
			return false;
		apart += run_cost(p, &r[i]);
		all.cost_many += r[i].cost_many;
		all.x1 = r[i].x1;
	}
	if (run_cost(p, &all) > apart)
		return false;
	r[0] = all;
	*nr -= n - 1;
	return true;
}

/*
 * Runs of many colours end at columns of COLUMN cells, so that they continue from row to row more often, and zlib has in
 * its window what is above, not only what is beside. A rest of less than half a column is left where it is.
 */
static unsigned runs_split(const struct plan *p, const struct run *from, unsigned n, struct run *to)
{
	unsigned first = p->r.x / CELL_W, m = 0;

	for (unsigned i = 0; i < n; i++) {
		struct run r = from[i];

		while (r.many) {
			unsigned end = (r.x0 + first) / COLUMN * COLUMN + COLUMN - first;

			if (r.x1 < end + COLUMN / 2)
				break;
			to[m] = r;
			to[m++].x1 = end;
			r.x0 = end;
		}
		to[m++] = r;
	}
	return m;
}

/* The runs of a row of cells, at most COLS_MAX; how many */
static unsigned runs_of_row(const struct plan *p, unsigned y, struct run *to)
{
	struct run r[COLS_MAX];
	unsigned n = 0, m = 0;

	for (unsigned x = 0; x < p->cols; x++) {
		struct cell *c = cell_at(p, x, y);
		struct run one;

		if (c->kind == CELL_DONE)
			continue;
		one = run_of(c, x, y);
		if (n && r[n - 1].x1 == x && r[n - 1].many == one.many && (one.many || colours_join(&r[n - 1], &one))) {
			r[n - 1].x1 = x + 1;
			r[n - 1].cost_many += one.cost_many;
		} else {
			r[n++] = one;
		}
	}
	for (unsigned i = 0; i < n; i++) {
		r[m++] = r[i];
		while (runs_join(p, r, &m, 2) || runs_join(p, r, &m, 3))
			;
	}
	return runs_split(p, r, m, to);
}

static void run_send(const struct plan *p, const struct run *r)
{
	struct rect at = cells_rect(p, r->x0, r->x1, r->y0, r->y1);

	if (r->many)
		tight_many(p->j, at);
	else if (r->n == 1)
		tight_fill(p->j, at, r->colour[0]);
	else
		tight_two(p->j, at, r->colour[0], r->colour[1]);
}

/* Does b, a row lower, continue a? Then b is both. */
static bool run_continues(const struct plan *p, const struct run *a, struct run *b)
{
	struct run both = *a;
	uint64_t n;

	if (a->x0 != b->x0 || a->x1 != b->x1 || a->many != b->many)
		return false;
	both.y1 = b->y1;
	n = area(cells_rect(p, both.x0, both.x1, both.y0, both.y1));
	if (a->many ? n > MANY_MAX : n > TWO_MAX || !colours_join(&both, b))
		return false;
	/* what is large and of one colour stays so: a fill is the cheapest of all, to make and to draw */
	if (a->n == 1 && both.n == 2 && area(cells_rect(p, a->x0, a->x1, a->y0, a->y1)) >= SOLID_LARGE)
		return false;
	*b = both;
	return true;
}

static void runs(struct plan *p)
{
	struct run buf[2][COLS_MAX], *above = buf[0], *now = buf[1], *t;
	unsigned n, nabove = 0;

	for (unsigned y = 0; y <= p->rows && !p->j->out->failed; y++) {
		unsigned k = 0;

		n = y < p->rows ? runs_of_row(p, y, now) : 0;
		for (unsigned i = 0; i < nabove; i++) {
			while (k < n && now[k].x0 < above[i].x0)
				k++;
			if (k == n || !run_continues(p, &above[i], &now[k]))
				run_send(p, &above[i]);
		}
		t = above;
		above = now;
		now = t;
		nabove = n;
	}
}

void tight_plan(struct tight_job *j, struct rect r)
{
	struct plan p = {.j = j, .r = r, .jpeg = j->p->quality >= 0 && j->p->format.bpp > 8,
		.photo_max = j->p->format.bpp == 32 ? PHOTO_MAX : PHOTO_MAX_16};

	p.hole_max = p.jpeg ? HOLE_MAX : 0;
	p.cols = (r.x + r.w - 1) / CELL_W - r.x / CELL_W + 1;
	p.rows = (r.y + r.h - 1) / CELL_H - r.y / CELL_H + 1;
	p.cell = tight_mem(j, &j->enc->cells, (size_t)p.cols * p.rows * sizeof *p.cell);
	if (!p.cell)
		return;
	for (unsigned y = 0; y < p.rows; y++)
		for (unsigned x = 0; x < p.cols; x++)
			cell_look(cell_at(&p, x, y), j->s, cells_rect(&p, x, x + 1, y, y + 1));
	photos_doubt(&p);
	photos(&p);
	runs(&p);
}
