/* SPDX-License-Identifier: MIT */
/* What users write, and packets' headers. */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "guest.h"
#include "net/packet-int.h"

static void forwards(void)
{
	static const char *const bad[] = {"", "tcp", "tcp:", "tcp:22", "sctp::1-:1", "tcp::2222", "tcp::2222-", "tcp::2222-22",
		"tcp::0-:22", "tcp::65536-:22", "tcp::-:22", "tcp::22-:", "tcp:1.2.3:22-:22", "tcp:host:22-:22", "tcp::+22-:22",
		"tcp::99999999999999999999-:1", "tcp:127.0.0.1:22-:22x", "tcp:127.0.0.1:2 2-:22",
		"tcp:127.127.127.127.127.127:22-:22", "tcp::22-10.0.2.15", "TCP::1-:1", "tcp:[::1]:22-:22"};
	struct net_forward f;
	struct err e;
	char text[64];

	assert(!net_forward_parse("tcp:127.0.0.1:2222-:22", &f, &e));
	assert(!f.udp && f.host.s_addr == htonl(0x7f000001) && f.host_port == 2222 && !f.guest.s_addr && f.guest_port == 22);
	net_forward_format(&f, text);
	assert(!strcmp(text, "tcp:127.0.0.1:2222-:22"));
	/* without an address it is the loopback, not everybody */
	assert(!net_forward_parse("tcp::2222-:22", &f, &e) && f.host.s_addr == htonl(0x7f000001));
	assert(!net_forward_parse("udp:0.0.0.0:5353-10.0.2.15:53", &f, &e));
	assert(f.udp && !f.host.s_addr && f.host_port == 5353 && f.guest.s_addr == htonl(0x0a00020f) && f.guest_port == 53);
	net_forward_format(&f, text);
	assert(!strcmp(text, "udp:0.0.0.0:5353-10.0.2.15:53"));
	assert(!net_forward_parse("tcp::1-:65535", &f, &e) && f.host_port == 1 && f.guest_port == 65535);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		e.text[0] = '\0';
		assert(net_forward_parse(bad[i], &f, &e) == -EINVAL && strstr(e.text, bad[i]));
	}
}

static void macs(void)
{
	static const char *const bad[] = {"", "52:54:00:12:34", "52:54:00:12:34:56:78", "52-54-00-12-34-56", "52:54:00:12:34:5g",
		"01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "525400123456", " 52:54:00:12:34:56"};
	static const uint8_t want[6] = {0x52, 0x54, 0, 0xab, 0xCD, 0xef};
	uint8_t mac[6];
	struct err e;

	assert(!net_mac_parse("52:54:00:ab:CD:eF", mac, &e) && !memcmp(mac, want, 6));
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert(net_mac_parse(bad[i], mac, &e) == -EINVAL && strstr(e.text, bad[i]));
}

/* Against the test's own sum, of all lengths and places. */
static void sums(void)
{
	static uint8_t buf[70000];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof buf; i++) {
		x = x * 1103515245 + 12345;
		buf[i] = (uint8_t)(x >> 16);
	}
	for (size_t at = 0; at < 9; at++)
		for (size_t len = 0; len < 300; len++)
			assert(ntohs(packet_sum(buf + at, len, 0)) == guest_sum(buf + at, len, 0));
	assert(ntohs(packet_sum(buf, 65535, 0)) == guest_sum(buf, 65535, 0));
	memset(buf, 0xff, sizeof buf);
	assert(packet_sum(buf, 65534, 0) == 0xffff);
}

/* One TCP SYN, IPv4: what is changed keeps its checksums right, at even and odd places. */
static void rewrite(void)
{
	static const uint8_t options[2][8] = {{2, 4, 5, 0xb4, 1, 1, 1, 0}, {1, 2, 4, 5, 0xb4, 3, 3, 7}};

	for (unsigned odd = 0; odd < 2; odd++) {
		uint8_t f[62] = {[12] = 8, [14] = 0x45, [17] = 48, [22] = 64, [23] = 6, [26] = 10, [28] = 2, [29] = 15, [30] = 10,
			[32] = 2, [33] = 3, [34] = 0x12, [35] = 0x34, [37] = 53, [46] = 0x70, [47] = 2};
		struct packet p;
		uint8_t *mss;

		memcpy(f + 54, options[odd], 8);
		packet_ip4_sum(f + 14, 20);
		assert(guest_sum(f + 14, 20, 0) == 0xffff);
		assert(packet_parse(&p, f, sizeof f) == PACKET_IP && p.syn && p.proto == 6 && p.l4 == 34 && p.payload == 62);
		packet_checksum(f, &p, 34, 16, sizeof f);
		assert(guest_sum(f + 34, 28, guest_sum(f + 26, 8, 6 + 28)) == 0xffff);
		mss = packet_mss(f, &p);
		assert(mss == f + 56 + odd && packet_be16(mss) == 1460);
		packet_set16(f, &p, (size_t)(mss - f), 65480);
		assert(packet_be16(mss) == 65480 && guest_sum(f + 34, 28, guest_sum(f + 26, 8, 6 + 28)) == 0xffff);
		packet_ip4_readdress(f, &p, 16, htonl(0xc0a80101));
		assert(f[30] == 192 && f[33] == 1 && guest_sum(f + 14, 20, 0) == 0xffff);
		assert(guest_sum(f + 34, 28, guest_sum(f + 26, 8, 6 + 28)) == 0xffff);
		/* lengths that do not fit */
		for (size_t n = 0; n < sizeof f; n++)
			assert(packet_parse(&p, f, n) == PACKET_BAD);
		f[46] = 0x40;
		assert(packet_parse(&p, f, sizeof f) == PACKET_BAD);
		f[46] = 0x80;
		assert(packet_parse(&p, f, sizeof f) == PACKET_BAD);
		f[46] = 0x70;
		f[20] = 0x20; /* a fragment: no TCP header is looked at */
		assert(packet_parse(&p, f, sizeof f) == PACKET_IP && p.proto == 0 && p.payload == p.l4);
	}
}

/* IPv6: TCP and UDP, of odd lengths; and what is no header. */
static void version6(void)
{
	uint8_t f[14 + 40 + 20 + 7];
	struct packet p;

	for (unsigned proto = 6; proto <= 17; proto += 11) {
		size_t offset = proto == 6 ? 16 : 6;

		for (size_t i = 0; i < sizeof f; i++)
			f[i] = (uint8_t)(i * 37 + 11);
		f[12] = 0x86;
		f[13] = 0xdd;
		f[14] = 0x60;
		f[18] = 0;
		f[19] = 27;
		f[20] = (uint8_t)proto;
		f[66] = 0x50;
		assert(packet_parse(&p, f, sizeof f) == PACKET_IP && p.version == 6 && p.l4 == 54 && p.proto == proto);
		assert(p.payload == 54 + (proto == 6 ? 20 : 8) && p.end == sizeof f);
		packet_checksum(f, &p, 54, offset, sizeof f);
		assert(guest_sum(f + 54, 27, guest_sum(f + 22, 32, proto + 27)) == 0xffff);
		for (size_t n = 0; n < sizeof f; n++)
			assert(packet_parse(&p, f, n) == PACKET_BAD);
	}
	/* any place that net_hdr_ok() allows, also one that is no protocol's */
	packet_checksum(f, &p, 20, 3, sizeof f);
	assert(!net_hdr_ok(&(struct net_hdr){.flags = 1, .csum_start = 60, .csum_offset = 20}, 81, NET_GUEST_CSUM));
	assert(net_hdr_ok(&(struct net_hdr){.flags = 1, .csum_start = 60, .csum_offset = 19}, 81, NET_GUEST_CSUM));
	assert(!net_hdr_ok(&(struct net_hdr){.flags = 1, .csum_start = 60, .csum_offset = 19}, 81, NET_GUEST_TSO4));
	assert(!net_hdr_ok(&(struct net_hdr){.flags = 0}, 13, 0) && net_hdr_ok(&(struct net_hdr){.flags = 0}, 14, 0));
	assert(!net_hdr_ok(&(struct net_hdr){.flags = 0}, NET_FRAME_MAX + 1, 0));
}

int main(void)
{
	version6();
	forwards();
	macs();
	sums();
	rewrite();
	return 0;
}
