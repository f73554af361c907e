/* SPDX-License-Identifier: MIT */
/* Input devices under a driver that asks as Linux' does, and a bad one. */
#undef NDEBUG
#include <assert.h>
#include <linux/input-event-codes.h>
#include <string.h>

#include "../virtio_devices/driver.h"
#include "base/util.h"
#include "display/input.h"
#include "display/keys.h"
#include "virtio/input.h"

enum { BUFFERS = DRV_DATA, STATUS = DRV_DATA + 0x10000, EVENT = 8 };

static struct mem mem;
static struct drv d;
static uint32_t leds;
static unsigned nleds, changes;
static bool ready_then;

static void on_leds(void *arg, uint32_t v)
{
	assert(arg == &leds);
	leds = v;
	nleds++;
}

static void on_change(void *arg)
{
	assert(arg == &changes);
	changes++;
	ready_then = virtio_input_ready(d.dev);
}

static void begin(enum virtio_input_kind kind)
{
	drv_init(&d, &mem, virtio_input_new(kind, on_leds, &leds));
	leds = nleds = changes = 0;
	virtio_input_notify(d.dev, on_change, &changes);
	assert(d.dev->ops->id == VIRTIO_ID_INPUT && d.dev->nqueues == 2 && !virtio_input_ready(d.dev));
}

static void end(void)
{
	drv_stop(&d);
	virtio_input_free(d.dev);
}

/* ---- configuration ---- */

static uint8_t config[136];

/* Its size; data in config + 8 */
static unsigned ask(unsigned select, unsigned subsel)
{
	uint8_t b[2] = {(uint8_t)select, (uint8_t)subsel};

	d.dev->ops->config_write(d.dev, 0, &b[0], 1);
	d.dev->ops->config_write(d.dev, 1, &b[1], 1);
	memset(config, 0xff, sizeof config);
	d.dev->ops->config_read(d.dev, 0, config, sizeof config);
	assert(config[0] == select && config[1] == subsel && config[2] <= 128 && !config[3] && !get_u32(config + 4));
	for (unsigned i = config[2]; i < 128; i++)
		assert(!config[8 + i]);
	return config[2];
}

static unsigned bits(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 1024; i++)
		n += config[8 + i / 8] >> i % 8 & 1;
	return n;
}

static bool bit(unsigned i)
{
	return config[8 + i / 8] >> i % 8 & 1;
}

static bool is_named(const char *name, const char *serial, unsigned product)
{
	static const uint8_t wrong[8];
	bool ok = ask(1, 0) == strlen(name) && !memcmp(config + 8, name, strlen(name));

	ok &= ask(2, 0) == strlen(serial) && !memcmp(config + 8, serial, strlen(serial));
	ok &= ask(3, 0) == 8 && get_u16(config + 8) == 6 && get_u16(config + 12) == product;
	ok &= !ask(1, 1) && !ask(2, 9) && !ask(3, 1) && !ask(0, 0) && !ask(4, 0) && !ask(0xff, 0xff);
	return ok && !memcmp(config + 8, wrong, 8);
}

static void configs(void)
{
	unsigned n = 0;
	uint8_t b[4];

	begin(VIRTIO_INPUT_KEYBOARD);
	assert(d.dev->config_len == sizeof config && is_named("husk keyboard", "husk-keyboard", 1));
	for (unsigned key = 0; key < 256; key++)
		n += key_name((uint16_t)key) != NULL;
	assert(ask(0x11, EV_KEY) && ask(0x11, EV_KEY) <= 32 && bits() == n && bit(KEY_A) && bit(KEY_LEFTMETA) && !bit(0));
	assert(ask(0x11, EV_LED) == 1 && config[8] == 7 && ask(0x11, EV_REP) == 1 && config[8] == 3);
	assert(!ask(0x11, EV_REL) && !ask(0x11, EV_ABS) && !ask(0x12, ABS_X) && !ask(0x10, 0));
	/* any piece of it; a write beyond select and subsel changes nothing */
	ask(1, 0);
	d.dev->ops->config_read(d.dev, 2, b, 1);
	assert(b[0] == 13);
	d.dev->ops->config_read(d.dev, 8, b, 4);
	assert(!memcmp(b, "husk", 4));
	d.dev->ops->config_read(d.dev, 135, b, 1);
	assert(!b[0]);
	d.dev->ops->config_write(d.dev, 2, "\xff\xff\xff\xff", 4);
	d.dev->ops->config_write(d.dev, 135, "\xff", 1);
	assert(ask(1, 0) == 13);
	d.dev->ops->config_write(d.dev, 0, "\x11\x11\xff\xff", 4);
	d.dev->ops->config_read(d.dev, 0, b, 4);
	assert(b[0] == 0x11 && b[1] == EV_LED && b[2] == 1 && !b[3]);
	end();

	begin(VIRTIO_INPUT_TABLET);
	assert(is_named("husk tablet", "husk-tablet", 2));
	assert(ask(0x11, EV_ABS) == 1 && config[8] == 3 && ask(0x11, EV_REL) && bits() == 2 && bit(REL_WHEEL) && bit(REL_HWHEEL));
	assert(ask(0x11, EV_KEY) && bits() == 5 && bit(BTN_LEFT) && bit(BTN_EXTRA) && !bit(BTN_TOUCH));
	for (unsigned axis = ABS_X; axis <= ABS_Y; axis++)
		assert(ask(0x12, axis) == 20 && !get_u32(config + 8) && get_u32(config + 12) == 32767 && !get_u32(config + 16));
	assert(!ask(0x12, 2) && !ask(0x11, EV_LED) && !ask(0x11, EV_REP) && !ask(0x10, 0));
	end();

	begin(VIRTIO_INPUT_MOUSE);
	assert(is_named("husk mouse", "husk-mouse", 3));
	assert(ask(0x11, EV_REL) && bits() == 4 && bit(REL_X) && bit(REL_Y) && ask(0x11, EV_KEY) && bits() == 5);
	assert(!ask(0x11, EV_ABS) && !ask(0x12, ABS_X));
	end();
}

/* ---- events ---- */

static void give(unsigned n, uint32_t len)
{
	for (unsigned i = 0; i < n; i++)
		drv_add_one(&d, 0, BUFFERS + EVENT * d.q[0].next_desc, len, true);
}

static bool got(uint16_t type, uint16_t code, uint32_t value)
{
	uint16_t head;
	uint8_t b[EVENT];

	if (drv_used(&d, 0, &head) != EVENT)
		return false;
	assert(!mem_get(&mem, BUFFERS + EVENT * head, b, sizeof b));
	return get_u16(b) == type && get_u16(b + 2) == code && get_u32(b + 4) == value;
}

static bool nothing(void)
{
	return drv_used(&d, 0, NULL) == -1;
}

static bool key(uint16_t code, uint32_t v)
{
	return virtio_input_send(d.dev, &(struct virtio_input_event){EV_KEY, code, v}, 1);
}

static void events(void)
{
	static const struct virtio_input_event many[VIRTIO_INPUT_EVENTS] = {{EV_ABS, ABS_X, 7}, {EV_ABS, ABS_Y, 32767}};
	unsigned n;

	begin(VIRTIO_INPUT_KEYBOARD);
	assert(!key(KEY_A, 1));
	drv_start(&d, VIRTIO_F_VERSION_1, 64);
	assert(virtio_input_ready(d.dev) && changes && ready_then);
	assert(!key(KEY_A, 1) && nothing()); /* no buffers yet */
	/* one is too few for the key and the end of its report: none is used */
	n = changes;
	give(1, EVENT);
	drv_kick(&d, 0);
	assert(changes == n + 1 && !key(KEY_A, 1) && nothing() && !d.q[0].calls);
	give(1, EVENT);
	assert(key(KEY_A, 1) && d.q[0].calls == 1);
	assert(got(EV_KEY, KEY_A, 1) && got(EV_SYN, SYN_REPORT, 0) && nothing() && !key(KEY_A, 0));
	/* longest report, in buffers that are longer than needed */
	give(VIRTIO_INPUT_EVENTS, EVENT + 8);
	assert(!virtio_input_send(d.dev, many, VIRTIO_INPUT_EVENTS) && nothing());
	give(1, EVENT);
	assert(virtio_input_send(d.dev, many, VIRTIO_INPUT_EVENTS));
	assert(got(EV_ABS, ABS_X, 7) && got(EV_ABS, ABS_Y, 32767));
	for (unsigned i = 2; i < VIRTIO_INPUT_EVENTS; i++)
		assert(got(0, 0, 0));
	assert(got(EV_SYN, SYN_REPORT, 0) && nothing());
	/* many, and what did not go goes later, in order */
	for (unsigned i = 0; i < 1000; i++) {
		give(2, EVENT);
		assert(key((uint16_t)(1 + i % 100), i & 1) && !key(1, 1) && got(EV_KEY, (uint16_t)(1 + i % 100), i & 1));
		assert(got(EV_SYN, SYN_REPORT, 0) && nothing());
	}
	/* too short for an event: the queue is over, nothing was written */
	give(1, EVENT);
	give(1, EVENT - 1);
	assert(!key(KEY_A, 1) && nothing() && d.q[0].vq.broken && !key(KEY_A, 1));
	n = changes;
	drv_stop(&d);
	assert(!virtio_input_ready(d.dev) && changes == n + 1 && !ready_then && !key(KEY_A, 1));
	drv_start(&d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, 4);
	give(4, EVENT);
	assert(key(KEY_B, 1) && key(KEY_B, 0) && !key(KEY_C, 1) && got(EV_KEY, KEY_B, 1));
	end();
	virtio_input_free(NULL);
}

static void led(uint16_t type, uint16_t code, uint32_t value, uint32_t len)
{
	uint8_t b[EVENT];

	put_u16(b, type);
	put_u16(b + 2, code);
	put_u32(b + 4, value);
	assert(!mem_put(&mem, STATUS + EVENT * d.q[1].next_desc, b, sizeof b));
	drv_add_one(&d, 1, STATUS + EVENT * d.q[1].next_desc, len, false);
}

static void status(void)
{
	begin(VIRTIO_INPUT_KEYBOARD);
	drv_start(&d, VIRTIO_F_VERSION_1, 16);
	led(EV_LED, LED_NUML, 1, EVENT);
	drv_kick(&d, 1);
	assert(leds == INPUT_LED_NUM && nleds == 1 && drv_used(&d, 1, NULL) == 0);
	led(EV_LED, LED_CAPSL, 1, EVENT);
	led(EV_LED, LED_SCROLLL, 1, EVENT);
	led(EV_LED, LED_NUML, 0, EVENT);
	led(EV_SYN, 0, 0, EVENT);
	drv_kick(&d, 1);
	assert(leds == (INPUT_LED_CAPS | INPUT_LED_SCROLL) && nleds == 2);
	for (unsigned i = 0; i < 4; i++)
		assert(drv_used(&d, 1, NULL) == 0);
	/* the same again, others, too short */
	led(EV_LED, LED_CAPSL, 7, EVENT);
	led(EV_LED, 3, 1, EVENT);
	led(EV_LED, 0xffff, 1, EVENT);
	led(EV_KEY, LED_NUML, 1, EVENT);
	led(EV_LED, LED_NUML, 1, EVENT - 1);
	drv_kick(&d, 1);
	assert(nleds == 2 && leds == (INPUT_LED_CAPS | INPUT_LED_SCROLL));
	for (unsigned i = 0; i < 5; i++)
		assert(drv_used(&d, 1, NULL) == 0);
	/* a new driver finds them off */
	drv_stop(&d);
	assert(!leds && nleds == 3);
	virtio_input_notify(d.dev, NULL, NULL);
	end();

	begin(VIRTIO_INPUT_MOUSE); /* has none */
	drv_start(&d, VIRTIO_F_VERSION_1, 16);
	led(EV_LED, LED_NUML, 1, EVENT);
	drv_kick(&d, 1);
	assert(!nleds && drv_used(&d, 1, NULL) == 0);
	end();
}

int main(void)
{
	assert(!mem_init(&mem, 4 * MIB, NULL));
	configs();
	events();
	status();
	mem_fini(&mem);
	return 0;
}
