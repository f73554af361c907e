/* SPDX-License-Identifier: MIT */
/*
 * The device processes of one machine, and other people's back-ends that it uses: opened, started, watched, started again
 * when they die, given up, ended. See devs.c for how.
 */
#ifndef CMD_DEVS_H
#define CMD_DEVS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "cmd/child.h"
#include "cmd/devopt.h"
#include "cmd/restart.h"
#include "cmd/screen_fds.h"
#include "sandbox/sandbox.h"

enum { DEVS_MAX = DISKS_MAX + NETS_MAX + 3, DEV_STATS_MAX = 16 << 10 };

struct dev;
enum dev_event {
	DEV_DIED,
	DEV_RESTARTED, /* another process, or foreign back-end, serves */
	DEV_LOST,      /* given up: a disk's driver gets errors from now on, others no answer */
};

/* A process that complains without end must not take the user's terminal: in a second so many lines of it are shown. */
enum { DEV_LINES = 10 };

struct devs_host {
	void (*say)(void *arg, const char *text);          /* complete lines, for the user and the log */
	void (*log)(void *arg, const char *text);          /* for the log alone */
	void (*event)(void *arg, const struct dev *d, enum dev_event ev);
	int (*socket)(void *arg, unsigned number, int fd); /* VMM_NEW_DEVICE; fd: borrowed. 0 or -errno */
	void (*give_up)(void *arg, unsigned number);       /* VMM_GIVE_UP */
	bool (*ending)(void *arg);                         /* looks whether husk-vmm has said its last word */
	void (*answered)(void *arg);                       /* devs_ask(): all that will answer have */
	void *arg;
};

struct devs_config { /* borrowed for as long as the devices live */
	const struct disk_config *disks;
	unsigned ndisks;
	const struct net_config *nets;
	unsigned nnets;
	const struct vsock_socket *vsock; /* NULL: none */
	int vsock_fd;      /* its listening socket */
	const struct screen_fds *screen; /* NULL: none */
	unsigned cpus;
	const char *name;  /* of the machine */
	const char *debug; /* NULL: none */
};

enum dev_state {
	DEV_STARTING,
	DEV_SERVING,
	DEV_RESTARTING, /* a process is to come, or has not said that it is ready */
	DEV_FAILING,    /* given up; a process answers all requests with errors */
	DEV_GIVEN_UP,   /* nobody answers any more */
};

/* In the order of their numbers. All but husk-vnc, which comes last, are husk-vmm's --vhost, and have its numbers. */
enum dev_kind_id { DEV_DISK, DEV_NET, DEV_VSOCK, DEV_GPU, DEV_VNC, DEV_KINDS };

struct devs;
struct dev_kind;
struct dev {
	struct devs *all;
	unsigned number;
	enum dev_kind_id id;
	const struct dev_kind *kind;
	char name[16];                   /* "disk0" */
	const struct disk_config *disk;  /* one of the four is not NULL */
	const struct net_config *net;
	const struct vsock_socket *vsock;
	const struct screen_fds *screen; /* of husk-gpu and husk-vnc */
	const char *program, *path;      /* NULL: a foreign back-end */
	int image, overlay, bitmap, tap; /* ours, -1: none */
	uint64_t size;                   /* of the image */
	uint64_t dev, ino;               /* which file it is */
	uint8_t mac[6];
	unsigned cid;
	unsigned queues, queue_size;
	int front;                       /* husk-vmm's end of the vhost-user line until it has it, -1: none */
	struct child child;
	struct watch pid_w, control_w, log_w;
	struct timer start_timer, limit_timer;
	struct restart policy;
	enum dev_state state;
	unsigned restarts;
	uint64_t ready_ns;               /* 0: this process has not said so yet */
	bool kept_down;                  /* husk-vmm has not seen this process serve yet */
	bool killed;                     /* by us, as it did not work */
	pid_t pid;                       /* of the last process, also when it has gone */
	char why[256];                   /* what this process, or we of it, had to say about its end */
	char last[400];                  /* what happened last, for people; empty: nothing ever did */
	char engine[32], engine_why[200];
	uint64_t lines_ns;               /* when the second began whose lines are counted */
	unsigned lines, hidden;          /* shown; not shown */
	struct timer hidden_timer;       /* tells how many were not */
	char said[400];                  /* the last error or warning that a process of it logged */
	struct sandbox_report sandbox;
	bool sandbox_known;
	bool asked;                      /* its counters are on their way */
	size_t stats_len;
	char *stats;                     /* DEV_STATS_MAX + 1 bytes; NULL: there never was an answer */
};

struct devs {
	struct devs_config cfg;
	struct devs_host host;
	struct loop *loop;
	char path[DEV_KINDS][4096];
	bool stopping;
	unsigned asked;
	uint32_t ask_id;
	unsigned n;
	struct dev dev[];
};

/* Opens images and connects; no process is started. 0, or -errno with words that begin with the option. */
int devs_new(struct devs **d, const struct devs_config *c, const struct devs_host *h, struct err *e);
/* Starts all processes, and waits until they are ready. Adds words and descriptors for husk-vmm to a. */
int devs_start(struct devs *d, struct child_args *a, struct err *e);
/* husk-vmm has its descriptors: watches the processes from now on. */
int devs_watch(struct devs *d, struct loop *l, struct err *e);
/* VMM_DEVICE */
void devs_state(struct devs *d, unsigned number, unsigned state, const char *why);
/*
 * Asks all processes for their counters. How many will answer: with 0, host.answered() does not come. Answers that are
 * late are forgotten by the next question.
 */
unsigned devs_ask(struct devs *d);
/* A text of husk-vmm that begins with a device's name begins with its option afterwards. */
void devs_explain(const struct devs *d, char *text, size_t len);
/* The end of the machine: no more restarts; asks the processes to end, waits 2 s, kills. */
void devs_stop(struct devs *d);
void devs_free(struct devs *d); /* NULL is harmless */

const char *dev_state_name(enum dev_state s);
/* "--disk disk.raw", for messages */
const char *dev_option(const struct dev *d, char *buf, size_t len);

#endif
