/* SPDX-License-Identifier: MIT */
/*
 * What the loaders share. All of them work on one struct boot and write below 1 MiB only what this
 * map says; kernels and initrds go to 1 MiB and up.
 *
 *	0x00000  zeroed; the BIOS data area's two fields about the size of low memory
 *	0x01000  GDT
 *	0x02000  page tables: PML4, PDPT, four page directories of 2 MiB pages (0 to 4 GiB)
 *	0x08000  hvm_start_info and its tables, or Multiboot information and its tables
 *	0x10000  boot_params ("zero page")
 *	0x11000  setup_data: random seed
 *	0x20000  command line, at most 64 KiB
 *	0x9fc00  end of low RAM
 */
#ifndef VM_BOOT_INT_H
#define VM_BOOT_INT_H

#include <stdbool.h>

#include "vm/boot.h"

#define BOOT_GDT         0x01000u
#define BOOT_PAGES       0x02000u
#define BOOT_PARAMS      0x10000u
#define BOOT_SETUP_DATA  0x11000u
#define BOOT_INFO        0x1f000u /* PVH, Multiboot; high, so that small Multiboot kernels fit below */
#define BOOT_CMDLINE     0x20000u
#define BOOT_CMDLINE_MAX 0x10000u /* with its NUL */
#define BOOT_LOW_END     0x9fc00u
#define BOOT_HIGH        0x100000u

enum { BOOT_RAM = 1, BOOT_RESERVED = 2 }; /* e820, PVH and Multiboot agree on the numbers */
enum { BOOT_MAP_MAX = 8 };
struct boot_map {
	uint64_t addr, len;
	uint32_t type;
};

/* Source of random numbers; the tests put in their own to force KASLR's choices. */
struct boot_random {
	uint64_t (*get)(void *arg);
	void *arg;
};

struct boot {
	const struct boot_config *c;
	struct mem *m;
	struct x86_state *s;
	struct boot_result *r;
	struct err *e;
	struct boot_random rnd;
	uint64_t low_end; /* of the RAM that starts at 0 */
	/* where boot_initrd_place() put it, 0 and 0 if there is none */
	uint64_t initrd, initrd_len;
	char initrd_note[80];
};

int boot_load_random(const struct boot_config *c, struct mem *m, struct x86_state *s,
	struct boot_result *r, const struct boot_random *rnd, struct err *e);

/* boot.c */
int boot_not_kernel(struct boot *b, const char *what); /* "kernel: WHAT: give a ..."; -ENOEXEC */
unsigned boot_memory_map(const struct boot *b, struct boot_map map[BOOT_MAP_MAX]);
/* limit: bytes without NUL */
int boot_cmdline_put(struct boot *b, const char *prefix, uint64_t limit);
/* "what" needs RAM up to end: the words say how much --memory would do. Returns -ENOMEM. */
int boot_no_room(struct boot *b, const char *what, uint64_t end);
void boot_enter_64(struct boot *b, uint64_t rip, uint64_t rsi);
void boot_enter_32(struct boot *b, uint32_t eip, uint32_t eax, uint32_t ebx);

/* boot_unpack.c: the compressed formats Linux uses */
enum boot_packed {
	BOOT_PACK_NONE,
	BOOT_PACK_GZIP,
	BOOT_PACK_XZ,
	BOOT_PACK_ZSTD,
	BOOT_PACK_LZ4,
	/* known by name only */
	BOOT_PACK_BZIP2,
	BOOT_PACK_LZMA,
	BOOT_PACK_LZO,
	BOOT_PACK_LZ4_FRAME,
};
enum boot_packed boot_packed_kind(const uint8_t *p, size_t len);
const char *boot_packed_name(enum boot_packed k);
bool boot_packed_known(enum boot_packed k); /* boot_unpack() can do it */
/*
 * Unpacks one stream (gzip member, xz stream, zstd frame, lz4 legacy file) from in to out. *used
 * and *made say how far it came, also on errors: -ENOSPC out is full, -EBADMSG damaged or
 * truncated, -ENOMEM, -ENOTSUP not boot_packed_known().
 */
int boot_unpack(enum boot_packed k, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
	size_t *used, size_t *made);

/* boot_initrd.c */
/*
 * Puts the initrd page aligned as high as possible into [floor, ceiling) of low RAM, unpacked if
 * that is right and fits comfortably; floor is the end of the kernel where it is at the least.
 */
int boot_initrd_place(struct boot *b, uint64_t floor, uint64_t ceiling);

/* boot_elf.c */
struct boot_segment {
	uint64_t off, filesz, vaddr, paddr, memsz;
};
enum { BOOT_ELF_SEGMENTS = 32 };
struct boot_elf {
	const uint8_t *p;
	size_t len;
	bool is64;
	bool program;    /* has what user programs have: PT_INTERP or PT_TLS */
	uint64_t entry;  /* physical */
	uint64_t lo, hi; /* physical extent of all segments, lo < hi */
	uint64_t pvh;    /* entry of the PVH note, 0 if none */
	uint64_t end;    /* of the ELF file proper: what follows was appended */
	unsigned nseg;
	struct boot_segment seg[BOOT_ELF_SEGMENTS];
};
bool boot_elf_is(const uint8_t *p, size_t len);
/* Checks the whole file; after it every segment is inside the file and its numbers do not wrap. */
int boot_elf_parse(struct boot_elf *x, const uint8_t *p, size_t len, struct err *e);
/* Copies the segments to paddr + shift and zeroes the rest of them; the caller has chosen shift so
 * that [lo, hi) + shift is RAM. */
int boot_elf_load(const struct boot_elf *x, struct boot *b, uint64_t shift);
/* The word after "Linux version " in the file, or "". */
void boot_elf_linux_version(const struct boot_elf *x, char *buf, size_t len);

/* boot_kaslr.c */
struct boot_kaslr {
	const uint8_t *table; /* of the appended relocations, as they are in the file */
	size_t n32, ninv, n64;
	const char *why_not; /* words for the note when there is no KASLR, else NULL */
	uint64_t phys_shift, virt_shift;
};
/* Finds the relocations behind the ELF file; sets why_not if there are none that it knows. */
void boot_kaslr_parse(struct boot_kaslr *k, const struct boot_elf *x);
/* Chooses the shifts: physical below ceiling, both multiples of align. */
void boot_kaslr_choose(struct boot_kaslr *k, struct boot *b, const struct boot_elf *x,
	uint64_t align, uint64_t ceiling);
/* After boot_elf_load(): patches the image in guest RAM. */
int boot_kaslr_apply(const struct boot_kaslr *k, struct boot *b, const struct boot_elf *x);

/* boot_linux.c */
bool boot_bzimage_is(const uint8_t *p, size_t len);
int boot_bzimage_load(struct boot *b);
int boot_vmlinux_load(struct boot *b, const struct boot_elf *x);

/* boot_pvh.c */
int boot_pvh_load(struct boot *b, const struct boot_elf *x);

/* boot_multiboot.c */
bool boot_multiboot_is(const uint8_t *p, size_t len);
int boot_multiboot_load(struct boot *b, const struct boot_elf *x); /* x NULL: not an ELF file */

#endif
