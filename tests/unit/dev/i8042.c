/* SPDX-License-Identifier: MIT */
/* Keyboard controller: the conversations that Linux' i8042, atkbd and psmouse drivers hold, resets, keys. */
#include "dev/legacy.h"
#include "fake.h"

enum { OBF = 0x01, AUX = 0x20 };

static struct i8042 *k;
static struct wire kbd, aux;
static unsigned resets, rooms, leds, nleds;

static void on_reset(void *arg)
{
	(void)arg;
	resets++;
}

static uint8_t answer(uint8_t want_status)
{
	assert((inb(0x64) & (OBF | AUX)) == (OBF | want_status));
	return inb(0x60);
}

static uint8_t command(uint8_t c)
{
	outb(0x64, c);
	return answer(0);
}

static void ctr(uint8_t v)
{
	outb(0x64, 0x60);
	outb(0x60, v);
	assert(command(0x20) == v);
}

static void empty(void)
{
	assert(!(inb(0x64) & OBF) && !kbd.level && !aux.level);
}

static bool key(const char *p, size_t n)
{
	size_t took;

	bus_lock(fake_bus);
	took = i8042_key(k, (const uint8_t *)p, n);
	bus_unlock(fake_bus);
	assert(took == 0 || took == n);
	return took;
}

static void test_controller(void)
{
	bus_reset(fake_bus);
	assert(inb(0x64) == 0x14);
	assert(command(0x20) == 0x65); /* translation on, as firmware leaves it */
	assert(command(0xaa) == 0x55 && command(0xab) == 0 && command(0xa9) == 0);
	outb(0x64, 0xa8);
	assert(command(0x20) == 0x45);
	outb(0x64, 0xa7);
	assert(command(0x20) == 0x65);
	outb(0x64, 0xad);
	assert(command(0x20) == 0x75);
	outb(0x64, 0xae);
	assert(command(0x20) == 0x65);
	outb(0x64, 0x65); /* its memory */
	outb(0x60, 0x77);
	assert(command(0x25) == 0x77 && command(0x3f) == 0);
	outb(0x64, 0xa7);
	assert(inb(0x64) & 8); /* a command was last */
	outb(0x60, 0xee);
	assert(!(inb(0x64) & 8));
	assert(answer(0) == 0xee);
	/* output port: A20 on, reset idle */
	assert((command(0xd0) & 3) == 3);
	outb(0x64, 0xd1);
	outb(0x60, 0xdd);
	assert((command(0xd0) & 3) == 1 && resets == 0);
	outb(0x64, 0xdf);
	assert((command(0xd0) & 3) == 3 && inb(0x92) == 2);
	outb(0x92, 0);
	assert((command(0xd0) & 3) == 1);
	outb(0x92, 2);
	assert(resets == 0);
	/* unknown ones answer nothing */
	outb(0x64, 0x00);
	outb(0x64, 0xb0);
	empty();
}

static void test_resets(void)
{
	bus_reset(fake_bus);
	resets = 0;
	outb(0x64, 0xfe);
	assert(resets == 1);
	outb(0x64, 0xf0);
	assert(resets == 2);
	outb(0x64, 0xff);
	assert(resets == 2);
	outb(0x64, 0xd1);
	outb(0x60, 0xfe);
	assert(resets == 3 && (command(0xd0) & 1)); /* pulled up again */
	outb(0x92, 1);
	assert(resets == 4);
	empty();
}

static void test_irqs(void)
{
	bus_reset(fake_bus);
	kbd.rises = 0;
	outb(0x64, 0xd2);
	outb(0x60, 0x5a);
	assert(kbd.level && kbd.rises == 1 && !aux.level);
	outb(0x64, 0xd2);
	outb(0x60, 0x5b);
	assert(kbd.rises == 1 && answer(0) == 0x5a);
	assert(kbd.rises == 2 && kbd.level && answer(0) == 0x5b); /* a new edge for the next */
	empty();
	ctr(0x64); /* interrupt off */
	outb(0x64, 0xd2);
	outb(0x60, 0x5a);
	assert(!kbd.level && inb(0x60) == 0x5a);
	assert(inb(0x60) == 0x5a); /* the buffer keeps showing it */
	empty();
}

static void test_keyboard(void)
{
	static const uint8_t acked[] = {0xf4, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xf5};

	bus_reset(fake_bus);
	outb(0x60, 0xff);
	assert(answer(0) == 0xfa && answer(0) == 0xaa);
	outb(0x60, 0xf2);
	assert(answer(0) == 0xfa && answer(0) == 0xab && answer(0) == 0x41); /* 83, translated */
	ctr(0x05);
	outb(0x60, 0xf2);
	assert(answer(0) == 0xfa && answer(0) == 0xab && answer(0) == 0x83);
	outb(0x60, 0xee);
	assert(answer(0) == 0xee);
	outb(0x60, 0xed);
	assert(answer(0) == 0xfa);
	outb(0x60, 0x07);
	assert(answer(0) == 0xfa);
	outb(0x60, 0xf3);
	assert(answer(0) == 0xfa);
	outb(0x60, 0x20);
	assert(answer(0) == 0xfa);
	outb(0x60, 0xed); /* a command instead of the argument */
	assert(answer(0) == 0xfa);
	outb(0x60, 0xee);
	assert(answer(0) == 0xee);
	outb(0x60, 0xf0);
	assert(answer(0) == 0xfa);
	outb(0x60, 0);
	assert(answer(0) == 0xfa && answer(0) == 2);
	outb(0x60, 0xf0);
	assert(answer(0) == 0xfa);
	outb(0x60, 3);
	assert(answer(0) == 0xfa);
	outb(0x60, 0xf0);
	assert(answer(0) == 0xfa);
	outb(0x60, 0);
	assert(answer(0) == 0xfa && answer(0) == 3);
	outb(0x60, 0xf0);
	assert(answer(0) == 0xfa);
	outb(0x60, 4);
	assert(answer(0) == 0xfe);
	for (size_t i = 0; i < sizeof acked; i++) {
		outb(0x60, acked[i]);
		assert(answer(0) == 0xfa);
	}
	outb(0x60, 0xfe); /* once more */
	assert(answer(0) == 0xfa);
	outb(0x60, 0xe7);
	assert(answer(0) == 0xfe);
	empty();
	/* a keyboard that is off keeps its bytes; talking to it turns it on */
	ctr(0x15);
	assert(!key("\x1c", 1)); /* scanning is off since 0xf5 */
	outb(0x60, 0xf4);
	assert(answer(0) == 0xfa);
	outb(0x64, 0xad);
	assert(key("\x1c", 1));
	empty();
	outb(0x64, 0xae);
	assert(answer(0) == 0x1c);
}

static void test_keys(void)
{
	unsigned n = 0;

	bus_reset(fake_bus);
	/* a: down and up, then right Ctrl; translated */
	assert(key("\x1c", 1) && key("\xf0\x1c", 2) && key("\xe0\x14", 2) && key("\xe0\xf0\x14", 3));
	assert(kbd.level);
	assert(answer(0) == 0x1e && answer(0) == 0x9e);
	assert(answer(0) == 0xe0 && answer(0) == 0x1d && answer(0) == 0xe0 && answer(0) == 0x9d);
	assert(key("\x83\x84\x76", 3));
	assert(answer(0) == 0x41 && answer(0) == 0x54 && answer(0) == 0x01);
	/* not translated */
	ctr(0x25);
	assert(key("\xf0\x1c", 2));
	assert(answer(0) == 0xf0 && answer(0) == 0x1c);
	/* whole keys or none when the guest does not read; commands still get their answers */
	while (key("\xe0\xf0\x14", 3))
		n++;
	assert(n >= 4 && n < 32);
	outb(0x60, 0xf4); /* which throws the keys away, as it does */
	assert(inb(0x60) == 0xe0 && answer(0) == 0xfa);
	empty();
}

/* Linux looks for the auxiliary port, and finds it working. */
static void test_aux(void)
{
	bus_reset(fake_bus);
	outb(0x64, 0xd3);
	outb(0x60, 0x5a);
	assert(answer(AUX) == 0x5a);
	assert(command(0xa9) == 0);
	/* no multiplexer: values come back as they are */
	outb(0x64, 0xd3);
	outb(0x60, 0xf0);
	assert(answer(AUX) == 0xf0);
	outb(0x64, 0xd3);
	outb(0x60, 0xa4);
	assert(answer(AUX) == 0xa4);
	/* its interrupt */
	ctr(0x47);
	outb(0x64, 0xd3);
	outb(0x60, 0xa5);
	assert(aux.level && !kbd.level && answer(AUX) == 0xa5 && !aux.level);
	/* a byte for the mouse */
	outb(0x64, 0xd4);
	outb(0x60, 0xf2);
	assert(aux.level && answer(AUX) == 0xfa && aux.level && answer(AUX) == 0 && !aux.level);
	ctr(0x67);
	outb(0x64, 0xd4); /* turns the port on */
	outb(0x60, 0xff);
	assert(answer(AUX) == 0xfa && answer(AUX) == 0xaa && answer(AUX) == 0 && command(0x20) == 0x47);
	empty();
}

/* To the mouse: n bytes, each answered with an acknowledgement */
static void mouse(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		outb(0x64, 0xd4);
		outb(0x60, (uint8_t)bytes[i]);
		assert(answer(AUX) == 0xfa);
	}
}

static void mouse_says(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert(answer(AUX) == (uint8_t)bytes[i]);
}

static bool move(int dx, int dy, int wheel, unsigned buttons)
{
	bool listens;

	bus_lock(fake_bus);
	listens = i8042_mouse(k, dx, dy, wheel, buttons);
	bus_unlock(fake_bus);
	return listens;
}

#define MOUSE(s) mouse(s, sizeof s - 1)
#define SAYS(s)  mouse_says(s, sizeof s - 1)

static void mouse_begin(void)
{
	bus_reset(fake_bus);
	ctr(0x47);
	assert(!move(5, 5, 0, 1)); /* nobody listens */
	empty();
}

static void test_mouse_commands(void)
{
	mouse_begin();
	MOUSE("\xe9");
	SAYS("\x00\x02\x64");
	MOUSE("\xe8\x03\xe7\xf3\x28\xf4\xe9");
	SAYS("\x30\x03\x28");
	MOUSE("\xe6\xf0\xe9");
	SAYS("\x60\x03\x28");
	/* what is wrong */
	outb(0x64, 0xd4);
	outb(0x60, 0xe1); /* pointing stick? */
	assert(answer(AUX) == 0xfe);
	outb(0x64, 0xd4);
	outb(0x60, 0x88);
	assert(answer(AUX) == 0xfe);
	MOUSE("\xe8");
	outb(0x64, 0xd4);
	outb(0x60, 0x04);
	assert(answer(AUX) == 0xfe);
	MOUSE("\xe8\xe9"); /* a command instead of the argument */
	SAYS("\x60\x03\x28");
	/* once more */
	outb(0x64, 0xd4);
	outb(0x60, 0xfe);
	SAYS("\xfa\x60\x03\x28");
	/* defaults, reset */
	MOUSE("\xf6\xe9");
	SAYS("\x00\x02\x64");
	MOUSE("\xf4\xff");
	SAYS("\xaa\x00");
	assert(!move(1, 1, 0, 0));
	/* wrap: everything comes back but the end of it */
	MOUSE("\xf4\xee");
	for (unsigned v = 0; v < 0x100; v++) {
		if (v == 0xec || v == 0xff)
			continue;
		outb(0x64, 0xd4);
		outb(0x60, (uint8_t)v);
		assert(answer(AUX) == v);
	}
	assert(move(1, 2, 0, 0));
	empty();
	outb(0x64, 0xd4);
	outb(0x60, 0xec);
	SAYS("\xfa\x28\x01\xfe");
	empty();
	/* remote: says something when asked only */
	MOUSE("\xf0\xf5");
	assert(move(3, -4, 0, 1));
	empty();
	MOUSE("\xeb");
	SAYS("\x09\x03\x04");
	MOUSE("\xeb");
	SAYS("\x09\x00\x00");
	MOUSE("\xe9");
	SAYS("\x44\x02\x64");
	MOUSE("\xea");
	assert(!move(1, 1, 0, 0));
	/* and when asked without */
	MOUSE("\xeb");
	SAYS("\x08\x00\x00");
	empty();
}

static void test_mouse_packets(void)
{
	unsigned n = 0, x = 0, y = 0;

	mouse_begin();
	MOUSE("\xf4");
	assert(move(0, 0, 5, 0x18)); /* no wheel, three buttons: nothing to say */
	empty();
	assert(move(-1, -2, 0, 5) && aux.level);
	SAYS("\x1d\xff\x02");
	move(0, 0, 0, 2);
	SAYS("\x0a\x00\x00");
	move(0, 0, 0, 2); /* nothing new */
	empty();
	/* what happens while nobody reads adds up; a packet that has begun stays as it is */
	for (unsigned i = 0; i < 100; i++)
		move(7, -5, 0, 2);
	SAYS("\x0a\x07\x05\x0a\xff\xff\x0a\xff\xf0");
	/* 99 times 7 is 693 */
	SAYS("\x0a\xb7\x00");
	empty();
	/* clicks do not melt into one */
	for (unsigned i = 0; i < 4; i++)
		move(1, 0, 0, i & 1);
	SAYS("\x08\x01\x00\x09\x01\x00\x08\x01\x00\x09\x01\x00");
	/* too many do, but their end is right, and the movement of each is in */
	for (unsigned i = 0; i < 1000; i++)
		move(1, 0, 0, i & 1 ? 4 : 1);
	for (unsigned last = 0; inb(0x64) & OBF; n++) {
		last = answer(AUX);
		x += answer(AUX);
		y += answer(AUX);
		assert(last == (inb(0x64) & OBF ? last : 0xc));
	}
	assert(n >= 8 && n < 40 && x == 1000 && !y);
	/* a movement without end has one */
	for (n = 0; n < 100; n++)
		move(INT32_MAX, INT32_MIN, INT32_MIN, 4);
	for (n = 0; inb(0x64) & OBF; n++)
		SAYS("\x0c\xff\xff");
	assert(n > 4 && n < 40);
	/* disabling forgets; a command cuts a packet off, and its buttons come again */
	move(1, 1, 0, 1);
	assert(answer(AUX) == 0x29);
	outb(0x64, 0xd4);
	outb(0x60, 0xe6);
	assert(answer(AUX) == 1); /* that was in the controller already */
	SAYS("\xfa\x09\x00\x00");
	move(1, 1, 0, 0);
	assert(answer(AUX) == 0x28);
	outb(0x64, 0xd4);
	outb(0x60, 0xf5);
	assert(answer(AUX) == 1);
	SAYS("\xfa");
	assert(!move(1, 1, 0, 0));
	MOUSE("\xf4");
	empty();
}

/* As Linux' psmouse asks, without the makers that it asks for in between */
static void test_mouse_knock(void)
{
	mouse_begin();
	MOUSE("\xff");
	SAYS("\xaa\x00");
	/* a Synaptics touch pad? ALPS, Logitech, Genius? */
	MOUSE("\xe8\x00\xe8\x00\xe8\x00\xe8\x00\xe9");
	SAYS("\x00\x00\x64");
	MOUSE("\xe6\xe6\xe6\xe9");
	SAYS("\x00\x00\x64");
	MOUSE("\xe8\x03\xe6\xe6\xe6\xe9");
	SAYS("\x00\x03\x64");
	MOUSE("\xf2");
	SAYS("\x00");
	MOUSE("\xf3\xc8\xf3\x64\xf3\x50\xf2");
	SAYS("\x03");
	MOUSE("\xf4");
	assert(move(2, 0, 1, 9));
	SAYS("\x09\x02\x00\xff");
	move(0, 0, -10, 1); /* down more than there is room for at once */
	SAYS("\x09\x00\x00\x07\x09\x00\x00\x03");
	empty();
	MOUSE("\xf3\xc8\xf3\xc8\xf3\x50\xf2");
	SAYS("\x04");
	MOUSE("\xf3\xc8\xf3\x50\xf3\x28\xf2"); /* horizontal wheel? No, and still an Explorer */
	SAYS("\x04");
	assert(move(0, 0, 9, 0x11));
	SAYS("\x09\x00\x00\x29\x09\x00\x00\x2e");
	move(0, 0, -1, 8);
	SAYS("\x08\x00\x00\x11");
	empty();
	MOUSE("\xf6\xf2"); /* only a reset makes it plain again */
	SAYS("\x04");
	MOUSE("\xff");
	SAYS("\xaa\x00");
	MOUSE("\xf2");
	SAYS("\x00");
	MOUSE("\xf3\x50\xf3\xc8\xf3\x50\xf3\x64\xf3\x64\xf3\x50\xf2");
	SAYS("\x00");
	empty();
}

/* Keyboard and mouse take turns. */
static void test_both(void)
{
	mouse_begin();
	MOUSE("\xf4");
	for (unsigned i = 0; i < 4; i++) {
		assert(key("\x1c", 1));
		move(1, 0, 0, i & 1);
	}
	assert(answer(0) == 0x1e && answer(AUX) == 8 && answer(0) == 0x1e && answer(AUX) == 1);
	assert(answer(0) == 0x1e && answer(AUX) == 0 && answer(0) == 0x1e);
	SAYS("\x09\x01\x00\x08\x01\x00\x09\x01\x00");
	empty();
	/* a port that is off keeps what it has */
	outb(0x64, 0xa7);
	outb(0x64, 0xad);
	assert(move(3, 0, 0, 1) && key("\x1c", 1));
	empty();
	outb(0x64, 0xa8);
	SAYS("\x09\x03\x00");
	empty();
	outb(0x64, 0xae);
	assert(answer(0) == 0x1e);
}

static void on_room(void *arg)
{
	assert(arg == &rooms);
	rooms++;
}

static void on_leds(void *arg, uint32_t v)
{
	assert(arg == &rooms);
	leds = v;
	nleds++;
}

static void test_notify(void)
{
	bus_reset(fake_bus);
	bus_lock(fake_bus);
	i8042_notify(k, on_room, on_leds, &rooms);
	bus_unlock(fake_bus);
	key("\x1c\xf0\x1c", 3);
	assert(!rooms);
	assert(answer(0) == 0x1e && rooms == 1 && answer(0) == 0x9e && rooms == 2);
	inb(0x60); /* there was nothing */
	assert(rooms == 2);
	outb(0x60, 0xed);
	assert(answer(0) == 0xfa && !nleds);
	outb(0x60, 0xf5 & 5); /* Num would be 2 */
	assert(answer(0) == 0xfa && leds == 5 && nleds == 1);
	outb(0x60, 0xed);
	assert(answer(0) == 0xfa);
	outb(0x60, 5);
	assert(answer(0) == 0xfa && nleds == 1);
	rooms = 0;
	outb(0x60, 0xf4); /* listens again: keys may come */
	assert(rooms && answer(0) == 0xfa);
	bus_reset(fake_bus);
	assert(!leds && nleds == 2);
	bus_lock(fake_bus);
	i8042_notify(k, NULL, NULL, NULL);
	bus_unlock(fake_bus);
	outb(0x60, 0xee);
	assert(answer(0) == 0xee && nleds == 2);
}

static void test_floods(void)
{
	bus_reset(fake_bus);
	for (int i = 0; i < 1000; i++)
		outb(0x64, 0xaa);
	for (int i = 0; i < 1000; i++)
		outb(0x60, 0xf2);
	for (int i = 0; i < 1000; i++) {
		outb(0x64, 0xd4);
		outb(0x60, 0xf4);
		move(i, i, 0, i & 7);
	}
	for (int i = 0; i < 1000 && inb(0x64) & OBF; i++)
		inb(0x60);
	empty();
	assert(command(0xaa) == 0x55);
}

int main(void)
{
	fake_bus = bus_new();
	k = i8042_new(fake_bus, WIRE(kbd), WIRE(aux), on_reset, NULL);
	test_controller();
	test_resets();
	test_irqs();
	test_keyboard();
	test_keys();
	test_aux();
	test_mouse_commands();
	test_mouse_packets();
	test_mouse_knock();
	test_both();
	test_notify();
	test_floods();
	i8042_free(k);
	bus_free(fake_bus);
	return 0;
}
