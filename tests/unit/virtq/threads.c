/* SPDX-License-Identifier: MIT */
/*
 * Driver and device as two threads that sleep whenever they may: a kick or an interrupt that gets lost leaves both
 * asleep, and the test does not end. With event indices and with flags; the device sometimes polls. What was written
 * before a request or its completion was made known must be seen behind it.
 */
#undef NDEBUG
#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"

enum { SIZE = 8, REQUESTS = 100000, SLOT = 64 };

static struct drv d;
static struct bell {
	unsigned rung, heard;
	int asleep;
} kick, interrupt;
static uint64_t kicks, sleeps[2];

static void ring(struct bell *b)
{
	__atomic_add_fetch(&b->rung, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&b->asleep, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &b->rung, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/*
 * As reading an eventfd, but that who waits is mostly there at once: so the two run side by side, and meet in every way.
 */
static void wait_for(struct bell *b, unsigned who)
{
	unsigned rung;

	sleeps[who]++;
	for (unsigned i = 0; (rung = __atomic_load_n(&b->rung, __ATOMIC_SEQ_CST)) == b->heard; i++) {
		if (i < 500) {
			__builtin_ia32_pause();
			continue;
		}
		__atomic_store_n(&b->asleep, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &b->rung, FUTEX_WAIT_PRIVATE, b->heard, NULL, NULL, 0);
		__atomic_store_n(&b->asleep, 0, __ATOMIC_SEQ_CST);
	}
	b->heard = rung;
}

static uint16_t *at16(uint64_t gpa)
{
	return mem_at(&d.mem, gpa, 2);
}

static void call(struct virtq *q, void *arg)
{
	(void)q;
	(void)arg;
	ring(&interrupt);
}

/* --- the device -------------------------------------------------------------------------------- */

static void one(struct virtq_req *r)
{
	uint32_t number;

	assert(virtq_get(r, 0, &number, 4) == 4);
	number = ~number;
	assert(virtq_put(r, 0, &number, 4) == 4);
	virtq_done(r, number % 5);
}

static void *device(void *arg)
{
	struct virtq_req r[3];
	struct iovec v[3][SIZE + MEM_REGIONS];
	unsigned done = 0, round = 0;

	(void)arg;
	for (unsigned i = 0; i < 3; i++)
		r[i] = (struct virtq_req){.iov = v[i], .iov_max = SIZE + MEM_REGIONS};
	while (done < REQUESTS) {
		unsigned n = 0, most = 1 + round % 3;
		bool poll = round++ % 5 == 0;

		if (poll)
			virtq_kicks(&d.q, false);
		while (n < most) {
			int rc = virtq_pop(&d.q, &r[n]);

			assert(rc >= 0);
			if (!rc)
				break;
			n++;
		}
		for (unsigned i = n; i-- > 0; done++)
			one(&r[i]);
		virtq_notify(&d.q);
		if (poll && virtq_kicks(&d.q, true))
			continue;
		/* a pop that found nothing has asked for a kick */
		if (n < most && done < REQUESTS)
			wait_for(&kick, 0);
	}
	return NULL;
}

/* --- the driver -------------------------------------------------------------------------------- */

static bool events;

/* A little time, now more, now less, so that the two meet in every way. */
static void dawdle(void)
{
	static unsigned n;

	n = n * 1103515245u + 12345;
	for (volatile unsigned i = n >> 16 & 255; i; i--)
		;
}

/* 2.7.13: entries, index, full barrier, then whether a kick is wanted. */
static void publish(uint16_t old)
{
	uint16_t new = d.avail_idx;
	bool wanted;

	__atomic_store_n(at16(d.q.ring.avail + 2), new, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (events) {
		uint16_t event = __atomic_load_n(at16(drv_avail_event(&d)), __ATOMIC_RELAXED);

		wanted = (uint16_t)(new - event - 1) < (uint16_t)(new - old);
	} else {
		wanted = !(__atomic_load_n(at16(d.q.ring.used), __ATOMIC_RELAXED) & 1);
	}
	if (wanted) {
		kicks++;
		ring(&kick);
	}
}

static unsigned collect(uint32_t *expected, uint16_t *unused, unsigned nunused)
{
	while (__atomic_load_n(at16(d.q.ring.used + 2), __ATOMIC_ACQUIRE) != d.used_idx) {
		uint64_t entry = d.q.ring.used + 4 + 8ull * (d.used_idx++ % SIZE);
		uint32_t e[2], answer;

		assert(!mem_get(&d.mem, entry, e, 8) && e[0] < SIZE);
		assert(!mem_get(&d.mem, DRV_DATA + SLOT * e[0] + 32, &answer, 4) && answer == ~expected[e[0]]);
		assert(e[1] == answer % 5);
		unused[nunused++] = (uint16_t)e[0];
		assert(nunused <= SIZE / 2);
	}
	return nunused;
}

/* Nothing to do until something is used: asks for the interrupt, looks once more, sleeps. */
static void driver_wait(void)
{
	if (events)
		__atomic_store_n(at16(drv_used_event(&d)), d.used_idx, __ATOMIC_RELAXED);
	else
		__atomic_store_n(at16(d.q.ring.avail), 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(at16(d.q.ring.used + 2), __ATOMIC_ACQUIRE) == d.used_idx)
		wait_for(&interrupt, 1);
	if (!events)
		__atomic_store_n(at16(d.q.ring.avail), 1, __ATOMIC_RELAXED);
}

static void driver(void)
{
	/* head i is followed by i + SIZE / 2 */
	uint16_t unused[SIZE];
	uint32_t expected[SIZE];
	unsigned nunused = SIZE / 2, sent = 0;

	for (uint16_t i = 0; i < SIZE / 2; i++)
		unused[i] = i;
	while (sent < REQUESTS || nunused < SIZE / 2) {
		uint16_t old = d.avail_idx;
		unsigned n = 1 + sent % 3;

		for (; n && nunused && sent < REQUESTS; n--, sent++) {
			uint16_t head = unused[--nunused];
			uint64_t data = DRV_DATA + SLOT * (uint64_t)head;

			expected[head] = sent * 2654435761u;
			assert(!mem_put(&d.mem, data, &expected[head], 4));
			drv_desc(&d, head, data, 4, D_NEXT, head + SIZE / 2);
			drv_desc(&d, head + SIZE / 2, data + 32, 4, D_WRITE, 0);
			drv_set16(&d, d.q.ring.avail + 4 + 2 * (d.avail_idx++ % SIZE), head);
		}
		dawdle();
		if (d.avail_idx != old)
			publish(old);
		nunused = collect(expected, unused, nunused);
		if (nunused < SIZE / 2 && (!nunused || sent == REQUESTS || sent % 7 == 0)) {
			driver_wait();
			nunused = collect(expected, unused, nunused);
		}
	}
}

static void run(bool with_events)
{
	pthread_t t;

	events = with_events;
	kicks = sleeps[0] = sleeps[1] = 0;
	drv_init(&d, SIZE, events ? VIRTIO_F_EVENT_IDX : 0, 65000);
	memset(&kick, 0, sizeof kick);
	memset(&interrupt, 0, sizeof interrupt);
	d.q.call = call;
	if (!events)
		drv_set16(&d, d.q.ring.avail, 1);
	assert(!pthread_create(&t, NULL, device, NULL));
	driver();
	assert(!pthread_join(t, NULL));
	printf("%s: %u requests, %lu kicks, %lu calls of %lu; device slept %lu times, driver %lu\n",
		events ? "events" : "flags", REQUESTS, (unsigned long)kicks, (unsigned long)d.q.n.calls,
		(unsigned long)(d.q.n.calls + d.q.n.calls_saved), (unsigned long)sleeps[0], (unsigned long)sleeps[1]);
	assert(d.q.n.requests == REQUESTS);
	drv_fini(&d);
}

int main(void)
{
	run(true);
	run(false);
	return 0;
}
