/* SPDX-License-Identifier: MIT */
/* What the kernel tells about one process in /proc/PID/stat. */
#ifndef CMD_PROC_H
#define CMD_PROC_H

#include <stdint.h>
#include <sys/types.h>

struct proc_stat {
	uint64_t rss;    /* bytes */
	uint64_t cpu_ns; /* user and system, all threads */
	unsigned threads;
	char state; /* R, S, D, Z, T... */
};
int proc_stat(pid_t pid, struct proc_stat *st); /* 0 or -errno */

#endif
