/* SPDX-License-Identifier: MIT */
/*
 * Random code on the other CPUs, in ring 0 and ring 3; tests/guest/fuzz runs it and judges.
 *
 *	seed=N	where the random numbers start (default 1)
 *	secs=N	how long, by a TSC of 2 GHz if the hypervisor does not say (default 2)
 *
 * CPU 0 looks on. Each of the others makes a few dozen bytes (valid instructions changed a little, encodings at
 * random, plain noise), random registers and page-table entries, and goes there by IRET, in 64-, 32- or 16-bit
 * code. Every vector of the IDT leads back: CR3, CR0, CR4, EFER, segments, FPU are put in order and the next
 * round begins. The APIC's timer ends loops; where interrupts are off CPU 0 helps with an NMI, then with INIT and
 * start-up, after which the CPU must come back: that it does is the one thing checked here.
 *
 * While random code runs, its page tables map the image read-only, one page for the frame of an exception, and a
 * box of its own pages. Ring 0 can escape from that (CR3, CR0.WP, MSRs, ports), and then this guest may do
 * anything: end by a triple fault, by some port, or never. All of that is fine as long as husk is.
 */
#include "rt.h"

enum { BOX_PAGES = 12, BOX_OWN = 8, WATCH = 0x40 };
static const ulong box = 0x40000000; /* below 4 GiB: for 32-bit code, too */

struct fuzzer {
	/* first page: mapped writable while random code runs, IST 1 and 2 grow down from its end */
	struct fuzzer *self;
	ulong stack;          /* of fuzz_next() */
	ulong cr0, cr4, efer, xcr0;
	ulong vec;
	ulong regs[15], iret[5]; /* what random code begins with: popped off from here, by both page tables */
	uint8_t room[NPAGE - 27 * 8];
	/* not mapped then */
	uint64_t state; /* of the random numbers */
	uint64_t *pml4, *pt;
	uint8_t *page[BOX_OWN];
	volatile ulong rounds;
	ulong by_vec[256];
	unsigned resets, nmis;
};
static struct fuzzer *fuzzers[RT_NCPU];
static volatile bool stop;

static uint64_t rnd_of(struct fuzzer *f)
{
	f->state ^= f->state << 13;
	f->state ^= f->state >> 7;
	f->state ^= f->state << 17;
	return f->state * 0x2545f4914f6cdd1dull;
}
#define RND(n) ((unsigned)((rnd_of(f) >> 33) % (n)))
#define CHANCE(percent) (RND(100) < (percent))

/* ---- in and out of random code */
void fuzz_next(struct fuzzer *f) __attribute__((noreturn));
extern const char fz_stubs[];
__asm__(".text\n.balign 16\nfz_stubs:\n.set fz_vec, 0\n.rept 256\n.balign 16\n pushq $fz_vec\n jmp fz_back\n.set fz_vec, fz_vec + 1\n.endr\n"
	/* rsp: somewhere in the fuzzer's first page; all else may be anything */
	"fz_back: cld\n mov %rsp, %rax\n and $-4096, %rax\n mov (%rax), %rdi\n pop %rax\n mov %rax, 48(%rdi)\n"
	"mov $rt_pml4, %eax\n mov %rax, %cr3\n mov 16(%rdi), %rax\n mov %rax, %cr0\n mov 24(%rdi), %rax\n mov %rax, %cr4\n"
	"mov $0xc0000080, %ecx\n mov 32(%rdi), %eax\n xor %edx, %edx\n wrmsr\n"
	"xor %eax, %eax\n mov %rax, %dr7\n mov %rax, %cr8\n mov %eax, %fs\n mov %eax, %gs\n lldt %ax\n"
	"mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n"
	/* by IRET: the next NMI needs one */
	"push $0x10\n push 8(%rdi)\n push $2\n push $8\n push $fuzz_next\n iretq\n");

/* ---- random code */
static const uint32_t msrs[] = {0x10, 0x1b, 0x174, 0x175, 0x176, 0x1a0, 0x277, 0x2ff, 0x6e0, 0x80b, 0x808, 0x830, 0x832, 0x838,
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103, 0x4b564d01, 0x48, 0xd90, 0xda0, 0x1d9};

static unsigned random_insn(struct fuzzer *f, uint8_t *p)
{
	static const struct { uint8_t n, b[7]; } fixed[] = {
		{3, {0x0f, 0x22, 0xd8}}, {3, {0x0f, 0x22, 0xc0}}, {3, {0x0f, 0x22, 0xe0}}, {3, {0x0f, 0x20, 0xc0}}, {4, {0x44, 0x0f, 0x22, 0xc0}},
		{2, {0x0f, 0x30}}, {2, {0x0f, 0x32}}, {2, {0x0f, 0xa2}}, {2, {0x0f, 0x31}}, {3, {0x0f, 0x01, 0xf8}}, {3, {0x0f, 0x01, 0xf9}},
		{2, {0x0f, 0x05}}, {3, {0x48, 0x0f, 0x07}}, {2, {0x0f, 0x34}}, {2, {0x0f, 0x35}}, {2, {0x48, 0xcf}}, {1, {0xcf}}, {1, {0x9d}}, {1, {0x9c}},
		{1, {0xfa}}, {1, {0xfb}}, {1, {0xf4}}, {2, {0xcd, 0x80}}, {1, {0xcc}}, {1, {0xf1}}, {2, {0x0f, 0x0b}}, {3, {0x0f, 0x01, 0xca}}, {3, {0x0f, 0x01, 0xcb}},
		{3, {0x0f, 0x01, 0xd0}}, {3, {0x0f, 0x01, 0xd1}}, {2, {0x0f, 0x09}}, {2, {0x0f, 0x06}}, {1, {0xcb}}, {2, {0x48, 0xcb}}, {1, {0xc9}},
		{4, {0xc8, 0x10, 0, 3}}, {2, {0xeb, 0xfe}}, {2, {0xe2, 0xfe}}, {2, {0xeb, 0xf0}}, {3, {0xf3, 0x48, 0xa5}}, {2, {0xf3, 0xaa}}, {2, {0xf3, 0xa6}},
		{2, {0x8e, 0xd0}}, {2, {0x8e, 0xd8}}, {2, {0x8e, 0xe0}}, {3, {0x0f, 0xa1}}, {3, {0x0f, 0x00, 0xd0}}, {3, {0x0f, 0x00, 0xd8}}, {3, {0x0f, 0x01, 0x3f}},
		{3, {0x0f, 0x01, 0x17}}, {3, {0x0f, 0x01, 0x1f}}, {3, {0x0f, 0xae, 0x07}}, {3, {0x0f, 0xae, 0x0f}}, {3, {0x0f, 0xae, 0x27}}, {3, {0x0f, 0xae, 0x2f}},
		{3, {0x0f, 0xc7, 0x27}}, {4, {0x48, 0x0f, 0xc7, 0x0f}}, {5, {0xf0, 0x48, 0x0f, 0xc7, 0x0f}}, {3, {0xff, 0x2f}}, {2, {0xff, 0x1f}}, {2, {0xff, 0xe0}},
		{2, {0xff, 0xd0}}, {1, {0xc3}}, {3, {0xc2, 8, 0}}, {5, {0xe8, 0, 0, 0, 0}}, {7, {0xc6, 0x05, 2, 0, 0, 0, 0x90}}, {6, {0x89, 0x05, 0xf8, 0xff, 0xff, 0xff}},
		{5, {0x66, 0x0f, 0x38, 0x82, 0x07}}, {4, {0xf3, 0x0f, 0xae, 0xd0}}, {4, {0xf3, 0x0f, 0xae, 0xd8}}, {1, {0xec}}, {1, {0xee}}, {1, {0xef}}, {2, {0xf3, 0x6c}},
		{2, {0xf3, 0x6e}}, {3, {0x0f, 0x23, 0xf8}}, {3, {0x0f, 0x23, 0xc0}}, {1, {0x9b}}, {2, {0xdb, 0xe3}}, {3, {0xc5, 0xf8, 0x77}}, {2, {0x0f, 0x77}},
		{3, {0x0f, 0x01, 0xee}}, {3, {0x0f, 0x01, 0xef}}, {3, {0x0f, 0x01, 0xc1}}, {3, {0x0f, 0x01, 0xd9}}, {2, {0x0f, 0xaa}}, {2, {0xd7, 0x90}},
	};
	static const uint8_t prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
	unsigned n = 0, kind = RND(100), modrm;

	if (kind < 18) {
		unsigned k = RND(sizeof(fixed) / sizeof(*fixed));

		memcpy(p, fixed[k].b, fixed[k].n);
		n = fixed[k].n;
		if (CHANCE(15))
			p[RND(n)] ^= (uint8_t)(1u << RND(8));
		return n;
	}
	if (kind < 26) { /* noise */
		for (n = 0; n < 1 + RND(12); n++)
			p[n] = (uint8_t)rnd_of(f);
		return n;
	}
	if (kind < 34) { /* a short branch, mostly forward */
		p[n++] = (uint8_t)(CHANCE(70) ? 0x70 + RND(16) : CHANCE(50) ? 0xeb : 0xe0 + RND(4));
		p[n++] = (uint8_t)(CHANCE(80) ? RND(20) : rnd_of(f) & 0xff);
		return n;
	}
	while (CHANCE(22) && n < 5)
		p[n++] = prefix[RND(sizeof(prefix))];
	if (kind < 56) { /* VEX, a few of them EVEX or XOP */
		if (CHANCE(40)) {
			p[n++] = 0xc5;
			p[n++] = (uint8_t)rnd_of(f);
		} else {
			p[n++] = CHANCE(94) ? 0xc4 : CHANCE(50) ? 0x62 : 0x8f;
			p[n++] = (uint8_t)((rnd_of(f) & 0xe0) | (1 + RND(3)));
			p[n++] = (uint8_t)(CHANCE(50) ? rnd_of(f) | 0x78 : rnd_of(f));
		}
		p[n++] = (uint8_t)rnd_of(f);
	} else {
		if (CHANCE(50))
			p[n++] = (uint8_t)(0x40 | RND(16));
		if (kind >= 72)
			p[n++] = 0x0f;
		if (kind >= 92)
			p[n++] = CHANCE(50) ? 0x38 : 0x3a;
		p[n++] = (uint8_t)rnd_of(f);
	}
	modrm = (unsigned)rnd_of(f) & 0xff;
	if (CHANCE(30))
		modrm |= 0xc0;
	else if (CHANCE(30))
		modrm = (modrm & 0x38) | RND(8); /* no displacement */
	p[n++] = (uint8_t)modrm;
	for (unsigned k = RND(5); k; k--)
		p[n++] = (uint8_t)(CHANCE(50) ? RND(16) : rnd_of(f));
	return n;
}

/*
 * What in ring 0 mostly ends the guest: writes of control registers, descriptor tables, the task register, MSRs.
 * Each start costs as much as thousands of rounds, so that most of these become NOP.
 */
static void tame(struct fuzzer *f, uint8_t *p, unsigned n)
{
	for (unsigned i = 0; i + 2 < n; i++) {
		unsigned reg = p[i + 2] >> 3 & 7;

		if (p[i] == 0x0f && (p[i + 1] == 0x22 || p[i + 1] == 0x30 || (p[i + 1] == 0x00 && reg == 3) ||
				(p[i + 1] == 0x01 && (reg == 2 || reg == 3 || reg == 6) && p[i + 2] < 0xc0)) && CHANCE(97))
			p[i] = 0x90;
	}
}

static ulong random_value(struct fuzzer *f)
{
	switch (RND(12)) {
	case 0:
		return rnd_of(f);
	case 1:
		return RND(300);
	case 2:
		return (ulong)-(long)RND(300);
	case 3: /* the image, page tables, stacks of the others: not writable, or not mapped */
		return 0x100000 + RND(0x400000);
	case 4: {
		static const ulong odd[] = {0xfee00000, 0xfee00300, 0xfec00000, 0xd0000000, 0x7ffffffffffc, 0x800000000000, 0xffff800000000000,
			0xfffffffffffffffe, 0xb8000, 0xfffffff0, 0x3fffffe, 0x80000000};

		return odd[RND(sizeof(odd) / sizeof(*odd))];
	}
	case 5:
		return rnd_of(f) & 0xffff;
	case 6: /* what segment loads like */
		return RND(0x200);
	default: /* the box, also around its ends and page boundaries */
		return CHANCE(60) ? box + RND(BOX_PAGES * NPAGE) : box + RND(BOX_PAGES + 1) * NPAGE - RND(20);
	}
}

static void random_tables(struct fuzzer *f)
{
	for (unsigned i = 0; i < BOX_PAGES; i++) {
		uint64_t e = (ulong)f->page[i < BOX_OWN && CHANCE(70) ? i : RND(BOX_OWN)] | PTE_P | PTE_W | PTE_U;

		if (i > 3 || CHANCE(20))
			e ^= (CHANCE(20) ? PTE_W : 0) | (CHANCE(20) ? PTE_U : 0) | (CHANCE(20) ? PTE_NX : 0) | (CHANCE(10) ? PTE_P : 0) |
				(CHANCE(10) ? PTE_G : 0) | (CHANCE(10) ? PTE_A | PTE_D : 0) | (CHANCE(3) ? 1ull << (12 + RND(52)) : 0);
		if (i >= 10 && CHANCE(20)) /* devices, nothing, the page table itself */
			e = (CHANCE(50) ? 0xfee00000 : CHANCE(50) ? 0xd0000000 : (ulong)f->pt) | PTE_P | PTE_W | PTE_U;
		f->pt[i] = e;
	}
}

/* Comes here by IRET from fz_back as by a call. */
void fuzz_next(struct fuzzer *f)
{
	static const struct { uint16_t cs, ss; } mode[] = {{SEL_KCS, SEL_KDS}, {SEL_KCS, SEL_KDS}, {SEL_UCS, SEL_UDS}, {SEL_UCS, SEL_UDS},
		{SEL_UCS32, SEL_UDS}, {SEL_KCS32, SEL_KDS}, {SEL_TEST | 3, SEL_UDS}};
	unsigned m, at, n;
	uint8_t *code;

	f->by_vec[f->vec & 0xff]++;
	f->rounds++;
	__asm__ volatile("fninit\n push $0x1f80\n ldmxcsr (%%rsp)\n add $8, %%rsp" ::: "memory");
	if (f->xcr0)
		__asm__ volatile("xsetbv" :: "a"((uint32_t)f->xcr0), "d"(0), "c"(0));
	wrmsr(MSR_KERNEL_GS, 0);
	if (stop)
		for (;;)
			__asm__ volatile("cli\n hlt");
	/* the timer: not if random code has switched the APIC off or to x2APIC; CPU 0 will see to it */
	if ((rdmsr(MSR_APIC_BASE) & 0xc00) == 0x800) {
		for (unsigned i = 0; i < 16; i++)
			apic_write(0xb0, 0);
		apic_write(0xf0, 0x1ff);
		apic_write(0x3e0, 0xb);
		apic_write(0x320, WATCH);
		apic_write(0x380, 20000 + RND(CHANCE(10) ? 1000000 : 100000));
	}
	random_tables(f);
	m = RND(sizeof(mode) / sizeof(*mode));
	at = CHANCE(15) ? NPAGE - RND(40) : RND(NPAGE - 200);
	for (n = 0; n < 8 + RND(80);)
		n += random_insn(f, f->page[0] + at + n);
	if (mode[m].cs == SEL_KCS || mode[m].cs == SEL_KCS32)
		tame(f, f->page[0] + at, n);
	code = f->page[0] + at + n;
	if (CHANCE(80) && at + n < 2 * NPAGE - 8)
		memset(code, 0xcc, 4); /* not HLT: behind OUT it is the debug exit port */
	/* the first two pages of the box are where the code is, one after the other */
	f->pt[0] = (ulong)f->page[0] | (CHANCE(95) ? PTE_P : 0) | PTE_W | PTE_U;
	f->pt[1] = (ulong)f->page[0] + NPAGE;
	f->pt[1] |= (CHANCE(90) ? PTE_P : 0) | PTE_W | PTE_U;

	for (unsigned i = 0; i < 15; i++)
		f->regs[i] = random_value(f);
	if (CHANCE(25))
		f->regs[1] = msrs[RND(sizeof(msrs) / sizeof(*msrs))];
	f->iret[0] = m == 6 ? at : box + at;
	f->iret[1] = mode[m].cs;
	f->iret[2] = FL_1 | (CHANCE(85) ? FL_IF : 0) | (CHANCE(3) ? FL_TF : 0) | (CHANCE(5) ? FL_AC : 0) | (CHANCE(10) ? FL_DF : 0) |
		(rnd_of(f) & 0x8d5) | (CHANCE(20) ? FL_IOPL : 0) | (CHANCE(3) ? FL_NT : 0) | (CHANCE(3) ? FL_RF : 0);
	f->iret[3] = CHANCE(85) ? box + 3 * NPAGE + (RND(NPAGE) & ~7u) : random_value(f);
	f->iret[4] = mode[m].ss;
	__asm__ volatile("mov %0, %%cr3\n mov %1, %%rsp\n"
		"pop %%rax\n pop %%rcx\n pop %%rdx\n pop %%rbx\n pop %%rbp\n pop %%rsi\n pop %%rdi\n pop %%r8\n pop %%r9\n pop %%r10\n pop %%r11\n"
		"pop %%r12\n pop %%r13\n pop %%r14\n pop %%r15\n iretq"
		:: "r"(f->pml4), "r"(f->regs) : "memory");
	__builtin_unreachable();
}

/* On each CPU but 0; again after INIT. */
static void fuzz(ulong n)
{
	struct fuzzer *f = fuzzers[n];
	uint8_t *tss = rt_tss();
	ulong top = (ulong)f + NPAGE;

	wrcr4(rdcr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (cpu_has(F_XSAVE) ? CR4_OSXSAVE : 0) | (cpu_has(F_FSGSBASE) ? CR4_FSGSBASE : 0));
	f->cr0 = rdcr0();
	f->cr4 = rdcr4();
	f->efer = rdmsr(MSR_EFER);
	f->xcr0 = cpu_has(F_XSAVE) ? cpu_has(F_AVX) ? 7 : 3 : 0;
	f->vec = 0xff;
	/* all of IST: one exception at a time */
	for (unsigned i = 0; i < 3; i++)
		memcpy(tss + 36 + 8 * i, &top, 8);
	memcpy(tss + 4, &top, 8); /* RSP0 */
	fuzz_next(f);
}

static void fuzzer_make(unsigned n, uint64_t seed)
{
	struct fuzzer *f = page_alloc_n((sizeof(*f) + NPAGE - 1) / NPAGE, NPAGE);
	uint8_t *own = page_alloc_n(BOX_OWN + 1, NPAGE);
	uint64_t *pdpt = page_alloc(), *pd = page_alloc(), *low = page_alloc_n(2, NPAGE), *pdbox = page_alloc(), *heap_pt;

	f->self = f;
	f->stack = (ulong)page_alloc_n(4, NPAGE) + 4 * NPAGE - 8;
	f->state = seed * 0x100000001b3ull + n * 0x9e3779b97f4a7c15ull + 1;
	f->pml4 = page_alloc();
	f->pt = page_alloc();
	for (unsigned i = 0; i < BOX_OWN; i++)
		f->page[i] = own + i * NPAGE;
	/* the image read-only, but for its pages of CPL 3; the box */
	f->pml4[0] = (ulong)pdpt | PTE_P | PTE_W | PTE_U;
	pdpt[0] = (ulong)pd | PTE_P | PTE_W | PTE_U;
	pdpt[box >> 30] = (ulong)pdbox | PTE_P | PTE_W | PTE_U;
	for (unsigned i = 0; i < 1024; i++)
		low[i] = rt_pt[i] & ~(PTE_W | PTE_U);
	pd[0] = (ulong)low | PTE_P | PTE_W;
	pd[1] = (ulong)(low + 512) | PTE_P | PTE_W;
	pdbox[0] = (ulong)f->pt | PTE_P | PTE_W | PTE_U;
	/* the page for exceptions */
	heap_pt = page_alloc();
	heap_pt[(ulong)f >> 12 & 511] = (ulong)f | PTE_P | PTE_W;
	pd[(ulong)f >> 21] = (ulong)heap_pt | PTE_P | PTE_W;
	fuzzers[n] = f;
}

extern volatile uint32_t rt_ap_ticket;

void test_main(void)
{
	ulong seed = 1, secs = 2, rounds = 0, khz = 2000000;
	uint32_t r[4];
	ulong seen[RT_NCPU] = {0};
	uint64_t since[RT_NCPU] = {0}, start, ms;
	unsigned stage[RT_NCPU] = {0}, n, back = 0;

	rt_arg("seed", &seed);
	rt_arg("secs", &secs);
	cpuid(0x40000000, 0, r);
	if (r[0] >= 0x40000010 && r[0] < 0x40000100) {
		cpuid(0x40000010, 0, r);
		khz = r[0] ? r[0] : khz;
	}
	ms = khz;
	section("random code");
	say("seed %lu, %lu seconds\n", seed, secs);
	/* 16-bit code at the box */
	rt_gdt_set(SEL_TEST, rt_desc((uint32_t)box, 0xffff, 0xfb, 0));
	n = rt_smp_start();
	if (n < 2) {
		check(false, "needs two CPUs");
		return;
	}
	for (unsigned c = 1; c < n; c++)
		fuzzer_make(c, seed);
	/* CPU 0 raises no exceptions: the IDT is the fuzzers' from here on */
	for (unsigned v = 0; v < 256; v++)
		rt_gate(v, fz_stubs + 16 * v, v == 3 || v == 4 || v >= 0x80 ? 3 : 0, 1, 14, SEL_KCS);
	start = rdtsc();
	for (unsigned c = 1; c < n; c++) {
		since[c] = start;
		rt_on(c, fuzz, c);
	}
	while (rdtsc() - start < secs * 1000 * ms) {
		for (unsigned i = 0; i < 200; i++)
			pause_();
		for (unsigned c = 1; c < n; c++) {
			struct fuzzer *f = fuzzers[c];
			uint64_t now = rdtsc();

			if (f->rounds != seen[c]) {
				seen[c] = f->rounds;
				since[c] = now;
				back += stage[c] > 1;
				stage[c] = 0;
			} else if (!stage[c] && now - since[c] > 3 * ms) {
				stage[c] = 1;
				f->nmis++;
				apic_icr(rt_apic_id[c], 0x4400);
			} else if (stage[c] == 1 && now - since[c] > 30 * ms) {
				stage[c] = 2;
				f->resets++;
				rt_ap_ticket = c;
				apic_icr(rt_apic_id[c], 0x4500);
				for (uint64_t t = rdtsc(); rdtsc() - t < 1000000; )
					pause_();
				apic_icr(rt_apic_id[c], 0x4600 | RT_SIPI >> 12);
			} else if (stage[c] == 2 && now - since[c] > 10000 * ms) {
				stage[c] = 3;
				check(false, "seed %lu: cpu %u does not come back after INIT and start-up, %lu rounds", seed, c, f->rounds);
				secs = 0;
			}
		}
	}
	stop = true;
	for (unsigned c = 1; c < n; c++) {
		struct fuzzer *f = fuzzers[c];
		const ulong *v = f->by_vec;

		rounds += f->rounds;
		say("cpu %u: %lu rounds, %u NMIs, %u resets: #DE %lu #DB %lu NMI %lu #BP %lu #UD %lu #NM %lu #DF %lu #TS %lu #NP %lu #SS %lu #GP %lu #PF %lu "
			"#MF %lu #AC %lu #XM %lu timer %lu int80 %lu\n", c, f->rounds, f->nmis, f->resets, v[DE], v[DB], v[NMI], v[BP], v[UD], v[NM], v[DF],
			v[TS], v[NP], v[SS], v[GP], v[PF], v[MF], v[AC], v[XM], v[WATCH], v[0x80]);
	}
	check(rounds > 100, "only %lu rounds", rounds);
}
