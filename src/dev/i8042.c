/* SPDX-License-Identifier: MIT */
/*
 * i8042 keyboard controller with an AT keyboard, and a mouse (ps2_mouse.c) at the auxiliary port (IBM PS/2
 * technical reference; the 8042 and keyboard command sets as PC hardware has them), also port 0x92.
 *
 * Everything answers at once. Answers of the controller and bytes of the keyboard wait in small queues for
 * the one output buffer, those of the mouse in the mouse. The controller's go first; keyboard and mouse take
 * turns, so that neither waits for the other to be silent.
 *
 * There is no firmware, so the controller comes up as firmware leaves it: self-test passed, translation
 * to set 1 and keyboard interrupt on, auxiliary port off. A20 is a bit without effect: the address line is
 * always on.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"
#include "dev/ps2_mouse-int.h"

enum { DATA_PORT = 0x60, COMMAND_PORT = 0x64, PORT_A = 0x92 };
enum { STATUS_OBF = 0x01, STATUS_SYS = 0x04, STATUS_CMD = 0x08, STATUS_UNLOCKED = 0x10, STATUS_AUX = 0x20 };
enum { CTR_KBD_INT = 0x01, CTR_AUX_INT = 0x02, CTR_SYS = 0x04, CTR_KBD_OFF = 0x10, CTR_AUX_OFF = 0x20,
	CTR_XLATE = 0x40 };
enum { OUT_RESET = 0x01, OUT_A20 = 0x02, OUT_IDLE = 0xcc | OUT_RESET | OUT_A20 };
enum { KBD_ACK = 0xfa, KBD_RESEND = 0xfe, KBD_BAT_OK = 0xaa, KBD_ECHO = 0xee };
enum { QUEUE = 32 };

struct byte {
	uint8_t v, flags; /* flags: STATUS_AUX */
};

struct queue {
	struct byte b[QUEUE];
	unsigned head, n;
};

struct i8042 {
	struct irq kbd_irq, aux_irq;
	void (*reset)(void *arg);
	void *arg;
	uint8_t status, ctr, out_port, ram[32];
	uint8_t command; /* the controller command that waits for its byte, or 0 */
	uint8_t data;    /* output buffer */
	struct queue answers, keys;

	uint8_t kbd_command; /* the keyboard command that waits for its byte, or 0 */
	uint8_t set, leds, rate, last;
	bool scanning;
	bool release; /* translation: the 0xf0 prefix went by */

	struct ps2_mouse mouse;
	bool mouse_next; /* if both have something */

	void (*on_room)(void *arg);
	void (*on_leds)(void *arg, uint32_t leds);
	void *notify_arg;
};

/* Scan code set 2 to set 1, as the controller translates; codes above 0x7f but two are themselves. */
static const uint8_t set1[128] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
	0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
	0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
	0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
	0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
	0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static bool queue_put(struct queue *q, uint8_t v, uint8_t flags)
{
	if (q->n == QUEUE)
		return false;
	q->b[(q->head + q->n++) % QUEUE] = (struct byte){v, flags};
	return true;
}

static bool queue_get(struct queue *q, struct byte *b)
{
	if (!q->n)
		return false;
	*b = q->b[q->head];
	q->head = (q->head + 1) % QUEUE;
	q->n--;
	return true;
}

static void irqs_update(struct i8042 *k)
{
	bool full = k->status & STATUS_OBF, aux = k->status & STATUS_AUX;

	irq_set(&k->kbd_irq, full && !aux && k->ctr & CTR_KBD_INT);
	irq_set(&k->aux_irq, full && aux && k->ctr & CTR_AUX_INT);
}

/* False: the byte was a prefix that the translation swallows. */
static bool translate(struct i8042 *k, uint8_t *v)
{
	if (!(k->ctr & CTR_XLATE))
		return true;
	if (*v == 0xf0) {
		k->release = true;
		return false;
	}
	if (*v < 0x80)
		*v = set1[*v];
	else if (*v == 0x83)
		*v = 0x41;
	else if (*v == 0x84)
		*v = 0x54;
	if (k->release)
		*v |= 0x80;
	k->release = false;
	return true;
}

static bool kbd_get(struct i8042 *k, struct byte *b)
{
	while (!(k->ctr & CTR_KBD_OFF) && queue_get(&k->keys, b))
		if (translate(k, &b->v))
			return true;
	return false;
}

static bool mouse_get(struct i8042 *k, struct byte *b)
{
	b->flags = STATUS_AUX;
	return !(k->ctr & CTR_AUX_OFF) && ps2_mouse_read(&k->mouse, &b->v);
}

static bool device_get(struct i8042 *k, struct byte *b)
{
	bool got = k->mouse_next ? mouse_get(k, b) || kbd_get(k, b) : kbd_get(k, b) || mouse_get(k, b);

	if (got)
		k->mouse_next = !(b->flags & STATUS_AUX);
	return got;
}

/* Fills the output buffer when it is empty. */
static void refill(struct i8042 *k)
{
	struct byte b;

	if (!(k->status & STATUS_OBF) && (queue_get(&k->answers, &b) || device_get(k, &b))) {
		k->data = b.v;
		k->status = (k->status & ~STATUS_AUX) | b.flags | STATUS_OBF;
	}
	irqs_update(k);
}

/* --- keyboard --- */

static void kbd_send(struct i8042 *k, uint8_t v)
{
	k->last = v;
	queue_put(&k->keys, v, 0);
}

static void leds_set(struct i8042 *k, uint8_t leds)
{
	if (leds == k->leds)
		return;
	k->leds = leds;
	if (k->on_leds)
		k->on_leds(k->notify_arg, leds); /* its bits are those of enum input_led */
}

static void kbd_defaults(struct i8042 *k)
{
	k->set = 2;
	leds_set(k, 0);
	k->rate = 0x2b; /* 10.9 per second after half a second */
}

static void kbd_reset(struct i8042 *k)
{
	k->keys = (struct queue){0};
	k->kbd_command = 0;
	k->scanning = true;
	k->release = false;
	kbd_defaults(k);
}

static void kbd_argument(struct i8042 *k, uint8_t command, uint8_t v)
{
	switch (command) {
	case 0xed:
		leds_set(k, v & 7);
		break;
	case 0xf3:
		k->rate = v;
		break;
	case 0xf0:
		if (v > 3) {
			kbd_send(k, KBD_RESEND);
			return;
		}
		kbd_send(k, KBD_ACK);
		if (v)
			k->set = v;
		else
			kbd_send(k, k->set);
		return;
	}
	kbd_send(k, KBD_ACK);
}

static void kbd_write(struct i8042 *k, uint8_t v)
{
	uint8_t command = k->kbd_command;

	k->kbd_command = 0;
	if (command && v < 0x80) { /* a command ends the wait for an argument */
		kbd_argument(k, command, v);
		return;
	}
	switch (v) {
	case 0xed: /* LEDs, rate, scan code set, key types of set 3: an argument follows */
	case 0xf0:
	case 0xf3:
	case 0xfb:
	case 0xfc:
	case 0xfd:
		k->kbd_command = v;
		kbd_send(k, KBD_ACK);
		break;
	case 0xee:
		kbd_send(k, KBD_ECHO);
		break;
	case 0xf2:
		kbd_send(k, KBD_ACK);
		kbd_send(k, 0xab);
		kbd_send(k, 0x83);
		break;
	case 0xf4:
		k->keys = (struct queue){0};
		k->scanning = true;
		kbd_send(k, KBD_ACK);
		break;
	case 0xf5:
	case 0xf6:
		k->keys = (struct queue){0};
		kbd_defaults(k);
		k->scanning = v == 0xf6;
		kbd_send(k, KBD_ACK);
		break;
	case 0xf7: /* types of all keys in set 3 */
	case 0xf8:
	case 0xf9:
	case 0xfa:
		kbd_send(k, KBD_ACK);
		break;
	case 0xfe:
		queue_put(&k->keys, k->last, 0);
		break;
	case 0xff:
		kbd_reset(k);
		kbd_send(k, KBD_ACK);
		kbd_send(k, KBD_BAT_OK);
		break;
	default:
		kbd_send(k, KBD_RESEND);
		break;
	}
}

size_t i8042_key(struct i8042 *k, const uint8_t *p, size_t n)
{
	/* whole or not at all, with room left for answers to commands */
	if (!k->scanning || k->keys.n + n > QUEUE / 2)
		return 0;
	for (size_t i = 0; i < n; i++)
		kbd_send(k, p[i]);
	refill(k);
	return n;
}

bool i8042_mouse(struct i8042 *k, int32_t dx, int32_t dy, int32_t wheel, unsigned buttons)
{
	bool listens = ps2_mouse_move(&k->mouse, dx, dy, wheel, buttons);

	refill(k);
	return listens;
}

void i8042_notify(struct i8042 *k, void (*room)(void *arg), void (*leds)(void *arg, uint32_t leds), void *arg)
{
	k->on_room = room;
	k->on_leds = leds;
	k->notify_arg = arg;
}

static void room(struct i8042 *k)
{
	if (k->on_room)
		k->on_room(k->notify_arg);
}

/* --- controller --- */

static void answer(struct i8042 *k, uint8_t v)
{
	queue_put(&k->answers, v, 0);
}

static void out_port_write(struct i8042 *k, uint8_t v)
{
	k->out_port = v;
	if (!(v & OUT_RESET)) {
		k->out_port |= OUT_RESET; /* the reset that follows pulls it up again */
		if (k->reset)
			k->reset(k->arg);
	}
}

static void command_write(struct i8042 *k, uint8_t v)
{
	k->status |= STATUS_CMD;
	k->command = 0;
	if (v >= 0x20 && v <= 0x3f) {
		answer(k, v == 0x20 ? k->ctr : k->ram[v & 31]);
		return;
	}
	if (v >= 0x60 && v <= 0x7f) {
		k->command = v;
		return;
	}
	if (v >= 0xf0) { /* pulses the output port's low bits that are 0; the first one is the reset line */
		if (!(v & OUT_RESET) && k->reset)
			k->reset(k->arg);
		return;
	}
	switch (v) {
	case 0xa4: /* is there a password? No. */
		answer(k, 0xf1);
		break;
	case 0xa7:
		k->ctr |= CTR_AUX_OFF;
		break;
	case 0xa8:
		k->ctr &= ~CTR_AUX_OFF;
		break;
	case 0xa9: /* interface tests: lines are good */
	case 0xab:
		answer(k, 0x00);
		break;
	case 0xaa:
		k->status |= STATUS_SYS;
		answer(k, 0x55);
		break;
	case 0xad:
		k->ctr |= CTR_KBD_OFF;
		break;
	case 0xae:
		k->ctr &= ~CTR_KBD_OFF;
		break;
	case 0xc0: /* input port: keyboard not locked */
		answer(k, 0x80);
		break;
	case 0xd0:
		answer(k, k->out_port | (k->status & STATUS_OBF ? 0x10 : 0));
		break;
	case 0xd1:
	case 0xd2:
	case 0xd3:
	case 0xd4:
		k->command = v;
		break;
	case 0xdd: /* A20 off and on in one byte */
		k->out_port &= ~OUT_A20;
		break;
	case 0xdf:
		k->out_port |= OUT_A20;
		break;
	case 0xe0: /* test inputs: both clocks low */
		answer(k, 0x00);
		break;
	default:
		break;
	}
}

static void data_write(struct i8042 *k, uint8_t v)
{
	uint8_t command = k->command;

	k->status &= ~STATUS_CMD;
	k->command = 0;
	switch (command) {
	case 0:
		k->ctr &= ~CTR_KBD_OFF; /* talking to the keyboard turns it on */
		kbd_write(k, v);
		break;
	case 0x60:
		k->ctr = v;
		k->status = (k->status & ~STATUS_SYS) | (v & CTR_SYS ? STATUS_SYS : 0);
		break;
	case 0xd1:
		out_port_write(k, v);
		break;
	case 0xd2: /* as if the keyboard had sent it, not translated */
		answer(k, v);
		break;
	case 0xd3:
		queue_put(&k->answers, v, STATUS_AUX);
		break;
	case 0xd4:
		k->ctr &= ~CTR_AUX_OFF;
		ps2_mouse_write(&k->mouse, v);
		break;
	default:
		k->ram[command & 31] = v;
		break;
	}
}

static uint64_t data_port_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct i8042 *k = dev;
	uint8_t v = k->data; /* an empty buffer shows the last byte again */

	(void)cpu;
	(void)off;
	(void)len;
	if (k->status & STATUS_OBF) {
		k->status &= ~(STATUS_OBF | STATUS_AUX);
		irqs_update(k); /* down, so that the next byte is a new edge */
		refill(k);
		room(k);
	}
	return v;
}

static void data_port_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct i8042 *k = dev;

	(void)cpu;
	(void)off;
	(void)len;
	data_write(k, v & 0xff);
	refill(k);
	room(k); /* it may be that the keyboard was turned on */
}

static uint64_t command_port_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct i8042 *k = dev;

	(void)cpu;
	(void)off;
	(void)len;
	return k->status;
}

static void command_port_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct i8042 *k = dev;

	(void)cpu;
	(void)off;
	(void)len;
	command_write(k, v & 0xff);
	refill(k);
}

/* System control port A: A20 and a fast reset. */
static uint64_t port_a_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct i8042 *k = dev;

	(void)cpu;
	(void)off;
	(void)len;
	return k->out_port & OUT_A20;
}

static void port_a_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct i8042 *k = dev;

	(void)cpu;
	(void)off;
	(void)len;
	k->out_port = (k->out_port & ~OUT_A20) | (v & OUT_A20);
	if (v & 1 && k->reset)
		k->reset(k->arg);
}

static void i8042_reset(void *dev)
{
	struct i8042 *k = dev;

	k->status = STATUS_SYS | STATUS_UNLOCKED;
	k->ctr = CTR_KBD_INT | CTR_SYS | CTR_AUX_OFF | CTR_XLATE;
	k->out_port = OUT_IDLE;
	k->command = k->data = k->last = 0;
	memset(k->ram, 0, sizeof k->ram);
	k->answers = (struct queue){0};
	kbd_reset(k);
	ps2_mouse_reset(&k->mouse);
	k->mouse_next = false;
	irqs_update(k);
}

static const struct dev_ops data_ops = {"i8042", data_port_read, data_port_write, i8042_reset, 1};
static const struct dev_ops command_ops = {"i8042", command_port_read, command_port_write, i8042_reset, 1};
static const struct dev_ops port_a_ops = {"port-92", port_a_read, port_a_write, i8042_reset, 1};

struct i8042 *i8042_new(struct bus *b, struct irq kbd, struct irq aux, void (*reset)(void *arg), void *arg)
{
	struct i8042 *k = xcalloc(1, sizeof *k);

	k->kbd_irq = kbd;
	k->aux_irq = aux;
	k->reset = reset;
	k->arg = arg;
	i8042_reset(k);
	bus_place(b, BUS_PIO, DATA_PORT, 1, &data_ops, k);
	bus_place(b, BUS_PIO, COMMAND_PORT, 1, &command_ops, k);
	bus_place(b, BUS_PIO, PORT_A, 1, &port_a_ops, k);
	return k;
}

void i8042_free(struct i8042 *k)
{
	free(k);
}
