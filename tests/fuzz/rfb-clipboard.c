/* SPDX-License-Identifier: MIT */
/*
 * Cut text messages of one viewer. Each: a byte that says how its body comes, two of its length, the body. The byte: bits 0-1:
 * 0 classic, 1 extended as it is, 2 extended, a provide message whose stream is made here of the body, 3 ours changes; bit 2:
 * the viewer says again that it has the extension; bit 3 we have a text. bits 4-7: bits of the flags of kind 2.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "rfb/clipboard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text_check(const struct buf *text)
{
	assert(text->len <= RFB_CLIP_TEXT_MAX && !memchr(text->p ? text->p : (const uint8_t *)"", 0, text->len));
	for (size_t i = 0; i < text->len;) { /* a second, plain look at UTF-8 */
		const uint8_t *p = text->p + i;
		unsigned n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : *p >= 0xe0 && *p < 0xf0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;

		assert(n && n <= text->len - i && *p != '\r');
		for (unsigned k = 1; k < n; k++)
			assert((p[k] & 0xc0) == 0x80);
		assert(!(*p == 0xe0 && p[1] < 0xa0) && !(*p == 0xed && p[1] >= 0xa0) && !(*p == 0xf0 && p[1] < 0x90) &&
			!(*p == 0xf4 && p[1] >= 0x90));
		i += n;
	}
}

/* What we send is whole messages of type 3. */
static void out_check(const struct buf *out)
{
	size_t at = 0;

	assert(!out->failed);
	while (at < out->len) {
		uint32_t length;

		assert(out->len - at >= 8 && out->p[at] == 3);
		length = __builtin_bswap32(get_u32(out->p + at + 4));
		at += 8 + (length >> 31 ? -length : length);
	}
	assert(at == out->len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = {.p = NULL}, out = {.p = NULL}, body = {.p = NULL};
	struct rfb_clip c = {.extended = false};
	char ours[64] = "one\ntwo";
	size_t nours = 7;
	int rc = 0;

	for (unsigned i = 0; i < 64 && size >= 3 && rc >= 0; i++) {
		unsigned how = data[0], kind = how & 3;
		size_t n = min_u64(size - 3, data[1] | (size_t)data[2] << 8);
		uint32_t length;
		uint8_t *exact;
		bool skip;

		data += 3;
		size -= 3;
		if (how & 4)
			rfb_clip_extend(&c, &out);
		buf_clear(&body);
		if (kind == 2) {
			uLongf len = compressBound(n);

			buf_be32(&body, 1u << 28 | how >> 4);
			assert(buf_room(&body, len) && compress2(body.p + 4, &len, data, n, 1) == Z_OK);
			body.len += len;
		} else if (kind == 3) {
			nours = min_u64(n, sizeof ours);
			memcpy(ours, data, nours);
			rfb_clip_offer(&c, ours, nours, &out);
		} else {
			if (n)
				buf_put(&body, data, n);
		}
		data += n;
		size -= n;
		if (kind == 3)
			continue;
		length = kind ? -(uint32_t)body.len : (uint32_t)body.len;
		if (rfb_clip_length(&c, length, &skip) < 0) {
			assert(kind && (!c.extended || body.len < 4));
			break;
		}
		assert(!skip);
		exact = malloc(body.len ? body.len : 1);
		assert(exact);
		if (body.len)
			memcpy(exact, body.p, body.len);
		rc = rfb_clip_receive(&c, length, exact, ours, how & 8 ? nours : 0, &text, &out);
		free(exact);
		assert(rc == 0 || rc == 1 || rc == -EPROTO);
		if (rc == 1) {
			text_check(&text);
			rfb_clip_offer(&c, (const char *)text.p, text.len, &out);
		}
		assert(out.len < 4 << 20);
	}
	out_check(&out);
	buf_fini(&text);
	buf_fini(&out);
	buf_fini(&body);
	return 0;
}
