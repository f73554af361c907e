/* SPDX-License-Identifier: MIT */
/*
 * virtio-balloon: Virtual I/O Device 1.2, 5.5. Two ways for a guest to give memory back:
 *
 *	inflate  the driver allocates pages, because num_pages asks for them, and sends their numbers; they are the
 *	         device's until they come back through the deflate queue (or, with DEFLATE_ON_OOM, until the guest needs
 *	         them), so nothing has to be done for that
 *	report   the driver takes free blocks out of the allocator, sends them as writable segments, and returns them
 *	         when the request is done. Whoever touches such a page next gets a new one
 *
 * Which queue is which. The specification numbers them: inflate 0, deflate 1, stats 2, free page hints 3, reports 4.
 * Linux until 6.11 counts only the queues whose features were negotiated, so that its reports come on 2 here. As neither
 * stats nor hints are offered, 2, 3 and 4 all take reports.
 *
 * What a guest may gain from wrong requests is zeroes in its own memory. What remains is time, spent under the board
 * lock: hence the limits. What is over them is not given back, no more.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/virtq.h"

#define BALLOON_F_DEFLATE_ON_OOM (1ull << 2)
#define BALLOON_F_REPORTING      (1ull << 5)

enum { Q_INFLATE, Q_DEFLATE, NQUEUES = 5 };
/* Linux reports 32 blocks in one request, and does without when the queue has fewer entries. */
enum { QUEUE_SIZE = 128, PIECES = QUEUE_SIZE + MEM_REGIONS, ROUNDS = 2 };
/* Page numbers looked at in one request: Linux sends up to 256, Windows up to 1024. */
enum { PFNS = 4096 };

struct balloon_config {
	uint32_t num_pages, actual;
};

struct range {
	uint64_t gpa, end;
};

struct balloon {
	struct virtio_dev dev;
	const struct mem *mem;
	void (*discard)(void *arg, uint64_t gpa, uint64_t len);
	void *arg;
	struct virtq *vq[NQUEUES]; /* NULL: stopped */
	struct virtio_balloon_counters n;
	struct iovec iov[PIECES];
	uint32_t pfn[PFNS];
	struct range range[PFNS];
	unsigned nranges;
};
_Static_assert(PFNS >= (int)PIECES, "the ranges of a report");

static struct balloon *balloon_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct balloon, dev);
}

/* ---- giving back ---- */

/*
 * Heapsort: in place, and no worse on what a hostile guest sends. qsort() of so much allocates, and asks the kernel how
 * much memory there is, which the sandbox forbids.
 */
static void sift(struct range *r, unsigned i, unsigned n)
{
	struct range x = r[i];

	for (unsigned k; (k = 2 * i + 1) < n; i = k) {
		if (k + 1 < n && r[k].gpa < r[k + 1].gpa)
			k++;
		if (r[k].gpa <= x.gpa)
			break;
		r[i] = r[k];
	}
	r[i] = x;
}

static void sort(struct range *r, unsigned n)
{
	for (unsigned i = n / 2; i--;)
		sift(r, i, n);
	while (n-- > 1) {
		struct range x = r[n];

		r[n] = r[0];
		r[0] = x;
		sift(r, 0, n);
	}
}

/*
 * Pages come one by one and from any end of a free block; each call of discard() is a system call and more. Each range
 * is RAM of one region; neighbours may be of two.
 */
static uint64_t ranges_discard(struct balloon *b)
{
	uint64_t bytes = 0;

	sort(b->range, b->nranges);
	for (unsigned i = 0; i < b->nranges;) {
		struct range r = b->range[i++];

		for (; i < b->nranges && b->range[i].gpa <= r.end; i++) {
			uint64_t end = max_u64(r.end, b->range[i].end);

			if (!mem_at(b->mem, r.gpa, end - r.gpa))
				break;
			r.end = end;
		}
		b->discard(b->arg, r.gpa, r.end - r.gpa);
		b->n.discards++;
		bytes += r.end - r.gpa;
	}
	b->nranges = 0;
	return bytes;
}

static void inflate(struct balloon *b, const struct virtq_req *r)
{
	size_t n = virtq_get(r, 0, b->pfn, sizeof b->pfn) / sizeof b->pfn[0];

	b->n.ignored += r->out_len / sizeof b->pfn[0] - n;
	for (size_t i = 0; i < n; i++) {
		uint64_t gpa = (uint64_t)b->pfn[i] * MEM_PAGE;

		if (mem_at(b->mem, gpa, MEM_PAGE))
			b->range[b->nranges++] = (struct range){gpa, gpa + MEM_PAGE};
		else
			b->n.ignored++;
	}
	b->n.inflated += ranges_discard(b) / MEM_PAGE;
}

static void report(struct balloon *b, const struct virtq_req *r)
{
	for (unsigned i = r->nout; i < r->nout + r->nin; i++) {
		uint64_t gpa = mem_gpa(b->mem, r->iov[i].iov_base);
		/* whole pages only: what is beside them on a page is not ours to take */
		uint64_t first = align_up(gpa, MEM_PAGE), end = (gpa + r->iov[i].iov_len) & ~(uint64_t)(MEM_PAGE - 1);

		if (gpa != UINT64_MAX && first < end)
			b->range[b->nranges++] = (struct range){first, end};
	}
	b->n.reports++;
	b->n.reported += ranges_discard(b);
}

static void balloon_kick(struct virtio_dev *d, unsigned q)
{
	struct balloon *b = balloon_of(d);
	struct virtq_req r = {.iov = b->iov, .iov_max = ARRAY_LEN(b->iov)};

	if (!b->vq[q])
		return;
	for (unsigned n = 0; n < ROUNDS * QUEUE_SIZE && virtq_pop(b->vq[q], &r) > 0; n++) {
		if (q == Q_INFLATE)
			inflate(b, &r);
		else if (q == Q_DEFLATE)
			b->n.deflated += r.out_len / sizeof(uint32_t);
		else
			report(b, &r);
		virtq_done(&r, 0);
	}
	virtq_notify(b->vq[q]);
}

/* ---- device ---- */

static int balloon_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	balloon_of(d)->vq[q] = vq;
	return 0;
}

static void balloon_stop(struct virtio_dev *d, unsigned q)
{
	balloon_of(d)->vq[q] = NULL;
}

/* A new driver has no page in the balloon; num_pages stays what was asked for (5.5.5). */
static void balloon_reset(struct virtio_dev *d)
{
	balloon_of(d)->n.actual = 0;
}

static void balloon_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	const struct balloon *b = balloon_of(d);
	struct balloon_config c = {.num_pages = b->n.target, .actual = b->n.actual};

	memcpy(buf, (const uint8_t *)&c + off, len);
}

static void balloon_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct balloon *b = balloon_of(d);
	struct balloon_config c = {.num_pages = b->n.target, .actual = b->n.actual};

	memcpy((uint8_t *)&c + off, buf, len);
	b->n.actual = c.actual; /* all that a driver may write */
}

static const struct virtio_ops balloon_ops = {
	.name = "balloon",
	.id = VIRTIO_ID_BALLOON,
	.config_read = balloon_config_read,
	.config_write = balloon_config_write,
	.start = balloon_start,
	.stop = balloon_stop,
	.kick = balloon_kick,
	.reset = balloon_reset,
};

struct virtio_dev *virtio_balloon_new(const struct mem *mem, void (*discard)(void *arg, uint64_t gpa, uint64_t len),
	void *arg)
{
	struct balloon *b = xcalloc(1, sizeof *b);

	b->dev = (struct virtio_dev){.ops = &balloon_ops, .features = BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_REPORTING,
		.nqueues = NQUEUES, .queue_size = QUEUE_SIZE, .config_len = sizeof(struct balloon_config)};
	b->mem = mem;
	b->discard = discard;
	b->arg = arg;
	return &b->dev;
}

void virtio_balloon_free(struct virtio_dev *d)
{
	if (d)
		free(balloon_of(d));
}

void virtio_balloon_target(struct virtio_dev *d, uint32_t pages)
{
	struct balloon *b = balloon_of(d);

	if (b->n.target == pages)
		return;
	b->n.target = pages;
	if (d->config_changed)
		d->config_changed(d->config_changed_arg);
}

const struct virtio_balloon_counters *virtio_balloon_counters(const struct virtio_dev *d)
{
	return &((const struct balloon *)(const void *)d)->n;
}

size_t virtio_balloon_stats(const struct virtio_dev *d, char *buf, size_t len)
{
	const struct virtio_balloon_counters *n = virtio_balloon_counters(d);
	int k = snprintf(buf, len,
		"balloon_target %" PRIu64 "\nballoon_actual %" PRIu64 "\nballoon_inflated %" PRIu64 "\n"
		"balloon_deflated %" PRIu64 "\nballoon_reports %" PRIu64 "\nballoon_reported %" PRIu64 "\n"
		"balloon_discards %" PRIu64 "\nballoon_ignored %" PRIu64 "\n",
		(uint64_t)n->target * MEM_PAGE, (uint64_t)n->actual * MEM_PAGE, n->inflated * MEM_PAGE,
		n->deflated * MEM_PAGE, n->reports, n->reported, n->discards, n->ignored);

	return k < 0 ? 0 : min_u64((uint64_t)k, len ? len - 1 : 0);
}
