/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "display/refine.h"

struct mover {
	int none;
};

struct mover *mover_new(void)
{
	return calloc(1, sizeof(struct mover));
}

void mover_free(struct mover *m)
{
	free(m);
}

unsigned mover_find(struct mover *m, const struct surface *cur, const struct surface *old, const pixman_region32_t *changed,
	struct move *out, unsigned max)
{
	(void)m;
	(void)cur;
	(void)old;
	(void)changed;
	(void)out;
	(void)max;
	return 0;
}

void move_apply(struct surface *old, const struct move *m)
{
	for (uint32_t i = 0; i < m->dst.h; i++) {
		uint32_t y = m->dst.y + (m->dy > 0 ? m->dst.h - 1 - i : i); /* not over what is still to be read */

		memmove(surface_row(old, m->dst.x, y),
			surface_row(old, (uint32_t)((int32_t)m->dst.x - m->dx), (uint32_t)((int32_t)y - m->dy)), 4ull * m->dst.w);
	}
}
