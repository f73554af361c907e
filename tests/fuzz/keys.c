/* SPDX-License-Identifier: MIT */
/* What people write: names of keys, and text to be typed by a layout. The input is both. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "display/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { KEYS = 6 };

static void names(const char *s)
{
	uint16_t keys[KEYS];
	struct err e = {0};
	int n = keys_parse(s, keys, KEYS, &e);

	assert(n && n <= KEYS);
	if (n < 0) {
		assert((n == -EINVAL || n == -E2BIG) && *e.text);
		for (const char *c = e.text; *c; c++)
			assert(*c >= ' ' && *c < 0x7f);
		return;
	}
	for (int i = 0; i < n; i++) {
		uint8_t out[8];

		assert(key_name(keys[i]) && key_from_xt(key_to_xt(keys[i])) == keys[i] && key_to_set2(keys[i], true, out));
	}
}

static void text(const char *s, size_t n)
{
	static struct layout *l;
	static bool tried;
	struct stroke out[4];
	uint32_t c;
	int k;

	if (!tried)
		layout_new(&l, "de", NULL); /* may not be installed */
	tried = true;
	for (; (k = utf8_get(s, n, &c)); s += k, n -= (size_t)k) {
		uint16_t key;
		unsigned mods, strokes = 0;

		if (k < 0) {
			assert(k == -EILSEQ);
			k = 1;
			continue;
		}
		assert(k <= 4 && (size_t)k <= n && c <= 0x10ffff);
		if (l) {
			layout_keysym(l, c, &key, &mods);
			strokes = layout_char(l, c, out);
		}
		assert(strokes <= 4);
		for (unsigned i = 0; i < strokes; i++)
			assert(key_name(out[i].key) && !(out[i].mods & ~(unsigned)(KEYS_SHIFT | KEYS_ALTGR)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	char *s = malloc(len + 1), *exact = malloc(len ? len : 1);

	assert(s && exact);
	memcpy(s, p, len);
	s[len] = 0;
	memcpy(exact, p, len); /* a step too far is seen */
	names(s);
	text(exact, len);
	free(exact);
	free(s);
	return 0;
}
