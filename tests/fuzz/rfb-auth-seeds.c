/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-rfb-auth: good handshakes, as far as they can be written down, of each configuration and version. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const versions[] = {"RFB 003.003\n", "RFB 003.007\n", "RFB 003.008\n", "RFB 003.889\n", "RFB 004.001\n"};
static const struct {
	unsigned config;
	const char *p;
	size_t n;
} rest[] = {
#define REST(config, s) {config, s, sizeof s - 1}
	REST(0, "\1\1"), REST(1, "\2" "0123456789abcdef"), REST(2, "\1\1"), REST(2, "\x13\0\2\0\0\1\1\1"),
	REST(3, "\x13\0\2\0\0\1\4\1"), REST(4, "\x13\0\2\0\0\1\5" "0123456789abcdef"),
	REST(4, "\x13\0\2\0\0\1\6\0\0\0\3\0\0\0\xc" "joelongpassword\1"), REST(5, "\2" "0123456789abcdef"),
	REST(5, "\x13\0\2\0\0\1\3\0\0\0\0\0\0\0\x8" "secret12\1"), REST(6, "\x13\0\2\0\0\1\6\0\0\0\3\0\0\0\xc" "joelongpassword"),
	REST(7, "\x13\0\2\0\0\1\3\0\0\0\1\0\0\0\1" "xp"),
};

int main(int argc, char **argv)
{
	unsigned n = 0;

	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned v = 0; v < sizeof versions / sizeof *versions; v++)
		for (unsigned r = 0; r < sizeof rest / sizeof *rest; r++)
			for (unsigned chunk = 0; chunk < 3; chunk++) {
				char path[4096];
				FILE *f;

				snprintf(path, sizeof path, "%s/%u", argv[1], n++);
				f = fopen(path, "wb");
				assert(f && fputc((int)(rest[r].config | chunk << 5), f) != EOF);
				assert(fwrite(versions[v], 1, 12, f) == 12);
				/* 3.3 has no choice */
				assert(fwrite(rest[r].p + !v, 1, rest[r].n - !v, f) == rest[r].n - !v);
				assert(!fclose(f));
			}
	return 0;
}
