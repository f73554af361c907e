/* SPDX-License-Identifier: MIT */
/*
 * The parts of Tight ("Tight Encoding" in rfbproto.rst):
 *
 *	tight.c        the encoder: parts of at most 2048 in width
 *	tight_plan.c   which pixels are sent as what
 *	tight_basic.c  fill, palettes, full colour with and without gradient: pixels and the four zlib streams
 *	tight_jpeg.c, tight_png.c
 *
 * Nobody returns errors: no memory is out->failed, which is looked at once, at the end.
 */
#ifndef RFB_TIGHT_INT_H
#define RFB_TIGHT_INT_H

#include <turbojpeg.h>
#include <zlib.h>

#include "rfb/encode.h"

enum {
	TIGHT_WIDTH = 2048,           /* of a rectangle, by the protocol */
	TIGHT_DATA_MAX = 0x3fffff,    /* a length has 22 bits */
	TIGHT_COLOURS = 256,
};

/* Which of the four streams: things of one kind share one, so that they find what they repeat. */
enum { TIGHT_FULL, TIGHT_MONO, TIGHT_INDEXED, TIGHT_GRADIENT, TIGHT_STREAMS };

struct tight_stream {
	z_stream z;
	bool open;
	bool reset; /* before it is used the next time */
	int level;
};

struct tight_mem { /* grows, bounded by the area of what is sent */
	void *p;
	size_t cap;
};

struct rfb_encoder {
	struct tight_stream stream[TIGHT_STREAMS], png;
	struct tight_mem raw, packed, cells;
	tjhandle tj;
	unsigned char *jpeg; /* turbojpeg's */
	unsigned long jpeg_cap;
};

struct tight_job {
	struct rfb_encoder *enc;
	const struct rfb_params *p;
	const struct surface *s;
	struct buf *out;
	pixman_region32_t *lossy;
	int n; /* rectangles so far */
};

struct tight_palette {
	unsigned n;
	uint32_t colour[TIGHT_COLOURS];
};

/* At least n bytes, rubbish in them; NULL: out->failed is set. */
void *tight_mem(struct tight_job *j, struct tight_mem *m, size_t n);
/* Header of a rectangle and its first byte; counts it */
void tight_begin(struct tight_job *j, struct rect r, uint8_t control);
/* A length and as many bytes */
void tight_data(struct tight_job *j, const void *p, size_t n);
/*
 * All of p compressed, all of it to be seen by the other side, at ->packed + at; its length, 0: failed. The stream is
 * opened or reset if need be. finish: that is its end.
 */
size_t tight_deflate(struct tight_job *j, struct tight_stream *z, int strategy, const void *p, size_t n, bool finish,
	size_t at);

/* Part by part, r at most TIGHT_WIDTH in width */
void tight_plan(struct tight_job *j, struct rect r);

void tight_fill(struct tight_job *j, struct rect r, uint32_t colour);
void tight_two(struct tight_job *j, struct rect r, uint32_t a, uint32_t b); /* nothing but these two */
void tight_many(struct tight_job *j, struct rect r); /* any pixels, few colours likely */
void tight_photo(struct tight_job *j, struct rect r); /* any pixels, many colours likely; without loss */

/* n pixels as bits, the first in the highest: is it colour b? Returns how many are. */
unsigned tight_bits(uint8_t *dst, const uint32_t *src, unsigned n, uint32_t b);
/*
 * The colours of r, and its pixels as indices in ->raw (for PNG with a byte for each row in front of all); false: there are
 * more than 256, or no memory
 */
bool tight_index(struct tight_job *j, struct rect r, struct tight_palette *pal);
/* Is what the gradient filter leaves of r easier to compress than r? By a sample. */
bool tight_smooth(const struct tight_job *j, struct rect r);

bool tight_jpeg(struct tight_job *j, struct rect r); /* false, and nothing was sent: not this way. lossy is the caller's. */

void tight_png_two(struct tight_job *j, struct rect r, uint32_t a, uint32_t b);
void tight_png_indexed(struct tight_job *j, struct rect r, const struct tight_palette *pal); /* after tight_index() */
void tight_png_full(struct tight_job *j, struct rect r);

#endif
