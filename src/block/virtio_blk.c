/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk: Virtual I/O Device 1.2, 5.2.
 *
 * A request (5.2.6) is a header of 16 bytes that the device reads {le32 type, le32 reserved, le64 sector}, then data that it
 * reads or writes, then one byte that it writes: the status. Where segments begin and end says nothing (2.7.4.1), so the header
 * is the first 16 bytes and the status the last one, wherever they lie. Sectors have 512 bytes, whatever the block size.
 *
 * What is not a request:
 *	no byte for the status     there is nothing to answer with: the queue is broken (NEEDS_RESET)
 *	a short header, data that is no number of sectors, sectors beyond the end: IOERR
 *	a type that is not known, flags that are reserved: UNSUPP
 *
 * Each queue has a lane (blk.h) and everything that happens to it happens on the lane's thread. The transport's thread starts
 * and stops it by leaving a command there and waiting for the answer.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/log.h"
#include "base/util.h"
#include "block/virtio_blk.h"
#include "virtio/virtq.h"

/* 5.2.3 */
#define BLK_F_SIZE_MAX     (1ull << 1)
#define BLK_F_SEG_MAX      (1ull << 2)
#define BLK_F_RO           (1ull << 5)
#define BLK_F_BLK_SIZE     (1ull << 6)
#define BLK_F_FLUSH        (1ull << 9)
#define BLK_F_TOPOLOGY     (1ull << 10)
#define BLK_F_MQ           (1ull << 12)
#define BLK_F_DISCARD      (1ull << 13)
#define BLK_F_WRITE_ZEROES (1ull << 14)

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { SECTOR = 512, HEADER = 16, RANGE = 16, SERIAL = 20 };
/*
 * Discards are cheap; zeroes may have to be written, and a guest waits for the whole of a request. A request's ranges
 * are done one after the other.
 */
enum { NOTIFY = 8 };
enum { RANGES = 16, DISCARD_SECTORS = (1 << 30) / SECTOR, ZERO_SECTORS = (32 << 20) / SECTOR };

/* 5.2.4 */
struct config {
	uint64_t capacity;
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;
	uint8_t physical_block_exp, alignment_offset;
	uint16_t min_io_size;
	uint32_t opt_io_size;
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
} __attribute__((packed));
_Static_assert(sizeof(struct config) == 60, "5.2.4");

struct header {
	uint32_t type, reserved;
	uint64_t sector;
};
_Static_assert(sizeof(struct header) == HEADER, "5.2.6");

struct range {
	uint64_t sector;
	uint32_t nsectors, flags;
};
_Static_assert(sizeof(struct range) == RANGE, "5.2.6");

struct queue;
struct vreq {
	struct virtq_req r;
	struct blk_req b;
	struct queue *q;
	struct iovec *data;      /* when header or status share a segment with data */
	unsigned range, nranges;
};

enum command { NONE, START, STOP };
struct queue {
	struct virtio_blk *v;
	unsigned index;
	struct blk_lane *lane;
	struct vreq *reqs, **spare; /* spare[0, nspare) are free */
	struct iovec *iovs;
	unsigned nspare, ndone;
	uint64_t kicks;             /* of the lane, as far as they were counted */
	struct virtq *vq;           /* NULL: stopped */
	bool durable, stopping, said_broken;
	uint64_t refused;           /* requests that did not get as far as blk_submit() */
	/* from the transport's thread */
	pthread_mutex_t lock;
	pthread_cond_t answered;
	enum command command;       /* atomic too: looked at without the lock */
	struct virtq *start;
};

struct virtio_blk {
	struct virtio_dev dev;
	struct blk *blk;
	struct config config;
	char serial[SERIAL];
	unsigned depth, iov_max;
	bool discard;
	struct queue queue[VIRTIO_QUEUES];
};

/* --- requests ---------------------------------------------------------------------------------- */

static void finish(struct vreq *v, uint8_t status)
{
	struct queue *q = v->q;

	/* all of the part that is written counts as written: a read that failed may have come half */
	virtq_put(&v->r, v->r.in_len - 1, &status, 1);
	virtq_done(&v->r, (uint32_t)v->r.in_len);
	q->spare[q->nspare++] = v;
	q->ndone++;
}

static void __attribute__((cold, noinline)) refuse(struct vreq *v, uint8_t status)
{
	__atomic_store_n(&v->q->refused, v->q->refused + 1, __ATOMIC_RELAXED);
	finish(v, status);
}

static void done(struct blk_req *b, int err)
{
	finish(CONTAINER_OF(b, struct vreq, b), likely(!err) ? S_OK : S_IOERR);
}

static void next_range(struct vreq *v);

static void range_done(struct blk_req *b, int err)
{
	struct vreq *v = CONTAINER_OF(b, struct vreq, b);

	if (err || ++v->range == v->nranges)
		done(b, err);
	else
		next_range(v);
}

/* Called again by range_done(), and then maybe within blk_submit(): no deeper than RANGES. */
static void next_range(struct vreq *v)
{
	struct range range = {0};
	bool zero = v->b.op == BLK_ZERO;

	virtq_get(&v->r, HEADER + (size_t)v->range * RANGE, &range, RANGE);
	/* bit 0 is unmap, which a discard must not have (5.2.6.2) */
	if (range.flags & ~(zero ? 1u : 0u)) {
		refuse(v, S_UNSUPP);
		return;
	}
	if (range.nsectors > (uint32_t)(zero ? ZERO_SECTORS : DISCARD_SECTORS) || range.sector > UINT64_MAX / SECTOR) {
		refuse(v, S_IOERR);
		return;
	}
	v->b.may_unmap = range.flags & 1;
	v->b.off = range.sector * SECTOR;
	v->b.len = (uint64_t)range.nsectors * SECTOR;
	blk_submit(v->q->lane, &v->b);
}

static void ranges(struct vreq *v, enum blk_op op)
{
	uint64_t len = v->r.out_len - HEADER;

	if (!len || len % RANGE || len / RANGE > RANGES) {
		refuse(v, S_IOERR);
		return;
	}
	v->b.op = op;
	v->b.done = range_done;
	v->range = 0;
	v->nranges = (unsigned)(len / RANGE);
	next_range(v);
}

/* Data is [off, off + len) of its part, as iovecs; most often just the iovecs between header and status. */
static void read_write(struct vreq *v, bool write, uint64_t sector)
{
	struct virtq_req *r = &v->r;
	uint64_t len = write ? r->out_len - HEADER : r->in_len - 1;
	struct blk_req *b = &v->b;
	int n;

	if (unlikely(len % SECTOR || sector > UINT64_MAX / SECTOR)) {
		refuse(v, S_IOERR);
		return;
	}
	b->op = write ? BLK_WRITE : BLK_READ;
	b->done = done;
	b->off = sector * SECTOR;
	b->len = len;
	if (likely(write && r->iov[0].iov_len == HEADER)) {
		b->iov = r->iov + 1;
		b->niov = (int)r->nout - 1;
	} else if (likely(!write && r->iov[r->nout + r->nin - 1].iov_len == 1)) {
		b->iov = r->iov + r->nout;
		b->niov = (int)r->nin - 1;
	} else {
		n = virtq_iov(r, !write, write ? HEADER : 0, len, v->data, (int)r->iov_max);
		assert(n >= 0);
		b->iov = v->data;
		b->niov = n;
	}
	blk_submit(v->q->lane, b);
}

static void request(struct vreq *v)
{
	struct virtq_req *r = &v->r;
	struct queue *q = v->q;
	struct header h;

	if (unlikely(!r->in_len)) {
		virtq_break(q->vq, "a request without a byte for its status");
		virtq_done(r, 0);
		q->spare[q->nspare++] = v;
		return;
	}
	if (unlikely(virtq_get(r, 0, &h, HEADER) < HEADER)) {
		refuse(v, S_IOERR);
		return;
	}
	v->b.durable = q->durable;
	switch (h.type) {
	case T_IN:
		read_write(v, false, h.sector);
		break;
	case T_OUT:
		read_write(v, true, h.sector);
		break;
	case T_FLUSH:
		v->b.op = BLK_FLUSH;
		v->b.off = v->b.len = 0;
		v->b.done = done;
		blk_submit(q->lane, &v->b);
		break;
	case T_GET_ID:
		virtq_put(r, 0, q->v->serial, min_u64(SERIAL, r->in_len - 1));
		finish(v, S_OK);
		break;
	case T_DISCARD:
		if (q->v->discard)
			ranges(v, BLK_DISCARD);
		else
			refuse(v, S_UNSUPP);
		break;
	case T_WRITE_ZEROES:
		ranges(v, BLK_ZERO);
		break;
	default:
		refuse(v, S_UNSUPP);
	}
}

/* --- a queue, on its lane's thread ------------------------------------------------------------- */

static void obey(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	if (q->command == START) {
		q->vq = q->start;
		/* without FLUSH the driver thinks that there is no cache (5.2.6.2) */
		q->durable = !(q->vq->features & BLK_F_FLUSH);
		q->stopping = q->said_broken = false;
		blk_lane_watch(q->lane, q->vq->kick_fd);
	} else if (q->command == STOP && q->nspare == q->v->depth) {
		q->vq = NULL;
		blk_lane_watch(q->lane, -1);
	} else {
		q->stopping = true;
		pthread_mutex_unlock(&q->lock);
		return;
	}
	__atomic_store_n(&q->command, NONE, __ATOMIC_RELAXED);
	pthread_cond_signal(&q->answered);
	pthread_mutex_unlock(&q->lock);
}

static bool turn(void *arg)
{
	struct queue *q = arg;
	uint64_t kicks = blk_lane_kicks(q->lane);
	unsigned n = 0;
	int rc = 1;

	if (kicks != q->kicks && q->vq)
		__atomic_store_n(&q->vq->n.kicks, q->vq->n.kicks + (kicks - q->kicks), __ATOMIC_RELAXED);
	q->kicks = kicks;
	if (q->ndone) {
		q->ndone = 0;
		virtq_notify(q->vq);
	}
	if (unlikely(__atomic_load_n(&q->command, __ATOMIC_RELAXED)))
		obey(q);
	if (!q->vq || q->stopping)
		return false;
	/* bounded, so that a guest that is faster than we are cannot keep us from its completions */
	while (q->nspare && n < q->v->depth) {
		struct vreq *v = q->spare[q->nspare - 1];

		rc = virtq_pop(q->vq, &v->r);
		if (rc <= 0)
			break;
		q->nspare--;
		n++;
		request(v);
		/* done at once: no need to wait for the last of many */
		if (q->ndone == NOTIFY) {
			q->ndone = 0;
			virtq_notify(q->vq);
		}
	}
	/* an interrupt that says nothing to the driver, but the transport looks at the queue then */
	if (unlikely(q->vq->broken) && !q->said_broken) {
		q->said_broken = true;
		if (q->vq->call)
			q->vq->call(q->vq, q->vq->call_arg);
	}
	/* some were done at once, or there may be more */
	return q->ndone || (rc > 0 && q->nspare);
}

/* --- the device, on the transport's thread ----------------------------------------------------- */

static struct virtio_blk *of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct virtio_blk, dev);
}

static void config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, (const uint8_t *)&of(d)->config + off, len);
}

static void ask(struct queue *q, enum command c, struct virtq *vq)
{
	pthread_mutex_lock(&q->lock);
	q->start = vq;
	__atomic_store_n(&q->command, c, __ATOMIC_RELAXED);
	blk_lane_call(q->lane);
	while (q->command)
		pthread_cond_wait(&q->answered, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

static int start(struct virtio_dev *d, unsigned i, struct virtq *vq)
{
	struct virtio_blk *v = of(d);
	struct err e = {0};
	int rc;

	if (vq->ring.size > v->depth)
		return -EINVAL;
	rc = blk_lane_start(v->queue[i].lane, &e);
	if (rc) {
		log_err("%s", e.text);
		return rc;
	}
	ask(&v->queue[i], START, vq);
	return 0;
}

static void stop(struct virtio_dev *d, unsigned i)
{
	ask(&of(d)->queue[i], STOP, NULL);
}

static void kick(struct virtio_dev *d, unsigned i)
{
	blk_lane_call(of(d)->queue[i].lane);
}

static const struct virtio_ops ops = {
	.name = "virtio-blk", .id = VIRTIO_ID_BLOCK, .own_kick = true, .config_read = config_read, .start = start,
	.stop = stop, .kick = kick,
};

static int queue_init(struct queue *q, struct virtio_blk *v, unsigned index, struct err *e)
{
	size_t iovs = 2 * (size_t)v->iov_max;

	q->v = v;
	q->index = index;
	pthread_mutex_init(&q->lock, NULL);
	pthread_cond_init(&q->answered, NULL);
	q->reqs = xcalloc(v->depth, sizeof *q->reqs);
	q->spare = xcalloc(v->depth, sizeof(struct vreq *));
	q->iovs = xcalloc(v->depth * iovs, sizeof *q->iovs);
	for (unsigned i = 0; i < v->depth; i++) {
		struct vreq *r = &q->reqs[i];

		r->q = q;
		r->r.iov = q->iovs + i * iovs;
		r->r.iov_max = v->iov_max;
		r->data = r->r.iov + v->iov_max;
		q->spare[q->nspare++] = r;
	}
	return blk_lane_new(&q->lane, v->blk, v->depth, turn, q, e);
}

static void config_init(struct virtio_blk *v, const struct virtio_blk_config *c)
{
	unsigned bs = blk_block_size(c->blk);

	v->config = (struct config){
		.capacity = blk_size(c->blk) / SECTOR,
		.size_max = c->size_max,
		.seg_max = c->seg_max ? c->seg_max : c->queue_size - 2,
		.blk_size = bs,
		/* file systems have blocks of 4 KiB below us, and page caches pages */
		.physical_block_exp = bs < 4096 ? 3 : 0,
		.min_io_size = (uint16_t)(bs < 4096 ? 4096 / bs : 1),
		.writeback = blk_write_cache(c->blk),
		.num_queues = (uint16_t)c->nqueues,
		.max_discard_sectors = DISCARD_SECTORS,
		.max_discard_seg = RANGES,
		.discard_sector_alignment = 4096 / SECTOR,
		.max_write_zeroes_sectors = ZERO_SECTORS,
		.max_write_zeroes_seg = RANGES,
		.write_zeroes_may_unmap = c->discard,
	};
	v->dev.features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_TOPOLOGY;
	v->dev.features |= c->size_max ? BLK_F_SIZE_MAX : 0;
	v->dev.features |= c->nqueues > 1 ? BLK_F_MQ : 0;
	v->dev.features |= blk_write_cache(c->blk) ? BLK_F_FLUSH : 0;
	if (blk_read_only(c->blk))
		v->dev.features |= BLK_F_RO;
	else
		v->dev.features |= BLK_F_WRITE_ZEROES | (c->discard ? BLK_F_DISCARD : 0);
}

int virtio_blk_new(struct virtio_blk **out, const struct virtio_blk_config *c, struct err *e)
{
	struct virtio_blk *v;
	int rc = 0;

	if (!c->nqueues || c->nqueues > VIRTIO_QUEUES)
		return err_set(e, EINVAL, "%u queues: a disk has 1 to %d", c->nqueues, VIRTIO_QUEUES);
	if (c->queue_size < 4 || c->queue_size > VIRTIO_QUEUE_MAX || c->queue_size & (c->queue_size - 1))
		return err_set(e, EINVAL, "queue size %u: must be a power of two from 4 to %d", c->queue_size, VIRTIO_QUEUE_MAX);
	if (c->seg_max > c->queue_size - 2)
		return err_set(e, EINVAL, "%u segments: at most queue size - 2, which is %u", c->seg_max, c->queue_size - 2);
	if (c->size_max && c->size_max < 4096)
		return err_set(e, EINVAL, "segments of %u bytes: at least 4096", c->size_max);
	v = xcalloc(1, sizeof *v);
	v->blk = c->blk;
	v->depth = c->queue_size;
	v->iov_max = c->queue_size + MEM_REGIONS;
	v->discard = c->discard && !blk_read_only(c->blk);
	memcpy(v->serial, c->serial, SERIAL);
	v->dev.ops = &ops;
	v->dev.nqueues = (uint16_t)c->nqueues;
	v->dev.queue_size = (uint16_t)c->queue_size;
	v->dev.config_len = sizeof v->config;
	config_init(v, c);
	for (unsigned i = 0; !rc && i < c->nqueues; i++)
		rc = queue_init(&v->queue[i], v, i, e);
	if (rc)
		virtio_blk_free(v);
	else
		*out = v;
	return rc;
}

int virtio_blk_threads(struct virtio_blk *v, struct err *e)
{
	int rc = 0;

	for (unsigned i = 0; !rc && i < v->dev.nqueues; i++)
		rc = blk_lane_start(v->queue[i].lane, e);
	return rc;
}

void virtio_blk_free(struct virtio_blk *v)
{
	for (unsigned i = 0; v && i < v->dev.nqueues; i++) {
		struct queue *q = &v->queue[i];

		if (!q->v)
			break;
		assert(!q->vq);
		blk_lane_free(q->lane);
		free(q->iovs);
		free(q->spare);
		free(q->reqs);
		pthread_cond_destroy(&q->answered);
		pthread_mutex_destroy(&q->lock);
	}
	free(v);
}

struct virtio_dev *virtio_blk_dev(struct virtio_blk *v)
{
	return &v->dev;
}

size_t virtio_blk_memory(const struct virtio_blk_config *c, unsigned threads)
{
	size_t req = sizeof(struct vreq) + sizeof(struct vreq *) + 2 * (c->queue_size + MEM_REGIONS) * sizeof(struct iovec);

	/* per thread a stack with its guard and a buffer; per thread, too, what malloc may set aside for it */
	return c->nqueues * (c->queue_size * req + (1 + threads) * (size_t)(1 << 20));
}

size_t virtio_blk_stats(const struct virtio_blk *v, char *buf, size_t len)
{
	struct blk_counters n = {0};
	uint64_t refused = 0;
	int k;

	for (unsigned i = 0; i < v->dev.nqueues; i++) {
		blk_lane_counters(v->queue[i].lane, &n);
		refused += __atomic_load_n(&v->queue[i].refused, __ATOMIC_RELAXED);
	}
	k = snprintf(buf, len,
		"reads %" PRIu64 "\nwrites %" PRIu64 "\nflushes %" PRIu64 "\ndiscards %" PRIu64 "\nzeroes %" PRIu64
		"\nerrors %" PRIu64 "\nrefused %" PRIu64 "\nbytes_read %" PRIu64 "\nbytes_written %" PRIu64 "\n",
		n.reads, n.writes, n.flushes, n.discards, n.zeroes, n.errors, refused, n.bytes_read, n.bytes_written);
	return k < 0 || !len ? 0 : min_u64((uint64_t)k, len - 1);
}
