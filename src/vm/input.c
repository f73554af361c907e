/* SPDX-License-Identifier: MIT */
/*
 * Events wait in two lanes, keys and pointer, so that a device that takes nothing holds up its own kind only. A lane is
 * bounded. What goes down is accepted only while there is room for its going up, too, and that of all that is down
 * (waiting + down <= LANE); so ups are never lost, whatever the guest does, and a key of which the down was lost has
 * no up. Which device an event goes to is decided when it leaves the lane.
 *
 * Three books are kept: what the viewer holds (as of the last event accepted), and what each keyboard and each pointer was
 * told is down. An up goes to the device that got the down, even if newer events go elsewhere.
 */
#include "vm/input.h"

#include <inttypes.h>
#include <linux/input-event-codes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "display/keys.h"

enum { LANE = 256, KEYS = 256, WHEEL_MAX = 100 };
enum keyboard { KBD_VIRTIO, KBD_PS2, KBDS };
enum pointer { PTR_TABLET, PTR_MOUSE, PTR_PS2, PTRS };

struct lane {
	struct input_event ev[LANE];
	unsigned head, n;
	unsigned down; /* how many are down behind its last event */
};

struct input {
	struct input_config c;
	bool busy;
	struct lane keys, pointer;
	bool down[KEYS];            /* the viewer's */
	bool key_told[KBDS][KEYS];
	bool owed[KEYS];            /* ups that the i8042's keyboard gets when it has room */
	unsigned buttons;           /* the viewer's; bit: code - BTN_LEFT, as i8042_mouse() has them */
	unsigned told[PTRS];
	enum pointer last;          /* that moved: gets buttons and wheel */
	int32_t x, y;               /* the last absolute place */
	bool placed;
	uint32_t leds[KBDS];
	uint32_t leds_shown;
	enum input_pointer pointer_shown;
	uint64_t nkeys, npointer, lost;
};

/* ---- lanes ---- */

static struct input_event *lane_tail(struct lane *l)
{
	return l->n ? &l->ev[(l->head + l->n - 1) % LANE] : NULL;
}

/* more: how many more are down afterwards, 1, 0 or -1 */
static bool lane_put(struct lane *l, const struct input_event *ev, int more)
{
	if ((int)(l->n + 1 + l->down) + more > LANE)
		return false;
	l->ev[(l->head + l->n++) % LANE] = *ev;
	l->down = (unsigned)((int)l->down + more);
	return true;
}

static void lane_drain(struct input *in, struct lane *l, bool (*deliver)(struct input *in, const struct input_event *ev))
{
	while (l->n && deliver(in, &l->ev[l->head])) {
		l->head = (l->head + 1) % LANE;
		l->n--;
	}
}

/* ---- keys ---- */

static bool ready(const struct virtio_dev *d)
{
	return d && virtio_input_ready(d);
}

static enum keyboard keyboard(const struct input *in)
{
	return ready(in->c.keyboard) ? KBD_VIRTIO : KBD_PS2;
}

/* False: no room. Value: as in struct input_event */
static bool key_send(struct input *in, enum keyboard kbd, uint16_t key, int32_t value)
{
	uint8_t bytes[8];
	unsigned n;

	if (value != 1 && !in->key_told[kbd][key])
		return true; /* went down elsewhere */
	if (kbd == KBD_VIRTIO) { /* the guest repeats by itself */
		if (value != 2 &&
			!virtio_input_send(in->c.keyboard, &(struct virtio_input_event){EV_KEY, key, (uint32_t)value}, 1))
			return false;
	} else if (in->c.i8042) {
		n = key_to_set2(key, value, bytes);
		if (n && i8042_key(in->c.i8042, bytes, n) != n)
			return false;
	}
	in->key_told[kbd][key] = value;
	return true;
}

static bool key_deliver(struct input *in, const struct input_event *ev)
{
	return key_send(in, keyboard(in), ev->code, ev->a);
}

/* What is down on the i8042's keyboard when keys begin to go elsewhere. False: no room for all of it yet */
static bool owed_send(struct input *in)
{
	uint8_t bytes[8];

	for (uint16_t key = 0; key < KEYS && memchr(in->owed, true, KEYS); key++) {
		unsigned n = in->owed[key] ? key_to_set2(key, false, bytes) : 0;

		if (n && i8042_key(in->c.i8042, bytes, n) != n)
			return false;
		in->owed[key] = false;
	}
	return true;
}

static void keys_drain(struct input *in)
{
	enum keyboard kbd = keyboard(in);
	bool *told = in->key_told[!kbd];

	for (unsigned key = 0; key < KEYS; key++) {
		/* virtio's driver is gone with all that it knew */
		in->owed[key] |= kbd == KBD_VIRTIO && told[key] && in->c.i8042;
		told[key] = false;
	}
	if (owed_send(in) || kbd != KBD_PS2)
		lane_drain(in, &in->keys, key_deliver);
}

static void key_event(struct input *in, const struct input_event *ev)
{
	struct input_event e = *ev;

	if (e.code >= KEYS || !key_name(e.code) || e.a < 0 || e.a > 2)
		return;
	in->nkeys++;
	if (e.a == 1 && in->down[e.code])
		e.a = 2;
	if (e.a != 1 && !in->down[e.code])
		return;
	if (e.a == 2) { /* worth something only if the guest keeps up */
		if (!in->keys.n)
			lane_put(&in->keys, &e, 0);
		return;
	}
	if (lane_put(&in->keys, &e, e.a ? 1 : -1))
		in->down[e.code] = e.a;
	else
		in->lost++;
}

/* ---- pointer ---- */

static struct virtio_dev *virtio_pointer(const struct input *in, enum pointer p)
{
	return p == PTR_TABLET ? in->c.tablet : p == PTR_MOUSE ? in->c.mouse : NULL;
}

/* The i8042 says only when asked to move whether somebody listens. */
static bool pointer_ready(const struct input *in, enum pointer p)
{
	return p == PTR_PS2 ? in->c.i8042 != NULL : ready(virtio_pointer(in, p));
}

static bool ps2_send(struct input *in, int32_t dx, int32_t dy, int32_t wheel)
{
	return in->c.i8042 && i8042_mouse(in->c.i8042, dx, dy, wheel, in->told[PTR_PS2]);
}

/* One or two events of a kind, those that are 0 left out unless all must be there. False: no room */
static bool two_send(struct input *in, enum pointer p, uint16_t type, const uint16_t code[2], const int32_t v[2])
{
	struct virtio_input_event ev[2];
	unsigned n = 0;

	for (unsigned i = 0; i < 2; i++)
		if (v[i] || type == EV_ABS)
			ev[n++] = (struct virtio_input_event){type, code[i], (uint32_t)v[i]};
	return !n || virtio_input_send(virtio_pointer(in, p), ev, n);
}

static bool point_send(struct input *in, int32_t x, int32_t y)
{
	if (!two_send(in, PTR_TABLET, EV_ABS, (uint16_t[]){ABS_X, ABS_Y}, (int32_t[]){x, y}))
		return false;
	in->x = x;
	in->y = y;
	in->placed = true;
	in->last = PTR_TABLET;
	return true;
}

static int32_t clamp(int64_t v, int32_t least, int32_t most)
{
	return v < least ? least : v > most ? most : (int32_t)v;
}

static bool move_deliver(struct input *in, int32_t dx, int32_t dy)
{
	if (ready(in->c.mouse)) {
		if (!two_send(in, PTR_MOUSE, EV_REL, (uint16_t[]){REL_X, REL_Y}, (int32_t[]){dx, dy}))
			return false;
		in->last = PTR_MOUSE;
	} else if (ps2_send(in, dx, dy, 0)) {
		in->last = PTR_PS2;
	} else if (ready(in->c.tablet)) {
		if (!in->placed)
			in->x = in->y = INPUT_POINT_MAX / 2;
		return point_send(in, clamp(in->x + (int64_t)dx * INPUT_POINT_MAX / in->c.w, 0, INPUT_POINT_MAX),
			clamp(in->y + (int64_t)dy * INPUT_POINT_MAX / in->c.h, 0, INPUT_POINT_MAX));
	}
	return true;
}

static int32_t pixel(int32_t place, uint32_t size)
{
	return (int32_t)(((int64_t)place * (size - 1) + INPUT_POINT_MAX / 2) / INPUT_POINT_MAX);
}

static bool point_deliver(struct input *in, int32_t x, int32_t y)
{
	if (ready(in->c.tablet))
		return point_send(in, x, y);
	if (in->placed && !move_deliver(in, pixel(x, in->c.w) - pixel(in->x, in->c.w),
				  pixel(y, in->c.h) - pixel(in->y, in->c.h)))
		return false;
	in->x = x;
	in->y = y;
	in->placed = true;
	return true;
}

static enum pointer current(const struct input *in)
{
	if (pointer_ready(in, in->last))
		return in->last;
	for (unsigned p = 0; p < PTR_PS2; p++)
		if (pointer_ready(in, p))
			return p;
	return PTR_PS2;
}

static bool wheel_deliver(struct input *in, int32_t right, int32_t up)
{
	enum pointer p = current(in);

	if (p != PTR_PS2)
		return two_send(in, p, EV_REL, (uint16_t[]){REL_HWHEEL, REL_WHEEL}, (int32_t[]){right, up});
	ps2_send(in, 0, 0, up); /* which has one wheel */
	return true;
}

/* Down or up, to one device */
static bool button_send(struct input *in, enum pointer p, uint16_t code, bool down)
{
	unsigned bit = 1u << (code - BTN_LEFT);

	if (p != PTR_PS2 && !virtio_input_send(virtio_pointer(in, p), &(struct virtio_input_event){EV_KEY, code, down}, 1))
		return false;
	in->told[p] = down ? in->told[p] | bit : in->told[p] & ~bit;
	if (p == PTR_PS2)
		ps2_send(in, 0, 0, 0);
	return true;
}

static bool button_deliver(struct input *in, uint16_t code, bool down)
{
	bool all = true;

	if (down)
		return button_send(in, current(in), code, true);
	for (unsigned p = 0; p < PTRS; p++)
		if (in->told[p] & 1u << (code - BTN_LEFT))
			all &= button_send(in, p, code, false);
	return all;
}

static bool pointer_deliver(struct input *in, const struct input_event *ev)
{
	switch (ev->type) {
	case INPUT_MOVE:
		return move_deliver(in, ev->a, ev->b);
	case INPUT_POINT:
		return point_deliver(in, ev->a, ev->b);
	case INPUT_WHEEL:
		return wheel_deliver(in, ev->a, ev->b);
	default:
		return button_deliver(in, ev->code, ev->a);
	}
}

static void pointer_drain(struct input *in)
{
	for (unsigned p = 0; p < PTRS; p++)
		if (!pointer_ready(in, p))
			in->told[p] = 0;
	lane_drain(in, &in->pointer, pointer_deliver);
}

static void pointer_event(struct input *in, const struct input_event *ev)
{
	const bool point = ev->type == INPUT_POINT;
	const int32_t most = ev->type == INPUT_WHEEL ? WHEEL_MAX : INPUT_POINT_MAX, least = point ? 0 : -most;
	struct input_event e = {ev->type, 0, clamp(ev->a, least, most), clamp(ev->b, least, most)};
	struct input_event *tail = lane_tail(&in->pointer);

	in->npointer++;
	if (tail && tail->type == e.type) { /* what waits becomes one */
		tail->a = point ? e.a : clamp((int64_t)tail->a + e.a, least, most);
		tail->b = point ? e.b : clamp((int64_t)tail->b + e.b, least, most);
	} else if (!lane_put(&in->pointer, &e, 0)) {
		in->lost++;
	}
}

static void button_event(struct input *in, const struct input_event *ev)
{
	const struct input_event e = {INPUT_BUTTON, ev->code, ev->a, 0};
	unsigned bit;

	if (e.code < BTN_LEFT || e.code > BTN_EXTRA || e.a < 0 || e.a > 1)
		return;
	bit = 1u << (e.code - BTN_LEFT);
	if (!(in->buttons & bit) == !e.a)
		return;
	in->npointer++;
	if (lane_put(&in->pointer, &e, e.a ? 1 : -1))
		in->buttons ^= bit;
	else
		in->lost++;
}

/* ---- all ---- */

static void release(struct input *in)
{
	for (uint16_t key = 0; key < KEYS; key++)
		if (in->down[key])
			key_event(in, &(struct input_event){INPUT_KEY, key, 0, 0});
	for (uint16_t b = BTN_LEFT; b <= BTN_EXTRA; b++)
		button_event(in, &(struct input_event){INPUT_BUTTON, b, 0, 0});
}

static void state(struct input *in)
{
	enum input_pointer pointer = ready(in->c.tablet) ? INPUT_ABSOLUTE : INPUT_RELATIVE;
	uint32_t leds = in->leds[keyboard(in)];

	if (leds == in->leds_shown && pointer == in->pointer_shown)
		return;
	in->leds_shown = leds;
	in->pointer_shown = pointer;
	if (in->c.state)
		in->c.state(in->c.arg, leds, pointer);
}

void input_update(struct input *in)
{
	if (in->busy) /* a device that was just given something */
		return;
	in->busy = true;
	keys_drain(in);
	pointer_drain(in);
	in->busy = false;
	state(in);
}

void input_events(struct input *in, const struct input_event *ev, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		switch (ev[i].type) {
		case INPUT_KEY:
			key_event(in, &ev[i]);
			break;
		case INPUT_BUTTON:
			button_event(in, &ev[i]);
			break;
		case INPUT_MOVE:
		case INPUT_POINT:
		case INPUT_WHEEL:
			pointer_event(in, &ev[i]);
			break;
		case INPUT_RELEASE:
			release(in);
			break;
		}
		input_update(in); /* what can go at once is not made one with what follows */
	}
}

void input_leds(struct input *in, bool virtio, uint32_t leds)
{
	in->leds[virtio ? KBD_VIRTIO : KBD_PS2] = leds;
	state(in);
}

void input_reset(struct input *in)
{
	in->keys = in->pointer = (struct lane){.n = 0};
	memset(in->down, 0, sizeof in->down);
	memset(in->key_told, 0, sizeof in->key_told);
	memset(in->owed, 0, sizeof in->owed);
	memset(in->told, 0, sizeof in->told);
	memset(in->leds, 0, sizeof in->leds);
	in->buttons = 0;
	in->placed = false;
	in->last = PTR_TABLET;
	state(in);
}

static void on_change(void *arg)
{
	input_update(arg);
}

static void on_ps2_leds(void *arg, uint32_t leds)
{
	input_leds(arg, false, leds);
}

static void notify(struct input *in, bool on)
{
	struct virtio_dev *const dev[] = {in->c.keyboard, in->c.tablet, in->c.mouse};

	if (in->c.i8042)
		i8042_notify(in->c.i8042, on ? on_change : NULL, on ? on_ps2_leds : NULL, in);
	for (unsigned i = 0; i < ARRAY_LEN(dev); i++)
		if (dev[i])
			virtio_input_notify(dev[i], on ? on_change : NULL, in);
}

struct input *input_new(const struct input_config *c)
{
	struct input *in = xcalloc(1, sizeof *in);

	in->c = *c;
	in->c.w = c->w ? c->w : 1;
	in->c.h = c->h ? c->h : 1;
	in->last = PTR_TABLET;
	notify(in, true);
	return in;
}

void input_free(struct input *in)
{
	if (!in)
		return;
	notify(in, false);
	free(in);
}

size_t input_stats(const struct input *in, char *buf, size_t len)
{
	int k = snprintf(buf, len,
		"input_keys %" PRIu64 "\ninput_pointer %" PRIu64 "\ninput_lost %" PRIu64 "\ninput_waiting %u\n", in->nkeys,
		in->npointer, in->lost, in->keys.n + in->pointer.n);

	return k < 0 ? 0 : min_u64((uint64_t)k, len ? len - 1 : 0);
}
