/* SPDX-License-Identifier: MIT */
/*
 * PCI Express: configuration space by ECAM (PCI Express Base 4.0, 7.2.2) and the old 0xcf8/0xcfc ports, a host bridge
 * at 00:00.0, memory BARs that the guest may move, MSI-X, and root ports with a slot for hot-plug behind them.
 *
 * Lock: functions are set up before vCPUs run; every callback comes with the board lock held.
 */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "bus/bus.h"

struct pci;
struct pci_func;
struct pci_msix;

enum { PCI_BARS = 6, PCI_CONFIG = 256 };

struct pci_func { /* one function; embedded in its owner */
	uint8_t config[PCI_CONFIG]; /* current contents; reads come from here */
	uint8_t wmask[PCI_CONFIG];  /* which bits a write changes */
	void (*written)(struct pci_func *f, unsigned off, unsigned len); /* after a write; may be NULL */
	void (*read)(struct pci_func *f, unsigned off, unsigned len);    /* before a read; may be NULL */
	/* pci.c's */
	struct pci *pci;
	struct {
		uint64_t size, mapped_at; /* size 0: no such BAR; mapped_at 0: not on the bus now */
		const struct dev_ops *ops;
		void *dev;
		bool is64;
	} bar[PCI_BARS];
	uint8_t power_on[PCI_CONFIG]; /* config at pci_add() */
	struct pci_msix *msix;
	uint8_t cap_last; /* offset of the newest capability, 0: none */
	uint8_t bus, devfn;
};

struct pci_config {
	uint64_t ecam_base, ecam_size;
	uint64_t mmio32_base, mmio32_size; /* windows in which BARs are placed */
	uint64_t mmio64_base, mmio64_size;
};

struct pci *pci_new(struct bus *b, const struct pci_config *c);
void pci_free(struct pci *p);

/* Before pci_add(): identification, and a subsystem of the same numbers. */
void pci_ident(struct pci_func *f, uint16_t vendor, uint16_t device, uint32_t class_rev, uint16_t subsys_vendor,
	uint16_t subsys_id);
/*
 * A 64-bit prefetchable (is64) or 32-bit memory BAR of size bytes, a power of two from 4 KiB. Takes bars n and n + 1
 * when is64. ops as with bus_map(), offsets from the BAR's start.
 */
void pci_bar(struct pci_func *f, unsigned n, uint64_t size, bool is64, const struct dev_ops *ops, void *dev);
/* A capability of len bytes (id and next included) with this id; its offset. Space for it is a matter of set-up. */
unsigned pci_cap(struct pci_func *f, uint8_t id, unsigned len);
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2) with nvectors entries, table and pending bits in BAR bar, which this makes.
 * msi() delivers a message.
 */
void pci_msix_add(struct pci_func *f, unsigned bar, unsigned nvectors,
	void (*msi)(void *arg, uint64_t addr, uint32_t data), void *arg);
bool pci_msix_on(const struct pci_func *f);
void pci_msix_send(struct pci_func *f, unsigned vector); /* masked: pending; out of range: nothing */
void pci_intx(struct pci_func *f, const struct irq *i, bool level); /* honours the disable bit, sets the status bit */

/*
 * Puts a function on bus 0, or behind the root port port (pci_port_add). slot -1: the next free one. Its BARs get
 * places in the windows, and decoding is on, as a BIOS leaves them. 0, -EEXIST, -EINVAL, -ENOSPC.
 */
int pci_add(struct pci *p, int slot, unsigned fn, struct pci_func *f, struct err *e);
/* To the power-on state, BARs back at the places of pci_add(); bus_reset() does it for all functions. */
void pci_func_reset(struct pci_func *f);
void pci_func_free(struct pci_func *f); /* what the calls above allocated */

/* An empty, hot-plug capable root port on bus 0 (PCI Express Base 4.0, 7.5.3); its secondary bus is the next number. */
int pci_port_add(struct pci *p, struct err *e);
unsigned pci_ports(const struct pci *p);

#endif
