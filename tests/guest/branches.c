/* SPDX-License-Identifier: MIT */
/*
 * Control flow and the flags that cross it, many times over: every condition with every combination of flags and
 * many things between who sets and who reads them; returns that do not match calls; code that overlaps or
 * ends with its page; interrupts into loops of every shape, and the exact instruction they come at.
 */
#include "rt.h"

static uint8_t code[4 * NPAGE] __attribute__((aligned(4096)));
static uint64_t far[1024] __attribute__((aligned(4096)));
static const ulong va = 0x50000000000ul;
static uint64_t seed = 0x2545f4914f6cdd1dull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

static ulong call(const void *fn, ulong a, ulong b, ulong c)
{
	return ((ulong(*)(ulong, ulong, ulong))(ulong)fn)(a, b, c);
}

/* ---- conditions */
/*
 * Between setting and reading: none of these changes an arithmetic flag. They may use all but rdi, rsi
 * (a page of scratch memory) and rsp.
 */
#define LINK(name, text) SNIPPET_IN(".data", name, text)
LINK(l_none, "");
LINK(l_jmp, "jmp 1f\n ud2\n 1:");
LINK(l_jmp_far, "jmp 1f\n .skip 300, 0xcc\n 1:");
LINK(l_callret, "call 1f\n jmp 2f\n 1: ret\n 2:");
LINK(l_callpop, "call 1f\n 1: pop %rax");
LINK(l_pushret, "lea 1f(%rip), %rax\n push %rax\n ret\n ud2\n 1:");
LINK(l_indirect, "lea 1f(%rip), %r10\n jmp *%r10\n ud2\n 1:");
LINK(l_indirect_mem, "lea 1f(%rip), %rax\n mov %rax, 8(%rsi)\n jmp *8(%rsi)\n ud2\n 1:");
LINK(l_retpoline, "lea 3f(%rip), %rax\n call 1f\n 2: pause\n lfence\n jmp 2b\n 1: mov %rax, (%rsp)\n ret\n 3:");
LINK(l_loop, "mov $5, %ecx\n 1: loop 1b");
LINK(l_jrcxz, "mov $5, %ecx\n 1: lea -1(%rcx), %ecx\n jrcxz 2f\n jmp 1b\n 2:");
LINK(l_memory, "mov (%rsi), %rax\n mov %rax, 16(%rsi)\n xchg %rax, 24(%rsi)\n notq 32(%rsi)");
LINK(l_miss, "invlpg (%rsi)\n mov (%rsi), %rax\n invlpg (%rsi)\n mov %rax, (%rsi)\n invlpg (%rsi)\n push (%rsi)\n pop (%rsi)");
LINK(l_pushf, "pushf\n xor %eax, %eax\n add $1, %eax\n popf");
LINK(l_lahf, "lahf\n seto %al\n add $0x7f, %al\n sahf");
LINK(l_cl0, "mov $0, %ecx\n shl %cl, %rax\n shr %cl, %eax\n sar %cl, %ax\n rol %cl, %al\n rcl %cl, %rdx\n rcr %cl, %edx\n shld %cl, %rax, %rdx\n shrd %cl, %eax, %edx");
LINK(l_cl32, "mov $32, %ecx\n shl %cl, %eax\n shr %cl, %edx\n sar %cl, %al\n ror %cl, %ax\n shld %cl, %eax, %edx\n shll $0, (%rsi)\n shrl %cl, (%rsi)");
LINK(l_strings, "mov %rdi, %r8\n mov %rsi, %r9\n lea 64(%rsi), %rdi\n mov $20, %ecx\n rep movsb\n mov $0, %ecx\n repe cmpsb\n repne scasb\n"
	"mov $3, %ecx\n rep stosl\n mov %r8, %rdi\n mov %r9, %rsi");
LINK(l_moves, "bswap %rax\n xchg %rax, %rdx\n not %rax\n lea (%rax,%rdx,2), %rcx\n cmovs %rcx, %rdx\n movzbl %al, %eax\n cbw\n cwd\n setp %cl\n mov %ah, %dl");
LINK(l_bmi, "movd %eax, %xmm0\n paddd %xmm0, %xmm0\n movups %xmm0, 64(%rsi)\n fldz\n fstpt 80(%rsi)\n prefetcht0 (%rsi)\n mfence");
LINK(l_system, "mov %rbx, %r8\n mov $0, %eax\n cpuid\n mov %r8, %rbx\n rdtsc\n mov %cr0, %rax\n mov %rax, %cr2\n str %ax\n mov %cr3, %rax\n mov %rax, %cr3");
LINK(l_int, "int $0x41\n int3");
LINK(l_nops, "nop\n nopw 0(%rax,%rax,1)\n .rept 40\n nop\n .endr");
LINK(l_frame, "push %rbp\n mov %rsp, %rbp\n push %rax\n leave\n enter $16, $0\n leave");
LINK(l_cli, "cli\n cld\n pushf\n pop %rax");
/* bits 0, 2, 4, 6, 7, 11 of rdi become the flags; the rest of them is as it must be */
SNIPPET_IN(".data", f_popf, "push %rdi\n popf");
/* the flags as an addition leaves them: sil + dil is done by C, too */
SNIPPET_IN(".data", f_sahf, "mov %edi, %eax\n shr $11, %eax\n and $1, %eax\n add $0x7f, %al\n mov %edi, %eax\n mov %al, %ah\n sahf");

static bool back(struct frame *f)
{
	return true;
}

static bool cond(ulong fl, unsigned cc)
{
	bool cf = fl & FL_CF, zf = fl & FL_ZF, sf = fl & FL_SF, of = fl & FL_OF, pf = fl & FL_PF;
	bool v[8] = {of, cf, zf, cf || zf, sf, pf, sf != of, zf || sf != of};

	return v[cc >> 1] ^ (cc & 1);
}

static uint8_t *out;
static void put(const void *p, ulong n)
{
	memcpy(out, p, n);
	out += n;
}
#define PUT(bytes) put(bytes, sizeof(bytes) - 1)

/* Result: 1 for "holds". */
static void consumer(unsigned kind, unsigned cc)
{
	uint8_t b;

	switch (kind) {
	case 0: /* mov $1, %eax; jcc 1f; mov $0, %eax; 1: ret */
		PUT("\xb8\x01\0\0\0");
		b = (uint8_t)(0x70 | cc);
		put(&b, 1);
		PUT("\x05\xb8\0\0\0\0\xc3");
		break;
	case 1: /* setcc %al; movzx %al, %eax; ret */
		PUT("\x0f");
		b = (uint8_t)(0x90 | cc);
		put(&b, 1);
		PUT("\xc0\x0f\xb6\xc0\xc3");
		break;
	case 2: /* mov $0, %eax; mov $1, %edx; cmovcc %edx, %eax; ret */
		PUT("\xb8\0\0\0\0\xba\x01\0\0\0\x0f");
		b = (uint8_t)(0x40 | cc);
		put(&b, 1);
		PUT("\xc2\xc3");
		break;
	default: /* call 1f; ret; 1: jcc 2f; mov $0, %eax; ret; 2: mov $1, %eax; ret */
		PUT("\xe8\x01\0\0\0\xc3\x0f");
		b = (uint8_t)(0x80 | cc);
		put(&b, 1);
		PUT("\x06\0\0\0\xb8\0\0\0\0\xc3\xb8\x01\0\0\0\xc3");
	}
}

static void conditions(void)
{
#define ROW(n) {#n, n, n##_end}
	static const struct { const char *name, *p, *end; } link[] = {
		ROW(l_none), ROW(l_jmp), ROW(l_jmp_far), ROW(l_callret), ROW(l_callpop), ROW(l_pushret), ROW(l_indirect),
		ROW(l_indirect_mem), ROW(l_retpoline), ROW(l_loop), ROW(l_jrcxz), ROW(l_memory), ROW(l_miss), ROW(l_pushf),
		ROW(l_lahf), ROW(l_cl0), ROW(l_cl32), ROW(l_strings), ROW(l_moves), ROW(l_bmi), ROW(l_system),
		ROW(l_int), ROW(l_nops), ROW(l_frame), ROW(l_cli),
	}, setter[] = {ROW(f_popf), ROW(f_sahf)};
	uint8_t *slow = page_alloc();

	section("conditions");
	rt_hook[0x41] = back;
	rt_hook[BP] = back;
	for (unsigned l = 0; l < sizeof(link) / sizeof(*link); l++)
		for (unsigned cc = 0; cc < 16; cc++)
			for (unsigned kind = 0; kind < 4; kind++) {
				unsigned s = (l + cc + kind) & 1, wrong = 0, first = 0;
				/* everywhere, also across the page boundary */
				uint8_t *at = code + NPAGE - rnd() % 120;

				/* what the code leaves of flags it does not keep, SAHF cannot set: OF comes by the addition */
				if (link[l].p == l_lahf || link[l].p == l_pushf)
					s = 0;
				out = at;
				put(setter[s].p, (ulong)(setter[s].end - setter[s].p));
				put(link[l].p, (ulong)(link[l].end - link[l].p));
				consumer(kind, cc);
				for (unsigned i = 0; i < 64; i++) {
					ulong fl = FL_1 | (i & 1 ? FL_CF : 0) | (i & 2 ? FL_PF : 0) | (i & 4 ? FL_AF : 0) |
						(i & 8 ? FL_ZF : 0) | (i & 16 ? FL_SF : 0) | (i & 32 ? FL_OF : 0);

					if (call(at, fl, (ulong)slow, 0) != cond(fl, cc)) {
						if (!wrong++)
							first = (unsigned)fl;
					}
				}
				check(!wrong, "%s, %s, condition %u read by %u: %u of 64 wrong, first with %x", setter[s].name,
					link[l].name, cc, kind, wrong, first);
			}
	rt_hook[BP] = NULL;
}

/* ---- chains */
/* rdi = rsi + rdx (- for SBB), rcx limbs; CF lives through the loop, memory and DEC */
SNIPPET(c_adc, "xor %eax, %eax\n xor %r8d, %r8d\n 1: mov (%rsi,%r8,8), %rax\n adc (%rdx,%r8,8), %rax\n mov %rax, (%rdi,%r8,8)\n"
	"lea 1(%r8), %r8\n dec %rcx\n jnz 1b\n setc %al\n movzbl %al, %eax\n ret");
SNIPPET(c_sbb, "xor %eax, %eax\n xor %r8d, %r8d\n 1: mov (%rsi,%r8,8), %rax\n sbb (%rdx,%r8,8), %rax\n mov %rax, (%rdi,%r8,8)\n"
	"inc %r8\n dec %rcx\n jnz 1b\n setc %al\n movzbl %al, %eax\n ret");
/* read-modify-write: rdi += rsi */
SNIPPET(c_rmw, "xor %r8d, %r8d\n 1: mov (%rsi,%r8,8), %rax\n adc %rax, (%rdi,%r8,8)\n inc %r8\n dec %rcx\n jnz 1b\n setc %al\n movzbl %al, %eax\n ret");
/* rdi shifted left, then right by one bit through carry */
SNIPPET(c_rcl, "xor %r8d, %r8d\n 1: rclq $1, (%rdi,%r8,8)\n inc %r8\n dec %rcx\n jnz 1b\n setc %al\n movzbl %al, %eax\n ret");
SNIPPET(c_rcr, "xor %r8d, %r8d\n 1: rcrq $1, -8(%rdi,%rcx,8)\n dec %rcx\n jnz 1b\n setc %al\n movzbl %al, %eax\n ret");
/* a carry through a call per limb, LOOP instead of DEC, and a register stack */
SNIPPET(c_call, "xor %r8d, %r8d\n 1: call 2f\n lea 1(%r8), %r8\n loop 1b\n setc %al\n movzbl %al, %eax\n ret\n"
	"2: push %rbx\n mov (%rsi,%r8,8), %rbx\n adc (%rdx,%r8,8), %rbx\n mov %rbx, (%rdi,%r8,8)\n pop %rbx\n ret");

static ulong chain(const void *fn, uint64_t *d, const uint64_t *a, const uint64_t *b, ulong n)
{
	ulong r;

	__asm__ volatile("call *%2" : "=a"(r), "+c"(n) : "r"(fn), "D"(d), "S"(a), "d"(b) : "r8", "memory", "cc");
	return r;
}

static void chains(void)
{
	enum { PAGES = 40, N = PAGES * 512 };
	uint64_t *a = page_alloc_n(PAGES, NPAGE), *b = page_alloc_n(PAGES, NPAGE), *d = page_alloc_n(PAGES, NPAGE);
	uint64_t *want_d = page_alloc_n(PAGES, NPAGE);

	section("carry chains over memory");
	for (unsigned round = 0; round < 6; round++) {
		ulong n = round < 4 ? 1 + rnd() % 64 : N, carry = 0, got, wrong;
		uint64_t saved;

		for (unsigned i = 0; i < N; i++) {
			a[i] = rnd() % 3 ? rnd() : ~0ull;
			b[i] = rnd() % 3 ? rnd() : 0;
		}
		for (unsigned kind = 0; kind < 6; kind++) {
			static const char *const fn[] = {c_adc, c_sbb, c_rmw, c_rcl, c_rcr, c_call};
			static const char *const name[] = {"adc", "sbb", "adc to memory", "rcl", "rcr", "adc in calls"};

			carry = 0;
			wrong = 0;
			memcpy(d, a, N * 8);
			for (ulong i = 0; i < n; i++) {
				ulong k = kind == 4 ? n - 1 - i : i;

				switch (kind) {
				case 1:
					want_d[k] = a[k] - b[k] - carry;
					carry = a[k] < b[k] || (a[k] == b[k] && carry);
					break;
				case 3:
					want_d[k] = a[k] << 1 | carry;
					carry = a[k] >> 63;
					break;
				case 4:
					want_d[k] = a[k] >> 1 | carry << 63;
					carry = a[k] & 1;
					break;
				default:
					want_d[k] = a[k] + b[k] + carry;
					carry = want_d[k] < a[k] || (carry && want_d[k] == a[k]);
				}
			}
			saved = d[n - 1];
			wrcr3(rdcr3()); /* all of the TLB is cold */
			got = kind == 2 ? chain(fn[kind], d, b, b, n) : chain(fn[kind], d, a, b, n);
			for (ulong i = 0; i < n; i++)
				wrong += d[i] != want_d[i];
			check(!wrong && got == carry, "%s, %lu limbs: %lu wrong, carry %lu, not %lu (%lx)", name[kind], n, wrong, got,
				carry, (ulong)saved);
		}
	}
}

/* ---- calls and returns that do not match */
SNIPPET(r_changed, "lea 1f(%rip), %rax\n call 2f\n ud2\n 1: mov $7, %eax\n ret\n 2: mov %rax, (%rsp)\n ret");
SNIPPET(r_skip, "call 1f\n ud2\n mov $9, %eax\n ret\n 1: addq $2, (%rsp)\n ret");
SNIPPET(r_drop, "call 1f\n ud2\n 1: add $8, %rsp\n mov $11, %eax\n ret");
SNIPPET(r_imm, "push $1\n push $2\n push $3\n call 1f\n ret\n 1: mov 8(%rsp), %rax\n add 16(%rsp), %rax\n add 24(%rsp), %rax\n ret $24");
SNIPPET(r_twice, "lea 1f(%rip), %rax\n push %rax\n lea 2f(%rip), %rcx\n push %rcx\n xor %eax, %eax\n ret\n 1: add $5, %eax\n ret\n 2: add $8, %eax\n ret");
SNIPPET(r_callmem, "lea 1f(%rip), %rax\n push %rax\n call *(%rsp)\n pop %rcx\n ret\n 1: mov 8(%rsp), %rcx\n sub %rax, %rcx\n lea 15(%rcx), %eax\n ret");
SNIPPET(r_jmpstack, "lea 1f(%rip), %rax\n push %rax\n jmp *(%rsp)\n ud2\n 1: pop %rcx\n cmp %rax, %rcx\n setz %al\n movzbl %al, %eax\n add $16, %eax\n ret");
SNIPPET(r_callrsp, "lea 1f(%rip), %rax\n push %rax\n push %rax\n call *8(%rsp)\n add $16, %rsp\n ret\n 1: mov $18, %eax\n ret");
SNIPPET(r_recurse, "mov %rdi, %rax\n test %rdi, %rdi\n jz 1f\n dec %rdi\n push %rdi\n call r_recurse\n pop %rdi\n lea 1(%rax,%rdi), %rax\n 1: ret");
SNIPPET(r_fib, "cmp $2, %edi\n jb 1f\n push %rdi\n dec %edi\n call r_fib\n pop %rdi\n push %rax\n sub $2, %edi\n call r_fib\n pop %rdx\n add %rdx, %rax\n ret\n 1: mov %edi, %eax\n ret");
/* out of rdi calls at once, like longjmp */
SNIPPET(r_long, "mov %rsp, %r8\n call 1f\n ud2\n 1: dec %rdi\n jz 2f\n push %rdi\n call 1b\n ud2\n 2: mov %r8, %rsp\n mov $21, %eax\n ret");
/* the same call site returns to two places in turn: edi times */
SNIPPET(r_alternate, "xor %eax, %eax\n 1: call 3f\n add $1, %eax\n jmp 2f\n nop\n add $100, %eax\n 2: dec %edi\n jnz 1b\n ret\n"
	"3: test $1, %edi\n jz 4f\n addq $6, (%rsp)\n 4: ret");
/* two functions swap stacks at each step, like coroutines */
SNIPPET(r_coroutine, "push %rbx\n mov %rsi, %rbx\n lea 3f(%rip), %rax\n mov %rax, -8(%rbx)\n lea -8(%rbx), %rbx\n xor %eax, %eax\n"
	"1: call 2f\n add $1, %rax\n dec %rdi\n jnz 1b\n pop %rbx\n ret\n"
	"2: xchg %rsp, %rbx\n ret\n"
	"3: add $1000, %rax\n call 2b\n jmp 3b");

static void returns(void)
{
	static const struct { const char *p; ulong a, want; const char *name; } row[] = {
		{r_changed, 0, 7, "return address changed"}, {r_skip, 0, 9, "return address moved on"},
		{r_drop, 0, 11, "dropped"}, {r_imm, 0, 6, "ret imm16"}, {r_twice, 0, 13, "two returns without a call"},
		{r_callmem, 0, 15 - 0, "call *(rsp)"}, {r_jmpstack, 0, 17, "jmp *(rsp)"}, {r_callrsp, 0, 18, "call *8(rsp)"},
		{r_recurse, 600, 600 + 600 * 599 / 2, "deep recursion"}, {r_fib, 15, 610, "two ways"}, {r_long, 300, 21, "longjmp"},
		{r_alternate, 1000, 500 * 1 + 500 * 100, "a return that alternates"},
	};
	uint8_t *stack = page_alloc();
	ulong base = 0;

	section("calls and returns");
	for (unsigned again = 0; again < 40; again++)
		for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
			ulong got = call(row[i].p, row[i].a, 0, 0);

			if (row[i].p == r_callmem) { /* the distance from the function to its return address */
				base = again ? base : got;
				check(got == base, "%s: %lu", row[i].name, got);
			} else {
				check(got == row[i].want, "%s: %lu", row[i].name, got);
			}
		}
	for (unsigned again = 0; again < 5; again++)
		check(call(r_coroutine, 500, (ulong)stack + NPAGE, 0) == 500 * 1001, "coroutines");
}

/* jmp, call through every register, through memory with every base and index */
static void indirect(void)
{
	ulong table[16] __attribute__((aligned(16)));
	unsigned wrong = 0;

	section("indirect jumps");
	/* 1: mov imm32, %eax; ret at 16 places */
	for (unsigned i = 0; i < 16; i++) {
		uint8_t *f = code + 2 * NPAGE + 64 * i;

		f[0] = 0xb8, f[1] = (uint8_t)i, f[2] = 3, f[3] = f[4] = 0, f[5] = 0xc3;
		table[i] = (ulong)f;
	}
	for (unsigned r = 0; r < 16; r++) {
		if (r == 4)
			continue;
		/* push %r; mov %rdi, %r; call by it in one of three ways; pop %r; ret */
		for (unsigned jump = 0; jump < 3; jump++) {
			uint8_t *p = code + 100, b;

			if (jump == 1 && r == 6) /* which is the pointer */
				continue;
			out = p;
			if (r >= 8)
				PUT("\x41");
			b = (uint8_t)(0x50 | (r & 7)), put(&b, 1);          /* push %r */
			b = r >= 8 ? 0x49 : 0x48, put(&b, 1);
			PUT("\x89");
			b = (uint8_t)(0xf8 | (r & 7)), put(&b, 1);          /* mov %rdi, %r */
			if (jump == 1) {
				PUT("\x48\x89\x3e");                        /* mov %rdi, (%rsi) */
				PUT("\xff\x16");                            /* call *(%rsi) */
			} else if (jump == 2) { /* call 1f; jmp 2f; 1: jmp *%r; 2: */
				PUT("\xe8\x02\0\0\0\xeb");
				b = r >= 8 ? 3 : 2, put(&b, 1);
				if (r >= 8)
					PUT("\x41");
				PUT("\xff");
				b = (uint8_t)(0xe0 | (r & 7)), put(&b, 1);
			} else {
				if (r >= 8)
					PUT("\x41");
				PUT("\xff");
				b = (uint8_t)(0xd0 | (r & 7)), put(&b, 1);  /* call *%r */
			}
			if (r == 0) { /* the result is in eax: keep it over the pop */
				PUT("\x89\xc1\x58\x89\xc8\xc3");
			} else {
				if (r >= 8)
					PUT("\x41");
				b = (uint8_t)(0x58 | (r & 7)), put(&b, 1);
				PUT("\xc3");
			}
			for (unsigned i = 0; i < 64; i++) {
				unsigned k = i < 32 ? i / 8 : (unsigned)(rnd() & 15);

				wrong += call(p, table[k], (ulong)far, 0) != 0x300 + k;
			}
			check(!wrong, "register %u, kind %u: %u wrong", r, jump, wrong);
			wrong = 0;
		}
	}
	/* call *(%rsi,%rdi,8), as a switch does */
	memcpy(code + 100, "\xff\x14\xfe\xc3", 4);
	for (unsigned i = 0; i < 3000; i++) {
		unsigned k = (unsigned)(rnd() & 15);

		wrong += call(code + 100, k, (ulong)table, 0) != 0x300 + k;
	}
	memcpy(code + 100, "\x52\x41\x5a\x42\xff\x14\xd6\xc3", 8); /* push %rdx; pop %r10; call *(%rsi,%r10,8) */
	for (unsigned i = 0; i < 3000; i++) {
		unsigned k = (unsigned)(rnd() & 15);

		wrong += call(code + 100, 0, (ulong)table, k) != 0x300 + k;
	}
	check(!wrong, "a table: %u wrong", wrong);
}

static void layout(void)
{
	static const uint8_t overlap[] = {0xb8, 0x05, 0x90, 0x90, 0x90, /* mov $0x90909005, %eax: at +1: add $.., %eax */
		0x90, 0xeb, 0x00, 0x3d, 0x90, 0x90, 0x90, 0x90, 0xc3};
	unsigned wrong = 0;
	struct trap *t;

	section("where code lies");
	memcpy(code + 100, overlap, sizeof(overlap));
	for (unsigned i = 0; i < 500; i++) {
		wrong += call(code + 100, 0, 0, 0) != 0x90909005;
		wrong += ((uint32_t)call(code + 100, 0, 0, 0) != 0x90909005);
		((void (*)(void))(ulong)(code + 102))();
	}
	check(!wrong, "overlapping: %u", wrong);
	/* jump into the immediate of an instruction that is also run: eb ff c0: jmp +1 back into itself = inc eax */
	memcpy(code + 200, "\x31\xc0\xeb\xff\xc0\xc3", 6);
	for (unsigned i = 0; i < 100; i++)
		wrong += call(code + 200, 0, 0, 0) != 1;
	check(!wrong, "a jump into itself: %u", wrong);
	/* instructions of 15 bytes, and of 16: #GP */
	for (unsigned at = NPAGE - 20; at < NPAGE + 5; at++) {
		static const uint8_t longest[] = {0x66, 0x66, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x48, 0x81, 0xc7, 0x78, 0x56, 0x34, 0x12},
			too_long[] = {0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x2e, 0x48, 0x81, 0xc7, 0x78, 0x56, 0x34, 0x12};

		/* 2e x 8, 48 81 c7 imm32: 15 bytes; then mov %rdi, %rax; ret */
		memcpy(code + at, too_long + 1, 15);
		memcpy(code + at + 15, "\x48\x89\xf8\xc3", 4);
		for (unsigned i = 0; i < 5; i++)
			check(call(code + at, i, 0, 0) == 0x12345678 + i, "15 bytes at %x", at);
		memcpy(code + at, too_long, 16);
		for (unsigned i = 0; i < 5; i++)
			want(catch(code + at), GP, 0, code + at, "16 bytes");
		memcpy(code + at, longest, 14);
		memcpy(code + at + 14, "\x48\x89\xf8\xc3", 4);
		for (unsigned i = 0; i < 5; i++)
			check(call(code + at, i, 0, 0) == 0x12345678 + i, "14 bytes at %x", at);
	}
	/* the last instruction of a page that has nothing behind it */
	*pte_at(rt_pml4, va, 1) = (ulong)code | PTE_P | PTE_W;
	*pte_at(rt_pml4, va + NPAGE, 1) = 0;
	invlpg((void *)va);
	invlpg((void *)(va + NPAGE));
	memcpy(code + NPAGE - 3, "\x89\xf8\xc3", 3);                        /* mov %edi, %eax; ret */
	memcpy(code + NPAGE - 16, "\xe8\x08\0\0\0\xff\xc0\xc3", 8);         /* call that; inc %eax; ret */
	memcpy(code + NPAGE - 40, "\x85\xff\x0f\x85\x1d\0\0\0\xc3", 9);     /* test; jnz that; ret */
	for (ulong i = 1; i < 100; i++)
		wrong += (call((void *)(va + NPAGE - 3), i, 0, 0) != i) + (call((void *)(va + NPAGE - 16), i, 0, 0) != i + 1) +
			(call((void *)(va + NPAGE - 40), i, 0, 0) != i);
	check(!wrong, "RET ends the page: %u", wrong);
	/* a call, whose return address is the next page's first byte, and code that runs on into it */
	memcpy(code + NPAGE - 5, "\xe8\xf0\xff\xff\xff", 5);                /* call -16 from the page's end */
	memcpy(code + NPAGE - 16, "\x8d\x47\x01\xc3", 4);                   /* lea 1(%rdi), %eax; ret */
	for (unsigned i = 0; i < 20; i++) {
		bool there = i % 3 != 0;

		*pte_at(rt_pml4, va + NPAGE, 1) = there ? ((ulong)code + NPAGE) | PTE_P : 0;
		invlpg((void *)(va + NPAGE));
		memcpy(code + NPAGE, "\x01\xc0\xc3", 3);                    /* add %eax, %eax; ret */
		t = catch(va + NPAGE - 5, i);
		if (there)
			check(t->vec == NOTRAP && call((void *)(va + NPAGE - 5), i, 0, 0) == 2 * (i + 1), "call at the page's end");
		else
			check(t->vec == PF && t->ip == va + NPAGE && t->cr2 == va + NPAGE && t->err == PF_I && t->regs.ax == i + 1,
				"return to a page that is not there: %ld at %lx, rax %lx", t->vec, t->ip, t->regs.ax);
	}
	memcpy(code + NPAGE - 4, "\x83\xc7\x01\x90", 4);                    /* add $1, %edi; nop */
	memcpy(code + NPAGE, "\x89\xf8\xc3", 3);
	for (unsigned i = 0; i < 20; i++) {
		bool there = i % 3 != 0;

		*pte_at(rt_pml4, va + NPAGE, 1) = there ? ((ulong)code + NPAGE) | PTE_P : 0;
		invlpg((void *)(va + NPAGE));
		t = catch(va + NPAGE - 4, i);
		if (there)
			check(t->vec == NOTRAP && call((void *)(va + NPAGE - 4), i, 0, 0) == i + 1, "falls into the next page");
		else
			check(t->vec == PF && t->ip == va + NPAGE && t->regs.di == i + 1, "falls into a page that is not there: %ld at %lx",
				t->vec, t->ip);
	}
	/* non-canonical targets: #GP, where the jump stands for JMP, CALL and RET */
	quirks("TCG raises it at the target");
	for (unsigned i = 0; i < 5; i++) {
		memcpy(code + 300, "\xff\xe7", 2); /* jmp *%rdi */
		want(catch(code + 300, 1ul << 47), GP, 0, code + 300, "jmp *");
		memcpy(code + 310, "\xff\xd7", 2); /* call *%rdi */
		want(catch(code + 310, 0x8000000000000000ul), GP, 0, code + 310, "call *");
		memcpy(code + 320, "\x57\xc3", 2); /* push %rdi; ret */
		want(catch(code + 320, 0x1234567890abcdeful), GP, 0, code + 321, "ret");
	}
}

/* ---- interrupts */
enum { TIMER = 0x40 };

static void arm(uint32_t count)
{
	apic_write(0x3e0, 0xb);
	apic_write(0x320, TIMER);
	apic_write(0x380, count);
}

/* Never come to an end; r8, r9 and the stack are theirs */
SNIPPET(i_self, "sti\n 1: jmp 1b");
SNIPPET(i_dec, "sti\n mov $-1, %rcx\n 1: dec %rcx\n jnz 1b\n ud2");
SNIPPET(i_loop, "sti\n 1: mov $-1, %rcx\n 2: loop 2b\n jmp 1b");
SNIPPET(i_mem, "sti\n 1: incq far(%rip)\n cmpq $-1, far(%rip)\n jne 1b\n ud2");
/* calls and returns without a jump backwards: each function pushes the other and returns into it */
SNIPPET(i_pingpong, "sti\n lea 1f(%rip), %r8\n lea 2f(%rip), %r9\n 1: push %r9\n ret\n 2: push %r8\n ret");
SNIPPET(i_indirect, "sti\n lea 1f(%rip), %r8\n lea 2f(%rip), %r9\n 1: jmp *%r9\n 2: jmp *%r8");
SNIPPET(i_callind, "sti\n lea 1f(%rip), %r8\n lea 2f(%rip), %r9\n 1: call *%r9\n ud2\n 2: pop %rax\n jmp *%r8");
SNIPPET(i_retpoline, "sti\n lea 1f(%rip), %r8\n 1: call 2f\n ud2\n 2: mov %r8, (%rsp)\n ret");
SNIPPET(i_calls, "sti\n 1: call 2f\n jmp 1b\n 2: call 3f\n ret\n 3: ret");
SNIPPET(i_cli, "1: sti\n nop\n cli\n jmp 1b");
SNIPPET(i_popf, "pushf\n pop %r8\n mov %r8, %r9\n or $0x200, %r9\n 1: push %r9\n popf\n push %r8\n popf\n jmp 1b");
SNIPPET(i_rep, "sti\n 1: mov $-1, %rcx\n lea far(%rip), %rsi\n rep lodsb\n jmp 1b");
SNIPPET(i_tlb, "sti\n 1: invlpg far(%rip)\n mov far(%rip), %rax\n jmp 1b");
SNIPPET(i_string, "sti\n 1: mov $4096, %ecx\n lea far(%rip), %rdi\n rep stosb\n jmp 1b");
SNIPPET(i_pages, "sti\n .balign 4096, 0x90\n 1: jmp 2f\n .skip 4096, 0xcc\n 2: jmp 1b");
SNIPPET(i_sse, "sti\n 1: addps %xmm0, %xmm1\n ucomiss %xmm0, %xmm0\n jnp 1b\n jmp 1b");
SNIPPET(i_iret, "1: mov %rsp, %r8\n push $0x10\n push %r8\n pushf\n orl $0x200, (%rsp)\n push $8\n lea 2f(%rip), %rax\n push %rax\n iretq\n 2: cli\n jmp 1b");
USER_SNIPPET(u_self, "1: jmp 1b");
USER_SNIPPET(u_ind, "lea 1f(%rip), %rax\n lea 2f(%rip), %rcx\n 1: jmp *%rcx\n 2: jmp *%rax");
USER_SNIPPET(u_ret, "lea 1f(%rip), %rax\n lea 2f(%rip), %rcx\n 1: push %rcx\n ret\n 2: push %rax\n ret");

static void loops(void)
{
	static const struct { const char *p, *end, *name; } row[] = {
		{i_self, i_self_end, "jmp ."}, {i_dec, i_dec_end, "dec, jnz"}, {i_loop, i_loop_end, "loop ."},
		{i_mem, i_mem_end, "inc memory"}, {i_pingpong, i_pingpong_end, "push, ret"}, {i_indirect, i_indirect_end, "jmp *"},
		{i_callind, i_callind_end, "call *, pop"}, {i_retpoline, i_retpoline_end, "retpoline"}, {i_calls, i_calls_end, "call, ret"},
		{i_cli, i_cli_end, "sti, nop, cli"}, {i_popf, i_popf_end, "popf"}, {i_rep, i_rep_end, "rep lods"}, {i_tlb, i_tlb_end, "invlpg"},
		{i_string, i_string_end, "rep stos"}, {i_pages, i_pages_end, "two pages"}, {i_sse, i_sse_end, "SSE"}, {i_iret, i_iret_end, "iret"},
	}, urow[] = {{u_self, u_self_end, "jmp ."}, {u_ind, u_ind_end, "jmp *"}, {u_ret, u_ret_end, "push, ret"}};
	struct enter e = {SEL_UCS, SEL_UDS, (ulong)rt_user_stack_top - 64, FL_1 | FL_IF};

	section("interrupts into loops");
	apic_enable();
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++)
		for (unsigned again = 0; again < 5; again++) {
			struct trap *t;

			arm(again < 2 ? 2000 : 500000);
			t = catch(row[i].p);
			apic_write(0xb0, 0);
			check((t->vec == TIMER && t->ip >= (ulong)row[i].p && t->ip < (ulong)row[i].end && t->flags & FL_IF) ||
				(row[i].p == i_rep && t->vec == PF), "%s: %ld at %lx", row[i].name, t->vec, t->ip);
		}
	for (unsigned i = 0; i < sizeof(urow) / sizeof(*urow); i++)
		for (unsigned again = 0; again < 5; again++) {
			struct trap *t;

			arm(again < 2 ? 2000 : 500000);
			t = enter(urow[i].p, 0, 0, &e);
			apic_write(0xb0, 0);
			check(t->vec == TIMER && t->ip >= (ulong)urow[i].p && t->ip < (ulong)urow[i].end, "user %s: %ld at %lx",
				urow[i].name, t->vec, t->ip);
		}
}

/* Each with an interrupt already pending; where must it come? At name_at. */
LABEL(x_sti_at);
SNIPPET(x_sti, "sti\n nop\n .globl x_sti_at\n x_sti_at: nop\n ud2");
LABEL(x_stihlt_at);
SNIPPET(x_stihlt, "sti\n hlt\n .globl x_stihlt_at\n x_stihlt_at: ud2");
LABEL(x_popf_at);
SNIPPET(x_popf, "push $0x202\n popf\n .globl x_popf_at\n x_popf_at: nop\n ud2");
LABEL(x_iret_at);
SNIPPET(x_iret, "mov %rsp, %r8\n push $0x10\n push %r8\n push $0x202\n push $8\n lea 1f(%rip), %rax\n push %rax\n iretq\n ud2\n 1:\n"
	".globl x_iret_at\n x_iret_at: nop\n ud2");
LABEL(x_stisti_at);
SNIPPET(x_stisti, "sti\n sti\n .globl x_stisti_at\n x_stisti_at: nop\n ud2");
LABEL(x_window_at);
SNIPPET(x_window, "sti\n cli\n sti\n cli\n pushf\n testl $0x200, (%rsp)\n jnz 1f\n popf\n sti\n jmp 2f\n 1: ud2\n 2:\n .globl x_window_at\n x_window_at: nop\n ud2");
LABEL(x_branch_at);
SNIPPET(x_branch, "sti\n call 1f\n ud2\n 1: .globl x_branch_at\n x_branch_at: nop\n ud2");
LABEL(x_load_at);
SNIPPET(x_load, "invlpg far(%rip)\n sti\n mov far(%rip), %rax\n .globl x_load_at\n x_load_at: nop\n ud2");
LABEL(x_cr8_at);
SNIPPET(x_cr8, "mov $15, %eax\n mov %rax, %cr8\n sti\n nop\n nop\n nop\n xor %eax, %eax\n mov %rax, %cr8\n .globl x_cr8_at\n x_cr8_at: nop\n ud2");

static void exact(void)
{
	static const struct { const char *p, *at, *name; } row[] = {
		{x_sti, x_sti_at, "sti"}, {x_stihlt, x_stihlt_at, "sti; hlt"}, {x_popf, x_popf_at, "popf"}, {x_iret, x_iret_at, "iret"},
		{x_stisti, x_stisti_at, "sti; sti"}, {x_window, x_window_at, "sti; cli"}, {x_branch, x_branch_at, "sti; call"},
		{x_load, x_load_at, "sti; load"}, {x_cr8, x_cr8_at, "cr8"},
	};

	section("where interrupts come");
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++)
		for (unsigned again = 0; again < 30; again++) {
			struct trap *t;

			apic_icr(0, 0x40000 | TIMER); /* to itself */
			if (!until(apic_read(0x200 + TIMER / 32 * 16) & 1u << TIMER % 32))
				check(false, "it never becomes pending");
			t = catch(row[i].p);
			apic_write(0xb0, 0);
			wrcr8(0);
			check(t->vec == TIMER && t->ip == (ulong)row[i].at, "%s, time %u: %ld at %lx, not %lx", row[i].name, again, t->vec, t->ip,
				(ulong)row[i].at);
			if (t->vec != TIMER)
				sti_nop_cli();
		}
	/* HLT sleeps until the timer; each time it wakes behind it */
	for (unsigned again = 0; again < 100; again++) {
		struct trap *t;

		arm(1000 + again * 300);
		t = catch(x_stihlt);
		apic_write(0xb0, 0);
		check(t->vec == TIMER && t->ip == (ulong)x_stihlt_at, "timer: %ld at %lx", t->vec, t->ip);
	}
}

void test_main(void)
{
	__asm__ volatile("fninit");
	conditions();
	chains();
	returns();
	indirect();
	layout();
	loops();
	exact();
}
