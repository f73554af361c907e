/* SPDX-License-Identifier: MIT */
/*
 * --engine check: the translator in lock step with interp.
 *
 * Before a translated block is entered, interp executes the same instructions from the same state, one by
 * one, as far as the block goes in a straight line (trace()). The registers before each of them are kept, and
 * each page it writes to is copied first. Then everything is undone and the translation runs. Nothing is
 * linked and the jump cache stays empty, so it comes back to C at its first branch; there, registers, vector
 * state and the pages must be what interp made of them. Where the translation asks C for something
 * in between, general registers are compared with those that interp had at that instruction.
 *
 * What cannot be done twice - devices, ports, time, MSRs, changes of privilege, stores into pages that hold code -
 * ends the trace in front of it. The translation must ask C for it there (the translator is told so by
 * bt_check_ends()), and after it has been done, once, a new trace begins. So a block is compared to its
 * end. A fault ends the trace, too: the same one must come at the same instruction.
 *
 * While it traces, the vCPU is in MMU_CHECKED, whose TLB is always empty: every access comes through
 * translate() of interp/mem.c, which shows it to traced(). The page walk is done anew for each, so that a stale
 * entry in the translator's TLB, jump cache or code cache is a difference, too. Accessed and dirty bits
 * that these walks set are not undone.
 *
 * Arithmetic flags may differ where they are dead: flags_wanted() looks ahead from where the comparison takes
 * place, further than the translator does, only when they differ. They may also differ where the manual leaves
 * them undefined: silicon often lets them be what they were before a MUL, DIV or BT, and that differs.
 *
 * The translator does not keep the x87 pointers (FIP, FDP, FOP); what stores them ends the trace.
 *
 * One vCPU only: another one could change memory between the two executions.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/log.h"
#include "engine/bt/bt-int.h"

enum { PAGES = 4 * BT_BLOCK_INSNS, ARENA = 768 << 20, INSNS_ROOM = 64 << 10, AHEAD = 200, MISMATCHES_SHOWN = 20 };

/* One instruction of a block, bound to interp's function. */
struct check_insn {
	struct iop op[2]; /* [1] stops */
	uint16_t fl_out, fl_undef;
	bool ends, vec, sti;
	bool nowhere; /* a branch to the next instruction */
};

struct check_block {
	uint8_t bytes[BT_BLOCK_INSNS * 15];
	struct check_insn insn[];
};

/* Before an instruction */
struct point {
	uint64_t gpr[16], rip, rflags;
	uint32_t fl;
	unsigned undefined; /* flags that the manual calls so, since their last writer */
};

enum trace_end {
	TRACE_BLOCK, /* the block's end, or a branch out of it */
	TRACE_STOP,  /* the next instruction must not be executed twice */
	TRACE_FAULT, /* the next instruction faults */
};

struct page {
	uint8_t *host;
	uint64_t gpa;
	uint8_t before[MEM_PAGE], after[MEM_PAGE];
};

struct bt_check {
	bool open;          /* between a trace and the comparison with its end */
	bool fault_due;     /* compared; what has been asked for must fault */
	const struct bt_block *blk;
	enum trace_end end;
	unsigned first, n;  /* at[0] is before instruction first; at[n - 1] is the end */
	unsigned next;      /* the point behind the instruction that C executes now; 0: it does not */
	struct point at[BT_BLOCK_INSNS + 1];
	struct x86_state before, after;
	uint32_t fl_before;
	struct fault fault;
	struct x86_fpu fpu; /* before the current instruction, if it may change it */
	unsigned npages;
	struct page page[PAGES];

	struct check_block **blocks; /* by number of the bt_block; of flush_gen */
	uint8_t *arena;
	size_t arena_used;
	uint64_t flush_gen;

	bool go_on;
	char error[160];
	uint64_t ntraces, ninsns, npartial, nmismatches, nuntraced;
};

/* ---- what can be executed twice ---- */

bool bt_check_ends(const struct x86_insn *i)
{
	if (i->op < X86_OP_PUSHSEG && i->op != X86_OP_UD)
		return false; /* computation, moves, PUSH, POP */
	if (i->op >= X86_OP_SETCC && i->op <= X86_OP_SALC)
		return false;
	if (i->op >= X86_OP_MOVS && i->op <= X86_OP_SCAS)
		return i->pfx & (X86_PFX_F2 | X86_PFX_F3);
	if (i->op == X86_OP_X87 && i->is_mem && (i->opcode == 0xd9 || i->opcode == 0xdd) && (i->modrm >> 3 & 7) == 6)
		return true; /* FNSTENV, FNSAVE: the pointers */
	switch (i->op) {
	/* not ENTER, VMASKMOV, MASKMOV: they may fault when they have written */
	case X86_OP_LEAVE: case X86_OP_JCC: case X86_OP_JMP: case X86_OP_JMPIND:
	case X86_OP_CALL: case X86_OP_CALLIND: case X86_OP_RET: case X86_OP_LOOP: case X86_OP_LOOPE:
	case X86_OP_LOOPNE: case X86_OP_JCXZ:
	case X86_OP_CLC: case X86_OP_STC: case X86_OP_CMC: case X86_OP_CLD: case X86_OP_STD:
	case X86_OP_CLI: case X86_OP_STI: case X86_OP_STAC: case X86_OP_CLAC:
	case X86_OP_NOP: case X86_OP_PAUSE: case X86_OP_MOVSEG_FROM: case X86_OP_SWAPGS:
	case X86_OP_RDFSBASE: case X86_OP_RDGSBASE: case X86_OP_WRFSBASE: case X86_OP_WRGSBASE:
	case X86_OP_LFENCE: case X86_OP_SFENCE: case X86_OP_MFENCE:
	case X86_OP_VEC: case X86_OP_MOVNTI: case X86_OP_GATHER: case X86_OP_VZERO: case X86_OP_MMX: case X86_OP_X87: case X86_OP_FWAIT:
		return false;
	default:
		return true;
	}
}

/* ---- blocks as interp sees them ---- */

static void blocks_forget(struct bt_check *k, struct bt_vm *v)
{
	k->flush_gen = atomic_load(&v->flush_gen);
	memset(k->blocks, 0, BT_BLOCKS * sizeof *k->blocks);
	k->arena_used = 0;
}

bool bt_check_low(struct bt_cpu *b)
{
	return b->check->arena_used + INSNS_ROOM > ARENA;
}

static void *arena_take(struct bt_check *k, size_t n)
{
	void *p = k->arena + k->arena_used;

	k->arena_used += align_up(n, 16);
	return p;
}

/* As call_interp() does it in the translator */
static void insn_bind(struct bt_cpu *b, struct check_insn *ci, const struct x86_insn *i, unsigned next_off)
{
	static const struct x86_insn undefined = {.op = X86_OP_UD};
	struct engine_cpu *c = &b->cpu;
	struct bt_check *k = b->check;
	struct iop *op = ci->op;

	memset(op, 0, sizeof ci->op);
	op->next_off = (uint16_t)next_off;
	ci->ends = bt_check_ends(i);
	ci->vec = op_is_vec(i->op);
	ci->sti = i->op == X86_OP_STI;
	ci->nowhere = i->op == X86_OP_JCC && !i->imm;
	ci->fl_out = i->fl_out;
	ci->fl_undef = i->fl_undef;
	if (op_is_vec(i->op)) {
		bool elements = i->op == X86_OP_GATHER || i->op == X86_OP_MASKMOV || i->op == X86_OP_VMASKMOV;
		struct vec_op *vec = arena_take(k, sizeof *vec);

		vec->insn = *i;
		if (!elements && vec_prepare(c->vm->vec, vec, i)) {
			op_bind(c, op, &undefined);
			op->len = i->len;
		} else {
			op_bind(c, op, i);
			op->vec = vec;
		}
	} else if (op_bind(c, op, i) & BIND_INSN) {
		struct x86_insn *copy = arena_take(k, sizeof *copy);

		*copy = *i;
		op->insn = copy;
	}
	op_bind_stop(&op[1]);
}

/* The block's bytes as they are now: RAM, all of them, or there would be no translation. */
static void guest_bytes(const struct bt_cpu *b, const struct bt_block *blk, uint8_t *buf)
{
	const struct mem *m = b->cpu.vm->mem;
	size_t n = blk->len, first = min_u64(n, MEM_PAGE - (blk->gpa & 0xfff));

	memcpy(buf, mem_at(m, blk->gpa, first), first);
	if (first < n)
		memcpy(buf + first, mem_at(m, blk->gpa2, n - first), n - first);
}

static struct check_block *block_of(struct bt_cpu *b, const struct bt_block *blk)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);
	struct bt_check *k = b->check;
	struct check_block **slot, *cb;
	unsigned off = 0;

	if (k->flush_gen != atomic_load(&v->flush_gen))
		blocks_forget(k, v);
	slot = &k->blocks[blk - v->blocks];
	if (*slot)
		return *slot;
	cb = arena_take(k, sizeof *cb + blk->ninsns * sizeof cb->insn[0]);
	assert(blk->len <= sizeof cb->bytes);
	guest_bytes(b, blk, cb->bytes);
	for (unsigned n = 0; n < blk->ninsns; n++) {
		struct x86_insn i;

		if (off >= blk->len || x86_decode(&i, X86_MODE64, cb->bytes + off, blk->len - off) <= 0)
			i = (struct x86_insn){.op = X86_OP_UD, .len = 1}; /* then the bytes have changed */
		off += i.len;
		insn_bind(b, &cb->insn[n], &i, off);
	}
	*slot = cb;
	return cb;
}

/* ---- what interp does ---- */

/* Each access of the trace, in front of it. */
static void traced(struct engine_cpu *c, const struct place *p, enum x86_access access)
{
	struct bt_check *k = bt_cpu(c)->check;
	uint64_t gpa = p->gpa & ~0xfffull;
	struct page *g;

	if (!p->host)
		longjmp(c->jb, JMP_STOP);
	if (access != X86_WRITE)
		return;
	if (__atomic_load_n(&c->vm->mem->page_bits[p->page], __ATOMIC_SEQ_CST) & MEM_PG_CODE)
		longjmp(c->jb, JMP_STOP);
	for (unsigned n = k->npages; n-- > 0;)
		if (k->page[n].gpa == gpa)
			return;
	assert(k->npages < PAGES); /* at most four per instruction that is traced */
	g = &k->page[k->npages++];
	g->gpa = gpa;
	g->host = mem_at(c->vm->mem, gpa, MEM_PAGE);
	memcpy(g->before, g->host, MEM_PAGE);
}

static void point_take(struct bt_check *k, const struct engine_cpu *c, unsigned undefined)
{
	struct point *p = &k->at[k->n++];

	memcpy(p->gpr, c->s.gpr, sizeof p->gpr);
	p->rip = c->rip;
	p->rflags = c->s.rflags;
	p->fl = c->fl;
	p->undefined = undefined;
}

static void trace_run(struct bt_cpu *b, const struct check_block *cb)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_check *k = b->check;
	const struct bt_block *blk = k->blk;
	unsigned undefined = 0;

	c->s.gpr[R_PC] = blk->va;
	for (unsigned n = k->first; n < blk->ninsns; n++) {
		const struct check_insn *i = &cb->insn[n];

		point_take(k, c, undefined);
		if (i->vec)
			k->fpu = c->s.fpu;
		if (i->ends) {
			k->end = TRACE_STOP;
			return;
		}
		c->s.sti_shadow = c->s.movss_shadow = false; /* as in interp's step() */
		c->op = NULL;
		if (i->op[0].fn(c, i->op))
			c->rip = blk->va + i->op[0].next_off;
		undefined = (undefined & ~(unsigned)i->fl_out) | i->fl_undef;
		k->ninsns++;
		if (n + 1 < blk->ninsns) {
			if (i->sti)
				c->s.sti_shadow = false; /* the translator has code for that, no flag */
			if (c->rip != blk->va + i->op[0].next_off)
				break;
		} else if (i->sti) {
			c->s.sti_shadow = true; /* as interp does only if IF was clear; longer does no harm */
		}
	}
	point_take(k, c, undefined);
	k->end = TRACE_BLOCK;
}

static void trace(struct bt_cpu *b, const struct bt_block *blk)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_check *k = b->check;
	const struct check_block *cb = block_of(b, blk);
	uint32_t attn_mask = c->attn_mask;
	jmp_buf outer;

	k->blk = blk;
	k->n = k->npages = k->first = k->next = 0;
	while (k->first < blk->ninsns && blk->va + cb->insn[k->first].op[0].next_off <= c->rip)
		k->first++;
	k->before = c->s;
	k->fl_before = c->fl;
	memcpy(&outer, &c->jb, sizeof outer);
	c->traced = traced;
	c->mmu = MMU_CHECKED;
	c->block = NULL;
	c->op = NULL;
	switch (setjmp(c->jb)) {
	case 0:
		trace_run(b, cb);
		break;
	case JMP_FAULT:
		k->end = TRACE_FAULT;
		k->fault = c->fault;
		break;
	default:
		k->end = TRACE_STOP;
	}
	mem_rmw_abort(c);
	k->after = c->s;
	if (k->end == TRACE_FAULT || k->end == TRACE_STOP) {
		/* what an instruction has done before it faulted or was stopped */
		memcpy(k->after.gpr, k->at[k->n - 1].gpr, sizeof k->at[0].gpr);
		k->after.rflags = k->at[k->n - 1].rflags;
		if (cb->insn[k->first + k->n - 1].vec)
			k->after.fpu = k->fpu;
		k->after.sti_shadow = k->after.movss_shadow = false;
	}
	/* undo */
	memcpy(&c->jb, &outer, sizeof outer);
	c->traced = NULL;
	c->s = k->before;
	c->fl = k->fl_before;
	c->rip = k->at[0].rip;
	c->op = NULL;
	c->attn_mask = attn_mask;
	mmu_update(c);
	for (unsigned n = 0; n < k->npages; n++) {
		memcpy(k->page[n].after, k->page[n].host, MEM_PAGE);
		memcpy(k->page[n].host, k->page[n].before, MEM_PAGE);
	}
	k->open = true;
	k->ntraces++;
}

/* ---- flags ---- */

static unsigned fl_to_arith(uint32_t fl)
{
	return (fl >> 8 & (X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF)) | (fl & FL_OF ? X86_OF : 0u);
}

/*
 * Which of some flags may be read by the code at va in the page that page's bytes are of? budget: instructions to
 * look at.
 */
static unsigned flags_wanted(const uint8_t *page, uint64_t page_va, uint64_t va, unsigned unknown, unsigned *budget,
	unsigned depth)
{
	unsigned wanted = 0;

	while (unknown) {
		uint64_t off = va - page_va, target;
		struct x86_insn i;

		if (off >= MEM_PAGE || !*budget ||
			x86_decode(&i, X86_MODE64, page + off, (size_t)(MEM_PAGE - off)) <= 0)
			return wanted | unknown;
		--*budget;
		wanted |= i.fl_in & unknown;
		unknown &= ~(unsigned)(i.fl_in | i.fl_out | i.fl_undef);
		va += i.len;
		target = va + (uint64_t)i.imm;
		if (i.op == X86_OP_JMP || i.op == X86_OP_CALL) {
			va = target;
		} else if (i.op == X86_OP_JCC) {
			if (unknown && !depth)
				return wanted | unknown;
			if (unknown)
				wanted |= flags_wanted(page, page_va, target, unknown, budget, depth - 1);
			unknown &= ~wanted;
		} else if (i.attr & X86_A_BRANCH || i.op == X86_OP_UD || i.op == X86_OP_UD2) {
			return wanted | unknown;
		}
	}
	return wanted;
}

/* Those among the given flags that are really wanted at rip. */
static unsigned flags_that_matter(const struct bt_cpu *b, uint64_t rip, unsigned differ)
{
	const struct bt_block *blk = b->check->blk;
	const uint8_t *page = mem_at(b->cpu.vm->mem, blk->gpa & ~0xfffull, MEM_PAGE);
	unsigned budget = AHEAD;

	if ((rip ^ blk->va) >> 12)
		return differ;
	return flags_wanted(page, rip & ~0xfffull, rip, differ, &budget, 6) & differ;
}

/* ---- differences ---- */

static void hex_lines(const char *what, const uint8_t *p, size_t n)
{
	char text[200];

	for (size_t at = 0; at < n; at += 32) {
		size_t len = 0;

		for (size_t i = at; i < n && i < at + 32; i++)
			len += (size_t)snprintf(text + len, sizeof text - len, " %02x", p[i]);
		log_err("check: %s +%03zx:%s", what, at, text);
	}
}

static const char *const gpr_names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10",
	"r11", "r12", "r13", "r14", "r15"};

static void show_code(struct bt_cpu *b, const struct bt_block *blk)
{
	const struct bt_vm *v = bt_vm(b->cpu.vm);
	const struct check_block *cb = b->check->blocks[blk - v->blocks];
	unsigned off = 0;

	for (unsigned n = 0; n < blk->ninsns && off < blk->len; n++) {
		struct x86_insn i;
		char text[64] = "";
		size_t len = 0;

		if (x86_decode(&i, X86_MODE64, cb->bytes + off, blk->len - off) <= 0)
			break;
		for (unsigned k = 0; k < i.len; k++)
			len += (size_t)snprintf(text + len, sizeof text - len, " %02x", cb->bytes[off + k]);
		log_err("check:   %016llx %-10s%s", (unsigned long long)blk->va + off,
			x86_op_name((enum x86_op)i.op), text);
		off += i.len;
	}
	hex_lines("host code", blk->code - v->rx + v->rw,
		(size_t)(blk->stale_exit - (blk->code - v->rx + v->rw)));
}

static void show_states(const struct bt_cpu *b, const struct point *want, uint64_t rip)
{
	const struct bt_check *k = b->check;
	const struct engine_cpu *c = &b->cpu;

	log_err("check:   %-8s %16s %16s %16s", "", "before", "interp", "bt");
	for (unsigned n = 0; n < 16; n++)
		log_err("check: %c %-8s %016llx %016llx %016llx", want->gpr[n] == c->s.gpr[n] ? ' ' : '*',
			gpr_names[n], (unsigned long long)k->before.gpr[n], (unsigned long long)want->gpr[n],
			(unsigned long long)c->s.gpr[n]);
	log_err("check: %c %-8s %016llx %016llx %016llx", want->rip == rip ? ' ' : '*', "rip",
		(unsigned long long)k->at[0].rip, (unsigned long long)want->rip, (unsigned long long)rip);
	log_err("check: %c %-8s %16x %16x %16x", fl_to_arith(want->fl) == fl_to_arith(c->fl) ? ' ' : '*', "flags",
		fl_to_arith(k->fl_before), fl_to_arith(want->fl), fl_to_arith(c->fl));
	log_err("check: %c %-8s %16llx %16llx %16llx", want->rflags == c->s.rflags ? ' ' : '*', "rflags",
		(unsigned long long)k->before.rflags, (unsigned long long)want->rflags,
		(unsigned long long)c->s.rflags);
}

static void show_state_bytes(const struct bt_cpu *b)
{
	const struct bt_check *k = b->check;
	const uint8_t *x = (const uint8_t *)&k->after, *y = (const uint8_t *)&b->cpu.s;
	unsigned shown = 0;

	for (size_t o = offsetof(struct x86_state, seg); o < sizeof k->after && shown < 16; o++)
		if (x[o] != y[o]) {
			log_err("check:   state byte %zu (fpu begins at %zu, its mxcsr is at %zu): interp %02x, bt %02x",
				o, offsetof(struct x86_state, fpu), offsetof(struct x86_state, fpu.mxcsr), x[o], y[o]);
			shown++;
		}
}

static void show_memory(const struct bt_check *k)
{
	unsigned shown = 0;

	for (unsigned n = 0; n < k->npages; n++)
		for (unsigned o = 0; o < MEM_PAGE && shown < 8; o += 8)
			if (memcmp(k->page[n].after + o, k->page[n].host + o, 8)) {
				log_err("check:   memory at %llx: before %016llx interp %016llx bt %016llx",
					(unsigned long long)k->page[n].gpa + o,
					(unsigned long long)get_u64(k->page[n].before + o),
					(unsigned long long)get_u64(k->page[n].after + o),
					(unsigned long long)get_u64(k->page[n].host + o));
				shown++;
			}
}

/*
 * They differ, at rip. The machine ends here, or goes on with what interp made of it: in both cases
 * run() is where it continues.
 */
static noreturn void mismatch(struct bt_cpu *b, const char *what, const struct point *want, uint64_t rip, bool full)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_check *k = b->check;
	const struct bt_block *blk = k->blk;
	static const char *const ends[] = {"block", "stop", "fault"};

	if (k->nmismatches++ < MISMATCHES_SHOWN) {
		log_err("check: %s: block at %llx (physical %llx), key %02x, %u instructions, trace %u-%u to %s %u/%x",
			what, (unsigned long long)blk->va, (unsigned long long)blk->gpa, blk->key, blk->ninsns,
			k->first, k->first + k->n - 1, ends[k->end], k->fault.vector, k->fault.code);
		show_code(b, blk);
		show_states(b, want, rip);
		if (full) {
			show_state_bytes(b);
			show_memory(k);
		}
	}
	k->open = k->fault_due = false;
	snprintf(k->error, sizeof k->error, "bt and interp differ (%s) in the block at %llx", what,
		(unsigned long long)blk->va);
	if (k->go_on) {
		for (unsigned n = 0; n < k->npages; n++)
			memcpy(k->page[n].host, k->page[n].after, MEM_PAGE);
		c->s = k->after;
		c->fl = k->at[k->n - 1].fl;
		c->rip = k->at[k->n - 1].rip;
		mmu_update(c);
	}
	longjmp(c->jb, JMP_STOP);
}

static void compare_point(struct bt_cpu *b, const struct point *want, uint64_t rip, bool full)
{
	const struct engine_cpu *c = &b->cpu;
	unsigned differ = (fl_to_arith(want->fl) ^ fl_to_arith(c->fl)) & ~want->undefined;

	if (memcmp(want->gpr, c->s.gpr, sizeof want->gpr))
		mismatch(b, "registers", want, rip, full);
	if ((want->rflags ^ c->s.rflags) & ~(uint64_t)X86_ARITH)
		mismatch(b, "system flags", want, rip, full);
	if (differ && flags_that_matter(b, rip, differ))
		mismatch(b, "flags", want, rip, full);
}

/* With the trace's end: everything. */
static void compare_end(struct bt_cpu *b, uint64_t rip)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_check *k = b->check;
	const struct point *want = &k->at[k->n - 1];
	const size_t rest = offsetof(struct x86_state, seg);
	unsigned mmu = c->mmu;

	compare_point(b, want, rip, true);
	k->after.fpu.fip = c->s.fpu.fip;
	k->after.fpu.fdp = c->s.fpu.fdp;
	k->after.fpu.fop = c->s.fpu.fop;
	if (memcmp((const uint8_t *)&k->after + rest, (const uint8_t *)&c->s + rest, sizeof c->s - rest))
		mismatch(b, "state", want, rip, true);
	for (unsigned n = 0; n < k->npages; n++)
		if (memcmp(k->page[n].after, k->page[n].host, MEM_PAGE))
			mismatch(b, "memory", want, rip, true);
	mmu_update(c);
	if (c->mmu != mmu)
		mismatch(b, "mode of memory accesses", want, rip, true);
	k->open = false;
}

/* ---- what bt.c calls ---- */

void bt_check_open(struct bt_cpu *b, const struct bt_block *blk, uint64_t rip)
{
	struct bt_check *k = b->check;
	const struct check_block *cb;
	uint8_t now[sizeof cb->bytes];

	k->next = 0;
	if (k->open)
		return; /* C has executed an instruction of the trace */
	if (k->fault_due)
		mismatch(b, "no fault", &k->at[k->n - 1], rip, true);
	b->cpu.rip = rip;
	cb = block_of(b, blk);
	trace(b, blk);
	guest_bytes(b, blk, now);
	if (memcmp(cb->bytes, now, blk->len))
		mismatch(b, "translation of bytes that are gone", &k->at[k->n - 1], rip, false);
}

void bt_check_at(struct bt_cpu *b, uint64_t rip)
{
	struct bt_check *k = b->check;

	if (!k->open)
		return;
	if (k->end != TRACE_BLOCK && rip == k->at[k->n - 1].rip) {
		compare_end(b, rip);
		k->fault_due = k->end == TRACE_FAULT;
		return;
	}
	for (unsigned n = 0; n + 1 < k->n; n++)
		if (k->at[n].rip == rip) {
			compare_point(b, &k->at[n], rip, false);
			k->next = n + 1;
			return;
		}
	mismatch(b, "instruction not reached", &k->at[k->n - 1], rip, true);
}

void bt_check_move(struct bt_cpu *b, const struct bt_block *blk, uint64_t rip)
{
	struct bt_check *k = b->check;

	bt_check_at(b, rip);
	k->npartial += k->open;
	k->open = k->fault_due = false;
	bt_check_open(b, blk, rip);
}

void bt_check_gone(struct bt_cpu *b, bool branch)
{
	struct bt_check *k = b->check;
	const struct check_block *cb;
	uint64_t rip = b->cpu.rip;

	if (k->fault_due)
		mismatch(b, "no fault", &k->at[k->n - 1], rip, true);
	if (!k->open)
		return;
	cb = k->blocks[k->blk - bt_vm(b->cpu.vm)->blocks];
	if (k->end == TRACE_BLOCK && rip == k->at[k->n - 1].rip && (!k->next || k->next == k->n - 1)) {
		compare_end(b, rip);
		return;
	}
	for (unsigned n = k->next; n < k->n; n++)
		if (k->at[n].rip == rip && (!branch || (n && cb->insn[k->first + n - 1].nowhere))) {
			/* an event: memory cannot be compared, since the trace is further */
			compare_point(b, &k->at[n], rip, false);
			k->npartial++;
			k->open = false;
			return;
		}
	mismatch(b, "where to", &k->at[k->n - 1], rip, true);
}

int bt_check_landed(struct bt_cpu *b, int why)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_check *k = b->check;
	const struct fault *f = &c->fault;

	if (why == JMP_STOP) {
		c->op = NULL;
		c->block = NULL;
		c->in_single = false;
		c->stop = CPU_FAILED;
		return k->go_on ? 0 : why;
	}
	if (k->open)
		mismatch(b, "a fault", &k->at[k->n - 1], c->op ? op_rip(c, c->op) : c->rip, true);
	if (k->fault_due && why == JMP_FAULT &&
		(f->vector != k->fault.vector || f->has_code != k->fault.has_code ||
			(f->has_code && f->code != k->fault.code) ||
			(f->vector == X86_PF_EXC && f->cr2 != k->fault.cr2)))
		mismatch(b, "another fault", &k->at[k->n - 1], c->op ? op_rip(c, c->op) : c->rip, false);
	k->fault_due = false;
	return why;
}

/* ---- the engine ---- */

static void check_cpu_free(struct engine_cpu *c)
{
	struct bt_check *k = c ? bt_cpu(c)->check : NULL;

	if (k && k->blocks)
		munmap(k->blocks, BT_BLOCKS * sizeof *k->blocks);
	if (k && k->arena)
		munmap(k->arena, ARENA);
	free(k);
	bt_cpu_free(c);
}

static void *map(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int check_cpu_new(struct engine_cpu **out, struct engine_vm *vm, unsigned id, struct err *e)
{
	const char *go_on = getenv("HUSK_BT_CHECK");
	struct engine_cpu *c;
	struct bt_check *k;
	int rc;

	if (id)
		return err_set(e, ENOTSUP,
			"check compares two executions of the same code, so nobody may change memory in between: "
			"--cpus 1 only");
	rc = bt_cpu_new(&c, vm, id, e);
	if (rc)
		return rc;
	k = bt_cpu(c)->check = calloc(1, sizeof *k);
	if (k) {
		k->blocks = map(BT_BLOCKS * sizeof *k->blocks);
		k->arena = map(ARENA);
	}
	if (!k || !k->blocks || !k->arena) {
		check_cpu_free(c);
		return err_set(e, ENOMEM, "check: out of memory");
	}
	k->go_on = go_on && !strcmp(go_on, "go-on");
	*out = c;
	return 0;
}

static int check_vm_new(struct engine_vm **out, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e)
{
	int rc = bt_vm_new(out, mem, cpuid, host, e);

	if (rc)
		return rc;
	bt_vm(*out)->check = true;
	(*out)->code_stays = true; /* or the trace would stop at a store that the translation goes on from */
	bt_vm(*out)->hot = 1;
	bt_vm(*out)->verify = true;
	return 0;
}

static const char *check_error(struct engine_cpu *c)
{
	return bt_cpu(c)->check->error;
}

static size_t check_stats(struct engine_vm *vm, char *buf, size_t len)
{
	const struct bt_check *k = vm->cpu[0] ? bt_cpu(vm->cpu[0])->check : NULL;
	size_t n = bt_stats(vm, buf, len);
	int more;

	if (!k)
		return n;
	more = snprintf(buf + n, len - n,
		"check.traces %llu\ncheck.instructions %llu\ncheck.partial %llu\ncheck.mismatches %llu\n",
		(unsigned long long)k->ntraces, (unsigned long long)k->ninsns, (unsigned long long)k->npartial,
		(unsigned long long)k->nmismatches);
	return more < 0 || (size_t)more >= len - n ? n : n + (size_t)more;
}

const struct cpu_engine engine_check = {
	.name = "check",
	.about = "bt and interp in lock step, compared after each block: for debugging, one CPU",
	.vm_new = check_vm_new,
	.vm_free = bt_vm_free,
	.cpu_new = check_cpu_new,
	.cpu_free = check_cpu_free,
	.run = bt_run,
	INTERP_CALLS,
	.error = check_error,
	.stats = check_stats,
};
