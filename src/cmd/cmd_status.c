/* SPDX-License-Identifier: MIT */
/* husk status: what one VM is doing, what it costs, and how it is confined. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "cmd/rundir.h"

struct status_config {
	struct cmd_common common;
	int json;
	const char *name;
	unsigned shown;
	struct err err; /* of the last one that could not be asked */
};

static int set_json(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct status_config *)cfg)->json = 1;
	return 0;
}

static int set_name(void *cfg, const char *word, struct err *e)
{
	struct status_config *c = cfg;

	if (c->name)
		return err_set(e, 22, "'%.60s': one name is enough", word);
	c->name = word;
	return parse_name(word, e);
}

static void print_sandbox(const json_t *r, bool colour)
{
	json_t *list = json_object_get(r, "sandbox"), *s;
	size_t i;

	if (!json_is_true(json_object_get(r, "sandbox-known"))) {
		printf("  sandbox   not entered yet\n");
		return;
	}
	json_array_foreach(list, i, s) {
		bool on = json_is_true(json_object_get(s, "in-force"));
		const char *why = client_text(s, "why");

		printf("  %-9s %-13s %s%s%s%s%s\n", i ? "" : "sandbox", client_text(s, "stage"),
			colour ? on ? "\033[32m" : "\033[33m" : "", on ? "in force" : "MISSING",
			colour ? "\033[0m" : "", *why ? ": " : "", why);
	}
}

static void print(const json_t *r, bool colour)
{
	json_t *list = json_object_get(r, "processes"), *p, *serial = json_object_get(r, "serial");
	char a[32], b[32];
	uint64_t cpu_ns = 0;
	size_t i;

	printf("%s%s%s: %s, up %s", colour ? "\033[1m" : "", client_text(r, "name"),
		colour ? "\033[0m" : "", client_text(r, "status"),
		format_duration(client_number(r, "uptime-ns"), a));
	if (client_number(r, "resets"))
		printf(", reset %llu times", (unsigned long long)client_number(r, "resets"));
	printf("\n  machine   %llu CPU%s, %s\n", (unsigned long long)client_number(r, "cpus"),
		client_number(r, "cpus") == 1 ? "" : "s", format_size(client_number(r, "memory"), a));
	if (*client_text(r, "engine"))
		printf("  engine    %s%s%s\n", client_text(r, "engine"),
			*client_text(r, "engine-why") ? ": " : "", client_text(r, "engine-why"));
	printf("  kernel    %s\n", client_text(r, "kernel"));
	if (*client_text(r, "boot"))
		printf("            %s\n", client_text(r, "boot"));
	if (*client_text(r, "initrd"))
		printf("  initrd    %s\n", client_text(r, "initrd"));
	printf("  append    %s\n", client_text(r, "append"));
	printf("  serial    %s%s%s, %s out, %s in", client_text(serial, "mode"),
		*client_text(serial, "path") ? ":" : "", client_text(serial, "path"),
		format_size(client_number(serial, "output"), a),
		format_size(client_number(serial, "input"), b));
	if (client_number(serial, "dropped"))
		printf(", %s DROPPED (the terminal did not take them)",
			format_size(client_number(serial, "dropped"), a));
	printf(", %llu attached\n", (unsigned long long)client_number(serial, "clients"));
	json_array_foreach(list, i, p) {
		printf("  %-9s %-11s pid %-7llu %9s resident, %s CPU, %llu thread%s\n",
			i ? "" : "processes", client_text(p, "name"),
			(unsigned long long)client_number(p, "pid"),
			format_size(client_number(p, "rss"), a),
			format_duration(client_number(p, "cpu-ns"), b),
			(unsigned long long)client_number(p, "threads"),
			client_number(p, "threads") == 1 ? "" : "s");
		cpu_ns += client_number(p, "cpu-ns");
	}
	if (client_number(r, "uptime-ns"))
		printf("  CPU time  %s, %.1f %% of one CPU since the start\n", format_duration(cpu_ns, a),
			100.0 * (double)cpu_ns / (double)client_number(r, "uptime-ns"));
	print_sandbox(r, colour);
}

static int show(void *arg, const char *name)
{
	struct status_config *cfg = arg;
	struct client c;
	json_t *r = NULL;
	int rc = client_open(&c, name, &cfg->err);

	if (!rc)
		rc = client_command(&c, "query-husk", &r, &cfg->err);
	client_close(&c);
	if (rc) {
		if (cfg->err.code != 2)
			err_prefix(&cfg->err, "%s", name);
		/* when all are shown, one that is ending does not hide the others */
		return cfg->name ? rc : 0;
	}
	if (cfg->json) {
		json_dumpf(r, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		if (cfg->shown)
			putchar('\n');
		print(r, isatty(1));
	}
	cfg->shown++;
	json_decref(r);
	return 0;
}

static const struct opt opts[] = {
	{"json", 0, NULL, set_json, "for programs: the answer of query-husk"},
	CMD_OPT_HELP,
	{.name = NULL},
};

static int run(int argc, char **argv)
{
	struct status_config cfg = {.name = NULL};
	struct err e = {.code = 0};
	int rc;

	if (opts_parse(opts, &cfg, argc, argv, set_name, &e)) {
		log_err("status: %s", e.text);
		return CMD_USAGE;
	}
	if (cfg.common.help) {
		cmd_help_print(&cmd_status);
		return CMD_OK;
	}
	rc = cfg.name ? show(&cfg, cfg.name) : rundir_each(show, &cfg, &cfg.err);
	if (rc || (!cfg.shown && cfg.err.code)) {
		log_err("%s", cfg.err.text);
		return CMD_FAILED;
	}
	if (!cfg.shown && !cfg.json)
		printf("no virtual machine is running; 'husk run' starts one\n");
	return CMD_OK;
}

const struct cmd cmd_status = {
	"status", "[NAME] [options]", "show what a machine is doing, its cost and its sandbox", run, opts,
	"Without a NAME, all machines of this user are shown. A stage of the sandbox that is\n"
	"MISSING comes with the reason; 'husk doctor' has the remedies.\n",
};
