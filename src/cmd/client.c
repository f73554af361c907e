/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/client.h"
#include "cmd/qmp.h"
#include "cmd/rundir.h"

static const uint64_t ANSWER_NS = UINT64_C(6000000000);

/* Bytes, and the descriptors that came with them; what there is no room for is closed. */
static ssize_t receive(struct client *c)
{
	char control[CMSG_SPACE(sizeof c->fds)] __attribute__((aligned(8)));
	struct iovec iov = {.iov_base = c->buf + c->len, .iov_len = QMP_BACKLOG_MAX - c->len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC);

	for (struct cmsghdr *h = n < 0 ? NULL : CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (c->nfds < CLIENT_FDS)
				c->fds[c->nfds++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

/* Waits for bytes and appends them. 1, 0 at the end, -ETIMEDOUT or -errno. */
static int more(struct client *c, uint64_t deadline)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	uint64_t now;
	ssize_t n;
	int rc;

	if (c->len == QMP_BACKLOG_MAX)
		return -EMSGSIZE;
	do {
		now = now_ns();
		rc = now >= deadline ? 0 : poll(&p, 1, (int)((deadline - now) / 1000000 + 1));
	} while (rc < 0 && errno == EINTR);
	if (rc <= 0)
		return rc ? -errno : -ETIMEDOUT;
	n = receive(c);
	if (n < 0)
		return errno == EINTR ? 1 : errno == ECONNRESET ? 0 : -errno;
	c->len += (size_t)n;
	return n > 0;
}

static void drop(struct client *c, size_t n)
{
	memmove(c->buf, c->buf + n, c->len - n);
	c->len -= n;
}

/* The next message, a new reference; NULL with words in e. */
static json_t *next(struct client *c, uint64_t deadline, struct err *e)
{
	struct json_scan scan = {.at = 0};

	for (;;) {
		ssize_t n = json_scan(&scan, c->buf, c->len);
		json_error_t je;
		json_t *m;
		int rc;

		if (n > 0) {
			m = json_loadb(c->buf, (size_t)n, 0, &je);
			drop(c, (size_t)n);
			if (!m)
				err_set(e, EPROTO, "its answer is not understood: %s", je.text);
			return m;
		}
		rc = n < 0 ? (int)n : more(c, deadline);
		if (rc == 1)
			continue;
		if (!rc)
			err_set(e, EPIPE, "it has ended");
		else
			err_set(e, -rc, "%s", rc == -ETIMEDOUT ? "it does not answer" : strerror(-rc));
		return NULL;
	}
}

int client_open(struct client *c, const char *name, struct err *e)
{
	struct ucred cred;
	socklen_t len = sizeof cred;
	json_t *m;
	int rc;

	*c = (struct client){.fd = rundir_connect(name, e)};
	if (c->fd < 0) {
		rc = c->fd;
		c->fd = -1;
		return rc;
	}
	if (!getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		c->pid = cred.pid;
	c->buf = xcalloc(1, QMP_BACKLOG_MAX);
	m = next(c, now_ns() + ANSWER_NS, e);
	rc = m ? client_command(c, "qmp_capabilities", NULL, e) : -e->code;
	json_decref(m);
	return rc;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	for (unsigned i = 0; i < c->nfds; i++)
		close(c->fds[i]);
	*c = (struct client){.fd = -1};
}

static int ask(struct client *c, const char *text, json_t **result, struct err *e)
{
	uint64_t deadline = now_ns() + ANSWER_NS;
	ssize_t n = (ssize_t)strlen(text);

	if (send(c->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		return err_set(e, errno == EPIPE ? EPIPE : EIO, "it has ended");
	for (;;) {
		json_t *m = next(c, deadline, e), *r, *err;

		if (!m)
			return -e->code;
		r = json_object_get(m, "return");
		err = json_object_get(m, "error");
		if (err)
			err_set(e, EIO, "%.400s", client_text(err, "desc"));
		if (r && result)
			*result = json_incref(r);
		json_decref(m);
		if (r)
			return 0;
		if (err)
			return -EIO;
	}
}

int client_command(struct client *c, const char *name, json_t **result, struct err *e)
{
	char text[128];

	snprintf(text, sizeof text, "{\"execute\": \"%s\"}\r\n", name);
	return ask(c, text, result, e);
}

int client_run(struct client *c, const char *name, json_t *args, json_t **result, struct err *e)
{
	json_t *m = args ? json_pack("{s:s,s:o}", "execute", name, "arguments", args) : json_pack("{s:s}", "execute", name);
	char *text = m ? json_dumps(m, JSON_COMPACT) : NULL;
	int rc = text ? ask(c, text, result, e) : err_set(e, ENOMEM, "there is no memory");

	free(text);
	json_decref(m);
	return rc;
}

int client_look(struct client *c, json_t **result, struct err *e)
{
	return ask(c, "{\"execute\": \"query-husk\", \"arguments\": {\"counters\": false}}\r\n", result, e);
}

int client_wait_end(struct client *c, uint64_t deadline_ns)
{
	int rc;

	do {
		c->len = 0;
		rc = more(c, deadline_ns);
	} while (rc == 1);
	return rc;
}

const char *client_text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

uint64_t client_number(const json_t *o, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(o, key));

	return v < 0 ? 0 : (uint64_t)v;
}
