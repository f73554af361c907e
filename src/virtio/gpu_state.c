/* SPDX-License-Identifier: MIT */
/*
 * What the driver has made, in shared memory that outlives the process: its driver does not know that the device died, and
 * would be told that none of its resources exist. Pixels are not kept: those on screen still are in the scanout, and
 * guest memory has what they were made of.
 *
 * The process may die between any two stores; those before are all there, in program order. So a thing is written first,
 * and then the one word that says that it is: a slot's id, the number of its pieces, a head's resource. To take it away
 * or to change it begins with that word. The command that was under way then is in the in-flight record and is done
 * again (virtq_req.again), so it is enough that each state in between is one that a driver could have made.
 *
 * Pieces lie one backing after the other in one pool, with gaps where some have gone; the slots say where. A backing that
 * finds no room is not kept.
 *
 * Nobody but processes of this program writes here. As a guest may have taken over the one before, all is checked as
 * a guest's commands are.
 */
#include "base/util.h"
#include "virtio/gpu-int.h"

#define MAGIC UINT64_C(0x317570676b737568) /* "huskgpu1": changes with the layout */

struct state_slot {
	uint32_t id; /* 0: free */
	uint32_t format, w, h;
	uint32_t n, first; /* pieces; n 0: none */
};

struct state_head {
	uint64_t wish; /* width << 32 | height */
	struct rect r;
	uint32_t id;   /* 0: off */
	uint32_t hot_x, hot_y, padding;
};

struct state_piece {
	uint64_t gpa, len;
};

enum { PIECES_AT = 64 << 10, PIECES = (GPU_STATE - PIECES_AT) / sizeof(struct state_piece) };

struct gpu_state {
	uint64_t magic;
	uint32_t events, padding;
	struct state_head head[SCANOUT_HEADS];
	struct state_slot slot[GPU_RESOURCES];
};
_Static_assert(sizeof(struct gpu_state) <= PIECES_AT, "the pool begins behind it");

static struct state_piece *pieces(struct gpu_state *s)
{
	return (struct state_piece *)(void *)((uint8_t *)s + PIECES_AT);
}

/* The compiler keeps what is above above. */
static void then(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void set(uint32_t *word, uint32_t v)
{
	then();
	__atomic_store_n(word, v, __ATOMIC_RELAXED);
	then();
}

void gpu_state_show(struct gpu *g, unsigned head)
{
	const struct gpu_head *h = &g->head[head];
	struct state_head *k;

	if (!g->state)
		return;
	k = &g->state->head[head];
	set(&k->id, 0);
	k->r = h->r;
	set(&k->id, h->res ? h->res->id : 0);
}

/* Each word is true by itself. */
void gpu_state_head(struct gpu *g, unsigned head)
{
	const struct gpu_head *h = &g->head[head];

	if (!g->state)
		return;
	g->state->head[head].hot_x = h->hot_x;
	g->state->head[head].hot_y = h->hot_y;
	__atomic_store_n(&g->state->head[head].wish, (uint64_t)h->w << 32 | h->h, __ATOMIC_RELAXED);
	set(&g->state->events, g->events);
}

void gpu_state_res(struct gpu *g, const struct gpu_res *res)
{
	struct state_slot *k;

	if (!g->state)
		return;
	k = &g->state->slot[res->slot];
	set(&k->id, 0);
	k->format = res->format;
	k->w = res->w;
	k->h = res->h;
	k->n = 0;
	set(&k->id, res->id);
}

void gpu_state_res_free(struct gpu *g, const struct gpu_res *res)
{
	if (g->state)
		set(&g->state->slot[res->slot].id, 0);
}

/* The first gap of n pieces; false: there is none. Each step passes the end of a backing, so there are few. */
static bool gap(const struct gpu *g, uint32_t n, uint32_t *first)
{
	uint32_t at = 0;
	bool moved;

	do {
		moved = false;
		for (unsigned i = 0; i < g->nslots; i++) {
			const struct state_slot *k = &g->state->slot[i];

			if (k->id && k->n && at < (uint64_t)k->first + k->n && k->first < (uint64_t)at + n) {
				at = k->first + k->n;
				moved = true;
			}
		}
	} while (moved);
	*first = at;
	return at <= PIECES && n <= PIECES - at;
}

void gpu_state_backing(struct gpu *g, const struct gpu_res *res)
{
	struct state_slot *k;
	uint32_t first;

	if (!g->state)
		return;
	k = &g->state->slot[res->slot];
	set(&k->n, 0);
	if (!gap(g, res->npieces, &first)) {
		g->n.lost++;
		return;
	}
	for (uint32_t i = 0; i < res->npieces; i++)
		pieces(g->state)[first + i] = (struct state_piece){res->piece[i].gpa, res->piece[i + 1].at - res->piece[i].at};
	k->first = first;
	set(&k->n, res->npieces);
}

void gpu_state_backing_free(struct gpu *g, const struct gpu_res *res)
{
	if (g->state)
		set(&g->state->slot[res->slot].n, 0);
}

void gpu_state_clear(struct gpu *g)
{
	for (unsigned i = 0; g->state && i < GPU_RESOURCES; i++)
		set(&g->state->slot[i].id, 0);
	for (unsigned i = 0; g->state && i < SCANOUT_HEADS; i++)
		set(&g->state->head[i].id, 0);
}

void gpu_state_open(struct gpu *g, void *state)
{
	g->state = state;
	if (!state)
		return;
	if (g->state->magic != MAGIC) {
		/* new, or another layout's */
		g->state->magic = 0;
		then();
		memset((uint8_t *)state + sizeof g->state->magic, 0, sizeof *g->state - sizeof g->state->magic);
		for (unsigned i = 0; i < g->nheads; i++)
			gpu_state_head(g, i);
		then();
		g->state->magic = MAGIC;
		return;
	}
	g->restore = true;
	g->events = g->state->events & GPU_EVENT_DISPLAY;
	for (unsigned i = 0; i < g->nheads; i++) {
		uint32_t w = (uint32_t)(g->state->head[i].wish >> 32), h = (uint32_t)g->state->head[i].wish;

		if (scanout_mode_ok(w, h) || (i && !w)) {
			g->head[i].w = w;
			g->head[i].h = h;
		}
	}
}

/* What does not fit is forgotten. */
static void restore_backing(struct gpu *g, const struct mem *mem, struct gpu_res *res, const struct state_slot *k)
{
	struct gpu_backing b;

	if (k->first > PIECES || k->n > PIECES - k->first)
		goto lost;
	gpu_backing_begin(&b, g, res, mem, k->n);
	for (uint32_t i = 0; i < k->n; i++) {
		struct state_piece p = pieces(g->state)[k->first + i];

		gpu_backing_put(&b, p.gpa, p.len);
	}
	if (gpu_backing_end(&b) != GPU_OK)
		goto lost;
	/* as nearly all drivers lay it out; a backing that is too short for that has its picture with the next transfer */
	gpu_transfer(g, res, mem, (struct rect){0, 0, res->w, res->h}, 0);
	return;
lost:
	gpu_state_backing_free(g, res);
	g->n.lost++;
}

static void restore_res(struct gpu *g, const struct mem *mem, unsigned slot)
{
	struct state_slot k = g->state->slot[slot];
	struct gpu_res *res;

	if (!k.id)
		return;
	if (gpu_res_new(g, slot, k.id, k.format, k.w, k.h, &res) != GPU_OK) {
		set(&g->state->slot[slot].id, 0);
		g->n.lost++;
		return;
	}
	g->n.restored++;
	if (k.n)
		restore_backing(g, mem, res, &k);
}

void gpu_state_restore(struct gpu *g, const struct mem *mem)
{
	g->restore = false;
	for (unsigned i = 0; i < GPU_RESOURCES; i++)
		restore_res(g, mem, i);
	for (unsigned i = 0; i < g->nheads; i++) {
		struct state_head k = g->state->head[i];
		struct gpu_head *h = &g->head[i];

		h->hot_x = k.hot_x;
		h->hot_y = k.hot_y;
		if (gpu_head_show(g, i, gpu_res_find(g, k.id), k.r) != GPU_OK)
			gpu_head_show(g, i, NULL, k.r);
	}
}
