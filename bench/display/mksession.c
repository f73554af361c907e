/* SPDX-License-Identifier: MIT */
/*
 * Screens of typical work, the same in every run: mksession KIND WIDTH HEIGHT UPDATES OUT FONT
 *   cursor  a cursor blinks             type    characters on a line      scroll  text, a line at a time
 *   page    a page of text each time    solid   one colour each time      photo   full screen, never the same
 *   video   the middle half of it       drag    a text window over a photo
 * FONT is a console font (psf, 8 pixels wide), text comes from /usr/share/common-licenses/GPL-2. The first update is all of
 * the screen.
 */
#include <math.h>

#include "session.h"

enum { MARGIN = 20, TITLE = 24 };

static unsigned width, height, glyph_h = 16;
static uint32_t *fb;
static FILE *out;
static uint8_t font[1 << 18];
static const uint8_t *glyphs;
static char *text;
static size_t text_len, text_at;
static uint32_t seed = 12345;

static uint32_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static void put16(unsigned v)
{
	fputc((int)(v >> 8 & 255), out);
	fputc((int)(v & 255), out);
}

static void put_update(unsigned x, unsigned y, unsigned w, unsigned h)
{
	put16(0);
	put16(1);
	put16(x);
	put16(y);
	put16(w);
	put16(h);
	put16(0);
	put16(0);
	for (unsigned j = y; j < y + h; j++)
		fwrite(fb + (size_t)j * width + x, 4, w, out);
}

static void fill(unsigned x, unsigned y, unsigned w, unsigned h, uint32_t colour)
{
	for (unsigned j = y; j < y + h && j < height; j++)
		for (unsigned i = x; i < x + w && i < width; i++)
			fb[(size_t)j * width + i] = colour;
}

static void glyph(unsigned x0, unsigned y0, unsigned c, uint32_t fg, uint32_t bg)
{
	for (unsigned y = 0; y < glyph_h && y0 + y < height; y++)
		for (unsigned x = 0; x < 8 && x0 + x < width; x++)
			fb[(size_t)(y0 + y) * width + x0 + x] = glyphs[c * glyph_h + y] & 0x80 >> x ? fg : bg;
}

static void text_line(unsigned x, unsigned y, unsigned cols, uint32_t bg)
{
	static const uint32_t colours[] = {0xaaaaaa, 0xaaaaaa, 0xaaaaaa, 0x55ff55, 0x5555ff, 0xffff55, 0xff5555};
	uint32_t fg = colours[next_random() % 7];
	unsigned col = 0;

	for (; text_at < text_len && text[text_at] != '\n'; text_at++) {
		if (col == cols)
			continue;
		glyph(x + col++ * 8, y, (uint8_t)text[text_at], fg, bg);
		if (text[text_at] == ' ' && next_random() % 9 == 0)
			fg = colours[next_random() % 7];
	}
	text_at = text_at + 1 < text_len ? text_at + 1 : 0;
	for (; col < cols; col++)
		glyph(x + col * 8, y, ' ', fg, bg);
}

static unsigned clamp(double v)
{
	return v < 0 ? 0 : v > 255 ? 255 : (unsigned)v;
}

/* Gradients, edges and the noise of a sensor */
static void photo(unsigned x0, unsigned y0, unsigned w, unsigned h, double t)
{
	for (unsigned y = 0; y < h; y++)
		for (unsigned x = 0; x < w; x++) {
			double a = sin((x + 40 * t) * 0.011) + cos((y - 25 * t) * 0.017) + sin((x + y) * 0.006 + t);
			double edge = (x * 3 + y * 2 + (unsigned)(30 * t)) / 97 & 1 ? 18 : 0, noise = (int)(next_random() % 9) - 4;

			fb[(size_t)(y0 + y) * width + x0 + x] = clamp(128 + 40 * a + edge + noise) << 16 |
				clamp(110 + 35 * cos(a + 1) + edge + noise) << 8 | clamp(120 + 45 * sin(a * 1.3) + noise);
		}
}

static void text_screen(void)
{
	for (unsigned y = 0; y + glyph_h <= height; y += glyph_h)
		text_line(0, y, width / 8, 0);
}

static size_t slurp(const char *path, void *p, size_t max)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f) {
		perror(path);
		exit(1);
	}
	n = fread(p, 1, max, f);
	fclose(f);
	return n;
}

static void load(const char *font_path)
{
	size_t n = slurp(font_path, font, sizeof font);
	uint32_t header, h;

	if (n > 4 && font[0] == 0x36 && font[1] == 4) { /* psf 1 */
		glyph_h = font[3];
		glyphs = font + 4;
	} else if (n > 32 && font[0] == 0x72 && font[1] == 0xb5) { /* psf 2 */
		memcpy(&header, font + 8, 4);
		memcpy(&h, font + 24, 4);
		glyphs = font + header;
		glyph_h = h;
	} else {
		fprintf(stderr, "%s: no psf font (is it still packed?)\n", font_path);
		exit(1);
	}
	text = malloc(1 << 20);
	text_len = slurp("/usr/share/common-licenses/GPL-2", text, 1 << 20);
}

static void drag(unsigned updates)
{
	const unsigned w = width * 2 / 5, h = height * 9 / 20;
	uint32_t *wall = malloc((size_t)width * height * 4), *window = malloc((size_t)w * h * 4);
	unsigned old_x = MARGIN, old_y = MARGIN;

	photo(0, 0, width, height, 0);
	memcpy(wall, fb, (size_t)width * height * 4);
	fill(0, 0, w, h, 0xf6f5f4);
	fill(0, 0, w, TITLE, 0x3465a4);
	for (unsigned y = TITLE + 8; y + glyph_h + 4 < h; y += glyph_h)
		text_line(8, y, w / 8 - 2, 0xf6f5f4);
	for (unsigned y = 0; y < h; y++)
		memcpy(window + (size_t)y * w, fb + (size_t)y * width, w * 4);
	for (unsigned i = 0; i <= updates; i++) {
		unsigned x = MARGIN + i * 6 % (width - w - 2 * MARGIN), y = MARGIN + i * 3 % (height - h - 2 * MARGIN);
		unsigned x0 = x < old_x ? x : old_x, y0 = y < old_y ? y : old_y;
		unsigned x1 = (x > old_x ? x : old_x) + w, y1 = (y > old_y ? y : old_y) + h;

		memcpy(fb, wall, (size_t)width * height * 4);
		for (unsigned j = 0; j < h; j++)
			memcpy(fb + (size_t)(y + j) * width + x, window + (size_t)j * w, w * 4);
		if (i)
			put_update(x0, y0, x1 - x0, y1 - y0);
		else
			put_update(0, 0, width, height);
		old_x = x;
		old_y = y;
	}
}

static void update(const char *kind, unsigned i)
{
	const unsigned last = (height / glyph_h - 1) * glyph_h;

	if (!strcmp(kind, "cursor")) {
		fill(40, last, 8, glyph_h, i & 1 ? 0xaaaaaa : 0);
		put_update(40, last, 8, glyph_h);
	} else if (!strcmp(kind, "type")) {
		unsigned x = i % (width / 8 - 2) * 8;

		glyph(x, last, 33 + next_random() % 90, 0xaaaaaa, 0);
		fill(x + 8, last, 8, glyph_h, 0xaaaaaa);
		put_update(x, last, 16, glyph_h);
	} else if (!strcmp(kind, "video")) {
		photo(width / 4, height / 4, width / 2, height / 2, i * 0.25);
		put_update(width / 4, height / 4, width / 2, height / 2);
	} else {
		if (!strcmp(kind, "scroll")) {
			memmove(fb, fb + (size_t)glyph_h * width, (size_t)last * width * 4);
			text_line(0, last, width / 8, 0);
		} else if (!strcmp(kind, "page")) {
			text_screen();
		} else if (!strcmp(kind, "solid")) {
			fill(0, 0, width, height, i * 0x123457u & 0xffffff);
		} else if (!strcmp(kind, "photo")) {
			photo(0, 0, width, height, i * 0.25);
		} else {
			fprintf(stderr, "what is '%s'?\n", kind);
			exit(2);
		}
		put_update(0, 0, width, height);
	}
}

int main(int argc, char **argv)
{
	unsigned updates;
	const char *kind = argc > 1 ? argv[1] : "";

	if (argc != 7) {
		fputs("mksession KIND WIDTH HEIGHT UPDATES OUT FONT\n", stderr);
		return 2;
	}
	width = (unsigned)atoi(argv[2]);
	height = (unsigned)atoi(argv[3]);
	updates = (unsigned)atoi(argv[4]);
	out = fopen(argv[5], "wb");
	if (!out || width < 320 || height < 200) {
		perror(argv[5]);
		return 1;
	}
	load(argv[6]);
	fb = calloc((size_t)width * height, 4);
	if (!strcmp(kind, "drag")) {
		drag(updates);
		return fclose(out) ? 1 : 0;
	}
	if (!strcmp(kind, "photo") || !strcmp(kind, "video"))
		photo(0, 0, width, height, 0);
	else if (strcmp(kind, "solid"))
		text_screen();
	put_update(0, 0, width, height);
	for (unsigned i = 1; i <= updates; i++)
		update(kind, i);
	return fclose(out) ? 1 : 0;
}
