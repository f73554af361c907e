/* SPDX-License-Identifier: MIT */
/* husk stats: the counters of one VM's engine, once or again and again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "cmd/stats.h"
#include "vm/control.h"

struct stats_config {
	struct cmd_common common;
	int json;
	uint64_t watch_ns; /* 0: once */
	const char *name;
};

/* One look at the VM. */
struct look {
	char engine[64], up[32];
	pid_t pid;
	uint64_t when_ns;
	json_t *answer;
	struct stats stats; /* points into text */
	char text[2 * VMM_STATS_MAX];
};

static int set_json(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct stats_config *)cfg)->json = 1;
	return 0;
}

static int set_watch(void *cfg, const char *v, struct err *e)
{
	struct stats_config *c = cfg;
	int rc = parse_duration(v, &c->watch_ns, e);

	if (!rc && c->watch_ns < 100000000)
		rc = err_set(e, EINVAL, "'%.60s' is too often: at least 100ms", v);
	return rc;
}

static int set_name(void *cfg, const char *word, struct err *e)
{
	struct stats_config *c = cfg;

	if (c->name)
		return err_set(e, EINVAL, "'%.60s': one machine at a time", word);
	c->name = word;
	return parse_name(word, e);
}

/* Back to lines: whatever the answer has in it, one parser deals with it. */
static void flatten(struct look *l)
{
	size_t n = 0;
	const char *key;
	json_t *v;

	json_object_foreach(l->answer, key, v) {
		const size_t room = sizeof l->text - 1 - n;
		int k = 0;

		if (json_is_integer(v))
			k = snprintf(l->text + n, room, "%s %lld\n", key, (long long)json_integer_value(v));
		else if (json_is_string(v))
			k = snprintf(l->text + n, room, "%s %s\n", key, json_string_value(v));
		if (k < 0 || (size_t)k >= room)
			break;
		n += (size_t)k;
	}
	stats_parse(&l->stats, l->text, n);
}

static int take(struct look *l, const struct stats_config *cfg, struct err *e)
{
	struct client c;
	json_t *about = NULL;
	int rc;

	json_decref(l->answer);
	l->answer = NULL;
	rc = client_open(&c, cfg->name, e);
	if (!rc)
		rc = client_look(&c, &about, e);
	if (!rc)
		rc = client_command(&c, "x-stats", &l->answer, e);
	l->when_ns = now_ns();
	l->pid = c.pid;
	client_close(&c);
	if (rc && e->code != ENOENT)
		err_prefix(e, "%s", cfg->name);
	if (!rc) {
		snprintf(l->engine, sizeof l->engine, "%s", client_text(about, "engine"));
		format_duration(client_number(about, "uptime-ns"), l->up);
		flatten(l);
	}
	json_decref(about);
	return rc;
}

static void show(const struct look *l, const struct look *before, const struct stats_config *cfg)
{
	bool tty = isatty(1);
	struct stats_view v = {.colour = tty};

	if (cfg->json) {
		json_dumpf(l->answer, stdout, cfg->watch_ns ? JSON_COMPACT : JSON_INDENT(2));
		putchar('\n');
		return;
	}
	if (before) {
		v.before = &before->stats;
		v.elapsed_ns = l->when_ns - before->when_ns;
	}
	if (cfg->watch_ns && tty)
		printf("\033[H\033[J");
	else if (before)
		putchar('\n');
	printf("%s%s%s: engine %s, up %s\n", tty ? "\033[1m" : "", cfg->name, tty ? "\033[0m" : "",
		*l->engine ? l->engine : "not known yet", l->up);
	stats_print(stdout, &l->stats, &v);
}

static void sleep_until(uint64_t ns)
{
	const struct timespec t = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* Exit code: a VM that has ended while it was watched is no error. */
static int watch(const struct stats_config *cfg, struct look *look[2])
{
	struct err e = {.code = 0};
	struct look *now = look[0], *before = NULL;
	bool seen = false;

	for (;;) {
		int rc = take(now, cfg, &e);

		/* another one may have its name by now */
		if (seen && (rc == -ENOENT || rc == -EPIPE || (!rc && now->pid != before->pid))) {
			log_info("%s has ended", cfg->name);
			return CMD_OK;
		}
		if (rc) {
			log_err("%s", e.text);
			return CMD_FAILED;
		}
		show(now, before, cfg);
		if (fflush(stdout)) {
			log_err("cannot write: %s", strerror(errno));
			return CMD_FAILED;
		}
		if (!cfg->watch_ns)
			return CMD_OK;
		seen = true;
		sleep_until(now->when_ns + cfg->watch_ns);
		before = now;
		now = now == look[0] ? look[1] : look[0];
	}
}

static const struct opt opts[] = {
	{"json", 0, NULL, set_json, "for programs: one object, names and values as the engine has them"},
	{"watch", 'w', "TIME", set_watch, "again every TIME, with the change per second"},
	CMD_OPT_HELP,
	{.name = NULL},
};

static int run(int argc, char **argv)
{
	struct stats_config cfg = {.name = NULL};
	struct look *look[2];
	struct err e = {.code = 0};
	int rc;

	if (opts_parse(opts, &cfg, argc, argv, set_name, &e)) {
		log_err("stats: %s", e.text);
		return CMD_USAGE;
	}
	if (cfg.common.help) {
		cmd_help_print(&cmd_stats);
		return CMD_OK;
	}
	if (!cfg.name) {
		log_err("stats: which machine? 'husk stats NAME'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	for (int i = 0; i < 2; i++)
		look[i] = xcalloc(1, sizeof *look[i]);
	rc = watch(&cfg, look);
	for (int i = 0; i < 2; i++) {
		json_decref(look[i]->answer);
		free(look[i]);
	}
	return rc;
}

const struct cmd cmd_stats = {
	"stats", "NAME [options]", "show what a machine's CPU engine counts", run, opts,
	"What there is depends on the engine. Exits to the engine and sensitive instructions are\n"
	"sorted, each with its share and with that of all down to it; those that are 0 are left out.\n"
	"\n"
	"Examples:\n"
	"  husk stats web\n"
	"  husk stats web --watch 1       what it is doing now\n"
	"  husk stats web --json | jq '.\"tlb.fills\"'\n",
};
