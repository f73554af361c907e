// SPDX-License-Identifier: MIT
/*
 * Ways into the kernel and out of it: SYSCALL, INT 0x80, the vsyscall page, the vDSO, restartable sequences; segments
 * of the LDT, 32-bit and 16-bit code in them, FS and GS.
 */
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <errno.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "user.h"

/* What SYSCALL changes: RAX, RCX (RIP) and R11 (flags), no more. */
static void test_syscall(void)
{
	for (int round = 0; round < 200; round++) {
		uint64_t r[16] = {0}, rcx, r11, rax;

		__asm__ volatile("push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15; push %3;"
				 "mov $101, %%rbx; mov $102, %%rbp; mov $108, %%r8; mov $109, %%r9; mov $110, %%r10; mov $112, %%r12;"
				 "mov $113, %%r13; mov $114, %%r14; mov $115, %%r15; mov $105, %%rsi; mov $107, %%rdx;"
				 "mov $39, %%eax; stc; std; syscall; 1:"
				 "cld; mov (%%rsp), %%rdi; mov %%rbx, (%%rdi); mov %%rbp, 8(%%rdi); mov %%r8, 16(%%rdi);"
				 "mov %%r9, 24(%%rdi); mov %%r10, 32(%%rdi); mov %%r12, 40(%%rdi); mov %%r13, 48(%%rdi);"
				 "mov %%r14, 56(%%rdi); mov %%r15, 64(%%rdi); mov %%rsi, 72(%%rdi); mov %%rdx, 80(%%rdi);"
				 "lea 1b(%%rip), %%r8; sub %%r8, %%rcx;"
				 "pop %%r9; pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx; mov %%r11, %%r9"
				 : "=a"(rax), "=c"(rcx), "=&r"(r11)
				 : "D"(r)
				 : "rsi", "rdx", "r8", "r9", "r10", "r11", "memory", "cc");
		static const uint64_t want[] = {101, 102, 108, 109, 110, 112, 113, 114, 115, 105, 107};
		CHECK_EQ("getpid", rax, getpid());
		CHECK_EQ("rcx - rip", rcx, 0);
		for (int i = 0; i < 11; i++)
			CHECK_EQ("register", r[i], want[i]);
	}
	CHECK_EQ("no such call", syscall(9999), -1);
	CHECK_EQ("errno", errno, ENOSYS);
}

/* The 32-bit calls from 64-bit code: the numbers are i386's, arguments are 32 bits wide, all registers survive. */
static void test_int80(void)
{
	char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	int fd[2];

	CHECK(low != MAP_FAILED && pipe(fd) == 0, "mmap, pipe");
	for (int i = 0; i < 100; i++) {
		uint64_t rax = 20 | 0xdead00000000, r8 = 8, r11 = 11;

		__asm__ volatile("mov %1, %%r8; mov %2, %%r11; int $0x80; mov %%r8, %1; mov %%r11, %2"
				 : "+a"(rax), "+b"(r8), "+c"(r11)
				 :
				 : "r8", "r11", "memory");
		CHECK_EQ("getpid", rax, getpid());
		CHECK_EQ("r8", r8, 8);
		CHECK_EQ("r11", r11, 11);
		strcpy(low, "int80");
		rax = 4;
		__asm__ volatile("int $0x80" : "+a"(rax) : "b"((uint64_t)fd[1] | 0xf00000000), "c"(low), "d"(6ul) : "memory");
		CHECK_EQ("write", rax, 6);
		CHECK(read(fd[0], low + 100, 6) == 6 && !strcmp(low + 100, "int80"), "what was written");
	}
}

/* vsyscall=emulate or xonly: executing the page's entries is an instruction fetch fault that the kernel turns into calls. */
static void test_vsyscall(void)
{
	char line[256], perms[8] = "";
	FILE *f = fopen("/proc/self/maps", "r");
	struct user_signal s;
	struct timeval tv;
	unsigned cpu = ~0u;
	int (*gettod)(struct timeval *, void *) = (int (*)(struct timeval *, void *))0xffffffffff600000;
	time_t (*timef)(time_t *) = (time_t(*)(time_t *))0xffffffffff600400, t = 0, now;
	long (*getcpuf)(unsigned *, unsigned *, void *) = (long (*)(unsigned *, unsigned *, void *))0xffffffffff600800;

	CHECK(f, "no /proc/self/maps");
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "[vsyscall]"))
			sscanf(line, "%*s %4s", perms);
	fclose(f);
	if (!strchr(perms, 'x'))
		user_skip("this kernel has no vsyscall page (vsyscall=emulate gives one)");
	for (int i = 0; i < 200; i++) {
		now = time(NULL);
		CHECK(timef(&t) >= now && t >= now && t <= now + 5, "time() is %ld, not %ld", (long)t, (long)now);
		CHECK(gettod(&tv, NULL) == 0 && tv.tv_sec >= now && tv.tv_sec < now + 5, "gettimeofday()");
		CHECK(getcpuf(&cpu, NULL, NULL) == 0 && cpu < 4096, "getcpu()");
	}
	user_catch(&s, (void (*)(void *))0xffffffffff600010, NULL); /* no entry */
	CHECK(s.sig == SIGSEGV, "a jump into the page's middle: signal %d", s.sig);
}

/* Clocks of the vDSO agree with the kernel's and never go back, on any CPU. */
static void *watch_clock(void *arg)
{
	volatile uint64_t *newest = arg;

	for (int i = 0; i < 20000; i++) {
		struct timespec t;
		uint64_t before = __atomic_load_n(newest, __ATOMIC_SEQ_CST), now;

		clock_gettime(CLOCK_MONOTONIC, &t);
		now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
		CHECK(now >= before, "time went back by %lu ns", before - now);
		while (before < now &&
			!__atomic_compare_exchange_n(newest, &before, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		if (i % 1000 == 0)
			sched_yield();
	}
	return NULL;
}

static void test_clock(void)
{
	static const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW};
	uint64_t newest = 0;
	pthread_t t[3];

	CHECK(getauxval(AT_SYSINFO_EHDR), "no vDSO");
	for (size_t i = 0; i < sizeof(ids) / sizeof(*ids); i++)
		for (int n = 0; n < 500; n++) {
			struct timespec a, b, c;

			syscall(SYS_clock_gettime, ids[i], &a);
			clock_gettime(ids[i], &b);
			syscall(SYS_clock_gettime, ids[i], &c);
			int64_t ab = (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec;
			int64_t bc = (c.tv_sec - b.tv_sec) * 1000000000 + c.tv_nsec - b.tv_nsec;
			CHECK(ab >= 0 && bc >= 0, "clock %d: kernel, vDSO, kernel: +%ld, +%ld ns", ids[i], (long)ab, (long)bc);
		}
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, watch_clock, &newest);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
}

/* RDTSCP waits for the loads before it: a time another thread has published is never in its future. */
static void *watch_tsc(void *arg)
{
	volatile uint64_t *newest = arg;

	for (int i = 0; i < 200000; i++) {
		uint64_t before = __atomic_load_n(newest, __ATOMIC_SEQ_CST);
		uint32_t lo, hi, cpu;

		__asm__ volatile("rdtscp" : "=a"(lo), "=d"(hi), "=c"(cpu)::"memory");
		uint64_t now = (uint64_t)hi << 32 | lo;
		CHECK(now >= before, "TSC went back by %lu, after %d rounds", before - now, i);
		while (before < now &&
			!__atomic_compare_exchange_n(newest, &before, now, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
	}
	return NULL;
}

static void test_tsc(void)
{
	uint64_t newest = 0;
	pthread_t t[2];

	if (!user_cpu_has("rdtscp") || !user_cpu_has("constant_tsc"))
		user_skip("no RDTSCP, or no TSC that all CPUs share");
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, watch_tsc, &newest);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
}

/*
 * A restartable sequence that a signal interrupts goes on at its abort address, one that nothing interrupts does
 * not. glibc has registered the thread.
 */
__asm__(".data\n.balign 32\ns_rseq_cs: .long 0, 0; .quad s_rseq_start, s_rseq_end - s_rseq_start, s_rseq_abort\n"
	".text\n.globl s_rseq_loop\n"
	"s_rseq_loop:\n" /* RDI: &rseq->rseq_cs; RSI: the flag that ends it. Returns 1 aborted, 0 not. */
	"lea s_rseq_cs(%rip), %rax; mov %rax, (%rdi)\n"
	"s_rseq_start: mov $10000000, %ecx\n"
	"1: cmpl $0, (%rsi); jne 2f; dec %ecx; jnz 1b\n"
	"2:\n"
	"s_rseq_end: movq $0, (%rdi); xor %eax, %eax; ret\n"
	".long 0x53053053\n"
	"s_rseq_abort: mov $1, %eax; ret\n");
int s_rseq_loop(uint64_t *cs, volatile uint32_t *stop);

static volatile uint32_t rang;

static void ring(int sig)
{
	(void)sig;
	rang = 1;
}

static void test_rseq(void)
{
	struct sigaction act = {.sa_handler = ring};
	struct itimerval once = {{0, 0}, {0, 3000}};
	volatile uint32_t never = 0, always = 1;
	int aborts = 0, undisturbed = 0;
	struct rseq *r;

	if (!__rseq_size)
		user_skip("no rseq");
	r = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	for (int i = 0; i < 200; i++) {
		uint32_t a = r->cpu_id, b = (uint32_t)sched_getcpu(), c = r->cpu_id;

		CHECK(a == b || b == c, "CPU %u, %u, %u", a, b, c);
	}
	sigaction(SIGALRM, &act, NULL);
	for (int i = 0; i < 30; i++) {
		rang = 0;
		setitimer(ITIMER_REAL, &once, NULL);
		while (!rang) /* another process may abort it, too */
			aborts += s_rseq_loop((uint64_t *)&r->rseq_cs, &never);
		CHECK_EQ("rseq_cs cleared", r->rseq_cs, 0);
	}
	CHECK(aborts >= 20, "30 signals aborted the sequence %d times", aborts);
	for (int i = 0; i < 100; i++) /* short, so that nearly none of them is disturbed */
		undisturbed += !s_rseq_loop((uint64_t *)&r->rseq_cs, &always);
	CHECK(undisturbed > 50, "%d of 100 short sequences were aborted", 100 - undisturbed);
}

/* A 32-bit code segment of the kernel's GDT (0x23), entered and left by far transfers; memory below 4 GiB. */
__asm__(".text\n.globl s_compat, s_compat_back, s_compat32, s_compat32_end\n"
	"s_compat: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; mov %rsp, %r12; mov %rdx, %r13;"
	"mov %rsi, %rsp; xor %eax, %eax; pushq $0x23; push %rdi; lretq\n"
	"s_compat_back: mov %ebx, (%r13); mov %ecx, 4(%r13); mov %edx, 8(%r13); mov %esi, 12(%r13); mov %edi, 16(%r13);"
	"mov %r12, %rsp; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
	".code32\n"
	"s_compat32: .byte 0x40; mov %eax, %ebp\n" /* inc %eax, a REX prefix elsewhere */
	"mov $0x7ffffff0, %eax; add $0x20, %eax; seto %bl; movzbl %bl, %ebx; shl $8, %ebp; or %ebp, %ebx; push %ebx\n"
	"mov $0x9c, %al; add $0x35, %al; daa; movzbl %al, %eax; push %eax\n"
	"mov $20, %eax; int $0x80; push %eax\n"
	"mov %esp, %ecx; pusha; popa; sub %esp, %ecx; push %ecx\n"
	"mov %cs, %eax; push %eax\n"
	"pop %esi; pop %edi; pop %edx; pop %ecx; pop %ebx\n"
	"ljmp $0x33, $0\n" /* the offset is filled in */
	"s_compat32_end:\n.code64\n");
void s_compat(void *code, void *stack, uint32_t *out);
extern const char s_compat32[], s_compat32_end[], s_compat_back[];

static void test_compat(void)
{
	uint8_t *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	size_t len = (size_t)(s_compat32_end - s_compat32);
	uint32_t back = (uint32_t)(uint64_t)s_compat_back, out[5];

	CHECK(p != MAP_FAILED && (uint64_t)s_compat_back >> 32 == 0, "nothing below 4 GiB: link with -static");
	memcpy(p, s_compat32, len);
	memcpy(p + len - 6, &back, 4);
	for (int i = 0; i < 100; i++) {
		s_compat(p, p + 4 * PAGE - 64, out);
		CHECK_EQ("inc and overflow", out[0], 0x101);
		CHECK_EQ("daa", out[1], 0x37); /* 0x9c + 0x35 = 0xd1, + 0x66 = 0x37 */
		CHECK_EQ("getpid by int 0x80", out[2], getpid());
		CHECK_EQ("cs", out[3] & 0xffff, 0x23);
		CHECK_EQ("pusha and popa", out[4], 0);
	}
}

/* Segments of the process' own: FS with a base and a limit, 16-bit code with a 16-bit stack. */
static int ldt_set(unsigned n, uint64_t base, uint32_t limit, unsigned contents, bool is32)
{
	struct user_desc d = {.entry_number = n, .base_addr = (uint32_t)base, .limit = limit, .seg_32bit = is32,
		.contents = contents & 3, .useable = 1};

	return (int)syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}

__asm__(".text\n.globl s_code16, s_code16_end\n.code16\n"
	"s_code16: mov %cx, %ax; add $0x8000, %ax; mov $0, %ax; adc $0, %ax; push %ax; push %sp; pop %bx; pop %ax\n"
	"mov $5, %cx; xor %dx, %dx; 1: add $3, %dx; loop 1b; .byte 0x66; lret\n"
	"s_code16_end:\n.code64\n");
extern const char s_code16[], s_code16_end[];

static void test_ldt(void)
{
	uint8_t *p = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	static const struct {
		uint32_t off;
		uint16_t sel;
	} __attribute__((packed)) target = {0x100, 2 << 3 | 7};
	uint16_t fs, old;

	CHECK(p != MAP_FAILED, "mmap");
	if (ldt_set(0, (uint64_t)p, 0xfff, MODIFY_LDT_CONTENTS_DATA, true) != 0)
		user_skip("no modify_ldt");
	/* GS, for the C library keeps what it needs in FS */
	fs = 0 << 3 | 7;
	*(uint32_t *)(p + 0x40) = 0xfeedface;
	uint32_t got, lim;
	uint64_t base;
	__asm__ volatile("mov %%gs, %0" : "=r"(old));
	__asm__ volatile("mov %1, %%gs; movl %%gs:0x40, %0; lsl %1, %2" : "=r"(got), "+r"(fs), "=r"(lim)::"memory");
	CHECK_EQ("gs:0x40", got, 0xfeedface);
	sched_yield();
	usleep(1000);
	__asm__ volatile("movl %%gs:0x40, %0" : "=r"(got));
	CHECK_EQ("gs:0x40 after other processes", got, 0xfeedface);
	syscall(SYS_arch_prctl, ARCH_GET_GS, &base);
	CHECK_EQ("base of GS", base, (uint64_t)p);
	__asm__ volatile("mov %0, %%gs" ::"r"(old));

	/* 16-bit code: called as a far call through memory, returns with a 32-bit far return */
	CHECK(ldt_set(2, (uint64_t)p + PAGE, 0xffff, MODIFY_LDT_CONTENTS_CODE, false) == 0, "16-bit code segment");
	memcpy(p + PAGE + 0x100, s_code16, (size_t)(s_code16_end - s_code16));
	uint64_t ax, bx, cx = 0x8000, dx;
	__asm__ volatile("mov %%rsp, %%r12; mov %5, %%rsp; lcall *%4; mov %%r12, %%rsp"
			 : "=a"(ax), "=b"(bx), "+c"(cx), "=d"(dx)
			 : "m"(target), "r"(p + 15 * PAGE)
			 : "r12", "memory", "cc");
	CHECK_EQ("carry of 16-bit addition", ax & 0xffff, 1);
	CHECK_EQ("loop in 16 bits", dx & 0xffff, 15);
	CHECK_EQ("cx", cx & 0xffff, 0);
}

/* FS and GS base by instruction, kept per thread. */
static void *bases(void *arg)
{
	uint64_t mine = (uint64_t)arg * 0x123456789ull + 0x1000, got;

	for (int i = 0; i < 300; i++) {
		__asm__ volatile("wrgsbase %0" ::"r"(mine + (uint64_t)i));
		sched_yield();
		__asm__ volatile("rdgsbase %0" : "=r"(got));
		CHECK_EQ("base of GS", got, mine + (uint64_t)i);
	}
	__asm__ volatile("wrgsbase %0" ::"r"(0ul));
	return NULL;
}

static void test_bases(void)
{
	uint64_t v[2] = {0x1122334455667788, 0x99}, got;
	pthread_t t[4];

	CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, v) == 0, "ARCH_SET_GS");
	__asm__ volatile("mov %%gs:0, %0" : "=r"(got));
	CHECK_EQ("gs:0", got, v[0]);
	__asm__ volatile("mov %%gs:(%1), %0" : "=r"(got) : "r"(8ul));
	CHECK_EQ("gs:8", got, v[1]);
	__asm__ volatile("mov $0, %%eax; mov %%eax, %%gs" ::: "eax");
	if (!(getauxval(AT_HWCAP2) & 2))
		user_skip("no FSGSBASE");
	for (uintptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, bases, (void *)(i + 1));
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

const struct user_test user_entry[] = {
	{"entry-syscall", test_syscall},
	{"entry-int80", test_int80},
	{"entry-vsyscall", test_vsyscall},
	{"entry-clock", test_clock},
	{"entry-tsc", test_tsc},
	{"entry-rseq", test_rseq},
	{"entry-compat", test_compat},
	{"entry-ldt", test_ldt},
	{"entry-bases", test_bases},
	{NULL, NULL},
};
