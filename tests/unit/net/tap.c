/* SPDX-License-Identifier: MIT */
/*
 * The guest of guest.c on a tap interface in a network of its own: the host's TCP at the other end, with its offloads. Takes
 * the right to make one (CAP_SYS_ADMIN, or user namespaces) and /dev/net/tun; 77 without.
 */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "guest.h"
#include "virtio/virtq.h"

enum { HOST = 0x0a090001, GUEST = 0x0a090002, WAIT = 8000, TOTAL = 3 << 20 };
#define ALL (G_CSUM | G_GUEST_CSUM | G_GUEST_TSO4 | G_HOST_TSO4 | G_MRG_RXBUF)

static struct loop *loop;
static struct net net;
static struct virtio_dev *dev;
static struct virtq q[2];
static struct watch irq;
static struct guest g;
static struct gtcp *conn;

static void kick(struct guest *guest, unsigned i)
{
	(void)guest;
	dev->ops->kick(dev, i);
}

static void call(struct virtq *vq, void *arg)
{
	uint64_t one = 1;

	(void)vq;
	(void)arg;
	assert(write(irq.fd, &one, 8) == 8);
}

static void on_irq(struct watch *w, uint32_t events)
{
	uint64_t n;

	(void)events;
	assert(read(w->fd, &n, 8) == 8);
	guest_poll(&g);
}

static int in_own_network(void)
{
	FILE *f;
	unsigned uid = getuid();

	if (!unshare(CLONE_NEWNET))
		return 0;
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return -1;
	f = fopen("/proc/self/uid_map", "w");
	if (f) {
		fprintf(f, "0 %u 1", uid);
		fclose(f);
	}
	return 0;
}

/* The interface, with an address, up. */
static void interface(const char *name)
{
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	struct ifreq r = {.ifr_flags = 0};
	struct sockaddr_in *a = (struct sockaddr_in *)(void *)&r.ifr_addr;

	memcpy(r.ifr_name, name, strlen(name));
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(HOST);
	assert(s >= 0 && !ioctl(s, SIOCSIFADDR, &r));
	a->sin_addr.s_addr = htonl(0xffffff00);
	assert(!ioctl(s, SIOCSIFNETMASK, &r));
	r.ifr_flags = IFF_UP | IFF_RUNNING;
	assert(!ioctl(s, SIOCSIFFLAGS, &r));
	close(s);
}

static void *echo(void *arg)
{
	int fd = *(int *)arg, c = accept(fd, NULL, NULL);
	static char buf[100000];
	ssize_t n;

	assert(c >= 0);
	while ((n = recv(c, buf, sizeof buf, 0)) > 0)
		for (ssize_t at = 0, k; at < n; at += k) {
			k = send(c, buf + at, (size_t)(n - at), MSG_NOSIGNAL);
			assert(k > 0);
		}
	close(c);
	return NULL;
}

static bool has_arp(struct guest *guest)
{
	return guest->arp;
}

static bool has_pong(struct guest *guest)
{
	return guest->pong;
}

static bool over(struct guest *guest)
{
	(void)guest;
	return conn->reset || (conn->fin_in && conn->snd_una == conn->snd_nxt);
}

static void run(int fd, uint64_t features, unsigned posted)
{
	struct virtio_net_config card = {.net = &net, .mac = {0x52, 0x54, 0, 1, 2, 3}};
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(HOST)};
	socklen_t len = sizeof a;
	struct virtio_net *v;
	pthread_t thread;
	int server = socket(AF_INET, SOCK_STREAM, 0);

	assert(server >= 0 && !bind(server, (struct sockaddr *)&a, sizeof a) && !listen(server, 1));
	assert(!getsockname(server, (struct sockaddr *)&a, &len) && !pthread_create(&thread, NULL, echo, &server));
	loop = loop_new();
	assert(loop && !tap_net_new(&net, loop, fd, NULL));
	card.loop = loop;
	assert(!virtio_net_new(&v, &card, NULL));
	dev = virtio_net_dev(v);
	guest_init(&g, loop, features);
	g.kick = kick;
	g.ip = GUEST;
	g.rx_posted = posted;
	irq = (struct watch){.fd = eventfd(0, EFD_NONBLOCK), .ready = on_irq};
	assert(!loop_add(loop, &irq, EPOLLIN));
	dev->ops->features_set(dev, features | VIRTIO_F_VERSION_1);
	for (unsigned i = 0; i < 2; i++) {
		const struct gring *r = &g.ring[i];

		q[i] = (struct virtq){.mem = &g.mem, .features = features | VIRTIO_F_VERSION_1, .kick_fd = -1, .call = call,
			.ring = {.enabled = true, .size = r->size, .desc = r->desc, .avail = r->avail, .used = r->used}};
		assert(!virtq_start(&q[i], 0, NULL) && !dev->ops->start(dev, i, &q[i]));
	}
	guest_post(&g);
	guest_arp(&g, HOST);
	assert(guest_wait(&g, has_arp, WAIT));
	guest_ping(&g, HOST);
	assert(guest_wait(&g, has_pong, WAIT));
	conn = guest_connect(&g, HOST, 40000, ntohs(a.sin_port));
	conn->want = TOTAL;
	conn->close = true;
	assert(guest_wait(&g, over, WAIT));
	pthread_join(thread, NULL);
	assert(!conn->reset && !conn->wrong && conn->in == TOTAL && !g.bad_sums);
	assert(features & G_GUEST_TSO4 ? g.gso_frames && g.last_gso_size <= 1460 : !g.gso_frames && g.largest <= 1514);
	for (unsigned i = 0; i < 2; i++) {
		dev->ops->stop(dev, i);
		virtq_stop(&q[i]);
	}
	close(server);
	loop_del(loop, &irq);
	close(irq.fd);
	guest_fini(&g);
	virtio_net_free(v);
	net.ops->free(net.n);
	loop_free(loop);
}

int main(void)
{
	struct err e;
	int fd, plain;

	if (access("/dev/net/tun", R_OK | W_OK) || in_own_network())
		return 77;
	assert(tap_open("husk-test0", &e) == -ENODEV && strstr(e.text, "husk-test0"));
	fd = open("/dev/net/tun", O_RDWR);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &(struct ifreq){.ifr_name = "husk-test0",
		.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR}))
		return 77;
	assert(!ioctl(fd, TUNSETPERSIST, 1));
	close(fd);
	interface("husk-test0");
	fd = tap_open("husk-test0", &e);
	assert(fd >= 0);
	assert(tap_open("lo", &e) == -EINVAL && strstr(e.text, "lo"));
	assert(tap_open("husk-test0", &e) == -EBUSY && strstr(e.text, "husk-test0"));
	assert(tap_open("a-name-that-is-too-long", &e) == -EINVAL && tap_open("", &e) == -EINVAL);
	/* not a tap at all, and one without virtio's header */
	plain = open("/dev/null", O_RDWR);
	assert(tap_net_new(&net, NULL, plain, &e) == -EINVAL && strstr(e.text, "no tap"));
	close(plain);
	plain = open("/dev/net/tun", O_RDWR);
	assert(!ioctl(plain, TUNSETIFF, &(struct ifreq){.ifr_name = "husk-test1", .ifr_flags = IFF_TAP | IFF_NO_PI}));
	assert(tap_net_new(&net, NULL, plain, &e) == -EINVAL && strstr(e.text, "husk-test1") && strstr(e.text, "VNET_HDR"));
	close(plain);
	run(fd, ALL, G_ENTRIES);
	fd = tap_open("husk-test0", &e);
	assert(fd >= 0);
	run(fd, G_MRG_RXBUF, 12);
	return 0;
}
