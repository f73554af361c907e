/* SPDX-License-Identifier: MIT */
/*
 * PCI configuration space: ECAM (PCI Express Base 4.0, 7.2.2) and the old 0xcf8/0xcfc ports, with a host
 * bridge at 00:00.0. Devices come with issue 4 (virtio); the interface is ready for them.
 */
#ifndef BUS_PCI_H
#define BUS_PCI_H

#include <stdint.h>

#include "bus/bus.h"

struct pci;
struct pci_func { /* one function; embedded in its owner */
	uint8_t config[256]; /* current contents; reads come from here */
	uint8_t wmask[256];  /* which bits a write changes */
	void (*written)(struct pci_func *f, unsigned off, unsigned len); /* after a write; may be NULL */
};

struct pci *pci_new(struct bus *b, uint64_t ecam_base, uint64_t ecam_size);
void pci_free(struct pci *p);
int pci_add(struct pci *p, unsigned slot, unsigned fn, struct pci_func *f); /* bus 0; 0, -EEXIST, -EINVAL */

#endif
