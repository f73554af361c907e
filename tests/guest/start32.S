/* SPDX-License-Identifier: MIT */
/*
 * Start of a 32-bit guest test: Multiboot 1 entry, flat protected mode, paging off; exception stubs,
 * entering CPL 3. Tests turn on what else they need. As start64.S otherwise.
 */
#include "rt-asm.h"

	.section .multiboot, "a"
	.align 4
	.long 0x1BADB002, 0, -0x1BADB002

	.bss
	.align 4096
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
	lgdt	rt_gdtr
	ljmp	$SEL_KCS32, $1f
1:	mov	$SEL_KDS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	xor	%eax, %eax
	mov	%eax, %fs
	mov	%eax, %gs
	mov	$CR0_NE | CR0_ET | CR0_MP | CR0_PE, %eax
	mov	%eax, %cr0
	mov	$CR4_OSFXSR | CR4_OSXMMEXCPT, %eax
	mov	%eax, %cr4
	xor	%ebp, %ebp
	call	rt_start
	ud2

	.globl rt_tramp, rt_tramp_end
	.code16
rt_tramp:
	cli
	cld
	mov	%cs, %ax
	mov	%ax, %ds
	lgdtl	rt_tramp_gdtr - rt_tramp
	mov	%cr0, %eax
	or	$CR0_PE | CR0_NE | CR0_MP, %al
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
	mov	%edi, %eax
	xor	%ebp, %ebp
	push	%eax
	call	rt_ap_start
2:	cli
	hlt
	jmp	2b

	.align 16
	.globl rt_stubs
rt_stubs:
	.set	vec, 0
	.rept	256
	.align	16
	.if	vec == 8 || (vec >= 10 && vec <= 14) || vec == 17 || vec == 21
	.else
	pushl	$0
	.endif
	pushl	$vec
	jmp	common
	.set	vec, vec + 1
	.endr

/* Segment registers of the interrupted code are kept: a test may have them anywhere. */
common:
	cld
	pusha
	mov	%ds, %ebx
	mov	%es, %esi
	mov	$SEL_KDS, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%esp, %eax
	push	%eax
	call	rt_trap
	add	$4, %esp
	mov	%ebx, %ds
	mov	%esi, %es
	popa
	add	$8, %esp
	.globl rt_iret
rt_iret:
	iret

	.globl rt_catch, rt_uncatch
rt_catch:
	push	%ebx
	push	%ebp
	push	%esi
	push	%edi
	pushf
	mov	24(%esp), %eax		/* &catch_sp */
	mov	%esp, (%eax)
	push	40(%esp)
	push	40(%esp)
	push	40(%esp)
	call	*40(%esp)
	add	$12, %esp
	mov	%ss, %eax		/* what the test did to the segments it did for itself */
	mov	%eax, %ds
	mov	%eax, %es
	xor	%eax, %eax
1:	popf
	pop	%edi
	pop	%esi
	pop	%ebp
	pop	%ebx
	ret
rt_uncatch:
	mov	4(%esp), %esp
	mov	$SEL_KDS, %eax
	mov	%eax, %ss
	mov	%eax, %ds
	mov	%eax, %es
	mov	$1, %eax
	jmp	1b

/* void rt_enter(ip, a, b, struct { cs, ss, sp, flags } *): a and b in edi and esi */
	.globl rt_enter, rt_enter_iret
rt_enter:
	mov	4(%esp), %ebx
	mov	8(%esp), %edi
	mov	12(%esp), %esi
	mov	16(%esp), %ecx
	push	4(%ecx)
	push	8(%ecx)
	push	12(%ecx)
	push	0(%ecx)
	push	%ebx
	mov	4(%ecx), %eax
	mov	%eax, %ds
	mov	%eax, %es
	xor	%eax, %eax
	xor	%ebx, %ebx
	xor	%ecx, %ecx
	xor	%edx, %edx
	xor	%ebp, %ebp
rt_enter_iret:
	iret

	.data
	.align 16
	.globl rt_gdt, rt_gdtr, rt_mbi, rt_ap_ticket
rt_gdt:
	.quad	0
	.quad	0			/* SEL_KCS is 64-bit */
	.quad	0x00cf93000000ffff	/* SEL_KDS */
	.quad	0x00cf9b000000ffff	/* SEL_KCS32 */
	.quad	0x00cffb000000ffff	/* SEL_UCS32 */
	.quad	0x00cff3000000ffff	/* SEL_UDS */
	.quad	0
	.skip	RT_GDT_LIMIT + 1 - 7 * 8
	.word	0
rt_gdtr:
	.word	RT_GDT_LIMIT
	.long	rt_gdt
	.align 4
rt_mbi:	.long	0
rt_ap_ticket: .long 1
	.section .note.GNU-stack, "", @progbits
