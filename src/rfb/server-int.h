/* SPDX-License-Identifier: MIT */
#ifndef RFB_SERVER_INT_H
#define RFB_SERVER_INT_H

#include "rfb/conn-int.h"
#include "rfb/server.h"

struct rfb_server {
	struct rfb_server_config c;
	char *name;
	struct view_env env;
	struct display_sink sink;
	struct rfb_blacklist *blacklist;
	struct listener {
		struct watch w;
		struct rfb_server *s;
		const struct rfb_listener *l;
	} listener[RFB_LISTENERS];
	struct rfb_conn *conns;      /* newest first; closed ones are in graves until nobody can know them any more */
	struct rfb_conn *graves;
	struct timer reaper, pumper, joiner;
	unsigned nconns, nviewers;   /* nviewers: those that are past the handshake */
	uint64_t number;
	/* of the guest */
	bool state_known;
	uint32_t leds;
	enum input_pointer pointer;
	/* what was copied last, and by whom */
	char *clip_text;             /* UTF-8 */
	size_t clip_len;
	uint64_t clip_owner;         /* number of the connection */
	struct input_event batch[INPUT_EVENTS];
	unsigned nbatch;
	struct {
		uint64_t accepted, refused, failed, dropped, bytes_out, bytes_in, keys, moves, protocol_errors, updates, shared;
	} n;
};

void server_input(struct rfb_server *s, struct input_event ev); /* into the batch */
void server_input_flush(struct rfb_server *s);
/* Does another connection hold this key, this button (bit)? */
bool server_key_held(const struct rfb_server *s, const struct rfb_conn *but, unsigned key);
bool server_button_held(const struct rfb_server *s, const struct rfb_conn *but, unsigned button);
void server_gone(struct rfb_server *s, struct rfb_conn *c);     /* c was closed: unlink it, free it later */
void server_viewers(struct rfb_server *s);                      /* counts them again */
/* share.c */
void share_join(struct timer *t);                               /* joiner */
void share_later(struct rfb_server *s);                         /* something was sent: join when it has been quiet */
void server_clipboard(struct rfb_server *s, struct rfb_conn *from, const char *text, size_t len);

#endif
