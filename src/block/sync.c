/* SPDX-License-Identifier: MIT */
/*
 * A request from beginning to end on the calling thread: what the workers of the thread pool do, and what a lane with
 * io_uring does with the odd ones (direct I/O to or from memory that is not aligned, short reads and writes, file systems
 * that cannot make holes). In pieces of BOUNCE bytes where memory of ours is needed.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/util.h"
#include "block/blk-int.h"

bool sync_wants_bounce(const struct blk *b, const struct blk_req *r)
{
	uintptr_t bits = 0;

	if (unlikely(r->niov > IOV_MAX))
		return true;
	if (likely(!b->memory_mask))
		return false;
	for (int i = 0; i < r->niov; i++)
		bits |= (uintptr_t)r->iov[i].iov_base | r->iov[i].iov_len;
	/* a cut between segments is one between sectors of the device */
	return bits & b->memory_mask || (r->off | r->len) & b->offset_mask;
}

/* The piece at pos: *off is how far it begins in the segment that is returned. */
static const struct iovec *seek(const struct blk_req *r, uint64_t *pos)
{
	const struct iovec *v = r->iov;

	for (; v < r->iov + r->niov && *pos >= v->iov_len; v++)
		*pos -= v->iov_len;
	return v;
}

void sync_gather(const struct blk_req *r, uint64_t pos, uint8_t *to, size_t len)
{
	for (const struct iovec *v = seek(r, &pos); len; v++, pos = 0) {
		size_t k;

		assert(v < r->iov + r->niov);
		k = min_u64(len, v->iov_len - pos);
		memcpy(to, (const uint8_t *)v->iov_base + pos, k);
		to += k;
		len -= k;
	}
}

void sync_scatter(const struct blk_req *r, uint64_t pos, const uint8_t *from, size_t len)
{
	for (const struct iovec *v = seek(r, &pos); len; v++, pos = 0) {
		size_t k;

		assert(v < r->iov + r->niov);
		k = min_u64(len, v->iov_len - pos);
		memcpy((uint8_t *)v->iov_base + pos, from, k);
		from += k;
		len -= k;
	}
}

static int rw(struct blk *b, const struct blk_req *r, uint8_t *bounce)
{
	bool write = r->op == BLK_WRITE;
	int flags = write && r->durable ? RWF_DSYNC : 0, fd = b->fd;
	uint64_t pos = 0;

	/* less than a block of the device: the page cache reads the rest and writes it back */
	if (unlikely((r->off | r->len) & b->offset_mask) && b->buffered_fd >= 0)
		fd = b->buffered_fd;
	while (pos < r->len) {
		bool whole = !pos && !sync_wants_bounce(b, r);
		struct iovec iov = {.iov_base = bounce, .iov_len = min_u64(r->len - pos, BOUNCE)};
		ssize_t n;

		if (!whole && write)
			sync_gather(r, pos, bounce, iov.iov_len);
		if (write)
			n = pwritev2(fd, whole ? r->iov : &iov, whole ? r->niov : 1, (off_t)(r->off + pos), flags);
		else
			n = preadv2(fd, whole ? r->iov : &iov, whole ? r->niov : 1, (off_t)(r->off + pos), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno;
		if ((uint64_t)n < r->len - pos)
			n &= ~(ssize_t)max_u64(SECTOR - 1, b->offset_mask);
		/* the end of the file, which has become shorter than it was */
		if (!n)
			return EIO;
		if (!whole && !write)
			sync_scatter(r, pos, bounce, (size_t)n);
		pos += (uint64_t)n;
	}
	return 0;
}

static int write_zeroes(struct blk *b, const struct blk_req *r, uint8_t *bounce)
{
	memset(bounce, 0, BOUNCE);
	for (uint64_t pos = 0; pos < r->len;) {
		struct iovec iov = {.iov_base = bounce, .iov_len = min_u64(r->len - pos, BOUNCE)};
		struct blk_req piece = {.op = BLK_WRITE, .durable = r->durable, .off = r->off + pos, .len = iov.iov_len,
			.iov = &iov, .niov = 1};
		int err = rw(b, &piece, bounce);

		if (err)
			return err;
		pos += iov.iov_len;
	}
	return 0;
}

/*
 * Holes for discards, and for zeroes that may be holes; else zeroes that keep their room on the disk. On block devices
 * fallocate() makes zeroes, with the device's help.
 */
int sync_fallocate_mode(const struct blk *b, const struct blk_req *r)
{
	bool punch = r->op == BLK_DISCARD || (r->may_unmap && b->discard);

	if (punch && !__atomic_load_n(&b->no_punch, __ATOMIC_RELAXED))
		return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	if (r->op == BLK_ZERO && !__atomic_load_n(&b->no_zero, __ATOMIC_RELAXED))
		return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	return -1;
}

void sync_fallocate_failed(struct blk *b, const struct blk_req *r)
{
	bool punch = sync_fallocate_mode(b, r) == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);

	__atomic_store_n(punch ? &b->no_punch : &b->no_zero, true, __ATOMIC_RELAXED);
}

static int discard_or_zero(struct blk *b, const struct blk_req *r, uint8_t *bounce)
{
	int mode, err = EOPNOTSUPP;

	while ((mode = sync_fallocate_mode(b, r)) >= 0) {
		err = fallocate(b->fd, mode, (off_t)r->off, (off_t)r->len) ? errno : 0;
		if (err == EOPNOTSUPP || err == ENOSYS)
			sync_fallocate_failed(b, r);
		else if (err != EINTR)
			break;
	}
	if (r->op == BLK_ZERO && err) {
		/* a part of a device's block for one (EINVAL); what is really wrong shows again */
		err = write_zeroes(b, r, bounce);
	} else if (r->op == BLK_DISCARD && err) {
		/* a wish, no more (5.2.6.2): not to be able to is no error */
		uint64_t range[2] = {r->off, r->len};

		if (b->block_device && !__atomic_load_n(&b->no_discard, __ATOMIC_RELAXED) &&
			ioctl(b->fd, BLKDISCARD, range) && errno == EOPNOTSUPP)
			__atomic_store_n(&b->no_discard, true, __ATOMIC_RELAXED);
		err = err == EIO || err == ENOSPC ? err : 0;
	}
	if (!err && r->durable)
		err = fdatasync(b->fd) ? errno : 0;
	return err;
}

int sync_request(struct blk *b, const struct blk_req *r, uint8_t *bounce)
{
	if (b->overlay)
		return overlay_request(b->overlay, r, bounce);
	switch (r->op) {
	case BLK_READ:
	case BLK_WRITE:
		return rw(b, r, bounce);
	case BLK_FLUSH:
		return fdatasync(b->fd) ? errno : 0;
	case BLK_DISCARD:
	case BLK_ZERO:
		return discard_or_zero(b, r, bounce);
	}
	return EINVAL;
}
