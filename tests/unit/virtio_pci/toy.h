/* SPDX-License-Identifier: MIT */
/* A virtio device that gives back, with each byte turned over, what it is sent; and the driver's side of its rings. */
#ifndef TOY_H
#define TOY_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/mem.h"
#include "virtio/virtq.h"

enum { TOY_QUEUES = 3, TOY_SIZE = 64, TOY_CONFIG = 11, TOY_BREAK = 0xbb /* a request that begins so breaks its queue */ };

struct toy_device {
	struct virtio_dev dev;
	uint8_t config[TOY_CONFIG];
	struct virtq *vq[TOY_QUEUES];
	struct iovec iov[TOY_SIZE + MEM_REGIONS];
	uint64_t features; /* as negotiated */
	unsigned starts, stops, resets, requests;
	bool refuse; /* the next start */
};

void toy_device_init(struct toy_device *t);

/* Where a queue's ring is in the toy driver's memory: 16 KiB each from 64 KiB on; buffers in the last quarter of it. */
struct virtio_ring toy_ring(unsigned q, uint16_t size);
uint64_t toy_buffer(unsigned q);
/* Makes a request of one buffer out and one in, of len bytes each, available. */
void toy_request(const struct mem *m, const struct virtio_ring *r, uint64_t out, uint64_t in, uint32_t len);
uint16_t toy_used(const struct mem *m, const struct virtio_ring *r);

#endif
