/* SPDX-License-Identifier: MIT */
/*
 * Input devices under a driver whose every choice is a byte of the input: the first says which device, then come operations
 * (enum op). Events go both when the host has some and when the driver gives buffers.
 */
#undef NDEBUG
#include <assert.h>

#include "../unit/virtio_devices/driver.h"
#include "base/util.h"
#include "virtio/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { RAM = 1 << 20, STEPS = 400 };
enum op { OP_START, OP_STOP, OP_GIVE, OP_ADD, OP_KICK, OP_SCRIBBLE, OP_CONFIG_READ, OP_CONFIG_WRITE, OP_SEND, OPS };

static const uint8_t *at, *end;
static struct mem mem;
static struct drv d;
static unsigned waiting;

static unsigned pick(unsigned n)
{
	return at < end ? *at++ % n : 0;
}

static unsigned pick16(void)
{
	unsigned v = pick(256);

	return v | pick(256) << 8;
}

static void leds(void *arg, uint32_t v)
{
	assert(arg == &d && v < 8);
}

static bool send(unsigned n)
{
	struct virtio_input_event ev[VIRTIO_INPUT_EVENTS] = {{1, 30, 1}};
	unsigned calls = d.q[0].calls;
	bool sent = virtio_input_send(d.dev, ev, n);

	assert(!sent || (virtio_input_ready(d.dev) && !d.q[0].vq.in_use));
	/* nothing happened, but if the queue broke */
	assert(sent || d.q[0].calls == calls || d.q[0].vq.broken);
	return sent;
}

static void changed(void *arg)
{
	assert(arg == &d);
	while (waiting && send(waiting % VIRTIO_INPUT_EVENTS))
		waiting--;
}

static void add(unsigned q, bool fits)
{
	struct drv_seg seg[8];
	unsigned n = 1 + pick(fits ? 2 : ARRAY_LEN(seg));

	for (unsigned i = 0; i < n; i++) {
		seg[i].gpa = (pick(256) << 12) + (pick(2) ? pick16() : 0);
		seg[i].len = fits ? 8 : pick(32);
		seg[i].write = fits ? q == 0 : pick(2);
	}
	if (d.q[q].on && n <= d.q[q].size)
		drv_add(&d, q, seg, n);
}

static void scribble(unsigned q)
{
	static const unsigned place[] = {DRV_DESC, DRV_AVAIL, DRV_USED};
	uint64_t gpa = DRV_RINGS + (uint64_t)q * DRV_RING + place[pick(3)] + pick(256);

	for (unsigned n = 1 + pick(16); n; n--, gpa++) {
		uint8_t b = (uint8_t)pick(256);

		assert(!mem_put(&mem, gpa, &b, 1));
	}
}

static void start(void)
{
	unsigned bits = pick(256);

	drv_stop(&d);
	drv_start(&d, VIRTIO_F_VERSION_1 | (bits & 1 ? VIRTIO_F_INDIRECT_DESC : 0) | (bits & 2 ? VIRTIO_F_EVENT_IDX : 0),
		1u << (bits >> 2) % 7);
}

static void config(bool write)
{
	uint8_t buf[256] = {0};
	unsigned size = d.dev->config_len, off = pick(size), len = 1 + pick(size - off);

	if (!write) {
		d.dev->ops->config_read(d.dev, off, buf, len);
		return;
	}
	for (unsigned i = 0; i < len && i < 4; i++)
		buf[i] = (uint8_t)pick(256);
	d.dev->ops->config_write(d.dev, off, buf, len);
	d.dev->ops->config_read(d.dev, 0, buf, size);
	assert(buf[2] <= 128);
}

static void step(void)
{
	switch (pick(OPS)) {
	case OP_START:
		start();
		break;
	case OP_STOP:
		drv_stop(&d);
		assert(!virtio_input_ready(d.dev));
		break;
	case OP_GIVE:
		for (unsigned n = 1 + pick(16), q = pick(2); n; n--)
			add(q, true);
		break;
	case OP_ADD:
		add(pick(2), false);
		break;
	case OP_KICK:
		drv_kick(&d, pick(2));
		break;
	case OP_SCRIBBLE:
		scribble(pick(2));
		break;
	case OP_CONFIG_READ:
		config(false);
		break;
	case OP_CONFIG_WRITE:
		config(true);
		break;
	case OP_SEND:
		if (!send(pick(VIRTIO_INPUT_EVENTS + 1)))
			waiting = pick(40);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct virtio_dev *dev;

	at = p;
	end = p + len;
	if (!mem.nregions)
		assert(!mem_init(&mem, RAM, NULL));
	memset(mem.region[0].host, 0, RAM);
	waiting = 0;
	dev = virtio_input_new(pick(3), leds, &d);
	drv_init(&d, &mem, dev);
	virtio_input_notify(dev, changed, &d);
	for (unsigned n = 0; at < end && n < STEPS; n++)
		step();
	drv_stop(&d);
	virtio_input_free(dev);
	return 0;
}
