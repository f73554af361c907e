/* SPDX-License-Identifier: MIT */
/*
 * The guard: a small child of the supervisor that outlives it by a moment. It sleeps on a pipe. When
 * the supervisor ends in order it says so; when it is killed (SIGKILL, a crash) the pipe just ends,
 * and the guard puts the terminal back and removes what is on disk.
 */
#ifndef CMD_GUARD_H
#define CMD_GUARD_H

#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

#include "base/err.h"
#include "cmd/rundir.h"

enum { GUARD_PATH = 4096 };
struct guard {
	pid_t pid; /* 0 when not started */
	int pipe;
};

/*
 * tty and saved: a terminal and the modes to put back, -1 and NULL when there is none. socks: nsocks paths
 * to unlink; those that are empty are left out.
 */
int guard_start(struct guard *g, const struct rundir *dir, int tty, const struct termios *saved,
	char (*socks)[GUARD_PATH], unsigned nsocks, struct err *e);

enum guard_word {
	GUARD_RAW = 'r',    /* the terminal's modes are changed from now on */
	GUARD_COOKED = 'c', /* they are as they were */
	GUARD_DONE = 'd',   /* nothing is left to put right */
};
void guard_say(struct guard *g, enum guard_word word);
void guard_stop(struct guard *g); /* says GUARD_DONE and waits for its end; harmless when not started */

#endif
