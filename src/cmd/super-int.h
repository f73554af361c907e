/* SPDX-License-Identifier: MIT */
/* What super.c and the super_*.c share. */
#ifndef CMD_SUPER_INT_H
#define CMD_SUPER_INT_H

#include "cmd/devs.h"
#include "cmd/guard.h"
#include "cmd/panic.h"
#include "cmd/place.h"
#include "cmd/qmp.h"
#include "cmd/rundir.h"
#include "cmd/screen_fds.h"
#include "cmd/serial.h"
#include "cmd/super.h"
#include "cmd/term.h"
#include "sandbox/sandbox.h"

enum { SUPER_KEYS = 16 };

/* A port of the guest's virtio-console: a hub as the serial line has one */
struct super_port {
	struct super *s;
	const struct console_port *cfg;
	struct serial *hub;
	int fd;     /* the place it leads to, until the hub has it; -1 */
	int vm[2];  /* husk-vmm's end is the second; -1 */
};

/* Keys that QMP's send-key holds down for a while, and where its pointer is */
struct super_keys {
	struct timer up_timer;
	uint16_t down[SUPER_KEYS];
	unsigned n;
	int32_t x, y; /* of the last absolute movement: input-send-event tells one axis at a time */
};

struct super {
	const struct super_config *cfg;
	struct loop *loop;
	struct rundir dir;
	struct guard guard;
	struct term term;
	struct vmm vmm;
	struct devs *devs;
	struct serial *serial;
	int vsock_fd; /* of --vsock, -1 */
	struct screen_fds screen;
	struct super_keys keys;
	struct super_port ports[CONSOLES_MAX];
	struct qmp *qmp;
	struct panic panic;
	struct escape escape;
	struct watch signal_w, pid_w, control_w, log_w;
	struct timer kill_timer, stats_timer, status_timer, tty_timer;
	char socks[3 + CONSOLES_MAX][PLACE_PATH]; /* of --serial, --console unix:, --vsock, --display; absolute; empty: none */
	uint64_t log_bytes;
	uint64_t start_ns;
	pid_t vmm_pid; /* also after it was reaped */
	unsigned resets;
	uint8_t last_byte;   /* that the guest wrote */
	uint32_t stats_id;   /* of the last VMM_GET_STATS */
	size_t stats_len;    /* what came of its answer; without an end while stats_timer is set */
	char stats_text[VMM_STATS_MAX + 1];
	bool stats_wanted;   /* x-stats waits for it */
	bool status_wanted;  /* query-husk waits: for the devices' counters, and husk-vmm's about them */
	unsigned status_waits; /* for so many of the two */
	bool started;        /* husk-vmm said READY */
	bool stopping;       /* VMM_QUIT was sent */
	bool killed;         /* we sent SIGKILL */
	bool have_exit, have_error;
	struct vmm_msg exit; /* without text */
	char exit_text[VMM_TEXT_MAX + 1];
	bool panicked;
	char panic_text[160];
	const char *stop_why; /* for people; NULL until we stop it */
	int output_error;     /* errno value for which standard output was given up */
	/* from READY */
	char engine[64], engine_why[512], boot[512];
	struct sandbox_report sandbox;
	bool sandbox_known;
};

/* Ends the VM the hard way: asks husk-vmm, kills it if it does not hear. why: borrowed for ever. */
void super_stop(struct super *s, const char *why);

/* Complete lines, for the user and into the file "log" of the runtime directory. */
void super_log(struct super *s, const char *text);

/* Opens the places that ports lead to; before the guard, which is to know the sockets. 0 or -errno with words. */
int super_ports_open(struct super *s, struct err *e);
void super_ports_args(struct super *s, struct child_args *a); /* husk-vmm's --console */
int super_ports_begin(struct super *s, struct err *e);        /* once husk-vmm has its descriptors */
void super_ports_free(struct super *s);

extern const struct qmp_command super_qmp_commands[];

/* super_input.c: keys and pointers by QMP */
json_t *super_x_input(void *arg, json_t *args, struct err *e);
json_t *super_send_key(void *arg, json_t *args, struct err *e);
json_t *super_send_event(void *arg, json_t *args, struct err *e);
void super_keys_fire(struct timer *t);
/* husk-vnc has died: the keys that its viewers held go up, and nobody looks. */
void super_viewers_gone(struct super *s);

/* super_screen.c: the screen by QMP, and in query-husk */
json_t *super_x_screen(void *arg, json_t *args, struct err *e);
json_t *super_screen_object(const struct super *s);

/* To QMP's clients: what happened to a device. */
void super_device_event(struct super *s, const struct dev *d, enum dev_event ev);
/* Asks husk-vmm for its counters, if it has not been asked already. 0 or -errno. */
int super_ask(struct super *s);
/* What the devices or husk-vmm had to say for query-husk is there. */
void super_status_part(struct super *s);
void super_status_fire(struct timer *t);
void super_stats_end(struct super *s, const struct err *e); /* NULL: the answer is whole */

#endif
