/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>

#include "base/util.h"
#include "rfb/tight-int.h"

/* Cells of a part are all looked at before anything is sent; so this bounds memory, and how late the first byte is. */
enum { PART_HEIGHT = 1024 };

static struct rfb_encoder *tight_open(void)
{
	return calloc(1, sizeof(struct rfb_encoder));
}

static void tight_close(struct rfb_encoder *enc)
{
	if (!enc)
		return;
	for (unsigned i = 0; i < TIGHT_STREAMS; i++)
		if (enc->stream[i].open)
			deflateEnd(&enc->stream[i].z);
	if (enc->png.open)
		deflateEnd(&enc->png.z);
	if (enc->tj)
		tjDestroy(enc->tj);
	if (enc->jpeg)
		tjFree(enc->jpeg);
	free(enc->raw.p);
	free(enc->packed.p);
	free(enc->cells.p);
	free(enc);
}

static struct rfb_encoder *tight_copy(const struct rfb_encoder *from)
{
	struct rfb_encoder *enc = tight_open();

	if (!enc)
		return NULL;
	for (unsigned i = 0; i < TIGHT_STREAMS; i++) {
		const struct tight_stream *s = &from->stream[i];

		/* zlib's prototype lacks a const; a copy of the struct would not do, as a stream knows its own address */
		if (s->open && deflateCopy(&enc->stream[i].z, (z_stream *)(uintptr_t)&s->z) != Z_OK) {
			tight_close(enc);
			return NULL;
		}
		enc->stream[i].open = s->open;
		enc->stream[i].reset = s->reset;
		enc->stream[i].level = s->level;
	}
	return enc;
}

static void tight_restart(struct rfb_encoder *enc)
{
	for (unsigned i = 0; i < TIGHT_STREAMS; i++)
		enc->stream[i].reset = true;
}

static int tight_encode(struct rfb_encoder *enc, const struct rfb_params *p, const struct surface *s, struct rect r,
	struct buf *out, pixman_region32_t *lossy)
{
	struct tight_job j = {.enc = enc, .p = p, .s = s, .out = out, .lossy = lossy};

	for (uint32_t y = 0; y < r.h; y += PART_HEIGHT)
		for (uint32_t x = 0; x < r.w; x += TIGHT_WIDTH) {
			struct rect part = {r.x + x, r.y + y, (uint32_t)min_u64(r.w - x, TIGHT_WIDTH),
				(uint32_t)min_u64(r.h - y, PART_HEIGHT)};

			if (!out->failed)
				tight_plan(&j, part);
		}
	return out->failed ? -ENOMEM : j.n;
}

const struct rfb_encoder_ops rfb_tight = {.id = RFB_TIGHT, .name = "Tight", .open = tight_open, .copy = tight_copy,
	.close = tight_close, .restart = tight_restart, .encode = tight_encode};
