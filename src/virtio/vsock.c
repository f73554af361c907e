/* SPDX-License-Identifier: MIT */
/*
 * virtio-vsock: Virtual I/O Device 1.2, 5.10; stream sockets. vsock.h has the host's side.
 *
 * A connection is a row of a table and a client's socket. Nothing is queued for the guest: what it is to be told is a few
 * bits per connection, and data are read from the client straight into a buffer of the guest, when there is one, when
 * the client has some and the guest's credit allows it. What the guest sends goes straight to the client; what that does
 * not take is kept in a buffer of VSOCK_BUFFER bytes, which is all the credit a guest has (5.10.6.3): who sends more is
 * reset. So a client that does not read, or a guest that gives no buffers, stops its own connections and nothing else.
 *
 * Ends. Who closes says SHUTDOWN for both directions; the other answers RST when it has read all. A client that is gone
 * is a SHUTDOWN; a row is free again when its RST has been sent or has come.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/virtq.h"
#include "virtio/vsock.h"

enum { Q_IN, Q_OUT, Q_EVENT, NQUEUES };
enum { QUEUE_SIZE = 128, IOVS = QUEUE_SIZE + MEM_REGIONS, TURN = 4 * QUEUE_SIZE };
enum { CID_HOST = 2, TYPE_STREAM = 1, FIRST_PORT = 1 << 30, RESETS = 32, LINE = 32 };
enum { SHUT_IN = 1, SHUT_OUT = 2, SHUT_BOTH = 3 }; /* flags of SHUTDOWN: the sender takes, or sends, no more */

enum op { OP_INVALID, OP_REQUEST, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct packet) == 44, "virtio_vsock_hdr");

enum state {
	FREE,
	COMMAND,    /* the client's first line */
	WAITING,    /* ACCEPT: for the guest */
	CONNECTING, /* CONNECT: for the guest's RESPONSE */
	OPEN,
	DRAINING,   /* the guest has gone; the client gets what is in buf */
	DYING,      /* the client has gone; the guest gets a RST */
};

/* What the guest is to be told, in this order */
enum { SAY_REQUEST = 1, SAY_RESPONSE = 2, SAY_CREDIT = 4, SAY_SHUTDOWN = 8, SAY_RST = 16 };

struct conn {
	struct vsock *v;
	struct watch watch; /* fd -1: closed */
	enum state state;
	uint64_t since;     /* order among those who wait */
	uint32_t host_port, guest_port;
	uint8_t say, shut;  /* shut: flags of our SHUTDOWN */
	uint8_t guest_shut; /* of the guest's */
	bool readable;      /* the client may have data, and is not watched for them */
	bool eof;           /* it will send no more */
	bool hup;           /* nor read */
	/* to the guest: what it lets us send; all modulo 2^32 */
	uint32_t peer_alloc, peer_fwd, sent;
	/* from the guest: what was passed on, and how much of it the guest was told */
	uint32_t fwd, fwd_told;
	uint32_t off, len; /* of what is in buf */
	uint32_t events;   /* that we wait for */
	char line[LINE];
	unsigned line_len;
	uint8_t buf[VSOCK_BUFFER];
};

struct vsock {
	struct virtio_dev dev;
	struct loop *loop;
	uint64_t cid;
	struct watch listener;
	struct timer again; /* others have had their turn */
	struct virtq *vq[NQUEUES];
	struct vsock_counters n;
	uint64_t waits;
	uint32_t next_port;
	unsigned next; /* whose turn it is */
	struct packet reset[RESETS]; /* for packets that belong to no connection */
	unsigned nresets;
	bool tell_restart; /* what an earlier process had open is lost: TRANSPORT_RESET is due (5.10.6.7) */
	struct conn conn[VSOCK_CONNECTIONS];
	struct iovec iov[IOVS];
};

static struct vsock *vsock_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct vsock, dev);
}

/* ---- clients ---- */

static void client_close(struct conn *c)
{
	if (c->watch.fd < 0)
		return;
	loop_del(c->v->loop, &c->watch);
	close(c->watch.fd);
	c->watch.fd = -1;
	c->len = 0;
	c->readable = false;
	c->hup = c->eof = true;
}

static void conn_free(struct conn *c)
{
	client_close(c);
	c->state = FREE;
	c->say = 0;
	if (!c->v->listener.slot && loop_add(c->v->loop, &c->v->listener, EPOLLIN)) {
		static struct log_rate rate;

		if (log_rate_ok(&rate))
			log_warn("vsock: cannot wait for clients");
	}
}

/* Over, by our will: the guest is told. */
static void conn_reset(struct conn *c)
{
	client_close(c);
	c->v->n.resets++;
	c->state = DYING;
	c->say = SAY_RST;
}

static void conn_watch(struct conn *c)
{
	uint32_t events = 0;

	if (c->watch.fd < 0 || c->hup)
		return;
	if (c->state == COMMAND || (c->state == OPEN && !c->readable && !c->eof))
		events |= EPOLLIN;
	if (c->len)
		events |= EPOLLOUT;
	if (events != c->events && !loop_mod(c->v->loop, &c->watch, events))
		c->events = events;
}

/* The client is gone: no more events, which would come for ever. */
static void client_hup(struct conn *c)
{
	loop_del(c->v->loop, &c->watch);
	c->hup = true;
	c->fwd += c->len; /* nobody will read it */
	c->len = 0;
	if (c->state == OPEN && !c->eof && !(c->guest_shut & SHUT_IN)) {
		c->readable = true; /* what it wrote before goes to the guest */
	} else if (c->state == OPEN) {
		c->eof = true;
		c->shut = SHUT_BOTH;
		c->say |= SAY_SHUTDOWN;
	} else if (c->state == CONNECTING) {
		conn_reset(c);
	} else {
		conn_free(c);
	}
}

/* Bytes passed on; all of them count when there is nobody to take them. */
static size_t client_send(struct conn *c, struct iovec *iov, size_t niov, size_t len)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = niov};
	ssize_t n;

	if (c->hup)
		return len;
	do
		n = sendmsg(c->watch.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return (size_t)n;
	if (errno == EAGAIN)
		return 0;
	client_hup(c);
	return len;
}

static void conn_flush(struct conn *c)
{
	while (c->len) {
		size_t n = min_u64(c->len, VSOCK_BUFFER - c->off);
		struct iovec iov = {.iov_base = c->buf + c->off, .iov_len = n};

		n = client_send(c, &iov, 1, n);
		if (!c->len || !n) /* gone, or full */
			break;
		c->off = (c->off + (uint32_t)n) % VSOCK_BUFFER;
		c->len -= (uint32_t)n;
		c->fwd += (uint32_t)n;
	}
	/* before the guest has used up what it knows of */
	if (c->state == OPEN && (uint32_t)(c->fwd - c->fwd_told) >= VSOCK_BUFFER / 2)
		c->say |= SAY_CREDIT;
	if (c->len)
		return;
	if (c->state == DRAINING) {
		conn_free(c);
	} else if (c->state == OPEN && c->guest_shut == SHUT_BOTH) {
		client_close(c);
		c->state = DYING;
		c->say = SAY_RST;
	} else if (c->state == OPEN && c->guest_shut & SHUT_OUT && !c->hup) {
		shutdown(c->watch.fd, SHUT_WR);
	}
}

/* A word for the client, into the buffer, which is empty. */
static void conn_ok(struct conn *c, uint32_t port)
{
	int n = snprintf((char *)c->buf, LINE, "OK %u\n", port);

	c->off = 0;
	c->len = (uint32_t)n;
	/* takes room, though the guest did not send it: as if it had, and counted from before its first byte */
	c->fwd = c->fwd_told = -(uint32_t)n;
}

static struct conn *conn_find(struct vsock *v, uint32_t host_port, uint32_t guest_port)
{
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		struct conn *c = &v->conn[i];

		if ((c->state == CONNECTING || c->state == OPEN || c->state == DYING) && c->host_port == host_port &&
			c->guest_port == guest_port)
			return c;
	}
	return NULL;
}

static uint32_t free_port(struct vsock *v, uint32_t guest_port)
{
	do
		v->next_port = v->next_port == UINT32_MAX - 1 ? FIRST_PORT : v->next_port + 1;
	while (conn_find(v, v->next_port, guest_port));
	return v->next_port;
}

static void command(struct conn *c)
{
	struct vsock *v = c->v;
	unsigned long port = 0;
	bool out = !strncmp(c->line, "CONNECT ", 8), in = !strncmp(c->line, "ACCEPT ", 7);
	const char *s = c->line + (out ? 8 : 7);
	char *end;

	if ((!out && !in) || *s < '0' || *s > '9' || (port = strtoul(s, &end, 10)) >= UINT32_MAX || *end) {
		conn_free(c);
		return;
	}
	if (in) {
		c->state = WAITING;
		c->host_port = (uint32_t)port;
		c->since = v->waits++;
	} else if (!v->vq[Q_IN] || !v->vq[Q_OUT]) {
		conn_free(c); /* no driver, nobody to connect to */
	} else {
		c->state = CONNECTING;
		c->guest_port = (uint32_t)port;
		c->host_port = free_port(v, c->guest_port);
		c->say = SAY_REQUEST;
	}
}

/* One byte at a time: what is behind the line is the guest's. */
static void client_line(struct conn *c)
{
	while (c->state == COMMAND) {
		char *p = &c->line[c->line_len];
		ssize_t n = recv(c->watch.fd, p, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0 || (*p != '\n' && ++c->line_len == LINE - 1)) {
			conn_free(c);
		} else if (*p == '\n') {
			*p = '\0';
			command(c);
		}
	}
}

/* ---- into the guest ---- */

static uint32_t credit(const struct conn *c)
{
	uint32_t out = c->sent - c->peer_fwd;

	return out < c->peer_alloc ? c->peer_alloc - out : 0;
}

static bool has_data(const struct conn *c)
{
	return c->state == OPEN && c->readable && !(c->guest_shut & SHUT_IN) && credit(c);
}

static void packet_put(struct vsock *v, struct virtq_req *r, struct packet *p, size_t data)
{
	p->src_cid = CID_HOST;
	p->dst_cid = v->cid;
	p->type = TYPE_STREAM;
	p->len = (uint32_t)data;
	virtq_put(r, 0, p, sizeof *p);
	virtq_done(r, (uint32_t)(sizeof *p + data));
}

static void conn_say(struct conn *c, struct virtq_req *r)
{
	static const enum op ops[] = {OP_REQUEST, OP_RESPONSE, OP_CREDIT_UPDATE, OP_SHUTDOWN, OP_RST};
	unsigned bit = (unsigned)__builtin_ctz(c->say);
	struct packet p = {.src_port = c->host_port, .dst_port = c->guest_port, .op = ops[bit], .buf_alloc = VSOCK_BUFFER,
		.fwd_cnt = c->fwd};

	if (p.op == OP_SHUTDOWN)
		p.flags = c->shut;
	c->say &= (uint8_t)~(1u << bit);
	c->fwd_told = c->fwd;
	packet_put(c->v, r, &p, 0);
	if (p.op == OP_RST)
		conn_free(c);
}

/* True when the buffer was used. */
static bool conn_data(struct conn *c, struct virtq_req *r)
{
	struct packet p = {.src_port = c->host_port, .dst_port = c->guest_port, .op = OP_RW, .buf_alloc = VSOCK_BUFFER,
		.fwd_cnt = c->fwd};
	struct iovec iov[IOVS];
	size_t len = min_u64(min_u64(r->in_len - sizeof p, credit(c)), VSOCK_BUFFER);
	struct msghdr m = {.msg_iov = iov};
	ssize_t n;
	int k = virtq_iov(r, true, sizeof p, len, iov, IOVS);

	assert(k >= 0);
	m.msg_iovlen = (size_t)k;
	n = len ? recvmsg(c->watch.fd, &m, MSG_DONTWAIT) : -1;
	if (n > 0) {
		c->sent += (uint32_t)n;
		c->v->n.in += (uint64_t)n;
		c->fwd_told = c->fwd;
		packet_put(c->v, r, &p, (size_t)n);
		return true;
	}
	c->readable = false;
	if (len && (n == 0 || (errno != EAGAIN && errno != EINTR))) {
		c->eof = true;
		c->shut = c->hup || n < 0 ? SHUT_BOTH : SHUT_OUT;
		c->say |= SAY_SHUTDOWN;
	}
	return false;
}

static struct conn *conn_next(struct vsock *v)
{
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		struct conn *c = &v->conn[(v->next + i) % VSOCK_CONNECTIONS];

		if (c->say || has_data(c)) {
			v->next = (v->next + i + 1) % VSOCK_CONNECTIONS;
			return c;
		}
	}
	return NULL;
}

/* Says whether there may be more to do. */
static bool pump(struct vsock *v)
{
	struct virtq *vq = v->vq[Q_IN];
	struct virtq_req r = {.iov = v->iov, .iov_max = IOVS};
	struct conn *c = NULL;

	unsigned n;

	for (n = 0; vq && n < TURN; n++) {
		if (!v->nresets && !(c = conn_next(v)))
			break;
		if (virtq_pop(vq, &r) <= 0)
			break;
		if (r.in_len <= sizeof(struct packet))
			virtq_done(&r, 0); /* no room for data */
		else if (v->nresets)
			packet_put(v, &r, &v->reset[--v->nresets], 0);
		else if (c->say)
			conn_say(c, &r);
		else if (!conn_data(c, &r))
			virtq_unpop(vq, &r);
	}
	if (vq)
		virtq_notify(vq);
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
		conn_watch(&v->conn[i]);
	return n == TURN;
}

/* ---- out of the guest ---- */

static void refuse(struct vsock *v, const struct packet *p)
{
	if (p->op == OP_RST || v->nresets == RESETS)
		return; /* never answered (5.10.6.4); or more than there is room for: it will give up */
	v->reset[v->nresets++] = (struct packet){.src_port = p->dst_port, .dst_port = p->src_port, .op = OP_RST};
}

/* The guest connects: to the client that has waited longest. */
static void request(struct vsock *v, const struct packet *p)
{
	struct conn *c = NULL;

	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		struct conn *w = &v->conn[i];

		if (w->state == WAITING && w->host_port == p->dst_port && (!c || w->since < c->since))
			c = w;
	}
	if (!c) {
		v->n.refused++;
		refuse(v, p);
		return;
	}
	c->state = OPEN;
	c->guest_port = p->src_port;
	c->peer_alloc = p->buf_alloc;
	c->peer_fwd = p->fwd_cnt;
	c->say = SAY_RESPONSE;
	v->n.opened++;
	conn_ok(c, p->src_port);
	conn_flush(c);
}

static void data(struct conn *c, const struct virtq_req *r, uint32_t len)
{
	struct iovec iov[IOVS];
	size_t sent = 0;
	int k;

	/* more than it may, or after it has said that there is no more */
	if (len > VSOCK_BUFFER - c->len || c->guest_shut & SHUT_OUT) {
		conn_reset(c);
		return;
	}
	c->v->n.out += len;
	if (!c->len) {
		k = virtq_iov(r, false, sizeof(struct packet), len, iov, IOVS);
		assert(k >= 0);
		sent = len ? client_send(c, iov, (size_t)k, len) : 0;
		c->fwd += (uint32_t)sent;
		c->off = 0;
	}
	while (sent < len) {
		uint32_t at = (c->off + c->len) % VSOCK_BUFFER;
		size_t n = min_u64(len - sent, VSOCK_BUFFER - at);

		assert(c->len + n <= VSOCK_BUFFER);
		virtq_get(r, sizeof(struct packet) + sent, c->buf + at, n);
		c->len += (uint32_t)n;
		sent += n;
	}
	conn_flush(c);
}

static void packet(struct vsock *v, const struct virtq_req *r)
{
	struct conn *c;
	struct packet p;

	if (virtq_get(r, 0, &p, sizeof p) < sizeof p || p.src_cid != v->cid)
		return;
	c = p.dst_cid == CID_HOST && p.type == TYPE_STREAM ? conn_find(v, p.dst_port, p.src_port) : NULL;
	if (!c) {
		if (p.op == OP_REQUEST && p.dst_cid == CID_HOST && p.type == TYPE_STREAM)
			request(v, &p);
		else
			refuse(v, &p);
		return;
	}
	if (p.op == OP_RST) {
		if (c->state == OPEN && c->len) {
			c->state = DRAINING;
			c->say = 0;
		} else {
			conn_free(c);
		}
		return;
	}
	if (c->state == DYING)
		return; /* its RST is under way */
	c->peer_alloc = p.buf_alloc;
	c->peer_fwd = p.fwd_cnt;
	if (c->state == CONNECTING) {
		if (p.op != OP_RESPONSE) {
			conn_reset(c);
			return;
		}
		c->state = OPEN;
		v->n.opened++;
		conn_ok(c, c->host_port);
		conn_flush(c);
		return;
	}
	switch (p.op) {
	case OP_RW:
		if (p.len > r->out_len - sizeof p)
			conn_reset(c);
		else
			data(c, r, p.len);
		break;
	case OP_SHUTDOWN:
		c->guest_shut |= p.flags & SHUT_BOTH;
		conn_flush(c);
		break;
	case OP_CREDIT_UPDATE:
		break;
	case OP_CREDIT_REQUEST:
		c->say |= SAY_CREDIT;
		break;
	default:
		conn_reset(c);
	}
}

/* One event, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET (0), once the driver has given a buffer for it. */
static void tell_restart(struct vsock *v)
{
	struct virtq_req r = {.iov = v->iov, .iov_max = IOVS};
	const uint8_t event[4] = {0};

	if (!v->tell_restart || !v->vq[Q_EVENT] || virtq_pop(v->vq[Q_EVENT], &r) <= 0)
		return;
	v->tell_restart = false;
	virtq_done(&r, (uint32_t)virtq_put(&r, 0, event, sizeof event));
	virtq_notify(v->vq[Q_EVENT]);
}

static void vsock_kick(struct virtio_dev *d, unsigned q)
{
	struct vsock *v = vsock_of(d);
	struct virtq *vq = v->vq[Q_OUT];
	struct virtq_req r = {.iov = v->iov, .iov_max = IOVS};

	unsigned n = 0;
	bool more = v->nresets && pump(v);

	tell_restart(v);
	/* when there is no room for refusals any more, the rest waits until the guest gives buffers */
	for (; vq && n < TURN && v->nresets < RESETS && virtq_pop(vq, &r) > 0; n++) {
		packet(v, &r);
		virtq_done(&r, 0);
	}
	if (vq)
		virtq_notify(vq);
	more |= pump(v);
	if (more || n == TURN)
		timer_set(v->loop, &v->again, now_ns());
	(void)q;
}

static void again(struct timer *t)
{
	vsock_kick(&CONTAINER_OF(t, struct vsock, again)->dev, Q_IN);
}

/* ---- the loop's side ---- */

static void client_ready(struct watch *w, uint32_t events)
{
	struct conn *c = CONTAINER_OF(w, struct conn, watch);

	if (c->state == COMMAND) {
		client_line(c);
		if (c->state == COMMAND && events & (EPOLLHUP | EPOLLERR))
			conn_free(c);
	} else {
		if (events & EPOLLIN)
			c->readable = true;
		if (events & (EPOLLHUP | EPOLLERR))
			client_hup(c);
		else if (events & EPOLLOUT)
			conn_flush(c);
	}
	vsock_kick(&c->v->dev, Q_IN);
}

static void accepted(struct watch *w, uint32_t events)
{
	struct vsock *v = CONTAINER_OF(w, struct vsock, listener);
	struct conn *c = NULL;
	int fd;

	(void)events;
	for (unsigned i = 0; i < VSOCK_CONNECTIONS && !c; i++)
		c = v->conn[i].state == FREE ? &v->conn[i] : NULL;
	if (!c) { /* the others wait in the socket's queue */
		loop_del(v->loop, w);
		return;
	}
	fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	memset(c, 0, offsetof(struct conn, buf));
	c->v = v;
	c->watch.fd = fd;
	c->watch.ready = client_ready;
	c->state = COMMAND;
	c->events = EPOLLIN;
	v->n.accepted++;
	if (loop_add(v->loop, &c->watch, EPOLLIN))
		conn_free(c);
}

/* ---- device ---- */

static int vsock_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	struct vsock *v = vsock_of(d);

	v->vq[q] = vq;
	if (q == Q_EVENT && v->tell_restart)
		timer_set(v->loop, &v->again, now_ns());
	return 0;
}

/* Without queues there are no connections; who waits for the guest goes on. */
static void vsock_stop(struct virtio_dev *d, unsigned q)
{
	struct vsock *v = vsock_of(d);

	v->vq[q] = NULL;
	v->nresets = 0;
	for (unsigned i = 0; i < VSOCK_CONNECTIONS && q != Q_EVENT; i++) {
		struct conn *c = &v->conn[i];

		if (c->state == OPEN && c->len) {
			c->state = DRAINING;
			c->say = 0;
		} else if (c->state == OPEN || c->state == CONNECTING || c->state == DYING) {
			conn_free(c);
		}
	}
}

static void vsock_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (const uint8_t *)&vsock_of(d)->cid + off, len);
}

static const struct virtio_ops vsock_ops = {
	.name = "vsock",
	.id = VIRTIO_ID_VSOCK,
	.config_read = vsock_config_read,
	.start = vsock_start,
	.stop = vsock_stop,
	.kick = vsock_kick,
};

int vsock_new(struct virtio_dev **d, const struct vsock_config *cfg, struct err *e)
{
	struct vsock *v;
	int rc;

	if (cfg->cid <= CID_HOST || cfg->cid >= UINT32_MAX) {
		close(cfg->listen_fd);
		return err_set(e, EINVAL, "the guest's CID must be 3 to %u", UINT32_MAX - 1);
	}
	v = xcalloc(1, sizeof *v);
	v->dev = (struct virtio_dev){.ops = &vsock_ops, .nqueues = NQUEUES, .queue_size = QUEUE_SIZE, .config_len = 8};
	v->loop = cfg->loop;
	v->cid = cfg->cid;
	v->tell_restart = cfg->restart;
	v->next_port = FIRST_PORT;
	v->again.fire = again;
	v->listener = (struct watch){.fd = cfg->listen_fd, .ready = accepted};
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++) {
		v->conn[i].v = v;
		v->conn[i].watch.fd = -1;
	}
	rc = loop_add(v->loop, &v->listener, EPOLLIN);
	if (rc) {
		vsock_free(&v->dev);
		return err_set(e, -rc, "cannot wait for clients: %s", strerror(-rc));
	}
	*d = &v->dev;
	return 0;
}

void vsock_free(struct virtio_dev *d)
{
	struct vsock *v;

	if (!d)
		return;
	v = vsock_of(d);
	for (unsigned i = 0; i < VSOCK_CONNECTIONS; i++)
		client_close(&v->conn[i]);
	timer_set(v->loop, &v->again, 0);
	loop_del(v->loop, &v->listener);
	close(v->listener.fd);
	free(v);
}

const struct vsock_counters *vsock_counters(const struct virtio_dev *d)
{
	return &((const struct vsock *)(const void *)d)->n;
}
