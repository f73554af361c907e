/* SPDX-License-Identifier: MIT */
/*
 * Keeps the last bytes of the guest's serial output and finds the words of a Linux kernel panic in
 * them. Output is the guest's, so this is a hint to people and never more: a guest can print what
 * it likes.
 */
#ifndef CMD_PANIC_H
#define CMD_PANIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PANIC_TAIL = 8192 };
struct panic {
	uint8_t tail[PANIC_TAIL];
	uint64_t total;
};

void panic_feed(struct panic *p, const uint8_t *bytes, size_t n);
/* Copies the words behind the last "Kernel panic - not syncing: " that begins a line; false: none */
bool panic_find(const struct panic *p, char text[160]);
void panic_forget(struct panic *p); /* a new boot begins */

#endif
