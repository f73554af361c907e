/* SPDX-License-Identifier: MIT */
/*
 * The value of --display: "none", or "vnc[=ADDR][,key[=value]]...", written as those in devopt.h are. ADDR is a further place
 * beside the machine's own socket: "unix:PATH", ":N" (127.0.0.1, port 5900 + N), "HOST:PORT" or "[V6]:PORT". A port that anybody
 * could use without a password is refused unless the word "open" is there. Pure but for memory: nothing is opened here.
 */
#ifndef CMD_DISPLAYOPT_H
#define CMD_DISPLAYOPT_H

#include <stdbool.h>

#include "base/err.h"

/* What there is without --display */
#define DISPLAY_DEFAULT "vnc"
enum { DISPLAY_HOST_MAX = 255 };

struct display_config {
	char *text;               /* the words are in here; NULL: nothing was parsed */
	bool vnc;                 /* false: no screen at all, and nothing else here counts */
	const char *path;         /* of "unix:PATH", NULL: none */
	const char *host;         /* of a TCP address, NULL: none; not looked up */
	unsigned port;            /* 0: any that is free */
	const char *password_file, *tls_cert, *tls_key; /* NULL: none; cert and key come together */
	bool tls_anonymous, open, view_only, lossless;
	bool gpu;
	unsigned w, h, heads;
	const char *layout;       /* of the guest's keyboard */
};

/* 0 or -errno with words. Sets all of *c; what it holds is freed by the next. */
int display_parse(const char *s, struct display_config *c, struct err *e);
void display_config_free(struct display_config *c); /* harmless on what is zero */

#endif
