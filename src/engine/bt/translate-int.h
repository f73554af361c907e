/* SPDX-License-Identifier: MIT */
/* What the parts of the translator share; translate.c begins with how it works. */
#ifndef ENGINE_BT_TRANSLATE_INT_H
#define ENGINE_BT_TRANSLATE_INT_H

#include "engine/bt/bt-int.h"

#define CPU(field) offsetof(struct bt_cpu, field)
#define GPR(n) (CPU(cpu.s.gpr) + 8u * (unsigned)(n))
#define TLB(mmu, column) (CPU(cpu.tlb) + (mmu) * sizeof(struct tlb) + offsetof(struct tlb, column))

enum { MAX_COLD = 4 * BT_BLOCK_INSNS, LOOKAHEAD = 12, MAX_PLAN = 2 * BT_BLOCK_INSNS, MAX_FACTS = BT_FACTS };

/* An instruction's memory operand as the guest means it */
struct gea {
	int8_t base, index; /* -1: none */
	uint8_t scale;
	uint8_t seg;  /* X86_FS, X86_GS, or 0 */
	bool ad32;    /* the offset is cut to 32 bits */
	bool ready;   /* the linear address is in R11 already */
	int64_t disp;
};

struct insn {
	struct x86_insn i;
	uint16_t off; /* in the block */
	uint16_t live; /* flags wanted behind it */
	uint8_t regs;  /* BT_REGS_* that it or one behind it uses */
};

/* See translate_mem.c. */
struct value {
	uint16_t id;
	int32_t delta;
};

/* A place in memory: what the values of base and index, the scale and the segment stand for, and a distance. */
struct spot {
	uint16_t base, index, seg; /* numbers of values; 0: none */
	uint8_t scale;
	int64_t off;
};

struct planned {
	struct spot at;
	uint8_t insn, size;
	bool write;
};

struct fact {
	struct spot at; /* its first byte */
	int64_t end;
	uint8_t slot; /* of bt_cpu.fact */
	bool write;
};

enum cold_kind { COLD_MEM, COLD_LINK, COLD_LEAVE, COLD_IND, COLD_REGS, COLD_CROSS };

/* Code that goes behind the block */
struct cold {
	enum cold_kind kind;
	uint8_t *from;    /* displacements that lead here */
	uint8_t *resume;  /* COLD_MEM, COLD_REGS */
	uint32_t index;   /* site or link; COLD_REGS: which */
	uint64_t va;      /* COLD_LEAVE, COLD_CROSS: the target */
	struct gea ea;    /* COLD_MEM */
	bool in_r11;      /* the address is there already */
	bool fl_mem;      /* COLD_CROSS: flags are saved; COLD_MEM: fetch them before going on */
};

struct tr {
	struct bt_cpu *b;
	struct bt_vm *v;
	struct emit e;
	struct bt_block *blk;
	const uint8_t *bytes; /* the guest's, of the block */
	uint64_t va;
	unsigned span;  /* how many there are up to the page's end, at most */
	unsigned mmu, key;
	struct insn *in;
	unsigned n;
	struct insn *now;
	const struct insn *checked; /* has had a check already */
	bool fl_mem;   /* flags are in cpu.fl */
	uint8_t regs;  /* BT_REGS_* that are loaded */
	bool done;     /* the block has ended */
	bool failed;   /* no room in one of the tables */
	/* Where to try the current instruction again: behind what spares the flags. NULL: check() sets it. */
	uint8_t *retry;
	struct value value[16]; /* of the general registers */
	struct value seg_value[X86_NSEG]; /* of the bases of FS and GS */
	uint16_t last_value;
	struct fact fact[MAX_FACTS];
	uint8_t nfacts, next_fact;
	int r10;       /* the fact whose addend is in R10, -1: none */
	bool r10_kept; /* the current instruction does not touch R10, or has put one there */
	uint8_t held;  /* R9-R11, as bits 0-2, are the guest's */
	bool held_kept; /* the current instruction has left those that it did not load alone */
	struct planned *plan;
	unsigned nplan;
	struct cold *cold;
	unsigned ncold;
};

/* Emits the current instruction (t->now). */
typedef void rule_fn(struct tr *t);

static inline uint32_t offset_of(const struct tr *t, const uint8_t *p)
{
	return (uint32_t)(p - t->v->rw);
}

static inline bool is_scratch(int reg)
{
	return reg >= R9 && reg <= R11;
}

static inline uint64_t insn_va(const struct tr *t)
{
	return t->va + t->now->off;
}

static inline uint64_t next_va(const struct tr *t)
{
	return t->va + t->now->off + t->now->i.len;
}

static inline bool same_page(uint64_t a, uint64_t b)
{
	return (a ^ b) >> 12 == 0;
}

static inline unsigned flags_read(const struct x86_insn *i)
{
	return i->fl_in & X86_ARITH;
}

static inline unsigned flags_written(const struct x86_insn *i)
{
	return (i->fl_out | i->fl_undef) & X86_ARITH;
}

static inline unsigned live_before(const struct insn *k)
{
	return (k->live & ~flags_written(&k->i)) | flags_read(&k->i);
}

/* Does it leave some flags as they were that are still wanted, or read any? Then it must find them. */
static inline bool needs_flags(const struct insn *k)
{
	return flags_read(&k->i) || (flags_written(&k->i) && k->live & ~flags_written(&k->i));
}

static inline void load_gpr(struct tr *t, unsigned host, unsigned guest)
{
	emit_op_gs(&t->e, true, OP_MOV_LOAD, host, GPR(guest));
}

static inline void store_gpr(struct tr *t, unsigned host, unsigned guest)
{
	emit_op_gs(&t->e, true, OP_MOV_STORE, host, GPR(guest));
}

static inline bool fits32(int64_t v)
{
	return v == (int32_t)v;
}

/* Can emit_ea() make this address? A large displacement goes with nothing else, a cut one with no segment. */
static inline bool gea_fits(const struct gea *g)
{
	return !(g->ad32 && g->seg) && (fits32(g->disp) || g->base < 0);
}

/* ---- translate.c ---- */
struct cold *cold_new(struct tr *t, enum cold_kind kind, uint8_t *from);

/* cpu.fl = flags, and back. R9 is lost. */
void save_flags(struct emit *e);
void fetch_flags(struct emit *e);
void flags_to_mem(struct tr *t);
void flags_to_host(struct tr *t);
/* Before something that destroys EFLAGS, in front of the current instruction. */
void flags_spare(struct tr *t);

static const struct gea at_top = {.base = RSP, .index = -1}, at_push = {.base = RSP, .index = -1, .disp = -8};

/* The current instruction with another ModRM.reg and memory operand. */
void emit_with_mem(struct tr *t, const struct x86_insn *i, unsigned reg, const struct mem_op *m);

void add_rsp(struct tr *t, int n);

/* Leaves for C, to go on at target, when somebody wants this CPU's attention. Flags are lost. */
void poll_at(struct tr *t, uint64_t target);
/* On to a known address; always: t->fl_mem says where the flags are, live which of them are wanted. */
void leave_to(struct tr *t, uint64_t target, unsigned live);
/* To the address in R11. Flags are in cpu.fl. rsp: what the instruction has added to RSP. */
void leave_indirect(struct tr *t, int rsp);

/* The current instruction as bt_c_call() executes it: index in bt_vm.calls. flags: BIND_* */
uint32_t call_new(struct tr *t, unsigned *flags);
/* Executes the current instruction by interp's function. */
bool call_interp(struct tr *t);
/* The guest's own instruction, with registers only, or with a checked memory operand */
void copy_regs(struct tr *t);
void copy_mem(struct tr *t);

/* ---- translate_mem.c ---- */
struct gea gea_of(const struct tr *t, const struct x86_insn *i);
/* R11 = linear address. R9 may be lost. */
void emit_ea(struct tr *t, const struct gea *g);
uint32_t site_new(struct tr *t, unsigned size, bool write);
/* Slow code for the current instruction, reached from the displacement at from. */
struct cold *slow(struct tr *t, uint8_t *from, unsigned size, bool write);
/* All slow paths of the current instruction from number since on come back here. */
void slow_resume(struct tr *t, unsigned since);
/*
 * Checks an access of the current instruction. Spares the flags if it must, unless t->retry is set: then
 * the caller has done so. An instruction with two checks sets it, as both begin again there. Returns the operand to
 * use, which may involve R10 or R11; R9 is free from then on. align: bits of the address that must be 0.
 */
struct mem_op check(struct tr *t, const struct gea *g, unsigned size, bool write, unsigned align);
/* General registers that may be written, as bits. */
unsigned gprs_written(const struct x86_insn *i);
void facts_plan(struct tr *t);   /* before the first instruction */
void facts_step(struct tr *t);   /* behind each */
void facts_forget(struct tr *t); /* C has run */

/* ---- translate_fpu.c ---- */
unsigned regs_used(const struct x86_insn *i); /* BT_REGS_* */
rule_fn rule_vec, rule_vmaskmov, rule_mxcsr, rule_mmx, rule_x87, rule_fwait;

/* ---- translate_sys.c ---- */
rule_fn rule_cli, rule_sti, rule_cld, rule_pushf, rule_popf, rule_stac, rule_swapgs, rule_rdtsc, rule_fsgsbase,
	rule_movcr_from, rule_movseg_from, rule_pause, rule_serialize, rule_syscall, rule_sysret;
/* Between STI and a branch, and behind any other instruction that follows STI */
void before_branch(struct tr *t);
void after_sti(struct tr *t);

/* ---- translate_string.c ---- */
rule_fn rule_string;

#endif
