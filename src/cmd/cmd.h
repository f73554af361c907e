/* SPDX-License-Identifier: MIT */
/* The subcommands of husk: one file each, one row each in husk.c. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

#include "cmd/opts.h"

struct cmd {
	const char *name, *args, *summary;
	/* argv[0] is the subcommand; returns the exit code */
	int (*run)(int argc, char **argv);
	const struct opt *opts; /* for the help; may be NULL */
	const char *more;       /* paragraphs and examples behind the options; may be NULL */
};

extern const struct cmd cmd_run, cmd_status, cmd_stats, cmd_list, cmd_stop, cmd_doctor, cmd_view, cmd_screenshot, cmd_record, cmd_type,
	cmd_key;

/* Exit codes of all subcommands but "run", which also has those of vm/control.h */
enum { CMD_OK = 0, CMD_FAILED = 1, CMD_USAGE = 2 };

void cmd_help_print(const struct cmd *c);

/* The row of every command's table that asks for help. cfg: begins with a struct cmd_common. */
struct cmd_common {
	int help;
};
int cmd_set_help(void *cfg, const char *value, struct err *e);
#define CMD_OPT_HELP {"help", 'h', NULL, cmd_set_help, "show this text"}

#endif
