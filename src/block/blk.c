/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/blk-int.h"

/* liburing, from 2.4 on, sets a bit in the operation when the ring is a registered one */
#define URING_REGISTER(op) SANDBOX_ALLOW_IF(SYS_io_uring_register, 1, 0x7fffffff, (op))

/*
 * io_uring_setup is not in here: there will be no ring that is not restricted. Of io_uring_register there is what a lane's
 * thread does when it begins, and FILES_UPDATE, by which kick descriptors come into the table of files.
 */
const struct sandbox_syscall blk_syscalls[] = {
	SANDBOX_THREADS,
	SANDBOX_ALLOW(SYS_io_uring_enter),
	URING_REGISTER(IORING_REGISTER_ENABLE_RINGS),
	URING_REGISTER(IORING_REGISTER_RING_FDS),
	URING_REGISTER(IORING_REGISTER_FILES_UPDATE),
	SANDBOX_ALLOW(SYS_preadv2),
	SANDBOX_ALLOW(SYS_pwritev2),
	SANDBOX_ALLOW(SYS_pread64),
	SANDBOX_ALLOW(SYS_pwrite64),
	SANDBOX_ALLOW(SYS_fdatasync),
	SANDBOX_ALLOW(SYS_fallocate),
	SANDBOX_ALLOW_IF(SYS_fcntl, 1, 0xffffffff, F_OFD_SETLK),
	SANDBOX_ALLOW_IF(SYS_ioctl, 1, 0xffffffff, BLKDISCARD),
	SANDBOX_END,
};

/* --- opening ----------------------------------------------------------------------------------- */

int blk_open_file(const char *path, int fd, const struct blk_config *c, struct err *e)
{
	bool read_only = c->read_only || c->overlay_fd >= 0;
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	bool direct = c->cache == BLK_DIRECT && c->overlay_fd < 0;
	uint64_t end = now_ns() + (c->restart ? LOCK_WAIT_NS : LOCK_GRACE_NS);
	char self[40];
	struct stat st;
	int n, noatime = O_NOATIME;

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if ((path ? stat(path, &st) : fstat(fd, &st)))
		return err_set(e, errno, "%s: %s", c->name, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return err_set(e, EISDIR, "%s is a directory; a disk is a file or a block device", c->name);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(e, EINVAL, "%s is neither a file nor a block device", c->name);
	/* a block device that is mounted, or otherwise claimed, is not to be written: open(2), O_EXCL */
	if (S_ISBLK(st.st_mode) && !read_only)
		flags |= O_EXCL;
	do {
		n = open(path ? path : self, flags | (direct ? O_DIRECT : 0) | noatime);
		/* not ours: then every read asks whether it is time to note the time */
		if (n < 0 && errno == EPERM && noatime) {
			noatime = 0;
			errno = EINTR;
		}
	} while (n < 0 && (errno == EINTR || (errno == EBUSY && now_ns() < end && !usleep(2000))));
	if (n >= 0)
		return n;
	if (errno == EINVAL && direct)
		return err_set(e, EINVAL, "%s: its file system has no direct I/O: use cache=writeback", c->name);
	if (errno == EROFS || (errno == EACCES && !read_only))
		return err_set(e, errno, "%s cannot be written (%s): make it writable, or add read-only or snapshot=on",
			c->name, strerror(errno));
	if (errno == EBUSY)
		return err_set(e, EBUSY, "%s is in use (mounted, or part of a RAID, LVM or swap): unmount it first, or use "
			"snapshot=on", c->name);
	return err_set(e, errno, "%s: %s", c->name, strerror(errno));
}

static int measure(struct blk *b, struct err *e)
{
	struct stat st;

	b->block_size = SECTOR;
	if (fstat(b->fd, &st))
		return err_set(e, errno, "%s: %s", b->name, strerror(errno));
	if (S_ISBLK(st.st_mode)) {
		int bs = 0;

		b->block_device = true;
		if (ioctl(b->fd, BLKGETSIZE64, &b->size) || ioctl(b->fd, BLKSSZGET, &bs))
			return err_set(e, errno, "%s: cannot ask for its size: %s", b->name, strerror(errno));
		if (bs >= SECTOR && bs <= 65536 && !(bs & (bs - 1)))
			b->block_size = (unsigned)bs;
	} else if (S_ISREG(st.st_mode)) {
		b->size = (uint64_t)st.st_size;
	} else {
		return err_set(e, EINVAL, "%s is %s; a disk is a file or a block device", b->name,
			S_ISDIR(st.st_mode) ? "a directory" : "neither a file nor a block device");
	}
	if (!b->size)
		return err_set(e, EINVAL, "%s is empty: give it a size first, as in: truncate -s 10G %s", b->name, b->name);
	if (b->size % SECTOR)
		return err_set(e, EINVAL, "%s has %" PRIu64 " bytes, which is no multiple of %d: round it up: "
			"truncate -s %%%d %s", b->name, b->size, SECTOR, SECTOR, b->name);
	return 0;
}

/* What direct I/O wants of addresses and lengths. Before Linux 6.1 there is no way to ask: a page always does. */
static void measure_direct(struct blk *b)
{
	struct statx sx;
	unsigned memory = 4096, offset = b->block_size;

	if (!statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) && sx.stx_mask & STATX_DIOALIGN &&
		sx.stx_dio_mem_align && sx.stx_dio_offset_align) {
		memory = sx.stx_dio_mem_align;
		offset = sx.stx_dio_offset_align;
	}
	if (memory & (memory - 1) || memory > 4096)
		memory = 4096;
	if (offset & (offset - 1) || offset > 65536)
		offset = 4096;
	b->memory_mask = memory - 1;
	b->offset_mask = offset - 1;
	/* segments are cut at sectors; the device may want more of their lengths */
	if (offset > b->block_size)
		b->block_size = offset;
}

static int open_direct(struct blk *b, const struct blk_config *c, struct err *e)
{
	int flags = fcntl(c->fd, F_GETFL);
	char self[40];

	if (flags < 0 || (!(flags & O_DIRECT) && fcntl(c->fd, F_SETFL, flags | O_DIRECT)))
		return err_set(e, errno, "%s: no direct I/O here (%s): use cache=writeback", b->name, strerror(errno));
	measure_direct(b);
	if (b->offset_mask >= SECTOR) {
		snprintf(self, sizeof self, "/proc/self/fd/%d", c->fd);
		b->buffered_fd = open(self, (c->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (b->buffered_fd < 0)
			return err_set(e, errno, "%s: %s", b->name, strerror(errno));
	}
	return 0;
}

int blk_open(struct blk **out, const struct blk_config *c, struct err *e)
{
	struct blk *b = xcalloc(1, sizeof *b);
	bool snapshot = c->overlay_fd >= 0;
	int rc = 0;

	snprintf(b->name, sizeof b->name, "%s", c->name ? c->name : "disk");
	b->fd = c->fail ? -1 : c->fd;
	b->buffered_fd = -1;
	b->read_only = c->read_only;
	b->cache = snapshot ? BLK_UNSAFE : c->cache;
	b->discard = c->discard;
	b->aio = c->aio;
	b->threads = c->threads ? c->threads : 4;
	b->fail = c->fail;
	if (b->threads > LANE_THREADS)
		b->threads = LANE_THREADS;
	if (b->fail) {
		b->size = c->fail_size;
		b->block_size = SECTOR;
		if (!b->size || b->size % SECTOR)
			rc = err_set(e, EINVAL, "the size of a failed disk must be a multiple of %d", SECTOR);
	} else {
		rc = measure(b, e);
		rc = rc ? rc : lock_file(b->fd, b->name, !b->read_only && !snapshot, c->restart, e);
		if (!rc && b->cache == BLK_DIRECT)
			rc = open_direct(b, c, e);
		b->page_cache = b->cache != BLK_DIRECT && !b->block_device;
		if (!rc && snapshot) {
			rc = overlay_open(&b->overlay, b->fd, c->overlay_fd, c->bitmap_fd, b->size, e);
			rc = rc ? rc : lock_file(overlay_fd(b->overlay), "the overlay", true, c->restart, e);
		}
	}
	if (rc) {
		overlay_close(b->overlay);
		if (b->buffered_fd >= 0)
			close(b->buffered_fd);
		free(b);
		return rc;
	}
	/* both were opened anew, or mapped */
	if (snapshot) {
		close(c->overlay_fd);
		close(c->bitmap_fd);
	}
	*out = b;
	return 0;
}

void blk_close(struct blk *b)
{
	if (!b)
		return;
	overlay_close(b->overlay);
	if (b->buffered_fd >= 0)
		close(b->buffered_fd);
	if (b->fd >= 0) {
		unlock_file(b->fd);
		close(b->fd);
	}
	free(b);
}

uint64_t blk_size(const struct blk *b)
{
	return b->size;
}

unsigned blk_block_size(const struct blk *b)
{
	return b->block_size;
}

bool blk_read_only(const struct blk *b)
{
	return b->read_only;
}

bool blk_write_cache(const struct blk *b)
{
	return b->cache != BLK_WRITETHROUGH;
}

const char *blk_engine(const struct blk *b)
{
	return b->engine ? b->engine : "none";
}

const char *blk_engine_why(const struct blk *b)
{
	return b->why;
}

/* --- lanes ------------------------------------------------------------------------------------- */

int blk_lane_new(struct blk_lane **l, struct blk *b, unsigned depth, bool (*turn)(void *arg), void *arg, struct err *e)
{
	struct err why = {0};
	int rc = -1;

	if (b->overlay)
		snprintf(b->why, sizeof b->why, "snapshot=on");
	else if (b->aio == BLK_AIO_THREADS)
		snprintf(b->why, sizeof b->why, "asked for");
	else
		rc = uring_lane_new(l, b, depth, turn, arg, &why);
	if (rc && b->aio == BLK_AIO_URING && !b->overlay) {
		err_set(e, why.code, "%s", why.text);
		return rc;
	}
	if (rc && why.text[0])
		snprintf(b->why, sizeof b->why, "%.190s", why.text);
	if (rc)
		rc = pool_lane_new(l, b, turn, arg, e);
	if (!rc)
		b->engine = (*l)->ops->name;
	return rc;
}

int lane_init(struct blk_lane *l, const struct lane_ops *ops, struct blk *b, bool (*turn)(void *arg), void *arg,
	struct err *e)
{
	l->ops = ops;
	l->blk = b;
	l->turn = turn;
	l->arg = arg;
	l->kick_fd = -1;
	l->bounce = aligned_alloc(4096, BOUNCE);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0 || !l->bounce)
		return err_set(e, l->bounce ? errno : ENOMEM, "cannot make a queue of %s: %s", b->name, strerror(errno));
	return 0;
}

void lane_fini(struct blk_lane *l)
{
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	free(l->bounce);
}

int lane_thread(pthread_t *t, void *(*run)(void *arg), void *arg, struct err *e)
{
	pthread_attr_t attr;
	int rc;

	pthread_attr_init(&attr);
	/* the default of 8 MiB would count towards the limit of the process' memory */
	pthread_attr_setstacksize(&attr, STACK);
	rc = pthread_create(t, &attr, run, arg);
	pthread_attr_destroy(&attr);
	return rc ? err_set(e, rc, "cannot make a thread: %s", strerror(rc)) : 0;
}

/*
 * Kick descriptors are watched for edges and never read while they are watched. When they are let go their count is
 * taken out, as the next one to look (QEMU, after a back-end has stopped) would find kicks that were seen. RWF_NOWAIT
 * because the descriptor may be a blocking one, and its flags are not ours to change.
 */
void lane_clear_kick(int kick_fd)
{
	uint64_t n;
	struct iovec iov = {.iov_base = &n, .iov_len = sizeof n};

	if (preadv2(kick_fd, &iov, 1, -1, RWF_NOWAIT) < 0)
		return;
}

int blk_lane_start(struct blk_lane *l, struct err *e)
{
	int rc = l->started ? 0 : l->ops->start(l, e);

	l->started = l->started || !rc;
	return rc;
}

void blk_lane_free(struct blk_lane *l)
{
	if (!l)
		return;
	if (l->started) {
		__atomic_store_n(&l->stop, true, __ATOMIC_RELEASE);
		blk_lane_call(l);
		pthread_join(l->thread, NULL);
	}
	l->ops->free(l);
}

void blk_lane_call(struct blk_lane *l)
{
	uint64_t one = 1;

	/* EAGAIN, the count being full, would mean that it is about to wake up anyway */
	if (write(l->wake_fd, &one, sizeof one) != sizeof one)
		assert(errno == EAGAIN);
}

void blk_lane_watch(struct blk_lane *l, int kick_fd)
{
	l->ops->watch(l, kick_fd);
}

uint64_t blk_lane_kicks(const struct blk_lane *l)
{
	return l->kicks;
}

/* One writer, the lane's thread; read from others. */
static void count(uint64_t *c, uint64_t by)
{
	__atomic_store_n(c, *c + by, __ATOMIC_RELAXED);
}

static const char *const op_names[] = {
	[BLK_READ] = "read", [BLK_WRITE] = "write", [BLK_FLUSH] = "flush", [BLK_DISCARD] = "discard",
	[BLK_ZERO] = "write of zeroes",
};

/* The first of each kind: there may be thousands. husk stats counts them. */
static void __attribute__((cold)) say(struct blk *b, const struct blk_req *r, int err)
{
	unsigned kind = err == ENOSPC || err == EDQUOT ? 1 : 2;

	/* what the guest asks for and may not have is its own matter */
	if (b->fail || err == EROFS || r->off > b->size || r->len > b->size - r->off || __atomic_fetch_or(&b->said, kind, __ATOMIC_RELAXED) & kind)
		return;
	if (kind == 1)
		log_err("%s: no room on the host for what the guest writes (%s): make some; until then the guest sees "
			"I/O errors", b->name, strerror(err));
	else
		log_warn("%s: a %s of %" PRIu64 " bytes at %" PRIu64 " failed: %s; the guest sees an I/O error", b->name,
			op_names[r->op], r->len, r->off, strerror(err));
}

void lane_done(struct blk_lane *l, struct blk_req *r, int err)
{
	struct blk_counters *n = &l->n;

	if (unlikely(err)) {
		count(&n->errors, 1);
		/*
		 * The kernel tells of what it could not write back once, and then thinks of it as written. But it is
		 * gone, so no later flush may say that all is well.
		 */
		if (r->op == BLK_FLUSH || r->syncing)
			__atomic_store_n(&l->blk->sync_failed, true, __ATOMIC_RELAXED);
		say(l->blk, r, err);
		r->done(r, err);
		return;
	}
	switch (r->op) {
	case BLK_READ:
		count(&n->reads, 1);
		count(&n->bytes_read, r->len);
		break;
	case BLK_WRITE:
		count(&n->writes, 1);
		count(&n->bytes_written, r->len);
		break;
	case BLK_FLUSH:
		count(&n->flushes, 1);
		break;
	case BLK_DISCARD:
		count(&n->discards, 1);
		break;
	case BLK_ZERO:
		count(&n->zeroes, 1);
		break;
	}
	r->done(r, 0);
}

void blk_submit(struct blk_lane *l, struct blk_req *r)
{
	struct blk *b = l->blk;
	int err = 0;

	r->syncing = false;
	if (r->op == BLK_FLUSH) {
		if (b->fail || __atomic_load_n(&b->sync_failed, __ATOMIC_RELAXED))
			err = EIO;
		else if (b->cache != BLK_UNSAFE && !b->read_only)
			goto submit;
	} else if (r->off > b->size || r->len > b->size - r->off || (r->off | r->len) % SECTOR) {
		err = EINVAL;
	} else if (b->fail) {
		err = EIO;
	} else if (r->op != BLK_READ && b->read_only) {
		err = EROFS;
	} else if (r->len && (r->op != BLK_DISCARD || b->discard)) {
		goto submit;
	}
	lane_done(l, r, err);
	return;
submit:
	if (b->cache == BLK_WRITETHROUGH)
		r->durable = true;
	else if (b->cache == BLK_UNSAFE)
		r->durable = false;
	l->ops->submit(l, r);
}

void blk_lane_counters(const struct blk_lane *l, struct blk_counters *n)
{
	const struct blk_counters *c = &l->n;

	n->reads += __atomic_load_n(&c->reads, __ATOMIC_RELAXED);
	n->writes += __atomic_load_n(&c->writes, __ATOMIC_RELAXED);
	n->flushes += __atomic_load_n(&c->flushes, __ATOMIC_RELAXED);
	n->discards += __atomic_load_n(&c->discards, __ATOMIC_RELAXED);
	n->zeroes += __atomic_load_n(&c->zeroes, __ATOMIC_RELAXED);
	n->errors += __atomic_load_n(&c->errors, __ATOMIC_RELAXED);
	n->bytes_read += __atomic_load_n(&c->bytes_read, __ATOMIC_RELAXED);
	n->bytes_written += __atomic_load_n(&c->bytes_written, __ATOMIC_RELAXED);
}
