/* SPDX-License-Identifier: MIT */
/* Pictures as guests make them, the same ones on every machine: for tests and for the bench of moves. */
#ifndef FRAMES_H
#define FRAMES_H

#include "display/surface.h"

void frame_seed(uint32_t seed);
uint32_t frame_random(void);
struct surface frame_new(uint32_t w, uint32_t h); /* black */
void frame_free(struct surface *s);
void frame_fill(struct surface *s, struct rect r, uint32_t colour); /* clipped */
/* A line of text in glyphs of 8 x 16: the next of a licence, coloured here and there. */
void frame_text(struct surface *s, uint32_t x, uint32_t y, uint32_t columns, uint32_t background);
void frame_text_begin(void); /* at its first line again */
void frame_page(struct surface *s, struct rect r, uint32_t background); /* full of text */
/* Smooth, with edges and the noise of a sensor; t: where the camera is; noise is the same for the same seed. */
void frame_photo(struct surface *s, struct rect r, double t);
/* A window with a title bar and text. */
void frame_window(struct surface *s);
/* s at x, y of dst, inside */
void frame_put(struct surface *dst, const struct surface *s, uint32_t x, uint32_t y);
/* What is in r moves by dx, dy within r; what is uncovered stays. */
void frame_scroll(struct surface *s, struct rect r, int dx, int dy);

#endif
