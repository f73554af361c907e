/* SPDX-License-Identifier: MIT */
/*
 * struct x86_state to and from KVM.
 *
 * set() is a new start for what x86_state does not hold: the local APIC is as after reset, no event
 * is pending but those in the state. get() does not see the local APIC.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/util.h"
#include "engine/kvm/kvm-int.h"
#include "x86/fpu.h"

/* The MSRs of x86_state. Optional ones may be unknown to this KVM or this host; then they are 0. */
static const struct {
	uint32_t msr;
	uint16_t at;
	bool optional;
} msrs[] = {
/* clang-format off */
#define MSR(n, field, opt) {n, offsetof(struct x86_state, field), opt}
/* clang-format on */
	MSR(0xc0000081, star, false),
	MSR(0xc0000082, lstar, false),
	MSR(0xc0000083, cstar, false),
	MSR(0xc0000084, sfmask, false),
	MSR(0xc0000102, kernel_gs_base, false),
	MSR(0x174, sysenter_cs, false),
	MSR(0x175, sysenter_esp, false),
	MSR(0x176, sysenter_eip, false),
	MSR(0x277, pat, false),
	MSR(0x1a0, misc_enable, true),
	MSR(0xc0000103, tsc_aux, true),
	MSR(0x48, spec_ctrl, true),
	MSR(0x3b, tsc_adjust, true),
	MSR(0x2ff, mtrr_def, true),
	MSR(0x200, mtrr_base[0], true),
	MSR(0x201, mtrr_mask[0], true),
	MSR(0x202, mtrr_base[1], true),
	MSR(0x203, mtrr_mask[1], true),
	MSR(0x204, mtrr_base[2], true),
	MSR(0x205, mtrr_mask[2], true),
	MSR(0x206, mtrr_base[3], true),
	MSR(0x207, mtrr_mask[3], true),
	MSR(0x208, mtrr_base[4], true),
	MSR(0x209, mtrr_mask[4], true),
	MSR(0x20a, mtrr_base[5], true),
	MSR(0x20b, mtrr_mask[5], true),
	MSR(0x20c, mtrr_base[6], true),
	MSR(0x20d, mtrr_mask[6], true),
	MSR(0x20e, mtrr_base[7], true),
	MSR(0x20f, mtrr_mask[7], true),
	MSR(0x250, mtrr_fix[0], true),
	MSR(0x258, mtrr_fix[1], true),
	MSR(0x259, mtrr_fix[2], true),
	MSR(0x268, mtrr_fix[3], true),
	MSR(0x269, mtrr_fix[4], true),
	MSR(0x26a, mtrr_fix[5], true),
	MSR(0x26b, mtrr_fix[6], true),
	MSR(0x26c, mtrr_fix[7], true),
	MSR(0x26d, mtrr_fix[8], true),
	MSR(0x26e, mtrr_fix[9], true),
	MSR(0x26f, mtrr_fix[10], true),
	/* last: KVM starts to write guest memory when it gets them */
	MSR(0x4b564d00, kvm_wall_clock, true),
	MSR(0x4b564d01, kvm_system_time, true),
#undef MSR
};
static_assert(X86_NMTRR_VAR == 8 && X86_NMTRR_FIX == 11, "the list above");

#define MSR_TSC 0x10

bool kvm_msr_get(int fd, uint32_t msr, uint64_t *v)
{
	union kvm_msr_buf b = {.list.nmsrs = 1};

	b.list.entries[0] = (struct kvm_msr_entry){.index = msr};
	if (ioctl(fd, KVM_GET_MSRS, &b) != 1)
		return false;
	*v = b.list.entries[0].data;
	return true;
}

bool kvm_msr_put(int fd, uint32_t msr, uint64_t v)
{
	union kvm_msr_buf b = {.list.nmsrs = 1};

	b.list.entries[0] = (struct kvm_msr_entry){.index = msr, .data = v};
	return ioctl(fd, KVM_SET_MSRS, &b) == 1;
}

static void msrs_get(struct engine_cpu *c, struct x86_state *s)
{
	for (unsigned i = 0; i < ARRAY_LEN(msrs); i++) {
		uint64_t v = 0;

		kvm_msr_get(c->fd, msrs[i].msr, &v);
		put_u64((char *)s + msrs[i].at, v);
	}
}

/* One by one, as KVM stops at the first that it does not like. */
static int msrs_set(struct engine_cpu *c, const struct x86_state *s, struct err *e)
{
	for (unsigned i = 0; i < ARRAY_LEN(msrs); i++) {
		uint64_t v = get_u64((const char *)s + msrs[i].at);

		if (!kvm_msr_put(c->fd, msrs[i].msr, v) && !msrs[i].optional)
			return err_set(e, EINVAL, "KVM refuses to set MSR 0x%x to 0x%" PRIx64,
				msrs[i].msr, v);
	}
	return 0;
}

/* The exact offset from the host's TSC where KVM tells it (Linux 5.16), else as read. */
static bool tsc_attr(struct engine_cpu *c, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr a = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};

	return !ioctl(c->fd, request, &a);
}

static void tsc_get(struct engine_cpu *c, struct x86_state *s)
{
	uint64_t tsc;

	if (!tsc_attr(c, KVM_GET_DEVICE_ATTR, &s->tsc_offset) && kvm_msr_get(c->fd, MSR_TSC, &tsc))
		s->tsc_offset = tsc - __builtin_ia32_rdtsc();
}

static void tsc_set(struct engine_cpu *c, const struct x86_state *s)
{
	uint64_t offset = s->tsc_offset;

	if (!tsc_attr(c, KVM_SET_DEVICE_ATTR, &offset))
		kvm_msr_put(c->fd, MSR_TSC, __builtin_ia32_rdtsc() + offset);
}

static struct kvm_segment seg_to_kvm(const struct x86_seg *s)
{
	uint16_t a = s->attr;

	return (struct kvm_segment){.base = s->base,
		.limit = s->limit,
		.selector = s->sel,
		/* Intel's VM entry wants code and data segments to be marked as accessed */
		.type = (uint8_t)((a & X86_SEG_TYPE) |
				  (a & X86_SEG_S && a & X86_SEG_P ? X86_SEG_ACCESSED : 0)),
		.s = !!(a & X86_SEG_S),
		.dpl = a >> 5 & 3,
		.present = !!(a & X86_SEG_P),
		.avl = !!(a & X86_SEG_AVL),
		.l = !!(a & X86_SEG_L),
		.db = !!(a & X86_SEG_DB),
		.g = !!(a & X86_SEG_G),
		.unusable = !(a & X86_SEG_P)};
}

static struct x86_seg seg_from_kvm(const struct kvm_segment *k)
{
	struct x86_seg s = {.base = k->base, .limit = k->limit, .sel = k->selector};

	s.attr = (uint16_t)(k->dpl << 5); /* also of a null SS: it is the CPL */
	if (!k->unusable && k->present)
		s.attr = (uint16_t)(s.attr | k->type | k->s << 4 | X86_SEG_P | k->avl << 12 |
				    k->l << 13 | k->db << 14 | k->g << 15);
	return s;
}

static void sregs_from(struct kvm_sregs *k, const struct x86_state *s)
{
	k->es = seg_to_kvm(&s->seg[X86_ES]);
	k->cs = seg_to_kvm(&s->seg[X86_CS]);
	k->ss = seg_to_kvm(&s->seg[X86_SS]);
	k->ds = seg_to_kvm(&s->seg[X86_DS]);
	k->fs = seg_to_kvm(&s->seg[X86_FS]);
	k->gs = seg_to_kvm(&s->seg[X86_GS]);
	k->ldt = seg_to_kvm(&s->ldt);
	k->tr = seg_to_kvm(&s->tr);
	/* VM entry wants TR usable and busy, even after reset */
	k->tr.unusable = 0;
	k->tr.present = 1;
	k->tr.s = 0;
	k->tr.type = k->tr.type & 8 || s->efer & X86_EFER_LMA ? 11 : 3;
	k->gdt = (struct kvm_dtable){.base = s->gdt.base, .limit = s->gdt.limit};
	k->idt = (struct kvm_dtable){.base = s->idt.base, .limit = s->idt.limit};
	k->cr0 = s->cr0;
	k->cr2 = s->cr2;
	k->cr3 = s->cr3;
	k->cr4 = s->cr4;
	k->cr8 = s->cr8;
	k->efer = s->efer;
	k->apic_base = s->apic_base;
	memset(k->interrupt_bitmap, 0, sizeof k->interrupt_bitmap);
}

static void sregs_to(const struct kvm_sregs *k, struct x86_state *s)
{
	s->seg[X86_ES] = seg_from_kvm(&k->es);
	s->seg[X86_CS] = seg_from_kvm(&k->cs);
	s->seg[X86_SS] = seg_from_kvm(&k->ss);
	s->seg[X86_DS] = seg_from_kvm(&k->ds);
	s->seg[X86_FS] = seg_from_kvm(&k->fs);
	s->seg[X86_GS] = seg_from_kvm(&k->gs);
	s->ldt = seg_from_kvm(&k->ldt);
	s->tr = seg_from_kvm(&k->tr);
	s->gdt = (struct x86_table){.base = k->gdt.base, .limit = k->gdt.limit};
	s->idt = (struct x86_table){.base = k->idt.base, .limit = k->idt.limit};
	s->cr0 = k->cr0;
	s->cr2 = k->cr2;
	s->cr3 = k->cr3;
	s->cr4 = k->cr4;
	s->cr8 = k->cr8;
	s->efer = k->efer;
	s->apic_base = k->apic_base;
}

/* KVM's order of x86_state.gpr */
static __u64 *kvm_gpr(struct kvm_regs *r, unsigned i)
{
	__u64 *const at[16] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp, &r->rsi,
		&r->rdi, &r->r8, &r->r9, &r->r10, &r->r11, &r->r12, &r->r13, &r->r14, &r->r15};

	return at[i];
}

/* An XSAVE image in standard form; AVX state is there even if the guest never saw XSAVE. */
static void fpu_get(struct engine_cpu *c, struct x86_state *s)
{
	struct kvm_xsave x;
	uint64_t bv;

	if (ioctl(c->fd, KVM_GET_XSAVE, &x))
		return;
	bv = get_u64((char *)x.region + 512) & 7; /* no more than x86_fpu knows */
	put_u64((char *)x.region + 512, bv);
	memset((char *)x.region + 520, 0, 56);
	x86_fpu_xrstor(&s->fpu, (const uint8_t *)x.region, 7, 7, true);
}

static int fpu_set(struct engine_cpu *c, const struct x86_state *s, struct err *e)
{
	/* KVM may read more than 4096 bytes */
	struct kvm_xsave *x = xcalloc(1, sizeof *x + 16 * MEM_PAGE);
	uint64_t mask = c->xsave ? s->xcr0 & 7 : 3;
	int rc = 0;

	mask |= 3;
	x86_fpu_xsave(&s->fpu, (uint8_t *)x->region, mask, true, false, false);
	/* all of it, even what is as after reset: KVM takes MXCSR only with SSE or AVX */
	put_u64((char *)x->region + 512, mask);
	if (ioctl(c->fd, KVM_SET_XSAVE, x))
		rc = err_set(e, errno, "KVM_SET_XSAVE: %s", strerror(errno));
	free(x);
	return rc;
}

void kvm_state_get(struct engine_cpu *c, struct x86_state *s)
{
	struct kvm_regs r = {0};
	struct kvm_sregs k = {0};
	struct kvm_debugregs d = {0};
	struct kvm_vcpu_events ev = {0};
	struct kvm_mp_state mp = {0};
	struct kvm_xcrs x = {0};

	memset(s, 0, sizeof *s);
	/* None of these fails on a vCPU; if one did, zeros would show. */
	ioctl(c->fd, KVM_GET_REGS, &r);
	ioctl(c->fd, KVM_GET_SREGS, &k);
	ioctl(c->fd, KVM_GET_DEBUGREGS, &d);
	ioctl(c->fd, KVM_GET_VCPU_EVENTS, &ev);
	ioctl(c->fd, KVM_GET_MP_STATE, &mp);
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = *kvm_gpr(&r, i);
	s->rip = r.rip;
	s->rflags = r.rflags;
	sregs_to(&k, s);
	for (unsigned i = 0; i < 4; i++)
		s->dr[i] = d.db[i];
	s->dr6 = d.dr6;
	s->dr7 = d.dr7;
	s->xcr0 = 1;
	if (!ioctl(c->fd, KVM_GET_XCRS, &x))
		for (unsigned i = 0; i < x.nr_xcrs; i++)
			if (x.xcrs[i].xcr == 0)
				s->xcr0 = x.xcrs[i].value;
	fpu_get(c, s);
	msrs_get(c, s);
	tsc_get(c, s);
	switch (mp.mp_state) {
	case KVM_MP_STATE_HALTED:
		s->mp = X86_MP_HALT;
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
		s->mp = X86_MP_WAIT_SIPI;
		break;
	default:
		s->mp = X86_MP_RUN;
		break;
	}
	if (c->shutdown)
		s->mp = X86_MP_SHUTDOWN;
	s->sipi_vector = (uint8_t)ev.sipi_vector;
	s->sti_shadow = ev.interrupt.shadow & KVM_X86_SHADOW_INT_STI;
	/* AMD has one bit for both, KVM says both then */
	s->movss_shadow = ev.interrupt.shadow == KVM_X86_SHADOW_INT_MOV_SS;
	s->nmi_pending = ev.nmi.pending || atomic_load(&c->nmi);
	s->nmi_blocked = ev.nmi.masked;
}

int kvm_state_set(struct engine_cpu *c, const struct x86_state *s, struct err *e)
{
	struct kvm_regs r = {.rip = s->rip, .rflags = s->rflags};
	struct kvm_sregs k;
	struct kvm_debugregs d = {.dr6 = s->dr6, .dr7 = s->dr7};
	struct kvm_vcpu_events ev = {0};
	struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = s->xcr0}}};
	int rc;

	for (unsigned i = 0; i < 16; i++)
		*kvm_gpr(&r, i) = s->gpr[i];
	for (unsigned i = 0; i < 4; i++)
		d.db[i] = s->dr[i];
	if (s->mp == X86_MP_HALT)
		mp.mp_state = KVM_MP_STATE_HALTED;
	else if (s->mp == X86_MP_WAIT_SIPI)
		mp.mp_state = KVM_MP_STATE_INIT_RECEIVED;

	/* Start from no event at all: what is in flight belongs to the state that goes away. */
	ev.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SIPI_VECTOR |
		   KVM_VCPUEVENT_VALID_SHADOW;
	ev.sipi_vector = s->sipi_vector;
	ev.interrupt.shadow = (uint8_t)((s->sti_shadow ? KVM_X86_SHADOW_INT_STI : 0) |
					(s->movss_shadow ? KVM_X86_SHADOW_INT_MOV_SS : 0));
	ev.nmi.pending = s->nmi_pending;
	ev.nmi.masked = s->nmi_blocked;
	atomic_store(&c->nmi, false);
	c->extint = -1;
	c->shutdown = s->mp == X86_MP_SHUTDOWN;

	if (ioctl(c->fd, KVM_GET_SREGS, &k))
		return err_set(e, errno, "KVM_GET_SREGS: %s", strerror(errno));
	sregs_from(&k, s);
	if (ioctl(c->fd, KVM_SET_SREGS, &k))
		return err_set(
			e, errno, "KVM refuses the CPU state: KVM_SET_SREGS: %s", strerror(errno));
	if (c->xsave && ioctl(c->fd, KVM_SET_XCRS, &x))
		return err_set(
			e, errno, "KVM refuses XCR0 = 0x%" PRIx64 ": %s", s->xcr0, strerror(errno));
	tsc_set(c, s); /* before TSC_ADJUST, which remembers it */
	rc = msrs_set(c, s, e);
	if (!rc)
		rc = fpu_set(c, s, e);
	if (rc)
		return rc;
	if (ioctl(c->fd, KVM_SET_REGS, &r) || ioctl(c->fd, KVM_SET_DEBUGREGS, &d) ||
		ioctl(c->fd, KVM_SET_LAPIC, &c->lapic) || ioctl(c->fd, KVM_SET_MP_STATE, &mp) ||
		ioctl(c->fd, KVM_SET_VCPU_EVENTS, &ev))
		return err_set(e, errno, "KVM refuses the CPU state: %s", strerror(errno));
	return 0;
}
