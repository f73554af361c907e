/* SPDX-License-Identifier: MIT */
/*
 * The in-flight record: a device may die between any two instructions, and whoever comes next does each request
 * that was not used, once. A child runs a device, one instruction at a time (ptrace); whenever that changed the record
 * or the used ring, this process takes a copy of everything, recovers from it, and does the rest.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"

enum { SIZE = 8, FIRST = 65533, RECORD = 16 + 16 * SIZE, USED = 6 + 8 * SIZE };

/* In the order in which the driver offers them; devices pop in this order. */
static const uint16_t heads[] = {3, 1, 5, 0, 7, 2, 6};
enum { N = ARRAY_LEN(heads) };

static struct drv d, c;

static unsigned place_of(uint32_t head)
{
	for (unsigned i = 0; i < N; i++)
		if (heads[i] == head)
			return i;
	abort();
}

/* --- what must be true of any state ------------------------------------------------------------ */

static void check_state(const struct virtq_inflight *record)
{
	static uint64_t copy[64];
	unsigned done = 0, last = 0, count = 0;
	uint32_t id, len;
	int rc;

	assert(virtq_inflight_size(SIZE) <= sizeof copy);
	memcpy(copy, record, virtq_inflight_size(SIZE));
	memcpy(c.mem.region[0].host, d.mem.region[0].host, DRV_REGION);
	c.q.inflight = (void *)copy;
	c.used_idx = FIRST;
	c.calls = 0;
	assert(!virtq_start(&c.q, FIRST, NULL));
	assert(c.calls == (record->version != 0));
	while (drv_used(&c, &id, &len)) {
		assert(!(done & 1u << id) && len == 1);
		done |= 1u << id;
	}
	/* those that were in flight come first, and all in the old order */
	while ((rc = virtq_pop(&c.q, &c.r)) == 1) {
		unsigned place = place_of(c.r.head) + 1;

		assert(!(done & 1u << c.r.head) && place > last);
		assert(!c.r.again || count == c.q.n.resubmitted - 1);
		done |= 1u << c.r.head;
		last = place;
		count++;
		virtq_done(&c.r, 1);
	}
	assert(rc == 0 && !c.q.broken && c.q.used_idx == (uint16_t)(FIRST + N) && c.q.next_avail == c.q.used_idx);
	for (unsigned i = 0; i < N; i++)
		assert(done & 1u << heads[i]);
	for (unsigned i = 0; i < SIZE; i++)
		assert(c.q.inflight->desc[i].inflight == 0);
	assert(c.q.inflight->used_idx == c.q.used_idx);
	virtq_stop(&c.q);
	memset(&c.q.n, 0, sizeof c.q.n);
}

static void offer_all(struct virtq_inflight *record)
{
	drv_init(&d, SIZE, 0, FIRST);
	drv_init(&c, SIZE, 0, FIRST);
	virtq_stop(&d.q);
	virtq_stop(&c.q);
	for (unsigned i = 0; i < N; i++) {
		drv_desc(&d, heads[i], DRV_DATA + i, 1, D_WRITE, 0);
		drv_offer(&d, heads[i]);
	}
	memset(record, 0, virtq_inflight_size(SIZE));
	d.q.inflight = record;
}

/* --- a device that dies ------------------------------------------------------------------------ */

static struct virtq_req r[N];
static struct iovec iov[N][SIZE + MEM_REGIONS];

static void pop(unsigned i)
{
	r[i].iov = iov[i];
	r[i].iov_max = SIZE + MEM_REGIONS;
	if (virtq_pop(&d.q, &r[i]) != 1 || r[i].head != heads[i])
		_exit(3);
}

/* As if by a new process: nothing is left but RAM and record. */
static void restart(void)
{
	struct virtq q = {.mem = d.q.mem, .ring = d.q.ring, .inflight = d.q.inflight, .kick_fd = -1};

	virtq_stop(&d.q);
	d.q = q;
	if (virtq_start(&d.q, FIRST, NULL))
		_exit(4);
}

static void device(void)
{
	restart();
	pop(0);
	pop(1);
	pop(2);
	virtq_done(&r[1], 1);
	virtq_done(&r[2], 1);
	pop(3);
	virtq_done(&r[0], 1);
	pop(4);
	virtq_unpop(&d.q, &r[4]);
	if (d.q.inflight->desc[heads[4]].inflight)
		_exit(5);
	pop(4);
	restart();
	pop(3);
	pop(4);
	virtq_unpop(&d.q, &r[4]);
	if (!d.q.inflight->desc[heads[4]].inflight)
		_exit(5);
	pop(4);
	virtq_done(&r[4], 1);
	pop(5);
	pop(6);
	virtq_done(&r[3], 1);
	restart();
	pop(5);
	pop(6);
	virtq_done_all(&r[5], (const uint32_t[]){1, 1}, 2);
	_exit(0);
}

static int test_steps(struct virtq_inflight *record)
{
	uint8_t record_was[RECORD], used_was[USED];
	const uint8_t *used;
	unsigned states = 0;
	unsigned long steps = 0;
	int status;
	pid_t pid;

	offer_all(record);
	used = mem_at(&d.mem, d.q.ring.used, USED);
	pid = fork();
	assert(pid >= 0);
	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0))
			_exit(77);
		raise(SIGSTOP);
		device();
	}
	assert(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("ptrace is not possible here\n");
		return 77;
	}
	memset(record_was, 0xee, sizeof record_was);
	while (WIFSTOPPED(status)) {
		assert(WSTOPSIG(status) == SIGSTOP || WSTOPSIG(status) == SIGTRAP);
		if (memcmp(record_was, record, RECORD) || memcmp(used_was, used, USED)) {
			memcpy(record_was, record, RECORD);
			memcpy(used_was, used, USED);
			check_state(record);
			states++;
		}
		steps++;
		assert(!ptrace(PTRACE_SINGLESTEP, pid, 0, 0) && waitpid(pid, &status, 0) == pid);
	}
	assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	printf("%lu steps, %u states\n", steps, states);
	/* 7 requests: counter (not the first's, which is 0) and flag; id (not one that is 0), length, list, index, flag, index */
	assert(states >= 7 * 8);
	drv_fini(&d);
	drv_fini(&c);
	return 0;
}

/* --- records by others ------------------------------------------------------------------------- */

/* Someone else's device uses three at once. After each of its stores. */
static void test_batch(struct virtq_inflight *record)
{
	static const unsigned batch[] = {4, 0, 2};
	uint64_t used;

	offer_all(record);
	used = d.q.ring.used;
	record->version = 1;
	record->desc_num = SIZE;
	record->used_idx = FIRST;
	for (unsigned i = 0; i < 5; i++) {
		record->desc[heads[i]].counter = 100 - 5 + i;
		check_state(record);
		record->desc[heads[i]].inflight = 1;
		check_state(record);
	}
	for (unsigned i = 0; i < 3; i++) {
		uint32_t entry[2] = {heads[batch[i]], 1};

		mem_put(&d.mem, used + 4 + 8 * ((FIRST + i) % SIZE), entry, 8);
		record->desc[heads[batch[i]]].next = record->last_batch_head;
		check_state(record);
		record->last_batch_head = heads[batch[i]];
		check_state(record);
	}
	drv_set16(&d, used + 2, (uint16_t)(FIRST + 3));
	check_state(record);
	for (unsigned i = 0; i < 3; i++) {
		record->desc[heads[batch[i]]].inflight = 0;
		check_state(record);
	}
	record->used_idx = (uint16_t)(FIRST + 3);
	check_state(record);
	drv_fini(&d);
	drv_fini(&c);
}

static uint64_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((seed >> 33) % n);
}

static void test_hostile(struct virtq_inflight *record)
{
	struct err e = {0};

	offer_all(record);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned n = 0;
		int rc;

		for (unsigned i = 0; i < RECORD; i++)
			((uint8_t *)record)[i] = (uint8_t)rnd(256);
		for (unsigned i = 0; i < SIZE; i++) {
			record->desc[i].inflight = (uint8_t)rnd(3);
			record->desc[i].next = (uint16_t)rnd(10);
			record->desc[i].counter = rnd(2) ? rnd(4) : UINT64_MAX - rnd(2);
		}
		record->version = 1;
		record->last_batch_head = (uint16_t)rnd(10);
		memset(d.q.desc, 0, 16 * SIZE);
		drv_set16(&d, d.q.ring.avail + 2, (uint16_t)rnd(65536));
		drv_set16(&d, d.q.ring.used + 2, (uint16_t)rnd(65536));
		assert(!virtq_start(&d.q, 0, NULL));
		while ((rc = virtq_pop(&d.q, &d.r)) == 1) {
			assert(n++ < 2 * SIZE);
			assert(d.r.head < SIZE && !d.r.nin && !d.r.nout);
			virtq_done(&d.r, 0);
			virtq_notify(&d.q);
		}
		assert(rc == 0 || rc == -EPROTO);
		virtq_stop(&d.q);
	}
	record->version = 2;
	assert(virtq_start(&d.q, 0, &e) == -EINVAL && strstr(e.text, "version 2") && !d.q.started);
	drv_fini(&d);
	drv_fini(&c);
	assert(virtq_inflight_size(SIZE) == 192 && virtq_inflight_size(1) == 64);
	assert(sizeof(struct virtq_inflight) == 16 && sizeof(struct virtq_inflight_desc) == 16);
	assert(offsetof(struct virtq_inflight_desc, next) == 6 && offsetof(struct virtq_inflight_desc, counter) == 8);
}

int main(void)
{
	struct virtq_inflight *record = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(record != MAP_FAILED);
	test_batch(record);
	test_hostile(record);
	return test_steps(record);
}
