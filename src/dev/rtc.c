/* SPDX-License-Identifier: MIT */
/*
 * Real-time clock and CMOS memory (Motorola MC146818A datasheet), 128 bytes at ports 0x70 and 0x71.
 *
 * The clock is the host's UTC plus an offset that changes when the guest sets the time. While the guest holds
 * it (SET, or the divider in reset) the ten time bytes are plain memory. Flags are not stepped: catch_up()
 * raises what has become due since it was called last, and the host timer is armed only for interrupts that
 * are enabled, so that a clock that nobody listens to costs nothing. Periodic ticks that were missed
 * merge into one, as in register C.
 *
 * The NMI mask (bit 7 of port 0x70) has no effect: it gates a pin that nothing drives here. The NMIs of this
 * board are messages between APICs, which it does not gate in hardware either.
 */
#include <stdlib.h>
#include <time.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { RTC_PORT = 0x70, CMOS_SIZE = 128 };
enum { SEC = 0, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WDAY, MDAY, MON, YEAR, REG_A, REG_B, REG_C, REG_D,
	EQUIPMENT = 0x14, BASE_MEM = 0x15, EXT_MEM = 0x17, CHECKSUM = 0x2e, EXT_MEM2 = 0x30, CENTURY = 0x32,
	MEM_16M = 0x34, MEM_4G = 0x5b };
enum { A_UIP = 0x80, A_DV_RESET = 0x60, A_RATE = 0x0f, A_DEFAULT = 0x26 };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_SQWE = 0x08, B_BINARY = 0x04, B_24H = 0x02 };
enum { C_IRQ = 0x80, C_FLAGS = 0x70, C_PERIODIC = 0x40, C_ALARM = 0x20, C_UPDATE = 0x10 };
enum { D_VALID = 0x80, DONT_CARE = 0xc0, HOUR_PM = 0x80, DAY = 86400, SECOND = 1000000000, UIP_NS = 244141,
	RESTART_NS = SECOND / 2, TIMER_MIN_NS = 20000 };
enum { DAYS_400 = 146097 /* in 400 years */, DAYS_TO_1970 = 719528 /* from year 0 */ };

struct rtc {
	struct bus *bus;
	struct loop *loop;
	struct irq irq;
	struct timer timer;
	uint8_t cmos[CMOS_SIZE]; /* the time bytes only count while the clock is held */
	uint8_t index;
	int64_t offset_s; /* guest time less host time */
	int64_t offset_ns;
	int64_t seen; /* the guest second up to which updates and alarms are done */
	uint64_t periodic_start, periodic_n; /* CLOCK_MONOTONIC; ticks since then that are done */
};

struct guest_time {
	int64_t s;
	int64_t ns; /* 0 to SECOND - 1 */
};

static struct guest_time guest_now(const struct rtc *r)
{
	struct timespec ts;
	struct guest_time t;

	clock_gettime(CLOCK_REALTIME, &ts);
	t.s = ts.tv_sec + r->offset_s;
	t.ns = ts.tv_nsec + r->offset_ns;
	if (t.ns >= SECOND) {
		t.ns -= SECOND;
		t.s++;
	}
	return t;
}

static void guest_set(struct rtc *r, struct guest_time t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	r->offset_s = t.s - ts.tv_sec;
	r->offset_ns = t.ns - ts.tv_nsec;
	if (r->offset_ns < 0) {
		r->offset_ns += SECOND;
		r->offset_s--;
	}
	r->seen = t.s;
}

static bool held(const struct rtc *r)
{
	return r->cmos[REG_B] & B_SET || (r->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;
}

/* --- the format of the time bytes --- */

static uint8_t encode(const struct rtc *r, unsigned v)
{
	return (uint8_t)(r->cmos[REG_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned h)
{
	if (r->cmos[REG_B] & B_24H)
		return encode(r, h);
	return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? HOUR_PM : 0);
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->cmos[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & ~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

/*
 * The calendar, in days since the first of January of a year 400 * k; not gmtime(), which reads /etc/localtime
 * behind the sandbox's back.
 */
static int64_t year_start(int64_t y)
{
	return y * 365 + (y + 3) / 4 - (y + 99) / 100 + (y + 399) / 400;
}

/* Days before a month of 1 to 12; 13 is the length of the year. */
static unsigned month_start(int64_t y, unsigned month)
{
	static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
	bool leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);

	return before[month - 1] + (leap && month > 2);
}

static void time_store(struct rtc *r, int64_t s)
{
	unsigned of_day = (unsigned)((s % DAY + DAY) % DAY), month = 1;
	/* 400 years more than there are: positive, whatever the guest made of the clock */
	int64_t day = (s - of_day) / DAY + DAYS_TO_1970 + DAYS_400, year = day * 400 / DAYS_400, rest;

	while (year_start(year) > day)
		year--;
	while (year_start(year + 1) <= day)
		year++;
	rest = day - year_start(year);
	while (month_start(year, month + 1) <= rest)
		month++;
	r->cmos[SEC] = encode(r, of_day % 60);
	r->cmos[MIN] = encode(r, of_day / 60 % 60);
	r->cmos[HOUR] = encode_hour(r, of_day / 3600);
	r->cmos[WDAY] = encode(r, (unsigned)((day + 6) % 7) + 1); /* 1 is Sunday */
	r->cmos[MDAY] = encode(r, (unsigned)rest - month_start(year, month) + 1);
	r->cmos[MON] = encode(r, month);
	year = (year + 9600) % 10000;
	r->cmos[YEAR] = encode(r, (unsigned)year % 100);
	r->cmos[CENTURY] = encode(r, (unsigned)year / 100);
}

/* Any bytes make some time: what is out of range carries. */
static int64_t time_load(const struct rtc *r)
{
	int month = decode(r, r->cmos[MON]) + 11; /* of the year before, from 0 */
	int64_t year = decode(r, r->cmos[CENTURY]) * 100 + decode(r, r->cmos[YEAR]) + 399 + month / 12;
	int64_t day = year_start(year) + month_start(year, (unsigned)month % 12 + 1) +
		decode(r, r->cmos[MDAY]) - 1 - DAYS_400 - DAYS_TO_1970;

	return day * DAY + decode_hour(r, r->cmos[HOUR]) * 3600 + decode(r, r->cmos[MIN]) * 60 +
		decode(r, r->cmos[SEC]);
}

static bool is_time(unsigned reg)
{
	return reg == SEC || reg == MIN || (reg >= HOUR && reg <= YEAR && reg != HOUR_ALARM) ||
		reg == CENTURY;
}

/* --- flags --- */

static bool alarm_is(uint8_t alarm, uint8_t v)
{
	return (alarm & DONT_CARE) == DONT_CARE || alarm == v;
}

/* The first second after s at which the alarm matches, or INT64_MAX: visits each hour and minute once. */
static int64_t next_alarm(const struct rtc *r, int64_t s)
{
	int64_t end = s + DAY;

	for (s++; s <= end;) {
		unsigned of_day = (unsigned)((s % DAY + DAY) % DAY);

		if (!alarm_is(r->cmos[HOUR_ALARM], encode_hour(r, of_day / 3600)))
			s += 3600 - of_day % 3600;
		else if (!alarm_is(r->cmos[MIN_ALARM], encode(r, of_day / 60 % 60)))
			s += 60 - of_day % 60;
		else if (!alarm_is(r->cmos[SEC_ALARM], encode(r, of_day % 60)))
			s++;
		else
			return s;
	}
	return INT64_MAX;
}

/* In 32768ths of a second; 0: off. The two fastest codes wrap to slow ones. */
static uint64_t periodic_len(const struct rtc *r)
{
	unsigned rate = r->cmos[REG_A] & A_RATE;

	if (!rate || (r->cmos[REG_A] & A_DV_RESET) == A_DV_RESET)
		return 0;
	return UINT64_C(1) << (rate < 3 ? rate + 6 : rate - 1);
}

/* ns from periodic_start to its nth tick, rounded up */
static uint64_t periodic_ns(const struct rtc *r, uint64_t n)
{
	uint64_t u = n * periodic_len(r);

	return u / 32768 * SECOND + (u % 32768 * SECOND + 32767) / 32768;
}

static void irq_update(struct rtc *r)
{
	uint8_t c = r->cmos[REG_C] & C_FLAGS;

	if (c & r->cmos[REG_B])
		c |= C_IRQ;
	r->cmos[REG_C] = c;
	irq_set(&r->irq, c & C_IRQ);
}

static void catch_up(struct rtc *r, uint64_t now)
{
	struct guest_time t;
	uint64_t len = periodic_len(r), n, ns;

	if (len) {
		ns = now > r->periodic_start ? now - r->periodic_start : 0;
		n = (ns / SECOND * 32768 + ns % SECOND * 32768 / SECOND) / len;
		if (n > r->periodic_n) {
			r->periodic_n = n;
			r->cmos[REG_C] |= C_PERIODIC;
		}
	}
	if (!held(r)) {
		t = guest_now(r);
		if (t.s > r->seen) {
			r->cmos[REG_C] |= C_UPDATE;
			if (next_alarm(r, r->seen) <= t.s)
				r->cmos[REG_C] |= C_ALARM;
		}
		r->seen = t.s; /* also when the host's clock was set back */
	}
	irq_update(r);
}

static void arm(struct rtc *r, uint64_t now)
{
	uint8_t on = r->cmos[REG_B] & ~r->cmos[REG_C]; /* a flag that is up cannot rise */
	uint64_t at = UINT64_MAX, len = periodic_len(r);
	struct guest_time t;
	int64_t next;

	if (on & B_PIE && len)
		at = max_u64(r->periodic_start + periodic_ns(r, r->periodic_n + 1), now + TIMER_MIN_NS);
	if (on & (B_AIE | B_UIE) && !held(r)) {
		t = guest_now(r);
		next = on & B_UIE ? t.s + 1 : next_alarm(r, t.s);
		if (next == INT64_MAX) /* never, but the host's clock or the alarm may be set */
			next = t.s + DAY;
		at = min_u64(at, now + (uint64_t)(next - t.s) * SECOND - (uint64_t)t.ns);
	}
	timer_set(r->loop, &r->timer, at == UINT64_MAX ? 0 : at);
}

static void rtc_fire(struct timer *t)
{
	struct rtc *r = CONTAINER_OF(t, struct rtc, timer);
	uint64_t now;

	bus_lock(r->bus);
	now = now_ns();
	catch_up(r, now);
	arm(r, now);
	bus_unlock(r->bus);
}

/* --- registers --- */

/* Registers A and B decide whether the clock runs: the time bytes become memory, or the clock. */
static void control_write(struct rtc *r, unsigned reg, uint8_t v, uint64_t now)
{
	bool was_held = held(r), was_reset = (r->cmos[REG_A] & A_DV_RESET) == A_DV_RESET;
	struct guest_time t = guest_now(r);
	uint64_t len = periodic_len(r);

	if (!was_held)
		time_store(r, t.s); /* in the format that is about to change */
	if (reg == REG_A) {
		r->cmos[REG_A] = v & ~A_UIP;
	} else {
		if (v & B_SET)
			v &= ~B_UIE;
		r->cmos[REG_B] = v;
	}
	if (was_held && !held(r)) {
		t.s = time_load(r);
		if (was_reset)
			t.ns = RESTART_NS; /* the first update comes half a second after the divider starts */
		guest_set(r, t);
	}
	if (periodic_len(r) != len) {
		r->periodic_start = now;
		r->periodic_n = 0;
	}
}

static void cmos_write(struct rtc *r, uint8_t v)
{
	uint64_t now = now_ns();
	struct guest_time t;

	catch_up(r, now);
	switch (r->index) {
	case REG_A:
	case REG_B:
		control_write(r, r->index, v, now);
		break;
	case REG_C:
	case REG_D:
		break;
	default:
		if (is_time(r->index) && !held(r)) {
			t = guest_now(r);
			time_store(r, t.s);
			r->cmos[r->index] = v;
			t.s = time_load(r);
			guest_set(r, t);
		} else {
			r->cmos[r->index] = v;
		}
	}
	irq_update(r);
	arm(r, now);
}

static uint8_t cmos_read(struct rtc *r)
{
	uint64_t now;
	uint8_t v;

	if (is_time(r->index) && !held(r))
		time_store(r, guest_now(r).s);
	v = r->cmos[r->index];
	if (r->index == REG_A && !held(r) && guest_now(r).ns >= SECOND - UIP_NS)
		v |= A_UIP;
	if (r->index == REG_C) {
		now = now_ns();
		catch_up(r, now);
		v = r->cmos[REG_C];
		r->cmos[REG_C] = 0;
		irq_update(r);
		arm(r, now);
	}
	return v;
}

static uint64_t rtc_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)cpu;
	(void)len;
	return off ? cmos_read(dev) : 0xff; /* the index cannot be read */
}

static void rtc_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct rtc *r = dev;

	(void)cpu;
	(void)len;
	if (off)
		cmos_write(r, v & 0xff);
	else
		r->index = v & 0x7f;
}

/* The RESET pin: the battery keeps the clock and the memory. */
static void rtc_reset(void *dev)
{
	struct rtc *r = dev;

	r->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	r->cmos[REG_C] = 0;
	r->index = 0;
	irq_update(r);
	arm(r, now_ns());
}

static void put_size(struct rtc *r, unsigned reg, uint64_t v, uint64_t max)
{
	put_u16(r->cmos + reg, (uint16_t)min_u64(v, max));
}

/* What a BIOS would have written about memory, for guests that look here. */
static void sizes_store(struct rtc *r, uint64_t low, uint64_t high)
{
	uint64_t above_1m = low > MIB ? low - MIB : 0, above_16m = low > 16 * MIB ? low - 16 * MIB : 0;
	unsigned sum = 0;

	put_size(r, BASE_MEM, 640, 640);
	put_size(r, EXT_MEM, above_1m / KIB, 0xffff);
	put_size(r, EXT_MEM2, above_1m / KIB, 0xffff);
	put_size(r, MEM_16M, above_16m / (64 * KIB), 0xffff);
	high = min_u64(high / (64 * KIB), 0xffffff);
	put_u16(r->cmos + MEM_4G, high & 0xffff);
	r->cmos[MEM_4G + 2] = (uint8_t)(high >> 16);
	r->cmos[EQUIPMENT] = 0x02; /* has an FPU */
	for (unsigned i = 0x10; i < CHECKSUM; i++)
		sum += r->cmos[i];
	r->cmos[CHECKSUM] = sum >> 8 & 0xff;
	r->cmos[CHECKSUM + 1] = sum & 0xff;
}

static const struct dev_ops rtc_ops = {"rtc", rtc_read, rtc_write, rtc_reset, 1};

struct rtc *rtc_new(struct bus *b, struct loop *l, struct irq irq, uint64_t low_mem, uint64_t high_mem)
{
	struct rtc *r = xcalloc(1, sizeof *r);

	r->bus = b;
	r->loop = l;
	r->irq = irq;
	r->timer.fire = rtc_fire;
	r->cmos[REG_A] = A_DEFAULT;
	r->cmos[REG_B] = B_24H;
	r->cmos[REG_D] = D_VALID;
	sizes_store(r, low_mem, high_mem);
	r->seen = guest_now(r).s;
	r->periodic_start = now_ns();
	bus_lock(b);
	rtc_reset(r);
	bus_unlock(b);
	bus_place(b, BUS_PIO, RTC_PORT, 2, &rtc_ops, r);
	return r;
}

void rtc_free(struct rtc *r)
{
	if (!r)
		return;
	timer_set(r->loop, &r->timer, 0);
	free(r);
}
