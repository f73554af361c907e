/* SPDX-License-Identifier: MIT */
/*
 * husk-vmm's counters on their way to a terminal (cmd/stats.c). The first byte: bit 0 colour, bit 1 with
 * an earlier look, whose text is what stands before the first zero byte, bits 2-7 how long ago.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/stats.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy that ends where text[len] does, so that a step too far is seen. */
static char *parsed(struct stats *s, const uint8_t *data, size_t len)
{
	char *text = malloc(len + 1);

	assert(text);
	memcpy(text, data, len);
	stats_parse(s, text, len);
	assert(s->n <= STATS_ROWS);
	for (unsigned i = 0; i < s->n; i++) {
		const struct stats_row *r = &s->row[i];

		assert(*r->name && strlen(r->name) <= STATS_NAME_MAX && strlen(r->text) <= STATS_TEXT_MAX);
		assert(r->name >= text && r->text + strlen(r->text) <= text + len);
		assert(!r->number || (*r->text >= '0' && *r->text <= '9'));
	}
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stats now, before;
	struct stats_view v = {.colour = false};
	char *text, *old = NULL, *out = NULL;
	unsigned lines = 0;
	size_t n = 0;
	FILE *f;

	if (!size)
		return 0;
	v.colour = data[0] & 1;
	if (data[0] & 2) {
		const uint8_t *zero = memchr(data + 1, 0, size - 1);
		size_t len = zero ? (size_t)(zero - data) - 1 : size - 1;

		old = parsed(&before, data + 1, len);
		v.before = &before;
		v.elapsed_ns = UINT64_C(1) << (data[0] >> 2);
		data += len;
		size -= len;
	}
	text = parsed(&now, data + 1, size - 1);
	f = open_memstream(&out, &n);
	assert(f);
	stats_print(f, &now, &v);
	assert(!fclose(f));
	/* every number that is shown has its line, and nothing in it moves the cursor */
	for (size_t i = 0; i < n; i++) {
		lines += out[i] == '\n';
		assert(out[i] == '\n' || (out[i] >= 0x20 && out[i] < 0x7f) || (v.colour && out[i] == '\033'));
	}
	assert(lines <= 2 * now.n + 1);
	free(out);
	free(text);
	free(old);
	return 0;
}
