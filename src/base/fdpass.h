/* SPDX-License-Identifier: MIT */
/* One datagram with file descriptors over a SOCK_SEQPACKET Unix socket (unix(7), SCM_RIGHTS). */
#ifndef BASE_FDPASS_H
#define BASE_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

/* Sends all of buf and borrows fds. 0 or -errno. nfds <= 8. */
int fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds);

/*
 * Receives one datagram; at most *nfds descriptors, close-on-exec, which the caller owns; *nfds
 * becomes how many came. Surplus descriptors are closed. Bytes, 0 at the end, or -errno; -EMSGSIZE
 * when the datagram was longer than len (it is lost, its descriptors closed).
 */
ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nfds);

#endif
