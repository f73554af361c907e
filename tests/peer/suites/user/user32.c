// SPDX-License-Identifier: MIT
/*
 * A 32-bit process: freestanding, so that a compiler without a 32-bit C library builds it. What 64-bit mode
 * does not have: decimal adjustment, BOUND, INTO, PUSHA, far pointers, 16-bit addresses, the kernel's 32-bit entry
 * (__kernel_vsyscall: SYSENTER or SYSCALL, by the CPU), signals on 32-bit frames, a far jump into 64-bit code.
 * Lines as user's; the exit code is 1 if a test failed.
 */
#include <stddef.h>
#include <stdint.h>

#define SYS_EXIT 1
#define SYS_WRITE 4
#define SYS_GETPID 20
#define SYS_SIGACTION 174
#define SYS_SET_THREAD_AREA 243
#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGFPE 8
#define SIGSEGV 11

static uint32_t vsyscall; /* __kernel_vsyscall, by the auxiliary vector */
static unsigned passed, failed;

static int int80(int nr, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
	int ret;

	__asm__ volatile("int $0x80" : "=a"(ret) : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return ret;
}

static void say(const char *s)
{
	uint32_t n = 0;

	while (s[n])
		n++;
	int80(SYS_WRITE, 1, (uint32_t)s, n, 0);
}

static void say_hex(uint32_t v)
{
	char s[12] = "0x";

	for (int i = 0; i < 8; i++)
		s[2 + i] = "0123456789abcdef"[v >> (28 - 4 * i) & 15];
	say(s);
}

static void check(const char *what, uint32_t got, uint32_t want)
{
	if (got == want) {
		passed++;
		return;
	}
	failed++;
	say("FAIL 32-");
	say(what);
	say(": ");
	say_hex(got);
	say(", expected ");
	say_hex(want);
	say("\n");
}

/* The signal frame of the i386 ABI: struct sigcontext_32 inside ucontext. */
struct context32 {
	uint16_t gs, pad0, fs, pad1, es, pad2, ds, pad3;
	uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax, trapno, err, eip;
	uint16_t cs, pad4;
	uint32_t eflags, esp_at_signal;
	uint16_t ss, pad5;
};

static struct {
	uint32_t sig, code, addr, eip, trapno, err, eax, resume;
} fault;

void on_fault(uint32_t sig, const uint32_t *info, uint8_t *ucontext);
void on_fault(uint32_t sig, const uint32_t *info, uint8_t *ucontext)
{
	struct context32 *c = (struct context32 *)(void *)(ucontext + 20); /* flags, link, stack */

	fault.sig = sig;
	fault.code = info[2];
	fault.addr = info[3];
	fault.eip = c->eip;
	fault.trapno = c->trapno;
	fault.err = c->err;
	fault.eax = c->eax;
	c->eip = fault.resume;
	c->eflags &= ~0x400u;
}

/* The handler's ends: the C function gets its arguments on the stack already; return by rt_sigreturn. */
__asm__(".text\nrestorer: mov $173, %eax; int $0x80\n");
extern const char restorer[];

static void catch(uint32_t sig)
{
	const struct {
		void (*handler)(uint32_t, const uint32_t *, uint8_t *);
		uint32_t flags;
		const char *restorer;
		uint32_t mask[2];
	} act = {on_fault, 4 | 0x04000000, restorer, {0, 0}}; /* SA_SIGINFO | SA_RESTORER */

	int80(SYS_SIGACTION, sig, (uint32_t)&act, 0, 8);
}

/* Runs asm text whose instruction at label 1 faults (or ends at 1 for traps), and goes on at label 2. */
#define FAULT(text, in) \
	do { \
		fault.sig = 0; \
		__asm__ volatile("push %%ebx; push %%ebp; movl $2f, %0; movl $1f, %1;" text "; 2: pop %%ebp; pop %%ebx" \
				 : "=m"(fault.resume), "=m"(want_eip) \
				 : "S"(in) \
				 : "eax", "ecx", "edx", "edi", "memory", "cc"); \
	} while (0)

static uint32_t want_eip;

static void check_fault(const char *what, uint32_t sig, uint32_t code, uint32_t addr, uint32_t trapno, uint32_t err)
{
	uint32_t before = failed;

	check("signal", fault.sig, sig);
	check("si_code", fault.code, code);
	check("si_addr", fault.addr, addr);
	check("eip", fault.eip, want_eip);
	check("vector", fault.trapno, trapno);
	check("error code", fault.err, err);
	if (failed != before) {
		say("  (these were of ");
		say(what);
		say(")\n");
	}
}

static void test_decimal(void)
{
	uint32_t r, f;

#define DECIMAL(insn, eax, flags) \
	__asm__ volatile("push %2; popf; " insn "; pushf; pop %1; and $0xd5, %1" : "=a"(r), "=&c"(f) : "r"(0x202 | (flags)), "0"(eax) : "cc")
	DECIMAL("daa", 0x9a, 0);
	check("daa", r | f << 16, 0x00 | 0x55 << 16); /* 00, CF PF AF ZF */
	DECIMAL("daa", 0x7b, 0);
	check("daa", r | (f & 0x95) << 16, 0x81 | 0x94 << 16);
	DECIMAL("das", 0x35, 0x11);
	check("das", r | f << 16, 0xcf | 0x95 << 16);
	DECIMAL("aaa", 0x020f, 0);
	check("aaa", r | (f & 0x11) << 16, 0x0305 | 0x11 << 16);
	DECIMAL("aas", 0x0205, 0x10);
	check("aas", r | (f & 0x11) << 16, 0x000f | 0x11 << 16);
	DECIMAL("aam", 0x00f7, 0);
	check("aam", r | (f & 0xc4) << 16, 0x1807 | 0 << 16);
	DECIMAL("aad", 0x0509, 0);
	check("aad", r | (f & 0xc4) << 16, 0x003b | 0 << 16);
	DECIMAL(".byte 0xd4, 16", 0x00f7, 0);
	check("aam 16", r, 0x0f07);
	DECIMAL("stc; .byte 0xd6", 0x1200, 0);
	check("salc", r, 0x12ff);
	FAULT("mov $5, %%eax; 1: .byte 0xd4, 0", 0);
	check_fault("aam 0", SIGFPE, 1, want_eip, 0, 0);
}

static void test_faults(void)
{
	static const int32_t bounds[2] = {-5, 10};

	FAULT("mov $10, %%eax; bound %%eax, (%%esi); mov $11, %%eax; 1: bound %%eax, (%%esi)", bounds);
	check_fault("bound", SIGSEGV, 0x80, 0, 5, 0);
	FAULT("mov $0x7fffffff, %%eax; inc %%eax; into; 1: nop", 0);
	check_fault("into", SIGSEGV, 0x80, 0, 4, 0);
	FAULT("1: ud2", 0);
	check_fault("ud2", SIGILL, 2, want_eip, 6, 0);
	FAULT("int3; 1: nop", 0);
	check_fault("int3", SIGTRAP, 0x80, 0, 3, 0);
	FAULT("1: movl $1, 0x10", 0);
	check_fault("null", SIGSEGV, 1, 0x10, 14, 6);
	FAULT("xor %%eax, %%eax; 1: mov -4(%%eax), %%ecx", 0); /* the last four bytes of 4 GiB */
	check_fault("top", SIGSEGV, 1, 0xfffffffc, 14, 4);
	FAULT("xor %%edx, %%edx; mov $1, %%eax; 1: divl %%ss:bounds_zero", 0);
	check_fault("div", SIGFPE, 1, want_eip, 0, 0);
	FAULT("mov $0x58, %%eax; 1: mov %%eax, %%gs", 0);
	check_fault("selector", SIGSEGV, 0x80, 0, 13, 0x58);
}
__asm__(".data\nbounds_zero: .long 0\n.text\n");

static void test_stack(void)
{
	uint32_t a, b, c;

	__asm__ volatile("mov %%esp, %1; mov $0x11, %%eax; push %%eax; pusha; mov 28(%%esp), %0; movl $0x77, 28(%%esp); popa; mov %%eax, "
			 "%2; add $4, %%esp; sub %%esp, %1"
			 : "=&S"(a), "=&D"(b), "=&d"(c)
			 :
			 : "eax", "memory", "cc");
	/* popa restores ESI and EDI, which hold the results of before: only EAX counts */
	check("popa", c & 0xff, 0x77);
	__asm__ volatile("pushl $0x12345678; pushw $0x9abc; popw %%ax; popl %0; movzwl %%ax, %1" : "=&r"(a), "=&r"(b)::"eax", "memory");
	check("push", a, 0x12345678);
	check("push of 16 bits", b, 0x9abc);
	__asm__ volatile("push %%ebp; mov %%esp, %%ebp; mov %%esp, %%ecx; enter $24, $3; mov %%ecx, %0; sub %%esp, %0; leave; pop %%ebp" : "=r"(a)::"ecx", "memory");
	check("enter", a, 4 + 3 * 4 + 24);
	__asm__ volatile("push %%cs; push $1f; lret; ud2; 1: pushl %%ds; popl %0" : "=r"(a)::"memory");
	check("ds", a & 0xffff, 0x2b);
	__asm__ volatile("lcall $0x23, $1f; jmp 2f; 1: mov (%%esp), %0; mov 4(%%esp), %1; lret; 2: nop" : "=&r"(a), "=&r"(b)::"memory");
	check("far call pushes CS", b & 0xffff, 0x23);
	__asm__ volatile("pushf; popl %0; movl $0x246ad7, %1; push %1; popf; pushf; pop %1; push %0; popf" : "=&r"(a), "=&r"(c)::"memory", "cc");
	check("flags by popf", c & 0x240cd5, 0x2408d5 & 0x240cd5);
	__asm__ volatile("pushfw; popw %%ax; movzwl %%ax, %0" : "=r"(a)::"eax", "memory");
	check("pushfw", a & 2, 2);
}

static void test_addresses(void)
{
	static struct {
		uint32_t off;
		uint16_t sel;
	} __attribute__((packed)) far;
	static uint32_t data;
	uint32_t a, b;

	__asm__ volatile("mov $0xffff1234, %%ebx; mov $0xffff0010, %%esi; .byte 0x67; lea 2(%%bx, %%si), %0" : "=r"(a)::"ebx", "esi");
	check("lea, 16-bit address", a, 0x1246);
	__asm__ volatile("mov $0xfff0, %%ebx; mov $0x20, %%edi; .byte 0x67; lea 0x7fff(%%bx, %%di), %0" : "=r"(a)::"ebx", "edi");
	check("lea, wrapped", a, 0x800f);
	__asm__ volatile("mov $0xf0000001, %%ecx; mov $0xf0000000, %%edx; lea 0x20000000(%%ecx, %%edx), %0" : "=r"(a)::"ecx", "edx");
	check("lea, 32 bits", a, 1);
	__asm__ volatile("xor %0, %0; mov $0x10003, %%ecx; 1: inc %0; .byte 0x67; loop 1b; mov %%ecx, %1" : "=&r"(a), "=&r"(b)::"ecx");
	check("loop by CX", a, 3);
	check("loop by CX leaves the rest", b, 0x10000);
	__asm__ volatile("mov $0x50000, %%ecx; xor %0, %0; .byte 0x67; jecxz 1f; inc %0; 1:" : "=&r"(a)::"ecx");
	check("jcxz", a, 0);
	far.off = 0x89abcdef;
	__asm__ volatile("mov %%ds, %%eax; mov %%ax, 4+%1; les %1, %0; push %%ds; pop %%es" : "=r"(a), "+m"(far)::"eax");
	check("les", a, 0x89abcdef);
	/* an effective address that wraps at 4 GiB */
	data = 0x31415926;
	__asm__ volatile("lea -0x70000000(%1), %%ecx; mov 0x70000000(%%ecx), %0" : "=r"(a) : "r"(&data) : "ecx", "memory");
	check("wrap at 4 GiB", a, 0x31415926);
	__asm__ volatile("mov $0xfffffff0, %%ecx; mov 0x10(%%ecx, %1), %0" : "=&r"(a) : "r"(&data) : "ecx", "memory");
	check("wrap at 4 GiB, two registers", a, 0x31415926);
	/* 16-bit operands leave the upper half */
	__asm__ volatile("mov $0x11112222, %%eax; movw $0x3333, %%ax; incw %%ax; xchgw %%ax, %%cx; xchgw %%ax, %%cx; mov %%eax, %0" : "=r"(a)::"eax", "ecx");
	check("16-bit operands", a, 0x11113334);
	/* 40..4f are INC and DEC here */
	__asm__ volatile("mov $7, %%eax; .byte 0x40, 0x40, 0x48; stc; .byte 0x40; sbb %%ecx, %%ecx; mov %%eax, %0; mov %%ecx, %1" : "=r"(a), "=r"(b)::"eax", "ecx");
	check("inc", a, 9);
	check("inc leaves CF", b, ~0u);
}

static void test_segments(void)
{
	struct {
		uint32_t entry, base, limit, flags;
	} d = {~0u, 0, 15, 1 | 1 << 6}; /* 32-bit, usable; byte limit */
	static uint32_t data[8] = {1, 2, 3, 0x44332211, 5, 6, 7, 8};
	uint32_t a, sel;

	d.base = (uint32_t)data;
	check("set_thread_area", (uint32_t)int80(SYS_SET_THREAD_AREA, (uint32_t)&d, 0, 0, 0), 0);
	sel = d.entry << 3 | 3;
	__asm__ volatile("mov %1, %%gs; mov %%gs:12, %0" : "=&r"(a) : "r"(sel));
	check("gs:12", a, 0x44332211);
	FAULT("1: mov %%gs:13, %%eax", 0); /* its last byte is beyond the limit */
	check_fault("limit", SIGSEGV, 0x80, 0, 13, 0);
	FAULT("1: movb $1, %%gs:16", 0);
	check_fault("limit", SIGSEGV, 0x80, 0, 13, 0);
	__asm__ volatile("lsl %1, %0" : "=r"(a) : "r"(sel) : "cc");
	check("lsl", a, 15);
	__asm__ volatile("verw %%ax; setz %%al; movzbl %%al, %0" : "=r"(a) : "a"(0x23) : "cc");
	check("verw of a code segment", a, 0);
	__asm__ volatile("mov $0x20, %%ecx; mov $3, %%edx; arpl %%dx, %%cx; setz %%al; movzbl %%al, %%eax; shl $16, %%eax; mov %%cx, %%ax" : "=a"(a)::"ecx", "edx", "cc");
	check("arpl", a, 0x10023);
	/* a read-only segment, and one that expands down */
	d.flags = 1 | 1 << 3 | 1 << 6;
	int80(SYS_SET_THREAD_AREA, (uint32_t)&d, 0, 0, 0);
	__asm__ volatile("mov %1, %%gs; mov %%gs:0, %0" : "=&r"(a) : "r"(sel));
	check("read-only segment", a, 1);
	FAULT("1: movl $1, %%gs:0", 0);
	check_fault("read only", SIGSEGV, 0x80, 0, 13, 0);
	d.flags = 1 | 1 << 1 | 1 << 6; /* expand down: beyond the limit is inside */
	d.limit = 15;
	int80(SYS_SET_THREAD_AREA, (uint32_t)&d, 0, 0, 0);
	__asm__ volatile("mov %1, %%gs; mov %%gs:16, %0" : "=&r"(a) : "r"(sel));
	check("expand down", a, 5);
	FAULT("1: mov %%gs:12, %%eax", 0);
	check_fault("expand down", SIGSEGV, 0x80, 0, 13, 0);
	__asm__ volatile("mov %0, %%gs" ::"r"(0));
	FAULT("1: mov %%gs:0, %%eax", 0);
	check_fault("null selector", SIGSEGV, 0x80, 0, 13, 0);
}

/* Far into a 64-bit code segment and back. */
static void test_long(void)
{
	uint32_t lo, hi, cs;

	__asm__ volatile("mov $0x10, %%ecx; lcall $0x33, $1f; jmp 2f;"
			 "1: .byte 0x48, 0xb8; .quad 0x123456789abcdef0; .byte 0x48, 0x89, 0xc2; .byte 0x48, 0xc1, 0xea, 0x20;"
			 "mov %%cs, %%ecx; lret; 2: nop"
			 : "=a"(lo), "=d"(hi), "=c"(cs)
			 :
			 : "memory", "cc");
	check("64-bit code, low", lo, 0x9abcdef0);
	check("64-bit code, high", hi, 0x12345678);
	check("its CS", cs & 0xffff, 0x33);
}

static void test_entry(void)
{
	static uint32_t p; /* not on the stack, which moves */
	uint32_t pid = (uint32_t)int80(SYS_GETPID, 0, 0, 0, 0), r, b, s, d, c = 0;

	if (!vsyscall) {
		say("SKIP 32-entry no __kernel_vsyscall\n");
		return;
	}
	for (int i = 0; i < 500; i++) {
		__asm__ volatile("push %%ebp; mov $0x5b, %%ebp; call *%6; mov %%ebp, %5; pop %%ebp"
				 : "=a"(r), "=b"(b), "=S"(s), "=D"(d), "+c"(c), "=m"(p)
				 : "m"(vsyscall), "0"(SYS_GETPID), "1"(1), "2"(2), "3"(3), "d"(4)
				 : "memory", "cc");
		if (r != pid || b != 1 || s != 2 || d != 3 || p != 0x5b)
			break;
	}
	check("getpid", r, pid);
	check("ebx", b, 1);
	check("esi", s, 2);
	check("edi", d, 3);
	check("ebp", p, 0x5b);
}

/* Self-modifying code, and a loop through a page that is changed by its other instructions. */
static void test_code(void)
{
	struct {
		uint32_t addr, len, prot, flags, fd, off;
	} m = {0, 4096, 7, 0x22, ~0u, 0};
	uint8_t *p = (uint8_t *)int80(90, (uint32_t)&m, 0, 0, 0); /* old mmap */

	if ((uint32_t)p > 0xfffff000) {
		check("mmap", (uint32_t)p, 0);
		return;
	}
	for (uint32_t n = 0; n < 2000; n++) {
		uint32_t a = 0;

		p[0] = 0xb8;
		*(uint32_t *)(void *)(p + 1) = n * 3;
		p[5] = n & 1 ? 0x40 : 0x48; /* inc, dec */
		p[6] = 0xc3;
		__asm__ volatile("call *%1" : "=a"(a) : "r"(p) : "memory", "cc");
		if (a != n * 3 + (n & 1 ? 1 : ~0u)) {
			check("changed code", a, n * 3 + (n & 1 ? 1 : ~0u));
			return;
		}
	}
	passed++;
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{"32-decimal", test_decimal}, {"32-faults", test_faults}, {"32-stack", test_stack}, {"32-addresses", test_addresses},
	{"32-segments", test_segments}, {"32-long", test_long}, {"32-entry", test_entry}, {"32-code", test_code},
};

void start(uint32_t *stack);
void start(uint32_t *stack)
{
	uint32_t *v = stack + 1 + stack[0] + 1;

	while (*v)
		v++;
	for (v++; *v; v += 2)
		if (v[0] == 32) /* AT_SYSINFO */
			vsyscall = v[1];
	catch(SIGSEGV);
	catch(SIGBUS);
	catch(SIGILL);
	catch(SIGFPE);
	catch(SIGTRAP);
	for (uint32_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		uint32_t before = failed;

		tests[i].run();
		say(failed == before ? "PASS " : "FAIL ");
		say(tests[i].name);
		say("\n");
	}
	int80(SYS_EXIT, failed != 0, 0, 0, 0);
}

__asm__(".text\n.globl _start\n_start: mov %esp, %eax; and $-16, %esp; sub $12, %esp; push %eax; call start\n");
