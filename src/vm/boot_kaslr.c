/* SPDX-License-Identifier: MIT */
/*
 * Kernel address space layout randomization for x86-64 Linux. In a normal boot it is done by the
 * decompressor (Linux arch/x86/boot/compressed/kaslr.c, misc.c), which husk replaces, so husk does
 * the same work: it picks where the image lies in physical memory and where in the kernel's 1 GiB
 *of virtual addresses, and patches the absolute addresses in the image.
 *
 * arch/x86/tools/relocs.c appends these addresses to the vmlinux that is packed, as 32-bit link
 * addresses to be sign-extended, so that a reader walks them from the end of the file:
 *
 *	0  64-bit places...  0  inverse 32-bit places...  0  32-bit places...   end of file
 *
 * A place is patched by adding the virtual shift (subtracting it for the inverse ones: these
 * are per-CPU accesses relative to RIP). Linux 6.15 dropped the inverse list together with its
 *zero. As we know where the ELF file ends, we can tell the two by counting zeros.
 *
 * The randomization of the direct map, vmalloc and modules is done by the kernel proper; it asks
 * KASLR_FLAG in boot_params for permission (boot_linux.c sets it).
 */
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "vm/boot-int.h"

#define KERNEL_MAP   UINT64_C(0xffffffff80000000) /* __START_KERNEL_map */
#define KERNEL_IMAGE (1 * GIB)                    /* KERNEL_IMAGE_SIZE with CONFIG_RANDOMIZE_BASE */

void boot_kaslr_parse(struct boot_kaslr *k, const struct boot_elf *x)
{
	size_t n = (size_t)(x->len - x->end) / 4, zero[4], nzero = 0;

	*k = (struct boot_kaslr){.table = x->p + x->end};
	if (x->end > x->len || n < 3) {
		k->why_not = "no relocations";
		return;
	}
	/* The zeros, first to last; the first word is one of them */
	for (size_t i = 0; i < n && nzero < ARRAY_LEN(zero); i++)
		if (!get_u32(k->table + 4 * i))
			zero[nzero++] = i;
	if ((x->len - x->end) % 4 || (nzero != 2 && nzero != 3) || zero[0] != 0) {
		k->why_not = "relocations of unknown form";
		return;
	}
	k->n64 = zero[1] - 1;
	k->ninv = nzero == 3 ? zero[2] - zero[1] - 1 : 0;
	k->n32 = n - 1 - zero[nzero - 1];
}

/* The kernel's own test, cmdline_find_option_bool(): a word of the command line. */
static bool has_word(const char *line, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = line; (p = strstr(p, word)); p += n)
		if ((p == line || (unsigned char)p[-1] <= ' ') && (unsigned char)p[n] <= ' ')
			return true;
	return false;
}

static uint64_t pick(struct boot *b, uint64_t slots)
{
	return slots ? b->rnd.get(b->rnd.arg) % slots : 0;
}

void boot_kaslr_choose(struct boot_kaslr *k, struct boot *b, const struct boot_elf *x,
	uint64_t align, uint64_t ceiling)
{
	uint64_t span = x->hi - x->lo;

	k->phys_shift = 0;
	k->virt_shift = 0;
	if (!k->why_not && has_word(b->c->append, "nokaslr"))
		k->why_not = "nokaslr given";
	if (!k->why_not && (align < 2 * MIB || align > GIB || align & (align - 1)))
		k->why_not = "odd alignment";
	if (k->why_not)
		return;
	/* Link address (x->lo) is the lowest choice in both spaces, as in find_random_*_addr(). */
	if (ceiling > x->hi)
		k->phys_shift = align * pick(b, (ceiling - x->hi) / align + 1);
	if (x->lo + span <= KERNEL_IMAGE)
		k->virt_shift = align * pick(b, (KERNEL_IMAGE - x->lo - span) / align + 1);
}

/* Host address of the n bytes that are linked at the sign-extended address; NULL if not in the
 * image. */
static uint8_t *place(const struct boot_kaslr *k, const struct boot *b, const struct boot_elf *x,
	uint32_t link, unsigned n)
{
	uint64_t pa = (uint64_t)(int64_t)(int32_t)link - KERNEL_MAP;

	if (pa < x->lo || pa >= x->hi || x->hi - pa < n)
		return NULL;
	return mem_at(b->m, pa + k->phys_shift, n);
}

int boot_kaslr_apply(const struct boot_kaslr *k, struct boot *b, const struct boot_elf *x)
{
	const uint8_t *p = k->table + 4;
	uint64_t delta = k->virt_shift;

	if (k->why_not || !delta)
		return 0;
	for (size_t i = 0; i < k->n64; i++, p += 4) {
		uint8_t *at = place(k, b, x, get_u32(p), 8);

		if (!at)
			goto bad;
		put_u64(at, get_u64(at) + delta);
	}
	p += 4;
	for (size_t i = 0; i < k->ninv; i++, p += 4) {
		uint8_t *at = place(k, b, x, get_u32(p), 4);

		if (!at)
			goto bad;
		put_u32(at, get_u32(at) - (uint32_t)delta);
	}
	p = x->p + x->len - 4 * k->n32;
	for (size_t i = 0; i < k->n32; i++, p += 4) {
		uint8_t *at = place(k, b, x, get_u32(p), 4);

		if (!at)
			goto bad;
		put_u32(at, get_u32(at) + (uint32_t)delta);
	}
	return 0;
bad:
	return err_set(b->e, ENOEXEC,
		"kernel: a relocation points out of the image: the file is damaged; "
		"get it again (or try --append nokaslr)");
}
