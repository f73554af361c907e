/* SPDX-License-Identifier: MIT */
/*
 * Bytes and milliseconds of encoders: rfb-enc-bench [-e encoder] [-l level] [-q quality] [-b bits] [-c] SESSION...
 * A session is what mkrfb writes: FramebufferUpdates with Raw rectangles of 32 bits, the first one the whole picture. It is
 * encoded, too, but not counted. -c: decode what was encoded, and compare. Not a test.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "../../rfb/decode.h"
#include "rfb/encode.h"

struct result {
	uint64_t bytes, ns, rects;
	unsigned updates;
};

static struct rfb_params params = {.level = -1, .quality = -1, .tight = RFB_TIGHT};
static bool check;

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint8_t *load(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p;

	if (!f || fseek(f, 0, SEEK_END)) {
		perror(path);
		exit(1);
	}
	*n = (size_t)ftell(f);
	rewind(f);
	p = malloc(*n + 1);
	if (!p || fread(p, 1, *n, f) != *n)
		exit(1);
	fclose(f);
	return p;
}

static void compare(const struct rfb_decoder *source, struct rfb_decoder *viewer, const struct buf *out, int rects)
{
	size_t at = 0;

	for (int i = 0; i < rects; i++) {
		ssize_t used = rfb_decode_rect(viewer, out->p + at, out->len - at);

		if (used <= 0) {
			printf("not decodable: %s\n", used ? viewer->why : "too short");
			exit(1);
		}
		at += (size_t)used;
	}
	for (size_t i = 0; i < (size_t)source->w * source->h && params.quality < 0; i++)
		if (viewer->px[i] != rfb_pixel(&params.format, source->px[i])) {
			printf("another pixel\n");
			exit(1);
		}
}

static struct result run(const struct rfb_encoder_ops *ops, const uint8_t *p, size_t n)
{
	struct rfb_decoder source, viewer;
	struct rfb_encoder *enc = ops->open();
	struct result res = {0};
	struct buf out = {0};
	pixman_region32_t lossy;
	bool first = true;

	/* the size is that of the first rectangle */
	if (n < 16 || rfb_decoder_init(&source, (uint32_t)(p[8] << 8 | p[9]), (uint32_t)(p[10] << 8 | p[11])) || !enc ||
	    rfb_decoder_init(&viewer, source.w, source.h))
		exit(1);
	viewer.format = params.format;
	viewer.tight_png = params.png;
	pixman_region32_init(&lossy);
	source.lax = true;
	for (size_t at = 0; at + 4 <= n; first = false) {
		unsigned left = (unsigned)(p[at + 2] << 8 | p[at + 3]);

		for (at += 4; left; left--) {
			struct surface s = {source.w, source.h, source.w * 4, (uint8_t *)source.px};
			ssize_t used = rfb_decode_rect(&source, p + at, n - at);
			uint64_t t;
			int rects;

			if (used <= 0) {
				printf("%s\n", used < 0 ? source.why : "the session ends within an update");
				exit(1);
			}
			at += (size_t)used;
			buf_clear(&out);
			t = cpu_ns();
			rects = ops->encode(enc, &params, &s, source.rect, &out, &lossy);
			t = cpu_ns() - t;
			if (rects < 0)
				exit(1);
			if (check)
				compare(&source, &viewer, &out, rects);
			if (first)
				continue;
			res.bytes += out.len;
			res.ns += t;
			res.rects += (unsigned)rects;
		}
		res.updates += !first;
	}
	pixman_region32_fini(&lossy);
	buf_fini(&out);
	ops->close(enc);
	rfb_decoder_fini(&source);
	rfb_decoder_fini(&viewer);
	return res;
}

int main(int argc, char **argv)
{
	static const struct rfb_encoder_ops *const all[] = {&rfb_raw, &rfb_rre, &rfb_hextile, &rfb_zlib, &rfb_zrle, &rfb_tight};
	const char *only = NULL;
	int c;

	params.format = rfb_format_native;
	while ((c = getopt(argc, argv, "e:l:q:b:c")) != -1) {
		if (c == 'e')
			only = optarg;
		else if (c == 'l')
			params.level = atoi(optarg);
		else if (c == 'q')
			params.quality = atoi(optarg);
		else if (c == 'b' && atoi(optarg) == 16)
			params.format = (struct rfb_format){16, 16, false, true, 31, 63, 31, 11, 5, 0};
		else if (c == 'b' && atoi(optarg) == 8)
			params.format = (struct rfb_format){8, 8, false, true, 7, 7, 3, 0, 3, 6};
		else if (c == 'c')
			check = true;
		else if (c != 'b')
			return 1;
	}
	for (; optind < argc; optind++) {
		size_t n;
		uint8_t *p = load(argv[optind], &n);

		for (unsigned i = 0; i < ARRAY_LEN(all); i++) {
			struct result r;

			if (only && strcasecmp(only, all[i]->name) != 0)
				continue;
			r = run(all[i], p, n);
			if (r.updates)
				printf("%-28s %-8s %9.0f bytes %8.2f ms %6.1f rectangles\n", argv[optind], all[i]->name,
					(double)r.bytes / r.updates, (double)r.ns / r.updates / 1e6, (double)r.rects / r.updates);
		}
		free(p);
	}
	return 0;
}
