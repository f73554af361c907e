/* SPDX-License-Identifier: MIT */
/* Real clock and real loop: timers of several APICs while other threads use the bus. */
#undef NDEBUG
#include <assert.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/util.h"
#include "dev/lapic.h"
#include "dev/legacy.h"

enum { CPUS = 2, ROUNDS = 200 };

static struct bus *bus;
static struct lapics *apics;
static atomic_uint raised[CPUS], ticks;

static void on_irq(void *arg, unsigned cpu, bool pending)
{
	(void)arg;
	if (pending)
		atomic_fetch_add(&raised[cpu], 1);
}

static void on_cpu(void *arg, unsigned cpu)
{
	(void)arg;
	(void)cpu;
}

static void on_sipi(void *arg, unsigned cpu, uint8_t vector)
{
	(void)arg;
	(void)cpu;
	(void)vector;
}

static void on_eoi(void *arg, unsigned vector)
{
	(void)arg;
	(void)vector;
}

static uint64_t tsc(void *arg, unsigned cpu)
{
	(void)arg;
	(void)cpu;
	return now_ns() * 2;
}

static void tick(void *arg, unsigned line, bool level)
{
	(void)arg;
	(void)line;
	if (level)
		atomic_fetch_add(&ticks, 1);
}

static void wrmsr(unsigned cpu, uint32_t msr, uint64_t v)
{
	bus_lock(bus);
	assert(lapics_wrmsr(apics, cpu, msr, v) == LAPIC_OK);
	bus_unlock(bus);
}

static void *vcpu(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg, seen = 0;

	wrmsr(cpu, 0x1b, LAPIC_BASE | 0xc00 | (cpu ? 0 : 0x100));
	wrmsr(cpu, 0x80f, 0x1ff);
	wrmsr(cpu, 0x832, 0x40040); /* TSC deadline, vector 0x40 */
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t deadline = tsc(NULL, cpu) + 2 * (uint64_t)(50000 + i * 1000);
		int v;

		wrmsr(cpu, 0x6e0, deadline);
		while (atomic_load(&raised[cpu]) == seen)
			bus_read(bus, BUS_PIO, cpu, 0x40 + i % 3, 1);
		seen++;
		assert(tsc(NULL, cpu) >= deadline);
		bus_lock(bus);
		v = lapics_ack(apics, cpu);
		bus_unlock(bus);
		assert(v == 0x40);
		wrmsr(cpu, 0x80b, 0);
	}
	return NULL;
}

static void *loop_thread(void *arg)
{
	assert(!loop_run(arg));
	return NULL;
}

int main(void)
{
	struct loop *l = loop_new();
	struct lapic_cpu_ops ops = {.irq = on_irq, .nmi = on_cpu, .init = on_cpu, .sipi = on_sipi,
		.eoi = on_eoi, .tsc = tsc, .tsc_khz = 2000000};
	pthread_t t[CPUS], lt;
	struct pit *pit;

	assert(l);
	bus = bus_new();
	apics = lapics_new(bus, l, CPUS, &ops);
	assert(!lapics_map(apics));
	pit = pit_new(bus, l, (struct irq){tick, NULL, 0});
	assert(!pthread_create(&lt, NULL, loop_thread, l));
	bus_write(bus, BUS_PIO, 0, 0x43, 0x34, 1); /* channel 0: mode 2, 1193 ticks: 1 ms */
	bus_write(bus, BUS_PIO, 0, 0x40, 1193 & 0xff, 1);
	bus_write(bus, BUS_PIO, 0, 0x40, 1193 >> 8, 1);
	for (uintptr_t i = 0; i < CPUS; i++)
		assert(!pthread_create(&t[i], NULL, vcpu, (void *)i));
	for (unsigned i = 0; i < CPUS; i++)
		assert(!pthread_join(t[i], NULL));
	assert(atomic_load(&ticks) > 5); /* the rounds take 30 ms and more */
	loop_stop(l);
	assert(!pthread_join(lt, NULL));
	pit_free(pit);
	lapics_free(apics);
	bus_free(bus);
	loop_free(l);
	return 0;
}
