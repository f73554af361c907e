/* SPDX-License-Identifier: MIT */
#include "rfb/deflate-int.h"

#include "base/util.h"

enum { ROOM = 4096, WINDOW_BITS = 15, MEM_LEVEL = 9 };

void deflater_fini(struct deflater *d)
{
	if (d->open)
		deflateEnd(&d->z);
	*d = (struct deflater){0};
}

bool deflater_copy(struct deflater *d, const struct deflater *from)
{
	if (!from->open)
		return true;
	/* deflateCopy() writes nothing to its source; its type is older than that thought */
	if (deflateCopy(&d->z, (z_stream *)(uintptr_t)&from->z) != Z_OK)
		return false;
	d->open = true;
	d->level = from->level;
	return true;
}

/* Lets deflate() write straight into out; what it has written is counted by written(). */
static bool room(struct deflater *d, struct buf *out)
{
	uint8_t *p = buf_room(out, ROOM);

	if (!p)
		return false;
	d->z.next_out = p;
	d->z.avail_out = ROOM;
	return true;
}

static void written(struct deflater *d, struct buf *out)
{
	out->len += ROOM - d->z.avail_out;
}

bool deflate_level(struct deflater *d, int level, struct buf *out)
{
	int rc;

	if (level == d->level)
		return true;
	d->level = level;
	d->z.next_in = NULL;
	d->z.avail_in = 0;
	do { /* what was put so far is compressed as it was meant to be; Z_BUF_ERROR: there is more of it */
		if (!room(d, out))
			return false;
		rc = deflateParams(&d->z, level, Z_DEFAULT_STRATEGY);
		written(d, out);
	} while (rc == Z_BUF_ERROR && !d->z.avail_out);
	return rc == Z_OK;
}

bool deflate_begin(struct deflater *d, int level, struct buf *out, size_t *mark)
{
	*mark = out->len;
	buf_be32(out, 0);
	if (d->open)
		return deflate_level(d, level, out);
	d->z = (z_stream){0};
	if (deflateInit2(&d->z, level, Z_DEFLATED, WINDOW_BITS, MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	d->open = true;
	d->level = level;
	return true;
}

static bool run(struct deflater *d, int flush, struct buf *out)
{
	do {
		if (!room(d, out))
			return false;
		deflate(&d->z, flush); /* its only error here, Z_BUF_ERROR, means that there is nothing to do */
		written(d, out);
	} while (!d->z.avail_out);
	return true;
}

bool deflate_put(struct deflater *d, const void *p, size_t n, struct buf *out)
{
	d->z.next_in = p;
	d->z.avail_in = (uInt)n;
	return run(d, Z_NO_FLUSH, out);
}

bool deflate_end(struct deflater *d, struct buf *out, size_t mark)
{
	size_t len;

	d->z.next_in = NULL;
	d->z.avail_in = 0;
	if (!run(d, Z_SYNC_FLUSH, out) || out->failed)
		return false;
	len = out->len - mark - 4;
	if (len > UINT32_MAX)
		return false;
	put_u32(out->p + mark, __builtin_bswap32((uint32_t)len));
	return true;
}
