/* SPDX-License-Identifier: MIT */
/* What devopt.c and displayopt.c share: lists of "key=value" with commas between them, as tables. */
#ifndef CMD_DEVOPT_INT_H
#define CMD_DEVOPT_INT_H

#include "cmd/devopt.h"

/* One key of such a list. value is NULL when there was no "=", and lies in the list's own copy of the words. */
struct devopt_key {
	const char *name; /* NULL ends the table, of at most 23 rows */
	int (*set)(void *cfg, const char *value, struct err *e);
};
/* All that is left of a list, in place; rest NULL: nothing. 0 or -errno with words that name the key. */
int devopt_keys(const struct devopt_key *keys, void *cfg, char *rest, struct err *e);

/* For set(): v is there and not empty; example: "mac=52:54:00:12:34:56" */
int devopt_need(const char *v, const char *example, struct err *e);
int devopt_bool(const char *v, bool *b, struct err *e); /* on, off, or nothing at all: on */
int devopt_choice(const char *v, const char *const *names, const char **choice, struct err *e);
int devopt_number(const char *v, unsigned lo, unsigned hi, unsigned *n, struct err *e);

#endif
