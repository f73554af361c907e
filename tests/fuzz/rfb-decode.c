/* SPDX-License-Identifier: MIT */
/*
 * A hostile server: tests/rfb/decode.c, which is to become our client. The first byte: bit 0 lax, bit 1 TightPNG, bit 2 how the rest is
 * to be read, bits 3 to 5 the format.
 *   bit 2 clear: bytes of the server, FramebufferUpdate after FramebufferUpdate;
 *   set: records of encoding, x, y, w, h (a byte each), length (2), payload. What is compressed on the wire is compressed here, so that
 *   mutations get through zlib.
 * The same bytes are decoded in one go, and in pieces; both must come out the same.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../rfb/decode.h"

enum { W = 200, H = 100, LONGEST = 65536 };
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct packer {
	z_stream z[6]; /* zlib, ZRLE, Tight's */
	bool open[6];
	struct buf out;
};

static void pack(struct packer *k, unsigned stream, const uint8_t *p, size_t n, struct buf *to)
{
	z_stream *z = &k->z[stream];
	size_t room = n + n / 8 + 128;

	if (!k->open[stream])
		assert(deflateInit(z, 1) == Z_OK);
	k->open[stream] = true;
	assert(buf_room(to, room));
	z->next_in = p;
	z->avail_in = (uInt)n;
	z->next_out = to->p + to->len;
	z->avail_out = (uInt)room;
	deflate(z, Z_SYNC_FLUSH); /* says Z_BUF_ERROR if there is nothing */
	assert(!z->avail_in && z->avail_out);
	to->len += room - z->avail_out;
}

static void unpack(struct packer *k, unsigned stream)
{
	if (k->open[stream])
		deflateEnd(&k->z[stream]);
	k->open[stream] = false;
	k->z[stream] = (z_stream){0};
}

/* Tight: how long the uncompressed head is, then head, then what is compressed by the stream that the head names */
static void tight_record(struct packer *k, const uint8_t *p, size_t n)
{
	size_t head = n ? min_u64(p[0], n - 1) : 0;
	struct buf packed = {0};

	if (!head)
		return;
	for (unsigned i = 0; i < 4; i++)
		if (p[1] >> i & 1)
			unpack(k, 2 + i);
	buf_put(&k->out, p + 1, head);
	pack(k, 2 + (p[1] >> 4 & 3), p + 1 + head, n - 1 - head, &packed);
	buf_u8(&k->out, (uint8_t)(packed.len | (packed.len > 127 ? 128 : 0)));
	if (packed.len > 127)
		buf_u8(&k->out, (uint8_t)(packed.len >> 7 | (packed.len > 16383 ? 128 : 0)));
	if (packed.len > 16383)
		buf_u8(&k->out, (uint8_t)(packed.len >> 14));
	buf_put(&k->out, packed.p, packed.len);
	buf_fini(&packed);
}

/* Used of p[0, n); 0: it ends here */
static size_t record(struct packer *k, const uint8_t *p, size_t n)
{
	static const int32_t encodings[] = {RFB_RAW, RFB_COPYRECT, RFB_RRE, RFB_HEXTILE, RFB_ZLIB, RFB_ZRLE, RFB_TIGHT, RFB_TIGHT_PNG,
		RFB_CURSOR, RFB_X_CURSOR, RFB_CURSOR_WITH_ALPHA, RFB_DESKTOP_SIZE, RFB_EXTENDED_DESKTOP_SIZE, RFB_DESKTOP_NAME,
		RFB_QEMU_LED_STATE};
	struct buf packed = {0};
	int32_t encoding;
	size_t len;

	if (n < 7)
		return 0;
	encoding = encodings[(p[0] & 127) % ARRAY_LEN(encodings)];
	len = min_u64((size_t)p[5] << 8 | p[6], n - 7);
	for (unsigned i = 1; i < 5; i++)
		buf_be16(&k->out, p[i]);
	buf_be32(&k->out, (uint32_t)encoding);
	if (encoding == RFB_ZLIB || encoding == RFB_ZRLE) {
		pack(k, encoding == RFB_ZRLE, p + 7, len, &packed);
		buf_be32(&k->out, (uint32_t)packed.len);
		buf_put(&k->out, packed.p, packed.len);
		buf_fini(&packed);
	} else if (encoding == RFB_TIGHT && p[0] & 128) {
		tight_record(k, p + 7, len);
	} else {
		buf_put(&k->out, p + 7, len);
	}
	return 7 + len;
}

static void decoder(struct rfb_decoder *d, uint8_t flags)
{
	static const struct rfb_format formats[8] = {
		{32, 24, false, true, 255, 255, 255, 16, 8, 0},
		{8, 8, false, true, 7, 7, 3, 0, 3, 6},
		{16, 16, false, true, 31, 63, 31, 11, 5, 0},
		{32, 24, true, true, 255, 255, 255, 24, 16, 8},
		{32, 32, false, true, 255, 255, 255, 0, 8, 16},
		{16, 15, true, true, 31, 31, 31, 0, 5, 10},
		{32, 30, false, true, 1023, 1023, 1023, 20, 10, 0},
		{8, 8, false, true, 7, 7, 3, 5, 2, 0},
	};

	assert(!rfb_decoder_init(d, W, H));
	d->lax = flags & 1;
	d->tight_png = flags & 2;
	d->format = formats[flags >> 3 & 7];
	d->pixels_max = 4 * W * H;
}

/* As the bytes come, step of them at a time; returns what was used, or the error */
static ssize_t feed(struct rfb_decoder *d, const uint8_t *p, size_t n, size_t step)
{
	size_t at = 0, have = 0;
	ssize_t used = 0;

	while (have < n) {
		uint8_t *exact;

		have = min_u64(have + step, n);
		do {
			/* ends where the bytes end, so that a step too far is seen */
			exact = malloc(have - at + 1);
			assert(exact);
			memcpy(exact, p + at, have - at);
			used = rfb_decode_update(d, exact, have - at);
			free(exact);
			if (used < 0) {
				assert(d->why[0]);
				return used;
			}
			assert((size_t)used <= have - at);
			at += (size_t)used;
			assert(used || d->need > have - at || at == have);
		} while (used && at < have);
	}
	return (ssize_t)at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct packer k = {0};
	struct rfb_decoder whole, parts;
	ssize_t a, b;

	if (size < 2 || size > LONGEST)
		return 0;
	if (data[0] & 4) {
		size_t used = 1;

		buf_be32(&k.out, 0xffff); /* an update */
		for (size_t at = 1; used; at += used)
			used = record(&k, data + at, size - at);
	} else {
		buf_put(&k.out, data + 1, size - 1);
	}
	decoder(&whole, data[0]);
	decoder(&parts, data[0]);
	a = feed(&whole, k.out.p, k.out.len, k.out.len);
	b = feed(&parts, k.out.p, k.out.len, 1 + k.out.len / 13);
	assert(a == b && whole.w == parts.w && whole.h == parts.h && !strcmp(whole.why, parts.why));
	assert((uint64_t)whole.w * whole.h <= 4 * W * H);
	assert(!memcmp(whole.px, parts.px, (size_t)whole.w * whole.h * 4));
	assert(whole.cursor.generation == parts.cursor.generation && whole.updating == parts.updating);
	rfb_decoder_fini(&whole);
	rfb_decoder_fini(&parts);
	for (unsigned i = 0; i < ARRAY_LEN(k.z); i++)
		unpack(&k, i);
	buf_fini(&k.out);
	return 0;
}
