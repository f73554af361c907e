/* SPDX-License-Identifier: MIT */
/*
 * A hostile front-end and a hostile driver for the back-end's side of vhost-user (vhost/serve.h), over the device of the
 * unit tests. The input is a row of steps, one in each round of the loop, first byte:
 *
 *	0x00-0x3f  a message: request, flags, where its descriptors come from, payload
 *	0x40-0x7f  a message that could be right: which, a byte that varies it
 *	0x80-0xbf  bytes into guest RAM, from the start of the rings on
 *	0xc0-0xdf  a request in ring 0 or 1, and a kick
 *	0xe0-0xef  a kick
 *	0xf0-0xfe  page bits
 *	0xff       half a message, and the end
 *
 * Front-ends that do not answer are left out, as they take 10 s: the back-end's channel has its answers in it, so many.
 */
#undef NDEBUG
#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/vhost/toy.h"
#include "base/log.h"
#include "base/util.h"
#include "vhost/proto.h"
#include "vhost/serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { RAM = 1 << 20, RINGS = 0x10000, RING = 0x4000, STEPS = 300, FDS = 250, ANSWERS = 20 };
enum { FD_RAM, FD_BITS, FD_LOG, FD_SMALL, FD_RDONLY, FD_NULL, FD_KICK0, FD_KICK1, FD_CALL, FD_BACK, FD_BACK_BAD, FD_INFLIGHT, NFDS };

static const uint32_t requests[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 24, 25, 31, 32,
	34, 36, 37, 38, 39, 40, VHOST_SET_PAGE_BITS};

static struct run {
	struct loop *loop;
	struct watch step;
	const uint8_t *p, *end;
	int sock, back[2], fds[NFDS];
	unsigned steps, sent;
	uint8_t *ram, *bits;
	uint16_t avail[TOY_QUEUES];
} run;

static uint8_t take(void)
{
	return run.p < run.end ? *run.p++ : 0;
}

static void drain(int sock)
{
	char old[4096];

	while (recv(sock, old, sizeof old, MSG_DONTWAIT) > 0)
		;
}

static void say(uint32_t request, uint32_t flags, const void *payload, uint32_t size, const int *fds, unsigned nfds)
{
	struct vhost_msg m = {.h = {request, VHOST_VERSION | flags, size}};

	memcpy(&m.p, payload, size);
	if (run.sent + nfds > FDS)
		nfds = 0;
	if (nfds)
		memcpy(m.fds, fds, nfds * sizeof *fds);
	m.nfds = nfds;
	run.sent += nfds;
	if (vhost_send(run.sock, &m, 0))
		return; /* the server has hung up */
}

static void any_message(uint8_t op)
{
	uint8_t flags = take(), which = take(), size = take();
	union vhost_payload payload;
	int fds[VHOST_FDS];
	uint32_t n = size + (flags & 0x40 ? 200u : 0);

	memset(&payload, 0, sizeof payload);
	if (n > sizeof payload)
		n = sizeof payload;
	for (uint32_t i = 0; i < n; i++)
		((uint8_t *)&payload)[i] = take();
	for (unsigned i = 0; i < VHOST_FDS; i++)
		fds[i] = run.fds[(which / 4 + i * (which & 1)) % NFDS];
	say(requests[op % ARRAY_LEN(requests)], flags & (VHOST_REPLY | VHOST_NEED_REPLY), &payload, n, fds,
		flags & 0x80 ? which % 3 : op % 3);
}

static void good_message(uint8_t op)
{
	uint8_t v = take();
	uint32_t q = v & 1, flags = v & 2 ? 0 : VHOST_NEED_REPLY;
	union vhost_payload m = {.u64 = q};
	uint64_t at = RINGS + q * RING;

	switch (op % 20) {
	case 0:
		m.u64 = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | (v & 4 ? VIRTIO_F_EVENT_IDX : 0) |
			(v & 8 ? VHOST_F_LOG_ALL : 0) | (v & 16 ? 0 : VHOST_F_PROTOCOL_FEATURES);
		say(VHOST_SET_FEATURES, flags, &m, 8, NULL, 0);
		break;
	case 1:
		m.u64 = v & 4 ? 0 : 1ull << VHOST_P_REPLY_ACK | 1ull << VHOST_P_CONFIG | 1ull << VHOST_P_BACKEND_REQ;
		say(VHOST_SET_PROTOCOL_FEATURES, flags, &m, 8, NULL, 0);
		break;
	case 2:
		m.memory = (struct vhost_memory){.nregions = 2,
			.region = {{0, RAM / 2, 0x1000000, 0}, {RAM / 2, RAM / 2, 0x1000000 + RAM / 2, RAM / 2}}};
		if (v & 4)
			m.memory.region[v & 1].size -= 0x1000 * (v >> 3);
		say(VHOST_SET_MEM_TABLE, flags, &m, 72, (int[]){run.fds[FD_RAM], run.fds[FD_RAM]}, 2);
		break;
	case 3:
		m.state = (struct vhost_vring_state){q, 1u << (v >> 1) % 8};
		say(VHOST_SET_VRING_NUM, flags, &m, 8, NULL, 0);
		break;
	case 4:
		m.state = (struct vhost_vring_state){q, v >> 1};
		say(VHOST_SET_VRING_BASE, flags, &m, 8, NULL, 0);
		break;
	case 5:
		at += 0x1000000;
		m.addr = (struct vhost_vring_addr){q, v >> 2 & 1, at, at + 0x1000, at + 0x800, v & 8 ? at : 0x2000};
		if (v & 16)
			m.addr.used = 0x1000000 + RAM / 2 - (v >> 4) * 16;
		say(VHOST_SET_VRING_ADDR, flags, &m, 40, NULL, 0);
		break;
	case 6:
		say(VHOST_SET_VRING_KICK, flags, &m, 8, &run.fds[FD_KICK0 + q], 1);
		break;
	case 7:
		m.u64 |= v & 4 ? VHOST_VRING_NOFD : 0;
		say(VHOST_SET_VRING_CALL, flags, &m, 8, &run.fds[FD_CALL], !(v & 4));
		break;
	case 8:
		say(VHOST_SET_VRING_ERR, flags, &m, 8, &run.fds[FD_CALL], 1);
		break;
	case 9:
		m.state = (struct vhost_vring_state){q, v >> 2 & 1};
		say(VHOST_SET_VRING_ENABLE, flags, &m, 8, NULL, 0);
		break;
	case 10:
		m.state = (struct vhost_vring_state){q, 0};
		say(VHOST_GET_VRING_BASE, flags, &m, 8, NULL, 0);
		break;
	case 11:
		m.log = (struct vhost_log){v & 4 ? 0x1000 : v, v & 8 ? 0x1000 : 0};
		say(VHOST_SET_LOG_BASE, flags, &m, 16, &run.fds[FD_LOG], 1);
		break;
	case 12:
		say(VHOST_SET_BACKEND_REQ_FD, flags, &m, 0, &run.fds[v & 4 ? FD_BACK : FD_BACK_BAD], 1);
		break;
	case 13:
		say(VHOST_SET_PAGE_BITS, flags, &m, 0, &run.fds[FD_BITS], 1);
		break;
	case 14:
		m.inflight = (struct vhost_inflight){0x4000, v & 4 ? 0x1000 : 0, TOY_QUEUES, v & 8 ? TOY_SIZE : v >> 2, 0};
		say(VHOST_SET_INFLIGHT_FD, flags, &m, 24, &run.fds[FD_INFLIGHT], 1);
		break;
	case 15:
		m.inflight = (struct vhost_inflight){0, 0, TOY_QUEUES, v & 4 ? TOY_SIZE : v >> 3, 0};
		say(VHOST_GET_INFLIGHT_FD, flags, &m, v & 2 ? 20 : 24, NULL, 0);
		break;
	case 16:
		m.config = (struct vhost_config){v & 15, v >> 4, 0, {v}};
		say(v & 2 ? VHOST_GET_CONFIG : VHOST_SET_CONFIG, flags, &m, 12 + (v >> 4), NULL, 0);
		break;
	case 17:
		m.mem_reg.region = (struct vhost_region){(v & 4ull) << 30, 0x10000, 0x8000000, 0x1000 * (v >> 3)};
		say(v & 2 ? VHOST_ADD_MEM_REG : VHOST_REM_MEM_REG, flags, &m, 40, &run.fds[FD_RAM], 1);
		break;
	case 18:
		m.u64 = v & 4;
		say(v & 2 ? VHOST_SET_STATUS : VHOST_RESET_DEVICE, flags, &m, 8, NULL, 0);
		break;
	default:
		/* the second region as one to remove and add */
		m.mem_reg.region = (struct vhost_region){RAM / 2, RAM / 2, 0x1000000 + RAM / 2, RAM / 2};
		say(v & 2 ? VHOST_ADD_MEM_REG : VHOST_REM_MEM_REG, flags, &m, 40, &run.fds[FD_RAM], v >> 1 & 1);
		break;
	}
}

static void kick(unsigned q)
{
	uint64_t one = 1;

	assert(write(run.fds[FD_KICK0 + q], &one, sizeof one) == sizeof one);
}

/* Two descriptors and an entry of the available ring, of TOY_SIZE entries whatever the ring's size is */
static void ring_request(unsigned q)
{
	uint8_t v = take(), len = take(), *ring = run.ram + RINGS + q * RING;
	uint16_t slot = v % (TOY_SIZE / 2);
	struct desc {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} d[2] = {{0x20000 + slot * 0x1000, len, 1, (uint16_t)(2 * slot + 1)},
		{RAM / 2 - 0x800 + (v >> 6) * 0x400, len * 16u, 2, 0}};

	memcpy(ring + slot * 32, d, sizeof d);
	put_u16(ring + 0x800 + 4 + 2 * (run.avail[q] % TOY_SIZE), 2 * slot);
	run.avail[q]++;
	put_u16(ring + 0x800 + 2, run.avail[q]);
	kick(q);
}

static void half(void)
{
	struct vhost_header h = {take(), take(), take()};
	size_t n = take() % (sizeof h + 1u);

	if (send(run.sock, &h, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void step(struct watch *w, uint32_t events)
{
	uint8_t op;

	(void)events;
	drain(run.sock);
	drain(run.back[0]);
	drain(run.back[1]);
	if (run.p == run.end || run.steps++ == STEPS) {
		loop_del(run.loop, w);
		shutdown(run.sock, SHUT_WR);
		return;
	}
	op = take();
	if (op < 0x40) {
		any_message(op);
	} else if (op < 0x80) {
		good_message(op);
	} else if (op < 0xc0) {
		size_t at = RINGS + (op & 0x3fu) * 0x100 + take();

		for (unsigned n = 1 + take() % 40u; n; n--)
			run.ram[at++] = take();
	} else if (op < 0xe0) {
		ring_request(op & 1);
	} else if (op < 0xf0) {
		kick(op & 1);
	} else if (op < 0xff) {
		uint8_t at = take();

		memset(run.bits + at, take(), op & 15);
	} else {
		half();
		run.p = run.end;
	}
}

static void gone(void *arg, const struct err *why)
{
	struct toy *t = arg;

	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(!t->q[i].running);
	assert(!why || (why->code && *why->text));
	loop_stop(run.loop);
}

static int memfd(size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	assert(fd >= 0 && !ftruncate(fd, (off_t)len));
	return fd;
}

static void *map(int fd, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert(p != MAP_FAILED);
	return p;
}

/* A channel in which answers wait, good ones or not, and then its end. ours: where questions come out */
static int channel(bool good, int *ours)
{
	struct vhost_msg m = {.h = {VHOST_BACK_CODE, VHOST_VERSION | VHOST_REPLY, 8}, .p.u64 = !good};
	int pair[2];

	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	for (unsigned i = 0; i < (good ? ANSWERS : 1); i++)
		assert(!vhost_send(pair[0], &m, 0));
	shutdown(pair[0], SHUT_WR);
	*ours = pair[0];
	return pair[1];
}

static void set_up(void)
{
	char path[32];

	log_init("fuzz", LOG_ERR);
	run.loop = loop_new();
	assert(run.loop);
	run.fds[FD_RAM] = memfd(RAM);
	run.fds[FD_BITS] = memfd(RAM / MEM_PAGE);
	run.fds[FD_LOG] = memfd(0x2000);
	run.fds[FD_SMALL] = memfd(0x1000);
	snprintf(path, sizeof path, "/proc/self/fd/%d", run.fds[FD_SMALL]);
	run.fds[FD_RDONLY] = open(path, O_RDONLY | O_CLOEXEC);
	run.fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	run.fds[FD_INFLIGHT] = memfd(0x5000);
	run.ram = map(run.fds[FD_RAM], RAM);
	run.bits = map(run.fds[FD_BITS], 0x1000);
	run.step = (struct watch){.fd = eventfd(1, EFD_CLOEXEC), .ready = step};
	assert(run.fds[FD_RDONLY] >= 0 && run.fds[FD_NULL] >= 0 && run.step.fd >= 0);
}

static unsigned open_fds(void)
{
	struct pollfd p[600];
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_LEN(p); i++)
		p[i] = (struct pollfd){.fd = (int)i};
	assert(poll(p, ARRAY_LEN(p), 0) > 0);
	for (unsigned i = 0; i < ARRAY_LEN(p); i++)
		n += !(p[i].revents & POLLNVAL);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static struct toy toy;
	struct vhost_server *s;
	char stats[4096];
	unsigned before;
	int pair[2];
	struct err e;

	if (!run.loop)
		set_up();
	before = open_fds();
	run.p = p;
	run.end = p + len;
	run.steps = run.sent = run.avail[0] = run.avail[1] = 0;
	/* the same start for each input */
	memset(run.ram, 0, RAM);
	memset(run.bits, 0, RAM / MEM_PAGE);
	assert(!ftruncate(run.fds[FD_INFLIGHT], 0) && !ftruncate(run.fds[FD_INFLIGHT], 0x5000));
	for (unsigned i = 0; i < 3; i++)
		assert((run.fds[FD_KICK0 + i] = eventfd(0, EFD_CLOEXEC | (i ? EFD_NONBLOCK : 0))) >= 0);
	run.fds[FD_BACK] = channel(true, &run.back[0]);
	run.fds[FD_BACK_BAD] = channel(false, &run.back[1]);
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	run.sock = pair[0];
	toy_init(&toy, false);
	assert(!vhost_server_new(&s, run.loop, pair[1], &toy.dev, gone, &toy, &e));
	assert(!loop_add(run.loop, &run.step, EPOLLIN));
	assert(!loop_run(run.loop));
	loop_del(run.loop, &run.step);
	assert(vhost_server_stats(s, stats, sizeof stats) == strlen(stats));
	vhost_server_free(s);
	toy_fini(&toy);
	close(run.sock);
	close(run.back[0]);
	close(run.back[1]);
	for (unsigned i = 0; i < 3; i++)
		close(run.fds[FD_KICK0 + i]);
	close(run.fds[FD_BACK]);
	close(run.fds[FD_BACK_BAD]);
	assert(open_fds() == before);
	return 0;
}
