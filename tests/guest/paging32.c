/* SPDX-License-Identifier: MIT */
/* 32-bit paging, with and without 4 MiB pages, and PAE paging: permissions, error codes, PDPTE rules */
#include "rt.h"

SNIPPET(s_load, "mov 4(%esp), %ecx\n .globl s_load_at\ns_load_at: mov (%ecx), %eax\n ret");
LABEL(s_load_at);
SNIPPET(s_store, "mov 4(%esp), %ecx\n .globl s_store_at\ns_store_at: mov %eax, (%ecx)\n ret");
LABEL(s_store_at);
SNIPPET(s_jump, "mov 4(%esp), %ecx\n jmp *%ecx");
SNIPPET(s_wrcr3, "mov 4(%esp), %ecx\n .globl s_wrcr3_at\ns_wrcr3_at: mov %ecx, %cr3\n ret");
LABEL(s_wrcr3_at);
SNIPPET(s_wrcr4, "mov 4(%esp), %ecx\n .globl s_wrcr4_at\ns_wrcr4_at: mov %ecx, %cr4\n ret");
LABEL(s_wrcr4_at);
SNIPPET(s_wrcr0, "mov 4(%esp), %ecx\n .globl s_wrcr0_at\ns_wrcr0_at: mov %ecx, %cr0\n ret");
LABEL(s_wrcr0_at);
USER_SNIPPET(u_load, "mov (%edi), %eax\n int $0x80");
USER_SNIPPET(u_store, "mov %eax, (%edi)\n int $0x80");
USER_SNIPPET(u_jump, "jmp *%edi");

enum { READ, WRITE, FETCH };
static const ulong va = 0x50000000;
static bool pae, nx;
static ulong smep, smap;

/* Access rights of the two levels that have any (a PDPTE has none): mask of what is taken: 1 P 2 W 4 U 8 X */
static long model(unsigned up, unsigned leaf, int access, bool user, ulong cr0, ulong cr4)
{
	ulong code = (user ? PF_U : 0) | (access == WRITE ? PF_W : 0) |
		(access == FETCH && ((pae && nx) || cr4 & CR4_SMEP) ? PF_I : 0);
	unsigned m = up | leaf;

	if (m & 1)
		return (long)code;
	code |= PF_P;
	if (user && m & 4)
		return (long)code;
	if (access == WRITE && m & 2 && (user || cr0 & CR0_WP))
		return (long)code;
	if (access == FETCH && (m & 8 || (!user && !(m & 4) && cr4 & CR4_SMEP)))
		return (long)code;
	if (access != FETCH && !user && !(m & 4) && cr4 & CR4_SMAP)
		return (long)code;
	return -1;
}

static uint32_t *pd32, *pt32;
static uint64_t *pdpt, *pdp64[4], *pt64;
static uint8_t *page;

/* leaf is -1 for a large page, whose mask is up's */
static void set(unsigned up, int leaf)
{
	uint32_t fu = (up & 1 ? 0 : 1) | (up & 2 ? 0 : 2) | (up & 4 ? 0 : 4);
	uint32_t fl = leaf < 0 ? 0 : (leaf & 1 ? 0 : 1) | (leaf & 2 ? 0 : 2) | (leaf & 4 ? 0 : 4);

	if (pae) {
		uint64_t *e = &pdp64[va >> 30][va >> 21 & 511];

		*e = (leaf < 0 ? ((ulong)page & ~0x1ffffful) | 0x80 : (ulong)pt64) | fu | (up & 8 ? PTE_NX : 0);
		if (leaf >= 0)
			pt64[va >> 12 & 511] = (ulong)page | fl | (leaf & 8 ? PTE_NX : 0);
	} else {
		pd32[va >> 22] = (leaf < 0 ? ((ulong)page & ~0x3ffffful) | 0x80 : (ulong)pt32) | fu;
		if (leaf >= 0)
			pt32[va >> 12 & 1023] = (ulong)page | fl;
	}
	invlpg((void *)va);
}

static bool flag(uint32_t bit, bool large)
{
	if (pae)
		return (large ? pdp64[va >> 30][va >> 21 & 511] : pt64[va >> 12 & 511]) & bit;
	return (large ? pd32[va >> 22] : pt32[va >> 12 & 1023]) & bit;
}

static void try(unsigned up, int leaf, int access, bool user, ulong cr0, ulong cr4)
{
	static const char *const name[] = {"read", "write", "fetch"};
	long want = model(up, leaf < 0 ? 0 : (unsigned)leaf, access, user, cr0, cr4);
	/* a large page maps the page at the same offset */
	ulong base = leaf < 0 ? va + ((ulong)page & (pae ? 0x1fffff : 0x3fffff)) : va;
	ulong at = base + (access == FETCH ? user ? 16 : 0 : 64);
	struct trap *t;
	bool ok;

	set(up, leaf);
	if (user)
		t = user(access == READ ? u_load : access == WRITE ? u_store : u_jump, at);
	else
		t = catch(access == READ ? s_load : access == WRITE ? s_store : s_jump, at);
	if (want < 0)
		ok = t->vec == (user ? USER_RET : NOTRAP) && flag(PTE_A, leaf < 0) &&
			flag(PTE_D, leaf < 0) == (access == WRITE);
	else
		ok = t->vec == PF && t->err == (ulong)want && t->cr2 == at && !flag(PTE_D, leaf < 0);
	check(ok, "%s at CPL %d, taken %x %x, cr0 %lx cr4 %lx: want %ld, got %ld(%lx) cr2 %lx", name[access], user ? 3 : 0, up,
		(unsigned)leaf, cr0, cr4, want, t->vec, t->err, t->cr2);
}

static void combinations(bool large)
{
	ulong cr0 = rdcr0(), cr4 = rdcr4();
	unsigned masks = pae && nx ? 16 : 8;

	for (unsigned c = 0; c < 8; c++) {
		ulong c0 = c & 1 ? cr0 | CR0_WP : cr0 & ~(ulong)CR0_WP;
		ulong c4 = cr4 | (c & 2 ? smep : 0) | (c & 4 ? smap : 0);

		if ((c & 2 && !smep) || (c & 4 && !smap))
			continue;
		wrcr0(c0);
		wrcr4(c4);
		for (unsigned up = 0; up < masks; up++)
			for (unsigned leaf = 0; leaf < (large ? 1 : masks); leaf++)
				for (int access = READ; access <= FETCH; access++)
					for (int user = 0; user < 2; user++)
						try(up, large ? -1 : (int)leaf, access, user, c0, c4);
		wrcr0(cr0);
		wrcr4(cr4);
	}
}

/* Identity map of the first 4 GiB: the image in small pages, the rest large ones if there are such. */
static void build(void)
{
	if (pae) {
		pdpt = page_alloc();
		for (unsigned i = 0; i < 4; i++) {
			pdp64[i] = page_alloc();
			pdpt[i] = (ulong)pdp64[i] | 1;
			for (unsigned k = 0; k < 512; k++)
				pdp64[i][k] = (uint64_t)i << 30 | (uint64_t)k << 21 | 0x83;
		}
		for (unsigned k = 0; k < 2; k++) {
			uint64_t *pt = page_alloc();

			for (unsigned i = 0; i < 512; i++)
				pt[i] = k << 21 | i << 12 | 3;
			for (char *p = user_begin; p < user_end; p += NPAGE)
				if ((ulong)p >> 21 == k)
					pt[(ulong)p >> 12 & 511] |= 4;
			pdp64[0][k] = (ulong)pt | 7;
		}
		pt64 = page_alloc();
	} else {
		uint32_t *pt = page_alloc();

		pd32 = page_alloc();
		for (unsigned k = 1; k < 1024; k++) {
			/* RAM by tables: CR4.PSE is off at first; devices are not needed */
			if (k < 16) {
				uint32_t *t = page_alloc();

				for (unsigned i = 0; i < 1024; i++)
					t[i] = k << 22 | i << 12 | 3;
				pd32[k] = (ulong)t | 3;
			}
		}
		for (unsigned i = 0; i < 1024; i++)
			pt[i] = i << 12 | 3;
		for (char *p = user_begin; p < user_end; p += NPAGE)
			pt[(ulong)p >> 12] |= 4;
		pd32[0] = (ulong)pt | 7;
		pt32 = page_alloc();
	}
}

static void pdptes(void)
{
	ulong cr3 = rdcr3();
	uint64_t *copy = page_alloc();
	unsigned maxphy = rt_maxphyaddr();

	section("PDPTEs");
	memcpy(copy, pdpt, 32);
	want(catch(s_wrcr3, copy), NOTRAP, 0, NULL, "a copy");
	/* they are loaded with CR3: a change in memory does nothing before the next load */
	set(0, 0);
	want(catch(s_load, va), NOTRAP, 0, NULL, "present");
	copy[1] = 0;
	invlpg((void *)va);
	quirk("TCG 7.2 reads them at each walk");
	want(catch(s_load, va), NOTRAP, 0, NULL, "a PDPTE cleared in memory still counts");
	wrcr3((ulong)copy);
	want(catch(s_load, va), PF, 0, s_load_at, "not after mov to cr3");
	/* reserved bits of a present one: #GP at the load */
	for (unsigned bit = 1; bit < 64; bit++) {
		bool rsvd = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= maxphy;

		if (!rsvd)
			continue;
		copy[1] = pdpt[1] | 1ull << bit;
		if (!rt_tcg) { /* which checks at the walk */
			want(catch(s_wrcr3, copy), GP, 0, s_wrcr3_at, "reserved bit of a PDPTE");
			check(rdcr3() == (ulong)copy, "cr3 stays");
		}
		copy[1] = 1ull << bit;
		want(catch(s_wrcr3, copy), NOTRAP, 0, NULL, "reserved bit of a PDPTE that is not present");
	}
	/* low bits of CR3: the table needs 32-byte alignment only */
	memcpy((uint8_t *)copy + 0x60, pdpt, 32);
	want(catch(s_wrcr3, (ulong)copy + 0x60), NOTRAP, 0, NULL, "32-byte alignment");
	want(catch(s_load, va), NOTRAP, 0, NULL, "and works");
	wrcr3(cr3);
	/* CR0.PG off and on, CR4.PGE: they load the PDPTEs too */
	memcpy(copy, pdpt, 32);
	wrcr3((ulong)copy);
	copy[1] = 0;
	wrcr4(rdcr4() ^ CR4_PGE);
	want(catch(s_load, va), PF, 0, s_load_at, "CR4.PGE loads PDPTEs");
	wrcr4(rdcr4() ^ CR4_PGE);
	wrcr3(cr3);
}

static void reserved_bits(void)
{
	section(pae ? "reserved bits, PAE" : "reserved bits, 32-bit");
	if (pae) {
		unsigned maxphy = rt_maxphyaddr();

		for (unsigned bit = maxphy; bit < 63; bit++) {
			struct trap *t;

			set(0, 0);
			pt64[va >> 12 & 511] |= 1ull << bit;
			invlpg((void *)va);
			t = catch(s_load, va);
			quirk("TCG 7.2: no P with reserved bits");
			check(t->vec == PF && t->err == (PF_P | PF_R), "PTE bit %u: %ld(%lx)", bit, t->vec, t->err);
			set(0, 0);
			pdp64[va >> 30][va >> 21 & 511] |= 1ull << bit;
			invlpg((void *)va);
			t = catch(s_load, va);
			quirk("TCG 7.2: no P with reserved bits");
			check(t->vec == PF && t->err == (PF_P | PF_R), "PDE bit %u: %ld(%lx)", bit, t->vec, t->err);
		}
	} else {
		/* PSE-36: bits 13-20 of a large PDE are address bits 32-39, bit 21 is reserved */
		struct trap *t;

		set(0, -1);
		pd32[va >> 22] |= 1u << 21;
		invlpg((void *)va);
		t = catch(s_load, va);
		quirk("TCG 7.2: no P with reserved bits");
		check(t->vec == PF && t->err == (PF_P | PF_R), "PDE bit 21: %ld(%lx)", t->vec, t->err);
	}
	set(0, 0);
}

void test_main(void)
{
	ulong cr0 = rdcr0(), cr4 = rdcr4();

	smep = cpu_has(F_SMEP) ? CR4_SMEP : 0;
	smap = cpu_has(F_SMAP) ? CR4_SMAP : 0;
	page = page_alloc();
	page[0] = 0xc3;
	page[16] = 0xcd, page[17] = 0x80;
	build();
	section("32-bit, 4K");
	wrcr3((ulong)pd32);
	wrcr0(cr0 | CR0_PG);
	check(rdcr0() & CR0_PG, "paging is on");
	combinations(false);
	section("32-bit, no PSE");
	set(0, 0);
	pd32[va >> 22] |= 0x80;
	invlpg((void *)va);
	want(catch(s_load, va), NOTRAP, 0, NULL, "PS is ignored without CR4.PSE");
	section("32-bit, 4M");
	wrcr4(cr4 | CR4_PSE);
	combinations(true);
	reserved_bits();
	wrcr0(cr0);
	section("PAE, no NX");
	pae = true;
	build();
	wrcr4(cr4 | CR4_PAE);
	wrcr3((ulong)pdpt);
	wrcr0(cr0 | CR0_PG);
	combinations(false);
	{
		struct trap *t;

		set(0, 0);
		pt64[va >> 12 & 511] |= PTE_NX;
		invlpg((void *)va);
		t = catch(s_load, va);
		quirk("TCG 7.2: no P with reserved bits");
		check(t->vec == PF && t->err == (PF_P | PF_R), "NX is reserved: %ld(%lx)", t->vec, t->err);
	}
	section("PAE");
	wrmsr(MSR_EFER, EFER_NXE);
	nx = true;
	combinations(false);
	section("PAE, 2M");
	combinations(true);
	reserved_bits();
	pdptes();
	section("switches");
	wrcr0(cr0);
	check(!(rdcr0() & CR0_PG), "paging is off again");
	quirk("TCG 7.2 ignores it");
	want(catch(s_wrcr4, cr4 | CR4_PCIDE), GP, 0, s_wrcr4_at, "PCIDE outside long mode");
	/* EFER.LME without PAE: paging cannot be turned on */
	wrcr4(cr4);
	wrmsr(MSR_EFER, EFER_LME);
	if (!rt_tcg)
		want(catch(s_wrcr0, cr0 | CR0_PG), GP, 0, s_wrcr0_at, "PG with LME but no PAE");
	wrmsr(MSR_EFER, 0);
	/* PG without PE */
	if (!rt_tcg)
		want(catch(s_wrcr0, (cr0 | CR0_PG) & ~(ulong)CR0_PE), GP, 0, s_wrcr0_at, "PG without PE");
}
