/* SPDX-License-Identifier: MIT */
/*
 * System instructions: control and debug registers, MSRs, CPUID, I/O, flags, state saving (SDM Vol.
 * 2; Vol. 3A chapters 2, 9; Vol. 4 for MSRs; Linux Documentation/virt/kvm/x86/msr.rst for KVM's
 * own).
 */
#include <time.h>

#include "engine/interp/interp-int.h"
#include "x86/fpu.h"

static void need_cpl0(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (c->cpl)
		raise_gp(c);
}

/* ---- flags ---- */

uint64_t get_rflags(const struct engine_cpu *c)
{
	uint32_t ah = c->fl >> 8;

	return (c->s.rflags & ~(uint64_t)X86_ARITH) |
	       (ah & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (c->fl & FL_OF ? X86_OF : 0) |
	       X86_FLAG1;
}

void set_rflags(struct engine_cpu *c, uint64_t v, uint64_t mask)
{
	uint64_t old = get_rflags(c);

	v = (old & ~mask) | (v & mask);
	c->fl = (uint32_t)(v & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) << 8 |
		(v & X86_OF ? FL_OF : 0);
	c->s.rflags = (v & ~(uint64_t)X86_ARITH) | X86_FLAG1;
	c->attn_mask = v & X86_IF ? ~0u : ~(uint32_t)ATTN_IRQ;
	if ((old ^ v) & X86_AC)
		mmu_update(c);
}

const struct iop *op_pushf(struct engine_cpu *c, const struct iop *op)
{
	uint64_t sp = c->s.gpr[X86_RSP];

	c->op = op;
	if (c->s.rflags & X86_VM && (c->s.rflags & X86_IOPL) != X86_IOPL)
		raise_gp(c);
	stack_push(c, op, &sp, op->size, get_rflags(c) & 0xfcffff);
	stack_commit(c, sp);
	return op_next(c, op);
}

const struct iop *op_popf(struct engine_cpu *c, const struct iop *op)
{
	uint64_t sp = c->s.gpr[X86_RSP], v, mask;
	unsigned iopl = c->s.rflags >> 12 & 3;

	c->op = op;
	if (c->s.rflags & X86_VM && iopl != 3)
		raise_gp(c);
	v = stack_pop(c, op, &sp, op->size);
	stack_commit(c, sp);
	mask = X86_ARITH | X86_TF | X86_DF | X86_NT | X86_AC | X86_ID;
	if (c->cpl <= iopl)
		mask |= X86_IF;
	if (c->cpl == 0)
		mask |= X86_IOPL;
	if (op->size == 2)
		mask &= 0xffff;
	set_rflags(c, v & ~(uint64_t)X86_RF, mask);
	c->s.rflags &= ~(uint64_t)X86_RF;
	return op_goto(c, op_next_rip(c, op));
}

static void if_check(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (c->s.cr0 & X86_CR0_PE && c->cpl > (c->s.rflags >> 12 & 3))
		raise_gp(c);
}

const struct iop *op_cli(struct engine_cpu *c, const struct iop *op)
{
	if_check(c, op);
	c->s.rflags &= ~(uint64_t)X86_IF;
	c->attn_mask = ~(uint32_t)ATTN_IRQ;
	return op_next(c, op);
}

const struct iop *op_sti(struct engine_cpu *c, const struct iop *op)
{
	if_check(c, op);
	if (!(c->s.rflags & X86_IF)) {
		c->s.rflags |= X86_IF;
		c->s.sti_shadow = true;
		c->attn_mask = ~0u;
	}
	return op_goto(c, op_next_rip(c, op));
}

/* ---- what control registers decide ---- */

void sys_update(struct engine_cpu *c)
{
	struct x86_state *s = &c->s;

	c->vec_ok = !(s->cr0 & X86_CR0_EM) && s->cr4 & X86_CR4_OSFXSR;
	c->avx_ok = s->cr4 & X86_CR4_OSXSAVE && (s->xcr0 & 6) == 6 && s->cr0 & X86_CR0_PE &&
		    !(s->rflags & X86_VM);
	cpu_mode_update(c);
}

static void load_pdptes(struct engine_cpu *c, uint64_t cr3)
{
	uint64_t e[4];

	for (unsigned i = 0; i < 4; i++)
		if (mem_get(c->vm->mem, (cr3 & 0xffffffe0) + 8 * i, &e[i], 8))
			e[i] = 0;
	for (unsigned i = 0; i < 4; i++)
		if (e[i] & 1 && (e[i] & 0x1e6 || e[i] >> c->paging.maxphyaddr))
			raise_gp(c);
	memcpy(c->paging.pdpte, e, sizeof e);
}

static void set_cr0(struct engine_cpu *c, uint64_t v)
{
	struct x86_state *s = &c->s;
	const uint64_t all = X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET |
			     X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD |
			     X86_CR0_PG;
	uint64_t diff;

	if (v >> 32 || (v & X86_CR0_PG && !(v & X86_CR0_PE)) ||
		(v & X86_CR0_NW && !(v & X86_CR0_CD)))
		raise_gp(c);
	v = (v & all) | X86_CR0_ET;
	diff = v ^ s->cr0;
	if (diff & X86_CR0_PG) {
		if (v & X86_CR0_PG) {
			if (s->efer & X86_EFER_LME) {
				if (!(s->cr4 & X86_CR4_PAE) || s->seg[X86_CS].attr & X86_SEG_L)
					raise_gp(c);
				s->efer |= X86_EFER_LMA;
			} else if (s->cr4 & X86_CR4_PAE) {
				load_pdptes(c, s->cr3);
			}
		} else {
			if (c->mode == X86_MODE64 || (s->cr4 & X86_CR4_PCIDE))
				raise_gp(c);
			s->efer &= ~(uint64_t)X86_EFER_LMA;
		}
	} else if (v & X86_CR0_PG && s->cr4 & X86_CR4_PAE && !x86_long_mode(s) &&
		   diff & (X86_CR0_CD | X86_CR0_NW)) {
		load_pdptes(c, s->cr3);
	}
	if (!(v & X86_CR0_PE) && s->cr0 & X86_CR0_PE) {
		/* back to real mode: CPL is 0 from now on */
		s->seg[X86_SS].attr &= (uint16_t)~X86_SEG_DPL;
	}
	s->cr0 = v;
	if (diff & (X86_CR0_PG | X86_CR0_WP | X86_CR0_PE))
		tlb_flush(c);
	sys_update(c);
}

static void set_cr3(struct engine_cpu *c, uint64_t v)
{
	struct x86_state *s = &c->s;
	bool keep = s->cr4 & X86_CR4_PCIDE && v >> 63;

	if (s->cr4 & X86_CR4_PCIDE)
		v &= ~(1ull << 63);
	if (x86_long_mode(s) && v >> c->paging.maxphyaddr)
		raise_gp(c);
	if (!x86_long_mode(s) && s->cr4 & X86_CR4_PAE && s->cr0 & X86_CR0_PG)
		load_pdptes(c, v);
	if (!keep || v != s->cr3)
		tlb_switch(c, s->cr4 & X86_CR4_PCIDE ? v & 0xfff : 0, keep);
	s->cr3 = v;
	c->paging.cr3 = v;
}

static void set_cr4(struct engine_cpu *c, uint64_t v)
{
	struct x86_state *s = &c->s;
	uint64_t diff = v ^ s->cr4;

	if (v & ~c->vm->cpuid->cr4_mask)
		raise_gp(c);
	if (x86_long_mode(s) && (!(v & X86_CR4_PAE)))
		raise_gp(c);
	if (v & X86_CR4_PCIDE && !(s->cr4 & X86_CR4_PCIDE) && (!x86_long_mode(s) || s->cr3 & 0xfff))
		raise_gp(c);
	if (s->cr0 & X86_CR0_PG && !x86_long_mode(s) && v & X86_CR4_PAE &&
		diff & (X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP))
		load_pdptes(c, s->cr3);
	s->cr4 = v;
	if (diff & (X86_CR4_PAE | X86_CR4_PSE | X86_CR4_PGE | X86_CR4_SMEP | X86_CR4_SMAP |
			   X86_CR4_PCIDE))
		tlb_flush(c);
	sys_update(c);
}

const struct iop *op_movcr(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	const struct cpu_host *h = c->vm->host;
	bool to = i->op == X86_OP_MOVCR_TO;
	unsigned size = c->mode == X86_MODE64 ? 8 : 4;
	uint64_t v;

	c->op = op;
	if (i->reg != 0 && i->reg != 2 && i->reg != 3 && i->reg != 4 && i->reg != 8)
		raise_ud(c);
	need_cpl0(c, op);
	if (to) {
		v = reg_get(c, i->rm * 8u, size);
		switch (i->reg) {
		case 0:
			set_cr0(c, v);
			break;
		case 2:
			c->s.cr2 = v;
			break;
		case 3:
			set_cr3(c, v);
			break;
		case 4:
			set_cr4(c, v);
			break;
		default:
			if (v >> 4)
				raise_gp(c);
			h->set_cr8(h->m, c->id, v);
		}
	} else {
		v = i->reg == 0   ? c->s.cr0
		    : i->reg == 2 ? c->s.cr2
		    : i->reg == 3 ? c->s.cr3
		    : i->reg == 4 ? c->s.cr4
				  : h->cr8(h->m, c->id);
		reg_put(c, i->rm * 8u, size, v);
	}
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_movdr(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	bool to = i->op == X86_OP_MOVDR_TO;
	unsigned size = c->mode == X86_MODE64 ? 8 : 4, n = i->reg;
	struct x86_state *s = &c->s;
	uint64_t v;

	c->op = op;
	if (n > 7 || ((n == 4 || n == 5) && s->cr4 & X86_CR4_DE))
		raise_ud(c);
	need_cpl0(c, op);
	if (s->dr7 & 0x2000) { /* general detect */
		s->dr7 &= ~0x2000ull;
		s->dr6 |= 0x2000;
		raise_plain(c, X86_DB);
	}
	if (n == 4 || n == 5)
		n += 2;
	if (to) {
		v = reg_get(c, i->rm * 8u, size);
		if (n >= 6 && v >> 32)
			raise_gp(c);
		if (n < 4)
			s->dr[n] = v;
		else if (n == 6)
			s->dr6 = (v & 0xe00f) | 0xffff0ff0;
		else
			s->dr7 = (v & 0xffff2bff) | 0x400;
		mmu_update(c);
	} else {
		reg_put(c, i->rm * 8u, size, n < 4 ? s->dr[n] : n == 6 ? s->dr6 : s->dr7);
	}
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_clts(struct engine_cpu *c, const struct iop *op)
{
	need_cpl0(c, op);
	c->s.cr0 &= ~(uint64_t)X86_CR0_TS;
	sys_update(c);
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_smsw(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (c->cpl && c->s.cr4 & X86_CR4_UMIP)
		raise_gp(c);
	rm_put(c, op, op->insn->is_mem ? 2 : op->insn->opsize, c->s.cr0);
	return op_next(c, op);
}

const struct iop *op_lmsw(struct engine_cpu *c, const struct iop *op)
{
	uint64_t v;

	need_cpl0(c, op);
	v = rm_get(c, op, 2);
	c->op = op;
	/* PE can be set, not cleared */
	set_cr0(c, (c->s.cr0 & ~0xeull) | (v & 0xf));
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_invlpg(struct engine_cpu *c, const struct iop *op)
{
	uint64_t lin;

	need_cpl0(c, op);
	lin = op_off(c, op);
	if (c->mode != X86_MODE64 || op->seg >= X86_FS)
		lin += c->s.seg[op->seg].base;
	if (!x86_long_mode(&c->s))
		lin = (uint32_t)lin;
	tlb_flush_page(c, lin);
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_invpcid(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	uint64_t type, desc, addr, lin;

	c->op = op;
	if (!c->vm->cpuid->pcid || !(c->s.cr0 & X86_CR0_PE))
		raise_ud(c);
	need_cpl0(c, op);
	type = reg_get(c, i->reg * 8u, c->mode == X86_MODE64 ? 8 : 4);
	lin = op_lin(c, op, 16, false);
	desc = mem_ld64(c, op, lin);
	addr = mem_ld64(c, op, lin + 8);
	c->op = op;
	if (type > 3 || (type < 2 && desc >> 12))
		raise_gp(c);
	if (type == 0 && !x86_canonical(addr))
		raise_gp(c);
	if (type < 2 && desc && !(c->s.cr4 & X86_CR4_PCIDE))
		raise_gp(c);
	if (type == 2)
		tlb_flush(c);
	else if (type == 3)
		tlb_flush_local(c);
	else if (desc != (c->s.cr4 & X86_CR4_PCIDE ? c->s.cr3 & 0xfff : 0))
		tlb_flush_other(c, (unsigned)desc, type ? UINT64_MAX : addr);
	else if (type == 1)
		tlb_switch(c, (unsigned)desc, false);
	else
		tlb_flush_page(c, addr);
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_dtable(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	unsigned wide = c->mode == X86_MODE64 ? 8 : 4;
	bool idt = i->op == X86_OP_SIDT || i->op == X86_OP_LIDT;
	struct x86_table *t = idt ? &c->s.idt : &c->s.gdt, n;
	uint64_t lin;

	c->op = op;
	if (i->op == X86_OP_SGDT || i->op == X86_OP_SIDT) {
		if (c->cpl && c->s.cr4 & X86_CR4_UMIP)
			raise_gp(c);
		lin = op_lin(c, op, wide + 2, true);
		c->op = op;
		mem_probe_write(c, lin, wide + 2, op->seg);
		store(c, op, lin, 2, t->limit);
		store(c, op, lin + 2, wide, t->base);
		return op_next(c, op);
	}
	need_cpl0(c, op);
	lin = op_lin(c, op, wide + 2, false);
	n.limit = (uint16_t)load(c, op, lin, 2);
	n.base = load(c, op, lin + 2, wide);
	c->op = op;
	if (wide == 8 && !x86_canonical(n.base))
		raise_gp(c);
	if (wide == 4 && i->opsize == 2)
		n.base &= 0xffffff;
	*t = n;
	return op_next(c, op);
}

const struct iop *op_swapgs(struct engine_cpu *c, const struct iop *op)
{
	uint64_t t;

	c->op = op;
	if (c->mode != X86_MODE64)
		raise_ud(c);
	need_cpl0(c, op);
	t = c->s.kernel_gs_base;
	c->s.kernel_gs_base = c->s.seg[X86_GS].base;
	c->s.seg[X86_GS].base = t;
	return op_next(c, op);
}

const struct iop *op_fsgsbase(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	unsigned seg = i->op == X86_OP_RDFSBASE || i->op == X86_OP_WRFSBASE ? X86_FS : X86_GS;
	uint64_t v;

	c->op = op;
	if (c->mode != X86_MODE64 || !(c->s.cr4 & X86_CR4_FSGSBASE))
		raise_ud(c);
	if (i->op == X86_OP_RDFSBASE || i->op == X86_OP_RDGSBASE) {
		reg_put(c, i->rm * 8u, i->opsize, c->s.seg[seg].base);
		return op_next(c, op);
	}
	v = reg_get(c, i->rm * 8u, i->opsize);
	if (!x86_canonical(v))
		raise_gp(c);
	c->s.seg[seg].base = v;
	return op_next(c, op);
}

/* CLAC and STAC */
const struct iop *op_stac(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (c->cpl || !(c->vm->cpuid->cr4_mask & X86_CR4_SMAP))
		raise_ud(c);
	set_rflags(c, op->insn->op == X86_OP_STAC ? X86_AC : 0, X86_AC);
	return op_goto(c, op_next_rip(c, op));
}

/* ---- time, random numbers, identification ---- */

static uint64_t guest_tsc(const struct engine_cpu *c)
{
	return __builtin_ia32_rdtsc() + c->s.tsc_offset;
}

const struct iop *op_rdtsc(struct engine_cpu *c, const struct iop *op)
{
	uint64_t t;

	if (op->insn->op == X86_OP_RDPID) {
		reg_put(c, op->insn->rm * 8u, 8, c->s.tsc_aux);
		return op_next(c, op);
	}
	c->op = op;
	if (c->cpl && c->s.cr4 & X86_CR4_TSD)
		raise_gp(c);
	if (op->insn->op == X86_OP_RDTSCP)
		__builtin_ia32_lfence();
	t = guest_tsc(c);
	c->s.gpr[X86_RAX] = (uint32_t)t;
	c->s.gpr[X86_RDX] = t >> 32;
	if (op->insn->op == X86_OP_RDTSCP)
		c->s.gpr[X86_RCX] = (uint32_t)c->s.tsc_aux;
	return op_next(c, op);
}

const struct iop *op_rdpmc(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	raise_gp(c); /* no counters are offered */
}

const struct iop *op_rdrand(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = 0;
	bool ok = false;

	if (i->op == X86_OP_RDRAND) {
		for (unsigned k = 0; k < 10 && !ok; k++)
			__asm__ volatile("rdrand %0" : "=r"(v), "=@ccc"(ok));
	} else {
		for (unsigned k = 0; k < 10 && !ok; k++)
			__asm__ volatile("rdseed %0" : "=r"(v), "=@ccc"(ok));
	}
	reg_put(c, i->rm * 8u, i->opsize, ok ? v : 0);
	c->fl = ok ? FL_CF : 0;
	return op_next(c, op);
}

const struct iop *op_cpuid(struct engine_cpu *c, const struct iop *op)
{
	uint32_t r[4];

	x86_cpuid_query(c->vm->cpuid, c->id, (uint32_t)c->s.gpr[X86_RAX],
		(uint32_t)c->s.gpr[X86_RCX], c->s.cr4, c->s.apic_base, c->s.xcr0, r);
	c->s.gpr[X86_RAX] = r[0];
	c->s.gpr[X86_RBX] = r[1];
	c->s.gpr[X86_RCX] = r[2];
	c->s.gpr[X86_RDX] = r[3];
	return op_goto(c, op_next_rip(c, op));
}

/* ---- idle ---- */

const struct iop *op_hlt(struct engine_cpu *c, const struct iop *op)
{
	need_cpl0(c, op);
	c->s.mp = X86_MP_HALT;
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_monitor(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	raise_ud(c); /* CPUID does not offer MONITOR */
}

const struct iop *op_vmcall(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (c->cpl) {
		c->s.gpr[X86_RAX] = (uint64_t)-1; /* KVM_EPERM */
		return op_goto(c, op_next_rip(c, op));
	}
	c->s.gpr[X86_RAX] = (uint64_t)-1000; /* KVM_ENOSYS: no hypercalls yet */
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_wbinvd(struct engine_cpu *c, const struct iop *op)
{
	need_cpl0(c, op);
	return op_next(c, op);
}

const struct iop *op_fence(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;

	if (i->op == X86_OP_CLFLUSH) {
		if (i->is_mem)
			mem_ld8(c, op, op_lin(c, op, 1, false));
		return op_next(c, op);
	}
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return i->op == X86_OP_SERIALIZE ? op_goto(c, op_next_rip(c, op)) : op_next(c, op);
}

/* ---- ports ---- */

/* I/O breakpoints (CR4.DE, R/W 2): a trap after the instruction, as for data. */
static void io_watch(struct engine_cpu *c, uint16_t port, unsigned size)
{
	static const uint8_t lens[4] = {1, 2, 8, 4};

	for (unsigned i = 0; i < 4; i++) {
		uint64_t len = lens[c->s.dr7 >> (18 + 4 * i) & 3], at = c->s.dr[i] & ~(len - 1);

		if (!(c->s.dr7 >> (2 * i) & 3) || (c->s.dr7 >> (16 + 4 * i) & 3) != 2)
			continue;
		if (port < at + len && at < port + (uint64_t)size) {
			c->dr6_pending |= 1ull << i;
			c->trap_pending = true;
		}
	}
}

void io_check(struct engine_cpu *c, uint16_t port, unsigned size)
{
	const struct x86_seg *tr = &c->s.tr;
	uint64_t map;

	if (unlikely(c->dr_data) && c->s.cr4 & X86_CR4_DE)
		io_watch(c, port, size);
	if (!(c->s.cr0 & X86_CR0_PE) ||
		(c->cpl <= (c->s.rflags >> 12 & 3) && !(c->s.rflags & X86_VM)))
		return;
	if (!(tr->attr & X86_SEG_P) || !(tr->attr & 8) || tr->limit < 103)
		raise_gp(c);
	map = mem_sys_load(c, tr->base + 102, 2) + port / 8;
	if (map + 1 > tr->limit)
		raise_gp(c);
	if (mem_sys_load(c, tr->base + map, 2) >> (port & 7) & ((1u << size) - 1))
		raise_gp(c);
}

static uint16_t port_of(const struct engine_cpu *c, const struct iop *op)
{
	return op->insn->form == X86_F_A_D ? (uint16_t)c->s.gpr[X86_RDX] : (uint8_t)op->insn->imm;
}

const struct iop *op_in(struct engine_cpu *c, const struct iop *op)
{
	const struct cpu_host *h = c->vm->host;
	uint16_t port = port_of(c, op);

	c->op = op;
	io_check(c, port, op->size);
	reg_put(c, 0, op->size, h->read(h->m, c->id, true, port, op->size));
	return op_goto(c, op_next_rip(c, op));
}

const struct iop *op_out(struct engine_cpu *c, const struct iop *op)
{
	const struct cpu_host *h = c->vm->host;
	uint16_t port = port_of(c, op);

	c->op = op;
	io_check(c, port, op->size);
	h->write(h->m, c->id, true, port, reg_get(c, 0, op->size), op->size);
	return op_goto(c, op_next_rip(c, op));
}

/* ---- MSRs ---- */

static void kvm_wall_clock(struct engine_cpu *c, uint64_t v)
{
	struct {
		uint32_t version, sec, nsec;
	} w = {.version = 2};
	struct timespec now, mono;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	/* wall time when system_time (CLOCK_MONOTONIC here) was 0 */
	ns = (now.tv_sec - mono.tv_sec) * 1000000000ll + (now.tv_nsec - mono.tv_nsec);
	w.sec = (uint32_t)(ns / 1000000000);
	w.nsec = (uint32_t)(ns % 1000000000);
	if (!mem_put(c->vm->mem, v & ~3ull, &w, sizeof w))
		code_written(c->vm, v & ~3ull, sizeof w);
}

/*
 * The TSC is invariant, so the parameters are written once and stay right. All vCPUs get the same
 * moment: what PVCLOCK_TSC_STABLE_BIT promises is that their clocks agree to the nanosecond.
 */
static void kvm_system_time(struct engine_cpu *c, uint64_t v)
{
	struct {
		uint32_t version, pad0;
		uint64_t tsc_timestamp, system_time;
		uint32_t tsc_to_system_mul;
		int8_t tsc_shift;
		uint8_t flags, pad[2];
	} __attribute__((packed)) t = {.version = 2, .flags = 1 /* PVCLOCK_TSC_STABLE_BIT */};
	uint64_t hz = c->vm->cpuid->tsc_khz * 1000ull, scaled = 1000000000ull, base = hz;
	int shift = 0;

	if (!(v & 1))
		return;
	while (base > scaled * 2) {
		base >>= 1;
		shift--;
	}
	while (base <= scaled) {
		base <<= 1;
		shift++;
	}
	/* ns = (tsc << shift) * mul >> 32; base is hz scaled by the shift */
	t.tsc_to_system_mul = (uint32_t)((scaled << 32) / base);
	t.tsc_shift = (int8_t)shift;
	t.tsc_timestamp = c->vm->clock_tsc + c->s.tsc_offset;
	t.system_time = c->vm->clock_ns;
	if (!mem_put(c->vm->mem, v & ~3ull, &t, sizeof t))
		code_written(c->vm, v & ~3ull, sizeof t);
}

/* MSRs that are a plain word in the state; canon: the value must be a canonical address */
static uint64_t *msr_word(struct x86_state *s, uint32_t msr, bool *canon)
{
	*canon = false;
	switch (msr) {
	case 0x174:
		return &s->sysenter_cs;
	case 0x175:
		*canon = true;
		return &s->sysenter_esp;
	case 0x176:
		*canon = true;
		return &s->sysenter_eip;
	case 0xc0000081:
		return &s->star;
	case 0xc0000082:
		*canon = true;
		return &s->lstar;
	case 0xc0000083:
		*canon = true;
		return &s->cstar;
	case 0xc0000084:
		return &s->sfmask;
	case 0xc0000100:
		*canon = true;
		return &s->seg[X86_FS].base;
	case 0xc0000101:
		*canon = true;
		return &s->seg[X86_GS].base;
	case 0xc0000102:
		*canon = true;
		return &s->kernel_gs_base;
	case 0xc0000103:
		return &s->tsc_aux;
	case 0x1a0:
		return &s->misc_enable;
	case 0x2ff:
		return &s->mtrr_def;
	default:
		break;
	}
	if (msr >= 0x200 && msr < 0x200 + 2 * X86_NMTRR_VAR)
		return msr & 1 ? &s->mtrr_mask[(msr - 0x200) / 2]
			       : &s->mtrr_base[(msr - 0x200) / 2];
	switch (msr) {
	case 0x250:
		return &s->mtrr_fix[0];
	case 0x258:
	case 0x259:
		return &s->mtrr_fix[msr - 0x258 + 1];
	default:
		if (msr >= 0x268 && msr <= 0x26f)
			return &s->mtrr_fix[msr - 0x268 + 3];
		return NULL;
	}
}

/* Bit of register reg (0-3: EAX-EDX) of a CPUID leaf that the guest sees */
static bool cpuid_bit(const struct engine_cpu *c, uint32_t leaf, unsigned reg, unsigned bit)
{
	uint32_t out[4];

	x86_cpuid_query(c->vm->cpuid, c->id, leaf, 0, c->s.cr4, c->s.apic_base, c->s.xcr0, out);
	return out[reg] >> bit & 1;
}

static bool has_spec_ctrl(const struct engine_cpu *c)
{
	return cpuid_bit(c, 7, 3, 26) || cpuid_bit(c, 7, 3, 27) || cpuid_bit(c, 7, 3, 31) ||
	       cpuid_bit(c, 0x80000008, 1, 14) || cpuid_bit(c, 0x80000008, 1, 15) ||
	       cpuid_bit(c, 0x80000008, 1, 24);
}

/* Read as zero, writes dropped: what Linux touches without asking CPUID. */
static bool msr_ignored(uint32_t msr)
{
	static const uint32_t list[] = {
		0x8b, /* microcode version */
		0x79, /* microcode update trigger */
		0x2a,
		0xcd,
		0x1d9,
		0x1db,
		0x1dc,
		0x1dd,
		0x1de,
		0x34,
		0xce,
		0x140,
		0x186,
		0x187,
		0xc1,
		0xc2,
		0x1c9,
		0x611,
		0x639,
		0x641,
		0x619,
		0x606,
		0x64e,
		0xc0010000,
		0xc0010001,
		0xc0010002,
		0xc0010003,
		0xc0010004,
		0xc0010005,
		0xc0010006,
		0xc0010007,
		0xc0010010, /* SYSCFG */
		0xc0010015, /* HWCR */
		0xc001001f, /* NB_CFG */
		0xc0010055, /* INT_PENDING */
		0xc0010058, /* MMIO_CONF_BASE */
		0xc0010112,
		0xc0010113, /* TSEG */
		0xc0010117,
		0xc0010140,
		0xc0010141, /* OSVW */
		0xc0011020,
		0xc0011021,
		0xc0011022,
		0xc0011023,
		0xc0011029,
		0xc001102a,
		0xc001102c,
		0xc00110e3,
		0xc0010062,
		0xc0010063,
		0xc0010064,
		0xc001029a,
		0xc001029b,
		0xc0000104,
	};

	for (unsigned i = 0; i < ARRAY_LEN(list); i++)
		if (list[i] == msr)
			return true;
	return false;
}

static bool msr_read(struct engine_cpu *c, uint32_t msr, uint64_t *v)
{
	const struct cpu_host *h = c->vm->host;
	struct x86_state *s = &c->s;
	uint64_t *w;
	bool canon;

	w = msr_word(s, msr, &canon);
	if (w) {
		*v = *w;
		return true;
	}
	switch (msr) {
	case 0x10:
		*v = guest_tsc(c);
		return true;
	case 0x3b:
		*v = s->tsc_adjust;
		return true;
	case 0x3a: /* FEATURE_CONTROL: locked, nothing enabled */
		*v = 1;
		return true;
	case 0x17:  /* PLATFORM_ID */
	case 0x179: /* MCG_CAP: no banks */
	case 0x17a:
	case 0x17b:
		*v = 0;
		return true;
	case 0x48:
		*v = s->spec_ctrl;
		return has_spec_ctrl(c);
	case 0xc0010015: /* HWCR: TscFreqSel, the TSC counts with the P0 frequency */
		*v = 1 << 24;
		return true;
	case 0xfe: /* MTRRCAP: 8 variable, fixed, WC */
		*v = X86_NMTRR_VAR | 0x500;
		return true;
	case 0x10a: /* ARCH_CAPABILITIES */
		*v = c->vm->cpuid->arch_caps;
		return *v;
	case 0x277:
		*v = s->pat;
		return true;
	case 0xc0000080:
		*v = s->efer;
		return true;
	case 0xc001011f: /* VIRT_SPEC_CTRL */
		*v = 0;
		return true;
	case 0x4b564d00:
		*v = s->kvm_wall_clock;
		return true;
	case 0x4b564d01:
		*v = s->kvm_system_time;
		return true;
	default:
		break;
	}
	if (msr == 0x1b || msr == 0x6e0 || (msr >= 0x800 && msr <= 0x83f)) {
		if (h->rdmsr(h->m, c->id, msr, v) != CPU_MSR_OK)
			return false;
		if (msr == 0x6e0 && *v) /* deadlines are told in host time */
			*v += s->tsc_offset;
		return true;
	}
	if (msr_ignored(msr)) {
		*v = 0;
		return true;
	}
	return false;
}

static bool efer_write(struct engine_cpu *c, uint64_t v)
{
	struct x86_state *s = &c->s;

	if (v & ~(c->vm->cpuid->efer_mask | X86_EFER_LMA))
		return false;
	if ((v ^ s->efer) & X86_EFER_LME && s->cr0 & X86_CR0_PG)
		return false;
	v = (v & ~(uint64_t)X86_EFER_LMA) | (s->efer & X86_EFER_LMA);
	if ((v ^ s->efer) & X86_EFER_NXE)
		tlb_flush(c);
	s->efer = v;
	sys_update(c);
	return true;
}

static bool msr_write(struct engine_cpu *c, uint32_t msr, uint64_t v)
{
	const struct cpu_host *h = c->vm->host;
	struct x86_state *s = &c->s;
	uint64_t *w;
	bool canon;

	w = msr_word(s, msr, &canon);
	if (w) {
		if (canon && !x86_canonical(v))
			return false;
		if (msr == 0xc0000103 && v >> 32)
			return false;
		if (msr == 0xc0000084)
			v = (uint32_t)v;
		if (msr == 0x2ff && v & ~0xcffull)
			return false;
		*w = v;
		return true;
	}
	switch (msr) {
	case 0x10:
		s->tsc_adjust += v - guest_tsc(c);
		s->tsc_offset += v - guest_tsc(c);
		return true;
	case 0x3b:
		s->tsc_offset += v - s->tsc_adjust;
		s->tsc_adjust = v;
		return true;
	case 0x48:
		if (v & ~7ull || !has_spec_ctrl(c))
			return false;
		s->spec_ctrl = v;
		return true;
	case 0x49: /* PRED_CMD: IBPB */
		return !(v & ~1ull) && (cpuid_bit(c, 7, 3, 26) || cpuid_bit(c, 0x80000008, 1, 12));
	case 0x10b: /* FLUSH_CMD */
		return !(v & ~1ull) && cpuid_bit(c, 7, 3, 28);
	case 0x17a:
	case 0x17b:
	case 0xc001011f:
		return true;
	case 0x277:
		for (unsigned i = 0; i < 8; i++) {
			unsigned t = v >> (8 * i) & 0xff;

			if (t > 7 || t == 2 || t == 3)
				return false;
		}
		s->pat = v;
		return true;
	case 0xc0000080:
		return efer_write(c, v);
	case 0x4b564d00:
		s->kvm_wall_clock = v;
		kvm_wall_clock(c, v);
		return true;
	case 0x4b564d01:
		s->kvm_system_time = v;
		kvm_system_time(c, v);
		return true;
	default:
		break;
	}
	if (msr == 0x1b || msr == 0x6e0 || (msr >= 0x800 && msr <= 0x83f)) {
		if (msr == 0x6e0 && v) {
			v -= s->tsc_offset;
			v += !v; /* 0 would disarm it */
		}
		if (h->wrmsr(h->m, c->id, msr, v) != CPU_MSR_OK)
			return false;
		if (msr == 0x1b)
			s->apic_base = v;
		return true;
	}
	return msr_ignored(msr);
}

const struct iop *op_msr(struct engine_cpu *c, const struct iop *op)
{
	uint32_t msr = (uint32_t)c->s.gpr[X86_RCX];
	uint64_t v;

	need_cpl0(c, op);
	if (op->insn->op == X86_OP_RDMSR) {
		if (!msr_read(c, msr, &v))
			raise_gp(c);
		c->s.gpr[X86_RAX] = (uint32_t)v;
		c->s.gpr[X86_RDX] = v >> 32;
	} else {
		v = c->s.gpr[X86_RDX] << 32 | (uint32_t)c->s.gpr[X86_RAX];
		if (!msr_write(c, msr, v))
			raise_gp(c);
	}
	return op_goto(c, op_next_rip(c, op));
}

/* XGETBV, XSETBV */
const struct iop *op_xcr(struct engine_cpu *c, const struct iop *op)
{
	struct x86_state *s = &c->s;
	uint32_t n = (uint32_t)s->gpr[X86_RCX];
	uint64_t v;

	c->op = op;
	if (!(s->cr4 & X86_CR4_OSXSAVE))
		raise_ud(c);
	if (op->insn->op == X86_OP_XGETBV) {
		if (n > 1)
			raise_gp(c);
		v = n ? s->xcr0 & x86_fpu_xinuse(&s->fpu) : s->xcr0;
		s->gpr[X86_RAX] = (uint32_t)v;
		s->gpr[X86_RDX] = v >> 32;
		return op_next(c, op);
	}
	need_cpl0(c, op);
	v = s->gpr[X86_RDX] << 32 | (uint32_t)s->gpr[X86_RAX];
	if (n || !(v & 1) || v & ~c->vm->cpuid->xcr0_mask || (v & 6) == 4)
		raise_gp(c);
	s->xcr0 = v;
	sys_update(c);
	return op_goto(c, op_next_rip(c, op));
}

/* ---- saved FPU state ---- */

static void fpu_check(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	if (c->s.cr0 & X86_CR0_TS ||
		(op->insn->op != X86_OP_XSAVE && c->s.cr0 & X86_CR0_EM &&
			(op->insn->op == X86_OP_FXSAVE || op->insn->op == X86_OP_FXRSTOR)))
		raise_plain(c, X86_NM);
}

const struct iop *op_fxsave(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	uint8_t img[X86_FXSAVE_SIZE];
	uint64_t lin;

	fpu_check(c, op);
	lin = op_lin(c, op, X86_FXSAVE_SIZE, i->op == X86_OP_FXSAVE);
	c->op = op;
	if (lin & 15)
		raise_gp(c);
	if (i->op == X86_OP_FXSAVE) {
		mem_probe_write(c, lin, X86_FXSAVE_SIZE, op->seg);
		x86_fpu_fxsave(&c->s.fpu, img, i->opsize == 8);
		/* registers 8-15 exist in 64-bit mode only; bytes 416-511 are never written */
		mem_write_bytes(c, lin, img, c->mode == X86_MODE64 ? 416 : 288, op->seg);
		return op_next(c, op);
	}
	mem_read_bytes(c, lin, img, sizeof img, op->seg);
	if (c->mode != X86_MODE64)
		for (unsigned r = 8; r < 16; r++)
			memcpy(img + 160 + 16 * r, c->s.fpu.ymm[r], 16);
	if (x86_fpu_fxrstor(&c->s.fpu, img, i->opsize == 8))
		raise_gp(c);
	return op_next(c, op);
}

const struct iop *op_xsave(struct engine_cpu *c, const struct iop *op)
{
	const struct x86_insn *i = op->insn;
	enum { XSAVE_XMM8 = 160 + 8 * 16, XSAVE_YMM8 = X86_XSAVE_AVX_OFF + 8 * 16 };
	uint8_t img[X86_XSAVE_SIZE_AVX], old[X86_XSAVE_SIZE_AVX], regs[8 * 32];
	const bool rstor = i->op == X86_OP_XRSTOR;
	uint64_t lin, mask;

	c->op = op;
	if (!(c->s.cr4 & X86_CR4_OSXSAVE))
		raise_ud(c);
	if (c->s.cr0 & X86_CR0_TS)
		raise_plain(c, X86_NM);
	mask = (c->s.gpr[X86_RDX] << 32 | (uint32_t)c->s.gpr[X86_RAX]) & c->s.xcr0;
	lin = op_lin(c, op, 576, !rstor);
	c->op = op;
	if (lin & 63)
		raise_gp(c);
	/* the AVX part is touched only if it is asked for */
	const unsigned len = mask & 4 ? X86_XSAVE_SIZE_AVX : X86_XSAVE_AVX_OFF;

	memset(img, 0, sizeof img);
	if (!rstor)
		mem_probe_write(c, lin, len, op->seg);
	mem_read_bytes(c, lin, img, len, op->seg);
	/* outside of 64-bit mode registers 8 to 15 do not exist: neither they nor their places
	 * change */
	memcpy(regs, c->s.fpu.ymm[8], sizeof regs);
	memcpy(old, img, sizeof old);
	if (rstor) {
		if (x86_fpu_xrstor(&c->s.fpu, img, mask, c->s.xcr0, i->opsize == 8))
			raise_gp(c);
		if (c->mode != X86_MODE64)
			memcpy(c->s.fpu.ymm[8], regs, sizeof regs);
		return op_next(c, op);
	}
	x86_fpu_xsave(&c->s.fpu, img, mask, i->opsize == 8, i->op == X86_OP_XSAVEC,
		i->op != X86_OP_XSAVE);
	if (c->mode != X86_MODE64) {
		memcpy(img + XSAVE_XMM8, old + XSAVE_XMM8, 128);
		memcpy(img + XSAVE_YMM8, old + XSAVE_YMM8, 128);
	}
	mem_write_bytes(c, lin, img, len, op->seg);
	return op_next(c, op);
}

const struct iop *op_mxcsr(struct engine_cpu *c, const struct iop *op)
{
	uint64_t lin;
	uint32_t v;

	c->op = op;
	if (!c->vec_ok)
		raise_ud(c);
	if (c->s.cr0 & X86_CR0_TS)
		raise_plain(c, X86_NM);
	lin = op_lin(c, op, 4, op->insn->op == X86_OP_STMXCSR);
	if (op->insn->op == X86_OP_STMXCSR) {
		mem_st32(c, op, lin, c->s.fpu.mxcsr);
		return op_next(c, op);
	}
	v = mem_ld32(c, op, lin);
	c->op = op;
	if (v & ~X86_MXCSR_MASK)
		raise_gp(c);
	c->s.fpu.mxcsr = v;
	return op_next(c, op);
}
