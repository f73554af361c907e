/* SPDX-License-Identifier: MIT */
/*
 * The local APICs of all vCPUs: xAPIC and x2APIC, TSC-deadline, one-shot and periodic timer, LVTs,
 * IPIs (SDM Vol. 3A chapter 11). All functions: board lock held, but for lapic_*_locked-free
 * wrappers which say so.
 */
#ifndef DEV_LAPIC_H
#define DEV_LAPIC_H

#include <stdint.h>

#include "base/loop.h"
#include "bus/bus.h"

#define LAPIC_BASE 0xfee00000u
enum { LAPIC_SIZE = 0x1000 };
enum lapic_result { LAPIC_OK, LAPIC_UNKNOWN, LAPIC_GP };

/* What the APICs want from the CPUs. Called with the board lock held; must not call back. */
struct lapic_cpu_ops {
	void (*irq)(void *arg, unsigned cpu, bool pending); /* INTR level changed */
	void (*nmi)(void *arg, unsigned cpu);
	void (*init)(void *arg, unsigned cpu);
	void (*sipi)(void *arg, unsigned cpu, uint8_t vector);
	void (*eoi)(void *arg, unsigned vector); /* EOI of a level-triggered vector: tell the IOAPIC */
	uint64_t (*tsc)(void *arg, unsigned cpu); /* guest TSC now */
	uint32_t tsc_khz;
	void *arg;
};

struct lapics;

struct lapics *lapics_new(struct bus *b, struct loop *l, unsigned ncpus, const struct lapic_cpu_ops *ops);
void lapics_free(struct lapics *s);

/* Maps LAPIC_BASE on the bus; accesses reach the APIC of the accessing vCPU. */
int lapics_map(struct lapics *s);

/* A message-signalled interrupt (SDM 11.11): addr 0xfeexxxxx. */
void lapics_msi(struct lapics *s, uint64_t addr, uint32_t data);
/* Wire from the 8259s (ExtINT): level of INTR into LINT0 of cpu 0; intack then asks pic_ack. */
void lapics_extint(struct lapics *s, bool level);
void lapics_set_pic(struct lapics *s, int (*pic_ack)(void *arg), void *arg);

/* The CPU takes its highest pending interrupt: vector, or -1 when nothing is above the PPR. */
int lapics_ack(struct lapics *s, unsigned cpu);

/* MSRs 0x1b, 0x6e0, 0x800-0x83f; TPR as CR8 */
enum lapic_result lapics_rdmsr(struct lapics *s, unsigned cpu, uint32_t msr, uint64_t *v);
enum lapic_result lapics_wrmsr(struct lapics *s, unsigned cpu, uint32_t msr, uint64_t v);
uint64_t lapics_cr8(struct lapics *s, unsigned cpu);
void lapics_set_cr8(struct lapics *s, unsigned cpu, uint64_t v);

#endif
