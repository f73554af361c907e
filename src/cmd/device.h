/* SPDX-License-Identifier: MIT */
/*
 * What the main() of every device process has in common. A device process is started by the supervisor with descriptors
 * only, opens what else it needs, locks itself in, says it is ready (vm/control.h), and serves vhost-user until its
 * front-end or its supervisor goes. By hand, with --listen PATH, it serves one front-end after another: QEMU, for one.
 *
 * In order: device_init(); the options, each descriptor that was handed in by device_fd(); device_close_others(); what
 * the program opens itself; device_run().
 *
 * How devs.c starts them, beside --control-fd N --socket-fd N and maybe --debug LIST:
 *   husk-blk --file-fd N [--read-only] --cache writeback|writethrough|direct|unsafe --aio auto|io_uring|threads
 *            --discard on|off --queues N --queue-size N [--seg-max N] [--size-max N] [--serial S]
 *            [--overlay-fd N --bitmap-fd N] [--restart]      the last: a process before this one had the image
 *   husk-blk --fail --size BYTES [--read-only] --queues N --queue-size N [--seg-max N] [--size-max N] [--serial S]
 *   husk-net --mac XX:XX:XX:XX:XX:XX --queue-size N [--mtu N] --tap-fd N
 *   husk-net ... --user [--forward SPEC]... [--host-loopback] [--restrict] [--hostname NAME]
 *   husk-vsock --path-fd N --cid N [--restart]
 *   husk-gpu --scanout-fd N... (one per head) --event-fd N --resize-fd N [--state-fd N] --size WxH --queue-size N
 * and, which is no vhost-user device, without --socket-fd:
 *   husk-vnc --scanout-fd N... (the framebuffer, then the heads) --event-fd N --input-fd N --resize-fd N --name NAME
 *            [--layout L] --listen-fd N,unix|tcp... [--password-fd N] [--tls-cert-fd N --tls-key-fd N] [--tls-anonymous]
 *            [--open] [--view-only] [--lossless]
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

enum { DEVICE_FDS = 32, DEVICE_STRANGERS = 1024 };
struct device {
	const char *program;
	struct loop *loop;
	int control_fd, socket_fd; /* -1: none */
	const char *listen;        /* NULL: none */
	int fds[DEVICE_FDS];       /* handed in, named by an option */
	unsigned nfds;
	unsigned char stranger[DEVICE_STRANGERS / 8]; /* bits: was open when the program began */
	/* set by the program before device_run() */
	const struct sandbox_syscall *syscalls; /* what it does beyond device_syscalls */
	bool network;              /* it needs the host's network */
	size_t data_max;           /* bytes of private memory, 0: the default of 64 MiB */
	unsigned new_fds;          /* beyond those of vhost-user */
	/*
	 * Called once when the sandbox was entered, before anything is served: the place to make threads, of which there may be
	 * none before (SANDBOX_THREADS then is in syscalls). 0, or -errno with words. May be NULL.
	 */
	int (*confined)(void *arg, struct err *e);
	/* "name value" lines for husk status, bytes written; may be NULL */
	size_t (*stats)(void *arg, char *buf, size_t len);
	void *arg;
	const char *ready;         /* more "key=value" lines of VMM_READY, "engine=io_uring\n" for one; may be NULL */
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
/* One option of the above; false when it is none of them, DEVICE_OPT_HELP for one. Exits 2 on a bad value. */
bool device_option(struct device *d, int opt, const char *arg);
/* A whole number from 0 to max behind an option, or the program ends with exit code 2 and words. */
unsigned long long device_number(const char *option, const char *s, unsigned long long max);
/* The same for a descriptor that was handed in: it must be open, and is no stranger from now on. */
int device_fd(struct device *d, const char *option, const char *s);
/* After the options: closes what the process was started with and no option named; 0 to 2 stay. */
void device_close_others(struct device *d);
/*
 * A listening socket at the path behind option, for this user only; one that nobody listens on any more is replaced, as
 * it is what the last run left. The descriptor or -errno with words.
 */
int device_listen(const char *option, const char *path, int backlog, struct err *e);
/* It cannot start: tells the supervisor, or standard error. Returns the exit code. */
int device_fail(struct device *d, const struct err *e);
/*
 * Sandbox, ready, serve, end. Returns the exit code: 0 when the front-end hung up or the supervisor wished so. One thread when
 * it is called. dev NULL: nothing by vhost-user; what there is to serve is in the loop.
 */
int device_run(struct device *d, struct virtio_dev *dev);

/* In every device process: the loop, vhost-user, the control line. */
extern const struct sandbox_syscall device_syscalls[];

#endif
