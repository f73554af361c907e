/* SPDX-License-Identifier: MIT */
/*
 * The page walk against a second opinion: for random page tables in all three formats and all kinds of accesses, the
 * result is compared with a plain recursive reading of SDM Vol. 3A 4.3 to 4.7, written here without a look
 * at the walk. Then the cases that random tables rarely hit.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "x86/walk.h"

enum { MAXPHY = 40 };
enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, PS = 0x80 };
#define NX (UINT64_C(1) << 63)

static struct mem m;
static uint64_t rng = 88172645463325252u;

static uint64_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	return rng ^= rng << 17;
}

static uint64_t rd(uint64_t at, unsigned n)
{
	uint64_t v = 0;

	return mem_get(&m, at, &v, n) ? 0 : v;
}

struct want {
	bool ok;
	uint32_t code;
	uint64_t gpa, size;
	uint64_t at[4]; /* entries used, for A and D */
	unsigned n;
};

static struct want expect(const struct x86_paging *p, uint64_t va, enum x86_access acc, bool user, bool smap_ok)
{
	bool pae = p->cr4 & X86_CR4_PAE, lm = p->efer & X86_EFER_LMA, nxe = pae && p->efer & X86_EFER_NXE;
	bool w = true, u = true, x = true;
	unsigned top = !pae ? 2 : lm ? 4 : 2, bytes = pae ? 8 : 4, bits = pae ? 9 : 10;
	struct want r = {0};
	uint64_t table, e = 0;

	r.code = (acc == X86_WRITE ? 2 : 0) | (user ? 4 : 0) |
		(acc == X86_FETCH && (nxe || p->cr4 & X86_CR4_SMEP) ? 16 : 0);
	if (pae && !lm) {
		if (!(p->pdpte[va >> 30 & 3] & P))
			return r;
		table = p->pdpte[va >> 30 & 3] & 0xffffffffff000;
	} else {
		table = pae ? p->cr3 & 0xffffffffff000 : p->cr3 & 0xfffff000;
	}
	for (unsigned level = top;; level--) {
		unsigned shift = 12 + bits * (level - 1);
		uint64_t rsvd = 0;
		bool leaf;

		r.at[r.n] = table + (va >> shift & ((1u << bits) - 1)) * bytes;
		e = rd(r.at[r.n++], bytes);
		if (!(e & P))
			return r;
		leaf = level == 1 || (level == 2 && e & PS && (pae || p->cr4 & X86_CR4_PSE)) ||
			(level == 3 && e & PS);
		if (pae) {
			rsvd = 0xffffffffff000 & ~((UINT64_C(1) << MAXPHY) - 1);
			if (!nxe)
				rsvd |= NX;
			if (!lm)
				rsvd |= UINT64_C(0x7ff) << 52;
			if (level == 4)
				rsvd |= PS;
			if (leaf && level > 1)
				rsvd |= ((UINT64_C(1) << shift) - 1) & ~UINT64_C(0x1fff);
		} else if (leaf && level == 2) {
			rsvd = 1 << 21;
		}
		if (e & rsvd) {
			r.code |= 9;
			return r;
		}
		w &= !!(e & W);
		u &= !!(e & U);
		x &= !(nxe && e & NX);
		if (leaf) {
			r.size = UINT64_C(1) << shift;
			break;
		}
		table = e & (pae ? 0xffffffffff000 : 0xfffff000);
	}
	if (user)
		r.ok = u && (acc != X86_WRITE || w) && (acc != X86_FETCH || x);
	else if (acc == X86_FETCH)
		r.ok = x && !(u && p->cr4 & X86_CR4_SMEP);
	else
		r.ok = !(u && !smap_ok) && (acc != X86_WRITE || w || !(p->cr0 & X86_CR0_WP));
	if (!r.ok) {
		r.code |= 1;
		return r;
	}
	r.gpa = e & 0xffffffffff000;
	if (!pae)
		r.gpa = r.size > 4096 ? (e & 0xffc00000) | (e >> 13 & 0xff) << 32 : e & 0xfffff000;
	r.gpa = (r.gpa & ~(r.size - 1)) | (va & (r.size - 1));
	return r;
}

/* A random entry that mostly leads somewhere */
static uint64_t entry(bool pae)
{
	uint64_t e = (rnd() % 64) << 12;

	e |= rnd() % 16 ? P : 0;
	e |= rnd() % 4 ? W : 0;
	e |= rnd() % 3 ? U : 0;
	e |= rnd() % 3 ? A : 0;
	e |= rnd() % 2 ? D : 0;
	if (rnd() % 5 == 0)
		e = (e & ~UINT64_C(0x3ff000)) | PS | (rnd() % 3 ? 0 : 0x200000);
	if (pae && rnd() % 6 == 0)
		e |= NX;
	if (pae && rnd() % 40 == 0)
		e |= UINT64_C(1) << (MAXPHY + rnd() % 22);
	return e;
}

static void random_tables(void)
{
	static const char *const names[] = {"32-bit", "PAE", "4-level"};
	unsigned faults = 0, hits = 0;

	for (unsigned round = 0; round < 60000; round++) {
		unsigned mode = round % 3;
		bool pae = mode != 0, user = rnd() & 1, smap_ok = rnd() & 1;
		struct x86_paging p = {.cr0 = X86_CR0_PG | X86_CR0_PE | (rnd() & X86_CR0_WP),
			.cr3 = (rnd() % 64) << 12,
			.cr4 = (rnd() & (X86_CR4_PSE | X86_CR4_SMEP | X86_CR4_PGE)) | (pae ? X86_CR4_PAE : 0),
			.efer = (mode == 2 ? X86_EFER_LMA | X86_EFER_LME : 0) | (rnd() & X86_EFER_NXE),
			.maxphyaddr = MAXPHY};
		enum x86_access acc = (enum x86_access)(rnd() % 3);
		uint64_t va = mode == 2 ? (uint64_t)((int64_t)(rnd() << 16) >> 16) : (uint32_t)rnd();
		struct x86_walk w;
		struct want want;
		uint32_t code = 0xdead;
		uint64_t before[4];
		int rc;

		if (round % 50 < 3)
			for (uint64_t at = 0; at < 64 * 4096; at += pae ? 8 : 4) {
				uint64_t e = entry(pae);

				mem_put(&m, at, &e, pae ? 8 : 4);
			}
		for (unsigned i = 0; i < 4; i++)
			p.pdpte[i] = (rnd() % 64) << 12 | (rnd() % 8 ? P : 0);
		want = expect(&p, va, acc, user, smap_ok);
		for (unsigned i = 0; i < want.n; i++)
			before[i] = rd(want.at[i], pae ? 8 : 4);
		rc = x86_walk(&m, &p, va, acc, user, smap_ok, &w, &code);
		if (rc != (want.ok ? 0 : -1) || (!want.ok && code != want.code) ||
			(want.ok && (w.gpa != want.gpa || w.page_size != want.size))) {
			printf("%s va %llx access %d user %d cr0 %llx cr4 %llx: rc %d code %x gpa %llx, want ok %d code %x gpa "
			       "%llx\n",
				names[mode], (unsigned long long)va, acc, user, (unsigned long long)p.cr0,
				(unsigned long long)p.cr4, rc, code, (unsigned long long)w.gpa, want.ok, want.code,
				(unsigned long long)want.gpa);
			abort();
		}
		/* A in what was used, D in the last one for a write, nothing else, and nothing in the entry at fault */
		for (unsigned i = 0; i < want.n; i++) {
			uint64_t now = rd(want.at[i], pae ? 8 : 4), set = 0;
			bool same = false; /* an entry may stand twice in a walk */

			for (unsigned k = 0; k < want.n; k++)
				same |= k != i && want.at[k] == want.at[i];
			if (same)
				continue;
			if (want.ok || i + 1 < want.n)
				set |= A;
			if (want.ok && i + 1 == want.n && acc == X86_WRITE)
				set |= D;
			assert(now == (before[i] | set));
		}
		if (want.ok)
			hits++;
		else
			faults++;
	}
	assert(hits > 5000 && faults > 5000);
}

static void special(void)
{
	struct x86_paging p = {.maxphyaddr = MAXPHY};
	struct x86_walk w;
	uint32_t code;
	uint64_t e;

	/* no paging: one to one, everything allowed */
	assert(!x86_walk(&m, &p, 0x12345, X86_WRITE, true, false, &w, &code) && w.gpa == 0x12345 && w.write_ok);
	/* tables outside of RAM are empty */
	p.cr0 = X86_CR0_PG | X86_CR0_PE;
	p.cr4 = X86_CR4_PAE;
	p.efer = X86_EFER_LMA;
	p.cr3 = UINT64_C(1) << 39;
	assert(x86_walk(&m, &p, 0, X86_READ, false, true, &w, &code) == -1 && code == 0);
	/* clean page: reads do not make it writable in a cache, a write sets D and does */
	p.cr3 = 0x1000;
	for (uint64_t t = 0x1000; t < 0x5000; t += 0x1000) {
		e = (t + 0x1000) | P | W | U;
		mem_put(&m, t, &e, 8);
	}
	assert(!x86_walk(&m, &p, 0, X86_READ, true, false, &w, &code) && !w.write_ok && w.pte_w && w.user);
	assert(!x86_walk(&m, &p, 0, X86_WRITE, true, false, &w, &code) && w.write_ok && rd(0x4000, 8) & D);
	/* global only with CR4.PGE */
	e = rd(0x4000, 8) | 1 << 8;
	mem_put(&m, 0x4000, &e, 8);
	assert(!x86_walk(&m, &p, 0, X86_READ, true, false, &w, &code) && !w.global);
	p.cr4 |= X86_CR4_PGE;
	assert(!x86_walk(&m, &p, 0, X86_READ, true, false, &w, &code) && w.global);
	/* what the walk writes to the tables is in the dirty log */
	assert(m.page_bits[4] & MEM_PG_DIRTY);
}

int main(void)
{
	struct err e;

	assert(!mem_init(&m, 4 * MIB, &e));
	random_tables();
	special();
	mem_fini(&m);
	puts("walk: all passed");
	return 0;
}
