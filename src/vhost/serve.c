/* SPDX-License-Identifier: MIT */
/*
 * The back-end of vhost-user (QEMU docs/interop/vhost-user.rst), over any struct virtio_dev.
 *
 * One message at a time, on the loop's thread: a row of requests[] says how long its payload must be and who does it.
 * What a front-end says wrongly is answered with an error if it asked for answers (REPLY_ACK), and ends the connection
 * if it did not: then it would go on believing that it was done. Either way the process lives.
 *
 * Devices may use their queues on threads of their own. What those threads look at (memory, log, page bits) changes only
 * while all rings are stopped: each such message goes between vhost_rings_pause() and vhost_rings_resume(). One thing is
 * shared, the back-end's channel, which has a lock. A device that stops waits for its requests, those may wait for an
 * answer on that channel, and the front-end may be waiting for us to stop: so front-ends answer there at any time.
 *
 * A device's thread cannot hang up, since that stops the device. It notes why and wakes the loop (fail).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "vhost/serve-int.h"
#include "vhost/serve.h"

enum { PEER_WAIT_MS = 10000 }; /* for the rest of a message, and for room for a reply */

#define BIT(n) (UINT64_C(1) << (n))
#define RING_FEATURES                                                                                               \
	(VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VHOST_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL)
#define PRIVATE_FEATURES (VHOST_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL)
#define PROTOCOL_FEATURES                                                                                           \
	(BIT(VHOST_P_MQ) | BIT(VHOST_P_LOG_SHMFD) | BIT(VHOST_P_REPLY_ACK) | BIT(VHOST_P_BACKEND_REQ) |                \
		BIT(VHOST_P_CONFIG) | BIT(VHOST_P_BACKEND_SEND_FD) | BIT(VHOST_P_INFLIGHT_SHMFD) |                    \
		BIT(VHOST_P_RESET_DEVICE) | BIT(VHOST_P_CONFIGURE_MEM_SLOTS) | BIT(VHOST_P_STATUS) |                  \
		BIT(VHOST_P_HUSK_PAGE_BITS))

static uint64_t features_offered(const struct vhost_server *s)
{
	return s->dev->features | RING_FEATURES;
}

/* ---- messages that are not about rings or memory: 0 or -errno with words ---- */

static int get_features(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)m;
	(void)e;
	reply->p.u64 = features_offered(s);
	return 0;
}

/* Also while rings run, to begin and end logging. */
static int set_features(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	uint64_t f = m->p.u64, changed = s->features ^ f;

	(void)reply;
	if (f & ~features_offered(s))
		return err_set(e, EINVAL, "features 0x%" PRIx64 " were not offered", f & ~features_offered(s));
	if (!changed)
		return 0;
	vhost_rings_pause(s);
	s->features = f;
	if (changed & ~PRIVATE_FEATURES && s->dev->ops->features_set)
		s->dev->ops->features_set(s->dev, f & ~PRIVATE_FEATURES);
	return vhost_rings_resume(s, e);
}

static int get_protocol(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)s;
	(void)m;
	(void)e;
	reply->p.u64 = PROTOCOL_FEATURES;
	return 0;
}

static int set_protocol(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)reply;
	if (m->p.u64 & ~PROTOCOL_FEATURES)
		return err_set(e, EINVAL, "protocol features 0x%" PRIx64 " were not offered",
			m->p.u64 & ~PROTOCOL_FEATURES);
	s->protocol = m->p.u64;
	return 0;
}

static int set_owner(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)s;
	(void)m;
	(void)reply;
	(void)e;
	return 0;
}

static int reset(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)m;
	(void)reply;
	(void)e;
	vhost_rings_reset(s);
	s->status = 0;
	if (s->dev->ops->reset)
		s->dev->ops->reset(s->dev);
	return 0;
}

static int get_queue_num(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)m;
	(void)e;
	reply->p.u64 = s->dev->nqueues;
	return 0;
}

static int get_max_mem_slots(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)s;
	(void)m;
	(void)e;
	reply->p.u64 = VHOST_SLOTS;
	return 0;
}

static int get_status(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)m;
	(void)e;
	reply->p.u64 = s->status;
	return 0;
}

static int set_status(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	if (m->p.u64 > UINT8_MAX)
		return err_set(e, EINVAL, "device status 0x%" PRIx64, m->p.u64);
	if (!m->p.u64)
		return reset(s, m, reply, e);
	s->status = (uint8_t)m->p.u64;
	return 0;
}

/* An error has no payload. What lies behind the device's own configuration reads as zero. */
static int get_config(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	const struct vhost_config *c = &m->p.config;

	(void)e;
	if (c->size > VHOST_CONFIG_MAX || c->offset > s->dev->config_len || !s->dev->ops->config_read) {
		reply->h.size = 0;
		return 0;
	}
	reply->h.size = (uint32_t)offsetof(struct vhost_config, data) + c->size;
	reply->p.config = (struct vhost_config){.offset = c->offset, .size = c->size, .flags = c->flags};
	s->dev->ops->config_read(s->dev, c->offset, reply->p.config.data,
		(uint32_t)min_u64(c->size, s->dev->config_len - c->offset));
	return 0;
}

static int set_config(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	const struct vhost_config *c = &m->p.config;

	(void)reply;
	if (c->size > m->h.size - offsetof(struct vhost_config, data) || c->offset > s->dev->config_len ||
		c->size > s->dev->config_len - c->offset)
		return err_set(e, EINVAL, "no configuration at %u, %u bytes", c->offset, c->size);
	if (!s->dev->ops->config_write)
		return err_set(e, EPERM, "the configuration of %s is read-only", s->dev->ops->name);
	s->dev->ops->config_write(s->dev, c->offset, c->data, c->size);
	return 0;
}

static int set_backend_fd(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	(void)reply;
	if (m->nfds != 1)
		return err_set(e, EPROTO, "back-end channel of %u descriptors", m->nfds);
	pthread_mutex_lock(&s->back_lock);
	if (s->back >= 0)
		close(s->back);
	s->back = m->fds[0];
	m->nfds = 0;
	pthread_mutex_unlock(&s->back_lock);
	return 0;
}

/* An eventfd to say that the log has changed: front-ends look by themselves. */
static int set_log_fd(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	return set_owner(s, m, reply, e);
}

/* ---- those that are: the same signature for all ---- */

#define RING(fn)                                                                                                    \
	static int do_##fn(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)         \
	{                                                                                                               \
		(void)reply;                                                                                                \
		return vhost_##fn(s, m, e);                                                                                 \
	}
RING(ring_num)
RING(ring_addr)
RING(ring_base)
RING(ring_kick)
RING(ring_call)
RING(ring_err)
RING(ring_enable)

/* With no ring running. A change that failed leaves rings that can go on. */
#define PAUSED(fn, call)                                                                                            \
	static int do_##fn(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)         \
	{                                                                                                               \
		struct err other;                                                                                           \
		int rc, rc2;                                                                                                \
                                                                                                                            \
		(void)reply;                                                                                                \
		vhost_rings_pause(s);                                                                                       \
		rc = call;                                                                                                  \
		rc2 = vhost_rings_resume(s, rc ? &other : e);                                                               \
		return rc ? rc : rc2;                                                                                       \
	}
PAUSED(mem_table, vhost_mem_table(s, m, e))
PAUSED(mem_add, vhost_mem_add(s, m, e))
PAUSED(mem_remove, vhost_mem_remove(s, m, e))
PAUSED(mem_log, vhost_mem_log(s, m, e))
PAUSED(mem_bits, vhost_mem_bits(s, m, e))
PAUSED(inflight_set, vhost_inflight_set(s, m, e))
PAUSED(inflight_get, vhost_inflight_get(s, m, reply, e))

static int get_base(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	return vhost_ring_get_base(s, m, reply, e);
}

static const struct request {
	uint32_t request;
	uint32_t size; /* least payload */
	int (*fn)(struct vhost_server *s, struct vhost_msg *m, struct vhost_msg *reply, struct err *e);
	bool replies;  /* has an answer of its own: a u64, unless fn says otherwise */
} requests[] = {
	{VHOST_GET_FEATURES, 0, get_features, true},
	{VHOST_SET_FEATURES, 8, set_features, false},
	{VHOST_SET_OWNER, 0, set_owner, false},
	{VHOST_RESET_OWNER, 0, reset, false},
	{VHOST_SET_MEM_TABLE, offsetof(struct vhost_memory, region), do_mem_table, false},
	{VHOST_SET_LOG_BASE, sizeof(struct vhost_log), do_mem_log, true},
	{VHOST_SET_LOG_FD, 0, set_log_fd, false},
	{VHOST_SET_VRING_NUM, sizeof(struct vhost_vring_state), do_ring_num, false},
	{VHOST_SET_VRING_ADDR, sizeof(struct vhost_vring_addr), do_ring_addr, false},
	{VHOST_SET_VRING_BASE, sizeof(struct vhost_vring_state), do_ring_base, false},
	{VHOST_GET_VRING_BASE, sizeof(struct vhost_vring_state), get_base, true},
	{VHOST_SET_VRING_KICK, 8, do_ring_kick, false},
	{VHOST_SET_VRING_CALL, 8, do_ring_call, false},
	{VHOST_SET_VRING_ERR, 8, do_ring_err, false},
	{VHOST_GET_PROTOCOL_FEATURES, 0, get_protocol, true},
	{VHOST_SET_PROTOCOL_FEATURES, 8, set_protocol, false},
	{VHOST_GET_QUEUE_NUM, 0, get_queue_num, true},
	{VHOST_SET_VRING_ENABLE, sizeof(struct vhost_vring_state), do_ring_enable, false},
	{VHOST_SET_BACKEND_REQ_FD, 0, set_backend_fd, false},
	{VHOST_GET_CONFIG, offsetof(struct vhost_config, data), get_config, true},
	{VHOST_SET_CONFIG, offsetof(struct vhost_config, data), set_config, false},
	{VHOST_GET_INFLIGHT_FD, offsetof(struct vhost_inflight, padding), do_inflight_get, true},
	{VHOST_SET_INFLIGHT_FD, offsetof(struct vhost_inflight, padding), do_inflight_set, false},
	{VHOST_RESET_DEVICE, 0, reset, false},
	{VHOST_GET_MAX_MEM_SLOTS, 0, get_max_mem_slots, true},
	{VHOST_ADD_MEM_REG, sizeof(struct vhost_mem_reg), do_mem_add, false},
	{VHOST_REM_MEM_REG, sizeof(struct vhost_mem_reg), do_mem_remove, false},
	{VHOST_SET_STATUS, 8, set_status, false},
	{VHOST_GET_STATUS, 0, get_status, true},
	{VHOST_SET_PAGE_BITS, 0, do_mem_bits, false},
};

/* ---- the connection ---- */

/*
 * Everything of this front-end goes. May free the server: nothing comes after it.
 */
static void hang_up(struct vhost_server *s, const struct err *why)
{
	uint64_t n;

	loop_del(s->loop, &s->sock);
	vhost_rings_forget(s);
	vhost_mem_forget(s);
	if (s->back >= 0)
		close(s->back);
	s->back = -1;
	s->failed = false;
	if (read(s->fail.fd, &n, sizeof n) < 0)
		n = 0; /* nothing had been noted */
	s->features = s->protocol = 0;
	s->status = 0;
	close(s->sock.fd);
	s->sock.fd = -1;
	s->gone(s->arg, why);
}

void vhost_back_failed_locked(struct vhost_server *s, int code, const char *what)
{
	uint64_t one = 1;

	if (s->failed)
		return;
	s->failed = true;
	err_set(&s->why, code, "the front-end: %s", what);
	if (write(s->fail.fd, &one, sizeof one) < 0)
		return; /* cannot be full */
}

static void fail_ready(struct watch *w, uint32_t events)
{
	struct vhost_server *s = CONTAINER_OF(w, struct vhost_server, fail);
	struct err why;
	bool failed;
	uint64_t n;

	(void)events;
	pthread_mutex_lock(&s->back_lock);
	failed = s->failed;
	why = s->why;
	pthread_mutex_unlock(&s->back_lock);
	if (s->sock.fd >= 0 && failed)
		hang_up(s, &why);
	else if (read(w->fd, &n, sizeof n) < 0)
		return;
}

static void config_changed(void *arg)
{
	struct vhost_server *s = arg;
	struct vhost_msg m = {.h = {VHOST_BACK_CONFIG_CHANGE, VHOST_VERSION, 0}};
	int rc;

	pthread_mutex_lock(&s->back_lock);
	if (s->back >= 0 && !s->failed && s->protocol & BIT(VHOST_P_CONFIG)) {
		rc = vhost_send(s->back, &m, PEER_WAIT_MS);
		if (rc)
			vhost_back_failed_locked(s, -rc, "does not take messages on the back-end channel");
	}
	pthread_mutex_unlock(&s->back_lock);
}

/* 0, or -errno: the connection is of no use any more. */
static int handle(struct vhost_server *s, struct vhost_msg *m, struct err *e)
{
	static struct log_rate rate;
	struct vhost_msg reply = {.h = {m->h.request, VHOST_VERSION | VHOST_REPLY, sizeof reply.p.u64}};
	const struct request *q = NULL;
	bool replies;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(requests) && !q; i++)
		if (requests[i].request == m->h.request)
			q = &requests[i];
	if (!q)
		rc = err_set(e, ENOTSUP, "unknown message");
	else if (m->h.flags & VHOST_REPLY)
		rc = err_set(e, EPROTO, "an answer to no question");
	else if (m->h.size < q->size)
		rc = err_set(e, EPROTO, "%u bytes are too few", m->h.size);
	else
		rc = q->fn(s, m, &reply, e);
	log_debug("vhost", "%s: %s, %u bytes: %s", s->dev->ops->name, vhost_request_name(m->h.request), m->h.size,
		rc ? e->text : "ok");
	replies = q && q->replies;
	if (rc) {
		err_prefix(e, "%s", vhost_request_name(m->h.request));
		s->refused++;
		if (replies || !(m->h.flags & VHOST_NEED_REPLY && s->protocol & BIT(VHOST_P_REPLY_ACK)))
			return rc;
		if (log_rate_ok(&rate))
			log_warn("%s: %s", s->dev->ops->name, e->text);
	}
	if (!replies) {
		if (!(m->h.flags & VHOST_NEED_REPLY && s->protocol & BIT(VHOST_P_REPLY_ACK)))
			return 0;
		reply.h.size = sizeof reply.p.u64;
		reply.p.u64 = rc != 0;
	}
	rc = vhost_send(s->sock.fd, &reply, PEER_WAIT_MS);
	if (rc)
		err_set(e, -rc, "no answer could be sent: %s", strerror(-rc));
	return rc;
}

static void sock_ready(struct watch *w, uint32_t events)
{
	struct vhost_server *s = CONTAINER_OF(w, struct vhost_server, sock);
	struct err e = {.code = 0};
	struct vhost_msg m;
	int rc = vhost_recv(w->fd, &m, PEER_WAIT_MS);

	(void)events;
	if (rc == -EAGAIN)
		return;
	if (!rc) {
		hang_up(s, NULL);
		return;
	}
	if (rc > 0) {
		s->messages++;
		rc = handle(s, &m, &e);
		vhost_msg_close(&m);
		/* it went while we answered */
		if (rc == -EPIPE || rc == -ECONNRESET) {
			hang_up(s, NULL);
			return;
		}
	} else {
		err_set(&e, -rc, "%s",
			rc == -EPROTO ? "the front-end sent what is no vhost-user message" :
			rc == -ETIMEDOUT ? "the front-end sent half a message" : strerror(-rc));
	}
	if (rc < 0)
		hang_up(s, &e);
}

unsigned vhost_server_fds(const struct virtio_dev *dev)
{
	/* kick and err of each queue; the back-end's channel; another front-end; one message, and one too many */
	return 2u * dev->nqueues + 1 + 1 + VHOST_FDS + 1;
}

int vhost_server_new(struct vhost_server **out, struct loop *l, int sock, struct virtio_dev *dev,
	void (*gone)(void *arg, const struct err *why), void *arg, struct err *e)
{
	struct vhost_server *s = xcalloc(1, sizeof *s);
	int rc;

	assert(dev->nqueues && dev->nqueues <= VIRTIO_QUEUES && dev->queue_size <= VIRTIO_QUEUE_MAX);
	assert(dev->queue_size && !(dev->queue_size & (dev->queue_size - 1)));
	s->loop = l;
	s->dev = dev;
	s->gone = gone;
	s->arg = arg;
	s->back = s->inflight_fd = s->nowhere = -1;
	s->sock = (struct watch){.fd = -1, .ready = sock_ready};
	s->fail = (struct watch){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = fail_ready};
	pthread_mutex_init(&s->back_lock, NULL);
	mem_init_empty(&s->mem);
	s->ring = xcalloc(dev->nqueues, sizeof *s->ring);
	s->nowhere = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->fail.fd < 0 || s->nowhere < 0) {
		rc = err_set(e, errno, "eventfd: %s", strerror(errno));
		goto fail;
	}
	for (unsigned i = 0; i < dev->nqueues; i++) {
		rc = vhost_ring_init(&s->ring[i], s, i);
		if (rc) {
			err_set(e, -rc, "eventfd: %s", strerror(-rc));
			goto fail;
		}
	}
	rc = vhost_inflight_new(s, e);
	if (rc)
		goto fail;
	rc = loop_add(l, &s->fail, EPOLLIN);
	if (!rc)
		rc = vhost_server_again(s, sock);
	if (rc) {
		err_set(e, -rc, "cannot watch the vhost-user socket: %s", strerror(-rc));
		goto fail;
	}
	dev->config_changed_arg = s;
	dev->config_changed = config_changed;
	*out = s;
	return 0;
fail:
	vhost_server_free(s);
	return rc;
}

int vhost_server_again(struct vhost_server *s, int sock)
{
	int rc;

	assert(s->sock.fd < 0);
	if (s->front_ends && s->dev->ops->reset)
		s->dev->ops->reset(s->dev);
	s->sock.fd = sock;
	rc = loop_add(s->loop, &s->sock, EPOLLIN);
	if (rc)
		s->sock.fd = -1;
	else
		s->front_ends++;
	return rc;
}

void vhost_server_free(struct vhost_server *s)
{
	if (!s)
		return;
	s->dev->config_changed = NULL;
	loop_del(s->loop, &s->sock);
	loop_del(s->loop, &s->fail);
	if (s->sock.fd >= 0) {
		vhost_rings_forget(s);
		close(s->sock.fd);
	}
	vhost_mem_forget(s);
	vhost_inflight_free(s);
	for (unsigned i = 0; i < s->dev->nqueues; i++)
		vhost_ring_fini(&s->ring[i]);
	if (s->back >= 0)
		close(s->back);
	if (s->fail.fd >= 0)
		close(s->fail.fd);
	if (s->nowhere >= 0)
		close(s->nowhere);
	pthread_mutex_destroy(&s->back_lock);
	free(s->ring);
	free(s);
}

/* ---- counters ---- */

static size_t line(char *buf, size_t len, size_t off, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Whole lines only */
static size_t line(char *buf, size_t len, size_t off, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf + off, len - off, fmt, ap);
	va_end(ap);
	return n > 0 && (size_t)n < len - off ? off + (size_t)n : off;
}

static const struct {
	const char *name;
	size_t off;
} counters[] = {
	{"requests", offsetof(struct virtq_counters, requests)},
	{"bytes_out", offsetof(struct virtq_counters, bytes_out)},
	{"bytes_in", offsetof(struct virtq_counters, bytes_in)},
	{"kicks", offsetof(struct virtq_counters, kicks)},
	{"calls", offsetof(struct virtq_counters, calls)},
	{"calls_saved", offsetof(struct virtq_counters, calls_saved)},
	{"resubmitted", offsetof(struct virtq_counters, resubmitted)},
	{"broken", offsetof(struct virtq_counters, broken)},
};

static uint64_t count(const struct vhost_ring *r, size_t off)
{
	/* device threads count while we look */
	return __atomic_load_n((const uint64_t *)(const void *)((const char *)&r->vq.n + off), __ATOMIC_RELAXED);
}

size_t vhost_server_stats(const struct vhost_server *s, char *buf, size_t len)
{
	size_t n = 0;

	if (!len)
		return 0;
	for (size_t c = 0; c < ARRAY_LEN(counters); c++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < s->dev->nqueues; i++)
			sum += count(&s->ring[i], counters[c].off);
		n = line(buf, len, n, "%s %" PRIu64 "\n", counters[c].name, sum);
	}
	n = line(buf, len, n, "front_ends %" PRIu64 "\nmessages %" PRIu64 "\nrefused %" PRIu64 "\ncode_asked %" PRIu64 "\n",
		s->front_ends, s->messages, s->refused, __atomic_load_n(&s->code_asked, __ATOMIC_RELAXED));
	for (unsigned i = 0; i < s->dev->nqueues; i++)
		for (size_t c = 0; c < ARRAY_LEN(counters); c++)
			n = line(buf, len, n, "queue%u.%s %" PRIu64 "\n", i, counters[c].name, count(&s->ring[i], counters[c].off));
	return n;
}
