/* SPDX-License-Identifier: MIT */
/*
 * The user's terminal: raw while the guest's serial line is on it and we are its foreground job,
 * as it was found otherwise. Without a terminal on standard input nothing here does anything but
 * term_say(), which then writes to standard error.
 */
#ifndef CMD_TERM_H
#define CMD_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <termios.h>

#include "cmd/guard.h"

struct term {
	int tty; /* an own open file of the terminal on standard input, nonblocking; -1: none */
	int err; /* standard error, as an own open file if that is possible */
	bool raw;
	bool stuck; /* term_say() gave up the last time */
	struct termios saved;
	struct guard *guard; /* told of mode changes; may be NULL */
};

void term_init(struct term *t, struct guard *guard);
bool term_foreground(const struct term *t);
/* Raw mode if there is a terminal and we are in its foreground; false if not. */
bool term_raw(struct term *t);
void term_cooked(struct term *t);
/* After SIGCONT: raw mode again if it was raw, or given up if the terminal is another job's now. */
void term_continued(struct term *t);
void term_fini(struct term *t);

/* Text for the user, complete lines; on the terminal, whatever mode it is in, else on stderr. */
void term_say(struct term *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * A descriptor for the same thing as fd, but an open file of our own, so that its O_NONBLOCK is not
 * the shell's too. -1 when it cannot be opened again (sockets, regular files, others' terminals).
 */
int fd_reopen(int fd, int flags);

/*
 * The escape key. escape_filter() takes typed bytes out of buf that are for us: ESCAPE_KEY and the
 * one key behind it, which it hands to key(). Returns how many bytes are left for the guest.
 */
enum { ESCAPE_KEY = 0x1d }; /* Ctrl-] */
struct escape {
	bool pending;
	void (*open)(void *arg);               /* ESCAPE_KEY was typed: show the menu */
	bool (*key)(void *arg, uint8_t key);   /* true: send ESCAPE_KEY to the guest */
	void *arg;
};
size_t escape_filter(struct escape *x, uint8_t *buf, size_t n);

#endif
