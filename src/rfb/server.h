/* SPDX-License-Identifier: MIT */
/*
 * The RFB server: many viewers of one display. All calls on the loop's thread; encoding happens on threads of its own.
 *
 *   server.c   listening, connections, what goes to all of them (clipboard, LEDs)
 *   conn.c     one viewer: its messages, what it can do, when it gets the next update
 *   view.c     what one viewer, or several that are alike and in step, have on their screens: damage, comparison, moves,
 *              encoding. Owns a copy of the picture as the viewer has it
 *   share.c    which viewers share a view
 *   pace.c     fences, round-trip time and congestion window
 *   pool.c     encoder threads
 */
#ifndef RFB_SERVER_H
#define RFB_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "display/display.h"
#include "display/input.h"
#include "rfb/auth.h"
#include "rfb/stream.h"

enum { RFB_LISTENERS = 8, RFB_CLIENTS = 64 };

struct rfb_listener {
	int fd;       /* borrowed, listening, non-blocking */
	bool local;   /* a Unix socket: no blacklist */
	struct rfb_auth_config auth;
};

struct layout;
struct rfb_server_config {
	struct loop *loop;
	struct display *display;
	const char *name;                /* of the desktop; the machine's */
	struct rfb_listener listener[RFB_LISTENERS];
	unsigned nlisteners;
	struct rfb_tls *tls;             /* borrowed; NULL: none */
	const struct layout *layout;     /* of the guest, for viewers without extended key events; borrowed; NULL: none */
	bool view_only;
	bool lossless;                   /* never JPEG, whatever a viewer asks for */
	unsigned threads;                /* encoders; 0: by the number of CPUs */
	bool no_threads;                 /* encode on the loop's thread: for tests */
	unsigned max_clients;            /* 0: RFB_CLIENTS */
	unsigned join_ms;                /* viewers that are alike share their updates when none was for so long; 0: 200 */
	/* to the guest; the server gives whole batches */
	void (*input)(void *arg, const struct input_event *ev, unsigned n);
	/* A viewer asks for another size: 0 done or under way, -EPERM no, -ENOSPC, -EINVAL. NULL: never */
	int (*resize)(void *arg, const struct resize_wish *w, unsigned n);
	void *arg;
};

struct rfb_server;
int rfb_server_new(struct rfb_server **s, const struct rfb_server_config *c, struct err *e); /* c is copied */
/* Makes the threads, begins to listen: after the sandbox was entered. */
int rfb_server_run(struct rfb_server *s, struct err *e);
void rfb_server_free(struct rfb_server *s);
/* From the guest: INPUT_STATE. */
void rfb_server_state(struct rfb_server *s, uint32_t leds, enum input_pointer pointer);
/* A connection that did not come from a listener (a test, reverse connections); takes st. local: as above. 0 or -errno */
int rfb_server_add(struct rfb_server *s, struct rfb_stream *st, const struct rfb_auth_config *auth, bool local);
unsigned rfb_server_fds(const struct rfb_server *s); /* that it may come to hold */
size_t rfb_server_stats(const struct rfb_server *s, char *buf, size_t len); /* "name value" lines */

#endif
