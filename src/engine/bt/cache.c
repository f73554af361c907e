/* SPDX-License-Identifier: MIT */
/*
 * The code cache: one for all vCPUs of a machine, and what belongs to it.
 *
 * Blocks are found by physical address, virtual address and key in a hash table that is read without a lock: a
 * block is published by one store, and neither it nor its code changes its place or is used for something else
 * before all is flushed. A block dies when its bytes change: it is marked stale, and its first
 * instruction, a NOP of five bytes made for this, becomes a jump that leaves translated code; so
 * links to it need not be known. It goes out of the table and of its page's list, so that both are
 * no longer for code that is written again and again; who stands on it finds on from there. All of these
 * are single stores of at most 8 bytes within a cache line.
 *
 * Links. A direct branch inside a page is patched to jump to its target: both live in the same page
 * under the same key, and die by the same write. Across pages the branch compares the XID first: a
 * number that stands for one pair of virtual and physical page. A vCPU has a table of the XIDs that it may
 * execute now, by virtual page; it dies with the TLB. A page whose code has been written gets a new XID with
 * its first new block, which leads links to the old ones back to C. There they are made anew if it is the
 * same RAM page: so whoever is between the comparison and the jump meanwhile goes to the right place, too.
 *
 * Flush. When there is no more room, the vCPU that wants to translate asks all others to leave
 * translated code (in_code), and begins again with an empty cache. All jump caches and XID tables die by
 * flush_gen. This is also how a hostile mode shakes things up.
 */
#include <errno.h>
#include <stdlib.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/bt/bt-int.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010u
#endif

enum { ARENA = 256 << 20, BLOCK_ROOM = 64 << 10 };

static unsigned hash_of(uint64_t gpa, uint64_t va, unsigned key)
{
	return (unsigned)(gpa ^ gpa >> 16 ^ va >> 12 ^ key << 11) & (BT_HASH - 1);
}

static void *map_table(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t page_table_size(const struct bt_vm *v)
{
	return v->vm.mem->npages * sizeof(struct bt_block *);
}

void bt_cache_free(struct bt_vm *v)
{
	if (v->rw)
		munmap(v->rw, BT_CACHE);
	if (v->rx)
		munmap(v->rx, BT_CACHE);
	if (v->hash)
		munmap(v->hash, BT_HASH * sizeof *v->hash);
	if (v->page_blocks)
		munmap(v->page_blocks, page_table_size(v));
	if (v->blocks)
		munmap(v->blocks, BT_BLOCKS * sizeof *v->blocks);
	if (v->sites)
		munmap(v->sites, BT_SITES * sizeof *v->sites);
	if (v->links)
		munmap(v->links, BT_LINKS * sizeof *v->links);
	if (v->calls)
		munmap(v->calls, BT_SITES * sizeof *v->calls);
	if (v->arena)
		munmap(v->arena, ARENA);
	free(v->verifier);
	pthread_mutex_destroy(&v->lock);
}

int bt_cache_new(struct bt_vm *v, struct err *e)
{
	struct emit em;
	int fd, code;

	pthread_mutex_init(&v->lock, NULL);
	fd = memfd_create("husk-code", MFD_CLOEXEC | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3 */
		fd = memfd_create("husk-code", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, BT_CACHE)) {
		code = errno;
		if (fd >= 0)
			close(fd);
		bt_cache_free(v);
		return err_set(e, code, "bt: no memory file for translated code: %s", strerror(code));
	}
	/* Two mappings far from each other: none is writable and executable */
	v->rw = mmap(NULL, BT_CACHE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	code = errno;
	v->rx = mmap(NULL, BT_CACHE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (v->rw != MAP_FAILED)
		code = errno;
	close(fd);
	if (v->rw == MAP_FAILED || v->rx == MAP_FAILED) {
		if (v->rw == MAP_FAILED)
			v->rw = NULL;
		if (v->rx == MAP_FAILED)
			v->rx = NULL;
		bt_cache_free(v);
		return err_set(e, code, "bt: the host refuses executable memory: %s", strerror(code));
	}
	v->hash = map_table(BT_HASH * sizeof *v->hash);
	v->page_blocks = map_table(page_table_size(v));
	v->blocks = map_table(BT_BLOCKS * sizeof *v->blocks);
	v->sites = map_table(BT_SITES * sizeof *v->sites);
	v->links = map_table(BT_LINKS * sizeof *v->links);
	v->calls = map_table(BT_SITES * sizeof *v->calls);
	v->arena = map_table(ARENA);
	if (!v->hash || !v->page_blocks || !v->blocks || !v->sites || !v->links || !v->calls || !v->arena) {
		bt_cache_free(v);
		return err_set(e, ENOMEM, "bt: no address space for the tables of the code cache");
	}
	em = (struct emit){.p = v->rw, .end = v->rw + 65536};
	bt_glue(v, &em);
	v->used = v->glue = align_up((size_t)(em.p - v->rw), 64);
	v->nblocks = v->nsites = v->nlinks = v->ncalls = 1; /* 0 is none */
	v->xids = 1;
	atomic_store(&v->flush_gen, 1);
	return 0;
}

void *bt_arena_take(struct bt_vm *v, size_t n)
{
	void *p = v->arena + v->arena_used;

	v->arena_used += (n + 15) & ~(size_t)15;
	return p;
}

bool bt_cache_low(const struct bt_vm *v)
{
	return v->used + BLOCK_ROOM > BT_CACHE || v->nblocks + 2 >= BT_BLOCKS ||
	       v->nsites + 4 * BT_BLOCK_INSNS > BT_SITES || v->nlinks + 4 * BT_BLOCK_INSNS > BT_LINKS ||
	       v->ncalls + 2 * BT_BLOCK_INSNS > BT_SITES || v->arena_used + BLOCK_ROOM > ARENA;
}

struct bt_block *bt_lookup(struct bt_vm *v, uint64_t gpa, uint64_t gpa2, uint64_t va, unsigned key)
{
	struct bt_block *b = __atomic_load_n(&v->hash[hash_of(gpa, va, key)], __ATOMIC_ACQUIRE);

	for (; b; b = __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE))
		if (b->gpa == gpa && b->va == va && b->key == key && (!gpa2 || b->gpa2 == gpa2) &&
			!atomic_load_explicit(&b->stale, memory_order_relaxed))
			return b;
	return NULL;
}

/* The NOP at a block's entry becomes a jump. It is aligned to 16: one store. */
static void entry_jump(struct bt_block *b, const uint8_t *target)
{
	uint64_t insn;
	int32_t d = (int32_t)(target - (b->entry + 5));
	uint8_t bytes[8];

	memcpy(bytes, b->entry, 8);
	bytes[0] = 0xe9;
	memcpy(bytes + 1, &d, 4);
	memcpy(&insn, bytes, 8);
	__atomic_store_n((uint64_t *)(void *)b->entry, insn, __ATOMIC_RELEASE);
}

/* The number that stands for the virtual page of va on this RAM page */
static uint32_t xid_of(struct bt_vm *v, uint64_t page, uint64_t va)
{
	for (const struct bt_block *o = v->page_blocks[page]; o; o = o->page_next)
		if ((o->va ^ va) >> 12 == 0)
			return o->xid;
	return v->xids++;
}

void bt_mark_second(struct bt_vm *v, struct bt_block *b)
{
	struct bt_block *mark = &v->blocks[v->nblocks + 1];
	uint64_t page = mem_page(v->vm.mem, b->gpa2);

	*mark = (struct bt_block){.va = (b->va | 0xfff) + 1, .gpa = b->gpa2, .key = BT_KEY_NONE, .twin = b};
	mark->xid = b->xid2 = xid_of(v, page, mark->va);
	mark->page_next = v->page_blocks[page];
	v->page_blocks[page] = mark;
}

void bt_publish(struct bt_vm *v, struct bt_block *b)
{
	uint64_t page = mem_page(v->vm.mem, b->gpa);
	unsigned h = hash_of(b->gpa, b->va, b->key);

	b->xid = xid_of(v, page, b->va);
	b->page_next = v->page_blocks[page];
	v->page_blocks[page] = b;
	b->hash_next = v->hash[h];
	__atomic_store_n(&v->hash[h], b, __ATOMIC_RELEASE);
}

static void unhash(struct bt_vm *v, const struct bt_block *b)
{
	struct bt_block **p = &v->hash[hash_of(b->gpa, b->va, b->key)];

	while (*p && *p != b)
		p = &(*p)->hash_next;
	if (*p)
		__atomic_store_n(p, b->hash_next, __ATOMIC_RELEASE);
}

void bt_code_written(struct engine_vm *vm, uint64_t page)
{
	struct bt_vm *v = bt_vm(vm);

	pthread_mutex_lock(&v->lock);
	for (struct bt_block *k = v->page_blocks[page]; k; k = k->page_next) {
		struct bt_block *b = k->twin ? k->twin : k;

		if (atomic_load(&b->stale))
			continue;
		atomic_store(&b->stale, true);
		entry_jump(b, b->stale_exit);
		unhash(v, b);
		v->nstale++;
	}
	v->page_blocks[page] = NULL;
	pthread_mutex_unlock(&v->lock);
}

void bt_link_to(struct bt_vm *v, uint32_t i, const struct bt_block *b)
{
	struct bt_link *l = &v->links[i];
	const uint8_t *to = l->fl_mem ? v->rw + (b->code - v->rx) : b->entry;

	if (l->to && (!atomic_load(&l->to->stale) || l->to->gpa != b->gpa))
		return;
	/* the page of the branch itself may be mapped to something else by now */
	if (!l->imm && (b->gpa ^ v->blocks[l->block].gpa) >> 12)
		return;
	emit_fix_to(v->rw + l->rel, to);
	if (l->imm)
		__atomic_store_n((uint32_t *)(void *)(v->rw + l->imm), b->xid, __ATOMIC_RELEASE);
	l->to = b;
}

/* ---- jump cache ---- */

/*
 * Tags are an address XOR a generation of BT_JC_BITS bits. An address is known by its bits above these and its
 * place in the table, so a tag of an older generation cannot be mistaken for another address of this one, be
 * it canonical or not. Nothing ever is of generation 0: tags of it are empty places.
 */
void bt_jc_clear(struct bt_cpu *b)
{
	for (uint64_t va = 0; va < BT_JC; va++)
		b->jc_va[bt_jc_index(va)] = va;
	b->jc_gen = 0;
	for (unsigned m = 0; m < MMU_CACHED; m++)
		b->jc_key[m] = ++b->jc_gen;
}

/* ---- flush ---- */

void bt_flush_seen(struct bt_cpu *b)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);

	b->flush_seen = atomic_load(&v->flush_gen);
	memset(b->xid, 0, sizeof b->xid);
	bt_jc_clear(b);
}

void bt_cache_flush(struct bt_cpu *b)
{
	struct bt_vm *v = bt_vm(b->cpu.vm);

	if (atomic_exchange(&v->flushing, true))
		return; /* somebody else does: bt_run() waits for that */
	/* Without the lock: who is still in code may want it. */
	for (unsigned i = 0; i < v->vm.ncpus; i++) {
		struct engine_cpu *o = v->vm.cpu[i];

		if (!o || o == &b->cpu)
			continue;
		while (atomic_load(&bt_cpu(o)->in_code)) {
			attention_set(o, ATTN_CODE); /* it looks around, and is out */
			if (atomic_load(&b->cpu.attention) & ATTN_CODE)
				code_sync(&b->cpu); /* it may be waiting for us */
			sched_yield();
		}
	}
	pthread_mutex_lock(&v->lock);
	memset(v->hash, 0, BT_HASH * sizeof *v->hash);
	for (uint32_t i = 1; i < v->nblocks; i++)
		v->page_blocks[mem_page(v->vm.mem, v->blocks[i].gpa)] = NULL;
	v->nblocks = v->nsites = v->nlinks = v->ncalls = 1;
	v->arena_used = 0;
	v->used = v->glue;
	v->xids = 1;
	v->nflushes++;
	atomic_fetch_add(&v->flush_gen, 1);
	pthread_mutex_unlock(&v->lock);
	atomic_store(&v->flushing, false);
}
