/* SPDX-License-Identifier: MIT */
/*
 * The KVM engine on whatever /dev/kvm there is, with guests of a few instructions: they run even
 * where KVM is emulated. Skips where there is none. --hard: the probe must say that KVM works.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "engine/engine.h"
#include "engine/kvm/kvm.h"
#include "x86/fpu.h"

enum {
	PML4 = 0x2000,
	PDPT = 0x3000,
	PD = 0x4000,
	GDT = 0x8000,
	IDT = 0x9000,
	STACK = 0xc000,
	AP_CODE = 0xf000,
	GUEST_BASE = 0x10000,
	DATA = 0x20000,
	CODE_SEL = 8,
	DATA_SEL = 16
};

extern const uint8_t guest_image[], guest_image_end[], guest_io[], guest_spin[], guest_state[],
	guest_irq[], guest_cpuid[], guest_nmi[], guest_pic[], guest_edge[], guest_level[],
	guest_smp[], guest_shutdown[], guest_ap[], guest_ap_end[];

struct access {
	bool io, write;
	unsigned cpu, len;
	uint64_t addr, v;
};

/* One VM and what happened to it. */
static struct {
	struct mem mem;
	struct x86_cpuid cpuid;
	struct engine_vm *vm;
	struct engine_cpu *cpu[2];
	struct access log[64];
	unsigned n;
	_Atomic unsigned ap_said;
	unsigned vectors[16], nvectors; /* in the order the guest told them */
	unsigned eois[16], neois, intacks;
	pthread_mutex_t lock;
} t;

static const struct cpu_engine *const eng = &engine_kvm;

static void next_interrupt(void)
{
	switch (t.nvectors) {
	case 0:
		assert(!eng->msi(t.vm, 0xfee00000, 0x40));
		break;
	case 1: /* level, asserted */
		assert(!eng->msi(t.vm, 0xfee00000, 0x41 | 1 << 14 | 1 << 15));
		break;
	case 2:
		eng->irq(t.cpu[0], true);
		break;
	case 3:
		eng->nmi(t.cpu[0]);
		break;
	default:
		eng->kick(t.cpu[0]);
		break;
	}
}

static uint64_t host_read(void *m, unsigned cpu, bool io, uint64_t addr, unsigned len)
{
	uint64_t v = io && addr == 0x510 ? 0x11223344
		     : io                ? 0x5000 + t.n
					 : 0x0102030405060708 + addr;

	(void)m;
	assert(t.n < ARRAY_LEN(t.log));
	t.log[t.n++] = (struct access){io, false, cpu, len, addr, v};
	return v;
}

static void host_write(void *m, unsigned cpu, bool io, uint64_t addr, uint64_t v, unsigned len)
{
	(void)m;
	pthread_mutex_lock(&t.lock);
	assert(t.n < ARRAY_LEN(t.log));
	t.log[t.n++] = (struct access){io, true, cpu, len, addr, v};
	if (io && addr == 0x80) {
		eng->kick(t.cpu[0]);
	} else if (io && addr == 0x81) {
		assert(t.nvectors < ARRAY_LEN(t.vectors));
		t.vectors[t.nvectors++] = (unsigned)v;
		next_interrupt();
	} else if (io && addr == 0x82) {
		next_interrupt();
	} else if (io && addr == 0x83) {
		atomic_store(&t.ap_said, (unsigned)v | cpu << 8);
	}
	pthread_mutex_unlock(&t.lock);
}

static int host_intack(void *m, unsigned cpu)
{
	(void)m;
	assert(cpu == 0);
	t.intacks++;
	eng->irq(t.cpu[0], false); /* as an 8259 with nothing else to say */
	return 0x30;
}

static void host_eoi(void *m, unsigned vector)
{
	(void)m;
	assert(t.neois < ARRAY_LEN(t.eois));
	t.eois[t.neois++] = vector;
}

static const struct cpu_host host = {
	.read = host_read, .write = host_write, .intack = host_intack, .eoi = host_eoi};

static uint64_t guest_addr(const uint8_t *p)
{
	return GUEST_BASE + (uint64_t)(p - guest_image);
}

static void gate(unsigned vector, const uint8_t *handler)
{
	uint8_t *g = mem_at(&t.mem, IDT + 16 * vector, 16);
	uint64_t at = guest_addr(handler);

	put_u16(g, (uint16_t)at);
	put_u16(g + 2, CODE_SEL);
	put_u16(g + 4, 0x8e00);
	put_u16(g + 6, (uint16_t)(at >> 16));
	put_u64(g + 8, at >> 32);
}

static void vm_up(unsigned ncpus)
{
	struct err e;
	uint8_t *p;

	memset(&t, 0, sizeof t);
	pthread_mutex_init(&t.lock, NULL);
	assert(!mem_init(&t.mem, 4 * MIB, &e));
	p = mem_at(&t.mem, 0, 4 * MIB);
	put_u64(p + PML4, PDPT | 3);
	for (unsigned i = 0; i < 4; i++)
		put_u64(p + PDPT + 8 * i, (PD + i * 4096u) | 3);
	for (uint64_t i = 0; i < 2048; i++)
		put_u64(p + PD + 8 * i, i << 21 | 0x83);
	put_u64(p + GDT + CODE_SEL, 0x00af9b000000ffff);
	put_u64(p + GDT + DATA_SEL, 0x00cf93000000ffff);
	memcpy(p + GUEST_BASE, guest_image, (size_t)(guest_image_end - guest_image));
	memcpy(p + AP_CODE, guest_ap, (size_t)(guest_ap_end - guest_ap));
	gate(2, guest_nmi);
	gate(0x30, guest_pic);
	gate(0x40, guest_edge);
	gate(0x41, guest_level);
	if (x86_cpuid_init(&t.cpuid, NULL, ncpus, x86_host_tsc_khz(), &e) ||
		eng->vm_new(&t.vm, &t.mem, &t.cpuid, &host, &e)) {
		printf("%s\n", e.text);
		exit(1);
	}
	for (unsigned i = 0; i < ncpus; i++)
		if (eng->cpu_new(&t.cpu[i], t.vm, i, &e)) {
			printf("%s\n", e.text);
			exit(1);
		}
}

static void vm_down(void)
{
	char buf[512];
	size_t n = eng->stats(t.vm, buf, sizeof buf);

	assert(n > 0 && n < sizeof buf && strlen(buf) == n && !strncmp(buf, "exits ", 6));
	assert(eng->stats(t.vm, buf, 5) == 4 && !strcmp(buf, "exit"));
	for (unsigned i = 0; i < 2; i++)
		eng->cpu_free(t.cpu[i]);
	eng->vm_free(t.vm);
	mem_fini(&t.mem);
	pthread_mutex_destroy(&t.lock);
}

static void long_mode(struct x86_state *s, const uint8_t *start)
{
	const struct x86_seg data = {.limit = 0xffffffff, .sel = DATA_SEL, .attr = 0xc093};

	x86_reset(s, 0);
	s->rip = guest_addr(start);
	s->gpr[X86_RSP] = STACK;
	s->seg[X86_CS] = (struct x86_seg){.limit = 0xffffffff, .sel = CODE_SEL, .attr = 0xa09b};
	s->seg[X86_DS] = s->seg[X86_ES] = s->seg[X86_SS] = s->seg[X86_FS] = s->seg[X86_GS] = data;
	s->tr = (struct x86_seg){.limit = 0xffff, .attr = 0x8b};
	s->gdt = (struct x86_table){.base = GDT, .limit = 23};
	s->idt = (struct x86_table){.base = IDT, .limit = 0xfff};
	s->cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP | X86_CR0_NE | X86_CR0_ET;
	s->cr3 = PML4;
	s->cr4 = X86_CR4_PAE | X86_CR4_OSFXSR;
	s->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
}

static void start(struct x86_state *s)
{
	struct err e;

	if (eng->set(t.cpu[0], s, &e)) {
		printf("%s\n", e.text);
		exit(1);
	}
}

static bool works; /* what the probe says */

/* false: this KVM is emulated and cannot do it; the words are there */
static bool run_expect(enum cpu_stop want)
{
	enum cpu_stop got = eng->run(t.cpu[0]);

	if (got == CPU_FAILED)
		printf("%s\n", eng->error(t.cpu[0]));
	if (!works && got == CPU_FAILED && got != want &&
		strstr(eng->error(t.cpu[0]), "--engine interp"))
		return false;
	assert(got == want);
	return true;
}

static void test_io(void)
{
	static const struct access want[] = {
		{true, false, 0, 4, 0x510, 0x11223344},
		{true, true, 0, 4, 0x510, 0x11223345},
		{true, true, 0, 1, 0x511, 'h'},
		{true, true, 0, 1, 0x511, 'u'},
		{true, true, 0, 1, 0x511, 's'},
		{true, true, 0, 1, 0x511, 'k'},
		{true, false, 0, 2, 0x512, 0x5006},
		{true, false, 0, 2, 0x512, 0x5007},
		{true, false, 0, 2, 0x512, 0x5008},
		{false, true, 0, 4, 0xd0000004, 0xaabbccdd},
		{false, true, 0, 1, 0xd0000009, 0x5a},
		{false, false, 0, 8, 0xd0000010, 0x01020304d5060718},
		{false, false, 0, 2, 0xd000007e, 0x01020304d5060786},
		{true, true, 0, 1, 0x80, 0x77},
	};
	struct x86_state s;

	vm_up(1);
	long_mode(&s, guest_io);
	start(&s);
	run_expect(CPU_KICKED);
	assert(t.n == ARRAY_LEN(want));
	for (unsigned i = 0; i < t.n; i++)
		assert(t.log[i].io == want[i].io && t.log[i].write == want[i].write &&
			t.log[i].cpu == 0 && t.log[i].len == want[i].len &&
			t.log[i].addr == want[i].addr && t.log[i].v == want[i].v);
	eng->get(t.cpu[0], &s);
	/* the kick came while OUT was open: it is finished */
	assert(*(uint8_t *)mem_at(&t.mem, s.rip - 2, 1) == 0xe6 && s.gpr[X86_RAX] == 0x77);
	assert(s.gpr[X86_RCX] == 0x01020304d5060718 && s.gpr[X86_RSI] == 0x0786);
	assert(get_u16(mem_at(&t.mem, DATA + 4, 2)) == 0x5008 && s.gpr[X86_RDI] == DATA + 6);
	vm_down();
}

static void *kick_later(void *arg)
{
	const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};

	(void)arg;
	nanosleep(&pause, NULL);
	eng->kick(t.cpu[0]);
	return NULL;
}

static void test_kick(void)
{
	struct x86_state s;
	pthread_t th;
	uint64_t began, turns = 0;

	vm_up(1);
	long_mode(&s, guest_spin);
	start(&s);
	eng->kick(t.cpu[0]); /* before it runs: at once */
	run_expect(CPU_KICKED);
	for (unsigned i = 0; i < 5; i++) {
		began = now_ns();
		assert(!pthread_create(&th, NULL, kick_later, NULL));
		run_expect(CPU_KICKED);
		pthread_join(th, NULL);
		assert(now_ns() - began < 5000000000u);
		eng->get(t.cpu[0], &s);
		assert(s.gpr[X86_RAX] > turns);
		turns = s.gpr[X86_RAX];
	}
	vm_down();
}

static void fill(void *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		((uint8_t *)p)[i] = (uint8_t)(seed >> 24);
	}
}

/* KVM_GET_SUPPORTED_CPUID of one leaf; zeros when it has none. */
static void kvm_supports(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
	struct kvm_cpuid2 *set = xcalloc(1, sizeof *set + 256 * sizeof set->entries[0]);
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	memset(r, 0, 16);
	set->nent = 256;
	assert(fd >= 0 && !ioctl(fd, KVM_GET_SUPPORTED_CPUID, set));
	for (unsigned i = 0; i < set->nent; i++) {
		const struct kvm_cpuid_entry2 *k = &set->entries[i];

		if (k->function == leaf && k->index == subleaf)
			memcpy(r, &k->eax, 16);
	}
	close(fd);
	free(set);
}

/* Does this KVM offer XSAVE and AVX? An emulated one need not. */
static bool kvm_has_avx(void)
{
	uint32_t r[4];

	kvm_supports(1, 0, r);
	return (r[2] >> 26 & 5) == 5 && t.cpuid.avx;
}

/* set() and get() are inverse, for all that a guest can see. */
static void test_round_trip(void)
{
	struct x86_state a, b;

	vm_up(1);
	long_mode(&a, guest_spin);
	fill(a.gpr, 16 * sizeof a.gpr[0], 1);
	fill(a.fpu.ymm, sizeof a.fpu.ymm, 2);
	fill(a.fpu.st, sizeof a.fpu.st, 3);
	for (unsigned i = 0; i < 8; i++)
		memset(a.fpu.st[i] + 10, 0, 6);
	a.fpu.fcw = 0x27f;
	a.fpu.fsw = 0x3800;
	a.fpu.ftw = 0x81;
	a.fpu.fop = 0x123;
	a.fpu.fip = 0x12345678;
	a.fpu.fdp = 0x9abcdef0;
	a.fpu.mxcsr = 0x1fa0;
	a.rflags = 0x202 | X86_CF | X86_OF | X86_DF;
	a.cr2 = 0xffff888000001234;
	a.cr4 |= X86_CR4_OSXMMEXCPT;
	if (kvm_has_avx()) {
		a.cr4 |= X86_CR4_OSXSAVE;
		a.xcr0 = 7;
	} else {
		for (unsigned i = 0; i < 16; i++)
			memset(a.fpu.ymm[i] + 16, 0, 16);
	}
	a.dr[0] = 0x1000;
	a.dr[3] = 0xffff800000000000;
	a.dr7 = 0x402;
	a.seg[X86_FS].base = 0x7f0012345678;
	a.seg[X86_GS].base = 0xffff888000000000;
	a.seg[X86_ES] = (struct x86_seg){.sel = 0};
	a.star = 0x0023001000000000;
	a.lstar = 0xffffffff81800000;
	a.cstar = 0xffffffff81800100;
	a.sfmask = 0x47700;
	a.kernel_gs_base = 0x7f0000001000;
	a.sysenter_cs = 0x10;
	a.sysenter_esp = 0xfe002000; /* AMD has 32 bits of them */
	a.sysenter_eip = 0x81800200;
	a.pat = 0x0407050600070106;
	a.tsc_aux = 0x5;
	a.mtrr_def = 0xc00;
	a.tsc_offset = (uint64_t)-1000000000;
	a.sti_shadow = true;
	a.nmi_blocked = true;
	start(&a);
	eng->get(t.cpu[0], &b);
	assert(!memcmp(a.gpr, b.gpr, 16 * sizeof a.gpr[0]) && a.rip == b.rip &&
		a.rflags == b.rflags);
	assert(!memcmp(a.fpu.ymm, b.fpu.ymm, sizeof a.fpu.ymm) &&
		!memcmp(a.fpu.st, b.fpu.st, sizeof a.fpu.st));
	assert(a.fpu.fcw == b.fpu.fcw && a.fpu.fsw == b.fpu.fsw && a.fpu.ftw == b.fpu.ftw &&
		a.fpu.mxcsr == b.fpu.mxcsr);
	for (unsigned i = 0; i < X86_NSEG; i++) {
		assert(a.seg[i].sel == b.seg[i].sel && a.seg[i].attr == b.seg[i].attr);
		assert(a.seg[i].base == b.seg[i].base && a.seg[i].limit == b.seg[i].limit);
	}
	assert(a.tr.attr == b.tr.attr && a.gdt.base == b.gdt.base && a.idt.limit == b.idt.limit);
	assert(a.cr0 == b.cr0 && a.cr2 == b.cr2 && a.cr3 == b.cr3 && a.cr4 == b.cr4 &&
		a.cr8 == b.cr8 && a.xcr0 == b.xcr0 && a.efer == b.efer &&
		a.apic_base == b.apic_base);
	assert(!memcmp(a.dr, b.dr, sizeof a.dr) && a.dr6 == b.dr6 && a.dr7 == b.dr7);
	assert(a.star == b.star && a.lstar == b.lstar && a.cstar == b.cstar &&
		a.sfmask == b.sfmask && a.kernel_gs_base == b.kernel_gs_base &&
		a.sysenter_cs == b.sysenter_cs && a.sysenter_esp == b.sysenter_esp &&
		a.sysenter_eip == b.sysenter_eip && a.pat == b.pat && a.tsc_aux == b.tsc_aux &&
		a.mtrr_def == b.mtrr_def);
	assert(a.sti_shadow == b.sti_shadow && a.movss_shadow == b.movss_shadow &&
		a.nmi_blocked == b.nmi_blocked && a.mp == b.mp);
	/* exact with KVM's attribute, within a second without it */
	assert(a.tsc_offset - b.tsc_offset + 3000000000u < 6000000000u);

	/* MXCSR counts even when no register of its component is in use */
	memset(&a.fpu, 0, sizeof a.fpu);
	x86_fpu_reset(&a.fpu);
	a.fpu.mxcsr = 0x7f80;
	start(&a);
	eng->get(t.cpu[0], &b);
	assert(b.fpu.mxcsr == 0x7f80 && b.fpu.fcw == 0x37f);

	/* reset, the other CPU's side of it */
	x86_reset(&a, 0);
	start(&a);
	eng->get(t.cpu[0], &b);
	assert(b.rip == 0xfff0 && b.seg[X86_CS].base == 0xffff0000 && b.seg[X86_CS].sel == 0xf000);
	assert(b.cr0 == a.cr0 && !b.efer && b.mp == X86_MP_RUN && !b.nmi_blocked);
	a.mp = X86_MP_WAIT_SIPI;
	start(&a);
	eng->get(t.cpu[0], &b);
	assert(b.mp == X86_MP_WAIT_SIPI);
	/* nonsense is refused in words */
	{
		struct err e = {0};

		long_mode(&a, guest_spin);
		a.cr0 = X86_CR0_PG;
		assert(eng->set(t.cpu[0], &a, &e) < 0 && e.text[0]);
	}
	vm_down();
}

static void test_state(void)
{
	static const uint8_t pi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
	struct x86_state s;

	vm_up(1);
	long_mode(&s, guest_state);
	x86_fpu_reset(&s.fpu);
	s.gpr[15] = 0x1122334455667788;
	start(&s);
	if (!run_expect(CPU_KICKED)) {
		vm_down();
		return;
	}
	eng->get(t.cpu[0], &s);
	/* the guest is in a VM, with the features of its model and KVM's clock rate */
	assert(s.gpr[8] >> 31 & 1 && s.gpr[8] >> 21 & 1 && !(s.gpr[8] >> 27 & 1));
	assert(s.gpr[9] > t.cpuid.tsc_khz - t.cpuid.tsc_khz / 50 &&
		s.gpr[9] < t.cpuid.tsc_khz + t.cpuid.tsc_khz / 50);
	assert(s.lstar == 0xffff800012345678 && s.dr[0] == 0x2000 && s.rflags & X86_CF);
	assert(get_u64(s.fpu.ymm[3]) == 0x1122334455667788 && get_u64(s.fpu.ymm[3] + 8) == 0);
	assert(!memcmp(s.fpu.st[0], pi, sizeof pi) && s.fpu.ftw == 0x80 &&
		(s.fpu.fsw >> 11 & 7) == 7);
	vm_down();
}

/*
 * The guest's features are KVM's, at most, but for what the in-kernel APIC and the topology need;
 * what it is told about speculation is what KVM says, no less and no more.
 */
static void test_cpuid(void)
{
	static const struct {
		uint32_t leaf, subleaf, reg, ours, theirs;
	} row[] = {
		{1, 0, 2, 1u << 21 | 1u << 24 | 1u << 31, 0},
		{1, 0, 3, 1u << 9 | 1u << 28, 0},
		{7, 0, 1, 0, 0},
		{7, 0, 2, 0, 0},
		{7, 0, 3, 0, 0xbc000400 & ~(1u << 30)},
		{0xd, 1, 0, 0, 0},
		{0x40000001, 0, 0, 0, 0},
		{0x80000001, 0, 2, 1u << 1 | 1u << 22, 0},
		{0x80000001, 0, 3, 0, 0},
		{0x80000007, 0, 3, 0, 0},
		{0x80000008, 0, 1, 0, 0x7707d000},
		{0x80000021, 0, 0, 0, 0x78000120},
		{0x80000021, 0, 2, 0, 6},
	};
	struct x86_state s;
	uint32_t *p, kvm[4];

	vm_up(2);
	p = mem_at(&t.mem, DATA, ARRAY_LEN(row) * 24);
	for (unsigned i = 0; i < ARRAY_LEN(row); i++) {
		p[6 * i] = row[i].leaf;
		p[6 * i + 1] = row[i].subleaf;
	}
	long_mode(&s, guest_cpuid);
	s.gpr[X86_RCX] = ARRAY_LEN(row);
	start(&s);
	run_expect(CPU_KICKED);
	/* an emulated KVM (PVM, for one) need not trap CPUID: then the guest sees the host's */
	for (unsigned i = 0; works && i < ARRAY_LEN(row); i++) {
		uint32_t got = p[6 * i + 2 + row[i].reg], has;

		kvm_supports(row[i].leaf, row[i].subleaf, kvm);
		has = kvm[row[i].reg];
		assert(!(got & ~(has | row[i].ours)));
		/* leaves that this vendor does not have stay away */
		if (row[i].leaf != 0x80000021 || p[6 * i + 2])
			assert((got & row[i].theirs) == (has & row[i].theirs));
	}
	vm_down();
}

static void test_irq(void)
{
	static const unsigned want[] = {0x40, 0x41, 0x30, 2};
	struct x86_state s;

	vm_up(1);
	long_mode(&s, guest_irq);
	start(&s);
	run_expect(CPU_KICKED);
	assert(t.nvectors == ARRAY_LEN(want) && !memcmp(t.vectors, want, sizeof want));
	assert(t.neois == 1 && t.eois[0] == 0x41); /* of the level-triggered one only */
	assert(t.intacks == 1);
	/* more level-triggered messages than there are pins: the last ones are known */
	for (uint32_t v = 0x50; v < 0x50 + 30; v++)
		assert(!eng->msi(
			t.vm, 0xfee00000 | 5 << 12, v | 1 << 14 | 1 << 15)); /* to nobody */
	vm_down();
}

static void *run_second(void *arg)
{
	enum cpu_stop *stop = arg;

	*stop = eng->run(t.cpu[1]);
	return NULL;
}

static void test_smp(void)
{
	struct x86_state s;
	enum cpu_stop second = CPU_FAILED;
	struct err e;
	pthread_t th;

	vm_up(2);
	x86_reset(&s, 1);
	assert(!eng->set(t.cpu[1], &s, &e));
	long_mode(&s, guest_smp);
	start(&s);
	assert(!pthread_create(&th, NULL, run_second, &second));
	run_expect(CPU_KICKED);
	assert(atomic_load(&t.ap_said) == (0xa5 | 1 << 8));
	eng->kick(t.cpu[1]); /* out of its halt */
	pthread_join(th, NULL);
	assert(second == CPU_KICKED);
	eng->get(t.cpu[1], &s);
	assert(s.seg[X86_CS].base == AP_CODE && s.seg[X86_DS].base == DATA && s.mp == X86_MP_HALT);
	vm_down();
}

static void test_ends(void)
{
	struct x86_state s;

	vm_up(1);
	long_mode(&s, guest_shutdown);
	s.idt.limit = 0;
	start(&s);
	run_expect(CPU_SHUTDOWN);
	run_expect(CPU_SHUTDOWN); /* and stays so */
	eng->get(t.cpu[0], &s);
	assert(s.mp == X86_MP_SHUTDOWN);

	/* code in device memory: KVM cannot do that, and says so with the place */
	long_mode(&s, guest_spin);
	s.rip = 0xd0000000;
	start(&s);
	run_expect(CPU_FAILED);
	assert(strstr(eng->error(t.cpu[0]), "d0000000"));
	vm_down();
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} tests[] = {{"round trip", test_round_trip}, {"io", test_io}, {"kick", test_kick},
		{"state", test_state}, {"cpuid", test_cpuid}, {"irq", test_irq}, {"smp", test_smp},
		{"ends", test_ends}};
	bool hard = argc > 1 && !strcmp(argv[1], "--hard");
	uint64_t began = now_ns();
	char why[512] = "";
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	log_init("kvm-test", LOG_INFO);
	if (access("/dev/kvm", R_OK | W_OK)) {
		rc = kvm_probe(why, sizeof why);
		assert(rc < 0 && strstr(why, "/dev/kvm"));
		printf("skipped: %s\n", why);
		return hard ? 1 : 77;
	}
	rc = kvm_probe(why, sizeof why);
	printf("probe: %s (%d, %.1f ms)\n", why, rc, (double)(now_ns() - began) / 1e6);
	assert(why[0] && now_ns() - began < 3000000000u);
	assert(!hard || rc == 0);
	works = rc == 0;
	for (unsigned i = 0; i < ARRAY_LEN(tests); i++) {
		alarm(60); /* whatever hangs must not hang the suite */
		began = now_ns();
		tests[i].fn();
		printf("%s: ok (%.1f ms)\n", tests[i].name, (double)(now_ns() - began) / 1e6);
	}
	return 0;
}
