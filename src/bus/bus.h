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
	 * off + len lies inside the mapping; len is 1 to 4 on BUS_PIO, 1 to 8 on BUS_MMIO, and not
	 * above max_len. Any combination that hardware does not define must still do something
	 * harmless: a guest chooses it. cpu is the vCPU that makes the access (for the local APIC).
	 * The bus cuts what read() returns to len bytes, and v before write().
	 */
	uint64_t (*read)(void *dev, unsigned cpu, uint64_t off, unsigned len);
	void (*write)(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len);
	void (*reset)(void *dev); /* to the power-on state; NULL: nothing to reset */
	/* The device's data path in bytes, 1 for most of ISA: the bus cuts wider accesses into pieces
	 * of it, lowest address first. 0: takes all sizes. */
	unsigned max_len;
};

struct bus;

struct bus *bus_new(void); /* exits when out of memory: set-up only */
void bus_free(struct bus *b);

/*
 * 0, -EEXIST on overlap, -EINVAL on an empty or wrapping range, -ENOMEM. dev is borrowed, and
 * bus_reset() reaches it from now on, once however many mappings it has.
 */
int bus_map(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev);
/*
 * For a device of the board at its fixed place: an overlap is a mistake in the board and asserts, no memory
 * exits. Set-up only.
 */
void bus_place(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev);
/* The same as bus_map() when the lock is held: a device that moves while the guest runs (a BAR, the APIC base). */
int bus_map_locked(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev);
/* Takes the mapping that begins at base away; lock held. -ENOENT when there is none. */
int bus_unmap_locked(struct bus *b, enum bus_space sp, uint64_t base);
/*
 * A port that answers 4-byte accesses only, in front of whatever else is mapped there: how the PCI
 * address register at 0xcf8 and the reset register at 0xcf9 share their ports. At most 4 of them.
 */
int bus_map_dword(struct bus *b, uint16_t port, const struct dev_ops *ops, void *dev);
/* Makes a device that has no mapping known to bus_reset(). 0 or -ENOMEM. */
int bus_attach(struct bus *b, const struct dev_ops *ops, void *dev);
/* Resets every device once, in the order in which they came; takes the lock. */
void bus_reset(struct bus *b);

/*
 * Any vCPU thread; these take the lock. len is 1 to 8. Nothing there: reads give all ones, writes are
 * dropped. An access that is not inside one mapping is split into bytes.
 */
uint64_t bus_read(struct bus *b, enum bus_space sp, unsigned cpu, uint64_t addr, unsigned len);
void bus_write(struct bus *b, enum bus_space sp, unsigned cpu, uint64_t addr, uint64_t v,
	unsigned len);

void bus_lock(struct bus *b); /* recursive it is not */
void bus_unlock(struct bus *b);

#endif
