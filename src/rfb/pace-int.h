/* SPDX-License-Identifier: MIT */
/*
 * How much may be under way to one viewer. Behind each update goes a fence; its answer says that the update was received *and*
 * drawn. From the answers come the shortest round trip and the highest rate at which bytes were taken, and from these the
 * window: twice their product, and most of an update, fills the way without queueing for much longer than one round trip. A
 * viewer that takes longer to draw, or a link that has become narrow, shows as a lower rate, and the window follows. While
 * little is sent, the rate says nothing about the way and only raises the window. When no round trip has been short for ten
 * seconds, either the way is longer now, or we keep it filled: it is left to run empty, and a fence with nothing in front of
 * it tells. Pure: times come from outside.
 *
 * A viewer without fences gets one update per request, and the next when the socket has taken the last.
 */
#ifndef RFB_PACE_INT_H
#define RFB_PACE_INT_H

#include <stdbool.h>
#include <stdint.h>

enum { PACE_FENCES = 64, PACE_RATES = 8 };
#define PACE_WINDOW_MIN (16 * UINT64_C(1024))
#define PACE_WINDOW_MAX (8 * UINT64_C(1024) * 1024)

struct pace { /* zeroed at the beginning */
	uint64_t sent, acked;     /* bytes, all that went to the socket's queue */
	uint64_t acked_ns;        /* when acked became what it is */
	struct pace_fence {
		uint64_t at, acked;   /* sent and acked when the fence went out */
		uint64_t ns, acked_ns;
		bool limited;         /* there was nothing more to send: its rate is no limit */
	} fence[PACE_FENCES];
	uint32_t first, next;     /* numbers of fences: the oldest that is out, and the next */
	uint64_t rtt_ns, rtt_at;  /* the shortest of late, and when one like it was seen; 0: none yet */
	bool probing, probe_out;  /* nothing is sent, to see it again; its fence has gone out: */
	uint32_t probe;
	uint64_t size;            /* of updates of late */
	uint64_t last_rtt_ns;
	/* highest rate of each of the last rounds, bytes per second; a round is what one round trip brings */
	uint64_t rate[PACE_RATES], round_end;
	unsigned round;
};

uint64_t pace_window(const struct pace *p);
/* May another update go? */
bool pace_open(const struct pace *p);
void pace_sent(struct pace *p, uint64_t bytes);
/* A fence goes out behind what was sent; its number is the payload. False: too many are out already, leave it. */
bool pace_fence(struct pace *p, uint64_t now_ns, uint32_t *number);
/* Is a fence to be sent now that measures the bare way? That is done then, see pace_fence(). */
bool pace_probe(struct pace *p, uint64_t now_ns, uint32_t *number);
/* The next update waits for room: the rate that comes now is that of the way. */
void pace_blocked(struct pace *p);
/* A fence has come back. False: that one was not out. */
bool pace_acked(struct pace *p, uint32_t number, uint64_t now_ns);

#endif
