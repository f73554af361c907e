/* SPDX-License-Identifier: MIT */
#include "display/rects-int.h"

static uint64_t area(struct rect r)
{
	return (uint64_t)r.w * r.h;
}

static struct rect around(struct rect a, struct rect b)
{
	uint32_t x = (uint32_t)min_u64(a.x, b.x), y = (uint32_t)min_u64(a.y, b.y);

	return (struct rect){x, y, (uint32_t)max_u64(a.x + a.w, b.x + b.w) - x, (uint32_t)max_u64(a.y + a.h, b.y + b.h) - y};
}

/* Do both together fill what is around them? */
static bool joins(struct rect a, struct rect b)
{
	struct rect u = around(a, b);

	if (area(u) == area(a) || area(u) == area(b)) /* one holds the other */
		return true;
	return (a.x == b.x && a.w == b.w && u.h <= (uint64_t)a.h + b.h) || (a.y == b.y && a.h == b.h && u.w <= (uint64_t)a.w + b.w);
}

unsigned rects_add(struct rect *r, unsigned n, unsigned max, struct rect add)
{
	uint64_t least = UINT64_MAX;
	unsigned best = 0;

	if (rect_empty(add))
		return n;
	for (unsigned i = n; i--;) {
		uint64_t more;

		if (joins(r[i], add)) {
			r[i] = around(r[i], add);
			return n;
		}
		more = area(around(r[i], add)) - area(r[i]);
		if (more <= least) {
			least = more;
			best = i;
		}
	}
	if (n < max) {
		r[n] = add;
		return n + 1;
	}
	r[best] = around(r[best], add);
	return n;
}
