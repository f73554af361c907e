/* SPDX-License-Identifier: MIT */
/*
 * The engine on io_uring (io_uring(7)): a ring per lane, one system call per round, which submits what the guest has asked for
 * and waits for what is done.
 *
 * What the ring may do. A ring is a second door to system calls: seccomp does not see what is asked through it, and a
 * process that may not open() can do so by IORING_OP_OPENAT. So each ring is made disabled, gets restrictions that cannot be
 * taken back (io_uring_register(2), IORING_REGISTER_RESTRICTIONS), and only then is enabled: reads, writes, fsync,
 * fallocate, poll, cancel, and all of them on registered files alone. After the sandbox is entered no other ring can be made.
 *
 * The table of files has three slots: the image, the eventfd by which other threads wake us, and the kick descriptor.
 * Kick descriptors come with the front-end's messages, long after; so IORING_REGISTER_FILES_UPDATE stays
 * allowed, to the ring and in the seccomp filter. What it could be misused for is to read and write by the ring what the
 * process may read and write anyhow. The other way, dup3() onto a reserved number and a ring that takes plain
 * descriptors, would give up that only registered files are used, and cost a look-up in each request.
 *
 * Kicks are not read. A multishot poll on an eventfd posts a completion for every write to it, whether or not anybody reads
 * it. That costs no system call, no submission after the first, and it is the same for blocking descriptors and for
 * those that are O_NONBLOCK (a flag that is shared with the front-end: QEMU sets it, and a READ in the ring then says EAGAIN
 * where it would otherwise wait).
 *
 * Completions are run when we ask for them, on the lane's thread (IORING_SETUP_DEFER_TASKRUN with SINGLE_ISSUER, Linux 6.1), so
 * that nothing interrupts the thread in between. The one who enables a ring is the one who may use it.
 */
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/blk-int.h"

enum { LARGE_READ = 128 << 10, SLOW_NS = 100 * 1000 * 1000 };
enum { FILE_IMAGE, FILE_WAKE, FILE_KICK, NFILES };
/* user_data below any pointer; requests have their address there */
enum { TAG_WAKE = 1, TAG_KICK, TAG_CANCEL, TAG_LAST };

struct uring_lane {
	struct blk_lane l;
	struct io_uring ring;
	bool ring_made, kick_armed, wake_armed, cancelling, other;
	unsigned in_flight;  /* requests in the ring */
	uint64_t slow_until; /* buffered writes go by the ring until then */
};

/* Debian 12's liburing declares functions for these, and does not have them. */
static int ring_register(struct io_uring *ring, unsigned op, const void *arg, unsigned n)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, op, arg, n) < 0 ? -errno : 0;
}

static struct io_uring_sqe *get_sqe(struct uring_lane *u)
{
	struct io_uring_sqe *s = io_uring_get_sqe(&u->ring);

	/* room for depth requests and our own; when nothing is taken off for once, what is there goes first */
	while (unlikely(!s)) {
		io_uring_submit(&u->ring);
		s = io_uring_get_sqe(&u->ring);
	}
	return s;
}

static void sqe_file(struct io_uring_sqe *s, int file, uint64_t data)
{
	s->fd = file;
	s->flags = IOSQE_FIXED_FILE;
	s->user_data = data;
}

static void arm(struct uring_lane *u, int file, uint64_t tag)
{
	struct io_uring_sqe *s = get_sqe(u);

	io_uring_prep_poll_multishot(s, file, POLLIN);
	sqe_file(s, file, tag);
}

static void sync_after(struct uring_lane *u, struct blk_req *r)
{
	struct io_uring_sqe *s = get_sqe(u);

	r->syncing = true;
	io_uring_prep_fsync(s, FILE_IMAGE, IORING_FSYNC_DATASYNC);
	sqe_file(s, FILE_IMAGE, (uintptr_t)r);
	u->in_flight++;
}

/*
 * A write into the page cache is a copy, and done at once is much cheaper than by the ring, which for most file systems
 * hands it to a thread of the kernel's. Unless the cache is full: then the writer is made to wait, and with it all
 * requests of this lane. So when one took long, the ring has those that follow, for a while.
 */
static bool write_now(struct uring_lane *u, const struct blk_req *r)
{
	uint64_t begin = now_ns(), took;
	ssize_t n;

	if (begin < u->slow_until)
		return false;
	n = pwritev2(u->l.blk->fd, r->iov, r->niov, (off_t)r->off, 0);
	took = now_ns() - begin;
	/* a millisecond for the file system, and 256 MB/s */
	if (took > 1000 * 1000 + 4 * r->len)
		u->slow_until = begin + took + SLOW_NS;
	/* not all of it: once more by the ring, for the answer */
	return n == (ssize_t)r->len;
}

static void uring_submit(struct blk_lane *l, struct blk_req *r)
{
	struct uring_lane *u = CONTAINER_OF(l, struct uring_lane, l);
	struct io_uring_sqe *s;
	int mode;

	switch (r->op) {
	case BLK_FLUSH:
		sync_after(u, r);
		return;
	case BLK_READ:
	case BLK_WRITE:
		if (unlikely(sync_wants_bounce(l->blk, r)))
			break;
		if (l->blk->page_cache && r->op == BLK_WRITE && !r->durable && write_now(u, r)) {
			lane_done(l, r, 0);
			return;
		}
		s = get_sqe(u);
		/* lengths of a READ have 32 bits, and the kernel's limit is below 2 GiB */
		if (r->niov == 1 && r->len < 1u << 30)
			io_uring_prep_rw(r->op == BLK_READ ? IORING_OP_READ : IORING_OP_WRITE, s, FILE_IMAGE, r->iov->iov_base,
				(unsigned)r->len, r->off);
		else
			io_uring_prep_rw(r->op == BLK_READ ? IORING_OP_READV : IORING_OP_WRITEV, s, FILE_IMAGE, r->iov,
				(unsigned)r->niov, r->off);
		if (r->op == BLK_WRITE && r->durable)
			s->rw_flags = RWF_DSYNC;
		sqe_file(s, FILE_IMAGE, (uintptr_t)r);
		/*
		 * Reads from the page cache are copies as well. While there are several large ones, every other is made by a
		 * thread of the kernel's: all of them would cost half as much again of CPU time, for little.
		 */
		if (l->blk->page_cache && r->op == BLK_READ && r->len >= LARGE_READ && u->in_flight) {
			u->other = !u->other;
			s->flags |= u->other ? IOSQE_ASYNC : 0;
		}
		u->in_flight++;
		return;
	case BLK_DISCARD:
	case BLK_ZERO:
		mode = sync_fallocate_mode(l->blk, r);
		if (mode < 0)
			break;
		s = get_sqe(u);
		io_uring_prep_fallocate(s, FILE_IMAGE, mode, (off_t)r->off, (off_t)r->len);
		sqe_file(s, FILE_IMAGE, (uintptr_t)r);
		u->in_flight++;
		return;
	}
	lane_done(l, r, sync_request(l->blk, r, l->bounce));
}

static void completed(struct uring_lane *u, struct blk_req *r, int res)
{
	bool rw = r->op == BLK_READ || r->op == BLK_WRITE;

	if (likely(rw && res >= 0 && (uint64_t)res == r->len)) {
		lane_done(&u->l, r, 0);
		return;
	}
	if (!rw && res == 0) {
		if (r->durable && !r->syncing && r->op != BLK_FLUSH)
			sync_after(u, r);
		else
			lane_done(&u->l, r, 0);
		return;
	}
	if (!rw && !r->syncing && (res == -EOPNOTSUPP || res == -ENOSYS))
		sync_fallocate_failed(u->l.blk, r);
	/*
	 * All of it once more, where we see what happens: it was short, or the kernel had no thread for it (EAGAIN,
	 * ECANCELED), or made of it what it does not know. Not after a failed sync: the kernel reports that once.
	 */
	if (rw ? res >= 0 || res == -EAGAIN || res == -EINTR || res == -ECANCELED || res == -EINVAL :
		!r->syncing || res == -EAGAIN || res == -EINTR || res == -ECANCELED)
		lane_done(&u->l, r, sync_request(u->l.blk, r, u->l.bounce));
	else
		lane_done(&u->l, r, -res);
}

/* Completions that are there. */
static void reap(struct uring_lane *u)
{
	struct io_uring_cqe *c;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, c) {
		uint64_t data = c->user_data;

		n++;
		if (likely(data >= TAG_LAST)) {
			u->in_flight--;
			completed(u, (struct blk_req *)(uintptr_t)data, c->res);
		} else if (data == TAG_CANCEL) {
			u->cancelling = false;
		} else if (likely(c->flags & IORING_CQE_F_MORE)) {
			u->l.kicks += data == TAG_KICK;
		} else {
			/* ended: cancelled, or there was no room for a completion, or that cannot be polled */
			bool *armed = data == TAG_KICK ? &u->kick_armed : &u->wake_armed;

			*armed = false;
			if (data == TAG_KICK && c->res < 0 && c->res != -ECANCELED) {
				log_warn("a kick descriptor that cannot be waited for: %s", strerror(-c->res));
				u->l.kick_fd = -1;
			}
		}
	}
	io_uring_cq_advance(&u->ring, n);
}

static void rearm(struct uring_lane *u)
{
	if (unlikely(!u->wake_armed)) {
		arm(u, FILE_WAKE, TAG_WAKE);
		u->wake_armed = true;
	}
	if (unlikely(!u->kick_armed && u->l.kick_fd >= 0)) {
		arm(u, FILE_KICK, TAG_KICK);
		u->kick_armed = true;
	}
}

/* A lane that cannot go on helps nobody; another process may do better, and nothing is lost (the in-flight record). */
static void __attribute__((cold, noreturn)) give_up(const struct uring_lane *u, const char *what, int code)
{
	log_err("a queue of %s: %s: %s", u->l.blk->name, what, strerror(code));
	_exit(1);
}

static void enter(struct uring_lane *u, bool wait)
{
	int rc;

	rearm(u);
	rc = wait ? io_uring_submit_and_wait(&u->ring, 1) : io_uring_submit(&u->ring);
	if (!wait)
		io_uring_get_events(&u->ring);
	/* what passes: completions first, then again */
	if (unlikely(rc < 0 && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN && rc != -ENOMEM))
		give_up(u, "io_uring_enter", -rc);
	reap(u);
}

static void uring_watch(struct blk_lane *l, int kick_fd)
{
	struct uring_lane *u = CONTAINER_OF(l, struct uring_lane, l);
	int old = l->kick_fd, rc;

	l->kick_fd = -1;
	if (u->kick_armed) {
		struct io_uring_sqe *s = get_sqe(u);

		io_uring_prep_cancel64(s, TAG_KICK, 0);
		sqe_file(s, 0, TAG_CANCEL);
		u->cancelling = true;
		while (u->kick_armed || u->cancelling)
			enter(u, true);
	}
	if (old >= 0)
		lane_clear_kick(old);
	rc = io_uring_register_files_update(&u->ring, FILE_KICK, &kick_fd, 1);
	if (rc < 0)
		log_warn("a kick descriptor that cannot be registered: %s", strerror(-rc));
	else
		l->kick_fd = kick_fd;
}

static void *uring_run(void *arg)
{
	struct uring_lane *u = arg;
	int rc = ring_register(&u->ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);

	if (rc)
		give_up(u, "its ring cannot be enabled", -rc);
	/* saves a look-up per call; from Linux 5.18 on */
	io_uring_register_ring_fd(&u->ring);
	while (!__atomic_load_n(&u->l.stop, __ATOMIC_ACQUIRE))
		enter(u, !u->l.turn(u->l.arg));
	return NULL;
}

static int uring_start(struct blk_lane *l, struct err *e)
{
	return lane_thread(&l->thread, uring_run, CONTAINER_OF(l, struct uring_lane, l), e);
}

static void uring_free(struct blk_lane *l)
{
	struct uring_lane *u = CONTAINER_OF(l, struct uring_lane, l);

	/* the registered descriptor of the ring belonged to a thread that has ended */
	u->ring.int_flags = 0;
	u->ring.enter_ring_fd = u->ring.ring_fd;
	if (u->ring_made)
		io_uring_queue_exit(&u->ring);
	lane_fini(l);
	free(u);
}

static const struct lane_ops uring_ops = {
	.name = "io_uring", .start = uring_start, .submit = uring_submit, .watch = uring_watch, .free = uring_free,
};

static int restrict_ring(struct uring_lane *u)
{
	static const uint8_t ops[] = {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC,
		IORING_OP_FALLOCATE, IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
	static const uint8_t registers[] = {IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_RING_FDS};
	struct io_uring_restriction r[ARRAY_LEN(ops) + ARRAY_LEN(registers) + 2] = {0};
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(ops); i++)
		r[n++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ops[i]};
	for (unsigned i = 0; i < ARRAY_LEN(registers); i++)
		r[n++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
			.register_op = registers[i]};
	/* no linking, no draining, no buffers picked by the kernel */
	r[n++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED,
		.sqe_flags = IOSQE_FIXED_FILE};
	r[n++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
		.sqe_flags = IOSQE_FIXED_FILE | IOSQE_ASYNC};
	return ring_register(&u->ring, IORING_REGISTER_RESTRICTIONS, r, n);
}

int uring_lane_new(struct blk_lane **l, struct blk *b, unsigned depth, bool (*turn)(void *arg), void *arg,
	struct err *e)
{
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		0,
	};
	struct uring_lane *u = xcalloc(1, sizeof *u);
	int files[NFILES] = {b->fd, -1, -1};
	int rc = lane_init(&u->l, &uring_ops, b, turn, arg, e);

	for (unsigned i = 0; !rc && !u->ring_made && i < ARRAY_LEN(flags); i++) {
		struct io_uring_params p = {.flags = flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE};

		p.cq_entries = 2 * depth + 64;
		rc = io_uring_queue_init_params(depth + 8, &u->ring, &p);
		u->ring_made = !rc;
		/* multishot polls are as old as these tags: Linux 5.13 */
		if (!rc && !(p.features & IORING_FEAT_RSRC_TAGS))
			rc = -EOPNOTSUPP;
		else if (rc == -EINVAL && i + 1 < ARRAY_LEN(flags))
			rc = 0;
		if (rc)
			err_set(e, -rc, "io_uring: %s", rc == -EOPNOTSUPP ? "this kernel's is older than Linux 5.13" :
				rc == -EPERM ? "not permitted here (kernel.io_uring_disabled, or a filter)" :
				strerror(-rc));
	}
	files[FILE_WAKE] = u->l.wake_fd;
	if (!rc) {
		rc = io_uring_register_files(&u->ring, files, NFILES);
		rc = rc ? rc : restrict_ring(u);
		if (rc)
			err_set(e, -rc, "io_uring: it cannot be restricted: %s", strerror(-rc));
	}
	if (rc)
		uring_free(&u->l);
	else
		*l = &u->l;
	return rc;
}
