/* SPDX-License-Identifier: MIT */
/*
 * A tap interface of the host: the kernel's virtio-net header (IFF_VNET_HDR) goes through, so checksums and segments are
 * left as they are, and the host's own stack or its card does the work. Frames are written from the guest's
 * memory. For the other direction one frame at a time is read into a buffer of ours and then copied, since only the
 * read tells its length; while it waits for room in the guest nothing more is read, and the interface's queue fills up.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"
#include "net/net.h"

enum { BATCH = 64, IOVS = 1024 /* what writev() takes */ };

struct tap {
	struct net *net;
	struct loop *loop;
	struct watch w;
	bool waiting; /* frame[] holds one that had no room */
	size_t len;   /* of it, with header */
	uint64_t dropped, errors;
	struct iovec iov[IOVS];
	uint8_t frame[sizeof(struct net_hdr) + NET_FRAME_MAX] __attribute__((aligned(8)));
};

static void tap_send(void *n, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len)
{
	struct tap *t = n;
	struct net_hdr copy = *h;
	ssize_t rc;

	(void)len;
	if (niov >= IOVS) {
		t->dropped++;
		return;
	}
	/* it is a hint (5.1.6.2); the kernel refuses a wrong one */
	if (copy.hdr_len > len)
		copy.hdr_len = 0;
	t->iov[0] = (struct iovec){&copy, sizeof copy};
	memcpy(&t->iov[1], iov, (size_t)niov * sizeof *iov);
	do {
		rc = writev(t->w.fd, t->iov, niov + 1);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		t->dropped++;
}

static bool up(struct tap *t)
{
	struct net_hdr h;
	struct iovec iov = {t->frame + sizeof h, t->len - sizeof h};

	memcpy(&h, t->frame, sizeof h);
	return t->net->receive(t->net->arg, &h, &iov, 1, iov.iov_len);
}

static void tap_ready(struct watch *w, uint32_t events)
{
	struct tap *t = CONTAINER_OF(w, struct tap, w);

	(void)events;
	for (unsigned i = 0; i < BATCH; i++) {
		ssize_t n = read(w->fd, t->frame, sizeof t->frame);

		if (n < 0) {
			/* EBADFD: the interface was taken away; it may come back, but not to this descriptor */
			if (errno != EAGAIN && errno != EINTR) {
				t->errors++;
				loop_del(t->loop, w);
			}
			break;
		}
		if ((size_t)n < sizeof(struct net_hdr))
			continue;
		t->len = (size_t)n;
		if (!up(t)) {
			t->waiting = true;
			loop_mod(t->loop, w, 0);
			break;
		}
	}
	t->net->received(t->net->arg);
}

static void tap_room(void *n)
{
	struct tap *t = n;

	if (!t->waiting || !up(t))
		return;
	t->waiting = false;
	loop_mod(t->loop, &t->w, EPOLLIN);
}

static void tap_guest(void *n, unsigned takes)
{
	struct tap *t = n;
	unsigned flags = 0;

	if (takes & NET_GUEST_CSUM)
		flags = TUN_F_CSUM | (takes & NET_GUEST_TSO4 ? TUN_F_TSO4 : 0) | (takes & NET_GUEST_TSO6 ? TUN_F_TSO6 : 0) |
			(takes & NET_GUEST_ECN && takes & (NET_GUEST_TSO4 | NET_GUEST_TSO6) ? TUN_F_TSO_ECN : 0);
	if (ioctl(t->w.fd, TUNSETOFFLOAD, flags))
		t->errors++;
}

static void tap_free(void *n)
{
	struct tap *t = n;

	if (!t)
		return;
	loop_del(t->loop, &t->w);
	close(t->w.fd);
	free(t);
}

static size_t tap_stats(void *n, char *buf, size_t len)
{
	struct tap *t = n;
	int k = snprintf(buf, len, "tap_dropped %llu\ntap_errors %llu\n", (unsigned long long)t->dropped,
		(unsigned long long)t->errors);

	return k < 0 ? 0 : (size_t)k < len ? (size_t)k : len;
}

static const struct net_ops tap_ops = {
	.name = "tap",
	.send = tap_send,
	.room = tap_room,
	.guest = tap_guest,
	.free = tap_free,
	.stats = tap_stats,
	.offloads = true,
};

int tap_net_new(struct net *net, struct loop *l, int fd, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = 0};
	int size = sizeof(struct net_hdr), flags = fcntl(fd, F_GETFL), rc;
	struct tap *t;

	if (ioctl(fd, TUNGETIFF, &ifr))
		return err_set(e, EINVAL, "descriptor %d is no tap interface", fd);
	if ((ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) != (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
		return err_set(e, EINVAL, "interface %s must be opened as IFF_TAP | IFF_NO_PI | IFF_VNET_HDR (a tap of Ethernet "
			"frames, with virtio headers)", ifr.ifr_name);
	if (ioctl(fd, TUNSETVNETHDRSZ, &size) || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return err_set(e, errno, "interface %s: %s", ifr.ifr_name, strerror(errno));
	t = calloc(1, sizeof *t);
	if (!t)
		return err_set(e, ENOMEM, "no memory for a tap interface");
	t->net = net;
	t->loop = l;
	t->w.fd = fd;
	t->w.ready = tap_ready;
	rc = loop_add(l, &t->w, EPOLLIN);
	if (rc) {
		free(t);
		return err_set(e, -rc, "interface %s: %s", ifr.ifr_name, strerror(-rc));
	}
	net->ops = &tap_ops;
	net->n = t;
	return 0;
}

int tap_open(const char *ifname, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd, code;

	if (!*ifname || strlen(ifname) >= IFNAMSIZ)
		return err_set(e, EINVAL, "tap interface '%s': a name has 1 to %d characters", ifname, IFNAMSIZ - 1);
	memcpy(ifr.ifr_name, ifname, strlen(ifname));
	/* root would make one, which nobody has configured and which ends with us */
	if (!if_nametoindex(ifname))
		return err_set(e, ENODEV, "there is no interface '%s'; as root, 'ip tuntap add dev %s mode tap user NAME' makes one "
			"for that user", ifname, ifname);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_set(e, errno, "tap interface '%s': /dev/net/tun: %s", ifname, strerror(errno));
	if (!ioctl(fd, TUNSETIFF, &ifr))
		return fd;
	code = errno;
	close(fd);
	if (code == EPERM)
		return err_set(e, code, "tap interface '%s' is not yours; as root, 'ip tuntap add dev %s mode tap user NAME' makes "
			"one that is", ifname, ifname);
	if (code == EBUSY)
		return err_set(e, code, "tap interface '%s' is in use by another program", ifname);
	if (code == EINVAL)
		return err_set(e, code, "'%s' is no tap interface, or one with several queues", ifname);
	return err_set(e, code, "tap interface '%s': %s", ifname, strerror(code));
}
