/* SPDX-License-Identifier: MIT */
/* Requests of every type and shape, what is refused, what is synced when, both engines, opening and locking. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"

enum { MB = 1 << 20, SECTORS = 4 * MB / 512 };

static bool uring_works = true;

/* --- what is asked of the kernel ---------------------------------------------------------------- */

static struct {
	unsigned syncs, writes, durable_writes; /* by either engine */
	int fail_write, fail_sync;              /* errno of the next one, threads only */
	bool short_write;
	bool probe;                             /* try what a ring must refuse */
	int openat_res, plain_fd_res, register_res;
} seen;

ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	seen.writes++;
	seen.durable_writes += flags & RWF_DSYNC ? 1 : 0;
	if (seen.fail_write) {
		errno = seen.fail_write;
		return -1;
	}
	if (seen.short_write) {
		struct iovec part = {.iov_base = iov->iov_base, .iov_len = min_u64(iov->iov_len, 700)};

		return __real_pwritev64v2(fd, &part, 1, off, flags);
	}
	return __real_pwritev64v2(fd, iov, n, off, flags);
}

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	seen.syncs++;
	if (seen.fail_sync) {
		errno = seen.fail_sync;
		seen.fail_sync = 0;
		return -1;
	}
	return __real_fdatasync(fd);
}

static void look(const struct io_uring *ring)
{
	const struct io_uring_sq *sq = &ring->sq;

	for (unsigned i = sq->sqe_head; i != sq->sqe_tail; i++) {
		const struct io_uring_sqe *s = &sq->sqes[i & *sq->kring_mask];

		assert((s->flags & ~IOSQE_ASYNC) == IOSQE_FIXED_FILE);
		if (s->opcode == IORING_OP_FSYNC)
			seen.syncs++;
		if (s->opcode == IORING_OP_WRITE || s->opcode == IORING_OP_WRITEV) {
			seen.writes++;
			seen.durable_writes += s->rw_flags & RWF_DSYNC ? 1 : 0;
		}
	}
}

/* From inside the lane's thread, with its own ring: what someone who has taken it over might try. */
static void misuse(struct io_uring *ring)
{
	static char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct io_uring_sqe *s = io_uring_get_sqe(ring);
	struct io_uring_cqe *c;
	unsigned head;

	/* 3: a completion that the engine does not look at */
	io_uring_prep_openat(s, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	s->flags = IOSQE_FIXED_FILE;
	s->user_data = 3;
	seen.openat_res = seen.plain_fd_res = 1;
	s = io_uring_get_sqe(ring);
	io_uring_prep_read(s, 0, &byte, 1, 0);
	s->user_data = 4;
	assert(io_uring_submit(ring) >= 0);
	io_uring_for_each_cqe(ring, head, c) {
		if (c->user_data == 3)
			seen.openat_res = c->res;
		if (c->user_data == 4) {
			seen.plain_fd_res = c->res;
			c->user_data = 3;
		}
	}
	seen.register_res = syscall(SYS_io_uring_register, ring->ring_fd, IORING_REGISTER_BUFFERS, &iov, 1) < 0 ? -errno : 0;
	seen.probe = false;
}

int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
	look(ring);
	if (__atomic_load_n(&seen.probe, __ATOMIC_ACQUIRE))
		misuse(ring);
	return __real_io_uring_submit_and_wait(ring, n);
}

/* --- */

static struct drv_config config(int file, enum blk_aio aio)
{
	struct drv_config c = {.blk = {.name = "image", .overlay_fd = -1, .bitmap_fd = -1, .discard = true, .aio = aio}};

	c.blk.fd = drv_again(file, &c.blk);
	return c;
}

static void must_open(struct drv *d, const struct drv_config *c)
{
	struct err e = {0};

	if (drv_open(d, c, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	drv_start(d, c);
}

static void finish(struct drv *d)
{
	drv_stop(d);
	drv_close(d);
}

static bool zeroes(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

/* Header, data and status of a request cut at these places. */
static uint8_t shaped(struct drv *d, bool write, uint64_t sector, uint32_t len, const uint32_t *cuts, unsigned ncuts)
{
	/* one run of memory: header, data, status; a piece of it per segment */
	uint64_t base = DRV_DATA + 8 * MB;
	struct seg s[16];
	uint32_t at = 0, total = 16 + len + 1, border = write ? 16 + len : 16;
	unsigned n = 0;

	drv_header(d, base, write ? T_OUT : T_IN, sector);
	d->ram[base + total - 1] = S_NONE;
	for (unsigned i = 0; i <= ncuts + 1; i++) {
		uint32_t end = i < ncuts ? cuts[i] : total;

		/* the part that is read ends at border, whatever the cuts */
		if (at < border && end > border)
			end = border;
		if (end > at)
			s[n++] = (struct seg){base + at, end - at, at >= border};
		at = end;
	}
	if (at < total)
		s[n++] = (struct seg){base + at, total - at, true};
	drv_offer(d, 1, s, n);
	drv_kick(d);
	assert(drv_wait(d) == 1);
	return d->ram[base + total - 1];
}

static void test_shapes(enum blk_aio aio)
{
	static const uint32_t cuts[][4] = {{16}, {8, 16}, {3, 20, 16 + 1024}, {16, 16 + 512, 16 + 1000, 16 + 1024},
		{17, 16 + 1023}, {1, 2, 15, 16 + 100}};
	int file = drv_file(4 * MB, 0);
	struct drv_config c = config(file, aio);
	uint8_t back[1024];
	struct drv d;

	must_open(&d, &c);
	assert(!strcmp(blk_engine(d.blk), aio == BLK_AIO_THREADS ? "threads" : "io_uring"));
	for (unsigned i = 0; i < ARRAY_LEN(cuts); i++) {
		unsigned n = 0;

		while (n < 4 && cuts[i][n])
			n++;
		for (unsigned k = 0; k < 1024; k++)
			d.ram[DRV_DATA + 8 * MB + 16 + k] = (uint8_t)(k * 7 + i);
		assert(shaped(&d, true, 10 + 2 * i, 1024, cuts[i], n) == S_OK);
		assert(pread(file, back, 1024, 512 * (10 + 2 * (off_t)i)) == 1024);
		for (unsigned k = 0; k < 1024; k++)
			assert(back[k] == (uint8_t)(k * 7 + i));
		memset(d.ram + DRV_DATA + 8 * MB + 16, 0xee, 1024);
		assert(shaped(&d, false, 10 + 2 * i, 1024, cuts[i], n) == S_OK);
		assert(!memcmp(d.ram + DRV_DATA + 8 * MB + 16, back, 1024));
	}
	finish(&d);
	close(file);
}

static void test_refused(enum blk_aio aio)
{
	int file = drv_file(4 * MB, 7);
	struct drv_config c = config(file, aio);
	char stats[1000];
	struct seg s[3];
	struct stat st;
	struct drv d;

	must_open(&d, &c);
	assert(drv_do(&d, T_IN, SECTORS - 1, DRV_DATA, 512) == S_OK);
	assert(drv_do(&d, T_IN, SECTORS - 1, DRV_DATA, 1024) == S_IOERR);
	assert(drv_do(&d, T_IN, SECTORS, DRV_DATA, 512) == S_IOERR);
	assert(drv_do(&d, T_OUT, SECTORS, DRV_DATA, 512) == S_IOERR);
	assert(drv_do(&d, T_OUT, SECTORS + 8, DRV_DATA, 512) == S_IOERR);
	assert(!fstat(file, &st) && st.st_size == 4 * MB);
	assert(drv_do(&d, T_OUT, UINT64_MAX, DRV_DATA, 512) == S_IOERR);
	assert(drv_do(&d, T_OUT, UINT64_MAX / 512, DRV_DATA, 1024) == S_IOERR);
	assert(drv_do(&d, T_OUT, 1ull << 55, DRV_DATA, 512) == S_IOERR);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 511) == S_IOERR);
	assert(drv_do(&d, T_OUT, 0, DRV_DATA, 513) == S_IOERR);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 0) == S_OK);
	assert(drv_do(&d, 2, 0, DRV_DATA, 512) == S_UNSUPP);
	assert(drv_do(&d, 0x80000000u, 0, DRV_DATA, 512) == S_UNSUPP);
	/* a header that is too short, but with a status */
	drv_header(&d, DRV_HEADERS, T_IN, 0);
	d.ram[DRV_HEADERS + 16] = S_NONE;
	s[0] = (struct seg){DRV_HEADERS, 15, false};
	s[1] = (struct seg){DRV_HEADERS + 16, 1, true};
	drv_offer(&d, 3, s, 2);
	drv_kick(&d);
	assert(drv_wait(&d) == 3 && d.ram[DRV_HEADERS + 16] == S_IOERR);
	/* only a status */
	d.ram[DRV_HEADERS + 16] = S_NONE;
	drv_offer(&d, 3, s + 1, 1);
	drv_kick(&d);
	assert(drv_wait(&d) == 3 && d.ram[DRV_HEADERS + 16] == S_IOERR);
	/* the file ends before the disk does: no data, no crash */
	assert(!ftruncate(file, 1 * MB));
	assert(drv_do(&d, T_IN, SECTORS / 2, DRV_DATA, 4096) == S_IOERR);
	assert(drv_do(&d, T_IN, 1 * MB / 512 - 1, DRV_DATA, 1024) == S_IOERR);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 4096) == S_OK);
	assert(virtio_blk_stats(d.v, stats, sizeof stats) == strlen(stats) && strstr(stats, "errors 7\nrefused 8\n"));
	/* no byte for a status: nothing to answer with */
	s[0] = (struct seg){DRV_HEADERS, 16, false};
	drv_offer(&d, 3, s, 1);
	drv_kick(&d);
	/* and the transport is called, to look */
	while (read(d.call, &(uint64_t){0}, 8) != 8)
		;
	assert(__atomic_load_n(&d.q.broken, __ATOMIC_ACQUIRE));
	finish(&d);
	close(file);
}

static void test_types(enum blk_aio aio)
{
	int file = drv_file(4 * MB, 3);
	struct drv_config c = config(file, aio);
	uint8_t *data;
	struct stat st;
	struct drv d;

	must_open(&d, &c);
	data = d.ram + DRV_DATA;
	assert(drv_do(&d, T_GET_ID, 0, DRV_DATA, 20) == S_OK && !memcmp(data, "serial-0123456789abc", 20));
	memset(data, 1, 32);
	assert(drv_do(&d, T_GET_ID, 0, DRV_DATA, 5) == S_OK && !memcmp(data, "seria\1\1", 7));
	memset(data, 1, 32);
	assert(drv_do(&d, T_GET_ID, 0, DRV_DATA, 30) == S_OK && !memcmp(data, "serial-0123456789abc\1", 21));
	assert(drv_do(&d, T_FLUSH, 0, 0, 0) == S_OK);

	/* two ranges; what is between them stays */
	drv_range(&d, DRV_DATA, 0, 8, 0);
	drv_range(&d, DRV_DATA + 16, 16, 2048, 0);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 32) == S_OK);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 3 * 4096) == S_OK);
	assert(zeroes(data, 4096) && !zeroes(data + 4096, 512) && !zeroes(data + 8192 - 512, 512) && zeroes(data + 8192, 4096));
	/* zeroes that may be holes, and others, parts of pages too */
	drv_range(&d, DRV_DATA, 4096 + 1, 6, 0);
	assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_OK);
	assert(drv_do(&d, T_IN, 4096, DRV_DATA, 4096) == S_OK);
	assert(!zeroes(data, 512) && zeroes(data + 512, 6 * 512) && !zeroes(data + 7 * 512, 512));
	assert(!fstat(file, &st));
	drv_range(&d, DRV_DATA, 4608, 2048, 0);
	assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_OK);
	drv_range(&d, DRV_DATA, 4608, 2048, 1);
	assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_OK);
	assert(!fstat(file, &st) && st.st_size == 4 * MB);
	assert(drv_do(&d, T_IN, 4608, DRV_DATA, 1 * MB) == S_OK && zeroes(data, 1 * MB));

	drv_range(&d, DRV_DATA, 0, 8, 1); /* discard with unmap */
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16) == S_UNSUPP);
	drv_range(&d, DRV_DATA, 0, 8, 2);
	assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_UNSUPP);
	drv_range(&d, DRV_DATA, SECTORS - 1, 2, 0);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16) == S_IOERR);
	assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_IOERR);
	drv_range(&d, DRV_DATA, UINT64_MAX - 1, 8, 0);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16) == S_IOERR);
	drv_range(&d, DRV_DATA, 0, UINT32_MAX, 0);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16) == S_IOERR);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 15) == S_IOERR);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 0) == S_IOERR);
	memset(data, 0, 17 * 16);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16 * 16) == S_OK); /* empty ranges */
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 17 * 16) == S_IOERR);
	finish(&d);

	/* not offered: refused, and nothing happens */
	c = config(file, aio);
	c.blk.discard = false;
	must_open(&d, &c);
	assert(!(d.dev->features & F_DISCARD));
	drv_range(&d, DRV_DATA, 4096, 8, 0);
	assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16) == S_UNSUPP);
	assert(drv_do(&d, T_IN, 4096, DRV_DATA, 512) == S_OK && !zeroes(d.ram + DRV_DATA, 512));
	finish(&d);

	/* read-only: not even when the driver tries */
	c.blk.read_only = true;
	c.blk.fd = drv_again(file, &c.blk);
	must_open(&d, &c);
	assert(d.dev->features & F_RO && !(d.dev->features & F_DISCARD));
	assert(drv_do(&d, T_OUT, 4096, DRV_DATA, 512) == S_IOERR);
	drv_range(&d, DRV_DATA, 4096, 8, 0);
	assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_IOERR);
	assert(drv_do(&d, T_FLUSH, 0, 0, 0) == S_OK);
	assert(drv_do(&d, T_IN, 4096, DRV_DATA, 512) == S_OK && !zeroes(d.ram + DRV_DATA, 512));
	finish(&d);
	close(file);
}

/* What each mode asks of the kernel. */
static void test_cache(enum blk_aio aio)
{
	static const struct {
		enum blk_cache cache;
		uint64_t without;
		unsigned durable_writes, flush_syncs, discard_syncs;
		bool flush_offered;
	} rows[] = {
		{BLK_WRITEBACK, 0, 0, 1, 0, true},
		{BLK_DIRECT, 0, 0, 1, 0, true},
		{BLK_UNSAFE, 0, 0, 0, 0, true},
		{BLK_WRITETHROUGH, 0, 1, 1, 1, false},
		{BLK_WRITEBACK, F_FLUSH, 1, 1, 1, true}, /* the driver thinks that there is no cache */
		{BLK_UNSAFE, F_FLUSH, 0, 0, 0, true},
	};
	int file = drv_file(4 * MB, 3);

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		struct drv_config c = {.blk = {.name = "image", .overlay_fd = -1, .bitmap_fd = -1, .discard = true, .aio = aio}};
		struct drv d;

		c.blk.cache = rows[i].cache;
		c.blk.fd = drv_again(file, &c.blk);
		c.without = rows[i].without;
		must_open(&d, &c);
		assert(!!(d.dev->features & F_FLUSH) == rows[i].flush_offered);
		memset(&seen, 0, sizeof seen);
		assert(drv_do(&d, T_OUT, 8, DRV_DATA, 4096) == S_OK);
		assert(seen.writes == 1 && seen.durable_writes == rows[i].durable_writes && !seen.syncs);
		assert(drv_do(&d, T_FLUSH, 0, 0, 0) == S_OK);
		assert(seen.syncs == rows[i].flush_syncs);
		seen.syncs = 0;
		drv_range(&d, DRV_DATA, 8, 8, 0);
		assert(drv_do(&d, T_DISCARD, 0, DRV_DATA, 16) == S_OK);
		assert(drv_do(&d, T_WRITE_ZEROES, 0, DRV_DATA, 16) == S_OK);
		assert(seen.syncs == 2 * rows[i].discard_syncs);
		finish(&d);
	}
	close(file);
}

static void test_failures(void)
{
	int file = drv_file(4 * MB, 3);
	struct drv_config c = config(file, BLK_AIO_THREADS);
	char stats[1000];
	struct drv d;

	must_open(&d, &c);
	seen.fail_write = ENOSPC;
	assert(drv_do(&d, T_OUT, 8, DRV_DATA, 4096) == S_IOERR);
	seen.fail_write = 0;
	assert(drv_do(&d, T_OUT, 8, DRV_DATA, 4096) == S_OK);
	/* writes that come short go on where they ended, at a sector */
	for (unsigned i = 0; i < 4096; i++)
		d.ram[DRV_DATA + i] = (uint8_t)(i * 13 >> 3);
	seen.short_write = true;
	assert(drv_do(&d, T_OUT, 16, DRV_DATA, 4096) == S_OK);
	seen.short_write = false;
	memset(d.ram + DRV_DATA + 4096, 0, 4096);
	assert(drv_do(&d, T_IN, 16, DRV_DATA + 4096, 4096) == S_OK);
	assert(!memcmp(d.ram + DRV_DATA, d.ram + DRV_DATA + 4096, 4096));
	/* the kernel tells of a failed write-back once; flushes must not forget it */
	seen.fail_sync = EIO;
	assert(drv_do(&d, T_FLUSH, 0, 0, 0) == S_IOERR);
	assert(drv_do(&d, T_FLUSH, 0, 0, 0) == S_IOERR);
	assert(drv_do(&d, T_IN, 16, DRV_DATA, 4096) == S_OK);
	virtio_blk_stats(d.v, stats, sizeof stats);
	assert(strstr(stats, "errors 3\n") && strstr(stats, "writes 2\n") && strstr(stats, "flushes 0\n"));
	finish(&d);
	close(file);
}

/* --fail */
static void test_fail(void)
{
	struct drv_config c = {.blk = {.fd = -1, .overlay_fd = -1, .bitmap_fd = -1, .fail = true, .fail_size = 4 * MB}};
	uint8_t capacity[8];
	struct drv d;

	must_open(&d, &c);
	d.dev->ops->config_read(d.dev, 0, capacity, 8);
	assert(get_u64(capacity) == SECTORS);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 4096) == S_IOERR);
	assert(drv_do(&d, T_OUT, 0, DRV_DATA, 4096) == S_IOERR);
	assert(drv_do(&d, T_FLUSH, 0, 0, 0) == S_IOERR);
	finish(&d);
}

static void test_config(void)
{
	int file = drv_file(4 * MB, 0);
	struct drv_config c = config(file, BLK_AIO_AUTO);
	uint8_t b[60];
	struct err e;
	struct drv d;

	c.seg_max = 11;
	c.size_max = 65536;
	c.nqueues = 3;
	assert(!drv_open(&d, &c, &e));
	assert(d.dev->config_len == 60 && d.dev->nqueues == 3 && d.dev->queue_size == DRV_QUEUE);
	d.dev->ops->config_read(d.dev, 0, b, 60);
	assert(get_u64(b) == SECTORS && get_u32(b + 8) == 65536 && get_u32(b + 12) == 11 && get_u32(b + 20) == 512);
	assert(b[24] == 3 && get_u16(b + 26) == 8 && b[32] == 1 && get_u16(b + 34) == 3 && b[56] == 1);
	assert((d.dev->features & 0xffffff) == (1u << 1 | 1u << 2 | 1u << 6 | 1u << 9 | 1u << 10 | 1u << 12 | 1u << 13 | 1u << 14));
	drv_close(&d);
	c = config(file, BLK_AIO_AUTO);
	c.seg_max = DRV_QUEUE - 1;
	assert(drv_open(&d, &c, &e) == -EINVAL && strstr(e.text, "segments"));
	close(file);
}

/* Queues that stop and start with new descriptors, kicks that block and kicks that do not, many requests at a time. */
static void test_restart_queue(enum blk_aio aio)
{
	int file = drv_file(4 * MB, 5);
	struct drv_config c = config(file, aio);
	struct err e;
	struct drv d;

	assert(!drv_open(&d, &c, &e));
	for (unsigned i = 0; i < 200; i++) {
		unsigned n = i % (DRV_QUEUE + 1), done = 0, k;

		c.nonblocking = i & 1;
		drv_start(&d, &c);
		for (k = 0; k < n; k++) {
			drv_request(&d, k, T_IN, k * 8, DRV_DATA + k * 4096, 4096);
			if (i & 2)
				drv_kick(&d);
		}
		if (n && !(i & 2))
			drv_kick(&d);
		/* every third time the queue stops with requests in flight: all that were taken are done */
		if (i % 3) {
			for (; done < n; done++)
				assert(drv_status(&d, drv_wait(&d)) == S_OK);
			assert(d.q.n.requests == n && (!n || d.q.n.kicks));
		}
		d.dev->ops->stop(d.dev, 0);
		while (drv_poll(&d, &k)) {
			assert(drv_status(&d, k) == S_OK);
			done++;
		}
		assert(done == d.q.n.requests && d.q.used_idx == d.q.next_avail);
		virtq_stop(&d.q);
		/* kicks that were seen are not there for the next who looks */
		assert(fcntl(d.kick, F_SETFL, O_NONBLOCK) == 0);
		assert(read(d.kick, &(uint64_t){0}, 8) == -1 && errno == EAGAIN);
		close(d.kick);
		close(d.call);
	}
	drv_close(&d);
	close(file);
}

static void test_restrictions(void)
{
	int file = drv_file(4 * MB, 5);
	struct drv_config c = config(file, BLK_AIO_URING);
	struct drv d;

	must_open(&d, &c);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 4096) == S_OK);
	__atomic_store_n(&seen.probe, true, __ATOMIC_RELEASE);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 4096) == S_OK);
	assert(drv_do(&d, T_IN, 0, DRV_DATA, 4096) == S_OK);
	assert(seen.openat_res == -EACCES && seen.plain_fd_res == -EACCES && seen.register_res == -EACCES);
	finish(&d);
	close(file);
}

static void expect(int rc, int code, const struct err *e, const char *words)
{
	if (rc != -code || !strstr(e->text, words)) {
		fprintf(stderr, "%d: %s\n", rc, e->text);
		abort();
	}
}

static void test_open(void)
{
	struct blk_config c = {.name = "NAME", .overlay_fd = -1, .bitmap_fd = -1};
	char dir[] = "/tmp/husk-block-XXXXXX", path[64];
	struct err e;
	struct blk *b;
	int fd;

	assert(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/f", dir);
	expect(blk_open_file(path, -1, &c, &e), ENOENT, &e, "NAME");
	expect(blk_open_file(dir, -1, &c, &e), EISDIR, &e, "directory");
	assert(!mkfifo(path, 0600));
	expect(blk_open_file(path, -1, &c, &e), EINVAL, &e, "neither");
	unlink(path);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	c.fd = blk_open_file(path, -1, &c, &e);
	assert(c.fd >= 0);
	expect(blk_open(&b, &c, &e), EINVAL, &e, "empty");
	assert(!ftruncate(fd, 1000));
	expect(blk_open(&b, &c, &e), EINVAL, &e, "truncate -s %512 NAME");
	assert(!ftruncate(fd, 512));
	assert(!blk_open(&b, &c, &e) && blk_size(b) == 512);
	blk_close(b);
	unlink(path);
	rmdir(dir);
	close(fd);
}

static void test_locks(void)
{
	struct blk_config w = {.name = "NAME", .overlay_fd = -1, .bitmap_fd = -1}, r = w;
	int file = drv_file(4 * MB, 0), go[2], back[2], status;
	struct blk *a, *b;
	char word[20];
	struct err e;
	pid_t pid;

	r.read_only = true;
	w.fd = drv_again(file, &w);
	assert(!blk_open(&a, &w, &e));
	/* another open file, so another owner, also in one process */
	w.fd = drv_again(file, &w);
	expect(blk_open(&b, &w, &e), EBUSY, &e, "in use");
	r.fd = drv_again(file, &r);
	expect(blk_open(&b, &r, &e), EBUSY, &e, "in use");
	blk_close(a);
	/* readers share, and keep writers out */
	assert(!blk_open(&a, &r, &e));
	r.fd = drv_again(file, &r);
	assert(!blk_open(&b, &r, &e));
	blk_close(a);
	expect(blk_open(&a, &w, &e), EBUSY, &e, "in use");
	blk_close(b);
	assert(!blk_open(&a, &w, &e));
	blk_close(a);

	/* a process that has it is named; --restart waits until it has let go */
	assert(!pipe2(go, O_CLOEXEC) && !pipe2(back, O_CLOEXEC));
	pid = fork();
	assert(pid >= 0);
	if (!pid) {
		w.fd = drv_again(file, &w);
		if (blk_open(&a, &w, &e) || write(go[1], "x", 1) != 1)
			_exit(1);
		/* told to go, it lets a moment pass: the other one is waiting by then, most of the time */
		_exit(read(back[0], word, 1) != 1 || usleep(50000));
	}
	assert(read(go[0], word, 1) == 1);
	w.fd = drv_again(file, &w);
	snprintf(word, sizeof word, "pid %d", (int)pid);
	expect(blk_open(&b, &w, &e), EBUSY, &e, word);
	w.restart = true;
	assert(write(back[1], "x", 1) == 1);
	assert(!blk_open(&b, &w, &e));
	/* so it has ended, or is about to */
	assert(waitpid(pid, &status, 0) == pid && status == 0);
	blk_close(b);
	close(go[0]);
	close(go[1]);
	close(back[0]);
	close(back[1]);
	close(file);
}

enum { KILLED_SIZE = 64 << 20, SAMPLE = 128 << 10 };

/* The last sectors of pieces of the file, the latest written first: fast, as what is looked for is over soon. */
static void sample(int file, uint8_t *to)
{
	assert(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0);
	for (off_t off = KILLED_SIZE - 512; off >= 0; off -= SAMPLE, to++)
		assert(pread(file, to, 1, off) == 1);
}

/*
 * A process that is killed with much in flight: once its lock can be had, nothing of it lands any more. (With the lock
 * taken out, this failed in six runs out of six.)
 */
static void test_killed(void)
{
	int file = drv_file(KILLED_SIZE, 0);
	struct blk_config w = {.name = "NAME", .overlay_fd = -1, .bitmap_fd = -1, .restart = true, .cache = BLK_DIRECT};
	uint8_t before[KILLED_SIZE / SAMPLE], after[KILLED_SIZE / SAMPLE];
	struct err e;

	for (unsigned round = 0; round < 8; round++) {
		int go[2], status;
		struct blk *b;
		pid_t pid;

		assert(!pipe2(go, O_CLOEXEC));
		pid = fork();
		assert(pid >= 0);
		if (!pid) {
			struct drv_config c = {.blk = w};
			struct drv d;

			c.blk.fd = drv_again(file, &c.blk);
			must_open(&d, &c);
			memset(d.ram + DRV_DATA, (int)round + 1, 16 * MB);
			for (unsigned i = 0; i < 60; i++)
				drv_request(&d, i, T_OUT, i * (MB / 512), DRV_DATA + i % 8 * MB, MB);
			drv_kick(&d);
			drv_wait(&d);
			if (write(go[1], "x", 1) != 1)
				_exit(1);
			pause();
		}
		assert(read(go[0], &(char){0}, 1) == 1);
		assert(!kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		w.fd = drv_again(file, &w);
		if (blk_open(&b, &w, &e)) {
			fprintf(stderr, "%s\n", e.text);
			abort();
		}
		sample(file, before);
		usleep(100000);
		sample(file, after);
		assert(!memcmp(before, after, sizeof before));
		blk_close(b);
		close(go[0]);
		close(go[1]);
	}
	close(file);
}

int main(void)
{
	static const enum blk_aio engines[] = {BLK_AIO_THREADS, BLK_AIO_URING};
	struct io_uring ring;

	/* forbidden in many containers; then only the fall-back is tested */
	uring_works = !io_uring_queue_init(2, &ring, 0);
	if (uring_works)
		io_uring_queue_exit(&ring);
	else
		fprintf(stderr, "no io_uring here\n");
	test_open();
	test_locks();
	test_config();
	test_failures();
	test_fail();
	for (unsigned i = 0; i < (uring_works ? 2 : 1); i++) {
		test_shapes(engines[i]);
		test_refused(engines[i]);
		test_types(engines[i]);
		test_cache(engines[i]);
		test_restart_queue(engines[i]);
	}
	if (uring_works) {
		test_restrictions();
		test_killed();
	}
	return 0;
}
