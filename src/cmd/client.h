/* SPDX-License-Identifier: MIT */
/* The other end of the control socket, for all commands that talk to a machine. Waits, with a limit. */
#ifndef CMD_CLIENT_H
#define CMD_CLIENT_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

enum { CLIENT_FDS = 8 };
struct client {
	int fd;
	pid_t pid; /* of the supervisor, as the kernel says; 0 when unknown */
	char *buf;
	size_t len;
	int fds[CLIENT_FDS]; /* that came with answers; closed by client_close() */
	unsigned nfds;
};

/* Connects to the VM of that name and negotiates. -ENOENT: there is none. */
int client_open(struct client *c, const char *name, struct err *e);
void client_close(struct client *c); /* harmless on a zeroed one with fd -1, and twice */

/* Runs one command and sets result (a new reference; result may be NULL). Events are skipped. */
int client_command(struct client *c, const char *name, json_t **result, struct err *e);
/* The same with arguments, which are taken; NULL: none. */
int client_run(struct client *c, const char *name, json_t *args, json_t **result, struct err *e);
/* query-husk without the counters of other processes, which would have to be asked first */
int client_look(struct client *c, json_t **result, struct err *e);
/* Reads and drops what comes until the VM has ended (0) or the deadline (CLOCK_MONOTONIC) passed. */
int client_wait_end(struct client *c, uint64_t deadline_ns);

/* Reading answers, which may lack anything. */
const char *client_text(const json_t *o, const char *key); /* "" if it is not there */
uint64_t client_number(const json_t *o, const char *key);  /* 0 if it is not there */

#endif
