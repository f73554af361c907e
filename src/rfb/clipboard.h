/* SPDX-License-Identifier: MIT */
/*
 * ClientCutText and ServerCutText: the classic ones, Latin-1, and the extended clipboard (rfbproto.rst "Extended Clipboard
 * Pseudo-Encoding"), of which text is used. Pure: bytes in, bytes out. Inside, text is valid UTF-8 with LF at line ends and no
 * NUL; on the wire it is what the message wants.
 *
 * Who passes text on to other viewers compares it with what it has first: a viewer that is given a text tends to say that
 * its clipboard has changed.
 */
#ifndef RFB_CLIPBOARD_H
#define RFB_CLIPBOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum {
	RFB_CLIP_TEXT_MAX = 1 << 20,                        /* of text inside; longer ones are dropped, in both directions */
	RFB_CLIP_BODY_MAX = RFB_CLIP_TEXT_MAX + (64 << 10), /* of a message that is looked at */
};

struct rfb_clip { /* of one peer; zeroed: has the classic messages only */
	bool extended;
	uint32_t can;  /* the flags of its caps: formats and actions it takes */
	uint32_t size; /* of text, on the wire, that it takes without having asked */
	bool provided; /* has got the text that was offered last */
};

/*
 * The peer's SetEncodings has RFB_EXTENDED_CLIPBOARD: says what we can. To be called each time that it does; when one has it no
 * longer, the struct is zeroed.
 */
void rfb_clip_extend(struct rfb_clip *c, struct buf *out);

/*
 * length is that of a ClientCutText, as on the wire. Returns how many bytes follow; *skip: they are too many, to be dropped as
 * they come. -EPROTO: no such message exists, close.
 */
int64_t rfb_clip_length(const struct rfb_clip *c, uint32_t length, bool *skip);

/*
 * Takes a whole ClientCutText whose length was not to be skipped; body is as long as rfb_clip_length() said. ours[0, n): what may
 * be asked for, the text that was offered last; n 0: none. Answers go to out. 1: text, which is emptied before and needs no more
 * room than RFB_CLIP_TEXT_MAX, has a new text, maybe an empty one; 0: nothing new; -EPROTO: close; -ENOMEM.
 *
 * A request of a few bytes is answered by up to RFB_CLIP_BODY_MAX bytes: who has much of out to read already is not to be
 * listened to.
 */
int rfb_clip_receive(struct rfb_clip *c, uint32_t length, const uint8_t *body, const char *ours, size_t n, struct buf *text,
	struct buf *out);

/* There is a new text for the peer: sends it, or says that there is one. n 0: there is none any more. */
void rfb_clip_offer(struct rfb_clip *c, const char *text, size_t n, struct buf *out);

#endif
