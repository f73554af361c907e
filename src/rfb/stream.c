/* SPDX-License-Identifier: MIT */
/* Plain sockets. Calls do not wait because of their flags: the descriptor is left as it came, no fcntl() is needed. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rfb/stream.h"

static ssize_t result(ssize_t n)
{
	if (n >= 0)
		return n;
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static ssize_t socket_read(struct rfb_stream *s, void *buf, size_t n)
{
	ssize_t rc;

	do {
		rc = recv(s->fd, buf, n, MSG_DONTWAIT);
	} while (rc < 0 && errno == EINTR);
	return result(rc);
}

static ssize_t socket_write(struct rfb_stream *s, const void *buf, size_t n)
{
	ssize_t rc;

	do {
		rc = send(s->fd, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (rc < 0 && errno == EINTR);
	return result(rc);
}

static bool socket_nothing(const struct rfb_stream *s)
{
	(void)s;
	return false;
}

static void socket_close(struct rfb_stream *s)
{
	close(s->fd);
	free(s);
}

static const struct rfb_stream_ops socket_ops = {
	.read = socket_read,
	.write = socket_write,
	.buffered = socket_nothing,
	.wants_write = socket_nothing,
	.close = socket_close,
};

struct rfb_stream *rfb_stream_socket(int fd)
{
	struct rfb_stream *s = calloc(1, sizeof *s);
	int one = 1;

	if (!s) {
		close(fd);
		return NULL;
	}
	/* a Unix socket refuses, and is prompt anyway */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	s->ops = &socket_ops;
	s->fd = fd;
	return s;
}
