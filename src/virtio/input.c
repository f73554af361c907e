/* SPDX-License-Identifier: MIT */
/*
 * virtio-input: Virtual I/O Device 1.2, 5.8. What a device can do stands in its configuration, where the driver asks for one
 * bitmap after the other by select and subsel. Then evdev's events flow: to the driver in buffers that it gave (queue 0),
 * LEDs back (queue 1).
 *
 * The tablet has buttons and absolute axes but no BTN_TOUCH and no tool: that is what Linux (udev's input_id, libinput) takes
 * for a mouse that points absolutely, as the screens of virtual machines do.
 */
#include <assert.h>
#include <linux/input-event-codes.h>
#include <stdlib.h>

#include "base/util.h"
#include "display/input.h"
#include "display/keys.h"
#include "virtio/input.h"
#include "virtio/virtq.h"

enum { Q_EVENT, Q_STATUS, NQUEUES, QUEUE_SIZE = 64, ROUNDS = 2, REPORT = VIRTIO_INPUT_EVENTS + 1 };
enum { CFG_NAME = 1, CFG_SERIAL, CFG_DEVIDS, CFG_PROPS = 0x10, CFG_EV = 0x11, CFG_ABS = 0x12 };
enum { CFG_DATA = 8, CFG_LEN = CFG_DATA + 128, BUS_VIRTUAL = 6, VENDOR = 0x1af4, VERSION = 1 };

struct event { /* as on the ring */
	uint16_t type, code;
	uint32_t value;
};

struct input_dev {
	struct virtio_dev dev; /* first */
	enum virtio_input_kind kind;
	uint8_t select, subsel;
	uint32_t led_bits;
	void (*leds)(void *arg, uint32_t leds);
	void *leds_arg;
	void (*changed)(void *arg);
	void *changed_arg;
	struct virtq *vq[NQUEUES]; /* NULL: stopped */
	struct iovec iov[REPORT][QUEUE_SIZE + MEM_REGIONS];
};

static struct input_dev *input_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct input_dev, dev);
}

/* ---- configuration ---- */

static unsigned put_text(uint8_t *p, const char *s)
{
	unsigned n = (unsigned)strlen(s);

	memcpy(p, s, n);
	return n;
}

static void set(uint8_t *p, unsigned bit, unsigned *size)
{
	p[bit / 8] |= (uint8_t)(1u << bit % 8);
	if (*size < bit / 8 + 1)
		*size = bit / 8 + 1;
}

/* The codes of a type that the device has */
static unsigned put_bits(uint8_t *p, enum virtio_input_kind kind, unsigned type)
{
	unsigned size = 0;

	switch (type) {
	case EV_KEY:
		for (unsigned key = 1; kind == VIRTIO_INPUT_KEYBOARD && key < 256; key++)
			if (key_name((uint16_t)key))
				set(p, key, &size);
		for (unsigned b = BTN_LEFT; kind != VIRTIO_INPUT_KEYBOARD && b <= BTN_EXTRA; b++)
			set(p, b, &size);
		break;
	case EV_REL:
		if (kind == VIRTIO_INPUT_MOUSE) {
			set(p, REL_X, &size);
			set(p, REL_Y, &size);
		}
		if (kind != VIRTIO_INPUT_KEYBOARD) {
			set(p, REL_WHEEL, &size);
			set(p, REL_HWHEEL, &size);
		}
		break;
	case EV_ABS:
		if (kind == VIRTIO_INPUT_TABLET) {
			set(p, ABS_X, &size);
			set(p, ABS_Y, &size);
		}
		break;
	case EV_LED:
		for (unsigned l = LED_NUML; kind == VIRTIO_INPUT_KEYBOARD && l <= LED_SCROLLL; l++)
			set(p, l, &size);
		break;
	case EV_REP: /* the guest repeats keys that are down */
		if (kind == VIRTIO_INPUT_KEYBOARD) {
			set(p, REP_DELAY, &size);
			set(p, REP_PERIOD, &size);
		}
		break;
	}
	return size;
}

/* What select and subsel ask for; its bytes, 0: there is no such thing */
static unsigned put_config(const struct input_dev *in, uint8_t *p)
{
	static const char *const names[] = {"husk keyboard", "husk tablet", "husk mouse"};
	static const char *const serials[] = {"husk-keyboard", "husk-tablet", "husk-mouse"};

	switch (in->select) {
	case CFG_NAME:
		return in->subsel ? 0 : put_text(p, names[in->kind]);
	case CFG_SERIAL:
		return in->subsel ? 0 : put_text(p, serials[in->kind]);
	case CFG_DEVIDS:
		if (in->subsel)
			return 0;
		put_u16(p, BUS_VIRTUAL);
		put_u16(p + 2, VENDOR);
		put_u16(p + 4, (uint16_t)(in->kind + 1));
		put_u16(p + 6, VERSION);
		return 8;
	case CFG_EV:
		return put_bits(p, in->kind, in->subsel);
	case CFG_ABS:
		if (in->kind != VIRTIO_INPUT_TABLET || in->subsel > ABS_Y)
			return 0;
		put_u32(p + 4, INPUT_POINT_MAX); /* least, most, fuzz, flat, resolution */
		return 20;
	default: /* no properties */
		return 0;
	}
}

static void input_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	const struct input_dev *in = input_of(d);
	uint8_t c[CFG_LEN] = {in->select, in->subsel};

	c[2] = (uint8_t)put_config(in, c + CFG_DATA);
	memcpy(buf, c + off, len);
}

static void input_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct input_dev *in = input_of(d);
	const uint8_t *p = buf;

	if (off == 0)
		in->select = p[0];
	if (off <= 1 && off + len > 1)
		in->subsel = p[1 - off];
}

/* ---- events ---- */

bool virtio_input_send(struct virtio_dev *d, const struct virtio_input_event *ev, unsigned n)
{
	struct input_dev *in = input_of(d);
	struct virtq *vq = in->vq[Q_EVENT];
	struct virtq_req r[REPORT];
	uint32_t written[REPORT];
	bool small = false;
	unsigned got;

	assert(n < REPORT);
	if (!vq)
		return false;
	for (got = 0; got <= n && !small; got++) {
		r[got] = (struct virtq_req){.iov = in->iov[got], .iov_max = ARRAY_LEN(in->iov[got])};
		if (virtq_pop(vq, &r[got]) <= 0)
			break;
		small = r[got].in_len < sizeof(struct event);
	}
	if (got <= n || small) {
		while (got--)
			virtq_unpop(vq, &r[got]);
		if (small)
			virtq_break(vq, "a buffer too short for an event");
		return false;
	}
	for (unsigned i = 0; i <= n; i++) {
		struct event e = {EV_SYN, SYN_REPORT, 0};

		if (i < n)
			e = (struct event){ev[i].type, ev[i].code, ev[i].value};
		written[i] = (uint32_t)virtq_put(&r[i], 0, &e, sizeof e);
	}
	virtq_done_all(r, written, n + 1);
	virtq_notify(vq);
	return true;
}

bool virtio_input_ready(const struct virtio_dev *d)
{
	return ((const struct input_dev *)(const void *)d)->vq[Q_EVENT];
}

static void changed(struct input_dev *in)
{
	if (in->changed)
		in->changed(in->changed_arg);
}

static void leds_set(struct input_dev *in, uint32_t leds)
{
	if (in->kind != VIRTIO_INPUT_KEYBOARD || leds == in->led_bits)
		return;
	in->led_bits = leds;
	if (in->leds)
		in->leds(in->leds_arg, leds);
}

static void status(struct input_dev *in, struct virtq *vq)
{
	static const uint32_t bits[] = {[LED_NUML] = INPUT_LED_NUM, [LED_CAPSL] = INPUT_LED_CAPS,
		[LED_SCROLLL] = INPUT_LED_SCROLL};
	struct virtq_req r = {.iov = in->iov[0], .iov_max = ARRAY_LEN(in->iov[0])};
	uint32_t leds = in->led_bits;

	for (unsigned i = 0; i < ROUNDS * QUEUE_SIZE && virtq_pop(vq, &r) > 0; i++) {
		struct event e;

		if (virtq_get(&r, 0, &e, sizeof e) == sizeof e && e.type == EV_LED && e.code < ARRAY_LEN(bits))
			leds = e.value ? leds | bits[e.code] : leds & ~bits[e.code];
		virtq_done(&r, 0);
	}
	virtq_notify(vq);
	leds_set(in, leds);
}

static void input_kick(struct virtio_dev *d, unsigned q)
{
	struct input_dev *in = input_of(d);

	if (!in->vq[q])
		return;
	if (q == Q_EVENT)
		changed(in);
	else
		status(in, in->vq[q]);
}

/* ---- device ---- */

static int input_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	input_of(d)->vq[q] = vq; /* and then there is a kick, which tells */
	return 0;
}

static void input_stop(struct virtio_dev *d, unsigned q)
{
	struct input_dev *in = input_of(d);

	in->vq[q] = NULL;
	if (q == Q_EVENT)
		changed(in);
}

static void input_reset(struct virtio_dev *d)
{
	struct input_dev *in = input_of(d);

	in->select = in->subsel = 0;
	leds_set(in, 0);
}

static const struct virtio_ops input_ops = {
	.name = "input",
	.id = VIRTIO_ID_INPUT,
	.config_read = input_config_read,
	.config_write = input_config_write,
	.start = input_start,
	.stop = input_stop,
	.kick = input_kick,
	.reset = input_reset,
};

struct virtio_dev *virtio_input_new(enum virtio_input_kind kind, void (*leds)(void *arg, uint32_t leds), void *arg)
{
	struct input_dev *in = xcalloc(1, sizeof *in);

	in->dev = (struct virtio_dev){.ops = &input_ops, .nqueues = NQUEUES, .queue_size = QUEUE_SIZE, .config_len = CFG_LEN};
	in->kind = kind;
	in->leds = leds;
	in->leds_arg = arg;
	return &in->dev;
}

void virtio_input_free(struct virtio_dev *d)
{
	if (d)
		free(input_of(d));
}

void virtio_input_notify(struct virtio_dev *d, void (*fn)(void *arg), void *arg)
{
	struct input_dev *in = input_of(d);

	in->changed = fn;
	in->changed_arg = arg;
}
