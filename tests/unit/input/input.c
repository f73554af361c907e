/* SPDX-License-Identifier: MIT */
/* Who gets a key or a movement: the router over devices of this file, which note what they are told. */
#undef NDEBUG
#include <assert.h>
#include <linux/input-event-codes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "display/keys.h"
#include "vm/input.h"

/* ---- devices ---- */

static char told[1 << 16]; /* in order: "K30+ ", "T100,200 ", ... */
static size_t ntold;

struct virtio_dev_fake {
	struct virtio_dev dev;
	char name;
	bool ready;
	unsigned room; /* reports */
	void (*changed)(void *arg);
	void *arg;
};
static struct virtio_dev_fake fakes[] = {{.name = 'K'}, {.name = 'T'}, {.name = 'M'}};
#define KBD    fakes[0]
#define TABLET fakes[1]
#define MOUSE  fakes[2]
static struct {
	size_t room; /* bytes of the keyboard */
	bool listens; /* the mouse */
	void (*on_room)(void *arg);
	void (*on_leds)(void *arg, uint32_t leds);
	void *arg;
} ps2;
static struct i8042 *const i8042 = (struct i8042 *)(void *)&ps2;
static struct input *in;
static unsigned states;
static uint32_t state_leds;
static enum input_pointer state_pointer;

static bool quiet; /* the random one keeps books instead */
static bool is_down[4][KEY_MAX + 1]; /* as the guest has it, by each virtio device and by the i8042 */
static unsigned mouse_buttons;

static void note(const char *s)
{
	if (quiet)
		return;
	assert(ntold + strlen(s) < sizeof told);
	strcpy(told + ntold, s);
	ntold += strlen(s);
}

static struct virtio_dev_fake *fake_of(const struct virtio_dev *d)
{
	return (struct virtio_dev_fake *)(uintptr_t)d;
}

bool virtio_input_send(struct virtio_dev *d, const struct virtio_input_event *ev, unsigned n)
{
	struct virtio_dev_fake *f = fake_of(d);
	char s[64];

	assert(n);
	if (!f->ready || !f->room)
		return false;
	f->room--;
	for (unsigned i = 0; i < n; i++) {
		if (ev[i].type == EV_KEY)
			is_down[f - fakes][ev[i].code] = ev[i].value;
		snprintf(s, sizeof s, "%c%s%u=%d ", f->name, ev[i].type == EV_KEY ? "k" : ev[i].type == EV_REL ? "r" : "a", ev[i].code,
			(int)ev[i].value);
		note(s);
	}
	return true;
}

bool virtio_input_ready(const struct virtio_dev *d)
{
	return fake_of(d)->ready;
}

void virtio_input_notify(struct virtio_dev *d, void (*changed)(void *arg), void *arg)
{
	fake_of(d)->changed = changed;
	fake_of(d)->arg = arg;
}

size_t i8042_key(struct i8042 *k, const uint8_t *p, size_t n)
{
	char s[8];

	assert(k == i8042);
	if (n > ps2.room)
		return 0;
	ps2.room -= n;
	for (uint16_t key = 1; key < 256 && quiet; key++) {
		uint8_t b[8];

		for (unsigned down = 0; down < 2; down++)
			if (key_to_set2(key, down, b) == n && !memcmp(b, p, n))
				is_down[3][key] = down;
	}
	note("P");
	for (size_t i = 0; i < n; i++) {
		snprintf(s, sizeof s, "%02x", p[i]);
		note(s);
	}
	note(" ");
	return n;
}

bool i8042_mouse(struct i8042 *k, int32_t dx, int32_t dy, int32_t wheel, unsigned buttons)
{
	char s[64];

	assert(k == i8042);
	mouse_buttons = buttons;
	if (!ps2.listens)
		return false;
	snprintf(s, sizeof s, "p%d,%d,%d,%x ", dx, dy, wheel, buttons);
	note(s);
	return true;
}

void i8042_notify(struct i8042 *k, void (*room)(void *arg), void (*leds)(void *arg, uint32_t leds), void *arg)
{
	assert(k == i8042);
	ps2.on_room = room;
	ps2.on_leds = leds;
	ps2.arg = arg;
}

static void on_state(void *arg, uint32_t leds, enum input_pointer pointer)
{
	assert(arg == &states);
	states++;
	state_leds = leds;
	state_pointer = pointer;
}

/* ---- viewer ---- */

static bool tells(const char *want)
{
	bool ok = !strcmp(told, want);

	if (!ok)
		fprintf(stderr, "told: %s\nwant: %s\n", told, want);
	told[ntold = 0] = 0;
	return ok;
}

static void send(uint16_t type, uint16_t code, int32_t a, int32_t b)
{
	input_events(in, &(struct input_event){type, code, a, b}, 1);
}

static void key(uint16_t code, int32_t a)
{
	send(INPUT_KEY, code, a, 0);
}

static void button(uint16_t code, int32_t a)
{
	send(INPUT_BUTTON, code, a, 0);
}

static void drivers(bool k, bool t, bool m, bool p)
{
	KBD.ready = k;
	TABLET.ready = t;
	MOUSE.ready = m;
	ps2.listens = p;
	input_update(in);
}

static void begin(void)
{
	KBD.ready = TABLET.ready = MOUSE.ready = ps2.listens = false;
	KBD.room = TABLET.room = MOUSE.room = 1000000;
	ps2.room = 1000000;
	states = 0;
	state_leds = 0;
	state_pointer = INPUT_RELATIVE;
	in = input_new(&(struct input_config){.i8042 = i8042, .keyboard = &KBD.dev, .tablet = &TABLET.dev, .mouse = &MOUSE.dev,
		.w = 1000, .h = 500, .state = on_state, .arg = &states});
	assert(KBD.changed && TABLET.changed && MOUSE.changed && ps2.on_room && ps2.on_leds);
	tells("");
}

static void end(void)
{
	input_free(in);
	assert(!KBD.changed && !TABLET.changed && !MOUSE.changed && !ps2.on_room && !ps2.on_leds);
	ntold = told[0] = 0;
}

static uint64_t stat_of(const char *name)
{
	char buf[512];
	const char *at;

	assert(input_stats(in, buf, sizeof buf) == strlen(buf));
	at = strstr(buf, name);
	assert(at && at[strlen(name)] == ' ');
	return strtoull(at + strlen(name), NULL, 10);
}

/* ---- keys ---- */

static void keys(void)
{
	char buf[8];

	begin();
	key(KEY_A, 1);
	key(KEY_A, 2);
	key(KEY_A, 1); /* as viewers repeat */
	key(KEY_A, 0);
	key(KEY_A, 0);
	key(KEY_RIGHT, 1);
	key(KEY_RIGHT, 0);
	assert(tells("P1c P1c P1c Pf01c Pe074 Pe0f074 "));
	/* has no up; nothing at all */
	key(KEY_PAUSE, 1);
	key(KEY_PAUSE, 0);
	key(0, 1);
	key(84, 1);
	key(BTN_LEFT, 1);
	key(0xffff, 1);
	key(KEY_A, 3);
	key(KEY_A, -1);
	key(KEY_A, 2);
	send(99, KEY_A, 1, 1);
	send(INPUT_VIEWERS, 0, 1, 0);
	assert(tells("Pe11477e1f014f077 "));
	drivers(true, false, false, false);
	key(KEY_A, 1);
	key(KEY_A, 2);
	key(KEY_A, 1);
	key(KEY_A, 0);
	key(KEY_A, 0);
	assert(tells("Kk30=1 Kk30=0 "));
	/* all that is down, and nothing else */
	key(KEY_LEFTCTRL, 1);
	key(KEY_C, 1);
	key(KEY_C, 0);
	key(KEY_DELETE, 1);
	tells("Kk29=1 Kk46=1 Kk46=0 Kk111=1 ");
	send(INPUT_RELEASE, 0, 0, 0);
	assert(tells("Kk29=0 Kk111=0 "));
	send(INPUT_RELEASE, 0, 0, 0);
	assert(tells(""));
	/* several at once */
	input_events(in, (struct input_event[]){{INPUT_KEY, KEY_X, 1, 0}, {INPUT_KEY, KEY_Y, 1, 0}, {INPUT_KEY, KEY_X, 0, 0}}, 3);
	assert(tells("Kk45=1 Kk21=1 Kk45=0 ") && stat_of("input_keys") == 24 && !stat_of("input_lost"));
	assert(input_stats(in, buf, sizeof buf) == 7 && !strcmp(buf, "input_k"));
	end();
}

static void waiting(void)
{
	unsigned n = 0;

	begin();
	drivers(true, false, false, false);
	KBD.room = 0;
	key(KEY_A, 1);
	key(KEY_A, 2); /* pointless now */
	key(KEY_A, 0);
	key(KEY_B, 1);
	assert(tells("") && stat_of("input_waiting") == 3);
	KBD.room = 2;
	KBD.changed(KBD.arg);
	assert(tells("Kk30=1 Kk30=0 "));
	KBD.room = 9;
	input_update(in);
	assert(tells("Kk48=1 "));
	/* more than there is room for: each down that was taken has its up, all in order */
	KBD.room = 0;
	for (unsigned i = 0; i < 1000; i++) {
		key((uint16_t)(KEY_1 + i % 10), 1);
		if (i % 3)
			key((uint16_t)(KEY_1 + i % 10), 0);
	}
	assert(stat_of("input_lost") && stat_of("input_waiting") <= 256);
	send(INPUT_RELEASE, 0, 0, 0);
	assert(stat_of("input_waiting") <= 256 && stat_of("input_waiting") > 200);
	KBD.room = 1000;
	input_update(in);
	for (unsigned k = KEY_1; k <= KEY_B; k++) {
		char down[16], up[16];
		const char *at = told;
		unsigned held = k == KEY_B;

		snprintf(down, sizeof down, "Kk%u=1 ", k);
		snprintf(up, sizeof up, "Kk%u=0 ", k);
		for (;;) {
			const char *next = strstr(at, held ? up : down), *wrong = strstr(at, held ? down : up);

			if (!next) {
				assert(!wrong && !held);
				break;
			}
			assert(!wrong || wrong > next);
			held = !held;
			at = next + 1;
			n++;
		}
	}
	assert(n > 200);
	ntold = told[0] = 0;
	/* as many down as there are keys, and the guest asleep */
	KBD.room = 0;
	for (unsigned i = 0; i < 3; i++)
		for (uint16_t k = 1; k < 256; k++)
			key(k, 1);
	send(INPUT_RELEASE, 0, 0, 0);
	KBD.room = 1000;
	input_update(in);
	n = 0;
	for (const char *p = told; *p; p++)
		n += *p == '=' ? (p[1] == '1' ? 1 : -1) : 0;
	assert(!n && stat_of("input_waiting") == 0);
	/* the keyboard holds up no pointer */
	ntold = told[0] = 0;
	KBD.room = 0;
	drivers(true, true, false, false);
	key(KEY_A, 1);
	send(INPUT_POINT, 0, 5, 6);
	assert(tells("Ta0=5 Ta1=6 "));
	input_reset(in);
	KBD.room = 10;
	input_update(in);
	key(KEY_A, 0); /* nothing is down */
	assert(tells("") && !stat_of("input_waiting"));
	/* the i8042 has its room, too: whole keys */
	drivers(false, false, false, false);
	ps2.room = 2;
	key(KEY_RIGHT, 1);
	key(KEY_RIGHT, 0);
	assert(tells("Pe074 "));
	ps2.room = 2;
	ps2.on_room(ps2.arg);
	assert(tells(""));
	ps2.room = 3;
	ps2.on_room(ps2.arg);
	assert(tells("Pe0f074 "));
	end();
}

static void keyboards_change(void)
{
	begin();
	key(KEY_A, 1);
	key(KEY_LEFTSHIFT, 1);
	tells("P1c P12 ");
	/* a driver comes: up there, where it is down; the viewer's up is nobody's */
	ps2.room = 2;
	drivers(true, false, false, false);
	assert(tells("Pf01c "));
	key(KEY_B, 1);
	assert(tells("Kk48=1 "));
	key(KEY_A, 2);
	key(KEY_A, 0);
	ps2.room = 2;
	ps2.on_room(ps2.arg);
	assert(tells("Pf012 "));
	key(KEY_LEFTSHIFT, 0);
	assert(tells(""));
	/* and goes, with what it knew */
	drivers(false, false, false, false);
	ps2.room = 1000;
	key(KEY_B, 0);
	assert(tells(""));
	key(KEY_B, 1);
	assert(tells("P32 "));
	/* what waits follows */
	ps2.room = 0;
	key(KEY_C, 1);
	KBD.ready = true;
	KBD.changed(KBD.arg);
	assert(tells("Kk46=1 "));
	ps2.room = 100;
	ps2.on_room(ps2.arg);
	assert(tells("Pf032 "));
	key(KEY_B, 0);
	key(KEY_C, 0);
	assert(tells("Kk46=0 "));
	/* a driver that comes and goes while the i8042 takes nothing: the up that is owed is before the next down */
	drivers(false, false, false, false);
	key(KEY_A, 1);
	ps2.room = 0;
	drivers(true, false, false, false);
	key(KEY_A, 0);
	drivers(false, false, false, false);
	ps2.room = 1;
	key(KEY_A, 1);
	assert(tells("P1c "));
	ps2.room = 10;
	ps2.on_room(ps2.arg);
	assert(tells("Pf01c P1c "));
	end();
}

/* ---- pointers ---- */

static void absolute(void)
{
	begin();
	drivers(true, true, true, true);
	assert(states == 1 && state_pointer == INPUT_ABSOLUTE);
	send(INPUT_POINT, 0, 100, 200);
	button(BTN_LEFT, 1);
	button(BTN_LEFT, 1);
	send(INPUT_POINT, 0, 32767, 40000);
	send(INPUT_POINT, 0, -5, 0);
	button(BTN_LEFT, 0);
	button(BTN_LEFT, 0);
	send(INPUT_WHEEL, 0, 0, -1);
	send(INPUT_WHEEL, 0, 2, 1);
	send(INPUT_WHEEL, 0, 0, 0);
	assert(tells("Ta0=100 Ta1=200 Tk272=1 Ta0=32767 Ta1=32767 Ta0=0 Ta1=0 Tk272=0 Tr8=-1 Tr6=2 Tr8=1 "));
	input_events(in, (struct input_event[]){{INPUT_POINT, 0, 1, 2}, {INPUT_POINT, 0, 3, 4}, {INPUT_WHEEL, 0, 0, 1},
		{INPUT_WHEEL, 0, 0, -1}}, 4);
	assert(tells("Ta0=1 Ta1=2 Ta0=3 Ta1=4 Tr8=1 Tr8=-1 "));
	button(BTN_EXTRA, 1);
	button(BTN_EXTRA + 1, 1);
	button(BTN_LEFT - 1, 1);
	button(BTN_LEFT, 2);
	button(BTN_LEFT, -1);
	send(INPUT_WHEEL, 0, INT32_MIN, INT32_MAX);
	assert(tells("Tk276=1 Tr6=-100 Tr8=100 "));
	/* relative ones go to the mouse, and then its buttons; the up goes where the down went */
	send(INPUT_MOVE, 0, 3, -4);
	button(BTN_RIGHT, 1);
	button(BTN_EXTRA, 0);
	send(INPUT_WHEEL, 0, 0, 1);
	send(INPUT_MOVE, 0, 0, INT32_MIN);
	assert(tells("Mr0=3 Mr1=-4 Mk273=1 Tk276=0 Mr8=1 Mr1=-32767 "));
	send(INPUT_POINT, 0, 7, 8);
	button(BTN_MIDDLE, 1);
	send(INPUT_RELEASE, 0, 0, 0);
	assert(tells("Ta0=7 Ta1=8 Tk274=1 Mk273=0 Tk274=0 "));
	/* no mouse but the i8042's */
	drivers(true, true, false, true);
	send(INPUT_MOVE, 0, 3, -4);
	button(BTN_LEFT, 1);
	button(BTN_SIDE, 1);
	send(INPUT_WHEEL, 0, 5, -2);
	button(BTN_LEFT, 0);
	send(INPUT_MOVE, 0, 1, 1);
	button(BTN_SIDE, 0);
	assert(tells("p3,-4,0,0 p0,0,0,1 p0,0,0,9 p0,0,-2,9 p0,0,0,8 p1,1,0,8 p0,0,0,0 "));
	/* none at all: the tablet moves by so much, within its limits */
	drivers(true, true, false, false);
	send(INPUT_POINT, 0, 1000, 1000);
	send(INPUT_MOVE, 0, 10, -10);
	send(INPUT_MOVE, 0, -30000, 30000);
	assert(tells("Ta0=1000 Ta1=1000 Ta0=1327 Ta1=345 Ta0=0 Ta1=32767 "));
	end();
	begin();
	drivers(false, true, false, false);
	send(INPUT_MOVE, 0, 0, 0); /* from the middle */
	assert(tells("Ta0=16383 Ta1=16383 "));
	/* the driver goes: buttons are forgotten with it */
	button(BTN_LEFT, 1);
	drivers(false, false, true, false);
	assert(states == 2 && state_pointer == INPUT_RELATIVE);
	button(BTN_LEFT, 0);
	button(BTN_LEFT, 1);
	assert(tells("Tk272=1 Mk272=1 "));
	end();
}

static void relative(void)
{
	begin();
	drivers(false, false, false, true);
	send(INPUT_POINT, 0, 16384, 16384); /* the first says only where */
	assert(tells("") && states == 0);
	send(INPUT_POINT, 0, 16384 + 328, 16384 - 656); /* 10 pixels of 1000 and of 500 */
	button(BTN_LEFT, 1);
	send(INPUT_WHEEL, 0, 0, 1);
	button(BTN_LEFT, 0);
	assert(tells("p10,-10,0,0 p0,0,0,1 p0,0,1,1 p0,0,0,0 "));
	/* no drift: small steps over all of it and back add up */
	send(INPUT_POINT, 0, 0, 0);
	ntold = told[0] = 0;
	for (int32_t v = 0; v <= 32767; v += 31)
		send(INPUT_POINT, 0, v, 32767 - v);
	send(INPUT_POINT, 0, 32767, 0);
	{
		int x = 0, y = -499, dx, dy;

		for (const char *p = told; (p = strchr(p, 'p')); p++) {
			assert(sscanf(p, "p%d,%d,0,0", &dx, &dy) == 2);
			x += dx;
			y += dy;
		}
		assert(x == 999 && y == -499);
	}
	ntold = told[0] = 0;
	/* to virtio's, if that is there */
	drivers(false, false, true, true);
	send(INPUT_POINT, 0, 0, 32767);
	assert(tells("Mr0=-999 Mr1=499 "));
	send(INPUT_POINT, 0, 1, 32767); /* less than a pixel */
	assert(tells(""));
	send(INPUT_POINT, 0, 17, 32767); /* more than half of one */
	assert(tells("Mr0=1 "));
	/* nobody listens: nothing waits */
	drivers(false, false, false, false);
	send(INPUT_POINT, 0, 500, 500);
	send(INPUT_MOVE, 0, 1, 1);
	button(BTN_LEFT, 1);
	send(INPUT_WHEEL, 0, 0, 1);
	button(BTN_LEFT, 0);
	assert(tells("") && !stat_of("input_waiting"));
	end();
}

static void pointer_waits(void)
{
	begin();
	drivers(false, true, true, false);
	TABLET.room = MOUSE.room = 0;
	for (int32_t i = 0; i < 1000; i++)
		send(INPUT_POINT, 0, i, i + 1);
	button(BTN_LEFT, 1);
	for (int32_t i = 0; i < 50; i++)
		send(INPUT_WHEEL, 0, 0, 1);
	button(BTN_LEFT, 0);
	send(INPUT_POINT, 0, 1, 2);
	send(INPUT_MOVE, 0, 30000, -30000);
	send(INPUT_MOVE, 0, 30000, -30000);
	assert(tells("") && stat_of("input_waiting") == 6);
	TABLET.room = MOUSE.room = 100;
	TABLET.changed(TABLET.arg);
	assert(tells("Ta0=999 Ta1=1000 Tk272=1 Tr8=50 Tk272=0 Ta0=1 Ta1=2 Mr0=32767 Mr1=-32767 "));
	/* a button that is down is not pressed again; movements become one */
	TABLET.room = 0;
	for (int32_t i = 0; i < 1000; i++) {
		button((uint16_t)(BTN_LEFT + i % 5), 1);
		send(INPUT_POINT, 0, i, i);
	}
	send(INPUT_RELEASE, 0, 0, 0);
	assert(!stat_of("input_lost") && stat_of("input_waiting") == 14); /* the first to the mouse, which has room */
	TABLET.room = 1000;
	input_update(in);
	ntold = told[0] = 0;
	/* full: ups are never lost */
	TABLET.room = 0;
	for (int32_t i = 0; i < 1000; i++) {
		button((uint16_t)(BTN_LEFT + i % 4), i >> 2 & 1);
		send(INPUT_POINT, 0, i, i);
		send(INPUT_WHEEL, 0, 1, 0);
	}
	assert(stat_of("input_lost") && stat_of("input_waiting") <= 256);
	send(INPUT_RELEASE, 0, 0, 0);
	TABLET.room = 1000;
	input_update(in);
	{
		int n = 0;

		for (const char *p = told; (p = strstr(p, "Tk")); p++)
			n += p[6] == '1' ? 1 : -1;
		assert(!n);
	}
	end();
}

/* ---- anything ---- */

static uint32_t rnd(uint32_t n)
{
	static uint64_t seed = 88172645463325252u;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 32) % n;
}

/* Devices come, go and have room as they like; whatever the viewer did: in the end nothing is down. */
static void anything(void)
{
	static const bool none[KEY_MAX + 1];

	quiet = true;
	begin();
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 2000; i++) {
			struct input_event ev[4];
			unsigned n = 1 + rnd(4), f = rnd(3);

			for (unsigned k = 0; k < n; k++) {
				ev[k] = (struct input_event){(uint16_t)(1 + rnd(5)), (uint16_t)(rnd(250)), (int32_t)rnd(3), (int32_t)rnd(3)};
				if (ev[k].type == INPUT_BUTTON)
					ev[k].code = (uint16_t)(BTN_LEFT + rnd(5));
			}
			if (!rnd(200))
				ev[0].type = INPUT_RELEASE;
			input_events(in, ev, n);
			if (!rnd(10))
				fakes[f].room = rnd(3);
			if (!rnd(10))
				ps2.room = rnd(9);
			if (!rnd(50))
				ps2.listens = rnd(2);
			if (!rnd(50)) {
				fakes[f].ready = rnd(2);
				if (!fakes[f].ready) { /* its guest's device is gone */
					memset(is_down[f], 0, sizeof is_down[f]);
					fakes[f].changed(fakes[f].arg);
				}
			}
			if (!rnd(5))
				input_update(in);
		}
		assert(stat_of("input_waiting") <= 512);
		send(INPUT_RELEASE, 0, 0, 0);
		ps2.room = KBD.room = TABLET.room = MOUSE.room = 10000;
		input_update(in);
		is_down[3][KEY_PAUSE] = is_down[3][KEY_HANGEUL] = is_down[3][KEY_HANJA] = false; /* which have no up */
		for (unsigned f = 0; f < 4; f++)
			assert(!memcmp(is_down[f], none, sizeof none));
		assert(!mouse_buttons && !stat_of("input_waiting"));
	}
	assert(stat_of("input_lost"));
	end();
	quiet = false;
}

/* ---- the rest ---- */

static void states_told(void)
{
	begin();
	ps2.on_leds(ps2.arg, INPUT_LED_NUM);
	assert(states == 1 && state_leds == INPUT_LED_NUM);
	input_leds(in, true, INPUT_LED_CAPS); /* not the one that counts now */
	ps2.on_leds(ps2.arg, INPUT_LED_NUM);
	assert(states == 1);
	KBD.ready = true;
	KBD.changed(KBD.arg);
	assert(states == 2 && state_leds == INPUT_LED_CAPS && state_pointer == INPUT_RELATIVE);
	ps2.on_leds(ps2.arg, 0);
	assert(states == 2);
	TABLET.ready = true;
	TABLET.changed(TABLET.arg);
	assert(states == 3 && state_leds == INPUT_LED_CAPS && state_pointer == INPUT_ABSOLUTE);
	KBD.ready = TABLET.ready = false;
	input_reset(in);
	assert(states == 4 && !state_leds && state_pointer == INPUT_RELATIVE);
	end();
	/* no devices at all */
	in = input_new(&(struct input_config){.w = 0, .h = 0});
	key(KEY_A, 1);
	key(KEY_A, 0);
	send(INPUT_POINT, 0, 1, 1);
	send(INPUT_POINT, 0, 100, 100);
	send(INPUT_MOVE, 0, 1, 1);
	button(BTN_LEFT, 1);
	input_leds(in, true, 7);
	assert(!stat_of("input_waiting") && tells(""));
	input_free(in);
	input_free(NULL);
}

int main(void)
{
	keys();
	waiting();
	keyboards_change();
	absolute();
	relative();
	pointer_waits();
	anything();
	states_told();
	return 0;
}
