/* SPDX-License-Identifier: MIT */
/* husk view: opens a viewer on a machine's own socket. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/client.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"

struct view_config {
	struct cmd_common common;
	const char *name;
	bool print;
};

static int set_print(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct view_config *)cfg)->print = true;
	return 0;
}

static int set_name(void *cfg, const char *word, struct err *e)
{
	struct view_config *c = cfg;

	if (c->name)
		return err_set(e, EINVAL, "'%.60s': one machine at a time", word);
	c->name = word;
	return parse_name(word, e);
}

static const struct opt opts[] = {
	{"print", 'p', NULL, set_print, "only show where the screen is, for other viewers"},
	CMD_OPT_HELP,
	{.name = NULL},
};

/* The listeners that husk-vnc has; a new reference. */
static json_t *listeners(const char *name, struct err *e)
{
	struct client k = {.fd = -1};
	json_t *about = NULL, *list = NULL;
	int rc = client_open(&k, name, e);

	if (!rc && client_run(&k, "x-screen", NULL, &about, e))
		err_prefix(e, "%s", name);
	client_close(&k);
	if (about)
		list = json_incref(json_object_get(about, "listeners"));
	json_decref(about);
	return list;
}

static const char *own_socket(const json_t *list)
{
	const char *where = client_text(json_array_get(list, 0), "where");

	return strncmp(where, "unix:", 5) ? NULL : where + 5;
}

/* Where a program is in PATH, and may be run. */
static bool in_path(const char *program)
{
	const char *path = getenv("PATH");
	char file[4096];

	while (path && *path) {
		size_t n = strcspn(path, ":");

		if (snprintf(file, sizeof file, "%.*s/%s", (int)n, path, program) < (int)sizeof file && !access(file, X_OK))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

/* Becomes the viewer; comes back only if there is none. Those of the list take the path of a socket. */
static void become(const char *socket, struct err *e)
{
	static const char *const viewers[] = {"xtigervncviewer", "vncviewer", "gvncviewer"};
	const char *own = getenv("HUSK_VIEWER");
	char command[4096];

	if (own && *own) {
		/* it may have options: the shell takes the words apart, as it does for EDITOR */
		snprintf(command, sizeof command, "exec %.4000s \"$@\"", own);
		execl("/bin/sh", "sh", "-c", command, own, socket, (char *)NULL);
		err_set(e, errno, "cannot start %.200s: %s", own, strerror(errno));
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(viewers); i++) {
		if (!in_path(viewers[i]))
			continue;
		execlp(viewers[i], viewers[i], socket, (char *)NULL);
		err_set(e, errno, "cannot start %s: %s", viewers[i], strerror(errno));
		return;
	}
	err_set(e, ENOENT, "there is no VNC viewer here: install tigervnc-viewer, or name one in HUSK_VIEWER; its argument is the "
		"socket, %.300s", socket);
}

static int view(const struct view_config *c, struct err *e)
{
	json_t *list = listeners(c->name, e), *l;
	const char *socket = list ? own_socket(list) : NULL;
	size_t i;

	if (list && c->print) {
		json_array_foreach(list, i, l) {
			printf("%s\t%s\n", client_text(l, "where"), client_text(l, "for"));
		}
		json_decref(list);
		return 0;
	}
	if (list && !socket)
		err_set(e, EPROTO, "%s: it does not say where its screen is", c->name);
	else if (list && !getenv("DISPLAY") && !getenv("WAYLAND_DISPLAY") && !getenv("HUSK_VIEWER"))
		err_set(e, ENODEV, "there is no graphical desktop here. From where there is one: 'ssh -L 5901:%.200s HOST', and a viewer "
			"on localhost:5901; 'husk screenshot' needs none", socket);
	else if (list)
		become(socket, e);
	json_decref(list);
	return -1;
}

static int run(int argc, char **argv)
{
	struct view_config c = {.name = NULL};
	struct err e = {.code = 0};

	if (opts_parse(opts, &c, argc, argv, set_name, &e)) {
		log_err("view: %s", e.text);
		return CMD_USAGE;
	}
	if (c.common.help) {
		cmd_help_print(&cmd_view);
		return CMD_OK;
	}
	if (!c.name) {
		log_err("view: which machine? 'husk view NAME'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	if (view(&c, &e)) {
		log_err("%s", e.text);
		return CMD_FAILED;
	}
	return CMD_OK;
}

const struct cmd cmd_view = {
	"view", "NAME [options]", "open a viewer on a machine's screen", run, opts,
	"The machine must have been started with --display vnc. The viewer is the command in HUSK_VIEWER,\n"
	"which gets the path of a socket as its last argument, or TigerVNC's, or gvncviewer.\n"
	"On a host without a desktop, lead the socket to where there is one:\n"
	"\n"
	"  ssh -L 5901:/run/user/1000/husk/web/rfb HOST     the path is that of 'husk view web --print'\n"
	"  vncviewer localhost:5901\n",
};
