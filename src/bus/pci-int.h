/* SPDX-License-Identifier: MIT */
/* What pci.c, pci_msix.c and pci_port.c share. All of it with the board lock held, or at set-up. */
#ifndef BUS_PCI_INT_H
#define BUS_PCI_INT_H

#include "bus/pci.h"

enum { PCI_SLOTS = 32, PCI_FUNCTIONS = 8, PCI_PORTS = 32 };

/* Configuration header (PCI Local Bus 3.0, 6.1) */
enum {
	PCI_VENDOR_ID = 0x00,
	PCI_DEVICE_ID = 0x02,
	PCI_COMMAND = 0x04,
	PCI_STATUS = 0x06,
	PCI_CLASS_REV = 0x08,
	PCI_CACHE_LINE = 0x0c,
	PCI_HEADER_TYPE = 0x0e,
	PCI_BAR0 = 0x10,
	PCI_SUBSYS_VENDOR = 0x2c,
	PCI_SUBSYS_ID = 0x2e,
	PCI_CAP_POINTER = 0x34,
	PCI_INT_LINE = 0x3c,
	PCI_INT_PIN = 0x3d,
};
enum { PCI_COMMAND_MEMORY = 2, PCI_COMMAND_NO_INTX = 0x400 };
enum { PCI_STATUS_INTX = 8, PCI_STATUS_CAPS = 0x10 };
enum { PCI_HEADER_MULTI = 0x80 };
enum { PCI_CAP_MSI = 0x05, PCI_CAP_EXPRESS = 0x10, PCI_CAP_MSIX = 0x11 };

/* PCI Express capability, version 2 (PCI Express Base 4.0, 7.5.3) */
enum { EXP_FLAGS = 2, EXP_DEVCAP = 4, EXP_DEVCTL = 8, EXP_LNKCAP = 0x0c, EXP_LNKCTL = 0x10, EXP_LNKSTA = 0x12,
	EXP_SLTCAP = 0x14, EXP_SLTCTL = 0x18, EXP_SLTSTA = 0x1a, EXP_ROOTCTL = 0x1c, EXP_LNKCAP2 = 0x2c,
	EXP_LNKCTL2 = 0x30, EXP_SIZE = 0x3c };
enum { EXP_ENDPOINT = 0, EXP_ROOT_PORT = 4, EXP_INTEGRATED = 9 };

struct pci_port {
	struct pci_func f;
	struct pci_func *child[PCI_FUNCTIONS];
};

struct pci {
	struct bus *bus;
	struct pci_config c;
	struct pci_func *func[PCI_SLOTS][PCI_FUNCTIONS];
	struct pci_func bridge;
	struct pci_port *port[PCI_PORTS];
	unsigned nports;
	uint64_t next32, next64; /* where the next BAR may be placed */
	unsigned intx[PCI_INTX_LINES]; /* how many functions pull it */
	uint32_t address; /* register 0xcf8 */
	struct pci_func *placed[(PCI_SLOTS + PCI_PORTS) * PCI_FUNCTIONS]; /* all that are somewhere */
	unsigned nplaced;
};

void pci_express_type(struct pci_func *f, unsigned type);
void pci_intx_update(struct pci_func *f);
/* A BAR, a command register or a port's window has changed: the bus is made to say the same. */
void pci_remap(struct pci *p);

void pci_msix_written(struct pci_func *f, unsigned off, unsigned len);
void pci_msix_reset(struct pci_func *f);

void pci_port_written(struct pci_port *port, unsigned off, unsigned len);
void pci_port_presence(struct pci_port *port);
struct pci_port *pci_port_of(const struct pci *p, unsigned bus);
bool pci_port_forwards(const struct pci_port *port, uint64_t base, uint64_t len);

/* Does [off, off + len) touch [at, at + n)? */
static inline bool pci_touches(unsigned off, unsigned len, unsigned at, unsigned n)
{
	return off < at + n && at < off + len;
}

#endif
