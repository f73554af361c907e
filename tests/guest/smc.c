/* SPDX-License-Identifier: MIT */
/*
 * Self-modifying code on one CPU, where x86 promises that the next instruction fetched after a store sees it
 * (SDM Vol. 3A 9.1.3: on the same linear address at once; through another mapping after a jump or a
 * serializing instruction, which every function call here is).
 */
#include "rt.h"

typedef ulong (*code_fn)(ulong a, ulong b);
static uint8_t code[4 * NPAGE] __attribute__((aligned(4096)));
static const ulong va = 0x50000000000ul; /* an alias of code[] */

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

/* Each writes 0x42 over the immediate of the very next instruction in its own way, then returns it. */
#define NEXT(name, before, store) \
	SNIPPET_IN(".data", name, before "\n" store "\n 1: mov $0, %eax\n ret\n")
NEXT(n_movb, "lea 1f+1(%rip), %rdi", "movb $0x42, (%rdi)");
NEXT(n_movl, "lea 1f+1(%rip), %rdi", "movl $0x42, (%rdi)");
NEXT(n_stosb, "lea 1f+1(%rip), %rdi\n mov $0x42, %al", "stosb");
NEXT(n_rep, "lea 1f+1(%rip), %rdi\n mov $0x42, %al\n mov $1, %ecx", "rep stosb");
NEXT(n_movs, "lea 1f+1(%rip), %rdi\n lea 2f(%rip), %rsi\n jmp 3f\n 2: .byte 0x42\n 3:", "movsb");
NEXT(n_xchg, "lea 1f+1(%rip), %rdi\n mov $0x42, %al", "xchg %al, (%rdi)");
NEXT(n_lock_or, "lea 1f+1(%rip), %rdi", "lock orl $0x42, (%rdi)");
NEXT(n_inc, "lea 1f+1(%rip), %rdi\n movb $0x41, (%rdi)", "incb (%rdi)");
NEXT(n_xadd, "lea 1f+1(%rip), %rdi\n mov $0x42, %eax", "lock xaddl %eax, (%rdi)");
NEXT(n_cmpxchg, "lea 1f+1(%rip), %rdi\n xor %eax, %eax\n mov $0x42, %edx", "lock cmpxchgl %edx, (%rdi)");
NEXT(n_bts, "lea 1f+1(%rip), %rdi\n movb $2, (%rdi)", "lock btsl $6, (%rdi)");
NEXT(n_setcc, "lea 1f+1(%rip), %rdi\n movb $0x21, (%rdi)", "shlb (%rdi)");
NEXT(n_movd, "lea 1f+1(%rip), %rdi\n mov $0x42, %eax\n movd %eax, %xmm0", "movd %xmm0, (%rdi)");
NEXT(n_pop, "lea 1f+1(%rip), %rdi\n push $0x42", "popw (%rdi)\n add $6, %rsp");
NEXT(n_fist, "lea 1f+1(%rip), %rdi\n movl $0x42, -8(%rsp)\n fninit\n fildl -8(%rsp)", "fistpl (%rdi)");
NEXT(n_movnti, "lea 1f+1(%rip), %rdi\n mov $0x42, %eax", "movnti %eax, (%rdi)");

SNIPPET_IN(".data", n_push, "mov %rsp, %rdx\n lea 1f+9(%rip), %rsp\n push $0x42\n 1: mov $0, %eax\n .skip 3, 0x90\n mov %rdx, %rsp\n ret");
/* a loop that patches its own body each time round: sums 1..n */
SNIPPET_IN(".data", n_loop, "xor %eax, %eax\n mov %edi, %ecx\n 2: mov %ecx, 1f+1(%rip)\n 1: add $0x11111111, %eax\n dec %ecx\n jnz 2b\n ret");
/* a branch in the middle of a loop turned from taken to not taken */
SNIPPET_IN(".data", n_branch, "xor %eax, %eax\n mov $10, %ecx\n 2: cmp $5, %ecx\n jne 3f\n movb $0x74, 1f(%rip)\n 3: test %ecx, %ecx\n"
	"1: jnz 4f\n add $100, %eax\n 4: inc %eax\n dec %ecx\n jnz 2b\n ret");

static void next_instruction(void)
{
	static const struct { const char *p, *end; const char *name; } row[] = {
#define ROW(n) {n, n##_end, #n}
		ROW(n_movb), ROW(n_movl), ROW(n_stosb), ROW(n_rep), ROW(n_movs), ROW(n_xchg), ROW(n_lock_or), ROW(n_inc),
		ROW(n_xadd), ROW(n_cmpxchg), ROW(n_bts), ROW(n_setcc), ROW(n_movd), ROW(n_pop), ROW(n_fist), ROW(n_movnti),
	};

	section("the next instruction");
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
		size_t n = (size_t)(row[i].end - row[i].p);

		/* at many places, also where the immediate crosses a page */
		for (unsigned off = NPAGE - 70; off < NPAGE + 8; off += 3) {
			for (unsigned again = 0; again < 3; again++) {
				ulong r;

				memcpy(code + off, row[i].p, n);
				r = call(code + off, 0, 0);
				check(r == 0x42, "%s at %x, time %u: %lx", row[i].name, off, again, r);
			}
		}
	}
	memcpy(code + 64, n_push, (size_t)(n_push_end - n_push));
	check(call(code + 64, 0, 0) == 0x42, "push over the next instruction");
	memcpy(code + 128, n_loop, (size_t)(n_loop_end - n_loop));
	check(call(code + 128, 100, 0) == 5050, "a loop that patches itself");
	for (unsigned i = 0; i < 3; i++) {
		memcpy(code + 256, n_branch, (size_t)(n_branch_end - n_branch));
		/* ecx 10 to 6: jnz jumps; from 5 on jz does not */
		check(call(code + 256, 0, 0) == 5 + 5 * 101, "a branch that turns");
	}
}

static void elsewhere(void)
{
	uint64_t *pte = pte_at(rt_pml4, va, 1);
	uint8_t *other = page_alloc(), *alias = (uint8_t *)va;
	unsigned wrong = 0;

	section("written and called");
	for (uint32_t i = 0; i < 2000; i++) {
		emit_mov(code + 512 + i % 64, i);
		wrong += call(code + 512 + i % 64, 0, 0) != i;
	}
	check(!wrong, "2000 rewrites: %u stale", wrong);
	/* data beside code on one page */
	emit_mov(code + 1024, 7);
	wrong = 0;
	for (uint32_t i = 0; i < 2000; i++) {
		*(volatile uint32_t *)(code + 1100) = i;
		wrong += call(code + 1024, 0, 0) != 7 || *(volatile uint32_t *)(code + 1100) != i;
	}
	check(!wrong, "data on a code page");
	/* code entered in the middle of an instruction */
	memcpy(code + 1200, "\xb8\xb0\x55\xc3\x90\xc3", 6); /* mov $0x90c355b0,%eax; ret / mov $0x55,%al; ret */
	check(call(code + 1200, 0, 0) == 0x90c355b0 && (call(code + 1201, 0, 0) & 0xff) == 0x55 &&
		call(code + 1200, 0, 0) == 0x90c355b0, "overlapping instructions");

	section("another mapping");
	*pte = (ulong)code | PTE_P | PTE_W;
	invlpg(alias);
	wrong = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		emit_mov(alias + 1500, i);
		wrong += call(code + 1500, 0, 0) != i;
		emit_mov(code + 1600, ~i);
		wrong += (uint32_t)call(alias + 1600, 0, 0) != ~i;
	}
	check(!wrong, "written by an alias: %u stale", wrong);
	/* the mapping changes, both pages hold code at the same place */
	emit_mov(code + 1700, 1);
	emit_mov(other + 1700, 2);
	wrong = 0;
	for (uint32_t i = 0; i < 500; i++) {
		*pte = (i & 1 ? (ulong)other : (ulong)code) | PTE_P | PTE_W;
		invlpg(alias);
		wrong += call(alias + 1700, 0, 0) != 1 + (i & 1);
	}
	check(!wrong, "the page is exchanged: %u stale", wrong);
	/* an instruction over two pages, of which one is exchanged */
	*pte = (ulong)code | PTE_P | PTE_W;
	*pte_at(rt_pml4, va + NPAGE, 1) = ((ulong)code + NPAGE) | PTE_P | PTE_W;
	invlpg(alias);
	invlpg(alias + NPAGE);
	emit_mov(code + NPAGE - 3, 0x11223344);
	memcpy(other, code + NPAGE, NPAGE);
	other[0] = 0x55;
	wrong = 0;
	for (uint32_t i = 0; i < 500; i++) {
		*pte_at(rt_pml4, va + NPAGE, 1) = (i & 1 ? (ulong)other : (ulong)code + NPAGE) | PTE_P | PTE_W;
		invlpg(alias + NPAGE);
		wrong += call(alias + NPAGE - 3, 0, 0) != (i & 1 ? 0x11553344 : 0x11223344);
	}
	check(!wrong, "the second page of an instruction is exchanged: %u stale", wrong);
	/* read-only code is exchanged by a copy, as copy-on-write does */
	wrong = 0;
	for (uint32_t i = 0; i < 100; i++) {
		uint8_t *fresh = i & 1 ? other : code;

		if (i & 1)
			memcpy(other, code, NPAGE);
		emit_mov(fresh + 1800, i);
		*pte = (ulong)fresh | PTE_P;
		invlpg(alias);
		wrong += call(alias + 1800, 0, 0) != i;
	}
	check(!wrong, "copied pages: %u stale", wrong);
}

static void big(void)
{
	uint8_t *p = page_alloc_n(64, NPAGE);
	unsigned wrong = 0;

	section("much code");
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 64 * NPAGE / 64; i++)
			emit_mov(p + 64 * i, i + round);
		for (unsigned i = 0; i < 64 * NPAGE / 64; i++)
			wrong += call(p + 64 * i, 0, 0) != i + round;
		memset(p, 0xcc, 64 * NPAGE);
		for (unsigned i = 0; i < 64; i++)
			wrong += catch(p + NPAGE * i)->vec != BP;
	}
	check(!wrong, "4096 functions, three times: %u stale", wrong);
}

void test_main(void)
{
	next_instruction();
	elsewhere();
	big();
}
