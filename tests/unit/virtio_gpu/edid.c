/* SPDX-License-Identifier: MIT */
/* EDIDs: fields of VESA E-EDID A2, timings as cvt(1) -r computes them. */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "virtio/gpu.h"

struct timing {
	uint32_t w, h, total_w, total_h, khz, mm_w, mm_h, vsync;
};

static struct timing timing(const uint8_t *d)
{
	struct timing t = {.w = d[2] | (d[4] & 0xf0u) << 4, .h = d[5] | (d[7] & 0xf0u) << 4};

	t.total_w = t.w + (d[3] | (d[4] & 15u) << 8);
	t.total_h = t.h + (d[6] | (d[7] & 15u) << 8);
	t.khz = get_u16(d) * 10u;
	t.vsync = d[10] & 15;
	t.mm_w = d[12] | (d[14] & 0xf0u) << 4;
	t.mm_h = d[13] | (d[14] & 15u) << 8;
	/* syncs inside the blanks */
	assert(d[8] && d[9] && d[8] + d[9] < t.total_w - t.w && !d[11]);
	assert(d[10] >> 4 && d[10] & 15 && (d[10] >> 4) + (d[10] & 15u) < t.total_h - t.h);
	assert(!d[15] && !d[16] && d[17] == 0x1a);
	return t;
}

static struct timing check(uint32_t w, uint32_t h)
{
	static const uint8_t magic[] = {0, 255, 255, 255, 255, 255, 255, 0};
	uint8_t e[GPU_EDID], sum = 0;
	struct timing t;

	edid_make(e, w, h, 2);
	for (unsigned i = 0; i < sizeof e; i++)
		sum = (uint8_t)(sum + e[i]);
	assert(!sum && !memcmp(e, magic, 8) && e[8] == 0x22 && e[9] == 0x6b && e[18] == 1 && e[19] == 4 && get_u32(e + 12) == 3);
	assert(e[16] == 255 && e[17] == 36 && e[20] & 0x80 && e[21] && e[22] && e[24] & 2 && !e[126]);
	assert(!get_u16(e + 72) && e[75] == 0xfc && !memcmp(e + 77, "husk\n        ", 13));
	assert(!get_u16(e + 90) && e[93] == 0x10 && !get_u16(e + 108) && e[111] == 0x10);
	t = timing(e + 54);
	assert(t.w == min_u64(w, GPU_EDID_SIDE) && t.h == min_u64(h, GPU_EDID_SIDE));
	/* 60 Hz, or as many as a clock of 16 bits gives */
	assert(t.khz && t.khz <= 655350 && t.khz * 1000ull <= 60ull * t.total_w * t.total_h);
	assert(t.khz == 655350 || (t.khz + 10) * 1000ull > 60ull * t.total_w * t.total_h);
	return t;
}

int main(void)
{
	static const struct timing known[] = {
		{.w = 1024, .h = 768, .total_w = 1184, .total_h = 790, .khz = 56000, .mm_w = 270, .mm_h = 203, .vsync = 4},
		{.w = 1280, .h = 800, .total_w = 1440, .total_h = 823, .khz = 71000, .mm_w = 338, .mm_h = 211, .vsync = 6},
		{.w = 1920, .h = 1080, .total_w = 2080, .total_h = 1111, .khz = 138500, .mm_w = 508, .mm_h = 285, .vsync = 5},
		{.w = 2560, .h = 1440, .total_w = 2720, .total_h = 1481, .khz = 241500, .mm_w = 677, .mm_h = 381, .vsync = 5},
		{.w = 3840, .h = 2160, .total_w = 4000, .total_h = 2222, .khz = 533000, .mm_w = 1016, .mm_h = 571, .vsync = 5},
	};
	static const uint32_t sides[] = {1, 2, 7, 63, 64, 100, 255, 256, 257, 1365, 1366, 2047, 2048, 4094, 4095, 4096, 5120, 8192};

	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		const struct timing *k = &known[i];
		struct timing t = check(k->w, k->h);

		assert(t.total_w == k->total_w && t.total_h == k->total_h && t.mm_w == k->mm_w && t.mm_h == k->mm_h);
		assert(t.vsync == k->vsync && t.khz >= k->khz && t.khz < k->khz + 500);
	}
	for (unsigned i = 0; i < ARRAY_LEN(sides); i++)
		for (unsigned k = 0; k < ARRAY_LEN(sides); k++)
			check(sides[i], sides[k]);
	return 0;
}
