/* SPDX-License-Identifier: MIT */
/*
 * Code that other CPUs execute while it changes (SDM Vol. 3A 9.1.3, "cross-modifying code"). CPU 0 changes, the
 * others call in a loop:
 *
 *	- aligned stores without any agreement, between two values: either is right, nothing else is;
 *	- a flag and a serializing instruction on the other side: what is called then is new;
 *	- INT3 first, an IPI to all, the tail, an IPI, the first byte, an IPI, as Linux' text_poke does it;
 *	- the page is exchanged, with the INVLPG that goes with it sent as an IPI;
 *	- data beside the code: nothing may get lost.
 *
 * Where CPUs agree, every call must return a number between the last change that was complete before it and the
 * last that had begun behind it. rounds=N: changes per kind (400).
 */
#include "rt.h"

enum { SYNC = 0x42 };
static uint8_t code[4 * NPAGE] __attribute__((aligned(4096)));
static const ulong va = 0x50000000000ul;
static volatile uint32_t begun, done, stop, acks, flag;
static volatile uint32_t calls[RT_NCPU], wrong[RT_NCPU], first_wrong[RT_NCPU], ready[RT_NCPU], traps[RT_NCPU];
static unsigned ncpus;

static uint32_t call(const void *at)
{
	return ((uint32_t(*)(void))(ulong)at)();
}

static void emit_mov(volatile uint8_t *p, uint32_t v)
{
	p[0] = 0xb8; /* mov $v, %eax; ret */
	*(volatile uint32_t *)(p + 1) = v;
	p[5] = 0xc3;
}

static void bad(uint32_t v)
{
	unsigned c = rt_cpu();

	if (!wrong[c]++)
		first_wrong[c] = v;
}

/* An IPI to the others, and all have been there. IRET serializes; invlpg is harmless where nobody needs it. */
static bool on_sync(struct frame *f)
{
	invlpg((void *)va);
	apic_write(0xb0, 0);
	__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST);
	return true;
}

static void sync_all(void)
{
	__atomic_store_n(&acks, 0, __ATOMIC_SEQ_CST);
	apic_icr(0, 0xc4000 | SYNC);
	if (!until(__atomic_load_n(&acks, __ATOMIC_ACQUIRE) == ncpus - 1)) {
		check(false, "an IPI was not taken by all: %u", acks);
		finish();
	}
}

static bool on_bp(struct frame *f)
{
	traps[rt_cpu()]++;
	f->ip--; /* again, until it is gone */
	return true;
}

/* ---- what the others do */
static const void *volatile target;

static void run_two(ulong n)
{
	while (!stop) {
		uint32_t v = call((const void *)target);

		calls[n]++;
		if (v != 0x11223344 && v != 0x55667788)
			bad(v);
	}
}

static void run_between(ulong n)
{
	apic_enable();
	sti();
	while (!stop) {
		uint32_t lo = __atomic_load_n(&done, __ATOMIC_SEQ_CST), v = call((const void *)target),
			hi = __atomic_load_n(&begun, __ATOMIC_SEQ_CST);

		calls[n]++;
		if (v < lo || v > hi)
			bad(v);
	}
	cli();
}

static void run_flag(ulong n)
{
	uint32_t seen = 0;

	while (!stop) {
		uint32_t now = __atomic_load_n(&flag, __ATOMIC_ACQUIRE), r[4], v;

		if (now == seen) {
			(void)call((const void *)(target)); /* stays hot; anything that was there is right */
			pause_();
			continue;
		}
		cpuid(0, 0, r);
		v = call((const void *)target);
		calls[n]++;
		if (v != now)
			bad(v);
		seen = now;
		__atomic_store_n(&ready[n], seen, __ATOMIC_RELEASE);
	}
}

static void run_data(ulong n)
{
	volatile uint64_t *own = (volatile uint64_t *)(code + 2048) + n;
	volatile uint64_t *all = (volatile uint64_t *)(code + 2048) + 32;

	for (unsigned i = 0; i < 20000; i++) {
		uint32_t v = call((const void *)target);

		calls[n]++;
		if (v != 0x11223344)
			bad(v);
		*own += 1;
		__atomic_add_fetch(all, 1, __ATOMIC_RELAXED);
	}
}

static void begin(void (*fn)(ulong), const void *at)
{
	stop = begun = done = flag = 0;
	target = at;
	for (unsigned c = 0; c < RT_NCPU; c++)
		calls[c] = wrong[c] = ready[c] = traps[c] = 0;
	for (unsigned c = 1; c < ncpus; c++)
		rt_on(c, fn, c);
}

static void end(const char *what, bool must_call)
{
	stop = 1;
	for (unsigned c = 1; c < ncpus; c++) {
		rt_wait(c);
		check(!wrong[c], "%s: cpu %u: %u of %u calls wrong, the first gave %x", what, c, wrong[c], calls[c], first_wrong[c]);
		if (must_call)
			check(calls[c], "%s: cpu %u never called", what, c);
	}
}

static void all_have_called(void)
{
	for (unsigned c = 1; c < ncpus; c++)
		if (!until(calls[c] > 50))
			check(false, "cpu %u does not call", c);
}

void test_main(void)
{
	uint8_t *f = code + 63 + 64, *other = page_alloc(); /* the immediate is aligned, the function is not */
	ulong rounds = 400;
	uint32_t i;

	rt_arg("rounds", &rounds);
	ncpus = rt_smp_start();
	if (ncpus < 2) {
		skip("one CPU");
		return;
	}
	apic_enable();
	rt_hook[SYNC] = on_sync;

	section("no agreement");
	emit_mov(f, 0x11223344);
	begin(run_two, f);
	all_have_called();
	for (i = 0; i < 30000; i++) {
		*(volatile uint32_t *)(f + 1) = i & 1 ? 0x11223344 : 0x55667788;
		if (i % 64 == 0)
			for (unsigned k = 0; k < 500; k++)
				pause_();
	}
	end("immediate", true);
	{
		/* a jump of two targets, in one aligned quadword */
		static const uint8_t two[2][8] = {{0xe9, 0x0b, 0, 0, 0, 0xcc, 0xcc, 0xcc}, {0xe9, 0x1b, 0, 0, 0, 0xcc, 0xcc, 0xcc}};

		memcpy(code + 256, two[0], 8);
		emit_mov(code + 256 + 16, 0x11223344);
		emit_mov(code + 256 + 32, 0x55667788);
		begin(run_two, code + 256);
		all_have_called();
		for (i = 0; i < 10000; i++) {
			uint64_t v;

			memcpy(&v, two[i & 1], 8);
			*(volatile uint64_t *)(code + 256) = v;
			if (i % 64 == 0)
				for (unsigned k = 0; k < 500; k++)
					pause_();
		}
		end("jump", true);
	}

	section("flag and CPUID");
	quirks("TCG misses stores into what another CPU is just translating");
	emit_mov(f, 0);
	begin(run_flag, f);
	for (i = 1; i <= rounds; i++) {
		*(volatile uint32_t *)(f + 1) = i;
		__atomic_store_n(&flag, i, __ATOMIC_RELEASE);
		for (unsigned c = 1; c < ncpus; c++)
			if (!until(__atomic_load_n(&ready[c], __ATOMIC_ACQUIRE) == i)) {
				check(false, "cpu %u does not see flag %u", c, i);
				break;
			}
	}
	end("flag", true);

	section("INT3 protocol");
	quirks("TCG misses stores into what another CPU is just translating");
	rt_hook[BP] = on_bp;
	emit_mov(f, 0);
	begin(run_between, f);
	all_have_called();
	for (i = 1; i <= rounds; i++) {
		begun = i;
		*(volatile uint8_t *)f = 0xcc;
		sync_all();
		for (unsigned b = 1; b < 5; b++)
			*(volatile uint8_t *)(f + b) = (uint8_t)(i >> 8 * (b - 1));
		sync_all();
		*(volatile uint8_t *)f = 0xb8;
		sync_all();
		done = i;
	}
	end("INT3", true);
	rt_hook[BP] = NULL;

	section("the page is exchanged");
	emit_mov(code + NPAGE + 64, 0);
	*pte_at(rt_pml4, va, 1) = ((ulong)code + NPAGE) | PTE_P;
	invlpg((void *)va);
	begin(run_between, (void *)(va + 64));
	all_have_called();
	for (i = 1; i <= rounds; i++) {
		uint8_t *next = i & 1 ? other : code + NPAGE;

		emit_mov(next + 64, i); /* nobody executes that page now */
		begun = i;
		*pte_at(rt_pml4, va, 1) = (ulong)next | PTE_P;
		sync_all();
		done = i;
	}
	end("INVLPG by IPI", true);

	section("data beside code");
	memset(code + 2048, 0, 1024);
	emit_mov(code + 1024, 0x11223344);
	begin(run_data, code + 1024);
	run_data(0);
	end("data", true);
	for (unsigned c = 0; c < ncpus; c++)
		check(((uint64_t *)(code + 2048))[c] == 20000, "cpu %u's counter: %lu", c, (ulong)((uint64_t *)(code + 2048))[c]);
	check(((uint64_t *)(code + 2048))[32] == 20000ul * ncpus, "the common counter: %lu", (ulong)((uint64_t *)(code + 2048))[32]);
}
