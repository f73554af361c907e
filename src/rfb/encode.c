/* SPDX-License-Identifier: MIT */
#include "base/util.h"
#include "rfb/encode.h"

static const struct rfb_encoder_ops *const encoders[] = {&rfb_raw, &rfb_rre, &rfb_hextile, &rfb_zlib, &rfb_tight, &rfb_zrle};

const struct rfb_encoder_ops *rfb_encoder_find(int32_t id)
{
	if (id == RFB_TIGHT_PNG)
		id = RFB_TIGHT;
	for (unsigned i = 0; i < ARRAY_LEN(encoders); i++)
		if (encoders[i]->id == id)
			return encoders[i];
	return NULL;
}

void rfb_rect_header(struct buf *out, struct rect r, int32_t encoding)
{
	buf_be16(out, (uint16_t)r.x);
	buf_be16(out, (uint16_t)r.y);
	buf_be16(out, (uint16_t)r.w);
	buf_be16(out, (uint16_t)r.h);
	buf_be32(out, (uint32_t)encoding);
}
