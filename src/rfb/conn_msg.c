/* SPDX-License-Identifier: MIT */
/*
 * What a viewer says. A row for each message: the bytes that its handler wants to see first, which returns how many it has
 * used, or 0 if the message is longer and not all there. No message that is taken whole is longer than CONN_IN; long lists and
 * texts are taken as they come. Nothing is allocated by numbers in a message.
 */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "rfb/server-int.h"

enum msg_type {
	MSG_FORMAT = 0, MSG_ENCODINGS = 2, MSG_REQUEST = 3, MSG_KEY = 4, MSG_POINTER = 5, MSG_CUT_TEXT = 6, MSG_CONTINUOUS = 150,
	MSG_FENCE = 248, MSG_XVP = 250, MSG_SET_SIZE = 251, MSG_QEMU = 255,
};
enum { QEMU_KEY = 0, QEMU_AUDIO = 1, AUDIO_FORMAT = 2, FENCE_MAX = 64, SCREENS_MAX = 255, SCREEN_LEN = 16, ASKED_RECTS = 64 };
enum { SIZE_DONE = 0, SIZE_PROHIBITED = 1, SIZE_NO_RESOURCES = 2, SIZE_INVALID = 3, SIZE_FORWARDED = 4, REASON_CLIENT = 1 };
enum { BUTTONS_MORE = 0x80 };
#define FENCE_BEFORE (1u << 0)
#define FENCE_AFTER (1u << 1)
#define FENCE_SYNC_NEXT (1u << 2)
#define FENCE_REQUEST (1u << 31)
static const uint64_t WISH_NS = 2000000000u;

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)be16(p) << 16 | be16(p + 2);
}

static ssize_t bad(struct rfb_conn *c, const char *why)
{
	c->why = why;
	return -EPROTO;
}

/* What is encoded now would be sent behind this message as if it had not come: it waits. */
static bool must_wait(struct rfb_conn *c)
{
	c->hold = conn_busy(c);
	return c->hold;
}

/* --- pixels ------------------------------------------------------------------------------------- */

static ssize_t on_format(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	struct rfb_format f;

	(void)n;
	if (must_wait(c))
		return 0;
	if (!rfb_format_get(&f, p + 4))
		return bad(c, "a pixel format that nobody can have");
	if (!f.true_colour)
		rfb_colour_map(&f, &c->out);
	c->format = f;
	c->due |= c->cursor_shown ? DUE_CURSOR : 0;
	return 4 + RFB_FORMAT_LEN;
}

static void list_encoding(struct conn_encodings *l, int32_t id)
{
	static const struct {
		int32_t id;
		unsigned can;
	} rows[] = {
		{RFB_COPYRECT, CAN_COPYRECT}, {RFB_DESKTOP_SIZE, CAN_SIZE}, {RFB_EXTENDED_DESKTOP_SIZE, CAN_LAYOUT},
		{RFB_DESKTOP_NAME, CAN_NAME}, {RFB_CURSOR, CAN_CURSOR}, {RFB_X_CURSOR, CAN_X_CURSOR},
		{RFB_CURSOR_WITH_ALPHA, CAN_ALPHA_CURSOR}, {RFB_POINTER_MOTION_CHANGE, CAN_POINTER},
		{RFB_QEMU_EXTENDED_KEY, CAN_KEYS}, {RFB_QEMU_LED_STATE, CAN_LED}, {RFB_VMWARE_LED_STATE, CAN_VMWARE_LED},
		{RFB_FENCE, CAN_FENCE}, {RFB_CONTINUOUS_UPDATES, CAN_CONTINUOUS}, {RFB_EXTENDED_MOUSE_BUTTONS, CAN_BUTTONS},
		{RFB_EXTENDED_CLIPBOARD, CAN_CLIPBOARD}, {RFB_LAST_RECT, CAN_LAST_RECT},
	};

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (rows[i].id == id)
			l->can |= rows[i].can;
	if (id >= RFB_JPEG_QUALITY_0 && id <= RFB_JPEG_QUALITY_9)
		l->quality = id - RFB_JPEG_QUALITY_0;
	else if (id >= RFB_COMPRESS_0 && id <= RFB_COMPRESS_9)
		l->level = id - RFB_COMPRESS_0;
	else if (!l->ops && rfb_encoder_find(id))
		*l = (struct conn_encodings){rfb_encoder_find(id), id, l->can, l->level, l->quality};
}

static void fence_answer(struct rfb_conn *c, uint32_t flags, const uint8_t *payload, unsigned len)
{
	buf_be32(&c->out, (uint32_t)MSG_FENCE << 24);
	buf_be32(&c->out, flags & (FENCE_BEFORE | FENCE_AFTER | FENCE_SYNC_NEXT));
	buf_u8(&c->out, (uint8_t)len);
	buf_put(&c->out, payload, len);
}

static void sync_answer(struct rfb_conn *c)
{
	if (c->sync)
		fence_answer(c, c->sync_flags, c->sync_payload, c->sync_len);
}

static void encodings_end(struct rfb_conn *c)
{
	unsigned before = c->enc.can;

	sync_answer(c);
	c->sync = false;
	if (!c->listed.ops)
		c->listed.ops = &rfb_raw;
	c->enc = c->listed;
	log_debug("rfb", "%s: %s, level %d, quality %d, extensions 0x%x", c->peer, conn_encoding_name(c), c->enc.level,
		c->enc.quality, c->enc.can);
	conn_offers(c, before);
}

static ssize_t on_encodings(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	(void)n;
	c->encodings_left = be16(p + 2);
	c->listed = (struct conn_encodings){.level = -1, .quality = -1};
	if (!c->encodings_left)
		encodings_end(c);
	return 4;
}

static ssize_t more_encodings(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	size_t used;

	for (used = 0; c->encodings_left && n - used >= 4; used += 4, c->encodings_left--)
		list_encoding(&c->listed, (int32_t)be32(p + used));
	if (!c->encodings_left)
		encodings_end(c);
	return (ssize_t)used;
}

static struct rect get_rect(const uint8_t *p)
{
	return (struct rect){be16(p), be16(p + 2), be16(p + 4), be16(p + 6)};
}

static ssize_t on_request(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	struct rect r = rect_clip(get_rect(p + 2), c->view->copy.w, c->view->copy.h);

	(void)n;
	if (!p[1]) {
		/* the others need not see it again */
		if (c->view->members > 1 && must_wait(c))
			return 0;
		if (!share_leave(c))
			return bad(c, "a request for which there is no memory");
		view_force(c->view, r);
		if (c->enc.can & CAN_LAYOUT && !(c->due & DUE_LAYOUT))
			c->due |= DUE_LAYOUT;
	}
	if (!rect_empty(r))
		pixman_region32_union_rect(&c->asked, &c->asked, (int)r.x, (int)r.y, r.w, r.h);
	if (pixman_region32_n_rects(&c->asked) > ASKED_RECTS) {
		pixman_box32_t b = *pixman_region32_extents(&c->asked);

		pixman_region32_reset(&c->asked, &b);
	}
	c->asked_any = true;
	return 10;
}

static ssize_t on_continuous(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	(void)n;
	if (!(c->told & CAN_CONTINUOUS))
		return bad(c, "continuous updates, which it was not offered");
	/* what comes behind the end may be in another format: the update that is made now belongs before it */
	if (!p[1] && c->continuous && must_wait(c))
		return 0;
	if (!p[1] && c->continuous)
		buf_u8(&c->out, MSG_CONTINUOUS); /* EndOfContinuousUpdates */
	if (p[1]) { /* nor may an old request bring one in the old format after it */
		pixman_region32_clear(&c->asked);
		c->asked_any = false;
	}
	c->continuous = p[1];
	c->continuous_area = rect_clip(get_rect(p + 2), c->view->copy.w, c->view->copy.h);
	return 10;
}

/* --- fences, size ------------------------------------------------------------------------------- */

static ssize_t on_fence(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	uint32_t flags = be32(p + 4);
	unsigned len = p[8];

	if (!(c->told & CAN_FENCE))
		return bad(c, "a fence, which it was not offered");
	if (len > FENCE_MAX)
		return bad(c, "a fence with more than 64 bytes");
	if (n < 9 + len)
		return 0;
	if (flags & FENCE_REQUEST) {
		/* the update that is made now was begun before the fence, and so belongs before its answer */
		if (flags & (FENCE_SYNC_NEXT | FENCE_AFTER) && must_wait(c))
			return 0;
		if (!(flags & FENCE_SYNC_NEXT)) {
			fence_answer(c, flags, p + 9, len);
		} else {
			c->sync_later = true;
			c->sync_flags = flags;
			c->sync_len = len;
			memcpy(c->sync_payload, p + 9, len);
		}
	} else if (len == 4) {
		uint32_t number;

		pace_acked(&c->pace, be32(p + 9), now_ns());
		if (pace_probe(&c->pace, now_ns(), &number))
			conn_fence_put(&c->out, number);
	}
	return (ssize_t)(9 + len);
}

static unsigned wish_check(const struct display_picture *pic, const uint8_t *p, unsigned n, uint32_t w, uint32_t h)
{
	struct rect r[SCANOUT_HEADS];

	if (pic->firmware)
		return SIZE_PROHIBITED;
	if (!n || !w || !h)
		return SIZE_INVALID;
	if (n > SCANOUT_HEADS)
		return SIZE_NO_RESOURCES;
	for (unsigned i = 0; i < n; i++) {
		r[i] = get_rect(p + (size_t)SCREEN_LEN * i + 4);
		if (rect_empty(r[i]) || r[i].x + r[i].w > w || r[i].y + r[i].h > h)
			return SIZE_INVALID;
		if (!scanout_mode_ok(r[i].w, r[i].h))
			return SIZE_NO_RESOURCES;
		for (unsigned j = 0; j < i; j++) {
			bool apart = r[i].x >= r[j].x + r[j].w || r[j].x >= r[i].x + r[i].w || r[i].y >= r[j].y + r[j].h ||
				r[j].y >= r[i].y + r[i].h;

			if (!apart || be32(p + (size_t)SCREEN_LEN * i) == be32(p + (size_t)SCREEN_LEN * j))
				return SIZE_INVALID;
		}
	}
	return SIZE_DONE;
}

/* Screens with numbers of heads are these; others take what is free; heads that are in use and not named are not wanted. */
static unsigned wish_make(const struct display_picture *pic, const uint8_t *p, unsigned n, struct resize_wish *w)
{
	bool used[SCANOUT_HEADS] = {false};
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++) {
		uint32_t id = be32(p + (size_t)SCREEN_LEN * i);

		if (id < SCANOUT_HEADS)
			used[id] = true;
	}
	for (unsigned i = 0; i < n; i++) {
		struct rect r = get_rect(p + (size_t)SCREEN_LEN * i + 4);
		uint32_t id = be32(p + (size_t)SCREEN_LEN * i);

		if (id >= SCANOUT_HEADS) {
			for (id = 0; id < SCANOUT_HEADS - 1 && used[id];)
				id++;
			used[id] = true;
		}
		w[k++] = (struct resize_wish){id, r.w, r.h};
	}
	for (unsigned i = 0; i < pic->nheads; i++)
		if (pic->head[i].number < SCANOUT_HEADS && !used[pic->head[i].number])
			w[k++] = (struct resize_wish){.head = pic->head[i].number};
	return k;
}

static void wish_answer(struct rfb_conn *c, unsigned result)
{
	c->layout_reason = REASON_CLIENT;
	c->layout_result = result;
	c->due |= DUE_LAYOUT;
}

static ssize_t on_set_size(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	const struct display_picture *pic = display_picture(c->s->env.display);
	struct resize_wish w[2 * SCANOUT_HEADS];
	unsigned screens = p[6], result;
	size_t len = 8 + (size_t)screens * SCREEN_LEN;
	int rc;

	_Static_assert(8 + SCREENS_MAX * SCREEN_LEN <= CONN_IN, "the longest one must fit");
	if (!(c->enc.can & CAN_LAYOUT))
		return bad(c, "a wish for another size, which it was not offered");
	if (n < len)
		return 0;
	result = wish_check(pic, p + 8, screens, be16(p + 2), be16(p + 4));
	if (!result && (c->s->c.view_only || !c->s->c.resize))
		result = SIZE_PROHIBITED;
	if (result) {
		wish_answer(c, result);
		return (ssize_t)len;
	}
	rc = c->s->c.resize(c->s->c.arg, w, wish_make(pic, p + 8, screens, w));
	if (rc) {
		wish_answer(c, rc == -ENOSPC ? SIZE_NO_RESOURCES : rc == -EINVAL ? SIZE_INVALID : SIZE_PROHIBITED);
	} else if (pic->w == be16(p + 2) && pic->h == be16(p + 4)) {
		wish_answer(c, SIZE_DONE);
	} else {
		/* the answer is the new size, or, if the guest does not follow, that it was asked */
		c->wish_open = true;
		timer_set(c->s->env.loop, &c->deadline, now_ns() + WISH_NS);
	}
	return (ssize_t)len;
}

void conn_wish_late(struct rfb_conn *c)
{
	if (c->wish_open)
		wish_answer(c, SIZE_FORWARDED);
	c->wish_open = false;
}

/* --- input, clipboard ---------------------------------------------------------------------------- */

static ssize_t on_key(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	(void)n;
	conn_key(c, p[1], be32(p + 4), 0);
	return 8;
}

static ssize_t on_pointer(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	unsigned buttons = p[1];
	size_t len = 6;

	if (c->told & CAN_BUTTONS && buttons & BUTTONS_MORE) {
		if (n < 7)
			return 0;
		buttons = (buttons & 0x7f) | (unsigned)p[6] << 7;
		len = 7;
	}
	conn_pointer(c, buttons, be16(p + 2), be16(p + 4));
	return (ssize_t)len;
}

static ssize_t cut_end(struct rfb_conn *c)
{
	struct rfb_server *s = c->s;
	struct buf text = {.max = RFB_CLIP_TEXT_MAX};
	size_t before = c->out.len;
	int rc = rfb_clip_receive(&c->clip, c->cut_length, c->cut.p, s->clip_text, s->clip_len, &text, &c->out);

	buf_fini(&c->cut);
	conn_answered(c, before);
	if (rc == 1 && !s->c.view_only)
		server_clipboard(s, c, (const char *)text.p, text.len);
	buf_fini(&text);
	return rc < 0 ? bad(c, rc == -ENOMEM ? "no memory" : "a clipboard message that is wrong inside") : 0;
}

static ssize_t on_cut_text(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	bool skip = false;
	int64_t len;

	(void)n;
	c->cut_length = be32(p + 4);
	len = rfb_clip_length(&c->clip, c->cut_length, &skip);
	if (len < 0)
		return bad(c, "a clipboard message of a kind that it was not offered");
	if (skip) {
		c->skip = (uint64_t)len;
		return 8;
	}
	buf_clear(&c->cut);
	c->cut_left = (uint64_t)len;
	return len || !cut_end(c) ? 8 : -EPROTO;
}

static ssize_t more_cut_text(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	size_t k = (size_t)min_u64(n, c->cut_left);

	buf_put(&c->cut, p, k);
	if (c->cut.failed)
		return bad(c, "no memory");
	c->cut_left -= k;
	return c->cut_left || !cut_end(c) ? (ssize_t)k : -EPROTO;
}

/* --- all of them --------------------------------------------------------------------------------- */

static ssize_t on_qemu(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	if (p[1] == QEMU_KEY) {
		if (!(c->enc.can & CAN_KEYS))
			return bad(c, "an extended key event, which it was not offered");
		if (n < 12)
			return 0;
		conn_key(c, be16(p + 2), be32(p + 4), be32(p + 8));
		return 12;
	}
	/* sound is not offered; a viewer that asks all the same gets none */
	if (p[1] == QEMU_AUDIO)
		return n < 4 ? 0 : be16(p + 2) != AUDIO_FORMAT ? 4 : n < 10 ? 0 : 10;
	return bad(c, "a message of QEMU's that is not known");
}

/* Power control is not offered; nothing happens. */
static ssize_t on_xvp(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	(void)c, (void)p, (void)n;
	return 4;
}

static const struct msg {
	uint8_t type, len;
	ssize_t (*on)(struct rfb_conn *c, const uint8_t *p, size_t n);
} msgs[] = {
	{MSG_FORMAT, 4 + RFB_FORMAT_LEN, on_format},
	{MSG_ENCODINGS, 4, on_encodings},
	{MSG_REQUEST, 10, on_request},
	{MSG_KEY, 8, on_key},
	{MSG_POINTER, 6, on_pointer},
	{MSG_CUT_TEXT, 8, on_cut_text},
	{MSG_CONTINUOUS, 10, on_continuous},
	{MSG_FENCE, 9, on_fence},
	{MSG_XVP, 4, on_xvp},
	{MSG_SET_SIZE, 8, on_set_size},
	{MSG_QEMU, 2, on_qemu},
};

ssize_t conn_parse(struct rfb_conn *c, const uint8_t *p, size_t n)
{
	size_t before = c->out.len;
	const struct msg *m = msgs;
	ssize_t used;

	if (!n)
		return 0;
	if (c->skip) {
		used = (ssize_t)min_u64(n, c->skip);
		c->skip -= (uint64_t)used;
		return used;
	}
	if (c->encodings_left)
		return more_encodings(c, p, n);
	if (c->cut_left)
		return more_cut_text(c, p, n);
	while (m < msgs + ARRAY_LEN(msgs) && m->type != p[0])
		m++;
	if (m == msgs + ARRAY_LEN(msgs))
		return bad(c, "a message of unknown type");
	if (n < m->len)
		return 0;
	if (m->type != MSG_ENCODINGS)
		sync_answer(c);
	used = m->on(c, p, n);
	if (!used) {
		c->out.len = before; /* nobody has said anything but us: later */
		return 0;
	}
	if (m->type != MSG_ENCODINGS)
		c->sync = c->sync_later;
	c->sync_later = false;
	conn_answered(c, before);
	return used;
}
