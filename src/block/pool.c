/* SPDX-License-Identifier: MIT */
/*
 * The engine without io_uring: a lane's thread waits for kicks and hands requests to a few workers, each of which does
 * one at a time (sync.c). Finished ones come back on a list; who finds it empty wakes the lane.
 *
 * The lane's thread waits with epoll for edges: an eventfd tells every write to it that way, also when nobody has ever read
 * it. So neither kick nor wake descriptor is read, and it does not matter whether reading would block.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/blk-int.h"

struct worker {
	struct pool_lane *lane;
	pthread_t thread;
	uint8_t *bounce;
};

struct pool_lane {
	struct blk_lane l;
	int epoll_fd;
	unsigned nworkers;
	struct worker worker[LANE_THREADS];
	/* what the workers share */
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct blk_req *first, **last;
	bool stop;
	struct blk_req *finished; /* newest first, atomic */
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct pool_lane *p = w->lane;
	struct blk_req *r, *old;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->first && !p->stop)
			pthread_cond_wait(&p->more, &p->lock);
		r = p->first;
		if (!r)
			break;
		p->first = r->next;
		if (!p->first)
			p->last = &p->first;
		pthread_mutex_unlock(&p->lock);
		r->result = sync_request(p->l.blk, r, w->bounce);
		old = __atomic_load_n(&p->finished, __ATOMIC_RELAXED);
		do
			r->next = old;
		while (!__atomic_compare_exchange_n(&p->finished, &old, r, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
		if (!old)
			blk_lane_call(&p->l);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void reap(struct pool_lane *p)
{
	struct blk_req *r = __atomic_exchange_n(&p->finished, NULL, __ATOMIC_ACQUIRE), *first = NULL, *next;

	/* in the order in which they ended */
	for (; r; r = next) {
		next = r->next;
		r->next = first;
		first = r;
	}
	for (r = first; r; r = next) {
		next = r->next;
		lane_done(&p->l, r, r->result);
	}
}

static void *pool_run(void *arg)
{
	struct pool_lane *p = arg;
	struct epoll_event ev[2];

	while (!__atomic_load_n(&p->l.stop, __ATOMIC_ACQUIRE)) {
		bool again = p->l.turn(p->l.arg);
		int n = epoll_wait(p->epoll_fd, ev, 2, again ? 0 : -1);

		for (int i = 0; i < n; i++)
			p->l.kicks += ev[i].data.u64;
		if (n < 0 && errno != EINTR)
			log_err("a queue of %s cannot wait: %s", p->l.blk->name, strerror(errno));
		reap(p);
	}
	return NULL;
}

static int pool_start(struct blk_lane *l, struct err *e)
{
	struct pool_lane *p = CONTAINER_OF(l, struct pool_lane, l);
	int rc = 0;

	while (!rc && p->nworkers < l->blk->threads) {
		rc = lane_thread(&p->worker[p->nworkers].thread, worker_run, &p->worker[p->nworkers], e);
		p->nworkers += !rc;
	}
	/* fewer will do */
	if (rc && p->nworkers)
		rc = 0;
	return rc ? rc : lane_thread(&l->thread, pool_run, p, e);
}

static void pool_submit(struct blk_lane *l, struct blk_req *r)
{
	struct pool_lane *p = CONTAINER_OF(l, struct pool_lane, l);

	r->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->last = r;
	p->last = &r->next;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
}

static void pool_watch(struct blk_lane *l, int kick_fd)
{
	struct pool_lane *p = CONTAINER_OF(l, struct pool_lane, l);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.u64 = 1};

	if (l->kick_fd >= 0) {
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, l->kick_fd, NULL);
		lane_clear_kick(l->kick_fd);
	}
	l->kick_fd = kick_fd;
	if (kick_fd >= 0 && epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, kick_fd, &ev))
		log_warn("a kick descriptor that cannot be waited for: %s", strerror(errno));
}

static void pool_free(struct blk_lane *l)
{
	struct pool_lane *p = CONTAINER_OF(l, struct pool_lane, l);

	pthread_mutex_lock(&p->lock);
	assert(!p->first);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nworkers; i++)
		pthread_join(p->worker[i].thread, NULL);
	for (unsigned i = 0; i < LANE_THREADS; i++)
		free(p->worker[i].bounce);
	if (p->epoll_fd >= 0)
		close(p->epoll_fd);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->more);
	lane_fini(l);
	free(p);
}

static const struct lane_ops pool_ops = {
	.name = "threads", .start = pool_start, .submit = pool_submit, .watch = pool_watch, .free = pool_free,
};

int pool_lane_new(struct blk_lane **l, struct blk *b, bool (*turn)(void *arg), void *arg, struct err *e)
{
	struct pool_lane *p = xcalloc(1, sizeof *p);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
	int rc;

	p->epoll_fd = -1;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	rc = lane_init(&p->l, &pool_ops, b, turn, arg, e);
	for (unsigned i = 0; !rc && i < b->threads; i++) {
		p->worker[i].lane = p;
		p->worker[i].bounce = aligned_alloc(4096, BOUNCE);
		if (!p->worker[i].bounce)
			rc = err_set(e, ENOMEM, "no memory for the threads of %s", b->name);
	}
	if (!rc) {
		p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
		if (p->epoll_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->l.wake_fd, &ev))
			rc = err_set(e, errno, "cannot make a queue of %s: %s", b->name, strerror(errno));
	}
	if (rc)
		pool_free(&p->l);
	else
		*l = &p->l;
	return rc;
}
