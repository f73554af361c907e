/* SPDX-License-Identifier: MIT */
/* Key numbers against the i8042's own translation and against what Linux' atkbd knows; names; UTF-8. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <linux/input-event-codes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "bus/bus.h"
#include "dev/legacy.h"
#include "display/keys.h"

static struct bus *bus;
static struct i8042 *k;

/* What a guest reads after a key; set 1 */
static unsigned typed(uint16_t key, bool down, uint8_t out[16])
{
	uint8_t bytes[8];
	unsigned n = key_to_set2(key, down, bytes);

	assert(n <= sizeof bytes);
	bus_lock(bus);
	if (n)
		assert(i8042_key(k, bytes, n) == n);
	bus_unlock(bus);
	for (n = 0; bus_read(bus, BUS_PIO, 0, 0x64, 1) & 1; n++) {
		assert(n < 16);
		out[n] = (uint8_t)bus_read(bus, BUS_PIO, 0, 0x60, 1);
	}
	return n;
}

static bool reads(uint16_t key, bool down, const char *want, unsigned n)
{
	uint8_t out[16];

	return typed(key, down, out) == n && !memcmp(out, want, n);
}

static void translation(void)
{
	unsigned nkeys = 0;

	bus = bus_new();
	k = i8042_new(bus, (struct irq){0}, (struct irq){0}, NULL, NULL);
	for (unsigned key = 0; key < 0x10000; key++) {
		uint32_t xt = key_to_xt((uint16_t)key);
		uint8_t out[16], want[2] = {0xe0, xt & 0x7f};
		const uint8_t *p = xt & 0x80 ? want : want + 1;
		unsigned n = xt & 0x80 ? 2 : 1;

		assert(!xt == !key_name((uint16_t)key) && xt < 0x100);
		assert(!xt == !key_to_set2((uint16_t)key, true, out));
		if (!xt) {
			assert(!key_to_set2((uint16_t)key, false, out));
			continue;
		}
		nkeys++;
		assert(key < 256 && key_from_xt(xt) == key && !strncmp(key_name((uint16_t)key), "KEY_", 4));
		if (key == KEY_PAUSE || key == KEY_SYSRQ || key == KEY_HANGEUL || key == KEY_HANJA)
			continue;
		assert(typed((uint16_t)key, true, out) == n && !memcmp(out, p, n));
		want[1] |= 0x80;
		assert(typed((uint16_t)key, false, out) == n && !memcmp(out, p, n));
	}
	assert(nkeys > 150);
	assert(reads(KEY_PAUSE, true, "\xe1\x1d\x45\xe1\x9d\xc5", 6) && reads(KEY_PAUSE, false, "", 0));
	assert(reads(KEY_SYSRQ, true, "\xe0\x2a\xe0\x37", 4) && reads(KEY_SYSRQ, false, "\xe0\xb7\xe0\xaa", 4));
	assert(reads(KEY_HANGEUL, true, "\xf2", 1) && reads(KEY_HANGEUL, false, "", 0));
	assert(reads(KEY_HANJA, true, "\xf1", 1) && reads(KEY_HANJA, false, "", 0));
	i8042_free(k);
	bus_free(bus);
	/* each number is one key's; Print has two */
	for (uint32_t xt = 0; xt < 0x20000; xt++)
		assert(!key_from_xt(xt) || key_to_xt(key_from_xt(xt)) == xt || (xt == 0x54 && key_from_xt(xt) == KEY_SYSRQ));
	assert(key_from_xt(0x54) == KEY_SYSRQ && key_from_xt(0xb7) == KEY_SYSRQ && key_from_xt(0xc6) == KEY_PAUSE);
	assert(key_from_xt(0x1e) == KEY_A && key_from_xt(0x9c) == KEY_KPENTER && !key_from_xt(UINT32_MAX));
}

/* What Linux' driver takes codes of set 2 for */
static void linux_keys(void)
{
	static const struct {
		uint16_t set2, key;
	} known[] = {{0x83, KEY_F7}, {0x07, KEY_F12}, {0x0f, KEY_KPEQUAL}, {0x13, KEY_KATAKANAHIRAGANA}, {0x27, KEY_KPJPCOMMA},
		{0x2f, KEY_F13}, {0x37, KEY_F14}, {0x3f, KEY_F15}, {0x51, KEY_RO}, {0x5d, KEY_BACKSLASH}, {0x5f, KEY_ZENKAKUHANKAKU},
		{0x61, KEY_102ND}, {0x62, KEY_HIRAGANA}, {0x63, KEY_KATAKANA}, {0x64, KEY_HENKAN}, {0x67, KEY_MUHENKAN},
		{0x6a, KEY_YEN}, {0x6d, KEY_KPCOMMA}, {0x77, KEY_NUMLOCK}, {0x7c, KEY_KPASTERISK}, {0x7e, KEY_SCROLLLOCK},
		{0x110, KEY_SEARCH}, {0x111, KEY_RIGHTALT}, {0x114, KEY_RIGHTCTRL}, {0x115, KEY_PREVIOUSSONG},
		{0x118, KEY_BOOKMARKS}, {0x11f, KEY_LEFTMETA}, {0x120, KEY_REFRESH}, {0x121, KEY_VOLUMEDOWN}, {0x123, KEY_MUTE},
		{0x127, KEY_RIGHTMETA}, {0x128, KEY_STOP}, {0x12b, KEY_CALC}, {0x12f, KEY_COMPOSE}, {0x130, KEY_FORWARD},
		{0x132, KEY_VOLUMEUP}, {0x134, KEY_PLAYPAUSE}, {0x137, KEY_POWER}, {0x138, KEY_BACK}, {0x13a, KEY_HOMEPAGE},
		{0x13b, KEY_STOPCD}, {0x13f, KEY_SLEEP}, {0x140, KEY_COMPUTER}, {0x148, KEY_MAIL}, {0x14a, KEY_KPSLASH},
		{0x14d, KEY_NEXTSONG}, {0x150, KEY_MEDIA}, {0x15a, KEY_KPENTER}, {0x15e, KEY_WAKEUP}, {0x169, KEY_END},
		{0x16b, KEY_LEFT}, {0x16c, KEY_HOME}, {0x170, KEY_INSERT}, {0x171, KEY_DELETE}, {0x172, KEY_DOWN},
		{0x174, KEY_RIGHT}, {0x175, KEY_UP}, {0x17a, KEY_PAGEDOWN}, {0x17d, KEY_PAGEUP}};
	uint8_t out[8];

	for (unsigned i = 0; i < ARRAY_LEN(known); i++) {
		unsigned e0 = known[i].set2 >> 8;

		assert(key_to_set2(known[i].key, true, out) == 1 + e0 && out[e0] == (known[i].set2 & 0xff));
		assert(!e0 || out[0] == 0xe0);
		assert(key_to_set2(known[i].key, false, out) == 2 + e0 && out[e0] == 0xf0);
	}
	/* the first 83 are set 1 */
	for (uint16_t key = 1; key <= 88; key++)
		assert(key == 84 || key == 85 || key_to_xt(key) == key);
}

static struct err e;

static bool parses(const char *s, const uint16_t *want, int n)
{
	uint16_t keys[8];

	memset(&e, 0, sizeof e);
	return keys_parse(s, keys, ARRAY_LEN(keys), &e) == n && !memcmp(keys, want, (size_t)n * sizeof *want);
}

#define PARSES(s, ...) parses(s, (const uint16_t[]){__VA_ARGS__}, (int)ARRAY_LEN(((const uint16_t[]){__VA_ARGS__})))

static bool refuses(const char *s, int code, const char *words)
{
	uint16_t keys[3];
	int rc = keys_parse(s, keys, ARRAY_LEN(keys), &e);

	return rc == -code && strstr(e.text, words) && keys_parse(s, keys, ARRAY_LEN(keys), NULL) == rc;
}

static void names(void)
{
	char name[64];

	assert(PARSES("ctrl-alt-delete", KEY_LEFTCTRL, KEY_LEFTALT, KEY_DELETE));
	assert(PARSES("Ctrl+Alt+F2", KEY_LEFTCTRL, KEY_LEFTALT, KEY_F2) && PARSES("a", KEY_A) && PARSES("A", KEY_A));
	assert(PARSES("shift-altgr+SUPER-meta_r", KEY_LEFTSHIFT, KEY_RIGHTALT, KEY_LEFTMETA, KEY_RIGHTMETA));
	assert(PARSES("alt-sysrq-b", KEY_LEFTALT, KEY_SYSRQ, KEY_B) && PARSES("print", KEY_SYSRQ));
	assert(PARSES("menu", KEY_COMPOSE) && PARSES("kp_0-kp_enter", KEY_KP0, KEY_KPENTER));
	assert(PARSES("return-ret", KEY_ENTER, KEY_ENTER) == false && PARSES("spc", KEY_SPACE));
	assert(PARSES("minus", KEY_MINUS) && PARSES("-", KEY_MINUS) && PARSES("ctrl--", KEY_LEFTCTRL, KEY_MINUS));
	assert(PARSES("ctrl-+", KEY_LEFTCTRL, KEY_KPPLUS) && PARSES("--+", KEY_MINUS, KEY_KPPLUS));
	assert(PARSES("---a", KEY_MINUS, KEY_A) == false && PARSES("--a", KEY_MINUS, KEY_A) && PARSES("ctrl-/", KEY_LEFTCTRL, KEY_SLASH));
	assert(PARSES("pgup-102nd-f24", KEY_PAGEUP, KEY_102ND, KEY_F24) && PARSES("lang1", KEY_HANGEUL));
	/* every key by its own name; one is another's alias */
	for (uint16_t key = 1; key < 256; key++)
		if (key_name(key) && key != KEY_MENU)
			assert(PARSES(key_name(key) + 4, key));
	assert(refuses("", EINVAL, "at least one") && refuses("ctrl-", EINVAL, "last '-'") && refuses("ctrl+", EINVAL, "last '+'"));
	assert(refuses("ctrl--a", EINVAL, "after the key '-'") && refuses("+a", EINVAL, "after the key '+'"));
	assert(refuses("ctrl-alt-delet", EINVAL, "'delet': did you mean 'delete'?"));
	assert(refuses("crtl", EINVAL, "'ctrl'") && refuses("pageupp", EINVAL, "'pageup'") && refuses("Entre", EINVAL, "'enter'"));
	assert(refuses("x11", EINVAL, "no key 'x11': ") && !strstr(e.text, "'a'"));
	assert(refuses("foo\x1b[2J", EINVAL, "'foo?[2J'") && refuses("\xc3\xa9", EINVAL, "'?" "?'"));
	assert(refuses("a-b-c-d", E2BIG, "more than 3") && refuses("a-A", EINVAL, "twice"));
	assert(refuses("ctrl-ctrl_l", EINVAL, "'ctrl_l' twice"));
	/* as long as no name is */
	memset(name, 'a', sizeof name);
	name[63] = 0;
	assert(refuses(name, EINVAL, "no key 'aaaa"));
	assert(refuses("katakanahiraganaaaaaaaaaaaaaaaaaa", EINVAL, "no key"));
	assert(!strcmp(key_name(KEY_A), "KEY_A") && !key_name(0) && !key_name(84) && !key_name(BTN_LEFT));
}

static void text(void)
{
	static const struct {
		const char *s;
		size_t n;
		int rc;
		uint32_t c;
	} t[] = {{"", 0, 0, 0}, {"a", 1, 1, 'a'}, {"\0", 1, 1, 0}, {"\x7f", 1, 1, 0x7f}, {"\xc2\x80", 2, 2, 0x80},
		{"\xdf\xbf", 2, 2, 0x7ff}, {"\xe0\xa0\x80", 3, 3, 0x800}, {"\xef\xbf\xbf", 3, 3, 0xffff},
		{"\xed\x9f\xbf", 3, 3, 0xd7ff}, {"\xee\x80\x80", 3, 3, 0xe000}, {"\xf0\x90\x80\x80", 4, 4, 0x10000},
		{"\xf4\x8f\xbf\xbf", 4, 4, 0x10ffff}, {"\xe2\x82\xac!", 4, 3, 0x20ac},
		/* cut, alone, too long, surrogates, too large, nonsense */
		{"\xc2", 1, -EILSEQ, 0}, {"\xe2\x82", 2, -EILSEQ, 0}, {"\xf0\x90\x80", 3, -EILSEQ, 0}, {"\x80", 1, -EILSEQ, 0},
		{"\xc1\xbf", 2, -EILSEQ, 0}, {"\xe0\x9f\xbf", 3, -EILSEQ, 0}, {"\xf0\x8f\xbf\xbf", 4, -EILSEQ, 0},
		{"\xed\xa0\x80", 3, -EILSEQ, 0}, {"\xed\xbf\xbf", 3, -EILSEQ, 0}, {"\xf4\x90\x80\x80", 4, -EILSEQ, 0},
		{"\xf8\x88\x80\x80\x80", 5, -EILSEQ, 0}, {"\xff", 1, -EILSEQ, 0}, {"\xf9\x90\x80\x80", 4, -EILSEQ, 0}, {"\xc3\x28", 2, -EILSEQ, 0},
		{"\xe2\x28\xac", 3, -EILSEQ, 0}, {"\xe2\x82\x28", 3, -EILSEQ, 0}};

	for (unsigned i = 0; i < ARRAY_LEN(t); i++) {
		uint32_t c = 0;

		assert(utf8_get(t[i].s, t[i].n, &c) == t[i].rc);
		assert(t[i].rc < 0 || c == t[i].c);
	}
}

int main(void)
{
	translation();
	linux_keys();
	names();
	text();
	return 0;
}
