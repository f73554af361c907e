/* SPDX-License-Identifier: MIT */
/*
 * Glue: each device is a virtio_pci function, and behind it a vhost_front or a virtio_local. Front-end threads and the
 * loop come in here without the board lock and take it; the board comes in with it. A front-end's own lock is the
 * inner one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/util.h"
#include "vhost/front.h"
#include "virtio/devices.h"
#include "virtio/input.h"
#include "virtio/pci.h"
#include "vm/devices.h"

/* virtio_net_config (5.1.4) and its bits, for network back-ends that have none of their own */
#define NET_F_MTU (1ull << 3)
#define NET_F_MAC (1ull << 5)
enum { NET_STATUS_UP = 1, NET_CONFIG = 12 };

/*
 * What we let a guest negotiate with a back-end: the rings', and of the device's own all that need nothing from us. The
 * network's control queue (17 to 24: VLANs, MAC filters, multiqueue) would be ours to serve, and is not there.
 */
#define RING_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX)
static const struct kind {
	uint16_t id, config_len;
	uint64_t features;
} kinds[] = {
	{VIRTIO_ID_BLOCK, 60, 0x7fffff},
	{VIRTIO_ID_NET, NET_CONFIG, 0x1ffff},
	{VIRTIO_ID_VSOCK, 8, 1}, /* stream sockets */
	{VIRTIO_ID_GPU, 16, 2},  /* EDID */
};

struct device {
	struct devices *d;
	unsigned number; /* vhost: of the control line */
	char name[DEVICES_NAME];
	struct virtio_pci *pci;
	struct vhost_front *front;  /* either this */
	struct virtio_dev *dev;     /* or these */
	struct virtio_local *local;
	void (*dev_free)(struct virtio_dev *dev);
};

struct port {
	struct devices *d;
	bool blocked; /* the socket has no room: EPOLLOUT calls virtio_console_room() */
	unsigned number;
	bool terminal; /* not a plain channel */
	struct watch watch;
	struct timer again;
	uint8_t in[4096]; /* what the guest had no room for yet */
	size_t in_off, in_len;
};

enum { LOCALS = 3 + DEVICES_INPUTS };
struct devices {
	struct devices_host h;
	uint64_t framebuffer, framebuffer_len;
	struct device dev[DEVICES_VHOST + LOCALS];
	unsigned n, nvhost;
	struct virtio_dev *balloon, *console, *input[DEVICES_INPUTS];
	struct port port[DEVICES_CONSOLES];
	unsigned nports;
};

/* ---- memory ---- */

static void code_changed(void *arg, uint64_t gpa, uint64_t len)
{
	struct devices *d = arg;

	d->h.code_changed(d->h.arg, gpa, len);
}

/* The balloon's: the host takes the pages back, and they read as zero from now on. */
static void discard(void *arg, uint64_t gpa, uint64_t len)
{
	struct devices *d = arg;
	void *p = mem_at(d->h.mem, gpa, len);

	if (!p)
		return;
	if (madvise(p, len, MADV_REMOVE))
		log_debug("balloon", "pages stay: %s", strerror(errno));
	else if (d->h.code_changed)
		d->h.code_changed(d->h.arg, gpa, len);
}

/* ---- vhost-user: from the front-end's thread ---- */

static void front_call(void *arg, unsigned q)
{
	struct device *v = arg;

	bus_lock(v->d->h.bus);
	virtio_pci_interrupt(v->pci, q);
	bus_unlock(v->d->h.bus);
}

static void front_broken(void *arg, unsigned q)
{
	struct device *v = arg;
	char why[64];

	snprintf(why, sizeof why, "its driver has broken queue %u", q);
	bus_lock(v->d->h.bus);
	virtio_pci_broken(v->pci, why);
	bus_unlock(v->d->h.bus);
}

static void front_config_changed(void *arg)
{
	struct device *v = arg;

	bus_lock(v->d->h.bus);
	virtio_pci_config_changed(v->pci);
	bus_unlock(v->d->h.bus);
}

static void front_stopped(void *arg)
{
	struct device *v = arg;

	bus_lock(v->d->h.bus);
	virtio_pci_stopped(v->pci);
	bus_unlock(v->d->h.bus);
	v->d->h.idle(v->d->h.arg);
}

static void front_state(void *arg, enum vhost_front_state s, const char *why)
{
	static const unsigned codes[] = {[VHOST_FRONT_UP] = 1, [VHOST_FRONT_DOWN] = 0, [VHOST_FRONT_BROKEN] = 2};
	struct device *v = arg;

	v->d->h.state(v->d->h.arg, v->number, codes[s], why);
}

static void front_code_changed(void *arg, uint64_t gpa, uint64_t len)
{
	code_changed(((struct device *)arg)->d, gpa, len);
}

/* ---- vhost-user: from the board ---- */

static void back_config_read(void *arg, uint32_t off, void *buf, uint32_t len)
{
	vhost_front_config_read(((struct device *)arg)->front, off, buf, len);
}

static void back_config_write(void *arg, uint32_t off, const void *buf, uint32_t len)
{
	vhost_front_config_write(((struct device *)arg)->front, off, buf, len);
}

static void back_start(void *arg, uint64_t features, const struct virtio_ring *rings)
{
	vhost_front_start(((struct device *)arg)->front, features, rings);
}

static void back_stop(void *arg)
{
	vhost_front_stop(((struct device *)arg)->front);
}

static void back_kick(void *arg, unsigned q)
{
	vhost_front_kick(((struct device *)arg)->front, q);
}

/* ---- set-up ---- */

static int add_function(struct devices *d, struct device *v, const struct virtio_back *back, struct err *e)
{
	const bool gpu = back->id == VIRTIO_ID_GPU;
	const struct virtio_pci_config c = {.pci = d->h.pci, .back = *back, .msi = d->h.msi, .msi_arg = d->h.arg,
		.framebuffer = gpu ? d->framebuffer : 0, .framebuffer_len = gpu ? d->framebuffer_len : 0};

	return virtio_pci_new(&v->pci, &c, e);
}

static struct device *device_next(struct devices *d, const char *name)
{
	struct device *v = &d->dev[d->n++];

	v->d = d;
	v->number = d->n - 1;
	snprintf(v->name, sizeof v->name, "%s", name);
	return v;
}

static const struct kind *kind_of(uint16_t id)
{
	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].id == id)
			return &kinds[i];
	return NULL;
}

static int add_vhost(struct devices *d, const struct vhost_config_dev *c, struct err *e)
{
	const struct kind *kind = kind_of(c->id);
	const bool net = c->id == VIRTIO_ID_NET;
	struct device *v = device_next(d, c->name);
	uint8_t config[NET_CONFIG] = {0};
	const struct vhost_front_config f = {.name = v->name, .sock = c->fd, .mem = d->h.mem, .id = c->id,
		.nqueues = c->queues, .queue_size = c->queue_size, .features = kind->features | RING_FEATURES,
		.config = net ? config : NULL, .config_len = kind->config_len,
		.translated = d->h.code_changed, .call = front_call, .broken = front_broken, .config_changed = front_config_changed,
		.stopped = front_stopped, .state = front_state, .code_changed = front_code_changed, .arg = v};
	struct virtio_back back = {.name = v->name, .id = c->id, .queue_size = c->queue_size,
		.config_len = f.config_len, .config_read = back_config_read, .config_write = back_config_write,
		.start = back_start, .stop = back_stop, .kick = back_kick, .arg = v};
	int rc;

	memcpy(config, c->mac, sizeof c->mac);
	put_u16(config + 6, NET_STATUS_UP);
	put_u16(config + 10, c->mtu);
	rc = vhost_front_new(&v->front, &f, e);
	if (rc)
		return rc;
	back.features = vhost_front_features(v->front);
	/* what the configuration above holds is ours to offer */
	if (net)
		back.features |= NET_F_MAC | (c->mtu ? NET_F_MTU : 0);
	back.nqueues = vhost_front_queues(v->front);
	return add_function(d, v, &back, e);
}

static int add_local(struct devices *d, const char *name, struct virtio_dev *dev, void (*dev_free)(struct virtio_dev *),
	struct err *e)
{
	struct device *v = device_next(d, name);
	struct virtio_back back = {.name = v->name};
	int rc;

	v->dev = dev;
	v->dev_free = dev_free;
	v->local = virtio_local_new(dev, d->h.mem, &back, d->h.code_changed ? code_changed : NULL, d);
	rc = add_function(d, v, &back, e);
	if (!rc)
		virtio_local_bind(v->local, v->pci);
	return rc;
}

/* ---- console ports: a stream socket each ---- */

/* Any thread, as epoll_ctl is, with the board lock held: the watch itself stays where it is. */
static void port_events(struct port *p)
{
	if (p->watch.slot)
		loop_mod(p->d->h.loop, &p->watch, (p->in_off == p->in_len ? EPOLLIN : 0) | (p->blocked ? EPOLLOUT : 0));
}

/*
 * The guest writes; board lock. What is not taken comes again after virtio_console_room(). A terminal takes all: Linux
 * waits for it with interrupts off, so a reader who has stopped reading loses what the socket has no room for.
 */
static size_t console_tx(void *arg, unsigned number, const void *data, size_t len)
{
	struct devices *d = arg;
	struct port *p = &d->port[number];
	ssize_t n;

	if (!p->watch.slot)
		return len; /* nobody is there any more: as a terminal that was switched off */
	do
		n = send(p->watch.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if ((n >= 0 && (size_t)n == len) || (n < 0 && errno != EAGAIN) || p->terminal)
		return len;
	p->blocked = true;
	port_events(p);
	return n < 0 ? 0 : (size_t)n;
}

/* The guest has given buffers; board lock. */
static void port_feed(struct port *p)
{
	p->in_off += virtio_console_rx(p->d->console, p->number, p->in + p->in_off, p->in_len - p->in_off);
}

static void console_room(void *arg, unsigned number)
{
	struct devices *d = arg;

	port_feed(&d->port[number]);
	port_events(&d->port[number]);
}

static void console_later(void *arg, unsigned number)
{
	struct devices *d = arg;

	timer_set(d->h.loop, &d->port[number].again, now_ns());
}

static void port_again(struct timer *t)
{
	struct port *p = CONTAINER_OF(t, struct port, again);

	bus_lock(p->d->h.bus);
	virtio_console_room(p->d->console, p->number);
	bus_unlock(p->d->h.bus);
}

static void port_ready(struct watch *w, uint32_t events)
{
	struct port *p = CONTAINER_OF(w, struct port, watch);
	ssize_t n;

	bus_lock(p->d->h.bus);
	if (events & EPOLLIN && p->in_off == p->in_len) {
		n = recv(w->fd, p->in, sizeof p->in, MSG_DONTWAIT);
		p->in_off = 0;
		p->in_len = n > 0 ? (size_t)n : 0;
		port_feed(p);
	}
	if (events & (EPOLLHUP | EPOLLERR))
		loop_del(p->d->h.loop, w);
	if (events & EPOLLOUT)
		p->blocked = false;
	port_events(p);
	if (events & EPOLLOUT)
		virtio_console_room(p->d->console, p->number);
	bus_unlock(p->d->h.bus);
}

static int add_consoles(struct devices *d, const struct devices_config *c, struct err *e)
{
	const char *names[DEVICES_CONSOLES];
	uint32_t terminals = 1;
	int rc = 0;

	if (!c->nconsoles)
		return 0;
	for (unsigned i = 0; i < c->nconsoles; i++) {
		names[i] = c->console[i].name;
		terminals |= (uint32_t)!strncmp(names[i], "console", 7) << i;
	}
	d->console = virtio_console_new(&(struct virtio_console_config){.names = names, .nports = c->nconsoles,
		.consoles = terminals, .tx = console_tx, .room = console_room, .later = console_later, .arg = d});
	rc = add_local(d, "console", d->console, virtio_console_free, e);
	for (unsigned i = 0; i < c->nconsoles && !rc; i++) {
		d->port[i] = (struct port){.d = d, .number = i, .terminal = terminals >> i & 1,
			.watch = {.fd = c->console[i].fd, .ready = port_ready}, .again = {.fire = port_again}};
		rc = loop_add(d->h.loop, &d->port[i].watch, EPOLLIN);
		if (rc)
			err_set(e, -rc, "console %s: %s", c->console[i].name, strerror(-rc));
	}
	return rc;
}

static int add_inputs(struct devices *d, struct err *e)
{
	static const struct {
		const char *name;
		enum virtio_input_kind kind;
	} inputs[] = {[DEVICES_KEYBOARD] = {"keyboard", VIRTIO_INPUT_KEYBOARD}, [DEVICES_TABLET] = {"tablet", VIRTIO_INPUT_TABLET},
		[DEVICES_MOUSE] = {"mouse", VIRTIO_INPUT_MOUSE}};
	int rc = 0;

	for (unsigned i = 0; i < DEVICES_INPUTS && !rc; i++) {
		d->input[i] = virtio_input_new(inputs[i].kind, d->h.leds, d->h.arg);
		rc = add_local(d, inputs[i].name, d->input[i], virtio_input_free, e);
	}
	return rc;
}

struct virtio_dev *devices_input(const struct devices *d, enum devices_input n)
{
	return d->input[n];
}

unsigned devices_count(const struct devices_config *c)
{
	return c->nvhost + c->rng + c->balloon + (c->input ? DEVICES_INPUTS : 0) + (c->nconsoles > 0) + c->root_ports;
}

int devices_new(struct devices **out, const struct devices_config *c, const struct devices_host *h, struct err *e)
{
	struct devices *d = xcalloc(1, sizeof *d);
	int rc = 0;

	d->h = *h;
	d->framebuffer = c->framebuffer;
	d->framebuffer_len = c->framebuffer_len;
	for (unsigned i = 0; i < c->nvhost && !rc; i++)
		rc = add_vhost(d, &c->vhost[i], e);
	d->nvhost = d->n;
	if (!rc && c->rng)
		rc = add_local(d, "rng", virtio_rng_new(), virtio_rng_free, e);
	if (!rc && c->balloon) {
		d->balloon = virtio_balloon_new(h->mem, discard, d);
		rc = add_local(d, "balloon", d->balloon, virtio_balloon_free, e);
	}
	if (!rc)
		rc = add_consoles(d, c, e);
	if (!rc && c->input)
		rc = add_inputs(d, e);
	for (unsigned i = 0; i < c->root_ports && !rc; i++)
		rc = pci_port_add(h->pci, e);
	if (rc) {
		devices_free(d);
		return rc;
	}
	*out = d;
	return 0;
}

void devices_free(struct devices *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < DEVICES_CONSOLES; i++) {
		loop_del(d->h.loop, &d->port[i].watch);
		timer_set(d->h.loop, &d->port[i].again, 0);
	}
	/* front-ends first: their threads use the functions */
	for (unsigned i = 0; i < d->n; i++)
		vhost_front_free(d->dev[i].front);
	for (unsigned i = 0; i < d->n; i++) {
		struct device *v = &d->dev[i];

		virtio_pci_free(v->pci);
		virtio_local_free(v->local);
		if (v->dev)
			v->dev_free(v->dev);
	}
	free(d);
}

int devices_run(struct devices *d, struct err *e)
{
	for (unsigned i = 0; i < d->nvhost; i++) {
		int rc = vhost_front_run(d->dev[i].front);

		if (rc)
			return err_set(e, -rc, "%s: cannot start its thread: %s", d->dev[i].name, strerror(-rc));
	}
	return 0;
}

unsigned devices_fds(const struct devices *d)
{
	/* the line to a new process, the in-flight record, and what a message brings before it is looked at */
	return d->nvhost * 2 + VHOST_FRONT_FDS;
}

void devices_socket(struct devices *d, unsigned number, int fd)
{
	vhost_front_socket(d->dev[number].front, fd);
}

void devices_give_up(struct devices *d, unsigned number)
{
	struct device *v = &d->dev[number];

	bus_lock(d->h.bus);
	if (virtio_pci_running(v->pci))
		virtio_pci_broken(v->pci, "its process was given up");
	bus_unlock(d->h.bus);
	vhost_front_give_up(v->front);
}

bool devices_idle(struct devices *d)
{
	bool idle = true;

	bus_lock(d->h.bus);
	for (unsigned i = 0; i < d->n; i++)
		idle &= virtio_pci_idle(d->dev[i].pci);
	bus_unlock(d->h.bus);
	return idle;
}

size_t devices_stats(struct devices *d, char *buf, size_t len)
{
	size_t n = 0;

	for (unsigned i = 0; i < d->nvhost; i++)
		n += vhost_front_stats(d->dev[i].front, buf + n, len - n);
	bus_lock(d->h.bus);
	for (unsigned i = 0; i < d->n; i++)
		n += virtio_pci_stats(d->dev[i].pci, buf + n, len - n);
	if (d->balloon)
		n += virtio_balloon_stats(d->balloon, buf + n, len - n);
	bus_unlock(d->h.bus);
	return n;
}
