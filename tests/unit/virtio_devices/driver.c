/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "driver.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2 };

static void called(struct virtq *q, void *arg)
{
	(void)q;
	((struct drv_queue *)arg)->calls++;
}

static void config_changed(void *arg)
{
	((struct drv *)arg)->config_changes++;
}

void drv_init(struct drv *d, const struct mem *mem, struct virtio_dev *dev)
{
	memset(d, 0, sizeof *d);
	d->mem = mem;
	d->dev = dev;
	dev->config_changed = config_changed;
	dev->config_changed_arg = d;
	assert(dev->nqueues <= VIRTIO_QUEUES && dev->queue_size <= VIRTIO_QUEUE_MAX);
}

void drv_start(struct drv *d, uint64_t features, unsigned size)
{
	struct err e;

	if (d->dev->ops->features_set)
		d->dev->ops->features_set(d->dev, features);
	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		struct drv_queue *q = &d->q[i];

		memset(q, 0, sizeof *q);
		q->base = DRV_RINGS + (uint64_t)i * DRV_RING;
		q->size = (uint16_t)min_u64(size, d->dev->queue_size);
		assert(q->size <= DRV_SIZE_MAX && !mem_zero(d->mem, q->base, DRV_RING));
		q->vq = (struct virtq){.mem = d->mem, .features = features, .kick_fd = -1, .call = called, .call_arg = q,
			.ring = {.enabled = true, .size = q->size, .desc = q->base + DRV_DESC,
				.avail = q->base + DRV_AVAIL, .used = q->base + DRV_USED}};
		assert(!virtq_start(&q->vq, 0, &e));
		assert(!d->dev->ops->start(d->dev, i, &q->vq));
		q->on = true;
		d->dev->ops->kick(d->dev, i);
	}
}

void drv_stop(struct drv *d)
{
	for (unsigned i = 0; i < d->dev->nqueues; i++) {
		if (!d->q[i].on)
			continue;
		d->dev->ops->stop(d->dev, i);
		virtq_stop(&d->q[i].vq);
		d->q[i].on = false;
	}
	if (d->dev->ops->reset)
		d->dev->ops->reset(d->dev);
}

void drv_desc(struct drv *d, unsigned q, unsigned i, uint64_t gpa, uint32_t len, uint16_t flags, uint16_t next)
{
	uint8_t b[16];

	put_u64(b, gpa);
	put_u32(b + 8, len);
	put_u16(b + 12, flags);
	put_u16(b + 14, next);
	assert(!mem_put(d->mem, d->q[q].base + DRV_DESC + 16ull * i, b, sizeof b));
}

void drv_offer(struct drv *d, unsigned q, uint16_t head)
{
	struct drv_queue *k = &d->q[q];
	uint64_t avail = k->base + DRV_AVAIL;

	assert(!mem_put(d->mem, avail + 4 + 2ull * (k->avail & (k->size - 1)), &head, 2));
	k->avail++;
	assert(!mem_put(d->mem, avail + 2, &k->avail, 2));
}

uint16_t drv_add(struct drv *d, unsigned q, const struct drv_seg *seg, unsigned n)
{
	struct drv_queue *k = &d->q[q];
	uint16_t head = k->next_desc;

	assert(n && n <= k->size);
	for (unsigned i = 0; i < n; i++) {
		uint16_t next = (uint16_t)((k->next_desc + 1) & (k->size - 1));
		uint16_t flags = (i + 1 < n ? DESC_NEXT : 0) | (seg[i].write ? DESC_WRITE : 0);

		drv_desc(d, q, k->next_desc, seg[i].gpa, seg[i].len, flags, next);
		k->next_desc = next;
	}
	drv_offer(d, q, head);
	return head;
}

uint16_t drv_add_one(struct drv *d, unsigned q, uint64_t gpa, uint32_t len, bool write)
{
	return drv_add(d, q, &(struct drv_seg){gpa, len, write}, 1);
}

void drv_kick(struct drv *d, unsigned q)
{
	d->dev->ops->kick(d->dev, q);
}

int64_t drv_used(struct drv *d, unsigned q, uint16_t *head)
{
	struct drv_queue *k = &d->q[q];
	uint8_t e[8];
	uint16_t idx;

	assert(!mem_get(d->mem, k->base + DRV_USED + 2, &idx, 2));
	if (idx == k->used)
		return -1;
	assert(!mem_get(d->mem, k->base + DRV_USED + 4 + 8ull * (k->used & (k->size - 1)), e, sizeof e));
	k->used++;
	if (head)
		*head = (uint16_t)get_u32(e);
	return get_u32(e + 4);
}
