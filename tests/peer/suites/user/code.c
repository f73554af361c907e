// SPDX-License-Identifier: MIT
/*
 * Code that changes: by its own thread, by another one, through another mapping, by the kernel (read, ptrace,
 * process_vm_writev, copy on write), and code that is not allowed any more.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user.h"


#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

/* mov $n, %eax; ret */
static void emit(uint8_t *p, uint32_t n)
{
	p[0] = 0xb8;
	memcpy(p + 1, &n, 4);
	p[5] = 0xc3;
}

static uint32_t call(const void *p)
{
	uint32_t (*f)(void);

	memcpy(&f, &p, sizeof(f));
	return f();
}

/* The same place again and again: whole function, immediate, opcode; hot before each change. */
static void test_same_thread(void)
{
	uint8_t *p = user_map(2 * PAGE, RWX), *q = p + PAGE - 3; /* q: across a page boundary */

	for (uint32_t n = 0; n < 3000; n++) {
		emit(p, n);
		emit(q, ~n);
		for (int i = 0; i < (n % 100 ? 1 : 200); i++) {
			CHECK_EQ("changed function", call(p), n);
			CHECK_EQ("over the boundary", call(q), ~n);
		}
		((volatile uint8_t *)p)[2] ^= 0x55;
		CHECK_EQ("changed byte", call(p), n ^ 0x5500);
		((volatile uint8_t *)q)[4] ^= 0xff; /* in the second page */
		CHECK_EQ("changed byte of the second page", call(q), ~n ^ 0xff000000);
	}
}

/* The next instruction, changed by the one before it: no jump between. */
__asm__(".text\n.globl s_ahead, s_ahead_end\n"
	"s_ahead: mov $1000, %ecx; xor %eax, %eax; lea 2f(%rip), %rsi\n"
	"1: mov %cl, 1(%rsi)\n"		  /* the immediate of what follows */
	"2: mov $0, %dl; movzbl %dl, %edx; add %rdx, %rax; loop 1b; ret\n"
	"s_ahead_end:\n");
extern const char s_ahead[], s_ahead_end[];

static void test_ahead(void)
{
	uint8_t *p = user_map(PAGE, RWX);
	uint32_t want = 0;

	memcpy(p, s_ahead, (size_t)(s_ahead_end - s_ahead));
	for (uint32_t n = 1; n <= 1000; n++)
		want += n & 0xff;
	for (int i = 0; i < 20; i++)
		CHECK_EQ("sum of the immediates", call(p), want);
}

/* A loop whose body is replaced while it runs, by itself, with instructions of other lengths. */
__asm__(".text\n.globl s_morph, s_morph_body, s_morph_end, s_inc, s_add\n"
	"s_morph: mov $2000, %ecx; xor %eax, %eax; lea s_morph_body(%rip), %rdi; mov s_inc(%rip), %r8; mov s_add(%rip), %r9\n"
	"1: test $1, %cl; mov %r8, %rdx; cmovnz %r9, %rdx; mov %rdx, (%rdi); jmp s_morph_body; .balign 8\n"
	"s_morph_body: .skip 8, 0x90; dec %ecx; jnz 1b; ret; .balign 8\n"
	"s_inc: inc %eax; inc %eax; .skip 4, 0x90\n"
	"s_add: .byte 0x05, 0, 1, 0, 0, 0x66, 0x66, 0x90\n" /* add $256, %eax */
	"s_morph_end:\n");
extern const char s_morph[], s_morph_end[];

static void test_morph(void)
{
	uint8_t *p = user_map(PAGE, RWX);

	memcpy(p, s_morph, (size_t)(s_morph_end - s_morph));
	for (int i = 0; i < 5; i++)
		CHECK_EQ("sum of both bodies", call(p), 1000 * 2 + 1000 * 256);
}

/* One page of a file, mapped twice: written here, run there. */
static void test_alias(void)
{
	int fd = memfd_create("code", 0);
	uint8_t *w, *x;

	CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0, "memfd_create");
	w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	x = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	CHECK(w != MAP_FAILED && x != MAP_FAILED, "mmap");
	for (uint32_t n = 0; n < 3000; n++) {
		emit(w + 40, n);
		CHECK_EQ("code by its other name", call(x + 40), n);
	}
	/* and by the kernel: write(2) to the file */
	for (uint32_t n = 0; n < 300; n++) {
		uint8_t c[6];

		emit(c, n ^ 0x1234567);
		CHECK(pwrite(fd, c, sizeof(c), 40) == sizeof(c), "pwrite");
		CHECK_EQ("code by write(2)", call(x + 40), n ^ 0x1234567);
	}
}

/* Another thread writes, then says so; the runner serialises with CPUID, as the manuals ask. */
static uint8_t *shared;
static volatile uint32_t said;

static void *writer(void *arg)
{
	(void)arg;
	for (uint32_t n = 1; n < 2000; n += 2) {
		while (__atomic_load_n(&said, __ATOMIC_ACQUIRE) != n - 1)
			sched_yield();
		emit(shared, n * 77);
		__atomic_store_n(&said, n, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t t;

	shared = user_map(PAGE, RWX);
	emit(shared, 0);
	CHECK_EQ("first", call(shared), 0);
	pthread_create(&t, NULL, writer, NULL);
	for (uint32_t n = 1; n < 2000; n += 2) {
		uint32_t a = 0, b, c = 0, d;

		while (__atomic_load_n(&said, __ATOMIC_ACQUIRE) != n)
			sched_yield();
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)::"memory");
		CHECK_EQ("the other thread's code", call(shared), n * 77);
		CHECK_EQ("again", call(shared), n * 77);
		__atomic_store_n(&said, n + 1, __ATOMIC_RELEASE);
	}
	pthread_join(t, NULL);
}

/* A spinning loop is released by changing its own instructions: jmp . becomes nop; nop. */
static void *spin(void *arg)
{
	return (void *)(uintptr_t)call(arg);
}

static void test_release(void)
{
	uint8_t *p = user_map(PAGE, RWX);

	for (uint32_t n = 0; n < 20; n++) {
		pthread_t t;
		void *got;

		p[0] = 0xeb;
		p[1] = 0xfe; /* aligned, two bytes: one store changes it */
		emit(p + 2, n);
		pthread_create(&t, NULL, spin, p);
		usleep(2000);
		__atomic_store_n((uint16_t *)p, 0x9090, __ATOMIC_SEQ_CST);
		pthread_join(t, &got);
		CHECK_EQ("released thread", (uintptr_t)got, n);
	}
}

/* What a JIT does that never has a page both writable and executable. */
static void test_mprotect(void)
{
	uint8_t *p = user_map(PAGE, PROT_READ | PROT_WRITE);
	struct user_signal s;

	for (uint32_t n = 0; n < 300; n++) {
		emit(p + 16 * (n % 16), n);
		mprotect(p, PAGE, PROT_READ | PROT_EXEC);
		CHECK_EQ("code", call(p + 16 * (n % 16)), n);
		mprotect(p, PAGE, PROT_READ | PROT_WRITE);
		if (n % 50 == 0) {
			user_catch(&s, (void (*)(void *))(uintptr_t)p, NULL);
			CHECK(s.sig == SIGSEGV && (uint64_t)s.reg[REG_RIP] == (uint64_t)p, "ran without permission");
		}
	}
	/* unmapped, and something else in its place */
	for (uint32_t n = 0; n < 100; n++) {
		uint8_t *q = mmap(p, PAGE, RWX, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		CHECK(q == p, "mmap");
		emit(p + 100, n + 5);
		CHECK_EQ("new page", call(p + 100), n + 5);
	}
	munmap(p, PAGE);
	user_catch(&s, (void (*)(void *))(uintptr_t)(p + 100), NULL);
	CHECK(s.sig == SIGSEGV && s.addr == (uint64_t)p + 100, "ran what is unmapped");
}

/* read(2) into code: the kernel's store to the user's page; a pipe makes it copy. */
static void test_read(void)
{
	uint8_t *p = user_map(PAGE, RWX), c[6];
	int fd[2];

	CHECK(pipe(fd) == 0, "pipe");
	for (uint32_t n = 0; n < 1000; n++) {
		emit(c, n * 3);
		CHECK(write(fd[1], c, 6) == 6 && read(fd[0], p, 6) == 6, "pipe");
		CHECK_EQ("code by read(2)", call(p), n * 3);
	}
}

/* Parent and child share code until one of them writes. */
static void test_fork(void)
{
	uint8_t *p = user_map(PAGE, RWX);

	emit(p, 1);
	emit(p + 64, 100);
	CHECK_EQ("before", call(p), 1);
	for (uint32_t n = 2; n < 30; n++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			if (call(p) != n - 1)
				_exit(1);
			emit(p, n + 1000);
			for (int i = 0; i < 100; i++)
				if (call(p) != n + 1000 || call(p + 64) != 100)
					_exit(2);
			_exit(0);
		}
		CHECK_EQ("parent while the child changes its own", call(p), n - 1);
		emit(p, n);
		CHECK_EQ("parent", call(p), n);
		waitpid(pid, &status, 0);
		CHECK_EQ("child", status, 0);
	}
}

/* A debugger's breakpoint, and code put into another process. */
static void test_poke(void)
{
	uint8_t *p = user_map(PAGE, RWX);
	volatile uint32_t *out = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t pid;

	emit(p, 1);
	pid = fork();
	if (pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		for (;;) {
			*out = call(p);
			raise(SIGSTOP);
		}
	}
	for (uint32_t n = 1; n < 60; n++) {
		uint8_t c[8] = {0}, cc[8];
		struct iovec local = {c, 6}, remote = {p, 6};
		uint64_t word;

		CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP,
			"status %#x, not stopped", (unsigned)status);
		CHECK_EQ("what the child ran", *out, n);
		emit(c, n + 1);
		if (n % 2) {
			CHECK(process_vm_writev(pid, &local, 1, &remote, 1, 0) == 6, "process_vm_writev");
		} else {
			memcpy(&word, c, 8);
			CHECK(ptrace(PTRACE_POKETEXT, pid, p, word) == 0, "PTRACE_POKETEXT");
		}
		memcpy(cc, c, 8);
		cc[5] = 0xcc; /* int3 in place of ret */
		memcpy(&word, cc, 8);
		ptrace(PTRACE_POKETEXT, pid, p, word);
		ptrace(PTRACE_CONT, pid, NULL, NULL);
		CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP, "no breakpoint: %#x",
			(unsigned)status);
		CHECK_EQ("rip at the breakpoint",
			ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), NULL), (uint64_t)p + 6);
		memcpy(&word, c, 8);
		ptrace(PTRACE_POKETEXT, pid, p, word);
		ptrace(PTRACE_POKEUSER, pid, offsetof(struct user_regs_struct, rip), p + 5);
		ptrace(PTRACE_CONT, pid, NULL, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

const struct user_test user_code[] = {
	{"code-same-thread", test_same_thread},
	{"code-ahead", test_ahead},
	{"code-morph", test_morph},
	{"code-alias", test_alias},
	{"code-threads", test_threads},
	{"code-release", test_release},
	{"code-mprotect", test_mprotect},
	{"code-read", test_read},
	{"code-fork", test_fork},
	{"code-poke", test_poke},
	{NULL, NULL},
};
