/* SPDX-License-Identifier: MIT */
/* 8254 modes against the datasheet's waveforms, latches, read-back, port 0x61, interrupts of channel 0. */
#include "dev/legacy.h"
#include "fake.h"

enum { HZ = 1193182 };

static struct pit *pit;
static struct wire irq;

/* Clock ticks since the host booted, as pit.c counts them, and time until a later one. */
static uint64_t tick(void)
{
	return fake_now / S * HZ + fake_now % S * HZ / S;
}

static void ticks(uint64_t n)
{
	uint64_t end = tick() + n;

	while (tick() < end) {
		uint64_t ns = (end - tick()) * S / HZ;

		fake_advance(ns ? ns : 1);
	}
	assert(tick() == end);
}

static void program(unsigned ch, unsigned mode, uint16_t count)
{
	outb(0x43, (uint8_t)(ch << 6 | 0x30 | mode << 1));
	outb((uint16_t)(0x40 + ch), count & 0xff);
	outb((uint16_t)(0x40 + ch), (uint8_t)(count >> 8));
}

static unsigned count(unsigned ch)
{
	unsigned v;

	outb(0x43, (uint8_t)(ch << 6));
	v = inb((uint16_t)(0x40 + ch));
	return v | (unsigned)inb((uint16_t)(0x40 + ch)) << 8;
}

static uint8_t status(unsigned ch)
{
	outb(0x43, (uint8_t)(0xe0 | 2u << ch));
	return inb((uint16_t)(0x40 + ch));
}

static bool out2(void)
{
	bool o = inb(0x61) & 0x20;

	assert(o == (status(2) >> 7));
	return o;
}

static void gate2(bool on)
{
	outb(0x61, on);
}

static void test_mode0(void)
{
	bus_reset(fake_bus);
	gate2(true);
	program(2, 0, 1000);
	assert(!out2() && count(2) == 1000);
	ticks(400);
	assert(count(2) == 600 && !out2());
	gate2(false); /* stops */
	ticks(5000);
	assert(count(2) == 600 && !out2());
	gate2(true);
	ticks(599);
	assert(count(2) == 1 && !out2());
	ticks(1);
	assert(count(2) == 0 && out2());
	ticks(1);
	assert(count(2) == 0xffff && out2()); /* goes on, stays high */
	ticks(0x20000);
	assert(count(2) == 0xffff && out2());
	/* a new count starts over; its first byte already takes the output down */
	outb(0x42, 100);
	assert(!out2() && status(2) == 0x70);
	outb(0x42, 0);
	assert(status(2) == 0x30);
	ticks(100);
	assert(out2());
	/* 0 is 65536 */
	program(2, 0, 0);
	ticks(65535);
	assert(!out2() && count(2) == 1);
	ticks(1);
	assert(out2());
	/* loaded while the gate is down */
	gate2(false);
	program(2, 0, 50);
	ticks(100);
	assert(!out2() && count(2) == 50);
	gate2(true);
	ticks(50);
	assert(out2());
}

static void test_mode1(void)
{
	bus_reset(fake_bus);
	program(2, 1, 500);
	assert(out2());
	ticks(1000);
	assert(out2());
	gate2(true);
	assert(!out2());
	gate2(false); /* not a level */
	ticks(499);
	assert(!out2() && count(2) == 1);
	ticks(1);
	assert(out2());
	/* triggered again meanwhile: anew; a new count waits for the next trigger */
	gate2(true);
	ticks(300);
	gate2(false);
	outb(0x42, 200 & 0xff);
	outb(0x42, 0);
	ticks(100);
	assert(!out2() && count(2) == 100);
	gate2(true);
	assert(count(2) == 200);
	ticks(199);
	assert(!out2());
	ticks(1);
	assert(out2());
}

static void test_mode2(void)
{
	bus_reset(fake_bus);
	gate2(true);
	program(2, 2, 10);
	for (int period = 0; period < 3; period++)
		for (unsigned i = 0; i < 10; i++, ticks(1))
			assert(count(2) == 10 - i && out2() == (i != 9));
	/* a new count waits for the end of the period */
	ticks(3);
	outb(0x42, 20);
	outb(0x42, 0);
	assert(count(2) == 7 && status(2) == 0xf4);
	ticks(7);
	assert(count(2) == 20 && status(2) == 0xb4);
	ticks(19);
	assert(count(2) == 1 && !out2());
	/* the gate stops and restarts */
	ticks(8);
	gate2(false);
	assert(out2());
	ticks(100);
	gate2(true);
	assert(count(2) == 20);
	ticks(5);
	assert(count(2) == 15);
}

static void test_mode3(void)
{
	bus_reset(fake_bus);
	gate2(true);
	program(2, 3, 8);
	for (int period = 0; period < 3; period++)
		for (unsigned i = 0; i < 8; i++, ticks(1))
			assert(out2() == (i < 4) && count(2) == 8 - 2 * (i % 4));
	program(2, 7, 5); /* mode 7 is 3; odd: high for three */
	for (int period = 0; period < 3; period++)
		for (unsigned i = 0; i < 5; i++, ticks(1))
			assert(out2() == (i < 3));
	assert((status(2) & 0x3f) == 0x36);
}

static void test_mode45(void)
{
	bus_reset(fake_bus);
	gate2(true);
	program(2, 4, 100);
	assert(out2());
	ticks(99);
	assert(out2());
	ticks(1);
	assert(!out2() && count(2) == 0);
	ticks(1);
	assert(out2());
	ticks(65536 - 1);
	assert(out2() && count(2) == 0); /* once only */
	gate2(false);
	program(2, 5, 100);
	ticks(1000);
	assert(out2());
	gate2(true);
	gate2(false);
	ticks(100);
	assert(!out2());
	ticks(1);
	assert(out2());
}

static void test_access(void)
{
	bus_reset(fake_bus);
	gate2(true);
	/* low byte only, high byte only */
	outb(0x43, 0x94);
	outb(0x42, 200);
	assert(inb(0x42) == 200);
	ticks(50);
	assert(inb(0x42) == 150 && inb(0x42) == 150);
	outb(0x43, 0xa4);
	outb(0x42, 0x10);
	assert(inb(0x42) == 0x10);
	ticks(1);
	assert(inb(0x42) == 0x0f);
	outb(0x43, 0x80);
	ticks(0x100);
	assert(inb(0x42) == 0x0f && inb(0x42) == 0x0e);
	/* a latch holds until read; a second one is ignored */
	program(2, 2, 1000);
	ticks(100);
	outb(0x43, 0x80);
	ticks(100);
	outb(0x43, 0x80);
	assert(inb(0x42) == (900 & 0xff) && inb(0x42) == 900 >> 8);
	assert(count(2) == 800);
	/* unlatched: low, high */
	assert(inb(0x42) == (800 & 0xff) && inb(0x42) == 800 >> 8);
	/* read-back of count and status at once: status first; of several channels */
	program(0, 2, 600);
	outb(0x43, 0xca);
	ticks(10);
	assert(inb(0x42) == 0xb4 && inb(0x42) == (800 & 0xff) && inb(0x42) == 800 >> 8);
	assert(inb(0x40) == 0xb4 && inb(0x40) == (600 & 0xff) && inb(0x40) == 600 >> 8);
	/* BCD */
	outb(0x43, 0xb1);
	outb(0x42, 0x34);
	outb(0x42, 0x12);
	assert(count(2) == 0x1234);
	ticks(1234);
	assert(count(2) == 0 && out2());
	ticks(1);
	assert(count(2) == 0x9999 && status(2) == 0xb1);
	outb(0x42, 0xff); /* no digits: as many as there can be */
	outb(0x42, 0xff);
	ticks(9999);
	assert(!out2());
	ticks(1);
	assert(out2());
	/* the control port cannot be read; no control word yet: writes go nowhere */
	assert(inb(0x43) == 0xff);
	bus_reset(fake_bus);
	outb(0x42, 1);
	outb(0x42, 2);
	assert(inb(0x42) == 0);
}

static void test_port_61(void)
{
	unsigned changes = 0;
	bool was = false;

	bus_reset(fake_bus);
	outb(0x61, 0xff);
	assert((inb(0x61) & 0xcf) == 0x0f);
	for (int i = 0; i < 1000; i++) {
		bool now = inb(0x61) & 0x10;

		changes += now != was;
		was = now;
		fake_advance(US);
	}
	assert(changes >= 65 && changes <= 67); /* each 15.085 us */
	/* Linux' calibration: gate on, speaker off, 50 ms in mode 0 */
	outb(0x61, (inb(0x61) & ~2) | 1);
	program(2, 0, HZ / 20);
	fake_advance(49990 * US);
	assert(!(inb(0x61) & 0x20));
	fake_advance(20 * US);
	assert(inb(0x61) & 0x20);
}

static void test_irq(void)
{
	bus_reset(fake_bus);
	irq.rises = 0;
	assert(!fake_next());
	program(0, 2, HZ / 100);
	irq.rises = 0; /* the output went up with the control word */
	fake_advance(S);
	assert(irq.rises == 100);
	program(0, 3, HZ / 100);
	irq.rises = 0;
	fake_advance(S);
	assert(irq.rises == 100);
	/* one shot: once, and high until the next count */
	program(0, 0, 1193);
	irq.rises = 0;
	assert(!irq.level);
	fake_advance(999 * US);
	assert(!irq.level);
	fake_advance(2 * US);
	assert(irq.level && irq.rises == 1);
	fake_advance(S);
	assert(irq.rises == 1 && !fake_next());
	outb(0x40, 100);
	assert(!irq.level);
	outb(0x40, 0);
	fake_advance(MS);
	assert(irq.rises == 2);
	outb(0x43, 0x30); /* the control word alone takes it down */
	assert(!irq.level);
	/* strobe */
	program(0, 4, 1193);
	irq.rises = 0;
	fake_advance(S);
	assert(irq.rises == 1 && !fake_next());
	/* one that is late by many periods gives one interrupt and is in step again */
	program(0, 2, 11932);
	irq.rises = 0;
	fake_now += 105 * MS;
	fake_advance(0);
	assert(irq.rises == 1);
	fake_advance(6 * MS);
	assert(irq.rises == 2);
	/* the fastest does not make us spin */
	program(0, 2, 1);
	fake_fired = 0;
	fake_advance(10 * MS);
	assert(fake_fired >= 400 && fake_fired <= 500);
	/* a new count in the middle: the period ends as it was */
	program(0, 2, 1193);
	irq.rises = 0;
	fake_advance(100 * US);
	outb(0x40, 11932 & 0xff);
	outb(0x40, 11932 >> 8);
	fake_advance(MS);
	assert(irq.rises == 1);
	fake_advance(9 * MS);
	assert(irq.rises == 1);
	fake_advance(MS);
	assert(irq.rises == 2);
	bus_reset(fake_bus);
	assert(!irq.level && !fake_next());
}

int main(void)
{
	fake_bus = bus_new();
	pit = pit_new(fake_bus, NULL, WIRE(irq));
	test_mode0();
	test_mode1();
	test_mode2();
	test_mode3();
	test_mode45();
	test_access();
	test_port_61();
	test_irq();
	pit_free(pit);
	bus_free(fake_bus);
	return 0;
}
