/* SPDX-License-Identifier: MIT */
/* Configuration space by the window and by the ports; BARs that move, MSI-X, interrupt pins, root ports. */
#include <errno.h>

#include "bus/pci.h"
#include "fake.h"

#define ECAM  UINT64_C(0xe8000000)
#define MEM32 UINT64_C(0xc0000000)
#define MEM64 UINT64_C(0x800000000)

enum { COMMAND = 0x04, STATUS = 0x06, BAR0 = 0x10 };

static const struct pci_config windows = {.ecam_base = ECAM, .ecam_size = 128 << 20, .mmio32_base = MEM32,
	.mmio32_size = ECAM - MEM32, .mmio64_base = MEM64, .mmio64_size = UINT64_C(1) << 32};

static unsigned written, written_off, written_len;

static void on_write(struct pci_func *f, unsigned off, unsigned len)
{
	(void)f;
	written++;
	written_off = off;
	written_len = len;
}

static uint64_t ecam(unsigned slot, unsigned fn, unsigned off, unsigned len)
{
	return bus_read(fake_bus, BUS_MMIO, 0, ECAM + (slot << 15 | fn << 12 | off), len);
}

static void address(unsigned slot, unsigned fn, unsigned off)
{
	out(0xcf8, 0x80000000u | slot << 11 | fn << 8 | off, 4);
}

static void config_space(void)
{
	struct pci_func f = {.config = {0x34, 0x12, 0x78, 0x56}, .wmask = {[4] = 0x07, [0x10] = 0xf0, [0x13] = 0xff},
		.w1c = {[6] = 0x30}, .written = on_write};
	struct pci *p;

	fake_bus = bus_new();
	p = pci_new(fake_bus, &(struct pci_config){.ecam_base = ECAM, .ecam_size = 128 << 20});
	assert(pci_add(p, 32, 0, &f, NULL) == -EINVAL && pci_add(p, 1, 8, &f, NULL) == -EINVAL);
	assert(pci_add(p, 0, 0, &f, NULL) == -EEXIST);
	assert(pci_add(p, 3, 1, &f, NULL) == 0);

	/* the host bridge, and nothing */
	assert(ecam(0, 0, 0, 4) == 0x00081b36 && ecam(0, 0, 8, 4) == 0x06000000);
	assert(ecam(0, 0, 0x2c, 4) == 0x11001af4);
	assert(ecam(0, 0, 0, 8) == 0x0000000000081b36);
	assert(ecam(1, 0, 0, 4) == 0xffffffff && ecam(3, 0, 0, 2) == 0xffff);
	assert(bus_read(fake_bus, BUS_MMIO, 0, ECAM + (1 << 20), 4) == 0xffffffff); /* bus 1 */
	assert(bus_read(fake_bus, BUS_MMIO, 0, ECAM + (127 << 20), 4) == 0xffffffff);

	/* ports: same contents, byte and word lanes; only dwords reach the address */
	address(0, 0, 0);
	assert(in(0xcf8, 4) == 0x80000000);
	assert(in(0xcfc, 4) == 0x00081b36 && in(0xcfe, 2) == 0x0008 && inb(0xcfd) == 0x1b);
	out(0xcf8, 0x11, 1);
	assert(in(0xcf8, 4) == 0x80000000 && inb(0xcf8) == 0xff);
	out(0xcf8, 0, 4);
	assert(in(0xcfc, 4) == 0xffffffff); /* not enabled */
	out(0xcf8, 0xffffffff, 4);
	assert(in(0xcf8, 4) == 0x80fffffc && in(0xcfc, 4) == 0xffffffff);

	/* write masks, from both sides */
	address(3, 1, 4);
	out(0xcfc, 0xffff, 2);
	assert(in(0xcfc, 2) == 0x0007 && written == 1 && written_off == 4 && written_len == 2);
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 0x10), 0xffffffff, 4);
	assert(ecam(3, 1, 0x10, 4) == 0xff0000f0 && written == 2);
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12), 0, 4);
	assert(ecam(3, 1, 0, 4) == 0x56781234);
	/* bits that a one clears */
	f.config[6] = 0x71;
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 6), 0x11, 2);
	assert(ecam(3, 1, 6, 2) == 0x61);
	f.config[6] = 0;

	/* the extended space is empty; an access over its end, or over the end of 256 bytes, breaks nothing */
	assert(ecam(3, 1, 0x100, 4) == 0);
	written = 0;
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 0xfe), UINT32_MAX, 4);
	assert(written == 1 && written_len == 2);
	bus_write(fake_bus, BUS_MMIO, 0, ECAM + (3 << 15 | 1 << 12 | 0x100), UINT32_MAX, 4);
	assert(written == 1);
	assert(ecam(3, 1, 0xffe, 4) == 0xffff0000);
	bus_reset(fake_bus);
	assert(in(0xcf8, 4) == 0);
	pci_free(p);
	bus_free(fake_bus);
}

/* ---- a function with BARs of each kind ---- */

struct toy {
	struct pci_func f;
	uint64_t reg[2], last_off; /* by BAR */
};

static uint64_t toy_read0(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)cpu;
	(void)len;
	return ((struct toy *)dev)->reg[0] + off;
}

static uint64_t toy_read1(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	(void)cpu;
	(void)len;
	return ((struct toy *)dev)->reg[1] + off;
}

static void toy_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	(void)cpu;
	(void)v;
	(void)len;
	((struct toy *)dev)->last_off = off;
}

static const struct dev_ops toy_ops0 = {"toy0", toy_read0, toy_write, NULL, 0};
static const struct dev_ops toy_ops1 = {"toy1", toy_read1, toy_write, NULL, 0};

static void toy_init(struct toy *t, unsigned number)
{
	memset(t, 0, sizeof *t);
	t->reg[0] = number << 8;
	t->reg[1] = number << 16;
	pci_ident(&t->f, 0x1234, 0x5678, 0xff000001, 0x1111, 0x2222);
	t->f.config[0x3d] = 1;
	pci_bar(&t->f, 0, 0x1000, false, &toy_ops0, t);
	pci_bar(&t->f, 2, 0x4000, true, &toy_ops1, t);
}

static uint64_t rd(uint64_t at, unsigned len)
{
	return bus_read(fake_bus, BUS_MMIO, 0, at, len);
}

static void wr(uint64_t at, uint64_t v, unsigned len)
{
	bus_write(fake_bus, BUS_MMIO, 0, at, v, len);
}

static uint64_t cfg(const struct pci_func *f, unsigned off)
{
	return ECAM + ((uint64_t)f->devfn << 12) + off;
}

static void bars(void)
{
	struct toy a, b;
	struct pci *p;

	fake_bus = bus_new();
	p = pci_new(fake_bus, &windows);
	toy_init(&a, 1);
	toy_init(&b, 2);
	assert(!pci_add(p, -1, 0, &a.f, NULL) && !pci_add(p, -1, 0, &b.f, NULL));
	assert(a.f.devfn == 1 << 3 && b.f.devfn == 2 << 3);

	/* placed and decoded, as by a BIOS */
	assert(rd(cfg(&a.f, BAR0), 4) == MEM32 && rd(cfg(&a.f, BAR0 + 8), 8) == (MEM64 | 0xc));
	assert(rd(cfg(&b.f, BAR0), 4) == MEM32 + 0x1000 && rd(cfg(&b.f, BAR0 + 8), 8) == ((MEM64 + 0x4000) | 0xc));
	assert(rd(cfg(&a.f, COMMAND), 2) == 2 && rd(cfg(&a.f, 0x3c), 2) == 0x1ff);
	assert(rd(MEM32 + 8, 4) == 0x108 && rd(MEM32 + 0x1008, 4) == 0x208 && rd(MEM64 + 0x3ff8, 8) == 0x13ff8);
	wr(MEM64 + 0x4010, 0, 4);
	assert(b.last_off == 0x10);

	/* sizes, of the halves too; nothing else has bits */
	wr(cfg(&a.f, BAR0), UINT32_MAX, 4);
	assert(rd(cfg(&a.f, BAR0), 4) == 0xfffff000 && rd(MEM32, 4) == UINT32_MAX);
	wr(cfg(&a.f, BAR0), MEM32, 4);
	assert(rd(MEM32, 4) == 0x100);
	wr(cfg(&a.f, BAR0 + 8), UINT32_MAX, 4);
	wr(cfg(&a.f, BAR0 + 12), UINT32_MAX, 4);
	assert(rd(cfg(&a.f, BAR0 + 8), 8) == 0xffffffffffffc00c && rd(MEM64, 8) == UINT64_MAX);
	wr(cfg(&a.f, BAR0 + 4), UINT32_MAX, 4);
	wr(cfg(&a.f, BAR0 + 16), UINT64_MAX, 8);
	assert(rd(cfg(&a.f, BAR0 + 4), 4) == 0 && rd(cfg(&a.f, BAR0 + 16), 8) == 0);

	/* 64 bits are moved in two steps, the first of which leads outside the window, or into another device */
	wr(cfg(&a.f, BAR0 + 8), 0x4000 | 0xc, 4);
	assert(rd(MEM64 + 0x4000, 4) == 0x20000);
	wr(cfg(&a.f, BAR0 + 12), MEM64 >> 32, 4);
	assert(rd(MEM64 + 0x4000, 4) == 0x20000 && rd(MEM64, 4) == UINT32_MAX); /* b was there first */
	wr(cfg(&b.f, BAR0 + 8), 0, 4);
	assert(rd(MEM64 + 0x4000, 4) == 0x10000 && rd(MEM64, 4) == 0x20000); /* and has gone: they changed places */
	wr(cfg(&a.f, BAR0 + 8), (uint32_t)(MEM64 + 0x2345678), 1); /* a byte of flags: nothing */
	assert(rd(cfg(&a.f, BAR0 + 8), 4) == 0x400c);
	wr(cfg(&a.f, BAR0 + 9), 0x80, 1);
	assert(rd(MEM64 + 0x8000, 4) == 0x10000 && rd(MEM64 + 0x4000, 4) == UINT32_MAX);

	/* a 64-bit BAR below 4 GiB is fine; over the configuration window, RAM, or the end of a window it is nowhere */
	wr(cfg(&a.f, BAR0 + 8), 0xd0000000, 8);
	assert(rd(0xd0000000, 4) == 0x10000);
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t bad[] = {ECAM, 0x100000, MEM64 + (UINT64_C(1) << 32), UINT64_MAX & ~0x3fffull};

		wr(cfg(&a.f, BAR0 + 8), bad[i], 8);
		assert(!a.f.bar[2].mapped_at);
	}
	assert(rd(ECAM, 4) == 0x00081b36);
	wr(cfg(&a.f, BAR0 + 8), MEM64 + (UINT64_C(1) << 32) - 0x4000, 8);
	assert(rd(MEM64 + (UINT64_C(1) << 32) - 0x4000, 4) == 0x10000);

	/* two at one place, and one inside the other */
	wr(cfg(&b.f, BAR0), MEM32, 4);
	assert(rd(MEM32, 4) == 0x100);
	wr(cfg(&a.f, COMMAND), 0, 2);
	assert(rd(MEM32, 4) == 0x200 && rd(MEM64 + (UINT64_C(1) << 32) - 0x4000, 4) == UINT32_MAX);
	wr(cfg(&a.f, COMMAND), 0xffff, 2);
	assert(rd(MEM32, 4) == 0x200 && rd(cfg(&a.f, COMMAND), 2) == 0x546);
	assert(rd(MEM64 + (UINT64_C(1) << 32) - 0x4000, 4) == 0x10000);
	wr(cfg(&b.f, COMMAND), 0, 2);
	assert(rd(MEM32, 4) == 0x100);

	/* all back to where they were at power-on */
	bus_reset(fake_bus);
	assert(rd(MEM32, 4) == 0x100 && rd(MEM32 + 0x1000, 4) == 0x200 && rd(MEM64, 4) == 0x10000 &&
		rd(MEM64 + 0x4000, 4) == 0x20000);
	assert(rd(cfg(&a.f, COMMAND), 2) == 2 && rd(cfg(&a.f, BAR0 + 8), 8) == (MEM64 | 0xc));
	wr(cfg(&b.f, BAR0), MEM32 + 0x8000, 4);
	bus_lock(fake_bus);
	pci_func_reset(&b.f);
	bus_unlock(fake_bus);
	assert(rd(MEM32 + 0x1000, 4) == 0x200 && rd(MEM32 + 0x8000, 4) == UINT32_MAX);

	pci_func_free(&a.f);
	pci_free(p);
	bus_free(fake_bus);
}

/* 248 functions, a place each, and then words. */
static void full(bool dense)
{
	static struct toy t[31 * 8 + 1];
	struct pci_config c = windows;
	struct err e;
	struct pci *p;

	memset(t, 0, sizeof t);
	c.dense = dense;
	fake_bus = bus_new();
	p = pci_new(fake_bus, &c);
	for (unsigned i = 0; i < 31 * 8; i++) {
		toy_init(&t[i], i + 1);
		assert(!pci_add(p, -1, 0, &t[i].f, &e));
		/* slots first; or functions first, in the order in which guests look */
		assert(t[i].f.devfn == (dense ? i + 8 : (i % 31 + 1) << 3 | i / 31));
		assert(i % 8 == 0 || !(rd(cfg(&t[i].f, 0x0e), 1) & 0x80));
		assert(rd(cfg(&t[0].f, 0x0e), 1) == (i >= (dense ? 1u : 31u) ? 0x80u : 0));
	}
	toy_init(&t[248], 249);
	assert(pci_add(p, -1, 0, &t[248].f, &e) == -ENOSPC && strstr(e.text, "fewer"));
	for (unsigned i = 0; i < 31 * 8; i++)
		assert(rd(MEM32 + i * 0x1000, 4) == (i + 1) << 8 && rd(MEM64 + i * 0x4000, 8) == (i + 1) << 16);
	bus_reset(fake_bus);
	assert(rd(cfg(&t[0].f, 0x0e), 1) == 0x80 && rd(MEM64 + 247 * 0x4000, 8) == 248 << 16);
	pci_free(p);
	bus_free(fake_bus);

	/* windows that are too small: nothing is left behind */
	fake_bus = bus_new();
	p = pci_new(fake_bus, &(struct pci_config){.ecam_base = ECAM, .ecam_size = 1 << 20, .mmio32_base = MEM32,
		.mmio32_size = 0x9000});
	toy_init(&t[0], 1);
	toy_init(&t[1], 2);
	assert(!pci_add(p, -1, 0, &t[0].f, &e)); /* 0x1000, and 0x4000 at 0x4000 */
	assert(rd(MEM32 + 0x4000, 4) == 0x10000);
	assert(pci_add(p, -1, 0, &t[1].f, &e) == -ENOSPC && strstr(e.text, "no room"));
	assert(rd(ECAM + (2 << 15), 4) == UINT32_MAX && rd(MEM32 + 0x8000, 4) == UINT32_MAX);
	pci_free(p);
	bus_free(fake_bus);
}

/* ---- interrupts ---- */

static struct {
	uint64_t addr;
	uint32_t data;
	unsigned n;
} msi;

static void on_msi(void *arg, uint64_t addr, uint32_t data)
{
	assert(arg == &msi);
	msi.addr = addr;
	msi.data = data;
	msi.n++;
}

static void send(struct pci_func *f, unsigned vector)
{
	bus_lock(fake_bus);
	pci_msix_send(f, vector);
	bus_unlock(fake_bus);
}

static unsigned find_cap(const struct pci_func *f, uint8_t id)
{
	unsigned at = (unsigned)rd(cfg(f, 0x34), 1);

	assert(rd(cfg(f, STATUS), 2) & 0x10);
	for (unsigned n = 0; at && n < 48; n++) {
		assert(at >= 0x40 && at % 4 == 0);
		if (rd(cfg(f, at), 1) == id)
			return at;
		at = (unsigned)rd(cfg(f, at + 1), 1);
	}
	return 0;
}

static void msix(void)
{
	enum { VECTORS = 67 };
	struct toy t;
	struct pci *p;
	uint64_t table, pba;
	unsigned cap;

	fake_bus = bus_new();
	p = pci_new(fake_bus, &windows);
	toy_init(&t, 1);
	pci_express(&t.f);
	pci_msix_add(&t.f, 4, VECTORS, on_msi, &msi);
	assert(!pci_add(p, -1, 0, &t.f, NULL));
	memset(&msi, 0, sizeof msi);

	/* an integrated endpoint has a device capability and no link */
	cap = find_cap(&t.f, 0x10);
	assert(cap && rd(cfg(&t.f, cap + 2), 2) == 0x92 && rd(cfg(&t.f, cap + 0xc), 4) == 0);
	wr(cfg(&t.f, cap + 8), 0xffff, 2);
	assert(rd(cfg(&t.f, cap + 8), 4) == 0x7fff);

	cap = find_cap(&t.f, 0x11);
	assert(cap && rd(cfg(&t.f, cap + 2), 2) == VECTORS - 1);
	assert((rd(cfg(&t.f, cap + 4), 4) & 7) == 4 && (rd(cfg(&t.f, cap + 8), 4) & 7) == 4);
	table = (rd(cfg(&t.f, BAR0 + 16), 4) & ~15u) + (rd(cfg(&t.f, cap + 4), 4) & ~7u);
	pba = (rd(cfg(&t.f, BAR0 + 16), 4) & ~15u) + (rd(cfg(&t.f, cap + 8), 4) & ~7u);
	assert(pba >= table + VECTORS * 16 && pba % 8 == 0);

	/* masked at power-on; dwords and qwords are written, the rest is not */
	for (unsigned v = 0; v < VECTORS; v++)
		assert(rd(table + v * 16, 8) == 0 && rd(table + v * 16 + 8, 8) == UINT64_C(1) << 32);
	wr(table, 0xfee01000, 4);
	wr(table + 8, 0x41, 4);
	wr(table + 16, 0xfee02000, 8);
	wr(table + 24, 0xfffffffe00000042, 8); /* data, and unmasked: only bit 0 is there */
	assert(rd(table + 28, 4) == 0 && rd(table + 24, 8) == 0x42);
	wr(table, 0, 1);
	wr(table, 0, 2);
	wr(table + 2, 0, 4);
	wr(table + 4, 0, 8);
	wr(table, 0, 3);
	assert(rd(table, 8) == 0xfee01000 && rd(table + 1, 2) == 0xe010 && rd(table + 8, 8) == 0x100000041);
	wr(pba, UINT64_MAX, 8);
	assert(rd(pba, 8) == 0 && rd(pba + 8, 8) == 0 && rd(pba + 16, 8) == 0 && rd(table + 0xffc, 4) == 0);

	/* off: nothing is sent, nothing is remembered */
	send(&t.f, 1);
	assert(!msi.n && rd(pba, 8) == 0);
	wr(cfg(&t.f, cap + 2), 0x8000, 2);
	assert(!msi.n && rd(cfg(&t.f, cap + 2), 2) == (0x8000 | (VECTORS - 1)));
	send(&t.f, 1);
	assert(msi.n == 1 && msi.addr == 0xfee02000 && msi.data == 0x42);
	send(&t.f, VECTORS);
	send(&t.f, 0xffff);
	assert(msi.n == 1);

	/* a masked vector waits, once, until it is unmasked by a dword or a qword */
	send(&t.f, 0);
	send(&t.f, 0);
	assert(msi.n == 1 && rd(pba, 8) == 1);
	wr(table + 12, 0, 4);
	assert(msi.n == 2 && msi.data == 0x41 && msi.addr == 0xfee01000 && rd(pba, 8) == 0);
	wr(table + 12, 1, 4);
	send(&t.f, 0);
	wr(table + 8, 0x43, 8);
	assert(msi.n == 3 && msi.data == 0x43);
	wr(table + 66 * 16 + 8, 0x77, 4);
	send(&t.f, 66);
	assert(rd(pba + 8, 8) == 4 && msi.n == 3);

	/* the function's mask is over all of them; vector 66 keeps its own */
	wr(cfg(&t.f, cap + 3), 0xc0, 1);
	send(&t.f, 0);
	send(&t.f, 1);
	assert(msi.n == 3 && rd(pba, 8) == 3);
	wr(table + 66 * 16 + 12, 0, 4);
	assert(msi.n == 3 && rd(pba + 8, 8) == 4);
	wr(table + 66 * 16 + 12, 1, 4);
	wr(cfg(&t.f, cap + 3), 0x80, 1);
	assert(msi.n == 5 && rd(pba, 8) == 0 && rd(pba + 8, 8) == 4);
	/* off, and what was pending is forgotten */
	wr(cfg(&t.f, cap + 3), 0, 1);
	assert(rd(pba + 8, 8) == 0);
	wr(table + 66 * 16 + 12, 0, 4);
	wr(cfg(&t.f, cap + 3), 0x80, 1);
	assert(msi.n == 5);

	/* reset */
	bus_reset(fake_bus);
	assert(rd(table + 8, 8) == UINT64_C(1) << 32 && rd(table, 8) == 0 && rd(cfg(&t.f, cap + 2), 2) == VECTORS - 1);
	send(&t.f, 0);
	assert(msi.n == 5 && rd(pba, 8) == 0);
	for (unsigned i = 0; i < 20000; i++) { /* and anything at all */
		wr(table + rnd() % 0x1000, rnd(), (unsigned)(rnd() % 8 + 1));
		rd(table + rnd() % 0x1000, (unsigned)(rnd() % 8 + 1));
		send(&t.f, (unsigned)(rnd() % 70));
		if (rnd() % 4 == 0)
			wr(cfg(&t.f, cap + 3), rnd(), 1);
	}
	pci_func_free(&t.f);
	pci_free(p);
	bus_free(fake_bus);
}

static bool wires[PCI_INTX_LINES];
static unsigned changes;

static void on_wire(void *arg, unsigned line, bool level)
{
	assert(arg == wires && line >= 16 && line < 16 + PCI_INTX_LINES);
	assert(wires[line - 16] != level);
	wires[line - 16] = level;
	changes++;
}

static void pull(struct pci_func *f, bool level)
{
	bus_lock(fake_bus);
	pci_intx(f, level);
	bus_unlock(fake_bus);
}

static void intx(void)
{
	struct pci_config c = windows;
	struct toy a, b;
	struct pci *p;

	c.intx = (struct irq){on_wire, wires, 16};
	fake_bus = bus_new();
	p = pci_new(fake_bus, &c);
	toy_init(&a, 1);
	toy_init(&b, 2);
	pci_msix_add(&a.f, 4, 1, on_msi, &msi);
	assert(!pci_add(p, 3, 0, &a.f, NULL) && !pci_add(p, 11, 2, &b.f, NULL)); /* both on the fourth wire */

	pull(&a.f, true);
	pull(&a.f, true);
	assert(wires[3] && changes == 1 && rd(cfg(&a.f, STATUS), 2) == 0x18);
	pull(&b.f, true);
	pull(&a.f, false);
	assert(wires[3] && rd(cfg(&a.f, STATUS), 2) == 0x10);
	pull(&b.f, false);
	assert(!wires[3] && changes == 2);

	/* disabled: the status says so still */
	wr(cfg(&a.f, COMMAND), 0x402, 2);
	pull(&a.f, true);
	assert(!wires[3] && rd(cfg(&a.f, STATUS), 2) == 0x18);
	wr(cfg(&a.f, COMMAND), 0x002, 2);
	assert(wires[3]);
	/* with MSI-X the pin is quiet */
	wr(cfg(&a.f, a.f.cap_last + 3u), 0x80, 1);
	assert(!wires[3]);
	wr(cfg(&a.f, a.f.cap_last + 3u), 0, 1);
	assert(wires[3]);
	bus_reset(fake_bus);
	assert(!wires[3] && rd(cfg(&a.f, STATUS), 2) == 0x10);
	pci_func_free(&a.f);
	pci_free(p);
	bus_free(fake_bus);
}

/* ---- root ports ---- */

static void ports(void)
{
	static struct pci_config c;
	struct toy t, beside;
	struct pci *p;
	unsigned exp, at;
	uint64_t port = ECAM + (1 << 15), behind = ECAM + (1 << 20);

	c = windows;
	c.intx = (struct irq){on_wire, wires, 16};
	fake_bus = bus_new();
	p = pci_new(fake_bus, &c);
	assert(!pci_port_add(p, NULL) && !pci_port_add(p, NULL) && pci_ports(p) == 2);
	toy_init(&beside, 2);
	assert(!pci_add(p, -1, 0, &beside.f, NULL) && beside.f.devfn == 3 << 3);

	/* a bridge to bus 1, windows closed, an empty slot that waits for no command */
	assert(rd(port + 8, 4) >> 8 == 0x060400 && rd(port + 0x0e, 1) == 1 && rd(port + 0x18, 4) == 0x00010100);
	assert(rd(port + 0x1c, 2) == 0 && rd(port + 0x20, 4) == 0xfff0 && rd(port + 0x24, 4) == 0x0001fff1);
	exp = 0;
	for (at = (unsigned)rd(port + 0x34, 1); at; at = (unsigned)rd(port + at + 1, 1))
		if (rd(port + at, 1) == 0x10)
			exp = at;
	assert(exp && rd(port + exp + 2, 2) == 0x142);
	assert(rd(port + exp + 0x14, 4) == (1 << 19 | 1 << 18 | 0x60) && rd(port + exp + 0x1a, 2) == 0);
	wr(port + exp + 0x18, UINT64_MAX, 4);
	assert(rd(port + exp + 0x18, 4) == 0x1028);
	assert(rd(behind, 4) == UINT32_MAX && rd(ECAM + (2 << 20), 4) == UINT32_MAX);
	wr(port + 0x1c, 0xe0f0, 2); /* no I/O window */
	assert(rd(port + 0x1c, 2) == 0);
	wr(port + 0x24, 0xffe0fff0, 4);
	wr(port + 0x28, UINT64_MAX, 8);
	assert(rd(port + 0x24, 4) == 0xffe1fff1 && rd(port + 0x28, 8) == UINT64_MAX);
	bus_reset(fake_bus);

	/* with a device in it */
	toy_init(&t, 1);
	pci_express(&t.f);
	assert(pci_port_plug(p, 2, 0, &t.f, NULL) == -EINVAL && pci_port_plug(p, 0, 8, &t.f, NULL) == -EINVAL);
	assert(!pci_port_plug(p, 0, 0, &t.f, NULL) && pci_port_plug(p, 0, 0, &t.f, NULL) == -EEXIST);
	assert(rd(port + exp + 0x1a, 2) == 0x40 && rd(port + exp + 0x12, 2) == 0x2011);
	assert(rd(behind, 4) == 0x56781234 && rd(behind + (1 << 15), 4) == UINT32_MAX);
	assert(rd(behind + BAR0, 4) == 0 && rd(behind + BAR0 + 8, 8) == 0xc && rd(behind + COMMAND, 2) == 0);
	/* found by the number that the guest gives */
	wr(port + 0x19, 0x0505, 2);
	assert(rd(behind, 4) == UINT32_MAX && rd(ECAM + (5 << 20), 4) == 0x56781234);
	behind = ECAM + (5 << 20);
	wr(port + 0x19, 0, 1);
	assert(rd(behind, 4) == UINT32_MAX && rd(ECAM, 4) == 0x00081b36); /* bus 0 stays what it is */
	wr(port + 0x19, 5, 1);

	/* decoded only where the port's windows say so, and when both decode */
	wr(behind + BAR0, MEM32 + 0x200000, 4);
	wr(behind + BAR0 + 8, MEM64 + 0x300000, 8);
	wr(behind + COMMAND, 2, 2);
	assert(rd(MEM32 + 0x200000, 4) == UINT32_MAX);
	wr(port + 0x20, (MEM32 + 0x200000) >> 16, 2);
	wr(port + 0x22, (MEM32 + 0x200000) >> 16, 2); /* 1 MiB */
	assert(rd(MEM32 + 0x200000, 4) == UINT32_MAX);
	wr(port + COMMAND, 2, 2);
	assert(rd(MEM32 + 0x200000, 4) == 0x100 && rd(MEM64 + 0x300000, 4) == UINT32_MAX);
	wr(port + 0x28, MEM64 >> 32, 4);
	wr(port + 0x2c, MEM64 >> 32, 4);
	wr(port + 0x24, 0x00300030, 4);
	assert(rd(MEM64 + 0x300000, 4) == 0x10000);
	wr(port + 0x26, 0x0020, 2);
	assert(rd(MEM64 + 0x300000, 4) == UINT32_MAX && rd(MEM32 + 0x200000, 4) == 0x100);
	wr(port + 0x20, (MEM32 + 0x300000) >> 16, 2);
	assert(rd(MEM32 + 0x200000, 4) == UINT32_MAX);
	wr(port + 0x20, (MEM32 + 0x200000) >> 16, 2);

	/* its pin is the port's */
	pull(&t.f, true);
	assert(wires[1]);
	bus_reset(fake_bus);
	assert(!wires[1] && rd(MEM32 + 0x200000, 4) == UINT32_MAX && rd(ECAM + (1 << 20), 4) == 0x56781234);
	assert(rd(port + exp + 0x1a, 2) == 0x40);
	pci_free(p);
	bus_free(fake_bus);
}

int main(void)
{
	config_space();
	bars();
	full(false);
	full(true);
	msix();
	intx();
	ports();
	return 0;
}
