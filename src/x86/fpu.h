/* SPDX-License-Identifier: MIT */
/* FXSAVE and XSAVE images (SDM Vol. 1 10.5, 13.4) to and from struct x86_fpu. Pure. */
#ifndef X86_FPU_H
#define X86_FPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "x86/state.h"

enum { X86_FXSAVE_SIZE = 512, X86_XSAVE_AVX_OFF = 576, X86_XSAVE_SIZE_AVX = 832 };
#define X86_MXCSR_MASK 0x0000ffffu

void x86_fpu_reset(struct x86_fpu *f); /* FNINIT and MXCSR 0x1f80, registers zero */
/* rexw: the 64-bit FIP/FDP form. Writes bytes 0-415, as the CPU does. */
void x86_fpu_fxsave(const struct x86_fpu *f, uint8_t img[X86_FXSAVE_SIZE], bool rexw);
/* 0, or -1 (#GP) when MXCSR has reserved bits; nothing is changed then. */
int x86_fpu_fxrstor(struct x86_fpu *f, const uint8_t img[X86_FXSAVE_SIZE], bool rexw);

/*
 * XSAVE family, standard or compacted (compact: XSAVEC) form, components x87, SSE, AVX limited to
 * mask (= requested & XCR0). img is at least X86_XSAVE_SIZE_AVX bytes and holds the memory's old
 * contents where the instruction leaves them; the result is to be written back whole for the
 * standard form. opt: XSAVEOPT and XSAVEC may skip components in init state (XINUSE).
 */
void x86_fpu_xsave(const struct x86_fpu *f, uint8_t *img, uint64_t mask, bool rexw, bool compact, bool opt);
/* 0, or -1 (#GP): bad header, reserved MXCSR bits, XCOMP_BV wrong; nothing is changed then. */
int x86_fpu_xrstor(struct x86_fpu *f, const uint8_t *img, uint64_t mask, uint64_t xcr0, bool rexw);
/* Which components are not in their initial state. */
uint64_t x86_fpu_xinuse(const struct x86_fpu *f);

#endif
