/* SPDX-License-Identifier: MIT */
/*
 * The other end, for tests: a front-end that says what it is told to, and a driver whose requests must come back
 * backwards, each once. And the server with its loop, on a thread or in a child.
 */
#ifndef VHOST_PEER_H
#define VHOST_PEER_H

#include <pthread.h>
#include <semaphore.h>

#include "mem/mem.h"
#include "toy.h"
#include "vhost/proto.h"
#include "vhost/serve.h"

enum { PEER_WAIT = 10000, PEER_RAM = 2 << 20 };
#define PEER_USER 0x7f0000000000ull /* "user addresses" begin there, and are not guest addresses */
#define PEER_FEATURES (VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VHOST_F_PROTOCOL_FEATURES | 1ull << 3)
#define PEER_PROTOCOL                                                                                               \
	(1ull << VHOST_P_MQ | 1ull << VHOST_P_LOG_SHMFD | 1ull << VHOST_P_REPLY_ACK | 1ull << VHOST_P_BACKEND_REQ |       \
		1ull << VHOST_P_CONFIG | 1ull << VHOST_P_INFLIGHT_SHMFD | 1ull << VHOST_P_RESET_DEVICE |                   \
		1ull << VHOST_P_CONFIGURE_MEM_SLOTS | 1ull << VHOST_P_STATUS | 1ull << VHOST_P_HUSK_PAGE_BITS)

/* One queue as a driver has it. Slot i: descriptors 2i (read) and 2i + 1 (written), a page of data for each. */
struct peer_queue {
	struct peer *p;
	unsigned index, size;
	uint64_t desc, avail, used, data;
	uint16_t avail_idx, used_idx;
	int kick, call[2], err; /* eventfds; call[0] is set first */
	bool out[TOY_SIZE / 2];
	uint32_t token[TOY_SIZE / 2];
	uint32_t next_token;
	uint64_t sent, back; /* requests */
};

struct peer {
	int sock, back; /* back: our end of the back-end channel, or -1 */
	bool ack;       /* REPLY_ACK was negotiated */
	struct mem mem;
	struct peer_queue q[TOY_QUEUES];
	int inflight_fd;
	struct vhost_inflight inflight;
};

void peer_init(struct peer *p);
void peer_fini(struct peer *p);
/* Sends a request. With an answer, a u64 (0 for those that have none) or in *reply; without, 0. */
uint64_t peer_say(struct peer *p, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfds);
void peer_ask(struct peer *p, uint32_t request, const void *payload, uint32_t size, struct vhost_msg *reply);
void peer_state(struct peer *p, uint32_t request, uint32_t index, uint32_t num); /* must succeed */
void peer_fd(struct peer *p, uint32_t request, uint32_t index, int fd);          /* the same; -1: none */
void peer_hello(struct peer *p, uint64_t features, uint64_t protocol);
void peer_memory(struct peer *p);
void peer_channel(struct peer *p);      /* the back-end channel */
void peer_inflight_get(struct peer *p); /* a new record */
void peer_inflight_set(struct peer *p);
void peer_ring_addr(struct peer *p, unsigned i, uint32_t flags, uint64_t log);
/* A ring, new or not, and all there is to say about it */
void peer_queue_new(struct peer *p, unsigned i, unsigned size, unsigned shift);
void peer_queue_start(struct peer *p, unsigned i, uint16_t base);
uint16_t peer_queue_stop(struct peer *p, unsigned i); /* GET_VRING_BASE */

/* The driver's: a request of len bytes if there is a free slot; kicks. false: all slots are out */
bool peer_send(struct peer_queue *q, unsigned len);
void peer_kick(struct peer_queue *q);
/* What has come back, checked; the number */
unsigned peer_reap(struct peer_queue *q);
void peer_wait(struct peer_queue *q); /* for an interrupt; 10 s of none are a failure */
void peer_drain(struct peer_queue *q);
void peer_some(struct peer_queue *q, unsigned n); /* n requests, there and back */

/* A server on a thread */
struct host {
	struct toy toy;
	struct loop *loop;
	struct vhost_server *server;
	pthread_t thread;
	int ctl[2]; /* sockets for the server, or -1: end */
	sem_t gone;
	bool clean;     /* it went without words */
	struct err why;
};

int peer_serve(struct host *h, bool own, int sock); /* runs the loop until the end of ctl; for children */
void host_start(struct host *h, bool own, struct peer *p); /* connects p */
void host_gone(struct host *h, const char *words);         /* waits until it has; words: in what it said, NULL: none */
void host_again(struct host *h, struct peer *p);
void host_stop(struct host *h);

#endif
