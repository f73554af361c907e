/* SPDX-License-Identifier: MIT */
/* every exception, its error code, address and saved flags; IST; nesting to a double fault */
#include "rt.h"

SNIPPET(s_div0, "xor %ecx, %ecx\n mov $1, %eax\n xor %edx, %edx\n .globl s_div0_at\ns_div0_at: div %ecx\n ret");
LABEL(s_div0_at);
SNIPPET(s_idiv_ovf, "mov $1, %ecx\n mov $0x80000000, %eax\n mov $0, %edx\n neg %ecx\n cltd\n"
	".globl s_idiv_ovf_at\ns_idiv_ovf_at: idiv %ecx\n ret");
LABEL(s_idiv_ovf_at);
SNIPPET(s_div8_ovf, "mov $0x1000, %ax\n mov $0x10, %cl\n .globl s_div8_at\ns_div8_at: div %cl\n ret");
LABEL(s_div8_at);
SNIPPET(s_div64_ovf, "mov $2, %edx\n xor %eax, %eax\n mov $2, %ecx\n .globl s_div64_at\ns_div64_at: div %rcx\n ret");
LABEL(s_div64_at);
SNIPPET(s_int3, "int3\n ret");
SNIPPET(s_cd03, ".byte 0xcd, 3\n ret");
SNIPPET(s_int1, ".byte 0xf1\n ret");
SNIPPET(s_ud2, "ud2");
SNIPPET(s_ud1, ".byte 0x0f, 0xb9, 0xc0\n ret");
SNIPPET(s_ud_06, ".byte 0x06\n ret");
SNIPPET(s_ud_9a, ".byte 0x9a, 0, 0, 0, 0, 0, 0\n ret");
SNIPPET(s_ud_lock, ".byte 0xf0, 0x90\n ret");
SNIPPET(s_ud_lockreg, ".byte 0xf0, 0x01, 0xc0\n ret");
SNIPPET(s_ud_lockmov, ".byte 0xf0, 0x89, 0x07\n ret");
SNIPPET(s_ud_into, ".byte 0xce\n ret");
SNIPPET(s_ud_daa, ".byte 0x27\n ret");
SNIPPET(s_ud_aam, ".byte 0xd4, 0x0a\n ret");
SNIPPET(s_ud_pusha, ".byte 0x60\n ret");
SNIPPET(s_ud_popcs, ".byte 0x0f, 0x0a\n ret");
SNIPPET(s_ud_lea, ".byte 0x8d, 0xc0\n ret");
SNIPPET(s_ud_movcr1, ".byte 0x0f, 0x20, 0xc8\n ret");
SNIPPET(s_ud_movcr9, ".byte 0x44, 0x0f, 0x20, 0xc8\n ret");
SNIPPET(s_ud_movcs, ".byte 0x8e, 0xc8\n ret");
SNIPPET(s_ud_sr6, ".byte 0x8e, 0xf0\n ret");
SNIPPET(s_ud_salc, ".byte 0xd6\n ret");
SNIPPET(s_long15, ".byte 0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x90\n ret");
SNIPPET(s_long16, ".byte 0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x2e,0x90\n ret");
SNIPPET(s_fpu, "fld1\n ret");
SNIPPET(s_fwait, "fwait\n ret");
SNIPPET(s_sse, "xorps %xmm0, %xmm0\n ret");
SNIPPET(s_mmx, "pxor %mm0, %mm0\n emms\n ret");
SNIPPET(s_load, "mov (%rdi), %rax\n ret");
SNIPPET(s_store, "mov %rax, (%rdi)\n ret");
SNIPPET(s_load_rsp, "mov %rsp, %rbx\n mov %rdi, %rsp\n .globl s_load_rsp_at\ns_load_rsp_at: mov (%rsp), %rax\n mov %rbx, %rsp\n ret");
LABEL(s_load_rsp_at);
SNIPPET(s_load_rbp, "push %rbp\n mov %rdi, %rbp\n .globl s_load_rbp_at\ns_load_rbp_at: mov 8(%rbp), %rax\n pop %rbp\n ret");
LABEL(s_load_rbp_at);
SNIPPET(s_load_r12, "push %r12\n mov %rdi, %r12\n .globl s_load_r12_at\ns_load_r12_at: mov 8(%r12), %rax\n pop %r12\n ret");
LABEL(s_load_r12_at);
SNIPPET(s_jmp, "jmp *%rdi");
SNIPPET(s_call_at, "call *%rdi\n ret");
SNIPPET(s_ret_to, "push %rdi\n .globl s_ret_to_at\ns_ret_to_at: ret");
LABEL(s_ret_to_at);
SNIPPET(s_movss, "mov %edi, %ss\n ret");
SNIPPET(s_movds, "mov %edi, %ds\n ret");
SNIPPET(s_movfs, "mov %edi, %fs\n ret");
SNIPPET(s_intn, "int $0x40\n ret");
SNIPPET(s_movaps, "movaps (%rdi), %xmm0\n ret");
SNIPPET(s_movaps_ss, "push %rbp\n mov %rdi, %rbp\n .globl s_movaps_ss_at\ns_movaps_ss_at: movaps (%rbp), %xmm0\n pop %rbp\n ret");
LABEL(s_movaps_ss_at);
SNIPPET(s_hlt, "hlt\n ret");
SNIPPET(s_mf, "fninit\n fldcw (%rdi)\n fld1\n fldz\n .globl s_mf_div\ns_mf_div: fdivrp\n nop\n .globl s_mf_at\ns_mf_at: fwait\n fninit\n ret");
LABEL(s_mf_at);
SNIPPET(s_xm, "ldmxcsr (%rdi)\n mov $0x3f800000, %eax\n movd %eax, %xmm0\n xorps %xmm1, %xmm1\n .globl s_xm_at\ns_xm_at: divss %xmm1, %xmm0\n ret");
LABEL(s_xm_at);
SNIPPET(s_ldmxcsr, "ldmxcsr (%rdi)\n ret");
SNIPPET(s_ac, "pushfq\n pushfq\n orl $0x40000, (%rsp)\n popfq\n mov 1(%rdi), %eax\n popfq\n ret");
USER_SNIPPET(u_ret, "int $0x80");
USER_SNIPPET(u_int3, "int3\n int $0x80");
USER_SNIPPET(u_hlt, "hlt\n int $0x80");
USER_SNIPPET(u_cli, "cli\n int $0x80");
USER_SNIPPET(u_sti, "sti\n int $0x80");
USER_SNIPPET(u_in, "in $0x80, %al\n int $0x80");
USER_SNIPPET(u_lgdt, "lgdt (%rdi)\n int $0x80");
USER_SNIPPET(u_lidt, "lidt (%rdi)\n int $0x80");
USER_SNIPPET(u_lldt, "lldt %ax\n int $0x80");
USER_SNIPPET(u_ltr, "ltr %ax\n int $0x80");
USER_SNIPPET(u_lmsw, "lmsw %ax\n int $0x80");
USER_SNIPPET(u_clts, "clts\n int $0x80");
USER_SNIPPET(u_rdmsr, "rdmsr\n int $0x80");
USER_SNIPPET(u_wrmsr, "wrmsr\n int $0x80");
USER_SNIPPET(u_movcr0, "mov %cr0, %rax\n int $0x80");
USER_SNIPPET(u_movcr3, "mov %rax, %cr3\n int $0x80");
USER_SNIPPET(u_movdr, "mov %dr7, %rax\n int $0x80");
USER_SNIPPET(u_invlpg, "invlpg (%rdi)\n int $0x80");
USER_SNIPPET(u_invd, "invd\n int $0x80");
USER_SNIPPET(u_wbinvd, "wbinvd\n int $0x80");
USER_SNIPPET(u_swapgs, "swapgs\n int $0x80");
USER_SNIPPET(u_sysret, "sysretq\n int $0x80");
USER_SNIPPET(u_sysexit, "sysexitl\n int $0x80");
USER_SNIPPET(u_rdpmc, "mov $0x1000, %ecx\n .globl u_rdpmc_at\nu_rdpmc_at: rdpmc\n int $0x80");
LABEL(u_rdpmc_at);
USER_SNIPPET(u_xsetbv, "xor %ecx, %ecx\n .globl u_xsetbv_at\nu_xsetbv_at: xsetbv\n int $0x80");
LABEL(u_xsetbv_at);
USER_SNIPPET(u_int40, "int $0x40\n int $0x80");
USER_SNIPPET(u_int13, "int $13\n int $0x80");
USER_SNIPPET(u_rdtsc, "rdtsc\n int $0x80");
USER_SNIPPET(u_load, "mov (%rdi), %rax\n int $0x80");
USER_SNIPPET(u_ac, "pushfq\n orl $0x40000, (%rsp)\n popfq\n .globl u_ac_at\nu_ac_at: mov 1(%rdi), %eax\n int $0x80");
LABEL(u_ac_at);
USER_SNIPPET(u_ac_ok, "pushfq\n orl $0x40000, (%rsp)\n popfq\n mov 4(%rdi), %eax\n mov 1(%rdi), %al\n int $0x80");
USER_SNIPPET(u_ac_push, "pushfq\n orl $0x40000, (%rsp)\n popfq\n sub $1, %rsp\n .globl u_ac_push_at\nu_ac_push_at: push %rax\n int $0x80");
LABEL(u_ac_push_at);
USER_SNIPPET(u_ac_sse, "pushfq\n orl $0x40000, (%rsp)\n popfq\n .globl u_ac_sse_at\nu_ac_sse_at: movups 1(%rdi), %xmm0\n int $0x80");
LABEL(u_ac_sse_at);
USER_SNIPPET(u_ac_word, "pushfq\n orl $0x40000, (%rsp)\n popfq\n .globl u_ac_word_at\nu_ac_word_at: cmpw $1, 1(%rdi)\n int $0x80");
LABEL(u_ac_word_at);
static uint8_t udata[4096] USER_DATA __attribute__((aligned(4096)));

static const ulong noncanon = 0x800000000000ul;

static void faults(void)
{
	struct trap *t;

	section("#DE");
	want(catch(s_div0), DE, 0, s_div0_at, "div by zero");
	want(catch(s_idiv_ovf), DE, 0, s_idiv_ovf_at, "idiv INT_MIN / -1");
	want(catch(s_div8_ovf), DE, 0, s_div8_at, "div r8 overflow");
	want(catch(s_div64_ovf), DE, 0, s_div64_at, "div r64 overflow");

	section("#BP");
	want(catch(s_int3), BP, 0, s_int3 + 1, "int3 saves the next address");
	want(catch(s_cd03), BP, 0, s_cd03 + 2, "int 3, long form");
	want(user(u_int3), BP, 0, u_int3 + 1, "int3 from CPL 3");

	section("INT1");
	t = catch(s_int1);
	quirk("TCG 7.2 has no INT1");
	want(t, DB, 0, s_int1 + 1, "int1 saves the next address");

	section("#UD");
	want(catch(s_ud2), UD, 0, s_ud2, "ud2");
	want(catch(s_ud1), UD, 0, s_ud1, "ud1");
	want(catch(s_ud_06), UD, 0, s_ud_06, "push es");
	want(catch(s_ud_9a), UD, 0, s_ud_9a, "direct far call");
	want(catch(s_ud_lock), UD, 0, s_ud_lock, "lock nop");
	want(catch(s_ud_lockreg), UD, 0, s_ud_lockreg, "lock add to a register");
	quirk("TCG 7.2 lets it pass");
	want(catch(s_ud_lockmov, page_alloc()), UD, 0, s_ud_lockmov, "lock mov");
	want(catch(s_ud_into), UD, 0, s_ud_into, "into");
	want(catch(s_ud_daa), UD, 0, s_ud_daa, "daa");
	want(catch(s_ud_aam), UD, 0, s_ud_aam, "aam");
	want(catch(s_ud_pusha), UD, 0, s_ud_pusha, "pusha");
	want(catch(s_ud_popcs), UD, 0, s_ud_popcs, "0f 0a");
	quirk("TCG 7.2: lea with a register");
	want(catch(s_ud_lea), UD, 0, s_ud_lea, "lea of a register");
	want(catch(s_ud_movcr1), UD, 0, s_ud_movcr1, "mov from cr1");
	want(catch(s_ud_movcr9), UD, 0, s_ud_movcr9, "mov from cr9");
	want(catch(s_ud_movcs), UD, 0, s_ud_movcs, "mov to cs");
	want(catch(s_ud_sr6), UD, 0, s_ud_sr6, "mov to segment 6");
	want(catch(s_ud_salc), UD, 0, s_ud_salc, "salc");

	section("length");
	want(catch(s_long15), NOTRAP, 0, NULL, "15 bytes are fine");
	want(catch(s_long16), GP, 0, s_long16, "16 bytes are too long");

	section("#GP");
	want(catch(s_load, noncanon), GP, 0, s_load, "load from a non-canonical address");
	want(catch(s_store, noncanon), GP, 0, s_store, "store");
	quirk("TCG 7.2 checks the first byte only");
	want(catch(s_load, noncanon - 4), GP, 0, s_load, "load across the canonical boundary");
	want(catch(s_load, -noncanon - 4), GP, 0, s_load, "load across the upper boundary");
	want(catch(s_movaps, udata + 8), GP, 0, s_movaps, "movaps misaligned");
	want(catch(s_intn), 0x40, 0, s_intn + 2, "int 0x40 at CPL 0");
	quirk("TCG 7.2 scales the index by 16");
	want(user(u_int40), GP, 0x40 * 8 + 2, u_int40, "int 0x40 at CPL 3: gate DPL");
	quirk("TCG 7.2 scales the index by 16");
	want(user(u_int13), GP, 13 * 8 + 2, u_int13, "int 13 at CPL 3: gate DPL");
	want(catch(s_movds, 0x38 | 0x1000), GP, 0x1038, s_movds, "selector beyond the GDT");
	want(catch(s_movds, SEL_TEST + 4), GP, SEL_TEST + 4, s_movds, "selector in a missing LDT");
	want(catch(s_movds, SEL_TSS), GP, SEL_TSS, s_movds, "a TSS is no data segment");
	want(catch(s_movss, 0x2b), GP, 0x28, s_movss, "ss with RPL 3 at CPL 0");
	want(catch(s_movss, SEL_KCS), GP, SEL_KCS, s_movss, "code in ss");
	quirk("TCG 7.2 does not check");
	want(catch(s_movss, 3), GP, 0, s_movss, "null selector with RPL 3 in ss");
	want(catch(s_movss, 0), NOTRAP, 0, NULL, "null selector in ss at CPL 0");
	catch(s_movss, SEL_KDS);

	section("#GP at a jump target");
	t = catch(s_jmp, noncanon);
	quirk("TCG 7.2 faults at the target");
	want(t, GP, 0, s_jmp, "jump to a non-canonical address");
	t = catch(s_call_at, noncanon);
	quirk("TCG 7.2 faults at the target");
	want(t, GP, 0, s_call_at, "call to a non-canonical address");
	t = catch(s_ret_to, noncanon);
	quirk("TCG 7.2 faults at the target");
	want(t, GP, 0, s_ret_to_at, "return to a non-canonical address");

	section("#SS");
	rt_gate_ist(SS, 2); /* one of them has rsp itself beyond the canonical range */
	quirk("TCG 7.2 raises #GP");
	want(catch(s_load_rsp, noncanon), SS, 0, s_load_rsp_at, "rsp base non-canonical");
	quirk("TCG 7.2 raises #GP");
	want(catch(s_load_rbp, noncanon), SS, 0, s_load_rbp_at, "rbp base non-canonical");
	want(catch(s_load_r12, noncanon), GP, 0, s_load_r12_at, "r12 is not a stack register");
	rt_gate_ist(SS, 0);
	quirk("TCG 7.2 checks the first byte only");
	want(catch(s_load_rbp, noncanon - 12), SS, 0, s_load_rbp_at, "across the boundary");
	quirk("TCG 7.2 raises #GP");
	want(catch(s_movaps_ss, (ulong)udata + 8), GP, 0, s_movaps_ss_at, "misaligned movaps with rbp: #GP, not #SS");
	rt_gdt_set(SEL_TEST, rt_desc(0, 0xfffff, 0x13, 0xc));
	want(catch(s_movss, SEL_TEST), SS, SEL_TEST, s_movss, "segment not present in ss");

	section("#NP");
	want(catch(s_movds, SEL_TEST), NP, SEL_TEST, s_movds, "ds not present");
	want(catch(s_movfs, SEL_TEST | 3), GP, SEL_TEST, s_movfs, "privilege is checked before presence");
	rt_gdt_set(SEL_TEST, rt_desc(0, 0xfffff, 0x73, 0xc));
	want(catch(s_movfs, SEL_TEST | 3), NP, SEL_TEST, s_movfs, "fs not present: RPL is not in the error code");
	rt_gdt_set(SEL_TEST, 0);
}

static void not_present_gates(void)
{
	section("IDT");
	rt_gate(0x40, rt_stubs + 16 * 0x40, 0, 0, 14 - 0, SEL_KCS);
	rt_gate_present(0x40, false);
	quirk("TCG 7.2 scales the index by 16");
	want(catch(s_intn), NP, 0x40 * 8 + 2, s_intn, "gate not present");
	rt_gate_reset(UD);
	rt_gate_present(UD, false);
	quirk("TCG 7.2 scales the index by 16, leaves out EXT");
	want(catch(s_ud2), NP, UD * 8 + 3, s_ud2, "gate not present for a fault: EXT set");
	rt_gate_reset(UD);
	rt_gate(0x40, rt_stubs + 16 * 0x40, 0, 0, 5, SEL_KCS);
	quirk("TCG 7.2 scales the index by 16");
	want(catch(s_intn), GP, 0x40 * 8 + 2, s_intn, "task gate in a 64-bit IDT");
	rt_gate(0x40, rt_stubs + 16 * 0x40, 0, 0, 14, 0);
	want(catch(s_intn), GP, 0, s_intn, "null code selector in the gate");
	rt_gate(0x40, rt_stubs + 16 * 0x40, 0, 0, 14, SEL_KDS);
	want(catch(s_intn), GP, SEL_KDS, s_intn, "data selector in the gate");
	rt_gate(0x40, rt_stubs + 16 * 0x40, 0, 0, 14, SEL_KCS32);
	want(catch(s_intn), GP, SEL_KCS32, s_intn, "32-bit code selector in the gate");
	rt_gate(0x40, rt_stubs + 16 * 0x40, 0, 0, 14, SEL_UCS);
	want(catch(s_intn), GP, SEL_UCS & ~3u, s_intn, "outer ring in the gate");
	rt_gate(0x40, (const void *)noncanon, 0, 0, 14, SEL_KCS);
	want(catch(s_intn), GP, 0, NULL, "non-canonical handler");
	rt_gate_reset(0x40);
}

static struct trap saved;
static bool hook_copy(struct frame *f)
{
	saved.handler_flags = rdflags();
	saved.flags = f->flags;
	saved.ip = f->ip;
	saved.handler_sp = (ulong)f;
	return true;
}

SNIPPET(s_int41, "int $0x41\n ret");
SNIPPET(s_flags_int41, "pushfq\n pushfq\n orl $0x44000, (%rsp)\n popfq\n int $0x41\n popfq\n ret");
SNIPPET(s_int42, "int $0x42\n ret");
SNIPPET(s_std_int, "std\n int $0x41\n cld\n ret");

static void frames(void)
{
	struct trap *t;

	section("stack frame");
	rt_hook[0x41] = rt_hook[0x42] = hook_copy;
	rt_gate(0x42, rt_stubs + 16 * 0x42, 0, 0, 15, SEL_KCS);
	sti();
	catch(s_int41);
	check(!(saved.handler_flags & FL_IF), "interrupt gate clears IF");
	check(saved.flags & FL_IF, "saved flags have IF");
	catch(s_int42);
	check(saved.handler_flags & FL_IF, "trap gate leaves IF");
	cli();
	check((saved.handler_sp & 7) == 0, "frame aligned");
	catch(s_flags_int41);
	check((saved.flags & (FL_AC | FL_NT)) == (FL_AC | FL_NT), "AC and NT are saved: %lx", saved.flags);
	check(!(saved.handler_flags & FL_NT), "NT is clear in the handler");
	check(saved.handler_flags & FL_AC, "AC stays in the handler");
	catch(s_std_int);
	check(saved.flags & FL_DF, "DF is saved");

	section("RF");
	t = catch(s_ud2);
	quirk("TCG 7.2 does not set RF");
	check(t->flags & FL_RF, "a fault saves RF set (SDM 18.3.1.1): %lx", t->flags);
	t = catch(s_int3);
	check(!(t->flags & FL_RF), "a trap saves RF clear: %lx", t->flags);
	t = catch(s_intn);
	check(!(t->flags & FL_RF), "INT n saves RF clear: %lx", t->flags);
	t = catch(s_load, 0x400000000000ul - 8);
	quirk("TCG 7.2 does not set RF");
	check(t->vec == PF && t->flags & FL_RF, "#PF saves RF set: %lx", t->flags);

	section("IST");
	t = catch(s_ud2);
	check(t->handler_sp < rt_ist_top[2] - 4096 || t->handler_sp > rt_ist_top[2], "no IST");
	for (unsigned i = 1; i <= 3; i++) {
		rt_gate_ist(UD, i);
		t = catch(s_ud2);
		check(t->vec == UD && t->handler_sp == rt_ist_top[i] - 40, "IST%u: sp %lx, top %lx", i, t->handler_sp,
			rt_ist_top[i]);
		rt_gate_ist(PF, i);
		t = catch(s_load, 0x400000000000ul - 8);
		check(t->vec == PF && t->handler_sp == rt_ist_top[i] - 40, "IST%u with error code: sp %lx, top %lx", i,
			t->handler_sp, rt_ist_top[i]);
		t = user(u_load, 0x400000000000ul - 8);
		check(t->vec == PF && t->handler_sp == rt_ist_top[i] - 40, "IST%u from CPL 3: sp %lx", i, t->handler_sp);
	}
	rt_gate_ist(UD, 0);
	rt_gate_ist(PF, 0);
	t = user(u_ret);
	check(t->vec == USER_RET && t->handler_sp == ((*rt_tss_sp0() & -16ul) - 40), "CPL 3 switches to RSP0: %lx, %lx",
		t->handler_sp, *rt_tss_sp0());
	check(t->cs == SEL_UCS && t->ss == SEL_UDS, "saved selectors %lx %lx", t->cs, t->ss);
	{
		ulong sp0 = *rt_tss_sp0();

		*rt_tss_sp0() = sp0 - 4;
		t = user(u_ret);
		check(t->handler_sp == ((sp0 - 4) & -16ul) - 40, "RSP0 is aligned down to 16: %lx %lx", t->handler_sp, sp0);
		*rt_tss_sp0() = sp0;
	}
	rt_hook[0x41] = rt_hook[0x42] = NULL;
	rt_gate_reset(0x42);
}

static void fpu(void)
{
	ulong cr0 = rdcr0(), cr4 = rdcr4();
	struct trap *t;
	uint16_t cw = 0x37b; /* divide by zero unmasked */
	uint32_t mxcsr = 0x1d80;

	section("#NM");
	wrcr0(cr0 | CR0_TS);
	want(catch(s_fpu), NM, 0, s_fpu, "x87 with TS");
	want(catch(s_sse), NM, 0, s_sse, "SSE with TS");
	want(catch(s_mmx), NM, 0, s_mmx, "MMX with TS");
	want(catch(s_fwait), NM, 0, s_fwait, "fwait with TS and MP");
	wrcr0((cr0 | CR0_TS) & ~(ulong)CR0_MP);
	want(catch(s_fwait), NOTRAP, 0, NULL, "fwait with TS, no MP");
	want(catch(s_fpu), NM, 0, s_fpu, "x87 with TS, no MP");
	wrcr0((cr0 & ~(ulong)CR0_TS) | CR0_EM);
	want(catch(s_fpu), NM, 0, s_fpu, "x87 with EM");
	want(catch(s_sse), UD, 0, s_sse, "SSE with EM");
	want(catch(s_mmx), UD, 0, s_mmx, "MMX with EM");
	wrcr0(cr0 | CR0_TS);
	__asm__ volatile("clts");
	check(rdcr0() == cr0, "clts");
	wrcr0(cr0);
	wrcr4(cr4 & ~(ulong)CR4_OSFXSR);
	want(catch(s_sse), UD, 0, s_sse, "SSE without OSFXSR");
	want(catch(s_mmx), NOTRAP, 0, NULL, "MMX without OSFXSR");
	wrcr4(cr4);
	want(catch(s_sse), NOTRAP, 0, NULL, "SSE");

	section("#MF");
	__asm__ volatile("fninit");
	quirk("TCG 7.2 checks pending exceptions at FWAIT only with a later address");
	want(catch(s_mf, &cw), MF, 0, s_mf_at, "pending divide by zero at fwait");
	__asm__ volatile("fninit");

	section("#XM");
	quirk("TCG 7.2 has no #XM");
	t = catch(s_xm, &mxcsr);
	want(t, XM, 0, s_xm_at, "divss by zero, unmasked");
	wrcr4(cr4 & ~(ulong)CR4_OSXMMEXCPT);
	quirk("TCG 7.2 raises #XM regardless");
	want(catch(s_xm, &mxcsr), UD, 0, s_xm_at, "the same without OSXMMEXCPT");
	wrcr4(cr4);
	mxcsr = 0x1f80;
	__asm__ volatile("ldmxcsr %0" :: "m"(mxcsr));
	mxcsr = 0x10000;
	quirk("TCG 7.2 accepts reserved bits");
	want(catch(s_ldmxcsr, &mxcsr), GP, 0, s_ldmxcsr, "reserved MXCSR bit");
	mxcsr = 0x1f80;
	__asm__ volatile("ldmxcsr %0" :: "m"(mxcsr));
}

static void privileged(void)
{
	static const struct { const char *code, *name; } row[] = {
		{u_hlt, "hlt"}, {u_cli, "cli"}, {u_sti, "sti"}, {u_in, "in"}, {u_lgdt, "lgdt"}, {u_lidt, "lidt"},
		{u_lldt, "lldt"}, {u_ltr, "ltr"}, {u_lmsw, "lmsw"}, {u_clts, "clts"}, {u_rdmsr, "rdmsr"},
		{u_wrmsr, "wrmsr"}, {u_movcr0, "mov from cr0"}, {u_movcr3, "mov to cr3"}, {u_movdr, "mov from dr7"},
		{u_invlpg, "invlpg"}, {u_invd, "invd"}, {u_wbinvd, "wbinvd"}, {u_swapgs, "swapgs"},
		{u_sysret, "sysret"}, {u_sysexit, "sysexit"},
	};
	ulong cr4 = rdcr4();

	section("privileged at CPL 3");
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct trap *t = user(row[i].code, udata);

		quirk("AMD's sysexit is #UD in long mode");
		check(t->vec == GP && t->err == 0 && t->ip == (ulong)row[i].code, "%s: vector %ld(%lx) at %lx", row[i].name,
			t->vec, t->err, t->ip);
	}
	quirk("TCG 7.2: rdpmc");
	want(user(u_rdpmc), GP, 0, u_rdpmc_at, "rdpmc without CR4.PCE");
	if (cpu_has(F_XSAVE)) {
		quirk("TCG 7.2 checks CPL first");
		want(user(u_xsetbv), UD, 0, u_xsetbv_at, "xsetbv without OSXSAVE");
		wrcr4(cr4 | CR4_OSXSAVE);
		want(user(u_xsetbv), GP, 0, u_xsetbv_at, "xsetbv at CPL 3");
		wrcr4(cr4);
	}
	want(user(u_rdtsc), USER_RET, 0, NULL, "rdtsc");
	wrcr4(cr4 | CR4_TSD);
	want(user(u_rdtsc), GP, 0, u_rdtsc, "rdtsc with TSD");
	wrcr4(cr4);
}

static void alignment(void)
{
	ulong cr0 = rdcr0();

	section("#AC");
	want(user(u_ac, udata), USER_RET, 0, NULL, "CR0.AM clear");
	wrcr0(cr0 | CR0_AM);
	quirk("TCG 7.2 has no #AC");
	want(user(u_ac, udata), AC, 0, u_ac_at, "dword at 1 mod 4");
	want(user(u_ac_ok, udata), USER_RET, 0, NULL, "aligned and byte accesses");
	quirk("TCG 7.2 has no #AC");
	want(user(u_ac_push, udata), AC, 0, u_ac_push_at, "push on a misaligned stack");
	want(user(u_ac_word, udata + 1), USER_RET, 0, NULL, "word at 2 mod 4");
	quirk("TCG 7.2 has no #AC");
	want(user(u_ac_word, udata), AC, 0, u_ac_word_at, "word at 1");
	want(catch(s_ac, udata), NOTRAP, 0, NULL, "no #AC at CPL 0");
	wrcr0(cr0);
}

SNIPPET(s_bad_stack, "mov %rdi, %rsp\n .globl s_bad_stack_at\ns_bad_stack_at: push %rax\n ret");
LABEL(s_bad_stack_at);
SNIPPET(s_bad_stack_ud, "mov %rdi, %rsp\n .globl s_bad_stack_ud_at\ns_bad_stack_ud_at: ud2");
LABEL(s_bad_stack_ud_at);

static void double_fault(void)
{
	struct trap *t;

	section("#DF");
	/* #PF while #PF is delivered: the stack is not mapped, #DF has an IST */
	t = catch(s_bad_stack, 0x400000000000ul - 4096);
	want(t, DF, 0, s_bad_stack_at, "page fault on a push, then on the frame");
	check(t->handler_sp == rt_ist_top[1] - 40, "on IST1");
	check(t->sp == 0x400000000000ul - 4096, "saved rsp %lx", t->sp);
}

/* #UD is benign: the #PF that its frame causes is delivered, on an IST so that it can be. */
static void double_fault_ist(void)
{
	struct trap *t;

	rt_gate_ist(PF, 2);
	section("#DF classes");
	t = catch(s_bad_stack_ud, 0x400000000000ul - 4096);
	want(t, PF, PF_W, s_bad_stack_ud_at, "benign #UD + #PF gives #PF");
	check(t->cr2 == (0x400000000000ul - 4096 - 8), "cr2 %lx", t->cr2);
	rt_gate(UD, rt_stubs + 16 * UD, 0, 0, 14, SEL_KDS);
	quirk("TCG 7.2 leaves out EXT");
	want(catch(s_ud2), GP, SEL_KDS | 1, s_ud2, "#UD through a bad gate: #GP with EXT");
	rt_gate_reset(UD);
	rt_gate(GP, rt_stubs + 16 * GP, 0, 0, 14, SEL_KDS);
	want(catch(s_load, noncanon), DF, 0, s_load, "#GP through a bad gate: contributory twice");
	rt_gate(DE, rt_stubs, 0, 0, 14, SEL_KDS);
	want(catch(s_div0), DF, 0, s_div0_at, "#DE + #GP + #GP");
	rt_gate_reset(GP);
	want(catch(s_div0), DF, 0, s_div0_at, "#DE through a bad gate: contributory + #GP");
	rt_gate_reset(DE);
	rt_gate(PF, rt_stubs + 16 * PF, 0, 0, 14, SEL_KDS);
	want(catch(s_load, 0x400000000000ul - 8), DF, 0, s_load, "#PF through a bad gate: #PF + #GP");
	rt_gate_reset(PF);
}

void test_main(void)
{
	faults();
	not_present_gates();
	frames();
	fpu();
	privileged();
	alignment();
	double_fault();
	double_fault_ist();
}
