// SPDX-License-Identifier: MIT
/*
 * Accesses across pages, string instructions that meet a hole, gathers and masked moves that meet one, atomics
 * between threads and processes.
 */
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user.h"

/* Registers for a string instruction, and as the fault left them. */
struct string_regs {
	uint64_t rcx, rsi, rdi, rax, flags;
};

#define STRING(name, insn) \
	__asm__(".text\ns_" #name ": push %rdi; mov 32(%rdi), %rax; push %rax; popfq; mov 24(%rdi), %rax; mov (%rdi), %rcx;" \
		"mov 8(%rdi), %rsi; mov 16(%rdi), %rdi; s_" #name "_at: " insn "; cld; pop %rdi; ret\n"); \
	void s_##name(void *); \
	extern const char s_##name##_at[]

STRING(movsb, "rep movsb");
STRING(movsw, "rep movsw");
STRING(movsd, "rep movsl");
STRING(movsq, "rep movsq");
STRING(stosb, "rep stosb");
STRING(stosq, "rep stosq");
STRING(lodsb, "rep lodsb");
STRING(scasb, "repne scasb");
STRING(scasw, "repe scasw");
STRING(cmpsb, "repe cmpsb");

static void string(const char *what, void (*call)(void *), const char *at, struct string_regs in, struct string_regs want,
	uint64_t addr, int error)
{
	struct user_signal s;

	user_catch(&s, call, &in);
	CHECK(s.sig == SIGSEGV, "%s: signal %d", what, s.sig);
	CHECK((uint64_t)s.reg[REG_RIP] == (uint64_t)at, "%s: rip", what);
	CHECK(s.addr == addr && s.reg[REG_ERR] == error, "%s: address %#lx error %#llx, expected %#lx %#x", what, s.addr,
		s.reg[REG_ERR], addr, error);
	CHECK((uint64_t)s.reg[REG_RCX] == want.rcx && (uint64_t)s.reg[REG_RSI] == want.rsi &&
			(uint64_t)s.reg[REG_RDI] == want.rdi,
		"%s: rcx %#llx rsi %#llx rdi %#llx, expected %#lx %#lx %#lx", what, s.reg[REG_RCX], s.reg[REG_RSI],
		s.reg[REG_RDI], want.rcx, want.rsi, want.rdi);
}

#define STR(name, ...) string(#name, s_##name, s_##name##_at, __VA_ARGS__)
#define IN(...) ((struct string_regs){__VA_ARGS__, 0x202})
#define OUT(...) ((struct string_regs){__VA_ARGS__, 0, 0})
#define DOWN(...) ((struct string_regs){__VA_ARGS__, 0x602})

static void test_string(void)
{
	uint8_t *a = user_map(3 * PAGE, PROT_READ | PROT_WRITE), *b = user_map(3 * PAGE, PROT_READ | PROT_WRITE);
	uint64_t ae = (uint64_t)a + 3 * PAGE, be = (uint64_t)b + 3 * PAGE, bs = (uint64_t)b;

	for (unsigned n = 0; n < 3 * PAGE; n++) {
		a[n] = (uint8_t)(n * 7 + n / 256);
		b[n] = 0;
	}
	/* source ends, destination ends, with and without a page boundary on the way */
	STR(movsb, IN(100, ae - 30, bs, 0), OUT(70, ae, bs + 30), ae, 4);
	STR(movsb, IN(100, (uint64_t)a, be - 11, 0), OUT(89, (uint64_t)a + 11, be), be, 6);
	STR(movsb, IN(9000, ae - 5000, bs, 0), OUT(4000, ae, bs + 5000), ae, 4);
	CHECK(!memcmp(b, a + 3 * PAGE - 5000, 5000), "what movsb copied before the fault");
	STR(movsw, IN(50, ae - 21, bs, 0), OUT(40, ae - 1, bs + 20), ae, 4);
	STR(movsd, IN(200, ae - 402, bs + 1, 0), OUT(100, ae - 2, bs + 401), ae, 4);
}

static void string_ok(const char *what, void (*call)(void *), struct string_regs in)
{
	struct user_signal s;

	user_catch(&s, call, &in);
	CHECK(!s.sig, "%s: signal %d", what, s.sig);
}

static void test_string2(void)
{
	uint8_t *a = user_map(3 * PAGE, PROT_READ | PROT_WRITE), *b = user_map(3 * PAGE, PROT_READ | PROT_WRITE);
	uint64_t as = (uint64_t)a, ae = as + 3 * PAGE, bs = (uint64_t)b, be = bs + 3 * PAGE;

	STR(movsq, IN(4000, as + 1, be - 8003, 0), OUT(3000, as + 8001, be - 3), be, 6);
	STR(stosb, IN(10000, 0x1234, be - 9000, 0xabcdef), OUT(1000, 0x1234, be), be, 6);
	CHECK(b[3 * PAGE - 9000] == 0xef && b[3 * PAGE - 1] == 0xef && b[3 * PAGE - 9001] == 0, "what stosb wrote");
	STR(stosq, IN(10, 0x1234, be - 44, 0x1122334455667788), OUT(5, 0x1234, be - 4), be, 6);
	CHECK(b[3 * PAGE - 4] == 0xef, "half of a store that faulted");
	STR(lodsb, IN(5000, ae - 4100, 0x4321, 0), OUT(900, ae, 0x4321), ae, 4);
	memset(a, 5, 3 * PAGE);
	STR(scasb, IN(5000, 1, ae - 4097, 6), OUT(903, 1, ae), ae, 4);
	STR(scasw, IN(5000, 1, ae - 7, 0x505), OUT(4997, 1, ae - 1), ae, 4);
	memset(b, 5, 3 * PAGE);
	STR(cmpsb, IN(20000, ae - 5000, bs, 0), OUT(15000, ae, bs + 5000), ae, 4);
	STR(cmpsb, IN(20000, as, be - 5000, 0), OUT(15000, as + 5000, be), be, 4);

	/* downwards, into a hole below */
	munmap(b, PAGE);
	STR(movsb, DOWN(5000, ae - 1, bs + PAGE + 99, 0), OUT(4900, ae - 101, bs + PAGE - 1), bs + PAGE - 1, 6);
	STR(stosq, DOWN(600, 7, bs + 2 * PAGE, 0), OUT(600 - 513, 7, bs + PAGE - 8), bs + PAGE - 8, 6);

	/* overlapping by one: a fill, on every kind of CPU */
	for (unsigned n = 0; n < 3 * PAGE; n++)
		a[n] = (uint8_t)n;
	a[10] = 0x77;
	string_ok("movsb", s_movsb, IN(6000, as + 10, as + 11, 0));
	for (unsigned n = 10; n <= 6010; n++)
		CHECK_EQ("fill by overlap", a[n], 0x77);
	CHECK_EQ("behind the fill", a[6011], 6011 & 255);
	/* by quadwords, twelve apart: each sees what the one before it stored */
	for (unsigned n = 0; n < 3 * PAGE; n++)
		a[n] = (uint8_t)(n < 12 ? n + 1 : 0);
	string_ok("movsq", s_movsq, IN(800, as, as + 12, 0));
	for (unsigned n = 12; n < 6412; n++)
		CHECK_EQ("copy of an overlap", a[n], a[n - 12]);
}

/* Values of each size at each distance from a page boundary, read back in every other way. */
static void test_crossing(void)
{
	uint8_t *p = user_map(2 * PAGE, PROT_READ | PROT_WRITE), *edge = p + PAGE;
	const uint64_t v = 0x8877665544332211;

	for (int n = 1; n < 64; n++) {
		uint8_t *at = edge - n;
		uint64_t r;

		memset(edge - 80, 0xee, 160);
		*(volatile uint64_t *)at = v;
		for (int i = 0; i < 8; i++)
			CHECK_EQ("byte", at[i], (v >> (8 * i)) & 0xff);
		CHECK(at[-1] == 0xee && at[8] == 0xee, "store beyond its ends");
		__asm__ volatile("lock xaddq %0, %1" : "=r"(r), "+m"(*(uint64_t *)at) : "0"(1ul) : "cc", "memory");
		CHECK_EQ("xadd", r, v);
		__asm__ volatile("btcq $63, %0" : "+m"(*(uint64_t *)at)::"cc", "memory");
		__asm__ volatile("adcw $0, %0" : "+m"(*(uint16_t *)(at + 7))::"cc", "memory");
		CHECK_EQ("top byte", at[7] & 0xfe, (0x88 ^ 0x80) & 0xfe);

		__m128i x = _mm_set_epi64x(0x0f0e0d0c0b0a0908, 0x0706050403020100), y;
		_mm_storeu_si128((__m128i *)at, x);
		memcpy(&y, at, 16);
		CHECK(!memcmp(&x, &y, 16), "16 bytes over the boundary");
		*(volatile long double *)at = 1.25L; /* 10 bytes */
		CHECK(*(volatile long double *)at == 1.25L, "fstp over the boundary");
		__asm__ volatile("pushq (%0); popq 16(%0)" ::"r"(at) : "memory");
		CHECK(!memcmp(at, at + 16, 8), "push and pop over the boundary");
	}
}

/* Real CPUs put the elements before the faulting one in place and take them out of the mask. */
__attribute__((target("avx2"))) static void gather(void *arg)
{
	__m256i *v = arg;

	__asm__ volatile("vmovdqu (%0), %%ymm2; vmovdqu 32(%0), %%ymm1; vpxor %%ymm0, %%ymm0, %%ymm0; 1: vpgatherdd %%ymm2, (%1, "
			 "%%ymm1, 4), %%ymm0; vmovdqu %%ymm0, 64(%0)"
			 :
			 : "r"(v), "r"(*(uint8_t **)(v + 3))
			 : "xmm0", "xmm1", "xmm2", "memory");
}

static void test_masked(void)
{
	struct {
		uint32_t mask[8], index[8], got[8];
		uint8_t *base;
	} g = {.mask = {~0u, ~0u, ~0u, ~0u, 0, ~0u, ~0u, 0}, .index = {0, 5, 1, 2, 3000, 7, 3, 4000}};
	uint8_t *p = user_map(PAGE, PROT_READ | PROT_WRITE);
	struct user_signal s;

	if (!user_cpu_has("avx2"))
		user_skip("no AVX2");
	for (uint32_t i = 0; i < PAGE / 4; i++)
		((uint32_t *)p)[i] = i + 100;
	g.base = p;
	user_catch(&s, gather, &g); /* what points into the hole is masked off */
	CHECK_EQ("signal", s.sig, 0);
	for (int i = 0; i < 8; i++)
		CHECK_EQ("element", g.got[i], g.mask[i] ? g.index[i] + 100 : 0);
	g.index[6] = 1024 + 512;
	user_catch(&s, gather, &g);
	CHECK_EQ("signal", s.sig, SIGSEGV);
	g.index[6] = 1024;
	user_catch(&s, gather, &g);
	CHECK_EQ("signal", s.sig, SIGSEGV);
	CHECK_EQ("address", s.addr, (uint64_t)p + PAGE);

	uint8_t *edge = p + PAGE - 16;
	uint64_t got[4];

	__asm__ volatile("vpcmpeqd %%ymm1, %%ymm1, %%ymm1; vpxor %%xmm0, %%xmm0, %%xmm0; vinserti128 $0, %%xmm1, %%ymm0, %%ymm0;"
			 "vpmaskmovd (%0), %%ymm0, %%ymm2; vpmaskmovd %%ymm2, %%ymm0, (%0); vmovdqu %%ymm2, (%1); vzeroupper"
			 :
			 : "r"(edge), "r"(got)
			 : "xmm0", "xmm1", "xmm2", "memory");
	CHECK(!memcmp(got, edge, 16) && !got[2] && !got[3], "masked move at the end of a page");
}

/* Threads count with LOCK; no count may be lost, on one page or across two. */
static uint64_t *counters[4];
static struct {
	uint64_t lo, hi;
} __attribute__((aligned(16))) pair;

static void *count(void *arg)
{
	unsigned n = (unsigned)(uintptr_t)arg;

	for (int i = 0; i < 20000; i++) {
		__asm__ volatile("lock incq %0" : "+m"(*counters[0])::"cc", "memory");
		__asm__ volatile("lock addl $3, %0" : "+m"(*(uint32_t *)counters[1])::"cc", "memory");
		uint64_t old = *(volatile uint64_t *)counters[2];
		while (!__atomic_compare_exchange_n(counters[2], &old, old + n, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			;
		uint64_t a = pair.lo, d = pair.hi;
		bool done;
		do
			__asm__ volatile("lock cmpxchg16b %0"
					 : "+m"(pair), "+a"(a), "+d"(d), "=@ccz"(done)
					 : "b"(a + 1), "c"(d + 2)
					 : "memory");
		while (!done);
		if (i % 500 == 0)
			sched_yield();
	}
	return NULL;
}

static void test_atomics(void)
{
	uint8_t *p = user_map(2 * PAGE, PROT_READ | PROT_WRITE);
	pthread_t t[4];

	counters[0] = (uint64_t *)(p + 64);
	counters[1] = (uint64_t *)(p + 129);
	counters[2] = (uint64_t *)(p + 512);
	for (uintptr_t i = 0; i < 4; i++)
		CHECK(pthread_create(&t[i], NULL, count, (void *)(i + 1)) == 0, "pthread_create");
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ("lock inc", *counters[0], 80000);
	CHECK_EQ("lock add, misaligned", *(uint32_t *)counters[1], 240000);
	CHECK_EQ("cmpxchg", *counters[2], 20000 * (1 + 2 + 3 + 4));
	CHECK_EQ("cmpxchg16b", pair.lo, 80000);
	CHECK_EQ("cmpxchg16b", pair.hi, 160000);
}

/* Copy on write, many times: a child's stores are its own. */
static void test_cow(void)
{
	const unsigned pages = 64;
	uint64_t *p = user_map(pages * PAGE, PROT_READ | PROT_WRITE);

	for (unsigned i = 0; i < pages * PAGE / 8; i++)
		p[i] = i;
	for (uint64_t round = 1; round < 10; round++) {
		pid_t pid = fork();
		int status;

		if (pid == 0) {
			for (unsigned i = 0; i < pages; i += 2)
				p[i * (PAGE / 8)] += round * 1000003;
			for (unsigned i = 0; i < pages; i++)
				if (p[i * (PAGE / 8)] != i * (PAGE / 8) + (i % 2 ? 0 : round * 1000003))
					_exit(1);
			_exit(0);
		}
		p[round * (PAGE / 8) + 1] = 7; /* the parent's part of the same */
		waitpid(pid, &status, 0);
		CHECK_EQ("child", status, 0);
		for (unsigned i = 0; i < pages; i++)
			CHECK_EQ("the parent's page", p[i * (PAGE / 8)], i * (PAGE / 8));
	}
}

/* Mappings that come and go at one address, seen from two threads: a stale translation shows as an old value. */
static uint8_t *window;
static volatile uint32_t turn; /* odd: look; even: change */

static void *look(void *arg)
{
	(void)arg;
	for (uint32_t n = 1; n < 600; n += 2) {
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != n)
			sched_yield();
		CHECK_EQ("the other thread's view of the page", *(volatile uint32_t *)window, n);
		__atomic_store_n(&turn, n + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void test_remap(void)
{
	pthread_t t;

	window = user_map(PAGE, PROT_READ | PROT_WRITE);
	pthread_create(&t, NULL, look, NULL);
	for (uint32_t n = 1; n < 600; n += 2) {
		void *p = mmap(window, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

		CHECK(p == window, "mmap");
		CHECK_EQ("a new page", *(volatile uint32_t *)window, 0);
		*(uint32_t *)window = n;
		__atomic_store_n(&turn, n, __ATOMIC_RELEASE);
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) != n + 1)
			sched_yield();
	}
	pthread_join(t, NULL);
}

const struct user_test user_memory[] = {
	{"memory-string", test_string},
	{"memory-string2", test_string2},
	{"memory-crossing", test_crossing},
	{"memory-masked", test_masked},
	{"memory-atomics", test_atomics},
	{"memory-cow", test_cow},
	{"memory-remap", test_remap},
	{NULL, NULL},
};
