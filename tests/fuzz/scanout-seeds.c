/* SPDX-License-Identifier: MIT */
/* Seeds for scanout.c: producers that do what they should, and a first step beside it. */
#undef NDEBUG
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>

#include "display/scanout-int.h"

static FILE *out;

static void bytes(unsigned n, uint64_t v)
{
	for (; n; n--, v >>= 8)
		fputc((int)(v & 0xff), out);
}

static void number(unsigned k, size_t at, uint32_t v)
{
	bytes(1, 2 + k);
	bytes(2, at / 4);
	bytes(4, v);
}

#define NUMBER(k, field, v) number(k, offsetof(struct scanout_header, field), v)

static void mode(unsigned k, uint32_t w, uint32_t h, uint32_t generation)
{
	NUMBER(k, w, w);
	NUMBER(k, h, h);
	NUMBER(k, generation, generation);
}

static void damage(unsigned k, unsigned slot, uint64_t rect)
{
	size_t at = offsetof(struct scanout_header, ring) + 8ul * slot;

	number(k, at, (uint32_t)rect);
	number(k, at + 4, (uint32_t)(rect >> 32));
}

int main(int argc, char **argv)
{
	char path[4096];

	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned seed = 0; seed < 3; seed++) {
		snprintf(path, sizeof path, "%s/%u", argv[1], seed);
		out = fopen(path, "w");
		assert(out);
		mode(seed != 1, 1024, 768, 1);
		bytes(1, 5);
		bytes(1, 7);
		for (unsigned i = 0; i < 5; i++)
			damage(seed != 1, i, i * 0x0010002000300040ull);
		bytes(2, 4 | 5 << 8);
		bytes(2, 5 | 6 << 8);
		NUMBER(seed != 1, cursor_w, 2 + seed);
		NUMBER(seed != 1, cursor_h, 3);
		NUMBER(seed != 1, cursor_hot_x, 1);
		NUMBER(seed != 1, cursor_generation, 1);
		bytes(2, 5 | 6 << 8);
		if (seed == 2) {
			bytes(5, 9 | 800ull << 8 | 600ull << 24);
			bytes(2, 5 | 7 << 8);
			mode(0, 8192, 2048, 3);
			NUMBER(0, mode_seq, 1);
			bytes(5, 8 | 80ull << 8 | 60ull << 24);
			bytes(3, 5 | 6 << 8 | 7 << 16);
			mode(1, 0, 0, 9);
			bytes(2, 5 | 7 << 8);
		}
		bytes(8, 0x0606060605050505);
		fclose(out);
	}
	return 0;
}
