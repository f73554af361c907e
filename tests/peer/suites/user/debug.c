// SPDX-License-Identifier: MIT
/*
 * Single steps, by oneself and by a debugger, every one accounted for; hardware breakpoints through ptrace.
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user.h"

/*
 * The path that is stepped. Labels say where the step trap is expected: behind each instruction, that is on the
 * next one; a repeated string instruction traps after each round; MOV SS puts off the trap behind itself.
 */
__asm__(".text\n.globl s_path, p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13, p14, p15, p16, p17, p18\n"
	"s_path: nop\n"
	"p0: mov $3, %ecx\n"
	"p1: lea 1f(%rip), %rsi\n"
	"p2: lea s_scratch(%rip), %rdi\n"
	"p3: rep movsb\n"
	"p4: xor %eax, %eax\n"
	"p5: jz p6\n"
	"ud2\n"
	"p6: jnz p18\n"
	"p7: call p11\n"
	"p8: mov %ss, %eax\n"
	"p9: mov %eax, %ss\n"
	"nop\n" /* no trap before this one */
	"p10: jmp p13\n"
	"p11: cpuid\n"
	"p12: ret\n"
	"p13: mov $39, %eax\n" /* getpid */
	"p14: syscall\n"
	"p15: xorps %xmm0, %xmm0\n"
	"p16: rep stosb\n" /* RCX is what SYSCALL left there; the debugger or handler makes it 0 */
	"p17: nop\n"
	"p18: ret\n"
	"1: .ascii \"abc\"\n"
	".data\n.globl s_scratch\ns_scratch: .skip 64\n.text\n");
void s_path(void);
extern const char p0[], p1[], p2[], p3[], p4[], p5[], p6[], p7[], p8[], p9[], p10[], p11[], p12[], p13[], p14[], p15[],
	p16[], p17[], p18[];
extern char s_scratch[64];

static const char *const path[] = {p0, p1, p2, p3, p3, p3, p4, p5, p6, p7, p11, p12, p8, p9, p10, p13, p14, p15, p16, p17,
	p18};

#define NPATH (sizeof(path) / sizeof(*path))

static pid_t traced(void (*run)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		run();
		_exit(42);
	}
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "the child did not stop");
	return pid;
}

static uint64_t reg(pid_t pid, size_t off)
{
	return (uint64_t)ptrace(PTRACE_PEEKUSER, pid, off, NULL);
}

#define RIP offsetof(struct user_regs_struct, rip)
#define RCX offsetof(struct user_regs_struct, rcx)
#define DR(n) (offsetof(struct user, u_debugreg) + (n) * 8)

static void test_ptrace(void)
{
	pid_t pid = traced(s_path);
	unsigned steps = 0, at = 0;
	int status;

	for (;;) {
		uint64_t rip;

		CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0, "PTRACE_SINGLESTEP");
		CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
		if (WIFEXITED(status))
			break;
		CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "stopped by %d", WSTOPSIG(status));
		CHECK(++steps < 100000, "no end");
		rip = reg(pid, RIP);
		if (at == 0 && rip != (uint64_t)p0)
			continue; /* on its way there */
		if (at < NPATH) {
			CHECK(rip == (uint64_t)path[at], "step %u stopped at %#lx, %ld bytes from what was expected", at, rip,
				(long)(rip - (uint64_t)path[at]));
			if (path[at] == p16)
				ptrace(PTRACE_POKEUSER, pid, RCX, 0);
			at++;
		}
	}
	CHECK_EQ("steps of the path", at, NPATH);
	CHECK_EQ("exit code", WEXITSTATUS(status), 42);
}

/*
 * The same by POPF: the process sets TF itself and counts its traps. There is none behind SYSCALL, since the kernel
 * returns by IRET, which traps one instruction later.
 */
static volatile unsigned trap_count;
static uint64_t trap_rip[256];

static void on_trap(int sig, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;

	(void)sig;
	if (trap_count < 256)
		trap_rip[trap_count] = (uint64_t)r[REG_RIP] | (info->si_code == TRAP_TRACE ? 0 : 1ul << 63);
	trap_count++;
	if ((uint64_t)r[REG_RIP] == (uint64_t)p16)
		r[REG_RCX] = 0;
}

static void test_self(void)
{
	struct sigaction act = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
	unsigned at = 0;

	sigaction(SIGTRAP, &act, NULL);
	for (int round = 0; round < 20; round++) {
		uint64_t flags;

		trap_count = at = 0;
		memset(s_scratch, 0, sizeof(s_scratch));
		__asm__ volatile("sub $256, %%rsp; pushfq; orl $0x100, (%%rsp); popfq; call s_path; pushfq; pop %0;"
				 "pushfq; andl $~0x100, (%%rsp); popfq; add $256, %%rsp"
				 : "=r"(flags)
				 :
				 : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r11", "xmm0", "memory", "cc");
		CHECK(flags & 0x100, "PUSHF does not show TF");
		CHECK_EQ("copied", memcmp(s_scratch, "abc", 3), 0);
		for (unsigned i = 0; i < trap_count && at < NPATH; i++)
			if (at || trap_rip[i] == (uint64_t)p0) {
				at += path[at] == p15;
				CHECK_EQ("trap", trap_rip[i], (uint64_t)path[at]);
				at++;
			}
		CHECK_EQ("traps of the path", at, NPATH);
		/* before: call; then the path; behind ret, pushfq, pop, pushfq, andl, and popfq, which began with TF */
		CHECK_EQ("all traps", trap_count, 1 + NPATH - 1 + 6);
	}
}

/* A loop, stepped: nothing about being hot or not may change the count. */
__asm__(".text\n.globl s_loop\ns_loop: mov $700, %ecx; 1: dec %ecx; jnz 1b; ret\n");
void s_loop(void);

static void loop_twice(void)
{
	for (int i = 0; i < 50; i++) /* hot first, without TF */
		s_loop();
	raise(SIGSTOP);
	s_loop();
	raise(SIGSTOP);
}

static void test_loop(void)
{
	pid_t pid = traced(loop_twice);
	unsigned inside = 0;
	int status;

	ptrace(PTRACE_CONT, pid, NULL, NULL);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "no stop");
	for (;;) {
		ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "child ended");
		if (WSTOPSIG(status) == SIGSTOP)
			break;
		uint64_t off = reg(pid, RIP) - (uint64_t)s_loop;
		inside += off < 10; /* mov 5, dec 2, jnz 2, ret 1 */
	}
	CHECK_EQ("steps inside the loop", inside, 1 + 2 * 700 + 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

/* Data and code to put breakpoints on; s_watch_* are where the trap behind the access is reported. */
static struct {
	uint8_t before[8];
	uint64_t v;
	uint8_t after[64];
} watched __attribute__((aligned(64)));

__asm__(".text\n.globl s_access, w1, w2, w3, w4, w5, w6, w7\n"
	"s_access: movb $1, -1(%rdi)\n" /* beside it */
	"movb $1, 8(%rdi)\n"
	"movb $1, 3(%rdi)\n"
	"w1: mov (%rdi), %rax\n"
	"w2: movl $5, -2(%rdi)\n" /* over its start */
	"w3: lock incq (%rdi)\n"
	"w4: lea 8(%rdi), %rsi; xchg %rsi, %rdi; sub $3, %rsi; mov $6, %ecx; rep movsb\n"
	"w5: mov %rsi, %rdi; lea -8(%rdi), %rdi; ret\n"
	"w6: nop; w7: ret\n");
void s_access(void *);
extern const char w1[], w2[], w3[], w4[], w5[], w6[], w7[];

static void access_twice(void)
{
	for (int i = 0; i < 30; i++)
		s_access(&watched.v);
	raise(SIGSTOP);
	s_access(&watched.v);
}

/* Runs to the next trap; its RIP, or 0 at the end. DR6's low bits in *dr6. */
static uint64_t next_trap(pid_t pid, unsigned *dr6)
{
	int status;

	ptrace(PTRACE_CONT, pid, NULL, NULL);
	CHECK(waitpid(pid, &status, 0) == pid, "waitpid");
	if (WIFEXITED(status))
		return 0;
	CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "stopped by %d", WSTOPSIG(status));
	*dr6 = (unsigned)reg(pid, DR(6)) & 0xf;
	ptrace(PTRACE_POKEUSER, pid, DR(6), 0);
	return reg(pid, RIP);
}

static void set_dr(pid_t pid, unsigned n, const void *addr, uint64_t dr7)
{
	CHECK(ptrace(PTRACE_POKEUSER, pid, DR(n), addr) == 0, "DR%u", n);
	CHECK(ptrace(PTRACE_POKEUSER, pid, DR(7), dr7) == 0, "DR7");
}

static pid_t at_access(void)
{
	pid_t pid = traced(access_twice);
	int status;

	ptrace(PTRACE_CONT, pid, NULL, NULL);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP, "no stop");
	return pid;
}

static void test_watch(void)
{
	static const struct {
		const char *what;
		unsigned off;
		uint64_t dr7;
		const char *at[8];
		unsigned string; /* hits by the reads of MOVSB */
	} row[] = {
		/* RW0 01 write, 11 read or write; LEN0 00 1, 01 2, 11 4, 10 8 bytes */
		{"write, 8 bytes", 0, 0x00090001, {w1, w3, w4}, 0},
		{"read or write, 8 bytes", 0, 0x000b0001, {w1, w2, w3, w4}, 3},
		{"write, byte 3", 3, 0x00010001, {w1, w4}, 0},
		{"write, byte 7", 7, 0x00010001, {w4}, 0},
		{"read or write, 2 bytes", 0, 0x00070001, {w2, w3, w4}, 2},
		{"write, 4 bytes", 0, 0x000d0001, {w1, w3, w4}, 0},
	};
	static const struct {
		const char *what;
		const uint8_t *addr;
		unsigned n; /* traps of the repeated move */
	} string = {"destination of movsb", watched.after, 6};
	unsigned dr6;

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		pid_t pid = at_access();
		uint64_t rip;
		unsigned n = 0, reads = 0;

		set_dr(pid, 0, (uint8_t *)&watched.v + row[i].off, row[i].dr7);
		while ((rip = next_trap(pid, &dr6)) != 0) {
			if (rip > (uint64_t)w4 && rip <= (uint64_t)w5) {
				reads++;
				continue;
			}
			CHECK(n < 8 && row[i].at[n] && rip == (uint64_t)row[i].at[n], "%s: trap %u at w1%+ld", row[i].what, n,
				(long)(rip - (uint64_t)w1));
			CHECK_EQ("DR6", dr6, 1);
			n++;
		}
		CHECK_EQ(row[i].what, reads, row[i].string);
		CHECK(n == 8 || !row[i].at[n], "%s: only %u traps", row[i].what, n);
	}

	/* each round of the string instruction that hits stops; RCX counts */
	pid_t pid = at_access();
	set_dr(pid, 1, string.addr, 0x00900004); /* DR1, write, 8 bytes */
	CHECK(next_trap(pid, &dr6) != 0 && dr6 == 2, "no trap for the byte behind");
	for (unsigned n = string.n; n-- > 0;) {
		CHECK(next_trap(pid, &dr6) != 0, "%s: no trap, %u to go", string.what, n);
		CHECK_EQ("rcx", reg(pid, RCX), n);
		CHECK_EQ("DR6", dr6, 2);
	}
	CHECK_EQ("end", next_trap(pid, &dr6), 0);
}

static void test_breakpoint(void)
{
	pid_t pid = at_access();
	unsigned dr6;

	set_dr(pid, 3, w2, 0x40);
	set_dr(pid, 2, w3, 0x50);
	CHECK_EQ("stops before the instruction", next_trap(pid, &dr6), (uint64_t)w2);
	CHECK_EQ("DR6", dr6, 8);
	CHECK_EQ("and goes on", next_trap(pid, &dr6), (uint64_t)w3);
	CHECK_EQ("DR6", dr6, 4);
	CHECK_EQ("to the end", next_trap(pid, &dr6), 0);
}

const struct user_test user_debug[] = {
	{"debug-ptrace", test_ptrace},
	{"debug-self", test_self},
	{"debug-loop", test_loop},
	{"debug-watch", test_watch},
	{"debug-breakpoint", test_breakpoint},
	{NULL, NULL},
};
