/* SPDX-License-Identifier: MIT */
/* Seeds for the board: noise of several lengths, since every byte is a choice that means something. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	uint64_t x = 88172645463325252u; /* xorshift64 */

	if (argc != 2 || (mkdir(argv[1], 0777) && errno != EEXIST))
		return 1;
	for (unsigned len = 64; len <= 16384; len *= 2) {
		char path[4096];
		FILE *f;

		snprintf(path, sizeof path, "%s/%u", argv[1], len);
		f = fopen(path, "wb");
		if (!f)
			return 1;
		for (unsigned i = 0; i < len; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			fputc((int)(x >> 32 & 0xff), f);
		}
		if (fclose(f))
			return 1;
	}
	return 0;
}
