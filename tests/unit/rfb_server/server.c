/* SPDX-License-Identifier: MIT */
/* What viewers see: every encoding and format, moves, sizes, cursors, refresh, several viewers at once. */
#undef NDEBUG
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "rig.h"

static struct rig g;
static struct viewer v[4];

/* Small and large changes, of all kinds of content */
static void draw(unsigned step)
{
	uint32_t w = g.s[1].w, h = g.s[1].h;

	switch (step % 6) {
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
	case 4:
		/* damage without a change, and a change of one pixel */
		scanout_damage(g.out[1], (struct rect){0, 0, w, h});
		rig_noise(&g, (struct rect){w - 1, h - 1, 1, 1});
		break;
	default:
		for (unsigned i = 0; i < 40; i++)
			rig_fill(&g, (struct rect){rig_random() % (w - 4), rig_random() % (h - 4), 1 + rig_random() % 4, 1 + rig_random() % 4},
				rig_random());
	}
	rig_commit(&g);
}

static void encoding(int32_t id, bool continuous, bool copyrect)
{
	const int32_t e[] = {id, RFB_FENCE, RFB_CONTINUOUS_UPDATES, RFB_COPYRECT};

	rig_start(&g, NULL, 301, 203);
	viewer_open(&v[0], &g);
	viewer_encodings(&v[0], copyrect ? 4 : 3, e);
	if (continuous)
		viewer_continuous(&v[0], true);
	else
		viewer_ask_all(&v[0], false);
	for (unsigned i = 0; i < 12; i++) {
		draw(i);
		viewer_sees(&v[0]);
	}
	viewer_close(&v[0]);
	rig_stop(&g);
}

static void encodings(void)
{
	static const int32_t ids[] = {RFB_RAW, RFB_RRE, RFB_HEXTILE, RFB_ZLIB, RFB_TIGHT, RFB_TIGHT_PNG, RFB_ZRLE};

	for (unsigned i = 0; i < ARRAY_LEN(ids); i++) {
		encoding(ids[i], i % 2, false);
		encoding(ids[i], !(i % 2), true);
	}
}

static const struct rfb_format formats[] = {
	{32, 24, false, true, 255, 255, 255, 16, 8, 0}, {32, 24, true, true, 255, 255, 255, 0, 8, 16},
	{16, 16, false, true, 31, 63, 31, 11, 5, 0}, {16, 15, true, true, 31, 31, 31, 0, 5, 10},
	{8, 8, false, true, 7, 7, 3, 0, 3, 6}, {8, 8, false, false, 0, 0, 0, 0, 0, 0},
};

/* All formats one after the other, the last ones beside each other */
static void format_changes(void)
{
	rig_start(&g, NULL, 260, 130);
	viewer_open(&v[0], &g);
	ENCODINGS(&v[0], RFB_TIGHT, RFB_COPYRECT);
	v[0].manual = true;
	for (unsigned i = 0; i < 12; i++) {
		/* no request is open: so the format may change */
		viewer_format(&v[0], &formats[i % 6]);
		draw(i);
		viewer_ask_all(&v[0], false);
		viewer_sees(&v[0]);
	}
	CHECK(v[0].colour_maps == 2);
	viewer_close(&v[0]);
	rig_stop(&g);
}

static void together(void)
{
	static const int32_t ids[] = {RFB_ZRLE, RFB_HEXTILE, RFB_TIGHT, RFB_RAW};

	rig_start(&g, &(struct rfb_server_config){.threads = 3}, 333, 201);
	for (unsigned i = 0; i < 4; i++) {
		viewer_open(&v[i], &g);
		viewer_format(&v[i], &formats[i * 2 % 6]);
		ENCODINGS(&v[i], ids[i], RFB_COPYRECT, RFB_FENCE, RFB_CONTINUOUS_UPDATES);
		if (i == 2)
			viewer_continuous(&v[i], true);
		else
			viewer_ask_all(&v[i], false);
	}
	for (unsigned i = 0; i < 24; i++) {
		draw(i);
		viewers_see(v, 4);
	}
	CHECK(rig_stat(&g, "viewers") == 4);
	for (unsigned i = 0; i < 4; i++)
		viewer_close(&v[i]);
	rig_stop(&g);
}

static bool got_update(struct viewer *x)
{
	return x->updates;
}

/* Pixels, moves, bytes: a scroll is a copy, but not for who has not asked for copies, and not when all is asked for anew. */
static void moves(void)
{
	size_t before, plain;

	for (unsigned copyrect = 0; copyrect < 2; copyrect++) {
		rig_start(&g, NULL, 640, 480);
		rig_noise(&g, (struct rect){0, 0, 640, 480});
		rig_commit(&g);
		viewer_open(&v[0], &g);
		ENCODINGS(&v[0], RFB_RAW, copyrect ? RFB_COPYRECT : RFB_RAW);
		viewer_ask_all(&v[0], false);
		viewer_sees(&v[0]);
		before = v[0].bytes;
		for (unsigned i = 0; i < 5; i++) {
			rig_scroll(&g, 16);
			rig_commit(&g);
			viewer_sees(&v[0]);
		}
		plain = v[0].bytes - before;
		CHECK(copyrect ? plain < 5 * 80000 : plain > 5 * 1000000);
		CHECK((rig_stat(&g, "copies") > 0) == copyrect);
		if (copyrect) {
			uint64_t copies = rig_stat(&g, "copies");

			v[0].manual = true;
			while (viewer_poll(&v[0], 30))
				;
			rig_scroll(&g, 16);
			rig_commit(&g);
			/* the request that is open is answered with a copy, the next may not be */
			viewer_sees(&v[0]);
			copies = rig_stat(&g, "copies");
			rig_scroll(&g, 16);
			rig_commit(&g);
			viewer_ask_all(&v[0], false);
			viewer_sees(&v[0]);
			CHECK(rig_stat(&g, "copies") == copies);
		}
		viewer_close(&v[0]);
		rig_stop(&g);
	}
}

/* A part of the screen is asked for: only that comes. */
static void part(void)
{
	rig_start(&g, NULL, 200, 100);
	viewer_open(&v[0], &g);
	v[0].manual = true;
	viewer_ask_all(&v[0], false);
	viewer_until(&v[0], got_update, "the first update");
	viewer_sees(&v[0]);
	rig_fill(&g, (struct rect){0, 0, 200, 100}, 0x123456);
	rig_commit(&g);
	v[0].updates = 0;
	viewer_ask(&v[0], true, (struct rect){50, 20, 30, 40});
	viewer_until(&v[0], got_update, "a part");
	for (uint32_t y = 0; y < 100; y++)
		for (uint32_t x = 0; x < 200; x++)
			CHECK(v[0].d.px[y * 200 + x] == (x >= 50 && x < 80 && y >= 20 && y < 60 ? 0x123456u : 0));
	/* nothing was asked for: nothing comes, now or when it changes again */
	v[0].updates = 0;
	rig_fill(&g, (struct rect){0, 0, 200, 100}, 0x654321);
	rig_commit(&g);
	CHECK(!viewer_poll(&v[0], 60) && !v[0].updates);
	/* outside of the screen, and empty */
	viewer_ask(&v[0], true, (struct rect){500, 20, 30, 40});
	viewer_ask(&v[0], false, (struct rect){10, 10, 0, 0});
	CHECK(!viewer_poll(&v[0], 60));
	viewer_ask(&v[0], true, (struct rect){100, 0, 65535, 65535});
	viewer_ask(&v[0], true, (struct rect){0, 0, 100, 100});
	viewer_sees(&v[0]);
	viewer_close(&v[0]);
	rig_stop(&g);
}

/* With loss, then without; and how much that takes. */
static void refresh(void)
{
	uint64_t updates;

	rig_start(&g, NULL, 640, 400);
	rig_smooth(&g, (struct rect){0, 0, 640, 400}, 0);
	rig_commit(&g);
	viewer_open(&v[0], &g);
	ENCODINGS(&v[0], RFB_TIGHT, RFB_JPEG_QUALITY_0 + 6, RFB_COMPRESS_0 + 2, RFB_COPYRECT, RFB_FENCE, RFB_CONTINUOUS_UPDATES);
	viewer_continuous(&v[0], true);
	v[0].updates = 0;
	viewer_ask_all(&v[0], false);
	viewer_until(&v[0], got_update, "an update with loss");
	CHECK(!viewer_same(&v[0])); /* or it was no JPEG */
	viewer_sees(&v[0]);
	updates = rig_stat(&g, "updates");
	CHECK(rig_stat(&g, "refreshes") > 0 && updates <= 21);
	/* then it is quiet */
	while (viewer_poll(&v[0], 450))
		;
	CHECK(rig_stat(&g, "updates") <= 21);
	/* a copy of what has loss has loss, too */
	rig_smooth(&g, (struct rect){0, 0, 640, 400}, 9);
	rig_commit(&g);
	v[0].updates = 0;
	viewer_until(&v[0], got_update, "another");
	rig_scroll(&g, 16);
	rig_commit(&g);
	viewer_sees(&v[0]);
	/* also where there was none before */
	rig_fill(&g, (struct rect){0, 0, 640, 400}, 0x203040);
	rig_smooth(&g, (struct rect){0, 300, 640, 100}, 9);
	rig_commit(&g);
	v[0].updates = 0;
	viewer_until(&v[0], got_update, "a photograph below");
	rig_scroll(&g, 150);
	rig_commit(&g);
	viewer_sees(&v[0]);
	/* what is still becomes right while something beside it never is */
	rig_smooth(&g, (struct rect){0, 0, 640, 400}, 33);
	rig_commit(&g);
	for (unsigned i = 0;; i++) {
		bool right = true;

		rig_fill(&g, (struct rect){600, 380, 8, 16}, i * 77777);
		rig_commit(&g);
		viewer_poll(&v[0], 10);
		for (uint32_t y = 0; y < 370 && right; y++)
			for (uint32_t x = 0; x < 640; x++)
				right &= v[0].d.px[640 * y + x] == (*surface_row(&g.s[1], x, y) & 0xffffff);
		if (right)
			break;
		CHECK(i < 5000);
	}
	viewer_close(&v[0]);
	/* --lossless: whatever it asks for */
	rig_stop(&g);
	rig_start(&g, &(struct rfb_server_config){.lossless = true}, 320, 200);
	rig_smooth(&g, (struct rect){0, 0, 320, 200}, 0);
	rig_commit(&g);
	viewer_open(&v[0], &g);
	ENCODINGS(&v[0], RFB_TIGHT, RFB_JPEG_QUALITY_0 + 1);
	viewer_ask_all(&v[0], false);
	viewer_sees(&v[0]);
	CHECK(rig_stat(&g, "updates") == 1);
	viewer_close(&v[0]);
	rig_stop(&g);
}

static uint32_t wanted_w, wanted_h;

static bool has_size(struct viewer *x)
{
	return x->d.w == wanted_w && x->d.h == wanted_h;
}

static void wait_size(struct viewer *x, uint32_t w, uint32_t h)
{
	wanted_w = w;
	wanted_h = h;
	viewer_until(x, has_size, "another size");
}

static void sizes(void)
{
	static const int32_t can[] = {RFB_EXTENDED_DESKTOP_SIZE, RFB_DESKTOP_SIZE, RFB_RAW};
	static const uint16_t modes[][2] = {{200, 300}, {100, 90}, {417, 233}, {300, 200}};

	rig_start(&g, NULL, 300, 200);
	for (unsigned i = 0; i < 3; i++) {
		viewer_open(&v[i], &g);
		ENCODINGS(&v[i], RFB_TIGHT, can[i], RFB_COPYRECT, RFB_FENCE, RFB_CONTINUOUS_UPDATES);
		viewer_ask_all(&v[i], false);
	}
	draw(0);
	viewers_see(v, 3);
	CHECK(v[0].d.nscreens == 1 && v[0].d.screen[0].w == 300);
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		rig_mode(&g, 1, modes[i][0], modes[i][1]);
		draw(i);
		wait_size(&v[0], modes[i][0], modes[i][1]);
		wait_size(&v[1], modes[i][0], modes[i][1]);
		viewers_see(v, 3);
		CHECK(v[2].d.w == 300 && v[2].d.h == 200);
	}
	/* two heads, and the framebuffer when there are none; then nothing */
	rig_mode(&g, 2, 100, 260);
	wait_size(&v[0], 400, 260);
	viewers_see(v, 3);
	CHECK(v[0].d.nscreens == 2 && v[0].d.screen[1].x == 300 && v[0].d.screen[1].h == 260 && v[0].d.screen[1].id == 1);
	draw(1);
	viewers_see(v, 3);
	rig_mode(&g, 1, 0, 0);
	wait_size(&v[0], 100, 260);
	viewers_see(v, 3);
	rig_mode(&g, 0, 80, 50);
	rig_mode(&g, 2, 0, 0);
	wait_size(&v[0], 80, 50);
	viewers_see(v, 3);
	rig_mode(&g, 0, 0, 0);
	rig_mode(&g, 1, 300, 200);
	wait_size(&v[0], 300, 200);
	/* now with continuous updates, and while an update that the socket has no room for is on its way */
	viewer_continuous(&v[0], true);
	rig_mode(&g, 1, 1200, 900);
	rig_noise(&g, (struct rect){0, 0, 1200, 900});
	rig_commit(&g);
	wait_size(&v[0], 1200, 900);
	usleep(30000);
	rig_mode(&g, 1, 150, 120);
	draw(2);
	wait_size(&v[0], 150, 120);
	wait_size(&v[1], 150, 120);
	viewers_see(v, 3);
	draw(3);
	viewers_see(v, 3);
	for (unsigned i = 0; i < 3; i++)
		viewer_close(&v[i]);
	rig_stop(&g);
}

static uint32_t over(uint32_t argb, uint32_t under)
{
	uint32_t out = 0;

	for (unsigned i = 0; i < 24; i += 8) {
		uint32_t c = (argb >> i & 0xff) + ((under >> i & 0xff) * (255 - (argb >> 24)) + 127) / 255;

		out |= (c > 255 ? 255 : c) << i;
	}
	return out;
}

static int32_t cursor_x, cursor_y;
static uint32_t cursor_px[12 * 20], cursor_w;

static bool same_with_cursor(struct viewer *x)
{
	for (uint32_t j = 0; j < x->d.h; j++)
		for (uint32_t i = 0; i < x->d.w; i++) {
			uint32_t want = *surface_row(&g.s[1], i, j) & 0xffffff;
			int32_t cx = (int32_t)i - cursor_x + 2, cy = (int32_t)j - cursor_y + 3;

			if (cursor_w && cx >= 0 && cx < 12 && cy >= 0 && cy < 20)
				want = over(cursor_px[cy * 12 + cx], want);
			if (x->d.px[j * x->d.w + i] != want)
				return false;
		}
	return true;
}

static bool cursor_same(struct viewer *x)
{
	if (!x->d.cursor.generation || x->d.cursor.w != cursor_w)
		return false;
	for (unsigned i = 0; i < cursor_w * 20; i++)
		if (x->d.cursor.argb[i] != cursor_px[i])
			return false;
	return true;
}

static void set_cursor(bool on)
{
	for (unsigned i = 0; i < ARRAY_LEN(cursor_px); i++) {
		uint32_t a = rig_random() & 0xff;

		cursor_px[i] = a << 24 | (rig_random() % (a + 1)) << 16 | (rig_random() % (a + 1)) << 8 | rig_random() % (a + 1);
	}
	cursor_w = on ? 12 : 0;
	scanout_cursor(g.out[1], cursor_w, on ? 20 : 0, 2, 3, on ? cursor_px : NULL);
	rig_commit(&g);
}

static void move_cursor(int32_t x, int32_t y)
{
	cursor_x = x;
	cursor_y = y;
	scanout_cursor_at(g.out[1], x, y);
	rig_commit(&g);
}

static void cursors(void)
{
	static const int16_t places[][2] = {{50, 50}, {51, 52}, {0, 0}, {-5, 20}, {199, 149}, {205, 153}, {300, 20}, {100, 100}};

	rig_start(&g, NULL, 200, 150);
	rig_smooth(&g, (struct rect){0, 0, 200, 150}, 0);
	rig_commit(&g);
	viewer_open(&v[0], &g);
	ENCODINGS(&v[0], RFB_ZRLE, RFB_CURSOR_WITH_ALPHA, RFB_CURSOR);
	viewer_open(&v[1], &g);
	ENCODINGS(&v[1], RFB_TIGHT, RFB_COPYRECT);
	viewer_ask_all(&v[0], false);
	viewer_ask_all(&v[1], false);
	viewers_see(v, 2);
	CHECK(!v[0].d.cursor.generation); /* there is none, and has not been one */
	set_cursor(true);
	for (unsigned i = 0; i < ARRAY_LEN(places); i++) {
		move_cursor(places[i][0], places[i][1]);
		viewer_until(&v[1], same_with_cursor, "a drawn cursor that moves");
		draw(i);
		viewer_until(&v[1], same_with_cursor, "a drawn cursor over what changes");
		viewer_sees(&v[0]);
		viewer_until(&v[0], cursor_same, "a cursor's shape");
	}
	set_cursor(true);
	viewer_until(&v[1], same_with_cursor, "another cursor");
	viewer_until(&v[0], cursor_same, "another cursor");
	draw(3);
	viewer_until(&v[1], same_with_cursor, "scrolling under a cursor");
	/* a viewer that learns to draw it itself */
	ENCODINGS(&v[1], RFB_TIGHT, RFB_CURSOR);
	viewer_sees(&v[1]);
	ENCODINGS(&v[1], RFB_TIGHT);
	viewer_until(&v[1], same_with_cursor, "the cursor again");
	set_cursor(false);
	viewer_sees(&v[1]);
	viewer_until(&v[0], cursor_same, "no cursor");
	viewer_close(&v[0]);
	viewer_close(&v[1]);
	rig_stop(&g);
}

/* A picture that is larger than one update may be */
static void large(void)
{
	rig_start(&g, NULL, 3000, 2900);
	rig_smooth(&g, (struct rect){0, 0, 3000, 2900}, 0);
	rig_commit(&g);
	viewer_open(&v[0], &g);
	ENCODINGS(&v[0], RFB_RAW, RFB_COPYRECT);
	viewer_ask_all(&v[0], false);
	viewer_sees(&v[0]);
	CHECK(v[0].updates == 2);
	/* moves do not read what was found but not sent yet */
	v[0].manual = true;
	v[0].updates = 0;
	rig_smooth(&g, (struct rect){0, 0, 3000, 2900}, 77);
	rig_commit(&g);
	viewer_until(&v[0], got_update, "the first part");
	rig_scroll(&g, 400);
	rig_commit(&g);
	for (unsigned i = 0; i < 4; i++) {
		v[0].updates = 0;
		viewer_ask(&v[0], true, (struct rect){0, 0, 3000, i ? 2900 : 2600});
		while (viewer_poll(&v[0], 250) && !v[0].updates)
			;
	}
	viewer_sees(&v[0]);
	viewer_close(&v[0]);
	rig_stop(&g);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"encodings", encodings}, {"formats", format_changes}, {"together", together}, {"moves", moves}, {"part", part},
		{"refresh", refresh}, {"sizes", sizes}, {"cursors", cursors}, {"large", large}};

	log_init("rfb-server", LOG_ERR);
	for (unsigned i = 0; i < ARRAY_LEN(tests); i++) {
		uint64_t began = now_ns();

		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		fprintf(stderr, "%-12s %5llu ms\n", tests[i].name, (unsigned long long)(now_ns() - began) / 1000000);
	}
	return 0;
}
