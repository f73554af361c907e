/* SPDX-License-Identifier: MIT */
/* Random numbers and random CPU state for tests that compare with the host CPU. */
#ifndef TESTS_UNIT_VEC_RANDOM_H
#define TESTS_UNIT_VEC_RANDOM_H

#include <stdint.h>

#include "x86/state.h"

void rnd_seed(uint64_t seed);
uint64_t rnd(void);
unsigned rnd_below(unsigned n);

void rnd_lanes(uint8_t *p, unsigned n); /* n bytes, a multiple of 8: integers, floats or doubles */
void rnd_f80(uint8_t *p); /* 16 bytes, the last six zero */
/* FPU state: now and then with exceptions unmasked, seldom with one pending */
void rnd_fpu(struct x86_fpu *f, bool avx);

#endif
