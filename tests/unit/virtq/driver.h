/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of a split ring, for tests: RAM of several regions, a ring in it, and what a driver does by hand,
 * so that it can also do it wrongly.
 */
#ifndef VIRTQ_DRIVER_H
#define VIRTQ_DRIVER_H

#include "virtio/virtq.h"

/*
 * RAM: [0, 64 KiB), next to it [64 KiB, 128 KiB), elsewhere in this process; a hole; [256 KiB, 320 KiB); and the last
 * 64 KiB of all addresses.
 */
enum { DRV_REGION = 0x10000, DRV_FAR = 0x40000, DRV_DATA = 0x8000, DRV_TABLES = 0x6000 };
#define DRV_TOP 0xffffffffffff0000ull /* where the last region ends */

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4 };

struct drv {
	struct mem mem;
	struct virtq q;
	struct virtq_req r;
	struct iovec iov[2048];
	uint16_t avail_idx, used_idx; /* the driver's own */
	unsigned calls;
};

/* An empty ring of size entries whose indices are at idx; the queue is started. */
void drv_init(struct drv *d, unsigned size, uint64_t features, uint16_t idx);
void drv_fini(struct drv *d);
void drv_ram(struct mem *m);             /* the RAM alone */
void drv_place(struct virtq *q, unsigned size); /* where the ring is */
void drv_desc(struct drv *d, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next);
/* an entry of a table anywhere */
void drv_entry(struct drv *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next);
void drv_offer(struct drv *d, unsigned head); /* into the available ring, and the index */
bool drv_used(struct drv *d, uint32_t *id, uint32_t *len);
uint16_t drv_get16(const struct drv *d, uint64_t gpa);
void drv_set16(struct drv *d, uint64_t gpa, uint16_t v);
uint64_t drv_used_event(const struct drv *d);  /* where it is */
uint64_t drv_avail_event(const struct drv *d);

#endif
