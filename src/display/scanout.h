/* SPDX-License-Identifier: MIT */
/*
 * The scanout: the one interface between a guest's screen and whoever looks at it. A sealed memfd of fixed size with a
 * header, a ring of damaged rectangles, a cursor, and room for the largest picture. One process writes it (husk-vmm for the
 * framebuffer of early boot, husk-gpu for each head of virtio-gpu), any number read it, through descriptors that are
 * open for reading only. It outlives both: the supervisor holds it, and a new producer goes on with what is there.
 *
 * Each side distrusts the other. A consumer never follows a number that it has not checked in a copy of its own, and the
 * file cannot become shorter under it; pixels may change while it reads them, which is harmless: new damage follows.
 * A producer reads nothing back but the counters it keeps for itself.
 */
#ifndef DISPLAY_SCANOUT_H
#define DISPLAY_SCANOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "display/surface.h"

enum { SCANOUT_SIDE_MAX = 8192, SCANOUT_RING = 256, SCANOUT_CURSOR_MAX = 64, SCANOUT_HEADS = 4 };
#define SCANOUT_PIXELS_MAX (64 * MIB) /* bytes: 4096 x 4096, or 5120 x 2880, ... */

/* A new, empty one (off). The descriptor, or -errno with words. name: in /proc/PID/fd, for people. */
int scanout_create(const char *name, struct err *e);
/* The same for readers only; another open file description. fd is borrowed. */
int scanout_reader(int fd, struct err *e);

/* Is this a mode that there is room for? Both sides from 1 to SCANOUT_SIDE_MAX and the pixels within SCANOUT_PIXELS_MAX */
bool scanout_mode_ok(uint32_t w, uint32_t h);

/* ---- producer: one thread ---- */

struct scanout;
/*
 * fd and event_fd are borrowed. event_fd: eventfd that scanout_commit() counts up, -1: none. What an earlier producer shows stays,
 * as it is known from scanout_mode() with the same size; a mode that it did not finish is off.
 */
int scanout_open(struct scanout **s, int fd, int event_fd, struct err *e);
void scanout_close(struct scanout *s); /* what is shown stays; NULL is harmless */
/*
 * Shows a picture of w x h from now on, black at first; the memory of a larger one before is given back. The surface stays
 * valid until the next call. false, and nothing changes, if not scanout_mode_ok(). The same mode again: stays as it is.
 */
bool scanout_mode(struct scanout *s, uint32_t w, uint32_t h, struct surface *out);
void scanout_off(struct scanout *s); /* nothing is shown: this head is not in use */
void scanout_damage(struct scanout *s, struct rect r); /* pixels in r (clipped) have changed, after they were written */
/* hot: in the picture; px: w * h of premultiplied ARGB, at most SCANOUT_CURSOR_MAX on a side, or NULL: no cursor */
void scanout_cursor(struct scanout *s, uint32_t w, uint32_t h, uint32_t hot_x, uint32_t hot_y, const uint32_t *px);
void scanout_cursor_at(struct scanout *s, int32_t x, int32_t y); /* of the hot spot */
void scanout_commit(struct scanout *s); /* wakes the readers, if anything has changed since the last time */

/* ---- consumer: one thread; numbers by the producer are checked and clipped ---- */

struct scanout_view;
int scanout_view_open(struct scanout_view **v, int fd, struct err *e); /* fd is borrowed */
void scanout_view_close(struct scanout_view *v);
/*
 * The present mode: false if off, or nonsense. generation is this view's own: it changes with every scanout_mode() and scanout_off()
 * and is never 0 once there was a consistent mode. The pixels are mapped for reading only. While the producer changes the mode, and if it died
 * doing so, the one before.
 */
bool scanout_view_mode(struct scanout_view *v, struct surface *s, uint32_t *generation);
/*
 * What was damaged since the last call, clipped to the mode that scanout_view_mode() gave last; joined where that covers no more, or where
 * more than max (at least 1) would be needed. The first call, a new mode and an overrun ring give the whole picture. How many.
 */
unsigned scanout_view_damage(struct scanout_view *v, struct rect *r, unsigned max);
struct scanout_view_cursor {
	uint32_t generation; /* changes with the picture */
	uint32_t w, h, hot_x, hot_y; /* w 0: none */
	int32_t x, y;        /* where the guest thinks it is */
	uint32_t px[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX]; /* w * h, no gaps */
};
/* True if the picture or the place has changed since the last call; c is set then. */
bool scanout_view_cursor(struct scanout_view *v, struct scanout_view_cursor *c);
/* For programs without a loop: sleeps until a commit, at most ms milliseconds. False if there was none. */
bool scanout_view_wait(struct scanout_view *v, int ms);

#endif
