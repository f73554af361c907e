/* SPDX-License-Identifier: MIT */
/*
 * bt: the binary translator. It is interp with a fast lane.
 *
 * Code is interpreted first; what is executed again is translated (translate.c) and from then on entered
 * whenever RIP is there. Translated code stays among itself - linked blocks, jump cache - and comes out
 *   - to have interp execute one instruction, or to have the TLB filled: bt_c_call(), bt_c_mem();
 *   - to find a block: bt_c_link(), bt_c_ind();
 *   - because of an event: cpu.poll, or a block that is stale: bt_c_leave().
 * State that is no plain computation (segments, control registers, exceptions, events) is interp's alone: the
 * struct is the same, so are its functions, and a fault in any of them jumps to bt_run() as it would
 * to interp_run().
 *
 * Which translations fit the CPU's state is told by a key (BT_KEY_*), kept up to date by interp's hooks.
 * Modes other than 64-bit, debug registers, single steps, alignment checks: interp.
 *
 * IF changes in translated code without a word to anybody; attn_mask is made right whenever C is entered.
 */
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "base/log.h"
#include "engine/bt/bt-int.h"
#include "engine/bt/bt.h"

enum { SPAN = 480 };

#define XPAGE_MANY UINT64_MAX

#define MXCSR_MASKS 0x1f80u
#define FCW_MASKS 0x3fu

/* How many bytes from gpa on a translation may look at */
static unsigned span_at(uint64_t gpa)
{
	return (unsigned)min_u64(SPAN, MEM_PAGE - (gpa & 0xfff));
}

/* ---- what a translation depends on ---- */

static unsigned key_of(const struct engine_cpu *c)
{
	unsigned key;

	if (c->mode != X86_MODE64 || c->mmu >= MMU_CACHED || (c->cpl != 0) != (c->mmu == MMU_USER) ||
		(c->cpl != 0 && c->cpl != 3))
		return BT_KEY_NONE;
	key = c->mmu;
	if (c->vec_ok && !(c->s.cr0 & X86_CR0_TS) &&
		(c->s.fpu.mxcsr & MXCSR_MASKS) == MXCSR_MASKS) {
		key |= BT_KEY_VEC;
		if (c->avx_ok)
			key |= BT_KEY_AVX;
	}
	if (!(c->s.cr0 & (X86_CR0_EM | X86_CR0_TS)) && (c->s.fpu.fcw & FCW_MASKS) == FCW_MASKS)
		key |= BT_KEY_X87;
	if (c->s.cr4 & X86_CR4_TSD)
		key |= BT_KEY_TSD;
	return key;
}

static void jc_forget(struct bt_cpu *b, unsigned mode)
{
	if (b->jc_gen == BT_JC - 1)
		bt_jc_clear(b);
	b->jc_key[mode] = ++b->jc_gen;
}

static void hook_flush(struct engine_cpu *c, bool all)
{
	struct bt_cpu *b = bt_cpu(c);

	for (unsigned m = 0; m < MMU_CACHED; m++) {
		if (!all && !b->local[m])
			continue;
		jc_forget(b, m);
		memset(b->xid[m], 0, sizeof b->xid[m]);
		b->local[m] = false;
		b->halves[m] = 0;
	}
}

/*
 * Whoever is in the jump cache has set its page's XID: without one there is nothing to forget. Two pages that
 * share a place in that table are not told apart any more (XPAGE_MANY).
 */
static void hook_flush_page(struct engine_cpu *c, uint64_t lin)
{
	struct bt_cpu *b = bt_cpu(c);
	unsigned k = bt_xid_index(lin);

	for (unsigned m = 0; m < MMU_CACHED; m++)
		if (b->halves[m] >> (lin >> 63) & 1 && b->xid[m][k] &&
			(b->xpage[m][k] == lin >> 12 || b->xpage[m][k] == XPAGE_MANY)) {
			jc_forget(b, m);
			b->xid[m][k] = 0;
		}
}

static void xid_enter(struct bt_cpu *b, unsigned mmu, uint64_t va, uint32_t xid)
{
	unsigned k = bt_xid_index(va);

	b->xpage[mmu][k] = !b->xid[mmu][k] || b->xpage[mmu][k] == va >> 12 ? va >> 12 : XPAGE_MANY;
	b->xid[mmu][k] = xid;
	b->halves[mmu] |= (uint8_t)(1u << (va >> 63));
	if (!b->cpu.tlb[mmu].global[tlb_index(va)])
		b->local[mmu] = true;
}

/* jc holds blocks of one key per MMU mode. */
static void key_update(struct bt_cpu *b)
{
	unsigned key = key_of(&b->cpu);

	if ((key ^ b->key) & ~(unsigned)BT_KEY_MMU && key != BT_KEY_NONE && key >> 2 != b->key_others) {
		b->key_others = (uint8_t)(key >> 2);
		for (unsigned m = 0; m < MMU_CACHED; m++)
			jc_forget(b, m);
	}
	b->key = (uint8_t)key;
}

static void hook_update(struct engine_cpu *c)
{
	key_update(bt_cpu(c));
}

static const struct interp_hooks hooks = {hook_flush, hook_flush_page, hook_update, bt_code_written};

/* ---- finding blocks ---- */

static void attn_sync(struct engine_cpu *c)
{
	c->attn_mask = c->s.rflags & X86_IF ? ~0u : ~(uint32_t)ATTN_IRQ;
}

/* See attention_set(). */
static void poll_reset(struct engine_cpu *c)
{
	if (!atomic_load_explicit(&c->poll, memory_order_relaxed))
		return;
	atomic_exchange(&c->poll, 0);
	if (atomic_load(&c->attention) & c->attn_mask)
		atomic_store(&c->poll, 1);
}

static void jc_enter(struct bt_cpu *b, const struct bt_block *blk)
{
	unsigned k = bt_jc_index(blk->va), m = blk->key & BT_KEY_MMU;

	b->jc_va[k] = blk->va ^ b->jc_key[m];
	b->jc_code[k] = bt_vm(b->cpu.vm)->check ? blk->check_exit : blk->code;
	xid_enter(b, m, blk->va, blk->xid);
	if (blk->gpa2)
		xid_enter(b, m, (blk->va | 0xfff) + 1, blk->xid2);
}

/* The translation of the code at c->rip; NULL: none, or none for this state. May raise the fetch's fault. */
static struct bt_block *find(struct bt_cpu *b)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_vm *v = bt_vm(c->vm);
	struct bt_block *blk;
	uint64_t gpa, gpa2;

	key_update(b);
	if (b->key == BT_KEY_NONE)
		return NULL;
	c->op = NULL;
	gpa = mem_fetch_gpa(c, c->rip);
	if (mem_page(c->vm->mem, gpa) == UINT64_MAX)
		return NULL;
	blk = bt_lookup(v, gpa, 0, c->rip, b->key);
	if (blk && blk->gpa2) {
		gpa2 = mem_fetch_gpa(c, (c->rip | 0xfff) + 1);
		if (gpa2 != blk->gpa2) /* there may be one for this second page, too */
			blk = bt_lookup(v, gpa, gpa2, c->rip, b->key);
	}
	if (blk)
		jc_enter(b, blk);
	return blk;
}

static void *next(struct bt_cpu *b, struct bt_block **found)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_block *blk;

	attn_sync(c);
	c->op = NULL;
	if (unlikely(bt_vm(c->vm)->check)) {
		bt_check_gone(b, false);
		return NULL;
	}
	if (unlikely(bt_vm(c->vm)->hostile))
		bt_hostile_exit(b);
	if (interp_must_leave(c))
		return NULL;
	poll_reset(c);
	blk = find(b);
	if (found)
		*found = blk;
	return blk ? blk->code : NULL;
}

/* ---- called from translated code ---- */

/* May execution go on in the middle of this block? */
static bool still_good(struct bt_cpu *b, const struct bt_block *blk)
{
	attn_sync(&b->cpu);
	key_update(b);
	return b->key == (blk->key & ~(unsigned)BT_KEY_NARROW) && !atomic_load_explicit(&blk->stale, memory_order_relaxed) &&
	       !interp_must_leave(&b->cpu);
}

/* Grows with each write to code in the pages of gpa and, unless 0, gpa2. */
static uint32_t code_gens(const struct engine_vm *vm, uint64_t gpa, uint64_t gpa2)
{
	uint32_t n = __atomic_load_n(&vm->page_gen[mem_page(vm->mem, gpa)], __ATOMIC_SEQ_CST);

	return gpa2 ? n + __atomic_load_n(&vm->page_gen[mem_page(vm->mem, gpa2)], __ATOMIC_SEQ_CST) : n;
}

/*
 * The translation of the code at va, whose bytes are at gpa, made if there is none; gpa2: see bt_translate().
 * There must be room for it. NULL: not now.
 */
static struct bt_block *translation(struct bt_cpu *b, uint64_t va, uint64_t gpa, uint64_t gpa2, unsigned key)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_vm *v = bt_vm(c->vm);
	unsigned span = span_at(gpa);
	uint32_t gens = code_gens(c->vm, gpa, gpa2);
	struct bt_block *blk = NULL;

	/* may wait for other CPUs: before the lock */
	code_page_mark(c, gpa, span);
	if (gpa2)
		code_page_mark(c, gpa2, 15);
	pthread_mutex_lock(&v->lock);
	/*
	 * Who has written there in between may have taken our marks away with the older ones (code_written()); who
	 * does from here on finds the block when he gets the lock.
	 */
	if (gens == code_gens(c->vm, gpa, gpa2)) {
		blk = bt_lookup(v, gpa, gpa2, va, key);
		if (!blk)
			blk = bt_translate(b, va, gpa, gpa2, key, span);
	}
	pthread_mutex_unlock(&v->lock);
	return blk;
}

/* A check for many accesses has failed at c->rip: on to a block that checks one by one. */
static void *narrow(struct bt_cpu *b, const struct bt_block *blk, const struct bt_site *s)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);
	uint64_t gpa = blk->gpa + s->off, va = blk->va + s->off;
	const unsigned key = blk->key | BT_KEY_NARROW;
	struct bt_block *n;

	if (!still_good(b, blk))
		return NULL;
	n = bt_lookup(v, gpa, 0, va, key);
	if (!n && !bt_cache_low(v))
		n = translation(b, va, gpa, 0, key);
	if (!n)
		return NULL;
	if (unlikely(v->check))
		bt_check_move(b, n, va);
	b->regs_want = 0;
	return n->code;
}

void *bt_c_mem(struct bt_cpu *b, uint64_t lin, uint32_t site)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_vm *v = bt_vm(c->vm);
	const struct bt_site *s = &v->sites[site];
	const struct bt_block *blk = &v->blocks[s->block];
	enum mem_fill fill = MEM_FILL_OTHER;
	uint32_t error = 0;

	if (s->size && (lin & 0xfff) + s->size <= 0x1000)
		fill = mem_fill(c, lin, s->write ? X86_WRITE : X86_READ, &error);
	if (fill == MEM_FILL_DONE) {
		b->nexit[BT_EXIT_FILL]++;
		if (unlikely(v->hostile))
			bt_hostile_exit(b);
		b->regs_want = s->regs;
		return v->rx + s->retry;
	}
	if (fill == MEM_FILL_FAULT && !s->wide && s->size <= 8 && !v->check) {
		/* nobody has to execute the instruction to find out. Larger: elements may be masked */
		b->nexit[BT_EXIT_MEM]++;
		attn_sync(c);
		c->rip = blk->va + s->off;
		c->op = NULL;
		c->block = NULL;
		c->fault.cr2 = lin;
		raise_fault(c, X86_PF_EXC, error);
	}
	if (s->string)
		return bt_c_call(b, 0, s->resume);
	b->nexit[BT_EXIT_MEM]++;
	attn_sync(c);
	c->rip = blk->va + s->off;
	if (s->wide) {
		void *code = narrow(b, blk, s);

		if (code)
			return code;
	}
	if (unlikely(v->check))
		bt_check_at(b, c->rip);
	interp_one(c);
	if (s->resume && c->rip == blk->va + s->off + s->len && still_good(b, blk)) {
		if (unlikely(v->check))
			bt_check_open(b, blk, c->rip);
		b->regs_want = s->regs;
		return v->rx + s->resume;
	}
	return next(b, NULL);
}

void *bt_c_call(struct bt_cpu *b, uint64_t unused, uint32_t call)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_vm *v = bt_vm(c->vm);
	const struct bt_call *k = v->calls[call];

	(void)unused;
	b->nexit[BT_EXIT_CALL]++;
	b->nsens[k->op_kind]++;
	attn_sync(c);
	b->guard->gpa = k->block->gpa;
	c->block = b->guard;
	c->s.gpr[R_PC] = k->block->va;
	c->op = NULL;
	if (unlikely(v->check))
		bt_check_at(b, op_rip(c, k->op));
	if (!k->op[0].fn(c, k->op))
		return next(b, NULL);
	if (k->resume && still_good(b, k->block)) {
		if (unlikely(v->check))
			bt_check_open(b, k->block, k->block->va + k->op[0].next_off);
		b->regs_want = k->regs;
		return v->rx + k->resume;
	}
	c->rip = k->block->va + k->op[0].next_off;
	return next(b, NULL);
}

void *bt_c_link(struct bt_cpu *b, uint64_t unused, uint32_t link)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);
	struct bt_block *blk = NULL;
	void *code;

	(void)unused;
	b->nexit[BT_EXIT_LINK]++;
	b->cpu.rip = v->links[link].target;
	if (unlikely(v->check))
		bt_check_gone(b, true);
	code = next(b, &blk);
	if (code && !pthread_mutex_trylock(&v->lock)) {
		if (!atomic_load(&blk->stale))
			bt_link_to(v, link, blk);
		pthread_mutex_unlock(&v->lock);
	}
	return code;
}

void *bt_c_ind(struct bt_cpu *b, uint64_t target, uint32_t site)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_vm *v = bt_vm(c->vm);
	const struct bt_site *s = &v->sites[site];

	b->nexit[BT_EXIT_IND]++;
	if (unlikely(!x86_canonical(target))) {
		/* the fault is the branch's: undo it, and have interp find out */
		c->s.gpr[X86_RSP] -= (uint64_t)(int64_t)s->rsp;
		c->rip = v->blocks[s->block].va + s->off;
		attn_sync(c);
		if (unlikely(v->check))
			bt_check_at(b, c->rip);
		interp_one(c);
		return next(b, NULL);
	}
	if (s->call) {
		static const struct iop push = {.seg = X86_SS};

		c->rip = c->s.gpr[R_PC] = v->blocks[s->block].va + s->off;
		c->block = NULL; /* the block is left anyway */
		if (unlikely(v->check))
			bt_check_at(b, c->rip);
		mem_st64(c, &push, c->s.gpr[X86_RSP] - 8, c->rip + s->len);
		c->s.gpr[X86_RSP] -= 8;
	}
	c->rip = target;
	if (unlikely(v->check))
		bt_check_gone(b, true);
	return next(b, NULL);
}

void *bt_c_leave(struct bt_cpu *b, uint64_t rip, uint32_t unused)
{
	(void)unused;
	b->nexit[BT_EXIT_LEAVE]++;
	b->cpu.rip = rip;
	return next(b, NULL);
}

/* ---- the loop ---- */

/* The block at c->rip has been executed often enough. False: no translation of it now. */
static bool translate(struct bt_cpu *b, uint64_t gpa, uint64_t gpa2)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);

	if (bt_cache_low(v) || (v->check && bt_check_low(b))) {
		bt_cache_flush(b);
		return true;
	}
	return translation(b, b->cpu.rip, gpa, gpa2, b->key);
}

/* c->scratch holds one instruction, which interp has decoded from where it lies. Does it cross a page? */
static bool translate_crossing(struct bt_cpu *b)
{
	struct engine_cpu *c = &b->cpu;
	uint64_t gpa, gpa2;

	if (c->scratch->ops[0].len <= 0x1000 - (c->rip & 0xfff) || !x86_canonical((c->rip | 0xfff) + 1))
		return false;
	gpa = mem_fetch_gpa(c, c->rip);
	gpa2 = mem_fetch_gpa(c, (c->rip | 0xfff) + 1);
	if (mem_page(c->vm->mem, gpa) == UINT64_MAX || mem_page(c->vm->mem, gpa2) == UINT64_MAX ||
		!gpa2)
		return false;
	return translate(b, gpa, gpa2);
}

/* Waits outside of translated code while somebody empties the cache. */
static void come_in(struct bt_cpu *b)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);

	for (;;) {
		atomic_store(&b->in_code, true);
		if (!atomic_load(&v->flushing))
			break;
		atomic_store(&b->in_code, false);
		if (atomic_load(&b->cpu.attention) & ATTN_CODE)
			code_sync(&b->cpu);
		sched_yield();
	}
	if (b->flush_seen != atomic_load(&v->flush_gen))
		bt_flush_seen(b);
}

static void loop(struct bt_cpu *b)
{
	struct engine_cpu *c = &b->cpu;
	struct bt_vm *v = bt_vm(c->vm);

	for (;;) {
		enum interp_next what;
		struct block *cold;
		struct bt_block *blk;

		atomic_store_explicit(&b->in_code, false, memory_order_release);
		attn_sync(c);
		what = interp_around(c);
		if (what == INTERP_STOP)
			return;
		if (what == INTERP_AGAIN)
			continue;
		come_in(b);
		poll_reset(c);
		if (unlikely(b->shake))
			bt_shake(b);
		blk = find(b);
		if (blk) {
			if (unlikely(v->check))
				bt_check_open(b, blk, c->rip);
			v->enter(b, blk->code);
			continue;
		}
		b->nexit[BT_EXIT_COLD]++;
		cold = block_find(c, c->rip);
		if (b->key != BT_KEY_NONE && cold != c->scratch && ++cold->hits >= v->hot) {
			cold->hits = 0;
			if (translate(b, cold->gpa, 0))
				continue;
		}
		if (b->key != BT_KEY_NONE && cold == c->scratch && translate_crossing(b))
			continue;
		bt_cold_run(b, cold);
	}
}

/* GS points to the vCPU: for this thread, and as long as run() lasts. */
static void gs_set(void *p)
{
	if (getauxval(AT_HWCAP2) & 2)
		__asm__ volatile("wrgsbase %0" : : "r"(p));
	else
		syscall(SYS_arch_prctl, ARCH_SET_GS, p);
}

enum cpu_stop bt_run(struct engine_cpu *c)
{
	struct bt_cpu *b = bt_cpu(c);
	int why;

	gs_set(b);
	b->run_began = __builtin_ia32_rdtsc();
	atomic_store(&c->in_guest, true);
	if (atomic_load(&c->code_seen) != atomic_load(&c->vm->code_epoch))
		code_sync(c);
	/* As in interp_run(). Vector registers are in memory whenever C runs. */
	why = setjmp(c->jb);
	if (unlikely(bt_vm(c->vm)->check && why))
		why = bt_check_landed(b, why);
	if (why && why != JMP_STOP)
		interp_landed(c, why);
	if (why != JMP_STOP)
		loop(b);
	c->op = NULL;
	c->block = NULL;
	atomic_store(&b->in_code, false);
	atomic_store(&c->in_guest, false);
	b->ticks_run += __builtin_ia32_rdtsc() - b->run_began;
	b->run_began = 0;
	return c->stop;
}

/* ---- the engine's table ---- */

/* What emitted code uses, and what is copied without asking */
bool bt_host_fits(void)
{
	unsigned a, b, c, d, b7 = 0, c7;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_POPCNT) || !(c & bit_MOVBE) || !(c & bit_SSE4_2))
		return false;
	if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d) || !(b7 & bit_BMI) || !(b7 & bit_BMI2))
		return false;
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && c & bit_LAHF_LM && c & bit_LZCNT;
}

void bt_vm_free(struct engine_vm *vm)
{
	if (!vm)
		return;
	bt_cache_free(bt_vm(vm));
	interp_vm_free(vm);
}

int bt_vm_new(struct engine_vm **out, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e)
{
	unsigned a, b7 = 0, c7, d;
	struct engine_vm *vm;
	int rc;

	if (!bt_host_fits())
		return err_set(e, ENOTSUP,
			"bt: this CPU lacks BMI1, BMI2, LZCNT, MOVBE or POPCNT (all have them since about 2015); "
			"use --engine interp");
	rc = interp_vm_new_sized(&vm, sizeof(struct bt_vm), mem, cpuid, host, e);
	if (rc)
		return rc;
	rc = bt_cache_new(bt_vm(vm), e);
	if (rc) {
		interp_vm_free(vm);
		return rc;
	}
	__get_cpuid_count(7, 0, &a, &b7, &c7, &d);
	bt_vm(vm)->adx = b7 & bit_ADX;
	bt_options(bt_vm(vm));
	vm->hooks = &hooks;
	vm->arena_size = 4 << 20; /* cold code only */
	*out = vm;
	return 0;
}

void bt_cpu_free(struct engine_cpu *c)
{
	if (!c)
		return;
	free(bt_cpu(c)->guard);
	interp_cpu_free(c);
}

int bt_cpu_new(struct engine_cpu **out, struct engine_vm *vm, unsigned id, struct err *e)
{
	struct engine_cpu *c;
	struct bt_cpu *b;
	int rc = interp_cpu_new_sized(&c, sizeof(struct bt_cpu), vm, id, e);

	if (rc)
		return rc;
	b = bt_cpu(c);
	b->self = c;
	b->host_mxcsr = _mm_getcsr();
	b->guard = calloc(1, sizeof(struct block));
	if (!b->guard) {
		bt_cpu_free(c);
		return err_set(e, ENOMEM, "bt: out of memory for CPU %u", id);
	}
	bt_flush_seen(b);
	*out = c;
	return 0;
}

const struct cpu_engine engine_bt = {
	.name = "bt",
	.about = "binary translator: runs guest code natively, without a kernel module",
	.vm_new = bt_vm_new,
	.vm_free = bt_vm_free,
	.cpu_new = bt_cpu_new,
	.cpu_free = bt_cpu_free,
	.run = bt_run,
	INTERP_CALLS,
	.error = interp_error,
	.stats = bt_stats,
};
