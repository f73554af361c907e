/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "x86/fpu.h"
#include "x86/state.h"

enum { APIC_BASE_ENABLE = 1 << 11, APIC_BASE_BSP = 1 << 8 };

static struct x86_seg real_seg(uint16_t sel, uint16_t type)
{
	return (struct x86_seg){.base = (uint64_t)sel << 4,
		.limit = 0xffff,
		.sel = sel,
		.attr = (uint16_t)(type | X86_SEG_P)};
}

void x86_init(struct x86_state *s, unsigned cpu)
{
	const uint16_t data = X86_SEG_S | X86_SEG_WR | X86_SEG_ACCESSED;

	memset(s->gpr, 0, sizeof s->gpr);
	s->gpr[X86_RDX] = 0x00a00f11; /* family, model, stepping: software reads it rarely */
	s->rip = 0xfff0;
	s->rflags = X86_FLAG1;
	for (unsigned i = 0; i < X86_NSEG; i++)
		s->seg[i] = real_seg(0, data);
	s->seg[X86_CS] = real_seg(0xf000, X86_SEG_CODE | data);
	s->seg[X86_CS].base = 0xffff0000;
	s->ldt = real_seg(0, 2);
	s->tr = real_seg(0, 11);
	s->gdt = s->idt = (struct x86_table){.base = 0, .limit = 0xffff};
	s->cr0 = (s->cr0 & (X86_CR0_CD | X86_CR0_NW)) | X86_CR0_ET;
	s->cr2 = s->cr3 = s->cr4 = s->cr8 = 0;
	memset(s->dr, 0, sizeof s->dr);
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->efer = 0;
	s->kernel_gs_base = 0;
	s->sti_shadow = s->movss_shadow = false;
	s->nmi_pending = s->nmi_blocked = false;
	s->mp = cpu ? X86_MP_WAIT_SIPI : X86_MP_RUN;
	s->sipi_vector = 0;
}

void x86_reset(struct x86_state *s, unsigned cpu)
{
	memset(s, 0, sizeof *s);
	s->cr0 = X86_CR0_CD | X86_CR0_NW;
	x86_init(s, cpu);
	x86_fpu_reset(&s->fpu);
	s->fpu.fcw = 0x40;
	s->fpu.ftw = 0xff;
	s->xcr0 = 1;
	s->pat = 0x0007040600070406;
	s->misc_enable = 1;
	s->apic_base = 0xfee00000 | APIC_BASE_ENABLE | (cpu ? 0 : APIC_BASE_BSP);
}

void x86_sipi(struct x86_state *s, uint8_t vector)
{
	if (s->mp != X86_MP_WAIT_SIPI)
		return;
	s->seg[X86_CS].sel = (uint16_t)(vector << 8);
	s->seg[X86_CS].base = (uint64_t)vector << 12;
	s->rip = 0;
	s->sipi_vector = vector;
	s->mp = X86_MP_RUN;
}
