/* SPDX-License-Identifier: MIT */
/* Cut text, classic and extended; the test's own zlib makes what comes and opens what goes. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "rfb/clipboard.h"

#define TEXT    1u
#define RTF     2u
#define HTML    4u
#define CAPS    (1u << 24)
#define REQUEST (1u << 25)
#define PEEK    (1u << 26)
#define NOTIFY  (1u << 27)
#define PROVIDE (1u << 28)

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What the peer's message does. body: as it comes; the length's sign says which kind. */
static int receive(struct rfb_clip *c, bool extended, const void *body, size_t n, const char *ours, struct buf *text,
	struct buf *out)
{
	uint32_t length = extended ? (uint32_t)-(int32_t)n : (uint32_t)n;
	uint8_t *exact = malloc(n ? n : 1);
	bool skip;
	int rc;

	assert(exact && rfb_clip_length(c, length, &skip) == (int64_t)n && !skip);
	if (n)
		memcpy(exact, body, n);
	buf_clear(out);
	rc = rfb_clip_receive(c, length, exact, ours, strlen(ours), text, out);
	free(exact);
	assert(!out->failed);
	return rc;
}

static bool text_is(const struct buf *text, const char *want)
{
	return text->len == strlen(want) && !memcmp(text->p, want, text->len);
}

/* An extended message with nothing behind its flags, or some numbers. */
static int flags_receive(struct rfb_clip *c, uint32_t flags, const uint32_t *more, unsigned n, const char *ours, struct buf *out)
{
	struct buf b = {.p = NULL}, text = {.p = NULL};
	int rc;

	buf_be32(&b, flags);
	for (unsigned i = 0; i < n; i++)
		buf_be32(&b, more[i]);
	rc = receive(c, true, b.p, b.len, ours, &text, out);
	assert(rc <= 0 && !text.len);
	buf_fini(&b);
	buf_fini(&text);
	return rc;
}

static bool sent_flags(const struct buf *out, uint32_t flags)
{
	return out->len == 12 && be32(out->p) == 3u << 24 && be32(out->p + 4) == (uint32_t)-4 && be32(out->p + 8) == flags;
}

/* out is a provide message with that text, in the form of the wire. */
static bool sent_text(const struct buf *out, const char *wire)
{
	static uint8_t plain[4 << 20];
	uLongf len = sizeof plain;

	if (out->len < 12 || be32(out->p) != 3u << 24 || -be32(out->p + 4) != out->len - 8 || be32(out->p + 8) != (PROVIDE | TEXT))
		return false;
	return uncompress(plain, &len, out->p + 12, out->len - 12) == Z_OK && len == 4 + strlen(wire) + 1 &&
		be32(plain) == strlen(wire) + 1 && !strcmp((const char *)plain + 4, wire);
}

/* A provide message of raw[0, n), with those formats. */
static void provide_make(struct buf *b, uint32_t formats, const void *raw, size_t n)
{
	uLongf len = compressBound(n);
	uint8_t *to;

	buf_clear(b);
	buf_be32(b, PROVIDE | formats);
	to = buf_room(b, len);
	assert(to && compress2(to, &len, raw, n, 6) == Z_OK);
	b->len += len;
}

static void entry(struct buf *raw, uint32_t size, const void *p, size_t n)
{
	buf_be32(raw, size);
	buf_put(raw, p, n);
}

static void latin1(void)
{
	static const struct {
		const char *wire, *inside, *back;
	} row[] = {
		{"", "", ""},
		{"plain", "plain", "plain"},
		{"a\r\nb\nc\rd\r\r\n\n", "a\nb\nc\nd\n\n\n", "a\nb\nc\nd\n\n\n"},
		{"\xe4\xff\x80", "\xc3\xa4\xc3\xbf\xc2\x80", "\xe4\xff\x80"},
	};
	static const struct {
		const char *inside, *wire;
	} out_row[] = {
		{"\xe2\x82\xac" "5", "?5"},
		{"\xf0\x9f\x98\x80!", "?!"},
		{"\xc4\x80\xc3\xbf", "?\xff"},
		{"\xc3", "?"},
		{"\xe2\x82", "??"},
		{"\xff", "?"},
	};
	struct buf text = {.p = NULL}, out = {.p = NULL};
	struct rfb_clip c = {.extended = false};

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		size_t n = strlen(row[i].back);

		assert(receive(&c, false, row[i].wire, strlen(row[i].wire), "", &text, &out) == 1);
		assert(text_is(&text, row[i].inside) && !out.len);
		rfb_clip_offer(&c, row[i].inside, strlen(row[i].inside), &out);
		assert(out.len == 8 + n && be32(out.p) == 3u << 24 && be32(out.p + 4) == n && !memcmp(out.p + 8, row[i].back, n));
	}
	for (unsigned i = 0; i < ARRAY_LEN(out_row); i++) {
		size_t n = strlen(out_row[i].wire);

		buf_clear(&out);
		buf_u8(&out, 99); /* something is there already */
		rfb_clip_offer(&c, out_row[i].inside, strlen(out_row[i].inside), &out);
		assert(out.len == 9 + n && be32(out.p + 5) == n && !memcmp(out.p + 9, out_row[i].wire, n));
	}
	/* the end is where a NUL is */
	assert(receive(&c, false, "ab\0cd", 5, "", &text, &out) == 1 && text_is(&text, "ab"));
	/* also of who has the other kind */
	rfb_clip_extend(&c, &out);
	assert(receive(&c, false, "x", 1, "", &text, &out) == 1 && text_is(&text, "x"));
	buf_fini(&text);
	buf_fini(&out);
}

static void lengths(void)
{
	static const struct {
		uint32_t length;
		bool extended, skip;
		int64_t n;
	} row[] = {
		{0, false, false, 0}, {RFB_CLIP_TEXT_MAX, false, false, RFB_CLIP_TEXT_MAX},
		{RFB_CLIP_TEXT_MAX + 1, false, true, RFB_CLIP_TEXT_MAX + 1}, {0x7fffffff, true, true, 0x7fffffff},
		{0x80000000, false, true, -EPROTO}, {0xfffffffc, false, false, -EPROTO}, {0xffffffff, false, false, -EPROTO},
		{0x80000000, true, true, 0x80000000}, {0xfffffffc, true, false, 4}, {0xfffffffd, true, false, -EPROTO},
		{0xffffffff, true, false, -EPROTO}, {-(uint32_t)RFB_CLIP_BODY_MAX, true, false, RFB_CLIP_BODY_MAX},
		{-(uint32_t)RFB_CLIP_BODY_MAX - 1, true, true, RFB_CLIP_BODY_MAX + 1},
	};

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		struct rfb_clip c = {.extended = row[i].extended};
		bool skip;

		assert(rfb_clip_length(&c, row[i].length, &skip) == row[i].n);
		assert(row[i].n < 0 || skip == row[i].skip);
	}
}

/* Who says what it can do, and what it is told then. */
static void caps(void)
{
	static const uint32_t sizes[16] = {[0] = 40};
	struct rfb_clip c = {.extended = false};
	struct buf out = {.p = NULL};
	char *large = calloc(1, 20000);

	assert(large);
	memset(large, 'x', 19999);
	rfb_clip_extend(&c, &out);
	assert(out.len == 16 && be32(out.p) == 3u << 24 && be32(out.p + 4) == (uint32_t)-8 &&
		be32(out.p + 8) == (CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | TEXT) && be32(out.p + 12) == 0);
	/* without caps of its own: small at once, large if it asks */
	buf_clear(&out);
	rfb_clip_offer(&c, "a\nb", 3, &out);
	assert(sent_text(&out, "a\r\nb"));
	buf_clear(&out);
	rfb_clip_offer(&c, large, 19999, &out);
	assert(sent_flags(&out, NOTIFY | TEXT));
	buf_clear(&out);
	rfb_clip_offer(&c, "", 0, &out);
	assert(sent_flags(&out, NOTIFY));
	/* 39 and a NUL, but not 38, LF and a NUL, which has a CR more */
	assert(!flags_receive(&c, CAPS | TEXT | REQUEST | NOTIFY | PROVIDE, sizes, 1, "", &out) && !out.len && c.size == 40);
	rfb_clip_offer(&c, large, 39, &out);
	large[39] = '\0';
	assert(sent_text(&out, large));
	buf_clear(&out);
	rfb_clip_offer(&c, large, 40, &out);
	assert(sent_flags(&out, NOTIFY | TEXT));
	buf_clear(&out);
	large[38] = '\n';
	rfb_clip_offer(&c, large, 39, &out);
	assert(sent_flags(&out, NOTIFY | TEXT));
	/* SetEncodings again: what it said holds */
	buf_clear(&out);
	rfb_clip_extend(&c, &out);
	assert(out.len == 16 && c.size == 40);
	/* no text, no notify, nothing at all */
	assert(!flags_receive(&c, CAPS | HTML | NOTIFY | PROVIDE, sizes, 1, "", &out) && !c.size);
	rfb_clip_offer(&c, "a", 1, &out);
	assert(!out.len);
	assert(!flags_receive(&c, CAPS | TEXT | PROVIDE, sizes, 1, "", &out));
	rfb_clip_offer(&c, "a", 1, &out);
	assert(sent_text(&out, "a"));
	assert(!flags_receive(&c, CAPS | TEXT, sizes, 1, "", &out));
	rfb_clip_offer(&c, "a", 1, &out);
	assert(!out.len);
	/* fewer sizes than formats; all formats; more sizes */
	assert(flags_receive(&c, CAPS | TEXT, NULL, 0, "", &out) == -EPROTO);
	assert(flags_receive(&c, CAPS | 0xffff, sizes, 15, "", &out) == -EPROTO);
	assert(!flags_receive(&c, CAPS | 0xffff, sizes, 16, "", &out) && c.size == 40);
	assert(!flags_receive(&c, CAPS, sizes, 3, "", &out) && !c.size);
	assert(!flags_receive(&c, 0xffffffff, sizes, 16, "", &out));
	free(large);
	buf_fini(&out);
}

static void actions(void)
{
	static const uint32_t sizes[1] = {0};
	struct rfb_clip c = {.extended = false};
	struct buf out = {.p = NULL};
	size_t first;

	rfb_clip_extend(&c, &out);
	/* the peer has something: we ask */
	assert(!flags_receive(&c, NOTIFY | TEXT | HTML, NULL, 0, "", &out) && sent_flags(&out, REQUEST | TEXT));
	assert(!flags_receive(&c, NOTIFY | HTML, NULL, 0, "", &out) && !out.len);
	assert(!flags_receive(&c, NOTIFY, NULL, 0, "", &out) && !out.len);
	/* it asks for what we have */
	assert(!flags_receive(&c, REQUEST | TEXT | RTF, NULL, 0, "one\ntwo\n", &out) && sent_text(&out, "one\r\ntwo\r\n"));
	assert(!flags_receive(&c, REQUEST | TEXT, NULL, 0, "", &out) && !out.len);
	assert(!flags_receive(&c, REQUEST | HTML, NULL, 0, "one", &out) && !out.len);
	assert(!flags_receive(&c, PEEK, NULL, 0, "one", &out) && sent_flags(&out, NOTIFY | TEXT));
	assert(!flags_receive(&c, PEEK, NULL, 0, "", &out) && sent_flags(&out, NOTIFY));
	/* the same once more is not compressed, a new one is */
	rfb_clip_offer(&c, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 48, &out);
	c.provided = false;
	flags_receive(&c, REQUEST | TEXT, NULL, 0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &out);
	first = out.len;
	flags_receive(&c, REQUEST | TEXT, NULL, 0, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", &out);
	assert(out.len > first && sent_text(&out, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
	/* it takes no answers */
	assert(!flags_receive(&c, CAPS | TEXT, sizes, 1, "", &out));
	assert(!flags_receive(&c, REQUEST | TEXT, NULL, 0, "one", &out) && !out.len);
	assert(!flags_receive(&c, PEEK, NULL, 0, "one", &out) && !out.len);
	assert(!flags_receive(&c, NOTIFY | TEXT, NULL, 0, "", &out) && !out.len);
	/* two at once, none, one to come */
	assert(flags_receive(&c, NOTIFY | REQUEST | TEXT, NULL, 0, "one", &out) == -EPROTO);
	assert(flags_receive(&c, PROVIDE | PEEK, NULL, 0, "one", &out) == -EPROTO);
	assert(!flags_receive(&c, TEXT, NULL, 0, "one", &out) && !out.len);
	assert(!flags_receive(&c, 1u << 30 | TEXT, NULL, 0, "one", &out) && !out.len);
	buf_fini(&out);
}

static int give(const void *raw, size_t n, uint32_t formats, struct buf *text)
{
	struct rfb_clip c = {.extended = true, .can = TEXT | NOTIFY | REQUEST | PROVIDE};
	struct buf message = {.p = NULL}, out = {.p = NULL};
	int rc;

	provide_make(&message, formats, raw, n);
	rc = receive(&c, true, message.p, message.len, "", text, &out);
	assert(!out.len);
	buf_fini(&message);
	buf_fini(&out);
	return rc;
}

static void provided(void)
{
	static const struct {
		const char *wire, *inside;
		size_t n;
	} row[] = {
		{"", "", 0}, {"\0", "", 1}, {"a\0", "a", 2}, {"a", "a", 1}, {"a\0b\0", "a", 4},
		{"a\r\nb\nc\rd\0", "a\nb\nc\nd", 9},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\0", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 10},
		/* no UTF-8: a byte alone, too long, surrogate, too large, cut off, in the middle */
		{"\x80\0", "?", 2}, {"\xc0\x80\0", "??", 3}, {"\xe0\x9f\xbf\0", "???", 4}, {"\xf0\x8f\xbf\xbf\0", "????", 5},
		{"\xed\xa0\x80\0", "???", 4}, {"\xf4\x90\x80\x80\0", "????", 5}, {"\xf8\x80\0", "??", 3}, {"\xe2\x82", "??", 2},
		{"\xc3(\0", "?(", 3}, {"\xff\xfe\0", "??", 3}, {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\0",
		"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", 11},
	};
	struct buf raw = {.p = NULL}, text = {.p = NULL};

	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		buf_clear(&raw);
		entry(&raw, (uint32_t)row[i].n, row[i].wire, row[i].n);
		assert(give(raw.p, raw.len, TEXT, &text) == 1 && text_is(&text, row[i].inside));
		/* others behind it are not looked at, right or wrong */
		entry(&raw, 0xffffffff, "{\\rtf}", 6);
		assert(give(raw.p, raw.len, TEXT | RTF, &text) == 1 && text_is(&text, row[i].inside));
	}
	/* no text */
	assert(!give(raw.p, raw.len, RTF | HTML, &text));
	assert(!give(raw.p, raw.len, 0, &text));
	buf_fini(&raw);
	buf_fini(&text);
}

/* Sizes that are not true, streams that are none, cut off, with a changed byte, and too much of everything. */
static void lies(void)
{
	static const uint32_t sizes[] = {6, 7, 1000, 1 << 20, 0x140000 - 1};
	struct rfb_clip c = {.extended = true};
	struct buf raw = {.p = NULL}, text = {.max = RFB_CLIP_TEXT_MAX}, message = {.p = NULL}, out = {.p = NULL};
	uint8_t *zeroes = calloc(1, 64 << 20);
	uint8_t flags[4] = {PROVIDE >> 24, 0, 0, TEXT};

	assert(zeroes);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		buf_clear(&raw);
		entry(&raw, sizes[i], "hello", 5);
		assert(give(raw.p, raw.len, TEXT, &text) == -EPROTO);
	}
	/* too large is no crime, and nothing is allocated for it */
	buf_clear(&text);
	for (uint32_t size = 0x140000; size >= 0x140000; size = size < 0x80000000 ? size * 2 : size + 0x10000000) {
		buf_clear(&raw);
		entry(&raw, size, "hello", 5);
		assert(!give(raw.p, raw.len, TEXT, &text) && !text.len);
	}
	for (size_t n = 0; n < 4; n++)
		assert(give("\0\0\0\1", n, TEXT, &text) == -EPROTO);
	assert(receive(&c, true, flags, 4, "", &text, &out) == -EPROTO);
	/* each cut, each byte changed: never more than there can be, never anything read beyond */
	buf_clear(&raw);
	entry(&raw, 12, "hello world\0", 12);
	provide_make(&message, TEXT, raw.p, raw.len);
	for (size_t n = 4; n < message.len; n++) {
		int rc = receive(&c, true, message.p, n, "", &text, &out);

		assert(rc == -EPROTO || (rc == 1 && text_is(&text, "hello world"))); /* the checksum is not waited for */
	}
	for (size_t i = 0; i < message.len; i++)
		for (unsigned mask = 1; mask < 256; mask++) {
			int rc;

			message.p[i] ^= (uint8_t)mask;
			rc = receive(&c, true, message.p, message.len, "", &text, &out);
			assert(rc == 0 || rc == -EPROTO || (rc == 1 && text.len <= RFB_CLIP_TEXT_MAX));
			message.p[i] ^= (uint8_t)mask;
		}
	/* a bomb of 64 MiB whose size says 1 MiB, and one that says what it is */
	put_u32(zeroes, __builtin_bswap32(1 << 20));
	provide_make(&message, TEXT, zeroes, 64 << 20);
	assert(message.len < 70000);
	assert(receive(&c, true, message.p, message.len, "", &text, &out) == 1 && !text.len && text.cap <= 2 << 20);
	put_u32(zeroes, __builtin_bswap32((64 << 20) - 4));
	provide_make(&message, TEXT, zeroes, 64 << 20);
	buf_fini(&text);
	assert(!receive(&c, true, message.p, message.len, "", &text, &out) && !text.cap);
	/* the most: 1 MiB, of long lines or of empty ones */
	memset(zeroes, 'x', 2 << 20);
	put_u32(zeroes, __builtin_bswap32(RFB_CLIP_TEXT_MAX));
	assert(give(zeroes, 4 + RFB_CLIP_TEXT_MAX, TEXT, &text) == 1 && text.len == RFB_CLIP_TEXT_MAX);
	put_u32(zeroes, __builtin_bswap32(RFB_CLIP_TEXT_MAX + 1));
	assert(!give(zeroes, 4 + RFB_CLIP_TEXT_MAX + 1, TEXT, &text));
	zeroes[4 + RFB_CLIP_TEXT_MAX] = '\0';
	assert(give(zeroes, 4 + RFB_CLIP_TEXT_MAX + 1, TEXT, &text) == 1 && text.len == RFB_CLIP_TEXT_MAX);
	/* Latin-1 that is too much as UTF-8 */
	memset(zeroes, 0xe4, 1 << 20);
	assert(receive(&c, false, zeroes, RFB_CLIP_TEXT_MAX / 2, "", &text, &out) == 1 && text.len == RFB_CLIP_TEXT_MAX);
	assert(!receive(&c, false, zeroes, RFB_CLIP_TEXT_MAX / 2 + 1, "", &text, &out) && !text.len);
	free(zeroes);
	buf_fini(&raw);
	buf_fini(&text);
	buf_fini(&message);
	buf_fini(&out);
}

/* Whatever is sent comes back the same: all kinds of lines, both levels, up to the most. */
static void round_trips(void)
{
	struct rfb_clip here = {.extended = false}, there = {.extended = true};
	struct buf out = {.p = NULL}, text = {.p = NULL}, none = {.p = NULL};
	char *s = malloc(RFB_CLIP_TEXT_MAX + 1);
	uint32_t x = 1;

	assert(s);
	rfb_clip_extend(&here, &out);
	for (unsigned round = 0; round < 24; round++) {
		size_t n = round < 20 ? round * round * 97 : RFB_CLIP_TEXT_MAX;
		size_t wire = n + 1;
		unsigned kind = round % 4;

		for (size_t i = 0; i < n; i++) {
			x = x * 1103515245 + 12345;
			s[i] = kind == 0 || (x >> 16) % (kind == 1 ? 2 : 80) == 0 ? '\n' : (char)(32 + (x >> 16) % 95);
			wire += s[i] == '\n';
		}
		s[n] = '\0';
		for (unsigned again = 0; again < 2 && n; again++) {
			here.provided = again;
			buf_clear(&out);
			assert(!rfb_clip_receive(&here, (uint32_t)-4, (const uint8_t *)"\2\0\0\1", s, n, &text, &out));
			if (out.len - 8 > RFB_CLIP_BODY_MAX || wire >= 0x140000) /* empty lines are twice as many bytes */
				continue;
			assert(receive(&there, true, out.p + 8, out.len - 8, "", &text, &none) == 1);
			assert(text.len == n && !memcmp(text.p, s, n));
		}
	}
	/* more is not sent at all */
	buf_clear(&out);
	rfb_clip_offer(&here, s, RFB_CLIP_TEXT_MAX + 1, &out);
	assert(!out.len);
	here.extended = false;
	rfb_clip_offer(&here, s, RFB_CLIP_TEXT_MAX + 1, &out);
	assert(!out.len);
	/* no room to send: said, not written */
	out.max = 20;
	rfb_clip_offer(&here, s, 100, &out);
	assert(out.failed);
	here.extended = true;
	buf_clear(&out);
	rfb_clip_offer(&here, s, 100, &out);
	assert(out.failed);
	buf_fini(&out);
	buf_fini(&text);
	buf_fini(&none);
	free(s);
}

int main(void)
{
	latin1();
	lengths();
	caps();
	actions();
	provided();
	lies();
	round_trips();
	return 0;
}
