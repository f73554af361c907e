/* SPDX-License-Identifier: MIT */
/* What the files of the back-end's side share. serve.c has the theory. */
#ifndef VHOST_SERVE_INT_H
#define VHOST_SERVE_INT_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "mem/mem.h"
#include "vhost/proto.h"
#include "virtio/virtio.h"
#include "virtio/virtq.h"

struct vhost_server;

struct vhost_ring {
	struct vhost_server *s;
	unsigned index;
	struct virtq vq;
	struct watch kick;   /* fd -1: none */
	int err_fd;
	int call_fd;         /* one number for life; what it leads to changes by dup3() */
	bool call_set;       /* it leads to the front-end */
	bool started;        /* a kick descriptor came, and no stop after it */
	bool enabled;        /* SET_VRING_ENABLE */
	bool running;        /* between ops->start() and ops->stop() */
	bool told;           /* the front-end knows that it is broken */
	bool has_addr;
	uint32_t size;
	uint16_t base;       /* where to go on, while it does not run */
	struct vhost_vring_addr addr;
};

struct vhost_server {
	struct loop *loop;
	struct virtio_dev *dev;
	void (*gone)(void *arg, const struct err *why);
	void *arg;
	struct watch sock; /* fd -1: no front-end */
	struct vhost_ring *ring; /* dev->nqueues */
	int nowhere; /* an eventfd that nobody reads: where calls go without a descriptor */

	uint64_t features, protocol;
	uint8_t status;

	/* Memory and what is beside it. Changes only while no ring runs; device threads read it. */
	struct mem mem;
	struct vhost_region region[MEM_REGIONS]; /* with user addresses, for those of mem */
	unsigned nregions;
	uint8_t *log;
	size_t log_len;
	const uint8_t *bits; /* one byte per RAM page */
	size_t bits_len;

	/* In-flight record: ours, to give away, and the one in use */
	int inflight_fd;
	uint8_t *inflight_own;
	size_t inflight_own_len;
	uint8_t *inflight;
	size_t inflight_len;
	unsigned inflight_queues, inflight_size;

	/* The back-end's channel, of all threads */
	pthread_mutex_t back_lock; /* back, failed, why, asked */
	int back;
	bool failed; /* it is of no use any more: the loop's thread is to hang up */
	struct err why;
	struct watch fail; /* an eventfd, by which the loop's thread hears of it */

	uint64_t front_ends, messages, refused, code_asked;
};

/* serve_mem.c: messages about memory, with no ring running; 0 or -errno with words */
int vhost_mem_table(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_mem_add(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_mem_remove(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_mem_log(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_mem_bits(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
void vhost_mem_forget(struct vhost_server *s); /* all of it */
uint64_t vhost_mem_gpa(const struct vhost_server *s, uint64_t user); /* UINT64_MAX: nowhere */

int vhost_inflight_new(struct vhost_server *s, struct err *e); /* before the sandbox */
void vhost_inflight_free(struct vhost_server *s);
int vhost_inflight_get(struct vhost_server *s, const struct vhost_msg *m, struct vhost_msg *reply, struct err *e);
int vhost_inflight_set(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
/* The record for a ring of that size; NULL: none. -errno when it does not fit. */
int vhost_inflight_of(const struct vhost_server *s, const struct vhost_ring *r, struct virtq_inflight **rec,
	struct err *e);

/* struct virtq's written hook, arg: the ring. Device threads. NULL when nobody wants to know. */
void vhost_written(void *arg, uint64_t gpa, uint64_t len);
bool vhost_written_wanted(const struct vhost_server *s);

/* serve_ring.c */
int vhost_ring_init(struct vhost_ring *r, struct vhost_server *s, unsigned index);
void vhost_ring_fini(struct vhost_ring *r);
int vhost_ring_num(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_ring_addr(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_ring_base(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
int vhost_ring_get_base(struct vhost_server *s, const struct vhost_msg *m, struct vhost_msg *reply, struct err *e);
int vhost_ring_kick(struct vhost_server *s, struct vhost_msg *m, struct err *e);
int vhost_ring_call(struct vhost_server *s, struct vhost_msg *m, struct err *e);
int vhost_ring_err(struct vhost_server *s, struct vhost_msg *m, struct err *e);
int vhost_ring_enable(struct vhost_server *s, const struct vhost_msg *m, struct err *e);
void vhost_rings_pause(struct vhost_server *s);  /* those that run: drained and stopped */
/* Starts what should run. Rings whose place is not in memory go on waiting for it. */
int vhost_rings_resume(struct vhost_server *s, struct err *e);
void vhost_rings_reset(struct vhost_server *s);  /* stopped, as if never started; calls stay where they lead */
void vhost_rings_forget(struct vhost_server *s); /* also descriptors and places: the front-end has gone */

/* serve.c: the back-end's channel is of no use; any thread, hangs up later. back_lock is held. */
void vhost_back_failed_locked(struct vhost_server *s, int code, const char *what);

#endif
