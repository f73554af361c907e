/* SPDX-License-Identifier: MIT */
/*
 * One viewer. conn.c has its life, its bytes and its updates; conn_msg.c what it says; conn_input.c its keys and its pointer;
 * conn_pseudo.c what it is told beside pixels; share.c with whom it shares its view.
 */
#ifndef RFB_CONN_INT_H
#define RFB_CONN_INT_H

#include <pixman.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/loop.h"
#include "rfb/clipboard.h"
#include "rfb/pace-int.h"
#include "rfb/server.h"
#include "rfb/view-int.h"

enum conn_state {
	CONN_AUTH,    /* up to the result of security */
	CONN_FLUSH,   /* its last plain bytes go out, then TLS begins */
	CONN_TLS,     /* handshake */
	CONN_INIT,    /* ClientInit is next */
	CONN_NORMAL,
	CONN_CLOSING, /* what is to be said goes out, then it ends */
	CONN_CLOSED,  /* everything but the memory is gone */
};

/* What it has listed in SetEncodings, beside the encoding */
enum conn_can {
	CAN_COPYRECT = 1 << 0, CAN_SIZE = 1 << 1, CAN_LAYOUT = 1 << 2, CAN_NAME = 1 << 3, CAN_CURSOR = 1 << 4, CAN_X_CURSOR = 1 << 5,
	CAN_ALPHA_CURSOR = 1 << 6, CAN_POINTER = 1 << 7, CAN_KEYS = 1 << 8, CAN_LED = 1 << 9, CAN_VMWARE_LED = 1 << 10,
	CAN_FENCE = 1 << 11, CAN_CONTINUOUS = 1 << 12, CAN_BUTTONS = 1 << 13, CAN_CLIPBOARD = 1 << 14, CAN_LAST_RECT = 1 << 15,
};

/* Pseudo-rectangles that are to be sent with the next update */
enum conn_due { DUE_LAYOUT = 1, DUE_NAME = 2, DUE_CURSOR = 4, DUE_POINTER = 8, DUE_KEYS = 16, DUE_LED = 32, DUE_BUTTONS = 64 };

enum { CONN_IN = 16 << 10, CONN_KEYS = 768 };

struct rfb_server;
struct rfb_conn {
	struct rfb_server *s;
	struct rfb_conn *next, *grave;
	struct rfb_stream *st;
	struct watch w;
	uint32_t events;                 /* that are watched for */
	enum conn_state state;
	struct timer deadline;           /* of the handshake, of the last words, of an answer about a new size */
	struct timer again;              /* the next update may go, or TLS has bytes left */
	uint64_t number, began_ns;
	char peer[64];
	uint8_t address[16];             /* for the blacklist */
	size_t address_len;
	bool local;
	bool blocked;                    /* its address was when it came: it is told so */
	struct rfb_auth *auth;
	bool tls_x509;
	const char *why;                 /* CLOSING: for the log */

	uint8_t in[CONN_IN];
	size_t in_len;
	bool hold;                       /* the next message waits until the update under way has been encoded */
	struct buf out;
	size_t out_off;                  /* sent already */
	size_t answers;                  /* bytes in out that it has caused by something else than requests for pixels */

	/* conn_msg.c */
	unsigned encodings_left;         /* of SetEncodings */
	struct conn_encodings {
		const struct rfb_encoder_ops *ops;
		int32_t id;
		unsigned can;
		int level, quality;
	} listed, enc;                   /* being read, in force */
	unsigned told;                   /* enum conn_can: extensions that it was told of */
	uint64_t skip;                   /* bytes of a message that are not wanted */
	/* SyncNext: its answer goes out together with what the next message does */
	bool sync, sync_later;
	uint32_t sync_flags;
	uint8_t sync_payload[64];
	unsigned sync_len;

	/* updates */
	struct rfb_format format;
	struct rfb_view *view;           /* maybe not its alone: share.c */
	uint64_t join_ns;                /* does not share before */
	unsigned falls;                  /* how often it has left of late */
	bool missed;                     /* it was not in step when others joined */
	pixman_region32_t asked;         /* by requests that were not answered yet */
	bool asked_any;                  /* there was one, maybe of an empty area: pseudo-rectangles may go */
	bool continuous;
	struct rect continuous_area;
	struct pace pace;
	uint64_t next_ns;                /* not before */
	unsigned due;
	struct rect answered;            /* the layout it was told last */
	unsigned layout_reason, layout_result;
	bool wish_open;                  /* it waits for the answer to SetDesktopSize */
	uint32_t cursor_generation;
	bool cursor_shown;
	bool relative;                   /* it was told so */

	/* conn_input.c */
	uint8_t keys[CONN_KEYS / 8];     /* held */
	unsigned buttons;

	/* clipboard */
	struct rfb_clip clip;
	bool clip_due;                   /* a new text is to be offered when there is room */
	uint32_t cut_length;             /* of the ClientCutText that comes in, as on the wire */
	uint64_t cut_left;               /* bytes of it still to come */
	struct buf cut;

	uint64_t bytes_out, bytes_in, updates;
};

/* conn.c */
struct rfb_conn *conn_new(struct rfb_server *s, struct rfb_stream *st, const struct rfb_auth_config *auth, bool local);
void conn_close(struct rfb_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void conn_free(struct rfb_conn *c);     /* memory of a closed one */
void conn_flush(struct rfb_conn *c);    /* may close it */
void conn_pump(struct rfb_conn *c);     /* sends an update if there is one to be sent, and it may be */
bool conn_busy(const struct rfb_conn *c);
/* After something was added to out that is an answer: flood control. */
void conn_answered(struct rfb_conn *c, size_t before);
void conn_resized(struct rfb_conn *c);
void conn_process(struct rfb_conn *c); /* what has come in */
const char *conn_encoding_name(const struct rfb_conn *c);

/*
 * conn_msg.c: one message at p[0, n). Bytes used; 0: it needs more, or c->hold is set; -EPROTO: it is to be closed, c->why
 * says why.
 */
ssize_t conn_parse(struct rfb_conn *c, const uint8_t *p, size_t n);
void conn_wish_late(struct rfb_conn *c); /* nothing came of its wish for another size */

/* Nothing is on its way to it that must go first. */
bool conn_idle(const struct rfb_conn *c);
bool conn_may_send(struct rfb_conn *c); /* if not, it is pumped when it may */
void conn_view_done(struct rfb_view *v);
void conn_view_wake(struct rfb_view *v);

/* share.c. None while the view is busy, but for the last two. false: it is closed now, if nothing else is said */
void conn_area(const struct rfb_conn *c, pixman_region32_t *area); /* that it has asked for */
void share_own(struct rfb_conn *c, struct rfb_view *v);   /* v is new, and c's alone */
bool share_settle(struct rfb_conn *c);                    /* it has a view with its wishes */
/* It could take an update of area now. false: others could not, it is pumped again. true: view_begin() is for all members */
bool share_ready(struct rfb_conn *c, const pixman_region32_t *area);
bool share_leave(struct rfb_conn *c);                     /* it has a view of its own */
bool share_resize(struct rfb_conn *c, uint32_t w, uint32_t h); /* view_resize(), for it alone; false: no memory */
void share_idle(struct rfb_conn *c);                      /* it waits for something to show */
void share_sent(struct rfb_conn *c);                      /* an update */
void share_close(struct rfb_conn *c);                     /* it has no view */
unsigned share_members(const struct rfb_view *v, struct rfb_conn **m); /* at most RFB_CLIENTS */

/* conn_pseudo.c */
/* All that are due; how many rectangles. None are due then, but the layout, which must not be in an update with pixels. */
unsigned conn_pseudo_put(struct rfb_conn *c, bool pixels, struct buf *out);
void conn_layout_put(struct rfb_conn *c, struct buf *out);     /* (Extended)DesktopSize, one rectangle */
void conn_fence_put(struct buf *out, uint32_t number);          /* one that measures: pace-int.h */
void conn_offers(struct rfb_conn *c, unsigned before);         /* SetEncodings is in force now */

/* conn_input.c */
void conn_key(struct rfb_conn *c, bool down, uint32_t keysym, uint32_t xt);
void conn_pointer(struct rfb_conn *c, unsigned buttons, uint16_t x, uint16_t y);
void conn_release(struct rfb_conn *c);  /* what it holds goes up */

#endif
