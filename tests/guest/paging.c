/* SPDX-License-Identifier: MIT */
/*
 * 4-level paging: every combination of P, W, U, NX at the leaf and at one level above, for each kind
 * of access, against a model of SDM Vol. 3A 4.6 and 4.7; accessed and dirty bits; large pages;
 * reserved bits; what must be invalidated and by what; PCID.
 */
#include "rt.h"

SNIPPET(s_load, "mov (%rdi), %rax\n ret");
SNIPPET(s_store, "mov %rax, (%rdi)\n ret");
SNIPPET(s_load_ac, "stac\n .globl s_load_ac_at\ns_load_ac_at: mov (%rdi), %rax\n clac\n ret");
LABEL(s_load_ac_at);
SNIPPET(s_store_ac, "stac\n .globl s_store_ac_at\ns_store_ac_at: mov %rax, (%rdi)\n clac\n ret");
LABEL(s_store_ac_at);
SNIPPET(s_jump_ac, "stac\n jmp *%rdi");
SNIPPET(s_jump, "jmp *%rdi");
SNIPPET(s_xchg, "xchg %rax, (%rdi)\n ret");
SNIPPET(s_rmw, "lock addq $0, (%rdi)\n ret");
SNIPPET(s_cmpxchg, "mov $1, %eax\n xor %edx, %edx\n .globl s_cmpxchg_at\ns_cmpxchg_at: lock cmpxchg %rdx, (%rdi)\n ret");
LABEL(s_cmpxchg_at);
USER_SNIPPET(u_load, "mov (%rdi), %rax\n int $0x80");
USER_SNIPPET(u_store, "mov %rax, (%rdi)\n int $0x80");
USER_SNIPPET(u_jump, "jmp *%rdi");
SNIPPET(s_wrcr3, "mov %rdi, %cr3\n ret");
SNIPPET(s_wrcr4, "mov %rdi, %cr4\n ret");
SNIPPET(s_invpcid, "invpcid (%rdi), %rsi\n ret");
SNIPPET(s_pg_off, "mov %cr0, %rax\n btr $31, %rax\n .globl s_pg_off_at\ns_pg_off_at: mov %rax, %cr0\n ret");
LABEL(s_pg_off_at);
SNIPPET(s_pae_off, "mov %cr4, %rax\n btr $5, %rax\n .globl s_pae_off_at\ns_pae_off_at: mov %rax, %cr4\n ret");
LABEL(s_pae_off_at);
SNIPPET(s_lme_off, "mov $0xc0000080, %ecx\n rdmsr\n btr $8, %eax\n .globl s_lme_off_at\ns_lme_off_at: wrmsr\n ret");
LABEL(s_lme_off_at);
SNIPPET(s_ac_sgdt, "sgdt (%rdi)\n ret");
SNIPPET(s_load_fs, "mov %edi, %fs\n ret");
SNIPPET(s_load_fs_ac, "stac\n .globl s_load_fs_ac_at\ns_load_fs_ac_at: mov %edi, %fs\n clac\n ret");
LABEL(s_load_fs_ac_at);
SNIPPET(s_invlpg, "invlpg (%rdi)\n ret");

enum { READ, WRITE, FETCH };
static const ulong va = 0x10000000000ul + 5 * 0x40000000ul + 7 * 0x200000ul + 9 * 0x1000ul;
static uint64_t *e[5]; /* entries by level for va */
static uint64_t base[5];
static uint8_t *page; /* the physical page: offset 0 RET, 16 INT 0x80 */
static bool nxe = true;

/* Error code, or -1 if the access is fine: the union of what all levels from 4 to leaf take away. */
static long model(int leaf, int access, bool user, ulong cr0, ulong cr4, bool ac)
{
	ulong code = (user ? PF_U : 0) | (access == WRITE ? PF_W : 0) |
		(access == FETCH && (nxe || cr4 & CR4_SMEP) ? PF_I : 0);
	bool w = true, u = true, x = true;

	for (int l = 4; l >= leaf; l--) {
		if (!(*e[l] & PTE_P))
			return (long)code;
		if (!nxe && *e[l] & PTE_NX)
			return (long)(code | PF_P | PF_R);
		w = w && *e[l] & PTE_W;
		u = u && *e[l] & PTE_U;
		x = x && !(*e[l] & PTE_NX);
	}
	code |= PF_P;
	if (user && !u)
		return (long)code;
	if (access == WRITE && !w && (user || cr0 & CR0_WP))
		return (long)code;
	if (access == FETCH && (!x || (!user && u && cr4 & CR4_SMEP)))
		return (long)code;
	if (access != FETCH && !user && u && cr4 & CR4_SMAP && !ac)
		return (long)code;
	return -1;
}

static struct trap *touch(int access, bool user, bool ac, ulong at, const char **ip)
{
	if (access == FETCH) {
		*ip = (const char *)at;
		return user ? user(u_jump, at + 16) : catch(ac ? s_jump_ac : s_jump, at);
	}
	if (user) {
		*ip = access == WRITE ? u_store : u_load;
		return user(*ip, at + 64);
	}
	if (ac) {
		*ip = access == WRITE ? s_store_ac_at : s_load_ac_at;
		return catch(access == WRITE ? s_store_ac : s_load_ac, at + 64);
	}
	*ip = access == WRITE ? s_store : s_load;
	return catch(*ip, at + 64);
}

static void try(int leaf, int access, bool user, ulong cr0, ulong cr4, bool ac)
{
	static const char *const name[] = {"read", "write", "fetch"};
	const char *ip;
	long want = model(leaf, access, user, cr0, cr4, ac);
	ulong off = access == FETCH ? user ? 16 : 0 : 64;
	struct trap *t;
	bool ok;

	for (int l = 4; l >= leaf; l--)
		*e[l] &= ~(PTE_A | PTE_D);
	invlpg((void *)va);
	t = touch(access, user, ac, va, &ip);
	if (want < 0) {
		ok = t->vec == (user ? USER_RET : NOTRAP);
		for (int l = 4; l >= leaf; l--)
			ok = ok && *e[l] & PTE_A && !(*e[l] & PTE_D) == !(l == leaf && access == WRITE);
	} else {
		ok = t->vec == PF && t->err == (ulong)want && t->cr2 == va + off &&
			t->ip == (ulong)ip + (access == FETCH && user ? 16 : 0);
		for (int l = 4; l >= leaf; l--)
			ok = ok && !(*e[l] & PTE_D);
	}
	check(ok, "%s at CPL %d, leaf level %d: entries %llx %llx %llx %llx cr0 %lx cr4 %lx ac %d: want %ld, got %ld(%lx) cr2 %lx ip %lx",
		name[access], user ? 3 : 0, leaf, (unsigned long long)*e[4], (unsigned long long)*e[3],
		leaf <= 2 ? (unsigned long long)*e[2] : 0, leaf <= 1 ? (unsigned long long)*e[1] : 0, cr0, cr4, ac, want,
		t->vec, t->err, t->cr2, t->ip);
}

/* mask: what is taken away: 1 P, 2 W, 4 U, 8 X */
static uint64_t restrict_(uint64_t entry, unsigned mask)
{
	if (mask & 1)
		entry &= ~PTE_P;
	if (mask & 2)
		entry &= ~PTE_W;
	if (mask & 4)
		entry &= ~PTE_U;
	if (mask & 8)
		entry |= PTE_NX;
	return entry;
}

static void map(int leaf)
{
	static const ulong size[] = {0, 0x1000, 0x200000, 0x40000000};

	for (int l = 4; l >= leaf; l--)
		e[l] = pte_at(rt_pml4, va, l);
	*e[leaf] = ((ulong)page & -size[leaf]) | PTE_P | PTE_W | PTE_U | (leaf > 1 ? PTE_PS : 0);
	for (int l = 4; l >= leaf; l--)
		base[l] = *e[l];
	invlpg((void *)va);
}

static void restore(int leaf)
{
	for (int l = 4; l >= leaf; l--)
		*e[l] = base[l];
	invlpg((void *)va);
}

static void combinations(int leaf)
{
	const ulong cr0 = rdcr0(), cr4 = rdcr4();
	ulong smep = cpu_has(F_SMEP) ? CR4_SMEP : 0, smap = cpu_has(F_SMAP) ? CR4_SMAP : 0;

	/* the leaf and one level above */
	for (int l = leaf; l <= 4; l++)
		for (unsigned m = 0; m < (l == leaf ? 1 : 16); m++)
			for (unsigned n = 0; n < 16; n++) {
				*e[l] = restrict_(base[l], m);
				*e[leaf] = restrict_(*e[leaf], n);
				for (int access = READ; access <= FETCH; access++) {
					try(leaf, access, false, cr0, cr4, false);
					try(leaf, access, true, cr0, cr4, false);
				}
				restore(leaf);
			}
	/* control bits: the leaf only */
	for (unsigned c = 0; c < 16; c++) {
		ulong c0 = c & 1 ? cr0 : cr0 & ~(ulong)CR0_WP;
		ulong c4 = cr4 | (c & 2 ? smep : 0) | (c & 4 ? smap : 0);
		bool ac = c & 8 && smap;

		if ((c & 2 && !smep) || (c & 4 && !smap) || (c & 8 && !smap))
			continue;
		wrcr0(c0);
		wrcr4(c4);
		for (unsigned n = 0; n < 16; n++) {
			*e[leaf] = restrict_(base[leaf], n);
			for (int access = READ; access <= FETCH; access++) {
				try(leaf, access, false, c0, c4, ac);
				try(leaf, access, true, c0, c4, false);
			}
			restore(leaf);
		}
	}
	wrcr0(cr0);
	wrcr4(cr4);
}

static void read_modify_write(void)
{
	section("read-modify-write");
	*e[1] = base[1] & ~PTE_W;
	invlpg((void *)va);
	want(catch(s_xchg, va + 64), PF, PF_P | PF_W, s_xchg, "xchg faults as a write");
	want(catch(s_rmw, va + 64), PF, PF_P | PF_W, s_rmw, "lock add faults as a write");
	*(uint64_t *)(page + 64) = 2;
	want(catch(s_cmpxchg, va + 64), PF, PF_P | PF_W, s_cmpxchg_at, "cmpxchg that does not match faults as a write");
	*e[1] = base[1] & ~(PTE_P | PTE_A | PTE_D);
	invlpg((void *)va);
	quirk("TCG 7.2 reads first");
	want(catch(s_rmw, va + 64), PF, PF_W, s_rmw, "lock add to no page");
	*e[1] = base[1] & ~(PTE_A | PTE_D);
	invlpg((void *)va);
	want(catch(s_cmpxchg, va + 64), NOTRAP, 0, NULL, "cmpxchg");
	check(*e[1] & PTE_D, "cmpxchg that does not match sets D");
	check(*(uint64_t *)(page + 64) == 2, "and stores nothing new");
	/* the dirty bit comes when a clean translation is cached */
	*e[1] = base[1] & ~(PTE_A | PTE_D);
	invlpg((void *)va);
	catch(s_load, va + 64);
	check((*e[1] & (PTE_A | PTE_D)) == PTE_A, "load sets A only");
	catch(s_store, va + 64);
	check(*e[1] & PTE_D, "store through a cached clean translation sets D");
	restore(1);
}

static void no_nx(void)
{
	ulong cr4 = rdcr4();

	section("EFER.NXE clear");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(ulong)EFER_NXE);
	nxe = false;
	for (unsigned smep = 0; smep <= (cpu_has(F_SMEP) ? 1u : 0u); smep++) {
		ulong c4 = cr4 | (smep ? CR4_SMEP : 0);

		wrcr4(c4);
		for (unsigned n = 0; n < 16; n++) {
			*e[1] = restrict_(base[1], n);
			for (int access = READ; access <= FETCH; access++) {
				if (access == FETCH && n & 1 && !smep)
					continue;
				quirk("TCG 7.2 leaves P out of reserved-bit faults");
				try(1, access, false, rdcr0(), c4, false);
				quirk("TCG 7.2 leaves P out of reserved-bit faults");
				try(1, access, true, rdcr0(), c4, false);
			}
		}
		restore(1);
		*e[3] = base[3] | PTE_NX;
		quirk("TCG 7.2 leaves P out of reserved-bit faults");
		try(1, READ, false, rdcr0(), c4, false);
		quirk("TCG 7.2 leaves P out of reserved-bit faults");
		try(1, WRITE, true, rdcr0(), c4, false);
		restore(1);
	}
	wrcr4(cr4);
	nxe = true;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
}

static void reserved(int leaf)
{
	unsigned maxphy = rt_maxphyaddr();

	for (int l = 4; l >= leaf; l--) {
		for (unsigned bit = 7; bit < 52; bit++) {
			bool rsvd = bit >= maxphy || (l == 4 && bit == 7) ||
				(l == leaf && leaf == 2 && bit >= 13 && bit < 21) ||
				(l == leaf && leaf == 3 && bit >= 13 && bit < 30);
			struct trap *t;

			if (!rsvd)
				continue;
			*e[l] = base[l] | 1ull << bit;
			invlpg((void *)va);
			t = catch(s_load, va);
			quirk("TCG 7.2: no P with reserved bits");
			check(t->vec == PF && t->err == (PF_P | PF_R) && t->cr2 == va, "level %d of %d bit %u read: %ld(%lx)", l,
				leaf, bit, t->vec, t->err);
			t = user(u_store, va);
			quirk("TCG 7.2: no P with reserved bits");
			check(t->vec == PF && t->err == (PF_P | PF_R | PF_U | PF_W), "level %d of %d bit %u user write: %ld(%lx)",
				l, leaf, bit, t->vec, t->err);
			/* not present below a level: reserved bits of the entry that is present still count */
			*e[l] = (base[l] | 1ull << bit) & ~PTE_P;
			invlpg((void *)va);
			want(catch(s_load, va), PF, 0, s_load, "a non-present entry has no reserved bits");
			restore(leaf);
		}
	}
	/* PAT of a large page is bit 12, not reserved */
	if (leaf > 1) {
		*e[leaf] = base[leaf] | 1ull << 12;
		invlpg((void *)va);
		want(catch(s_load, va), NOTRAP, 0, NULL, "PAT bit of a large page");
		restore(leaf);
	}
}

static uint64_t peek(ulong at)
{
	return *(volatile uint64_t *)at;
}

/* What the architecture promises to be gone after each kind of invalidation. */
static void invalidation(void)
{
	uint8_t *other = page_alloc();
	uint64_t a = base[1], b = (base[1] & ~PTE_ADDR) | (ulong)other;
	ulong cr4 = rdcr4();

	section("invalidation");
	*(uint64_t *)(page + 128) = 1;
	*(uint64_t *)(other + 128) = 2;
	other[0] = 0xc3;
	*e[1] = a;
	invlpg((void *)va);
	check(peek(va + 128) == 1, "first page");
	*e[1] = b;
	invlpg((void *)(va + 0xfff));
	check(peek(va + 128) == 2, "invlpg of any byte of the page");
	*e[1] = a;
	wrcr3(rdcr3());
	check(peek(va + 128) == 1, "mov to cr3");
	*e[1] = b | PTE_G;
	invlpg((void *)va);
	check(peek(va + 128) == 2, "global page");
	*e[1] = a | PTE_G;
	wrcr4(cr4 & ~(ulong)CR4_PGE);
	wrcr4(cr4);
	check(peek(va + 128) == 1, "CR4.PGE flushes global pages");
	*e[1] = b | PTE_G;
	invlpg((void *)va);
	check(peek(va + 128) == 2, "invlpg drops a global page");
	*e[1] = a;
	wrcr0(rdcr0() & ~(ulong)CR0_WP);
	wrcr0(rdcr0() | CR0_WP);
	invlpg((void *)va);
	check(peek(va + 128) == 1, "after CR0.WP and invlpg");

	/* more permission needs no invalidation: at most one spurious fault */
	*e[1] = 0;
	invlpg((void *)va);
	want(catch(s_load, va), PF, 0, s_load, "not present");
	*e[1] = a & ~PTE_W;
	want(catch(s_load, va), NOTRAP, 0, NULL, "present without invlpg");
	want(catch(s_store, va + 256), PF, PF_P | PF_W, s_store, "read only");
	*e[1] = a;
	want(catch(s_store, va + 256), NOTRAP, 0, NULL, "a fault drops the translation that caused it");

	/* an upper level: invlpg drops the paging-structure caches of that address */
	{
		uint64_t *table = page_alloc(), old = *e[2];

		memcpy(table, (void *)(old & PTE_ADDR), NPAGE);
		table[va >> 12 & 511] = b;
		*e[2] = (old & ~PTE_ADDR) | (ulong)table;
		invlpg((void *)va);
		check(peek(va + 128) == 2, "another page table after invlpg");
		*e[2] = old;
		invlpg((void *)va);
		check(peek(va + 128) == 1, "and back");
	}
	/* large page split in two by a table with other contents */
	{
		ulong big = va + 0x40000000ul * 3;
		uint64_t *pde = pte_at(rt_pml4, big, 2), *table = page_alloc();
		ulong at = (ulong)page & 0x1ff000;

		*pde = ((ulong)page & -0x200000ul) | PTE_P | PTE_W | PTE_PS;
		big = (big & -0x200000ul) + at;
		invlpg((void *)big);
		check(peek(big + 128) == 1, "2M page");
		table[at >> 12] = (ulong)other | PTE_P | PTE_W;
		*pde = (ulong)table | PTE_P | PTE_W;
		invlpg((void *)big);
		check(peek(big + 128) == 2, "split 2M page");
		want(catch(s_load, big + 0x1000 < (big | 0x1fffff) ? big + 0x1000 : big - 0x1000), PF, 0, NULL,
			"invlpg drops all of the large page");
		*pde = 0;
		invlpg((void *)big);
	}
	want(catch(s_invlpg, 0x800000000000ul), NOTRAP, 0, NULL, "invlpg of a non-canonical address does nothing");
	restore(1);
}

static void pcid(void)
{
	struct { uint64_t pcid, addr; } d __attribute__((aligned(16)));
	uint8_t *pg[3];
	uint64_t *top[3];
	ulong cr3 = rdcr3(), cr4 = rdcr4(), nf = 1ul << 63;
	ulong at = 0x18000000000ul;

	section("CR3");
	if (rt_tcg)
		skip("TCG 7.2 takes any address and hangs");
	for (unsigned bit = rt_maxphyaddr(); bit < 63 && !rt_tcg; bit++) {
		struct trap *t = catch(s_wrcr3, cr3 | 1ul << bit);

		if (cpu_has(CPUID_(7, 1, 0, 26)) && (bit == 61 || bit == 62))
			continue;
		check(t->vec == GP && rdcr3() == cr3, "bit %u: %ld cr3 %lx", bit, t->vec, rdcr3());
		wrcr3(cr3);
	}
	section("PCID");
	if (!cpu_has(F_PCID)) {
		quirk("TCG 7.2 ignores it");
		want(catch(s_wrcr4, cr4 | CR4_PCIDE), GP, 0, s_wrcr4, "CR4.PCIDE without the feature");
		skip("no PCID");
		return;
	}
	want(catch(s_wrcr3, cr3 | nf), GP, 0, s_wrcr3, "bit 63 of CR3 without PCIDE");
	wrcr3(cr3 | 0x18);
	want(catch(s_wrcr4, cr4 | CR4_PCIDE), GP, 0, s_wrcr4, "PCIDE with CR3[11:0] not zero");
	wrcr3(cr3);
	want(catch(s_wrcr4, cr4 | CR4_PCIDE), NOTRAP, 0, NULL, "PCIDE");
	for (int i = 0; i < 3; i++) {
		pg[i] = page_alloc();
		*(uint64_t *)pg[i] = (uint64_t)i + 100;
		top[i] = page_alloc();
		memcpy(top[i], rt_pml4, NPAGE);
		*pte_at(top[i], at, 1) = (ulong)pg[i] | PTE_P | PTE_W;
		*pte_at(top[i], at + 0x1000, 1) = (ulong)pg[i] | PTE_P | PTE_W | PTE_G;
	}
	for (ulong i = 0; i < 3; i++) {
		wrcr3((ulong)top[i] | (i + 1));
		check(rdcr3() == ((ulong)top[i] | (i + 1)), "cr3 reads back");
		check(peek(at) == i + 100, "pcid %lu", i + 1);
	}
	for (ulong i = 0; i < 3; i++) {
		wrcr3((ulong)top[i] | (i + 1) | nf);
		check(rdcr3() == ((ulong)top[i] | (i + 1)), "bit 63 is not stored: %lx", rdcr3());
		check(peek(at) == i + 100, "pcid %lu without flush", i + 1);
	}
	/* change in another context, flush on the switch */
	*pte_at(top[0], at, 1) = (ulong)pg[2] | PTE_P | PTE_W;
	wrcr3((ulong)top[0] | 1);
	check(peek(at) == 102, "mov to cr3 flushes its context");
	if (cpu_has(F_INVPCID)) {
		static const char *const what[] = {"address", "context", "all and global", "all but global"};

		for (ulong type = 0; type < 4; type++) {
			wrcr3((ulong)top[0] | 1 | nf);
			*pte_at(top[0], at, 1) = (ulong)pg[0] | PTE_P | PTE_W;
			invlpg((void *)at);
			check(peek(at) == 100, "before");
			wrcr3((ulong)top[1] | 2 | nf);
			*pte_at(top[0], at, 1) = (ulong)pg[1] | PTE_P | PTE_W;
			d.pcid = 1;
			d.addr = at;
			catch(s_invpcid, &d, type);
			wrcr3((ulong)top[0] | 1 | nf);
			check(peek(at) == 101, "invpcid of %s", what[type]);
		}
		want(catch(s_invpcid, &d, 4), GP, 0, s_invpcid, "invpcid type 4");
		d.pcid = 0x1001;
		want(catch(s_invpcid, &d, 0), GP, 0, s_invpcid, "reserved bits in the descriptor");
		d.pcid = 1;
		d.addr = 0x800000000000ul;
		want(catch(s_invpcid, &d, 0), GP, 0, s_invpcid, "non-canonical address");
		want(catch(s_invpcid, &d, 1), NOTRAP, 0, NULL, "the address does not count in type 1");
		want(catch(s_invpcid, 0x400000000000ul), PF, 0, s_invpcid, "descriptor on no page");
		wrcr3((ulong)top[0]);
		wrcr4(cr4);
		d.addr = 0;
		want(catch(s_invpcid, &d, 0), GP, 0, s_invpcid, "a PCID without PCIDE");
		wrcr4(cr4 | CR4_PCIDE);
	} else {
		skip("no INVPCID");
	}
	/* leaving PCIDE flushes everything */
	wrcr3((ulong)top[0]);
	check(peek(at) == 101, "pcid 0");
	*pte_at(top[0], at, 1) = (ulong)pg[2] | PTE_P | PTE_W;
	wrcr4(cr4);
	check(peek(at) == 102, "clearing PCIDE flushes");
	wrcr3(cr3);
}

static void switches(void)
{
	section("CR0.PG and EFER");
	quirk("TCG 7.2 leaves long mode");
	want(rt_tcg ? catch(s_load, &page) : catch(s_pg_off), GP, 0, s_pg_off_at, "CR0.PG cleared in 64-bit mode");
	quirk("TCG 7.2 clears it");
	want(rt_tcg ? catch(s_load, &page) : catch(s_pae_off), GP, 0, s_pae_off_at, "CR4.PAE cleared in long mode");
	quirk("TCG 7.2 clears it");
	want(rt_tcg ? catch(s_load, &page) : catch(s_lme_off), GP, 0, s_lme_off_at, "EFER.LME cleared with paging on");
}

static void smap_implicit(void)
{
	ulong cr4 = rdcr4();

	if (!cpu_has(F_SMAP))
		return;
	section("SMAP, implicit accesses");
	wrcr4(cr4 | CR4_SMAP);
	want(catch(s_ac_sgdt, va + 64), PF, PF_P | PF_W, s_ac_sgdt, "sgdt to a user page");
	/* descriptor loads are implicit supervisor accesses, which AC does not excuse */
	*(uint64_t *)(page + 512 + 8) = rt_desc(0, 0xfffff, 0x93, 0xc);
	rt_gdt_set(SEL_TEST, rt_desc((uint32_t)(va + 512), 15, 0x82, 0));
	rt_gdt_set(SEL_TEST + 8, (va + 512) >> 32);
	__asm__ volatile("lldt %w0" :: "r"(SEL_TEST));
	want(catch(s_load_fs, 8 | 4), PF, PF_P, s_load_fs, "descriptor on a user page, AC clear");
	quirk("TCG 7.2 lets AC excuse it");
	want(catch(s_load_fs_ac, 8 | 4), PF, PF_P, s_load_fs_ac_at, "descriptor on a user page, AC set");
	__asm__ volatile("lldt %w0" :: "r"(0));
	wrcr4(cr4);
	__asm__ volatile("mov %0, %%fs" :: "r"(0));
}

void test_main(void)
{
	uint8_t *p = page_alloc();

	page = p;
	page[0] = 0xc3;
	page[16] = 0xcd;
	page[17] = 0x80;
	section("4K");
	map(1);
	combinations(1);
	read_modify_write();
	no_nx();
	section("reserved bits");
	reserved(1);
	invalidation();
	smap_implicit();
	section("2M");
	*pte_at(rt_pml4, va, 2) = 0;
	/* the large pages map low memory: the page at the same offset there */
	page = (uint8_t *)(0x600000 + (va & 0x1ff000));
	memcpy(page, p, 32);
	map(2);
	combinations(2);
	section("reserved bits 2M");
	reserved(2);
	*pte_at(rt_pml4, va, 2) = 0;
	section("1G");
	if (cpu_has(F_1G)) {
		page = (uint8_t *)(va & 0x3ffff000);
		memcpy(page, p, 32);
		map(3);
		combinations(3);
		section("reserved bits 1G");
		reserved(3);
		*pte_at(rt_pml4, va, 3) = 0;
	} else {
		skip("no 1G pages");
		*e[3] = base[3] | PTE_PS;
		invlpg((void *)va);
		want(catch(s_load, va), PF, PF_P | PF_R, s_load, "PS in a PDPTE is reserved");
		restore(2);
	}
	pcid();
	switches();
}
