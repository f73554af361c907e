/* SPDX-License-Identifier: MIT */
/* Which loader takes a kernel file, and what the loaders share: memory map, command line, entry
 * state. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/util.h"
#include "dev/acpi.h"
#include "vm/boot-int.h"

unsigned boot_memory_map(const struct boot *b, struct boot_map map[BOOT_MAP_MAX])
{
	unsigned n = 0;

	map[n++] = (struct boot_map){0, BOOT_LOW_END, BOOT_RAM};
	map[n++] = (struct boot_map){BOOT_LOW_END, 0xa0000 - BOOT_LOW_END, BOOT_RESERVED};
	map[n++] = (struct boot_map){ACPI_RSDP_ADDR, ACPI_AREA_SIZE, BOOT_RESERVED};
	if (b->low_end > BOOT_HIGH)
		map[n++] = (struct boot_map){BOOT_HIGH, b->low_end - BOOT_HIGH, BOOT_RAM};
	map[n++] = (struct boot_map){BOARD_ECAM_BASE, BOARD_ECAM_SIZE, BOOT_RESERVED};
	for (unsigned i = 1; i < b->m->nregions && n < BOOT_MAP_MAX; i++)
		if (!b->m->region[i].framebuffer)
			map[n++] = (struct boot_map){b->m->region[i].gpa, b->m->region[i].len, BOOT_RAM};
	return n;
}

int boot_cmdline_put(struct boot *b, const char *prefix, uint64_t limit)
{
	size_t np = strlen(prefix), n = strlen(b->c->append);

	limit = min_u64(limit, BOOT_CMDLINE_MAX - 1);
	if (np + n > limit)
		return err_set(b->e, E2BIG,
			"kernel command line: %zu characters, this kernel takes %" PRIu64
			": shorten --append",
			n, limit - min_u64(np, limit));
	if (mem_put(b->m, BOOT_CMDLINE, prefix, np) ||
		mem_put(b->m, BOOT_CMDLINE + np, b->c->append, n + 1))
		return boot_no_room(b, "kernel command line", BOOT_CMDLINE + BOOT_CMDLINE_MAX);
	return 0;
}

int boot_no_room(struct boot *b, const char *what, uint64_t end)
{
	uint64_t have = mem_size(b->m), mib = end / MIB + !!(end % MIB);

	if (end > MEM_LOW_MAX)
		return err_set(b->e, ENOMEM,
			"%s: needs memory up to %" PRIu64 " MiB, but a guest has at most "
			"%" PRIu64 " MiB below the PCI window: use a smaller one",
			what, mib, (uint64_t)(MEM_LOW_MAX / MIB));
	/* Room for the kernel to work in, and a round number */
	mib = align_up(mib + mib / 4 + 16, 32);
	return err_set(b->e, ENOMEM,
		"%s: does not fit into %" PRIu64 " MiB of guest memory: use --memory "
		"%" PRIu64 "M or more",
		what, have / MIB, mib);
}

enum { MTRR_WRITE_BACK = 6, MTRR_ENABLE = 1 << 11 };

/* Selectors 0x10 and 0x18 are what the Linux boot protocol wants; the TSS pleases VM entry. */
static void flat_segments(struct boot *b, bool is64)
{
	uint16_t code = X86_SEG_G | (is64 ? X86_SEG_L : X86_SEG_DB) | X86_SEG_P | X86_SEG_S |
			X86_SEG_CODE | X86_SEG_WR | X86_SEG_ACCESSED;
	uint16_t data =
		X86_SEG_G | X86_SEG_DB | X86_SEG_P | X86_SEG_S | X86_SEG_WR | X86_SEG_ACCESSED;
	uint16_t tss = X86_SEG_P | 0xb; /* busy; 32-bit, or 64-bit in long mode */
	uint64_t gdt[6] = {
		[2] = UINT64_C(0x000f00000000ffff) | (uint64_t)code << 40,
		[3] = UINT64_C(0x000f00000000ffff) | (uint64_t)data << 40,
		[4] = UINT64_C(0x67) | (uint64_t)tss << 40,
	};
	struct x86_state *s = b->s;

	mem_put(b->m, BOOT_GDT, gdt, sizeof gdt);
	s->gdt = (struct x86_table){BOOT_GDT, sizeof gdt - 1};
	s->idt = (struct x86_table){0, 0};
	for (unsigned i = 0; i < X86_NSEG; i++)
		s->seg[i] = (struct x86_seg){.limit = UINT32_MAX, .sel = 0x18, .attr = data};
	s->seg[X86_CS].sel = 0x10;
	s->seg[X86_CS].attr = code;
	s->ldt = (struct x86_seg){.sel = 0};
	s->tr = (struct x86_seg){.limit = 0x67, .sel = 0x20, .attr = tss};
	memset(s->gpr, 0, sizeof s->gpr);
	s->rflags = X86_FLAG1;
	s->mtrr_def = MTRR_ENABLE | MTRR_WRITE_BACK; /* what firmware would have done */
	s->mp = X86_MP_RUN;
}

static void identity_pages(struct boot *b)
{
	enum { P = 1, RW = 2, PS = 0x80 };
	uint64_t table[512] = {BOOT_PAGES + 0x1000 + P + RW};

	mem_put(b->m, BOOT_PAGES, table, sizeof table);
	for (unsigned i = 0; i < 4; i++)
		table[i] = BOOT_PAGES + 0x2000 + 0x1000 * i + P + RW;
	mem_put(b->m, BOOT_PAGES + 0x1000, table, sizeof table);
	for (unsigned i = 0; i < 4; i++) {
		for (unsigned j = 0; j < 512; j++)
			table[j] = (512 * i + j) * (2 * MIB) + P + RW + PS;
		mem_put(b->m, BOOT_PAGES + 0x2000 + 0x1000 * i, table, sizeof table);
	}
}

void boot_enter_64(struct boot *b, uint64_t rip, uint64_t rsi)
{
	struct x86_state *s = b->s;

	flat_segments(b, true);
	identity_pages(b);
	s->cr0 = X86_CR0_PG | X86_CR0_NE | X86_CR0_ET | X86_CR0_PE;
	s->cr3 = BOOT_PAGES;
	s->cr4 = X86_CR4_PAE;
	s->efer = X86_EFER_LME | X86_EFER_LMA;
	s->rip = rip;
	s->gpr[X86_RSI] = rsi;
}

void boot_enter_32(struct boot *b, uint32_t eip, uint32_t eax, uint32_t ebx)
{
	struct x86_state *s = b->s;

	flat_segments(b, false);
	s->cr0 = X86_CR0_ET | X86_CR0_PE;
	s->cr3 = 0;
	s->cr4 = 0;
	s->efer = 0;
	s->rip = eip;
	s->gpr[X86_RAX] = eax;
	s->gpr[X86_RBX] = ebx;
}

static uint64_t host_random(void *arg)
{
	uint64_t v;

	(void)arg;
	/* 8 bytes never come short (getrandom(2)); the clock is the fall-back of a forbidden call.
	 */
	if (getrandom(&v, sizeof v, 0) != sizeof v)
		v = now_ns() * UINT64_C(0x9e3779b97f4a7c15);
	return v;
}

/* The first page: interrupt vectors and BIOS data area, where kernels look for the end of low
 * memory. */
static int first_page(struct boot *b)
{
	uint8_t page[MEM_PAGE] = {0};

	put_u16(page + 0x40e, BOOT_LOW_END >> 4);  /* segment of the extended BIOS data area */
	put_u16(page + 0x413, BOOT_LOW_END >> 10); /* KiB of low memory */
	return mem_put(b->m, 0, page, sizeof page);
}

int boot_not_kernel(struct boot *b, const char *what)
{
	return err_set(b->e, ENOEXEC,
		"kernel: %s: give a 64-bit Linux kernel (bzImage, vmlinuz, ELF vmlinux) or "
		"a Multiboot image",
		what);
}

static int unknown_file(struct boot *b)
{
	const uint8_t *p = b->c->kernel;
	size_t len = b->c->kernel_len;
	enum boot_packed k = boot_packed_kind(p, len);

	if (!len)
		return boot_not_kernel(b, "the file is empty");
	if (k != BOOT_PACK_NONE)
		return err_set(b->e, ENOEXEC,
			"kernel: this is %s-compressed data, not an x86 kernel: unpack "
			"it first, or give a bzImage (vmlinuz)",
			boot_packed_name(k));
	if (len >= 6 && !memcmp(p, "07070", 5))
		return boot_not_kernel(b, "this is a cpio archive, perhaps the initrd");
	if (len >= 2 && !memcmp(p, "MZ", 2))
		return boot_not_kernel(
			b, "this is an EFI program without an x86 Linux boot header");
	return boot_not_kernel(b, "the file is none of the known kernel formats");
}

static int load(struct boot *b)
{
	const uint8_t *p = b->c->kernel;
	size_t len = b->c->kernel_len;
	struct boot_elf x;
	int rc;

	if (first_page(b))
		return boot_no_room(b, "machine", 32 * MIB);
	if (boot_bzimage_is(p, len))
		return boot_bzimage_load(b);
	if (!boot_elf_is(p, len))
		return boot_multiboot_is(p, len) ? boot_multiboot_load(b, NULL) : unknown_file(b);
	rc = boot_elf_parse(&x, p, len, b->e);
	if (rc)
		return rc;
	if (x.pvh)
		return boot_pvh_load(b, &x);
	if (boot_multiboot_is(p, len))
		return boot_multiboot_load(b, &x);
	if (x.is64)
		return boot_vmlinux_load(b, &x);
	return boot_not_kernel(
		b, "a 32-bit ELF file with neither a PVH note nor a Multiboot header");
}

int boot_load_random(const struct boot_config *c, struct mem *m, struct x86_state *s,
	struct boot_result *r, const struct boot_random *rnd, struct err *e)
{
	struct boot b = {
		.c = c, .m = m, .s = s, .r = r, .e = e, .rnd = *rnd, .low_end = mem_low_end(m)};

	*r = (struct boot_result){.format = BOOT_BZIMAGE};
	return load(&b);
}

int boot_load(const struct boot_config *c, struct mem *m, struct x86_state *s,
	struct boot_result *r, struct err *e)
{
	return boot_load_random(c, m, s, r, &(struct boot_random){host_random, NULL}, e);
}
