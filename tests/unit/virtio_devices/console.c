/* SPDX-License-Identifier: MIT */
/* The console's ports under a driver that does what Linux' does, then under worse ones. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "driver.h"
#include "virtio/devices.h"

enum { DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY, CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME };
enum { CTL_IN = 2, CTL_OUT = 3, QUEUE = 32, PAGE = 4096, TURN_BYTES = 1 << 20 };
#define MULTIPORT (VIRTIO_F_VERSION_1 | 1ull << 1)

static struct mem mem;
static struct drv d;
static struct virtio_dev *dev;

/* ---- the owner ---- */

static struct {
	char text[4 << 20];
	size_t len, room; /* room: bytes that tx() may take */
	unsigned rooms, laters;
} at[VIRTIO_CONSOLE_PORTS];

static size_t tx(void *arg, unsigned port, const void *data, size_t len)
{
	assert(arg == &d && len);
	len = min_u64(len, at[port].room);
	assert(at[port].len + len <= sizeof at[port].text);
	memcpy(at[port].text + at[port].len, data, len);
	at[port].len += len;
	at[port].room -= len;
	return len;
}

static void room(void *arg, unsigned port)
{
	assert(arg == &d);
	at[port].rooms++;
}

static void later(void *arg, unsigned port)
{
	assert(arg == &d);
	at[port].laters++;
}

static bool wrote(unsigned port, const char *s)
{
	bool same = at[port].len == strlen(s) && !memcmp(at[port].text, s, at[port].len);

	at[port].len = 0;
	return same;
}

static const char *const names[] = {"console", "org.example.agent", "third"};

static void open_all(unsigned nports, uint32_t consoles)
{
	struct err e;

	assert(!mem_init(&mem, 16 * MIB, &e));
	for (unsigned i = 0; i < VIRTIO_CONSOLE_PORTS; i++) {
		at[i].len = at[i].rooms = at[i].laters = 0;
		at[i].room = SIZE_MAX;
	}
	dev = virtio_console_new(&(struct virtio_console_config){.nports = nports, .names = names, .consoles = consoles,
		.tx = tx, .room = room, .later = later, .arg = &d});
	drv_init(&d, &mem, dev);
}

static void close_all(void)
{
	drv_stop(&d);
	virtio_console_free(dev);
	mem_fini(&mem);
}

/* ---- the driver ---- */

static unsigned in_q(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

/* Buffers of their own for each queue */
static uint64_t buffer(unsigned q, unsigned i)
{
	return 2 * MIB + (q * QUEUE + i % QUEUE) * (uint64_t)PAGE;
}

static void fill(unsigned q, unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		drv_add_one(&d, q, buffer(q, d.q[q].next_desc), len, true);
	drv_kick(&d, q);
}

static void tell(uint32_t id, unsigned event, unsigned value)
{
	uint8_t b[8];

	put_u32(b, id);
	put_u16(b + 4, (uint16_t)event);
	put_u16(b + 6, (uint16_t)value);
	assert(!mem_put(&mem, DRV_DATA, b, sizeof b));
	drv_add_one(&d, CTL_OUT, DRV_DATA, sizeof b, false);
	drv_kick(&d, CTL_OUT);
	assert(drv_used(&d, CTL_OUT, NULL) == 0);
}

/* The next message for us is this one; its buffer goes back, as Linux does it. */
static bool told(uint32_t id, unsigned event, unsigned value, const char *name)
{
	uint16_t head;
	int64_t len = drv_used(&d, CTL_IN, &head);
	const uint8_t *p = mem_at(&mem, buffer(CTL_IN, head), PAGE);
	bool same;

	if (len < 8)
		return false;
	same = len == 8 + (int64_t)strlen(name) && get_u32(p) == id && get_u16(p + 4) == event &&
	       get_u16(p + 6) == value && !memcmp(p + 8, name, strlen(name));
	fill(CTL_IN, 1, PAGE);
	return same;
}

static void guest_writes(unsigned port, const char *s)
{
	assert(!mem_put(&mem, DRV_DATA + 8192, s, strlen(s)));
	drv_add_one(&d, in_q(port) + 1, DRV_DATA + 8192, (uint32_t)strlen(s), false);
	drv_kick(&d, in_q(port) + 1);
}

static bool guest_reads(unsigned port, const char *s)
{
	uint16_t head;
	int64_t len = drv_used(&d, in_q(port), &head);

	return len == (int64_t)strlen(s) && !memcmp(mem_at(&mem, buffer(in_q(port), head), PAGE), s, (size_t)len);
}

/* virtcons_probe(), add_port(), init_port_console() of drivers/char/virtio_console.c */
static void handshake(unsigned nports, uint32_t consoles)
{
	drv_start(&d, MULTIPORT, QUEUE);
	fill(CTL_IN, QUEUE, PAGE);
	assert(drv_used(&d, CTL_IN, NULL) == -1);
	tell(0xffffffff, DEVICE_READY, 1);
	for (unsigned i = 0; i < nports; i++)
		assert(told(i, DEVICE_ADD, 1, ""));
	assert(!told(0, 0, 0, ""));
	for (unsigned i = 0; i < nports; i++) {
		fill(in_q(i), QUEUE, PAGE);
		tell(i, PORT_READY, 1);
		if (consoles >> i & 1) {
			assert(told(i, CONSOLE_PORT, 1, ""));
			tell(i, PORT_OPEN, 1);
		}
		assert(told(i, PORT_NAME, 1, names[i]) && told(i, PORT_OPEN, 1, ""));
	}
	assert(drv_used(&d, CTL_IN, NULL) == -1);
}

static void both_ways(void)
{
	open_all(3, 0);
	assert(dev->ops->id == VIRTIO_ID_CONSOLE && dev->nqueues == 8 && dev->config_len == 12);
	/* nothing goes before the guest is there */
	assert(virtio_console_rx(dev, 0, "x", 1) == 0);
	virtio_console_room(dev, 0);
	handshake(3, 1);
	assert(virtio_console_guest_open(dev, 0) && !virtio_console_guest_open(dev, 1));
	guest_writes(0, "login: ");
	assert(drv_used(&d, 1, NULL) == 0 && d.q[1].calls == 1 && wrote(0, "login: "));
	assert(virtio_console_rx(dev, 0, "root\n", 5) == 5 && d.q[0].calls == 1 && guest_reads(0, "root\n"));
	/* a channel: first somebody must open it, of which the owner is told */
	assert(virtio_console_rx(dev, 1, "early", 5) == 0 && !at[1].rooms);
	tell(1, PORT_OPEN, 1);
	assert(at[1].rooms == 1 && !at[2].rooms && virtio_console_guest_open(dev, 1));
	assert(virtio_console_rx(dev, 1, "early", 5) == 5 && guest_reads(1, "early"));
	guest_writes(1, "answer");
	guest_writes(2, "third");
	assert(wrote(1, "answer") && wrote(2, "third") && wrote(0, ""));
	tell(1, PORT_OPEN, 0);
	assert(virtio_console_rx(dev, 1, "late", 4) == 0);
	/* the driver goes and comes */
	drv_stop(&d);
	assert(!virtio_console_guest_open(dev, 0));
	handshake(3, 1);
	/* or only says that it is new */
	tell(0, DEVICE_READY, 1);
	assert(told(0, DEVICE_ADD, 1, "") && told(1, DEVICE_ADD, 1, "") && told(2, DEVICE_ADD, 1, ""));
	assert(!virtio_console_guest_open(dev, 0));
	close_all();
	/* all of them terminals */
	open_all(2, 3);
	handshake(2, 3);
	close_all();
}

/* Buffers come one by one: nothing is lost, all in order */
static void slow_control(void)
{
	open_all(2, 0);
	drv_start(&d, MULTIPORT, QUEUE);
	tell(0, DEVICE_READY, 1);
	assert(drv_used(&d, CTL_IN, NULL) == -1);
	fill(CTL_IN, 1, PAGE);
	/* told() gives the buffer back, which the next message takes at once */
	assert(told(0, DEVICE_ADD, 1, "") && told(1, DEVICE_ADD, 1, "") && drv_used(&d, CTL_IN, NULL) == -1);
	/* what was not said yet and is no longer true is not said */
	tell(1, PORT_READY, 1);
	assert(told(1, PORT_NAME, 1, names[1]));
	virtio_console_open(dev, 1, false);
	tell(1, PORT_READY, 0);
	assert(told(1, PORT_OPEN, 1, "") && drv_used(&d, CTL_IN, NULL) == -1);
	virtio_console_open(dev, 1, true);
	tell(1, PORT_READY, 1);
	for (unsigned i = 0; i < 9; i++)
		virtio_console_open(dev, 1, i & 1);
	assert(told(1, PORT_NAME, 1, names[1]) && told(1, PORT_OPEN, 0, "") && drv_used(&d, CTL_IN, NULL) == -1);
	close_all();
}

/* The reader is slower than the guest: what was not taken waits in the queue, in order */
static void back_pressure(void)
{
	open_all(2, 0);
	handshake(2, 1);
	at[1].room = 3;
	guest_writes(1, "abcdef");
	assert(drv_used(&d, 5, NULL) == -1 && at[1].len == 3);
	at[1].room = SIZE_MAX;
	drv_kick(&d, 5); /* the owner has not said that there is room */
	assert(drv_used(&d, 5, NULL) == -1 && at[1].len == 3);
	at[1].room = 1;
	virtio_console_room(dev, 1);
	assert(drv_used(&d, 5, NULL) == -1 && at[1].len == 4);
	/* over several segments and requests, an empty one among them */
	assert(!mem_put(&mem, DRV_DATA + 16384, "0123456789", 10));
	drv_add(&d, 5, (struct drv_seg[]){{DRV_DATA + 16384, 4, false}, {DRV_DATA + 16388, 0, false},
		{DRV_DATA + 16388, 6, false}}, 3);
	drv_add_one(&d, 5, DRV_DATA + 16384, 0, false);
	drv_add_one(&d, 5, DRV_DATA + 16384, 2, false);
	for (unsigned i = 0; i < 7; i++) {
		at[1].room = 2;
		virtio_console_room(dev, 1);
		assert(at[1].len == 6 + 2 * i && at[1].room == 0);
	}
	assert(wrote(1, "abcdef012345678901"));
	for (unsigned i = 0; i < 4; i++)
		assert(drv_used(&d, 5, NULL) == 0);
	assert(drv_used(&d, 5, NULL) == -1 && !d.q[5].vq.broken && !at[1].laters);
	/* one port does not hold up the other */
	at[1].room = 0;
	guest_writes(1, "stuck");
	guest_writes(0, "free");
	assert(wrote(0, "free") && wrote(1, ""));
	/* stopped in the middle and begun anew: nothing of the old one is left */
	at[1].room = 2;
	virtio_console_room(dev, 1);
	drv_stop(&d);
	at[1].len = 0;
	at[1].room = SIZE_MAX;
	handshake(2, 1);
	guest_writes(1, "new one");
	assert(wrote(1, "new one"));
	close_all();
}

/* The guest is slower than the writer */
static void guest_full(void)
{
	open_all(1, 0);
	handshake(1, 1);
	drv_stop(&d);
	drv_start(&d, MULTIPORT | VIRTIO_F_EVENT_IDX, QUEUE);
	tell(0, PORT_OPEN, 1);
	at[0].rooms = 0;
	assert(virtio_console_rx(dev, 0, "abcdefgh", 8) == 0);
	fill(0, 2, 3);
	assert(at[0].rooms == 1);
	assert(virtio_console_rx(dev, 0, "abcdefgh", 8) == 6 && guest_reads(0, "abc") && guest_reads(0, "def"));
	/* one of nothing, one to read, then one that serves */
	drv_add_one(&d, 0, buffer(0, 2), 0, true);
	drv_add_one(&d, 0, buffer(0, 3), PAGE, false);
	fill(0, 1, 1);
	assert(virtio_console_rx(dev, 0, "gh", 2) == 1);
	assert(drv_used(&d, 0, NULL) == 0 && drv_used(&d, 0, NULL) == 0 && guest_reads(0, "g"));
	close_all();
}

static void reader_gone(void)
{
	open_all(2, 0);
	handshake(2, 1);
	at[1].room = 1;
	guest_writes(1, "lost");
	assert(drv_used(&d, 5, NULL) == -1);
	/* who waits for a reader that has gone is let go, and told */
	virtio_console_open(dev, 1, false);
	assert(drv_used(&d, 5, NULL) == 0 && told(1, PORT_OPEN, 0, ""));
	guest_writes(1, "lost too");
	assert(drv_used(&d, 5, NULL) == 0 && wrote(1, "l"));
	virtio_console_open(dev, 1, false);
	assert(drv_used(&d, CTL_IN, NULL) == -1);
	at[1].room = SIZE_MAX;
	virtio_console_open(dev, 1, true);
	assert(told(1, PORT_OPEN, 1, ""));
	guest_writes(1, "heard");
	assert(wrote(1, "heard"));
	/* nobody there at the handshake: no PORT_OPEN */
	virtio_console_open(dev, 0, false);
	assert(told(0, PORT_OPEN, 0, ""));
	tell(0, PORT_READY, 1);
	assert(told(0, CONSOLE_PORT, 1, "") && told(0, PORT_NAME, 1, names[0]) && drv_used(&d, CTL_IN, NULL) == -1);
	close_all();
}

/* A guest with more than a turn's worth: others get the lock in between */
static void turns(void)
{
	open_all(1, 0);
	handshake(1, 1);
	memset(mem_at(&mem, 8 * MIB, 3 * MIB), 'x', 3 * MIB);
	drv_add_one(&d, 1, 8 * MIB, 3 * MIB - 1, false);
	drv_kick(&d, 1);
	assert(at[0].len == TURN_BYTES && at[0].laters == 1 && drv_used(&d, 1, NULL) == -1);
	drv_kick(&d, 1);
	assert(at[0].len == TURN_BYTES && at[0].laters == 1);
	virtio_console_room(dev, 0);
	assert(at[0].len == 2 * TURN_BYTES && at[0].laters == 2);
	virtio_console_room(dev, 0);
	assert(at[0].len == 3 * MIB - 1 && at[0].laters == 2 && drv_used(&d, 1, NULL) == 0);
	close_all();
}

static void one_port(void)
{
	uint8_t config[12];

	open_all(3, 0);
	dev->ops->config_read(dev, 0, config, sizeof config);
	assert(!get_u32(config) && get_u32(config + 4) == 3 && !get_u32(config + 8));
	/* before there are queues, a character at a time */
	for (const char *s = "help"; *s; s++)
		dev->ops->config_write(dev, 8, &(uint32_t){(uint8_t)*s}, 4);
	dev->ops->config_write(dev, 0, "....", 4);
	dev->ops->config_write(dev, 4, "....", 4);
	dev->ops->config_write(dev, 9, ".", 1);
	assert(wrote(0, "help"));
	virtio_console_open(dev, 0, false);
	dev->ops->config_write(dev, 8, "....", 4);
	virtio_console_open(dev, 0, true);
	assert(wrote(0, ""));
	/* a driver that does not know ports */
	drv_start(&d, VIRTIO_F_VERSION_1, QUEUE);
	fill(0, 4, PAGE);
	assert(at[0].rooms && virtio_console_guest_open(dev, 0) && !virtio_console_guest_open(dev, 1));
	assert(virtio_console_rx(dev, 0, "in", 2) == 2 && guest_reads(0, "in"));
	guest_writes(0, "out");
	assert(wrote(0, "out"));
	fill(CTL_IN, 4, PAGE);
	tell(0, DEVICE_READY, 1);
	at[1].rooms = 0;
	tell(1, PORT_OPEN, 1);
	assert(drv_used(&d, CTL_IN, NULL) == -1 && !virtio_console_guest_open(dev, 1) && !at[1].rooms);
	close_all();
}

static void long_name(void)
{
	char name[200];
	const char *const n[] = {name, NULL};
	struct err e;

	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert(!mem_init(&mem, 16 * MIB, &e));
	dev = virtio_console_new(&(struct virtio_console_config){.nports = 2, .names = n, .tx = tx, .arg = &d});
	drv_init(&d, &mem, dev);
	drv_start(&d, MULTIPORT, QUEUE);
	fill(CTL_IN, QUEUE, PAGE);
	tell(0, PORT_READY, 1);
	name[VIRTIO_CONSOLE_NAME - 1] = '\0';
	assert(told(0, CONSOLE_PORT, 1, "") && told(0, PORT_NAME, 1, name) && told(0, PORT_OPEN, 1, ""));
	tell(1, PORT_READY, 1);
	assert(told(1, PORT_OPEN, 1, "")); /* no name, no message */
	/* without later() it goes on */
	at[0].len = 0;
	at[0].room = SIZE_MAX;
	drv_add_one(&d, 1, 8 * MIB, 2 * MIB, false);
	drv_kick(&d, 1);
	assert(drv_used(&d, 1, NULL) == 0 && at[0].len == 2 * MIB);
	close_all();
}

static void bad_driver(void)
{
	open_all(2, 0);
	handshake(2, 1);
	/* messages that mean nothing */
	for (unsigned event = 0; event < 12; event++) {
		if (event != DEVICE_READY)
			tell(2, event, 1);
		tell(UINT32_MAX, event ? event : 99, 1);
	}
	tell(0, DEVICE_READY, 0);
	tell(0, DEVICE_REMOVE, 1);
	tell(0, RESIZE, 1);
	/* a byte short; one to write to */
	tell(1, PORT_OPEN, 0);
	*(uint8_t *)mem_at(&mem, DRV_DATA + 6, 1) = 1;
	drv_add_one(&d, CTL_OUT, DRV_DATA, 7, false);
	drv_add_one(&d, CTL_OUT, DRV_DATA, 64, true);
	drv_kick(&d, CTL_OUT);
	assert(drv_used(&d, CTL_OUT, NULL) == 0 && drv_used(&d, CTL_OUT, NULL) == 0);
	assert(drv_used(&d, CTL_IN, NULL) == -1 && virtio_console_guest_open(dev, 0) && !virtio_console_guest_open(dev, 1));
	drv_stop(&d);
	/* buffers too small for a message: it is lost, and nothing is written behind them */
	drv_start(&d, MULTIPORT, QUEUE);
	memset(mem_at(&mem, buffer(CTL_IN, 0), PAGE), 0xee, PAGE);
	drv_add_one(&d, CTL_IN, buffer(CTL_IN, 0), 7, true);
	tell(0, DEVICE_READY, 1);
	assert(drv_used(&d, CTL_IN, NULL) == 0 && *(uint8_t *)mem_at(&mem, buffer(CTL_IN, 0) + 7, 1) == 0xee);
	fill(CTL_IN, 1, PAGE);
	assert(told(1, DEVICE_ADD, 1, ""));
	/* the request is another one, and shorter, when we come back to it */
	at[0].room = 6;
	guest_writes(0, "changing");
	drv_desc(&d, 1, 0, DRV_DATA, 2, 0, 0);
	at[0].room = SIZE_MAX;
	virtio_console_room(dev, 0);
	assert(drv_used(&d, 1, NULL) == 0 && wrote(0, "changi"));
	guest_writes(0, "next");
	assert(wrote(0, "next"));
	/* and a broken one */
	at[0].room = 2;
	guest_writes(0, "changing");
	drv_desc(&d, 1, 2, 1ull << 40, 8, 0, 0);
	at[0].room = SIZE_MAX;
	virtio_console_room(dev, 0);
	assert(d.q[1].vq.broken && wrote(0, "ch"));
	drv_kick(&d, 1);
	virtio_console_room(dev, 0);
	/* loops */
	for (unsigned q = 0; q < dev->nqueues; q++) {
		drv_desc(&d, q, 9, DRV_DATA, 8, 1 | (q & 1 ? 0 : 2), 9);
		drv_offer(&d, q, 9);
		drv_kick(&d, q);
	}
	virtio_console_open(dev, 0, false);
	assert(d.q[CTL_OUT].vq.broken && virtio_console_rx(dev, 0, "x", 1) == 0);
	close_all();
}

int main(void)
{
	both_ways();
	slow_control();
	back_pressure();
	guest_full();
	reader_gone();
	turns();
	one_port();
	long_name();
	bad_driver();
	virtio_console_free(NULL);
	puts("ok");
	return 0;
}
