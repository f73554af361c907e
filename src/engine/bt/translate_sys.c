/* SPDX-License-Identifier: MIT */
/*
 * Rules for what only a kernel does, or does all the time: flags of the system, segment bases, time.
 */
#include "engine/bt/translate-int.h"

static void count_sensitive(struct tr *t)
{
	emit_op_gs(&t->e, true, 0x83, 0, CPU(nsens) + 8u * t->now->i.op); /* add qword, 1 */
	e8(&t->e, 1);
}

/* Code that others have changed is seen from here on: by the next block's entry. */
void rule_serialize(struct tr *t)
{
	leave_to(t, next_va(t), t->now->live);
	t->done = true;
}

void rule_cli(struct tr *t)
{
	if (t->mmu == MMU_USER) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	count_sensitive(t);
	emit_op_gs(&t->e, false, 0x80, 4, CPU(cpu.s.rflags) + 1); /* and byte, ~IF */
	e8(&t->e, 0xfd);
}

/* Interrupts are looked at behind the next instruction. */
void rule_sti(struct tr *t)
{
	if (t->mmu == MMU_USER) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	count_sensitive(t);
	emit_op_gs(&t->e, false, 0x80, 1, CPU(cpu.s.rflags) + 1); /* or byte, IF */
	e8(&t->e, 2);
}

void after_sti(struct tr *t)
{
	struct cold *c;

	if (t->done)
		return;
	if (t->now->live)
		flags_to_mem(t);
	emit_op_gs(&t->e, false, 0x83, 7, CPU(cpu.attention)); /* cmp dword, 0 */
	e8(&t->e, 0);
	c = cold_new(t, COLD_LEAVE, emit_jcc(&t->e, CC_NE));
	c->va = next_va(t);
}

void rule_pushf(struct tr *t)
{
	unsigned since = t->ncold;
	struct emit *e = &t->e;
	struct mem_op m;

	if (t->now->i.opsize != 8) {
		call_interp(t);
		return;
	}
	flags_to_mem(t);
	t->retry = e->p;
	m = check(t, &at_push, 8, true, 0);
	emit_op_gs(e, true, 0x83, 0, CPU(nsens) + 8u * t->now->i.op);
	e8(e, 1);
	/* r9 = AH | OF << 11 | the others */
	emit_op_gs(e, false, 0x0fb6, R9, CPU(cpu.fl));
	E(e, 0x41, 0xc1, 0xe1, 11); /* shl r9d, 11 */
	emit_op_gs(e, true, 0x0b, R9, CPU(cpu.s.rflags));
	E(e, 0x41, 0x81, 0xe1); /* and r9d, fcffff */
	e32(e, 0xfcffff);
	emit_op_m(e, true, OP_MOV_STORE, R9, &m);
	emit_op_gs(e, false, 0x0fb6, R9, CPU(cpu.fl) + 1);
	emit_op_m(e, true, 0x09, R9, &m); /* or [..], r9 */
	add_rsp(t, -8);
	slow_resume(t, since);
}

void rule_swapgs(struct tr *t)
{
	const size_t gs = CPU(cpu.s.seg) + X86_GS * sizeof(struct x86_seg) + offsetof(struct x86_seg, base);
	struct emit *e = &t->e;

	if (t->mmu == MMU_USER) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	count_sensitive(t);
	emit_op_gs(e, true, OP_MOV_LOAD, R9, gs);
	emit_op_gs(e, true, OP_MOV_LOAD, R10, CPU(cpu.s.kernel_gs_base));
	emit_op_gs(e, true, OP_MOV_STORE, R9, CPU(cpu.s.kernel_gs_base));
	emit_op_gs(e, true, OP_MOV_STORE, R10, gs);
}

void rule_rdtsc(struct tr *t)
{
	struct emit *e = &t->e;

	if (t->now->i.op != X86_OP_RDTSC || (t->key & BT_KEY_TSD && t->mmu == MMU_USER)) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	E(e, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xc2); /* rdtsc; shl rdx, 32; or rdx, rax */
	emit_op_gs(e, true, 0x03, RDX, CPU(cpu.s.tsc_offset));
	E(e, 0x89, 0xd0, 0x48, 0xc1, 0xea, 0x20); /* mov eax, edx; shr rdx, 32 */
}
