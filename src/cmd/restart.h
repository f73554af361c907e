/* SPDX-License-Identifier: MIT */
/*
 * When a device process that died is started again, and when not any more. Pure: times come from outside.
 *
 * A machine runs for months, and its device processes may be killed at any time, often; that alone is never a reason to
 * give up. What is: a process that cannot even begin (five times in a row it died before it was ready, or within SOON_NS
 * after that by its own fault), or one that breaks by its own fault again and again (more than FAULTS within FAULTS_NS). A
 * death by SIGKILL or SIGTERM is somebody else's doing. The first three starts come at once, what follows a little later each
 * time, so that a crash loop does not take the host's CPU; and never more than half a second later, as guests wait.
 */
#ifndef CMD_RESTART_H
#define CMD_RESTART_H

#include <stdbool.h>
#include <stdint.h>

enum { RESTART_TRIES = 5, RESTART_FAULTS = 10 };
#define RESTART_SOON_NS   UINT64_C(200000000)
#define RESTART_FAULTS_NS UINT64_C(60000000000)
#define RESTART_STEP_NS   UINT64_C(100000000)
#define RESTART_MOST_NS   UINT64_C(500000000)

struct restart { /* zeroed at first */
	unsigned early;                    /* in a row */
	unsigned quick;                    /* deaths in a row of those that lived no longer than SOON_NS */
	uint64_t fault_ns[RESTART_FAULTS]; /* when it died by its own fault, a ring */
	unsigned nfaults;                  /* in all */
};

struct restart_death {
	uint64_t now_ns;
	uint64_t ready_ns; /* 0: it never was ready */
	bool own_fault;    /* not killed from outside */
};

/* How long to wait before the next start, in ns; -1: give it up. */
int64_t restart_after(struct restart *r, const struct restart_death *d);

#endif
