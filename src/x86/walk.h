/* SPDX-License-Identifier: MIT */
/*
 * The page walk (SDM Vol. 3A chapter 4): 32-bit, PAE and 4-level paging with A/D bits set by
 * compare-and-swap in guest memory, as another CPU may race.
 */
#ifndef X86_WALK_H
#define X86_WALK_H

#include <stdint.h>

#include "mem/mem.h"
#include "x86/state.h"

enum x86_access { X86_READ, X86_WRITE, X86_FETCH };

struct x86_paging { /* what decides a walk, taken from the state by x86_paging_of() */
	uint64_t cr0, cr3, cr4, efer;
	uint64_t pdpte[4]; /* PAE without long mode: loaded at MOV CR3; the caller keeps them */
	unsigned maxphyaddr;
};

struct x86_walk {
	uint64_t gpa;       /* of the byte asked for */
	uint64_t page_size; /* 4 KiB, 2 MiB, 4 MiB or 1 GiB; 4 KiB without paging */
	bool write_ok;      /* a write is allowed now and the D bit is set: cache as writable */
	bool user, nx, global;
	/* permissions of the mapping itself, whatever was asked */
	bool pte_w;
};

/*
 * Translates va. user: the access counts as a user access (CPL 3 and not an implicit supervisor
 * access); smap_ok: a supervisor data access to user pages is allowed (EFLAGS.AC or CR4.SMAP clear
 * is not looked at here but through this). Returns 0, or -1 with *error_code for #PF.
 * Non-canonical addresses are the caller's affair. Page tables outside RAM read as all ones bits
 * clear (not present).
 */
int x86_walk(const struct mem *m, const struct x86_paging *p, uint64_t va, enum x86_access access,
	bool user, bool smap_ok, struct x86_walk *w, uint32_t *error_code);

#endif
