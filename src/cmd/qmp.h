/* SPDX-License-Identifier: MIT */
/*
 * The control socket: JSON objects as in QEMU's machine protocol (greeting, qmp_capabilities, commands
 * with id, events), so that its clients can drive husk. This file knows connections and messages; what
 * the commands do comes in a table. A client may send anything: its message is at most QMP_MESSAGE_MAX
 * bytes, what waits for it is at most QMP_BACKLOG_MAX (then it is disconnected), and there are
 * at most QMP_CLIENTS.
 */
#ifndef CMD_QMP_H
#define CMD_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/loop.h"

enum { QMP_MESSAGE_MAX = 64 << 10, QMP_BACKLOG_MAX = 1 << 20, QMP_CLIENTS = 16, QMP_DEPTH_MAX = 32,
	QMP_FDS = 8 };

struct qmp;
struct qmp_command {
	const char *name; /* NULL ends the table */
	/*
	 * A new reference to the answer; NULL with words in e; or QMP_LATER: qmp_answer() will bring
	 * it. args is borrowed, NULL if there are none.
	 */
	json_t *(*run)(void *arg, json_t *args, struct err *e);
};
#define QMP_LATER ((json_t *)(uintptr_t)1)

/* Takes listen_fd, also when it fails. */
struct qmp *qmp_new(struct loop *l, int listen_fd, const struct qmp_command *commands, void *arg,
	struct err *e);
void qmp_free(struct qmp *q); /* NULL is harmless */

/* To every client that has negotiated. data: taken, may be NULL. */
void qmp_event(struct qmp *q, const char *name, json_t *data);
/* Answers all commands of that name that said QMP_LATER. result: taken; NULL: the error in e. */
void qmp_answer(struct qmp *q, const char *command, json_t *result, const struct err *e);
/*
 * For run(): these descriptors go along with the answer that it is about to return, attached to its first byte (SCM_RIGHTS). They
 * are borrowed until qmp_free(). False: an answer with descriptors to the same client is still under way.
 */
bool qmp_attach(struct qmp *q, const int *fds, unsigned n);
/* Tries for a fifth of a second to get rid of what waits to be sent. */
void qmp_flush(struct qmp *q);

/* Where one message ends. Zeroed at first; goes on where the last call stopped. */
struct json_scan {
	size_t at;
	unsigned depth;
	bool in_string, escaped;
};
/*
 * p[0, n) is all that was received. Bytes up to the end of the first object (white space before it
 * is part of it), 0 when more is needed, -EPROTO when this cannot become an object. After a
 * positive result the caller zeroes s.
 */
ssize_t json_scan(struct json_scan *s, const char *p, size_t n);

#endif
