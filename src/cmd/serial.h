/* SPDX-License-Identifier: MIT */
/*
 * The hub of the guest's serial line. One stream socket leads to husk-vmm; on this side any number
 * of outs see what the guest writes and any number of ins feed it. See serial.c for flow control.
 */
#ifndef CMD_SERIAL_H
#define CMD_SERIAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

struct serial;

struct serial_host {
	/* every byte of the guest, in order, as it comes; may be NULL */
	void (*output)(void *arg, const uint8_t *p, size_t n);
	/* bytes typed on a terminal on standard input; returns how many are left in p; may be NULL */
	size_t (*typed)(void *arg, uint8_t *p, size_t n);
	/* standard output, or the file, can take no more for good; code is an errno value */
	void (*closed)(void *arg, int code);
	void *arg;
};

/* vm_fd: taken, also when it fails. NULL with words in e. */
struct serial *serial_new(struct loop *l, int vm_fd, const struct serial_host *h, struct err *e);
void serial_free(struct serial *s); /* NULL is harmless */

/* For a channel between programs: who is slow, or not there yet, is waited for. Before a listener or file is added. */
void serial_lossless(struct serial *s);

/* Shows output on fd 1 (borrowed). Flow control holds for it. */
int serial_add_stdout(struct serial *s, struct err *e);
/* Reads fd 0 (borrowed); can be taken away and added again. End of file only ends the reading. */
int serial_add_stdin(struct serial *s, bool tty, struct err *e);
void serial_del_stdin(struct serial *s);
/* A file that gets the output; takes fd. Flow control holds for it. */
int serial_add_file(struct serial *s, int fd, struct err *e);
/* A listening socket whose clients see output and may type; takes fd. At most two. */
int serial_add_listener(struct serial *s, int fd, struct err *e);

/* Puts bytes into the guest as if they were typed. */
void serial_type(struct serial *s, const uint8_t *p, size_t n);

/* Takes what husk-vmm has written and we have not read yet, flow control or not. */
void serial_drain(struct serial *s);
/*
 * The guest is gone: writes out what is left. Sockets get a second; the file and standard output all
 * the time they want, or until give_up(arg), which is called when fd is readable (-1: never), says so.
 */
void serial_flush(struct serial *s, int fd, bool (*give_up)(void *arg), void *arg);

struct serial_stats {
	uint64_t output, input, dropped; /* bytes since the start; dropped: of standard output or the file */
	unsigned clients;
};
void serial_stats(const struct serial *s, struct serial_stats *st);

#endif
