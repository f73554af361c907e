// SPDX-License-Identifier: MIT
/*
 * Exceptions as signals: number, si_code, si_addr, RIP, error code and vector of each, and that nothing
 * else of the registers moved. Each snippet is a function in assembly with a label <name>_at on the
 * instruction that faults (or where RIP must be); arguments come in RDI.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "user.h"

#define SNIPPET(name, before, insn, after) \
	__asm__(".text\n.globl s_" #name ", s_" #name "_at, s_" #name "_next\n" \
		"s_" #name ":\n" before "\ns_" #name "_at: " insn "\ns_" #name "_next: " after "\nret\n"); \
	void s_##name(void *); \
	extern const char s_##name##_at[], s_##name##_next[]

#define MARKS \
	"mov $0x1111111111111111, %rbx; mov $0x2222222222222222, %r8; mov $0x3333333333333333, %r9;" \
	"mov $0x4444444444444444, %r10; mov $0x5555555555555555, %r11"

SNIPPET(ud2, "", "ud2", "");
SNIPPET(int3, "", "int3", "");
SNIPPET(icebp, "", ".byte 0xf1", "");
SNIPPET(div0, "xor %ecx, %ecx; mov $7, %eax; cltd", "div %ecx", "");
SNIPPET(divmem, "movq $0, -8(%rsp); mov $7, %eax; cltd", "divq -8(%rsp)", "");
SNIPPET(idiv, "mov $-1, %rcx; mov $1, %rdx; shl $63, %rdx; mov %rdx, %rax; cqto", "idiv %rcx", "");
SNIPPET(hlt, "", "hlt", "");
SNIPPET(cli, "", "cli", "");
SNIPPET(in, "mov $0x70, %dx", "in %dx, %al", "");
SNIPPET(outs, "mov $0x70, %dx; mov %rdi, %rsi", "outsb", "");
SNIPPET(wrmsr, "xor %ecx, %ecx", "wrmsr", "");
SNIPPET(cr3, "", "mov %cr3, %rax", "");
SNIPPET(dr7, "", "mov %rax, %db7", "");
SNIPPET(int40, "", "int $0x40", "");
SNIPPET(lldt, "xor %eax, %eax", "lldt %ax", "");
SNIPPET(badseg, "mov $0x58, %eax", "mov %eax, %es", "");
SNIPPET(noncanonical, "mov $0x800000000000, %rcx", "mov 8(%rcx), %rax", "");
SNIPPET(noncanonical_ss, "mov %rsp, %r12; mov $0x800000000100, %rsp", "push %rax", "mov %r12, %rsp");
SNIPPET(load, "", "mov 5(%rdi), %al", "");
SNIPPET(load8, "", "mov 4(%rdi), %rax", "");
SNIPPET(store, "mov $1, %ecx", "mov %rcx, (%rdi)", "");
SNIPPET(rmw, "mov $1, %ecx", "lock addq %rcx, (%rdi)", "");
SNIPPET(cmpxchg, "mov $-2, %rax; mov $5, %rcx", "lock cmpxchg %rcx, (%rdi)", "");
SNIPPET(cmpxchg16b, "", "lock cmpxchg16b 8(%rdi)", "");
SNIPPET(movaps, "", "movaps %xmm0, 1(%rdi)", "");
SNIPPET(pushmem, "", "pushq (%rdi)", "pop %rax");
SNIPPET(popmem, "push $1", "popq (%rdi)", "");
SNIPPET(push, "mov %rsp, %r12; mov %rdi, %rsp", "push %rax", "mov %r12, %rsp");
SNIPPET(call, "mov %rsp, %r12; mov %rdi, %rsp", "call 1f", "1: mov %r12, %rsp");
SNIPPET(callmem, "", "call *(%rdi)", "");
SNIPPET(ret, "mov %rsp, %r12; mov %rdi, %rsp", "ret", "mov %r12, %rsp");
SNIPPET(enter, "mov %rsp, %r12; mov %rdi, %rsp", "enter $16, $0", "mov %r12, %rsp");
SNIPPET(jmp, "", "jmp *%rdi", "");
SNIPPET(xchg, "mov $9, %eax", "xchg %rax, (%rdi)", "");
SNIPPET(bts, "mov $80000, %eax", "bts %rax, (%rdi)", "");
SNIPPET(fxsave, "", "fxsave 8(%rdi)", "");
SNIPPET(lods, "mov %rdi, %rsi; std", "lodsl", "cld");
SNIPPET(alignment, "pushfq; orl $0x40000, (%rsp); popfq", "mov 1(%rdi), %eax", "");
SNIPPET(long15, "", ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90", "");
SNIPPET(lockreg, "", ".byte 0xf0,0x01,0xc0", "");

static void expect(const char *what, void (*call)(void *), void *arg, int sig, int code, uint64_t addr, const void *rip,
	int vector, int error)
{
	struct user_signal s;

	user_catch(&s, call, arg);
	CHECK(s.sig, "%s: no signal", what);
	CHECK(s.sig == sig && s.code == code && s.addr == addr && (uint64_t)s.reg[REG_RIP] == (uint64_t)rip &&
			s.reg[REG_TRAPNO] == vector && s.reg[REG_ERR] == error,
		"%s: signal %d code %#x addr %#lx rip %#llx vector %lld error %#llx; expected %d %#x %#lx %p %d %#x", what, s.sig,
		s.code, s.addr, s.reg[REG_RIP], s.reg[REG_TRAPNO], s.reg[REG_ERR], sig, code, addr, rip, vector, error);
}

#define AT(name, ...) expect(#name, s_##name, __VA_ARGS__)

static void test_traps(void)
{
	AT(ud2, NULL, SIGILL, ILL_ILLOPN, (uint64_t)s_ud2_at, s_ud2_at, 6, 0);
	AT(lockreg, NULL, SIGILL, ILL_ILLOPN, (uint64_t)s_lockreg_at, s_lockreg_at, 6, 0);
	AT(int3, NULL, SIGTRAP, SI_KERNEL, 0, s_int3_next, 3, 0);
	AT(div0, NULL, SIGFPE, FPE_INTDIV, (uint64_t)s_div0_at, s_div0_at, 0, 0);
	AT(divmem, NULL, SIGFPE, FPE_INTDIV, (uint64_t)s_divmem_at, s_divmem_at, 0, 0);
	AT(idiv, NULL, SIGFPE, FPE_INTDIV, (uint64_t)s_idiv_at, s_idiv_at, 0, 0);
}

/* A trap: RIP is behind it. Nested hypervisors are known to report the instruction itself. */
static void test_icebp(void)
{
	AT(icebp, NULL, SIGTRAP, TRAP_BRKPT, (uint64_t)s_icebp_next, s_icebp_next, 1, 0);
}

static void test_protection(void)
{
	char byte[16] = "";

	AT(hlt, NULL, SIGSEGV, SI_KERNEL, 0, s_hlt_at, 13, 0);
	AT(cli, NULL, SIGSEGV, SI_KERNEL, 0, s_cli_at, 13, 0);
	AT(in, NULL, SIGSEGV, SI_KERNEL, 0, s_in_at, 13, 0);
	AT(outs, byte, SIGSEGV, SI_KERNEL, 0, s_outs_at, 13, 0);
	AT(wrmsr, NULL, SIGSEGV, SI_KERNEL, 0, s_wrmsr_at, 13, 0);
	AT(cr3, NULL, SIGSEGV, SI_KERNEL, 0, s_cr3_at, 13, 0);
	AT(dr7, NULL, SIGSEGV, SI_KERNEL, 0, s_dr7_at, 13, 0);
	AT(int40, NULL, SIGSEGV, SI_KERNEL, 0, s_int40_at, 13, 0x40 * 8 + 2);
	AT(lldt, NULL, SIGSEGV, SI_KERNEL, 0, s_lldt_at, 13, 0);
	AT(badseg, NULL, SIGSEGV, SI_KERNEL, 0, s_badseg_at, 13, 0x58);
	AT(long15, NULL, SIGSEGV, SI_KERNEL, 0, s_long15_at, 13, 0);
	AT(noncanonical, NULL, SIGSEGV, SI_KERNEL, 0, s_noncanonical_at, 13, 0);
	AT(noncanonical_ss, NULL, SIGBUS, SI_KERNEL, 0, s_noncanonical_ss_at, 12, 0);
}

static void test_pages(void)
{
	uint8_t *rw = user_map(PAGE, PROT_READ | PROT_WRITE), *ro = user_map(PAGE, PROT_READ);
	uint8_t *hole = rw + PAGE;
	uint64_t h = (uint64_t)hole, r = (uint64_t)ro, b = (uint64_t)(rw + PAGE) - 8;

	memset(rw, 0xfe, PAGE);
	AT(load, (void *)0x10, SIGSEGV, SEGV_MAPERR, 0x15, s_load_at, 14, 4);
	AT(load, hole, SIGSEGV, SEGV_ACCERR, h + 5, s_load_at, 14, 4);
	AT(load8, (void *)b, SIGSEGV, SEGV_ACCERR, h, s_load8_at, 14, 4); /* the part behind the boundary */
	AT(store, (void *)(b + 1), SIGSEGV, SEGV_ACCERR, h, s_store_at, 14, 6);
	for (int i = 0; i < 8; i++)
		CHECK_EQ("a store that faulted wrote", rw[PAGE - 8 + i], 0xfe);
	(void)*(volatile uint8_t *)ro; /* present from here on: error code bit 0 */
	AT(store, ro, SIGSEGV, SEGV_ACCERR, r, s_store_at, 14, 7);
	AT(rmw, ro, SIGSEGV, SEGV_ACCERR, r, s_rmw_at, 14, 7);
	AT(cmpxchg, ro, SIGSEGV, SEGV_ACCERR, r, s_cmpxchg_at, 14, 7); /* it stores even if it does not compare */
	AT(xchg, ro, SIGSEGV, SEGV_ACCERR, r, s_xchg_at, 14, 7);
	AT(popmem, ro, SIGSEGV, SEGV_ACCERR, r, s_popmem_at, 14, 7);
	AT(pushmem, hole, SIGSEGV, SEGV_ACCERR, h, s_pushmem_at, 14, 4);
	AT(push, hole + 8, SIGSEGV, SEGV_ACCERR, h, s_push_at, 14, 6);
	AT(call, hole + 8, SIGSEGV, SEGV_ACCERR, h, s_call_at, 14, 6);
	AT(callmem, hole, SIGSEGV, SEGV_ACCERR, h, s_callmem_at, 14, 4);
	AT(ret, hole, SIGSEGV, SEGV_ACCERR, h, s_ret_at, 14, 4);
	AT(enter, hole + 8, SIGSEGV, SEGV_ACCERR, h, s_enter_at, 14, 6);
	AT(bts, hole - 10000, SIGSEGV, SEGV_ACCERR, h, s_bts_at, 14, 6);
	AT(lods, hole, SIGSEGV, SEGV_ACCERR, h, s_lods_at, 14, 4);
	AT(movaps, rw, SIGSEGV, SI_KERNEL, 0, s_movaps_at, 13, 0);
	AT(fxsave, rw, SIGSEGV, SI_KERNEL, 0, s_fxsave_at, 13, 0);
	AT(cmpxchg16b, rw, SIGSEGV, SI_KERNEL, 0, s_cmpxchg16b_at, 13, 0);
	AT(jmp, rw, SIGSEGV, SEGV_ACCERR, (uint64_t)rw, rw, 14, 0x15);	   /* no execution here */
	AT(jmp, hole, SIGSEGV, SEGV_ACCERR, h, hole, 14, 0x14);
	AT(jmp, (void *)0x1234, SIGSEGV, SEGV_MAPERR, 0x1234, (void *)0x1234, 14, 0x14);
}

/* An instruction whose bytes go on in a page that is not there. */
static void test_fetch(void)
{
	uint8_t *p = user_map(PAGE, PROT_READ | PROT_WRITE | PROT_EXEC), *hole = p + PAGE;

	for (int n = 1; n < 10; n++) {
		uint8_t *at = hole - n;

		memcpy(at, "\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", (size_t)n); /* movabs $imm64, %rax */
		expect("movabs", s_jmp, at, SIGSEGV, SEGV_ACCERR, (uint64_t)hole, at, 14, 0x14);
	}
}

static void test_alignment(void)
{
	char data[16] = "";
	struct user_signal s;

	user_catch(&s, s_alignment, (void *)((uint64_t)data & ~7ul));
	CHECK_EQ("signal", s.sig, SIGBUS);
	CHECK_EQ("si_code", s.code, BUS_ADRALN);
	CHECK_EQ("rip", s.reg[REG_RIP], (uint64_t)s_alignment_at);
	CHECK_EQ("vector", s.reg[REG_TRAPNO], 17);
}

static void test_sigbus(void)
{
	char name[] = "/tmp/husk-user-XXXXXX";
	int fd = mkstemp(name);
	uint8_t *p;

	CHECK(fd >= 0 && ftruncate(fd, 100) == 0, "no file in /tmp");
	unlink(name);
	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED, "mmap of a file");
	p[4000] = 1;
	AT(load, p + PAGE + 3, SIGBUS, BUS_ADRERR, (uint64_t)p + PAGE + 8, s_load_at, 14, 4);
	AT(store, p + PAGE, SIGBUS, BUS_ADRERR, (uint64_t)p + PAGE, s_store_at, 14, 6);
}

/* All registers and flags reach the handler, and what the handler writes there reaches the program. */
SNIPPET(sigreturn,
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15;" MARKS
	"; mov $0x66, %r12d; mov $0x77, %r13d; mov $0x88, %r14d; mov $0x99, %r15d; mov $0xaa, %ebp; mov $0xbb, %ecx;"
	"mov $0xcc, %edx; mov $0xdd, %esi; mov $0xee, %eax; cmp $0xef, %al",
	"ud2",
	"pushfq; mov %rax, (%rdi); mov %rbx, 8(%rdi); mov %rcx, 16(%rdi); mov %rdx, 24(%rdi); mov %rsi, 32(%rdi);"
	"mov %rbp, 40(%rdi); mov %r8, 48(%rdi); mov %r9, 56(%rdi); mov %r10, 64(%rdi); mov %r11, 72(%rdi);"
	"mov %r12, 80(%rdi); mov %r13, 88(%rdi); mov %r14, 96(%rdi); mov %r15, 104(%rdi); pop %rax; mov %rax, 112(%rdi);"
	"cld; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx");

static const int order[] = {REG_RAX, REG_RBX, REG_RCX, REG_RDX, REG_RSI, REG_RBP, REG_R8, REG_R9, REG_R10, REG_R11,
	REG_R12, REG_R13, REG_R14, REG_R15};
static uint64_t seen[15];
static volatile int on_alt;

static void rewrite(int sig, siginfo_t *info, void *context)
{
	greg_t *reg = ((ucontext_t *)context)->uc_mcontext.gregs;
	stack_t now;

	(void)sig;
	(void)info;
	for (int i = 0; i < 14; i++) {
		seen[i] = (uint64_t)reg[order[i]];
		reg[order[i]] = (greg_t)(~seen[i]);
	}
	seen[14] = (uint64_t)reg[REG_EFL];
	reg[REG_EFL] ^= 0xcd5; /* all status flags, and DF */
	reg[REG_RIP] += 2;
	sigaltstack(NULL, &now);
	on_alt = now.ss_flags & SS_ONSTACK;
}

static void test_sigreturn(void)
{
	static const uint64_t want[14] = {0xee, 0x1111111111111111, 0xbb, 0xcc, 0xdd, 0xaa, 0x2222222222222222,
		0x3333333333333333, 0x4444444444444444, 0x5555555555555555, 0x66, 0x77, 0x88, 0x99};
	static char stack[65536];
	struct sigaction act = {.sa_sigaction = rewrite, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};
	uint64_t got[15];

	sigaltstack(&alt, NULL);
	sigaction(SIGILL, &act, NULL);
	for (int n = 0; n < 50; n++) {
		s_sigreturn(got);
		for (int i = 0; i < 14; i++) {
			CHECK_EQ("register in the handler", seen[i], want[i]);
			CHECK_EQ("register after it", got[i], ~want[i]);
		}
		CHECK_EQ("flags in the handler", seen[14] & 0xcd5, 0x95); /* 0xee - 0xef: CF PF AF SF */
		CHECK_EQ("flags after it", got[14] & 0xcd5, 0x95 ^ 0xcd5);
		CHECK(on_alt, "the handler does not run on its stack");
	}
}

static volatile unsigned depth;

static __attribute__((noinline)) int deeper(int n)
{
	volatile char frame[1000];

	depth++;
	frame[0] = (char)n;
	return n == -1 ? 0 : deeper(n + 1) + frame[0];
}

static void dive(void *arg)
{
	(void)arg;
	deeper(0);
}

static void *overflow(void *stack)
{
	struct user_signal s;
	uint64_t low = (uint64_t)stack;

	for (int n = 0; n < 3; n++) { /* and again, on the same stack */
		depth = 0;
		user_catch(&s, dive, NULL);
		CHECK_EQ("signal", s.sig, SIGSEGV);
		CHECK_EQ("si_code", s.code, SEGV_ACCERR);
		CHECK(s.addr >= low && s.addr < low + PAGE, "address %#lx, guard page %#lx", s.addr, low);
		CHECK(depth > 100, "only %u calls deep", depth);
	}
	return NULL;
}

static void test_stack(void)
{
	const size_t size = 256 * 1024;
	uint8_t *p = user_map(size, PROT_READ | PROT_WRITE);
	pthread_attr_t attr;
	pthread_t thread;

	mprotect(p, PAGE, PROT_NONE);
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, p, size);
	CHECK(pthread_create(&thread, &attr, overflow, p) == 0, "pthread_create");
	pthread_join(thread, NULL);
}

/* Signals from timers, as they come, must not be seen in the sums of the code they interrupt. */
static volatile unsigned ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

static void test_interrupted(void)
{
	struct sigaction act = {.sa_handler = tick};
	struct itimerspec every = {.it_interval.tv_nsec = 1000000, .it_value.tv_nsec = 1000000};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	uint64_t first = 0;
	timer_t timer;

	sigaction(SIGUSR1, &act, NULL);
	CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0, "timer_create");
	timer_settime(timer, 0, &every, NULL);
	for (int n = 0; n < 20 || ticks < 20; n++) {
		uint64_t x = 88172645463325252ull, sum = 0, c = 0;

		for (int i = 0; i < 20000; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			__asm__("add %2, %0; adc $0, %1; rcl $3, %0; sbb $1, %1" : "+r"(sum), "+r"(c) : "r"(x) : "cc");
		}
		if (!first)
			first = sum ^ c;
		CHECK_EQ("sum", sum ^ c, first);
	}
}

const struct user_test user_fault[] = {
	{"fault-traps", test_traps},
	{"fault-icebp", test_icebp},
	{"fault-protection", test_protection},
	{"fault-pages", test_pages},
	{"fault-fetch", test_fetch},
	{"fault-alignment", test_alignment},
	{"fault-sigbus", test_sigbus},
	{"fault-sigreturn", test_sigreturn},
	{"fault-stack", test_stack},
	{"fault-interrupted", test_interrupted},
	{NULL, NULL},
};
