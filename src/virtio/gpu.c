/* SPDX-License-Identifier: MIT */
/*
 * virtio-gpu, the 2D part: Virtual I/O Device 1.2, 5.7. The driver draws into its own memory. For us to see it, it makes
 * a resource (a picture here), attaches its memory to it, has rectangles transferred from there, sets the resource
 * as what a head shows, and flushes rectangles, which go to the head's scanout then.
 *
 *	guest pages --TRANSFER--> resource (gpu_res.c) --FLUSH--> scanout (display/scanout.h) --> viewers
 *
 * Each command is done when it is taken, so fences are complete in order when they are answered. Viewers are
 * woken once per kick.
 *
 * When a head gets another resource, all of it is to be seen, also what the driver does not flush. Most drivers flush
 * at once, some (page flips) all of it, and it should not be copied twice: so the head is marked (whole), and what
 * no flush has shown is shown when there are no commands left.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/gpu-int.h"

enum { Q_CONTROL, Q_CURSOR, NQUEUES };
enum { ROUNDS = 4 /* queues full in one go: then others have their turn */ };

static const uint64_t MEMORY_MAX = 256 * MIB;

struct gpu_wire_config {
	uint32_t events, clear, heads, capsets;
};

static struct gpu *gpu_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct gpu, dev);
}

/* ---- heads ---- */

/* What of r, in the resource's coordinates, the head shows */
static void show(struct gpu *g, struct gpu_head *h, struct rect r)
{
	uint64_t left = max_u64(r.x, h->r.x), top = max_u64(r.y, h->r.y);
	uint64_t right = min_u64((uint64_t)r.x + r.w, (uint64_t)h->r.x + h->r.w);
	uint64_t bottom = min_u64((uint64_t)r.y + r.h, (uint64_t)h->r.y + h->r.h);
	struct rect to;

	if (left >= right || top >= bottom)
		return;
	to = (struct rect){(uint32_t)(left - h->r.x), (uint32_t)(top - h->r.y), (uint32_t)(right - left),
		(uint32_t)(bottom - top)};
	for (uint32_t y = 0; y < to.h; y++)
		memcpy(surface_row(&h->s, to.x, to.y + y), h->res->px + (top + y) * h->res->w + left, (size_t)to.w * 4);
	scanout_damage(h->out, to);
	g->n.shown += (uint64_t)to.w * to.h;
}

static void head_off(struct gpu_head *h)
{
	h->res = NULL;
	h->r = (struct rect){0};
	h->whole = false;
	scanout_off(h->out);
}

enum gpu_answer gpu_head_show(struct gpu *g, unsigned head, struct gpu_res *res, struct rect r)
{
	struct gpu_head *h = &g->head[head];

	if (!res) {
		head_off(h);
		gpu_state_show(g, head);
		return GPU_OK;
	}
	if (!gpu_inside(res, r))
		return GPU_ERR_INVALID_PARAMETER;
	if (h->res == res && !memcmp(&h->r, &r, sizeof r))
		return GPU_OK;
	if (!scanout_mode(h->out, r.w, r.h, &h->s))
		return GPU_ERR_INVALID_PARAMETER;
	h->res = res;
	h->r = r;
	h->whole = true;
	gpu_state_show(g, head);
	return GPU_OK;
}

/* Nobody shows it any more. */
static void unshow(struct gpu *g, const struct gpu_res *res)
{
	for (unsigned i = 0; i < g->nheads; i++)
		if (g->head[i].res == res)
			gpu_head_show(g, i, NULL, (struct rect){0});
}

/* The commands are done, for now. */
static void settle(struct gpu *g)
{
	for (unsigned i = 0; i < g->nheads; i++) {
		struct gpu_head *h = &g->head[i];

		if (h->whole)
			show(g, h, h->r);
		h->whole = false;
		scanout_commit(h->out);
	}
}

/* ---- commands of the control queue ---- */

/* A request, and its answer if that is more than a header */
struct command {
	const struct virtq_req *r;
	const struct mem *mem; /* the guest's */
	union gpu_request q;
	union {
		struct gpu_header h;
		struct gpu_display_info display;
		struct gpu_edid_info edid;
	} a;
};

static enum gpu_answer get_display_info(struct gpu *g, struct command *c)
{
	uint32_t x = 0;

	for (unsigned i = 0; i < g->nheads; i++) {
		const struct gpu_head *h = &g->head[i];

		c->a.display.head[i].r = (struct rect){x, 0, h->w, h->h};
		c->a.display.head[i].enabled = h->w > 0;
		x += h->w;
	}
	return GPU_OK_DISPLAY_INFO;
}

static enum gpu_answer resource_create(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.create.id);
	enum gpu_answer a;

	if (res && c->r->again) {
		unshow(g, res);
		gpu_state_res_free(g, res);
		gpu_res_free(g, res);
	}
	a = gpu_res_new(g, gpu_res_slot(g), c->q.create.id, c->q.create.format, c->q.create.width, c->q.create.height, &res);
	if (a == GPU_OK)
		gpu_state_res(g, res);
	return a;
}

static enum gpu_answer resource_unref(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.unref.id);

	if (!res)
		return c->r->again ? GPU_OK : GPU_ERR_INVALID_RESOURCE;
	unshow(g, res);
	gpu_state_res_free(g, res);
	gpu_res_free(g, res);
	return GPU_OK;
}

static enum gpu_answer set_scanout(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.scanout.id);

	if (c->q.scanout.head >= g->nheads)
		return GPU_ERR_INVALID_SCANOUT;
	if (c->q.scanout.id && !res)
		return GPU_ERR_INVALID_RESOURCE;
	return gpu_head_show(g, c->q.scanout.head, res, c->q.scanout.r);
}

static enum gpu_answer resource_flush(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.flush.id);
	struct rect r = c->q.flush.r;

	if (!res)
		return GPU_ERR_INVALID_RESOURCE;
	if (!gpu_inside(res, r))
		return GPU_ERR_INVALID_PARAMETER;
	for (unsigned i = 0; i < g->nheads; i++) {
		struct gpu_head *h = &g->head[i];

		if (h->res != res)
			continue;
		show(g, h, h->whole ? h->r : r);
		h->whole = false;
	}
	return GPU_OK;
}

static enum gpu_answer transfer_to_host(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.transfer.id);

	return res ? gpu_transfer(g, res, c->mem, c->q.transfer.r, c->q.transfer.off) : GPU_ERR_INVALID_RESOURCE;
}

static enum gpu_answer attach_backing(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.attach.id);
	size_t off = sizeof c->q.attach;
	struct gpu_backing b;
	enum gpu_answer a;

	if (!res)
		return GPU_ERR_INVALID_RESOURCE;
	if (c->q.attach.n > (c->r->out_len - off) / sizeof(struct gpu_wire_entry))
		return GPU_ERR_INVALID_PARAMETER;
	if (c->r->again) {
		gpu_state_backing_free(g, res);
		gpu_backing_free(g, res);
	}
	gpu_backing_begin(&b, g, res, c->mem, c->q.attach.n);
	for (uint32_t i = 0; i < c->q.attach.n && b.answer == GPU_OK;) {
		struct gpu_wire_entry e[128];
		uint32_t n = (uint32_t)min_u64(c->q.attach.n - i, ARRAY_LEN(e));

		virtq_get(c->r, off, e, n * sizeof e[0]);
		for (uint32_t k = 0; k < n; k++)
			gpu_backing_put(&b, e[k].gpa, e[k].len);
		off += n * sizeof e[0];
		i += n;
	}
	a = gpu_backing_end(&b);
	if (a == GPU_OK)
		gpu_state_backing(g, res);
	return a;
}

static enum gpu_answer detach_backing(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.detach.id);

	if (!res)
		return GPU_ERR_INVALID_RESOURCE;
	if (!res->piece)
		return c->r->again ? GPU_OK : GPU_ERR_UNSPEC;
	gpu_state_backing_free(g, res);
	gpu_backing_free(g, res);
	return GPU_OK;
}

/*
 * A detailed timing has 12 bits for a side. For what is larger there is none: Linux then goes by the display information,
 * which it does not look at if there is an EDID.
 */
static enum gpu_answer get_edid(struct gpu *g, struct command *c)
{
	uint32_t head = c->q.edid.head;
	const struct gpu_head *h = &g->head[head < g->nheads && g->head[head].w ? head : 0];

	if (!(g->vq[Q_CONTROL]->features & GPU_F_EDID))
		return GPU_ERR_UNSPEC;
	if (head >= g->nheads)
		return GPU_ERR_INVALID_SCANOUT;
	if (h->w > GPU_EDID_SIDE || h->h > GPU_EDID_SIDE)
		return GPU_ERR_UNSPEC;
	c->a.edid.size = GPU_EDID;
	edid_make(c->a.edid.edid, h->w, h->h, head);
	return GPU_OK_EDID;
}

/* ---- commands of the cursor queue ---- */

/* Linux sends the corner of the picture and not the hot spot, as it moves a plane (drm_plane_state.crtc_x). */
static void cursor_at(struct gpu_head *h, const struct command *c)
{
	scanout_cursor_at(h->out, (int32_t)(c->q.cursor.x + h->hot_x), (int32_t)(c->q.cursor.y + h->hot_y));
}

static enum gpu_answer update_cursor(struct gpu *g, struct command *c)
{
	struct gpu_res *res = gpu_res_find(g, c->q.cursor.id);
	uint32_t px[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];
	struct gpu_head *h;

	if (c->q.cursor.head >= g->nheads)
		return GPU_ERR_INVALID_SCANOUT;
	h = &g->head[c->q.cursor.head];
	g->n.cursors++;
	if (!c->q.cursor.id) {
		scanout_cursor(h->out, 0, 0, 0, 0, NULL);
		return GPU_OK;
	}
	if (!res)
		return GPU_ERR_INVALID_RESOURCE;
	if (res->w > SCANOUT_CURSOR_MAX || res->h > SCANOUT_CURSOR_MAX)
		return GPU_ERR_INVALID_PARAMETER;
	/* a cursor has alpha whatever its format says: Linux makes all its dumb buffers X8R8G8B8, also for this plane */
	memcpy(px, res->px, (size_t)res->w * res->h * 4);
	/* programs in the guest choose it */
	h->hot_x = (uint32_t)min_u64(c->q.cursor.hot_x, res->w - 1);
	h->hot_y = (uint32_t)min_u64(c->q.cursor.hot_y, res->h - 1);
	gpu_state_head(g, c->q.cursor.head);
	scanout_cursor(h->out, res->w, res->h, h->hot_x, h->hot_y, px);
	cursor_at(h, c);
	return GPU_OK;
}

static enum gpu_answer move_cursor(struct gpu *g, struct command *c)
{
	if (c->q.cursor.head >= g->nheads)
		return GPU_ERR_INVALID_SCANOUT;
	g->n.cursors++;
	cursor_at(&g->head[c->q.cursor.head], c);
	return GPU_OK;
}

/* ---- queues ---- */

static const struct row {
	uint32_t type;
	uint8_t queue, size; /* size: bytes of the request, at least */
	enum gpu_answer (*fn)(struct gpu *g, struct command *c);
} rows[] = {
	{GPU_GET_DISPLAY_INFO, Q_CONTROL, 24, get_display_info},
	{GPU_RESOURCE_CREATE_2D, Q_CONTROL, 40, resource_create},
	{GPU_RESOURCE_UNREF, Q_CONTROL, 32, resource_unref},
	{GPU_SET_SCANOUT, Q_CONTROL, 48, set_scanout},
	{GPU_RESOURCE_FLUSH, Q_CONTROL, 48, resource_flush},
	{GPU_TRANSFER_TO_HOST_2D, Q_CONTROL, 56, transfer_to_host},
	{GPU_RESOURCE_ATTACH_BACKING, Q_CONTROL, 32, attach_backing},
	{GPU_RESOURCE_DETACH_BACKING, Q_CONTROL, 32, detach_backing},
	{GPU_GET_EDID, Q_CONTROL, 32, get_edid},
	{GPU_UPDATE_CURSOR, Q_CURSOR, 56, update_cursor},
	{GPU_MOVE_CURSOR, Q_CURSOR, 56, move_cursor},
};

/* Its answer is in c->a; how long that is. */
static size_t command(struct gpu *g, unsigned q, struct command *c)
{
	size_t n = virtq_get(c->r, 0, &c->q, sizeof c->q), len = sizeof c->a.h;
	enum gpu_answer a = GPU_ERR_UNSPEC;

	for (size_t i = 0; n >= sizeof c->q.h && i < ARRAY_LEN(rows); i++)
		if (rows[i].type == c->q.h.type && rows[i].queue == q)
			a = n < rows[i].size ? GPU_ERR_INVALID_PARAMETER : rows[i].fn(g, c);
	g->n.commands++;
	if (a >= GPU_ERR_UNSPEC) {
		log_debug("gpu", "command 0x%x: error 0x%x", c->q.h.type, (unsigned)a);
		g->n.errors++;
	} else if (a == GPU_OK_DISPLAY_INFO) {
		len = sizeof c->a.display;
	} else if (a == GPU_OK_EDID) {
		len = sizeof c->a.edid;
	}
	c->a.h.type = a;
	if (c->q.h.flags & GPU_FLAG_FENCE) {
		c->a.h.flags = GPU_FLAG_FENCE;
		c->a.h.fence = c->q.h.fence;
		c->a.h.context = c->q.h.context;
	}
	return len;
}

/* What is left comes after a kick of our own. */
static void again(const struct virtq *vq)
{
	uint64_t one = 1;

	if (vq->kick_fd >= 0 && write(vq->kick_fd, &one, sizeof one) < 0)
		return; /* the counter is full: there will be one */
}

static void gpu_kick(struct virtio_dev *d, unsigned q)
{
	struct gpu *g = gpu_of(d);
	struct virtq *vq = g->vq[q];
	struct virtq_req r = {.iov = g->iov, .iov_max = g->iov_max};
	unsigned n;

	if (!vq)
		return;
	for (n = 0; n < ROUNDS * (unsigned)d->queue_size && virtq_pop(vq, &r) > 0; n++) {
		struct command c = {.r = &r, .mem = vq->mem};
		size_t len = command(g, q, &c);

		/* Linux gives no room for an answer to cursor commands */
		virtq_done(&r, (uint32_t)virtq_put(&r, 0, &c.a, len));
	}
	settle(g);
	virtq_notify(vq);
	if (n == ROUNDS * (unsigned)d->queue_size)
		again(vq);
}

/* ---- device ---- */

static int gpu_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	struct gpu *g = gpu_of(d);

	if (virtq_iov_max(vq) > g->iov_max)
		return -EINVAL;
	g->vq[q] = vq;
	/* before any command, also of the cursor's queue, which may be the first to start */
	if (g->restore) {
		gpu_state_restore(g, vq->mem);
		settle(g);
	}
	return 0;
}

static void gpu_stop(struct virtio_dev *d, unsigned q)
{
	gpu_of(d)->vq[q] = NULL;
}

/* What viewers wish for stays. */
static void gpu_reset(struct virtio_dev *d)
{
	struct gpu *g = gpu_of(d);

	g->restore = false;
	g->events = 0;
	gpu_state_clear(g);
	for (unsigned i = 0; i < g->nheads; i++) {
		g->head[i].hot_x = g->head[i].hot_y = 0;
		scanout_cursor(g->head[i].out, 0, 0, 0, 0, NULL);
		gpu_head_show(g, i, NULL, (struct rect){0});
		gpu_state_head(g, i);
	}
	while (g->nslots)
		gpu_res_free(g, g->res[g->nslots - 1]);
	settle(g);
}

static struct gpu_wire_config config(const struct gpu *g)
{
	return (struct gpu_wire_config){.events = g->events, .heads = g->nheads};
}

static void gpu_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct gpu_wire_config c = config(gpu_of(d));

	memcpy(buf, (const uint8_t *)&c + off, len);
}

static void gpu_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct gpu *g = gpu_of(d);
	struct gpu_wire_config c = config(g);

	memcpy((uint8_t *)&c + off, buf, len);
	g->events &= ~c.clear; /* all that a driver may write, and it reads as zero */
	gpu_state_head(g, 0);
}

static const struct virtio_ops gpu_ops = {
	.name = "gpu",
	.id = VIRTIO_ID_GPU,
	.config_read = gpu_config_read,
	.config_write = gpu_config_write,
	.start = gpu_start,
	.stop = gpu_stop,
	.kick = gpu_kick,
	.reset = gpu_reset,
};

int gpu_new(struct virtio_dev **out, const struct gpu_config *c, struct err *e)
{
	struct gpu *g;

	if (!c->nheads || c->nheads > SCANOUT_HEADS)
		return err_set(e, EINVAL, "a GPU has 1 to %d heads", SCANOUT_HEADS);
	if (!scanout_mode_ok(c->w, c->h))
		return err_set(e, EINVAL, "a screen of %" PRIu32 "x%" PRIu32 " is not possible: choose at most %dx%d, %u Mpixel",
			c->w, c->h, SCANOUT_SIDE_MAX, SCANOUT_SIDE_MAX, (unsigned)(SCANOUT_PIXELS_MAX / 4 / MIB));
	if (c->queue_size & (c->queue_size - 1) || c->queue_size > VIRTIO_QUEUE_MAX)
		return err_set(e, EINVAL, "a queue has a power of two of entries, at most %d", VIRTIO_QUEUE_MAX);
	g = xcalloc(1, sizeof *g);
	g->dev = (struct virtio_dev){.ops = &gpu_ops, .features = GPU_F_EDID, .nqueues = NQUEUES,
		.queue_size = c->queue_size ? c->queue_size : GPU_QUEUE, .config_len = sizeof(struct gpu_wire_config)};
	g->iov_max = g->dev.queue_size + MEM_REGIONS;
	g->iov = xcalloc(g->iov_max, sizeof *g->iov);
	g->memory_max = c->memory_max ? c->memory_max : MEMORY_MAX;
	g->nheads = c->nheads;
	for (unsigned i = 0; i < g->nheads; i++)
		g->head[i].out = c->head[i];
	g->head[0].w = c->w;
	g->head[0].h = c->h;
	gpu_state_open(g, c->state);
	*out = &g->dev;
	return 0;
}

/* State and scanouts stay as they are: another device may go on with them. */
void gpu_free(struct virtio_dev *d)
{
	struct gpu *g;

	if (!d)
		return;
	g = gpu_of(d);
	while (g->nslots)
		gpu_res_free(g, g->res[g->nslots - 1]);
	free(g->iov);
	free(g);
}

int gpu_resize(struct virtio_dev *d, const struct resize_wish *w)
{
	struct gpu *g = gpu_of(d);
	bool off = !w->w && w->head; /* the first stays */
	struct gpu_head *h;

	if (w->head >= g->nheads || !(off || scanout_mode_ok(w->w, w->h)))
		return -EINVAL;
	h = &g->head[w->head];
	if (h->w == w->w && (off || h->h == w->h))
		return 0;
	h->w = w->w;
	h->h = off ? 0 : w->h;
	g->events |= GPU_EVENT_DISPLAY;
	g->n.events++;
	gpu_state_head(g, w->head);
	if (d->config_changed)
		d->config_changed(d->config_changed_arg);
	return 0;
}

size_t gpu_stats(const struct virtio_dev *d, char *buf, size_t len)
{
	const struct gpu *g = (const void *)d;
	int k = snprintf(buf, len,
		"commands %" PRIu64 "\nerrors %" PRIu64 "\nresources %u\nmemory %" PRIu64 "\ntransferred_bytes %" PRIu64
		"\nshown_pixels %" PRIu64 "\ncursors %" PRIu64 "\nresizes %" PRIu64 "\nrestored %" PRIu64 "\nlost %" PRIu64
		"\nwidth %u\nheight %u\n",
		g->n.commands, g->n.errors, g->nres, g->memory, g->n.transferred, g->n.shown, g->n.cursors, g->n.events,
		g->n.restored, g->n.lost, g->head[0].r.w, g->head[0].r.h);

	return k < 0 ? 0 : min_u64((uint64_t)k, len ? len - 1 : 0);
}
