/* SPDX-License-Identifier: MIT */
/*
 * Key numbers. husk's own are Linux' (KEY_*); others come and go here: scan codes of sets 1 and 2 for the i8042 and for RFB's
 * extended key event (RFB, "QEMU Extended Key Event Message": set 1 with bit 7 for the prefix 0xe0), names for people
 * ("ctrl-alt-delete"), and keysyms and text by a keyboard layout (libxkbcommon).
 */
#ifndef DISPLAY_KEYS_H
#define DISPLAY_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* 0: none */
uint16_t key_from_xt(uint32_t xt);   /* 0x1e is KEY_A, 0x9c (0xe0 0x1c) is KEY_KPENTER; any number is fine */
uint32_t key_to_xt(uint16_t key);
/* The bytes of set 2 for a key that goes down or up, at most 8; 0: it has none. Pause has them only for down. */
unsigned key_to_set2(uint16_t key, bool down, uint8_t out[8]);

/*
 * "ctrl-alt-delete", "f1", "a", "shift+f10": keys that go down in this order and up in the other. '-' and '+' both separate.
 * How many, at most max, or -errno with words that name what is not known.
 */
int keys_parse(const char *s, uint16_t *keys, unsigned max, struct err *e);
const char *key_name(uint16_t key); /* "KEY_A" or NULL */

/* A keyboard layout, as setxkbmap names it: "us", "de", "fr(oss)". Reads files: before a sandbox. */
struct layout;
int layout_new(struct layout **l, const char *name, struct err *e);
void layout_free(struct layout *l);
enum key_mods { KEYS_SHIFT = 1, KEYS_CTRL = 2, KEYS_ALT = 4, KEYS_ALTGR = 8 };
/* One key that makes a keysym, and what must be held (KEYS_SHIFT, KEYS_ALTGR). False: this layout cannot type it. */
bool layout_keysym(const struct layout *l, uint32_t keysym, uint16_t *key, unsigned *mods);
/*
 * One character (Unicode) as key presses, more than one where a dead key is needed; at most 4. How many, 0 if the layout
 * cannot type it.
 */
struct stroke {
	uint16_t key;
	unsigned mods;
};
unsigned layout_char(const struct layout *l, uint32_t c, struct stroke out[4]);
/* UTF-8, one character: its length, 0 at the end of s[0, n), -EILSEQ */
int utf8_get(const char *s, size_t n, uint32_t *c);

#endif
