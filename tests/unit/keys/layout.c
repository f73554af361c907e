/* SPDX-License-Identifier: MIT */
/* Layouts: text to keys and back, by libxkbcommon's own machine. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <linux/input-event-codes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xkbcommon/xkbcommon-compose.h>
#include <xkbcommon/xkbcommon-keysyms.h>
#include <xkbcommon/xkbcommon.h>

#include "base/util.h"
#include "display/keys.h"

static struct layout *l;
static struct err e;

static bool one(uint32_t c, uint16_t key, unsigned mods)
{
	struct stroke s[4];

	return layout_char(l, c, s) == 1 && s[0].key == key && s[0].mods == mods;
}

static bool two(uint32_t c, uint16_t dead, unsigned dmods, uint16_t key, unsigned mods)
{
	struct stroke s[4];

	return layout_char(l, c, s) == 2 && s[0].key == dead && s[0].mods == dmods && s[1].key == key && s[1].mods == mods;
}

static bool none(uint32_t c)
{
	struct stroke s[4];

	return !layout_char(l, c, s);
}

static bool sym(uint32_t keysym, uint16_t key, unsigned mods)
{
	uint16_t k = 0;
	unsigned m = 99;

	return layout_keysym(l, keysym, &k, &m) && k == key && m == mods;
}

/*
 * Types every character of the first planes' first part as layout_char() says into xkbcommon's state machine with Shift and
 * AltGr held where it says so, and sees that character come out.
 */
static unsigned everything(const char *layout, const char *variant)
{
	struct xkb_context *ctx = xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
	struct xkb_keymap *map = xkb_keymap_new_from_names(ctx,
		&(struct xkb_rule_names){.rules = "evdev", .model = "pc105", .layout = layout, .variant = variant},
		XKB_KEYMAP_COMPILE_NO_FLAGS);
	struct xkb_compose_table *table = xkb_compose_table_new_from_locale(ctx, "en_US.UTF-8", XKB_COMPOSE_COMPILE_NO_FLAGS);
	struct xkb_compose_state *compose = xkb_compose_state_new(table, XKB_COMPOSE_STATE_NO_FLAGS);
	unsigned typed = 0;

	for (uint32_t c = ' '; c < 0x2200; c++) {
		struct stroke s[4];
		unsigned n = layout_char(l, c, s);
		xkb_keysym_t got = 0;

		for (unsigned i = 0; i < n; i++) {
			struct xkb_state *st = xkb_state_new(map);

			if (s[i].mods & KEYS_SHIFT)
				xkb_state_update_key(st, KEY_LEFTSHIFT + 8, XKB_KEY_DOWN);
			if (s[i].mods & KEYS_ALTGR)
				xkb_state_update_key(st, KEY_RIGHTALT + 8, XKB_KEY_DOWN);
			assert(!(s[i].mods & ~(KEYS_SHIFT | KEYS_ALTGR)) && key_name(s[i].key));
			got = xkb_state_key_get_one_sym(st, s[i].key + 8u);
			xkb_compose_state_feed(compose, got);
			if (xkb_compose_state_get_status(compose) == XKB_COMPOSE_COMPOSED)
				got = xkb_compose_state_get_one_sym(compose);
			xkb_state_unref(st);
		}
		assert(n <= 2 && (!n || xkb_keysym_to_utf32(got) == c));
		typed += n > 0;
	}
	xkb_compose_state_unref(compose);
	xkb_compose_table_unref(table);
	xkb_keymap_unref(map);
	xkb_context_unref(ctx);
	return typed;
}

static void common(void)
{
	assert(one('\n', KEY_ENTER, 0) && one('\r', KEY_ENTER, 0) && one('\t', KEY_TAB, 0) && one(' ', KEY_SPACE, 0));
	assert(none(0) && none(7) && none(0x1b) && none(0x7f) && none(0x85) && none(0x1f600) && none(0x110000) &&
		none(UINT32_MAX));
	assert(sym(XKB_KEY_Return, KEY_ENTER, 0) && sym(XKB_KEY_KP_Enter, KEY_KPENTER, 0) && sym(XKB_KEY_F12, KEY_F12, 0));
	assert(sym(XKB_KEY_BackSpace, KEY_BACKSPACE, 0) && sym(XKB_KEY_Delete, KEY_DELETE, 0) && sym(XKB_KEY_Up, KEY_UP, 0));
	assert(sym(XKB_KEY_Shift_L, KEY_LEFTSHIFT, 0) && sym(XKB_KEY_Control_R, KEY_RIGHTCTRL, 0));
	assert(sym(XKB_KEY_Alt_L, KEY_LEFTALT, 0) && sym(XKB_KEY_Super_L, KEY_LEFTMETA, 0) && sym(XKB_KEY_Meta_L, KEY_LEFTMETA, 0));
	assert(sym(XKB_KEY_ISO_Level3_Shift, KEY_RIGHTALT, 0) && sym(XKB_KEY_Menu, KEY_COMPOSE, 0));
	assert(sym(XKB_KEY_ISO_Left_Tab, KEY_TAB, KEYS_SHIFT) && sym(XKB_KEY_Sys_Req, KEY_SYSRQ, 0) && sym(XKB_KEY_Break, KEY_PAUSE, 0));
	/* both of a keypad's key are the key */
	assert(sym(XKB_KEY_KP_7, KEY_KP7, 0) && sym(XKB_KEY_KP_Home, KEY_KP7, 0) && sym(XKB_KEY_KP_Add, KEY_KPPLUS, 0));
	assert(!sym(0, 0, 0) && !sym(XKB_KEY_VoidSymbol, 0, 0) && !sym(0x01ffffff, 0, 0) && !sym(UINT32_MAX, 0, 0));
}

static void layouts(void)
{
	assert(!layout_new(&l, "us", &e));
	common();
	assert(one('a', KEY_A, 0) && one('A', KEY_A, KEYS_SHIFT) && one('<', KEY_COMMA, KEYS_SHIFT) && none(0xe9));
	assert(one('(', KEY_9, KEYS_SHIFT) && one('*', KEY_8, KEYS_SHIFT) && sym('*', KEY_8, KEYS_SHIFT) && sym('A', KEY_A, KEYS_SHIFT));
	assert(one('\\', KEY_BACKSLASH, 0) && one('|', KEY_BACKSLASH, KEYS_SHIFT));
	for (uint32_t c = ' '; c < 0x7f; c++)
		assert(!none(c));
	assert(everything("us", "") == 95);
	layout_free(l);

	assert(!layout_new(&l, "de", &e));
	common();
	assert(one('y', KEY_Z, 0) && one('@', KEY_Q, KEYS_ALTGR) && one('<', KEY_102ND, 0) && one('|', KEY_102ND, KEYS_ALTGR));
	assert(one(0x20ac, KEY_E, KEYS_ALTGR) && one(0xdf, KEY_MINUS, 0) && one(0xc4, KEY_APOSTROPHE, KEYS_SHIFT));
	assert(two('^', KEY_GRAVE, 0, KEY_SPACE, 0) && two(0xe9, KEY_EQUAL, 0, KEY_E, 0) && two(0xc8, KEY_EQUAL, KEYS_SHIFT, KEY_E, KEYS_SHIFT));
	assert(sym(XKB_KEY_dead_circumflex, KEY_GRAVE, 0) && sym(XKB_KEY_adiaeresis, KEY_APOSTROPHE, 0));
	assert(sym(0x010000e4, KEY_APOSTROPHE, 0) && sym(0x010020ac, KEY_E, KEYS_ALTGR)); /* as Unicode */
	assert(everything("de", "") > 300);
	layout_free(l);

	assert(!layout_new(&l, "fr(oss)", &e));
	assert(one('a', KEY_Q, 0) && one('1', KEY_1, KEYS_SHIFT) && one(0xe9, KEY_2, 0) && two(0xf1, KEY_LEFTBRACE, KEYS_ALTGR, KEY_N, 0));
	assert(everything("fr", "oss") > 300);
	layout_free(l);

	assert(!layout_new(&l, "us(dvorak)", &e));
	assert(one('<', KEY_W, KEYS_SHIFT) && one('s', KEY_SEMICOLON, 0));
	assert(everything("us", "dvorak") == 95);
	layout_free(l);

	assert(!layout_new(&l, "br", &e));
	assert(one('/', KEY_RO, 0) && one('?', KEY_RO, KEYS_SHIFT) && two(0xe3, KEY_APOSTROPHE, 0, KEY_A, 0));
	assert(everything("br", "") > 95);
	layout_free(l);

	assert(!layout_new(&l, "jp", &e));
	assert(one('\\', KEY_RO, 0) && one('|', KEY_YEN, KEYS_SHIFT) && everything("jp", "") >= 95);
	layout_free(l);

	assert(!layout_new(&l, "ru", &e));
	assert(one(0x444, KEY_A, 0) && none('a') && sym(XKB_KEY_Cyrillic_ef, KEY_A, 0) && everything("ru", "") > 60);
	layout_free(l);
	layout_free(NULL);
}

static void wrong(void)
{
	static const char *const bad[] = {"", "(", "us(", "us)", "us()", "us(intl", "us(intl)x", "(intl)", "../us", "us/../us",
		"us,de", "a(b(c))", "\xc3\xa9",
		"a123456789b123456789c123456789d123456789e123456789f123456789g1234567"};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
		assert(layout_new(&l, bad[i], &e) == -EINVAL && strstr(e.text, "fr(oss)"));
	assert(layout_new(&l, "nowhere", &e) == -ENOENT && strstr(e.text, "'nowhere' is not known"));
	assert(layout_new(&l, "us(nothing)", &e) == -ENOENT && strstr(e.text, "'us(nothing)'"));
	assert(layout_new(&l, "nowhere", NULL) == -ENOENT);
}

int main(void)
{
	if (access("/usr/share/X11/xkb/symbols/us", R_OK) || access("/usr/share/X11/locale/en_US.UTF-8/Compose", R_OK))
		return 77;
	layouts();
	wrong();
	return 0;
}
