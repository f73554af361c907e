/* SPDX-License-Identifier: MIT */
/*
 * The test device of kvm-unit-tests (QEMU's pc-testdev): four scratch bytes at 0xe0 and, one byte at a
 * time, at 0xe8; a port at 0xe4 whose write makes QEMU unmap and map a guest page, which has no meaning
 * here; one port per interrupt line at 0x2000; and 64 KiB at 0xff000000 that behave like RAM but are MMIO.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { SCRATCH_PORT = 0xe0, FLUSH_PORT = 0xe4, BYTE_PORT = 0xe8, LINE_PORT = 0x2000, LINES = 24 };
#define MEMORY_BASE UINT64_C(0xff000000)

struct testdev {
	void (*line)(void *arg, unsigned line, bool level);
	void *arg;
	uint8_t scratch[4];
	uint8_t memory[64 * 1024];
};

static uint64_t bytes_read(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < len; i++)
		v |= (uint64_t)p[i] << i * 8;
	return v;
}

static void bytes_write(uint8_t *p, uint64_t v, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		p[i] = v >> i * 8 & 0xff;
}

static uint64_t scratch_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct testdev *t = dev;

	(void)cpu;
	return bytes_read(t->scratch + off, len);
}

static void scratch_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct testdev *t = dev;

	(void)cpu;
	bytes_write(t->scratch + off, v, len);
}

static uint64_t zero_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)dev;
	(void)cpu;
	(void)off;
	(void)len;
	return 0;
}

static void flush_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	(void)dev;
	(void)cpu;
	(void)off;
	(void)v;
	(void)len;
}

static void line_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct testdev *t = dev;

	(void)cpu;
	(void)len;
	if (t->line)
		t->line(t->arg, (unsigned)off, v != 0);
}

static uint64_t memory_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct testdev *t = dev;

	(void)cpu;
	return bytes_read(t->memory + off, len);
}

static void memory_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct testdev *t = dev;

	(void)cpu;
	bytes_write(t->memory + off, v, len);
}

static void testdev_reset(void *dev)
{
	struct testdev *t = dev;

	memset(t->scratch, 0, sizeof t->scratch);
	memset(t->memory, 0, sizeof t->memory);
	for (unsigned i = 0; i < LINES; i++)
		line_write(t, 0, i, 0, 1);
}

static const struct dev_ops scratch_ops = {"testdev", scratch_read, scratch_write, testdev_reset, 0};
static const struct dev_ops byte_ops = {"testdev-byte", scratch_read, scratch_write, testdev_reset, 1};
static const struct dev_ops flush_ops = {"testdev-flush", zero_read, flush_write, NULL, 0};
static const struct dev_ops line_ops = {"testdev-lines", zero_read, line_write, NULL, 1};
static const struct dev_ops memory_ops = {"testdev-memory", memory_read, memory_write, NULL, 0};

struct testdev *testdev_new(struct bus *b, void (*line)(void *arg, unsigned line, bool level), void *arg)
{
	struct testdev *t = xcalloc(1, sizeof *t);

	t->line = line;
	t->arg = arg;
	bus_place(b, BUS_PIO, SCRATCH_PORT, sizeof t->scratch, &scratch_ops, t);
	bus_place(b, BUS_PIO, FLUSH_PORT, 4, &flush_ops, t);
	/* not to 0xeb, as QEMU's: the text port 0xe9 of debugport.c lies inside */
	bus_place(b, BUS_PIO, BYTE_PORT, 1, &byte_ops, t);
	bus_place(b, BUS_PIO, LINE_PORT, LINES, &line_ops, t);
	bus_place(b, BUS_MMIO, MEMORY_BASE, sizeof t->memory, &memory_ops, t);
	return t;
}

void testdev_free(struct testdev *t)
{
	free(t);
}
