/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/util.h"
#include "toy.h"

unsigned toy_slow;

static void answer(struct toy_queue *q, struct virtq_req *r)
{
	size_t n = virtq_get(r, 0, q->data, sizeof q->data);

	for (unsigned i = 0; i < toy_slow; i++)
		__asm__ volatile("pause");
	for (size_t i = 0; i < n / 2; i++) {
		uint8_t b = q->data[i];

		q->data[i] = q->data[n - 1 - i];
		q->data[n - 1 - i] = b;
	}
	virtq_done(r, (uint32_t)virtq_put(r, 0, q->data, n));
}

static void work(struct toy_queue *q)
{
	unsigned n;

	do {
		for (n = 0; n < TOY_HELD && virtq_pop(q->vq, &q->req[n]) == 1; n++)
			;
		/* the last first, then from the front */
		if (n)
			answer(q, &q->req[n - 1]);
		for (unsigned i = 0; i + 1 < n; i++)
			answer(q, &q->req[i]);
		virtq_notify(q->vq);
	} while (n);
}

static void *thread(void *arg)
{
	struct toy_queue *q = arg;
	struct pollfd p[2] = {{.fd = q->vq->kick_fd, .events = POLLIN}, {.fd = q->stop_fd, .events = POLLIN}};

	for (;;) {
		uint64_t n;

		work(q);
		assert(poll(p, 2, -1) > 0 || errno == EINTR);
		if (p[1].revents)
			break;
		if (p[0].revents & POLLIN && read(p[0].fd, &n, sizeof n) < 0)
			assert(errno == EAGAIN);
	}
	return NULL;
}

static struct toy *toy_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct toy, dev);
}

static int start(struct virtio_dev *d, unsigned i, struct virtq *vq)
{
	struct toy *t = toy_of(d);
	struct toy_queue *q = &t->q[i];

	assert(i < TOY_QUEUES && !q->running);
	if (t->start_fails)
		return -t->start_fails;
	assert(virtq_iov_max(vq) <= TOY_SIZE + MEM_REGIONS);
	q->vq = vq;
	q->running = true;
	q->starts++;
	for (unsigned k = 0; k < TOY_HELD; k++) {
		q->req[k].iov = q->iov[k];
		q->req[k].iov_max = TOY_SIZE + MEM_REGIONS;
	}
	if (d->ops->own_kick) {
		q->stop_fd = eventfd(0, EFD_CLOEXEC);
		assert(q->stop_fd >= 0);
		assert(!pthread_create(&q->thread, NULL, thread, q));
	}
	return 0;
}

static void stop(struct virtio_dev *d, unsigned i)
{
	struct toy_queue *q = &toy_of(d)->q[i];
	uint64_t one = 1;

	assert(q->running);
	q->running = false;
	q->stops++;
	if (!d->ops->own_kick)
		return;
	assert(write(q->stop_fd, &one, sizeof one) == sizeof one);
	assert(!pthread_join(q->thread, NULL));
	close(q->stop_fd);
}

static void kick(struct virtio_dev *d, unsigned i)
{
	struct toy_queue *q = &toy_of(d)->q[i];

	assert(!d->ops->own_kick && q->running);
	q->kicks++;
	work(q);
}

static void config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	assert(off <= TOY_CONFIG && len <= TOY_CONFIG - off);
	memcpy(buf, toy_of(d)->config + off, len);
}

static void config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	assert(off <= TOY_CONFIG && len <= TOY_CONFIG - off);
	memcpy(toy_of(d)->config + off, buf, len);
	if (d->config_changed)
		d->config_changed(d->config_changed_arg);
}

static void features_set(struct virtio_dev *d, uint64_t features)
{
	toy_of(d)->features = features;
}

static void reset(struct virtio_dev *d)
{
	struct toy *t = toy_of(d);

	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(!t->q[i].running);
	t->resets++;
}

static const struct virtio_ops ops = {
	.name = "toy",
	.id = VIRTIO_ID_RNG,
	.config_read = config_read,
	.config_write = config_write,
	.features_set = features_set,
	.start = start,
	.stop = stop,
	.kick = kick,
	.reset = reset,
}, own_ops = {
	.name = "toy-own",
	.id = VIRTIO_ID_RNG,
	.own_kick = true,
	.config_read = config_read,
	.config_write = config_write,
	.features_set = features_set,
	.start = start,
	.stop = stop,
	.reset = reset,
};

void toy_init(struct toy *t, bool own)
{
	memset(t, 0, sizeof *t);
	t->dev.ops = own ? &own_ops : &ops;
	t->dev.features = 1ull << 3;
	t->dev.nqueues = TOY_QUEUES;
	t->dev.queue_size = TOY_SIZE;
	t->dev.config_len = TOY_CONFIG;
	for (unsigned i = 0; i < TOY_CONFIG; i++)
		t->config[i] = (uint8_t)(0x40 + i);
	for (unsigned i = 0; i < TOY_QUEUES; i++)
		t->q[i].toy = t;
}

void toy_fini(struct toy *t)
{
	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(!t->q[i].running && t->q[i].starts == t->q[i].stops);
}
