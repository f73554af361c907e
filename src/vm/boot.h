/* SPDX-License-Identifier: MIT */
/*
 * Boot loaders: put a kernel, its command line and initrd into guest RAM and say how CPU 0 starts.
 * Kernel and initrd are the user's files and may be hostile: every length is checked, host memory
 * is bounded by the guest's RAM. Formats:
 *   bzImage     Linux x86 boot protocol >= 2.12, 64-bit entry; the payload (gzip, xz, zstd, lz4, or
 *               none) is unpacked here and its vmlinux ELF loaded directly, with KASLR
 *               (boot_kaslr.c)
 *   ELF         with a PVH note (XEN_ELFNOTE_PHYS32_ENTRY): 32-bit entry, hvm_start_info in EBX
 *   ELF         with a Multiboot 1 header, or a flat file with the a.out kludge: 32-bit entry,
 *               modules
 *   ELF64       vmlinux with neither: 64-bit entry with boot_params in RSI
 */
#ifndef VM_BOOT_H
#define VM_BOOT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/mem.h"
#include "x86/state.h"

enum boot_format { BOOT_BZIMAGE, BOOT_ELF64, BOOT_PVH, BOOT_MULTIBOOT };

struct boot_config {
	const uint8_t *kernel; size_t kernel_len; /* whole file, mapped by the caller */
	const uint8_t *initrd; size_t initrd_len; /* NULL if none. Multiboot: the first module */
	const char *append;                       /* kernel command line; never NULL */
	uint64_t acpi_rsdp;                       /* guest address, 0 if none */
	unsigned ncpus;
	const uint8_t *screen_info;               /* 64 bytes of boot_params; NULL: there is no screen */
};

struct boot_result {
	enum boot_format format;
	char note[256]; /* for the log: "Linux 6.1.0 (bzImage, xz payload, 29 MiB, KASLR)" */
};

/*
 * Loads everything and sets s (made by x86_reset) to the entry state: for Linux 64-bit mode with
 * identity paging and flat segments in a GDT that is in guest RAM; PVH and Multiboot 32-bit
 * protected mode; in all of them MTRRs on, write-back, as firmware leaves them. Errors name the
 * thing and the fix. Uses getrandom(2); may be called again when the machine is reset, RAM needs no
 * clearing for that.
 */
int boot_load(const struct boot_config *c, struct mem *m, struct x86_state *s,
	struct boot_result *r, struct err *e);

#endif
