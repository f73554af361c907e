/* SPDX-License-Identifier: MIT */
/* Comparing runs of pixels, four at a time with the compiler's vectors; the top byte of a pixel does not count. */
#ifndef DISPLAY_PIXELS_INT_H
#define DISPLAY_PIXELS_INT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define PIXEL_MASK 0xffffffu

typedef uint32_t pixels4 __attribute__((vector_size(16)));

static inline pixels4 pixels_at(const uint32_t *p)
{
	pixels4 v;

	memcpy(&v, p, sizeof v);
	return v;
}

static inline bool pixels_any(pixels4 v)
{
	uint64_t u[2];

	memcpy(u, &v, sizeof u);
	return (u[0] | u[1]) & (PIXEL_MASK | (uint64_t)PIXEL_MASK << 32);
}

static inline bool pixels_same(const uint32_t *a, const uint32_t *b, uint32_t n)
{
	uint32_t i = 0, rest = 0;

	for (; i + 16 <= n; i += 16)
		if (pixels_any((pixels_at(a + i) ^ pixels_at(b + i)) | (pixels_at(a + i + 4) ^ pixels_at(b + i + 4)) |
				(pixels_at(a + i + 8) ^ pixels_at(b + i + 8)) | (pixels_at(a + i + 12) ^ pixels_at(b + i + 12))))
			return false;
	for (; i < n; i++)
		rest |= a[i] ^ b[i];
	return !(rest & PIXEL_MASK);
}

#endif
