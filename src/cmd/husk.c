/* SPDX-License-Identifier: MIT */
/* husk: the command. Subcommands are in cmd_*.c, one row each in the table below. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"

static const struct cmd *const commands[] = {
	&cmd_run, &cmd_list, &cmd_status, &cmd_stats, &cmd_stop, &cmd_view, &cmd_screenshot, &cmd_record, &cmd_type, &cmd_key,
	&cmd_doctor};

int cmd_set_help(void *cfg, const char *value, struct err *e)
{
	(void)value, (void)e;
	((struct cmd_common *)cfg)->help = 1;
	return 0;
}

void cmd_help_print(const struct cmd *c)
{
	printf("husk %s %s\n    %s\n", c->name, c->args, c->summary);
	if (c->opts) {
		printf("\nOptions:\n");
		opts_print(c->opts);
	}
	if (c->more)
		printf("\n%s", c->more);
}

static void help(void)
{
	printf("husk runs virtual machines: unmodified x86-64 systems in an ordinary process,\n"
	       "with or without KVM.\n\n"
	       "Usage: husk COMMAND [options]\n\n");
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
	printf("  %-10s %s\n", "help", "show this text, or more about one command");
	printf("\nExamples:\n"
	       "  husk run                     boot the built-in guest; Ctrl-] q gets you out\n"
	       "  husk run --kernel vmlinuz --initrd initrd.img --name web\n"
	       "  husk list                    the machines that run\n"
	       "  husk status web              what one of them is doing, and how it is confined\n"
	       "  husk stats web               what its CPU engine does all the time\n"
	       "  husk stop web                press its power button\n"
	       "  husk view web                its screen, if it was started with --display vnc\n"
	       "  husk doctor                  what this host offers, and what to do about the rest\n"
	       "\n'husk help COMMAND' teaches one command; husk(1) is the manual page.\n");
}

static const struct cmd *find(const char *name)
{
	const char *names[ARRAY_LEN(commands) + 2], *near;
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
		if (!strcmp(name, commands[i]->name))
			return commands[i];
		names[n++] = commands[i]->name;
	}
	names[n++] = "help";
	names[n] = NULL;
	near = nearest(name, names);
	if (near)
		log_err("unknown command '%.40s'; did you mean '%s'?", name, near);
	else
		log_err("unknown command '%.40s' ('husk help' shows all)", name);
	return NULL;
}

int main(int argc, char **argv)
{
	const struct cmd *c;

	log_init("husk", LOG_INFO);
	if (argc < 2) {
		help();
		return CMD_USAGE;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("husk %s\n", HUSK_VERSION);
		return CMD_OK;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		if (argc < 3) {
			help();
			return CMD_OK;
		}
		c = find(argv[2]);
		if (!c)
			return CMD_USAGE;
		cmd_help_print(c);
		return CMD_OK;
	}
	if (argv[1][0] == '-') {
		log_err("unknown option %.40s; options follow a command, as in 'husk run %.40s' "
			"('husk help' shows all)", argv[1], argv[1]);
		return CMD_USAGE;
	}
	c = find(argv[1]);
	return c ? c->run(argc - 1, argv + 1) : CMD_USAGE;
}
