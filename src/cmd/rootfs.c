/* SPDX-License-Identifier: MIT */
/* UEFI 2.9, 5.2 (MBR) and 5.3 (GPT); type GUIDs: UAPI group, Discoverable Partitions Specification. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/rootfs.h"

enum { SECTOR = 512, GPT_ENTRIES = 128, GPT_ENTRY = 128 };

static const uint8_t linux_root[16] = {0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84,
	0xb7, 0x09}; /* 4f68bce3-e8cd-4db1-96e7-fbcaf984b709 */
static const uint8_t linux_data[16] = {0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47,
	0x7d, 0xe4}; /* 0fc63daf-8483-4772-8e79-3d69d8477de4 */

static bool has(int fd, uint64_t off, const char *magic, size_t len)
{
	char buf[8];

	return pread(fd, buf, len, (off_t)off) == (ssize_t)len && !memcmp(buf, magic, len);
}

static bool whole_file_system(int fd)
{
	return has(fd, 0x438, "\x53\xef", 2) ||        /* ext2, 3, 4 */
		has(fd, 0, "XFSB", 4) || has(fd, 0x10040, "_BHRfS_M", 8) || has(fd, 0, "hsqs", 4) ||
		has(fd, 0x400, "\xe2\xe1\xf5\xe0", 4) || /* erofs */
		has(fd, 0x400, "\x10\x20\xf5\xf2", 4);   /* f2fs */
}

static int gpt(int fd)
{
	uint8_t head[92], entry[GPT_ENTRY];
	unsigned n, size, nroots = 0, nothers = 0;
	int root = -1, other = -1;
	uint64_t lba;

	if (pread(fd, head, sizeof head, SECTOR) != sizeof head || memcmp(head, "EFI PART", 8))
		return -1;
	lba = get_u64(head + 72);
	n = get_u32(head + 80);
	size = get_u32(head + 84);
	if (lba > INT64_MAX / SECTOR / 2 || size < GPT_ENTRY || size > 4096)
		return -1;
	for (unsigned i = 0; i < n && i < GPT_ENTRIES; i++) {
		if (pread(fd, entry, sizeof entry, (off_t)(lba * SECTOR + (uint64_t)i * size)) != sizeof entry)
			break;
		if (!memcmp(entry, linux_root, 16)) {
			root = (int)i + 1;
			nroots++;
		} else if (!memcmp(entry, linux_data, 16)) {
			other = (int)i + 1;
			nothers++;
		}
	}
	if (nroots)
		return nroots == 1 ? root : -1;
	return nothers == 1 ? other : -1;
}

int rootfs_find(int fd)
{
	uint8_t mbr[SECTOR];
	unsigned n = 0, used = 0;
	int found = -1;

	if (pread(fd, mbr, sizeof mbr, 0) != sizeof mbr)
		return -1;
	if (get_u16(mbr + 510) == 0xaa55)
		for (int i = 0; i < 4; i++) {
			const uint8_t *p = mbr + 446 + 16 * i;

			/* code of a boot sector may be there instead of a table */
			if ((p[0] & 0x7f) || !p[4] || !get_u32(p + 12))
				continue;
			used++;
			if (p[4] == 0xee)
				return gpt(fd);
			if (p[4] == 0x83) {
				found = i + 1;
				n++;
			}
		}
	if (used)
		return n == 1 ? found : -1;
	return whole_file_system(fd) ? 0 : -1;
}
