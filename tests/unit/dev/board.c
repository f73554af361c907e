/* SPDX-License-Identifier: MIT */
#include "../virtio_pci/toy.h"
#include "base/log.h"
#include "base/util.h"
#include "board.h"
#include "bus/pci.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/legacy.h"
#include "fake.h"
#include "virtio/pci.h"

enum { CPUS = BOARD_CPUS };

/* Where BARs are; most of what a guest does with them lies at the start. */
#define ECAM  UINT64_C(0xe8000000)
#define MEM32 UINT64_C(0xc0000000)
#define MEM64 UINT64_C(0x800000000)

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

/* Two virtio functions, the second in front of nothing that ever stops at once, and a root port. */
static struct mem mem; /* the same for all boards: 1 MiB */
static struct toy_device toy;
static struct virtio_local *local;
static struct virtio_pci *virtio, *slow;
static bool slow_stopping;

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

static void on_code(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	assert(len && mem_at(&mem, gpa, len));
}

static void slow_read(void *arg, uint32_t off, void *buf, uint32_t len)
{
	(void)arg;
	(void)off;
	memset(buf, 0, len);
}

static void slow_start(void *arg, uint64_t features, const struct virtio_ring *rings)
{
	(void)arg;
	(void)features;
	(void)rings;
	assert(!slow_stopping && !virtio_pci_idle(slow));
}

static void slow_stop(void *arg)
{
	(void)arg;
	assert(!slow_stopping);
	slow_stopping = true;
}

static void slow_kick(void *arg, unsigned q)
{
	(void)arg;
	assert(!slow_stopping && q < 2);
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
	switch (board_pick(12)) {
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
		return ECAM + (board_pick(0) & 0x7ffffff);
	case 6:
		return 0xff000000 + (board_pick(0) & 0x1ffff);
	case 7:
		return ECAM + (board_pick(4) << 15) + board_pick(0x100);
	case 8:
		return MEM64 + board_pick(2) * 0x4000 + board_pick(0x40);
	case 9:
		return MEM64 + board_pick(0x8000);
	case 10:
		return MEM32 + board_pick(2) * 0x1000 + board_pick(0x100);
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
	switch (board_pick(5)) {
	case 0:
		uart_break(uart);
		break;
	case 1:
		acpi_pm_button(pm);
		break;
	case 2:
		i8042_key(i8042, bytes, board_pick(sizeof bytes));
		break;
	case 3:
		i8042_mouse(i8042, (int32_t)board_pick(0), (int8_t)bytes[0], (int8_t)bytes[1], bytes[2]);
		break;
	default:
		uart_rx(uart, bytes, sizeof bytes);
		break;
	}
	bus_unlock(fake_bus);
}

/*
 * What a driver does, in the right order or not, at the BARs wherever they are; and what it, or another CPU, writes
 * into the rings meanwhile.
 */
static void driver(unsigned cpu)
{
	static const struct {
		uint8_t reg, len;
		uint64_t v;
	} start[] = {{20, 1, 0}, {8, 4, 1}, {12, 4, 1}, {20, 1, 11}, {22, 2, 0}, {24, 2, 8}, {26, 2, 1}};
	uint64_t slot = ECAM + ((1 + board_pick(2)) << 15), at;
	struct virtio_ring r = toy_ring((unsigned)board_pick(TOY_QUEUES), 8);
	uint64_t bytes = board_pick(0);

	at = bus_read(fake_bus, BUS_MMIO, cpu, slot + 0x20, 4) & ~UINT64_C(15);
	at |= bus_read(fake_bus, BUS_MMIO, cpu, slot + 0x24, 4) << 32;
	switch (board_pick(8)) {
	case 0:
		bus_write(fake_bus, BUS_MMIO, cpu, slot + 4, 2, 2);
		for (unsigned i = 0; i < ARRAY_LEN(start); i++)
			bus_write(fake_bus, BUS_MMIO, cpu, at + start[i].reg, start[i].v, start[i].len);
		r = toy_ring(0, 8);
		mem_zero(&mem, r.desc, 0x3000);
		bus_write(fake_bus, BUS_MMIO, cpu, at + 32, r.desc, 8);
		bus_write(fake_bus, BUS_MMIO, cpu, at + 40, r.avail, 8);
		bus_write(fake_bus, BUS_MMIO, cpu, at + 48, r.used, 8);
		bus_write(fake_bus, BUS_MMIO, cpu, at + 28, 1, 2);
		bus_write(fake_bus, BUS_MMIO, cpu, at + 20, 4, 1);
		break;
	case 1:
		mem_put(&mem, r.desc + board_pick(16 * 8), &bytes, board_pick(8) + 1);
		break;
	case 2:
		mem_put(&mem, r.avail + board_pick(22), &bytes, board_pick(2) + 1);
		break;
	case 3:
		mem.page_bits[board_pick(32)] = (uint8_t)board_pick(8);
		break;
	case 4:
		bus_lock(fake_bus);
		virtio_pci_interrupt(board_pick(2) ? virtio : slow, (unsigned)board_pick(4));
		virtio_pci_config_changed(board_pick(2) ? virtio : slow);
		if (slow_stopping && board_pick(2)) {
			slow_stopping = false;
			virtio_pci_stopped(slow);
			assert(virtio_pci_idle(slow));
		}
		bus_unlock(fake_bus);
		break;
	default:
		r = toy_ring(0, 8);
		toy_request(&mem, &r, toy_buffer(0), toy_buffer(0) + board_pick(0x1000), (uint32_t)board_pick(0x400));
		bus_write(fake_bus, BUS_MMIO, cpu, at + 0x3000, 0, 2);
		break;
	}
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
		else if (board_pick(2))
			driver(cpu);
		break;
	default:
		at = place();
		bus_write(fake_bus, BUS_MMIO, cpu, at, value(), mmio_len);
		break;
	}
}

static void working_driver(void)
{
	const struct virtio_ring r = toy_ring(0, 8);

	mem_zero(&mem, r.desc, 0x3000);
	mem_put(&mem, toy_buffer(0), "x", 1);
	toy_request(&mem, &r, toy_buffer(0), toy_buffer(0) + 0x800, 1);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 8, 1, 4);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 12, 1, 4);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 20, 11, 1);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 24, 8, 2);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 32, r.desc, 8);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 40, r.avail, 8);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 48, r.used, 8);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 28, 1, 2);
	bus_write(fake_bus, BUS_MMIO, 0, MEM64 + 20, 15, 1);
	assert(toy_used(&mem, &r) == 1);
	assert(bus_read(fake_bus, BUS_MMIO, 0, MEM64 + 0x1000, 1) == 1); /* its legacy interrupt, taken back */
}

void board_check(void)
{
	bus_lock(fake_bus);
	for (unsigned n = 0; n < 32; n++)
		line(NULL, n, false);
	bus_unlock(fake_bus);
	bus_reset(fake_bus);
	assert(!fake_next());
	/* the virtio device works, where it was at power-on, and so does the one that was slow to stop */
	board_counts.requests += toy.requests;
	toy.requests = 0;
	memset(mem.page_bits, 0, mem.npages);
	assert(virtio_pci_idle(virtio) && virtio_pci_idle(slow) == !slow_stopping);
	slow_stopping = false;
	bus_lock(fake_bus);
	virtio_pci_stopped(slow);
	bus_unlock(fake_bus);
	assert(bus_read(fake_bus, BUS_MMIO, 0, MEM64 + 20, 1) == 0);
	assert(bus_read(fake_bus, BUS_MMIO, 0, MEM64 + 0x4000 + 20, 1) == 0);
	working_driver();
	assert(toy.requests == 1);
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

static void virtio_open(void)
{
	struct virtio_pci_config c = {.pci = pci, .back = {.name = "toy"}, .msi = on_msi};
	int rc = mem.npages ? 0 : mem_init(&mem, MIB, NULL);

	log_init("board", LOG_ERR); /* of the many rings that break */

	memset(mem.page_bits, 0, mem.npages);
	toy_device_init(&toy);
	local = virtio_local_new(&toy.dev, &mem, &c.back, on_code, NULL);
	rc |= virtio_pci_new(&virtio, &c, NULL);
	virtio_local_bind(local, virtio);
	slow_stopping = false;
	c.back = (struct virtio_back){.name = "slow", .id = VIRTIO_ID_NET, .features = VIRTIO_F_VERSION_1, .nqueues = 2,
		.queue_size = 1024, .config_len = 5, .config_read = slow_read, .start = slow_start, .stop = slow_stop,
		.kick = slow_kick};
	rc |= virtio_pci_new(&slow, &c, NULL);
	assert(!rc && pci_port_add(pci, NULL) == 0);
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
	pci = pci_new(fake_bus, &(struct pci_config){.ecam_base = ECAM, .ecam_size = 0x8000000, .mmio32_base = MEM32,
		.mmio32_size = ECAM - MEM32, .mmio64_base = MEM64, .mmio64_size = 1ull << 32,
		.intx = {ioapic_set, io, 16}});
	virtio_open();
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
	virtio_pci_free(virtio);
	virtio_pci_free(slow);
	virtio_local_free(local);
	pci_free(pci);
	pic_free(pic);
	ioapic_free(io);
	lapics_free(apics);
	bus_free(fake_bus);
	assert(!fake_next());
}
