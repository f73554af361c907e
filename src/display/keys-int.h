/* SPDX-License-Identifier: MIT */
#ifndef DISPLAY_KEYS_INT_H
#define DISPLAY_KEYS_INT_H

#include <stdint.h>

/* In place of a code of set 2: keys that send more than one */
enum { SET2_E0 = 0x100 /* behind the prefix */, SET2_PAUSE = 0x200, SET2_PRINT };

struct key_row {
	const char *name; /* "KEY_A" */
	uint16_t key;
	uint8_t xt;    /* bit 7: behind the prefix 0xe0 */
	uint16_t set2; /* a code, SET2_E0 | code, or SET2_PAUSE, SET2_PRINT */
};
extern const struct key_row key_rows[];
extern const unsigned key_nrows;

/* Other names than those of the rows without "KEY_", all small letters */
struct key_alias {
	const char *name;
	uint16_t key;
};
extern const struct key_alias key_aliases[];
extern const unsigned key_naliases;

#endif
