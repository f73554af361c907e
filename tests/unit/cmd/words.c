/* SPDX-License-Identifier: MIT */
/* What users, guests and clients write, and what is made of it: parse, opts, panic, json_scan, escape. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/opts.h"
#include "cmd/panic.h"
#include "cmd/parse.h"
#include "cmd/qmp.h"
#include "cmd/term.h"

#define BAD(words) .bad = words
struct number_case {
	const char *in;
	uint64_t out;
	const char *bad; /* words that the error must have */
};

static void check(const char *what, const struct number_case *c, int rc, uint64_t got,
	const struct err *e)
{
	bool right = c->bad ? rc < 0 && strstr(e->text, c->bad) && !strchr(e->text, '\n')
			    : !rc && got == c->out;

	if (!right) {
		fprintf(stderr, "%s(\"%s\"): rc %d, %" PRIu64 ", \"%s\"\n", what, c->in, rc, got, e->text);
		exit(1);
	}
}

static void test_sizes(void)
{
	static const struct number_case sizes[] = {
		{"0", 0, 0}, {"1", 1, 0}, {"4096", 4096, 0}, {"1K", KIB, 0}, {"1k", KIB, 0},
		{"512M", 512 * MIB, 0}, {"512MiB", 512 * MIB, 0}, {"512MB", 512 * MIB, 0},
		{"512mb", 512 * MIB, 0}, {"2G", 2 * GIB, 0}, {"1T", 1024 * GIB, 0}, {"7B", 7, 0},
		{"18446744073709551615", UINT64_MAX, 0}, {"16777215T", 16777215ull << 40, 0},
		{"18446744073709551616", BAD("more than any machine")},
		{"16777216T", BAD("more than any machine")}, {"1000000000000000000000000000000",
			BAD("more than any machine")},
		{"", BAD("not a size")}, {"abc", BAD("'abc' is not a size")}, {"M", BAD("not a size")},
		{"-1", BAD("negative")}, {"-5M", BAD("negative")}, {"-", BAD("not a size")},
		{"10^30", BAD("not a size")}, {"1e9", BAD("not a size")}, {"0x10", BAD("not a size")},
		{"1.5G", BAD("whole number")}, {" 1", BAD("not a size")}, {"1 ", BAD("not a size")},
		{"512MM", BAD("not a size")}, {"+1", BAD("not a size")}, {"1Mi b", BAD("not a size")},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", BAD("...")},
		{"1\n2", BAD("1?2")},
	};
	static const struct number_case memory[] = {
		{"512M", 512 * MIB, 0}, {"1M", MIB, 0}, {"1T", 1024 * GIB, 0}, {"1028K", 1028 * KIB, 0},
		{"0", BAD("needs memory")}, {"0M", BAD("needs memory")}, {"512", BAD("did you mean 512M")},
		{"1K", BAD("at least 1M")}, {"1025T", BAD("at most 1T")}, {"1025K", BAD("pages")},
		{"1048577", BAD("pages")}, {"-512M", BAD("negative")},
		{"999999999999999999999999999999", BAD("any machine")},
	};
	struct err e;
	uint64_t v;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		v = 0;
		e.text[0] = 0;
		rc = parse_size(sizes[i].in, &v, &e);
		check("parse_size", &sizes[i], rc, v, &e);
	}
	for (size_t i = 0; i < ARRAY_LEN(memory); i++) {
		v = 0;
		e.text[0] = 0;
		rc = parse_memory(memory[i].in, &v, &e);
		check("parse_memory", &memory[i], rc, v, &e);
	}
}

static void test_numbers(void)
{
	static const struct number_case cpus[] = {
		{"1", 1, 0}, {"255", 255, 0}, {"007", 7, 0}, {"0", BAD("1 to 255")}, {"256", BAD("1 to 255")},
		{"-1", BAD("out of range")}, {"99999999999999999999999", BAD("out of range")},
		{"two", BAD("not a whole number")}, {"", BAD("not a whole number")}, {"1.5", BAD("whole")},
		{"2 ", BAD("whole")}, {"-", BAD("whole")}, {"4294967297", BAD("out of range")},
	};
	static const struct number_case times[] = {
		{"0", 0, 0}, {"30", 30000000000, 0}, {"30s", 30000000000, 0}, {"500ms", 500000000, 0},
		{"2m", 120000000000, 0}, {"2min", 120000000000, 0}, {"1h", 3600000000000, 0},
		{"168h", 604800000000000, 0}, {"169h", BAD("a week")},
		{"18446744073709551616s", BAD("a week")}, {"1d", BAD("not a time")}, {"-1", BAD("not a time")},
		{"s", BAD("not a time")}, {"", BAD("not a time")}, {"1 s", BAD("not a time")},
	};
	struct err e;
	unsigned v;
	uint64_t ns;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(cpus); i++) {
		v = 0;
		rc = parse_number(cpus[i].in, 1, 255, &v, &e);
		check("parse_number", &cpus[i], rc, v, &e);
	}
	for (size_t i = 0; i < ARRAY_LEN(times); i++) {
		ns = 0;
		rc = parse_duration(times[i].in, &ns, &e);
		check("parse_duration", &times[i], rc, ns, &e);
	}
}

static void test_names(void)
{
	static const struct {
		const char *name;
		bool good;
	} names[] = {{"a", true}, {"vm1", true}, {"web-1.test_2", true}, {"0", true}, {"", false},
		{".", false}, {"..", false}, {"-x", false}, {"_x", false}, {"a/b", false}, {"a b", false},
		{"../x", false}, {"\xc3\xa4", false}, {"a\n", false},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false}};
	static const char *const list[] = {"kernel", "initrd", "append", "memory", "cpus", "name", NULL};
	struct err e;
	char buf[32];

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert(!parse_name(names[i].name, &e) == names[i].good);
	assert(!strcmp(nearest("kernle", list), "kernel"));
	assert(!strcmp(nearest("mem", list), "memory"));
	assert(!strcmp(nearest("initr", list), "initrd"));
	assert(!strcmp(nearest("cpu", list), "cpus"));
	assert(!nearest("zzzzzz", list));
	assert(!nearest("", list) || strlen(nearest("", list)));
	assert(!nearest("a very long word that is nothing like any of the options", list));
	assert(!strcmp(format_size(0, buf), "0 bytes") && !strcmp(format_size(1536, buf), "1.5 KiB"));
	assert(!strcmp(format_size(512 * MIB, buf), "512 MiB"));
	assert(!strcmp(format_size(UINT64_MAX, buf), "16.0 EiB") || format_size(UINT64_MAX, buf));
	assert(!strcmp(format_duration(1500000000, buf), "1.5 s"));
	assert(!strcmp(format_duration(125000000000, buf), "2 min 5 s"));
	assert(!strcmp(format_duration(UINT64_C(15000000000000), buf), "4 h 10 min"));
}

struct opts_got {
	const char *kernel, *words[4];
	int flag, nwords;
};

static int set_kernel(void *c, const char *v, struct err *e)
{
	((struct opts_got *)c)->kernel = v;
	return strcmp(v, "bad") ? 0 : err_set(e, EINVAL, "it is bad");
}

static int set_flag(void *c, const char *v, struct err *e)
{
	(void)e;
	assert(!v);
	((struct opts_got *)c)->flag++;
	return 0;
}

static int set_word(void *c, const char *w, struct err *e)
{
	struct opts_got *g = c;

	(void)e;
	g->words[g->nwords++] = w;
	return 0;
}

static void test_opts(void)
{
	static const struct opt table[] = {{"kernel", 'k', "FILE", set_kernel, ""},
		{"flag", 'f', NULL, set_flag, ""}, {.name = NULL}};
	static const struct {
		const char *argv[6];
		const char *kernel;
		int flag, nwords;
		const char *bad;
	} cases[] = {
		{{"x", "--kernel", "a"}, "a", 0, 0, 0},
		{{"x", "--kernel=a"}, "a", 0, 0, 0},
		{{"x", "--kernel="}, "", 0, 0, 0},
		{{"x", "--kernel=a=b", "--flag"}, "a=b", 1, 0, 0},
		{{"x", "-k", "a", "-f", "-f"}, "a", 2, 0, 0},
		{{"x", "-ka"}, "a", 0, 0, 0},
		{{"x", "w", "--flag", "-", "w"}, NULL, 1, 3, 0},
		{{"x", "--", "--flag", "-k"}, NULL, 0, 2, 0},
		{{"x", "--kernel", "--flag"}, "--flag", 0, 0, 0},
		{{"x", "--kernel", "a", "--kernel", "b"}, "b", 0, 0, 0},
		{{"x", "--kernel"}, NULL, 0, 0, "--kernel needs a value"},
		{{"x", "-k"}, NULL, 0, 0, "--kernel needs a value"},
		{{"x", "--flag=1"}, NULL, 0, 0, "--flag takes no value"},
		{{"x", "--kernle", "a"}, NULL, 0, 0, "unknown option --kernle; did you mean --kernel?"},
		{{"x", "--zzzzzzzz"}, NULL, 0, 0, "unknown option --zzzzzzzz"},
		{{"x", "--=a"}, NULL, 0, 0, "unknown option --"},
		{{"x", "-q"}, NULL, 0, 0, "unknown option -q"},
		{{"x", "--kernel", "bad"}, "bad", 0, 0, "--kernel: it is bad"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct opts_got g = {.kernel = NULL};
		struct err e = {.code = 0};
		char *argv[7] = {NULL};
		int argc = 0, rc;

		for (; cases[i].argv[argc]; argc++)
			argv[argc] = (char *)(uintptr_t)cases[i].argv[argc];
		rc = opts_parse(table, &g, argc, argv, set_word, &e);
		if (cases[i].bad) {
			assert(rc == -EINVAL && !strncmp(e.text, cases[i].bad, strlen(cases[i].bad)));
			continue;
		}
		assert(!rc && g.flag == cases[i].flag && g.nwords == cases[i].nwords);
		assert(!g.kernel == !cases[i].kernel);
		assert(!g.kernel || !strcmp(g.kernel, cases[i].kernel));
	}
	{
		char x[] = "x", word[] = "word", *argv[] = {x, word, NULL};
		struct opts_got g = {.kernel = NULL};
		struct err e;

		assert(opts_parse(table, &g, 2, argv, NULL, &e) == -EINVAL && strstr(e.text, "'word'"));
	}
}

static void test_panic(void)
{
	static const struct {
		const char *out, *found;
	} cases[] = {
		{"", NULL},
		{"Linux version 6.1\n", NULL},
		{"[    1.23] Kernel panic - not syncing: VFS: Unable to mount root\r\n", "VFS: Unable to mount root"},
		{"[    1.23][    T1] Kernel panic - not syncing: x\n", "x"},
		{"[    1.23]Kernel panic - not syncing: x\n", NULL},
		{"Kernel panic - not syncing: no time\n", "no time"},
		{"Kernel panic - not syncing: cut", "cut"},
		{"# echo Kernel panic - not syncing: typed\n", NULL},
		{"[ 1] ---[ end Kernel panic - not syncing: x ]---\n", NULL},
		{"[ 1] Kernel panic - not syncing: first\n[ 2] more\n[ 3] Kernel panic - not syncing: last\n", "last"},
		{"Kernel panic - not syncing: \033[31mred\n", "[31mred"},
		{"[[[[[[[[[[[[[[[\n[\n[ \n[]\n[] Kernel panic - not syncing: y\n", "y"},
	};
	static struct panic p;
	char text[160], big[3000];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		/* in one piece, and byte by byte behind much else, so that the ring wraps */
		for (int pass = 0; pass < 2; pass++) {
			bool got;

			memset(&p, 0, sizeof p);
			for (int k = 0; pass && k < 3001; k++)
				panic_feed(&p, (const uint8_t *)"filler\n", 7);
			if (pass)
				for (const char *c = cases[i].out; *c; c++)
					panic_feed(&p, (const uint8_t *)c, 1);
			else
				panic_feed(&p, (const uint8_t *)cases[i].out, strlen(cases[i].out));
			got = panic_find(&p, text);
			assert(got == (cases[i].found != NULL));
			assert(!got || strstr(text, cases[i].found));
			panic_forget(&p);
			assert(!panic_find(&p, text));
		}
	}
	/* long lines are cut, old ones forgotten */
	memset(big, 'x', sizeof big);
	memcpy(big, "Kernel panic - not syncing: ", 28);
	panic_feed(&p, (uint8_t *)big, sizeof big);
	assert(panic_find(&p, text) && strlen(text) == 159);
	for (int i = 0; i < 3; i++) {
		memset(big, '\n', sizeof big);
		panic_feed(&p, (uint8_t *)big, sizeof big);
	}
	assert(!panic_find(&p, text));
	{
		static uint8_t huge[3 * PANIC_TAIL];

		memcpy(huge + sizeof huge - 40, "\nKernel panic - not syncing: end of huge", 40);
		panic_feed(&p, huge, sizeof huge);
		assert(panic_find(&p, text) && !strcmp(text, "end of huge"));
	}
}

static void test_json_scan(void)
{
	static const struct {
		const char *in;
		ssize_t want;
	} cases[] = {
		{"", 0}, {"{", 0}, {"{}", 2}, {" \r\n\t{}x", 6}, {"{\"a\":{}}{", 8}, {"{\"}\":1}", 7},
		{"{\"\\\"}\":1}", 9}, {"{\"a\\\\\":1}", 9}, {"{\"a", 0}, {"{[]]", 4}, {"{[}]", 4},
		{"x", -EPROTO}, {"[]", -EPROTO}, {"}", -EPROTO}, {"\"", -EPROTO}, {"\xff", -EPROTO},
	};
	char deep[QMP_DEPTH_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		size_t n = strlen(cases[i].in);
		struct json_scan s = {.at = 0};
		ssize_t got = 0;

		assert(json_scan(&s, cases[i].in, n) == cases[i].want);
		/* the same byte by byte */
		memset(&s, 0, sizeof s);
		for (size_t k = 0; k <= n && !got; k++)
			got = json_scan(&s, cases[i].in, k);
		assert(got == cases[i].want);
	}
	for (int extra = 0; extra < 2; extra++) {
		struct json_scan s = {.at = 0};

		memset(deep, '{', sizeof deep);
		assert(json_scan(&s, deep, (size_t)(QMP_DEPTH_MAX + extra)) == (extra ? -EPROTO : 0));
	}
}

static char keys[32];
static int opened;

static void menu_open(void *arg)
{
	assert(arg == keys);
	opened++;
}

static bool menu_key(void *arg, uint8_t key)
{
	assert(arg == keys);
	keys[strlen(keys)] = (char)key;
	return key == ESCAPE_KEY;
}

static void test_escape(void)
{
	static const struct {
		const char *in, *out, *keys;
	} cases[] = {
		{"plain", "plain", ""}, {"a\035qb", "ab", "q"}, {"\035\035", "\035", "\035"},
		{"\035\035\035\035x", "\035\035x", "\035\035"}, {"\035?\035pz", "z", "?p"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		for (int pass = 0; pass < 2; pass++) {
			struct escape x = {.open = menu_open, .key = menu_key, .arg = keys};
			uint8_t buf[32];
			char out[32] = "";
			size_t n = strlen(cases[i].in), k;

			memset(keys, 0, sizeof keys);
			opened = 0;
			memcpy(buf, cases[i].in, n);
			for (size_t at = 0; at < n; at += pass ? 1 : n) {
				k = escape_filter(&x, buf + at, pass ? 1 : n);
				strncat(out, (char *)buf + at, k);
			}
			assert(!strcmp(out, cases[i].out) && !strcmp(keys, cases[i].keys));
			assert(opened == (int)strlen(cases[i].keys) && !x.pending);
		}
}

int main(void)
{
	test_sizes();
	test_numbers();
	test_names();
	test_opts();
	test_panic();
	test_json_scan();
	test_escape();
	return 0;
}
