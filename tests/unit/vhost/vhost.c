/* SPDX-License-Identifier: MIT */
/* The back-end's side (vhost/serve.h), driven by a front-end and a driver that know what must come out. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "fds.h"
#include "hostile.h"
#include "peer.h"

static struct host host;
static struct peer peer;

static uint64_t stat_of(const char *name)
{
	char buf[8192] = "\n", want[64];
	size_t n = vhost_server_stats(host.server, buf + 1, sizeof buf - 1);
	const char *p;

	assert(n && n == strlen(buf + 1) && buf[n] == '\n');
	snprintf(want, sizeof want, "\n%s ", name);
	p = strstr(buf, want);
	assert(p);
	return strtoull(p + strlen(want), NULL, 10);
}

static void up(bool own, uint64_t features)
{
	peer_init(&peer);
	host_start(&host, own, &peer);
	peer_hello(&peer, features, PEER_PROTOCOL);
	peer_memory(&peer);
	for (unsigned i = 0; i < TOY_QUEUES; i++) {
		peer_queue_new(&peer, i, TOY_SIZE, 0);
		peer_queue_start(&peer, i, 0);
	}
}

static void down(void)
{
	close(peer.sock);
	peer.sock = -1;
	host_gone(&host, NULL);
	host_stop(&host);
	peer_fini(&peer);
}

static void hello(bool own)
{
	struct vhost_config c = {.offset = 4, .size = 8};
	struct vhost_msg m;
	uint64_t v;

	up(own, PEER_FEATURES);
	assert(host.toy.features == (PEER_FEATURES & ~VHOST_F_PROTOCOL_FEATURES));
	peer_ask(&peer, VHOST_GET_QUEUE_NUM, NULL, 0, &m);
	assert(m.p.u64 == TOY_QUEUES);
	peer_ask(&peer, VHOST_GET_MAX_MEM_SLOTS, NULL, 0, &m);
	assert(m.p.u64 == MEM_REGIONS);
	/* configuration: what is asked for, whatever there is; an error is an answer without payload */
	peer_ask(&peer, VHOST_GET_CONFIG, &c, 20, &m);
	assert(m.h.size == 20 && m.p.config.size == 8 && !memcmp(m.p.config.data, host.toy.config + 4, 8));
	c.size = 200;
	peer_ask(&peer, VHOST_GET_CONFIG, &c, 212, &m);
	assert(m.h.size == 212 && !memcmp(m.p.config.data, host.toy.config + 4, TOY_CONFIG - 4));
	assert(!m.p.config.data[TOY_CONFIG - 4]);
	c.size = 257;
	peer_ask(&peer, VHOST_GET_CONFIG, &c, 12, &m);
	assert(!m.h.size);
	c = (struct vhost_config){.offset = TOY_CONFIG + 1, .size = 1};
	peer_ask(&peer, VHOST_GET_CONFIG, &c, 13, &m);
	assert(!m.h.size);
	/* a write, which the device tells back */
	peer_channel(&peer);
	c = (struct vhost_config){.offset = 2, .size = 3, .data = {7, 8, 9}};
	assert(!peer_say(&peer, VHOST_SET_CONFIG, &c, 15, NULL, 0));
	assert(host.toy.config[1] == 0x41 && host.toy.config[2] == 7 && host.toy.config[4] == 9 && host.toy.config[5] == 0x45);
	assert(vhost_recv(peer.back, &m, PEER_WAIT) == 1);
	assert(m.h.request == VHOST_BACK_CONFIG_CHANGE && m.h.flags == VHOST_VERSION && !m.h.size);
	/* status, and the resets */
	v = VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER;
	assert(!peer_say(&peer, VHOST_SET_STATUS, &v, sizeof v, NULL, 0));
	peer_ask(&peer, VHOST_GET_STATUS, NULL, 0, &m);
	assert(m.p.u64 == v);
	assert(!host.toy.resets && host.toy.q[0].running);
	v = 0;
	assert(!peer_say(&peer, VHOST_SET_STATUS, &v, sizeof v, NULL, 0));
	assert(host.toy.resets == 1 && !host.toy.q[0].running && !host.toy.q[1].running);
	peer_queue_start(&peer, 0, 0);
	peer_some(&peer.q[0], 100);
	assert(!peer_say(&peer, VHOST_RESET_DEVICE, NULL, 0, NULL, 0));
	assert(host.toy.resets == 2 && !host.toy.q[0].running);
	/* how far it was is still known */
	assert(peer_queue_stop(&peer, 0) == 100);
	assert(!peer_say(&peer, VHOST_RESET_OWNER, NULL, 0, NULL, 0));
	assert(host.toy.resets == 3);
	down();
}

/* Firmware's rings first, then the kernel's; sizes, places and descriptors change */
static void again(bool own)
{
	up(own, PEER_FEATURES | VIRTIO_F_EVENT_IDX);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < TOY_QUEUES; i++) {
			unsigned n = 50 + round;

			peer_some(&peer.q[i], n);
			assert(peer_queue_stop(&peer, i) == n);
			assert(!host.toy.q[i].running && host.toy.q[i].starts == host.toy.q[i].stops);
			peer_queue_new(&peer, i, round % 2 ? TOY_SIZE : 4, round % 15);
			/* what is there before it starts needs no kick */
			assert(peer_send(&peer.q[i], 100));
			peer_queue_start(&peer, i, 0);
			assert(host.toy.q[i].running);
			peer_drain(&peer.q[i]);
			peer_some(&peer.q[i], 10);
			/* stopped and started where it was */
			assert(peer_queue_stop(&peer, i) == 11);
			peer_queue_start(&peer, i, 11);
			peer_drain(&peer.q[i]);
			peer_some(&peer.q[i], 5);
			assert(peer_queue_stop(&peer, i) == 16);
			peer_queue_new(&peer, i, TOY_SIZE, 0);
			peer_queue_start(&peer, i, 0);
		}
	}
	/* disabled is not served; enabled goes on */
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 1, 0);
	assert(!host.toy.q[1].running && host.toy.q[0].running);
	assert(peer_send(&peer.q[1], 9));
	peer_kick(&peer.q[1]);
	peer_some(&peer.q[0], 10);
	assert(!peer_reap(&peer.q[1]));
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 1, 1);
	peer_drain(&peer.q[1]);
	assert(stat_of("requests") == stat_of("queue0.requests") + stat_of("queue1.requests"));
	assert(stat_of("queue0.requests") == peer.q[0].sent && stat_of("queue1.requests") == peer.q[1].sent);
	down();
}

/* A front-end that knows no protocol features: the kick descriptor alone starts, and no answers come */
static void plain(bool own)
{
	peer_init(&peer);
	host_start(&host, own, &peer);
	peer_hello(&peer, PEER_FEATURES & ~VHOST_F_PROTOCOL_FEATURES, 0);
	assert(!peer.ack);
	peer_memory(&peer);
	peer_queue_new(&peer, 0, TOY_SIZE, 0);
	peer_state(&peer, VHOST_SET_VRING_NUM, 0, TOY_SIZE);
	peer_state(&peer, VHOST_SET_VRING_BASE, 0, 0);
	peer_ring_addr(&peer, 0, 0, 0);
	/* done before there is a call descriptor: it comes afterwards, and so does the interrupt */
	assert(peer_send(&peer.q[0], 77));
	peer_fd(&peer, VHOST_SET_VRING_KICK, 0, peer.q[0].kick);
	peer_fd(&peer, VHOST_SET_VRING_CALL, 0, peer.q[0].call[0]);
	peer_drain(&peer.q[0]);
	peer_some(&peer.q[0], 200);
	assert(peer_queue_stop(&peer, 0) == 201);
	down();
}

/* ---- things that change while requests go to and fro ---- */

static atomic_bool load_end;

static void *load(void *arg)
{
	struct peer_queue *q = arg;
	unsigned n = 0;

	while (!atomic_load(&load_end)) {
		bool sent = false;

		while (q->sent - q->back < 8 && peer_send(q, 1 + n++ * 577 % TOY_MAX))
			sent = true;
		if (sent)
			peer_kick(q);
		if (!peer_reap(q))
			peer_wait(q);
	}
	peer_drain(q);
	return NULL;
}

static pthread_t loads[TOY_QUEUES];

static void load_start(void)
{
	atomic_store(&load_end, false);
	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(!pthread_create(&loads[i], NULL, load, &peer.q[i]));
}

static void load_stop(void)
{
	atomic_store(&load_end, true);
	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(!pthread_join(loads[i], NULL));
}

/* SET_LOG_BASE has an answer of its own, and a descriptor: peer_ask() has none to send. */
static void set_log(int fd, uint64_t off, uint64_t size)
{
	struct vhost_msg m = {.h = {VHOST_SET_LOG_BASE, VHOST_VERSION, sizeof m.p.log}, .p.log = {size, off}, .fds = {fd},
		.nfds = 1};

	assert(!vhost_send(peer.sock, &m, PEER_WAIT));
	assert(vhost_recv(peer.sock, &m, PEER_WAIT) == 1 && m.h.request == VHOST_SET_LOG_BASE);
}

static void under_load(bool own)
{
	struct vhost_mem_reg reg[2] = {{.region = {PEER_RAM / 2, PEER_RAM / 2, PEER_USER + PEER_RAM / 2, PEER_RAM / 2}},
		{.region = {0x80000000, PEER_RAM / 2, PEER_USER + 0x80000000, 0}}};
	int log = memfd_create("log", MFD_CLOEXEC);
	uint64_t f = PEER_FEATURES | VHOST_F_LOG_ALL;

	assert(log >= 0 && !ftruncate(log, 0x2000));
	up(own, PEER_FEATURES);
	peer_inflight_get(&peer);
	peer_inflight_set(&peer);
	load_start();
	for (unsigned i = 0; i < 300; i++) {
		unsigned q = i % TOY_QUEUES;

		switch (i % 12) {
		case 5:
			peer_memory(&peer);
			break;
		case 6:
			assert(!peer_say(&peer, VHOST_ADD_MEM_REG, &reg[1], sizeof reg[1], &peer.mem.fd, 1));
			assert(!peer_say(&peer, VHOST_REM_MEM_REG, &reg[1], sizeof reg[1], NULL, 0));
			break;
		case 7:
			/* the region that rings are in goes and comes: nothing is served in between, and nothing lost */
			reg[0].region = (struct vhost_region){0, PEER_RAM / 2, PEER_USER, 0};
			assert(!peer_say(&peer, VHOST_REM_MEM_REG, &reg[0], sizeof reg[0], NULL, 0));
			assert(!host.toy.q[0].running && !host.toy.q[1].running);
			assert(!peer_say(&peer, VHOST_ADD_MEM_REG, &reg[0], sizeof reg[0], &peer.mem.fd, 1));
			assert(host.toy.q[0].running && host.toy.q[1].running);
			break;
		case 8:
			set_log(log, 0x1000, 0x1000);
			break;
		case 9:
			f ^= VHOST_F_LOG_ALL;
			assert(!peer_say(&peer, VHOST_SET_FEATURES, &f, sizeof f, NULL, 0));
			break;
		case 10:
			peer_inflight_set(&peer);
			break;
		case 11:
			peer_fd(&peer, VHOST_SET_VRING_KICK, q, peer.q[q].kick);
			break;
		default:
			peer_fd(&peer, VHOST_SET_VRING_CALL, q, peer.q[q].call[i / TOY_QUEUES % 2]);
			break;
		}
	}
	load_stop();
	for (unsigned i = 0; i < TOY_QUEUES; i++)
		assert(peer_queue_stop(&peer, i) == (uint16_t)peer.q[i].sent);
	close(log);
	down();
}

static void dirty(bool own)
{
	enum { OFF = 0x1000, LOG_AT = 0x200000 };
	uint64_t f = PEER_FEATURES | VHOST_F_LOG_ALL;
	int fd = memfd_create("log", MFD_CLOEXEC);
	uint8_t want[PEER_RAM / 4096 / 8] = {0}, *log;

	up(own, PEER_FEATURES);
	assert(fd >= 0 && !ftruncate(fd, 2 * OFF));
	log = mmap(NULL, 2 * OFF, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert(log != MAP_FAILED);
	set_log(fd, OFF, OFF);
	peer_some(&peer.q[0], 100);
	for (unsigned i = 0; i < 2 * OFF; i++)
		assert(!log[i]); /* not asked for yet */
	assert(!peer_say(&peer, VHOST_SET_FEATURES, &f, sizeof f, NULL, 0));
	/* ring addresses are set again, as QEMU does it; queue 1's used ring is logged elsewhere as well */
	peer_ring_addr(&peer, 0, VHOST_VRING_F_LOG, peer.q[0].used);
	peer_ring_addr(&peer, 1, VHOST_VRING_F_LOG, LOG_AT);
	memset(log, 0, 2 * OFF);
	assert(peer_send(&peer.q[0], 0x801)); /* slot 0: its buffer begins in the middle of a page */
	peer_kick(&peer.q[0]);
	peer_drain(&peer.q[0]);
	for (uint64_t a = peer.q[0].data + 0x1000; a < peer.q[0].data + 0x1801; a++)
		want[a / 4096 / 8] |= (uint8_t)(1 << a / 4096 % 8);
	want[peer.q[0].used / 4096 / 8] |= (uint8_t)(1 << peer.q[0].used / 4096 % 8);
	assert(peer_queue_stop(&peer, 0) == 101);
	assert(!memcmp(log + OFF, want, sizeof want));
	assert(!log[OFF + LOG_AT / 4096 / 8]);
	for (unsigned i = 0; i < OFF; i++)
		assert(!log[i]);
	assert(peer_send(&peer.q[1], 1));
	peer_kick(&peer.q[1]);
	peer_drain(&peer.q[1]);
	assert(peer_queue_stop(&peer, 1) == 1);
	assert(log[OFF + LOG_AT / 4096 / 8] == 1 && log[OFF + peer.q[1].used / 4096 / 8] & 1 << peer.q[1].used / 4096 % 8);
	/* a log that ends before the memory does: no harm */
	peer_queue_new(&peer, 1, TOY_SIZE, 0);
	peer_queue_start(&peer, 1, 0);
	set_log(fd, OFF, 1);
	memset(log, 0, 2 * OFF);
	peer_some(&peer.q[1], 50);
	for (unsigned i = 0; i < 2 * OFF; i++)
		assert(!log[i]);
	munmap(log, 2 * OFF);
	close(fd);
	down();
}

/* ---- translated code ---- */

static struct vhost_range asked[64];
static unsigned nasked;

/* Answers as husk-vmm does: the used index must not tell of the request yet. Once ends. */
static void answer_code(struct peer_queue *q, unsigned n, uint64_t answer)
{
	for (; n; n--) {
		struct vhost_msg m;
		uint16_t used;

		assert(vhost_recv(peer.back, &m, PEER_WAIT) == 1);
		assert(m.h.request == VHOST_BACK_CODE && m.h.flags == (VHOST_VERSION | VHOST_NEED_REPLY));
		assert(m.h.size == sizeof m.p.range && nasked < ARRAY_LEN(asked));
		asked[nasked++] = m.p.range;
		assert(!mem_get(&peer.mem, q->used + 2, &used, 2));
		assert(used == q->used_idx);
		m.h = (struct vhost_header){VHOST_BACK_CODE, VHOST_VERSION | VHOST_REPLY, 8};
		m.p.u64 = answer;
		assert(!vhost_send(peer.back, &m, PEER_WAIT));
	}
}

static void *answer_one(void *arg)
{
	answer_code(arg, 1, 0);
	return NULL;
}

static void code(bool own)
{
	struct peer_queue *q = &peer.q[0];
	uint64_t page;
	pthread_t t;

	up(own, PEER_FEATURES);
	peer_channel(&peer);
	peer_channel(&peer); /* the second takes the first one's place */
	assert(!peer_say(&peer, VHOST_SET_PAGE_BITS, NULL, 0, &peer.mem.bits_fd, 1));
	peer_some(q, 100); /* no code: nobody is asked */
	assert(!nasked && !stat_of("code_asked"));
	/* the page in which the buffer of slot 0 begins, which is 0x800 bytes before the next one */
	page = mem_page(&peer.mem, q->data + 0x1000);
	peer.mem.page_bits[page] = MEM_PG_CODE | MEM_PG_CODE_SYNCED;
	assert(peer_send(q, 0x1000));
	peer_kick(q);
	answer_code(q, 1, 0);
	peer_drain(q);
	assert(asked[0].gpa == q->data + 0x1000 && asked[0].len == 0x800);
	/* both: one question; MEM_PG_DIRTY is no matter */
	peer.mem.page_bits[page + 1] = MEM_PG_CODE;
	assert(peer_send(q, 0x1000));
	peer_kick(q);
	answer_code(q, 1, 0);
	peer_drain(q);
	assert(asked[1].gpa == q->data + 0x1000 && asked[1].len == 0x1000);
	peer.mem.page_bits[page] = MEM_PG_DIRTY;
	assert(peer_send(q, 0x1000));
	peer_kick(q);
	answer_code(q, 1, 0);
	peer_drain(q);
	assert(asked[2].gpa == q->data + 0x1800 && asked[2].len == 0x800);
	/* a ring that is stopped finishes its requests, which may ask: the answer comes while we wait for ours */
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 0, 0);
	assert(peer_send(q, 0x1000));
	assert(!pthread_create(&t, NULL, answer_one, q));
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 0, 1);
	assert(peer_queue_stop(&peer, 0) == 104);
	assert(!pthread_join(t, NULL));
	peer_drain(q);
	down();
	nasked = 0;
}

/* No answer, a wrong one, no channel: the front-end is as good as gone */
static void code_lost(bool own)
{
	struct peer_queue *q = &peer.q[0];

	for (unsigned kind = 0; kind < 3; kind++) {
		struct vhost_msg m;

		up(own, PEER_FEATURES);
		if (kind)
			peer_channel(&peer);
		memset(peer.mem.page_bits, MEM_PG_DIRTY, peer.mem.npages);
		assert(!peer_say(&peer, VHOST_SET_PAGE_BITS, NULL, 0, &peer.mem.bits_fd, 1));
		memset(peer.mem.page_bits + mem_page(&peer.mem, q->data), MEM_PG_CODE, 16);
		assert(peer_send(q, 5));
		peer_kick(q);
		if (kind == 1) {
			answer_code(q, 1, 1);
		} else if (kind == 2) {
			assert(vhost_recv(peer.back, &m, PEER_WAIT) == 1);
			close(peer.back);
			peer.back = -1;
		}
		host_gone(&host, kind == 0 ? "no back-end channel" : kind == 1 ? "wrong answer" : "no answer");
		assert(vhost_recv(peer.sock, &m, PEER_WAIT) == 0);
		host_stop(&host);
		peer_fini(&peer);
		nasked = 0;
	}
}

/* ---- front-ends come and go ---- */

static void next_front_end(bool own)
{
	unsigned fds;

	up(own, PEER_FEATURES);
	fds = open_fds();
	for (unsigned i = 0; i < 5; i++) {
		peer_inflight_get(&peer);
		peer_inflight_set(&peer);
		peer_channel(&peer);
		assert(!peer_say(&peer, VHOST_SET_PAGE_BITS, NULL, 0, &peer.mem.bits_fd, 1));
		peer_some(&peer.q[0], 10 + i);
		peer_some(&peer.q[1], 10);
		close(peer.sock);
		peer.sock = -1;
		host_gone(&host, NULL);
		assert(host.toy.resets == i);
		host_again(&host, &peer);
		peer_hello(&peer, PEER_FEATURES, PEER_PROTOCOL);
		assert(host.toy.resets == i + 1);
		peer_memory(&peer);
		for (unsigned k = 0; k < TOY_QUEUES; k++) {
			peer_queue_new(&peer, k, TOY_SIZE, i);
			peer_queue_start(&peer, k, 0);
		}
		close(peer.back);
		close(peer.inflight_fd);
		peer.back = peer.inflight_fd = -1;
		assert(open_fds() == fds);
	}
	assert(stat_of("front_ends") == 6);
	down();
}

static void broken_ring(bool own)
{
	struct peer_queue *q = &peer.q[0];
	uint16_t head = 2 * TOY_SIZE;
	struct pollfd p;
	uint64_t v;

	up(own, PEER_FEATURES);
	peer_some(q, 3);
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 0, 0);
	assert(!mem_put(&peer.mem, q->avail + 4 + 2 * (q->avail_idx & (q->size - 1)), &head, 2));
	q->avail_idx++;
	__atomic_store_n((uint16_t *)mem_at(&peer.mem, q->avail + 2, 2), q->avail_idx, __ATOMIC_SEQ_CST);
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 0, 1);
	p = (struct pollfd){.fd = q->err, .events = POLLIN};
	if (own) /* the server hears of it when it stops the ring */
		peer_state(&peer, VHOST_SET_VRING_ENABLE, 0, 0);
	assert(poll(&p, 1, PEER_WAIT) == 1 && read(q->err, &v, sizeof v) == sizeof v && v == 1);
	assert(stat_of("queue0.broken") == 1 && stat_of("broken") == 1);
	/* the other queue and, after a reset, this one work */
	peer_some(&peer.q[1], 100);
	peer_queue_stop(&peer, 0);
	peer_queue_new(&peer, 0, TOY_SIZE, 1);
	peer_queue_start(&peer, 0, 0);
	peer_some(q, 100);
	down();
}

/* A queue that cannot be started is an error to who asked for it, and no more than that. */
static void no_start(bool own)
{
	struct vhost_vring_state one = {0, 1};
	uint64_t v = 0;

	up(own, PEER_FEATURES);
	peer_state(&peer, VHOST_SET_VRING_ENABLE, 0, 0);
	host.toy.start_fails = ENOMEM;
	assert(peer_say(&peer, VHOST_SET_VRING_ENABLE, &one, sizeof one, NULL, 0));
	assert(read(peer.q[0].err, &v, sizeof v) == sizeof v && v == 1);
	host.toy.start_fails = 0;
	peer_fd(&peer, VHOST_SET_VRING_KICK, 0, peer.q[0].kick);
	peer_some(&peer.q[0], 20);
	peer_some(&peer.q[1], 20);
	down();
}

/* Kick descriptors that are none. Devices that wait for their own look after themselves. */
static void odd_kicks(void)
{
	uint64_t index = 0;
	int ends[2];

	up(false, PEER_FEATURES);
	/* a file is always ready, or never */
	assert(peer_say(&peer, VHOST_SET_VRING_KICK, &index, sizeof index, &peer.mem.fd, 1));
	peer_fd(&peer, VHOST_SET_VRING_KICK, 0, peer.q[0].kick);
	peer_some(&peer.q[0], 20);
	/* a pipe at its end would be ready for ever: it is looked at once */
	assert(!pipe(ends));
	peer_fd(&peer, VHOST_SET_VRING_KICK, 0, ends[0]);
	close(ends[0]);
	assert(peer_send(&peer.q[0], 9));
	assert(write(ends[1], &index, sizeof index) == sizeof index);
	peer_drain(&peer.q[0]);
	close(ends[1]);
	peer_some(&peer.q[1], 20);
	assert(!host.toy.q[0].vq->broken && host.toy.q[0].running);
	peer_fd(&peer, VHOST_SET_VRING_KICK, 0, peer.q[0].kick);
	peer_some(&peer.q[0], 20);
	down();
}

static void regions(bool own)
{
	struct vhost_mem_reg reg = {.region = {0x80000000, 0x1000, 0x80000000, 0}};
	unsigned n;

	up(own, PEER_FEATURES); /* two are there */
	for (n = 2; !peer_say(&peer, VHOST_ADD_MEM_REG, &reg, sizeof reg, &peer.mem.fd, 1); n++)
		reg.region.gpa = reg.region.user_addr += 0x10000;
	assert(n == MEM_REGIONS);
	peer_some(&peer.q[0], 20);
	/* the first of them, then there is room again */
	reg.region.gpa = reg.region.user_addr = 0x80000000;
	assert(!peer_say(&peer, VHOST_REM_MEM_REG, &reg, sizeof reg, &peer.mem.fd, 1));
	assert(peer_say(&peer, VHOST_REM_MEM_REG, &reg, sizeof reg, NULL, 0));
	assert(!peer_say(&peer, VHOST_ADD_MEM_REG, &reg, sizeof reg, &peer.mem.fd, 1));
	peer_some(&peer.q[0], 20);
	/* a table instead of all those */
	peer_memory(&peer);
	assert(!peer_say(&peer, VHOST_ADD_MEM_REG, &reg, sizeof reg, &peer.mem.fd, 1));
	peer_some(&peer.q[0], 20);
	down();
}

/* It asks and does not stay for the answer. */
static void impatient(bool own)
{
	struct vhost_msg m = {.h = {VHOST_GET_FEATURES, VHOST_VERSION, 0}};

	up(own, PEER_FEATURES);
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 10; k++)
			assert(!vhost_send(peer.sock, &m, PEER_WAIT));
		close(peer.sock);
		peer.sock = -1;
		host_gone(&host, NULL);
		host_again(&host, &peer);
	}
	peer_hello(&peer, PEER_FEATURES, PEER_PROTOCOL);
	down();
}

int main(void)
{
	unsigned fds = open_fds();

	for (unsigned own = 0; own < 2; own++) {
		hello(own);
		again(own);
		plain(own);
		under_load(own);
		dirty(own);
		code(own);
		code_lost(own);
		next_front_end(own);
		broken_ring(own);
		no_start(own);
		regions(own);
		impatient(own);
		hostile(own);
	}
	odd_kicks();
	assert(open_fds() == fds);
	return 0;
}
