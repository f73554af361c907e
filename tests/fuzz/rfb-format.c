/* SPDX-License-Identifier: MIT */
/*
 * A client's pixel format: the first 16 bytes are PIXEL_FORMAT, then encoder and level, kind of picture, colours, x, y, w, h. A format that
 * is served is served by every encoder, and what is decoded is what rfb_pixel() says.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../rfb/decode.h"
#include "../unit/rfb_enc/pictures.h"
#include "rfb/encode.h"

enum { W = 100, H = 80, BODY = RFB_FORMAT_LEN, STEP = 7 };
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void rect_of(const struct rfb_encoder_ops *ops, struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s,
	struct rect r, struct rfb_decoder *d)
{
	struct buf out = {0};
	pixman_region32_t lossy;
	size_t at = 0;
	int n;

	pixman_region32_init(&lossy);
	n = ops->encode(enc, p, s, r, &out, &lossy);
	assert(n > 0 && !pixman_region32_not_empty(&lossy));
	while (n--) {
		ssize_t used = rfb_decode_rect(d, out.p + at, out.len - at);

		assert(used > 0);
		at += (size_t)used;
	}
	assert(at == out.len);
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			assert(d->px[y * W + x] == rfb_pixel(&p->format, *surface_row(s, x, y)));
	pixman_region32_fini(&lossy);
	buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct rfb_encoder_ops *const encoders[] = {&rfb_raw, &rfb_rre, &rfb_hextile, &rfb_zlib, &rfb_zrle, &rfb_tight};
	static uint32_t px[W * H];
	struct surface s = {W, H, W * 4, (uint8_t *)px};
	struct rfb_encoder *enc[ARRAY_LEN(encoders)];
	struct rfb_params p = {.quality = -1, .tight = RFB_TIGHT};
	struct rfb_decoder d;
	struct buf again = {0};
	struct rfb_format f;

	if (size < BODY || !rfb_format_get(&p.format, data))
		return 0;
	if (!p.format.true_colour) {
		rfb_colour_map(&p.format, &again);
		buf_clear(&again);
	}
	rfb_format_put(&again, &p.format);
	assert(rfb_format_get(&f, again.p) && rfb_format_same(&f, &p.format));
	buf_fini(&again);
	assert(!rfb_decoder_init(&d, W, H));
	d.format = p.format;
	for (unsigned i = 0; i < ARRAY_LEN(encoders); i++)
		assert((enc[i] = encoders[i]->open()));
	for (unsigned n = 0; n < 16 && size - BODY >= (n + 1) * (size_t)STEP; n++) {
		const uint8_t *q = data + BODY + n * (size_t)STEP;
		unsigned i = q[0] % ARRAY_LEN(encoders);
		struct rect r = {q[3] % W, q[4] % H, 1 + q[5], 1 + q[6]};

		r = rect_clip(r, W, H);
		p.level = (q[0] / (int)ARRAY_LEN(encoders)) % 11 - 1;
		picture_draw(&s, r, q[1] % PICTURES, 1 + q[2], n + q[1]);
		rect_of(encoders[i], enc[i], &p, &s, r, &d);
	}
	for (unsigned i = 0; i < ARRAY_LEN(encoders); i++)
		encoders[i]->close(enc[i]);
	rfb_decoder_fini(&d);
	return 0;
}
