/* SPDX-License-Identifier: MIT */
/*
 * Headers of Ethernet frames in memory that nobody else writes. packet_parse() checks, and all else here takes what it has
 * found. Frames come from the guest: any bytes.
 */
#ifndef NET_PACKET_INT_H
#define NET_PACKET_INT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ethernet, IPv4 with options, TCP with options */
enum { PACKET_HEADERS = 14 + 60 + 60 };

enum packet_kind {
	PACKET_BAD,   /* says it is IP, and is not */
	PACKET_ARP,
	PACKET_IP,
	PACKET_OTHER, /* another protocol */
};

struct packet {
	unsigned version;  /* of IP: 4 or 6 */
	uint8_t proto;     /* IPPROTO_TCP or IPPROTO_UDP: with a whole header; 0 for a fragment, else as the header says */
	bool fragment;     /* IPv4 */
	bool syn;          /* TCP */
	size_t l4;         /* offsets in the frame: where proto's header is, */
	size_t payload;    /* what follows it (l4, if proto is none of the two), at most PACKET_HEADERS, */
	size_t end;        /* and the end of the IP packet */
};

enum packet_kind packet_parse(struct packet *p, const uint8_t *frame, size_t len);

/* A segment that is to be cut has whatever length its driver liked in its IP header: the right one. */
void packet_set_length(uint8_t *frame, size_t len);

static inline uint16_t packet_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void packet_be16_put(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* One's complement sum in memory's order, not inverted, folded to 16 bits (RFC 1071) */
uint16_t packet_sum(const uint8_t *p, size_t len, uint64_t sum);
/* The same of the pseudo header, for TCP and UDP over len bytes */
uint16_t packet_pseudo(const uint8_t *frame, const struct packet *p, size_t len);
/* Makes a partial checksum (virtio's start and offset, checked by net_hdr_ok) whole. */
void packet_checksum(uint8_t *frame, const struct packet *p, size_t start, size_t offset, size_t len);
void packet_ip4_sum(uint8_t *ip, size_t header);

/* Exchanges the address at offset off of the IPv4 header, with the checksums that know of it. addr: network order */
void packet_ip4_readdress(uint8_t *frame, const struct packet *p, size_t off, uint32_t addr);
/* The value of TCP's MSS option, NULL when there is none; and setting such a value, with the checksum */
uint8_t *packet_mss(uint8_t *frame, const struct packet *p);
void packet_set16(uint8_t *frame, const struct packet *p, size_t off, uint16_t v);

#endif
