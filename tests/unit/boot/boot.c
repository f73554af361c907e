/* SPDX-License-Identifier: MIT */
/* Loaders on crafted files of every format: what is in guest RAM, how CPU 0 starts, what errors
 * say. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "boot-test.h"
#include "craft.h"
#include "dev/acpi.h"

static struct mem ram; /* 64 MiB */
static struct file kernel, vmlinux, initrd, plain;
static struct x86_state state;
static struct boot_result result;
static struct err error;

uint64_t forced_get(void *arg)
{
	struct forced *f = arg;

	return f->n < 2 ? f->v[f->n++] : 0x5eed;
}

static int load_into(struct mem *m, const struct file *k, const struct file *i, const char *append,
	uint64_t phys, uint64_t virt)
{
	/* Exact copies on the heap: ASan sees every byte read behind the end. */
	uint8_t *kc = malloc(k->len ? k->len : 1), *ic = i ? malloc(i->len ? i->len : 1) : NULL;
	struct boot_config c = {.kernel = kc,
		.kernel_len = k->len,
		.initrd = ic,
		.initrd_len = i ? i->len : 0,
		.append = append,
		.acpi_rsdp = ACPI_RSDP_ADDR,
		.ncpus = 1};
	struct forced f = {.v = {phys, virt}};
	struct boot_random rnd = {forced_get, &f};
	int rc;

	assert(kc && (ic || !i));
	memcpy(kc, k->p, k->len);
	if (i)
		memcpy(ic, i->p, i->len);
	memset(&state, 0, sizeof state);
	state.cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET; /* as x86_reset() leaves it */
	memset(&error, 0, sizeof error);
	rc = boot_load_random(&c, m, &state, &result, &rnd, &error);
	free(kc);
	free(ic);
	return rc;
}

static void load(const struct file *i, const char *append, uint64_t phys, uint64_t virt)
{
	if (load_into(&ram, &kernel, i, append, phys, virt)) {
		fprintf(stderr, "unexpected: %s\n", error.text);
		abort();
	}
}

static uint64_t peek(const struct mem *m, uint64_t gpa, unsigned n)
{
	uint64_t v = 0;

	assert(!mem_get(m, gpa, &v, n));
	return v;
}

/* The hidden part must be what a load of the selector from the GDT in RAM would give. */
static void check_segment(const struct mem *m, const struct x86_state *s, const struct x86_seg *g)
{
	uint64_t d;
	uint32_t limit;

	assert(g->sel + 7u <= s->gdt.limit);
	d = peek(m, s->gdt.base + g->sel, 8);
	limit = (uint32_t)((d & 0xffff) | (d >> 32 & 0xf0000));
	if (d >> 55 & 1)
		limit = limit << 12 | 0xfff;
	assert(g->limit == limit && g->attr == (d >> 40 & 0xf0ff));
	assert(g->base == ((d >> 16 & 0xffffff) | (d >> 32 & 0xff000000)));
	assert(g->attr & X86_SEG_P);
}

static void check_segments(const struct mem *m, const struct x86_state *s)
{
	for (unsigned i = 0; i < X86_NSEG; i++) {
		check_segment(m, s, &s->seg[i]);
		assert(s->seg[i].base == 0 && s->seg[i].limit == UINT32_MAX);
	}
	check_segment(m, s, &s->tr);
	assert((s->tr.attr & 0x1f) == 0xb && s->tr.limit == 0x67);
	assert(s->rflags == 2 && s->mp == X86_MP_RUN && !s->seg[X86_CS].base);
	assert(!(s->cr0 & (X86_CR0_CD | X86_CR0_NW)) && s->cr0 & X86_CR0_PE);
}

static uint64_t walk(const struct mem *m, uint64_t cr3, uint64_t va)
{
	uint64_t pte = cr3;

	for (int shift = 39; shift >= 21; shift -= 9) {
		pte = peek(m, (pte & ~0xfffull) + 8 * (va >> shift & 511), 8);
		assert((pte & 3) == 3);
		if (shift == 21)
			assert(pte & 0x80);
	}
	return (pte & ~0x1fffffull) | (va & 0x1fffff);
}

void check_entry_64(const struct mem *m, const struct x86_state *s)
{
	static const uint64_t va[] = {
		0, 0x1234, 0x1fffff, 0x200000, 0x3fffffff, 0x40000000, 0xe8000123, 0xffffffff};

	check_segments(m, s);
	assert(s->efer == (X86_EFER_LME | X86_EFER_LMA) && s->cr4 == X86_CR4_PAE &&
		s->cr0 & X86_CR0_PG);
	assert(s->seg[X86_CS].sel == 0x10 && s->seg[X86_DS].sel == 0x18);
	assert((s->seg[X86_CS].attr & (X86_SEG_L | X86_SEG_DB)) == X86_SEG_L);
	for (unsigned i = 0; i < ARRAY_LEN(va); i++)
		assert(walk(m, s->cr3, va[i]) == va[i]);
	assert(walk(m, s->cr3, s->rip) == s->rip);
	assert(s->gpr[X86_RSI] == BOOT_PARAMS);
}

static void check_entry_32(
	const struct mem *m, const struct x86_state *s, uint32_t eip, uint32_t eax)
{
	check_segments(m, s);
	assert(!s->efer && !s->cr4 && !(s->cr0 & X86_CR0_PG));
	assert((s->seg[X86_CS].attr & (X86_SEG_L | X86_SEG_DB)) == X86_SEG_DB);
	assert(s->rip == eip && s->gpr[X86_RAX] == eax && s->gpr[X86_RBX] == BOOT_INFO);
}

/* Rows of (addr, len, type) with the given strides; sorted, apart, and right for the board. */
static void check_map(const struct mem *m, uint64_t at, unsigned n, unsigned stride)
{
	uint64_t end = 0, sum = 0, ecam = 0, acpi = 0;

	assert(n >= 5 && n <= BOOT_MAP_MAX);
	for (unsigned i = 0; i < n; i++, at += stride) {
		uint64_t addr = peek(m, at, 8), len = peek(m, at + 8, 8),
			 type = peek(m, at + 16, 4);

		assert(addr >= end && len && (type == 1 || type == 2));
		end = addr + len;
		if (type == 1) {
			sum += len;
			assert(addr == 0 ? len == BOOT_LOW_END : mem_at(m, addr, len) != NULL);
		}
		ecam += type == 2 && addr == BOARD_ECAM_BASE && len == BOARD_ECAM_SIZE;
		acpi += type == 2 && addr <= ACPI_RSDP_ADDR &&
			end >= ACPI_RSDP_ADDR + ACPI_AREA_SIZE;
	}
	assert(ecam == 1 && acpi == 1 && sum == mem_size(m) - (BOOT_HIGH - BOOT_LOW_END));
}

void check_params(const struct mem *m, const struct boot_config *c)
{
	uint64_t bp = BOOT_PARAMS, seed;

	assert(peek(m, bp + 0x202, 4) == 0x53726448 && peek(m, bp + 0x1fe, 2) == 0xaa55);
	assert(peek(m, bp + 0x070, 8) == c->acpi_rsdp && peek(m, bp + 0x210, 1) == 0xff);
	assert(peek(m, bp + 0x1ef, 1) == 0); /* sentinel */
	assert(!strcmp(mem_at(m, peek(m, bp + 0x228, 4), BOOT_CMDLINE_MAX), c->append));
	for (unsigned i = 0; i < 0x40; i++)
		assert(!peek(m, bp + i, 1)); /* no screen */
	check_map(m, bp + 0x2d0, (unsigned)peek(m, bp + 0x1e8, 1), 20);
	seed = peek(m, bp + 0x250, 8);
	assert(!peek(m, seed, 8) && peek(m, seed + 8, 4) == 9 && peek(m, seed + 12, 4) == 32);
	assert(peek(m, 0x40e, 2) == BOOT_LOW_END >> 4 && peek(m, 0x413, 2) == BOOT_LOW_END >> 10);
}

static void check_linux(const char *append)
{
	struct boot_config c = {.append = append, .acpi_rsdp = ACPI_RSDP_ADDR};

	check_entry_64(&ram, &state);
	check_params(&ram, &c);
}

/* Image of the crafted vmlinux at shift, its three relocated places by delta */
static void check_image(uint64_t shift, uint64_t delta, bool inverse)
{
	uint8_t text[VM_TEXT_MEM] = {0}, data[VM_DATA_LEN], *p;

	memcpy(text, vmlinux.p + VM_TEXT_OFF, VM_TEXT_FILE);
	memcpy(data, vmlinux.p + VM_DATA_OFF, VM_DATA_LEN);
	put_u64(text + (VM_REL64 - VM_TEXT), VM_VIRT + VM_DATA + delta);
	put_u32(text + (VM_RELINV - VM_TEXT), 0x12345678 - (inverse ? (uint32_t)delta : 0));
	put_u32(data + (VM_REL32 - VM_DATA), (uint32_t)(VM_VIRT + VM_TEXT + delta));
	p = mem_at(&ram, VM_TEXT + shift, VM_TEXT_MEM);
	assert(p && !memcmp(p, text, sizeof text));
	p = mem_at(&ram, VM_DATA + shift, VM_DATA_LEN);
	assert(p && !memcmp(p, data, sizeof data));
}

static void test_bzimage(void)
{
	static const enum boot_packed kinds[] = {
		BOOT_PACK_NONE, BOOT_PACK_GZIP, BOOT_PACK_XZ, BOOT_PACK_ZSTD, BOOT_PACK_LZ4};
	char words[64];

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		craft_vmlinux(&vmlinux, WITH_PVH); /* the 64-bit entry goes before the note's */
		craft_bzimage(&kernel, &vmlinux, kinds[i]);
		memset(ram.region[0].host, 0xcc,
			ram.region[0].len); /* a second boot: RAM is not zero */
		load(NULL, "console=ttyS0", 1, 1);
		assert(result.format == BOOT_BZIMAGE && state.rip == VM_ENTRY);
		check_linux("console=ttyS0");
		check_image(0, 0, true);
		assert(!(peek(&ram, BOOT_PARAMS + 0x211, 1) & 2));
		snprintf(words, sizeof words, "Linux 9.8.7-test (bzImage, %s payload, ",
			kinds[i] ? boot_packed_name(kinds[i]) : "plain");
		assert(strstr(result.note, words) &&
			strstr(result.note, "no KASLR: no relocations"));
		assert(!peek(&ram, BOOT_PARAMS + 0x218, 8));
	}
}

static void test_kaslr(void)
{
	/* 64 MiB: the image may end there; 1 GiB of virtual addresses */
	const uint64_t step = 2 * MIB, nphys = (64 * MIB - VM_END) / step + 1,
		       nvirt = (GIB - VM_END) / step + 1;
	static const uint64_t n[] = {0, 1, 2, 11, 22, 23, 24, 503, 504, 505, UINT64_MAX};
	struct boot_config c = {.append = ""};

	for (unsigned with = WITH_RELOCS; with <= WITH_NEW_RELOCS; with *= 2) {
		craft_vmlinux(&vmlinux, with);
		craft_bzimage(&kernel, &vmlinux, BOOT_PACK_LZ4);
		for (unsigned i = 0; i < ARRAY_LEN(n) * ARRAY_LEN(n); i++) {
			uint64_t p = n[i % ARRAY_LEN(n)], v = n[i / ARRAY_LEN(n)],
				 shift = p % nphys * step;

			load(NULL, "quiet", p, v);
			assert(state.rip == VM_ENTRY + shift && VM_END + shift <= 64 * MIB);
			assert(v % nvirt * step + VM_END <= GIB);
			check_image(shift, v % nvirt * step, with == WITH_RELOCS);
			assert(peek(&ram, BOOT_PARAMS + 0x211, 1) & 2 &&
				strstr(result.note, ", KASLR)"));
		}
		check_linux("quiet");
		load(NULL, "quiet nokaslr", 5, 5);
		assert(state.rip == VM_ENTRY && strstr(result.note, "no KASLR: nokaslr given"));
		check_image(0, 0, true);
	}
	/* With the host's own choice: all sorts of places, and never the same for ever */
	c.kernel = kernel.p;
	c.kernel_len = kernel.len;
	for (unsigned i = 0, other = 0; !other; i++) {
		assert(i < 200);
		assert(!boot_load(&c, &ram, &state, &result, &error));
		other = state.rip != VM_ENTRY;
	}
	/* An initrd at the top of RAM is not overwritten */
	memset(initrd.p, 0x77, 3 << 20);
	initrd.len = 3 << 20;
	for (unsigned i = 0; i < 100; i++) {
		load(&initrd, "", i, i);
		assert(!memcmp(mem_at(&ram, peek(&ram, BOOT_PARAMS + 0x218, 4), initrd.len),
			initrd.p, initrd.len));
	}
}

/* The vmlinux by itself, with and without the note */
static void test_elf(void)
{
	craft_vmlinux(&vmlinux, 0);
	craft_vmlinux(&kernel, 0);
	memset(ram.region[0].host, 0xcc, ram.region[0].len);
	load(NULL, "a=b", 3, 3);
	assert(result.format == BOOT_ELF64 && state.rip == VM_ENTRY);
	check_linux("a=b");
	check_image(0, 0, true);
	assert(!strcmp(
		result.note, "Linux 9.8.7-test (ELF vmlinux, 1 MiB, no KASLR: no relocations)"));

	craft_vmlinux(&kernel, WITH_PVH);
	memset(initrd.p, 0x66, 5000);
	initrd.len = 5000;
	memset(ram.region[0].host, 0xcc, ram.region[0].len);
	load(&initrd, "c=d", 3, 3);
	assert(result.format == BOOT_PVH &&
		strstr(result.note, "Linux 9.8.7-test (ELF, PVH entry, 1 MiB, no KASLR"));
	check_entry_32(&ram, &state, VM_PVH, 0);
	check_image(0, 0, true);
	assert(peek(&ram, BOOT_INFO, 4) == 0x336ec578 && peek(&ram, BOOT_INFO + 4, 4) == 1);
	assert(peek(&ram, BOOT_INFO + 12, 4) == 1 &&
		peek(&ram, BOOT_INFO + 32, 8) == ACPI_RSDP_ADDR);
	assert(!strcmp(mem_at(&ram, peek(&ram, BOOT_INFO + 24, 8), 4096), "c=d"));
	check_map(&ram, peek(&ram, BOOT_INFO + 40, 8), (unsigned)peek(&ram, BOOT_INFO + 48, 4), 24);
	{
		uint64_t mod = peek(&ram, BOOT_INFO + 16, 8), at = peek(&ram, mod, 8);

		assert(peek(&ram, mod + 8, 8) == 5000 && !(at & 4095));
		assert(at + 8192 == 64 * MIB && !memcmp(mem_at(&ram, at, 5000), initrd.p, 5000));
	}
	load(NULL, "", 0, 0);
	assert(!peek(&ram, BOOT_INFO + 12, 4) && !peek(&ram, BOOT_INFO + 16, 8));
}

static void test_multiboot(void)
{
	static const char *const names[] = {"ELF32", "ELF64", "flat"};

	strcpy((char *)initrd.p, "NR_CPUS=2\nMEMSIZE=64\n");
	initrd.len = strlen((char *)initrd.p);
	for (int kind = MB_ELF32; kind <= MB_FLAT; kind++) {
		uint32_t off = kind == MB_FLAT ? 0 : 0x1000, mod, i = BOOT_INFO;
		uint8_t *p;

		craft_multiboot(&kernel, kind);
		memset(ram.region[0].host, 0xcc, ram.region[0].len);
		load(&initrd, "arg", 0, 0);
		assert(result.format == BOOT_MULTIBOOT && strstr(result.note, names[kind]));
		check_entry_32(&ram, &state, MB_ENTRY, 0x2badb002);
		p = mem_at(&ram, MB_LOAD, MB_MEM);
		assert(p && !memcmp(p, kernel.p + off, MB_FILE));
		for (unsigned k = MB_FILE; k < MB_MEM; k++)
			assert(!p[k]);
		assert(peek(&ram, i, 4) == (1 | 4 | 8 | 64 | 512));
		assert(peek(&ram, i + 4, 4) == 639 && peek(&ram, i + 8, 4) == 63 * 1024);
		assert(!strcmp(mem_at(&ram, peek(&ram, i + 16, 4), 4096), "kernel arg"));
		assert(peek(&ram, i + 20, 4) == 1);
		mod = (uint32_t)peek(&ram, i + 24, 4);
		assert(peek(&ram, mod, 4) == MB_LOAD + MB_MEM);
		assert(peek(&ram, mod + 4, 4) == MB_LOAD + MB_MEM + initrd.len);
		assert(!memcmp(mem_at(&ram, peek(&ram, mod, 4), initrd.len), initrd.p, initrd.len));
		assert(!strcmp(mem_at(&ram, peek(&ram, mod + 8, 4), 16), "initrd"));
		assert(!strcmp(mem_at(&ram, peek(&ram, i + 64, 4), 16), "husk"));
		for (unsigned k = 0; k < peek(&ram, i + 44, 4); k += 24)
			assert(peek(&ram, peek(&ram, i + 48, 4) + k, 4) == 20);
		check_map(
			&ram, peek(&ram, i + 48, 4) + 4, (unsigned)peek(&ram, i + 44, 4) / 24, 24);
		load(NULL, "", 0, 0);
		assert(!peek(&ram, i + 20, 4));
	}
	/* The a.out kludge's two zeros: the whole file, no bss */
	craft_multiboot(&kernel, MB_FLAT);
	put_u32(kernel.p + 0x20 + 20, 0);
	put_u32(kernel.p + 0x20 + 24, 0);
	load(&initrd, "", 0, 0);
	assert(!memcmp(mem_at(&ram, MB_LOAD, MB_FILE), kernel.p, MB_FILE));
	assert(peek(&ram, peek(&ram, BOOT_INFO + 24, 4), 4) == MB_LOAD + MB_FILE);
}

/* The initrd in RAM is this? */
static bool initrd_is(const struct file *f)
{
	uint64_t at = peek(&ram, BOOT_PARAMS + 0x218, 4), len = peek(&ram, BOOT_PARAMS + 0x21c, 4);
	const uint8_t *p = mem_at(&ram, at, len);

	assert(p && !(at & 4095) && at > VM_END && at + len <= 64 * MIB &&
		at + align_up(len, 4096) == 64 * MIB);
	return len == f->len && !memcmp(p, f->p, len);
}

static void pad(struct file *f, size_t n)
{
	memset(f->p + f->len, 0, n);
	f->len += n;
}

static void test_initrd(void)
{
	static const enum boot_packed kinds[] = {
		BOOT_PACK_GZIP, BOOT_PACK_XZ, BOOT_PACK_ZSTD, BOOT_PACK_LZ4};
	struct file *one = calloc(1, sizeof *one), *want = calloc(1, sizeof *want);

	assert(one && want);
	craft_vmlinux(&vmlinux, 0);
	craft_bzimage(&kernel, &vmlinux, BOOT_PACK_LZ4);

	initrd.len = 0;
	craft_cpio(&initrd, "init", 1001);
	load(&initrd, "", 0, 0);
	assert(initrd_is(&initrd) && strstr(result.note, "; initrd 1 KiB"));

	for (unsigned i = 0; i < ARRAY_LEN(kinds); i++) {
		one->len = initrd.len = want->len = 0;
		craft_cpio(one, "init", 100001);
		craft_pack(&initrd, kinds[i], one->p, one->len);
		load(&initrd, "", 0, 0);
		assert(initrd_is(one) && strstr(result.note, boot_packed_name(kinds[i])));

		/* microcode in a plain archive, zeros, packed; the row stays 4-byte aligned */
		initrd.len = 0;
		craft_cpio(&initrd, "kernel/x86/microcode/GenuineIntel.bin", 3003);
		craft_add(want, initrd.p, initrd.len);
		pad(&initrd, 512);
		craft_pack(&initrd, kinds[i], one->p, one->len);
		pad(&initrd, 13); /* trailing zeros */
		craft_add(want, one->p, one->len);
		load(&initrd, "", 0, 0);
		assert(initrd_is(want));

		/* followed by another one, gzip or plain; lz4's legacy format knows no end: see
		 * below */
		if (kinds[i] == BOOT_PACK_LZ4)
			continue;
		initrd.len = want->len = 0;
		craft_pack(&initrd, kinds[i], one->p, one->len);
		craft_add(want, one->p, one->len);
		pad(want, -want->len % 4);
		one->len = 0;
		craft_cpio(one, "etc/passwd", 77);
		craft_pack(&initrd, BOOT_PACK_GZIP, one->p, one->len);
		craft_add(want, one->p, one->len);
		pad(&initrd, -initrd.len % 4);
		craft_cpio(&initrd, "plain", 5);
		pad(want, -want->len % 4);
		craft_cpio(want, "plain", 5);
		load(&initrd, "", 0, 0);
		assert(initrd_is(want));
	}

	/* A packed part of odd length: the next one is aligned all the same. */
	one->len = initrd.len = want->len = 0;
	craft_cpio(one, "init", 1000);
	pad(one, 2);
	craft_pack(&initrd, BOOT_PACK_XZ, one->p, one->len);
	craft_pack(&initrd, BOOT_PACK_GZIP, one->p, one->len);
	craft_add(want, one->p, one->len);
	pad(want, 2);
	craft_add(want, one->p, one->len);
	load(&initrd, "", 0, 0);
	assert(initrd_is(want));

	/* These go to the guest as they are: unknown tail; */
	one->len = initrd.len = 0;
	craft_cpio(one, "init", 1000);
	craft_pack(&initrd, BOOT_PACK_GZIP, one->p, one->len);
	craft_add(&initrd, "tail", 4);
	load(&initrd, "", 0, 0);
	assert(initrd_is(&initrd));
	/* no archive inside (a RAM disk image); */
	initrd.len = 0;
	craft_pack(&initrd, BOOT_PACK_XZ, ram.region[0].host, 100000);
	load(&initrd, "", 0, 0);
	assert(initrd_is(&initrd));
	/* an archive that is cut off inside; */
	initrd.len = 0;
	craft_pack(&initrd, BOOT_PACK_ZSTD, one->p, one->len - 40);
	load(&initrd, "", 0, 0);
	assert(initrd_is(&initrd));
	/* a plain archive at an odd place; */
	initrd.len = 0;
	craft_pack(&initrd, BOOT_PACK_GZIP, one->p, one->len);
	pad(&initrd, 5 - initrd.len % 4);
	craft_cpio(&initrd, "x", 5);
	load(&initrd, "", 0, 0);
	assert(initrd_is(&initrd));
	/* unpacked it would be larger than a third of the 48 MiB behind the kernel. */
	{
		enum { BIG = 17 << 20 };
		static struct mem roomy;
		uint8_t *big = calloc(1, BIG);

		assert(big && !mem_init(&roomy, 128 * MIB, NULL));
		one->len = 0;
		craft_cpio(one, "zeros", 8);
		memcpy(big, one->p, 116);
		memcpy(big + 54, "010fff00", 8); /* size of the body */
		memcpy(big + 116 + 0x010fff00, one->p + 124, one->len - 124);
		for (unsigned i = 0; i < 3; i++) {
			initrd.len = 0;
			craft_pack(&initrd, kinds[i], big, BIG);
			load(&initrd, "", 0, 0);
			assert(initrd_is(&initrd));
			/* In 128 MiB there is room. */
			assert(!load_into(&roomy, &kernel, &initrd, "", 0, 0));
			assert(strstr(result.note, "unpacked to 17408 KiB"));
		}
		mem_fini(&roomy);
		free(big);
	}
	free(one);
	free(want);
}

/* Loading must fail with this code, in one line that has these words, a colon and advice. */
static void fails(int code, const char *words, const struct file *i, const char *append)
{
	int rc = load_into(&ram, &kernel, i, append, 1, 1);

	if (rc != -code || error.code != code || !strstr(error.text, words) ||
		strchr(error.text, '\n') ||
		(strncmp(error.text, "kernel", 6) && strncmp(error.text, "initrd: ", 8))) {
		fprintf(stderr, "wanted %d and \"%s\", got %d and \"%s\"\n", code, words, -rc,
			error.text);
		abort();
	}
	assert(strchr(strchr(error.text, ':') + 1, ':') || strstr(error.text, "too many") ||
		strstr(error.text, "give") || strstr(error.text, "get it"));
	for (const char *p = error.text; *p; p++)
		assert(isprint((unsigned char)*p));
}

static void kernel_is(const void *p, size_t n)
{
	kernel.len = 0;
	craft_add(&kernel, p, n);
}

static void fresh(unsigned with, enum boot_packed k)
{
	craft_vmlinux(&vmlinux, with);
	craft_bzimage(&kernel, &vmlinux, k);
}

static void test_bad_files(void)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *words;
	} files[] = {
		{"", 0, "empty"},
		{"#!/bin/sh\necho\n", 15, "none of the known"},
		{"\x1f\x8b\x08\0\0", 5, "gzip-compressed"},
		{"BZh9", 4, "bzip2-compressed"},
		{"070701000", 9, "cpio archive"},
		{"MZ\0\0", 4, "EFI program"},
		{"\x7f"
		 "ELF",
			4, "too short"},
		{"\x7f"
		 "ELF\x02\x01",
			6, "cut off"},
		{"\x7f"
		 "ELF\x09\x01",
			6, "unknown class"},
		{"\x7f"
		 "ELF\x02\x02",
			6, "big-endian"},
	};
	uint8_t *self;
	int fd;

	for (unsigned i = 0; i < ARRAY_LEN(files); i++) {
		kernel_is(files[i].bytes, files[i].n);
		fails(ENOEXEC, files[i].words, NULL, "");
	}
	/* An ordinary program: this one */
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	self = mmap(NULL, 64 << 10, PROT_READ, MAP_PRIVATE, fd, 0);
	assert(fd >= 0 && self != MAP_FAILED);
	kernel_is(self, 64);
	fails(ENOEXEC, "no program headers", NULL, "");
	munmap(self, 64 << 10);
	close(fd);
}

static void test_bad_bzimage(void)
{
	static const struct {
		unsigned at, n;
		uint64_t v;
		int code;
		const char *words;
	} edits[] = {
		{0x206, 2, 0x20b, ENOEXEC, "boot protocol 2.11"},
		{0x211, 1, 0, ENOEXEC, "zImage"},
		{0x236, 2, 0x7e, ENOEXEC, "32-bit Linux"},
		{0x24c, 4, 0, ENOEXEC, "no payload"},
		{0x248, 4, 0xfffffff0, ENOEXEC, "truncated"},
		{0x24c, 4, 0xffffffff, ENOEXEC, "truncated"},
		{0x680, 4, 0x39685a42, ENOTSUP, "packed with bzip2"},
		{0x680, 4, 0x0000005d, ENOTSUP, "lzma"},
		{0x680, 6, 0x0d004f5a4c89, ENOTSUP, "lzo"},
		{0x680, 4, 0x184d2204, ENOTSUP, "lz4 frame"},
		{0x680, 4, 0x44332211, ENOTSUP, "begins with 11 22 33 44"},
	};
	static const enum boot_packed kinds[] = {
		BOOT_PACK_GZIP, BOOT_PACK_XZ, BOOT_PACK_ZSTD, BOOT_PACK_LZ4};
	static char words[32];
	static uint8_t noise[8192];

	for (unsigned i = 0; i < ARRAY_LEN(edits); i++) {
		fresh(0, BOOT_PACK_XZ);
		memcpy(kernel.p + edits[i].at, &edits[i].v, edits[i].n);
		fails(edits[i].code, edits[i].words, NULL, "");
	}
	for (unsigned k = 0; k < ARRAY_LEN(kinds); k++) {
		/* Any length: truncated, or too short to be one */
		fresh(WITH_RELOCS, kinds[k]);
		for (size_t n = kernel.len - 1; n >= 0x206; n -= n > 0x300 ? 61 : 1) {
			kernel.len = n;
			fails(ENOEXEC, "truncated", NULL, "");
		}
		/* Damage: the packed formats notice it by their checksums, lz4 by its length */
		fresh(0, kinds[k]);
		snprintf(words, sizeof words, "its %s payload is damaged",
			boot_packed_name(kinds[k]));
		memset(kernel.p + 0x600 + 0x80 + 300, 0xff, 200);
		fails(EBADMSG, words, NULL, "");
		fresh(0, kinds[k]);
		put_u32(kernel.p + kernel.len - 4, VM_LEN + 8);
		fails(EBADMSG, words, NULL, "");
		put_u32(kernel.p + kernel.len - 4, VM_LEN - 8);
		fails(EBADMSG, words, NULL, "");
		put_u32(kernel.p + kernel.len - 4, 0x80000000);
		fails(ENOEXEC, "claims to unpack to 2147483648 bytes", NULL, "");
		put_u32(kernel.p + kernel.len - 4, 0x10000000);
		fails(ENOMEM, "use --memory 384M or more", NULL, "");
	}
	/* Packed rightly, but not an ELF file */
	kernel_is(noise, 0);
	memcpy(vmlinux.p, noise, sizeof noise);
	vmlinux.len = sizeof noise;
	craft_bzimage(&kernel, &vmlinux, BOOT_PACK_ZSTD);
	fails(ENOEXEC, "no ELF file", NULL, "");
	/* Relocations that point out of the image; ones of no known form */
	craft_vmlinux(&vmlinux, WITH_RELOCS);
	put_u32(vmlinux.p + VM_LEN + 4, 0x80000000 + VM_END - 7);
	craft_bzimage(&kernel, &vmlinux, BOOT_PACK_GZIP);
	fails(ENOEXEC, "relocation points out", NULL, "");
	load(NULL, "nokaslr", 1, 1);
	craft_vmlinux(&vmlinux, WITH_RELOCS);
	put_u32(vmlinux.p + VM_LEN, 1);
	craft_bzimage(&kernel, &vmlinux, BOOT_PACK_GZIP);
	load(NULL, "", 1, 1);
	assert(strstr(result.note, "unknown form"));
}

static void test_bad_elf(void)
{
	/* offsets: Ehdr fields; the first program header begins at 64, the second at 120 */
	static const struct {
		unsigned at, n;
		uint64_t v;
		int code;
		const char *words;
	} edits[] = {
		{16, 2, 1, ENOEXEC, "no executable"},
		{18, 2, 183, ENOEXEC, "another CPU (machine 183)"},
		{32, 8, 0x10000, ENOEXEC, "no program headers"},
		{32, 8, UINT64_MAX - 8, ENOEXEC, "no program headers"},
		{54, 2, 32, ENOEXEC, "no program headers"},
		{56, 2, 0, ENOEXEC, "no program headers"},
		{56, 2, 0xffff, ENOEXEC, "no program headers"},
		{24, 8, 0x5000, ENOEXEC, "entry point"},
		{64 + 8, 8, VM_LEN - 8, ENOEXEC, "behind the end"},
		{64 + 8, 8, UINT64_MAX, ENOEXEC, "behind the end"},
		{64 + 32, 8, VM_LEN, ENOEXEC, "behind the end"},
		{64 + 40, 8, 16, ENOEXEC, "absurd sizes"},
		{64 + 40, 8, UINT64_MAX, ENOEXEC, "absurd sizes"},
		{64 + 24, 8, UINT64_MAX - 9, ENOEXEC, "absurd"},
		{64 + 24, 8, VM_DATA - 0x1000, ENOEXEC, "overlap"},
		{64 + 24, 8, 1ull << 40, ENOEXEC, "bare PC"},
		{64 + 40, 8, 1 << 30, ENOEXEC, "overlap"},
		{120 + 40, 8, 0x4000000, ENOMEM, "--memory 128M or more"},
		{120 + 24, 8, 0xf0000000, ENOMEM, "below the PCI window"},
		{176, 4, 7, ENOEXEC, "ordinary program"},
		{176, 4, 3, ENOEXEC, "ordinary program"},
		{64, 4, 0, ENOEXEC, "entry point"},
	};

	for (unsigned i = 0; i < ARRAY_LEN(edits); i++) {
		craft_vmlinux(&kernel, 0);
		memcpy(kernel.p + edits[i].at, &edits[i].v, edits[i].n);
		fails(edits[i].code, edits[i].words, NULL, "");
	}
	craft_vmlinux(&kernel, 0); /* both segments low */
	put_u64(kernel.p + 64 + 24, 0x10000);
	put_u64(kernel.p + 120 + 24, 0x80000);
	put_u64(kernel.p + 24, 0x10040);
	fails(ENOEXEC, "below 1 MiB", NULL, "");
	craft_vmlinux(&kernel, 0);
	put_u32(kernel.p + 64, 0);
	put_u32(kernel.p + 120, 0);
	fails(ENOEXEC, "nothing to load", NULL, "");
	craft_vmlinux(&kernel, WITH_PVH);
	put_u32(kernel.p + 0x400 + 24 + 16, VM_END);
	fails(ENOEXEC, "PVH entry 0x1004800 is outside", NULL, "");
	/* Notes with lengths that lead nowhere: no PVH, but no harm */
	for (unsigned at = 0; at < 12; at += 4)
		for (unsigned bit = 0; bit < 32; bit++) {
			craft_vmlinux(&kernel, WITH_PVH);
			put_u32(kernel.p + 0x400 + at, 1u << bit);
			load(NULL, "", 1, 1);
		}
	/* The descriptor is cut off by the end of the file */
	craft_vmlinux(&kernel, WITH_PVH);
	craft_add(&kernel, kernel.p + 0x400 + 24, 20);
	put_u64(kernel.p + 176 + 8, VM_LEN);
	put_u64(kernel.p + 176 + 32, 20);
	load(NULL, "", 1, 1);
	assert(result.format == BOOT_ELF64);
	put_u32(kernel.p + VM_LEN + 4, 4); /* but this fits */
	load(NULL, "", 1, 1);
	assert(result.format == BOOT_PVH);
	/* More segments than anybody has */
	craft_vmlinux(&kernel, 0);
	put_u16(kernel.p + 56, 40);
	for (unsigned i = 0; i < 40; i++) {
		uint8_t *ph = kernel.p + 64 + 56 * i;

		memset(ph, 0, 56);
		put_u32(ph, 1);
		put_u64(ph + 24, VM_TEXT + 4096 * i);
		put_u64(ph + 40, 4096);
	}
	fails(ENOEXEC, "too many segments", NULL, "");
	/* 32 bits, neither note nor header */
	craft_multiboot(&kernel, MB_ELF32);
	put_u32(kernel.p + 0x1020, 0);
	fails(ENOEXEC, "32-bit ELF file with neither", NULL, "");
}

static void edit_multiboot(unsigned field, uint32_t v)
{
	uint8_t *h = kernel.p + 0x20;

	put_u32(h + 4 * field, v);
	put_u32(h + 8, 0u - 0x1badb002 - get_u32(h + 4));
}

static void test_bad_multiboot(void)
{
	static const struct {
		unsigned field;
		uint32_t v;
		int code;
		const char *words;
	} edits[] = {
		{1, 0x10008, ENOTSUP, "features 0x8"},
		{1, 3, ENOEXEC, "no ELF file"},
		{4, MB_LOAD + 0x21, ENOEXEC, "do not match"},
		{3, MB_LOAD + 0x21, ENOEXEC, "do not match"},
		{3, 0xffffffff, ENOEXEC, "do not match"},
		{5, MB_LOAD + MB_FILE + 1, ENOEXEC, "do not match"},
		{5, MB_LOAD - 1, ENOEXEC, "do not match"},
		{7, MB_LOAD - 1, ENOEXEC, "do not match"},
		{7, MB_LOAD + MB_MEM, ENOEXEC, "do not match"},
		{6, 0x5000000, ENOMEM, "--memory 128M"},
		{6, 0xffffffff, ENOMEM, "below the PCI window"},
	};

	for (unsigned i = 0; i < ARRAY_LEN(edits); i++) {
		craft_multiboot(&kernel, MB_FLAT);
		edit_multiboot(edits[i].field, edits[i].v);
		fails(edits[i].code, edits[i].words, NULL, "");
	}
	craft_multiboot(&kernel, MB_FLAT);
	kernel.len = 0x20 + 31;
	fails(ENOEXEC, "do not match", NULL, "");
	craft_multiboot(&kernel, MB_FLAT);
	edit_multiboot(3, 0x1e820);
	edit_multiboot(4, 0x1e800);
	edit_multiboot(5, 0);
	edit_multiboot(6, BOOT_INFO + 1);
	edit_multiboot(7, 0x1e840);
	fails(ENOEXEC, "below 1 MiB", NULL, "");
	edit_multiboot(3, 0x1020);
	edit_multiboot(4, 0x1000); /* over the GDT */
	edit_multiboot(6, 0x9000);
	edit_multiboot(7, 0x1040);
	fails(ENOEXEC, "below 1 MiB", NULL, "");
	/* The header must be in the first 8 KiB, aligned */
	craft_multiboot(&kernel, MB_FLAT);
	memmove(kernel.p + 2, kernel.p, MB_FILE);
	fails(ENOEXEC, "none of the known", NULL, "");
}

static void test_bad_sizes(void)
{
	static char line[BOOT_CMDLINE_MAX + 8];
	static struct mem small;

	memset(line, 'x', 2047);
	fresh(0, BOOT_PACK_LZ4);
	load(NULL, line, 0, 0);
	check_linux(line);
	line[2047] = 'x';
	fails(E2BIG, "2048 characters, this kernel takes 2047: shorten --append", NULL, line);
	memset(line, 'x', sizeof line - 1);
	put_u32(kernel.p + 0x238, UINT32_MAX);
	fails(E2BIG, "this kernel takes 65535", NULL, line);
	craft_multiboot(&kernel, MB_FLAT);
	fails(E2BIG, "this kernel takes 65528", NULL, line);

	/* initrd */
	fresh(0, BOOT_PACK_LZ4);
	initrd.len = 0;
	fails(EINVAL, "initrd: the file is empty", &initrd, "");
	for (unsigned k = BOOT_PACK_GZIP; k <= BOOT_PACK_ZSTD; k++) {
		plain.len = initrd.len = 0;
		craft_cpio(&plain, "init", 10000);
		craft_pack(&initrd, (enum boot_packed)k, plain.p, plain.len);
		initrd.len -= 20;
		fails(EBADMSG, "is damaged or truncated at byte", &initrd, "");
		craft_pack(&initrd, (enum boot_packed)k, plain.p, plain.len);
		memset(initrd.p + 600, 0x55, 100);
		fails(EBADMSG, "is damaged or truncated at byte", &initrd, "");
	}
	plain.len = initrd.len = 0;
	craft_cpio(&plain, "init", 10000);
	craft_pack(&initrd, BOOT_PACK_LZ4, plain.p, plain.len);
	initrd.len--;
	fails(EBADMSG, "lz4 data is damaged or truncated at byte 4 of", &initrd, "");
	assert(!mem_init(&small, 18 * MIB, NULL));
	memset(initrd.p, 0x42, CRAFT_MAX);
	initrd.len = CRAFT_MAX;
	assert(load_into(&small, &kernel, &initrd, "", 0, 0) == -ENOMEM);
	assert(!strcmp(error.text,
		"initrd: does not fit into 18 MiB of guest memory: use --memory 64M or more"));
	initrd.len = 18 * MIB - align_up(VM_END, 4096);
	assert(!load_into(&small, &kernel, &initrd, "", 7, 7)); /* to the last page */
	initrd.len++;
	assert(load_into(&small, &kernel, &initrd, "", 7, 7) == -ENOMEM);
	craft_multiboot(&kernel, MB_FLAT);
	initrd.len = CRAFT_MAX;
	assert(!load_into(&small, &kernel, &initrd, "", 0, 0));
	mem_fini(&small);
	assert(!mem_init(&small, 6 * MIB, NULL));
	assert(load_into(&small, &kernel, &initrd, "", 0, 0) == -ENOMEM &&
		strstr(error.text, "initrd: does not"));
	fresh(0, BOOT_PACK_LZ4);
	assert(load_into(&small, &kernel, NULL, "", 0, 0) == -ENOMEM);
	assert(!strcmp(error.text,
		"kernel: does not fit into 6 MiB of guest memory: use --memory 64M or more"));
	mem_fini(&small);
	/* The kernel's own limit for the initrd */
	fresh(0, BOOT_PACK_LZ4);
	put_u32(kernel.p + 0x22c, VM_END + 0xffff);
	initrd.len = 100000;
	fails(EFBIG, "as this kernel wants: make it smaller", &initrd, "");
	initrd.len = 10000;
	load(&initrd, "", 50, 50);
	assert(peek(&ram, BOOT_PARAMS + 0x218, 4) < VM_END + 0x10000);
}

/* RAM on both sides of the PCI hole shows in the map; nothing but the low part is used. */
static void test_big_ram(void)
{
	static struct mem big;

	assert(!mem_init(&big, 6 * GIB, NULL));
	fresh(WITH_RELOCS, BOOT_PACK_ZSTD);
	initrd.len = 0;
	craft_cpio(&initrd, "init", 100);
	assert(!load_into(&big, &kernel, &initrd, "", UINT64_MAX, 3));
	check_entry_64(&big, &state);
	check_map(&big, BOOT_PARAMS + 0x2d0, (unsigned)peek(&big, BOOT_PARAMS + 0x1e8, 1), 20);
	assert(peek(&big, BOOT_PARAMS + 0x218, 4) + 4096 == 0x80000000); /* below initrd_addr_max */
	assert(state.rip < 0x80000000);
	mem_fini(&big);
}

int main(void)
{
	assert(!mem_init(&ram, 64 * MIB, NULL));
	test_bzimage();
	test_kaslr();
	test_elf();
	test_multiboot();
	test_initrd();
	test_bad_files();
	test_bad_bzimage();
	test_bad_elf();
	test_bad_multiboot();
	test_bad_sizes();
	test_big_ram();
	mem_fini(&ram);
	if (!test_real_kernels())
		printf("no kernels in $HUSK_KERNELS_DIR or .cache/kernels: that part is not "
		       "tested\n");
	return 0;
}
