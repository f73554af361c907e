/* SPDX-License-Identifier: MIT */
/*
 * Keys and pointer of one viewer. What it holds is remembered, so that it goes up when the viewer goes, and does not when another
 * one still holds it.
 *
 * A viewer without extended key events says which character was typed, not which key: then the guest's layout says which key
 * makes it, and what must be held meanwhile. Shift and AltGr are put right around the press alone.
 */
#include <linux/input-event-codes.h>

#include "base/log.h"
#include "display/keys.h"
#include "rfb/server-int.h"

enum { BUTTONS_WHEEL = 3, BUTTON_SIDE = 7, BUTTON_EXTRA = 8, RELATIVE_ZERO = 0x7fff };

static bool held(const struct rfb_conn *c, unsigned key)
{
	return c->keys[key / 8] & 1u << key % 8;
}

static void key_event(struct rfb_conn *c, unsigned key, int32_t a)
{
	server_input(c->s, (struct input_event){.type = INPUT_KEY, .code = (uint16_t)key, .a = a});
}

static void key_down(struct rfb_conn *c, unsigned key)
{
	key_event(c, key, held(c, key) ? 2 : 1);
	c->keys[key / 8] |= (uint8_t)(1u << key % 8);
}

static void key_up(struct rfb_conn *c, unsigned key)
{
	if (!held(c, key))
		return;
	c->keys[key / 8] &= (uint8_t)~(1u << key % 8);
	if (!server_key_held(c->s, c, key))
		key_event(c, key, 0);
}

static bool is_letter(uint32_t keysym)
{
	return (keysym >= 'a' && keysym <= 'z') || (keysym >= 'A' && keysym <= 'Z');
}

/* Characters; not the function keys, with which any modifier means something of its own. */
static bool is_text(uint32_t keysym)
{
	return keysym < 0xfe00 || keysym > 0xffff;
}

/* A press of a character's key: with these modifiers and no others of Shift and AltGr, whatever is held. */
static void type_key(struct rfb_conn *c, uint32_t keysym, unsigned key, unsigned mods)
{
	static const struct {
		uint16_t key;
		unsigned mod;
	} rows[] = {{KEY_LEFTSHIFT, KEYS_SHIFT}, {KEY_RIGHTSHIFT, KEYS_SHIFT}, {KEY_RIGHTALT, KEYS_ALTGR}};
	unsigned have = 0, lift = 0, press;

	if (is_letter(keysym) && c->s->state_known && c->s->leds & INPUT_LED_CAPS)
		mods ^= KEYS_SHIFT;
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		if (!held(c, rows[i].key))
			continue;
		have |= rows[i].mod;
		if (!(mods & rows[i].mod)) {
			lift |= 1u << i;
			key_event(c, rows[i].key, 0);
		}
	}
	press = mods & ~have & (KEYS_SHIFT | KEYS_ALTGR);
	if (press & KEYS_SHIFT)
		key_event(c, KEY_LEFTSHIFT, 1);
	if (press & KEYS_ALTGR)
		key_event(c, KEY_RIGHTALT, 1);
	key_down(c, key);
	if (press & KEYS_ALTGR)
		key_event(c, KEY_RIGHTALT, 0);
	if (press & KEYS_SHIFT)
		key_event(c, KEY_LEFTSHIFT, 0);
	for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
		if (lift & 1u << i)
			key_event(c, rows[i].key, 1);
}

void conn_key(struct rfb_conn *c, bool down, uint32_t keysym, uint32_t xt)
{
	unsigned mods = 0;
	uint16_t key = xt ? key_from_xt(xt) : 0;
	bool typed = false;

	if (c->s->c.view_only)
		return;
	if (!key) {
		if (!c->s->c.layout || !layout_keysym(c->s->c.layout, keysym, &key, &mods)) {
			log_debug("rfb-input", "%s: no key for keysym 0x%x, code 0x%x", c->peer, keysym, xt);
			return;
		}
		typed = is_text(keysym);
	}
	if (!key || key >= CONN_KEYS)
		return;
	c->s->n.keys++;
	if (!down)
		key_up(c, key);
	else if (typed)
		type_key(c, keysym, key, mods);
	else
		key_down(c, key);
}

/* --- pointer ------------------------------------------------------------------------------------ */

static const uint16_t button_codes[] = {[0] = BTN_LEFT, [1] = BTN_MIDDLE, [2] = BTN_RIGHT, [BUTTON_SIDE] = BTN_SIDE,
	[BUTTON_EXTRA] = BTN_EXTRA};

static void button_event(struct rfb_conn *c, unsigned i, bool down)
{
	static const int8_t wheel[][2] = {{0, 1}, {0, -1}, {-1, 0}, {1, 0}};
	struct input_event ev = {.type = INPUT_BUTTON, .a = down};

	if (i >= ARRAY_LEN(button_codes))
		return;
	if (!button_codes[i]) {
		if (down)
			server_input(c->s, (struct input_event){.type = INPUT_WHEEL, .a = wheel[i - BUTTONS_WHEEL][0],
				.b = wheel[i - BUTTONS_WHEEL][1]});
		return;
	}
	ev.code = button_codes[i];
	if (!server_button_held(c->s, c, i))
		server_input(c->s, ev);
}

static void buttons_set(struct rfb_conn *c, unsigned buttons)
{
	unsigned change = c->buttons ^ buttons;

	c->buttons = buttons;
	for (unsigned i = 0; change >> i; i++)
		if (change >> i & 1)
			button_event(c, i, buttons >> i & 1);
}

/* The middle of pixel v of n, so that it is the same pixel again whichever way a guest rounds. */
static int32_t point(uint16_t v, uint32_t n)
{
	if (v >= n)
		v = (uint16_t)(n - 1);
	return (int32_t)(((uint64_t)v * 2 + 1) * (INPUT_POINT_MAX + 1) / 2 / n);
}

void conn_pointer(struct rfb_conn *c, unsigned buttons, uint16_t x, uint16_t y)
{
	const struct display_picture *pic = display_picture(c->s->env.display);
	struct input_event ev = {.type = INPUT_POINT};

	if (c->s->c.view_only)
		return;
	c->s->n.moves++;
	if (c->relative) {
		ev.type = INPUT_MOVE;
		ev.a = (int32_t)x - RELATIVE_ZERO;
		ev.b = (int32_t)y - RELATIVE_ZERO;
	} else {
		ev.a = point(x, pic->w);
		ev.b = point(y, pic->h);
	}
	if (!c->relative || ev.a || ev.b)
		server_input(c->s, ev);
	buttons_set(c, buttons);
}

void conn_release(struct rfb_conn *c)
{
	for (unsigned key = 0; key < CONN_KEYS; key++)
		key_up(c, key);
	buttons_set(c, 0);
	server_input_flush(c->s);
}
