/* SPDX-License-Identifier: MIT */
/*
 * A device for tests: writes what it reads, backwards. It takes some requests at once and finishes them out of order,
 * on the transport's thread or, own, on one of its own per queue.
 */
#ifndef VHOST_TOY_H
#define VHOST_TOY_H

#include <pthread.h>

#include "virtio/virtio.h"
#include "virtio/virtq.h"

enum { TOY_QUEUES = 2, TOY_SIZE = 64, TOY_HELD = 5, TOY_MAX = 4096, TOY_CONFIG = 24 };

struct toy_queue {
	struct toy *toy;
	struct virtq *vq;
	struct virtq_req req[TOY_HELD];
	struct iovec iov[TOY_HELD][TOY_SIZE + MEM_REGIONS];
	uint8_t data[TOY_MAX];
	pthread_t thread;
	int stop_fd;
	bool running;
	unsigned starts, stops, kicks;
};

struct toy {
	struct virtio_dev dev;
	struct toy_queue q[TOY_QUEUES];
	uint8_t config[TOY_CONFIG];
	uint64_t features;
	unsigned resets;
	int start_fails; /* errno of the next starts; 0: none */
};

extern unsigned toy_slow; /* it takes its time over each request, in turns of a loop */
void toy_init(struct toy *t, bool own);
void toy_fini(struct toy *t);

#endif
