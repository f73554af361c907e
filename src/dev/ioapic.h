/* SPDX-License-Identifier: MIT */
/* I/O APIC, 24 pins, version 0x20 with EOI register (Intel 82093AA; ICH9 datasheet). Board lock. */
#ifndef DEV_IOAPIC_H
#define DEV_IOAPIC_H

#include <stdint.h>

#include "bus/bus.h"

#define IOAPIC_BASE 0xfec00000u
enum { IOAPIC_PINS = 24 };

struct ioapic;

/* msi() delivers: to our local APICs or to an engine that has its own. */
struct ioapic *ioapic_new(struct bus *b, void (*msi)(void *arg, uint64_t addr, uint32_t data), void *arg);
void ioapic_free(struct ioapic *s);
int ioapic_map(struct ioapic *s);
/* Wire line: pass as struct irq { ioapic_set, s, pin }. */
void ioapic_set(void *s, unsigned pin, bool level);
void ioapic_eoi(struct ioapic *s, unsigned vector);

#endif
