/* SPDX-License-Identifier: MIT */
/*
 * From guest code to host code, one pass over a superblock.
 *
 * A block is a run of up to BT_BLOCK_INSNS instructions of one page in 64-bit mode, beginning at a known
 * address, on through the not taken side of conditional branches. Guest and host have the same
 * instruction set, so most instructions are copied as they are. What is not:
 *
 *   R9-R11       live in struct bt_cpu. An instruction that names them is surrounded by loads and stores;
 *                the host's registers of the same number stand in.
 *   Memory       goes through the TLB that interp uses. A check is
 *
 *                    rorx  r10d, ea, 12 ; movzx r10d, r10b     index: low byte of the page number
 *                    lea   r9, [ea + size - 1] ; shr r9, 12    page of the last byte
 *                    cmp   r9, gs:[r10*8 + tag] ; jne slow
 *                    mov   r10, gs:[r10*8 + addend]
 *
 *                and the operand becomes [ea + r10]. The tag's table tells reads from writes; the key tells
 *                user from kernel. Slow code lies behind the block: it asks bt_c_mem() to fill the TLB and
 *                tries again, or has interp execute the instruction.
 *   Flags        live in EFLAGS, and the check destroys them. Where they are still wanted (live), they are
 *                saved to cpu.fl first, in interp's form (LAHF, SETO), and fetched back when an
 *                instruction needs them. So at every point they are in one of two places (fl_mem). A backward
 *                pass computes what is live; at branches within the page it looks at the target. Indirect
 *                branches always save: code is entered indirectly with flags in cpu.fl, directly with
 *                flags in EFLAGS; where they are dead on entry, which is nearly always, both are the same.
 *                Flags that are dead are not kept. An exception between their writer and the instruction that
 *                would have overwritten them shows other values than a CPU would.
 *   Branches     end in a link (cache.c), or look into the jump cache. Each loop contains a backward or an
 *                indirect branch; these look at cpu.poll.
 *   Everything   else is executed by interp's function for it (bt_c_call()): precise, restartable, tested.
 *
 * Nothing the guest can see is written before the last possible fault of an instruction; as the guest's
 * registers are in place at every instruction, state is precise at every slow path.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/bt/translate-int.h"

struct cold *cold_new(struct tr *t, enum cold_kind kind, uint8_t *from)
{
	static struct cold none;
	struct cold *c;

	if (t->ncold == MAX_COLD) {
		t->failed = true;
		return &none;
	}
	c = &t->cold[t->ncold++];
	*c = (struct cold){.kind = kind, .from = from};
	return c;
}

/* ---- flags ---- */

/* cpu.fl = flags. R9 is lost. */
void save_flags(struct emit *e)
{
	emit_op_r(e, true, OP_MOV_STORE, RAX, R9);
	E(e, 0x9f, 0x0f, 0x90, 0xc0); /* lahf; seto al */
	e8(e, 0x65);
	E(e, 0x66, 0x89, 0x04, 0x25); /* mov gs:[fl], ax */
	e32(e, (uint32_t)CPU(cpu.fl));
	emit_op_r(e, true, OP_MOV_STORE, R9, RAX);
}

/* flags = cpu.fl. R9 is lost. */
void fetch_flags(struct emit *e)
{
	emit_op_r(e, true, OP_MOV_STORE, RAX, R9);
	emit_op_gs(e, false, 0x0fb7, RAX, CPU(cpu.fl)); /* movzx: no more than was stored, which may be just now */
	E(e, 0x04, 0x7f, 0x9e); /* add al, 7f: OF; sahf: the others */
	emit_op_r(e, true, OP_MOV_STORE, R9, RAX);
}

void flags_to_mem(struct tr *t)
{
	if (!t->fl_mem) {
		save_flags(&t->e);
		t->held &= ~1u;
	}
	t->fl_mem = true;
}

void flags_to_host(struct tr *t)
{
	if (t->fl_mem) {
		fetch_flags(&t->e);
		t->held &= ~1u;
	}
	t->fl_mem = false;
}

/* Before something that destroys EFLAGS, in front of the current instruction. */
void flags_spare(struct tr *t)
{
	if (live_before(t->now))
		flags_to_mem(t);
}

static bool ends_block(unsigned op);

/*
 * The bytes at an address of this block's page, at most 15: those of the block, or others, which count as its own
 * from now on: who writes there ends it.
 */
static const uint8_t *peek(const struct tr *t, uint64_t va, uint8_t *buf, unsigned *n)
{
	uint64_t off = va - t->va, gpa = (t->blk->gpa & ~0xfffull) | (va & 0xfff);

	if (va >= t->va && off < t->span) {
		*n = t->span - (unsigned)off;
		return t->bytes + off;
	}
	*n = (unsigned)min_u64(15, MEM_PAGE - (va & 0xfff));
	code_lines_mark(&t->v->vm, gpa, *n);
	memcpy(buf, mem_at(t->v->vm.mem, gpa, *n), *n);
	return buf;
}

/* Flags wanted at an address. All when it cannot be told. */
static unsigned live_at(const struct tr *t, uint64_t va)
{
	unsigned unknown = X86_ARITH, live = 0;

	for (unsigned k = 0; k < LOOKAHEAD && unknown && same_page(va, t->va); k++) {
		uint8_t buf[15];
		struct x86_insn i;
		unsigned n;
		const uint8_t *p = peek(t, va, buf, &n);

		if (x86_decode(&i, X86_MODE64, p, n) <= 0)
			break;
		live |= flags_read(&i) & unknown;
		unknown &= ~flags_written(&i);
		va += i.len;
		if (i.op == X86_OP_JMP) {
			va += (uint64_t)i.imm;
			continue;
		}
		if (i.attr & X86_A_BRANCH || i.op == X86_OP_UD || ends_block(i.op))
			break;
	}
	return live | unknown;
}

/* ---- registers ---- */

/* General registers among the operands: which of R9-R11, as bits 0-2. */
static unsigned scratch_operands(const struct x86_insn *i)
{
	unsigned m = 0;
	bool reg = false, rm = !i->is_mem && i->has_modrm, v = false;

	switch (i->form) {
	case X86_F_RM_R: case X86_F_R_RM: case X86_F_RM_R_I: case X86_F_R_RM_I:
		reg = true;
		break;
	case X86_F_R_V_RM: case X86_F_R_RM_V:
		reg = v = true;
		break;
	case X86_F_V_RM:
		v = true;
		break;
	case X86_F_RM_CL:
		reg = i->op == X86_OP_SHLD || i->op == X86_OP_SHRD;
		break;
	case X86_F_O: case X86_F_O_I: case X86_F_A_O:
		rm = true;
		break;
	case X86_F_VEC:
		reg = i->kreg == X86_K_GPR;
		rm = rm && i->krm == X86_K_GPR;
		v = i->kvex == X86_K_GPR;
		break;
	default:
		break;
	}
	if (reg && is_scratch(i->reg))
		m |= 1u << (i->reg - R9);
	if (rm && is_scratch(i->rm))
		m |= 1u << (i->rm - R9);
	if (v && is_scratch(i->vvvv))
		m |= 1u << (i->vvvv - R9);
	return m;
}

/* AH, CH, DH or BH as ModRM.reg */
static bool high_byte(const struct x86_insn *i)
{
	return i->opsize == 1 && !i->rex && !(i->attr & X86_A_VEX) && i->reg >= 4 && i->reg < 8 &&
	       (i->form == X86_F_RM_R || i->form == X86_F_R_RM) && i->op != X86_OP_MOVZX &&
	       i->op != X86_OP_MOVSX && i->op != X86_OP_CRC32;
}

/* ---- memory: see translate_mem.c ---- */

/* The current instruction with another ModRM.reg and memory operand. */
void emit_with_mem(struct tr *t, const struct x86_insn *i, unsigned reg, const struct mem_op *m)
{
	static const uint8_t pp[4] = {0, 0x66, 0xf3, 0xf2};
	struct emit *e = &t->e;
	unsigned r = reg >> 3 & 1, x = m->index >= 8, b = m->base >= 8;

	if (i->attr & X86_A_VEX) {
		E(e, 0xc4, (uint8_t)((!r) << 7 | (!x) << 6 | (!b) << 5 | i->map),
			(uint8_t)(i->vexw << 7 | (~i->vvvv & 15) << 3 | (i->vl ? 4 : 0) | i->vexpp));
	} else {
		unsigned rex = (i->vexw ? 8u : 0u) | r << 2 | x << 1 | b;

		if (i->pfx & X86_PFX_LOCK)
			e8(e, 0xf0);
		if (i->pfx & X86_PFX_66 || i->vexpp == 1)
			e8(e, 0x66);
		if (i->vexpp > 1)
			e8(e, pp[i->vexpp]);
		else if (i->pfx & (X86_PFX_F2 | X86_PFX_F3) && i->op == X86_OP_CRC32)
			e8(e, 0xf2);
		if (rex || i->rex)
			e8(e, 0x40 | rex);
		if (i->map)
			e8(e, 0x0f);
		if (i->map > 1)
			e8(e, i->map == 2 ? 0x38 : 0x3a);
	}
	e8(e, i->opcode);
	emit_modrm(e, reg, m);
	ebytes(e, t->bytes + t->now->off + i->off_imm, i->size_imm);
}

/* ---- leaving the block ---- */

static uint32_t link_new(struct tr *t, uint64_t target, bool fl_mem)
{
	uint32_t k = t->v->nlinks++;

	t->v->links[k] = (struct bt_link){.target = target, .fl_mem = fl_mem,
		.block = (uint32_t)(t->blk - t->v->blocks)};
	return k;
}

/* JMP that will be linked; across pages behind a look at the XID. */
static void goto_direct(struct tr *t, uint64_t target, bool fl_mem)
{
	uint32_t k = link_new(t, target, fl_mem);
	struct emit *e = &t->e;
	struct cold *c;
	uint8_t *rel;

	if (!same_page(target, t->va)) {
		emit_align4(e, 0);
		/* cmp dword gs:[xid], imm32; 12 bytes, the constant is aligned */
		emit_op_gs(e, false, 0x81, 7, CPU(xid) + (t->mmu * BT_XID + bt_xid_index(target)) * 4);
		t->v->links[k].imm = offset_of(t, e->p);
		e32(e, UINT32_MAX); /* never given out */
		c = cold_new(t, COLD_LINK, emit_jcc(e, CC_NE));
		c->index = k;
	}
	emit_align4(e, 1);
	rel = emit_jmp(e);
	t->v->links[k].rel = offset_of(t, rel);
	c = cold_new(t, COLD_LINK, rel);
	c->index = k;
}

/* Leaves for C when somebody wants this CPU's attention. Flags are lost. */
void poll_at(struct tr *t, uint64_t target)
{
	struct cold *c;

	emit_op_gs(&t->e, false, 0x80, 7, CPU(cpu.poll)); /* cmp byte gs:[poll], 0 */
	e8(&t->e, 0);
	c = cold_new(t, COLD_LEAVE, emit_jcc(&t->e, CC_NE));
	c->va = target;
}

/* On to a known address; always: t->fl_mem says where the flags are, live which of them are wanted. */
void leave_to(struct tr *t, uint64_t target, unsigned live)
{
	bool back = target <= insn_va(t), cross = !same_page(target, t->va);
	bool saved = t->fl_mem;

	if (live && (back || cross) && !saved) {
		save_flags(&t->e);
		saved = true;
	}
	if (back)
		poll_at(t, target);
	goto_direct(t, target, saved);
}

/*
 * R10 = place in the jump cache of the address in R11; slow code if it is not there or there is something else to
 * do. Flags are in cpu.fl. rsp: what has been added to RSP already. Returns the site.
 */
static uint32_t find_target(struct tr *t, int rsp)
{
	struct emit *e = &t->e;
	uint32_t site = site_new(t, 0, false);
	struct cold *c;

	t->v->sites[site].rsp = (int16_t)rsp;
	emit_op_r(e, true, OP_MOV_STORE, R11, R9);
	E(e, 0xc4, 0x43, 0x7b, 0xf0, 0xd3, 0x07); /* rorx r10d, r11d, 7 */
	emit_op_gs(e, true, 0x33, R9, CPU(jc_key) + 8 * t->mmu); /* xor r9, key */
	emit_op_r(e, false, 0x33, R10, R11); /* xor r10d, r11d */
	E(e, 0x41, 0x81, 0xe2); /* and r10d, BT_JC - 1 */
	e32(e, BT_JC - 1);
	emit_op_gs8(e, true, OP_CMP, R9, R10, CPU(jc_va));
	c = cold_new(t, COLD_IND, emit_jcc(e, CC_NE));
	c->index = site;
	emit_op_gs(e, false, 0x80, 7, CPU(cpu.poll));
	e8(e, 0);
	c = cold_new(t, COLD_IND, emit_jcc(e, CC_NE));
	c->index = site;
	return site;
}

/* To the address in R11 */
void leave_indirect(struct tr *t, int rsp)
{
	find_target(t, rsp);
	emit_op_gs8(&t->e, false, 0xff, 4, R10, CPU(jc_code)); /* jmp */
	t->done = true;
}

/* ---- instructions ---- */

uint32_t call_new(struct tr *t, unsigned *bound)
{
	static const struct x86_insn undefined = {.op = X86_OP_UD};
	const struct x86_insn *i = &t->now->i;
	struct bt_call *k = bt_arena_take(t->v, sizeof *k);
	unsigned flags;

	memset(k, 0, sizeof *k);
	k->op[0].next_off = (uint16_t)(t->now->off + i->len);
	if (op_is_vec(i->op)) {
		bool elements = i->op == X86_OP_GATHER || i->op == X86_OP_MASKMOV || i->op == X86_OP_VMASKMOV;
		struct vec_op *vec = bt_arena_take(t->v, sizeof *vec);

		vec->insn = *i;
		if (!elements && vec_prepare(t->v->vm.vec, vec, i)) {
			flags = op_bind(&t->b->cpu, &k->op[0], &undefined);
			k->op[0].len = i->len;
		} else {
			flags = op_bind(&t->b->cpu, &k->op[0], i);
			k->op[0].vec = vec;
		}
	} else {
		flags = op_bind(&t->b->cpu, &k->op[0], i);
		if (flags & BIND_INSN) {
			struct x86_insn *copy = bt_arena_take(t->v, sizeof *copy);

			*copy = *i;
			k->op[0].insn = copy;
		}
	}
	op_bind_stop(&k->op[1]);
	k->block = t->blk;
	k->op_kind = i->op;
	t->v->calls[t->v->ncalls] = k;
	*bound = flags;
	return t->v->ncalls++;
}

/* Executes the current instruction by interp's function. False: no room. */
bool call_interp(struct tr *t)
{
	struct emit *e = &t->e;
	unsigned flags;
	uint32_t call = call_new(t, &flags);

	flags_spare(t);
	emit_imm(e, R10, call);
	emit_jmp_to(e, t->v->glue_call);
	t->v->calls[call]->resume = flags & BIND_ENDS ? 0 : offset_of(t, e->p);
	t->fl_mem = true; /* whatever it did to the flags is there */
	facts_forget(t);
	t->regs = 0;
	if (flags & BIND_ENDS)
		t->done = true;
	return true;
}

/* The register that a move writes as a whole without reading it; -1: none, or not known. */
static int only_written(const struct x86_insn *i)
{
	if (i->opsize < 4 || (i->op != X86_OP_MOV && i->op != X86_OP_MOVZX && i->op != X86_OP_MOVSX))
		return -1;
	switch (i->form) {
	case X86_F_R_RM:
		return !i->is_mem && i->rm == i->reg ? -1 : i->reg;
	case X86_F_RM_R:
		return i->is_mem || i->rm == i->reg ? -1 : i->rm;
	case X86_F_RM_I: case X86_F_O_I:
		return i->is_mem ? -1 : i->rm;
	default:
		return -1;
	}
}

/*
 * Registers only: the guest's own bytes, between loads and stores of R9-R11. What has been loaded is held for the next
 * instruction of this kind; memory is always right.
 */
void copy_regs(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned m = scratch_operands(i), written = gprs_written(i) >> R9 & m, read = m;

	if (needs_flags(t->now))
		flags_to_host(t);
	if (is_scratch(only_written(i)))
		read &= ~(1u << (only_written(i) - R9));
	for (unsigned k = 0; k < 3; k++)
		if ((read & ~(unsigned)t->held) >> k & 1)
			load_gpr(t, R9 + k, R9 + k);
	ebytes(&t->e, t->bytes + t->now->off, i->len);
	for (unsigned k = 0; k < 3; k++)
		if (written >> k & 1)
			store_gpr(t, R9 + k, R9 + k);
	if (flags_written(i))
		t->fl_mem = false;
	t->held |= (uint8_t)m;
	t->held_kept = true;
	t->r10_kept = !(m & 2);
	if (m & 2)
		t->r10 = -1;
}

void copy_mem(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	const bool write = i->arm & X86_ACC_W;
	unsigned m = scratch_operands(i), reg = i->reg, size = i->memsize, since = t->ncold, align = 0;
	struct gea g = gea_of(t, i);
	struct x86_insn other;
	struct mem_op op;

	/* two of R9-R11 besides the address do not fit */
	if (!size || size > 32 || (m & (m - 1)) || !gea_fits(&g)) {
		call_interp(t);
		return;
	}
	if ((i->form == X86_F_R_V_RM || i->form == X86_F_R_RM_V || i->form == X86_F_V_RM ||
		    i->kvex == X86_K_GPR) && is_scratch(i->vvvv)) {
		call_interp(t);
		return;
	}
	if (high_byte(i)) {
		/* [R10], [R11] need a REX prefix, with which there is no AH. */
		if (i->form != X86_F_RM_R || i->op == X86_OP_XCHG || i->op == X86_OP_XADD ||
			i->op == X86_OP_CMPXCHG) {
			call_interp(t);
			return;
		}
	}
	if (i->attr & X86_A_ALIGN || i->op == X86_OP_CMPXCHG8B)
		align = i->op == X86_OP_CMPXCHG8B ? (size == 16 ? 15 : 0) : size - 1;
	op = check(t, &g, size, write, align);
	if (needs_flags(t->now))
		flags_to_host(t);
	if (high_byte(i)) {
		/* rorx r9d, e?x, 8: the byte, flags stay */
		E(&t->e, 0xc4, 0x63, 0x7b, 0xf0, 0xc8 | (reg - 4), 0x08);
		reg = R9;
	} else if (m) {
		if (only_written(i) != (int)reg)
			load_gpr(t, R9, reg);
		reg = R9;
	}
	if (i->form == X86_F_A_M || i->form == X86_F_M_A) { /* MOV with an absolute address */
		other = *i;
		other.opcode = (uint8_t)((i->form == X86_F_A_M ? 0x8a : 0x88) | (i->opsize > 1));
		other.size_imm = 0;
		i = &other;
		reg = RAX;
	}
	emit_with_mem(t, i, reg, &op);
	i = &t->now->i;
	if (m && gprs_written(i) >> i->reg & 1)
		store_gpr(t, R9, i->reg);
	if (flags_written(i))
		t->fl_mem = false;
	slow_resume(t, since);
}

/* BT and its kind with a bit number in a register, which may lie beyond the operand: in a string of bits. */
static void copy_bit_string(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	const bool wide = i->opsize == 8;
	unsigned since = t->ncold, shift = wide ? 6 : 5;
	struct gea g = gea_of(t, i);
	struct emit *e = &t->e;
	struct mem_op m;

	/* with 32-bit addresses the sum is cut once more */
	if (i->opsize < 4 || needs_flags(t->now) || i->adsize != 8 || !gea_fits(&g)) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	t->retry = e->p;
	emit_ea(t, &g);
	if (is_scratch(i->reg))
		emit_op_gs(e, true, wide ? OP_MOV_LOAD : 0x63, R9, GPR(i->reg));
	else
		emit_op_r(e, true, wide ? OP_MOV_LOAD : 0x63 /* movsxd */, R9, i->reg);
	emit_op_r(e, true, 0xc1, 7, R9); /* sar */
	e8(e, shift);
	m = (struct mem_op){.base = R11, .index = R9, .scale = wide ? 3 : 2};
	emit_op_m(e, true, OP_LEA, R11, &m);
	g = (struct gea){.base = -1, .index = -1, .ready = true};
	m = check(t, &g, i->opsize, i->op != X86_OP_BT, 0);
	if (is_scratch(i->reg))
		load_gpr(t, R9, i->reg);
	else
		emit_op_r(e, true, OP_MOV_LOAD, R9, i->reg);
	emit_op_r(e, false, 0x83, 4, R9); /* and r9d, 63 */
	e8(e, (1u << shift) - 1);
	emit_with_mem(t, i, R9, &m);
	t->fl_mem = false;
	slow_resume(t, since);
}

static void rule_copy(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;

	if ((i->op == X86_OP_ADCX || i->op == X86_OP_ADOX) && !t->v->adx)
		call_interp(t);
	else if (i->is_mem && i->form == X86_F_RM_R &&
		 (i->op == X86_OP_BT || i->op == X86_OP_BTS || i->op == X86_OP_BTR || i->op == X86_OP_BTC))
		copy_bit_string(t);
	else if (i->is_mem)
		copy_mem(t);
	else
		copy_regs(t);
}

static void rule_nop(struct tr *t)
{
	t->r10_kept = t->held_kept = true;
}

static void rule_lea(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	bool scratch_dst = is_scratch(i->reg);
	struct emit *e = &t->e;

	if (!i->is_mem) {
		call_interp(t);
		return;
	}
	if (i->base == X86_BASE_RIP) {
		uint64_t v = next_va(t) + (uint64_t)i->disp;

		if (i->opsize == 2 || i->adsize != 8) {
			call_interp(t);
			return;
		}
		emit_imm(e, scratch_dst ? (unsigned)R9 : i->reg, i->opsize == 4 ? (uint32_t)v : v);
		if (scratch_dst)
			store_gpr(t, R9, i->reg);
		return;
	}
	if (scratch_dst)
		load_gpr(t, i->reg, i->reg);
	if (is_scratch(i->base) && i->base != i->reg)
		load_gpr(t, (unsigned)i->base, (unsigned)i->base);
	if (is_scratch(i->index) && i->index != i->reg && i->index != i->base)
		load_gpr(t, (unsigned)i->index, (unsigned)i->index);
	ebytes(e, t->bytes + t->now->off, i->len);
	if (scratch_dst)
		store_gpr(t, i->reg, i->reg);
}

void add_rsp(struct tr *t, int n)
{
	const struct mem_op m = {.base = RSP, .index = -1, .disp = n};

	emit_op_m(&t->e, true, OP_LEA, RSP, &m);
}

static void rule_push(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned since = t->ncold, reg = i->rm;
	struct emit *e = &t->e;
	struct mem_op m;

	if (i->opsize != 8) {
		call_interp(t);
		return;
	}
	if (i->is_mem) {
		struct gea g = gea_of(t, i);

		if (!gea_fits(&g)) {
			call_interp(t);
			return;
		}
		flags_spare(t);
		t->retry = e->p;
		m = check(t, &g, 8, false, 0);
		emit_op_m(e, true, OP_MOV_LOAD, R11, &m);
		m = check(t, &at_push, 8, true, 0);
		emit_op_m(e, true, OP_MOV_STORE, R11, &m);
	} else {
		m = check(t, &at_push, 8, true, 0);
		if (i->form == X86_F_I) {
			emit_op_m(e, true, 0xc7, 0, &m);
			e32(e, (uint32_t)i->imm);
		} else {
			if (is_scratch((int)reg)) {
				load_gpr(t, R9, reg);
				reg = R9;
			}
			emit_op_m(e, true, OP_MOV_STORE, reg, &m);
		}
	}
	add_rsp(t, -8);
	slow_resume(t, since);
}

static void rule_pop(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned since = t->ncold, reg = i->rm;
	struct emit *e = &t->e;
	struct mem_op m;

	if (i->opsize != 8 || i->is_mem) {
		call_interp(t);
		return;
	}
	m = check(t, &at_top, 8, false, 0);
	if (is_scratch((int)reg)) {
		emit_op_m(e, true, OP_MOV_LOAD, R9, &m);
		store_gpr(t, R9, reg);
	} else {
		emit_op_m(e, true, OP_MOV_LOAD, reg, &m);
	}
	if (reg != RSP)
		add_rsp(t, 8);
	slow_resume(t, since);
}

static void rule_leave(struct tr *t)
{
	static const struct gea frame = {.base = RBP, .index = -1};
	unsigned since = t->ncold;
	struct mem_op m, sp = {.base = RBP, .index = -1, .disp = 8};

	if (t->now->i.opsize != 8) {
		call_interp(t);
		return;
	}
	m = check(t, &frame, 8, false, 0);
	emit_op_m(&t->e, true, OP_LEA, RSP, &sp);
	emit_op_m(&t->e, true, OP_MOV_LOAD, RBP, &m);
	slow_resume(t, since);
}

/* [RSP - 8] = return address, RSP -= 8. R11 survives. */
static void push_return(struct tr *t)
{
	uint64_t ra = next_va(t);
	struct mem_op m = check(t, &at_push, 8, true, 0);

	if (fits32((int64_t)ra)) {
		emit_op_m(&t->e, true, 0xc7, 0, &m);
		e32(&t->e, (uint32_t)ra);
	} else {
		emit_imm(&t->e, R9, ra);
		emit_op_m(&t->e, true, OP_MOV_STORE, R9, &m);
	}
	add_rsp(t, -8);
}

/*
 * The body of a retpoline (Intel, "Retpoline: a branch target injection mitigation", 4.3):
 *
 *     call 1f ; loop of PAUSE or LFENCE ; 1: mov [rsp], reg ; ret
 *
 * is an indirect jump to reg that keeps the CPU from predicting it. Where this CALL leads there, it is made
 * one again: the register's number, else -1. What the CALL leaves below RSP is written, too.
 */
static int retpoline_register(const struct tr *t, uint64_t target)
{
	uint8_t buf[15];
	const uint8_t *p;
	unsigned n;

	if (!same_page(target, t->va) || target - next_va(t) > 16)
		return -1;
	p = peek(t, target, buf, &n);
	/* REX.W mov [rsp], reg; ret, or jmp to a return thunk, which is left alone */
	if (n < 5 || (p[0] & 0xfb) != 0x48 || p[1] != 0x89 || (p[2] & 0xc7) != 0x04 || p[3] != 0x24 || p[4] != 0xc3)
		return -1;
	n = (p[2] >> 3 & 7) | (p[0] & 4) << 1;
	return n == RSP ? -1 : (int)n;
}

/* A slow path that is done with a branch does not come back: bt_c_mem() goes where RIP says. */
static void rule_call_near(struct tr *t)
{
	struct mem_op m;
	uint64_t target = next_va(t) + (uint64_t)t->now->i.imm;

	int reg = retpoline_register(t, target);

	if (t->now->i.opsize != 8) {
		call_interp(t);
		return;
	}
	if (reg >= 0) {
		flags_to_mem(t);
		t->retry = t->e.p;
		if (is_scratch(reg))
			load_gpr(t, R11, (unsigned)reg);
		else
			emit_op_r(&t->e, true, OP_MOV_STORE, (unsigned)reg, R11);
		m = check(t, &at_push, 8, true, 0);
		emit_op_m(&t->e, true, OP_MOV_STORE, R11, &m);
		leave_indirect(t, 0);
		return;
	}
	push_return(t);
	leave_to(t, target, t->now->live);
	t->done = true;
}

static void rule_jmp(struct tr *t)
{
	if (t->now->i.opsize != 8) {
		call_interp(t);
		return;
	}
	leave_to(t, next_va(t) + (uint64_t)t->now->i.imm, t->now->live);
	t->done = true;
}

static void rule_jcc(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	uint64_t target = next_va(t) + (uint64_t)i->imm;
	struct emit *e = &t->e;
	uint8_t *rel;
	struct cold *c;

	if (i->opsize != 8) {
		call_interp(t);
		return;
	}
	flags_to_host(t);
	t->r10_kept = t->held_kept = true;
	if (!same_page(target, t->va)) {
		c = cold_new(t, COLD_CROSS, emit_jcc(e, i->cc));
		c->va = target;
	} else if (target <= insn_va(t)) {
		rel = emit_jcc(e, i->cc ^ 1u);
		leave_to(t, target, live_at(t, target));
		emit_fix(e, rel);
		t->fl_mem = false;
	} else {
		emit_align4(e, 2);
		rel = emit_jcc(e, i->cc);
		c = cold_new(t, COLD_LINK, rel);
		c->index = link_new(t, target, false);
		t->v->links[c->index].rel = offset_of(t, rel);
	}
}

/* R11 = the operand of an indirect branch. */
static bool branch_operand(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	struct gea g;
	struct mem_op m;

	if (i->opsize != 8)
		return false;
	if (!i->is_mem) {
		if (is_scratch(i->rm))
			load_gpr(t, R11, i->rm);
		else
			emit_op_r(&t->e, true, OP_MOV_STORE, i->rm, R11);
		return true;
	}
	g = gea_of(t, i);
	if (!gea_fits(&g))
		return false;
	m = check(t, &g, 8, false, 0);
	emit_op_m(&t->e, true, OP_MOV_LOAD, R11, &m);
	return true;
}

static void rule_jmp_ind(struct tr *t)
{
	flags_to_mem(t);
	t->retry = t->e.p;
	if (!branch_operand(t)) {
		call_interp(t);
		return;
	}
	leave_indirect(t, 0);
}

static void rule_call_ind(struct tr *t)
{
	uint32_t site;

	flags_to_mem(t);
	t->retry = t->e.p;
	if (!branch_operand(t)) {
		call_interp(t);
		return;
	}
	site = find_target(t, 0);
	t->v->sites[site].call = true;
	/* the target is canonical: nothing but the push may fault now. R11 is not touched by it */
	emit_op_gs8(&t->e, true, OP_MOV_LOAD, R11, R10, CPU(jc_code));
	push_return(t);
	E(&t->e, 0x41, 0xff, 0xe3); /* jmp r11 */
	t->done = true;
}

static void rule_ret(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	unsigned n = 8 + (i->form == X86_F_I ? (uint16_t)i->imm : 0u);
	struct mem_op m;

	if (i->opsize != 8 || n > INT16_MAX) {
		call_interp(t);
		return;
	}
	flags_to_mem(t);
	t->retry = t->e.p;
	m = check(t, &at_top, 8, false, 0);
	emit_op_m(&t->e, true, OP_MOV_LOAD, R11, &m);
	add_rsp(t, (int)n);
	leave_indirect(t, (int)n);
}

/* DIV and IDIV whose result fits; everything else, and the small sizes, is interp's. */
static void rule_div(struct tr *t)
{
	const struct x86_insn *i = &t->now->i;
	const bool wide = i->opsize == 8;
	unsigned since = t->ncold;
	struct emit *e = &t->e;
	struct gea g;
	struct mem_op m;

	g = gea_of(t, i);
	if (i->opsize < 4 || (i->is_mem && !gea_fits(&g))) {
		call_interp(t);
		return;
	}
	flags_spare(t);
	t->retry = e->p;
	if (i->is_mem) {
		m = check(t, &g, i->opsize, false, 0);
		emit_op_m(e, wide, OP_MOV_LOAD, R11, &m);
	} else if (is_scratch(i->rm)) {
		emit_op_gs(e, wide, OP_MOV_LOAD, R11, GPR(i->rm));
	} else {
		emit_op_r(e, wide, OP_MOV_STORE, i->rm, R11);
	}
	if (i->op == X86_OP_DIV) {
		/* the quotient fits if the upper half is below the divisor */
		emit_op_r(e, wide, OP_CMP, RDX, R11);
		slow(t, emit_jcc(e, CC_AE), 0, false)->in_r11 = true;
		emit_op_r(e, wide, 0xf7, 6, R11);
	} else {
		/* a sign-extended dividend, and not by 0 or -1: always fits */
		emit_op_r(e, wide, OP_MOV_STORE, RAX, R9);
		emit_op_r(e, wide, 0xc1, 7, R9);
		e8(e, wide ? 63 : 31);
		emit_op_r(e, wide, OP_CMP, R9, RDX);
		slow(t, emit_jcc(e, CC_NE), 0, false)->in_r11 = true;
		m = (struct mem_op){.base = R11, .index = -1, .disp = 1};
		emit_op_m(e, wide, OP_LEA, R9, &m);
		emit_op_r(e, wide, 0x83, 7, R9);
		e8(e, 1);
		slow(t, emit_jcc(e, CC_BE), 0, false)->in_r11 = true;
		emit_op_r(e, wide, 0xf7, 7, R11);
	}
	t->fl_mem = false;
	slow_resume(t, since);
}

static rule_fn *const rules[X86_OP_COUNT];

static bool ends_block(unsigned op)
{
	switch (op) {
	case X86_OP_JMP: case X86_OP_CALL: case X86_OP_RET: case X86_OP_JMPIND: case X86_OP_CALLIND:
		return true;
	default:
		return !rules[op];
	}
}

/* ---- the block ---- */

static void decode_all(struct tr *t)
{
	unsigned off = 0;

	while (t->n < BT_BLOCK_INSNS && off < t->span) {
		struct insn *k = &t->in[t->n];

		if (x86_decode(&k->i, X86_MODE64, t->bytes + off, t->span - off) <= 0)
			break;
		k->off = (uint16_t)off;
		off += k->i.len;
		t->n++;
		if ((k->i.attr & X86_A_BRANCH && k->i.op != X86_OP_JCC) || k->i.op == X86_OP_UD ||
			k->i.op == X86_OP_UD2)
			break;
	}
}

static void find_live(struct tr *t)
{
	unsigned live = X86_ARITH;
	uint8_t regs = 0;

	for (unsigned n = t->n; n-- > 0;) {
		struct insn *k = &t->in[n];
		uint64_t next = t->va + k->off + k->i.len;

		if (k->i.op == X86_OP_JMP)
			live = live_at(t, next + (uint64_t)k->i.imm);
		else if (k->i.op == X86_OP_CALL)
			live = live_at(t, next + (uint64_t)k->i.imm);
		else if (k->i.op == X86_OP_UD || k->i.op == X86_OP_UD2)
			live = X86_ARITH; /* the handler sees them, whatever comes behind */
		else if (n == t->n - 1)
			live = k->i.attr & X86_A_BRANCH && k->i.op != X86_OP_JCC ? X86_ARITH : live_at(t, next);
		if (k->i.op == X86_OP_JCC)
			live |= live_at(t, next + (uint64_t)k->i.imm);
		k->live = (uint16_t)live;
		live = live_before(k);
		k->regs = regs |= (uint8_t)regs_used(&k->i);
	}
}

static void emit_cold(struct tr *t)
{
	struct emit *e = &t->e;
	uint8_t *stub = NULL;

	for (unsigned k = 0; k < t->ncold && !e->full; k++) {
		struct cold *c = &t->cold[k];
		struct bt_site *s = &t->v->sites[c->index];

		if (c->kind == COLD_LINK) {
			/* two that share a stub are neighbours */
			if (!k || t->cold[k - 1].kind != COLD_LINK || t->cold[k - 1].index != c->index)
				stub = e->p;
			emit_fix_to(c->from, stub);
			if (stub != e->p)
				continue;
			if (!t->v->links[c->index].fl_mem)
				save_flags(e);
			emit_imm(e, R10, c->index);
			emit_jmp_to(e, t->v->glue_link);
			continue;
		}
		emit_fix(e, c->from);
		switch (c->kind) {
		case COLD_MEM:
			if (!c->in_r11)
				emit_ea(t, &c->ea);
			emit_imm(e, R10, c->index);
			emit_jmp_to(e, s->size ? t->v->glue_fill[t->mmu][s->write] : t->v->glue_mem);
			if (!c->resume) /* a branch: goes where RIP says */
				break;
			if (s->string)
				t->v->calls[s->resume]->resume = offset_of(t, e->p);
			else
				s->resume = offset_of(t, e->p);
			if (c->fl_mem)
				fetch_flags(e);
			emit_jmp_to(e, c->resume);
			break;
		case COLD_LEAVE:
			emit_imm(e, R11, c->va);
			emit_jmp_to(e, t->v->glue_leave);
			break;
		case COLD_IND:
			emit_imm(e, R10, c->index);
			emit_jmp_to(e, t->v->glue_ind);
			break;
		case COLD_REGS:
			E(e, 0x4c, 0x8d, 0x1d, 5, 0, 0, 0); /* lea r11, [rip + 5] */
			emit_jmp_to(e, c->index == BT_REGS_VEC ? t->v->glue_vec : t->v->glue_x87);
			emit_jmp_to(e, c->resume);
			break;
		default: /* COLD_CROSS; adds to the list */
			save_flags(e);
			if (c->va < t->va)
				poll_at(t, c->va);
			goto_direct(t, c->va, true);
		}
	}
}

/* The second page must be the one that the instruction's rest was read from. */
static void guard_second(struct tr *t)
{
	uint64_t va = (t->va | 0xfff) + 1;
	struct cold *c;

	flags_spare(t);
	emit_op_gs(&t->e, false, 0x81, 7, CPU(xid) + (t->mmu * BT_XID + bt_xid_index(va)) * 4);
	e32(&t->e, t->blk->xid2);
	c = cold_new(t, COLD_LEAVE, emit_jcc(&t->e, CC_NE));
	c->va = t->va;
}

/* Is what has been emitted from start on fit to be run? */
static bool verified(struct tr *t, const uint8_t *start, const struct bt_verify_range *range)
{
	static struct log_rate rate;
	struct bt_vm *v = t->v;
	struct bt_violation bad;
	uint64_t began = now_ns();
	bool ok = bt_verify(v, start, t->e.p, t->mmu, range, &bad);

	v->nverified++;
	v->ns_verify += now_ns() - began;
	if (ok)
		return true;
	v->nviolations++;
	if (log_rate_ok(&rate)) {
		const uint8_t *p = start + bad.off;

		log_err("bt: the block at %llx must not be run: %s, at +%zx of %zx: %02x %02x %02x %02x %02x %02x %02x %02x",
			(unsigned long long)t->va, bad.why, bad.off, (size_t)(t->e.p - start), p[0], p[1], p[2], p[3],
			p[4], p[5], p[6], p[7]);
	}
	return false;
}

struct bt_block *bt_translate(struct bt_cpu *b, uint64_t va, uint64_t gpa, uint64_t gpa2, unsigned key,
	unsigned span)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);
	const uint8_t *host = mem_at(v->vm.mem, gpa & ~0xfffull, MEM_PAGE);
	uint8_t copy[BT_BLOCK_INSNS * 15];
	struct insn in[BT_BLOCK_INSNS];
	struct cold cold[MAX_COLD];
	struct planned plan[MAX_PLAN];
	uint32_t sites = v->nsites, links = v->nlinks, calls = v->ncalls;
	uint64_t began = now_ns();
	bool sti = false;
	struct tr *t = &(struct tr){.b = b, .v = v, .va = va, .key = key, .mmu = key & BT_KEY_MMU, .in = in,
		.cold = cold, .plan = plan};
	struct bt_block *blk = &v->blocks[v->nblocks];
	const uint8_t *start;
	unsigned live;

	memcpy(copy, host + (gpa & 0xfff), span);
	if (gpa2) {
		memcpy(copy + span, mem_at(v->vm.mem, gpa2, MEM_PAGE), 15);
		span += 15;
	}
	t->bytes = copy;
	t->span = span;
	t->blk = blk;
	*blk = (struct bt_block){.va = va, .gpa = gpa, .gpa2 = gpa2, .key = (uint8_t)key};
	decode_all(t);
	if (!t->n)
		return NULL;
	if (gpa2)
		t->n = 1;
	find_live(t);
	t->e.p = v->rw + align_up(v->used, 16);
	t->e.end = v->rw + BT_CACHE;

	/* Indirect entry; the direct one is aligned, as its NOP is to be replaced by one store. */
	t->now = &in[0];
	live = live_before(&in[0]);
	start = t->e.p;
	blk->code = start - v->rw + v->rx;
	if (live) {
		fetch_flags(&t->e);
		while ((uintptr_t)t->e.p & 15)
			e8(&t->e, 0x90);
	}
	blk->entry = t->e.p;
	E(&t->e, 0x0f, 0x1f, 0x44, 0x00, 0x00);
	if (gpa2) {
		bt_mark_second(v, blk);
		guard_second(t);
	}
	facts_plan(t);
	for (unsigned k = 0; k < t->n && !t->done; k++) {
		rule_fn *rule = rules[in[k].i.op];

		t->now = &in[k];
		t->retry = NULL;
		if (!live_before(t->now))
			t->fl_mem = false; /* dead: nowhere in particular */
		if (sti && in[k].i.attr & X86_A_BRANCH) {
			if (v->check)
				break; /* after_sti() could not look at what it leads to */
			before_branch(t);
		}
		if (rule && !(v->check && bt_check_ends(&in[k].i)))
			rule(t);
		else
			call_interp(t);
		facts_step(t);
		if (sti)
			after_sti(t);
		sti = in[k].i.op == X86_OP_STI;
		blk->ninsns++;
	}
	if (!t->done) {
		if (sti) {
			/* the shadow lasts for one more instruction, which is not this block's: interp's step() */
			t->now = &in[blk->ninsns - 1];
			flags_to_mem(t);
			emit_op_gs(&t->e, false, 0xc6, 0, CPU(cpu.s.sti_shadow));
			e8(&t->e, 1);
			cold_new(t, COLD_LEAVE, emit_jmp(&t->e))->va = next_va(t);
		} else {
			leave_to(t, next_va(t), t->now->live);
		}
	}
	blk->len = (uint16_t)(in[blk->ninsns - 1].off + in[blk->ninsns - 1].i.len);
	emit_cold(t);
	blk->stale_exit = t->e.p;
	if (live)
		save_flags(&t->e);
	blk->check_exit = t->e.p - v->rw + v->rx;
	emit_imm(&t->e, R11, va);
	emit_jmp_to(&t->e, v->glue_leave);
	if (t->e.full || t->failed || (v->verify && !verified(t, start, &(struct bt_verify_range){sites, links, calls, blk->entry, in, t->n}))) {
		blk->stale = true; /* if a mark points to it */
		v->nblocks += gpa2 ? 2 : 0;
		v->nsites = sites;
		v->nlinks = links;
		v->ncalls = calls;
		return NULL;
	}
	v->nbytes_host += (uint64_t)(t->e.p - (v->rw + v->used));
	v->used = (size_t)(t->e.p - v->rw);
	v->nblocks += gpa2 ? 2 : 1;
	v->ntranslated++;
	v->ninsns_guest += blk->ninsns;
	v->nbytes_guest += blk->len;
	bt_publish(v, blk);
	v->ns_translate += now_ns() - began;
	return blk;
}

/* Everything that is not here is executed by interp's function. */
static rule_fn *const rules[X86_OP_COUNT] = {
	[X86_OP_ADD] = rule_copy, [X86_OP_OR] = rule_copy, [X86_OP_ADC] = rule_copy, [X86_OP_SBB] = rule_copy,
	[X86_OP_AND] = rule_copy, [X86_OP_SUB] = rule_copy, [X86_OP_XOR] = rule_copy, [X86_OP_CMP] = rule_copy,
	[X86_OP_TEST] = rule_copy, [X86_OP_MOV] = rule_copy, [X86_OP_MOVZX] = rule_copy,
	[X86_OP_MOVSX] = rule_copy, [X86_OP_LEA] = rule_lea,
	[X86_OP_INC] = rule_copy, [X86_OP_DEC] = rule_copy, [X86_OP_NEG] = rule_copy, [X86_OP_NOT] = rule_copy,
	[X86_OP_ROL] = rule_copy, [X86_OP_ROR] = rule_copy, [X86_OP_RCL] = rule_copy, [X86_OP_RCR] = rule_copy,
	[X86_OP_SHL] = rule_copy, [X86_OP_SHR] = rule_copy, [X86_OP_SAL] = rule_copy, [X86_OP_SAR] = rule_copy,
	[X86_OP_SHLD] = rule_copy, [X86_OP_SHRD] = rule_copy,
	[X86_OP_MUL] = rule_copy, [X86_OP_IMUL1] = rule_copy, [X86_OP_IMUL2] = rule_copy,
	[X86_OP_IMUL3] = rule_copy, [X86_OP_DIV] = rule_div, [X86_OP_IDIV] = rule_div,
	[X86_OP_XCHG] = rule_copy, [X86_OP_XADD] = rule_copy, [X86_OP_CMPXCHG] = rule_copy,
	[X86_OP_CMPXCHG8B] = rule_copy, [X86_OP_BSWAP] = rule_copy, [X86_OP_MOVBE] = rule_copy,
	[X86_OP_SETCC] = rule_copy, [X86_OP_CMOVCC] = rule_copy,
	[X86_OP_BT] = rule_copy, [X86_OP_BTS] = rule_copy, [X86_OP_BTR] = rule_copy, [X86_OP_BTC] = rule_copy,
	[X86_OP_BSF] = rule_copy, [X86_OP_BSR] = rule_copy, [X86_OP_TZCNT] = rule_copy,
	[X86_OP_LZCNT] = rule_copy, [X86_OP_POPCNT] = rule_copy, [X86_OP_ADCX] = rule_copy,
	[X86_OP_ADOX] = rule_copy, [X86_OP_CRC32] = rule_copy,
	[X86_OP_ANDN] = rule_copy, [X86_OP_BEXTR] = rule_copy, [X86_OP_BLSI] = rule_copy,
	[X86_OP_BLSMSK] = rule_copy, [X86_OP_BLSR] = rule_copy, [X86_OP_BZHI] = rule_copy,
	[X86_OP_MULX] = rule_copy, [X86_OP_PDEP] = rule_copy, [X86_OP_PEXT] = rule_copy,
	[X86_OP_RORX] = rule_copy, [X86_OP_SARX] = rule_copy, [X86_OP_SHLX] = rule_copy,
	[X86_OP_SHRX] = rule_copy,
	[X86_OP_CBW] = rule_copy, [X86_OP_CWD] = rule_copy, [X86_OP_LAHF] = rule_copy, [X86_OP_SAHF] = rule_copy,
	[X86_OP_CLC] = rule_copy, [X86_OP_STC] = rule_copy, [X86_OP_CMC] = rule_copy,
	[X86_OP_NOP] = rule_nop, [X86_OP_MOVNTI] = rule_copy,
	[X86_OP_PUSH] = rule_push, [X86_OP_POP] = rule_pop, [X86_OP_LEAVE] = rule_leave,
	[X86_OP_CALL] = rule_call_near, [X86_OP_JMP] = rule_jmp, [X86_OP_JCC] = rule_jcc,
	[X86_OP_JMPIND] = rule_jmp_ind, [X86_OP_CALLIND] = rule_call_ind, [X86_OP_RET] = rule_ret,
	[X86_OP_CLI] = rule_cli, [X86_OP_STI] = rule_sti, [X86_OP_PUSHF] = rule_pushf,
	[X86_OP_SYSCALL] = rule_syscall, [X86_OP_SYSRET] = rule_sysret,
	[X86_OP_POPF] = rule_popf, [X86_OP_CLD] = rule_cld, [X86_OP_STD] = rule_cld,
	[X86_OP_CLAC] = rule_stac, [X86_OP_STAC] = rule_stac,
	[X86_OP_SWAPGS] = rule_swapgs, [X86_OP_RDFSBASE] = rule_fsgsbase, [X86_OP_RDGSBASE] = rule_fsgsbase,
	[X86_OP_WRFSBASE] = rule_fsgsbase, [X86_OP_WRGSBASE] = rule_fsgsbase,
	[X86_OP_RDTSC] = rule_rdtsc, [X86_OP_RDTSCP] = rule_rdtsc, [X86_OP_RDPID] = rule_rdtsc,
	[X86_OP_MOVCR_FROM] = rule_movcr_from, [X86_OP_MOVSEG_FROM] = rule_movseg_from, [X86_OP_PAUSE] = rule_pause,
	[X86_OP_SERIALIZE] = rule_serialize, [X86_OP_LFENCE] = rule_copy, [X86_OP_SFENCE] = rule_copy,
	[X86_OP_MFENCE] = rule_copy,
	[X86_OP_VEC] = rule_vec, [X86_OP_VMASKMOV] = rule_vmaskmov, [X86_OP_VZERO] = rule_vec, [X86_OP_MMX] = rule_mmx, [X86_OP_X87] = rule_x87,
	[X86_OP_FWAIT] = rule_fwait, [X86_OP_LDMXCSR] = rule_mxcsr, [X86_OP_STMXCSR] = rule_mxcsr,
	[X86_OP_MOVS] = rule_string, [X86_OP_STOS] = rule_string, [X86_OP_LODS] = rule_string,
	[X86_OP_CMPS] = rule_string, [X86_OP_SCAS] = rule_string,
};
