/* SPDX-License-Identifier: MIT */
/* The PCI transport with a driver of our own, in front of a back-end that only takes notes, and of a toy device. */
#include "../dev/fake.h"
#include "base/util.h"
#include "toy.h"
#include "virtio/pci.h"

#define ECAM  UINT64_C(0xe8000000)
#define MEM32 UINT64_C(0xc0000000)
#define MEM64 UINT64_C(0x800000000)

enum { FEATURE_SELECT = 0, FEATURE = 4, CHOICE_SELECT = 8, CHOICE = 12, CONFIG_VECTOR = 16, NQUEUES = 18, STATUS = 20,
	GENERATION = 21, SELECT = 22, SIZE = 24, VECTOR = 26, ENABLE = 28, NOTIFY_OFF = 30, DESC = 32, AVAIL = 40,
	USED = 48 };
enum { NONE = 0xffff };
enum { ACK = 1, DRIVER = 2, OK = 4, FEATURES = 8, BROKEN = 64, FAILED = 128 };

static struct pci *pci;
static struct virtio_pci *v;
static uint64_t slot; /* the function's configuration space */
static struct {
	uint64_t common, isr, device, notify, table;
	uint32_t multiplier, device_len, notify_len;
	unsigned cfg, msix;
} at;
static bool wire;
static struct {
	unsigned n;
	uint32_t data;
} msi;

static void on_wire(void *arg, unsigned line, bool level)
{
	(void)arg;
	assert(line == 16 + 1); /* slot 1, INTA */
	wire = level;
}

static void on_msi(void *arg, uint64_t addr, uint32_t data)
{
	(void)arg;
	assert(addr == 0xfee00000);
	msi.n++;
	msi.data = data;
}

static uint64_t rd(uint64_t addr, unsigned len)
{
	return bus_read(fake_bus, BUS_MMIO, 0, addr, len);
}

static void wr(uint64_t addr, uint64_t x, unsigned len)
{
	bus_write(fake_bus, BUS_MMIO, 0, addr, x, len);
}

static uint64_t bar(unsigned n)
{
	uint64_t lo = rd(slot + 0x10 + n * 4, 4);

	return (lo & ~UINT64_C(15)) | ((lo & 4) ? rd(slot + 0x14 + n * 4, 4) << 32 : 0);
}

/* Capabilities, as a driver looks for them. */
static void walk(void)
{
	unsigned seen = 0;

	memset(&at, 0, sizeof at);
	for (unsigned c = (unsigned)rd(slot + 0x34, 1); c; c = (unsigned)rd(slot + c + 1, 1)) {
		uint64_t place;

		if (rd(slot + c, 1) == 0x11) {
			at.msix = c;
			at.table = bar(rd(slot + c + 4, 4) & 7) + (rd(slot + c + 4, 4) & ~UINT64_C(7));
		}
		if (rd(slot + c, 1) != 9)
			continue;
		assert(rd(slot + c + 2, 1) >= 16 && rd(slot + c + 3, 1) >= 1 && rd(slot + c + 3, 1) <= 5);
		assert(!(seen & 1u << rd(slot + c + 3, 1)));
		seen |= 1u << rd(slot + c + 3, 1);
		place = bar((unsigned)rd(slot + c + 4, 1)) + rd(slot + c + 8, 4);
		switch (rd(slot + c + 3, 1)) {
		case 1:
			at.common = place;
			assert(rd(slot + c + 12, 4) >= 56 && place % 4 == 0);
			break;
		case 2:
			at.notify = place;
			at.notify_len = (uint32_t)rd(slot + c + 12, 4);
			at.multiplier = (uint32_t)rd(slot + c + 16, 4);
			break;
		case 3:
			at.isr = place;
			assert(rd(slot + c + 12, 4) >= 1);
			break;
		case 4:
			at.device = place;
			at.device_len = (uint32_t)rd(slot + c + 12, 4);
			assert(place % 4 == 0);
			break;
		case 5:
			at.cfg = c;
			assert(rd(slot + c + 2, 1) == 20);
			break;
		}
	}
	assert(at.common && at.notify && at.isr && at.cfg && at.msix && at.multiplier == 4);
}

static uint64_t c_rd(unsigned reg, unsigned len)
{
	return rd(at.common + reg, len);
}

static void c_wr(unsigned reg, uint64_t x, unsigned len)
{
	wr(at.common + reg, x, len);
}

static void choose(uint64_t features)
{
	c_wr(CHOICE_SELECT, 0, 4);
	c_wr(CHOICE, (uint32_t)features, 4);
	c_wr(CHOICE_SELECT, 1, 4);
	c_wr(CHOICE, features >> 32, 4);
}

static void msix_enable(unsigned vectors)
{
	for (unsigned i = 0; i < vectors; i++) {
		wr(at.table + i * 16, 0xfee00000, 8);
		wr(at.table + i * 16 + 8, 0x40 + i, 8);
	}
	wr(slot + at.msix + 2, 0x8000, 2);
}

static void queue(unsigned q, const struct virtio_ring *r, unsigned vector)
{
	c_wr(SELECT, q, 2);
	c_wr(SIZE, r->size, 2);
	c_wr(VECTOR, vector, 2);
	c_wr(DESC, r->desc, 4); /* as Linux does: two halves */
	c_wr(DESC + 4, r->desc >> 32, 4);
	c_wr(AVAIL, r->avail, 8);
	c_wr(USED, r->used, 8);
	c_wr(ENABLE, 1, 2);
}

static void kick(unsigned q)
{
	wr(at.notify + q * at.multiplier, q, 2);
}

static void board(void)
{
	fake_bus = bus_new();
	pci = pci_new(fake_bus, &(struct pci_config){.ecam_base = ECAM, .ecam_size = 1 << 20, .mmio32_base = MEM32,
		.mmio32_size = ECAM - MEM32, .mmio64_base = MEM64, .mmio64_size = UINT64_C(1) << 30,
		.intx = {on_wire, NULL, 16}});
	slot = ECAM + (1 << 15);
	memset(&msi, 0, sizeof msi);
	wire = false;
}

/* ---- a back-end that takes notes ---- */

#define OFFERED (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | UINT64_C(1) << 50 | 0x21)

static struct {
	unsigned starts, stops, kicks, kicked, reads, writes;
	uint64_t features;
	struct virtio_ring ring[5];
	bool at_once, fail;
	uint8_t config[21];
} back;

static void note_read(void *arg, uint32_t off, void *buf, uint32_t len)
{
	assert(arg == &back && len && off + len <= sizeof back.config);
	memcpy(buf, back.config + off, len);
	back.reads++;
}

static void note_write(void *arg, uint32_t off, const void *buf, uint32_t len)
{
	assert(arg == &back && len && off + len <= sizeof back.config);
	memcpy(back.config + off, buf, len);
	back.writes++;
}

static void note_start(void *arg, uint64_t features, const struct virtio_ring *rings)
{
	assert(arg == &back && back.starts == back.stops);
	back.starts++;
	back.features = features;
	memcpy(back.ring, rings, sizeof back.ring);
	if (back.fail)
		virtio_pci_broken(v, "it was told to");
}

static void note_stop(void *arg)
{
	assert(arg == &back && back.starts == back.stops + 1);
	back.stops++;
	if (back.at_once)
		virtio_pci_stopped(v);
}

static void note_kick(void *arg, unsigned q)
{
	assert(arg == &back && back.starts == back.stops + 1 && q < 5 && back.ring[q].enabled);
	back.kicks++;
	back.kicked = q;
}

static void note_board(uint32_t config_len)
{
	struct virtio_pci_config c = {.back = {.name = "note", .id = VIRTIO_ID_NET, .features = OFFERED, .nqueues = 5,
		.queue_size = 256, .config_len = config_len, .config_read = note_read,
		.config_write = note_write, .start = note_start, .stop = note_stop, .kick = note_kick,
		.arg = &back}, .msi = on_msi};

	board();
	memset(&back, 0, sizeof back);
	for (unsigned i = 0; i < sizeof back.config; i++)
		back.config[i] = (uint8_t)(i + 1);
	c.pci = pci;
	assert(!virtio_pci_new(&v, &c, NULL));
	walk();
}

static void unboard(void)
{
	virtio_pci_free(v);
	pci_free(pci);
	bus_free(fake_bus);
}

static void stopped(void)
{
	bus_lock(fake_bus);
	virtio_pci_stopped(v);
	bus_unlock(fake_bus);
}

/* What everything is after power-on, and after any reset. */
static void check_fresh(void)
{
	assert(c_rd(STATUS, 1) == 0 && c_rd(FEATURE_SELECT, 4) == 0 && c_rd(CHOICE_SELECT, 4) == 0);
	assert(c_rd(CHOICE, 4) == 0 && c_rd(CONFIG_VECTOR, 2) == NONE && c_rd(SELECT, 2) == 0);
	for (unsigned q = 0; q < 6; q++) {
		c_wr(SELECT, q, 2);
		assert(c_rd(SIZE, 2) == (q < 5 ? 256 : 0) && c_rd(ENABLE, 2) == 0 && c_rd(VECTOR, 2) == NONE);
		assert(c_rd(DESC, 8) == 0 && c_rd(AVAIL, 8) == 0 && c_rd(USED, 8) == 0);
		assert(c_rd(NOTIFY_OFF, 2) == (q < 5 ? q : 0));
	}
	c_wr(SELECT, 0, 2);
	assert(rd(at.isr, 1) == 0 && !wire && virtio_pci_idle(v) && !virtio_pci_running(v));
}

static void set_up(void)
{
	struct virtio_ring r = {.size = 64, .desc = 0x123456000, .avail = 0x2000, .used = 0x3000};

	c_wr(STATUS, ACK, 1);
	c_wr(STATUS, ACK | DRIVER, 1);
	choose(VIRTIO_F_VERSION_1 | 1);
	c_wr(STATUS, ACK | DRIVER | FEATURES, 1);
	assert(c_rd(STATUS, 1) == (ACK | DRIVER | FEATURES));
	c_wr(CONFIG_VECTOR, 0, 2);
	queue(1, &r, 1);
	r.size = 128;
	queue(3, &r, 2);
	c_wr(STATUS, ACK | DRIVER | FEATURES | OK, 1);
	assert((c_rd(STATUS, 1) & ~(uint64_t)BROKEN) == (ACK | DRIVER | FEATURES | OK));
}

static void identity(void)
{
	note_board(sizeof back.config);
	assert(rd(slot, 4) == 0x10411af4 && rd(slot + 8, 4) == 0x02000001 && rd(slot + 0x2e, 2) >= 0x40);
	assert(!strcmp(virtio_pci_place(v), "00:01.0") && rd(slot + 0x3d, 1) == 1);
	assert(at.device_len == sizeof back.config && at.notify_len == 20);
	assert((rd(slot + at.msix + 2, 2) & 0x7ff) == 5 && c_rd(NQUEUES, 2) == 5);
	check_fresh();
	unboard();
	note_board(0);
	assert(!at.device);
	rd(bar(4) + 0x2000, 8);
	wr(bar(4) + 0x2000, 1, 8);
	assert(!back.reads && !back.writes);
	unboard();
}

static void negotiation(void)
{
	note_board(sizeof back.config);
	for (unsigned i = 0; i < 4; i++) {
		c_wr(FEATURE_SELECT, i, 4);
		assert(c_rd(FEATURE, 4) == (i < 2 ? (uint32_t)(OFFERED >> i * 32) : 0));
	}
	choose(OFFERED);
	assert(c_rd(CHOICE, 4) == OFFERED >> 32);
	c_wr(CHOICE_SELECT, 2, 4);
	c_wr(CHOICE, UINT32_MAX, 4);
	assert(c_rd(CHOICE, 4) == 0);
	c_wr(CHOICE_SELECT, 0, 4);
	assert(c_rd(CHOICE, 4) == (uint32_t)OFFERED);

	/* FEATURES_OK: not without VERSION_1, not with what was not offered; and then no DRIVER_OK */
	choose(OFFERED & ~VIRTIO_F_VERSION_1);
	c_wr(STATUS, ACK | DRIVER | FEATURES, 1);
	assert(c_rd(STATUS, 1) == (ACK | DRIVER));
	choose(OFFERED | 2);
	c_wr(STATUS, ACK | DRIVER | FEATURES | OK, 1);
	assert(c_rd(STATUS, 1) == (ACK | DRIVER) && !back.starts);
	choose(VIRTIO_F_VERSION_1 | 1);
	c_wr(STATUS, ACK | DRIVER | OK, 1);
	assert(c_rd(STATUS, 1) == (ACK | DRIVER) && !back.starts);
	c_wr(STATUS, FEATURES, 1); /* bits are not cleared by leaving them out */
	assert(c_rd(STATUS, 1) == (ACK | DRIVER | FEATURES));
	choose(OFFERED); /* too late */
	c_wr(STATUS, OK | BROKEN, 1); /* NEEDS_RESET is not the driver's */
	assert(c_rd(STATUS, 1) == (ACK | DRIVER | FEATURES | OK));
	assert(back.starts == 1 && back.features == (VIRTIO_F_VERSION_1 | 1) && virtio_pci_running(v));
	c_wr(STATUS, FAILED | OK, 1);
	assert(c_rd(STATUS, 1) == (ACK | DRIVER | FEATURES | OK | FAILED) && back.starts == 1);
	unboard();
}

static void queues(void)
{
	note_board(sizeof back.config);
	msix_enable(6);
	kick(1);
	c_wr(SELECT, 1, 2);
	for (unsigned i = 0; i < 6; i++) {
		static const uint16_t bad[] = {0, 3, 512, 257, 0x8000, 0xffff};

		c_wr(SIZE, bad[i], 2);
		assert(c_rd(SIZE, 2) == 256);
	}
	c_wr(SIZE, 1, 2);
	assert(c_rd(SIZE, 2) == 1);
	c_wr(VECTOR, 5, 2);
	assert(c_rd(VECTOR, 2) == 5);
	c_wr(VECTOR, 6, 2);
	assert(c_rd(VECTOR, 2) == NONE);
	c_wr(CONFIG_VECTOR, 77, 2);
	assert(c_rd(CONFIG_VECTOR, 2) == NONE);
	c_wr(ENABLE, 2, 2);
	assert(c_rd(ENABLE, 2) == 0);
	c_wr(SELECT, 5, 2); /* none: no register takes anything */
	for (unsigned reg = SIZE; reg < USED + 8; reg += 2)
		c_wr(reg, 1, 2);
	c_wr(SELECT, 0xffff, 2);
	c_wr(ENABLE, 1, 2);
	assert(c_rd(SELECT, 2) == 0xffff && c_rd(ENABLE, 2) == 0 && c_rd(SIZE, 2) == 0 && c_rd(DESC, 8) == 0);

	set_up();
	assert(back.starts == 1 && !back.kicks);
	assert(!back.ring[0].enabled && !back.ring[2].enabled && !back.ring[4].enabled);
	assert(back.ring[1].enabled && back.ring[1].size == 64 && back.ring[1].desc == 0x123456000);
	assert(back.ring[3].enabled && back.ring[3].size == 128 && back.ring[3].avail == 0x2000 &&
		back.ring[3].used == 0x3000);
	/* nothing of them moves now; a queue that comes late stays out */
	c_wr(SELECT, 3, 2);
	c_wr(SIZE, 16, 2);
	c_wr(DESC, 0, 8);
	c_wr(ENABLE, 0, 2);
	assert(c_rd(SIZE, 2) == 128 && c_rd(DESC, 8) == 0x123456000 && c_rd(ENABLE, 2) == 1);
	c_wr(SELECT, 0, 2);
	c_wr(ENABLE, 1, 2);
	assert(c_rd(ENABLE, 2) == 0);

	/* doorbells, in any size */
	kick(3);
	assert(back.kicks == 1 && back.kicked == 3);
	wr(at.notify + 4, 1, 4);
	wr(at.notify + 4, 1, 1);
	wr(at.notify + 4, 1, 8);
	assert(back.kicks == 4 && back.kicked == 1);
	kick(0);
	kick(4);
	kick(5);
	kick(1000);
	assert(back.kicks == 4);

	/* interrupts: the vector of each, also while they change */
	bus_lock(fake_bus);
	virtio_pci_interrupt(v, 3);
	assert(msi.n == 1 && msi.data == 0x42);
	virtio_pci_interrupt(v, 1);
	assert(msi.n == 2 && msi.data == 0x41);
	virtio_pci_interrupt(v, 0); /* no vector */
	virtio_pci_interrupt(v, 5);
	virtio_pci_interrupt(v, 70000);
	assert(msi.n == 2);
	virtio_pci_config_changed(v);
	assert(msi.n == 3 && msi.data == 0x40 && !wire);
	bus_unlock(fake_bus);
	assert(c_rd(GENERATION, 1) == 1 && rd(at.isr, 1) == 0);
	c_wr(SELECT, 3, 2);
	c_wr(VECTOR, 4, 2);
	bus_lock(fake_bus);
	virtio_pci_interrupt(v, 3);
	bus_unlock(fake_bus);
	assert(msi.n == 4 && msi.data == 0x44);

	/* without MSI-X the pin and the status that clears itself */
	wr(slot + at.msix + 2, 0, 2);
	bus_lock(fake_bus);
	virtio_pci_interrupt(v, 0);
	bus_unlock(fake_bus);
	assert(wire && msi.n == 4 && rd(slot + 6, 1) & 8);
	bus_lock(fake_bus);
	virtio_pci_config_changed(v);
	bus_unlock(fake_bus);
	assert(rd(at.isr, 4) == 3 && !wire && rd(at.isr, 1) == 0 && !(rd(slot + 6, 1) & 8));
	bus_lock(fake_bus);
	virtio_pci_interrupt(v, 1);
	bus_unlock(fake_bus);
	assert(rd(at.isr + 1, 1) == 0 && wire && rd(at.isr, 1) == 1 && !wire);
	unboard();
}

static void resets(void)
{
	for (unsigned machine = 0; machine < 2; machine++) {
		note_board(sizeof back.config);
		/* never started: at once, whatever was set */
		choose(OFFERED);
		c_wr(STATUS, ACK | DRIVER | FEATURES, 1);
		queue(2, &(struct virtio_ring){.size = 32, .desc = 1, .avail = 2, .used = 3}, 1);
		c_wr(STATUS, 0, 1);
		check_fresh();
		assert(!back.stops);

		/* running: the status stays until the rings are given up, and nothing gets through until then */
		msix_enable(6);
		set_up();
		if (machine)
			bus_reset(fake_bus);
		else
			c_wr(STATUS, 0, 1);
		assert(back.stops == 1 && c_rd(STATUS, 1) == (ACK | DRIVER | FEATURES | OK));
		assert(!virtio_pci_running(v) && !virtio_pci_idle(v));
		kick(1);
		c_wr(STATUS, ACK | DRIVER | FEATURES | OK, 1);
		c_wr(SELECT, 0, 2);
		c_wr(SIZE, 8, 2);
		c_wr(STATUS, 0, 1);
		bus_lock(fake_bus);
		virtio_pci_interrupt(v, 1);
		virtio_pci_config_changed(v);
		virtio_pci_broken(v, "too late to matter");
		bus_unlock(fake_bus);
		assert(back.stops == 1 && back.starts == 1 && !back.kicks && !msi.n);
		bus_reset(fake_bus);
		assert(back.stops == 1 && !virtio_pci_idle(v) && c_rd(STATUS, 1));
		stopped();
		check_fresh();
		c_wr(STATUS, ACK, 1);
		stopped(); /* once more means nothing */
		assert(c_rd(STATUS, 1) == ACK);

		/* and again, with a back-end that is done at once */
		back.at_once = true;
		wr(slot + 4, 2, 2);
		set_up();
		assert(back.starts == 2);
		c_wr(STATUS, 0, 1);
		assert(back.stops == 2);
		check_fresh();
		set_up();
		bus_reset(fake_bus);
		assert(back.stops == 3);
		check_fresh();
		unboard();
	}
}

static void broken(void)
{
	char text[128], part[10];

	note_board(sizeof back.config);
	msix_enable(6);
	set_up();
	bus_lock(fake_bus);
	virtio_pci_broken(v, "a test wants it so (this line is expected)");
	virtio_pci_broken(v, "twice");
	bus_unlock(fake_bus);
	assert(c_rd(STATUS, 1) == (ACK | DRIVER | FEATURES | OK | BROKEN) && msi.n == 1 && msi.data == 0x40);
	kick(1);
	assert(!back.kicks && virtio_pci_running(v));
	c_wr(STATUS, 0, 1);
	assert(back.stops == 1);
	stopped();
	check_fresh();
	/* in the middle of start() */
	back.fail = true;
	set_up();
	assert(c_rd(STATUS, 1) & BROKEN);
	c_wr(STATUS, 0, 1);
	stopped();
	check_fresh();
	back.fail = false;
	set_up();
	kick(1);
	assert(back.kicks == 1 && back.starts == 3);
	assert(virtio_pci_stats(v, text, sizeof text) == strlen(text));
	assert(!strcmp(text, "note.status 15\nnote.notifies 1\nnote.interrupts 2\nnote.resets 2\n"));
	assert(virtio_pci_stats(v, part, sizeof part) == 9 && !strcmp(part, "note.stat") && !virtio_pci_stats(v, part, 0));
	unboard();
}

/* The device's own configuration; and all structures through configuration space (4.1.4.9). */
static void config(void)
{
	note_board(sizeof back.config);
	assert(rd(at.device, 8) == 0x0807060504030201 && rd(at.device + 3, 1) == 4 && rd(at.device + 5, 2) == 0x0706);
	assert(rd(at.device + 17, 8) == 0x15141312 && rd(at.device + 21, 4) == 0 && rd(at.device + 0xfff, 1) == 0);
	wr(at.device + 18, 0x1122334455667788, 8);
	assert(back.config[17] == 18 && back.config[18] == 0x88 && back.config[20] == 0x66 && back.writes == 1);
	wr(at.device + 21, 1, 4);
	assert(back.writes == 1);

	wr(slot + at.cfg + 8, 0x2000, 4);
	wr(slot + at.cfg + 12, 4, 4);
	assert(rd(slot + at.cfg + 16, 4) == 0); /* no BAR chosen */
	wr(slot + at.cfg + 4, 4, 1);
	assert(rd(slot + at.cfg + 16, 4) == 0x04030201);
	wr(slot + at.cfg + 12, 2, 4);
	wr(slot + at.cfg + 16, 0xaabbccdd, 4);
	assert(back.config[0] == 0xdd && back.config[1] == 0xcc && back.config[2] == 3);
	assert(rd(slot + at.cfg + 16, 4) == 0xccdd);
	set_up();
	wr(slot + at.cfg + 8, 0x3000 + 12, 4);
	wr(slot + at.cfg + 16, 3, 4);
	assert(back.kicks == 1 && back.kicked == 3);
	wr(slot + at.cfg + 8, 14, 4);
	wr(slot + at.cfg + 12, 1, 4);
	wr(slot + at.cfg + 8, STATUS, 4);
	assert(rd(slot + at.cfg + 16, 1) == (ACK | DRIVER | FEATURES | OK));
	for (unsigned i = 0; i < 6; i++) { /* what does not lie in the BAR, in one piece, does nothing */
		static const uint32_t off[] = {0x4000, 0x3ffe, 0xfffffffc, 1, 0, 0}, len[] = {1, 4, 4, 2, 3, 0};

		wr(slot + at.cfg + 8, off[i], 4);
		wr(slot + at.cfg + 12, len[i], 4);
		wr(slot + at.cfg + 16, 0x5a5a5a5a, 4);
		assert(rd(slot + at.cfg + 16, 4) == 0x5a5a5a5a);
	}
	assert(back.kicks == 1);
	unboard();
}

/* Each register in each size, and the pieces make the same whole. */
static void sizes(void)
{
	uint8_t bytes[64];

	note_board(sizeof back.config);
	c_wr(FEATURE_SELECT, 1, 4);
	choose(OFFERED);
	queue(2, &(struct virtio_ring){.size = 32, .desc = 0x1122334455667788, .avail = 0x99aabbccddeeff00,
		.used = 0x0123456789abcdef}, 3);
	for (unsigned i = 0; i < 64; i++)
		bytes[i] = (uint8_t)c_rd(i, 1);
	for (unsigned i = 0; i < 64; i++)
		for (unsigned len = 1; len <= 8; len++) {
			uint64_t want = 0;

			for (unsigned k = 0; k < len; k++)
				want |= (uint64_t)(i + k < 56 ? bytes[i + k] : 0) << k * 8;
			assert(c_rd(i, len) == want);
		}
	c_wr(STATUS, 0, 1);
	/* written byte by byte, and over several registers at once */
	c_wr(SELECT, 4, 1);
	for (unsigned k = 0; k < 8; k++)
		c_wr(AVAIL + k, 0x10 + k, 1);
	assert(c_rd(AVAIL, 8) == 0x1716151413121110);
	c_wr(SIZE, 0x0002000100020010, 8); /* size 16, vector 2, enable 1, and what is not written */
	assert(c_rd(SIZE, 2) == 16 && c_rd(VECTOR, 2) == 2 && c_rd(ENABLE, 2) == 1 && c_rd(NOTIFY_OFF, 2) == 4);
	c_wr(CONFIG_VECTOR, 0x0001000300ff0002, 8); /* vector, count, status, generation, select */
	assert(c_rd(CONFIG_VECTOR, 2) == 2 && c_rd(NQUEUES, 2) == 5 && c_rd(SELECT, 2) == 1);
	assert(c_rd(STATUS, 1) == ACK + DRIVER && c_rd(GENERATION, 1) == 0);
	unboard();
}

/* ---- a toy device, in this process ---- */

static struct toy_device toy;
static struct virtio_local *local;
static struct mem mem;
static struct {
	unsigned n;
	uint64_t gpa, len;
} code;

static void on_code(void *arg, uint64_t gpa, uint64_t len)
{
	assert(arg == &code && len && gpa / MEM_PAGE == (gpa + len - 1) / MEM_PAGE);
	code.n++;
	code.gpa = gpa;
	code.len = len;
}

static void toy_board(void)
{
	struct virtio_pci_config c = {.back = {.name = "toy"}, .msi = on_msi};

	board();
	assert(!mem_init(&mem, MIB, NULL));
	toy_device_init(&toy);
	memset(&code, 0, sizeof code);
	local = virtio_local_new(&toy.dev, &mem, &c.back, on_code, &code);
	assert(c.back.features == (5 | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX));
	c.pci = pci;
	assert(!virtio_pci_new(&v, &c, NULL));
	virtio_local_bind(local, v);
	walk();
}

static void toy_unboard(void)
{
	unboard(); /* the function first: what the device does when it is stopped must not reach it */
	virtio_local_free(local);
	mem_fini(&mem);
}

static void toy_up(void)
{
	struct virtio_ring r;

	msix_enable(TOY_QUEUES + 1);
	choose(VIRTIO_F_VERSION_1 | 4);
	c_wr(STATUS, ACK | DRIVER | FEATURES, 1);
	c_wr(CONFIG_VECTOR, TOY_QUEUES, 2);
	for (unsigned q = 0; q < TOY_QUEUES; q += 2) {
		r = toy_ring(q, 8);
		mem_zero(&mem, r.desc, 0x3000);
		queue(q, &r, q);
	}
	c_wr(STATUS, ACK | DRIVER | FEATURES | OK, 1);
}

static void echo(unsigned q, uint32_t len)
{
	const struct virtio_ring r = toy_ring(q, 8);
	uint16_t used = toy_used(&mem, &r);
	unsigned n = msi.n;
	uint8_t buf[512];

	for (unsigned i = 0; i < len; i++)
		buf[i] = (uint8_t)(i + used);
	mem_put(&mem, toy_buffer(q), buf, len);
	toy_request(&mem, &r, toy_buffer(q), toy_buffer(q) + 0x800, len);
	kick(q);
	assert((uint16_t)(used + 1) == toy_used(&mem, &r) && msi.n == n + 1 && msi.data == 0x40 + q);
	mem_get(&mem, toy_buffer(q) + 0x800, buf, len);
	for (unsigned i = 0; i < len; i++)
		assert(buf[i] == (uint8_t) ~(i + used));
}

static void locals(void)
{
	struct virtio_ring r = toy_ring(0, 8);
	unsigned n;

	toy_board();
	toy_up();
	assert(toy.starts == 2 && toy.features == (VIRTIO_F_VERSION_1 | 4) && !toy.requests);
	for (unsigned i = 0; i < 20; i++)
		echo(i % 2 * 2, 300);
	kick(1);
	assert(toy.requests == 20);

	/* configuration and its interrupt */
	assert(rd(at.device, 4) == 0x13121110);
	n = msi.n;
	wr(at.device, 0x77, 1);
	assert(rd(at.device, 2) == 0x1177 && c_rd(GENERATION, 1) == 1 && msi.n == n + 1 && msi.data == 0x40 + TOY_QUEUES);

	/* the BARs move while it works */
	wr(slot + 0x20, (uint32_t)(MEM64 + 0x800000), 4);
	wr(slot + 0x14, MEM32 + 0x100000, 4);
	walk();
	assert(at.common == MEM64 + 0x800000 && at.table == MEM32 + 0x100000);
	echo(2, 100);
	assert(rd(at.table + 2 * 16 + 8, 4) == 0x42);

	/* pages with translated code are named, before the driver sees anything */
	assert(!code.n);
	mem.page_bits[(toy_buffer(0) + 0x800) / MEM_PAGE] = MEM_PG_CODE;
	echo(0, 100);
	assert(code.n == 1 && code.gpa == toy_buffer(0) + 0x800 && code.len == 100);
	mem.page_bits[(toy_buffer(0) + 0x800) / MEM_PAGE] = MEM_PG_DIRTY;
	echo(0, 100);
	assert(code.n == 1);
	mem.page_bits[r.used / MEM_PAGE] = MEM_PG_CODE;
	echo(0, 100);
	assert(code.n >= 2 && code.gpa >= r.used && code.gpa < r.used + 0x1000);
	mem.page_bits[r.used / MEM_PAGE] = 0;

	/* what is there before DRIVER_OK is served without a kick */
	c_wr(STATUS, 0, 1);
	assert(c_rd(STATUS, 1) == 0 && toy.stops == 2 && toy.resets == 1 && !toy.features);
	n = toy.requests;
	msix_enable(4);
	choose(VIRTIO_F_VERSION_1);
	c_wr(STATUS, ACK | DRIVER | FEATURES, 1);
	mem_zero(&mem, r.desc, 0x3000);
	queue(0, &r, 0);
	toy_request(&mem, &r, toy_buffer(0), toy_buffer(0) + 0x800, 64);
	c_wr(STATUS, OK, 1);
	assert(toy.requests == n + 1 && toy_used(&mem, &r) == 1);
	c_wr(STATUS, 0, 1);

	/* the queue breaks: needs reset, the configuration's interrupt, silence, and then it works again */
	toy_up();
	n = msi.n;
	mem_put(&mem, toy_buffer(0), &(uint8_t){TOY_BREAK}, 1);
	toy_request(&mem, &r, toy_buffer(0), toy_buffer(0) + 0x800, 64);
	kick(0);
	assert(c_rd(STATUS, 1) & BROKEN && msi.n == n + 1 && msi.data == 0x40 + TOY_QUEUES);
	n = toy.requests;
	kick(0);
	assert(toy.requests == n);
	bus_reset(fake_bus);
	walk(); /* the BARs are back, too */
	assert(virtio_pci_idle(v) && c_rd(STATUS, 1) == 0 && at.common == MEM64);
	toy_up();
	echo(0, 9);
	/* by the ring itself: more available than it has entries */
	mem_put(&mem, r.avail + 2, &(uint16_t){0x7000}, 2);
	kick(0);
	assert(c_rd(STATUS, 1) & BROKEN);
	c_wr(STATUS, 0, 1);

	/* rings that lie nowhere, and a device that does not want: at DRIVER_OK */
	choose(VIRTIO_F_VERSION_1);
	c_wr(STATUS, ACK | DRIVER | FEATURES, 1);
	queue(2, &(struct virtio_ring){.size = 8, .desc = 0x1000, .avail = 0x2000, .used = MIB - 8}, 0);
	c_wr(STATUS, OK, 1);
	assert(c_rd(STATUS, 1) & BROKEN);
	kick(2);
	c_wr(STATUS, 0, 1);
	assert(c_rd(STATUS, 1) == 0);
	toy.refuse = true;
	toy_up();
	assert(c_rd(STATUS, 1) & BROKEN);
	toy.refuse = false;
	c_wr(STATUS, 0, 1);
	toy_up();
	echo(2, 10);
	assert(toy.starts == toy.stops + 2);
	toy_unboard();
	assert(toy.starts == toy.stops);
}

/* Any access, anywhere on the function, in any order: it goes on, and works after a reset. */
static void garbage(void)
{
	toy_board();
	for (unsigned i = 0; i < 300000; i++) {
		unsigned len = (unsigned)(rnd() % 8 + 1);
		uint64_t x = rnd() % 3 ? rnd() % 256 : rnd(), place;

		switch (rnd() % 8) {
		case 0:
			place = slot + rnd() % 0x100;
			break;
		case 1:
			place = MEM32 + rnd() % 0x1000;
			break;
		case 2:
			place = MEM64 + rnd() % 0x4000;
			break;
		case 3:
			place = MEM64 + 0x3000 + rnd() % 16;
			break;
		default:
			place = MEM64 + rnd() % 64;
		}
		if (rnd() % 2)
			wr(place, x, len);
		else
			rd(place, len);
		if (rnd() % 500 == 0) {
			bus_reset(fake_bus);
			assert(virtio_pci_idle(v));
		}
		if (rnd() % 300 == 0)
			toy_up();
	}
	bus_reset(fake_bus);
	walk();
	toy_up();
	echo(0, 77);
	assert(toy.starts > 100 && toy.requests > 0);
	toy_unboard();
}

int main(void)
{
	identity();
	negotiation();
	queues();
	resets();
	broken();
	config();
	sizes();
	locals();
	garbage();
	return 0;
}
