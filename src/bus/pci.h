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

enum { PCI_BARS = 6, PCI_CONFIG = 256, PCI_INTX_LINES = 8 };

struct pci_func { /* one function; embedded in its owner, zeroed */
	uint8_t config[PCI_CONFIG]; /* current contents; reads come from here */
	uint8_t wmask[PCI_CONFIG];  /* which bits a write changes */
	uint8_t w1c[PCI_CONFIG];    /* which bits a written one clears */
	void (*written)(struct pci_func *f, unsigned off, unsigned len); /* after a write; may be NULL */
	void (*read)(struct pci_func *f, unsigned off, unsigned len);    /* before a read; may be NULL */
	/* pci.c's */
	struct pci *pci;
	struct pci_func *port; /* the root port in front of it, NULL on bus 0 */
	struct {
		uint64_t size, mapped_at; /* size 0: no such BAR; mapped_at 0: not on the bus now */
		const struct dev_ops *ops;
		void *dev;
		bool is64;
	} bar[PCI_BARS];
	uint8_t power_on[PCI_CONFIG]; /* config at pci_add() */
	struct pci_msix *msix;
	uint8_t cap_last, cap_free; /* offset of the newest capability, 0: none; of the space behind it */
	uint8_t express;            /* offset of that capability, 0: none */
	uint8_t devfn;
	bool intx, intx_out; /* what the device says; what is on the wire */
};

struct pci_config {
	uint64_t ecam_base, ecam_size;
	uint64_t mmio32_base, mmio32_size; /* windows in which BARs are placed, and decoded */
	uint64_t mmio64_base, mmio64_size; /* size 0: none, 64-bit BARs go into the other */
	/*
	 * INTx wires: line is the number of the first of PCI_INTX_LINES. INTA-INTD of slot s on bus 0 (pin 0-3) are on
	 * line + (s + pin) % PCI_INTX_LINES, which the _PRT in dev/acpi.c says too: IOAPIC pins 16-23, so
	 * { ioapic_set, ioapic, 16 }. Who shares a wire is joined here. set may be NULL.
	 */
	struct irq intx;
	/*
	 * The next free place is the next function of a slot, not the next slot: for more than 31 devices, since guests
	 * number them in that order.
	 */
	bool dense;
};

struct pci *pci_new(struct bus *b, const struct pci_config *c);
void pci_free(struct pci *p);

/* Before pci_add(): identification, subsystem, and the command bits that can be written. */
void pci_ident(struct pci_func *f, uint16_t vendor, uint16_t device, uint32_t class_rev, uint16_t subsys_vendor,
	uint16_t subsys_id);
/* A PCI Express capability: a root complex integrated endpoint on bus 0, an endpoint behind a port. */
void pci_express(struct pci_func *f);
/*
 * A 64-bit prefetchable (is64) or 32-bit memory BAR of size bytes, a power of two from 4 KiB. Takes bars n and n + 1
 * when is64. ops as with bus_map(), offsets from the BAR's start. A reset() in ops is called by bus_reset().
 */
void pci_bar(struct pci_func *f, unsigned n, uint64_t size, bool is64, const struct dev_ops *ops, void *dev);
/*
 * A 32-bit prefetchable BAR over guest memory that is there in any case, at base (a multiple of size, in no window of struct
 * pci_config): a guest that writes another address there reads it back, but nothing moves.
 */
void pci_bar_fixed(struct pci_func *f, unsigned n, uint64_t base, uint64_t size);
/* A capability of len bytes (id and next included) with this id; its offset. Space for it is a matter of set-up. */
unsigned pci_cap(struct pci_func *f, uint8_t id, unsigned len);
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2) with nvectors entries, table and pending bits in the 32-bit BAR bar, which this
 * makes. msi() delivers a message.
 */
void pci_msix_add(struct pci_func *f, unsigned bar, unsigned nvectors,
	void (*msi)(void *arg, uint64_t addr, uint32_t data), void *arg);
bool pci_msix_on(const struct pci_func *f);
void pci_msix_send(struct pci_func *f, unsigned vector); /* masked: pending; out of range: nothing */
/* The level of pin INTA; honours the disable bit and MSI-X, sets the status bit. */
void pci_intx(struct pci_func *f, bool level);

/*
 * Puts a function on bus 0. slot -1: the next free place; fn is 0 then, and with dense or when there is no free slot left,
 * one of the functions 1-7 is taken. Its BARs get places in the windows, and decoding is on, as a BIOS leaves them.
 * 0, -EEXIST, -EINVAL, -ENOSPC. Set-up, no lock.
 */
int pci_add(struct pci *p, int slot, unsigned fn, struct pci_func *f, struct err *e);
/*
 * To the power-on state, BARs back at the places of pci_add(), INTx low; lock held. bus_reset() does it for all
 * functions, before it comes to their owners.
 */
void pci_func_reset(struct pci_func *f);
void pci_func_free(struct pci_func *f); /* what the calls above allocated; no access may come any more */

/*
 * An empty, hot-plug capable root port on bus 0 (PCI Express Base 4.0, 7.5.3). They are numbered from 0, and the
 * secondary bus is that number + 1 until the guest chooses another. 0 or -ENOSPC.
 */
int pci_port_add(struct pci *p, struct err *e);
unsigned pci_ports(const struct pci *p);
/*
 * Puts a function into the slot of a port. Its BARs have no places and do not decode: that is for the guest, by
 * whom the port's windows are chosen, too.
 */
int pci_port_plug(struct pci *p, unsigned port, unsigned fn, struct pci_func *f, struct err *e);

#endif
