/* SPDX-License-Identifier: MIT */
/* ways to shut the CPU down (how=N on the command line); coming out alive is the failure */
#include "rt.h"

static struct __attribute__((packed)) {
	uint16_t limit;
	ulong base;
} none = {0, 0}, hole = {0xfff, 0xd0000000};

void test_main(void)
{
	ulong how = 0;

	rt_arg("how", &how);
	say("how=%lu: about to shut down\n", how);
	switch (how) {
	case 0: /* no IDT */
		__asm__ volatile("lidt %0; ud2" :: "m"(none));
		break;
	case 1: /* the IDT reads as all ones from a hole */
		__asm__ volatile("lidt %0; ud2" :: "m"(hole));
		break;
	case 2: /* the double fault has no good stack either */
		rt_gate_ist(DF, 0);
		__asm__ volatile("mov %0, %%rsp; push %%rax" :: "r"(0x400000000000ul));
		break;
	case 3: /* page tables that are empty */
		wrcr3((ulong)page_alloc());
		break;
	case 4: /* page tables in a hole */
		wrcr3(0xd0000000);
		break;
	case 5: /* no GDT for the handler's CS */
		__asm__ volatile("lgdt %0; ud2" :: "m"(none));
		break;
	default: /* the other CPU goes down: so does the machine */
		rt_smp_start();
		apic_icr(0, 0xc4500);
		memcpy((void *)0x22000, "\x2e\x0f\x01\x1e\x08\x00\x0f\x0b\0\0\0\0\0\0", 14); /* lidt %cs:(8); ud2 */
		apic_icr(0, 0xc4622);
		for (uint64_t t = rdtsc(); rdtsc() - t < 3000000000ull; )
			pause_();
		break;
	}
	check(false, "still alive");
}
