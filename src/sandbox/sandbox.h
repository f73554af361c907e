/* SPDX-License-Identifier: MIT */
/*
 * Dropping privilege in named stages. Every stage is tried, each works or says why not: nothing is
 * skipped silently and nothing but no_new_privs and seccomp is required. See sandbox.c for the theory.
 */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

enum sandbox_stage {
	SANDBOX_NNP,        /* no_new_privs */
	SANDBOX_FDS,        /* all descriptors closed but those listed */
	SANDBOX_NAMESPACES, /* empty user, mount, net, ipc, uts, pid, cgroup namespaces */
	SANDBOX_ROOT,       /* pivot into an empty, read-only root */
	SANDBOX_CAPS,       /* all capabilities dropped, bounding set empty; root becomes nobody if it can */
	SANDBOX_LANDLOCK,   /* no file system access at all */
	SANDBOX_LIMITS,     /* rlimits: no core, no new files, ... */
	SANDBOX_SECCOMP,    /* system call filter */
	SANDBOX_NSTAGES
};
const char *sandbox_stage_name(enum sandbox_stage s);

struct sandbox_report {
	struct {
		int code;        /* 0: in force; otherwise errno of what failed */
		char text[120];  /* why not, for people */
	} stage[SANDBOX_NSTAGES];
};

/* One program's filter: the system calls it makes after start, kept beside its code. */
struct sandbox_syscall {
	int nr;
	/* argument check: arg index -1 none; otherwise only calls with (arg & mask) == value pass */
	int arg;
	unsigned long mask, value;
};
struct sandbox_policy {
	const char *program;
	const struct sandbox_syscall *syscalls; /* nr -1 ends */
	const int *keep_fds;                    /* -1 ends */
};

/*
 * Enters all stages. The first part (before threads exist) must be called with one thread; the
 * seccomp filter is applied with TSYNC. Returns 0 when no_new_privs and seccomp are in force,
 * else -errno with words in e. In ASan builds the filter also allows what the run time needs.
 */
int sandbox_enter(const struct sandbox_policy *p, struct sandbox_report *r, struct err *e);

/* What this host offers, tried in a child: for husk doctor. */
int sandbox_probe(struct sandbox_report *r);

#endif
