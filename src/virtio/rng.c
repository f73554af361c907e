/* SPDX-License-Identifier: MIT */
/* virtio-rng: Virtual I/O Device 1.2, 5.4. One queue of buffers to fill. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/virtq.h"

/*
 * A kick is served with the board lock held, so it has a limit: REQUEST bytes for each request, which is less than
 * the driver may ask for but never nothing (5.4.6.1), and ROUNDS times the queue. Linux has one request at a time.
 */
enum { QUEUE_SIZE = 16, REQUEST = 16 << 10, CHUNK = 1024, ROUNDS = 4 };

struct rng {
	struct virtio_dev dev;
	struct virtq *vq; /* NULL: stopped */
	struct iovec iov[QUEUE_SIZE + MEM_REGIONS];
};

static struct rng *rng_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct rng, dev);
}

static uint32_t fill(const struct virtq_req *r)
{
	uint8_t buf[CHUNK];
	uint32_t done = 0;
	size_t n;

	do {
		/* comes short when a signal kicks the vCPU whose thread this is */
		ssize_t got = getrandom(buf, min_u64(sizeof buf, REQUEST - done), 0);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			static struct log_rate rate;

			if (log_rate_ok(&rate))
				log_warn("virtio-rng: the host has no randomness for the guest (error %d)", errno);
			break;
		}
		n = virtq_put(r, done, buf, (size_t)got);
		done += (uint32_t)n;
		if (n < (size_t)got)
			break;
	} while (done < REQUEST);
	explicit_bzero(buf, sizeof buf);
	return done;
}

static void rng_kick(struct virtio_dev *d, unsigned q)
{
	struct rng *rng = rng_of(d);
	struct virtq_req r = {.iov = rng->iov, .iov_max = ARRAY_LEN(rng->iov)};

	(void)q;
	if (!rng->vq)
		return;
	for (unsigned n = 0; n < ROUNDS * QUEUE_SIZE && virtq_pop(rng->vq, &r) > 0; n++)
		virtq_done(&r, r.in_len ? fill(&r) : 0);
	virtq_notify(rng->vq);
}

static int rng_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	(void)q;
	rng_of(d)->vq = vq;
	return 0;
}

static void rng_stop(struct virtio_dev *d, unsigned q)
{
	(void)q;
	rng_of(d)->vq = NULL;
}

static void rng_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	(void)d;
	(void)off;
	memset(buf, 0, len);
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = VIRTIO_ID_RNG,
	.config_read = rng_config_read,
	.start = rng_start,
	.stop = rng_stop,
	.kick = rng_kick,
};

struct virtio_dev *virtio_rng_new(void)
{
	struct rng *rng = xcalloc(1, sizeof *rng);

	rng->dev = (struct virtio_dev){.ops = &rng_ops, .nqueues = 1, .queue_size = QUEUE_SIZE};
	return &rng->dev;
}

void virtio_rng_free(struct virtio_dev *d)
{
	if (d)
		free(rng_of(d));
}
