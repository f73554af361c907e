/* SPDX-License-Identifier: MIT */
/*
 * ELF kernels (System V ABI, chapters 4 and 5; gABI "Program Header"): 32 and 64 bits, little
 * endian, x86. boot_elf_parse() copies what matters of the headers and checks all of it once; the
 * loaders then use the numbers without looking back at the file.
 */
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vm/boot-int.h"

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18 }; /* xen/include/public/elfnote.h */

bool boot_elf_is(const uint8_t *p, size_t len)
{
	return len >= SELFMAG && !memcmp(p, ELFMAG, SELFMAG);
}

/* The fields of the two classes in one shape. */
struct ehdr {
	uint16_t type, machine, phentsize, phnum, shentsize, shnum;
	uint64_t entry, phoff, shoff;
};
struct phdr {
	uint32_t type;
	uint64_t off, vaddr, paddr, filesz, memsz, align;
};

static bool inside(uint64_t off, uint64_t n, uint64_t len)
{
	return off <= len && n <= len - off;
}

static bool read_ehdr(struct ehdr *h, bool is64, const uint8_t *p, size_t len)
{
	union {
		Elf64_Ehdr h64;
		Elf32_Ehdr h32;
	} u;

	if (len < (is64 ? sizeof u.h64 : sizeof u.h32))
		return false;
	memcpy(&u, p, is64 ? sizeof u.h64 : sizeof u.h32);
#define EHDR(x)                                                                                    \
	(struct ehdr){x.e_type, x.e_machine, x.e_phentsize, x.e_phnum, x.e_shentsize, x.e_shnum,   \
		x.e_entry, x.e_phoff, x.e_shoff}
	*h = is64 ? EHDR(u.h64) : EHDR(u.h32);
#undef EHDR
	return true;
}

static struct phdr read_phdr(bool is64, const uint8_t *p)
{
	if (is64) {
		Elf64_Phdr h;

		memcpy(&h, p, sizeof h);
		return (struct phdr){h.p_type, h.p_offset, h.p_vaddr, h.p_paddr, h.p_filesz,
			h.p_memsz, h.p_align};
	} else {
		Elf32_Phdr h;

		memcpy(&h, p, sizeof h);
		return (struct phdr){h.p_type, h.p_offset, h.p_vaddr, h.p_paddr, h.p_filesz,
			h.p_memsz, h.p_align};
	}
}

/* Notes: three words, then name and descriptor, each padded to 4 bytes (or 8 where p_align says
 * so). */
static uint64_t find_pvh(const uint8_t *p, uint64_t len, uint64_t align)
{
	uint64_t pad = align == 8 ? 8 : 4;

	while (len >= 12) {
		uint64_t namesz = get_u32(p), descsz = get_u32(p + 4), type = get_u32(p + 8);
		uint64_t desc = align_up(12 + namesz, pad), next = align_up(desc + descsz, pad);

		if (!inside(desc, descsz, len))
			break;
		if (type == XEN_ELFNOTE_PHYS32_ENTRY && namesz == 4 && !memcmp(p + 12, "Xen", 4) &&
			(descsz == 4 || descsz == 8))
			return descsz == 4 ? get_u32(p + desc) : get_u64(p + desc);
		if (next > len)
			break;
		p += next;
		len -= next;
	}
	return 0;
}

/* End of the file proper: headers, segments and sections. */
static uint64_t file_end(const struct boot_elf *x, const struct ehdr *h)
{
	uint64_t end = h->phoff + (uint64_t)h->phnum * h->phentsize;

	for (unsigned i = 0; i < x->nseg; i++)
		end = max_u64(end, x->seg[i].off + x->seg[i].filesz);
	if (h->shentsize != (x->is64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr)) ||
		!inside(h->shoff, (uint64_t)h->shnum * h->shentsize, x->len))
		return end;
	end = max_u64(end, h->shoff + (uint64_t)h->shnum * h->shentsize);
	for (unsigned i = 0; i < h->shnum && x->is64; i++) {
		Elf64_Shdr s;

		memcpy(&s, x->p + h->shoff + (uint64_t)i * sizeof s, sizeof s);
		if (s.sh_type != SHT_NOBITS && inside(s.sh_offset, s.sh_size, x->len))
			end = max_u64(end, s.sh_offset + s.sh_size);
	}
	return end;
}

static int bad(struct err *e, const char *why)
{
	return err_set(
		e, ENOEXEC, "kernel: the ELF file is damaged or truncated (%s): get it again", why);
}

static int add_segment(struct boot_elf *x, const struct phdr *h, struct err *e)
{
	if (!inside(h->off, h->filesz, x->len))
		return bad(e, "a segment ends behind the end of the file");
	if (h->filesz > h->memsz || h->paddr + h->memsz < h->paddr ||
		h->vaddr + h->memsz < h->vaddr)
		return bad(e, "a segment has absurd sizes");
	if (h->paddr + h->memsz > UINT64_C(1) << 40)
		return err_set(e, ENOEXEC,
			"kernel: the ELF file wants to be at physical address 0x%llx: it is "
			"not linked for a bare PC",
			(unsigned long long)h->paddr);
	if (x->nseg == BOOT_ELF_SEGMENTS)
		return bad(e, "too many segments");
	/* Loading costs the sum of the sizes: overlap would make that sum more than the memory. */
	for (unsigned i = 0; i < x->nseg; i++)
		if (h->paddr < x->seg[i].paddr + x->seg[i].memsz &&
			x->seg[i].paddr < h->paddr + h->memsz)
			return bad(e, "segments overlap");
	x->seg[x->nseg++] = (struct boot_segment){h->off, h->filesz, h->vaddr, h->paddr, h->memsz};
	x->lo = min_u64(x->lo, h->paddr);
	x->hi = max_u64(x->hi, h->paddr + h->memsz);
	return 0;
}

/* e_entry is physical in Linux; Multiboot kernels in the higher half have a virtual one. */
static int find_entry(struct boot_elf *x, uint64_t entry, struct err *e)
{
	for (unsigned i = 0; i < x->nseg; i++)
		if (entry - x->seg[i].paddr < x->seg[i].memsz) {
			x->entry = entry;
			return 0;
		}
	for (unsigned i = 0; i < x->nseg; i++)
		if (entry - x->seg[i].vaddr < x->seg[i].memsz) {
			x->entry = entry - x->seg[i].vaddr + x->seg[i].paddr;
			return 0;
		}
	return bad(e, "the entry point is outside of all segments");
}

int boot_elf_parse(struct boot_elf *x, const uint8_t *p, size_t len, struct err *e)
{
	struct ehdr h;
	int rc;

	*x = (struct boot_elf){.p = p, .len = len, .lo = UINT64_MAX};
	if (!boot_elf_is(p, len) || len <= EI_DATA)
		return bad(e, "too short");
	x->is64 = p[EI_CLASS] == ELFCLASS64;
	if (!x->is64 && p[EI_CLASS] != ELFCLASS32)
		return bad(e, "unknown class");
	if (p[EI_DATA] != ELFDATA2LSB)
		return err_set(e, ENOEXEC,
			"kernel: a big-endian ELF file is not for x86: give an x86-64 kernel");
	if (!read_ehdr(&h, x->is64, p, len))
		return bad(e, "the header is cut off");
	if (h.machine != (x->is64 ? EM_X86_64 : EM_386))
		return err_set(e, ENOEXEC,
			"kernel: the ELF file is for another CPU (machine %u): give an "
			"x86-64 kernel",
			h.machine);
	if (h.type != ET_EXEC && h.type != ET_DYN)
		return err_set(e, ENOEXEC,
			"kernel: the ELF file is no executable (an object file or module?): "
			"give a vmlinux or bzImage");
	if (h.phentsize != (x->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) || !h.phnum ||
		!inside(h.phoff, (uint64_t)h.phnum * h.phentsize, len))
		return bad(e, "no program headers where they should be");
	for (unsigned i = 0; i < h.phnum; i++) {
		struct phdr ph = read_phdr(x->is64, p + h.phoff + (uint64_t)i * h.phentsize);

		x->program |= ph.type == PT_INTERP || ph.type == PT_TLS;
		if (ph.type == PT_NOTE && !x->pvh && inside(ph.off, ph.filesz, len))
			x->pvh = find_pvh(p + ph.off, ph.filesz, ph.align);
		if (ph.type != PT_LOAD || !ph.memsz)
			continue;
		rc = add_segment(x, &ph, e);
		if (rc)
			return rc;
	}
	if (!x->nseg)
		return bad(e, "nothing to load");
	x->end = file_end(x, &h);
	return find_entry(x, h.entry, e);
}

int boot_elf_load(const struct boot_elf *x, struct boot *b, uint64_t shift)
{
	for (unsigned i = 0; i < x->nseg; i++) {
		const struct boot_segment *s = &x->seg[i];
		uint64_t at = s->paddr + shift;

		if (mem_put(b->m, at, x->p + s->off, s->filesz) ||
			mem_zero(b->m, at + s->filesz, s->memsz - s->filesz))
			return boot_no_room(b, "kernel", x->hi);
	}
	return 0;
}

void boot_elf_linux_version(const struct boot_elf *x, char *buf, size_t len)
{
	static const char mark[] = "Linux version ";
	const uint8_t *p = x->p, *end = x->p + x->len;
	size_t n = 0;

	*buf = 0;
	while ((p = memmem(p, (size_t)(end - p), mark, sizeof mark - 1))) {
		p += sizeof mark - 1;
		if (p < end && isdigit(*p))
			break; /* not the format string */
	}
	while (p && p < end && isgraph(*p) && n + 1 < len)
		buf[n++] = (char)*p++;
	buf[n] = 0;
}
