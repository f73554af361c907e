/* SPDX-License-Identifier: MIT */
/*
 * 16550A serial port (National PC16550D datasheet).
 *
 * Sending takes no time: a byte is out before the write returns, so the transmitter is always empty. What
 * remains of the transmitter is its interrupt, which is an event: it comes when THR became empty (after
 * each write) and when the guest turns the interrupt on, and goes when IIR has shown it or THR is written.
 *
 * Receiving: outside bytes wait in a bounded queue and enter the 16-byte FIFO (or the single holding
 * register) as the guest makes room, so there is no overrun from outside; only loopback can overrun. Below
 * the trigger level the time-out interrupt comes at once rather than after four characters' time.
 *
 * The other end obeys the guest's readiness, as with RTS flow control: a guest that drives its modem lines is sent
 * nothing before it turns RTS on, or at least the receive interrupt with DTR off (drivers that know no modem
 * lines); and what a guest throws away while it is not ready had not been sent yet. So what was typed, or
 * piped into husk, before the guest's driver came up is not lost: Linux clears the receiver several times
 * on its way, once even with the interrupt on.
 *
 * The interrupt reaches the board through OUT2, as PCs are wired; loopback disconnects it.
 */
#include <stdlib.h>

#include "base/util.h"
#include "dev/legacy.h"

enum { RBR = 0, IER = 1, IIR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };
enum { IER_RX = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8, IER_BITS = 0xf };
enum { IIR_MODEM = 0, IIR_NONE = 1, IIR_THRE = 2, IIR_RX = 4, IIR_LINE = 6, IIR_TIMEOUT = 0xc,
	IIR_FIFO = 0xc0 };
enum { FCR_ON = 1, FCR_CLEAR_RX = 2, FCR_CLEAR_TX = 4, FCR_KEEP = 0xc9 };
enum { LCR_DLAB = 0x80 };
enum { MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10, MCR_BITS = 0x1f };
enum { LSR_READY = 1, LSR_OVERRUN = 2, LSR_BREAK = 0x10, LSR_THRE = 0x20, LSR_TEMT = 0x40,
	LSR_FIFO_ERR = 0x80 };
enum { MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80, MSR_DELTAS = 0xf };
enum { FIFO = 16, QUEUE = 4096, BREAK = 0x100, LOOPED = 0x200 /* flags on a character */ };

struct uart {
	struct irq irq;
	void (*tx)(void *arg, const uint8_t *p, size_t n);
	void *arg;
	void (*room)(void *arg);
	void *room_arg;
	bool want_room;
	bool mcr_driven; /* the guest has written MCR since the reset */

	uint8_t ier, fcr, lcr, mcr, lsr, msr, scr; /* lsr: the bits that stay, that is OE and BI */
	uint16_t divisor;
	bool thre; /* the THRE event waits for IIR to be read */
	uint16_t fifo[FIFO];
	unsigned fifo_head, fifo_n;
	uint16_t queue[QUEUE];
	unsigned queue_head, queue_n;
};

static unsigned fifo_size(const struct uart *u)
{
	return u->fcr & FCR_ON ? FIFO : 1;
}

static unsigned trigger(const struct uart *u)
{
	static const uint8_t level[4] = {1, 4, 8, 14};

	return u->fcr & FCR_ON ? level[u->fcr >> 6] : 1;
}

static uint8_t iir(const struct uart *u)
{
	uint8_t v = IIR_NONE;

	if (u->ier & IER_LINE && u->lsr)
		v = IIR_LINE;
	else if (u->ier & IER_RX && u->fifo_n)
		v = u->fifo_n >= trigger(u) ? IIR_RX : IIR_TIMEOUT;
	else if (u->ier & IER_THRE && u->thre)
		v = IIR_THRE;
	else if (u->ier & IER_MODEM && u->msr & MSR_DELTAS)
		v = IIR_MODEM;
	return v | (u->fcr & FCR_ON ? IIR_FIFO : 0);
}

static void update(struct uart *u)
{
	bool wired = u->mcr & MCR_OUT2 && !(u->mcr & MCR_LOOP);

	irq_set(&u->irq, wired && !(iir(u) & IIR_NONE));
}

static void fifo_put(struct uart *u, uint16_t c)
{
	if (u->fifo_n == fifo_size(u)) {
		u->lsr |= LSR_OVERRUN;
		if (u->fifo_n == 1 && !(u->fcr & FCR_ON))
			u->fifo[u->fifo_head] = c; /* without FIFO the new one wins */
		return;
	}
	u->fifo[(u->fifo_head + u->fifo_n++) % FIFO] = c;
	/* The break flag shows when its character is the next to be read. */
	if (u->fifo_n == 1 && c & BREAK)
		u->lsr |= LSR_BREAK;
}

static bool receives(const struct uart *u)
{
	return u->mcr & MCR_RTS || (u->ier & IER_RX && !(u->mcr & MCR_DTR));
}

/* Moves what waits outside into the FIFO. */
static void refill(struct uart *u)
{
	if (u->mcr & MCR_LOOP || (u->mcr_driven && !receives(u)))
		return;
	while (u->queue_n && u->fifo_n < fifo_size(u)) {
		fifo_put(u, u->queue[u->queue_head]);
		u->queue_head = (u->queue_head + 1) % QUEUE;
		u->queue_n--;
	}
}

static uint8_t fifo_get(struct uart *u)
{
	uint8_t c;

	if (!u->fifo_n)
		return 0;
	c = u->fifo[u->fifo_head] & 0xff;
	u->fifo_head = (u->fifo_head + 1) % FIFO;
	u->fifo_n--;
	if (u->fifo_n && u->fifo[u->fifo_head] & BREAK)
		u->lsr |= LSR_BREAK;
	return c;
}

static void fifo_clear(struct uart *u)
{
	/* the sender still has it: last in, first back */
	while (!receives(u) && u->fifo_n && u->queue_n < QUEUE) {
		uint16_t c = u->fifo[(u->fifo_head + --u->fifo_n) % FIFO];

		if (c & LOOPED)
			continue;
		u->queue_head = (u->queue_head + QUEUE - 1) % QUEUE;
		u->queue[u->queue_head] = c;
		u->queue_n++;
	}
	u->fifo_n = 0;
	u->lsr &= ~LSR_BREAK;
}

static uint8_t lsr(const struct uart *u)
{
	uint8_t v = u->lsr | LSR_THRE | LSR_TEMT;

	if (u->fifo_n)
		v |= LSR_READY;
	if (u->fcr & FCR_ON)
		for (unsigned i = 0; i < u->fifo_n; i++)
			if (u->fifo[(u->fifo_head + i) % FIFO] & BREAK)
				v |= LSR_FIFO_ERR;
	return v;
}

/* The modem lines: outside everything is ready; in loopback they are our own outputs. */
static void modem_update(struct uart *u)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, was = u->msr & 0xf0, delta;

	if (u->mcr & MCR_LOOP)
		now = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
			(u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
	delta = (now ^ was) >> 4;
	if (now & MSR_RI)
		delta &= ~(MSR_RI >> 4); /* only the trailing edge counts */
	u->msr = now | (u->msr & MSR_DELTAS) | delta;
}

static void transmit(struct uart *u, uint8_t c)
{
	if (u->mcr & MCR_LOOP)
		fifo_put(u, c | LOOPED);
	else if (u->tx)
		u->tx(u->arg, &c, 1);
	u->thre = true;
}

static void fcr_write(struct uart *u, uint8_t v)
{
	if ((v ^ u->fcr) & FCR_ON)
		v |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (!(v & FCR_ON))
		v &= ~FCR_KEEP; /* the other bits are taken only together with it */
	if (v & FCR_CLEAR_RX)
		fifo_clear(u);
	if (v & FCR_CLEAR_TX)
		u->thre = true;
	u->fcr = v & FCR_KEEP;
}

static void write_reg(struct uart *u, unsigned reg, uint8_t v)
{
	switch (reg) {
	case RBR:
		if (u->lcr & LCR_DLAB)
			u->divisor = (u->divisor & 0xff00) | v;
		else
			transmit(u, v);
		break;
	case IER:
		if (u->lcr & LCR_DLAB) {
			u->divisor = (uint16_t)(v << 8) | (u->divisor & 0xff);
			break;
		}
		if (v & ~u->ier & IER_THRE)
			u->thre = true;
		u->ier = v & IER_BITS;
		break;
	case IIR:
		fcr_write(u, v);
		break;
	case LCR:
		u->lcr = v;
		break;
	case MCR:
		u->mcr = v & MCR_BITS;
		u->mcr_driven = true;
		modem_update(u);
		break;
	case SCR:
		u->scr = v;
		break;
	case LSR: /* factory test */
	case MSR:
		break;
	}
}

static uint8_t read_reg(struct uart *u, unsigned reg)
{
	uint8_t v;

	switch (reg) {
	case RBR:
		return u->lcr & LCR_DLAB ? u->divisor & 0xff : fifo_get(u);
	case IER:
		return u->lcr & LCR_DLAB ? u->divisor >> 8 : u->ier;
	case IIR:
		v = iir(u);
		if ((v & 0xf) == IIR_THRE)
			u->thre = false;
		return v;
	case LCR:
		return u->lcr;
	case MCR:
		return u->mcr;
	case LSR:
		v = lsr(u);
		u->lsr = 0;
		/* which also takes the break's mark from the next character */
		if (u->fifo_n)
			u->fifo[u->fifo_head] &= (uint16_t)~BREAK;
		return v;
	case MSR:
		v = u->msr;
		u->msr &= ~MSR_DELTAS;
		return v;
	default:
		return u->scr;
	}
}

/* After an access: what makes room lets bytes in, and whoever had to wait is called (for more than a byte). */
static void settle(struct uart *u)
{
	refill(u);
	update(u);
	if (u->want_room && u->queue_n <= QUEUE / 2) {
		u->want_room = false;
		if (u->room)
			u->room(u->room_arg);
	}
}

static uint64_t uart_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct uart *u = dev;
	uint8_t v = read_reg(u, off & 7);

	(void)cpu;
	(void)len;
	settle(u);
	return v;
}

static void uart_write(void *dev, unsigned cpu, uint64_t off, uint64_t v, unsigned len)
{
	struct uart *u = dev;

	(void)cpu;
	(void)len;
	write_reg(u, off & 7, v & 0xff);
	settle(u);
}

static void uart_reset(void *dev)
{
	struct uart *u = dev;

	u->ier = u->fcr = u->lcr = u->mcr = u->lsr = u->scr = 0;
	u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	u->divisor = 12; /* 9600 baud, which nobody looks at */
	u->thre = false;
	u->fifo_n = u->fifo_head = 0;
	u->mcr_driven = false;
	settle(u);
}

size_t uart_rx_room(const struct uart *u)
{
	return QUEUE - u->queue_n;
}

static void queue_put(struct uart *u, uint16_t c)
{
	u->queue[(u->queue_head + u->queue_n++) % QUEUE] = c;
}

size_t uart_rx(struct uart *u, const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && u->queue_n < QUEUE; i++) {
		queue_put(u, p[i]);
		refill(u);
	}
	u->want_room = i < n;
	update(u);
	return i;
}

void uart_break(struct uart *u)
{
	if (u->queue_n < QUEUE)
		queue_put(u, BREAK);
	refill(u);
	update(u);
}

void uart_on_room(struct uart *u, void (*room)(void *arg), void *arg)
{
	u->room = room;
	u->room_arg = arg;
}

static const struct dev_ops uart_ops = {
	.name = "uart",
	.read = uart_read,
	.write = uart_write,
	.reset = uart_reset,
	.max_len = 1,
};

struct uart *uart_new(struct bus *b, uint16_t base, struct irq irq,
	void (*tx)(void *arg, const uint8_t *p, size_t n), void *arg)
{
	struct uart *u = xcalloc(1, sizeof *u);

	u->irq = irq;
	u->tx = tx;
	u->arg = arg;
	uart_reset(u);
	bus_place(b, BUS_PIO, base, 8, &uart_ops, u);
	return u;
}

void uart_free(struct uart *u)
{
	free(u);
}
