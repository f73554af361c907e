/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-vhost-serve: front-ends that do it right, and change what can be changed meanwhile. */
#undef NDEBUG
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

static FILE *out;

/* Steps: pairs of which message (see good_message()) and how it varies; -1 ends */
static void say(int which, ...)
{
	va_list ap;

	va_start(ap, which);
	for (; which >= 0; which = va_arg(ap, int)) {
		fputc(0x40 + which, out);
		fputc(va_arg(ap, int), out);
	}
	va_end(ap);
}

static void ring(unsigned q, unsigned addr, unsigned features)
{
	say(3, 12 | q, 4, q, 5, addr | q, 7, q, 8, q, 6, q, -1);
	if (!(features & 16))
		say(9, 4 | q, -1);
}

static void requests(unsigned q, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		fputc(0xc0 | q, out);
		fputc((int)(i * 37 % 256), out);
		fputc((int)(i * 91 % 256), out);
	}
}

static void file(const char *dir, unsigned n)
{
	char path[4096];

	if (out)
		assert(!fclose(out));
	snprintf(path, sizeof path, "%s/%02u", dir, n);
	out = fopen(path, "wb");
	assert(out);
}

int main(int argc, char **argv)
{
	/* features: EVENT_IDX, LOG_ALL, without PROTOCOL_FEATURES */
	static const unsigned features[] = {0, 4, 8, 12, 16, 28};
	unsigned n = 0;

	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned i = 0; i < sizeof features / sizeof *features; i++) {
		unsigned f = features[i];

		/* plain */
		file(argv[1], n++);
		say(1, 0, 0, (int)f, 2, 0, 16, 0xd2, -1);
		ring(0, 8, f);
		ring(1, 8, f);
		requests(0, 20);
		requests(1, 5);
		say(10, 0, 10, 1, 18, 0, -1);
		/* in flight, log, configuration, all while it runs */
		file(argv[1], n++);
		say(1, 0, 0, (int)f, 2, 0, 15, 4, 14, 8, -1);
		ring(0, 4, f);
		requests(0, 6);
		say(11, 4, 0, (int)(f ^ 8), -1);
		requests(0, 6);
		say(14, 8, 2, 0, 5, 12, 7, 4, 7, 0, 16, 0x20, -1);
		requests(0, 6);
		say(19, 0, 19, 2, 17, 6, 17, 4, -1);
		requests(0, 6);
		say(6, 0, 9, 0, 9, 4, -1);
		requests(0, 40);
		say(10, 0, -1);
		/* translated code */
		file(argv[1], n++);
		say(1, 0, 0, (int)f, 2, 0, 12, 4, 13, 0, -1);
		ring(0, 8, f);
		fputc(0xfe, out); /* around the middle of RAM, where answers are written */
		fputc(0x78, out);
		fputc(1, out);
		requests(0, 30);
		say(12, 4, 12, 0, -1);
		requests(0, 3);
		/* the ring crosses from one region into the other; then again from the start */
		file(argv[1], n++);
		say(1, 0, 0, (int)f, 2, 0, -1);
		ring(0, 16 | 0x40, f);
		requests(0, 3);
		say(10, 0, 18, 2, -1);
		ring(0, 8, f);
		requests(0, 3);
		/* half a message */
		fputc(0xff, out);
		fputc(5, out);
		fputc(1, out);
		fputc(72, out);
		fputc((int)(2 * i), out);
	}
	assert(!fclose(out));
	return 0;
}
