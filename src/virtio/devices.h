/* SPDX-License-Identifier: MIT */
/*
 * The small devices, which need no process of their own: entropy, memory balloon, console. All calls, and all callbacks,
 * are on the transport's thread: in husk-vmm that means with the board lock held.
 */
#ifndef VIRTIO_DEVICES_H
#define VIRTIO_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/mem.h"
#include "virtio/virtio.h"

/* Entropy (5.4): the host's getrandom(). */
struct virtio_dev *virtio_rng_new(void);
void virtio_rng_free(struct virtio_dev *d); /* NULL too, as all of these */

/*
 * Memory balloon (5.5) with free page reporting. discard: the guest does not need what is in [gpa, gpa + len), whole pages
 * in one region of mem: give it back, they read as zero (or as before) from now on. mem is borrowed.
 */
struct virtio_dev *virtio_balloon_new(const struct mem *mem, void (*discard)(void *arg, uint64_t gpa, uint64_t len),
	void *arg);
void virtio_balloon_free(struct virtio_dev *d);
/* Asks the guest to give so many 4 KiB pages; it does so when it can, and if it likes. Survives a reset. */
void virtio_balloon_target(struct virtio_dev *d, uint32_t pages);
struct virtio_balloon_counters {
	uint32_t target, actual;                      /* pages; actual is what the guest says */
	uint64_t inflated, deflated;                  /* pages, in all */
	uint64_t reports, reported;                   /* requests, bytes */
	uint64_t discards;                            /* calls of discard() */
	uint64_t ignored;                             /* pages that are no RAM or too many at once */
};
const struct virtio_balloon_counters *virtio_balloon_counters(const struct virtio_dev *d);
/* "name value" lines. Bytes written, cut at len. */
size_t virtio_balloon_stats(const struct virtio_dev *d, char *buf, size_t len);

enum { VIRTIO_CONSOLE_PORTS = 16, VIRTIO_CONSOLE_NAME = 64 };

/* Console (5.3) with up to VIRTIO_CONSOLE_PORTS ports. names are copied, cut to VIRTIO_CONSOLE_NAME - 1 bytes. */
struct virtio_console_config {
	unsigned nports;          /* at least 1 */
	const char *const *names; /* as in the guest's /sys/class/virtio-ports/vport0p1/name */
	uint32_t consoles;        /* bit n: port n is a terminal (hvc1 ...), not a plain channel; port 0 always is */
	/*
	 * The guest has written. Returns how much was taken. The rest stays in the guest's queue, and is offered again
	 * after virtio_console_room(); until then a process that writes to a channel sleeps. But Linux' driver of a
	 * terminal spins, with interrupts off: better take and lose than to block one for seconds. data may be guest
	 * memory, and change meanwhile.
	 */
	size_t (*tx)(void *arg, unsigned port, const void *data, size_t len);
	/* The guest can take more than virtio_console_rx() took the last time. NULL: not interested */
	void (*room)(void *arg, unsigned port);
	/*
	 * tx took all, but the guest has so much that others should have a turn: call virtio_console_room() soon, not
	 * from here. NULL: it goes on until the queue is empty.
	 */
	void (*later)(void *arg, unsigned port);
	void *arg;
};
struct virtio_dev *virtio_console_new(const struct virtio_console_config *c);
void virtio_console_free(struct virtio_dev *d);
/* Bytes for the guest; how many it took. 0 also while nobody in the guest has the port open. */
size_t virtio_console_rx(struct virtio_dev *d, unsigned port, const void *data, size_t len);
/* There is room for what the guest writes again. */
void virtio_console_room(struct virtio_dev *d, unsigned port);
/* Is there somebody at the host's end? At first yes. If not, what the guest writes is thrown away. */
void virtio_console_open(struct virtio_dev *d, unsigned port, bool open);
/* Has somebody in the guest opened the port? */
bool virtio_console_guest_open(const struct virtio_dev *d, unsigned port);

#endif
