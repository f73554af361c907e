/* SPDX-License-Identifier: MIT */
/*
 * Sockets between host and guest, with a guest whose packets are bytes of the input, and clients that come, write, read
 * and go when the input says so.
 */
#undef NDEBUG
#include <assert.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../unit/virtio_devices/driver.h"
#include "base/loop.h"
#include "base/util.h"
#include "virtio/vsock.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { RAM = 2 << 20, CLIENTS = 4, STEPS = 200, CID = 3, HDR = 44, QUEUE = 32, PORTS = 3 };
enum { IN, OUT };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static const uint8_t *at, *end;
static struct mem mem;
static struct drv d;
static struct loop *loop;
static struct sockaddr_un name;
static socklen_t name_len;
static int client[CLIENTS];
static uint32_t host_port; /* of the last packet that the guest got */

static unsigned pick(unsigned n)
{
	return at < end ? *at++ % n : 0;
}

static unsigned pick16(void)
{
	unsigned v = pick(256);

	return v | pick(256) << 8;
}

static void stop(struct timer *t)
{
	(void)t;
	loop_stop(loop);
}

static void turn(void)
{
	struct timer t = {.fire = stop};

	timer_set(loop, &t, now_ns());
	loop_run(loop);
}

static void client_step(void)
{
	static const char *const lines[] = {"CONNECT 1\n", "ACCEPT 1\n", "CONNECT 2\nthen data", "ACCEPT 2\nthen data", "x\n", "ACC"};
	static uint8_t data[1 << 16];
	int *fd = &client[pick(CLIENTS)];

	switch (pick(5)) {
	case 0: /* a new one */
		if (*fd >= 0)
			close(*fd);
		*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert(*fd >= 0);
		if (!connect(*fd, (struct sockaddr *)&name, name_len)) {
			const char *s = lines[pick(ARRAY_LEN(lines))];

			send(*fd, s, strlen(s), MSG_NOSIGNAL);
		}
		break;
	case 1:
		if (*fd >= 0)
			send(*fd, data, pick16(), MSG_NOSIGNAL);
		break;
	case 2:
		if (*fd >= 0)
			recv(*fd, data, sizeof data, 0);
		break;
	case 3:
		if (*fd >= 0)
			shutdown(*fd, SHUT_WR);
		break;
	default:
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
	}
	turn();
}

/* What the guest sends; most of it has a connection's numbers, and is of a kind that exists. */
static void packet_step(void)
{
	unsigned odd = pick(16), len = pick(4) ? pick(64) : pick16();
	struct packet p = {.src_cid = odd == 1 ? 9 : CID, .dst_cid = odd == 2 ? 9 : 2, .type = odd == 3 ? 2 : 1};

	p.op = (uint16_t)pick(9);
	p.src_port = pick(PORTS);
	p.dst_port = pick(2) ? pick(PORTS) : host_port;
	p.flags = pick(4);
	p.buf_alloc = pick(2) ? 1 << 18 : pick16();
	p.fwd_cnt = pick(2) ? 0 : pick16() - 100;
	p.len = odd == 4 ? pick16() << 8 : len;
	if (d.q[OUT].on) {
		assert(!mem_put(&mem, DRV_DATA, &p, sizeof p));
		drv_add(&d, OUT, (struct drv_seg[]){{DRV_DATA, odd == 5 ? pick(HDR) : HDR, false}, {DRV_DATA + 4096, len, false}}, 2);
		drv_kick(&d, OUT);
	}
}

static void guest_reads(void)
{
	uint16_t head;
	int64_t len;

	while (d.q[IN].on && (len = drv_used(&d, IN, &head)) >= 0) {
		struct packet p;

		if (len < HDR || head >= QUEUE || mem_get(&mem, DRV_DATA + 0x20000 + head * 0x4000, &p, sizeof p))
			continue;
		assert(p.src_cid == 2 && p.dst_cid == CID && p.len == len - HDR);
		host_port = p.src_port;
	}
}

static void give(void)
{
	unsigned len = pick(3) ? 0x4000 : pick(100);

	for (unsigned n = pick(QUEUE); n && d.q[IN].on; n--)
		drv_add_one(&d, IN, DRV_DATA + 0x20000 + d.q[IN].next_desc * 0x4000, len, true);
	drv_kick(&d, IN);
}

static void start(void)
{
	drv_stop(&d);
	drv_start(&d, VIRTIO_F_VERSION_1 | (pick(2) ? VIRTIO_F_EVENT_IDX : 0), QUEUE);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	struct virtio_dev *dev;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

	at = p;
	end = p + len;
	host_port = 0;
	if (!mem.nregions)
		assert(!mem_init(&mem, RAM, NULL));
	/* no name: the kernel finds an abstract one */
	name = (struct sockaddr_un){.sun_family = AF_UNIX};
	name_len = sizeof name;
	assert(fd >= 0 && !bind(fd, (struct sockaddr *)&name, sizeof(sa_family_t)) && !listen(fd, CLIENTS));
	assert(!getsockname(fd, (struct sockaddr *)&name, &name_len));
	loop = loop_new();
	assert(loop && !vsock_new(&dev, &(struct vsock_config){.loop = loop, .listen_fd = fd, .cid = CID}, NULL));
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = -1;
	drv_init(&d, &mem, dev);
	start();
	for (unsigned n = 0; at < end && n < STEPS; n++) {
		switch (pick(8)) {
		case 0:
		case 1:
			client_step();
			break;
		case 2:
		case 3:
		case 4:
			packet_step();
			break;
		case 5:
			give();
			break;
		case 6:
			guest_reads();
			break;
		default:
			if (!pick(8))
				start();
			turn();
		}
	}
	drv_stop(&d);
	for (unsigned i = 0; i < CLIENTS; i++)
		if (client[i] >= 0)
			close(client[i]);
	turn();
	vsock_free(dev);
	loop_free(loop);
	return 0;
}
