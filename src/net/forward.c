/* SPDX-License-Identifier: MIT */
/* What users write: forwards and station addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "net/net.h"

static int wrong(const char *spec, const char *why, struct err *e)
{
	return err_set(e, EINVAL, "forward '%s': %s; tcp:127.0.0.1:2222-:22 is an example: the host's port 2222, reachable "
		"from the host only, leads to the guest's port 22", spec, why);
}

/* "[ADDRESS]:PORT" in s[0, len) */
static const char *end_parse(const char *s, size_t len, struct in_addr *a, uint16_t *port)
{
	const char *colon = memchr(s, ':', len);
	char text[INET_ADDRSTRLEN];
	unsigned v = 0;
	size_t n;

	if (!colon)
		return "an address and a port are separated by a colon, ADDRESS:PORT or :PORT";
	n = (size_t)(colon - s);
	if (n >= sizeof text)
		return "that is no IPv4 address";
	memcpy(text, s, n);
	text[n] = '\0';
	if (n && inet_pton(AF_INET, text, a) != 1)
		return "that is no IPv4 address";
	if (colon + 1 == s + len)
		return "a port is missing";
	for (const char *p = colon + 1; p < s + len; p++) {
		if (*p < '0' || *p > '9' || v > 65535)
			return "a port is a number from 1 to 65535";
		v = v * 10 + (unsigned)(*p - '0');
	}
	if (!v || v > 65535)
		return "a port is a number from 1 to 65535";
	*port = (uint16_t)v;
	return NULL;
}

int net_forward_parse(const char *spec, struct net_forward *f, struct err *e)
{
	const char *s = spec, *dash, *why;

	memset(f, 0, sizeof *f);
	f->host.s_addr = htonl(INADDR_LOOPBACK);
	if (!strncmp(s, "udp:", 4))
		f->udp = true;
	else if (strncmp(s, "tcp:", 4))
		return wrong(spec, "it begins with tcp: or udp:", e);
	s += 4;
	dash = strchr(s, '-');
	if (!dash)
		return wrong(spec, "the host's side and the guest's side are separated by a dash", e);
	why = end_parse(s, (size_t)(dash - s), &f->host, &f->host_port);
	if (!why)
		why = end_parse(dash + 1, strlen(dash + 1), &f->guest, &f->guest_port);
	return why ? wrong(spec, why, e) : 0;
}

void net_forward_format(const struct net_forward *f, char buf[64])
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN] = "";

	inet_ntop(AF_INET, &f->host, host, sizeof host);
	if (f->guest.s_addr)
		inet_ntop(AF_INET, &f->guest, guest, sizeof guest);
	snprintf(buf, 64, "%s:%s:%u-%s:%u", f->udp ? "udp" : "tcp", host, f->host_port, guest, f->guest_port);
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int net_mac_parse(const char *s, uint8_t mac[6], struct err *e)
{
	static const uint8_t zero[6];
	bool ok = strlen(s) == 17;

	for (unsigned i = 0; ok && i < 6; i++) {
		int hi = hex(s[3 * i]), lo = hex(s[3 * i + 1]);

		ok = hi >= 0 && lo >= 0 && s[3 * i + 2] == (i < 5 ? ':' : '\0');
		mac[i] = ok ? (uint8_t)(hi << 4 | lo) : 0;
	}
	if (!ok)
		return err_set(e, EINVAL, "MAC address '%s': it is six bytes in hex, like 52:54:00:12:34:56", s);
	if (mac[0] & 1)
		return err_set(e, EINVAL, "MAC address '%s' is a group's (multicast: the first byte is odd), not one "
			"interface's; 52:54:00:12:34:56 is an example", s);
	if (!memcmp(mac, zero, 6))
		return err_set(e, EINVAL, "MAC address '%s': all zero is no address; 52:54:00:12:34:56 is an example", s);
	return 0;
}
