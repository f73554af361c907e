/* SPDX-License-Identifier: MIT */
/*
 * A virtio device of this process behind the PCI transport. Everything happens under the board lock, so a device that is
 * run in this way must do its work in kick() without waiting.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/util.h"
#include "virtio/pci.h"
#include "virtio/virtq.h"

struct virtio_local {
	struct virtio_dev *dev;
	const struct mem *mem;
	struct virtio_pci *pci; /* NULL: none yet, or none any more */
	void (*code_changed)(void *arg, uint64_t gpa, uint64_t len);
	void *code_arg;
	struct virtq vq[VIRTIO_QUEUES];
	bool on[VIRTIO_QUEUES]; /* between ops->start() and ops->stop() */
};

static void local_call(struct virtq *q, void *arg)
{
	struct virtio_local *l = arg;

	/* one that has just broken calls, too; local_kick() sees to that */
	if (l->pci && !q->broken)
		virtio_pci_interrupt(l->pci, (unsigned)(q - l->vq));
}

static void local_config_changed(void *arg)
{
	struct virtio_local *l = arg;

	if (l->pci)
		virtio_pci_config_changed(l->pci);
}

/* virtq.c has made what was written visible to all before it calls this (see there, "Barriers"). */
static void local_written(void *arg, uint64_t gpa, uint64_t len)
{
	struct virtio_local *l = arg;

	while (len) {
		uint64_t n = min_u64(len, MEM_PAGE - gpa % MEM_PAGE), page = mem_page(l->mem, gpa);

		if (page < l->mem->npages &&
			__atomic_load_n(l->mem->page_bits + page, __ATOMIC_RELAXED) & MEM_PG_CODE)
			l->code_changed(l->code_arg, gpa, n);
		gpa += n;
		len -= n;
	}
}

static void local_kick(void *arg, unsigned q)
{
	struct virtio_local *l = arg;
	struct virtq *vq = &l->vq[q];

	if (!l->on[q] || vq->broken)
		return;
	l->dev->ops->kick(l->dev, q);
	if (vq->broken && l->pci)
		virtio_pci_broken(l->pci, vq->why);
}

static int start_queue(struct virtio_local *l, unsigned q, uint64_t features, const struct virtio_ring *ring,
	struct err *e)
{
	struct virtq *vq = &l->vq[q];
	int rc;

	*vq = (struct virtq){.mem = l->mem, .features = features, .ring = *ring, .kick_fd = -1, .call = local_call,
		.call_arg = l};
	if (l->code_changed && l->mem->page_bits) {
		vq->written = local_written;
		vq->written_arg = l;
	}
	rc = virtq_start(vq, 0, e);
	if (rc)
		return rc;
	rc = l->dev->ops->start(l->dev, q, vq);
	if (rc) {
		virtq_stop(vq);
		return err_set(e, -rc, "the device cannot start queue %u: %s", q, strerror(-rc));
	}
	l->on[q] = true;
	return 0;
}

static void local_start(void *arg, uint64_t features, const struct virtio_ring *rings)
{
	struct virtio_local *l = arg;
	const struct virtio_ops *ops = l->dev->ops;
	struct err e;

	if (ops->features_set)
		ops->features_set(l->dev, features);
	for (unsigned q = 0; q < l->dev->nqueues; q++)
		if (rings[q].enabled && start_queue(l, q, features, &rings[q], &e)) {
			virtio_pci_broken(l->pci, e.text);
			return;
		}
	for (unsigned q = 0; q < l->dev->nqueues; q++)
		local_kick(l, q);
}

static void stop_all(struct virtio_local *l)
{
	const struct virtio_ops *ops = l->dev->ops;

	for (unsigned q = 0; q < l->dev->nqueues; q++)
		if (l->on[q]) {
			ops->stop(l->dev, q);
			virtq_stop(&l->vq[q]);
			l->on[q] = false;
		}
	if (ops->reset)
		ops->reset(l->dev);
}

static void local_stop(void *arg)
{
	struct virtio_local *l = arg;

	stop_all(l);
	virtio_pci_stopped(l->pci);
}

static void local_config_read(void *arg, uint32_t off, void *buf, uint32_t len)
{
	struct virtio_local *l = arg;

	l->dev->ops->config_read(l->dev, off, buf, len);
}

static void local_config_write(void *arg, uint32_t off, const void *buf, uint32_t len)
{
	struct virtio_local *l = arg;

	if (l->dev->ops->config_write)
		l->dev->ops->config_write(l->dev, off, buf, len);
}

struct virtio_local *virtio_local_new(struct virtio_dev *dev, const struct mem *mem, struct virtio_back *back,
	void (*code_changed)(void *arg, uint64_t gpa, uint64_t len), void *arg)
{
	struct virtio_local *l = xcalloc(1, sizeof *l);

	assert(!dev->ops->own_kick && dev->nqueues <= VIRTIO_QUEUES);
	l->dev = dev;
	l->mem = mem;
	l->code_changed = code_changed;
	l->code_arg = arg;
	dev->config_changed = local_config_changed;
	dev->config_changed_arg = l;
	*back = (struct virtio_back){.name = back->name, .id = dev->ops->id,
		.features = dev->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX,
		.nqueues = dev->nqueues, .queue_size = dev->queue_size, .config_len = dev->config_len,
		.config_read = local_config_read, .config_write = local_config_write, .start = local_start,
		.stop = local_stop, .kick = local_kick, .arg = l};
	return l;
}

void virtio_local_bind(struct virtio_local *l, struct virtio_pci *v)
{
	l->pci = v;
}

void virtio_local_free(struct virtio_local *l)
{
	if (!l)
		return;
	l->pci = NULL;
	stop_all(l);
	free(l);
}
