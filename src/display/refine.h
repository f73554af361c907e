/* SPDX-License-Identifier: MIT */
/*
 * What has really changed. A producer's damage is a hint: drivers flush whole screens when a cursor blinks. The new
 * picture is compared with the one that a viewer has, in tiles of 16 x 16, and what differs is cropped to exact pixels
 * and joined to few rectangles. Pure: no allocation but the region's, no I/O.
 *
 * cur may change while it is read (it is guest memory, or a scanout): then more damage follows, and no answer here
 * is relied upon until refine_copy() has taken the pixels.
 */
#ifndef DISPLAY_REFINE_H
#define DISPLAY_REFINE_H

#include <pixman.h>
#include <stdbool.h>
#include <stdint.h>

#include "display/surface.h"

enum { REFINE_TILE = 16, REFINE_RECTS = 256, REFINE_MOVES = 4 };

/*
 * Both of one size; where is clipped to it. changed, initialised by the caller, becomes the pixels that differ: exact at
 * the outline of each group of tiles, at most REFINE_RECTS rectangles (fewer and coarser if there would be more).
 */
void refine_find(const struct surface *cur, const struct surface *old, const pixman_region32_t *where,
	pixman_region32_t *changed);

/*
 * A region, all of it at 0 or more, as few rectangles: a region's own are cut where others beside them begin and end. At most max (at
 * least 1), which cover more than the region if they must, and may overlap then. How many.
 */
unsigned refine_rects(const pixman_region32_t *region, struct rect *out, unsigned max);

/* dst shows now what old has at (dst.x - dx, dst.y - dy), pixel by pixel; both lie inside the picture. */
struct move {
	struct rect dst;
	int32_t dx, dy;
};
/*
 * Scrolls and moved windows among the changed pixels: at most max (REFINE_MOVES) moves that do not read what an earlier
 * one of them wrote, each worth sending. Gives up early when there is none. pinned scratch memory comes from m.
 */
struct mover;
struct mover *mover_new(void);
void mover_free(struct mover *m);
unsigned mover_find(struct mover *m, const struct surface *cur, const struct surface *old, const pixman_region32_t *changed,
	struct move *out, unsigned max);
/* Does the same to old that a viewer does; overlapping areas are fine. */
void move_apply(struct surface *old, const struct move *m);

/* Takes the pixels of r from cur into old. */
void refine_copy(struct surface *old, const struct surface *cur, struct rect r);

#endif
