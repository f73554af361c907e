/* SPDX-License-Identifier: MIT */
/*
 * A thread looks after the framebuffer, since what it does (compare and copy megabytes, wait for vCPUs to answer) must hold
 * up neither the loop, whose timers are the guest's, nor a vCPU.
 *
 *   asleep --a clean page is written (screen_touched)--> SETTLE_NS later: look --> asleep, FRAME_NS at the least
 *
 * A look asks the engine for the pages that were written, which makes them clean again, and compares them with the
 * scanout: what differs is copied and told as damage. So a screen that stands still costs nothing, and one that the guest
 * paints without changing a pixel costs the comparison. Engines that do not tell of writes (KVM's dirty log) are asked at
 * the frame rate as long as somebody looks at the screen, else four times a second.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/util.h"
#include "display/scanout.h"
#include "vm/screen.h"

static const uint64_t SETTLE_NS = 1000000, FRAME_NS = 16000000, UNSEEN_NS = 250000000;

enum { INFO_IS_VGA = 0x0f, INFO_W = 0x12, INFO_H = 0x14, INFO_DEPTH = 0x16, INFO_BASE = 0x18, INFO_SIZE = 0x1c,
	INFO_STRIDE = 0x24, INFO_CHANNELS = 0x26, INFO_PAGES = 0x32, TYPE_EFI = 0x70 };

struct screen {
	uint32_t w, h, stride;
	const uint8_t *fb;
	struct scanout *scanout;
	struct surface shown;
	const struct cpu_engine *eng;
	struct engine_vm *evm;
	pthread_t thread;
	bool running;
	pthread_mutex_t lock; /* what follows */
	pthread_cond_t cond;
	bool touched, quit, all;
	unsigned viewers;
	_Atomic bool told; /* touched, without the lock */
	_Atomic uint64_t looks, pages, bytes;
};

int screen_new(struct screen **out, const struct screen_config *c, const struct mem *mem, struct err *e)
{
	struct screen *s;
	pthread_condattr_t attr;
	int rc;

	if (c->w < 64 || c->h < 64 || c->w > SCREEN_SIDE_MAX || c->h > SCREEN_SIDE_MAX || c->w % 8 ||
		(uint64_t)c->w * c->h * 4 > SCREEN_SIZE)
		return err_set(e, EINVAL, "a screen of %" PRIu32 "x%" PRIu32 " is not possible: 64x64 to %dx%d, at most %d "
			"MiB of pixels, a width that is a multiple of 8", c->w, c->h, SCREEN_SIDE_MAX, SCREEN_SIDE_MAX,
			(int)(SCREEN_SIZE / MIB));
	s = xcalloc(1, sizeof *s);
	s->w = c->w;
	s->h = c->h;
	s->stride = c->w * 4;
	s->fb = mem_at(mem, SCREEN_BASE, SCREEN_SIZE);
	s->viewers = 1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->cond, &attr);
	pthread_condattr_destroy(&attr);
	rc = scanout_open(&s->scanout, c->scanout_fd, c->event_fd, e);
	if (!rc && !scanout_mode(s->scanout, s->w, s->h, &s->shown))
		rc = err_set(e, EINVAL, "a screen of %" PRIu32 "x%" PRIu32 " is too large", s->w, s->h);
	if (rc) {
		screen_free(s);
		return rc;
	}
	scanout_commit(s->scanout);
	*out = s;
	return 0;
}

/* Row y from pixel x0 to x1 of the framebuffer; takes what differs. */
static void row_look(struct screen *s, uint32_t y, uint32_t x0, uint32_t x1)
{
	const uint32_t *from = (const uint32_t *)(const void *)(s->fb + (size_t)y * s->stride);
	uint32_t *to = surface_row(&s->shown, 0, y);

	if (!memcmp(from + x0, to + x0, (x1 - x0) * 4))
		return;
	while (x0 < x1 && from[x0] == to[x0])
		x0++;
	while (x1 > x0 && from[x1 - 1] == to[x1 - 1])
		x1--;
	if (x0 == x1)
		return;
	memcpy(to + x0, from + x0, (x1 - x0) * 4);
	atomic_fetch_add_explicit(&s->bytes, (x1 - x0) * 4, memory_order_relaxed);
	scanout_damage(s->scanout, (struct rect){x0, y, x1 - x0, 1});
}

/* Bytes [from, to) of the framebuffer may have changed. */
static void bytes_look(struct screen *s, uint64_t from, uint64_t to)
{
	to = min_u64(to, (uint64_t)s->stride * s->h);
	while (from < to) {
		uint32_t y = (uint32_t)(from / s->stride), x0 = (uint32_t)(from % s->stride) / 4;
		uint64_t end = min_u64(to, (uint64_t)(y + 1) * s->stride);

		row_look(s, y, x0, (uint32_t)((end - (uint64_t)y * s->stride) / 4));
		from = end;
	}
}

/* False: a vCPU did not answer; what it may be writing is looked at again. */
static bool look(struct screen *s, bool all)
{
	uint64_t dirty[MEM_FRAMEBUFFER_PAGES / 64] = {0};
	int rc = s->eng->dirty(s->evm, dirty);

	if (all)
		memset(dirty, 0xff, sizeof dirty);
	atomic_fetch_add_explicit(&s->looks, 1, memory_order_relaxed);
	for (unsigned i = 0; i < SCREEN_SIZE / MEM_PAGE;) {
		unsigned first = i;

		if (!dirty[i / 64]) {
			i = (i | 63) + 1;
			continue;
		}
		while (i < SCREEN_SIZE / MEM_PAGE && dirty[i / 64] >> i % 64 & 1)
			i++;
		if (i > first) {
			atomic_fetch_add_explicit(&s->pages, i - first, memory_order_relaxed);
			bytes_look(s, (uint64_t)first * MEM_PAGE, (uint64_t)i * MEM_PAGE);
		} else {
			i++;
		}
	}
	scanout_commit(s->scanout);
	return !rc;
}

/* Until the next look is due, which may change meanwhile: viewers come. */
static void wait_frame(struct screen *s, uint64_t last)
{
	const uint64_t since = now_ns();

	for (;;) {
		uint64_t due = max_u64(since + SETTLE_NS, last + (s->viewers ? FRAME_NS : UNSEEN_NS));
		const struct timespec t = {(time_t)(due / 1000000000), (long)(due % 1000000000)};

		if (s->quit || now_ns() >= due)
			return;
		pthread_cond_timedwait(&s->cond, &s->lock, &t);
	}
}

static void *screen_main(void *arg)
{
	struct screen *s = arg;
	uint64_t last = 0;

	pthread_mutex_lock(&s->lock);
	while (!s->quit) {
		bool all, done;

		if (!s->touched && !s->all && s->eng->tells_writes) {
			pthread_cond_wait(&s->cond, &s->lock);
			continue;
		}
		wait_frame(s, last);
		all = s->all;
		s->touched = s->all = false;
		atomic_store(&s->told, false);
		pthread_mutex_unlock(&s->lock);
		done = look(s, all);
		last = now_ns();
		pthread_mutex_lock(&s->lock);
		s->touched |= !done;
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int screen_run(struct screen *s, const struct cpu_engine *eng, struct engine_vm *evm, struct err *e)
{
	int rc;

	s->eng = eng;
	s->evm = evm;
	rc = pthread_create(&s->thread, NULL, screen_main, s);
	if (rc)
		return err_set(e, rc, "the screen's thread: %s", strerror(rc));
	s->running = true;
	return 0;
}

void screen_free(struct screen *s)
{
	if (!s)
		return;
	if (s->running) {
		pthread_mutex_lock(&s->lock);
		s->quit = true;
		pthread_cond_signal(&s->cond);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	scanout_close(s->scanout);
	pthread_cond_destroy(&s->cond);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void screen_touched(struct screen *s)
{
	if (atomic_exchange(&s->told, true))
		return;
	pthread_mutex_lock(&s->lock);
	s->touched = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

void screen_viewers(struct screen *s, unsigned n)
{
	pthread_mutex_lock(&s->lock);
	s->viewers = n;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

void screen_reset(struct screen *s)
{
	pthread_mutex_lock(&s->lock);
	s->all = true;
	pthread_cond_signal(&s->cond);
	pthread_mutex_unlock(&s->lock);
}

void screen_info(const struct screen *s, uint8_t info[64])
{
	static const uint8_t channels[8] = {8, 16, 8, 8, 8, 0, 8, 24}; /* size and place of red, green, blue, the rest */

	memset(info, 0, 64);
	info[INFO_IS_VGA] = TYPE_EFI;
	put_u16(info + INFO_W, (uint16_t)s->w);
	put_u16(info + INFO_H, (uint16_t)s->h);
	put_u16(info + INFO_DEPTH, 32);
	put_u32(info + INFO_BASE, (uint32_t)SCREEN_BASE);
	put_u32(info + INFO_SIZE, s->stride * s->h);
	put_u16(info + INFO_STRIDE, (uint16_t)s->stride);
	memcpy(info + INFO_CHANNELS, channels, sizeof channels);
	put_u16(info + INFO_PAGES, 1);
}

size_t screen_stats(const struct screen *s, char *buf, size_t len)
{
	int k = snprintf(buf, len, "screen.looks %" PRIu64 "\nscreen.pages %" PRIu64 "\nscreen.copied_bytes %" PRIu64 "\n",
		atomic_load(&s->looks), atomic_load(&s->pages), atomic_load(&s->bytes));

	return k < 0 ? 0 : min_u64((uint64_t)k, len ? len - 1 : 0);
}
