/* SPDX-License-Identifier: MIT */
/*
 * Ports through which a guest speaks to whoever runs it: text (0xe9, as in Bochs), exit (0xf4, QEMU's
 * isa-debug-exit), pvpanic (QEMU docs/specs/pvpanic), and the POST code port 0x80, which guests write to
 * pass time and which remembers the last value.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { POST_PORT = 0x80, TEXT_PORT = 0xe9, EXIT_PORT = 0xf4, EXIT_LEN = 4 };
enum { PANIC_EVENTS = 3 };

struct debugport {
	struct debug_ops ops;
	uint8_t post;
};

static uint64_t post_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct debugport *d = dev;

	(void)cpu;
	(void)off;
	(void)len;
	return d->post;
}

static void post_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct debugport *d = dev;

	(void)cpu;
	(void)off;
	(void)len;
	d->post = v & 0xff;
}

static uint64_t text_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)dev;
	(void)cpu;
	(void)off;
	(void)len;
	return TEXT_PORT; /* how a guest finds out that the port is there */
}

static void text_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct debugport *d = dev;

	(void)cpu;
	(void)off;
	(void)len;
	if (d->ops.tx)
		d->ops.tx(d->ops.arg, v & 0xff);
}

static uint64_t exit_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)dev;
	(void)cpu;
	(void)off;
	(void)len;
	return 0;
}

static void exit_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct debugport *d = dev;

	(void)cpu;
	(void)len;
	if (!off && d->ops.exit)
		d->ops.exit(d->ops.arg, (uint32_t)v);
}

static uint64_t panic_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)dev;
	(void)cpu;
	(void)off;
	(void)len;
	return PANIC_EVENTS;
}

static void panic_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct debugport *d = dev;

	(void)cpu;
	(void)off;
	(void)len;
	if (v & PANIC_EVENTS && d->ops.panicked)
		d->ops.panicked(d->ops.arg, v & PANIC_EVENTS);
}

static void debugport_reset(void *dev)
{
	struct debugport *d = dev;

	d->post = 0;
}

static const struct dev_ops post_ops = {"post", post_read, post_write, debugport_reset, 1};
static const struct dev_ops text_ops = {"debugcon", text_read, text_write, NULL, 1};
static const struct dev_ops exit_ops = {"debug-exit", exit_read, exit_write, NULL, 0};
static const struct dev_ops panic_ops = {"pvpanic", panic_read, panic_write, NULL, 1};

struct debugport *debugport_new(struct bus *b, const struct debug_ops *ops)
{
	struct debugport *d = xcalloc(1, sizeof *d);

	d->ops = *ops;
	bus_place(b, BUS_PIO, POST_PORT, 1, &post_ops, d);
	bus_place(b, BUS_PIO, TEXT_PORT, 1, &text_ops, d);
	bus_place(b, BUS_PIO, EXIT_PORT, EXIT_LEN, &exit_ops, d);
	bus_place(b, BUS_PIO, PVPANIC_PORT, 1, &panic_ops, d);
	return d;
}

void debugport_free(struct debugport *d)
{
	free(d);
}
