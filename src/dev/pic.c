/* SPDX-License-Identifier: MIT */
/*
 * The pair of 8259As of a PC (Intel 8259A datasheet; ELCR: ICH9 datasheet 13.8): ICW1-4, fully nested
 * and special fully nested mode, special mask, specific, non-specific, automatic and rotating EOI, poll.
 *
 * An edge stays in IRR until it is acknowledged, also when the wire has fallen since (the real chip gives a
 * spurious interrupt then, which serves nobody). The slave's output is a level into the master's input
 * 2. LTIM of ICW1 is ignored as in chipsets: ELCR chooses level or edge per input.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { MASTER_PORT = 0x20, SLAVE_PORT = 0xa0, ELCR_PORT = 0x4d0, CASCADE = 2 };
enum { ICW1 = 0x10, ICW1_IC4 = 0x01, ICW1_SINGLE = 0x02, ICW4_AEOI = 0x02, ICW4_SFNM = 0x10 };
enum { OCW3 = 0x08, OCW3_RIS = 0x01, OCW3_RR = 0x02, OCW3_POLL = 0x04, OCW3_SMM = 0x20, OCW3_ESMM = 0x40 };
enum expect { EXPECT_OCW1, EXPECT_ICW2, EXPECT_ICW3, EXPECT_ICW4 };

struct chip {
	struct pic *pic;
	uint8_t line, irr, isr, imr, elcr, elcr_bits;
	uint8_t base;   /* vector of input 0 */
	uint8_t lowest; /* the input with the lowest priority; the next one has the highest */
	bool icw4, single, auto_eoi, rotate_auto, sfnm, special_mask, read_isr, poll;
	enum expect expect;
};

struct pic {
	struct chip chip[2]; /* master, slave */
	void (*intr)(void *arg, bool level);
	void *arg;
	bool out;
};

static bool is_master(const struct chip *c)
{
	return c == &c->pic->chip[0];
}

/* Rank of the most important input in a set: 0 is the highest, 8 when the set is empty. */
static unsigned rank(const struct chip *c, uint8_t set)
{
	unsigned r;

	for (r = 0; r < 8 && !(set >> ((c->lowest + 1 + r) & 7) & 1); r++)
		;
	return r;
}

static unsigned input_of(const struct chip *c, unsigned r)
{
	return (c->lowest + 1 + r) & 7;
}

/* The input that may interrupt now, or -1. */
static int pending(const struct chip *c)
{
	unsigned want = rank(c, c->irr & ~c->imr);
	uint8_t serving = c->isr;

	if (c->special_mask)
		serving &= ~c->imr;
	/* SFNM: the slave, although served, may interrupt itself with something more important */
	if (c->sfnm && is_master(c))
		serving &= ~(1u << CASCADE);
	return want < rank(c, serving) ? (int)input_of(c, want) : -1;
}

static void update(struct pic *p)
{
	struct chip *master = &p->chip[0], *slave = &p->chip[1];
	bool out;

	if (pending(slave) >= 0)
		master->irr |= 1u << CASCADE;
	else
		master->irr &= ~(1u << CASCADE);
	out = pending(master) >= 0;
	if (out == p->out)
		return;
	p->out = out;
	p->intr(p->arg, out);
}

static void line_set(struct chip *c, unsigned i, bool level)
{
	uint8_t bit = 1u << i;

	if (c->elcr & bit)
		c->irr = level ? c->irr | bit : c->irr & ~bit;
	else if (level && !(c->line & bit))
		c->irr |= bit;
	c->line = level ? c->line | bit : c->line & ~bit;
}

void pic_set(void *dev, unsigned line, bool level)
{
	struct pic *p = dev;

	if (line >= 16 || line == CASCADE)
		return;
	line_set(&p->chip[line / 8], line % 8, level);
	update(p);
}

/* INTA for one chip: its input, 7 when nothing is there (spurious: ISR is not set). */
static unsigned chip_ack(struct chip *c)
{
	int i = pending(c);
	uint8_t bit;

	if (i < 0)
		return 7;
	bit = 1u << i;
	if (!c->auto_eoi)
		c->isr |= bit;
	else if (c->rotate_auto)
		c->lowest = (uint8_t)i;
	if (!(c->elcr & bit))
		c->irr &= ~bit;
	return (unsigned)i;
}

int pic_ack(void *dev)
{
	struct pic *p = dev;
	bool cascade = pending(&p->chip[0]) == CASCADE;
	unsigned i = chip_ack(&p->chip[0]);
	int v = p->chip[0].base + (int)i;

	if (cascade)
		v = p->chip[1].base + (int)chip_ack(&p->chip[1]);
	update(p);
	return v;
}

static void chip_clear(struct chip *c)
{
	c->irr = c->line & c->elcr;
	c->isr = c->imr = 0;
	c->lowest = 7;
	c->icw4 = c->single = c->auto_eoi = c->rotate_auto = c->sfnm = false;
	c->special_mask = c->read_isr = c->poll = false;
}

static void ocw2(struct chip *c, uint8_t v)
{
	unsigned i = v & 7, r;
	uint8_t serving = c->isr;

	switch (v >> 5) {
	case 0: /* rotate in automatic EOI mode: off, on */
	case 4:
		c->rotate_auto = v >> 7;
		break;
	case 1: /* non-specific EOI, and with rotation */
	case 5:
		if (c->special_mask)
			serving &= ~c->imr;
		r = rank(c, serving);
		if (r == 8)
			break;
		i = input_of(c, r);
		c->isr &= ~(1u << i);
		if (v >> 7)
			c->lowest = (uint8_t)i;
		break;
	case 3: /* specific EOI, and with rotation */
	case 7:
		c->isr &= ~(1u << i);
		if (v >> 7)
			c->lowest = (uint8_t)i;
		break;
	case 6: /* set priority */
		c->lowest = (uint8_t)i;
		break;
	case 2:
		break;
	}
}

static void command(struct chip *c, uint8_t v)
{
	if (v & ICW1) {
		chip_clear(c);
		c->icw4 = v & ICW1_IC4;
		c->single = v & ICW1_SINGLE;
		c->expect = EXPECT_ICW2;
	} else if (v & OCW3) {
		if (v & OCW3_POLL)
			c->poll = true;
		if (v & OCW3_RR)
			c->read_isr = v & OCW3_RIS;
		if (v & OCW3_ESMM)
			c->special_mask = v & OCW3_SMM;
	} else {
		ocw2(c, v);
	}
}

static void data(struct chip *c, uint8_t v)
{
	switch (c->expect) {
	case EXPECT_OCW1:
		c->imr = v;
		break;
	case EXPECT_ICW2:
		c->base = v & 0xf8;
		c->expect = !c->single ? EXPECT_ICW3 : c->icw4 ? EXPECT_ICW4 : EXPECT_OCW1;
		break;
	case EXPECT_ICW3: /* the wiring is what it is */
		c->expect = c->icw4 ? EXPECT_ICW4 : EXPECT_OCW1;
		break;
	case EXPECT_ICW4:
		c->sfnm = v & ICW4_SFNM;
		c->auto_eoi = v & ICW4_AEOI;
		c->expect = EXPECT_OCW1;
		break;
	}
}

static uint64_t chip_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct chip *c = dev;
	uint64_t v;

	(void)cpu;
	(void)len;
	if (c->poll) { /* the next read, of either port, is the acknowledge */
		c->poll = false;
		v = 0;
		if (pending(c) >= 0)
			v = 0x80 | chip_ack(c);
		update(c->pic);
		return v;
	}
	if (off)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static void chip_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct chip *c = dev;

	(void)cpu;
	(void)len;
	if (off)
		data(c, v & 0xff);
	else
		command(c, v & 0xff);
	update(c->pic);
}

static uint64_t elcr_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct pic *p = dev;

	(void)cpu;
	(void)len;
	return p->chip[off & 1].elcr;
}

static void elcr_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct pic *p = dev;
	struct chip *c = &p->chip[off & 1];
	uint8_t changed, now = v & c->elcr_bits;

	(void)cpu;
	(void)len;
	changed = c->elcr ^ now;
	c->elcr = now;
	/* a request of the other kind is gone; a level that is high is one */
	c->irr = (c->irr & ~changed) | (c->line & changed & now);
	update(p);
}

/* What firmware does is not done yet: everything masked. */
static void pic_reset(void *dev)
{
	struct pic *p = dev;

	for (unsigned i = 0; i < 2; i++) {
		struct chip *c = &p->chip[i];

		c->elcr = 0;
		chip_clear(c);
		c->imr = 0xff;
		c->base = 0;
		c->expect = EXPECT_OCW1;
	}
	update(p);
}

static const struct dev_ops chip_ops = {"pic", chip_read, chip_write, NULL, 1};
static const struct dev_ops elcr_ops = {"elcr", elcr_read, elcr_write, pic_reset, 1};

struct pic *pic_new(struct bus *b, void (*intr)(void *arg, bool level), void *arg)
{
	struct pic *p = xcalloc(1, sizeof *p);

	p->intr = intr;
	p->arg = arg;
	p->chip[0].pic = p->chip[1].pic = p;
	p->chip[0].elcr_bits = 0xf8; /* 0, 1, 2 are edges for ever, and so are 8 and 13 */
	p->chip[1].elcr_bits = 0xde;
	pic_reset(p);
	bus_place(b, BUS_PIO, MASTER_PORT, 2, &chip_ops, &p->chip[0]);
	bus_place(b, BUS_PIO, SLAVE_PORT, 2, &chip_ops, &p->chip[1]);
	bus_place(b, BUS_PIO, ELCR_PORT, 2, &elcr_ops, p);
	return p;
}

void pic_free(struct pic *p)
{
	free(p);
}
