// SPDX-License-Identifier: MIT
/*
 * Floating point exceptions as signals, denormals, rounding; and that vector and x87 state belongs to one process
 * at a time: across signals, switches and exec.
 */
#include <immintrin.h>
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "user.h"

/* RDI: a, b, MXCSR. The fault is at _at; XMM0 goes back to a[0] only if there was none. */
#define SSE(name, insn) \
	__asm__(".text\ns_" #name ": ldmxcsr 16(%rdi); movsd (%rdi), %xmm0; movsd 8(%rdi), %xmm1; s_" #name "_at: " insn \
		"; movsd %xmm0, (%rdi); movl $0x1f80, 16(%rdi); ldmxcsr 16(%rdi); ret\n"); \
	void s_##name(void *); \
	extern const char s_##name##_at[]

SSE(div, "divsd %xmm1, %xmm0");
SSE(mul, "mulsd %xmm1, %xmm0");
SSE(add, "addsd %xmm1, %xmm0");
SSE(cvt, "cvttsd2si %xmm0, %eax");
SSE(cvtss, "cvtsd2ss %xmm0, %xmm0");
SSE(comisd, "comisd %xmm1, %xmm0");

struct operands {
	double a, b;
	uint32_t mxcsr;
};

static void test_sse(void)
{
	static const struct {
		const char *what;
		void (*call)(void *);
		const char *at;
		double a, b;
		uint32_t unmask; /* of the mask bits */
		int code;
	} row[] = {
		{"1 / 0", s_div, s_div_at, 1, 0, 0x200, FPE_FLTDIV},
		{"0 / 0", s_div, s_div_at, 0, 0, 0x80, FPE_FLTINV},
		{"overflow", s_mul, s_mul_at, 1e300, 1e300, 0x400, FPE_FLTOVF},
		{"underflow", s_mul, s_mul_at, 1e-300, 1e-300, 0x800, FPE_FLTUND},
		{"inexact", s_div, s_div_at, 1, 3, 0x1000, FPE_FLTRES},
		{"denormal", s_add, s_add_at, 1, 4e-320, 0x100, FPE_FLTUND},
		{"signalling compare", s_comisd, s_comisd_at, NAN, 1, 0x80, FPE_FLTINV},
		{"conversion", s_cvt, s_cvt_at, 1e30, 0, 0x80, FPE_FLTINV},
		{"narrowing", s_cvtss, s_cvtss_at, 1e200, 0, 0x400, FPE_FLTOVF},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct operands o = {row[i].a, row[i].b, 0x1f80};
		struct user_signal s;

		user_catch(&s, row[i].call, &o);
		CHECK(s.sig == 0, "%s, masked: signal %d", row[i].what, s.sig);
		o = (struct operands){row[i].a, row[i].b, 0x1f80 & ~row[i].unmask};
		user_catch(&s, row[i].call, &o);
		CHECK(s.sig == SIGFPE && s.code == row[i].code, "%s: signal %d code %d", row[i].what, s.sig, s.code);
		CHECK_EQ(row[i].what, s.reg[REG_RIP], (uint64_t)row[i].at);
		CHECK_EQ("si_addr", s.addr, (uint64_t)row[i].at);
		CHECK_EQ("vector", s.reg[REG_TRAPNO], 19);
		__asm__ volatile("ldmxcsr %0" ::"m"((uint32_t){0x1f80}));
	}
}

/* x87 reports at the next x87 instruction that waits. */
__asm__(".text\ns_x87: fninit; fldcw 16(%rdi); fldl (%rdi); fldl 8(%rdi); fdivrp; nop; s_x87_at: fwait; fninit; ret\n"
	"s_x87m: fninit; fldcw 16(%rdi); fldl (%rdi); fldl 8(%rdi); fdivrp; xor %eax, %eax; s_x87m_at: fstpl (%rdi); fninit; ret\n"
	"s_x87s: fninit; fldcw 16(%rdi); fldz; fstp %st(0); fstp %st(0); s_x87s_at: fwait; fninit; ret\n"
	"s_x87d: fninit; fldcw 16(%rdi); fldl (%rdi); s_x87d_at: fstpl (%rdi); fninit; ret\n");
void s_x87(void *), s_x87m(void *), s_x87s(void *), s_x87d(void *);
extern const char s_x87_at[], s_x87m_at[], s_x87s_at[], s_x87d_at[];

static void test_x87(void)
{
	static const struct {
		const char *what;
		void (*call)(void *);
		const char *at;
		double a, b;
		uint32_t cw;
		int code;
	} row[] = {
		{"1 / 0", s_x87, s_x87_at, 1, 0, 0x37b, FPE_FLTDIV},
		{"0 / 0", s_x87, s_x87_at, 0, 0, 0x37e, FPE_FLTINV},
		{"1 / 3", s_x87, s_x87_at, 1, 3, 0x35f, FPE_FLTRES},
		{"1 / 0, store", s_x87m, s_x87m_at, 1, 0, 0x37b, FPE_FLTDIV},
		{"denormal", s_x87d, s_x87d_at, 4e-320, 1, 0x37d, FPE_FLTUND},
		{"empty stack", s_x87s, s_x87s_at, 0, 0, 0x37e, FPE_FLTINV},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct operands o = {row[i].a, row[i].b, row[i].cw};
		struct user_signal s;

		user_catch(&s, row[i].call, &o);
		CHECK(s.sig == SIGFPE && s.code == row[i].code, "%s: signal %d code %d", row[i].what, s.sig, s.code);
		CHECK_EQ(row[i].what, s.reg[REG_RIP], (uint64_t)row[i].at);
		CHECK_EQ("vector", s.reg[REG_TRAPNO], 16);
		CHECK(memcmp(&o.a, &row[i].a, 8) == 0, "%s: stored in spite of it", row[i].what);
		__asm__ volatile("fninit");
	}
}

static void test_modes(void)
{
	static const double x = 1, y = 3, tiny = 4e-310;
	static const uint32_t mode[] = {0x1f80, 0x3f80, 0x5f80, 0x7f80};
	static const uint64_t third[] = {0x3fd5555555555555, 0x3fd5555555555555, 0x3fd5555555555556, 0x3fd5555555555555};
	double r;
	uint64_t bits;
	uint32_t csr;

	for (int i = 0; i < 4; i++) {
		__asm__ volatile("ldmxcsr %1; movsd %2, %%xmm0; divsd %3, %%xmm0; movsd %%xmm0, %0; stmxcsr %4"
				 : "=m"(r)
				 : "m"(mode[i]), "m"(x), "m"(y), "m"(csr)
				 : "xmm0", "memory");
		memcpy(&bits, &r, 8);
		CHECK_EQ("1 / 3", bits, third[i]);
		CHECK_EQ("MXCSR", csr, mode[i] | 0x20);
	}
	__asm__ volatile("ldmxcsr %1; movsd %2, %%xmm0; addsd %%xmm0, %%xmm0; movsd %%xmm0, %0"
			 : "=m"(r)
			 : "m"((uint32_t){0x1fc0}), "m"(tiny)
			 : "xmm0"); /* DAZ */
	CHECK(r == 0, "DAZ");
	__asm__ volatile("ldmxcsr %1; movsd %2, %%xmm0; mulsd %%xmm0, %%xmm0; movsd %%xmm0, %0"
			 : "=m"(r)
			 : "m"((uint32_t){0x9f80}), "m"((double){1e-160})
			 : "xmm0"); /* FTZ */
	CHECK(r == 0, "FTZ");
	__asm__ volatile("ldmxcsr %1; movsd %2, %%xmm0; addsd %%xmm0, %%xmm0; movsd %%xmm0, %0; stmxcsr %3"
			 : "=m"(r)
			 : "m"((uint32_t){0x1f80}), "m"(tiny), "m"(csr)
			 : "xmm0", "memory");
	CHECK(r == 2 * tiny && (csr & 0x3f) == 2, "denormal: MXCSR %#x", csr);
	/* what is reserved cannot be loaded */
	__asm__ volatile("ldmxcsr %0" ::"m"((uint32_t){0x1f80}));

	/* x87: 64 bits of mantissa, and fewer by the control word */
	volatile long double a = 1, b = 3, c = a / b;
	CHECK(memcmp((const void *)(uintptr_t)&c, "\xab\xaa\xaa\xaa\xaa\xaa\xaa\xaa\xfd\x3f", 10) == 0, "1 / 3, extended");
	__asm__ volatile("fldcw %0" ::"m"((uint16_t){0x27f}));
	c = a / b;
	__asm__ volatile("fninit");
	CHECK((double)c == 1.0 / 3.0 && c == (long double)(double)c, "1 / 3, 53 bits");
	CHECK(fabsl(sinl(1.0L) - 0.84147098480789650665L) < 1e-18L, "sinl");
}

/*
 * Every process has its own pattern in all vector registers, MXCSR and the x87 stack, and gives up the CPU
 * again and again, by sched_yield and by signals whose handler overwrites it all.
 */
static volatile unsigned alarms;

__attribute__((target("avx"))) static void clobber(int sig)
{
	(void)sig;
	alarms++;
	if (__builtin_cpu_supports("avx"))
		__asm__ volatile("vpcmpeqd %%xmm0, %%xmm0, %%xmm0; vinsertf128 $1, %%xmm0, %%ymm0, %%ymm0; vmovaps %%ymm0, %%ymm7;"
				 "vmovaps %%ymm0, %%ymm15; vzeroall" ::
					 : "xmm0", "xmm7", "xmm15");
	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movaps %%xmm0, %%xmm3; movaps %%xmm0, %%xmm12; ldmxcsr %0; fninit; fldpi;"
			 "fldl2e" ::"m"((uint32_t){0xffc0})
			 : "xmm0", "xmm3", "xmm12");
}

#define EACH(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define LOAD(n) "vmovups " #n "*32(%[in]), %%ymm" #n ";"
#define SAVE(n) "vmovups %%ymm" #n ", " #n "*32(%[out]);"
#define LOADX(n) "movups " #n "*32(%[in]), %%xmm" #n ";"
#define SAVEX(n) "movups %%xmm" #n ", " #n "*32(%[out]);"
#define ALLX \
	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
		"xmm14", "xmm15"
#define BODY(load, save) \
	__asm__ volatile("fninit; fildl %[n]; ldmxcsr %[csr];" EACH(load) "1: mov $24, %%eax; syscall; mov $200, %%ecx;" \
			 "2: pause; dec %%ecx; jnz 2b; dec %[loops]; jnz 1b;" EACH(save) \
			 "fistl %[m]; stmxcsr %[csrout]" \
			 : [loops] "+r"(loops), [m] "=m"(m), [csrout] "=m"(csrout) \
			 : [in] "r"(in), [out] "r"(out), [n] "m"(n), [csr] "m"(csr) \
			 : "rax", "rcx", "r11", "memory", "cc", ALLX)

__attribute__((target("avx"))) static void patterns(uint32_t id, bool avx)
{
	uint8_t in[16 * 32], out[16 * 32] = {0};
	struct sigaction act = {.sa_handler = clobber};
	struct itimerval every = {{0, 3000}, {0, 3000}};
	uint32_t csr = 0x1f80 | (id % 4) << 13, csrout;
	int32_t n = (int32_t)(id * 1000003), m;

	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (unsigned round = 0; round < 60; round++) {
		uint64_t loops = 40;

		for (unsigned i = 0; i < sizeof(in); i++)
			in[i] = (uint8_t)(id * 37 + i * 11 + round);
		if (avx)
			BODY(LOAD, SAVE);
		else
			BODY(LOADX, SAVEX);
		for (unsigned i = 0; i < 16; i++)
			if (memcmp(in + 32 * i, out + 32 * i, avx ? 32 : 16))
				_exit(10 + (int)i);
		if (csr != csrout)
			_exit(3);
		if (m != n)
			_exit(4);
	}
	_exit(alarms ? 0 : 5);
}

static void test_switch(void)
{
	bool avx = user_cpu_has("avx");
	const int procs = 12;
	int status;

	for (int i = 0; i < procs; i++)
		if (fork() == 0)
			patterns((uint32_t)i + 1, avx);
	for (int i = 0; i < procs; i++) {
		CHECK(wait(&status) > 0, "wait");
		CHECK(status == 0, "status %#x (10 + register, 3 MXCSR, 4 x87, 5 no signal)", (unsigned)status);
	}
}

/* The signal frame holds the upper halves, and what the handler writes there comes back. */
static int ymm_off = -1;

static void edit(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
	uint32_t magic;

	(void)sig;
	(void)info;
	memcpy(&magic, fp + 464, 4); /* sw_reserved: FP_XSTATE_MAGIC1 */
	if (magic != 0x46505853)
		return;
	fp[160 + 16 * 5] ^= 0xff; /* XMM5's lowest byte */
	fp[ymm_off + 16 * 5 + 15] ^= 0xff; /* YMM5's highest */
	uc->uc_mcontext.gregs[REG_RIP] += 2;
}

__attribute__((target("avx"))) static void test_frame(void)
{
	struct sigaction act = {.sa_sigaction = edit, .sa_flags = SA_SIGINFO};
	uint8_t in[32], out[32];
	uint32_t a = 0xd, b, c = 2, d;

	if (!user_cpu_has("avx"))
		user_skip("no AVX");
	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	ymm_off = (int)b;
	CHECK_EQ("size of the AVX state", a, 256);
	sigaction(SIGILL, &act, NULL);
	for (int i = 0; i < 32; i++)
		in[i] = (uint8_t)(i + 1);
	__asm__ volatile("vmovups (%0), %%ymm5; ud2; vmovups %%ymm5, (%1); vzeroupper" ::"r"(in), "r"(out) : "xmm5", "memory");
	in[0] ^= 0xff;
	in[31] ^= 0xff;
	CHECK(!memcmp(in, out, 32), "YMM5 after the handler");
}

const struct user_test user_fpu[] = {
	{"fpu-sse", test_sse},
	{"fpu-x87", test_x87},
	{"fpu-modes", test_modes},
	{"fpu-switch", test_switch},
	{"fpu-frame", test_frame},
	{NULL, NULL},
};
