/* SPDX-License-Identifier: MIT */
/*
 * PVH: the kernel says in an ELF note where it wants to be entered in 32-bit protected mode without
 * paging; EBX points to struct hvm_start_info (xen/include/public/arch-x86/hvm/start_info.h,
 * version 1; entry state in Xen's docs/misc/pvh.pandoc). Linux, FreeBSD, unikernels and firmware
 * have it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "vm/boot-int.h"

#define START_INFO_MAGIC 0x336ec578u

enum { SI_SIZE = 56, SI_MODLIST = BOOT_INFO + 0x40, SI_MEMMAP = BOOT_INFO + 0x100 };

static int put_info(struct boot *b)
{
	struct boot_map map[BOOT_MAP_MAX];
	unsigned n = boot_memory_map(b, map);
	uint8_t si[SI_SIZE] = {0};
	uint64_t mod[4] = {b->initrd, b->initrd_len};

	put_u32(si + 0, START_INFO_MAGIC);
	put_u32(si + 4, 1); /* version */
	put_u32(si + 12, b->initrd ? 1 : 0);
	put_u64(si + 16, b->initrd ? SI_MODLIST : 0);
	put_u64(si + 24, BOOT_CMDLINE);
	put_u64(si + 32, b->c->acpi_rsdp);
	put_u64(si + 40, SI_MEMMAP);
	put_u32(si + 48, n);
	for (unsigned i = 0; i < n; i++) {
		uint64_t entry[3] = {map[i].addr, map[i].len, map[i].type};

		if (mem_put(b->m, SI_MEMMAP + 24 * i, entry, sizeof entry))
			return -EFAULT;
	}
	return mem_put(b->m, SI_MODLIST, mod, sizeof mod) ||
	       mem_put(b->m, BOOT_INFO, si, sizeof si);
}

int boot_pvh_load(struct boot *b, const struct boot_elf *x)
{
	char version[64];
	int rc;

	if (x->lo < BOOT_HIGH)
		return err_set(b->e, ENOEXEC,
			"kernel: wants to be loaded below 1 MiB: give one that is linked "
			"higher");
	if (x->pvh < x->lo || x->pvh >= x->hi)
		return err_set(b->e, ENOEXEC,
			"kernel: its PVH entry 0x%" PRIx64 " is outside of the image: the "
			"file is damaged; get it again",
			x->pvh);
	if (x->hi > b->low_end)
		return boot_no_room(b, "kernel", x->hi + b->c->initrd_len);
	rc = boot_cmdline_put(b, "", BOOT_CMDLINE_MAX - 1);
	if (!rc)
		rc = boot_initrd_place(b, x->hi, b->low_end);
	if (!rc)
		rc = boot_elf_load(x, b, 0);
	if (rc)
		return rc;
	if (put_info(b))
		return boot_no_room(b, "kernel", x->hi);
	boot_enter_32(b, (uint32_t)x->pvh, 0, BOOT_INFO);
	boot_elf_linux_version(x, version, sizeof version);
	b->r->format = BOOT_PVH;
	snprintf(b->r->note, sizeof b->r->note,
		"%s%s (ELF, PVH entry, %" PRIu64 " MiB, no KASLR: linked "
		"addresses)%s",
		*version ? "Linux " : "kernel", version, (x->hi - x->lo + MIB - 1) / MIB,
		b->initrd_note);
	return 0;
}
