/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "peer.h"

/* ---- front-end ---- */

void peer_init(struct peer *p)
{
	struct err e;

	memset(p, 0, sizeof *p);
	p->sock = p->back = p->inflight_fd = -1;
	assert(!mem_init(&p->mem, PEER_RAM, &e));
	for (unsigned i = 0; i < TOY_QUEUES; i++) {
		struct peer_queue *q = &p->q[i];

		q->p = p;
		q->index = i;
		q->kick = eventfd(0, EFD_CLOEXEC); /* one that blocks: servers must live with it */
		q->call[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		q->call[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		q->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert(q->kick >= 0 && q->call[0] >= 0 && q->call[1] >= 0 && q->err >= 0);
	}
}

void peer_fini(struct peer *p)
{
	mem_fini(&p->mem);
	for (unsigned i = 0; i < TOY_QUEUES; i++) {
		close(p->q[i].kick);
		close(p->q[i].call[0]);
		close(p->q[i].call[1]);
		close(p->q[i].err);
	}
	if (p->sock >= 0)
		close(p->sock);
	if (p->back >= 0)
		close(p->back);
	if (p->inflight_fd >= 0)
		close(p->inflight_fd);
}

static void msg_make(struct vhost_msg *m, uint32_t request, uint32_t flags, const void *payload, uint32_t size)
{
	memset(m, 0, sizeof *m);
	m->h = (struct vhost_header){request, VHOST_VERSION | flags, size};
	assert(size <= sizeof m->p);
	if (size)
		memcpy(&m->p, payload, size);
}

uint64_t peer_say(struct peer *p, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfds)
{
	struct vhost_msg m;

	msg_make(&m, request, p->ack ? VHOST_NEED_REPLY : 0, payload, size);
	if (nfds)
		memcpy(m.fds, fds, nfds * sizeof *fds);
	m.nfds = nfds;
	assert(!vhost_send(p->sock, &m, PEER_WAIT));
	if (!p->ack)
		return 0;
	assert(vhost_recv(p->sock, &m, PEER_WAIT) == 1);
	assert(m.h.request == request && m.h.flags == (VHOST_VERSION | VHOST_REPLY) && m.h.size == 8 && !m.nfds);
	return m.p.u64;
}

void peer_ask(struct peer *p, uint32_t request, const void *payload, uint32_t size, struct vhost_msg *reply)
{
	struct vhost_msg m;

	msg_make(&m, request, 0, payload, size);
	assert(!vhost_send(p->sock, &m, PEER_WAIT));
	assert(vhost_recv(p->sock, reply, PEER_WAIT) == 1);
	assert(reply->h.request == request && reply->h.flags == (VHOST_VERSION | VHOST_REPLY));
}

void peer_state(struct peer *p, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_vring_state s = {index, num};

	assert(!peer_say(p, request, &s, sizeof s, NULL, 0));
}

void peer_fd(struct peer *p, uint32_t request, uint32_t index, int fd)
{
	uint64_t v = index | (fd < 0 ? VHOST_VRING_NOFD : 0);

	assert(!peer_say(p, request, &v, sizeof v, &fd, fd >= 0));
}

void peer_hello(struct peer *p, uint64_t features, uint64_t protocol)
{
	struct vhost_msg m;

	p->ack = false;
	peer_ask(p, VHOST_GET_FEATURES, NULL, 0, &m);
	assert(m.h.size == 8 && !(features & ~m.p.u64));
	assert(m.p.u64 & VHOST_F_PROTOCOL_FEATURES && m.p.u64 & VHOST_F_LOG_ALL && m.p.u64 & VIRTIO_F_EVENT_IDX);
	peer_ask(p, VHOST_GET_PROTOCOL_FEATURES, NULL, 0, &m);
	assert(m.h.size == 8 && !(protocol & ~m.p.u64));
	peer_say(p, VHOST_SET_PROTOCOL_FEATURES, &protocol, sizeof protocol, NULL, 0);
	p->ack = protocol & 1ull << VHOST_P_REPLY_ACK;
	assert(!peer_say(p, VHOST_SET_OWNER, NULL, 0, NULL, 0));
	assert(!peer_say(p, VHOST_SET_FEATURES, &features, sizeof features, NULL, 0));
}

/* Two regions, the second of which begins where the first ends */
void peer_memory(struct peer *p)
{
	struct vhost_memory t = {.nregions = 2,
		.region = {{0, PEER_RAM / 2, PEER_USER, 0},
			{PEER_RAM / 2, PEER_RAM / 2, PEER_USER + PEER_RAM / 2, PEER_RAM / 2}}};
	int fds[2] = {p->mem.fd, p->mem.fd};

	assert(!peer_say(p, VHOST_SET_MEM_TABLE, &t, 8 + 2 * sizeof t.region[0], fds, 2));
}

void peer_channel(struct peer *p)
{
	int pair[2];

	if (p->back >= 0)
		close(p->back);
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	p->back = pair[0];
	assert(!peer_say(p, VHOST_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1));
	close(pair[1]);
}

void peer_inflight_get(struct peer *p)
{
	struct vhost_inflight want = {.nqueues = TOY_QUEUES, .queue_size = TOY_SIZE};
	struct vhost_msg m;

	if (p->inflight_fd >= 0)
		close(p->inflight_fd);
	peer_ask(p, VHOST_GET_INFLIGHT_FD, &want, sizeof want, &m);
	assert(m.nfds == 1 && m.h.size == sizeof want);
	p->inflight_fd = m.fds[0];
	p->inflight = m.p.inflight;
	assert(p->inflight.mmap_size == TOY_QUEUES * virtq_inflight_size(TOY_SIZE));
	assert(p->inflight.nqueues == TOY_QUEUES && p->inflight.queue_size == TOY_SIZE);
}

void peer_inflight_set(struct peer *p)
{
	assert(!peer_say(p, VHOST_SET_INFLIGHT_FD, &p->inflight, sizeof p->inflight, &p->inflight_fd, 1));
}

void peer_ring_addr(struct peer *p, unsigned i, uint32_t flags, uint64_t log)
{
	const struct peer_queue *q = &p->q[i];
	struct vhost_vring_addr a = {.index = i, .flags = flags, .desc = PEER_USER + q->desc,
		.used = PEER_USER + q->used, .avail = PEER_USER + q->avail, .log = log};

	assert(!peer_say(p, VHOST_SET_VRING_ADDR, &a, sizeof a, NULL, 0));
}

/* shift moves the ring, so that the next one is elsewhere */
void peer_queue_new(struct peer *p, unsigned i, unsigned size, unsigned shift)
{
	struct peer_queue *q = &p->q[i];
	uint64_t base = 0x40000 * (i + 1) + shift * 0x1000ull;

	assert(size <= TOY_SIZE && shift < 16);
	q->size = size;
	q->desc = base;
	q->avail = base + 0x800;
	q->used = base + 0x1000;
	/* pages of queue 0 cross from one region into the other, one buffer of them in its middle */
	q->data = PEER_RAM / 2 - 0x1f800 + i * 0x40000ull;
	q->avail_idx = q->used_idx = 0;
	memset(q->out, 0, sizeof q->out);
	assert(!mem_zero(&p->mem, base, 0x2000));
}

void peer_queue_start(struct peer *p, unsigned i, uint16_t base)
{
	struct peer_queue *q = &p->q[i];

	peer_state(p, VHOST_SET_VRING_NUM, i, q->size);
	peer_state(p, VHOST_SET_VRING_BASE, i, base);
	peer_ring_addr(p, i, 0, 0);
	peer_fd(p, VHOST_SET_VRING_KICK, i, q->kick);
	peer_fd(p, VHOST_SET_VRING_CALL, i, q->call[0]);
	peer_fd(p, VHOST_SET_VRING_ERR, i, q->err);
	peer_state(p, VHOST_SET_VRING_ENABLE, i, 1);
}

uint16_t peer_queue_stop(struct peer *p, unsigned i)
{
	struct vhost_vring_state s = {i, 0};
	struct vhost_msg m;

	peer_ask(p, VHOST_GET_VRING_BASE, &s, sizeof s, &m);
	assert(m.h.size == sizeof s && m.p.state.index == i && m.p.state.num <= 0xffff);
	return (uint16_t)m.p.state.num;
}

/* ---- driver ---- */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static uint8_t pattern(uint32_t token, unsigned i)
{
	return (uint8_t)((token * 2654435761u >> 7) + i * 31);
}

bool peer_send(struct peer_queue *q, unsigned len)
{
	struct mem *mem = &q->p->mem;
	unsigned slot;
	uint8_t *data;
	uint16_t head;

	for (slot = 0; slot < q->size / 2 && q->out[slot]; slot++)
		;
	if (slot == q->size / 2)
		return false;
	assert(len <= TOY_MAX);
	q->out[slot] = true;
	q->token[slot] = q->next_token++ << 12 | (len - 1);
	data = mem_at(mem, q->data + slot * 0x2000, 0x2000);
	assert(data);
	for (unsigned i = 0; i < len; i++)
		data[i] = pattern(q->token[slot], i);
	memset(data + 0x1000, 0, len);
	assert(!mem_put(mem, q->desc + slot * 32,
		(struct desc[2]){{q->data + slot * 0x2000, len, 1, (uint16_t)(2 * slot + 1)},
			{q->data + slot * 0x2000 + 0x1000, len, 2, 0}}, 32));
	head = (uint16_t)(2 * slot);
	assert(!mem_put(mem, q->avail + 4 + 2 * (q->avail_idx & (q->size - 1)), &head, 2));
	q->avail_idx++;
	__atomic_store_n((uint16_t *)mem_at(mem, q->avail + 2, 2), q->avail_idx, __ATOMIC_SEQ_CST);
	q->sent++;
	return true;
}

void peer_kick(struct peer_queue *q)
{
	uint64_t one = 1;

	assert(write(q->kick, &one, sizeof one) == sizeof one);
}

unsigned peer_reap(struct peer_queue *q)
{
	struct mem *mem = &q->p->mem;
	unsigned n = 0;

	/* used_event: the next one, so that EVENT_IDX interrupts for each */
	assert(!mem_put(mem, q->avail + 4 + 2 * q->size, &q->used_idx, 2));
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (__atomic_load_n((uint16_t *)mem_at(mem, q->used + 2, 2), __ATOMIC_SEQ_CST) != q->used_idx) {
		uint32_t entry[2], len;
		unsigned slot;
		const uint8_t *in;

		assert(!mem_get(mem, q->used + 4 + 8 * (q->used_idx & (q->size - 1)), entry, 8));
		slot = entry[0] / 2;
		assert(!(entry[0] & 1) && slot < q->size / 2);
		assert(q->out[slot]); /* each once */
		q->out[slot] = false;
		len = (q->token[slot] & 0xfff) + 1;
		assert(entry[1] == len);
		in = mem_at(mem, q->data + slot * 0x2000 + 0x1000, len);
		for (unsigned i = 0; i < len; i++)
			assert(in[i] == pattern(q->token[slot], len - 1 - i));
		q->used_idx++;
		q->back++;
		n++;
		assert(!mem_put(mem, q->avail + 4 + 2 * q->size, &q->used_idx, 2));
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	return n;
}

void peer_wait(struct peer_queue *q)
{
	struct pollfd p[2] = {{.fd = q->call[0], .events = POLLIN}, {.fd = q->call[1], .events = POLLIN}};
	int n;

	while ((n = poll(p, 2, PEER_WAIT)) < 0 && errno == EINTR)
		;
	assert(n > 0);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t v;

		assert(!p[i].revents || read(p[i].fd, &v, sizeof v) == sizeof v || errno == EAGAIN);
	}
}

void peer_drain(struct peer_queue *q)
{
	while (q->back != q->sent)
		if (!peer_reap(q))
			peer_wait(q);
}

void peer_some(struct peer_queue *q, unsigned n)
{
	while (n) {
		bool sent = false;

		for (; n && peer_send(q, 1 + n * 37 % TOY_MAX); n--)
			sent = true;
		if (sent)
			peer_kick(q);
		if (!peer_reap(q))
			peer_wait(q);
	}
	peer_drain(q);
}

/* ---- the server ---- */

static struct host *ctl_host;

static void gone(void *arg, const struct err *why)
{
	struct host *h = arg;

	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(!h->toy.q[i].running);
	h->clean = !why;
	if (why) {
		h->why = *why;
		assert(*why->text && why->code);
	}
	sem_post(&h->gone);
}

static void ctl_ready(struct watch *w, uint32_t events)
{
	struct host *h = ctl_host;
	int sock;

	(void)events;
	if (read(w->fd, &sock, sizeof sock) != sizeof sock || sock < 0)
		loop_stop(h->loop);
	else
		assert(!vhost_server_again(h->server, sock));
}

static void setup(struct host *h, bool own, int sock)
{
	struct err e;

	toy_init(&h->toy, own);
	h->loop = loop_new();
	assert(h->loop && !sem_init(&h->gone, 0, 0));
	if (vhost_server_new(&h->server, h->loop, sock, &h->toy.dev, gone, h, &e)) {
		fprintf(stderr, "%s\n", e.text);
		abort();
	}
}

static void teardown(struct host *h)
{
	vhost_server_free(h->server);
	loop_free(h->loop);
	sem_destroy(&h->gone);
	toy_fini(&h->toy);
}

int peer_serve(struct host *h, bool own, int sock)
{
	setup(h, own, sock);
	return loop_run(h->loop);
}

static void *serve(void *arg)
{
	struct host *h = arg;
	struct watch ctl = {.fd = h->ctl[0], .ready = ctl_ready};

	ctl_host = h;
	assert(!loop_add(h->loop, &ctl, EPOLLIN));
	assert(!loop_run(h->loop));
	loop_del(h->loop, &ctl);
	return NULL;
}

static int connect_peer(struct peer *p)
{
	int pair[2];

	if (p->sock >= 0)
		close(p->sock);
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	p->sock = pair[0];
	p->ack = false;
	return pair[1];
}

void host_start(struct host *h, bool own, struct peer *p)
{
	memset(h, 0, sizeof *h);
	setup(h, own, connect_peer(p));
	assert(!pipe(h->ctl));
	assert(!pthread_create(&h->thread, NULL, serve, h));
}

void host_gone(struct host *h, const char *words)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += PEER_WAIT / 1000;
	assert(!sem_timedwait(&h->gone, &t));
	if (!words) {
		assert(h->clean);
	} else {
		if (h->clean || !strstr(h->why.text, words))
			fprintf(stderr, "it said \"%s\", not \"%s\"\n", h->clean ? "" : h->why.text, words);
		assert(!h->clean && strstr(h->why.text, words));
	}
}

void host_again(struct host *h, struct peer *p)
{
	int sock = connect_peer(p);

	assert(write(h->ctl[1], &sock, sizeof sock) == sizeof sock);
}

void host_stop(struct host *h)
{
	int end = -1;

	assert(write(h->ctl[1], &end, sizeof end) == sizeof end);
	assert(!pthread_join(h->thread, NULL));
	close(h->ctl[0]);
	close(h->ctl[1]);
	teardown(h);
}
