/* SPDX-License-Identifier: MIT */
/*
 * Guests of kvm_test.c. Long mode, identity mapped, loaded at GUEST_BASE. Port 0x80 ends a guest,
 * 0x81 tells a vector, 0x82 says that it is ready, 0x83 is the second CPU.
 */
	.section .rodata
	.globl guest_image, guest_image_end
	.code64
guest_image:

	/* ports, strings, device memory */
	.globl guest_io
guest_io:
	mov $0x510, %edx
	in (%dx), %eax
	inc %eax
	out %eax, (%dx)
	lea text(%rip), %rsi
	mov $4, %ecx
	mov $0x511, %edx
	cld
	rep outsb
	mov $0x20000, %edi
	mov $3, %ecx
	mov $0x512, %edx
	rep insw
	mov $0xd0000000, %ebx
	mov $0xaabbccdd, %eax
	mov %eax, 4(%rbx)
	movb $0x5a, 9(%rbx)
	mov 16(%rbx), %rcx
	movzwl 0x7e(%rbx), %esi
	mov $0x77, %eax
	out %al, $0x80
1:	jmp 1b
text:	.ascii "husk"

	/* a loop that only a kick ends */
	.globl guest_spin
guest_spin:
	inc %rax
	jmp guest_spin

	/* registers and features: everything that get() must see */
	.globl guest_state
guest_state:
	mov $1, %eax
	xor %ecx, %ecx
	cpuid
	mov %ecx, %r8d
	mov $0x40000010, %eax
	cpuid
	mov %eax, %r9d
	mov $0xc0000082, %ecx	/* LSTAR */
	mov $0x12345678, %eax
	mov $0xffff8000, %edx
	wrmsr
	movq %r15, %xmm3
	fldpi
	mov $0x2000, %edi
	mov %rdi, %dr0
	stc
	out %al, $0x80
1:	jmp 1b

	/* CPUID for ecx rows of leaf, subleaf, eax, ebx, ecx, edx at 0x20000 */
	.globl guest_cpuid
guest_cpuid:
	mov $0x20000, %edi
	mov %ecx, %esi
1:	mov (%rdi), %eax
	mov 4(%rdi), %ecx
	cpuid
	mov %eax, 8(%rdi)
	mov %ebx, 12(%rdi)
	mov %ecx, 16(%rdi)
	mov %edx, 20(%rdi)
	add $24, %rdi
	dec %esi
	jnz 1b
	out %al, $0x80
2:	jmp 2b

	/* interrupts: x2APIC on, then wait for whatever comes */
	.globl guest_irq
guest_irq:
	mov $0x1b, %ecx
	rdmsr
	or $0xc00, %eax
	wrmsr
	mov $0x80f, %ecx	/* spurious vector and enable */
	mov $0x1ff, %eax
	xor %edx, %edx
	wrmsr
	out %al, $0x82
	sti
1:	hlt
	jmp 1b

	.macro handler name, vector, eoi
	.globl \name
\name:
	push %rax
	push %rcx
	push %rdx
	mov $\vector, %al
	out %al, $0x81
	.if \eoi
	xor %eax, %eax
	xor %edx, %edx
	mov $0x80b, %ecx
	wrmsr
	.endif
	pop %rdx
	pop %rcx
	pop %rax
	iretq
	.endm
	handler guest_nmi, 2, 0
	handler guest_pic, 0x30, 0
	handler guest_edge, 0x40, 1
	handler guest_level, 0x41, 1

	/* wakes CPU 1: INIT, SIPI to page 0xf; needs no delays here */
	.globl guest_smp
guest_smp:
	mov $0x1b, %ecx
	rdmsr
	or $0xc00, %eax
	wrmsr
	mov $0x830, %ecx
	mov $1, %edx
	mov $0x4500, %eax
	wrmsr
	mov $0x460f, %eax
	wrmsr
1:	pause
	cmpb $0, 0x20000
	je 1b
	mov $0x20000, %esi
	movzbl (%rsi), %eax
	out %al, $0x80
2:	hlt
	jmp 2b

	/* an instruction that is not there, with no IDT */
	.globl guest_shutdown
guest_shutdown:
	ud2

	/* copied to 0xf000, real mode */
	.globl guest_ap, guest_ap_end
	.code16
guest_ap:
	cli
	mov $0x2000, %ax
	mov %ax, %ds
	mov $0xa5, %al
	out %al, $0x83
	movb %al, 0
1:	hlt
	jmp 1b
guest_ap_end:
	.code64
guest_image_end:
	.section .note.GNU-stack, "", @progbits
