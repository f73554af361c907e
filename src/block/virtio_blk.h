/* SPDX-License-Identifier: MIT */
/* virtio-blk (Virtual I/O Device 1.2, 5.2) over struct blk: one lane and one thread per queue. */
#ifndef BLOCK_VIRTIO_BLK_H
#define BLOCK_VIRTIO_BLK_H

#include <stddef.h>

#include "base/err.h"
#include "block/blk.h"
#include "virtio/virtio.h"

struct virtio_blk_config {
	struct blk *blk;       /* borrowed */
	unsigned nqueues, queue_size; /* queue_size: a power of two, at least 4 */
	unsigned seg_max;      /* segments of a request, 1 to queue_size - 2; 0: queue_size - 2 */
	unsigned size_max;     /* bytes of a segment, 0: not announced */
	char serial[20];       /* not terminated when 20 long */
	bool discard;
};

struct virtio_blk;
/* Lanes are made here, their threads by virtio_blk_threads() or by the first start of a queue. 0 or -errno with words. */
int virtio_blk_new(struct virtio_blk **v, const struct virtio_blk_config *c, struct err *e);
int virtio_blk_threads(struct virtio_blk *v, struct err *e);
void virtio_blk_free(struct virtio_blk *v);
struct virtio_dev *virtio_blk_dev(struct virtio_blk *v);
/* "reads 12" and the like; bytes written, cut at len */
size_t virtio_blk_stats(const struct virtio_blk *v, char *buf, size_t len);
/* Bytes of private memory that it takes, for the limit of the process */
size_t virtio_blk_memory(const struct virtio_blk_config *c, unsigned threads);

#endif
