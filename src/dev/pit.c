/* SPDX-License-Identifier: MIT */
/*
 * 8254 interval timer (Intel 82C54 datasheet), and port 0x61 with the gate and output of channel 2.
 *
 * Nothing is stepped. Time is counted in ticks of the 1.193182 MHz clock since the host booted; a channel
 * knows the tick at which its count was loaded, and count and output at any later tick follow from the
 * mode. In modes 2 and 3 a new count waits for the end of the period. Only channel 0 has an interrupt and
 * so a host timer, which sleeps until the output rises next. A periodic mode wakes us at most every
 * TIMER_MIN_NS; rises in between merge into one.
 *
 * The gates of channels 0 and 1 are tied high.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { PIT_PORT = 0x40, CONTROL = 3, PORT_B = 0x61, PIT_HZ = 1193182, CHANNELS = 3 };
enum { TIMER_MIN_NS = 20000, REFRESH_NS = 15085 };
enum { RW_LATCH = 0, RW_LOW = 1, RW_HIGH = 2, RW_WORD = 3 };
enum { BACK = 3, BACK_NO_COUNT = 0x20, BACK_NO_STATUS = 0x10, STATUS_OUT = 0x80, STATUS_NULL = 0x40 };
enum { PORT_B_GATE2 = 1, PORT_B_WRITE = 0x0f, PORT_B_REFRESH = 0x10, PORT_B_OUT2 = 0x20 };

struct channel {
	uint8_t mode, rw, bcd; /* as programmed; mode 0 to 5 */
	bool gate;
	bool running;   /* modes 0, 4: counts; 1, 5: was triggered; 2, 3: has a count and its gate */
	bool loaded;    /* has a count since the control word */
	uint32_t count; /* 1 to 65536 (10000 in BCD) */
	uint64_t start; /* tick of the load */
	uint64_t held;  /* ticks that had passed when the gate stopped modes 0 and 4 */
	uint32_t next;  /* modes 2, 3: count from tick next_at on; 0: none */
	uint64_t next_at;

	uint8_t low;       /* low byte of a count that is being written */
	bool write_high, read_high;
	uint16_t latch;    /* latched count */
	uint8_t latch_n;   /* bytes of it that are left */
	bool latch_high;   /* which byte is next */
	uint8_t status;
	bool status_latched;
};

struct pit {
	struct bus *bus;
	struct loop *loop;
	struct irq irq;
	struct timer timer;
	uint64_t rise; /* tick at which channel 0's output rises; 0: never */
	struct channel ch[CHANNELS];
	uint8_t port_b;
};

static uint64_t now_tick(void)
{
	uint64_t ns = now_ns();

	return ns / 1000000000u * PIT_HZ + ns % 1000000000u * PIT_HZ / 1000000000u;
}

/* The first ns at which now_tick() gives this tick. */
static uint64_t tick_ns(uint64_t tick)
{
	return tick / PIT_HZ * 1000000000u + (tick % PIT_HZ * 1000000000u + PIT_HZ - 1) / PIT_HZ;
}

static uint32_t modulus(const struct channel *c)
{
	return c->bcd ? 10000 : 65536;
}

static bool periodic(const struct channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

/* Ticks that the count has been running. */
static uint64_t elapsed(const struct channel *c, uint64_t now)
{
	if (!c->running)
		return c->held;
	return now > c->start ? now - c->start : 0;
}

/* A count that waited for the end of the period takes over. */
static void catch_up(struct channel *c, uint64_t now)
{
	if (!c->next || now < c->next_at)
		return;
	c->count = c->next;
	c->start = c->next_at;
	c->next = 0;
}

static uint32_t counter(const struct channel *c, uint64_t now)
{
	uint64_t d = elapsed(c, now);
	uint32_t half, phase;

	if (!c->loaded)
		return 0;
	switch (c->mode) {
	case 2:
		return c->count - (uint32_t)(d % c->count);
	case 3: /* by two, twice per period; an odd count loses its lowest bit */
		half = (c->count + 1) / 2;
		phase = (uint32_t)(d % c->count);
		if (phase >= half)
			phase -= half;
		return (c->count & ~1u) - 2 * phase;
	default: /* goes on through zero */
		d %= modulus(c);
		return (c->count + modulus(c) - (uint32_t)d) % modulus(c);
	}
}

static bool output(const struct channel *c, uint64_t now)
{
	uint64_t d = elapsed(c, now);

	switch (c->mode) {
	case 0:
		return c->loaded && d >= c->count;
	case 1:
		return !c->running || d >= c->count;
	case 2:
		return !c->running || d % c->count != c->count - 1 || c->count == 1;
	case 3:
		return !c->running || d % c->count < (c->count + 1) / 2;
	default:
		return !c->loaded || !c->running || d != c->count;
	}
}

/* The next tick at which the output goes from low to high; 0: never. */
static uint64_t next_rise(const struct channel *c, uint64_t now)
{
	uint64_t at = 0;

	if (!c->running)
		return 0;
	switch (c->mode) {
	case 0:
	case 1:
		at = c->start + c->count;
		break;
	case 2:
	case 3:
		return c->next ? c->next_at : now + c->count - elapsed(c, now) % c->count;
	default:
		at = c->start + c->count + 1;
		break;
	}
	return at > now ? at : 0;
}

/* Channel 0 was changed: its output now, and a timer for the next rise. */
static void arm(struct pit *p, uint64_t now)
{
	struct channel *c = &p->ch[0];
	uint64_t at = 0;

	irq_set(&p->irq, output(c, now));
	p->rise = next_rise(c, now);
	if (p->rise) {
		at = tick_ns(p->rise);
		if (periodic(c))
			at = max_u64(at, now_ns() + TIMER_MIN_NS);
	}
	timer_set(p->loop, &p->timer, at);
}

static void pit_fire(struct timer *t)
{
	struct pit *p = CONTAINER_OF(t, struct pit, timer);
	uint64_t now;

	bus_lock(p->bus);
	now = now_tick();
	if (p->rise && now >= p->rise) {
		catch_up(&p->ch[0], now);
		irq_set(&p->irq, false);
		irq_set(&p->irq, true);
		arm(p, now);
	} else if (p->rise) {
		timer_set(p->loop, &p->timer, tick_ns(p->rise));
	}
	bus_unlock(p->bus);
}

static void load(struct channel *c, uint16_t v, uint64_t now)
{
	uint32_t count = v;

	if (c->bcd)
		count = (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 + (v >> 12) * 1000;
	if (!count || count > modulus(c))
		count = modulus(c); /* a BCD count of wrong digits may be too large */
	catch_up(c, now);
	if (periodic(c) && c->loaded && c->running) {
		c->next = count;
		c->next_at = now + c->count - elapsed(c, now) % c->count;
		return;
	}
	if (c->running && (c->mode == 1 || c->mode == 5)) { /* for the next trigger */
		c->next = count;
		c->next_at = UINT64_MAX;
		return;
	}
	c->count = count;
	c->loaded = true;
	c->next = 0;
	if (c->mode == 1 || c->mode == 5)
		return; /* counts from the trigger on */
	c->start = now;
	c->held = 0;
	c->running = c->gate;
}

static void gate_set(struct channel *c, bool gate, uint64_t now)
{
	bool rises = gate && !c->gate;

	if (gate == c->gate)
		return;
	catch_up(c, now);
	if (!gate && c->mode != 1 && c->mode != 5) { /* stops, where those go on */
		c->held = periodic(c) ? 0 : elapsed(c, now);
		c->running = false;
	}
	c->gate = gate;
	if (!rises || !c->loaded)
		return;
	if (c->next) {
		c->count = c->next;
		c->next = 0;
	}
	c->start = now;
	if (c->mode == 0 || c->mode == 4)
		c->start = now > c->held ? now - c->held : 0; /* continues */
	c->running = true;
}

static uint16_t counter_bytes(const struct channel *c, uint64_t now)
{
	uint32_t v = counter(c, now);

	if (!c->bcd)
		return v & 0xffff;
	return v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 | v / 1000 % 10 << 12;
}

static void latch_count(struct channel *c, uint64_t now)
{
	if (c->latch_n)
		return; /* until it is read */
	c->latch = counter_bytes(c, now);
	c->latch_n = c->rw == RW_WORD ? 2 : 1;
	c->latch_high = c->rw == RW_HIGH;
}

static void latch_status(struct channel *c, uint64_t now)
{
	if (c->status_latched)
		return;
	c->status_latched = true;
	c->status = (output(c, now) ? STATUS_OUT : 0) | (!c->loaded || c->next ? STATUS_NULL : 0) |
		c->rw << 4 | c->mode << 1 | c->bcd;
}

static void control(struct pit *p, uint8_t v, uint64_t now)
{
	unsigned sel = v >> 6;
	struct channel *c;

	if (sel == BACK) {
		for (unsigned i = 0; i < CHANNELS; i++) {
			if (!(v >> (i + 1) & 1))
				continue;
			catch_up(&p->ch[i], now);
			if (!(v & BACK_NO_COUNT))
				latch_count(&p->ch[i], now);
			if (!(v & BACK_NO_STATUS))
				latch_status(&p->ch[i], now);
		}
		return;
	}
	c = &p->ch[sel];
	catch_up(c, now);
	if ((v >> 4 & 3) == RW_LATCH) {
		latch_count(c, now);
		return;
	}
	c->rw = v >> 4 & 3;
	c->mode = v >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4;
	c->bcd = v & 1;
	c->count = modulus(c);
	c->running = c->loaded = false;
	c->held = c->next = 0;
	c->write_high = c->read_high = c->status_latched = false;
	c->latch_n = 0;
	if (!sel)
		arm(p, now);
}

static void count_write(struct pit *p, unsigned i, uint8_t v, uint64_t now)
{
	struct channel *c = &p->ch[i];

	switch (c->rw) {
	case RW_LOW:
		load(c, v, now);
		break;
	case RW_HIGH:
		load(c, (uint16_t)(v << 8), now);
		break;
	case RW_WORD:
		if (!c->write_high) {
			c->low = v;
			c->write_high = true;
			if (c->mode == 0) { /* half a count stops mode 0 and takes its output down */
				c->held = 0;
				c->running = c->loaded = false;
			}
			break;
		}
		c->write_high = false;
		load(c, (uint16_t)(v << 8 | c->low), now);
		break;
	default: /* no control word yet */
		return;
	}
	if (!i)
		arm(p, now);
}

static uint8_t count_read(struct channel *c, uint64_t now)
{
	uint16_t v;
	bool high;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latch_n) {
		v = c->latch_high ? c->latch >> 8 : c->latch;
		c->latch_high = true;
		c->latch_n--;
		return v & 0xff;
	}
	catch_up(c, now);
	v = counter_bytes(c, now);
	high = c->rw == RW_HIGH || (c->rw == RW_WORD && c->read_high);
	c->read_high = !c->read_high;
	return high ? v >> 8 : v & 0xff;
}

static uint64_t pit_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct pit *p = dev;

	(void)cpu;
	(void)len;
	return off < CHANNELS ? count_read(&p->ch[off], now_tick()) : 0xff;
}

static void pit_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct pit *p = dev;
	uint64_t now = now_tick();

	(void)cpu;
	(void)len;
	if (off < CHANNELS)
		count_write(p, (unsigned)off, v & 0xff, now);
	else
		control(p, v & 0xff, now);
}

static uint64_t port_b_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct pit *p = dev;
	uint64_t now = now_tick();

	(void)cpu;
	(void)off;
	(void)len;
	catch_up(&p->ch[2], now);
	return p->port_b | (now_ns() / REFRESH_NS & 1 ? PORT_B_REFRESH : 0) |
		(output(&p->ch[2], now) ? PORT_B_OUT2 : 0);
}

static void port_b_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct pit *p = dev;

	(void)cpu;
	(void)off;
	(void)len;
	p->port_b = v & PORT_B_WRITE;
	gate_set(&p->ch[2], v & PORT_B_GATE2, now_tick());
}

/* No count is running, where firmware would have left 18.2 Hz on channel 0. */
static void pit_reset(void *dev)
{
	struct pit *p = dev;

	for (unsigned i = 0; i < CHANNELS; i++)
		p->ch[i] = (struct channel){.gate = i != 2, .count = 65536};
	p->port_b = 0;
	arm(p, now_tick());
}

static const struct dev_ops pit_ops = {"pit", pit_read, pit_write, pit_reset, 1};
static const struct dev_ops port_b_ops = {"port-61", port_b_read, port_b_write, pit_reset, 1};

struct pit *pit_new(struct bus *b, struct loop *l, struct irq irq)
{
	struct pit *p = xcalloc(1, sizeof *p);

	p->bus = b;
	p->loop = l;
	p->irq = irq;
	p->timer.fire = pit_fire;
	bus_lock(b);
	pit_reset(p);
	bus_unlock(b);
	bus_place(b, BUS_PIO, PIT_PORT, 4, &pit_ops, p);
	bus_place(b, BUS_PIO, PORT_B, 1, &port_b_ops, p);
	return p;
}

void pit_free(struct pit *p)
{
	if (!p)
		return;
	timer_set(p->loop, &p->timer, 0);
	free(p);
}
