/* SPDX-License-Identifier: MIT */
/*
 * Split virtqueues, the device's side: Virtual I/O Device 1.2, 2.7.
 *
 * The ring. The driver writes descriptors, puts the index of a chain's first one (the head) into the available ring,
 * and then raises avail->idx; the device writes head and length into the used ring, and then raises used->idx.
 * Indices run through all of 16 bits and are taken modulo the size, a power of two. Tables are in guest RAM:
 *
 *	desc    16 * size      {le64 addr, le32 len, le16 flags, le16 next}, 16-aligned
 *	avail   6 + 2 * size   le16 flags, le16 idx, le16 ring[size], le16 used_event; 2-aligned
 *	used    6 + 8 * size   le16 flags, le16 idx, {le32 id, le32 len}[size], le16 avail_event; 4-aligned
 *
 * What keeps us bounded. A chain has at most as many descriptors as the queue (2.7.5.3.1; or chain_max), which also ends loops;
 * an indirect table counts by its entries, and one level of them is all there is (2.7.5.3.2). Each descriptor is
 * read once, with loads that the compiler may not repeat, and only the copy is looked at. avail->idx may be at most
 * size ahead, and at most size requests are out. All bytes of a request fit 32 bits, as used.len does.
 *
 * Barriers. x86 keeps loads in order and stores in order; only a load may pass an earlier store to another place.
 * So acquire and release cost nothing there and full fences do, and these are where a store must be seen before we
 * look whether the other side needs to be told:
 *
 *	load avail->idx (acquire)       before heads and descriptors: pairs with the driver's write barrier
 *	store used->idx (release)       after the data and the used entry
 *	full: avail_event or flags      stored, then avail->idx loaded: either we see the new request, or the driver
 *	                                sees that it must kick (2.7.10.1)
 *	full: used->idx                 stored, then used_event or flags loaded: the same the other way (2.7.7.1)
 *	full: data                      stored, then written(), which loads a page's flags: a vCPU sets MEM_PG_CODE, full
 *	                                barrier, then reads code. Either it reads our bytes or we see its flag.
 *
 * The in-flight record (vhost-user specification, "Inflight I/O tracking") is looked at by the next process, after
 * this one has died. A dead process's stores are all there up to one point in program order; so all it takes is
 * that the compiler keeps them in order (__atomic_signal_fence), and that each point in between can be told:
 *
 *	pop:   counter, then inflight = 1
 *	done:  next and last_batch_head; used->idx; inflight = 0; used_idx
 *	start: the record's used_idx is not used->idx: death came after used->idx was raised, so what is in the last batch is
 *	       done, whatever its inflight says. What is in flight then is done again, in the order of the counters. As many
 *	       heads as are used or in flight have been taken from the available ring: next_avail is their sum.
 *
 * A batch of ours is what one virtq_done() or virtq_done_all() makes known. The list is followed for as long as it can be.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "virtio/virtq.h"

enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4, DESC_SIZE = 16 };
enum { AVAIL_NO_INTERRUPT = 1, USED_NO_NOTIFY = 1 };
enum { INFLIGHT_VERSION = 1 };

/* Indirect tables need no alignment. One volatile load for each half, so that what was checked is what is used. */
struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};
struct desc_raw {
	uint64_t addr, rest;
} __attribute__((packed));
_Static_assert(sizeof(struct desc_raw) == DESC_SIZE, "a descriptor");

static inline struct desc desc_read(const uint8_t *p)
{
	const volatile struct desc_raw *raw = (const volatile void *)p;
	uint64_t addr = raw->addr, rest = raw->rest;

	return (struct desc){.addr = addr, .len = (uint32_t)rest, .flags = (uint16_t)(rest >> 32),
		.next = (uint16_t)(rest >> 48)};
}

static inline uint16_t load16(const uint8_t *p)
{
	return __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
}

static inline void store16(uint8_t *p, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)p, v, __ATOMIC_RELAXED);
}

static inline void store32(uint8_t *p, uint32_t v)
{
	__atomic_store_n((uint32_t *)(void *)p, v, __ATOMIC_RELAXED);
}

static inline uint16_t load_avail_idx(const struct virtq *q)
{
	return __atomic_load_n((const uint16_t *)(const void *)(q->avail + 2), __ATOMIC_ACQUIRE);
}

static inline void full_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void compiler_barrier(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* One writer: no locked instruction. */
static inline void count(uint64_t *c, uint64_t by)
{
	__atomic_store_n(c, *c + by, __ATOMIC_RELAXED);
}

static inline size_t used_event_off(const struct virtq *q)
{
	return 4 + 2 * (size_t)q->ring.size; /* in avail: where the driver wants its interrupt */
}

static inline size_t avail_event_off(const struct virtq *q)
{
	return 4 + 8 * (size_t)q->ring.size; /* in used: where we want our kick */
}

/* A field of the used ring beside its entries. */
static void used_store16(struct virtq *q, size_t off, uint16_t v)
{
	store16(q->used + off, v);
	if (q->written) {
		full_barrier();
		q->written(q->written_arg, q->ring.used + off, 2);
	}
}

void virtq_break(struct virtq *q, const char *why)
{
	if (q->broken)
		return;
	q->why = why;
	__atomic_store_n(&q->broken, true, __ATOMIC_RELEASE);
	count(&q->n.broken, 1);
	if (q->call)
		q->call(q, q->call_arg);
}

static int __attribute__((cold, noinline)) broken(struct virtq *q, const char *why)
{
	virtq_break(q, why);
	return -EPROTO;
}

/* --- start and stop ---------------------------------------------------------------------------- */

size_t virtq_inflight_size(unsigned size)
{
	size_t n = sizeof(struct virtq_inflight) + size * sizeof(struct virtq_inflight_desc);

	return (n + 63) & ~(size_t)63;
}

static int table(const struct virtq *q, uint64_t gpa, uint64_t len, unsigned align, const char *name,
	uint8_t **host, struct err *e)
{
	if (gpa % align)
		return err_set(e, EINVAL, "%s at 0x%" PRIx64 " is not aligned to %u bytes", name, gpa, align);
	*host = mem_at(q->mem, gpa, len);
	if (!*host)
		return err_set(e, EINVAL, "%s at 0x%" PRIx64 ", %" PRIu64 " bytes, is not in RAM", name, gpa, len);
	return 0;
}

/* Counters are copied before they are sorted: the record may change while we look at it. */
struct again {
	uint64_t counter;
	uint16_t head;
};

static int by_counter(const void *a, const void *b)
{
	const struct again *x = a, *y = b;

	if (x->counter != y->counter)
		return x->counter < y->counter ? -1 : 1;
	return x->head < y->head ? -1 : x->head > y->head;
}

/* What a process before us had in flight, and where it was in the available ring. */
static int recover(struct virtq *q, struct err *e)
{
	volatile struct virtq_inflight *f = q->inflight;
	unsigned size = q->ring.size, n = 0;
	uint16_t version = f->version, batch = (uint16_t)(q->used_idx - f->used_idx);
	struct again *again;

	if (version && version != INFLIGHT_VERSION)
		return err_set(e, EINVAL, "in-flight record of version %u: only version %d is known", version,
			INFLIGHT_VERSION);
	if (!version) {
		memset(q->inflight, 0, virtq_inflight_size(size));
		f->desc_num = (uint16_t)size;
		f->used_idx = q->used_idx;
		compiler_barrier();
		f->version = INFLIGHT_VERSION;
		return 0;
	}
	if (batch) {
		uint16_t head = f->last_batch_head;

		for (unsigned i = 0; i < batch && i < size && head < size; i++) {
			f->desc[head].inflight = 0;
			head = f->desc[head].next;
		}
		compiler_barrier();
		f->used_idx = q->used_idx;
	}
	again = malloc(size * sizeof *again);
	q->resubmit = malloc(size * sizeof *q->resubmit);
	if (!again || !q->resubmit) {
		free(again);
		virtq_stop(q);
		return err_set(e, ENOMEM, "no memory to start a queue");
	}
	for (unsigned i = 0; i < size; i++)
		if (f->desc[i].inflight == 1)
			again[n++] = (struct again){.counter = f->desc[i].counter, .head = (uint16_t)i};
	qsort(again, n, sizeof *again, by_counter);
	for (unsigned i = 0; i < n; i++)
		q->resubmit[i] = again[i].head;
	q->nresubmit = n;
	q->counter = n ? again[n - 1].counter + 1 : 0;
	q->next_avail = (uint16_t)(q->used_idx + n);
	free(again);
	return 0;
}

int virtq_start(struct virtq *q, uint16_t next_avail, struct err *e)
{
	unsigned size = q->ring.size;
	bool resumed;
	int rc;

	assert(!q->started);
	if (!size || size & (size - 1) || size > VIRTIO_QUEUE_MAX)
		return err_set(e, EINVAL, "queue of %u entries: must be a power of two up to %d", size,
			VIRTIO_QUEUE_MAX);
	rc = table(q, q->ring.desc, DESC_SIZE * (uint64_t)size, 16, "descriptor table", &q->desc, e);
	rc = rc ? rc : table(q, q->ring.avail, 6 + 2 * (uint64_t)size, 2, "available ring", &q->avail, e);
	rc = rc ? rc : table(q, q->ring.used, 6 + 8 * (uint64_t)size, 4, "used ring", &q->used, e);
	if (rc)
		return rc;
	q->last = &q->mem->region[0];
	q->next_avail = next_avail;
	q->used_idx = load16(q->used + 2);
	q->owed = q->signalled_valid = q->kicks_off = q->broken = false;
	q->why = NULL;
	q->nresubmit = q->resubmitted = q->in_use = 0;
	q->counter = 0;
	resumed = q->inflight && q->inflight->version;
	if (q->inflight) {
		rc = recover(q, e);
		if (rc)
			return rc;
	}
	/* as if we had looked and found nothing; the next look is at the driver's index itself */
	q->avail_idx = q->next_avail;
	q->armed = q->next_avail;
	used_store16(q, 0, 0);
	if (q->features & VIRTIO_F_EVENT_IDX)
		used_store16(q, avail_event_off(q), q->armed);
	full_barrier();
	q->started = true;
	if (resumed && q->call)
		q->call(q, q->call_arg);
	return 0;
}

void virtq_stop(struct virtq *q)
{
	free(q->resubmit);
	q->resubmit = NULL;
	q->nresubmit = q->resubmitted = 0;
	q->started = false;
}

/* --- requests ---------------------------------------------------------------------------------- */

/* The region of gpa. They are few and requests tend to stay in one. */
static const struct mem_region *region_of(struct virtq *q, uint64_t gpa)
{
	const struct mem *m = q->mem;

	if (likely(gpa - q->last->gpa < q->last->len))
		return q->last;
	for (unsigned i = 0; i < m->nregions; i++)
		if (gpa - m->region[i].gpa < m->region[i].len)
			return q->last = &m->region[i];
	return NULL;
}

/* A segment as iovecs behind the n that are there. Their number then, or -EPROTO. */
static inline int segment(struct virtq *q, struct virtq_req *r, unsigned n, uint64_t gpa, uint64_t len)
{
	while (len) {
		const struct mem_region *m = region_of(q, gpa);
		uint64_t k;

		if (unlikely(!m))
			return broken(q, "a segment is not in RAM");
		if (unlikely(n == r->iov_max))
			return broken(q, "a request has too many pieces");
		k = min_u64(len, m->len - (gpa - m->gpa));
		r->iov[n++] = (struct iovec){.iov_base = m->host + (gpa - m->gpa), .iov_len = k};
		/* at the end of all addresses this wraps to 0, and could go on in RAM */
		if (unlikely(k < len && gpa + k < gpa))
			return broken(q, "a segment is not in RAM");
		gpa += k;
		len -= k;
	}
	return (int)n;
}

/* The chain that begins at head, as iovecs. 0 or -EPROTO. */
static int chain(struct virtq *q, struct virtq_req *r, unsigned head)
{
	const uint8_t *entries = q->desc;
	unsigned size = q->ring.size, left = virtq_chain_max(q), i = head, n = 0, nout = 0;
	uint64_t total = 0, out_len = 0;
	bool indirect = false, in = false;

	for (;;) {
		struct desc d = desc_read(entries + (size_t)i * DESC_SIZE);
		const struct mem_region *m;
		int rc;

		if (d.flags & DESC_INDIRECT) {
			if (!(q->features & VIRTIO_F_INDIRECT_DESC))
				return broken(q, "an indirect descriptor, which was not negotiated");
			if (indirect)
				return broken(q, "an indirect descriptor in an indirect table");
			if (d.flags & DESC_NEXT)
				return broken(q, "an indirect descriptor with a next one");
			if (!d.len || d.len % DESC_SIZE)
				return broken(q, "an indirect table that is not a number of descriptors");
			m = region_of(q, d.addr);
			if (!m || d.len > m->len - (d.addr - m->gpa))
				return broken(q, "an indirect table is not in RAM");
			entries = m->host + (d.addr - m->gpa);
			size = d.len / DESC_SIZE;
			i = 0;
			indirect = true; /* WRITE means nothing here (2.7.5.3.2) */
			continue;
		}
		if (unlikely(!left--))
			return broken(q, "a chain is longer than the queue, or a loop");
		total += d.len;
		if (unlikely(total > UINT32_MAX))
			return broken(q, "a request of 4 GiB or more");
		if (d.flags & DESC_WRITE) {
			if (!in) {
				in = true;
				nout = n;
				out_len = total - d.len;
			}
		} else if (unlikely(in)) {
			return broken(q, "a segment to read after one to write");
		}
		rc = segment(q, r, n, d.addr, d.len);
		if (unlikely(rc < 0))
			return rc;
		n = (unsigned)rc;
		if (!(d.flags & DESC_NEXT))
			break;
		i = d.next;
		if (unlikely(i >= size))
			return broken(q, "a descriptor's next is outside its table");
	}
	r->nout = in ? nout : n;
	r->nin = n - r->nout;
	r->out_len = in ? out_len : total;
	r->in_len = total - r->out_len;
	r->head = (uint16_t)head;
	return 0;
}

/* We want a kick for what comes next. True when it is there already. */
static bool arm(struct virtq *q)
{
	if (q->features & VIRTIO_F_EVENT_IDX) {
		/* said before, and looked at the index afterwards: nothing can have been missed */
		if (q->armed == q->next_avail)
			return false;
		q->armed = q->next_avail;
		used_store16(q, avail_event_off(q), q->next_avail);
		full_barrier();
		q->avail_idx = load_avail_idx(q);
	}
	return q->avail_idx != q->next_avail;
}

int virtq_pop(struct virtq *q, struct virtq_req *r)
{
	uint16_t head;
	int rc;

	if (unlikely(q->broken))
		return -EPROTO;
	r->q = q;
	if (unlikely(q->resubmitted < q->nresubmit)) {
		rc = chain(q, r, q->resubmit[q->resubmitted]);
		if (rc)
			return rc;
		q->resubmitted++;
		r->again = true;
		count(&q->n.resubmitted, 1);
		goto popped;
	}
	if (q->avail_idx == q->next_avail) {
		q->avail_idx = load_avail_idx(q);
		if (q->avail_idx == q->next_avail && (q->kicks_off || !arm(q)))
			return 0;
	}
	if (unlikely((uint16_t)(q->avail_idx - q->next_avail) > q->ring.size))
		return broken(q, "the available index is further ahead than the queue is long");
	if (unlikely(q->in_use >= q->ring.size))
		return broken(q, "more requests than the queue has entries");
	head = load16(q->avail + 4 + 2 * (size_t)(q->next_avail & (q->ring.size - 1)));
	if (unlikely(head >= q->ring.size))
		return broken(q, "a head is outside the descriptor table");
	rc = chain(q, r, head);
	if (unlikely(rc))
		return rc;
	r->again = false;
	if (q->inflight) {
		q->inflight->desc[head].counter = q->counter++;
		compiler_barrier();
		q->inflight->desc[head].inflight = 1;
		compiler_barrier();
	}
	q->next_avail++;
popped:
	q->in_use++;
	count(&q->n.requests, 1);
	count(&q->n.bytes_out, r->out_len);
	count(&q->n.bytes_in, r->in_len);
	return 1;
}

void virtq_unpop(struct virtq *q, struct virtq_req *r)
{
	assert(q->in_use);
	q->in_use--;
	count(&q->n.requests, -1ull);
	count(&q->n.bytes_out, -r->out_len);
	count(&q->n.bytes_in, -r->in_len);
	if (r->again) {
		assert(q->resubmitted);
		q->resubmitted--;
		count(&q->n.resubmitted, -1ull);
		return;
	}
	if (q->inflight)
		q->inflight->desc[r->head].inflight = 0;
	q->next_avail--;
}

bool virtq_empty(const struct virtq *q)
{
	return q->broken || (q->resubmitted == q->nresubmit && q->next_avail == load_avail_idx(q));
}

/* --- bytes of a request ------------------------------------------------------------------------ */

/* The piece that off lies in, and how far; NULL when the part is shorter. */
static struct iovec *piece(const struct virtq_req *r, bool write, size_t *off)
{
	struct iovec *v = write ? r->iov + r->nout : r->iov;
	unsigned n = write ? r->nin : r->nout;
	uint64_t len = write ? r->in_len : r->out_len;

	if (*off >= len)
		return NULL;
	/* most often the first, a header, or the last, a status */
	if (*off >= v->iov_len && *off >= len - v[n - 1].iov_len) {
		*off -= len - v[n - 1].iov_len;
		return v + n - 1;
	}
	for (; *off >= v->iov_len; v++)
		*off -= v->iov_len;
	return v;
}

size_t virtq_get(const struct virtq_req *r, size_t off, void *dst, size_t len)
{
	const struct iovec *v;
	size_t done = 0;

	len = off < r->out_len ? min_u64(len, r->out_len - off) : 0;
	for (v = len ? piece(r, false, &off) : NULL; done < len; v++, off = 0) {
		size_t k = min_u64(len - done, v->iov_len - off);

		memcpy((uint8_t *)dst + done, (const uint8_t *)v->iov_base + off, k);
		done += k;
	}
	return done;
}

size_t virtq_put(const struct virtq_req *r, size_t off, const void *src, size_t len)
{
	const struct iovec *v;
	size_t done = 0;

	len = off < r->in_len ? min_u64(len, r->in_len - off) : 0;
	for (v = len ? piece(r, true, &off) : NULL; done < len; v++, off = 0) {
		size_t k = min_u64(len - done, v->iov_len - off);

		memcpy((uint8_t *)v->iov_base + off, (const uint8_t *)src + done, k);
		done += k;
	}
	return done;
}

int virtq_iov(const struct virtq_req *r, bool write, size_t off, size_t len, struct iovec *iov, int max)
{
	uint64_t have = write ? r->in_len : r->out_len;
	const struct iovec *v;
	int n = 0;

	if (off > have || len > have - off)
		return -EINVAL;
	for (v = len ? piece(r, write, &off) : NULL; len; v++, off = 0) {
		size_t k = min_u64(len, v->iov_len - off);

		if (n == max)
			return -EINVAL;
		iov[n++] = (struct iovec){.iov_base = (uint8_t *)v->iov_base + off, .iov_len = k};
		len -= k;
	}
	return n;
}

/* --- done -------------------------------------------------------------------------------------- */

static void tell_written(struct virtq *q, const struct virtq_req *r, uint64_t len, uint64_t entry)
{
	const struct iovec *v = r->iov + r->nout;

	full_barrier();
	for (; len; v++) {
		uint64_t k = min_u64(len, v->iov_len);

		q->written(q->written_arg, mem_gpa(q->mem, v->iov_base), k);
		len -= k;
	}
	q->written(q->written_arg, entry, 8);
}

/* The k-th entry behind the used index, which the driver does not look at yet. */
static inline void used_put(struct virtq_req *r, uint32_t written, unsigned k)
{
	struct virtq *q = r->q;
	struct virtq_inflight *f = q->inflight;
	size_t entry = 4 + 8 * (size_t)((q->used_idx + k) & (q->ring.size - 1));

	assert(written <= r->in_len);
	store32(q->used + entry, r->head);
	store32(q->used + entry + 4, written);
	if (q->written)
		tell_written(q, r, written, q->ring.used + entry);
	if (f) {
		f->desc[r->head].next = f->last_batch_head;
		compiler_barrier();
		f->last_batch_head = r->head;
		compiler_barrier();
	}
}

static inline void done(struct virtq_req *r, const uint32_t *written, unsigned n)
{
	struct virtq *q = r->q;
	struct virtq_inflight *f = q->inflight;

	assert(q->started && q->in_use >= n);
	q->in_use -= n;
	if (unlikely(q->broken))
		return;
	for (unsigned i = 0; i < n; i++)
		used_put(&r[i], written[i], i);
	/* all the way round since the last interrupt: what the driver asked for cannot be told from that any more */
	if (unlikely((uint16_t)(q->signalled - q->used_idx - 1) < n))
		q->signalled_valid = false;
	q->used_idx += (uint16_t)n;
	__atomic_store_n((uint16_t *)(void *)(q->used + 2), q->used_idx, __ATOMIC_RELEASE);
	if (f) {
		compiler_barrier();
		for (unsigned i = 0; i < n; i++)
			f->desc[r[i].head].inflight = 0;
		compiler_barrier();
		f->used_idx = q->used_idx;
	}
	if (q->written) {
		full_barrier();
		q->written(q->written_arg, q->ring.used + 2, 2);
	}
	q->owed = true;
}

void virtq_done(struct virtq_req *r, uint32_t written)
{
	done(r, &written, 1);
}

void virtq_done_all(struct virtq_req *r, const uint32_t *written, unsigned n)
{
	done(r, written, n);
}

void virtq_notify(struct virtq *q)
{
	bool wanted;

	if (!q->owed || unlikely(q->broken || !q->call))
		return;
	full_barrier();
	if (q->features & VIRTIO_F_EVENT_IDX) {
		/* is the entry that it waits for one of those since the last time? (2.7.7.2) */
		uint16_t event = load16(q->avail + used_event_off(q));
		uint16_t since = (uint16_t)(q->used_idx - q->signalled);

		wanted = !q->signalled_valid || (uint16_t)(q->used_idx - event - 1) < since;
	} else {
		wanted = !(load16(q->avail) & AVAIL_NO_INTERRUPT);
	}
	q->signalled = q->used_idx;
	q->signalled_valid = true;
	q->owed = false;
	if (!wanted) {
		count(&q->n.calls_saved, 1);
		return;
	}
	count(&q->n.calls, 1);
	q->call(q, q->call_arg);
}

bool virtq_kicks(struct virtq *q, bool wanted)
{
	if (q->broken)
		return false;
	if (q->kicks_off == wanted && !(q->features & VIRTIO_F_EVENT_IDX)) {
		used_store16(q, 0, wanted ? 0 : USED_NO_NOTIFY);
		full_barrier();
	}
	q->kicks_off = !wanted;
	if (!wanted)
		return false;
	q->avail_idx = load_avail_idx(q);
	return q->resubmitted < q->nresubmit || q->avail_idx != q->next_avail || arm(q);
}
