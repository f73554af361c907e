/* SPDX-License-Identifier: MIT */
#ifndef TEST_BOOT_H
#define TEST_BOOT_H

#undef NDEBUG
#include <assert.h>

#include "vm/boot-int.h"

/* Gives first, then second, then numbers nobody looks at: the two KASLR choices. */
struct forced {
	uint64_t v[2];
	unsigned n;
};
uint64_t forced_get(void *arg);

void check_entry_64(const struct mem *m, const struct x86_state *s);
void check_params(const struct mem *m, const struct boot_config *c);
unsigned test_real_kernels(void); /* how many kernels there were */

#endif
