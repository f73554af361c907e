/* SPDX-License-Identifier: MIT */
/* What super.c and super_qmp.c share. */
#ifndef CMD_SUPER_INT_H
#define CMD_SUPER_INT_H

#include "cmd/guard.h"
#include "cmd/panic.h"
#include "cmd/qmp.h"
#include "cmd/rundir.h"
#include "cmd/serial.h"
#include "cmd/super.h"
#include "cmd/term.h"
#include "sandbox/sandbox.h"

struct super {
	const struct super_config *cfg;
	struct loop *loop;
	struct rundir dir;
	struct guard guard;
	struct term term;
	struct vmm vmm;
	struct serial *serial;
	struct qmp *qmp;
	struct panic panic;
	struct escape escape;
	struct watch signal_w, pid_w, control_w, log_w;
	struct timer kill_timer, stats_timer, tty_timer;
	char sock_path[4096]; /* of --serial unix:, absolute; empty if there is none */
	uint64_t log_bytes;
	uint64_t start_ns;
	pid_t vmm_pid; /* also after it was reaped */
	unsigned resets;
	uint8_t last_byte;   /* that the guest wrote */
	uint32_t stats_id;   /* of the last VMM_GET_STATS */
	size_t stats_len;    /* what came of its answer; without an end while stats_timer is set */
	char stats_text[VMM_STATS_MAX + 1];
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

extern const struct qmp_command super_qmp_commands[];

#endif
