/* SPDX-License-Identifier: MIT */
/* Entropy and balloon under a model driver, also a bad one. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"
#include "virtio/devices.h"

static struct drv d;

/* ---- entropy ---- */

static unsigned zeroes(const struct mem *m, uint64_t gpa, size_t len)
{
	const uint8_t *p = mem_at(m, gpa, len);
	unsigned n = 0;

	for (size_t i = 0; i < len; i++)
		n += !p[i];
	return n;
}

static void rng(void)
{
	enum { LIMIT = 16 << 10, N = 16 };
	struct virtio_dev *dev = virtio_rng_new();
	uint8_t config[4] = {1, 1, 1, 1};
	struct mem m;
	struct err e;
	uint16_t head, want;

	assert(!mem_init(&m, 32 * MIB, &e));
	drv_init(&d, &m, dev);
	assert(dev->ops->id == VIRTIO_ID_RNG && dev->nqueues == 1 && dev->queue_size == N);
	drv_start(&d, VIRTIO_F_VERSION_1, N);
	assert(drv_used(&d, 0, NULL) == -1);
	want = drv_add_one(&d, 0, DRV_DATA, 64, true);
	drv_kick(&d, 0);
	assert(drv_used(&d, 0, &head) == 64 && head == want && d.q[0].calls == 1);
	/* 64 bytes of which 16 are zero: 1 in 10^24 */
	assert(zeroes(&m, DRV_DATA, 64) < 16 && zeroes(&m, DRV_DATA + 64, 64) == 64);
	/* other bytes the next time, over two segments; what the driver gives to read is no matter */
	drv_add(&d, 0, (struct drv_seg[]){{DRV_DATA, 64, false}, {DRV_DATA + 4096, 10, true}, {DRV_DATA + 4106, 54, true}}, 3);
	drv_kick(&d, 0);
	assert(drv_used(&d, 0, NULL) == 64 && zeroes(&m, DRV_DATA + 4096, 64) < 16);
	assert(memcmp(mem_at(&m, DRV_DATA, 64), mem_at(&m, DRV_DATA + 4096, 64), 64));
	/* nothing to write to */
	drv_add_one(&d, 0, DRV_DATA, 64, false);
	drv_add_one(&d, 0, DRV_DATA, 0, true);
	drv_kick(&d, 0);
	assert(!drv_used(&d, 0, NULL) && !drv_used(&d, 0, NULL) && drv_used(&d, 0, NULL) == -1);
	/* far too much, and often: each gets some, and what was not written is as it was */
	for (unsigned i = 0; i < N; i++)
		drv_add_one(&d, 0, 2 * MIB + i * MIB, MIB, true);
	drv_kick(&d, 0);
	for (unsigned i = 0; i < N; i++) {
		assert(drv_used(&d, 0, NULL) == LIMIT);
		assert(zeroes(&m, 2 * MIB + i * MIB, LIMIT) < LIMIT / 64);
		assert(zeroes(&m, 2 * MIB + i * MIB + LIMIT, MIB - LIMIT) == MIB - LIMIT);
	}
	/* a segment outside of RAM: the queue is over, and says so */
	drv_add_one(&d, 0, 32 * MIB - 8, 64, true);
	drv_kick(&d, 0);
	assert(d.q[0].vq.broken && drv_used(&d, 0, NULL) == -1);
	drv_kick(&d, 0);
	/* and works again after a reset */
	drv_stop(&d);
	drv_kick(&d, 0);
	drv_start(&d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 4);
	drv_add_one(&d, 0, DRV_DATA, 8, true);
	drv_kick(&d, 0);
	assert(drv_used(&d, 0, NULL) == 8);
	dev->ops->config_read(dev, 0, config, sizeof config);
	assert(!get_u32(config));
	drv_stop(&d);
	virtio_rng_free(dev);
	mem_fini(&m);
}

/* ---- balloon ---- */

static struct {
	uint64_t gpa, len;
} given[64];
static unsigned ngiven;
static const struct mem *given_mem; /* NULL: only noted */

static void discard(void *arg, uint64_t gpa, uint64_t len)
{
	assert(arg == &d && ngiven < ARRAY_LEN(given));
	assert(len && gpa % MEM_PAGE == 0 && len % MEM_PAGE == 0);
	given[ngiven].gpa = gpa;
	given[ngiven++].len = len;
	if (given_mem)
		assert(mem_at(given_mem, gpa, len) && !madvise(mem_at(given_mem, gpa, len), len, MADV_REMOVE));
}

/* One request of page numbers; how often discard() was called */
static unsigned inflate(const uint32_t *pfn, unsigned n)
{
	ngiven = 0;
	assert(!mem_put(d.mem, DRV_DATA, pfn, n * sizeof *pfn));
	drv_add_one(&d, 0, DRV_DATA, (uint32_t)(n * sizeof *pfn), false);
	drv_kick(&d, 0);
	assert(drv_used(&d, 0, NULL) == 0 && drv_used(&d, 0, NULL) == -1);
	return ngiven;
}

static unsigned report(unsigned q, const struct drv_seg *seg, unsigned n)
{
	ngiven = 0;
	drv_add(&d, q, seg, n);
	drv_kick(&d, q);
	assert(drv_used(&d, q, NULL) == 0 && drv_used(&d, q, NULL) == -1);
	return ngiven;
}

static bool gave(unsigned i, uint64_t gpa, uint64_t len)
{
	return i < ngiven && given[i].gpa == gpa && given[i].len == len;
}

static void balloon_pages(void)
{
	static uint32_t many[5000];
	const struct virtio_balloon_counters *n;
	struct virtio_dev *dev;
	struct mem m;
	struct err e;

	assert(!mem_init(&m, 5 * GIB, &e));
	dev = virtio_balloon_new(&m, discard, &d);
	n = virtio_balloon_counters(dev);
	drv_init(&d, &m, dev);
	drv_start(&d, VIRTIO_F_VERSION_1, 128);
	/* neighbours in any order are one call; twice the same is once */
	assert(inflate((uint32_t[]){9, 5, 7, 6, 100, 8, 7}, 7) == 2 && gave(0, 0x5000, 0x5000) && gave(1, 0x64000, 0x1000));
	assert(n->inflated == 6 && n->discards == 2 && !n->ignored);
	/* not RAM: the hole, behind the end, as far as a number goes; the two sides of the hole are no neighbours */
	assert(inflate((uint32_t[]){0xc0000, 0xbffff, 0x100000, 0xfffff, 0x180000, 0x17ffff, UINT32_MAX}, 7) == 3);
	assert(gave(0, 0xbffff000, 0x1000) && gave(1, 0x100000000, 0x1000) && gave(2, 0x17ffff000, 0x1000));
	assert(n->ignored == 4);
	/* none, less than one, one and a bit */
	assert(inflate(many, 0) == 0);
	ngiven = 0;
	drv_add_one(&d, 0, DRV_DATA, 3, false);
	drv_add_one(&d, 0, DRV_DATA, 7, true);
	drv_kick(&d, 0);
	assert(!drv_used(&d, 0, NULL) && !drv_used(&d, 0, NULL) && !ngiven);
	/* more than we look at: the first ones count */
	for (unsigned i = 0; i < ARRAY_LEN(many); i++)
		many[i] = 0x20000 + (uint32_t)(ARRAY_LEN(many) - i);
	assert(inflate(many, ARRAY_LEN(many)) == 1 && gave(0, (0x20000ull + 5000 - 4095) << 12, 4096ull << 12));
	assert(n->ignored == 4 + 5000 - 4096);
	/* a shuffled block comes out whole */
	for (unsigned i = 0; i < 1024; i++)
		many[i] = 0x40000 + (i * 421) % 1024;
	assert(inflate(many, 1024) == 1 && gave(0, 0x40000000, 4 * MIB));
	/* deflate: only counted */
	ngiven = 0;
	drv_add_one(&d, 1, DRV_DATA, 40, false);
	drv_kick(&d, 1);
	assert(drv_used(&d, 1, NULL) == 0 && n->deflated == 10 && !ngiven);
	drv_stop(&d);
	virtio_balloon_free(dev);
	mem_fini(&m);
}

static void balloon_reports(void)
{
	const struct virtio_balloon_counters *n;
	struct drv_seg seg[32];
	struct virtio_dev *dev;
	struct stat before, after;
	struct mem m;
	struct err e;

	assert(!mem_init(&m, 64 * MIB, &e));
	dev = virtio_balloon_new(&m, discard, &d);
	n = virtio_balloon_counters(dev);
	drv_init(&d, &m, dev);
	drv_start(&d, VIRTIO_F_VERSION_1, 128);
	/* the queue's number depends on the driver: see balloon.c */
	for (unsigned q = 2; q < 5; q++)
		assert(report(q, (struct drv_seg[]){{4 * MIB, 2 * MIB, true}}, 1) == 1 && gave(0, 4 * MIB, 2 * MIB));
	assert(n->reports == 3 && n->reported == 6 * MIB);
	/* 32 blocks backwards, as Linux may have them; two do not touch */
	for (unsigned i = 0; i < 32; i++)
		seg[i] = (struct drv_seg){4 * MIB + (31 - i) * 512 * KIB, 512 * KIB, true};
	seg[0].gpa += 512 * KIB;
	assert(report(2, seg, 32) == 2 && gave(0, 4 * MIB, 31 * 512 * KIB) && gave(1, 20 * MIB, 512 * KIB));
	/* only whole pages, and only what may be written */
	assert(report(2, (struct drv_seg[]){{4 * MIB + 1, 2 * MIB, true}}, 1) == 1 && gave(0, 4 * MIB + 4096, 2 * MIB - 4096));
	assert(report(2, (struct drv_seg[]){{4 * MIB + 1, 8190, true}, {5 * MIB, 4095, true}, {6 * MIB, 0, true}}, 3) == 0);
	assert(report(2, (struct drv_seg[]){{4 * MIB, MIB, false}}, 1) == 0);
	/* overlapping */
	assert(report(2, (struct drv_seg[]){{4 * MIB, MIB, true}, {4 * MIB, 8192, true}, {4 * MIB + 4096, MIB, true}}, 3) == 1);
	assert(gave(0, 4 * MIB, MIB + 4096));
	assert(report(2, (struct drv_seg[]){{4 * MIB, MIB, true}, {4 * MIB + 4096, 8192, true}}, 2) == 1 && gave(0, 4 * MIB, MIB));
	/* outside of RAM: the ring code's matter, nothing is given */
	ngiven = 0;
	drv_add_one(&d, 2, 63 * MIB, 2 * MIB, true);
	drv_kick(&d, 2);
	assert(!ngiven && d.q[2].vq.broken);
	drv_kick(&d, 2);
	/* the real thing */
	given_mem = &m;
	memset(mem_at(&m, 16 * MIB, 32 * MIB), 0xaa, 32 * MIB);
	assert(!fstat(m.fd, &before));
	assert(report(4, (struct drv_seg[]){{32 * MIB, 16 * MIB, true}, {16 * MIB, 16 * MIB, true}}, 2) == 1);
	assert(!fstat(m.fd, &after) && (before.st_blocks - after.st_blocks) * 512ull == 32 * MIB);
	assert(zeroes(&m, 16 * MIB, 32 * MIB) == 32 * MIB);
	given_mem = NULL;
	drv_stop(&d);
	virtio_balloon_free(dev);
	mem_fini(&m);
}

/* Regions that touch, of two files: a call of discard() never has both. */
static void balloon_regions(void)
{
	int fd = memfd_create("test", 0);
	struct virtio_dev *dev;
	struct mem m;
	struct err e;

	assert(fd >= 0 && !ftruncate(fd, 4 * MIB));
	mem_init_empty(&m);
	assert(!mem_attach(&m, 0, 2 * MIB, fd, 2 * MIB, &e) && !mem_attach(&m, 2 * MIB, 2 * MIB, fd, 0, &e));
	dev = virtio_balloon_new(&m, discard, &d);
	drv_init(&d, &m, dev);
	drv_start(&d, VIRTIO_F_VERSION_1, 128);
	assert(inflate((uint32_t[]){512, 511, 513, 510}, 4) == 2 && gave(0, 2 * MIB - 8192, 8192) && gave(1, 2 * MIB, 8192));
	assert(report(2, (struct drv_seg[]){{2 * MIB - 4096, 8192, true}}, 1) == 2);
	assert(gave(0, 2 * MIB - 4096, 4096) && gave(1, 2 * MIB, 4096));
	drv_stop(&d);
	virtio_balloon_free(dev);
	mem_fini(&m);
	close(fd);
}

static uint32_t config_u32(uint32_t off)
{
	uint32_t v;

	d.dev->ops->config_read(d.dev, off, &v, sizeof v);
	return v;
}

static void balloon_config(void)
{
	const struct virtio_balloon_counters *n;
	struct virtio_dev *dev;
	char text[512], tight[8];
	struct mem m;
	struct err e;

	assert(!mem_init(&m, 2 * MIB, &e));
	dev = virtio_balloon_new(&m, discard, &d);
	n = virtio_balloon_counters(dev);
	drv_init(&d, &m, dev);
	assert(dev->features == (1 << 2 | 1 << 5) && dev->config_len == 8);
	assert(!config_u32(0) && !config_u32(4));
	virtio_balloon_target(dev, 300);
	assert(config_u32(0) == 300 && d.config_changes == 1);
	virtio_balloon_target(dev, 300);
	assert(d.config_changes == 1);
	/* the driver may write actual, in any pieces, and nothing else */
	dev->ops->config_write(dev, 4, &(uint32_t){256}, 4);
	dev->ops->config_write(dev, 0, &(uint32_t){7}, 4);
	assert(config_u32(0) == 300 && config_u32(4) == 256 && n->target == 300 && n->actual == 256);
	dev->ops->config_write(dev, 7, &(uint8_t){0x12}, 1);
	assert(config_u32(4) == 0x12000100);
	assert(virtio_balloon_stats(dev, text, sizeof text) == strlen(text));
	assert(strstr(text, "balloon_target 1228800\n") && strstr(text, "balloon_reported 0\n"));
	assert(virtio_balloon_stats(dev, tight, sizeof tight) == 7 && !strcmp(tight, "balloon"));
	assert(virtio_balloon_stats(dev, tight, 0) == 0);
	drv_start(&d, VIRTIO_F_VERSION_1, 32);
	drv_stop(&d);
	assert(config_u32(0) == 300 && !config_u32(4));
	virtio_balloon_free(dev);
	virtio_balloon_free(NULL);
	virtio_rng_free(NULL);
	mem_fini(&m);
}

int main(void)
{
	rng();
	balloon_pages();
	balloon_reports();
	balloon_regions();
	balloon_config();
	puts("ok");
	return 0;
}
