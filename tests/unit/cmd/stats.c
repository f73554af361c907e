/* SPDX-License-Identifier: MIT */
/* husk stats' table: what husk-vmm may write, and what people are shown. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/stats.h"

static const struct stats_view plain = {.colour = false};

/* The table for text[0, len); the caller frees it. */
static char *table(const char *text, size_t len, const struct stats_view *v)
{
	struct stats *s = xcalloc(1, sizeof *s);
	char *copy = xcalloc(1, len + 1), *out = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&out, &n);

	assert(f);
	memcpy(copy, text, len);
	stats_parse(s, copy, len);
	stats_print(f, s, v);
	assert(!fclose(f) && strlen(out) == n);
	free(copy);
	free(s);
	return out;
}

static void check(const char *what, const char *got, const char *want)
{
	if (strcmp(got, want)) {
		fprintf(stderr, "%s:\n%s--- expected:\n%s", what, got, want);
		exit(1);
	}
}

static const struct {
	const char *what, *in, *out;
} cases[] = {
	{"nothing", "", ""},
	{"empty lines", "\n\n\n", ""},
	{"no group", "exits 42\nmessages 7\n", "exits     42\nmessages   7\n"},
	{"no line feed at the end", "a 1", "a  1\n"},
	{"thousands", "a 999\nb 1000\nc 1234567\nd 18446744073709551615\n",
		"a                         999\n"
		"b                       1,000\n"
		"c                   1,234,567\n"
		"d  18,446,744,073,709,551,615\n"},
	{"no numbers", "a 18446744073709551616\nb -1\nc +1\nd 0x10\ne  1\nf 1 \ng \nh 007\n",
		"a  18446744073709551616\n"
		"b  -1\n"
		"c  +1\n"
		"d  0x10\n"
		"e   1\n"
		"f  1 \n"
		"g  \n"
		"h  7\n"},
	{"groups stay together, those without one come first",
		"tlb.fills 1\nsmc.pages 2\ntlb.flushes 3\nlone 4\n",
		"lone       4\n"
		"tlb\n"
		"  fills    1\n"
		"  flushes  3\n"
		"smc\n"
		"  pages    2\n"},
	{"dots", ".a 1\nb. 2\nc.d.e 3\n. 4\n..f 5\n",
		".a     1\n"
		"b.     2\n"
		".      4\n"
		"..f    5\n"
		"c\n"
		"  d.e  3\n"},
	{"a histogram", "sensitive.hlt 10\nsensitive.cli 300\nsensitive.wbinvd 0\nsensitive.sti 300\n"
		"sensitive.pushf 200\nsensitive.popf 160\nsensitive.swapgs 30\n",
		"sensitive  1,000  4 of 6 make 95 %\n"
		"  cli        300   30.0 %   30.0 %\n"
		"  sti        300   30.0 %   60.0 %\n"
		"  pushf      200   20.0 %   80.0 %\n"
		"  popf       160   16.0 %   96.0 %\n"
		"  swapgs      30    3.0 %   99.0 %\n"
		"  hlt         10    1.0 %  100.0 %\n"},
	{"exactly 95 %", "exits.b 5\nexits.a 95\n",
		"exits  100  1 of 2 makes 95 %\n"
		"  a     95   95.0 %   95.0 %\n"
		"  b      5    5.0 %  100.0 %\n"},
	{"less than 95 %", "exits.c 3\nexits.b 3\nexits.a 94\n",
		"exits  100  2 of 3 make 95 %\n"
		"  a     94   94.0 %   94.0 %\n"
		"  c      3    3.0 %   97.0 %\n"
		"  b      3    3.0 %  100.0 %\n"},
	{"a histogram of nothing", "exits.io 0\nexits.hlt 0\n", ""},
	{"the longest first", "time.translate 3000000\ntime.native 2997000000\ntime.interp 0\n",
		"time         3.000 s\n"
		"  native     2.997 s   99.9 %\n"
		"  translate  0.003 s    0.1 %\n"},
	{"bytes, nanoseconds, relations",
		"translate.blocks 1000\ntranslate.instructions 8100\ntranslate.bytes_guest 30000\n"
		"translate.bytes_host 126000\ntranslate.ns 1620000\n"
		"cache.used 126000\ncache.size 67108864\ncache.flushes 0\n",
		"translate\n"
		"  blocks             1,000\n"
		"  instructions       8,100  8.1 per block\n"
		"  bytes_guest       30,000  29.3 KiB\n"
		"  bytes_host       126,000  123 KiB, 4.2 per byte of the guest\n"
		"  ns             1,620,000  0.001 s, 200.0 ns per instruction\n"
		"cache\n"
		"  used             126,000  123 KiB, 0.2 % of the size\n"
		"  size          67,108,864  64 MiB\n"
		"  flushes                0\n"},
	{"a relation to nothing", "cache.used 5\ncache.size 0\ninterp.instructions 3\ninterp.blocks many\n",
		"cache\n"
		"  used          5\n"
		"  size          0\n"
		"interp\n"
		"  instructions  3\n"
		"  blocks        many\n"},
	{"words in a histogram", "exits.a why\nexits.b 1\n",
		"exits  1  1 of 1 makes 95 %\n"
		"  b    1  100.0 %  100.0 %\n"
		"  a    why\n"},
	{"only words in a histogram", "exits.a why\n",
		"exits  0\n"
		"  a    why\n"},
	{"a sum too large", "exits.a 18446744073709551615\nexits.b 18446744073709551615\nexits.c 1\n",
		"exits  18,446,744,073,709,551,615  2 of 3 make 95 %\n"
		"  a    18,446,744,073,709,551,615   50.0 %   50.0 %\n"
		"  b    18,446,744,073,709,551,615   50.0 %  100.0 %\n"
		"  c                             1    0.0 %  100.0 %\n"},
	{"the longest time", "time.a 18446744073709551615\n",
		"time  18,446,744,073.709 s\n"
		"  a   18,446,744,073.709 s  100.0 %\n"},
	{"a name twice", "a.b 1\na.b 2\n", "a\n  b  1\n  b  2\n"},
	{"a name like a group's", "exits 3\nexits.io 3\n",
		"exits  3\n"
		"exits  3  1 of 1 makes 95 %\n"
		"  io   3  100.0 %  100.0 %\n"},
	{"escape sequences", "\033[2J 1\nname \033]0;pwned\007\n\xc3\xa4\x7f 3\n\ta\r 4\n",
		"?[2J  1\n"
		"name  ?]0;pwned?\n"
		"???   3\n"
		"?a?   4\n"},
	{"format strings", "%s%n %n%s\nexits.%d%n 1\n",
		"%s%n    %n%s\n"
		"exits   1  1 of 1 makes 95 %\n"
		"  %d%n  1  100.0 %  100.0 %\n"},
	{"no lines", "word\n leading\n", "and 2 lines that are not understood\n"},
	{"long names and words",
		"n23456789012345678901234567890123456789012345678 1\n"
		"n234567890123456789012345678901234567890123456789 1\n"
		"w 0123456789012345678901234567890123456789012345678901234567890123456789\n",
		"n23456789012345678901234567890123456789012345678  1\n"
		"w                                                 "
		"0123456789012345678901234567890123456789012345678901234567890123\n"
		"and 1 lines that are not understood\n"},
};

static void test_cases(void)
{
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char *got = table(cases[i].in, strlen(cases[i].in), &plain);

		check(cases[i].what, got, cases[i].out);
		free(got);
	}
}

static void test_zero_byte(void)
{
	char *got = table("a\0b 1\n\0", 7, &plain);

	check("zero bytes", got, "a?b  1\nand 1 lines that are not understood\n");
	free(got);
}

static void test_colour(void)
{
	const struct stats_view v = {.colour = true};
	char *got = table("a.b 1\nexits.c 1\n", 16, &v);

	check("colour", got,
		"\033[1ma\033[0m\n"
		"  b    1\n"
		"\033[1mexits\033[0m  1  1 of 1 makes 95 %\n"
		"  c    1  100.0 %  100.0 %\n");
	free(got);
}

/* Changes per second: of rows that moved, that are new, that went down, that are words. */
static void test_rates(void)
{
	char was[] = "a 100\nb 5\nc 900\nd word\nx.y 3\ntime.n 1000000000\nexits.io 4\nbig 0\n";
	struct stats *before = xcalloc(1, sizeof *before);
	const struct stats_view v = {.before = before, .elapsed_ns = 2000000000};
	static const char now[] = "b 8\na 5000100\nc 800\nd 7\nnew 9\nx.y 3\ntime.n 2500000000\nexits.io 5\n"
				  "big 18446744073709551615\n";
	char *got;

	stats_parse(before, was, strlen(was));
	got = table(now, strlen(now), &v);
	check("rates", got,
		"b                               8                        1.5/s\n"
		"a                       5,000,100                  2,500,000/s\n"
		"c                             800\n"
		"d                               7\n"
		"new                             9\n"
		"big    18,446,744,073,709,551,615  9,223,372,036,854,775,808/s\n"
		"x\n"
		"  y                             3\n"
		"time                      2.500 s\n"
		"  n                       2.500 s                    0.750 s/s  100.0 %\n"
		"exits                           5                               1 of 1 makes 95 %\n"
		"  io                            5                        0.5/s  100.0 %  100.0 %\n");
	free(got);
	free(before);
}

/* As many lines and groups as fit into an answer, each of them its own group: bounded, and quick. */
static void test_many(void)
{
	enum { LINES = 8000 };
	char *text = xcalloc(LINES, 16), *got, words[64];
	size_t n = 0;
	unsigned rows = 0;

	for (int i = 0; i < LINES; i++)
		n += (size_t)snprintf(text + n, 16, "%x.a 1\n", i);
	got = table(text, n, &plain);
	for (const char *p = got; (p = strchr(p, '\n')); p++)
		rows++;
	assert(rows == 2 * STATS_ROWS + 1);
	snprintf(words, sizeof words, "and %d lines that", LINES - STATS_ROWS);
	assert(strstr(got, words));
	free(got);
	free(text);
}

int main(void)
{
	test_cases();
	test_zero_byte();
	test_colour();
	test_rates();
	test_many();
	return 0;
}
