/* SPDX-License-Identifier: MIT */
/*
 * Tiny kernels of each format, byte by byte, and packed data made by the libraries' other halves.
 * Used by the unit test, and by boot-corpus to write the fuzzer's seeds.
 */
#ifndef TEST_BOOT_CRAFT_H
#define TEST_BOOT_CRAFT_H

#include <stdbool.h>

#include "vm/boot-int.h"

enum { CRAFT_MAX = 4 << 20 };
struct file {
	uint8_t p[CRAFT_MAX];
	size_t len;
};

/* The crafted vmlinux: text with its bss, and data; physical = virtual - 0xffffffff80000000. */
enum {
	VM_TEXT = 0x1000000,
	VM_TEXT_FILE = 0x1000,
	VM_TEXT_MEM = 0x3000,
	VM_DATA = 0x1004000,
	VM_DATA_LEN = 0x800,
	VM_END = VM_DATA + VM_DATA_LEN,
	VM_ENTRY = VM_TEXT + 0x40,
	VM_PVH = VM_TEXT + 0x80,
	VM_TEXT_OFF = 0x1000,
	VM_DATA_OFF = 0x2000,
	VM_LEN = VM_DATA_OFF + VM_DATA_LEN,
	/* places that the relocations patch */
	VM_REL64 = VM_TEXT + 0x100,
	VM_RELINV = VM_TEXT + 0x201,
	VM_REL32 = VM_DATA + 0x302,
};
#define VM_VIRT 0xffffffff80000000ull

enum { WITH_PVH = 1, WITH_RELOCS = 2, WITH_NEW_RELOCS = 4 /* without the inverse list */ };
void craft_vmlinux(struct file *f, unsigned with);
void craft_bzimage(struct file *f, const struct file *vmlinux, enum boot_packed k);
void craft_pack(struct file *f, enum boot_packed k, const uint8_t *p, size_t len); /* appends */
enum { MB_ELF32, MB_ELF64, MB_FLAT };
enum { MB_LOAD = 0x400000, MB_ENTRY = MB_LOAD + 0x40, MB_FILE = 0x2000, MB_MEM = 0x5000 };
void craft_multiboot(struct file *f, int kind);
void craft_cpio(struct file *f, const char *name, size_t body); /* appends an archive of one file */
void craft_add(struct file *f, const void *p, size_t len);

#endif
