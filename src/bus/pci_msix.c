/* SPDX-License-Identifier: MIT */
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2). The table holds 16 bytes per vector: address, data, and a word whose bit 0 masks
 * it. A vector that is sent while it, or the whole function, is masked, is remembered in the pending bit array and goes
 * out when the last mask goes away. Accesses other than of aligned 4 or 8 bytes are undefined there (6.8.2): writes
 * have no effect.
 */
#include <assert.h>

#include "base/util.h"
#include "bus/pci-int.h"

enum { ENTRY = 16, ENTRY_DATA = 8, ENTRY_CONTROL = 12, VECTORS_MAX = 2048 };
enum { CAP_CONTROL = 2, CAP_TABLE = 4, CAP_PBA = 8, CAP_SIZE = 12 };
enum { CONTROL_MASK = 0x4000, CONTROL_ENABLE = 0x8000 };

struct pci_msix {
	struct pci_func *f;
	unsigned cap, nvectors, pba; /* pba: offset in the BAR; the table is at its start */
	void (*msi)(void *arg, uint64_t addr, uint32_t data);
	void *arg;
	uint16_t control; /* as it was when somebody last looked */
	unsigned npending;
	uint8_t mem[]; /* table and pending bits, as in the BAR */
};

static bool is_pending(const struct pci_msix *m, unsigned v)
{
	return m->mem[m->pba + v / 8] >> v % 8 & 1;
}

static void set_pending(struct pci_msix *m, unsigned v, bool yes)
{
	uint8_t bit = (uint8_t)(1 << v % 8);

	if (is_pending(m, v) == yes)
		return;
	m->mem[m->pba + v / 8] ^= bit;
	if (yes)
		m->npending++;
	else
		m->npending--;
}

void pci_msix_send(struct pci_func *f, unsigned v)
{
	struct pci_msix *m = f->msix;
	const uint8_t *e;

	if (!m || v >= m->nvectors || !(m->control & CONTROL_ENABLE))
		return;
	e = m->mem + v * ENTRY;
	if (m->control & CONTROL_MASK || e[ENTRY_CONTROL] & 1) {
		set_pending(m, v, true);
		return;
	}
	set_pending(m, v, false);
	m->msi(m->arg, get_u64(e), get_u32(e + ENTRY_DATA));
}

static void send_pending(struct pci_msix *m)
{
	for (unsigned v = 0; v < m->nvectors && m->npending; v++)
		if (is_pending(m, v))
			pci_msix_send(m->f, v);
}

bool pci_msix_on(const struct pci_func *f)
{
	return f->msix && f->msix->control & CONTROL_ENABLE;
}

/* Something in the configuration space has been written. */
void pci_msix_written(struct pci_func *f, unsigned off, unsigned len)
{
	struct pci_msix *m = f->msix;

	if (!pci_touches(off, len, m->cap + CAP_CONTROL, 2))
		return;
	m->control = get_u16(f->config + m->cap + CAP_CONTROL);
	if (!(m->control & CONTROL_ENABLE)) {
		memset(m->mem + m->pba, 0, (m->nvectors + 7) / 8);
		m->npending = 0;
	}
	send_pending(m);
	pci_intx_update(f);
}

void pci_msix_reset(struct pci_func *f)
{
	struct pci_msix *m = f->msix;

	memset(m->mem, 0, m->pba + (m->nvectors + 7) / 8);
	for (unsigned v = 0; v < m->nvectors; v++)
		m->mem[v * ENTRY + ENTRY_CONTROL] = 1;
	m->npending = 0;
	m->control = get_u16(f->config + m->cap + CAP_CONTROL);
}

static uint64_t msix_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	const struct pci_msix *m = dev;
	uint64_t v = 0, end = m->pba + (m->nvectors + 7) / 8;

	(void)cpu;
	for (unsigned i = 0; i < len; i++)
		if (off + i < end)
			v |= (uint64_t)m->mem[off + i] << i * 8;
	return v;
}

static void msix_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct pci_msix *m = dev;

	(void)cpu;
	if ((len != 4 && len != 8) || off % len || off >= m->nvectors * ENTRY)
		return;
	for (unsigned i = 0; i < len; i += 4, v >>= 32) {
		unsigned at = (unsigned)off + i;

		put_u32(m->mem + at, at % ENTRY == ENTRY_CONTROL ? (uint32_t)v & 1 : (uint32_t)v);
	}
	if ((off + len) % ENTRY == 0 && is_pending(m, (unsigned)off / ENTRY))
		pci_msix_send(m->f, (unsigned)off / ENTRY);
}

static const struct dev_ops msix_ops = {"pci-msix", msix_read, msix_write, NULL, 0};

void pci_msix_add(struct pci_func *f, unsigned bar, unsigned nvectors,
	void (*msi)(void *arg, uint64_t addr, uint32_t data), void *arg)
{
	unsigned pba = nvectors * ENTRY, end = pba + (nvectors + 63) / 64 * 8;
	uint64_t size = 4096;
	struct pci_msix *m = xcalloc(1, sizeof *m + end);

	assert(!f->msix && nvectors && nvectors <= VECTORS_MAX);
	while (size < end)
		size *= 2;
	m->f = f;
	m->nvectors = nvectors;
	m->pba = pba;
	m->msi = msi;
	m->arg = arg;
	f->msix = m;
	pci_bar(f, bar, size, false, &msix_ops, m);
	m->cap = pci_cap(f, PCI_CAP_MSIX, CAP_SIZE);
	put_u16(f->config + m->cap + CAP_CONTROL, (uint16_t)(nvectors - 1));
	put_u16(f->wmask + m->cap + CAP_CONTROL, CONTROL_ENABLE | CONTROL_MASK);
	put_u32(f->config + m->cap + CAP_TABLE, bar);
	put_u32(f->config + m->cap + CAP_PBA, pba | bar);
	pci_msix_reset(f);
}
