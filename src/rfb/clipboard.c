/* SPDX-License-Identifier: MIT */
/*
 * A provide message is a zlib stream of (size, data) per format, by the number of the format; text is number 0. So four bytes
 * are inflated, and then as many as they say, if those are not too many; what is behind is never looked at, and there is
 * nothing that could be inflated without end.
 *
 * What we say we take without having asked is 0 bytes, as the specification advises: then a peer sends notify, and we ask.
 * Those that send their text nevertheless (UltraVNC) are served, too.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "base/util.h"
#include "rfb/clipboard.h"

#define FORMAT_TEXT 1u
#define FORMATS     0xffffu
#define CAPS        (1u << 24)
#define REQUEST     (1u << 25)
#define PEEK        (1u << 26)
#define NOTIFY      (1u << 27)
#define PROVIDE     (1u << 28)
#define ACTIONS     (CAPS | REQUEST | PEEK | NOTIFY | PROVIDE)

enum { SERVER_CUT_TEXT = 3, HEADER = 8 /* type, padding, length */ };
/* A text up to so many bytes on the wire is sent at once, if the peer takes it; a longer one only to who asks. */
enum { SMALL = 16 << 10 };
#define DEFAULT_SIZE (20u << 20) /* of who did not say */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be32(uint8_t *p, uint32_t v)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* ---- text ---- */

/* One character of UTF-8 from p[0, n), n > 0; *used bytes. A byte that begins none is '?', alone. */
static uint32_t utf8_get(const uint8_t *p, size_t n, size_t *used)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	unsigned more = p[0] < 0x80 ? 0 : p[0] >= 0xf0 ? 3 : p[0] >= 0xe0 ? 2 : 1;
	uint32_t ch = more ? p[0] & (0x3fu >> more) : p[0];

	*used = 1;
	if ((p[0] & 0xc0) == 0x80 || p[0] > 0xf4 || more >= n)
		return '?';
	for (unsigned i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return '?';
		ch = ch << 6 | (p[i] & 0x3f);
	}
	if (ch < least[more] || ch > 0x10ffff || (ch >= 0xd800 && ch < 0xe000))
		return '?';
	*used = more + 1;
	return ch;
}

/* From the wire: up to a NUL, any kind of line end becomes LF, what is no UTF-8 becomes '?'. */
static int text_take(const uint8_t *p, size_t n, bool latin1, struct buf *text)
{
	const uint8_t *end = n ? memchr(p, 0, n) : NULL;
	size_t len = 0, room, used;
	uint8_t *to;

	n = end ? (size_t)(end - p) : n;
	/* no character of UTF-8 becomes longer */
	room = min_u64(max_u64(latin1 ? 2 * n : n, 1), RFB_CLIP_TEXT_MAX);
	buf_clear(text);
	to = buf_room(text, room);
	if (!to)
		return -ENOMEM;
	for (size_t i = 0; i < n; i += used) {
		uint8_t two[2];
		const uint8_t *ch = p + i;
		size_t out = 1;

		used = 1;
		if (*ch == '\r') {
			used = i + 1 < n && ch[1] == '\n' ? 2 : 1;
			ch = (const uint8_t *)"\n";
		} else if (*ch >= 0x80 && latin1) {
			two[0] = (uint8_t)(0xc0 | *ch >> 6);
			two[1] = (uint8_t)(0x80 | (*ch & 0x3f));
			ch = two;
			out = 2;
		} else if (*ch >= 0x80 && utf8_get(ch, n - i, &used) == '?') {
			ch = (const uint8_t *)"?";
		} else {
			out = used;
		}
		if (out > room - len)
			return 0; /* longer than the longest text */
		memcpy(to + len, ch, out);
		len += out;
	}
	text->len = len;
	return 1;
}

static size_t crlf_extra(const char *text, size_t n)
{
	size_t extra = 0;

	for (size_t i = 0; i < n; i++)
		extra += text[i] == '\n';
	return extra;
}

/* ---- messages out ---- */

static void header(struct buf *out, uint32_t length)
{
	static const uint8_t type[4] = {SERVER_CUT_TEXT};

	buf_put(out, type, sizeof type);
	buf_be32(out, length);
}

static void put_flags(struct buf *out, uint32_t flags)
{
	header(out, (uint32_t)-4);
	buf_be32(out, flags);
}

static void put_notify(struct buf *out, bool text)
{
	put_flags(out, NOTIFY | (text ? FORMAT_TEXT : 0));
}

static void put_classic(struct buf *out, const char *text, size_t n)
{
	size_t at = out->len, len = 0, used;
	uint8_t *to;

	header(out, 0);
	to = buf_room(out, n);
	if (!to)
		return;
	for (size_t i = 0; i < n; i += used) {
		uint32_t ch = utf8_get((const uint8_t *)text + i, n - i, &used);

		to[len++] = ch < 0x100 ? (uint8_t)ch : '?';
	}
	out->len += len;
	put_be32(out->p + at + 4, (uint32_t)len);
}

/* Compresses what is at p; flush as for deflate(). There is room for all. */
static void squeeze(z_stream *z, const void *p, size_t n, int flush)
{
	int rc;

	z->next_in = (z_const Bytef *)(uintptr_t)p;
	z->avail_in = (uInt)n;
	rc = deflate(z, flush);
	assert(rc == (flush == Z_FINISH ? Z_STREAM_END : Z_OK) && !z->avail_in);
}

static void put_provide(struct buf *out, const char *text, size_t n, int level)
{
	size_t at = out->len, wire = n + crlf_extra(text, n) + 1;
	z_stream z = {.zalloc = NULL};
	uint8_t size[4];

	header(out, 0);
	buf_be32(out, PROVIDE | FORMAT_TEXT);
	if (out->failed)
		return;
	if (deflateInit(&z, level) != Z_OK) {
		out->failed = true;
		return;
	}
	z.avail_out = (uInt)deflateBound(&z, wire + sizeof size);
	z.next_out = buf_room(out, z.avail_out);
	if (z.next_out) {
		put_be32(size, (uint32_t)wire);
		squeeze(&z, size, sizeof size, Z_NO_FLUSH);
		for (size_t i = 0; i < n;) {
			const char *lf = memchr(text + i, '\n', n - i);
			size_t line = lf ? (size_t)(lf - text) - i : n - i;

			if (line)
				squeeze(&z, text + i, line, Z_NO_FLUSH);
			if (lf)
				squeeze(&z, "\r\n", 2, Z_NO_FLUSH);
			i += line + (lf != NULL);
		}
		squeeze(&z, "", 1, Z_FINISH);
		out->len += z.total_out;
		put_be32(out->p + at + 4, -(uint32_t)(4 + z.total_out));
	}
	(void)deflateEnd(&z);
}

void rfb_clip_extend(struct rfb_clip *c, struct buf *out)
{
	if (!c->extended) {
		c->extended = true;
		c->can = FORMAT_TEXT | REQUEST | NOTIFY | PROVIDE;
		c->size = DEFAULT_SIZE;
	}
	header(out, (uint32_t)-8);
	buf_be32(out, CAPS | REQUEST | PEEK | NOTIFY | PROVIDE | FORMAT_TEXT);
	buf_be32(out, 0);
}

void rfb_clip_offer(struct rfb_clip *c, const char *text, size_t n, struct buf *out)
{
	size_t wire;
	bool fits;

	c->provided = false;
	if (n > RFB_CLIP_TEXT_MAX)
		return;
	if (!c->extended) {
		put_classic(out, text, n);
		return;
	}
	if (!(c->can & FORMAT_TEXT))
		return;
	wire = n + crlf_extra(text, n) + 1;
	fits = n && c->can & PROVIDE && wire <= c->size;
	if (fits && (wire <= SMALL || !(c->can & NOTIFY))) {
		put_provide(out, text, n, 1);
		c->provided = true;
	} else if (c->can & NOTIFY) {
		put_notify(out, n != 0);
	}
}

/* ---- messages in ---- */

int64_t rfb_clip_length(const struct rfb_clip *c, uint32_t length, bool *skip)
{
	bool negative = length >> 31;
	int64_t n = negative ? (int64_t)0x100000000 - length : length;

	*skip = n > (negative ? (int64_t)RFB_CLIP_BODY_MAX : (int64_t)RFB_CLIP_TEXT_MAX);
	if (negative && (!c->extended || n < 4))
		return -EPROTO;
	return n;
}

static int receive_caps(struct rfb_clip *c, uint32_t flags, const uint8_t *p, size_t n)
{
	if (n / 4 < (unsigned)__builtin_popcount(flags & FORMATS))
		return -EPROTO;
	c->can = flags;
	c->size = flags & FORMAT_TEXT ? be32(p) : 0;
	return 0;
}

/* Exactly n bytes of the stream to to. */
static bool expand(z_stream *z, uint8_t *to, size_t n)
{
	int rc;

	z->next_out = to;
	z->avail_out = (uInt)n;
	rc = inflate(z, Z_SYNC_FLUSH);
	return (rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR) && !z->avail_out;
}

static int receive_provide(uint32_t flags, const uint8_t *p, size_t n, struct buf *text)
{
	struct buf wire = {.max = RFB_CLIP_TEXT_MAX + RFB_CLIP_TEXT_MAX / 4};
	z_stream z = {.next_in = (z_const Bytef *)(uintptr_t)p, .avail_in = (uInt)n};
	uint8_t size[4];
	int rc = -EPROTO;

	if (!(flags & FORMAT_TEXT))
		return 0;
	if (inflateInit(&z) != Z_OK)
		return -ENOMEM;
	if (expand(&z, size, sizeof size)) {
		size_t len = be32(size);
		uint8_t *to = len < wire.max ? buf_room(&wire, len + 1) : NULL;

		if (len >= wire.max)
			rc = 0;
		else if (!to)
			rc = -ENOMEM;
		else if (!len || expand(&z, to, len))
			rc = text_take(to, len, false, text);
		buf_fini(&wire);
	}
	(void)inflateEnd(&z);
	return rc;
}

int rfb_clip_receive(struct rfb_clip *c, uint32_t length, const uint8_t *body, const char *ours, size_t n, struct buf *text,
	struct buf *out)
{
	uint32_t flags;
	size_t len;

	if (!(length >> 31))
		return text_take(body, length, true, text);
	flags = be32(body);
	len = -length - 4;
	body += 4;
	if (flags & CAPS)
		return receive_caps(c, flags, body, len);
	switch (flags & ACTIONS) {
	case REQUEST:
		if (n && n <= RFB_CLIP_TEXT_MAX && flags & FORMAT_TEXT && c->can & PROVIDE) {
			/* who asks again and again gets it, but no time of ours */
			put_provide(out, ours, n, c->provided ? 0 : 1);
			c->provided = true;
		}
		return 0;
	case PEEK:
		if (c->can & NOTIFY)
			put_notify(out, n != 0);
		return 0;
	case NOTIFY:
		if (flags & FORMAT_TEXT && c->can & REQUEST)
			put_flags(out, REQUEST | FORMAT_TEXT);
		return 0;
	case PROVIDE:
		return receive_provide(flags, body, len, text);
	case 0: /* of a later version */
		return 0;
	default:
		return -EPROTO;
	}
}
