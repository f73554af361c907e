/* SPDX-License-Identifier: MIT */
/*
 * Datagrams that the guest sends in IPv4 fragments, put together before libslirp sees them: its own way to do that runs over
 * memory (4.7.0, found by tests/fuzz/virtio-net). Few at a time, in fixed memory; the oldest gives way. Strict: fragments
 * that overlap, or do not fit, end their datagram (RFC 5722 asks that of IPv6).
 */
#ifndef NET_REASS_INT_H
#define NET_REASS_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/packet-int.h"

enum { REASS_SLOTS = 4, REASS_DATA = 76 /* where data is: Ethernet and IP headers, IP's aligned, fit in front */ };

struct reass_slot {
	bool used, last;
	uint8_t proto, header; /* header: bytes of IP's, 0 while the first fragment has not come */
	uint16_t id;
	uint32_t src, dst;
	uint64_t since;
	size_t have, total; /* bytes; total: of what is seen, all if last */
	uint8_t blocks[65536 / 8 / 8]; /* bits: 8 bytes each that are there */
	uint8_t frame[REASS_DATA + 65536] __attribute__((aligned(8)));
};
struct reass {
	struct reass_slot slot[REASS_SLOTS];
	uint64_t dropped;
};

/*
 * A fragment that packet_parse() took. When it completes its datagram: the frame, valid until the next call, and its
 * length; else NULL.
 */
uint8_t *reass_add(struct reass *r, const uint8_t *frame, const struct packet *p, uint64_t now, size_t *len);

#endif
