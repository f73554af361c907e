/* SPDX-License-Identifier: MIT */
/*
 * The compressions of Linux kernels and initrds, from memory to memory. The libraries are given the
 * whole input and a bounded output, so hostile input costs at most time linear in both and the
 * window of the format (xz and zstd: limited to UNPACK_WINDOW_LOG).
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#define ZLIB_CONST
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/util.h"
#include "vm/boot-int.h"

/* zstd -22 --ultra, which kernels are packed with, has windows of 128 MiB */
enum { UNPACK_WINDOW_LOG = 27 };

#define LZ4_LEGACY_MAGIC UINT32_C(0x184c2102)
enum { LZ4_LEGACY_BLOCK = 8 << 20 };

static const struct {
	uint8_t magic[6];
	uint8_t len;
	const char *name;
} kinds[] = {
	[BOOT_PACK_NONE] = {{0}, 0, "not"},
	[BOOT_PACK_GZIP] = {{0x1f, 0x8b}, 2, "gzip"},
	[BOOT_PACK_XZ] = {{0xfd, '7', 'z', 'X', 'Z', 0}, 6, "xz"},
	[BOOT_PACK_ZSTD] = {{0x28, 0xb5, 0x2f, 0xfd}, 4, "zstd"},
	[BOOT_PACK_LZ4] = {{0x02, 0x21, 0x4c, 0x18}, 4, "lz4"},
	[BOOT_PACK_BZIP2] = {{'B', 'Z', 'h'}, 3, "bzip2"},
	[BOOT_PACK_LZMA] = {{0x5d, 0, 0}, 3, "lzma"},
	[BOOT_PACK_LZO] = {{0x89, 'L', 'Z', 'O', 0, 0x0d}, 6, "lzo"},
	[BOOT_PACK_LZ4_FRAME] = {{0x04, 0x22, 0x4d, 0x18}, 4, "lz4 frame"},
};

enum boot_packed boot_packed_kind(const uint8_t *p, size_t len)
{
	for (unsigned i = BOOT_PACK_GZIP; i < ARRAY_LEN(kinds); i++)
		if (len >= kinds[i].len && !memcmp(p, kinds[i].magic, kinds[i].len))
			return (enum boot_packed)i;
	return BOOT_PACK_NONE;
}

const char *boot_packed_name(enum boot_packed k)
{
	return kinds[k].name;
}

bool boot_packed_known(enum boot_packed k)
{
	return k >= BOOT_PACK_GZIP && k <= BOOT_PACK_LZ4;
}

static int unpack_gzip(
	const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *used, size_t *made)
{
	z_stream z = {0};
	int rc = inflateInit2(&z, MAX_WBITS + 16);

	if (rc != Z_OK)
		return -ENOMEM;
	/* zlib's lengths are 32-bit */
	do {
		z.next_in = in + *used;
		z.avail_in = (uInt)min_u64(in_len - *used, UINT_MAX);
		z.next_out = out + *made;
		z.avail_out = (uInt)min_u64(out_len - *made, UINT_MAX);
		rc = inflate(&z, Z_NO_FLUSH);
		*used = (size_t)(z.next_in - in);
		*made = (size_t)(z.next_out - out);
	} while (rc == Z_OK); /* progress was made: ends */
	inflateEnd(&z);
	if (rc == Z_STREAM_END)
		return 0;
	if (rc == Z_MEM_ERROR)
		return -ENOMEM;
	return (rc == Z_OK || rc == Z_BUF_ERROR) && *made == out_len ? -ENOSPC : -EBADMSG;
}

static int unpack_xz(
	const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *used, size_t *made)
{
	lzma_stream z = LZMA_STREAM_INIT;
	lzma_ret rc = lzma_stream_decoder(&z, (UINT64_C(1) << UNPACK_WINDOW_LOG) + 16 * MIB, 0);

	if (rc != LZMA_OK)
		return -ENOMEM;
	z.next_in = in;
	z.avail_in = in_len;
	z.next_out = out;
	z.avail_out = out_len;
	do
		rc = lzma_code(&z, LZMA_RUN);
	while (rc == LZMA_OK); /* twice without progress is LZMA_BUF_ERROR */
	*used = in_len - z.avail_in;
	*made = out_len - z.avail_out;
	lzma_end(&z);
	if (rc == LZMA_STREAM_END)
		return 0;
	if (rc == LZMA_MEM_ERROR || rc == LZMA_MEMLIMIT_ERROR)
		return -ENOMEM;
	return rc == LZMA_BUF_ERROR && *made == out_len ? -ENOSPC : -EBADMSG;
}

static int unpack_zstd(
	const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *used, size_t *made)
{
	ZSTD_inBuffer i = {in, in_len, 0};
	ZSTD_outBuffer o = {out, out_len, 0};
	ZSTD_DStream *z = ZSTD_createDStream();
	size_t left;
	int rc = -EBADMSG;

	if (!z)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, UNPACK_WINDOW_LOG);
	for (;;) {
		size_t was_in = i.pos, was_out = o.pos;

		left = ZSTD_decompressStream(z, &o, &i);
		if (ZSTD_isError(left)) {
			if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ||
				ZSTD_getErrorCode(left) == ZSTD_error_frameParameter_windowTooLarge)
				rc = -ENOMEM;
			break;
		}
		if (!left) {
			rc = 0;
			break;
		}
		if (i.pos == was_in && o.pos == was_out) {
			if (o.pos == o.size)
				rc = -ENOSPC;
			break;
		}
	}
	ZSTD_freeDStream(z);
	*used = i.pos;
	*made = o.pos;
	return rc;
}

/*
 * "lz4 -l": a magic number, then blocks of 8 MiB, each behind its packed length in 32 bits. There
 * is no end mark: the data ends where the file does; Linux also stops at a length of 0 (padding).
 */
static int unpack_lz4(
	const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len, size_t *used, size_t *made)
{
	*used = 4;
	while (in_len - *used >= 4) {
		uint32_t n = get_u32(in + *used);
		size_t room = out_len - *made;
		int got;

		if (n == LZ4_LEGACY_MAGIC) { /* another file appended */
			*used += 4;
			continue;
		}
		if (!n)
			return 0;
		if (n > LZ4_COMPRESSBOUND(LZ4_LEGACY_BLOCK) || n > in_len - *used - 4)
			return -EBADMSG;
		got = LZ4_decompress_safe((const char *)in + *used + 4, (char *)out + *made, (int)n,
			(int)min_u64(room, LZ4_LEGACY_BLOCK));
		if (got < 0)
			return room < LZ4_LEGACY_BLOCK ? -ENOSPC : -EBADMSG;
		*used += 4 + n;
		*made += (size_t)got;
	}
	return *used == in_len ? 0 : -EBADMSG;
}

int boot_unpack(enum boot_packed k, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
	size_t *used, size_t *made)
{
	*used = 0;
	*made = 0;
	if (in_len < kinds[k].len)
		return -EBADMSG;
	switch (k) {
	case BOOT_PACK_GZIP:
		return unpack_gzip(in, in_len, out, out_len, used, made);
	case BOOT_PACK_XZ:
		return unpack_xz(in, in_len, out, out_len, used, made);
	case BOOT_PACK_ZSTD:
		return unpack_zstd(in, in_len, out, out_len, used, made);
	case BOOT_PACK_LZ4:
		return unpack_lz4(in, in_len, out, out_len, used, made);
	default:
		return -ENOTSUP;
	}
}
