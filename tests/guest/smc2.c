/* SPDX-License-Identifier: MIT */
/*
 * Self-modifying code against a translator: code that has become hot and linked is changed underneath it.
 * smc.c asks for every change once; here each is asked for thousands of times from loops that otherwise leave
 * code alone, so that what was translated, chained and cached in return or jump caches must really go.
 *
 *	blob=N	KiB of generated code (default 1024), run, patched and run again; large ones overflow code caches
 */
#include "rt.h"

typedef ulong (*code_fn)(ulong a, ulong b);
static uint8_t code[8 * NPAGE] __attribute__((aligned(4096)));
static uint8_t dummy[64] __attribute__((aligned(64)));
static const ulong va = 0x50000000000ul; /* aliases */

static ulong call(const void *at, ulong a, ulong b)
{
	return ((code_fn)(ulong)at)(a, b);
}

static void emit_mov(uint8_t *p, uint32_t v)
{
	p[0] = 0xb8; /* mov $v, %eax; ret */
	memcpy(p + 1, &v, 4);
	p[5] = 0xc3;
}

static void rel32(uint8_t *at, const void *to) /* the displacement that ends at at + 4 */
{
	int32_t d = (int32_t)((ulong)to - (ulong)at - 4);

	memcpy(at, &d, 4);
}

static void map(ulong at, const void *page, uint64_t flags)
{
	*pte_at(rt_pml4, at, 1) = (ulong)page | PTE_P | flags;
	invlpg((void *)at);
}

static uint64_t seed = 88172645463325252ull;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (uint32_t)(seed >> 16);
}

/*
 * A loop of rdi rounds. Each stores r8 (seven bits) by one and the same instruction: to data at rsi, but in every
 * 32nd round over the immediate of MOVABS at 1:, which each round adds up. r13 holds eight bytes of NOP,
 * which stand behind the immediate, for stores wider than it.
 */
#define HOT(name, store, gap) \
	SNIPPET_IN(".data", name, ".balign 32, 0x90\n push %rbx\n push %r12\n push %r13\n mov %rdi, %r11\n" \
		"mov %rsi, %r12\n xor %r10d, %r10d\n movabs $0x0000000000841f0f, %r13\n" \
		"2: mov %r11, %r8\n shr $5, %r8\n and $0x7f, %r8d\n mov %r12, %rdi\n lea 1f+2(%rip), %rdx\n" \
		"test $31, %r11d\n cmovz %rdx, %rdi\n" store "\n" gap "\n" \
		"jmp 3f\n .balign 16, 0x90\n .skip 14, 0x90\n 3:\n" \
		"1: movabs $0, %rdx\n .quad 0x0000000000841f0f, 0x0000000000841f0f, 0x0000000000841f0f\n" \
		"add %rdx, %r10\n dec %r11\n jnz 2b\n mov %r10, %rax\n pop %r13\n pop %r12\n pop %rbx\n ret\n")
/* the same without the jump, so that the store's very next instruction changes */
#define HOT_NEXT(name, store, gap) \
	SNIPPET_IN(".data", name, ".balign 32, 0x90\n push %rbx\n push %r12\n push %r13\n mov %rdi, %r11\n" \
		"mov %rsi, %r12\n xor %r10d, %r10d\n movabs $0x0000000000841f0f, %r13\n" \
		"2: mov %r11, %r8\n shr $5, %r8\n and $0x7f, %r8d\n mov %r12, %rdi\n lea 1f+2(%rip), %rdx\n" \
		"test $31, %r11d\n cmovz %rdx, %rdi\n" store "\n" gap "\n" \
		"1: movabs $0, %rdx\n .quad 0x0000000000841f0f, 0x0000000000841f0f, 0x0000000000841f0f\n" \
		"add %rdx, %r10\n dec %r11\n jnz 2b\n mov %r10, %rax\n pop %r13\n pop %r12\n pop %rbx\n ret\n")
#define VALUE128 "movq %r8, %xmm0\n movq %r13, %xmm1\n punpcklqdq %xmm1, %xmm0\n"
#define VALUE256 VALUE128 "punpcklqdq %xmm1, %xmm1\n vinsertf128 $1, %xmm1, %ymm0, %ymm0\n"

HOT_NEXT(h_movb, "mov %r8b, (%rdi)", "");
HOT_NEXT(h_movw, "mov %r8w, (%rdi)", "");
HOT_NEXT(h_movl, "mov %r8d, (%rdi)", "");
HOT_NEXT(h_movq, "mov %r8, (%rdi)", "");
HOT_NEXT(h_ah, "mov %r8d, %eax\n mov %al, %ah", "mov %ah, (%rdi)");
HOT_NEXT(h_xchg, "mov %r8, %r9", "xchg %r9, (%rdi)");
HOT_NEXT(h_xadd, "mov %r8, %r9\n sub (%rdi), %r9", "lock xadd %r9, (%rdi)");
HOT_NEXT(h_add, "mov %r8, %r9\n sub (%rdi), %r9", "add %r9, (%rdi)");
HOT_NEXT(h_lockor, "movb $0, (%rdi)", "lock or %r8b, (%rdi)");
HOT_NEXT(h_cmpxchg, "mov (%rdi), %rax", "lock cmpxchg %r8, (%rdi)");
HOT_NEXT(h_cmpxchg8b, "mov (%rdi), %rax\n mov 4(%rdi), %edx\n mov %eax, %eax\n mov %r8d, %ebx\n xor %ecx, %ecx",
	"lock cmpxchg8b (%rdi)");
HOT(h_cmpxchg16b, "mov (%rdi), %rax\n mov 8(%rdi), %rdx\n mov %r8, %rbx\n mov %r13, %rcx", "lock cmpxchg16b (%rdi)");
HOT_NEXT(h_push, "mov %rsp, %r9\n lea 8(%rdi), %rsp", "push %r8\n mov %r9, %rsp");
HOT_NEXT(h_pop, "push %r8", "pop (%rdi)");
HOT_NEXT(h_stos, "mov %r8, %rax", "stosq");
HOT_NEXT(h_movs, "push %r8\n mov %rsp, %rsi\n pop %r9", "movsq");
HOT_NEXT(h_repstos, "mov %r8, %rax\n mov $1, %ecx", "rep stosq");
HOT_NEXT(h_repmovs, "push %r8\n mov %rsp, %rsi\n pop %r9\n mov $8, %ecx", "rep movsb");
HOT_NEXT(h_movsdown, "push %r8\n mov %rsp, %rsi\n pop %r9\n mov $8, %ecx\n add $7, %rsi\n add $7, %rdi\n std", "rep movsb\n cld");
HOT_NEXT(h_movnti, "", "movnti %r8, (%rdi)");
HOT_NEXT(h_setcc, "movb $0, (%rdi)\n test %r8b, %r8b\n setnz (%rdi)", "dec %r8d\n add %r8b, (%rdi)\n cmp $-1, %r8d\n jne 8f\n movb $0, (%rdi)\n 8:");
HOT_NEXT(h_movq_x, "movq %r8, %xmm0", "movq %xmm0, (%rdi)");
HOT_NEXT(h_movd_x, "movd %r8d, %xmm0", "movd %xmm0, (%rdi)");
HOT_NEXT(h_movlps, "movq %r8, %xmm0", "movlps %xmm0, (%rdi)");
HOT_NEXT(h_movups, VALUE128, "movups %xmm0, (%rdi)");
HOT(h_movaps, VALUE128, "movaps %xmm0, (%rdi)");
HOT(h_movntdq, VALUE128, "movntdq %xmm0, (%rdi)");
HOT_NEXT(h_maskmov, VALUE128 "pcmpeqb %xmm2, %xmm2", "maskmovdqu %xmm2, %xmm0");
HOT_NEXT(h_fistp, "push %r8\n fildll (%rsp)\n pop %r9", "fistpll (%rdi)");
HOT_NEXT(h_movq_mm, "movq %r8, %mm0", "movq %mm0, (%rdi)\n emms");
HOT_NEXT(h_vmovdqu, VALUE256, "vmovdqu %ymm0, (%rdi)");
HOT_NEXT(h_vextract, VALUE256, "vextractf128 $0, %ymm0, (%rdi)");
/* instructions between the store and what it changes */
HOT_NEXT(g_three, "mov %r8, (%rdi)", "nop\n lea (%r8), %rdx\n nop");
HOT_NEXT(g_nottaken, "mov %r8, (%rdi)", "test %r11, %r11\n jz 8f\n jmp 9f\n 8: ud2\n 9:");
HOT_NEXT(g_taken, "mov %r8, (%rdi)", "test %r11, %r11\n jnz 8f\n ud2\n 8:");
HOT_NEXT(g_jmp, "mov %r8, (%rdi)", "jmp 8f\n .skip 200, 0xcc\n 8:");
HOT_NEXT(g_callret, "mov %r8, (%rdi)", "call 8f\n jmp 9f\n 8: ret\n 9:");
HOT_NEXT(g_indirect, "mov %r8, (%rdi)", "lea 8f(%rip), %rdx\n jmp *%rdx\n ud2\n 8:");
HOT_NEXT(g_flags, "add %r8, %r8\n shr $1, %r8\n cmp $64, %r8d\n mov %r8, (%rdi)", "jae 8f\n nop\n 8: setae %dl");

struct hot {
	const char *p, *end, *name;
	bool aligned, avx;
};
#define ROW(n) .p = n, .end = n##_end, .name = #n
static const struct hot hots[] = {
	{ROW(h_movb)}, {ROW(h_movw)}, {ROW(h_movl)}, {ROW(h_movq)}, {ROW(h_ah)}, {ROW(h_xchg)}, {ROW(h_xadd)}, {ROW(h_add)},
	{ROW(h_lockor)}, {ROW(h_cmpxchg)}, {ROW(h_cmpxchg8b)}, {ROW(h_cmpxchg16b), .aligned = true}, {ROW(h_push)},
	{ROW(h_pop)}, {ROW(h_stos)}, {ROW(h_movs)}, {ROW(h_repstos)}, {ROW(h_repmovs)}, {ROW(h_movsdown)}, {ROW(h_movnti)},
	{ROW(h_setcc)}, {ROW(h_movq_x)}, {ROW(h_movd_x)}, {ROW(h_movlps)}, {ROW(h_movups)}, {ROW(h_movaps), .aligned = true},
	{ROW(h_movntdq), .aligned = true}, {ROW(h_maskmov)}, {ROW(h_fistp)}, {ROW(h_movq_mm)},
	{ROW(h_vmovdqu), .avx = true}, {ROW(h_vextract), .avx = true},
	{ROW(g_three)}, {ROW(g_nottaken)}, {ROW(g_taken)}, {ROW(g_jmp)}, {ROW(g_callret)}, {ROW(g_indirect)}, {ROW(g_flags)},
};

/* Where the immediate is: MOVABS and the NOPs behind it */
static unsigned find_imm(const uint8_t *p, unsigned n)
{
	static const uint8_t nops[] = {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x0f, 0x1f, 0x84};

	for (unsigned i = 8; i + sizeof(nops) < n; i++)
		if (!memcmp(p + i, nops, sizeof(nops)) && p[i - 10] == 0x48 && p[i - 9] == 0xba)
			return i - 8;
	return 0;
}

static void hot_run(const struct hot *h, uint8_t *at, const char *where)
{
	unsigned n = (unsigned)(h->end - h->p), imm;
	ulong cur = 0;

	memcpy(at, h->p, n);
	imm = find_imm(at, n);
	check(imm, "%s: layout", h->name);
	for (unsigned again = 0; again < 4; again++) {
		ulong rounds = again == 3 ? 2000 : 100 + 64 * again, model = 0, got;

		for (ulong r = rounds; r; r--) {
			if (r % 32 == 0)
				cur = r >> 5 & 0x7f;
			model += cur;
		}
		got = call(at, rounds, (ulong)dummy);
		check(got == model, "%s %s, time %u: %lx, not %lx", h->name, where, again, got, model);
	}
}

static void hot_loops(void)
{
	bool avx = cpu_has(F_XSAVE) && cpu_has(F_AVX);

	section("hot loops that patch themselves");
	if (avx) {
		wrcr4(rdcr4() | CR4_OSXSAVE);
		__asm__ volatile("xsetbv" :: "a"(7), "d"(0), "c"(0));
	}
	__asm__ volatile("fninit");
	for (unsigned i = 0; i < sizeof(hots) / sizeof(*hots); i++) {
		const struct hot *h = &hots[i];
		unsigned low = (unsigned)(ulong)h->p & 31;

		if (h->avx && !avx)
			continue;
		hot_run(h, code + low + 64, "in a page");
		/* the immediate, the store or the loop's branch across a page boundary */
		for (unsigned back = 32; back < 192; back += h->aligned ? 32 : 13)
			hot_run(h, code + NPAGE - back + (h->aligned ? low : 0), "across pages");
	}
}

/* A loop of rdi calls of f (a near call at +7); sums what it returns. The caller is linked to f. */
static uint8_t *emit_caller(uint8_t *p, const void *f)
{
	static const uint8_t head[] = {0x53, 0x55, 0x89, 0xfb, 0x31, 0xed, 0xe8}, /* push rbx, rbp; mov edi,ebx; xor ebp,ebp; call */
		tail[] = {0x48, 0x01, 0xc5, 0xff, 0xcb, 0x75, 0xf4, 0x48, 0x89, 0xe8, 0x5d, 0x5b, 0xc3};

	memcpy(p, head, sizeof(head));
	rel32(p + sizeof(head), f);
	memcpy(p + sizeof(head) + 4, tail, sizeof(tail));
	return p + sizeof(head) + 4 + sizeof(tail);
}

static void linked(void)
{
	uint8_t *caller = code + 100, *f = code + 2 * NPAGE + 40, *tail = code + 64;
	unsigned wrong = 0;

	section("a linked callee on another page");
	emit_caller(caller, f);
	for (uint32_t i = 0; i < 4000; i++) {
		emit_mov(f, i);
		wrong += call(caller, 1 + i % 5, 0) != (ulong)i * (1 + i % 5);
	}
	check(!wrong, "patched and called: %u stale", wrong);
	map(va, code + 2 * NPAGE, PTE_W);
	map(va + NPAGE, code + 2 * NPAGE, PTE_W);
	wrong = 0;
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t v = ~i;

		memcpy((void *)(va + (i & 1) * NPAGE + 41), &v, 4);
		wrong += call(caller, 3, 0) != 3ul * v;
	}
	check(!wrong, "patched through aliases: %u stale", wrong);
	/* a jump in front of it: jmp f, and jcc f with both ways */
	tail[0] = 0xe9;
	rel32(tail + 1, f);
	emit_caller(caller, tail);
	wrong = 0;
	for (uint32_t i = 0; i < 2000; i++) {
		uint8_t *g = i & 1 ? f : f + 64;

		emit_mov(g, i);
		rel32(tail + 1, g); /* the branch itself is retargeted */
		wrong += call(caller, 2, 0) != 2ul * i;
	}
	check(!wrong, "a jump retargeted: %u stale", wrong);
	wrong = 0;
	for (uint32_t i = 0; i < 2000; i++) { /* xor eax,eax; jz/jnz f; mov $7,eax; ret */
		static const uint8_t jump[] = {0x31, 0xc0, 0x0f, 0x84, 0, 0, 0, 0, 0xb8, 7, 0, 0, 0, 0xc3};

		if (i % 8 == 0) {
			memcpy(tail, jump, sizeof(jump));
			rel32(tail + 4, f);
		}
		tail[3] = i & 4 ? 0x85 : 0x84;
		emit_mov(f, i);
		wrong += call(caller, 2, 0) != (i & 4 ? 14 : 2ul * i);
	}
	check(!wrong, "a condition inverted: %u stale", wrong);
	/* call becomes NOPs and back, as ftrace does it */
	emit_caller(caller, f);
	emit_mov(f, 5);
	wrong = 0;
	for (uint32_t i = 0; i < 2000; i++) {
		static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0, 0};
		ulong want_sum;

		if (i & 1)
			memcpy(caller + 6, nop5, 5);
		else
			caller[6] = 0xe8, rel32(caller + 7, f);
		/* EAX is what the caller leaves there: 0 at first by way of xor and rax + ... of nothing */
		want_sum = i & 1 ? 0 : 15;
		if (i & 1) {
			uint8_t *p = caller; /* with NOPs RAX is added as it was: call with 0 in it */
			ulong r;

			__asm__ volatile("call *%1" : "=a"(r) : "r"(p), "0"(0), "D"(3) : "rcx", "rdx", "rsi", "r8", "r9",
				"r10", "r11", "memory", "cc");
			wrong += r != want_sum;
		} else {
			wrong += call(caller, 3, 0) != want_sum;
		}
	}
	check(!wrong, "call and NOP in turn: %u stale", wrong);
}

/* Calls *rdi (with EDI = 1) and switches CR3 between rdx and rsi, 2000 times: all in one hot loop on a common page */
SNIPPET(s_cr3, "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n mov %rdi, %rbp\n mov %rsi, %r12\n mov %rdx, %r13\n"
	"mov %cr3, %r14\n mov $2000, %ebx\n xor %r15d, %r15d\n"
	"1: mov %r12, %cr3\n mov $1, %edi\n call *%rbp\n add %rax, %r15\n mov %r13, %cr3\n call *%rbp\n"
	"lea (%r15,%rax,2), %r15\n dec %ebx\n jnz 1b\n mov %r14, %cr3\n mov %r15, %rax\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret");
/* INVLPG in the loop: the entry at rdi flips between rsi and rdx; calls 256(rcx)... rcx: address of the page */
SNIPPET(s_flip, "push %rbx\n push %rbp\n mov $2000, %ebx\n xor %ebp, %ebp\n"
	"1: mov %rsi, (%rdi)\n invlpg (%rcx)\n call *%rcx\n add %rax, %rbp\n mov %rdx, (%rdi)\n invlpg (%rcx)\n call *%rcx\n"
	"lea (%rbp,%rax,4), %rbp\n dec %ebx\n jnz 1b\n mov %rbp, %rax\n pop %rbp\n pop %rbx\n ret");

static ulong flip(uint64_t *pte, uint64_t a, uint64_t b, ulong at)
{
	ulong r;

	__asm__ volatile("call s_flip" : "=a"(r) : "D"(pte), "S"(a), "d"(b), "c"(at) : "memory", "cc", "r8", "r9", "r10", "r11");
	return r;
}

static ulong cr3_loop(ulong f, const uint64_t *a, const uint64_t *b)
{
	return ((ulong(*)(ulong, const void *, const void *))(ulong)s_cr3)(f, a, b);
}

static void remapped(void)
{
	uint8_t *pg[3], *caller = code + 3 * NPAGE + 16;
	uint64_t *pte = pte_at(rt_pml4, va, 1), *root[2];
	unsigned wrong = 0;

	section("pages exchanged under hot code");
	for (unsigned i = 0; i < 3; i++) {
		pg[i] = page_alloc();
		emit_mov(pg[i], i + 1);
	}
	map(va, pg[0], 0);
	check(flip(pte, (ulong)pg[0] | PTE_P, (ulong)pg[1] | PTE_P, va) == 2000 * (1 + 4 * 2), "PTE and INVLPG, indirect calls");
	check(flip(pte, (ulong)pg[2] | PTE_P, (ulong)pg[1] | PTE_P, va) == 2000 * (3 + 4 * 2), "the same, another page");
	/* a direct call from a page that stays to the one that changes: both in reach of each other */
	map(va + NPAGE, caller - 16, 0);
	emit_caller(caller, caller);
	rel32(caller + 7, caller + 7 + va - (va + NPAGE + 16 + 7)); /* va, as seen from the alias */
	for (uint32_t i = 0; i < 3000; i++) {
		unsigned k = rnd() % 3;

		map(va, pg[k], 0);
		wrong += call((void *)(va + NPAGE + 16), 3, 0) != 3ul * (k + 1);
	}
	check(!wrong, "direct calls: %u stale", wrong);
	/* the caller's page goes, too: the same bytes elsewhere, or another caller */
	wrong = 0;
	{
		uint8_t *other = page_alloc();

		memcpy(other, caller - 16, NPAGE);
		for (uint32_t i = 0; i < 3000; i++) {
			unsigned k = rnd() % 3;

			map(va, pg[k], 0);
			map(va + NPAGE, rnd() & 1 ? other : caller - 16, 0);
			wrong += call((void *)(va + NPAGE + 16), 2, 0) != 2ul * (k + 1);
		}
	}
	check(!wrong, "both pages: %u stale", wrong);

	section("another CR3");
	for (unsigned i = 0; i < 2; i++) {
		root[i] = page_alloc();
		memcpy(root[i], rt_pml4, NPAGE);
		root[i][va >> 39 & 511] = 0;
		*pte_at(root[i], va, 1) = (ulong)pg[i] | PTE_P;
		*pte_at(root[i], va + NPAGE, 1) = (ulong)(caller - 16) | PTE_P;
	}
	check(cr3_loop(va, root[0], root[1]) == 2000 * (1 + 2 * 2), "indirect calls");
	check(cr3_loop(va + NPAGE + 16, root[1], root[0]) == 2000 * (2 + 1 * 2), "indirect, then direct calls");
	wrong = 0;
	{
		ulong old = rdcr3();

		for (uint32_t i = 0; i < 3000; i++) {
			wrcr3((ulong)root[i & 1]);
			wrong += call((void *)(va + NPAGE + 16), 3, 0) != 3ul * (1 + (i & 1));
		}
		wrcr3(old);
	}
	check(!wrong, "direct calls: %u stale", wrong);
	/* execute permission taken away and given back; a page that is not there */
	wrong = 0;
	for (uint32_t i = 0; i < 500; i++) {
		struct trap *t;

		map(va, pg[0], 0);
		wrong += call((void *)(va + NPAGE + 16), 2, 0) != 2;
		if (i & 1)
			map(va, pg[0], PTE_NX);
		else
			*pte = 0, invlpg((void *)va);
		t = catch(va + NPAGE + 16, 2);
		wrong += t->vec != PF || t->ip != va || t->cr2 != va || t->err != (i & 1 ? PF_P | PF_I : PF_I);
	}
	check(!wrong, "NX and not present: %u wrong", wrong);
	map(va, pg[0], 0);
}

/* The same bytes at two addresses: RIP-relative data, LEA, and a pushed return address differ. */
SNIPPET_IN(".data", p_twice, "lea 0(%rip), %rax\n 1: mov 1b+4096-7+256(%rip), %rdx\n add %rdx, %rax\n call 2f\n 2: pop %rcx\n xor %rcx, %rax\n"
	"cmpq $77, 1b+4096-7+264(%rip)\n sete %cl\n movzbl %cl, %ecx\n add %rcx, %rax\n ret");

static void twice(void)
{
	uint8_t *c = page_alloc(), *d[4];
	unsigned wrong = 0, pushed = 0;

	section("one piece of code at many addresses");
	memcpy(c, p_twice, (size_t)(p_twice_end - p_twice));
	for (unsigned i = 0; i < sizeof(d) / sizeof(*d); i++) {
		ulong at = va + 0x100000 + 0x10000 * i;

		d[i] = page_alloc();
		*(uint64_t *)(d[i] + 256) = 0x1111111111ull * i;
		*(uint64_t *)(d[i] + 264) = 76 + i;
		map(at, c, 0);
		map(at + NPAGE, d[i], PTE_W);
	}
	for (pushed = 0; c[pushed] != 0xe8; pushed++)
		;
	pushed += 5;
	for (uint32_t i = 0; i < 4000; i++) {
		unsigned k = rnd() & 3;
		ulong at = va + 0x100000 + 0x10000 * k, w;

		w = ((at + 7 + 0x1111111111ull * k) ^ (at + pushed)) + (k == 1);
		wrong += call((void *)at, 0, 0) != w;
	}
	check(!wrong, "%u wrong", wrong);
}

static void crossing(void)
{
	uint8_t *first[2], *second[2];
	const ulong at = va + 0x200000;
	unsigned wrong = 0;

	section("an instruction over two pages");
	for (unsigned i = 0; i < 2; i++) {
		first[i] = page_alloc();
		second[i] = page_alloc();
	}
	for (unsigned split = 1; split < 6; split++) {
		for (unsigned i = 0; i < 4; i++) {
			uint8_t text[6];

			/* bytes on each side belong to the page's number: 1 or 2 */
			emit_mov(text, 0);
			for (unsigned k = 1; k < 5; k++)
				text[k] = (uint8_t)(0x10 + (k < split ? i & 1 : i >> 1));
			memcpy(first[i & 1] + NPAGE - split, text, split);
			memcpy(second[i >> 1], text + split, 6 - split);
		}
		wrong = 0;
		for (unsigned i = 0; i < 1500; i++) {
			unsigned a = rnd() & 1, b = rnd() & 1;
			uint32_t w = 0;

			map(at, first[a], 0);
			map(at + NPAGE, second[b], 0);
			for (unsigned k = 1; k < 5; k++)
				w |= (uint32_t)(0x10 + (k < split ? a : b)) << (8 * (k - 1));
			wrong += call((void *)(at + NPAGE - split), 0, 0) != w;
		}
		check(!wrong, "pages exchanged, %u bytes on the first: %u stale", split, wrong);
		map(at, first[0], 0);
		map(at + NPAGE, second[0], 0);
		wrong = 0;
		for (uint32_t i = 0; i < 1000; i++) {
			for (unsigned k = 1; k < 5; k++) {
				uint8_t v = (uint8_t)(i >> (8 * (k - 1) / 4));

				if (k < split)
					first[0][NPAGE - split + k] = v;
				else
					second[0][k - split] = v;
			}
			wrong += (uint32_t)call((void *)(at + NPAGE - split), 0, 0) !=
				((i & 0xff) | (i >> 2 & 0xff) << 8 | (i >> 4 & 0xff) << 16 | (i >> 6 & 0xff) << 24);
		}
		check(!wrong, "bytes patched, %u on the first: %u stale", split, wrong);
		/* the second page is not there: fault there, with the instruction's address */
		*pte_at(rt_pml4, at + NPAGE, 1) = 0;
		invlpg((void *)(at + NPAGE));
		for (unsigned i = 0; i < 3; i++) {
			struct trap *t = catch(at + NPAGE - split);

			/* five bytes on the first: it is the RET that cannot be fetched */
			want(t, PF, PF_I, (void *)(split == 5 ? at + NPAGE : at + NPAGE - split), "fetch");
			check(t->cr2 == at + NPAGE, "cr2 %lx", t->cr2);
		}
	}
}

/* rep movs/stos over code: rdi, rsi, rdx (count) as given, then what stands behind */
SNIPPET_IN(".data", r_movs, "mov %rdx, %rcx\n rep movsb\n 1: mov $0x11111111, %eax\n ret");
SNIPPET_IN(".data", r_stos, "mov %rdx, %rcx\n mov $0x22, %al\n rep stosb\n 1: mov $0x11111111, %eax\n ret");
/* the whole of itself, once more the same but for the immediate: the string instruction is overwritten, too */
SNIPPET_IN(".data", r_self, "push %rdi\n mov %rdx, %rcx\n rep movsb\n mov $0x11111111, %eax\n pop %rdi\n ret");

static void strings(void)
{
	uint8_t *copy = page_alloc();
	unsigned wrong = 0;

	section("string instructions over code");
	for (uint32_t i = 0; i < 600; i++) {
		uint8_t *p = code + (i % 3 == 0 ? 200 : NPAGE - 12 + i % 11);
		unsigned n = (unsigned)(r_self_end - r_self);

		memcpy(copy, r_self, n);
		memcpy(copy + n - 6, &i, 4);
		copy[n - 7] = 0xb8;
		memcpy(p, r_self, n);
		wrong += ((ulong(*)(void *, void *, ulong))(ulong)p)(p, copy, n) != i;
		/* again without another change: it copies what is there */
		wrong += ((ulong(*)(void *, void *, ulong))(ulong)p)(p, copy, n) != i;
	}
	check(!wrong, "over itself: %u stale", wrong);
	wrong = 0;
	memcpy(code + 300, r_stos, (size_t)(r_stos_end - r_stos));
	memcpy(code + 400, r_movs, (size_t)(r_movs_end - r_movs));
	for (uint32_t i = 0; i < 2000; i++) {
		uint8_t *imm = code + 300 + (r_stos_end - r_stos) - 5, *imm2 = code + 400 + (r_movs_end - r_movs) - 5;
		uint32_t old = i * 0x01010101u, was;
		unsigned k = i % 5;

		/* mostly elsewhere */
		if (i % 4)
			imm = imm2 = dummy;
		memcpy(&was, code + 300 + (r_stos_end - r_stos) - 5, 4);
		if (imm != dummy)
			for (unsigned b = 0; b < k; b++)
				((uint8_t *)&was)[b] = 0x22;
		wrong += ((ulong(*)(void *, void *, ulong))(ulong)(code + 300))(imm, copy, k) != was;
		wrong += ((ulong(*)(void *, void *, ulong))(ulong)(code + 400))(imm2, &old, 4) !=
			(imm2 == dummy ? (i & ~3u) * 0x01010101u : old);
		if (imm != dummy)
			memset(imm, 0x11, 4);
	}
	check(!wrong, "over the next instruction: %u stale", wrong);
	/* 64 functions in one sweep: copied, called, filled, copied */
	for (uint32_t round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 64; i++)
			emit_mov(copy + 64 * i, round * 64 + i);
		memcpy(code + 4 * NPAGE, copy, NPAGE);
		for (unsigned i = 0; i < 64; i++)
			wrong += call(code + 4 * NPAGE + 64 * i, 0, 0) != round * 64 + i;
		memset(code + 4 * NPAGE, 0xcc, NPAGE);
		wrong += catch(code + 4 * NPAGE + 64 * (round % 64))->vec != BP;
	}
	check(!wrong, "a page in one sweep: %u stale", wrong);
}

/* int3 first, then the tail, then the first byte: each state must be what is executed */
static void protocol(void)
{
	uint8_t *f = code + 5 * NPAGE + 3;
	unsigned wrong = 0;

	section("INT3 protocol");
	emit_caller(code + 3 * NPAGE, f);
	emit_mov(f, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		struct trap *t;

		*(volatile uint8_t *)f = 0xcc;
		t = catch(code + 3 * NPAGE, 1);
		wrong += t->vec != BP || t->ip != (ulong)f + 1;
		memcpy(f + 1, &i, 4);
		wrong += catch(code + 3 * NPAGE, 1)->vec != BP;
		*(volatile uint8_t *)f = 0xb8;
		wrong += call(code + 3 * NPAGE, 3, 0) != 3ul * i;
	}
	check(!wrong, "%u wrong", wrong);
}

static void reused(void)
{
	uint8_t *p = page_alloc_n(4, NPAGE);
	unsigned wrong = 0;

	section("code, data, code");
	for (uint32_t round = 0; round < 60; round++) {
		volatile uint64_t *q = (volatile uint64_t *)p;
		uint64_t sum = 0, model = 0;

		for (unsigned i = 0; i < 256; i++)
			emit_mov(p + 64 * i, i ^ round);
		for (unsigned i = 0; i < 256; i++)
			wrong += call(p + 64 * i, 0, 0) != (i ^ round);
		for (unsigned i = 0; i < 4 * NPAGE / 8; i++)
			q[i] = i * round, model += i * round;
		for (unsigned i = 0; i < 4 * NPAGE / 8; i++)
			sum += q[i];
		wrong += sum != model;
		memset(p, 0, 4 * NPAGE);
	}
	check(!wrong, "%u wrong", wrong);
	/* a stack and a counter in the page of the code that uses them */
	{
		/* 1: incq 200(%rip); push; pop; loop 1b; mov 200(%rip)... written by bytes: position independent */
		static const uint8_t text[] = {0x89, 0xf9, 0x48, 0x89, 0xe2, 0x48, 0x8d, 0x25, 0xf1, 0x03, 0, 0, /* lea 0x3f1(%rip),%rsp */
			0x48, 0xff, 0x05, 0xed, 0, 0, 0, /* incq 0xed(%rip) */ 0x51, 0x58, 0xe8, 0, 0, 0, 0, 0x58,
			0xe2, 0xf0, 0x48, 0x89, 0xd4, 0x48, 0x8b, 0x05, 0xd9, 0, 0, 0, 0xc3};

		memset(p, 0, NPAGE);
		memcpy(p, text, sizeof(text));
		for (ulong i = 1; i < 6; i++) {
			*(volatile uint64_t *)(p + 0x100) = 0;
			check(call(p, 1000 * i, 0) == 1000 * i, "counter and stack beside the code: %lu", *(ulong *)(p + 0x100));
		}
	}
}

/*
 * A blob of blocks in a random order: add $imm, %eax and a jump to the next, of four kinds. Run, patched in
 * places, run again: whatever the caches' size, the sum must be right.
 */
static void blob(ulong kib)
{
	enum { SLOT = 32 };
	unsigned n = (unsigned)(kib * 1024 / SLOT), wrong = 0, rounds = 5;
	uint8_t *p = page_alloc_n((unsigned)(kib / 4), NPAGE);
	uint32_t *order = page_alloc_n(n / 1024 + 1, NPAGE), sum = 0;

	section("much code");
	for (unsigned i = 0; i < n; i++)
		order[i] = i;
	for (unsigned i = n - 1; i; i--) {
		unsigned j = rnd() % (i + 1);
		uint32_t t = order[i];

		order[i] = order[j], order[j] = t;
	}
	for (unsigned k = 0; k < n; k++) {
		uint8_t *b = p + SLOT * order[k], *next = k + 1 < n ? p + SLOT * order[k + 1] : NULL;
		uint32_t v = rnd();

		sum += v;
		b[0] = 0x05; /* add $v, %eax */
		memcpy(b + 1, &v, 4);
		b += 5;
		if (!next) {
			*b = 0xc3;
		} else if (k % 4 == 0) {
			*b = 0xe9; /* jmp */
			rel32(b + 1, next);
		} else if (k % 4 == 1) {
			memcpy(b, "\x39\xc0\x0f\x84", 4); /* cmp %eax, %eax; je; ud2 */
			rel32(b + 4, next);
			memcpy(b + 8, "\x0f\x0b", 2);
		} else if (k % 4 == 2) {
			memcpy(b, "\x48\x8d\x0d", 3); /* lea next(%rip), %rcx; jmp *%rcx */
			rel32(b + 3, next);
			memcpy(b + 7, "\xff\xe1", 2);
		} else {
			b[0] = 0xe8; /* call 1f; ud2; 1: add $8, %rsp; jmp next */
			memcpy(b + 1, "\x02\0\0\0\x0f\x0b\x48\x83\xc4\x08\xe9", 12);
			rel32(b + 12, next);
		}
	}
	for (unsigned r = 0; r < rounds; r++) {
		uint32_t got;

		for (unsigned again = 0; again < 3; again++) {
			__asm__ volatile("call *%2" : "=a"(got) : "0"(0), "r"(p + SLOT * order[0]) : "rcx", "memory", "cc");
			wrong += got != sum;
		}
		for (unsigned i = 0; i < n / 64; i++) {
			uint8_t *b = p + SLOT * (rnd() % n);
			uint32_t v = rnd(), old;

			memcpy(&old, b + 1, 4);
			memcpy(b + 1, &v, 4);
			sum += v - old;
		}
	}
	check(!wrong, "%u blocks: %u of %u sums wrong", n, wrong, 3 * rounds);
}

/* Functions all over 256 pages that call each other as a binary tree */
static void tree(void)
{
	enum { PAGES = 256, N = 1023 };
	uint8_t *p = page_alloc_n(PAGES, NPAGE);
	uint8_t *at[N];
	unsigned wrong = 0;

	section("a tree of calls over 256 pages");
	for (unsigned i = 0; i < N; i++)
		at[i] = p + (i * 37 % PAGES) * NPAGE + i / PAGES * 512 + rnd() % 400;
	for (unsigned i = 0; i < N; i++) {
		uint8_t *b = at[i];

		*b++ = 0x83, *b++ = 0xc0, *b++ = 1; /* add $1, %eax */
		for (unsigned child = 2 * i + 1; child < 2 * i + 3 && child < N; child++) {
			*b++ = 0xe8;
			rel32(b, at[child]);
			b += 4;
		}
		*b = 0xc3;
	}
	for (unsigned r = 0; r < 60; r++) {
		unsigned leaf = N / 2 + rnd() % (N / 2);
		uint32_t got;

		at[leaf][2] = (uint8_t)(r & 63);
		__asm__ volatile("call *%2" : "=a"(got) : "0"(0), "r"(at[0]) : "memory", "cc");
		wrong += got != N - 1 + (r & 63);
		at[leaf][2] = 1;
		__asm__ volatile("call *%2" : "=a"(got) : "0"(0), "r"(at[0]) : "memory", "cc");
		wrong += got != N;
	}
	check(!wrong, "%u wrong", wrong);
}

void test_main(void)
{
	ulong kib = 1024;

	rt_arg("blob", &kib);
	if (kib < 4 || kib > 32 << 10) {
		kib = 1024;
		say("blob is 4 to 32768 KiB\n");
	}
	hot_loops();
	linked();
	remapped();
	twice();
	crossing();
	strings();
	protocol();
	reused();
	tree();
	blob(kib);
}
