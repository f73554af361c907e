/* SPDX-License-Identifier: MIT */
/*
 * The whole board under a guest whose every choice is a byte (or a few) of the input; see
 * tests/unit/dev/board.h. Ends with the input, and the board must work then.
 */
#include "../unit/dev/board.h"
#include "../unit/dev/fake.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static const uint8_t *at, *end;

static uint64_t pick(uint64_t n)
{
	unsigned bytes = n == 0 ? 8 : n <= 0x100 ? 1 : 2;
	uint64_t v = 0;

	while (bytes-- && at < end)
		v = v << 8 | *at++;
	return n ? v % n : v;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	at = p;
	end = p + len;
	fake_now = 1000 * S;
	board_pick = pick;
	board_open();
	while (at < end)
		board_step();
	board_check();
	board_close();
	return 0;
}
