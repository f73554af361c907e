/* SPDX-License-Identifier: MIT */
/* Sockets between host and guest: both ways to connect, ends, credit, and guests that do not keep to it. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"
#include "driver.h"
#include "virtio/vsock.h"

enum { INVALID, REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { IN, OUT, CID = 7, HDR = 44, BUF = 8192, QUEUE = 64, ALLOC = 1 << 18 };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static struct loop *loop;
static struct mem mem;
static struct drv d;
static char path[64];
static uint32_t alloc = ALLOC, fwd;

static void stop(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

/* What is ready now, and what follows from it */
static void turn(void)
{
	struct timer t = {.fire = stop};

	for (int i = 0; i < 6; i++) {
		timer_set(loop, &t, now_ns());
		assert(!loop_run(loop));
	}
}

static int client(const char *line)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(a.sun_path, path, sizeof path);
	assert(fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof a));
	assert(send(fd, line, strlen(line), 0) == (ssize_t)strlen(line));
	turn();
	return fd;
}

static bool got(int fd, const char *s)
{
	char buf[256];
	ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);

	return n == (ssize_t)strlen(s) && !memcmp(buf, s, (size_t)n);
}

static bool ended(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT);

	close(fd);
	return n == 0 || (n < 0 && errno == ECONNRESET);
}

static uint64_t buffer(unsigned i)
{
	return 4 * MIB + (uint64_t)(i % QUEUE) * BUF;
}

static void fill(unsigned n)
{
	while (n--)
		drv_add_one(&d, IN, buffer(d.q[IN].next_desc), BUF, true);
	drv_kick(&d, IN);
}

static void raw(const struct packet *p, const void *data, uint32_t len)
{
	assert(!mem_put(&mem, DRV_DATA, p, sizeof *p) && !mem_put(&mem, DRV_DATA + HDR, data, len));
	drv_add(&d, OUT, (struct drv_seg[]){{DRV_DATA, HDR, false}, {DRV_DATA + HDR, len, false}}, 2);
	drv_kick(&d, OUT);
	assert(drv_used(&d, OUT, NULL) == 0);
}

static void guest(unsigned op, uint32_t from, uint32_t to, uint32_t flags, const void *data, uint32_t len)
{
	raw(&(struct packet){.src_cid = CID, .dst_cid = 2, .src_port = from, .dst_port = to, .len = len, .type = 1,
		.op = (uint16_t)op, .flags = flags, .buf_alloc = alloc, .fwd_cnt = fwd}, data, len);
}

/* The next packet for the guest: its operation, or -1; the buffer goes back. */
static struct packet last;
static uint8_t payload[BUF];

static int heard(void)
{
	uint16_t head;
	int64_t len = drv_used(&d, IN, &head);

	if (len < 0)
		return -1;
	assert(len >= HDR && !mem_get(&mem, buffer(head), &last, HDR));
	assert(last.src_cid == 2 && last.dst_cid == CID && last.type == 1 && last.len == len - HDR);
	assert(last.buf_alloc == (last.op == RST ? last.buf_alloc : VSOCK_BUFFER));
	assert(!mem_get(&mem, buffer(head) + HDR, payload, last.len));
	drv_add_one(&d, IN, buffer(d.q[IN].next_desc), BUF, true);
	drv_kick(&d, IN);
	return last.op;
}

static bool heard_text(const char *s)
{
	turn();
	return heard() == RW && last.len == strlen(s) && !memcmp(payload, s, last.len);
}

static struct virtio_dev *begin(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct virtio_dev *dev;
	uint64_t cid;
	struct err e;

	snprintf(path, sizeof path, "/tmp/husk-vsock-test.%d", (int)getpid());
	memcpy(a.sun_path, path, sizeof path);
	assert(fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a) && !listen(fd, 100));
	loop = loop_new();
	assert(loop && !mem_init(&mem, 8 * MIB, &e));
	assert(!vsock_new(&dev, &(struct vsock_config){.loop = loop, .listen_fd = fd, .cid = CID}, &e));
	drv_init(&d, &mem, dev);
	dev->ops->config_read(dev, 0, &cid, sizeof cid);
	assert(cid == CID && dev->nqueues == 3);
	drv_start(&d, VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX, QUEUE);
	fill(QUEUE);
	alloc = ALLOC;
	fwd = 0;
	return dev;
}

static void finish(struct virtio_dev *dev)
{
	drv_stop(&d);
	vsock_free(dev);
	loop_free(loop);
	mem_fini(&mem);
	unlink(path);
}

/* A client connects to port 22 of the guest; returns its descriptor, port is the host's */
static int open_in(uint32_t *port)
{
	char ok[32];
	int fd = client("CONNECT 22\nearly");

	assert(heard() == REQUEST && last.dst_port == 22);
	*port = last.src_port;
	guest(RESPONSE, 22, *port, 0, NULL, 0);
	snprintf(ok, sizeof ok, "OK %u\n", *port);
	assert(got(fd, ok) && heard_text("early"));
	return fd;
}

static void both_ways(void)
{
	struct virtio_dev *dev = begin();
	const struct vsock_counters *n = vsock_counters(dev);
	uint32_t port, port2;
	int a = open_in(&port), b = open_in(&port2), c, w;

	assert(port != port2 && n->opened == 2);
	guest(RW, 22, port, 0, "to a", 4);
	guest(RW, 22, port2, 0, "to b", 4);
	assert(got(a, "to a") && got(b, "to b"));
	assert(send(b, "from b", 6, 0) == 6 && heard_text("from b") && last.src_port == port2);
	/* a client that has said all */
	shutdown(a, SHUT_WR);
	turn();
	assert(heard() == SHUTDOWN && last.flags == 2 && last.src_port == port);
	guest(RW, 22, port, 0, "still", 5);
	assert(got(a, "still"));
	/* the guest closes: when the client has all, it is reset */
	guest(SHUTDOWN, 22, port, 3, NULL, 0);
	assert(heard() == RST && last.src_port == port && ended(a));
	/* one that goes, after it has written */
	assert(send(b, "bye", 3, 0) == 3);
	close(b);
	assert(heard_text("bye") && heard() == SHUTDOWN && last.flags == 3);
	guest(RST, 22, port2, 0, NULL, 0);
	assert(heard() == -1);
	/* or of whom we have not heard yet that it has gone */
	b = open_in(&port2);
	close(b);
	guest(RW, 22, port2, 0, "lost", 4);
	guest(RW, 22, port2, 0, "too", 3);
	assert(heard() == SHUTDOWN && last.flags == 3 && heard() == -1);
	turn();
	guest(RST, 22, port2, 0, NULL, 0);
	assert(heard() == -1 && n->resets == 0);
	/* the guest connects: nobody; somebody who waits, the first of two */
	guest(REQUEST, 1000, 5000, 0, NULL, 0);
	assert(heard() == RST && last.src_port == 5000 && last.dst_port == 1000 && n->refused == 1);
	w = client("ACCEPT 5000\n");
	c = client("ACCEPT 5000\n");
	close(client("ACCEPT 5001\n"));
	turn();
	guest(REQUEST, 1001, 5000, 0, NULL, 0);
	assert(heard() == RESPONSE && got(w, "OK 1001\n") && !got(c, "OK 1001\n"));
	assert(send(w, "served", 6, 0) == 6 && heard_text("served"));
	guest(SHUTDOWN, 1001, 5000, 2, NULL, 0); /* half */
	assert(heard() == -1 && recv(w, &port, 1, MSG_DONTWAIT) == 0);
	assert(send(w, "on", 2, 0) == 2 && heard_text("on"));
	guest(REQUEST, 1002, 5001, 0, NULL, 0);
	assert(heard() == RST && n->refused == 2); /* who had waited has gone */
	/* the driver goes: connections end, who waits goes on waiting */
	drv_stop(&d);
	turn();
	assert(ended(w));
	drv_start(&d, VIRTIO_F_VERSION_1, QUEUE);
	fill(QUEUE);
	guest(REQUEST, 1003, 5000, 0, NULL, 0);
	assert(heard() == RESPONSE && got(c, "OK 1003\n"));
	guest(RST, 1003, 5000, 0, NULL, 0);
	assert(ended(c) && heard() == -1);
	finish(dev);
}

static void bad_lines(void)
{
	static const char *const lines[] = {"\n", "CONNECT\n", "CONNECT \n", "CONNECT x\n", "CONNECT -1\n", "CONNECT 4294967295\n",
		"CONNECT 99999999999999999999999\n", "CONNECT 22 \n", "LISTEN 22\n", "connect 22\n", "ACCEPT\n",
		"CONNECT 00000000000000000000000000000000000000022\n"};
	struct virtio_dev *dev = begin();

	for (unsigned i = 0; i < ARRAY_LEN(lines); i++)
		assert(ended(client(lines[i])));
	close(client("CONN"));
	turn();
	assert(heard() == -1);
	/* refused by the guest; gone before the guest answers; no driver */
	int fd = client("CONNECT 23\n");
	assert(heard() == REQUEST);
	guest(RST, 23, last.src_port, 0, NULL, 0);
	assert(ended(fd));
	fd = client("CONNECT 23\n");
	assert(heard() == REQUEST);
	close(fd);
	turn();
	assert(heard() == RST);
	drv_stop(&d);
	assert(ended(client("CONNECT 23\n")));
	finish(dev);
}

/* The guest may send VSOCK_BUFFER bytes that the client has not read, and is told when more may come */
static void credit_out(void)
{
	static uint8_t chunk[4096], back[4096];
	struct virtio_dev *dev = begin();
	uint32_t port, free_bytes, sent = 0, got_bytes = 0;
	int fd = open_in(&port), small = 4096;

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	free_bytes = VSOCK_BUFFER;
	while (sent < 4 * MIB) {
		while (free_bytes >= sizeof chunk && sent < 4 * MIB) {
			for (unsigned i = 0; i < sizeof chunk; i++)
				chunk[i] = (uint8_t)((sent + i) * 167 >> 8);
			guest(RW, 22, port, 0, chunk, sizeof chunk);
			sent += sizeof chunk;
			free_bytes -= sizeof chunk;
			while (heard() == CREDIT_UPDATE)
				free_bytes = last.buf_alloc - (sent - last.fwd_cnt);
		}
		for (ssize_t n; (n = recv(fd, back, sizeof back, MSG_DONTWAIT)) > 0; got_bytes += (uint32_t)n)
			for (ssize_t i = 0; i < n; i++)
				assert(back[i] == (uint8_t)((got_bytes + i) * 167 >> 8));
		turn();
		while (heard() == CREDIT_UPDATE)
			free_bytes = last.buf_alloc - (sent - last.fwd_cnt);
	}
	/* nobody reads: the socket fills, then the buffer; then it is too much */
	for (free_bytes = 0; free_bytes < 8 * MIB; free_bytes += sizeof chunk) {
		int op;

		guest(RW, 22, port, 0, chunk, sizeof chunk);
		while ((op = heard()) == CREDIT_UPDATE)
			;
		if (op == RST)
			break;
		assert(op == -1);
	}
	assert(free_bytes < 8 * MIB && vsock_counters(dev)->resets == 1);
	close(fd);
	/* asked for; and a guest's last words are kept for a client that is slow */
	fd = open_in(&port);
	guest(CREDIT_REQUEST, 22, port, 0, NULL, 0);
	assert(heard() == CREDIT_UPDATE && last.fwd_cnt == 0);
	free_bytes = VSOCK_BUFFER;
	for (sent = 0; free_bytes >= sizeof chunk; sent += sizeof chunk) {
		guest(RW, 22, port, 0, chunk, sizeof chunk);
		free_bytes -= sizeof chunk;
		while (heard() == CREDIT_UPDATE)
			free_bytes = last.buf_alloc - (sent + (uint32_t)sizeof chunk - last.fwd_cnt);
	}
	guest(RST, 22, port, 0, NULL, 0);
	for (got_bytes = 0; got_bytes < sent; turn()) {
		ssize_t n = recv(fd, back, sizeof back, MSG_DONTWAIT);

		assert(n != 0);
		got_bytes += n > 0 ? (uint32_t)n : 0;
	}
	turn();
	assert(ended(fd));
	finish(dev);
}

/* The guest's credit, and its buffers, hold the client */
static void credit_in(void)
{
	static uint8_t data[100000];
	struct virtio_dev *dev = begin();
	uint32_t port, total = 0;
	int fd;

	alloc = 10;
	fd = client("CONNECT 22\n");
	assert(heard() == REQUEST);
	port = last.src_port;
	guest(RESPONSE, 22, port, 0, NULL, 0);
	assert(send(fd, "0123456789abcdef", 16, 0) == 16 && heard_text("0123456789") && heard() == -1);
	fwd = 4;
	guest(CREDIT_UPDATE, 22, port, 0, NULL, 0);
	assert(heard_text("abcd") && heard() == -1);
	fwd = 100; /* more than it got: no credit, whatever that is to mean */
	guest(CREDIT_UPDATE, 22, port, 0, NULL, 0);
	turn();
	assert(heard() == -1);
	fwd = 14;
	alloc = ALLOC;
	guest(CREDIT_UPDATE, 22, port, 0, NULL, 0);
	turn();
	while (heard() >= 0)
		turn();
	memset(data, 'x', sizeof data);
	assert(send(fd, data, sizeof data, MSG_DONTWAIT) == sizeof data);
	for (int i = 0; i < 100; i++) {
		turn();
		while (heard() == RW)
			total += last.len;
	}
	assert(total == sizeof data);
	close(fd);
	finish(dev);
}

static void bad_guest(void)
{
	struct virtio_dev *dev = begin();
	struct packet p = {.src_cid = CID, .dst_cid = 2, .type = 1, .op = RW, .src_port = 1, .dst_port = 2};
	uint64_t before;
	uint32_t port;
	int fd[VSOCK_CONNECTIONS + 1];

	/* no connection: a RST for each, but for RST; other CIDs are not ours */
	for (unsigned op = 0; op < 20; op++) {
		p.op = (uint16_t)op;
		raw(&p, NULL, 0);
		assert(heard() == (op == RST ? -1 : RST) && (op == RST || (last.src_port == 2 && last.dst_port == 1)));
	}
	p.src_cid = 8;
	raw(&p, NULL, 0);
	p.src_cid = CID;
	p.dst_cid = 9;
	raw(&p, NULL, 0);
	assert(heard() == RST);
	p.dst_cid = 2;
	p.type = 2;
	p.op = REQUEST;
	fd[0] = client("ACCEPT 2\n");
	raw(&p, NULL, 0);
	assert(heard() == RST && heard() == -1);
	close(fd[0]);
	turn();
	drv_add_one(&d, OUT, DRV_DATA, HDR - 1, false);
	drv_add_one(&d, OUT, DRV_DATA, HDR, true);
	drv_kick(&d, OUT);
	assert(drv_used(&d, OUT, NULL) == 0 && drv_used(&d, OUT, NULL) == 0 && heard() == -1);
	/* what does not belong there ends the connection */
	for (unsigned op = 0; op < 10; op++) {
		if (op == RST || (op >= SHUTDOWN && op <= CREDIT_REQUEST))
			continue;
		fd[0] = open_in(&port);
		guest(op, 22, port, 0, NULL, 0);
		assert(heard() == RST && ended(fd[0]));
	}
	/* more bytes said than sent; data after the end */
	fd[0] = open_in(&port);
	p = (struct packet){.src_cid = CID, .dst_cid = 2, .type = 1, .op = RW, .src_port = 22, .dst_port = port, .len = 5};
	raw(&p, "1234", 4);
	assert(heard() == RST && ended(fd[0]));
	fd[0] = open_in(&port);
	guest(SHUTDOWN, 22, port, 2, NULL, 0);
	guest(RW, 22, port, 0, "more", 4);
	assert(heard() == RST && ended(fd[0]));
	/* the table is full: the next client waits until there is room */
	before = vsock_counters(dev)->accepted;
	for (unsigned i = 0; i <= VSOCK_CONNECTIONS; i++)
		fd[i] = client("ACCEPT 1\n");
	assert(vsock_counters(dev)->accepted == before + VSOCK_CONNECTIONS);
	guest(REQUEST, 1, 1, 0, NULL, 0);
	assert(heard() == RESPONSE && got(fd[0], "OK 1\n"));
	close(fd[0]);
	turn();
	assert(heard() == SHUTDOWN);
	guest(RST, 1, 1, 0, NULL, 0);
	turn();
	assert(vsock_counters(dev)->accepted == before + VSOCK_CONNECTIONS + 1);
	for (unsigned i = 1; i <= VSOCK_CONNECTIONS; i++) {
		guest(REQUEST, i, 1, 0, NULL, 0);
		assert(heard() == RESPONSE);
		close(fd[i]);
	}
	turn();
	drv_stop(&d);
	/* refusals without buffers: bounded, and the rest of the queue waits */
	drv_start(&d, VIRTIO_F_VERSION_1, QUEUE);
	p.op = RW;
	assert(!mem_put(&mem, DRV_DATA, &p, sizeof p));
	for (unsigned i = 0; i < QUEUE; i++)
		drv_add_one(&d, OUT, DRV_DATA, HDR, false);
	drv_kick(&d, OUT);
	assert(!virtq_empty(&d.q[OUT].vq));
	fill(QUEUE);
	turn();
	assert(virtq_empty(&d.q[OUT].vq));
	for (unsigned i = 0; i < QUEUE; i++)
		assert(heard() == RST);
	assert(heard() == -1);
	/* buffers without room for data are given back empty */
	drv_stop(&d);
	drv_start(&d, VIRTIO_F_VERSION_1, QUEUE);
	drv_add_one(&d, IN, buffer(0), HDR, true);
	drv_add_one(&d, IN, buffer(1), BUF, true);
	fd[0] = client("CONNECT 1\n");
	assert(drv_used(&d, IN, NULL) == 0 && heard() == REQUEST);
	close(fd[0]);
	finish(dev);
}

int main(void)
{
	struct virtio_dev *dev;
	struct err e;

	for (uint64_t cid = 0; cid < 3; cid++)
		assert(vsock_new(&dev, &(struct vsock_config){.listen_fd = dup(1), .cid = cid}, &e) == -EINVAL);
	vsock_free(NULL);
	both_ways();
	bad_lines();
	credit_out();
	credit_in();
	bad_guest();
	puts("ok");
	return 0;
}
