/* SPDX-License-Identifier: MIT */
#include "board.h"
#include "bus/pci.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/legacy.h"
#include "fake.h"

enum { CPUS = BOARD_CPUS };

uint64_t (*board_pick)(uint64_t n);
struct board_counts board_counts;

static struct lapics *apics;
static struct ioapic *io;
static struct pic *pic;
static bool pending[CPUS];
static struct acpi_pm *pm;
static struct debugport *debug;
static struct fwcfg *fwcfg;
static struct i8042 *i8042;
static struct pci *pci;
static struct pit *pit;
static struct rtc *rtc;
static struct testdev *testdev;
static struct uart *uart;

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
	board_counts.resets++;
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

	if (!board_pick(16))
		return board_pick(0x10000);
	return at[board_pick(sizeof at / sizeof at[0])] + board_pick(8);
}

static uint64_t place(void)
{
	switch (board_pick(8)) {
	case 0:
	case 1:
		return LAPIC_BASE + board_pick(0x40) * 16;
	case 2:
		return LAPIC_BASE + board_pick(0x1000);
	case 3:
		return IOAPIC_BASE + 0x10;
	case 4:
		return IOAPIC_BASE + board_pick(0x50);
	case 5:
		return 0xe8000000 + (board_pick(0) & 0x7ffffff);
	case 6:
		return 0xff000000 + (board_pick(0) & 0x1ffff);
	default:
		return board_pick(0);
	}
}

static uint64_t value(void)
{
	switch (board_pick(4)) {
	case 0:
		return board_pick(0x100);
	case 1:
		return board_pick(0x10000);
	case 2:
		return board_pick(0) & board_pick(0) & board_pick(0);
	default:
		return board_pick(0);
	}
}

static void msr(unsigned cpu)
{
	uint32_t n = 0x800 + (uint32_t)board_pick(0x40);
	uint64_t v = value();

	switch (board_pick(16)) {
	case 0: /* mode changes */
		n = 0x1b;
		v = LAPIC_BASE | (v & 0xd00);
		break;
	case 1: /* and anything */
		n = 0x1b;
		break;
	case 2:
		n = 0x6e0;
		v = on_tsc(NULL, cpu) + v % 100000;
		break;
	case 3:
		n = 0x6e0;
		break;
	}
	bus_lock(fake_bus);
	if (board_pick(2))
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
	board_counts.interrupts += v >= 0;
	if (!board_pick(8))
		lapics_set_cr8(apics, cpu, board_pick(0));
	bus_unlock(fake_bus);
}

static void outside(void)
{
	uint8_t bytes[4];

	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)board_pick(0x100);
	bus_lock(fake_bus);
	switch (board_pick(4)) {
	case 0:
		uart_break(uart);
		break;
	case 1:
		acpi_pm_button(pm);
		break;
	case 2:
		i8042_key(i8042, bytes, board_pick(sizeof bytes));
		break;
	default:
		uart_rx(uart, bytes, sizeof bytes);
		break;
	}
	bus_unlock(fake_bus);
}

void board_step(void)
{
	static const unsigned sizes[] = {1, 2, 4, 8, 3, 5, 6, 7};
	unsigned cpu = (unsigned)board_pick(CPUS), mmio_len = sizes[board_pick(4) ? 2 : board_pick(8)];
	uint64_t at;

	switch (board_pick(16)) {
	case 0:
		fake_advance(board_pick(64) ? board_pick(0x10000) * 2 : board_pick(50) * MS);
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
		line(NULL, (unsigned)board_pick(32), board_pick(2));
		bus_unlock(fake_bus);
		break;
	case 5:
	case 6:
	case 7:
		at = port();
		bus_read(fake_bus, BUS_PIO, cpu, at, sizes[board_pick(3)]);
		break;
	case 8:
	case 9:
	case 10:
	case 11:
		at = port();
		bus_write(fake_bus, BUS_PIO, cpu, at, value(), sizes[board_pick(3)]);
		break;
	case 12:
	case 13:
		bus_read(fake_bus, BUS_MMIO, cpu, place(), mmio_len);
		break;
	case 14:
		if (!board_pick(16))
			outside();
		else if (!board_pick(4096))
			bus_reset(fake_bus);
		break;
	default:
		at = place();
		bus_write(fake_bus, BUS_MMIO, cpu, at, value(), mmio_len);
		break;
	}
}

void board_check(void)
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

void board_open(void)
{
	struct lapic_cpu_ops ops = {.irq = on_irq, .nmi = on_cpu, .init = on_cpu, .sipi = on_sipi, .eoi = on_eoi,
		.tsc = on_tsc, .tsc_khz = 2000000};
	struct acpi_pm_ops pm_ops = {on_event, on_event, NULL};
	struct debug_ops debug_ops = {on_byte, on_exit_port, on_byte, NULL};

	memset(&board_counts, 0, sizeof board_counts);
	memset(pending, 0, sizeof pending);
	fake_bus = bus_new();
	apics = lapics_new(fake_bus, NULL, CPUS, &ops);
	io = ioapic_new(fake_bus, on_msi, NULL);
	assert(!lapics_map(apics) && !ioapic_map(io));
	pic = pic_new(fake_bus, on_intr, NULL);
	bus_lock(fake_bus);
	lapics_set_pic(apics, pic_ack, pic);
	bus_unlock(fake_bus);
	pci = pci_new(fake_bus, &(struct pci_config){.ecam_base = 0xe8000000, .ecam_size = 0x8000000});
	pit = pit_new(fake_bus, NULL, wire(0));
	i8042 = i8042_new(fake_bus, wire(1), wire(12), on_event, NULL);
	uart = uart_new(fake_bus, 0x3f8, wire(4), on_tx, NULL);
	rtc = rtc_new(fake_bus, NULL, wire(8), 1ull << 31, 1ull << 31);
	pm = acpi_pm_new(fake_bus, wire(9), &pm_ops);
	debug = debugport_new(fake_bus, &debug_ops);
	testdev = testdev_new(fake_bus, line, NULL);
	fwcfg = fwcfg_new(fake_bus, 1ull << 32, CPUS);
}

void board_close(void)
{
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
	assert(!fake_next());
}
