/* SPDX-License-Identifier: MIT */
/*
 * Inside of the interp engine. See interp.c for how it works as a whole.
 */
#ifndef ENGINE_INTERP_INT_H
#define ENGINE_INTERP_INT_H

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdnoreturn.h>

#include "base/util.h"
#include "engine/engine.h"
#include "engine/interp/vec.h"
#include "x86/decode.h"
#include "x86/walk.h"

/*
 * Arithmetic flags as the host's LAHF and SETO give them: AH in bits 15-8 (SF ZF 0 AF 0 PF 1 CF), OF in
 * bit 0. Each ALU operation is the host's own instruction followed by these two.
 */
enum { FL_OF = 1, FL_CF = 0x100, FL_PF = 0x400, FL_AF = 0x1000, FL_ZF = 0x4000, FL_SF = 0x8000 };

/* Scratch slots behind the 16 registers, so that an address is always three loads and two adds */
enum { R_ZERO = 16, R_PC = 17 /* linear: offset of the block's first instruction in CS */ };

struct iop;
typedef const struct iop *iop_fn(struct engine_cpu *c, const struct iop *op);

/* A decoded instruction, bound to the C function that is its meaning. */
struct iop {
	iop_fn *fn;
	int64_t disp; /* RIP-relative: from the start of the block */
	int64_t imm;
	union {
		const struct x86_insn *insn; /* generic handlers */
		const struct vec_op *vec;
		struct block **link; /* of a direct branch: [0] not taken, [1] taken; NULL across pages */
	};
	uint64_t amask;            /* of the address size */
	uint8_t dst, src;          /* byte offsets into gpr: AH is 1 */
	uint8_t base, index, scale; /* numbers of gpr, R_ZERO, R_PC */
	uint8_t seg;               /* for the segment base and checks */
	uint8_t flat;              /* 64-bit mode and no FS, GS: base 0, nothing to check */
	uint8_t cc;
	uint16_t next_off;         /* of the next instruction, from the block's start */
	uint8_t len;
	uint8_t size;              /* operand size in bytes */
};

enum { BLOCK_INSNS = 32 };

/* A run of instructions in one page, found by the physical address of the first. */
struct block {
	uint64_t gpa;
	struct block *hash_next;
	const uint32_t *gen_now; /* the page's generation */
	uint32_t gen;            /* the one this was decoded in */
	uint8_t mode;            /* enum x86_mode */
	uint8_t nops;
	uint16_t hits;           /* bt: executions so far */
	struct block *link[2];
	struct iop ops[];
};

enum { TLB_BITS = 8, TLB_SIZE = 1 << TLB_BITS };
#define TLB_NONE (~0ull)

/*
 * Tags are linear page numbers (address >> 12) or TLB_NONE. host = linear + addend. Column by column,
 * since code of the translator scales an index by 8; the index is the low byte of the page number, so
 * that it costs one instruction.
 */
struct tlb {
	uint64_t rtag[TLB_SIZE], wtag[TLB_SIZE], xtag[TLB_SIZE];
	uint64_t addend[TLB_SIZE];
	uint8_t global[TLB_SIZE]; /* stays when CR3 changes */
};

/*
 * The second level, behind the first and larger. A tag is the page number XOR a key, which stands for one mode
 * of one address space (tlb2_key): so the entries of a space survive its absence, PCID by PCID, and a flush
 * is a new key. Only accesses that a walk has allowed are entered.
 */
enum { TLB2_BITS = 11, TLB2_SIZE = 1 << TLB2_BITS, TLB2_MODE = 0x155, TLB_SPACES = 6 };
struct tlb2 {
	uint64_t rtag[TLB2_SIZE], wtag[TLB2_SIZE], xtag[TLB2_SIZE];
	uint64_t addend[TLB2_SIZE];
};

/* MMU_CHECKED never holds entries: alignment checks or data breakpoints are on. */
enum { MMU_USER, MMU_KERNEL, MMU_KERNEL_AC, MMU_CACHED, MMU_CHECKED = MMU_CACHED, MMU_MODES };

enum { JC_SIZE = 4096, HASH_SIZE = 1 << 15 };
struct jc_entry { /* by virtual address: block, while the generation stands */
	uint64_t va;
	struct block *b;
	uint32_t gen;
	uint32_t mode;
};

enum { /* attention bits: why the CPU should leave its fast loop */
	ATTN_IRQ = 1,
	ATTN_NMI = 2,
	ATTN_KICK = 4,
	ATTN_CODE = 8, /* drop write tags: another CPU made a page a code page */
	ATTN_INIT = 16,
	ATTN_SIPI = 32,
};

struct engine_cpu;
struct engine_vm;

/* What a translator on top of interp has to hear of. All are called on the vCPU's thread but the last. */
struct interp_hooks {
	void (*flush)(struct engine_cpu *c, bool all); /* the TLB, all of it or what is not global */
	void (*flush_page)(struct engine_cpu *c, uint64_t lin);
	void (*update)(struct engine_cpu *c); /* privilege, mode or what control registers allow has changed */
	/* decoded code in this RAM page has been overwritten; any thread */
	void (*code_written)(struct engine_vm *vm, uint64_t page);
};

struct engine_vm {
	struct mem *mem;
	const struct interp_hooks *hooks; /* NULL: interp alone */
	size_t arena_size; /* of each vCPU's decoded blocks */
	bool code_stays; /* a page that has held code never becomes one of data again */
	const struct x86_cpuid *cpuid;
	const struct cpu_host *host;
	struct vec *vec;
	/* Self-modifying code, by RAM page (mem_page()); see mem.c */
	uint32_t *page_gen;
	uint64_t *page_lines; /* a bit for each 64 bytes that hold decoded code */
	pthread_mutex_t code_lock;
	_Atomic uint64_t code_epoch;
	pthread_mutex_t split_lock; /* LOCK across pages or on device memory */
	struct engine_cpu *cpu[256];
	unsigned ncpus;
	uint64_t clock_tsc, clock_ns; /* one moment, by the host's TSC and CLOCK_MONOTONIC: for kvmclock */
};

struct fault {
	uint8_t vector;
	bool has_code;
	uint32_t code;
	uint64_t cr2;
};

/* How an exception or interrupt came about, for delivery */
enum event { EV_FAULT, EV_INTERRUPT, EV_SOFT, EV_INT3, EV_INT1 };

/* Where a linear page leads to */
struct place {
	uint8_t *host; /* NULL: device memory at gpa */
	uint64_t gpa;
	uint64_t page; /* RAM page number */
};

enum { RMW_NONE, RMW_BOUNCE, RMW_CODE };

enum { JMP_FAULT = 1, JMP_ONE, JMP_STOP /* bt/check.c */ };

struct engine_cpu {
	struct x86_state s; /* arithmetic flags are in fl, not in s.rflags, while running */
	uint32_t fl;
	uint8_t mmu;      /* MMU_* for data accesses of the current privilege */
	uint8_t cpl;
	uint8_t mode;     /* enum x86_mode of CS */
	uint8_t stack_size; /* bytes of the stack pointer: 2, 4, 8 */
	bool vec_ok, avx_ok; /* no #NM, #UD from control registers */
	uint8_t flat_segs; /* bit per segment: base 0, all of 4 GiB, usable for reads and writes */
	bool single;      /* execute one instruction, then look around */
	bool in_single;
	bool trap_pending; /* #DB after this instruction: data breakpoint hit (bits in dr6_pending) */
	uint64_t dr6_pending;
	bool no_step; /* INT n and its like: no single-step trap after it */
	bool dr_exec, dr_data; /* DR7 enables instruction or data breakpoints */
	_Atomic uint32_t attention;
	uint32_t attn_mask;
	_Atomic uint32_t poll; /* bt: translated code leaves when it finds this set; see attention_set() */

	uint64_t rip; /* between blocks: next instruction, offset in CS */
	const struct iop *op; /* the instruction that is in a slow path; NULL between blocks */
	struct block *block;
	struct block **link; /* where the next block is to be linked in */
	struct block *next;

	/* bt/check.c: sees each access in front of it; then all take the slow path, and mmu is MMU_CHECKED */
	void (*traced)(struct engine_cpu *c, const struct place *p, enum x86_access access);

	struct tlb tlb[MMU_MODES];
	struct tlb2 tlb2;
	uint64_t tlb2_key[MMU_CACHED]; /* MMU_KERNEL's is for global pages, in all spaces */
	uint16_t tlb2_gen;
	struct tlb_space { /* the spaces whose entries are kept */
		int pcid; /* -1: none */
		uint64_t key[MMU_CACHED];
		uint64_t used;
	} space[TLB_SPACES];
	unsigned space_now;
	unsigned ncode_stores; /* to pages that once held code */
	uint64_t large_lo, large_hi; /* linear range that large pages were cached for */
	struct x86_paging paging;

	struct jc_entry *jc;
	uint32_t jc_gen;
	struct block **hash;
	uint8_t *arena;
	size_t arena_used;
	struct block *scratch; /* one instruction: page crossing, single step */
	struct x86_insn *scratch_insn;
	struct vec_op *scratch_vec;

	/* read-modify-write through a bounce buffer or on a code page: mem_rmw_done() finishes */
	uint8_t rmw_kind; /* RMW_* */
	uint8_t rmw_size, rmw_first; /* bytes; how many of them lie in rmw_place[0] */
	struct place rmw_place[2];
	uint64_t bounce[2] __attribute__((aligned(16))); /* CMPXCHG16B works on it */
	bool locked;

	jmp_buf jb;
	struct fault fault;
	int delivering; /* vector under delivery, -1 none: for #DF */

	struct engine_vm *vm;
	unsigned id;
	_Atomic bool in_guest;
	_Atomic uint64_t code_seen;
	_Atomic uint32_t sipi_vector;
	_Atomic uint32_t nmis; /* pending: one, two if none was being handled when they came */
	enum cpu_stop stop;
	uint64_t ndrops; /* times the arena was emptied */
	uint64_t ninsns, nblocks, ndecoded, nflush, ntlbmiss, nirq, nexc;
};

enum { ARENA_SIZE = 48 << 20 };

/* ---- faults (seg.c) ---- */
noreturn void raise_fault(struct engine_cpu *c, unsigned vector, uint32_t code);
noreturn void raise_plain(struct engine_cpu *c, unsigned vector); /* no error code */
static inline noreturn void raise_gp(struct engine_cpu *c)
{
	raise_fault(c, X86_GP, 0);
}
static inline noreturn void raise_ud(struct engine_cpu *c)
{
	raise_plain(c, X86_UD);
}

/*
 * Any thread. poll comes second: the vCPU that clears it looks at attention afterwards (bt_poll_reset()), so one
 * of the two sees the other.
 */
static inline void attention_set(struct engine_cpu *c, uint32_t bit)
{
	atomic_fetch_or(&c->attention, bit);
	atomic_store(&c->poll, 1);
}

/* ---- memory (mem.c) ---- */
uint64_t mem_load_slow(struct engine_cpu *c, uint64_t lin, unsigned size, unsigned seg);
void mem_store_slow(struct engine_cpu *c, uint64_t lin, uint64_t v, unsigned size, unsigned seg);
void mem_check_align(struct engine_cpu *c, uint64_t lin, unsigned size); /* #AC; size: a power of two */
void *mem_rmw_slow(struct engine_cpu *c, uint64_t lin, unsigned size, unsigned seg);
void mem_rmw_finish(struct engine_cpu *c);
void mem_rmw_abort(struct engine_cpu *c); /* a fault or restart came in between */
void mem_read_bytes(struct engine_cpu *c, uint64_t lin, void *dst, unsigned len, unsigned seg);
void mem_write_bytes(struct engine_cpu *c, uint64_t lin, const void *src, unsigned len, unsigned seg);
/* Both pages are checked for writing before anything else happens. */
void mem_probe_write(struct engine_cpu *c, uint64_t lin, unsigned len, unsigned seg);
/* Implicit supervisor accesses: descriptor tables, TSS; whatever the CPL. */
uint64_t mem_sys_load(struct engine_cpu *c, uint64_t lin, unsigned size);
void mem_sys_store(struct engine_cpu *c, uint64_t lin, uint64_t v, unsigned size);
/* As a code fetch: up to 15 bytes; returns how many before the second page faults; may raise. */
unsigned mem_fetch(struct engine_cpu *c, uint64_t lin, uint8_t *buf);
uint64_t mem_fetch_gpa(struct engine_cpu *c, uint64_t lin); /* raises #PF; UINT64_MAX: not RAM */
/* Enters the page of lin into the TLB if the access needs nothing else; OTHER: it is a device's, holds code, ... */
enum mem_fill { MEM_FILL_DONE, MEM_FILL_FAULT /* *code: of the page fault */, MEM_FILL_OTHER };
enum mem_fill mem_fill(struct engine_cpu *c, uint64_t lin, enum x86_access access, uint32_t *code);
void tlb_flush(struct engine_cpu *c);
void tlb_flush_local(struct engine_cpu *c); /* all but global pages, of all spaces */
/* MOV CR3: on to the space pcid; keep: what is known of it still holds. */
void tlb_switch(struct engine_cpu *c, unsigned pcid, bool keep);
/* INVPCID of a space that is not the current one; lin: one page, or all with UINT64_MAX */
void tlb_flush_other(struct engine_cpu *c, unsigned pcid, uint64_t lin);
void tlb_flush_page(struct engine_cpu *c, uint64_t lin);
void mmu_update(struct engine_cpu *c); /* after CR0, CR3, CR4, EFER, CPL, AC, DR7 changed */
void code_page_mark(struct engine_cpu *c, uint64_t gpa, unsigned len);
void code_lines_mark(struct engine_vm *vm, uint64_t gpa, unsigned len); /* more of a page that is marked */
/* Makes a page without code a page of data again; false: not now. Any thread. */
bool code_page_drop(struct engine_vm *vm, uint64_t page);
void code_written(struct engine_vm *vm, uint64_t gpa, uint64_t len);
void code_sync(struct engine_cpu *c);

/* ---- segments, events (seg.c) ---- */
void seg_load(struct engine_cpu *c, unsigned seg, uint16_t sel); /* MOV, POP, LDS: all checks */
uint64_t seg_lin_slow(struct engine_cpu *c, unsigned seg, uint64_t off, unsigned len, bool write);
void cpu_mode_update(struct engine_cpu *c); /* after CS, SS, EFER, CR0 changed */
void deliver(struct engine_cpu *c, unsigned vector, enum event ev, bool has_code, uint32_t code);
iop_fn op_callfar, op_jmpfar, op_retfar, op_iret, op_int, op_int3, op_int1, op_into, op_syscall,
	op_sysret, op_sysenter, op_sysexit, op_movseg_to, op_movseg_from, op_lds, op_pushseg, op_popseg,
	op_lldt, op_ltr, op_sldt, op_str, op_verr, op_lar, op_arpl, op_bound;

/* ---- system instructions (sys.c) ---- */
iop_fn op_movcr, op_movdr, op_msr, op_cpuid, op_hlt, op_rdtsc, op_invlpg, op_dtable, op_lmsw, op_smsw,
	op_clts, op_swapgs, op_fsgsbase, op_xcr, op_stac, op_in, op_out, op_cli, op_sti, op_pushf, op_popf,
	op_wbinvd, op_rdrand, op_rdpmc, op_vmcall, op_fxsave, op_xsave, op_mxcsr, op_invpcid, op_monitor,
	op_fence;
void sys_update(struct engine_cpu *c); /* everything derived from control registers */
void io_check(struct engine_cpu *c, uint16_t port, unsigned size); /* rights; also breakpoints */
void set_rflags(struct engine_cpu *c, uint64_t v, uint64_t mask);
uint64_t get_rflags(const struct engine_cpu *c);

/* ---- the loop's parts (interp.c) ---- */

/* What interp_around() wants next */
enum interp_next {
	INTERP_RUN,  /* code at c->rip */
	INTERP_AGAIN, /* look around once more */
	INTERP_STOP, /* leave run(), c->stop says why */
};
/* Between blocks: events, halt, single steps. */
enum interp_next interp_around(struct engine_cpu *c);
/* Is there something that keeps the CPU from simply running on at c->rip? */
bool interp_must_leave(const struct engine_cpu *c);
/* After a jump to c->jb (JMP_*): the fault's delivery, or the instruction alone. */
void interp_landed(struct engine_cpu *c, int why);
/* The block at rip, which may be c->scratch (one instruction). Raises the faults of a fetch. */
struct block *block_find(struct engine_cpu *c, uint64_t rip);
/* Executes it; c->rip, c->link and c->next tell what comes then. */
static inline void block_run(struct engine_cpu *c, struct block *b)
{
	c->block = b;
	c->s.gpr[R_PC] = c->rip;
	c->nblocks++;
	c->ninsns += b->nops;
	b->ops[0].fn(c, b->ops);
}
/* One instruction at c->rip, whatever it is, without the checks of a single step. */
void interp_one(struct engine_cpu *c);

/* The engine's table in parts, for an engine that has more in its structs: n bytes, zeroed. */
int interp_vm_new_sized(struct engine_vm **out, size_t n, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e);
void interp_vm_free(struct engine_vm *vm);
int interp_cpu_new_sized(struct engine_cpu **out, size_t n, struct engine_vm *vm, unsigned id, struct err *e);
void interp_cpu_free(struct engine_cpu *c);
void interp_kick(struct engine_cpu *c);
void interp_irq(struct engine_cpu *c, bool pending);
void interp_nmi(struct engine_cpu *c);
void interp_init(struct engine_cpu *c);
void interp_sipi(struct engine_cpu *c, uint8_t vector);
void interp_get(struct engine_cpu *c, struct x86_state *s);
int interp_set(struct engine_cpu *c, const struct x86_state *s, struct err *e);
void interp_code_changed(struct engine_vm *vm, uint64_t gpa, uint64_t len);
int interp_dirty(struct engine_vm *vm, uint64_t *bitmap);
/* The rows of struct cpu_engine that are the same for all of them */
#define INTERP_CALLS                                                                               \
	.kick = interp_kick, .irq = interp_irq, .nmi = interp_nmi, .init = interp_init,            \
	.sipi = interp_sipi, .get = interp_get, .set = interp_set, .code_changed = interp_code_changed,                 \
	.dirty = interp_dirty, .tells_writes = true
const char *interp_error(struct engine_cpu *c);
size_t interp_stats(struct engine_vm *vm, char *buf, size_t len);

/* ---- strings (string.c) ---- */
iop_fn op_string;

/* Does vec.c run it? */
static inline bool op_is_vec(unsigned op)
{
	return op >= X86_OP_VEC && op < X86_OP_COUNT && op != X86_OP_MOVNTI;
}

/* ---- integer (ops.c) ---- */
/* Binds an instruction to its function. BIND_INSN: the function wants op->insn (or op->vec). */
enum { BIND_ENDS = 1, BIND_INSN = 2 };
unsigned op_bind(struct engine_cpu *c, struct iop *op, const struct x86_insn *insn);
void op_bind_end(struct iop *op); /* goes on behind a block that ends without a branch */
void op_bind_stop(struct iop *op); /* returns itself: nothing ended the block before it */
/* Ends the block; execution goes on at rip (an offset in CS, already masked). */
const struct iop *op_goto(struct engine_cpu *c, uint64_t rip);

/* ---- inline parts of the hot path ---- */

/*
 * Goes on to the next instruction. The compiler makes a jump of it, so that each function has an indirect
 * jump of its own for the branch predictor; where it does not, the stack grows by one block at most.
 */
static inline const struct iop *op_next(struct engine_cpu *c, const struct iop *op)
{
	return op[1].fn(c, op + 1);
}

/*
 * Neighbouring pages must never share an entry: the fast paths compare the tag with the page of the last byte
 * only, and an access from the page before would find it.
 */
static inline unsigned tlb_index(uint64_t lin)
{
	return (unsigned)(lin >> 12) & (TLB_SIZE - 1);
}

static inline unsigned tlb2_index(uint64_t lin, unsigned mmu)
{
	uint64_t page = lin >> 12;

	return (unsigned)(page ^ page >> TLB2_BITS ^ mmu * TLB2_MODE) & (TLB2_SIZE - 1);
}

#define MEM_ACCESSORS(bits)                                                                        \
	typedef struct {                                                                           \
		uint##bits##_t v;                                                                  \
	} __attribute__((packed, may_alias)) any_u##bits;                                          \
	static inline uint##bits##_t mem_ld##bits(                                                 \
		struct engine_cpu *c, const struct iop *op, uint64_t lin)                          \
	{                                                                                          \
		const struct tlb *t = &c->tlb[c->mmu];                                             \
		const unsigned k = tlb_index(lin);                                                 \
                                                                                                   \
		if (likely((lin + bits / 8 - 1) >> 12 == t->rtag[k]))                         \
			return ((const volatile any_u##bits *)(uintptr_t)(lin + t->addend[k]))->v;    \
		c->op = op;                                                                        \
		return (uint##bits##_t)mem_load_slow(c, lin, bits / 8, op->seg);                   \
	}                                                                                          \
	static inline void mem_st##bits(                                                           \
		struct engine_cpu *c, const struct iop *op, uint64_t lin, uint##bits##_t v)        \
	{                                                                                          \
		const struct tlb *t = &c->tlb[c->mmu];                                             \
		const unsigned k = tlb_index(lin);                                                 \
                                                                                                   \
		if (likely((lin + bits / 8 - 1) >> 12 == t->wtag[k])) {                       \
			((volatile any_u##bits *)(uintptr_t)(lin + t->addend[k]))->v = v;             \
			return;                                                                    \
		}                                                                                  \
		c->op = op;                                                                        \
		mem_store_slow(c, lin, v, bits / 8, op->seg);                                      \
	}                                                                                          \
	static inline any_u##bits *mem_rmw##bits(                                                  \
		struct engine_cpu *c, const struct iop *op, uint64_t lin)                          \
	{                                                                                          \
		const struct tlb *t = &c->tlb[c->mmu];                                             \
		const unsigned k = tlb_index(lin);                                                 \
                                                                                                   \
		if (likely((lin + bits / 8 - 1) >> 12 == t->wtag[k]))                         \
			return (any_u##bits *)(uintptr_t)(lin + t->addend[k]);                        \
		c->op = op;                                                                        \
		return mem_rmw_slow(c, lin, bits / 8, op->seg);                                    \
	}
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)

/* After the new value was written through mem_rmw*(). */
static inline void mem_rmw_done(struct engine_cpu *c)
{
	if (unlikely(c->rmw_kind))
		mem_rmw_finish(c);
}

/* Linear address of off in segment seg. write and len are for limits and rights, which 64-bit mode
 * does not have. */
static inline uint64_t seg_lin(
	struct engine_cpu *c, const struct iop *op, unsigned seg, uint64_t off, unsigned len, bool write)
{
	if (likely(c->mode == X86_MODE64))
		return seg >= X86_FS ? off + c->s.seg[seg].base : off;
	if (likely(c->flat_segs >> seg & 1 && off + len <= 1ull << 32))
		return off;
	c->op = op;
	return seg_lin_slow(c, seg, off, len, write);
}

static inline uint64_t op_off(const struct engine_cpu *c, const struct iop *op)
{
	return ((uint64_t)op->disp + c->s.gpr[op->base] + (c->s.gpr[op->index] << op->scale)) & op->amask;
}

/* The memory operand's linear address. */
static inline uint64_t op_lin(struct engine_cpu *c, const struct iop *op, unsigned len, bool write)
{
	uint64_t off = op_off(c, op);

	return likely(op->flat) ? off : seg_lin(c, op, op->seg, off, len, write);
}

/* Offset in CS of this instruction and of the next. */
static inline uint64_t op_rip(const struct engine_cpu *c, const struct iop *op)
{
	return c->s.gpr[R_PC] + op->next_off - op->len;
}

static inline uint64_t op_next_rip(const struct engine_cpu *c, const struct iop *op)
{
	return c->s.gpr[R_PC] + op->next_off;
}

static inline uint8_t *reg8(struct engine_cpu *c, unsigned off)
{
	return (uint8_t *)c->s.gpr + off;
}

/* Little-endian values of 1, 2, 4 or 8 bytes in host memory */
static inline uint64_t get_size(const void *p, unsigned size)
{
	switch (size) {
	case 1:
		return *(const uint8_t *)p;
	case 2:
		return get_u16(p);
	case 4:
		return get_u32(p);
	default:
		return get_u64(p);
	}
}

static inline void put_size(void *p, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		*(uint8_t *)p = (uint8_t)v;
		break;
	case 2:
		put_u16(p, (uint16_t)v);
		break;
	case 4:
		put_u32(p, (uint32_t)v);
		break;
	default:
		put_u64(p, v);
	}
}

/* Register access by byte offset and size; 32-bit writes clear the upper half. */
static inline uint64_t reg_get(const struct engine_cpu *c, unsigned off, unsigned size)
{
	return get_size((const uint8_t *)c->s.gpr + off, size);
}

static inline void reg_put(struct engine_cpu *c, unsigned off, unsigned size, uint64_t v)
{
	uint8_t *p = (uint8_t *)c->s.gpr + off;

	if (size == 4)
		put_u64(p, (uint32_t)v);
	else
		put_size(p, size, v);
}

static inline uint64_t load(struct engine_cpu *c, const struct iop *op, uint64_t lin, unsigned size)
{
	switch (size) {
	case 1:
		return mem_ld8(c, op, lin);
	case 2:
		return mem_ld16(c, op, lin);
	case 4:
		return mem_ld32(c, op, lin);
	default:
		return mem_ld64(c, op, lin);
	}
}

static inline void store(
	struct engine_cpu *c, const struct iop *op, uint64_t lin, unsigned size, uint64_t v)
{
	switch (size) {
	case 1:
		mem_st8(c, op, lin, (uint8_t)v);
		break;
	case 2:
		mem_st16(c, op, lin, (uint16_t)v);
		break;
	case 4:
		mem_st32(c, op, lin, (uint32_t)v);
		break;
	default:
		mem_st64(c, op, lin, v);
	}
}

/* ModRM.rm operand of a generic handler (op->insn set, op->dst: rm register offset). */
uint64_t rm_get(struct engine_cpu *c, const struct iop *op, unsigned size);
void rm_put(struct engine_cpu *c, const struct iop *op, unsigned size, uint64_t v);

/* Stack, by the mode's stack size; *sp is a copy that the caller commits at the end. */
uint64_t stack_pop(struct engine_cpu *c, const struct iop *op, uint64_t *sp, unsigned size);
void stack_push(struct engine_cpu *c, const struct iop *op, uint64_t *sp, unsigned size, uint64_t v);
void stack_commit(struct engine_cpu *c, uint64_t sp);

static inline bool cond(uint32_t fl, unsigned cc)
{
	bool r;

	switch (cc >> 1) {
	case 0:
		r = fl & FL_OF;
		break;
	case 1:
		r = fl & FL_CF;
		break;
	case 2:
		r = fl & FL_ZF;
		break;
	case 3:
		r = fl & (FL_CF | FL_ZF);
		break;
	case 4:
		r = fl & FL_SF;
		break;
	case 5:
		r = fl & FL_PF;
		break;
	case 6:
		r = (fl >> 15 ^ fl) & 1;
		break;
	default:
		r = (fl >> 15 ^ fl) & 1 || fl & FL_ZF;
	}
	return r ^ (cc & 1);
}

#endif
