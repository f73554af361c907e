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

/* What differs in 16 pixels, in any order. */
static inline pixels4 pixels16_differ(const uint32_t *a, const uint32_t *b)
{
	return (pixels_at(a) ^ pixels_at(b)) | (pixels_at(a + 4) ^ pixels_at(b + 4)) | (pixels_at(a + 8) ^ pixels_at(b + 8)) |
		(pixels_at(a + 12) ^ pixels_at(b + 12));
}

static inline bool pixels_same(const uint32_t *a, const uint32_t *b, uint32_t n)
{
	uint32_t i = 0, rest = 0;

	for (; i + 16 <= n; i += 16)
		if (pixels_any(pixels16_differ(a + i, b + i)))
			return false;
	for (; i < n; i++)
		rest |= a[i] ^ b[i];
	return !(rest & PIXEL_MASK);
}

/* How many are equal at the beginning, at the end of n. */
static inline uint32_t pixels_same_first(const uint32_t *a, const uint32_t *b, uint32_t n)
{
	uint32_t i = 0;

	while (i + 16 <= n && !pixels_any(pixels16_differ(a + i, b + i)))
		i += 16;
	while (i < n && !((a[i] ^ b[i]) & PIXEL_MASK))
		i++;
	return i;
}

static inline uint32_t pixels_same_last(const uint32_t *a, const uint32_t *b, uint32_t n)
{
	uint32_t i = n;

	while (i >= 16 && !pixels_any(pixels16_differ(a + i - 16, b + i - 16)))
		i -= 16;
	while (i && !((a[i - 1] ^ b[i - 1]) & PIXEL_MASK))
		i--;
	return n - i;
}

#endif
