/* SPDX-License-Identifier: MIT */
/*
 * An EDID 1.4 (VESA E-EDID, release A2): what a monitor says of itself, 128 bytes. Guests take the first detailed timing
 * as the size that is wished for; no clock runs by it. It is computed as CVT with reduced blanking does (VESA CVT
 * 1.1, 3.4), at 60 Hz or as near as the clock's 16 bits allow.
 */
#include "base/util.h"
#include "virtio/gpu.h"

enum { DESCRIPTOR = 18, CLOCK_KHZ = 10, REFRESH = 60 };

/* CVT 1.1, table 3-2: the width of the vertical sync says the aspect ratio */
static uint32_t vsync_lines(uint32_t w, uint32_t h)
{
	static const struct {
		uint8_t w, h, lines;
	} known[] = {{4, 3, 4}, {16, 9, 5}, {16, 10, 6}, {5, 4, 7}, {15, 9, 7}};

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (w * known[i].h == h * known[i].w)
			return known[i].lines;
	return 10;
}

static uint8_t high(uint32_t v)
{
	return (uint8_t)(v >> 8 & 15);
}

/* 3.10.2 */
static void detailed_timing(uint8_t *d, uint32_t w, uint32_t h)
{
	enum { H_FRONT = 48, H_SYNC = 32, H_BLANK = 160, V_FRONT = 3, V_BACK_MIN = 6, V_BLANK_US = 460 };
	uint32_t sync = vsync_lines(w, h), mm_w = w * 254 / 960, mm_h = h * 254 / 960;
	/* lines in the shortest vertical blank that there may be; what is left of a frame is for h lines */
	uint32_t blank = V_BLANK_US * h / (1000000 / REFRESH - V_BLANK_US) + 1;
	uint64_t clock;

	blank = (uint32_t)max_u64(blank, V_FRONT + sync + V_BACK_MIN);
	clock = (uint64_t)(w + H_BLANK) * (h + blank) * REFRESH / (CLOCK_KHZ * 1000);
	put_u16(d, (uint16_t)(clock > UINT16_MAX ? UINT16_MAX : clock ? clock : 1));
	d[2] = (uint8_t)w;
	d[3] = H_BLANK;
	d[4] = (uint8_t)(high(w) << 4);
	d[5] = (uint8_t)h;
	d[6] = (uint8_t)blank;
	d[7] = (uint8_t)(high(h) << 4 | high(blank));
	d[8] = H_FRONT;
	d[9] = H_SYNC;
	d[10] = (uint8_t)(V_FRONT << 4 | sync);
	d[12] = (uint8_t)mm_w;
	d[13] = (uint8_t)mm_h;
	d[14] = (uint8_t)(high(mm_w) << 4 | high(mm_h));
	d[17] = 0x1a; /* separate syncs, horizontal positive, vertical negative: reduced blanking */
}

/* 3.10.3: a text of up to 13 bytes, ended by a line feed and filled with blanks */
static void text(uint8_t *d, uint8_t tag, const char *s)
{
	size_t n = strlen(s);

	d[3] = tag;
	memset(d + 5, ' ', DESCRIPTOR - 5);
	memcpy(d + 5, s, n);
	d[5 + n] = '\n';
}

void edid_make(uint8_t e[GPU_EDID], uint32_t w, uint32_t h, unsigned number)
{
	/* header; "HSK", product 1; 1.4 */
	static const uint8_t head[] = {0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0x22, 0x6b, 1, 0};
	/* Rec. 709 primaries and D65, as sRGB has them, in 1/1024 (3.7) */
	static const uint8_t colours[] = {0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54};
	/* 640x480, 800x600, 1024x768 at 60 Hz (3.8) */
	static const uint8_t established[] = {0x21, 0x08, 0};
	/* Others to choose from, at 60 Hz (3.9): width / 8 - 31, and the aspect ratio: 0 16:10, 1 4:3, 2 5:4, 3 16:9 */
	static const uint8_t standard[] = {129, 0xc0, 129, 0, 129, 0x80, 149, 0, 169, 0x40, 179, 0, 209, 0xc0, 209, 0};
	uint8_t sum = 0;

	w = (uint32_t)min_u64(w, GPU_EDID_SIDE);
	h = (uint32_t)min_u64(h, GPU_EDID_SIDE);
	memset(e, 0, GPU_EDID);
	memcpy(e, head, sizeof head);
	put_u32(e + 12, number + 1); /* serial number */
	e[16] = 0xff;                /* the year of the model follows */
	e[17] = 2026 - 1990;
	e[18] = 1;
	e[19] = 4;
	e[20] = 0xa5; /* digital, 8 bits per colour, DisplayPort */
	e[21] = (uint8_t)(w * 254 / 9600 ? w * 254 / 9600 : 1); /* cm */
	e[22] = (uint8_t)(h * 254 / 9600 ? h * 254 / 9600 : 1);
	e[23] = 120;  /* gamma 2.2 */
	e[24] = 6;    /* sRGB; the preferred timing is the native one */
	memcpy(e + 25, colours, sizeof colours);
	memcpy(e + 35, established, sizeof established);
	memcpy(e + 38, standard, sizeof standard);
	detailed_timing(e + 54, w, h);
	text(e + 72, 0xfc, "husk");
	e[93] = e[111] = 0x10; /* no more descriptors */
	for (unsigned i = 0; i < GPU_EDID - 1; i++)
		sum = (uint8_t)(sum + e[i]);
	e[127] = (uint8_t)-sum;
}
