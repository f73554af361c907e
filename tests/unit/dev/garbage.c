/* SPDX-License-Identifier: MIT */
/*
 * A complete board under a guest that makes no sense: seeded random accesses of all sizes to ports, device
 * memory and MSRs, with time passing, wires moving and resets in between. Nothing may crash, hang, or make
 * the host's timers run wild; afterwards the board must still work. Arguments: seed, number of accesses.
 */
#include <stdlib.h>

#include "bus/pci.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/legacy.h"
#include "fake.h"

enum { CPUS = 3, ACCESSES = 1500000 };

static struct lapics *apics;
static struct ioapic *io;
static struct pic *pic;
static unsigned resets;
static bool pending[CPUS];
static uint64_t interrupts;

static void on_irq(void *arg, unsigned cpu, bool level)
{
	(void)arg;
	assert(pending[cpu] != level);
	pending[cpu] = level;
}

static void on_cpu(void *arg, unsigned cpu)
{
	(void)arg;
	assert(cpu < CPUS);
}

static void on_sipi(void *arg, unsigned cpu, uint8_t v)
{
	(void)arg;
	(void)v;
	assert(cpu < CPUS);
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
	return fake_now * 2;
}

static void on_msi(void *arg, uint64_t addr, uint32_t data)
{
	(void)arg;
	lapics_msi(apics, addr, data);
}

static void on_intr(void *arg, bool level)
{
	(void)arg;
	lapics_extint(apics, level);
}

static void on_event(void *arg)
{
	(void)arg;
	resets++;
}

static void on_tx(void *arg, const uint8_t *p, size_t n)
{
	(void)arg;
	(void)p;
	(void)n;
}

static void on_byte(void *arg, uint8_t v)
{
	(void)arg;
	(void)v;
}

static void on_exit_port(void *arg, uint32_t v)
{
	(void)arg;
	(void)v;
}

/* ISA wires go to both controllers, as on the board. */
static void line(void *arg, unsigned n, bool level)
{
	(void)arg;
	pic_set(pic, n, level);
	ioapic_set(io, n ? n : 2, level);
}

static struct irq wire(unsigned n)
{
	return (struct irq){line, NULL, n};
}

/* Mostly places where something is. */
static uint64_t port(void)
{
	static const uint16_t at[] = {0x20, 0xa0, 0x40, 0x60, 0x64, 0x70, 0x80, 0x92, 0xe0, 0xe8, 0xf4, 0x2000,
		0x3f8, 0x4d0, 0x505, 0x510, 0x600, 0x608, 0xcf8, 0xcfc};

	return rnd() % 16 ? at[rnd() % (sizeof at / sizeof at[0])] + rnd() % 8 : rnd() & 0xffff;
}

static uint64_t place(void)
{
	switch (rnd() % 8) {
	case 0:
	case 1:
	case 2:
		return LAPIC_BASE + (rnd() % 4 ? (rnd() & 0x3f0) : (rnd() & 0xfff));
	case 3:
	case 4:
		return IOAPIC_BASE + (rnd() % 2 ? 0x10 : rnd() & 0x4f);
	case 5:
		return 0xe8000000 + (rnd() & 0x7ffffff);
	case 6:
		return 0xff000000 + (rnd() & 0x1ffff);
	default:
		return rnd();
	}
}

static uint64_t value(void)
{
	uint64_t v = rnd();

	switch (rnd() % 4) {
	case 0:
		return v & 0xff;
	case 1:
		return v & 0xffff;
	case 2:
		return v & rnd() & rnd();
	default:
		return v;
	}
}

static void msr(unsigned cpu)
{
	uint32_t n = rnd() % 8 ? 0x800 + rnd() % 0x40 : rnd() % 2 ? 0x6e0 : 0x1b;
	uint64_t v = value();

	if (n == 0x1b && rnd() % 4)
		v = LAPIC_BASE | (v & 0xd00);
	if (n == 0x6e0 && rnd() % 2)
		v = on_tsc(NULL, cpu) + v % 100000;
	bus_lock(fake_bus);
	if (rnd() & 1)
		lapics_rdmsr(apics, cpu, n, &v);
	else
		lapics_wrmsr(apics, cpu, n, v);
	bus_unlock(fake_bus);
}

static void interrupt(unsigned cpu)
{
	int v;

	bus_lock(fake_bus);
	v = lapics_ack(apics, cpu);
	assert(v >= -1 && v < 256);
	interrupts += v >= 0;
	if (rnd() % 8 == 0)
		lapics_set_cr8(apics, cpu, rnd());
	bus_unlock(fake_bus);
}

static void step(void)
{
	static const unsigned sizes[] = {1, 2, 4, 8, 3, 5, 6, 7};
	unsigned cpu = rnd() % CPUS;

	switch (rnd() % 16) {
	case 0:
		fake_advance(rnd() % (rnd() % 64 ? 100 * US : 50 * MS));
		break;
	case 1:
		interrupt(cpu);
		break;
	case 2:
	case 3:
		msr(cpu);
		break;
	case 4:
		bus_lock(fake_bus);
		line(NULL, rnd() % 32, rnd() & 1);
		bus_unlock(fake_bus);
		break;
	case 5:
	case 6:
	case 7:
		bus_read(fake_bus, BUS_PIO, cpu, port(), sizes[rnd() % 3]);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		bus_write(fake_bus, BUS_PIO, cpu, port(), value(), sizes[rnd() % 3]);
		break;
	case 12:
	case 13:
		bus_read(fake_bus, BUS_MMIO, cpu, place(), sizes[rnd() % 4 ? 2 : rnd() % 8]);
		break;
	default:
		bus_write(fake_bus, BUS_MMIO, cpu, place(), value(), sizes[rnd() % 4 ? 2 : rnd() % 8]);
		break;
	}
}

/* After all that: reset, and an interrupt from the clock chip to CPU 0 through the IOAPIC. */
static void test_alive(void)
{
	bus_lock(fake_bus);
	for (unsigned n = 0; n < 32; n++)
		line(NULL, n, false);
	bus_unlock(fake_bus);
	bus_reset(fake_bus);
	assert(!fake_next());
	bus_write(fake_bus, BUS_MMIO, 0, LAPIC_BASE + 0xf0, 0x1ff, 4);
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE, 0x14, 4);
	bus_write(fake_bus, BUS_MMIO, 0, IOAPIC_BASE + 0x10, 0x31, 4);
	outb(0x43, 0x30);
	outb(0x40, 0x10);
	outb(0x40, 0x00);
	fake_advance(MS);
	assert(pending[0]);
	bus_lock(fake_bus);
	assert(lapics_ack(apics, 0) == 0x31);
	bus_unlock(fake_bus);
}

int main(int argc, char **argv)
{
	uint64_t accesses = argc > 2 ? strtoull(argv[2], NULL, 0) : ACCESSES, start = fake_now;
	struct lapic_cpu_ops ops = {.irq = on_irq, .nmi = on_cpu, .init = on_cpu, .sipi = on_sipi, .eoi = on_eoi,
		.tsc = on_tsc, .tsc_khz = 2000000};
	struct acpi_pm_ops pm_ops = {on_event, on_event, NULL};
	struct debug_ops debug_ops = {on_byte, on_exit_port, on_byte, NULL};
	struct acpi_pm *pm;
	struct debugport *debug;
	struct fwcfg *fwcfg;
	struct i8042 *i8042;
	struct pci *pci;
	struct pit *pit;
	struct rtc *rtc;
	struct testdev *testdev;
	struct uart *uart;

	if (argc > 1)
		rnd_state = strtoull(argv[1], NULL, 0);
	fake_bus = bus_new();
	apics = lapics_new(fake_bus, NULL, CPUS, &ops);
	io = ioapic_new(fake_bus, on_msi, NULL);
	assert(!lapics_map(apics) && !ioapic_map(io));
	pic = pic_new(fake_bus, on_intr, NULL);
	bus_lock(fake_bus);
	lapics_set_pic(apics, pic_ack, pic);
	bus_unlock(fake_bus);
	pci = pci_new(fake_bus, 0xe8000000, 0x8000000);
	pit = pit_new(fake_bus, NULL, wire(0));
	i8042 = i8042_new(fake_bus, wire(1), wire(12), on_event, NULL);
	uart = uart_new(fake_bus, 0x3f8, wire(4), on_tx, NULL);
	rtc = rtc_new(fake_bus, NULL, wire(8), 1ull << 31, 1ull << 31);
	pm = acpi_pm_new(fake_bus, wire(9), &pm_ops);
	debug = debugport_new(fake_bus, &debug_ops);
	testdev = testdev_new(fake_bus, line, NULL);
	fwcfg = fwcfg_new(fake_bus, 1ull << 32, CPUS);

	for (uint64_t i = 0; i < accesses; i++) {
		step();
		if (i % 50000 == 49999)
			bus_reset(fake_bus);
		if (i % 64 == 0) {
			static const uint8_t bytes[] = "hello";

			bus_lock(fake_bus);
			uart_rx(uart, bytes, rnd() % sizeof bytes);
			i8042_key(i8042, bytes, rnd() % 4);
			if (i % 1024 == 0) {
				uart_break(uart);
				acpi_pm_button(pm);
			}
			bus_unlock(fake_bus);
		}
	}
	/* at most one timer of each device in 20 us, for five devices, and one per write that arms one */
	assert(fake_fired < (fake_now - start) / (20 * US) * (CPUS + 2) + accesses);
	if (accesses >= ACCESSES)
		assert(interrupts > 1000 && resets > 100); /* it did reach something */
	test_alive();

	uart_free(uart);
	i8042_free(i8042);
	rtc_free(rtc);
	pit_free(pit);
	acpi_pm_free(pm);
	debugport_free(debug);
	testdev_free(testdev);
	fwcfg_free(fwcfg);
	pci_free(pci);
	pic_free(pic);
	ioapic_free(io);
	lapics_free(apics);
	bus_free(fake_bus);
	return 0;
}
