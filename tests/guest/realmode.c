/* SPDX-License-Identifier: MIT */
/*
 * Real mode: a blob of 16-bit snippets runs at 1000:0. The test leaves protected mode for each of them
 * with given registers and comes back with what they left, or with the exception they raised. With a
 * second CPU, what a SIPI makes of it.
 */
#include "rt.h"

enum { T_CODE16 = 0x40, T_DATA16 = 0x48, BLOB = 0x10000, NONE = 0xffff };

struct regs {
	uint32_t ax, bx, cx, dx, si, di, bp, flags;
	uint16_t vec, ip, cs, fl; /* exception: vector, what was pushed */
	uint16_t sp, ss;
};

#define O(l) #l " - rm_blob"
#define RM(name) ".globl " #name "\n" #name ":\n"
__asm__(".text\n.align 16\n.globl rm_blob, rm_blob_end, rm_enter, rm_leave32, rm_call_\n"
	".code16\nrm_blob:\n"
	/* 16-bit protected mode, selectors still those of 32-bit code; fs is flat and stays big */
	"	mov $0x48, %ax\n mov %ax, %ds\n mov %ax, %es\n mov %ax, %ss\n mov %ax, %gs\n"
	"	mov %cr0, %eax\n and $0xfe, %al\n mov %eax, %cr0\n"
	"	ljmp $0x1000, $(1f - rm_blob)\n"
	"1:	mov %cs, %ax\n mov %ax, %ds\n mov %ax, %es\n mov %ax, %gs\n mov $0x3000, %ax\n mov %ax, %ss\n mov $0xf000, %esp\n"
	"	lidtl (" O(rm_idtr) ")\n"
	"	mov (" O(rm_regs) " + 0), %eax\n mov (" O(rm_regs) " + 4), %ebx\n mov (" O(rm_regs) " + 8), %ecx\n"
	"	mov (" O(rm_regs) " + 12), %edx\n mov (" O(rm_regs) " + 16), %esi\n mov (" O(rm_regs) " + 20), %edi\n"
	"	mov (" O(rm_regs) " + 24), %ebp\n"
	"	pushl (" O(rm_regs) " + 28)\n popfl\n"
	"	call *%cs:(" O(rm_fn) ")\n"
	"rm_save:\n"
	"	mov %sp, %cs:(" O(rm_regs) " + 40)\n mov %ss, %cs:(" O(rm_regs) " + 42)\n"
	"rm_save2:\n"
	"	pushfl\n popl %cs:(" O(rm_regs) " + 28)\n cli\n cld\n"
	"	mov %eax, %cs:(" O(rm_regs) " + 0)\n mov %ebx, %cs:(" O(rm_regs) " + 4)\n mov %ecx, %cs:(" O(rm_regs) " + 8)\n"
	"	mov %edx, %cs:(" O(rm_regs) " + 12)\n mov %esi, %cs:(" O(rm_regs) " + 16)\n mov %edi, %cs:(" O(rm_regs) " + 20)\n"
	"	mov %ebp, %cs:(" O(rm_regs) " + 24)\n"
	"	mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n"
	"	ljmpl $0x18, $rm_leave32\n"
	/* exceptions: 8 bytes each */
	"	.align 8\nrm_stubs:\n .set v, 0\n .rept 256\n .align 8\n pushw $v\n jmp rm_trap\n .set v, v + 1\n .endr\n"
	"rm_trap:\n"
	"	popw %cs:(" O(rm_regs) " + 32)\n popw %cs:(" O(rm_regs) " + 34)\n popw %cs:(" O(rm_regs) " + 36)\n popw %cs:(" O(rm_regs) " + 38)\n"
	"	mov %sp, %cs:(" O(rm_regs) " + 40)\n mov %ss, %cs:(" O(rm_regs) " + 42)\n"
	"	push %ax\n mov $0x3000, %ax\n mov %ax, %ss\n mov $0xe000, %esp\n jmp rm_save2\n"
	"	.align 4\nrm_regs: .skip 48\nrm_fn: .word 0\n	.align 4\nrm_idtr: .word 0x3ff\n .long 0\n"

	/* the snippets */
	RM(r_alu) "add %bx, %ax\n ret\n"
	RM(r_alu32) "add %ebx, %eax\n ret\n"
	RM(r_seg) "mov $0x2000, %ax\n mov %ax, %es\n mov $0x5678, %bx\n mov %bx, %es:(0x10)\n mov $0x2001, %ax\n mov %ax, %es\n mov %es:(0), %dx\n ret\n"
	RM(r_hma) "mov $0xffff, %ax\n mov %ax, %es\n mov %es:(0x10), %eax\n ret\n"
	RM(r_limit) "mov $0xffff, %bx\n" RM(r_limit_at) "mov %ds:(%bx), %ax\n ret\n"
	RM(r_limit_d) "mov $0xfffd, %bx\n" RM(r_limit_d_at) "mov %eax, %ds:(%bx)\n ret\n"
	RM(r_limit_ok) "mov $0xfffe, %bx\n mov %es:(%bx), %ax\n ret\n"
	RM(r_wrap_ea) "mov $0xfff0, %bx\n mov $0x20, %si\n mov %es:(%bx,%si), %ax\n ret\n"
	RM(r_big) "mov $0x200000, %esi\n addr32 mov %fs:(%esi), %eax\n ret\n"
	RM(r_big_keep) "mov $0x1000, %ax\n mov %ax, %fs\n mov $0x1f0000, %esi\n addr32 mov %fs:(%esi), %eax\n ret\n"
	RM(r_small) "mov $0x10000, %esi\n" RM(r_small_at) "addr32 mov %gs:(%esi), %eax\n ret\n"
	RM(r_int) "sti\n int $0x60\n" RM(r_int_ret) "cli\n ret\n"
	RM(h_iret) "mov %sp, %bp\n mov %ss:(%bp), %ax\n mov %ss:2(%bp), %bx\n mov %ss:4(%bp), %cx\n pushf\n pop %dx\n orw $1, %ss:4(%bp)\n iret\n"
	RM(r_int60_regs) "int $0x61\n ret\n"
	RM(r_div) "xor %cx, %cx\n" RM(r_div_at) "div %cx\n ret\n"
	RM(r_ud) "ud2\n"
	RM(r_into) "mov $0x7fff, %ax\n inc %ax\n" RM(r_into_at) "into\n" RM(r_into_next) "ret\n"
	RM(r_bound) "mov $9, %ax\n" RM(r_bound_at) "bound %ax, (" O(r_range) ")\n ret\n"
	"r_range: .word 1, 8\n"
	RM(r_int3) "int3\n" RM(r_int3_next) "ret\n"
	RM(r_lcall) "lcall $0x1000, $(" O(r_far) ")\n ret\n"
	RM(r_far) "mov %cs, %ax\n mov $0x77, %bx\n lret\n"
	RM(r_lcall_m) "push $5\n push $6\n lcall *%cs:(" O(r_ptr) ")\n ret\n"
	"r_ptr: .word " O(r_far4) ", 0x1000\n"
	RM(r_far4) "mov $0x88, %bx\n lret $4\n"
	RM(r_cs2) "lcall $0x0ff0, $(" O(r_far) " + 0x100)\n ret\n"
	RM(r_movs_wrap) "mov $0x2000, %ax\n mov %ax, %ds\n mov %ax, %es\n mov $0xfffe, %si\n mov $0xfffd, %di\n mov $5, %cx\n rep movsb\n ret\n"
	RM(r_movs_67) "mov $0x10002, %ecx\n mov $3, %cx\n mov $0x2000, %ax\n mov %ax, %ds\n mov %ax, %es\n mov $0x100, %esi\n mov $0x200, %edi\n addr32 rep movsb\n ret\n"
	RM(r_std) "mov $0x2000, %ax\n mov %ax, %ds\n mov %ax, %es\n mov $0x104, %si\n mov $0x204, %di\n mov $5, %cx\n std\n rep movsb\n cld\n ret\n"
	RM(r_scas) "mov $0x2000, %ax\n mov %ax, %es\n mov $0x100, %di\n mov $3, %al\n mov $16, %cx\n repne scasb\n ret\n"
	RM(r_cmps) "mov $0x2000, %ax\n mov %ax, %ds\n mov %ax, %es\n mov $0x100, %si\n mov $0x200, %di\n mov $16, %cx\n repe cmpsb\n ret\n"
	RM(r_lods) "mov $0x2000, %ax\n mov %ax, %ds\n mov $0xffff, %si\n lodsb\n mov %al, %ah\n lodsb\n ret\n"
	RM(r_stos0) "xor %cx, %cx\n mov $0x300, %di\n rep stosb\n ret\n"
	RM(r_pusha) "pusha\n xor %ax, %ax\n xor %bx, %bx\n mov %sp, %bp\n mov 6(%bp), %dx\n mov %dx, %cs:(" O(rm_scratch) ")\n popa\n ret\n"
	RM(r_pushad) "pushal\n xor %eax, %eax\n xor %edi, %edi\n popal\n ret\n"
	RM(r_enter) "mov $0x5555, %bp\n enter $8, $0\n mov %bp, %ax\n mov %sp, %bx\n mov %ss:(%bp), %cx\n leave\n ret\n"
	RM(r_enter2) "mov $0x100, %bp\n movw $0x1111, %ss:-2(%bp)\n mov %sp, %si\n enter $4, $2\n mov %ss:-2(%bp), %ax\n mov %ss:-4(%bp), %bx\n sub %sp, %si\n mov %bp, %dx\n leave\n ret\n"
	RM(r_pushsp) "mov %sp, %bx\n push %sp\n pop %ax\n sub %bx, %ax\n ret\n"
	RM(r_popsp) "mov %sp, %bx\n push $0x1234\n pop %sp\n mov %sp, %ax\n mov %bx, %sp\n ret\n"
	RM(r_push_wrap) "mov %sp, %bx\n mov $0x2000, %ax\n mov %ss, %dx\n mov %ax, %ss\n xor %sp, %sp\n push $0x4321\n mov %sp, %cx\n mov %dx, %ss\n mov %bx, %sp\n ret\n"
	RM(r_push_imm) "push $-1\n pop %ax\n pushl $-2\n popl %ebx\n pushf\n pop %cx\n pushfl\n popl %edx\n ret\n"
	RM(r_bcd) "mov $0x79, %al\n add $0x35, %al\n daa\n mov %al, %bl\n mov $63, %al\n aam\n mov %ax, %cx\n mov $0x0905, %ax\n aad\n mov %ax, %dx\n ret\n"
	RM(r_mul) "mov $0x1234, %ax\n mov $0x5678, %bx\n mul %bx\n ret\n"
	RM(r_imul3) "imul $-3, %bx, %ax\n ret\n"
	RM(r_loop) "xor %ax, %ax\n mov $5, %ecx\n 1: inc %ax\n loop 1b\n ret\n"
	RM(r_loop32) "xor %ax, %ax\n mov $0x10001, %ecx\n jcxz 2f\n 1: inc %ax\n addr32 loop 3f\n 2: ret\n 3: mov $0x99, %ax\n ret\n"
	RM(r_jecxz) "mov $0x10000, %ecx\n xor %ax, %ax\n jcxz 1f\n ret\n 1: inc %ax\n addr32 jcxz 2f\n ret\n 2: inc %ax\n ret\n"
	RM(r_xlat) "mov $0x2000, %ax\n mov %ax, %ds\n mov $0xfffe, %bx\n mov $4, %al\n xlat\n ret\n"
	RM(r_les) "les %cs:(" O(r_ptr2) "), %di\n mov %es, %ax\n ret\n"
	"r_ptr2: .word 0x1234, 0x2345\n"
	RM(r_lss) "mov %ss, %dx\n mov %sp, %bx\n lss %cs:(" O(r_ptr3) "), %sp\n mov %ss, %ax\n mov %sp, %cx\n mov %dx, %ss\n mov %bx, %sp\n ret\n"
	"r_ptr3: .word 0x4000, 0x2345\n"
	RM(r_smsw) "smsw %ax\n ret\n"
	RM(r_mode) "mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n and $0xfe, %al\n mov %eax, %cr0\n mov $0x2000, %ax\n mov %ax, %es\n mov %es:(0x10), %ax\n ret\n"
	RM(r_lmsw) "smsw %ax\n or $1, %al\n lmsw %ax\n mov %cr0, %ebx\n xor %ax, %ax\n lmsw %ax\n mov %cr0, %ecx\n mov %ecx, %eax\n and $0xfe, %al\n mov %eax, %cr0\n ret\n"
	RM(r_sgdt) "sgdtl %cs:(" O(rm_scratch) ")\n mov %cs:(" O(rm_scratch) " + 2), %eax\n movw %cs:(" O(rm_scratch) "), %bx\n ret\n"
	RM(r_ip_wrap) "pushw $(" O(r_after_wrap) ")\n ljmp $0x2000, $0xfffe\n"
	RM(r_after_wrap) "ret\n"
	RM(r_eip) "mov $0x10000, %eax\n" RM(r_eip_at) "jmpl *%eax\n"
	RM(r_lock) "lock addw $1, %cs:(" O(rm_scratch) ")\n mov %cs:(" O(rm_scratch) "), %ax\n ret\n"
	RM(r_lldt) "lldt %ax\n ret\n"
	RM(r_verr) "verr %ax\n ret\n"
	RM(r_arpl) "arpl %ax, %bx\n ret\n"
	RM(r_ltr) "ltr %ax\n ret\n"
	RM(r_popf) "pushw $0x7cd5\n popf\n pushf\n pop %ax\n pushw $2\n popf\n ret\n"
	RM(r_self) "movb $0x42, %cs:(" O(r_self_at) " + 1)\n" RM(r_self_at) "mov $0, %al\n ret\n"
	RM(r_rep_prefix) "mov $0x2000, %ax\n mov %ax, %es\n mov $0x400, %di\n mov $0x11223344, %eax\n mov $2, %cx\n rep stosl\n ret\n"
	RM(r_ins) "mov $0xe0, %dx\n mov $0x2000, %ax\n mov %ax, %ds\n mov %ax, %es\n mov $0x100, %si\n mov $1, %cx\n rep outsb\n mov $0x500, %di\n insb\n ret\n"
	RM(r_tf) "pushf\n pop %ax\n or $1, %ah\n push %ax\n popf\n" RM(r_tf1) "nop\n" RM(r_tf2) "nop\n ret\n"
	RM(r_wbinvd) "wbinvd\n cpuid\n rdtsc\n ret\n"
	"rm_scratch: .long 0, 0\n"
	"rm_blob_end:\n"
	".code32\n"
	/* void rm_call_(void): leaves for the blob; everything is in memory */
	"rm_call_: pusha\n pushf\n cli\n mov %esp, rm_esp\n sidt rm_old_idt\n mov $0x10, %eax\n mov %eax, %fs\n ljmp $0x40, $0\n"
	"rm_leave32: mov $0x10, %eax\n mov %eax, %ds\n mov %eax, %es\n mov %eax, %ss\n mov rm_esp, %esp\n lidt rm_old_idt\n"
	"xor %eax, %eax\n mov %eax, %fs\n mov %eax, %gs\n popf\n popa\n ret\n"
	".data\nrm_esp: .long 0\nrm_old_idt: .skip 8\n.text\n");

extern const char rm_blob[], rm_blob_end[], rm_stubs[] __asm__("rm_stubs"), rm_regs[] __asm__("rm_regs"),
	rm_fn[] __asm__("rm_fn");
extern const char rm_scratch[] __asm__("rm_scratch");
void rm_call_(void);
#define OFF(l) ((uint16_t)((ulong)(l) - (ulong)rm_blob))

static struct regs res;
static uint8_t *const seg2 = (uint8_t *)0x20000;

static void install(void)
{
	memcpy((void *)BLOB, rm_blob, (size_t)(rm_blob_end - rm_blob));
}

static void ivt(unsigned vec, uint16_t off)
{
	*(volatile uint32_t *)(4ul * vec) = 0x10000000u | off;
}

/* Runs snippet fn with the registers in; the result is in res. */
static struct regs *run(const char *fn, const struct regs *in)
{
	struct regs *r = (struct regs *)(BLOB + (ulong)OFF(rm_regs));

	install();
	for (unsigned v = 0; v < 256; v++)
		if (*(volatile uint32_t *)(4ul * v) >> 16 != 0x1000 || v < 0x60)
			ivt(v, (uint16_t)(OFF(rm_stubs) + 8 * v));
	*r = *in;
	r->vec = NONE;
	*(uint16_t *)(BLOB + (ulong)OFF(rm_fn)) = OFF(fn);
	rm_call_();
	res = *r;
	return &res;
}

#define RUN(name, ...) ({ extern const char name[]; struct regs in_ = {__VA_ARGS__}; run(name, &in_); })
#define AT(name) ({ extern const char name[]; OFF(name); })
static bool fine(const struct regs *r)
{
	return r->vec == NONE && r->sp == 0xf000;
}

static void basics(void)
{
	struct regs *r;

	section("computing");
	r = RUN(r_alu, .ax = 0x1111ffff, .bx = 2);
	check(fine(r) && r->ax == 0x11110001 && r->flags & FL_CF && !(r->flags & FL_ZF), "16-bit add: %x %x", r->ax, r->flags);
	r = RUN(r_alu32, .ax = 0xffffffff, .bx = 1);
	check(fine(r) && r->ax == 0 && (r->flags & (FL_CF | FL_ZF)) == (FL_CF | FL_ZF), "32-bit add: %x %x", r->ax, r->flags);
	r = RUN(r_mul);
	check(r->ax == (0x1234 * 0x5678 & 0xffff) && r->dx == 0x1234 * 0x5678 >> 16, "mul: %x %x", r->dx, r->ax);
	r = RUN(r_imul3, .bx = 5);
	check(r->ax == 0xfff1, "imul: %x", r->ax);
	r = RUN(r_bcd);
	check((r->bx & 0xff) == 0x14 && r->cx == 0x0603 && r->dx == 0x5f, "bcd: %x %x %x", r->bx, r->cx, r->dx);
	r = RUN(r_loop);
	check(r->ax == 5 && r->cx == 0, "loop: %x %x", r->ax, r->cx);
	r = RUN(r_loop32);
	check(r->ax == 0x99 && r->cx == 0x10000, "loop with 32-bit address size counts ecx: %x %x", r->ax, r->cx);
	r = RUN(r_jecxz);
	check(r->ax == 1, "jcxz and jecxz: %x", r->ax);
	r = RUN(r_popf);
	check(fine(r) && (r->ax & 0xffff) == 0x7cd7, "popf: %x", r->ax);
	r = RUN(r_lock);
	check(fine(r) && r->ax == 1, "lock add");
	r = RUN(r_self);
	check((r->ax & 0xff) == 0x42, "the next instruction is written: %x", r->ax);
	r = RUN(r_wbinvd);
	check(fine(r), "wbinvd, cpuid, rdtsc");

	section("stack");
	r = RUN(r_pusha, .ax = 0x1111, .bx = 0x2222, .cx = 0x3333, .dx = 0x4444, .si = 5, .di = 6, .bp = 7);
	check(fine(r) && r->ax == 0x1111 && r->bx == 0x2222 && r->cx == 0x3333 && r->dx == 0x4444 && r->si == 5 && r->di == 6 &&
		r->bp == 7, "pusha popa: %x %x %x %x", r->ax, r->bx, r->cx, r->dx);
	check(*(uint16_t *)(BLOB + (ulong)OFF(rm_scratch)) == 0xeffe, "pusha pushes sp as it was: %x",
		*(uint16_t *)(BLOB + (ulong)OFF(rm_scratch)));
	r = RUN(r_pushad, .ax = 0x11112222, .di = 0x33334444);
	check(fine(r) && r->ax == 0x11112222 && r->di == 0x33334444, "pushad popad");
	r = RUN(r_enter);
	check(fine(r) && r->ax == 0xeffc && r->bx == 0xeff4 && r->cx == 0x5555 && r->bp == 0x5555, "enter: bp %x sp %x saved %x",
		r->ax, r->bx, r->cx);
	r = RUN(r_enter2);
	check(fine(r) && (r->ax & 0xffff) == 0x1111 && r->bx == r->dx && r->si == 10, "enter level 2: %x %x, %x", r->ax, r->bx, r->si);
	r = RUN(r_pushsp);
	check(fine(r) && (r->ax & 0xffff) == 0, "push sp pushes the old value: %x", r->ax);
	r = RUN(r_popsp);
	check(fine(r) && r->ax == 0x1234, "pop sp: %x", r->ax);
	r = RUN(r_push_wrap);
	check(fine(r) && (r->cx & 0xffff) == 0xfffe && *(uint16_t *)(seg2 + 0xfffe) == 0x4321, "push at sp 0 wraps: %x", r->cx);
	r = RUN(r_push_imm);
	check(fine(r) && r->ax == 0xffff && r->bx == 0xfffffffe, "push imm8: %x %x", r->ax, r->bx);
}

static void segments(void)
{
	struct regs *r;

	section("segments");
	r = RUN(r_seg);
	check(fine(r) && (r->dx & 0xffff) == 0x5678 && *(uint16_t *)(seg2 + 0x10) == 0x5678, "selector times 16: %x", r->dx);
	r = RUN(r_hma);
	check(fine(r) && r->ax == *(uint32_t *)0x100000, "ffff:0010 is 1 MiB: %x", r->ax);
	r = RUN(r_limit_ok);
	check(fine(r), "last word");
	r = RUN(r_limit);
	quirk("TCG 7.2 does not check limits");
	check(r->vec == GP && r->ip == AT(r_limit_at), "word at ffff: %x at %x", r->vec, r->ip);
	r = RUN(r_limit_d);
	quirk("TCG 7.2 does not check limits");
	check(r->vec == GP && r->ip == AT(r_limit_d_at), "dword at fffd: %x at %x", r->vec, r->ip);
	*(uint16_t *)(BLOB + 0x10) = 0;
	r = RUN(r_wrap_ea);
	check(fine(r) && (r->ax & 0xffff) == *(uint16_t *)(BLOB + 0x10), "effective address wraps: %x", r->ax);
	r = RUN(r_small);
	quirk("TCG 7.2 does not check limits");
	check(r->vec == GP && r->ip == AT(r_small_at), "32-bit offset beyond 64 KiB: %x", r->vec);
	*(uint32_t *)0x200000 = 0xfeedface;
	r = RUN(r_big);
	check(fine(r) && r->ax == 0xfeedface, "big real mode: %x", r->ax);
	r = RUN(r_big_keep);
	check(fine(r) && r->ax == 0xfeedface, "a load keeps the limit: %x", r->ax);
	r = RUN(r_les);
	check(fine(r) && (r->di & 0xffff) == 0x1234 && (r->ax & 0xffff) == 0x2345, "les");
	r = RUN(r_lss);
	check(fine(r) && (r->cx & 0xffff) == 0x4000 && (r->ax & 0xffff) == 0x2345, "lss: %x:%x", r->ax, r->cx);
	r = RUN(r_lcall);
	check(fine(r) && (r->ax & 0xffff) == 0x1000 && r->bx == 0x77, "far call");
	r = RUN(r_lcall_m);
	check(fine(r) && r->bx == 0x88, "far call by memory, lret 4: sp %x", r->sp);
	r = RUN(r_cs2);
	check(fine(r) && (r->ax & 0xffff) == 0x0ff0, "another cs: %x", r->ax);
	/* at 2000:fffe: jmp $+2 to 2000:0000; there ljmp back */
	seg2[0xfffe] = 0x90, seg2[0xffff] = 0x90;
	seg2[0] = 0xea, *(uint16_t *)(seg2 + 1) = AT(r_after_wrap), *(uint16_t *)(seg2 + 3) = 0x1000;
	if (rt_tcg) {
		/* runs on at 2001:0000 in effect */
		skip("TCG 7.2 does not check limits");
	} else {
		/* an instruction that ends at ffff leaves IP 10000h, which is beyond the limit */
		r = RUN(r_ip_wrap);
		check(r->vec == GP || fine(r), "IP behind ffff: %x at %x:%x", r->vec, r->cs, r->ip);
	}
	r = RUN(r_eip);
	quirk("TCG 7.2 does not check limits");
	check(r->vec == GP && r->ip == AT(r_eip_at), "jump beyond 64 KiB: %x at %x", r->vec, r->ip);
}

static void strings(void)
{
	struct regs *r;

	section("strings");
	memset(seg2, 0, 0x10000);
	seg2[0xfffe] = 1, seg2[0xffff] = 2, seg2[0] = 3, seg2[1] = 4, seg2[2] = 5;
	r = RUN(r_movs_wrap);
	/* fffe->fffd, ffff->fffe, 0->ffff, 1->0, 2->1 */
	check(fine(r) && seg2[0xfffd] == 1 && seg2[0xfffe] == 2 && seg2[0xffff] == 3 && seg2[0] == 4 && seg2[1] == 5,
		"si and di wrap: %x %x %x %x %x", seg2[0xfffd], seg2[0xfffe], seg2[0xffff], seg2[0], seg2[1]);
	check((r->si & 0xffff) == 3 && (r->di & 0xffff) == 2 && (r->cx & 0xffff) == 0, "registers %x %x %x", r->si, r->di, r->cx);
	for (unsigned i = 0; i < 16; i++)
		seg2[0x100 + i] = (uint8_t)i, seg2[0x200 + i] = 0;
	r = RUN(r_std);
	check(fine(r) && seg2[0x200] == 0 && seg2[0x204] == 4 && seg2[0x203] == 3 && (r->si & 0xffff) == 0xff, "DF: %x %x", r->si, r->di);
	r = RUN(r_scas);
	check(fine(r) && (r->di & 0xffff) == 0x104 && (r->cx & 0xffff) == 12 && r->flags & FL_ZF, "repne scasb: %x %x", r->di, r->cx);
	r = RUN(r_cmps);
	check(fine(r) && (r->si & 0xffff) == 0x106 && (r->cx & 0xffff) == 10 && !(r->flags & FL_ZF), "repe cmpsb: %x %x", r->si, r->cx);
	seg2[0xffff] = 0xab, seg2[0] = 0xcd;
	r = RUN(r_lods);
	check(fine(r) && (r->ax & 0xffff) == 0xabcd && (r->si & 0xffff) == 1, "lodsb wraps: %x", r->ax);
	r = RUN(r_stos0, .ax = 1);
	check(fine(r) && seg2[0x300] == 0, "cx 0");
	r = RUN(r_rep_prefix);
	check(fine(r) && *(uint32_t *)(seg2 + 0x404) == 0x11223344 && (r->di & 0xffff) == 0x408, "rep stosl: %x", r->di);
	r = RUN(r_xlat);
	seg2[2] = 0x5c;
	r = RUN(r_xlat);
	check(fine(r) && (r->ax & 0xff) == 0x5c, "xlat wraps: %x", r->ax);
	seg2[0x100] = 0x3c;
	r = RUN(r_ins);
	check(fine(r) && (r->si & 0xffff) == 0x101 && (r->di & 0xffff) == 0x501 && seg2[0x500] == 0x3c, "outsb, insb on the test port: %x",
		seg2[0x500]);
}

static void interrupts(void)
{
	struct regs *r;

	section("interrupts and exceptions");
	ivt(0x60, AT(h_iret));
	r = RUN(r_int);
	check(fine(r), "int and iret: %x", r->vec);
	check((r->ax & 0xffff) == AT(r_int_ret) && (r->bx & 0xffff) == 0x1000, "frame %x:%x", r->bx, r->ax);
	check(r->cx & FL_IF && !(r->dx & FL_IF), "IF saved and cleared: %x %x", r->cx, r->dx);
	check(r->flags & FL_CF, "iret takes the flags from the stack");
	r = RUN(r_div);
	check(r->vec == DE && r->ip == AT(r_div_at) && r->cs == 0x1000 && r->sp == 0xeffe, "#DE: %x at %x sp %x", r->vec, r->ip, r->sp);
	r = RUN(r_ud);
	check(r->vec == UD && r->ip == AT(r_ud), "#UD: %x at %x", r->vec, r->ip);
	r = RUN(r_into);
	check(r->vec == OF && r->ip == AT(r_into_next), "into: %x at %x", r->vec, r->ip);
	r = RUN(r_bound);
	check(r->vec == BR && r->ip == AT(r_bound_at), "bound: %x at %x", r->vec, r->ip);
	r = RUN(r_int3);
	check(r->vec == BP && r->ip == AT(r_int3_next), "int3: %x at %x", r->vec, r->ip);
	r = RUN(r_tf);
	check(r->vec == DB && r->ip == AT(r_tf2), "single step: %x at %x, want %x", r->vec, r->ip, AT(r_tf2));
	r = RUN(r_lldt);
	check(r->vec == UD && r->ip == AT(r_lldt), "lldt is #UD");
	r = RUN(r_ltr);
	check(r->vec == UD, "ltr is #UD");
	r = RUN(r_verr);
	check(r->vec == UD, "verr is #UD");
	r = RUN(r_arpl);
	check(r->vec == UD, "arpl is #UD: %x", r->vec);
}

static void modes(void)
{
	struct regs *r;

	section("modes");
	*(uint16_t *)(seg2 + 0x10) = 0x5678;
	r = RUN(r_smsw);
	check(fine(r) && !(r->ax & 1), "smsw: PE is clear");
	r = RUN(r_mode);
	check(fine(r) && (r->ax & 0xffff) == 0x5678, "PE set and cleared again without a jump: %x", r->ax);
	r = RUN(r_lmsw);
	check(fine(r) && r->bx & 1 && r->cx & 1, "lmsw sets PE, does not clear it: %x %x", r->bx, r->cx);
	r = RUN(r_sgdt);
	check(fine(r) && r->ax == (ulong)rt_gdt && (r->bx & 0xffff) == RT_GDT_LIMIT, "sgdt: %x", r->ax);
}

/* ---- the other CPU, straight out of INIT and SIPI with vector 0x22 */
__asm__(".text\n.code16\n.globl ap_code, ap_code_end\nap_code:\n"
	"mov %eax, %cs:(ap_data - ap_code)\n mov %ebx, %cs:(ap_data - ap_code + 4)\n mov %edx, %cs:(ap_data - ap_code + 8)\n"
	"mov %cr0, %eax\n mov %eax, %cs:(ap_data - ap_code + 12)\n mov %cs, %ax\n mov %ax, %cs:(ap_data - ap_code + 16)\n"
	"mov %ds, %ax\n mov %ax, %cs:(ap_data - ap_code + 18)\n call 1f\n 1: pop %ax\n sub $(1b - ap_code), %ax\n mov %ax, %cs:(ap_data - ap_code + 20)\n"
	"mov %cr4, %eax\n mov %eax, %cs:(ap_data - ap_code + 24)\n mov %cr3, %eax\n mov %eax, %cs:(ap_data - ap_code + 28)\n"
	"mov %dr6, %eax\n mov %eax, %cs:(ap_data - ap_code + 32)\n mov %dr7, %eax\n mov %eax, %cs:(ap_data - ap_code + 36)\n"
	"sidtl %cs:(ap_data - ap_code + 40)\n"
	"xor %ax, %ax\n mov %ax, %ss\n mov $0x7000, %sp\n pushfl\n popl %cs:(ap_data - ap_code + 48)\n"
	"lock incw %cs:(ap_data - ap_code + 52)\n 2: cli\n hlt\n jmp 2b\n"
	".align 4\nap_data: .skip 64\nap_code_end:\n.code32\n");
extern const char ap_code[], ap_code_end[], ap_data[] __asm__("ap_data");

static void sipi(void)
{
	ulong ncpu = 1;
	volatile uint32_t *d = (volatile uint32_t *)(0x22000 + (ulong)(ap_data - ap_code));
	volatile uint16_t *started = (volatile uint16_t *)(d + 13);

	rt_arg("cpus", &ncpu);
	if (ncpu < 2)
		return;
	section("SIPI");
	apic_enable();
	memcpy((void *)0x22000, ap_code, (size_t)(ap_code_end - ap_code));
	for (unsigned round = 1; round <= 3; round++) {
		apic_icr(0, 0xc4500);
		for (uint64_t t = rdtsc(); rdtsc() - t < 1000000; )
			pause_();
		check(*started == round - 1, "INIT alone starts nothing");
		apic_icr(0, 0xc4622);
		if (round == 2) /* a second SIPI is for who still waits: ignored */
			apic_icr(0, 0xc4622);
		check(until(*started == round), "started: %u", *started);
		for (uint64_t t = rdtsc(); rdtsc() - t < 1000000; )
			pause_();
		check(*started == round, "once: %u", *started);
	}
	check((d[4] & 0xffff) == 0x2200, "cs %x", d[4] & 0xffff);
	check(d[4] >> 16 == 0, "ds %x", d[4] >> 16);
	check((d[5] & 0xffff) == 0, "IP starts at 0: %x", d[5]);
	check((d[3] & 0x9fffffff) == 0x10, "cr0 %x", d[3]);
	check(d[0] == 0 && d[1] == 0, "eax %x ebx %x", d[0], d[1]);
	check(d[2] >> 8 != 0 || rt_tcg, "edx has the CPU's signature: %x", d[2]);
	check(d[6] == 0 && d[7] == 0, "cr4 %x cr3 %x", d[6], d[7]);
	check(d[8] == 0xffff0ff0 && d[9] == 0x400, "dr6 %x dr7 %x", d[8], d[9]);
	check((d[10] & 0xffff) == 0xffff && (d[10] >> 16 | d[11] << 16) == 0, "idt: limit %x", d[10] & 0xffff);
	check((d[12] & ~0x55u) == 2, "flags %x", d[12]);
}

void test_main(void)
{
	rt_gdt_set(T_CODE16, rt_desc(BLOB, 0xffff, 0x9b, 0));
	rt_gdt_set(T_DATA16, rt_desc(0, 0xffff, 0x93, 0));
	basics();
	segments();
	strings();
	interrupts();
	modes();
	sipi();
}
