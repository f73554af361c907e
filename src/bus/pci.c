/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration access: the memory-mapped window (PCI Express Base 4.0, 7.2.2) and the address and
 * data ports (PCI Local Bus 3.0, 3.2.2.3.2), where only a 4-byte access reaches the address register.
 * A function that does not exist reads all ones and swallows writes.
 *
 * BARs (6.2.5.1). A function's contents and masks do most of it: the low bits of a BAR cannot be written, so that
 * all ones read back as its size. After each write that may have moved something, pci_remap() compares what all
 * functions ask for with what is on the bus. First everything that has moved is taken away, then everything that is
 * not there is tried: so two BARs that change places meet no obstacle, and one that another stood in the way of
 * comes when that has gone. What collides with a device of the board, or lies outside the windows, stays away: RAM
 * is not on the bus, and the windows are what keeps BARs out of it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "bus/pci-int.h"

enum { ADDRESS_PORT = 0xcf8, DATA_PORT = 0xcfc, FUNC_SPACE = 4096, CAPS_FIRST = 0x40 };

#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_BITS   0x80fffffcu

/* ---- configuration space ---- */

/* bdf as in the ECAM offset: bus, slot, function above bit 12 */
static struct pci_func *find(const struct pci *p, uint64_t bdf)
{
	unsigned bus = (unsigned)(bdf >> 8), slot = bdf >> 3 & 31, fn = bdf & 7;
	const struct pci_port *port;

	if (!bus)
		return p->func[slot][fn];
	port = slot ? NULL : pci_port_of(p, bus); /* a link has one device, number 0 (7.3.1) */
	return port ? port->child[fn] : NULL;
}

/*
 * off is inside the function's 4 KiB; what of the access lies behind them is not there. The upper 15/16 are the
 * extended space, which is empty in all our functions: a zero at 0x100 says so.
 */
static uint64_t config_read(const struct pci *p, uint64_t bdf, unsigned off, unsigned len)
{
	struct pci_func *f = find(p, bdf);
	uint64_t v = 0;

	if (!f)
		return UINT64_MAX;
	if (f->read && off < sizeof f->config)
		f->read(f, off, len < sizeof f->config - off ? len : (unsigned)sizeof f->config - off);
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

static void after_write(struct pci *p, struct pci_func *f, unsigned off, unsigned len)
{
	bool bars = f->bar[0].size || f->bar[1].size || f->bar[2].size || f->bar[3].size || f->bar[4].size ||
		f->bar[5].size;
	bool command = pci_touches(off, len, PCI_COMMAND, 2);

	if (bars && (command || pci_touches(off, len, PCI_BAR0, PCI_BARS * 4)))
		pci_remap(p);
	if (f->msix)
		pci_msix_written(f, off, len);
	if (command)
		pci_intx_update(f);
	for (unsigned i = 0; i < p->nports; i++)
		if (f == &p->port[i]->f)
			pci_port_written(p->port[i], off, len);
	if (f->written)
		f->written(f, off, len);
}

static void config_write(struct pci *p, uint64_t bdf, unsigned off, uint64_t v, unsigned len)
{
	struct pci_func *f = find(p, bdf);

	if (!f || off >= sizeof f->config)
		return;
	if (len > sizeof f->config - off)
		len = sizeof f->config - off;
	for (unsigned i = 0; i < len; i++) {
		uint8_t mask = f->wmask[off + i], byte = v >> i * 8 & 0xff;

		f->config[off + i] = ((f->config[off + i] & ~mask) | (byte & mask)) & ~(byte & f->w1c[off + i]);
	}
	after_write(p, f, off, len);
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

/* ---- BARs ---- */

static uint64_t bar_base(const struct pci_func *f, unsigned n)
{
	uint64_t v = get_u32(f->config + PCI_BAR0 + 4 * n) & ~UINT32_C(15);

	if (f->bar[n].is64)
		v |= (uint64_t)get_u32(f->config + PCI_BAR0 + 4 * (n + 1)) << 32;
	return v;
}

static bool inside(uint64_t base, uint64_t len, uint64_t window, uint64_t size)
{
	return base >= window && len <= size && base - window <= size - len;
}

/* Where a BAR is to be now; 0: nowhere. */
static uint64_t bar_wanted(const struct pci_func *f, unsigned n)
{
	const struct pci_config *c = &f->pci->c;
	uint64_t base = bar_base(f, n), size = f->bar[n].size;

	if (!size || !(f->config[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return 0;
	if (!inside(base, size, c->mmio32_base, c->mmio32_size) &&
		!inside(base, size, c->mmio64_base, c->mmio64_size))
		return 0;
	if (f->port && !pci_port_forwards(CONTAINER_OF(f->port, struct pci_port, f), base, size))
		return 0;
	return base;
}

void pci_remap(struct pci *p)
{
	for (unsigned i = 0; i < p->nplaced; i++)
		for (unsigned n = 0; n < PCI_BARS; n++) {
			struct pci_func *f = p->placed[i];

			if (f->bar[n].mapped_at && f->bar[n].mapped_at != bar_wanted(f, n)) {
				int rc = bus_unmap_locked(p->bus, BUS_MMIO, f->bar[n].mapped_at);

				assert(!rc);
				f->bar[n].mapped_at = 0;
			}
		}
	for (unsigned i = 0; i < p->nplaced; i++)
		for (unsigned n = 0; n < PCI_BARS; n++) {
			struct pci_func *f = p->placed[i];
			uint64_t at = f->bar[n].mapped_at ? 0 : bar_wanted(f, n);

			if (at && !bus_map_locked(p->bus, BUS_MMIO, at, f->bar[n].size, f->bar[n].ops, f->bar[n].dev))
				f->bar[n].mapped_at = at;
		}
}

void pci_bar(struct pci_func *f, unsigned n, uint64_t size, bool is64, const struct dev_ops *ops, void *dev)
{
	uint64_t mask = ~(size - 1);

	assert(!f->pci && n + is64 < PCI_BARS && size >= FUNC_SPACE && !(size & (size - 1)));
	assert(is64 || size <= GIB);
	f->bar[n].size = size;
	f->bar[n].ops = ops;
	f->bar[n].dev = dev;
	f->bar[n].is64 = is64;
	put_u32(f->config + PCI_BAR0 + 4 * n, is64 ? 0xc : 0); /* 64 bits and prefetchable */
	put_u32(f->wmask + PCI_BAR0 + 4 * n, (uint32_t)mask);
	if (is64)
		put_u32(f->wmask + PCI_BAR0 + 4 * (n + 1), (uint32_t)(mask >> 32));
}

void pci_bar_fixed(struct pci_func *f, unsigned n, uint64_t base, uint64_t size)
{
	assert(!f->pci && n < PCI_BARS && !(size & (size - 1)) && !(base & (size - 1)) && base + size <= 4 * GIB);
	put_u32(f->config + PCI_BAR0 + 4 * n, (uint32_t)base | 8);
	put_u32(f->wmask + PCI_BAR0 + 4 * n, (uint32_t)~(size - 1));
}

/* The next place of a window that has room. */
static uint64_t take(uint64_t *next, uint64_t window, uint64_t window_size, uint64_t size)
{
	uint64_t at = align_up(*next, size);

	if (at < *next || !inside(at, size, window, window_size))
		return 0;
	*next = at + size;
	return at;
}

static int place_bars(struct pci *p, struct pci_func *f, struct err *e)
{
	const struct pci_config *c = &p->c;
	uint64_t next32 = p->next32, next64 = p->next64;

	for (unsigned n = 0; n < PCI_BARS; n++) {
		uint64_t size = f->bar[n].size, at = 0;

		if (!size)
			continue;
		if (f->bar[n].is64)
			at = take(&next64, c->mmio64_base, c->mmio64_size, size);
		if (!at)
			at = take(&next32, c->mmio32_base, c->mmio32_size, size);
		if (!at)
			return err_set(e, ENOSPC,
				"no room in the PCI memory window for another device: use fewer devices");
		put_u32(f->config + PCI_BAR0 + 4 * n, (uint32_t)at | (f->config[PCI_BAR0 + 4 * n] & 15));
		if (f->bar[n].is64)
			put_u32(f->config + PCI_BAR0 + 4 * (n + 1), (uint32_t)(at >> 32));
		f->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	}
	p->next32 = next32;
	p->next64 = next64;
	return 0;
}

/* ---- interrupt pins ---- */

/* A port passes the pins of the device behind it on unchanged, since that is in slot 0. */
static unsigned intx_line(const struct pci_func *f)
{
	unsigned devfn = f->port ? f->port->devfn : f->devfn;

	return (devfn >> 3) % PCI_INTX_LINES; /* pin INTA */
}

void pci_intx_update(struct pci_func *f)
{
	bool out = f->intx && !(get_u16(f->config + PCI_COMMAND) & PCI_COMMAND_NO_INTX) && !pci_msix_on(f);
	struct pci *p = f->pci;
	unsigned line;

	if (!p || out == f->intx_out)
		return;
	f->intx_out = out;
	line = intx_line(f);
	if (out ? !p->intx[line]++ : !--p->intx[line]) {
		struct irq i = p->c.intx;

		i.line += line;
		irq_set(&i, out);
	}
}

void pci_intx(struct pci_func *f, bool level)
{
	if (level == f->intx)
		return;
	f->intx = level;
	f->config[PCI_STATUS] = (uint8_t)((f->config[PCI_STATUS] & ~PCI_STATUS_INTX) | (level ? PCI_STATUS_INTX : 0));
	pci_intx_update(f);
}

/* ---- set-up ---- */

void pci_ident(struct pci_func *f, uint16_t vendor, uint16_t device, uint32_t class_rev, uint16_t subsys_vendor,
	uint16_t subsys_id)
{
	put_u16(f->config + PCI_VENDOR_ID, vendor);
	put_u16(f->config + PCI_DEVICE_ID, device);
	put_u32(f->config + PCI_CLASS_REV, class_rev);
	put_u16(f->config + PCI_SUBSYS_VENDOR, subsys_vendor);
	put_u16(f->config + PCI_SUBSYS_ID, subsys_id);
	put_u16(f->wmask + PCI_COMMAND, 0x0546); /* memory, bus master, parity, SERR, no INTx; ports we have none */
	f->wmask[PCI_CACHE_LINE] = 0xff;
	f->wmask[PCI_INT_LINE] = 0xff;
}

unsigned pci_cap(struct pci_func *f, uint8_t id, unsigned len)
{
	unsigned at = f->cap_free ? f->cap_free : CAPS_FIRST, end = (at + len + 3) & ~3u;

	assert(len >= 2 && end <= 0xff);
	f->config[at] = id;
	f->config[f->cap_last ? f->cap_last + 1 : PCI_CAP_POINTER] = (uint8_t)at;
	f->config[PCI_STATUS] |= PCI_STATUS_CAPS;
	f->cap_last = (uint8_t)at;
	f->cap_free = (uint8_t)end;
	return at;
}

void pci_express_type(struct pci_func *f, unsigned type)
{
	put_u16(f->config + f->express + EXP_FLAGS, (uint16_t)(2 | type << 4));
	if (type == EXP_INTEGRATED) /* it has no link (7.5.3.6) */
		return;
	put_u32(f->config + f->express + EXP_LNKCAP, 0x11); /* 2.5 GT/s, one lane */
	put_u16(f->config + f->express + EXP_LNKSTA, 0x11);
	put_u32(f->config + f->express + EXP_LNKCAP2, 2);
	put_u16(f->config + f->express + EXP_LNKCTL2, 1);
	put_u16(f->wmask + f->express + EXP_LNKCTL, 0x00fb);
}

void pci_express(struct pci_func *f)
{
	f->express = (uint8_t)pci_cap(f, PCI_CAP_EXPRESS, EXP_SIZE);
	put_u32(f->config + f->express + EXP_DEVCAP, 1 << 15); /* role-based errors, payload of 128 bytes */
	put_u16(f->config + f->express + EXP_DEVCTL, 0x2810);
	put_u16(f->wmask + f->express + EXP_DEVCTL, 0x7fff);
}

/* f is one of the bus' functions from now on. */
static void settle(struct pci *p, struct pci_func *f, unsigned devfn)
{
	p->placed[p->nplaced++] = f;
	f->pci = p;
	f->devfn = (uint8_t)devfn;
}

/* Function 0 says whether to look for others (PCI Local Bus 3.0, 6.2.1). */
static void mark_multi(struct pci_func *const fn[PCI_FUNCTIONS])
{
	for (unsigned i = 1; fn[0] && i < PCI_FUNCTIONS; i++)
		if (fn[i]) {
			fn[0]->config[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI;
			fn[0]->power_on[PCI_HEADER_TYPE] |= PCI_HEADER_MULTI;
		}
}

int pci_add(struct pci *p, int slot, unsigned fn, struct pci_func *f, struct err *e)
{
	int rc;

	if (slot >= PCI_SLOTS || fn >= PCI_FUNCTIONS || (slot < 0 && fn))
		return err_set(e, EINVAL, "no PCI function %d.%u", slot, fn);
	for (unsigned i = 0; slot < 0 && i < PCI_SLOTS * PCI_FUNCTIONS; i++) {
		unsigned s = p->c.dense ? i / PCI_FUNCTIONS : i % PCI_SLOTS, n = p->c.dense ? i % PCI_FUNCTIONS : i / PCI_SLOTS;

		/* slot 0 is the bridge's */
		if (s && !p->func[s][n]) {
			slot = (int)s;
			fn = n;
		}
	}
	if (slot < 0)
		return err_set(e, ENOSPC, "the PCI bus is full with %d functions: use fewer devices",
			(PCI_SLOTS - 1) * PCI_FUNCTIONS);
	if (p->func[slot][fn])
		return err_set(e, EEXIST, "PCI function %d.%u is taken", slot, fn);
	rc = place_bars(p, f, e);
	if (rc)
		return rc;
	settle(p, f, (unsigned)slot << 3 | fn);
	if (f->config[PCI_INT_PIN])
		f->config[PCI_INT_LINE] = 0xff; /* the _PRT knows; no line of the old controllers (6.2.4) */
	if (f->express && !(f->config[PCI_HEADER_TYPE] & 0x7f))
		pci_express_type(f, EXP_INTEGRATED);
	memcpy(f->power_on, f->config, sizeof f->config);
	p->func[slot][fn] = f;
	mark_multi(p->func[slot]);
	bus_lock(p->bus);
	pci_remap(p);
	bus_unlock(p->bus);
	return 0;
}

int pci_port_plug(struct pci *p, unsigned port, unsigned fn, struct pci_func *f, struct err *e)
{
	struct pci_port *at = port < p->nports ? p->port[port] : NULL;

	if (!at || fn >= PCI_FUNCTIONS)
		return err_set(e, EINVAL, "no PCI function %u behind root port %u", fn, port);
	if (at->child[fn])
		return err_set(e, EEXIST, "the slot of PCI root port %u is taken", port);
	settle(p, f, fn);
	f->port = &at->f;
	if (f->express)
		pci_express_type(f, EXP_ENDPOINT);
	memcpy(f->power_on, f->config, sizeof f->config);
	at->child[fn] = f;
	mark_multi(at->child);
	pci_port_presence(at);
	return 0;
}

static void restore(struct pci_func *f)
{
	memcpy(f->config, f->power_on, sizeof f->config);
	if (f->msix)
		pci_msix_reset(f);
	f->intx = false;
	pci_intx_update(f);
}

void pci_func_reset(struct pci_func *f)
{
	restore(f);
	pci_remap(f->pci);
}

void pci_func_free(struct pci_func *f)
{
	free(f->msix);
	f->msix = NULL;
}

static void pci_reset(void *dev)
{
	struct pci *p = dev;

	p->address = 0;
	for (unsigned i = 0; i < p->nplaced; i++)
		restore(p->placed[i]);
	pci_remap(p);
}

static const struct dev_ops ecam_ops = {"pci-ecam", ecam_read, ecam_write, pci_reset, 4};
static const struct dev_ops address_ops = {"pci-address", address_read, address_write, pci_reset, 4};
static const struct dev_ops data_ops = {"pci-data", data_read, data_write, pci_reset, 4};

struct pci *pci_new(struct bus *b, const struct pci_config *c)
{
	struct pci *p = xcalloc(1, sizeof *p);
	int rc;

	p->bus = b;
	p->c = *c;
	p->next32 = c->mmio32_base;
	p->next64 = c->mmio64_base;
	pci_ident(&p->bridge, 0x1b36, 0x0008, 0x06000000, 0x1af4, 0x1100); /* bridge, host */
	rc = pci_add(p, 0, 0, &p->bridge, NULL);
	assert(!rc);
	bus_place(b, BUS_MMIO, c->ecam_base, c->ecam_size, &ecam_ops, p);
	bus_place(b, BUS_PIO, DATA_PORT, 4, &data_ops, p);
	rc = bus_map_dword(b, ADDRESS_PORT, &address_ops, p);
	assert(!rc); /* the board has this one */
	return p;
}

void pci_free(struct pci *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->nports; i++)
		free(p->port[i]);
	free(p);
}
