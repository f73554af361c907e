/* SPDX-License-Identifier: MIT */
#ifndef NET_PORT_INT_H
#define NET_PORT_INT_H

#include <stdbool.h>
#include <stddef.h>

/* "sshd (pid 17)", if that can be found out: another user's processes cannot be looked into. */
bool port_holder(unsigned port, bool udp, char *name, size_t len);

#endif
