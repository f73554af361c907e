/* SPDX-License-Identifier: MIT */
/* The cursor in its three encodings, and what alpha becomes where there is none. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>

#include "../../rfb/decode.h"
#include "display/scanout.h"
#include "pictures.h"
#include "rfb/encode.h"

static struct buf out;

static void decode(struct rfb_decoder *d, int32_t encoding, const struct scanout_view_cursor *c)
{
	unsigned generation = d->cursor.generation;

	buf_clear(&out);
	assert(rfb_cursor_encode(encoding, &d->format, c, &out) == 1);
	assert(rfb_decode_rect(d, out.p, out.len) == (ssize_t)out.len);
	assert(d->cursor.generation == generation + 1 && d->cursor.encoding == encoding);
	assert(d->cursor.w == c->w && d->cursor.h == c->h);
	if (c->w)
		assert(d->cursor.hot_x == c->hot_x && d->cursor.hot_y == c->hot_y);
}

/* Premultiplied, of a straight colour */
static uint32_t with_alpha(uint32_t rgb, unsigned a)
{
	uint32_t v = a << 24;

	for (unsigned shift = 0; shift < 24; shift += 8)
		v |= ((rgb >> shift & 255) * a + 127) / 255 << shift;
	return v;
}

static bool near(uint32_t a, uint32_t b, int by)
{
	for (unsigned shift = 0; shift < 24; shift += 8) {
		int d = (int)(a >> shift & 255) - (int)(b >> shift & 255);

		if (d > by || d < -by)
			return false;
	}
	return true;
}

static void random_ones(void)
{
	static struct scanout_view_cursor c;
	static uint32_t straight[SCANOUT_CURSOR_MAX * SCANOUT_CURSOR_MAX];

	for (unsigned i = 0; i < 300; i++) {
		struct rfb_decoder d;

		assert(!rfb_decoder_init(&d, 100, 100));
		d.format = pic_format[i % PIC_FORMATS];
		c.w = i < 2 ? SCANOUT_CURSOR_MAX : 1 + pic_random() % 33;
		c.h = i < 2 ? SCANOUT_CURSOR_MAX : 1 + pic_random() % 33;
		c.hot_x = pic_random() % c.w;
		c.hot_y = pic_random() % c.h;
		for (uint32_t k = 0; k < c.w * c.h; k++) {
			static const uint8_t alpha[] = {0, 1, 127, 128, 200, 255};

			straight[k] = pic_random() & 0xffffff;
			c.px[k] = with_alpha(straight[k], alpha[pic_random() % 6]);
		}
		decode(&d, RFB_CURSOR_WITH_ALPHA, &c);
		for (uint32_t k = 0; k < c.w * c.h; k++)
			assert(d.cursor.argb[k] == c.px[k]);
		decode(&d, RFB_CURSOR, &c);
		for (uint32_t k = 0; k < c.w * c.h; k++) {
			uint32_t got = d.cursor.argb[k];

			assert(got >> 24 == (c.px[k] >> 24 >= 128 ? 255 : 0));
			/* what premultiplying has rounded away is lost, as is what the format cannot hold */
			if (got && d.format.rmax >= 255)
				assert(near(got, straight[k], c.px[k] >> 24 == 255 ? 0 : 2));
		}
		decode(&d, RFB_X_CURSOR, &c);
		for (uint32_t k = 0; k < c.w * c.h; k++)
			assert(d.cursor.argb[k] >> 24 == (c.px[k] >> 24 >= 128 ? 255 : 0));
		rfb_decoder_fini(&d);
	}
}

/* The usual arrow: black with a white border and a soft shadow; in two colours, too */
static void arrow(void)
{
	static struct scanout_view_cursor c = {.w = 11, .h = 3};
	struct rfb_decoder d;

	assert(!rfb_decoder_init(&d, 100, 100));
	for (uint32_t k = 0; k < c.w * c.h; k++)
		c.px[k] = k % 3 == 0 ? 0xff000000 : k % 3 == 1 ? 0xffffffff : 0x40000000;
	for (unsigned i = 0; i < 2; i++) {
		decode(&d, i ? RFB_CURSOR : RFB_X_CURSOR, &c);
		for (uint32_t k = 0; k < c.w * c.h; k++)
			assert(d.cursor.argb[k] == (k % 3 == 2 ? 0 : c.px[k]));
	}
	/* more colour than alpha, which is a guest's mistake, and one colour only */
	for (uint32_t k = 0; k < c.w * c.h; k++)
		c.px[k] = 0x80ff2000;
	decode(&d, RFB_CURSOR, &c);
	assert(d.cursor.argb[0] == 0xffff4000);
	decode(&d, RFB_X_CURSOR, &c);
	assert(d.cursor.argb[0] == 0xffff4000);
	rfb_decoder_fini(&d);
}

static void none(void)
{
	static const int32_t encoding[] = {RFB_CURSOR, RFB_X_CURSOR, RFB_CURSOR_WITH_ALPHA};
	static struct scanout_view_cursor c;
	struct buf little = {.max = 20};
	struct rfb_decoder d;

	assert(!rfb_decoder_init(&d, 100, 100));
	for (unsigned i = 0; i < 3; i++) {
		c = (struct scanout_view_cursor){0};
		decode(&d, encoding[i], &c);
		c.w = c.h = 5;
		assert(rfb_cursor_encode(encoding[i], &d.format, &c, &little) == -ENOMEM && little.len <= 20);
		buf_clear(&little);
		/* what nobody should ever send: larger than there is room for */
		c.w = SCANOUT_CURSOR_MAX + 1;
		buf_clear(&out);
		assert(rfb_cursor_encode(encoding[i], &d.format, &c, &out) == 1 && out.len <= 16);
	}
	assert(rfb_cursor_encode(RFB_RAW, &d.format, &c, &out) == -EINVAL);
	buf_fini(&little);
	rfb_decoder_fini(&d);
}

int main(void)
{
	random_ones();
	arrow();
	none();
	buf_fini(&out);
	return 0;
}
