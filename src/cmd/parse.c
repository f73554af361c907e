/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cmd/parse.h"

/* Words of the user in an error line: whole when short, and never a control character. */
static const char *quote(const char *s, char buf[64])
{
	size_t i;

	for (i = 0; i < 40 && s[i]; i++)
		buf[i] = (unsigned char)s[i] < 0x20 || s[i] == 0x7f ? '?' : s[i];
	strcpy(buf + i, s[i] ? "..." : "");
	return buf;
}

/* Decimal digits at *s; moves *s behind them. -EINVAL if there are none, -ERANGE if too many. */
static int digits(const char **s, uint64_t *v)
{
	const char *p = *s;
	bool over = false;

	*v = 0;
	for (; *p >= '0' && *p <= '9'; p++)
		over |= __builtin_mul_overflow(*v, UINT64_C(10), v) ||
			__builtin_add_overflow(*v, (uint64_t)(*p - '0'), v);
	if (p == *s)
		return -EINVAL;
	*s = p;
	return over ? -ERANGE : 0;
}

static bool number_shaped(const char *s)
{
	return *s >= '0' && *s <= '9';
}

int parse_size(const char *s, uint64_t *bytes, struct err *e)
{
	static const struct {
		char letter;
		unsigned shift;
	} units[] = {{'K', 10}, {'M', 20}, {'G', 30}, {'T', 40}};
	const char *p = s;
	unsigned shift = 0;
	char q[64];
	uint64_t v;
	int rc;

	if (*s == '-' && number_shaped(s + 1))
		return err_set(e, EINVAL, "'%s': a size cannot be negative", quote(s, q));
	rc = digits(&p, &v);
	if (rc == -EINVAL)
		goto shape;
	for (size_t i = 0; i < ARRAY_LEN(units); i++)
		if ((*p & ~0x20) == units[i].letter) {
			shift = units[i].shift;
			p++;
			if (*p == 'i')
				p++;
			break;
		}
	if (*p == 'B' || *p == 'b')
		p++;
	if (*p)
		goto shape;
	if (rc || v > UINT64_MAX >> shift)
		return err_set(e, ERANGE, "'%s' is more than any machine has", quote(s, q));
	*bytes = v << shift;
	return 0;
shape:
	return err_set(e, EINVAL,
		"'%s' is not a size: write a whole number and K, M, G or T, for example 512M",
		quote(s, q));
}

int parse_memory(const char *s, uint64_t *bytes, struct err *e)
{
	const uint64_t most = 1024 * GIB;
	uint64_t v;
	char q[64];
	int rc = parse_size(s, &v, e);

	if (rc)
		return rc;
	quote(s, q);
	if (v == 0)
		return err_set(e, ERANGE, "'%s': a machine needs memory; 512M suits most guests", q);
	if (v < MIB && number_shaped(s) && !s[strspn(s, "0123456789")])
		return err_set(e, ERANGE, "'%s' means bytes, which is too little: did you mean %sM?", q,
			q);
	if (v < MIB)
		return err_set(e, ERANGE, "'%s' is too little: a machine has at least 1M", q);
	if (v > most)
		return err_set(e, ERANGE, "'%s' is too much: a machine has at most 1T", q);
	if (v % 4096)
		return err_set(e, EINVAL, "'%s' is not a whole number of 4K pages", q);
	*bytes = v;
	return 0;
}

int parse_number(const char *s, unsigned lo, unsigned hi, unsigned *v, struct err *e)
{
	const char *p = s;
	char q[64];
	uint64_t n = 0;
	bool negative = *s == '-' && number_shaped(s + 1);
	int rc = negative ? -ERANGE : digits(&p, &n);

	if (rc == -EINVAL || (!negative && *p))
		return err_set(e, EINVAL, "'%s' is not a whole number", quote(s, q));
	if (rc || n < lo || n > hi)
		return err_set(e, ERANGE, "'%s' is out of range: %u to %u is possible", quote(s, q), lo,
			hi);
	*v = (unsigned)n;
	return 0;
}

int parse_duration(const char *s, uint64_t *ns, struct err *e)
{
	static const struct {
		const char *suffix;
		uint64_t ns;
	} units[] = {{"", 1000000000}, {"s", 1000000000}, {"ms", 1000000}, {"m", 60000000000},
		{"min", 60000000000}, {"h", 3600000000000}};
	const uint64_t most = UINT64_C(7) * 24 * 3600 * 1000000000;
	const char *p = s;
	char q[64];
	uint64_t v;
	int rc = digits(&p, &v);

	for (size_t i = 0; rc != -EINVAL && i < ARRAY_LEN(units); i++) {
		if (strcmp(p, units[i].suffix))
			continue;
		if (rc || v > most / units[i].ns)
			return err_set(e, ERANGE, "'%s' is too long: a week at most", quote(s, q));
		*ns = v * units[i].ns;
		return 0;
	}
	return err_set(e, EINVAL, "'%s' is not a time: write for example 30s, 500ms, 2m or 1h",
		quote(s, q));
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int parse_name(const char *s, struct err *e)
{
	char q[64];
	size_t i;

	if (!*s)
		return err_set(e, EINVAL, "a name cannot be empty");
	for (i = 0; s[i]; i++)
		if (!name_char(s[i]) && (!i || !strchr("._-", s[i])))
			return err_set(e, EINVAL,
				"'%s' cannot be a name: use letters, digits, '.', '_' and '-', "
				"and begin with a letter or digit", quote(s, q));
	if (i > NAME_LEN_MAX)
		return err_set(e, ERANGE, "'%s' is too long for a name: %d bytes at most", quote(s, q),
			NAME_LEN_MAX);
	return 0;
}

const char *format_size(uint64_t bytes, char buf[32])
{
	static const char *const names[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	unsigned i = 0;
	uint64_t unit = 1;

	while (i + 1 < ARRAY_LEN(names) && bytes / unit >= 1024) {
		unit *= 1024;
		i++;
	}
	if (bytes % unit && bytes / unit < 100)
		snprintf(buf, 32, "%.1f %s", (double)bytes / (double)unit, names[i]);
	else
		snprintf(buf, 32, "%llu %s", (unsigned long long)(bytes / unit), names[i]);
	return buf;
}

const char *format_duration(uint64_t ns, char buf[32])
{
	unsigned long long s = ns / 1000000000;

	if (s < 10)
		snprintf(buf, 32, "%.1f s", (double)ns / 1e9);
	else if (s < 60)
		snprintf(buf, 32, "%llu s", s);
	else if (s < 3600)
		snprintf(buf, 32, "%llu min %llu s", s / 60, s % 60);
	else if (s < 86400)
		snprintf(buf, 32, "%llu h %llu min", s / 3600, s / 60 % 60);
	else
		snprintf(buf, 32, "%llu d %llu h", s / 86400, s / 3600 % 24);
	return buf;
}

/* Edits (insert, delete, replace, swap neighbours) that make a into b. */
static unsigned distance(const char *a, const char *b)
{
	enum { MAX = 31 };
	unsigned row[3][MAX + 1];
	size_t n = strnlen(a, MAX), m = strnlen(b, MAX);

	for (size_t j = 0; j <= m; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= n; i++) {
		unsigned *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];

		cur[0] = (unsigned)i;
		for (size_t j = 1; j <= m; j++) {
			unsigned d = up[j - 1] + (a[i - 1] != b[j - 1]);

			if (up[j] + 1 < d)
				d = up[j] + 1;
			if (cur[j - 1] + 1 < d)
				d = cur[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				up2[j - 2] + 1 < d)
				d = up2[j - 2] + 1;
			cur[j] = d;
		}
	}
	return row[n % 3][m];
}

const char *nearest(const char *word, const char *const *names)
{
	const char *best = NULL;
	unsigned best_d = 0;
	size_t len = strlen(word);

	for (; *names; names++) {
		unsigned d = distance(word, *names);

		/* "mem" for "memory": a beginning is as good as a typing slip */
		if (len >= 2 && !strncmp(word, *names, len) && d > 1)
			d = 1;
		if (!best || d < best_d) {
			best = *names;
			best_d = d;
		}
	}
	return best && best_d <= 1 + len / 4 ? best : NULL;
}
