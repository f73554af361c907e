/* SPDX-License-Identifier: MIT */
/*
 * The few ACPI registers of a hardware-reduced platform (ACPI 6.4, 4.1 and 4.8.3.7): sleep control and
 * status, the reset register, the power management timer (4.8.3.3), and one status byte for the power
 * button, which the GED method in the DSDT reads. Also the reset control register at 0xcf9 (ICH9 13.7.5),
 * which guests try when ACPI fails them.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { SLEEP_EN = 0x20, SLEEP_TYPE_SHIFT = 2, WAKE_STATUS = 0x80 };
enum { RESET_CONTROL_PORT = 0xcf9, RESET_CPU = 0x04, RESET_BITS = 0x0e };
enum { PM_TIMER_HZ = 3579545, AREA = 0x10 };

struct acpi_pm {
	struct irq ged;
	struct acpi_pm_ops ops;
	uint8_t sleep_control, sleep_status, ged_status, reset_control;
};

static uint32_t pm_timer(void)
{
	uint64_t ns = now_ns();

	/* seconds and rest apart: ns * Hz would overflow after 85 minutes */
	return (uint32_t)(ns / 1000000000u * PM_TIMER_HZ + ns % 1000000000u * PM_TIMER_HZ / 1000000000u);
}

static uint8_t read_byte(struct acpi_pm *p, unsigned port)
{
	uint8_t v = 0;

	switch (port) {
	case ACPI_PM_SLEEP_CONTROL:
		v = p->sleep_control & ~SLEEP_EN; /* SLP_EN reads as zero */
		break;
	case ACPI_PM_SLEEP_STATUS:
		v = p->sleep_status;
		break;
	case ACPI_PM_GED:
		v = p->ged_status;
		p->ged_status = 0;
		irq_set(&p->ged, false);
		break;
	}
	return v;
}

static void write_byte(struct acpi_pm *p, unsigned port, uint8_t v)
{
	switch (port) {
	case ACPI_PM_SLEEP_CONTROL:
		p->sleep_control = v;
		if (v & SLEEP_EN && (v >> SLEEP_TYPE_SHIFT & 7) == ACPI_PM_S5_TYPE && p->ops.poweroff)
			p->ops.poweroff(p->ops.arg);
		break;
	case ACPI_PM_SLEEP_STATUS:
		p->sleep_status &= ~(v & WAKE_STATUS);
		break;
	case ACPI_PM_RESET:
		if (v == ACPI_PM_RESET_VALUE && p->ops.reset)
			p->ops.reset(p->ops.arg);
		break;
	}
}

static uint64_t area_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	unsigned port = ACPI_PM_SLEEP_CONTROL + (unsigned)off;
	uint64_t v = 0;

	(void)cpu;
	/* The timer is read in one go, or its bytes would be of different times. */
	if (port >= ACPI_PM_TIMER && port < ACPI_PM_TIMER + 4)
		return (uint64_t)pm_timer() >> (port - ACPI_PM_TIMER) * 8;
	for (unsigned i = 0; i < len; i++)
		v |= (uint64_t)read_byte(dev, port + i) << i * 8;
	return v;
}

static void area_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	(void)cpu;
	for (unsigned i = 0; i < len; i++)
		write_byte(dev, ACPI_PM_SLEEP_CONTROL + (unsigned)off + i, v >> i * 8 & 0xff);
}

static uint64_t rst_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct acpi_pm *p = dev;

	(void)cpu;
	(void)off;
	(void)len;
	return p->reset_control;
}

static void rst_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct acpi_pm *p = dev;
	bool fires = v & RESET_CPU && !(p->reset_control & RESET_CPU);

	(void)cpu;
	(void)off;
	(void)len;
	p->reset_control = v & RESET_BITS;
	if (fires && p->ops.reset)
		p->ops.reset(p->ops.arg);
}

static void acpi_pm_reset(void *dev)
{
	struct acpi_pm *p = dev;

	p->sleep_control = p->sleep_status = p->ged_status = p->reset_control = 0;
	irq_set(&p->ged, false);
}

void acpi_pm_button(struct acpi_pm *p)
{
	p->ged_status |= ACPI_PM_GED_BUTTON;
	irq_set(&p->ged, true);
}

static const struct dev_ops area_ops = {
	.name = "acpi",
	.read = area_read,
	.write = area_write,
	.reset = acpi_pm_reset,
};

static const struct dev_ops rst_ops = {
	.name = "reset",
	.read = rst_read,
	.write = rst_write,
	.max_len = 1,
};

struct acpi_pm *acpi_pm_new(struct bus *b, struct irq ged_irq, const struct acpi_pm_ops *ops)
{
	struct acpi_pm *p = xcalloc(1, sizeof *p);

	p->ged = ged_irq;
	p->ops = *ops;
	bus_place(b, BUS_PIO, ACPI_PM_SLEEP_CONTROL, AREA, &area_ops, p);
	bus_place(b, BUS_PIO, RESET_CONTROL_PORT, 1, &rst_ops, p);
	return p;
}

void acpi_pm_free(struct acpi_pm *p)
{
	free(p);
}
