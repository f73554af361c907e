/* SPDX-License-Identifier: MIT */
/* A guest of a few hundred lines, virtio-net and libslirp in one process and one loop; servers on the host in threads. */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "guest.h"
#include "virtio/virtq.h"

enum { GATEWAY = 0x0a000202, NAMESERVER = 0x0a000203, GUEST = 0x0a00020f, WAIT = 8000 };
#define ALL (G_CSUM | G_GUEST_CSUM | G_GUEST_TSO4 | G_HOST_TSO4 | G_MRG_RXBUF)

/* --- the card and its machine ------------------------------------------------------------------ */

struct machine {
	struct loop *loop;
	struct net net;
	struct virtio_net *card;
	struct virtio_dev *dev;
	struct virtq q[2];
	struct watch irq;
	struct guest g;
};
static struct machine m;

static void kick(struct guest *g, unsigned q)
{
	(void)g;
	m.dev->ops->kick(m.dev, q);
}

static void call(struct virtq *q, void *arg)
{
	uint64_t one = 1;

	(void)q;
	(void)arg;
	assert(write(m.irq.fd, &one, 8) == 8);
}

static void irq(struct watch *w, uint32_t events)
{
	uint64_t n;

	(void)events;
	assert(read(w->fd, &n, 8) == 8);
	guest_poll(&m.g);
}

/* A machine whose driver has taken these features; not yet with receive buffers. */
static void start(const struct slirp_config *c, uint64_t features)
{
	struct virtio_net_config card = {.net = &m.net, .mac = {0x52, 0x54, 0, 1, 2, 3}, .mtu = (uint16_t)c->mtu};
	struct err e = {.code = 0};

	memset(&m, 0, sizeof m);
	m.loop = loop_new();
	assert(m.loop);
	if (slirp_net_new(&m.net, m.loop, c, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
	card.loop = m.loop;
	assert(!virtio_net_new(&m.card, &card, &e));
	m.dev = virtio_net_dev(m.card);
	guest_init(&m.g, m.loop, features);
	m.g.kick = kick;
	m.irq.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m.irq.ready = irq;
	assert(!loop_add(m.loop, &m.irq, EPOLLIN));
	assert(!(features & ~m.dev->features));
	m.dev->ops->features_set(m.dev, features | VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 2; i++) {
		const struct gring *r = &m.g.ring[i];

		m.q[i] = (struct virtq){.mem = &m.g.mem, .features = features | VIRTIO_F_VERSION_1, .kick_fd = -1, .call = call,
			.ring = {.enabled = true, .size = r->size, .desc = r->desc, .avail = r->avail, .used = r->used}};
		assert(!virtq_start(&m.q[i], 0, &e));
		assert(!m.dev->ops->start(m.dev, i, &m.q[i]));
		m.dev->ops->kick(m.dev, i);
	}
}

static void stop(void)
{
	for (unsigned i = 0; i < 2; i++) {
		m.dev->ops->stop(m.dev, i);
		virtq_stop(&m.q[i]);
	}
	assert(!m.g.bad_sums);
	loop_del(m.loop, &m.irq);
	close(m.irq.fd);
	guest_fini(&m.g);
	virtio_net_free(m.card);
	m.net.ops->free(m.net.n);
	loop_free(m.loop);
}

static bool has_arp(struct guest *g)
{
	return g->arp;
}

static void up(const struct slirp_config *c, uint64_t features)
{
	start(c, features);
	guest_post(&m.g);
	guest_arp(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_arp, WAIT));
}

static uint64_t stat_of(const char *name)
{
	char text[4096];
	size_t n = virtio_net_stats(m.card, text, sizeof text - 1);
	const char *at;

	text[n] = '\0';
	at = strstr(text, name);
	assert(at && at[strlen(name)] == ' ');
	return strtoull(at + strlen(name), NULL, 10);
}

/* --- servers ----------------------------------------------------------------------------------- */

enum what { ECHO, SOURCE, SINK, UDP_ECHO };
struct server {
	enum what what;
	int fd;
	uint16_t port;
	int gate; /* SINK begins when there is a byte to read from it; -1: at once */
	size_t total;
	uint64_t got;
	bool wrong;
	pthread_t thread;
};

static bool write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

static void *serve(void *arg)
{
	struct server *s = arg;
	uint8_t buf[60000];
	ssize_t n;
	int c;

	if (s->what == UDP_ECHO) {
		struct sockaddr_in from;
		socklen_t len = sizeof from;

		n = recvfrom(s->fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &len);
		assert(n >= 0);
		s->got = (uint64_t)n;
		/* as much as was asked for, the question in front */
		for (size_t i = (size_t)n; i < s->total; i++)
			buf[i] = guest_pattern(i);
		assert(sendto(s->fd, buf, s->total ? s->total : (size_t)n, 0, (struct sockaddr *)&from, len) > 0);
		return NULL;
	}
	c = accept(s->fd, NULL, NULL);
	assert(c >= 0);
	if (s->gate >= 0)
		assert(read(s->gate, buf, 1) == 1);
	for (size_t at = 0; s->what == SOURCE && at < s->total; at += (size_t)n) {
		n = (ssize_t)(s->total - at < sizeof buf ? s->total - at : sizeof buf);
		for (ssize_t i = 0; i < n; i++)
			buf[i] = guest_pattern(at + (size_t)i);
		if (!write_all(c, buf, (size_t)n))
			break;
	}
	while (s->what != SOURCE && (n = recv(c, buf, sizeof buf, 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			s->wrong |= buf[i] != guest_pattern(s->got + (size_t)i);
		s->got += (uint64_t)n;
		if (s->what == ECHO && !write_all(c, buf, (size_t)n))
			break;
	}
	close(c);
	return NULL;
}

static void server_start(struct server *s, enum what what, struct in_addr addr, uint16_t port, size_t total)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = addr, .sin_port = htons(port)};
	socklen_t len = sizeof a;

	s->what = what;
	s->total = total;
	s->got = 0;
	s->wrong = false;
	s->fd = socket(AF_INET, (what == UDP_ECHO ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	assert(s->fd >= 0);
	assert(!bind(s->fd, (struct sockaddr *)&a, sizeof a) && !getsockname(s->fd, (struct sockaddr *)&a, &len));
	assert(what == UDP_ECHO || !listen(s->fd, 4));
	s->port = ntohs(a.sin_port);
	assert(!pthread_create(&s->thread, NULL, serve, s));
}

static void server_join(struct server *s)
{
	pthread_join(s->thread, NULL);
	close(s->fd);
	assert(!s->wrong);
}

static const struct in_addr loopback = {.s_addr = 0x0100007f};

/* An address of this host that is not its loopback's; 0 when it has none. */
static struct in_addr own_address(void)
{
	struct in_addr found = {.s_addr = 0};
	struct ifaddrs *all = NULL;

	assert(!getifaddrs(&all));
	for (struct ifaddrs *a = all; a && !found.s_addr; a = a->ifa_next)
		if (a->ifa_addr && a->ifa_addr->sa_family == AF_INET && !(a->ifa_flags & IFF_LOOPBACK))
			found = ((struct sockaddr_in *)(void *)a->ifa_addr)->sin_addr;
	freeifaddrs(all);
	return found;
}

/* --- cases ------------------------------------------------------------------------------------- */

static bool has_offer(struct guest *g)
{
	return g->offer;
}

static bool has_ack(struct guest *g)
{
	return g->ack;
}

static bool has_pong(struct guest *g)
{
	return g->pong;
}

static bool has_udp(struct guest *g)
{
	return g->udp_frames > 0;
}

static void lease(void)
{
	const struct slirp_config c = {.hostname = "test"};

	up(&c, ALL);
	guest_dhcp(&m.g, 1, 0);
	assert(guest_wait(&m.g, has_offer, WAIT));
	assert(m.g.dhcp_ip == GUEST && m.g.dhcp_dns == NAMESERVER && m.g.dhcp_router == GATEWAY);
	guest_dhcp(&m.g, 3, GUEST);
	assert(guest_wait(&m.g, has_ack, WAIT));
	guest_ping(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_pong, WAIT));
	assert(stat_of("tx_frames") >= 4 && stat_of("rx_frames") >= 4 && !stat_of("rx_dropped"));
	stop();
}

static struct gtcp *conn;

static bool conn_over(struct guest *g)
{
	(void)g;
	return conn->reset || (conn->fin_in && (!conn->close || conn->snd_una == conn->snd_nxt));
}

/* Both ways at once, all bytes looked at. */
static void echo(uint64_t features, size_t total, unsigned pieces, unsigned posted)
{
	const struct slirp_config c = {.host_loopback = true};
	struct server s = {.gate = -1};

	start(&c, features);
	m.g.rx_posted = posted;
	m.g.pieces = pieces;
	guest_post(&m.g);
	guest_arp(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_arp, WAIT));
	server_start(&s, ECHO, loopback, 0, 0);
	conn = guest_connect(&m.g, GATEWAY, 40000, s.port);
	conn->want = total;
	conn->close = true;
	assert(guest_wait(&m.g, conn_over, WAIT));
	server_join(&s);
	assert(!conn->reset && !conn->wrong && conn->in == total && s.got == total);
	if (features & G_GUEST_TSO4)
		assert(m.g.gso_frames && m.g.last_gso_size == 1460);
	else
		assert(!m.g.gso_frames && m.g.largest <= 1514);
	if (!(features & G_GUEST_CSUM))
		assert(!m.g.valid_frames);
	assert(stat_of("rx_bytes") > total && stat_of("tx_bytes") > total && !stat_of("rx_dropped"));
	stop();
}

/* A guest that is slow to give buffers: everything waits, nothing is lost, whatever the order. */
static void download(uint64_t features, size_t total, unsigned posted, unsigned mss)
{
	const struct slirp_config c = {.host_loopback = true};
	struct server s = {.gate = -1};

	start(&c, features);
	m.g.rx_posted = posted;
	m.g.mss = mss;
	guest_post(&m.g);
	guest_arp(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_arp, WAIT));
	server_start(&s, SOURCE, loopback, 0, total);
	conn = guest_connect(&m.g, GATEWAY, 40001, s.port);
	conn->close = true;
	assert(guest_wait(&m.g, conn_over, WAIT));
	server_join(&s);
	assert(!conn->reset && !conn->wrong && conn->in == total);
	if (features & G_GUEST_TSO4)
		assert(m.g.last_gso_size == mss);
	assert(!stat_of("rx_dropped") && !stat_of("slirp_dropped"));
	/* less room than frames that came at once */
	assert(posted == G_ENTRIES || stat_of("rx_waits"));
	stop();
}

static bool window_closed(struct guest *g)
{
	(void)g;
	return conn->open && conn->sent > 300000 && conn->snd_una == conn->snd_nxt && conn->wnd < 1460;
}

/*
 * A server that does not read, until all buffers on the way are full, and then reads: the guest must be told of the room.
 * libslirp does so only when that is two of its segments, which is never if those are large.
 */
static void slow_server(void)
{
	const struct slirp_config c = {.host_loopback = true};
	struct server s;
	int gate[2];

	assert(!pipe(gate));
	s.gate = gate[0];
	up(&c, ALL);
	server_start(&s, SINK, loopback, 0, 0);
	conn = guest_connect(&m.g, GATEWAY, 40002, s.port);
	conn->want = 20 << 20;
	conn->close = true;
	assert(guest_wait(&m.g, window_closed, WAIT));
	assert(write(gate[1], "", 1) == 1);
	assert(guest_wait(&m.g, conn_over, WAIT));
	server_join(&s);
	assert(s.got == 20 << 20 && !conn->reset);
	close(gate[0]);
	close(gate[1]);
	stop();
}

static void forward_in(void)
{
	struct slirp_config c = {.nforwards = 1};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = loopback};
	uint8_t *buf = malloc(300000);
	struct err e = {.code = 0};
	struct net other;
	size_t got = 0;
	char spec[64];
	int fd, probe;
	socklen_t len = sizeof a;

	/* a port that is free now */
	probe = socket(AF_INET, SOCK_STREAM, 0);
	assert(probe >= 0 && !bind(probe, (struct sockaddr *)&a, sizeof a) && !getsockname(probe, (struct sockaddr *)&a, &len));
	close(probe);
	snprintf(spec, sizeof spec, "tcp::%u-:7", ntohs(a.sin_port));
	assert(!net_forward_parse(spec, &c.forward[0], &e));
	up(&c, ALL);
	m.g.listening = true;
	/* somebody else has it: named, with a way out */
	assert(slirp_net_new(&other, m.loop, &c, &e) == -EADDRINUSE && strstr(e.text, "in use") && strstr(e.text, spec + 5));
	snprintf(spec, sizeof spec, "net (pid %d)", (int)getpid());
	assert(strstr(e.text, spec));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert(fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a));
	for (size_t i = 0; i < 300000; i++)
		buf[i] = guest_pattern(i);
	for (size_t sent = 0; got < 300000;) {
		ssize_t n = sent < 300000 ? send(fd, buf + sent, 300000 - sent, MSG_DONTWAIT) : 0;
		uint8_t back[65536];

		sent += n > 0 ? (size_t)n : 0;
		n = recv(fd, back, sizeof back, MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++)
			assert(back[i] == guest_pattern(got + (size_t)i));
		got += n > 0 ? (size_t)n : 0;
		/* what the loop has to do by now */
		guest_wait(&m.g, NULL, 1);
	}
	assert(m.g.tcp[0].in == 300000 && !m.g.tcp[0].wrong && m.g.gso_frames);
	close(fd);
	free(buf);
	stop();
}

static void udp(void)
{
	const struct slirp_config c = {.host_loopback = true};
	uint8_t ask[100];
	struct server s = {.gate = -1};

	for (size_t i = 0; i < sizeof ask; i++)
		ask[i] = guest_pattern(i);
	up(&c, ALL);
	server_start(&s, UDP_ECHO, loopback, 0, 0);
	guest_udp(&m.g, GATEWAY, 5000, s.port, ask, sizeof ask);
	assert(guest_wait(&m.g, has_udp, WAIT));
	server_join(&s);
	assert(m.g.udp_bytes == sizeof ask && !memcmp(m.g.udp, ask, sizeof ask) && m.g.udp_from == GATEWAY);
	stop();
}

static bool has_large(struct guest *g)
{
	return g->udp_bytes >= 5008;
}

/* An answer that is larger than the guest's MTU comes as fragments. */
static void udp_large(void)
{
	const struct slirp_config c = {.host_loopback = true};
	struct server s = {.gate = -1};

	up(&c, ALL);
	server_start(&s, UDP_ECHO, loopback, 0, 5000);
	guest_udp(&m.g, GATEWAY, 5000, s.port, "\0\1\2\3", 4);
	assert(guest_wait(&m.g, has_large, WAIT));
	server_join(&s);
	assert(m.g.udp_fragments == 4 && m.g.largest == 14 + 1500 && m.g.udp_bytes == 5008);
	for (size_t i = 0; i < 5000; i++)
		assert(m.g.udp[8 + i] == guest_pattern(i));
	stop();
}

/* And one that the guest sends in pieces, the last first, arrives whole; pieces that overlap are none. */
static void udp_fragments(void)
{
	const struct slirp_config c = {.host_loopback = true};
	static uint8_t ask[5000];
	struct server s = {.gate = -1};

	for (size_t i = 0; i < sizeof ask; i++)
		ask[i] = guest_pattern(i);
	up(&c, ALL);
	server_start(&s, UDP_ECHO, loopback, 0, 0);
	m.g.cut = 1480;
	m.g.overlap = 8;
	guest_udp(&m.g, GATEWAY, 5000, s.port, ask, sizeof ask);
	assert(!guest_wait(&m.g, has_large, 20) && stat_of("slirp_fragments_dropped") > 0);
	m.g.overlap = 0;
	guest_udp(&m.g, GATEWAY, 5000, s.port, ask, sizeof ask);
	assert(guest_wait(&m.g, has_large, WAIT));
	server_join(&s);
	assert(s.got == sizeof ask && !memcmp(m.g.udp + 8, ask, sizeof ask));
	/* more datagrams at a time than there is room for: the oldest go, and all is as before */
	m.g.cut = 8;
	for (unsigned i = 0; i < 10; i++)
		guest_udp(&m.g, 0x0a000205 + i, 5000, 9, ask, 17);
	stop();
}

static bool has_3008(struct guest *g)
{
	return g->udp_bytes >= 3008;
}

/* A resolver on the host's loopback, as systemd-resolved is one. Port 53 takes privilege. */
static void dns(void)
{
	const struct slirp_config c = {.dns.s_addr = htonl(0x7f4d0035)};
	struct server s = {.gate = -1};
	int probe = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = c.dns, .sin_port = htons(53)};
	bool may = !bind(probe, (struct sockaddr *)&a, sizeof a);

	close(probe);
	if (!may)
		return;
	up(&c, ALL);
	server_start(&s, UDP_ECHO, c.dns, 53, 0);
	guest_udp(&m.g, NAMESERVER, 5300, 53, "question", 8);
	assert(guest_wait(&m.g, has_udp, WAIT));
	server_join(&s);
	assert(m.g.udp_from == NAMESERVER && m.g.udp_bytes == 8 && !memcmp(m.g.udp, "question", 8));
	/* an answer in fragments: whole, from the same address, its checksum right */
	server_start(&s, UDP_ECHO, c.dns, 53, 3000);
	guest_udp(&m.g, NAMESERVER, 5302, 53, "\0\1\2\3", 4);
	m.g.udp_bytes = 0;
	assert(guest_wait(&m.g, has_3008, WAIT));
	server_join(&s);
	assert(m.g.udp_from == NAMESERVER && m.g.udp_fragments == 3);
	assert(guest_sum(m.g.udp, 3008, guest_sum((const uint8_t[]){10, 0, 2, 3, 10, 0, 2, 15, 0, 17, 3008 >> 8, 3008 & 255}, 12, 0)) ==
		0xffff);
	/* and by TCP */
	server_start(&s, ECHO, c.dns, 53, 0);
	conn = guest_connect(&m.g, NAMESERVER, 5301, 53);
	conn->want = 5000;
	conn->close = true;
	assert(guest_wait(&m.g, conn_over, WAIT));
	server_join(&s);
	assert(!conn->reset && conn->in == 5000 && !conn->wrong);
	stop();
}

static bool conn_reset(struct guest *g)
{
	(void)g;
	return conn->reset || conn->open;
}

/* The host's loopback: by the gateway's address only when that was allowed, by its own name never. */
static void closed_loopback(void)
{
	static const uint32_t names[] = {0x7f000001, 0x7f123456, 0x00000000};
	struct slirp_config c = {.restricted = false};
	struct server s = {.gate = -1};
	int fd;

	server_start(&s, SINK, loopback, 0, 0);
	for (unsigned allowed = 0; allowed < 2; allowed++) {
		c.host_loopback = allowed;
		up(&c, ALL);
		for (unsigned i = 0; i < ARRAY_LEN(names); i++) {
			uint64_t before = stat_of("slirp_loopback_refused");

			conn = guest_connect(&m.g, names[i], (uint16_t)(41000 + i), s.port);
			assert(!guest_wait(&m.g, conn_reset, 20));
			assert(stat_of("slirp_loopback_refused") == before + 1);
			conn->used = false;
		}
		conn = guest_connect(&m.g, GATEWAY, 41010, s.port);
		guest_wait(&m.g, conn_reset, allowed ? WAIT : 200);
		assert(conn->open == allowed);
		stop();
	}
	/* the second time it was accepted; its end ends the server */
	server_join(&s);
	/* a guest that may not go anywhere */
	c.restricted = true;
	server_start(&s, SINK, loopback, 0, 0);
	up(&c, ALL);
	conn = guest_connect(&m.g, GATEWAY, 41020, s.port);
	assert(guest_wait(&m.g, conn_reset, WAIT) && conn->reset && !conn->open);
	stop();
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert(!connect(fd, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = loopback,
		.sin_port = htons(s.port)}, sizeof(struct sockaddr_in)));
	close(fd);
	server_join(&s);
}

/* A guest that opens more and more: so many and no more, and who has a connection keeps it. */
static void many_sockets(void)
{
	const struct slirp_config c = {.host_loopback = true, .sockets = 5};
	struct server s = {.gate = -1};

	up(&c, ALL);
	server_start(&s, ECHO, loopback, 0, 0);
	conn = guest_connect(&m.g, GATEWAY, 43000, s.port);
	assert(guest_wait(&m.g, conn_reset, WAIT) && conn->open);
	for (uint16_t i = 0; i < 50; i++)
		guest_udp(&m.g, GATEWAY, (uint16_t)(6000 + i), 9, "x", 1);
	assert(stat_of("sockets") == 5 && stat_of("slirp_dropped") == 46);
	conn->want = 10000;
	conn->close = true;
	assert(guest_wait(&m.g, conn_over, WAIT) && conn->in == 10000);
	server_join(&s);
	stop();
}

/* Not the loopback: by the host's own address, without leave. */
static void outside(void)
{
	const struct slirp_config c = {.restricted = false};
	struct in_addr own = own_address();
	struct server s = {.gate = -1};

	if (!own.s_addr)
		return;
	up(&c, ALL);
	server_start(&s, ECHO, own, 0, 0);
	conn = guest_connect(&m.g, ntohl(own.s_addr), 42000, s.port);
	conn->want = 100000;
	conn->close = true;
	assert(guest_wait(&m.g, conn_over, WAIT));
	server_join(&s);
	assert(!conn->reset && conn->in == 100000 && !conn->wrong);
	stop();
}

/* Headers that do not fit their frame are counted and go nowhere; the card works on. */
static void hostile_headers(void)
{
	const struct slirp_config c = {.restricted = false};
	static const struct net_hdr bad[] = {
		{.flags = NET_NEEDS_CSUM, .csum_start = 0, .csum_offset = 0},
		{.flags = NET_NEEDS_CSUM, .csum_start = 100, .csum_offset = 0},
		{.flags = NET_NEEDS_CSUM, .csum_start = 59, .csum_offset = 0},
		{.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 25},
		{.flags = NET_NEEDS_CSUM, .csum_start = 65535, .csum_offset = 65535},
		{.gso_type = NET_GSO_TCPV4, .gso_size = 1000},
		{.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16, .gso_type = NET_GSO_TCPV4, .gso_size = 0},
		{.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16, .gso_type = 3, .gso_size = 100},
		{.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16, .gso_type = NET_GSO_TCPV6, .gso_size = 100},
		{.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16, .gso_type = 0x80, .gso_size = 100},
	};
	uint8_t f[60] = {0}, raw[80] = {0};

	up(&c, ALL);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		guest_send(&m.g, &bad[i], f, sizeof f);
		guest_poll(&m.g);
		assert(stat_of("tx_bad_headers") == i + 1);
	}
	/* no whole header, no whole Ethernet header, and one that is */
	for (size_t n = 1; n <= 27; n++) {
		guest_send_raw(&m.g, raw, n);
		guest_poll(&m.g);
		assert(stat_of("tx_bad_headers") == ARRAY_LEN(bad) + (n < 26 ? n : 25));
	}
	m.g.arp = false;
	guest_arp(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_arp, WAIT));
	stop();
}

/* A stop in the middle of a stream, and a driver that starts anew; nothing popped is left behind. */
static void stop_and_go(void)
{
	const struct slirp_config c = {.host_loopback = true};
	struct server s = {.gate = -1};

	start(&c, ALL);
	m.g.rx_posted = 8;
	guest_post(&m.g);
	guest_arp(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_arp, WAIT));
	server_start(&s, SOURCE, loopback, 0, 1 << 20);
	conn = guest_connect(&m.g, GATEWAY, 40009, s.port);
	guest_wait(&m.g, NULL, 20);
	/* frames wait for room by now: 32 KiB does not fit 8 buffers. Taken and given back is as if it was not taken. */
	assert(stat_of("rx_waits"));
	for (unsigned i = 0; i < 2; i++) {
		m.dev->ops->stop(m.dev, i);
		assert(m.q[i].next_avail == m.q[i].used_idx);
	}
	for (unsigned i = 0; i < 2; i++) {
		uint16_t at = m.q[i].next_avail;

		virtq_stop(&m.q[i]);
		assert(!virtq_start(&m.q[i], at, NULL));
		assert(!m.dev->ops->start(m.dev, i, &m.q[i]));
	}
	m.g.arp = false;
	guest_arp(&m.g, GATEWAY);
	assert(guest_wait(&m.g, has_arp, WAIT));
	stop();
	server_join(&s);
}

int main(void)
{
	slow_server();
	lease();
	udp();
	udp_large();
	udp_fragments();
	dns();
	hostile_headers();
	echo(ALL, 3 << 20, 0, G_ENTRIES);
	echo(ALL, 1 << 20, 4, G_ENTRIES);
	echo(G_MRG_RXBUF, 300000, 2, G_ENTRIES);
	echo(0, 300000, 0, G_ENTRIES);
	echo(ALL & ~G_MRG_RXBUF, 1 << 20, 0, G_ENTRIES);
	echo(G_CSUM | G_HOST_TSO4, 1 << 20, 3, G_ENTRIES);
	download(ALL, 4 << 20, G_ENTRIES, 1460);
	download(ALL, 1 << 20, 12, 1460);
	download(ALL, 1 << 20, 12, 1000);
	download(G_MRG_RXBUF, 300000, 2, 1460);
	forward_in();
	closed_loopback();
	outside();
	many_sockets();
	stop_and_go();
	return 0;
}
