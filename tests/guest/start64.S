/* SPDX-License-Identifier: MIT */
/*
 * Start of a 64-bit guest test: Multiboot 1 entry (32-bit protected mode, paging off), page tables,
 * long mode, the exception stubs, leaving a caught exception, entering CPL 3, and the trampoline of
 * the other CPUs.
 *
 * Address space: the first 4 GiB are mapped one to one, supervisor and writable; the first 4 MiB in
 * 4 KiB pages, of which rt.c gives those of section .user to CPL 3.
 */
#include "rt-asm.h"

	.section .multiboot, "a"
	.align 4
	.long 0x1BADB002, 0, -0x1BADB002

	.bss
	.align 4096
	.globl rt_pml4, rt_pdpt, rt_pd, rt_pt
rt_pml4: .skip 4096
rt_pdpt: .skip 4096
rt_pd:	.skip 4096 * 4
rt_pt:	.skip 4096 * 2
boot_stack:
	.skip 16384
boot_stack_top:
	.globl rt_stacks
rt_stacks:
	.skip RT_STACK * RT_NCPU

	.text
	.code32
	.globl _start
_start:
	cli
	cld
	mov	$boot_stack_top, %esp
	mov	%ebx, rt_mbi

	movl	$rt_pdpt + 7, rt_pml4
	mov	$rt_pd + 7, %eax
	xor	%ecx, %ecx
1:	mov	%eax, rt_pdpt(, %ecx, 8)
	add	$4096, %eax
	inc	%ecx
	cmp	$4, %ecx
	jne	1b
	mov	$0x83, %eax
	xor	%ecx, %ecx
2:	mov	%eax, rt_pd(, %ecx, 8)
	add	$0x200000, %eax
	inc	%ecx
	cmp	$2048, %ecx
	jne	2b
	mov	$3, %eax
	xor	%ecx, %ecx
3:	mov	%eax, rt_pt(, %ecx, 8)
	add	$4096, %eax
	inc	%ecx
	cmp	$1024, %ecx
	jne	3b
	movl	$rt_pt + 7, rt_pd
	movl	$rt_pt + 4096 + 7, rt_pd + 8

	call	enter_long
	.code64
	lea	boot_stack_top(%rip), %rsp
	xor	%ebp, %ebp
	xor	%edi, %edi
	call	rt_start
	ud2

	.code32
/* Far-returns in 64-bit mode to its caller; all registers but rbp are the caller's to lose. */
enter_long:
	pop	%ebp
	mov	$rt_pml4, %eax
	mov	%eax, %cr3
	mov	$CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT, %eax
	mov	%eax, %cr4
	mov	$MSR_EFER, %ecx
	mov	$EFER_LME | EFER_NXE | EFER_SCE, %eax
	xor	%edx, %edx
	wrmsr
	mov	$CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE, %eax
	mov	%eax, %cr0
	lgdt	rt_gdtr
	ljmp	$SEL_KCS, $1f
	.code64
1:	mov	$SEL_KDS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	%ebp, %ebp
	jmp	*%rbp

/* Other CPUs: SIPI brings them here, at RT_SIPI, in real mode. rt_smp_start() copies it there. */
	.globl rt_tramp, rt_tramp_end
	.code16
rt_tramp:
	cli
	cld
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	rt_tramp_gdtr - rt_tramp
	mov	%cr0, %eax
	or	$CR0_PE, %al
	mov	%eax, %cr0
	ljmpl	$SEL_KCS32, $1f
rt_tramp_gdtr:
	.word	RT_GDT_LIMIT
	.long	rt_gdt
rt_tramp_end:
	.code32
1:	mov	$SEL_KDS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$1, %edi
	lock xadd %edi, rt_ap_ticket
	cmp	$RT_NCPU, %edi
	jae	2f
	lea	1(%edi), %eax
	imul	$RT_STACK, %eax
	lea	rt_stacks(%eax), %esp
	call	enter_long
	.code64
	mov	%esp, %esp
	mov	%edi, %edi
	xor	%ebp, %ebp
	call	rt_ap_start
2:	cli
	hlt
	jmp	2b

/* Exceptions and interrupts: 256 stubs of 16 bytes. */
	.align 16
	.globl rt_stubs
rt_stubs:
	.set	vec, 0
	.rept	256
	.align	16
	.if	vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21
	.else
	pushq	$0
	.endif
	pushq	$vec
	jmp	common
	.set	vec, vec + 1
	.endr

common:
	cld
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	%rsp
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, %rdi
	mov	%rsp, %rbp
	and	$-16, %rsp
	call	rt_trap
	mov	%rbp, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbp
	pop	%rbx
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	.globl rt_iret
rt_iret:
	iretq

/*
 * int rt_catch(unsigned long *rsp, void *fn, a, b, c): calls fn(a, b, c) and returns 0; a caught
 * exception comes back through rt_uncatch and returns 1.
 */
	.globl rt_catch, rt_uncatch
rt_catch:
	push	%rbx
	push	%rbp
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	pushf
	mov	%rsp, (%rdi)
	mov	%rsi, %rax
	mov	%rdx, %rdi
	mov	%rcx, %rsi
	mov	%r8, %rdx
	sub	$8, %rsp
	call	*%rax
	add	$8, %rsp
	xor	%eax, %eax
1:	popf
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbp
	pop	%rbx
	ret
rt_uncatch:
	mov	%rdi, %rsp
	mov	$SEL_KDS, %eax
	mov	%eax, %ss
	mov	%eax, %ds
	mov	%eax, %es
	mov	$1, %eax
	jmp	1b

/* void rt_enter(rip, a, b, struct { cs, ss, rsp, rflags } *) by IRETQ; never returns by itself */
	.globl rt_enter
rt_enter:
	pushq	8(%rcx)
	pushq	16(%rcx)
	pushq	24(%rcx)
	pushq	0(%rcx)
	push	%rdi
	mov	8(%rcx), %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	xor	%eax, %eax
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%ebx, %ebx
	xor	%ebp, %ebp
	xor	%r8d, %r8d
	xor	%r9d, %r9d
	.globl rt_enter_iret
rt_enter_iret:
	iretq

	.data
	.align 16
	.globl rt_gdt, rt_gdtr, rt_mbi, rt_ap_ticket
rt_gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* SEL_KCS: 64-bit code */
	.quad	0x00cf93000000ffff	/* SEL_KDS */
	.quad	0x00cf9b000000ffff	/* SEL_KCS32 */
	.quad	0x00cffb000000ffff	/* SEL_UCS32 */
	.quad	0x00cff3000000ffff	/* SEL_UDS */
	.quad	0x00affb000000ffff	/* SEL_UCS */
	.skip	RT_GDT_LIMIT + 1 - 7 * 8
rt_gdtr:
	.word	RT_GDT_LIMIT
	.quad	rt_gdt
	.align 4
rt_mbi:	.long	0
	.globl rt_ap_ticket
rt_ap_ticket: .long 1
	.section .note.GNU-stack, "", @progbits
