/* SPDX-License-Identifier: MIT */
/* Rectangles and pixels. Pixels are XRGB8888 in the host's order: 0x00RRGGBB in a uint32_t; the top byte means nothing. */
#ifndef DISPLAY_SURFACE_H
#define DISPLAY_SURFACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"

struct rect {
	uint32_t x, y, w, h;
};

struct surface {
	uint32_t w, h, stride; /* stride in bytes, a multiple of 4 */
	uint8_t *px;
};

/* What of r lies in w x h. Nothing: w and h are 0. Any numbers are fine. */
static inline struct rect rect_clip(struct rect r, uint32_t w, uint32_t h)
{
	if (r.x >= w || r.y >= h)
		return (struct rect){0, 0, 0, 0};
	r.w = (uint32_t)min_u64(r.w, w - r.x);
	r.h = (uint32_t)min_u64(r.h, h - r.y);
	return r.w && r.h ? r : (struct rect){0, 0, 0, 0};
}

static inline bool rect_empty(struct rect r)
{
	return !r.w || !r.h;
}

static inline uint32_t *surface_row(const struct surface *s, uint32_t x, uint32_t y)
{
	return (uint32_t *)(void *)(s->px + (size_t)y * s->stride) + x;
}

/* The part of s at r, which lies inside it. */
static inline struct surface surface_part(const struct surface *s, struct rect r)
{
	return (struct surface){r.w, r.h, s->stride, (uint8_t *)surface_row(s, r.x, r.y)};
}

#endif
