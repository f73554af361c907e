/* SPDX-License-Identifier: MIT */
/* Raw: rows of pixels. Has no state, so that all views have the same encoder. */
#include <errno.h>

#include "rfb/encode.h"

struct rfb_encoder {
	char nothing;
};
static struct rfb_encoder the_one;

static struct rfb_encoder *raw_open(void)
{
	return &the_one;
}

static struct rfb_encoder *raw_copy(const struct rfb_encoder *enc)
{
	(void)enc;
	return &the_one;
}

static void raw_close(struct rfb_encoder *enc)
{
	(void)enc;
}

static int raw_encode(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r, struct buf *out,
	pixman_region32_t *lossy)
{
	size_t row = (size_t)r.w * (p->format.bpp / 8);
	uint8_t *to;

	(void)enc;
	(void)lossy;
	rfb_rect_header(out, r, RFB_RAW);
	to = buf_room(out, row * r.h);
	if (!to)
		return -ENOMEM;
	for (uint32_t y = 0; y < r.h; y++, to += row)
		rfb_translate(&p->format, to, surface_row(s, r.x, r.y + y), r.w);
	out->len += row * r.h;
	return 1;
}

const struct rfb_encoder_ops rfb_raw = {
	.id = RFB_RAW,
	.name = "Raw",
	.open = raw_open,
	.copy = raw_copy,
	.close = raw_close,
	.stateless = true,
	.encode = raw_encode,
};
