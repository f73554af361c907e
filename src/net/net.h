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
enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };                           /* flags */
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_TCPV6 = 4, NET_GSO_ECN = 0x80 }; /* gso_type */

/* An IP packet of 64 KiB - 1, an Ethernet header, a VLAN tag. iovecs of one frame: as many as a ring may build. */
enum { NET_ETH = 14, NET_FRAME_MAX = 65535 + NET_ETH + 4, NET_MTU_MIN = 576, NET_MTU_MAX = 65520 };

/* What the guest's driver takes (negotiated features), for what goes up to it */
enum { NET_GUEST_CSUM = 1, NET_GUEST_TSO4 = 2, NET_GUEST_TSO6 = 4, NET_GUEST_ECN = 8 };

/*
 * One back-end. Frames go down by send(), come up by the callback of virtio-net. Headers were checked (net_hdr_ok):
 * the checksum's place lies in the frame, a segment size is not zero, and only what was offered is asked for.
 */
struct net_ops {
	const char *name;
	/* A frame of the guest, with its header. Borrowed. Never fails: what cannot be sent is dropped and counted. */
	void (*send)(void *n, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len);
	/* A batch of send() has ended; or NULL */
	void (*flush)(void *n);
	/* The guest has room again after receive() said no. */
	void (*room)(void *n);
	/* A driver is there, and takes this (NET_GUEST_*); or NULL */
	void (*guest)(void *n, unsigned takes);
	void (*free)(void *n);
	size_t (*stats)(void *n, char *buf, size_t len);
	bool offloads; /* takes partial checksums and segments to be cut, and may give them */
};

struct net {
	const struct net_ops *ops;
	void *n;
	/* set by virtio-net: a frame for the guest; false: no room now, keep or drop it */
	bool (*receive)(void *arg, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len);
	/* set by virtio-net: a batch of receive() has ended, now the guest is told */
	void (*received)(void *arg);
	void *arg;
};

/* May this frame of len bytes have this header? ours: NET_GUEST_* bits of whoever gets it */
bool net_hdr_ok(const struct net_hdr *h, size_t len, unsigned takes);

struct net_forward {
	bool udp;
	struct in_addr host, guest; /* host 0.0.0.0: all addresses; guest 0.0.0.0: the one that DHCP gives */
	uint16_t host_port, guest_port;
};
/*
 * "tcp:127.0.0.1:2222-:22", "udp::5353-10.0.2.15:53". No host address means 127.0.0.1; all addresses must be asked
 * for, by 0.0.0.0. 0 or -EINVAL with words.
 */
int net_forward_parse(const char *spec, struct net_forward *f, struct err *e);
void net_forward_format(const struct net_forward *f, char buf[64]);
/* "52:54:00:12:34:56": one station's address, neither zero nor a group. 0 or -EINVAL with words. */
int net_mac_parse(const char *s, uint8_t mac[6], struct err *e);

enum { NET_FORWARDS = 64, SLIRP_SOCKETS = 2048 };
struct slirp_config {
	struct net_forward forward[NET_FORWARDS];
	unsigned nforwards;
	unsigned sockets;     /* open at a time, beside the forwards'; 0: SLIRP_SOCKETS */
	unsigned mtu;         /* of the guest's interface, 0: 1500 */
	struct in_addr dns;   /* who answers what is sent to 10.0.2.3; 0.0.0.0: the first of /etc/resolv.conf */
	bool host_loopback;   /* the guest may reach the host's 127.0.0.1 through the gateway's address */
	bool restricted;      /* no way out, forwards only */
	const char *hostname; /* what DHCP tells the guest; may be NULL */
};
/* Opens the forwards' ports. Later: sockets and memory, nothing else. */
int slirp_net_new(struct net *net, struct loop *l, const struct slirp_config *c, struct err *e);
/* fd of a tap device with IFF_VNET_HDR (taken); its name, if it was opened by name, for messages. */
int tap_net_new(struct net *net, struct loop *l, int fd, struct err *e);
/* Opens /dev/net/tun and attaches to the interface: the caller's privilege. The descriptor or -errno with words. */
int tap_open(const char *ifname, struct err *e);

struct virtio_net_config {
	struct net *net; /* borrowed */
	struct loop *loop;
	uint8_t mac[6];
	uint16_t mtu;    /* announced (VIRTIO_NET_F_MTU), 0: not */
	uint16_t queue_size;
};
struct virtio_net;
int virtio_net_new(struct virtio_net **v, const struct virtio_net_config *c, struct err *e);
void virtio_net_free(struct virtio_net *v);
struct virtio_dev *virtio_net_dev(struct virtio_net *v);
size_t virtio_net_stats(const struct virtio_net *v, char *buf, size_t len);

#endif
