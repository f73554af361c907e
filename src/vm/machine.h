/* SPDX-License-Identifier: MIT */
/*
 * The machine: the board's devices wired together, vCPU threads, and the line to the supervisor. One per
 * process; the main thread runs the event loop, each vCPU has a thread of its own.
 */
#ifndef VM_MACHINE_H
#define VM_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "vm/control.h"
#include "vm/devices.h"
#include "vm/screen.h"

struct machine_config {
	const char *name;
	uint64_t memory;  /* bytes */
	unsigned ncpus;
	const char *engine; /* "auto" or a name */
	const char *cpu;    /* model, NULL: the best */
	const uint8_t *kernel;
	size_t kernel_len;
	const uint8_t *initrd; /* NULL: none */
	size_t initrd_len;
	bool mapped; /* both are private mappings of files, whose pages may be dropped */
	const char *append;
	bool no_reboot, testdev;
	int control_fd; /* -1: none */
	int serial_fd;  /* stream socket, -1: none */
	struct screen_config screen; /* w 0: there is none */
	int input_fd;   /* of display/input.h, -1: none */
	struct devices_config devices;
};

struct machine;

/* Memory, engine and devices; opens what it needs from the host. Single-threaded; before the sandbox. */
int machine_new(struct machine **m, const struct machine_config *c, struct err *e);
void machine_free(struct machine *m);

/* How many descriptors it may come to hold beyond those that are open now. */
unsigned machine_fds(const struct machine *m);

/* Which engine it has and why, one line each. */
const char *machine_engine(const struct machine *m);
const char *machine_engine_why(const struct machine *m);

/* Loads the guest; after the sandbox was entered. note: one line about it, lives as long as m. */
int machine_boot(struct machine *m, const char **note, struct err *e);

/*
 * Starts the vCPUs and serves until the machine ends. Returns enum vmm_exit; *arg2 is the debug-exit status,
 * text one line that says what happened.
 */
enum vmm_exit machine_run(struct machine *m, uint32_t *arg2, char *text, size_t len);

#endif
