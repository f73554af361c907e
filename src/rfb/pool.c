/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/util.h"
#include "rfb/pool-int.h"

enum { THREADS_MAX = 16 };
static const size_t STACK = 512 << 10;

struct list {
	struct rfb_job *first, **last;
};

struct rfb_pool {
	struct loop *loop;
	struct watch w;
	unsigned nthreads;
	pthread_t thread[THREADS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct list todo, finished;
	bool stop;
};

static void put(struct list *l, struct rfb_job *j)
{
	j->next = NULL;
	*l->last = j;
	l->last = &j->next;
}

static struct rfb_job *take(struct list *l)
{
	struct rfb_job *j = l->first;

	if (j)
		l->first = j->next;
	if (!l->first)
		l->last = &l->first;
	return j;
}

/* With the lock held. */
static void finish(struct rfb_pool *p, struct rfb_job *j)
{
	uint64_t one = 1;
	bool first = !p->finished.first;

	put(&p->finished, j);
	if (first && write(p->w.fd, &one, sizeof one) < 0) {
		/* the counter is full, so it is readable */
	}
}

static void *work(void *arg)
{
	struct rfb_pool *p = arg;
	struct rfb_job *j;

	pthread_mutex_lock(&p->lock);
	while (!p->stop) {
		j = take(&p->todo);
		if (!j) {
			pthread_cond_wait(&p->more, &p->lock);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		j->run(j);
		pthread_mutex_lock(&p->lock);
		finish(p, j);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void ready(struct watch *w, uint32_t events)
{
	struct rfb_pool *p = CONTAINER_OF(w, struct rfb_pool, w);
	struct rfb_job *j;
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, sizeof n) < 0 && errno != EAGAIN)
		return;
	for (;;) {
		pthread_mutex_lock(&p->lock);
		j = take(&p->finished);
		pthread_mutex_unlock(&p->lock);
		if (!j)
			break;
		j->done(j);
	}
}

int rfb_pool_new(struct rfb_pool **out, struct loop *l, struct err *e)
{
	struct rfb_pool *p = calloc(1, sizeof *p);
	int rc;

	if (!p)
		return err_set(e, ENOMEM, "no memory for encoder threads");
	p->loop = l;
	p->todo.last = &p->todo.first;
	p->finished.last = &p->finished.first;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	p->w = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = ready};
	rc = p->w.fd < 0 ? -errno : loop_add(l, &p->w, EPOLLIN);
	if (rc) {
		rfb_pool_free(p);
		return err_set(e, -rc, "cannot make the line from the encoder threads: %s", strerror(-rc));
	}
	*out = p;
	return 0;
}

int rfb_pool_start(struct rfb_pool *p, unsigned threads, struct err *e)
{
	sigset_t all, old;
	pthread_attr_t a;
	int rc = 0;

	if (threads > THREADS_MAX)
		threads = THREADS_MAX;
	/* signals are the loop's thread's */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK);
	for (; !rc && p->nthreads < threads; p->nthreads += !rc)
		rc = pthread_create(&p->thread[p->nthreads], &a, work, p);
	pthread_attr_destroy(&a);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc ? err_set(e, rc, "cannot make an encoder thread: %s", strerror(rc)) : 0;
}

void rfb_pool_submit(struct rfb_pool *p, struct rfb_job *j)
{
	if (!p->nthreads)
		j->run(j);
	pthread_mutex_lock(&p->lock);
	if (p->nthreads) {
		put(&p->todo, j);
		pthread_cond_signal(&p->more);
	} else {
		finish(p, j);
	}
	pthread_mutex_unlock(&p->lock);
}

void rfb_pool_free(struct rfb_pool *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->more);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->thread[i], NULL);
	loop_del(p->loop, &p->w);
	if (p->w.fd >= 0)
		close(p->w.fd);
	pthread_cond_destroy(&p->more);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
