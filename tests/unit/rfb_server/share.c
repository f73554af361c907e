/* SPDX-License-Identifier: MIT */
/* Viewers that are alike: one encoding for all of them, and what makes one go its own way and come back. */
#undef NDEBUG
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "rig.h"

enum { N = 5, JOIN_MS = 20 };
static struct rig g;
static struct viewer v[N];
static const struct rect everything = {0, 0, 65535, 65535};

static void draw(unsigned step)
{
	uint32_t w = g.s[1].w, h = g.s[1].h;

	switch (step % 5) {
	case 0:
		rig_fill(&g, (struct rect){rig_random() % (w / 2), rig_random() % (h / 2), w / 2, h / 2}, rig_random());
		break;
	case 1:
		rig_noise(&g, (struct rect){rig_random() % (w - 9), rig_random() % (h - 17), 9, 17});
		break;
	case 2:
		rig_smooth(&g, (struct rect){3, 5, w - 10, h - 20}, step);
		break;
	case 3:
		rig_scroll(&g, 16);
		break;
	default:
		for (unsigned i = 0; i < 40; i++)
			rig_fill(&g, (struct rect){rig_random() % (w - 4), rig_random() % (h - 4), 1 + rig_random() % 4, 1 + rig_random() % 4},
				rig_random());
	}
	rig_commit(&g);
}

static void poll_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		while (v[i].d.px && viewer_poll(&v[i], 0))
			;
	usleep(1000);
}

/* All at once: none waits for its answers while another is looked at. */
static void all_see(unsigned n)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * 1000000ull;
	bool same = false;

	while (!same) {
		CHECK(now_ns() < end);
		poll_all(n);
		same = true;
		for (unsigned i = 0; i < n && same; i++)
			same = !v[i].d.px || viewer_same(&v[i]);
	}
}

/* Another update for x than the first so many */
static void wait_update(struct viewer *x, unsigned than)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * 1000000ull;

	while (x->updates == than) {
		CHECK(now_ns() < end);
		poll_all(N);
	}
}

static void wait_views(unsigned viewers, unsigned views)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * 1000000ull;

	do {
		CHECK(now_ns() < end);
		poll_all(viewers);
	} while (rig_stat(&g, "views") != views);
}

/* Without fences, and continuous: whether a viewer can take an update depends on its socket alone, not on our threads. */
static void open_viewer(struct viewer *x, int32_t id, int32_t other)
{
	viewer_open(x, &g);
	ENCODINGS(x, id, RFB_FENCE, RFB_CONTINUOUS_UPDATES, other);
	viewer_continuous(x, true);
	ENCODINGS(x, id, RFB_COPYRECT, RFB_CONTINUOUS_UPDATES, other);
}

static void start(int32_t id, int32_t other, uint32_t w, uint32_t h, unsigned threads)
{
	rig_start(&g, &(struct rfb_server_config){.join_ms = JOIN_MS, .threads = threads}, w, h);
	for (unsigned i = 0; i < N; i++) {
		open_viewer(&v[i], id, other);
		/* those that come late find streams that have begun */
		draw(i);
		all_see(i + 1);
	}
	wait_views(N, 1);
}

static void stop(void)
{
	for (unsigned i = 0; i < N; i++)
		viewer_close(&v[i]);
	rig_stop(&g);
	memset(v, 0, sizeof v);
}

static void once(void)
{
	static const int32_t ids[] = {RFB_TIGHT, RFB_HEXTILE, RFB_RAW, RFB_RRE, RFB_TIGHT_PNG};

	for (unsigned k = 0; k < ARRAY_LEN(ids); k++) {
		uint64_t encoded, shared, updates;

		start(ids[k], RFB_DESKTOP_NAME, 160, 120, k % 3);
		encoded = rig_stat(&g, "encoded");
		shared = rig_stat(&g, "shared");
		updates = rig_stat(&g, "updates");
		for (unsigned i = 0; i < 15; i++) {
			draw(i);
			all_see(N);
		}
		CHECK(rig_stat(&g, "views") == 1);
		encoded = rig_stat(&g, "encoded") - encoded;
		CHECK(encoded >= 10);
		CHECK(rig_stat(&g, "shared") - shared == (N - 1) * encoded);
		CHECK(rig_stat(&g, "updates") - updates == N * encoded);
		stop();
	}
}

/* Encodings whose streams cannot begin again, viewers that have used one, or that differ */
static void apart(void)
{
	static const int32_t zs[] = {RFB_ZRLE, RFB_ZLIB};

	for (unsigned k = 0; k < 2; k++) {
		rig_start(&g, &(struct rfb_server_config){.join_ms = 1}, 160, 120);
		open_viewer(&v[0], zs[k], RFB_DESKTOP_NAME);
		open_viewer(&v[1], zs[k], RFB_DESKTOP_NAME);
		open_viewer(&v[2], RFB_TIGHT, RFB_CURSOR);
		open_viewer(&v[3], RFB_TIGHT, RFB_COMPRESS_0 + 9);
		open_viewer(&v[4], RFB_TIGHT, RFB_DESKTOP_NAME);
		for (unsigned i = 0; i < 12; i++) {
			draw(i);
			all_see(N);
			usleep(5000);
		}
		CHECK(rig_stat(&g, "views") == 5);
		/* one of them was like this once */
		ENCODINGS(&v[0], RFB_TIGHT);
		draw(1);
		all_see(N);
		ENCODINGS(&v[0], RFB_TIGHT, RFB_COPYRECT);
		ENCODINGS(&v[3], RFB_TIGHT, RFB_COPYRECT);
		draw(2);
		all_see(N);
		wait_views(N, 4);
		for (unsigned i = 0; i < 10; i++) {
			draw(i);
			all_see(N);
			usleep(5000);
		}
		CHECK(rig_stat(&g, "views") == 4);
		ENCODINGS(&v[0], zs[k], RFB_COPYRECT);
		draw(1);
		all_see(N);
		stop();
	}
}

static void slow(void)
{
	start(RFB_TIGHT, RFB_DESKTOP_NAME, 400, 300, 0);
	for (unsigned round = 0; round < 2; round++) {
		/* the last reads nothing: more than its socket holds */
		for (unsigned i = 0; i < 6; i++) {
			rig_noise(&g, (struct rect){0, 0, 400, 300});
			rig_commit(&g);
			all_see(N - 1);
		}
		CHECK(rig_stat(&g, "views") == 2 && !viewer_same(&v[N - 1]));
		all_see(N);
		wait_views(N, 1);
		draw(round);
		all_see(N);
	}
	stop();
}

static void changes(void)
{
	static const struct rfb_format other = {16, 16, false, true, 31, 63, 31, 11, 5, 0};
	uint64_t copies;

	start(RFB_TIGHT, RFB_DESKTOP_NAME, 160, 120, 2);
	for (unsigned i = 0; i < 8; i++) {
		struct viewer *x = &v[rig_random() % N];

		ENCODINGS(x, i % 2 ? RFB_HEXTILE : RFB_TIGHT, RFB_COMPRESS_0 + 9, RFB_COPYRECT);
		wait_views(N, 2);
		for (unsigned k = 0; k < 5; k++) {
			draw(k);
			all_see(N);
		}
		ENCODINGS(x, RFB_TIGHT, RFB_COPYRECT, RFB_DESKTOP_NAME);
		wait_views(N, 1);
		draw(i);
		all_see(N);
	}
	/* all of it again, for one */
	copies = v[1].bytes;
	viewer_ask(&v[0], false, everything);
	wait_views(N, 2);
	all_see(N);
	CHECK(v[1].bytes == copies);
	wait_views(N, 1);
	/* a part of the screen only, and another format */
	viewer_continuous(&v[0], false);
	v[0].manual = true;
	draw(2);
	viewer_ask(&v[0], true, (struct rect){0, 0, 50, 50});
	all_see(0);
	for (unsigned i = 1; i < N; i++)
		viewer_sees(&v[i]);
	wait_views(N, 2);
	while (viewer_poll(&v[0], 30))
		;
	viewer_format(&v[0], &other);
	viewer_ask(&v[0], false, everything);
	viewer_sees(&v[0]);
	draw(3);
	viewer_ask(&v[0], true, everything);
	all_see(N);
	stop();
}

static void leaving(void)
{
	for (unsigned round = 0; round < 4; round++) {
		start(round % 2 ? RFB_TIGHT : RFB_HEXTILE, RFB_DESKTOP_NAME, 300, 200, 2);
		rig_noise(&g, (struct rect){0, 0, 300, 200});
		rig_commit(&g);
		usleep(rig_random() % 4000);
		/* first, last, in between; then while there is nothing to do; then all of them */
		viewer_close(&v[round * 2 % N]);
		memset(&v[round * 2 % N], 0, sizeof v[0]);
		all_see(N);
		draw(round);
		all_see(N);
		open_viewer(&v[round * 2 % N], round % 2 ? RFB_TIGHT : RFB_HEXTILE, RFB_DESKTOP_NAME);
		all_see(N);
		wait_views(N, 1);
		draw(round);
		all_see(N);
		rig_noise(&g, (struct rect){0, 0, 300, 200});
		rig_commit(&g);
		usleep(rig_random() % 4000);
		stop();
	}
}

static void sizes(void)
{
	static const uint16_t modes[][2] = {{200, 300}, {100, 90}, {217, 133}, {160, 120}};
	static const int32_t can[] = {RFB_DESKTOP_SIZE, RFB_EXTENDED_DESKTOP_SIZE};

	for (unsigned k = 0; k < 2; k++) {
		start(k ? RFB_RAW : RFB_TIGHT, can[k], 160, 120, 0);
		for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
			rig_mode(&g, 1, modes[i][0], modes[i][1]);
			draw(i);
			all_see(N);
			wait_views(N, i < 3 ? 1 : 2);
			CHECK(v[0].d.w == modes[i][0] && v[N - 1].d.h == modes[i < 3 ? i : 2][1]);
			draw(i);
			all_see(N);
			/* the last one does not know about sizes any more, but the picture is its size */
			if (i == 2)
				ENCODINGS(&v[N - 1], k ? RFB_RAW : RFB_TIGHT, RFB_COPYRECT);
			draw(i + 1);
			all_see(N);
			if (i == 2)
				wait_views(N, 1);
		}
		stop();
	}
}

static void refresh(void)
{
	uint64_t encoded, shared, refreshes;
	unsigned before;

	start(RFB_TIGHT, RFB_JPEG_QUALITY_0 + 1, 160, 120, 0);
	for (unsigned i = 0; i < 2; i++) {
		refreshes = rig_stat(&g, "refreshes");
		encoded = rig_stat(&g, "encoded");
		shared = rig_stat(&g, "shared");
		rig_smooth(&g, (struct rect){0, 0, 160, 120}, i * 55);
		rig_commit(&g);
		all_see(N);
		CHECK(rig_stat(&g, "refreshes") > refreshes);
		CHECK(rig_stat(&g, "shared") - shared == (N - 1) * (rig_stat(&g, "encoded") - encoded));
	}
	/* one leaves while it shows what was sent with loss */
	before = v[2].updates;
	rig_smooth(&g, (struct rect){0, 0, 160, 120}, 99);
	rig_commit(&g);
	wait_update(&v[2], before);
	ENCODINGS(&v[2], RFB_TIGHT, RFB_COPYRECT, RFB_JPEG_QUALITY_0 + 1, RFB_COMPRESS_0 + 5);
	all_see(N);
	stop();
}

/* With a cursor that is drawn for them */
static void cursor(void)
{
	static uint32_t px[12 * 20];

	start(RFB_TIGHT, RFB_DESKTOP_NAME, 160, 120, 0);
	for (unsigned i = 0; i < 240; i++)
		px[i] = 0xff000000 | rig_random() % 0xffffff;
	for (unsigned i = 0; i < 12; i++) {
		unsigned before = v[i % N].updates;

		scanout_cursor(g.out[1], 12, 20, 2, 3, px);
		scanout_cursor_at(g.out[1], (int32_t)(i * 13), (int32_t)(i * 11));
		rig_commit(&g);
		wait_update(&v[i % N], before);
		draw(i);
		poll_all(N);
		/* it leaves with one on its screen, and comes back with one */
		ENCODINGS(&v[i % N], RFB_HEXTILE, RFB_COPYRECT);
		wait_views(N, 2);
		ENCODINGS(&v[i % N], RFB_TIGHT, RFB_COPYRECT);
		wait_views(N, 1);
		for (unsigned k = 1; k < N; k++)
			CHECK(!memcmp(v[k].d.px, v[0].d.px, 160 * 120 * sizeof v[0].d.px[0]));
		scanout_cursor(g.out[1], 0, 0, 0, 0, NULL);
		rig_commit(&g);
		all_see(N);
	}
	stop();
}

/* --- at random ------------------------------------------------------------------------------------- */

static int32_t random_id(void)
{
	static const int32_t ids[] = {RFB_TIGHT, RFB_TIGHT, RFB_TIGHT, RFB_HEXTILE, RFB_RAW, RFB_RRE};

	return rig_random() % 40 ? ids[rig_random() % ARRAY_LEN(ids)] : RFB_ZRLE;
}

static void reopen(struct viewer *x)
{
	if (x->d.px)
		viewer_close(x);
	memset(x, 0, sizeof *x);
	if (rig_random() % 2) {
		open_viewer(x, random_id(), RFB_DESKTOP_SIZE);
	} else {
		viewer_open(x, &g);
		ENCODINGS(x, random_id(), RFB_FENCE, RFB_COPYRECT, RFB_DESKTOP_SIZE);
		viewer_ask_all(x, false);
	}
}

static void step(unsigned i)
{
	struct viewer *x = &v[rig_random() % N];
	unsigned what = rig_random() % 64;

	if (what < 2)
		reopen(x);
	else if (what < 4)
		ENCODINGS(x, random_id(), RFB_COPYRECT, RFB_DESKTOP_SIZE, rig_random() % 16 ? RFB_RAW : RFB_JPEG_QUALITY_0 + 3);
	else if (what < 5)
		viewer_ask(x, rig_random() % 2, (struct rect){rig_random() % 99, 0, 70, rig_random() % 99});
	else if (what < 6)
		viewer_ask_all(x, false);
	else if (what < 7)
		rig_mode(&g, 1, 60 + rig_random() % 100, 60 + rig_random() % 100);
	else if (what < 16)
		viewer_poll(x, 1);
	else if (what < 32)
		poll_all(N);
	else
		draw(i);
}

static void at_random(void)
{
	uint64_t shared;

	rig_start(&g, &(struct rfb_server_config){.join_ms = 1, .threads = 2}, 160, 120);
	for (unsigned i = 0; i < N; i++)
		reopen(&v[i]);
	for (unsigned i = 0; i < 2000; i++) {
		step(i);
		if (i % 20)
			continue;
		all_see(N);
		for (unsigned k = 0; k < 4; k++)
			poll_all(N);
	}
	shared = rig_stat(&g, "shared");
	fprintf(stderr, "%llu encoded, %llu shared\n", (unsigned long long)rig_stat(&g, "encoded"), (unsigned long long)shared);
	stop();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"once", once}, {"apart", apart}, {"slow", slow}, {"changes", changes}, {"leaving", leaving}, {"sizes", sizes},
		{"refresh", refresh}, {"cursor", cursor}, {"random", at_random}};

	log_init("rfb-share", LOG_ERR);
	for (unsigned i = 0; i < ARRAY_LEN(tests); i++) {
		uint64_t began = now_ns();

		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		fprintf(stderr, "%-12s %5llu ms\n", tests[i].name, (unsigned long long)(now_ns() - began) / 1000000);
	}
	return 0;
}
