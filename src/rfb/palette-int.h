/* SPDX-License-Identifier: MIT */
/* The colours of a tile, in the order in which they were seen, and how often. Small and short-lived: on the stack. */
#ifndef RFB_PALETTE_INT_H
#define RFB_PALETTE_INT_H

#include <stdint.h>
#include <string.h>

enum { PALETTE_MAX = 127, PALETTE_BITS = 9 };

struct palette {
	unsigned n;
	uint32_t value[PALETTE_MAX];
	uint32_t count[PALETTE_MAX];
	uint8_t slot[1 << PALETTE_BITS]; /* open addressing: an index plus one, 0 free */
};

static inline void palette_clear(struct palette *p)
{
	p->n = 0;
	memset(p->slot, 0, sizeof p->slot);
}

/* n pixels more of one value: its index, or -1: full, and the palette is as it was */
static inline int palette_add(struct palette *p, uint32_t value, uint32_t n)
{
	uint32_t h = value * 0x9e3779b1u >> (32 - PALETTE_BITS);
	unsigned i;

	while (p->slot[h]) {
		i = p->slot[h] - 1u;
		if (p->value[i] == value) {
			p->count[i] += n;
			return (int)i;
		}
		h = (h + 1) & ((1u << PALETTE_BITS) - 1);
	}
	if (p->n == PALETTE_MAX)
		return -1;
	i = p->n++;
	p->slot[h] = (uint8_t)(i + 1);
	p->value[i] = value;
	p->count[i] = n;
	return (int)i;
}

static inline unsigned palette_most(const struct palette *p)
{
	unsigned most = 0;

	for (unsigned i = 1; i < p->n; i++)
		if (p->count[i] > p->count[most])
			most = i;
	return most;
}

#endif
