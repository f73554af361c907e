/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "toy.h"

static struct toy_device *toy_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct toy_device, dev);
}

static void toy_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, toy_of(d)->config + off, len);
}

static void toy_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	memcpy(toy_of(d)->config + off, buf, len);
	if (off == 0)
		d->config_changed(d->config_changed_arg);
}

static void toy_features(struct virtio_dev *d, uint64_t features)
{
	toy_of(d)->features = features;
}

static int toy_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	struct toy_device *t = toy_of(d);

	if (t->refuse)
		return -EBUSY;
	t->vq[q] = vq;
	t->starts++;
	return 0;
}

static void toy_stop(struct virtio_dev *d, unsigned q)
{
	toy_of(d)->vq[q] = NULL;
	toy_of(d)->stops++;
	d->config_changed(d->config_changed_arg); /* the worst moment for it */
}

static void toy_kick(struct virtio_dev *d, unsigned q)
{
	struct toy_device *t = toy_of(d);
	struct virtq_req r = {.iov = t->iov, .iov_max = ARRAY_LEN(t->iov)};

	for (unsigned i = 0; i < TOY_SIZE && virtq_pop(t->vq[q], &r) > 0; i++) {
		uint8_t buf[64];
		size_t done = 0, n;

		t->requests++;
		while ((n = virtq_get(&r, done, buf, sizeof buf)) > 0) {
			if (!done && buf[0] == TOY_BREAK) {
				virtq_break(t->vq[q], "the toy has been broken");
				return;
			}
			for (size_t k = 0; k < n; k++)
				buf[k] = (uint8_t)~buf[k];
			n = virtq_put(&r, done, buf, n);
			done += n;
			if (n < sizeof buf)
				break;
		}
		virtq_done(&r, (uint32_t)done);
	}
	virtq_notify(t->vq[q]);
}

static void toy_reset(struct virtio_dev *d)
{
	toy_of(d)->resets++;
	toy_of(d)->features = 0;
}

static const struct virtio_ops toy_ops = {.name = "toy", .id = VIRTIO_ID_RNG, .config_read = toy_config_read,
	.config_write = toy_config_write, .features_set = toy_features, .start = toy_start, .stop = toy_stop,
	.kick = toy_kick, .reset = toy_reset};

void toy_device_init(struct toy_device *t)
{
	memset(t, 0, sizeof *t);
	t->dev = (struct virtio_dev){.ops = &toy_ops, .features = 5, .nqueues = TOY_QUEUES, .queue_size = TOY_SIZE,
		.config_len = TOY_CONFIG};
	for (unsigned i = 0; i < TOY_CONFIG; i++)
		t->config[i] = (uint8_t)(0x10 + i);
}

struct virtio_ring toy_ring(unsigned q, uint16_t size)
{
	uint64_t at = 0x10000 + q * 0x4000ull;

	return (struct virtio_ring){.enabled = true, .size = size, .desc = at, .avail = at + 0x1000, .used = at + 0x2000};
}

uint64_t toy_buffer(unsigned q)
{
	return 0x10000 + q * 0x4000ull + 0x3000;
}

static uint16_t load(const struct mem *m, uint64_t at)
{
	uint16_t v = 0;

	mem_get(m, at, &v, sizeof v);
	return v;
}

void toy_request(const struct mem *m, const struct virtio_ring *r, uint64_t out, uint64_t in, uint32_t len)
{
	uint16_t idx = load(m, r->avail + 2), head = (uint16_t)(idx * 2 % r->size);
	uint8_t desc[32] = {0};

	put_u64(desc, out);
	put_u32(desc + 8, len);
	put_u16(desc + 12, 1); /* next */
	put_u16(desc + 14, (uint16_t)(head + 1));
	put_u64(desc + 16, in);
	put_u32(desc + 24, len);
	put_u16(desc + 28, 2); /* write */
	mem_put(m, r->desc + head * 16u, desc, sizeof desc);
	mem_put(m, r->avail + 4 + idx % r->size * 2u, &head, sizeof head);
	idx++;
	mem_put(m, r->avail + 2, &idx, sizeof idx);
}

uint16_t toy_used(const struct mem *m, const struct virtio_ring *r)
{
	return load(m, r->used + 2);
}
