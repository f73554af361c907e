/* SPDX-License-Identifier: MIT */
/*
 * A vhost-user front-end and a virtio-blk driver in one, for tests and measurements of any vhost-user-blk back-end. A request
 * has a slot; all of its memory is laid out beforehand, so that sending one costs next to nothing.
 */
#ifndef BLK_CLIENT_H
#define BLK_CLIENT_H

#include <stdbool.h>

#include "vhost/proto.h"

enum { CLIENT_QUEUES = 4, CLIENT_SIZE = 256, CLIENT_SEGS = 254 };
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_DISCARD = 11, T_WRITE_ZEROES = 13 };

struct client_queue {
	struct client *c;
	unsigned index;
	uint8_t *desc, *avail, *used, *slots;
	int kick, call;
	uint16_t avail_idx, kicked, used_idx;
	uint64_t kicks, calls;
};

struct client {
	int sock;
	bool ack, indirect, event_idx, inflight_on;
	uint64_t features, protocol; /* of the last connect */
	uint64_t capacity;           /* bytes */
	uint32_t seg_max;
	unsigned nqueues;
	int ram_fd, inflight_fd;
	uint8_t *ram;
	size_t ram_len, data; /* data: where memory for data begins */
	struct vhost_inflight inflight;
	struct client_queue q[CLIENT_QUEUES];
};

/* data: bytes for it. Exits with words when something is missing. */
void client_init(struct client *c, unsigned nqueues, size_t data);
/* Says everything to a back-end; again after the last one has died: with the in-flight record, if both know it. Takes sock. */
void client_connect(struct client *c, int sock);
int client_dial(const char *path);
void client_bye(struct client *c); /* stops the rings and closes the socket */

/* len bytes at c->ram + c->data + off, in segments of seg bytes; offered, but not kicked */
void client_send(struct client_queue *q, unsigned slot, uint32_t type, uint64_t sector, size_t off, size_t len, size_t seg);
void client_kick(struct client_queue *q);         /* if it is wanted */
int client_reap(struct client_queue *q);          /* a slot that has come back, -1: none */
unsigned client_status(const struct client_queue *q, unsigned slot);
/* Until something comes back: false after the time-out (-1: none) */
bool client_wait(struct client_queue *q, int timeout_ms);

#endif
