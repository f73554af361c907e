/* SPDX-License-Identifier: MIT */
/*
 * A ring by a hostile driver, and an in-flight record by a hostile predecessor. The input is a small program: it
 * writes anywhere in RAM and record, and makes the device pop, read, write, complete, give back and start again; so the
 * ring also changes between any two calls. Always:
 * - every piece of a request is RAM, of one region, and they add up to the request's lengths;
 * - no more requests are out than the queue has entries; none after the queue broke;
 * - one call does no more than the queue's size lets it: written() counts, and the iovecs end where they must;
 * - the device stores nowhere but in the used ring.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "virtio/virtq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* RAM: [0, 8 KiB), [8 KiB, 12 KiB), a hole, [16 KiB, 20 KiB). Four ring sizes fit the first page. */
enum { PAGE = 4096, RING_MAX = 32, OPS = 400, AVAIL = 16 * RING_MAX, USED = 1024, TABLES = 2048 };

static struct mem mem;
static uint8_t *ram; /* the file behind it */
static const struct {
	uint64_t gpa, len, off;
} regions[] = {{0, 2 * PAGE, 0}, {2 * PAGE, PAGE, 3 * PAGE}, {4 * PAGE, PAGE, 2 * PAGE}};

struct input {
	const uint8_t *p;
	size_t left;
};

static unsigned take(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static unsigned take16(struct input *in)
{
	unsigned lo = take(in);

	return lo | take(in) << 8;
}

static struct virtq q;
static struct virtq_req req[RING_MAX];
static unsigned order[RING_MAX], out; /* those that are out, in the order of pop */
static unsigned nth[RING_MAX], popped; /* a request may be taken back while none after it is done */
static struct iovec iovs[RING_MAX][RING_MAX + MEM_REGIONS + 1];
static uint8_t *record, *record_end; /* exactly as long as the ring wants it; behind it nothing can be touched */
static unsigned told;

/* Pages with one behind them that cannot be touched. */
static uint8_t *guarded(uint64_t len, int fd, uint64_t off)
{
	int how = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	uint8_t *p = mmap(NULL, len + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	p = mmap(p, len, PROT_READ | PROT_WRITE, how | MAP_FIXED, fd, (off_t)off);
	assert(p != MAP_FAILED);
	return p;
}

static void set_up(void)
{
	int fd = memfd_create("fuzz-virtq", MFD_CLOEXEC);

	assert(fd >= 0 && !ftruncate(fd, 4 * PAGE));
	ram = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert(ram != MAP_FAILED);
	mem_init_empty(&mem);
	for (size_t i = 0; i < ARRAY_LEN(regions); i++)
		mem.region[mem.nregions++] = (struct mem_region){.gpa = regions[i].gpa, .len = regions[i].len,
			.host = guarded(regions[i].len, fd, regions[i].off)};
	close(fd);
	record_end = guarded(PAGE, -1, 0) + PAGE;
}

static void call(struct virtq *vq, void *arg)
{
	assert(vq == &q && arg == &q);
}

static void written(void *arg, uint64_t gpa, uint64_t len)
{
	assert(arg == &q && len && mem_at(&mem, gpa, len));
	told++;
}

static void check(const struct virtq_req *r)
{
	uint64_t sum[2] = {0, 0};

	assert(r->head < q.ring.size && r->nout + r->nin <= r->iov_max);
	for (unsigned i = 0; i < r->nout + r->nin; i++) {
		uint64_t gpa = mem_gpa(&mem, r->iov[i].iov_base);

		assert(r->iov[i].iov_len && gpa != UINT64_MAX && mem_at(&mem, gpa, r->iov[i].iov_len));
		sum[i >= r->nout] += r->iov[i].iov_len;
	}
	assert(sum[0] == r->out_len && sum[1] == r->in_len && sum[0] + sum[1] <= UINT32_MAX);
	assert(r->iov[r->iov_max].iov_base == &q); /* what lies behind is as it was */
}

static void pop(void)
{
	unsigned slot = 0;
	int rc;

	while (slot < q.ring.size && req[slot].q)
		slot++;
	if (slot == q.ring.size) {
		/* all are out: there is none more */
		struct iovec v[RING_MAX + MEM_REGIONS];
		struct virtq_req r = {.iov = v, .iov_max = virtq_iov_max(&q)};

		rc = virtq_pop(&q, &r);
		assert(rc == 0 || rc == -EPROTO);
		return;
	}
	req[slot] = (struct virtq_req){.iov = iovs[slot], .iov_max = virtq_iov_max(&q)};
	iovs[slot][req[slot].iov_max].iov_base = &q;
	rc = virtq_pop(&q, &req[slot]);
	assert(rc == -EPROTO ? q.broken && q.why && *q.why : !q.broken);
	if (rc != 1) {
		assert(rc == 0 || rc == -EPROTO);
		req[slot].q = NULL;
		return;
	}
	check(&req[slot]);
	order[out++] = slot;
	nth[slot] = ++popped;
}

static void forget(unsigned n)
{
	req[order[n]].q = NULL;
	memmove(order + n, order + n + 1, (--out - n) * sizeof *order);
}

static void bytes(struct input *in)
{
	static uint8_t buf[2 * PAGE];
	unsigned which = take(in);
	size_t off = take16(in), len = take16(in) % sizeof buf, want;
	bool write = take(in) & 1;
	struct virtq_req *r;
	struct iovec v[4];
	uint64_t have;
	int n;

	if (!out)
		return;
	r = &req[order[which % out]];
	have = write ? r->in_len : r->out_len;
	n = virtq_iov(r, write, off, len, v, 4);
	want = off < have ? min_u64(len, have - off) : 0;
	/* what is written lands in the ring itself, if the driver wants so: that is its affair */
	assert((write ? virtq_put(r, off, buf, len) : virtq_get(r, off, buf, len)) == want);
	assert(n <= 4 && (n < 0 || off + len <= have));
	for (int i = 0; i < n; i++) {
		assert(v[i].iov_len && mem_at(&mem, mem_gpa(&mem, v[i].iov_base), v[i].iov_len));
		len -= v[i].iov_len;
	}
	assert(n < 0 || !len);
}

static void forget_slot(unsigned slot)
{
	for (unsigned n = 0; n < out; n++)
		if (order[n] == slot) {
			forget(n);
			return;
		}
	abort();
}

/* One, or those that are out in the slots from there on. */
static void done(struct input *in)
{
	unsigned n = take(in), len = take16(in), first, count = 0, pieces = 0;
	uint32_t lens[RING_MAX];
	uint16_t used = q.used_idx;

	if (!out)
		return;
	first = order[n % out];
	do {
		lens[count] = (uint32_t)min_u64(len, req[first + count].in_len);
		pieces += req[first + count].nin + 1;
	} while (++count < (n & 0x80 ? 4u : 1u) && first + count < q.ring.size && req[first + count].q);
	told = 0;
	if (count == 1)
		virtq_done(&req[first], lens[0]);
	else
		virtq_done_all(&req[first], lens, count);
	assert(q.used_idx == (uint16_t)(used + (q.broken ? 0 : count)));
	assert(told <= pieces + 1);
	while (count--)
		forget_slot(first + count);
}

/* After a reset the driver begins anew; without one the device goes on somewhere, or where the record says. */
static void start(struct input *in, bool reset)
{
	unsigned next = reset ? 0 : take16(in);

	if (reset) {
		memset(ram + AVAIL, 0, TABLES - AVAIL);
		memset(record, 0, (size_t)(record_end - record));
	}
	virtq_stop(&q);
	memset(req, 0, sizeof req);
	out = 0;
	if (virtq_start(&q, (uint16_t)next, NULL))
		assert(!q.started);
	assert(q.nresubmit <= q.ring.size && (!q.started || q.nresubmit == 0 || q.inflight));
}

/* Bytes of the input into RAM, or a descriptor whose fields are mostly sensible. */
static void change(struct input *in, unsigned op)
{
	unsigned at = take16(in) % (4 * PAGE), n = take(in) % 24 + 1;

	if (op & 1) {
		static const uint64_t bases[] = {0, PAGE, 2 * PAGE - 8, 3 * PAGE - 4, 4 * PAGE, 5 * PAGE - 2, TABLES, -16ull};
		unsigned kind = take(in), i = at % RING_MAX;
		uint8_t *e = ram + (kind & 1 ? TABLES : 0) + 16 * i;

		put_u64(e, bases[kind >> 1 & 7] + (kind & 128 ? 16 * n : 0));
		put_u32(e + 8, kind & 16 ? 16 * n : kind & 32 ? take16(in) << 16 | take(in) : n);
		put_u16(e + 12, (uint16_t)take(in));
		put_u16(e + 14, (uint16_t)(kind & 64 ? take(in) : i + 1));
		return;
	}
	for (unsigned i = 0; i < n && at + i < 4 * PAGE; i++)
		ram[at + i] = (uint8_t)take(in);
}

static void offer(struct input *in)
{
	uint16_t idx = get_u16(ram + AVAIL + 2);

	put_u16(ram + AVAIL + 4 + 2 * (idx & (q.ring.size - 1)), (uint16_t)(take(in) % (RING_MAX + 1)));
	put_u16(ram + AVAIL + 2, (uint16_t)(idx + 1));
}

static void step(struct input *in)
{
	unsigned op = take(in);

	switch (op >> 4) {
	case 0:
	case 1:
	case 2:
		change(in, op);
		return;
	case 3: {
		uint8_t *at = record + take16(in) % (record_end - record);

		for (unsigned n = take(in) % 16; n && at < record_end; n--)
			*at++ = (uint8_t)take(in);
		return;
	}
	case 4:
	case 5:
	case 6:
		offer(in);
		return;
	case 7:
		start(in, op & 1);
		return;
	default:
		break;
	}
	if (!q.started)
		return;
	switch (op >> 4) {
	case 8:
	case 9:
	case 10:
		pop();
		break;
	case 11:
		bytes(in);
		break;
	case 12:
		done(in);
		break;
	case 13:
		if (out && nth[order[out - 1]] == popped) {
			popped--;
			virtq_unpop(&q, &req[order[out - 1]]);
			forget(out - 1);
		}
		break;
	case 14:
		virtq_notify(&q);
		break;
	default:
		virtq_kicks(&q, op & 1);
		virtq_empty(&q);
	}
	assert(q.in_use == out && out <= q.ring.size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.p = data, .left = size};
	unsigned how = take(&in);

	if (!ram)
		set_up();
	memset(ram, 0, 4 * PAGE);
	memset(req, 0, sizeof req);
	out = 0;
	q = (struct virtq){.mem = &mem, .kick_fd = -1, .call = call, .call_arg = &q, .written_arg = &q};
	q.ring = (struct virtio_ring){.enabled = true, .size = (uint16_t)(4u << (how & 3)), .desc = 0, .avail = AVAIL,
		.used = USED};
	q.features = (how & 4 ? VIRTIO_F_EVENT_IDX : 0) | (how & 8 ? VIRTIO_F_INDIRECT_DESC : 0);
	record = record_end - virtq_inflight_size(q.ring.size);
	memset(record, 0, (size_t)(record_end - record));
	q.inflight = how & 16 ? (void *)record : NULL;
	q.written = how & 32 ? written : NULL;
	if (how & 64) { /* indices near their end */
		put_u16(ram + AVAIL + 2, 65534);
		put_u16(ram + USED + 2, 65534);
	}
	assert(virtq_inflight_size(RING_MAX) <= PAGE);
	assert(!virtq_start(&q, how & 64 ? 65534 : 0, NULL));
	for (unsigned i = 0; i < OPS && in.left; i++)
		step(&in);
	while (out && q.started) {
		virtq_done(&req[order[0]], 0);
		forget(0);
	}
	virtq_stop(&q);
	return 0;
}
