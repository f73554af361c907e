/* SPDX-License-Identifier: MIT */
/*
 * Where a guest's Ethernet frames go: user-mode NAT (slirp.c) or a tap interface (tap.c). And virtio-net in front of it
 * (Virtual I/O Device 1.2, 5.1). One thread, the loop's.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "base/loop.h"
#include "virtio/virtio.h"

struct net_hdr { /* struct virtio_net_hdr with num_buffers (5.1.6) */
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
};

/* One back-end. Frames go down by send(), come up by the callback of virtio-net. */
struct net_ops {
	const char *name;
	/* A frame of the guest, with its header. Borrowed. Never fails: what cannot be sent is dropped and counted. */
	void (*send)(void *n, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len);
	/* The guest has room again after receive() said no. */
	void (*room)(void *n);
	void (*free)(void *n);
	size_t (*stats)(void *n, char *buf, size_t len);
	bool offloads; /* takes partial checksums and segments to be cut, and may give them */
};

struct net {
	const struct net_ops *ops;
	void *n;
	/* set by virtio-net: a frame for the guest; false: no room now, keep or drop it */
	bool (*receive)(void *arg, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len);
	void *arg;
};

struct net_forward {
	bool udp;
	struct in_addr host, guest; /* host 0.0.0.0: all addresses; guest 0.0.0.0: the one that DHCP gives */
	uint16_t host_port, guest_port;
	int listen_fd; /* for the check at start: -1 */
};

enum { NET_FORWARDS = 64 };
struct slirp_config {
	struct net_forward forward[NET_FORWARDS];
	unsigned nforwards;
	unsigned mtu;
	bool host_loopback; /* the guest may reach the host's 127.0.0.1 through the gateway's address */
	bool restricted;    /* no way out, forwards only */
	const char *hostname;
};
int slirp_net_new(struct net *net, struct loop *l, const struct slirp_config *c, struct err *e);
/* fd of a tap device with IFF_VNET_HDR (taken); its name, if it was opened by name, for messages. */
int tap_net_new(struct net *net, struct loop *l, int fd, struct err *e);
/* Opens /dev/net/tun and attaches to the interface: the caller's privilege. The descriptor or -errno with words. */
int tap_open(const char *ifname, struct err *e);

struct virtio_net_config {
	struct net *net; /* borrowed */
	uint8_t mac[6];
	uint16_t mtu, queue_size;
};
struct virtio_net;
int virtio_net_new(struct virtio_net **v, const struct virtio_net_config *c, struct err *e);
void virtio_net_free(struct virtio_net *v);
struct virtio_dev *virtio_net_dev(struct virtio_net *v);
size_t virtio_net_stats(const struct virtio_net *v, char *buf, size_t len);

#endif
