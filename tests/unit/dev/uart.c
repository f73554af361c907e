/* SPDX-License-Identifier: MIT */
/* 16550A: registers, interrupts and their order, FIFOs, loopback, back-pressure, what Linux probes. */
#include "dev/legacy.h"
#include "fake.h"

enum { B = 0x3f8, DATA = B, IER = B + 1, IIR = B + 2, FCR = B + 2, LCR = B + 3, MCR = B + 4, LSR = B + 5, MSR = B + 6,
	SCR = B + 7 };

static struct uart *u;
static struct wire irq;
static char sent[64];
static size_t nsent;
static unsigned rooms;

static void on_tx(void *arg, const uint8_t *p, size_t n)
{
	(void)arg;
	for (size_t i = 0; i < n && nsent < sizeof sent; i++)
		sent[nsent++] = (char)p[i];
}

static void on_room(void *arg)
{
	(void)arg;
	rooms++;
}

static size_t rx(const char *p, size_t n)
{
	size_t took;

	bus_lock(fake_bus);
	took = uart_rx(u, (const uint8_t *)p, n);
	bus_unlock(fake_bus);
	return took;
}

static void fresh(void)
{
	bus_reset(fake_bus);
	outb(FCR, 1);
	while (inb(LSR) & 1)
		inb(DATA);
	bus_reset(fake_bus);
	nsent = 0;
	irq.rises = 0;
	outb(MCR, 0x0b);
}

static void test_registers(void)
{
	assert(inb(MSR) == 0xb0); /* at power-on */
	bus_reset(fake_bus);
	assert(inb(IER) == 0 && inb(IIR) == 1 && inb(LCR) == 0 && inb(MCR) == 0);
	assert(inb(LSR) == 0x60 && inb(MSR) == 0xb0);
	outb(SCR, 0xa5);
	assert(inb(SCR) == 0xa5);
	outb(IER, 0xff);
	assert(inb(IER) == 0x0f);
	outb(IER, 0);
	outb(LCR, 0x80);
	outb(DATA, 0x34);
	outb(IER, 0x12);
	assert(inb(DATA) == 0x34 && inb(IER) == 0x12 && nsent == 0);
	outb(LCR, 0x03);
	assert(inb(IER) == 0 && inb(LCR) == 3);
	outb(MCR, 0xff);
	assert(inb(MCR) == 0x1f);
	/* 16550A: FIFO bits in IIR, and no 16750 */
	outb(FCR, 1);
	assert(inb(IIR) == 0xc1);
	outb(FCR, 0x21);
	assert(inb(IIR) == 0xc1);
	outb(FCR, 0);
	assert(inb(IIR) == 0x01);
	/* words are bytes in turn */
	outb(MCR, 0);
	assert(inb(MSR) == 0xb4); /* RI fell with loopback */
	out(SCR - 1, 0x4200, 2);
	assert(inb(SCR) == 0x42 && in(LSR, 2) == 0xb060);
}

static void test_tx(void)
{
	fresh();
	outb(DATA, 'h');
	outb(DATA, 'i');
	assert(nsent == 2 && !memcmp(sent, "hi", 2) && inb(LSR) == 0x60);
	assert(!irq.level);
	/* turning the interrupt on gives one at once: Linux' THRE test */
	outb(IER, 2);
	assert(irq.level && inb(IIR) == 0x02);
	assert(!irq.level && inb(IIR) == 0x01); /* IIR has shown it */
	outb(IER, 0);
	outb(IER, 2);
	assert(inb(IIR) == 0x02);
	outb(IER, 2); /* not turned on anew */
	assert(inb(IIR) == 0x01);
	/* each write brings it back */
	outb(DATA, 'x');
	assert(irq.level);
	outb(IER, 0);
	assert(!irq.level);
	outb(IER, 2);
	assert(inb(IIR) == 2);
	/* clearing the transmit FIFO empties it */
	outb(FCR, 1);
	assert(inb(IIR) == 0xc2);
}

static void test_rx(void)
{
	fresh();
	/* without FIFO: one at a time, nothing lost */
	assert(rx("abc", 3) == 3);
	assert(inb(LSR) == 0x61 && inb(DATA) == 'a' && inb(LSR) == 0x61);
	assert(inb(DATA) == 'b' && inb(DATA) == 'c' && inb(LSR) == 0x60 && inb(DATA) == 0);
	outb(IER, 1);
	assert(rx("d", 1) == 1);
	assert(irq.level && inb(IIR) == 0x04 && inb(IIR) == 0x04);
	assert(inb(DATA) == 'd' && !irq.level && inb(IIR) == 1);
	/* with: trigger levels */
	for (unsigned t = 0; t < 4; t++) {
		static const unsigned level[4] = {1, 4, 8, 14};

		outb(FCR, 1 | t << 6);
		for (unsigned i = 1; i <= 16; i++) {
			assert(rx("z", 1) == 1);
			assert(inb(IIR) == (i >= level[t] ? 0xc4 : 0xcc)); /* else time-out */
		}
		outb(FCR, 3 | t << 6);
		assert(inb(LSR) == 0x60 && !irq.level && inb(IIR) == 0xc1);
	}
	/* FIFO full: the rest waits and comes when there is room */
	assert(rx("0123456789abcdefXYZ", 19) == 19);
	for (const char *p = "0123456789abcdefXYZ"; *p; p++) {
		assert(irq.level);
		assert(inb(DATA) == *p);
	}
	assert(!irq.level && inb(LSR) == 0x60);
	/* turning the FIFO off throws away what is in it */
	assert(rx("01", 2) == 2);
	outb(FCR, 0);
	assert(inb(LSR) == 0x60);
}

static void test_backpressure(void)
{
	static char big[8192];
	size_t took, room;

	fresh();
	outb(FCR, 1);
	memset(big, 'q', sizeof big);
	room = uart_rx_room(u);
	took = rx(big, sizeof big);
	assert(took >= room && took < sizeof big && uart_rx_room(u) == 0);
	assert(rx(big, 1) == 0 && rooms == 0);
	for (size_t i = 0; i < took; i++)
		assert(inb(DATA) == 'q');
	assert(rooms == 1 && inb(LSR) == 0x60 && uart_rx_room(u) == room);
}

static void test_line(void)
{
	fresh();
	outb(FCR, 0xc1);
	outb(IER, 5);
	assert(rx("a", 1) == 1);
	bus_lock(fake_bus);
	uart_break(u);
	bus_unlock(fake_bus);
	assert(rx("h", 1) == 1);
	/* the break is behind 'a': only the FIFO error bit tells */
	assert(inb(IIR) == 0xcc && inb(LSR) == 0xe1);
	assert(inb(DATA) == 'a');
	assert(inb(IIR) == 0xc6); /* line status goes before data */
	assert(inb(LSR) == 0xf1 && inb(LSR) == 0x61 && inb(IIR) == 0xcc);
	assert(inb(DATA) == 0 && inb(DATA) == 'h' && inb(LSR) == 0x60);
}

static void test_modem_loop(void)
{
	fresh();
	outb(MCR, 0);
	assert((inb(MSR) & 0xf0) == 0xb0);
	/* what Linux asks */
	outb(MCR, 0x1a);
	assert((inb(MSR) & 0xf0) == 0x90);
	/* outputs to inputs, with deltas once */
	outb(MCR, 0x10);
	inb(MSR);
	outb(MCR, 0x11);
	assert(inb(MSR) == 0x22 && inb(MSR) == 0x20);
	outb(MCR, 0x12);
	assert(inb(MSR) == 0x13);
	outb(MCR, 0x14);
	assert(inb(MSR) == 0x41); /* RI: the rise does not count */
	outb(MCR, 0x18);
	assert(inb(MSR) == 0x8c); /* but the fall, and DCD */
	outb(MCR, 0x08);
	assert((inb(MSR) & 0xf0) == 0xb0);
	/* modem interrupt, the last in order */
	outb(IER, 0x0a);
	outb(MCR, 0x18);
	outb(MCR, 0x08);
	outb(DATA, 'x');
	assert(irq.level && inb(IIR) == 0x02 && inb(IIR) == 0x00);
	assert(inb(MSR) & 0x0f);
	assert(inb(IIR) == 1 && !irq.level);
	/* data in loopback: back to us, not out; overrun */
	fresh();
	outb(IER, 5);
	outb(MCR, 0x18);
	outb(DATA, 'l');
	assert(nsent == 0 && inb(LSR) == 0x61 && inb(IIR) == 4 && !irq.level); /* not wired in loopback */
	assert(inb(DATA) == 'l');
	outb(DATA, '1');
	outb(DATA, '2');
	assert(inb(IIR) == 6 && inb(LSR) == 0x63 && inb(LSR) == 0x61 && inb(DATA) == '2');
	outb(FCR, 1);
	for (char c = 'a'; c < 'a' + 17; c++)
		outb(DATA, (uint8_t)c);
	assert(inb(LSR) == 0x63);
	for (char c = 'a'; c < 'a' + 16; c++)
		assert(inb(DATA) == c);
	assert(inb(LSR) == 0x60);
	/* outside bytes wait until loopback ends */
	assert(rx("w", 1) == 1 && inb(LSR) == 0x60);
	outb(MCR, 0x08);
	assert(inb(LSR) == 0x61 && irq.level && inb(DATA) == 'w');
}

static void test_out2(void)
{
	fresh();
	outb(MCR, 0x03);
	outb(IER, 1);
	assert(rx("a", 1) == 1);
	assert(!irq.level && inb(IIR) == 4);
	outb(MCR, 0x0b);
	assert(irq.level);
	outb(MCR, 0x03);
	assert(!irq.level);
	outb(MCR, 0x0b);
	assert(irq.level && irq.rises == 2);
	bus_reset(fake_bus);
	assert(!irq.level);
}

/* What was typed before the guest's driver came up waits for it, whatever Linux' probe does on the way. */
static void test_early_input(void)
{
	static const char text[] = "uname -a; poweroff -f\n";
	char got[64] = "";
	size_t n = 0;

	bus_reset(fake_bus);
	outb(FCR, 1);
	assert(rx(text, sizeof text - 1) == sizeof text - 1);
	/* autoconfig: IER's bits, loopback, FIFO off and on, what is there is thrown away */
	outb(IER, 0x0f);
	outb(IER, 0);
	outb(MCR, 0x1a);
	outb(MCR, 0);
	for (int i = 0; i < 2; i++) {
		outb(FCR, 1);
		outb(FCR, 7);
		outb(FCR, 0);
		assert(!(inb(LSR) & 1));
		inb(DATA);
	}
	/* in loopback a guest hears itself, and what is left of that is no input */
	outb(MCR, 0x10);
	outb(DATA, 'L');
	outb(MCR, 0);
	outb(FCR, 7);
	/* startup: the last clear, DTR and interrupts, then the FIFO, which clears it again, then RTS */
	outb(FCR, 0);
	outb(MCR, 0x09);
	inb(DATA);
	outb(IER, 5);
	outb(FCR, 1);
	outb(FCR, 0x81);
	outb(MCR, 0x0b);
	while (inb(LSR) & 1)
		got[n++] = (char)inb(DATA);
	assert(n == sizeof text - 1 && !memcmp(got, text, n));
	/* while the guest receives, a clear is a clear */
	rx("gone", 4);
	outb(FCR, 3);
	assert(!(inb(LSR) & 1));
	/* RTS off holds the sender back, unless interrupts are on and DTR is off */
	outb(MCR, 0x09);
	rx("x", 1);
	assert(!(inb(LSR) & 1));
	outb(IER, 0);
	outb(MCR, 0x08);
	assert(!(inb(LSR) & 1));
	outb(IER, 1);
	assert(inb(LSR) & 1 && inb(DATA) == 'x');
	/* a guest that never touches MCR and polls */
	bus_reset(fake_bus);
	rx("p", 1);
	assert(inb(LSR) & 1 && inb(DATA) == 'p');
}

int main(void)
{
	fake_bus = bus_new();
	u = uart_new(fake_bus, B, WIRE(irq), on_tx, NULL);
	uart_on_room(u, on_room, NULL);
	test_registers();
	test_tx();
	test_rx();
	test_backpressure();
	test_line();
	test_modem_loop();
	test_out2();
	test_early_input();
	uart_free(u);
	bus_free(fake_bus);
	return 0;
}
