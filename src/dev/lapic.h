/* SPDX-License-Identifier: MIT */
/*
 * The local APICs of all vCPUs: xAPIC and x2APIC, TSC-deadline, one-shot and periodic timer, LVTs,
 * IPIs (SDM Vol. 3A chapter 11). All functions but new, free and map: board lock held.
 */
#ifndef DEV_LAPIC_H
#define DEV_LAPIC_H

#include <stdint.h>

#include "base/loop.h"
#include "bus/bus.h"

#define LAPIC_BASE 0xfee00000u
enum { LAPIC_SIZE = 0x1000, LAPIC_TIMER_KHZ = 1000000, LAPIC_CPUS_MAX = 255 };
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
	uint32_t timer_khz;  /* input clock of the timer; CPUID 0x15 ECX must say the same. 0: LAPIC_TIMER_KHZ */
	unsigned maxphyaddr; /* of CPUID 0x80000008: APIC_BASE bits from there on are reserved. 0: 52 */
	void *arg;
};

struct lapics;

/*
 * ncpus: 1 to LAPIC_CPUS_MAX; the APIC ID is the number of the CPU, CPU 0 is the BSP. ops and what it
 * points to: the struct is copied. Exits when out of memory: set-up only.
 */
struct lapics *lapics_new(struct bus *b, struct loop *l, unsigned ncpus, const struct lapic_cpu_ops *ops);
void lapics_free(struct lapics *s); /* the loop's thread has ended or is the caller's */

/*
 * Maps LAPIC_BASE on the bus; accesses reach the APIC of the accessing vCPU. A guest that moves its APIC
 * with MSR 0x1b moves the mapping; a place where another device or RAM is hides the APIC.
 */
int lapics_map(struct lapics *s);

/* A message-signalled interrupt (SDM 11.11): addr 0xfeexxxxx; another address is ignored. */
void lapics_msi(struct lapics *s, uint64_t addr, uint32_t data);
/* Wire from the 8259s (ExtINT): level of INTR into LINT0 of cpu 0; intack then asks pic_ack. */
void lapics_extint(struct lapics *s, bool level);
void lapics_set_pic(struct lapics *s, int (*pic_ack)(void *arg), void *arg);

/* The vCPU was reset by itself (triple fault handling, S3): its APIC as after power-on. */
void lapics_reset_cpu(struct lapics *s, unsigned cpu);

/* The CPU takes its highest pending interrupt: vector, or -1 when nothing is above the PPR. */
int lapics_ack(struct lapics *s, unsigned cpu);

/* MSRs 0x1b, 0x6e0, 0x800-0x83f; TPR as CR8 */
enum lapic_result lapics_rdmsr(struct lapics *s, unsigned cpu, uint32_t msr, uint64_t *v);
enum lapic_result lapics_wrmsr(struct lapics *s, unsigned cpu, uint32_t msr, uint64_t v);
uint64_t lapics_cr8(struct lapics *s, unsigned cpu);
void lapics_set_cr8(struct lapics *s, unsigned cpu, uint64_t v);

#endif
