/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include "hostile.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "peer.h"

#define U64(v)         {.u64 = (v)}
#define STATE(i, n)    {.state = {(i), (n)}}
#define MEM(...)       {.memory = {__VA_ARGS__}}
#define REG(...)       {.mem_reg = {.region = {__VA_ARGS__}}}
#define ADDR(i, d, u, a) {.addr = {.index = (i), .desc = (d), .used = (u), .avail = (a)}}

/* What the descriptors of a row are */
enum { RAM, EVENT, SMALL };

static const struct row {
	const char *words;
	uint32_t request, size;
	unsigned nfds, kind;
	bool answers; /* has an answer of its own, so refusing is hanging up */
	union vhost_payload p;
} rows[] = {
	{"request 0: unknown", 0, 0, 0, 0, false, U64(0)},
	{"unknown", 19, 8, 0, 0, false, U64(0)},
	{"unknown", 0xffffffff, 8, 1, EVENT, false, U64(0)},
	{"SET_FEATURES: 0 bytes are too few", VHOST_SET_FEATURES, 0, 0, 0, false, U64(0)},
	{"not offered", VHOST_SET_FEATURES, 8, 0, 0, false, U64(1ull << 34)},
	{"not offered", VHOST_SET_PROTOCOL_FEATURES, 8, 0, 0, false, U64(1ull << 14)},
	{"too few", VHOST_SET_MEM_TABLE, 7, 0, 0, false, MEM(.nregions = 0)},
	{"9 regions", VHOST_SET_MEM_TABLE, 264, 8, RAM, false, MEM(.nregions = 9)},
	{"regions", VHOST_SET_MEM_TABLE, 264, 8, RAM, false, MEM(.nregions = 0xffffffff)},
	{"2 regions in 40", VHOST_SET_MEM_TABLE, 40, 2, RAM, false, MEM(.nregions = 2)},
	{"with 0 descriptors", VHOST_SET_MEM_TABLE, 40, 0, RAM, false, MEM(.nregions = 1, .region = {{0, 4096, 0, 0}})},
	{"with 2 descriptors", VHOST_SET_MEM_TABLE, 40, 2, RAM, false, MEM(.nregions = 1, .region = {{0, 4096, 0, 0}})},
	{"whole pages", VHOST_SET_MEM_TABLE, 40, 1, RAM, false, MEM(.nregions = 1, .region = {{0, 0, 0, 0}})},
	{"whole pages", VHOST_SET_MEM_TABLE, 40, 1, RAM, false, MEM(.nregions = 1, .region = {{1, 4096, 0, 0}})},
	{"whole pages", VHOST_SET_MEM_TABLE, 40, 1, RAM, false,
		MEM(.nregions = 1, .region = {{0xfffffffffffff000, 0x2000, 0, 0}})},
	{"longer than its file", VHOST_SET_MEM_TABLE, 40, 1, SMALL, false,
		MEM(.nregions = 1, .region = {{0, 0x2000, 0, 0}})},
	{"longer than its file", VHOST_SET_MEM_TABLE, 40, 1, RAM, false,
		MEM(.nregions = 1, .region = {{0, 0x7ffffffffffff000, 0, 0}})},
	{"longer than its file", VHOST_SET_MEM_TABLE, 40, 1, RAM, false,
		MEM(.nregions = 1, .region = {{0, 0x1000, 0, PEER_RAM}})},
	{"whole pages", VHOST_SET_MEM_TABLE, 40, 1, RAM, false,
		MEM(.nregions = 1, .region = {{0, 0x1000, 0, 0xfffffffffffff000}})},
	{"overlaps", VHOST_SET_MEM_TABLE, 72, 2, RAM, false,
		MEM(.nregions = 2, .region = {{0, 0x2000, 0, 0}, {0x1000, 0x2000, 0x10000, 0}})},
	{"cannot map", VHOST_SET_MEM_TABLE, 40, 1, EVENT, false, MEM(.nregions = 1, .region = {{0, 0x1000, 0, 0}})},
	{"0 descriptors", VHOST_ADD_MEM_REG, 40, 0, RAM, false, REG(0x40000000, 0x1000, 0x40000000, 0)},
	{"2 descriptors", VHOST_ADD_MEM_REG, 40, 2, RAM, false, REG(0x40000000, 0x1000, 0x40000000, 0)},
	{"overlaps", VHOST_ADD_MEM_REG, 40, 1, RAM, false, REG(0x1000, 0x1000, 0x40000000, 0)},
	{"too few", VHOST_ADD_MEM_REG, 39, 1, RAM, false, REG(0x40000000, 0x1000, 0x40000000, 0)},
	{"no memory region", VHOST_REM_MEM_REG, 40, 0, RAM, false, REG(0, 0x1000, PEER_USER, 0)},
	{"no memory region", VHOST_REM_MEM_REG, 40, 1, RAM, false, REG(0, PEER_RAM / 2, PEER_USER + 1, 0)},
	{"0 descriptors", VHOST_SET_LOG_BASE, 16, 0, 0, true, {.log = {4096, 0}}},
	{"cannot be", VHOST_SET_LOG_BASE, 16, 1, RAM, true, {.log = {0, 0}}},
	{"cannot be", VHOST_SET_LOG_BASE, 16, 1, RAM, true, {.log = {4096, 1}}},
	{"cannot be", VHOST_SET_LOG_BASE, 16, 1, RAM, true, {.log = {~0ull, 4096}}},
	{"longer than", VHOST_SET_LOG_BASE, 16, 1, SMALL, true, {.log = {4097, 0}}},
	{"too few", VHOST_SET_LOG_BASE, 8, 1, RAM, true, {.log = {4096, 0}}},
	{"no queue 2", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(2, 4)},
	{"no queue 4294967295", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(0xffffffff, 4)},
	{"running", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(0, 4)},
	{"power of two", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(1, 0)},
	{"power of two", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(1, 3)},
	{"power of two", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(1, 2 * TOY_SIZE)},
	{"power of two", VHOST_SET_VRING_NUM, 8, 0, 0, false, STATE(1, 0x80000000)},
	{"running", VHOST_SET_VRING_BASE, 8, 0, 0, false, STATE(0, 0)},
	{"split ring", VHOST_SET_VRING_BASE, 8, 0, 0, false, STATE(1, 0x10000)},
	{"no queue", VHOST_SET_VRING_BASE, 8, 0, 0, false, STATE(77, 0)},
	{"no queue", VHOST_GET_VRING_BASE, 8, 0, 0, true, STATE(2, 0)},
	{"no queue", VHOST_SET_VRING_ADDR, 40, 0, 0, false, ADDR(2, PEER_USER, PEER_USER, PEER_USER)},
	{"not in guest memory", VHOST_SET_VRING_ADDR, 40, 0, 0, false, ADDR(0, 0, PEER_USER, PEER_USER)},
	{"not in guest memory", VHOST_SET_VRING_ADDR, 40, 0, 0, false, ADDR(1, PEER_USER, PEER_USER - 1, PEER_USER)},
	{"not in guest memory", VHOST_SET_VRING_ADDR, 40, 0, 0, false,
		ADDR(1, PEER_USER, PEER_USER, PEER_USER + PEER_RAM)},
	{"not aligned", VHOST_SET_VRING_ADDR, 40, 0, 0, false, ADDR(0, PEER_USER + 1, PEER_USER, PEER_USER)},
	{"not in RAM", VHOST_SET_VRING_ADDR, 40, 0, 0, false, ADDR(0, PEER_USER + PEER_RAM - 16, PEER_USER, PEER_USER)},
	{"no queue", VHOST_SET_VRING_KICK, 8, 1, EVENT, false, U64(2)},
	{"with 0 descriptors", VHOST_SET_VRING_KICK, 8, 0, 0, false, U64(0)},
	{"with 2 descriptors", VHOST_SET_VRING_KICK, 8, 2, EVENT, false, U64(0)},
	{"with 1 descriptors", VHOST_SET_VRING_KICK, 8, 1, EVENT, false, U64(0x100)},
	{"does not poll", VHOST_SET_VRING_KICK, 8, 0, 0, false, U64(0x100)},
	{"before its size", VHOST_SET_VRING_ENABLE, 8, 0, 0, false, STATE(1, 1)}, /* it has a kick descriptor */
	{"no queue", VHOST_SET_VRING_CALL, 8, 1, EVENT, false, U64(9)},
	{"with 0 descriptors", VHOST_SET_VRING_CALL, 8, 0, 0, false, U64(0)},
	{"with 8 descriptors", VHOST_SET_VRING_ERR, 8, 8, EVENT, false, U64(0)},
	{"no queue", VHOST_SET_VRING_ENABLE, 8, 0, 0, false, STATE(2, 1)},
	{"ENABLE 2", VHOST_SET_VRING_ENABLE, 8, 0, 0, false, STATE(0, 2)},
	{"channel of 0", VHOST_SET_BACKEND_REQ_FD, 0, 0, 0, false, U64(0)},
	{"channel of 2", VHOST_SET_BACKEND_REQ_FD, 0, 2, EVENT, false, U64(0)},
	{"too few", VHOST_GET_CONFIG, 11, 0, 0, true, {.config = {0, 0, 0, {0}}}},
	{"no configuration", VHOST_SET_CONFIG, 12, 0, 0, false, {.config = {0, 1, 0, {0}}}},
	{"no configuration", VHOST_SET_CONFIG, 14, 0, 0, false, {.config = {TOY_CONFIG - 1, 2, 0, {0}}}},
	{"no configuration", VHOST_SET_CONFIG, 13, 0, 0, false, {.config = {0xffffffff, 1, 0, {0}}}},
	{"no configuration", VHOST_SET_CONFIG, 268, 0, 0, false, {.config = {0, 0xffffffff, 0, {0}}}},
	{"at most 2 of 64", VHOST_GET_INFLIGHT_FD, 24, 0, 0, true, {.inflight = {0, 0, 3, TOY_SIZE, 0}}},
	{"at most 2 of 64", VHOST_GET_INFLIGHT_FD, 20, 0, 0, true, {.inflight = {0, 0, 2, TOY_SIZE + 1, 0}}},
	{"0 queues", VHOST_GET_INFLIGHT_FD, 24, 0, 0, true, {.inflight = {0, 0, 0, 0, 0}}},
	{"0 descriptors", VHOST_SET_INFLIGHT_FD, 24, 0, 0, false, {.inflight = {0x1000, 0, 2, TOY_SIZE, 0}}},
	{"are needed", VHOST_SET_INFLIGHT_FD, 24, 1, RAM, false, {.inflight = {0x800, 0, 2, TOY_SIZE, 0}}},
	{"cannot be", VHOST_SET_INFLIGHT_FD, 24, 1, RAM, false, {.inflight = {0x1000, 1, 2, TOY_SIZE, 0}}},
	{"longer than", VHOST_SET_INFLIGHT_FD, 24, 1, RAM, false, {.inflight = {0x1000, ~0xfffull, 2, TOY_SIZE, 0}}},
	{"longer than", VHOST_SET_INFLIGHT_FD, 24, 1, SMALL, false, {.inflight = {0x1000, 0x1000, 2, TOY_SIZE, 0}}},
	{"64 entries, its in-flight record 16", VHOST_SET_INFLIGHT_FD, 24, 1, RAM, false,
		{.inflight = {0x1000, 0, 2, 16, 0}}},
	{"device status", VHOST_SET_STATUS, 8, 0, 0, false, U64(0x100)},
	{"page bits with 0", VHOST_SET_PAGE_BITS, 0, 0, 0, false, U64(0)},
	{"longer than", VHOST_SET_PAGE_BITS, 0, 1, EVENT, false, U64(0)},
};

static int fd_make(const struct peer *p, unsigned kind)
{
	int fd;

	switch (kind) {
	case RAM:
		return dup(p->mem.fd);
	case SMALL:
		fd = memfd_create("small", 0);
		assert(fd >= 0 && !ftruncate(fd, 0x1000));
		return fd;
	default:
		return eventfd(0, 0);
	}
}

/* Queue 0 runs; of queue 1 there is a kick descriptor. */
static void set_up(struct peer *p)
{
	peer_hello(p, PEER_FEATURES, PEER_PROTOCOL);
	peer_memory(p);
	peer_queue_new(p, 0, TOY_SIZE, 0);
	p->q[0].sent = p->q[0].back;
	peer_queue_start(p, 0, 0);
	peer_fd(p, VHOST_SET_VRING_KICK, 1, p->q[1].kick);
}

static void refused(struct host *h, struct peer *p, const struct row *r, bool ack)
{
	struct vhost_msg m = {.h = {r->request, VHOST_VERSION, r->size}, .p = r->p};
	uint64_t answer;

	set_up(p);
	for (unsigned i = 0; i < r->nfds; i++)
		assert((m.fds[i] = fd_make(p, r->kind)) >= 0);
	m.nfds = r->nfds;
	if (ack && !r->answers) {
		answer = peer_say(p, r->request, &m.p, m.h.size, m.fds, m.nfds);
		if (!answer)
			fprintf(stderr, "taken: %s\n", r->words);
		assert(answer);
		/* it goes on with what it had, if that can be */
		if (r->request != VHOST_SET_MEM_TABLE && r->request != VHOST_SET_VRING_ADDR &&
			r->request != VHOST_SET_INFLIGHT_FD)
			peer_some(&p->q[0], 3);
		close(p->sock);
		p->sock = -1;
		host_gone(h, NULL);
	} else {
		assert(!vhost_send(p->sock, &m, PEER_WAIT));
		host_gone(h, r->words);
	}
	vhost_msg_close(&m);
	host_again(h, p);
}

void hostile(bool own)
{
	static struct host h;
	static struct peer p;

	peer_init(&p);
	host_start(&h, own, &p);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		refused(&h, &p, &rows[i], true);
		refused(&h, &p, &rows[i], false);
	}
	/* bytes that are no message at all */
	for (unsigned i = 0; i < 5; i++) {
		static const struct vhost_header bad[] = {{1, 0, 0}, {1, 1, 0x10000}, {1, 3, 0}, {0, 0, 0}, {1, 1 | VHOST_REPLY, 0}};

		set_up(&p);
		assert(write(p.sock, &bad[i], sizeof bad[i]) == sizeof bad[i]);
		host_gone(&h, i == 4 ? "an answer to no question" : "no vhost-user message");
		host_again(&h, &p);
	}
	/* what is left after all that works */
	set_up(&p);
	peer_some(&p.q[0], 100);
	host_stop(&h);
	peer_fini(&p);
}
