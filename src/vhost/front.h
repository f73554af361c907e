/* SPDX-License-Identifier: MIT */
/*
 * The front-end's side of vhost-user: husk-vmm's end of one device process. It keeps what a new process needs to go on
 * where the last one died: the rings, the eventfds, the in-flight record.
 *
 * Each front-end has a thread. It does all talking, so that a back-end that is slow, stuck or hostile holds up nobody
 * else; calls from the board never wait for it.
 */
#ifndef VHOST_FRONT_H
#define VHOST_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/mem.h"
#include "virtio/virtio.h"

enum vhost_front_state {
	VHOST_FRONT_UP,    /* the back-end is there */
	VHOST_FRONT_DOWN,  /* it has gone; the rings wait for another */
	VHOST_FRONT_BROKEN /* what came instead does not fit; why says so */
};

struct vhost_front_config {
	const char *name; /* for messages; borrowed */
	int sock;         /* connected stream; taken */
	struct mem *mem;
	uint16_t id;      /* enum virtio_id, for limits of foreign back-ends */
	uint16_t nqueues, queue_size; /* wanted; the back-end may offer fewer queues */
	uint64_t features; /* that we can do anything with, ring bits included */
	/* Shown to the guest when the back-end has no configuration (foreign network back-ends) */
	const void *config;
	uint32_t config_len;
	int answer_ms, drain_ms; /* how long it may take to answer, to give back its rings; 0: 5 s, a minute */
	bool translated; /* the engine translates code: say which pages the back-end wrote */
	/* On the front-end's thread, no lock held */
	void (*call)(void *arg, unsigned q);
	void (*broken)(void *arg, unsigned q); /* the driver has broken queue q, says the back-end */
	void (*config_changed)(void *arg);
	void (*stopped)(void *arg);
	void (*state)(void *arg, enum vhost_front_state s, const char *why);
	/* The back-end wrote there: when this returns, no translation of it is left. */
	void (*code_changed)(void *arg, uint64_t gpa, uint64_t len);
	void *arg;
};

enum { VHOST_FRONT_FDS = 8 /* that one message may bring, beyond what is kept */ };

struct vhost_front;

/* Talks with the back-end: features, configuration. Waits for it, seconds at most. Set-up, before the sandbox. */
int vhost_front_new(struct vhost_front **f, const struct vhost_front_config *c, struct err *e);
/* Starts the thread: after the sandbox was entered. 0 or -errno. */
int vhost_front_run(struct vhost_front *f);
void vhost_front_free(struct vhost_front *f); /* the thread ends first; harmless with NULL */

/* As negotiated in new(); they do not change. */
uint64_t vhost_front_features(const struct vhost_front *f);
uint16_t vhost_front_queues(const struct vhost_front *f);

/* Any thread; none waits. */
void vhost_front_start(struct vhost_front *f, uint64_t features, const struct virtio_ring *rings);
/*
 * stopped() follows when the back-end has given up all rings. If it has died, what it had in flight may still arrive in
 * guest RAM; so that waits for its successor, which starts after that, or for vhost_front_give_up().
 */
void vhost_front_stop(struct vhost_front *f);
void vhost_front_kick(struct vhost_front *f, unsigned q);
void vhost_front_config_read(struct vhost_front *f, uint32_t off, void *buf, uint32_t len); /* of the copy */
void vhost_front_config_write(struct vhost_front *f, uint32_t off, const void *buf, uint32_t len);
void vhost_front_socket(struct vhost_front *f, int sock); /* a new back-end; takes sock */
void vhost_front_give_up(struct vhost_front *f); /* none will come any more: who waits for one is let go */
/* "name value" lines; bytes written, cut at len */
size_t vhost_front_stats(struct vhost_front *f, char *buf, size_t len);

#endif
