/* SPDX-License-Identifier: MIT */
/*
 * The server with its loop on a thread of its own, a producer that draws, and viewers with the reference decoder, which must see
 * what was drawn, pixel by pixel. What fails ends the program.
 */
#ifndef RIG_H
#define RIG_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "../../rfb/decode.h"
#include "base/loop.h"
#include "display/display.h"
#include "display/input.h"
#include "display/scanout.h"
#include "rfb/server.h"

enum { RIG_EVENTS = 4096, RIG_WAIT_MS = 15000 };

struct rig {
	struct loop *loop;
	pthread_t thread;
	int fd[3], event_fd;            /* framebuffer, two heads */
	struct scanout *out[3];
	struct surface s[3];            /* as the producer sees them */
	struct display *display;
	struct rfb_server *server;
	struct rfb_server_config c;
	struct rfb_auth_config auth;
	/* calls on the loop's thread */
	struct watch call;
	void (*fn)(void *arg);
	void *arg;
	bool called;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* what came from viewers */
	struct input_event ev[RIG_EVENTS];
	unsigned nev;
	struct resize_wish wish[8];
	unsigned nwishes;
	int wish_result;
};

/* c: what differs from the default, or NULL. A head of w x h is shown; w 0: nothing. */
void rig_start(struct rig *g, const struct rfb_server_config *c, uint32_t w, uint32_t h);
void rig_stop(struct rig *g);
void rig_call(struct rig *g, void (*fn)(void *arg), void *arg); /* and waits for it */
unsigned rig_events(struct rig *g, unsigned n); /* waits until so many have come; how many have */
uint64_t rig_stat(struct rig *g, const char *name);
void rig_mode(struct rig *g, unsigned head, uint32_t w, uint32_t h); /* w 0: off. Head 0 is the framebuffer */
void rig_state(struct rig *g, uint32_t leds, enum input_pointer pointer);
/* Drawing on head 1; the damage is committed by rig_commit() */
uint32_t rig_random(void);
void rig_fill(struct rig *g, struct rect r, uint32_t colour);
void rig_noise(struct rig *g, struct rect r);
void rig_smooth(struct rig *g, struct rect r, uint32_t t); /* like a photograph */
void rig_scroll(struct rig *g, uint32_t lines);
void rig_commit(struct rig *g);

struct viewer {
	struct rig *g;
	int fd;
	uint8_t *in;
	size_t len, cap;
	struct rfb_decoder d;
	struct rfb_format format;
	bool manual;             /* no requests by itself */
	bool no_fences;          /* does not answer them */
	bool stopped, closed;    /* closed: by the server */
	bool continuous, flipped; /* flipped: true colour off */
	char name[64];
	/* counters */
	unsigned updates, fences, ends, cuts, colour_maps, copies, rects;
	size_t bytes;
	uint32_t fence_flags;    /* of the last that was an answer */
	uint8_t fence[64];
	unsigned fence_len, fence_answers;
	char cut[256];
	struct rfb_format next;  /* in force from the answer to a fence with SyncNext on */
};

/* Through the handshake with security None, native format. */
void viewer_open(struct viewer *v, struct rig *g);
void viewer_close(struct viewer *v);
void viewer_raw(struct viewer *v, struct rig *g); /* only connected: not even a version */
void viewer_send(struct viewer *v, const void *p, size_t n);
void viewer_encodings(struct viewer *v, unsigned n, const int32_t *e);
void viewer_format(struct viewer *v, const struct rfb_format *f);
void viewer_ask(struct viewer *v, bool incremental, struct rect r);
void viewer_ask_all(struct viewer *v, bool incremental);
void viewer_continuous(struct viewer *v, bool on);
void viewer_key(struct viewer *v, bool down, uint32_t keysym);
void viewer_xt(struct viewer *v, bool down, uint32_t xt);
void viewer_pointer(struct viewer *v, uint8_t buttons, uint16_t x, uint16_t y);
void viewer_fence(struct viewer *v, uint32_t flags, const void *payload, unsigned n);
void viewer_set_size(struct viewer *v, uint16_t w, uint16_t h, unsigned n, const struct rfb_decode_screen *s);
/* Takes what has come; waits ms for something if there is nothing. false: nothing came, or it is closed */
bool viewer_poll(struct viewer *v, int ms);
/* Until cond(v), or the test fails. */
void viewer_until(struct viewer *v, bool (*cond)(struct viewer *v), const char *what);
bool viewer_same(struct viewer *v);       /* it shows what the heads show */
void viewer_sees(struct viewer *v);       /* ... waits for it */
bool viewer_is_closed(struct viewer *v);
void viewers_see(struct viewer *v, unsigned n);

#define ENCODINGS(v, ...)                                                                                            \
	viewer_encodings(v, sizeof((int32_t[]){__VA_ARGS__}) / 4, (const int32_t[]){__VA_ARGS__})
#define CHECK(x)                                                                                                     \
	do {                                                                                                         \
		if (!(x))                                                                                            \
			rig_fail(__FILE__, __LINE__, #x);                                                            \
	} while (0)
_Noreturn void rig_fail(const char *file, int line, const char *what);

#endif
