/* SPDX-License-Identifier: MIT */
/*
 * The runtime directory of one VM, BASE/NAME/: control (QMP), serial, rfb, pid, log. BASE is the first that
 * is ours of $XDG_RUNTIME_DIR/husk, /run/user/UID/husk and /tmp/husk-UID.
 *
 * The directory itself is the lock: whoever holds flock() on it is the VM. The kernel drops the lock
 * when the holder dies in whatever way, so a directory without a lock is what a dead VM left, and
 * may be taken over or removed. Sockets are bound and reached through /proc/self/fd/N/..., which
 * makes the 108 bytes of sun_path no limit for BASE.
 */
#ifndef CMD_RUNDIR_H
#define CMD_RUNDIR_H

#include <stdbool.h>

#include "base/err.h"

struct rundir {
	int fd; /* of the directory, with the lock; -1 when not open */
	char name[64];
	char path[512];
};

/* Makes and locks the directory. name NULL: the first free one of vm1, vm2, ... -EBUSY: in use. */
int rundir_open(struct rundir *r, const char *name, struct err *e);
/* Removes what is in it and itself, then lets the lock go. Harmless when not open. */
void rundir_close(struct rundir *r);

/* A listening stream socket NAME in it, mode 0600; the fd (nonblocking, close-on-exec) or -errno. */
int rundir_listen(const struct rundir *r, const char *file, struct err *e);
int rundir_write(const struct rundir *r, const char *file, const char *text); /* 0 or -errno */

/*
 * For those who look from outside. The connected control socket of a VM that runs, or -errno with
 * words: -ENOENT when there is none of that name.
 */
int rundir_connect(const char *name, struct err *e);
/* The same for another socket in there, "rfb"; nonblocking, and it does not wait for a listener that is busy. */
int rundir_connect_to(const char *name, const char *file, struct err *e);
/*
 * Calls fn for every running VM, in order of names; directories of dead ones are removed on the way.
 * Stops when fn returns nonzero and returns that. 0 too when nothing ever ran here.
 */
int rundir_each(int (*fn)(void *arg, const char *name), void *arg, struct err *e);

#endif
