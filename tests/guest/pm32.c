/* SPDX-License-Identifier: MIT */
/*
 * 32-bit protected mode without paging: exceptions that only it has, segments with bases and limits at
 * every kind of access, 16-bit segments, gates with parameters, task switches, virtual 8086 mode.
 */
#include "rt.h"

#define AT(x) ".globl " #x "\n" #x ": "
enum {
	T_DATA = 0x40, T_CODE = 0x48, T_GATE = 0x50, T_STACK = 0x58, T_LDT = 0x60, T_TSS = 0x68, T_TASKGATE = 0x70,
	T_CODE16 = 0x78, T_DATA16 = 0x80, T_R1CODE = 0x88, T_R1DATA = 0x90,
	P = 0x80, S = 0x10, DPL1 = 0x20, DPL3 = 0x60, RW = 3, RX = 0xb,
};

/* arguments arrive on the stack: 4(%esp), 8(%esp), 12(%esp) */
#define ARGS "mov 4(%esp), %ecx\n mov 8(%esp), %edx\n"
SNIPPET(s_into, "mov $0x7fffffff, %eax\n inc %eax\n" AT(s_into_at) "into\n" AT(s_into_next) "ret");
LABEL(s_into_next);
SNIPPET(s_into_no, "xor %eax, %eax\n into\n ret");
SNIPPET(s_bound, ARGS AT(s_bound_at) "bound %edx, (%ecx)\n ret");
LABEL(s_bound_at);
SNIPPET(s_bound16, ARGS AT(s_bound16_at) "bound %dx, (%ecx)\n ret");
LABEL(s_bound16_at);
SNIPPET(s_aam0, AT(s_aam0_at) ".byte 0xd4, 0\n ret");
SNIPPET(s_bcd, "push %ebx\n xor %ebx, %ebx\n"
	"mov $0x79, %al\n add $0x35, %al\n daa\n mov %al, %bl\n"      /* 14, CF */
	"mov $0x23, %al\n sub $0x47, %al\n das\n mov %al, %bh\n"      /* 76, CF */
	"shl $16, %ebx\n"
	"mov $0x0408, %ax\n add $9, %al\n aaa\n mov %ax, %bx\n"       /* 0507 */
	"mov %ebx, %eax\n pop %ebx\n ret");
SNIPPET(s_bcd2, "push %ebx\n mov $63, %al\n aam\n mov %ax, %bx\n"     /* 0603 */
	"shl $16, %ebx\n mov $0x0905, %ax\n aad\n mov %ax, %bx\n"     /* 5f */
	"mov %ebx, %eax\n pop %ebx\n ret");
SNIPPET(s_bcd3, "mov $0x0203, %ax\n sub $5, %al\n aas\n ret");        /* 0108 */
SNIPPET(s_salc, "stc\n .byte 0xd6\n movzbl %al, %eax\n ret");
SNIPPET(s_arpl, ARGS "arpl %dx, %cx\n setz %al\n movzbl %al, %eax\n shl $16, %eax\n mov %cx, %ax\n ret");
SNIPPET(s_movds, ARGS AT(s_movds_at) "mov %ecx, %ds\n push %ss\n pop %ds\n ret");
LABEL(s_movds_at);
SNIPPET(s_movss, ARGS AT(s_movss_at) "mov %ecx, %ss\n ret");
LABEL(s_movss_at);
/* es access: selector, offset */
SNIPPET(s_es_load, ARGS "mov %ecx, %es\n" AT(s_es_load_at) "mov %es:(%edx), %eax\n ret");
LABEL(s_es_load_at);
SNIPPET(s_es_store, ARGS "mov %ecx, %es\n mov $0x5a5a5a5a, %eax\n" AT(s_es_store_at) "mov %eax, %es:(%edx)\n ret");
LABEL(s_es_store_at);
SNIPPET(s_es_load16, ARGS "mov %ecx, %es\n mov %edx, %esi\n" AT(s_es_load16_at) "addr16 mov %es:2(%si), %ax\n ret");
LABEL(s_es_load16_at);
SNIPPET(s_stosd, ARGS "mov %ecx, %es\n push %edi\n mov %edx, %edi\n mov $4, %ecx\n" AT(s_stosd_at) "rep stosl\n pop %edi\n ret");
LABEL(s_stosd_at);
/* stack segment: selector, esp */
SNIPPET(s_push_ss, "mov 4(%esp), %ecx\n mov 8(%esp), %edx\n mov %esp, %eax\n mov %ss, %ebx\n mov %ecx, %ss\n mov %edx, %esp\n"
	AT(s_push_ss_at) "push $0x77\n mov %esp, %ecx\n mov %ebx, %ss\n mov %eax, %esp\n mov %ecx, %eax\n ret");
LABEL(s_push_ss_at);
SNIPPET(s_ebp_load, ARGS "push %ebp\n mov %esp, %eax\n mov %ss, %ebx\n mov %ecx, %ss\n mov %edx, %ebp\n"
	AT(s_ebp_load_at) "mov (%ebp), %ecx\n mov %ebx, %ss\n mov %eax, %esp\n pop %ebp\n ret");
LABEL(s_ebp_load_at);
SNIPPET(s_cs_limit, ARGS "push %ecx\n push %edx\n" AT(s_cs_limit_at) "lret");
LABEL(s_cs_limit_at);
SNIPPET(s_lcall, ARGS "mov %esp, %ebx\n" AT(s_lcall_at) "lcall *(%ecx)\n mov %ebx, %esp\n ret");
LABEL(s_lcall_at);
SNIPPET(s_ljmp, ARGS AT(s_ljmp_at) "ljmp *(%ecx)");
LABEL(s_ljmp_at);
SNIPPET(s_back, "ljmp $0x18, $1f\n 1: ret");
SNIPPET(s_ret, "mov $0x1234, %eax\n ret");
SNIPPET(s_lret, "mov $0x1234, %eax\n lret");
SNIPPET(s_ud2, "ud2");
SNIPPET(s_iret_nt, "pushf\n orl $0x4000, (%esp)\n popf\n iret");
SNIPPET(s_div0, "xor %ecx, %ecx\n" AT(s_div0_at) "div %ecx");
LABEL(s_div0_at);
SNIPPET(s_syscall_ud, ".byte 0x0f, 5\n ret");
/* 16-bit code at a segment base of its own; entered by far call, returns with a 16-bit far return */
SNIPPET(s_code16, ".code16\n mov $0x12345678, %eax\n add $1, %ax\n push %ax\n pop %cx\n mov $0xffff, %dx\n inc %dx\n lretl\n .code32");
USER_SNIPPET(u_ebp, "mov %edi, %ebp\n" AT(u_ebp_at) "mov (%ebp), %ecx\n int $0x80");
LABEL(u_ebp_at);
USER_SNIPPET(u_push, "push $0x77\n int $0x80");
USER_SNIPPET(u_pop, "pop %eax\n int $0x80");
USER_SNIPPET(u_call, "call u_ret\n int $0x80");
USER_SNIPPET(u_enter, "enter $8, $1\n int $0x80");
USER_SNIPPET(u_pusha, "pusha\n int $0x80");
USER_SNIPPET(u_ret, "int $0x80");
USER_SNIPPET(u_lcall, "push $0x11111111\n push $0x22222222\n mov %esp, %ebx\n lcall *(%edi)\n" AT(u_lcall_ret) "int $0x80");
LABEL(u_lcall_ret);
USER_SNIPPET(u_cli, "cli\n int $0x80");
USER_SNIPPET(u_hlt, "hlt\n int $0x80");
/* gate targets: what the inner ring sees goes to udata */
SNIPPET(k_gate, "mov (%esp), %eax\n mov %eax, %ds:udata\n mov 4(%esp), %eax\n mov %eax, udata + 4\n mov 8(%esp), %eax\n mov %eax, udata + 8\n"
	"mov 12(%esp), %eax\n mov %eax, udata + 12\n mov 16(%esp), %eax\n mov %eax, udata + 16\n mov 20(%esp), %eax\n mov %eax, udata + 20\n"
	"mov %esp, udata + 24\n mov %ss, %eax\n mov %eax, udata + 28\n mov %cs, %eax\n mov %eax, udata + 32\n lret $8");
uint32_t udata[64] __attribute__((aligned(64)));

struct far { uint32_t off; uint16_t sel; } __attribute__((packed));

static ulong call2(const void *fn, ulong a, ulong b)
{
	ulong r;

	__asm__ volatile("push %3\n push %2\n call *%1\n add $8, %%esp" : "=a"(r) : "r"(fn), "r"(a), "r"(b) :
		"ebx", "ecx", "edx", "memory");
	return r;
}

static void flat(void)
{
	int32_t range[2] = {-5, 10};
	int16_t range16[2] = {-5, 10};

	section("exceptions of 32-bit mode");
	want(catch(s_into), OF, 0, s_into_next, "into");
	want(catch(s_into_no), NOTRAP, 0, NULL, "into, OF clear");
	want(catch(s_bound, range, 11), BR, 0, s_bound_at, "above");
	want(catch(s_bound, range, -6), BR, 0, s_bound_at, "below");
	want(catch(s_bound, range, -5), NOTRAP, 0, NULL, "lower bound");
	want(catch(s_bound, range, 10), NOTRAP, 0, NULL, "upper bound");
	want(catch(s_bound16, range16, 11), BR, 0, s_bound16_at, "16-bit, above");
	want(catch(s_bound16, range16, 10), NOTRAP, 0, NULL, "16-bit, inside");
	want(catch(s_aam0), DE, 0, s_aam0, "aam 0");
	want(catch(s_div0), DE, 0, s_div0_at, "div");
	want(catch(s_ud2), UD, 0, s_ud2, "ud2");
	want(user(u_cli), GP, 0, u_cli, "cli at CPL 3");
	want(user(u_hlt), GP, 0, u_hlt, "hlt at CPL 3");
	section("BCD");
	check(call2(s_bcd, 0, 0) == 0x76140507, "daa das aaa: %lx", call2(s_bcd, 0, 0));
	check(call2(s_bcd2, 0, 0) == 0x0603005f, "aam aad: %lx", call2(s_bcd2, 0, 0));
	check((call2(s_bcd3, 0, 0) & 0xffff) == 0x0108, "aas: %lx", call2(s_bcd3, 0, 0));
	check(call2(s_salc, 0, 0) == 0xff, "salc");
	check(call2(s_arpl, 0x11, 3) == 0x10013, "arpl raises: %lx", call2(s_arpl, 0x11, 3));
	check(call2(s_arpl, 0x13, 1) == 0x13, "arpl leaves: %lx", call2(s_arpl, 0x13, 1));
}

static void limits(void)
{
	static uint8_t mem[8192] __attribute__((aligned(4096)));
	ulong b = (ulong)mem;

	section("limits");
	quirks("TCG 7.2 does not check limits");
	rt_gdt_set(T_DATA, rt_desc(b, 0x7f, P | S | RW, 4));
	want(catch(s_es_load, T_DATA, 0x7c), NOTRAP, 0, NULL, "last dword");
	want(catch(s_es_load, T_DATA, 0x7d), GP, 0, s_es_load_at, "one over");
	want(catch(s_es_load, T_DATA, 0x80), GP, 0, s_es_load_at, "behind");
	want(catch(s_es_load, T_DATA, 0xffffffff), GP, 0, s_es_load_at, "last byte of 4 GiB");
	want(catch(s_es_store, T_DATA, 0x7d), GP, 0, s_es_store_at, "store, one over");
	check(mem[0x7d] == 0, "and nothing was written");
	want(catch(s_es_store, T_DATA, 0x10), NOTRAP, 0, NULL, "store");
	check(mem[0x10] == 0x5a, "at the base");
	memset(mem, 0, 256);
	want(catch(s_stosd, T_DATA, 0x74), GP, 0, s_stosd_at, "rep stos runs over the limit");
	check(mem[0x7f] == 0x34 || mem[0x7c], "after three dwords");
	rt_gdt_set(T_DATA, rt_desc(b, 0x7f, P | S | 1, 4));
	want(catch(s_es_store, T_DATA, 0), GP, 0, s_es_store_at, "read only");
	rt_gdt_set(T_DATA, rt_desc(b, 0x7f, P | S | RX, 4));
	want(catch(s_es_load, T_DATA, 0), NOTRAP, 0, NULL, "code is readable");
	want(catch(s_es_store, T_DATA, 0), GP, 0, s_es_store_at, "code is not writable");
	want(catch(s_es_load, 0, 0), GP, 0, s_es_load_at, "null");
	/* expand down */
	rt_gdt_set(T_DATA, rt_desc(b, 0xfff, P | S | 7, 4));
	want(catch(s_es_load, T_DATA, 0x1000), NOTRAP, 0, NULL, "expand down: first valid");
	want(catch(s_es_load, T_DATA, 0xfff), GP, 0, s_es_load_at, "expand down: limit");
	want(catch(s_es_load, T_DATA, 0xffd), GP, 0, s_es_load_at, "expand down: across");
	rt_gdt_set(T_DATA, rt_desc(b, 0xfff, P | S | 7, 0));
	want(catch(s_es_load, T_DATA, 0xfffc), NOTRAP, 0, NULL, "expand down, 16-bit: last dword");
	want(catch(s_es_load, T_DATA, 0xfffd), GP, 0, s_es_load_at, "expand down, 16-bit: over");
	want(catch(s_es_load, T_DATA, 0x10000), GP, 0, s_es_load_at, "expand down, 16-bit: 64 KiB");
	rt_gdt_set(T_DATA, rt_desc(b, 1, P | S | RW, 0xc));
	want(catch(s_es_load, T_DATA, 0x1ffc), NOTRAP, 0, NULL, "page granular");
	want(catch(s_es_load, T_DATA, 0x1ffd), GP, 0, s_es_load_at, "page granular, over");
	rt_gdt_set(T_DATA, rt_desc(b, 0x1f, P | S | RW, 4));
	want(catch(s_es_load16, T_DATA, 0x1001c), NOTRAP, 0, NULL, "16-bit address: upper half of si is ignored");
	want(catch(s_es_load16, T_DATA, 0x1e), GP, 0, s_es_load16_at, "16-bit address, over");
	want(catch(s_es_load16, T_DATA, 0xfffe), NOTRAP, 0, NULL, "16-bit address wraps");
	catch(s_es_load, SEL_KDS, b);

	section("stack limits");
	quirks("TCG 7.2 does not check limits");
	rt_gdt_set(T_STACK, rt_desc(b, 0xfff, P | S | RW, 4));
	want(catch(s_push_ss, T_STACK, 0x1000), NOTRAP, 0, NULL, "push just below the limit");
	check(*(uint32_t *)(mem + 0xffc) == 0x77, "it is there");
	want(catch(s_ebp_load, T_STACK, 0xffc), NOTRAP, 0, NULL, "ebp uses ss");
	/* the rest at CPL 3, where a fault finds a good stack */
	rt_gdt_set(T_STACK, rt_desc(b, 0xfff, P | S | DPL3 | RW, 4));
	{
		struct enter e = {SEL_UCS32, T_STACK | 3, 0x1000, FL_1};

		want(enter(u_ebp, 0xffc, 0, &e), USER_RET, 0, NULL, "ebp, last dword");
		want(enter(u_ebp, 0xffd, 0, &e), SS, 0, u_ebp_at, "ebp over the limit: #SS, not #GP");
		want(enter(u_push, 0, 0, &e), USER_RET, 0, NULL, "push");
		e.sp = 2;
		want(enter(u_push, 0, 0, &e), SS, 0, u_push, "push wraps");
		e.sp = 0x1004;
		want(enter(u_push, 0, 0, &e), SS, 0, u_push, "push over the limit");
		want(enter(u_pop, 0, 0, &e), SS, 0, u_pop, "pop over the limit");
		want(enter(u_call, 0, 0, &e), SS, 0, u_call, "call over the limit");
		want(enter(u_enter, 0, 0, &e), SS, 0, u_enter, "enter over the limit");
		want(enter(u_pusha, 0, 0, &e), SS, 0, u_pusha, "pusha over the limit");
		rt_gdt_set(T_STACK, rt_desc(b, 0xfff, P | S | DPL3 | 7, 4));
		e.sp = 0x1004;
		want(enter(u_push, 0, 0, &e), USER_RET, 0, NULL, "expand-down stack");
		e.sp = 0x1003;
		want(enter(u_push, 0, 0, &e), SS, 0, u_push, "expand-down stack, below");
	}
	want(catch(s_movss, T_CODE), GP, T_CODE, s_movss_at, "empty descriptor");
	rt_gdt_set(T_STACK, rt_desc(b, 0xfff, S | RW, 4));
	want(catch(s_movss, T_STACK), SS, T_STACK, s_movss_at, "not present");
	want(catch(s_movss, 0), GP, 0, s_movss_at, "null ss");
	/* a 16-bit stack: sp wraps, the upper half of esp stays */
	rt_gdt_set(T_STACK, rt_desc(b, 0xffff, P | S | RW, 0));
	check(call2(s_push_ss, T_STACK, 0x56780100) == 0x567800fc, "16-bit stack keeps the upper half: %lx",
		call2(s_push_ss, T_STACK, 0x56780100));
	check(*(uint32_t *)(mem + 0xfc) == 0x77, "pushed at sp");

	section("code limits");
	quirks("TCG 7.2 does not check limits");
	rt_gdt_set(T_CODE, rt_desc(0, ((ulong)s_back + 8) >> 12, P | S | RX, 0xc));
	want(catch(s_cs_limit, T_CODE, s_back), NOTRAP, 0, NULL, "inside");
	rt_gdt_set(T_CODE, rt_desc((ulong)s_ud2, 0, P | S | RX, 4));
	want(catch(s_cs_limit, T_CODE, 0), GP, 0, NULL, "second byte of an instruction beyond the limit");
	rt_gdt_set(T_CODE, rt_desc((ulong)s_ud2, 1, P | S | RX, 4));
	want(catch(s_cs_limit, T_CODE, 0), UD, 0, NULL, "inside");
	if (!rt_tcg) /* which would run whatever follows */
		want(catch(s_cs_limit, T_CODE, 2), GP, 0, s_cs_limit_at, "far return beyond the limit");
	catch(s_es_load, SEL_KDS, b);
}

static void gate(unsigned sel, unsigned code, const void *to, unsigned type, unsigned params)
{
	ulong a = (ulong)to;

	rt_gdt_set(sel, (a & 0xffff) | (uint64_t)code << 16 | (uint64_t)params << 32 | (uint64_t)type << 40 |
		(uint64_t)(a >> 16) << 48);
}

static void far_transfers(void)
{
	struct far f = {(ulong)s_lret, SEL_KCS32};
	struct trap *t;

	section("far call");
	want(catch(s_lcall, &f), NOTRAP, 0, NULL, "direct");
	f.sel = SEL_KDS;
	want(catch(s_lcall, &f), GP, SEL_KDS, s_lcall_at, "data");
	f.sel = 0;
	want(catch(s_lcall, &f), GP, 0, s_lcall_at, "null");
	f.sel = SEL_UCS32;
	want(catch(s_lcall, &f), GP, SEL_UCS32 & ~3, s_lcall_at, "outer ring");
	rt_gdt_set(T_CODE16, rt_desc((ulong)s_code16, 0xffff, P | S | RX, 0));
	f = (struct far){0, T_CODE16};
	want(catch(s_lcall, &f), NOTRAP, 0, NULL, "16-bit code");
	{
		ulong a, c, bx;

		__asm__ volatile("lcall *(%3)" : "=a"(a), "=c"(c), "=d"(bx) : "r"(&f) : "memory");
		check(a == 0x12345679 && (c & 0xffff) == 0x5679 && (bx & 0xffff) == 0, "16-bit code computes: %lx %lx %lx", a, c, bx);
	}
	section("call gate");
	gate(T_GATE, SEL_KCS32, k_gate, P | DPL3 | 12, 2);
	f = (struct far){0, T_GATE};
	memset(udata, 0, sizeof(udata));
	t = user(u_lcall, &f);
	want(t, USER_RET, 0, NULL, "CPL 3 to 0 with two parameters");
	check(udata[0] == (ulong)u_lcall_ret && udata[1] == SEL_UCS32, "return address %x:%x", udata[1], udata[0]);
	check(udata[2] == 0x22222222 && udata[3] == 0x11111111, "parameters %x %x", udata[2], udata[3]);
	check(udata[4] == t->regs.bx && udata[5] == SEL_UDS, "old stack %x:%x, want %lx", udata[5], udata[4], t->regs.bx);
	check(udata[6] == *rt_tss_sp0() - 24 && udata[7] == SEL_KDS, "new stack %x:%x", udata[7], udata[6]);
	check(udata[8] == SEL_KCS32, "cs %x", udata[8]);
	check(t->sp == t->regs.bx + 8, "lret $8 drops the parameters outside, too: %lx, %lx", t->sp, t->regs.bx);
	gate(T_GATE, SEL_KCS32, k_gate, P | 12, 0);
	want(user(u_lcall, &f), GP, T_GATE, NULL, "gate DPL");
	gate(T_GATE, SEL_KCS32, k_gate, DPL3 | 12, 0);
	want(user(u_lcall, &f), NP, T_GATE, NULL, "not present");
	gate(T_GATE, SEL_KDS, k_gate, P | DPL3 | 12, 0);
	want(user(u_lcall, &f), GP, SEL_KDS, NULL, "to data");
	/* the TSS's stack selector is bad */
	{
		rt_gdt_set(T_R1CODE, rt_desc(0, 0xfffff, P | S | RX | DPL1, 0xc));
		gate(T_GATE, T_R1CODE, k_gate, P | DPL3 | 12, 0);
		/* ring 1 stack of the TSS is null: #TS by way of ring 0, whose stack is fine */
		memset(rt_tss() + 12, 0, 8);
		want(user(u_lcall, &f), TS, 0, NULL, "null ss1 in the TSS");
		*(uint16_t *)(void *)(rt_tss() + 16) = SEL_KDS;
		want(user(u_lcall, &f), TS, SEL_KDS, NULL, "ss1 of DPL 0");
		rt_gdt_set(T_R1DATA, rt_desc(0, 0xfffff, S | RW | DPL1, 0xc));
		*(uint16_t *)(void *)(rt_tss() + 16) = T_R1DATA | 1;
		quirk("TCG 7.2 raises #TS");
		want(user(u_lcall, &f), SS, T_R1DATA, NULL, "ss1 not present");
	}
	section("long mode only");
	quirk("TCG 7.2, AMD: SYSCALL works in 32-bit mode");
	want(catch(s_syscall_ud), UD, 0, s_syscall_ud, "syscall with EFER.SCE clear");
}

/* ---- hardware task switch */
struct tss32 {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, iomap;
};
static struct tss32 task __attribute__((aligned(128)));
static uint8_t task_stack[4096] __attribute__((aligned(16)));
extern const char task_entry[], task_df[];
__asm__(".text\n.globl task_entry, task_df\n"
	"task_entry: movl $1, udata\n mov %eax, udata + 4\n pushf\n popl udata + 8\n mov %cr0, %eax\n mov %eax, udata + 12\n str udata + 16\n"
	"mov $0x600d, %eax\n iret\n movl $2, udata\n iret\n"
	"task_df: pop udata\n mov %esp, udata + 4\n movl $0xdf, udata + 8\n"
	"mov task_back, %eax\n mov %eax, (task_resume_eip)\n iret\n"
	"task_back: .long 0\n task_resume_eip: .long 0\n");
SNIPPET(s_task_call, "mov $0x1111, %eax\n mov $0x2222, %ebx\n" AT(s_task_call_at) "lcall $0x68, $0\n ret");
SNIPPET(s_task_gate, "lcall $0x70, $0\n ret");
SNIPPET(s_int43, "mov $0x3333, %eax\n int $0x43\n ret");
LABEL(s_task_call_at);

static void new_task(const void *entry)
{
	memset(&task, 0, sizeof(task));
	task.eip = (ulong)entry;
	task.eflags = FL_1;
	task.esp = (ulong)task_stack + sizeof(task_stack);
	task.eax = 0xabcd;
	task.cs = SEL_KCS32;
	task.ss = task.ds = task.es = SEL_KDS;
	task.iomap = sizeof(task);
	rt_gdt_set(T_TSS, rt_desc((ulong)&task, sizeof(task) - 1, P | 9, 0));
	memset(udata, 0, sizeof(udata));
}

static void tasks(void)
{
	struct trap *t;

	section("task switch");
	new_task(task_entry);
	t = catch(s_task_call);
	want(t, NOTRAP, 0, NULL, "far call to a TSS and iret");
	check(udata[0] == 1, "the task ran");
	check(udata[1] == 0xabcd, "with eax of its TSS: %x", udata[1]);
	check(udata[2] & FL_NT, "NT is set: %x", udata[2]);
	check(udata[3] & CR0_TS, "CR0.TS is set: %x", udata[3]);
	check((udata[4] & 0xffff) == T_TSS, "TR %x", udata[4]);
	check(task.link == SEL_TSS, "link %x", task.link);
	check(task.eax == 0x600d, "its registers are saved: %x", task.eax);
	check((rt_gdt[T_TSS / 8] >> 40 & 15) == 9, "available again after iret");
	check((rt_gdt[SEL_TSS / 8] >> 40 & 15) == 11, "ours is busy");
	check(rdcr0() & CR0_TS, "TS after coming back");
	wrcr0(rdcr0() & ~(ulong)CR0_TS);
	catch(s_task_call);
	check(udata[0] == 2, "the second call goes on behind its iret: %x", udata[0]);
	wrcr0(rdcr0() & ~(ulong)CR0_TS);
	new_task(task_entry);
	rt_gdt_set(T_TASKGATE, (uint64_t)T_TSS << 16 | (uint64_t)(P | 5) << 40);
	want(catch(s_task_gate), NOTRAP, 0, NULL, "through a task gate in the GDT");
	check(udata[0] == 1, "the task ran");
	wrcr0(rdcr0() & ~(ulong)CR0_TS);
	new_task(task_entry);
	rt_gate(0x43, 0, 0, 0, 5, T_TSS);
	want(catch(s_int43), NOTRAP, 0, NULL, "through a task gate in the IDT");
	check(udata[0] == 1, "the task ran");
	wrcr0(rdcr0() & ~(ulong)CR0_TS);
	rt_gate_reset(0x43);
	section("task switch errors");
	new_task(task_entry);
	rt_gdt_set(T_TSS, rt_desc((ulong)&task, sizeof(task) - 1, P | 11, 0));
	want(catch(s_task_call), GP, T_TSS, s_task_call_at, "busy");
	rt_gdt_set(T_TSS, rt_desc((ulong)&task, sizeof(task) - 1, 9, 0));
	want(catch(s_task_call), NP, T_TSS, s_task_call_at, "not present");
	rt_gdt_set(T_TSS, rt_desc((ulong)&task, 0x66, P | 9, 0));
	want(catch(s_task_call), TS, T_TSS, s_task_call_at, "too small");
}

/* ---- virtual 8086 mode; code at linear 0x20000 */
SNIPPET(v_code, ".code16\n mov $0x1234, %ax\n push %cs\n pop %bx\n mov $0x2222, %cx\n mov %cx, %ds\n movw $0x77, (0x10)\n mov %sp, %si\n int $0x40\n .code32");
SNIPPET(v_cli, ".code16\n cli\n nop\n .code32");
SNIPPET(v_pushf, ".code16\n pushf\n nop\n .code32");
SNIPPET(v_int, ".code16\n int $0x21\n .code32");
SNIPPET(v_hlt, ".code16\n hlt\n .code32");
SNIPPET(v_lgdt, ".code16\n lgdtw (0)\n .code32");
SNIPPET(v_str, ".code16\n str %ax\n .code32");
SNIPPET(v_out, ".code16\n out %al, $0xe1\n .code32");
SNIPPET(v_limit, ".code16\n mov $0xffff, %bx\n mov (%bx), %ax\n .code32");
SNIPPET(s_iret_v86, "mov 4(%esp), %ecx\n push 32(%ecx)\n push 28(%ecx)\n push 24(%ecx)\n push 20(%ecx)\n push 16(%ecx)\n push 12(%ecx)\n"
	"push 8(%ecx)\n push 4(%ecx)\n push (%ecx)\n iret");

static struct trap *v86(const char *code, const char *end, ulong flags)
{
	/* eip cs eflags esp ss es ds fs gs */
	ulong f[9] = {0, 0x2000, FL_1 | FL_VM | flags, 0x1000, 0x3000, 0x2000, 0x2000, 0x2000, 0x2000};

	memcpy((void *)0x20000, code, (size_t)(end - code));
	return catch(s_iret_v86, f);
}

static void virtual86(void)
{
	struct trap *t;

	section("virtual 8086 mode");
	rt_gate(0x40, rt_stubs + 16 * 0x40, 3, 0, 14, SEL_KCS32);
	*(uint16_t *)(0x22220 + 0x10) = 0;
	t = v86(v_code, v_code_end, FL_IOPL);
	want(t, 0x40, 0, (void *)(v_code_end - v_code), "runs to its int");
	check(t->flags & FL_VM && t->cs == 0x2000, "flags %lx cs %lx", t->flags, t->cs);
	check((t->regs.ax & 0xffff) == 0x1234 && (t->regs.bx & 0xffff) == 0x2000 && (t->regs.si & 0xffff) == 0x1000,
		"registers %lx %lx %lx", t->regs.ax, t->regs.bx, t->regs.si);
	check(*(uint16_t *)(0x22220 + 0x10) == 0x77, "segments are bases");
	want(v86(v_cli, v_cli_end, 0), GP, 0, (void *)0, "cli with IOPL 0");
	want(v86(v_pushf, v_pushf_end, 0), GP, 0, (void *)0, "pushf with IOPL 0");
	want(v86(v_int, v_int_end, 0), GP, 0, (void *)0, "int with IOPL 0");
	want(v86(v_int, v_int_end, FL_IOPL), GP, 0x21 * 8 + 2, (void *)0, "int with IOPL 3, gate DPL 0");
	want(v86(v_hlt, v_hlt_end, FL_IOPL), GP, 0, (void *)0, "hlt");
	want(v86(v_lgdt, v_lgdt_end, FL_IOPL), GP, 0, (void *)0, "lgdt");
	want(v86(v_str, v_str_end, FL_IOPL), UD, 0, (void *)0, "str");
	want(v86(v_out, v_out_end, FL_IOPL), GP, 0, (void *)0, "out: the I/O bitmap counts even with IOPL 3");
	quirk("TCG 7.2 does not check limits");
	want(v86(v_limit, v_limit_end, FL_IOPL), GP, 0, (void *)3, "word at 0xffff");
	rt_gate_reset(0x40);
}

void test_main(void)
{
	flat();
	limits();
	far_transfers();
	virtual86();
	tasks();
}
