/* SPDX-License-Identifier: MIT */
/*
 * The front-end against the real back-end library in a child process, which is killed and replaced, and against children
 * that are no back-ends.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"
#include "vhost/front.h"
#include "vhost/proto.h"
#include "vhost/serve.h"
#include "virtio/virtq.h"

enum { SIZE = 16, DESC = 0x10000, AVAIL = 0x11000, USED = 0x12000, BUF = 0x20000, CONFIG = 16 };

/* ---- the device: answers a request of n bytes with the same bytes plus one, when the hold file says so ---- */

struct toy {
	struct virtio_dev dev;
	struct virtq *vq;
};

static int toy_hold; /* the first so many requests are taken and never finished */

static void toy_config(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	(void)d;
	for (uint32_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(0x40 + off + i);
}

static void toy_kick(struct virtio_dev *d, unsigned q)
{
	struct toy *t = CONTAINER_OF(d, struct toy, dev);
	struct iovec iov[64];
	struct virtq_req r = {.iov = iov, .iov_max = 64};

	(void)q;
	while (virtq_pop(t->vq, &r) > 0) {
		uint8_t b[16];
		size_t n = virtq_get(&r, 0, b, sizeof b);

		if (toy_hold > 0 && toy_hold--)
			continue;
		for (size_t i = 0; i < n; i++)
			b[i]++;
		virtq_put(&r, 0, b, n);
		virtq_done(&r, (uint32_t)n);
	}
	virtq_notify(t->vq);
}

static int toy_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	(void)q;
	CONTAINER_OF(d, struct toy, dev)->vq = vq;
	return 0;
}

static void toy_stop(struct virtio_dev *d, unsigned q)
{
	(void)d;
	(void)q;
}

static const struct virtio_ops toy_ops = {.name = "toy", .id = VIRTIO_ID_RNG, .config_read = toy_config,
	.start = toy_start, .stop = toy_stop, .kick = toy_kick};

static struct loop *child_loop;

static void child_gone(void *arg, const struct err *why)
{
	(void)arg;
	(void)why;
	loop_stop(child_loop);
}

static pid_t back_end(int *sock, int hold, uint64_t features)
{
	struct toy t = {.dev = {.ops = &toy_ops, .nqueues = 1, .queue_size = SIZE, .config_len = CONFIG}};
	struct vhost_server *s;
	int pair[2];
	struct err e;
	pid_t pid;

	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	fflush(NULL);
	pid = fork();
	assert(pid >= 0);
	if (pid) {
		close(pair[1]);
		*sock = pair[0];
		return pid;
	}
	close(pair[0]);
	toy_hold = hold;
	t.dev.features = features;
	child_loop = loop_new();
	assert(child_loop && !vhost_server_new(&s, child_loop, pair[1], &t.dev, child_gone, NULL, &e));
	assert(!loop_run(child_loop));
	_exit(0);
}

/* ---- the driver and the board ---- */

static struct mem mem;
static struct vhost_front *front;
static _Atomic unsigned ncalls, nstopped, nstates[3], ncode, nbroken;
static _Atomic uint16_t used_at_code;
static uint16_t avail_idx;

static void put16(uint64_t gpa, uint16_t v)
{
	*(volatile uint16_t *)mem_at(&mem, gpa, 2) = v;
	atomic_thread_fence(memory_order_seq_cst);
}

static uint16_t used_idx(void)
{
	return *(volatile uint16_t *)mem_at(&mem, USED + 2, 2);
}

static void on_call(void *arg, unsigned q)
{
	(void)arg;
	assert(q == 0);
	ncalls++;
}

static void on_broken(void *arg, unsigned q)
{
	(void)arg;
	assert(q == 0);
	nbroken++;
}

static void on_config(void *arg)
{
	(void)arg;
}

static void on_stopped(void *arg)
{
	(void)arg;
	nstopped++;
}

static void on_state(void *arg, enum vhost_front_state s, const char *why)
{
	(void)arg;
	(void)why;
	nstates[s]++;
}

static void on_code(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	assert(gpa >= BUF && gpa + len <= BUF + 0x10000);
	used_at_code = used_idx();
	ncode++;
}

/* Patience of a test: ten seconds, then it is a failure. */
#define WAIT_FOR(cond)                                     \
	do {                                               \
		for (int i_ = 0; i_ < 10000 && !(cond); i_++) \
			poll(NULL, 0, 1);                  \
		assert(cond);                              \
	} while (0)

/* Head i: reads 8 bytes at BUF + 0x1000 * i, writes 8 behind them. */
static void push(unsigned i)
{
	uint8_t d[32] = {0};

	put_u64(d, BUF + 0x1000 * i);
	put_u32(d + 8, 8);
	put_u16(d + 12, 1); /* NEXT */
	put_u16(d + 14, (uint16_t)(2 * i + 1));
	put_u64(d + 16, BUF + 0x1000 * i + 8);
	put_u32(d + 24, 8);
	put_u16(d + 28, 2); /* WRITE */
	mem_put(&mem, DESC + 32 * i, d, sizeof d);
	memset(mem_at(&mem, BUF + 0x1000 * i, 16), (int)(0x10 + i), 16);
	put16(AVAIL + 4 + 2 * (avail_idx % SIZE), (uint16_t)(2 * i));
	put16(AVAIL + 2, ++avail_idx);
}

static void expect(unsigned i)
{
	const uint8_t *p = mem_at(&mem, BUF + 0x1000 * i, 16);

	for (unsigned k = 8; k < 16; k++)
		assert(p[k] == 0x11 + i);
}

static void start(void)
{
	struct virtio_ring ring = {true, SIZE, DESC, AVAIL, USED};

	avail_idx = 0;
	mem_zero(&mem, DESC, 0x3000);
	vhost_front_start(front, VIRTIO_F_VERSION_1, &ring);
}

static struct vhost_front_config config(int sock)
{
	return (struct vhost_front_config){.name = "toy0", .sock = sock, .mem = &mem, .id = VIRTIO_ID_RNG, .nqueues = 4,
		.queue_size = SIZE, .features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | 0xff, .config_len = CONFIG,
		.translated = true, .call = on_call, .broken = on_broken, .config_changed = on_config, .stopped = on_stopped,
		.state = on_state, .code_changed = on_code};
}

static void reap(pid_t pid, bool killed)
{
	int status;

	assert(waitpid(pid, &status, 0) == pid);
	assert(killed ? WIFSIGNALED(status) : WIFEXITED(status) && !WEXITSTATUS(status));
}

static void test_life(void)
{
	struct vhost_front_config c;
	uint8_t cfg[4];
	struct err e;
	int sock;
	pid_t pid = back_end(&sock, 0, 0x11);

	c = config(sock);
	assert(!vhost_front_new(&front, &c, &e));
	assert(vhost_front_features(front) == (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | 0x11));
	assert(vhost_front_queues(front) == 1);
	vhost_front_config_read(front, 3, cfg, 4);
	assert(cfg[0] == 0x43 && cfg[3] == 0x46);
	assert(!vhost_front_run(front));

	/* requests, and an answer for each */
	start();
	for (unsigned i = 0; i < 4; i++)
		push(i);
	vhost_front_kick(front, 0);
	WAIT_FOR(used_idx() == 4);
	WAIT_FOR(ncalls > 0);
	for (unsigned i = 0; i < 4; i++)
		expect(i);

	/* a page with code: we hear of it before the driver can */
	assert(ncode == 0);
	__atomic_fetch_or(&mem.page_bits[mem_page(&mem, BUF + 0x5000)], MEM_PG_CODE, __ATOMIC_SEQ_CST);
	push(5);
	vhost_front_kick(front, 0);
	WAIT_FOR(used_idx() == 5);
	expect(5);
	assert(ncode == 1 && used_at_code == 4);
	mem.page_bits[mem_page(&mem, BUF + 0x5000)] = 0;

	/* reset, and again from the start */
	vhost_front_stop(front);
	WAIT_FOR(nstopped == 1);
	start();
	push(1);
	vhost_front_kick(front, 0);
	WAIT_FOR(used_idx() == 1);
	expect(1);

	/* it dies while it holds two requests; its successor does them, once */
	kill(pid, SIGKILL);
	reap(pid, true);
	WAIT_FOR(nstates[VHOST_FRONT_DOWN] == 1);
	pid = back_end(&sock, 2, 0x11);
	vhost_front_socket(front, sock);
	WAIT_FOR(nstates[VHOST_FRONT_UP] == 1);
	for (unsigned i = 2; i < 6; i++)
		push(i);
	vhost_front_kick(front, 0);
	WAIT_FOR(used_idx() == 3); /* two of four are held */
	kill(pid, SIGKILL);
	reap(pid, true);
	WAIT_FOR(nstates[VHOST_FRONT_DOWN] == 2);
	push(6);
	vhost_front_kick(front, 0);
	pid = back_end(&sock, 0, 0x11);
	vhost_front_socket(front, sock);
	WAIT_FOR(used_idx() == 6);
	for (unsigned i = 2; i < 7; i++)
		expect(i);

	/* a reset waits for the successor, since the dead one may still be writing */
	kill(pid, SIGKILL);
	reap(pid, true);
	WAIT_FOR(nstates[VHOST_FRONT_DOWN] == 3);
	vhost_front_stop(front);
	poll(NULL, 0, 50);
	assert(nstopped == 1);
	pid = back_end(&sock, 0, 0x11);
	vhost_front_socket(front, sock);
	WAIT_FOR(nstopped == 2);

	/* a driver that breaks its ring: we are told, and a reset helps */
	start();
	put16(AVAIL + 4, 0x7fff);
	put16(AVAIL + 2, 1);
	assert(nbroken == 0);
	vhost_front_kick(front, 0);
	WAIT_FOR(nbroken > 0);
	vhost_front_stop(front);
	WAIT_FOR(nstopped == 3);

	/* one with fewer features does not fit */
	start();
	push(0);
	vhost_front_kick(front, 0);
	WAIT_FOR(used_idx() == 1);
	kill(pid, SIGKILL);
	reap(pid, true);
	WAIT_FOR(nstates[VHOST_FRONT_DOWN] == 4);
	pid = back_end(&sock, 0, 0x01);
	vhost_front_socket(front, sock);
	WAIT_FOR(nstates[VHOST_FRONT_BROKEN] == 1);
	reap(pid, false);

	/* nobody comes any more */
	vhost_front_stop(front);
	vhost_front_give_up(front);
	WAIT_FOR(nstopped == 4);
	vhost_front_free(front);
}

/* ---- what is no back-end ---- */

static void expect_refused(const char *what, void (*play)(int sock), const char *words)
{
	struct vhost_front_config c;
	struct vhost_front *f = NULL;
	struct err e = {.code = 0};
	int pair[2];
	pid_t pid;

	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	pid = fork();
	if (!pid) {
		close(pair[0]);
		play(pair[1]);
		_exit(0);
	}
	close(pair[1]);
	c = config(pair[0]);
	assert(vhost_front_new(&f, &c, &e) < 0);
	if (!strstr(e.text, words)) {
		fprintf(stderr, "%s: '%s' does not say '%s'\n", what, e.text, words);
		abort();
	}
	reap(pid, false);
}

static void play_end(int sock)
{
	close(sock);
}

static void play_answer(int sock, uint64_t features, uint32_t request, uint32_t size)
{
	struct vhost_msg m;

	assert(vhost_recv(sock, &m, 5000) == 1);
	m.h = (struct vhost_header){request, VHOST_VERSION | VHOST_REPLY, size};
	m.p.u64 = features;
	m.nfds = 0;
	vhost_send(sock, &m, 5000);
	vhost_recv(sock, &m, 5000);
}

static void play_old(int sock)
{
	play_answer(sock, 0x11, VHOST_GET_FEATURES, 8);
}

static void play_short(int sock)
{
	play_answer(sock, 0, VHOST_GET_FEATURES, 4);
}

static void play_other(int sock)
{
	play_answer(sock, VIRTIO_F_VERSION_1, VHOST_GET_CONFIG, 8);
}

static void play_bare(int sock)
{
	play_answer(sock, VIRTIO_F_VERSION_1, VHOST_GET_FEATURES, 8);
}

static void play_noise(int sock)
{
	char junk[4096];

	memset(junk, 0xa5, sizeof junk);
	if (write(sock, junk, sizeof junk) < 0)
		_exit(1);
	if (read(sock, junk, sizeof junk) < 0)
		_exit(1);
}

int main(void)
{
	struct err e;

	assert(!mem_init(&mem, 16 << 20, &e));
	signal(SIGPIPE, SIG_IGN);
	test_life();
	expect_refused("end", play_end, "ended");
	expect_refused("old", play_old, "no virtio 1 device");
	expect_refused("short", play_short, "4 bytes where 8 are right");
	expect_refused("other", play_other, "something else");
	expect_refused("bare", play_bare, "LOG_SHMFD");
	expect_refused("noise", play_noise, "GET_FEATURES");
	mem_fini(&mem);
	return 0;
}
