/* SPDX-License-Identifier: MIT */
#include "display/keys.h"

#include <errno.h>
#include <linux/input-event-codes.h>
#include <string.h>
#include <strings.h>

#include "display/keys-int.h"

/* ---- numbers ---- */

/* Rows are few, keys come one by one: no index. */
static const struct key_row *row_of(uint16_t key)
{
	for (unsigned i = 0; i < key_nrows; i++)
		if (key_rows[i].key == key)
			return &key_rows[i];
	return NULL;
}

uint16_t key_from_xt(uint32_t xt)
{
	if (xt == 0x54) /* Print while Alt is down */
		return KEY_SYSRQ;
	for (unsigned i = 0; i < key_nrows; i++)
		if (key_rows[i].xt == xt)
			return key_rows[i].key;
	return 0;
}

uint32_t key_to_xt(uint16_t key)
{
	const struct key_row *r = row_of(key);

	return r ? r->xt : 0;
}

static unsigned bytes(uint8_t out[8], const char *from, unsigned n)
{
	memcpy(out, from, n);
	return n;
}

unsigned key_to_set2(uint16_t key, bool down, uint8_t out[8])
{
	const struct key_row *r = row_of(key);
	unsigned n = 0;

	if (!r)
		return 0;
	if (r->set2 == SET2_PAUSE) /* down and up at once */
		return down ? bytes(out, "\xe1\x14\x77\xe1\xf0\x14\xf0\x77", 8) : 0;
	if (r->set2 == SET2_PRINT) /* with a Shift that is none */
		return down ? bytes(out, "\xe0\x12\xe0\x7c", 4) : bytes(out, "\xe0\xf0\x7c\xe0\xf0\x12", 6);
	if ((r->set2 & 0xff) > 0x84 && !down) /* Hangul, Hanja */
		return 0;
	if (r->set2 & SET2_E0)
		out[n++] = 0xe0;
	if (!down)
		out[n++] = 0xf0;
	out[n++] = r->set2 & 0xff;
	return n;
}

const char *key_name(uint16_t key)
{
	const struct key_row *r = row_of(key);

	return r ? r->name : NULL;
}

/* ---- names ---- */

enum { WORD_MAX = 24 }; /* longer than any name */

static unsigned char lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
}

/* The i-th name of all, as people may write it; NULL behind the last */
static const char *name_at(unsigned i, uint16_t *key)
{
	if (i < key_nrows) {
		*key = key_rows[i].key;
		return key_rows[i].name + strlen("KEY_");
	}
	i -= key_nrows;
	if (i >= key_naliases)
		return NULL;
	*key = key_aliases[i].key;
	return key_aliases[i].name;
}

/* Aliases come first: "menu" is the key beside Ctrl, which Linux calls KEY_COMPOSE; its KEY_MENU is another. */
static uint16_t find(const char *word)
{
	uint16_t key, found = 0;
	const char *name;

	for (unsigned i = 0; (name = name_at(i, &key)); i++)
		if (!strcasecmp(name, word))
			found = key;
	return found;
}

static bool same(char a, char b)
{
	return lower((unsigned char)a) == lower((unsigned char)b);
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* How many letters are wrong, missing, too many, or swapped with the next, in short words */
static unsigned distance(const char *a, const char *b)
{
	unsigned rows[3][WORD_MAX + 1], *row[3] = {rows[0], rows[1], rows[2]}, n = (unsigned)strlen(b);

	if (n > WORD_MAX)
		return UINT32_MAX;
	for (unsigned j = 0; j <= n; j++)
		row[1][j] = row[2][j] = j;
	for (unsigned i = 0; a[i]; i++) { /* row[2] is that of i, row[1] the one before */
		unsigned *free = row[0];

		row[0] = row[1];
		row[1] = row[2];
		row[2] = free;
		row[2][0] = i + 1;
		for (unsigned j = 1; j <= n; j++) {
			unsigned d = row[1][j - 1] + !same(a[i], b[j - 1]);

			d = least(d, least(row[1][j], row[2][j - 1]) + 1);
			if (i && j > 1 && same(a[i], b[j - 2]) && same(a[i - 1], b[j - 1]))
				d = least(d, row[0][j - 2] + 1);
			row[2][j] = d;
		}
	}
	return row[2][n];
}

static int unknown(const char *word, struct err *e)
{
	unsigned best = UINT32_MAX, limit = strlen(word) < 4 ? 1 : 2;
	char near[WORD_MAX + 1] = "";
	const char *name;
	uint16_t key;

	for (unsigned i = 0; (name = name_at(i, &key)); i++) {
		unsigned d = distance(word, name);

		if (d < best && d < strlen(word)) {
			unsigned n = 0;

			for (best = d; name[n] && n < WORD_MAX; n++)
				near[n] = (char)lower((unsigned char)name[n]);
			near[n] = 0;
		}
	}
	if (best <= limit)
		return err_set(e, EINVAL, "no key '%s': did you mean '%s'?", word, near);
	return err_set(e, EINVAL, "no key '%s': keys are named like ctrl, alt, delete, f1, a, kp_5, as in ctrl-alt-f2", word);
}

static bool separator(char c)
{
	return c == '-' || c == '+';
}

int keys_parse(const char *s, uint16_t *keys, unsigned max, struct err *e)
{
	unsigned n = 0;

	for (;;) {
		char word[WORD_MAX + 1];
		unsigned len = 0;
		uint16_t key;

		/* where a name has to be, a separator is the key of that name: "ctrl--", "alt-+" */
		if (separator(*s)) {
			word[len++] = *s;
		} else {
			for (; s[len] && !separator(s[len]); len++)
				if (len < WORD_MAX)
					word[len] = s[len] >= ' ' && s[len] < 0x7f ? s[len] : '?';
		}
		s += len;
		word[len < WORD_MAX ? len : WORD_MAX] = 0;
		if (!len)
			return n ? err_set(e, EINVAL, "keys: a name has to follow the last '%c'", s[-1]) :
				   err_set(e, EINVAL, "keys: at least one name, as in ctrl-alt-delete");
		key = separator(*word) ? (*word == '-' ? KEY_MINUS : KEY_KPPLUS) : find(word);
		if (!key)
			return unknown(word, e);
		for (unsigned i = 0; i < n; i++)
			if (keys[i] == key)
				return err_set(e, EINVAL, "key '%s' twice: a key can be pressed once at a time", word);
		if (n == max)
			return err_set(e, E2BIG, "keys: more than %u at a time", max);
		keys[n++] = key;
		if (!*s)
			return (int)n;
		if (!separator(*s++))
			return err_set(e, EINVAL, "keys: after the key '%s' a '-' or '+' has to come before the next", word);
	}
}

/* ---- text ---- */

int utf8_get(const char *s, size_t n, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const uint8_t *p = (const uint8_t *)s;
	unsigned len;

	if (!n)
		return 0;
	if (p[0] < 0x80) {
		*c = p[0];
		return 1;
	}
	len = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	if (p[0] < 0xc0 || p[0] > 0xf7 || n < len)
		return -EILSEQ;
	*c = p[0] & (0x7f >> len);
	for (unsigned i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -EILSEQ;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	if (*c < least[len] || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000))
		return -EILSEQ;
	return (int)len;
}
