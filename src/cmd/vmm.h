/* SPDX-License-Identifier: MIT */
/* husk-vmm as a child: its command line. */
#ifndef CMD_VMM_H
#define CMD_VMM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "cmd/child.h"

struct vmm_config {
	const char *name;
	int kernel_fd, initrd_fd; /* borrowed; initrd_fd -1: none */
	const char *append;
	uint64_t memory;
	unsigned cpus;
	const char *engine, *cpu;
	const char *debug; /* NULL: none */
	bool no_reboot, testdev, no_rng, no_balloon;
	unsigned root_ports;
};

struct vmm {
	struct child child;
	int serial; /* SOCK_STREAM, nonblocking */
};
#define VMM_INIT {.child = CHILD_INIT, .serial = -1}

/* devices: words about them, and their descriptors (devs.h), which this adds to. */
int vmm_start(struct vmm *v, const char *path, const struct vmm_config *c, struct child_args *devices, struct err *e);
void vmm_close(struct vmm *v); /* kills it if it is still there; harmless on VMM_INIT */

#endif
