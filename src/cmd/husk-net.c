/* SPDX-License-Identifier: MIT */
/*
 * husk-net: one network card of one machine. The supervisor starts it with a descriptor of its vhost-user line. It is
 * the one device process that stays in the host's network: it opens the sockets for what the guest sends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "cmd/device.h"
#include "net/net.h"

/*
 * What libslirp does for the guest's connections. Sockets are of the two internet families only. It makes them
 * non-blocking by F_SETFL, which no other device process may (cmd/device.c); so the filter looks at the flags instead of
 * at the command: exactly these. As F_SETFL it can set O_NONBLOCK and never clear it; as another command the number
 * means nothing that matters (a signal's number, a process for signals that O_ASYNC would have to send).
 */
static const struct sandbox_syscall user_syscalls[] = {
	SANDBOX_ALLOW_IF(SYS_socket, 0, 0xffffffff, AF_INET),
	SANDBOX_ALLOW_IF(SYS_socket, 0, 0xffffffff, AF_INET6),
	SANDBOX_ALLOW(SYS_bind),
	SANDBOX_ALLOW(SYS_connect),
	SANDBOX_ALLOW(SYS_listen),
	SANDBOX_ALLOW(SYS_accept),
	SANDBOX_ALLOW(SYS_shutdown),
	SANDBOX_ALLOW(SYS_getsockname),
	SANDBOX_ALLOW(SYS_getpeername),
	SANDBOX_ALLOW(SYS_getsockopt),
	SANDBOX_ALLOW_IF(SYS_setsockopt, 1, 0xffffffff, SOL_SOCKET),
	SANDBOX_ALLOW_IF(SYS_setsockopt, 1, 0xffffffff, IPPROTO_IP),
	SANDBOX_ALLOW_IF(SYS_setsockopt, 1, 0xffffffff, IPPROTO_IPV6),
	SANDBOX_ALLOW_IF(SYS_setsockopt, 1, 0xffffffff, IPPROTO_TCP),
	SANDBOX_ALLOW_IF(SYS_ioctl, 1, 0xffffffff, FIONREAD),
	SANDBOX_ALLOW_IF(SYS_fcntl, 1, 0xffffffff, F_GETFL),
	SANDBOX_ALLOW_IF(SYS_fcntl, 2, ~0ul, O_RDWR | O_NONBLOCK),
	/* it looks for /etc/resolv.conf before each router advertisement, for the host's DNS server with IPv6 */
	SANDBOX_REFUSE_IF(SYS_openat, 2, 0xffffffff & ~(unsigned long)O_CLOEXEC, O_RDONLY, ENOENT),
	SANDBOX_REFUSE_IF(SYS_newfstatat, 3, AT_EMPTY_PATH, 0, ENOENT),
	SANDBOX_END,
};

static const struct sandbox_syscall tap_syscalls[] = {
	SANDBOX_ALLOW(SYS_writev),
	SANDBOX_ALLOW_IF(SYS_ioctl, 1, 0xffffffff, TUNSETOFFLOAD),
	SANDBOX_END,
};

enum {
	OPT_MAC = DEVICE_OPT_OWN,
	OPT_MTU,
	OPT_QUEUE,
	OPT_USER,
	OPT_FORWARD,
	OPT_DNS,
	OPT_LOOPBACK,
	OPT_RESTRICT,
	OPT_HOSTNAME,
	OPT_TAP_FD,
	OPT_TAP,
};

static const struct option options[] = {
	{"mac", 1, NULL, OPT_MAC},
	{"mtu", 1, NULL, OPT_MTU},
	{"queue-size", 1, NULL, OPT_QUEUE},
	{"user", 0, NULL, OPT_USER},
	{"forward", 1, NULL, OPT_FORWARD},
	{"dns", 1, NULL, OPT_DNS},
	{"host-loopback", 0, NULL, OPT_LOOPBACK},
	{"restrict", 0, NULL, OPT_RESTRICT},
	{"hostname", 1, NULL, OPT_HOSTNAME},
	{"tap-fd", 1, NULL, OPT_TAP_FD},
	{"tap", 1, NULL, OPT_TAP},
	DEVICE_OPTIONS,
	{NULL, 0, NULL, 0},
};

static void usage(FILE *f)
{
	fprintf(f,
		"husk-net serves one network card over vhost-user; husk run starts it. By hand:\n"
		"  husk-net --mac XX:XX:XX:XX:XX:XX (--user | --tap NAME | --tap-fd N) (--listen PATH | --socket-fd N)\n"
		"  --mac ADDRESS    of the card\n"
		"  --mtu N          %d to %d: the guest is told so; without it 1500 holds and nothing is said\n"
		"  --queue-size N   entries of a queue, a power of two: 256\n"
		"  --user           the guest's connections become this program's own (NAT)\n"
		"  --forward SPEC   tcp:127.0.0.1:2222-:22, a port of the host that leads to one of the guest; may repeat\n"
		"  --dns ADDRESS    the server behind the guest's 10.0.2.3: the first in /etc/resolv.conf\n"
		"  --host-loopback  the guest may connect to the host's 127.0.0.1, as 10.0.2.2\n"
		"  --restrict       no way out: forwards only\n"
		"  --hostname NAME  for the guest, by DHCP\n"
		"  --tap NAME       a tap interface of this user\n"
		"  --tap-fd N       an open one, with IFF_VNET_HDR\n" DEVICE_USAGE,
		NET_MTU_MIN, NET_MTU_MAX);
}

static size_t stats(void *arg, char *buf, size_t len)
{
	return virtio_net_stats(arg, buf, len);
}

static int wrong(const char *what)
{
	log_err("%s; husk-net --help shows all options", what);
	return 2;
}

int main(int argc, char **argv)
{
	static struct device d;
	static struct slirp_config user;
	static struct net net;
	struct virtio_net_config card = {.net = &net};
	struct virtio_net *v;
	struct err e = {.code = 0};
	const char *tap = NULL;
	bool is_user = false, have_mac = false;
	int opt, tap_fd = -1, code;

	device_init(&d, "husk-net");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_MAC:
			if (net_mac_parse(optarg, card.mac, &e))
				return wrong(e.text);
			have_mac = true;
			break;
		case OPT_MTU:
			card.mtu = (uint16_t)device_number("mtu", optarg, NET_MTU_MAX);
			if (card.mtu < NET_MTU_MIN)
				return wrong("--mtu is at least 576, which every IPv4 host must be able to take");
			break;
		case OPT_QUEUE:
			card.queue_size = (uint16_t)device_number("queue-size", optarg, VIRTIO_QUEUE_MAX);
			if (card.queue_size < 4 || card.queue_size & (card.queue_size - 1))
				return wrong("--queue-size is a power of two from 4 to 1024");
			break;
		case OPT_USER:
			is_user = true;
			break;
		case OPT_FORWARD:
			if (user.nforwards == NET_FORWARDS)
				return wrong("there are 64 forwards at most");
			if (net_forward_parse(optarg, &user.forward[user.nforwards], &e))
				return wrong(e.text);
			user.nforwards++;
			break;
		case OPT_DNS:
			if (inet_pton(AF_INET, optarg, &user.dns) != 1)
				return wrong("--dns takes an IPv4 address");
			break;
		case OPT_LOOPBACK:
			user.host_loopback = true;
			break;
		case OPT_RESTRICT:
			user.restricted = true;
			break;
		case OPT_HOSTNAME:
			user.hostname = optarg;
			break;
		case OPT_TAP_FD:
			tap_fd = device_fd(&d, "tap-fd", optarg);
			break;
		case OPT_TAP:
			tap = optarg;
			break;
		case DEVICE_OPT_HELP:
			usage(stdout);
			return 0;
		default:
			if (!device_option(&d, opt, optarg))
				return wrong("that is not understood");
		}
	}
	if (optind < argc)
		return wrong("there is a word without an option");
	if (!have_mac)
		return wrong("--mac is missing");
	if (is_user + !!tap + (tap_fd >= 0) != 1)
		return wrong("one of --user, --tap and --tap-fd says where frames go");
	device_close_others(&d);
	user.mtu = card.mtu;
	if (is_user) {
		if (slirp_net_new(&net, d.loop, &user, &e))
			return device_fail(&d, &e);
		d.syscalls = user_syscalls;
		d.network = true;
		d.new_fds = SLIRP_SOCKETS + 64; /* a little more, as one frame may open more than one */
		/* 256 KiB of buffers for each connection and the queues, in theory; few have more than a part of it */
		d.data_max = 768u << 20;
	} else {
		if (tap)
			tap_fd = tap_open(tap, &e);
		if (tap_fd < 0 || tap_net_new(&net, d.loop, tap_fd, &e))
			return device_fail(&d, &e);
		d.syscalls = tap_syscalls;
	}
	card.loop = d.loop;
	if (virtio_net_new(&v, &card, &e))
		return device_fail(&d, &e);
	d.arg = v;
	d.stats = stats;
	code = device_run(&d, virtio_net_dev(v));
	virtio_net_free(v);
	net.ops->free(net.n);
	return code;
}
