/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { FIRST = 1024 };

void buf_fini(struct buf *b)
{
	size_t max = b->max;

	free(b->p);
	*b = (struct buf){.max = max};
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : FIRST;
	uint8_t *p;

	if (b->failed)
		return NULL;
	if (n > SIZE_MAX / 2 - b->len || (b->max && b->len + n > b->max)) {
		b->failed = true;
		return NULL;
	}
	if (b->len + n <= b->cap)
		return b->p + b->len;
	while (cap < b->len + n)
		cap *= 2;
	p = realloc(b->p, cap);
	if (!p) {
		b->failed = true;
		return NULL;
	}
	b->p = p;
	b->cap = cap;
	return p + b->len;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	uint8_t *to = n ? buf_room(b, n) : NULL;

	if (!to)
		return;
	memcpy(to, p, n);
	b->len += n;
}

void buf_drop(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
}

void buf_u8(struct buf *b, uint8_t v)
{
	buf_put(b, &v, 1);
}

void buf_be16(struct buf *b, uint16_t v)
{
	const uint8_t p[2] = {(uint8_t)(v >> 8), (uint8_t)v};

	buf_put(b, p, sizeof p);
}

void buf_be32(struct buf *b, uint32_t v)
{
	const uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	buf_put(b, p, sizeof p);
}
