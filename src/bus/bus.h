/* SPDX-License-Identifier: MIT */
/*
 * Port and memory dispatch for the board's devices. The map is made at set-up; accesses come from
 * vCPU threads. Every device call is made with the board lock held (bus_lock), so device code needs
 * no lock of its own; a timer or loop callback that touches a device takes the lock first.
 */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum bus_space { BUS_PIO, BUS_MMIO };

/* One interrupt wire. set() may be called with the lock held only; level is remembered by the chip. */
struct irq {
	void (*set)(void *arg, unsigned line, bool level);
	void *arg;
	unsigned line;
};

static inline void irq_set(const struct irq *i, bool level)
{
	if (i->set)
		i->set(i->arg, i->line, level);
}

struct dev_ops {
	const char *name;
	/*
	 * off + len lies inside the mapping; len is 1, 2 or 4 on BUS_PIO, 1 to 8 on BUS_MMIO. Any
	 * combination that hardware does not define must still do something harmless: a guest
	 * chooses it. cpu is the vCPU that makes the access (for the local APIC).
	 */
	uint64_t (*read)(void *dev, unsigned cpu, uint64_t off, unsigned len);
	void (*write)(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len);
	void (*reset)(void *dev); /* to the power-on state; NULL: nothing to reset */
};

struct bus;

struct bus *bus_new(void); /* exits when out of memory: set-up only */
void bus_free(struct bus *b);

/* 0, -EEXIST on overlap, -EINVAL on an empty or wrapping range, -ENOMEM. dev is borrowed. */
int bus_map(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev);
/* Also registers a device that has no mapping, so that bus_reset() reaches it: len 0 is allowed here. */
int bus_attach(struct bus *b, const struct dev_ops *ops, void *dev);
void bus_reset(struct bus *b); /* each device once; takes the lock */

/* Any vCPU thread; these take the lock. Nothing there: reads give all ones, writes are dropped.
 * An access that straddles two mappings is split into bytes. */
uint64_t bus_read(struct bus *b, enum bus_space sp, unsigned cpu, uint64_t addr, unsigned len);
void bus_write(struct bus *b, enum bus_space sp, unsigned cpu, uint64_t addr, uint64_t v,
	unsigned len);

void bus_lock(struct bus *b); /* recursive it is not */
void bus_unlock(struct bus *b);

#endif
