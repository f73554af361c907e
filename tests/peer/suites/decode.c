// SPDX-License-Identifier: MIT
/*
 * What the compile suite compiles and runs: the decoder over a few hundred thousand instructions of a generator's
 * bytes, whose lengths and operations it prints.
 */
#include <inttypes.h>
#include <stdio.h>

#include "x86/decode.h"

int main(void)
{
	uint64_t x = 88172645463325252u, sum = 0;
	unsigned good = 0, n;

	for (n = 0; n < 100000; n++) {
		struct x86_insn insn;
		uint8_t code[15];

		for (size_t i = 0; i < sizeof(code); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			code[i] = (uint8_t)(x >> 24);
		}
		int len = x86_decode(&insn, X86_MODE64, code, sizeof(code));

		if (len <= 0 || insn.op == X86_OP_UD)
			continue;
		good++;
		sum = sum * 31 + (unsigned)len + ((uint64_t)insn.op << 8);
	}
	printf("%u of %u are instructions: %016" PRIx64 "\n", good, n, sum);
	return 0;
}
