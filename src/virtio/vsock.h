/* SPDX-License-Identifier: MIT */
/*
 * Sockets between guest and host without a network: virtio-vsock. The host's end is one listening stream socket, whose
 * clients begin with a line:
 *
 *	CONNECT PORT    connects to a port of the guest; the answer is "OK PORT\n" with the host's port, or the end
 *	ACCEPT PORT     waits until the guest connects to PORT of the host (CID 2), and then reads "OK PORT\n" with the
 *	                guest's port. Takes one connection: who wants more, waits several times
 *
 * and from then on is the stream. So nothing has to be opened later, and a sandbox may be closed.
 */
#ifndef VIRTIO_VSOCK_H
#define VIRTIO_VSOCK_H

#include "base/err.h"
#include "base/loop.h"
#include "virtio/virtio.h"

enum { VSOCK_CONNECTIONS = 64, VSOCK_BUFFER = 64 << 10 };

struct vsock_config {
	struct loop *loop;
	int listen_fd; /* nonblocking; taken */
	uint64_t cid;  /* the guest's: 3 to 2^32 - 2 */
	bool restart;  /* a process before this one may have had connections: the guest is told that they are no more */
};
int vsock_new(struct virtio_dev **d, const struct vsock_config *c, struct err *e);
void vsock_free(struct virtio_dev *d);

struct vsock_counters {
	uint64_t accepted, opened, refused, resets; /* clients; connections; of the guest, that nobody waited for; by us */
	uint64_t in, out;                           /* bytes into the guest, out of it */
};
const struct vsock_counters *vsock_counters(const struct virtio_dev *d);

#endif
