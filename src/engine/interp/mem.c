/* SPDX-License-Identifier: MIT */
/*
 * Guest memory as interp sees it: the soft-TLB's slow side, and self-modifying code.
 *
 * The TLB has one direct-mapped table per kind of access (user, kernel, kernel with AC set). An
 * entry is filled only with what may be done without further looking: the write tag is absent while
 * the page is clean, read-only, or holds decoded code; device memory is never entered. When
 * alignment checks or data breakpoints are on, the mode is MMU_CHECKED, whose table is always
 * empty.
 *
 * Code. Each vCPU has decoded blocks of its own. For every RAM page there is a generation number,
 * and a bitmap of the 64-byte lines from which some vCPU has decoded. A block remembers the
 * generation; if it has moved on, the block is dead. Who writes to a marked line moves the
 * generation on. To have such writes noticed, a vCPU that is about to decode from a page for the
 * first time sets MEM_PG_CODE and waits until all other running vCPUs have dropped their write tags
 * (code_epoch); only then it sets MEM_PG_CODE_SYNCED and reads the bytes. In a slow store the bytes
 * are written first, then the lines are looked at, while the decoder marks the lines first, then
 * reads: one of the two sees the other.
 *
 * A store into the page of the running block asks for the instruction to be executed again alone
 * (JMP_ONE), so that the next one is looked up anew.
 *
 * The framebuffer. Whoever fills a write tag sets the page's MEM_PG_DIRTY, so a clean page is written by the slow path
 * first. interp_dirty() takes the bits away, then makes all running vCPUs drop their write tags by the same handshake: what
 * was written before that is in memory when it returns, what comes later sets the bit again.
 */
#include <errno.h>
#include <sched.h>

#include "engine/interp/interp-int.h"

enum { CODE_STORES = 16 };
static const uint64_t DIRTY_WAIT_NS = 50000000;

/* ---- flushes ---- */

/* Keys are used once; when they run out, the table is emptied. */
static uint64_t tlb2_new_key(struct engine_cpu *c)
{
	if (c->tlb2_gen >= 0xff0) {
		memset(&c->tlb2, 0xff, sizeof c->tlb2);
		c->tlb2_gen = 0;
		for (unsigned i = 0; i < TLB_SPACES; i++)
			c->space[i].pcid = -1;
		for (unsigned m = 0; m < MMU_CACHED; m++)
			c->tlb2_key[m] = (uint64_t)++c->tlb2_gen << 52;
	}
	return (uint64_t)++c->tlb2_gen << 52;
}

/* New keys for the current space; all others are forgotten. */
static void spaces_forget(struct engine_cpu *c)
{
	int pcid = c->space[c->space_now].pcid;

	for (unsigned i = 0; i < TLB_SPACES; i++)
		c->space[i].pcid = -1;
	c->tlb2_key[MMU_USER] = tlb2_new_key(c);
	c->tlb2_key[MMU_KERNEL_AC] = tlb2_new_key(c);
	c->space[c->space_now].pcid = pcid;
	memcpy(c->space[c->space_now].key, c->tlb2_key, sizeof c->tlb2_key);
}

void tlb_flush(struct engine_cpu *c)
{
	memset(c->tlb, 0xff, sizeof c->tlb);
	c->large_lo = UINT64_MAX;
	c->large_hi = 0;
	c->jc_gen++;
	c->nflush++;
	c->tlb2_key[MMU_KERNEL] = tlb2_new_key(c);
	spaces_forget(c);
	if (c->vm->hooks)
		c->vm->hooks->flush(c, true);
}

static void flush_first_level(struct engine_cpu *c)
{
	for (unsigned m = 0; m < MMU_CACHED; m++) {
		struct tlb *t = &c->tlb[m];

		for (unsigned k = 0; k < TLB_SIZE; k++) {
			uint64_t gone = t->global[k] ? 0 : TLB_NONE;

			t->rtag[k] |= gone;
			t->wtag[k] |= gone;
			t->xtag[k] |= gone;
		}
	}
	c->jc_gen++;
	c->nflush++;
	if (c->vm->hooks)
		c->vm->hooks->flush(c, false);
}

void tlb_flush_local(struct engine_cpu *c)
{
	flush_first_level(c);
	spaces_forget(c);
}

void tlb_switch(struct engine_cpu *c, unsigned pcid, bool keep)
{
	unsigned oldest = 0, i;
	struct tlb_space *s;

	flush_first_level(c);
	for (i = 0; i < TLB_SPACES && c->space[i].pcid != (int)pcid; i++)
		if (c->space[i].used < c->space[oldest].used)
			oldest = i;
	if (i == TLB_SPACES) {
		i = oldest;
		keep = false;
	}
	s = &c->space[i];
	if (!keep) {
		s->key[MMU_USER] = tlb2_new_key(c);
		s->key[MMU_KERNEL_AC] = tlb2_new_key(c);
	}
	c->tlb2_key[MMU_USER] = s->key[MMU_USER];
	c->tlb2_key[MMU_KERNEL_AC] = s->key[MMU_KERNEL_AC];
	s->pcid = (int)pcid;
	s->used = c->nflush;
	c->space_now = i;
}

static void tlb2_drop(struct engine_cpu *c, unsigned mmu, uint64_t lin)
{
	unsigned k = tlb2_index(lin, mmu);

	c->tlb2.rtag[k] = c->tlb2.wtag[k] = c->tlb2.xtag[k] = TLB_NONE;
}

static bool maybe_large(const struct engine_cpu *c, uint64_t lin)
{
	return lin >= c->large_lo && lin <= c->large_hi;
}

void tlb_flush_other(struct engine_cpu *c, unsigned pcid, uint64_t lin)
{
	if (lin != UINT64_MAX && !maybe_large(c, lin)) {
		tlb2_drop(c, MMU_USER, lin);
		tlb2_drop(c, MMU_KERNEL_AC, lin);
		return;
	}
	for (unsigned i = 0; i < TLB_SPACES; i++)
		if (c->space[i].pcid == (int)pcid)
			c->space[i].pcid = -1;
}

void tlb_flush_page(struct engine_cpu *c, uint64_t lin)
{
	if (maybe_large(c, lin)) {
		tlb_flush(c);
		return;
	}
	for (unsigned m = 0; m < MMU_CACHED; m++) {
		struct tlb *t = &c->tlb[m];
		unsigned k = tlb_index(lin);

		if (t->rtag[k] == lin >> 12 || t->wtag[k] == lin >> 12 || t->xtag[k] == lin >> 12)
			t->rtag[k] = t->wtag[k] = t->xtag[k] = TLB_NONE;
		tlb2_drop(c, m, lin);
	}
	c->jc_gen++;
	if (c->vm->hooks)
		c->vm->hooks->flush_page(c, lin);
}

void mmu_update(struct engine_cpu *c)
{
	const struct x86_state *s = &c->s;

	c->paging.cr0 = s->cr0;
	c->paging.cr3 = s->cr3;
	c->paging.cr4 = s->cr4;
	c->paging.efer = s->efer;
	c->cpl = (uint8_t)x86_cpl(s);
	c->dr_exec = c->dr_data = false;
	for (unsigned i = 0; i < 4; i++)
		if (s->dr7 >> (2 * i) & 3) {
			unsigned rw = s->dr7 >> (16 + 4 * i) & 3;

			if (rw == 0)
				c->dr_exec = true;
			else
				c->dr_data = true;
		}
	if (c->dr_data || (s->rflags & X86_AC && s->cr0 & X86_CR0_AM && c->cpl == 3) || c->traced)
		c->mmu = MMU_CHECKED;
	else if (c->cpl == 3)
		c->mmu = MMU_USER;
	else
		c->mmu =
			s->rflags & X86_AC || !(s->cr4 & X86_CR4_SMAP) ? MMU_KERNEL_AC : MMU_KERNEL;
	if (c->vm->hooks)
		c->vm->hooks->update(c);
}

static noreturn void raise_pf(struct engine_cpu *c, uint64_t lin, uint32_t code)
{
	c->fault.cr2 = lin;
	raise_fault(c, X86_PF_EXC, code);
}

static bool canonical(const struct engine_cpu *c, uint64_t lin)
{
	return !x86_long_mode(&c->s) || x86_canonical(lin);
}

static void check_canonical(struct engine_cpu *c, uint64_t lin, unsigned seg)
{
	if (canonical(c, lin))
		return;
	raise_fault(c, seg == X86_SS ? X86_SS_EXC : X86_GP, 0);
}

/* The guest's physical address of a byte of RAM; UINT64_MAX if it is none. */
static uint64_t gpa_of(const struct mem *m, const uint8_t *host)
{
	for (unsigned i = 0; i < m->nregions; i++) {
		const struct mem_region *r = &m->region[i];

		if ((uintptr_t)host - (uintptr_t)r->host < r->len)
			return r->gpa + ((uintptr_t)host - (uintptr_t)r->host);
	}
	return UINT64_MAX;
}

/* The TLB entry of lin's page, emptied if it belongs to another */
static unsigned entry_take(struct tlb *t, uint64_t lin, uint64_t addend, bool global)
{
	unsigned k = tlb_index(lin);
	uint64_t tag = lin >> 12;

	if (t->addend[k] != addend || (t->rtag[k] != tag && t->wtag[k] != tag && t->xtag[k] != tag)) {
		t->rtag[k] = t->wtag[k] = t->xtag[k] = TLB_NONE;
		t->addend[k] = addend;
	}
	t->global[k] = global;
	return k;
}

/* From the second level to the first, if it is there with this right. */
static bool second_level(struct engine_cpu *c, unsigned mmu, uint64_t lin, enum x86_access access,
	struct place *out)
{
	const struct tlb2 *s = &c->tlb2;
	unsigned k2 = tlb2_index(lin, mmu), k;
	uint64_t tag = lin >> 12 ^ c->tlb2_key[mmu];
	struct tlb *t = &c->tlb[mmu];

	if ((access == X86_READ ? s->rtag : access == X86_WRITE ? s->wtag : s->xtag)[k2] != tag)
		return false;
	k = entry_take(t, lin, s->addend[k2], mmu == MMU_KERNEL);
	if (s->rtag[k2] == tag)
		t->rtag[k] = lin >> 12;
	if (s->wtag[k2] == tag)
		t->wtag[k] = lin >> 12;
	if (s->xtag[k2] == tag)
		t->xtag[k] = lin >> 12;
	out->host = (uint8_t *)(uintptr_t)(lin + s->addend[k2]);
	out->gpa = gpa_of(c->vm->mem, out->host);
	out->page = mem_page(c->vm->mem, out->gpa);
	return true;
}

static void second_level_enter(struct engine_cpu *c, unsigned mmu, uint64_t lin, unsigned k)
{
	const struct tlb *t = &c->tlb[mmu];
	struct tlb2 *s = &c->tlb2;
	unsigned k2 = tlb2_index(lin, mmu);
	uint64_t key = c->tlb2_key[mmu];

	s->rtag[k2] = t->rtag[k] == TLB_NONE ? TLB_NONE : t->rtag[k] ^ key;
	s->wtag[k2] = t->wtag[k] == TLB_NONE ? TLB_NONE : t->wtag[k] ^ key;
	s->xtag[k2] = t->xtag[k] == TLB_NONE ? TLB_NONE : t->xtag[k] ^ key;
	s->addend[k2] = t->addend[k];
}

static uint64_t page_lines(const struct engine_vm *vm, uint64_t page)
{
	return __atomic_load_n(&vm->page_lines[page], __ATOMIC_SEQ_CST);
}

/*
 * A page whose code is all gone is a page of data again. A CPU that marks lines looks afterwards whether the page is still
 * in step (code_page_mark()), and here the lines are looked at after it is not: one of the two sees the other. Until it
 * is certain that there are no lines the page counts as one of code, so nobody gets to write there unnoticed.
 */
bool code_page_drop(struct engine_vm *vm, uint64_t page)
{
	uint8_t *bits = &vm->mem->page_bits[page];
	bool gone;

	if (!(__atomic_load_n(bits, __ATOMIC_SEQ_CST) & MEM_PG_CODE))
		return true;
	if (vm->code_stays || page_lines(vm, page) || pthread_mutex_trylock(&vm->code_lock))
		return false;
	__atomic_and_fetch(bits, (uint8_t)~MEM_PG_CODE_SYNCED, __ATOMIC_SEQ_CST);
	gone = !page_lines(vm, page);
	if (gone)
		__atomic_and_fetch(bits, (uint8_t)~MEM_PG_CODE, __ATOMIC_SEQ_CST);
	else
		__atomic_or_fetch(bits, MEM_PG_CODE_SYNCED, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&vm->code_lock);
	return gone;
}

/* Not at the first store: making it a page of code once more costs a round through all CPUs. */
static bool code_page_forget(struct engine_cpu *c, uint64_t page)
{
	return !page_lines(c->vm, page) && ++c->ncode_stores % CODE_STORES == 0 && code_page_drop(c->vm, page);
}

/*
 * Translates one byte's page for an access of the current privilege (sys: supervisor, whatever the
 * CPL) and enters what may be entered into the TLB. False: a page fault, *code is its error code.
 * An implicit supervisor access may do what the kernel may that has not set AC: it shares that table.
 */
static bool lookup(struct engine_cpu *c, uint64_t lin, enum x86_access access, bool sys, struct place *out,
	uint32_t *code)
{
	const bool user = c->cpl == 3 && !sys, smap = c->s.cr4 & X86_CR4_SMAP;
	const bool smap_ok = user || !smap || (!sys && c->cpl != 3 && c->s.rflags & X86_AC);
	const unsigned mmu = sys ? smap ? MMU_KERNEL : MMU_KERNEL_AC : c->mmu;
	struct tlb *t = &c->tlb[mmu];
	struct x86_walk w;
	struct place p;
	uint64_t tag;
	unsigned k;

	c->ntlbmiss++;
	if (mmu != MMU_CHECKED && second_level(c, mmu, lin, access, out))
		return true;
	if (x86_walk(c->vm->mem, &c->paging, lin, access, user, smap_ok, &w, code))
		return false;
	p.gpa = w.gpa;
	p.page = mem_page(c->vm->mem, w.gpa);
	if (p.page == UINT64_MAX) {
		p.host = NULL;
		*out = p;
		return true;
	}
	p.host = mem_at(c->vm->mem, w.gpa & ~0xfffull, MEM_PAGE);
	p.host += w.gpa & 0xfff;
	*out = p;
	if (w.page_size > MEM_PAGE) {
		c->large_lo = min_u64(c->large_lo, lin & ~(w.page_size - 1));
		c->large_hi = max_u64(c->large_hi, lin | (w.page_size - 1));
	}
	if (mmu == MMU_CHECKED)
		return true;
	k = entry_take(t, lin, (uintptr_t)p.host - lin, w.global);
	tag = lin >> 12;
	if (access == X86_FETCH) {
		t->xtag[k] = tag;
	} else {
		t->rtag[k] = tag;
		if (access == X86_WRITE && w.write_ok) {
			uint8_t bits = __atomic_fetch_or(
				&c->vm->mem->page_bits[p.page], MEM_PG_DIRTY, __ATOMIC_SEQ_CST);

			if (unlikely(p.page - c->vm->mem->watch_page < c->vm->mem->watch_npages) &&
				!(bits & MEM_PG_DIRTY) && c->vm->host->touched)
				c->vm->host->touched(c->vm->host->m);
			if (!(bits & MEM_PG_CODE) || code_page_forget(c, p.page))
				t->wtag[k] = tag;
		}
	}
	if (mmu != MMU_KERNEL || w.global)
		second_level_enter(c, mmu, lin, k);
	return true;
}

static struct place translate(struct engine_cpu *c, uint64_t lin, enum x86_access access, bool sys)
{
	struct place p;
	uint32_t code;

	if (!x86_long_mode(&c->s))
		lin = (uint32_t)lin;
	if (!lookup(c, lin, access, sys, &p, &code))
		raise_pf(c, lin, code);
	if (unlikely(c->traced))
		c->traced(c, &p, access);
	return p;
}

enum mem_fill mem_fill(struct engine_cpu *c, uint64_t lin, enum x86_access access, uint32_t *code)
{
	const struct tlb *t = &c->tlb[c->mmu];
	struct place p;

	if (c->mmu == MMU_CHECKED || !canonical(c, lin))
		return MEM_FILL_OTHER;
	if (!lookup(c, lin, access, false, &p, code))
		return MEM_FILL_FAULT;
	return (access == X86_WRITE ? t->wtag : t->rtag)[tlb_index(lin)] == lin >> 12 ? MEM_FILL_DONE :
		MEM_FILL_OTHER;
}

/* Data breakpoints: remembered now, delivered as a trap after the instruction. */
static void check_watch(struct engine_cpu *c, uint64_t lin, unsigned size, bool write)
{
	if (!c->dr_data)
		return;
	for (unsigned i = 0; i < 4; i++) {
		static const uint8_t lens[4] = {1, 2, 8, 4};
		unsigned rw = c->s.dr7 >> (16 + 4 * i) & 3;
		uint64_t len = lens[c->s.dr7 >> (18 + 4 * i) & 3], at = c->s.dr[i] & ~(len - 1);

		if (!(c->s.dr7 >> (2 * i) & 3) || rw == 0 || rw == 2 || (rw == 1 && !write))
			continue;
		if (lin < at + len && at < lin + size) {
			c->dr6_pending |= 1ull << i;
			c->trap_pending = true;
		}
	}
}

void mem_check_align(struct engine_cpu *c, uint64_t lin, unsigned size)
{
	if (c->mmu == MMU_CHECKED && lin & (size - 1) && c->cpl == 3 && c->s.rflags & X86_AC &&
		c->s.cr0 & X86_CR0_AM)
		raise_fault(c, X86_AC_EXC, 0);
}

/* Other vCPUs set these at any time. */
static bool page_has_code(const struct engine_vm *vm, uint64_t page)
{
	return __atomic_load_n(&vm->mem->page_bits[page], __ATOMIC_SEQ_CST) & MEM_PG_CODE;
}

static uint64_t host_read(struct engine_cpu *c, const struct place *p, unsigned size)
{
	uint64_t v = 0;

	if (!p->host)
		return c->vm->host->read(c->vm->host->m, c->id, false, p->gpa, size);
	switch (size) {
	case 1:
		return *(volatile uint8_t *)p->host;
	case 2:
		return ((volatile any_u16 *)p->host)->v;
	case 4:
		return ((volatile any_u32 *)p->host)->v;
	case 8:
		return ((volatile any_u64 *)p->host)->v;
	default:
		memcpy(&v, p->host, size & 7);
		return v;
	}
}

static void code_check(struct engine_cpu *c, const struct place *p, unsigned size)
{
	if (page_has_code(c->vm, p->page)) {
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		code_written(c->vm, p->gpa, size);
	}
}

static void host_write(struct engine_cpu *c, const struct place *p, uint64_t v, unsigned size)
{
	if (!p->host) {
		c->vm->host->write(c->vm->host->m, c->id, false, p->gpa, v, size);
		return;
	}
	switch (size) {
	case 1:
		*(volatile uint8_t *)p->host = (uint8_t)v;
		break;
	case 2:
		((volatile any_u16 *)p->host)->v = (uint16_t)v;
		break;
	case 4:
		((volatile any_u32 *)p->host)->v = (uint32_t)v;
		break;
	case 8:
		((volatile any_u64 *)p->host)->v = v;
		break;
	default:
		memcpy(p->host, &v, size & 7);
	}
	code_check(c, p, size);
}

static uint64_t lines_of(uint64_t gpa, unsigned len)
{
	unsigned first = (gpa & 0xfff) >> 6, last = ((gpa & 0xfff) + len - 1) >> 6;

	if (last > 63)
		last = 63;
	return (~0ull >> (63 - last)) & (~0ull << first);
}

/*
 * A store that hits code of the running block's page ends the block: the instruction runs again,
 * alone, and does the store then.
 */
static void code_guard(struct engine_cpu *c, const struct place *p, unsigned size)
{
	struct engine_vm *vm = c->vm;

	if (!p->host || c->in_single || !c->block || !page_has_code(vm, p->page))
		return;
	if ((p->gpa ^ c->block->gpa) >> 12 || !(page_lines(vm, p->page) & lines_of(p->gpa, size)))
		return;
	longjmp(c->jb, JMP_ONE);
}

/* The place of byte i of an access of which the first bytes lie in p[0], the rest in p[1]. */
static struct place place_at(const struct place *p, unsigned first, unsigned i)
{
	struct place b = i < first ? p[0] : p[1];
	unsigned o = i < first ? i : i - first;

	b.gpa += o;
	b.host = b.host ? b.host + o : NULL;
	return b;
}

uint64_t mem_load_slow(struct engine_cpu *c, uint64_t lin, unsigned size, unsigned seg)
{
	const unsigned first = (unsigned)min_u64(0x1000 - (lin & 0xfff), size);
	struct place p[2];
	uint64_t v = 0;

	check_canonical(c, lin, seg);
	check_canonical(c, lin + size - 1, seg);
	mem_check_align(c, lin, size);
	p[0] = translate(c, lin, X86_READ, false);
	if (first == size) {
		v = host_read(c, &p[0], size);
	} else {
		p[1] = translate(c, lin + first, X86_READ, false);
		for (unsigned i = 0; i < size; i++) {
			struct place b = place_at(p, first, i);

			v |= (host_read(c, &b, 1) & 0xff) << (8 * i);
		}
	}
	check_watch(c, lin, size, false);
	return v;
}

void mem_store_slow(struct engine_cpu *c, uint64_t lin, uint64_t v, unsigned size, unsigned seg)
{
	const unsigned first = (unsigned)min_u64(0x1000 - (lin & 0xfff), size);
	struct place p[2];

	check_canonical(c, lin, seg);
	check_canonical(c, lin + size - 1, seg);
	mem_check_align(c, lin, size);
	p[0] = translate(c, lin, X86_WRITE, false);
	if (first == size) {
		code_guard(c, &p[0], size);
		host_write(c, &p[0], v, size);
	} else {
		p[1] = translate(c, lin + first, X86_WRITE, false);
		code_guard(c, &p[0], first);
		code_guard(c, &p[1], size - first);
		for (unsigned i = 0; i < size; i++) {
			struct place b = place_at(p, first, i);

			host_write(c, &b, v >> (8 * i) & 0xff, 1);
		}
	}
	check_watch(c, lin, size, true);
}

void mem_probe_write(struct engine_cpu *c, uint64_t lin, unsigned len, unsigned seg)
{
	struct place p;

	for (unsigned done = 0; done < len;) {
		unsigned n = (unsigned)min_u64(len - done, 0x1000 - ((lin + done) & 0xfff));

		check_canonical(c, lin + done, seg);
		p = translate(c, lin + done, X86_WRITE, false);
		code_guard(c, &p, n);
		done += n;
	}
}

void mem_read_bytes(struct engine_cpu *c, uint64_t lin, void *dst, unsigned len, unsigned seg)
{
	uint8_t *d = dst;

	for (unsigned done = 0; done < len;) {
		unsigned n = (unsigned)min_u64(len - done, 0x1000 - ((lin + done) & 0xfff));
		struct place p;

		check_canonical(c, lin + done, seg);
		p = translate(c, lin + done, X86_READ, false);
		if (p.host) {
			memcpy(d + done, p.host, n);
		} else {
			for (unsigned i = 0; i < n;
				i += 4) { /* device registers are 32 bits wide */
				unsigned k = (unsigned)min_u64(4, n - i);
				struct place b = {.gpa = p.gpa + i, .page = p.page};
				uint64_t v = host_read(c, &b, k);

				memcpy(d + done + i, &v, k);
			}
		}
		check_watch(c, lin + done, n, false);
		done += n;
	}
}

void mem_write_bytes(
	struct engine_cpu *c, uint64_t lin, const void *src, unsigned len, unsigned seg)
{
	const uint8_t *s = src;

	mem_probe_write(c, lin, len, seg);
	for (unsigned done = 0; done < len;) {
		unsigned n = (unsigned)min_u64(len - done, 0x1000 - ((lin + done) & 0xfff));
		struct place p = translate(c, lin + done, X86_WRITE, false);

		if (p.host) {
			memcpy(p.host, s + done, n);
			code_check(c, &p, n);
		} else {
			for (unsigned i = 0; i < n; i += 4) {
				unsigned k = (unsigned)min_u64(4, n - i);
				struct place b = {.gpa = p.gpa + i, .page = p.page};
				uint64_t v = 0;

				memcpy(&v, s + done + i, k);
				host_write(c, &b, v, k);
			}
		}
		check_watch(c, lin + done, n, true);
		done += n;
	}
}

void *mem_rmw_slow(struct engine_cpu *c, uint64_t lin, unsigned size, unsigned seg)
{
	const unsigned first = (unsigned)min_u64(0x1000 - (lin & 0xfff), size);
	struct place *p = c->rmw_place;

	c->rmw_size = (uint8_t)size;
	c->rmw_first = (uint8_t)first;
	check_canonical(c, lin, seg);
	check_canonical(c, lin + size - 1, seg);
	mem_check_align(c, lin, size);
	p[0] = translate(c, lin, X86_WRITE, false);
	if (first < size) {
		p[1] = translate(c, lin + first, X86_WRITE, false);
		code_guard(c, &p[1], size - first);
	}
	code_guard(c, &p[0], first);
	check_watch(c, lin, size, true);
	if (first == size && p[0].host) {
		if (page_has_code(c->vm, p[0].page))
			c->rmw_kind = RMW_CODE;
		return p[0].host;
	}
	/*
	 * Two pages or a device: the operation runs on a copy. A lock makes it atomic with regard
	 * to others of its kind, which is what bus locks on real hardware are for.
	 */
	if (c->locked)
		pthread_mutex_lock(&c->vm->split_lock);
	c->rmw_kind = RMW_BOUNCE;
	if (first == size) {
		c->bounce[0] = host_read(c, &p[0], (unsigned)min_u64(size, 8));
		c->bounce[1] = 0;
	} else {
		for (unsigned i = 0; i < size; i++) {
			struct place x = place_at(p, first, i);

			((uint8_t *)c->bounce)[i] = (uint8_t)host_read(c, &x, 1);
		}
	}
	return c->bounce;
}

void mem_rmw_abort(struct engine_cpu *c)
{
	if (c->rmw_kind == RMW_BOUNCE && c->locked)
		pthread_mutex_unlock(&c->vm->split_lock);
	c->rmw_kind = RMW_NONE;
	c->locked = false;
}

void mem_rmw_finish(struct engine_cpu *c)
{
	const unsigned size = c->rmw_size, first = c->rmw_first;
	struct place *p = c->rmw_place;

	if (c->rmw_kind == RMW_CODE) {
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		code_written(c->vm, p[0].gpa, size);
	} else if (first == size) {
		host_write(c, &p[0], c->bounce[0], (unsigned)min_u64(size, 8));
	} else {
		for (unsigned i = 0; i < size; i++) {
			struct place x = place_at(p, first, i);

			host_write(c, &x, ((const uint8_t *)c->bounce)[i], 1);
		}
	}
	if (c->rmw_kind == RMW_BOUNCE && c->locked)
		pthread_mutex_unlock(&c->vm->split_lock);
	c->rmw_kind = RMW_NONE;
}

uint64_t mem_sys_load(struct engine_cpu *c, uint64_t lin, unsigned size)
{
	const struct tlb *t = &c->tlb[c->s.cr4 & X86_CR4_SMAP ? MMU_KERNEL : MMU_KERNEL_AC];
	unsigned k = tlb_index(lin);
	uint64_t v = 0;

	if (likely(t->rtag[k] == (lin + size - 1) >> 12 && !(size & (size - 1))))
		return get_size((const void *)(uintptr_t)(lin + t->addend[k]), size);

	check_canonical(c, lin, X86_DS);
	for (unsigned i = 0; i < size;) {
		struct place p = translate(c, lin + i, X86_READ, true);
		unsigned n = (unsigned)min_u64(size - i, 0x1000 - ((lin + i) & 0xfff));

		v |= host_read(c, &p, n) << (8 * i);
		i += n;
	}
	return v;
}

void mem_sys_store(struct engine_cpu *c, uint64_t lin, uint64_t v, unsigned size)
{
	const struct tlb *t = &c->tlb[c->s.cr4 & X86_CR4_SMAP ? MMU_KERNEL : MMU_KERNEL_AC];
	unsigned k = tlb_index(lin);

	if (likely(t->wtag[k] == (lin + size - 1) >> 12 && !(size & (size - 1)))) {
		put_size((void *)(uintptr_t)(lin + t->addend[k]), size, v);
		return;
	}
	check_canonical(c, lin, X86_SS);
	for (unsigned i = 0; i < size;) {
		unsigned n = (unsigned)min_u64(size - i, 0x1000 - ((lin + i) & 0xfff));

		translate(c, lin + i, X86_WRITE, true);
		i += n;
	}
	for (unsigned i = 0; i < size;) {
		struct place p = translate(c, lin + i, X86_WRITE, true);
		unsigned n = (unsigned)min_u64(size - i, 0x1000 - ((lin + i) & 0xfff));

		host_write(c, &p, v >> (8 * i), n);
		i += n;
	}
}

uint64_t mem_fetch_gpa(struct engine_cpu *c, uint64_t lin)
{
	if (c->mmu != MMU_CHECKED) {
		const struct tlb *t = &c->tlb[c->mmu];
		unsigned k = tlb_index(lin);

		if (t->xtag[k] == lin >> 12)
			return gpa_of(c->vm->mem, (const uint8_t *)(uintptr_t)(lin + t->addend[k]));
	}
	check_canonical(c, lin, X86_CS);
	return translate(c, lin, X86_FETCH, false).gpa;
}

unsigned mem_fetch(struct engine_cpu *c, uint64_t lin, uint8_t *buf)
{
	unsigned first = 0x1000 - (unsigned)(lin & 0xfff), n = (unsigned)min_u64(first, 15);
	struct place p;

	check_canonical(c, lin, X86_CS);
	p = translate(c, lin, X86_FETCH, false);
	if (p.host) {
		/* a quadword at a time: a store to one is seen whole or not at all (AMD APM Vol. 2, 7.6.1) */
		unsigned off = (unsigned)(lin & 7);
		const uint64_t *from = (const uint64_t *)(const void *)(p.host - off);
		uint64_t words[3];

		for (unsigned i = 0; 8 * i < off + n; i++)
			words[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
		memcpy(buf, (const uint8_t *)words + off, n);
		return n;
	}
	for (unsigned i = 0; i < n; i++) {
		struct place b = p;

		b.gpa += i;
		buf[i] = (uint8_t)host_read(c, &b, 1);
	}
	return n;
}

/* ---- self-modifying code ---- */

void code_written(struct engine_vm *vm, uint64_t gpa, uint64_t len)
{
	while (len) {
		uint64_t page = mem_page(vm->mem, gpa), n = min_u64(len, 0x1000 - (gpa & 0xfff));

		if (page != UINT64_MAX && page_lines(vm, page) & lines_of(gpa, (unsigned)n)) {
			/*
			 * Lines go before the generation: whoever decodes in between has marked its
			 * lines again and reads the new bytes, at worst to throw them away.
			 */
			__atomic_store_n(&vm->page_lines[page], 0, __ATOMIC_SEQ_CST);
			__atomic_add_fetch(&vm->page_gen[page], 1, __ATOMIC_SEQ_CST);
			if (vm->hooks)
				vm->hooks->code_written(vm, page);
		}
		gpa += n;
		len -= n;
	}
}

void code_sync(struct engine_cpu *c)
{
	uint64_t epoch;

	/* in this order: whoever counts the epoch up later asks again */
	atomic_fetch_and(&c->attention, ~(uint32_t)ATTN_CODE);
	epoch = atomic_load(&c->vm->code_epoch);
	for (unsigned m = 0; m < MMU_CACHED; m++)
		memset(c->tlb[m].wtag, 0xff, sizeof c->tlb[m].wtag);
	memset(c->tlb2.wtag, 0xff, sizeof c->tlb2.wtag);
	atomic_store(&c->code_seen, epoch);
}

static void wait_others(struct engine_cpu *c, uint64_t epoch)
{
	struct engine_vm *vm = c->vm;

	for (unsigned i = 0; i < vm->ncpus; i++) {
		struct engine_cpu *o = vm->cpu[i];

		if (!o || o == c)
			continue;
		attention_set(o, ATTN_CODE);
		for (unsigned spins = 0;
			atomic_load(&o->in_guest) && atomic_load(&o->code_seen) < epoch; spins++) {
			if (spins > 100)
				sched_yield();
			if (atomic_load(&c->attention) & ATTN_CODE)
				code_sync(c); /* it may be waiting for us */
		}
	}
}

/* The page's stores are noticed from here on. */
static void code_page_sync(struct engine_cpu *c, uint8_t *bits)
{
	struct engine_vm *vm = c->vm;

	/* While waiting for the lock, answer those who wait for us. */
	while (pthread_mutex_trylock(&vm->code_lock)) {
		if (atomic_load(&c->attention) & ATTN_CODE)
			code_sync(c);
		sched_yield();
	}
	if (!(__atomic_fetch_or(bits, MEM_PG_CODE, __ATOMIC_SEQ_CST) & MEM_PG_CODE_SYNCED)) {
		wait_others(c, atomic_fetch_add(&vm->code_epoch, 1) + 1);
		code_sync(c);
		__atomic_fetch_or(bits, MEM_PG_CODE_SYNCED, __ATOMIC_SEQ_CST);
	}
	pthread_mutex_unlock(&vm->code_lock);
}

int interp_dirty(struct engine_vm *vm, uint64_t *bitmap)
{
	const uint64_t first = vm->mem->watch_page, n = vm->mem->watch_npages;
	const uint64_t deadline = now_ns() + DIRTY_WAIT_NS;
	bool any = false, all = true;
	uint64_t epoch;

	for (uint64_t i = 0; i < n; i++) {
		uint8_t *bits = &vm->mem->page_bits[first + i];

		if (__atomic_load_n(bits, __ATOMIC_RELAXED) & MEM_PG_DIRTY &&
			__atomic_fetch_and(bits, (uint8_t)~MEM_PG_DIRTY, __ATOMIC_SEQ_CST) & MEM_PG_DIRTY) {
			bitmap[i / 64] |= 1ull << i % 64;
			any = true;
		}
	}
	if (!any)
		return 0;
	epoch = atomic_fetch_add(&vm->code_epoch, 1) + 1;
	for (unsigned i = 0; i < vm->ncpus; i++)
		if (vm->cpu[i])
			attention_set(vm->cpu[i], ATTN_CODE);
	for (unsigned i = 0; i < vm->ncpus && all; i++) {
		struct engine_cpu *o = vm->cpu[i];

		while (o && atomic_load(&o->in_guest) && atomic_load(&o->code_seen) < epoch && all) {
			sched_yield();
			all = now_ns() < deadline;
		}
	}
	if (all)
		return 0;
	/* one of them hangs in a device: it may write on unnoticed, so its pages count as written until it has answered */
	for (uint64_t i = 0; i < n; i++)
		if (bitmap[i / 64] >> i % 64 & 1)
			__atomic_or_fetch(&vm->mem->page_bits[first + i], MEM_PG_DIRTY, __ATOMIC_SEQ_CST);
	return -EAGAIN;
}

void code_page_mark(struct engine_cpu *c, uint64_t gpa, unsigned len)
{
	struct engine_vm *vm = c->vm;
	uint8_t *bits = &vm->mem->page_bits[mem_page(vm->mem, gpa)];

	do {
		if (!(__atomic_load_n(bits, __ATOMIC_SEQ_CST) & MEM_PG_CODE_SYNCED))
			code_page_sync(c, bits);
		code_lines_mark(vm, gpa, len);
		/* unless it has become a page of data in between: see code_page_forget() */
	} while (!(__atomic_load_n(bits, __ATOMIC_SEQ_CST) & MEM_PG_CODE_SYNCED));
}

void code_lines_mark(struct engine_vm *vm, uint64_t gpa, unsigned len)
{
	__atomic_fetch_or(&vm->page_lines[mem_page(vm->mem, gpa)], lines_of(gpa, len), __ATOMIC_SEQ_CST);
}
