/* SPDX-License-Identifier: MIT */
/*
 * The other end of rfb/encode.h: rectangles of a FramebufferUpdate into a picture. It is the judge in tests, so it says no to
 * everything that the protocol forbids, and to what it merely advises against unless lax is set; bytes are hostile all the same.
 *
 * A rectangle is taken whole or not at all: while bytes are missing nothing has changed, zlib streams included.
 */
#ifndef TESTS_RFB_DECODE_H
#define TESTS_RFB_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#define ZLIB_CONST /* input is const */
#include <zlib.h>

#include "display/surface.h"
#include "rfb/rfb.h"

enum { RFB_DECODE_SIDE_MAX = 65535, RFB_DECODE_CURSOR_MAX = 1024, RFB_DECODE_NAME_MAX = 4096, RFB_DECODE_SCREENS = 255 };
#define RFB_DECODE_PIXELS_MAX (64u << 20) /* in the picture: a size above is refused */

struct rfb_decode_cursor {
	uint32_t generation;          /* counts cursors; 0: none has come */
	int32_t encoding;             /* RFB_CURSOR, RFB_X_CURSOR, RFB_CURSOR_WITH_ALPHA */
	uint32_t w, h, hot_x, hot_y;  /* w 0: invisible */
	uint32_t *argb;               /* w * h, premultiplied; without alpha: 0xff or 0 (then all of it is 0) */
};

struct rfb_decode_screen {
	uint32_t id, flags;
	uint16_t x, y, w, h;
};

struct rfb_decode_stream {
	z_stream z;
	bool open;
};

struct rfb_decoder {
	/* The caller's to set, between updates */
	struct rfb_format format;     /* at first rfb_format_native; that of rfb_colour_map() for a client without true colour */
	bool lax;                     /* another's server: unused bits may be set, and the like */
	bool tight_png;               /* RFB_TIGHT_PNG was asked for: else it is refused */
	uint32_t pixels_max;          /* a larger picture is refused; at first RFB_DECODE_PIXELS_MAX */

	/* The picture: values in the client's format, as rfb_pixel() has them; with rfb_format_native that is XRGB */
	uint32_t w, h, *px;           /* w * h, no gaps */

	/* The last rectangle, pseudo or not, and the update that it is in */
	struct rect rect;
	int32_t encoding;
	size_t rect_len;              /* on the wire, header included */
	unsigned nrects;              /* taken since the update began */
	unsigned left;                /* still to come; 65535 announced: until LastRect */
	bool updating;                /* an update has begun and not ended */

	/* What pseudo-rectangles have told */
	struct rfb_decode_cursor cursor;
	uint32_t generation;          /* counts changes of size */
	unsigned nscreens, reason, status; /* ExtendedDesktopSize; status as in the protocol, 0: done */
	struct rfb_decode_screen screen[RFB_DECODE_SCREENS];
	char name[RFB_DECODE_NAME_MAX + 1];
	bool extended_key, extended_buttons; /* the server can */
	int pointer;                  /* -1 never told, 0 relative, 1 absolute */
	int32_t leds;                 /* -1 never told; bits as in the QEMU extension: scroll, num, caps */

	size_t need;                  /* after a 0: asking again pays only with so many bytes */
	char why[200];                /* after a negative result */

	/* Streams; ->tight, and anything else that it wants to keep, belongs to decode_tight.c */
	struct rfb_decode_stream zlib, zrle, tight[4];
	bool pixels_sent, resized;    /* in this update */
	uint8_t *scratch;
	size_t scratch_len;
};

int rfb_decoder_init(struct rfb_decoder *d, uint32_t w, uint32_t h); /* 0, -EINVAL, -ENOMEM; a black picture */
void rfb_decoder_fini(struct rfb_decoder *d);                        /* a zeroed one is fine */

/*
 * All of these: bytes used; 0: more are needed (need says how many in all, at least); -EPROTO with words in why; -ENOMEM.
 * After an error the decoder is good for fini only.
 */
/* One rectangle with its header. Outside of an update, too: then it counts for nothing but itself. */
ssize_t rfb_decode_rect(struct rfb_decoder *d, const uint8_t *p, size_t n);
/*
 * A FramebufferUpdate message, from its type byte on: as many rectangles as are there whole. updating says whether the same
 * message goes on with the next call.
 */
ssize_t rfb_decode_update(struct rfb_decoder *d, const uint8_t *p, size_t n);
/* A SetColourMapEntries message: only checked; the picture's values stay indices. */
ssize_t rfb_decode_colour_map(struct rfb_decoder *d, const uint8_t *p, size_t n, uint32_t xrgb[256]);

/* XRGB of a value in a format, to the nearest 8 bits; for comparing with what rfb_pixel() made, compare values instead. */
uint32_t rfb_decode_xrgb(const struct rfb_format *f, uint32_t value);

/* ---- for decode_*.c ---- */

/* Returns -EPROTO, after noting why, with the rectangle. */
__attribute__((format(printf, 2, 3))) ssize_t rfb_decode_fail(struct rfb_decoder *d, const char *fmt, ...);
/* 0, after noting that n bytes from the rectangle's payload on are needed; or -EPROTO if that is more than anything sane */
ssize_t rfb_decode_more(struct rfb_decoder *d, size_t n);
/* One PIXEL of format.bpp bits at p. *ok becomes false if unused bits are set (never with lax; they are cleared) */
uint32_t rfb_decode_pixel(const struct rfb_decoder *d, const uint8_t *p, bool *ok);
/* An 8-bit R, G, B as a value of the format, where all maxima are 255 (TPIXEL), or of rfb_pixel() (JPEG, PNG). */
uint32_t rfb_decode_rgb(const struct rfb_decoder *d, uint8_t r, uint8_t g, uint8_t b);
/* Row y of the picture, at x */
uint32_t *rfb_decode_row(const struct rfb_decoder *d, uint32_t x, uint32_t y);
void rfb_decode_fill(const struct rfb_decoder *d, struct rect r, uint32_t value);
/*
 * All of p[0, n) is inflated to exactly len bytes, which are in ->scratch then (len plus a few bytes of room). 0 or -EPROTO,
 * -ENOMEM. Left-over input, more output, and the stream's end are errors.
 */
int rfb_decode_inflate(struct rfb_decoder *d, struct rfb_decode_stream *s, const uint8_t *p, size_t n, size_t len);
/* The same, when only an upper limit is known; *len is how many it was. */
int rfb_decode_inflate_upto(struct rfb_decoder *d, struct rfb_decode_stream *s, const uint8_t *p, size_t n, size_t max,
	size_t *len);
void rfb_decode_stream_reset(struct rfb_decode_stream *s);

/*
 * decode_tight.c (Tight's owner): the payload of a rectangle, after its header; r lies in the picture. Whole or nothing:
 * with 0 no stream may have been reset. png: the encoding is RFB_TIGHT_PNG.
 */
ssize_t rfb_decode_tight(struct rfb_decoder *d, struct rect r, const uint8_t *p, size_t n, bool png);
/* decode_pixels.c: the other encodings that make pixels */
ssize_t rfb_decode_pixels(struct rfb_decoder *d, struct rect r, int32_t encoding, const uint8_t *p, size_t n);
/* decode_pseudo.c; r is not checked yet */
ssize_t rfb_decode_pseudo(struct rfb_decoder *d, struct rect r, int32_t encoding, const uint8_t *p, size_t n);

#endif
