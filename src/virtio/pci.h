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
	 * thread that takes the board lock: until then the driver reads a status that is not 0. Comes only after
	 * start(), also after one that failed.
	 */
	void (*stop)(void *arg);
	void (*kick)(void *arg, unsigned q); /* between start and stop only */
	void *arg;
};

struct virtio_pci_config {
	struct pci *pci;
	struct virtio_back back; /* copied */
	/* MSI: the board's. INTx is a matter of struct pci_config. */
	void (*msi)(void *arg, uint64_t addr, uint32_t data);
	void *msi_arg;
	/* BAR 0 over guest memory, the framebuffer whose place a GPU takes over; len 0: none */
	uint64_t framebuffer, framebuffer_len;
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
/*
 * "disk0.status 15" and so on: driver status, notifications by the driver, interrupts, resets. Bytes written, cut at
 * len.
 */
size_t virtio_pci_stats(const struct virtio_pci *v, char *buf, size_t len);

/*
 * A device of this process behind the transport: fills in back but for its name, whose arg it becomes. dev and mem are
 * borrowed. Its virtqs interrupt through v, which the caller binds once virtio_pci_new() has made it.
 *
 * A local device writes guest RAM behind the engine's back. code_changed() (NULL: the engine sees it by itself) is
 * called for what was written to pages with MEM_PG_CODE, before the driver is told, and with the board lock held: it
 * must not wait for a vCPU that may be waiting for that lock.
 */
struct virtio_local;
struct virtio_local *virtio_local_new(struct virtio_dev *dev, const struct mem *mem, struct virtio_back *back,
	void (*code_changed)(void *arg, uint64_t gpa, uint64_t len), void *arg);
void virtio_local_bind(struct virtio_local *l, struct virtio_pci *v);
/* Stops what runs; before or after virtio_pci_free(). Lock held, or when no vCPU and no timer can come any more. */
void virtio_local_free(struct virtio_local *l);

#endif
