/* SPDX-License-Identifier: MIT */
/* single step, breakpoints, watchpoints, debug registers (SDM Vol. 3B chapter 18) */
#include "rt.h"

enum { STEPS = 64 };
static struct { ulong ip, dr6, flags, cx; } step[STEPS];
static unsigned nsteps;

/* Notes each #DB; for instruction breakpoints sets RF so that the instruction runs. */
static bool on_db(struct frame *f)
{
	ulong dr6 = rddr6();

	if (nsteps < STEPS) {
		step[nsteps].ip = f->ip;
		step[nsteps].dr6 = dr6;
		step[nsteps].flags = f->flags;
		step[nsteps].cx = f->cx;
	}
	nsteps++;
	if (dr6 & 15)
		f->flags |= FL_RF;
	wrdr6(0xffff0ff0);
	return true;
}

/* sets TF with the popf, clears it with the second one; %rdi is a data pointer */
#define TF_ON "pushfq\n orl $0x100, (%rsp)\n popfq\n"
#define TF_OFF "pushfq\n andl $~0x100, (%rsp)\n popfq\n"
#define AT(x) ".globl " #x "\n" #x ": "

SNIPPET(s_step, TF_ON AT(s_step1) "nop\n" AT(s_step2) "mov $1, %eax\n" AT(s_step3) "jmp 1f\n nop\n"
	"1:\n" AT(s_step4) TF_OFF AT(s_step5) "nop\n ret");
LABEL(s_step1); LABEL(s_step2); LABEL(s_step3); LABEL(s_step4); LABEL(s_step5);
SNIPPET(s_movss, "mov %ss, %eax\n" TF_ON AT(s_movss1) "mov %eax, %ss\n" AT(s_movss2) "nop\n" AT(s_movss3) "nop\n"
	TF_OFF "ret");
LABEL(s_movss1); LABEL(s_movss2); LABEL(s_movss3);
SNIPPET(s_sti, TF_ON AT(s_sti1) "sti\n" AT(s_sti2) "nop\n" AT(s_sti3) "cli\n" TF_OFF "ret");
LABEL(s_sti1); LABEL(s_sti2); LABEL(s_sti3);
SNIPPET(s_rep, "mov %rdi, %rsi\n lea 64(%rdi), %rdi\n mov $3, %ecx\n" TF_ON AT(s_rep1) "rep movsb\n" AT(s_rep2)
	"nop\n" TF_OFF "ret");
LABEL(s_rep1); LABEL(s_rep2);
SNIPPET(s_int, TF_ON AT(s_int1) "int $0x41\n" AT(s_int2) "nop\n" TF_OFF "ret");
LABEL(s_int1); LABEL(s_int2);
SNIPPET(s_ud, TF_ON AT(s_ud1) "ud2\n" AT(s_ud2) "nop\n" TF_OFF "ret");
LABEL(s_ud1); LABEL(s_ud2);
SNIPPET(s_cpuid, "push %rbx\n" TF_ON AT(s_cpuid1) "cpuid\n" AT(s_cpuid2) "mov %cr0, %rax\n" AT(s_cpuid3) "mov %rax, %cr0\n"
	AT(s_cpuid4) "in $0x80, %al\n" AT(s_cpuid5) TF_OFF "pop %rbx\n ret");
LABEL(s_cpuid1); LABEL(s_cpuid2); LABEL(s_cpuid3); LABEL(s_cpuid4); LABEL(s_cpuid5);
SNIPPET(s_popf_cs, TF_ON "ret");
USER_SNIPPET(u_step, TF_ON AT(u_step1) "nop\n" AT(u_step2) "nop\n" AT(u_step3) TF_OFF "int $0x80");
LABEL(u_step1); LABEL(u_step2); LABEL(u_step3);
SNIPPET(s_exec, "nop\n" AT(s_exec1) "mov $7, %eax\n" AT(s_exec2) "nop\n ret");
LABEL(s_exec1); LABEL(s_exec2);
SNIPPET(s_watch, AT(s_w0) "movb $1, (%rdi)\n" AT(s_w1) "movb (%rdi), %al\n" AT(s_w2) "movl $1, -2(%rdi)\n"
	AT(s_w3) "nop\n ret");
LABEL(s_w0); LABEL(s_w1); LABEL(s_w2); LABEL(s_w3);
SNIPPET(s_watch_ss, "mov %ss, %eax\n mov %eax, (%rdi)\n mov (%rdi), %ss\n" AT(s_ws1) "nop\n" AT(s_ws2) "nop\n ret");
LABEL(s_ws1); LABEL(s_ws2);
SNIPPET(s_watch_rep, "mov $8, %ecx\n xor %eax, %eax\n" AT(s_wr1) "rep stosb\n" AT(s_wr2) "nop\n ret");
LABEL(s_wr1); LABEL(s_wr2);
SNIPPET(s_out, "out %al, $0xe1\n" AT(s_out1) "nop\n ret");
LABEL(s_out1);
SNIPPET(s_dr_read, "mov %dr0, %rax\n ret");
SNIPPET(s_dr4, "mov %dr4, %rax\n ret");
SNIPPET(s_dr5w, "mov %rdi, %dr5\n ret");
SNIPPET(s_dr6w, "mov %rdi, %dr6\n ret");
SNIPPET(s_dr7w, "mov %rdi, %dr7\n ret");
SNIPPET(s_dr0w, "mov %rdi, %dr0\n ret");


static void run_steps(const void *fn, const void *arg)
{
	nsteps = 0;
	wrdr6(0xffff0ff0);
	catch(fn, arg);
}

/* a step at each of the addresses, in order, DR6.BS set; what TF_OFF adds comes behind */
static void want_steps(const char *what, unsigned n, const char *const *at, unsigned behind)
{
	check(nsteps == n + behind, "%s: %u steps, want %u", what, nsteps, n + behind);
	for (unsigned i = 0; i < n && i < nsteps; i++) {
		check(step[i].ip == (ulong)at[i], "%s: step %u at %lx, want %lx", what, i, step[i].ip, (ulong)at[i]);
		check((step[i].dr6 & 0xe00f) == 0x4000, "%s: dr6 %lx", what, step[i].dr6);
	}
}
#define WANT_STEPS(what, behind, ...) do { \
		static const char *const at_[] = {__VA_ARGS__}; \
		want_steps(what, sizeof(at_) / sizeof(*at_), at_, behind); \
	} while (0)

static bool resume(struct frame *f)
{
	if (f->vec == UD)
		f->ip += 2;
	return true;
}

static uint8_t data[256] __attribute__((aligned(64)));

static void single_step(void)
{
	section("single step");
	rt_hook[DB] = on_db;
	run_steps(s_step, data);
	WANT_STEPS("plain", 3, s_step2, s_step3, s_step4);
	check(step[0].flags & FL_TF, "TF is saved");
	check(!(step[0].flags & FL_RF), "RF is clear after an instruction: %lx", step[0].flags);
	check(step[5].ip == (ulong)s_step5, "the popf that clears TF still traps: %lx", step[5].ip);
	run_steps(s_movss, data);
	WANT_STEPS("mov ss blocks one trap", 3, s_movss2 + 1, s_movss3 + 1);
	run_steps(s_sti, data);
	quirk("TCG 7.2 blocks the trap behind STI");
	check(nsteps == 3 + 3 && step[0].ip == (ulong)s_sti2 && step[1].ip == (ulong)s_sti3,
		"STI does not block the trap: %u steps, %lx %lx", nsteps, step[0].ip, step[1].ip);
	run_steps(s_rep, data);
	WANT_STEPS("each repetition traps", 4, s_rep1, s_rep1, s_rep2);
	check(step[0].cx == 2 && step[1].cx == 1 && step[2].cx == 0, "rcx %lu %lu %lu", step[0].cx, step[1].cx, step[2].cx);
	rt_hook[0x41] = resume;
	run_steps(s_int, data);
	WANT_STEPS("int n: the handler does not step, nor the iret", 3, s_int2 + 1);
	rt_hook[0x41] = NULL;
	rt_hook[UD] = resume;
	run_steps(s_ud, data);
	WANT_STEPS("a fault is no step", 3, s_ud2 + 1);
	rt_hook[UD] = NULL;
	run_steps(s_cpuid, data);
	WANT_STEPS("cpuid, mov cr, in", 3, s_cpuid2, s_cpuid3, s_cpuid4, s_cpuid5);
	nsteps = 0;
	user(u_step, data);
	WANT_STEPS("CPL 3", 3, u_step2, u_step3);
	/* an exception handler starts with TF clear */
	rt_hook[DB] = NULL;
	{
		struct trap *t = catch(s_popf_cs);

		check(t->vec == DB && !(t->handler_flags & FL_TF), "TF is clear in the handler");
		check((rddr6() & 0x4000) != 0, "DR6.BS");
		wrdr6(0xffff0ff0);
	}
}

static void breakpoints(void)
{
	section("instruction breakpoint");
	rt_hook[DB] = on_db;
	for (unsigned n = 0; n < 4; n++) {
		ulong a = (ulong)s_exec1;

		wrdr0(0), wrdr1(0), wrdr2(0), wrdr3(0); /* a disabled one may still set its B bit */
		if (n == 0)
			wrdr0(a);
		else if (n == 1)
			wrdr1(a);
		else if (n == 2)
			wrdr2(a);
		else
			wrdr3(a);
		wrdr7(0x400 | 1ul << (2 * n));
		run_steps(s_exec, data);
		check(nsteps == 1 && step[0].ip == a && (step[0].dr6 & 15) == 1ul << n, "DR%u: %u hits at %lx, dr6 %lx", n, nsteps,
			step[0].ip, step[0].dr6);
		check(!(step[0].flags & FL_RF), "an instruction breakpoint saves RF clear: %lx", step[0].flags);
		check(!(step[0].dr6 & 0x6000), "no BS, no BD: %lx", step[0].dr6);
		wrdr7(0x400 | 2ul << (2 * n));
		run_steps(s_exec, data);
		check(nsteps == 1, "global enable");
	}
	wrdr7(0x400);
	run_steps(s_exec, data);
	check(nsteps == 0, "disabled");
	wrdr0((ulong)s_exec1 + 1);
	wrdr7(0x401);
	run_steps(s_exec, data);
	check(nsteps == 0, "the middle of an instruction");
	/* single step and breakpoint on the next instruction: one #DB with both, or one each */
	wrdr0((ulong)s_step2);
	run_steps(s_step, data);
	check(step[0].ip == (ulong)s_step2 && (step[0].dr6 & 0x4000), "step onto a breakpoint: dr6 %lx", step[0].dr6);
	wrdr7(0x400);

	section("data breakpoint");
	data[0] = 0;
	for (unsigned rw = 1; rw <= 3; rw += 2) {
		wrdr1((ulong)data + 64);
		wrdr7(0x400 | 4 | (ulong)rw << 20); /* length 1 */
		run_steps(s_watch, data + 64);
		check(nsteps == (rw == 1 ? 2u : 3u) && step[0].ip == (ulong)s_w1 && step[nsteps - 1].ip == (ulong)s_w3,
			"rw %u: %u hits, at %lx ... %lx", rw, nsteps, step[0].ip, step[nsteps - 1].ip);
		check((step[0].dr6 & 15) == 2, "dr6 %lx", step[0].dr6);
	}
	{
		static const unsigned len[] = {0, 1, 3, 2}, bytes[] = {1, 2, 4, 8};

		for (unsigned i = 0; i < 4; i++) {
			wrdr2((ulong)data + 64);
			wrdr7(0x400 | 0x10 | 1ul << 24 | (ulong)len[i] << 26);
			for (int off = -1; off <= 8; off++) {
				nsteps = 0;
				*(volatile uint8_t *)(data + 64 + off) = 1;
				barrier();
				__asm__ volatile("nop");
				check(nsteps == (off >= 0 && off < (int)bytes[i]), "length %u, byte %d: %u hits", bytes[i], off, nsteps);
			}
		}
	}
	/* data breakpoint by the load of a MOV SS comes after the next instruction */
	wrdr0((ulong)data + 64);
	wrdr7(0x400 | 1 | 3ul << 16 | 3ul << 18);
	run_steps(s_watch_ss, data + 64);
	quirk("TCG 7.2 does not delay it");
	check(nsteps == 2 && step[1].ip == (ulong)s_ws2, "held back by MOV SS: %u hits, second at %lx", nsteps, step[1].ip);
	wrdr0((ulong)data + 64 + 3);
	wrdr7(0x400 | 1 | 1ul << 16);
	run_steps(s_watch_rep, data + 64);
	check(nsteps == 1 && step[0].ip == (ulong)s_wr1 && step[0].cx == 4, "in a REP: %u hits at %lx, rcx %lu", nsteps, step[0].ip,
		step[0].cx);
	/* a disabled breakpoint may set its B bit, but raises nothing */
	wrdr7(0x400 | 1ul << 16);
	run_steps(s_watch_rep, data + 64);
	check(nsteps == 0, "disabled data breakpoint");
	section("I/O breakpoint");
	wrcr4(rdcr4() | CR4_DE);
	wrdr0(0xe1);
	wrdr7(0x400 | 1 | 2ul << 16);
	run_steps(s_out, data);
	check(nsteps == 1 && step[0].ip == (ulong)s_out1 && step[0].dr6 & 1, "out: %u hits at %lx", nsteps, step[0].ip);
	wrdr0(0xe2);
	run_steps(s_out, data);
	check(nsteps == 0, "another port");
	wrdr7(0x400);
	rt_hook[DB] = NULL;
}

static void registers(void)
{
	struct trap *t;

	section("debug registers");
	want(catch(s_dr4), UD, 0, s_dr4, "DR4 with CR4.DE");
	wrcr4(rdcr4() & ~(ulong)CR4_DE);
	t = catch(s_dr4);
	check(t->vec == NOTRAP, "DR4 without CR4.DE is DR6");
	want(catch(s_dr7w, 1ul << 32), GP, 0, s_dr7w, "upper half of DR7");
	want(catch(s_dr6w, 1ul << 32), GP, 0, s_dr6w, "upper half of DR6");
	wrdr6(0);
	check((rddr6() & ~0xe80ful) == 0xffff07f0, "fixed bits of DR6: %lx", rddr6());
	wrdr6(0xffff0ff0);
	wrdr7(0);
	check(rddr7() == 0x400, "DR7 fixed bits: %lx", rddr7());
	wrdr7(0xffffdfff);
	quirk("TCG 7.2 keeps reserved bits");
	check((rddr7() & ~0x800ul) == 0xffff07ff, "all enables: %lx", rddr7()); /* bit 11: RTM */
	wrdr7(0x400);
	wrdr0(0x1122334455667788);
	check(rddr0() == 0x1122334455667788, "DR0 has 64 bits");
	want(catch(s_dr0w, 0x8000000000000000), NOTRAP, 0, NULL, "a non-canonical DR0 is accepted");
	wrdr0(0);

	section("general detect");
	wrdr7(0x2400);
	t = catch(s_dr_read);
	quirk("TCG 7.2 has no general detect");
	want(t, DB, 0, s_dr_read, "DR7.GD: access faults");
	quirk("TCG 7.2 has no general detect");
	check(rddr6() & 0x2000, "DR6.BD");
	quirk("TCG 7.2 has no general detect");
	check(!(rddr7() & 0x2000), "GD is cleared");
	wrdr6(0xffff0ff0);
	wrdr7(0x400);
}

/* RF: an IRET that sets it lets one instruction through */
static void resume_flag(void)
{
	struct enter e = {SEL_UCS, SEL_UDS, (ulong)rt_user_stack_top - 64, FL_1};
	struct trap *t;

	section("RF");
	wrdr0((ulong)u_step1);
	wrdr7(0x401);
	t = enter(u_step1, 0, 0, &e);
	want(t, DB, 0, u_step1, "breakpoint at CPL 3");
	wrdr6(0xffff0ff0);
	e.flags |= FL_RF;
	t = enter(u_step1, 0, 0, &e);
	want(t, USER_RET, 0, NULL, "IRET with RF");
	check(!(t->flags & FL_RF), "RF is gone after one instruction: %lx", t->flags);
	wrdr7(0x400);
}

void test_main(void)
{
	single_step();
	breakpoints();
	registers();
	resume_flag();
}
