/* SPDX-License-Identifier: MIT */
#include <time.h>

#include "fake.h"

enum { TIMERS = 512 };

uint64_t fake_now = 1000 * S;
int64_t fake_wall;
unsigned fake_fired;
struct bus *fake_bus;
uint64_t rnd_state = 1;

static struct timer *timers[TIMERS];

uint64_t __wrap_now_ns(void)
{
	return fake_now;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t ns = clock == CLOCK_REALTIME ? fake_now + (uint64_t)fake_wall : fake_now;

	ts->tv_sec = (time_t)(ns / S);
	ts->tv_nsec = (long)(ns % S);
	return 0;
}

int __wrap_timer_set(struct loop *l, struct timer *t, uint64_t deadline_ns)
{
	int unused = -1;

	(void)l;
	t->deadline_ns = deadline_ns;
	for (int i = 0; i < TIMERS; i++) {
		if (timers[i] == t) {
			if (!deadline_ns)
				timers[i] = NULL;
			return 0;
		}
		if (!timers[i])
			unused = i;
	}
	if (deadline_ns) {
		assert(unused >= 0);
		timers[unused] = t;
	}
	return 0;
}

static struct timer *earliest(void)
{
	struct timer *t = NULL;

	for (int i = 0; i < TIMERS; i++)
		if (timers[i] && (!t || timers[i]->deadline_ns < t->deadline_ns))
			t = timers[i];
	return t;
}

uint64_t fake_next(void)
{
	struct timer *t = earliest();

	return t ? t->deadline_ns : 0;
}

void fake_advance(uint64_t ns)
{
	uint64_t end = fake_now + ns;

	for (;;) {
		struct timer *t = earliest();

		if (!t || t->deadline_ns > end)
			break;
		if (t->deadline_ns > fake_now)
			fake_now = t->deadline_ns;
		__wrap_timer_set(NULL, t, 0);
		fake_fired++;
		t->fire(t);
	}
	fake_now = end;
}

uint64_t in(uint16_t port, unsigned len)
{
	return bus_read(fake_bus, BUS_PIO, 0, port, len);
}

void out(uint16_t port, uint64_t v, unsigned len)
{
	bus_write(fake_bus, BUS_PIO, 0, port, v, len);
}

uint8_t inb(uint16_t port)
{
	return (uint8_t)in(port, 1);
}

void outb(uint16_t port, uint8_t v)
{
	out(port, v, 1);
}

void wire_set(void *arg, unsigned line, bool level)
{
	struct wire *w = arg;

	(void)line;
	if (level && !w->level)
		w->rises++;
	w->level = level;
}

uint64_t rnd(void)
{
	/* splitmix64 */
	uint64_t z = rnd_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}
