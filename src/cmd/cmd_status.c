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
	int json, verbose;
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

static int set_verbose(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct status_config *)cfg)->verbose = 1;
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

/* What stands at the beginning of a line: the name of what follows, once */
static const char *head(const char *name, bool *done)
{
	const char *h = *done ? "" : name;

	*done = true;
	return h;
}

/* "husk-blk" or "husk-blk disk0" */
static const char *process_name(const json_t *p, char buf[64])
{
	const char *device = client_text(p, "device");

	snprintf(buf, 64, "%s%s%s", client_text(p, "name"), *device ? " " : "", device);
	return buf;
}

static void print_stages(const json_t *list, bool colour)
{
	json_t *s;
	size_t i;

	json_array_foreach(list, i, s) {
		bool on = json_is_true(json_object_get(s, "in-force"));
		const char *why = client_text(s, "why");

		printf("  %-9s   %-13s %s%s%s%s%s\n", "", client_text(s, "stage"),
			colour ? on ? "\033[32m" : "\033[33m" : "", on ? "in force" : "MISSING",
			colour ? "\033[0m" : "", *why ? ": " : "", why);
	}
}

/* One line when all is as it should be; what is missing with its reason, or all of it. */
static void print_sandbox(const json_t *r, bool colour, bool verbose)
{
	json_t *p, *s, *list;
	bool done = false;
	char name[64];
	size_t i, k;

	json_array_foreach(json_object_get(r, "processes"), i, p) {
		size_t n = 0, missing = 0;

		list = json_object_get(p, "sandbox");
		if (!list)
			continue;
		json_array_foreach(list, k, s) {
			n++;
			missing += !json_is_true(json_object_get(s, "in-force"));
		}
		printf("  %-9s %-14s ", head("sandbox", &done), process_name(p, name));
		if (!n)
			printf("not entered yet\n");
		else if (!missing)
			printf("%sall %zu stages in force%s\n", colour ? "\033[32m" : "", n, colour ? "\033[0m" : "");
		else
			printf("%zu of %zu stages in force\n", n - missing, n);
		if (verbose) {
			print_stages(list, colour);
			continue;
		}
		json_array_foreach(list, k, s) {
			if (!json_is_true(json_object_get(s, "in-force")))
				printf("  %-9s   %sMISSING%s %s: %s\n", "", colour ? "\033[33m" : "", colour ? "\033[0m" : "",
					client_text(s, "stage"), client_text(s, "why"));
		}
	}
}

static void print_counters(const char *what, const json_t *o)
{
	bool done = false;
	const char *k;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, k, v) {
		if (json_is_integer(v))
			printf("  %-9s   %-8s %-24s %lld\n", "", head(what, &done), k, (long long)json_integer_value(v));
		else if (json_is_string(v))
			printf("  %-9s   %-8s %-24s %s\n", "", head(what, &done), k, json_string_value(v));
	}
}

static void print_disk(const json_t *d)
{
	const char *engine = client_text(d, "engine");
	char size[32];

	printf("%s%s", !strcmp(client_text(d, "kind"), "socket") ? "socket:" : "", client_text(d, "path"));
	if (client_number(d, "size"))
		printf(", %s", format_size(client_number(d, "size"), size));
	if (*client_text(d, "mode"))
		printf(", %s, cache=%s", client_text(d, "mode"), client_text(d, "cache"));
	if (*engine)
		printf(", %s%s%s%s", engine, *client_text(d, "engine-why") ? " (" : "", client_text(d, "engine-why"),
			*client_text(d, "engine-why") ? ")" : "");
}

static void print_net(const json_t *d)
{
	json_t *f;
	size_t i;

	printf("%s%s%s, %s", client_text(d, "kind"), *client_text(d, "path") ? ":" : "", client_text(d, "path"),
		client_text(d, "mac"));
	json_array_foreach(json_object_get(d, "forwards"), i, f) {
		printf(", forward %s", json_string_value(f) ? json_string_value(f) : "?");
	}
}

static void print_vsock(const json_t *d)
{
	printf("%s, guest CID %llu", client_text(d, "path"), (unsigned long long)client_number(d, "cid"));
}

static void print_gpu(const json_t *d)
{
	const unsigned long long heads = client_number(d, "heads"), w = client_number(json_object_get(d, "counters"), "width");

	printf("%llu head%s", heads, heads == 1 ? "" : "s");
	if (w)
		printf(", %llux%llu", w, (unsigned long long)client_number(json_object_get(d, "counters"), "height"));
}

static void print_vnc(const json_t *d)
{
	const unsigned long long n = client_number(json_object_get(d, "counters"), "viewers");

	printf("%llu viewer%s", n, n == 1 ? "" : "s");
}

static unsigned long long counter(const json_t *d, const char *name)
{
	return client_number(json_object_get(d, "counters"), name);
}

static const char *size_counter(const json_t *d, const char *name, char buf[32])
{
	return format_size(counter(d, name), buf);
}

static void traffic_disk(const json_t *d)
{
	char a[32], b[32];

	printf("read %llu (%s), written %llu (%s), %llu flushes, %llu discards", counter(d, "reads"), size_counter(d, "bytes_read", a),
		counter(d, "writes"), size_counter(d, "bytes_written", b), counter(d, "flushes"),
		counter(d, "discards") + counter(d, "zeroes"));
}

static void traffic_net(const json_t *d)
{
	char a[32], b[32];

	printf("received %llu (%s), sent %llu (%s)", counter(d, "rx_frames"), size_counter(d, "rx_bytes", a), counter(d, "tx_frames"),
		size_counter(d, "tx_bytes", b));
}

static void traffic_vsock(const json_t *d)
{
	char a[32], b[32];

	printf("%llu connections, %s to the guest, %s from it, %llu refused", counter(d, "connections"),
		size_counter(d, "to_guest", a), size_counter(d, "from_guest", b), counter(d, "nobody_waited"));
}

static void traffic_gpu(const json_t *d)
{
	char a[32], b[32];

	printf("%llu commands, %s of pixels, %s of memory", counter(d, "commands"), size_counter(d, "transferred_bytes", a),
		size_counter(d, "memory", b));
}

static void traffic_vnc(const json_t *d)
{
	char a[32];

	printf("%llu accepted, %llu updates, %s sent, %llu keys", counter(d, "accepted"), counter(d, "updates"),
		size_counter(d, "to_viewers", a), counter(d, "keys"));
	if (counter(d, "wrong_passwords"))
		printf(", %llu WRONG PASSWORDS", counter(d, "wrong_passwords"));
}

/* By the beginning of the device's name */
static const struct kind {
	const char *name;
	void (*print)(const json_t *d);   /* what it is */
	void (*traffic)(const json_t *d); /* by its process' counters */
} kinds[] = {{"disk", print_disk, traffic_disk}, {"net", print_net, traffic_net}, {"vsock", print_vsock, traffic_vsock},
	{"gpu", print_gpu, traffic_gpu}, {"vnc", print_vnc, traffic_vnc}};

static const struct kind *kind_of(const json_t *d)
{
	const char *name = client_text(d, "name");
	size_t i;

	for (i = 0; i + 1 < ARRAY_LEN(kinds); i++)
		if (!strncmp(name, kinds[i].name, strlen(kinds[i].name)))
			break;
	return &kinds[i];
}

static void print_traffic(const json_t *d)
{
	const json_t *c = json_object_get(d, "counters"), *f = json_object_get(d, "front");

	printf("  %-9s ", "");
	if (!json_object_size(c))
		printf("no counters of its process");
	else
		kind_of(d)->traffic(d);
	if (counter(d, "errors"))
		printf(", %llu ERRORS", counter(d, "errors"));
	if (counter(d, "rx_dropped"))
		printf(", %llu dropped", counter(d, "rx_dropped"));
	if (json_object_size(f))
		printf("; %llu kicks, %llu interrupts", (unsigned long long)client_number(f, "kicks"),
			(unsigned long long)client_number(f, "interrupts"));
	if (client_number(d, "queues"))
		printf("; %llu queue%s of %llu", (unsigned long long)client_number(d, "queues"),
			client_number(d, "queues") == 1 ? "" : "s", (unsigned long long)client_number(d, "queue-size"));
	printf("%s\n", json_object_size(c) && client_number(d, "restarts") ? "; since the last restart" : "");
}

/* Where viewers can look at it, a line each */
static void print_screen(const json_t *s)
{
	json_t *l;
	size_t i;

	json_array_foreach(json_object_get(s, "listeners"), i, l) {
		printf("  %-9s rfb %s (%s)", i ? "" : "screen", client_text(l, "where"), client_text(l, "for"));
		if (!i)
			printf("; %llux%llu, keyboard layout %s%s", (unsigned long long)client_number(s, "width"),
				(unsigned long long)client_number(s, "height"), client_text(s, "layout"),
				json_is_true(json_object_get(s, "view-only")) ? ", view only" : "");
		putchar('\n');
	}
}

static void print_device(const json_t *d, bool colour, bool verbose)
{
	const bool well = !strcmp(client_text(d, "state"), "serving");

	printf("  %-9s ", client_text(d, "name"));
	kind_of(d)->print(d);
	printf(": %s%s%s", colour && !well ? "\033[31m" : "", client_text(d, "state"), colour && !well ? "\033[0m" : "");
	if (client_number(d, "restarts"))
		printf(", restarted %llu time%s", (unsigned long long)client_number(d, "restarts"),
			client_number(d, "restarts") == 1 ? "" : "s");
	putchar('\n');
	if (*client_text(d, "last"))
		printf("  %-9s last: %s\n", "", client_text(d, "last"));
	if (*client_text(d, "said"))
		printf("  %-9s said: %s\n", "", client_text(d, "said"));
	print_traffic(d);
	if (verbose) {
		print_counters("process", json_object_get(d, "counters"));
		print_counters("husk-vmm", json_object_get(d, "front"));
	}
}

static void print_console(const json_t *s, const char *name)
{
	char a[32], b[32];

	printf("  %-9s %s%s%s%s%s, %s out, %s in", name, client_text(s, "name"), *client_text(s, "name") ? " at " : "",
		client_text(s, "mode"), *client_text(s, "path") ? ":" : "", client_text(s, "path"),
		format_size(client_number(s, "output"), a), format_size(client_number(s, "input"), b));
	if (client_number(s, "dropped"))
		printf(", %s DROPPED (the terminal did not take them)",
			format_size(client_number(s, "dropped"), a));
	printf(", %llu attached\n", (unsigned long long)client_number(s, "clients"));
}

static void print_processes(const json_t *r)
{
	json_t *p, *list = json_object_get(r, "processes");
	uint64_t cpu_ns = 0;
	bool done = false;
	char a[32], b[32], name[64];
	size_t i;

	json_array_foreach(list, i, p) {
		printf("  %-9s %-14s pid %-7llu %9s resident, %s CPU, %llu thread%s", head("processes", &done),
			process_name(p, name), (unsigned long long)client_number(p, "pid"),
			format_size(client_number(p, "rss"), a), format_duration(client_number(p, "cpu-ns"), b),
			(unsigned long long)client_number(p, "threads"), client_number(p, "threads") == 1 ? "" : "s");
		if (client_number(p, "restarts"))
			printf(", restarted %llu time%s", (unsigned long long)client_number(p, "restarts"),
				client_number(p, "restarts") == 1 ? "" : "s");
		putchar('\n');
		cpu_ns += client_number(p, "cpu-ns");
	}
	if (client_number(r, "uptime-ns"))
		printf("  CPU time  %s, %.1f %% of one CPU since the start\n", format_duration(cpu_ns, a),
			100.0 * (double)cpu_ns / (double)client_number(r, "uptime-ns"));
}

static void print(const json_t *r, bool colour, bool verbose)
{
	const json_t *balloon = json_object_get(r, "balloon-counters");
	json_t *d;
	char a[32];
	size_t i;

	printf("%s%s%s: %s, up %s", colour ? "\033[1m" : "", client_text(r, "name"),
		colour ? "\033[0m" : "", client_text(r, "status"),
		format_duration(client_number(r, "uptime-ns"), a));
	if (client_number(r, "resets"))
		printf(", reset %llu times", (unsigned long long)client_number(r, "resets"));
	printf("\n  machine   %llu CPU%s, %s", (unsigned long long)client_number(r, "cpus"),
		client_number(r, "cpus") == 1 ? "" : "s", format_size(client_number(r, "memory"), a));
	if (client_number(balloon, "reported"))
		printf("; in sum %s of free memory were given back", format_size(client_number(balloon, "reported"), a));
	putchar('\n');
	if (*client_text(r, "engine"))
		printf("  engine    %s%s%s\n", client_text(r, "engine"),
			*client_text(r, "engine-why") ? ": " : "", client_text(r, "engine-why"));
	printf("  kernel    %s\n", client_text(r, "kernel"));
	if (*client_text(r, "boot"))
		printf("            %s\n", client_text(r, "boot"));
	if (*client_text(r, "initrd"))
		printf("  initrd    %s\n", client_text(r, "initrd"));
	printf("  append    %s\n", client_text(r, "append"));
	json_array_foreach(json_object_get(r, "devices"), i, d) {
		print_device(d, colour, verbose);
	}
	print_screen(json_object_get(r, "screen"));
	print_console(json_object_get(r, "serial"), "serial");
	json_array_foreach(json_object_get(r, "consoles"), i, d) {
		print_console(d, i ? "" : "console");
	}
	print_processes(r);
	print_sandbox(r, colour, verbose);
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
		print(r, isatty(1), cfg->verbose);
	}
	cfg->shown++;
	json_decref(r);
	return 0;
}

static const struct opt opts[] = {
	{"verbose", 'v', NULL, set_verbose, "all counters of devices and all stages of the sandbox"},
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
