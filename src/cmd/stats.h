/* SPDX-License-Identifier: MIT */
/*
 * The counters of a machine: from lines of text, which husk-vmm writes and which may therefore hold
 * anything, to a table for people. Pure: no process, no socket.
 *
 * A line is "name value", or "group.name value" with the group up to the first dot; engine.h says which
 * groups there are.
 */
#ifndef CMD_STATS_H
#define CMD_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { STATS_ROWS = 1024, STATS_NAME_MAX = 48, STATS_TEXT_MAX = 64 };

struct stats_row {
	const char *name;
	bool number;
	uint64_t value;   /* if it is one */
	const char *text; /* as it was written */
};

struct stats {
	struct stats_row row[STATS_ROWS];
	unsigned n;
	unsigned lost; /* lines that are none, or more than there is room for */
};

/*
 * Splits text[0, len], where text[len] is ours too, in place: the rows point into it. Bytes that do not
 * print become question marks, values that are too long are cut, names that are too long are lost.
 */
void stats_parse(struct stats *s, char *text, size_t len);

struct stats_view {
	bool colour;
	const struct stats *before; /* an earlier look, for a column of changes per second; or NULL */
	uint64_t elapsed_ns;        /* since then */
};

void stats_print(FILE *f, const struct stats *s, const struct stats_view *v);

#endif
