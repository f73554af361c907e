/* SPDX-License-Identifier: MIT */
/* ACPI registers, debug ports, and the devices of kvm-unit-tests. */
#include "dev/legacy.h"
#include "fake.h"

static unsigned poweroffs, resets, exits, panics, texts, line_calls;
static uint32_t exit_value;
static uint8_t panic_events, text;
static struct wire ged;
static struct acpi_pm *pm;
static struct {
	unsigned line;
	bool level;
} last_line;

static void on_poweroff(void *arg)
{
	(void)arg;
	poweroffs++;
}

static void on_reset(void *arg)
{
	(void)arg;
	resets++;
}

static void on_tx(void *arg, uint8_t byte)
{
	(void)arg;
	texts++;
	text = byte;
}

static void on_exit_port(void *arg, uint32_t value)
{
	(void)arg;
	exits++;
	exit_value = value;
}

static void on_panic(void *arg, uint8_t events)
{
	(void)arg;
	panics++;
	panic_events = events;
}

static void on_line(void *arg, unsigned line, bool level)
{
	(void)arg;
	line_calls++;
	last_line.line = line;
	last_line.level = level;
}

static void test_pm(void)
{
	uint32_t was;

	/* sleep */
	outb(0x600, 5 << 2);
	assert(!poweroffs && inb(0x600) == 0x14);
	outb(0x600, 0x20 | 3 << 2); /* not S5 */
	assert(!poweroffs);
	outb(0x600, 0x20 | 5 << 2);
	assert(poweroffs == 1 && !(inb(0x600) & 0x20));
	assert(inb(0x601) == 0);
	/* reset: the register and 0xcf9 */
	outb(0x602, 0);
	outb(0x602, 2);
	assert(!resets);
	outb(0x602, 1);
	assert(resets == 1);
	outb(0xcf9, 0x02);
	assert(resets == 1 && inb(0xcf9) == 0x02);
	outb(0xcf9, 0x06);
	assert(resets == 2);
	outb(0xcf9, 0x06); /* no rise */
	assert(resets == 2);
	bus_reset(fake_bus);
	assert(inb(0xcf9) == 0);
	/* power button: until it is read */
	bus_lock(fake_bus);
	acpi_pm_button(pm);
	bus_unlock(fake_bus);
	assert(ged.level && ged.rises == 1);
	assert(inb(0x604) == ACPI_PM_GED_BUTTON && !ged.level && inb(0x604) == 0);
	bus_lock(fake_bus);
	acpi_pm_button(pm);
	bus_unlock(fake_bus);
	assert(in(0x603, 2) == ACPI_PM_GED_BUTTON << 8);
	bus_lock(fake_bus);
	acpi_pm_button(pm);
	bus_unlock(fake_bus);
	bus_reset(fake_bus);
	assert(!ged.level && inb(0x604) == 0);
	/* timer: rate, wrap, bytes; read-only */
	was = (uint32_t)in(0x608, 4);
	for (unsigned i = 1; i <= 1000; i++) {
		uint32_t ticks;

		fake_advance(MS + 1);
		ticks = (uint32_t)in(0x608, 4) - was;
		assert(ticks >= i * 3579.545 - 1 && ticks <= i * 3579.545 + 5);
	}
	was = (uint32_t)in(0x608, 4);
	fake_advance(S);
	assert((uint32_t)in(0x608, 4) - was == 3579545);
	was = (uint32_t)in(0x608, 4);
	assert(in(0x608, 2) == (was & 0xffff) && inb(0x60b) == was >> 24 && in(0x609, 2) == (was >> 8 & 0xffff));
	out(0x608, 0, 4);
	assert(in(0x608, 4) == was);
	fake_advance(1300 * S); /* over 2^32 */
	assert((uint32_t)in(0x608, 4) - was == (uint32_t)(1300ull * 3579545));
	fake_now = 0x7fffffffffffffff; /* 292 years: no overflow on the way */
	was = (uint32_t)in(0x608, 4);
	fake_now += S;
	assert((uint32_t)in(0x608, 4) - was == 3579545);
}

static void test_debug(void)
{
	assert(inb(0xe9) == 0xe9);
	outb(0xe9, 'x');
	assert(texts == 1 && text == 'x');
	out(0xf4, 0x12345678, 4);
	assert(exits == 1 && exit_value == 0x12345678);
	outb(0xf4, 3);
	assert(exits == 2 && exit_value == 3);
	outb(0xf5, 3); /* not the port itself */
	assert(exits == 2 && in(0xf4, 4) == 0);
	assert(inb(PVPANIC_PORT) == 3);
	outb(PVPANIC_PORT, 0xfc);
	assert(!panics);
	outb(PVPANIC_PORT, 0xff);
	assert(panics == 1 && panic_events == 3);
	outb(0x80, 0x5a);
	assert(inb(0x80) == 0x5a);
	out(0x80, 0x11, 2);
	assert(inb(0x80) == 0x11);
}

static void test_testdev(void)
{
	const uint64_t mem = 0xff000000;

	out(0xe0, 0x44332211, 4);
	assert(in(0xe0, 4) == 0x44332211 && in(0xe1, 2) == 0x3322 && inb(0xe3) == 0x44);
	outb(0xe2, 0x99);
	assert(in(0xe0, 4) == 0x44992211 && inb(0xe8) == 0x11);
	out(0xe4, 0x1000, 4);
	for (unsigned i = 0; i < 24; i++) {
		outb((uint16_t)(0x2000 + i), 1);
		assert(last_line.line == i && last_line.level);
		outb((uint16_t)(0x2000 + i), 0);
		assert(last_line.line == i && !last_line.level);
	}
	line_calls = 0;
	outb(0x2018, 1);
	assert(!line_calls && inb(0x2000) == 0);
	bus_write(fake_bus, BUS_MMIO, 0, mem + 3, 0x8877665544332211, 8);
	assert(bus_read(fake_bus, BUS_MMIO, 0, mem + 5, 4) == 0x66554433);
	bus_write(fake_bus, BUS_MMIO, 0, mem + 0xffff, 0x2211, 2);
	assert(bus_read(fake_bus, BUS_MMIO, 0, mem + 0xffff, 2) == 0xff11);
}

static uint64_t item(uint16_t sel, unsigned n)
{
	uint64_t v = 0;

	out(0x510, sel, 2);
	for (unsigned i = 0; i < n; i++)
		v |= (uint64_t)inb(0x511) << i * 8;
	assert(inb(0x511) == 0); /* behind the end */
	return v;
}

static void test_fwcfg(void)
{
	assert(item(0, 4) == 0x554d4551); /* "QEMU" */
	assert(item(1, 4) == 1);
	assert(item(3, 8) == 0x123450000 && item(5, 2) == 7 && item(0xf, 2) == 7);
	assert(item(0x19, 4) == 0 && item(0xffff, 1) == 0);
	out(0x510, 5, 2);
	outb(0x511, 0xff); /* read-only */
	outb(0x510, 3);    /* half a selector is none */
	assert(inb(0x511) == 7);
}

int main(void)
{
	struct acpi_pm_ops ops = {on_poweroff, on_reset, NULL};
	struct debug_ops dops = {on_tx, on_exit_port, on_panic, NULL};
	struct debugport *d;
	struct testdev *t;
	struct fwcfg *f;

	fake_bus = bus_new();
	pm = acpi_pm_new(fake_bus, WIRE(ged), &ops);
	d = debugport_new(fake_bus, &dops);
	t = testdev_new(fake_bus, on_line, NULL);
	f = fwcfg_new(fake_bus, 0x123450000, 7);
	test_pm();
	test_debug();
	test_testdev();
	test_fwcfg();
	acpi_pm_free(pm);
	debugport_free(d);
	testdev_free(t);
	fwcfg_free(f);
	bus_free(fake_bus);
	return 0;
}
