/* SPDX-License-Identifier: MIT */
/* virtio-gpu under a driver that is right, and one that is not: what the viewers of its heads see. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/util.h"
#include "guest.h"

enum { OK = VIRTIO_GPU_RESP_OK_NODATA, UNSPEC = VIRTIO_GPU_RESP_ERR_UNSPEC, NO_MEMORY = VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY,
	BAD_HEAD = VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID, BAD_ID = VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID,
	BAD = VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER };
enum { XRGB = VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, ARGB = VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM };
enum { W = 200, H = 100 };
#define RECT(...) ((struct rect){__VA_ARGS__})
#define FULL      RECT(0, 0, W, H)

static struct guest g;

static void begin(unsigned nheads, const struct gpu_config *c)
{
	guest_init(&g, nheads);
	guest_device(&g, c);
	drv_start(&g.d, VIRTIO_F_VERSION_1 | g.dev->features, 64);
}

static void begin_two(void)
{
	begin(2, &(struct gpu_config){0});
}

/* ---- drawing ---- */

static void basic(void)
{
	struct rect r[SCANOUT_RING];
	unsigned n;

	begin_two();
	assert(g.dev->ops->id == VIRTIO_ID_GPU && g.dev->nqueues == 2 && g.dev->queue_size == GPU_QUEUE);
	guest_paint(&g, GUEST_FB, W, H, 1);
	guest_picture(&g, 5, W, H, GUEST_FB);
	assert(guest_dark(&g, 0));
	/* set: all of it is there, flushed or not */
	assert(guest_scanout(&g, 0, 5, FULL) == OK && guest_dark(&g, 1));
	assert(guest_shows(&g, 0, W, H, FULL, 0, 0, 1));
	scanout_view_damage(g.view[0], r, ARRAY_LEN(r));
	/* drawn, not transferred; transferred, not flushed; flushed in part; flushed */
	guest_paint(&g, GUEST_FB, W, H, 2);
	assert(guest_flush(&g, 5, FULL) == OK && guest_shows(&g, 0, W, H, FULL, 0, 0, 1));
	scanout_view_damage(g.view[0], r, ARRAY_LEN(r));
	assert(guest_transfer(&g, 5, FULL, 0) == OK && guest_shows(&g, 0, W, H, FULL, 0, 0, 1));
	assert(!scanout_view_damage(g.view[0], r, ARRAY_LEN(r)));
	assert(guest_flush(&g, 5, RECT(10, 20, 30, 40)) == OK);
	n = scanout_view_damage(g.view[0], r, ARRAY_LEN(r));
	assert(n == 1 && r[0].x == 10 && r[0].y == 20 && r[0].w == 30 && r[0].h == 40);
	assert(guest_shows(&g, 0, W, H, RECT(10, 20, 30, 40), 10, 20, 2) && guest_shows(&g, 0, W, H, RECT(0, 0, W, 20), 0, 0, 1));
	assert(guest_shows(&g, 0, W, H, RECT(40, 20, W - 40, 40), 40, 20, 1) && guest_shows(&g, 0, W, H, RECT(0, 20, 10, 40), 0, 20, 1));
	assert(guest_shows(&g, 0, W, H, RECT(0, 60, W, 40), 0, 60, 1));
	assert(guest_flush(&g, 5, FULL) == OK && guest_shows(&g, 0, W, H, FULL, 0, 0, 2));
	/* in part transferred: from where it is in memory */
	guest_paint(&g, GUEST_FB, W, H, 3);
	assert(guest_transfer(&g, 5, RECT(7, 9, 11, 13), (9 * W + 7) * 4) == OK && guest_flush(&g, 5, FULL) == OK);
	assert(guest_shows(&g, 0, W, H, RECT(7, 9, 11, 13), 7, 9, 3) && guest_shows(&g, 0, W, H, RECT(0, 0, 7, H), 0, 0, 2));
	assert(guest_shows(&g, 0, W, H, RECT(18, 0, W - 18, H), 18, 0, 2) && guest_shows(&g, 0, W, H, RECT(0, 22, W, H - 22), 0, 22, 2));
	/* or from elsewhere */
	assert(guest_transfer(&g, 5, RECT(0, 0, 5, 5), (50 * W + 60) * 4) == OK && guest_flush(&g, 5, FULL) == OK);
	assert(guest_shows(&g, 0, W, H, RECT(0, 0, 5, 5), 60, 50, 3));
	/* off; what had been drawn is black when it comes back smaller, but for what is shown */
	assert(guest_scanout(&g, 0, 0, RECT(0, 0, 0, 0)) == OK && guest_dark(&g, 0));
	assert(guest_flush(&g, 5, FULL) == OK && guest_dark(&g, 0));
	guest_fini(&g);
}

/* A part of a resource, one resource on both heads, pages flipped, a resource that goes while it is shown */
static void heads(void)
{
	struct rect r[SCANOUT_RING];
	uint64_t shown;
	unsigned n;

	begin_two();
	guest_paint(&g, GUEST_FB, W, H, 1);
	guest_picture(&g, 1, W, H, GUEST_FB);
	assert(guest_scanout(&g, 0, 1, RECT(0, 0, 120, H)) == OK && guest_scanout(&g, 1, 1, RECT(120, 10, 80, 90)) == OK);
	assert(guest_shows(&g, 0, 120, H, RECT(0, 0, 120, H), 0, 0, 1));
	assert(guest_shows(&g, 1, 80, 90, RECT(0, 0, 80, 90), 120, 10, 1));
	scanout_view_damage(g.view[0], r, ARRAY_LEN(r));
	scanout_view_damage(g.view[1], r, ARRAY_LEN(r));
	guest_paint(&g, GUEST_FB, W, H, 2);
	assert(guest_transfer(&g, 1, FULL, 0) == OK);
	/* over the seam; above the second; only the second */
	assert(guest_flush(&g, 1, RECT(110, 0, 20, 30)) == OK);
	assert(guest_shows(&g, 0, 120, H, RECT(110, 0, 10, 30), 110, 0, 2) && guest_shows(&g, 0, 120, H, RECT(0, 0, 110, H), 0, 0, 1));
	assert(guest_shows(&g, 1, 80, 90, RECT(0, 0, 10, 20), 120, 10, 2) && guest_shows(&g, 1, 80, 90, RECT(10, 0, 70, 90), 130, 10, 1));
	n = scanout_view_damage(g.view[1], r, ARRAY_LEN(r));
	assert(n == 1 && !r[0].x && !r[0].y && r[0].w == 10 && r[0].h == 20);
	n = scanout_view_damage(g.view[0], r, ARRAY_LEN(r));
	assert(n == 1 && r[0].x == 110 && !r[0].y && r[0].w == 10 && r[0].h == 30);
	assert(guest_flush(&g, 1, RECT(0, 0, W, 10)) == OK && !scanout_view_damage(g.view[1], r, ARRAY_LEN(r)));
	scanout_view_damage(g.view[0], r, ARRAY_LEN(r));
	assert(guest_flush(&g, 1, RECT(120, 0, 80, H)) == OK && !scanout_view_damage(g.view[0], r, ARRAY_LEN(r)));
	assert(guest_shows(&g, 1, 80, 90, RECT(0, 0, 80, 90), 120, 10, 2));
	/* the same again is nothing */
	assert(guest_scanout(&g, 0, 1, RECT(0, 0, 120, H)) == OK && !scanout_view_damage(g.view[0], r, ARRAY_LEN(r)));
	/* another resource, flushed in part: all of it is seen, and copied once */
	guest_paint(&g, GUEST_FB + MIB, 120, H, 3);
	guest_picture(&g, 2, 120, H, GUEST_FB + MIB);
	shown = guest_stat(&g, "shown_pixels");
	{
		struct virtio_gpu_set_scanout a = {.hdr.type = VIRTIO_GPU_CMD_SET_SCANOUT, .r = {0, 0, 120, H}, .resource_id = 2};
		struct virtio_gpu_resource_flush b = {.hdr.type = VIRTIO_GPU_CMD_RESOURCE_FLUSH, .r = {5, 5, 1, 1}, .resource_id = 2};

		assert(!mem_put(&g.mem, DRV_DATA, &a, sizeof a) && !mem_put(&g.mem, DRV_DATA + 256, &b, sizeof b));
		drv_add_one(&g.d, CONTROL, DRV_DATA, sizeof a, false);
		drv_add_one(&g.d, CONTROL, DRV_DATA + 256, sizeof b, false);
		drv_kick(&g.d, CONTROL);
		assert(drv_used(&g.d, CONTROL, NULL) == 0 && drv_used(&g.d, CONTROL, NULL) == 0);
	}
	assert(guest_shows(&g, 0, 120, H, RECT(0, 0, 120, H), 0, 0, 3) && guest_stat(&g, "shown_pixels") == shown + 120 * H);
	/* a resource goes: its heads do, too, and others don't */
	assert(guest_unref(&g, 1) == OK && guest_dark(&g, 1) && !guest_dark(&g, 0));
	assert(guest_unref(&g, 2) == OK && guest_dark(&g, 0) && !guest_stat(&g, "memory"));
	guest_fini(&g);
}

static void formats(void)
{
	/* a byte each of blue, green, red, alpha, where they are in memory */
	static const struct {
		uint32_t format;
		uint8_t b, gr, r, a;
	} f[] = {
		{VIRTIO_GPU_FORMAT_B8G8R8A8_UNORM, 0, 1, 2, 3}, {VIRTIO_GPU_FORMAT_B8G8R8X8_UNORM, 0, 1, 2, 3},
		{VIRTIO_GPU_FORMAT_A8R8G8B8_UNORM, 3, 2, 1, 0}, {VIRTIO_GPU_FORMAT_X8R8G8B8_UNORM, 3, 2, 1, 0},
		{VIRTIO_GPU_FORMAT_R8G8B8A8_UNORM, 2, 1, 0, 3}, {VIRTIO_GPU_FORMAT_X8B8G8R8_UNORM, 1, 2, 3, 0},
		{VIRTIO_GPU_FORMAT_A8B8G8R8_UNORM, 1, 2, 3, 0}, {VIRTIO_GPU_FORMAT_R8G8B8X8_UNORM, 2, 1, 0, 3},
	};
	struct scanout_view_cursor *c = malloc(sizeof *c);

	begin_two();
	for (unsigned i = 0; i < ARRAY_LEN(f); i++) {
		uint8_t *p = mem_at(&g.mem, GUEST_FB, 4 * 16 * 16);
		struct surface s;
		uint32_t generation;

		assert(guest_create(&g, i + 1, f[i].format, 16, 16) == OK && guest_attach_at(&g, i + 1, GUEST_FB, 1024) == OK);
		for (unsigned k = 0; k < 256; k++) {
			p[4 * k + f[i].b] = (uint8_t)k;
			p[4 * k + f[i].gr] = (uint8_t)(k + 50);
			p[4 * k + f[i].r] = (uint8_t)(3 * k);
			p[4 * k + f[i].a] = (uint8_t)(7 * k);
		}
		/* by rows, and at once */
		assert(guest_transfer(&g, i + 1, i % 2 ? RECT(0, 0, 16, 16) : RECT(0, 0, 15, 16), 0) == OK);
		assert(guest_transfer(&g, i + 1, RECT(15, 0, 1, 16), 60) == OK);
		assert(guest_scanout(&g, 0, i + 1, RECT(0, 0, 16, 16)) == OK && scanout_view_mode(g.view[0], &s, &generation));
		assert(guest_cursor(&g, VIRTIO_GPU_CMD_UPDATE_CURSOR, 0, i + 1, 0, 0, 0, 0) == OK);
		assert(scanout_view_cursor(g.view[0], c) && c->w == 16 && c->h == 16);
		for (unsigned k = 0; k < 256; k++) {
			uint32_t want = (3 * k & 255) << 16 | ((k + 50) & 255) << 8 | k;

			assert((*surface_row(&s, k % 16, k / 16) & 0xffffff) == want);
			assert(c->px[k] == (want | (7 * k & 255) << 24)); /* a cursor has alpha in any format */
		}
		assert(guest_unref(&g, i + 1) == OK);
	}
	free(c);
	guest_fini(&g);
}

/* ---- what is wrong ---- */

static void bad_resources(void)
{
	static const uint32_t sides[][2] = {{0, 0}, {0, 5}, {5, 0}, {65535, 65535}, {UINT32_MAX, UINT32_MAX}, {UINT32_MAX, 1},
		{1, UINT32_MAX}, {0x10000, 0x10000}, {0x80000000, 2}, {SCANOUT_SIDE_MAX + 1, 1}, {1, SCANOUT_SIDE_MAX + 1},
		{SCANOUT_SIDE_MAX, SCANOUT_SIDE_MAX}, {0x40000001, 1}};

	begin(1, &(struct gpu_config){.memory_max = 20 * MIB});
	for (unsigned i = 0; i < ARRAY_LEN(sides); i++)
		assert(guest_create(&g, 1, XRGB, sides[i][0], sides[i][1]) == BAD);
	assert(guest_create(&g, 0, XRGB, 8, 8) == BAD_ID);
	assert(guest_create(&g, 1, 0, 8, 8) == BAD && guest_create(&g, 1, 5, 8, 8) == BAD && guest_create(&g, 1, UINT32_MAX, 8, 8) == BAD);
	assert(guest_create(&g, 1, 256 + XRGB, 8, 8) == BAD);
	assert(guest_create(&g, 1, XRGB, 8, 8) == OK && guest_create(&g, 1, XRGB, 8, 8) == BAD_ID);
	assert(guest_unref(&g, 0) == BAD_ID && guest_unref(&g, 2) == BAD_ID && guest_unref(&g, UINT32_MAX) == BAD_ID);
	assert(guest_unref(&g, 1) == OK && guest_unref(&g, 1) == BAD_ID);
	/* memory is for all of them together, and comes back */
	assert(guest_create(&g, 7, XRGB, 2048, 2048) == OK);
	assert(guest_create(&g, 8, XRGB, 2048, 2048) == NO_MEMORY && guest_create(&g, 9, XRGB, 512, 512) == OK);
	assert(guest_unref(&g, 7) == OK && guest_create(&g, 8, XRGB, 2048, 2048) == OK);
	assert(guest_create(&g, 10, XRGB, 4096, 4096) == NO_MEMORY && guest_unref(&g, 8) == OK && guest_unref(&g, 9) == OK);
	assert(!guest_stat(&g, "memory") && !guest_stat(&g, "resources"));
	/* many small ones; ids as they come */
	for (uint32_t i = 1; i <= 1024; i++)
		assert(guest_create(&g, i * 0x10001, XRGB, 1 + i % 7, 1) == OK);
	assert(guest_create(&g, 5, XRGB, 1, 1) == NO_MEMORY && guest_stat(&g, "resources") == 1024);
	assert(guest_unref(&g, 500 * 0x10001) == OK && guest_create(&g, 5, XRGB, 1, 1) == OK);
	drv_stop(&g.d);
	assert(!guest_stat(&g, "memory") && !guest_stat(&g, "resources"));
	guest_fini(&g);
}

static void bad_backings(void)
{
	static struct virtio_gpu_mem_entry e[16385];
	struct virtio_gpu_resource_attach_backing c = {.resource_id = 1, .nr_entries = 1};
	uint64_t memory;

	begin(1, &(struct gpu_config){0});
	assert(guest_create(&g, 1, XRGB, 64, 64) == OK);
	memory = guest_stat(&g, "memory");
	assert(guest_attach_at(&g, 2, GUEST_FB, 4096) == BAD_ID && guest_attach_at(&g, 0, GUEST_FB, 4096) == BAD_ID);
	/* outside of RAM: behind, over the end, around the end of numbers; nothing */
	assert(guest_attach_at(&g, 1, GUEST_RAM, 4096) == BAD && guest_attach_at(&g, 1, GUEST_RAM - 4095, 4096) == BAD);
	assert(guest_attach_at(&g, 1, UINT64_MAX - 4095, 4096) == BAD && guest_attach_at(&g, 1, UINT64_MAX, 1) == BAD);
	assert(guest_attach_at(&g, 1, 0, UINT32_MAX) == BAD && guest_attach_at(&g, 1, GUEST_FB, 0) == BAD);
	assert(guest_attach(&g, 1, e, 0) == BAD);
	/* the last of many is bad */
	for (unsigned i = 0; i < 500; i++)
		e[i] = (struct virtio_gpu_mem_entry){.addr = GUEST_FB + 8192ull * i, .length = 4096};
	e[499].addr = GUEST_RAM;
	assert(guest_attach(&g, 1, e, 500) == BAD && guest_stat(&g, "memory") == memory);
	/* more entries than there are bytes of a request */
	assert(guest_do(&g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, &c, sizeof c) == BAD);
	c.nr_entries = UINT32_MAX;
	assert(guest_do(&g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, &c, sizeof c) == BAD);
	c.nr_entries = 0x10000000;
	assert(guest_do(&g, CONTROL, VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING, &c, sizeof c) == BAD);
	/* too many, and as many as may be; pages that follow each other are one */
	for (unsigned i = 0; i < ARRAY_LEN(e); i++)
		e[i] = (struct virtio_gpu_mem_entry){.addr = GUEST_FB + (i % 2 ? 0 : 8192), .length = 4096};
	assert(guest_attach(&g, 1, e, 16385) == NO_MEMORY && guest_attach(&g, 1, e, 16384) == OK);
	assert(guest_stat(&g, "memory") == memory + 16385 * 16);
	assert(guest_attach_at(&g, 1, GUEST_FB, 4096) == UNSPEC);
	assert(guest_detach(&g, 1) == OK && guest_detach(&g, 1) == UNSPEC && guest_detach(&g, 2) == BAD_ID);
	assert(guest_stat(&g, "memory") == memory);
	for (unsigned i = 0; i < 100; i++)
		e[i].addr = GUEST_FB + 4096ull * i;
	assert(guest_attach(&g, 1, e, 100) == OK && guest_stat(&g, "memory") == memory + 2 * 16);
	/* the last bytes of RAM are RAM */
	assert(guest_detach(&g, 1) == OK && guest_attach_at(&g, 1, GUEST_RAM - 64 * 64 * 4, 64 * 64 * 4) == OK);
	assert(guest_transfer(&g, 1, RECT(0, 0, 64, 64), 0) == OK);
	guest_fini(&g);
}

static void bad_rects(void)
{
	static const struct rect out[] = {{W, 0, 1, 1}, {0, H, 1, 1}, {W - 1, 0, 2, 1}, {0, H - 1, 1, 2}, {0, 0, W + 1, 1},
		{0, 0, 1, H + 1}, {UINT32_MAX, 0, 2, 1}, {0, UINT32_MAX, 1, 2}, {1, 0, UINT32_MAX, 1}, {0, 1, 1, UINT32_MAX},
		{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}, {0x80000000, 0, 0x80000000, 1}, {0, 0, 0x40000000, 1}};
	const uint64_t bytes = 4 * W * H;

	begin_two();
	assert(guest_create(&g, 1, XRGB, W, H) == OK);
	assert(guest_transfer(&g, 1, FULL, 0) == UNSPEC && guest_transfer(&g, 2, FULL, 0) == BAD_ID);
	assert(guest_flush(&g, 1, FULL) == OK && guest_flush(&g, 2, FULL) == BAD_ID && guest_flush(&g, 0, FULL) == BAD_ID);
	guest_paint(&g, GUEST_FB, W, H, 1);
	assert(guest_attach_at(&g, 1, GUEST_FB, (uint32_t)bytes) == OK && guest_transfer(&g, 1, FULL, 0) == OK);
	assert(guest_scanout(&g, 0, 1, FULL) == OK);
	for (unsigned i = 0; i < ARRAY_LEN(out); i++) {
		assert(guest_transfer(&g, 1, out[i], 0) == BAD && guest_flush(&g, 1, out[i]) == BAD);
		assert(guest_scanout(&g, 0, 1, out[i]) == BAD && guest_scanout(&g, 1, 1, out[i]) == BAD);
	}
	assert(guest_scanout(&g, 1, 1, RECT(0, 0, 0, 0)) == BAD && guest_scanout(&g, 1, 1, RECT(0, 0, 5, 0)) == BAD);
	/* what there was is there, and nothing on the other */
	assert(guest_shows(&g, 0, W, H, FULL, 0, 0, 1) && guest_dark(&g, 1));
	assert(guest_scanout(&g, 2, 1, FULL) == BAD_HEAD && guest_scanout(&g, UINT32_MAX, 0, FULL) == BAD_HEAD);
	assert(guest_scanout(&g, 0, 9, FULL) == BAD_ID);
	/* nothing is no mistake */
	assert(guest_transfer(&g, 1, RECT(W, H, 0, 0), UINT64_MAX) == OK && guest_flush(&g, 1, RECT(0, 0, 0, 5)) == OK);
	/* offsets: the last byte, one behind, so far that sums go around */
	assert(guest_transfer(&g, 1, FULL, 1) == BAD && guest_transfer(&g, 1, RECT(0, 0, 1, 1), bytes - 4) == OK);
	assert(guest_transfer(&g, 1, RECT(0, 0, 1, 1), bytes - 3) == BAD && guest_transfer(&g, 1, RECT(0, 0, 1, 1), bytes) == BAD);
	assert(guest_transfer(&g, 1, RECT(0, 0, 1, 1), UINT64_MAX) == BAD && guest_transfer(&g, 1, RECT(0, 0, 1, 1), UINT64_MAX - 3) == BAD);
	assert(guest_transfer(&g, 1, RECT(0, 0, 1, 2), bytes - 4) == BAD && guest_transfer(&g, 1, FULL, 0 - bytes) == BAD);
	assert(guest_transfer(&g, 1, RECT(0, 0, 1, 2), bytes - 4 * W - 4) == OK);
	assert(guest_transfer(&g, 1, RECT(0, 0, 1, 2), bytes - 4 * W - 3) == BAD);
	/* a backing that is too short for all of it is enough for a part */
	assert(guest_detach(&g, 1) == OK && guest_attach_at(&g, 1, GUEST_FB, 4 * W * 3) == OK);
	assert(guest_transfer(&g, 1, FULL, 0) == BAD && guest_transfer(&g, 1, RECT(0, 0, W, 3), 0) == OK);
	assert(guest_transfer(&g, 1, RECT(0, 0, W, 4), 0) == BAD && guest_transfer(&g, 1, RECT(0, 50, W, 3), 0) == OK);
	guest_fini(&g);
}

/* Entries of odd lengths at odd places, in any order: byte by byte the same as one */
static void pieces(void)
{
	static struct virtio_gpu_mem_entry e[4000];
	uint8_t *ram;
	uint32_t x = 1;

	begin_two();
	ram = mem_at(&g.mem, 0, GUEST_RAM);
	for (unsigned round = 0; round < 4; round++) {
		uint64_t at = GUEST_FB + 4 * MIB;
		uint32_t n = 0, off = 0;

		guest_paint(&g, GUEST_FB, W, H, round);
		while (off < 4 * W * H) {
			uint32_t len;

			x = x * 1664525 + 1013904223;
			len = (uint32_t)min_u64(1 + x % (round ? 200 * round * round : 40) , 4 * W * H - off);
			at += 1 + (x >> 20) % 5 - (round == 2);
			e[n++] = (struct virtio_gpu_mem_entry){.addr = at, .length = len};
			memcpy(ram + at, ram + GUEST_FB + off, len);
			at += len;
			off += len;
			assert(n < ARRAY_LEN(e));
		}
		assert(guest_create(&g, 1, XRGB, W, H) == OK && guest_attach(&g, 1, e, n) == OK);
		assert(guest_scanout(&g, 0, 1, FULL) == OK);
		assert(guest_transfer(&g, 1, RECT(0, 0, W, 50), 0) == OK);
		assert(guest_transfer(&g, 1, RECT(0, 50, 77, 50), 50 * W * 4) == OK);
		assert(guest_transfer(&g, 1, RECT(77, 50, W - 77, 50), (50 * W + 77) * 4) == OK && guest_flush(&g, 1, FULL) == OK);
		assert(guest_shows(&g, 0, W, H, FULL, 0, 0, round));
		/* an offset that is no pixel's: what is there, then */
		assert(guest_transfer(&g, 1, RECT(3, 3, 1, 1), 401) == OK && guest_flush(&g, 1, FULL) == OK);
		{
			struct surface s;
			uint32_t generation;

			assert(scanout_view_mode(g.view[0], &s, &generation));
			assert((*surface_row(&s, 3, 3) & 0xffffff) == (get_u32(ram + GUEST_FB + 401) & 0xffffff));
		}
		assert(guest_unref(&g, 1) == OK);
	}
	guest_fini(&g);
}

/* Requests that are none */
static void bad_commands(void)
{
	static const struct {
		uint32_t type, queue, len;
	} k[] = {{0x100, 0, 24}, {0x101, 0, 40}, {0x102, 0, 32}, {0x103, 0, 48}, {0x104, 0, 48}, {0x105, 0, 56}, {0x106, 0, 32},
		{0x107, 0, 32}, {0x10a, 0, 32}, {0x300, 1, 56}, {0x301, 1, 56}};
	static uint8_t c[64 + 16];

	begin_two();
	for (unsigned i = 0; i < ARRAY_LEN(k); i++) {
		/* whole: something other than these two; one byte short; on the other queue */
		uint32_t rc = guest_do(&g, k[i].queue, k[i].type, c, k[i].len);

		assert(rc != UNSPEC && (rc != BAD || k[i].type == 0x106));
		assert(guest_do(&g, k[i].queue, k[i].type, c, k[i].len - 1) == (k[i].len > 24 ? BAD : UNSPEC));
		assert(guest_do(&g, !k[i].queue, k[i].type, c, k[i].len) == UNSPEC);
	}
	for (uint32_t type = 0; type < 0x2000; type += type == 0x30f ? 0xcf1 : 1) {
		bool known = false;

		for (unsigned i = 0; i < ARRAY_LEN(k); i++)
			known |= type == k[i].type;
		assert(known || (guest_do(&g, 0, type, c, 64) == UNSPEC && guest_do(&g, 1, type, c, 64) == UNSPEC));
	}
	/* nothing, less than a header, no room for an answer, or little */
	drv_add_one(&g.d, 0, GUEST_ANSWER, 64, true);
	drv_kick(&g.d, 0);
	assert(drv_used(&g.d, 0, NULL) == 24 && get_u32(mem_at(&g.mem, GUEST_ANSWER, 4)) == UNSPEC);
	memset(c, 0, sizeof c);
	put_u32(c, 0x100);
	put_u32(c + 4, 1);
	put_u64(c + 8, 0x1122334455667788);
	assert(!mem_put(&g.mem, DRV_DATA, c, sizeof c));
	drv_add_one(&g.d, 0, DRV_DATA, 23, false);
	drv_add_one(&g.d, 0, DRV_DATA, 24, false);
	drv_add(&g.d, 0, (struct drv_seg[]){{DRV_DATA, 24, false}, {GUEST_ANSWER, 17, true}}, 2);
	drv_kick(&g.d, 0);
	assert(drv_used(&g.d, 0, NULL) == 0 && drv_used(&g.d, 0, NULL) == 0 && drv_used(&g.d, 0, NULL) == 17);
	assert(get_u32(mem_at(&g.mem, GUEST_ANSWER, 4)) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	/* fences */
	g.next_flags = VIRTIO_GPU_FLAG_FENCE;
	g.next_fence = UINT64_MAX - 1;
	assert(guest_create(&g, 1, XRGB, 8, 8) == OK);
	g.next_flags = VIRTIO_GPU_FLAG_FENCE | 0x80000000;
	g.next_fence = 17;
	assert(guest_create(&g, 1, XRGB, 8, 8) == BAD_ID);
	g.next_flags = 0x10;
	assert(guest_unref(&g, 1) == OK);
	guest_fini(&g);
}

/* A driver that always has more: others have their turn, and it is gone on with. */
static unsigned endless;

static void one_more(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg, (void)len;
	if (gpa == GUEST_ANSWER && endless) {
		endless--;
		drv_add(&g.d, 0, (struct drv_seg[]){{DRV_DATA, 24, false}, {GUEST_ANSWER, 24, true}}, 2);
	}
}

static void more_and_more(void)
{
	uint64_t n;

	begin_two();
	g.d.q[0].vq.kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(g.d.q[0].vq.kick_fd >= 0);
	g.d.q[0].vq.written = one_more;
	endless = 3000;
	one_more(NULL, GUEST_ANSWER, 0);
	drv_kick(&g.d, 0);
	assert(guest_stat(&g, "commands") == 1024 && endless == 3000 - 1025);
	assert(read(g.d.q[0].vq.kick_fd, &n, sizeof n) == sizeof n);
	while (endless || read(g.d.q[0].vq.kick_fd, &n, sizeof n) == sizeof n)
		drv_kick(&g.d, 0);
	assert(guest_stat(&g, "commands") == 3000);
	close(g.d.q[0].vq.kick_fd);
	guest_fini(&g);
}

/* ---- cursor ---- */

static void cursor(void)
{
	enum { UPDATE = VIRTIO_GPU_CMD_UPDATE_CURSOR, MOVE = VIRTIO_GPU_CMD_MOVE_CURSOR };
	struct scanout_view_cursor *c = malloc(sizeof *c);
	struct virtio_gpu_update_cursor u = {.hdr.type = MOVE, .pos = {.scanout_id = 0, .x = 77, .y = 88}};
	uint32_t generation;

	begin_two();
	guest_paint(&g, GUEST_FB, 64, 64, 9);
	assert(guest_create(&g, 1, ARGB, 64, 64) == OK && guest_attach_at(&g, 1, GUEST_FB, 16384) == OK);
	assert(guest_transfer(&g, 1, RECT(0, 0, 64, 64), 0) == OK);
	assert(guest_cursor(&g, UPDATE, 1, 1, 100, 50, 3, 4) == OK);
	assert(scanout_view_cursor(g.view[1], c) && c->w == 64 && c->h == 64 && c->hot_x == 3 && c->hot_y == 4);
	assert(c->x == 103 && c->y == 54 && c->px[64 * 7 + 5] == guest_colour(5, 7, 9));
	generation = c->generation;
	/* what is drawn later is not seen until it is set again */
	guest_paint(&g, GUEST_FB, 64, 64, 10);
	assert(guest_transfer(&g, 1, RECT(0, 0, 64, 64), 0) == OK && !scanout_view_cursor(g.view[1], c));
	assert(guest_cursor(&g, MOVE, 1, 0, -10, 2000, 50, 50) == OK);
	assert(scanout_view_cursor(g.view[1], c) && c->x == -7 && c->y == 2004 && c->generation == generation);
	assert(guest_cursor(&g, UPDATE, 1, 1, INT32_MAX, INT32_MIN, UINT32_MAX, 64) == OK);
	assert(scanout_view_cursor(g.view[1], c) && c->hot_x == 63 && c->hot_y == 63 && c->px[0] == guest_colour(0, 0, 10));
	assert(c->x == INT32_MIN + 62 && c->y == INT32_MIN + 63);
	assert(c->generation != generation);
	/* Linux: no room for an answer */
	assert(!mem_put(&g.mem, DRV_DATA, &u, sizeof u));
	drv_add_one(&g.d, CURSOR, DRV_DATA, sizeof u, false);
	drv_kick(&g.d, CURSOR);
	assert(drv_used(&g.d, CURSOR, NULL) == 0 && scanout_view_cursor(g.view[0], c) && c->x == 77 && c->y == 88 && !c->w);
	/* none; it goes with its resource only when it is set anew */
	assert(guest_unref(&g, 1) == OK && !scanout_view_cursor(g.view[1], c));
	assert(guest_cursor(&g, UPDATE, 1, 0, 0, 0, 0, 0) == OK && scanout_view_cursor(g.view[1], c) && !c->w);
	/* wrong */
	assert(guest_cursor(&g, UPDATE, 1, 1, 0, 0, 0, 0) == BAD_ID && guest_cursor(&g, UPDATE, 2, 0, 0, 0, 0, 0) == BAD_HEAD);
	assert(guest_cursor(&g, MOVE, 2, 0, 0, 0, 0, 0) == BAD_HEAD && guest_cursor(&g, MOVE, UINT32_MAX, 0, 0, 0, 0, 0) == BAD_HEAD);
	assert(guest_create(&g, 2, ARGB, 65, 64) == OK && guest_create(&g, 3, ARGB, 64, 65) == OK && guest_create(&g, 4, ARGB, 32, 1) == OK);
	assert(guest_cursor(&g, UPDATE, 0, 2, 0, 0, 0, 0) == BAD && guest_cursor(&g, UPDATE, 0, 3, 0, 0, 0, 0) == BAD);
	assert(guest_cursor(&g, UPDATE, 0, 4, 0, 0, 5, 5) == OK && scanout_view_cursor(g.view[0], c) && c->w == 32 && c->h == 1);
	assert(c->hot_x == 5 && c->hot_y == 0 && !c->px[3]);
	/* a reset takes it away */
	drv_stop(&g.d);
	assert(scanout_view_cursor(g.view[0], c) && !c->w);
	free(c);
	guest_fini(&g);
}

/* ---- sizes ---- */

static struct virtio_gpu_resp_display_info display_info(void)
{
	struct virtio_gpu_resp_display_info info;
	struct virtio_gpu_ctrl_hdr h = {0};

	assert(guest_do(&g, CONTROL, VIRTIO_GPU_CMD_GET_DISPLAY_INFO, &h, sizeof h) == VIRTIO_GPU_RESP_OK_DISPLAY_INFO);
	assert(!mem_get(&g.mem, GUEST_ANSWER, &info, sizeof info));
	return info;
}

static uint32_t edid(uint32_t head, struct virtio_gpu_resp_edid *e)
{
	struct virtio_gpu_cmd_get_edid c = {.scanout = head};
	uint32_t rc = guest_do(&g, CONTROL, VIRTIO_GPU_CMD_GET_EDID, &c, sizeof c);

	assert(!mem_get(&g.mem, GUEST_ANSWER, e, sizeof *e));
	return rc;
}

static uint32_t edid_width(const struct virtio_gpu_resp_edid *e)
{
	return e->edid[56] | (uint32_t)(e->edid[58] & 0xf0) << 4;
}

static void resize(void)
{
	struct virtio_gpu_resp_display_info info;
	struct virtio_gpu_config c;
	struct virtio_gpu_resp_edid e;
	uint32_t v;

	guest_init(&g, 2);
	guest_device(&g, &(struct gpu_config){.w = 1366, .h = 768});
	/* before there is a driver */
	assert(!gpu_resize(g.dev, &(struct resize_wish){0, 1280, 720}) && g.d.config_changes == 1);
	drv_start(&g.d, VIRTIO_F_VERSION_1 | g.dev->features, 64);
	g.dev->ops->config_read(g.dev, 0, &c, sizeof c);
	assert(g.dev->config_len == sizeof c && c.events_read == 1 && !c.events_clear && c.num_scanouts == 2 && !c.num_capsets);
	info = display_info();
	assert(info.pmodes[0].r.width == 1280 && info.pmodes[0].r.height == 720 && info.pmodes[0].enabled == 1);
	for (unsigned i = 1; i < 16; i++)
		assert(!info.pmodes[i].enabled && !info.pmodes[i].r.width);
	/* the driver has seen it */
	v = 2;
	g.dev->ops->config_write(g.dev, 4, &v, 4);
	v = 0;
	g.dev->ops->config_write(g.dev, 0, &v, 4);
	g.dev->ops->config_write(g.dev, 8, &v, 4);
	g.dev->ops->config_read(g.dev, 0, &c, sizeof c);
	assert(c.events_read == 1 && c.num_scanouts == 2);
	v = 1;
	g.dev->ops->config_write(g.dev, 4, &v, 4);
	g.dev->ops->config_read(g.dev, 0, &c, sizeof c);
	assert(!c.events_read && !c.events_clear);
	/* the same is no event; nor what is no size, or no head */
	assert(!gpu_resize(g.dev, &(struct resize_wish){0, 1280, 720}) && !gpu_resize(g.dev, &(struct resize_wish){1, 0, 99}));
	assert(gpu_resize(g.dev, &(struct resize_wish){0, 0, 0}) == -EINVAL && gpu_resize(g.dev, &(struct resize_wish){0, 5, 0}) == -EINVAL);
	assert(gpu_resize(g.dev, &(struct resize_wish){2, 640, 480}) == -EINVAL);
	assert(gpu_resize(g.dev, &(struct resize_wish){UINT32_MAX, 640, 480}) == -EINVAL);
	assert(gpu_resize(g.dev, &(struct resize_wish){1, 8193, 1}) == -EINVAL);
	assert(gpu_resize(g.dev, &(struct resize_wish){1, UINT32_MAX, UINT32_MAX}) == -EINVAL);
	assert(g.d.config_changes == 1);
	/* another head; its place is beside the first */
	assert(!gpu_resize(g.dev, &(struct resize_wish){1, 800, 600}) && g.d.config_changes == 2);
	info = display_info();
	assert(info.pmodes[1].enabled && info.pmodes[1].r.x == 1280 && !info.pmodes[1].r.y && info.pmodes[1].r.width == 800);
	assert(edid(0, &e) == VIRTIO_GPU_RESP_OK_EDID && e.size == 128 && edid_width(&e) == 1280 && e.edid[12] == 1);
	assert(edid(1, &e) == VIRTIO_GPU_RESP_OK_EDID && edid_width(&e) == 800 && e.edid[12] == 2);
	assert(edid(2, &e) == BAD_HEAD);
	/* larger than an EDID can say: the driver is to look at the display information */
	assert(!gpu_resize(g.dev, &(struct resize_wish){1, 5120, 2880}) && edid(1, &e) == UNSPEC);
	info = display_info();
	assert(info.pmodes[1].r.width == 5120 && info.pmodes[1].r.height == 2880);
	assert(!gpu_resize(g.dev, &(struct resize_wish){1, 0, 0}) && !display_info().pmodes[1].enabled);
	assert(edid(1, &e) == VIRTIO_GPU_RESP_OK_EDID);
	/* a reset keeps the size, and the event is over */
	drv_stop(&g.d);
	drv_start(&g.d, VIRTIO_F_VERSION_1, 64);
	g.dev->ops->config_read(g.dev, 0, &c, sizeof c);
	assert(!c.events_read && display_info().pmodes[0].r.width == 1280);
	assert(edid(0, &e) == UNSPEC); /* not negotiated */
	guest_fini(&g);
}

/* Another size with every frame: what was there before goes. */
static void many_modes(void)
{
	begin_two();
	for (unsigned i = 0; i < 300; i++) {
		uint32_t w = 100 + i * 7 % 400, h = 50 + i * 13 % 300, id = 1 + i;

		if (i % 50 < 3)
			guest_paint(&g, GUEST_FB, w, h, i);
		guest_picture(&g, id, w, h, GUEST_FB);
		assert(guest_scanout(&g, 0, id, RECT(0, 0, w, h)) == OK && guest_flush(&g, id, RECT(0, 0, w, h)) == OK);
		assert(i % 50 > 2 || guest_shows(&g, 0, w, h, RECT(0, 0, w, h), 0, 0, i));
		assert(!i || guest_unref(&g, id - 1) == OK);
		assert(guest_stat(&g, "resources") == 1 && guest_stat(&g, "memory") < 2 * MIB);
		assert(!guest_dark(&g, 0));
	}
	/* stopped and started with its pictures; reset without */
	g.dev->ops->stop(g.dev, 0);
	drv_kick(&g.d, 0);
	assert(!g.dev->ops->start(g.dev, 0, &g.d.q[0].vq) && guest_stat(&g, "resources") == 1 && !guest_dark(&g, 0));
	drv_stop(&g.d);
	assert(guest_dark(&g, 0) && !guest_stat(&g, "resources") && !guest_stat(&g, "memory"));
	drv_start(&g.d, VIRTIO_F_VERSION_1, 64);
	guest_picture(&g, 300, 10, 10, GUEST_FB);
	guest_fini(&g);
}

static void config_bad(void)
{
	struct virtio_dev *dev;
	struct err e;

	guest_init(&g, 1);
	assert(gpu_new(&dev, &(struct gpu_config){.w = 1, .h = 1}, &e) == -EINVAL);
	assert(gpu_new(&dev, &(struct gpu_config){.w = 1, .h = 1, .nheads = SCANOUT_HEADS + 1}, &e) == -EINVAL);
	assert(gpu_new(&dev, &(struct gpu_config){.w = 0, .h = 1, .nheads = 1, .head = {g.out[0]}}, &e) == -EINVAL);
	assert(gpu_new(&dev, &(struct gpu_config){.w = 8, .h = 8, .nheads = 1, .head = {g.out[0]}, .queue_size = 48}, &e) == -EINVAL);
	assert(gpu_new(&dev, &(struct gpu_config){.w = 8, .h = 8, .nheads = 1, .head = {g.out[0]}, .queue_size = 2048}, &e) == -EINVAL);
	guest_device(&g, &(struct gpu_config){.queue_size = 16});
	assert(g.dev->queue_size == 16);
	guest_fini(&g);
}

int main(void)
{
	basic();
	heads();
	formats();
	bad_resources();
	bad_backings();
	bad_rects();
	pieces();
	bad_commands();
	more_and_more();
	cursor();
	resize();
	many_modes();
	config_bad();
	return 0;
}
