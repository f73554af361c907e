/* SPDX-License-Identifier: MIT */
/* Dispatch: overlap, edges of mappings, split accesses, dword ports, moving, reset. */
#include <errno.h>

#include "fake.h"

struct probe {
	unsigned reads, writes, resets, cpu, len;
	uint64_t off, v;
	uint8_t mem[64];
};

static uint64_t probe_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct probe *p = dev;
	uint64_t v = 0;

	p->reads++;
	p->cpu = cpu;
	p->off = off;
	p->len = len;
	for (unsigned i = 0; i < len; i++)
		v |= (uint64_t)p->mem[off + i] << i * 8;
	/* whatever is above len must not come through */
	return len < 8 ? v | ~0ull << len * 8 : v;
}

static void probe_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct probe *p = dev;

	p->writes++;
	p->cpu = cpu;
	p->off = off;
	p->len = len;
	p->v = v;
	for (unsigned i = 0; i < len; i++)
		p->mem[off + i] = v >> i * 8 & 0xff;
}

static void probe_reset(void *dev)
{
	struct probe *p = dev;

	p->resets++;
}

static const struct dev_ops wide = {"wide", probe_read, probe_write, probe_reset, 0};
static const struct dev_ops narrow = {"narrow", probe_read, probe_write, probe_reset, 1};
static const struct dev_ops word = {"word", probe_read, probe_write, probe_reset, 2};

static void test_map(void)
{
	struct bus *b = bus_new();
	struct probe p = {0};

	assert(bus_map(b, BUS_MMIO, 0x1000, 0, &wide, &p) == -EINVAL);
	assert(bus_map(b, BUS_MMIO, UINT64_MAX, 2, &wide, &p) == -EINVAL);
	assert(bus_map(b, BUS_PIO, 0xffff, 2, &wide, &p) == -EINVAL);
	assert(bus_map(b, BUS_PIO, 0xffff, 1, &wide, &p) == 0);
	assert(bus_map(b, BUS_MMIO, 0x1000, 0x10, &wide, &p) == 0);
	/* every kind of overlap */
	assert(bus_map(b, BUS_MMIO, 0x1000, 0x10, &wide, &p) == -EEXIST);
	assert(bus_map(b, BUS_MMIO, 0x0ff0, 0x11, &wide, &p) == -EEXIST);
	assert(bus_map(b, BUS_MMIO, 0x100f, 1, &wide, &p) == -EEXIST);
	assert(bus_map(b, BUS_MMIO, 0x0ff0, 0x100, &wide, &p) == -EEXIST);
	assert(bus_map(b, BUS_MMIO, 0x1004, 2, &wide, &p) == -EEXIST);
	/* touching is none; the other space is another one */
	assert(bus_map(b, BUS_MMIO, 0x0ff0, 0x10, &wide, &p) == 0);
	assert(bus_map(b, BUS_MMIO, 0x1010, 0x10, &wide, &p) == 0);
	assert(bus_map(b, BUS_PIO, 0x1000, 0x10, &wide, &p) == 0);
	assert(bus_map(b, BUS_MMIO, UINT64_MAX - 7, 8, &wide, &p) == 0);
	bus_write(b, BUS_MMIO, 0, UINT64_MAX - 7, 0x1122334455667788, 8);
	assert(bus_read(b, BUS_MMIO, 0, UINT64_MAX - 7, 8) == 0x1122334455667788);
	/* over the end of the space: wraps to address 0, where nothing is */
	assert(bus_read(b, BUS_MMIO, 0, UINT64_MAX, 2) == 0xff11);
	bus_free(b);
}

static void test_access(void)
{
	struct bus *b = bus_new();
	struct probe p = {0}, q = {0}, r = {0};

	assert(!bus_map(b, BUS_MMIO, 0x1000, 0x10, &wide, &p));
	assert(!bus_map(b, BUS_MMIO, 0x1010, 0x10, &wide, &q));
	bus_write(b, BUS_MMIO, 3, 0x1008, 0x8877665544332211, 8);
	assert(p.writes == 1 && p.cpu == 3 && p.off == 8 && p.len == 8);
	assert(bus_read(b, BUS_MMIO, 2, 0x100a, 1) == 0x33 && p.cpu == 2);
	assert(bus_read(b, BUS_MMIO, 0, 0x1009, 4) == 0x55443322);
	/* nothing there */
	assert(bus_read(b, BUS_MMIO, 0, 0x5000, 1) == 0xff);
	assert(bus_read(b, BUS_MMIO, 0, 0x5000, 8) == UINT64_MAX);
	bus_write(b, BUS_MMIO, 0, 0x5000, 0, 8);
	/* over the border of two: bytes to each */
	p.writes = 0;
	bus_write(b, BUS_MMIO, 0, 0x100e, 0xddccbbaa, 4);
	assert(p.writes == 2 && q.writes == 2 && p.mem[14] == 0xaa && p.mem[15] == 0xbb);
	assert(q.mem[0] == 0xcc && q.mem[1] == 0xdd);
	assert(bus_read(b, BUS_MMIO, 0, 0x100e, 4) == 0xddccbbaa);
	/* half of it outside, at either end */
	assert(bus_read(b, BUS_MMIO, 0, 0x101e, 4) == 0xffff0000);
	p.mem[0] = 0x12;
	assert(bus_read(b, BUS_MMIO, 0, 0x0ffe, 4) == 0x0012ffff);
	/* a narrow data path */
	assert(!bus_map(b, BUS_PIO, 0x60, 8, &narrow, &r));
	bus_write(b, BUS_PIO, 0, 0x61, 0x04030201, 4);
	assert(r.writes == 4 && r.len == 1 && r.mem[1] == 1 && r.mem[4] == 4 && r.v == 4);
	assert(bus_read(b, BUS_PIO, 0, 0x61, 4) == 0x04030201 && r.reads == 4);
	assert(!bus_map(b, BUS_PIO, 0x80, 8, &word, &r));
	r.writes = 0;
	bus_write(b, BUS_PIO, 0, 0x80, 0x04030201, 4);
	assert(r.writes == 2 && r.len == 2 && r.off == 2 && r.v == 0x0403);
	/* upper bits of the value do not reach the device */
	bus_write(b, BUS_PIO, 0, 0x80, UINT64_MAX, 1);
	assert(r.v == 0xff);
	bus_free(b);
}

static void test_dword(void)
{
	struct bus *b = bus_new();
	struct probe d = {0}, p = {0};

	assert(!bus_map_dword(b, 0xcf8, &wide, &d));
	assert(bus_map_dword(b, 0xcf8, &wide, &d) == -EEXIST);
	assert(bus_map_dword(b, 0xfffd, &wide, &d) == -EINVAL);
	assert(!bus_map(b, BUS_PIO, 0xcf9, 1, &wide, &p));
	bus_write(b, BUS_PIO, 0, 0xcf8, 0x80001234, 4);
	assert(d.writes == 1 && d.v == 0x80001234 && !p.writes);
	bus_write(b, BUS_PIO, 0, 0xcf9, 6, 1);
	assert(d.writes == 1 && p.writes == 1 && p.v == 6);
	assert(bus_read(b, BUS_PIO, 0, 0xcf8, 2) == 0x06ff);
	assert(bus_read(b, BUS_PIO, 0, 0xcf8, 4) == 0x80001234);
	bus_free(b);
}

static void test_move(void)
{
	struct bus *b = bus_new();
	struct probe p = {0}, q = {0};

	assert(!bus_map(b, BUS_MMIO, 0x1000, 0x10, &wide, &p));
	assert(!bus_map(b, BUS_MMIO, 0x3000, 0x10, &wide, &q));
	p.mem[0] = 1;
	q.mem[0] = 2;
	assert(bus_read(b, BUS_MMIO, 0, 0x3000, 1) == 2); /* the last hit */
	bus_lock(b);
	assert(bus_unmap_locked(b, BUS_MMIO, 0x3001) == -ENOENT);
	assert(bus_unmap_locked(b, BUS_MMIO, 0x3000) == 0);
	assert(bus_unmap_locked(b, BUS_MMIO, 0x3000) == -ENOENT);
	bus_unlock(b);
	assert(bus_read(b, BUS_MMIO, 0, 0x3000, 1) == 0xff);
	bus_lock(b);
	assert(!bus_map_locked(b, BUS_MMIO, 0x200, 0x10, &wide, &q));
	bus_unlock(b);
	assert(bus_read(b, BUS_MMIO, 0, 0x200, 1) == 2);
	assert(bus_read(b, BUS_MMIO, 0, 0x1000, 1) == 1);
	/* a device is reset once, however many mappings it has and had */
	assert(!bus_attach(b, &wide, &q));
	bus_reset(b);
	assert(p.resets == 1 && q.resets == 1);
	bus_free(b);
}

/* Random mappings against a flat picture of the space. */
static void test_random(void)
{
	enum { SPACE = 0x400, N = 64 };
	static struct probe probe[N];
	int owner[SPACE + 8];
	struct bus *b = bus_new();
	unsigned n = 0;

	memset(owner, -1, sizeof owner);
	for (int try = 0; try < 400 && n < N; try++) {
		uint64_t base = rnd() % SPACE, len = 1 + rnd() % 32;
		bool free_range = base + len <= SPACE;
		int rc;

		if (!free_range)
			continue;
		for (uint64_t i = base; i < base + len; i++)
			free_range &= owner[i] < 0;
		rc = bus_map(b, BUS_MMIO, base, len, rnd() & 1 ? &wide : &narrow, &probe[n]);
		assert(rc == (free_range ? 0 : -EEXIST));
		if (rc)
			continue;
		for (uint64_t i = 0; i < len; i++) {
			owner[base + i] = (int)n;
			probe[n].mem[i] = (uint8_t)(base + i);
		}
		n++;
	}
	assert(n > 20);
	for (int i = 0; i < 20000; i++) {
		uint64_t addr = rnd() % SPACE, want = 0;
		unsigned len = 1 + rnd() % 8;

		for (unsigned k = 0; k < len; k++)
			want |= (owner[addr + k] < 0 ? 0xff : (addr + k) & 0xff) << k * 8;
		assert(bus_read(b, BUS_MMIO, 0, addr, len) == want);
	}
	bus_free(b);
}

int main(void)
{
	fake_bus = bus_new();
	test_map();
	test_access();
	test_dword();
	test_move();
	test_random();
	bus_free(fake_bus);
	return 0;
}
