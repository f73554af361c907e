/* SPDX-License-Identifier: MIT */
/*
 * Local APICs (SDM Vol. 3A chapter 11, "Advanced Programmable Interrupt Controller").
 *
 * One struct lapic per vCPU, all under the board lock. Registers are numbered as in x2APIC mode: register
 * n is MSR 0x800 + n, and offset n * 16 of the xAPIC page; only ICR differs (11.12.1.2).
 *
 * An interrupt is a bit in IRR until the CPU acknowledges it, then in ISR until EOI. After everything
 * that can change the answer, update() compares the highest IRR class with the processor priority and
 * tells the CPU about the level of its INTR pin; nothing else decides that.
 *
 * Timer. The counter is never stepped: count_start and target say at which tick since then it reaches
 * zero next, and reads compute. timer_poll() brings this up to date and raises what has become due;
 * every change of mode, mask or divider polls under the old setting first. TSC-deadline mode compares the
 * guest's TSC; the host timer only wakes us to look. The host is asked for wake-ups of one periodic timer
 * at most every TIMER_MIN_NS; ticks in between merge in IRR, where a second one would have been lost as well.
 *
 * What follows Intel's present processors: the APIC ID is read-only, IPIs are edge-triggered whatever the
 * ICR says, INIT level de-assert is ignored, no bus arbitration, no remote read, no focus processor, no
 * EOI-broadcast suppression, no CMCI. SMIs go nowhere (there is no SMM). CPU 0 comes up with LINT0 as ExtINT,
 * the virtual wire that firmware would leave (MP specification 3.6.2.1), since there may be no firmware.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "dev/lapic.h"

enum {
	MSR_APIC_BASE = 0x1b,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC = 0x800,
	MSR_X2APIC_LAST = 0x8ff,
};

enum {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10,
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31, /* xAPIC only */
	REG_LVT = 0x32,      /* six of them, enum lvt */
	REG_LVT_LAST = 0x37,
	REG_COUNT_INIT = 0x38,
	REG_COUNT_NOW = 0x39,
	REG_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f, /* x2APIC only */
};

enum lvt { LVT_TIMER, LVT_THERMAL, LVT_PMC, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVTS };

enum delivery { DM_FIXED, DM_LOWEST, DM_SMI, DM_RESERVED, DM_NMI, DM_INIT, DM_SIPI, DM_EXTINT };

enum timer_mode { TIMER_ONE_SHOT, TIMER_PERIODIC, TIMER_DEADLINE, TIMER_RESERVED };

enum { DEST_FIELD, DEST_SELF, DEST_ALL, DEST_OTHERS };

#define VERSION       (0x14u | (LVTS - 1) << 16)
#define BASE_BSP      (1u << 8)
#define BASE_EXTD     (1u << 10)
#define BASE_EN       (1u << 11)
#define BASE_FLAGS    (BASE_BSP | BASE_EXTD | BASE_EN)
#define SVR_ENABLE    (1u << 8)
#define SVR_BITS      0x3ffu
#define LVT_STATUS    (1u << 12) /* delivery status: always idle here */
#define LVT_REMOTE    (1u << 14)
#define LVT_LEVEL     (1u << 15)
#define LVT_MASKED    (1u << 16)
#define ICR_LOGICAL   (1u << 11)
#define ICR_ASSERT    (1u << 14)
#define ICR_LEVEL     (1u << 15)
#define ICR_RESERVED  0xfff32000u /* x2APIC: #GP; status (bit 12) is ignored */
#define ESR_SEND_ILL  (1u << 5)
#define ESR_RECV_ILL  (1u << 6)
#define ESR_BAD_REG   (1u << 7)
#define TIMER_MIN_NS  20000u
#define TIMER_FAR_NS  (UINT64_C(3600) * 1000000000u) /* a sleep is not longer; then we look again */

static const uint32_t lvt_bits[LVTS] = {
	[LVT_TIMER] = 0x000700ff,
	[LVT_THERMAL] = 0x000107ff,
	[LVT_PMC] = 0x000107ff,
	[LVT_LINT0] = 0x0001a7ff,
	[LVT_LINT1] = 0x0001a7ff,
	[LVT_ERROR] = 0x000100ff,
};

/* A place where the guest has at least one APIC; normally there is one for all. */
struct apic_page {
	struct lapics *all;
	uint64_t base;
	unsigned users;
	bool mapped;
};

struct lapic {
	struct lapics *all;
	unsigned id;
	uint64_t base; /* MSR_APIC_BASE */
	struct apic_page *page;
	uint32_t isr[8], tmr[8], irr[8];
	uint32_t tpr, ldr, dfr, svr;
	uint32_t errors, esr; /* what happened; what the last write to ESR latched */
	uint64_t icr;
	uint32_t lvt[LVTS];

	uint32_t count_init, divide;
	bool counting;
	uint64_t count_start; /* ns */
	uint64_t target;      /* tick after count_start at which the counter is 0 next */
	uint64_t deadline;    /* TSC; 0 not armed */
	struct timer timer;

	bool lint0; /* level of the wire */
	bool intr;  /* what the CPU was told */
};

struct lapics {
	struct bus *bus;
	struct loop *loop;
	struct lapic_cpu_ops ops;
	int (*pic_ack)(void *arg);
	void *pic_arg;
	unsigned n, rotate;
	bool on_bus;
	struct apic_page *page; /* n of them: no guest can use more */
	struct lapic apic[];
};

static bool enabled(const struct lapic *a)
{
	return a->base & BASE_EN;
}

static bool x2apic(const struct lapic *a)
{
	return a->base & BASE_EXTD;
}

/* --- vectors and priorities (11.8.3) --- */

static void bit_set(uint32_t *map, unsigned v)
{
	map[v / 32] |= 1u << v % 32;
}

static void bit_clear(uint32_t *map, unsigned v)
{
	map[v / 32] &= ~(1u << v % 32);
}

static bool bit_get(const uint32_t *map, unsigned v)
{
	return map[v / 32] >> v % 32 & 1;
}

static int highest(const uint32_t *map)
{
	for (int i = 7; i >= 0; i--)
		if (map[i])
			return i * 32 + 31 - __builtin_clz(map[i]);
	return -1;
}

static uint32_t ppr(const struct lapic *a)
{
	int v = highest(a->isr);
	uint32_t in_service = v < 0 ? 0 : (uint32_t)v & 0xf0;

	return (a->tpr & 0xf0) >= in_service ? a->tpr : in_service;
}

static int deliverable(const struct lapic *a)
{
	int v = highest(a->irr);

	if (v < 0 || !enabled(a) || ((uint32_t)v & 0xf0) <= (ppr(a) & 0xf0))
		return -1;
	return v;
}

static enum delivery lvt_mode(uint32_t lvt)
{
	return lvt >> 8 & 7;
}

/* The 8259s' INTR reaches the core: through LINT0, or directly while the APIC is disabled (11.4.3). */
static bool extint(const struct lapic *a)
{
	uint32_t lvt = a->lvt[LVT_LINT0];

	if (!a->lint0)
		return false;
	return !enabled(a) || (!(lvt & LVT_MASKED) && lvt_mode(lvt) == DM_EXTINT);
}

static void update(struct lapic *a)
{
	bool pending = extint(a) || deliverable(a) >= 0;

	if (pending == a->intr)
		return;
	a->intr = pending;
	a->all->ops.irq(a->all->ops.arg, a->id, pending);
}

static void accept(struct lapic *a, unsigned vector, bool level);

static void lvt_raise(struct lapic *a, enum lvt i);

static void error(struct lapic *a, uint32_t bit)
{
	bool again = a->errors & bit;

	a->errors |= bit;
	if (!again) /* which also ends the recursion when LVT_ERROR itself has an illegal vector */
		lvt_raise(a, LVT_ERROR);
}

static void accept(struct lapic *a, unsigned vector, bool level)
{
	if (!enabled(a) || !(a->svr & SVR_ENABLE))
		return;
	if (vector < 16) {
		error(a, ESR_RECV_ILL);
		return;
	}
	bit_set(a->irr, vector);
	if (level)
		bit_set(a->tmr, vector);
	else
		bit_clear(a->tmr, vector);
	update(a);
}

static void lvt_raise(struct lapic *a, enum lvt i)
{
	uint32_t lvt = a->lvt[i];

	if (lvt & LVT_MASKED || !enabled(a))
		return;
	/* Timer and error entries have no mode bits, that is: fixed. */
	if (lvt_mode(lvt) == DM_FIXED)
		accept(a, lvt & 0xff, false);
	else if (lvt_mode(lvt) == DM_NMI)
		a->all->ops.nmi(a->all->ops.arg, a->id);
}

/* LINT0 as a level-triggered fixed interrupt: again after each EOI while the wire is high. */
static void lint0_level(struct lapic *a)
{
	uint32_t lvt = a->lvt[LVT_LINT0];

	if (!a->lint0 || lvt & (LVT_MASKED | LVT_REMOTE) || !(lvt & LVT_LEVEL) ||
		lvt_mode(lvt) != DM_FIXED || (lvt & 0xff) < 16 || !enabled(a))
		return;
	a->lvt[LVT_LINT0] |= LVT_REMOTE;
	accept(a, lvt & 0xff, true);
}

static void eoi(struct lapic *a)
{
	struct lapics *s = a->all;
	int v = highest(a->isr);

	if (v < 0)
		return;
	bit_clear(a->isr, (unsigned)v);
	if (bit_get(a->tmr, (unsigned)v)) {
		if (a->lvt[LVT_LINT0] & LVT_REMOTE && (a->lvt[LVT_LINT0] & 0xff) == (unsigned)v) {
			a->lvt[LVT_LINT0] &= ~LVT_REMOTE;
			lint0_level(a);
		}
		s->ops.eoi(s->ops.arg, (unsigned)v);
	}
	update(a);
}

/* --- timer (11.5.4) --- */

static enum timer_mode timer_mode(const struct lapic *a)
{
	return a->lvt[LVT_TIMER] >> 17 & 3;
}

static uint32_t divisor(const struct lapic *a)
{
	unsigned code = (a->divide & 3) | (a->divide >> 1 & 4);

	return code == 7 ? 1 : 2u << code;
}

static uint64_t muldiv(uint64_t a, uint64_t b, uint64_t c)
{
	__extension__ unsigned __int128 q = (unsigned __int128)a * b / c;

	return q > UINT64_MAX ? UINT64_MAX : (uint64_t)q;
}

static uint64_t ticks_since(const struct lapic *a, uint64_t now)
{
	uint64_t ns = now > a->count_start ? now - a->count_start : 0;

	return muldiv(ns, a->all->ops.timer_khz, UINT64_C(1000000) * divisor(a));
}

static uint32_t count_at(const struct lapic *a, uint64_t now)
{
	uint64_t t;

	if (!a->counting)
		return 0;
	t = ticks_since(a, now);
	if (t < a->target)
		return (uint32_t)(a->target - t);
	if (timer_mode(a) != TIMER_PERIODIC)
		return 0;
	return (uint32_t)(a->count_init - (t - a->target) % a->count_init);
}

static uint64_t guest_tsc(const struct lapic *a)
{
	return a->all->ops.tsc(a->all->ops.arg, a->id);
}

/* Raises what has become due and moves the target behind now. */
static void timer_poll(struct lapic *a, uint64_t now)
{
	if (timer_mode(a) == TIMER_DEADLINE) {
		if (a->deadline && guest_tsc(a) >= a->deadline) {
			a->deadline = 0;
			lvt_raise(a, LVT_TIMER);
		}
	} else if (a->counting) {
		uint64_t t = ticks_since(a, now);

		if (t < a->target)
			return;
		if (timer_mode(a) == TIMER_PERIODIC)
			a->target += ((t - a->target) / a->count_init + 1) * a->count_init;
		else
			a->counting = false;
		lvt_raise(a, LVT_TIMER);
	}
}

static void timer_arm(struct lapic *a, uint64_t now)
{
	const struct lapic_cpu_ops *ops = &a->all->ops;
	uint64_t at = 0, tsc;

	if (a->lvt[LVT_TIMER] & LVT_MASKED || !enabled(a)) {
		/* counts, but nobody would hear it */
	} else if (timer_mode(a) == TIMER_DEADLINE) {
		if (a->deadline) {
			tsc = guest_tsc(a);
			at = a->deadline > tsc ? muldiv(a->deadline - tsc, 1000000, ops->tsc_khz) + 1 : 1;
			at = now + min_u64(at, TIMER_FAR_NS);
		}
	} else if (a->counting) {
		/* one ns more than the quotient: never early */
		at = muldiv(a->target, UINT64_C(1000000) * divisor(a), ops->timer_khz) + 1;
		at = at > UINT64_MAX / 2 ? TIMER_FAR_NS + now : a->count_start + at;
		at = min_u64(at, now + TIMER_FAR_NS);
		if (timer_mode(a) == TIMER_PERIODIC)
			at = max_u64(at, now + TIMER_MIN_NS);
	}
	/* The only failure is no memory for the heap's first growth, which set-up has provoked. */
	timer_set(a->all->loop, &a->timer, at);
}

static void timer_fire(struct timer *t)
{
	struct lapic *a = CONTAINER_OF(t, struct lapic, timer);
	uint64_t now;

	/*
	 * The timer may have been moved between the wake-up and our getting the lock; that does not
	 * matter, since only what the registers say now is raised and armed.
	 */
	bus_lock(a->all->bus);
	now = now_ns();
	timer_poll(a, now);
	timer_arm(a, now);
	bus_unlock(a->all->bus);
}

static void timer_stop(struct lapic *a)
{
	a->counting = false;
	a->deadline = 0;
	timer_set(a->all->loop, &a->timer, 0);
}

static void timer_start(struct lapic *a, uint32_t count)
{
	uint64_t now = now_ns();

	if (timer_mode(a) == TIMER_DEADLINE || timer_mode(a) == TIMER_RESERVED)
		return;
	a->count_init = count;
	a->counting = count != 0;
	a->count_start = now;
	a->target = count;
	timer_arm(a, now);
}

/* The counter goes on from where it is with another divider or mode. */
static void timer_rebase(struct lapic *a, uint64_t now)
{
	a->target = count_at(a, now);
	a->count_start = now;
}

static void divide_write(struct lapic *a, uint32_t v)
{
	uint64_t now = now_ns();

	timer_poll(a, now);
	timer_rebase(a, now);
	a->divide = v & 0xb;
	timer_arm(a, now);
}

static void deadline_write(struct lapic *a, uint64_t v)
{
	uint64_t now;

	if (timer_mode(a) != TIMER_DEADLINE || !enabled(a))
		return;
	now = now_ns();
	a->deadline = v;
	timer_poll(a, now);
	timer_arm(a, now);
}

static void timer_lvt_write(struct lapic *a, uint32_t v)
{
	uint64_t now = now_ns();
	enum timer_mode old = timer_mode(a), mode;

	timer_poll(a, now);
	timer_rebase(a, now);
	a->lvt[LVT_TIMER] = v;
	mode = timer_mode(a);
	/* 11.5.4.1: a change to or from TSC-deadline mode disarms */
	if (old != mode && (old >= TIMER_DEADLINE || mode >= TIMER_DEADLINE)) {
		timer_stop(a);
		a->count_init = 0;
	}
	timer_arm(a, now);
}

/* --- reset --- */

/* What INIT does (11.4.7.3); the base MSR with its mode, the ID and the wires stay. */
static void apic_init(struct lapic *a)
{
	memset(a->isr, 0, sizeof a->isr);
	memset(a->tmr, 0, sizeof a->tmr);
	memset(a->irr, 0, sizeof a->irr);
	a->tpr = a->ldr = 0;
	a->dfr = UINT32_MAX;
	a->svr = 0xff;
	a->errors = a->esr = 0;
	a->icr = 0;
	for (unsigned i = 0; i < LVTS; i++)
		a->lvt[i] = LVT_MASKED;
	a->count_init = a->divide = 0;
	timer_stop(a);
}

static void page_leave(struct apic_page *p)
{
	if (--p->users || !p->mapped)
		return;
	bus_unmap_locked(p->all->bus, BUS_MMIO, p->base);
	p->mapped = false;
}

static const struct dev_ops page_ops;

static struct apic_page *page_enter(struct lapics *s, uint64_t base)
{
	struct apic_page *p, *unused = NULL;

	for (p = s->page; p < s->page + s->n; p++) {
		if (p->users && p->base == base) {
			p->users++;
			return p;
		}
		if (!p->users)
			unused = p;
	}
	assert(unused); /* n pages for n APICs, and this one has left its own */
	p = unused;
	p->base = base;
	p->users = 1;
	p->mapped = s->on_bus &&
		!bus_map_locked(s->bus, BUS_MMIO, base, LAPIC_SIZE, &page_ops, p);
	return p;
}

static void page_move(struct lapic *a)
{
	uint64_t base = a->base & ~UINT64_C(0xfff);

	if (a->page && a->page->base == base)
		return;
	if (a->page)
		page_leave(a->page);
	a->page = page_enter(a->all, base);
}

static void apic_reset(struct lapic *a)
{
	apic_init(a);
	a->base = LAPIC_BASE | BASE_EN | (a->id ? 0 : BASE_BSP);
	if (!a->id)
		a->lvt[LVT_LINT0] = DM_EXTINT << 8;
	page_move(a);
	update(a);
}

void lapics_reset_cpu(struct lapics *s, unsigned cpu)
{
	assert(cpu < s->n);
	apic_reset(&s->apic[cpu]);
}

static void lapics_reset(void *dev)
{
	struct lapics *s = dev;

	s->rotate = 0;
	for (unsigned i = 0; i < s->n; i++)
		apic_reset(&s->apic[i]);
}

static enum lapic_result base_write(struct lapic *a, uint64_t v)
{
	unsigned bits = a->all->ops.maxphyaddr;
	uint64_t reserved = ~((UINT64_C(1) << bits) - 1) | (0xfff & ~BASE_FLAGS);
	bool was_on = enabled(a), was_x2 = x2apic(a);

	/* 11.12.5: off -> xAPIC -> x2APIC -> off, xAPIC -> off; all else is #GP */
	if (v & reserved || (v & BASE_EXTD && !(v & BASE_EN)) ||
		(was_x2 && (v & BASE_FLAGS & ~BASE_BSP) == BASE_EN) || (!was_on && v & BASE_EXTD))
		return LAPIC_GP;
	if (was_on && !(v & BASE_EN))
		apic_init(a);
	a->base = v;
	if (!was_x2 && x2apic(a))
		a->icr &= UINT32_MAX;
	page_move(a);
	update(a);
	return LAPIC_OK;
}

/* --- messages (11.6, 11.10, 11.11) --- */

struct message {
	enum delivery mode;
	uint8_t vector;
	bool level;     /* level-triggered: EOI goes to the IOAPIC */
	bool logical;
	bool lowest;    /* one of the addressed takes it */
	unsigned shorthand;
	uint32_t dest, broadcast; /* broadcast: the dest that means all, by the sender's width */
	const struct lapic *from; /* NULL: a device */
};

static uint32_t ldr(const struct lapic *a)
{
	return x2apic(a) ? a->id >> 4 << 16 | 1u << (a->id & 15) : a->ldr;
}

static bool addressed(const struct lapic *a, const struct message *m)
{
	uint32_t l;

	if (!enabled(a))
		return false;
	switch (m->shorthand) {
	case DEST_SELF:
		return a == m->from;
	case DEST_ALL:
		return true;
	case DEST_OTHERS:
		return a != m->from;
	}
	if (m->dest == m->broadcast)
		return true;
	if (!m->logical)
		return m->dest == a->id;
	l = ldr(a);
	if (x2apic(a))
		return m->dest >> 16 == l >> 16 && (m->dest & l & 0xffff);
	if (m->dest > 0xff)
		return false;
	l >>= 24;
	switch (a->dfr >> 28) {
	case 0xf: /* flat */
		return m->dest & l;
	case 0x0: /* cluster */
		return m->dest >> 4 == l >> 4 && (m->dest & l & 0xf);
	default:
		return false;
	}
}

static void deliver(struct lapic *a, const struct message *m)
{
	const struct lapic_cpu_ops *ops = &a->all->ops;

	switch (m->mode) {
	case DM_FIXED:
	case DM_LOWEST:
		accept(a, m->vector, m->level);
		break;
	case DM_NMI:
		ops->nmi(ops->arg, a->id);
		break;
	case DM_INIT:
		apic_init(a);
		update(a);
		ops->init(ops->arg, a->id);
		break;
	case DM_SIPI:
		ops->sipi(ops->arg, a->id, m->vector);
		break;
	case DM_SMI:
	case DM_RESERVED:
	case DM_EXTINT: /* comes over LINT0 only */
		break;
	}
}

static void send(struct lapics *s, const struct message *m)
{
	struct lapic *best = NULL;

	if (!m->lowest) {
		for (unsigned i = 0; i < s->n; i++)
			if (addressed(&s->apic[i], m))
				deliver(&s->apic[i], m);
		return;
	}
	/* Equal priorities take turns. */
	for (unsigned i = 0; i < s->n; i++) {
		struct lapic *a = &s->apic[(s->rotate + i) % s->n];

		if (a->svr & SVR_ENABLE && addressed(a, m) && (!best || ppr(a) < ppr(best)))
			best = a;
	}
	if (best) {
		s->rotate = (best->id + 1) % s->n;
		deliver(best, m);
	}
}

static void ipi(struct lapic *a)
{
	uint32_t lo = (uint32_t)a->icr, hi = (uint32_t)(a->icr >> 32);
	struct message m = {
		.mode = lo >> 8 & 7,
		.vector = lo & 0xff,
		.logical = lo & ICR_LOGICAL,
		.shorthand = lo >> 18 & 3,
		.dest = x2apic(a) ? hi : hi >> 24,
		.broadcast = x2apic(a) ? UINT32_MAX : 0xff,
		.from = a,
	};

	if (m.mode == DM_INIT && (lo & (ICR_LEVEL | ICR_ASSERT)) == ICR_LEVEL)
		return;
	m.lowest = m.mode == DM_LOWEST;
	if (m.vector < 16 && (m.mode == DM_FIXED || m.mode == DM_LOWEST)) {
		error(a, ESR_SEND_ILL);
		return;
	}
	send(a->all, &m);
}

void lapics_msi(struct lapics *s, uint64_t addr, uint32_t data)
{
	struct message m = {
		.mode = data >> 8 & 7,
		.vector = data & 0xff,
		.level = data >> 15 & 1,
		.logical = addr >> 2 & 1,
		/* bits 11:5 extend the ID to 15 bits, as KVM and Hyper-V offer it */
		.dest = (uint32_t)((addr >> 12 & 0xff) | (addr >> 5 & 0x7f) << 8),
		.broadcast = 0xff,
	};

	if (addr >> 20 != 0xfee)
		return;
	if (m.level && !(data >> 14 & 1))
		return;
	m.lowest = m.mode == DM_LOWEST || (m.mode == DM_FIXED && m.logical && addr >> 3 & 1);
	send(s, &m);
}

void lapics_extint(struct lapics *s, bool level)
{
	struct lapic *a = &s->apic[0];
	bool rises = level && !a->lint0;
	uint32_t lvt = a->lvt[LVT_LINT0];

	a->lint0 = level;
	if (rises && (lvt_mode(lvt) == DM_NMI || (lvt_mode(lvt) == DM_FIXED && !(lvt & LVT_LEVEL))))
		lvt_raise(a, LVT_LINT0);
	lint0_level(a);
	update(a);
}

void lapics_set_pic(struct lapics *s, int (*pic_ack)(void *arg), void *arg)
{
	s->pic_ack = pic_ack;
	s->pic_arg = arg;
}

int lapics_ack(struct lapics *s, unsigned cpu)
{
	struct lapic *a = &s->apic[cpu];
	int v;

	assert(cpu < s->n);
	if (extint(a) && s->pic_ack) {
		v = s->pic_ack(s->pic_arg);
	} else {
		v = deliverable(a);
		if (v >= 0) {
			bit_clear(a->irr, (unsigned)v);
			bit_set(a->isr, (unsigned)v);
		}
	}
	update(a);
	return v;
}

/* --- registers --- */

static void lvt_write(struct lapic *a, enum lvt i, uint32_t v)
{
	uint32_t remote = a->lvt[i] & LVT_REMOTE;

	v &= lvt_bits[i];
	if (!(a->svr & SVR_ENABLE))
		v |= LVT_MASKED;
	if (i == LVT_TIMER) {
		timer_lvt_write(a, v);
		return;
	}
	/* remote IRR is the hardware's, and only a level-triggered pin has it */
	a->lvt[i] = v | (v & LVT_LEVEL ? remote : 0);
	if (i == LVT_LINT0) {
		lint0_level(a);
		update(a);
	}
}

static void svr_write(struct lapic *a, uint32_t v)
{
	a->svr = v & SVR_BITS;
	if (a->svr & SVR_ENABLE)
		return;
	for (enum lvt i = 0; i < LVTS; i++)
		lvt_write(a, i, a->lvt[i]); /* which masks it */
}

static bool reg_is_lvt(unsigned reg)
{
	return reg >= REG_LVT && reg <= REG_LVT_LAST;
}

/* False: there is no such register to read. */
static bool reg_read(struct lapic *a, unsigned reg, uint32_t *v)
{
	*v = 0;
	if (reg >= REG_ISR && reg < REG_ESR) {
		const uint32_t *map = reg < REG_TMR ? a->isr : reg < REG_IRR ? a->tmr : a->irr;

		*v = map[reg & 7];
		return true;
	}
	if (reg_is_lvt(reg)) {
		*v = a->lvt[reg - REG_LVT];
		return true;
	}
	switch (reg) {
	case REG_ID:
		*v = x2apic(a) ? a->id : a->id << 24;
		return true;
	case REG_VERSION:
		*v = VERSION;
		return true;
	case REG_TPR:
		*v = a->tpr;
		return true;
	case REG_PPR:
		*v = ppr(a);
		return true;
	case REG_LDR:
		*v = ldr(a);
		return true;
	case REG_SVR:
		*v = a->svr;
		return true;
	case REG_ESR:
		*v = a->esr;
		return true;
	case REG_ICR:
		*v = (uint32_t)a->icr;
		return true;
	case REG_COUNT_INIT:
		*v = a->count_init;
		return true;
	case REG_COUNT_NOW:
		*v = count_at(a, now_ns());
		return true;
	case REG_DIVIDE:
		*v = a->divide;
		return true;
	default:
		return false;
	}
}

/* False: there is no such register to write. */
static bool reg_write(struct lapic *a, unsigned reg, uint32_t v)
{
	if (reg_is_lvt(reg)) {
		lvt_write(a, reg - REG_LVT, v);
		return true;
	}
	switch (reg) {
	case REG_TPR:
		a->tpr = v & 0xff;
		update(a);
		return true;
	case REG_EOI:
		eoi(a);
		return true;
	case REG_SVR:
		svr_write(a, v);
		return true;
	case REG_ESR:
		a->esr = a->errors;
		a->errors = 0;
		return true;
	case REG_COUNT_INIT:
		timer_start(a, v);
		return true;
	case REG_DIVIDE:
		divide_write(a, v);
		return true;
	default:
		return false;
	}
}

/*
 * The xAPIC page. Registers are 32 bits on 16-byte boundaries and other accesses are undefined (11.4.1): a
 * read gives the bytes that are there, a write of another size or place is dropped.
 */
static uint64_t page_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct apic_page *p = dev;
	struct lapic *a = &p->all->apic[cpu];
	unsigned reg = (unsigned)off >> 4;
	uint32_t v;

	assert(cpu < p->all->n);
	if (a->page != p || !enabled(a) || x2apic(a))
		return UINT64_MAX;
	if ((off & 15) > 3)
		return 0;
	if (reg == REG_DFR)
		v = a->dfr;
	else if (reg == REG_ICR_HIGH)
		v = (uint32_t)(a->icr >> 32);
	else if (!reg_read(a, reg, &v) && reg != REG_EOI)
		error(a, ESR_BAD_REG);
	(void)len;
	return (uint64_t)v >> (off & 3) * 8;
}

static void page_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct apic_page *p = dev;
	struct lapic *a = &p->all->apic[cpu];
	unsigned reg = (unsigned)off >> 4;
	uint32_t v32 = (uint32_t)v, was;

	assert(cpu < p->all->n);
	if (a->page != p || !enabled(a) || x2apic(a) || len != 4 || off & 15)
		return;
	switch (reg) {
	case REG_LDR:
		a->ldr = v32 & 0xff000000;
		break;
	case REG_DFR:
		a->dfr = v32 | 0x0fffffff;
		break;
	case REG_ICR:
		a->icr = (a->icr & ~(uint64_t)UINT32_MAX) | (v32 & ~LVT_STATUS);
		ipi(a);
		break;
	case REG_ICR_HIGH:
		a->icr = (a->icr & UINT32_MAX) | (uint64_t)(v32 & 0xff000000) << 32;
		break;
	default:
		/* a register that can only be read swallows the write */
		if (!reg_write(a, reg, v32) && !reg_read(a, reg, &was))
			error(a, ESR_BAD_REG);
	}
}

/* Bits that a write in x2APIC mode may not set (11.12.1.2); all: the register cannot be written. */
static uint64_t x2apic_reserved(unsigned reg)
{
	if (reg_is_lvt(reg)) {
		uint32_t bits = lvt_bits[reg - REG_LVT] | LVT_STATUS;

		return ~(uint64_t)(bits | (bits & LVT_LEVEL ? LVT_REMOTE : 0));
	}
	switch (reg) {
	case REG_TPR:
	case REG_SELF_IPI:
		return ~UINT64_C(0xff);
	case REG_EOI:
	case REG_ESR:
		return UINT64_MAX;
	case REG_SVR:
		return ~(uint64_t)SVR_BITS;
	case REG_ICR:
		return ICR_RESERVED;
	case REG_COUNT_INIT:
		return ~(uint64_t)UINT32_MAX;
	case REG_DIVIDE:
		return ~UINT64_C(0xb);
	default:
		return UINT64_MAX;
	}
}

static enum lapic_result x2apic_write(struct lapic *a, unsigned reg, uint64_t v)
{
	if (!x2apic(a) || v & x2apic_reserved(reg))
		return LAPIC_GP;
	switch (reg) {
	case REG_ICR:
		a->icr = v & ~(uint64_t)LVT_STATUS;
		ipi(a);
		return LAPIC_OK;
	case REG_SELF_IPI:
		if (v < 16)
			error(a, ESR_SEND_ILL);
		else
			accept(a, (unsigned)v, false);
		return LAPIC_OK;
	default:
		return reg_write(a, reg, (uint32_t)v) ? LAPIC_OK : LAPIC_GP;
	}
}

enum lapic_result lapics_rdmsr(struct lapics *s, unsigned cpu, uint32_t msr, uint64_t *v)
{
	struct lapic *a = &s->apic[cpu];
	uint64_t now;
	uint32_t v32;

	assert(cpu < s->n);
	switch (msr) {
	case MSR_APIC_BASE:
		*v = a->base;
		return LAPIC_OK;
	case MSR_TSC_DEADLINE:
		if (a->deadline) { /* the interrupt comes with the value going to 0 */
			now = now_ns();
			timer_poll(a, now);
			timer_arm(a, now);
		}
		*v = a->deadline;
		return LAPIC_OK;
	}
	if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST)
		return LAPIC_UNKNOWN;
	if (!x2apic(a) || !reg_read(a, msr - MSR_X2APIC, &v32))
		return LAPIC_GP;
	*v = msr - MSR_X2APIC == REG_ICR ? a->icr : v32;
	return LAPIC_OK;
}

enum lapic_result lapics_wrmsr(struct lapics *s, unsigned cpu, uint32_t msr, uint64_t v)
{
	struct lapic *a = &s->apic[cpu];

	assert(cpu < s->n);
	switch (msr) {
	case MSR_APIC_BASE:
		return base_write(a, v);
	case MSR_TSC_DEADLINE:
		deadline_write(a, v);
		return LAPIC_OK;
	}
	if (msr < MSR_X2APIC || msr > MSR_X2APIC_LAST)
		return LAPIC_UNKNOWN;
	return x2apic_write(a, msr - MSR_X2APIC, v);
}

uint64_t lapics_cr8(struct lapics *s, unsigned cpu)
{
	assert(cpu < s->n);
	return s->apic[cpu].tpr >> 4;
}

void lapics_set_cr8(struct lapics *s, unsigned cpu, uint64_t v)
{
	struct lapic *a = &s->apic[cpu];

	assert(cpu < s->n);
	a->tpr = (uint32_t)(v & 0xf) << 4;
	update(a);
}

/* --- set-up --- */

static const struct dev_ops page_ops = {
	.name = "lapic",
	.read = page_read,
	.write = page_write,
};

static const struct dev_ops lapics_ops = {
	.name = "lapic",
	.reset = lapics_reset,
};

struct lapics *lapics_new(struct bus *b, struct loop *l, unsigned ncpus, const struct lapic_cpu_ops *ops)
{
	struct lapics *s;

	assert(ncpus >= 1 && ncpus <= LAPIC_CPUS_MAX);
	s = xcalloc(1, sizeof *s + ncpus * sizeof s->apic[0]);
	s->page = xcalloc(ncpus, sizeof *s->page);
	s->bus = b;
	s->loop = l;
	s->ops = *ops;
	if (!s->ops.timer_khz)
		s->ops.timer_khz = LAPIC_TIMER_KHZ;
	if (!s->ops.tsc_khz)
		s->ops.tsc_khz = 1000000;
	if (!s->ops.maxphyaddr)
		s->ops.maxphyaddr = 52;
	s->n = ncpus;
	for (unsigned i = 0; i < ncpus; i++) {
		s->apic[i].all = s->page[i].all = s;
		s->apic[i].id = i;
		s->apic[i].timer.fire = timer_fire;
		/* makes the loop's heap large enough for all of us */
		timer_set(l, &s->apic[i].timer, UINT64_MAX / 2);
	}
	bus_attach(b, &lapics_ops, s);
	bus_lock(b);
	lapics_reset(s);
	bus_unlock(b);
	return s;
}

void lapics_free(struct lapics *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->n; i++)
		timer_set(s->loop, &s->apic[i].timer, 0);
	free(s->page);
	free(s);
}

int lapics_map(struct lapics *s)
{
	struct apic_page *p = s->apic[0].page; /* after a reset all share it */
	int rc;

	rc = bus_map(s->bus, BUS_MMIO, p->base, LAPIC_SIZE, &page_ops, p);
	if (!rc)
		s->on_bus = p->mapped = true;
	return rc;
}
