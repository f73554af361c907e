/* SPDX-License-Identifier: MIT */
/* A driver and its memory, as small as they can be, for a virtio device in the same process: rings, requests, kicks. */
#ifndef TESTS_VIRTIO_DRIVER_H
#define TESTS_VIRTIO_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/mem.h"
#include "virtio/virtio.h"
#include "virtio/virtq.h"

enum { DRV_RINGS = 0x10000, DRV_RING = 0x4000, DRV_DESC = 0, DRV_AVAIL = 0x1000, DRV_USED = 0x2000,
	DRV_DATA = 0x100000, DRV_SIZE_MAX = 128 };

struct drv_queue {
	struct virtq vq;
	uint64_t base; /* desc, avail and used at DRV_DESC ... from here */
	uint16_t size, avail, used, next_desc;
	unsigned calls;
	bool on;
};

struct drv {
	const struct mem *mem;
	struct virtio_dev *dev;
	unsigned config_changes;
	struct drv_queue q[VIRTIO_QUEUES];
};

struct drv_seg {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

/* mem and dev are borrowed */
void drv_init(struct drv *d, const struct mem *mem, struct virtio_dev *dev);
/* Features, rings of so many entries, start and a kick for each of the queues */
void drv_start(struct drv *d, uint64_t features, unsigned size);
void drv_stop(struct drv *d); /* queues, then reset */
/* One chain; returns its head. Descriptors are taken in turn: whoever adds more than the size overwrites. */
uint16_t drv_add(struct drv *d, unsigned q, const struct drv_seg *seg, unsigned n);
uint16_t drv_add_one(struct drv *d, unsigned q, uint64_t gpa, uint32_t len, bool write);
void drv_desc(struct drv *d, unsigned q, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next);
void drv_offer(struct drv *d, unsigned q, uint16_t head);
void drv_kick(struct drv *d, unsigned q);
/* The next used entry; -1 when there is none, else its length */
int64_t drv_used(struct drv *d, unsigned q, uint16_t *head);

#endif
