/* SPDX-License-Identifier: MIT */
/*
 * Memory accesses that fault half way: string instructions leave exact registers, accesses that cross
 * into a bad page write nothing, read-modify-write and multi-access instructions are all or nothing.
 */
#include "rt.h"

#define AT(x) ".globl " #x "\n" #x ": "
static const ulong va = 0x30000000000ul; /* pages: good, bad, good */
static uint8_t *pg[3];
static uint64_t *pte[3];

/* a frame's registers are in t->regs */
SNIPPET(s_movsb, "mov %rdx, %rcx\n" AT(s_movsb_at) "rep movsb\n ret");
LABEL(s_movsb_at);
SNIPPET(s_movsq, "mov %rdx, %rcx\n" AT(s_movsq_at) "rep movsq\n ret");
LABEL(s_movsq_at);
SNIPPET(s_movsb_std, "mov %rdx, %rcx\n std\n" AT(s_movsb_std_at) "rep movsb\n cld\n ret");
LABEL(s_movsb_std_at);
SNIPPET(s_stosb, "mov %rdx, %rcx\n mov $0x5a, %al\n" AT(s_stosb_at) "rep stosb\n ret");
LABEL(s_stosb_at);
SNIPPET(s_stosq, "mov %rdx, %rcx\n mov $-1, %rax\n" AT(s_stosq_at) "rep stosq\n ret");
LABEL(s_stosq_at);
SNIPPET(s_lodsb, "mov %rdx, %rcx\n" AT(s_lodsb_at) "rep lodsb\n ret");
LABEL(s_lodsb_at);
SNIPPET(s_scasb, "mov %rdx, %rcx\n mov $0x77, %al\n cmp $0, %al\n" AT(s_scasb_at) "repne scasb\n ret");
LABEL(s_scasb_at);
SNIPPET(s_cmpsb, "mov %rdx, %rcx\n cmp %al, %al\n" AT(s_cmpsb_at) "repe cmpsb\n ret");
LABEL(s_cmpsb_at);
SNIPPET(s_insb, "mov %rdx, %rcx\n mov $0xe0, %edx\n" AT(s_insb_at) "rep insb\n ret");
LABEL(s_insb_at);
SNIPPET(s_outsb, "mov %rdx, %rcx\n mov $0xe1, %edx\n" AT(s_outsb_at) "rep outsb\n ret");
LABEL(s_outsb_at);
SNIPPET(s_movsb32, "mov %rdx, %rcx\n" AT(s_movsb32_at) "addr32 rep movsb\n ret");
LABEL(s_movsb32_at);
SNIPPET(s_store2, "mov %si, (%rdi)\n ret");
SNIPPET(s_store4, "mov %esi, (%rdi)\n ret");
SNIPPET(s_store8, "mov %rsi, (%rdi)\n ret");
SNIPPET(s_load8, "mov (%rdi), %rax\n ret");
SNIPPET(s_add8, "add %rsi, (%rdi)\n ret");
SNIPPET(s_lock_add8, "lock add %rsi, (%rdi)\n ret");
SNIPPET(s_xchg8, "xchg %rsi, (%rdi)\n ret");
SNIPPET(s_xadd8, "lock xadd %rsi, (%rdi)\n ret");
SNIPPET(s_bts, "lock bts %rsi, (%rdi)\n ret");
SNIPPET(s_setcc, "setz (%rdi)\n ret");
SNIPPET(s_inc4, "incl (%rdi)\n ret");
SNIPPET(s_shl8, "shlq $1, (%rdi)\n ret");
SNIPPET(s_movups_st, "movups %xmm0, (%rdi)\n ret");
SNIPPET(s_movups_ld, "movups (%rdi), %xmm0\n ret");
SNIPPET(s_fxsave, "fxsave (%rdi)\n ret");
SNIPPET(s_fnsave, "fnsave (%rdi)\n ret");
SNIPPET(s_fstp, "fldpi\n" AT(s_fstp_at) "fstpt (%rdi)\n ret");
LABEL(s_fstp_at);
SNIPPET(s_sgdt, "sgdt (%rdi)\n ret");
SNIPPET(s_cmpxchg16b, "lock cmpxchg16b (%rdi)\n ret");
SNIPPET(s_push, "mov %rsp, %rbx\n mov %rdi, %rsp\n" AT(s_push_at) "push %rsi\n mov %rbx, %rsp\n ret");
LABEL(s_push_at);
SNIPPET(s_pop_m, "mov %rsp, %rbx\n mov %rsi, %rsp\n" AT(s_pop_m_at) "popq (%rdi)\n mov %rbx, %rsp\n ret");
LABEL(s_pop_m_at);
SNIPPET(s_pop_m_ok, "mov %rsp, %rbx\n mov %rsi, %rsp\n popq 8(%rsp)\n mov %rsp, %rax\n mov %rbx, %rsp\n ret");
SNIPPET(s_push_m, "mov %rsp, %rbx\n mov %rsi, %rsp\n" AT(s_push_m_at) "pushq (%rdi)\n mov %rbx, %rsp\n ret");
LABEL(s_push_m_at);
SNIPPET(s_call_bad, "mov %rsp, %rbx\n mov %rdi, %rsp\n" AT(s_call_bad_at) "call s_load8\n mov %rbx, %rsp\n ret");
LABEL(s_call_bad_at);
SNIPPET(s_enter, "mov %rsp, %rbx\n mov %rdi, %rsp\n" AT(s_enter_at) "enter $0, $0\n leave\n mov %rbx, %rsp\n ret");
LABEL(s_enter_at);
SNIPPET(s_leave, "push %rbp\n mov %rsp, %rbx\n mov %rdi, %rbp\n" AT(s_leave_at) "leave\n mov %rbx, %rsp\n pop %rbp\n ret");
LABEL(s_leave_at);

static void map(unsigned which, uint64_t flags)
{
	*pte[which] = flags ? (ulong)pg[which] | flags : 0;
	invlpg((void *)(va + which * NPAGE));
}

static void pattern(void)
{
	for (unsigned p = 0; p < 3; p++)
		for (unsigned i = 0; i < NPAGE; i++)
			pg[p][i] = (uint8_t)(i * 7 + p + 1) | 1;
}

/* registers of a string instruction that stopped at a fault */
static void stopped(struct trap *t, const void *at, ulong err, ulong cr2, ulong si, ulong di, ulong cx, const char *what)
{
	check(t->vec == PF && t->err == err && t->ip == (ulong)at && t->cr2 == cr2, "%s: %ld(%lx) at %lx, cr2 %lx want %lx", what,
		t->vec, t->err, t->ip, t->cr2, cr2);
	check((!si || t->regs.si == si) && (!di || t->regs.di == di) && t->regs.cx == cx,
		"%s: rsi %lx rdi %lx rcx %lx, want %lx %lx %lx", what, t->regs.si, t->regs.di, t->regs.cx, si, di, cx);
}

static void strings(void)
{
	uint8_t *buf = page_alloc_n(4, NPAGE);
	const ulong edge = va + NPAGE, b = (ulong)buf;
	struct trap *t;

	section("string instructions");
	map(1, 0);
	for (unsigned off = 0; off < 17; off += 4) {
		t = catch(s_movsb, edge - off, b, 100);
		/* SNIPPET arguments: rdi, rsi, rdx */
		stopped(t, s_movsb_at, PF_W, edge, b + off, edge, 100 - off, "rep movsb, destination");
		t = catch(s_movsb, b, edge - off, 100);
		stopped(t, s_movsb_at, 0, edge, edge, b + off, 100 - off, "rep movsb, source");
	}
	t = catch(s_movsq, edge - 20, b, 100);
	stopped(t, s_movsq_at, PF_W, edge, b + 16, edge - 4, 98, "rep movsq that crosses");
	t = catch(s_movsq, b, edge - 20, 100);
	stopped(t, s_movsq_at, 0, edge, edge - 4, b + 16, 98, "rep movsq, source crosses");
	t = catch(s_movsb_std, va + 2 * NPAGE + 4, b + 50, 40);
	stopped(t, s_movsb_std_at, PF_W, va + 2 * NPAGE - 1, b + 45, va + 2 * NPAGE - 1, 35, "rep movsb downwards");
	check(t->flags & FL_DF, "DF is saved");
	__asm__ volatile("cld");
	pattern();
	t = catch(s_stosb, edge - 3, 0, 50);
	stopped(t, s_stosb_at, PF_W, edge, 0, edge, 47, "rep stosb");
	check(pg[0][NPAGE - 3] == 0x5a && pg[0][NPAGE - 1] == 0x5a && pg[0][NPAGE - 4] != 0x5a, "what fits is stored");
	t = catch(s_stosq, edge - 3, 0, 50);
	stopped(t, s_stosq_at, PF_W, edge, 0, edge - 3, 50, "rep stosq, the first crosses");
	check(pg[0][NPAGE - 3] == 0x5a, "and stores nothing");
	t = catch(s_lodsb, 0, edge - 5, 50);
	stopped(t, s_lodsb_at, 0, edge, edge, 0, 45, "rep lodsb");
	check((t->regs.ax & 0xff) == 0x5a, "al is the last byte read: %lx", t->regs.ax);
	pattern();
	t = catch(s_scasb, edge - 5, 0, 50);
	stopped(t, s_scasb_at, 0, edge, 0, edge, 45, "repne scasb");
	{
		uint8_t last = pg[0][NPAGE - 1];
		unsigned diff = 0x77u - last;

		check(!(t->flags & FL_ZF) && !(t->flags & FL_CF) == !(0x77 < last) && !(t->flags & FL_SF) == !(diff & 0x80),
			"flags are those of the last comparison: %lx", t->flags);
	}
	memcpy(buf, pg[0] + NPAGE - 5, 5);
	t = catch(s_cmpsb, edge - 5, b, 50);
	stopped(t, s_cmpsb_at, 0, edge, b + 5, edge, 45, "repe cmpsb");
	check(t->flags & FL_ZF, "ZF of the last comparison");
	outb(0xe0, 0x99);
	t = catch(s_insb, edge - 2, 0, 10);
	stopped(t, s_insb_at, PF_W, edge, 0, edge, 8, "rep insb");
	t = catch(s_outsb, 0, edge - 2, 10);
	stopped(t, s_outsb_at, 0, edge, edge, 0, 8, "rep outsb");
	t = catch(s_movsb, va, va + 2 * NPAGE, 0);
	want(t, NOTRAP, 0, NULL, "count 0 touches nothing");
	t = catch(s_movsb, edge, edge, 0);
	want(t, NOTRAP, 0, NULL, "count 0 with bad addresses");
	/* fault, repair, go on: as demand paging does */
	map(0, PTE_P | PTE_W);
	pattern();
	{
		extern bool repair(struct frame *f);

		rt_hook[PF] = repair;
		t = catch(s_movsb, va + 10, b, 3 * NPAGE - 20);
		rt_hook[PF] = NULL;
		want(t, NOTRAP, 0, NULL, "a copy over three pages, one of which comes by a fault");
		check(!memcmp(pg[1], buf + NPAGE - 10, NPAGE) && !memcmp(pg[2], buf + 2 * NPAGE - 10, NPAGE - 10), "is complete");
	}
	/* overlapping copies: byte order shows */
	memset(buf, 0, 64);
	buf[0] = 1;
	catch(s_movsb, b + 1, b, 20);
	check(buf[20] == 1 && buf[21] == 0, "overlap by one propagates");
	for (unsigned i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	catch(s_movsb, b + 3, b, 20);
	check(buf[3] == 0 && buf[6] == 0 && buf[8] == 2 && buf[22] == 1, "overlap by three repeats: %x %x %x", buf[6], buf[8], buf[22]);
	/* 32-bit addresses: high halves are cut, registers written as 32-bit */
	t = catch(s_movsb32, 0xffffffff00000000ul | (b + 100), 0xaaaaaaaa00000000ul | b, 0xffffffff00000005ul);
	want(t, NOTRAP, 0, NULL, "32-bit address size");
	check(!memcmp(buf + 100, buf, 5), "copied");
	map(1, 0);
}

bool repair(struct frame *f);
bool repair(struct frame *f)
{
	map(1, PTE_P | PTE_W);
	return true;
}

static void crossing(void)
{
	static const struct { const char *code, *name; unsigned size; } row[] = {
		{s_store2, "mov16", 2}, {s_store4, "mov32", 4}, {s_store8, "mov64", 8}, {s_add8, "add", 8},
		{s_lock_add8, "lock add", 8}, {s_xchg8, "xchg", 8}, {s_xadd8, "xadd", 8}, {s_inc4, "inc", 4},
		{s_shl8, "shl", 8}, {s_movups_st, "movups", 16}, {s_sgdt, "sgdt", 10}, {s_fxsave, "fxsave", 416 /* the rest is not written */},
		{s_fnsave, "fnsave", 108},
	};
	const ulong edge = va + NPAGE;
	struct trap *t;

	section("crossing into a page that is not there");
	__asm__ volatile("fninit");
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
		for (unsigned mode = 0; mode < 2; mode++) {
			unsigned step = row[i].size > 16 ? 16 : 1;
			ulong err = mode ? PF_P | PF_W : PF_W;

			map(0, PTE_P | PTE_W);
			map(1, mode ? PTE_P : 0);
			for (unsigned k = step; k < row[i].size; k += step) {
				bool same = true;

				pattern();
				t = catch(row[i].code, edge - k, 0x1122334455667788);
				quirk("TCG 7.2 reads first, or stores in pieces");
				check(t->vec == PF && t->err == err && t->cr2 == edge && t->ip == (ulong)row[i].code,
					"%s %u before the edge, %s: %ld(%lx) cr2 %lx ip %lx", row[i].name, k, mode ? "read only" : "absent", t->vec,
					t->err, t->cr2, t->ip);
				for (unsigned j = NPAGE - k; j < NPAGE; j++)
					same = same && pg[0][j] == ((uint8_t)(j * 7 + 1) | 1);
				/* FXSAVE and FNSAVE may have stored a part (SDM Vol. 3A 4.10, 6.5) */
				if (row[i].size > 16)
					continue;
				quirk("TCG 7.2 stores in pieces");
				check(same, "%s: nothing is stored on the first page", row[i].name);
			}
			/* the first page bad, the second good: the address is the access's own */
			map(0, 0);
			map(1, PTE_P | PTE_W);
			if (row[i].size <= 16) {
				t = catch(row[i].code, edge - 1, 1);
				quirk("TCG 7.2 reads first");
				check(t->vec == PF && t->err == PF_W && t->cr2 == edge - 1, "%s, first page absent: %ld(%lx) cr2 %lx", row[i].name,
					t->vec, t->err, t->cr2);
			}
			map(0, PTE_P | PTE_W);
		}
	}
	map(1, 0);
	for (unsigned k = 1; k < 8; k++) {
		t = catch(s_load8, edge - k);
		check(t->vec == PF && t->err == 0 && t->cr2 == edge, "load %u before the edge: cr2 %lx", k, t->cr2);
	}
	/* both pages there, not next to each other in memory */
	map(1, PTE_P | PTE_W);
	pattern();
	catch(s_store8, edge - 3, 0x1122334455667788);
	check(pg[0][NPAGE - 3] == 0x88 && pg[0][NPAGE - 1] == 0x66 && pg[1][0] == 0x55 && pg[1][4] == 0x11, "a store over two pages");
	__asm__ volatile("mov %1, %%rdi\n call s_load8" : "=a"(t) : "r"(edge - 3) : "rdi", "memory");
	check((ulong)t == 0x1122334455667788, "and the load");
	/* bit strings reach far from their operand */
	map(1, 0);
	t = catch(s_bts, va, 8l * (NPAGE + 16));
	quirk("TCG 7.2 reads first");
	check(t->vec == PF && t->err == PF_W && t->cr2 >= edge + 16 && t->cr2 < edge + 24, "bts beyond: %ld(%lx) cr2 %lx", t->vec, t->err,
		t->cr2);
	t = catch(s_bts, edge, -8l);
	want(t, NOTRAP, 0, NULL, "bts with a negative index");
	t = catch(s_setcc, edge);
	want(t, PF, PF_W, s_setcc, "setcc");
	t = catch(s_fstp, edge - 4);
	quirk("TCG 7.2 stores in pieces, and pops");
	check(t->vec == PF && t->cr2 == edge && t->ip == (ulong)s_fstp_at, "fstp m80: %ld cr2 %lx", t->vec, t->cr2);
	{
		uint16_t sw;

		__asm__ volatile("fnstsw %0" : "=m"(sw));
		quirk("TCG 7.2 stores in pieces, and pops");
		check((sw >> 11 & 7) == 7, "fstp that faults does not pop: top %u", sw >> 11 & 7);
		__asm__ volatile("fninit");
	}
	if (cpu_has(F_CX16)) {
		map(0, PTE_P | PTE_W);
		t = catch(s_cmpxchg16b, va + 8);
		want(t, GP, 0, s_cmpxchg16b, "cmpxchg16b misaligned");
		t = catch(s_cmpxchg16b, edge);
		quirk("TCG 7.2 reads first");
		want(t, PF, PF_W, s_cmpxchg16b, "cmpxchg16b on no page");
	}
}

static void stacks(void)
{
	const ulong edge = va + NPAGE, end = va + 2 * NPAGE;
	struct trap *t;

	section("stack instructions");
	rt_gate_ist(PF, 2);
	map(0, PTE_P | PTE_W);
	map(1, 0);
	map(2, PTE_P | PTE_W);
	t = catch(s_push, end, 5);
	check(t->vec == PF && t->err == PF_W && t->cr2 == end - 8 && t->sp == end && t->ip == (ulong)s_push_at,
		"push leaves rsp: %lx", t->sp);
	t = catch(s_call_bad, end);
	check(t->vec == PF && t->sp == end && t->ip == (ulong)s_call_bad_at, "call leaves rsp and rip: %lx %lx", t->sp, t->ip);
	t = catch(s_pop_m, edge, va + 64);
	check(t->vec == PF && t->err == PF_W && t->cr2 == edge && t->sp == va + 64 && t->ip == (ulong)s_pop_m_at,
		"pop to memory that is not there leaves rsp: %lx", t->sp);
	t = catch(s_push_m, edge, va + 64);
	check(t->vec == PF && t->err == 0 && t->sp == va + 64, "push from memory that is not there: %lx", t->sp);
	t = catch(s_enter, end);
	check(t->vec == PF && t->sp == end && t->ip == (ulong)s_enter_at, "enter: %lx", t->sp);
	{
		ulong old_sp;

		t = catch(s_leave, edge);
		old_sp = t->sp;
		check(t->vec == PF && t->cr2 == edge && t->regs.bp == edge && old_sp != edge && old_sp == t->regs.bx,
			"leave leaves rsp: %lx", t->sp);
	}
	/* pop (rsp-based): the address uses rsp after the pop */
	pattern();
	{
		ulong r;

		*(uint64_t *)(pg[0] + 64) = 0xabcdef;
		__asm__ volatile("call s_pop_m_ok" : "=a"(r) : "S"(va + 64) : "rbx", "memory");
		check(*(uint64_t *)(pg[0] + 64 + 8 + 8) == 0xabcdef && r == va + 72, "pop 8(%%rsp) uses the new rsp");
	}
	rt_gate_ist(PF, 0);
}

/* instructions that cross pages of code */
static void fetch(void)
{
	const ulong edge = va + NPAGE;
	struct trap *t;

	section("instruction fetch");
	map(0, PTE_P | PTE_W);
	map(1, PTE_P | PTE_W);
	for (unsigned k = 1; k < 10; k++) {
		/* movabs $imm64, %rax; ret: 11 bytes */
		uint8_t code[11] = {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xc3};

		map(1, PTE_P | PTE_W);
		memcpy(pg[0] + NPAGE - k, code, k);
		memcpy(pg[1], code + k, 11 - k);
		{
			ulong r;

			__asm__ volatile("call *%1" : "=a"(r) : "r"(edge - k) : "memory");
			check(r == 0x0807060504030201, "%u bytes before the edge: %lx", k, r);
		}
		map(1, 0);
		t = catch(edge - k);
		check(t->vec == PF && t->err == PF_I && t->cr2 == edge && t->ip == edge - k, "%u bytes, then no page: %ld(%lx) cr2 %lx ip %lx", k,
			t->vec, t->err, t->cr2, t->ip);
		map(1, PTE_P | PTE_W | PTE_NX);
		t = catch(edge - k);
		check(t->vec == PF && t->err == (PF_I | PF_P) && t->cr2 == edge, "%u bytes, then NX: %ld(%lx)", k, t->vec, t->err);
		/* the second page changes under the instruction */
		map(1, PTE_P | PTE_W);
		if (k < 10) {
			ulong r;

			pg[1][9 - k] = 0x55;
			__asm__ volatile("call *%1" : "=a"(r) : "r"(edge - k) : "memory");
			check(r >> 56 == 0x55, "%u bytes: the tail is new: %lx", k, r);
		}
	}
	/* an instruction that ends at the edge does not touch the next page */
	map(1, 0);
	pg[0][NPAGE - 1] = 0xc3;
	want(catch(edge - 1), NOTRAP, 0, NULL, "ret as the last byte");
	/* too long before the page is missed */
	map(0, PTE_P | PTE_W);
	memset(pg[0] + NPAGE - 15, 0x66, 15);
	t = catch(edge - 15);
	quirk("TCG 7.2 fetches the 16th byte");
	check(t->vec == GP, "15 prefixes before a missing page: %ld", t->vec);
	memset(pg[0] + NPAGE - 14, 0x66, 14);
	t = catch(edge - 14);
	check(t->vec == PF && t->cr2 == edge && t->ip == edge - 14, "14 prefixes: %ld", t->vec);
}

void test_main(void)
{
	for (unsigned i = 0; i < 3; i++) {
		pg[i] = page_alloc();
		page_alloc(); /* not neighbours */
		pte[i] = pte_at(rt_pml4, va + i * NPAGE, 1);
		map(i, PTE_P | PTE_W);
	}
	pattern();
	strings();
	crossing();
	stacks();
	fetch();
}
