/* SPDX-License-Identifier: MIT */
/* Short lists of damaged rectangles: a few exact ones are worth more than many small ones or one that covers all. */
#ifndef DISPLAY_RECTS_INT_H
#define DISPLAY_RECTS_INT_H

#include "display/surface.h"

/*
 * Adds add to the n rectangles of r, where max (at least 1) have room; none reaches 2^32. It is joined with one that holds, or
 * adjoins it so that nothing else is covered; when there is no room, with the one that grows least by it. The new n.
 */
unsigned rects_add(struct rect *r, unsigned n, unsigned max, struct rect add);

#endif
