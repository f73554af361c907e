/* SPDX-License-Identifier: MIT */
/* Rings as drivers build them, and as they must not. The in-flight record has a test of its own. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "driver.h"

enum { IND = VIRTIO_F_INDIRECT_DESC, EV = VIRTIO_F_EVENT_IDX };

static struct drv d;

static void fill(uint64_t gpa, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t b = (uint8_t)(seed + i * 7);

		assert(!mem_put(&d.mem, gpa + i, &b, 1));
	}
}

static void check_fill(const uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		assert(p[i] == (uint8_t)(seed + i * 7));
}

/* Requests of 1 to 3 descriptors, some in a table, through all of the index' range and over its end. */
static void test_wrap(void)
{
	uint8_t buf[64];
	uint32_t id, len;

	drv_init(&d, 4, IND, 65500);
	for (unsigned i = 0; i < 70000; i++) {
		unsigned head = i % 4, second = (i + 1) % 4, out = i % 13 + 1, in = i % 11 + 2;
		bool table = i % 3 == 0;

		fill(DRV_DATA, out, i);
		if (table) {
			drv_entry(&d, DRV_TABLES + 8, 0, DRV_DATA, out, D_NEXT, 1);
			drv_entry(&d, DRV_TABLES + 8, 1, DRV_DATA + 0x100, in, D_WRITE, 0);
			/* WRITE means nothing there */
			drv_desc(&d, head, DRV_TABLES + 8, 32, D_INDIRECT | (i & 1 ? D_WRITE : 0), 99);
		} else {
			drv_desc(&d, head, DRV_DATA, out, D_NEXT, second);
			drv_desc(&d, second, DRV_DATA + 0x100, in, D_WRITE, 99);
		}
		assert(virtq_empty(&d.q) && virtq_pop(&d.q, &d.r) == 0);
		drv_offer(&d, head);
		assert(!virtq_empty(&d.q) && virtq_pop(&d.q, &d.r) == 1 && virtq_empty(&d.q));
		assert(d.r.q == &d.q && d.r.head == head && d.r.nout == 1 && d.r.nin == 1 && !d.r.again);
		assert(d.r.out_len == out && d.r.in_len == in);
		assert(virtq_get(&d.r, 0, buf, sizeof buf) == out);
		check_fill(buf, out, i);
		for (unsigned k = 0; k < in; k++)
			buf[k] = (uint8_t)(i + k);
		assert(virtq_put(&d.r, 0, buf, sizeof buf) == in);
		virtq_done(&d.r, in - 1);
		virtq_notify(&d.q);
		assert(drv_used(&d, &id, &len) && id == head && len == in - 1 && !drv_used(&d, &id, &len));
		assert(!mem_get(&d.mem, DRV_DATA + 0x100, buf, in) && buf[in - 1] == (uint8_t)(i + in - 1));
	}
	assert(d.calls == 70000 && d.q.n.requests == 70000 && d.q.n.calls == 70000 && !d.q.n.calls_saved);
	assert(d.q.next_avail == (uint16_t)(65500 + 70000) && d.q.used_idx == d.q.next_avail);
	drv_fini(&d);
}

/* Out of order, and pieces of every length at every offset. */
static void test_slices(void)
{
	enum { OUT = 3 + 1 + 20 + 8, IN = 5 + 1 + 30 };
	struct iovec v[8];
	uint8_t in[IN], out[OUT + 2], got[OUT + 1];

	drv_init(&d, 16, 0, 0);
	/* the third one lies in two regions, and one has no bytes */
	drv_desc(&d, 5, DRV_DATA, 3, D_NEXT, 9);
	drv_desc(&d, 9, DRV_DATA + 0x200, 1, D_NEXT, 2);
	drv_desc(&d, 2, DRV_REGION - 13, 20, D_NEXT, 11);
	drv_desc(&d, 11, 0xdead0000dead, 0, D_NEXT, 3);
	drv_desc(&d, 3, DRV_FAR, 8, D_NEXT, 0);
	drv_desc(&d, 0, DRV_DATA + 0x300, 5, D_NEXT | D_WRITE, 1);
	drv_desc(&d, 1, DRV_TOP - 1, 1, D_NEXT | D_WRITE, 15);
	drv_desc(&d, 15, DRV_REGION - 10, 30, D_WRITE, 15);
	drv_offer(&d, 5);
	assert(virtq_pop(&d.q, &d.r) == 1);
	assert(d.r.nout == 5 && d.r.nin == 4 && d.r.out_len == OUT && d.r.in_len == IN);
	for (unsigned i = 0; i < d.r.nout + d.r.nin; i++)
		assert(d.iov[i].iov_len && mem_gpa(&d.mem, d.iov[i].iov_base) != UINT64_MAX);
	assert(d.iov[2].iov_len == 13 && mem_gpa(&d.mem, d.iov[2].iov_base) == DRV_REGION - 13);
	assert(d.iov[3].iov_len == 7 && mem_gpa(&d.mem, d.iov[3].iov_base) == DRV_REGION);
	for (unsigned i = 0; i < OUT; i++)
		out[i] = (uint8_t)(i + 1);
	mem_put(&d.mem, DRV_DATA, out, 3);
	mem_put(&d.mem, DRV_DATA + 0x200, out + 3, 1);
	mem_put(&d.mem, DRV_REGION - 13, out + 4, 20);
	mem_put(&d.mem, DRV_FAR, out + 24, 8);
	for (size_t off = 0; off <= OUT + 1; off++) {
		for (size_t len = 0; len <= OUT + 1; len++) {
			size_t want = off < OUT ? min_u64(len, OUT - off) : 0, sum = 0;
			int n;

			memset(got, 0xee, sizeof got);
			assert(virtq_get(&d.r, off, got, len) == want && !memcmp(got, out + off, want));
			assert(want == sizeof got || got[want] == 0xee);
			n = virtq_iov(&d.r, false, off, len, v, 8);
			assert((n < 0) == (off + len > OUT) && (n >= 0 || n == -EINVAL));
			if (n > 1)
				assert(virtq_iov(&d.r, false, off, len, v, n - 1) == -EINVAL);
			for (int i = 0; i < n; i++) {
				assert(v[i].iov_len && !memcmp(v[i].iov_base, out + off + sum, v[i].iov_len));
				sum += v[i].iov_len;
			}
			assert(n < 0 || sum == len);
		}
	}
	for (size_t off = 0; off <= IN + 1; off++) {
		for (size_t len = 0; len <= IN + 1; len++) {
			size_t want = off < IN ? min_u64(len, IN - off) : 0;
			uint8_t src[IN + 2], zero[IN] = {0};
			int n;

			for (size_t i = 0; i < sizeof src; i++)
				src[i] = (uint8_t)(off + i + 1);
			assert(virtq_put(&d.r, 0, zero, IN) == IN && virtq_put(&d.r, off, src, len) == want);
			mem_get(&d.mem, DRV_DATA + 0x300, in, 5);
			mem_get(&d.mem, DRV_TOP - 1, in + 5, 1);
			mem_get(&d.mem, DRV_REGION - 10, in + 6, 30);
			for (size_t i = 0; i < IN; i++)
				assert(in[i] == (i >= off && i < off + want ? (uint8_t)(i + 1) : 0));
			n = virtq_iov(&d.r, true, off, len, v, 8);
			assert((n < 0) == (off + len > IN));
		}
	}
	assert(virtq_iov(&d.r, true, SIZE_MAX, 2, v, 8) == -EINVAL && virtq_iov(&d.r, true, 2, SIZE_MAX, v, 8) == -EINVAL);
	virtq_done(&d.r, 0);
	drv_fini(&d);
}

/* As long as a chain may be, in every form. */
static void test_longest(void)
{
	drv_init(&d, 8, IND, 0);
	for (unsigned i = 0; i < 8; i++)
		drv_desc(&d, i, DRV_DATA + i, 1, D_WRITE | (i < 7 ? D_NEXT : 0), i + 1);
	drv_offer(&d, 0);
	assert(virtq_pop(&d.q, &d.r) == 1 && d.r.nin == 8 && d.r.nout == 0);
	virtq_done(&d.r, 8);
	for (unsigned i = 0; i < 8; i++)
		drv_entry(&d, DRV_TABLES, i, DRV_DATA + i, 1, i < 7 ? D_NEXT : 0, i + 1);
	drv_desc(&d, 3, DRV_TABLES, 8 * 16, D_INDIRECT, 0);
	drv_offer(&d, 3);
	assert(virtq_pop(&d.q, &d.r) == 1 && d.r.nin == 0 && d.r.nout == 8);
	virtq_done(&d.r, 0);
	/* some of the ring, the rest from a table */
	drv_desc(&d, 7, DRV_DATA + 64, 2, D_NEXT, 3);
	drv_entry(&d, DRV_TABLES, 6, DRV_DATA, 1, 0, 0);
	drv_offer(&d, 7);
	assert(virtq_pop(&d.q, &d.r) == 1 && d.r.nout == 8 && d.r.out_len == 9);
	virtq_done(&d.r, 0);
	drv_fini(&d);
}

/* --- what breaks a queue ----------------------------------------------------------------------- */

static void loop2(void)
{
	drv_desc(&d, 0, DRV_DATA, 1, D_NEXT, 1);
	drv_desc(&d, 1, DRV_DATA, 1, D_NEXT, 0);
}
static void loop_self(void)
{
	drv_desc(&d, 0, DRV_DATA, 0, D_NEXT, 0);
}
static void next_out(void)
{
	drv_desc(&d, 0, DRV_DATA, 1, D_NEXT, 8);
}
static void next_far(void)
{
	drv_desc(&d, 0, DRV_DATA, 1, D_NEXT, 65535);
}
static void read_after_write(void)
{
	drv_desc(&d, 0, DRV_DATA, 1, D_NEXT | D_WRITE, 1);
	drv_desc(&d, 1, DRV_DATA, 1, 0, 0);
}
static void read_after_empty_write(void)
{
	drv_desc(&d, 0, DRV_DATA, 0, D_NEXT | D_WRITE, 1);
	drv_desc(&d, 1, DRV_DATA, 1, 0, 0);
}
static void in_hole(void)
{
	drv_desc(&d, 0, 2 * DRV_REGION, 1, 0, 0);
}
static void into_hole(void)
{
	drv_desc(&d, 0, 2 * DRV_REGION - 1, 2, 0, 0);
}
static void address_wraps(void)
{
	/* the top 64 KiB are no RAM; one that claims all of the addresses from a high one comes round to 0 */
	drv_desc(&d, 0, DRV_TOP - 1, 2, 0, 0);
}
static void four_gib(void)
{
	drv_desc(&d, 0, 0, 0x10000, D_NEXT, 1);
	drv_desc(&d, 1, 0, 0xffff0000, 0, 0);
}
static void indirect_twice(void)
{
	drv_desc(&d, 0, DRV_TABLES, 16, D_INDIRECT, 0);
	drv_entry(&d, DRV_TABLES, 0, DRV_TABLES, 16, D_INDIRECT, 0);
}
static void indirect_next(void)
{
	drv_desc(&d, 0, DRV_TABLES, 16, D_INDIRECT | D_NEXT, 1);
	drv_entry(&d, DRV_TABLES, 0, DRV_DATA, 16, 0, 0);
}
static void indirect_odd(void)
{
	drv_desc(&d, 0, DRV_TABLES, 24, D_INDIRECT, 0);
}
static void indirect_empty(void)
{
	drv_desc(&d, 0, DRV_TABLES, 0, D_INDIRECT, 0);
}
static void indirect_out(void)
{
	drv_desc(&d, 0, DRV_TABLES, 16, D_INDIRECT, 0);
	drv_entry(&d, DRV_TABLES, 0, DRV_DATA, 1, D_NEXT, 1);
}
static void indirect_hole(void)
{
	drv_desc(&d, 0, 3 * DRV_REGION, 16, D_INDIRECT, 0);
}
static void indirect_crosses(void)
{
	drv_desc(&d, 0, DRV_REGION - 16, 32, D_INDIRECT, 0);
}
static void indirect_too_long(void)
{
	drv_desc(&d, 0, DRV_TABLES, 9 * 16, D_INDIRECT, 0);
	for (unsigned i = 0; i < 9; i++)
		drv_entry(&d, DRV_TABLES, i, DRV_DATA, 1, i < 8 ? D_NEXT : 0, i + 1);
}
static void too_many_pieces(void)
{
	for (unsigned i = 0; i < 8; i++)
		drv_desc(&d, i, DRV_REGION - 1, 2, i < 7 ? D_NEXT : 0, i + 1);
	d.r.iov_max = 15;
}

static const struct {
	void (*build)(void);
	unsigned head;
	uint64_t features;
	const char *why;
} wrong[] = {
	{loop2, 0, IND, "loop"}, {loop_self, 0, IND, "loop"}, {next_out, 0, 0, "next"}, {next_far, 0, 0, "next"},
	{read_after_write, 0, 0, "to read after"}, {read_after_empty_write, 0, 0, "to read after"},
	{in_hole, 0, 0, "not in RAM"}, {into_hole, 0, 0, "not in RAM"}, {address_wraps, 0, 0, "not in RAM"},
	{four_gib, 0, 0, "4 GiB"}, {indirect_twice, 0, IND, "in an indirect table"},
	{indirect_next, 0, IND, "with a next"}, {indirect_odd, 0, IND, "number of descriptors"},
	{indirect_empty, 0, IND, "number of descriptors"}, {indirect_out, 0, IND, "next is outside"},
	{indirect_hole, 0, IND, "table is not in RAM"}, {indirect_crosses, 0, IND, "table is not in RAM"},
	{indirect_too_long, 0, IND, "longer than the queue"}, {too_many_pieces, 0, 0, "too many pieces"},
	{indirect_twice, 0, EV, "not negotiated"}, {in_hole, 8, 0, "head"}, {in_hole, 65535, 0, "head"},
};

static void test_wrong(void)
{
	struct virtq_req good;
	struct iovec v[64];

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		drv_init(&d, 8, wrong[i].features, 0);
		drv_desc(&d, 7, DRV_DATA, 4, D_WRITE, 0);
		drv_offer(&d, 7);
		good = (struct virtq_req){.iov = v, .iov_max = 64};
		assert(virtq_pop(&d.q, &good) == 1);
		wrong[i].build();
		drv_offer(&d, wrong[i].head);
		for (int k = 0; k < 3; k++)
			if (virtq_pop(&d.q, &d.r) != -EPROTO)
				fprintf(stderr, "not found: %s\n", wrong[i].why), abort();
		if (!strstr(d.q.why, wrong[i].why))
			fprintf(stderr, "%s: says %s\n", wrong[i].why, d.q.why), abort();
		assert(d.q.broken && d.q.n.broken == 1 && virtq_empty(&d.q) && !virtq_kicks(&d.q, true));
		/* the transport has been told, once; nothing is published any more */
		virtq_done(&good, 4);
		virtq_notify(&d.q);
		assert(drv_get16(&d, d.q.ring.used + 2) == 0 && d.calls == 1);
		d.calls = 0;
		/* a device that was made for longer queues takes longer chains */
		if (!strcmp(wrong[i].why, "longer than the queue") && wrong[i].build == indirect_too_long) {
			virtq_stop(&d.q);
			d.q.chain_max = 64;
			drv_set16(&d, d.q.ring.avail + 2, 0);
			assert(!virtq_start(&d.q, 0, NULL) && virtq_iov_max(&d.q) >= 64);
			drv_offer(&d, wrong[i].head);
			do
				assert(virtq_pop(&d.q, &d.r) == 1);
			while (d.r.head != wrong[i].head);
			assert(d.r.nout == d.q.ring.size + 1u && d.r.nin == 0);
			d.q.chain_max = 0;
		}
		/* after a reset it is as new */
		virtq_stop(&d.q);
		drv_set16(&d, d.q.ring.avail + 2, 0);
		assert(!virtq_start(&d.q, 0, NULL) && !d.q.broken && virtq_pop(&d.q, &d.r) == 0);
		drv_fini(&d);
	}
	/* the index: size ahead is the most */
	for (unsigned ahead = 8; ahead <= 9; ahead++) {
		drv_init(&d, 8, 0, 65530);
		for (unsigned i = 0; i < 8; i++)
			drv_desc(&d, i, DRV_DATA, 1, 0, 0);
		drv_set16(&d, d.q.ring.avail + 2, (uint16_t)(65530 + ahead));
		assert(virtq_pop(&d.q, &d.r) == (ahead == 8 ? 1 : -EPROTO));
		drv_fini(&d);
	}
	drv_init(&d, 8, 0, 0);
	drv_set16(&d, d.q.ring.avail + 2, 65535); /* backwards */
	assert(virtq_pop(&d.q, &d.r) == -EPROTO);
	drv_fini(&d);
	/* the same head over and over, none of them done: no more than the queue has entries */
	drv_init(&d, 8, EV, 0);
	drv_desc(&d, 0, DRV_DATA, 1, 0, 0);
	for (unsigned i = 0; i < 8; i++) {
		drv_offer(&d, 0);
		assert(virtq_pop(&d.q, &d.r) == 1);
	}
	drv_offer(&d, 0);
	assert(virtq_pop(&d.q, &d.r) == -EPROTO);
	drv_fini(&d);
	drv_init(&d, 8, 0, 0);
	virtq_break(&d.q, "one");
	virtq_break(&d.q, "two");
	assert(!strcmp(d.q.why, "one") && d.q.n.broken == 1 && virtq_pop(&d.q, &d.r) == -EPROTO);
	drv_fini(&d);
}

static void test_start(void)
{
	static const struct {
		unsigned size;
		uint64_t desc, avail, used;
		bool ok;
	} t[] = {
		{8, 0, 0x100, 0x200, true}, {0, 0, 0x100, 0x200, false}, {3, 0, 0x100, 0x200, false},
		{2048, 0, 0x9000, 0xa000, false}, {1024, 0, 0x4000, 0x8000, true}, {8, 8, 0x100, 0x200, false},
		{8, 0, 0x101, 0x200, false}, {8, 0, 0x102, 0x202, false}, {8, 0, 0x102, 0x204, true},
		{8, DRV_REGION - 128, 0, 0x200, true}, {8, DRV_REGION - 112, 0, 0x200, false},
		{8, 0, DRV_REGION - 22, 0x200, true}, {8, 0, DRV_REGION - 20, 0x200, false},
		{8, 0, 0x100, DRV_REGION - 72, true}, {8, 0, 0x100, DRV_REGION - 68, false},
		{8, 0x30000, 0x100, 0x200, false}, {1, 0, 0x10, 0x20, true}, {8, -16ull, 0x100, 0x200, false},
	};

	drv_init(&d, 8, 0, 0);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct err e = {0};
		int rc;

		virtq_stop(&d.q);
		d.q.ring = (struct virtio_ring){.size = (uint16_t)t[i].size, .desc = t[i].desc, .avail = t[i].avail,
			.used = t[i].used};
		rc = virtq_start(&d.q, 0, &e);
		if (rc != (t[i].ok ? 0 : -EINVAL))
			fprintf(stderr, "start %zu: %d %s\n", i, rc, e.text), abort();
		assert(t[i].ok == !*e.text && d.q.started == t[i].ok);
	}
	drv_fini(&d);
}

/* Memory goes away while a queue is stopped. */
static void test_detach(void)
{
	drv_init(&d, 8, 0, 0);
	drv_desc(&d, 0, DRV_FAR, 1, 0, 0);
	drv_offer(&d, 0);
	assert(virtq_pop(&d.q, &d.r) == 1);
	virtq_done(&d.r, 0);
	virtq_stop(&d.q);
	assert(!mem_detach(&d.mem, DRV_TOP - DRV_REGION, DRV_REGION) && !mem_detach(&d.mem, DRV_FAR, DRV_REGION));
	assert(!virtq_start(&d.q, 1, NULL));
	drv_offer(&d, 0);
	assert(virtq_pop(&d.q, &d.r) == -EPROTO);
	drv_fini(&d);
}

/* --- interrupts and kicks ---------------------------------------------------------------------- */

static void one(void)
{
	drv_desc(&d, 0, DRV_DATA, 1, D_WRITE, 0);
	drv_offer(&d, 0);
	assert(virtq_pop(&d.q, &d.r) == 1);
	virtq_done(&d.r, 1);
}

static void test_interrupts(void)
{
	drv_init(&d, 8, 0, 65534);
	virtq_notify(&d.q);
	assert(!d.calls);
	one();
	virtq_notify(&d.q);
	virtq_notify(&d.q);
	assert(d.calls == 1);
	drv_set16(&d, d.q.ring.avail, 1); /* NO_INTERRUPT */
	one();
	virtq_notify(&d.q);
	assert(d.calls == 1 && d.q.n.calls_saved == 1);
	drv_fini(&d);

	/* every place of the event against every number done at once, over the end of the index */
	drv_init(&d, 8, EV, 65520);
	one();
	drv_set16(&d, drv_used_event(&d), 12345);
	virtq_notify(&d.q);
	assert(d.calls == 1); /* the first one always */
	for (unsigned n = 1; n <= 8; n++) {
		for (int at = -3; at < 12; at++) {
			unsigned before = d.calls;
			bool want = at >= 0 && at < (int)n;

			drv_set16(&d, drv_used_event(&d), (uint16_t)(d.q.used_idx + at));
			for (unsigned i = 0; i < n; i++)
				one();
			virtq_notify(&d.q);
			assert(d.calls == before + want);
		}
	}
	/* all the way round without one, also by several at once: then the event's place says nothing, and the interrupt comes */
	for (unsigned i = 0; i < 65536; i++)
		one();
	drv_set16(&d, drv_used_event(&d), (uint16_t)(d.q.used_idx + 100));
	d.calls = 0;
	virtq_notify(&d.q);
	assert(d.calls == 1);
	drv_fini(&d);
}

static void test_kicks(void)
{
	/* flags */
	drv_init(&d, 8, 0, 0);
	drv_desc(&d, 0, DRV_DATA, 1, D_WRITE, 0);
	assert(drv_get16(&d, d.q.ring.used) == 0);
	assert(!virtq_kicks(&d.q, false) && drv_get16(&d, d.q.ring.used) == 1);
	drv_offer(&d, 0);
	assert(virtq_kicks(&d.q, true) && drv_get16(&d, d.q.ring.used) == 0);
	one();
	drv_fini(&d);

	/* events: after nothing was found, the driver is asked for the next; while we poll it is not */
	drv_init(&d, 8, EV, 65535);
	drv_desc(&d, 0, DRV_DATA, 1, D_WRITE, 0);
	assert(drv_get16(&d, drv_avail_event(&d)) == 65535);
	one();
	one();
	assert(drv_get16(&d, drv_avail_event(&d)) == 65535); /* not on every one */
	assert(!virtq_pop(&d.q, &d.r) && drv_get16(&d, drv_avail_event(&d)) == 1);
	assert(!virtq_kicks(&d.q, false));
	one();
	assert(!virtq_pop(&d.q, &d.r) && drv_get16(&d, drv_avail_event(&d)) == 1);
	assert(drv_get16(&d, d.q.ring.used) == 0); /* the flag is not for this kind */
	drv_offer(&d, 0);
	assert(virtq_kicks(&d.q, true));
	assert(virtq_pop(&d.q, &d.r) == 1);
	virtq_done(&d.r, 0);
	assert(!virtq_kicks(&d.q, true) && drv_get16(&d, drv_avail_event(&d)) == 3);
	assert(!virtq_kicks(&d.q, true));
	drv_fini(&d);
}

/* The driver adds something just when we are about to sleep: in written(), which comes between event and last look. */
static void add_late(void *arg, uint64_t gpa, uint64_t len)
{
	(void)arg;
	(void)len;
	if (gpa == drv_avail_event(&d) && d.q.started)
		drv_offer(&d, 0);
}

static void test_late(void)
{
	drv_init(&d, 8, EV, 0);
	one();
	d.q.written = add_late;
	assert(virtq_pop(&d.q, &d.r) == 1);
	virtq_done(&d.r, 0);
	assert(virtq_kicks(&d.q, true));
	drv_fini(&d);
}

/* --- the rest ---------------------------------------------------------------------------------- */

static void test_unpop(void)
{
	struct virtq_req r[3];
	struct iovec v[3][64];

	drv_init(&d, 8, 0, 65535);
	for (unsigned i = 0; i < 3; i++) {
		drv_desc(&d, i, DRV_DATA + i, i + 1, D_WRITE, 0);
		drv_offer(&d, i);
		r[i] = (struct virtq_req){.iov = v[i], .iov_max = 64};
	}
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 3; i++)
			assert(virtq_pop(&d.q, &r[i]) == 1 && r[i].head == i);
		assert(!virtq_pop(&d.q, &d.r));
		for (unsigned i = 3; i-- > 0;)
			virtq_unpop(&d.q, &r[i]);
		assert(d.q.next_avail == 65535 && !d.q.in_use && !virtq_empty(&d.q));
		assert(!d.q.n.requests && !d.q.n.bytes_in);
	}
	assert(virtq_pop(&d.q, &r[0]) == 1 && r[0].head == 0);
	virtq_done(&r[0], 1);
	assert(virtq_pop(&d.q, &r[0]) == 1 && r[0].head == 1 && d.q.n.requests == 2 && d.q.n.bytes_in == 3);
	drv_fini(&d);
}

/* Several become visible at once, over the end of the ring. */
static void test_done_all(void)
{
	static const uint32_t written[] = {1, 2, 0};
	struct virtq_req r[3];
	struct iovec v[3][64];
	uint32_t id, len;

	drv_init(&d, 4, EV, 65534);
	for (unsigned i = 0; i < 3; i++) {
		drv_desc(&d, i, DRV_DATA + i, i + 1, D_WRITE, 0);
		drv_offer(&d, i);
		r[i] = (struct virtq_req){.iov = v[i], .iov_max = 64};
		assert(virtq_pop(&d.q, &r[i]) == 1);
	}
	virtq_done_all(r, written, 3);
	assert(d.q.used_idx == 1 && !d.q.in_use);
	for (unsigned i = 0; i < 3; i++)
		assert(drv_used(&d, &id, &len) && id == i && len == written[i]);
	assert(!drv_used(&d, &id, &len));
	virtq_notify(&d.q);
	/* past the place of the last interrupt, but not onto it */
	for (unsigned i = 0; i < 65534; i++)
		one();
	assert(d.q.signalled_valid);
	for (unsigned i = 0; i < 3; i++) {
		drv_offer(&d, i);
		assert(virtq_pop(&d.q, &r[i]) == 1);
	}
	virtq_done_all(r, written, 3);
	assert(!d.q.signalled_valid && d.q.used_idx == 2);
	drv_fini(&d);
}

static struct {
	uint64_t gpa, len;
	uint16_t idx;
} seen[16];
static unsigned nseen;

static void note(void *arg, uint64_t gpa, uint64_t len)
{
	assert(arg == &d && nseen < ARRAY_LEN(seen));
	seen[nseen].gpa = gpa;
	seen[nseen].len = len;
	seen[nseen++].idx = drv_get16(&d, d.q.ring.used + 2);
}

static void test_written(void)
{
	drv_init(&d, 8, EV, 0);
	drv_desc(&d, 0, DRV_DATA, 100, D_NEXT, 1);
	drv_desc(&d, 1, DRV_DATA + 0x1000, 10, D_NEXT | D_WRITE, 2);
	drv_desc(&d, 2, DRV_REGION - 5, 10, D_NEXT | D_WRITE, 3);
	drv_desc(&d, 3, DRV_FAR, 10, D_WRITE, 0);
	drv_offer(&d, 0);
	d.q.written = note;
	d.q.written_arg = &d;
	assert(virtq_pop(&d.q, &d.r) == 1 && nseen == 0);
	virtq_done(&d.r, 18);
	assert(nseen == 5);
	assert(seen[0].gpa == DRV_DATA + 0x1000 && seen[0].len == 10 && seen[0].idx == 0);
	assert(seen[1].gpa == DRV_REGION - 5 && seen[1].len == 5 && seen[1].idx == 0);
	assert(seen[2].gpa == DRV_REGION && seen[2].len == 3 && seen[2].idx == 0);
	assert(seen[3].gpa == d.q.ring.used + 4 && seen[3].len == 8 && seen[3].idx == 0);
	assert(seen[4].gpa == d.q.ring.used + 2 && seen[4].len == 2 && seen[4].idx == 1);
	nseen = 0;
	assert(!virtq_pop(&d.q, &d.r) && nseen == 1 && seen[0].gpa == drv_avail_event(&d) && seen[0].len == 2);
	nseen = 0;
	drv_offer(&d, 3);
	assert(virtq_pop(&d.q, &d.r) == 1);
	virtq_done(&d.r, 0);
	assert(nseen == 2 && seen[0].gpa == d.q.ring.used + 12);
	drv_fini(&d);
}

int main(void)
{
	test_wrap();
	test_slices();
	test_longest();
	test_wrong();
	test_start();
	test_detach();
	test_interrupts();
	test_kicks();
	test_late();
	test_unpop();
	test_done_all();
	test_written();
	return 0;
}
