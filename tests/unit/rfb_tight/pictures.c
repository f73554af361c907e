/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "pictures.h"

static uint32_t state = 1;

const struct rfb_format pic_format[PIC_FORMATS] = {
	{32, 24, false, true, 255, 255, 255, 16, 8, 0}, {32, 24, true, true, 255, 255, 255, 16, 8, 0},
	{32, 24, false, true, 255, 255, 255, 0, 8, 16}, {32, 24, true, true, 255, 255, 255, 8, 16, 24},
	{32, 32, false, true, 255, 255, 255, 16, 8, 0}, {32, 30, false, true, 1023, 1023, 1023, 20, 10, 0},
	{16, 16, false, true, 31, 63, 31, 11, 5, 0},    {16, 15, true, true, 31, 31, 31, 10, 5, 0},
	{8, 8, false, true, 7, 7, 3, 0, 3, 6},          {8, 6, false, true, 3, 3, 3, 4, 2, 0},
};

void pic_seed(uint32_t seed)
{
	state = seed * 2654435761u | 1;
}

uint32_t pic_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

static void put(struct surface *s, uint32_t x, uint32_t y, uint32_t rgb)
{
	if (x < s->w && y < s->h)
		*surface_row(s, x, y) = (rgb & 0xffffff) | (x * 7 + y) << 24;
}

static void fill(struct surface *s, struct rect r, uint32_t rgb)
{
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			put(s, x, y, rgb);
}

enum { NO_PAPER = 1 << 24 };

/* Letters are 8 rows of bits each, of a font of 40; in cells of 8x16. soft: with edges in between */
static void text(struct surface *s, struct rect r, uint32_t paper, const uint32_t *ink, unsigned inks, bool soft)
{
	uint32_t font[40][2];

	for (unsigned i = 0; i < 40; i++) {
		font[i][0] = pic_random() & pic_random();
		font[i][1] = pic_random() & pic_random();
	}
	for (uint32_t y = 0; y < r.h; y += 16)
		for (uint32_t x = 0, colour = ink[0]; x < r.w; x += 8) {
			uint32_t letter = pic_random() % 60, weight = pic_random() % 3;

			if (letter >= 57)
				colour = ink[pic_random() % inks];
			for (uint32_t i = 0; i < 128; i++) {
				uint32_t row = i / 16, bit = i % 16 / 2 + row % 4 * 8;
				bool on = letter < 40 && font[letter][row / 4] >> bit & 1;
				uint32_t mix = soft && on && (i ^ weight) % 3 == 0 ? (colour & 0xfefefe) / 2 + (paper & 0xfefefe) / 2 : colour;

				if (x + i % 8 < r.w && y + i / 8 < r.h && (on || paper != NO_PAPER))
					put(s, r.x + x + i % 8, r.y + y + i / 8, on ? mix : paper);
			}
		}
}

static unsigned byte(double v)
{
	return v < 0 ? 0 : v > 255 ? 255 : (unsigned)v;
}

static void photo(struct surface *s)
{
	for (uint32_t y = 0; y < s->h; y++)
		for (uint32_t x = 0; x < s->w; x++) {
			double a = sin(x * 0.013) + cos(y * 0.019) + sin((x + y) * 0.007), n = (int)(pic_random() % 11) - 5;
			double e = (x * 3 + y * 2) / 89 % 2 ? 20 : 0;

			put(s, x, y, byte(125 + 40 * a + e + n) << 16 | byte(110 + 35 * cos(a + 1) + e + n) << 8 |
				byte(120 + 45 * sin(a * 1.3) + (int)(pic_random() % 9)));
		}
}

static void colours(struct surface *s, unsigned n)
{
	uint32_t base = pic_random();

	for (uint32_t y = 0; y < s->h; y++)
		for (uint32_t x = 0; x < s->w; x++)
			put(s, x, y, base + pic_random() % n * 0x10307);
	/* each of them surely, if there is room */
	for (unsigned i = 0; i < n && i < (uint64_t)s->w * s->h; i++)
		put(s, i % s->w, i / s->w, base + i * 0x10307);
}

static void desktop(struct surface *s)
{
	static const uint32_t ink[] = {0x101010, 0x204a87};
	struct rect w = DESKTOP_WINDOW;

	photo(s);
	fill(s, w, 0x303030);
	fill(s, (struct rect){w.x + 1, w.y + 1, w.w - 2, w.h - 2}, 0xf6f5f4);
	fill(s, (struct rect){w.x + 1, w.y + 1, w.w - 2, 20}, 0x3465a4);
	text(s, (struct rect){w.x + 6, w.y + 26, w.w - 12, w.h - 32}, 0xf6f5f4, ink, 2, true);
}

void pic_paint(struct surface *s, enum picture p)
{
	static const uint32_t ink[] = {0xaaaaaa, 0x55ff55, 0x5555ff, 0xffff55};
	static const uint32_t label = 0xff00ff; /* far from all of the photo, which has more green */
	static const unsigned n[] = {[COLOURS_2] = 2, [COLOURS_3] = 3, [COLOURS_16] = 16, [COLOURS_255] = 255, [COLOURS_256] = 256,
		[COLOURS_257] = 257};
	struct rect all = {0, 0, s->w, s->h};

	switch (p) {
	case SOLID:
		fill(s, all, pic_random());
		break;
	case TEXT:
	case TEXT_COLOURS:
	case TEXT_SOFT:
		text(s, all, p == TEXT_SOFT ? 0xffffff : 0, ink, p == TEXT ? 1 : 4, p == TEXT_SOFT);
		break;
	case STRIPES:
		for (uint32_t y = 0; y < s->h; y++)
			fill(s, (struct rect){0, y, s->w, 1}, y / 37 * 0x3579bd);
		break;
	case GRADIENT_H:
	case GRADIENT_V:
	case GRADIENT_2D:
		for (uint32_t y = 0; y < s->h; y++)
			for (uint32_t x = 0; x < s->w; x++) {
				uint32_t h = p == GRADIENT_V ? 0 : x * 255 / s->w, v = p == GRADIENT_H ? 0 : y * 255 / s->h;

				put(s, x, y, h << 16 | v << 8 | (h + v) / 2);
			}
		break;
	case PHOTO:
		photo(s);
		break;
	case LABELS:
		photo(s);
		for (uint32_t y = 30; y + 16 < s->h; y += 90)
			for (uint32_t x = 20; x + 90 < s->w; x += 120)
				text(s, (struct rect){x, y, 40 + x % 24, 16}, NO_PAPER, &label, 1, false);
		break;
	case NOISE:
		for (uint32_t y = 0; y < s->h; y++)
			for (uint32_t x = 0; x < s->w; x++)
				put(s, x, y, pic_random());
		break;
	case DESKTOP:
		desktop(s);
		break;
	default:
		colours(s, n[p]);
		break;
	}
}
