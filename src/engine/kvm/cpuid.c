/* SPDX-License-Identifier: MIT */
/*
 * The guest's CPUID under KVM: the model's features with the host's identity (x86_cpuid_native()),
 * cut down to what KVM_GET_SUPPORTED_CPUID has, plus everything that tells about speculation, which
 * is the host's affair and not the model's (Linux Documentation/virt/kvm/api.rst, cpuid.rst).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/util.h"
#include "engine/kvm/kvm-int.h"

int kvm_supported_cpuid(int kvm, union kvm_cpuid_buf *b)
{
	b->set.nent = KVM_CPUID_ENTRIES;
	return ioctl(kvm, KVM_GET_SUPPORTED_CPUID, b) ? -errno : 0;
}

/*
 * Per leaf and register what becomes of our bits: all registers not named here stay as they are
 * (identity, topology, caches, frequencies).
 */
static const struct {
	uint32_t leaf, subleaf;
	uint8_t reg;
	uint32_t ours;   /* KVM does not list these, and they work: the in-kernel APIC, topology */
	uint32_t theirs; /* KVM's answer whatever the model says */
} rule[] = {
	{1, 0, 2, 1u << 21 | 1u << 31, 0}, /* x2APIC, hypervisor */
	{1, 0, 3, 1u << 28 | 1u << 9, 0},  /* HT, APIC */
	{7, 0, 1, 0, 0}, {7, 0, 2, 0, 0},
	/* MD_CLEAR; IBRS and IBPB, STIBP, FLUSH_CMD, ARCH_CAPABILITIES, SSBD */
	{7, 0, 3, 0, 1u << 10 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 29 | 1u << 31},
	{7, 2, 3, 0, 0x3f}, /* PSFD IPRED_CTRL RRSBA_CTRL DDPD_U BHI_CTRL MCDT_NO */
	{0xd, 0, 0, 0, 0}, {0xd, 1, 0, 0, 0}, {0x40000001, 0, 0, 0, 0},
	{0x80000001, 0, 2, 1u << 1 | 1u << 22, 0}, /* CMP_LEGACY, TOPOEXT: leaves that we fill */
	{0x80000001, 0, 3, 0, 0}, {0x80000007, 0, 3, 0, 0},
	/* IBPB IBRS STIBP, always-on and preferred, SSBD VIRT_SSBD SSB_NO, PSFD BTC_NO IBPB_RET */
	{0x80000008, 0, 1, 0, 0x7707d000},
	/* AutoIBRS; VERW_CLEAR; SBPB IBPB_BRTYPE SRSO_NO SRSO_USER_KERNEL_NO */
	{0x80000021, 0, 0, 0, 1u << 5 | 1u << 8 | 0x78000000},
	{0x80000021, 0, 2, 0, 1u << 1 | 1u << 2}, /* TSA_SQ_NO TSA_L1_NO */
};

static uint32_t *reg_of(struct kvm_cpuid_entry2 *k, unsigned reg)
{
	return reg == 0 ? &k->eax : reg == 1 ? &k->ebx : reg == 2 ? &k->ecx : &k->edx;
}

static struct kvm_cpuid_entry2 *entry(struct kvm_cpuid2 *set, uint32_t leaf, uint32_t subleaf)
{
	for (unsigned i = 0; i < set->nent; i++)
		if (set->entries[i].function == leaf &&
			(set->entries[i].index == subleaf ||
				!(set->entries[i].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX)))
			return &set->entries[i];
	return NULL;
}

static void cut_down(struct kvm_cpuid2 *ours, struct kvm_cpuid2 *kvm, bool tsc_deadline)
{
	for (unsigned i = 0; i < ARRAY_LEN(rule); i++) {
		struct kvm_cpuid_entry2 *o = entry(ours, rule[i].leaf, rule[i].subleaf);
		struct kvm_cpuid_entry2 *k = entry(kvm, rule[i].leaf, rule[i].subleaf);
		uint32_t *p, have, want, keep = rule[i].ours;

		if (!o)
			continue;
		if (rule[i].leaf == 1 && rule[i].reg == 2 && tsc_deadline)
			keep |= 1u << 24;
		p = reg_of(o, rule[i].reg);
		have = k ? *reg_of(k, rule[i].reg) : 0;
		want = *p;
		*p = (want & (have | keep)) | (have & rule[i].theirs);
		if (want & ~*p)
			log_debug("kvm", "KVM has no CPUID.%x.%x.%c bits %x", rule[i].leaf,
				rule[i].subleaf, "abcd"[rule[i].reg], want & ~*p);
	}
}

int kvm_cpuid_set(struct engine_cpu *c, struct err *e)
{
	union kvm_cpuid_buf *kvm = xcalloc(1, sizeof *kvm), *ours = xcalloc(1, sizeof *ours);
	struct x86_cpuid *native = xcalloc(1, sizeof *native);
	struct kvm_cpuid2 *set = &ours->set;
	struct kvm_cpuid_entry2 *xsave;
	int khz = ioctl(c->fd, KVM_GET_TSC_KHZ), rc;

	rc = kvm_supported_cpuid(c->vm->kvm, kvm);
	if (rc) {
		err_set(e, -rc, "KVM_GET_SUPPORTED_CPUID: %s", strerror(-rc));
		goto out;
	}
	x86_cpuid_native(native, c->vm->cpuid, khz > 0 ? (uint32_t)khz : c->vm->cpuid->tsc_khz);
	for (unsigned i = 0; i < native->n; i++) {
		const struct x86_cpuid_leaf *l = &native->leaf[i];
		struct kvm_cpuid_entry2 *k = &set->entries[set->nent++];
		uint32_t r[4];

		/* KVM puts in what depends on CR4, XCR0 and the APIC base; 0x800: APIC enabled */
		x86_cpuid_query(native, c->id, l->leaf, l->subleaf, 0, 0x800, native->xcr0_mask, r);
		*k = (struct kvm_cpuid_entry2){.function = l->leaf,
			.index = l->subleaf,
			.flags = l->has_subleaf ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = r[0],
			.ebx = r[1],
			.ecx = r[2],
			.edx = r[3]};
	}
	cut_down(set, &kvm->set, c->vm->tsc_deadline);
	c->xsave = entry(set, 1, 0)->ecx >> 26 & 1;
	xsave = entry(set, 0xd, 0);
	if (xsave && !c->xsave)
		xsave->eax = xsave->ebx = xsave->ecx = 0;
	if (ioctl(c->fd, KVM_SET_CPUID2, set)) {
		rc = -errno;
		err_set(e, -rc, "KVM refuses the CPU model: KVM_SET_CPUID2: %s", strerror(-rc));
	}
out:
	free(native);
	free(ours);
	free(kvm);
	return rc;
}
