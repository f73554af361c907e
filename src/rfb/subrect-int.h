/* SPDX-License-Identifier: MIT */
/* A tile as a background with rectangles on it: what RRE and Hextile have in common. */
#ifndef RFB_SUBRECT_INT_H
#define RFB_SUBRECT_INT_H

#include <stdint.h>

#include "display/surface.h"

/*
 * The rectangle of one colour that begins at x, y in the w x h pixels at px (no gaps): the larger one of the widest and the
 * tallest. It becomes background in px. The caller goes from left to right and from top to bottom.
 */
struct rect subrect_take(uint32_t *px, uint32_t w, uint32_t h, uint32_t x, uint32_t y, uint32_t background);

#endif
