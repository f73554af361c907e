/* SPDX-License-Identifier: MIT */
/*
 * Root ports: a bridge (PCI-to-PCI Bridge Architecture 1.2, 3.2) with the PCI Express capability of a root port whose
 * slot takes one device (PCI Express Base 4.0, 7.5.3). The secondary bus number says which configuration accesses go
 * on, the memory windows which addresses; a base above its limit is a closed window. There are no I/O windows.
 *
 * The slot has neither button, nor lamps, nor power control, and does what a command says at once: "no command completed"
 * tells drivers not to wait for it. So far slots are filled at set-up, and nothing raises the port's interrupt; the MSI
 * capability is there because a hot-plug driver wants a vector before it looks at the slot.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "bus/pci-int.h"

enum { SECONDARY = 0x19, SUBORDINATE = 0x1a, MEM_BASE = 0x20, MEM_LIMIT = 0x22, PREF_BASE = 0x24, PREF_LIMIT = 0x26,
	PREF_BASE_HIGH = 0x28, PREF_LIMIT_HIGH = 0x2c, BRIDGE_CONTROL = 0x3e };
enum { FLAGS_SLOT = 1 << 8, LINK_ACTIVE_CAPABLE = 1 << 20, LINK_ACTIVE = 1 << 13 };
enum { SLOT_SURPRISE = 1 << 5, SLOT_HOTPLUG = 1 << 6, SLOT_NO_COMMAND_COMPLETED = 1 << 18, SLOT_NUMBER_SHIFT = 19 };
enum { SLOT_PRESENT = 1 << 6 };
enum { MSI_CONTROL = 2, MSI_SIZE = 14, MSI_64BIT = 1 << 7 };

struct pci_port *pci_port_of(const struct pci *p, unsigned bus)
{
	for (unsigned i = 0; i < p->nports; i++)
		if (p->port[i]->f.config[SECONDARY] == bus)
			return p->port[i];
	return NULL;
}

static bool window_holds(uint64_t base, uint64_t limit, uint64_t at, uint64_t len)
{
	return base <= limit && at >= base && at <= limit && len - 1 <= limit - at;
}

bool pci_port_forwards(const struct pci_port *port, uint64_t at, uint64_t len)
{
	const uint8_t *c = port->f.config;
	uint64_t base = (uint64_t)(get_u16(c + MEM_BASE) & 0xfff0) << 16;
	uint64_t limit = (uint64_t)get_u16(c + MEM_LIMIT) << 16 | 0xfffff;

	if (!(c[PCI_COMMAND] & PCI_COMMAND_MEMORY))
		return false;
	if (window_holds(base, limit, at, len))
		return true;
	base = (uint64_t)get_u32(c + PREF_BASE_HIGH) << 32 | (uint64_t)(get_u16(c + PREF_BASE) & 0xfff0) << 16;
	limit = (uint64_t)get_u32(c + PREF_LIMIT_HIGH) << 32 | (uint64_t)get_u16(c + PREF_LIMIT) << 16 | 0xfffff;
	return window_holds(base, limit, at, len);
}

/* Command and windows move what is behind the port. */
void pci_port_written(struct pci_port *port, unsigned off, unsigned len)
{
	if (pci_touches(off, len, PCI_COMMAND, 2) || pci_touches(off, len, MEM_BASE, 0x10))
		pci_remap(port->f.pci);
}

/* The slot and the link say whether there is a device. Set-up only: an event would have to be signalled. */
void pci_port_presence(struct pci_port *port)
{
	uint8_t *power_on = port->f.power_on + port->f.express, *config = port->f.config + port->f.express;
	bool present = false;

	for (unsigned i = 0; i < PCI_FUNCTIONS; i++)
		present |= port->child[i] != NULL;
	put_u16(power_on + EXP_SLTSTA, present ? SLOT_PRESENT : 0);
	put_u16(power_on + EXP_LNKSTA, present ? LINK_ACTIVE | 0x11 : 0x11);
	memcpy(config + EXP_SLTSTA, power_on + EXP_SLTSTA, 2);
	memcpy(config + EXP_LNKSTA, power_on + EXP_LNKSTA, 2);
}

int pci_port_add(struct pci *p, struct err *e)
{
	unsigned n = p->nports, msi;
	struct pci_port *port;
	struct pci_func *f;
	uint8_t *x;
	int rc;

	if (n == PCI_PORTS)
		return err_set(e, ENOSPC, "there can be %d PCI root ports at most", PCI_PORTS);
	port = xcalloc(1, sizeof *port);
	f = &port->f;
	pci_ident(f, 0x1b36, 0x000c, 0x06040000, 0, 0);
	f->config[PCI_HEADER_TYPE] = 1;
	f->config[SECONDARY] = f->config[SUBORDINATE] = (uint8_t)(n + 1);
	memset(f->wmask + 0x18, 0xff, 3); /* bus numbers */
	put_u16(f->config + MEM_BASE, 0xfff0);
	put_u16(f->config + PREF_BASE, 0xfff1); /* 64 bits */
	put_u16(f->config + PREF_LIMIT, 0x0001);
	for (unsigned i = MEM_BASE; i < PREF_BASE_HIGH; i += 2)
		put_u16(f->wmask + i, 0xfff0);
	memset(f->wmask + PREF_BASE_HIGH, 0xff, 8);
	put_u16(f->wmask + BRIDGE_CONTROL, 0x5f);
	f->config[PCI_INT_PIN] = 1;

	pci_express(f);
	pci_express_type(f, EXP_ROOT_PORT);
	x = f->config + f->express;
	put_u16(x + EXP_FLAGS, get_u16(x + EXP_FLAGS) | FLAGS_SLOT);
	put_u32(x + EXP_LNKCAP, get_u32(x + EXP_LNKCAP) | LINK_ACTIVE_CAPABLE | (n + 1) << 24);
	put_u32(x + EXP_SLTCAP, SLOT_SURPRISE | SLOT_HOTPLUG | SLOT_NO_COMMAND_COMPLETED | (n + 1) << SLOT_NUMBER_SHIFT);
	put_u16(f->wmask + f->express + EXP_SLTCTL, 0x1028); /* presence and link changes, and the interrupt */
	put_u16(f->w1c + f->express + EXP_SLTSTA, 0x0108);
	put_u16(f->wmask + f->express + EXP_ROOTCTL, 0x000f);
	msi = pci_cap(f, PCI_CAP_MSI, MSI_SIZE);
	put_u16(f->config + msi + MSI_CONTROL, MSI_64BIT);
	put_u16(f->wmask + msi + MSI_CONTROL, 1);
	memset(f->wmask + msi + 4, 0xff, 10);
	f->wmask[msi + 4] = 0xfc;

	rc = pci_add(p, -1, 0, f, e);
	if (rc) {
		free(port);
		return rc;
	}
	p->port[p->nports++] = port;
	return 0;
}

unsigned pci_ports(const struct pci *p)
{
	return p->nports;
}
