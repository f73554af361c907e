/* SPDX-License-Identifier: MIT */
/* What the files of this folder share: the disk, the lane, the two engines. */
#ifndef BLOCK_BLK_INT_H
#define BLOCK_BLK_INT_H

#include <pthread.h>

#include "block/blk.h"

enum { SECTOR = 512, BOUNCE = 256 << 10, STACK = 256 << 10, LANE_THREADS = 16 };

struct overlay;

struct blk {
	char name[256];
	int fd;          /* -1 with fail */
	int buffered_fd; /* direct: for requests that are not whole blocks of a device with large ones; else -1 */
	struct overlay *overlay;
	uint64_t size;
	unsigned block_size;
	uint64_t memory_mask, offset_mask; /* direct: bits that must be 0 in addresses and lengths; else 0 */
	enum blk_cache cache;
	enum blk_aio aio;
	unsigned threads;
	bool read_only, discard, fail, block_device;
	bool page_cache; /* a file, and not direct */
	/* any thread */
	bool no_punch, no_zero, no_discard; /* the file system or device cannot */
	bool sync_failed;                   /* something that was acknowledged is lost: flushes fail from now on */
	unsigned said;                      /* kinds of error that were logged */
	const char *engine;
	char why[200];
};

struct lane_ops {
	const char *name;
	int (*start)(struct blk_lane *l, struct err *e);
	void (*submit)(struct blk_lane *l, struct blk_req *r);
	void (*watch)(struct blk_lane *l, int kick_fd);
	void (*free)(struct blk_lane *l);
};

/* Embedded in the engine's own. */
struct blk_lane {
	const struct lane_ops *ops;
	struct blk *blk;
	bool (*turn)(void *arg);
	void *arg;
	int wake_fd; /* written by blk_lane_call() */
	int kick_fd; /* borrowed, -1: none */
	bool started, stop;
	pthread_t thread;
	uint8_t *bounce; /* BOUNCE bytes, page-aligned */
	uint64_t kicks;
	struct blk_counters n;
};

/* blk.c */
void lane_done(struct blk_lane *l, struct blk_req *r, int err);
int lane_init(struct blk_lane *l, const struct lane_ops *ops, struct blk *b, bool (*turn)(void *arg), void *arg,
	struct err *e);
void lane_fini(struct blk_lane *l);
int lane_thread(pthread_t *t, void *(*run)(void *arg), void *arg, struct err *e);
void lane_clear_kick(int kick_fd);

/* uring.c, pool.c */
int uring_lane_new(struct blk_lane **l, struct blk *b, unsigned depth, bool (*turn)(void *arg), void *arg,
	struct err *e);
int pool_lane_new(struct blk_lane **l, struct blk *b, bool (*turn)(void *arg), void *arg, struct err *e);

/* sync.c: all of a request, on the calling thread. 0 or a positive errno. */
int sync_request(struct blk *b, const struct blk_req *r, uint8_t *bounce);
/* Must read and write go through memory of ours? (direct, and the guest's is not aligned) */
bool sync_wants_bounce(const struct blk *b, const struct blk_req *r);
int sync_fallocate_mode(const struct blk *b, const struct blk_req *r); /* -1: not by fallocate() */
void sync_fallocate_failed(struct blk *b, const struct blk_req *r);
void sync_gather(const struct blk_req *r, uint64_t pos, uint8_t *to, size_t len);
void sync_scatter(const struct blk_req *r, uint64_t pos, const uint8_t *from, size_t len);

/*
 * lock.c. WAIT: for a process that is known to have ended; GRACE: else, as one that ended a moment ago may not be quite gone.
 */
#define LOCK_WAIT_NS  (10ull * 1000 * 1000 * 1000)
#define LOCK_GRACE_NS (200ull * 1000 * 1000)
int lock_file(int fd, const char *name, bool write, bool wait, struct err *e);

void unlock_file(int fd); /* nothing is in flight */

/* overlay.c */
int overlay_open(struct overlay **o, int base_fd, int overlay_fd, int bitmap_fd, uint64_t size, struct err *e);
int overlay_fd(const struct overlay *o);
void overlay_close(struct overlay *o); /* not the base; what open was given is the caller's */
int overlay_request(struct overlay *o, const struct blk_req *r, uint8_t *bounce);

#endif
