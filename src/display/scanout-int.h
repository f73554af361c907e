/* SPDX-License-Identifier: MIT */
/* What lies in a scanout's memfd: this header, from SCANOUT_HEADER on the pixels, rows without gaps. */
#ifndef DISPLAY_SCANOUT_INT_H
#define DISPLAY_SCANOUT_INT_H

#include <stdint.h>

#include "display/scanout.h"

#define SCANOUT_MAGIC  UINT64_C(0x74756f6e61637368) /* "hscanout" */
#define SCANOUT_HEADER (64 * KIB)
#define SCANOUT_SIZE   (SCANOUT_HEADER + SCANOUT_PIXELS_MAX)
enum { SCANOUT_VERSION = 1 };

struct scanout_header {
	uint64_t magic;
	uint32_t version;
	_Atomic uint32_t commits; /* futex */
	/* A seq is odd while what follows it is being changed. */
	_Atomic uint32_t mode_seq, generation, w, h; /* w 0: off */
	_Atomic uint32_t cursor_seq, cursor_generation, cursor_w, cursor_h, cursor_hot_x, cursor_hot_y;
	_Atomic uint64_t cursor_at; /* x in the low half, y in the high one: never a place half old */
	_Atomic uint64_t head;      /* entries ever written to the ring */
	_Atomic uint64_t ring[SCANOUT_RING]; /* x, y, w, h of 16 bits, so that one store writes an entry */
	_Atomic uint32_t cursor_px[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];
};
_Static_assert(sizeof(struct scanout_header) <= SCANOUT_HEADER, "header");
_Static_assert(SCANOUT_SIDE_MAX <= UINT16_MAX, "an entry of the ring");

#endif
