/* SPDX-License-Identifier: MIT */
/* Clock: formats, setting, UIP, the three interrupts, memory sizes. */
#include <time.h>

#include "dev/legacy.h"
#include "fake.h"

enum { UTC = 1700000000 }; /* 2023-11-14 22:13:20, a Tuesday */

static struct rtc *rtc;
static struct wire irq;

static uint8_t rd(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static void wr(uint8_t reg, uint8_t v)
{
	outb(0x70, reg);
	outb(0x71, v);
}

static void wall(int64_t s, int64_t ns)
{
	fake_wall = s * (int64_t)S + ns - (int64_t)fake_now;
}

static bool time_is(uint8_t h, uint8_t m, uint8_t s)
{
	return rd(4) == h && rd(2) == m && rd(0) == s;
}

static void fresh(void)
{
	if (rtc) {
		rtc_free(rtc);
		bus_free(fake_bus);
	}
	wall(UTC, 0);
	memset(&irq, 0, sizeof irq);
	fake_bus = bus_new();
	rtc = rtc_new(fake_bus, NULL, WIRE(irq), 2048ull << 20, 3ull << 30);
}

static void test_read(void)
{
	fresh();
	assert(rd(0x0a) == 0x26 && rd(0x0b) == 0x02 && rd(0x0d) == 0x80);
	assert(time_is(0x22, 0x13, 0x20));
	assert(rd(6) == 3 && rd(7) == 0x14 && rd(8) == 0x11 && rd(9) == 0x23 && rd(0x32) == 0x20);
	wr(0x0b, 0x06); /* binary */
	assert(time_is(22, 13, 20) && rd(7) == 14 && rd(8) == 11 && rd(9) == 23 && rd(0x32) == 20);
	wr(0x0b, 0x04); /* binary, 12 hours */
	assert(time_is(0x80 | 10, 13, 20));
	wr(0x0b, 0x00);
	assert(time_is(0x90, 0x13, 0x20));
	wall(UTC + 2 * 3600, 0); /* after midnight: 12 am */
	assert(time_is(0x12, 0x13, 0x20) && rd(7) == 0x15);
	wall(UTC + 14 * 3600, 0); /* noon: 12 pm */
	assert(time_is(0x92, 0x13, 0x20));
	/* nmi mask and index; the index cannot be read */
	outb(0x70, 0x80 | 0x0d);
	assert(inb(0x71) == 0x80 && inb(0x70) == 0xff);
	/* the rest is memory, and reset keeps it */
	wr(0x40, 0x5a);
	bus_reset(fake_bus);
	assert(rd(0x40) == 0x5a);
	wr(0x0d, 0);
	assert(rd(0x0d) == 0x80);
}

/* The calendar against the C library's, both ways. */
static void test_calendar(void)
{
	fresh();
	wr(0x0b, 0x06);
	for (int i = 0; i < 20000; i++) {
		/* to year 9999; the fake clock's epoch cannot go there, the guest's can */
		time_t t = (time_t)(rnd() % 253402300800);
		struct tm tm;

		assert(gmtime_r(&t, &tm));
		wr(0x0b, 0x86);
		wr(0, (uint8_t)tm.tm_sec);
		wr(2, (uint8_t)tm.tm_min);
		wr(4, (uint8_t)tm.tm_hour);
		wr(7, (uint8_t)tm.tm_mday);
		wr(8, (uint8_t)(tm.tm_mon + 1));
		wr(9, (uint8_t)(tm.tm_year % 100));
		wr(0x32, (uint8_t)((tm.tm_year + 1900) / 100));
		wr(0x0b, 0x06);
		t += 86400;
		fake_advance(86400 * S);
		assert(gmtime_r(&t, &tm));
		assert(time_is((uint8_t)tm.tm_hour, (uint8_t)tm.tm_min, (uint8_t)tm.tm_sec));
		assert(rd(6) == tm.tm_wday + 1 && rd(7) == tm.tm_mday && rd(8) == tm.tm_mon + 1);
		assert(rd(9) == tm.tm_year % 100 && (rd(0x32) == (tm.tm_year + 1900) / 100 % 100));
	}
}

static void test_sizes(void)
{
	unsigned sum = 0;

	fresh();
	assert(rd(0x15) == 0x80 && rd(0x16) == 0x02);
	assert(rd(0x17) == 0xff && rd(0x18) == 0xff && rd(0x30) == 0xff && rd(0x31) == 0xff);
	assert((rd(0x34) | rd(0x35) << 8) == (2048 - 16) * 16);
	assert((rd(0x5b) | rd(0x5c) << 8 | rd(0x5d) << 16) == 3 * 1024 * 16);
	for (uint8_t i = 0x10; i < 0x2e; i++)
		sum += rd(i);
	assert(sum == ((unsigned)rd(0x2e) << 8 | rd(0x2f)));
}

static void test_uip(void)
{
	unsigned up = 0;

	fresh();
	for (int i = 0; i < 10000; i++, fake_advance(100 * US))
		up += rd(0x0a) >> 7;
	assert(up >= 2 && up <= 3); /* 244 us of the second */
	wall(UTC, 999900000);
	assert(rd(0x0a) == 0xa6);
	wr(0x0b, 0x82);
	assert(rd(0x0a) == 0x26); /* held: no update */
}

static void test_set(void)
{
	fresh();
	/* held from the moment of SET, whenever the time was read last */
	rd(0);
	fake_advance(7 * S);
	wr(0x0b, 0x82);
	assert(time_is(0x22, 0x13, 0x27));
	fresh();
	/* as a driver does it */
	wr(0x0b, 0x82);
	fake_advance(5 * S);
	assert(time_is(0x22, 0x13, 0x20)); /* held */
	wr(0, 0x58);
	wr(2, 0x59);
	wr(4, 0x23);
	wr(7, 0x31);
	wr(8, 0x12);
	wr(9, 0x99);
	wr(0x32, 0x19);
	assert(time_is(0x23, 0x59, 0x58));
	wr(0x0b, 0x02);
	assert(time_is(0x23, 0x59, 0x58) && rd(6) == 6); /* a Friday */
	fake_advance(2 * S);
	assert(time_is(0, 0, 0) && rd(7) == 1 && rd(8) == 1 && rd(9) == 0 && rd(0x32) == 0x20);
	/* without SET: a byte at a time */
	wr(4, 0x07);
	wr(2, 0x30);
	assert(time_is(0x07, 0x30, 0x00));
	/* an alarm is no time: setting one does not throw away the fraction of the second */
	fake_advance(900 * MS);
	for (uint8_t r = 1; r <= 5; r += 2)
		wr(r, 0x59);
	assert(time_is(0x07, 0x30, 0x00) && rd(1) == 0x59 && rd(3) == 0x59 && rd(5) == 0x59);
	fake_advance(100 * MS);
	assert(time_is(0x07, 0x30, 0x01));
	wr(0, 0x00);
	/* goes with the host's clock */
	fake_wall += 3600 * (int64_t)S;
	assert(time_is(0x08, 0x30, 0x00));
	/* a leap day by carry, and bytes of no meaning */
	wr(0x0b, 0x82);
	wr(8, 0x02);
	wr(7, 0x30);
	wr(0x0b, 0x02);
	assert(rd(8) == 3 && rd(7) == 1); /* 2000-02-30 */
	for (int i = 0; i < 2000; i++)
		wr((uint8_t)(rnd() % 10), (uint8_t)rnd());
	wr(0x32, 0xff);
	for (uint8_t r = 0; r < 14; r++)
		rd(r);
	/* the divider: stopped in reset, and half a second from its start to the first update */
	fresh();
	wr(0x0a, 0x76);
	fake_advance(3 * S);
	assert(time_is(0x22, 0x13, 0x20));
	wr(0x0a, 0x26);
	fake_advance(S / 2 - 1);
	assert(time_is(0x22, 0x13, 0x20));
	fake_advance(1);
	assert(time_is(0x22, 0x13, 0x21));
}

static void test_update(void)
{
	fresh();
	wr(0x0a, 0x20); /* or the periodic flag would come along */
	assert(!fake_next()); /* nobody listens */
	wall(UTC, 250000000);
	wr(0x0b, 0x12);
	fake_advance(750 * MS - 1);
	assert(!irq.level);
	fake_advance(1);
	assert(irq.level && irq.rises == 1);
	fake_advance(5 * S); /* not acknowledged: no more */
	assert(irq.rises == 1);
	assert(rd(0x0c) == 0x90 && !irq.level);
	assert(rd(0x0c) == 0);
	for (int i = 0; i < 10; i++) {
		fake_advance(S);
		assert(irq.level && rd(0x0c) == 0x90);
	}
	assert(irq.rises == 11);
	wr(0x0b, 0x92); /* SET clears UIE */
	assert(rd(0x0b) == 0x82 && !fake_next());
	/* polled */
	wr(0x0b, 0x02);
	rd(0x0c);
	fake_advance(S);
	assert(rd(0x0c) == 0x10 && irq.rises == 11);
	/* a flag that is up interrupts when it is enabled */
	fake_advance(S);
	wr(0x0b, 0x12);
	assert(irq.level);
	bus_reset(fake_bus);
	assert(!irq.level && rd(0x0b) == 0x02);
}

static void test_alarm(void)
{
	fresh();
	wr(0x0a, 0x20);
	wr(1, 0x30);
	wr(3, 0x13);
	wr(5, 0x22);
	wr(0x0b, 0x22);
	fake_advance(10 * S - 1);
	assert(!irq.level);
	fake_advance(1);
	assert(irq.level && rd(0x0c) == 0xb0);
	fake_advance(86399 * S);
	assert(!irq.level);
	fake_advance(S); /* the next day */
	assert(irq.level && rd(0x0c) == 0xb0);
	/* each minute */
	wr(3, 0xff);
	wr(5, 0xc0);
	for (int i = 0; i < 5; i++) {
		fake_advance(60 * S);
		assert(irq.level);
		rd(0x0c);
	}
	/* the host's clock is set back while we wait */
	fresh();
	wr(0x0a, 0x20);
	wr(1, 0x30);
	wr(3, 0x13);
	wr(5, 0x22);
	wr(0x0b, 0x22);
	fake_wall -= 100 * (int64_t)S;
	fake_advance(109 * S);
	assert(!irq.level);
	fake_advance(S);
	assert(irq.level && rd(0x0c) & 0x20);
	wr(3, 0xff);
	wr(5, 0xff);
	/* one that never comes costs little and harms nobody */
	wr(1, 0x7f);
	irq.rises = fake_fired = 0;
	fake_advance(3 * 86400 * S);
	assert(!irq.rises && fake_fired <= 4);
	/* polled long after */
	wr(0x0b, 0x02);
	wr(1, 0x05);
	rd(0x0c);
	fake_advance(100 * S);
	assert(rd(0x0c) == 0x30);
	/* 12 hours: pm */
	fresh();
	wr(0x0b, 0x20);
	wr(1, 0x00);
	wr(3, 0x00);
	wr(5, 0x91); /* 11 pm */
	fake_advance((46 * 60 + 40) * S - 1);
	assert(!irq.level);
	fake_advance(1);
	assert(irq.level);
}

static void test_periodic(void)
{
	fresh();
	wr(0x0b, 0x42); /* 1024 Hz */
	for (int i = 0; i < 1024; i++) {
		fake_advance(i % 2 ? 976562 : 976563);
		assert(irq.level && rd(0x0c) & 0x40);
	}
	assert(irq.rises == 1024);
	/* all rates */
	for (unsigned r = 1; r < 16; r++) {
		unsigned hz = r < 3 ? 256u >> (r - 1) : 65536u >> r;
		unsigned got = 0;

		wr(0x0a, (uint8_t)(0x20 | r));
		rd(0x0c);
		for (unsigned i = 0; i < 100000; i++) {
			fake_advance(10 * US);
			if (irq.level) {
				rd(0x0c);
				got++;
			}
		}
		assert(got >= hz - 1 && got <= hz);
	}
	wr(0x0a, 0x20); /* off */
	rd(0x0c);
	assert(!fake_next());
	/* polled */
	wr(0x0b, 0x02);
	wr(0x0a, 0x26);
	rd(0x0c);
	fake_advance(900 * US);
	assert(!(rd(0x0c) & 0x40));
	fake_advance(100 * US);
	assert(rd(0x0c) & 0x40);
	/* missed ones merge */
	wr(0x0b, 0x42);
	irq.rises = 0;
	fake_now += S;
	fake_advance(0);
	rd(0x0c);
	assert(irq.rises == 1 && !irq.level);
}

int main(void)
{
	test_read();
	test_calendar();
	test_sizes();
	test_uip();
	test_set();
	test_update();
	test_alarm();
	test_periodic();
	rtc_free(rtc);
	bus_free(fake_bus);
	return 0;
}
