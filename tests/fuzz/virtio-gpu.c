/* SPDX-License-Identifier: MIT */
/*
 * virtio-gpu under a driver whose every choice is a byte of the input (virtio-gpu.h): commands whose words are likely to be
 * interesting, requests of any bytes, rings that are written over, sizes that viewers wish for, and processes that die
 * and leave a state, maybe a bad one. Viewers look at what there is all the time.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/virtio_devices/driver.h"
#include "base/util.h"
#include "display/scanout.h"
#include "virtio-gpu.h"
#include "virtio/gpu.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { RAM = 4 << 20, HEADS = 2, STEPS = 300, MEMORY = 8 << 20, REQUEST = DRV_DATA, ANSWER = DRV_DATA + 0x20000,
	FB = DRV_DATA + 0x30000 };

static const uint8_t *at, *end;
static struct mem mem;
static struct drv d;
static struct scanout *out[HEADS];
static struct scanout_view *view[HEADS];
static uint8_t *state;

static unsigned pick(unsigned n)
{
	return at < end ? *at++ % n : 0;
}

static void device(void)
{
	struct gpu_config c = {.nheads = HEADS, .w = 640, .h = 480, .memory_max = MEMORY, .queue_size = 64, .state = state};
	struct virtio_dev *dev;

	memcpy(c.head, out, sizeof out);
	assert(!gpu_new(&dev, &c, NULL));
	drv_init(&d, &mem, dev);
}

static void start(unsigned bits)
{
	drv_start(&d, VIRTIO_F_VERSION_1 | (bits & 1 ? d.dev->features : 0) | (bits & 2 ? VIRTIO_F_EVENT_IDX : 0), 64);
}

static void request(unsigned q, const void *bytes, size_t len, unsigned room)
{
	struct drv_seg seg[] = {{REQUEST, (uint32_t)len, false}, {ANSWER, room, true}};

	assert(!mem_put(&mem, REQUEST, bytes, len));
	if (!d.q[q].on)
		return;
	if (len)
		drv_add(&d, q, seg, room ? 2 : 1);
	else
		drv_add(&d, q, seg + 1, 1);
	drv_kick(&d, q);
}

static void command(void)
{
	static uint8_t b[24 + 7 * 4 + 4 + 16 * 200];
	const struct gpu_kind *k = &gpu_kinds[pick(ARRAY_LEN(gpu_kinds))];
	size_t len = 24;

	memset(b, 0, sizeof b);
	put_u32(b, k->type);
	b[4] = (uint8_t)pick(2);
	for (unsigned i = 0; i < k->words; i++, len += 4)
		put_u32(b + len, gpu_word(pick(256)));
	if (k->type == 0x106) {
		unsigned n = pick(200);

		if (pick(8))
			put_u32(b + 28, n);
		for (unsigned i = 0; i < n; i++, len += 16) {
			put_u64(b + len, FB + 512ull * pick(256) + pick(256) - (pick(64) == 1 ? FB - RAM + 4 : 0));
			put_u32(b + len + 8, gpu_word(pick(256)));
		}
	} else {
		len = 24 + 32;
	}
	request(k->queue, b, len, 2048);
}

static void bytes(void)
{
	uint8_t b[128] = {0};
	unsigned q = pick(2), room = pick(64), n = pick(sizeof b);

	for (unsigned i = 0; i < n; i++)
		b[i] = (uint8_t)pick(256);
	request(q, b, n, room);
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

static void another(void)
{
	unsigned n = pick(2) ? pick(16) : 0;

	for (unsigned i = 0; i < HEADS; i++)
		virtq_stop(&d.q[i].vq);
	gpu_free(d.dev);
	for (; n; n--) {
		uint8_t *p = state + (pick(4) ? 8 : 65536) + 4 * pick(128);

		put_u32(p, gpu_word(pick(256)));
	}
	device();
	start(1);
}

static void look(void)
{
	static struct scanout_view_cursor c;

	for (unsigned i = 0; i < HEADS; i++) {
		struct rect r[4];
		struct surface s;
		uint32_t generation;
		unsigned n;

		if (!scanout_view_mode(view[i], &s, &generation))
			continue;
		assert(scanout_mode_ok(s.w, s.h));
		n = scanout_view_damage(view[i], r, ARRAY_LEN(r));
		for (unsigned k = 0; k < n; k++)
			assert(r[k].w && r[k].h && r[k].x + r[k].w <= s.w && r[k].y + r[k].h <= s.h);
		scanout_view_cursor(view[i], &c);
		assert(c.w <= SCANOUT_CURSOR_MAX && c.h <= SCANOUT_CURSOR_MAX && (!c.w || (c.hot_x < c.w && c.hot_y < c.h)));
	}
}

static uint64_t memory(void)
{
	char text[1024];
	const char *p;

	text[gpu_stats(d.dev, text, sizeof text - 1)] = '\0';
	p = strstr(text, "memory ");
	assert(p);
	return strtoull(p + 7, NULL, 10);
}

static void step(void)
{
	uint8_t b[16] = {0};
	unsigned off, n;

	switch (pick(OPS)) {
	case OP_COMMAND:
		command();
		break;
	case OP_BYTES:
		bytes();
		break;
	case OP_KICK:
		drv_kick(&d, pick(2));
		break;
	case OP_SCRIBBLE:
		scribble(pick(2));
		break;
	case OP_CONFIG:
		off = pick(16);
		n = 1 + pick(16 - off);
		d.dev->ops->config_read(d.dev, off, b, n);
		b[0] = (uint8_t)pick(256);
		d.dev->ops->config_write(d.dev, off, b, n);
		break;
	case OP_RESIZE: {
		struct resize_wish w = {.head = pick(4)};

		w.w = gpu_word(pick(256));
		w.h = gpu_word(pick(256));
		gpu_resize(d.dev, &w);
		break;
	}
	case OP_STOP:
		drv_stop(&d);
		assert(!memory());
		break;
	case OP_START:
		drv_stop(&d);
		start(pick(4));
		break;
	case OP_ANOTHER:
		another();
	}
	assert(memory() <= MEMORY);
}

static void once(void)
{
	assert(!mem_init(&mem, RAM, NULL));
	state = calloc(1, GPU_STATE);
	assert(state);
	for (unsigned i = 0; i < HEADS; i++) {
		int fd = scanout_create("fuzz", NULL);

		assert(fd >= 0 && !scanout_open(&out[i], fd, -1, NULL) && !scanout_view_open(&view[i], fd, NULL));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	at = p;
	end = p + len;
	if (!state)
		once();
	memset(mem_at(&mem, DRV_RINGS, 2 * DRV_RING), 0, 2 * DRV_RING);
	/* magic, heads, the first slots; the pool matters by those */
	memset(state, 0, 16384);
	device();
	start(3);
	for (unsigned n = 0; at < end && n < STEPS; n++) {
		step();
		if (!(n % 4))
			look();
	}
	look();
	drv_stop(&d);
	assert(!memory());
	gpu_free(d.dev);
	return 0;
}
