/* SPDX-License-Identifier: MIT */
/*
 * Encoders: pixels in, rectangles as they go on the wire out. One file and one row each. An encoder has state (zlib
 * streams) that belongs to one view; encode() may run on any thread, one at a time per encoder, and s does not change
 * while it runs.
 */
#ifndef RFB_ENCODE_H
#define RFB_ENCODE_H

#include <pixman.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "display/surface.h"
#include "rfb/rfb.h"

struct rfb_params {
	struct rfb_format format;
	int level;      /* zlib: 1 to 9, 0 stored, -1 the client has not said: then the encoder's default, 1 or 2 */
	int quality;    /* JPEG: 0 to 9, -1: lossless only. May be -1 for one update (a lossless refresh) and 6 in the next */
	int tight;      /* RFB_TIGHT or RFB_TIGHT_PNG: the number in the rectangle's header */
	bool png;       /* Tight may use PNG, and then nothing but fill, JPEG and PNG */
	bool gradient;  /* Tight may use its gradient filter. noVNC before 1.6 ends the connection then; it always names a quality */
};

struct rfb_encoder;
struct rfb_encoder_ops {
	int32_t id;
	const char *name;
	struct rfb_encoder *(*open)(void);                           /* NULL: no memory */
	struct rfb_encoder *(*copy)(const struct rfb_encoder *enc);  /* with the same state of its streams; NULL: no memory */
	void (*close)(struct rfb_encoder *enc);
	/*
	 * Streams can start again in mid-session, which makes the next rectangles decodable by a viewer that has seen nothing
	 * before: do so. NULL: this encoding cannot (zlib, ZRLE).
	 */
	void (*restart)(struct rfb_encoder *enc);
	bool stateless; /* every rectangle stands for itself: there is nothing to restart */
	/*
	 * Appends rectangles that cover r, header and data; r lies in s. What was sent with loss is added to lossy (never NULL).
	 * Returns how many, or -ENOMEM (then out holds rubbish, and so do the streams: the connection ends).
	 */
	int (*encode)(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r,
		struct buf *out, pixman_region32_t *lossy);
};

extern const struct rfb_encoder_ops rfb_raw, rfb_rre, rfb_hextile, rfb_zlib, rfb_tight, rfb_zrle;
/* By encoding number (RFB_TIGHT_PNG is Tight's, too); NULL: not one of ours. */
const struct rfb_encoder_ops *rfb_encoder_find(int32_t id);

/* For encoders: x, y, w, h, encoding */
void rfb_rect_header(struct buf *out, struct rect r, int32_t encoding);

/*
 * Pseudo-rectangles with the cursor: rich, two colours, with alpha; px as in display/scanout.h. w 0: an empty cursor. How
 * many rectangles were appended, that is 1; -ENOMEM; -EINVAL: no such encoding.
 */
struct scanout_view_cursor;
int rfb_cursor_encode(int32_t encoding, const struct rfb_format *f, const struct scanout_view_cursor *c, struct buf *out);

#endif
