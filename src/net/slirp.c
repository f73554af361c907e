/* SPDX-License-Identifier: MIT */
/*
 * User-mode NAT by libslirp 4.7: the guest's TCP and UDP become this process's sockets. The network looks as QEMU's does:
 * 10.0.2.0/24 with gateway and host 10.0.2.2, DNS 10.0.2.3, the guest 10.0.2.15 (DHCP); fec0::/64 (RA).
 *
 * Large segments. libslirp ends TCP connections, so what its segments look like is nobody's business but the guest's.
 * It takes frames of 64 KiB. What it sends is limited by its own idea of the MTU, from which it has an MSS of 16 KiB
 * here, and for connections to the guest (forwards) also by the MSS in the guest's SYN, so that is made larger on its
 * way down; for the guest's own connections libslirp 4.7 forgets it. The segments that come up say in their virtio header
 * that they are to be taken as so many of the size that was asked for: the guest sees what a card with large receive
 * offload gives. For a driver without TSO they are cut here. The size is the smallest MSS that any SYN had: one for all
 * connections is enough, since for the kernel that ends the connection it matters little, and who forwards the segment to
 * a place with a smaller MTU has sent that MSS. So 1500 stays the MTU, every guest works, and a stream costs as little
 * as with jumbo frames. UDP beyond the MTU is cut into IP fragments. Not more than 16 KiB: libslirp tells the guest of
 * room in its window when that is two segments, and has 64 KiB at most.
 *
 * Checksums. libslirp verifies them all, so partial ones are completed. What comes up was computed by libslirp and has
 * seen no wire: the guest is told so.
 *
 * DNS. libslirp looks for the host's server in /etc/resolv.conf again and again, which is not there in a sandbox. So its
 * own translation is off; we read the file once and exchange the addresses ourselves: what the guest sends to
 * 10.0.2.3 port 53 goes to the host's server, and what comes from there to the same guest port comes from 10.0.2.3.
 *
 * Fragments of the guest are put together here (reass-int.h says why).
 *
 * The host's loopback. libslirp closes the way over the gateway's address only; a guest that sends to 127.0.0.1, 0.0.0.0
 * or ::1 itself would be connected. Such frames end here, also with host_loopback.
 *
 * Waiting. libslirp wants a poll set that is built again before each wait. The set is diffed against an epoll instance of
 * its own, which the loop watches. While frames wait for room in the guest, sockets are not read: TCP is held back, no
 * byte is lost. What a batch of the guest's own frames causes (answers, acknowledgements) is queued, up to a limit.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "net/net.h"
#include "net/packet-int.h"
#include "net/port-int.h"
#include "net/reass-int.h"

enum { FDS = 8192 /* highest descriptor */, EVENTS = 64, QUEUE_BYTES = 8 << 20, DNS_PORT = 53, DHCP_PORT = 67 };
enum { MTU_DEFAULT = 1500, SLIRP_MSS = 16384, MSS_MIN = 88 };

#define NS_PER_MS UINT64_C(1000000)

struct fd_state {
	uint16_t have, happened; /* EPOLL* */
	uint8_t wanted;          /* SLIRP_POLL_* */
	bool open;               /* a connection's; not a forward's port */
	bool reads;              /* it was wanted for reading before: connected, or listening */
	uint32_t seen, at;       /* generation; place in set[] */
};

struct queued {
	struct queued *next;
	struct net_hdr h;
	size_t len;
	uint8_t frame[];
};

struct slirp_net {
	struct net *net;
	struct loop *loop;
	Slirp *slirp;
	struct watch ep;     /* of sockets */
	struct timer timer;  /* libslirp's TCP */
	struct timer ra;     /* router advertisements */
	struct fd_state fd[FDS];
	int set[FDS];        /* descriptors that are in ep */
	unsigned nset, nopen, max_open;
	uint32_t seen;
	bool holding;        /* ep is not watched, as queue has frames */
	struct queued *head, **tail;
	size_t queued;
	unsigned takes;      /* NET_GUEST_* */
	unsigned mtu;
	uint16_t mss[2];     /* smallest of a SYN; IPv4, IPv6 */
	bool loopback;
	struct in_addr dns;  /* 0: nobody */
	struct reass reass;
	uint8_t dns_port[2][65536 / 8]; /* TCP, UDP: guest ports that talk to 10.0.2.3 */
	uint8_t frame[NET_FRAME_MAX + 64] __attribute__((aligned(64)));
	struct {
		uint64_t dropped, loopback, delayed, fragments, cut, errors;
	} n;
};

static const uint32_t NETWORK = 0x0a000200, GATEWAY = 0x0a000202, NAMESERVER = 0x0a000203, GUEST = 0x0a00020f;

/* --- frames up --------------------------------------------------------------------------------- */

static void enqueue(struct slirp_net *s, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len)
{
	struct queued *q = s->queued + len <= QUEUE_BYTES ? malloc(sizeof *q + len) : NULL;
	size_t at = 0;

	if (!q) {
		s->n.dropped++;
		return;
	}
	q->next = NULL;
	q->h = *h;
	q->len = len;
	for (int i = 0; i < niov; i++) {
		memcpy(q->frame + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	*s->tail = q;
	s->tail = &q->next;
	s->queued += sizeof *q + len;
	s->n.delayed++;
}

static void deliver(struct slirp_net *s, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len)
{
	if (s->head || !s->net->receive(s->net->arg, h, iov, niov, len))
		enqueue(s, h, iov, niov, len);
}

/*
 * A UDP datagram over IPv4 (nobody on the way may cut IPv6, and its senders know) that is larger than the MTU. The first
 * fragment has the UDP header, from head too, as its checksum may have been changed.
 */
static void deliver_fragments(struct slirp_net *s, uint8_t *head, const struct packet *p, const uint8_t *frame)
{
	const struct net_hdr none = {.flags = 0};
	size_t ihl = p->l4 - NET_ETH, most = (s->mtu - ihl) & ~(size_t)7, udp = p->payload - p->l4, len = p->end - p->l4;

	for (size_t off = 0; off < len; off += most) {
		size_t n = len - off < most ? len - off : most, from_head = off ? 0 : udp;
		struct iovec iov[2] = {{head, p->l4 + from_head},
			{(void *)(uintptr_t)(frame + p->l4 + off + from_head), n - from_head}};

		packet_be16_put(head + NET_ETH + 2, (unsigned)(ihl + n));
		packet_be16_put(head + NET_ETH + 6, (unsigned)(off / 8) | (off + n < len ? IP_MF : 0));
		packet_ip4_sum(head + NET_ETH, ihl);
		s->n.fragments++;
		deliver(s, &none, iov, 2, p->l4 + n);
	}
}

/* A TCP segment for a driver that takes none that is larger than its MSS. */
static void deliver_segments(struct slirp_net *s, uint8_t *head, const struct packet *p, const uint8_t *data, size_t mss)
{
	const struct net_hdr h = {.flags = s->takes & NET_GUEST_CSUM ? NET_DATA_VALID : 0};
	size_t len = p->end - p->payload, l4_header = p->payload - p->l4;
	uint8_t *tcp = head + p->l4, last_only = tcp[13] & (TH_FIN | TH_PUSH);
	uint32_t seq = ntohl(get_u32(tcp + 4));

	for (size_t off = 0; off < len; off += mss) {
		size_t n = len - off < mss ? len - off : mss;
		struct iovec iov[2] = {{head, p->payload}, {(void *)(uintptr_t)(data + off), n}};

		packet_set_length(head, p->payload + n);
		put_u32(tcp + 4, htonl(seq + (uint32_t)off));
		tcp[13] = (uint8_t)((tcp[13] & ~(TH_FIN | TH_PUSH)) | (off + n == len ? last_only : 0));
		/* the sum over two parts: the first one, the header, is even */
		put_u16(tcp + 16, packet_pseudo(head, p, l4_header + n));
		put_u16(tcp + 16, (uint16_t)~packet_sum(data + off, n, packet_sum(tcp, l4_header, 0)));
		s->n.cut++;
		deliver(s, &h, iov, 2, p->payload + n);
	}
}

static bool is_dns_port(const struct slirp_net *s, bool udp, unsigned port)
{
	return s->dns_port[udp][port / 8] & 1u << port % 8;
}

/* libslirp's callback: a frame for the guest. Headers are changed in a copy, as the frame is not ours. */
static ssize_t send_packet(const void *buf, size_t len, void *opaque)
{
	struct slirp_net *s = opaque;
	struct net_hdr h = {.flags = s->takes & NET_GUEST_CSUM ? NET_DATA_VALID : 0};
	uint8_t head[PACKET_HEADERS];
	const uint8_t *frame = buf;
	struct iovec iov[2];
	struct packet p;
	size_t headers, mss;

	if (packet_parse(&p, frame, len) != PACKET_IP) {
		h.flags = 0;
		iov[0] = (struct iovec){(void *)(uintptr_t)frame, len};
		deliver(s, &h, iov, 1, len);
		return (ssize_t)len;
	}
	headers = p.payload;
	memcpy(head, frame, headers);
	if (p.version == 4 && (p.proto == IPPROTO_TCP || p.proto == IPPROTO_UDP) &&
		packet_be16(head + p.l4) == DNS_PORT && get_u32(head + NET_ETH + 12) == s->dns.s_addr && s->dns.s_addr &&
		is_dns_port(s, p.proto == IPPROTO_UDP, packet_be16(head + p.l4 + 2)))
		packet_ip4_readdress(head, &p, 12, htonl(NAMESERVER));
	mss = s->mss[p.version == 6];
	if (p.proto == IPPROTO_TCP && p.end - headers > mss) {
		if (!(s->takes & (p.version == 4 ? NET_GUEST_TSO4 : NET_GUEST_TSO6))) {
			deliver_segments(s, head, &p, frame + headers, mss);
			return (ssize_t)len;
		}
		h.flags = NET_NEEDS_CSUM;
		h.gso_type = p.version == 4 ? NET_GSO_TCPV4 : NET_GSO_TCPV6;
		h.gso_size = (uint16_t)mss;
		h.hdr_len = (uint16_t)headers;
		h.csum_start = (uint16_t)p.l4;
		h.csum_offset = 16;
		put_u16(head + p.l4 + 16, packet_pseudo(head, &p, p.end - p.l4));
	} else if (p.version == 4 && p.end - NET_ETH > s->mtu && p.proto == IPPROTO_UDP) {
		deliver_fragments(s, head, &p, frame);
		return (ssize_t)len;
	}
	iov[0] = (struct iovec){head, headers};
	iov[1] = (struct iovec){(void *)(uintptr_t)(frame + headers), len - headers};
	deliver(s, &h, iov, 2, len);
	return (ssize_t)len;
}

/* --- waiting ----------------------------------------------------------------------------------- */

static int add_poll(int fd, int events, void *opaque)
{
	struct slirp_net *s = opaque;
	struct epoll_event ev = {.data.fd = fd};
	struct fd_state *f;

	if (fd < 0 || fd >= FDS)
		return -1;
	f = &s->fd[fd];
	/* no room for another: accept() would fail, and be tried again for ever */
	if (!f->open && s->nopen >= s->max_open)
		return -1;
	ev.events = (events & SLIRP_POLL_IN ? EPOLLIN : 0u) | (events & SLIRP_POLL_OUT ? EPOLLOUT : 0u) |
		(events & SLIRP_POLL_PRI ? EPOLLPRI : 0u);
	f->seen = s->seen;
	f->wanted = (uint8_t)events;
	f->reads |= events & SLIRP_POLL_IN;
	if (f->have == (ev.events | EPOLLHUP))
		return fd;
	if (f->have) {
		if (epoll_ctl(s->ep.fd, EPOLL_CTL_MOD, fd, &ev))
			return -1;
	} else {
		if (epoll_ctl(s->ep.fd, EPOLL_CTL_ADD, fd, &ev))
			return -1;
		f->at = s->nset;
		s->set[s->nset++] = fd;
	}
	/* with HUP, which is always reported, so that it is never 0 */
	f->have = (uint16_t)(ev.events | EPOLLHUP);
	return fd;
}

static void set_remove(struct slirp_net *s, int fd)
{
	struct fd_state *f = &s->fd[fd];
	int last;

	f->happened = 0;
	if (!f->have)
		return;
	epoll_ctl(s->ep.fd, EPOLL_CTL_DEL, fd, NULL);
	f->have = 0;
	last = s->set[--s->nset];
	s->set[f->at] = last;
	s->fd[last].at = f->at;
}

/* libslirp's state has changed: what does it wait for now? */
static void update(struct slirp_net *s)
{
	uint32_t ms = UINT32_MAX;
	uint64_t at;

	s->seen++;
	slirp_pollfds_fill(s->slirp, &ms, add_poll, s);
	for (unsigned i = 0; i < s->nset;)
		if (s->fd[s->set[i]].seen != s->seen)
			set_remove(s, s->set[i]);
		else
			i++;
	if ((s->head != NULL) != s->holding) {
		s->holding = !s->holding;
		loop_mod(s->loop, &s->ep, s->holding ? 0 : EPOLLIN);
	}
	/* a second is what it says when there is nothing to time; an earlier deadline than necessary is harmless */
	if (ms >= 1000)
		return;
	at = now_ns() + ms * NS_PER_MS;
	if (!s->timer.deadline_ns || s->timer.deadline_ns > at)
		timer_set(s->loop, &s->timer, at);
}

static int get_revents(int idx, void *opaque)
{
	struct slirp_net *s = opaque;
	const struct fd_state *f;
	unsigned ev;

	if (idx < 0 || idx >= FDS)
		return 0;
	f = &s->fd[idx];
	ev = f->happened;
	/*
	 * An error makes libslirp read, also when its buffer is full and it did not want to; then it asserts. The error is
	 * found by the write that it waits for, too.
	 */
	if (f->reads && !(f->wanted & SLIRP_POLL_IN))
		return ev ? SLIRP_POLL_OUT : 0;
	return (ev & EPOLLIN ? SLIRP_POLL_IN : 0) | (ev & EPOLLOUT ? SLIRP_POLL_OUT : 0) |
		(ev & EPOLLPRI ? SLIRP_POLL_PRI : 0) | (ev & EPOLLERR ? SLIRP_POLL_ERR : 0) |
		(ev & EPOLLHUP ? SLIRP_POLL_HUP : 0);
}

static void sockets_ready(struct watch *w, uint32_t events)
{
	struct slirp_net *s = CONTAINER_OF(w, struct slirp_net, ep);
	struct epoll_event ev[EVENTS];
	int n;

	(void)events;
	if (s->holding)
		return;
	n = epoll_wait(w->fd, ev, EVENTS, 0);
	for (int i = 0; i < n; i++)
		s->fd[ev[i].data.fd].happened = (uint16_t)ev[i].events;
	slirp_pollfds_poll(s->slirp, n < 0, get_revents, s);
	for (int i = 0; i < n; i++)
		s->fd[ev[i].data.fd].happened = 0;
	s->net->received(s->net->arg);
	update(s);
}

static void timer_fire(struct timer *t)
{
	struct slirp_net *s = CONTAINER_OF(t, struct slirp_net, timer);

	/* no sockets, just the time */
	slirp_pollfds_poll(s->slirp, 0, get_revents, s);
	s->net->received(s->net->arg);
	update(s);
}

static void ra_fire(struct timer *t)
{
	struct slirp_net *s = CONTAINER_OF(t, struct slirp_net, ra);

	slirp_handle_timer(s->slirp, SLIRP_TIMER_RA, NULL);
	s->net->received(s->net->arg);
	update(s);
}

static int64_t clock_get_ns(void *opaque)
{
	(void)opaque;
	return (int64_t)now_ns();
}

static void *timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct slirp_net *s = opaque;

	(void)cb_opaque;
	assert(id == SLIRP_TIMER_RA);
	return &s->ra;
}

static void timer_free(void *timer, void *opaque)
{
	struct slirp_net *s = opaque;

	timer_set(s->loop, timer, 0);
}

static void timer_mod(void *timer, int64_t ms, void *opaque)
{
	struct slirp_net *s = opaque;

	timer_set(s->loop, timer, ms > 0 ? (uint64_t)ms * NS_PER_MS : 1);
}

static void register_poll_fd(int fd, void *opaque)
{
	struct slirp_net *s = opaque;

	if (fd < 0 || fd >= FDS || s->fd[fd].open)
		return;
	s->fd[fd].open = true;
	s->nopen++;
}

static void unregister_poll_fd(int fd, void *opaque)
{
	struct slirp_net *s = opaque;

	if (fd < 0 || fd >= FDS)
		return;
	set_remove(s, fd);
	s->fd[fd].reads = false;
	s->nopen -= s->fd[fd].open;
	s->fd[fd].open = false;
}

static void notify(void *opaque)
{
	(void)opaque;
}

static void guest_error(const char *msg, void *opaque)
{
	static struct log_rate rate;
	struct slirp_net *s = opaque;

	s->n.errors++;
	if (log_rate_ok(&rate))
		log_debug("slirp", "guest: %s", msg);
}

static void init_completed(Slirp *slirp, void *opaque)
{
	struct slirp_net *s = opaque;

	s->slirp = slirp;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet,
	.guest_error = guest_error,
	.clock_get_ns = clock_get_ns,
	.timer_free = timer_free,
	.timer_mod = timer_mod,
	.register_poll_fd = register_poll_fd,
	.unregister_poll_fd = unregister_poll_fd,
	.notify = notify,
	.init_completed = init_completed,
	.timer_new_opaque = timer_new,
};

/* --- frames down ------------------------------------------------------------------------------- */

/* The host's own loopback by its own name, and what the kernel takes for it. */
static bool to_loopback(const uint8_t *frame, const struct packet *p)
{
	static const uint8_t zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *dst = frame + NET_ETH + (p->version == 4 ? 16 : 24);

	if (p->version == 4)
		return dst[0] == 127 || dst[0] == 0;
	/* ::, ::1, and IPv4 in IPv6's clothes */
	return !memcmp(dst, zero, 12) || !memcmp(dst, mapped, 12);
}

static void raise_mss(struct slirp_net *s, uint8_t *frame, const struct packet *p)
{
	uint8_t *mss = packet_mss(frame, p);
	uint16_t *least = &s->mss[p->version == 6];
	uint16_t to = SLIRP_MSS, old;

	if (!mss)
		return;
	old = packet_be16(mss);
	if (!old || old >= to)
		return;
	/* below that there is no IPv4 (RFC 791: 68 bytes), and headers would cost more than a guest could want */
	old = old < MSS_MIN ? MSS_MIN : old;
	*least = old < *least ? old : *least;
	packet_set16(frame, p, (size_t)(mss - frame), to);
}

static void rewrite_dns(struct slirp_net *s, uint8_t *frame, const struct packet *p)
{
	unsigned port = packet_be16(frame + p->l4), bit = 1u << port % 8;
	uint8_t *byte = &s->dns_port[p->proto == IPPROTO_UDP][port / 8];
	uint32_t to = get_u32(frame + NET_ETH + 16);

	if (packet_be16(frame + p->l4 + 2) != DNS_PORT)
		return;
	if (to == htonl(NAMESERVER)) {
		*byte |= (uint8_t)bit;
		packet_ip4_readdress(frame, p, 16, s->dns.s_addr);
	} else if (to == s->dns.s_addr) {
		*byte &= (uint8_t)~bit;
	}
}

/* May make libslirp open a socket. It would take all descriptors that this process may have, also vhost-user's. */
static bool opens(const uint8_t *frame, const struct packet *p)
{
	if (p->proto == IPPROTO_TCP)
		return p->syn;
	return p->proto == IPPROTO_ICMP || (p->proto == IPPROTO_UDP && packet_be16(frame + p->l4 + 2) != DHCP_PORT);
}

/* A whole frame in memory of ours. */
static void down(struct slirp_net *s, const struct net_hdr *h, uint8_t *frame, size_t len)
{
	bool l4;
	struct packet p;

	switch (packet_parse(&p, frame, len)) {
	case PACKET_ARP:
		slirp_input(s->slirp, frame, (int)len);
		return;
	case PACKET_IP:
		break;
	default:
		s->n.dropped++;
		return;
	}
	if (p.fragment) {
		frame = reass_add(&s->reass, frame, &p, now_ns(), &len);
		if (!frame || packet_parse(&p, frame, len) != PACKET_IP || p.fragment)
			return;
	} else if (h->flags & NET_NEEDS_CSUM) {
		packet_checksum(frame, &p, h->csum_start, h->csum_offset, len);
	}
	if (to_loopback(frame, &p)) {
		s->n.loopback++;
		return;
	}
	if (s->nopen >= s->max_open && opens(frame, &p)) {
		s->n.dropped++;
		return;
	}
	l4 = p.proto == IPPROTO_TCP || p.proto == IPPROTO_UDP;
	if (p.proto == IPPROTO_TCP && p.syn)
		raise_mss(s, frame, &p);
	if (p.version == 4 && l4 && s->dns.s_addr)
		rewrite_dns(s, frame, &p);
	slirp_input(s->slirp, frame, (int)len);
}

static void slirp_send(void *n, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len)
{
	struct slirp_net *s = n;
	/* 2 bytes further, so that IP's words are aligned */
	uint8_t *frame = s->frame + 2;
	size_t at = 0;

	for (int i = 0; i < niov && at < len; i++) {
		size_t k = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;

		memcpy(frame + at, iov[i].iov_base, k);
		at += k;
	}
	/* from here on nobody else writes it; what is checked is what libslirp gets */
	if (h->gso_type)
		packet_set_length(frame, at);
	down(s, h, frame, at);
}

static void slirp_flush(void *n)
{
	update(n);
}

static void slirp_room(void *n)
{
	struct slirp_net *s = n;

	while (s->head) {
		struct queued *q = s->head;
		struct iovec iov = {q->frame, q->len};

		if (!s->net->receive(s->net->arg, &q->h, &iov, 1, q->len))
			return;
		s->head = q->next;
		if (!s->head)
			s->tail = &s->head;
		s->queued -= sizeof *q + q->len;
		free(q);
	}
	if (s->holding)
		update(s);
}

static void slirp_guest(void *n, unsigned takes)
{
	struct slirp_net *s = n;

	s->takes = takes;
	s->mss[0] = (uint16_t)(s->mtu - 40);
	s->mss[1] = (uint16_t)(s->mtu - 60);
}

static void slirp_free(void *n)
{
	struct slirp_net *s = n;

	if (!s)
		return;
	if (s->slirp)
		slirp_cleanup(s->slirp);
	loop_del(s->loop, &s->ep);
	timer_set(s->loop, &s->timer, 0);
	timer_set(s->loop, &s->ra, 0);
	if (s->ep.fd >= 0)
		close(s->ep.fd);
	while (s->head) {
		struct queued *q = s->head;

		s->head = q->next;
		free(q);
	}
	free(s);
}

static size_t slirp_stats(void *n, char *buf, size_t len)
{
	struct slirp_net *s = n;
	int k = snprintf(buf, len, "sockets %u\nslirp_dropped %llu\nslirp_delayed %llu\nslirp_loopback_refused %llu\n"
		"slirp_fragments_dropped %llu\nslirp_guest_errors %llu\n", s->nopen, (unsigned long long)s->n.dropped, (unsigned long long)s->n.delayed,
		(unsigned long long)s->n.loopback, (unsigned long long)s->reass.dropped,
		(unsigned long long)s->n.errors);

	return k < 0 ? 0 : (size_t)k < len ? (size_t)k : len;
}

static const struct net_ops slirp_ops = {
	.name = "user",
	.send = slirp_send,
	.flush = slirp_flush,
	.room = slirp_room,
	.guest = slirp_guest,
	.free = slirp_free,
	.stats = slirp_stats,
	.offloads = true,
};

/* --- set-up ------------------------------------------------------------------------------------ */

/* The first IPv4 server of the host's resolver. */
static struct in_addr host_dns(void)
{
	struct in_addr a = {.s_addr = 0};
	char text[8192], *save = NULL;
	int fd = open("/etc/resolv.conf", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char addr[64];

		if (sscanf(line, " nameserver %63s", addr) == 1 && inet_pton(AF_INET, addr, &a) == 1)
			return a;
	}
	a.s_addr = 0;
	return a;
}

static int forward_failed(const struct net_forward *f, int code, struct err *e)
{
	char text[64], holder[80];

	net_forward_format(f, text);
	switch (code) {
	case EADDRINUSE:
		if (!port_holder(f->host_port, f->udp, holder, sizeof holder))
			snprintf(holder, sizeof holder, "another program");
		return err_set(e, code, "forward %s: port %u of the host is in use by %s; choose another host port, or end that "
			"program ('ss -l%cnp sport = :%u' shows it)", text, f->host_port, holder, f->udp ? 'u' : 't', f->host_port);
	case EACCES:
		return err_set(e, code, "forward %s: port %u of the host is for privileged programs; choose one from 1024 on",
			text, f->host_port);
	case EADDRNOTAVAIL:
		return err_set(e, code, "forward %s: this host does not have that address ('ip address' lists them); 127.0.0.1 "
			"and 0.0.0.0 (all) always work", text);
	}
	return err_set(e, code, "forward %s: %s", text, strerror(code));
}

/* glib's and so libslirp's messages: for people who look for trouble. A fatal one still ends the process. */
static void on_glib_log(const gchar *domain, GLogLevelFlags level, const gchar *msg, gpointer data)
{
	static struct log_rate rate;

	(void)data;
	if (level & G_LOG_FLAG_FATAL)
		log_err("%s: %s", domain ? domain : "glib", msg);
	else if (log_rate_ok(&rate))
		log_debug("slirp", "%s: %s", domain ? domain : "glib", msg);
}

/* Until there is a card. */
static bool no_receive(void *arg, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len)
{
	(void)arg;
	(void)h;
	(void)iov;
	(void)niov;
	(void)len;
	return true;
}

static void no_received(void *arg)
{
	(void)arg;
}

int slirp_net_new(struct net *net, struct loop *l, const struct slirp_config *c, struct err *e)
{
	SlirpConfig cfg = {
		.version = 4,
		.restricted = c->restricted,
		.in_enabled = true,
		.vnetwork.s_addr = htonl(NETWORK),
		.vnetmask.s_addr = htonl(0xffffff00),
		.vhost.s_addr = htonl(GATEWAY),
		.in6_enabled = true,
		.vprefix_len = 64,
		.vhostname = c->hostname,
		.vdhcp_start.s_addr = htonl(GUEST),
		.vnameserver.s_addr = htonl(NAMESERVER),
		.if_mtu = NET_MTU_MAX,
		.if_mru = SLIRP_MSS + 40,
		.disable_host_loopback = !c->host_loopback,
		.disable_dns = true,
	};
	struct slirp_net *s = calloc(1, sizeof *s);
	int rc;

	if (!s)
		return err_set(e, ENOMEM, "no memory for user-mode networking");
	s->net = net;
	s->loop = l;
	s->tail = &s->head;
	s->max_open = c->sockets ? c->sockets : SLIRP_SOCKETS;
	s->mtu = c->mtu ? c->mtu : MTU_DEFAULT;
	slirp_guest(s, 0);
	s->timer.fire = timer_fire;
	s->ra.fire = ra_fire;
	s->ep.ready = sockets_ready;
	s->ep.fd = epoll_create1(EPOLL_CLOEXEC);
	if (s->ep.fd < 0 || loop_add(l, &s->ep, EPOLLIN)) {
		rc = err_set(e, errno, "user-mode networking: %s", strerror(errno));
		goto fail;
	}
	s->dns = c->dns.s_addr ? c->dns : host_dns();
	if (!s->dns.s_addr)
		log_warn("no nameserver with an IPv4 address in /etc/resolv.conf: the guest's 10.0.2.3 does not answer");
	inet_pton(AF_INET6, "fec0::", &cfg.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
	inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
	g_log_set_default_handler(on_glib_log, NULL);
	/* set before a callback can come: the first router advertisement is sent from within slirp_new() */
	net->ops = &slirp_ops;
	net->n = s;
	net->receive = no_receive;
	net->received = no_received;
	s->slirp = slirp_new(&cfg, &callbacks, s);
	if (!s->slirp) {
		rc = err_set(e, EINVAL, "libslirp refuses this network");
		goto fail;
	}
	for (unsigned i = 0; i < c->nforwards; i++) {
		const struct net_forward *f = &c->forward[i];

		errno = 0;
		if (slirp_add_hostfwd(s->slirp, f->udp, f->host, f->host_port, f->guest, f->guest_port)) {
			rc = forward_failed(f, errno ? errno : EINVAL, e);
			goto fail;
		}
	}
	update(s);
	return 0;
fail:
	slirp_free(s);
	net->ops = NULL;
	net->n = NULL;
	return rc;
}
