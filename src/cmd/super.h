/* SPDX-License-Identifier: MIT */
/* The supervisor of one VM: from opened files to the exit code. */
#ifndef CMD_SUPER_H
#define CMD_SUPER_H

#include <stdbool.h>

#include "base/err.h"
#include "cmd/devopt.h"
#include "cmd/displayopt.h"
#include "cmd/vmm.h"

enum serial_mode { SERIAL_STDIO, SERIAL_NONE, SERIAL_UNIX, SERIAL_FILE };

struct super_config {
	struct vmm_config vmm;  /* its name may be NULL: one is chosen */
	const char *kernel, *initrd; /* paths, for "husk status"; initrd may be NULL */
	enum serial_mode serial;
	const char *serial_path; /* of SERIAL_UNIX and SERIAL_FILE */
	struct disk_config disks[DISKS_MAX];
	unsigned ndisks;
	struct net_config nets[NETS_MAX];
	unsigned nnets;
	struct console_port ports[CONSOLES_MAX];
	unsigned nports;
	struct vsock_socket vsock; /* text: NULL if there is none */
	struct display_config display;
};

/*
 * Runs the VM until it ends, with everything put back as it was, and returns the exit code of
 * "husk run". Negative with words in e when it could not be started.
 */
int super_run(const struct super_config *c, struct err *e);

#endif
