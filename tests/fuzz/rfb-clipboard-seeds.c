/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-rfb-clipboard: conversations of each kind of message. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static FILE *out;

static void message(unsigned how, const char *p, size_t n)
{
	assert(fputc((int)how, out) != EOF && fputc((int)(n & 255), out) != EOF && fputc((int)(n >> 8), out) != EOF);
	assert(fwrite(p, 1, n, out) == n);
}
#define MESSAGE(how, s) message(how, s, sizeof s - 1)

static void caps(unsigned size)
{
	char p[8] = {0x1f, 0, 0, 1, 0, 0, (char)(size >> 8), (char)size};

	message(1, p, sizeof p);
}

int main(int argc, char **argv)
{
	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned seed = 0; seed < 16; seed++) {
		char path[4096];

		snprintf(path, sizeof path, "%s/%u", argv[1], seed);
		out = fopen(path, "wb");
		assert(out);
		MESSAGE(0, "classic\r\n\xe4\xff");
		MESSAGE(4, "");
		if (seed & 1)
			caps(seed * 10);
		if (seed & 2)
			MESSAGE(8 | 1, "\2\0\0\1");                /* request */
		if (seed & 4)
			MESSAGE(8 | 1, "\4\0\0\0");                /* peek */
		MESSAGE(1, "\10\0\0\5");                       /* notify */
		MESSAGE(0x12, "\0\0\0\16" "a\r\n\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\r\n");
		if (seed & 8)
			MESSAGE(0x32, "\0\0\0\3" "a\n\0\0\0\0\6{\\rtf}");
		MESSAGE(3, "new\ntext");
		MESSAGE(8 | 1, "\2\0\0\1");
		MESSAGE(1, "\20\0\0\1\x78\x9c\x63\x60\x60\x60\x62\x00\x00\x00\x07\x00\x02");
		assert(!fclose(out));
	}
	return 0;
}
