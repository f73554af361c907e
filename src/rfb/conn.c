/* SPDX-License-Identifier: MIT */
/*
 * A connection's life. Nothing here waits: bytes come into a buffer of fixed size, out of which whole messages are taken, and go
 * out of one that holds one update and some answers. An update is made when there is something to show, the viewer has
 * asked (a request, or continuous updates), the socket has taken all of the one before, and the window has room (pace-int.h);
 * so a viewer that does not read costs that much memory and no time. Who makes us answer without reading answers is
 * not listened to until it reads.
 *
 * An update goes at once when the last is longer ago than a sixtieth of a second, else then.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/log.h"
#include "rfb/server-int.h"

enum { READ_BUDGET = 64 << 10, ANSWERS_MAX = 64 << 10, NOTSENT = 64 << 10, MSG_UPDATE = 0, UPDATE_HEADER = 4 };
static const uint64_t HANDSHAKE_NS = 20000000000u, LAST_WORDS_NS = 1000000000u, FRAME_NS = 16600000u;

static size_t unsent(const struct rfb_conn *c)
{
	return c->out.len - c->out_off;
}

bool conn_busy(const struct rfb_conn *c)
{
	return c->view && c->view->busy;
}

const char *conn_encoding_name(const struct rfb_conn *c)
{
	return c->enc.id == RFB_TIGHT_PNG ? "TightPNG" : c->enc.ops ? c->enc.ops->name : "Raw";
}

/* --- the end -------------------------------------------------------------------------------------- */

static const char *security(const struct rfb_conn *c)
{
	return c->auth ? rfb_auth_name(c->auth) : "no security";
}

static void say_goodbye(struct rfb_conn *c, enum conn_state was, const char *why)
{
	static struct log_rate rate;

	if (was == CONN_NORMAL)
		log_info("viewer %llu (%s) has gone: %s; %s, %s, %llu updates, %llu bytes, %llu s", (unsigned long long)c->number,
			c->peer, why, security(c), conn_encoding_name(c), (unsigned long long)c->updates,
			(unsigned long long)c->bytes_out, (unsigned long long)((now_ns() - c->began_ns) / 1000000000u));
	else if (log_rate_ok(&rate))
		log_info("connection %llu (%s) ended: %s", (unsigned long long)c->number, c->peer, why);
}

void conn_close(struct rfb_conn *c, const char *fmt, ...)
{
	enum conn_state was = c->state;
	char why[160];
	va_list ap;

	if (was == CONN_CLOSED)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	c->state = CONN_CLOSED;
	conn_release(c);
	say_goodbye(c, was, why);
	loop_del(c->s->env.loop, &c->w);
	timer_set(c->s->env.loop, &c->deadline, 0);
	timer_set(c->s->env.loop, &c->again, 0);
	if (c->st)
		c->st->ops->close(c->st);
	rfb_auth_free(c->auth);
	share_close(c);
	c->st = NULL;
	c->auth = NULL;
	buf_fini(&c->out);
	buf_fini(&c->cut);
	pixman_region32_fini(&c->asked);
	server_gone(c->s, c);
}

void conn_free(struct rfb_conn *c)
{
	assert(c->state == CONN_CLOSED);
	free(c);
}

/* --- bytes out -------------------------------------------------------------------------------------- */

/* A client that floods us with questions and reads no answers, or whose next message has to wait. */
static bool deaf(const struct rfb_conn *c)
{
	return c->hold || c->answers > ANSWERS_MAX || c->state == CONN_FLUSH;
}

static void watch_update(struct rfb_conn *c)
{
	uint32_t events = deaf(c) ? 0 : EPOLLIN;

	if (unsent(c) || c->st->ops->wants_write(c->st))
		events |= EPOLLOUT;
	if (events == c->events)
		return;
	c->events = events;
	if (loop_mod(c->s->env.loop, &c->w, events))
		conn_close(c, "it cannot be watched");
}

static void tls_begin(struct rfb_conn *c);

void conn_flush(struct rfb_conn *c)
{
	if (c->state == CONN_CLOSED)
		return;
	if (c->out.failed) {
		conn_close(c, "no memory");
		return;
	}
	while (unsent(c)) {
		ssize_t k = c->st->ops->write(c->st, c->out.p + c->out_off, unsent(c));

		if (k == -EAGAIN)
			break;
		if (k <= 0) {
			conn_close(c, "%s", k ? strerror((int)-k) : "it takes nothing");
			return;
		}
		c->out_off += (size_t)k;
		c->bytes_out += (uint64_t)k;
		c->s->n.bytes_out += (uint64_t)k;
	}
	if (!unsent(c)) {
		buf_clear(&c->out);
		c->out_off = 0;
		c->answers = 0;
		if (c->state == CONN_FLUSH)
			tls_begin(c);
		if (c->state == CONN_CLOSING) {
			conn_close(c, "%s", c->why);
			return;
		}
	}
	if (c->state != CONN_CLOSED)
		watch_update(c);
}

void conn_answered(struct rfb_conn *c, size_t before)
{
	if (c->state != CONN_CLOSED && c->out.len > before)
		c->answers += c->out.len - before;
}

/* --- updates ------------------------------------------------------------------------------------------ */

static bool size_differs(const struct rfb_conn *c)
{
	const struct display_picture *pic = display_picture(c->s->env.display);

	return (pic->w != c->view->copy.w || pic->h != c->view->copy.h) && c->enc.can & (CAN_SIZE | CAN_LAYOUT);
}

bool conn_idle(const struct rfb_conn *c)
{
	return c->state == CONN_NORMAL && !unsent(c) && !size_differs(c) && !(c->due & DUE_LAYOUT);
}

static void put_header(struct buf *b, unsigned nrects)
{
	buf_be16(b, MSG_UPDATE);
	buf_be16(b, (uint16_t)nrects);
}

static void request_used(struct rfb_conn *c)
{
	pixman_region32_clear(&c->asked);
	c->asked_any = false;
}

static void send_size(struct rfb_conn *c)
{
	const struct display_picture *pic = display_picture(c->s->env.display);
	struct rect *a = &c->continuous_area;
	bool all = a->w == c->view->copy.w && a->h == c->view->copy.h;

	if (!share_resize(c, pic->w, pic->h)) {
		conn_close(c, "no memory for %u x %u", pic->w, pic->h);
		return;
	}
	*a = all ? (struct rect){0, 0, pic->w, pic->h} : rect_clip(*a, pic->w, pic->h);
	put_header(&c->out, 1);
	conn_layout_put(c, &c->out);
	request_used(c);
	conn_flush(c);
}

bool conn_may_send(struct rfb_conn *c)
{
	uint64_t now = now_ns();

	if (c->enc.can & CAN_FENCE && !pace_open(&c->pace)) {
		pace_blocked(&c->pace);
		return false; /* an answer to a fence comes back here */
	}
	if (now >= c->next_ns)
		return true;
	timer_set(c->s->env.loop, &c->again, c->next_ns);
	return false;
}

static void send_fence(struct rfb_conn *c)
{
	uint32_t number;

	if (!(c->enc.can & CAN_FENCE) || !pace_fence(&c->pace, now_ns(), &number))
		return;
	conn_fence_put(&c->out, number);
}

/* Nothing but pseudo-rectangles */
static void send_pseudo(struct rfb_conn *c)
{
	/* a layout is no answer to a request for pixels: these follow at once */
	bool layout = c->due & DUE_LAYOUT;
	size_t at = c->out.len;
	unsigned n;

	put_header(&c->out, 0);
	n = conn_pseudo_put(c, false, &c->out);
	if (!n) {
		c->out.len = at;
		return;
	}
	if (!c->out.failed)
		c->out.p[at + 3] = (uint8_t)n;
	if (!layout)
		request_used(c);
	conn_flush(c);
}

void conn_pump(struct rfb_conn *c)
{
	struct rfb_conn *m[RFB_CLIENTS];
	pixman_region32_t area;
	bool began = false;
	unsigned n;

	if (c->state != CONN_NORMAL || conn_busy(c) || unsent(c))
		return;
	if (c->clip_due) {
		c->clip_due = false;
		rfb_clip_offer(&c->clip, c->s->clip_text, c->s->clip_len, &c->out);
		conn_flush(c);
		if (c->state != CONN_NORMAL || unsent(c))
			return;
	}
	if (!c->asked_any && !c->continuous)
		return;
	if (size_differs(c)) {
		send_size(c);
		if (c->state != CONN_NORMAL || unsent(c) || !c->continuous)
			return;
	} else if (c->due & DUE_LAYOUT) {
		send_pseudo(c);
		if (c->state != CONN_NORMAL || unsent(c))
			return;
	}
	if (!share_settle(c))
		return;
	pixman_region32_init(&area);
	conn_area(c, &area);
	if (view_wants(c->view, &area)) {
		if (!conn_may_send(c) || !share_ready(c, &area)) {
			pixman_region32_fini(&area);
			return;
		}
		began = view_begin(c->view, &area);
	}
	pixman_region32_fini(&area);
	if (began) {
		n = share_members(c->view, m);
		for (unsigned i = 0; i < n; i++) {
			m[i]->next_ns = now_ns() + FRAME_NS;
			request_used(m[i]);
		}
	} else if (c->view->failed) {
		conn_close(c, "no memory");
	} else {
		share_idle(c);
		if (c->due)
			send_pseudo(c);
	}
}

/* The update is encoded; c->out is empty but for answers to what came meanwhile. last: nobody else needs v->out */
static void deliver(struct rfb_conn *c, struct rfb_view *v, bool last)
{
	struct buf tail = {0};
	size_t len = v->out.len;
	unsigned n = v->nrects + conn_pseudo_put(c, true, &tail);

	v->out.p[2] = (uint8_t)(n >> 8);
	v->out.p[3] = (uint8_t)n;
	if (last && !c->out.len) {
		struct buf x = c->out;

		c->out = v->out;
		v->out = x;
	} else {
		buf_put(&c->out, v->out.p, v->out.len);
	}
	buf_put(&c->out, tail.p, tail.len);
	buf_fini(&tail);
	c->updates++;
	c->s->n.updates++;
	pace_sent(&c->pace, len);
	send_fence(c);
	share_sent(c);
}

/* All members have their bytes before any is flushed, listened to or pumped: these may end it, or the view. */
void conn_view_done(struct rfb_view *v)
{
	struct rfb_conn *m[RFB_CLIENTS], *owner = v->owner;
	unsigned n = share_members(v, m);
	struct rfb_server *s = owner->s;

	if (v->failed) {
		for (unsigned i = 0; i < n; i++)
			conn_close(m[i], "no memory");
		return;
	}
	for (unsigned i = 0; i < n; i++)
		deliver(m[i], v, i == n - 1);
	s->n.shared += n - 1;
	share_later(s);
	for (unsigned i = 0; i < n; i++)
		conn_flush(m[i]);
	for (unsigned i = 0; i < n; i++)
		if (m[i]->state != CONN_CLOSED && m[i]->hold) {
			m[i]->hold = false;
			conn_process(m[i]);
		}
	for (unsigned i = 0; i < n; i++)
		conn_pump(m[i]);
}

void conn_view_wake(struct rfb_view *v)
{
	struct rfb_conn *m[RFB_CLIENTS];
	unsigned n = share_members(v, m);

	for (unsigned i = 0; i < n; i++)
		conn_pump(m[i]);
}

void conn_resized(struct rfb_conn *c)
{
	if (!c->view)
		return;
	if (c->enc.can & CAN_LAYOUT)
		c->due |= DUE_LAYOUT;
	if (c->wish_open) {
		c->wish_open = false;
		c->layout_reason = 1;
		c->layout_result = 0;
		timer_set(c->s->env.loop, &c->deadline, 0);
	}
	conn_pump(c);
}

/* --- the beginning ------------------------------------------------------------------------------------ */

static void server_init(struct rfb_conn *c)
{
	const struct display_picture *pic = display_picture(c->s->env.display);
	size_t len = strlen(c->s->name);

	c->view = view_new(&c->s->env, pic->w, pic->h);
	if (!c->view) {
		c->out.failed = true;
		return;
	}
	share_own(c, c->view);
	c->format = rfb_format_native;
	buf_be16(&c->out, (uint16_t)pic->w);
	buf_be16(&c->out, (uint16_t)pic->h);
	rfb_format_put(&c->out, &c->format);
	buf_be32(&c->out, (uint32_t)len);
	buf_put(&c->out, c->s->name, len);
	c->state = CONN_NORMAL;
	timer_set(c->s->env.loop, &c->deadline, 0);
	log_info("viewer %llu (%s) is here: %s", (unsigned long long)c->number, c->peer, security(c));
	server_viewers(c->s);
}

static void auth_result(struct rfb_conn *c, enum rfb_auth_want want)
{
	if (rfb_auth_failed(c->auth)) {
		c->s->n.failed++;
		if (c->address_len)
			rfb_blacklist_failed(c->s->blacklist, c->address, c->address_len, now_ns());
	} else if (rfb_auth_passed(c->auth) && c->address_len) {
		rfb_blacklist_passed(c->s->blacklist, c->address, c->address_len);
	}
	switch (want) {
	case RFB_AUTH_MORE:
		break;
	case RFB_AUTH_TLS_ANON:
	case RFB_AUTH_TLS_X509:
		c->tls_x509 = want == RFB_AUTH_TLS_X509;
		c->state = CONN_FLUSH;
		break;
	case RFB_AUTH_DONE:
		c->state = CONN_INIT;
		break;
	case RFB_AUTH_CLOSE:
		c->why = rfb_auth_why(c->auth);
		c->state = CONN_CLOSING;
		timer_set(c->s->env.loop, &c->deadline, now_ns() + LAST_WORDS_NS);
		break;
	}
}

static void tls_shake(struct rfb_conn *c)
{
	enum rfb_auth_want want = RFB_AUTH_MORE;
	int rc = rfb_stream_tls_shake(c->st);

	if (rc == -EAGAIN)
		return;
	if (rc) {
		conn_close(c, "TLS: %s", strerror(-rc));
		return;
	}
	c->state = CONN_AUTH;
	rfb_auth_secure(c->auth, &c->out, &want);
	auth_result(c, want);
}

static void tls_begin(struct rfb_conn *c)
{
	struct rfb_stream *st = c->s->c.tls ? rfb_stream_tls(c->s->c.tls, c->st, c->tls_x509, c->in, c->in_len) : NULL;

	/* it was taken either way */
	if (c->s->c.tls)
		c->st = st;
	if (!st) {
		conn_close(c, "TLS: %s", c->s->c.tls ? "no memory" : "there is none");
		return;
	}
	c->in_len = 0;
	c->state = CONN_TLS;
	tls_shake(c);
}

/* --- bytes in --------------------------------------------------------------------------------------- */

static bool is_blocked(const struct rfb_conn *c)
{
	return c->address_len && rfb_blacklist_blocked(c->s->blacklist, c->address, c->address_len, now_ns());
}

/* One step: bytes used, 0 for more, -EPROTO. */
static ssize_t step(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	enum rfb_auth_want want = RFB_AUTH_MORE;
	ssize_t used;

	switch (c->state) {
	case CONN_AUTH:
		/* its address may have been blocked since: else connections in parallel were as many guesses */
		if (!c->blocked && is_blocked(c)) {
			conn_close(c, "too many wrong passwords from its address");
			return 0;
		}
		used = (ssize_t)rfb_auth_input(c->auth, p, n, &c->out, &want);
		auth_result(c, want);
		return used;
	case CONN_INIT:
		/* shared or not: a machine's console belongs to all who may see it */
		server_init(c);
		return 1;
	case CONN_NORMAL:
		return conn_parse(c, p, n);
	case CONN_CLOSING:
		return (ssize_t)n;
	case CONN_FLUSH:
	case CONN_TLS:
	case CONN_CLOSED:
		break;
	}
	return 0;
}

/* What is there is taken, as long as we listen; false: it is closed. */
static bool take_messages(struct rfb_conn *c)
{
	size_t at = 0;

	while (at < c->in_len && !deaf(c)) {
		enum conn_state was = c->state;
		ssize_t used = step(c, c->in + at, c->in_len - at);

		if (used < 0) {
			c->s->n.protocol_errors++;
			conn_close(c, "it sent %s", c->why ? c->why : "nonsense");
		}
		if (c->state == CONN_CLOSED)
			return false;
		at += (size_t)used;
		if (!used && c->state == was)
			break;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
	/* messages that are taken whole fit, so a full buffer that nothing is taken from is no message */
	assert(c->in_len < CONN_IN || deaf(c) || c->state != CONN_NORMAL);
	server_input_flush(c->s);
	return true;
}

void conn_process(struct rfb_conn *c)
{
	bool stopped;

	/* once all answers are sent we listen again, and what is in the buffer already says nothing to epoll */
	do {
		if (!take_messages(c))
			return;
		stopped = deaf(c);
		conn_flush(c);
	} while (stopped && c->state != CONN_CLOSED && !deaf(c) && c->in_len);
}

static void tls_ready(struct rfb_conn *c)
{
	tls_shake(c);
	conn_flush(c);
}

static void read_some(struct rfb_conn *c)
{
	for (int budget = READ_BUDGET; budget > 0 && !deaf(c) && c->in_len < CONN_IN;) {
		ssize_t k;

		if (c->state == CONN_TLS) {
			tls_ready(c);
			if (c->state == CONN_TLS || c->state == CONN_CLOSED)
				return;
			continue;
		}
		k = c->st->ops->read(c->st, c->in + c->in_len, CONN_IN - c->in_len);
		if (k == -EAGAIN)
			break;
		if (k <= 0) {
			conn_close(c, "%s", k ? strerror((int)-k) : "it hung up");
			return;
		}
		budget -= (int)k;
		c->in_len += (size_t)k;
		c->bytes_in += (uint64_t)k;
		c->s->n.bytes_in += (uint64_t)k;
		conn_process(c);
		if (c->state == CONN_CLOSED)
			return;
	}
	if (!deaf(c) && c->st->ops->buffered(c->st))
		timer_set(c->s->env.loop, &c->again, 1);
}

static void ready(struct watch *w, uint32_t events)
{
	struct rfb_conn *c = CONTAINER_OF(w, struct rfb_conn, w);

	if (deaf(c) && events & (EPOLLHUP | EPOLLERR)) {
		conn_close(c, "it hung up");
		return;
	}
	if (events & EPOLLOUT) {
		bool was_deaf = deaf(c);

		conn_flush(c);
		if (c->state != CONN_CLOSED && was_deaf && !deaf(c))
			conn_process(c);
	}
	if (c->state != CONN_CLOSED)
		read_some(c);
	if (c->state != CONN_CLOSED)
		conn_flush(c);
	if (c->state != CONN_CLOSED)
		conn_pump(c);
}

static void again(struct timer *t)
{
	struct rfb_conn *c = CONTAINER_OF(t, struct rfb_conn, again);

	if (c->st->ops->buffered(c->st))
		read_some(c);
	if (c->state != CONN_CLOSED)
		conn_pump(c);
}

static void deadline(struct timer *t)
{
	struct rfb_conn *c = CONTAINER_OF(t, struct rfb_conn, deadline);

	if (c->state == CONN_NORMAL) {
		conn_wish_late(c);
		conn_pump(c);
	} else if (c->state == CONN_CLOSING) {
		conn_close(c, "%s", c->why);
	} else {
		conn_close(c, "it took too long to say who it is");
	}
}

static void find_peer(struct rfb_conn *c)
{
	struct sockaddr_storage a = {0};
	socklen_t n = sizeof a;
	char text[INET6_ADDRSTRLEN] = "";

	snprintf(c->peer, sizeof c->peer, c->local ? "local" : "unknown");
	if (c->local || getpeername(c->st->fd, (struct sockaddr *)&a, &n))
		return;
	if (a.ss_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)(void *)&a;

		c->address_len = sizeof in->sin_addr;
		memcpy(c->address, &in->sin_addr, c->address_len);
		inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
		snprintf(c->peer, sizeof c->peer, "%s:%u", text, ntohs(in->sin_port));
	} else if (a.ss_family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&a;

		c->address_len = sizeof in6->sin6_addr;
		memcpy(c->address, &in6->sin6_addr, c->address_len);
		inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
		snprintf(c->peer, sizeof c->peer, "[%s]:%u", text, ntohs(in6->sin6_port));
	}
}

struct rfb_conn *conn_new(struct rfb_server *s, struct rfb_stream *st, const struct rfb_auth_config *auth, bool local)
{
	struct rfb_conn *c = calloc(1, sizeof *c);
	int lowat = NOTSENT;

	if (!c) {
		st->ops->close(st);
		return NULL;
	}
	c->s = s;
	c->st = st;
	c->local = local;
	c->began_ns = now_ns();
	c->number = ++s->number;
	c->w = (struct watch){.fd = st->fd, .ready = ready};
	c->deadline.fire = deadline;
	c->again.fire = again;
	c->enc = (struct conn_encodings){.ops = &rfb_raw, .level = -1, .quality = -1};
	c->events = EPOLLIN;
	pixman_region32_init(&c->asked);
	find_peer(c);
	if (c->address_len) {
		/* so that an update that is not sent yet waits here, where newer ones can replace it */
		setsockopt(st->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
	}
	c->blocked = is_blocked(c);
	c->auth = rfb_auth_new(auth, c->blocked, &c->out);
	if (!c->auth || loop_add(s->env.loop, &c->w, EPOLLIN)) {
		c->next = s->conns;
		s->conns = c;
		s->nconns++;
		conn_close(c, "no memory");
		return NULL;
	}
	timer_set(s->env.loop, &c->deadline, c->began_ns + HANDSHAKE_NS);
	return c;
}
