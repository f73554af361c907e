/* SPDX-License-Identifier: MIT */
/*
 * Segmentation and ring crossings as 64-bit mode has them: selector loads, LAR and company, call
 * gates, far returns and IRET to every kind of code, compatibility mode, SYSCALL, SYSENTER, FS and GS
 * bases, IOPL and the I/O bitmap.
 */
#include "rt.h"

#define AT(x) ".globl " #x "\n" #x ": "
enum { /* test descriptors */
	T_DATA = SEL_TEST, T_CODE = SEL_TEST + 8, T_GATE = SEL_TEST + 16 /* two slots */, T_LDT = SEL_TEST + 32,
	T_CODE2 = SEL_TEST + 48, T_TSS = SEL_TEST + 56,
};
enum { P = 0x80, S = 0x10, DPL3 = 0x60, RW = 3, RX = 0xb, CONF = 4, FLAT = 0xc, LONG = 0xa };

SNIPPET(s_movds, "mov %edi, %ds\n ret");
SNIPPET(s_moves, "mov %edi, %es\n ret");
SNIPPET(s_movfs, "mov %edi, %fs\n ret");
SNIPPET(s_movss, "mov %edi, %ss\n ret");
SNIPPET(s_pop_fs, "push %rdi\n" AT(s_pop_fs_at) "pop %fs\n ret");
LABEL(s_pop_fs_at);
SNIPPET(s_lfs, "lfsl (%rdi), %eax\n ret");
SNIPPET(s_lar, "mov $0x55aa55aa, %eax\n clc\n lar %edi, %eax\n pushf\n pop %rdx\n mov %rdx, (%rsi)\n ret");
SNIPPET(s_lsl, "mov $0x55aa55aa, %eax\n lsl %edi, %eax\n pushf\n pop %rdx\n mov %rdx, (%rsi)\n ret");
SNIPPET(s_verr, "verr %di\n pushf\n pop %rdx\n mov %rdx, (%rsi)\n ret");
SNIPPET(s_verw, "verw %di\n pushf\n pop %rdx\n mov %rdx, (%rsi)\n ret");
SNIPPET(s_lldt, "lldt %di\n ret");
SNIPPET(s_ltr, "ltr %di\n ret");
SNIPPET(s_lgdt, "lgdt (%rdi)\n ret");
SNIPPET(s_lidt, "lidt (%rdi)\n ret");
SNIPPET(s_lcall, "lcall *(%rdi)\n ret");
SNIPPET(s_ljmp, "ljmp *(%rdi)\n ret");
SNIPPET(s_lret, "push %rsi\n push %rdi\n" AT(s_lret_at) "lretq\n");
LABEL(s_lret_at);
SNIPPET(s_lret_user, "push %rdx\n push %rsi\n push $0x33\n push %rdi\n" AT(s_lret_user_at) "lretq\n");
LABEL(s_lret_user_at);
SNIPPET(s_callee, "mov %cs, %eax\n mov %rax, (%rsi)\n mov %rsp, 8(%rsi)\n mov (%rsp), %rax\n mov %rax, 16(%rsi)\n"
	"mov 8(%rsp), %rax\n mov %rax, 24(%rsi)\n mov 24(%rsp), %rax\n mov %rax, 32(%rsi)\n mov %ss, %eax\n mov %rax, 40(%rsi)\n lretq");
SNIPPET(s_here, "mov $0x1234, %eax\n ret");
SNIPPET(s_iret_nt, "pushfq\n orl $0x4000, (%rsp)\n popfq\n" AT(s_iret_nt_at) "iretq");
LABEL(s_iret_nt_at);
SNIPPET(s_iret5, "push 32(%rdi)\n push 24(%rdi)\n push 16(%rdi)\n push 8(%rdi)\n push (%rdi)\n" AT(s_iret5_at) "iretq");
LABEL(s_iret5_at);
SNIPPET(s_far_data, "mov %fs:(%rdi), %eax\n ret");
SNIPPET(s_gs_read, "mov %gs:(%rdi), %rax\n ret");
SNIPPET(s_rdfsbase, "rdfsbase %rax\n ret");
SNIPPET(s_wrfsbase, "wrfsbase %rdi\n ret");
SNIPPET(s_wrgsbase32, "wrgsbase %edi\n rdgsbase %rax\n mov %rax, (%rsi)\n ret");

/* CPL 3 */
USER_SNIPPET(u_ret, "int $0x80");
USER_SNIPPET(u_mov_ds, "mov %edi, %ds\n int $0x80");
USER_SNIPPET(u_mov_ss, "mov %edi, %ss\n int $0x80");
USER_SNIPPET(u_lcall, "lcall *(%rdi)\n .globl u_lcall_ret\nu_lcall_ret: int $0x80");
LABEL(u_lcall_ret);
USER_SNIPPET(u_int42, "int $0x42\n int $0x80");
USER_SNIPPET(u_lret, "push %rsi\n push %rdi\n lretq");
USER_SNIPPET(u_in, "mov %edi, %edx\n" AT(u_in_at) "in (%dx), %al\n int $0x80");
LABEL(u_in_at);
USER_SNIPPET(u_outl, "mov %edi, %edx\n" AT(u_outl_at) "out %eax, (%dx)\n int $0x80");
LABEL(u_outl_at);
USER_SNIPPET(u_insb, "mov %edi, %edx\n mov %rsi, %rdi\n" AT(u_insb_at) "insb\n int $0x80");
LABEL(u_insb_at);
USER_SNIPPET(u_cli, "cli\n int $0x80");
USER_SNIPPET(u_sti_cli, "sti\n cli\n int $0x80");
USER_SNIPPET(u_popf, "pushfq\n or %rdi, (%rsp)\n popfq\n pushfq\n pop %rax\n int $0x80");
USER_SNIPPET(u_syscall, "mov $0x1122334455667788, %r11\n stc\n syscall\n" AT(u_syscall_ret) "int $0x80");
LABEL(u_syscall_ret);
USER_SNIPPET(u_sysenter, "sysenter\n" AT(u_sysenter_ret) "int $0x80");
LABEL(u_sysenter_ret);
USER_SNIPPET(u_sgdt, "sgdt (%rdi)\n int $0x80");
USER_SNIPPET(u_sidt, "sidt (%rdi)\n int $0x80");
USER_SNIPPET(u_sldt, "sldt %eax\n int $0x80");
USER_SNIPPET(u_str, "str %eax\n int $0x80");
USER_SNIPPET(u_smsw, "smsw %eax\n int $0x80");
USER_SNIPPET(u_rdfsbase, "rdfsbase %rax\n int $0x80");
USER_SNIPPET(u_ss_stack, "mov %rsp, %rax\n int $0x80");
/* 32-bit compatibility mode */
USER_SNIPPET(u32_regs, ".code32\n mov $0x89abcdef, %eax\n inc %eax\n push %eax\n pop %ebx\n mov %cs, %ecx\n int $0x80\n .code64");
USER_SNIPPET(u32_into, ".code32\n mov $0x7fffffff, %eax\n add $1, %eax\n" AT(u32_into_at) "into\n" AT(u32_into_next) "int $0x80\n .code64");
LABEL(u32_into_at); LABEL(u32_into_next);
USER_SNIPPET(u32_bound, ".code32\n mov $5, %eax\n" AT(u32_bound_at) "bound %eax, (%edi)\n int $0x80\n .code64");
LABEL(u32_bound_at);
USER_SNIPPET(u32_int80, ".code32\n int $0x42\n int $0x80\n .code64");
USER_SNIPPET(u32_bcd, ".code32\n mov $0x79, %al\n add $0x35, %al\n daa\n int $0x80\n .code64");
USER_SNIPPET(u32_pusha, ".code32\n mov $1, %eax\n mov $2, %ecx\n mov $3, %edx\n mov $4, %ebx\n pusha\n xor %eax, %eax\n xor %ecx, %ecx\n popa\n lea (%eax,%ecx,2), %eax\n int $0x80\n .code64");
USER_SNIPPET(u32_wrap, ".code32\n mov $0xfffffff0, %eax\n mov 0x10(%eax,%edi), %eax\n int $0x80\n .code64");
USER_SNIPPET(u32_limit, ".code32\n mov %edi, %es\n" AT(u32_limit_at) "mov %es:(%esi), %eax\n int $0x80\n .code64");
LABEL(u32_limit_at);
USER_SNIPPET(u32_limit_w, ".code32\n mov %edi, %es\n" AT(u32_limit_w_at) "mov %eax, %es:(%esi)\n int $0x80\n .code64");
LABEL(u32_limit_w_at);
USER_SNIPPET(u32_null, ".code32\n xor %eax, %eax\n mov %eax, %es\n" AT(u32_null_at) "mov %es:(%esi), %eax\n int $0x80\n .code64");
LABEL(u32_null_at);
USER_SNIPPET(u32_syscall, ".code32\n syscall\n" AT(u32_syscall_ret) "int $0x80\n .code64");
LABEL(u32_syscall_ret);
USER_SNIPPET(u32_to64, ".code32\n ljmp $0x33, $1f\n .code64\n1: mov $0x1122334455667788, %rax\n int $0x80");
USER_SNIPPET(u32_ljmp_out, ".code32\n" AT(u32_ljmp_at) "ljmp $8, $0\n int $0x80\n .code64");
LABEL(u32_ljmp_at);
static uint32_t udata[64] USER_DATA __attribute__((aligned(64)));

struct far64 { uint64_t off; uint16_t sel; } __attribute__((packed));
struct far32 { uint32_t off; uint16_t sel; } __attribute__((packed));

static void call_gate(unsigned sel, unsigned code, const void *to, unsigned dpl, unsigned type, bool present)
{
	uint64_t a = (ulong)to;

	rt_gdt_set(sel, (a & 0xffff) | (uint64_t)code << 16 | (uint64_t)(type | dpl << 5 | (present ? P : 0)) << 40 |
		(a >> 16 & 0xffff) << 48);
	rt_gdt_set(sel + 8, a >> 32);
}

static void loads(void)
{
	struct far32 f = {0x11223344, T_DATA};
	struct trap *t;

	section("selector loads");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | S | 2, FLAT));
	want(catch(s_movds, T_DATA), NOTRAP, 0, NULL, "data");
	check(rt_gdt[T_DATA / 8] >> 40 & 1, "the accessed bit is set");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | S | 0, FLAT));
	want(catch(s_movds, T_DATA), NOTRAP, 0, NULL, "read only data");
	want(catch(s_movss, T_DATA), GP, T_DATA, s_movss, "read only data in ss");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | S | 0xa, LONG));
	want(catch(s_movds, T_DATA), NOTRAP, 0, NULL, "readable code");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | S | 8, LONG));
	want(catch(s_movds, T_DATA), GP, T_DATA, s_movds, "execute only code");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | 2, 0));
	want(catch(s_moves, T_DATA), GP, T_DATA, s_moves, "system descriptor");
	want(catch(s_movfs, 3), NOTRAP, 0, NULL, "null with RPL 3");
	want(catch(s_movfs, 0x200), GP, 0x200, s_movfs, "just beyond the limit");
	want(catch(s_movfs, 0x1f8), GP, 0x1f8, s_movfs, "the last entry is inside, but empty");
	rt_gdt_set(T_DATA, rt_desc(0x1000, 0, P | S | RW, 4));
	want(catch(s_pop_fs, T_DATA), NOTRAP, 0, NULL, "pop fs");
	check(rdmsr(MSR_FS_BASE) == 0x1000, "base %llx", (unsigned long long)rdmsr(MSR_FS_BASE));
	want(catch(s_pop_fs, 0x208), GP, 0x208, s_pop_fs_at, "pop fs beyond the limit");
	catch(s_movfs, 0);
	t = catch(s_lfs, &f);
	want(t, NOTRAP, 0, NULL, "lfs");
	check(rdmsr(MSR_FS_BASE) == 0x1000, "lfs base");
	want(catch(s_far_data, 0x100000), NOTRAP, 0, NULL, "no limit in 64-bit mode");
	catch(s_movfs, 0);
	wrmsr(MSR_FS_BASE, 0x5000);
	catch(s_movfs, SEL_KDS);
	check(rdmsr(MSR_FS_BASE) == 0, "a load replaces the base: %llx", (unsigned long long)rdmsr(MSR_FS_BASE));
	f.sel = SEL_UDS;
	want(user(u_mov_ds, SEL_KDS), GP, SEL_KDS, u_mov_ds, "CPL 3 loads a DPL 0 segment");
	want(user(u_mov_ds, SEL_UCS), USER_RET, 0, NULL, "code segment at CPL 3");
	want(user(u_mov_ss, 0), GP, 0, u_mov_ss, "null ss at CPL 3");
	want(user(u_mov_ss, SEL_KDS | 3), GP, SEL_KDS, u_mov_ss, "DPL 0 in ss");
	rt_gdt_set(T_CODE, rt_desc(0, 0xfffff, P | S | RX | CONF, LONG));
	want(user(u_mov_ds, T_CODE), USER_RET, 0, NULL, "conforming DPL 0 code is readable from CPL 3");

	section("LDT");
	{
		static uint64_t ldt[4];

		ldt[2] = rt_desc(0x3000, 0xfffff, P | S | RW, FLAT);
		rt_gdt_set(T_LDT, rt_desc((uint32_t)(ulong)ldt, 31, P | 2, 0));
		rt_gdt_set(T_LDT + 8, 0);
		want(catch(s_lldt, T_DATA), GP, T_DATA, s_lldt, "lldt of a data segment");
		want(catch(s_lldt, T_LDT), NOTRAP, 0, NULL, "lldt");
		want(catch(s_movfs, 16 | 4), NOTRAP, 0, NULL, "selector in the LDT");
		check(rdmsr(MSR_FS_BASE) == 0x3000, "its base");
		want(catch(s_movfs, 32 | 4), GP, 32 | 4, s_movfs, "beyond the LDT");
		rt_gdt_set(T_LDT, rt_desc((uint32_t)(ulong)ldt, 15, P | 2, 0));
		catch(s_lldt, T_LDT);
		want(catch(s_movfs, 16 | 4), GP, 16 | 4, s_movfs, "beyond the new limit");
		rt_gdt_set(T_LDT, rt_desc((uint32_t)(ulong)ldt, 31, 2, 0));
		want(catch(s_lldt, T_LDT), NP, T_LDT, s_lldt, "not present");
		rt_gdt_set(T_LDT, rt_desc((uint32_t)(ulong)ldt, 31, P | 2, 0));
		rt_gdt_set(T_LDT + 8, 0x8000);
		quirk("TCG 7.2 takes any base");
		want(catch(s_lldt, T_LDT), GP, T_LDT, s_lldt, "non-canonical base");
		want(catch(s_lldt, 4 | 8), GP, 8 | 4, s_lldt, "lldt with TI");
		want(catch(s_lldt, 0), NOTRAP, 0, NULL, "null");
		want(catch(s_movfs, 16 | 4), GP, 16 | 4, s_movfs, "no LDT");
	}
	section("TR");
	quirk("TCG 7.2 takes it");
	want(catch(s_ltr, 0), GP, 0, s_ltr, "null");
	want(catch(s_ltr, T_DATA), GP, T_DATA, s_ltr, "data");
	want(catch(s_ltr, SEL_TSS), GP, SEL_TSS, s_ltr, "busy");
	rt_gdt_set(SEL_TSS, rt_gdt[SEL_TSS / 8] & ~(2ull << 40));
	want(catch(s_ltr, SEL_TSS), NOTRAP, 0, NULL, "available");
	check((rt_gdt[SEL_TSS / 8] >> 40 & 15) == 11, "is busy now");
	rt_gdt_set(T_TSS, rt_gdt[SEL_TSS / 8] & ~(0x82ull << 40));
	rt_gdt_set(T_TSS + 8, 0);
	want(catch(s_ltr, T_TSS), NP, T_TSS, s_ltr, "not present");

	section("table registers");
	{
		struct __attribute__((packed)) { uint16_t limit; uint64_t base; } d = {0xfff, 0x800000000000ull}, old;

		__asm__ volatile("sgdt %0" : "=m"(old));
		check(old.limit == RT_GDT_LIMIT && old.base == (ulong)rt_gdt, "sgdt");
		quirk("TCG 7.2 takes any base");
		want(rt_tcg ? catch(s_movfs, 0) : catch(s_lgdt, &d), GP, 0, s_lgdt, "lgdt, non-canonical base");
		quirk("TCG 7.2 takes any base");
		want(rt_tcg ? catch(s_movfs, 0) : catch(s_lidt, &d), GP, 0, s_lidt, "lidt, non-canonical base");
	}
	catch(s_movds, SEL_KDS), catch(s_moves, SEL_KDS), catch(s_movfs, 0);
}

static ulong out[8];
static ulong value(const void *fn, unsigned sel)
{
	ulong r = 0;

	__asm__ volatile("call *%1" : "=a"(r) : "r"(fn), "D"((ulong)sel), "S"(out) : "rdx", "memory");
	return r & 0xffffffff;
}

static void lar_lsl(void)
{
	section("LAR LSL VERR VERW");
	static const struct { uint8_t type; bool lar, lsl, r, w; } row[] = {
		{P | S | 0, 1, 1, 1, 0}, {P | S | 2, 1, 1, 1, 1}, {P | S | 8, 1, 1, 0, 0}, {P | S | 10, 1, 1, 1, 0},
		{P | S | 14, 1, 1, 1, 0}, {P | 2, 1, 1, 0, 0}, {P | 9, 1, 1, 0, 0}, {P | 11, 1, 1, 0, 0},
		{P | 12, 1, 0, 0, 0}, {P | 14, 0, 0, 0, 0}, {P | 15, 0, 0, 0, 0}, {P | 1, 0, 0, 0, 0}, {P | 4, 0, 0, 0, 0},
		{P | 5, 0, 0, 0, 0}, {P | 0, 0, 0, 0, 0}, {S | 2, 1, 1, 1, 1}, {P | 3, 0, 0, 0, 0}, {P | 8, 0, 0, 0, 0},
	};

	rt_gdt_set(T_DATA + 8, 0);
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
		uint64_t d = rt_desc(0x12345678, 0x54321, row[i].type, 0xd);
		ulong v;

		rt_gdt_set(T_DATA, d);
		out[0] = 0;
		v = value(s_lar, T_DATA);
		quirk("TCG 7.2 has the 32-bit list of types");
		check(!(out[0] & FL_ZF) == !row[i].lar && (v & ~0xf0000ul) == (row[i].lar ? d >> 32 & 0xf0ff00 : 0x55a055aa),
			"LAR of type %x: %lx, ZF %d", row[i].type, v, !!(out[0] & FL_ZF));
		v = value(s_lsl, T_DATA);
		quirk("TCG 7.2 has the 32-bit list of types");
		check(!(out[0] & FL_ZF) == !row[i].lsl && v == (row[i].lsl ? 0x54321fff : 0x55aa55aa), "LSL of type %x: %lx, ZF %d",
			row[i].type, v, !!(out[0] & FL_ZF));
		value(s_verr, T_DATA);
		check(!(out[0] & FL_ZF) == !row[i].r, "VERR of type %x: %d", row[i].type, !!(out[0] & FL_ZF));
		value(s_verw, T_DATA);
		check(!(out[0] & FL_ZF) == !row[i].w, "VERW of type %x: %d", row[i].type, !!(out[0] & FL_ZF));
	}
	value(s_lar, 0);
	check(!(out[0] & FL_ZF), "LAR of null");
	value(s_lar, 0x300);
	check(!(out[0] & FL_ZF), "LAR beyond the limit");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | S | RW, FLAT));
	value(s_lar, T_DATA | 3);
	check(!(out[0] & FL_ZF), "RPL above DPL");
	rt_gdt_set(T_DATA, rt_desc(0, 0xfffff, P | S | RX | CONF, LONG));
	value(s_verr, T_DATA | 3);
	check(out[0] & FL_ZF, "conforming code has no such check");
}

static void far_calls(void)
{
	struct far32 f;
	struct trap *t;

	section("far jump");
	f = (struct far32){(uint32_t)(ulong)s_here, SEL_KCS};
	want(catch(s_ljmp, &f), NOTRAP, 0, NULL, "to itself");
	f.sel = 0;
	want(catch(s_ljmp, &f), GP, 0, s_ljmp, "null selector");
	f.sel = SEL_KDS;
	want(catch(s_ljmp, &f), GP, SEL_KDS, s_ljmp, "data segment");
	f.sel = SEL_UCS;
	want(catch(s_ljmp, &f), GP, SEL_UCS & ~3, s_ljmp, "outer ring");
	rt_gdt_set(T_CODE, rt_desc(0, 0xfffff, S | RX, LONG));
	f.sel = T_CODE;
	want(catch(s_ljmp, &f), NP, T_CODE, s_ljmp, "not present");
	rt_gdt_set(T_CODE, rt_desc(0, 0xfffff, P | S | RX, 0xe));
	quirk("TCG 7.2 does not check");
	want(catch(s_ljmp, &f), GP, T_CODE, s_ljmp, "L and D both set");
	rt_gdt_set(T_CODE, rt_desc(0, 0xfffff, P | 9, 0));
	want(catch(s_ljmp, &f), GP, T_CODE, s_ljmp, "a 64-bit TSS: no task switch");
	rt_gdt_set(T_CODE, rt_desc(0, 0xfffff, P | 5, 0));
	want(catch(s_ljmp, &f), GP, T_CODE, s_ljmp, "task gate");
	f.sel = 0x208;
	want(catch(s_ljmp, &f), GP, 0x208, s_ljmp, "beyond the GDT");

	section("far return and IRET");
	want(catch(s_lret, s_here, SEL_KCS), NOTRAP, 0, NULL, "same ring");
	want(catch(s_lret, s_here, SEL_KDS), GP, SEL_KDS, s_lret_at, "data segment");
	want(catch(s_lret, s_here, 0), GP, 0, s_lret_at, "null");
	t = catch(s_lret_user, u_ret, rt_user_stack_top - 64, SEL_UDS);
	want(t, USER_RET, 0, NULL, "to CPL 3");
	check(t->sp == (ulong)rt_user_stack_top - 64 && t->ss == SEL_UDS && t->cs == SEL_UCS, "stack %lx:%lx", t->ss, t->sp);
	want(catch(s_lret_user, u_ret, rt_user_stack_top - 64, SEL_KDS), GP, SEL_KDS, s_lret_user_at, "to CPL 3 with ss of DPL 0");
	want(catch(s_lret_user, u_ret, rt_user_stack_top - 64, 0), GP, 0, s_lret_user_at, "to CPL 3 with null ss");
	quirk("TCG 7.2 faults at the target");
	want(catch(s_lret, 0x800000000000ul, SEL_KCS), GP, 0, s_lret_at, "non-canonical");
	want(user(u_lret, u_ret, SEL_KCS), GP, SEL_KCS, u_lret + 2, "CPL 3 returns to CPL 0");
	{
		ulong f5[5] = {(ulong)u_ret, SEL_UCS, FL_1 | FL_CF, (ulong)rt_user_stack_top - 64, SEL_UDS};

		t = catch(s_iret5, f5);
		want(t, USER_RET, 0, NULL, "iret to CPL 3");
		check(t->flags == (FL_1 | FL_CF), "flags %lx", t->flags);
		f5[2] = FL_1 | FL_IOPL | FL_NT | FL_AC | FL_ID | FL_DF;
		t = catch(s_iret5, f5);
		check(t->flags == f5[2], "all flags %lx of %lx", t->flags, f5[2]);
		f5[2] = FL_1 | FL_VM;
		t = catch(s_iret5, f5);
		check(t->vec == USER_RET && !(t->flags & FL_VM), "VM is ignored in long mode: %ld %lx", t->vec, t->flags);
		f5[2] = FL_1;
		f5[1] = SEL_UCS32;
		t = catch(s_iret5, f5);
		want(t, USER_RET, 0, NULL, "iret to compatibility mode");
		check(t->cs == SEL_UCS32, "cs %lx", t->cs);
		f5[1] = SEL_KCS | 3;
		want(catch(s_iret5, f5), GP, SEL_KCS, s_iret5_at, "RPL 3, DPL 0");
		f5[1] = SEL_UCS;
		f5[4] = SEL_UCS;
		want(catch(s_iret5, f5), GP, SEL_UCS & ~3, s_iret5_at, "code in ss");
		f5[4] = SEL_UDS & ~3;
		want(catch(s_iret5, f5), GP, SEL_UDS & ~3, s_iret5_at, "ss RPL is not the CPL");
		f5[4] = SEL_UDS;
		f5[0] = 0x800000000000;
		t = catch(s_iret5, f5);
		quirk("TCG 7.2 faults at the target");
		want(t, GP, 0, s_iret5_at, "non-canonical rip");
		f5[0] = (ulong)s_here;
		f5[1] = SEL_KCS;
		f5[4] = 0;
		{
			ulong stack[64], ret = (ulong)s_here;

			(void)ret;
			stack[62] = (ulong)s_here;
			f5[3] = (ulong)&stack[62];
			f5[0] = (ulong)s_here;
			/* lands in s_here, which returns to s_here, which returns to... end it by an unmapped return */
			stack[63] = 0x400000000000ul;
			t = catch(s_iret5, f5);
			check(t->vec == PF && t->ip == 0x400000000000ul && t->ss == 0, "iret to CPL 0 pops a null ss: %ld %lx %lx", t->vec,
				t->ip, t->ss);
		}
	}
	want(catch(s_iret_nt), GP, 0, s_iret_nt_at, "IRET with NT in long mode");
}

static void gates(void)
{
	struct far32 f = {0xdeadbeef, T_GATE};
	struct trap *t;
	ulong *o = (ulong *)(void *)udata;

	section("call gate");
	memset(o, 0, 64);
	call_gate(T_GATE, SEL_KCS, s_callee, 3, 12, true);
	f.sel = T_GATE;
	memcpy(udata + 32, &f, sizeof(f));
	t = user(u_lcall, udata + 32, o);
	want(t, USER_RET, 0, NULL, "CPL 3 to 0 and back");
	check(o[0] == SEL_KCS, "cs %lx", o[0]);
	check(o[1] == *rt_tss_sp0() - 32, "stack from the TSS: %lx of %lx", o[1], *rt_tss_sp0());
	check(o[2] == (ulong)u_lcall_ret && o[3] == SEL_UCS, "return address %lx:%lx", o[3], o[2]);
	check(o[4] == SEL_UDS, "old ss %lx", o[4]);
	check(o[5] == 0, "ss is null in the inner ring: %lx", o[5]);
	t = catch(s_lcall, &f, o);
	/* 64-bit frame even with a 32-bit operand: the gate decides */
	want(t, NOTRAP, 0, NULL, "CPL 0 to 0");
	check(o[3] == SEL_KCS, "same ring: cs %lx", o[3]);
	call_gate(T_GATE, SEL_KCS, s_callee, 0, 12, true);
	want(user(u_lcall, udata + 32, o), GP, T_GATE, u_lcall, "gate DPL 0 from CPL 3");
	call_gate(T_GATE, SEL_KCS, s_callee, 3, 12, false);
	want(user(u_lcall, udata + 32, o), NP, T_GATE, u_lcall, "gate not present");
	call_gate(T_GATE, SEL_KDS, s_callee, 3, 12, true);
	want(user(u_lcall, udata + 32, o), GP, SEL_KDS, u_lcall, "to data");
	call_gate(T_GATE, SEL_KCS32, s_callee, 3, 12, true);
	want(user(u_lcall, udata + 32, o), GP, SEL_KCS32, u_lcall, "to 32-bit code");
	call_gate(T_GATE, 0, s_callee, 3, 12, true);
	want(user(u_lcall, udata + 32, o), GP, 0, u_lcall, "to null");
	call_gate(T_GATE, SEL_KCS, s_callee, 3, 12, true);
	rt_gdt_set(T_GATE + 8, 0xf0000000000);
	want(user(u_lcall, udata + 32, o), GP, T_GATE, u_lcall, "type bits in the upper half");
	call_gate(T_GATE, SEL_KCS, s_callee, 3, 4, true);
	want(user(u_lcall, udata + 32, o), GP, T_GATE, u_lcall, "16-bit call gate");
	/* conforming code keeps the CPL */
	rt_gdt_set(T_CODE, rt_desc(0, 0xfffff, P | S | RX | CONF, LONG));
	call_gate(T_GATE, T_CODE, u_ret, 3, 12, true);
	t = user(u_lcall, udata + 32, o);
	want(t, USER_RET, 0, u_ret + 2, "conforming target");
	quirk("TCG 7.2 sets RPL 0");
	check(t->cs == (T_CODE | 3), "CPL stays 3: cs %lx", t->cs);
	rt_gate(0x42, u_ret, 3, 0, 14, T_CODE);
	t = user(u_int42);
	want(t, USER_RET, 0, u_ret + 2, "interrupt gate to conforming code");
	check((t->cs & 3) == 3, "CPL stays 3: cs %lx", t->cs);
	rt_gate_reset(0x42);
	/* RSP0 that is no address: #SS(0)... the new stack pointer is the cause */
	{
		ulong sp0 = *rt_tss_sp0();

		rt_gate_ist(SS, 1);
		rt_gate_ist(TS, 1);
		*rt_tss_sp0() = 0x800000000000ul;
		call_gate(T_GATE, SEL_KCS, s_callee, 3, 12, true);
		t = user(u_lcall, udata + 32, o);
		*rt_tss_sp0() = sp0;
		quirk("TCG 7.2 raises #GP and then #DF");
		check(t->vec == SS, "non-canonical RSP0: %ld(%lx)", t->vec, t->err);
		rt_gate_ist(SS, 0);
		rt_gate_ist(TS, 0);
	}
}

SNIPPET(k_syscall, "mov %rcx, %gs:0\n mov %r11, %gs:8\n pushfq\n pop %rax\n mov %rax, %gs:16\n mov %cs, %eax\n mov %rax, %gs:24\n"
	"mov %ss, %eax\n mov %rax, %gs:32\n mov %rsp, %gs:40\n swapgs\n rdgsbase %rax\n swapgs\n sysretq");
SNIPPET(k_sysret32, "mov %rcx, %gs:0\n sysretl");
SNIPPET(k_syscall_c, "mov $0x77, %eax\n mov %rcx, %gs:0\n sysretl");
SNIPPET(s_sysret_nc, "mov %rdi, %rcx\n mov $2, %r11\n" AT(s_sysret_nc_at) "sysretq");
LABEL(s_sysret_nc_at);
SNIPPET(s_sysret_to, "mov %rdi, %rcx\n mov %rsi, %r11\n mov %rdx, %rsp\n sysretq");
SNIPPET(k_sysenter, "mov %rsp, %gs:0\n mov %cs, %eax\n mov %rax, %gs:8\n mov %ss, %eax\n mov %rax, %gs:16\n pushfq\n pop %rax\n mov %rax, %gs:24\n"
	"lea u_sysenter_ret(%rip), %rdx\n mov $rt_user_stack + 8192, %ecx\n rex.w sysexit");
static ulong gsdata[16];

static void syscalls(void)
{
	struct trap *t;

	section("SYSCALL");
	wrmsr(MSR_GS_BASE, (ulong)gsdata);
	wrmsr(MSR_KERNEL_GS, 0x123456789000);
	wrmsr(MSR_STAR, (uint64_t)(SEL_UCS32 & ~3) << 48 | (uint64_t)SEL_KCS << 32);
	wrmsr(MSR_LSTAR, (ulong)k_syscall);
	wrmsr(MSR_CSTAR, (ulong)k_syscall_c);
	wrmsr(MSR_SFMASK, FL_CF | FL_DF | FL_TF | FL_IF);
	wrcr4(rdcr4() | (cpu_has(F_FSGSBASE) ? CR4_FSGSBASE : 0));
	t = user(u_syscall);
	want(t, USER_RET, 0, u_syscall_ret + 2, "there and back");
	check(gsdata[0] == (ulong)u_syscall_ret, "rcx is the return address: %lx", gsdata[0]);
	check(gsdata[1] == (FL_1 | FL_CF), "r11 is rflags: %lx", gsdata[1]);
	check(gsdata[2] == FL_1, "flags are masked: %lx", gsdata[2]);
	check(gsdata[3] == SEL_KCS && gsdata[4] == SEL_KDS, "selectors %lx %lx", gsdata[3], gsdata[4]);
	check(gsdata[5] == (ulong)rt_user_stack_top - 64, "rsp is kept");
	check(t->flags == (FL_1 | FL_CF), "sysret restores flags: %lx", t->flags);
	check(t->cs == SEL_UCS && t->ss == SEL_UDS, "user selectors %lx %lx", t->cs, t->ss);
	check(t->regs.ax == 0x123456789000 || !cpu_has(F_FSGSBASE), "swapgs: %lx", t->regs.ax);
	wrmsr(MSR_LSTAR, (ulong)k_sysret32);
	/* to compatibility mode, which has no int3 behind it: the same bytes, read as 32-bit code */
	t = user(u_syscall);
	check(t->vec == USER_RET && t->cs == SEL_UCS32, "sysretl: %ld cs %lx", t->vec, t->cs);
	t = catch(s_sysret_to, u_ret, FL_1 | FL_RF | FL_VM | FL_ID | FL_IOPL, rt_user_stack_top - 64);
	want(t, USER_RET, 0, u_ret + 2, "sysret from nowhere");
	quirk("TCG 7.2 lets VM through");
	check((t->flags & ~(ulong)FL_RF) == (FL_1 | FL_ID | FL_IOPL), "sysret drops RF and VM: %lx", t->flags);
	quirk("TCG 7.2 faults at the target");
	want(catch(s_sysret_nc, 0x800000000000ul), GP, 0, s_sysret_nc_at, "sysret to a non-canonical address");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~(uint64_t)EFER_SCE);
	want(user(u_syscall), UD, 0, u_syscall_ret - 2, "without EFER.SCE");
	want(catch(s_sysret_nc, u_ret), UD, 0, s_sysret_nc_at, "sysret without EFER.SCE");
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);

	section("SYSENTER");
	t = user(u_sysenter);
	if (t->vec == UD) {
		skip("SYSENTER is #UD in long mode (AMD)");
	} else {
		want(t, GP, 0, u_sysenter, "SYSENTER_CS 0");
		wrmsr(MSR_SYSENTER_CS, SEL_KCS);
		wrmsr(MSR_SYSENTER_ESP, *rt_tss_sp0());
		wrmsr(MSR_SYSENTER_EIP, (ulong)k_sysenter);
		t = user(u_sysenter);
		want(t, USER_RET, 0, u_sysenter_ret + 2, "there and back");
		check(gsdata[0] == *rt_tss_sp0(), "rsp %lx", gsdata[0]);
		check(gsdata[1] == SEL_KCS && gsdata[2] == SEL_KDS, "selectors %lx %lx", gsdata[1], gsdata[2]);
		check(!(gsdata[3] & (FL_IF | FL_VM | FL_RF)), "flags %lx", gsdata[3]);
		check(t->cs == (SEL_KCS + 32) + 3 && t->ss == SEL_KCS + 40 + 3, "sysexit selectors %lx %lx", t->cs, t->ss);
		check(t->sp == (ulong)rt_user_stack + 8192, "sysexit rsp %lx", t->sp);
	}
	wrmsr(MSR_GS_BASE, 0);
}

static void compat(void)
{
	struct trap *t;

	section("compatibility mode");
	t = user32(u32_regs, 0, 0);
	want(t, USER_RET, 0, NULL, "32-bit code");
	check((uint32_t)t->regs.ax == 0x89abcdf0 && (uint32_t)t->regs.bx == 0x89abcdf0 && t->regs.cx == SEL_UCS32,
		"registers %lx %lx %lx", t->regs.ax, t->regs.bx, t->regs.cx);
	t = user32(u32_into, 0, 0);
	want(t, OF, 0, u32_into_next, "into");
	udata[0] = 0, udata[1] = 4;
	t = user32(u32_bound, (ulong)udata, 0);
	want(t, BR, 0, u32_bound_at, "bound");
	udata[1] = 5;
	want(user32(u32_bound, (ulong)udata, 0), USER_RET, 0, NULL, "bound, inside");
	t = user32(u32_bcd, 0, 0);
	check((t->regs.ax & 0xff) == 0x14 && t->flags & FL_CF, "daa: %lx flags %lx", t->regs.ax, t->flags);
	t = user32(u32_pusha, 0, 0);
	check((uint32_t)t->regs.ax == 5 && t->regs.cx == 2, "pusha, popa: %lx %lx", t->regs.ax, t->regs.cx);
	udata[0] = 0x1badcafe;
	t = user32(u32_wrap, (ulong)udata, 0);
	check(t->vec == USER_RET && (uint32_t)t->regs.ax == 0x1badcafe, "addresses wrap at 4 GiB: %ld %lx", t->vec, t->regs.ax);
	rt_gate(0x42, rt_stubs + 16 * 0x42, 3, 0, 14, SEL_KCS);
	want(user32(u32_int80, 0, 0), 0x42, 0, u32_int80 + 2, "int n from compatibility mode");
	rt_gate_reset(0x42);
	t = user32(u32_to64, 0, 0);
	check(t->vec == USER_RET && t->cs == SEL_UCS && t->regs.ax == 0x1122334455667788, "far jump to 64-bit code: %ld %lx %lx",
		t->vec, t->cs, t->regs.ax);
	want(user32(u32_ljmp_out, 0, 0), GP, 8, u32_ljmp_at, "far jump to CPL 0");
	quirk("TCG 7.2 does not check segments");
	want(user32(u32_null, 0, (ulong)udata), GP, 0, u32_null_at, "null es");

	section("limits in compatibility mode");
	quirks("TCG 7.2 does not check limits");
	/* expand up, byte limit 0x7f over udata */
	rt_gdt_set(T_DATA, rt_desc((uint32_t)(ulong)udata, 0x7f, P | S | DPL3 | RW, 4));
	want(user32(u32_limit, T_DATA | 3, 0x7c), USER_RET, 0, NULL, "last dword");
	want(user32(u32_limit, T_DATA | 3, 0x7d), GP, 0, u32_limit_at, "one byte over");
	want(user32(u32_limit, T_DATA | 3, 0xfffffffe), GP, 0, u32_limit_at, "wraps");
	want(user32(u32_limit_w, T_DATA | 3, 0x7c), USER_RET, 0, NULL, "write");
	rt_gdt_set(T_DATA, rt_desc((uint32_t)(ulong)udata, 0x7f, P | S | DPL3 | 1, 4));
	want(user32(u32_limit_w, T_DATA | 3, 0), GP, 0, u32_limit_w_at, "write to read only");
	/* expand down: valid above the limit */
	rt_gdt_set(T_DATA, rt_desc((uint32_t)(ulong)udata, 0x1f, P | S | DPL3 | 7, 4));
	want(user32(u32_limit, T_DATA | 3, 0x20), USER_RET, 0, NULL, "expand down, first valid");
	want(user32(u32_limit, T_DATA | 3, 0x1f), GP, 0, u32_limit_at, "expand down, limit itself");
	rt_gdt_set(T_DATA, rt_desc((uint32_t)(ulong)udata, 0x1f, P | S | DPL3 | 7, 0));
	want(user32(u32_limit, T_DATA | 3, 0xfffd), GP, 0, u32_limit_at, "expand down, 16-bit: ends at 64 KiB");
	/* page granular */
	rt_gdt_set(T_DATA, rt_desc((uint32_t)(ulong)udata & ~0xfffu, 0, P | S | DPL3 | RW, 0xc));
	want(user32(u32_limit, T_DATA | 3, 0xffc), USER_RET, 0, NULL, "page granular, last");
	want(user32(u32_limit, T_DATA | 3, 0xffd), GP, 0, u32_limit_at, "page granular, over");
	/* base wraps */
	rt_gdt_set(T_DATA, rt_desc(0xfffff000, 0xfffff, P | S | DPL3 | RW, 0xc));
	want(user32(u32_limit, T_DATA | 3, (ulong)udata + 0x1000), USER_RET, 0, NULL, "base and offset wrap");
	section("SYSCALL in compatibility mode");
	t = user32(u32_syscall, 0, 0);
	if (t->vec == UD) {
		skip("SYSCALL is #UD in compatibility mode (Intel)");
	} else {
		/* AMD: by CSTAR */
		check(t->vec == USER_RET, "SYSCALL by CSTAR: %ld", t->vec);
	}
}

static void io_bitmap(void)
{
	uint8_t *tss = rt_tss(), *map = tss + RT_TSS_SIZE;
	struct enter e = {SEL_UCS, SEL_UDS, (ulong)rt_user_stack_top - 64, FL_1};
	uint64_t desc = rt_gdt[SEL_TSS / 8];
	struct trap *t;

	section("IOPL");
	want(user(u_in, 0x80), GP, 0, u_in_at, "no permission");
	e.flags = FL_1 | FL_IOPL;
	want(enter(u_in, 0x80, 0, &e), USER_RET, 0, NULL, "IOPL 3 allows ports");
	want(enter(u_sti_cli, 0, 0, &e), USER_RET, 0, NULL, "IOPL 3 allows cli and sti");
	t = enter(u_popf, FL_IF, 0, &e);
	check(t->regs.ax & FL_IF, "popf changes IF with IOPL 3");
	e.flags = FL_1 | 0x2000;
	want(enter(u_cli, 0, 0, &e), GP, 0, u_cli, "IOPL 2 at CPL 3");
	t = enter(u_popf, FL_IF | FL_IOPL | FL_AC | FL_ID, 0, &e);
	check((t->regs.ax & (FL_IF | FL_IOPL | FL_AC | FL_ID)) == (0x2000 | FL_AC | FL_ID), "popf keeps IF and IOPL: %lx", t->regs.ax);

	section("I/O bitmap");
	memset(map, 0xff, 8192 + 1);
	tss[102] = RT_TSS_SIZE;
	/* limit covers the map for ports below 0x400 */
	rt_gdt_set(SEL_TSS, (desc & ~(0xffffull | 2ull << 40)) | (RT_TSS_SIZE + 0x80));
	__asm__ volatile("ltr %w0" :: "r"(SEL_TSS));
	want(user(u_in, 0x80), GP, 0, u_in_at, "bit set");
	map[0x80 / 8] = 0xfe;
	want(user(u_in, 0x80), USER_RET, 0, NULL, "bit clear");
	want(user(u_in, 0x81), GP, 0, u_in_at, "the next port");
	want(user(u_outl, 0xe0), GP, 0, u_outl_at, "four ports, none allowed");
	map[0xe0 / 8] = 0xf8;
	want(user(u_outl, 0xe0), GP, 0, u_outl_at, "three of four ports");
	map[0xe0 / 8] = 0xf0;
	want(user(u_outl, 0xe0), USER_RET, 0, NULL, "all four");
	map[0xe0 / 8] = 0x1f, map[0xe0 / 8 + 1] = 0xff;
	want(user(u_outl, 0xe5), GP, 0, u_outl_at, "across a byte of the map");
	map[0xe0 / 8 + 1] = 0xfe;
	want(user(u_outl, 0xe5), USER_RET, 0, NULL, "across a byte of the map, allowed");
	want(user(u_insb, 0x80, udata), USER_RET, 0, NULL, "insb");
	want(user(u_insb, 0x81, udata), GP, 0, u_insb_at, "insb, not allowed");
	want(user(u_in, 0x3ff), GP, 0, u_in_at, "last port of the map");
	map[0x3f8 / 8] = 0, map[0x400 / 8] = 0;
	want(user(u_in, 0x3ff), USER_RET, 0, NULL, "last port, two bytes are read and inside");
	want(user(u_in, 0x408), GP, 0, u_in_at, "beyond the TSS limit");
	memset(map, 0xff, 8192 + 1);
	rt_gdt_set(SEL_TSS, desc & ~(2ull << 40));
	__asm__ volatile("ltr %w0" :: "r"(SEL_TSS));

	section("UMIP");
	{
		ulong cr4 = rdcr4();
		static const char *const code[] = {u_sgdt, u_sidt, u_sldt, u_str, u_smsw};

		for (unsigned i = 0; i < 5; i++)
			want(user(code[i], udata), USER_RET, 0, NULL, "without UMIP");
		if (cpu_has(F_UMIP)) {
			wrcr4(cr4 | CR4_UMIP);
			for (unsigned i = 0; i < 5; i++)
				want(user(code[i], udata), GP, 0, code[i], "with UMIP");
			wrcr4(cr4);
		} else {
			skip("no UMIP");
		}
	}
}

static void bases(void)
{
	ulong cr4 = rdcr4();

	section("FS and GS bases");
	wrmsr(MSR_GS_BASE, 0xffffffff00000000ul + (uint32_t)(ulong)gsdata);
	gsdata[1] = 0x1122334455667788;
	want(catch(s_gs_read, 0x100000008ul), NOTRAP, 0, NULL, "base and offset wrap at 64 bits");
	wrmsr(MSR_GS_BASE, 0);
	if (!cpu_has(F_FSGSBASE)) {
		skip("no FSGSBASE");
		return;
	}
	wrcr4(cr4 & ~(ulong)CR4_FSGSBASE);
	want(catch(s_rdfsbase), UD, 0, s_rdfsbase, "rdfsbase without CR4");
	wrcr4(cr4 | CR4_FSGSBASE);
	want(user(u_rdfsbase), USER_RET, 0, NULL, "rdfsbase at CPL 3");
	quirk("TCG 7.2 does not check");
	want(catch(s_wrfsbase, 0x800000000000ul), GP, 0, s_wrfsbase, "non-canonical base");
	want(catch(s_wrfsbase, 0xffff800000000000ul), NOTRAP, 0, NULL, "canonical base");
	check(rdmsr(MSR_FS_BASE) == 0xffff800000000000ul, "the MSR is the base");
	wrmsr(MSR_GS_BASE, -1ul);
	catch(s_wrgsbase32, 0xffffffff87654321ul, out);
	check(out[0] == 0x87654321, "32-bit form zero-extends: %lx", out[0]);
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
	wrcr4(cr4);
}

void test_main(void)
{
	loads();
	lar_lsl();
	far_calls();
	gates();
	syscalls();
	compat();
	io_bitmap();
	bases();
}
