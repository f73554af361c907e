/* SPDX-License-Identifier: MIT */
/*
 * A long run of board.c's senseless guest: nothing may crash, hang, or make the host's timers run wild, and
 * afterwards the board must still work. Arguments: seed, number of steps.
 */
#include <stdlib.h>

#include "board.h"
#include "fake.h"

enum { STEPS = 1500000 };

static uint64_t pick(uint64_t n)
{
	return n ? rnd() % n : rnd();
}

int main(int argc, char **argv)
{
	uint64_t steps = argc > 2 ? strtoull(argv[2], NULL, 0) : STEPS, start = fake_now;

	if (argc > 1)
		rnd_state = strtoull(argv[1], NULL, 0);
	board_pick = pick;
	board_open();
	for (uint64_t i = 0; i < steps; i++)
		board_step();
	/* each device's timer once in 20 us at most, and once for a step that arms it */
	assert(fake_fired < (fake_now - start) / (20 * US) * (BOARD_CPUS + 2) + steps);
	if (steps >= STEPS) /* it did reach something */
		assert(board_counts.interrupts > 1000 && board_counts.resets > 100 && fake_fired > 10000);
	board_check();
	if (steps >= STEPS)
		assert(board_counts.requests > 1000);
	board_close();
	return 0;
}
