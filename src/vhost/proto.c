/* SPDX-License-Identifier: MIT */
#include "vhost/proto.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/util.h"

/* The layouts are on the wire. */
_Static_assert(sizeof(struct vhost_header) == 12, "header");
_Static_assert(sizeof(struct vhost_vring_addr) == 40, "vring address");
_Static_assert(sizeof(struct vhost_memory) == 8 + 32 * VHOST_REGIONS, "memory table");
_Static_assert(sizeof(struct vhost_mem_reg) == 40, "memory region");
_Static_assert(sizeof(struct vhost_config) == 12 + VHOST_CONFIG_MAX, "configuration");
_Static_assert(sizeof(struct vhost_inflight) == 24, "in-flight");

static const struct {
	uint32_t request;
	const char *name;
} names[] = {
	{VHOST_GET_FEATURES, "GET_FEATURES"},
	{VHOST_SET_FEATURES, "SET_FEATURES"},
	{VHOST_SET_OWNER, "SET_OWNER"},
	{VHOST_RESET_OWNER, "RESET_OWNER"},
	{VHOST_SET_MEM_TABLE, "SET_MEM_TABLE"},
	{VHOST_SET_LOG_BASE, "SET_LOG_BASE"},
	{VHOST_SET_LOG_FD, "SET_LOG_FD"},
	{VHOST_SET_VRING_NUM, "SET_VRING_NUM"},
	{VHOST_SET_VRING_ADDR, "SET_VRING_ADDR"},
	{VHOST_SET_VRING_BASE, "SET_VRING_BASE"},
	{VHOST_GET_VRING_BASE, "GET_VRING_BASE"},
	{VHOST_SET_VRING_KICK, "SET_VRING_KICK"},
	{VHOST_SET_VRING_CALL, "SET_VRING_CALL"},
	{VHOST_SET_VRING_ERR, "SET_VRING_ERR"},
	{VHOST_GET_PROTOCOL_FEATURES, "GET_PROTOCOL_FEATURES"},
	{VHOST_SET_PROTOCOL_FEATURES, "SET_PROTOCOL_FEATURES"},
	{VHOST_GET_QUEUE_NUM, "GET_QUEUE_NUM"},
	{VHOST_SET_VRING_ENABLE, "SET_VRING_ENABLE"},
	{VHOST_SET_BACKEND_REQ_FD, "SET_BACKEND_REQ_FD"},
	{VHOST_GET_CONFIG, "GET_CONFIG"},
	{VHOST_SET_CONFIG, "SET_CONFIG"},
	{VHOST_GET_INFLIGHT_FD, "GET_INFLIGHT_FD"},
	{VHOST_SET_INFLIGHT_FD, "SET_INFLIGHT_FD"},
	{VHOST_RESET_DEVICE, "RESET_DEVICE"},
	{VHOST_GET_MAX_MEM_SLOTS, "GET_MAX_MEM_SLOTS"},
	{VHOST_ADD_MEM_REG, "ADD_MEM_REG"},
	{VHOST_REM_MEM_REG, "REM_MEM_REG"},
	{VHOST_SET_STATUS, "SET_STATUS"},
	{VHOST_GET_STATUS, "GET_STATUS"},
	{VHOST_SET_PAGE_BITS, "SET_PAGE_BITS"},
};

const char *vhost_request_name(uint32_t request)
{
	static _Thread_local char number[32];

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].request == request)
			return names[i].name;
	snprintf(number, sizeof number, "request %u", request);
	return number;
}

/* Milliseconds until deadline (UINT64_MAX: for ever), rounded up, for poll(). */
static int left(uint64_t deadline)
{
	uint64_t now;

	if (deadline == UINT64_MAX)
		return -1;
	now = now_ns();
	return now >= deadline ? 0 : (int)min_u64((deadline - now + 999999) / 1000000, INT_MAX);
}

static uint64_t deadline_of(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : now_ns() + (uint64_t)timeout_ms * 1000000;
}

/* 0, -ETIMEDOUT, or -errno. What has gone wrong with the socket itself, the next call on it says. */
static int wait_for(int sock, short events, uint64_t deadline)
{
	struct pollfd p = {.fd = sock, .events = events};

	for (;;) {
		int n = poll(&p, 1, left(deadline));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n && !left(deadline))
			return -ETIMEDOUT;
	}
}

int vhost_send(int sock, const struct vhost_msg *m, int timeout_ms)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(VHOST_FDS * sizeof(int))];
	} control;
	struct iovec iov[2] = {
		{(void *)(size_t)&m->h, sizeof m->h},
		{(void *)(size_t)&m->p, m->h.size},
	};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 2};
	uint64_t deadline = deadline_of(timeout_ms);
	int rc;

	if (m->h.size > sizeof m->p || m->nfds > VHOST_FDS)
		return -EINVAL;
	if (m->nfds) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof control);
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(m->nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(m->nfds * sizeof(int));
		memcpy(CMSG_DATA(c), m->fds, m->nfds * sizeof(int));
	}
	while (mh.msg_iovlen) {
		ssize_t n = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN)
				return -errno;
			rc = wait_for(sock, POLLOUT, deadline);
			if (rc)
				return rc;
			continue;
		}
		/* the descriptors went with the first byte */
		mh.msg_control = NULL;
		mh.msg_controllen = 0;
		while (mh.msg_iovlen && (size_t)n >= mh.msg_iov->iov_len) {
			n -= (ssize_t)mh.msg_iov->iov_len;
			mh.msg_iov++;
			mh.msg_iovlen--;
		}
		if (mh.msg_iovlen) {
			mh.msg_iov->iov_base = (char *)mh.msg_iov->iov_base + n;
			mh.msg_iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* Takes what descriptors came into m. -EPROTO when there were more than fit. */
static int take_fds(struct vhost_msg *m, struct msghdr *mh)
{
	bool surplus = mh->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (m->nfds < VHOST_FDS) {
				m->fds[m->nfds++] = fd;
			} else {
				surplus = true;
				close(fd);
			}
		}
	}
	return surplus ? -EPROTO : 0;
}

/* Fills dst. 1, or as vhost_recv(); first: nothing of the message has come yet. */
static int take(int sock, struct vhost_msg *m, void *dst, size_t len, uint64_t deadline, bool first)
{
	/* room for some that are too many, so that they are seen and closed, here or by the kernel */
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE((VHOST_FDS + 1) * sizeof(int))];
	} control;
	size_t got = 0;

	while (got < len) {
		struct iovec iov = {(char *)dst + got, len - got};
		struct msghdr mh = {.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.buf,
			.msg_controllen = sizeof control.buf};
		ssize_t n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		int rc;

		if (n < 0) {
			if (errno == EINTR)
				continue;
			if (errno == ECONNRESET) /* it went with unread data of ours: an end like any other */
				return first && !got ? 0 : -EPROTO;
			if (errno != EAGAIN)
				return -errno;
			rc = wait_for(sock, POLLIN, deadline);
			if (rc)
				return rc == -ETIMEDOUT && first && !got ? -EAGAIN : rc;
			continue;
		}
		rc = take_fds(m, &mh);
		if (rc)
			return rc;
		if (!n)
			return first && !got ? 0 : -EPROTO;
		got += (size_t)n;
	}
	return 1;
}

int vhost_recv(int sock, struct vhost_msg *m, int timeout_ms)
{
	uint64_t deadline = deadline_of(timeout_ms);
	int rc;

	memset(m, 0, sizeof *m);
	rc = take(sock, m, &m->h, sizeof m->h, deadline, true);
	if (rc > 0 && ((m->h.flags & VHOST_VERSION_MASK) != VHOST_VERSION || m->h.size > sizeof m->p))
		rc = -EPROTO;
	if (rc > 0 && m->h.size)
		rc = take(sock, m, &m->p, m->h.size, deadline, false);
	if (rc <= 0)
		vhost_msg_close(m);
	return rc;
}

void vhost_msg_close(struct vhost_msg *m)
{
	for (unsigned i = 0; i < m->nfds; i++)
		if (m->fds[i] >= 0)
			close(m->fds[i]);
	m->nfds = 0;
}
