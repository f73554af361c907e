/* SPDX-License-Identifier: MIT */
/*
 * The device's side of a split virtqueue (Virtual I/O Device 1.2, 2.7), with indirect descriptors, event indices and
 * the in-flight record of vhost-user. Everything in the ring is written by a hostile guest, also while we read it:
 * descriptors are copied out once, checked, and from then on are iovecs that lie inside guest RAM. What cannot be
 * right breaks the queue: virtq_pop() says -EPROTO from then on until the driver resets the device.
 *
 * A virtq belongs to one thread at a time.
 */
#ifndef VIRTIO_VIRTQ_H
#define VIRTIO_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"
#include "mem/mem.h"
#include "virtio/virtio.h"

/*
 * In-flight record of a split queue: vhost-user specification, "Inflight I/O tracking", struct QueueRegionSplit. It is
 * shared memory that outlives the process: whoever starts with a record that is not empty does those requests again.
 */
struct virtq_inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};
struct virtq_inflight {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct virtq_inflight_desc desc[];
};
/* Bytes for a queue of so many entries, a multiple of 64 */
size_t virtq_inflight_size(unsigned size);

/* Written with relaxed atomic stores: another thread may look at them with relaxed loads. */
struct virtq_counters {
	uint64_t requests, bytes_out, bytes_in; /* popped; out: device-readable */
	uint64_t kicks;                         /* counted by who gets them: transport or device */
	uint64_t calls, calls_saved;            /* calls_saved: that the driver did not want */
	uint64_t resubmitted, broken;
};

struct virtq {
	/* set by the transport before virtq_start() */
	const struct mem *mem; /* borrowed */
	uint64_t features;     /* negotiated */
	struct virtio_ring ring;
	struct virtq_inflight *inflight; /* NULL: none; at least virtq_inflight_size(ring.size) bytes */
	/*
	 * Most descriptors of a chain, 0: as many as the queue has, which is the specification's limit. A transport whose
	 * device was made for longer queues allows their length: drivers go by seg_max, which the device announced
	 * before it could know how short a queue its driver chooses.
	 */
	uint16_t chain_max;
	int kick_fd;                     /* borrowed; -1: none. May be blocking or not. */
	/* Sends the interrupt. The thread that uses the queue. */
	void (*call)(struct virtq *q, void *arg);
	void *call_arg;
	/*
	 * NULL, or: the device wrote there. Dirty logs, translated code. One call for each piece of the request that lies
	 * in one region and for the used ring's entry, all before the driver is told; and one for each other field of
	 * the used ring (index, flags, event), right after it was written. The stores are visible to all (full
	 * barrier) when it is called.
	 */
	void (*written)(void *arg, uint64_t gpa, uint64_t len);
	void *written_arg;
	/* the rest is virtq.c's, but for the counters */
	struct virtq_counters n;
	uint16_t next_avail, used_idx, signalled; /* next_avail: what GET_VRING_BASE says */
	uint16_t avail_idx; /* the driver's index when we looked last */
	uint16_t armed;     /* the event index that the driver was given last */
	bool owed; /* something was done since the last virtq_notify() */
	bool signalled_valid, kicks_off, broken, started;
	const char *why; /* it is broken: a constant string */
	uint8_t *desc, *avail, *used;
	const struct mem_region *last; /* where the last segment was */
	unsigned in_use;               /* popped, and neither done nor taken back */
	uint16_t *resubmit;            /* heads, in the order in which they came */
	unsigned nresubmit, resubmitted;
	uint64_t counter;
};

/*
 * One request: first what the device reads, then what it writes. The owner sets iov and iov_max before virtq_pop();
 * virtq_iov_max() entries are enough for anything that a driver may build. iov changes with virtq_pop() only.
 */
struct virtq_req {
	struct virtq *q;
	struct iovec *iov;
	unsigned iov_max;
	unsigned nout, nin;     /* iov[0, nout) is read, iov[nout, nout + nin) is written */
	uint64_t out_len, in_len;
	uint16_t head;
	bool again; /* from the in-flight record: some of it may have been done before */
};

/*
 * Checks the ring's place and begins. next_avail: where to go on (0 for a new ring); with an in-flight record that
 * is not empty it is found from there instead, and call() is made once, since whoever used the ring before may have
 * died between using an entry and the interrupt. An empty record (version 0) is filled in. Who resets the device
 * clears the record: nothing in it is in flight any more. 0 or -errno with words.
 */
int virtq_start(struct virtq *q, uint16_t next_avail, struct err *e);
void virtq_stop(struct virtq *q); /* frees what start allocated; harmless when not started */

static inline unsigned virtq_chain_max(const struct virtq *q)
{
	return q->chain_max > q->ring.size ? q->chain_max : q->ring.size;
}

static inline unsigned virtq_iov_max(const struct virtq *q)
{
	return virtq_chain_max(q) + MEM_REGIONS;
}

/*
 * 1, 0 when there is nothing, -EPROTO when the queue is broken. After 0 there will be a kick for what comes next, unless
 * kicks are not wanted. At most ring.size requests are out at a time: a driver that makes more available breaks its
 * queue, so that many slots are always enough. Segments without bytes are left out.
 */
int virtq_pop(struct virtq *q, struct virtq_req *r);
/*
 * Takes the request that was popped last back, as if it had not been popped (no receiver for it yet). Several: the
 * last one first, and nothing popped since may have been done.
 */
void virtq_unpop(struct virtq *q, struct virtq_req *r);
/* Is there something to pop? A look, nothing more. */
bool virtq_empty(const struct virtq *q);

/* Copy out of the part that is read, into the part that is written; the bytes copied, fewer at its end. */
size_t virtq_get(const struct virtq_req *r, size_t off, void *dst, size_t len);
size_t virtq_put(const struct virtq_req *r, size_t off, const void *src, size_t len);
/*
 * [off, off + len) of the part that is written (write) or read, as iovecs for bulk data. The number, at most max, or
 * -EINVAL when the part is shorter or there are more pieces.
 */
int virtq_iov(const struct virtq_req *r, bool write, size_t off, size_t len, struct iovec *iov, int max);

/*
 * The device is done with it: written bytes from the start of the part that is written, no more than in_len. Not yet the
 * interrupt. On a broken queue nothing is published any more.
 */
void virtq_done(struct virtq_req *r, uint32_t written);
/*
 * The same for r[0, n), all of one queue, which the driver sees at once, in this order: a frame in several
 * buffers (5.1.6.4), since a driver that finds the first one expects the others.
 */
void virtq_done_all(struct virtq_req *r, const uint32_t *written, unsigned n);
/* After one or more virtq_done(): the interrupt, if the driver wants it. */
void virtq_notify(struct virtq *q);

/*
 * Kicks wanted, or not while we poll. After virtq_kicks(q, true) there may be requests for which no kick will come:
 * it returns true when there are, and the caller looks again.
 */
bool virtq_kicks(struct virtq *q, bool wanted); /* wanted after virtq_start() */

/*
 * Breaks the queue for a reason that the device found (a request without a status byte ...), and calls call(), so that the
 * transport looks. why: constant
 */
void virtq_break(struct virtq *q, const char *why);

#endif
