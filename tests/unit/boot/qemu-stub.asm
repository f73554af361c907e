; SPDX-License-Identifier: MIT
; "Firmware" for qemu.sh: from the reset vector to the entry state that boot_load() asked for
; (entry.inc), with RAM loaded already. 64 KiB below 4 GiB.
%include "entry.inc"
bits 16
org 0xffff0000
start:
	cli
	o32 lgdt [cs:(gdtr - start)]
	mov eax, cr0
	and eax, 0x9fffffff
	or al, 1
	mov cr0, eax
	jmp dword 0x10:pm
bits 32
pm:	mov ax, 0x18
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov fs, ax
	mov gs, ax
%if LONG
	mov eax, CR3
	mov cr3, eax
	mov eax, CR4
	mov cr4, eax
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x100
	wrmsr
	mov eax, CR0
	mov cr0, eax
	jmp 0x20:lm
bits 64
lm:	lgdt [rel boot_gdtr]
	mov ax, 0x18
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov esp, 0x7000
	push 0x10
	mov rax, RIP
	push rax
	mov rsi, RSI
	retfq
%else
	mov eax, RAX
	mov ebx, RBX
	mov ecx, RIP
	jmp ecx
%endif
align 8
gdt:	dq 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
gdtr:	dw $ - gdt - 1
	dd gdt
boot_gdtr:
	dw GDT_LIMIT
	dq GDT
times 0xfff0 - ($ - $$) db 0x90
bits 16
	jmp start
times 0x10000 - ($ - $$) db 0
