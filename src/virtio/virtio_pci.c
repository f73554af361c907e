/* SPDX-License-Identifier: MIT */
/*
 * virtio over PCI: Virtual I/O Device 1.2, 4.1; section numbers here are its.
 *
 * One 64-bit BAR holds the four structures (4.1.4), a page each: common configuration, ISR, the device's configuration,
 * notifications. MSI-X has a BAR of its own. A queue's doorbell is four bytes, and which one is written says which
 * queue is meant; the value is not looked at.
 *
 * The common configuration is a row of registers (4.1.4.3). A guest may read and write them in any pieces, so reads come
 * from a picture of all of them, and a write is laid over that picture and then done register by register: those
 * that it touches, in their order.
 *
 * A device's life:
 *
 *	idle      ---DRIVER_OK--->  running: back.start() has been called
 *	running   ---status 0---->  stopping: back.stop() has been called; status still reads as before (2.4.2,
 *	                            4.1.4.3.1), and what the driver writes is lost
 *	stopping  --stopped()---->  idle: everything is as at power-on
 *	idle      ---status 0---->  idle, at once
 *
 * A queue that is enabled after DRIVER_OK, as only VIRTIO_F_RING_RESET allows (2.6.1), stays disabled.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/util.h"
#include "virtio/pci.h"

enum { VENDOR = 0x1af4, DEVICE_FIRST = 0x1040, SUBSYS = 0x1100, REVISION = 1 };
enum { BAR_FRAMEBUFFER = 0, BAR_MSIX = 1, BAR_VIRTIO = 4 };
enum { AT_COMMON = 0x0000, AT_ISR = 0x1000, AT_DEVICE = 0x2000, AT_NOTIFY = 0x3000, BAR_SIZE = 0x4000, PART = 0x1000 };
enum { NOTIFY_STEP = 4, NO_VECTOR = 0xffff };
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };
/* Capabilities (4.1.4): struct virtio_pci_cap and what follows it */
enum { CAP_VENDOR = 0x09, CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_LENGTH = 12, CAP_SIZE = 16 };
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE, CAP_PCI_CFG };

/* Registers of the common configuration */
enum {
	DEVICE_FEATURE_SELECT = 0x00,
	DEVICE_FEATURE = 0x04,
	DRIVER_FEATURE_SELECT = 0x08,
	DRIVER_FEATURE = 0x0c,
	CONFIG_VECTOR = 0x10,
	NUM_QUEUES = 0x12,
	DEVICE_STATUS = 0x14,
	CONFIG_GENERATION = 0x15,
	QUEUE_SELECT = 0x16,
	QUEUE_SIZE = 0x18,
	QUEUE_VECTOR = 0x1a,
	QUEUE_ENABLE = 0x1c,
	QUEUE_NOTIFY_OFF = 0x1e,
	QUEUE_DESC = 0x20,
	QUEUE_DRIVER = 0x28,
	QUEUE_DEVICE = 0x30,
	COMMON_SIZE = 0x38
};

struct virtio_pci {
	struct pci_func f;
	struct virtio_pci_config c;
	bool running, stopping, broken;
	uint8_t status, isr, generation;
	uint32_t device_select, driver_select;
	uint64_t driver_features;
	uint16_t config_vector, queue_select;
	struct virtio_ring ring[VIRTIO_QUEUES];
	uint16_t vector[VIRTIO_QUEUES];
	unsigned cfg_cap; /* where VIRTIO_PCI_CAP_PCI_CFG is */
	char place[16];
	uint64_t kicks, interrupts, resets;
	struct log_rate rate;
};

/* ---- interrupts ---- */

static void interrupt(struct virtio_pci *v, uint16_t vector, uint8_t isr)
{
	const bool msix = pci_msix_on(&v->f);

	if (msix && vector == NO_VECTOR)
		return;
	v->interrupts++;
	if (msix) {
		pci_msix_send(&v->f, vector);
		return;
	}
	v->isr |= isr;
	pci_intx(&v->f, true);
}

void virtio_pci_interrupt(struct virtio_pci *v, unsigned q)
{
	if (v->running && q < v->c.back.nqueues)
		interrupt(v, v->vector[q], ISR_QUEUE);
}

/* The driver is told only if there may be one that listens (4.1.5.3). */
void virtio_pci_config_changed(struct virtio_pci *v)
{
	v->generation++;
	if (v->status & VIRTIO_S_DRIVER_OK && !v->stopping)
		interrupt(v, v->config_vector, ISR_CONFIG);
}

void virtio_pci_broken(struct virtio_pci *v, const char *why)
{
	if (!v->running || v->broken)
		return;
	v->broken = true;
	v->status |= VIRTIO_S_NEEDS_RESET;
	if (log_rate_ok(&v->rate))
		log_warn("%s: stopped until its driver resets it: %s", v->c.back.name, why);
	interrupt(v, v->config_vector, ISR_CONFIG);
}

/* ---- status ---- */

static void power_on(struct virtio_pci *v)
{
	const struct virtio_back *b = &v->c.back;

	v->running = v->stopping = v->broken = false;
	v->status = v->isr = 0;
	v->device_select = v->driver_select = 0;
	v->driver_features = 0;
	v->config_vector = NO_VECTOR;
	v->queue_select = 0;
	memset(v->ring, 0, sizeof v->ring);
	for (unsigned q = 0; q < VIRTIO_QUEUES; q++) {
		v->ring[q].size = q < b->nqueues ? b->queue_size : 0;
		v->vector[q] = NO_VECTOR;
	}
	pci_intx(&v->f, false);
}

static void reset(struct virtio_pci *v)
{
	v->resets++;
	if (v->stopping)
		return;
	if (!v->running) {
		power_on(v);
		return;
	}
	v->running = false;
	v->stopping = true;
	v->isr = 0;
	pci_intx(&v->f, false);
	v->c.back.stop(v->c.back.arg);
}

void virtio_pci_stopped(struct virtio_pci *v)
{
	if (v->stopping)
		power_on(v);
}

bool virtio_pci_running(const struct virtio_pci *v)
{
	return v->running;
}

bool virtio_pci_idle(const struct virtio_pci *v)
{
	return !v->running && !v->stopping;
}

/*
 * Bits are only ever set by a write that is not 0 (2.1.1). FEATURES_OK stays clear when we cannot work in the way that
 * was chosen (2.1.2, 3.1.1); without it there is no DRIVER_OK.
 */
static void status_write(struct virtio_pci *v, uint8_t status)
{
	const uint64_t chosen = v->driver_features;

	if (!status) {
		reset(v);
		return;
	}
	v->status |= status & (VIRTIO_S_ACKNOWLEDGE | VIRTIO_S_DRIVER | VIRTIO_S_FAILED);
	if (status & VIRTIO_S_FEATURES_OK && chosen & VIRTIO_F_VERSION_1 && !(chosen & ~v->c.back.features))
		v->status |= VIRTIO_S_FEATURES_OK;
	if (status & VIRTIO_S_DRIVER_OK && v->status & VIRTIO_S_FEATURES_OK && !v->running) {
		v->status |= VIRTIO_S_DRIVER_OK;
		v->running = true;
		v->c.back.start(v->c.back.arg, chosen, v->ring);
	}
}

/* ---- common configuration ---- */

static uint32_t half(uint64_t features, uint32_t select)
{
	return select > 1 ? 0 : (uint32_t)(features >> select * 32);
}

static void picture(const struct virtio_pci *v, uint8_t c[COMMON_SIZE])
{
	const unsigned q = v->queue_select;

	memset(c, 0, COMMON_SIZE);
	put_u32(c + DEVICE_FEATURE_SELECT, v->device_select);
	put_u32(c + DEVICE_FEATURE, half(v->c.back.features, v->device_select));
	put_u32(c + DRIVER_FEATURE_SELECT, v->driver_select);
	put_u32(c + DRIVER_FEATURE, half(v->driver_features, v->driver_select));
	put_u16(c + CONFIG_VECTOR, v->config_vector);
	put_u16(c + NUM_QUEUES, v->c.back.nqueues);
	c[DEVICE_STATUS] = v->status;
	c[CONFIG_GENERATION] = v->generation;
	put_u16(c + QUEUE_SELECT, v->queue_select);
	put_u16(c + QUEUE_VECTOR, NO_VECTOR);
	if (q >= v->c.back.nqueues) /* size 0 says that there is none (4.1.4.3.1) */
		return;
	put_u16(c + QUEUE_SIZE, v->ring[q].size);
	put_u16(c + QUEUE_VECTOR, v->vector[q]);
	put_u16(c + QUEUE_ENABLE, v->ring[q].enabled);
	put_u16(c + QUEUE_NOTIFY_OFF, (uint16_t)q);
	put_u64(c + QUEUE_DESC, v->ring[q].desc);
	put_u64(c + QUEUE_DRIVER, v->ring[q].avail);
	put_u64(c + QUEUE_DEVICE, v->ring[q].used);
}

/* A vector that is not there reads back as none (4.1.5.1.2). */
static uint16_t usable_vector(const struct virtio_pci *v, uint64_t vector)
{
	return vector <= v->c.back.nqueues ? (uint16_t)vector : NO_VECTOR;
}

static void queue_write(struct virtio_pci *v, unsigned reg, uint64_t value)
{
	unsigned q = v->queue_select;
	struct virtio_ring *r;

	if (q >= v->c.back.nqueues)
		return;
	r = &v->ring[q];
	if (reg == QUEUE_VECTOR) {
		v->vector[q] = usable_vector(v, value);
		return;
	}
	if (r->enabled || v->status & VIRTIO_S_DRIVER_OK) /* a ring does not change while it is in use */
		return;
	switch (reg) {
	case QUEUE_SIZE:
		if (value && value <= v->c.back.queue_size && !(value & (value - 1)))
			r->size = (uint16_t)value;
		break;
	case QUEUE_ENABLE:
		r->enabled = value == 1;
		break;
	case QUEUE_DESC:
		r->desc = value;
		break;
	case QUEUE_DRIVER:
		r->avail = value;
		break;
	case QUEUE_DEVICE:
		r->used = value;
		break;
	}
}

static void register_write(struct virtio_pci *v, unsigned reg, uint64_t value)
{
	if (v->stopping) /* the driver ought to wait until the status is 0 */
		return;
	switch (reg) {
	case DEVICE_FEATURE_SELECT:
		v->device_select = (uint32_t)value;
		break;
	case DRIVER_FEATURE_SELECT:
		v->driver_select = (uint32_t)value;
		break;
	case DRIVER_FEATURE:
		if (v->driver_select > 1 || v->status & VIRTIO_S_FEATURES_OK)
			break;
		v->driver_features &= ~((uint64_t)UINT32_MAX << v->driver_select * 32);
		v->driver_features |= value << v->driver_select * 32;
		break;
	case CONFIG_VECTOR:
		v->config_vector = usable_vector(v, value);
		break;
	case DEVICE_STATUS:
		status_write(v, (uint8_t)value);
		break;
	case QUEUE_SELECT:
		v->queue_select = (uint16_t)value;
		break;
	default:
		queue_write(v, reg, value);
	}
}

static const struct {
	uint8_t at, len;
} registers[] = {{DEVICE_FEATURE_SELECT, 4}, {DRIVER_FEATURE_SELECT, 4}, {DRIVER_FEATURE, 4}, {CONFIG_VECTOR, 2},
	{DEVICE_STATUS, 1}, {QUEUE_SELECT, 2}, {QUEUE_SIZE, 2}, {QUEUE_VECTOR, 2}, {QUEUE_ENABLE, 2}, {QUEUE_DESC, 8},
	{QUEUE_DRIVER, 8}, {QUEUE_DEVICE, 8}};

static void common_write(struct virtio_pci *v, unsigned off, uint64_t value, unsigned len)
{
	uint8_t c[COMMON_SIZE + 8];

	if (off >= COMMON_SIZE)
		return;
	picture(v, c);
	for (unsigned i = 0; i < len; i++)
		c[off + i] = value >> i * 8 & 0xff;
	for (unsigned i = 0; i < ARRAY_LEN(registers); i++) {
		unsigned at = registers[i].at, n = registers[i].len;
		uint64_t r = 0;

		if (off < at + n && at < off + len) {
			memcpy(&r, c + at, n);
			register_write(v, at, r);
		}
	}
}

/* ---- the BAR ---- */

static uint64_t isr_read(struct virtio_pci *v)
{
	uint8_t isr = v->isr;

	v->isr = 0;
	pci_intx(&v->f, false);
	return isr;
}

static uint64_t bar_read(void *dev, unsigned cpu, uint64_t off, unsigned len)
{
	struct virtio_pci *v = dev;
	const struct virtio_back *b = &v->c.back;
	uint8_t buf[COMMON_SIZE] = {0};
	uint64_t value = 0;
	unsigned part = (unsigned)off & (PART - 1);

	(void)cpu;
	switch (off / PART) {
	case AT_COMMON / PART:
		if (part >= COMMON_SIZE)
			break;
		picture(v, buf);
		memcpy(&value, buf + part, min_u64(len, COMMON_SIZE - part));
		break;
	case AT_ISR / PART:
		if (!part)
			value = isr_read(v);
		break;
	case AT_DEVICE / PART:
		if (part >= b->config_len)
			break;
		b->config_read(b->arg, part, buf, (uint32_t)min_u64(len, b->config_len - part));
		memcpy(&value, buf, sizeof value);
		break;
	}
	return value;
}

static void bar_write(void *dev, unsigned cpu, uint64_t off, uint64_t value, unsigned len)
{
	struct virtio_pci *v = dev;
	const struct virtio_back *b = &v->c.back;
	unsigned part = (unsigned)off & (PART - 1);

	(void)cpu;
	if (likely(off >= AT_NOTIFY)) {
		unsigned q = part / NOTIFY_STEP;

		if (q < b->nqueues && v->running && !v->broken && v->ring[q].enabled) {
			v->kicks++;
			b->kick(b->arg, q);
		}
	} else if (off < AT_ISR) {
		common_write(v, part, value, len);
	} else if (off >= AT_DEVICE && part < b->config_len && b->config_write) {
		uint8_t buf[8];

		put_u64(buf, value);
		b->config_write(b->arg, part, buf, (uint32_t)min_u64(len, b->config_len - part));
	}
}

static void bar_reset(void *dev)
{
	struct virtio_pci *v = dev;

	reset(v);
	v->generation = 0;
}

static const struct dev_ops bar_ops = {"virtio-pci", bar_read, bar_write, bar_reset, 0};

/*
 * The BAR through configuration space (4.1.4.9), for firmware that has not mapped it: offset and length are the
 * driver's, and an access to the four bytes behind them is one to the BAR.
 */
static bool cfg_access(const struct virtio_pci *v, unsigned off, unsigned len, uint32_t *at, uint32_t *n)
{
	const uint8_t *cap = v->f.config + v->cfg_cap;

	*at = get_u32(cap + CAP_OFFSET);
	*n = get_u32(cap + CAP_LENGTH);
	return off < v->cfg_cap + CAP_SIZE + 4 && off + len > v->cfg_cap + CAP_SIZE && cap[CAP_BAR] == BAR_VIRTIO &&
		(*n == 1 || *n == 2 || *n == 4) && *at <= BAR_SIZE - *n && *at % *n == 0;
}

static void cfg_read(struct pci_func *f, unsigned off, unsigned len)
{
	struct virtio_pci *v = CONTAINER_OF(f, struct virtio_pci, f);
	uint32_t at, n;

	if (cfg_access(v, off, len, &at, &n))
		put_u32(f->config + v->cfg_cap + CAP_SIZE, (uint32_t)bar_read(v, 0, at, n));
}

static void cfg_written(struct pci_func *f, unsigned off, unsigned len)
{
	struct virtio_pci *v = CONTAINER_OF(f, struct virtio_pci, f);
	uint32_t at, n;
	uint64_t value;

	if (!cfg_access(v, off, len, &at, &n))
		return;
	value = get_u32(f->config + v->cfg_cap + CAP_SIZE);
	bar_write(v, 0, at, n == 4 ? value : value & ((1u << n * 8) - 1), n);
}

/* ---- set-up ---- */

static unsigned add_cap(struct virtio_pci *v, uint8_t type, uint32_t at, uint32_t len, unsigned extra)
{
	unsigned cap = pci_cap(&v->f, CAP_VENDOR, CAP_SIZE + extra);
	uint8_t *c = v->f.config + cap;

	c[2] = (uint8_t)(CAP_SIZE + extra);
	c[CAP_TYPE] = type;
	c[CAP_BAR] = BAR_VIRTIO;
	put_u32(c + CAP_OFFSET, at);
	put_u32(c + CAP_LENGTH, len);
	return cap;
}

static uint32_t class_of(uint16_t id)
{
	switch (id) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet */
	case VIRTIO_ID_BLOCK:
		return 0x018000; /* mass storage, other */
	case VIRTIO_ID_CONSOLE:
		return 0x078000; /* communication, other */
	case VIRTIO_ID_GPU:
		return 0x030000; /* VGA: for which Linux lets go of a framebuffer in its BARs */
	case VIRTIO_ID_INPUT:
		return 0x098000; /* input, other */
	case VIRTIO_ID_VSOCK:
		return 0x028000; /* network, other */
	default:
		return 0x00ff00;
	}
}

int virtio_pci_new(struct virtio_pci **out, const struct virtio_pci_config *c, struct err *e)
{
	const struct virtio_back *b = &c->back;
	struct virtio_pci *v = xcalloc(1, sizeof *v);
	unsigned cap;
	uint8_t *mask;
	int rc;

	assert(b->nqueues && b->nqueues <= VIRTIO_QUEUES && b->config_len <= PART);
	assert(b->queue_size && b->queue_size <= VIRTIO_QUEUE_MAX && !(b->queue_size & (b->queue_size - 1)));
	v->c = *c;
	pci_ident(&v->f, VENDOR, (uint16_t)(DEVICE_FIRST + b->id), class_of(b->id) << 8 | REVISION, VENDOR, SUBSYS);
	v->f.config[0x3d] = 1; /* INTA */
	if (c->framebuffer_len)
		pci_bar_fixed(&v->f, BAR_FRAMEBUFFER, c->framebuffer, c->framebuffer_len);
	pci_bar(&v->f, BAR_VIRTIO, BAR_SIZE, true, &bar_ops, v);
	pci_msix_add(&v->f, BAR_MSIX, b->nqueues + 1u, c->msi, c->msi_arg);
	pci_express(&v->f);
	add_cap(v, CAP_COMMON, AT_COMMON, COMMON_SIZE, 0);
	add_cap(v, CAP_ISR, AT_ISR, 1, 0);
	if (b->config_len)
		add_cap(v, CAP_DEVICE, AT_DEVICE, b->config_len, 0);
	cap = add_cap(v, CAP_NOTIFY, AT_NOTIFY, b->nqueues * NOTIFY_STEP, 4);
	put_u32(v->f.config + cap + CAP_SIZE, NOTIFY_STEP);
	v->cfg_cap = add_cap(v, CAP_PCI_CFG, 0, 0, 4);
	mask = v->f.wmask + v->cfg_cap;
	v->f.config[v->cfg_cap + CAP_BAR] = 0;
	mask[CAP_BAR] = 0xff;
	memset(mask + CAP_OFFSET, 0xff, 12); /* offset, length, data */
	v->f.read = cfg_read;
	v->f.written = cfg_written;
	power_on(v);
	rc = pci_add(c->pci, -1, 0, &v->f, e);
	if (rc) {
		err_prefix(e, "%s", b->name);
		virtio_pci_free(v);
		return rc;
	}
	snprintf(v->place, sizeof v->place, "00:%02x.%x", v->f.devfn >> 3, v->f.devfn & 7);
	*out = v;
	return 0;
}

void virtio_pci_free(struct virtio_pci *v)
{
	if (!v)
		return;
	pci_func_free(&v->f);
	free(v);
}

const char *virtio_pci_place(const struct virtio_pci *v)
{
	return v->place;
}

size_t virtio_pci_stats(const struct virtio_pci *v, char *buf, size_t len)
{
	const char *name = v->c.back.name;
	int n = snprintf(buf, len, "%s.status %u\n%s.notifies %" PRIu64 "\n%s.interrupts %" PRIu64 "\n%s.resets %" PRIu64 "\n",
		name, v->status, name, v->kicks, name, v->interrupts, name, v->resets);

	return n < 0 || !len ? 0 : (size_t)min_u64((uint64_t)n, len - 1);
}
