/* SPDX-License-Identifier: MIT */
/* What front.c (threads, state) and front_talk.c (messages) share. */
#ifndef VHOST_FRONT_INT_H
#define VHOST_FRONT_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/loop.h"
#include "vhost/front.h"
#include "vhost/proto.h"

struct front_queue {
	struct vhost_front *f;
	int kick_fd;
	struct watch call, err; /* their descriptors are ours for good: a new back-end gets the same */
	struct virtio_ring ring;
};

struct vhost_front {
	struct vhost_front_config cfg;
	struct front_queue q[VIRTIO_QUEUES];
	uint64_t features;  /* of the device, as the guest sees them */
	uint64_t protocol;  /* protocol features in use */
	uint16_t nqueues;
	bool has_protocol;

	/* the thread's */
	struct loop *loop;
	int sock; /* -1: no back-end */
	struct watch sock_watch, back_watch, wish_watch;
	int back_peer;  /* the other end of back_watch.fd, which every back-end gets */
	int bits_fd;    /* page bits, read-only; -1: none */
	int inflight_fd;
	struct vhost_inflight inflight;
	uint64_t run_features;
	bool on;        /* the back-end has the rings */
	bool resume;    /* the rings were in use when the last back-end went */
	int log_fd;     /* foreign back-ends: what they wrote to */
	uint64_t *log; /* changed by the back-end, too: __atomic */
	uint64_t log_size;
	bool config_stale; /* the back-end says that it has changed */
	struct err why; /* the line was lost */

	pthread_t thread;
	bool running; /* the thread is there */
	pthread_mutex_t lock; /* what follows */
	bool want_run, want_stop, given_up, quit;
	uint64_t want_features;
	struct virtio_ring want_ring[VIRTIO_QUEUES];
	int new_sock;
	uint8_t config[VHOST_CONFIG_MAX];
	uint32_t config_dirty_from, config_dirty_to;
	bool config_mine; /* the back-end has none */

	_Atomic uint64_t nkicks, ncalls, nbackends, ncode;
};

void vhost_front_wake(struct vhost_front *f); /* front.c: look at the wishes. Any thread */

/* front_talk.c, on the front-end's thread; 0, or -errno with words in f->why: then the line is of no use any more */
int front_hello(struct vhost_front *f, bool first);
int front_start(struct vhost_front *f);
int front_stop(struct vhost_front *f);
int front_config_get(struct vhost_front *f);
int front_config_put(struct vhost_front *f, uint32_t off, uint32_t len);
int front_back_message(struct vhost_front *f); /* one request of the back-end's channel */
void front_log_scan(struct vhost_front *f);

#endif
