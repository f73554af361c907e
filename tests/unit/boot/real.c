/* SPDX-License-Identifier: MIT */
/*
 * Debian's kernels, if there are any in $HUSK_KERNELS_DIR or .cache/kernels: what boot_load() puts
 * into guest RAM is compared byte by byte with a copy made in another way: unpacked by xz(1) or by
 * the plain decoder below, relocated the way the kernel's decompressor walks the table (backwards,
 * no look at where the ELF file ends).
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "boot-test.h"

enum { MAX_KERNELS = 8 };
static char *kernels[MAX_KERNELS];
static unsigned nkernels;

static int found(const char *path, const struct stat *st, int type, struct FTW *f)
{
	if (type == FTW_F && S_ISREG(st->st_mode) && !strncmp(path + f->base, "vmlinuz", 7) &&
		nkernels < MAX_KERNELS)
		assert((kernels[nkernels++] = strdup(path)));
	return 0;
}

static uint8_t *map_file(const char *path, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p;

	assert(fd >= 0 && !fstat(fd, &st));
	*len = (size_t)st.st_size;
	p = mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0);
	assert(p != MAP_FAILED);
	close(fd);
	return p;
}

/* lz4_Block_format.md, no library */
static size_t plain_lz4(const uint8_t *in, size_t n, uint8_t *out)
{
	const uint8_t *end = in + n;
	uint8_t *o = out;

	while (in < end) {
		unsigned token = *in++;
		size_t lit = token >> 4, match = (token & 15) + 4, off;

		if (lit == 15)
			do
				lit += *in;
			while (*in++ == 255);
		memcpy(o, in, lit);
		in += lit;
		o += lit;
		if (in == end)
			break;
		off = get_u16(in);
		in += 2;
		if (match == 19)
			do
				match += *in;
			while (*in++ == 255);
		while (match--) {
			*o = o[-(ptrdiff_t)off];
			o++;
		}
	}
	return (size_t)(o - out);
}

/* The payload by other means; *len of it. NULL: no tool for it. */
static uint8_t *unpack_otherwise(const uint8_t *p, size_t n, size_t *len)
{
	size_t size = get_u32(p + n - 4), got = 0;
	uint8_t *out = malloc(size + 1);

	assert(out);
	*len = size;
	if (boot_packed_kind(p, n) == BOOT_PACK_LZ4) {
		for (size_t i = 4; i < n - 4; i += 4 + get_u32(p + i))
			got += plain_lz4(p + i + 4, get_u32(p + i), out + got);
	} else if (boot_packed_kind(p, n) == BOOT_PACK_XZ) {
		char in_name[] = "/tmp/husk-boot-XXXXXX", cmd[128];
		int fd = mkstemp(in_name);
		FILE *f;

		assert(fd >= 0 && write(fd, p, n - 4) == (ssize_t)(n - 4));
		close(fd);
		snprintf(cmd, sizeof cmd, "xz -dc <%s", in_name);
		f = popen(cmd, "r");
		assert(f);
		got = fread(out, 1, size + 1, f);
		pclose(f);
		unlink(in_name);
	}
	if (got != size) {
		assert(!got); /* no tool is no failure, a different length is */
		free(out);
		return NULL;
	}
	return out;
}

struct image {
	uint8_t *p; /* [lo, hi) of the link-time physical addresses */
	uint64_t lo, hi, entry;
};

static struct image flatten(const uint8_t *elf)
{
	Elf64_Ehdr h;
	struct image im = {.lo = UINT64_MAX};

	memcpy(&h, elf, sizeof h);
	for (int pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < h.e_phnum; i++) {
			Elf64_Phdr ph;

			memcpy(&ph, elf + h.e_phoff + i * sizeof ph, sizeof ph);
			if (ph.p_type != PT_LOAD)
				continue;
			if (!pass) {
				im.lo = min_u64(im.lo, ph.p_paddr);
				im.hi = max_u64(im.hi, ph.p_paddr + ph.p_memsz);
			} else {
				memcpy(im.p + (ph.p_paddr - im.lo), elf + ph.p_offset, ph.p_filesz);
			}
		}
		if (!pass)
			assert((im.p = calloc(1, im.hi - im.lo)));
	}
	im.entry = h.e_entry;
	return im;
}

/* As handle_relocations() of arch/x86/boot/compressed/misc.c thinks: three lists from the end */
static size_t relocate(struct image *im, const uint8_t *file, size_t len, uint64_t delta)
{
	const uint8_t *r = file + len - 4;
	size_t n = 0;

	for (int list = 0; list < 3; list++, r -= 4)
		for (; get_u32(r); r -= 4, n++) {
			uint64_t at = (uint64_t)(int64_t)(int32_t)get_u32(r) -
				      UINT64_C(0xffffffff80000000);
			uint8_t *p = im->p + (at - im->lo);

			assert(at >= im->lo && at + 8 <= im->hi);
			if (list == 0)
				put_u32(p, get_u32(p) + (uint32_t)delta);
			else if (list == 1)
				put_u32(p, get_u32(p) - (uint32_t)delta);
			else
				put_u64(p, get_u64(p) + delta);
		}
	return n;
}

/* All segments, not the gaps between them: those keep what the RAM held before. */
static void compare(const struct mem *m, const struct image *im, const uint8_t *elf, uint64_t shift)
{
	Elf64_Ehdr h;

	memcpy(&h, elf, sizeof h);
	for (unsigned i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr ph;
		const uint8_t *at;

		memcpy(&ph, elf + h.e_phoff + i * sizeof ph, sizeof ph);
		if (ph.p_type != PT_LOAD)
			continue;
		at = mem_at(m, ph.p_paddr + shift, ph.p_memsz);
		assert(at && !memcmp(at, im->p + (ph.p_paddr - im->lo), ph.p_memsz));
	}
}

static void test_kernel(const char *path)
{
	static const struct {
		const char *append;
		uint64_t phys, virt;
	} cases[] = {
		{"console=ttyS0 nokaslr", 7, 7},
		{"nokaslrx xnokaslr", 17, 100},
		{"", 50, UINT64_MAX},
	};
	size_t len, elf_len;
	uint8_t *k = map_file(path, &len), *elf;
	const uint8_t *payload = k + (k[0x1f1] + 1) * 512 + get_u32(k + 0x248);
	struct mem m;

	assert(!mem_init(&m, 512 * MIB, NULL));
	elf = unpack_otherwise(payload, get_u32(k + 0x24c), &elf_len);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		struct forced f = {.v = {cases[i].phys, cases[i].virt}};
		struct boot_config c = {.kernel = k,
			.kernel_len = len,
			.append = cases[i].append,
			.acpi_rsdp = 0xe0000,
			.ncpus = 1};
		struct boot_random rnd = {forced_get, &f};
		struct boot_result r;
		struct x86_state s = {0};
		struct err e = {0};
		struct image im;
		uint64_t virt, shift;
		bool kaslr = strcmp(cases[i].append, "console=ttyS0 nokaslr") != 0;

		if (boot_load_random(&c, &m, &s, &r, &rnd, &e)) {
			fprintf(stderr, "%s: %s\n", path, e.text);
			abort();
		}
		if (i < 2)
			printf("%s\n", r.note);
		assert(r.format == BOOT_BZIMAGE && strstr(r.note, "Linux 6."));
		assert(!strstr(r.note, "no KASLR") == kaslr);
		check_entry_64(&m, &s);
		check_params(&m, &c);
		if (!elf)
			continue;
		im = flatten(elf);
		shift = s.rip - im.entry;
		virt = 0;
		if (kaslr) {
			uint64_t slots = (GIB - im.hi) / (2 * MIB) + 1;

			virt = cases[i].virt % slots * 2 * MIB;
			assert(shift == cases[i].phys * 2 * MIB);
			assert(relocate(&im, elf, elf_len, virt) > 10000);
		} else {
			assert(!shift);
		}
		compare(&m, &im, elf, shift);
		free(im.p);
	}
	if (!elf)
		printf("%s: no tool to unpack it with, contents not compared\n", path);
	free(elf);
	mem_fini(&m);
	munmap(k, len);
}

unsigned test_real_kernels(void)
{
	const char *dir = getenv("HUSK_KERNELS_DIR"), *root = getenv("HUSK_SOURCE_ROOT");
	char cache[4096];

	snprintf(cache, sizeof cache, "%s/.cache/kernels", root ? root : ".");
	nftw(dir && *dir ? dir : cache, found, 16, FTW_PHYS);
	for (unsigned i = 0; i < nkernels; i++) {
		test_kernel(kernels[i]);
		free(kernels[i]);
	}
	return nkernels;
}
