/* SPDX-License-Identifier: MIT */
/*
 * A disk as husk-blk sees it: bytes that are read, written, flushed, discarded. One struct blk per disk, one struct
 * blk_lane per queue thread; a lane and its requests belong to that thread. Every request goes through blk_submit(),
 * which checks range and flags, so a back-end never sees a bad one.
 */
#ifndef BLOCK_BLK_H
#define BLOCK_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };
/*
 * When a write is acknowledged: writeback (default): on the host, durable after a flush; writethrough: durable; direct:
 * as writeback, but round the host's page cache; unsafe: flushes do nothing.
 */
enum blk_cache { BLK_WRITEBACK, BLK_WRITETHROUGH, BLK_DIRECT, BLK_UNSAFE };

struct blk_req {
	enum blk_op op;
	bool may_unmap;        /* BLK_ZERO: a hole is as good */
	uint64_t off, len;     /* bytes, multiples of 512 */
	const struct iovec *iov;
	int niov;
	void (*done)(struct blk_req *r, int err); /* once, err 0 or a positive errno; maybe before submit returns */
	uint64_t back_end[8];  /* the back-end's own */
};

struct blk;
struct blk_lane;

struct blk_config {
	int fd;              /* taken on success: a regular file or block device, opened as the mode wants */
	int overlay_fd;      /* snapshot=on: an empty file that takes the writes; -1: none. Taken. */
	int bitmap_fd;       /* snapshot=on: shared memory that says what the overlay holds; outlives us. Taken. */
	bool read_only;
	enum blk_cache cache;
	bool discard;        /* pass discards on (default); else they do nothing */
	bool io_uring;       /* try it; false: threads */
	unsigned threads;    /* of the pool of a lane, when there is no io_uring */
	bool fail;           /* every request fails with EIO: stands for a device that was given up */
};

struct blk_counters {
	uint64_t reads, writes, flushes, discards, zeroes, errors;
	uint64_t bytes_read, bytes_written;
};

/* Opens, locks (exclusive, or shared when read_only), measures. 0 or -errno with words naming the fix. */
int blk_open(struct blk **b, const struct blk_config *c, struct err *e);
void blk_close(struct blk *b);
uint64_t blk_size(const struct blk *b);        /* bytes, a multiple of 512 */
unsigned blk_block_size(const struct blk *b);  /* logical block of the guest's disk: 512, or the device's */
const char *blk_engine(const struct blk *b);   /* "io_uring" or "threads" */
const char *blk_engine_why(const struct blk *b);

/*
 * A lane for one thread, made at set-up, with rings and threads it needs: nothing is opened later. kick: called on the
 * lane's thread when kick_fd (blk_lane_watch) was written; idle is called when all that came is done.
 */
int blk_lane_new(struct blk_lane **l, struct blk *b, unsigned depth, void (*kick)(void *arg), void *arg, struct err *e);
void blk_lane_free(struct blk_lane *l);
/* From which descriptor kicks come, -1 for none: to be called on the lane's thread, or while it does not run. */
void blk_lane_watch(struct blk_lane *l, int kick_fd);
void blk_submit(struct blk_lane *l, struct blk_req *r);
/* Waits for kicks and completions, and calls back, until blk_lane_stop(). */
void blk_lane_run(struct blk_lane *l);
void blk_lane_stop(struct blk_lane *l); /* any thread: run() returns once nothing is in flight any more */
void blk_lane_counters(const struct blk_lane *l, struct blk_counters *n); /* any thread, adds to *n */

#endif
