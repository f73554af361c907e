/* SPDX-License-Identifier: MIT */
/*
 * A guest with a network card, for tests and the bench: the driver's side of virtio-net, and as much of ARP, DHCP, ICMP,
 * UDP and TCP as it takes to use it. Checksums are computed by its own simple code and every frame that comes is
 * checked; its TCP sends nothing twice, so a stream that arrives shows that no frame was lost.
 */
#ifndef TESTS_NET_GUEST_H
#define TESTS_NET_GUEST_H

#include "base/loop.h"
#include "mem/mem.h"
#include "net/net.h"

enum { G_RX, G_TX, G_RINGS };
enum { G_ENTRIES = 256, G_SLOTS = 64, G_SLOT = 68 << 10, G_CONNS = 4 };

#define G_CSUM       (1ull << 0)
#define G_GUEST_CSUM (1ull << 1)
#define G_GUEST_TSO4 (1ull << 7)
#define G_HOST_TSO4  (1ull << 11)
#define G_MRG_RXBUF  (1ull << 15)

struct gring {
	uint64_t desc, avail, used;
	uint16_t size, avail_idx, used_idx;
};

struct gtcp {
	bool used, open, syn_sent, fin_in, fin_sent, reset, need_ack, wrong;
	uint16_t lport, rport;
	uint32_t ip; /* of the other side, host order */
	uint32_t snd_una, snd_nxt, rcv_nxt, wnd;
	uint16_t peer_mss;
	uint64_t want, sent, in; /* bytes to send, sent, received */
	bool close;              /* FIN behind the last byte */
	bool echo;               /* what comes goes back: want follows in */
};

struct guest {
	struct mem mem;
	struct loop *loop;
	struct gring ring[G_RINGS];
	uint64_t features;
	uint8_t mac[6], gw[6];
	uint32_t ip;            /* host order */
	unsigned mss, rx_size;  /* of SYNs; of a receive buffer */
	unsigned rx_posted;     /* how many of them, at most */
	unsigned pieces;        /* a frame down is in so many descriptors, 0: 1 */
	unsigned cut;           /* UDP goes in fragments of so many bytes, the last one first; 0: whole */
	unsigned overlap;       /* each begins so many bytes too early */
	bool plain;             /* no pattern in streams: a bench */
	void (*kick)(struct guest *g, unsigned q);
	void *kick_arg;
	struct gtcp tcp[G_CONNS];
	uint64_t slots;         /* free ones, bits */
	bool listening;         /* takes connections, and echoes */
	/* seen */
	uint64_t frames, gso_frames, valid_frames, bad_sums, tx_stalls;
	unsigned last_gso_size, largest;
	bool arp, offer, ack, pong;
	uint32_t dhcp_ip, dhcp_dns, dhcp_router;
	unsigned udp_frames, udp_fragments;
	size_t udp_bytes;
	uint32_t udp_from;
	uint8_t udp[70000];
	uint8_t frame[NET_FRAME_MAX + 64];
	/* waiting */
	bool (*cond)(struct guest *g);
	bool met;
	struct timer late;
};

void guest_init(struct guest *g, struct loop *l, uint64_t features);
void guest_fini(struct guest *g);
void guest_post(struct guest *g);             /* as many receive buffers as it may */
/* [frame, len) with this header (NULL: none). False: no slot is free. */
bool guest_send(struct guest *g, const struct net_hdr *h, const void *frame, size_t len);
void guest_send_raw(struct guest *g, const void *bytes, size_t len); /* header included */
void guest_poll(struct guest *g);             /* what the device has done */
/* Runs the loop until cond holds; false after so many ms */
bool guest_wait(struct guest *g, bool (*cond)(struct guest *g), unsigned ms);

void guest_arp(struct guest *g, uint32_t ip);
void guest_dhcp(struct guest *g, unsigned type, uint32_t ask);
void guest_ping(struct guest *g, uint32_t ip);
void guest_udp(struct guest *g, uint32_t ip, uint16_t lport, uint16_t rport, const void *data, size_t len);
struct gtcp *guest_connect(struct guest *g, uint32_t ip, uint16_t lport, uint16_t rport);
void guest_output(struct guest *g, struct gtcp *c);

uint8_t guest_pattern(uint64_t off); /* byte of a stream */
uint16_t guest_sum(const uint8_t *p, size_t len, uint32_t start); /* big endian one's complement */

#endif
