/* SPDX-License-Identifier: MIT */
/* Constants that the guest tests' assembly and C share. */
#ifndef GUEST_RT_ASM_H
#define GUEST_RT_ASM_H

#define RT_NCPU  8
#define RT_STACK 16384
#define RT_SIPI  0x8000 /* where the other CPUs start */

/* Selectors; 0x40-0xff belong to the test, TSS of CPU n at SEL_TSS + 16 n */
#define SEL_KCS   0x08
#define SEL_KDS   0x10
#define SEL_KCS32 0x18
#define SEL_UCS32 0x23
#define SEL_UDS   0x2b
#define SEL_UCS   0x33
#define SEL_TEST  0x40
#define SEL_TSS   0x100
#define RT_GDT_LIMIT 0x1ff

#define CR0_PE 0x00000001
#define CR0_MP 0x00000002
#define CR0_EM 0x00000004
#define CR0_TS 0x00000008
#define CR0_ET 0x00000010
#define CR0_NE 0x00000020
#define CR0_WP 0x00010000
#define CR0_AM 0x00040000
#define CR0_NW 0x20000000
#define CR0_CD 0x40000000
#define CR0_PG 0x80000000

#define CR4_VME        0x000001
#define CR4_PVI        0x000002
#define CR4_TSD        0x000004
#define CR4_DE         0x000008
#define CR4_PSE        0x000010
#define CR4_PAE        0x000020
#define CR4_PGE        0x000080
#define CR4_PCE        0x000100
#define CR4_OSFXSR     0x000200
#define CR4_OSXMMEXCPT 0x000400
#define CR4_UMIP       0x000800
#define CR4_LA57       0x001000
#define CR4_VMXE       0x002000
#define CR4_FSGSBASE   0x010000
#define CR4_PCIDE      0x020000
#define CR4_OSXSAVE    0x040000
#define CR4_SMEP       0x100000
#define CR4_SMAP       0x200000
#define CR4_PKE        0x400000

#define EFER_SCE 0x001
#define EFER_LME 0x100
#define EFER_LMA 0x400
#define EFER_NXE 0x800

#define MSR_TSC          0x10
#define MSR_APIC_BASE    0x1b
#define MSR_SYSENTER_CS  0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_PAT          0x277
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC       0x800
#define MSR_EFER         0xc0000080
#define MSR_STAR         0xc0000081
#define MSR_LSTAR        0xc0000082
#define MSR_CSTAR        0xc0000083
#define MSR_SFMASK       0xc0000084
#define MSR_FS_BASE      0xc0000100
#define MSR_GS_BASE      0xc0000101
#define MSR_KERNEL_GS    0xc0000102
#define MSR_TSC_AUX      0xc0000103

#define FL_CF 0x1
#define FL_1  0x2
#define FL_PF 0x4
#define FL_AF 0x10
#define FL_ZF 0x40
#define FL_SF 0x80
#define FL_TF 0x100
#define FL_IF 0x200
#define FL_DF 0x400
#define FL_OF 0x800
#define FL_IOPL 0x3000
#define FL_NT 0x4000
#define FL_RF 0x10000
#define FL_VM 0x20000
#define FL_AC 0x40000
#define FL_VIF 0x80000
#define FL_VIP 0x100000
#define FL_ID 0x200000

#endif
