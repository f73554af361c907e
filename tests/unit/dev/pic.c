/* SPDX-License-Identifier: MIT */
/* The 8259 pair: priorities, EOI modes, rotation, masks, cascade, spurious, poll, ELCR. */
#include "dev/legacy.h"
#include "fake.h"

static struct pic *pic;
static bool intr;

static void on_intr(void *arg, bool level)
{
	(void)arg;
	assert(level != intr); /* changes only */
	intr = level;
}

static void line(unsigned n, bool level)
{
	bus_lock(fake_bus);
	pic_set(pic, n, level);
	bus_unlock(fake_bus);
}

static void pulse(unsigned n)
{
	line(n, true);
	line(n, false);
}

static int ack(void)
{
	int v;

	bus_lock(fake_bus);
	v = pic_ack(pic);
	bus_unlock(fake_bus);
	return v;
}

/* As Linux does it: vectors 0x30 and 0x38; icw4 for both. */
static void init(uint8_t icw4)
{
	for (unsigned i = 0; i < 16; i++)
		line(i, false);
	outb(0x4d0, 0);
	outb(0x4d1, 0);
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, icw4);
	outb(0xa0, 0x11);
	outb(0xa1, 0x38);
	outb(0xa1, 0x02);
	outb(0xa1, icw4);
	outb(0x21, 0);
	outb(0xa1, 0);
	assert(!intr);
}

static uint8_t isr(uint16_t port)
{
	uint8_t v;

	outb(port, 0x0b);
	v = inb(port);
	outb(port, 0x0a);
	return v;
}

static void test_basic(void)
{
	assert(inb(0x21) == 0xff && inb(0xa1) == 0xff); /* at power-on */
	bus_reset(fake_bus);
	assert(inb(0x21) == 0xff && inb(0xa1) == 0xff);
	pulse(1);
	assert(!intr);
	init(1);
	assert(inb(0x21) == 0 && inb(0x20) == 0);
	outb(0x21, 0x5a);
	assert(inb(0x21) == 0x5a);
	outb(0x21, 0);
	pulse(4);
	assert(intr && inb(0x20) == 0x10 && ack() == 0x34 && !intr && isr(0x20) == 0x10);
	pulse(6);
	assert(!intr); /* less important */
	pulse(1);
	assert(intr && ack() == 0x31 && isr(0x20) == 0x12);
	outb(0x20, 0x20); /* the most important one */
	assert(isr(0x20) == 0x10);
	outb(0x20, 0x64); /* a specific one */
	assert(isr(0x20) == 0 && intr && ack() == 0x36);
	outb(0x20, 0x20);
	outb(0x20, 0x20);
	assert(isr(0x20) == 0);
	/* masks */
	outb(0x21, 0x10);
	pulse(4);
	assert(!intr && inb(0x20) == 0x10);
	outb(0x21, 0);
	assert(intr);
	outb(0x21, 0x10); /* after INTR: spurious, and no ISR bit */
	assert(!intr && ack() == 0x37 && isr(0x20) == 0);
	/* line 2 is the cascade; there are 16 lines */
	init(1);
	pulse(2);
	line(16, true);
	assert(!intr);
}

static void test_cascade(void)
{
	init(1);
	pulse(12);
	assert(intr && inb(0xa0) == 0x10 && inb(0x20) == 0x04);
	assert(ack() == 0x3c && isr(0x20) == 0x04 && isr(0xa0) == 0x10 && !intr);
	pulse(8); /* more important on the slave, but the master serves the slave */
	assert(!intr);
	pulse(0);
	assert(intr && ack() == 0x30);
	outb(0x20, 0x20);
	outb(0xa0, 0x20);
	assert(!intr);
	outb(0x20, 0x20);
	assert(intr && ack() == 0x38);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	pulse(3);
	pulse(15); /* slave is at level 2 */
	assert(ack() == 0x3f);
	outb(0xa0, 0x20);
	outb(0x20, 0x20);
	assert(ack() == 0x33);
	/* special fully nested */
	init(0x11);
	pulse(12);
	assert(ack() == 0x3c && !intr);
	pulse(14);
	assert(!intr);
	pulse(8);
	assert(intr && ack() == 0x38 && isr(0xa0) == 0x11);
}

static void test_eoi_modes(void)
{
	/* automatic */
	init(3);
	pulse(3);
	assert(ack() == 0x33 && isr(0x20) == 0);
	pulse(9);
	assert(ack() == 0x39 && isr(0x20) == 0 && isr(0xa0) == 0);
	/* automatic with rotation: takes turns */
	outb(0x20, 0x80);
	pulse(3);
	assert(ack() == 0x33);
	pulse(3);
	pulse(4);
	assert(ack() == 0x34 && ack() == 0x33);
	outb(0x20, 0x00);
	/* rotation on EOI */
	init(1);
	pulse(3);
	assert(ack() == 0x33);
	outb(0x20, 0xa0); /* 3 is the least important now */
	pulse(3);
	pulse(4);
	pulse(0);
	assert(ack() == 0x34);
	outb(0x20, 0x20);
	assert(ack() == 0x30);
	outb(0x20, 0x20);
	assert(ack() == 0x33);
	outb(0x20, 0xe3);
	assert(isr(0x20) == 0);
	/* set priority */
	outb(0x20, 0xc5);
	pulse(0);
	pulse(6);
	assert(ack() == 0x36);
	pulse(7);
	assert(!intr);
}

static void test_special_mask(void)
{
	init(1);
	pulse(1);
	assert(ack() == 0x31);
	pulse(5);
	assert(!intr);
	outb(0x21, 0x02);
	assert(!intr);
	outb(0x20, 0x68); /* now 1, being masked, lets all others through */
	assert(intr && ack() == 0x35);
	outb(0x20, 0x20); /* does not end the masked one */
	assert(isr(0x20) == 0x02);
	outb(0x20, 0x48);
	pulse(5);
	assert(!intr);
	outb(0x20, 0x20);
	assert(isr(0x20) == 0 && intr);
}

static void test_poll(void)
{
	init(1);
	outb(0x20, 0x0c);
	assert(inb(0x20) == 0);
	pulse(6);
	outb(0x20, 0x0c);
	assert(inb(0x20) == 0x86 && isr(0x20) == 0x40 && !intr);
	outb(0x20, 0x20);
	pulse(10);
	outb(0xa0, 0x0c);
	assert(inb(0xa1) == 0x82 && isr(0xa0) == 0x04);
}

static void test_level(void)
{
	init(1);
	outb(0x4d0, 0xff);
	outb(0x4d1, 0xff);
	assert(inb(0x4d0) == 0xf8 && inb(0x4d1) == 0xde);
	line(5, true);
	assert(ack() == 0x35);
	outb(0x20, 0x20);
	assert(intr && ack() == 0x35); /* still high */
	outb(0x20, 0x20);
	outb(0x4d0, 0); /* an edge now, and none has come */
	assert(!intr);
	outb(0x4d0, 0xff);
	assert(intr && ack() == 0x35);
	line(5, false);
	outb(0x20, 0x20);
	assert(!intr);
	line(11, true);
	assert(intr);
	line(11, false); /* gone before it was taken: spurious */
	assert(!intr && ack() == 0x37);
	line(1, true); /* an edge for ever */
	assert(ack() == 0x31);
	outb(0x20, 0x20);
	assert(!intr);
	/* initialisation keeps levels and forgets edges */
	line(5, true);
	pulse(3); /* 3 is level here: it has gone */
	pulse(0);
	outb(0x20, 0x11);
	outb(0x21, 0x30);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	assert(intr && ack() == 0x35);
	outb(0x20, 0x20);
	outb(0x21, 0x20);
	assert(!intr);
	/* ICW1 without ICW4, single: ICW2 is all */
	line(5, false);
	outb(0x20, 0x12);
	outb(0x21, 0x50);
	outb(0x21, 0xfe);
	assert(inb(0x21) == 0xfe);
	pulse(0);
	assert(ack() == 0x50 && isr(0x20) == 0x01); /* no automatic EOI */
}

int main(void)
{
	fake_bus = bus_new();
	pic = pic_new(fake_bus, on_intr, NULL);
	test_basic();
	test_cascade();
	test_eoi_modes();
	test_special_mask();
	test_poll();
	test_level();
	pic_free(pic);
	bus_free(fake_bus);
	return 0;
}
