/* SPDX-License-Identifier: MIT */
/*
 * I/O APIC: Intel 82093AA, with the EOI register of later ones (version 0x20, ICH9 datasheet 13.5).
 *
 * A wire's level is remembered per pin. "High" means asserted: who drives a wire knows its polarity, so
 * the polarity bit is stored and has no effect. An edge on a masked pin is lost (82093AA 3.2.4); a
 * level-triggered pin sends when it is asserted, unmasked and its remote IRR is clear, and the EOI of its
 * vector clears that. Interrupts leave as message-signalled ones, in the format of SDM 11.11.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/ioapic.h"

enum { IOREGSEL = 0x00, IOWIN = 0x10, IOEOI = 0x40, MAP_SIZE = 0x1000 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARB = 2, REG_REDIR = 0x10 };

#define VERSION     (0x20u | (IOAPIC_PINS - 1) << 16)
#define RTE_LOGICAL (1u << 11)
#define RTE_REMOTE  (1u << 14)
#define RTE_LEVEL   (1u << 15)
#define RTE_MASKED  (1u << 16)
#define RTE_WRITE   0x1afffu /* without delivery status (12) and remote IRR (14) */
#define RTE_HIGH    0xff000000u

struct pin {
	uint32_t lo, hi;
	bool level;
};

struct ioapic {
	struct bus *bus;
	void (*msi)(void *arg, uint64_t addr, uint32_t data);
	void *arg;
	struct pin pin[IOAPIC_PINS];
	uint32_t id;
	uint8_t select;
};

static void pin_send(struct ioapic *s, const struct pin *p)
{
	uint64_t addr = 0xfee00000u | (p->hi >> 24) << 12 | (p->lo & RTE_LOGICAL ? 1u << 2 : 0);
	uint32_t data = p->lo & 0x7ff; /* vector and delivery mode have the same places */

	if ((p->lo >> 8 & 7) == 1)
		addr |= 1u << 3; /* lowest priority: redirection hint */
	if (p->lo & RTE_LEVEL)
		data |= 1u << 15 | 1u << 14;
	s->msi(s->arg, addr, data);
}

/* A level-triggered pin that waits and may send. */
static void pin_service(struct ioapic *s, struct pin *p)
{
	if (!p->level || !(p->lo & RTE_LEVEL) || p->lo & (RTE_MASKED | RTE_REMOTE))
		return;
	p->lo |= RTE_REMOTE;
	pin_send(s, p);
}

void ioapic_set(void *dev, unsigned pin, bool level)
{
	struct ioapic *s = dev;
	struct pin *p;
	bool rises;

	if (pin >= IOAPIC_PINS)
		return;
	p = &s->pin[pin];
	rises = level && !p->level;
	p->level = level;
	if (p->lo & RTE_LEVEL)
		pin_service(s, p);
	else if (rises && !(p->lo & RTE_MASKED))
		pin_send(s, p);
}

void ioapic_eoi(struct ioapic *s, unsigned vector)
{
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		struct pin *p = &s->pin[i];

		if (!(p->lo & RTE_REMOTE) || (p->lo & 0xff) != vector)
			continue;
		p->lo &= ~RTE_REMOTE;
		pin_service(s, p);
	}
}

static uint32_t reg_read(const struct ioapic *s)
{
	unsigned pin = (s->select - REG_REDIR) / 2;

	switch (s->select) {
	case REG_ID:
	case REG_ARB:
		return s->id;
	case REG_VERSION:
		return VERSION;
	}
	if (s->select < REG_REDIR || pin >= IOAPIC_PINS)
		return 0;
	return s->select & 1 ? s->pin[pin].hi : s->pin[pin].lo;
}

static void reg_write(struct ioapic *s, uint32_t v)
{
	unsigned pin = (s->select - REG_REDIR) / 2;
	struct pin *p;

	if (s->select == REG_ID)
		s->id = v & 0x0f000000;
	if (s->select < REG_REDIR || pin >= IOAPIC_PINS)
		return;
	p = &s->pin[pin];
	if (s->select & 1) {
		p->hi = v & RTE_HIGH;
		return;
	}
	p->lo = (p->lo & RTE_REMOTE) | (v & RTE_WRITE);
	/* An edge-triggered pin has no remote IRR; Linux clears a stuck one by switching to edge and back. */
	if (!(p->lo & RTE_LEVEL))
		p->lo &= ~RTE_REMOTE;
	pin_service(s, p);
}

/* Registers are 32 bits wide; other accesses are undefined: reads give the bytes, writes nothing. */
static uint64_t ioapic_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct ioapic *s = dev;
	uint32_t v = 0;

	(void)cpu;
	(void)len;
	switch (off & ~UINT64_C(3)) {
	case IOREGSEL:
		v = s->select;
		break;
	case IOWIN:
		v = reg_read(s);
		break;
	}
	return v >> (off & 3) * 8;
}

static void ioapic_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct ioapic *s = dev;

	(void)cpu;
	if (off == IOREGSEL)
		s->select = v & 0xff;
	else if (off == IOWIN && len == 4)
		reg_write(s, (uint32_t)v);
	else if (off == IOEOI)
		ioapic_eoi(s, v & 0xff);
}

/* The wires belong to who drives them: their levels outlive our reset. */
static void ioapic_reset(void *dev)
{
	struct ioapic *s = dev;

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		s->pin[i].lo = RTE_MASKED;
		s->pin[i].hi = 0;
	}
	s->id = 0;
	s->select = 0;
}

static const struct dev_ops ioapic_ops = {
	.name = "ioapic",
	.read = ioapic_read,
	.write = ioapic_write,
	.reset = ioapic_reset,
};

struct ioapic *ioapic_new(struct bus *b, void (*msi)(void *arg, uint64_t addr, uint32_t data), void *arg)
{
	struct ioapic *s = xcalloc(1, sizeof *s);

	s->bus = b;
	s->msi = msi;
	s->arg = arg;
	ioapic_reset(s);
	return s;
}

void ioapic_free(struct ioapic *s)
{
	free(s);
}

int ioapic_map(struct ioapic *s)
{
	return bus_map(s->bus, BUS_MMIO, IOAPIC_BASE, MAP_SIZE, &ioapic_ops, s);
}
