/* SPDX-License-Identifier: MIT */
/* Guest memory: layout, bounds, copies over the hole, lazy filling. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "mem/mem.h"

static void small(void)
{
	char buf[8] = "1234567";
	struct mem m;
	struct err e;

	assert(!mem_init(&m, 2 * MIB, &e));
	assert(mem_size(&m) == 2 * MIB && mem_low_end(&m) == 2 * MIB && m.nregions == 1);
	assert(mem_at(&m, 0, 2 * MIB) && !mem_at(&m, 0, 2 * MIB + 1) && !mem_at(&m, 2 * MIB, 1));
	assert(!mem_at(&m, UINT64_MAX, 2) && !mem_at(&m, UINT64_MAX - 5, UINT64_MAX) && !mem_at(&m, 1, UINT64_MAX));
	assert(!mem_put(&m, 2 * MIB - 8, buf, 8) && mem_put(&m, 2 * MIB - 7, buf, 8) == -EFAULT);
	memset(buf, 0, sizeof buf);
	assert(!mem_get(&m, 2 * MIB - 8, buf, 8) && !strcmp(buf, "1234567"));
	assert(mem_get(&m, UINT64_MAX - 3, buf, 8) == -EFAULT && !strcmp(buf, "1234567"));
	assert(!mem_zero(&m, 2 * MIB - 4, 4) && !mem_get(&m, 2 * MIB - 8, buf, 8));
	assert(!memcmp(buf, "1234\0\0\0\0", 8));
	assert(mem_zero(&m, MIB, MIB + 1) == -EFAULT && mem_zero(&m, MIB, UINT64_MAX) == -EFAULT);
	assert(mem_page(&m, 0xfff) == 0 && mem_page(&m, 0x1000) == 1 && mem_page(&m, 2 * MIB) == UINT64_MAX);
	mem_fini(&m);
	mem_fini(&m);
}

static void with_hole(void)
{
	uint8_t buf[16];
	struct mem m;
	struct err e;
	struct stat st;

	assert(!mem_init(&m, 5 * GIB, &e));
	assert(m.nregions == 2 && mem_low_end(&m) == MEM_LOW_MAX && mem_size(&m) == 5 * GIB);
	assert(!mem_at(&m, MEM_LOW_MAX, 1) && !mem_at(&m, MEM_LOW_MAX - 1, 2) && mem_at(&m, 4 * GIB, 2 * GIB));
	assert(!mem_at(&m, 6 * GIB, 1) && !mem_at(&m, 4 * GIB - 1, 1));
	assert(mem_page(&m, 4 * GIB) == MEM_LOW_MAX / MEM_PAGE);
	assert(mem_page(&m, 6 * GIB - 1) == m.npages - 1 && mem_page(&m, 4 * GIB - 1) == UINT64_MAX);
	/* nothing is copied when a part of the range is no RAM */
	memset(buf, 0xaa, sizeof buf);
	assert(mem_put(&m, MEM_LOW_MAX - 8, buf, 16) == -EFAULT);
	assert(!mem_get(&m, MEM_LOW_MAX - 8, buf, 8) && buf[0] == 0);
	/* both regions are one file, at the offsets they say */
	assert(!mem_put(&m, 4 * GIB, "x", 1));
	assert(m.region[1].fd_off == MEM_LOW_MAX);
	/* filled on demand: a page or two, not gigabytes */
	assert(!fstat(m.fd, &st) && st.st_size == (off_t)(5 * GIB) && (uint64_t)st.st_blocks * 512 <= 64 * MIB);
	mem_fini(&m);
}

int main(void)
{
	static const uint64_t bad[] = {0, 4096, MIB - 4096, MIB + 1, UINT64_MAX, (UINT64_C(1) << 40) + 4096};
	struct mem m;
	struct err e;

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		e.text[0] = 0;
		assert(mem_init(&m, bad[i], &e) == -EINVAL && strstr(e.text, "guest memory"));
		mem_fini(&m);
	}
	small();
	with_hole();
	puts("mem: all passed");
	return 0;
}
