/* SPDX-License-Identifier: MIT */
/*
 * A disk as husk-blk sees it: bytes that are read, written, flushed, discarded. One struct blk per disk; requests go
 * through lanes, each with a thread of its own that does nothing but wait for kicks and completions. A lane and its
 * requests belong to that thread. Every request goes through blk_submit(), which checks range and flags, so an engine
 * (uring.c, pool.c) never sees a bad one.
 */
#ifndef BLOCK_BLK_H
#define BLOCK_BLK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "sandbox/sandbox.h"

enum blk_op { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_DISCARD, BLK_ZERO };
/*
 * When a write is acknowledged: writeback (default): on the host, durable after a flush; writethrough: durable; direct:
 * as writeback, but round the host's page cache; unsafe: flushes do nothing.
 */
enum blk_cache { BLK_WRITEBACK, BLK_WRITETHROUGH, BLK_DIRECT, BLK_UNSAFE };

struct blk_req {
	enum blk_op op;
	bool may_unmap;        /* BLK_ZERO: a hole is as good */
	bool durable;          /* what is written is done only when it would survive a power cut */
	uint64_t off, len;     /* bytes, multiples of 512 */
	const struct iovec *iov; /* BLK_READ, BLK_WRITE: len bytes in all */
	int niov;
	/* Once, on the lane's thread; err is 0 or a positive errno; maybe before blk_submit() returns */
	void (*done)(struct blk_req *r, int err);
	/* the lane's own */
	struct blk_req *next;
	int result;
	bool syncing;
};

struct blk;
struct blk_lane;

enum blk_aio { BLK_AIO_AUTO, BLK_AIO_URING, BLK_AIO_THREADS };

struct blk_config {
	const char *name;    /* for people; copied */
	int fd;              /* taken on success: a regular file or block device, see blk_open_file() */
	int overlay_fd;      /* snapshot=on: a file, empty at first, that takes the writes; -1: none. Taken. */
	/*
	 * snapshot=on: shared memory that says what the overlay holds and outlives us, a bit per 64 KiB of the disk, zeroes
	 * at first (or of length 0). Taken.
	 */
	int bitmap_fd;
	bool read_only;
	bool restart;        /* a process before us had the image: wait for its last requests to end */
	enum blk_cache cache;
	bool discard;        /* pass discards on; else they do nothing */
	enum blk_aio aio;
	unsigned threads;    /* of the pool of a lane, when there is no io_uring */
	bool fail;           /* no files, every request fails with EIO: stands for a device that was given up */
	uint64_t fail_size;  /* its size in bytes */
};

struct blk_counters {
	uint64_t reads, writes, flushes, discards, zeroes, errors;
	uint64_t bytes_read, bytes_written;
};

/*
 * Opens an image by its path, or, path NULL, once more through a descriptor that somebody else holds (borrowed): locks
 * belong to an open file, and this one is to be ours alone (lock.c). The descriptor or -errno with words.
 */
int blk_open_file(const char *path, int fd, const struct blk_config *c, struct err *e);
/* An overlay and its map for a program that was started by hand: files without names. 0 or -errno with words. */
int blk_overlay_make(int *overlay_fd, int *bitmap_fd, struct err *e);

/* Locks (exclusive, or shared when read_only), measures. 0 or -errno with words naming the fix. */
int blk_open(struct blk **b, const struct blk_config *c, struct err *e);
void blk_close(struct blk *b); /* all lanes are freed */
uint64_t blk_size(const struct blk *b);        /* bytes, a multiple of 512 */
unsigned blk_block_size(const struct blk *b);  /* logical block of the guest's disk: 512, or the device's */
bool blk_read_only(const struct blk *b);
bool blk_write_cache(const struct blk *b);     /* there is something that a flush does, or pretends to do */
const char *blk_engine(const struct blk *b);   /* "io_uring" or "threads"; known when a lane was made */
const char *blk_engine_why(const struct blk *b); /* why not io_uring; "" */

/*
 * A lane with all the descriptors and memory that it will ever need, for at most depth requests at a time. turn is
 * called on the lane's thread after anything that happened (a kick, blk_lane_call(), completions): it takes new
 * requests and submits them. True: it is to be called again before the thread sleeps.
 */
int blk_lane_new(struct blk_lane **l, struct blk *b, unsigned depth, bool (*turn)(void *arg), void *arg, struct err *e);
/* Makes its thread or threads: after the sandbox was entered, which wants one thread. 0 or -errno with words. */
int blk_lane_start(struct blk_lane *l, struct err *e);
void blk_lane_free(struct blk_lane *l); /* nothing is in flight; ends the threads */
void blk_lane_call(struct blk_lane *l); /* any thread: turn() is called soon */
/* On the lane's thread: the eventfd that kicks come from (borrowed, until another call), -1 for none */
void blk_lane_watch(struct blk_lane *l, int kick_fd);
uint64_t blk_lane_kicks(const struct blk_lane *l); /* that it saw; on the lane's thread */
/* On the lane's thread */
void blk_submit(struct blk_lane *l, struct blk_req *r);
void blk_lane_counters(const struct blk_lane *l, struct blk_counters *n); /* any thread, adds to *n */

/* What all this calls after the sandbox was entered, beyond what every device process does */
extern const struct sandbox_syscall blk_syscalls[];

#endif
