/* SPDX-License-Identifier: MIT */
/*
 * What the small viewers on others' libraries have in common: PROGRAM SOCKET ENCODINGS FORMAT. On each "p" from its input it writes
 * a line "WIDTH HEIGHT BYTES", bytes per pixel, and the pixels as they are in memory; at the end of its input it ends.
 */
#ifndef PEER_H
#define PEER_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct peer_format {
	const char *name;
	int bpp, depth, big, rmax, gmax, bmax, rshift, gshift, bshift;
} peer_formats[] = {
	{"32le", 32, 24, 0, 255, 255, 255, 16, 8, 0}, {"32be", 32, 24, 1, 255, 255, 255, 16, 8, 0},
	{"bgr", 32, 24, 0, 255, 255, 255, 0, 8, 16}, {"24high", 32, 24, 0, 255, 255, 255, 24, 16, 8},
	{"565le", 16, 16, 0, 31, 63, 31, 11, 5, 0}, {"555", 16, 15, 0, 31, 31, 31, 10, 5, 0}, {"332", 8, 8, 0, 7, 7, 3, 0, 3, 6},
};

static inline const struct peer_format *peer_format(const char *name)
{
	for (unsigned i = 0; i < sizeof peer_formats / sizeof peer_formats[0]; i++)
		if (!strcmp(name, peer_formats[i].name))
			return &peer_formats[i];
	fprintf(stderr, "no format %s\n", name);
	exit(2);
}

static inline void peer_show(unsigned w, unsigned h, unsigned bytes, const void *px)
{
	printf("%u %u %u\n", w, h, bytes);
	fwrite(px, bytes, (size_t)w * h, stdout);
	fflush(stdout);
}

/* A word from standard input: false at its end. */
static inline bool peer_asked(void)
{
	char c;

	return read(0, &c, 1) == 1;
}

#endif
