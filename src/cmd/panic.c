/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/util.h"
#include "cmd/panic.h"

void panic_feed(struct panic *p, const uint8_t *bytes, size_t n)
{
	if (n > PANIC_TAIL) {
		p->total += n - PANIC_TAIL;
		bytes += n - PANIC_TAIL;
		n = PANIC_TAIL;
	}
	while (n) {
		size_t off = p->total % PANIC_TAIL, k = min_u64(n, PANIC_TAIL - off);

		memcpy(p->tail + off, bytes, k);
		p->total += k;
		bytes += k;
		n -= k;
	}
}

/* printk's prefix: "[    1.234567] ", with CONFIG_PRINTK_CALLER "[    1.234567][    T1] ". Its length. */
static size_t prefix_len(const char *line, size_t len)
{
	size_t i = 0;

	while (i < len && line[i] == '[') {
		size_t end = i + 1;

		while (end < len && end - i < 24 && line[end] != ']' && line[end] != '[')
			end++;
		if (end >= len || line[end] != ']')
			return 0;
		i = end + 1;
	}
	return i && i < len && line[i] == ' ' ? i + 1 : 0;
}

bool panic_find(const struct panic *p, char text[160])
{
	static const char words[] = "Kernel panic - not syncing: ";
	const size_t words_len = sizeof words - 1;
	size_t len = min_u64(p->total, PANIC_TAIL);
	uint64_t start = p->total - len;
	char buf[PANIC_TAIL];
	bool found = false;

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)p->tail[(start + i) % PANIC_TAIL];
	for (size_t i = 0; i < len;) {
		const char *line = buf + i;
		const char *nl = memchr(line, '\n', len - i);
		size_t n = nl ? (size_t)(nl - line) : len - i, skip;

		i += n + 1;
		skip = prefix_len(line, n);
		if (n - skip < words_len || memcmp(line + skip, words, words_len))
			continue;
		line += skip + words_len;
		n -= skip + words_len;
		found = true;
		n = min_u64(n, 159);
		for (size_t j = 0; j < n; j++)
			text[j] = line[j] >= 0x20 && line[j] < 0x7f ? line[j] : ' ';
		while (n && text[n - 1] == ' ')
			n--;
		text[n] = 0;
	}
	return found;
}

void panic_forget(struct panic *p)
{
	p->total = 0;
}
