/* SPDX-License-Identifier: MIT */
/* husk screenshot: what is on a machine's screen now, as a PNG file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "cmd/screen_client.h"
#include "display/png.h"

struct shot_config {
	struct cmd_common common;
	const char *name, *file;
	bool one_head;
	unsigned head;
};

static int set_head(void *cfg, const char *v, struct err *e)
{
	struct shot_config *c = cfg;

	c->one_head = true;
	return parse_number(v, 0, SCANOUT_HEADS - 1, &c->head, e);
}

static int set_word(void *cfg, const char *word, struct err *e)
{
	struct shot_config *c = cfg;

	return screen_word(&c->name, &c->file, word, e);
}

static const struct opt opts[] = {
	{"head", 0, "N", set_head, "this head only, the first is 0; default: all, side by side"},
	CMD_OPT_HELP,
	{.name = NULL},
};

/* Which part of the picture was asked for. The framebuffer of early boot counts as head 0. */
static int choose(const struct shot_config *c, const struct display_picture *p, struct rect *r, struct err *e)
{
	*r = (struct rect){0, 0, p->w, p->h};
	if (!c->one_head)
		return 0;
	for (unsigned i = 0; i < p->nheads; i++) {
		if (p->head[i].number != c->head)
			continue;
		*r = p->head[i].place;
		return 0;
	}
	return err_set(e, ENOENT, "%s: nothing is shown on head %u", c->name, c->head);
}

static int take(const struct shot_config *c, const struct display *d, int fd, const char *file, struct err *e)
{
	const struct display_picture *p = display_picture(d);
	struct surface whole, part;
	struct rect r;
	int rc = choose(c, p, &r, e);

	rc = rc ? rc : screen_surface(&whole, p->w, p->h, e);
	if (rc)
		return rc;
	if (!p->nheads)
		log_warn("%s shows nothing: the picture is black", c->name);
	display_read(d, &whole, r);
	part = surface_part(&whole, r);
	rc = png_write(fd, &part, file, e);
	if (!rc && fd != 1 && isatty(1))
		printf("%s: %ux%u\n", file, r.w, r.h);
	free(whole.px);
	return rc;
}

static int shoot(const struct shot_config *c, struct err *e)
{
	const bool out = c->file && !strcmp(c->file, "-");
	struct screen_client s;
	char name[NAME_LEN_MAX + 8];
	const char *file = c->file ? c->file : name;
	int fd = 1, rc;

	snprintf(name, sizeof name, "%s.png", c->name);
	rc = screen_client_open(&s, c->name, e);
	if (!rc && !out) {
		fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0666);
		rc = fd < 0 ? err_set(e, errno, "cannot write to %s: %s", file, strerror(errno)) : 0;
	}
	rc = rc ? rc : take(c, s.display, fd, out ? "standard output" : file, e);
	if (fd > 1 && close(fd) && !rc)
		rc = err_set(e, errno, "cannot write to %s: %s", file, strerror(errno));
	screen_client_close(&s);
	return rc;
}

static int run(int argc, char **argv)
{
	struct shot_config c = {.name = NULL};
	struct err e = {.code = 0};

	if (opts_parse(opts, &c, argc, argv, set_word, &e)) {
		log_err("screenshot: %s", e.text);
		return CMD_USAGE;
	}
	if (c.common.help) {
		cmd_help_print(&cmd_screenshot);
		return CMD_OK;
	}
	if (!c.name) {
		log_err("screenshot: of which machine? 'husk screenshot NAME'; 'husk list' shows the names");
		return CMD_USAGE;
	}
	if (c.file && !strcmp(c.file, "-") && isatty(1)) {
		log_err("screenshot: a terminal cannot show PNG: name a file, or lead the output to one");
		return CMD_USAGE;
	}
	if (shoot(&c, &e)) {
		log_err("%s", e.text);
		return CMD_FAILED;
	}
	return CMD_OK;
}

const struct cmd cmd_screenshot = {
	"screenshot", "NAME [FILE.png|-] [options]", "save what a machine's screen shows as PNG", run, opts,
	"Without FILE it is NAME.png in this directory; - is standard output. The machine must\n"
	"have been started with --display vnc; no viewer needs to be connected.\n"
	"\n"
	"Examples:\n"
	"  husk screenshot web                   web.png\n"
	"  husk screenshot web /tmp/x.png --head 1\n"
	"  husk screenshot web - | ssh host display -\n",
};
