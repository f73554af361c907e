/* SPDX-License-Identifier: MIT */
/*
 * The programs that the supervisor starts: how they are found, started with descriptors only, spoken to over the line of
 * vm/control.h, and reaped.
 */
#ifndef CMD_CHILD_H
#define CMD_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "sandbox/sandbox.h"
#include "vm/control.h"

struct child {
	pid_t pid;   /* 0 when not started or reaped */
	int pidfd;
	int control; /* SOCK_SEQPACKET, nonblocking */
	int log;     /* reading end of its standard error, nonblocking */
};
#define CHILD_INIT {.pid = 0, .pidfd = -1, .control = -1, .log = -1}

/* A command line in the making, and the descriptors that go along. Zeroed at first. */
enum { CHILD_ARGS = 360, CHILD_FDS = 128, CHILD_TEXT = 24 << 10 };
struct child_args {
	const char *v[CHILD_ARGS + 1];
	unsigned n;
	int fd[CHILD_FDS + 1];
	unsigned nfds;
	char text[CHILD_TEXT];
	size_t len;
	bool full; /* child_start() refuses then */
};
void child_arg(struct child_args *a, const char *s); /* borrowed until child_start() */
void child_arg_text(struct child_args *a, const char *option, const char *value);
void child_arg_number(struct child_args *a, const char *option, uint64_t v);
void child_arg_fd(struct child_args *a, const char *option, int fd); /* which goes along; borrowed */
/* One argument, printed */
void child_arg_format(struct child_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void child_keep_fd(struct child_args *a, int fd); /* goes along; named in an argument of the caller's */

/* Where "husk-vmm" is: $HUSK_VMM, beside this program, then libexecdir. The same for the others. */
int child_find(const char *program, char path[4096], struct err *e);
/*
 * Starts it, with --control-fd behind a's words. The process has a session of its own, /dev/null as standard input and output,
 * and dies with us. 0, or -errno with words.
 */
int child_start(struct child *c, const char *program, const char *path, struct child_args *a, struct err *e);
int child_send(struct child *c, enum vmm_msg_type type, uint32_t arg); /* 0 or -errno; never waits */
/* With data as its text */
int child_send_data(struct child *c, enum vmm_msg_type type, const void *data, size_t len);
int child_send_fd(struct child *c, enum vmm_msg_type type, uint32_t arg, int fd);
/*
 * One message; its text is NUL-terminated. 1, 0 at the end of the line (or after a datagram that is
 * no message), -EAGAIN.
 */
int child_recv(struct child *c, struct vmm_msg *m, char text[VMM_TEXT_MAX + 1]);
/* Waits for its end (the pidfd is readable, so at once) and returns the status as waitpid() does. */
int child_reap(struct child *c);
void child_close(struct child *c); /* kills it if it is still there; harmless on CHILD_INIT */

/* Before its report is read: a stage that it will not speak of is not in force. */
void child_sandbox_init(struct sandbox_report *r);
/* How it ended, for people: "died by signal 9 (Killed)", "ended with code 1" */
const char *child_status_text(int status, char buf[80]);
/* Its words go to terminals: what is not printable ASCII becomes '?'; lines: line feeds and tabs are left. */
void child_clean(char *text, bool lines);

#endif
