/* SPDX-License-Identifier: MIT */
/* Encoder threads: jobs go out on the loop's thread and come back there. */
#ifndef RFB_POOL_INT_H
#define RFB_POOL_INT_H

#include "base/err.h"
#include "base/loop.h"

struct rfb_job { /* embedded in its owner, which lives until done() was called, or the pool was freed */
	void (*run)(struct rfb_job *j);  /* on a thread of the pool */
	void (*done)(struct rfb_job *j); /* on the loop's */
	struct rfb_job *next;
};

struct rfb_pool;
int rfb_pool_new(struct rfb_pool **p, struct loop *l, struct err *e);
/* Makes the threads. 0: none, jobs run where they are submitted (their done() comes later all the same). */
int rfb_pool_start(struct rfb_pool *p, unsigned threads, struct err *e);
void rfb_pool_submit(struct rfb_pool *p, struct rfb_job *j);
/* Waits for what runs; no done() is called any more. NULL is harmless. */
void rfb_pool_free(struct rfb_pool *p);

#endif
