/* SPDX-License-Identifier: MIT */
/*
 * A view has a copy of the picture as its viewer has it, and knows where the two may differ: pending. An update compares
 * these places on the loop's thread, first for moves, then pixel by pixel, and brings the copy up to date. A job then encodes
 * from the copy, which nobody changes until it has ended. So no encoder ever reads what the guest is writing: what is sent
 * is what the copy holds, and a pixel that changes after it was compared is damaged again and goes with the next update.
 *
 * What is drawn into the copy beside the picture is the guest's cursor, for viewers that cannot show one. It is taken away
 * before the comparison and drawn again after it, and there are no moves while there is one: the viewer's screen has it, too.
 *
 * Loss: what went as JPEG is in lossy[0]; every 100 ms it becomes older by one, and what is in the last, and so has been still
 * for at least 300 ms, is sent again without loss, a piece at a time, so that the next change waits for little.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "rfb/view-int.h"

enum { MOVE_PIXELS = 8192, UPDATE_PIXELS = 8 << 20, PIECES_MIN = 4, PIECES_MAX = 16, PIECE_ROWS = 16, BYTES_PER_PIXEL = 2,
	REGION_RECTS = 256, LOSSY_RECTS = 4096 };
static const uint64_t AGE_NS = 100000000u;

static uint64_t region_pixels(const pixman_region32_t *r)
{
	uint64_t sum = 0;
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(r, &n);

	for (int i = 0; i < n; i++)
		sum += (uint64_t)(b[i].x2 - b[i].x1) * (uint64_t)(b[i].y2 - b[i].y1);
	return sum;
}

static bool empty(const pixman_region32_t *r)
{
	return !pixman_region32_not_empty(r);
}

static void add_rect(pixman_region32_t *to, struct rect r)
{
	if (!rect_empty(r))
		pixman_region32_union_rect(to, to, (int)r.x, (int)r.y, r.w, r.h);
}

static void sub_rect(pixman_region32_t *from, struct rect r)
{
	pixman_region32_t x;

	pixman_region32_init_rect(&x, (int)r.x, (int)r.y, r.w, r.h);
	pixman_region32_subtract(from, from, &x);
	pixman_region32_fini(&x);
}

static struct rect box_rect(const pixman_box32_t *b)
{
	return (struct rect){(uint32_t)b->x1, (uint32_t)b->y1, (uint32_t)(b->x2 - b->x1), (uint32_t)(b->y2 - b->y1)};
}

static struct rect whole(const struct rfb_view *v)
{
	return (struct rect){0, 0, v->copy.w, v->copy.h};
}

/* Damage of many small rectangles costs more in regions than in comparisons. */
static void simplify(pixman_region32_t *r, int rects)
{
	pixman_box32_t b;

	if (pixman_region32_n_rects(r) <= rects)
		return;
	b = *pixman_region32_extents(r);
	pixman_region32_reset(r, &b);
}

/* --- where a head lies ------------------------------------------------------------------------- */

struct part {
	struct rect at;            /* in the copy */
	struct surface cur, old;   /* of one size */
};

static bool head_part(struct rfb_view *v, const struct display_head *h, struct part *p)
{
	p->at = h->place;
	p->at.w = (uint32_t)min_u64(p->at.w, h->surface.w);
	p->at.h = (uint32_t)min_u64(p->at.h, h->surface.h);
	p->at = rect_clip(p->at, v->copy.w, v->copy.h);
	if (rect_empty(p->at))
		return false;
	p->cur = surface_part(&h->surface, (struct rect){0, 0, p->at.w, p->at.h});
	p->old = surface_part(&v->copy, p->at);
	return true;
}

/* --- the cursor, for viewers that cannot show it ------------------------------------------------- */

static void swap_under(struct rfb_view *v, bool save)
{
	for (uint32_t y = 0; y < v->cursor.h; y++) {
		uint32_t *px = surface_row(&v->copy, v->cursor.x, v->cursor.y + y), *keep = v->under + y * SCANOUT_CURSOR_MAX;

		memcpy(save ? keep : px, save ? px : keep, v->cursor.w * 4);
	}
}

/* Premultiplied ARGB over opaque */
static uint32_t blend(uint32_t over, uint32_t under)
{
	uint32_t a = 255 - (over >> 24), rb, g;

	rb = (under & 0xff00ff) * a + 0x800080;
	rb = ((rb + (rb >> 8 & 0xff00ff)) >> 8 & 0xff00ff) + (over & 0xff00ff);
	g = (under >> 8 & 0xff) * a + 0x80;
	g = ((g + (g >> 8)) >> 8) + (over >> 8 & 0xff);
	/* a cursor whose colours are no product with its alpha: cut, not carried into the next channel */
	if (rb & 0x100)
		rb |= 0xff;
	if (rb & 0x1000000)
		rb |= 0xff0000;
	return (rb & 0xff00ff) | (uint32_t)min_u64(g, 255) << 8;
}

static void cursor_draw(struct rfb_view *v, const struct scanout_view_cursor *c, int64_t x, int64_t y)
{
	for (uint32_t j = 0; j < v->cursor.h; j++) {
		const uint32_t *from = c->px + (size_t)((int64_t)v->cursor.y + j - y) * c->w + ((int64_t)v->cursor.x - x);
		uint32_t *to = surface_row(&v->copy, v->cursor.x, v->cursor.y + j);

		for (uint32_t i = 0; i < v->cursor.w; i++)
			to[i] = blend(from[i], to[i]);
	}
}

/* Where the cursor is to be drawn now; c becomes NULL if nowhere. */
static struct rect cursor_place(const struct rfb_view *v, const struct scanout_view_cursor **c, int64_t *x, int64_t *y)
{
	int64_t x2, y2;

	*c = v->wish.draw_cursor ? display_cursor(v->env->display) : NULL;
	if (*c && !(*c)->w)
		*c = NULL;
	if (!*c)
		return (struct rect){0, 0, 0, 0};
	*x = (int64_t)(*c)->x - (*c)->hot_x;
	*y = (int64_t)(*c)->y - (*c)->hot_y;
	x2 = *x + (*c)->w;
	y2 = *y + (*c)->h;
	if (x2 <= 0 || y2 <= 0 || *x >= v->copy.w || *y >= v->copy.h) {
		*c = NULL;
		return (struct rect){0, 0, 0, 0};
	}
	return (struct rect){(uint32_t)(*x < 0 ? 0 : *x), (uint32_t)(*y < 0 ? 0 : *y),
		(uint32_t)((x2 < v->copy.w ? x2 : v->copy.w) - (*x < 0 ? 0 : *x)),
		(uint32_t)((y2 < v->copy.h ? y2 : v->copy.h) - (*y < 0 ? 0 : *y))};
}

/* What is drawn is not what is to be drawn. */
static bool cursor_stale(const struct rfb_view *v)
{
	const struct scanout_view_cursor *c;
	int64_t x, y;
	struct rect at = cursor_place(v, &c, &x, &y);

	return memcmp(&at, &v->cursor, sizeof at) || (c && c->generation != v->cursor_generation);
}

/* The viewer has one on its screen, or is to have one. */
static bool cursor_in_way(const struct rfb_view *v)
{
	const struct scanout_view_cursor *c;
	int64_t x, y;

	return !rect_empty(v->cursor) || !rect_empty(cursor_place(v, &c, &x, &y));
}

static bool meets(const pixman_region32_t *r, struct rect at)
{
	pixman_box32_t b = {(int)at.x, (int)at.y, (int)(at.x + at.w), (int)(at.y + at.h)};

	return !rect_empty(at) && pixman_region32_contains_rectangle(r, &b) != PIXMAN_REGION_OUT;
}

/* After swap_under(v, false): the copy is without cursor. */
static void cursor_cover(struct rfb_view *v, pixman_region32_t *changed)
{
	const struct scanout_view_cursor *c;
	int64_t x = 0, y = 0;
	struct rect at = cursor_place(v, &c, &x, &y), old = v->cursor;

	if (!c || memcmp(&at, &old, sizeof at) || c->generation != v->cursor_generation || meets(changed, at)) {
		add_rect(changed, old);
		add_rect(changed, at);
	}
	v->cursor = at;
	if (!c)
		return;
	v->cursor_generation = c->generation;
	swap_under(v, true);
	cursor_draw(v, c, x, y);
}

/* --- from the picture into the copy -------------------------------------------------------------- */

/* The viewer does the same to its screen: what is lossy moves, too. Coordinates of the copy. */
static void move_lossy(struct rfb_view *v, const struct move *m)
{
	pixman_region32_t moved;

	pixman_region32_init(&moved);
	for (unsigned i = 0; i < VIEW_AGES; i++)
		pixman_region32_union(&moved, &moved, &v->lossy[i]);
	pixman_region32_intersect_rect(&moved, &moved, (int)m->dst.x - m->dx, (int)m->dst.y - m->dy, m->dst.w, m->dst.h);
	pixman_region32_translate(&moved, m->dx, m->dy);
	for (unsigned i = 0; i < VIEW_AGES; i++)
		sub_rect(&v->lossy[i], m->dst);
	pixman_region32_union(&v->lossy[0], &v->lossy[0], &moved);
	pixman_region32_fini(&moved);
}

static void find_moves(struct rfb_view *v, struct part *p, const pixman_region32_t *area, pixman_region32_t *found)
{
	struct move m[REFINE_MOVES];
	unsigned n = mover_find(v->env->mover, &p->cur, &p->old, found, m, REFINE_MOVES);
	pixman_region32_t again;

	if (!n)
		return;
	pixman_region32_init(&again);
	pixman_region32_copy(&again, found);
	for (unsigned i = 0; i < n; i++) {
		struct move w = m[i];
		pixman_box32_t b;

		w.dst.x += p->at.x;
		w.dst.y += p->at.y;
		b = (pixman_box32_t){(int)w.dst.x, (int)w.dst.y, (int)(w.dst.x + w.dst.w), (int)(w.dst.y + w.dst.h)};
		if (pixman_region32_contains_rectangle(area, &b) != PIXMAN_REGION_IN)
			continue;
		move_apply(&p->old, &m[i]);
		move_lossy(v, &w);
		v->move[v->nmoves++] = w;
		add_rect(&again, m[i].dst);
	}
	pixman_region32_clear(found);
	refine_find(&p->cur, &p->old, &again, found);
	pixman_region32_fini(&again);
}

static void copy_region(struct part *p, const pixman_region32_t *r)
{
	int n;
	const pixman_box32_t *b = pixman_region32_rectangles(r, &n);

	for (int i = 0; i < n; i++)
		refine_copy(&p->old, &p->cur, box_rect(&b[i]));
}

/* Where pending: compare. Where forced: take as it is. In area only. Adds to changed. */
static void take_head(struct rfb_view *v, struct part *p, const pixman_region32_t *area, pixman_region32_t *changed)
{
	int x = (int)p->at.x, y = (int)p->at.y;
	bool moves = v->wish.copyrect && empty(&v->forced) && !cursor_in_way(v);
	pixman_region32_t where, found;

	pixman_region32_init(&where);
	pixman_region32_init(&found);
	pixman_region32_intersect(&where, &v->forced, area);
	pixman_region32_intersect_rect(&where, &where, x, y, p->at.w, p->at.h);
	pixman_region32_union(changed, changed, &where);
	pixman_region32_translate(&where, -x, -y);
	copy_region(p, &where);

	pixman_region32_intersect(&where, &v->pending, area);
	pixman_region32_intersect_rect(&where, &where, x, y, p->at.w, p->at.h);
	pixman_region32_translate(&where, -x, -y);
	if (!empty(&where))
		refine_find(&p->cur, &p->old, &where, &found);
	if (moves && region_pixels(&found) >= MOVE_PIXELS)
		find_moves(v, p, area, &found);
	copy_region(p, &found);
	pixman_region32_translate(&found, x, y);
	pixman_region32_union(changed, changed, &found);
	pixman_region32_fini(&where);
	pixman_region32_fini(&found);
}

/* What no head covers is black. Adds to changed where it is to be sent. */
static void take_outside(struct rfb_view *v, const pixman_region32_t *area, const pixman_region32_t *heads,
	pixman_region32_t *changed)
{
	pixman_region32_t out;
	const pixman_box32_t *b;
	int n;

	pixman_region32_init_rect(&out, 0, 0, v->copy.w, v->copy.h);
	pixman_region32_subtract(&out, &out, heads);
	if (v->relaid) {
		pixman_region32_union(&v->forced, &v->forced, &out);
		b = pixman_region32_rectangles(&out, &n);
		for (int i = 0; i < n; i++)
			for (int y = b[i].y1; y < b[i].y2; y++)
				memset(surface_row(&v->copy, (uint32_t)b[i].x1, (uint32_t)y), 0, 4 * (size_t)(b[i].x2 - b[i].x1));
		v->relaid = false;
	}
	pixman_region32_intersect(&out, &out, &v->forced);
	pixman_region32_intersect(&out, &out, area);
	pixman_region32_union(changed, changed, &out);
	pixman_region32_fini(&out);
}

static void take_picture(struct rfb_view *v, const pixman_region32_t *area, pixman_region32_t *changed)
{
	const struct display_picture *pic = display_picture(v->env->display);
	pixman_region32_t heads;
	struct part p;

	pixman_region32_init(&heads);
	if (v->relaid)
		for (unsigned i = 0; i < pic->nheads; i++)
			if (head_part(v, &pic->head[i], &p))
				add_rect(&heads, p.at);
	if (v->relaid || !empty(&v->forced)) {
		pixman_region32_clear(&heads);
		for (unsigned i = 0; i < pic->nheads; i++)
			if (head_part(v, &pic->head[i], &p))
				add_rect(&heads, p.at);
		take_outside(v, area, &heads, changed);
	}
	for (unsigned i = 0; i < pic->nheads; i++)
		if (head_part(v, &pic->head[i], &p))
			take_head(v, &p, area, changed);
	pixman_region32_subtract(&v->pending, &v->pending, area);
	pixman_region32_subtract(&v->forced, &v->forced, area);
	pixman_region32_fini(&heads);
}

/* Not more than so many pixels: the rest is to be sent later, unless it is to be sent never (rest NULL). */
static void cut_region(pixman_region32_t *r, uint64_t pixels, pixman_region32_t *rest)
{
	pixman_region32_t keep;
	const pixman_box32_t *b;
	int n;

	if (region_pixels(r) <= pixels)
		return;
	pixman_region32_init(&keep);
	b = pixman_region32_rectangles(r, &n);
	for (int i = 0; i < n && pixels; i++) {
		struct rect x = box_rect(&b[i]);
		uint64_t rows = align_up(pixels / x.w + 1, PIECE_ROWS);

		x.h = (uint32_t)min_u64(x.h, rows);
		add_rect(&keep, x);
		pixels -= min_u64(pixels, (uint64_t)x.w * x.h);
	}
	if (rest) {
		pixman_region32_subtract(r, r, &keep);
		pixman_region32_union(rest, rest, r);
	}
	pixman_region32_copy(r, &keep);
	pixman_region32_fini(&keep);
}

/* --- lossless refresh ------------------------------------------------------------------------------ */

static void timer_start(struct rfb_view *v)
{
	bool young = false;

	for (unsigned i = 0; i < VIEW_AGES - 1; i++)
		young |= !empty(&v->lossy[i]);
	if (young && !v->timer.deadline_ns)
		timer_set(v->env->loop, &v->timer, now_ns() + AGE_NS);
}

static void age(struct timer *t)
{
	struct rfb_view *v = CONTAINER_OF(t, struct rfb_view, timer);
	unsigned last = VIEW_AGES - 1;

	pixman_region32_union(&v->lossy[last], &v->lossy[last], &v->lossy[last - 1]);
	for (unsigned i = last - 1; i; i--)
		pixman_region32_copy(&v->lossy[i], &v->lossy[i - 1]);
	pixman_region32_clear(&v->lossy[0]);
	simplify(&v->lossy[last], LOSSY_RECTS);
	timer_start(v);
	if (!empty(&v->lossy[last]))
		v->wake(v);
}

/* What is to be refreshed with this update: into v->refresh */
static void take_refresh(struct rfb_view *v, const pixman_region32_t *area)
{
	pixman_region32_t *old = &v->lossy[VIEW_AGES - 1];
	uint64_t piece;

	if (empty(old)) {
		v->refresh_total = 0;
		return;
	}
	v->refresh_total = max_u64(v->refresh_total, region_pixels(old));
	piece = v->refresh_bytes / BYTES_PER_PIXEL;
	piece = min_u64(max_u64(piece, v->refresh_total / PIECES_MAX), v->refresh_total / PIECES_MIN + 1);
	if (!empty(&v->changed))
		piece = min_u64(piece, v->refresh_total / PIECES_MAX + 1);
	pixman_region32_intersect(&v->refresh, old, area);
	pixman_region32_subtract(&v->refresh, &v->refresh, &v->changed);
	cut_region(&v->refresh, piece, NULL);
	if (!empty(&v->refresh))
		v->env->n.refreshes++;
}

/* --- encoding -------------------------------------------------------------------------------------- */

static bool encode_region(struct rfb_view *v, const pixman_region32_t *region, bool lossless)
{
	struct rfb_params params = v->wish.params;
	struct rect r[REFINE_RECTS];
	unsigned n = refine_rects(region, r, ARRAY_LEN(r));

	if (lossless)
		params.quality = -1;
	for (unsigned i = 0; i < n; i++) {
		int k;

		if (v->nrects >= VIEW_RECTS_MAX) {
			add_rect(&v->left, r[i]);
			continue;
		}
		k = v->wish.ops->encode(v->enc, &params, &v->copy, r[i], &v->out, &v->lost);
		if (k < 0)
			return false;
		v->nrects += (unsigned)k;
	}
	return true;
}

static void job_run(struct rfb_job *j)
{
	struct rfb_view *v = CONTAINER_OF(j, struct rfb_view, job);
	uint64_t began = now_ns();

	buf_clear(&v->out);
	buf_put(&v->out, (uint8_t[VIEW_HEADER]){0}, VIEW_HEADER);
	for (unsigned i = 0; i < v->nmoves; i++) {
		const struct move *m = &v->move[i];

		rfb_rect_header(&v->out, m->dst, RFB_COPYRECT);
		buf_be16(&v->out, (uint16_t)((int64_t)m->dst.x - m->dx));
		buf_be16(&v->out, (uint16_t)((int64_t)m->dst.y - m->dy));
	}
	v->nrects = v->nmoves;
	v->failed = !encode_region(v, &v->changed, false) || !encode_region(v, &v->refresh, true) || v->out.failed;
	v->encode_ns = now_ns() - began;
}

static void view_free_now(struct rfb_view *v);

static void job_done(struct rfb_job *j)
{
	struct rfb_view *v = CONTAINER_OF(j, struct rfb_view, job);
	struct rfb_counters *n = &v->env->n;

	v->busy = false;
	if (v->dead) {
		struct rfb_view **p = &v->env->dead;

		while (*p != v)
			p = &(*p)->next_dead;
		*p = v->next_dead;
		view_free_now(v);
		return;
	}
	/* rectangles for which an update had no number left: again */
	if (!empty(&v->left)) {
		pixman_region32_union(&v->forced, &v->forced, &v->left);
		pixman_region32_subtract(&v->changed, &v->changed, &v->left);
		pixman_region32_subtract(&v->lost, &v->lost, &v->left);
	}
	pixman_region32_union(&v->lossy[0], &v->lossy[0], &v->lost);
	simplify(&v->lossy[0], LOSSY_RECTS);
	timer_start(v);
	n->encoded++;
	n->rects += v->nrects;
	n->copies += v->nmoves;
	n->pixels += region_pixels(&v->changed);
	n->encode_ns += v->encode_ns;
	v->done(v);
}

static struct rfb_encoder *coder_get(struct rfb_view *v)
{
	struct view_coder *c = v->coder;

	while (c->ops && c->ops != v->wish.ops)
		c++;
	assert(c < v->coder + VIEW_CODERS);
	if (!c->ops) {
		c->enc = v->wish.ops->open();
		c->ops = c->enc ? v->wish.ops : NULL;
		if (c->enc && v->mixed && c->ops->restart)
			c->ops->restart(c->enc);
	}
	return c->enc;
}

bool view_wants(const struct rfb_view *v, const pixman_region32_t *area)
{
	const pixman_region32_t *r[] = {&v->pending, &v->forced, &v->lossy[VIEW_AGES - 1]};
	bool any = false;

	if (v->relaid || cursor_stale(v))
		return true;
	for (unsigned i = 0; i < ARRAY_LEN(r) && !any; i++) {
		pixman_region32_t x;

		if (empty(r[i]))
			continue;
		pixman_region32_init(&x);
		pixman_region32_intersect(&x, r[i], area);
		any = !empty(&x);
		pixman_region32_fini(&x);
	}
	return any;
}

bool view_begin(struct rfb_view *v, const pixman_region32_t *area)
{
	pixman_region32_t out;

	assert(!v->busy);
	v->enc = coder_get(v);
	if (!v->enc) {
		v->failed = true;
		return false;
	}
	v->nmoves = 0;
	pixman_region32_clear(&v->changed);
	pixman_region32_clear(&v->refresh);
	pixman_region32_clear(&v->left);
	pixman_region32_clear(&v->lost);
	swap_under(v, false);
	take_picture(v, area, &v->changed);
	cursor_cover(v, &v->changed);
	/* a cursor, or a group of tiles, may reach beyond what was asked for */
	pixman_region32_init(&out);
	pixman_region32_subtract(&out, &v->changed, area);
	pixman_region32_union(&v->forced, &v->forced, &out);
	pixman_region32_subtract(&v->changed, &v->changed, &out);
	pixman_region32_fini(&out);
	cut_region(&v->changed, UPDATE_PIXELS, &v->forced);
	take_refresh(v, area);
	if (empty(&v->changed) && empty(&v->refresh) && !v->nmoves)
		return false;
	for (unsigned i = 0; i < VIEW_AGES; i++) {
		pixman_region32_subtract(&v->lossy[i], &v->lossy[i], &v->changed);
		pixman_region32_subtract(&v->lossy[i], &v->lossy[i], &v->refresh);
	}
	v->busy = true;
	v->job = (struct rfb_job){.run = job_run, .done = job_done};
	rfb_pool_submit(v->env->pool, &v->job);
	return true;
}

/* --- life ------------------------------------------------------------------------------------------ */

static bool surface_new(struct surface *s, uint32_t w, uint32_t h)
{
	*s = (struct surface){w, h, w * 4, calloc(h, (size_t)w * 4)};
	return s->px;
}

static void force_all(struct rfb_view *v)
{
	pixman_region32_clear(&v->pending);
	pixman_region32_clear(&v->forced);
	add_rect(&v->forced, whole(v));
	for (unsigned i = 0; i < VIEW_AGES; i++)
		pixman_region32_clear(&v->lossy[i]);
	v->cursor = (struct rect){0, 0, 0, 0};
	v->refresh_total = 0;
	v->relaid = false;
}

static struct rfb_view *alloc(struct view_env *env, uint32_t w, uint32_t h)
{
	struct rfb_view *v = calloc(1, sizeof *v);

	if (!v || !surface_new(&v->copy, w, h)) {
		free(v);
		return NULL;
	}
	v->env = env;
	v->timer.fire = age;
	pixman_region32_init(&v->pending);
	pixman_region32_init(&v->forced);
	for (unsigned i = 0; i < VIEW_AGES; i++)
		pixman_region32_init(&v->lossy[i]);
	pixman_region32_init(&v->changed);
	pixman_region32_init(&v->refresh);
	pixman_region32_init(&v->left);
	pixman_region32_init(&v->lost);
	return v;
}

struct rfb_view *view_new(struct view_env *env, uint32_t w, uint32_t h)
{
	struct rfb_view *v = alloc(env, w, h);

	if (v)
		force_all(v);
	return v;
}

struct rfb_view *view_split(const struct rfb_view *v)
{
	struct rfb_view *own = alloc(v->env, v->copy.w, v->copy.h);

	assert(!v->busy);
	if (!own)
		return NULL;
	memcpy(own->copy.px, v->copy.px, (size_t)v->copy.h * v->copy.stride);
	pixman_region32_copy(&own->pending, &v->pending);
	pixman_region32_copy(&own->forced, &v->forced);
	for (unsigned i = 0; i < VIEW_AGES; i++)
		pixman_region32_copy(&own->lossy[i], &v->lossy[i]);
	own->done = v->done;
	own->wake = v->wake;
	own->wish = v->wish;
	own->relaid = v->relaid;
	own->refresh_total = v->refresh_total;
	own->cursor = v->cursor;
	own->cursor_generation = v->cursor_generation;
	memcpy(own->under, v->under, sizeof own->under);
	/* streams of its own, all of which begin anew */
	own->mixed = true;
	timer_start(own);
	return own;
}

bool view_can_restart(const struct rfb_view *v)
{
	const struct view_coder *c = v->coder;

	while (c < v->coder + VIEW_CODERS && c->ops && (c->ops->stateless || c->ops->restart))
		c++;
	return c == v->coder + VIEW_CODERS || !c->ops;
}

void view_restart(struct rfb_view *v)
{
	for (struct view_coder *c = v->coder; c < v->coder + VIEW_CODERS && c->ops; c++)
		if (c->ops->restart)
			c->ops->restart(c->enc);
	v->mixed = true;
}

bool view_quiet(const struct rfb_view *v)
{
	bool loss = false;

	for (unsigned i = 0; i < VIEW_AGES; i++)
		loss |= !empty(&v->lossy[i]);
	return !v->busy && !loss && !v->relaid && empty(&v->pending) && empty(&v->forced) && !cursor_stale(v);
}

bool view_same(const struct rfb_view *a, const struct rfb_view *b)
{
	return a->copy.w == b->copy.w && a->copy.h == b->copy.h && !memcmp(&a->cursor, &b->cursor, sizeof a->cursor) &&
		!memcmp(a->copy.px, b->copy.px, (size_t)a->copy.h * a->copy.stride);
}

static void view_free_now(struct rfb_view *v)
{
	if (!v)
		return;
	timer_set(v->env->loop, &v->timer, 0);
	for (struct view_coder *c = v->coder; c < v->coder + VIEW_CODERS && c->ops; c++)
		c->ops->close(c->enc);
	pixman_region32_fini(&v->pending);
	pixman_region32_fini(&v->forced);
	for (unsigned i = 0; i < VIEW_AGES; i++)
		pixman_region32_fini(&v->lossy[i]);
	pixman_region32_fini(&v->changed);
	pixman_region32_fini(&v->refresh);
	pixman_region32_fini(&v->left);
	pixman_region32_fini(&v->lost);
	buf_fini(&v->out);
	free(v->copy.px);
	free(v);
}

void view_env_fini(struct view_env *env)
{
	for (struct rfb_view *v = env->dead, *next; v; v = next) {
		next = v->next_dead;
		view_free_now(v);
	}
	env->dead = NULL;
}

void view_free(struct rfb_view *v)
{
	if (v && v->busy) {
		timer_set(v->env->loop, &v->timer, 0);
		v->dead = true;
		v->next_dead = v->env->dead;
		v->env->dead = v;
	} else {
		view_free_now(v);
	}
}

void view_damage(struct rfb_view *v, const struct rect *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		add_rect(&v->pending, rect_clip(r[i], v->copy.w, v->copy.h));
	simplify(&v->pending, REGION_RECTS);
}

void view_relaid(struct rfb_view *v)
{
	add_rect(&v->pending, whole(v));
	v->relaid = true;
}

bool view_resize(struct rfb_view *v, uint32_t w, uint32_t h)
{
	struct surface s;

	assert(!v->busy);
	if (!surface_new(&s, w, h))
		return false;
	free(v->copy.px);
	v->copy = s;
	force_all(v);
	return true;
}

void view_force(struct rfb_view *v, struct rect r)
{
	add_rect(&v->forced, rect_clip(r, v->copy.w, v->copy.h));
	simplify(&v->forced, REGION_RECTS);
}
