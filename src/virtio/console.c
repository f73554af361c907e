/* SPDX-License-Identifier: MIT */
/*
 * virtio-console: Virtual I/O Device 1.2, 5.3. Ports, each with a queue into the guest and one out of it; port 0 has queues
 * 0 and 1, then come two for control messages, then port 1 and so on. A driver without MULTIPORT knows port 0 only.
 *
 * Control messages, in the order in which Linux' driver goes through them:
 *
 *	driver  DEVICE_READY 1                   once
 *	device  DEVICE_ADD                       for each port
 *	driver  PORT_READY 1                     for each that it took
 *	device  CONSOLE_PORT, PORT_NAME, PORT_OPEN 1 (there is somebody at the host's end)
 *	driver  PORT_OPEN 1, PORT_OPEN 0         as processes open and close it; at once for a CONSOLE_PORT
 *
 * What we have to say is kept as bits per port and not as messages, so it takes no memory however slowly the guest gives
 * buffers: what has become untrue in between is simply not said.
 *
 * A request from the guest that the owner takes only a part of is put back into the queue, and how far we are is
 * remembered: so nothing is held when queues stop. Only a hostile guest can change the request in between, and then it
 * sends something else.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"
#include "virtio/devices.h"
#include "virtio/virtq.h"

#define CONSOLE_F_MULTIPORT   (1ull << 1)
#define CONSOLE_F_EMERG_WRITE (1ull << 2)

enum control_event {
	DEVICE_READY,
	DEVICE_ADD,
	DEVICE_REMOVE,
	PORT_READY,
	CONSOLE_PORT,
	RESIZE,
	PORT_OPEN,
	PORT_NAME,
};
struct control {
	uint32_t id;
	uint16_t event, value;
};
struct console_config {
	uint16_t cols, rows; /* with feature SIZE, which is not offered */
	uint32_t max_nr_ports, emerg_wr;
};

enum { Q_CONTROL_IN = 2, Q_CONTROL_OUT, NQUEUES = 2 * (VIRTIO_CONSOLE_PORTS + 1) };
/* Linux fills each inward queue with pages, so entries cost the guest memory. */
enum { QUEUE_SIZE = 32, IOVS = QUEUE_SIZE + MEM_REGIONS };
/* A turn: requests, and bytes out, before others may have the board lock. */
enum { TURN = 4 * QUEUE_SIZE, TURN_BYTES = 1 << 20 };

/* What the driver is to be told, in this order */
enum { SAY_ADD = 1, SAY_CONSOLE = 2, SAY_NAME = 4, SAY_OPEN = 8 };

struct port {
	char name[VIRTIO_CONSOLE_NAME];
	bool console;
	bool host_open, guest_open;
	bool ready;   /* the driver knows it */
	uint8_t say;
	bool blocked; /* the owner calls virtio_console_room() */
	size_t taken; /* bytes of the first request in the queue */
};

struct console {
	struct virtio_dev dev;
	struct virtio_console_config cfg; /* names are in port[] */
	bool multiport;
	struct virtq *vq[NQUEUES]; /* NULL: stopped */
	struct port port[VIRTIO_CONSOLE_PORTS];
	struct iovec iov[IOVS];
};

static struct console *console_of(struct virtio_dev *d)
{
	return CONTAINER_OF(d, struct console, dev);
}

static unsigned port_queue(unsigned port, bool out)
{
	return (port ? 2 * port + 2 : 0) + out;
}

static bool port_open(const struct console *c, unsigned port)
{
	return c->multiport ? c->port[port].guest_open : port == 0 && c->vq[0];
}

/* ---- control messages ---- */

/* False when the guest has no buffer for it. One that is too small is lost, and with it the message. */
static bool say(struct console *c, unsigned port, enum control_event event, unsigned value, const char *name)
{
	struct virtq_req r = {.iov = c->iov, .iov_max = IOVS};
	uint8_t msg[sizeof(struct control) + VIRTIO_CONSOLE_NAME];
	struct control h = {.id = port, .event = (uint16_t)event, .value = (uint16_t)value};
	size_t len = strlen(name);

	if (virtq_pop(c->vq[Q_CONTROL_IN], &r) <= 0)
		return false;
	assert(len < VIRTIO_CONSOLE_NAME);
	memcpy(msg, &h, sizeof h);
	memcpy(msg + sizeof h, name, len); /* the name is the rest of the message, without a NUL (5.3.6.4) */
	len += sizeof h;
	virtq_done(&r, r.in_len < len ? 0 : (uint32_t)virtq_put(&r, 0, msg, len));
	return true;
}

static void say_pending(struct console *c)
{
	static const struct {
		uint8_t bit;
		enum control_event event;
	} order[] = {{SAY_ADD, DEVICE_ADD}, {SAY_CONSOLE, CONSOLE_PORT}, {SAY_NAME, PORT_NAME}, {SAY_OPEN, PORT_OPEN}};

	if (!c->vq[Q_CONTROL_IN] || !c->multiport)
		return;
	for (unsigned n = 0; n < c->cfg.nports; n++) {
		struct port *p = &c->port[n];

		for (unsigned i = 0; i < ARRAY_LEN(order) && p->say; i++) {
			bool open = order[i].event == PORT_OPEN;

			if (!(p->say & order[i].bit))
				continue;
			if (!say(c, n, order[i].event, open ? p->host_open : 1, order[i].event == PORT_NAME ? p->name : ""))
				goto out;
			p->say &= (uint8_t)~order[i].bit;
		}
	}
out:
	virtq_notify(c->vq[Q_CONTROL_IN]);
}

static void heard(struct console *c, const struct control *m)
{
	struct port *p;

	if (m->event == DEVICE_READY) { /* of the device: id means nothing */
		for (unsigned n = 0; n < c->cfg.nports && m->value; n++) {
			c->port[n].ready = c->port[n].guest_open = false;
			c->port[n].say = SAY_ADD;
		}
		return;
	}
	if (m->id >= c->cfg.nports)
		return;
	p = &c->port[m->id];
	if (m->event == PORT_READY) {
		p->ready = m->value;
		p->say = 0;
		if (p->ready)
			p->say = (p->console ? SAY_CONSOLE : 0) | (*p->name ? SAY_NAME : 0) | (p->host_open ? SAY_OPEN : 0);
	} else if (m->event == PORT_OPEN) {
		p->guest_open = m->value;
		if (p->guest_open && c->cfg.room)
			c->cfg.room(c->cfg.arg, m->id);
	}
}

static void control_kick(struct console *c)
{
	struct virtq *vq = c->vq[Q_CONTROL_OUT];
	struct virtq_req r = {.iov = c->iov, .iov_max = IOVS};

	if (!vq)
		return;
	for (unsigned n = 0; n < TURN && virtq_pop(vq, &r) > 0; n++) {
		struct control m;
		bool whole = virtq_get(&r, 0, &m, sizeof m) == sizeof m;

		virtq_done(&r, 0); /* before room() is called, which uses iov */
		if (whole && c->multiport)
			heard(c, &m);
	}
	virtq_notify(vq);
	say_pending(c);
}

/* ---- data ---- */

/* Is the whole request taken? */
static bool request_out(struct console *c, unsigned n, const struct virtq_req *r, size_t *budget)
{
	struct port *p = &c->port[n];
	size_t off = p->taken;

	for (unsigned i = 0; i < r->nout && p->host_open; i++) {
		const uint8_t *data = r->iov[i].iov_base;
		size_t len = r->iov[i].iov_len, k, got;

		if (off >= len) {
			off -= len;
			continue;
		}
		k = min_u64(len - off, *budget);
		got = k ? c->cfg.tx(c->cfg.arg, n, data + off, k) : 0;
		assert(got <= k);
		p->taken += got;
		*budget -= got;
		if (got < len - off) {
			p->blocked = true;
			return false;
		}
		off = 0;
	}
	p->taken = 0;
	return true;
}

static void port_out(struct console *c, unsigned n)
{
	struct port *p = &c->port[n];
	struct virtq *vq = c->vq[port_queue(n, true)];
	struct virtq_req r = {.iov = c->iov, .iov_max = IOVS};
	size_t budget = c->cfg.later ? TURN_BYTES : SIZE_MAX;
	unsigned left = TURN;

	if (!vq)
		return;
	while (!p->blocked && virtq_pop(vq, &r) > 0) {
		if (!request_out(c, n, &r, &budget)) {
			virtq_unpop(vq, &r);
			break;
		}
		virtq_done(&r, 0);
		if (c->cfg.later && !--left)
			p->blocked = true;
	}
	virtq_notify(vq);
	if (c->cfg.later && (!budget || !left)) {
		p->blocked = true;
		c->cfg.later(c->cfg.arg, n);
	}
}

size_t virtio_console_rx(struct virtio_dev *d, unsigned port, const void *data, size_t len)
{
	struct console *c = console_of(d);
	struct virtq_req r = {.iov = c->iov, .iov_max = IOVS};
	struct virtq *vq;
	size_t done = 0;

	assert(port < c->cfg.nports);
	vq = c->vq[port_queue(port, false)];
	if (!vq || !port_open(c, port))
		return 0;
	for (unsigned n = 0; n < TURN && done < len && virtq_pop(vq, &r) > 0; n++) {
		size_t k = virtq_put(&r, 0, (const uint8_t *)data + done, len - done);

		virtq_done(&r, (uint32_t)k);
		done += k;
	}
	virtq_notify(vq);
	return done;
}

void virtio_console_room(struct virtio_dev *d, unsigned port)
{
	struct console *c = console_of(d);

	assert(port < c->cfg.nports);
	c->port[port].blocked = false;
	port_out(c, port);
}

void virtio_console_open(struct virtio_dev *d, unsigned port, bool open)
{
	struct console *c = console_of(d);
	struct port *p = &c->port[port];

	assert(port < c->cfg.nports);
	if (p->host_open == open)
		return;
	p->host_open = open;
	if (p->ready)
		p->say |= SAY_OPEN;
	say_pending(c);
	p->blocked = false;
	port_out(c, port); /* what nobody has read goes with the one who did not */
}

bool virtio_console_guest_open(const struct virtio_dev *d, unsigned port)
{
	const struct console *c = (const struct console *)(const void *)d;

	assert(port < c->cfg.nports);
	return port_open(c, port);
}

/* ---- device ---- */

static void console_kick(struct virtio_dev *d, unsigned q)
{
	struct console *c = console_of(d);
	unsigned port = q < Q_CONTROL_IN ? 0 : q / 2 - 1;

	if (q == Q_CONTROL_IN)
		say_pending(c);
	else if (q == Q_CONTROL_OUT)
		control_kick(c);
	else if (q & 1)
		port_out(c, port);
	else if (c->cfg.room && port_open(c, port))
		c->cfg.room(c->cfg.arg, port);
}

static int console_start(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	console_of(d)->vq[q] = vq;
	return 0;
}

static void console_stop(struct virtio_dev *d, unsigned q)
{
	struct console *c = console_of(d);

	c->vq[q] = NULL;
	if ((q & 1) && q != Q_CONTROL_OUT) {
		struct port *p = &c->port[q < Q_CONTROL_IN ? 0 : q / 2 - 1];

		p->blocked = false;
		p->taken = 0;
	}
}

static void console_features_set(struct virtio_dev *d, uint64_t features)
{
	console_of(d)->multiport = features & CONSOLE_F_MULTIPORT;
}

static void console_reset(struct virtio_dev *d)
{
	struct console *c = console_of(d);

	c->multiport = false;
	for (unsigned n = 0; n < c->cfg.nports; n++) {
		c->port[n].ready = c->port[n].guest_open = false;
		c->port[n].say = 0;
	}
}

static void console_config_read(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len)
{
	struct console_config cfg = {.max_nr_ports = console_of(d)->cfg.nports};

	memcpy(buf, (const uint8_t *)&cfg + off, len);
}

/* A character on port 0 without queues, for a kernel that has nothing else left (5.3.4) */
static void console_config_write(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len)
{
	struct console *c = console_of(d);

	if (off == offsetof(struct console_config, emerg_wr) && len && c->port[0].host_open)
		c->cfg.tx(c->cfg.arg, 0, buf, 1); /* or it is lost */
}

static const struct virtio_ops console_ops = {
	.name = "console",
	.id = VIRTIO_ID_CONSOLE,
	.config_read = console_config_read,
	.config_write = console_config_write,
	.features_set = console_features_set,
	.start = console_start,
	.stop = console_stop,
	.kick = console_kick,
	.reset = console_reset,
};

struct virtio_dev *virtio_console_new(const struct virtio_console_config *cfg)
{
	struct console *c = xcalloc(1, sizeof *c);

	assert(cfg->nports && cfg->nports <= VIRTIO_CONSOLE_PORTS && cfg->tx);
	c->dev = (struct virtio_dev){.ops = &console_ops, .features = CONSOLE_F_MULTIPORT | CONSOLE_F_EMERG_WRITE,
		.nqueues = (uint16_t)(2 * (cfg->nports + 1)), .queue_size = QUEUE_SIZE,
		.config_len = sizeof(struct console_config)};
	c->cfg = *cfg;
	c->cfg.names = NULL;
	for (unsigned n = 0; n < cfg->nports; n++) {
		struct port *p = &c->port[n];

		snprintf(p->name, sizeof p->name, "%s", cfg->names && cfg->names[n] ? cfg->names[n] : "");
		p->console = !n || cfg->consoles >> n & 1;
		p->host_open = true;
	}
	return &c->dev;
}

void virtio_console_free(struct virtio_dev *d)
{
	if (d)
		free(console_of(d));
}
