/* SPDX-License-Identifier: MIT */
/*
 * Rings, as the front-end moves them between stopped, started and enabled (specification, "Ring states").
 *
 * A ring is started by its kick descriptor and runs when it is enabled, or at once when the front-end did not take
 * VHOST_F_PROTOCOL_FEATURES. GET_VRING_BASE stops it and says how far it came; then it may be set up again, elsewhere.
 * What changes under a ring that runs is done with the ring stopped for a moment: vhost_rings_pause() and resume(). What
 * does not, is the call descriptor: front-ends exchange it whenever a guest masks an interrupt, so it is one number for
 * life, and dup3() lets it lead elsewhere while the device's thread writes to it.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "vhost/serve-int.h"

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* a full counter is as good as one more; what else it may be is the front-end's problem */
	if (write(fd, &one, sizeof one) < 0)
		return;
}

/* The guest broke it: once, the front-end hears of it. */
static void ring_look(struct vhost_ring *r)
{
	static struct log_rate rate;

	if (likely(!__atomic_load_n(&r->vq.broken, __ATOMIC_ACQUIRE)) ||
		__atomic_exchange_n(&r->told, true, __ATOMIC_RELAXED))
		return;
	if (log_rate_ok(&rate))
		log_warn("%s: queue %u is broken: %s", r->s->dev->ops->name, r->index, r->vq.why ? r->vq.why : "?");
	if (r->err_fd >= 0)
		signal_fd(r->err_fd);
}

/* On the thread that uses the queue */
static void ring_call(struct virtq *q, void *arg)
{
	struct vhost_ring *r = arg;

	(void)q;
	signal_fd(r->call_fd);
	ring_look(r);
}

static void kick(struct vhost_ring *r)
{
	r->s->dev->ops->kick(r->s->dev, r->index);
	ring_look(r);
}

/*
 * epoll says that it is readable, and nobody else reads it, so this does not block, whether the descriptor does or
 * not: the flag is not ours alone.
 */
static void kick_ready(struct watch *w, uint32_t events)
{
	struct vhost_ring *r = CONTAINER_OF(w, struct vhost_ring, kick);
	uint64_t n;

	if (!(events & EPOLLIN) || read(w->fd, &n, sizeof n) <= 0) {
		/* no eventfd, or one that came to its end: it would be ready for ever */
		if (events & EPOLLIN && (errno == EAGAIN || errno == EINTR))
			return;
		loop_del(r->s->loop, w);
		return;
	}
	__atomic_store_n(&r->vq.n.kicks, r->vq.n.kicks + 1, __ATOMIC_RELAXED);
	kick(r);
}

static void ring_stop(struct vhost_ring *r)
{
	if (!r->running)
		return;
	r->running = false;
	loop_del(r->s->loop, &r->kick);
	r->s->dev->ops->stop(r->s->dev, r->index);
	ring_look(r);
	virtq_stop(&r->vq);
	r->base = r->vq.next_avail;
}

/* Guest addresses of its three parts; false when they are not in memory. Lengths are virtq_start()'s to check. */
static bool ring_place(const struct vhost_ring *r, struct virtio_ring *place)
{
	*place = (struct virtio_ring){
		.enabled = true,
		.size = (uint16_t)r->size,
		.desc = vhost_mem_gpa(r->s, r->addr.desc),
		.avail = vhost_mem_gpa(r->s, r->addr.avail),
		.used = vhost_mem_gpa(r->s, r->addr.used),
	};
	return place->desc != UINT64_MAX && place->avail != UINT64_MAX && place->used != UINT64_MAX;
}

static int ring_start(struct vhost_ring *r, struct err *e)
{
	struct vhost_server *s = r->s;
	const struct virtio_ops *ops = s->dev->ops;
	int rc;

	if (!r->size || !r->has_addr)
		return err_set(e, EPROTO, "queue %u is started before its %s is known", r->index,
			r->size ? "place" : "size");
	r->vq.mem = &s->mem;
	r->vq.features = s->features & ~(VHOST_F_LOG_ALL | VHOST_F_PROTOCOL_FEATURES);
	r->vq.chain_max = s->dev->queue_size;
	r->vq.kick_fd = r->kick.fd;
	r->vq.call = ring_call;
	r->vq.call_arg = r;
	r->vq.written = vhost_written_wanted(s) ? vhost_written : NULL;
	r->vq.written_arg = r;
	if (!ring_place(r, &r->vq.ring))
		return err_set(e, EFAULT, "queue %u at 0x%" PRIx64 " is not in guest memory", r->index, r->addr.desc);
	rc = vhost_inflight_of(s, r, &r->vq.inflight, e);
	if (!rc)
		rc = virtq_start(&r->vq, r->base, e);
	if (rc)
		return rc;
	r->told = false;
	if (!ops->own_kick)
		rc = loop_add(s->loop, &r->kick, EPOLLIN);
	if (rc) {
		err_set(e, -rc, "queue %u: cannot wait for its kicks: %s", r->index, strerror(-rc));
		goto fail;
	}
	rc = ops->start(s->dev, r->index, &r->vq);
	if (rc) {
		err_set(e, -rc, "queue %u does not start: %s", r->index, strerror(-rc));
		goto fail;
	}
	r->running = true;
	if (!ops->own_kick)
		kick(r);
	return 0;
fail:
	loop_del(s->loop, &r->kick);
	virtq_stop(&r->vq);
	return rc;
}

static bool ring_wanted(const struct vhost_ring *r)
{
	return r->started && (r->enabled || !(r->s->features & VHOST_F_PROTOCOL_FEATURES));
}

/* Starts it if it should run. One that fails waits for its next kick descriptor. */
static int ring_update(struct vhost_ring *r, struct err *e)
{
	int rc;

	if (r->running || !ring_wanted(r))
		return 0;
	rc = ring_start(r, e);
	if (!rc)
		return 0;
	r->started = false;
	if (r->err_fd >= 0)
		signal_fd(r->err_fd);
	return rc;
}

void vhost_rings_pause(struct vhost_server *s)
{
	for (unsigned i = 0; i < s->dev->nqueues; i++)
		ring_stop(&s->ring[i]);
}

int vhost_rings_resume(struct vhost_server *s, struct err *e)
{
	int first = 0;

	for (unsigned i = 0; i < s->dev->nqueues; i++) {
		struct vhost_ring *r = &s->ring[i];
		struct virtio_ring place;
		struct err other;
		int rc;

		/* a region that grows is removed and added: the ring is nowhere in between */
		if (r->has_addr && !ring_place(r, &place))
			continue;
		rc = ring_update(r, first ? &other : e);
		if (!first)
			first = rc;
	}
	return first;
}

static void kick_close(struct vhost_ring *r)
{
	assert(!r->running);
	fd_close(&r->kick.fd);
}

void vhost_rings_reset(struct vhost_server *s)
{
	vhost_rings_pause(s);
	for (unsigned i = 0; i < s->dev->nqueues; i++) {
		s->ring[i].started = s->ring[i].enabled = false;
		kick_close(&s->ring[i]);
	}
}

static void call_set(struct vhost_ring *r, int fd)
{
	r->call_set = fd >= 0;
	if (dup3(fd >= 0 ? fd : r->s->nowhere, r->call_fd, O_CLOEXEC) < 0)
		log_warn("queue %u: its interrupts are lost: %s", r->index, strerror(errno));
}

void vhost_rings_forget(struct vhost_server *s)
{
	vhost_rings_reset(s);
	for (unsigned i = 0; i < s->dev->nqueues; i++) {
		struct vhost_ring *r = &s->ring[i];

		call_set(r, -1);
		fd_close(&r->err_fd);
		r->size = 0;
		r->base = 0;
		r->has_addr = false;
	}
}

int vhost_ring_init(struct vhost_ring *r, struct vhost_server *s, unsigned index)
{
	r->s = s;
	r->index = index;
	r->kick = (struct watch){.fd = -1, .ready = kick_ready};
	r->err_fd = -1;
	r->call_fd = fcntl(s->nowhere, F_DUPFD_CLOEXEC, 0);
	return r->call_fd < 0 ? -errno : 0;
}

void vhost_ring_fini(struct vhost_ring *r)
{
	if (r->s)
		fd_close(&r->call_fd);
}

/* ---- messages ---- */

/* NULL with words when there is none */
static struct vhost_ring *ring_of(struct vhost_server *s, uint32_t index, struct err *e)
{
	if (index < s->dev->nqueues)
		return &s->ring[index];
	err_set(e, EINVAL, "there is no queue %u: %s has %u", index, s->dev->ops->name, s->dev->nqueues);
	return NULL;
}

/* The ring of a message with a struct vhost_vring_state, which must not run. */
static struct vhost_ring *idle_ring(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	struct vhost_ring *r = ring_of(s, m->p.state.index, e);

	if (!r || !r->running)
		return r;
	err_set(e, EBUSY, "queue %u is running", r->index);
	return NULL;
}

int vhost_ring_num(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	uint32_t n = m->p.state.num;
	struct vhost_ring *r = idle_ring(s, m, e);

	if (!r)
		return -e->code;
	if (!n || n & (n - 1) || n > s->dev->queue_size)
		return err_set(e, EINVAL, "queue %u of %u entries: choose a power of two, at most %u", r->index, n,
			s->dev->queue_size);
	r->size = n;
	return 0;
}

int vhost_ring_base(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	struct vhost_ring *r = idle_ring(s, m, e);

	if (!r)
		return -e->code;
	if (m->p.state.num > UINT16_MAX)
		return err_set(e, EINVAL, "queue %u: no index of a split ring: %u", r->index, m->p.state.num);
	r->base = (uint16_t)m->p.state.num;
	return 0;
}

/* Also while it runs: that is how logging begins and ends. */
int vhost_ring_addr(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	const struct vhost_vring_addr *a = &m->p.addr;
	struct vhost_ring *r = ring_of(s, a->index, e);

	if (!r)
		return -e->code;
	if (vhost_mem_gpa(s, a->desc) == UINT64_MAX || vhost_mem_gpa(s, a->avail) == UINT64_MAX ||
		vhost_mem_gpa(s, a->used) == UINT64_MAX)
		return err_set(e, EFAULT, "queue %u at 0x%" PRIx64 " is not in guest memory", r->index, a->desc);
	ring_stop(r);
	r->addr = *a;
	r->has_addr = true;
	return ring_update(r, e);
}

int vhost_ring_get_base(struct vhost_server *s, const struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	struct vhost_ring *r = ring_of(s, m->p.state.index, e);

	if (!r)
		return -e->code;
	ring_stop(r);
	r->started = false;
	kick_close(r);
	reply->h.size = sizeof reply->p.state;
	reply->p.state = (struct vhost_vring_state){r->index, r->base};
	return 0;
}

/* The ring of a message that sets a descriptor for one, and that, taken; *fd is -1 for none. */
static struct vhost_ring *ring_fd(struct vhost_server *s, struct vhost_msg *m, int *fd, struct err *e)
{
	bool none = m->p.u64 & VHOST_VRING_NOFD;
	struct vhost_ring *r = ring_of(s, m->p.u64 & VHOST_VRING_INDEX, e);

	*fd = -1;
	if (!r)
		return NULL;
	if (m->nfds != !none) {
		err_set(e, EPROTO, "queue %u with %u descriptors", r->index, m->nfds);
		return NULL;
	}
	if (!none)
		*fd = m->fds[0];
	m->nfds = 0;
	return r;
}

int vhost_ring_kick(struct vhost_server *s, struct vhost_msg *m, struct err *e)
{
	int fd;
	struct vhost_ring *r = ring_fd(s, m, &fd, e);

	if (!r)
		return -e->code;
	if (fd < 0)
		return err_set(e, ENOTSUP, "queue %u without a kick descriptor: husk does not poll", r->index);
	ring_stop(r);
	kick_close(r);
	r->kick.fd = fd;
	r->started = true;
	return ring_update(r, e);
}

int vhost_ring_call(struct vhost_server *s, struct vhost_msg *m, struct err *e)
{
	bool first;
	int fd;
	struct vhost_ring *r = ring_fd(s, m, &fd, e);

	if (!r)
		return -e->code;
	first = r->running && !r->call_set;
	call_set(r, fd);
	fd_close(&fd);
	/* what was done before there was a way to say so */
	if (first && r->call_set)
		signal_fd(r->call_fd);
	return 0;
}

int vhost_ring_err(struct vhost_server *s, struct vhost_msg *m, struct err *e)
{
	int fd;
	struct vhost_ring *r = ring_fd(s, m, &fd, e);

	if (!r)
		return -e->code;
	/* a device's thread may be about to use it */
	ring_stop(r);
	fd_close(&r->err_fd);
	r->err_fd = fd;
	return ring_update(r, e);
}

int vhost_ring_enable(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	struct vhost_ring *r = ring_of(s, m->p.state.index, e);

	if (!r)
		return -e->code;
	if (m->p.state.num > 1)
		return err_set(e, EINVAL, "queue %u: SET_VRING_ENABLE %u", r->index, m->p.state.num);
	r->enabled = m->p.state.num;
	if (!ring_wanted(r))
		ring_stop(r);
	return ring_update(r, e);
}
