/* SPDX-License-Identifier: MIT */
/*
 * Event loop on epoll: file descriptors and timers, one thread. Deleting a watch or timer
 * guarantees that its callback is not called any more, not even for an event that was already
 * fetched. Everything here belongs to the loop's thread, but for what says "any thread".
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* Embedded in its owner; the fd is borrowed. events: EPOLLIN, EPOLLOUT; EPOLLHUP and EPOLLERR come
 * unasked. */
struct watch {
	int fd;
	void (*ready)(struct watch *w, uint32_t events);
	uint32_t slot; /* the loop's: 0 while not added */
};

struct timer {
	void (*fire)(struct timer *t);
	uint64_t deadline_ns; /* the loop's: CLOCK_MONOTONIC, 0 while not armed */
	uint32_t slot;        /* the loop's: heap position + 1 */
};

struct loop *loop_new(void); /* NULL with errno set */
void loop_free(struct loop *l);
int loop_add(struct loop *l, struct watch *w, uint32_t events); /* 0 or -errno */
int loop_mod(struct loop *l, struct watch *w, uint32_t events);
void loop_del(struct loop *l, struct watch *w); /* harmless when not added */

/*
 * Arms or moves a timer; deadline_ns 0 disarms it. Fires once, on the loop's thread; a passed
 * deadline fires soon. Any thread; but only on the loop's thread is it certain that no call comes
 * after disarming: elsewhere one may be under way, so fire() takes the owner's lock and looks again.
 */
int timer_set(struct loop *l, struct timer *t, uint64_t deadline_ns);

int loop_run(struct loop *l);   /* until loop_stop(); 0 or -errno */
void loop_stop(struct loop *l); /* any thread; also from a signal handler */

#endif
