/* SPDX-License-Identifier: MIT */
/* the local APIC's timer in all modes, xAPIC and x2APIC; x2APIC's register rules */
#include "rt.h"

static volatile unsigned ticks;
static volatile uint64_t when;

static bool on_tick(struct frame *f)
{
	ticks++;
	when = rdtsc();
	apic_write(0xb0, 0);
	return true;
}

SNIPPET(s_rdmsr, "mov %edi, %ecx\n .globl s_rdmsr_at\ns_rdmsr_at: rdmsr\n ret");
LABEL(s_rdmsr_at);
SNIPPET(s_wrmsr, "mov %edi, %ecx\n mov %esi, %eax\n mov %rsi, %rdx\n shr $32, %rdx\n .globl s_wrmsr_at\ns_wrmsr_at: wrmsr\n ret");
LABEL(s_wrmsr_at);

static void spin(uint64_t n)
{
	for (uint64_t t = rdtsc(); rdtsc() - t < n; )
		pause_();
}

static void one_shot(void)
{
	uint32_t c;

	section(rdmsr(MSR_APIC_BASE) & 0x400 ? "x2APIC one-shot" : "one-shot");
	ticks = 0;
	apic_write(0x3e0, 0xb);
	check(apic_read(0x3e0) == 0xb, "divide configuration reads back");
	apic_write(0x320, 0x40);
	apic_write(0x380, 200000);
	sti();
	check(until(ticks == 1), "fires: %u", ticks);
	check(apic_read(0x390) == 0, "the count has run out: %u", apic_read(0x390));
	spin(3000000);
	check(ticks == 1, "once: %u", ticks);
	cli();
	apic_write(0x320, 0x10040);
	apic_write(0x380, 0x10000000);
	c = apic_read(0x390);
	spin(100000);
	check(c <= 0x10000000 && apic_read(0x390) < c, "counts down: %x, %x", c, apic_read(0x390));
	apic_write(0x380, 0);
	check(apic_read(0x390) == 0, "initial count 0 stops it");
	/* the divider slows the count down; the host may take the CPU away in the middle, so several tries */
	{
		static const uint32_t div[2] = {0xb, 0x9}; /* by 1, by 64 */
		ulong rate[2] = {0, 0};
		bool ok = false;

		for (int try = 0; try < 10 && !ok; try++) {
			for (int i = 0; i < 2; i++) {
				ulong t;

				apic_write(0x3e0, div[i]);
				t = rdtsc();
				apic_write(0x380, 0xffffffff);
				spin(2000000);
				rate[i] = (0xffffffff - apic_read(0x390)) * 1000000ul;
				rate[i] /= rdtsc() - t;
				apic_write(0x380, 0);
			}
			ok = rate[0] >= rate[1] * 56 && rate[0] <= rate[1] * 72;
		}
		check(ok, "divide by 1: %lu per million TSC, by 64: %lu", rate[0], rate[1]);
		apic_write(0x3e0, 0xb);
	}
	/* masked: counts, does not fire */
	ticks = 0;
	apic_write(0x320, 0x10040);
	apic_write(0x380, 1000);
	sti();
	spin(1000000);
	cli();
	check(ticks == 0, "masked");
}

static void periodic(void)
{
	uint32_t c;

	section("periodic");
	ticks = 0;
	apic_write(0x320, 0x20040);
	apic_write(0x380, 100000);
	sti();
	check(until(ticks >= 10), "fires again and again: %u", ticks);
	apic_write(0x320, 0x30040);
	c = ticks;
	spin(2000000);
	check(ticks <= c + 1, "masked");
	cli();
	check(apic_read(0x390) <= 100000, "the count reloads: %u", apic_read(0x390));
	apic_write(0x380, 0);
	sti_nop_cli();
	ticks = 0;
	sti();
	spin(1000000);
	cli();
	check(ticks == 0, "stopped");
}

static void deadline(void)
{
	uint64_t t;

	section(rdmsr(MSR_APIC_BASE) & 0x400 ? "x2APIC TSC deadline" : "TSC deadline");
	if (!cpu_has(F_DEADLINE)) {
		quirk("TCG 7.2 ignores unknown MSRs");
		want(catch(s_wrmsr, MSR_TSC_DEADLINE, 0), GP, 0, s_wrmsr_at, "the MSR without the feature");
		skip("no TSC deadline");
		return;
	}
	ticks = 0;
	apic_write(0x320, 0x40);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000);
	check(rdmsr(MSR_TSC_DEADLINE) == 0, "writes are ignored outside the mode");
	apic_write(0x320, 0x40040);
	sti();
	t = rdtsc() + 5000000;
	wrmsr(MSR_TSC_DEADLINE, t);
	check(rdmsr(MSR_TSC_DEADLINE) == t || ticks, "reads back while armed");
	check(until(ticks == 1), "fires: %u", ticks);
	check(when >= t, "not early: %lld", (long long)(when - t));
	check(rdmsr(MSR_TSC_DEADLINE) == 0, "reads 0 after it fired");
	wrmsr(MSR_TSC_DEADLINE, 1);
	check(until(ticks == 2), "a deadline in the past fires at once");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 1000000000000ull);
	wrmsr(MSR_TSC_DEADLINE, 0);
	check(rdmsr(MSR_TSC_DEADLINE) == 0, "0 disarms");
	spin(1000000);
	check(ticks == 2, "disarmed");
	apic_write(0x380, 1000);
	check(apic_read(0x380) == 0 && apic_read(0x390) == 0, "initial count is ignored in this mode");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 20000000);
	apic_write(0x320, 0x40); /* leaving the mode disarms */
	spin(30000000);
	check(ticks == 2, "leaving the mode disarms: %u", ticks);
	cli();
	apic_write(0x320, 0x10000);
}

static void hlt_timer(void)
{
	section("hlt");
	ticks = 0;
	apic_write(0x3e0, 0xb);
	apic_write(0x320, 0x20040);
	apic_write(0x380, 1000000);
	for (unsigned i = 0; i < 5; i++)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	apic_write(0x380, 0);
	check(ticks >= 5, "each hlt ends by a tick: %u", ticks);
	apic_write(0x320, 0x10000);
	sti_nop_cli();
}

static void x2apic(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);
	uint32_t id = apic_read(0x20) >> 24;

	section("APIC base");
	check(base & 0x100, "CPU 0 is the boot CPU: %llx", (unsigned long long)base);
	check((base & 0xfffffffff000) == 0xfee00000, "address");
	quirk("TCG 7.2 takes anything");
	want(catch(s_wrmsr, MSR_APIC_BASE, base | 1ull << 60), GP, 0, s_wrmsr_at, "reserved bits");
	wrmsr(MSR_APIC_BASE, base);
	if (!cpu_has(F_X2APIC)) {
		quirk("TCG 7.2 ignores unknown MSRs");
		want(catch(s_rdmsr, 0x802), GP, 0, s_rdmsr_at, "x2APIC MSR without the feature");
		skip("no x2APIC");
		return;
	}
	section("x2APIC");
	want(catch(s_rdmsr, 0x802), GP, 0, s_rdmsr_at, "its MSRs in xAPIC mode");
	want(catch(s_wrmsr, MSR_APIC_BASE, (base & ~0x800ull) | 0x400), GP, 0, s_wrmsr_at, "EXTD without EN");
	apic_x2();
	check(rdmsr(0x802) == id, "ID %llx", (unsigned long long)rdmsr(0x802));
	check(rdmsr(0x80d) == ((id & ~15u) << 12 | 1u << (id & 15)), "LDR %llx", (unsigned long long)rdmsr(0x80d));
	want(catch(s_wrmsr, MSR_APIC_BASE, base), GP, 0, s_wrmsr_at, "straight back to xAPIC");
	want(catch(s_wrmsr, 0x802, 1), GP, 0, s_wrmsr_at, "ID is read only");
	want(catch(s_wrmsr, 0x803, 1), GP, 0, s_wrmsr_at, "version is read only");
	want(catch(s_wrmsr, 0x80d, 1), GP, 0, s_wrmsr_at, "LDR is read only");
	want(catch(s_rdmsr, 0x80b), GP, 0, s_rdmsr_at, "EOI is write only");
	want(catch(s_rdmsr, 0x83f), GP, 0, s_rdmsr_at, "SELF IPI is write only");
	want(catch(s_wrmsr, 0x80b, 1), GP, 0, s_wrmsr_at, "EOI takes 0 only");
	want(catch(s_wrmsr, 0x828, 1), GP, 0, s_wrmsr_at, "ESR takes 0 only");
	want(catch(s_wrmsr, 0x808, 0x100), GP, 0, s_wrmsr_at, "TPR reserved bits");
	want(catch(s_rdmsr, 0x80e), GP, 0, s_rdmsr_at, "no DFR");
	want(catch(s_rdmsr, 0x831), GP, 0, s_rdmsr_at, "no ICR2");
	want(catch(s_rdmsr, 0x801), GP, 0, s_rdmsr_at, "no register 1");
	want(catch(s_wrmsr, 0x810, 0), GP, 0, s_wrmsr_at, "ISR is read only");
	want(catch(s_wrmsr, 0x839, 0), GP, 0, s_wrmsr_at, "current count is read only");
	want(catch(s_wrmsr, 0x832, 1u << 20), GP, 0, s_wrmsr_at, "LVT reserved bits");
	ticks = 0;
	wrmsr(0x83f, 0x40);
	sti_nop_cli();
	check(ticks == 1, "SELF IPI: %u", ticks);
	wrmsr(0x830, (uint64_t)id << 32 | 0x40);
	sti_nop_cli();
	check(ticks == 2, "ICR is one MSR: %u", ticks);
	wrmsr(0x830, 0xffffffffull << 32 | 0x40);
	sti_nop_cli();
	check(ticks == 3, "broadcast destination: %u", ticks);
	wrmsr(0x830, rdmsr(0x80d) << 32 | 0x840);
	sti_nop_cli();
	check(ticks == 4, "logical destination: %u", ticks);
	one_shot();
	deadline();
	hlt_timer();
	section("x2APIC off");
	wrmsr(MSR_APIC_BASE, base & ~0xc00ull);
	check(!cpu_has(CPUID_(1, 0, 3, 9)), "CPUID.APIC follows the enable bit");
	want(catch(s_wrmsr, MSR_APIC_BASE, base | 0xc00), GP, 0, s_wrmsr_at, "from off straight to x2APIC");
	wrmsr(MSR_APIC_BASE, base);
	check(cpu_has(CPUID_(1, 0, 3, 9)), "and on");
}

void test_main(void)
{
	rt_hook[0x40] = on_tick;
	apic_enable();
	one_shot();
	periodic();
	deadline();
	hlt_timer();
	x2apic();
}
