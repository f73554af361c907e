/* SPDX-License-Identifier: MIT */
/* The scanout from both sides: modes, damage, cursor, waiting, restarts, and what a producer that is dead or hostile leaves. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "display/rects-int.h"
#include "display/scanout-int.h"

static struct rect rc(uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
	return (struct rect){x, y, w, h};
}

static bool same(struct rect a, struct rect b)
{
	return !memcmp(&a, &b, sizeof a);
}

static uint64_t blocks(int fd)
{
	struct stat st;

	assert(!fstat(fd, &st));
	return (uint64_t)st.st_blocks * 512;
}

static uint64_t count(int event_fd)
{
	uint64_t n = 0;

	return read(event_fd, &n, sizeof n) == sizeof n ? n : 0;
}

/* A scanout with both sides open. */
static int fd, rfd, ev;
static struct scanout *s;
static struct scanout_view *v;

static void begin(void)
{
	fd = scanout_create("test", NULL);
	assert(fd >= 0);
	rfd = scanout_reader(fd, NULL);
	assert(rfd >= 0);
	ev = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	assert(!scanout_open(&s, fd, ev, NULL) && !scanout_view_open(&v, rfd, NULL));
}

static void end(void)
{
	scanout_close(s);
	scanout_view_close(v);
	close(fd);
	close(rfd);
	close(ev);
}

static struct scanout_header *header(void)
{
	struct scanout_header *h = mmap(NULL, SCANOUT_HEADER, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert(h != MAP_FAILED);
	return h;
}

static void test_rects(void)
{
	struct rect r[3];
	unsigned n = rects_add(r, 0, 3, rc(0, 0, 10, 10));

	assert(n == 1 && rects_add(r, n, 3, rc(5, 5, 0, 3)) == 1);
	assert(rects_add(r, n, 3, rc(2, 2, 3, 3)) == 1 && same(r[0], rc(0, 0, 10, 10))); /* inside */
	assert(rects_add(r, n, 3, rc(10, 0, 5, 10)) == 1 && same(r[0], rc(0, 0, 15, 10))); /* beside */
	assert(rects_add(r, n, 3, rc(0, 8, 15, 8)) == 1 && same(r[0], rc(0, 0, 15, 16))); /* below, overlapping */
	n = rects_add(r, n, 3, rc(16, 0, 5, 16)); /* a gap */
	assert(n == 2 && same(r[1], rc(16, 0, 5, 16)));
	assert(rects_add(r, n, 3, rc(16, 17, 5, 16)) == 3 && same(r[2], rc(16, 17, 5, 16)) && same(r[1], rc(16, 0, 5, 16)));
	n = rects_add(r, n, 3, rc(100, 100, 5, 5));
	assert(n == 3);
	n = rects_add(r, n, 3, rc(110, 100, 5, 6)); /* no room: with the nearest */
	assert(n == 3 && same(r[2], rc(100, 100, 15, 6)) && same(r[0], rc(0, 0, 15, 16)));
	n = rects_add(r, n, 3, rc(90, 90, 100, 100)); /* holds one */
	assert(n == 3 && same(r[2], rc(90, 90, 100, 100)));
}

static void test_file(void)
{
	struct err e;
	struct scanout_view *other;
	struct scanout *p;
	int plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING), zeroes = memfd_create("zero", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	begin();
	assert(ftruncate(fd, 4096) < 0 && ftruncate(fd, 1ll << 30) < 0);
	assert(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
	assert((fcntl(rfd, F_GETFL) & O_ACCMODE) == O_RDONLY && write(rfd, "", 1) < 0);
	assert(mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, rfd, 0) == MAP_FAILED);
	assert(scanout_open(&p, rfd, -1, &e) == -EACCES);
	assert(blocks(fd) < MIB);
	if (geteuid()) {
		char path[64];

		snprintf(path, sizeof path, "/proc/self/fd/%d", rfd);
		assert(open(path, O_RDWR) < 0 && errno == EACCES);
	}
	/* what is not one */
	assert(!ftruncate(plain, (off_t)SCANOUT_SIZE) && scanout_view_open(&other, plain, &e) == -EINVAL);
	assert(!ftruncate(zeroes, (off_t)SCANOUT_SIZE) && !fcntl(zeroes, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	assert(scanout_view_open(&other, zeroes, &e) == -EINVAL && strstr(e.text, "version"));
	assert(scanout_open(&p, zeroes, -1, NULL) == -EINVAL && scanout_view_open(&other, 0, NULL) == -EINVAL);
	assert(scanout_reader(12345, &e) < 0 && strstr(e.text, "12345"));
	close(plain);
	plain = memfd_create("short", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert(!ftruncate(plain, 1 << 20) && !fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
	assert(scanout_view_open(&other, plain, &e) == -EINVAL);
	close(plain);
	close(zeroes);
	end();
	scanout_close(NULL);
	scanout_view_close(NULL);
}

static void test_modes(void)
{
	static const struct {
		uint32_t w, h;
		bool ok;
	} modes[] = {{0, 0, false}, {0, 5, false}, {5, 0, false}, {1, 1, true}, {8192, 2048, true}, {8192, 2049, false},
		{8193, 1, false}, {1, 8193, false}, {1, 8192, true}, {4096, 4096, true}, {4097, 4096, false}, {5120, 2880, true},
		{UINT32_MAX, UINT32_MAX, false}, {0x40000000, 4, false}, {65536, 65536, false}, {0x80000000, 2, false}};
	struct surface p, q;
	uint32_t g = 0, was;

	begin();
	assert(!scanout_view_mode(v, &q, &g));
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		assert(scanout_mode_ok(modes[i].w, modes[i].h) == modes[i].ok);
		assert(scanout_mode(s, modes[i].w, modes[i].h, &p) == modes[i].ok);
		was = g;
		assert(scanout_view_mode(v, &q, &g) == (i > 2));
		assert(modes[i].ok == (g != was));
		if (!modes[i].ok)
			continue;
		assert(p.w == modes[i].w && p.h == modes[i].h && q.w == p.w && q.h == p.h && q.stride == p.stride);
		assert(p.stride >= 4 * p.w && (uint64_t)p.stride * p.h <= SCANOUT_PIXELS_MAX);
		*surface_row(&p, p.w - 1, p.h - 1) = 0x123456;
		assert(*surface_row(&q, q.w - 1, q.h - 1) == 0x123456);
	}
	/* the same: nothing happens; another: black, and the memory is given back */
	assert(scanout_mode(s, 2000, 1000, &p) && scanout_view_mode(v, &q, &g));
	for (uint32_t y = 0; y < 1000; y++)
		memset(surface_row(&p, 0, y), 0x55, 8000);
	assert(scanout_mode(s, 2000, 1000, &p));
	was = g;
	assert(scanout_view_mode(v, &q, &g) && g == was && *surface_row(&q, 5, 5) == 0x55555555);
	assert(blocks(fd) > 7 * MIB && scanout_mode(s, 100, 50, &p));
	assert(blocks(fd) < MIB && scanout_view_mode(v, &q, &g) && g != was);
	for (uint32_t i = 0; i < 5000; i++)
		assert(!*surface_row(&q, i % 100, i / 100));
	scanout_off(s);
	was = g;
	assert(!scanout_view_mode(v, &q, &g) && g != was && !q.w);
	was = g;
	scanout_off(s);
	assert(!scanout_view_mode(v, &q, &g) && g == was);
	end();
}

static void test_damage(void)
{
	struct surface p;
	struct rect r[300];
	uint32_t g;

	begin();
	assert(!scanout_view_damage(v, r, 300));
	scanout_damage(s, rc(0, 0, 5, 5)); /* off */
	assert(scanout_mode(s, 1000, 500, &p));
	count(ev);
	scanout_commit(s);
	assert(count(ev) == 1);
	scanout_commit(s);
	assert(!count(ev)); /* nothing new */
	/* a new mode: all, once; not before the reader has looked at it */
	assert(!scanout_view_damage(v, r, 300));
	scanout_view_mode(v, &p, &g);
	assert(scanout_view_damage(v, r, 300) == 1 && same(r[0], rc(0, 0, 1000, 500)));
	assert(!scanout_view_damage(v, r, 300));
	scanout_damage(s, rc(10, 10, 5, 5));
	assert(!scanout_view_damage(v, r, 300)); /* not committed */
	scanout_damage(s, rc(15, 10, 5, 5));
	scanout_damage(s, rc(12, 12, 2, 2));
	scanout_damage(s, rc(990, 490, 50, 50));
	scanout_damage(s, rc(1000, 0, 5, 5));
	scanout_damage(s, rc(UINT32_MAX, 0, UINT32_MAX, 5));
	scanout_damage(s, rc(1, 1, 0, 5));
	scanout_commit(s);
	assert(count(ev) == 1 && atomic_load(&header()->head) == 2); /* joined by the producer */
	assert(scanout_view_damage(v, r, 300) == 2 && same(r[0], rc(10, 10, 10, 5)) && same(r[1], rc(990, 490, 10, 10)));
	/* more than the producer collects, and than the reader wants */
	for (uint32_t i = 0; i < 100; i++)
		scanout_damage(s, rc(i * 10, i * 5, 3, 2));
	scanout_commit(s);
	assert(scanout_view_damage(v, r, 300) == 100);
	for (uint32_t i = 0; i < 100; i++)
		assert(same(r[i], rc(i * 10, i * 5, 3, 2)));
	for (uint32_t i = 0; i < 100; i++)
		scanout_damage(s, rc(i * 10, i * 5, 3, 2));
	scanout_commit(s);
	assert(scanout_view_damage(v, r, 1) == 1 && same(r[0], rc(0, 0, 993, 497)));
	/* the ring: full but for one, and one more */
	for (uint32_t n = SCANOUT_RING - 1; n <= SCANOUT_RING; n++) {
		for (uint32_t i = 0; i < n; i++)
			scanout_damage(s, rc(i * 3, i % 2 * 100, 2, 1));
		scanout_commit(s);
		if (n < SCANOUT_RING)
			assert(scanout_view_damage(v, r, 300) == n && same(r[n - 1], rc((n - 1) * 3, (n - 1) % 2 * 100, 2, 1)));
		else
			assert(scanout_view_damage(v, r, 300) == 1 && same(r[0], rc(0, 0, 1000, 500)));
		assert(!scanout_view_damage(v, r, 300));
	}
	/* damage of a mode that the reader does not know yet is clipped to the one it knows, and then comes all */
	assert(scanout_mode(s, 2000, 1000, &p));
	scanout_damage(s, rc(0, 0, 2000, 1000));
	scanout_commit(s);
	assert(scanout_view_damage(v, r, 300) == 1 && same(r[0], rc(0, 0, 1000, 500)));
	scanout_view_mode(v, &p, &g);
	assert(scanout_view_damage(v, r, 300) == 1 && same(r[0], rc(0, 0, 2000, 1000)));
	scanout_damage(s, rc(5, 5, 5, 5)); /* what is not committed goes with its picture */
	scanout_off(s);
	assert(scanout_mode(s, 2000, 1000, &p));
	scanout_commit(s);
	scanout_view_mode(v, &p, &g);
	assert(scanout_view_damage(v, r, 300) == 1 && !scanout_view_damage(v, r, 300));
	end();
}

static void test_cursor(void)
{
	static uint32_t px[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];
	struct scanout_view_cursor c = {.w = 77}, c2;
	struct scanout_view *w;
	uint32_t g;

	for (uint32_t i = 0; i < ARRAY_LEN(px); i++)
		px[i] = i * 0x01020304;
	begin();
	assert(scanout_view_cursor(v, &c) && !c.w && !scanout_view_cursor(v, &c));
	g = c.generation;
	count(ev);
	scanout_cursor(s, 7, 5, 3, 4, px);
	scanout_cursor_at(s, -3, 70000);
	scanout_commit(s);
	assert(count(ev) == 1 && scanout_view_cursor(v, &c) && c.generation != g);
	assert(c.w == 7 && c.h == 5 && c.hot_x == 3 && c.hot_y == 4 && c.x == -3 && c.y == 70000);
	assert(!memcmp(c.px, px, 35 * 4) && !scanout_view_cursor(v, &c));
	g = c.generation;
	scanout_cursor_at(s, 8, INT32_MIN);
	scanout_commit(s);
	memset(&c2, 0, sizeof c2); /* another struct than before is set, too */
	assert(count(ev) == 1 && scanout_view_cursor(v, &c2) && c2.generation == g && c2.x == 8 && c2.y == INT32_MIN);
	assert(c2.w == 7 && !memcmp(c2.px, px, 35 * 4));
	assert(!scanout_view_open(&w, rfd, NULL) && scanout_view_cursor(w, &c) && c.w == 7 && c.x == 8); /* another reader */
	scanout_view_close(w);
	scanout_cursor(s, 64, 64, 64, 99, px);
	assert(scanout_view_cursor(v, &c) && c.w == 64 && c.h == 64 && c.hot_x == 63 && c.hot_y == 63 && !memcmp(c.px, px, sizeof px));
	scanout_cursor(s, 64, 64, 0, 0, NULL);
	assert(scanout_view_cursor(v, &c) && !c.w && !c.h);
	end();
}

static void *wake(void *arg)
{
	usleep(20000);
	scanout_damage(s, rc(0, 0, 1, 1));
	scanout_commit(s);
	return arg;
}

static void test_wait(void)
{
	struct surface p;
	pthread_t t;
	uint64_t start = now_ns();

	begin();
	assert(!scanout_view_wait(v, 0) && !scanout_view_wait(v, -5) && !scanout_view_wait(v, 30));
	assert(now_ns() - start >= 30000000);
	assert(scanout_mode(s, 64, 64, &p));
	scanout_commit(s);
	assert(scanout_view_wait(v, 60000) && !scanout_view_wait(v, 1));
	assert(!pthread_create(&t, NULL, wake, NULL));
	assert(scanout_view_wait(v, 60000)); /* the futex, through a mapping that is for reading only */
	pthread_join(t, NULL);
	end();
}

static void test_restart(void)
{
	struct scanout_view_cursor c;
	struct scanout_header *h;
	struct surface p, q;
	struct rect r[4];
	uint32_t g, was, px = 0x80112233;

	begin();
	assert(scanout_mode(s, 300, 200, &p));
	*surface_row(&p, 299, 199) = 0xabcdef;
	scanout_cursor(s, 1, 1, 0, 0, &px);
	scanout_commit(s);
	assert(scanout_view_mode(v, &q, &g) && scanout_view_damage(v, r, 4) == 1 && scanout_view_cursor(v, &c));
	/* in order: all stays, and is damaged */
	scanout_close(s);
	assert(!scanout_open(&s, fd, ev, NULL));
	was = g;
	assert(scanout_view_mode(v, &q, &g) && g == was && scanout_view_damage(v, r, 4) == 1 && same(r[0], rc(0, 0, 300, 200)));
	assert(scanout_mode(s, 300, 200, &p) && *surface_row(&p, 299, 199) == 0xabcdef && !scanout_view_cursor(v, &c));
	scanout_damage(s, rc(1, 2, 3, 4)); /* goes on in the ring */
	scanout_commit(s);
	assert(scanout_view_damage(v, r, 4) == 1 && same(r[0], rc(1, 2, 3, 4)));
	/* dead in the middle of everything: readers stay with what they had */
	h = header();
	h->mode_seq |= 1;
	h->w = 8192;
	h->generation += 7;
	h->cursor_seq |= 1;
	h->cursor_w = 64;
	h->cursor_generation += 3;
	assert(scanout_view_mode(v, &q, &g) && g == was && q.w == 300 && !scanout_view_cursor(v, &c));
	scanout_close(s);
	assert(!scanout_open(&s, fd, ev, NULL));
	assert(!scanout_view_mode(v, &q, &g) && g != was && scanout_view_cursor(v, &c) && !c.w);
	assert(blocks(fd) < MIB && scanout_mode(s, 300, 200, &p) && !*surface_row(&p, 299, 199));
	/* one that has left nonsense */
	h->w = 9000;
	scanout_close(s);
	assert(!scanout_open(&s, fd, ev, NULL) && !h->w && scanout_mode(s, 10, 10, &p));
	munmap(h, SCANOUT_HEADER);
	end();
}

static void test_hostile(void)
{
	static const uint64_t heads[] = {0, 1, UINT64_MAX, 1ull << 63, 255, 256, 257, 5};
	struct scanout_header *h;
	struct scanout_view_cursor c;
	struct surface p, q;
	struct rect r[8];
	uint32_t g, was;
	unsigned n;

	begin();
	h = header();
	assert(scanout_mode(s, 300, 200, &p) && scanout_view_mode(v, &q, &g) && scanout_view_damage(v, r, 8) == 1);
	for (unsigned i = 0; i < SCANOUT_RING; i++)
		h->ring[i] = i * 0xfedcba9876543211ull;
	for (unsigned i = 0; i < ARRAY_LEN(heads); i++) {
		h->head = heads[i];
		n = scanout_view_damage(v, r, 8);
		assert(n <= 8);
		for (unsigned k = 0; k < n; k++)
			assert(!rect_empty(r[k]) && r[k].x + r[k].w <= 300 && r[k].y + r[k].h <= 200);
		assert(!scanout_view_damage(v, r, 8));
	}
	was = g;
	h->w = 301; /* without another generation */
	assert(scanout_view_mode(v, &q, &g) && g != was && q.w == 301);
	was = g;
	h->h = 0x80000000;
	assert(!scanout_view_mode(v, &q, &g) && g != was && !q.w && !scanout_view_damage(v, r, 8));
	scanout_view_cursor(v, &c);
	h->cursor_generation++;
	h->cursor_w = 65;
	h->cursor_h = 1;
	assert(scanout_view_cursor(v, &c) && !c.w && !c.h);
	h->cursor_generation++;
	h->cursor_w = 1;
	h->cursor_h = UINT32_MAX;
	assert(scanout_view_cursor(v, &c) && !c.w && !c.h);
	h->cursor_generation++;
	h->cursor_h = 2;
	h->cursor_hot_x = h->cursor_hot_y = UINT32_MAX;
	assert(scanout_view_cursor(v, &c) && c.w == 1 && c.h == 2 && c.hot_x == 0 && c.hot_y == 1);
	munmap(h, SCANOUT_HEADER);
	end();
}

/* One that writes as fast as it can; what a reader gets is consistent all the same. */
static atomic_bool stop;

static void *writer(void *arg)
{
	static uint32_t px[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];
	struct surface p;

	for (uint32_t i = 1; !atomic_load(&stop); i++) {
		uint32_t k = 1 + i % 50;

		assert(scanout_mode(s, k, 2 * k, &p));
		scanout_damage(s, rc(k / 2, 0, 1, 2 * k));
		for (uint32_t n = 0; n < 64; n++)
			px[n] = px[63] + 1;
		scanout_cursor(s, 8, 8, 0, 0, px);
		scanout_cursor_at(s, (int32_t)i, -(int32_t)i);
		scanout_commit(s);
	}
	return arg;
}

static void test_race(void)
{
	struct scanout_view_cursor c;
	struct surface q;
	struct rect r[4];
	uint32_t g = 0;
	pthread_t t;
	unsigned modes = 0, cursors = 0;

	begin();
	assert(!pthread_create(&t, NULL, writer, NULL));
	for (unsigned i = 0; i < 3000 || modes < 100 || cursors < 100; i++) {
		uint32_t was = g;

		if (scanout_view_mode(v, &q, &g))
			assert(q.h == 2 * q.w);
		modes += i && g != was;
		for (unsigned n = scanout_view_damage(v, r, 4); n--;)
			assert(r[n].x + r[n].w <= q.w && r[n].y + r[n].h <= q.h);
		if (scanout_view_cursor(v, &c)) {
			cursors++;
			assert(c.x == -c.y);
			for (unsigned k = 1; k < 64 && c.w; k++)
				assert(c.px[k] == c.px[0]);
		}
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	end();
}

/* Cursors only, with rests between that are long enough for a reader, and others that are not. */
static void *pointer(void *arg)
{
	static uint32_t px[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];

	for (uint32_t i = 1; !atomic_load(&stop); i++) {
		for (uint32_t n = 0; n < ARRAY_LEN(px); n++)
			px[n] = i;
		scanout_cursor(s, SCANOUT_CURSOR_MAX, SCANOUT_CURSOR_MAX, 0, 0, px);
		for (uint64_t until = now_ns() + i % 16 * 4000; now_ns() < until;)
			;
	}
	return arg;
}

static void test_cursor_race(void)
{
	struct scanout_view_cursor c;
	pthread_t t;
	uint64_t end_ns = now_ns() + 5000000000;
	unsigned cursors = 0;

	begin();
	atomic_store(&stop, false);
	assert(!pthread_create(&t, NULL, pointer, NULL));
	while (cursors < 500 && now_ns() < end_ns) {
		if (!scanout_view_cursor(v, &c))
			continue;
		cursors++;
		for (unsigned k = 1; k < c.w * c.h; k++)
			assert(c.px[k] == c.px[0]);
	}
	assert(cursors > 10);
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	end();
}

/* What is drawn and announced is never missed: the last look gives the last state. */
static void *drawer(void *arg)
{
	struct surface p;

	assert(scanout_mode(s, 256, 64, &p));
	for (uint32_t i = 0; i < 60000; i++) {
		uint32_t x = i * 7 % 256, y = i * 13 % 64;

		atomic_store_explicit((_Atomic uint32_t *)(void *)surface_row(&p, x, y), i, memory_order_relaxed);
		scanout_damage(s, rc(x, y, 1, 1));
		if (i % 3 == 0)
			scanout_commit(s);
	}
	scanout_commit(s);
	atomic_store(&stop, true);
	return arg;
}

static void test_nothing_missed(void)
{
	static uint32_t copy[256 * 64];
	struct surface q;
	uint32_t g;
	pthread_t t;
	bool last;

	begin();
	atomic_store(&stop, false);
	assert(!pthread_create(&t, NULL, drawer, NULL));
	do {
		struct rect r[16];

		last = atomic_load(&stop);
		scanout_view_mode(v, &q, &g);
		for (unsigned n = scanout_view_damage(v, r, 16); n--;)
			for (uint32_t y = r[n].y; y < r[n].y + r[n].h; y++)
				for (uint32_t x = r[n].x; x < r[n].x + r[n].w; x++)
					copy[y * 256 + x] = atomic_load_explicit((_Atomic uint32_t *)(void *)surface_row(&q, x, y),
						memory_order_relaxed);
	} while (!last);
	pthread_join(t, NULL);
	assert(!memcmp(copy, q.px, sizeof copy));
	end();
}

int main(void)
{
	test_rects();
	test_file();
	test_modes();
	test_damage();
	test_cursor();
	test_wait();
	test_restart();
	test_hostile();
	test_race();
	test_cursor_race();
	test_nothing_missed();
	return 0;
}
