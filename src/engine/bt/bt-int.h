/* SPDX-License-Identifier: MIT */
/*
 * Inside of the binary translator. translate.c begins with how translated code looks, cache.c with how
 * blocks are found, linked and die, bt.c with how all of it works together with interp.
 */
#ifndef ENGINE_BT_INT_H
#define ENGINE_BT_INT_H

#include "engine/bt/emit.h"
#include "engine/interp/interp-int.h"

enum {
	BT_JC_BITS = 13, BT_JC = 1 << BT_JC_BITS, /* jump cache, by virtual address */
	BT_XID = 2048,        /* execute permissions, by virtual page */
	BT_BLOCK_INSNS = 64, BT_FACTS = 24,
	BT_HASH = 1 << 16,
	BT_CACHE = 96 << 20,  /* bytes of code; touched only as it fills */
	BT_SITES = 1 << 21, BT_LINKS = 1 << 20, BT_BLOCKS = 1 << 19,
	BT_HOT = 2,           /* executions after which a block is translated */
};

/* What a translation depends on besides its bytes and address: part of a block's identity. */
enum {
	BT_KEY_MMU = 3,  /* MMU_USER, ...: which TLB; also tells CPL 3 from 0 */
	BT_KEY_VEC = 4,  /* SSE may run, and no SIMD exception is unmasked */
	BT_KEY_AVX = 8,
	BT_KEY_TSD = 16, /* RDTSC faults in user mode */
	BT_KEY_X87 = 32, /* x87 and MMX may run, and no x87 exception is unmasked */
	BT_KEY_NARROW = 128, /* each access is checked on its own; entered by bt_c_mem() alone */
	BT_KEY_NONE = 0xff, /* this state is interp's */
};

struct bt_block {
	uint64_t va, gpa; /* of the first byte */
	struct bt_block *hash_next, *page_next;
	uint8_t *code;    /* where indirect jumps enter: flags are in fl */
	uint8_t *entry;   /* where direct ones do: flags are in EFLAGS; begins with a 5-byte NOP. Writable mapping. */
	uint8_t *stale_exit; /* writable mapping: leaves with rip = va */
	uint8_t *check_exit; /* the same when flags are in fl already; executable mapping */
	uint32_t xid;     /* of its pair of virtual and physical page */
	/* An instruction that goes over a page's end: the second page. Else 0. */
	uint64_t gpa2;
	uint32_t xid2;
	struct bt_block *twin; /* of a mark in the second page's list: the block that is meant */
	uint16_t len;
	uint8_t key, ninsns;
	_Atomic bool stale;
};

/* Registers that are loaded when a block needs them (glue.c) */
enum {
	BT_REGS_VEC = 1, /* YMM, MXCSR */
	BT_REGS_X87 = 2, /* all of x87, with MM */
};

/* A memory access that may take the slow path, or an indirect jump. */
struct bt_site {
	uint32_t block;
	uint32_t retry, resume; /* offsets in the cache: the check again; behind the instruction */
	uint16_t off;   /* of the guest's instruction in the block */
	uint8_t len;
	/*
	 * Of the access. 0: a TLB fill would not help; also for the second access of an instruction: both
	 * might want the same place in the TLB, and filling it for one and the other would never end.
	 */
	uint8_t size;
	uint8_t write;
	uint8_t regs;   /* BT_REGS_*: loaded here, and used from here on */
	bool wide;      /* the check is for more than this instruction's access */
	bool call;      /* an indirect call, which has not pushed yet */
	bool string;    /* interp is to execute it as call number resume says, which goes on where that says */
	int16_t rsp;    /* indirect jumps: what the instruction has added to RSP */
};

/* A direct branch to another block. */
struct bt_link {
	uint64_t target;
	uint32_t block;    /* where the branch is */
	const struct bt_block *to; /* NULL: nowhere yet */
	uint32_t rel, imm; /* offsets: the displacement to patch; across pages also the XID to compare, else 0 */
	bool fl_mem;       /* flags are in fl */
};

/* An instruction that interp's function executes. */
struct bt_call {
	struct bt_block *block;
	uint32_t resume;
	uint16_t op_kind; /* enum x86_op */
	uint8_t regs;     /* BT_REGS_*: loaded where it goes on */
	struct iop op[2];
};

struct bt_cpu {
	struct engine_cpu cpu; /* GS points here */
	struct engine_cpu *self;
	uint64_t host_rsp;
	uint64_t fact[BT_FACTS]; /* addends, see translate_mem.c */
	uint64_t jc_key[MMU_CACHED]; /* a generation; XOR of it and the address is the tag in jc_va: see bt_jc_clear() */
	uint64_t jc_va[BT_JC];
	void *jc_code[BT_JC];
	uint32_t xid[MMU_CACHED][BT_XID];
	uint64_t xpage[MMU_CACHED][BT_XID]; /* the virtual page of each */
	uint16_t jc_gen;
	uint8_t halves[MMU_CACHED]; /* jc and xid know addresses with bit 63 clear (1), set (2) */
	bool local[MMU_CACHED]; /* jc and xid know pages that are not global */
	uint8_t key;          /* BT_KEY_* now */
	uint8_t key_others;   /* the same without the MMU's mode, as of the last 64-bit code */
	uint8_t regs_loaded;  /* BT_REGS_*: the guest's are in the host's */
	uint8_t regs_want;    /* to be loaded on the way back into code */
	uint8_t x87[108];     /* FNSAVE's image, on the way to and from cpu.s.fpu */
	uint32_t host_mxcsr;
	uint64_t flush_seen;
	_Atomic bool in_code; /* holds addresses of the cache: it must not be emptied */
	uint64_t fill_site, fill_lin; /* spilled by glue_fill */
	uint64_t string; /* spilled by REP MOVS: of the source, host less guest address */
	uint8_t fill_read_only;
	struct block *guard;  /* stands for the running block where mem.c looks for stores into it */
	struct bt_check *check;
	unsigned exits_quiet; /* hostile.c: since the last time */
	bool shake;
	uint64_t random;
	uint64_t nexit[8];
	uint64_t nvisits, ticks_slow, ticks_cold, ticks_run, run_began; /* by the TSC, see stats.c */
	uint64_t nsens[X86_OP_COUNT]; /* sensitive instructions executed, by kind */
};

struct bt_vm {
	struct engine_vm vm;
	uint8_t *rw, *rx;  /* the cache's two mappings */
	size_t used, glue; /* bytes; the glue at its start survives a flush */
	pthread_mutex_t lock; /* everything below, and writing to the cache */
	struct bt_block **hash;
	struct bt_block **page_blocks; /* by RAM page */
	struct bt_block *blocks;
	struct bt_site *sites;
	struct bt_link *links;
	struct bt_call **calls;
	uint32_t nblocks, nsites, nlinks, ncalls, xids;
	uint8_t *arena;    /* what calls hang on to */
	size_t arena_used;
	_Atomic uint64_t flush_gen;
	_Atomic bool flushing;
	unsigned hot;      /* executions after which a block is translated */
	unsigned hostile;  /* 0: not (hostile.c) */
	bool verify;       /* look at everything that is emitted (verify.c) */
	bool check;        /* compare with interp (check.c); nothing is linked, nothing in the jump cache */
	bool adx;          /* the host has ADCX, ADOX */

	/* glue code, executable mapping */
	void (*enter)(struct bt_cpu *b, void *code);
	uint8_t *glue_fill[MMU_CACHED][2]; /* by mode; reads, writes: before glue_mem */
	uint8_t *glue_mem, *glue_call, *glue_link, *glue_ind, *glue_leave; /* writable mapping */
	uint8_t *glue_vec, *glue_x87;

	/* statistics */
	struct bt_verifier *verifier;
	uint64_t nverified, nviolations, ns_verify;
	uint64_t ntranslated, ninsns_guest, nbytes_guest, nbytes_host, ns_translate, nflushes, nstale;
};

enum bt_exit { BT_EXIT_MEM, BT_EXIT_FILL, BT_EXIT_CALL, BT_EXIT_LINK, BT_EXIT_IND, BT_EXIT_LEAVE, BT_EXIT_COLD };

static inline struct bt_cpu *bt_cpu(struct engine_cpu *c)
{
	return (struct bt_cpu *)(void *)c;
}

static inline struct bt_vm *bt_vm(struct engine_vm *vm)
{
	return (struct bt_vm *)(void *)vm;
}

static inline unsigned bt_jc_index(uint64_t va)
{
	return (unsigned)(va ^ va >> 7) & (BT_JC - 1);
}

static inline unsigned bt_xid_index(uint64_t va)
{
	return (unsigned)(va >> 12) & (BT_XID - 1);
}

/* ---- cache.c ---- */
int bt_cache_new(struct bt_vm *v, struct err *e);
void bt_cache_free(struct bt_vm *v);
/* gpa2: 0, or of the second page that an instruction at va goes on in */
struct bt_block *bt_lookup(struct bt_vm *v, uint64_t gpa, uint64_t gpa2, uint64_t va, unsigned key);
void bt_code_written(struct engine_vm *vm, uint64_t page);
/* Lets link i lead to block b. The caller holds the lock. */
void bt_link_to(struct bt_vm *v, uint32_t i, const struct bt_block *b);
void bt_publish(struct bt_vm *v, struct bt_block *b);
/* For a block with gpa2: its place in the second page's list; gives xid2. Before it is translated. */
void bt_mark_second(struct bt_vm *v, struct bt_block *b);
bool bt_cache_low(const struct bt_vm *v); /* not enough left for one more block */
void bt_cache_flush(struct bt_cpu *b);    /* outside of translated code only */
void bt_jc_clear(struct bt_cpu *b);       /* empties the jump cache */
void bt_flush_seen(struct bt_cpu *b);     /* forgets what pointed into the cache */
void *bt_arena_take(struct bt_vm *v, size_t n);

/* ---- translate.c ---- */
/*
 * Translates the code at va, whose bytes are at gpa, and publishes it. With gpa2, the start of the next page, it
 * is the one instruction that goes over the end of the first, of which span bytes lie there. The lock is
 * held, the lines are marked as code (code_page_mark()) by the caller. NULL: nothing there that could be
 * translated.
 */
struct bt_block *bt_translate(struct bt_cpu *b, uint64_t va, uint64_t gpa, uint64_t gpa2, unsigned key,
	unsigned span);

/* ---- hostile.c ---- */
void bt_options(struct bt_vm *v);        /* what the environment says */
void bt_hostile_exit(struct bt_cpu *b);  /* at each exit to C, if v->hostile */
void bt_shake(struct bt_cpu *b);         /* outside of translated code, if b->shake */

/* ---- verify.c ---- */
struct bt_violation {
	const char *why;
	size_t off; /* of the instruction, from the start of the code */
};
/* Of the block: the first of its sites, links and calls, all up to the last of the machine; its direct entry */
struct bt_verify_range {
	uint32_t sites, links, calls;
	const uint8_t *entry;
	const struct insn *in; /* the guest's */
	unsigned n;
};
/* May the code from..to (writable mapping) of a block of MMU mode mmu be run? The lock is held. */
bool bt_verify(struct bt_vm *v, const uint8_t *from, const uint8_t *to, unsigned mmu,
	const struct bt_verify_range *range, struct bt_violation *out);

/* ---- glue.c ---- */
void bt_glue(struct bt_vm *v, struct emit *e);
/* Called by the glue (bt.c): where to go on in translated code, NULL: leave it */
void *bt_c_mem(struct bt_cpu *b, uint64_t lin, uint32_t site);
void *bt_c_call(struct bt_cpu *b, uint64_t unused, uint32_t call);
void *bt_c_link(struct bt_cpu *b, uint64_t unused, uint32_t link);
void *bt_c_ind(struct bt_cpu *b, uint64_t target, uint32_t site);
void *bt_c_leave(struct bt_cpu *b, uint64_t rip, uint32_t unused);

/* ---- stats.c ---- */
void *bt_timed_mem(struct bt_cpu *b, uint64_t lin, uint32_t site);
void *bt_timed_call(struct bt_cpu *b, uint64_t unused, uint32_t call);
void *bt_timed_link(struct bt_cpu *b, uint64_t unused, uint32_t link);
void *bt_timed_ind(struct bt_cpu *b, uint64_t target, uint32_t site);
void bt_cold_run(struct bt_cpu *b, struct block *cold); /* block_run() */

/* ---- bt.c ---- */
int bt_vm_new(struct engine_vm **out, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e);
void bt_vm_free(struct engine_vm *vm);
int bt_cpu_new(struct engine_cpu **out, struct engine_vm *vm, unsigned id, struct err *e);
void bt_cpu_free(struct engine_cpu *c);
enum cpu_stop bt_run(struct engine_cpu *c);
size_t bt_stats(struct engine_vm *vm, char *buf, size_t len);

/* ---- check.c; all but the first two: if v->check, on the vCPU's thread ---- */
bool bt_check_ends(const struct x86_insn *i); /* with v->check it is interp's, as it must not be executed twice */
bool bt_check_low(struct bt_cpu *b);          /* the code cache is to be flushed */
/* The translation of blk goes on at rip; unless a trace is open, begins one there. */
void bt_check_open(struct bt_cpu *b, const struct bt_block *blk, uint64_t rip);
void bt_check_at(struct bt_cpu *b, uint64_t rip); /* C is about to execute the instruction at rip */
void bt_check_move(struct bt_cpu *b, const struct bt_block *blk, uint64_t rip); /* on to blk, at rip */
void bt_check_gone(struct bt_cpu *b, bool branch); /* the block has been left for cpu.rip, by a branch or somehow */
int bt_check_landed(struct bt_cpu *b, int why);   /* a jump to cpu.jb; returns why, or 0 if nothing is left to do */

#endif
