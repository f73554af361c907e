/* SPDX-License-Identifier: MIT */
/*
 * Code run by the host CPU from a given register state, for tests that compare an engine with it.
 * State goes in and comes out through signal frames: a handler replaces its own caller's context by
 * the guest's and returns into it; the next trap brings it back with everything in the frame.
 * One thread; x86-64 Linux only.
 */
#ifndef TESTS_UNIT_VEC_NATIVE_H
#define TESTS_UNIT_VEC_NATIVE_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/state.h"

struct native_exit {
	int trap; /* exception vector (enum x86_exc) */
	uint64_t error, cr2;
};

void native_init(void); /* installs handlers on an alternate stack */
bool native_has_avx(void);

/*
 * Runs from s->rip with GPRs, RFLAGS (arithmetic ones, DF, AC, TF) and the FPU state of s until an
 * exception; s is then what the CPU had. FIP, FDP and FOP are left alone. CS.sel is 0x33 for 64-bit code or
 * 0x23 for 32-bit code; other segments are the caller's.
 */
void native_run(struct x86_state *s, struct native_exit *x);

#endif
