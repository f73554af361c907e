/* SPDX-License-Identifier: MIT */
/*
 * Seeds for the decoder: every opcode of every map in every mode, with prefixes in turn and a few
 * ModRM bytes; short files, so that each mutation hits something.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	static const uint8_t prefix[] = {0x90, 0x66, 0xf2, 0xf3, 0xf0, 0x48, 0x67, 0x4f, 0x65};
	static const struct {
		unsigned n;
		uint8_t b[3];
	} head[] = {{0, {0}}, {1, {0x0f}}, {2, {0x0f, 0x38}}, {2, {0x0f, 0x3a}}, {2, {0xc5, 0xf9}}, {2, {0xc5, 0xfe}},
		{3, {0xc4, 0xe2, 0x79}}, {3, {0xc4, 0xe2, 0xfd}}, {3, {0xc4, 0xe3, 0x7d}}, {3, {0xc4, 0xc3, 0x31}}};
	static const uint8_t modrm[] = {0xc1, 0x04, 0x45, 0x8c, 0x05, 0xfe};
	unsigned turn = 0;

	if (argc != 2 || (mkdir(argv[1], 0777) && errno != EEXIST))
		return 1;
	for (unsigned mode = 0; mode < 4; mode++)
	for (unsigned h = 0; h < sizeof(head) / sizeof(head[0]); h++)
	for (unsigned op = 0; op < 256; op += 16) {
		char path[4096];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%u-%u-%02x", argv[1], mode, h, op);
		f = fopen(path, "wb");
		if (!f)
			return 1;
		fputc(mode, f);
		for (unsigned k = op; k < op + 16; k++) {
			fputc(prefix[turn++ % sizeof(prefix)], f);
			fwrite(head[h].b, 1, head[h].n, f);
			fputc(k, f);
			fputc(modrm[turn % sizeof(modrm)], f);
			fwrite("\x24\x80\x7f\x00\xff\x01\x02\x03\x04", 1, turn % 10, f);
		}
		if (fclose(f))
			return 1;
	}
	return 0;
}
