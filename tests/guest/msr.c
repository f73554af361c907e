/* SPDX-License-Identifier: MIT */
/* model specific registers, control registers and CPUID: what reads back, what faults, what follows what */
#include "rt.h"

SNIPPET(s_rdmsr, "mov %edi, %ecx\n .globl s_rdmsr_at\ns_rdmsr_at: rdmsr\n ret");
LABEL(s_rdmsr_at);
SNIPPET(s_wrmsr, "mov %edi, %ecx\n mov %esi, %eax\n mov %rsi, %rdx\n shr $32, %rdx\n .globl s_wrmsr_at\ns_wrmsr_at: wrmsr\n ret");
LABEL(s_wrmsr_at);
SNIPPET(s_wrcr0, "mov %rdi, %cr0\n ret");
SNIPPET(s_wrcr4, "mov %rdi, %cr4\n ret");
SNIPPET(s_rdtscp, "rdtscp\n mov %rcx, %rax\n ret");
SNIPPET(s_xsetbv, "mov %edi, %ecx\n mov %esi, %eax\n mov %rsi, %rdx\n shr $32, %rdx\n .globl s_xsetbv_at\ns_xsetbv_at: xsetbv\n ret");
LABEL(s_xsetbv_at);
SNIPPET(s_xgetbv, "mov %edi, %ecx\n .globl s_xgetbv_at\ns_xgetbv_at: xgetbv\n ret");
LABEL(s_xgetbv_at);
SNIPPET(s_cpuid, "push %rbx\n mov $-1, %rax\n shl $32, %rax\n mov $-1, %rbx\n mov $-1, %rcx\n mov $-1, %rdx\n xor %ecx, %ecx\n cpuid\n"
	"mov %rax, (%rdi)\n mov %rbx, 8(%rdi)\n mov %rcx, 16(%rdi)\n mov %rdx, 24(%rdi)\n pop %rbx\n ret");
SNIPPET(s_rdmsr_wide, "mov %edi, %ecx\n mov $-1, %rax\n mov $-1, %rdx\n rdmsr\n mov %rax, (%rsi)\n mov %rdx, 8(%rsi)\n ret");

static const uint64_t noncanon = 0x800000000000ull;

static void keeps(uint32_t msr, uint64_t v, const char *name)
{
	uint64_t old = rdmsr(msr);
	struct trap *t = catch(s_wrmsr, msr, v);

	check(t->vec == NOTRAP && rdmsr(msr) == v, "%s keeps %llx: %ld, %llx", name, (unsigned long long)v, t->vec,
		(unsigned long long)rdmsr(msr));
	wrmsr(msr, old);
}

static void refuses(uint32_t msr, uint64_t v, const char *name)
{
	uint64_t old = rdmsr(msr);
	struct trap *t = catch(s_wrmsr, msr, v);

	quirk("TCG 7.2 checks few MSRs");
	check(t->vec == GP && t->err == 0 && t->ip == (ulong)s_wrmsr_at, "%s refuses %llx: %ld, %llx", name, (unsigned long long)v,
		t->vec, (unsigned long long)rdmsr(msr));
	if (t->vec != GP)
		wrmsr(msr, old);
	check(rdmsr(msr) == old, "%s is unchanged", name);
}

static void msrs(void)
{
	static const struct { uint32_t msr; const char *name; } addr[] = {
		{MSR_LSTAR, "LSTAR"}, {MSR_CSTAR, "CSTAR"}, {MSR_FS_BASE, "FS_BASE"}, {MSR_GS_BASE, "GS_BASE"},
		{MSR_KERNEL_GS, "KERNEL_GS_BASE"}, {MSR_SYSENTER_ESP, "SYSENTER_ESP"}, {MSR_SYSENTER_EIP, "SYSENTER_EIP"},
	};

	section("address MSRs");
	for (unsigned i = 0; i < sizeof(addr) / sizeof(*addr); i++) {
		keeps(addr[i].msr, 0x123456789abc, addr[i].name);
		keeps(addr[i].msr, 0xffff800000000000, addr[i].name);
		keeps(addr[i].msr, 0x7fffffffffff, addr[i].name);
		refuses(addr[i].msr, noncanon, addr[i].name);
		refuses(addr[i].msr, 0xaaaaaaaaaaaaaaaa, addr[i].name);
	}
	section("other MSRs");
	keeps(MSR_STAR, 0x0023001000000000, "STAR");
	keeps(MSR_SFMASK, 0x47700, "SFMASK");
	keeps(MSR_SYSENTER_CS, 0x10, "SYSENTER_CS");
	keeps(MSR_PAT, 0x0007040600070406, "PAT");
	keeps(MSR_PAT, 0x0606060606060606, "PAT");
	refuses(MSR_PAT, 0x0007040600070402, "PAT");
	refuses(MSR_PAT, 0x0803040600070406, "PAT");
	if (cpu_has(F_RDTSCP)) {
		keeps(MSR_TSC_AUX, 0x12345678, "TSC_AUX");
		wrmsr(MSR_TSC_AUX, 0x77);
		{
			ulong r;

			__asm__ volatile("call s_rdtscp" : "=a"(r) :: "rcx", "rdx", "memory");
			check(r == 0x77, "rdtscp gives TSC_AUX: %lx", r);
		}
	}
	section("unknown MSRs");
	{
		static const uint32_t none[] = {0x12345678, 0x40, 0xc0001234, 0x2ff + 0x500, 0xffffffff};

		for (unsigned i = 0; i < 5; i++) {
			quirk("TCG 7.2 ignores unknown MSRs");
			want(catch(s_rdmsr, none[i]), GP, 0, s_rdmsr_at, "read");
			quirk("TCG 7.2 ignores unknown MSRs");
			want(catch(s_wrmsr, none[i], 0), GP, 0, s_wrmsr_at, "write");
		}
	}
	{
		uint64_t r[2];

		catch(s_rdmsr_wide, MSR_EFER, r);
		check(r[0] >> 32 == 0 && r[1] >> 32 == 0, "rdmsr clears the upper halves: %llx %llx", (unsigned long long)r[0],
			(unsigned long long)r[1]);
	}
	section("TSC");
	{
		uint64_t a = rdtsc(), b = rdtsc();

		check(b >= a, "does not go back");
		wrmsr(MSR_TSC, 1ull << 50);
		b = rdtsc();
		quirk("TCG 7.2 cannot write it");
		check(b >= 1ull << 50 && b - (1ull << 50) < 100000000000ull, "can be written: %llx", (unsigned long long)b);
		wrmsr(MSR_TSC, a);
	}
	section("EFER");
	{
		uint64_t efer = rdmsr(MSR_EFER);

		check((efer & ~0x800ull) == (EFER_LMA | EFER_LME | EFER_SCE), "value %llx", (unsigned long long)efer);
		refuses(MSR_EFER, efer | 2, "EFER");
		refuses(MSR_EFER, efer | 1ull << 40, "EFER");
		wrmsr(MSR_EFER, efer & ~(uint64_t)EFER_LMA);
		check(rdmsr(MSR_EFER) == efer, "LMA is read only: %llx", (unsigned long long)rdmsr(MSR_EFER));
	}
}

static void control(void)
{
	ulong cr0 = rdcr0(), cr4 = rdcr4();
	struct trap *t;

	section("CR0");
	quirks("TCG 7.2 does not check CR0 writes");
	check(cr0 & CR0_ET, "ET is set");
	wrcr0(cr0 & ~(ulong)CR0_ET);
	check(rdcr0() & CR0_ET, "ET cannot be cleared");
	if (!rt_tcg) {
		want(catch(s_wrcr0, cr0 | 1ul << 32), GP, 0, s_wrcr0, "upper half");
		want(catch(s_wrcr0, cr0 | CR0_NW), GP, 0, s_wrcr0, "NW without CD");
		want(catch(s_wrcr0, cr0 & ~(ulong)CR0_PE), GP, 0, s_wrcr0, "PG without PE");
	}
	t = catch(s_wrcr0, cr0 | CR0_CD);
	check(t->vec == NOTRAP && rdcr0() & CR0_CD, "CD");
	t = catch(s_wrcr0, cr0 | CR0_CD | CR0_NW);
	check(t->vec == NOTRAP, "CD and NW");
	wrcr0(cr0);
	t = catch(s_wrcr0, cr0 | 0x40);
	check(t->vec == NOTRAP && !(rdcr0() & 0x40), "reserved bits below 32 are ignored: %ld %lx", t->vec, rdcr0());
	wrcr0(cr0);

	section("CR4");
	quirks("TCG 7.2 does not check CR4 writes");
	for (unsigned bit = 0; bit < 64; bit++) {
		ulong b = 1ul << bit;
		/* what CPUID says about a bit; those without a row are always there or never */
		static const struct { uint8_t bit; uint64_t f; } row[] = {
			{0, CPUID_(1, 0, 3, 1)}, {1, CPUID_(1, 0, 3, 1)}, {16, F_FSGSBASE}, {18, F_XSAVE}, {20, F_SMEP}, {21, F_SMAP}, {22, F_PKU}, {11, F_UMIP}, {17, F_PCID},
			{13, CPUID_(1, 0, 2, 5)}, {14, CPUID_(1, 0, 2, 6)}, {23, CPUID_(7, 0, 2, 7)}, {24, CPUID_(7, 0, 2, 31)},
		};
		bool may = bit < 11 ? true : false, skip_it = bit == 5 || bit == 12 || bit == 17 || bit == 23 || bit >= 24;

		for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++)
			if (row[i].bit == bit)
				may = cpu_has(row[i].f);
		if ((skip_it && bit < 33) || bit == 13 || bit == 14)
			continue;
		if (rt_tcg && !may)
			continue;
		t = catch(s_wrcr4, cr4 ^ b);
		if (may)
			check(t->vec == NOTRAP && rdcr4() == (cr4 ^ b), "bit %u: %ld, %lx", bit, t->vec, rdcr4());
		else
			check(t->vec == GP && rdcr4() == cr4, "bit %u has no feature: %ld, %lx", bit, t->vec, rdcr4());
		wrcr4(cr4);
	}
	if (!cpu_has(F_LA57)) {
		t = catch(s_wrcr4, cr4 | CR4_LA57);
		check(t->vec == GP, "LA57 in long mode");
		wrcr4(cr4);
	} else {
		t = catch(s_wrcr4, cr4 | CR4_LA57);
		check(t->vec == GP, "LA57 with paging on: %ld", t->vec);
		wrcr4(cr4);
	}
	if (cpu_has(F_XSAVE)) {
		section("CPUID.OSXSAVE and XCR0");
		wrcr4(cr4 & ~(ulong)CR4_OSXSAVE);
		check(!cpu_has(CPUID_(1, 0, 2, 27)), "clear");
		want(catch(s_xgetbv, 0), UD, 0, s_xgetbv_at, "xgetbv without OSXSAVE");
		quirk("TCG 7.2 raises nothing");
		want(catch(s_xsetbv, 0, 1), UD, 0, s_xsetbv_at, "xsetbv without OSXSAVE");
		wrcr4(cr4 | CR4_OSXSAVE);
		check(cpu_has(CPUID_(1, 0, 2, 27)), "set");
		want(catch(s_xgetbv, 0), NOTRAP, 0, NULL, "xgetbv");
		want(catch(s_xgetbv, 7), GP, 0, s_xgetbv_at, "XCR7");
		want(catch(s_xsetbv, 1, 1), GP, 0, s_xsetbv_at, "XCR1");
		want(catch(s_xsetbv, 0, 0), GP, 0, s_xsetbv_at, "x87 cannot be off");
		want(catch(s_xsetbv, 0, 5), GP, 0, s_xsetbv_at, "AVX without SSE");
		want(catch(s_xsetbv, 0, 1ull << 62 | 1), GP, 0, s_xsetbv_at, "unknown component");
		want(catch(s_xsetbv, 0, 3), NOTRAP, 0, NULL, "x87 and SSE");
		{
			uint32_t r[4], x[4];

			cpuid(0xd, 0, r);
			check(r[1] == 576, "size of what is on: %u", r[1]);
			cpuid(0xd, 1, x);
			if (r[0] & 4) {
				catch(s_xsetbv, 0, 7);
				cpuid(0xd, 0, r);
				check(r[1] == 832, "with AVX: %u", r[1]);
				catch(s_xsetbv, 0, 3);
			}
		}
		wrcr4(cr4);
	}
}

static void cpuids(void)
{
	uint64_t r[4];
	uint32_t a[4], b[4];

	section("CPUID");
	catch(s_cpuid, r);
	check(!(r[0] >> 32 | r[1] >> 32 | r[2] >> 32 | r[3] >> 32), "upper halves are zero");
	cpuid(0, 0, a);
	check(a[0] >= 7, "basic leaves %u", a[0]);
	cpuid(0x80000000, 0, b);
	check(b[0] >= 0x80000008, "extended leaves %x", b[0]);
	cpuid(a[0] + 0x1000, 0, a);
	cpuid(0x80000008, 0, a);
	check((a[0] & 0xff) >= 36 && (a[0] & 0xff) <= 52 && ((a[0] >> 8 & 0xff) == 48 || cpu_has(F_LA57)), "address widths %x", a[0]);
	cpuid(1, 0, a);
	check((a[1] >> 24) == apic_read(0x20) >> 24, "initial APIC id");
	check((a[1] >> 8 & 0xff) == 8, "CLFLUSH line");
	check(a[3] & 1 << 9 && a[3] & 1 << 0 && a[3] & 1 << 6 && a[3] & 1 << 13 && a[3] & 1 << 26, "APIC FPU PAE PGE SSE2: %x", a[3]);
	check(!cpu_has(CPUID_(1, 0, 2, 5)) || rt_tcg, "no VMX");
	wrcr4(rdcr4() | (cpu_has(F_PKU) ? CR4_PKE : 0));
	if (cpu_has(F_PKU))
		check(cpu_has(CPUID_(7, 0, 2, 4)), "OSPKE follows CR4");
	wrcr4(rdcr4() & ~(ulong)CR4_PKE);
}

void test_main(void)
{
	msrs();
	control();
	cpuids();
}
