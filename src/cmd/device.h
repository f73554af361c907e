/* SPDX-License-Identifier: MIT */
/*
 * What the main() of every device process has in common. A device process is started by the supervisor with descriptors
 * only, opens what else it needs, locks itself in, says it is ready (vm/control.h), and serves vhost-user until its
 * front-end or its supervisor goes. By hand, with --listen PATH, it serves one front-end after another: QEMU, for one.
 */
#ifndef CMD_DEVICE_H
#define CMD_DEVICE_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"
#include "sandbox/sandbox.h"
#include "virtio/virtio.h"

struct device {
	const char *program;
	struct loop *loop;
	int control_fd, socket_fd; /* -1: none */
	const char *listen;        /* NULL: none */
	/* set by the program before device_run() */
	const struct sandbox_syscall *syscalls; /* what it does beyond DEVICE_SYSCALLS */
	bool network;              /* it needs the host's network */
	size_t data_max;           /* bytes of private memory, 0: the default of 64 MiB */
	unsigned new_fds;          /* beyond those of vhost-user */
	size_t (*stats)(void *arg, char *buf, size_t len);
	void *arg;
};

/* For getopt_long(): rows, and the numbers behind them. Programs number their own options from DEVICE_OPT_OWN. */
enum { DEVICE_OPT_CONTROL = 256, DEVICE_OPT_SOCKET, DEVICE_OPT_LISTEN, DEVICE_OPT_DEBUG, DEVICE_OPT_HELP, DEVICE_OPT_OWN };
#define DEVICE_OPTIONS                                                                                              \
	{"control-fd", 1, NULL, DEVICE_OPT_CONTROL}, {"socket-fd", 1, NULL, DEVICE_OPT_SOCKET},                         \
	{"listen", 1, NULL, DEVICE_OPT_LISTEN}, {"debug", 1, NULL, DEVICE_OPT_DEBUG},                                   \
	{"help", 0, NULL, DEVICE_OPT_HELP}
#define DEVICE_USAGE                                                                                                \
	"  --socket-fd N    vhost-user on this descriptor (husk run does so)\n"                                         \
	"  --listen PATH    vhost-user on a socket at PATH, for QEMU or another front-end\n"                            \
	"  --debug LIST     log these categories, comma separated; 'all' is every one\n"

/* Log, signals, loop. Exits when there is no memory for that. */
void device_init(struct device *d, const char *program);
/* One option of the above; false when it is none of them. Exits 2 on a bad value. */
bool device_option(struct device *d, int opt, const char *arg);
/* A whole number from 0 to max behind an option, or the program ends with exit code 2 and words. */
unsigned long long device_number(const char *option, const char *s, unsigned long long max);
/* It cannot start: tells the supervisor, or standard error. Returns the exit code. */
int device_fail(struct device *d, const struct err *e);
/* Sandbox, ready, serve, end. Returns the exit code: 0 when the front-end hung up. */
int device_run(struct device *d, struct virtio_dev *dev);

/* In every device process: the loop, vhost-user, the control line. */
extern const struct sandbox_syscall device_syscalls[];

#endif
