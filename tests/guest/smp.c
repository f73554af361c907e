/* SPDX-License-Identifier: MIT */
/*
 * Several CPUs: start, IPIs with every shorthand and destination, atomic instructions, memory order,
 * TLB shootdown, code that other CPUs and other mappings write.
 */
#include "rt.h"

static unsigned n; /* CPUs that run */
static volatile uint32_t got[RT_NCPU];
static volatile uint32_t nmis[RT_NCPU];
static volatile bool go, stop;
static bool x2; /* x2=1 on the command line: every CPU in x2APIC mode */

static bool on_ipi(struct frame *f)
{
	__atomic_add_fetch(&got[rt_cpu()], 1, __ATOMIC_SEQ_CST);
	apic_write(0xb0, 0);
	return true;
}

static bool on_nmi(struct frame *f)
{
	__atomic_add_fetch(&nmis[rt_cpu()], 1, __ATOMIC_SEQ_CST);
	return true;
}

static void on_others(void (*fn)(ulong), ulong arg)
{
	for (unsigned i = 1; i < n; i++)
		rt_on(i, fn, arg);
}

static void wait_others(void)
{
	for (unsigned i = 1; i < n; i++)
		rt_wait(i);
}

/* This CPU's APIC: on, xAPIC's flat logical destinations or x2APIC's own */
static void mode(void)
{
	if (x2)
		apic_x2();
	apic_enable();
	if (!x2) {
		apic_write(0xe0, 0xffffffff);
		apic_write(0xd0, 1u << (24 + rt_cpu()));
	}
}

/* Logical destination of a set of CPUs: here the first cluster only */
static uint32_t logical(uint32_t cpus)
{
	uint32_t mask = 0;

	for (unsigned i = 0; i < n; i++)
		if (cpus >> i & 1)
			mask |= x2 ? 1u << (rt_apic_id[i] & 15) : 1u << i;
	return mask;
}

/* takes interrupts until told to stop; half of the CPUs sleep */
static void listen(ulong sleep)
{
	mode();
	__atomic_add_fetch(&got[rt_cpu()], 0x10000, __ATOMIC_SEQ_CST);
	sti();
	while (!stop) {
		if (sleep && rt_cpu() & 1)
			__asm__ volatile("cli; cmpb $0, %0; jne 1f; sti; hlt; 1: sti" :: "m"(stop) : "memory");
		else
			pause_();
	}
	cli();
}

static bool all_got(uint32_t mask)
{
	for (unsigned i = 0; i < n; i++)
		if ((got[i] & 0xffff) != (mask >> i & 1))
			return false;
	return true;
}

static void zero(void)
{
	for (unsigned i = 0; i < RT_NCPU; i++)
		got[i] = 0;
}

static void expect(uint32_t mask, const char *what)
{
	bool ok;

	sti();
	ok = until(all_got(mask));
	/* late ones that should not come */
	for (uint64_t t = rdtsc(); rdtsc() - t < 300000; )
		pause_();
	cli();
	check(ok && all_got(mask), "%s: got %x %x %x %x, want mask %x", what, got[0], got[1], got[2], got[3], mask);
	zero();
}

static void ipis(void)
{
	uint32_t all = (1u << n) - 1;

	section("IPI");
	zero();
	stop = false;
	mode();
	on_others(listen, 1);
	for (unsigned i = 1; i < n; i++)
		check(until(got[i] == 0x10000), "cpu %u listens", i);
	zero();
	for (unsigned round = 0; round < 5; round++) {
		apic_icr(0, 0xc4060);
		expect(all & ~1u, "all but self");
		apic_icr(0, 0x84060);
		expect(all, "all");
		apic_icr(0, 0x44060);
		expect(1, "self");
		apic_icr(x2 ? 0xffffffff : 0xff, 0x4060);
		expect(all, "physical broadcast");
		for (unsigned i = 0; i < n; i++) {
			apic_icr(rt_apic_id[i], 0x4060);
			expect(1u << i, "physical");
			apic_icr(logical(1u << i), 0x4860);
			expect(1u << i, "logical");
		}
		apic_icr(logical(all), 0x4860);
		expect(all, "logical group");
		sti();
		apic_icr(logical(all), 0x4960); /* lowest priority: exactly one */
		until(got[0] + got[1] + got[2] + got[3] >= 1);
		for (uint64_t t = rdtsc(); rdtsc() - t < 100000; )
			pause_();
		cli();
		check(got[0] + got[1] + got[2] + got[3] == 1, "lowest priority: %u %u %u %u", got[0], got[1], got[2], got[3]);
		zero();
	}
	for (unsigned i = 1; i < n; i++) {
		apic_icr(rt_apic_id[i], 0x4400);
		check(until(nmis[i] == 1), "NMI to cpu %u: %u", i, nmis[i]);
	}
	stop = true;
	apic_icr(0, 0xc4060); /* who sleeps wakes */
	wait_others();
	zero();
}

/* ---- atomic instructions */
static volatile uint64_t counter[8] __attribute__((aligned(64)));
static volatile uint64_t pair[2] __attribute__((aligned(16)));
static uint8_t split[128] __attribute__((aligned(64)));
static volatile uint32_t arrived;
enum { LOOPS = 20000 };

static void add_up(ulong arg)
{
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	while (!go)
		pause_();
	for (unsigned i = 0; i < LOOPS; i++) {
		uint64_t one = 1, old;
		uint8_t done;

		__asm__ volatile("lock incq %0" : "+m"(counter[0]));
		__asm__ volatile("lock xaddq %0, %1" : "+r"(one), "+m"(counter[1]));
		__asm__ volatile("lock addw $1, 2(%0)" :: "r"(&counter[2]) : "memory");
		__asm__ volatile("lock decb (%0)" :: "r"(&counter[3]) : "memory");
		/* a lock: XCHG is locked by itself */
		do {
			old = 1;
			__asm__ volatile("xchgl %k0, %1" : "+r"(old), "+m"(counter[4]));
			if (old)
				pause_();
		} while (old);
		counter[5]++;
		__asm__ volatile("movl $0, %0" : "=m"(counter[4]) :: "memory");
		/* bit operations */
		__asm__ volatile("lock btcl %1, %0" : "+m"(counter[6]) : "r"(rt_cpu()));
		if (i % 16 == 0) {
			__asm__ volatile("lock addl $1, %0" : "+m"(*(uint32_t *)(split + 62)));
			do {
				uint64_t a = pair[0], d = pair[1];

				__asm__ volatile("lock cmpxchg16b %0; sete %1" : "+m"(pair), "=q"(done), "+a"(a), "+d"(d) :
					"b"(a + 1), "c"(d - 1));
			} while (!done);
			do {
				uint32_t a = (uint32_t)counter[7], d = (uint32_t)(counter[7] >> 32);

				__asm__ volatile("lock cmpxchg8b %0; sete %1" : "+m"(counter[7]), "=q"(done), "+a"(a), "+d"(d) :
					"b"(a + 1), "c"(d + 2));
			} while (!done);
		}
	}
}

static void together(void (*fn)(ulong), ulong arg)
{
	go = false;
	arrived = 0;
	on_others(fn, arg);
	if (!until(arrived == n - 1))
		check(false, "others do not arrive");
	go = true;
	fn(arg);
	wait_others();
}

static void atomics(void)
{
	uint64_t all = (uint64_t)n * LOOPS, some = (uint64_t)n * (LOOPS / 16);

	section("atomic");
	together(add_up, 0);
	check(counter[0] == all, "lock inc: %llu of %llu", (unsigned long long)counter[0], (unsigned long long)all);
	check(counter[1] == all, "lock xadd: %llu", (unsigned long long)counter[1]);
	check(counter[2] == (all & 0xffff) << 16, "lock add word: %llx", (unsigned long long)counter[2]);
	check(counter[3] == (-all & 0xff), "lock dec byte: %llx", (unsigned long long)counter[3]);
	check(counter[5] == all, "under an xchg lock: %llu", (unsigned long long)counter[5]);
	check(counter[6] == (LOOPS & 1 ? (1ull << n) - 1 : 0), "lock btc: %llx", (unsigned long long)counter[6]);
	check(*(uint32_t *)(split + 62) == some, "lock add across cache lines: %u of %llu", *(uint32_t *)(split + 62),
		(unsigned long long)some);
	if (cpu_has(F_CX16))
		check(pair[0] == some && pair[1] == -some, "cmpxchg16b: %llx %llx", (unsigned long long)pair[0],
			(unsigned long long)pair[1]);
	check(counter[7] == (some | some << 33), "cmpxchg8b: %llx", (unsigned long long)counter[7]);
}

/* ---- memory order: message passing must hold, and mfence forbids the store buffer result */
static volatile uint64_t mx __attribute__((aligned(64))), my __attribute__((aligned(64)));
static volatile uint64_t bad_order, turn_x __attribute__((aligned(64))), turn_y __attribute__((aligned(64)));
static volatile uint64_t seen_x, seen_y;

static void reader(ulong arg)
{
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	while (!go)
		pause_();
	for (unsigned i = 0; i < 50000 && !stop; i++) {
		uint64_t y = my, x;

		barrier();
		x = mx;
		if (x < y)
			bad_order++;
	}
}

static void dekker(ulong who)
{
	for (uint64_t i = 1; i <= 100; i++) {
		volatile uint64_t *mine = who ? &my : &mx, *theirs = who ? &mx : &my;
		volatile uint64_t *turn = who ? &turn_y : &turn_x, *other = who ? &turn_x : &turn_y;

		*mine = i;
		__asm__ volatile("mfence" ::: "memory");
		*(who ? &seen_y : &seen_x) = *theirs;
		__atomic_store_n(turn, 2 * i, __ATOMIC_SEQ_CST);
		while (*other < 2 * i)
			pause_();
		if (!who && seen_x < i && seen_y < i)
			bad_order++;
		__atomic_store_n(turn, 2 * i + 1, __ATOMIC_SEQ_CST);
		while (*other < 2 * i + 1)
			pause_();
	}
}

static void order(void)
{
	section("memory order");
	go = stop = false;
	arrived = 0;
	bad_order = 0;
	on_others(reader, 0);
	until(arrived == n - 1);
	go = true;
	for (uint64_t i = 1; i < 50000; i++) {
		mx = i;
		barrier();
		my = i;
	}
	stop = true;
	wait_others();
	check(bad_order == 0, "stores are seen in order: %llu", (unsigned long long)bad_order);
	stop = false;
	mx = my = 0;
	bad_order = 0;
	rt_on(1, dekker, 1);
	dekker(0);
	wait_others();
	check(bad_order == 0, "mfence between a store and a load: %llu", (unsigned long long)bad_order);
}

/* ---- TLB shootdown */
static const ulong va = 0x20000000000ul;
static volatile uint32_t acks;
static volatile uint64_t wrong;
static volatile uint64_t generation;

static bool on_shoot(struct frame *f)
{
	invlpg((void *)va);
	__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST);
	apic_write(0xb0, 0);
	return true;
}

/* the page holds the generation; after its shootdown nobody may see an older one */
static void look(ulong arg)
{
	apic_enable();
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	sti();
	while (!stop) {
		uint64_t g = __atomic_load_n(&generation, __ATOMIC_SEQ_CST);
		uint64_t v = *(volatile uint64_t *)va;

		if (v < g)
			__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
	}
	cli();
}

static void shootdown(void)
{
	uint64_t *pte = pte_at(rt_pml4, va, 1);
	uint64_t *page[2] = {page_alloc(), page_alloc()};

	section("TLB shootdown");
	rt_hook[0x61] = on_shoot;
	*pte = (ulong)page[0] | PTE_P | PTE_W;
	stop = false;
	arrived = 0;
	on_others(look, 0);
	until(arrived == n - 1);
	for (uint64_t g = 1; g <= 100; g++) {
		uint64_t *p = page[g & 1];

		*p = g;
		*pte = (ulong)p | PTE_P | PTE_W;
		acks = 0;
		invlpg((void *)va);
		apic_icr(0, 0xc4061);
		if (!until(acks == n - 1)) {
			check(false, "generation %llu: %u acknowledged", (unsigned long long)g, acks);
			break;
		}
		__atomic_store_n(&generation, g, __ATOMIC_SEQ_CST);
	}
	stop = true;
	wait_others();
	check(wrong == 0, "stale translations seen: %llu", (unsigned long long)wrong);
}

/* ---- code that is written */
static uint8_t code[NPAGE * 2] __attribute__((aligned(4096)));
static volatile uint64_t code_gen;
typedef uint32_t (*code_fn)(void);

static void emit(uint8_t *p, uint32_t v)
{
	p[0] = 0xb8; /* mov $v, %eax; ret */
	memcpy(p + 1, &v, 4);
	p[5] = 0xc3;
}

static bool on_sync(struct frame *f)
{
	/* IRET serializes: what was written before the IPI is what runs behind it */
	__atomic_add_fetch(&acks, 1, __ATOMIC_SEQ_CST);
	apic_write(0xb0, 0);
	return true;
}

static void run_code(ulong arg)
{
	apic_enable();
	__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
	sti();
	while (!stop) {
		uint64_t g = __atomic_load_n(&code_gen, __ATOMIC_SEQ_CST);
		uint32_t v = ((code_fn)(void *)(code + 64))();

		if (v < g)
			__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
	}
	cli();
}

static void cross_modifying(void)
{
	section("cross-modifying code");
	rt_hook[0x62] = on_sync;
	emit(code + 64, 0);
	wrong = 0;
	stop = false;
	arrived = 0;
	on_others(run_code, 0);
	until(arrived == n - 1);
	for (uint32_t g = 1; g <= 100; g++) {
		*(volatile uint32_t *)(code + 65) = g;
		acks = 0;
		apic_icr(0, 0xc4062);
		if (!until(acks == n - 1)) {
			check(false, "generation %u: %u acknowledged", g, acks);
			break;
		}
		__atomic_store_n(&code_gen, g, __ATOMIC_SEQ_CST);
	}
	stop = true;
	wait_others();
	quirk("TCG 7.2 invalidates before it stores: another CPU may translate the old bytes");
	check(wrong == 0, "stale code ran: %llu", (unsigned long long)wrong);
}

void test_main(void)
{
	rt_hook[0x60] = on_ipi;
	rt_hook[NMI] = on_nmi;
	section("start");
	n = rt_smp_start();
	{
		ulong want_n = 1;

		rt_arg("cpus", &want_n);
		check(n == want_n, "%u CPUs run, want %lu", n, want_n);
	}
	if (n < 2)
		return;
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < i; j++)
			check(rt_apic_id[i] != rt_apic_id[j], "APIC IDs differ: %x %x", rt_apic_id[i], rt_apic_id[j]);
	{
		ulong v = 0;

		rt_arg("x2", &v);
		x2 = v && cpu_has(F_X2APIC);
		if (v && !x2) {
			section("x2APIC");
			skip("no x2APIC");
		}
	}
	ipis();
	atomics();
	order();
	shootdown();
	cross_modifying();
}
