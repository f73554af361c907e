/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/qmp.h"

enum { PAUSE_AT = 64 << 10 }; /* no command is read while this much waits to be sent */

struct conn {
	struct qmp *q;
	struct watch w;
	bool open, negotiated;
	const struct qmp_command *waiting; /* for the qmp_answer() of this one */
	bool closing;    /* as soon as all is sent */
	bool eof;
	json_t *id;      /* of the command that waits */
	uint32_t events; /* that are watched */
	char in[QMP_MESSAGE_MAX];
	size_t in_len;
	struct json_scan scan;
	char *out;
	size_t out_len, out_cap;
	int fds[QMP_FDS]; /* go with the byte at fds_at of out */
	unsigned nfds;
	size_t fds_at;
};

struct qmp {
	struct loop *loop;
	struct watch listener;
	const struct qmp_command *commands;
	void *arg;
	struct conn *running; /* whose command is being run */
	struct conn *conns[QMP_CLIENTS];
};

ssize_t json_scan(struct json_scan *s, const char *p, size_t n)
{
	for (; s->at < n; s->at++) {
		char c = p[s->at];

		if (s->in_string) {
			if (s->escaped)
				s->escaped = false;
			else if (c == '\\')
				s->escaped = true;
			else if (c == '"')
				s->in_string = false;
			continue;
		}
		if (!s->depth && c != '{') {
			if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
				continue;
			return -EPROTO;
		}
		if (c == '"') {
			s->in_string = true;
		} else if (c == '{' || c == '[') {
			if (++s->depth > QMP_DEPTH_MAX)
				return -EPROTO;
		} else if (c == '}' || c == ']') {
			if (!--s->depth)
				return (ssize_t)++s->at;
		}
	}
	return 0;
}

static void conn_close(struct conn *c)
{
	if (!c->open)
		return;
	loop_del(c->q->loop, &c->w);
	close(c->w.fd);
	free(c->out);
	json_decref(c->id);
	c->id = NULL;
	c->out = NULL;
	c->open = false;
}

/* Some of what waits from off on; descriptors only with the first byte of what they belong to. Bytes, or -1 and errno. */
static ssize_t send_some(struct conn *c, size_t off)
{
	char control[CMSG_SPACE(sizeof c->fds)] __attribute__((aligned(8))) = {0};
	struct iovec iov = {.iov_base = c->out + off, .iov_len = c->out_len - off};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (c->nfds && off < c->fds_at) {
		iov.iov_len = c->fds_at - off;
	} else if (c->nfds) {
		struct cmsghdr *h;

		m.msg_control = control;
		m.msg_controllen = CMSG_SPACE(c->nfds * sizeof(int));
		h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(c->nfds * sizeof(int));
		memcpy(CMSG_DATA(h), c->fds, c->nfds * sizeof(int));
	}
	n = sendmsg(c->w.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0 && m.msg_control)
		c->nfds = 0;
	return n;
}

static void conn_write(struct conn *c)
{
	size_t off = 0;

	while (off < c->out_len) {
		ssize_t n = send_some(c, off);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			conn_close(c);
			return;
		}
		off += (size_t)n;
	}
	memmove(c->out, c->out + off, c->out_len - off);
	c->out_len -= off;
	c->fds_at -= min_u64(off, c->fds_at);
	if (c->closing && !c->out_len)
		conn_close(c);
}

static void conn_rewatch(struct conn *c)
{
	uint32_t want = 0;

	if (!c->open)
		return;
	if (c->out_len)
		want |= EPOLLOUT;
	if (c->out_len < PAUSE_AT && !c->waiting && !c->closing && !c->eof)
		want |= EPOLLIN;
	if (want == c->events)
		return;
	c->events = want;
	loop_mod(c->q->loop, &c->w, want);
}

/* Takes the reference to m. */
static void conn_send(struct conn *c, json_t *m)
{
	char *text = m ? json_dumps(m, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(m);
	if (!c->open || !text) {
		free(text);
		return;
	}
	if (c->out_len + len + 2 > QMP_BACKLOG_MAX) {
		log_warn("a client of the control socket does not read: disconnected");
		free(text);
		conn_close(c);
		return;
	}
	if (c->out_len + len + 2 > c->out_cap) {
		size_t cap = (c->out_len + len + 2) * 2;
		char *out = realloc(c->out, cap);

		if (!out) {
			free(text);
			conn_close(c);
			return;
		}
		c->out = out;
		c->out_cap = cap;
	}
	memcpy(c->out + c->out_len, text, len);
	memcpy(c->out + c->out_len + len, "\r\n", 2);
	c->out_len += len + 2;
	free(text);
	conn_write(c);
	conn_rewatch(c);
}

static void conn_error(struct conn *c, json_t *id, const char *class, const char *words)
{
	/* words may quote what the client sent, which need not be UTF-8 */
	json_t *desc = json_string(words);
	json_t *m = json_pack("{s:{s:s,s:o}}", "error", "class", class, "desc",
		desc ? desc : json_string("the message is not UTF-8"));

	if (m && id)
		json_object_set(m, "id", id);
	conn_send(c, m);
}

static void conn_answer(struct conn *c, json_t *id, json_t *result, const struct err *e)
{
	json_t *m;

	if (!result) {
		conn_error(c, id, "GenericError", e ? e->text : "it failed");
		return;
	}
	m = json_pack("{s:o}", "return", result);
	if (m && id)
		json_object_set(m, "id", id);
	conn_send(c, m);
}

static json_t *list_commands(const struct qmp *q)
{
	json_t *list = json_array();

	for (const struct qmp_command *k = q->commands; k->name; k++)
		json_array_append_new(list, json_pack("{s:s}", "name", k->name));
	json_array_append_new(list, json_pack("{s:s}", "name", "qmp_capabilities"));
	json_array_append_new(list, json_pack("{s:s}", "name", "query-commands"));
	return list;
}

static void conn_command(struct conn *c, json_t *m)
{
	json_t *id = json_object_get(m, "id"), *args = json_object_get(m, "arguments"), *result;
	const char *name = json_string_value(json_object_get(m, "execute"));
	const struct qmp_command *k;
	struct err e = {.code = 0};

	if (!name) {
		conn_error(c, id, "GenericError", "the message has no string member \"execute\"");
		return;
	}
	if (args && !json_is_object(args)) {
		conn_error(c, id, "GenericError", "\"arguments\" must be an object");
		return;
	}
	if (!strcmp(name, "qmp_capabilities")) {
		c->negotiated = true;
		conn_answer(c, id, json_object(), NULL);
		return;
	}
	if (!c->negotiated) {
		conn_error(c, id, "CommandNotFound", "expecting capabilities negotiation with "
			"'qmp_capabilities'");
		return;
	}
	if (!strcmp(name, "query-commands")) {
		conn_answer(c, id, list_commands(c->q), NULL);
		return;
	}
	for (k = c->q->commands; k->name && strcmp(k->name, name); k++)
		;
	if (!k->name) {
		err_set(&e, ENOENT, "the command %.80s has not been found", name);
		conn_error(c, id, "CommandNotFound", e.text);
		return;
	}
	c->q->running = c;
	result = k->run(c->q->arg, args, &e);
	c->q->running = NULL;
	if (result == QMP_LATER) {
		c->waiting = k;
		c->id = json_incref(id);
		return;
	}
	conn_answer(c, id, result, &e);
}

static void conn_parse(struct conn *c)
{
	while (c->open && !c->waiting && !c->closing && c->out_len < PAUSE_AT) {
		ssize_t n = json_scan(&c->scan, c->in, c->in_len);
		json_error_t je;
		json_t *m;

		if (!n && c->in_len == sizeof c->in)
			n = -EMSGSIZE;
		if (!n)
			return;
		if (n < 0) {
			c->closing = true; /* there is no telling where the next message begins */
			conn_error(c, NULL, "GenericError",
				n == -EMSGSIZE ? "the message is too long" : "this is no JSON object");
			return;
		}
		m = json_loadb(c->in, (size_t)n, 0, &je);
		memmove(c->in, c->in + n, c->in_len - (size_t)n);
		c->in_len -= (size_t)n;
		memset(&c->scan, 0, sizeof c->scan);
		if (!m)
			conn_error(c, NULL, "GenericError", je.text);
		else
			conn_command(c, m);
		json_decref(m);
	}
}

static void conn_ready(struct watch *w, uint32_t events)
{
	struct conn *c = CONTAINER_OF(w, struct conn, w);

	if (events & EPOLLERR || (events & EPOLLHUP && !(events & EPOLLIN))) {
		conn_close(c);
		return;
	}
	if (events & EPOLLOUT)
		conn_write(c);
	if (c->open && events & EPOLLIN && c->in_len < sizeof c->in) {
		ssize_t n = recv(w->fd, c->in + c->in_len, sizeof c->in - c->in_len, MSG_DONTWAIT);

		if (n > 0) {
			c->in_len += (size_t)n;
		} else if (n == 0) {
			/* it may have sent commands and closed its sending side: answer, then close */
			c->eof = true;
		} else if (errno != EAGAIN && errno != EINTR) {
			conn_close(c);
		}
	}
	if (c->open)
		conn_parse(c);
	if (c->open && c->eof && !c->waiting && c->out_len < PAUSE_AT) {
		c->closing = true;
		conn_write(c);
	}
	conn_rewatch(c);
}

static void listener_ready(struct watch *w, uint32_t events)
{
	struct qmp *q = CONTAINER_OF(w, struct qmp, listener);
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct conn *c = NULL;

	(void)events;
	if (fd < 0)
		return;
	for (size_t i = 0; i < QMP_CLIENTS && !c; i++)
		if (!q->conns[i]->open)
			c = q->conns[i];
	if (!c) {
		static const char full[] = "{\"error\": {\"class\": \"GenericError\", \"desc\": "
					   "\"too many clients\"}}\r\n";

		if (send(fd, full, sizeof full - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
			/* it learns from the end of the stream */
		}
		close(fd);
		return;
	}
	memset(c, 0, sizeof *c);
	c->q = q;
	c->w = (struct watch){.fd = fd, .ready = conn_ready};
	c->open = true;
	c->events = EPOLLIN;
	if (loop_add(q->loop, &c->w, EPOLLIN)) {
		close(fd);
		c->open = false;
		return;
	}
	conn_send(c, json_pack("{s:{s:{s:{s:i,s:i,s:i},s:s},s:[]}}", "QMP", "version", "qemu", "micro",
		0, "minor", 0, "major", 0, "package", "husk " HUSK_VERSION, "capabilities"));
}

struct qmp *qmp_new(struct loop *l, int listen_fd, const struct qmp_command *commands, void *arg,
	struct err *e)
{
	struct qmp *q = xcalloc(1, sizeof *q);
	int rc;

	*q = (struct qmp){.loop = l, .commands = commands, .arg = arg,
		.listener = {.fd = listen_fd, .ready = listener_ready}};
	for (size_t i = 0; i < QMP_CLIENTS; i++)
		q->conns[i] = xcalloc(1, sizeof *q->conns[i]);
	rc = loop_add(l, &q->listener, EPOLLIN);
	if (rc) {
		err_set(e, -rc, "cannot watch the control socket: %s", strerror(-rc));
		qmp_free(q);
		return NULL;
	}
	return q;
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < QMP_CLIENTS; i++) {
		conn_close(q->conns[i]);
		free(q->conns[i]);
	}
	loop_del(q->loop, &q->listener);
	close(q->listener.fd);
	free(q);
}

void qmp_event(struct qmp *q, const char *name, json_t *data)
{
	struct timespec ts;
	json_t *m;

	clock_gettime(CLOCK_REALTIME, &ts);
	m = json_pack("{s:s,s:{s:I,s:I}}", "event", name, "timestamp", "seconds", (json_int_t)ts.tv_sec,
		"microseconds", (json_int_t)(ts.tv_nsec / 1000));
	if (m && data)
		json_object_set(m, "data", data);
	json_decref(data);
	for (size_t i = 0; i < QMP_CLIENTS; i++)
		if (q->conns[i]->open && q->conns[i]->negotiated)
			conn_send(q->conns[i], json_incref(m));
	json_decref(m);
}

void qmp_answer(struct qmp *q, const char *command, json_t *result, const struct err *e)
{
	for (size_t i = 0; i < QMP_CLIENTS; i++) {
		struct conn *c = q->conns[i];
		json_t *id = c->id;

		if (!c->open || !c->waiting || strcmp(c->waiting->name, command))
			continue;
		c->waiting = NULL;
		c->id = NULL;
		conn_answer(c, id, json_incref(result), e);
		json_decref(id);
		/* commands may have come in behind the one that waited */
		if (c->open)
			conn_parse(c);
		if (c->open && c->eof && !c->waiting) {
			c->closing = true;
			conn_write(c);
		}
		conn_rewatch(c);
	}
	json_decref(result);
}

bool qmp_attach(struct qmp *q, const int *fds, unsigned n)
{
	struct conn *c = q->running;

	if (!c || c->nfds || n > QMP_FDS)
		return false;
	memcpy(c->fds, fds, n * sizeof *fds);
	c->nfds = n;
	c->fds_at = c->out_len;
	return true;
}

void qmp_flush(struct qmp *q)
{
	uint64_t end = now_ns() + 200000000;

	for (size_t i = 0; i < QMP_CLIENTS; i++) {
		struct conn *c = q->conns[i];

		while (c->open && c->out_len && now_ns() < end) {
			struct pollfd p = {.fd = c->w.fd, .events = POLLOUT};

			poll(&p, 1, 20);
			conn_write(c);
		}
	}
}
