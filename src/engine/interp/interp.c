/* SPDX-License-Identifier: MIT */
/*
 * interp: plain C meaning of every instruction. It is the fall-back of the translator, its oracle,
 * and what runs guests where a host allows no executable memory at run time for anything but vec.c.
 *
 * How it works. Guest code is decoded once into blocks: up to BLOCK_INSNS instructions of one page,
 * each bound to the C function that is its meaning (struct iop). A block is found by the physical
 * address of its first byte and the mode; in front of that stands a table by virtual address (jc),
 * which dies as a whole when address translation may have changed (jc_gen). Direct branches inside
 * a page are linked. A function goes on to the next one by a tail call (op_next()), or returns NULL
 * at the block's end.
 *
 * RIP is not kept up to date inside a block: gpr[R_PC] holds the offset of the block's start, and
 * each iop the distance to the next instruction. A function that may fault sets c->op before it
 * takes a slow path; raise_fault() jumps back to cpu_run(), which computes RIP from it. Functions
 * write registers only after their last possible fault.
 *
 * Between blocks the attention word is looked at: interrupts, kicks, requests of other vCPUs.
 * Single-stepping, breakpoints, interrupt shadows and stores into the running block's own page use
 * blocks of one instruction (c->single).
 *
 * Self-modifying code: see mem.c. Threads: a vCPU's struct belongs to its thread; others only set
 * bits in attention. Shared between vCPUs are page generations, lines and the vec arena.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/log.h"
#include "engine/interp/interp-int.h"

/* ---- blocks ---- */

static unsigned hash_of(uint64_t gpa)
{
	return (unsigned)((gpa ^ gpa >> 15) & (HASH_SIZE - 1));
}

static void blocks_drop(struct engine_cpu *c)
{
	memset(c->hash, 0, HASH_SIZE * sizeof(struct block *));
	c->arena_used = 0;
	c->ndrops++;
	c->jc_gen++;
	c->block = NULL;
}

static void *arena_take(struct engine_cpu *c, size_t n)
{
	void *p = c->arena + c->arena_used;

	c->arena_used += (n + 15) & ~(size_t)15;
	return p;
}

/* Room for a whole block with all that hangs on it */
enum {
	BLOCK_ROOM = sizeof(struct block) + (BLOCK_INSNS + 1) * sizeof(struct iop) +
		     BLOCK_INSNS * (sizeof(struct vec_op) + 32)
};

/*
 * Binds one decoded instruction. What its function wants to look at later is kept in the arena, or,
 * with scratch, in the vCPU's one place for such. True if the block ends here.
 */
static bool bind(struct engine_cpu *c, struct iop *op, const struct x86_insn *i, unsigned next_off,
	bool scratch)
{
	static const struct x86_insn undefined = {.op = X86_OP_UD};
	unsigned flags;

	memset(op, 0, sizeof *op);
	op->next_off = (uint16_t)next_off;
	if (op_is_vec(i->op)) {
		bool elements = i->op == X86_OP_GATHER || i->op == X86_OP_MASKMOV ||
				i->op == X86_OP_VMASKMOV;
		struct vec_op *vec = scratch ? c->scratch_vec : arena_take(c, sizeof *vec);

		vec->insn = *i;
		if (!elements && vec_prepare(c->vm->vec, vec, i)) {
			flags = op_bind(c, op, &undefined);
			op->len = i->len;
			return flags & BIND_ENDS;
		}
		flags = op_bind(c, op, i);
		op->vec = vec;
		return flags & BIND_ENDS;
	}
	flags = op_bind(c, op, i);
	if (flags & BIND_INSN) {
		struct x86_insn *copy = scratch ? c->scratch_insn : arena_take(c, sizeof *copy);

		*copy = *i;
		op->insn = copy;
	}
	return flags & BIND_ENDS;
}

static noreturn void raise_too_long(struct engine_cpu *c)
{
	c->op = NULL;
	raise_gp(c);
}

/* Decodes one instruction at rip into the scratch block: page crossings, single steps, device
 * memory. */
static struct block *block_one(struct engine_cpu *c, uint64_t rip, uint64_t lin)
{
	struct block *b = c->scratch;
	uint8_t bytes[15];
	struct x86_insn i;
	unsigned n;
	int len;

	c->op = NULL;
	n = mem_fetch(c, lin, bytes);
	len = x86_decode(&i, (enum x86_mode)c->mode, bytes, n);
	if (len == 0 && n < sizeof bytes) {
		uint8_t rest[15];
		uint64_t next = lin + n;
		unsigned more;

		if (c->mode != X86_MODE64)
			next = (uint32_t)next;
		more = mem_fetch(c, next, rest);
		if (more > sizeof bytes - n)
			more = (unsigned)sizeof bytes - n;
		memcpy(bytes + n, rest, more);
		len = x86_decode(&i, (enum x86_mode)c->mode, bytes, n + more);
	}
	if (len <= 0)
		raise_too_long(c);
	if (c->mode != X86_MODE64 && (rip + (unsigned)len - 1 > c->s.seg[X86_CS].limit))
		raise_gp(c);
	b->nops = 1;
	b->link[0] = b->link[1] = NULL;
	b->gpa = UINT64_MAX;
	if (!bind(c, &b->ops[0], &i, i.len, true)) {
		memset(&b->ops[1], 0, sizeof b->ops[1]);
		b->ops[1].next_off = i.len;
		op_bind_end(&b->ops[1]);
	}
	c->ndecoded++;
	return b;
}

/*
 * Decodes a block that starts at lin (offset rip in CS), whose physical address is gpa. NULL when
 * not even one instruction lies wholly in the page.
 */
static struct block *block_build(struct engine_cpu *c, uint64_t rip, uint64_t lin, uint64_t gpa)
{
	struct engine_vm *vm = c->vm;
	uint64_t page = mem_page(vm->mem, gpa), limit = c->s.seg[X86_CS].limit;
	const uint8_t *host = mem_at(vm->mem, gpa & ~0xfffull, MEM_PAGE);
	unsigned start = gpa & 0xfff, off = 0, nops = 0, span;
	uint8_t copy[BLOCK_INSNS * 5 + 15];
	struct x86_insn insn[BLOCK_INSNS];
	struct block *b;
	bool ends = false;
	uint32_t gen;

	if (c->arena_used + BLOCK_ROOM > c->vm->arena_size)
		blocks_drop(c);
	/*
	 * The generation first; then the bytes, from a copy that nobody changes; then the mark
	 * (mem.c), when it is known how much to mark; and if the bytes have changed before it
	 * stood, not this time.
	 */
	gen = __atomic_load_n(&vm->page_gen[page], __ATOMIC_SEQ_CST);
	span = (unsigned)min_u64(sizeof copy, MEM_PAGE - start);
	memcpy(copy, host + start, span);
	while (nops < BLOCK_INSNS && off < span) {
		int len = x86_decode(&insn[nops], (enum x86_mode)c->mode, copy + off, span - off);

		if (len <= 0)
			break;
		if (c->mode != X86_MODE64 && rip + off + (unsigned)len - 1 > limit)
			break;
		off += (unsigned)len;
		if (insn[nops++].attr & X86_A_BRANCH)
			break;
	}
	if (!nops)
		return NULL;
	code_page_mark(c, gpa, off);
	if (memcmp(copy, host + start, off))
		return NULL;
	b = arena_take(c, sizeof *b + (nops + 1) * sizeof(struct iop));
	off = 0;
	for (unsigned k = 0, n = nops; k < n && !ends; k++) {
		const struct x86_insn *i = &insn[k];
		struct iop *op = &b->ops[k];

		off += i->len;
		ends = bind(c, op, i, off, false);
		if (i->op == X86_OP_JCC || i->op == X86_OP_JMP || i->op == X86_OP_CALL) {
			uint64_t target = lin + off + (uint64_t)i->imm;
			bool near = (target ^ lin) >> 12 == 0 && c->mode == X86_MODE64;

			/* falling through to the next page is no link either */
			op->link = near && start + off < MEM_PAGE ? b->link : NULL;
		}
		nops = k + 1;
	}
	if (!ends) {
		memset(&b->ops[nops], 0, sizeof b->ops[nops]);
		b->ops[nops].next_off = (uint16_t)off;
		op_bind_end(&b->ops[nops]);
		b->ops[nops].link =
			start + off < MEM_PAGE && c->mode == X86_MODE64 ? b->link : NULL;
	}
	b->gpa = gpa;
	b->mode = c->mode;
	b->nops = (uint8_t)nops;
	b->gen = gen;
	b->gen_now = &vm->page_gen[page];
	b->link[0] = b->link[1] = NULL;
	b->hash_next = c->hash[hash_of(gpa)];
	c->hash[hash_of(gpa)] = b;
	c->ndecoded += nops;
	return b;
}

/* Blocks are found by physical address, whatever the limit of CS was when they were built. */
static bool in_limit(const struct engine_cpu *c, const struct block *b, uint64_t rip)
{
	return likely(c->mode == X86_MODE64) ||
	       rip + b->ops[b->nops - 1].next_off - 1 <= c->s.seg[X86_CS].limit;
}

struct block *block_find(struct engine_cpu *c, uint64_t rip)
{
	uint64_t lin, gpa;
	struct jc_entry *j;
	struct block *b;

	lin = c->mode == X86_MODE64 ? rip : (uint32_t)(rip + c->s.seg[X86_CS].base);
	j = &c->jc[(lin ^ lin >> 12) & (JC_SIZE - 1)];
	if (likely(j->va == lin && j->gen == c->jc_gen &&
		    j->mode == (c->mode | (uint32_t)c->cpl << 4) && *j->b->gen_now == j->b->gen) &&
		in_limit(c, j->b, rip))
		return j->b;
	c->op = NULL;
	if (c->mode != X86_MODE64 && rip > c->s.seg[X86_CS].limit)
		raise_gp(c);
	gpa = mem_fetch_gpa(c, lin);
	if (mem_page(c->vm->mem, gpa) == UINT64_MAX)
		return block_one(c, rip, lin);
	for (struct block **at = &c->hash[hash_of(gpa)]; (b = *at) != NULL;) {
		if (*b->gen_now != b->gen) {
			*at = b->hash_next; /* dead; code that is written again and again would leave many */
			continue;
		}
		if (b->gpa == gpa && b->mode == c->mode)
			break;
		at = &b->hash_next;
	}
	if (!b)
		b = block_build(c, rip, lin, gpa);
	if (!b || !in_limit(c, b, rip))
		return block_one(c, rip, lin);
	*j = (struct jc_entry){
		.va = lin, .b = b, .gen = c->jc_gen, .mode = c->mode | (uint32_t)c->cpl << 4};
	return b;
}

/* ---- events between blocks ---- */

/* Which exceptions make a double fault when they come while another one is delivered (SDM table
 * 6-5) */
static bool contributory(int vector)
{
	return vector == X86_DE || (vector >= X86_TS && vector <= X86_GP);
}

static void exception(struct engine_cpu *c, unsigned vector, bool has_code, uint32_t code)
{
	c->nexc++;
	if (vector == X86_DB) {
		c->s.dr7 &= ~0x2000ull;
		mmu_update(c);
	}
	c->delivering = (int)vector;
	if (vector != X86_DB && vector != X86_BP && vector != X86_OFV)
		c->s.rflags |= X86_RF; /* in the pushed image: faults restart */
	deliver(c, vector, EV_FAULT, has_code, code);
	c->delivering = -1;
}

/* A fault was raised: while running or while delivering something. */
static void fault_arrived(struct engine_cpu *c)
{
	struct fault f = c->fault;
	int first = c->delivering;

	if (c->op) {
		c->rip = op_rip(c, c->op);
		c->op = NULL;
	}
	mem_rmw_abort(c);
	c->block = NULL;
	c->single = false;
	if (f.vector == X86_PF_EXC)
		c->s.cr2 = f.cr2;
	if (first == X86_DF_EXC && (contributory(f.vector) || f.vector == X86_PF_EXC)) {
		c->delivering = -1;
		c->s.mp = X86_MP_SHUTDOWN;
		return;
	}
	if (first >= 0 && ((contributory(first) && contributory(f.vector)) ||
				  (first == X86_PF_EXC &&
					  (contributory(f.vector) || f.vector == X86_PF_EXC)))) {
		exception(c, X86_DF_EXC, true, 0);
		return;
	}
	/* real mode has no error codes */
	exception(c, f.vector, f.has_code && c->s.cr0 & X86_CR0_PE, f.code);
}

static void debug_trap(struct engine_cpu *c, uint64_t bits)
{
	c->s.dr6 = (c->s.dr6 & ~0xfull) | bits;
	if (c->s.mp == X86_MP_HALT)
		c->s.mp = X86_MP_RUN; /* a step over HLT ends the halt */
	exception(c, X86_DB, false, 0);
}

/* Instruction breakpoint at rip? Raises #DB as a fault. */
static bool exec_breakpoint(struct engine_cpu *c)
{
	uint64_t lin = c->mode == X86_MODE64 ? c->rip : (uint32_t)(c->rip + c->s.seg[X86_CS].base),
		 hit = 0;

	if (c->s.rflags & X86_RF)
		return false;
	for (unsigned i = 0; i < 4; i++)
		if (c->s.dr7 >> (2 * i) & 3 && !(c->s.dr7 >> (16 + 4 * i) & 3) && c->s.dr[i] == lin)
			hit |= 1ull << i;
	if (!hit)
		return false;
	c->s.dr6 = (c->s.dr6 & ~0xfull) | hit;
	c->nexc++;
	/* of all faults only this one saves RF clear (SDM Vol. 3A 17.3.1.1) */
	c->delivering = X86_DB;
	deliver(c, X86_DB, EV_FAULT, false, 0);
	c->delivering = -1;
	return true;
}

static void interrupt(struct engine_cpu *c, unsigned vector, enum event ev)
{
	c->s.mp = X86_MP_RUN;
	c->nirq++;
	c->delivering = 256; /* benign: a fault in here is delivered as itself */
	deliver(c, vector, ev, false, 0);
	c->delivering = -1;
}

/* True if run() should return to its caller with c->stop. */
static bool attend(struct engine_cpu *c)
{
	const struct cpu_host *h = c->vm->host;
	uint32_t a = atomic_load(&c->attention);

	if (a & ATTN_CODE)
		code_sync(c);
	if (a & ATTN_INIT) {
		atomic_fetch_and(&c->attention, ~(uint32_t)(ATTN_INIT | ATTN_NMI));
		atomic_store(&c->nmis, 0);
		x86_init(&c->s, c->id);
		c->fl = 0;
		c->rip = c->s.rip;
		c->attn_mask = ~(uint32_t)ATTN_IRQ;
		c->block = NULL;
		tlb_flush(c);
		sys_update(c);
	}
	if (a & ATTN_SIPI) {
		atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_SIPI);
		if (c->s.mp == X86_MP_WAIT_SIPI) {
			x86_sipi(&c->s, (uint8_t)atomic_load(&c->sipi_vector));
			c->rip = 0;
			sys_update(c);
		}
	}
	if (a & ATTN_KICK) {
		atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_KICK);
		c->stop = CPU_KICKED;
		return true;
	}
	if (c->s.mp == X86_MP_WAIT_SIPI || c->s.mp == X86_MP_SHUTDOWN)
		return false;
	if (a & ATTN_NMI && c->s.nmi_blocked) {
		uint32_t two = 2;

		atomic_compare_exchange_strong(&c->nmis, &two, 1); /* only one waits for the IRET */
	} else if (a & ATTN_NMI && !c->s.sti_shadow && !c->s.movss_shadow) {
		uint32_t n;

		/* the bit first: who adds one from here on sets it again */
		atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_NMI);
		n = atomic_load(&c->nmis);
		while (n && !atomic_compare_exchange_weak(&c->nmis, &n, n - 1))
			;
		if (n > 1)
			atomic_fetch_or(&c->attention, ATTN_NMI);
		if (n) {
			c->s.nmi_blocked = true;
			interrupt(c, X86_NMI, EV_INTERRUPT);
			return false;
		}
	}
	if (a & ATTN_IRQ && c->s.rflags & X86_IF && !c->s.sti_shadow && !c->s.movss_shadow) {
		int vector = h->intack(h->m, c->id);

		if (vector >= 0)
			interrupt(c, (unsigned)vector, EV_INTERRUPT);
	}
	return false;
}

/* Runs exactly one instruction with all the checks that the fast loop leaves out. */
static void step(struct engine_cpu *c)
{
	const bool shadow = c->s.sti_shadow || c->s.movss_shadow, rf = c->s.rflags & X86_RF;
	bool tf = c->s.rflags & X86_TF;
	uint64_t lin, bits = 0;
	struct block *b;

	/* MOV SS holds instruction breakpoints back on Intel's processors, not on AMD's */
	if (c->dr_exec && (!c->s.movss_shadow || c->vm->cpuid->amd) && exec_breakpoint(c))
		return;
	c->op = NULL;
	c->in_single = true;
	lin = c->mode == X86_MODE64 ? c->rip : (uint32_t)(c->rip + c->s.seg[X86_CS].base);
	if (c->mode != X86_MODE64 && c->rip > c->s.seg[X86_CS].limit)
		raise_gp(c);
	b = block_one(c, c->rip, lin);
	if (shadow)
		c->s.sti_shadow = c->s.movss_shadow = false;
	c->block = b;
	c->s.gpr[R_PC] = c->rip;
	c->ninsns++;
	b->ops[0].fn(c, b->ops);
	c->op = NULL;
	c->in_single = false;
	c->single = false;
	c->link = NULL;
	if (rf)
		c->s.rflags &= ~(uint64_t)X86_RF;
	/* they go by the TF they end with: user code that steps must not trap in the kernel's entry
	 */
	if (b->ops[0].fn == op_syscall || b->ops[0].fn == op_sysret)
		tf = c->s.rflags & X86_TF;
	if (tf && !c->s.movss_shadow && !c->no_step)
		bits |= 1 << 14;
	c->no_step = false;
	/* after MOV SS a data breakpoint waits for one more instruction, a single step is lost */
	if (c->trap_pending && !c->s.movss_shadow) {
		bits |= c->dr6_pending;
		c->trap_pending = false;
		c->dr6_pending = 0;
	}
	if (bits)
		debug_trap(c, bits);
}

static bool must_step(const struct engine_cpu *c)
{
	return c->single || c->dr_exec || c->dr_data || c->trap_pending || c->s.sti_shadow ||
	       c->s.movss_shadow || c->s.rflags & (X86_TF | X86_RF);
}

/* The block at c->rip, linked to the branch that led there. */
static struct block *block_after(struct engine_cpu *c)
{
	struct block **link = c->link, *b;
	uint64_t drops = c->ndrops;

	b = block_find(c, c->rip);
	if (link && c->ndrops == drops && b != c->scratch)
		*link = b;
	return b;
}

/* CPU is not running: true when there is nothing that could change that now. */
static bool idle(const struct engine_cpu *c)
{
	uint32_t a = atomic_load(&c->attention);

	if (c->s.mp ==
		X86_MP_HALT) /* an IRQ that attend() found no vector for is about to go away */
		return !(a & ~(uint32_t)ATTN_IRQ);
	return !(a & (ATTN_INIT | ATTN_SIPI | ATTN_KICK | ATTN_CODE));
}

bool interp_must_leave(const struct engine_cpu *c)
{
	return atomic_load_explicit(&c->attention, memory_order_relaxed) & c->attn_mask ||
	       c->s.mp != X86_MP_RUN || must_step(c);
}

enum interp_next interp_around(struct engine_cpu *c)
{
	if (unlikely(atomic_load_explicit(&c->attention, memory_order_relaxed) & c->attn_mask)) {
		if (attend(c))
			return INTERP_STOP;
		c->block = NULL;
	}
	if (unlikely(c->s.mp != X86_MP_RUN)) {
		if (c->s.mp == X86_MP_SHUTDOWN) {
			c->stop = CPU_SHUTDOWN;
			return INTERP_STOP;
		}
		if (idle(c)) {
			c->stop = CPU_HALTED;
			return INTERP_STOP;
		}
		return INTERP_AGAIN;
	}
	if (unlikely(must_step(c))) {
		step(c);
		return INTERP_AGAIN;
	}
	return INTERP_RUN;
}

void interp_one(struct engine_cpu *c)
{
	uint64_t lin = c->mode == X86_MODE64 ? c->rip : (uint32_t)(c->rip + c->s.seg[X86_CS].base);
	struct block *b;

	c->op = NULL;
	c->in_single = true;
	if (c->mode != X86_MODE64 && c->rip > c->s.seg[X86_CS].limit)
		raise_gp(c);
	b = block_one(c, c->rip, lin);
	block_run(c, b);
	c->op = NULL;
	c->in_single = false;
	c->link = NULL;
}

static void loop(struct engine_cpu *c)
{
	for (;;) {
		enum interp_next next = interp_around(c);
		struct block *b;

		if (next == INTERP_STOP)
			return;
		if (next == INTERP_AGAIN)
			continue;
		b = block_find(c, c->rip);
		for (;;) {
			block_run(c, b);
			if (unlikely(interp_must_leave(c)))
				break;
			if (c->next && *c->next->gen_now == c->next->gen) {
				b = c->next;
				continue;
			}
			b = block_after(c);
		}
	}
}

void interp_landed(struct engine_cpu *c, int why)
{
	if (why == JMP_FAULT) {
		fault_arrived(c);
	} else {
		c->rip = op_rip(c, c->op);
		c->op = NULL;
		c->single = true;
		mem_rmw_abort(c);
	}
	c->in_single = false;
}

static enum cpu_stop interp_run(struct engine_cpu *c)
{
	int why;

	atomic_store(&c->in_guest, true);
	if (atomic_load(&c->code_seen) != atomic_load(&c->vm->code_epoch))
		code_sync(c);
	/*
	 * Everything lives in *c, nothing in locals that would have to survive the jump. A fault
	 * during the delivery of a fault comes back here as well.
	 */
	why = setjmp(c->jb);
	if (why)
		interp_landed(c, why);
	loop(c);
	c->op = NULL;
	c->block = NULL;
	atomic_store(&c->in_guest, false);
	return c->stop;
}

/* ---- the engine's table ---- */

/* Reads both clocks at nearly the same time: the best of a few tries, one of which nobody
 * interrupts. */
static void clock_sample(struct engine_vm *vm)
{
	uint64_t best = UINT64_MAX;

	for (unsigned i = 0; i < 16; i++) {
		uint64_t before = __builtin_ia32_rdtsc(), ns = now_ns(),
			 after = __builtin_ia32_rdtsc();

		if (after - before < best) {
			best = after - before;
			vm->clock_tsc = before + (after - before) / 2;
			vm->clock_ns = ns;
		}
	}
}

int interp_vm_new_sized(struct engine_vm **out, size_t n, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e)
{
	struct engine_vm *vm = calloc(1, n);
	size_t gens = mem->npages * sizeof(uint32_t), lines = mem->npages * sizeof(uint64_t);

	if (!vm)
		return err_set(e, ENOMEM, "out of memory");
	vm->mem = mem;
	vm->arena_size = ARENA_SIZE;
	vm->cpuid = cpuid;
	vm->host = host;
	clock_sample(vm);
	pthread_mutex_init(&vm->code_lock, NULL);
	pthread_mutex_init(&vm->split_lock, NULL);
	vm->page_gen = mmap(NULL, gens, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	vm->page_lines = mmap(NULL, lines, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (vm->page_gen == MAP_FAILED || vm->page_lines == MAP_FAILED) {
		int code = errno;

		if (vm->page_gen != MAP_FAILED)
			munmap(vm->page_gen, gens);
		if (vm->page_lines != MAP_FAILED)
			munmap(vm->page_lines, lines);
		free(vm);
		return err_set(
			e, code, "interp: cannot map the tables of code pages: %s", strerror(code));
	}
	if (vec_new(&vm->vec, e)) {
		munmap(vm->page_gen, gens);
		munmap(vm->page_lines, lines);
		free(vm);
		return err_prefix(e, "interp");
	}
	*out = vm;
	return 0;
}

static int interp_vm_new(struct engine_vm **out, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e)
{
	return interp_vm_new_sized(out, sizeof **out, mem, cpuid, host, e);
}

void interp_vm_free(struct engine_vm *vm)
{
	if (!vm)
		return;
	vec_free(vm->vec);
	munmap(vm->page_gen, vm->mem->npages * sizeof(uint32_t));
	munmap(vm->page_lines, vm->mem->npages * sizeof(uint64_t));
	pthread_mutex_destroy(&vm->code_lock);
	pthread_mutex_destroy(&vm->split_lock);
	free(vm);
}

void interp_cpu_free(struct engine_cpu *c)
{
	if (!c)
		return;
	if (c->arena)
		munmap(c->arena, c->vm->arena_size);
	free(c->jc);
	free(c->hash);
	free(c->scratch);
	free(c->scratch_insn);
	free(c->scratch_vec);
	c->vm->cpu[c->id] = NULL;
	free(c);
}

int interp_cpu_new_sized(struct engine_cpu **out, size_t n, struct engine_vm *vm, unsigned id, struct err *e)
{
	struct engine_cpu *c;

	if (id >= ARRAY_LEN(vm->cpu))
		return err_set(e, EINVAL, "interp: at most %zu CPUs", ARRAY_LEN(vm->cpu));
	c = aligned_alloc(64, align_up(n, 64));
	if (!c)
		return err_set(e, ENOMEM, "out of memory");
	memset(c, 0, n);
	c->vm = vm;
	c->id = id;
	c->jc = calloc(JC_SIZE, sizeof *c->jc);
	c->hash = calloc(HASH_SIZE, sizeof(struct block *));
	c->scratch = calloc(1, sizeof(struct block) + 2 * sizeof(struct iop));
	c->scratch_insn = calloc(1, sizeof *c->scratch_insn);
	c->scratch_vec = calloc(1, sizeof *c->scratch_vec);
	c->arena = mmap(NULL, vm->arena_size, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->arena == MAP_FAILED)
		c->arena = NULL;
	else if (vm->arena_size == ARENA_SIZE)
		madvise(c->arena, ARENA_SIZE, MADV_HUGEPAGE); /* best effort: fewer TLB misses */
	if (!c->jc || !c->hash || !c->scratch || !c->scratch_insn || !c->scratch_vec || !c->arena) {
		interp_cpu_free(c);
		return err_set(e, ENOMEM, "interp: out of memory for CPU %u", id);
	}
	c->jc_gen = 1;
	c->delivering = -1;
	c->paging.maxphyaddr = vm->cpuid->maxphyaddr;
	x86_reset(&c->s, id);
	c->rip = c->s.rip;
	c->attn_mask = ~(uint32_t)ATTN_IRQ;
	c->tlb2_gen = 0xfff; /* no keys yet: the first flush makes them */
	vm->cpu[id] = c;
	if (id >= vm->ncpus)
		vm->ncpus = id + 1;
	tlb_flush(c);
	sys_update(c);
	*out = c;
	return 0;
}

static int interp_cpu_new(struct engine_cpu **out, struct engine_vm *vm, unsigned id, struct err *e)
{
	return interp_cpu_new_sized(out, sizeof **out, vm, id, e);
}


void interp_kick(struct engine_cpu *c)
{
	attention_set(c, ATTN_KICK);
}

void interp_irq(struct engine_cpu *c, bool pending)
{
	if (pending)
		attention_set(c, ATTN_IRQ);
	else
		atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_IRQ);
}

void interp_nmi(struct engine_cpu *c)
{
	uint32_t n = atomic_load(&c->nmis);

	while (n < 2 && !atomic_compare_exchange_weak(&c->nmis, &n, n + 1))
		;
	attention_set(c, ATTN_NMI);
}

void interp_init(struct engine_cpu *c)
{
	attention_set(c, ATTN_INIT);
}

void interp_sipi(struct engine_cpu *c, uint8_t vector)
{
	atomic_store(&c->sipi_vector, vector);
	attention_set(c, ATTN_SIPI);
}

void interp_get(struct engine_cpu *c, struct x86_state *s)
{
	*s = c->s;
	s->rflags = get_rflags(c);
	s->rip = c->rip;
	s->cr8 = c->vm->host->cr8 ? c->vm->host->cr8(c->vm->host->m, c->id) : 0;
	s->gpr[R_ZERO] = s->gpr[R_PC] = 0;
	s->nmi_pending = atomic_load(&c->attention) & ATTN_NMI;
}

int interp_set(struct engine_cpu *c, const struct x86_state *s, struct err *e)
{
	(void)e;
	c->s = *s;
	c->s.gpr[R_ZERO] = c->s.gpr[R_PC] = 0;
	c->rip = s->rip;
	set_rflags(c, s->rflags, ~0ull);
	if (s->nmi_pending)
		interp_nmi(c);
	if (c->vm->host->set_cr8)
		c->vm->host->set_cr8(c->vm->host->m, c->id, s->cr8);
	c->single = c->in_single = c->trap_pending = false;
	c->delivering = -1;
	mmu_update(c);
	if (s->cr0 & X86_CR0_PG && s->cr4 & X86_CR4_PAE && !x86_long_mode(s))
		for (unsigned i = 0; i < 4; i++)
			if (mem_get(c->vm->mem, (s->cr3 & 0xffffffe0) + 8 * i, &c->paging.pdpte[i],
				    8))
				c->paging.pdpte[i] = 0;
	tlb_flush(c);
	sys_update(c);
	return 0;
}

void interp_code_changed(struct engine_vm *vm, uint64_t gpa, uint64_t len)
{
	code_written(vm, gpa, len);
	/* what a device fills is data as a rule: the next time nobody has to ask */
	for (uint64_t at = align_up(gpa, MEM_PAGE); at + MEM_PAGE <= gpa + len; at += MEM_PAGE)
		if (mem_page(vm->mem, at) != UINT64_MAX)
			code_page_drop(vm, mem_page(vm->mem, at));
}

const char *interp_error(struct engine_cpu *c)
{
	(void)c;
	return "interp has no way to fail"; /* CPU_FAILED is not among its answers */
}

size_t interp_stats(struct engine_vm *vm, char *buf, size_t len)
{
	uint64_t insns = 0, blocks = 0, decoded = 0, flush = 0, miss = 0, irq = 0, exc = 0,
		 arena = 0, drops = 0;
	int n;

	for (unsigned i = 0; i < vm->ncpus; i++) {
		const struct engine_cpu *c = vm->cpu[i];

		if (!c)
			continue;
		insns += c->ninsns;
		blocks += c->nblocks;
		decoded += c->ndecoded;
		flush += c->nflush;
		miss += c->ntlbmiss;
		irq += c->nirq;
		exc += c->nexc;
		arena += c->arena_used;
		drops += c->ndrops;
	}
	/* the group "cache" is a translator's, which may have these lines beside its own */
	n = snprintf(buf, len,
		"interp.instructions %llu\ninterp.blocks %llu\ninterp.decoded %llu\n"
		"interp.cache_bytes %llu\ninterp.cache_flushes %llu\n"
		"interp.interrupts %llu\ninterp.exceptions %llu\n"
		"tlb.fills %llu\ntlb.flushes %llu\n",
		(unsigned long long)insns, (unsigned long long)blocks, (unsigned long long)decoded,
		(unsigned long long)arena, (unsigned long long)drops, (unsigned long long)irq,
		(unsigned long long)exc, (unsigned long long)miss, (unsigned long long)flush);
	return n < 0 ? 0 : (size_t)n < len ? (size_t)n : len ? len - 1 : 0;
}

const struct cpu_engine engine_interp = {
	.name = "interp",
	.about = "plain C interpreter: works everywhere, slow",
	.vm_new = interp_vm_new,
	.vm_free = interp_vm_free,
	.cpu_new = interp_cpu_new,
	.cpu_free = interp_cpu_free,
	.run = interp_run,
	INTERP_CALLS,
	.error = interp_error,
	.stats = interp_stats,
};
