/* SPDX-License-Identifier: MIT */
/* A zlib stream that goes on over many rectangles. */
#ifndef RFB_DEFLATE_INT_H
#define RFB_DEFLATE_INT_H

#include <stdbool.h>
#include <stddef.h>
#define ZLIB_CONST /* input is const */
#include <zlib.h>

#include "base/buf.h"

struct deflater { /* zeroed: not begun; not to be moved */
	z_stream z;
	bool open;
	int level;
};

void deflater_fini(struct deflater *d);
bool deflater_copy(struct deflater *d, const struct deflater *from); /* d is zeroed */
/*
 * A rectangle's data: a length that deflate_end() fills in. *mark is for it. level: 0 to 9. False from any of these: no memory;
 * out's own failure does not count, deflate_end() looks at it.
 */
bool deflate_begin(struct deflater *d, int level, struct buf *out, size_t *mark);
bool deflate_level(struct deflater *d, int level, struct buf *out); /* from here on */
bool deflate_put(struct deflater *d, const void *p, size_t n, struct buf *out);
bool deflate_end(struct deflater *d, struct buf *out, size_t mark);

#endif
