/* SPDX-License-Identifier: MIT */
/* husk type: text as key strokes, by the guest's keyboard layout. */
#include <errno.h>
#include <linux/input-event-codes.h>
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
#include "display/keys.h"

enum { TEXT_MAX = 1 << 20, STROKES = 4, SHOWN = 8, PROGRESS = 200 };

struct type_config {
	struct cmd_common common;
	const char *name, *text, *layout;
	uint64_t delay_ns;
	bool skip, enter;
};

static int set_layout(void *cfg, const char *v, struct err *e)
{
	(void)e;
	((struct type_config *)cfg)->layout = v;
	return 0;
}

static int set_delay(void *cfg, const char *v, struct err *e)
{
	struct type_config *c = cfg;
	int rc = parse_duration(v, &c->delay_ns, e);

	if (!rc && c->delay_ns > UINT64_C(10000000000))
		rc = err_set(e, EINVAL, "'%.40s' is too long: 10s at most", v);
	return rc;
}

static int set_skip(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct type_config *)cfg)->skip = true;
	return 0;
}

static int set_enter(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct type_config *)cfg)->enter = true;
	return 0;
}

static int set_word(void *cfg, const char *word, struct err *e)
{
	struct type_config *c = cfg;

	if (!c->name) {
		c->name = word;
		return parse_name(word, e);
	}
	if (c->text)
		return err_set(e, EINVAL, "'%.60s': one text at a time; quotes keep words together", word);
	c->text = word;
	return 0;
}

static const struct opt opts[] = {
	{"enter", 'e', NULL, set_enter, "press Enter behind the text"},
	{"layout", 0, "NAME", set_layout, "the guest's keyboard layout; default: that of --display"},
	{"delay", 0, "TIME", set_delay, "between two characters; default 8ms"},
	{"skip", 0, NULL, set_skip, "leave out what the layout cannot type"},
	CMD_OPT_HELP,
	{.name = NULL},
};

/* --- text -------------------------------------------------------------------------------------- */

/* Standard input up to its end, or a copy of the argument, NUL behind it. */
static char *get_text(const struct type_config *c, size_t *len, struct err *e)
{
	char *text = xcalloc(1, TEXT_MAX + 2);
	ssize_t n = 1;

	*len = 0;
	if (strcmp(c->text, "-")) {
		*len = strlen(c->text);
		if (*len <= TEXT_MAX)
			memcpy(text, c->text, *len);
	} else {
		while (*len <= TEXT_MAX && (n = read(0, text + *len, TEXT_MAX + 1 - *len)) > 0)
			*len += (size_t)n;
	}
	if (n < 0)
		err_set(e, errno, "cannot read standard input: %s", strerror(errno));
	else if (*len > TEXT_MAX)
		err_set(e, E2BIG, "the text has more than 1 MiB");
	else
		return text;
	free(text);
	return NULL;
}

/* How one character is typed; 0: it cannot be. Line ends are Enter, whichever way they are written. */
static unsigned strokes(const struct layout *l, uint32_t ch, struct stroke out[STROKES])
{
	if (ch == '\n' || ch == '\t' || ch == '\b' || ch == 0x1b) {
		out[0] = (struct stroke){ch == '\n' ? KEY_ENTER : ch == '\t' ? KEY_TAB : ch == '\b' ? KEY_BACKSPACE : KEY_ESC, 0};
		return 1;
	}
	return ch < ' ' || ch == 0x7f ? 0 : layout_char(l, ch, out);
}

/* The next character; its length, 0 at the end. What is not UTF-8 is a character that nobody can type. */
static size_t next_char(const char *p, size_t n, uint32_t *ch)
{
	int len = utf8_get(p, n, ch);

	if (len < 0) {
		*ch = 0;
		return 1;
	}
	if (len == 1 && *ch == '\r') {
		*ch = '\n';
		return n > 1 && p[1] == '\n' ? 2 : 1;
	}
	return (size_t)len;
}

/* Which ones cannot be typed, each once, in words; how many there are. */
static unsigned untypable(const struct layout *l, const char *p, size_t n, char *words, size_t room)
{
	struct stroke s[STROKES];
	uint32_t seen[SHOWN], ch;
	unsigned count = 0, shown = 0;
	size_t len, at = 0;

	words[0] = 0;
	for (; (len = next_char(p, n, &ch)); p += len, n -= len) {
		bool known = false;

		if (strokes(l, ch, s))
			continue;
		count++;
		for (unsigned i = 0; i < shown; i++)
			known |= seen[i] == ch;
		if (known || shown == SHOWN)
			continue;
		seen[shown++] = ch;
		if (!ch)
			at += (size_t)snprintf(words + at, room - at, "%sa byte that is not UTF-8", at ? ", " : "");
		else if (ch < ' ' || (ch >= 0x7f && ch < 0xa0))
			at += (size_t)snprintf(words + at, room - at, "%sU+%04X", at ? ", " : "", ch);
		else
			at += (size_t)snprintf(words + at, room - at, "%s'%.*s' (U+%04X)", at ? ", " : "", (int)len, p, ch);
	}
	return count;
}

/* --- keys -------------------------------------------------------------------------------------- */

static void key_event(json_t *list, uint16_t key, int down)
{
	json_array_append_new(list, json_pack("[s,i,i]", "key", (int)key, down));
}

static void stroke_events(json_t *list, const struct stroke *s)
{
	static const struct {
		unsigned mod;
		uint16_t key;
	} mods[] = {{KEYS_CTRL, KEY_LEFTCTRL}, {KEYS_SHIFT, KEY_LEFTSHIFT}, {KEYS_ALT, KEY_LEFTALT}, {KEYS_ALTGR, KEY_RIGHTALT}};

	for (size_t i = 0; i < ARRAY_LEN(mods); i++)
		if (s->mods & mods[i].mod)
			key_event(list, mods[i].key, 1);
	key_event(list, s->key, 1);
	key_event(list, s->key, 0);
	for (size_t i = ARRAY_LEN(mods); i-- > 0;)
		if (s->mods & mods[i].mod)
			key_event(list, mods[i].key, 0);
}

/* All of it, character by character: each is complete in one command, so no key stays down if we are interrupted. */
static int type_all(struct client *k, const struct type_config *c, const struct layout *l, const char *p, size_t n, struct err *e)
{
	const struct timespec delay = {(time_t)(c->delay_ns / 1000000000), (long)(c->delay_ns % 1000000000)};
	const bool show = n > PROGRESS && isatty(2);
	const size_t all = n;
	struct stroke s[STROKES];
	uint32_t ch;
	size_t len;
	int rc = 0;

	for (; !rc && (len = next_char(p, n, &ch)); p += len, n -= len) {
		json_t *list = json_array();
		unsigned m = strokes(l, ch, s);

		for (unsigned i = 0; i < m; i++)
			stroke_events(list, &s[i]);
		if (m)
			rc = client_run(k, "x-input", json_pack("{s:o}", "events", list), NULL, e);
		else
			json_decref(list);
		if (show && all - n >= PROGRESS && (all - n) % PROGRESS < len)
			fprintf(stderr, "\rtyping, %zu %% ", (all - n) * 100 / all);
		if (m)
			nanosleep(&delay, NULL);
	}
	if (show)
		fprintf(stderr, "\r\033[K");
	return rc;
}

static int type_text(const struct type_config *c, struct err *e)
{
	struct client k = {.fd = -1};
	struct layout *l = NULL;
	json_t *about = NULL;
	char words[400], *text = NULL;
	const char *layout = c->layout;
	size_t n = 0;
	int rc = client_open(&k, c->name, e);

	if (!rc && client_run(&k, "x-screen", NULL, &about, e))
		rc = err_prefix(e, "%s", c->name);
	if (!rc && !layout)
		layout = client_text(about, "layout");
	rc = rc ? rc : layout_new(&l, layout, e);
	if (!rc) {
		text = get_text(c, &n, e);
		rc = text ? 0 : -e->code;
	}
	if (!rc && c->enter)
		text[n++] = '\n';
	if (!rc && untypable(l, text, n, words, sizeof words) && !c->skip)
		rc = err_set(e, EINVAL, "the keyboard layout %.40s cannot type %.380s: nothing was typed; --skip leaves that out", layout,
			words);
	if (!rc && type_all(&k, c, l, text, n, e))
		rc = err_prefix(e, "%s", c->name);
	free(text);
	layout_free(l);
	json_decref(about);
	client_close(&k);
	return rc;
}

static int run(int argc, char **argv)
{
	struct type_config c = {.delay_ns = 8000000};
	struct err e = {.code = 0};

	if (opts_parse(opts, &c, argc, argv, set_word, &e)) {
		log_err("type: %s", e.text);
		return CMD_USAGE;
	}
	if (c.common.help) {
		cmd_help_print(&cmd_type);
		return CMD_OK;
	}
	if (!c.text) {
		log_err("type: %s", c.name ? "which text? 'husk type NAME TEXT'; - is standard input"
					   : "on which machine? 'husk type NAME TEXT'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	if (type_text(&c, &e)) {
		log_err("%s", e.text);
		return CMD_FAILED;
	}
	return CMD_OK;
}

const struct cmd cmd_type = {
	"type", "NAME TEXT|- [options]", "type text on a machine's keyboard", run, opts,
	"The text arrives as key strokes, so the guest must have the keyboard layout that husk was told of\n"
	"(--display vnc,layout=de). Line ends are Enter; - reads standard input. If a character cannot\n"
	"be typed with the layout nothing is, and husk says which. Caps Lock must be off.\n"
	"\n"
	"Examples:\n"
	"  husk type web root --enter\n"
	"  husk type web - < script.sh\n"
	"  husk type web 'Grüße' --layout de --delay 50ms\n",
};
