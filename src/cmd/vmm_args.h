/* SPDX-License-Identifier: MIT */
/* The words behind husk-vmm's --vhost, --console and --screen, which husk run writes (vmm.c). */
#ifndef CMD_VMM_ARGS_H
#define CMD_VMM_ARGS_H

#include "base/err.h"
#include "vm/devices.h"
#include "vm/screen.h"

/* NAME,blk|net|vsock|gpu,fd=N,queues=N,size=N[,mac=XX:XX:XX:XX:XX:XX][,mtu=N]: one more in c. 0 or -EINVAL with words. */
int vmm_arg_vhost(struct devices_config *c, const char *arg, struct err *e);
/* WIDTHxHEIGHT,fd=N,event=N */
int vmm_arg_screen(struct screen_config *c, const char *arg, struct err *e);
/* NAME,fd=N */
int vmm_arg_console(struct devices_config *c, const char *arg, struct err *e);

#endif
