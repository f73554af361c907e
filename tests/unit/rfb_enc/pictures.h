/* SPDX-License-Identifier: MIT */
/* Formats and synthetic pictures for tests of encoders. Everything follows from the seed. */
#ifndef TESTS_RFB_PICTURES_H
#define TESTS_RFB_PICTURES_H

#include "display/surface.h"
#include "rfb/rfb.h"

enum picture {
	PICTURE_SOLID,
	PICTURE_DOTS,      /* each pixel one of n colours */
	PICTURE_RUNS,      /* runs of many lengths in n colours */
	PICTURE_BOXES,     /* rectangles of n colours on each other */
	PICTURE_TEXT,      /* 8 x 16 cells, n colours on one */
	PICTURE_GRADIENT,
	PICTURE_NOISE,
	PICTURE_MIXED,     /* a kind of its own for each 32 x 32 */
	PICTURES,
};

/* Draws into r of s. The top byte of pixels is rubbish, as a guest's is. n colours: where the kind has them, at least 1 */
void picture_draw(const struct surface *s, struct rect r, enum picture kind, unsigned n, uint32_t seed);

struct named_format {
	const char *name;
	struct rfb_format format;
};
extern const struct named_format test_formats[];
extern const unsigned test_nformats;

#endif
