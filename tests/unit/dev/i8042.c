/* SPDX-License-Identifier: MIT */
/* Keyboard controller: the conversations that Linux' i8042, atkbd and psmouse drivers hold, resets, keys. */
#include "dev/legacy.h"
#include "fake.h"

enum { OBF = 0x01, AUX = 0x20, TIMEOUT = 0x40 };

static struct i8042 *k;
static struct wire kbd, aux;
static unsigned resets;

static void on_reset(void *arg)
{
	(void)arg;
	resets++;
}

static uint8_t answer(uint8_t want_status)
{
	assert((inb(0x64) & (OBF | AUX | TIMEOUT)) == (OBF | want_status));
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

/* Linux looks for the auxiliary port, finds it working, and psmouse finds nobody there, at once. */
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
	assert(aux.level && answer(AUX | TIMEOUT) == 0xfe && !aux.level);
	ctr(0x67);
	outb(0x64, 0xd4); /* turns the port on */
	outb(0x60, 0xff);
	assert(answer(AUX | TIMEOUT) == 0xfe && command(0x20) == 0x47);
	empty();
}

static void test_floods(void)
{
	bus_reset(fake_bus);
	for (int i = 0; i < 1000; i++)
		outb(0x64, 0xaa);
	for (int i = 0; i < 1000; i++)
		outb(0x60, 0xf2);
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
	test_floods();
	i8042_free(k);
	bus_free(fake_bus);
	return 0;
}
