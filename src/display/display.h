/* SPDX-License-Identifier: MIT */
/*
 * The picture that viewers see: the heads of virtio-gpu side by side, or, as long as no driver uses them, the
 * framebuffer of early boot. Belongs to its loop's thread.
 */
#ifndef DISPLAY_DISPLAY_H
#define DISPLAY_DISPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "display/scanout.h"

enum { DISPLAY_WIDTH_DEFAULT = 1280, DISPLAY_HEIGHT_DEFAULT = 800 };
#define DISPLAY_PIXELS_MAX (128 * MIB) /* bytes, of all heads together: four of 3840 x 2160; a head beyond is not shown */

struct display_head {
	struct rect place;        /* in the picture */
	struct surface surface;   /* of the scanout: read only, and the guest's to change at any time */
	unsigned number;          /* of virtio-gpu's head, for a wish to resize it; 0 also for the framebuffer */
};

struct display_picture {
	uint32_t w, h;            /* never 0: a black default picture if nothing is shown at all */
	unsigned nheads;          /* 0: nothing is shown */
	struct display_head head[SCANOUT_HEADS];
	bool firmware;            /* the framebuffer, whose size is fixed */
};

struct display_sink {
	void (*resized)(struct display_sink *k);  /* another layout: all is damaged */
	void (*damaged)(struct display_sink *k, const struct rect *r, unsigned n); /* in the picture */
	void (*cursor)(struct display_sink *k);   /* display_cursor() has changed */
	struct display_sink *next;                /* display.c's */
};

struct display;
/*
 * fds[0] is the framebuffer's scanout, the others are heads; all borrowed, as is event_fd, whose count says that one of them has
 * something new: EFD_NONBLOCK, and nobody else reads it. n from 1 to 1 + SCANOUT_HEADS.
 */
int display_new(struct display **d, struct loop *l, const int *fds, unsigned n, int event_fd, struct err *e);
void display_free(struct display *d);
/* No call from within these. In a call a sink may attach and detach any, but not free the display. */
void display_attach(struct display *d, struct display_sink *k);
void display_detach(struct display *d, struct display_sink *k); /* no call after this; not attached: harmless */
/* Valid until the next resized(). */
const struct display_picture *display_picture(const struct display *d);
/* What is under r (clipped) in the picture into dst, whose size is that of the picture; outside heads it is black. The top bytes are 0. */
void display_read(const struct display *d, struct surface *dst, struct rect r);
/* The cursor of the head in use; w 0: the guest draws it itself, or has none. Place in the picture's coordinates. */
const struct scanout_view_cursor *display_cursor(const struct display *d);

#endif
