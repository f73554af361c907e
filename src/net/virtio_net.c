/* SPDX-License-Identifier: MIT */
/*
 * virtio-net (Virtual I/O Device 1.2, 5.1): queue 0 carries frames to the guest, queue 1 from it. No control queue.
 *
 * To the guest: buffers are popped only when there is a frame, filled in place, and all those of one frame are made
 * known to the driver at once (5.1.6.4). When there is not enough room everything popped goes back, the driver is asked
 * for a kick, and the back-end is told to keep its frames until then.
 *
 * From the guest: header and descriptors were copied out by then and are checked here; the frame's bytes are not looked
 * at here and may change while the back-end reads them.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "net/net.h"
#include "virtio/virtq.h"

enum { RX, TX, QUEUES };
enum { TX_BATCH = 64 /* requests until the loop gets its turn */, RX_BUFS = 192 /* buffers of one frame */ };

#define F_CSUM       (1ull << 0)
#define F_GUEST_CSUM (1ull << 1)
#define F_MTU        (1ull << 3)
#define F_MAC        (1ull << 5)
#define F_GUEST_TSO4 (1ull << 7)
#define F_GUEST_TSO6 (1ull << 8)
#define F_GUEST_ECN  (1ull << 9)
#define F_HOST_TSO4  (1ull << 11)
#define F_HOST_TSO6  (1ull << 12)
#define F_HOST_ECN   (1ull << 13)
#define F_MRG_RXBUF  (1ull << 15)
#define F_STATUS     (1ull << 16)

struct net_space { /* struct virtio_net_config (5.1.4) */
	uint8_t mac[6];
	uint16_t status, max_pairs, mtu;
};
static_assert(sizeof(struct net_space) == 12 && sizeof(struct net_hdr) == 12, "as on the wire");

struct virtio_net {
	struct virtio_dev dev;
	struct net *net;
	struct loop *loop;
	struct net_space space;
	uint64_t features;
	unsigned host_takes, guest_takes; /* NET_GUEST_*: of what goes down and up */
	size_t hdr_len;
	struct virtq *vq[QUEUES];
	struct timer more; /* queue TX has requests beyond a batch */
	bool rx_told;      /* used entries that the driver was not told of */
	bool rx_full;      /* receive() said no */
	struct virtq_req rx[RX_BUFS];
	uint32_t rx_len[RX_BUFS];
	struct iovec *rx_iov, *tx_iov, *tx_data;
	unsigned rx_iov_max;
	struct {
		uint64_t rx_frames, rx_bytes, rx_dropped, rx_waits, tx_frames, tx_bytes, tx_dropped, bad_headers;
	} n;
};

static struct virtio_net *of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct virtio_net, dev);
}

bool net_hdr_ok(const struct net_hdr *h, size_t len, unsigned takes)
{
	unsigned gso = h->gso_type & ~NET_GSO_ECN;

	if (len < NET_ETH || len > NET_FRAME_MAX)
		return false;
	if (h->flags & NET_NEEDS_CSUM) {
		if (!(takes & NET_GUEST_CSUM))
			return false;
		if (h->csum_start < NET_ETH || (size_t)h->csum_start + h->csum_offset + 2 > len)
			return false;
	}
	if (h->gso_type == NET_GSO_NONE)
		return true;
	if (!(h->flags & NET_NEEDS_CSUM) || !h->gso_size)
		return false;
	if (h->gso_type & NET_GSO_ECN && !(takes & NET_GUEST_ECN))
		return false;
	if (gso == NET_GSO_TCPV4)
		return takes & NET_GUEST_TSO4;
	return gso == NET_GSO_TCPV6 && takes & NET_GUEST_TSO6;
}

/* --- to the guest ------------------------------------------------------------------------------ */

/* Pops buffers for need bytes into rx[]. Their number; 0: not enough now; -EMSGSIZE: never enough. */
static int rx_gather(struct virtio_net *v, size_t need)
{
	struct virtq *q = v->vq[RX];
	unsigned used = 0, n = 0;
	unsigned max = v->features & F_MRG_RXBUF ? RX_BUFS : 1;
	uint64_t have = 0;
	int rc = 0;

	while (have < need) {
		struct virtq_req *r = &v->rx[n];

		rc = -EMSGSIZE;
		if (n == max || v->rx_iov_max - used < virtq_iov_max(q))
			break;
		r->iov = v->rx_iov + used;
		r->iov_max = virtq_iov_max(q);
		rc = virtq_pop(q, r);
		/*
		 * Nothing more. Kicks are asked for while we hold what was there, so that one comes for what is added to it.
		 */
		if (!rc && virtq_kicks(q, true))
			rc = virtq_pop(q, r);
		if (rc <= 0)
			break;
		n++;
		used += r->nout + r->nin;
		/* the driver must leave room for the header in the first one (5.1.6.3) */
		if (!r->in_len || (n == 1 && r->in_len < v->hdr_len)) {
			virtq_break(q, "a receive buffer without room");
			rc = -EPROTO;
			break;
		}
		have += r->in_len;
	}
	if (have >= need)
		return (int)n;
	while (n)
		virtq_unpop(q, &v->rx[--n]);
	return rc;
}

static bool rx_receive(void *arg, const struct net_hdr *h, const struct iovec *iov, int niov, size_t len)
{
	struct virtio_net *v = arg;
	struct net_hdr copy = *h;
	size_t off = v->hdr_len, left;
	int bufs, b = 0;

	if (!v->vq[RX] || !net_hdr_ok(h, len, v->guest_takes)) {
		v->n.rx_dropped++;
		return true;
	}
	if (v->rx_full)
		return false;
	bufs = rx_gather(v, v->hdr_len + len);
	if (!bufs) {
		v->rx_full = true;
		v->n.rx_waits++;
		return false;
	}
	if (bufs < 0) {
		v->n.rx_dropped++;
		return true;
	}
	copy.num_buffers = (uint16_t)bufs;
	if (!(v->guest_takes & NET_GUEST_CSUM))
		copy.flags = 0;
	virtq_put(&v->rx[0], 0, &copy, v->hdr_len);
	left = len;
	for (int i = 0; i < niov && left; i++) {
		const uint8_t *p = iov[i].iov_base;
		size_t n = iov[i].iov_len < left ? iov[i].iov_len : left;

		left -= n;
		while (n) {
			size_t put = virtq_put(&v->rx[b], off, p, n);

			p += put;
			n -= put;
			off += put;
			if (n) {
				v->rx_len[b++] = (uint32_t)off;
				off = 0;
				assert(b < bufs);
			}
		}
	}
	v->rx_len[b] = (uint32_t)off;
	virtq_done_all(v->rx, v->rx_len, (unsigned)bufs);
	v->rx_told = true;
	v->n.rx_frames++;
	v->n.rx_bytes += len;
	return true;
}

static void rx_received(void *arg)
{
	struct virtio_net *v = arg;

	if (v->rx_told && v->vq[RX])
		virtq_notify(v->vq[RX]);
	v->rx_told = false;
}

/* --- from the guest ---------------------------------------------------------------------------- */

static void tx_one(struct virtio_net *v, struct virtq_req *r)
{
	struct net_hdr h = {.flags = 0};
	size_t len = r->out_len - v->hdr_len;
	int niov;

	if (r->out_len < v->hdr_len + NET_ETH || r->out_len > v->hdr_len + NET_FRAME_MAX) {
		v->n.bad_headers++;
		return;
	}
	virtq_get(r, 0, &h, v->hdr_len);
	h.num_buffers = 0;
	h.flags &= NET_NEEDS_CSUM;
	if (!net_hdr_ok(&h, len, v->host_takes)) {
		v->n.bad_headers++;
		return;
	}
	niov = virtq_iov(r, false, v->hdr_len, len, v->tx_data, (int)r->iov_max);
	if (niov < 0) {
		v->n.bad_headers++;
		return;
	}
	v->n.tx_frames++;
	v->n.tx_bytes += len;
	v->net->ops->send(v->net->n, &h, v->tx_data, niov, len);
}

static void tx_run(struct virtio_net *v)
{
	struct virtq *q = v->vq[TX];
	struct virtq_req r = {.iov = v->tx_iov, .iov_max = virtq_iov_max(q)};
	unsigned n = 0;

	virtq_kicks(q, false);
	do {
		while (n < TX_BATCH && virtq_pop(q, &r) > 0) {
			tx_one(v, &r);
			virtq_done(&r, 0);
			n++;
		}
		if (n == TX_BATCH) {
			timer_set(v->loop, &v->more, 1);
			break;
		}
	} while (virtq_kicks(q, true));
	if (!n)
		return;
	virtq_notify(q);
	if (v->net->ops->flush)
		v->net->ops->flush(v->net->n);
	rx_received(v);
}

static void tx_more(struct timer *t)
{
	struct virtio_net *v = CONTAINER_OF(t, struct virtio_net, more);

	if (v->vq[TX])
		tx_run(v);
}

/* --- virtio ------------------------------------------------------------------------------------ */

static void net_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (const uint8_t *)&of(d)->space + off, len);
}

static void net_features_set(struct virtio_dev *d, uint64_t features)
{
	struct virtio_net *v = of(d);

	v->features = features;
	v->hdr_len = features & (VIRTIO_F_VERSION_1 | F_MRG_RXBUF) ? sizeof(struct net_hdr) : 10;
	v->host_takes = (features & F_CSUM ? NET_GUEST_CSUM : 0) | (features & F_HOST_TSO4 ? NET_GUEST_TSO4 : 0) |
		(features & F_HOST_TSO6 ? NET_GUEST_TSO6 : 0) | (features & F_HOST_ECN ? NET_GUEST_ECN : 0);
	v->guest_takes = (features & F_GUEST_CSUM ? NET_GUEST_CSUM : 0) |
		(features & F_GUEST_TSO4 ? NET_GUEST_TSO4 : 0) | (features & F_GUEST_TSO6 ? NET_GUEST_TSO6 : 0) |
		(features & F_GUEST_ECN ? NET_GUEST_ECN : 0);
	if (v->net->ops->guest)
		v->net->ops->guest(v->net->n, v->guest_takes);
}

static int net_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	struct virtio_net *v = of(d);
	unsigned max = virtq_iov_max(vq);

	if (q == RX) {
		v->rx_iov_max = max + RX_BUFS * 2;
		v->rx_iov = calloc(v->rx_iov_max, sizeof *v->rx_iov);
		if (!v->rx_iov)
			return -ENOMEM;
		v->vq[RX] = vq;
		v->rx_told = v->rx_full = false;
		/* no kicks while there is nothing that waits for room */
		virtq_kicks(vq, false);
		v->net->ops->room(v->net->n);
		return 0;
	}
	v->tx_iov = calloc(max, sizeof *v->tx_iov);
	v->tx_data = calloc(max, sizeof *v->tx_data);
	if (!v->tx_iov || !v->tx_data) {
		free(v->tx_iov);
		free(v->tx_data);
		v->tx_iov = v->tx_data = NULL;
		return -ENOMEM;
	}
	v->vq[TX] = vq;
	return 0;
}

static void net_stop(struct virtio_dev *d, unsigned q)
{
	struct virtio_net *v = of(d);

	if (q == RX) {
		rx_received(v);
		v->vq[RX] = NULL;
		v->rx_full = false;
		free(v->rx_iov);
		v->rx_iov = NULL;
		/* what waits for a driver that has gone is dropped by receive() */
		v->net->ops->room(v->net->n);
		return;
	}
	timer_set(v->loop, &v->more, 0);
	v->vq[TX] = NULL;
	free(v->tx_iov);
	free(v->tx_data);
	v->tx_iov = v->tx_data = NULL;
}

static void net_kick(struct virtio_dev *d, unsigned q)
{
	struct virtio_net *v = of(d);

	if (q == TX && v->vq[TX]) {
		tx_run(v);
	} else if (q == RX && v->rx_full) {
		v->rx_full = false;
		virtq_kicks(v->vq[RX], false);
		v->net->ops->room(v->net->n);
		rx_received(v);
	}
}

static const struct virtio_ops net_ops = {
	.name = "net",
	.id = VIRTIO_ID_NET,
	.config_read = net_config_read,
	.features_set = net_features_set,
	.start = net_start,
	.stop = net_stop,
	.kick = net_kick,
};

int virtio_net_new(struct virtio_net **out, const struct virtio_net_config *c, struct err *e)
{
	struct virtio_net *v = calloc(1, sizeof *v);

	if (!v)
		return err_set(e, ENOMEM, "no memory for a network card");
	v->net = c->net;
	v->loop = c->loop;
	v->more.fire = tx_more;
	memcpy(v->space.mac, c->mac, 6);
	v->space.status = 1; /* the link is up */
	v->space.max_pairs = 1;
	v->space.mtu = c->mtu;
	v->hdr_len = sizeof(struct net_hdr);
	v->dev.ops = &net_ops;
	v->dev.features = F_MAC | F_STATUS | F_MRG_RXBUF | (c->mtu ? F_MTU : 0);
	if (c->net->ops->offloads)
		v->dev.features |= F_CSUM | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN | F_GUEST_CSUM | F_GUEST_TSO4 |
			F_GUEST_TSO6 | F_GUEST_ECN;
	v->dev.nqueues = QUEUES;
	v->dev.queue_size = c->queue_size ? c->queue_size : 256;
	v->dev.config_len = sizeof v->space;
	c->net->receive = rx_receive;
	c->net->received = rx_received;
	c->net->arg = v;
	*out = v;
	return 0;
}

void virtio_net_free(struct virtio_net *v)
{
	if (!v)
		return;
	assert(!v->vq[RX] && !v->vq[TX]);
	free(v);
}

struct virtio_dev *virtio_net_dev(struct virtio_net *v)
{
	return &v->dev;
}

size_t virtio_net_stats(const struct virtio_net *v, char *buf, size_t len)
{
	int n = snprintf(buf, len,
		"rx_frames %llu\nrx_bytes %llu\nrx_dropped %llu\nrx_waits %llu\n"
		"tx_frames %llu\ntx_bytes %llu\ntx_bad_headers %llu\n",
		(unsigned long long)v->n.rx_frames, (unsigned long long)v->n.rx_bytes,
		(unsigned long long)v->n.rx_dropped, (unsigned long long)v->n.rx_waits,
		(unsigned long long)v->n.tx_frames, (unsigned long long)v->n.tx_bytes,
		(unsigned long long)v->n.bad_headers);
	size_t used = n < 0 ? 0 : (size_t)n < len ? (size_t)n : len;

	if (v->net->ops->stats)
		used += v->net->ops->stats(v->net->n, buf + used, len - used);
	return used;
}
