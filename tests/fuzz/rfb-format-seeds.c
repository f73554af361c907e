/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-rfb-format: each format of the unit tests with each encoder, and the map. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <sys/stat.h>

#include "../unit/rfb_enc/pictures.h"

int main(int argc, char **argv)
{
	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned i = 0; i <= test_nformats; i++) {
		struct rfb_format f = {.bpp = 8, .depth = 8};
		struct buf b = {0};
		char path[4096];
		FILE *out;

		rfb_format_put(&b, i < test_nformats ? &test_formats[i].format : &f);
		for (unsigned n = 0; n < 16; n++) {
			buf_u8(&b, (uint8_t)(n % 6 + 6 * ((i + n) % 11)));
			buf_u8(&b, (uint8_t)(n + i));
			buf_u8(&b, (uint8_t)(n * n));
			buf_be16(&b, (uint16_t)(n * 1234));
			buf_be16(&b, (uint16_t)(n & 1 ? 0xffff : n * 321 + 7));
		}
		snprintf(path, sizeof path, "%s/%u", argv[1], i);
		out = fopen(path, "wb");
		assert(out && fwrite(b.p, 1, b.len, out) == b.len && !fclose(out));
		buf_fini(&b);
	}
	return 0;
}
