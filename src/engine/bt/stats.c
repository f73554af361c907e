/* SPDX-License-Identifier: MIT */
/*
 * What husk stats shows of bt, and the clock behind "time": of every SAMPLE-th visit to C, and cold block, the duration is
 * taken, times SAMPLE. What is left of the time in run() is translated code's. Counters belong to their vCPU's
 * thread; who reads them gets them as they are at the moment.
 */
#include <stdio.h>

#include "engine/bt/bt-int.h"

enum { SAMPLE = 16 };

#define TIMED(name)                                                                                \
	void *bt_timed_##name(struct bt_cpu *b, uint64_t arg, uint32_t k)                          \
	{                                                                                          \
		uint64_t began;                                                                    \
		void *code;                                                                        \
                                                                                                   \
		if (likely(++b->nvisits % SAMPLE))                                                 \
			return bt_c_##name(b, arg, k);                                             \
		began = __builtin_ia32_rdtsc();                                                    \
		code = bt_c_##name(b, arg, k);                                                     \
		b->ticks_slow += SAMPLE * (__builtin_ia32_rdtsc() - began);                        \
		return code;                                                                       \
	}
TIMED(mem)
TIMED(call)
TIMED(link)
TIMED(ind)

void bt_cold_run(struct bt_cpu *b, struct block *cold)
{
	uint64_t began;

	if (likely(++b->nvisits % SAMPLE)) {
		block_run(&b->cpu, cold);
		return;
	}
	began = __builtin_ia32_rdtsc();
	block_run(&b->cpu, cold);
	b->ticks_cold += SAMPLE * (__builtin_ia32_rdtsc() - began);
}

struct times { /* ns */
	uint64_t native, slow, cold;
};

static struct times times_of(const struct bt_vm *v)
{
	uint64_t tsc = __builtin_ia32_rdtsc(), run = 0, slow = 0, cold = 0, other;
	double ns = (double)(now_ns() - v->vm.clock_ns) / (double)(tsc - v->vm.clock_tsc + 1);

	for (unsigned i = 0; i < v->vm.ncpus; i++) {
		const struct bt_cpu *b;

		if (!v->vm.cpu[i])
			continue;
		b = bt_cpu(v->vm.cpu[i]);
		run += b->ticks_run + (b->run_began && tsc > b->run_began ? tsc - b->run_began : 0);
		slow += b->ticks_slow;
		cold += b->ticks_cold;
	}
	other = slow + cold + (uint64_t)((double)v->ns_translate / ns);
	return (struct times){.native = (uint64_t)((double)(run > other ? run - other : 0) * ns),
		.slow = (uint64_t)((double)slow * ns), .cold = (uint64_t)((double)cold * ns)};
}

/* Instructions that mean something else to a kernel that does not have the machine to itself. */
static bool sensitive(unsigned op)
{
	switch (op) {
	case X86_OP_PUSHF: case X86_OP_POPF: case X86_OP_CLI: case X86_OP_STI: case X86_OP_IRET:
	case X86_OP_JMPFAR: case X86_OP_CALLFAR: case X86_OP_RETFAR: case X86_OP_PUSHSEG: case X86_OP_POPSEG:
	case X86_OP_IN: case X86_OP_OUT: case X86_OP_INS: case X86_OP_OUTS:
		return true;
	default:
		return op >= X86_OP_LDS && op <= X86_OP_RDPRU;
	}
}

size_t bt_stats(struct engine_vm *vm, char *buf, size_t len)
{
	static const char *const names[] = {"slow_access", "tlb_fill", "interp_insn", "link", "indirect", "leave",
		"cold_block"};
	const struct bt_vm *v = bt_vm(vm);
	const struct times t = times_of(v);
	uint64_t exits[ARRAY_LEN(names)] = {0};
	size_t n = interp_stats(vm, buf, len);

	for (unsigned i = 0; i < vm->ncpus; i++)
		for (unsigned k = 0; vm->cpu[i] && k < ARRAY_LEN(names); k++)
			exits[k] += bt_cpu(vm->cpu[i])->nexit[k];
#define ADD(...) (n += n < len ? (size_t)snprintf(buf + n, len - n, __VA_ARGS__) : 0)
	ADD("translate.blocks %llu\ntranslate.instructions %llu\ntranslate.bytes_guest %llu\n"
	    "translate.bytes_host %llu\ntranslate.ns %llu\ncache.used %llu\ncache.size %llu\n"
	    "cache.flushes %llu\nsmc.blocks_stale %llu\n",
		(unsigned long long)v->ntranslated, (unsigned long long)v->ninsns_guest,
		(unsigned long long)v->nbytes_guest, (unsigned long long)v->nbytes_host,
		(unsigned long long)v->ns_translate, (unsigned long long)v->used,
		(unsigned long long)BT_CACHE, (unsigned long long)v->nflushes,
		(unsigned long long)v->nstale);
	for (unsigned k = 0; k < ARRAY_LEN(names); k++)
		ADD("exits.%s %llu\n", names[k], (unsigned long long)exits[k]);
	for (unsigned op = 0; op < X86_OP_COUNT; op++) {
		uint64_t sum = 0;

		for (unsigned i = 0; i < vm->ncpus; i++)
			if (vm->cpu[i])
				sum += bt_cpu(vm->cpu[i])->nsens[op];
		if (sum)
			ADD("%s.%s %llu\n", sensitive(op) ? "sensitive" : "interpreted",
				x86_op_name((enum x86_op)op), (unsigned long long)sum);
	}
	ADD("time.native %llu\ntime.slow %llu\ntime.cold %llu\ntime.translate %llu\n",
		(unsigned long long)t.native, (unsigned long long)t.slow, (unsigned long long)t.cold,
		(unsigned long long)v->ns_translate);
	if (v->nverified)
		ADD("verify.blocks %llu\nverify.ns %llu\nverify.violations %llu\n", (unsigned long long)v->nverified,
			(unsigned long long)v->ns_verify, (unsigned long long)v->nviolations);
#undef ADD
	return n < len ? n : len ? len - 1 : 0;
}
