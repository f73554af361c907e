/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as the front-end describes it, and three shared tables beside it: the dirty log, the page bits, and
 * the in-flight record. All sizes and offsets are the front-end's and are checked against the files; that nobody cuts
 * a file off afterwards is up to the front-end, which would hurt only itself.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "vhost/serve-int.h"

enum { BACK_WAIT_MS = 10000, LOG_PAGE = 4096 };

/* len bytes of fd from off, shared; NULL with words. */
static void *map(int fd, uint64_t off, uint64_t len, int prot, const char *what, struct err *e)
{
	struct stat st;
	void *p;

	if (!len || len > SIZE_MAX || off + len < off || off % MEM_PAGE) {
		err_set(e, EINVAL, "%s of %" PRIu64 " bytes at %" PRIu64 ": cannot be", what, len, off);
		return NULL;
	}
	/* what lies behind the file's end is SIGBUS */
	if (fstat(fd, &st) || (uint64_t)st.st_size < off + len) {
		err_set(e, EINVAL, "%s of %" PRIu64 " bytes is longer than its file", what, len);
		return NULL;
	}
	p = mmap(NULL, (size_t)len, prot, MAP_SHARED, fd, (off_t)off);
	if (p == MAP_FAILED) {
		err_set(e, errno, "cannot map the %s: %s", what, strerror(errno));
		return NULL;
	}
	return p;
}

static int region_add(struct vhost_server *s, const struct vhost_region *g, int fd, struct err *e)
{
	int rc;

	if (s->nregions == ARRAY_LEN(s->region))
		return err_set(e, ENOSPC, "more than %zu memory regions", ARRAY_LEN(s->region));
	rc = mem_attach(&s->mem, g->gpa, g->size, fd, g->mmap_offset, e);
	if (rc)
		return rc;
	s->region[s->nregions++] = *g;
	return 0;
}

static void regions_forget(struct vhost_server *s)
{
	mem_fini(&s->mem);
	s->nregions = 0;
}

int vhost_mem_table(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	uint32_t n = m->p.memory.nregions;
	int rc = 0;

	if (n > VHOST_REGIONS || m->h.size < offsetof(struct vhost_memory, region) + n * sizeof(struct vhost_region))
		return err_set(e, EPROTO, "memory table of %u regions in %u bytes", n, m->h.size);
	if (m->nfds != n)
		return err_set(e, EPROTO, "memory table of %u regions with %u descriptors", n, m->nfds);
	regions_forget(s);
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = region_add(s, &m->p.memory.region[i], m->fds[i], e);
	if (rc)
		regions_forget(s);
	return rc;
}

int vhost_mem_add(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	if (m->nfds != 1)
		return err_set(e, EPROTO, "memory region with %u descriptors", m->nfds);
	return region_add(s, &m->p.mem_reg.region, m->fds[0], e);
}

int vhost_mem_remove(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	const struct vhost_region *g = &m->p.mem_reg.region;

	for (unsigned i = 0; i < s->nregions; i++) {
		struct vhost_region *r = &s->region[i];

		if (r->gpa != g->gpa || r->size != g->size || r->user_addr != g->user_addr)
			continue;
		mem_detach(&s->mem, r->gpa, r->size);
		memmove(r, r + 1, (s->nregions - i - 1) * sizeof *r);
		s->nregions--;
		return 0;
	}
	return err_set(e, ENOENT, "no memory region of 0x%" PRIx64 " bytes at 0x%" PRIx64 " to remove", g->size, g->gpa);
}

uint64_t vhost_mem_gpa(const struct vhost_server *s, uint64_t user)
{
	for (unsigned i = 0; i < s->nregions; i++)
		if (user - s->region[i].user_addr < s->region[i].size)
			return s->region[i].gpa + (user - s->region[i].user_addr);
	return UINT64_MAX;
}

static void log_forget(struct vhost_server *s)
{
	if (s->log)
		munmap(s->log, s->log_len);
	s->log = NULL;
	s->log_len = 0;
}

int vhost_mem_log(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	uint8_t *p;

	if (m->nfds != 1)
		return err_set(e, EPROTO, "dirty log with %u descriptors: husk wants it as one", m->nfds);
	p = map(m->fds[0], m->p.log.offset, m->p.log.size, PROT_READ | PROT_WRITE, "dirty log", e);
	if (!p)
		return -e->code;
	log_forget(s);
	s->log = p;
	s->log_len = (size_t)m->p.log.size;
	return 0;
}

static void bits_forget(struct vhost_server *s)
{
	if (s->bits)
		munmap((void *)(uintptr_t)s->bits, s->bits_len);
	s->bits = NULL;
	s->bits_len = 0;
}

int vhost_mem_bits(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	const uint8_t *p;

	if (m->nfds != 1)
		return err_set(e, EPROTO, "page bits with %u descriptors", m->nfds);
	p = map(m->fds[0], 0, s->mem.npages, PROT_READ, "page bits", e);
	if (!p)
		return -e->code;
	bits_forget(s);
	s->bits = p;
	s->bits_len = (size_t)s->mem.npages;
	return 0;
}

void vhost_mem_forget(struct vhost_server *s)
{
	regions_forget(s);
	log_forget(s);
	bits_forget(s);
	if (s->inflight)
		munmap(s->inflight, s->inflight_len);
	s->inflight = NULL;
}

/* ---- the in-flight record: specification, "Inflight I/O tracking" ---- */

/* Our own for who asks, made here since nothing can be made in the sandbox: the largest that the device can want. */
int vhost_inflight_new(struct vhost_server *s, struct err *e)
{
	size_t len = s->dev->nqueues * virtq_inflight_size(s->dev->queue_size);

	s->inflight_fd = memfd_create("husk-inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->inflight_fd < 0 || ftruncate(s->inflight_fd, (off_t)len) ||
		fcntl(s->inflight_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return err_set(e, errno, "cannot make the in-flight record: %s", strerror(errno));
	s->inflight_own = map(s->inflight_fd, 0, len, PROT_READ | PROT_WRITE, "in-flight record", e);
	if (!s->inflight_own)
		return -e->code;
	s->inflight_own_len = len;
	return 0;
}

void vhost_inflight_free(struct vhost_server *s)
{
	if (s->inflight_own)
		munmap(s->inflight_own, s->inflight_own_len);
	if (s->inflight_fd >= 0)
		close(s->inflight_fd);
}

static int inflight_check(const struct vhost_server *s, const struct vhost_inflight *i, struct err *e)
{
	if (!i->nqueues || !i->queue_size || i->nqueues > s->dev->nqueues || i->queue_size > s->dev->queue_size)
		return err_set(e, EINVAL, "in-flight record for %u queues of %u entries: at most %u of %u", i->nqueues,
			i->queue_size, s->dev->nqueues, s->dev->queue_size);
	return 0;
}

/* An empty one. Who asks again has reset the machine: what the old one said is of no use. */
int vhost_inflight_get(struct vhost_server *s, const struct vhost_msg *m, struct vhost_msg *reply, struct err *e)
{
	const struct vhost_inflight *i = &m->p.inflight;
	int rc = inflight_check(s, i, e);

	if (rc)
		return rc;
	memset(s->inflight_own, 0, s->inflight_own_len);
	reply->h.size = m->h.size < sizeof *i ? m->h.size : sizeof *i;
	reply->p.inflight = *i;
	reply->p.inflight.mmap_size = i->nqueues * virtq_inflight_size(i->queue_size);
	reply->p.inflight.mmap_offset = 0;
	reply->fds[0] = s->inflight_fd;
	reply->nfds = 1;
	return 0;
}

int vhost_inflight_set(struct vhost_server *s, const struct vhost_msg *m, struct err *e)
{
	const struct vhost_inflight *i = &m->p.inflight;
	int rc = inflight_check(s, i, e);
	uint64_t len;
	uint8_t *p;

	if (rc)
		return rc;
	if (m->nfds != 1)
		return err_set(e, EPROTO, "in-flight record with %u descriptors", m->nfds);
	len = i->nqueues * virtq_inflight_size(i->queue_size);
	if (i->mmap_size < len)
		return err_set(e, EINVAL, "in-flight record of %" PRIu64 " bytes: %" PRIu64 " are needed", i->mmap_size,
			len);
	p = map(m->fds[0], i->mmap_offset, len, PROT_READ | PROT_WRITE, "in-flight record", e);
	if (!p)
		return -e->code;
	if (s->inflight)
		munmap(s->inflight, s->inflight_len);
	s->inflight = p;
	s->inflight_len = (size_t)len;
	s->inflight_queues = i->nqueues;
	s->inflight_size = i->queue_size;
	return 0;
}

int vhost_inflight_of(const struct vhost_server *s, const struct vhost_ring *r, struct virtq_inflight **rec,
	struct err *e)
{
	*rec = NULL;
	if (!s->inflight || r->index >= s->inflight_queues)
		return 0;
	if (r->size > s->inflight_size)
		return err_set(e, EINVAL, "ring %u has %u entries, its in-flight record %u", r->index, r->size,
			s->inflight_size);
	*rec = (void *)(s->inflight + r->index * virtq_inflight_size(s->inflight_size));
	return 0;
}

/* ---- what the device wrote ---- */

/* Specification, "Migration". Other writers and the front-end, which clears, are at work at the same time. */
static void log_mark(const struct vhost_server *s, uint64_t gpa, uint64_t len)
{
	for (uint64_t page = gpa / LOG_PAGE; len && page <= (gpa + len - 1) / LOG_PAGE; page++) {
		uint8_t *byte = &s->log[page / 8], bit = (uint8_t)(1u << page % 8);

		if (page / 8 >= s->log_len)
			return;
		if (!(__atomic_load_n(byte, __ATOMIC_RELAXED) & bit))
			__atomic_fetch_or(byte, bit, __ATOMIC_SEQ_CST);
	}
}

/* The front-end is to forget what it translated of [gpa, gpa + len): back when it has, or is lost. */
static void code_ask(struct vhost_server *s, uint64_t gpa, uint64_t len)
{
	struct vhost_msg m = {
		.h = {VHOST_BACK_CODE, VHOST_VERSION | VHOST_NEED_REPLY, sizeof m.p.range},
		.p.range = {gpa, len},
	};
	int rc;

	pthread_mutex_lock(&s->back_lock);
	if (s->failed)
		goto out;
	__atomic_store_n(&s->code_asked, s->code_asked + 1, __ATOMIC_RELAXED); /* for who counts without the lock */
	if (s->back < 0) {
		vhost_back_failed_locked(s, EPROTO, "it gave page bits and no back-end channel");
		goto out;
	}
	rc = vhost_send(s->back, &m, BACK_WAIT_MS);
	if (!rc)
		rc = vhost_recv(s->back, &m, BACK_WAIT_MS);
	if (rc > 0) {
		vhost_msg_close(&m);
		if (m.h.request != VHOST_BACK_CODE || !(m.h.flags & VHOST_REPLY) || m.h.size < sizeof m.p.u64 || m.p.u64)
			vhost_back_failed_locked(s, EPROTO, "wrong answer about translated code");
	} else {
		vhost_back_failed_locked(s, rc ? -rc : EPIPE, "no answer about translated code");
	}
out:
	pthread_mutex_unlock(&s->back_lock);
}

/* One question for pages that lie side by side. Pages that the bits do not reach count as code. */
static void code_check(struct vhost_server *s, uint64_t gpa, uint64_t len)
{
	uint64_t page = mem_page(&s->mem, gpa), end = gpa + len, from = UINT64_MAX, next;

	for (; gpa < end; gpa = next, page++) {
		bool code = page >= s->bits_len || __atomic_load_n(&s->bits[page], __ATOMIC_RELAXED) & MEM_PG_CODE;

		next = min_u64((gpa / MEM_PAGE + 1) * MEM_PAGE, end);
		if (code && from == UINT64_MAX)
			from = gpa;
		if (from != UINT64_MAX && (!code || next == end))
			code_ask(s, from, (code ? next : gpa) - from);
		if (!code)
			from = UINT64_MAX;
	}
}

bool vhost_written_wanted(const struct vhost_server *s)
{
	return (s->log && s->features & VHOST_F_LOG_ALL) || s->bits;
}

/*
 * virtq.c puts a full barrier in front: what the device wrote is seen before the bits are read. An engine sets CODE before
 * it reads code, and a front-end clears the log before it reads pages; so one of both sides sees the other.
 */
void vhost_written(void *arg, uint64_t gpa, uint64_t len)
{
	const struct vhost_ring *r = arg;
	struct vhost_server *s = r->s;

	if (s->log && s->features & VHOST_F_LOG_ALL) {
		uint64_t used_len = 6 + 8ull * r->vq.ring.size;

		log_mark(s, gpa, len);
		/* the used ring may be logged elsewhere */
		if (r->addr.flags & VHOST_VRING_F_LOG && r->addr.log != r->vq.ring.used &&
			gpa - r->vq.ring.used < used_len && len <= used_len)
			log_mark(s, r->addr.log + (gpa - r->vq.ring.used), len);
	}
	if (s->bits)
		code_check(s, gpa, len);
}
