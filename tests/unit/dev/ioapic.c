/* SPDX-License-Identifier: MIT */
/* I/O APIC alone, and with local APICs behind it (EOI, remote IRR). */
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "fake.h"

#define MASKED (1u << 16)
#define LEVEL  (1u << 15)
#define REMOTE (1u << 14)

static struct ioapic *io;
static unsigned sent;
static uint64_t addr;
static uint32_t data;
static struct lapics *apics; /* when set, messages go there, too */

static void on_msi(void *arg, uint64_t a, uint32_t d)
{
	(void)arg;
	sent++;
	addr = a;
	data = d;
	if (apics)
		lapics_msi(apics, a, d);
}

static void on_cpu(void *arg, unsigned cpu)
{
	(void)arg;
	(void)cpu;
}

static void on_irq(void *arg, unsigned cpu, bool pending)
{
	(void)arg;
	(void)cpu;
	(void)pending;
}

static void on_sipi(void *arg, unsigned cpu, uint8_t v)
{
	(void)arg;
	(void)cpu;
	(void)v;
}

static void on_eoi(void *arg, unsigned vector)
{
	(void)arg;
	ioapic_eoi(io, vector);
}

static uint64_t on_tsc(void *arg, unsigned cpu)
{
	(void)arg;
	(void)cpu;
	return fake_now;
}

static uint32_t rd(unsigned reg)
{
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE, reg, 4);
	return (uint32_t)bus_read(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x10, 4);
}

static void wr(unsigned reg, uint32_t v)
{
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE, reg, 4);
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x10, v, 4);
}

static void line(unsigned pin, bool level)
{
	bus_lock(fake_bus);
	ioapic_set(io, pin, level);
	bus_unlock(fake_bus);
}

static void fresh(void)
{
	for (unsigned i = 0; i < 30; i++)
		line(i, false);
	bus_reset(fake_bus);
	sent = 0;
}

static void test_registers(void)
{
	fresh();
	assert(rd(1) == 0x00170020);
	wr(0, 0xffffffff);
	assert(rd(0) == 0x0f000000 && rd(2) == 0x0f000000);
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		assert(rd(0x10 + 2 * i) == MASKED && rd(0x11 + 2 * i) == 0);
		wr(0x10 + 2 * i, 0xffffffff);
		wr(0x11 + 2 * i, 0xffffffff);
		assert(rd(0x10 + 2 * i) == 0x0001afff && rd(0x11 + 2 * i) == 0xff000000);
	}
	/* behind the last pin, and what is no register */
	wr(0x40, 0);
	assert(rd(0x40) == 0 && rd(0xff) == 0 && rd(3) == 0);
	assert(bus_read(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x20, 4) == 0);
	/* parts of a register, and what lies beside it */
	wr(0x11, 0xab000000);
	assert(bus_read(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x13, 1) == 0xab);
	assert(bus_read(fake_bus, BUS_MMIO, 0, IOAPIC_BASE, 4) == 0x11);
	wr(0x11, 0);
	/* only dwords write the window; the selector has 8 bits */
	wr(0x10, MASKED);
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x10, 0x55, 1);
	assert(rd(0x10) == MASKED);
	assert(rd(0x101) == 0x00170020);
	assert(!sent);
}

static void test_message(void)
{
	fresh();
	wr(0x10 + 2 * 5 + 1, 0x12000000);
	wr(0x10 + 2 * 5, 0x41);
	line(5, true);
	assert(sent == 1 && addr == 0xfee12000 && data == 0x41);
	wr(0x10 + 2 * 6 + 1, 0x0f000000);
	wr(0x10 + 2 * 6, 1u << 11 | 1u << 8 | 0x42); /* logical, lowest priority */
	line(6, true);
	assert(sent == 2 && addr == 0xfee0f00c && data == 0x142);
	wr(0x10 + 2 * 7, LEVEL | 0x43);
	line(7, true);
	assert(sent == 3 && data == (0x43 | 3u << 14));
	wr(0x10 + 2 * 8, 4u << 8); /* NMI */
	line(8, true);
	assert(sent == 4 && data == 0x400);
}

static void test_edge(void)
{
	fresh();
	line(3, true);
	assert(!sent);
	wr(0x16, 0x50); /* unmasked while high: an edge that is over */
	assert(!sent);
	line(3, true); /* no rise */
	assert(!sent);
	line(3, false);
	line(3, true);
	assert(sent == 1 && !(rd(0x16) & REMOTE));
	line(3, false);
	wr(0x16, MASKED | 0x50);
	line(3, true);
	line(3, false);
	wr(0x16, 0x50);
	assert(sent == 1); /* lost */
	line(24, true);
	line(1000, true); /* no such pin */
	assert(sent == 1);
}

static void test_level(void)
{
	fresh();
	wr(0x16, LEVEL | 0x51);
	line(3, true);
	assert(sent == 1 && rd(0x16) == (LEVEL | REMOTE | 0x51));
	line(3, true);
	line(3, false);
	line(3, true);
	assert(sent == 1); /* until EOI */
	bus_lock(fake_bus);
	ioapic_eoi(io, 0x52);
	bus_unlock(fake_bus);
	assert(sent == 1);
	bus_lock(fake_bus);
	ioapic_eoi(io, 0x51); /* still high: again */
	bus_unlock(fake_bus);
	assert(sent == 2 && rd(0x16) & REMOTE);
	line(3, false);
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x40, 0x51, 4); /* the EOI register */
	assert(sent == 2 && !(rd(0x16) & REMOTE));
	/* masked: waits */
	wr(0x16, MASKED | LEVEL | 0x51);
	line(3, true);
	assert(sent == 2);
	wr(0x16, LEVEL | 0x51);
	assert(sent == 3 && rd(0x16) & REMOTE);
	/* EOI while masked does not send; unmasking does */
	wr(0x16, MASKED | LEVEL | 0x51);
	assert(rd(0x16) & REMOTE);
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x40, 0x51, 4);
	assert(sent == 3 && !(rd(0x16) & REMOTE));
	wr(0x16, LEVEL | 0x51);
	assert(sent == 4);
	/* to edge and back clears a stuck remote IRR */
	line(3, false);
	wr(0x16, MASKED | 0x51);
	assert(!(rd(0x16) & REMOTE));
	wr(0x16, LEVEL | 0x51);
	assert(sent == 4);
	line(3, true);
	assert(sent == 5);
}

static void test_with_lapic(void)
{
	struct lapic_cpu_ops ops = {.irq = on_irq, .nmi = on_cpu, .init = on_cpu, .sipi = on_sipi, .eoi = on_eoi,
		.tsc = on_tsc, .tsc_khz = 1000000};

	apics = lapics_new(fake_bus, NULL, 2, &ops);
	assert(!lapics_map(apics));
	fresh();
	bus_write(fake_bus, BUS_MMIO, 1, LAPIC_BASE + 0xf0, 0x1ff, 4);
	wr(0x17, 1u << 24);
	wr(0x16, LEVEL | 0x61);
	line(3, true);
	for (int i = 0; i < 3; i++) { /* again after each EOI while the line is high */
		bus_lock(fake_bus);
		assert(lapics_ack(apics, 1) == 0x61 && lapics_ack(apics, 1) == -1);
		bus_unlock(fake_bus);
		if (i == 2)
			line(3, false);
		bus_write(fake_bus, BUS_MMIO, 1, LAPIC_BASE + 0xb0, 0, 4);
	}
	bus_lock(fake_bus);
	assert(lapics_ack(apics, 1) == -1);
	bus_unlock(fake_bus);
	assert(!(rd(0x16) & REMOTE));
	lapics_free(apics);
}

int main(void)
{
	fake_bus = bus_new();
	io = ioapic_new(fake_bus, on_msi, NULL);
	assert(!ioapic_map(io));
	test_registers();
	test_message();
	test_edge();
	test_level();
	test_with_lapic();
	ioapic_free(io);
	bus_free(fake_bus);
	return 0;
}
