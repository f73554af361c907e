/* SPDX-License-Identifier: MIT */
/*
 * Random requests, several at a time, against an array of bytes: every engine, cache mode, the overlay; memory at odd
 * addresses (which direct I/O cannot take as it is); the disk closed and opened again in between, as a restart does.
 *
 *	block-scribble [BATCHES [BLOCK-DEVICE]]     the device, of at most 16 MiB, is overwritten
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"

/* not a number of clusters, nor of pages */
enum { FILE_SIZE = (3 << 20) + 64 * 1024 / 2 + 512, BATCH = 12, LARGEST = 300 << 10 };
enum { SLOT = 1 << 20 };

static const char *device;
static size_t size = FILE_SIZE, sectors = FILE_SIZE / 512;

struct job {
	uint32_t type;
	uint64_t sector;
	uint32_t n;
	uint64_t addr; /* of the data */
	bool maybe;    /* a discard: as it was, or zeroes */
};

struct disk {
	int file, overlay, map; /* overlay -1: none */
	struct drv_config c;
	struct drv d;
	uint8_t *model;
	uint8_t *maybe; /* per sector */
};

static int image(void)
{
	int file = drv_file(size, 11), fd;
	uint8_t *p = malloc(size);

	if (device) {
		fd = open(device, O_RDWR | O_CLOEXEC);
		assert(fd >= 0 && p && pread(file, p, size, 0) == (ssize_t)size && pwrite(fd, p, size, 0) == (ssize_t)size);
		close(file);
		file = fd;
	}
	free(p);
	return file;
}

static void disk_open(struct disk *k)
{
	struct err e = {0};

	k->c.blk.overlay_fd = k->overlay < 0 ? -1 : dup(k->overlay);
	k->c.blk.bitmap_fd = k->map < 0 ? -1 : dup(k->map);
	k->c.blk.fd = drv_again(k->file, &k->c.blk);
	if (drv_open(&k->d, &k->c, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	drv_start(&k->d, &k->c);
}

static void disk_close(struct disk *k)
{
	drv_stop(&k->d);
	drv_close(&k->d);
}

static bool overlaps(const struct job *j, unsigned n, uint64_t sector, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		if (sector < j[i].sector + j[i].n && j[i].sector < sector + len)
			return true;
	return false;
}

/* Its data in pieces of any length, from any address. */
static void offer(struct disk *k, unsigned i, struct job *j, uint64_t *rng)
{
	struct drv *d = &k->d;
	uint64_t h = DRV_HEADERS + (uint64_t)i * 64;
	struct seg s[64] = {{h, 16, false}};
	uint32_t left = j->n * 512;
	unsigned n = 1;
	bool odd = drv_random(rng) % 3 == 0;

	j->addr = DRV_DATA + (uint64_t)i * SLOT + (odd ? drv_random(rng) % 4096 : drv_random(rng) % 8 * 512);
	drv_header(d, h, j->type, j->type == T_IN || j->type == T_OUT ? j->sector : 0);
	d->ram[h + 16] = S_NONE;
	if (j->type == T_DISCARD || j->type == T_WRITE_ZEROES) {
		drv_range(d, j->addr, j->sector, j->n, j->type == T_WRITE_ZEROES ? drv_random(rng) & 1 : 0);
		s[n++] = (struct seg){j->addr, 16, false};
	} else if (j->type != T_FLUSH) {
		uint64_t at = j->addr;

		if (j->type == T_OUT)
			for (uint32_t b = 0; b < left; b += 4)
				put_u32(d->ram + at + b, drv_random(rng));
		while (left) {
			uint32_t len = n == 60 ? left : (uint32_t)min_u64(left, odd ? 1 + drv_random(rng) % 65536 :
				512 * (1 + drv_random(rng) % 128));

			s[n++] = (struct seg){at, len, j->type == T_IN};
			at += len;
			left -= len;
		}
	}
	s[n++] = (struct seg){h + 16, 1, true};
	drv_offer(d, i, s, n);
}

static void check_read(struct disk *k, const struct job *j)
{
	const uint8_t *got = k->d.ram + j->addr;

	for (uint32_t i = 0; i < j->n; i++, got += 512) {
		uint8_t *want = k->model + (j->sector + i) * 512;
		static const uint8_t zero[512];

		if (k->maybe[j->sector + i]) {
			assert(!memcmp(got, want, 512) || !memcmp(got, zero, 512));
			memcpy(want, got, 512);
			k->maybe[j->sector + i] = 0;
		}
		if (memcmp(got, want, 512)) {
			fprintf(stderr, "sector %llu differs\n", (unsigned long long)j->sector + i);
			abort();
		}
	}
}

static void apply(struct disk *k, const struct job *j)
{
	uint8_t *p = k->model + j->sector * 512;

	switch (j->type) {
	case T_IN:
		check_read(k, j);
		break;
	case T_OUT:
		memcpy(p, k->d.ram + j->addr, (size_t)j->n * 512);
		memset(k->maybe + j->sector, 0, j->n);
		break;
	case T_WRITE_ZEROES:
		memset(p, 0, (size_t)j->n * 512);
		memset(k->maybe + j->sector, 0, j->n);
		break;
	case T_DISCARD:
		memset(k->maybe + j->sector, 1, j->n);
	}
}

static void batch(struct disk *k, uint64_t *rng)
{
	static const uint32_t types[] = {T_IN, T_OUT, T_IN, T_OUT, T_IN, T_OUT, T_FLUSH, T_DISCARD, T_WRITE_ZEROES};
	unsigned n = 0, want = 1 + drv_random(rng) % BATCH;
	struct job j[BATCH];

	while (n < want) {
		uint32_t r = drv_random(rng), most = r & 1 ? LARGEST / 512 : r & 2 ? 16 : 1;

		j[n].type = types[drv_random(rng) % ARRAY_LEN(types)];
		j[n].n = j[n].type == T_FLUSH ? 0 : 1 + drv_random(rng) % most;
		/* half of them close together, so that they meet in clusters */
		j[n].sector = drv_random(rng) % (r & 4 ? sectors : 1024);
		/* and some as whole clusters */
		if (r & 8 && j[n].n >= 128) {
			j[n].sector &= ~127ull;
			j[n].n &= ~127u;
		}
		if (j[n].sector + j[n].n > sectors || overlaps(j, n, j[n].sector, j[n].n))
			continue;
		offer(k, n, &j[n], rng);
		if (r & 16)
			drv_kick(&k->d);
		n++;
	}
	drv_kick(&k->d);
	for (unsigned i = 0; i < n; i++) {
		unsigned which = drv_wait(&k->d);

		assert(which < n && drv_status(&k->d, which) == S_OK);
		apply(k, &j[which]);
	}
}

static void scribble(enum blk_aio aio, enum blk_cache cache, bool snapshot, unsigned nbatches)
{
	struct disk k = {.file = image(), .overlay = -1, .map = -1,
		.c = {.blk = {.name = "image", .discard = true, .aio = aio, .cache = cache, .threads = 4}}};
	uint8_t *base = malloc(size), *back = malloc(size);
	uint64_t rng = 1 + (unsigned)aio * 100 + (unsigned)cache * 10 + snapshot;

	k.model = malloc(size);
	k.maybe = calloc(sectors, 1);
	assert(base && back && k.model && k.maybe);
	assert(pread(k.file, base, size, 0) == (ssize_t)size);
	memcpy(k.model, base, size);
	if (snapshot) {
		k.overlay = drv_file(0, 0);
		k.map = memfd_create("map", MFD_CLOEXEC);
		assert(k.map >= 0);
	}
	disk_open(&k);
	for (unsigned i = 0; i < nbatches; i++) {
		batch(&k, &rng);
		if (i % 50 == 49) {
			disk_close(&k);
			disk_open(&k);
		}
	}
	/* all of it, and what is in the file itself */
	for (uint64_t s = 0; s < sectors; s += 512) {
		struct job j = {.type = T_IN, .sector = s, .n = (uint32_t)min_u64(512, sectors - s)};

		offer(&k, 0, &j, &rng);
		drv_kick(&k.d);
		assert(drv_wait(&k.d) == 0 && drv_status(&k.d, 0) == S_OK);
		check_read(&k, &j);
	}
	disk_close(&k);
	assert(pread(k.file, back, size, 0) == (ssize_t)size && !memcmp(back, snapshot ? base : k.model, size));
	free(base);
	free(back);
	free(k.model);
	free(k.maybe);
	close(k.file);
	if (snapshot) {
		close(k.overlay);
		close(k.map);
	}
}

/* Clusters that nobody has written yet, and in each of them many writes at once. */
static void meet(unsigned rounds)
{
	struct disk k = {.file = image(), .overlay = drv_file(0, 0),
		.c = {.blk = {.name = "image", .aio = BLK_AIO_THREADS, .threads = 4}}};
	uint64_t rng = 3;

	k.model = malloc(size);
	k.maybe = calloc(sectors, 1);
	assert(k.model && k.maybe);
	while (rounds--) {
		k.map = memfd_create("map", MFD_CLOEXEC);
		assert(k.map >= 0 && pread(k.file, k.model, size, 0) == (ssize_t)size);
		disk_open(&k);
		for (unsigned cluster = 0; cluster < sectors / 128; cluster++) {
			struct job j[BATCH], all = {.type = T_IN, .sector = cluster * 128, .n = 128};

			for (unsigned i = 0; i < BATCH; i++) {
				j[i] = (struct job){.type = T_OUT, .sector = cluster * 128 + i * 3, .n = 1};
				offer(&k, i, &j[i], &rng);
			}
			drv_kick(&k.d);
			for (unsigned i = 0; i < BATCH; i++) {
				unsigned which = drv_wait(&k.d);

				assert(drv_status(&k.d, which) == S_OK);
				apply(&k, &j[which]);
			}
			offer(&k, 0, &all, &rng);
			drv_kick(&k.d);
			assert(drv_wait(&k.d) == 0 && drv_status(&k.d, 0) == S_OK);
			check_read(&k, &all);
		}
		disk_close(&k);
		close(k.map);
	}
	free(k.model);
	free(k.maybe);
	close(k.file);
	close(k.overlay);
}

/* Claimed by somebody else (mounted, in a RAID), a device is not opened for writing. */
static void test_device(const char *path)
{
	struct blk_config c = {.name = path, .overlay_fd = -1};
	int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
	struct err e;

	assert(fd >= 0);
	assert(blk_open_file(path, -1, &c, &e) == -EBUSY && strstr(e.text, "mounted"));
	size = (size_t)lseek(fd, 0, SEEK_END);
	sectors = size / 512;
	close(fd);
	assert(size && size <= 16 << 20 && size % 512 == 0);
	device = path;
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)atoi(argv[1]) : 200;
	struct io_uring ring;

	if (argc > 2)
		test_device(argv[2]);

	scribble(BLK_AIO_THREADS, BLK_WRITEBACK, false, n);
	scribble(BLK_AIO_THREADS, BLK_DIRECT, false, n);
	scribble(BLK_AIO_THREADS, BLK_WRITEBACK, true, 2 * n);
	meet(n / 4);
	if (io_uring_queue_init(2, &ring, 0)) {
		fprintf(stderr, "no io_uring here\n");
		return 0;
	}
	io_uring_queue_exit(&ring);
	scribble(BLK_AIO_URING, BLK_WRITEBACK, false, n);
	scribble(BLK_AIO_URING, BLK_WRITETHROUGH, false, n / 8);
	scribble(BLK_AIO_URING, BLK_DIRECT, false, n);
	scribble(BLK_AIO_URING, BLK_UNSAFE, false, n);
	return 0;
}
