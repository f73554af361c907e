/* SPDX-License-Identifier: MIT */
/*
 * What a front-end says to its back-end, by the vhost-user specification, and what it believes of the answers: numbers
 * within our own limits, lengths as asked for, nothing else. While it waits for an answer it serves the back-end's own
 * channel, since a back-end that gives up its rings may have to ask about translated code first.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "vhost/front-int.h"

/* What we can make use of. LOG_SHMFD: only when the page bits are not to be had, below. */
#define PROTOCOL                                                                                                     \
	(1ull << VHOST_P_MQ | 1ull << VHOST_P_REPLY_ACK | 1ull << VHOST_P_BACKEND_REQ | 1ull << VHOST_P_CONFIG |     \
		1ull << VHOST_P_INFLIGHT_SHMFD | 1ull << VHOST_P_RESET_DEVICE | 1ull << VHOST_P_HUSK_PAGE_BITS |     \
		1ull << VHOST_P_LOG_SHMFD)

static bool has(const struct vhost_front *f, unsigned bit)
{
	return f->protocol & 1ull << bit;
}

/* Waits until the back-end has answered, at most ms. Its own questions are answered meanwhile. */
static int wait_answer(struct vhost_front *f, uint32_t request, struct vhost_msg *r, int ms)
{
	uint64_t deadline = now_ns() + (uint64_t)ms * 1000000;
	int rc;

	for (;;) {
		struct pollfd p[] = {{.fd = f->sock, .events = POLLIN}, {.fd = f->back_watch.fd, .events = POLLIN}};
		uint64_t now = now_ns();

		rc = now < deadline ? poll(p, 2, (int)((deadline - now) / 1000000) + 1) : 0;
		if (rc < 0 && errno == EINTR)
			continue;
		if (rc <= 0)
			return err_set(&f->why, rc ? errno : ETIMEDOUT, "no answer to %s within %d s",
				vhost_request_name(request), ms / 1000);
		if (p[1].revents && front_back_message(f))
			return -f->why.code;
		if (p[0].revents)
			break;
	}
	rc = vhost_recv(f->sock, r, f->cfg.answer_ms);
	if (rc == 0)
		return err_set(&f->why, EPIPE, "the process has ended");
	if (rc < 0)
		return err_set(&f->why, -rc, "the answer to %s: %s", vhost_request_name(request), strerror(-rc));
	if (r->h.request == request && r->h.flags & VHOST_REPLY)
		return 0;
	vhost_msg_close(r);
	return err_set(&f->why, EPROTO, "the answer to %s is something else", vhost_request_name(request));
}

static int say(struct vhost_front *f, struct vhost_msg *m)
{
	int rc;

	m->h.flags = VHOST_VERSION | (m->h.flags & VHOST_NEED_REPLY);
	rc = vhost_send(f->sock, m, f->cfg.answer_ms);
	return rc ? err_set(&f->why, -rc, "%s: %s", vhost_request_name(m->h.request),
			    rc == -EPIPE || rc == -ECONNRESET ? "the process has ended" : strerror(-rc))
		  : 0;
}

/* Sends m and overwrites it with the answer, whose payload has size bytes. */
static int ask(struct vhost_front *f, struct vhost_msg *m, uint32_t size, int ms)
{
	struct vhost_msg r;
	int rc = say(f, m);

	if (!rc)
		rc = wait_answer(f, m->h.request, &r, ms);
	if (rc)
		return rc;
	if (r.h.size != size) {
		vhost_msg_close(&r);
		return err_set(&f->why, EPROTO, "the answer to %s has %u bytes where %u are right",
			vhost_request_name(m->h.request), r.h.size, size);
	}
	*m = r;
	return 0;
}

static int ask_u64(struct vhost_front *f, uint32_t request, uint64_t *v)
{
	struct vhost_msg m = {.h = {.request = request}};
	int rc = ask(f, &m, sizeof m.p.u64, f->cfg.answer_ms);

	if (rc)
		return rc;
	vhost_msg_close(&m);
	*v = m.p.u64;
	return 0;
}

/* Tells something; with REPLY_ACK the back-end says whether it could do it. */
static int tell(struct vhost_front *f, struct vhost_msg *m)
{
	const uint32_t request = m->h.request;
	int rc;

	if (!has(f, VHOST_P_REPLY_ACK))
		return say(f, m);
	m->h.flags = VHOST_NEED_REPLY;
	rc = ask(f, m, sizeof m->p.u64, f->cfg.drain_ms);
	if (rc)
		return rc;
	vhost_msg_close(m);
	return m->p.u64 ? err_set(&f->why, EPROTO, "%s: the process says it cannot", vhost_request_name(request)) : 0;
}

static int tell_u64(struct vhost_front *f, uint32_t request, uint64_t v)
{
	struct vhost_msg m = {.h = {.request = request, .size = sizeof m.p.u64}, .p.u64 = v};

	return tell(f, &m);
}

static int tell_state(struct vhost_front *f, uint32_t request, unsigned q, unsigned num)
{
	struct vhost_msg m = {.h = {.request = request, .size = sizeof m.p.state}, .p.state = {q, num}};

	return tell(f, &m);
}

static int tell_fd(struct vhost_front *f, uint32_t request, uint64_t v, int fd)
{
	struct vhost_msg m = {.h = {.request = request, .size = sizeof m.p.u64}, .p.u64 = v, .fds = {fd}, .nfds = 1};

	return tell(f, &m);
}

/* ---- hello ---- */

int front_config_get(struct vhost_front *f)
{
	const uint32_t len = f->cfg.config_len, head = offsetof(struct vhost_config, data);
	struct vhost_msg m = {.h = {.request = VHOST_GET_CONFIG, .size = head + len}, .p.config = {.size = len}};
	int rc;

	if (!len || f->config_mine)
		return 0;
	rc = ask(f, &m, head + len, f->cfg.answer_ms);
	if (rc)
		return rc;
	vhost_msg_close(&m);
	pthread_mutex_lock(&f->lock);
	memcpy(f->config, m.p.config.data, len);
	pthread_mutex_unlock(&f->lock);
	return 0;
}

int front_config_put(struct vhost_front *f, uint32_t off, uint32_t len)
{
	const uint32_t head = offsetof(struct vhost_config, data);
	struct vhost_msg m = {.h = {.request = VHOST_SET_CONFIG, .size = head + len},
		.p.config = {.offset = off, .size = len}};

	if (f->config_mine)
		return 0;
	pthread_mutex_lock(&f->lock);
	memcpy(m.p.config.data, f->config + off, len);
	pthread_mutex_unlock(&f->lock);
	return tell(f, &m);
}

static int hello_protocol(struct vhost_front *f, bool first)
{
	uint64_t p, n = f->cfg.nqueues;
	int rc = ask_u64(f, VHOST_GET_PROTOCOL_FEATURES, &p);

	if (rc)
		return rc;
	p &= PROTOCOL;
	if (!f->cfg.translated)
		p &= ~(1ull << VHOST_P_HUSK_PAGE_BITS);
	/* the log is for those who cannot do it better */
	if (!f->cfg.translated || p & 1ull << VHOST_P_HUSK_PAGE_BITS)
		p &= ~(1ull << VHOST_P_LOG_SHMFD);
	if (!first && (f->protocol & ~p))
		return err_set(&f->why, EPROTO, "it lacks protocol features that its predecessor had (0x%" PRIx64 ")",
			f->protocol & ~p);
	f->protocol = first ? p : f->protocol;
	{
		struct vhost_msg m = {.h = {.request = VHOST_SET_PROTOCOL_FEATURES, .size = sizeof m.p.u64},
			.p.u64 = f->protocol};

		rc = say(f, &m); /* answers are what this is about: none for itself */
	}
	if (!rc && has(f, VHOST_P_MQ))
		rc = ask_u64(f, VHOST_GET_QUEUE_NUM, &n);
	if (rc)
		return rc;
	if (!n || (!first && n < f->nqueues))
		return err_set(&f->why, EPROTO, "it has %" PRIu64 " queues", n);
	if (first)
		f->nqueues = (uint16_t)min_u64(n, f->cfg.nqueues);
	return 0;
}

/* The channel for its questions: what the last back-end left in it goes first. */
static int hello_channel(struct vhost_front *f)
{
	char old[256];

	while (recv(f->back_watch.fd, old, sizeof old, MSG_DONTWAIT) > 0)
		;
	while (recv(f->back_peer, old, sizeof old, MSG_DONTWAIT) > 0)
		;
	struct vhost_msg m = {.h = {.request = VHOST_SET_BACKEND_REQ_FD}, .fds = {f->back_peer}, .nfds = 1};

	return tell(f, &m);
}

int front_hello(struct vhost_front *f, bool first)
{
	uint64_t offered, ours;
	int rc;

	if (first)
		f->nqueues = f->cfg.nqueues;
	rc = ask_u64(f, VHOST_GET_FEATURES, &offered);
	if (rc)
		return rc;
	if (first)
		f->has_protocol = offered & VHOST_F_PROTOCOL_FEATURES;
	ours = offered & f->cfg.features;
	if (!(ours & VIRTIO_F_VERSION_1))
		return err_set(&f->why, EPROTO, "it offers no virtio 1 device");
	if (!first && (f->features & ~ours || (f->has_protocol && !(offered & VHOST_F_PROTOCOL_FEATURES))))
		return err_set(&f->why, EPROTO, "it lacks features that its predecessor had (0x%" PRIx64 ")",
			f->features & ~ours);
	f->features = first ? ours : f->features;
	if (f->has_protocol) {
		rc = hello_protocol(f, first);
		if (rc)
			return rc;
	}
	if (f->cfg.translated && !has(f, VHOST_P_HUSK_PAGE_BITS) &&
		!(has(f, VHOST_P_LOG_SHMFD) && offered & VHOST_F_LOG_ALL))
		return err_set(&f->why, EPROTO, "it cannot say which memory it writes (LOG_SHMFD), which an engine that "
			"translates code must know: use --engine kvm, or another back-end");
	f->config_mine = !has(f, VHOST_P_CONFIG);
	if (f->config_mine && f->cfg.config_len && !f->cfg.config)
		return err_set(&f->why, EPROTO, "it has no configuration (CONFIG)");
	{
		struct vhost_msg m = {.h = {.request = VHOST_SET_OWNER}};

		rc = tell(f, &m);
	}
	if (!rc && has(f, VHOST_P_BACKEND_REQ))
		rc = hello_channel(f);
	if (!rc)
		rc = front_config_get(f);
	return rc;
}

/* ---- rings ---- */

static int tell_memory(struct vhost_front *f)
{
	const struct mem *mem = f->cfg.mem;
	struct vhost_msg m = {.h = {.request = VHOST_SET_MEM_TABLE}};

	/* our "user addresses" are guest addresses: they tell nobody where this process has its memory */
	for (unsigned i = 0; i < mem->nregions && i < VHOST_REGIONS; i++) {
		const struct mem_region *r = &mem->region[i];

		m.p.memory.region[i] = (struct vhost_region){r->gpa, r->len, r->gpa, r->fd_off};
		m.fds[i] = mem->fd;
		m.nfds++;
	}
	m.p.memory.nregions = m.nfds;
	m.h.size = (uint32_t)(offsetof(struct vhost_memory, region) + m.nfds * sizeof(struct vhost_region));
	return tell(f, &m);
}

/* A new record for rings that begin, the old one for those that go on. */
static int tell_inflight(struct vhost_front *f)
{
	struct vhost_msg m = {.h = {.request = VHOST_GET_INFLIGHT_FD, .size = sizeof m.p.inflight}};
	int rc;

	if (f->inflight_fd < 0) {
		m.p.inflight.nqueues = f->nqueues;
		m.p.inflight.queue_size = f->cfg.queue_size;
		rc = ask(f, &m, sizeof m.p.inflight, f->cfg.answer_ms);
		if (rc)
			return rc;
		if (m.nfds != 1) {
			vhost_msg_close(&m);
			return err_set(&f->why, EPROTO, "GET_INFLIGHT_FD brought no descriptor");
		}
		f->inflight_fd = m.fds[0];
		f->inflight = m.p.inflight;
	}
	m = (struct vhost_msg){.h = {.request = VHOST_SET_INFLIGHT_FD, .size = sizeof m.p.inflight},
		.p.inflight = f->inflight, .fds = {f->inflight_fd}, .nfds = 1};
	m.p.inflight.nqueues = f->nqueues;
	m.p.inflight.queue_size = f->cfg.queue_size;
	return tell(f, &m);
}

static int tell_log(struct vhost_front *f)
{
	struct vhost_msg m = {.h = {.request = VHOST_SET_LOG_BASE, .size = sizeof m.p.log},
		.p.log = {.size = f->log_size}, .fds = {f->log_fd}, .nfds = 1};
	int rc = say(f, &m);

	/* this one is always answered when LOG_SHMFD is in use; what with is not agreed upon */
	if (!rc)
		rc = wait_answer(f, VHOST_SET_LOG_BASE, &m, f->cfg.answer_ms);
	if (!rc)
		vhost_msg_close(&m);
	return rc;
}

static int start_queue(struct vhost_front *f, unsigned i)
{
	const struct front_queue *q = &f->q[i];
	struct vhost_msg addr = {.h = {.request = VHOST_SET_VRING_ADDR, .size = sizeof addr.p.addr},
		.p.addr = {.index = i, .flags = f->log ? VHOST_VRING_F_LOG : 0, .desc = q->ring.desc, .used = q->ring.used,
			.avail = q->ring.avail, .log = q->ring.used}};
	uint16_t base = 0;
	int rc;

	/* what is in the ring's used index is done; the in-flight record has the rest */
	if (f->resume && mem_get(f->cfg.mem, q->ring.used + 2, &base, sizeof base))
		base = 0;
	rc = tell_state(f, VHOST_SET_VRING_NUM, i, q->ring.size);
	rc = rc ? rc : tell_state(f, VHOST_SET_VRING_BASE, i, base);
	rc = rc ? rc : tell(f, &addr);
	rc = rc ? rc : tell_fd(f, VHOST_SET_VRING_CALL, i, q->call.fd);
	rc = rc ? rc : tell_fd(f, VHOST_SET_VRING_ERR, i, q->err.fd);
	rc = rc ? rc : tell_fd(f, VHOST_SET_VRING_KICK, i, q->kick_fd);
	if (!rc && f->has_protocol)
		rc = tell_state(f, VHOST_SET_VRING_ENABLE, i, 1);
	return rc;
}

int front_start(struct vhost_front *f)
{
	uint64_t features = f->run_features;
	int rc = 0;

	if (f->has_protocol)
		features |= VHOST_F_PROTOCOL_FEATURES;
	if (f->log)
		features |= VHOST_F_LOG_ALL;
	if (f->log)
		rc = tell_log(f);
	rc = rc ? rc : tell_u64(f, VHOST_SET_FEATURES, features);
	rc = rc ? rc : tell_memory(f);
	if (!rc && has(f, VHOST_P_HUSK_PAGE_BITS))
		rc = tell_fd(f, VHOST_SET_PAGE_BITS, f->cfg.mem->npages, f->bits_fd);
	if (!rc && has(f, VHOST_P_INFLIGHT_SHMFD))
		rc = tell_inflight(f);
	for (unsigned i = 0; i < f->nqueues && !rc; i++)
		if (f->q[i].ring.enabled)
			rc = start_queue(f, i);
	return rc;
}

int front_stop(struct vhost_front *f)
{
	int rc = 0;

	/* a successor that has not been told of rings may still have what its predecessor left, and lets go of it at a reset */
	for (unsigned i = 0; f->on && i < f->nqueues && !rc; i++) {
		struct vhost_msg m = {.h = {.request = VHOST_GET_VRING_BASE, .size = sizeof m.p.state},
			.p.state = {i, 0}};

		if (!f->q[i].ring.enabled)
			continue;
		rc = ask(f, &m, sizeof m.p.state, f->cfg.drain_ms);
		if (!rc)
			vhost_msg_close(&m);
	}
	if (!rc && has(f, VHOST_P_RESET_DEVICE)) {
		struct vhost_msg m = {.h = {.request = VHOST_RESET_DEVICE}};

		rc = tell(f, &m);
	}
	if (!rc)
		f->on = false;
	return rc;
}

/* ---- what the back-end asks ---- */

static bool in_ram(const struct mem *mem, const struct vhost_range *r)
{
	return r->len && mem_at(mem, r->gpa, r->len);
}

int front_back_message(struct vhost_front *f)
{
	struct vhost_msg m;
	uint64_t answer = 0;
	int rc = vhost_recv(f->back_watch.fd, &m, f->cfg.answer_ms);

	if (rc <= 0)
		return err_set(&f->why, rc ? -rc : EPIPE, "its channel: %s", rc ? strerror(-rc) : "ended");
	vhost_msg_close(&m);
	switch (m.h.request) {
	case VHOST_BACK_CONFIG_CHANGE:
		/* not now: we may be waiting for another answer, and they come in order */
		f->config_stale = true;
		vhost_front_wake(f);
		break;
	case VHOST_BACK_CODE:
		if (m.h.size == sizeof m.p.range && in_ram(f->cfg.mem, &m.p.range)) {
			f->cfg.code_changed(f->cfg.arg, m.p.range.gpa, m.p.range.len);
			atomic_fetch_add_explicit(&f->ncode, 1, memory_order_relaxed);
		} else {
			answer = EINVAL;
		}
		break;
	default:
		answer = ENOSYS;
	}
	if (!(m.h.flags & VHOST_NEED_REPLY))
		return 0;
	m = (struct vhost_msg){.h = {m.h.request, VHOST_VERSION | VHOST_REPLY, sizeof m.p.u64}, .p.u64 = answer};
	rc = vhost_send(f->back_watch.fd, &m, f->cfg.answer_ms);
	return rc ? err_set(&f->why, -rc, "its channel: %s", strerror(-rc)) : 0;
}

/*
 * A foreign back-end marks what it writes before it says so in the ring, but does not wait for us: a guest that looks into
 * the ring before this interrupt could run stale translations of a page that held code and was then read from the
 * device. Back-ends with page bits have no such gap.
 */
void front_log_scan(struct vhost_front *f)
{
	const struct mem *mem = f->cfg.mem;

	for (uint64_t w = 0; w < f->log_size / 8; w++) {
		uint64_t bits;

		if (likely(!__atomic_load_n(&f->log[w], __ATOMIC_RELAXED)))
			continue;
		bits = __atomic_exchange_n(&f->log[w], 0, __ATOMIC_SEQ_CST);
		for (; bits; bits &= bits - 1) {
			uint64_t gpa = (w * 64 + (unsigned)__builtin_ctzll(bits)) * MEM_PAGE, page = mem_page(mem, gpa);

			if (page == UINT64_MAX)
				continue;
			__atomic_fetch_or(&mem->page_bits[page], MEM_PG_DIRTY, __ATOMIC_SEQ_CST);
			if (__atomic_load_n(&mem->page_bits[page], __ATOMIC_SEQ_CST) & MEM_PG_CODE) {
				f->cfg.code_changed(f->cfg.arg, gpa, MEM_PAGE);
				atomic_fetch_add_explicit(&f->ncode, 1, memory_order_relaxed);
			}
		}
	}
}
