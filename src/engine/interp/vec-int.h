/* SPDX-License-Identifier: MIT */
/* What vec.c, vec_elements.c and their test share. */
#ifndef ENGINE_INTERP_VEC_INT_H
#define ENGINE_INTERP_VEC_INT_H

#include <stddef.h>

#include "engine/interp/vec.h"

/* As vec_new() with an arena of the given size; the test makes it too small on purpose. */
int vec_new_sized(struct vec **v, size_t arena, struct err *e);

/* The transition to MMX state (SDM Vol. 1, 9.5.1): TOP becomes 0, so ST(i) is MMi; all tags valid. */
void vec_mmx_enter(struct x86_fpu *f);
/* Where register MMn is kept. */
uint8_t *vec_mmx_reg(struct x86_fpu *f, unsigned n);

#endif
