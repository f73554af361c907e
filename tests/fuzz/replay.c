/* SPDX-License-Identifier: MIT */
/*
 * Runs a fuzz target without a fuzzer: replay [-n MUTATIONS] [-s SEED] FILE|FOLDER...
 * All files are given to the target as they are, then MUTATIONS variants of them, the same ones for
 * the same SEED on every machine. The number of the variant is printed when it crashes; -w N writes
 * that one to standard output instead.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { MAX_SEEDS = 4096, MAX_LEN = 1 << 20, HEAD = 1024 };
static struct {
	uint8_t *p;
	size_t len;
} seed[MAX_SEEDS];
static unsigned nseeds;
static uint64_t rng = 1;
static volatile unsigned long running;

static uint64_t rnd(uint64_t n) /* xorshift64*, 0 to n - 1 */
{
	rng ^= rng >> 12;
	rng ^= rng << 25;
	rng ^= rng >> 27;
	return n ? (rng * 0x2545f4914f6cdd1dull >> 11) % n : 0;
}

static void read_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = malloc(MAX_LEN);

	if (!f || !p || nseeds == MAX_SEEDS) {
		perror(path);
		exit(1);
	}
	seed[nseeds].len = fread(p, 1, MAX_LEN, f);
	fclose(f);
	seed[nseeds].p = realloc(p, seed[nseeds].len + 1);
	if (!seed[nseeds].p)
		exit(1);
	nseeds++;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_path(const char *path)
{
	struct dirent **list = NULL;
	struct stat st;
	int n;

	if (stat(path, &st)) {
		perror(path);
		exit(1);
	}
	if (!S_ISDIR(st.st_mode)) {
		read_file(path);
		return;
	}
	n = scandir(path, &list, NULL, by_name);
	for (int i = 0; i < n; i++) {
		char sub[4096];

		if (list[i]->d_name[0] != '.') {
			snprintf(sub, sizeof sub, "%s/%s", path, list[i]->d_name);
			read_path(sub);
		}
		free(list[i]);
	}
	free(list);
}

/* Where formats keep their headers: mostly the beginning, often the end. */
static size_t place(size_t len)
{
	switch (rnd(4)) {
	case 0:
		return rnd(len);
	case 1:
		return len - 1 - rnd(len < 64 ? len : 64);
	default:
		return rnd(len < HEAD ? len : HEAD);
	}
}

static size_t mutate_once(uint8_t *p, size_t len)
{
	static const uint64_t odd[] = {0, 1, 2, 4, 7, 8, 16, 63, 64, 127, 128, 255, 256, 4095, 4096,
		0x7fff, 0x8000, 0xffff, 0x10000, 0xfffff, 0x100000, 0x7fffffff, 0x80000000,
		0xffffffff, 0x100000000, 0x7fffffffffffffff, 0x8000000000000000, 0xffffffff80000000,
		UINT64_MAX};
	size_t at, n;
	uint64_t v;

	if (!len)
		return 0;
	at = place(len);
	switch (rnd(8)) {
	case 0:
		p[at] ^= (uint8_t)(1u << rnd(8));
		break;
	case 1:
		p[at] = (uint8_t)rnd(256);
		break;
	case 2: /* a number that programs stumble over, aligned as fields are */
	case 3:
		v = odd[rnd(sizeof odd / sizeof odd[0])] + rnd(3) - 1;
		n = (size_t)1 << rnd(4);
		at &= ~(n - 1);
		memcpy(p + at, &v, n < len - at ? n : len - at);
		break;
	case 4: /* a little more or less */
		p[at] = (uint8_t)(p[at] + rnd(33) - 16);
		break;
	case 5: /* shorter */
		return rnd(4) ? len : at;
	case 6: /* a piece from elsewhere */
		n = 1 + rnd(32);
		v = rnd(len);
		n = n < len - at ? n : len - at;
		n = n < len - v ? n : (size_t)(len - v);
		memmove(p + at, p + v, n);
		break;
	default: { /* a piece of another seed */
		unsigned k = (unsigned)rnd(nseeds);

		n = rnd(256);
		n = n < len - at ? n : len - at;
		n = n < seed[k].len ? n : seed[k].len;
		memcpy(p + at, seed[k].p + rnd(seed[k].len - n + 1), n);
	}
	}
	return len;
}

static void crashed(int sig)
{
	char line[64];
	int n = snprintf(line, sizeof line, "replay: signal %d in variant %lu\n", sig, running);

	if (write(2, line, (size_t)n) != n)
		_exit(1);
	signal(sig, SIG_DFL);
	raise(sig);
}

int main(int argc, char **argv)
{
	unsigned long n = 0, only = 0;
	uint64_t start = 1;
	int opt;

	while ((opt = getopt(argc, argv, "n:s:w:")) != -1)
		switch (opt) {
		case 'n':
			n = strtoul(optarg, NULL, 0);
			break;
		case 's':
			start = strtoull(optarg, NULL, 0);
			break;
		case 'w':
			n = only = strtoul(optarg, NULL, 0);
			break;
		default:
			return 2;
		}
	for (int i = optind; i < argc; i++)
		read_path(argv[i]);
	if (!nseeds) {
		fprintf(stderr, "replay: no seeds\n");
		return 2;
	}
	signal(SIGABRT, crashed);
	for (unsigned i = 0; i < nseeds && !only; i++)
		LLVMFuzzerTestOneInput(seed[i].p, seed[i].len);
	for (running = 1; running <= n; running++) {
		unsigned k;
		size_t len;
		uint8_t *p;

		/* each variant from its own state, so that one alone can be made again */
		rng = (start + running) * 0x9e3779b97f4a7c15ull | 1;
		k = (unsigned)rnd(nseeds);
		len = seed[k].len;
		p = malloc(len ? len : 1); /* exact: ASan sees the end */
		if (!p)
			return 1;
		memcpy(p, seed[k].p, len);
		for (unsigned m = 1 + (unsigned)rnd(6); m; m--)
			len = mutate_once(p, len);
		if (only == running)
			return fwrite(p, 1, len, stdout) != len;
		if (!only) {
			uint8_t *q = malloc(len ? len : 1);

			if (!q)
				return 1;
			memcpy(q, p, len);
			LLVMFuzzerTestOneInput(q, len);
			free(q);
		}
		free(p);
	}
	printf("replay: %u seeds, %lu variants from %llu\n", nseeds, n, (unsigned long long)start);
	return 0;
}
