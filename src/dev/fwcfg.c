/* SPDX-License-Identifier: MIT */
/*
 * QEMU's firmware configuration device (QEMU docs/specs/fw_cfg), the ports only and of its items the few
 * that kvm-unit-tests reads: a 16-bit write to 0x510 selects an item, byte reads of 0x511 go through it and
 * give zeros behind its end. Items are read-only.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { SELECT_PORT = 0x510, DATA = 1 };
enum { ITEM_SIGNATURE = 0x00, ITEM_ID = 0x01, ITEM_RAM_SIZE = 0x03, ITEM_CPUS = 0x05, ITEM_MAX_CPUS = 0x0f };
enum { ID_TRADITIONAL = 1 };

struct fwcfg {
	uint64_t ram;
	unsigned ncpus;
	uint8_t item[8]; /* the selected one */
	size_t len, pos;
};

static void item_select(struct fwcfg *f, uint16_t item)
{
	memset(f->item, 0, sizeof f->item);
	f->pos = f->len = 0;
	switch (item) {
	case ITEM_SIGNATURE:
		memcpy(f->item, "QEMU", f->len = 4);
		break;
	case ITEM_ID:
		put_u32(f->item, ID_TRADITIONAL);
		f->len = 4;
		break;
	case ITEM_RAM_SIZE:
		put_u64(f->item, f->ram);
		f->len = 8;
		break;
	case ITEM_CPUS:
	case ITEM_MAX_CPUS:
		put_u16(f->item, (uint16_t)f->ncpus);
		f->len = 2;
		break;
	}
}

static uint64_t fwcfg_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct fwcfg *f = dev;

	(void)cpu;
	if (off != DATA || len != 1 || f->pos == f->len)
		return 0;
	return f->item[f->pos++];
}

static void fwcfg_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	(void)cpu;
	if (!off && len == 2)
		item_select(dev, (uint16_t)v);
}

static void fwcfg_reset(void *dev)
{
	item_select(dev, ITEM_SIGNATURE);
}

static const struct dev_ops fwcfg_ops = {"fwcfg", fwcfg_read, fwcfg_write, fwcfg_reset, 0};

struct fwcfg *fwcfg_new(struct bus *b, uint64_t ram, unsigned ncpus)
{
	struct fwcfg *f = xcalloc(1, sizeof *f);

	f->ram = ram;
	f->ncpus = ncpus;
	fwcfg_reset(f);
	bus_place(b, BUS_PIO, SELECT_PORT, 2, &fwcfg_ops, f);
	return f;
}

void fwcfg_free(struct fwcfg *f)
{
	free(f);
}
