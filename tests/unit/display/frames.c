/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "frames.h"

static uint32_t state = 12345;

void frame_seed(uint32_t seed)
{
	state = seed;
}

uint32_t frame_random(void)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}

struct surface frame_new(uint32_t w, uint32_t h)
{
	struct surface s = {w, h, w * 4, calloc(h, w * 4ul)};

	assert(s.px);
	return s;
}

void frame_free(struct surface *s)
{
	free(s->px);
	s->px = NULL;
}

void frame_fill(struct surface *s, struct rect r, uint32_t colour)
{
	r = rect_clip(r, s->w, s->h);
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			*surface_row(s, x, y) = colour;
}

/* ---- text ---- */

static uint8_t font[256][16];
static char *text;
static size_t text_len, text_at;

/* Strokes in a cell of 7 x 12: what matters is that letters differ, share rows, and have room around. */
static void font_make(void)
{
	uint32_t r = 77;

	for (unsigned c = 33; c < 127; c++)
		for (unsigned n = 0; n < 3; n++) {
			unsigned top, at;

			r = r * 1664525 + 1013904223;
			top = c > 'Z' ? 5 : 2;
			at = r >> 24;
			if (r & 0x10000) /* upright */
				for (unsigned y = top; y < 12; y++)
					font[c][y] |= (uint8_t)(0x80 >> at % 7);
			else
				font[c][top + at % (12 - top)] |= (uint8_t)(0x7e << (at >> 6 & 1));
			if (r & 0x20000)
				font[c][12 + at % 2] |= (uint8_t)(0x40 >> at % 5);
		}
}

/* The licence, as long as the machine has it; else words by chance. */
static void text_make(void)
{
	FILE *f = fopen("/usr/share/common-licenses/GPL-2", "rb");
	uint32_t r = 5;

	text = malloc(1 << 16);
	assert(text);
	if (f) {
		text_len = fread(text, 1, 1 << 16, f);
		fclose(f);
	}
	while (text_len < 16000) {
		r = r * 1664525 + 1013904223;
		text[text_len++] = (r >> 24) % 75 == 0 ? '\n' : (r >> 24) % 6 == 0 ? ' ' : (char)('a' + (r >> 16) % 26);
	}
}

static void glyph(struct surface *s, uint32_t x, uint32_t y, uint8_t c, uint32_t fg, uint32_t bg)
{
	for (uint32_t j = 0; j < 16 && y + j < s->h; j++)
		for (uint32_t i = 0; i < 8 && x + i < s->w; i++)
			*surface_row(s, x + i, y + j) = font[c][j] & 0x80 >> i ? fg : bg;
}

void frame_text_begin(void)
{
	text_at = 0;
}

void frame_text(struct surface *s, uint32_t x, uint32_t y, uint32_t columns, uint32_t background)
{
	static const uint32_t colours[] = {0xaaaaaa, 0xaaaaaa, 0xaaaaaa, 0x55ff55, 0x5555ff, 0xffff55, 0xff5555};
	uint32_t fg, col = 0;

	if (!text) {
		font_make();
		text_make();
	}
	fg = colours[frame_random() % 7];
	for (; text_at < text_len && text[text_at] != '\n' && col < columns; text_at++, col++) {
		glyph(s, x + col * 8, y, (uint8_t)text[text_at], fg, background);
		if (text[text_at] == ' ' && frame_random() % 9 == 0)
			fg = colours[frame_random() % 7];
	}
	while (text_at < text_len && text[text_at] != '\n')
		text_at++;
	if (++text_at >= text_len)
		text_at = 0;
	for (; col < columns; col++)
		glyph(s, x + col * 8, y, ' ', fg, background);
}

void frame_page(struct surface *s, struct rect r, uint32_t background)
{
	for (uint32_t y = r.y; y + 16 <= r.y + r.h; y += 16)
		frame_text(s, r.x, y, r.w / 8, background);
}

/* ---- pictures ---- */

static uint32_t level(double v)
{
	return v < 0 ? 0 : v > 255 ? 255 : (uint32_t)v;
}

void frame_photo(struct surface *s, struct rect r, double t)
{
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++) {
			double a = sin((x + 40 * t) * 0.011) + cos((y - 25 * t) * 0.017) + sin((x + y) * 0.006 + t);
			double e = ((x * 3 + y * 2 + (uint32_t)(30 * t)) / 97 & 1 ? 18 : 0) + (int)(frame_random() % 9) - 4;

			*surface_row(s, r.x + x, r.y + y) = level(128 + 40 * a + e) << 16 | level(110 + 35 * cos(a + 1) + e) << 8 |
				level(120 + 45 * sin(a * 1.3) + e);
		}
}

void frame_window(struct surface *s)
{
	frame_fill(s, (struct rect){0, 0, s->w, s->h}, 0xf6f5f4);
	frame_fill(s, (struct rect){0, 0, s->w, 24}, 0x3465a4);
	frame_page(s, (struct rect){8, 32, s->w - 16, s->h - 36}, 0xf6f5f4);
}

void frame_put(struct surface *dst, const struct surface *s, uint32_t x, uint32_t y)
{
	assert(x + s->w <= dst->w && y + s->h <= dst->h);
	for (uint32_t j = 0; j < s->h; j++)
		memcpy(surface_row(dst, x, y + j), surface_row(s, 0, j), 4ul * s->w);
}

void frame_scroll(struct surface *s, struct rect r, int dx, int dy)
{
	uint32_t ax = (uint32_t)abs(dx), ay = (uint32_t)abs(dy);

	if (ax >= r.w || ay >= r.h)
		return;
	for (uint32_t i = 0; i < r.h - ay; i++) {
		uint32_t to = r.y + (dy > 0 ? r.h - 1 - i : i); /* not over what is still to be read */

		memmove(surface_row(s, r.x + (dx > 0 ? ax : 0), to), surface_row(s, r.x + (dx < 0 ? ax : 0), (uint32_t)((int)to - dy)),
			4ul * (r.w - ax));
	}
}
