/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-virtq: drivers that mostly do it right, in each of the ways that the first byte chooses. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

static uint64_t state = 88172645463325252ull;

static unsigned rnd(unsigned n)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (unsigned)((state >> 33) % n);
}

static FILE *out;

static void put(unsigned byte)
{
	assert(fputc((int)byte, out) == (int)byte);
}

/* Descriptor i: see change() and struct desc of the target */
static void desc(unsigned i, unsigned kind, unsigned n, unsigned flags)
{
	put(1);
	put(i);
	put(0);
	put(n);
	put(kind & ~(32u | 64u));
	put(flags);
}

/* A chain of a few from head on, perhaps in a table; offered, popped, perhaps done. */
static void request(unsigned how, unsigned head)
{
	/* places in RAM, with and without something behind */
	static const unsigned kinds[] = {0, 2, 4, 8, 128, 130, 136, 16, 18};
	unsigned n = 1 + rnd(3), in = rnd(n + 1), table = how & 8 && rnd(2);

	for (unsigned i = 0; i < n; i++)
		desc(table ? i : (head + i) % (4u << (how & 3)), kinds[rnd(9)] | table, rnd(24), (i + 1 < n) | (i >= in ? 2u : 0));
	if (table)
		desc(head, 6 << 1 | 16, n - 1, 4);
	put(0x40);
	put(head);
}

int main(int argc, char **argv)
{
	char path[4096];

	assert(argc == 2);
	mkdir(argv[1], 0777);
	for (unsigned how = 0; how < 128; how++) {
		snprintf(path, sizeof path, "%s/%u", argv[1], how);
		out = fopen(path, "wb");
		assert(out);
		put(how);
		for (unsigned i = 0; i < 60; i++) {
			request(how, rnd(4));
			put(0x80);
			if (rnd(8) == 0)
				put(0x90);
			if (rnd(3) == 0) {
				put(0xb0); /* which, offset, length, direction */
				put(0);
				put(rnd(8));
				put(0);
				put(rnd(64));
				put(0);
				put(rnd(2));
			}
			if (rnd(12) == 0)
				put(0xd0);
			if (rnd(5) != 0) {
				put(0xc0);
				put(rnd(3) + (rnd(4) ? 0 : 0x80));
				put(rnd(64));
				put(0);
			}
			if (rnd(3) == 0)
				put(0xe0);
			if (rnd(6) == 0)
				put(0xf0 + rnd(2));
			if (rnd(30) == 0)
				put(0x71);
			if (how & 16 && rnd(10) == 0) {
				put(0x70);
				put(0);
				put(0);
			}
			if (how & 16 && rnd(30) == 0) { /* a last batch, and its first one; then start */
				put(0x30);
				put(12);
				put(0);
				put(4);
				put(rnd(40));
				put(rnd(20) == 0);
				put(rnd(256));
				put(0);
				put(0x70);
				put(0);
				put(0);
			}
			if (how & 16 && rnd(20) == 0) { /* one more in flight */
				put(0x30);
				put(16 + 16 * rnd(8));
				put(0);
				put(1);
				put(1);
			}
		}
		assert(!fclose(out));
	}
	return 0;
}
