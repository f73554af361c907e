/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-rfb-decode: what our encoders make of small pictures, and records for it to compress itself. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "../unit/rfb_enc/pictures.h"
#include "rfb/encode.h"

static const char *folder;
static unsigned number;

static void save(const struct buf *b)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%u", folder, number++);
	f = fopen(path, "wb");
	assert(f && fwrite(b->p, 1, b->len, f) == b->len && !fclose(f));
}

/* Of the formats as the target numbers them */
static const struct rfb_format formats[] = {
	{32, 24, false, true, 255, 255, 255, 16, 8, 0},
	{8, 8, false, true, 7, 7, 3, 0, 3, 6},
	{16, 16, false, true, 31, 63, 31, 11, 5, 0},
};

static void session(const struct rfb_encoder_ops *ops, unsigned format, int quality, bool png)
{
	struct rfb_params p = {.format = formats[format], .level = 1, .quality = quality, .tight = png ? RFB_TIGHT_PNG : RFB_TIGHT, .png = png};
	static uint32_t px[200 * 100];
	struct surface s = {200, 100, 800, (uint8_t *)px};
	struct rfb_encoder *enc = ops->open();
	struct buf b = {0};
	pixman_region32_t lossy;

	pixman_region32_init(&lossy);
	buf_u8(&b, (uint8_t)(format << 3 | (png ? 2 : 0)));
	for (unsigned i = 0; i < PICTURES; i++) {
		struct rect r = {i * 3, i, 20 + i * 9, 17 + i * 2};
		size_t at = b.len + 3;
		int n;

		picture_draw(&s, r, i, i + 2, i);
		buf_be32(&b, 0);
		n = ops->encode(enc, &p, &s, r, &b, &lossy);
		assert(n > 0 && n < 256);
		b.p[at] = (uint8_t)n;
	}
	save(&b);
	buf_fini(&b);
	pixman_region32_fini(&lossy);
	ops->close(enc);
}

static void record(struct buf *b, unsigned kind, const char *place, const void *p, unsigned n)
{
	buf_u8(b, (uint8_t)kind);
	buf_put(b, place, 4);
	buf_be16(b, (uint16_t)n);
	buf_put(b, p, n);
}

static void records(void)
{
	static const uint8_t indices[9] = {6, 0x50, 1, 1, 0, 7, 0xaa, 0x55, 0xff}, gradient[30] = {3, 0x60, 2};
	struct buf b = {0};

	buf_u8(&b, 4 | 1 << 3);
	record(&b, 0, "\0\0\2\2", "\1\2\3\4", 4);
	record(&b, 1, "\20\20\10\10", "\0\1\0\1", 4);
	record(&b, 2, "\1\1\10\10", "\0\0\0\1\5\7\0\1\0\1\0\2\0\2", 14);
	record(&b, 3, "\0\0\21\20", "\6\5\7\10\1\0\0", 7);
	record(&b, 3, "\0\0\20\20", "\16\5\7\1\0\0", 6);
	record(&b, 3, "\0\0\20\20", "\32\5\2\7\0\0\6\21\21", 9);
	record(&b, 4, "\0\0\3\2", "\1\2\3\4\5\6", 6);
	record(&b, 5, "\0\0\101\2", "\1\5\0\1\2", 5);
	record(&b, 5, "\0\0\12\2", "\3\1\2\3\32\100\20\1\2\3", 10);
	record(&b, 5, "\0\0\12\2", "\200\1\7\2\13", 5);
	record(&b, 5, "\0\0\12\2", "\202\1\2\0\1\201\21", 7);
	record(&b, 128 | 6, "\0\0\20\20", indices, sizeof indices);
	record(&b, 128 | 6, "\0\0\5\5", gradient, sizeof gradient);
	record(&b, 6, "\0\0\20\20", "\200\5", 2);
	record(&b, 8, "\1\0\2\2", "\1\2\3\4\200\100", 6);
	record(&b, 9, "\0\1\3\2", "\1\2\3\4\5\6\100\40\340\300", 10);
	record(&b, 10, "\0\0\1\1", "\0\0\0\0\1\2\3\3", 8);
	record(&b, 13, "\0\0\0\0", "\0\0\0\3abc", 7);
	record(&b, 14, "\0\0\0\0", "\5", 1);
	save(&b);
	b.p[0] |= 1;
	save(&b);
	buf_clear(&b);
	buf_u8(&b, 4 | 1 << 3);
	record(&b, 11, "\0\0\100\100", "", 0);
	record(&b, 12, "\0\0\100\100", "\1\0\0\0\0\0\0\1\0\0\0\0\0\100\0\100\0\0\0\0", 20);
	save(&b);
	buf_fini(&b);
}

int main(int argc, char **argv)
{
	static const struct rfb_encoder_ops *const encoders[] = {&rfb_raw, &rfb_rre, &rfb_hextile, &rfb_zlib, &rfb_zrle, &rfb_tight};

	assert(argc == 2);
	folder = argv[1];
	mkdir(folder, 0777);
	for (unsigned i = 0; i < ARRAY_LEN(encoders); i++)
		for (unsigned f = 0; f < ARRAY_LEN(formats); f++)
			session(encoders[i], f, -1, false);
	session(&rfb_tight, 0, 5, false);
	session(&rfb_tight, 0, -1, true);
	records();
	return 0;
}
