/* SPDX-License-Identifier: MIT */
/*
 * A recorded screen: the server's side of RFB after ServerInit, Raw rectangles of 32-bit little-endian pixels only. The
 * first update is one rectangle, all of the screen. DesktopSize makes it another size, black, which pixels in the same update follow.
 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SESSION_RECTS = 4096, SESSION_FIRST = 16 /* bytes in front of the first pixels */ };
#define SESSION_SIZE 0xffffff21u /* DesktopSize */

struct session_rect {
	unsigned x, y, w, h;
	const uint8_t *px; /* w * h * 4 bytes */
};

struct session {
	const uint8_t *p;
	size_t len, at;
	unsigned w, h;
	struct session_rect rect[SESSION_RECTS];
};

static inline unsigned session_be16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static inline void session_open(struct session *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) || st.st_size < SESSION_FIRST) {
		perror(path);
		exit(1);
	}
	s->len = (size_t)st.st_size;
	s->p = mmap(NULL, s->len, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	close(fd);
	if (s->p == MAP_FAILED || session_be16(s->p + 2) != 1) {
		fprintf(stderr, "%s: not a session\n", path);
		exit(1);
	}
	s->w = session_be16(s->p + 8);
	s->h = session_be16(s->p + 10);
}

/* The next update's rectangles; how many, 0 at the end. Before them w and h may change. */
static inline unsigned session_next(struct session *s)
{
	unsigned n, at = 0;

	if (s->at + 4 > s->len)
		return 0;
	n = session_be16(s->p + s->at + 2);
	s->at += 4;
	for (unsigned i = 0; i < n; i++) {
		const uint8_t *p = s->p + s->at;
		struct session_rect r;

		if (i == SESSION_RECTS || s->at + 12 > s->len)
			return 0;
		r = (struct session_rect){session_be16(p), session_be16(p + 2), session_be16(p + 4), session_be16(p + 6), p + 12};
		s->at += 12;
		if (session_be16(p + 8) == SESSION_SIZE >> 16 && session_be16(p + 10) == (SESSION_SIZE & 0xffff)) {
			s->w = r.w;
			s->h = r.h;
			continue;
		}
		s->at += (size_t)r.w * r.h * 4;
		if (s->at > s->len || r.x + r.w > s->w || r.y + r.h > s->h)
			return 0;
		s->rect[at++] = r;
	}
	return at;
}

/* Copies one into a picture of stride bytes. */
static inline void session_draw(const struct session_rect *r, uint8_t *px, size_t stride)
{
	for (unsigned y = 0; y < r->h; y++)
		memcpy(px + (r->y + y) * stride + r->x * 4, r->px + (size_t)y * r->w * 4, (size_t)r->w * 4);
}

#endif
