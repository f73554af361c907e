/* SPDX-License-Identifier: MIT */
/*
 * From keysyms and characters back to keys. libxkbcommon goes the other way, so its keymap is walked once, key by key and
 * level by level, into one list: what makes this keysym, and at what cost. A keysym that several keys make is given
 * the cheapest: fewest modifiers, and keys that every keyboard has before those that some have or that guests may know
 * differently (the one left of Z, those of Japan and Brazil), and the keypad last.
 *
 * Characters that no key makes may come by a dead key and another: the compose rules are asked what each pair makes.
 */
#include <ctype.h>
#include <errno.h>
#include <linux/input-event-codes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xkbcommon/xkbcommon-compose.h>
#include <xkbcommon/xkbcommon-keysyms.h>
#include <xkbcommon/xkbcommon.h>

#include "base/util.h"
#include "display/keys.h"

enum { XKB_EVDEV = 8 /* X' key codes are so much larger */, LEVELS = 4, SYMS = 2048, PAIRS = 4096, NAME = 64 };
enum { COST_LEVEL = 2, COST_RARE = 1, COST_OTHER = 100 };

struct sym {
	uint32_t keysym, c; /* c: its character, 0: none or not for text */
	struct stroke stroke;
	unsigned cost;
};

struct pair {
	uint32_t c;
	struct stroke dead, base;
};

struct layout {
	struct sym sym[SYMS];
	unsigned nsyms;
	struct pair pair[PAIRS];
	unsigned npairs;
};

/* What a layout says in other words, or only together with other modifiers */
static const struct {
	uint32_t keysym;
	uint16_t key;
} fixed[] = {
	{XKB_KEY_Shift_L, KEY_LEFTSHIFT}, {XKB_KEY_Shift_R, KEY_RIGHTSHIFT}, {XKB_KEY_Control_L, KEY_LEFTCTRL},
	{XKB_KEY_Control_R, KEY_RIGHTCTRL}, {XKB_KEY_Alt_L, KEY_LEFTALT}, {XKB_KEY_Alt_R, KEY_RIGHTALT},
	{XKB_KEY_Meta_L, KEY_LEFTMETA}, {XKB_KEY_Meta_R, KEY_RIGHTMETA}, {XKB_KEY_Super_L, KEY_LEFTMETA},
	{XKB_KEY_Super_R, KEY_RIGHTMETA}, {XKB_KEY_ISO_Level3_Shift, KEY_RIGHTALT},
	{XKB_KEY_Mode_switch, KEY_RIGHTALT}, {XKB_KEY_Caps_Lock, KEY_CAPSLOCK}, {XKB_KEY_Num_Lock, KEY_NUMLOCK},
	{XKB_KEY_Scroll_Lock, KEY_SCROLLLOCK}, {XKB_KEY_Print, KEY_SYSRQ}, {XKB_KEY_Sys_Req, KEY_SYSRQ},
	{XKB_KEY_Pause, KEY_PAUSE}, {XKB_KEY_Break, KEY_PAUSE}, {XKB_KEY_Menu, KEY_COMPOSE},
	{XKB_KEY_Hangul, KEY_HANGEUL}, {XKB_KEY_Hangul_Hanja, KEY_HANJA},
};

static unsigned cost(uint16_t key, unsigned level)
{
	if (key == KEY_102ND || key == KEY_RO || key == KEY_YEN)
		return COST_LEVEL * (level ? level : 1) + COST_RARE;
	if (key > KEY_SPACE || key == KEY_KPASTERISK)
		return COST_LEVEL * level + COST_OTHER;
	return COST_LEVEL * level;
}

static void add(struct layout *l, struct sym s)
{
	for (unsigned i = 0; i < l->nsyms; i++) {
		if (l->sym[i].keysym != s.keysym)
			continue;
		if (s.cost < l->sym[i].cost)
			l->sym[i] = s;
		return;
	}
	if (l->nsyms < SYMS)
		l->sym[l->nsyms++] = s;
}

static bool keypad(uint16_t key)
{
	return (key >= KEY_KP7 && key <= KEY_KPDOT) || key == KEY_KPASTERISK || key == KEY_KPSLASH ||
		key == KEY_KPENTER || key == KEY_KPEQUAL || key == KEY_KPCOMMA || key == KEY_KPJPCOMMA;
}

static xkb_mod_mask_t mod_mask(struct xkb_keymap *map, const char *name)
{
	xkb_mod_index_t i = xkb_keymap_mod_get_index(map, name);

	return i < 32 ? 1u << i : 0;
}

/* Is the right Alt AltGr in this layout? In some, as "us", the third level has keysyms but no key that leads there. */
static bool has_altgr(struct xkb_keymap *map)
{
	const xkb_keysym_t *syms;

	return xkb_keymap_key_get_syms_by_level(map, KEY_RIGHTALT + XKB_EVDEV, 0, 0, &syms) == 1 &&
		syms[0] == XKB_KEY_ISO_Level3_Shift;
}

/* What to hold for a level of a key: Shift, AltGr, both; false: others */
static bool level_mods(struct xkb_keymap *map, xkb_keycode_t code, unsigned level, unsigned *mods)
{
	xkb_mod_mask_t shift = mod_mask(map, XKB_MOD_NAME_SHIFT), mask[16];
	xkb_mod_mask_t altgr = has_altgr(map) ? mod_mask(map, "Mod5") : 0;
	size_t n = xkb_keymap_key_get_mods_for_level(map, code, 0, level, mask, ARRAY_LEN(mask));

	for (size_t i = 0; i < n; i++) {
		if (mask[i] & ~(shift | altgr))
			continue;
		*mods = (mask[i] & shift ? KEYS_SHIFT : 0) | (mask[i] & altgr ? KEYS_ALTGR : 0);
		return true;
	}
	return false;
}

static void walk(struct xkb_keymap *map, xkb_keycode_t code, void *arg)
{
	uint16_t key = (uint16_t)(code - XKB_EVDEV);
	struct layout *l = arg;

	if (code < XKB_EVDEV || !key_name(key))
		return;
	for (unsigned level = 0; level < xkb_keymap_num_levels_for_key(map, code, 0) && level < LEVELS; level++) {
		const xkb_keysym_t *syms;
		unsigned mods = 0, price;

		if (xkb_keymap_key_get_syms_by_level(map, code, 0, level, &syms) != 1)
			continue;
		/* which of its two keysyms a key of the keypad makes is up to the guest's NumLock */
		if (!keypad(key) && !level_mods(map, code, level, &mods))
			continue;
		price = cost(key, level);
		add(l, (struct sym){syms[0], price < COST_OTHER ? xkb_keysym_to_utf32(syms[0]) : 0, {key, mods}, price});
	}
}

static const struct sym *sym_of(const struct layout *l, uint32_t keysym)
{
	for (unsigned i = 0; i < l->nsyms; i++)
		if (l->sym[i].keysym == keysym)
			return &l->sym[i];
	return NULL;
}

/* Several keysyms may stand for one character: the cheapest of all */
static const struct sym *char_of(const struct layout *l, uint32_t c)
{
	const struct sym *best = NULL;

	for (unsigned i = 0; i < l->nsyms; i++)
		if (l->sym[i].c == c && (!best || l->sym[i].cost < best->cost))
			best = &l->sym[i];
	return best;
}

static const struct pair *pair_of(const struct layout *l, uint32_t c)
{
	for (unsigned i = 0; i < l->npairs; i++)
		if (l->pair[i].c == c)
			return &l->pair[i];
	return NULL;
}

static bool dead(uint32_t keysym)
{
	return keysym >= XKB_KEY_dead_grave && keysym <= XKB_KEY_dead_greek;
}

static void pairs(struct layout *l, struct xkb_compose_state *st)
{
	for (unsigned i = 0; i < l->nsyms; i++) {
		for (unsigned k = 0; dead(l->sym[i].keysym) && k < l->nsyms; k++) {
			uint32_t c;

			if (!l->sym[k].c)
				continue;
			xkb_compose_state_reset(st);
			xkb_compose_state_feed(st, l->sym[i].keysym);
			xkb_compose_state_feed(st, l->sym[k].keysym);
			if (xkb_compose_state_get_status(st) != XKB_COMPOSE_COMPOSED)
				continue;
			c = xkb_keysym_to_utf32(xkb_compose_state_get_one_sym(st));
			if (c && !char_of(l, c) && !pair_of(l, c) && l->npairs < PAIRS)
				l->pair[l->npairs++] = (struct pair){c, l->sym[i].stroke, l->sym[k].stroke};
		}
	}
}

/* No rules installed: no characters by dead keys. */
static void compose(struct layout *l, struct xkb_context *ctx)
{
	struct xkb_compose_table *table = xkb_compose_table_new_from_locale(ctx, "en_US.UTF-8", XKB_COMPOSE_COMPILE_NO_FLAGS);
	struct xkb_compose_state *st = table ? xkb_compose_state_new(table, XKB_COMPOSE_STATE_NO_FLAGS) : NULL;

	if (st)
		pairs(l, st);
	xkb_compose_state_unref(st);
	xkb_compose_table_unref(table);
}

/* "fr(oss)" to "fr" and "oss": they become file names. */
static int split(const char *name, char layout[NAME], char variant[NAME])
{
	char *to = layout;
	unsigned n = 0;

	for (const char *p = name; *p; p++) {
		if (*p == '(' && to == layout && n) {
			to[n] = 0;
			to = variant;
			n = 0;
		} else if (*p == ')' && to == variant && n && !p[1]) {
			to[n] = 0;
			return 0;
		} else if ((isalnum((unsigned char)*p) || *p == '_' || *p == '-') && n + 1 < NAME) {
			to[n++] = *p;
		} else {
			return -1;
		}
	}
	to[n] = variant[0] = 0;
	return n && to == layout ? 0 : -1;
}

static void quiet(struct xkb_context *ctx, enum xkb_log_level level, const char *fmt, va_list ap)
{
	(void)ctx;
	(void)level;
	(void)fmt;
	(void)ap;
}

int layout_new(struct layout **out, const char *name, struct err *e)
{
	char layout[NAME], variant[NAME];
	struct xkb_rule_names names = {.rules = "evdev", .model = "pc105", .layout = layout, .variant = variant};
	struct xkb_context *ctx;
	struct xkb_keymap *map;
	struct layout *l;

	if (split(name, layout, variant))
		return err_set(e, EINVAL, "keyboard layout '%.64s': a name as for setxkbmap, like us, de or fr(oss)", name);
	ctx = xkb_context_new(XKB_CONTEXT_NO_ENVIRONMENT_NAMES);
	if (!ctx)
		return err_set(e, ENOENT, "keyboard layouts: none installed (package xkb-data)");
	xkb_context_set_log_fn(ctx, quiet);
	map = xkb_keymap_new_from_names(ctx, &names, XKB_KEYMAP_COMPILE_NO_FLAGS);
	if (!map) {
		xkb_context_unref(ctx);
		return err_set(e, ENOENT, "keyboard layout '%.64s' is not known: /usr/share/X11/xkb/rules/base.lst lists them",
			name);
	}
	l = xcalloc(1, sizeof *l);
	for (unsigned i = 0; i < ARRAY_LEN(fixed); i++)
		add(l, (struct sym){.keysym = fixed[i].keysym, .stroke = {fixed[i].key, 0}});
	xkb_keymap_key_for_each(map, walk, l);
	compose(l, ctx);
	xkb_keymap_unref(map);
	xkb_context_unref(ctx);
	*out = l;
	return 0;
}

void layout_free(struct layout *l)
{
	free(l);
}

bool layout_keysym(const struct layout *l, uint32_t keysym, uint16_t *key, unsigned *mods)
{
	const struct sym *s = sym_of(l, keysym);
	uint32_t c;

	if (!s) { /* the same character by another name, as U+00E9 and eacute */
		c = xkb_keysym_to_utf32(keysym);
		s = c ? char_of(l, c) : NULL;
	}
	if (!s || !keysym)
		return false;
	*key = s->stroke.key;
	*mods = s->stroke.mods;
	return true;
}

unsigned layout_char(const struct layout *l, uint32_t c, struct stroke out[4])
{
	const struct sym *s;
	const struct pair *p;

	if (c == '\n' || c == '\r' || c == '\t') {
		out[0] = (struct stroke){c == '\t' ? KEY_TAB : KEY_ENTER, 0};
		return 1;
	}
	if (c < ' ' || (c >= 0x7f && c < 0xa0))
		return 0;
	s = char_of(l, c);
	if (s) {
		out[0] = s->stroke;
		return 1;
	}
	p = pair_of(l, c);
	if (!p)
		return 0;
	out[0] = p->dead;
	out[1] = p->base;
	return 2;
}
