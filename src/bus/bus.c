/* SPDX-License-Identifier: MIT */
/*
 * Each space has its mappings in an array sorted by base. A look-up tries the mapping that was hit last
 * - drivers poll one device at a time - and then searches by halves; a board has some twenty mappings, so
 * that is five steps. All state is under the one board lock, which also makes device code single-threaded.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "bus/bus.h"

struct mapping {
	uint64_t base, len;
	const struct dev_ops *ops;
	void *dev;
};

struct space {
	struct mapping *map; /* sorted by base */
	size_t n, cap;
	size_t hit; /* may be stale: checked against n */
};

struct member { /* for reset */
	const struct dev_ops *ops;
	void *dev;
};

enum { DWORD_PORTS = 4 };

struct bus {
	pthread_mutex_t lock;
	struct space space[2]; /* by enum bus_space */
	struct mapping dword[DWORD_PORTS];
	size_t ndword;
	struct member *member;
	size_t nmember, member_cap;
};

struct bus *bus_new(void)
{
	struct bus *b = xcalloc(1, sizeof *b);

	pthread_mutex_init(&b->lock, NULL);
	return b;
}

void bus_free(struct bus *b)
{
	if (!b)
		return;
	free(b->space[BUS_PIO].map);
	free(b->space[BUS_MMIO].map);
	free(b->member);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void bus_lock(struct bus *b)
{
	pthread_mutex_lock(&b->lock);
}

void bus_unlock(struct bus *b)
{
	pthread_mutex_unlock(&b->lock);
}

/* Room for one more element of an array; the array itself or NULL. */
static void *grow(void *array, size_t n, size_t *cap, size_t size)
{
	void *p = array;

	if (n == *cap) {
		size_t more = *cap ? *cap * 2 : 16;

		p = realloc(array, more * size);
		if (p)
			*cap = more;
	}
	return p;
}

static int member_add(struct bus *b, const struct dev_ops *ops, void *dev)
{
	struct member *m;

	if (!ops->reset)
		return 0;
	for (size_t i = 0; i < b->nmember; i++)
		if (b->member[i].dev == dev && b->member[i].ops->reset == ops->reset)
			return 0;
	m = grow(b->member, b->nmember, &b->member_cap, sizeof *m);
	if (!m)
		return -ENOMEM;
	b->member = m;
	m[b->nmember++] = (struct member){ops, dev};
	return 0;
}

/* How many mappings begin at or below addr: the last of them is the one that may hold it. */
static size_t below(const struct space *s, uint64_t addr)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->map[mid].base <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

int bus_map_locked(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev)
{
	struct space *s = &b->space[sp];
	uint64_t last = base + (len - 1);
	struct mapping *m;
	size_t i;
	int rc;

	if (!len || last < base || (sp == BUS_PIO && last > 0xffff))
		return -EINVAL;
	i = below(s, base);
	if (i && base - s->map[i - 1].base < s->map[i - 1].len)
		return -EEXIST;
	if (i < s->n && s->map[i].base <= last)
		return -EEXIST;
	m = grow(s->map, s->n, &s->cap, sizeof *m);
	if (!m)
		return -ENOMEM;
	s->map = m;
	rc = member_add(b, ops, dev);
	if (rc)
		return rc;
	memmove(m + i + 1, m + i, (s->n - i) * sizeof *m);
	m[i] = (struct mapping){base, len, ops, dev};
	s->n++;
	return 0;
}

int bus_map(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev)
{
	int rc;

	bus_lock(b);
	rc = bus_map_locked(b, sp, base, len, ops, dev);
	bus_unlock(b);
	return rc;
}

void bus_place(struct bus *b, enum bus_space sp, uint64_t base, uint64_t len,
	const struct dev_ops *ops, void *dev)
{
	int rc = bus_map(b, sp, base, len, ops, dev);

	if (rc == -ENOMEM) {
		log_err("out of memory while placing %s", ops->name);
		exit(1);
	}
	assert(!rc);
}

int bus_unmap_locked(struct bus *b, enum bus_space sp, uint64_t base)
{
	struct space *s = &b->space[sp];
	size_t i = below(s, base);

	if (!i || s->map[i - 1].base != base)
		return -ENOENT;
	s->n--;
	memmove(s->map + i - 1, s->map + i, (s->n - (i - 1)) * sizeof *s->map);
	return 0;
}

int bus_map_dword(struct bus *b, uint16_t port, const struct dev_ops *ops, void *dev)
{
	int rc = 0;

	if (port > 0xfffc)
		return -EINVAL;
	bus_lock(b);
	for (size_t i = 0; i < b->ndword && !rc; i++)
		if (b->dword[i].base == port)
			rc = -EEXIST;
	if (!rc && b->ndword == DWORD_PORTS)
		rc = -ENOMEM;
	if (!rc)
		rc = member_add(b, ops, dev);
	if (!rc)
		b->dword[b->ndword++] = (struct mapping){port, 4, ops, dev};
	bus_unlock(b);
	return rc;
}

int bus_attach(struct bus *b, const struct dev_ops *ops, void *dev)
{
	int rc;

	bus_lock(b);
	rc = member_add(b, ops, dev);
	bus_unlock(b);
	return rc;
}

void bus_reset(struct bus *b)
{
	bus_lock(b);
	for (size_t i = 0; i < b->nmember; i++)
		b->member[i].ops->reset(b->member[i].dev);
	bus_unlock(b);
}

/* The mapping that holds addr, or NULL. */
static const struct mapping *find(struct space *s, uint64_t addr)
{
	size_t i = s->hit;

	if (i < s->n && addr - s->map[i].base < s->map[i].len)
		return &s->map[i];
	i = below(s, addr);
	if (!i || addr - s->map[i - 1].base >= s->map[i - 1].len)
		return NULL;
	s->hit = i - 1;
	return &s->map[i - 1];
}

static const struct mapping *find_dword(struct bus *b, uint64_t port)
{
	for (size_t i = 0; i < b->ndword; i++)
		if (b->dword[i].base == port)
			return &b->dword[i];
	return NULL;
}

static uint64_t ones(unsigned len)
{
	return len < 8 ? (1ull << len * 8) - 1 : UINT64_MAX;
}

/* The access as one call or, for a device with a narrower data path, several. */
static uint64_t map_read(const struct mapping *m, unsigned cpu, uint64_t off, unsigned len)
{
	unsigned step = m->ops->max_len && m->ops->max_len < len ? m->ops->max_len : len;
	uint64_t v = 0;

	for (unsigned i = 0; i < len; i += step) {
		unsigned n = step < len - i ? step : len - i;

		v |= (m->ops->read(m->dev, cpu, off + i, n) & ones(n)) << i * 8;
	}
	return v;
}

static void map_write(const struct mapping *m, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	unsigned step = m->ops->max_len && m->ops->max_len < len ? m->ops->max_len : len;

	for (unsigned i = 0; i < len; i += step) {
		unsigned n = step < len - i ? step : len - i;

		m->ops->write(m->dev, cpu, off + i, v >> i * 8 & ones(n), n);
	}
}

/*
 * The mapping that takes an access as a whole; false: it goes byte by byte. The mapping is copied, because
 * a device may map and unmap while it is called.
 */
static bool find_whole(struct bus *b, enum bus_space sp, uint64_t addr, unsigned len, struct mapping *out)
{
	const struct mapping *m = NULL;

	if (sp == BUS_PIO && len == 4 && b->ndword)
		m = find_dword(b, addr);
	if (!m) {
		m = find(&b->space[sp], addr);
		if (!m || len > m->len - (addr - m->base))
			return false;
	}
	*out = *m;
	return true;
}

uint64_t bus_read(struct bus *b, enum bus_space sp, unsigned cpu, uint64_t addr, unsigned len)
{
	struct mapping m;
	uint64_t v = 0;

	assert(len >= 1 && len <= 8);
	bus_lock(b);
	if (find_whole(b, sp, addr, len, &m)) {
		v = map_read(&m, cpu, addr - m.base, len);
	} else {
		for (unsigned i = 0; i < len; i++) {
			uint64_t byte = 0xff;

			if (find_whole(b, sp, addr + i, 1, &m))
				byte = map_read(&m, cpu, addr + i - m.base, 1);
			v |= byte << i * 8;
		}
	}
	bus_unlock(b);
	return v;
}

void bus_write(struct bus *b, enum bus_space sp, unsigned cpu, uint64_t addr, uint64_t v, unsigned len)
{
	struct mapping m;

	assert(len >= 1 && len <= 8);
	bus_lock(b);
	if (find_whole(b, sp, addr, len, &m)) {
		map_write(&m, cpu, addr - m.base, v & ones(len), len);
	} else {
		for (unsigned i = 0; i < len; i++)
			if (find_whole(b, sp, addr + i, 1, &m))
				map_write(&m, cpu, addr + i - m.base, v >> i * 8 & 0xff, 1);
	}
	bus_unlock(b);
}
