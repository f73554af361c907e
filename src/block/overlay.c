/* SPDX-License-Identifier: MIT */
/*
 * snapshot=on: a disk whose image is never written. What the guest writes goes into the overlay, a sparse file with the same
 * offsets, in clusters of 64 KiB; a map has a bit per cluster that says where its bytes are.
 *
 *	bit clear   all of the cluster is in the image; what the overlay has there means nothing
 *	bit set     all of the cluster is in the overlay, for ever
 *
 * The first write to a cluster makes it whole: what the request does not bring is read from the image, the cluster is
 * written, and only then is the bit set. Map and overlay outlive this process, which may be killed between any two
 * system calls: then the bit is clear, and the write was not acknowledged and comes again. For the same reason a hole is
 * punched also where the bit is clear.
 *
 * Two writes to different parts of one cluster may come at the same time. Only while its bit is clear must they be
 * one after the other: a lock, out of a few that clusters share. A reader needs none. It may see the bit clear and read
 * the image after all while a write is under way, and that write was not acknowledged when the reader came.
 *
 * Flushes do nothing: after a power cut there is no overlay.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "block/blk-int.h"

enum { CLUSTER = 64 << 10, LOCKS = 64 };
_Static_assert((int)CLUSTER <= (int)BOUNCE, "a cluster is made whole in there");

struct overlay {
	int base_fd, fd;
	uint64_t size;
	uint8_t *map;
	size_t map_len;
	pthread_mutex_t lock[LOCKS];
};

int blk_overlay_make(int *overlay_fd, int *bitmap_fd, struct err *e)
{
	const char *dir = getenv("TMPDIR");

	dir = dir && *dir ? dir : "/var/tmp";
	*overlay_fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*overlay_fd < 0)
		return err_set(e, errno, "snapshot: cannot make a file in %s: %s; TMPDIR may name another place", dir,
			strerror(errno));
	*bitmap_fd = memfd_create("husk-overlay", MFD_CLOEXEC);
	return *bitmap_fd < 0 ? err_set(e, errno, "snapshot: cannot make its map: %s", strerror(errno)) : 0;
}

int overlay_open(struct overlay **out, int base_fd, int overlay_fd, int bitmap_fd, uint64_t size, struct err *e)
{
	struct overlay *o;
	size_t len = (size + 8ull * CLUSTER - 1) / (8ull * CLUSTER);
	char self[40];
	struct stat st;
	int fd;

	if (fstat(bitmap_fd, &st) || (!st.st_size && ftruncate(bitmap_fd, (off_t)len)))
		return err_set(e, errno, "the map of the overlay: %s", strerror(errno));
	if (st.st_size && (uint64_t)st.st_size < len)
		return err_set(e, EINVAL, "the map of the overlay has %lld bytes, and the disk wants %zu",
			(long long)st.st_size, len);
	/* our own open file, as with the image (lock.c) */
	snprintf(self, sizeof self, "/proc/self/fd/%d", overlay_fd);
	fd = open(self, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, errno, "the overlay: %s", strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
		((uint64_t)st.st_size < size && ftruncate(fd, (off_t)size))) {
		int code = errno;

		close(fd);
		return err_set(e, code, "the overlay is no file that can have %" PRIu64 " bytes: %s", size, strerror(code));
	}
	o = xcalloc(1, sizeof *o);
	o->base_fd = base_fd;
	o->fd = fd;
	o->size = size;
	o->map_len = len;
	o->map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bitmap_fd, 0);
	if (o->map == MAP_FAILED) {
		int code = errno;

		close(fd);
		free(o);
		return err_set(e, code, "the map of the overlay: %s", strerror(code));
	}
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_init(&o->lock[i], NULL);
	*out = o;
	return 0;
}

int overlay_fd(const struct overlay *o)
{
	return o->fd;
}

void overlay_close(struct overlay *o)
{
	if (!o)
		return;
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&o->lock[i]);
	munmap(o->map, o->map_len);
	close(o->fd);
	free(o);
}

static bool is_set(const struct overlay *o, uint64_t cluster)
{
	return __atomic_load_n(&o->map[cluster / 8], __ATOMIC_ACQUIRE) >> cluster % 8 & 1;
}

static void set(struct overlay *o, uint64_t cluster)
{
	__atomic_fetch_or(&o->map[cluster / 8], (uint8_t)(1u << cluster % 8), __ATOMIC_RELEASE);
}

static uint64_t cluster_end(const struct overlay *o, uint64_t cluster)
{
	return min_u64((cluster + 1) * CLUSTER, o->size);
}

/* All of buf. 0 or an errno. */
static int read_all(int fd, uint8_t *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : EIO;
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_all(int fd, const uint8_t *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : EIO;
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* Bytes from off on, at most len, that are in the same file as the first. */
static uint64_t run(const struct overlay *o, uint64_t off, uint64_t len, bool *in_overlay)
{
	uint64_t cluster = off / CLUSTER, end = off + len;

	*in_overlay = is_set(o, cluster);
	while (cluster_end(o, cluster) < end && is_set(o, cluster + 1) == *in_overlay)
		cluster++;
	return min_u64(end, cluster_end(o, cluster)) - off;
}

static int read_some(struct overlay *o, const struct blk_req *r, uint8_t *bounce, uint64_t pos, uint64_t *done)
{
	bool in_overlay;
	uint64_t len = run(o, r->off + pos, r->len - pos, &in_overlay);
	int fd = in_overlay ? o->fd : o->base_fd, err;

	if (len == r->len && r->niov <= 1024) {
		ssize_t n = preadv2(fd, r->iov, r->niov, (off_t)r->off, 0);

		if (n == (ssize_t)r->len) {
			*done = len;
			return 0;
		}
	}
	*done = min_u64(len, BOUNCE);
	err = read_all(fd, bounce, *done, r->off + pos);
	if (!err)
		sync_scatter(r, pos, bounce, *done);
	return err;
}

/* What a write brings for [pos, pos + len): data, or zeroes. */
static void bring(const struct blk_req *r, uint64_t pos, uint8_t *to, size_t len)
{
	if (r->op == BLK_WRITE)
		sync_gather(r, pos, to, len);
	else
		memset(to, 0, len);
}

/* A cluster whose bit is clear becomes one of the overlay, with the request's bytes [pos, pos + len) in it. */
static int make_whole(struct overlay *o, const struct blk_req *r, uint8_t *bounce, uint64_t pos, size_t len)
{
	uint64_t off = r->off + pos, cluster = off / CLUSTER, begin = cluster * CLUSTER;
	size_t whole = cluster_end(o, cluster) - begin;
	int err = len == whole ? 0 : read_all(o->base_fd, bounce, whole, begin);

	if (err)
		return err;
	bring(r, pos, bounce + (off - begin), len);
	err = write_all(o->fd, bounce, whole, begin);
	if (!err)
		set(o, cluster);
	return err;
}

/* All of a cluster becomes zeroes without taking room. EOPNOTSUPP when the file system has no holes. */
static int make_hole(struct overlay *o, uint64_t cluster)
{
	if (fallocate(o->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(cluster * CLUSTER), CLUSTER))
		return errno;
	set(o, cluster);
	return 0;
}

static int write_some(struct overlay *o, const struct blk_req *r, uint8_t *bounce, uint64_t pos, uint64_t *done)
{
	uint64_t off = r->off + pos, cluster = off / CLUSTER, end = cluster_end(o, cluster);
	pthread_mutex_t *lock = &o->lock[cluster % LOCKS];
	bool whole, there;
	int err = 0;

	*done = min_u64(r->len - pos, end - off);
	whole = *done == end - cluster * CLUSTER;
	there = is_set(o, cluster);
	/* a wish: what was never written, or is a part only, can stay as it is */
	if (r->op == BLK_DISCARD && (!there || !whole))
		return 0;
	if (there && !(whole && r->op != BLK_WRITE)) {
		bring(r, pos, bounce, *done);
		return write_all(o->fd, bounce, *done, off);
	}
	pthread_mutex_lock(lock);
	if (whole && r->op != BLK_WRITE) {
		err = make_hole(o, cluster);
		if (err == EOPNOTSUPP)
			err = make_whole(o, r, bounce, pos, *done);
	} else if (is_set(o, cluster)) {
		bring(r, pos, bounce, *done);
		err = write_all(o->fd, bounce, *done, off);
	} else {
		err = make_whole(o, r, bounce, pos, *done);
	}
	pthread_mutex_unlock(lock);
	return err;
}

int overlay_request(struct overlay *o, const struct blk_req *r, uint8_t *bounce)
{
	uint64_t pos = 0, n = 0;
	int err = 0;

	if (r->op == BLK_FLUSH)
		return 0;
	for (; !err && pos < r->len; pos += n)
		err = r->op == BLK_READ ? read_some(o, r, bounce, pos, &n) : write_some(o, r, bounce, pos, &n);
	return err;
}
