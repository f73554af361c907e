/* SPDX-License-Identifier: MIT */
/*
 * The board calls in from vCPU threads and must not wait for another process. So it only leaves wishes here (want_run,
 * want_stop, a new socket), and the front-end's thread fulfils them one after the other, waiting for the back-end as long as
 * it takes. Kicks go directly: one write to an eventfd. That is O_NONBLOCK, because a back-end that fills its counter
 * would otherwise stop a vCPU that holds the board lock.
 *
 * A back-end that goes leaves the rings as they are. Its successor gets the same eventfds and the same in-flight
 * record, finds from those what was begun and not finished, and does it again. What the dead one had handed to the host's
 * kernel may still be under way, and would then land in memory that the guest uses for something else; the supervisor
 * starts the successor only when that is over (husk-blk waits for the image's lock), and a reset waits for it, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "vhost/front-int.h"

void vhost_front_wake(struct vhost_front *f)
{
	uint64_t one = 1;

	if (write(f->wish_watch.fd, &one, sizeof one) < 0) {
		/* the counter is full: it is awake */
	}
}

/* ---- the thread ---- */

/* The line is of no use any more. f->why says why. */
static void lost(struct vhost_front *f)
{
	loop_del(f->loop, &f->sock_watch);
	if (f->sock >= 0)
		close(f->sock);
	f->sock = -1;
	f->resume |= f->on;
	f->on = false;
	f->cfg.state(f->cfg.arg, VHOST_FRONT_DOWN, f->why.text);
}

static void sock_ready(struct watch *w, uint32_t events)
{
	struct vhost_front *f = CONTAINER_OF(w, struct vhost_front, sock_watch);

	(void)events;
	/* it speaks only when asked, and then somebody waits for the answer */
	err_set(&f->why, EPIPE, "%s", events & (EPOLLHUP | EPOLLERR) ? "the process has ended"
								    : "it spoke without being asked");
	lost(f);
}

static void back_ready(struct watch *w, uint32_t events)
{
	struct vhost_front *f = CONTAINER_OF(w, struct vhost_front, back_watch);

	(void)events;
	if (front_back_message(f) && f->sock >= 0)
		lost(f);
}

static void call_ready(struct watch *w, uint32_t events)
{
	struct front_queue *q = CONTAINER_OF(w, struct front_queue, call);
	struct vhost_front *f = q->f;
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, sizeof n) != sizeof n)
		return;
	atomic_fetch_add_explicit(&f->ncalls, 1, memory_order_relaxed);
	if (f->log)
		front_log_scan(f);
	f->cfg.call(f->cfg.arg, (unsigned)(q - f->q));
}

static void err_ready(struct watch *w, uint32_t events)
{
	struct front_queue *q = CONTAINER_OF(w, struct front_queue, err);
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, sizeof n) == sizeof n)
		q->f->cfg.broken(q->f->cfg.arg, (unsigned)(q - q->f->q));
}

static int watch_sock(struct vhost_front *f)
{
	int rc;

	f->sock_watch = (struct watch){.fd = f->sock, .ready = sock_ready};
	rc = loop_add(f->loop, &f->sock_watch, EPOLLIN);
	return rc ? err_set(&f->why, -rc, "event loop: %s", strerror(-rc)) : 0;
}

static void connect_new(struct vhost_front *f, int sock)
{
	if (f->sock >= 0) {
		err_set(&f->why, EEXIST, "another took its place");
		lost(f);
	}
	f->sock = sock;
	if (front_hello(f, false)) {
		close(f->sock);
		f->sock = -1;
		f->cfg.state(f->cfg.arg, VHOST_FRONT_BROKEN, f->why.text);
		return;
	}
	if (watch_sock(f)) {
		lost(f);
		return;
	}
	atomic_fetch_add(&f->nbackends, 1);
	f->cfg.state(f->cfg.arg, VHOST_FRONT_UP, "");
}

/* The kicks of the time without a back-end may have gone with the old one. */
static void kick_all(struct vhost_front *f)
{
	for (unsigned i = 0; i < f->nqueues; i++)
		if (f->q[i].ring.enabled)
			vhost_front_kick(f, i);
}

/* Fulfils what is wished for as far as that is possible now. */
static void fulfil(struct vhost_front *f)
{
	uint32_t from, to;
	bool run, stop, give_up;
	int sock;

	pthread_mutex_lock(&f->lock);
	sock = f->new_sock;
	f->new_sock = -1;
	run = f->want_run;
	stop = f->want_stop;
	give_up = f->given_up;
	pthread_mutex_unlock(&f->lock);
	if (sock >= 0)
		connect_new(f, sock);
	if (stop) {
		/* without a back-end: not before there is another, see above */
		if (f->sock >= 0 && (f->on || f->resume) && front_stop(f))
			lost(f);
		if (f->sock < 0 && f->resume && !give_up)
			return;
		f->on = f->resume = false;
		if (f->inflight_fd >= 0)
			close(f->inflight_fd);
		f->inflight_fd = -1;
		pthread_mutex_lock(&f->lock);
		f->want_stop = false;
		run = f->want_run;
		pthread_mutex_unlock(&f->lock);
		f->cfg.stopped(f->cfg.arg);
	}
	if (run && !f->on && f->sock >= 0) {
		pthread_mutex_lock(&f->lock);
		f->run_features = f->want_features;
		for (unsigned i = 0; i < f->nqueues; i++)
			f->q[i].ring = f->want_ring[i];
		pthread_mutex_unlock(&f->lock);
		f->on = true;
		if (front_start(f)) {
			lost(f);
			return;
		}
		f->resume = false;
		kick_all(f);
	}
	pthread_mutex_lock(&f->lock);
	from = f->config_dirty_from;
	to = f->config_dirty_to;
	f->config_dirty_from = f->config_dirty_to = 0;
	pthread_mutex_unlock(&f->lock);
	if (from < to && f->sock >= 0 && front_config_put(f, from, to - from))
		lost(f);
	if (f->config_stale && f->sock >= 0) {
		f->config_stale = false;
		if (front_config_get(f))
			lost(f);
		else
			f->cfg.config_changed(f->cfg.arg);
	}
}

static void wish_ready(struct watch *w, uint32_t events)
{
	struct vhost_front *f = CONTAINER_OF(w, struct vhost_front, wish_watch);
	uint64_t n;
	bool quit;

	(void)events;
	if (read(w->fd, &n, sizeof n) != sizeof n)
		return;
	pthread_mutex_lock(&f->lock);
	quit = f->quit;
	pthread_mutex_unlock(&f->lock);
	if (quit)
		loop_stop(f->loop);
	else
		fulfil(f);
}

static void *front_main(void *arg)
{
	struct vhost_front *f = arg;

	loop_run(f->loop);
	return NULL;
}

/* ---- the board's side ---- */

void vhost_front_start(struct vhost_front *f, uint64_t features, const struct virtio_ring *rings)
{
	pthread_mutex_lock(&f->lock);
	f->want_run = true;
	f->want_features = features;
	memcpy(f->want_ring, rings, f->nqueues * sizeof *rings);
	pthread_mutex_unlock(&f->lock);
	vhost_front_wake(f);
}

void vhost_front_stop(struct vhost_front *f)
{
	pthread_mutex_lock(&f->lock);
	f->want_run = false;
	f->want_stop = true;
	pthread_mutex_unlock(&f->lock);
	vhost_front_wake(f);
}

void vhost_front_kick(struct vhost_front *f, unsigned q)
{
	uint64_t one = 1;

	atomic_fetch_add_explicit(&f->nkicks, 1, memory_order_relaxed);
	if (write(f->q[q].kick_fd, &one, sizeof one) < 0) {
		/* the counter is full: there is a kick that nobody has taken yet */
	}
}

void vhost_front_config_read(struct vhost_front *f, uint32_t off, void *buf, uint32_t len)
{
	pthread_mutex_lock(&f->lock);
	memcpy(buf, f->config + off, len);
	pthread_mutex_unlock(&f->lock);
}

void vhost_front_config_write(struct vhost_front *f, uint32_t off, const void *buf, uint32_t len)
{
	pthread_mutex_lock(&f->lock);
	memcpy(f->config + off, buf, len);
	if (f->config_dirty_from == f->config_dirty_to)
		f->config_dirty_from = off;
	f->config_dirty_from = off < f->config_dirty_from ? off : f->config_dirty_from;
	f->config_dirty_to = off + len > f->config_dirty_to ? off + len : f->config_dirty_to;
	pthread_mutex_unlock(&f->lock);
	vhost_front_wake(f);
}

void vhost_front_socket(struct vhost_front *f, int sock)
{
	pthread_mutex_lock(&f->lock);
	if (f->new_sock >= 0)
		close(f->new_sock);
	f->new_sock = sock;
	pthread_mutex_unlock(&f->lock);
	vhost_front_wake(f);
}

void vhost_front_give_up(struct vhost_front *f)
{
	pthread_mutex_lock(&f->lock);
	f->given_up = true;
	pthread_mutex_unlock(&f->lock);
	vhost_front_wake(f);
}

uint64_t vhost_front_features(const struct vhost_front *f)
{
	return f->features;
}

uint16_t vhost_front_queues(const struct vhost_front *f)
{
	return f->nqueues;
}

size_t vhost_front_stats(struct vhost_front *f, char *buf, size_t len)
{
	int n = snprintf(buf, len, "%s.kicks %llu\n%s.calls %llu\n%s.code_pages %llu\n%s.reconnects %llu\n",
		f->cfg.name, (unsigned long long)f->nkicks, f->cfg.name, (unsigned long long)f->ncalls,
		f->cfg.name, (unsigned long long)f->ncode, f->cfg.name, (unsigned long long)f->nbackends);

	return n < 0 ? 0 : min_u64((uint64_t)n, len ? len - 1 : 0);
}

/* ---- set-up ---- */

static int queue_new(struct vhost_front *f, unsigned i)
{
	struct front_queue *q = &f->q[i];
	int rc;

	q->f = f;
	q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->call = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = call_ready};
	q->err = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = err_ready};
	if (q->kick_fd < 0 || q->call.fd < 0 || q->err.fd < 0)
		return -errno;
	rc = loop_add(f->loop, &q->call, EPOLLIN);
	return rc ? rc : loop_add(f->loop, &q->err, EPOLLIN);
}

/*
 * A read-only description of the page bits, so that who gets it can look and nothing else.
 */
static int bits_open(const struct mem *m)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", m->bits_fd);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* What a foreign back-end wrote is found in a log, a bit per page up to the end of RAM. */
static int log_open(struct vhost_front *f)
{
	uint64_t top = 0;

	for (unsigned i = 0; i < f->cfg.mem->nregions; i++)
		top = max_u64(top, f->cfg.mem->region[i].gpa + f->cfg.mem->region[i].len);
	f->log_size = align_up(top / MEM_PAGE / 8 + 8, MEM_PAGE);
	f->log_fd = memfd_create("husk-vhost-log", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (f->log_fd < 0 || ftruncate(f->log_fd, (off_t)f->log_size) ||
		fcntl(f->log_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	f->log = mmap(NULL, f->log_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, f->log_fd, 0);
	if (f->log == MAP_FAILED) {
		f->log = NULL;
		return -errno;
	}
	return 0;
}

/* Before the first message: what it may need on the way. */
static int prepare(struct vhost_front *f)
{
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	f->back_watch = (struct watch){.fd = pair[0], .ready = back_ready};
	f->back_peer = pair[1];
	f->wish_watch = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = wish_ready};
	if (f->wish_watch.fd < 0)
		return -errno;
	rc = loop_add(f->loop, &f->back_watch, EPOLLIN);
	if (!rc)
		rc = loop_add(f->loop, &f->wish_watch, EPOLLIN);
	if (!rc && f->cfg.translated) {
		f->bits_fd = bits_open(f->cfg.mem);
		rc = f->bits_fd < 0 ? -errno : 0;
	}
	return rc;
}

int vhost_front_new(struct vhost_front **out, const struct vhost_front_config *c, struct err *e)
{
	struct vhost_front *f = xcalloc(1, sizeof *f);
	int rc;

	f->cfg = *c;
	f->cfg.answer_ms = c->answer_ms ? c->answer_ms : 5000;
	f->cfg.drain_ms = c->drain_ms ? c->drain_ms : 60000;
	f->sock = c->sock;
	f->new_sock = f->back_peer = f->bits_fd = f->inflight_fd = f->log_fd = -1;
	f->back_watch.fd = f->wish_watch.fd = -1;
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++)
		f->q[i].kick_fd = f->q[i].call.fd = f->q[i].err.fd = -1;
	pthread_mutex_init(&f->lock, NULL);
	if (c->config)
		memcpy(f->config, c->config, min_u64(c->config_len, sizeof f->config));
	f->loop = loop_new();
	rc = f->loop ? prepare(f) : -errno;
	if (rc) {
		err_set(e, -rc, "%s: %s", c->name, strerror(-rc));
		goto fail;
	}
	rc = front_hello(f, true);
	if (rc) {
		err_set(e, f->why.code, "%s: %.400s", c->name, f->why.text);
		goto fail;
	}
	for (unsigned i = 0; i < f->nqueues && !rc; i++)
		rc = queue_new(f, i);
	if (!rc && c->translated && !(f->protocol & 1ull << VHOST_P_HUSK_PAGE_BITS))
		rc = log_open(f);
	if (!rc)
		rc = watch_sock(f);
	if (rc) {
		err_set(e, -rc, "%s: %s", c->name, strerror(-rc));
		goto fail;
	}
	*out = f;
	return 0;
fail:
	vhost_front_free(f);
	return rc;
}

int vhost_front_run(struct vhost_front *f)
{
	int rc = pthread_create(&f->thread, NULL, front_main, f);

	f->running = !rc;
	return -rc;
}

void vhost_front_free(struct vhost_front *f)
{
	if (!f)
		return;
	if (f->running) {
		pthread_mutex_lock(&f->lock);
		f->quit = true;
		pthread_mutex_unlock(&f->lock);
		vhost_front_wake(f);
		pthread_join(f->thread, NULL);
	}
	for (unsigned i = 0; i < VIRTIO_QUEUES; i++) {
		if (f->q[i].kick_fd >= 0)
			close(f->q[i].kick_fd);
		if (f->q[i].call.fd >= 0)
			close(f->q[i].call.fd);
		if (f->q[i].err.fd >= 0)
			close(f->q[i].err.fd);
	}
	const int fds[] = {f->sock, f->new_sock, f->back_watch.fd, f->back_peer, f->wish_watch.fd, f->bits_fd,
		f->inflight_fd, f->log_fd};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (f->log)
		munmap(f->log, f->log_size);
	loop_free(f->loop);
	pthread_mutex_destroy(&f->lock);
	free(f);
}
