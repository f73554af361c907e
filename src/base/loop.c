/* SPDX-License-Identifier: MIT */
/*
 * epoll data holds slot index and generation, never a pointer: a watch that was deleted while its
 * event waited in the fetched batch is recognised by the generation and skipped. Timers live in a
 * binary heap; a timerfd carries the earliest deadline, so
 * that nanoseconds count and another thread can move it while the loop sleeps.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"

struct slot {
	struct watch *w;
	uint32_t gen;
};

struct loop {
	int ep, stop_fd, timer_fd;
	struct slot *slots;
	uint32_t nslots;
	pthread_mutex_t timer_lock; /* heap, ntimers, heap_cap, armed_ns */
	struct timer **heap;
	uint32_t ntimers, heap_cap;
	uint64_t armed_ns;
	bool stop;
};

enum { ID_STOP = 0, ID_TIMER = 1, ID_FIRST = 2 };

static int fd_add(struct loop *l, int fd, uint64_t id)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = id};

	return epoll_ctl(l->ep, EPOLL_CTL_ADD, fd, &ev);
}

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	pthread_mutex_init(&l->timer_lock, NULL);
	l->ep = epoll_create1(EPOLL_CLOEXEC);
	l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	l->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->ep < 0 || l->stop_fd < 0 || l->timer_fd < 0 || fd_add(l, l->stop_fd, ID_STOP) ||
		fd_add(l, l->timer_fd, ID_TIMER)) {
		loop_free(l);
		return NULL;
	}
	return l;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	if (l->ep >= 0)
		close(l->ep);
	if (l->stop_fd >= 0)
		close(l->stop_fd);
	if (l->timer_fd >= 0)
		close(l->timer_fd);
	free(l->slots);
	free(l->heap);
	pthread_mutex_destroy(&l->timer_lock);
	free(l);
}

static uint64_t slot_id(struct loop *l, uint32_t i)
{
	return (uint64_t)l->slots[i].gen << 32 | (i + ID_FIRST);
}

int loop_add(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events};
	uint32_t i;

	for (i = 0; i < l->nslots && l->slots[i].w; i++)
		;
	if (i == l->nslots) {
		uint32_t n = l->nslots ? l->nslots * 2 : 16;
		struct slot *s = realloc(l->slots, n * sizeof *s);

		if (!s)
			return -ENOMEM;
		memset(s + l->nslots, 0, (n - l->nslots) * sizeof *s);
		l->slots = s;
		l->nslots = n;
	}
	ev.data.u64 = slot_id(l, i);
	if (epoll_ctl(l->ep, EPOLL_CTL_ADD, w->fd, &ev))
		return -errno;
	l->slots[i].w = w;
	w->slot = i + 1;
	return 0;
}

int loop_mod(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events};

	if (!w->slot)
		return -ENOENT;
	ev.data.u64 = slot_id(l, w->slot - 1);
	return epoll_ctl(l->ep, EPOLL_CTL_MOD, w->fd, &ev) ? -errno : 0;
}

void loop_del(struct loop *l, struct watch *w)
{
	struct slot *s;

	if (!w->slot)
		return;
	s = &l->slots[w->slot - 1];
	epoll_ctl(l->ep, EPOLL_CTL_DEL, w->fd, NULL);
	s->w = NULL;
	s->gen++;
	w->slot = 0;
}

static void heap_put(struct loop *l, uint32_t i, struct timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

static void heap_up(struct loop *l, uint32_t i)
{
	struct timer *t = l->heap[i];

	while (i && l->heap[(i - 1) / 2]->deadline_ns > t->deadline_ns) {
		heap_put(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	heap_put(l, i, t);
}

static void heap_down(struct loop *l, uint32_t i)
{
	struct timer *t = l->heap[i];

	for (;;) {
		uint32_t c = 2 * i + 1;

		if (c >= l->ntimers)
			break;
		if (c + 1 < l->ntimers && l->heap[c + 1]->deadline_ns < l->heap[c]->deadline_ns)
			c++;
		if (l->heap[c]->deadline_ns >= t->deadline_ns)
			break;
		heap_put(l, i, l->heap[c]);
		i = c;
	}
	heap_put(l, i, t);
}

static void heap_del(struct loop *l, struct timer *t)
{
	uint32_t i = t->slot - 1;
	struct timer *last = l->heap[--l->ntimers];

	t->slot = 0;
	if (last == t)
		return;
	heap_put(l, i, last);
	heap_down(l, i);
	heap_up(l, last->slot - 1);
}

static void timers_arm(struct loop *l)
{
	uint64_t ns = l->ntimers ? l->heap[0]->deadline_ns : 0;
	struct itimerspec its = {
		.it_value = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)}};

	if (ns == l->armed_ns)
		return;
	l->armed_ns = ns;
	timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &its, NULL);
}

int timer_set(struct loop *l, struct timer *t, uint64_t deadline_ns)
{
	int rc = 0;

	pthread_mutex_lock(&l->timer_lock);
	if (t->slot)
		heap_del(l, t);
	t->deadline_ns = deadline_ns;
	if (deadline_ns) {
		if (l->ntimers == l->heap_cap) {
			uint32_t n = l->heap_cap ? l->heap_cap * 2 : 16;
			struct timer **h = realloc(l->heap, n * sizeof(struct timer *));

			if (!h) {
				t->deadline_ns = 0;
				rc = -ENOMEM;
				goto out;
			}
			l->heap = h;
			l->heap_cap = n;
		}
		heap_put(l, l->ntimers, t);
		heap_up(l, l->ntimers++);
	}
out:
	timers_arm(l);
	pthread_mutex_unlock(&l->timer_lock);
	return rc;
}

static void timers_fire(struct loop *l)
{
	uint64_t now = now_ns(), drained;

	if (read(l->timer_fd, &drained, sizeof drained) < 0 && errno != EAGAIN)
		return;
	pthread_mutex_lock(&l->timer_lock);
	l->armed_ns = 0;
	while (l->ntimers && l->heap[0]->deadline_ns <= now) {
		struct timer *t = l->heap[0];

		heap_del(l, t);
		t->deadline_ns = 0;
		pthread_mutex_unlock(&l->timer_lock);
		t->fire(t);
		pthread_mutex_lock(&l->timer_lock);
	}
	timers_arm(l);
	pthread_mutex_unlock(&l->timer_lock);
}

int loop_run(struct loop *l)
{
	struct epoll_event ev[32];

	while (!l->stop) {
		int n = epoll_wait(l->ep, ev, ARRAY_LEN(ev), -1);

		if (n < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < n && !l->stop; i++) {
			uint32_t id = (uint32_t)ev[i].data.u64, gen = ev[i].data.u64 >> 32;
			struct slot *s;

			if (id == ID_STOP) {
				uint64_t n_stops;

				if (read(l->stop_fd, &n_stops, sizeof n_stops) > 0)
					l->stop = true;
			} else if (id == ID_TIMER) {
				timers_fire(l);
			} else {
				s = &l->slots[id - ID_FIRST];
				if (s->w && s->gen == gen)
					s->w->ready(s->w, ev[i].events);
			}
		}
	}
	l->stop = false;
	return 0;
}

void loop_stop(struct loop *l)
{
	uint64_t one = 1;

	if (write(l->stop_fd, &one, sizeof one) < 0) {
		/* the counter is full, so the loop is being stopped already */
	}
}
