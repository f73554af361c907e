/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration access: the memory-mapped window (PCI Express Base 4.0, 7.2.2) and the address and
 * data ports (PCI Local Bus 3.0, 3.2.2.3.2), where only a 4-byte access reaches the address register.
 * There is bus 0 only; a function that does not exist reads all ones and swallows writes.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "bus/pci.h"

enum { ADDRESS_PORT = 0xcf8, DATA_PORT = 0xcfc };
enum { SLOTS = 32, FUNCTIONS = 8, FUNC_SPACE = 4096 };
enum { VENDOR_ID = 0x00, DEVICE_ID = 0x02, CLASS = 0x09, SUBSYS_VENDOR = 0x2c, SUBSYS_ID = 0x2e };

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_BITS   0x80fffffcu

struct pci {
	struct pci_func *func[SLOTS][FUNCTIONS];
	struct pci_func bridge;
	uint32_t address;
};

/* bdf as in the ECAM offset: bus, slot, function above bit 12 */
static struct pci_func *find(const struct pci *p, uint64_t bdf)
{
	return bdf < SLOTS * FUNCTIONS ? p->func[bdf / FUNCTIONS][bdf % FUNCTIONS] : NULL;
}

/*
 * off is inside the function's 4 KiB; what of the access lies behind them is not there. The upper 15/16 are the
 * extended space, which is empty in all our functions: a zero at 0x100 says so.
 */
static uint64_t config_read(const struct pci *p, uint64_t bdf, unsigned off, unsigned len)
{
	const struct pci_func *f = find(p, bdf);
	uint64_t v = 0;

	if (!f)
		return UINT64_MAX;
	for (unsigned i = 0; i < len; i++) {
		uint64_t byte = 0;

		if (off + i >= FUNC_SPACE)
			byte = 0xff;
		else if (off + i < sizeof f->config)
			byte = f->config[off + i];
		v |= byte << i * 8;
	}
	return v;
}

static void config_write(struct pci *p, uint64_t bdf, unsigned off, uint64_t v, unsigned len)
{
	struct pci_func *f = find(p, bdf);

	if (!f || off >= sizeof f->config)
		return;
	if (len > sizeof f->config - off)
		len = sizeof f->config - off;
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = f->wmask[off + i];

		f->config[off + i] = (f->config[off + i] & ~mask) | ((v >> i * 8) & mask);
	}
	if (f->written)
		f->written(f, off, len);
}

static uint64_t ecam_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)cpu;
	return config_read(dev, off / FUNC_SPACE, off % FUNC_SPACE, len);
}

static void ecam_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	(void)cpu;
	config_write(dev, off / FUNC_SPACE, off % FUNC_SPACE, v, len);
}

static uint64_t address_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct pci *p = dev;

	(void)cpu;
	(void)off;
	(void)len;
	return p->address;
}

static void address_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct pci *p = dev;

	(void)cpu;
	(void)off;
	(void)len;
	p->address = (uint32_t)v & ADDRESS_BITS;
}

static uint64_t data_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct pci *p = dev;

	(void)cpu;
	if (!(p->address & ADDRESS_ENABLE))
		return UINT64_MAX;
	return config_read(p, p->address >> 8 & 0xffff, (p->address & 0xfc) + (unsigned)off, len);
}

static void data_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct pci *p = dev;

	(void)cpu;
	if (p->address & ADDRESS_ENABLE)
		config_write(p, p->address >> 8 & 0xffff, (p->address & 0xfc) + (unsigned)off, v, len);
}

static void pci_reset(void *dev)
{
	struct pci *p = dev;

	p->address = 0; /* the functions are reset by their owners */
}

static const struct dev_ops ecam_ops = {"pci-ecam", ecam_read, ecam_write, pci_reset, 4};
static const struct dev_ops address_ops = {"pci-address", address_read, address_write, pci_reset, 4};
static const struct dev_ops data_ops = {"pci-data", data_read, data_write, pci_reset, 4};

struct pci *pci_new(struct bus *b, const struct pci_config *c)
{
	struct pci *p = xcalloc(1, sizeof *p);
	int rc;

	put_u16(p->bridge.config + VENDOR_ID, 0x1b36);
	put_u16(p->bridge.config + DEVICE_ID, 0x0008);
	p->bridge.config[CLASS + 2] = 0x06; /* bridge, host */
	put_u16(p->bridge.config + SUBSYS_VENDOR, 0x1af4);
	put_u16(p->bridge.config + SUBSYS_ID, 0x1100);
	p->func[0][0] = &p->bridge;
	bus_place(b, BUS_MMIO, c->ecam_base, c->ecam_size, &ecam_ops, p);
	bus_place(b, BUS_PIO, DATA_PORT, 4, &data_ops, p);
	rc = bus_map_dword(b, ADDRESS_PORT, &address_ops, p);
	assert(!rc); /* the board has this one */
	return p;
}

void pci_free(struct pci *p)
{
	free(p);
}

int pci_add(struct pci *p, int slot, unsigned fn, struct pci_func *f, struct err *e)
{
	if (slot < 0 || slot >= SLOTS || fn >= FUNCTIONS)
		return err_set(e, EINVAL, "no PCI function %d.%u", slot, fn);
	if (p->func[slot][fn])
		return err_set(e, EEXIST, "PCI function %d.%u is taken", slot, fn);
	p->func[slot][fn] = f;
	return 0;
}
