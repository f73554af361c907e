/* SPDX-License-Identifier: MIT */
/* husk key: presses keys together, as in ctrl-alt-delete. */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "display/keys.h"

enum { WORDS = 256, CHORD = 8 };

struct key_config {
	struct cmd_common common;
	const char *name, *word[WORDS];
	unsigned n;
	uint64_t hold_ns;
};

static int set_hold(void *cfg, const char *v, struct err *e)
{
	struct key_config *c = cfg;
	int rc = parse_duration(v, &c->hold_ns, e);

	if (!rc && c->hold_ns > UINT64_C(60000000000))
		rc = err_set(e, EINVAL, "'%.40s' is too long: a minute at most", v);
	return rc;
}

static int set_word(void *cfg, const char *word, struct err *e)
{
	struct key_config *c = cfg;
	uint16_t keys[CHORD];
	int rc;

	if (!c->name) {
		c->name = word;
		return parse_name(word, e);
	}
	if (c->n == WORDS)
		return err_set(e, E2BIG, "%d key combinations at a time are the most", WORDS);
	c->word[c->n++] = word;
	/* before anything is pressed, all must be right */
	rc = keys_parse(word, keys, CHORD, e);
	return rc < 0 ? rc : 0;
}

static const struct opt opts[] = {
	{"hold", 0, "TIME", set_hold, "how long each is held down; default 50ms"},
	CMD_OPT_HELP,
	{.name = NULL},
};

/* The supervisor holds the keys and lets them go, so that none stays down when we are interrupted. */
static int press(struct client *k, const char *word, uint64_t hold_ns, struct err *e)
{
	uint16_t keys[CHORD];
	int n = keys_parse(word, keys, CHORD, e);
	json_t *list = json_array();
	struct timespec ts;

	for (int i = 0; i < n; i++)
		json_array_append_new(list, json_pack("{s:s,s:i}", "type", "number", "data", (int)key_to_xt(keys[i])));
	if (client_run(k, "send-key", json_pack("{s:o,s:i}", "keys", list, "hold-time", (int)(hold_ns / 1000000)), NULL, e))
		return -e->code;
	hold_ns += 10000000;
	ts = (struct timespec){(time_t)(hold_ns / 1000000000), (long)(hold_ns % 1000000000)};
	nanosleep(&ts, NULL);
	return 0;
}

static int run(int argc, char **argv)
{
	struct key_config c = {.hold_ns = 50000000};
	struct client k = {.fd = -1};
	struct err e = {.code = 0};
	int rc;

	if (opts_parse(opts, &c, argc, argv, set_word, &e)) {
		log_err("key: %s", e.text);
		return CMD_USAGE;
	}
	if (c.common.help) {
		cmd_help_print(&cmd_key);
		return CMD_OK;
	}
	if (!c.n) {
		log_err("key: %s", c.name ? "which key? 'husk key NAME ctrl-alt-delete'"
					  : "of which machine? 'husk key NAME KEY...'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	rc = client_open(&k, c.name, &e);
	for (unsigned i = 0; i < c.n && !rc; i++) {
		rc = press(&k, c.word[i], c.hold_ns, &e);
		if (rc)
			err_prefix(&e, "%s", c.name);
	}
	client_close(&k);
	if (rc)
		log_err("%s", e.text);
	return rc ? CMD_FAILED : CMD_OK;
}

const struct cmd cmd_key = {
	"key", "NAME KEY... [options]", "press keys of a machine, such as ctrl-alt-delete", run, opts,
	"Keys with '-' or '+' between them are pressed together, and let go in the other order; several\n"
	"words one after the other. Names are as on the keycaps or as Linux and QEMU have them: a, 1,\n"
	"f1, enter, esc, tab, space, up, pgdn, insert, delete, print, pause, kp_5, ctrl, shift_r, alt,\n"
	"altgr, meta, minus, comma.\n"
	"\n"
	"Examples:\n"
	"  husk key web ctrl-alt-delete\n"
	"  husk key web ctrl-alt-f2            Linux: the second virtual console\n"
	"  husk key web alt-print-s            Linux: magic SysRq, sync\n"
	"  husk key web up up enter\n",
};
