/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fdpass.h"

enum { MAX_FDS = 8 };

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
};

int fd_send(int sock, const void *buf, size_t len, const int *fds, unsigned nfds)
{
	union control c = {0};
	struct iovec iov = {.iov_base = (void *)(size_t)buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (nfds > MAX_FDS)
		return -EINVAL;
	if (nfds) {
		struct cmsghdr *h;

		msg.msg_control = c.buf;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, nfds * sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

ssize_t fd_recv(int sock, void *buf, size_t len, int *fds, unsigned *nfds)
{
	union control c;
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = c.buf,
		.msg_controllen = sizeof c.buf};
	unsigned room = nfds ? *nfds : 0, got = 0;
	bool lost;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (nfds)
		*nfds = 0;
	if (n < 0)
		return -errno;
	lost = msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC);
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		unsigned count;

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		count = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (lost || got == room)
				close(fd);
			else
				fds[got++] = fd;
		}
	}
	if (lost) {
		while (got)
			close(fds[--got]);
		return -EMSGSIZE;
	}
	if (nfds)
		*nfds = got;
	return n;
}
