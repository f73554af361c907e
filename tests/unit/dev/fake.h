/* SPDX-License-Identifier: MIT */
/* A false clock and false host timers for device tests; ports and memory of the bus in short words. */
#ifndef FAKE_H
#define FAKE_H

#undef NDEBUG
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/loop.h"
#include "bus/bus.h"

#define US UINT64_C(1000)
#define MS (1000 * US)
#define S  (1000 * MS)

extern uint64_t fake_now;      /* CLOCK_MONOTONIC, ns */
extern int64_t fake_wall;      /* CLOCK_REALTIME is fake_now plus this, ns */
extern unsigned fake_fired;    /* how many timers have fired */
void fake_advance(uint64_t ns); /* fires timers at their time; no lock held */
uint64_t fake_next(void);       /* earliest deadline, 0: none */

extern struct bus *fake_bus;
uint64_t in(uint16_t port, unsigned len);
void out(uint16_t port, uint64_t v, unsigned len);
uint8_t inb(uint16_t port);
void outb(uint16_t port, uint8_t v);

/* A wire that remembers its level and counts its rises. */
struct wire {
	bool level;
	unsigned rises;
};
void wire_set(void *w, unsigned line, bool level);
#define WIRE(w) ((struct irq){wire_set, &(w), 0})

uint64_t rnd(void); /* seeded, the same each time */
extern uint64_t rnd_state;

/* what the linker puts in place of the real ones */
uint64_t __wrap_now_ns(void);
int __wrap_timer_set(struct loop *l, struct timer *t, uint64_t deadline_ns);

#endif
