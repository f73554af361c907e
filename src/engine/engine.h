/* SPDX-License-Identifier: MIT */
/*
 * A CPU engine runs vCPUs. It knows memory and asks its host (vm/) for everything else: ports,
 * device memory, interrupts, and the MSRs that belong to the local APIC. interp, bt and kvm have the
 * same table, so they are compared field by field.
 *
 * Threads: vm_new, vm_free, cpu_new, cpu_free, get, set belong to set-up or to a stopped vCPU's
 * thread. run() is called on the vCPU's own thread. kick, irq, code_changed: any thread.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/mem.h"
#include "x86/cpuid.h"
#include "x86/state.h"

enum cpu_stop {
	CPU_KICKED,   /* kick() was called; nothing else happened */
	CPU_HALTED,   /* HLT with nothing pending: sleep, then call run() again (it leaves the halt by
	                 itself when irq() or an NMI is pending, and returns CPU_HALTED again if not) */
	CPU_SHUTDOWN, /* triple fault */
	CPU_DEBUG,
	CPU_FAILED,   /* the engine cannot go on; error() has the words */
};

/* Answer of the MSR callbacks */
enum cpu_msr { CPU_MSR_OK, CPU_MSR_UNKNOWN, CPU_MSR_GP };

struct cpu_host {
	/* devices; cpu is the vCPU that asks */
	uint64_t (*read)(void *m, unsigned cpu, bool io, uint64_t addr, unsigned len);
	void (*write)(void *m, unsigned cpu, bool io, uint64_t addr, uint64_t v, unsigned len);
	/* highest pending vector above the processor priority, acknowledged; -1 none (spurious) */
	int (*intack)(void *m, unsigned cpu);
	/* CR8 and the APIC's MSRs (0x1b, 0x6e0, 0x800-0x83f): engines without own_lapic forward these */
	enum cpu_msr (*rdmsr)(void *m, unsigned cpu, uint32_t msr, uint64_t *v);
	enum cpu_msr (*wrmsr)(void *m, unsigned cpu, uint32_t msr, uint64_t v);
	uint64_t (*cr8)(void *m, unsigned cpu);
	void (*set_cr8)(void *m, unsigned cpu, uint64_t v);
	/* own_lapic engines: the guest ended this vector, the IOAPIC wants to know (level triggered) */
	void (*eoi)(void *m, unsigned vector);
	/* A page of the framebuffer that was clean is about to be written (engines with tells_writes); any thread; or NULL */
	void (*touched)(void *m);
	void *m;
};

struct engine_vm;
struct engine_cpu;

struct cpu_engine {
	const char *name;
	const char *about;  /* one line for --help and doctor */
	bool own_lapic;     /* has local APICs itself (KVM split irqchip): takes msi(), not intack() */
	bool tells_writes;  /* calls touched(); else somebody must ask dirty() now and then */
	/* mem, cpuid, host: borrowed until vm_free */
	int (*vm_new)(struct engine_vm **vm, struct mem *mem, const struct x86_cpuid *cpuid,
		const struct cpu_host *host, struct err *e);
	void (*vm_free)(struct engine_vm *vm);
	int (*cpu_new)(struct engine_cpu **c, struct engine_vm *vm, unsigned id, struct err *e);
	void (*cpu_free)(struct engine_cpu *c);
	enum cpu_stop (*run)(struct engine_cpu *c);
	void (*kick)(struct engine_cpu *c);            /* run() returns soon, or at once next time */
	void (*irq)(struct engine_cpu *c, bool pending); /* level of the INTR pin */
	void (*nmi)(struct engine_cpu *c);
	/* INIT and SIPI from a local APIC in dev/; own_lapic engines have their own */
	void (*init)(struct engine_cpu *c);
	void (*sipi)(struct engine_cpu *c, uint8_t vector);
	int (*msi)(struct engine_vm *vm, uint64_t addr, uint32_t data);
	void (*get)(struct engine_cpu *c, struct x86_state *s);
	int (*set)(struct engine_cpu *c, const struct x86_state *s, struct err *e);
	/* somebody else wrote guest RAM that may hold code; NULL: the hardware sees to it */
	void (*code_changed)(struct engine_vm *vm, uint64_t gpa, uint64_t len);
	/*
	 * Which pages of the framebuffer (mem's) were written since the last call: bit n of bitmap for page n, added to what is
	 * set there. Writes from now on are for the next call. 0, or -EAGAIN: a CPU was too busy to answer, ask again (nothing
	 * is lost). Any thread but a vCPU's, without the board lock; one at a time.
	 */
	int (*dirty)(struct engine_vm *vm, uint64_t *bitmap);
	const char *(*error)(struct engine_cpu *c); /* after CPU_FAILED */
	/*
	 * Counters for husk stats: lines of "group.name value" or "name value" in decimal, sums over
	 * all vCPUs. Groups that are shown as such: exits and sensitive count by reason and by
	 * instruction, time is nanoseconds by what they went into, cache.used and cache.size are bytes; in others, what
	 * has a word "bytes" or "ns" in its name. Returns bytes written (truncated at len). Called
	 * while vCPUs run, which it must not wait for: a counter may be a little behind.
	 */
	size_t (*stats)(struct engine_vm *vm, char *buf, size_t len);
};

extern const struct cpu_engine engine_interp; /* engine/interp */
extern const struct cpu_engine engine_bt;     /* engine/bt */
extern const struct cpu_engine engine_kvm;    /* engine/kvm */
extern const struct cpu_engine engine_check;  /* engine/bt: bt compared with interp; never chosen by itself */

/* All engines in the order of preference, NULL-terminated. */
const struct cpu_engine *const *engine_list(void);
/* By name; NULL if there is none. */
const struct cpu_engine *engine_find(const char *name);

/*
 * The probe behind --engine auto: says in one line whether the engine works here and why (not).
 * Never hangs: KVM's test loop has a deadline of milliseconds. Returns 0 when usable.
 */
int engine_probe(const struct cpu_engine *eng, char *why, size_t len);
const struct cpu_engine *engine_choose(char *why, size_t len); /* best usable; never NULL */

#endif
