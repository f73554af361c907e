/* SPDX-License-Identifier: MIT */
/*
 * How the two sides meet (scanout-int.h has the layout):
 *
 *	mode, cursor's picture   a sequence lock each: odd while the producer writes. A reader tries a few times; if it does not
 *	                         get a consistent copy, because the producer is at work, dead or hostile, it stays with what it
 *	                         had. A commit follows each change, and so the next look is not far
 *	cursor's place           one 64-bit word
 *	damage                   a ring, and a counter of the entries ever written. The slot of entry N is that of entry
 *	                         N + SCANOUT_RING, which may be half written while the counter is still N + SCANOUT_RING: so a reader that is
 *	                         SCANOUT_RING or more behind has missed something, and takes the whole picture. It looks at the counter before and
 *	                         after. Readers leave no trace, so any number of them may look
 *	commits                  a counter, and a futex; and an eventfd for those with an event loop
 *
 * Damage is collected between two commits, joined, and published with the second: after the pixels were written, which the store
 * to the counter (release) orders. Pixels themselves are not ordered with anything: who reads them while they change sees
 * the damage of that change later.
 *
 * In a mode change the lock stays odd until the old pixels are gone, so that no reader takes them for the new ones. A producer
 * that dies there leaves it odd; scanout_open() makes that "off".
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "display/rects-int.h"
#include "display/scanout-int.h"

enum { TRIES = 16, PENDING = 16, SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

/* ---- the file ---- */

int scanout_create(const char *name, struct err *e)
{
	struct scanout_header h = {.magic = SCANOUT_MAGIC, .version = SCANOUT_VERSION};
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

	if (fd < 0)
		return err_set(e, errno, "cannot create the memory of a screen: memfd_create: %s", strerror(errno));
	/* 0400: a reader may not open it again for writing */
	if (!ftruncate(fd, (off_t)SCANOUT_SIZE) && pwrite(fd, &h, sizeof h, 0) == (ssize_t)sizeof h &&
		!fcntl(fd, F_ADD_SEALS, SEALS) && !fchmod(fd, 0400))
		return fd;
	rc = err_set(e, errno, "cannot create the memory of a screen: %s", strerror(errno));
	close(fd);
	return rc;
}

int scanout_reader(int fd, struct err *e)
{
	char path[32];
	int r;

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	r = open(path, O_RDONLY | O_CLOEXEC);
	return r < 0 ? err_set(e, errno, "cannot open the memory of a screen for reading: %s: %s", path, strerror(errno)) : r;
}

bool scanout_mode_ok(uint32_t w, uint32_t h)
{
	return w && h && w <= SCANOUT_SIDE_MAX && h <= SCANOUT_SIDE_MAX && 4ull * w * h <= SCANOUT_PIXELS_MAX;
}

/* The file must be what scanout_create() makes: above all, nobody can make it shorter under us. */
static int map(void **p, int fd, int prot, struct err *e)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) || (uint64_t)st.st_size != SCANOUT_SIZE)
		return err_set(e, EINVAL, "descriptor %d is not the memory of a screen", fd);
	*p = mmap(NULL, SCANOUT_SIZE, prot, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (*p == MAP_FAILED)
		return err_set(e, errno, "cannot map the memory of a screen: %s", strerror(errno));
	return 0;
}

static bool ours(const struct scanout_header *h)
{
	return h->magic == SCANOUT_MAGIC && h->version == SCANOUT_VERSION;
}

static int not_ours(void *p, int fd, struct err *e)
{
	munmap(p, SCANOUT_SIZE);
	return err_set(e, EINVAL, "descriptor %d is the memory of a screen of another version", fd);
}

static uint32_t load(const _Atomic uint32_t *p)
{
	return atomic_load_explicit(p, memory_order_relaxed);
}

static void store(_Atomic uint32_t *p, uint32_t v)
{
	atomic_store_explicit(p, v, memory_order_relaxed);
}

static struct surface surface_at(void *base, uint32_t w, uint32_t h)
{
	return (struct surface){w, h, w * 4, (uint8_t *)base + SCANOUT_HEADER};
}

/* ---- producer ---- */

struct scanout {
	struct scanout_header *h;
	int fd, event_fd;
	struct surface s; /* w 0: off */
	uint64_t head;
	struct rect pending[PENDING];
	unsigned npending;
	bool changed; /* since the last commit */
};

static void seq_begin(_Atomic uint32_t *seq)
{
	store(seq, load(seq) | 1);
	atomic_thread_fence(memory_order_release);
}

static void seq_end(_Atomic uint32_t *seq)
{
	atomic_store_explicit(seq, load(seq) + 1, memory_order_release);
}

/* The first len bytes of the pixels are zeroes again, and cost no memory. */
static void pixels_drop(struct scanout *s, uint64_t len)
{
	if (len && fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)SCANOUT_HEADER, (off_t)align_up(len, 4 * KIB)))
		memset((uint8_t *)s->h + SCANOUT_HEADER, 0, len);
}

/* The mode's lock is odd, or becomes so; old: bytes of the picture that was there */
static void mode_set(struct scanout *s, uint32_t w, uint32_t h, uint64_t old)
{
	struct scanout_header *d = s->h;

	seq_begin(&d->mode_seq);
	pixels_drop(s, old);
	store(&d->w, w);
	store(&d->h, h);
	store(&d->generation, load(&d->generation) + 1);
	seq_end(&d->mode_seq);
	s->s = surface_at(d, w, h);
	s->npending = 0;
	s->changed = true;
}

static uint64_t bytes_of(const struct surface *s)
{
	return (uint64_t)s->stride * s->h;
}

int scanout_open(struct scanout **out, int fd, int event_fd, struct err *e)
{
	struct scanout *s;
	void *p;
	int rc = map(&p, fd, PROT_READ | PROT_WRITE, e);

	if (rc)
		return rc;
	if (!ours(p))
		return not_ours(p, fd, e);
	s = xcalloc(1, sizeof *s);
	s->h = p;
	s->fd = fd;
	s->event_fd = event_fd;
	s->head = atomic_load(&s->h->head);
	s->s = surface_at(p, load(&s->h->w), load(&s->h->h));
	/* what the one before has left */
	if (load(&s->h->cursor_seq) & 1)
		scanout_cursor(s, 0, 0, 0, 0, NULL);
	if (load(&s->h->mode_seq) & 1 || (s->s.w && !scanout_mode_ok(s->s.w, s->s.h)))
		mode_set(s, 0, 0, SCANOUT_PIXELS_MAX);
	scanout_damage(s, (struct rect){0, 0, UINT32_MAX, UINT32_MAX});
	scanout_commit(s);
	*out = s;
	return 0;
}

void scanout_close(struct scanout *s)
{
	if (!s)
		return;
	scanout_commit(s);
	munmap(s->h, SCANOUT_SIZE);
	free(s);
}

bool scanout_mode(struct scanout *s, uint32_t w, uint32_t h, struct surface *out)
{
	if (!scanout_mode_ok(w, h))
		return false;
	if (s->s.w != w || s->s.h != h)
		mode_set(s, w, h, bytes_of(&s->s));
	*out = s->s;
	return true;
}

void scanout_off(struct scanout *s)
{
	if (s->s.w)
		mode_set(s, 0, 0, bytes_of(&s->s));
}

static void damage_publish(struct scanout *s)
{
	for (unsigned i = 0; i < s->npending; i++) {
		struct rect r = s->pending[i];

		/* who reads what is written now where an older entry was sees a counter that says so */
		atomic_thread_fence(memory_order_release);
		atomic_store_explicit(&s->h->ring[s->head++ % SCANOUT_RING],
			(uint64_t)r.x | (uint64_t)r.y << 16 | (uint64_t)r.w << 32 | (uint64_t)r.h << 48, memory_order_relaxed);
		atomic_store_explicit(&s->h->head, s->head, memory_order_release);
	}
	s->npending = 0;
}

void scanout_damage(struct scanout *s, struct rect r)
{
	r = rect_clip(r, s->s.w, s->s.h);
	if (rect_empty(r))
		return;
	s->changed = true;
	if (s->npending == PENDING)
		damage_publish(s);
	s->npending = rects_add(s->pending, s->npending, PENDING, r);
}

void scanout_cursor(struct scanout *s, uint32_t w, uint32_t h, uint32_t hot_x, uint32_t hot_y, const uint32_t *px)
{
	struct scanout_header *d = s->h;

	if (!px || !w || !h)
		w = h = 0;
	assert(w <= SCANOUT_CURSOR_MAX && h <= SCANOUT_CURSOR_MAX);
	seq_begin(&d->cursor_seq);
	store(&d->cursor_generation, load(&d->cursor_generation) + 1);
	store(&d->cursor_w, w);
	store(&d->cursor_h, h);
	store(&d->cursor_hot_x, hot_x);
	store(&d->cursor_hot_y, hot_y);
	for (uint32_t i = 0; i < w * h; i++)
		store(&d->cursor_px[i], px[i]);
	seq_end(&d->cursor_seq);
	s->changed = true;
}

void scanout_cursor_at(struct scanout *s, int32_t x, int32_t y)
{
	atomic_store_explicit(&s->h->cursor_at, (uint32_t)x | (uint64_t)(uint32_t)y << 32, memory_order_relaxed);
	s->changed = true;
}

void scanout_commit(struct scanout *s)
{
	uint64_t one = 1;

	if (!s->changed)
		return;
	s->changed = false;
	damage_publish(s);
	atomic_fetch_add_explicit(&s->h->commits, 1, memory_order_release);
	syscall(SYS_futex, &s->h->commits, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	if (s->event_fd >= 0 && write(s->event_fd, &one, sizeof one) < 0) {
		/* the counter is full: they know */
	}
}

/* ---- consumer ---- */

struct scanout_view {
	struct scanout_header *h; /* mapped for reading */
	struct surface s;         /* the last consistent mode; w 0: off, or none yet */
	uint32_t theirs;          /* its generation by the producer's counting */
	uint32_t generation;      /* ours: changes with any of the three */
	uint32_t damage_generation;
	uint64_t tail;
	uint64_t cursor_at;
	bool picture_known, place_known; /* of the cursor */
	uint32_t commits;
	struct scanout_view_cursor cursor, copy; /* the last consistent one; room to become the next */
};

int scanout_view_open(struct scanout_view **out, int fd, struct err *e)
{
	struct scanout_view *v;
	void *p;
	int rc = map(&p, fd, PROT_READ, e);

	if (rc)
		return rc;
	if (!ours(p))
		return not_ours(p, fd, e);
	v = xcalloc(1, sizeof *v);
	v->h = p;
	v->commits = load(&v->h->commits);
	*out = v;
	return 0;
}

void scanout_view_close(struct scanout_view *v)
{
	if (!v)
		return;
	munmap(v->h, SCANOUT_SIZE);
	free(v);
}

/* False: it is being changed. Else, once all is read, seq_same() says whether that is one state. */
static bool seq_look(const _Atomic uint32_t *seq, uint32_t *at)
{
	*at = atomic_load_explicit(seq, memory_order_acquire);
	return !(*at & 1);
}

static bool seq_same(const _Atomic uint32_t *seq, uint32_t at)
{
	atomic_thread_fence(memory_order_acquire);
	return load(seq) == at;
}

static void mode_look(struct scanout_view *v)
{
	const struct scanout_header *d = v->h;

	for (unsigned i = 0; i < TRIES; i++) {
		uint32_t at, w, h, g;

		if (!seq_look(&d->mode_seq, &at))
			continue;
		w = load(&d->w);
		h = load(&d->h);
		g = load(&d->generation);
		if (!seq_same(&d->mode_seq, at))
			continue;
		if (!scanout_mode_ok(w, h))
			w = h = 0;
		if (!v->generation || g != v->theirs || w != v->s.w || h != v->s.h) {
			v->s = surface_at(v->h, w, h);
			v->theirs = g;
			if (!++v->generation) /* 0: no look yet */
				v->generation = 1;
		}
		return;
	}
}

bool scanout_view_mode(struct scanout_view *v, struct surface *s, uint32_t *generation)
{
	mode_look(v);
	*s = v->s;
	*generation = v->generation;
	return v->s.w;
}

/* The whole picture, if there is one. */
static unsigned whole(const struct scanout_view *v, struct rect *r)
{
	r[0] = (struct rect){0, 0, v->s.w, v->s.h};
	return v->s.w ? 1 : 0;
}

unsigned scanout_view_damage(struct scanout_view *v, struct rect *r, unsigned max)
{
	const struct scanout_header *d = v->h;
	uint64_t head, tail = v->tail;
	unsigned n = 0;

	assert(max);
	if (!v->generation)
		mode_look(v);
	v->tail = head = atomic_load_explicit(&d->head, memory_order_acquire);
	if (v->damage_generation != v->generation) {
		v->damage_generation = v->generation;
		return whole(v, r);
	}
	if (head - tail >= SCANOUT_RING)
		return whole(v, r);
	for (uint64_t i = tail; i != head; i++) {
		uint64_t u = atomic_load_explicit(&d->ring[i % SCANOUT_RING], memory_order_relaxed);

		n = rects_add(r, n, max, rect_clip((struct rect){u & 0xffff, u >> 16 & 0xffff, u >> 32 & 0xffff, u >> 48},
			v->s.w, v->s.h));
	}
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&d->head, memory_order_relaxed) - tail >= SCANOUT_RING)
		return whole(v, r);
	return n;
}

/* The cursor's picture; false: known already, or not consistent. */
static bool cursor_look(struct scanout_view *v)
{
	const struct scanout_header *d = v->h;
	struct scanout_view_cursor *c = &v->copy;

	for (unsigned i = 0; i < TRIES; i++) {
		uint32_t at;

		if (!seq_look(&d->cursor_seq, &at))
			continue;
		c->generation = load(&d->cursor_generation);
		if (v->picture_known && c->generation == v->cursor.generation)
			return false;
		c->w = load(&d->cursor_w);
		c->h = load(&d->cursor_h);
		c->hot_x = load(&d->cursor_hot_x);
		c->hot_y = load(&d->cursor_hot_y);
		if (!c->w || !c->h || c->w > SCANOUT_CURSOR_MAX || c->h > SCANOUT_CURSOR_MAX)
			c->w = c->h = c->hot_x = c->hot_y = 0;
		for (uint32_t k = 0; k < c->w * c->h; k++)
			c->px[k] = load(&d->cursor_px[k]);
		if (!seq_same(&d->cursor_seq, at))
			continue;
		if (c->w) {
			c->hot_x = (uint32_t)min_u64(c->hot_x, c->w - 1);
			c->hot_y = (uint32_t)min_u64(c->hot_y, c->h - 1);
		}
		v->cursor = *c;
		v->picture_known = true;
		return true;
	}
	return false;
}

bool scanout_view_cursor(struct scanout_view *v, struct scanout_view_cursor *c)
{
	uint64_t at = atomic_load_explicit(&v->h->cursor_at, memory_order_relaxed);

	if (!cursor_look(v) && v->place_known && at == v->cursor_at)
		return false;
	v->place_known = true;
	v->cursor_at = at;
	v->cursor.x = (int32_t)(uint32_t)at;
	v->cursor.y = (int32_t)(uint32_t)(at >> 32);
	*c = v->cursor;
	return true;
}

bool scanout_view_wait(struct scanout_view *v, int ms)
{
	uint64_t end = now_ns() + (ms > 0 ? (uint64_t)ms : 0) * 1000000;

	for (;;) {
		uint32_t commits = atomic_load_explicit(&v->h->commits, memory_order_acquire);
		uint64_t now = now_ns(), left = end > now ? end - now : 0;
		struct timespec ts = {(time_t)(left / 1000000000), (long)(left % 1000000000)};

		if (commits != v->commits) {
			v->commits = commits;
			return true;
		}
		if (!left)
			return false;
		syscall(SYS_futex, &v->h->commits, FUTEX_WAIT, commits, &ts, NULL, 0);
	}
}
