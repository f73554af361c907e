/* SPDX-License-Identifier: MIT */
/*
 * Entropy, balloon and console under a driver whose every choice is a byte of the input: the first says which device,
 * then come operations (enum op). Rings may be written to as bytes, and requests may lie in them.
 */
#undef NDEBUG
#include <assert.h>

#include "../unit/virtio_devices/driver.h"
#include "base/util.h"
#include "virtio-local.h"
#include "virtio/devices.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { RAM = 2 << 20, PORTS = 3, STEPS = 400 };

static const uint8_t *at, *end;
static struct mem mem;
static struct drv d;
static size_t room;

static unsigned pick(unsigned n)
{
	return at < end ? *at++ % n : 0;
}

static unsigned pick16(void)
{
	unsigned v = pick(256);

	return v | pick(256) << 8;
}

static void discard(void *arg, uint64_t gpa, uint64_t len)
{
	assert(arg == &d && len && !(gpa % MEM_PAGE) && !(len % MEM_PAGE) && mem_at(&mem, gpa, len));
}

static size_t tx(void *arg, unsigned port, const void *data, size_t len)
{
	assert(arg == &d && port < PORTS && len);
	/* the emergency character comes from a register */
	assert(len == 1 || ((const uint8_t *)data >= mem.region[0].host &&
			(const uint8_t *)data + len <= mem.region[0].host + RAM));
	len = min_u64(len, room);
	room -= len;
	return len;
}

static void more(void *arg, unsigned port)
{
	assert(arg == &d);
	virtio_console_rx(d.dev, port, "more", 4);
}

static void later(void *arg, unsigned port)
{
	assert(arg == &d && port < PORTS);
}

static void add(unsigned q)
{
	struct drv_seg seg[8];
	unsigned n = 1 + pick(ARRAY_LEN(seg));

	for (unsigned i = 0; i < n; i++) {
		seg[i].gpa = (pick(256) << 13) + (pick(2) ? pick16() : 0);
		seg[i].len = pick16();
		if (pick(4) == 3)
			seg[i].len <<= 8;
		seg[i].write = pick(2);
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
	uint64_t features = VIRTIO_F_VERSION_1;
	unsigned bits = pick(256);

	features |= bits & 1 ? VIRTIO_F_INDIRECT_DESC : 0;
	features |= bits & 2 ? VIRTIO_F_EVENT_IDX : 0;
	features |= bits & 4 ? d.dev->features : 0;
	drv_stop(&d);
	drv_start(&d, features, 1u << (bits >> 3) % 8);
}

static void config(bool write)
{
	uint8_t buf[16] = {0};
	unsigned size = d.dev->config_len, off = size ? pick(size) : 0, len = size ? 1 + pick(size - off) : 0;

	if (!write) {
		d.dev->ops->config_read(d.dev, off, buf, len);
		return;
	}
	for (unsigned i = 0; i < len && i < sizeof buf; i++)
		buf[i] = (uint8_t)pick(256);
	if (d.dev->ops->config_write)
		d.dev->ops->config_write(d.dev, off, buf, len);
}

static void control(void)
{
	uint8_t msg[8] = {0};

	msg[0] = (uint8_t)pick(256);
	msg[4] = (uint8_t)pick(256);
	msg[6] = (uint8_t)pick(256);
	assert(!mem_put(&mem, DRV_DATA, msg, sizeof msg));
	if (d.dev->nqueues > 3 && d.q[3].on) {
		drv_add_one(&d, 3, DRV_DATA, sizeof msg, false);
		drv_kick(&d, 3);
	}
}

static void step(unsigned device)
{
	static const uint8_t text[5000];
	unsigned q;

	switch (pick(OPS)) {
	case OP_START:
		start();
		break;
	case OP_STOP:
		drv_stop(&d);
		break;
	case OP_ADD:
		add(pick(d.dev->nqueues));
		break;
	case OP_KICK:
		q = pick(d.dev->nqueues);
		drv_kick(&d, q);
		break;
	case OP_SCRIBBLE:
		scribble(pick(d.dev->nqueues));
		break;
	case OP_CONFIG_READ:
		config(false);
		break;
	case OP_CONFIG_WRITE:
		config(true);
		break;
	case OP_CONTROL:
		control();
		break;
	case OP_HOST: /* what the owner does */
		if (device == DEVICE_BALLOON)
			virtio_balloon_target(d.dev, pick16());
		if (device != DEVICE_CONSOLE)
			break;
		q = pick(PORTS);
		room = pick16();
		switch (pick(3)) {
		case 0:
			virtio_console_room(d.dev, q);
			break;
		case 1:
			virtio_console_open(d.dev, q, pick(2));
			break;
		default:
			q = virtio_console_rx(d.dev, q, text, room % sizeof text) <= room % sizeof text;
			assert(q);
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static const char *const names[PORTS] = {"one", "", "three"};
	struct virtio_dev *dev;
	unsigned device;

	at = p;
	end = p + len;
	if (!mem.nregions)
		assert(!mem_init(&mem, RAM, NULL));
	memset(mem.region[0].host, 0, RAM);
	device = pick(DEVICES);
	room = 0;
	if (device == DEVICE_RNG)
		dev = virtio_rng_new();
	else if (device == DEVICE_BALLOON)
		dev = virtio_balloon_new(&mem, discard, &d);
	else
		dev = virtio_console_new(&(struct virtio_console_config){.nports = PORTS, .names = names, .consoles = 4,
			.tx = tx, .room = more, .later = later, .arg = &d});
	drv_init(&d, &mem, dev);
	for (unsigned n = 0; at < end && n < STEPS; n++)
		step(device);
	drv_stop(&d);
	if (device == DEVICE_RNG)
		virtio_rng_free(dev);
	else if (device == DEVICE_BALLOON)
		virtio_balloon_free(dev);
	else
		virtio_console_free(dev);
	return 0;
}
