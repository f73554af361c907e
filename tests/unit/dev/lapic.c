/* SPDX-License-Identifier: MIT */
/* Local APICs: modes, priorities, IPIs and messages, timers, errors. SDM Vol. 3A chapter 11. */
#include "dev/lapic.h"
#include "fake.h"

enum { CPUS = 20, TSC_PER_NS = 3 };
enum { ID = 0x02, VERSION = 0x03, TPR = 0x08, PPR = 0x0a, EOI = 0x0b, LDR = 0x0d, DFR = 0x0e, SVR = 0x0f,
	ISR = 0x10, TMR = 0x18, IRR = 0x20, ESR = 0x28, ICR = 0x30, ICR_HIGH = 0x31, LVT_TIMER = 0x32,
	LVT_THERMAL = 0x33, LVT_PMC = 0x34, LVT_LINT0 = 0x35, LVT_LINT1 = 0x36, LVT_ERROR = 0x37,
	TICR = 0x38, TCCR = 0x39, TDCR = 0x3e, SELF_IPI = 0x3f };
enum { MASKED = 1 << 16, PERIODIC = 1 << 17, DEADLINE = 2 << 17, LEVEL = 1 << 15 };
enum { FIXED = 0 << 8, LOWEST = 1 << 8, SMI = 2 << 8, NMI = 4 << 8, INIT = 5 << 8, SIPI = 6 << 8, EXTINT = 7 << 8,
	LOGICAL = 1 << 11, ASSERT = 1 << 14, SELF = 1 << 18, ALL = 2 << 18, OTHERS = 3 << 18 };
#define BSP  0x100u
#define EXTD 0x400u
#define EN   0x800u

static struct lapics *s;
static struct {
	bool pending;
	unsigned irqs, nmis, inits, sipis;
	uint8_t sipi;
} cpu[CPUS];
static int eoi_vector = -1;
static int64_t tsc_skew;

static void on_irq(void *arg, unsigned i, bool pending)
{
	(void)arg;
	assert(cpu[i].pending != pending); /* changes only */
	cpu[i].pending = pending;
	cpu[i].irqs += pending;
}

static void on_nmi(void *arg, unsigned i)
{
	(void)arg;
	cpu[i].nmis++;
}

static void on_init(void *arg, unsigned i)
{
	(void)arg;
	cpu[i].inits++;
}

static void on_sipi(void *arg, unsigned i, uint8_t vector)
{
	(void)arg;
	cpu[i].sipis++;
	cpu[i].sipi = vector;
}

static void on_eoi(void *arg, unsigned vector)
{
	(void)arg;
	eoi_vector = (int)vector;
}

static uint64_t on_tsc(void *arg, unsigned i)
{
	(void)arg;
	(void)i;
	return fake_now * TSC_PER_NS + (uint64_t)tsc_skew;
}

/* --- short words --- */

static uint32_t rd(unsigned i, unsigned reg)
{
	return (uint32_t)bus_read(fake_bus, BUS_MMIO, i, LAPIC_BASE + reg * 16, 4);
}

static void wr(unsigned i, unsigned reg, uint32_t v)
{
	bus_write(fake_bus, BUS_MMIO, i, LAPIC_BASE + reg * 16, v, 4);
}

static enum lapic_result rdmsr(unsigned i, uint32_t msr, uint64_t *v)
{
	enum lapic_result r;

	bus_lock(fake_bus);
	r = lapics_rdmsr(s, i, msr, v);
	bus_unlock(fake_bus);
	return r;
}

static enum lapic_result wrmsr(unsigned i, uint32_t msr, uint64_t v)
{
	enum lapic_result r;

	bus_lock(fake_bus);
	r = lapics_wrmsr(s, i, msr, v);
	bus_unlock(fake_bus);
	return r;
}

static uint64_t x2rd(unsigned i, unsigned reg)
{
	uint64_t v;

	assert(rdmsr(i, 0x800 + reg, &v) == LAPIC_OK);
	return v;
}

static void x2wr(unsigned i, unsigned reg, uint64_t v)
{
	assert(wrmsr(i, 0x800 + reg, v) == LAPIC_OK);
}

static uint64_t base(unsigned i)
{
	uint64_t v;

	assert(rdmsr(i, 0x1b, &v) == LAPIC_OK);
	return v;
}

static int ack(unsigned i)
{
	int v;

	bus_lock(fake_bus);
	v = lapics_ack(s, i);
	bus_unlock(fake_bus);
	return v;
}

static void msi(uint64_t addr, uint32_t data)
{
	bus_lock(fake_bus);
	lapics_msi(s, addr, data);
	bus_unlock(fake_bus);
}

/* Takes one interrupt: the vector, which is ended; -1 when there is none. */
static int take(unsigned i)
{
	int v = ack(i);

	if (v < 0)
		return v;
	if (base(i) & EXTD)
		x2wr(i, EOI, 0);
	else
		wr(i, EOI, 0);
	return v;
}

static uint32_t bits(unsigned i, unsigned map, unsigned vector)
{
	return rd(i, map + vector / 32) >> vector % 32 & 1;
}

static void fresh(void)
{
	bus_reset(fake_bus);
	for (unsigned i = 0; i < CPUS; i++) {
		assert(!cpu[i].pending);
		memset(&cpu[i], 0, sizeof cpu[i]);
		wr(i, SVR, 0x1ff);
	}
	eoi_vector = -1;
}

static void fresh_x2(void)
{
	fresh();
	for (unsigned i = 0; i < CPUS; i++)
		assert(wrmsr(i, 0x1b, base(i) | EXTD) == LAPIC_OK);
}

/* --- tests --- */

static void test_reset_values(void)
{
	bus_reset(fake_bus);
	for (unsigned i = 0; i < CPUS; i++) {
		assert(base(i) == (LAPIC_BASE | EN | (i ? 0 : BSP)));
		assert(rd(i, ID) == i << 24 && rd(i, VERSION) == 0x00050014);
		assert(rd(i, SVR) == 0xff && rd(i, DFR) == 0xffffffff && rd(i, LDR) == 0);
		for (unsigned r = LVT_TIMER; r <= LVT_ERROR; r++)
			assert(rd(i, r) == (i == 0 && r == LVT_LINT0 ? EXTINT : MASKED));
	}
	/* the ID is not to be written; unclaimed bytes and odd sizes are harmless */
	wr(1, ID, 5u << 24);
	assert(rd(1, ID) == 1u << 24);
	assert(bus_read(fake_bus, BUS_MMIO, 1, LAPIC_BASE + 0x23, 1) == 1);
	assert(bus_read(fake_bus, BUS_MMIO, 1, LAPIC_BASE + 0x24, 4) == 0);
	bus_write(fake_bus, BUS_MMIO, 1, LAPIC_BASE + 0x80, 0x55, 1);
	assert(rd(1, TPR) == 0);
}

static void test_modes(void)
{
	uint64_t v;

	fresh();
	/* reserved bits, and what is not a mode */
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | 1) == LAPIC_GP);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | 1 << 9) == LAPIC_GP);
	assert(wrmsr(1, 0x1b, 1ull << 40 | LAPIC_BASE | EN) == LAPIC_GP); /* maxphyaddr 40 */
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EXTD) == LAPIC_GP);
	assert(base(1) == (LAPIC_BASE | EN));
	/* in xAPIC mode no x2APIC MSR exists */
	assert(rdmsr(1, 0x802, &v) == LAPIC_GP && wrmsr(1, 0x808, 0) == LAPIC_GP);
	assert(rdmsr(1, 0x7ff, &v) == LAPIC_UNKNOWN && wrmsr(1, 0x900, 0) == LAPIC_UNKNOWN);
	assert(rdmsr(1, 0x800, &v) == LAPIC_GP && wrmsr(1, 0x8ff, 0) == LAPIC_GP);
	assert(wrmsr(1, 0x800, 0) == LAPIC_GP && rdmsr(1, 0x8ff, &v) == LAPIC_GP);
	/* off: the page is gone, what was set is lost, CR8 remains */
	wr(1, TPR, 0x30);
	wr(1, LVT_ERROR, 0x40);
	assert(wrmsr(1, 0x1b, LAPIC_BASE) == LAPIC_OK);
	assert(rd(1, VERSION) == 0xffffffff);
	wr(1, TPR, 0x77);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | EXTD) == LAPIC_GP); /* off -> x2APIC */
	bus_lock(fake_bus);
	lapics_set_cr8(s, 1, 9);
	assert(lapics_cr8(s, 1) == 9);
	bus_unlock(fake_bus);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN) == LAPIC_OK);
	assert(rd(1, TPR) == 0x90 && rd(1, SVR) == 0xff && rd(1, LVT_ERROR) == MASKED);
	/* x2APIC: no page; not back to xAPIC, only off */
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | EXTD) == LAPIC_OK);
	assert(rd(1, VERSION) == 0xffffffff);
	wr(1, TPR, 0x10);
	assert(x2rd(1, TPR) == 0x90 && x2rd(1, ID) == 1);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN) == LAPIC_GP);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EXTD) == LAPIC_GP);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | EXTD | BSP) == LAPIC_OK); /* a flag like any */
	assert(wrmsr(1, 0x1b, LAPIC_BASE) == LAPIC_OK);
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN) == LAPIC_OK && rd(1, VERSION) == 0x50014);
	/* other CPUs saw nothing of it */
	assert(rd(2, SVR) == 0x1ff);
}

static void test_move(void)
{
	const uint64_t to = 0xfed40000;

	fresh();
	assert(wrmsr(1, 0x1b, to | EN) == LAPIC_OK);
	assert(bus_read(fake_bus, BUS_MMIO, 1, to + 0x30, 4) == 0x50014);
	assert(rd(1, VERSION) == 0xffffffff);              /* not any more here */
	assert(bus_read(fake_bus, BUS_MMIO, 2, to + 0x30, 4) == 0xffffffff); /* not for others */
	assert(rd(2, VERSION) == 0x50014);
	for (unsigned i = 0; i < CPUS; i++) /* each its own page, round and round */
		for (unsigned k = 0; k < 3; k++)
			assert(wrmsr(i, 0x1b, 0xd0000000 + (i + k * CPUS) * 0x1000 + EN) == LAPIC_OK);
	assert(bus_read(fake_bus, BUS_MMIO, 3, 0xd0000000 + (3 + 2 * CPUS) * 0x1000 + 0x20, 4) == 3 << 24);
	assert(bus_read(fake_bus, BUS_MMIO, 3, 0xd0000000 + 3 * 0x1000 + 0x20, 4) == 0xffffffff);
	bus_reset(fake_bus);
	assert(rd(3, VERSION) == 0x50014);
	assert(bus_read(fake_bus, BUS_MMIO, 3, 0xd0000000 + (3 + 2 * CPUS) * 0x1000 + 0x20, 4) == 0xffffffff);
}

static void test_x2_registers(void)
{
	static const struct {
		unsigned reg;
		bool read, write;
		uint64_t good, bad; /* a value to write, a reserved bit */
	} rows[] = {
		{ID, 1, 0, 0, 0}, {VERSION, 1, 0, 0, 0}, {TPR, 1, 1, 0xff, 0x100}, {PPR, 1, 0, 0, 0},
		{EOI, 0, 1, 0, 1}, {LDR, 1, 0, 0, 0}, {DFR, 0, 0, 0, 0}, {SVR, 1, 1, 0x1ff, 0x400},
		{ISR, 1, 0, 0, 0}, {ISR + 7, 1, 0, 0, 0}, {TMR + 3, 1, 0, 0, 0}, {IRR + 7, 1, 0, 0, 0},
		{ESR, 1, 1, 0, 1}, {0x2f, 0, 0, 0, 0}, {ICR, 1, 1, 0x10000000040ff, 1 << 13},
		{ICR_HIGH, 0, 0, 0, 0}, {LVT_TIMER, 1, 1, 0x300ff, 0x400}, {LVT_THERMAL, 1, 1, 0x107ff, 0x800},
		{LVT_PMC, 1, 1, 0x107ff, 1 << 15}, {LVT_LINT0, 1, 1, 0x1a7ff, 0x800},
		{LVT_LINT1, 1, 1, 0x1a7ff, 1 << 17}, {LVT_ERROR, 1, 1, 0x100ff, 0x100},
		{TICR, 1, 1, 0xffffffff, 1ull << 32}, {TCCR, 1, 0, 0, 0}, {TDCR, 1, 1, 0xb, 4},
		{SELF_IPI, 0, 1, 0x40, 0x100}, {0x00, 0, 0, 0, 0}, {0x09, 0, 0, 0, 0}, {0x0c, 0, 0, 0, 0},
		{0x3a, 0, 0, 0, 0}, {0x40, 0, 0, 0, 0}, {0xff, 0, 0, 0, 0},
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		uint32_t msr = 0x800 + rows[i].reg;

		fresh_x2();
		assert((rdmsr(2, msr, &v) == LAPIC_OK) == rows[i].read);
		assert((wrmsr(2, msr, rows[i].good) == LAPIC_OK) == rows[i].write);
		if (rows[i].write) {
			assert(wrmsr(2, msr, rows[i].good | rows[i].bad) == LAPIC_GP);
			if (rows[i].read && rows[i].reg != ESR)
				assert(x2rd(2, rows[i].reg) == rows[i].good);
			if (rows[i].reg != ICR)
				assert(wrmsr(2, msr, rows[i].good | 1ull << 63) == LAPIC_GP);
		}
		take(2);
		take(1);
		x2wr(2, TPR, 0);
		take(2);
	}
	assert(x2rd(2, LDR) == 0x4 && x2rd(17, LDR) == 0x10002);
}

static void test_priority(void)
{
	fresh();
	wr(1, ICR, SELF | 0x41);
	assert(cpu[1].pending && bits(1, IRR, 0x41));
	wr(1, TPR, 0x40); /* same class: held back */
	assert(!cpu[1].pending && ack(1) == -1);
	wr(1, TPR, 0x3f);
	assert(cpu[1].pending);
	wr(1, ICR, SELF | 0x52);
	wr(1, ICR, SELF | 0x53);
	assert(ack(1) == 0x53 && bits(1, ISR, 0x53) && !bits(1, IRR, 0x53) && rd(1, PPR) == 0x50);
	assert(!cpu[1].pending); /* 0x52 has the class of what is in service */
	wr(1, ICR, SELF | 0x61);
	assert(cpu[1].pending && ack(1) == 0x61 && rd(1, PPR) == 0x60);
	wr(1, EOI, 0);
	assert(rd(1, PPR) == 0x50 && !cpu[1].pending);
	wr(1, EOI, 0);
	assert(cpu[1].pending && ack(1) == 0x52);
	wr(1, TPR, 0x5a); /* TPR of the same class counts whole */
	assert(rd(1, PPR) == 0x5a);
	wr(1, EOI, 0);
	wr(1, TPR, 0);
	assert(take(1) == 0x41 && take(1) == -1);
	wr(1, EOI, 0); /* nothing in service: harmless */
	/* CR8 is TPR 7:4 */
	bus_lock(fake_bus);
	lapics_set_cr8(s, 1, 0x1f);
	assert(lapics_cr8(s, 1) == 0xf);
	bus_unlock(fake_bus);
	assert(rd(1, TPR) == 0xf0);
	wr(1, ICR, SELF | 0xff);
	assert(!cpu[1].pending);
	wr(1, TPR, 0x24);
	bus_lock(fake_bus);
	assert(lapics_cr8(s, 1) == 2);
	bus_unlock(fake_bus);
	assert(take(1) == 0xff);
	/* every vector, in order of importance */
	wr(1, TPR, 0);
	for (unsigned v = 16; v < 256; v++)
		wr(1, ICR, SELF | v);
	for (int v = 255; v >= 16; v--)
		assert(take(1) == v);
	assert(take(1) == -1 && !cpu[1].pending);
}

/* Who gets vector v? A bit per CPU; everything is taken. */
static uint32_t who(int v)
{
	uint32_t set = 0;

	for (unsigned i = 0; i < CPUS; i++)
		if (cpu[i].pending) {
			assert(take(i) == v);
			set |= 1u << i;
		}
	return set;
}

static uint32_t icr(unsigned from, uint32_t dest, uint32_t lo)
{
	if (base(from) & EXTD) {
		x2wr(from, ICR, (uint64_t)dest << 32 | lo);
	} else {
		wr(from, ICR_HIGH, dest << 24);
		wr(from, ICR, lo);
	}
	return who(lo & 0xff);
}

static void test_ipi_xapic(void)
{
	const uint32_t all = (1u << CPUS) - 1;

	fresh();
	assert(icr(0, 3, 0x40) == 1u << 3 && icr(3, 0, 0x40 | ASSERT) == 1 && icr(2, 2, 0x40) == 4);
	assert(icr(0, 100, 0x40) == 0 && icr(0, 0xff, 0x40) == all);
	assert(icr(5, 0, SELF | 0x41) == 1u << 5 && icr(5, 0, ALL | 0x41) == all);
	assert(icr(5, 0, OTHERS | 0x41) == (all & ~(1u << 5)));
	assert(rd(5, ICR) == (OTHERS | 0x41)); /* status idle */
	/* logical: nobody yet, then flat */
	assert(icr(0, 0x01, LOGICAL | 0x42) == 0 && icr(0, 0xff, LOGICAL | 0x42) == all);
	for (unsigned i = 0; i < 8; i++)
		wr(i, LDR, 1u << i << 24);
	assert(icr(0, 0x81, LOGICAL | 0x42) == 0x81 && icr(0, 0x00, LOGICAL | 0x42) == 0);
	/* cluster: four to a cluster */
	for (unsigned i = 0; i < CPUS; i++) {
		wr(i, DFR, 0x0fffffff);
		wr(i, LDR, (i / 4) << 28 | 1u << i % 4 << 24);
	}
	assert(rd(0, DFR) == 0x0fffffff && rd(7, LDR) == 0x18000000);
	assert(icr(0, 0x1a, LOGICAL | 0x43) == (1u << 5 | 1u << 7) && icr(0, 0x4f, LOGICAL | 0x43) == 0xf0000);
	assert(icr(0, 0x70, LOGICAL | 0x43) == 0 && icr(0, 0xff, LOGICAL | 0x43) == all);
	/* a DFR of no model */
	wr(2, DFR, 0x30000000);
	assert(icr(0, 0x04, LOGICAL | 0x43) == 0);
}

static void test_ipi_x2apic(void)
{
	const uint32_t all = (1u << CPUS) - 1;

	fresh_x2();
	assert(icr(0, 19, 0x40) == 1u << 19 && icr(0, 0xffffffff, 0x40) == all);
	assert(icr(0, 0xff, 0x40) == 0); /* is an ID here */
	assert(icr(0, 0x00000005, LOGICAL | 0x41) == 5 && icr(0, 0x0001000f, LOGICAL | 0x41) == 0xf0000);
	assert(icr(0, 0x00020001, LOGICAL | 0x41) == 0 && icr(0, 0xffffffff, LOGICAL | 0x41) == all);
	x2wr(7, SELF_IPI, 0x55);
	assert(who(0x55) == 1u << 7);
	assert(icr(4, 0, OTHERS | 0x41) == (all & ~0x10u));
	assert(x2rd(4, ICR) == (OTHERS | 0x41));
}

static void test_lowest(void)
{
	unsigned n[CPUS] = {0};

	fresh();
	for (unsigned i = 0; i < 4; i++) {
		wr(i, LDR, 1u << i << 24);
		wr(i, TPR, 0x20);
	}
	wr(2, TPR, 0x10);
	for (int i = 0; i < 4; i++)
		assert(icr(0, 0x0f, LOGICAL | LOWEST | 0x60) == 1u << 2);
	/* equals take turns */
	wr(2, TPR, 0x20);
	for (unsigned k = 0; k < 40; k++) {
		uint32_t set = icr(0, 0x0f, LOGICAL | LOWEST | 0x60);

		assert(set && !(set & (set - 1)));
		n[__builtin_ctz(set)]++;
	}
	for (unsigned i = 0; i < 4; i++)
		assert(n[i] == 10);
	/* who is switched off by software is not asked */
	wr(1, SVR, 0xff);
	wr(2, SVR, 0xff);
	assert(icr(0, 0x06, LOGICAL | LOWEST | 0x60) == 0);
	for (int i = 0; i < 4; i++)
		assert(icr(0, 0x0e, LOGICAL | LOWEST | 0x60) == 1u << 3);
	/* a device's hint does the same */
	msi(0xfee00000 | 0x0e << 12 | 1 << 3 | 1 << 2, 0x61);
	assert(who(0x61) == 1u << 3);
}

static void test_special(void)
{
	fresh();
	wr(1, SVR, 0xff); /* NMI, INIT and SIPI come also when switched off by software */
	icr(0, 1, NMI | ASSERT);
	assert(cpu[1].nmis == 1);
	icr(0, 0, OTHERS | NMI);
	assert(cpu[1].nmis == 2 && cpu[0].nmis == 0 && cpu[CPUS - 1].nmis == 1);
	wr(1, TPR, 0x50);
	wr(1, LVT_ERROR, 0x33);
	icr(0, 1, INIT | ASSERT | LEVEL);
	assert(cpu[1].inits == 1 && rd(1, TPR) == 0 && rd(1, LVT_ERROR) == MASKED && rd(1, ID) == 1 << 24);
	icr(0, 1, INIT | LEVEL); /* de-assert */
	assert(cpu[1].inits == 1);
	icr(0, 1, SIPI | 0x9a);
	assert(cpu[1].sipis == 1 && cpu[1].sipi == 0x9a && !cpu[1].pending);
	icr(0, 1, SMI | ASSERT);
	icr(0, 1, 3 << 8 | 0x40); /* reserved */
	icr(0, 1, EXTINT | 0x40);
	assert(!cpu[1].pending && cpu[1].inits == 1 && cpu[1].nmis == 2);
	/* INIT keeps x2APIC mode */
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | EXTD) == LAPIC_OK);
	x2wr(1, TPR, 0x20);
	wr(0, ICR, OTHERS | INIT | ASSERT);
	assert(cpu[1].inits == 2 && base(1) == (LAPIC_BASE | EN | EXTD) && x2rd(1, TPR) == 0);
	/* an APIC that is off hears nothing */
	assert(wrmsr(1, 0x1b, LAPIC_BASE) == LAPIC_OK);
	icr(0, 0, OTHERS | NMI);
	assert(cpu[1].nmis == 2);
	/* nor does what is known of their triggers */
	wr(4, SVR, 0x1ff);
	msi(0xfee00000 | 4 << 12, 0x49 | 1 << 15 | 1 << 14);
	assert(bits(4, TMR, 0x49));
	icr(0, 4, INIT | ASSERT);
	assert(!bits(4, TMR, 0x49) && !cpu[4].pending);
	/* pending interrupts do not survive INIT */
	wr(0, TPR, 0);
	wr(3, SVR, 0x1ff);
	wr(3, ICR, SELF | 0x50);
	assert(cpu[3].pending);
	icr(0, 3, INIT | ASSERT);
	assert(!cpu[3].pending && ack(3) == -1);
}

static void test_disable(void)
{
	fresh();
	wr(1, LVT_TIMER, 0x30);
	wr(1, SVR, 0xff);
	assert(rd(1, LVT_TIMER) == (MASKED | 0x30));
	wr(1, LVT_TIMER, 0x31); /* cannot be unmasked meanwhile */
	assert(rd(1, LVT_TIMER) == (MASKED | 0x31));
	assert(icr(0, 1, 0x40) == 0);
	wr(1, SVR, 0x1ff);
	assert(rd(1, LVT_TIMER) == (MASKED | 0x31) && icr(0, 1, 0x40) == 2);
	assert(!bits(1, IRR, 0x40));
}

static void test_msi(void)
{
	fresh();
	msi(0xfee00000 | 4 << 12, 0x48);
	assert(who(0x48) == 1u << 4);
	msi(0xfef00000 | 4 << 12, 0x48); /* not an interrupt address */
	msi(0x1fee04000, 0x48);
	assert(who(0x48) == 0);
	msi(0xfee00000 | 0xff << 12, 0x48);
	assert(who(0x48) == (1u << CPUS) - 1);
	/* level: EOI is reported; de-assert is nothing */
	msi(0xfee00000 | 4 << 12, 0x49 | 1 << 15);
	assert(who(0x49) == 0);
	msi(0xfee00000 | 4 << 12, 0x49 | 1 << 15 | 1 << 14);
	assert(bits(4, TMR, 0x49) && ack(4) == 0x49 && eoi_vector == -1);
	wr(4, EOI, 0);
	assert(eoi_vector == 0x49);
	eoi_vector = -1;
	msi(0xfee00000 | 4 << 12, 0x49); /* an edge on the same vector */
	assert(!bits(4, TMR, 0x49) && take(4) == 0x49 && eoi_vector == -1);
	/* modes */
	msi(0xfee00000 | 5 << 12, NMI);
	msi(0xfee00000 | 5 << 12, INIT | 1 << 14);
	msi(0xfee00000 | 5 << 12, SMI);
	msi(0xfee00000 | 5 << 12, EXTINT);
	assert(cpu[5].nmis == 1 && cpu[5].inits == 1 && !cpu[5].pending);
	/* to APICs in x2APIC mode: 8 bits of the first cluster, and everyone */
	fresh_x2();
	msi(0xfee00000 | 0x81 << 12 | 1 << 2, 0x48);
	assert(who(0x48) == 0x81);
	msi(0xfee00000 | 0xff << 12, 0x48);
	assert(who(0x48) == (1u << CPUS) - 1);
}

static void test_errors(void)
{
	fresh();
	wr(1, LVT_ERROR, 0xe0);
	wr(1, ICR, SELF | 0x0f);
	assert(rd(1, ESR) == 0 && take(1) == 0xe0);
	wr(1, ICR, SELF | 0x0f); /* no second interrupt before ESR is written */
	assert(take(1) == -1);
	wr(1, ESR, 0);
	assert(rd(1, ESR) == 0x20);
	wr(1, ESR, 0);
	assert(rd(1, ESR) == 0);
	msi(0xfee00000 | 1 << 12, 0x05);
	assert(take(1) == 0xe0);
	rd(1, 0x3a);
	assert(take(1) == 0xe0);
	wr(1, 0x00, 1);
	wr(1, ESR, 0);
	assert(rd(1, ESR) == 0xc0);
	/* an error entry that is an error itself */
	wr(1, ESR, 0);
	wr(1, LVT_ERROR, 0x08);
	wr(1, ICR, SELF | 0x01);
	wr(1, ESR, 0);
	assert(rd(1, ESR) == 0x60 && take(1) == -1);
	/* x2APIC self IPI */
	fresh_x2();
	x2wr(1, LVT_ERROR, 0xe0);
	x2wr(1, SELF_IPI, 3);
	assert(take(1) == 0xe0);
	x2wr(1, ESR, 0);
	assert(x2rd(1, ESR) == 0x20);
}

static void test_one_shot(void)
{
	fresh();
	wr(1, LVT_TIMER, 0x30);
	wr(1, TDCR, 0xb); /* by 1: 1 GHz */
	wr(1, TICR, 1000000);
	assert(rd(1, TICR) == 1000000 && rd(1, TCCR) == 1000000);
	fake_advance(400 * US);
	assert(rd(1, TCCR) == 600000 && !cpu[1].pending);
	fake_advance(600 * US - 1);
	assert(rd(1, TCCR) == 1 && !cpu[1].pending);
	fake_advance(2);
	assert(rd(1, TCCR) == 0 && take(1) == 0x30);
	fake_advance(10 * MS);
	assert(take(1) == -1 && rd(1, TCCR) == 0);
	/* over, although the host timer has not told yet; the same in periodic mode */
	wr(1, TICR, 1000000);
	fake_now += 1100 * US;
	assert(rd(1, TCCR) == 0);
	fake_advance(0);
	assert(take(1) == 0x30);
	wr(1, LVT_TIMER, PERIODIC | 0x30);
	wr(1, TICR, 1000000);
	fake_now += 1100 * US;
	assert(rd(1, TCCR) == 900000);
	fake_advance(0);
	assert(take(1) == 0x30);
	wr(1, LVT_TIMER, 0x30);
	/* dividers 1 to 128 */
	for (unsigned k = 0; k < 8; k++) {
		unsigned code = (k + 7) % 8; /* 7: by 1, 0: by 2, ... */

		wr(1, TDCR, (code & 3) | (code & 4) << 1);
		wr(1, TICR, 1000);
		fake_advance(500u << k);
		assert(rd(1, TCCR) == 500);
		fake_advance((500u << k) - 1);
		assert(!cpu[1].pending);
		fake_advance(2);
		assert(take(1) == 0x30);
	}
	/* another divider while it counts: goes on from there */
	wr(1, TDCR, 0xb);
	wr(1, TICR, 1000000);
	fake_advance(500 * US);
	wr(1, TDCR, 0);
	assert(rd(1, TCCR) == 500000);
	fake_advance(500 * US);
	assert(rd(1, TCCR) == 250000);
	fake_advance(501 * US);
	assert(take(1) == 0x30);
	/* masked: counts without interrupt and without a host timer */
	wr(1, TDCR, 0xb);
	wr(1, LVT_TIMER, MASKED | 0x30);
	wr(1, TICR, 1000);
	assert(!fake_next());
	fake_advance(500);
	assert(rd(1, TCCR) == 500);
	fake_advance(10 * US);
	wr(1, LVT_TIMER, 0x30);
	assert(rd(1, TCCR) == 0 && take(1) == -1);
	/* count 0 stops */
	wr(1, TICR, 1000);
	wr(1, TICR, 0);
	fake_advance(MS);
	assert(take(1) == -1 && rd(1, TCCR) == 0);
	/* INIT stops */
	wr(1, TICR, 1000);
	icr(0, 1, INIT | ASSERT);
	fake_advance(MS);
	assert(take(1) == -1 && !fake_next());
}

/* What kvm-unit-tests' apic test does with the mode of a running timer. */
static void test_mode_change(void)
{
	const uint32_t n = 0x999999;

	fresh();
	wr(1, TDCR, 0xb);
	wr(1, LVT_TIMER, 0x30);
	wr(1, TICR, n);
	fake_advance(n * 3 / 4);
	wr(1, LVT_TIMER, PERIODIC | 0x30);
	assert(rd(1, TCCR) && rd(1, TCCR) < n / 2);
	fake_advance(n / 2);
	assert(take(1) == 0x30 && rd(1, TCCR) > n / 2);
	fake_advance(n * 3 / 4 + 10);
	assert(take(1) == 0x30);
	fake_advance(n * 3 / 4);
	wr(1, LVT_TIMER, 0x30);
	assert(rd(1, TCCR) && rd(1, TCCR) < n / 2);
	fake_advance(n);
	assert(take(1) == 0x30 && rd(1, TCCR) == 0);
	wr(1, LVT_TIMER, PERIODIC | 0x30);
	fake_advance(2 * n);
	assert(rd(1, TCCR) == 0 && rd(1, TICR) == n && take(1) == -1);
	/* to TSC-deadline and back: disarmed */
	wr(1, TICR, n);
	wr(1, LVT_TIMER, DEADLINE | 0x30);
	assert(rd(1, TCCR) == 0);
	wr(1, TICR, n); /* not taken in this mode */
	assert(rd(1, TICR) == 0 && !fake_next());
	wr(1, LVT_TIMER, 0x30);
	fake_advance(2 * n);
	assert(rd(1, TCCR) == 0 && take(1) == -1);
}

static void test_periodic(void)
{
	unsigned got = 0;

	fresh();
	wr(1, TDCR, 0xb);
	wr(1, LVT_TIMER, PERIODIC | 0x31);
	wr(1, TICR, 100000);
	for (int i = 0; i < 1000; i++) { /* 100 ms: no drift */
		fake_advance(100 * US);
		got += take(1) == 0x31;
		assert(take(1) == -1);
	}
	assert(got >= 999 && got <= 1000);
	assert(rd(1, TCCR) == 100000 || rd(1, TCCR) <= 1);
	/* late by many periods: one interrupt, and in step again */
	fake_now += 12345678;
	fake_advance(0);
	assert(take(1) == 0x31 && take(1) == -1);
	assert(rd(1, TCCR) == 100000 - 12345678 % 100000);
	/* a tick that the host timer has not told yet is not lost when the divider changes */
	fake_advance(50 * US);
	take(1);
	fake_now += 100 * US;
	wr(1, TDCR, 0);
	assert(take(1) == 0x31);
	wr(1, TDCR, 0xb);
	/* a period of 1 ns does not make us spin */
	wr(1, TICR, 1);
	fake_fired = 0;
	fake_advance(10 * MS);
	assert(fake_fired >= 400 && fake_fired <= 500);
	assert(take(1) == 0x31);
	wr(1, TICR, 0);
	assert(!fake_next());
}

static void test_deadline(void)
{
	uint64_t v, tsc;

	fresh();
	/* not in this mode: the MSR swallows */
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 1000) == LAPIC_OK);
	assert(rdmsr(1, 0x6e0, &v) == LAPIC_OK && v == 0 && !fake_next());
	wr(1, LVT_TIMER, DEADLINE | 0x32);
	tsc = on_tsc(NULL, 1) + 3000000; /* a millisecond */
	assert(wrmsr(1, 0x6e0, tsc) == LAPIC_OK);
	assert(rdmsr(1, 0x6e0, &v) == LAPIC_OK && v == tsc);
	fake_advance(MS - 1);
	assert(!cpu[1].pending);
	fake_advance(2);
	assert(take(1) == 0x32 && rdmsr(1, 0x6e0, &v) == LAPIC_OK && v == 0);
	/* passed already */
	assert(wrmsr(1, 0x6e0, 1) == LAPIC_OK && take(1) == 0x32);
	/* disarmed by 0, and by another mode */
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 3000) == LAPIC_OK && wrmsr(1, 0x6e0, 0) == LAPIC_OK);
	assert(!fake_next());
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 3000) == LAPIC_OK);
	wr(1, LVT_TIMER, 0x32);
	fake_advance(MS);
	assert(take(1) == -1);
	wr(1, LVT_TIMER, DEADLINE | 0x32);
	/* the guest's TSC is behind when the host timer fires: not early */
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 3000000) == LAPIC_OK);
	tsc_skew = -1500000;
	fake_advance(MS + 2);
	assert(!cpu[1].pending);
	fake_advance(MS / 2);
	assert(take(1) == 0x32);
	tsc_skew = 0;
	/* reading finds an expiry that the host timer has not told yet */
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 3000) == LAPIC_OK);
	fake_now += MS;
	assert(rdmsr(1, 0x6e0, &v) == LAPIC_OK && v == 0 && take(1) == 0x32);
	/* masked: expires, but is not heard; far away: no overflow */
	wr(1, LVT_TIMER, MASKED | DEADLINE | 0x32);
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 3000) == LAPIC_OK);
	fake_advance(MS);
	wr(1, LVT_TIMER, DEADLINE | 0x32);
	assert(take(1) == -1);
	assert(wrmsr(1, 0x6e0, UINT64_MAX) == LAPIC_OK);
	fake_advance(100 * 3600 * S);
	assert(take(1) == -1 && fake_next() > fake_now);
	/* and in x2APIC mode */
	assert(wrmsr(1, 0x1b, LAPIC_BASE | EN | EXTD) == LAPIC_OK);
	assert(wrmsr(1, 0x6e0, on_tsc(NULL, 1) + 3000) == LAPIC_OK);
	fake_advance(1001);
	assert(take(1) == 0x32);
}

static bool pic_level;

static int pic_ack(void *arg)
{
	(void)arg;
	pic_level = false;
	lapics_extint(s, false);
	return 0x08;
}

static void extint(bool level)
{
	bus_lock(fake_bus);
	pic_level = level;
	lapics_extint(s, level);
	bus_unlock(fake_bus);
}

static void test_lint0(void)
{
	fresh();
	lapics_set_pic(s, pic_ack, NULL);
	wr(0, LVT_LINT0, EXTINT);
	extint(true);
	assert(cpu[0].pending && !cpu[1].pending);
	wr(0, TPR, 0xff); /* ExtINT does not ask the TPR */
	wr(0, LVT_LINT0, EXTINT | MASKED);
	assert(!cpu[0].pending);
	wr(0, LVT_LINT0, EXTINT);
	assert(cpu[0].pending && ack(0) == 0x08 && !cpu[0].pending);
	wr(0, TPR, 0);
	/* off: the pin is INTR itself */
	extint(true);
	wr(0, LVT_LINT0, EXTINT | MASKED);
	assert(!cpu[0].pending);
	assert(wrmsr(0, 0x1b, LAPIC_BASE | BSP) == LAPIC_OK);
	assert(cpu[0].pending && ack(0) == 0x08 && !cpu[0].pending);
	/* as a fixed interrupt by edge, by level with remote IRR, as NMI */
	fresh();
	wr(0, LVT_LINT0, 0x70);
	extint(true);
	assert(take(0) == 0x70 && take(0) == -1);
	extint(false);
	wr(0, LVT_LINT0, LEVEL | 0x71);
	extint(true);
	assert(rd(0, LVT_LINT0) == (LEVEL | 1 << 14 | 0x71));
	assert(take(0) == 0x71 && take(0) == 0x71); /* still high */
	assert(ack(0) == 0x71);
	extint(false);
	wr(0, EOI, 0);
	assert(rd(0, LVT_LINT0) == (LEVEL | 0x71) && take(0) == -1);
	wr(0, LVT_LINT0, NMI);
	extint(true);
	extint(true);
	assert(cpu[0].nmis == 1 && !cpu[0].pending);
	extint(false);
}

int main(void)
{
	struct lapic_cpu_ops ops = {.irq = on_irq, .nmi = on_nmi, .init = on_init, .sipi = on_sipi, .eoi = on_eoi,
		.tsc = on_tsc, .tsc_khz = TSC_PER_NS * 1000000, .maxphyaddr = 40};

	fake_bus = bus_new();
	s = lapics_new(fake_bus, NULL, CPUS, &ops);
	assert(!lapics_map(s));
	assert(!fake_next());
	test_reset_values();
	test_modes();
	test_move();
	test_x2_registers();
	test_priority();
	test_ipi_xapic();
	test_ipi_x2apic();
	test_lowest();
	test_special();
	test_disable();
	test_msi();
	test_errors();
	test_one_shot();
	test_mode_change();
	test_periodic();
	test_deadline();
	test_lint0();
	lapics_free(s);
	bus_free(fake_bus);
	return 0;
}
