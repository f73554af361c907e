/* SPDX-License-Identifier: MIT */
/*
 * Multiboot 1 (Multiboot Specification 0.6.96). The header is in the first 8 KiB; it may carry load
 * addresses itself (the a.out kludge, for flat files), else the file is ELF. Entry is 32-bit
 * protected mode with the magic number in EAX and the information structure in EBX. The initrd is
 * module 0, untouched; what kvm-unit-tests take their environment from.
 *
 * A kernel that starts in real mode is linked low: below 1 MiB it may have what lies between our GDT and the
 * information structure.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "vm/boot-int.h"

#define MB_HEADER_MAGIC 0x1badb002u
#define MB_BOOT_MAGIC   0x2badb002u

enum { MB_SEARCH = 8192 };
enum {
	MBH_ALIGN = 1,
	MBH_MEMORY = 2,
	MBH_VIDEO = 4,
	MBH_MANDATORY = 0xffff,
	MBH_ADDRESSES = 1 << 16
};
enum {
	MBI_MEMORY = 1 << 0,
	MBI_CMDLINE = 1 << 2,
	MBI_MODS = 1 << 3,
	MBI_MMAP = 1 << 6,
	MBI_LOADER = 1 << 9
};

/* Places in BOOT_INFO's page */
enum {
	MBI_SIZE = 88,
	MBI_AT_MODS = BOOT_INFO + 0x80,
	MBI_AT_STRING = BOOT_INFO + 0xa0,
	MBI_AT_LOADER = BOOT_INFO + 0xc0,
	MBI_AT_MMAP = BOOT_INFO + 0x100
};

/* Offset of the header, or -1 */
static long find_header(const uint8_t *p, size_t len)
{
	size_t end = min_u64(len, MB_SEARCH);

	for (size_t i = 0; i + 12 <= end; i += 4)
		if (get_u32(p + i) == MB_HEADER_MAGIC &&
			get_u32(p + i) + get_u32(p + i + 4) + get_u32(p + i + 8) == 0)
			return (long)i;
	return -1;
}

bool boot_multiboot_is(const uint8_t *p, size_t len)
{
	return find_header(p, len) >= 0;
}

static bool place_ok(uint64_t lo, uint64_t hi)
{
	return lo >= BOOT_HIGH || (lo >= BOOT_GDT + MEM_PAGE && hi <= BOOT_INFO);
}

static int no_place(struct boot *b)
{
	return err_set(b->e, ENOEXEC,
		"kernel: wants to be loaded below 1 MiB, but not between 0x%x and 0x%x: give one that is "
		"linked higher",
		BOOT_GDT + MEM_PAGE, BOOT_INFO);
}

/* The a.out kludge: where the file goes is in the header (3.1.3). */
static int load_flat(struct boot *b, size_t at, uint64_t *lo, uint64_t *hi, uint32_t *entry)
{
	const uint8_t *p = b->c->kernel, *h = p + at;
	size_t len = b->c->kernel_len;
	uint64_t header, load, load_end, bss_end, off, n;

	if (len - at < 32)
		goto bad;
	header = get_u32(h + 12);
	load = get_u32(h + 16);
	load_end = get_u32(h + 20);
	bss_end = get_u32(h + 24);
	*entry = get_u32(h + 28);
	if (load > header || header - load > at)
		goto bad;
	off = at - (header - load);
	n = len - off;
	if (load_end) {
		if (load_end < load || load_end - load > n)
			goto bad;
		n = load_end - load;
	}
	bss_end = max_u64(bss_end, load + n);
	if (*entry < load || *entry >= bss_end)
		goto bad;
	if (!place_ok(load, bss_end))
		return no_place(b);
	if (bss_end > b->low_end)
		return boot_no_room(b, "kernel", bss_end + b->c->initrd_len);
	if (mem_put(b->m, load, p + off, n) || mem_zero(b->m, load + n, bss_end - load - n))
		return boot_no_room(b, "kernel", bss_end);
	*lo = load;
	*hi = bss_end;
	return 0;
bad:
	return err_set(b->e, ENOEXEC,
		"kernel: the load addresses in the Multiboot header do not match the file: "
		"it is damaged or truncated; get it again");
}

static int load_elf(struct boot *b, const struct boot_elf *x)
{
	if (!place_ok(x->lo, x->hi))
		return no_place(b);
	if (x->hi > b->low_end)
		return boot_no_room(b, "kernel", x->hi + b->c->initrd_len);
	return boot_elf_load(x, b, 0);
}

/* Behind the kernel, as other loaders do: small kernels think that memory above is theirs to map.
 */
static int put_module(struct boot *b, uint64_t floor)
{
	uint64_t at = align_up(floor, MEM_PAGE);

	if (!b->c->initrd)
		return 0;
	if (at > b->low_end || b->c->initrd_len > b->low_end - at)
		return boot_no_room(b, "initrd", at + b->c->initrd_len);
	if (mem_put(b->m, at, b->c->initrd, b->c->initrd_len))
		return boot_no_room(b, "initrd", at + b->c->initrd_len);
	b->initrd = at;
	b->initrd_len = b->c->initrd_len;
	return 0;
}

static int put_info(struct boot *b)
{
	static const char loader[] = "husk", string[] = "initrd";
	struct boot_map map[BOOT_MAP_MAX];
	unsigned n = boot_memory_map(b, map);
	uint8_t i[MBI_SIZE] = {0}, mmap[BOOT_MAP_MAX * 24], mod[16] = {0};

	put_u32(i + 0, MBI_MEMORY | MBI_CMDLINE | MBI_MODS | MBI_MMAP | MBI_LOADER);
	put_u32(i + 4, BOOT_LOW_END / KIB);
	put_u32(i + 8, (uint32_t)((b->low_end - min_u64(b->low_end, BOOT_HIGH)) / KIB));
	put_u32(i + 16, BOOT_CMDLINE);
	put_u32(i + 20, b->initrd ? 1 : 0);
	put_u32(i + 24, MBI_AT_MODS);
	put_u32(i + 44, 24 * n);
	put_u32(i + 48, MBI_AT_MMAP);
	put_u32(i + 64, MBI_AT_LOADER);
	put_u32(mod, (uint32_t)b->initrd);
	put_u32(mod + 4, (uint32_t)(b->initrd + b->initrd_len));
	put_u32(mod + 8, MBI_AT_STRING);
	for (unsigned k = 0; k < n; k++) {
		put_u32(mmap + 24 * k, 20); /* size of what follows */
		put_u64(mmap + 24 * k + 4, map[k].addr);
		put_u64(mmap + 24 * k + 12, map[k].len);
		put_u32(mmap + 24 * k + 20, map[k].type);
	}
	return mem_put(b->m, BOOT_INFO, i, sizeof i) ||
	       mem_put(b->m, MBI_AT_MODS, mod, sizeof mod) ||
	       mem_put(b->m, MBI_AT_STRING, string, sizeof string) ||
	       mem_put(b->m, MBI_AT_LOADER, loader, sizeof loader) ||
	       mem_put(b->m, MBI_AT_MMAP, mmap, 24 * n);
}

int boot_multiboot_load(struct boot *b, const struct boot_elf *x)
{
	long at = find_header(b->c->kernel, b->c->kernel_len);
	uint32_t flags = get_u32(b->c->kernel + at + 4), entry = 0;
	uint64_t lo = 0, hi = 0;
	int rc;

	/* Video modes are a wish (3.1.4); other bits of the low half must be understood (3.1.2). */
	if (flags & MBH_MANDATORY & ~(MBH_ALIGN | MBH_MEMORY | MBH_VIDEO))
		return err_set(b->e, ENOTSUP,
			"kernel: its Multiboot header demands features 0x%x that husk does "
			"not have: use another build of it",
			flags & MBH_MANDATORY);
	if (flags & MBH_ADDRESSES) {
		rc = load_flat(b, (size_t)at, &lo, &hi, &entry);
	} else if (x) {
		rc = load_elf(b, x);
		lo = x->lo;
		hi = x->hi;
		entry = (uint32_t)x->entry;
	} else {
		return err_set(b->e, ENOEXEC,
			"kernel: a Multiboot header without load addresses in a file that is "
			"no ELF file: get it again");
	}
	/* The first word of the command line is the kernel's name, by GRUB's custom. */
	if (!rc)
		rc = boot_cmdline_put(
			b, *b->c->append ? "kernel " : "kernel", BOOT_CMDLINE_MAX - 1);
	if (!rc)
		rc = put_module(b, max_u64(hi, BOOT_HIGH));
	if (rc)
		return rc;
	if (put_info(b))
		return boot_no_room(b, "kernel", hi);
	boot_enter_32(b, entry, MB_BOOT_MAGIC, BOOT_INFO);
	b->r->format = BOOT_MULTIBOOT;
	snprintf(b->r->note, sizeof b->r->note,
		"Multiboot kernel (%s, %" PRIu64 " KiB at 0x%" PRIx64 ")",
		flags & MBH_ADDRESSES ? "flat"
		: x->is64             ? "ELF64"
				      : "ELF32",
		(hi - lo + KIB - 1) / KIB, lo);
	return 0;
}
