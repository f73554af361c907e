/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-rfb-conn: what viewers say, whole and in small pieces, with a screen that changes meanwhile. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HELLO "RFB 003.008\n\1\1"
#define ALL_EXTENSIONS                                                                                               \
	"\0\0\0\1\xff\xff\xff\x21\xff\xff\xfe\xcc\xff\xff\xfe\xcd\xff\xff\xfe\xc6\xff\xff\xff\x11\xff\xff\xfe\xff"          \
	"\xff\xff\xfe\xfe\xff\xff\xfe\xfb\xff\xff\xfe\xc8\xff\xff\xfe\xc7\xff\xff\xfe\xc4\xc0\xa1\xe5\xce"
#define REQUEST "\3\1\0\0\0\0\0\100\0\60"
#define REQUEST_ALL "\3\0\0\0\0\0\0\100\0\60"
#define CONTINUOUS "\226\1\0\0\0\0\0\100\0\60"
#define FENCE(flags) "\370\0\0\0\200\0\0" flags "\4abcd"
#define FENCE_BACK(n) "\370\0\0\0\0\0\0\0\4\0\0\0" n
#define KEYS "\4\1\0\0\0\0\0a\4\0\0\0\0\0\0a\377\0\0\1\0\0\0a\0\0\0\36\4\1\0\0\0\0\0A"
#define POINTER "\5\1\0\12\0\12\5\22\0\12\0\12\5\200\0\1\0\1\3\5\0\177\377\200\0"
#define CUT "\6\0\0\0\0\0\0\5hello\6\0\0\0\0\20\0\1xxxxxxxx"
#define CUT_EXT "\6\0\0\0\377\377\377\374\2\0\0\1\6\0\0\0\377\377\377\374\10\0\0\1"
#define SIZE "\373\0\0\102\0\40\1\0\0\0\0\0\0\0\0\0\0\102\0\40\0\0\0\0"
#define FORMAT "\0\0\0\0\20\20\0\1\0\37\0\77\0\37\13\5\0\0\0\0"
#define MAP "\0\0\0\0\10\10\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define OTHER "\372\0\1\2\377\1\0\0\377\1\0\2\3\2\0\0\254\104"

static const struct talk {
	const char *p;
	size_t n;
} talks[] = {
#define TALK(s) {s, sizeof s - 1}
	TALK("\2\0\0\2\0\0\0\0\0\0\0\1" REQUEST_ALL REQUEST REQUEST KEYS POINTER),
	TALK("\2\0\0\20\0\0\0\7\xff\xff\xff\xe6\xff\xff\xff\x01" ALL_EXTENSIONS CONTINUOUS FENCE("\0") FENCE("\7") FORMAT FENCE_BACK("\0")
		FENCE_BACK("\1") KEYS POINTER SIZE CUT_EXT OTHER),
	TALK("\2\0\0\16\0\0\0\20" ALL_EXTENSIONS REQUEST_ALL FENCE("\4") MAP REQUEST SIZE REQUEST CUT),
	TALK("\2\0\0\1\0\0\0\5" FORMAT REQUEST_ALL MAP REQUEST_ALL CUT), TALK("\2\0\0\1\0\0\0\2" REQUEST_ALL REQUEST OTHER),
	TALK("\2\0\0\1\0\0\0\6" REQUEST_ALL REQUEST), TALK("\2\0\0\2\377\377\376\374\0\0\0\1" REQUEST_ALL REQUEST CUT),
};

int main(int argc, char **argv)
{
	static const unsigned char around[] = {0x03, 0x64, 0x70, 0x32, 0x64, 0x04, 0x48, 0x13, 0x65, 0x2c, 0x05, 0x5a, 0x69, 0x06, 0x64, 0x14,
		0x37, 0x64, 0x20, 0x01};
	unsigned n = 0;

	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned t = 0; t < sizeof talks / sizeof *talks; t++)
		for (unsigned way = 0; way < 6; way++) {
			size_t piece = way % 3 == 0 ? 128 : way % 3 == 1 ? 17 : 5, at = 0, step = 0;
			char path[4096], text[1024];
			size_t len = 0;
			FILE *f;

			snprintf(path, sizeof path, "%s/%u", argv[1], n++);
			f = fopen(path, "wb");
			assert(f);
			fputc(way == 3 ? 1 : way == 4 ? 8 : way == 5 ? 2 : 0, f);
			if (way == 3) {
				memcpy(text, HELLO, sizeof HELLO - 1);
				len = sizeof HELLO - 1;
			}
			memcpy(text + len, talks[t].p, talks[t].n);
			len += talks[t].n;
			while (at < len) {
				size_t k = piece < len - at ? piece : len - at;

				fputc((int)(0x80 | (k - 1)), f);
				assert(fwrite(text + at, 1, k, f) == k);
				at += k;
				fputc(around[step++ % sizeof around], f);
			}
			assert(fwrite(around, 1, sizeof around, f) == sizeof around);
			assert(!fclose(f));
		}
	return 0;
}
