/* SPDX-License-Identifier: MIT */
/*
 * What the rest of husk needs to know of the KVM engine, besides engine_kvm in engine/engine.h.
 *
 * Sandbox: vm_new() opens /dev/kvm, vm_new() and cpu_new() create the VM's and the vCPUs'
 * descriptors. All of that comes before the sandbox closes; from then on the engine makes
 * only the calls below, on descriptors it has.
 */
#ifndef ENGINE_KVM_KVM_H
#define ENGINE_KVM_KVM_H

#include <stddef.h>

/* System calls after set-up; -1 ends. */
extern const int kvm_syscalls[];
/* The requests of its ioctl()s after set-up; 0 ends. */
extern const unsigned long kvm_ioctls[];

/*
 * KVM takes 4 pages of guest physical addresses for itself on Intel hosts (an identity map and a
 * TSS for real mode). The board must not put anything there.
 */
#define KVM_HOLE_BASE 0xfffbc000u
#define KVM_HOLE_SIZE 0x4000u

/* engine_probe() for KVM. */
int kvm_probe(char *why, size_t len);

#endif
