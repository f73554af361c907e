/* SPDX-License-Identifier: MIT */
/*
 * CPU models: what CPUID says to a guest (SDM Vol. 2A CPUID, AMD APM Vol. 3 appendix E, Linux
 * Documentation/virt/kvm/x86/cpuid.rst). A model is filtered by what the host has and by what husk
 * can do, so that code the guest takes from the bits runs natively.
 */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct x86_cpuid_leaf {
	uint32_t leaf, subleaf, eax, ebx, ecx, edx;
	bool has_subleaf;
};

enum { X86_CPUID_LEAVES = 96 };

struct x86_cpuid {
	struct x86_cpuid_leaf leaf[X86_CPUID_LEAVES];
	unsigned n;
	uint32_t tsc_khz;
	unsigned ncpus, maxphyaddr;
	uint64_t xcr0_mask;    /* what XSETBV may set */
	uint32_t xsave_size;   /* of all of xcr0_mask, standard format */
	uint64_t cr4_mask, efer_mask; /* bits a guest may set; others #GP */
	bool avx, avx2, bmi, xsave, x2apic, pcid; /* often asked */
	uint64_t arch_caps; /* MSR 0x10a; 0: CPUID does not offer it, RDMSR is #GP */
	bool amd;           /* AMD's rules where the vendors differ (also Hygon) */
	uint8_t model;      /* row of x86_cpuid_models() */
};

/*
 * Fills c for the named model: "x86-64-v2", "x86-64-v3", "host", or NULL for the best that this
 * host has (v3 if it can, else v2). An unknown name or a host that lacks the model's features
 * is an error that lists what there is.
 */
int x86_cpuid_init(struct x86_cpuid *c, const char *model, unsigned ncpus, uint32_t tsc_khz,
	struct err *e);
const char *const *x86_cpuid_models(void); /* NULL-terminated, for --help and completion */

/*
 * The same features for an engine that runs the guest on the silicon itself (kvm): vendor, family,
 * model, brand and caches are the host's, whatever the model says, and no immunity is claimed: the
 * engine adds what the host says about speculation. See the head of cpuid.c.
 */
void x86_cpuid_native(struct x86_cpuid *c, const struct x86_cpuid *like, uint32_t tsc_khz);

/*
 * The CPUID instruction of vCPU number cpu. Dynamic bits (OSXSAVE, APIC enabled, XSAVE size of the
 * XCR0 in force) come from cr4, apic_base and xcr0. out: eax, ebx, ecx, edx.
 */
void x86_cpuid_query(const struct x86_cpuid *c, unsigned cpu, uint32_t leaf, uint32_t subleaf,
	uint64_t cr4, uint64_t apic_base, uint64_t xcr0, uint32_t out[4]);

uint32_t x86_host_tsc_khz(void); /* measured once (CPUID, else 10 ms against CLOCK_MONOTONIC) */

#endif
