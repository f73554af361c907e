/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "client.h"

/* Per queue: descriptors, available ring, used ring; then per slot a header with its status, and a table. */
enum { AVAIL = 0x4000, USED = 0x5000, SLOTS = 0x8000, SLOT = 0x1800, TABLE = 0x40, QUEUE = SLOTS + CLIENT_SIZE * SLOT };
_Static_assert(TABLE + (CLIENT_SEGS + 2) * 16 <= SLOT, "a table");
enum { WAIT = 20000, F_EVENT = 29, F_INDIRECT = 28, F_PROTOCOL = 30, F_VERSION = 32, F_FLUSH = 9 };

static void __attribute__((noreturn, format(printf, 1, 2))) die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

void client_init(struct client *c, unsigned nqueues, size_t data)
{
	memset(c, 0, sizeof *c);
	c->sock = c->inflight_fd = -1;
	c->nqueues = nqueues;
	c->data = (nqueues * (size_t)QUEUE + 0x1fffff) & ~(size_t)0x1fffff;
	c->ram_len = (c->data + data + 0x1fffff) & ~(size_t)0x1fffff;
	c->ram_fd = memfd_create("blk-client", MFD_CLOEXEC);
	if (c->ram_fd < 0 || ftruncate(c->ram_fd, (off_t)c->ram_len))
		die("memory: %s", strerror(errno));
	c->ram = mmap(NULL, c->ram_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, c->ram_fd, 0);
	if (c->ram == MAP_FAILED)
		die("memory: %s", strerror(errno));
	for (unsigned i = 0; i < nqueues; i++) {
		struct client_queue *q = &c->q[i];

		q->c = c;
		q->index = i;
		q->desc = c->ram + i * (size_t)QUEUE;
		q->avail = q->desc + AVAIL;
		q->used = q->desc + USED;
		q->slots = q->desc + SLOTS;
		q->kick = eventfd(0, EFD_CLOEXEC);
		q->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
}

static void say(struct client *c, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct vhost_msg m = {.h = {request, VHOST_VERSION | (c->ack ? VHOST_NEED_REPLY : 0), size}};

	memcpy(&m.p, payload, size);
	if (fd >= 0) {
		m.fds[0] = fd;
		m.nfds = 1;
	}
	if (vhost_send(c->sock, &m, WAIT))
		die("vhost-user: cannot send request %u", request);
	if (c->ack && (vhost_recv(c->sock, &m, WAIT) != 1 || m.p.u64))
		die("vhost-user: request %u is refused", request);
}

static void ask(struct client *c, uint32_t request, const void *payload, uint32_t size, struct vhost_msg *m)
{
	*m = (struct vhost_msg){.h = {request, VHOST_VERSION, size}};
	if (size)
		memcpy(&m->p, payload, size);
	if (vhost_send(c->sock, m, WAIT) || vhost_recv(c->sock, m, WAIT) != 1 || m->h.request != request)
		die("vhost-user: no answer to request %u", request);
}

static void record(struct client *c)
{
	if (c->inflight_fd < 0) {
		struct vhost_inflight want = {.nqueues = (uint16_t)c->nqueues, .queue_size = CLIENT_SIZE};
		struct vhost_msg m;

		ask(c, VHOST_GET_INFLIGHT_FD, &want, sizeof want, &m);
		if (m.nfds != 1)
			die("vhost-user: no in-flight record");
		c->inflight_fd = m.fds[0];
		c->inflight = m.p.inflight;
	}
	say(c, VHOST_SET_INFLIGHT_FD, &c->inflight, sizeof c->inflight, c->inflight_fd);
}

static void start(struct client *c, struct client_queue *q)
{
	struct vhost_vring_state s = {q->index, CLIENT_SIZE};
	struct vhost_vring_addr a = {.index = q->index, .desc = (uintptr_t)q->desc, .used = (uintptr_t)q->used,
		.avail = (uintptr_t)q->avail};
	uint64_t index = q->index;

	say(c, VHOST_SET_VRING_NUM, &s, sizeof s, -1);
	s.num = get_u16(q->used + 2);
	say(c, VHOST_SET_VRING_BASE, &s, sizeof s, -1);
	say(c, VHOST_SET_VRING_ADDR, &a, sizeof a, -1);
	say(c, VHOST_SET_VRING_KICK, &index, sizeof index, q->kick);
	say(c, VHOST_SET_VRING_CALL, &index, sizeof index, q->call);
	s.num = 1;
	say(c, VHOST_SET_VRING_ENABLE, &s, sizeof s, -1);
}

void client_connect(struct client *c, int sock)
{
	uint64_t want = 1ull << F_VERSION | 1ull << F_PROTOCOL | 1ull << F_EVENT | 1ull << F_INDIRECT | 1ull << F_FLUSH;
	uint64_t protocol = 1ull << VHOST_P_MQ | 1ull << VHOST_P_REPLY_ACK | 1ull << VHOST_P_CONFIG |
		1ull << VHOST_P_INFLIGHT_SHMFD;
	struct vhost_config config = {.size = 60};
	struct vhost_memory t = {.nregions = 1, .region = {{0, c->ram_len, (uintptr_t)c->ram, 0}}};
	struct vhost_msg m;

	if (c->sock >= 0)
		close(c->sock);
	c->sock = sock;
	c->ack = false;
	ask(c, VHOST_GET_FEATURES, NULL, 0, &m);
	c->features = want & m.p.u64;
	ask(c, VHOST_GET_PROTOCOL_FEATURES, NULL, 0, &m);
	c->protocol = protocol & m.p.u64;
	say(c, VHOST_SET_PROTOCOL_FEATURES, &c->protocol, 8, -1);
	c->ack = c->protocol >> VHOST_P_REPLY_ACK & 1;
	say(c, VHOST_SET_OWNER, NULL, 0, -1);
	say(c, VHOST_SET_FEATURES, &c->features, 8, -1);
	c->indirect = c->features >> F_INDIRECT & 1;
	c->event_idx = c->features >> F_EVENT & 1;
	ask(c, VHOST_GET_CONFIG, &config, 12 + 60, &m);
	c->capacity = get_u64(m.p.config.data) * 512;
	c->seg_max = get_u32(m.p.config.data + 12);
	say(c, VHOST_SET_MEM_TABLE, &t, 8 + sizeof t.region[0], c->ram_fd);
	c->inflight_on = c->protocol >> VHOST_P_INFLIGHT_SHMFD & 1;
	if (c->inflight_on)
		record(c);
	for (unsigned i = 0; i < c->nqueues; i++)
		start(c, &c->q[i]);
}

int client_dial(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof a.sun_path)
		die("%s: too long", path);
	strcpy(a.sun_path, path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
		die("%s: %s", path, strerror(errno));
	return fd;
}

void client_bye(struct client *c)
{
	struct vhost_msg m;

	for (unsigned i = 0; i < c->nqueues; i++)
		ask(c, VHOST_GET_VRING_BASE, &(struct vhost_vring_state){i, 0}, 8, &m);
	close(c->sock);
	c->sock = -1;
}

static void desc(uint8_t *p, const uint8_t *ram, const uint8_t *at, size_t len, unsigned flags, unsigned next)
{
	put_u64(p, (uint64_t)(at - ram));
	put_u32(p + 8, (uint32_t)len);
	put_u16(p + 12, (uint16_t)flags);
	put_u16(p + 14, (uint16_t)next);
}

void client_send(struct client_queue *q, unsigned slot, uint32_t type, uint64_t sector, size_t off, size_t len, size_t seg)
{
	uint8_t *h = q->slots + (size_t)slot * SLOT, *ram = q->c->ram, *data = ram + q->c->data + off;
	unsigned n = 0, first = 0;
	uint8_t *table = h + TABLE;

	put_u32(h, type);
	put_u32(h + 4, 0);
	put_u64(h + 8, sector);
	h[16] = 0xff;
	/* without indirect tables: descriptors of the ring, of which every slot has three */
	if (!q->c->indirect) {
		table = q->desc;
		first = slot * 3;
		if (len > seg || first + 3 > CLIENT_SIZE)
			die("segments without indirect descriptors");
	}
	desc(table + 16ull * (first + n), ram, h, 16, 1, first + n + 1);
	n++;
	for (size_t at = 0; at < len; at += seg, n++)
		desc(table + 16ull * (first + n), ram, data + at, min_u64(seg, len - at), type == T_IN ? 3 : 1, first + n + 1);
	desc(table + 16ull * (first + n), ram, h + 16, 1, 2, 0);
	n++;
	if (q->c->indirect) {
		desc(q->desc + 16ull * slot, ram, table, 16ull * n, 4, 0);
		first = slot;
	}
	put_u16(q->avail + 4 + 2 * (size_t)(q->avail_idx % CLIENT_SIZE), (uint16_t)first);
	q->avail_idx++;
}

void client_kick(struct client_queue *q)
{
	uint16_t old = q->kicked, idx = q->avail_idx, event;
	uint64_t one = 1;
	bool wanted;

	if (idx == old)
		return;
	__atomic_store_n((uint16_t *)(void *)(q->avail + 2), idx, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	event = __atomic_load_n((uint16_t *)(void *)(q->used + 4 + 8 * CLIENT_SIZE), __ATOMIC_RELAXED);
	wanted = q->c->event_idx ? (uint16_t)(idx - event - 1) < (uint16_t)(idx - old) : !(get_u16(q->used) & 1);
	q->kicked = idx;
	if (!wanted)
		return;
	q->kicks++;
	if (write(q->kick, &one, 8) != 8)
		die("kick: %s", strerror(errno));
}

int client_reap(struct client_queue *q)
{
	uint32_t id;

	if (__atomic_load_n((uint16_t *)(void *)(q->used + 2), __ATOMIC_ACQUIRE) == q->used_idx)
		return -1;
	id = get_u32(q->used + 4 + 8 * (size_t)(q->used_idx % CLIENT_SIZE));
	q->used_idx++;
	if (id >= CLIENT_SIZE || (!q->c->indirect && id % 3))
		die("used: request %u", id);
	return (int)(q->c->indirect ? id : id / 3);
}

unsigned client_status(const struct client_queue *q, unsigned slot)
{
	return q->slots[(size_t)slot * SLOT + 16];
}

bool client_wait(struct client_queue *q, int timeout_ms)
{
	struct pollfd p = {.fd = q->call, .events = POLLIN};
	uint64_t n;

	__atomic_store_n((uint16_t *)(void *)(q->avail + 4 + 2 * CLIENT_SIZE), q->used_idx, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n((uint16_t *)(void *)(q->used + 2), __ATOMIC_ACQUIRE) != q->used_idx)
		return true;
	if (poll(&p, 1, timeout_ms) <= 0)
		return false;
	q->calls += read(q->call, &n, 8) == 8;
	return true;
}
