/* SPDX-License-Identifier: MIT */
/* zlib: Raw's bytes, deflated by one stream for the whole session. */
#include <errno.h>
#include <stdlib.h>

#include "rfb/deflate-int.h"
#include "rfb/encode.h"

enum { PIECE = 2048, LEVEL = 2 };

struct rfb_encoder {
	struct deflater stream;
};

static struct rfb_encoder *zlib_open(void)
{
	return calloc(1, sizeof(struct rfb_encoder));
}

static void zlib_close(struct rfb_encoder *enc)
{
	if (enc)
		deflater_fini(&enc->stream);
	free(enc);
}

static struct rfb_encoder *zlib_copy(const struct rfb_encoder *enc)
{
	struct rfb_encoder *e = zlib_open();

	if (e && !deflater_copy(&e->stream, &enc->stream)) {
		zlib_close(e);
		return NULL;
	}
	return e;
}

static int zlib_encode(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r, struct buf *out,
	pixman_region32_t *lossy)
{
	unsigned bytes = p->format.bpp / 8u;
	uint8_t piece[PIECE * 4];
	size_t mark;

	(void)lossy;
	rfb_rect_header(out, r, RFB_ZLIB);
	if (!deflate_begin(&enc->stream, p->level < 0 ? LEVEL : p->level, out, &mark))
		return -ENOMEM;
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x += PIECE) {
			unsigned n = (unsigned)min_u64(PIECE, r.w - x);

			rfb_translate(&p->format, piece, surface_row(s, r.x + x, r.y + y), n);
			if (!deflate_put(&enc->stream, piece, (size_t)n * bytes, out))
				return -ENOMEM;
		}
	return deflate_end(&enc->stream, out, mark) ? 1 : -ENOMEM;
}

const struct rfb_encoder_ops rfb_zlib = {
	.id = RFB_ZLIB,
	.name = "zlib",
	.open = zlib_open,
	.copy = zlib_copy,
	.close = zlib_close,
	.encode = zlib_encode,
};
