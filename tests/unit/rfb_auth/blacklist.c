/* SPDX-License-Identifier: MIT */
/* Who has to wait how long after wrong passwords; the clock is the test's. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "rfb/auth.h"

#define S UINT64_C(1000000000)

static const uint8_t ip4[4] = {192, 0, 2, 1}, other4[4] = {192, 0, 2, 2};

static void fail(struct rfb_blacklist *b, const void *key, size_t n, unsigned times, uint64_t now)
{
	while (times--)
		rfb_blacklist_failed(b, key, n, now);
}

/* Five, then 10 s, 20 s, ... 300 s, each from the failure on. */
static void doubling(void)
{
	static const unsigned wait[] = {10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300};
	struct rfb_blacklist *b = rfb_blacklist_new();
	uint64_t now = 1000 * S;

	assert(!rfb_blacklist_blocked(b, ip4, 4, now));
	fail(b, ip4, 4, 4, now);
	assert(!rfb_blacklist_blocked(b, ip4, 4, now));
	for (unsigned i = 0; i < ARRAY_LEN(wait); i++) {
		rfb_blacklist_failed(b, ip4, 4, now);
		assert(rfb_blacklist_blocked(b, ip4, 4, now));
		assert(!rfb_blacklist_blocked(b, other4, 4, now) && !rfb_blacklist_blocked(b, ip4, 3, now));
		now += wait[i] * S;
		assert(rfb_blacklist_blocked(b, ip4, 4, now - 1));
		assert(!rfb_blacklist_blocked(b, ip4, 4, now));
	}
	/* many at once, from connections that were open already */
	fail(b, ip4, 4, 100000, now);
	assert(rfb_blacklist_blocked(b, ip4, 4, now + 300 * S - 1) && !rfb_blacklist_blocked(b, ip4, 4, now + 300 * S));
	/* an hour: as new */
	fail(b, ip4, 4, 4, now + 3600 * S);
	assert(!rfb_blacklist_blocked(b, ip4, 4, now + 3600 * S));
	fail(b, ip4, 4, 1, now + 7199 * S);
	assert(rfb_blacklist_blocked(b, ip4, 4, now + 7199 * S));
	rfb_blacklist_free(b);
	rfb_blacklist_free(NULL);
}

static void right(void)
{
	struct rfb_blacklist *b = rfb_blacklist_new();

	for (unsigned i = 0; i < 10; i++) {
		fail(b, ip4, 4, 4, S);
		assert(!rfb_blacklist_blocked(b, ip4, 4, S));
		rfb_blacklist_passed(b, ip4, 4);
	}
	fail(b, ip4, 4, 5, S);
	rfb_blacklist_passed(b, other4, 4);
	assert(rfb_blacklist_blocked(b, ip4, 4, S));
	rfb_blacklist_passed(b, ip4, 4);
	assert(!rfb_blacklist_blocked(b, ip4, 4, S));
	rfb_blacklist_free(b);
}

static void addresses(void)
{
	uint8_t a[16] = {0x20, 0x01, 0x0d, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, c[16];
	uint8_t mapped[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 1};
	struct rfb_blacklist *b = rfb_blacklist_new();

	/* a /64 is one */
	fail(b, a, 16, 5, S);
	memcpy(c, a, 16);
	c[15]++;
	c[8]++;
	assert(rfb_blacklist_blocked(b, c, 16, S));
	c[7]++;
	assert(!rfb_blacklist_blocked(b, c, 16, S));
	/* neighbours are not */
	memcpy(c, a, 16);
	c[0] = 0xfe;
	c[1] = 0xbf;
	fail(b, c, 16, 5, S);
	assert(rfb_blacklist_blocked(b, c, 16, S));
	c[15]++;
	assert(!rfb_blacklist_blocked(b, c, 16, S));
	/* IPv4 either way, and not all of it */
	fail(b, mapped, 16, 5, S);
	assert(rfb_blacklist_blocked(b, ip4, 4, S));
	mapped[15]++;
	assert(!rfb_blacklist_blocked(b, mapped, 16, S));
	rfb_blacklist_free(b);
}

/* 256 addresses; the next one takes the place of the one that failed longest ago. */
static void bounded(void)
{
	struct rfb_blacklist *b = rfb_blacklist_new();
	uint8_t a[4] = {10};

	for (unsigned i = 0; i < 256; i++) {
		a[3] = (uint8_t)i;
		fail(b, a, 4, 5, S + i);
	}
	a[3] = 0;
	rfb_blacklist_failed(b, a, 4, 2 * S); /* now the second is the oldest */
	fail(b, other4, 4, 5, 3 * S);
	for (unsigned i = 0; i < 256; i++) {
		a[3] = (uint8_t)i;
		assert(rfb_blacklist_blocked(b, a, 4, 4 * S) == (i != 1));
	}
	assert(rfb_blacklist_blocked(b, other4, 4, 4 * S));
	/* whose place it was begins at 0 again */
	a[3] = 1;
	fail(b, a, 4, 4, 4 * S);
	assert(!rfb_blacklist_blocked(b, a, 4, 4 * S));
	/* room that became free is taken first */
	rfb_blacklist_passed(b, other4, 4);
	fail(b, ip4, 4, 5, 5 * S);
	a[3] = 3;
	assert(rfb_blacklist_blocked(b, a, 4, 5 * S));
	rfb_blacklist_free(b);
}

int main(void)
{
	doubling();
	right();
	addresses();
	bounded();
	return 0;
}
