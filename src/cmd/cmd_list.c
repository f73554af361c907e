/* SPDX-License-Identifier: MIT */
/* husk list: a table of the VMs that run. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "cmd/rundir.h"

struct list {
	unsigned n;
	bool colour;
};

static void row(struct list *l, const char *name, const char *pid, const char *state,
	const char *engine, const char *cpus, const char *memory, const char *up)
{
	const char *on = "", *off = "";

	if (l->colour) {
		on = l->n == 0 ? "\033[1m" : !strcmp(state, "running") ? "\033[32m" : "\033[33m";
		off = "\033[0m";
	}
	if (l->n++ == 0)
		printf("%s%-20s %7s  %-9s %-7s %4s %9s  %s%s\n", on, name, pid, state, engine, cpus,
			memory, up, off);
	else
		printf("%-20s %7s  %s%-9s%s %-7s %4s %9s  %s\n", name, pid, on, state, off, engine, cpus,
			memory, up);
}

static int show(void *arg, const char *name)
{
	struct list *l = arg;
	struct client c;
	json_t *r = NULL;
	struct err e;
	char pid[32], cpus[32], memory[32], up[32];

	if (l->n == 0)
		row(l, "NAME", "PID", "STATE", "ENGINE", "CPUS", "MEMORY", "UP");
	/* it may end between being found and being asked, or just have begun */
	if (client_open(&c, name, &e) || client_look(&c, &r, &e)) {
		row(l, name, "-", e.code == 2 ? "starting" : "silent", "-", "-", "-", "-");
		client_close(&c);
		return 0;
	}
	snprintf(pid, sizeof pid, "%llu", (unsigned long long)client_number(r, "pid"));
	snprintf(cpus, sizeof cpus, "%llu", (unsigned long long)client_number(r, "cpus"));
	row(l, name, pid, !strcmp(client_text(r, "status"), "prelaunch") ? "starting"
		: client_text(r, "status"), client_text(r, "engine"), cpus,
		format_size(client_number(r, "memory"), memory),
		format_duration(client_number(r, "uptime-ns"), up));
	json_decref(r);
	client_close(&c);
	return 0;
}

static const struct opt opts[] = {CMD_OPT_HELP, {.name = NULL}};

static int run(int argc, char **argv)
{
	struct cmd_common common = {0};
	struct list l = {.n = 0, .colour = isatty(1)};
	struct err e = {.code = 0};

	if (opts_parse(opts, &common, argc, argv, NULL, &e)) {
		log_err("list: %s", e.text);
		return CMD_USAGE;
	}
	if (common.help) {
		cmd_help_print(&cmd_list);
		return CMD_OK;
	}
	if (rundir_each(show, &l, &e)) {
		log_err("%s", e.text);
		return CMD_FAILED;
	}
	if (!l.n)
		printf("no virtual machine is running; 'husk run' starts one\n");
	return CMD_OK;
}

const struct cmd cmd_list = {
	"list", "", "show the machines that run", run, opts,
	"Shows the machines of this user. What a machine that was killed left on disk is\n"
	"removed on the way.\n",
};
