/* SPDX-License-Identifier: MIT */
/* Tight's JPEG: for what looks like a photograph. */
#include "base/util.h"
#include "rfb/tight-int.h"

enum { CONTROL_JPEG = 0x90 };

/* By the client's quality level. Colour is what eyes miss least, so it is what is thinned out first. */
static const struct {
	uint8_t quality, sampling;
} levels[] = {
	{20, TJSAMP_420}, {32, TJSAMP_420}, {43, TJSAMP_420}, {54, TJSAMP_420}, {65, TJSAMP_420},
	{75, TJSAMP_420}, {84, TJSAMP_420}, {87, TJSAMP_422}, {91, TJSAMP_444}, {97, TJSAMP_444},
};

bool tight_jpeg(struct tight_job *j, struct rect r)
{
	struct rfb_encoder *enc = j->enc;
	unsigned q = (unsigned)j->p->quality < ARRAY_LEN(levels) ? (unsigned)j->p->quality : (unsigned)ARRAY_LEN(levels) - 1;
	unsigned long len = enc->jpeg_cap;

	if (!enc->tj)
		enc->tj = tjInitCompress();
	if (!enc->tj)
		return false;
	/* It grows the buffer as it needs; len says how large it is before, and what is used of it after. */
	if (tjCompress2(enc->tj, (const uint8_t *)surface_row(j->s, r.x, r.y), (int)r.w, (int)j->s->stride, (int)r.h, TJPF_BGRX,
		    &enc->jpeg, &len, levels[q].sampling, levels[q].quality, 0))
		return false;
	if (len > enc->jpeg_cap)
		enc->jpeg_cap = len; /* at least */
	if (len > TIGHT_DATA_MAX)
		return false;
	tight_begin(j, r, CONTROL_JPEG);
	tight_data(j, enc->jpeg, len);
	return true;
}
