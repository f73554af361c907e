/* SPDX-License-Identifier: MIT */
/*
 * The host CPU as the oracle of an engine: random user-mode instructions from random state, run natively in
 * a child process and by the engine in a small virtual machine with the same address space; registers,
 * defined flags, MXCSR, x87 and vector state, memory, and exceptions with error code and CR2 must agree.
 *
 *     oracle [-v] [-n TIMES] [-s PERCENT] [-x NAME]... [ENGINE [CASES [SEED [FIRST]]]]
 *
 * Case n of a seed is always the same, so FIRST and CASES = 1 repeat a single one. PERCENT of the cases (40) are
 * sequences of instructions with branches, which another number makes other cases. The engine runs each case
 * TIMES times from the same state and is compared each time: once is enough for interp; others get HOT_TIMES,
 * so that an engine that translates what is run often runs its translation, and that linked to itself.
 *
 * -x leaves out cases with instructions of that name, to look behind a mismatch that is already known.
 *
 * An engine that translates need not have arithmetic flags right at a fault when they are dead there: when the
 * instructions behind write them before one reads them. Those are left out for engines other than interp.
 *
 * The child is sacrificed: cases run in it at their own addresses, and a stray store may hit anything. It
 * fills a batch of results in shared memory; if it dies, the case it died of is left out and a new one goes
 * on behind it. The virtual machine has IDT entries that lead to a HLT each, so that run() ends with every
 * exception, its frame on the ring 0 stack.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <asm/prctl.h>
#include <unistd.h>

#include "../vec/native.h"
#include "base/util.h"
#include "engine/engine.h"
#include "oracle-int.h"

#ifdef HAVE_ZYDIS
#include <Zydis/Zydis.h>
#endif

#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { BATCH = 512, HOT_TIMES = 4, FL_COMPARED = X86_ARITH | X86_DF | X86_AC };

struct result {
	struct x86_state out;
	struct native_exit exit;
	bool done;
	uint8_t data[DATA_PAGES * PAGE];
};

struct shared {
	unsigned at; /* the case being run natively */
	struct result r[BATCH];
};

static uint64_t seed;
static bool verbose, translates;
static unsigned times, time_now;
static bool left_out[X86_OP_COUNT];
static struct oracle_opts opts;
static uint8_t pool[POOL_SIZE];
static struct shared *sh;

/* ---- the host ---- */

static uint8_t *fd_map(int fd, off_t off, size_t len, int prot, uint64_t va)
{
	void *want = (void *)(uintptr_t)va;
	void *p = mmap(want, len, prot, MAP_SHARED | (va ? MAP_FIXED_NOREPLACE : 0), fd, off);

	assert(p != MAP_FAILED && (!va || p == want));
	return p;
}

/* The child: runs cases first to last - 1 of this batch. */
static void native_main(uint64_t base, unsigned first, unsigned last)
{
	int fd = memfd_create("oracle", MFD_CLOEXEC | 0x10);
	uint8_t *code, *data, *page[DATA_PAGES];

	if (fd < 0)
		fd = memfd_create("oracle", MFD_CLOEXEC);
	assert(fd >= 0 && !ftruncate(fd, (CODE_PAGES + DATA_PAGES) * PAGE));
	code = fd_map(fd, 0, CODE_PAGES * PAGE, PROT_READ | PROT_WRITE, 0);
	data = fd_map(fd, CODE_PAGES * PAGE, DATA_PAGES * PAGE, PROT_READ | PROT_WRITE, 0);
	fd_map(fd, 0, CODE_PAGES * PAGE, PROT_READ | PROT_EXEC, CODE_VA);
	memset(code, 0xcc, CODE_PAGES * PAGE);
	for (unsigned i = 0; i < DATA_PAGES; i++) {
		page[i] = data + i * PAGE;
		if (i != DATA_HOLE) {
			uint64_t va = DATA_VA + i * PAGE;

			fd_map(fd, (CODE_PAGES + i) * PAGE, PAGE, PROT_READ | (i == DATA_RO ? 0 : PROT_WRITE), va);
			*(volatile uint8_t *)(uintptr_t)va; /* no "not present" for pages that are */
		}
	}
	for (unsigned i = 0; i < CODE_PAGES; i++)
		*(volatile uint8_t *)(uintptr_t)(CODE_VA + i * PAGE);
	/* as in the virtual machine; for 32-bit code they must not be null */
	__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0x2b));
	assert(!syscall(SYS_arch_prctl, ARCH_SET_GS, GS_BASE));
	native_init();
	/* should a case loop for ever, it is left out; processor time, which a busy host does not change */
	assert(!setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_usec = 400000}, NULL));

	for (unsigned k = first; k < last; k++) {
		struct result *r = &sh->r[k];
		struct oracle_case c;
		unsigned off, len;

		sh->at = k;
		case_make(&c, seed, base + k, &opts);
		case_fill(&c, pool, page);
		/* stores from writable to other mappings of a page need no help; make dirty what will be written */
		for (unsigned i = 0; i < DATA_PAGES; i++)
			if (i != DATA_HOLE && i != DATA_RO)
				*(volatile uint8_t *)(uintptr_t)(DATA_VA + i * PAGE) = page[i][0];
		off = (unsigned)(c.in.rip - CODE_VA);
		len = c.len < CODE_PAGES * PAGE - off ? c.len : CODE_PAGES * PAGE - off;
		memcpy(code + off, c.code, len);
		r->out = c.in;
		/* what a POPF of an earlier case left behind, which a signal's return does not restore */
		__asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andl %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
				 : : "i"(~(X86_NT | X86_ID)) : "memory", "cc");
		native_run(&r->out, &r->exit);
		memset(code + off, 0xcc, len);
		memcpy(r->data, data, sizeof r->data);
		r->done = true;
	}
	_exit(0);
}

static void show_bytes(const char *what, const uint8_t *p, unsigned n)
{
	printf("%s", what);
	for (unsigned i = 0; i < n; i++)
		printf("%s%02x", i && i % 16 == 0 ? "\n              " : " ", p[i]);
	printf("\n");
}

static void show_case(const struct oracle_case *c, uint64_t n)
{
	printf("MISMATCH seed %#" PRIx64 " case %" PRIu64 ", %s\n", seed, n, c->mode32 ? "32-bit" : "64-bit");
	for (unsigned i = 0, o = 0; i < c->ninsns; o += c->insn[i++].len) {
#ifdef HAVE_ZYDIS
		ZydisDisassembledInstruction z;

		if (ZYAN_SUCCESS(ZydisDisassembleIntel(c->mode32 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32
								  : ZYDIS_MACHINE_MODE_LONG_64,
			    c->in.rip + o, c->code + o, sizeof c->code - o, &z)))
			printf("  %s\n", z.text);
#endif
		printf("  %#" PRIx64 " %s", c->in.rip + o, x86_op_name(c->insn[i].op));
		show_bytes(":", c->code + o, c->insn[i].len);
	}
}

/* Fills sh->r[0 .. n-1]; returns how many cases killed the child. */
static unsigned native_batch(uint64_t base, unsigned n)
{
	unsigned first = 0, died = 0;

	for (unsigned k = 0; k < n; k++)
		sh->r[k].done = false;
	while (first < n) {
		pid_t pid;
		int status;

		fflush(stdout);
		sh->at = first;
		pid = fork();
		assert(pid >= 0);
		if (!pid)
			native_main(base, first, n);
		assert(waitpid(pid, &status, 0) == pid);
		if (WIFEXITED(status) && !WEXITSTATUS(status))
			break;
		if (verbose)
		{
			struct oracle_case c;

			case_make(&c, seed, base + sh->at, &opts);
			printf("case %" PRIu64 " killed the child: status %#x\n", base + sh->at, (unsigned)status);
			show_case(&c, base + sh->at);
		}
		died++;
		first = sh->at + 1;
	}
	return died;
}

/* ---- the virtual machine ---- */

enum { /* guest physical */
	G_PML4 = 0x1000, G_PDPT_LOW = 0x2000, G_PD_LOW = 0x3000, G_PT_CODE = 0x4000, G_PT_DATA = 0x5000,
	G_PDPT_HIGH = 0x6000, G_PD_HIGH = 0x7000, G_IDT = 0x8000, G_GDT = 0x9000, G_TSS = 0xa000,
	G_STUBS = 0xb000, G_STACK_TOP = 0xe000, G_CODE = 0x20000, G_DATA = 0x40000, G_STRIDE = 0x3000,
	G_SIZE = 2 << 20,
};
#define KERNEL_VA 0xffff800000000000ull

enum { PTE_P = 1, PTE_W = 2, PTE_U = 4, PTE_PS = 0x80 };
#define PTE_NX (1ull << 63)

static struct {
	const struct cpu_engine *e;
	struct mem mem;
	struct x86_cpuid cpuid;
	struct engine_vm *vm;
	struct engine_cpu *cpu;
	struct x86_state base;
	uint8_t *ram, *page[DATA_PAGES];
} g;

static uint64_t host_read(void *m, unsigned cpu, bool io, uint64_t addr, unsigned len)
{
	(void)m, (void)cpu, (void)io, (void)addr, (void)len;
	return ~0ull;
}

static void host_write(void *m, unsigned cpu, bool io, uint64_t addr, uint64_t v, unsigned len)
{
	(void)m, (void)cpu, (void)io, (void)addr, (void)v, (void)len;
}

static int host_intack(void *m, unsigned cpu)
{
	(void)m, (void)cpu;
	return -1;
}

static enum cpu_msr host_rdmsr(void *m, unsigned cpu, uint32_t msr, uint64_t *v)
{
	(void)m, (void)cpu, (void)msr, (void)v;
	return CPU_MSR_UNKNOWN;
}

static enum cpu_msr host_wrmsr(void *m, unsigned cpu, uint32_t msr, uint64_t v)
{
	(void)m, (void)cpu, (void)msr, (void)v;
	return CPU_MSR_UNKNOWN;
}

static uint64_t host_cr8(void *m, unsigned cpu)
{
	(void)m, (void)cpu;
	return 0;
}

static void host_set_cr8(void *m, unsigned cpu, uint64_t v)
{
	(void)m, (void)cpu, (void)v;
}

static void host_eoi(void *m, unsigned vector)
{
	(void)m, (void)vector;
}

static const struct cpu_host host = {host_read, host_write, host_intack, host_rdmsr, host_wrmsr, host_cr8,
	host_set_cr8, host_eoi, NULL};

static void pte(unsigned table, unsigned index, uint64_t v)
{
	put_u64(g.ram + table + 8 * index, v);
}

static void vm_tables(void)
{
	static const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cffb000000ffff,
		0x00cff3000000ffff, 0x00affb000000ffff};

	pte(G_PML4, 0, G_PDPT_LOW | PTE_P | PTE_W | PTE_U);
	pte(G_PDPT_LOW, 0, G_PD_LOW | PTE_P | PTE_W | PTE_U);
	pte(G_PD_LOW, CODE_VA >> 21 & 511, G_PT_CODE | PTE_P | PTE_W | PTE_U);
	pte(G_PD_LOW, DATA_VA >> 21 & 511, G_PT_DATA | PTE_P | PTE_W | PTE_U);
	for (unsigned i = 0; i < CODE_PAGES; i++)
		pte(G_PT_CODE, i, (G_CODE + i * G_STRIDE) | PTE_P | PTE_U);
	for (unsigned i = 0; i < DATA_PAGES; i++) {
		g.page[i] = g.ram + G_DATA + i * G_STRIDE;
		if (i != DATA_HOLE)
			pte(G_PT_DATA, i, (uint64_t)(G_DATA + i * G_STRIDE) | PTE_P | PTE_U |
				(i == DATA_RO ? 0 : PTE_W) | PTE_NX);
	}
	pte(G_PML4, KERNEL_VA >> 39 & 511, G_PDPT_HIGH | PTE_P | PTE_W);
	pte(G_PDPT_HIGH, 0, G_PD_HIGH | PTE_P | PTE_W);
	pte(G_PD_HIGH, 0, 0 | PTE_P | PTE_W | PTE_PS);

	memcpy(g.ram + G_GDT, gdt, sizeof gdt);
	for (unsigned v = 0; v < 32; v++) {
		uint64_t stub = KERNEL_VA + G_STUBS + 16 * v, dpl = v == X86_BP || v == X86_OFV ? 3 : 0;

		g.ram[G_STUBS + 16 * v] = 0xf4;
		put_u64(g.ram + G_IDT + 16 * v, (stub & 0xffff) | 0x10 << 16 | (0x8e00 | dpl << 13) << 32 |
			(stub >> 16 & 0xffff) << 48);
		put_u64(g.ram + G_IDT + 16 * v + 8, stub >> 32);
	}
	put_u64(g.ram + G_TSS + 4, KERNEL_VA + G_STACK_TOP);
	put_u16(g.ram + G_TSS + 102, 0x68); /* no I/O permission map */
	for (unsigned i = 0; i < CODE_PAGES; i++)
		memset(g.ram + G_CODE + i * G_STRIDE, 0xcc, PAGE);
}

static void vm_base_state(struct x86_state *s)
{
	const struct x86_seg data = {0, 0xffffffff, 0x2b, 0xc0f3};

	x86_reset(s, 0);
	s->cr0 = X86_CR0_PE | X86_CR0_MP | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_PG;
	s->cr3 = G_PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_PGE | X86_CR4_OSFXSR | X86_CR4_OSXMMEXCPT;
	s->xcr0 = 1;
	if (g.cpuid.xsave) {
		s->cr4 |= X86_CR4_OSXSAVE;
		s->xcr0 = g.cpuid.xcr0_mask & 7;
	}
	s->efer = X86_EFER_SCE | X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	s->seg[X86_DS] = s->seg[X86_ES] = s->seg[X86_SS] = data;
	s->seg[X86_FS] = (struct x86_seg){.sel = 0};
	s->seg[X86_GS] = (struct x86_seg){.sel = 0, .base = GS_BASE};
	s->ldt = (struct x86_seg){.attr = X86_SEG_P | 2};
	s->tr = (struct x86_seg){KERNEL_VA + G_TSS, 0x67, 0x40, X86_SEG_P | 0xb};
	s->gdt = (struct x86_table){KERNEL_VA + G_GDT, 7 * 8 - 1};
	s->idt = (struct x86_table){KERNEL_VA + G_IDT, 32 * 16 - 1};
	s->mp = X86_MP_RUN;
}

static int vm_init(const struct cpu_engine *e)
{
	struct err err;

	g.e = e;
	if (x86_cpuid_init(&g.cpuid, NULL, 1, x86_host_tsc_khz(), &err) || mem_init(&g.mem, G_SIZE, &err) ||
	    e->vm_new(&g.vm, &g.mem, &g.cpuid, &host, &err) || e->cpu_new(&g.cpu, g.vm, 0, &err)) {
		printf("%s: %s\n", e->name, err.text);
		return -1;
	}
	g.ram = mem_at(&g.mem, 0, G_SIZE);
	assert(g.ram);
	vm_tables();
	vm_base_state(&g.base);
	return 0;
}

static void code_put(const struct oracle_case *c, bool put)
{
	for (unsigned k = 0; k < c->len; k++) {
		uint64_t off = c->in.rip + k - CODE_VA;

		if (off < CODE_PAGES * PAGE)
			g.ram[G_CODE + off / PAGE * G_STRIDE + off % PAGE] = put ? c->code[k] : 0xcc;
	}
	if (put)
		return;
	for (unsigned i = 0; i < CODE_PAGES; i++)
		g.e->code_changed(g.vm, G_CODE + i * G_STRIDE, PAGE);
}

static bool has_error_code(unsigned v)
{
	return v == X86_DF_EXC || (v >= X86_TS && v <= X86_PF_EXC) || v == X86_AC_EXC;
}

/* Runs the case; what came of it in *s and *x. False when the engine did something else. */
static bool vm_run(const struct oracle_case *c, struct x86_state *s, struct native_exit *x)
{
	enum cpu_stop stop;
	const uint8_t *frame;
	uint64_t at, rsp;
	struct err e;

	*s = g.base;
	memcpy(s->gpr, c->in.gpr, sizeof s->gpr);
	s->rip = c->in.rip;
	s->rflags = c->in.rflags;
	s->fpu = c->in.fpu;
	s->seg[X86_CS] = (struct x86_seg){0, 0xffffffff, c->in.seg[X86_CS].sel, c->mode32 ? 0xc0fb : 0xa0fb};
	case_fill(c, pool, g.page);
	if (g.e->set(g.cpu, s, &e)) {
		printf("set: %s\n", e.text);
		return false;
	}
	stop = g.e->run(g.cpu);
	g.e->get(g.cpu, s);
	at = s->rip - KERNEL_VA - G_STUBS;
	if (stop != CPU_HALTED || at >= 32 * 16 || at % 16 != 1) {
		printf("engine stopped with %d at %#" PRIx64 " %s\n", (int)stop, s->rip,
			stop == CPU_FAILED ? g.e->error(g.cpu) : "");
		return false;
	}
	x->trap = (int)(at / 16);
	x->cr2 = x->trap == X86_PF_EXC ? s->cr2 : 0;
	rsp = s->gpr[X86_RSP] - KERNEL_VA;
	if (rsp >= G_STACK_TOP || rsp < G_STACK_TOP - 64) {
		printf("RSP is %#" PRIx64 " after exception %d\n", s->gpr[X86_RSP], x->trap);
		return false;
	}
	frame = g.ram + rsp;
	x->error = 0;
	if (has_error_code((unsigned)x->trap)) {
		x->error = get_u64(frame);
		frame += 8;
	}
	s->rip = get_u64(frame);
	s->rflags = get_u64(frame + 16);
	s->gpr[X86_RSP] = get_u64(frame + 24);
	return true;
}

/* ---- comparing ---- */

static unsigned failures, host_errors;
static bool shown; /* the case in question was printed */

static void differ(const struct oracle_case *c, uint64_t n)
{
	if (!shown) {
		show_case(c, n);
		if (times > 1)
			printf("  run %u of %u\n", time_now + 1, times);
	}
	if (!shown && verbose) {
		for (unsigned i = 0; i < 16; i++)
			printf("  r%-2u %016" PRIx64 "%s", i, c->in.gpr[i], i % 4 == 3 ? "\n" : "");
		printf("  rflags %" PRIx64 "\n", c->in.rflags);
	}
	shown = true;
}

static void compare_bytes(const struct oracle_case *c, uint64_t n, const char *what, unsigned k, const void *in,
	const void *want, const void *got, unsigned len)
{
	if (!memcmp(want, got, len))
		return;
	differ(c, n);
	printf("  %s %u\n", what, k);
	show_bytes("    before    ", in, len);
	show_bytes("    host      ", want, len);
	show_bytes("    engine    ", got, len);
}

static void compare_u64(const struct oracle_case *c, uint64_t n, const char *what, unsigned k, uint64_t in,
	uint64_t want, uint64_t got)
{
	if (want == got)
		return;
	differ(c, n);
	printf("  %s %u: before %016" PRIx64 " host %016" PRIx64 " engine %016" PRIx64 "\n", what, k, in, want,
		got);
}

/* CMPS reads two places, in an order of the CPU's own; so are the parts of large x87 operands. */
static bool vague_cr2(const struct oracle_case *c)
{
	for (unsigned i = 0; i < c->ninsns; i++)
		if (c->insn[i].op == X86_OP_CMPS || (c->insn[i].op == X86_OP_X87 && c->insn[i].memsize > 10))
			return true;
	return false;
}

/*
 * Is the outcome up to the CPU? Which elements or registers are done before a fault, masked elements at the
 * edge of a page, which of two reasons for a fault is found first.
 */
static bool vague(const struct oracle_case *c, int trap, int engine_trap)
{
	for (unsigned i = 0; i < c->ninsns; i++) {
		const struct x86_insn *in = &c->insn[i];

		switch (in->op) {
		case X86_OP_GATHER:
		case X86_OP_MASKMOV:
		case X86_OP_VMASKMOV:
			if (trap != X86_BP)
				return true;
			break;
		case X86_OP_POPA:
			if (trap == X86_PF_EXC)
				return true;
			break;
		case X86_OP_CALLIND: /* to a bad address with a bad stack */
			if ((trap == X86_PF_EXC || trap == X86_SS_EXC || trap == X86_AC_EXC) && engine_trap == X86_GP)
				return true;
			break;
		case X86_OP_ENTER:
			if (trap == X86_AC_EXC || engine_trap == X86_AC_EXC)
				return true;
			break;
		case X86_OP_CMPS: /* either of two operands */
			if (trap != engine_trap && trap != X86_BP && engine_trap != X86_BP)
				return true;
			break;
		}
		/* flags beside unmasked exceptions: run_fp() in engine/interp/vec.c */
		if (trap == X86_XM && in->attr & X86_A_FP)
			return true;
	}
	return false;
}

/* Flags that are not compared: undefined where the case ended, or dead at the fault that ended it. */
static uint16_t flags_vague(const struct oracle_case *c, int trap, uint64_t rip)
{
	int k = case_insn_at(c, rip);
	uint16_t m;

	if (k < 0) /* in the middle of an instruction, led there by a changed return address: dead or not, who knows */
		return translates ? (uint16_t)X86_ARITH : c->undef;
	m = c->undef_at[k];
	if (translates && trap != X86_DB && trap != X86_BP && trap != X86_OFV)
		m |= (uint16_t)(X86_ARITH & ~c->live_at[k]);
	return m;
}

/*
 * A changed return address may lead back: then flags that DIV left undefined may be read, which nobody knew when
 * the case was made. A translator need not leave there what the host does.
 */
static bool strayed(const struct oracle_case *c, const struct result *r)
{
	bool div = false, ret = false;

	for (unsigned i = 0; i < c->ninsns; i++) {
		div |= c->insn[i].op == X86_OP_DIV || c->insn[i].op == X86_OP_IDIV;
		ret |= c->insn[i].op == X86_OP_RET;
	}
	return translates && div && ret && r->out.rip - c->in.rip > c->len + 1u;
}

/* INT1 in the middle of another instruction: a host that is a virtual machine itself may not step over it. */
static bool int1_quirk(const struct oracle_case *c, const struct result *r, const struct x86_state *s)
{
	uint64_t off = r->out.rip - c->in.rip;

	return r->exit.trap == X86_DB && off < c->len && c->code[off] == 0xf1 && s->rip == r->out.rip + 1;
}

/* AMD's CPUs know bit 17 of MXCSR (misaligned accesses); the guest's, by its MXCSR_MASK, does not. */
static bool mxcsr_misaligned(const struct oracle_case *c, const struct result *r, const struct x86_state *s, int trap)
{
	uint64_t rip = c->in.rip;

	if (trap != X86_GP || r->exit.trap == X86_GP)
		return false;
	for (unsigned i = 0; i < c->ninsns; rip += c->insn[i++].len)
		if (rip == s->rip)
			return c->insn[i].op == X86_OP_LDMXCSR;
	return false;
}

static bool compare(const struct oracle_case *c, uint64_t n, const struct result *r, const struct x86_state *s,
	const struct native_exit *x)
{
	static uint8_t before[DATA_PAGES * PAGE];
	uint8_t *page[DATA_PAGES];
	uint64_t mask = c->mode32 ? 0xffffffff : ~0ull;
	bool fp_only = false;

	shown = false;
	/* a sanitizer's tables are mapped natively where the guest has nothing */
	if (SANITIZED && x->trap == X86_PF_EXC && x->cr2 >= 0x7fff0000)
		return true;
	/* an operand that goes on at address 0 is beyond the segment's limit for some CPUs */
	if (c->mode32 && r->exit.trap == X86_PF_EXC && (x->trap == X86_GP || x->trap == X86_SS_EXC) &&
	    (uint32_t)(r->exit.cr2 + 128) < 256)
		return true;
	if (strayed(c, r) || int1_quirk(c, r, s) || mxcsr_misaligned(c, r, s, x->trap))
		return true;
	if (vague(c, r->exit.trap, x->trap)) {
		if (r->exit.trap != X86_XM)
			return true;
		fp_only = true;
	}
	compare_u64(c, n, "exception", 0, 0, (uint64_t)r->exit.trap, (uint64_t)x->trap);
	if (r->exit.cr2 < 0x7ffffffff000) {
		if (has_error_code((unsigned)x->trap))
			compare_u64(c, n, "error code", 0, 0, r->exit.error, x->error);
		if (!vague_cr2(c))
			compare_u64(c, n, "cr2", 0, 0, r->exit.cr2, x->cr2);
	}
	for (unsigned i = 0; i < (c->mode32 ? 8 : 16); i++)
		compare_u64(c, n, "gpr", i, c->in.gpr[i], r->out.gpr[i] & mask, s->gpr[i] & mask);
	compare_u64(c, n, "rip", 0, c->in.rip, r->out.rip, s->rip);
	mask = FL_COMPARED & ~(uint64_t)flags_vague(c, r->exit.trap, r->out.rip);
	compare_u64(c, n, "rflags", 0, c->in.rflags & mask, r->out.rflags & mask, s->rflags & mask);
	for (unsigned i = 0; i < 16; i++)
		compare_bytes(c, n, "ymm", i, c->in.fpu.ymm[i], r->out.fpu.ymm[i], s->fpu.ymm[i], 32);
	for (unsigned i = 0; i < 8; i++)
		compare_bytes(c, n, "st", i, c->in.fpu.st[i], r->out.fpu.st[i], s->fpu.st[i], 10);
	if (!fp_only)
		compare_u64(c, n, "mxcsr", 0, c->in.fpu.mxcsr, r->out.fpu.mxcsr, s->fpu.mxcsr);
	compare_u64(c, n, "fcw", 0, c->in.fpu.fcw, r->out.fpu.fcw, s->fpu.fcw);
	compare_u64(c, n, "fsw", 0, c->in.fpu.fsw, r->out.fpu.fsw, s->fpu.fsw);
	compare_u64(c, n, "ftw", 0, c->in.fpu.ftw, r->out.fpu.ftw, s->fpu.ftw);

	for (unsigned i = 0; i < DATA_PAGES; i++)
		if (i != DATA_HOLE && memcmp(r->data + i * PAGE, g.page[i], PAGE)) {
			for (unsigned k = 0; k < DATA_PAGES; k++)
				page[k] = before + k * PAGE;
			case_fill(c, pool, page);
			for (unsigned o = 0; o < PAGE; o += 16)
				compare_bytes(c, n, "data at", i * PAGE + o, page[i] + o, r->data + i * PAGE + o,
					g.page[i] + o, 16);
		}
	if (shown && x->trap == r->exit.trap)
		printf("  exception on both: %d at %#" PRIx64 ", error code %" PRIx64 "\n", x->trap, s->rip, x->error);
	failures += shown;
	return !shown;
}

static uint64_t case_running;

static void hung(int sig)
{
	static const char text[] = "\noracle: the engine does not come back; case in the next line\n";
	char num[32];
	int n = snprintf(num, sizeof num, "%llu\n", (unsigned long long)case_running);

	(void)sig;
	if (write(1, text, sizeof text - 1) > 0 && write(1, num, (size_t)n) > 0)
		_exit(3);
	_exit(4);
}

/* One case, as often as was asked for; *trap is the exception it ended with. */
static void case_check(uint64_t n, const struct result *r, struct oracle_case *c, int *trap)
{
	struct x86_state s;
	struct native_exit x;

	case_make(c, seed, n, &opts);
	for (unsigned i = 0; i < c->ninsns; i++)
		if (left_out[c->insn[i].op])
			return;
	code_put(c, true);
	for (time_now = 0; time_now < times; time_now++) {
		if (!vm_run(c, &s, &x)) {
			shown = false;
			differ(c, n);
			failures++;
			break;
		}
		*trap = x.trap;
		if (!compare(c, n, r, &s, &x))
			break;
	}
	code_put(c, false);
}

/*
 * About one case in some millions differs because the host has erred: nested virtualization now and then emulates an
 * instruction, and not always well. So a case that differs is run natively once more, alone. It counts only if the host
 * says the same again, and that still differs.
 */
static void case_again(uint64_t base, unsigned k)
{
	static struct result first, once;
	const struct result *now = &sh->r[0];
	struct oracle_case c;
	int trap;

	first = sh->r[0];
	once = sh->r[k];
	native_batch(base + k, 1);
	if (now->done) {
		unsigned before = --failures;

		if (memcmp(now->out.gpr, once.out.gpr, 16 * sizeof now->out.gpr[0]) ||
		    memcmp(&now->out.fpu, &once.out.fpu, sizeof now->out.fpu) ||
		    memcmp(now->data, once.data, sizeof now->data)) {
			printf("  once more the host says something else: not counted\n");
			host_errors++;
		} else {
			case_check(base + k, now, &c, &trap);
			if (failures == before) {
				printf("  alone the host agrees with the engine: not counted\n");
				host_errors++;
			}
		}
	}
	sh->r[0] = first;
}

int main(int argc, char **argv)
{
	static unsigned long by_op[X86_OP_COUNT], by_trap[32];
	const struct cpu_engine *e;
	uint64_t cases = 100000, first = 0, t0, t_native = 0, t_engine = 0, ran = 0;
	unsigned died = 0, percent = 40;
	int opt;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((opt = getopt(argc, argv, "+vn:s:x:")) != -1)
		switch (opt) {
		case 'v':
			verbose = true;
			break;
		case 'n':
			times = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 's':
			percent = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'x':
			for (unsigned i = 0; i < X86_OP_COUNT; i++)
				if (!strcmp(x86_op_name(i), optarg))
					left_out[i] = true;
			break;
		default:
			fprintf(stderr, "usage: oracle [-v] [-n TIMES] [-s PERCENT] [-x NAME]... [ENGINE [CASES [SEED [FIRST]]]]\n");
			return 2;
		}
	argv += optind - 1, argc -= optind - 1;
	e = engine_find(argc > 1 ? argv[1] : "interp");
	if (!e) {
		printf("no engine %s\n", argv[1]);
		return 77;
	}
	translates = strcmp(e->name, "interp") != 0;
	if (!times)
		times = translates ? HOT_TIMES : 1;
	if (argc > 2)
		cases = strtoull(argv[2], NULL, 0);
	seed = argc > 3 ? strtoull(argv[3], NULL, 0) : (now_ns() ^ (uint64_t)getpid() << 32) & 0xffffffff;
	if (argc > 4)
		first = strtoull(argv[4], NULL, 0);
	printf("seed %#" PRIx64 ", engine %s, cases %" PRIu64 " to %" PRIu64 "\n", seed, e->name, first,
		first + cases - 1);

	if (vm_init(e))
		return 77;
	/* sanitizers keep their tables where stray pointers of the guest would go natively */
	opts = (struct oracle_opts){
		.avx = native_has_avx() && g.cpuid.avx, .wild = !SANITIZED, .mode32 = !SANITIZED,
		.sequences = percent};
	case_pool(pool, seed);
	sh = mmap(NULL, sizeof *sh, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(sh != MAP_FAILED);
	signal(SIGALRM, hung);

	for (uint64_t base = first; base < first + cases && failures < 20; base += BATCH) {
		unsigned n = (unsigned)min_u64(BATCH, first + cases - base);

		t0 = now_ns();
		died += native_batch(base, n);
		t_native += now_ns() - t0;
		t0 = now_ns();
		for (unsigned k = 0; k < n && failures < 20; k++) {
			struct oracle_case c;
			unsigned before;
			int trap = 0;

			if (!sh->r[k].done)
				continue;
			case_running = base + k;
			if (!(k & 63))
				alarm(20);
			before = failures;
			case_check(base + k, &sh->r[k], &c, &trap);
			if (failures > before)
				case_again(base, k);
			ran++;
			for (unsigned j = 0; j < c.ninsns; j++)
				by_op[c.insn[j].op]++;
			by_trap[trap & 31]++;
		}
		alarm(0);
		t_engine += now_ns() - t0;
	}
	if (verbose) {
		for (unsigned i = 0; i < X86_OP_COUNT; i++)
			if (by_op[i])
				printf("%8lu %s\n", by_op[i], x86_op_name(i));
		for (unsigned i = 0; i < 32; i++)
			if (by_trap[i])
				printf("%8lu cases ended with exception %u\n", by_trap[i], i);
	}
	printf("%" PRIu64 " cases compared, %u mismatches, %u cases killed the native child\n", ran, failures, died);
	printf("host %.1f s, engine %.1f s, %.0f cases per second\n", (double)t_native / 1e9, (double)t_engine / 1e9,
		(double)ran * 1e9 / (double)(t_native + t_engine + 1));
	g.e->cpu_free(g.cpu);
	g.e->vm_free(g.vm);
	mem_fini(&g.mem);
	/* a host that errs often is no oracle */
	return failures || host_errors > 1 + cases / 200000 || ran < cases / 100 * 99;
}
