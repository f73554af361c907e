/* SPDX-License-Identifier: MIT */
/* What a viewer is told beside pixels: which extensions there are, the screen's layout, cursor, LEDs. */
#include <string.h>

#include "rfb/server-int.h"

enum { MSG_FENCE = 248, MSG_END_OF_CONTINUOUS = 150 };
#define FENCE_BEFORE (1u << 0)
#define FENCE_REQUEST (1u << 31)

static void layout_rect(struct rfb_conn *c, struct buf *out)
{
	const struct display_picture *pic = display_picture(c->s->env.display);
	struct rect r = {c->layout_reason, c->layout_result, c->view->copy.w, c->view->copy.h};
	bool heads = pic->nheads && pic->w == r.w && pic->h == r.h;
	unsigned n = heads ? pic->nheads : 1;

	rfb_rect_header(out, r, RFB_EXTENDED_DESKTOP_SIZE);
	buf_be32(out, n << 24);
	for (unsigned i = 0; i < n; i++) {
		struct rect at = heads ? pic->head[i].place : (struct rect){0, 0, r.w, r.h};

		buf_be32(out, heads ? pic->head[i].number : 0);
		buf_be16(out, (uint16_t)at.x);
		buf_be16(out, (uint16_t)at.y);
		buf_be16(out, (uint16_t)at.w);
		buf_be16(out, (uint16_t)at.h);
		buf_be32(out, 0);
	}
	c->layout_reason = c->layout_result = 0;
}

void conn_layout_put(struct rfb_conn *c, struct buf *out)
{
	if (c->enc.can & CAN_LAYOUT)
		layout_rect(c, out);
	else
		rfb_rect_header(out, (struct rect){0, 0, c->view->copy.w, c->view->copy.h}, RFB_DESKTOP_SIZE);
	c->due &= ~(unsigned)DUE_LAYOUT;
}

static void led_rects(struct rfb_conn *c, struct buf *out, unsigned *n)
{
	uint32_t leds = c->s->leds;

	if (c->enc.can & CAN_LED) {
		rfb_rect_header(out, (struct rect){0, 0, 0, 0}, RFB_QEMU_LED_STATE);
		buf_u8(out, (uint8_t)leds);
		++*n;
	} else if (c->enc.can & CAN_VMWARE_LED) {
		rfb_rect_header(out, (struct rect){0, 0, 0, 0}, RFB_VMWARE_LED_STATE);
		buf_be32(out, leds);
		++*n;
	}
}

static void cursor_rect(struct rfb_conn *c, struct buf *out, unsigned *n)
{
	const struct scanout_view_cursor *cursor = display_cursor(c->s->env.display);
	unsigned can = c->enc.can;
	int k;

	if (!(can & (CAN_CURSOR | CAN_X_CURSOR | CAN_ALPHA_CURSOR)))
		return;
	/* as long as the guest has never had one, the viewer's own says where its mouse is */
	if (!cursor->w && !c->cursor_shown)
		return;
	k = rfb_cursor_encode(can & CAN_ALPHA_CURSOR ? RFB_CURSOR_WITH_ALPHA : can & CAN_CURSOR ? RFB_CURSOR : RFB_X_CURSOR,
		&c->format, cursor, out);
	*n += k > 0 ? (unsigned)k : 0;
	c->cursor_shown = true;
	c->cursor_generation = cursor->generation;
}

unsigned conn_pseudo_put(struct rfb_conn *c, bool pixels, struct buf *out)
{
	unsigned n = 0, due = c->due;

	if (pixels)
		due &= ~(unsigned)DUE_LAYOUT;
	c->due &= ~due;
	if (due & DUE_LAYOUT) {
		layout_rect(c, out);
		n++;
	}
	if (due & DUE_KEYS) {
		rfb_rect_header(out, (struct rect){0, 0, 0, 0}, RFB_QEMU_EXTENDED_KEY);
		n++;
	}
	if (due & DUE_BUTTONS) {
		rfb_rect_header(out, (struct rect){0, 0, 0, 0}, RFB_EXTENDED_MOUSE_BUTTONS);
		c->told |= CAN_BUTTONS;
		n++;
	}
	if (due & DUE_POINTER) {
		c->relative = c->s->pointer == INPUT_RELATIVE;
		rfb_rect_header(out, (struct rect){!c->relative, 0, 0, 0}, RFB_POINTER_MOTION_CHANGE);
		n++;
	}
	if (due & DUE_NAME) {
		rfb_rect_header(out, (struct rect){0, 0, 0, 0}, RFB_DESKTOP_NAME);
		buf_be32(out, (uint32_t)strlen(c->s->name));
		buf_put(out, c->s->name, strlen(c->s->name));
		n++;
	}
	if (due & DUE_LED)
		led_rects(c, out, &n);
	if (due & DUE_CURSOR)
		cursor_rect(c, out, &n);
	return n;
}

void conn_fence_put(struct buf *out, uint32_t number)
{
	buf_be32(out, (uint32_t)MSG_FENCE << 24);
	buf_be32(out, FENCE_REQUEST | FENCE_BEFORE);
	buf_u8(out, 4);
	buf_be32(out, number);
}

/* The first one says that there are fences, and measures the way before anything is on it. */
static void fence_ask(struct rfb_conn *c)
{
	uint32_t number;

	if (pace_fence(&c->pace, now_ns(), &number))
		conn_fence_put(&c->out, number);
}

/* Once for each: a viewer lists its encodings again and again. */
static bool tell(struct rfb_conn *c, unsigned can)
{
	bool first = c->enc.can & can && !(c->told & can);

	c->told |= c->enc.can & can;
	return first;
}

void conn_offers(struct rfb_conn *c, unsigned before)
{
	unsigned gained = c->enc.can & ~before;

	if (tell(c, CAN_KEYS))
		c->due |= DUE_KEYS;
	if (tell(c, CAN_NAME))
		c->due |= DUE_NAME;
	/* this one is in force when the rectangle goes out, not before: events before it have no second byte of buttons */
	if (c->enc.can & CAN_BUTTONS && !(c->told & CAN_BUTTONS))
		c->due |= DUE_BUTTONS;
	if (gained & CAN_LAYOUT)
		c->due |= DUE_LAYOUT;
	if (gained & CAN_POINTER && c->s->state_known)
		c->due |= DUE_POINTER;
	if (gained & (CAN_LED | CAN_VMWARE_LED) && c->s->state_known)
		c->due |= DUE_LED;
	if (gained & (CAN_CURSOR | CAN_X_CURSOR | CAN_ALPHA_CURSOR))
		c->due |= DUE_CURSOR;
	if (tell(c, CAN_FENCE))
		fence_ask(c);
	if (c->enc.can & CAN_FENCE && tell(c, CAN_CONTINUOUS))
		buf_u8(&c->out, MSG_END_OF_CONTINUOUS);
	if (c->enc.can & CAN_CLIPBOARD)
		rfb_clip_extend(&c->clip, &c->out);
}
