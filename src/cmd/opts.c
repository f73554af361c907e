/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cmd/opts.h"
#include "cmd/parse.h"

static const struct opt *find(const struct opt *table, const char *word, size_t len)
{
	for (; table->name; table++)
		if (strlen(table->name) == len && !memcmp(table->name, word, len))
			return table;
	return NULL;
}

static int unknown(const struct opt *table, const char *arg, size_t len, struct err *e)
{
	const char *names[64], *best;
	char word[32];
	size_t n = 0;

	for (const struct opt *o = table; o->name && n + 1 < ARRAY_LEN(names); o++)
		names[n++] = o->name;
	names[n] = NULL;
	snprintf(word, sizeof word, "%.*s", (int)min_u64(len, sizeof word - 1), arg + 2);
	best = nearest(word, names);
	if (best)
		return err_set(e, EINVAL, "unknown option --%s; did you mean --%s?", word, best);
	return err_set(e, EINVAL, "unknown option --%s", word);
}

int opts_parse(const struct opt *table, void *cfg, int argc, char **argv,
	int (*set_word)(void *cfg, const char *word, struct err *e), struct err *e)
{
	int options_end = 0;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *value = NULL;
		const struct opt *o = NULL;

		if (options_end || a[0] != '-' || !a[1]) {
			if (!set_word)
				return err_set(e, EINVAL, "'%.60s' is one word too many: "
					"this command takes options only", a);
			if (set_word(cfg, a, e))
				return -EINVAL;
			continue;
		}
		if (!strcmp(a, "--")) {
			options_end = 1;
			continue;
		}
		if (a[1] == '-') {
			size_t len = strcspn(a + 2, "=");

			o = find(table, a + 2, len);
			if (!o)
				return unknown(table, a, len, e);
			if (a[2 + len])
				value = a + 3 + len;
		} else {
			for (o = table; o->name && o->letter != a[1]; o++)
				;
			if (!o->name)
				return err_set(e, EINVAL, "unknown option -%c", a[1]);
			if (a[2])
				value = a + 2;
		}
		if (!o->arg && value)
			return err_set(e, EINVAL, "--%s takes no value", o->name);
		if (o->arg && !value) {
			if (i + 1 == argc)
				return err_set(e, EINVAL, "--%s needs a value: --%s %s", o->name, o->name,
					o->arg);
			value = argv[++i];
		}
		if (o->set(cfg, value, e)) {
			err_prefix(e, "--%s", o->name);
			return -EINVAL;
		}
	}
	return 0;
}

void opts_print(const struct opt *table)
{
	for (; table->name; table++) {
		char left[64];
		int n = snprintf(left, sizeof left, "--%s%s%s", table->name, table->arg ? " " : "",
			table->arg ? table->arg : "");

		if (table->letter)
			snprintf(left + n, sizeof left - (size_t)n, ", -%c", table->letter);
		printf("  %-26s ", left);
		/* continuation lines stand under the first */
		for (const char *p = table->help; *p; p++) {
			putchar(*p);
			if (*p == '\n')
				printf("%29s", "");
		}
		putchar('\n');
	}
}
