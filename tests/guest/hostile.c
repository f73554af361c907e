/* SPDX-License-Identifier: MIT */
/*
 * A guest that makes no sense. Whatever it does, an architectural answer must come back: garbage to every
 * port and to memory with nothing behind it, tables and code in such memory, and random bytes executed at
 * CPL 3 in 64-, 32- and 16-bit code. seed=N and n=N on the command line make other and longer runs.
 */
#include "rt.h"

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

static bool ignore(struct frame *f)
{
	if (f->vec >= 32 && f->vec != USER_RET)
		apic_write(0xb0, 0);
	return f->vec == NMI || (f->vec >= 32 && f->vec != USER_RET);
}

/* Ports that end the run by design, or (QEMU) firmware's and DMA's */
static bool spared(unsigned port)
{
	static const struct { uint16_t from, to; } row[] = {
		{0x60, 0x6f}, {0x92, 0x92}, {0xb0, 0xb3}, {0xe9, 0xe9}, {0xf0, 0xf7}, {0x3f8, 0x3ff}, {0x500, 0x51f},
		{0x600, 0x60f}, {0xcf8, 0xcff},
	};

	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++)
		if (port + 3 >= row[i].from && port <= row[i].to)
			return true;
	return false;
}

static void ports(void)
{
	unsigned end = rt_tcg ? 0x400 : 0x10000;
	uint8_t *buf = page_alloc();

	section("ports");
	for (unsigned p = 0; p < end; p++) {
		uint16_t port = (uint16_t)p;

		if (spared(p))
			continue;
		(void)inb(port), (void)inw(port), (void)inl(port);
		outb(port, (uint8_t)rnd());
		outw(port, (uint16_t)rnd());
		outl(port, rnd());
		if (p % 64 == 0) {
			ulong d = (ulong)buf, n = 100;

			__asm__ volatile("rep insb" : "+D"(d), "+c"(n) : "d"(port) : "memory");
			d = (ulong)buf, n = 25;
			__asm__ volatile("rep outsl" : "+S"(d), "+c"(n) : "d"(port) : "memory");
		}
	}
	/* the top: an access that runs over port ffff */
	(void)inl(0xffff), (void)inw(0xffff);
	outl(0xffff, 0);
	check(true, "alive");
}

SNIPPET(s_movs, "mov %rdx, %rcx\n rep movsb\n ret");
SNIPPET(s_lock, "lock addq $1, (%rdi)\n ret");
SNIPPET(s_cmpxchg16b, "xor %eax, %eax\n xor %edx, %edx\n push %rbx\n lock cmpxchg16b (%rdi)\n pop %rbx\n ret");
SNIPPET(s_movups, "movups (%rdi), %xmm0\n movups %xmm0, (%rdi)\n ret");
SNIPPET(s_fxsave, "fxsave (%rdi)\n fxrstor (%rsi)\n ret");
SNIPPET(s_x87, "fninit\n fldt (%rdi)\n fstpt (%rdi)\n fninit\n ret");
SNIPPET(s_load8, "mov (%rdi), %rax\n mov %rax, (%rsi)\n ret");
SNIPPET(s_lldt_fs, "lldt %di\n mov $4, %eax\n mov %eax, %fs\n xor %eax, %eax\n mov %eax, %fs\n ret");
SNIPPET(s_lldt, "lldt %di\n ret");

static void memory(void)
{
	static const ulong hole[] = {0xd0000000, 0xd0000ff8, 0xfed10000, 0xfeb00000};
	uint8_t *ram = page_alloc_n(2, NPAGE);
	uint64_t v;

	section("memory that is not there");
	for (unsigned i = 0; i < sizeof(hole) / sizeof(*hole); i++) {
		ulong h = hole[i];
		struct trap *t;

		catch(s_load8, h, &v);
		quirk("TCG 7.2's bus gives zero");
		check(v == ~0ull, "reads all ones: %llx", (unsigned long long)v);
		*(volatile uint64_t *)h = 0x1122334455667788;
		catch(s_load8, h, &v);
		quirk("TCG 7.2's bus gives zero");
		check(v == ~0ull, "writes are lost: %llx", (unsigned long long)v);
		for (unsigned size = 1; size <= 8; size *= 2)
			for (unsigned off = 0; off < 8; off++) {
				t = catch(s_movs, ram, h + off, size);
				check(t->vec == NOTRAP, "movs from there");
			}
		check(catch(s_movs, h, ram, NPAGE)->vec == NOTRAP, "movs to there");
		check(catch(s_movs, ram, h, NPAGE)->vec == NOTRAP, "movs from there");
		check(catch(s_lock, h)->vec == NOTRAP, "lock add");
		if (cpu_has(F_CX16) && !(h & 15))
			check(catch(s_cmpxchg16b, h)->vec == NOTRAP, "cmpxchg16b");
		check(catch(s_movups, h)->vec == NOTRAP, "movups");
		check(catch(s_x87, h)->vec == NOTRAP, "x87");
		memset(ram, 0, 512);
		*(uint32_t *)(ram + 24) = 0x1f80;
		*(uint16_t *)ram = 0x37f;
		if (!(h & 15))
			check(catch(s_fxsave, h, ram)->vec == NOTRAP, "fxsave");
		/* code: all ones is no instruction */
		if (!rt_tcg) { /* whose bus gives zero, which is code */
			t = catch(h);
			check(t->vec == UD || t->vec == GP, "code: %ld", t->vec);
		}
		/* a descriptor table */
		rt_gdt_set(SEL_TEST, rt_desc((uint32_t)h, 0xff, 0x82, 0));
		rt_gdt_set(SEL_TEST + 8, 0);
		t = catch(s_lldt_fs, SEL_TEST);
		check(t->vec == NOTRAP || t->vec == GP || t->vec == NP, "LDT: %ld", t->vec);
		catch(s_lldt, 0);
		/* a page table */
		{
			const ulong va = 0x60000000000ul;
			uint64_t *pde = pte_at(rt_pml4, va, 2);

			*pde = (h & ~0xffful) | PTE_P | PTE_W | PTE_U;
			invlpg((void *)va);
			t = catch(s_load8, va, &v);
			check(t->vec == PF, "page table: %ld(%lx)", t->vec, t->err);
			*pde = 0;
			invlpg((void *)va);
		}
	}
	/* an access that runs over the end of RAM, and one over the end of the physical address space */
	{
		const ulong va = 0x70000000000ul;
		unsigned maxphy = rt_maxphyaddr();
		ulong mem = 64ul << 20;

		rt_arg("mem", &mem);
		check(catch(s_load8, mem - 4, &v)->vec == NOTRAP && catch(s_movs, mem - 100, ram, 200)->vec == NOTRAP, "end of RAM");
		*pte_at(rt_pml4, va, 1) = ((1ull << maxphy) - NPAGE) | PTE_P | PTE_W;
		*pte_at(rt_pml4, va + NPAGE, 1) = (1ull << (maxphy - 1)) | PTE_P | PTE_W;
		invlpg((void *)va);
		invlpg((void *)(va + NPAGE));
		check(catch(s_load8, va + NPAGE - 4, &v)->vec == NOTRAP, "end of the address space");
		check(catch(s_movs, va + NPAGE - 50, ram, 100)->vec == NOTRAP, "writes there");
	}
}

static void apics(void)
{
	section("interrupt controllers");
	/* registers of the local APIC but EOI and the command register, by all widths and between registers */
	for (unsigned reg = 0; reg < 0x1000; reg += 4) {
		volatile uint32_t *p = (volatile uint32_t *)(0xfee00000ul + reg);

		if ((reg & 0xff0) == 0x300 && reg < 0x400)
			continue;
		(void)*p;
		(void)*(volatile uint8_t *)((ulong)p + 1);
		(void)*(volatile uint64_t *)p;
		if (reg >= 0x20 && reg < 0x800) /* below: QEMU takes it for an MSI */
			*p = rnd() | (reg >= 0x2f0 && reg < 0x380 ? 0x10000 : 0); /* LVT entries stay masked */
	}
	for (unsigned i = 0; i < 2000; i++) {
		*(volatile uint32_t *)0xfec00000ul = rnd() & 0xff;
		(void)*(volatile uint32_t *)0xfec00010ul;
		/* masked: what a redirected NMI or INIT does is another test's matter */
		if ((*(volatile uint32_t *)0xfec00000ul & 1) == 0)
			*(volatile uint32_t *)0xfec00010ul = rnd() | 0x10000;
		(void)*(volatile uint8_t *)(0xfec00000ul + (rnd() & 0xfff));
	}
	/* put the local APIC in order again */
	apic_enable();
	for (unsigned r = 0x320; r <= 0x370; r += 0x10)
		apic_write(r, 0x10000);
	apic_write(0x380, 0);
	for (unsigned i = 0; i < 300; i++)
		sti_nop_cli(), apic_write(0xb0, 0);
	check(true, "alive");
}

/* ---- random bytes at CPL 3, in a page of their own; the rest of memory is not theirs */
static const ulong box = 0x40000000; /* below 4 GiB, for 32-bit code: code page, data page, stack page */

/* Late ones, back in the test itself, do not count. */
static bool on_timer(struct frame *f)
{
	if (f->cs & 3)
		return false;
	apic_write(0xb0, 0);
	return true;
}

static void random_code(unsigned n)
{
	uint8_t *pg[3];
	unsigned count[40] = {0}, other = 0;
	ulong cr4 = rdcr4();
	uint64_t *pde = pte_at(rt_pml4, box, 2), old = *pde;
	static const struct { unsigned sel, flags; const char *name; } mode[] = {
		{SEL_UCS, 0, "64-bit"}, {SEL_UCS32, 0, "32-bit"}, {SEL_TEST | 3, 0, "16-bit"},
	};

	*pde = 0;
	invlpg((void *)box);
	for (unsigned i = 0; i < 3; i++) {
		pg[i] = page_alloc();
		*pte_at(rt_pml4, box + i * NPAGE, 1) = (ulong)pg[i] | PTE_P | PTE_W | PTE_U;
	}
	*pte_at(rt_pml4, box & -0x200000ul, 2) |= PTE_U;
	wrcr3(rdcr3());
	rt_gdt_set(SEL_TEST, rt_desc((uint32_t)box, 0xffff, 0xfb, 0)); /* 16-bit code at the box */
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(uint64_t)EFER_SCE);
	wrcr4(cr4 | (cpu_has(F_XSAVE) ? CR4_OSXSAVE : 0));
	if (cpu_has(F_XSAVE))
		__asm__ volatile("xsetbv" :: "a"(cpu_has(F_AVX) ? 7 : 3), "d"(0), "c"(0));
	for (char *p = user_begin; p < user_end; p += NPAGE)
		rt_pt[(ulong)p / NPAGE] &= ~PTE_U;
	wrcr3(rdcr3());
	rt_hook[0x40] = on_timer; /* the timer ends loops: it is caught as an exception is */
	apic_write(0x3e0, 0xb);
	apic_write(0x320, 0x40);
	for (unsigned i = 0; i < n; i++) {
		unsigned m = rnd() % 3;
		struct enter e = {mode[m].sel, SEL_UDS, box + 3 * NPAGE - 256, FL_1 | FL_IF};
		uint64_t at = seed;
		struct trap *t;

		for (unsigned k = 0; k < 64; k += 4)
			*(uint32_t *)(pg[0] + 64 + k) = rnd();
		/* half of them start with an opcode map that random bytes seldom reach */
		if (rnd() & 1)
			pg[0][64] = "\x0f\x66\xf3\xf2\xc5\xc4\x48\xf0"[rnd() & 7], pg[0][65] = "\x0f\x0f\x0f\xc7\xae\x01\xfb\x38"[rnd() & 7];
		*(uint32_t *)(pg[0] + 64 + 64) = 0x80cd80cd;
		apic_write(0x380, 300000);
		t = enter((void *)(m == 2 ? 64 : box + 64), box + NPAGE, box + NPAGE + 512, &e);
		apic_write(0x380, 0);
		if (t->vec == 0x40)
			apic_write(0xb0, 0);
		if (t->vec >= 0 && t->vec < 32)
			count[t->vec]++;
		else if (t->vec == USER_RET || t->vec == 0x40)
			other++;
		else
			check(false, "seed %llx (%s): vector %ld", (unsigned long long)at, mode[m].name, t->vec);
		if ((t->cs & 3) != 3 || t->vec == DF || t->vec == NMI || t->vec == MC)
			check(false, "seed %llx (%s): vector %ld at %lx:%lx", (unsigned long long)at, mode[m].name, t->vec, t->cs, t->ip);
		/* debris: debug status, FPU control, flags */
		wrdr6(0xffff0ff0);
		__asm__ volatile("fninit\n push $0x1f80\n ldmxcsr (%%rsp)\n add $8, %%rsp" ::: "memory");
		sti_nop_cli();
	}
	say("of %u: #DE %u #DB %u #BP %u #OF %u #BR %u #UD %u #NM %u #NP %u #SS %u #GP %u #PF %u #MF %u #AC %u #XM %u, others %u\n", n,
		count[DE], count[DB], count[BP], count[OF], count[BR], count[UD], count[NM], count[NP], count[SS], count[GP], count[PF],
		count[MF], count[AC], count[XM], other);
	check(count[UD] && count[GP] && count[PF], "the usual ones come");
	*pde = old;
	wrcr4(cr4);
	wrcr3(rdcr3());
}

SNIPPET(s_wrcr3, "mov %rdi, %cr3\n ret");
SNIPPET(s_wrmsr, "mov %edi, %ecx\n mov %esi, %eax\n mov %rsi, %rdx\n shr $32, %rdx\n wrmsr\n ret");
SNIPPET(s_rdmsr, "mov %edi, %ecx\n rdmsr\n ret");
SNIPPET(s_cpuid, "push %rbx\n mov %edi, %eax\n mov %esi, %ecx\n cpuid\n pop %rbx\n ret");

static void registers(void)
{
	section("MSRs");
	for (unsigned i = 0; i < 3000; i++) {
		static const uint32_t base[] = {0, 0x400, 0x800, 0xc0000080, 0xc0010000, 0x40000000, 0x4b564d00, 0xd90};
		uint32_t msr = base[rnd() & 7] + rnd() % (i & 1 ? 64 : 1024);
		struct trap *t = catch(s_rdmsr, i % 5 ? msr : rnd());

		check(t->vec == NOTRAP || t->vec == GP, "rdmsr %x: %ld", msr, t->vec);
		/* only the ones that hold nothing this test lives on */
		if (msr >= 0xc0000100 && msr <= 0xc0000102) {
			t = catch(s_wrmsr, msr, (ulong)rnd() << 32 | rnd());
			check(t->vec == NOTRAP || t->vec == GP, "wrmsr %x: %ld", msr, t->vec);
		}
		catch(s_cpuid, i & 1 ? rnd() & 0x8000003f : rnd(), rnd() & 0xff);
	}
	wrmsr(MSR_GS_BASE, 0), wrmsr(MSR_FS_BASE, 0);
}

void test_main(void)
{
	ulong v = 0, n = 4000;

	if (rt_arg("seed", &v) && v)
		seed ^= v * 0x100000001b3ull;
	rt_arg("n", &n);
	for (unsigned i = 0; i < 256; i++)
		if (i >= 32 || i == NMI)
			rt_hook[i] = i == USER_RET ? NULL : ignore;
	apic_enable();
	memory();
	registers();
	apics();
	ports();
	section("random code");
	if (rt_tcg)
		skip("QEMU 7.2 ends by an assertion (gen_pinsr)");
	else
		random_code((unsigned)n);
}
