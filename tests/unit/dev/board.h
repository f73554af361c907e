/* SPDX-License-Identifier: MIT */
/*
 * A complete board on the false clock, and a guest that makes no sense: accesses of all sizes to ports, device
 * memory and MSRs, with time passing, wires moving and resets in between. What it does is chosen by
 * board_pick: random numbers in garbage.c, the input's bytes in tests/fuzz/board.c.
 */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

enum { BOARD_CPUS = 3 };

extern uint64_t (*board_pick)(uint64_t n); /* below n; any 64 bits when n is 0 */
extern struct board_counts {
	uint64_t interrupts, resets, requests; /* requests: of the virtio device */
} board_counts;

void board_open(void);
void board_close(void);
void board_step(void);
/* Whatever happened: resets, and sees the clock chip interrupt CPU 0 through the IOAPIC. */
void board_check(void);

#endif
