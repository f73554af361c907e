/* SPDX-License-Identifier: MIT */
/*
 * The tables (ACPI 6.4, chapter 5). The machine is hardware-reduced (4.1): no fixed event registers
 * and no SCI; events come from a Generic Event Device (5.6.9), sleep and reset have a register
 * each. The fields of the FADT about fixed hardware stay zero, also that of the PM timer:
 * hardware-reduced systems do not have them, and a Linux that is told of a PM timer would use it to
 * judge a TSC that is better.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "dev/acpi.h"
#include "dev/aml.h"
#include "dev/ioapic.h"
#include "dev/legacy.h"

#define LAPIC_BASE 0xfee00000u

enum { HEADER = 36, RSDP_SIZE = 36, TABLE_ALIGN = 16 };
enum { FADT_SIZE = 276, FADT_REVISION = 6, FADT_MINOR = 4 };
enum { MADT_REVISION = 5, LAPIC_ID_MAX = 254 }; /* 255 is the broadcast id */
enum { ECAM_BUSES = BOARD_ECAM_SIZE >> 20 };
/* I/O ports for PCI: above what the board's own devices and the test devices use */
enum { PCI_IO_FIRST = 0x4000, PCI_IO_LAST = 0xffff };
enum { PCI_SLOTS = 32, PCI_GSI_FIRST = 16, PCI_GSIS = IOAPIC_PINS - PCI_GSI_FIRST };

/* FADT flags (table 5.10) and boot architecture flags (table 5.11) */
enum {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_PWR_BUTTON = 1 << 4,
	FADT_SLP_BUTTON = 1 << 5,
	FADT_FIX_RTC = 1 << 6,
	FADT_RESET_REG = 1 << 10,
	FADT_HW_REDUCED = 1 << 20
};
enum { BOOT_ARCH_LEGACY = 1, BOOT_ARCH_8042 = 2, BOOT_ARCH_NO_VGA = 4 };

struct tables {
	uint8_t *p;
	size_t len, cap; /* len > cap: it did not fit */
};

static void put(struct tables *t, const void *p, size_t n)
{
	if (t->len <= t->cap && n <= t->cap - t->len)
		memcpy(t->p + t->len, p, n);
	else
		t->len = max_u64(t->len, t->cap + 1);
	t->len += n;
}

static uint8_t checksum(const uint8_t *p, size_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum = (uint8_t)(sum + *p++);
	return (uint8_t)-sum;
}

/* Opens a table at the next aligned place; returns its offset, which close_table() wants. */
static size_t open_table(struct tables *t, const char *signature, uint8_t revision)
{
	static const uint8_t zero[TABLE_ALIGN];
	uint8_t h[HEADER] = {0};
	size_t at;

	put(t, zero, -t->len % TABLE_ALIGN);
	at = t->len;
	memcpy(h, signature, 4);
	h[8] = revision;
	memcpy(h + 10, "HUSK  ", 6);
	memcpy(h + 16, "HUSKBORD", 8);
	put_u32(h + 24, 1);
	memcpy(h + 28, "HUSK", 4);
	put_u32(h + 32, 1);
	put(t, h, sizeof h);
	return at;
}

static uint64_t close_table(struct tables *t, size_t at)
{
	if (t->len <= t->cap) {
		put_u32(t->p + at + 4, (uint32_t)(t->len - at));
		t->p[at + 9] = checksum(t->p + at, t->len - at);
	}
	return ACPI_RSDP_ADDR + at;
}

static void name_crs(struct aml *a)
{
	aml_op(a, AML_NAME);
	aml_name(a, "_CRS");
	aml_begin_buffer(a);
}

static void end_crs(struct aml *a)
{
	aml_res_end(a);
	aml_end(a);
}

/*
 * _OSC of a PCI Express host bridge (PCI Firmware 3.3, 4.5): the guest's system may do everything
 * itself but SHPC hotplug, which there is none of.
 */
static void dsdt_osc(struct aml *a)
{
	enum { UNKNOWN_UUID = 4, UNKNOWN_REVISION = 8, MASKED = 16, GRANTED = 0x1d };
	static const char *const dword[3] = {"CDW1", "CDW2", "CDW3"};

	aml_begin_method(a, "_OSC", 4, true);
	for (unsigned i = 0; i < 3; i += 2) {
		aml_op(a, AML_DWORD_FIELD);
		aml_op(a, AML_ARG3);
		aml_int(a, 4 * i);
		aml_name(a, dword[i]);
	}
	aml_begin_if(a);
	aml_op(a, AML_LEQUAL);
	aml_op(a, AML_ARG0);
	aml_uuid(a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
	aml_op(a, AML_AND);
	aml_name(a, "CDW3");
	aml_int(a, GRANTED);
	aml_op(a, AML_LOCAL0);
	aml_begin_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_op(a, AML_ARG1);
	aml_int(a, 1);
	aml_op(a, AML_OR);
	aml_name(a, "CDW1");
	aml_int(a, UNKNOWN_REVISION);
	aml_name(a, "CDW1");
	aml_end(a);
	aml_begin_if(a);
	aml_op(a, AML_LNOT);
	aml_op(a, AML_LEQUAL);
	aml_name(a, "CDW3");
	aml_op(a, AML_LOCAL0);
	aml_op(a, AML_OR);
	aml_name(a, "CDW1");
	aml_int(a, MASKED);
	aml_name(a, "CDW1");
	aml_end(a);
	aml_op(a, AML_STORE);
	aml_op(a, AML_LOCAL0);
	aml_name(a, "CDW3");
	aml_end(a);
	aml_begin_else(a);
	aml_op(a, AML_OR);
	aml_name(a, "CDW1");
	aml_int(a, UNKNOWN_UUID);
	aml_name(a, "CDW1");
	aml_end(a);
	aml_op(a, AML_RETURN);
	aml_op(a, AML_ARG3);
	aml_end(a);
}

/* INTA-INTD of all slots over the GSIs behind the ISA ones, each slot begins one further. */
static void dsdt_prt(struct aml *a)
{
	aml_op(a, AML_NAME);
	aml_name(a, "_PRT");
	aml_begin_package(a, PCI_SLOTS * 4);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		for (unsigned pin = 0; pin < 4; pin++) {
			aml_begin_package(a, 4);
			aml_int(a, (uint64_t)slot << 16 | 0xffff);
			aml_int(a, pin);
			aml_int(a, 0); /* no link device: the next is a GSI */
			aml_int(a, PCI_GSI_FIRST + (slot + pin) % PCI_GSIS);
			aml_end(a);
		}
	aml_end(a);
}

static void dsdt_pci(struct aml *a, const struct acpi_config *c)
{
	aml_begin_device(a, "PCI0");
	aml_name_eisaid(a, "_HID", "PNP0A08");
	aml_name_eisaid(a, "_CID", "PNP0A03");
	aml_name_int(a, "_SEG", 0);
	aml_name_int(a, "_BBN", 0);
	aml_name_int(a, "_UID", 0);
	name_crs(a);
	aml_res_bus_range(a, 0, ECAM_BUSES - 1);
	aml_res_io(a, 0xcf8, 8);
	aml_res_io_range(a, PCI_IO_FIRST, PCI_IO_LAST);
	aml_res_memory32_range(a, BOARD_PCI_MMIO32, BOARD_ECAM_BASE - 1);
	if (c->mmio64_size)
		aml_res_memory64_range(
			a, c->mmio64_base, c->mmio64_base + c->mmio64_size - 1, true);
	end_crs(a);
	dsdt_prt(a);
	dsdt_osc(a);
	aml_end(a);
}

/* Devices that need no more than ports and an interrupt */
static const struct {
	const char *name, *hid;
	uint16_t port[2];
	uint8_t nports[2], irq; /* irq 0: none (it is the timer's) */
} isa_devices[] = {
	{"COM1", "PNP0501", {0x3f8}, {8}, 4},
	{"RTC", "PNP0B00", {0x70}, {2}, 8},
	{"KBD", "PNP0303", {0x60, 0x64}, {1, 1}, 1},
	{"MOU", "PNP0F13", {0}, {0}, 12},
	{"PVPN", "QEMU0001", {PVPANIC_PORT}, {1}, 0},
};

static void dsdt_isa(struct aml *a)
{
	for (unsigned i = 0; i < ARRAY_LEN(isa_devices); i++) {
		aml_begin_device(a, isa_devices[i].name);
		if (strlen(isa_devices[i].hid) == 7)
			aml_name_eisaid(a, "_HID", isa_devices[i].hid);
		else
			aml_name_string(a, "_HID", isa_devices[i].hid);
		aml_name_int(a, "_UID", 1);
		aml_name_int(a, "_STA", 0xf);
		name_crs(a);
		for (unsigned k = 0; k < 2; k++)
			if (isa_devices[i].nports[k])
				aml_res_io(a, isa_devices[i].port[k], isa_devices[i].nports[k]);
		if (isa_devices[i].irq)
			aml_res_irq(a, isa_devices[i].irq);
		end_crs(a);
		aml_end(a);
	}
}

/* Reading the status register lowers the interrupt (legacy.h), so _EVT reads it exactly once. */
static void dsdt_events(struct aml *a)
{
	aml_begin_device(a, "PWRB");
	aml_name_eisaid(a, "_HID", "PNP0C0C");
	aml_name_int(a, "_UID", 0);
	aml_end(a);

	aml_begin_device(a, "GED");
	aml_name_string(a, "_HID", "ACPI0013");
	aml_name_int(a, "_UID", 0);
	name_crs(a);
	aml_res_gsi(a, ACPI_PM_GED_IRQ, true);
	end_crs(a);
	aml_region(a, "GREG", AML_SYSTEM_IO, ACPI_PM_GED, 1);
	aml_field_byte(a, "GREG", "GSTS");
	aml_begin_method(a, "_EVT", 1, true);
	aml_op(a, AML_STORE);
	aml_name(a, "GSTS");
	aml_op(a, AML_LOCAL0);
	aml_begin_if(a);
	aml_op(a, AML_AND);
	aml_op(a, AML_LOCAL0);
	aml_int(a, ACPI_PM_GED_BUTTON);
	aml_op(a, AML_NO_TARGET);
	aml_op(a, AML_NOTIFY);
	aml_name(a, "\\_SB.PWRB");
	aml_int(a, 0x80); /* button pressed (table 5.184) */
	aml_end(a);
	aml_end(a);
	aml_end(a);
}

/* What belongs to the board and to no driver; systems use ECAM only when it is claimed here. */
static void dsdt_board(struct aml *a)
{
	aml_begin_device(a, "BORD");
	aml_name_eisaid(a, "_HID", "PNP0C02");
	aml_name_int(a, "_UID", 0);
	name_crs(a);
	aml_res_memory32(a, BOARD_ECAM_BASE, BOARD_ECAM_SIZE);
	aml_res_io(a, ACPI_PM_SLEEP_CONTROL, 0x10);
	end_crs(a);
	aml_end(a);
}

static void dsdt_cpus(struct aml *a, unsigned ncpus)
{
	for (unsigned i = 0; i < ncpus; i++) {
		char name[8];

		snprintf(name, sizeof name, "C%03X", i & 0xfff);
		aml_begin_device(a, name);
		aml_name_string(a, "_HID", "ACPI0007");
		aml_name_int(a, "_UID", i);
		aml_end(a);
	}
}

static uint64_t put_dsdt(struct tables *t, const struct acpi_config *c)
{
	size_t at = open_table(t, "DSDT", 2);
	struct aml a;

	aml_init(&a, t->p + min_u64(t->len, t->cap), t->cap - min_u64(t->len, t->cap));
	aml_begin_scope(&a, "\\_SB");
	dsdt_pci(&a, c);
	dsdt_isa(&a);
	dsdt_events(&a);
	dsdt_board(&a);
	dsdt_cpus(&a, c->ncpus);
	aml_end(&a);
	aml_op(&a, AML_NAME);
	aml_name(&a, "\\_S5");
	aml_begin_package(&a, 4);
	aml_int(&a, ACPI_PM_S5_TYPE);
	for (unsigned i = 1; i < 4; i++)
		aml_int(&a, 0);
	aml_end(&a);
	aml_fini(&a); /* too long shows in len as well */
	t->len += a.len;
	return close_table(t, at);
}

/* Generic address structure (5.2.3.2) of an 8-bit port */
static void gas_port(uint8_t *p, uint16_t port)
{
	p[0] = AML_SYSTEM_IO;
	p[1] = 8;
	p[3] = 1; /* byte access */
	put_u64(p + 4, port);
}

static uint64_t put_fadt(struct tables *t, uint64_t dsdt)
{
	size_t at = open_table(t, "FACP", FADT_REVISION);
	uint8_t f[FADT_SIZE] = {0};

	put_u32(f + 40, (uint32_t)dsdt);
	/* Ignored here; older systems route GSI 9 by it in the way the MADT says, too. */
	put_u16(f + 46, ACPI_PM_GED_IRQ);
	put_u16(f + 109, BOOT_ARCH_LEGACY | BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA);
	put_u32(f + 112, FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
				 FADT_FIX_RTC | FADT_RESET_REG | FADT_HW_REDUCED);
	gas_port(f + 116, ACPI_PM_RESET);
	f[128] = ACPI_PM_RESET_VALUE;
	f[131] = FADT_MINOR;
	put_u64(f + 140, dsdt);
	gas_port(f + 244, ACPI_PM_SLEEP_CONTROL);
	gas_port(f + 256, ACPI_PM_SLEEP_STATUS);
	memcpy(f + 268, "HUSK", 4); /* hypervisor vendor */
	put(t, f + HEADER, sizeof f - HEADER);
	return close_table(t, at);
}

static void madt_override(struct tables *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	uint8_t e[10] = {2, sizeof e, 0 /* ISA */, irq};

	put_u32(e + 4, gsi);
	put_u16(e + 8, flags);
	put(t, e, sizeof e);
}

static uint64_t put_madt(struct tables *t, const struct acpi_config *c)
{
	enum { ACTIVE_HIGH = 1, LEVEL = 3 << 2, PCAT_COMPAT = 1, ENABLED = 1 };
	size_t at = open_table(t, "APIC", MADT_REVISION);
	uint8_t fixed[8] = {0}, ioapic[12] = {1, sizeof ioapic}, nmi[6] = {4, sizeof nmi, 0xff};
	uint8_t x2nmi[12] = {10, sizeof x2nmi};

	put_u32(fixed, LAPIC_BASE);
	put_u32(fixed + 4, PCAT_COMPAT);
	put(t, fixed, sizeof fixed);
	for (unsigned i = 0; i < c->ncpus; i++) {
		if (i <= LAPIC_ID_MAX) {
			uint8_t e[8] = {0, sizeof e, (uint8_t)i, (uint8_t)i, ENABLED};

			put(t, e, sizeof e);
		} else {
			uint8_t e[16] = {9, sizeof e};

			put_u32(e + 4, i);
			put_u32(e + 8, ENABLED);
			put_u32(e + 12, i);
			put(t, e, sizeof e);
		}
	}
	put_u32(ioapic + 4, IOAPIC_BASE);
	put(t, ioapic, sizeof ioapic);
	madt_override(t, 0, 2, 0); /* as on any PC: the 8254 is on pin 2 */
	madt_override(t, ACPI_PM_GED_IRQ, ACPI_PM_GED_IRQ, ACTIVE_HIGH | LEVEL);
	nmi[5] = 1; /* LINT1 of all */
	put(t, nmi, sizeof nmi);
	if (c->ncpus > LAPIC_ID_MAX + 1) {
		put_u32(x2nmi + 4, UINT32_MAX);
		x2nmi[8] = 1;
		put(t, x2nmi, sizeof x2nmi);
	}
	return close_table(t, at);
}

static uint64_t put_mcfg(struct tables *t)
{
	size_t at = open_table(t, "MCFG", 1);
	uint8_t e[24] = {0};

	put_u64(e + 8, BOARD_ECAM_BASE);
	e[19] = ECAM_BUSES - 1;
	put(t, e, sizeof e);
	return close_table(t, at);
}

int acpi_build(const struct acpi_config *c, uint8_t *buf, size_t len, struct err *e)
{
	struct tables t = {.p = buf, .cap = min_u64(len, ACPI_AREA_SIZE)};
	uint8_t rsdp[RSDP_SIZE] = "RSD PTR ";
	uint64_t dsdt, xsdt, table[3];
	size_t at;

	put(&t, rsdp, sizeof rsdp); /* filled in at the end */
	dsdt = put_dsdt(&t, c);
	table[0] = put_fadt(&t, dsdt);
	table[1] = put_madt(&t, c);
	table[2] = put_mcfg(&t);
	at = open_table(&t, "XSDT", 1);
	put(&t, table, sizeof table);
	xsdt = close_table(&t, at);
	if (t.len > t.cap)
		return err_set(e, ENOSPC,
			"ACPI tables for %u CPUs do not fit into %zu bytes: use fewer CPUs",
			c->ncpus, t.cap);
	memcpy(rsdp + 9, "HUSK  ", 6);
	rsdp[15] = 2; /* revision */
	put_u32(rsdp + 20, RSDP_SIZE);
	put_u64(rsdp + 24, xsdt);
	rsdp[8] = checksum(rsdp, 20);
	rsdp[32] = checksum(rsdp, sizeof rsdp);
	memcpy(buf, rsdp, sizeof rsdp);
	return (int)t.len;
}
