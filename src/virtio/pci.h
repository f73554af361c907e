/* SPDX-License-Identifier: MIT */
/*
 * virtio over PCI (Virtual I/O Device 1.2, 4.1), modern devices only: one function with MSI-X and a memory BAR that
 * holds the common, notification, ISR and device configuration structures. Behind it stands a device in this process
 * (virtio_local_new) or a vhost-user front-end (vm/): struct virtio_back.
 *
 * Everything is called with the board lock held, but for what says otherwise.
 */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "bus/pci.h"
#include "mem/mem.h"
#include "virtio/virtio.h"

struct virtio_pci;

/* What the transport drives. features and the numbers do not change while the machine lives. */
struct virtio_back {
	const char *name; /* "disk0": for messages; borrowed */
	uint16_t id;      /* enum virtio_id */
	uint64_t features; /* what a driver may choose from, ring and transport bits included */
	uint16_t nqueues, queue_size;
	uint32_t config_len;
	void (*config_read)(void *arg, uint32_t off, void *buf, uint32_t len);
	void (*config_write)(void *arg, uint32_t off, const void *buf, uint32_t len);
	/* DRIVER_OK: rings[nqueues], of which the enabled ones are to be served. Failure: virtio_pci_broken(). */
	void (*start)(void *arg, uint64_t features, const struct virtio_ring *rings);
	/*
	 * Reset. When no ring is used any more, virtio_pci_stopped() must be called, from here or later from any
	 * thread: until then the driver reads a status that is not 0. Comes only after start().
	 */
	void (*stop)(void *arg);
	void (*kick)(void *arg, unsigned q); /* between start and stop only */
	void *arg;
};

struct virtio_pci_config {
	struct pci *pci;
	struct virtio_back back; /* copied */
	struct irq intx;         /* for guests without MSI; set may be NULL */
	/* MSI: the board's */
	void (*msi)(void *arg, uint64_t addr, uint32_t data);
	void *msi_arg;
};

/* Set-up, no lock. Takes the next free place on bus 0. */
int virtio_pci_new(struct virtio_pci **v, const struct virtio_pci_config *c, struct err *e);
void virtio_pci_free(struct virtio_pci *v);
/* Where it is, "00:03.0"; lives as long as v. */
const char *virtio_pci_place(const struct virtio_pci *v);

void virtio_pci_interrupt(struct virtio_pci *v, unsigned q);  /* queue q has used entries */
void virtio_pci_config_changed(struct virtio_pci *v);
void virtio_pci_stopped(struct virtio_pci *v);
void virtio_pci_broken(struct virtio_pci *v, const char *why); /* DEVICE_NEEDS_RESET; logs why */
/* Is a driver at work, and have all rings been given up since the last reset? */
bool virtio_pci_running(const struct virtio_pci *v);
bool virtio_pci_idle(const struct virtio_pci *v);
/* "name value" lines: driver status, interrupts. Bytes written, cut at len. */
size_t virtio_pci_stats(const struct virtio_pci *v, char *buf, size_t len);

/*
 * A device of this process behind the transport: fills in back, whose arg it becomes. dev is borrowed. Its virtqs
 * interrupt through *v, which the caller sets once virtio_pci_new() has made it.
 */
struct virtio_local;
struct virtio_local *virtio_local_new(struct virtio_dev *dev, const struct mem *mem, struct virtio_back *back);
void virtio_local_bind(struct virtio_local *l, struct virtio_pci *v);
void virtio_local_free(struct virtio_local *l);

#endif
