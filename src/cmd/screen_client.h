/* SPDX-License-Identifier: MIT */
/* A machine's screen as commands see it: through the read-only descriptors that x-screen hands out. */
#ifndef CMD_SCREEN_CLIENT_H
#define CMD_SCREEN_CLIENT_H

#include "base/err.h"
#include "base/loop.h"
#include "cmd/client.h"
#include "display/display.h"

struct screen_client {
	struct client client;
	struct loop *loop;
	struct display *display;
	int event; /* of our own: the machine's belongs to husk-vnc */
};

/* Words of a command line: the machine's name, then a file's. 0 or -errno with words */
int screen_word(const char **name, const char **file, const char *word, struct err *e);
/* 0 or -errno with words. On failure, too, screen_client_close() is to be called. */
int screen_client_open(struct screen_client *s, const char *name, struct err *e);
void screen_client_close(struct screen_client *s); /* twice is harmless */
/* Has the display look whether anything has changed; sinks are called when the loop runs. */
void screen_client_look(struct screen_client *s);

/* Pixels of our own; -ENOMEM with words */
int screen_surface(struct surface *s, uint32_t w, uint32_t h, struct err *e);

#endif
