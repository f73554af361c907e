/* SPDX-License-Identifier: MIT */
/*
 * Guest code for the translator. The first two bytes choose the key and where in its page the code begins, the
 * rest is code, behind which the page is what the last input left. What is emitted is not executed, but the
 * verifier follows all of it. It refuses a block now and then whose checks it cannot follow (two registers that it
 * does not know to be equal): that is an answer, too. Writing to the page must leave no block alive.
 */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/bt/bt-int.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

enum { RAM = 1 << 20, PAGE = 0x10000 };

static struct mem mem;
static struct engine_cpu *cpu;

static uint64_t no_read(void *m, unsigned c, bool io, uint64_t addr, unsigned len)
{
	(void)m, (void)c, (void)io, (void)addr, (void)len;
	return 0;
}

static void no_write(void *m, unsigned c, bool io, uint64_t addr, uint64_t v, unsigned len)
{
	(void)m, (void)c, (void)io, (void)addr, (void)v, (void)len;
}

/* False: this host has no executable memory, or an old CPU. */
static bool set_up(void)
{
	static const struct cpu_host host = {.read = no_read, .write = no_write};
	static struct x86_cpuid cpuid;
	struct engine_vm *vm;
	struct err e;

	if (mem_init(&mem, RAM, &e) || x86_cpuid_init(&cpuid, NULL, 1, 1000000, &e) ||
		engine_bt.vm_new(&vm, &mem, &cpuid, &host, &e) || engine_bt.cpu_new(&cpu, vm, 0, &e)) {
		printf("%s\n", e.text);
		return false;
	}
	bt_vm(vm)->verify = true;
	cpu->mode = X86_MODE64;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static int state; /* 1: ready, -1: not here */
	struct bt_vm *v;
	struct bt_block *blk;
	uint64_t at;
	unsigned key, span;

	if (!state)
		state = set_up() ? 1 : -1;
	if (state < 0 || len < 3)
		return 0;
	v = bt_vm(cpu->vm);
	key = p[0] & (BT_KEY_VEC | BT_KEY_AVX | BT_KEY_TSD | BT_KEY_X87 | BT_KEY_NARROW);
	key |= p[0] % MMU_CACHED;
	at = PAGE + (p[1] * 16u + p[0] % 16u) % MEM_PAGE;
	len = min_u64(len - 2, PAGE + MEM_PAGE - at);
	memcpy(mem_at(&mem, at, len), p + 2, len);

	if (bt_cache_low(v))
		bt_cache_flush(bt_cpu(cpu));
	span = (unsigned)min_u64(480, PAGE + MEM_PAGE - at);
	code_page_mark(cpu, at, span);
	pthread_mutex_lock(&v->lock);
	blk = bt_translate(bt_cpu(cpu), 0xffffffff81000000 + at, at, 0, key, span);
	assert(!blk || bt_lookup(v, at, 0, blk->va, key) == blk);
	pthread_mutex_unlock(&v->lock);
	code_written(cpu->vm, at, 1);
	assert(!blk || (blk->stale && !bt_lookup(v, at, 0, blk->va, key)));
	return 0;
}
