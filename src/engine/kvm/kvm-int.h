/* SPDX-License-Identifier: MIT */
/* Private to engine/kvm. */
#ifndef ENGINE_KVM_KVM_INT_H
#define ENGINE_KVM_KVM_INT_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

enum { KVM_IOAPIC_PINS = 24, KVM_CPUS = 254, KVM_CPUID_ENTRIES = 256 };

/* What made a vCPU leave the guest, for husk stats. */
enum kvm_count {
	KVM_N_RUN,
	KVM_N_IO,
	KVM_N_MMIO,
	KVM_N_EOI,
	KVM_N_WINDOW,
	KVM_N_SIGNAL,
	KVM_N_OTHER,
	KVM_NCOUNT
};

/* The kernel's structures that end in an array, with room for n elements. */
union kvm_cpuid_buf {
	struct kvm_cpuid2 set;
	uint8_t room[sizeof(struct kvm_cpuid2) +
		     KVM_CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
};
union kvm_msr_buf { /* one MSR */
	struct kvm_msrs list;
	uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
};

struct engine_vm {
	int kvm, vm; /* /dev/kvm and the VM */
	struct mem *mem;
	const struct x86_cpuid *cpuid;
	const struct cpu_host *host;
	struct engine_cpu *cpu[KVM_CPUS];
	size_t run_size; /* of a vCPU's shared page(s) */
	bool tsc_deadline;
	_Atomic uint64_t msis;

	/* level-triggered messages that KVM reports the EOI of; see kvm_msi() */
	pthread_mutex_t route_lock;
	struct {
		uint64_t addr, used; /* used: 0 free, else the time of last use */
		uint32_t data;
	} route[KVM_IOAPIC_PINS];
	uint64_t route_clock;
};

struct engine_cpu {
	struct engine_vm *vm;
	unsigned id;
	int fd;
	struct kvm_run *run;
	bool xsave, shutdown;
	struct kvm_lapic_state lapic; /* as after reset */

	/* the thread that runs it: whom to signal */
	int pid;
	_Atomic int tid;
	_Atomic bool in_guest;
	_Atomic bool kicked, intr, nmi;
	int extint; /* acknowledged vector that KVM did not take yet, or -1 */

	_Atomic uint64_t count[KVM_NCOUNT];
	char error[1024];
};

/* Opens /dev/kvm and looks for everything the engine cannot do without. fd or -errno. */
int kvm_open(struct err *e);
/* KVM_GET_SUPPORTED_CPUID. 0 or -errno. */
int kvm_supported_cpuid(int kvm, union kvm_cpuid_buf *b);
/* One MSR of a vCPU, or of /dev/kvm: what KVM has by default. */
bool kvm_msr_get(int fd, uint32_t msr, uint64_t *v);
bool kvm_msr_put(int fd, uint32_t msr, uint64_t v);
/* The guest's CPUID: our model, as much of it as KVM can do. */
int kvm_cpuid_set(struct engine_cpu *c, struct err *e);

void kvm_state_get(struct engine_cpu *c, struct x86_state *s);
int kvm_state_set(struct engine_cpu *c, const struct x86_state *s, struct err *e);

#endif
