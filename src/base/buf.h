/* SPDX-License-Identifier: MIT */
/*
 * Bytes to be sent: a buffer that grows up to a limit. When there is no memory, or the limit is reached, it remembers that
 * (failed) and takes nothing more, so that a writer checks once at the end.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf { /* zeroed: empty without a limit */
	uint8_t *p;
	size_t len, cap, max; /* max 0: no limit */
	bool failed;
};

void buf_fini(struct buf *b);               /* empty again, memory freed */
void buf_clear(struct buf *b);              /* empty, memory kept */
uint8_t *buf_room(struct buf *b, size_t n); /* n bytes to write at b->p + b->len, not counted yet; NULL: failed */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_drop(struct buf *b, size_t n);     /* the first n bytes */
/* big-endian, as most protocols have it */
void buf_u8(struct buf *b, uint8_t v);
void buf_be16(struct buf *b, uint16_t v);
void buf_be32(struct buf *b, uint32_t v);

#endif
