/* SPDX-License-Identifier: MIT */
/* Of viewer.c, which says what it is about: viewers, and their bytes (viewer_rfb.c). */
#ifndef VIEWER_H
#define VIEWER_H

#include "../../../bench/display/session.h"
#include "../../rfb/decode.h"

enum { VIEWER_CLIENTS = 64, VIEWER_PHASES = 8, VIEWER_LISTED = 32, VIEWER_IDS = 32 };

struct phase {
	struct rfb_format wire, format; /* as it is asked for, and as pixels come then: not the same for a colour map */
	int32_t id[VIEWER_LISTED];
	unsigned n;
	bool lossy, fence, continuous, sizes, png;
};

struct client {
	const char *spec;
	struct phase phase[VIEWER_PHASES];
	unsigned nphases, at, passed;
	bool late, slow, any_lossy, here;
	int fd;
	struct rfb_decoder d;
	uint32_t w, h;                /* at first */
	uint8_t *in;
	size_t len, room;
	bool asked, continuous, offered, turn, turning, by_end;
	bool map_due;                 /* no pixels before a colour map */
	bool stale;                   /* something has come since it was compared */
	bool same;
	double slow_until;
	struct buf later;             /* is sent then */
	double later_at;
	double end_at;                /* continuous updates are ended then, to change the format; 0: not waiting for that */
	struct {
		int32_t id;
		uint64_t rects, bytes;
	} seen[VIEWER_IDS];
	unsigned nseen;
	uint64_t updates, bytes;
};

extern struct session session;
extern double patience; /* ms */

double now_ms(void);
__attribute__((format(printf, 2, 3), noreturn)) void die(const struct client *c, const char *fmt, ...);
bool client_listed(const struct client *c, int32_t id); /* so far */
void client_saw(struct client *c, int32_t id, size_t bytes);

/* viewer_rfb.c */
void client_connect(struct client *c, const char *address); /* and begins its first phase */
void client_read(struct client *c);                         /* what is there, and what follows from it */
void client_later(struct client *c);                        /* what was to wait until now */
void client_end(struct client *c);                          /* end_at has come */

#endif
