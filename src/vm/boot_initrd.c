/* SPDX-License-Identifier: MIT */
/*
 * The initrd. Linux takes a row of cpio archives, each plain or compressed, with zeros between them
 * (Linux Documentation/driver-api/early-userspace/buffer-format.rst): typically microcode in a
 * plain one, then the rest in a compressed one. Unpacking here is far cheaper than in the guest, so
 * if every part is understood they are unpacked into one row of plain archives, each 4-byte aligned
 * as the kernel wants. Whatever is not understood goes to the guest as it is; only packed data that
 * is damaged is an error, because the kernel could not unpack it either.
 *
 * Unpacked, the initrd is in guest RAM twice for a while (image and files), so it is left packed
 * when more than a third of the memory that the kernel leaves would be needed.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/util.h"
#include "vm/boot-int.h"

enum { CPIO_HEADER = 110, CPIO_FILESIZE = 54, CPIO_NAMESIZE = 94, CPIO_NAME_MAX = 4096 };

static bool hex8(const uint8_t *p, uint64_t *v)
{
	*v = 0;
	for (unsigned i = 0; i < 8; i++) {
		unsigned c = p[i], d;

		if (c >= '0' && c <= '9')
			d = c - '0';
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			d = (c | 0x20) - 'a' + 10;
		else
			return false;
		*v = *v << 4 | d;
	}
	return true;
}

/* Length of the newc archive at p, its trailer included; 0 if it is none or has no proper end. */
static size_t cpio_len(const uint8_t *p, size_t len)
{
	uint64_t off = 0;

	while (off < len && len - off >= CPIO_HEADER) {
		const uint8_t *h = p + off;
		uint64_t filesz, namesz, next;

		if (memcmp(h, "07070", 5) || (h[5] != '1' && h[5] != '2'))
			return 0;
		if (!hex8(h + CPIO_FILESIZE, &filesz) || !hex8(h + CPIO_NAMESIZE, &namesz))
			return 0;
		if (!namesz || namesz > CPIO_NAME_MAX || namesz > len - off - CPIO_HEADER)
			return 0;
		next = align_up(off + CPIO_HEADER + namesz, 4) + filesz;
		if (next > len)
			return 0;
		if (namesz == 11 && !memcmp(h + CPIO_HEADER, "TRAILER!!!", 11))
			return (size_t)min_u64(align_up(next, 4), len);
		off = align_up(next, 4);
	}
	return 0;
}

/* Nothing but archives with zeros between them? */
static bool is_archives(const uint8_t *p, size_t len)
{
	size_t off = 0;

	while (off < len) {
		size_t n;

		if (!p[off]) {
			off++;
			continue;
		}
		n = off % 4 ? 0 : cpio_len(p + off, len - off);
		if (!n)
			return false;
		off += n;
	}
	return true;
}

struct row {
	uint8_t *out;
	size_t cap, len;
	enum boot_packed kind; /* of the last packed part */
};

/* 1: unpacked into w; 0: hand over as it is; or an error. */
static int unpack_row(struct boot *b, struct row *w)
{
	const uint8_t *in = b->c->initrd;
	size_t len = b->c->initrd_len, off = 0;

	while (off < len) {
		enum boot_packed k;
		size_t used, made;
		int rc;

		if (!in[off]) {
			off++;
			continue;
		}
		w->len = align_up(w->len, 4);
		if (w->len > w->cap)
			return 0;
		used = off % 4 ? 0 : cpio_len(in + off, len - off);
		if (used) {
			if (used > w->cap - w->len)
				return 0;
			memcpy(w->out + w->len, in + off, used);
			w->len += used;
			off += used;
			continue;
		}
		k = boot_packed_kind(in + off, len - off);
		if (!boot_packed_known(k))
			return 0;
		rc = boot_unpack(
			k, in + off, len - off, w->out + w->len, w->cap - w->len, &used, &made);
		if (rc == -EBADMSG)
			return err_set(b->e, EBADMSG,
				"initrd: its %s data is damaged or truncated at byte %zu of "
				"%zu: make it again",
				boot_packed_name(k), off + used, len);
		if (rc || !used || !is_archives(w->out + w->len, made))
			return 0;
		w->kind = k;
		w->len += made;
		off += used;
	}
	return w->kind != BOOT_PACK_NONE;
}

static int place(struct boot *b, const uint8_t *p, size_t len, uint64_t floor, uint64_t ceiling)
{
	uint64_t at, end = ceiling;

	floor = align_up(floor, MEM_PAGE);
	ceiling &= ~(uint64_t)(MEM_PAGE - 1);
	at = len > ceiling ? 0 : (ceiling - len) & ~(uint64_t)(MEM_PAGE - 1);
	if (at < floor && end < b->low_end)
		return err_set(b->e, EFBIG,
			"initrd: %zu MiB do not fit below 0x%" PRIx64 ", as this kernel "
			"wants: make it smaller",
			len / (size_t)MIB, end);
	if (at < floor || mem_put(b->m, at, p, len))
		return boot_no_room(b, "initrd", floor + align_up(len, MEM_PAGE));
	b->initrd = at;
	b->initrd_len = len;
	return 0;
}

int boot_initrd_place(struct boot *b, uint64_t floor, uint64_t ceiling)
{
	size_t len = b->c->initrd_len;
	struct row w = {.kind = BOOT_PACK_NONE};
	int rc = 0;

	if (!b->c->initrd)
		return 0;
	if (!len)
		return err_set(b->e, EINVAL,
			"initrd: the file is empty: leave --initrd out or give a cpio archive");
	if (ceiling > floor)
		w.cap = (size_t)(ceiling - floor) / 3 & ~(size_t)(MEM_PAGE - 1);
	if (w.cap) {
		/* Filled on demand; without memory for it the guest unpacks. */
		w.out = mmap(NULL, w.cap, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (w.out != MAP_FAILED)
			rc = unpack_row(b, &w);
	}
	if (rc > 0) {
		snprintf(b->initrd_note, sizeof b->initrd_note,
			"; initrd %" PRIu64 " KiB, %s unpacked to %" PRIu64 " KiB", len / KIB,
			boot_packed_name(w.kind), w.len / KIB);
		rc = place(b, w.out, w.len, floor, ceiling);
	} else if (!rc) {
		snprintf(b->initrd_note, sizeof b->initrd_note, "; initrd %" PRIu64 " KiB",
			len / KIB);
		rc = place(b, b->c->initrd, len, floor, ceiling);
	}
	if (w.cap && w.out != MAP_FAILED)
		munmap(w.out, w.cap);
	return rc;
}
