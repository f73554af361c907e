/* SPDX-License-Identifier: MIT */
/*
 * One loop walks all formats: a format is a number of levels, the bits of index per level and the
 * size of an entry. Permissions are ANDed on the way down (SDM Vol. 3A 4.6), the A bit is set in
 * every entry used and D in the last one (4.8), by compare-and-swap: if the entry changed under our
 * feet the walk starts anew, at most RETRIES times, so that a guest cannot hold the host here.
 */
#include <stdbool.h>
#include <stddef.h>

#include "base/util.h"
#include "x86/walk.h"

#define PTE_P    (1ull << 0)
#define PTE_W    (1ull << 1)
#define PTE_U    (1ull << 2)
#define PTE_A    (1ull << 5)
#define PTE_D    (1ull << 6)
#define PTE_PS   (1ull << 7)
#define PTE_G    (1ull << 8)
#define PTE_NX   (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull

enum { RETRIES = 64 };

static bool entry_set(void *p, unsigned size, uint64_t old, uint64_t val)
{
	if (size == 8)
		return __atomic_compare_exchange_n(
			(uint64_t *)p, &old, val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	uint32_t o = (uint32_t)old;

	return __atomic_compare_exchange_n(
		(uint32_t *)p, &o, (uint32_t)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

struct format {
	unsigned levels, bits, entry;
};

/* Bits that must be zero in an entry that is used at this level (1 = page table). */
static uint64_t reserved(
	const struct x86_paging *p, const struct format *f, unsigned level, bool leaf, uint64_t e)
{
	uint64_t r = 0;

	if (f->entry == 4) {
		/* PSE-36: a 4 MiB page has address bits 39:32 in 20:13; bit 21 is reserved */
		return leaf && level == 2 ? e & (1ull << 21) : 0;
	}
	r |= PTE_ADDR & ~((1ull << p->maxphyaddr) - 1);
	if (!(p->efer & X86_EFER_NXE))
		r |= PTE_NX;
	if (f->levels < 4)
		r |= 0x7ff0000000000000ull; /* PAE without long mode: 62:52 */
	if (leaf && level == 2)
		r |= 0x1fe000;
	if (leaf && level == 3)
		r |= 0x3fffe000;
	if (!leaf && level == 4)
		r |= PTE_PS;
	return e & r;
}

int x86_walk(const struct mem *m, const struct x86_paging *p, uint64_t va, enum x86_access access,
	bool user, bool smap_ok, struct x86_walk *w, uint32_t *error_code)
{
	const bool pae = p->cr4 & X86_CR4_PAE, lma = p->efer & X86_EFER_LMA;
	const bool nxe = p->efer & X86_EFER_NXE && pae;
	const bool wp = p->cr0 & X86_CR0_WP;
	const struct format f = !pae  ? (struct format){2, 10, 4}
				: lma ? (struct format){4, 9, 8}
				      : (struct format){2, 9, 8};
	const uint32_t code =
		(access == X86_WRITE ? X86_PF_W : 0) | (user ? X86_PF_U : 0) |
		(access == X86_FETCH && (nxe || p->cr4 & X86_CR4_SMEP) ? X86_PF_I : 0);

	if (!(p->cr0 & X86_CR0_PG)) {
		*w = (struct x86_walk){.gpa = va,
			.page_size = MEM_PAGE,
			.write_ok = true,
			.user = true,
			.pte_w = true};
		return 0;
	}
	if (!lma)
		va = (uint32_t)va;

	for (unsigned retry = 0; retry < RETRIES; retry++) {
		uint64_t table = lma ? p->cr3 & PTE_ADDR : p->cr3 & 0xfffff000, e = 0,
			 leaf_size = 0;
		bool writable = true, usr = true, nx = false, again = false, leaf = false;
		unsigned level = f.levels;

		if (pae && !lma) {
			e = p->pdpte[va >> 30];
			if (!(e & PTE_P)) {
				*error_code = code;
				return -1;
			}
			table = e & PTE_ADDR;
		}
		for (; !leaf; level--) {
			unsigned shift = 12 + (level - 1) * f.bits;
			uint64_t at = table + ((va >> shift) & ((1u << f.bits) - 1)) * f.entry, set;
			void *entry = mem_at(m, at, f.entry);

			if (!entry)
				e = 0;
			else if (f.entry == 8)
				e = __atomic_load_n((uint64_t *)entry, __ATOMIC_RELAXED);
			else
				e = __atomic_load_n((uint32_t *)entry, __ATOMIC_RELAXED);
			if (!(e & PTE_P)) {
				*error_code = code;
				return -1;
			}
			leaf = level == 1 || (e & PTE_PS && (level == 2 || (level == 3 && lma)) &&
						     (pae || p->cr4 & X86_CR4_PSE));
			if (reserved(p, &f, level, leaf, e)) {
				*error_code = code | X86_PF_P | X86_PF_RSVD;
				return -1;
			}
			writable &= !!(e & PTE_W);
			usr &= !!(e & PTE_U);
			nx |= nxe && e & PTE_NX;
			if (leaf) {
				bool ok = access == X86_WRITE ? writable || (!user && !wp) : true;

				if (user)
					ok &= usr;
				if (!user && usr && access == X86_FETCH)
					ok &= !(p->cr4 & X86_CR4_SMEP);
				if (!user && usr && access != X86_FETCH)
					ok &= smap_ok;
				if (access == X86_FETCH)
					ok &= !nx;
				if (!ok) {
					*error_code = code | X86_PF_P;
					return -1;
				}
				leaf_size = 1ull << shift;
			}
			set = PTE_A | (leaf && access == X86_WRITE ? PTE_D : 0);
			if ((e & set) != set) {
				if (!entry_set(entry, f.entry, e, e | set)) {
					again = true;
					break;
				}
				/* the table may hold code or be watched by the dirty log */
				__atomic_or_fetch(&m->page_bits[mem_page(m, at)], MEM_PG_DIRTY,
					__ATOMIC_RELAXED);
				e |= set;
			}
			table = e & (f.entry == 8 ? PTE_ADDR : 0xfffff000);
		}
		if (again)
			continue;
		if (f.entry == 4 && leaf_size > MEM_PAGE)
			table = (e & 0xffc00000) | (e >> 13 & 0xff) << 32;
		*w = (struct x86_walk){
			.gpa = (table & ~(leaf_size - 1)) | (va & (leaf_size - 1)),
			.page_size = leaf_size,
			.write_ok = e & PTE_D && (writable || (!user && !wp)),
			.user = usr,
			.nx = nx,
			.global = e & PTE_G && p->cr4 & X86_CR4_PGE,
			.pte_w = writable,
		};
		return 0;
	}
	/* Somebody rewrites this entry all the time: the access is simply tried again. */
	*error_code = code;
	return -1;
}
