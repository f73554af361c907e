/* SPDX-License-Identifier: MIT */
/*
 * A hostile back-end at husk-vmm's end of the line. The input is what it says: records of a byte of flags (bits 0 and 1: how
 * many descriptors come with it; bit 2: on its own channel) and a message, header first. All of it lies ready
 * before the front-end asks for anything; after the last message the line ends.
 */
#undef NDEBUG
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "vhost/front-int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { QUEUES = 2, SIZE = 16, CONFIG = 16 };

static struct mem mem;
static int some_fd;

static void on_call(void *arg, unsigned q)
{
	(void)arg;
	assert(q < QUEUES);
}

static void on_event(void *arg)
{
	(void)arg;
}

static void on_state(void *arg, enum vhost_front_state s, const char *why)
{
	(void)arg;
	(void)s;
	assert(strlen(why) < sizeof((struct err *)0)->text);
}

static void on_code(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	assert(len && mem_at(&mem, gpa, len));
}

static void write_record(int sock, const uint8_t *p, size_t len, unsigned nfds)
{
	const int fds[] = {some_fd, some_fd, some_fd};
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof fds)];
	} c = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nfds) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c.align = (struct cmsghdr){CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&c.align), fds, nfds * sizeof(int));
	}
	if (sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
}

/* Writes the records of one channel. */
static void write_all(int sock, const uint8_t *p, size_t size, bool back)
{
	while (size > sizeof(struct vhost_header)) {
		uint8_t flags = *p++;
		size_t len;

		size--;
		len = min_u64(size, sizeof(struct vhost_header) + get_u32(p + 8) % 512);
		if (!!(flags & 4) == back)
			write_record(sock, p, len, flags & 3);
		p += len;
		size -= len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vhost_front_config c = {.name = "fuzz0", .mem = &mem, .id = VIRTIO_ID_RNG, .nqueues = QUEUES,
		.queue_size = SIZE, .features = VIRTIO_F_VERSION_1 | 0xff, .config_len = CONFIG, .answer_ms = 1, .drain_ms = 1,
		.translated = true,
		.call = on_call, .broken = on_call, .config_changed = on_event, .stopped = on_event, .state = on_state,
		.code_changed = on_code};
	struct vhost_front *f;
	struct err e;
	int pair[2];

	if (!mem.nregions) {
		assert(!mem_init(&mem, 1 << 20, &e));
		some_fd = memfd_create("fuzz", MFD_CLOEXEC);
		assert(some_fd >= 0 && !ftruncate(some_fd, 65536));
	}
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	write_all(pair[1], data, size, false);
	shutdown(pair[1], SHUT_WR);
	c.sock = pair[0];
	if (!vhost_front_new(&f, &c, &e)) {
		bool more = true;

		assert(vhost_front_queues(f) && vhost_front_queues(f) <= QUEUES);
		assert(!(vhost_front_features(f) & ~c.features));
		for (unsigned i = 0; i < QUEUES; i++)
			f->q[i].ring = (struct virtio_ring){true, SIZE, 0x1000, 0x2000, 0x3000};
		f->run_features = f->features;
		write_all(f->back_peer, data, size, true);
		if (!front_start(f)) {
			f->on = true;
			more = !front_stop(f) && !front_config_get(f);
		}
		shutdown(f->back_peer, SHUT_WR);
		while (more && !front_back_message(f))
			;
		if (f->log)
			front_log_scan(f);
		vhost_front_free(f);
	} else {
		assert(e.code > 0 && e.text[0]);
	}
	close(pair[1]);
	return 0;
}
