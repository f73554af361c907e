/* SPDX-License-Identifier: MIT */
/* One message over a stream: pieces, timeouts, descriptors, and what is no message. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vhost/proto.h"
#include "fds.h"

static int a, b;

static void open_pair(void)
{
	int pair[2];

	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	a = pair[0];
	b = pair[1];
}

static void close_pair(void)
{
	if (a >= 0)
		close(a);
	close(b);
}

static struct vhost_msg message(uint32_t size, unsigned nfds)
{
	struct vhost_msg m = {.h = {VHOST_SET_MEM_TABLE, VHOST_VERSION, size}, .nfds = nfds};

	for (uint32_t i = 0; i < size; i++)
		((uint8_t *)&m.p)[i] = (uint8_t)(i * 7);
	for (unsigned i = 0; i < nfds; i++)
		assert((m.fds[i] = eventfd(i, EFD_CLOEXEC)) >= 0);
	return m;
}

static void there_and_back(void)
{
	for (uint32_t size = 0; size <= sizeof(union vhost_payload); size += 8) {
		for (unsigned nfds = 0; nfds <= VHOST_FDS; nfds += 4) {
			struct vhost_msg m = message(size, nfds), r;

			assert(!vhost_send(a, &m, 0));
			assert(vhost_recv(b, &r, 0) == 1);
			assert(!memcmp(&m.h, &r.h, sizeof m.h) && !memcmp(&m.p, &r.p, sizeof m.p) && r.nfds == nfds);
			for (unsigned i = 0; i < nfds; i++) {
				uint64_t v;

				assert(fcntl(r.fds[i], F_GETFD) == FD_CLOEXEC);
				assert(!i || (read(r.fds[i], &v, sizeof v) == sizeof v && v == i));
			}
			vhost_msg_close(&m);
			vhost_msg_close(&r);
			assert(!r.nfds);
		}
	}
}

static void *by_bytes(void *arg)
{
	const struct vhost_msg *m = arg;

	for (size_t i = 0; i < sizeof m->h + m->h.size; i++) {
		const uint8_t *p = i < sizeof m->h ? (const uint8_t *)&m->h + i : (const uint8_t *)&m->p + (i - sizeof m->h);

		assert(send(a, p, 1, 0) == 1);
		sched_yield();
	}
	return NULL;
}

static void pieces(void)
{
	struct vhost_msg m = message(200, 0), r;
	pthread_t t;

	assert(!pthread_create(&t, NULL, by_bytes, &m));
	assert(vhost_recv(b, &r, 10000) == 1);
	assert(!memcmp(&m.p, &r.p, 200) && r.h.size == 200);
	assert(!pthread_join(t, NULL));
}

static void *reader(void *arg)
{
	static struct vhost_msg r;
	unsigned *n = arg;
	int rc;

	while ((rc = vhost_recv(b, &r, 10000)) == 1) {
		for (unsigned i = 0; i < r.h.size; i++)
			assert(((uint8_t *)&r.p)[i] == (uint8_t)(i * 7));
		vhost_msg_close(&r);
		(*n)++;
	}
	assert(!rc);
	return NULL;
}

/* A buffer that is full in the middle of a message */
static void full(void)
{
	struct vhost_msg m = message(sizeof m.p, 0);
	unsigned n = 0, sent = 0;
	int small = 1;
	pthread_t t;

	assert(!setsockopt(a, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
	while (!vhost_send(a, &m, 0)) /* nobody reads */
		sent++;
	assert(sent);
	close_pair();

	open_pair();
	assert(!setsockopt(a, SOL_SOCKET, SO_SNDBUF, &small, sizeof small));
	assert(!pthread_create(&t, NULL, reader, &n));
	for (unsigned i = 0; i < 1000; i++)
		assert(!vhost_send(a, &m, 10000));
	close(a);
	a = -1;
	assert(!pthread_join(t, NULL));
	assert(n == 1000);
}

static void raw(const void *p, size_t len, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(32 * sizeof(int))];
	} control = {.buf = {0}};
	struct iovec iov = {(void *)(size_t)p, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds) {
		struct cmsghdr *c;

		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&mh);
		*c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(nfds * sizeof(int))};
		for (unsigned i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &b, sizeof b);
	}
	assert(sendmsg(a, &mh, 0) == (ssize_t)len);
}

static void no_messages(void)
{
	static const struct {
		struct vhost_header h;
		unsigned len, nfds;
		int rc;
	} bad[] = {
		{{1, 1, sizeof(union vhost_payload) + 1}, 12, 3, -EPROTO},
		{{1, 1, 0xffffffff}, 12, 0, -EPROTO},
		{{1, 0, 0}, 12, 1, -EPROTO},
		{{1, 2, 0}, 12, 0, -EPROTO},
		{{1, 3, 0}, 12, 0, -EPROTO},
		{{1, 1, 0}, 12, VHOST_FDS + 1, -EPROTO},
		{{1, 1, 0}, 12, 32, -EPROTO},
		{{1, 1, 0}, 11, 2, -EPROTO},  /* and the end */
		{{1, 1, 8}, 12, 2, -EPROTO},
		{{1, 1, 0}, 1, VHOST_FDS, -EPROTO},
	};

	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		unsigned fds = open_fds();
		struct vhost_msg m;

		raw(&bad[i].h, bad[i].len, bad[i].nfds);
		shutdown(a, SHUT_WR);
		assert(vhost_recv(b, &m, 1000) == bad[i].rc);
		assert(!m.nfds && open_fds() == fds);
		close_pair();
		open_pair();
	}
}

static void waiting(void)
{
	struct vhost_header h = {1, 1, 8};
	struct vhost_msg m;

	assert(vhost_recv(b, &m, 0) == -EAGAIN);
	assert(vhost_recv(b, &m, 5) == -EAGAIN);
	raw(&h, 4, 2);
	assert(vhost_recv(b, &m, 5) == -ETIMEDOUT && !m.nfds);
	raw((char *)&h, sizeof h, 1);
	close_pair();

	open_pair();
	raw(&h, sizeof h, 1);
	assert(vhost_recv(b, &m, 5) == -ETIMEDOUT && !m.nfds);
	close(a);
	a = -1;
	assert(vhost_recv(b, &m, 1000) == 0);
	m = message(8, 0);
	assert(vhost_send(b, &m, 1000) == -EPIPE); /* and no signal */
	m.h.size = sizeof m.p + 1;
	assert(vhost_send(b, &m, 1000) == -EINVAL);
	close_pair();

	/* it hangs up with something of ours unread */
	open_pair();
	m.h.size = 8;
	assert(!vhost_send(b, &m, 0));
	close(a);
	a = -1;
	assert(vhost_recv(b, &m, 1000) == 0);
}

int main(void)
{
	unsigned fds = open_fds();

	static void (*const tests[])(void) = {there_and_back, pieces, full, no_messages, waiting};

	for (unsigned i = 0; i < sizeof tests / sizeof *tests; i++) {
		open_pair();
		tests[i]();
		close_pair();
	}
	assert(open_fds() == fds);
	assert(!strcmp(vhost_request_name(VHOST_SET_VRING_KICK), "SET_VRING_KICK"));
	assert(!strcmp(vhost_request_name(VHOST_SET_PAGE_BITS), "SET_PAGE_BITS"));
	assert(!strcmp(vhost_request_name(12345), "request 12345"));
	return 0;
}
