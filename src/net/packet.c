/* SPDX-License-Identifier: MIT */
/* IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293), UDP (RFC 768): as much as address and checksum changes take. */
#include <netinet/in.h>
#include <string.h>

#include "base/util.h"
#include "net/net.h"
#include "net/packet-int.h"

enum { ETHER_IP4 = 0x0800, ETHER_ARP = 0x0806, ETHER_IP6 = 0x86dd };
enum { IP4_HEADER = 20, IP6_HEADER = 40, TCP_HEADER = 20, UDP_HEADER = 8, TCP_CSUM = 16, UDP_CSUM = 6, TCP_SYN = 2 };

static enum packet_kind parse_l4(struct packet *p, const uint8_t *frame)
{
	size_t len = p->end - p->l4, header;

	p->payload = p->l4;
	p->syn = false;
	switch (p->proto) {
	case IPPROTO_TCP:
		header = len < TCP_HEADER ? 0 : (size_t)(frame[p->l4 + 12] >> 4) * 4;
		if (header < TCP_HEADER || header > len)
			return PACKET_BAD;
		p->payload += header;
		p->syn = frame[p->l4 + 13] & TCP_SYN;
		return PACKET_IP;
	case IPPROTO_UDP:
		if (len < UDP_HEADER)
			return PACKET_BAD;
		p->payload += UDP_HEADER;
		return PACKET_IP;
	}
	return PACKET_IP;
}

enum packet_kind packet_parse(struct packet *p, const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + NET_ETH;
	size_t header, total;

	if (len < NET_ETH)
		return PACKET_BAD;
	switch (packet_be16(frame + 12)) {
	case ETHER_ARP:
		return PACKET_ARP;
	case ETHER_IP4:
		if (len < NET_ETH + IP4_HEADER || ip[0] >> 4 != 4)
			return PACKET_BAD;
		header = (size_t)(ip[0] & 15) * 4;
		total = packet_be16(ip + 2);
		if (header < IP4_HEADER || header > total || total > len - NET_ETH)
			return PACKET_BAD;
		/* offset, more to come, or the bit that is none (libslirp takes that for a fragment's, too) */
		p->fragment = packet_be16(ip + 6) & 0xbfff;
		p->proto = p->fragment ? 0 : ip[9];
		p->version = 4;
		break;
	case ETHER_IP6:
		if (len < NET_ETH + IP6_HEADER || ip[0] >> 4 != 6)
			return PACKET_BAD;
		header = IP6_HEADER;
		total = IP6_HEADER + (size_t)packet_be16(ip + 4);
		if (total > len - NET_ETH)
			return PACKET_BAD;
		p->proto = ip[6];
		p->fragment = false;
		p->version = 6;
		break;
	default:
		return PACKET_OTHER;
	}
	p->l4 = NET_ETH + header;
	p->end = NET_ETH + total;
	return parse_l4(p, frame);
}

void packet_set_length(uint8_t *frame, size_t len)
{
	size_t header;

	if (len < NET_ETH + IP4_HEADER)
		return;
	len -= NET_ETH;
	if (packet_be16(frame + 12) == ETHER_IP4) {
		header = (size_t)(frame[NET_ETH] & 15) * 4;
		if (len > 65535 || header < IP4_HEADER || header > len || packet_be16(frame + NET_ETH + 2) == len)
			return;
		packet_be16_put(frame + NET_ETH + 2, (unsigned)len);
		packet_ip4_sum(frame + NET_ETH, header);
	} else if (packet_be16(frame + 12) == ETHER_IP6 && len >= IP6_HEADER && len - IP6_HEADER <= 65535) {
		packet_be16_put(frame + NET_ETH + 4, (unsigned)(len - IP6_HEADER));
	}
}

/* --- checksums --------------------------------------------------------------------------------- */

static uint16_t fold(uint64_t sum)
{
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 32) + (uint32_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	sum = (sum >> 16) + (uint16_t)sum;
	return (uint16_t)((sum >> 16) + (uint16_t)sum);
}

/* 32-bit words into 64-bit sums: four of them, so that they do not wait for each other. At most 64 KiB: no overflow. */
uint16_t packet_sum(const uint8_t *p, size_t len, uint64_t sum)
{
	uint64_t s0 = sum, s1 = 0, s2 = 0, s3 = 0;

	for (; len >= 32; p += 32, len -= 32) {
		uint64_t a = get_u64(p), b = get_u64(p + 8), c = get_u64(p + 16), d = get_u64(p + 24);

		s0 += (uint32_t)a;
		s1 += a >> 32;
		s2 += (uint32_t)b;
		s3 += b >> 32;
		s0 += (uint32_t)c;
		s1 += c >> 32;
		s2 += (uint32_t)d;
		s3 += d >> 32;
	}
	for (; len >= 2; p += 2, len -= 2)
		s0 += get_u16(p);
	if (len)
		s1 += *p; /* as if a zero byte followed */
	return fold(s0 + s1 + s2 + s3);
}

uint16_t packet_pseudo(const uint8_t *frame, const struct packet *p, size_t len)
{
	const uint8_t *ip = frame + NET_ETH;
	uint8_t tail[8] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len, 0, 0, 0, p->proto};
	uint16_t sum = packet_sum(tail, sizeof tail, 0);

	return p->version == 4 ? packet_sum(ip + 12, 8, sum) : packet_sum(ip + 8, 32, sum);
}

void packet_checksum(uint8_t *frame, const struct packet *p, size_t start, size_t offset, size_t len)
{
	bool tcp = p->proto == IPPROTO_TCP && offset == TCP_CSUM, udp = p->proto == IPPROTO_UDP && offset == UDP_CSUM;
	uint16_t sum;

	if (start == p->l4 && (tcp || udp)) {
		/* the driver has put the pseudo header's sum there: ours does not depend on what it took for the length */
		len = p->end;
		put_u16(frame + start + offset, packet_pseudo(frame, p, len - start));
	}
	sum = (uint16_t)~packet_sum(frame + start, len - start, 0);
	/* 0 means that there is none (RFC 768) */
	put_u16(frame + start + offset, udp && !sum ? 0xffff : sum);
}

void packet_ip4_sum(uint8_t *ip, size_t header)
{
	put_u16(ip + 10, 0);
	put_u16(ip + 10, (uint16_t)~packet_sum(ip, header, 0));
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m') */
static void adjust(uint8_t *csum, uint16_t from, uint16_t to)
{
	uint64_t sum = (uint16_t)~get_u16(csum);

	sum += (uint16_t)~from;
	sum += to;
	put_u16(csum, (uint16_t)~fold(sum));
}

void packet_ip4_readdress(uint8_t *frame, const struct packet *p, size_t off, uint32_t addr)
{
	uint8_t *ip = frame + NET_ETH, *at = ip + off, new[4];
	uint8_t *csum = frame + p->l4 + (p->proto == IPPROTO_TCP ? TCP_CSUM : UDP_CSUM);
	bool l4 = p->proto == IPPROTO_TCP || (p->proto == IPPROTO_UDP && get_u16(csum));

	put_u32(new, addr);
	for (unsigned i = 0; i < 4; i += 2) {
		adjust(ip + 10, get_u16(at + i), get_u16(new + i));
		if (l4)
			adjust(csum, get_u16(at + i), get_u16(new + i));
	}
	memcpy(at, new, 4);
	if (l4 && p->proto == IPPROTO_UDP && !get_u16(csum))
		put_u16(csum, 0xffff);
}

uint8_t *packet_mss(uint8_t *frame, const struct packet *p)
{
	size_t at = p->l4 + TCP_HEADER;

	while (at < p->payload) {
		if (frame[at] == 0) /* end of options */
			return NULL;
		if (frame[at] == 1) {
			at++;
			continue;
		}
		if (at + 2 > p->payload || frame[at + 1] < 2 || at + frame[at + 1] > p->payload)
			return NULL;
		if (frame[at] == 2)
			return frame[at + 1] == 4 ? frame + at + 2 : NULL;
		at += frame[at + 1];
	}
	return NULL;
}

void packet_set16(uint8_t *frame, const struct packet *p, size_t off, uint16_t v)
{
	uint8_t new[2];
	uint16_t from = get_u16(frame + off), to;

	packet_be16_put(new, v);
	to = get_u16(new);
	memcpy(frame + off, new, 2);
	/* the sum is of pairs from the start of the header: across two of them it counts with its bytes exchanged */
	if ((off - p->l4) & 1) {
		from = (uint16_t)(from << 8 | from >> 8);
		to = (uint16_t)(to << 8 | to >> 8);
	}
	adjust(frame + p->l4 + TCP_CSUM, from, to);
}
