/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "guest.h"

void guest_init(struct guest *g, unsigned nheads)
{
	struct err e;

	memset(g, 0, sizeof *g);
	assert(!mem_init(&g->mem, GUEST_RAM, &e));
	g->nheads = nheads;
	for (unsigned i = 0; i < nheads; i++) {
		g->fd[i] = scanout_create("test", &e);
		assert(g->fd[i] >= 0 && !scanout_open(&g->out[i], g->fd[i], -1, &e));
		assert(!scanout_view_open(&g->view[i], g->fd[i], &e));
	}
}

void guest_device(struct guest *g, const struct gpu_config *c)
{
	struct gpu_config k = *c;
	struct err e;

	k.nheads = g->nheads;
	memcpy(k.head, g->out, sizeof k.head);
	k.w = k.w ? k.w : 640;
	k.h = k.h ? k.h : 480;
	assert(!gpu_new(&g->dev, &k, &e));
	drv_init(&g->d, &g->mem, g->dev);
}

void guest_fini(struct guest *g)
{
	drv_stop(&g->d);
	gpu_free(g->dev);
	for (unsigned i = 0; i < g->nheads; i++) {
		scanout_view_close(g->view[i]);
		scanout_close(g->out[i]);
		close(g->fd[i]);
	}
	mem_fini(&g->mem);
}

uint32_t guest_do(struct guest *g, unsigned q, uint32_t type, void *cmd, size_t len)
{
	struct virtio_gpu_ctrl_hdr *h = cmd;
	uint32_t room = 2048;
	int64_t used;
	uint16_t head, want;

	h->type = type;
	h->flags = g->next_flags;
	h->fence_id = g->next_fence;
	assert(len <= GUEST_ANSWER - DRV_DATA && !mem_put(&g->mem, DRV_DATA, cmd, len));
	memset(mem_at(&g->mem, GUEST_ANSWER, room), 0xaa, room);
	want = drv_add(&g->d, q, (struct drv_seg[]){{DRV_DATA, (uint32_t)len, false}, {GUEST_ANSWER, room, true}}, 2);
	drv_kick(&g->d, q);
	used = drv_used(&g->d, q, &head);
	assert(head == want && used >= (int64_t)sizeof g->answer && drv_used(&g->d, q, NULL) == -1);
	assert(!mem_get(&g->mem, GUEST_ANSWER, &g->answer, sizeof g->answer));
	assert(g->answer.flags == (g->next_flags & VIRTIO_GPU_FLAG_FENCE));
	assert(g->answer.fence_id == (g->answer.flags ? g->next_fence : 0));
	if (g->answer.type == VIRTIO_GPU_RESP_OK_DISPLAY_INFO)
		assert(used == sizeof(struct virtio_gpu_resp_display_info));
	else if (g->answer.type == VIRTIO_GPU_RESP_OK_EDID)
		assert(used == sizeof(struct virtio_gpu_resp_edid));
	else
		assert(used == sizeof g->answer);
	g->next_flags = 0;
	return g->answer.type;
}

static struct virtio_gpu_rect wire(struct rect r)
{
	return (struct virtio_gpu_rect){r.x, r.y, r.w, r.h};
}

uint32_t guest_create(struct guest *g, uint32_t id, uint32_t format, uint32_t w, uint32_t h)
{
	struct virtio_gpu_resource_create_2d c = {.resource_id = id, .format = format, .width = w, .height = h};

	return guest_do(g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_CREATE_2D, &c, sizeof c);
}

uint32_t guest_unref(struct guest *g, uint32_t id)
{
	struct virtio_gpu_resource_unref c = {.resource_id = id};

	return guest_do(g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_UNREF, &c, sizeof c);
}

uint32_t guest_scanout(struct guest *g, uint32_t head, uint32_t id, struct rect r)
{
	struct virtio_gpu_set_scanout c = {.r = wire(r), .scanout_id = head, .resource_id = id};

	return guest_do(g, CONTROL, VIRTIO_GPU_CMD_SET_SCANOUT, &c, sizeof c);
}

uint32_t guest_flush(struct guest *g, uint32_t id, struct rect r)
{
	struct virtio_gpu_resource_flush c = {.r = wire(r), .resource_id = id};

	return guest_do(g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_FLUSH, &c, sizeof c);
}

uint32_t guest_transfer(struct guest *g, uint32_t id, struct rect r, uint64_t off)
{
	struct virtio_gpu_transfer_to_host_2d c = {.r = wire(r), .offset = off, .resource_id = id};

	return guest_do(g, CONTROL, VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D, &c, sizeof c);
}

uint32_t guest_attach(struct guest *g, uint32_t id, const struct virtio_gpu_mem_entry *e, uint32_t n)
{
	size_t len = sizeof(struct virtio_gpu_resource_attach_backing) + n * sizeof *e;
	struct virtio_gpu_resource_attach_backing *c = calloc(1, len);
	uint32_t rc;

	c->resource_id = id;
	c->nr_entries = n;
	memcpy(c + 1, e, n * sizeof *e);
	rc = guest_do(g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, c, len);
	free(c);
	return rc;
}

uint32_t guest_attach_at(struct guest *g, uint32_t id, uint64_t gpa, uint32_t len)
{
	return guest_attach(g, id, &(struct virtio_gpu_mem_entry){.addr = gpa, .length = len}, 1);
}

uint32_t guest_detach(struct guest *g, uint32_t id)
{
	struct virtio_gpu_resource_detach_backing c = {.resource_id = id};

	return guest_do(g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_DETACH_BACKING, &c, sizeof c);
}

uint32_t guest_cursor(struct guest *g, uint32_t type, uint32_t head, uint32_t id, int32_t x, int32_t y, uint32_t hot_x,
	uint32_t hot_y)
{
	struct virtio_gpu_update_cursor c = {.pos = {.scanout_id = head, .x = (uint32_t)x, .y = (uint32_t)y},
		.resource_id = id, .hot_x = hot_x, .hot_y = hot_y};

	return guest_do(g, CURSOR, type, &c, sizeof c);
}

uint64_t guest_stat(struct guest *g, const char *name)
{
	char text[1024], key[64];
	const char *at;

	text[gpu_stats(g->dev, text + 1, sizeof text - 1) + 1] = '\0';
	text[0] = '\n';
	strcat(strcat(strcpy(key, "\n"), name), " ");
	at = strstr(text, key);
	assert(at);
	return strtoull(at + strlen(key), NULL, 10);
}

uint32_t guest_colour(uint32_t x, uint32_t y, uint32_t seed)
{
	return (x * 2654435761u ^ y * 2246822519u ^ seed * 3266489917u) & 0xffffff;
}

void guest_paint(struct guest *g, uint64_t gpa, uint32_t w, uint32_t h, uint32_t seed)
{
	uint32_t *px = mem_at(&g->mem, gpa, 4ull * w * h);

	for (uint32_t y = 0; y < h; y++)
		for (uint32_t x = 0; x < w; x++)
			put_u32(px + (size_t)y * w + x, guest_colour(x, y, seed));
}

void guest_picture(struct guest *g, uint32_t id, uint32_t w, uint32_t h, uint64_t gpa)
{
	assert(guest_create(g, id, VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, w, h) == VIRTIO_GPU_RESP_OK_NODATA);
	assert(guest_attach_at(g, id, gpa, 4 * w * h) == VIRTIO_GPU_RESP_OK_NODATA);
	assert(guest_transfer(g, id, (struct rect){0, 0, w, h}, 0) == VIRTIO_GPU_RESP_OK_NODATA);
}

bool guest_shows(struct guest *g, unsigned head, uint32_t w, uint32_t h, struct rect r, uint32_t x, uint32_t y, uint32_t seed)
{
	struct surface s;
	uint32_t generation;

	if (!scanout_view_mode(g->view[head], &s, &generation) || s.w != w || s.h != h)
		return false;
	for (uint32_t j = 0; j < r.h; j++)
		for (uint32_t i = 0; i < r.w; i++)
			if ((*surface_row(&s, r.x + i, r.y + j) & 0xffffff) != guest_colour(x + i, y + j, seed))
				return false;
	return true;
}

bool guest_dark(struct guest *g, unsigned head)
{
	struct surface s;
	uint32_t generation;

	return !scanout_view_mode(g->view[head], &s, &generation);
}
