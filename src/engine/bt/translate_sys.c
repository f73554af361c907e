/* SPDX-License-Identifier: MIT */
/*
 * Rules for what only a kernel does, or does all the time: flags of the system, segment bases, time.
 */
#include "engine/bt/translate-int.h"

static void put_byte(struct emit *e, size_t off, unsigned v)
{
	emit_op_gs(e, false, 0xc6, 0, off);
	e8(e, v);
}

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

/*
 * What waits for STI must wait for the branch, too: interp's step() then. What comes from now on sets cpu.poll, and
 * may be noticed a little later.
 */
void before_branch(struct tr *t)
{
	flags_spare(t);
	put_byte(&t->e, CPU(cpu.s.sti_shadow), 1);
	emit_op_gs(&t->e, false, 0x83, 7, CPU(cpu.attention)); /* cmp dword, 0 */
	e8(&t->e, 0);
	cold_new(t, COLD_LEAVE, emit_jcc(&t->e, CC_NE))->va = insn_va(t);
	put_byte(&t->e, CPU(cpu.s.sti_shadow), 0);
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

/* The address of a field of a segment register */
static size_t seg_base(unsigned seg)
{
	return CPU(cpu.s.seg) + seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, base);
}

static size_t seg_sel(unsigned seg)
{
	return CPU(cpu.s.seg) + seg * sizeof(struct x86_seg) + offsetof(struct x86_seg, sel);
}

/* test byte gs:[off], mask */
static void test_byte(struct tr *t, size_t off, unsigned mask)
{
	emit_op_gs(&t->e, false, 0xf6, 0, off);
	e8(&t->e, mask);
}

/* A general register = the guest's word at off */
static void load_word(struct tr *t, unsigned reg, bool wide, size_t off)
{
	if (is_scratch((int)reg)) {
		emit_op_gs(&t->e, wide, OP_MOV_LOAD, R9, off);
		store_gpr(t, R9, reg);
	} else {
		emit_op_gs(&t->e, wide, OP_MOV_LOAD, reg, off);
	}
}

/* cpu.fl = the arithmetic flags of R11D, as LAHF and SETO have them. R9 and R10 are lost. */
static void put_arith(struct emit *e)
{
	emit_op_r(e, false, OP_MOV_STORE, R11, R9);
	emit_op_r(e, false, OP_MOV_STORE, R11, R10);
	E(e, 0x41, 0xc1, 0xe1, 8); /* shl r9d, 8 */
	E(e, 0x41, 0xc1, 0xea, 11); /* shr r10d, 11 */
	E(e, 0x41, 0x81, 0xe1); /* and r9d, SF ZF AF PF CF */
	e32(e, FL_SF | FL_ZF | FL_AF | FL_PF | FL_CF);
	E(e, 0x41, 0x83, 0xe2, 1); /* and r10d, OF */
	emit_op_r(e, false, 0x0b, R9, R10); /* or */
	emit_op_gs(e, false, OP_MOV_STORE, R9, CPU(cpu.fl));
}

/* R9 = RFLAGS, as the guest sees it; R10 is lost. Flags are in cpu.fl. */
static void get_flags(struct emit *e)
{
	emit_op_gs(e, false, 0x0fb6, R9, CPU(cpu.fl)); /* OF */
	emit_op_gs(e, false, 0x0fb6, R10, CPU(cpu.fl) + 1);
	E(e, 0x41, 0xc1, 0xe1, 11); /* shl r9d, 11 */
	emit_op_gs(e, true, 0x0b, R9, CPU(cpu.s.rflags));
	emit_op_r(e, true, 0x0b, R9, R10);
}

/* RFLAGS = R11D, whose bits nobody forbids. R9 and R10 are lost. */
static void put_flags(struct emit *e)
{
	put_arith(e);
	E(e, 0x41, 0x81, 0xe3); /* and r11d, imm32 */
	e32(e, ~(uint32_t)X86_ARITH);
	E(e, 0x41, 0x83, 0xcb, X86_FLAG1); /* or r11d */
	emit_op_gs(e, true, OP_MOV_STORE, R11, CPU(cpu.s.rflags));
}

/* A flat segment with the selector in R9W. */
static void put_seg(struct emit *e, unsigned seg, unsigned attr)
{
	const size_t at = CPU(cpu.s.seg) + seg * sizeof(struct x86_seg);

	attr |= X86_SEG_P | X86_SEG_S | X86_SEG_WR | X86_SEG_ACCESSED | X86_SEG_G;
	emit_op_gs(e, true, 0xc7, 0, at + offsetof(struct x86_seg, base)); /* mov, imm32 */
	e32(e, 0);
	emit_op_gs(e, false, 0xc7, 0, at + offsetof(struct x86_seg, limit));
	e32(e, UINT32_MAX);
	e8(e, 0x66);
	emit_op_gs(e, false, OP_MOV_STORE, R9, at + offsetof(struct x86_seg, sel));
	e8(e, 0x66);
	emit_op_gs(e, false, 0xc7, 0, at + offsetof(struct x86_seg, attr));
	e8(e, attr & 0xff);
	e8(e, attr >> 8);
}

/*
 * To the address in R11 at another privilege level, whose translations are others'. Everything else that
 * a key stands for stays.
 */
static void leave_ring(struct tr *t, unsigned cpl, unsigned to)
{
	const unsigned mmu = t->mmu;

	put_byte(&t->e, CPU(cpu.cpl), cpl);
	put_byte(&t->e, CPU(cpu.mmu), to);
	t->mmu = to;
	leave_indirect(t, 0);
	t->mmu = mmu;
}

/* SYSCALL from ring 3 to a kernel that uses SMAP and has AC cleared. */
void rule_syscall(struct tr *t)
{
	struct emit *e = &t->e;

	if (t->mmu != MMU_USER) {
		call_interp(t);
		return;
	}
	flags_to_mem(t);
	t->retry = e->p;
	test_byte(t, CPU(cpu.s.efer), X86_EFER_SCE);
	slow(t, emit_jcc(e, CC_E), 0, false)->in_r11 = true;
	test_byte(t, CPU(cpu.s.sfmask) + 2, X86_AC >> 16);
	slow(t, emit_jcc(e, CC_E), 0, false)->in_r11 = true;
	test_byte(t, CPU(cpu.s.cr4) + 2, X86_CR4_SMAP >> 16);
	slow(t, emit_jcc(e, CC_E), 0, false)->in_r11 = true;
	count_sensitive(t);
	emit_imm(e, RCX, next_va(t));
	get_flags(e);
	store_gpr(t, R9, R11);
	emit_op_gs(e, false, OP_MOV_LOAD, R11, CPU(cpu.s.sfmask));
	E(e, 0x41, 0xf7, 0xd3); /* not r11d */
	emit_op_r(e, false, 0x23, R11, R9); /* and */
	put_flags(e);
	emit_op_gs(e, false, OP_MOV_LOAD, R9, CPU(cpu.s.star) + 4);
	E(e, 0x41, 0x81, 0xe1); /* and r9d, imm32 */
	e32(e, 0xfffc);
	put_seg(e, X86_CS, X86_SEG_CODE | X86_SEG_L);
	E(e, 0x41, 0x83, 0xc1, 8); /* add r9d, 8 */
	put_seg(e, X86_SS, X86_SEG_DB);
	emit_op_gs(e, true, OP_MOV_LOAD, R11, CPU(cpu.s.lstar));
	leave_ring(t, 0, MMU_KERNEL);
}

/* SYSRET to 64-bit code, with nothing special in R11 and nothing that waits for IF. */
void rule_sysret(struct tr *t)
{
	struct emit *e = &t->e;

	if (t->mmu == MMU_USER || t->now->i.opsize != 8) {
		call_interp(t);
		return;
	}
	t->retry = e->p;
	test_byte(t, CPU(cpu.s.efer), X86_EFER_SCE);
	slow(t, emit_jcc(e, CC_E), 0, false)->in_r11 = true;
	emit_op_gs(e, false, 0x83, 7, CPU(cpu.attention)); /* cmp dword, 0 */
	e8(e, 0);
	slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
	emit_op_r(e, true, OP_MOV_STORE, RCX, R9);
	E(e, 0x49, 0xc1, 0xe1, 16); /* shl r9, 16 */
	E(e, 0x49, 0xc1, 0xf9, 16); /* sar r9, 16 */
	emit_op_r(e, true, OP_CMP, R9, RCX); /* canonical? */
	slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
	load_gpr(t, R11, R11);
	E(e, 0x41, 0xf7, 0xc3); /* test r11d, imm32 */
	e32(e, X86_TF | X86_AC);
	slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
	count_sensitive(t);
	E(e, 0x41, 0x81, 0xe3); /* and r11d, imm32: no RF, VM */
	e32(e, 0x3c7fd7);
	put_flags(e);
	emit_op_gs(e, false, 0x0fb7, R9, CPU(cpu.s.star) + 6); /* movzx */
	E(e, 0x41, 0x83, 0xc1, 8); /* add r9d, 8 */
	E(e, 0x41, 0x83, 0xc9, 3); /* or r9d, 3 */
	put_seg(e, X86_SS, X86_SEG_DB | X86_SEG_DPL);
	E(e, 0x41, 0x83, 0xc1, 8); /* add r9d, 8 */
	put_seg(e, X86_CS, X86_SEG_CODE | X86_SEG_L | X86_SEG_DPL);
	emit_op_r(e, true, OP_MOV_STORE, RCX, R11);
	leave_ring(t, 3, MMU_USER);
}

void rule_cld(struct tr *t)
{
	const bool set = t->now->i.op == X86_OP_STD;

	flags_spare(t);
	emit_op_gs(&t->e, false, 0x80, set ? 1 : 4, CPU(cpu.s.rflags) + 1);
	e8(&t->e, set ? X86_DF >> 8 : 0xff & ~(X86_DF >> 8));
}

/*
 * POPF that changes arithmetic flags, DF and, below ring 3, IF. There is no shadow: an interrupt may come at
 * once.
 */
void rule_popf(struct tr *t)
{
	const unsigned common = X86_TF | X86_NT | X86_AC | X86_ID;
	unsigned since = t->ncold;
	struct emit *e = &t->e;
	struct mem_op m;
	struct cold *c;

	if (t->now->i.opsize != 8) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	t->retry = e->p;
	m = check(t, &at_top, 8, false, 0);
	emit_op_m(e, true, OP_MOV_LOAD, R11, &m);
	emit_op_r(e, false, OP_MOV_STORE, R11, R9);
	emit_op_gs(e, false, 0x33, R9, CPU(cpu.s.rflags)); /* xor r9d: what changes */
	E(e, 0x41, 0xf7, 0xc1); /* test r9d, imm32 */
	e32(e, common | (t->mmu == MMU_USER ? (unsigned)X86_IF : (unsigned)X86_IOPL));
	c = slow(t, emit_jcc(e, CC_NE), 0, false);
	c->ea = at_top;
	count_sensitive(t);
	E(e, 0x41, 0x81, 0xe1); /* and r9d, IF | DF */
	e32(e, X86_IF | X86_DF);
	emit_op_gs(e, false, 0x31, R9, CPU(cpu.s.rflags)); /* xor */
	add_rsp(t, 8);
	if (t->now->live)
		put_arith(e);
	t->fl_mem = true;
	slow_resume(t, since);
	if (t->mmu != MMU_USER)
		after_sti(t);
}

/*
 * CLAC and STAC change the TLB that is used from here on, so the block ends. Its link leads to a block of the
 * other key, as bt_c_link() looks for it when the change is done.
 */
void rule_stac(struct tr *t)
{
	const unsigned mmu = t->mmu, to = t->now->i.op == X86_OP_STAC ? MMU_KERNEL_AC : MMU_KERNEL;
	struct emit *e = &t->e;

	if (mmu == MMU_USER || !(t->v->vm.cpuid->cr4_mask & X86_CR4_SMAP)) {
		call_interp(t);
		return;
	}
	if (mmu == MMU_KERNEL && to == MMU_KERNEL)
		return; /* AC is clear */
	flags_spare(t);
	t->retry = e->p;
	if (to == MMU_KERNEL) {
		test_byte(t, CPU(cpu.s.cr4) + 2, X86_CR4_SMAP >> 16);
		slow(t, emit_jcc(e, CC_E), 0, false)->in_r11 = true;
	}
	count_sensitive(t);
	emit_op_gs(e, false, 0x80, to == MMU_KERNEL ? 4 : 1, CPU(cpu.s.rflags) + 2);
	e8(e, to == MMU_KERNEL ? 0xff & ~(X86_AC >> 16) : X86_AC >> 16);
	if (to == mmu)
		return;
	put_byte(e, CPU(cpu.mmu), to);
	t->mmu = to;
	leave_to(t, next_va(t), t->now->live);
	t->mmu = mmu;
	t->done = true;
}

void rule_swapgs(struct tr *t)
{
	const size_t gs = seg_base(X86_GS);
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
	const struct x86_insn *i = &t->now->i;
	struct emit *e = &t->e;

	if (i->op == X86_OP_RDPID) {
		load_word(t, i->rm, true, CPU(cpu.s.tsc_aux));
		return;
	}
	if (t->key & BT_KEY_TSD && t->mmu == MMU_USER) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	if (i->op == X86_OP_RDTSCP)
		E(e, 0x0f, 0xae, 0xe8); /* lfence: it waits for the loads before it */
	E(e, 0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xc2); /* rdtsc; shl rdx, 32; or rdx, rax */
	emit_op_gs(e, true, 0x03, RDX, CPU(cpu.s.tsc_offset));
	E(e, 0x89, 0xd0, 0x48, 0xc1, 0xea, 0x20); /* mov eax, edx; shr rdx, 32 */
	if (i->op == X86_OP_RDTSCP)
		emit_op_gs(e, false, OP_MOV_LOAD, RCX, CPU(cpu.s.tsc_aux));
}

/* RDFSBASE and its three relatives */
void rule_fsgsbase(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	const bool write = i->op == X86_OP_WRFSBASE || i->op == X86_OP_WRGSBASE, wide = i->opsize == 8;
	const unsigned seg = i->op == X86_OP_RDFSBASE || i->op == X86_OP_WRFSBASE ? X86_FS : X86_GS;
	unsigned since = t->ncold;
	struct emit *e = &t->e;

	if (i->opsize == 2) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	t->retry = e->p;
	test_byte(t, CPU(cpu.s.cr4) + 2, X86_CR4_FSGSBASE >> 16);
	slow(t, emit_jcc(e, CC_E), 0, false)->in_r11 = true;
	if (!write) {
		load_word(t, i->rm, wide, seg_base(seg));
		slow_resume(t, since);
		return;
	}
	if (is_scratch(i->rm))
		emit_op_gs(e, wide, OP_MOV_LOAD, R9, GPR(i->rm));
	else
		emit_op_r(e, wide, OP_MOV_STORE, i->rm, R9);
	if (wide) {
		/* canonical? */
		emit_op_r(e, true, OP_MOV_STORE, R9, R10);
		E(e, 0x49, 0xc1, 0xe2, 16); /* shl r10, 16 */
		E(e, 0x49, 0xc1, 0xfa, 16); /* sar r10, 16 */
		emit_op_r(e, true, OP_CMP, R9, R10);
		slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
	}
	emit_op_gs(e, true, OP_MOV_STORE, R9, seg_base(seg));
	slow_resume(t, since);
}

/* MOV r, CRn */
void rule_movcr_from(struct tr *t)
{
	static const size_t at[] = {[0] = CPU(cpu.s.cr0), [2] = CPU(cpu.s.cr2), [3] = CPU(cpu.s.cr3),
		[4] = CPU(cpu.s.cr4)};
	const struct x86_insn *i = &t->now->i;

	if (t->mmu == MMU_USER || i->reg >= ARRAY_LEN(at) || !at[i->reg]) {
		call_interp(t);
		return;
	}
	load_word(t, i->rm, true, at[i->reg]);
}

/* MOV r/m, Sreg */
void rule_movseg_from(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned since = t->ncold, reg = is_scratch(i->rm) ? (unsigned)R9 : i->rm;
	struct gea g = gea_of(t, i);
	struct emit *e = &t->e;
	struct mem_op m;

	if (i->sreg > X86_GS || (i->is_mem && !gea_fits(&g)) ||
		(!i->is_mem && i->opsize == 2)) {
		call_interp(t);
		return;
	}
	if (i->is_mem) {
		m = check(t, &g, 2, true, 0);
		emit_op_gs(e, false, 0x0fb7, R9, seg_sel(i->sreg));
		e8(e, 0x66);
		emit_op_m(e, false, OP_MOV_STORE, R9, &m);
		slow_resume(t, since);
		return;
	}
	emit_op_gs(e, false, 0x0fb7, reg, seg_sel(i->sreg));
	if (is_scratch(i->rm))
		store_gpr(t, R9, i->rm);
}

void rule_pause(struct tr *t)
{
	E(&t->e, 0xf3, 0x90);
}
