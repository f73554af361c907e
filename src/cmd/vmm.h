/* SPDX-License-Identifier: MIT */
/* husk-vmm as a child: how it is found and started, and the line of vm/control.h to it. */
#ifndef CMD_VMM_H
#define CMD_VMM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "vm/control.h"

struct vmm_config {
	const char *name;
	int kernel_fd, initrd_fd; /* borrowed; initrd_fd -1: none */
	const char *append;
	uint64_t memory;
	unsigned cpus;
	const char *engine, *cpu;
	const char *debug; /* NULL: none */
	bool no_reboot, testdev;
};

struct vmm {
	pid_t pid; /* 0 when not started or reaped */
	int pidfd;
	int control; /* SOCK_SEQPACKET, nonblocking */
	int serial;  /* SOCK_STREAM, nonblocking */
	int log;     /* reading end of its standard error, nonblocking */
};

#define VMM_INIT {.pidfd = -1, .control = -1, .serial = -1, .log = -1}

/* Where husk-vmm is: $HUSK_VMM, beside this program, then libexecdir. */
int vmm_find(char path[4096], struct err *e);
int vmm_start(struct vmm *v, const char *path, const struct vmm_config *c, struct err *e);
int vmm_send(struct vmm *v, enum vmm_msg_type type, uint32_t arg); /* 0 or -errno; never waits */
/*
 * One message; its text is NUL-terminated. 1, 0 at the end of the line (or after a datagram that is
 * no message), -EAGAIN.
 */
int vmm_recv(struct vmm *v, struct vmm_msg *m, char text[VMM_TEXT_MAX + 1]);
/* Waits for its end (the pidfd is readable, so at once) and returns the status as waitpid() does. */
int vmm_reap(struct vmm *v);
void vmm_close(struct vmm *v); /* kills it if it is still there; harmless on VMM_INIT */

#endif
