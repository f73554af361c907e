/* SPDX-License-Identifier: MIT */
/*
 * Options of one subcommand as a table: "--name VALUE", "--name=VALUE", "--flag", a one-letter
 * short form where there is one. The same table prints the help.
 */
#ifndef CMD_OPTS_H
#define CMD_OPTS_H

#include "base/err.h"

struct opt {
	const char *name; /* without the dashes; NULL ends the table */
	char letter;      /* "-d", 0 if none */
	const char *arg;  /* what the value is called in the help; NULL: a flag, set(cfg, NULL) */
	int (*set)(void *cfg, const char *value, struct err *e); /* value: borrowed for ever */
	const char *help;
};

/*
 * Walks argv[1..]. What is no option goes to set_word, or is an error if that is NULL; so does
 * everything behind "--". Returns 0, or -EINVAL with a line that names the option and the nearest
 * right one.
 */
int opts_parse(const struct opt *table, void *cfg, int argc, char **argv,
	int (*set_word)(void *cfg, const char *word, struct err *e), struct err *e);

void opts_print(const struct opt *table);

#endif
