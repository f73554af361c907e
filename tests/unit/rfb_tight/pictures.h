/* SPDX-License-Identifier: MIT */
/* Pictures to be encoded; deterministic. */
#ifndef TESTS_PICTURES_H
#define TESTS_PICTURES_H

#include "display/surface.h"
#include "rfb/rfb.h"

enum picture {
	SOLID, TEXT, TEXT_COLOURS, TEXT_SOFT, STRIPES, COLOURS_2, COLOURS_3, COLOURS_16, COLOURS_255, COLOURS_256, COLOURS_257,
	GRADIENT_H, GRADIENT_V, GRADIENT_2D, PHOTO, NOISE, DESKTOP, LABELS, PICTURES
};
/* What of the desktop is no photograph: windows with text */
#define DESKTOP_WINDOW ((struct rect){83, 61, 262, 170})

uint32_t pic_random(void);
void pic_seed(uint32_t seed);
void pic_paint(struct surface *s, enum picture p); /* all of it, with rubbish in the top bytes */

enum { PIC_FORMATS = 10 };
extern const struct rfb_format pic_format[PIC_FORMATS];

#endif
