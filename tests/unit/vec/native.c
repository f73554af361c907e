/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <cpuid.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/util.h"
#include "native.h"
#include "x86/fpu.h"

enum { STACK = 256 << 10, FLAGS = X86_ARITH | X86_DF | X86_AC | X86_TF };

static const int greg_of[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

/* XSAVE image in a signal frame, Linux arch/x86/include/uapi/asm/sigcontext.h */
enum { IMG_MXCSR = 24, IMG_BV = 512 };

static struct {
	struct x86_state *state; /* not NULL: native_run() was called */
	struct native_exit *exit;
	bool in_guest, avx;
	gregset_t host;
	uint8_t host_fpu[X86_XSAVE_SIZE_AVX];
	size_t fpu_size;
} run;

static void guest_enter(gregset_t g, uint8_t *fpu)
{
	const struct x86_state *s = run.state;

	memcpy(run.host, g, sizeof run.host);
	memcpy(run.host_fpu, fpu, run.fpu_size);
	for (unsigned i = 0; i < 16; i++)
		g[greg_of[i]] = (greg_t)s->gpr[i];
	g[REG_RIP] = (greg_t)s->rip;
	g[REG_CSGSFS] = (greg_t)(((uint64_t)g[REG_CSGSFS] & ~0xffffull) | s->seg[X86_CS].sel);
	g[REG_EFL] = (greg_t)((s->rflags & FLAGS) | X86_FLAG1 | X86_IF);
	if (run.avx)
		x86_fpu_xsave(&s->fpu, fpu, 7, true, false, false);
	else
		x86_fpu_fxsave(&s->fpu, fpu, true);
	if (run.avx)
		put_u64(fpu + IMG_BV, get_u64(fpu + IMG_BV) | 7);
}

static void guest_leave(gregset_t g, uint8_t *fpu, const siginfo_t *si)
{
	struct x86_state *s = run.state;
	struct x86_fpu old = s->fpu;
	int rc;

	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = (uint64_t)g[greg_of[i]];
	s->rip = (uint64_t)g[REG_RIP];
	s->rflags = ((uint64_t)g[REG_EFL] & FLAGS) | X86_FLAG1;
	put_u32(fpu + IMG_MXCSR, get_u32(fpu + IMG_MXCSR) & X86_MXCSR_MASK); /* AMD has one bit more */
	rc = run.avx ? x86_fpu_xrstor(&s->fpu, fpu, 7, ~0ull, true) : x86_fpu_fxrstor(&s->fpu, fpu, true);
	assert(!rc);
	s->fpu.fip = old.fip;
	s->fpu.fdp = old.fdp;
	s->fpu.fop = old.fop;
	run.exit->trap = (int)g[REG_TRAPNO];
	run.exit->error = (uint64_t)g[REG_ERR];
	run.exit->cr2 = run.exit->trap == X86_PF_EXC ? (uint64_t)(uintptr_t)si->si_addr : 0;
	memcpy(g, run.host, sizeof run.host);
	memcpy(fpu, run.host_fpu, run.fpu_size);
}

static void trapped(int sig, siginfo_t *si, void *ctx)
{
	ucontext_t *uc = ctx;
	uint8_t *fpu = (uint8_t *)uc->uc_mcontext.fpregs;

	/* Linux leaves alignment checks on if they were */
	__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andl %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
			 : : "i"(~X86_AC) : "memory", "cc");
	if (!run.state) { /* an ordinary crash of the test */
		signal(sig, SIG_DFL);
		return;
	}
	if (!run.in_guest) {
		run.in_guest = true;
		guest_enter(uc->uc_mcontext.gregs, fpu);
	} else {
		guest_leave(uc->uc_mcontext.gregs, fpu, si);
		run.in_guest = false;
	}
}

bool native_has_avx(void)
{
	unsigned a, b, c, d, hi;

	__cpuid(1, a, b, c, d);
	if (!(c & bit_OSXSAVE) || !(c & bit_AVX))
		return false;
	__asm__("xgetbv" : "=a"(a), "=d"(hi) : "c"(0));
	return (a & 6) == 6;
}

void native_init(void)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
	stack_t ss = {.ss_size = STACK};

	ss.ss_sp = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(ss.ss_sp != MAP_FAILED && !sigaltstack(&ss, NULL));
	for (size_t i = 0; i < ARRAY_LEN(sigs); i++) {
		struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

		sa.sa_sigaction = trapped;
		assert(!sigaction(sigs[i], &sa, NULL));
	}
	run.avx = native_has_avx();
	run.fpu_size = run.avx ? X86_XSAVE_SIZE_AVX : X86_FXSAVE_SIZE;
}

void native_run(struct x86_state *s, struct native_exit *x)
{
	run.exit = x;
	run.state = s;
	__asm__ volatile("int3" : : : "memory");
	run.state = NULL;
}
