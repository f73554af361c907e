/* SPDX-License-Identifier: MIT */
/* What viewers say, and what becomes of the others when one of them does not behave. */
#undef NDEBUG
#include <errno.h>
#include <linux/input-event-codes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "display/keys.h"
#include "rig.h"

static struct rig g;
static struct viewer v[8];

static bool got_fence(struct viewer *x)
{
	return x->fence_answers;
}

static bool got_cut(struct viewer *x)
{
	return x->cuts;
}

/* The server has taken all that was sent before: its answer to a fence has come. */
static void sync_with(struct viewer *x)
{
	x->fence_answers = 0;
	viewer_fence(x, 1u << 31, "", 0);
	viewer_until(x, got_fence, "the answer to a fence");
}

static void open_plain(struct viewer *x)
{
	viewer_open(x, &g);
	ENCODINGS(x, RFB_RAW, RFB_FENCE, RFB_CONTINUOUS_UPDATES);
	viewer_ask_all(x, false);
}

/* --- fences --------------------------------------------------------------------------------------- */

static const struct rfb_format rgb16 = {16, 16, false, true, 31, 63, 31, 11, 5, 0};

static void fences(void)
{
	uint8_t payload[64];

	rig_start(&g, NULL, 400, 300);
	open_plain(&v[0]);
	sync_with(&v[0]);
	CHECK(v[0].ends == 1 && v[0].fences >= 1);
	v[0].fence_answers = 0;
	memset(payload, 0x5a, sizeof payload);
	viewer_fence(&v[0], 1u << 31 | 0x7ffffff3, payload, 64);
	viewer_until(&v[0], got_fence, "a fence's answer");
	CHECK(v[0].fence_flags == 3 && v[0].fence_len == 64 && !memcmp(v[0].fence, payload, 64));
	/* answers that nobody asked for */
	viewer_fence(&v[0], 0, payload, 4);
	viewer_fence(&v[0], 7, payload, 64);
	viewer_fence(&v[0], 0, "", 0);
	sync_with(&v[0]);
	/*
	 * Formats that change while updates come on their own: what is before the answer has the old one, what is behind it the
	 * new one. A decoder that has the wrong one runs out of step.
	 */
	viewer_continuous(&v[0], true);
	for (unsigned i = 0; i < 30; i++) {
		v[0].next = i % 2 ? rfb_format_native : rgb16;
		v[0].fence_answers = 0;
		rig_noise(&g, (struct rect){0, 0, 400, 300});
		rig_commit(&g);
		viewer_poll(&v[0], (int)(i % 5) * 4);
		viewer_fence(&v[0], 1u << 31 | 4, "", 0);
		{
			struct rfb_format f = v[0].d.format;

			viewer_format(&v[0], &v[0].next);
			v[0].format = v[0].d.format = f;
		}
		viewer_until(&v[0], got_fence, "the answer before another format");
		viewer_ask_all(&v[0], false);
		viewer_sees(&v[0]);
	}
	/* one that ends continuous updates is told that they have ended */
	CHECK(v[0].ends == 1);
	viewer_continuous(&v[0], false);
	sync_with(&v[0]);
	CHECK(v[0].ends == 2);
	viewer_close(&v[0]);
	rig_stop(&g);
}

/* --- keys and pointers --------------------------------------------------------------------------------- */

static void expect(unsigned n, const struct input_event *want)
{
	unsigned have = rig_events(&g, n);

	for (unsigned i = 0; i < n && i < have; i++)
		if (memcmp(&g.ev[i], &want[i], sizeof *want)) {
			fprintf(stderr, "event %u: %u %u %d %d, not %u %u %d %d\n", i, g.ev[i].type, g.ev[i].code, g.ev[i].a, g.ev[i].b,
				want[i].type, want[i].code, want[i].a, want[i].b);
			CHECK(!"event");
		}
	CHECK(have == n);
	g.nev = 0;
}
#define EXPECT(...)                                                                                                  \
	expect(sizeof((struct input_event[]){__VA_ARGS__}) / sizeof(struct input_event), (struct input_event[]){__VA_ARGS__})
#define KEY(k, x) {INPUT_KEY, k, x, 0}
#define BUTTON(k, x) {INPUT_BUTTON, k, x, 0}

static void keys(void)
{
	struct err e = {0};
	struct layout *us;

	CHECK(!layout_new(&us, "us", &e));
	rig_start(&g, &(struct rfb_server_config){.layout = us}, 100, 100);
	for (unsigned i = 0; i < 2; i++) {
		viewer_open(&v[i], &g);
		ENCODINGS(&v[i], RFB_RAW, RFB_FENCE, RFB_QEMU_EXTENDED_KEY, RFB_QEMU_LED_STATE);
		viewer_ask_all(&v[i], false);
		viewer_sees(&v[i]);
	}
	/* repeats; ups without downs; unknown ones */
	viewer_xt(&v[0], true, 0x1e);
	viewer_xt(&v[0], true, 0x1e);
	viewer_xt(&v[0], true, 0xffffffff);
	viewer_xt(&v[0], false, 0x30);
	viewer_key(&v[0], true, 0xdeadbeef);
	viewer_xt(&v[0], false, 0x1e);
	viewer_xt(&v[0], false, 0x1e);
	EXPECT(KEY(KEY_A, 1), KEY(KEY_A, 2), KEY(KEY_A, 0));
	/* two hold the same key: it goes up with the last */
	viewer_xt(&v[0], true, 0x1d);
	sync_with(&v[0]);
	viewer_xt(&v[1], true, 0x1d);
	sync_with(&v[1]);
	viewer_xt(&v[0], false, 0x1d);
	sync_with(&v[0]);
	viewer_xt(&v[1], true, 0x38);
	viewer_pointer(&v[1], 5, 0, 0);
	sync_with(&v[1]);
	EXPECT(KEY(KEY_LEFTCTRL, 1), KEY(KEY_LEFTCTRL, 1), KEY(KEY_LEFTALT, 1), {INPUT_POINT, 0, 163, 163}, BUTTON(BTN_LEFT, 1),
		BUTTON(BTN_RIGHT, 1));
	viewer_pointer(&v[0], 1, 99, 99);
	sync_with(&v[0]);
	g.nev = 0;
	/* who goes lets go, but of the left button, which the other one holds */
	viewer_close(&v[1]);
	EXPECT(KEY(KEY_LEFTCTRL, 0), KEY(KEY_LEFTALT, 0), BUTTON(BTN_RIGHT, 0));
	viewer_pointer(&v[0], 0, 99, 99);
	EXPECT({INPUT_POINT, 0, 32604, 32604}, BUTTON(BTN_LEFT, 0));
	/* characters: Shift as the guest's layout wants it, not as the viewer has it */
	viewer_key(&v[0], true, '!');
	viewer_key(&v[0], false, '!');
	EXPECT(KEY(KEY_LEFTSHIFT, 1), KEY(KEY_1, 1), KEY(KEY_LEFTSHIFT, 0), KEY(KEY_1, 0));
	viewer_key(&v[0], true, 0xffe1);
	viewer_key(&v[0], true, '/');
	viewer_key(&v[0], false, '/');
	viewer_key(&v[0], true, 'Q');
	viewer_key(&v[0], false, 'Q');
	viewer_key(&v[0], true, 0xffc7); /* F10 */
	viewer_key(&v[0], false, 0xffc7);
	viewer_key(&v[0], false, 0xffe1);
	EXPECT(KEY(KEY_LEFTSHIFT, 1), KEY(KEY_LEFTSHIFT, 0), KEY(KEY_SLASH, 1), KEY(KEY_LEFTSHIFT, 1), KEY(KEY_SLASH, 0), KEY(KEY_Q, 1),
		KEY(KEY_Q, 0), KEY(KEY_F10, 1), KEY(KEY_F10, 0), KEY(KEY_LEFTSHIFT, 0));
	rig_state(&g, INPUT_LED_CAPS, INPUT_ABSOLUTE);
	viewer_key(&v[0], true, 'A');
	viewer_key(&v[0], false, 'A');
	EXPECT(KEY(KEY_A, 1), KEY(KEY_A, 0));
	viewer_close(&v[0]);
	rig_stop(&g);
	layout_free(us);
}

static bool told_all(struct viewer *x)
{
	return x->d.extended_key && x->d.extended_buttons && x->d.pointer >= 0 && x->d.leds >= 0 && x->d.name[0];
}

static int want_leds, want_pointer;

static bool told_state(struct viewer *x)
{
	return x->d.leds == want_leds && x->d.pointer == want_pointer;
}

static void pointers(void)
{
	static const uint8_t side[7] = {5, 0x80, 0, 10, 0, 10, 1}, extra[7] = {5, 0x81, 0, 10, 0, 10, 2};

	rig_start(&g, &(struct rfb_server_config){.name = "a machine"}, 100, 100);
	viewer_open(&v[0], &g);
	CHECK(!strcmp(v[0].name, "a machine"));
	ENCODINGS(&v[0], RFB_RAW, RFB_FENCE, RFB_QEMU_EXTENDED_KEY, RFB_QEMU_LED_STATE, RFB_POINTER_MOTION_CHANGE,
		RFB_EXTENDED_MOUSE_BUTTONS, RFB_DESKTOP_NAME);
	viewer_ask_all(&v[0], false);
	viewer_sees(&v[0]);
	rig_state(&g, INPUT_LED_NUM, INPUT_ABSOLUTE);
	viewer_until(&v[0], told_all, "extensions");
	CHECK(!strcmp(v[0].d.name, "a machine"));
	want_leds = INPUT_LED_NUM;
	want_pointer = INPUT_ABSOLUTE;
	CHECK(told_state(&v[0]));
	/* the wheel turns when a button goes down; far outside is the edge */
	viewer_pointer(&v[0], 8, 50, 65535);
	viewer_pointer(&v[0], 16, 50, 50);
	viewer_pointer(&v[0], 0x60, 50, 50);
	viewer_pointer(&v[0], 0, 50, 50);
	EXPECT({INPUT_POINT, 0, 16547, 32604}, {INPUT_WHEEL, 0, 0, 1}, {INPUT_POINT, 0, 16547, 16547}, {INPUT_WHEEL, 0, 0, -1},
		{INPUT_POINT, 0, 16547, 16547}, {INPUT_WHEEL, 0, -1, 0}, {INPUT_WHEEL, 0, 1, 0}, {INPUT_POINT, 0, 16547, 16547});
	viewer_send(&v[0], side, 7);
	viewer_send(&v[0], extra, 7);
	viewer_pointer(&v[0], 0, 10, 10);
	EXPECT({INPUT_POINT, 0, 3440, 3440}, BUTTON(BTN_SIDE, 1), {INPUT_POINT, 0, 3440, 3440}, BUTTON(BTN_LEFT, 1), BUTTON(BTN_SIDE, 0),
		BUTTON(BTN_EXTRA, 1), {INPUT_POINT, 0, 3440, 3440}, BUTTON(BTN_LEFT, 0), BUTTON(BTN_EXTRA, 0));
	rig_state(&g, INPUT_LED_CAPS, INPUT_RELATIVE);
	want_leds = INPUT_LED_CAPS;
	want_pointer = INPUT_RELATIVE;
	viewer_until(&v[0], told_state, "LEDs, relative");
	viewer_pointer(&v[0], 0, 0x7fff + 5, 0x7fff - 7);
	viewer_pointer(&v[0], 1, 0x7fff, 0x7fff);
	viewer_pointer(&v[0], 0, 0, 65535);
	EXPECT({INPUT_MOVE, 0, 5, -7}, BUTTON(BTN_LEFT, 1), {INPUT_MOVE, 0, -32767, 32768}, BUTTON(BTN_LEFT, 0));
	viewer_close(&v[0]);
	rig_stop(&g);

	/* view only */
	rig_start(&g, &(struct rfb_server_config){.view_only = true}, 100, 100);
	open_plain(&v[0]);
	viewer_pointer(&v[0], 1, 1, 1);
	viewer_key(&v[0], true, 'a');
	sync_with(&v[0]);
	viewer_close(&v[0]);
	rig_stop(&g);
	CHECK(!g.nev);
}

/* --- sizes ---------------------------------------------------------------------------------------------- */

static unsigned want_status, want_reason;

static bool got_status(struct viewer *x)
{
	return x->d.reason == want_reason && x->d.status == want_status;
}

static void wish(struct viewer *x, unsigned status, uint16_t w, uint16_t h, unsigned n, const struct rfb_decode_screen *s)
{
	x->d.reason = x->d.status = 99;
	want_reason = 1;
	want_status = status;
	viewer_set_size(x, w, h, n, s);
	viewer_until(x, got_status, "the answer to a wish for a size");
}

static bool is_small(struct viewer *x)
{
	return x->d.w == 64 && x->d.h == 48;
}

static void wishes(void)
{
	const struct rfb_decode_screen one = {.id = 0, .w = 200, .h = 100}, two[2] = {one, {.id = 77, .x = 200, .w = 50, .h = 60}};
	struct rfb_decode_screen many[255] = {one};

	rig_start(&g, NULL, 100, 80);
	viewer_open(&v[0], &g);
	ENCODINGS(&v[0], RFB_RAW, RFB_EXTENDED_DESKTOP_SIZE, RFB_FENCE, RFB_CONTINUOUS_UPDATES);
	viewer_ask_all(&v[0], false);
	viewer_sees(&v[0]);
	wish(&v[0], 3, 0, 0, 1, &(struct rfb_decode_screen){0});
	wish(&v[0], 3, 200, 100, 0, NULL);
	wish(&v[0], 2, 200, 100, 255, many);
	wish(&v[0], 3, 199, 100, 1, &one);                                                    /* beyond the edge */
	wish(&v[0], 3, 200, 100, 2, (struct rfb_decode_screen[]){one, {.id = 1, .x = 199, .w = 1, .h = 1}}); /* overlap */
	wish(&v[0], 3, 250, 100, 2, (struct rfb_decode_screen[]){one, {.id = 0, .x = 200, .w = 50, .h = 60}}); /* twice */
	wish(&v[0], 2, 65535, 65535, 1, &(struct rfb_decode_screen){.w = 65535, .h = 65535});
	CHECK(!g.nwishes);
	g.wish_result = -EPERM;
	wish(&v[0], 1, 200, 100, 1, &one);
	g.wish_result = -ENOSPC;
	wish(&v[0], 2, 200, 100, 1, &one);
	g.wish_result = 0;
	/* the guest follows: that is the answer */
	v[0].d.reason = v[0].d.status = 99;
	viewer_set_size(&v[0], 200, 100, 1, &one);
	sync_with(&v[0]);
	CHECK(g.nwishes == 1 && !g.wish[0].head && g.wish[0].w == 200 && g.wish[0].h == 100 && v[0].d.reason == 99);
	rig_mode(&g, 1, 200, 100);
	want_status = 0;
	viewer_until(&v[0], got_status, "the new size");
	CHECK(v[0].d.w == 200 && v[0].d.h == 100);
	viewer_sees(&v[0]);
	wish(&v[0], 0, 200, 100, 1, &one); /* has it */
	/* it does not: the wish went out, that is all that is known */
	wish(&v[0], 4, 250, 100, 2, two);
	CHECK(g.nwishes == 2 && g.wish[1].head == 1 && g.wish[1].w == 50);
	/* a head that is on and not named is to go */
	rig_mode(&g, 2, 50, 50);
	viewer_sees(&v[0]);
	viewer_set_size(&v[0], 300, 300, 1, &(struct rfb_decode_screen){.id = 1, .w = 300, .h = 300});
	sync_with(&v[0]);
	CHECK(g.nwishes == 2 && g.wish[0].head == 1 && g.wish[1].head == 0 && !g.wish[1].w);
	/* the framebuffer's size is fixed */
	rig_mode(&g, 0, 64, 48);
	rig_mode(&g, 1, 0, 0);
	rig_mode(&g, 2, 0, 0);
	viewer_until(&v[0], is_small, "the framebuffer");
	wish(&v[0], 1, 200, 100, 1, &one);
	viewer_close(&v[0]);
	rig_stop(&g);
}

/* --- clipboard -------------------------------------------------------------------------------------------- */

static void cut(struct viewer *x, const char *text)
{
	uint8_t p[8] = {6, 0, 0, 0, 0, 0, 0, (uint8_t)strlen(text)};

	viewer_send(x, p, 8);
	viewer_send(x, text, strlen(text));
}

static void clipboards(void)
{
	static const uint8_t long_one[8] = {6, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff}, too_long[8] = {6, 0, 0, 0, 0, 0x20, 0, 0};
	static uint8_t junk[65536];

	rig_start(&g, NULL, 64, 64);
	open_plain(&v[0]);
	open_plain(&v[1]);
	viewer_sees(&v[0]);
	viewer_sees(&v[1]);
	cut(&v[0], "gr\xfc\xdf Gott");
	viewer_until(&v[1], got_cut, "the other's clipboard");
	CHECK(!strcmp(v[1].cut, "gr\xfc\xdf Gott"));
	sync_with(&v[0]);
	CHECK(!v[0].cuts);
	/* the same again, from the one who was given it: no round trips without end */
	cut(&v[1], "gr\xfc\xdf Gott");
	sync_with(&v[1]);
	sync_with(&v[0]);
	CHECK(!v[0].cuts);
	cut(&v[1], "b");
	viewer_until(&v[0], got_cut, "the clipboard back");
	CHECK(!strcmp(v[0].cut, "b"));
	/* 2 MiB are skipped, and the next message is one */
	v[1].cuts = 0;
	viewer_send(&v[0], too_long, 8);
	for (unsigned i = 0; i < 32; i++)
		viewer_send(&v[0], junk, sizeof junk);
	cut(&v[0], "after");
	viewer_until(&v[1], got_cut, "a text after one that was too long");
	CHECK(!strcmp(v[1].cut, "after"));
	/* 2 GiB, of which little comes */
	viewer_send(&v[0], long_one, 8);
	viewer_send(&v[0], junk, sizeof junk);
	viewer_close(&v[0]);
	sync_with(&v[1]);
	viewer_close(&v[1]);
	rig_stop(&g);
}

/* --- slow and hostile ones ---------------------------------------------------------------------------------- */

/* One that reads nothing, with an update half sent; another one is served all the same, and it costs no more for waiting. */
static void blocked(void)
{
	uint64_t updates;
	size_t used;

	rig_start(&g, NULL, 800, 600);
	open_plain(&v[0]);
	viewer_sees(&v[0]);
	viewer_continuous(&v[0], true);
	v[0].no_fences = true;
	open_plain(&v[1]);
	viewer_sees(&v[1]);
	viewer_continuous(&v[1], true);
	used = 0;
	for (unsigned i = 0; i < 60; i++) {
		rig_noise(&g, (struct rect){0, 0, 800, 100 + i});
		rig_commit(&g);
		viewer_sees(&v[1]);
		if (i == 10)
			used = mallinfo2().uordblks + mallinfo2().hblkhd;
	}
	CHECK(mallinfo2().uordblks + mallinfo2().hblkhd < used + (4 << 20));
	updates = rig_stat(&g, "updates");
	CHECK(updates >= 60 && updates < 90);
	/* it wakes up, and has the present picture with little delay */
	v[0].no_fences = false;
	v[0].updates = 0;
	viewer_sees(&v[0]);
	CHECK(v[0].updates <= 4);
	viewer_close(&v[0]);
	viewer_sees(&v[1]);
	viewer_close(&v[1]);
	rig_stop(&g);
}

/* Questions without end, and no answer is read: it is not listened to. */
static void flood(void)
{
	uint8_t p[9 + 64] = {248, 0, 0, 0, 0x80, 0, 0, 0, 64};
	size_t sent = 0;
	unsigned idle = 0;

	rig_start(&g, NULL, 64, 64);
	open_plain(&v[0]);
	open_plain(&v[1]);
	viewer_sees(&v[0]);
	v[0].no_fences = v[0].manual = true; /* it would wait for us while we wait for it */
	while (idle < 50) {
		ssize_t k = send(v[0].fd, p, sizeof p, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (k < 0) {
			usleep(1000);
			idle++;
		} else {
			CHECK(k == sizeof p);
			idle = 0;
			sent += (size_t)k;
		}
		CHECK(sent < 8 << 20);
	}
	viewer_sees(&v[1]);
	sync_with(&v[1]);
	/* it reads: all answers are there */
	while (v[0].fence_answers < sent / sizeof p)
		CHECK(viewer_poll(&v[0], 5000));
	sync_with(&v[0]);
	viewer_close(&v[0]);
	viewer_close(&v[1]);
	rig_stop(&g);
}

struct hostile {
	const char *what;
	unsigned n;
	uint8_t p[32];
	bool lives;
};

static const struct hostile hostiles[] = {
	{"type 1", 1, {1}, false}, {"type 7", 8, {7}, false}, {"type 254", 8, {254}, false}, {"QEMU 2", 8, {255, 2}, false},
	{"QEMU 255", 8, {255, 255}, false}, {"bpp 0", 20, {0, 0, 0, 0, 0, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0}, false},
	{"bpp 24", 20, {0, 0, 0, 0, 24, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0}, false},
	{"max 0", 20, {0, 0, 0, 0, 32, 24, 0, 1, 0, 0, 0, 255, 0, 255, 16, 8, 0}, false},
	{"max 65535", 20, {0, 0, 0, 0, 32, 24, 0, 1, 255, 255, 255, 255, 255, 255, 16, 8, 0}, false},
	{"shift 255", 20, {0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 255, 8, 0}, false},
	{"a fence of 65", 9, {248, 0, 0, 0, 128, 0, 0, 0, 65}, false}, {"a fence of 255", 9, {248, 0, 0, 0, 128, 0, 0, 0, 255}, false},
	{"SetDesktopSize, not listed", 8, {251, 0, 0, 1, 0, 1, 0, 0}, false},
	{"an extended key, not listed", 12, {255, 0, 0, 1, 0, 0, 0, 97, 0, 0, 0, 30}, false},
	{"an extended clipboard, not listed", 8, {6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc}, false},
	{"cut text, 0x80000000", 8, {6, 0, 0, 0, 0x80, 0, 0, 0}, false},
	{"no encodings", 4, {2, 0, 0, 0}, true}, {"xvp", 4, {250, 0, 255, 255}, true},
	{"audio on", 4, {255, 1, 0, 0}, true}, {"audio format", 10, {255, 1, 0, 2, 255, 255, 0xff, 0xff, 0xff, 0xff}, true},
	{"no text", 8, {6, 0, 0, 0, 0, 0, 0, 0}, true}, {"a request far outside", 10, {3, 1, 255, 255, 255, 255, 255, 255, 255, 255}, true},
	{"continuous, outside", 10, {150, 1, 255, 255, 255, 255, 0, 9, 0, 9}, true},
	{"continuous, off", 10, {150, 0, 0, 0, 0, 0, 0, 0, 0, 0}, true},
};

static void hostile(void)
{
	rig_start(&g, NULL, 64, 64);
	open_plain(&v[1]);
	viewer_sees(&v[1]);
	for (unsigned i = 0; i < ARRAY_LEN(hostiles); i++) {
		const struct hostile *h = &hostiles[i];

		open_plain(&v[0]);
		viewer_sees(&v[0]);
		/* byte by byte, so that it is cut at each */
		for (unsigned k = 0; k < h->n; k++)
			viewer_send(&v[0], h->p + k, 1);
		if (h->lives)
			sync_with(&v[0]);
		else
			viewer_until(&v[0], viewer_is_closed, h->what);
		viewer_close(&v[0]);
	}
	/* optional messages before SetEncodings */
	for (unsigned type = 0; type < 2; type++) {
		viewer_open(&v[0], &g);
		viewer_send(&v[0], (uint8_t[10]){type ? 150 : 248}, 10);
		viewer_until(&v[0], viewer_is_closed, "an end");
		viewer_close(&v[0]);
	}
	CHECK(rig_stat(&g, "protocol_errors") == 18);
	/* 65535 encodings, one of them at the end; and many such messages */
	open_plain(&v[0]);
	for (unsigned round = 0; round < 4; round++) {
		static int32_t e[65535];

		for (unsigned i = 0; i < 65535; i++)
			e[i] = (int32_t)rig_random() | 0x40000000;
		e[65534] = RFB_ZRLE;
		e[3] = RFB_FENCE;
		viewer_encodings(&v[0], 65535, e);
	}
	sync_with(&v[0]);
	for (unsigned i = 0; i < 10000; i++)
		viewer_ask(&v[0], i % 2, (struct rect){i % 64, i / 64 % 64, 1, 1});
	sync_with(&v[0]);
	viewer_ask_all(&v[0], false);
	rig_noise(&g, (struct rect){0, 0, 64, 64});
	rig_commit(&g);
	viewer_sees(&v[0]);
	viewer_sees(&v[1]);
	viewer_close(&v[0]);
	viewer_close(&v[1]);
	rig_stop(&g);
}

/* Cut at each byte of the handshake and of a first conversation. */
static void cut_short(void)
{
	static const uint8_t talk[] = "RFB 003.008\n\1\1"
		"\2\0\0\3\0\0\0\7\xff\xff\xff\xc8\xff\xff\xfe\xc7" /* Tight, Fence, ContinuousUpdates */
		"\3\0\0\0\0\0\0\100\0\100\0\0\0\0"
		"\4\1\0\0\0\0\0a\5\1\0\1\0\1";
	struct viewer x;

	rig_start(&g, NULL, 64, 64);
	open_plain(&v[1]);
	for (unsigned n = 0; n < sizeof talk - 1; n++) {
		viewer_raw(&x, &g);
		viewer_send(&x, talk, n);
		if (n % 3 == 0)
			usleep(300);
		close(x.fd);
	}
	/* the same, and then a reader that goes while an update is on its way */
	for (unsigned i = 0; i < 5; i++) {
		open_plain(&x);
		rig_noise(&g, (struct rect){0, 0, 64, 64});
		rig_commit(&g);
		viewer_poll(&x, 3);
		viewer_close(&x);
	}
	viewer_sees(&v[1]);
	viewer_close(&v[1]);
	rig_stop(&g);
}

/* Has the server closed it? Waits for that if it should. */
static bool ended(int fd, uint8_t *p, size_t n, bool should)
{
	ssize_t k;

	do
		k = recv(fd, p, n, should ? 0 : MSG_DONTWAIT);
	while (k > 0);
	return k == 0 || errno == ECONNRESET;
}

/* More connections than there may be: those that say nothing go first, then nobody else gets in. */
static void crowd(void)
{
	struct viewer idle[6], late;

	rig_start(&g, &(struct rfb_server_config){.max_clients = 5}, 64, 64);
	open_plain(&v[0]);
	open_plain(&v[1]);
	viewer_sees(&v[1]);
	for (unsigned i = 0; i < 6; i++)
		viewer_raw(&idle[i], &g);
	for (unsigned i = 0; i < 6; i++) {
		uint8_t version[12];
		bool closed = ended(idle[i].fd, version, sizeof version, i < 3);

		CHECK(closed == (i < 3));
	}
	CHECK(rig_stat(&g, "dropped") == 3);
	for (unsigned i = 2; i < 5; i++)
		open_plain(&v[i]);
	viewer_raw(&late, &g);
	CHECK(ended(late.fd, (uint8_t[12]){0}, 12, true));
	CHECK(rig_stat(&g, "refused") == 1);
	for (unsigned i = 0; i < 5; i++) {
		viewer_sees(&v[i]);
		viewer_close(&v[i]);
	}
	viewer_close(&late);
	for (unsigned i = 0; i < 6; i++) {
		close(idle[i].fd);
		free(idle[i].in);
	}
	rig_stop(&g);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"fences", fences}, {"keys", keys}, {"pointers", pointers}, {"wishes", wishes}, {"clipboards", clipboards},
		{"blocked", blocked}, {"flood", flood}, {"hostile", hostile}, {"cut", cut_short}, {"crowd", crowd}};

	log_init("rfb-peers", LOG_ERR);
	for (unsigned i = 0; i < ARRAY_LEN(tests); i++) {
		uint64_t began = now_ns();

		if (argc > 1 && strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		fprintf(stderr, "%-12s %5llu ms\n", tests[i].name, (unsigned long long)(now_ns() - began) / 1000000);
	}
	return 0;
}
