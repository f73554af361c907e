/* SPDX-License-Identifier: MIT */
/*
 * Who may not try again yet. Five wrong passwords are free, since people mistype; then each one costs twice the time of the one
 * before. A right one, or an hour without a wrong one, and it is forgotten. The table has a fixed size: someone with very many
 * addresses pushes others out of it, and would not be stopped by a larger one either.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "rfb/auth.h"

#define SECOND UINT64_C(1000000000)
#define FORGET (3600 * SECOND)
enum { ENTRIES = 256, FREE = 5, FIRST_S = 10, MAX_S = 300 };

struct entry {
	uint8_t key[16];
	size_t n; /* 0: empty */
	unsigned failures;
	uint64_t last, until;
};

struct rfb_blacklist {
	struct entry entry[ENTRIES];
};

/*
 * Whom an address stands for. An IPv6 host has a whole /64 to choose from, but what shares a link-local one are neighbours. An
 * IPv4 address may come in IPv6 clothes.
 */
static size_t key_of(uint8_t key[16], const void *addr, size_t n)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	const uint8_t *p = addr;

	assert(n && n <= 16);
	memset(key, 0, 16);
	if (n == 16 && !memcmp(p, mapped, sizeof mapped)) {
		p += sizeof mapped;
		n = 4;
	} else if (n == 16 && !(p[0] == 0xfe && (p[1] & 0xc0) == 0x80)) {
		n = 8;
	}
	memcpy(key, p, n);
	return n;
}

static struct entry *find(struct rfb_blacklist *b, const uint8_t key[16], size_t n)
{
	for (unsigned i = 0; i < ENTRIES; i++)
		if (b->entry[i].n == n && !memcmp(b->entry[i].key, key, 16))
			return &b->entry[i];
	return NULL;
}

struct rfb_blacklist *rfb_blacklist_new(void)
{
	return calloc(1, sizeof(struct rfb_blacklist));
}

void rfb_blacklist_free(struct rfb_blacklist *b)
{
	free(b);
}

bool rfb_blacklist_blocked(struct rfb_blacklist *b, const void *key, size_t n, uint64_t now_ns)
{
	uint8_t k[16];
	struct entry *e;

	n = key_of(k, key, n);
	e = find(b, k, n);
	return e && now_ns < e->until;
}

void rfb_blacklist_failed(struct rfb_blacklist *b, const void *key, size_t n, uint64_t now_ns)
{
	uint8_t k[16];
	struct entry *e;

	n = key_of(k, key, n);
	e = find(b, k, n);
	if (!e) { /* an empty one, or who has failed least lately */
		e = &b->entry[0];
		for (unsigned i = 1; i < ENTRIES && e->n; i++)
			if (!b->entry[i].n || b->entry[i].last < e->last)
				e = &b->entry[i];
		*e = (struct entry){.n = n};
		memcpy(e->key, k, sizeof k);
	}
	if (now_ns >= e->last && now_ns - e->last >= FORGET)
		e->failures = 0;
	e->last = now_ns;
	e->failures++;
	if (e->failures >= FREE) {
		unsigned doublings = e->failures - FREE;
		uint64_t s = doublings < 8 ? (uint64_t)FIRST_S << doublings : MAX_S;

		e->until = now_ns + min_u64(s, MAX_S) * SECOND;
	}
}

void rfb_blacklist_passed(struct rfb_blacklist *b, const void *key, size_t n)
{
	uint8_t k[16];
	struct entry *e;

	n = key_of(k, key, n);
	e = find(b, k, n);
	if (e)
		*e = (struct entry){.n = 0};
}
