/* SPDX-License-Identifier: MIT */
/*
 * The virtio devices of a machine: those in processes of their own, by vhost-user, and the small ones that run in this
 * process (entropy, balloon, console ports).
 */
#ifndef VM_DEVICES_H
#define VM_DEVICES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "bus/bus.h"
#include "bus/pci.h"
#include "mem/mem.h"

enum { DEVICES_VHOST = 82, DEVICES_CONSOLES = 16, DEVICES_NAME = 24 };

/* A device process, in the order of --vhost, which is the number that the control line uses */
struct vhost_config_dev {
	char name[DEVICES_NAME]; /* "disk0" */
	uint16_t id;             /* VIRTIO_ID_BLOCK, VIRTIO_ID_NET, VIRTIO_ID_VSOCK or VIRTIO_ID_GPU */
	uint16_t queues, queue_size;
	int fd;                  /* connected stream, taken */
	uint8_t mac[6];          /* network: shown if the back-end has no configuration */
	uint16_t mtu;            /* 0: none */
};

struct console_config {
	char name[DEVICES_NAME]; /* the first, and those called console..., are terminals, others channels for programs */
	int fd; /* stream socket, borrowed */
};

struct devices_config {
	struct vhost_config_dev vhost[DEVICES_VHOST];
	unsigned nvhost;
	struct console_config console[DEVICES_CONSOLES];
	unsigned nconsoles;
	bool rng, balloon;
	bool input; /* keyboard, tablet, mouse */
	uint64_t framebuffer, framebuffer_len; /* guest memory, for the GPU's BAR 0 */
	unsigned root_ports;
};

unsigned devices_count(const struct devices_config *c); /* PCI functions that it takes */

struct devices_host {
	struct bus *bus;
	struct pci *pci;
	struct mem *mem;
	struct loop *loop;
	void (*msi)(void *arg, uint64_t addr, uint32_t data);     /* board lock held */
	/* NULL: nothing is translated. Any thread; no lock needed */
	void (*code_changed)(void *arg, uint64_t gpa, uint64_t len);
	/* Device number has (state 1) or has not (0) a process, or one that does not fit (2). Any thread. */
	void (*state)(void *arg, unsigned number, unsigned state, const char *why);
	void (*idle)(void *arg); /* devices_idle() may be true now. Any thread */
	void (*leds)(void *arg, uint32_t leds); /* of the virtio keyboard, enum input_led; board lock held */
	void *arg;
};

struct devices;
enum devices_input { DEVICES_KEYBOARD, DEVICES_TABLET, DEVICES_MOUSE, DEVICES_INPUTS };

/* Set-up, before the sandbox: talks with the device processes. c is borrowed for the call. */
int devices_new(struct devices **d, const struct devices_config *c, const struct devices_host *h, struct err *e);
void devices_free(struct devices *d);
/* After the sandbox was entered: starts threads. */
int devices_run(struct devices *d, struct err *e);
/* With input asked for: the three, for vm/input.h; else NULL */
struct virtio_dev *devices_input(const struct devices *d, enum devices_input n);
/* Descriptors that it may come to hold beyond those after devices_new(). */
unsigned devices_fds(const struct devices *d);

/* The loop's thread */
void devices_socket(struct devices *d, unsigned number, int fd); /* a new process: takes fd */
void devices_give_up(struct devices *d, unsigned number);
/* After bus_reset(): has every device let go of guest memory? */
bool devices_idle(struct devices *d);
size_t devices_stats(struct devices *d, char *buf, size_t len);

#endif
