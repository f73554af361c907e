/* SPDX-License-Identifier: MIT */
/*
 * A viewer that says anything, to a server without threads, in virtual time. Whatever it says and whenever it goes, what it held
 * down is let go, and what it got is a sequence of messages of known types, as far as no pixels are in it.
 * Input: byte 0 bit 0: it says all of its handshake itself; bit 1: lossless; bit 2: view only; bit 3: it takes little at first.
 * Then steps: 0x80 | n: n + 1 bytes that it says; else what happens around it, below.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "display/scanout.h"
#include "rfb/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
uint64_t __wrap_now_ns(void);

/* Timers fire when this says so: the real clock is always later. */
static uint64_t now = 1000000000u;
uint64_t __wrap_now_ns(void)
{
	return now;
}

static struct loop *loop;
static struct scanout *out[3];
static struct surface surface;
static struct display *display;
static bool down[0x300];

/* --- what it talks over ---------------------------------------------------------------------------- */

struct fake {
	struct rfb_stream s;
	const uint8_t *p;
	size_t n, room;
	bool end, closed;
};
static struct fake fake;

static ssize_t fake_read(struct rfb_stream *s, void *buf, size_t n)
{
	(void)s;
	if (!fake.n)
		return fake.end ? 0 : -EAGAIN;
	n = (size_t)min_u64(n, fake.n);
	memcpy(buf, fake.p, n);
	fake.p += n;
	fake.n -= n;
	return (ssize_t)n;
}

static ssize_t fake_write(struct rfb_stream *s, const void *buf, size_t n)
{
	volatile uint8_t sum = 0;

	(void)s;
	n = (size_t)min_u64(n, fake.room);
	/* all of it was written by somebody: for MSan and valgrind */
	for (size_t i = 0; i < n; i += 61)
		sum = (uint8_t)(sum ^ ((const uint8_t *)buf)[i]);
	fake.room -= n;
	return n ? (ssize_t)n : -EAGAIN;
}

static bool fake_no(const struct rfb_stream *s)
{
	(void)s;
	return false;
}

static void fake_close(struct rfb_stream *s)
{
	close(s->fd);
	fake.closed = true;
}

static const struct rfb_stream_ops fake_ops = {fake_read, fake_write, fake_no, fake_no, fake_close};

/* --- the guest ----------------------------------------------------------------------------------------- */

static void input(void *arg, const struct input_event *ev, unsigned n)
{
	(void)arg;
	assert(n && n <= INPUT_EVENTS);
	for (unsigned i = 0; i < n; i++) {
		assert(ev[i].type >= INPUT_KEY && ev[i].type <= INPUT_VIEWERS);
		if (ev[i].type == INPUT_KEY || ev[i].type == INPUT_BUTTON) {
			assert(ev[i].code && ev[i].code < ARRAY_LEN(down) && ev[i].a >= 0 && ev[i].a <= 2);
			down[ev[i].code] = ev[i].a;
		} else if (ev[i].type == INPUT_POINT) {
			assert(ev[i].a >= 0 && ev[i].a <= INPUT_POINT_MAX && ev[i].b >= 0 && ev[i].b <= INPUT_POINT_MAX);
		}
	}
}

static int resize(void *arg, const struct resize_wish *w, unsigned n)
{
	(void)arg;
	assert(n && n <= 2 * SCANOUT_HEADS);
	for (unsigned i = 0; i < n; i++)
		assert(w[i].head < SCANOUT_HEADS && (!w[i].w || scanout_mode_ok(w[i].w, w[i].h)));
	return w[0].w % 4 ? 0 : w[0].w % 8 ? -ENOSPC : -EPERM;
}

/* Rounds of the loop: always ready, and ends it after a few, in each of which everybody else had a turn. */
static unsigned rounds;

static void round_ready(struct watch *w, uint32_t events)
{
	(void)w, (void)events;
	if (!rounds || !--rounds)
		loop_stop(loop);
}

static struct watch round_watch = {.ready = round_ready};

static void step(void)
{
	rounds = 4;
	assert(!loop_run(loop));
}

static void draw(unsigned n)
{
	struct rect r = {n % 5 * 7, n % 3 * 11, 13 + n, 5 + n};

	r = rect_clip(r, surface.w, surface.h);
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++)
			*surface_row(&surface, r.x + x, r.y + y) = n & 1 ? n * 0x10203 : (x * y * 77 + n) * 2654435761u;
	scanout_damage(out[1], r);
}

static void world(struct rfb_server *s, unsigned op)
{
	static uint32_t cursor[8 * 8];
	static const uint8_t modes[][2] = {{64, 48}, {1, 1}, {65, 17}, {0, 0}, {250, 140}, {64, 64}, {33, 90}, {64, 47}};
	unsigned n = op & 15;

	switch (op >> 4) {
	case 0:
		draw(n);
		break;
	case 1:
		if (!modes[n % 8][0])
			scanout_off(out[1]);
		else
			scanout_mode(out[1], modes[n % 8][0], modes[n % 8][1], &surface);
		if (!modes[n % 8][0])
			surface = (struct surface){0};
		break;
	case 2:
		if (n & 8)
			scanout_mode(out[2], 16 + n, 40, &(struct surface){0});
		else
			scanout_off(out[2]);
		break;
	case 3:
		for (unsigned i = 0; i < 64; i++)
			cursor[i] = i * n * 0x1020304;
		scanout_cursor(out[1], n % 9, n % 9 ? 8 : 0, 0, n % 8, cursor);
		scanout_cursor_at(out[1], (int32_t)n * 9 - 20, (int32_t)n * 7 - 20);
		break;
	case 4:
		rfb_server_state(s, n & 7, n & 8 ? INPUT_ABSOLUTE : INPUT_RELATIVE);
		break;
	case 5:
		fake.room += (size_t)1 << n;
		break;
	case 6:
		now += UINT64_C(1000000) << n;
		break;
	default:
		if (surface.h > 16)
			memmove(surface.px, surface.px + 16 * (size_t)surface.stride, (surface.h - 16) * (size_t)surface.stride);
		scanout_damage(out[1], (struct rect){0, 0, 300, 200});
	}
	scanout_commit(out[1]);
	scanout_commit(out[2]);
}

static void set_up(void)
{
	int ev = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), fds[3];

	log_init("fuzz", LOG_ERR);
	loop = loop_new();
	assert(loop && ev >= 0);
	for (unsigned i = 0; i < 3; i++) {
		int fd = scanout_create("fuzz", NULL);

		assert(fd >= 0 && !scanout_open(&out[i], fd, ev, NULL));
		fds[i] = scanout_reader(fd, NULL);
		assert(fds[i] >= 0);
	}
	round_watch.fd = eventfd(1, EFD_CLOEXEC);
	assert(!loop_add(loop, &round_watch, EPOLLIN));
	assert(!display_new(&display, loop, fds, 3, ev, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t hello[] = "RFB 003.008\n\1\1";
	static const struct rfb_auth_config auth = {.none = true};
	struct rfb_server_config c = {.no_threads = true, .input = input, .resize = resize, .name = "fuzz"};
	struct rfb_server *s;

	if (size < 1)
		return 0;
	if (!loop)
		set_up();
	scanout_mode(out[1], 64, 48, &surface);
	scanout_off(out[2]);
	world(NULL, 0x30);
	step();
	c.loop = loop;
	c.display = display;
	c.lossless = data[0] & 2;
	c.view_only = data[0] & 4;
	assert(!rfb_server_new(&s, &c, NULL) && !rfb_server_run(s, NULL));
	/* an event counter is always ready, for both */
	fake = (struct fake){.s = {&fake_ops, eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)}, .room = data[0] & 8 ? 100 : SIZE_MAX / 2};
	assert(!rfb_server_add(s, &fake.s, &auth, true));
	if (!(data[0] & 1)) {
		fake.p = hello;
		fake.n = sizeof hello - 1;
		step();
	}
	for (size_t i = 1; i < size && !fake.closed; i++) {
		if (data[i] & 0x80) {
			fake.p = data + i + 1;
			fake.n = (size_t)min_u64((data[i] & 0x7f) + 1u, size - i - 1);
			i += fake.n;
		} else {
			world(s, data[i]);
		}
		step();
	}
	fake.end = true;
	fake.n = 0;
	fake.room = SIZE_MAX / 2;
	step();
	now += 40000000000u;
	step();
	rfb_server_free(s);
	assert(fake.closed);
	for (unsigned i = 0; i < ARRAY_LEN(down); i++)
		assert(!down[i]);
	return 0;
}
