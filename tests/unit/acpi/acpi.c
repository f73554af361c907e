/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables as a guest finds them: from the RSDP on, with all checksums; and the AML builder's
 * encodings against bytes written out by hand from ACPI 6.4 chapter 20.
 * "acpi-test --dump CPUS DIR" writes the tables as files for iasl.sh.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "dev/acpi.h"
#include "dev/aml.h"
#include "dev/ioapic.h"
#include "dev/legacy.h"

static uint8_t area[ACPI_AREA_SIZE];
static size_t used;

static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s = (uint8_t)(s + *p++);
	return s;
}

static const uint8_t *at(uint64_t gpa, size_t n)
{
	assert(gpa >= ACPI_RSDP_ADDR && gpa - ACPI_RSDP_ADDR <= used &&
		n <= used - (gpa - ACPI_RSDP_ADDR));
	return area + (gpa - ACPI_RSDP_ADDR);
}

static const uint8_t *table(uint64_t gpa, const char *signature)
{
	const uint8_t *t = at(gpa, 36);

	assert(gpa % 16 == 0 && !memcmp(t, signature, 4));
	assert(sum(at(gpa, get_u32(t + 4)), get_u32(t + 4)) == 0);
	return t;
}

static void build(unsigned ncpus)
{
	struct acpi_config c = {.ncpus = ncpus, .mmio64_base = 64 * GIB, .mmio64_size = 16 * GIB};
	struct err e = {0};
	int rc;

	memset(area, 0xaa, sizeof area);
	rc = acpi_build(&c, area, sizeof area, &e);
	assert(rc > 0 && !e.code);
	used = (size_t)rc;
	for (size_t i = used; i < sizeof area; i++)
		assert(area[i] == 0xaa);
}

static void check_madt(const uint8_t *t, unsigned ncpus)
{
	unsigned cpus = 0, ioapics = 0, irq0 = 0, irq9 = 0, nmi = 0, x2nmi = 0;
	size_t len = get_u32(t + 4);

	assert(get_u32(t + 36) == 0xfee00000);
	for (size_t i = 44; i < len; i += t[i + 1]) {
		const uint8_t *p = t + i;

		assert(p[1] >= 2 && p[1] <= len - i);
		switch (p[0]) {
		case 0:
			assert(p[1] == 8 && p[2] == cpus && p[3] == cpus && cpus < 255 &&
				get_u32(p + 4) == 1);
			cpus++;
			break;
		case 1:
			assert(p[1] == 12 && p[2] == 0 && get_u32(p + 4) == IOAPIC_BASE &&
				!get_u32(p + 8));
			ioapics++;
			break;
		case 2:
			irq0 += p[3] == 0 && get_u32(p + 4) == 2 && get_u16(p + 8) == 0;
			irq9 += p[3] == 9 && get_u32(p + 4) == 9 && get_u16(p + 8) == 0xd;
			break;
		case 4:
			assert(p[1] == 6 && p[2] == 0xff && p[5] == 1);
			nmi++;
			break;
		case 9:
			assert(p[1] == 16 && get_u32(p + 4) == cpus && get_u32(p + 12) == cpus &&
				cpus >= 255);
			assert(get_u32(p + 8) == 1);
			cpus++;
			break;
		case 10:
			assert(p[1] == 12 && get_u32(p + 4) == UINT32_MAX && p[8] == 1);
			x2nmi++;
			break;
		default:
			assert(!"unexpected entry");
		}
	}
	assert(cpus == ncpus && ioapics == 1 && irq0 == 1 && irq9 == 1 && nmi == 1);
	assert(x2nmi == (ncpus > 255));
}

static void check_fadt(const uint8_t *t)
{
	uint32_t flags = get_u32(t + 112);
	uint64_t dsdt = get_u64(t + 140);

	assert(get_u32(t + 4) == 276 && t[8] == 6 && t[131] == 4);
	assert(flags & 1u << 20 && flags & 1u << 10); /* hardware-reduced, reset register */
	assert(t[116] == 1 && get_u64(t + 120) == ACPI_PM_RESET && t[128] == ACPI_PM_RESET_VALUE);
	assert(t[244] == 1 && get_u64(t + 248) == ACPI_PM_SLEEP_CONTROL);
	assert(t[256] == 1 && get_u64(t + 260) == ACPI_PM_SLEEP_STATUS);
	assert(get_u16(t + 109) == 7);
	assert(get_u32(t + 40) == dsdt);
	table(dsdt, "DSDT");
}

static void test_tables(unsigned ncpus)
{
	const uint8_t *r = area, *x, *t;
	unsigned seen = 0;

	build(ncpus);
	assert(!memcmp(r, "RSD PTR ", 8) && r[15] == 2 && get_u32(r + 20) == 36);
	assert(sum(r, 20) == 0 && sum(r, 36) == 0);
	x = table(get_u64(r + 24), "XSDT");
	for (size_t i = 36; i < get_u32(x + 4); i += 8) {
		uint64_t gpa = get_u64(x + i);

		if (!memcmp(at(gpa, 4), "FACP", 4)) {
			check_fadt(table(gpa, "FACP"));
			seen |= 1;
		} else if (!memcmp(at(gpa, 4), "APIC", 4)) {
			check_madt(table(gpa, "APIC"), ncpus);
			seen |= 2;
		} else {
			t = table(gpa, "MCFG");
			assert(get_u32(t + 4) == 60 && get_u64(t + 44) == BOARD_ECAM_BASE);
			assert(t[54] == 0 && (uint64_t)(t[55] + 1) << 20 == BOARD_ECAM_SIZE);
			seen |= 4;
		}
	}
	assert(seen == 7);
}

/* Too small a buffer of any size is an error, and nothing behind it is touched. */
static void test_no_space(void)
{
	struct acpi_config c = {.ncpus = 2, .mmio64_base = 64 * GIB, .mmio64_size = GIB};
	size_t whole;

	whole = (size_t)acpi_build(&c, area, sizeof area, NULL);
	for (size_t n = 0; n < whole; n++) {
		struct err e = {0};
		uint8_t *p = malloc(n + 1); /* ASan watches the end */

		assert(p);
		p[n] = 0x5a;
		assert(acpi_build(&c, p, n, &e) == -ENOSPC && e.code == ENOSPC && p[n] == 0x5a);
		free(p);
	}
	assert(acpi_build(&c, area, whole, NULL) == (int)whole);
	c.ncpus = 1u << 20;
	assert(acpi_build(&c, area, sizeof area, NULL) == -ENOSPC);
}

static uint8_t buf[8192];
static struct aml a;

static void expect(const char *what, const void *bytes, size_t n)
{
	if (aml_fini(&a) || a.len != n || memcmp(buf, bytes, n)) {
		fprintf(stderr, "%s: got", what);
		for (size_t i = 0; i < a.len; i++)
			fprintf(stderr, " %02x", buf[i]);
		fprintf(stderr, "\n");
		abort();
	}
	aml_init(&a, buf, sizeof buf);
}
#define EXPECT(what, ...)                                                                          \
	expect(what, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void test_aml_terms(void)
{
	aml_init(&a, buf, sizeof buf);
	aml_int(&a, 0);
	aml_int(&a, 1);
	aml_int(&a, 2);
	aml_int(&a, 255);
	aml_int(&a, 256);
	aml_int(&a, 0x10000);
	EXPECT("integers", 0, 1, 0x0a, 2, 0x0a, 255, 0x0b, 0, 1, 0x0c, 0, 0, 1, 0);
	aml_int(&a, 0x123456789);
	EXPECT("64 bits", 0x0e, 0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0);
	aml_name(&a, "A");
	EXPECT("short name", 'A', '_', '_', '_');
	aml_name(&a, "\\_SB.PCI0");
	EXPECT("two segments", '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0');
	aml_name(&a, "AB.C.DEFG");
	EXPECT("three segments", 0x2f, 3, 'A', 'B', '_', '_', 'C', '_', '_', '_', 'D', 'E', 'F',
		'G');
	aml_eisaid(&a, "PNP0A08");
	EXPECT("EISA id", 0x0c, 0x41, 0xd0, 0x0a, 0x08);
	aml_uuid(&a, "33db4d5b-1ff7-401c-9657-7441c03dd766");
	EXPECT("UUID", 0x11, 0x13, 0x0a, 0x10, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40, 0x96,
		0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66);
	aml_begin_method(&a, "_EVT", 1, true);
	aml_op(&a, AML_RETURN);
	aml_op(&a, AML_ARG0);
	aml_end(&a);
	EXPECT("method", 0x14, 8, '_', 'E', 'V', 'T', 9, 0xa4, 0x68);
	aml_region(&a, "GREG", AML_SYSTEM_IO, 0x604, 1);
	aml_field_byte(&a, "GREG", "GSTS");
	EXPECT("field", 0x5b, 0x80, 'G', 'R', 'E', 'G', 1, 0x0b, 4, 6, 1, 0x5b, 0x81, 11, 'G', 'R',
		'E', 'G', 1, 'G', 'S', 'T', 'S', 8);
	aml_begin_buffer(&a);
	aml_res_io(&a, 0x3f8, 8);
	aml_res_irq(&a, 4);
	aml_res_end(&a);
	aml_end(&a);
	EXPECT("resources", 0x11, 16, 0x0a, 13, 0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x22, 0x10, 0,
		0x79, 0);
}

/* PkgLength: where its own size grows. body bytes come behind it, so the length is body + 1, 2,
 * 3, 4. */
static void test_aml_lengths(void)
{
	static const struct {
		unsigned body, n;
		uint8_t enc[4];
	} cases[] = {
		{0, 1, {1}},
		{62, 1, {63}},
		{63, 2, {0x41, 0x04}} /* 65 */,
		{64, 2, {0x42, 0x04}},
		{4093, 2, {0x4f, 0xff}} /* 4095 */,
		{4094, 3, {0x81, 0x00, 0x01}} /* 4097 */,
		{4095, 3, {0x82, 0x00, 0x01}},
		{8000, 3, {0x83, 0xf4, 0x01}} /* 8003 */,
	};
	static uint8_t big[1 << 21], body[(1 << 20) - 3];

	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		aml_init(&a, buf, sizeof buf);
		aml_begin_if(&a);
		for (unsigned k = 0; k < cases[i].body; k++)
			aml_bytes(&a, &(uint8_t){(uint8_t)(k * 7)}, 1);
		aml_end(&a);
		assert(!aml_fini(&a) && a.len == 1 + cases[i].n + cases[i].body);
		assert(buf[0] == 0xa0 && !memcmp(buf + 1, cases[i].enc, cases[i].n));
		for (unsigned k = 0; k < cases[i].body; k++)
			assert(buf[1 + cases[i].n + k] == (uint8_t)(k * 7));
	}
	aml_init(&a, big, sizeof big);
	aml_begin_if(&a);
	aml_bytes(&a, body, sizeof body); /* + 3 would be 2^20: four bytes */
	aml_end(&a);
	assert(!aml_fini(&a) && !memcmp(big + 1, (uint8_t[]){0xc1, 0x00, 0x00, 0x01}, 4));

	/* Nested: the inner one's growth is in the outer one */
	aml_init(&a, buf, sizeof buf);
	aml_begin_if(&a);
	aml_begin_else(&a);
	aml_bytes(&a, area, 63);
	aml_end(&a);
	aml_end(&a);
	assert(a.len == 1 + 2 + 1 + 2 + 63 && buf[1] == 0x44 && buf[2] == 0x04 && buf[3] == 0xa1);
}

static int dump(unsigned ncpus, const char *dir)
{
	const uint8_t *x;

	build(ncpus);
	x = at(get_u64(area + 24), 36);
	for (size_t i = 36; i <= get_u32(x + 4); i += 8) {
		/* the DSDT comes last; it hangs on the FADT, the first one */
		const uint8_t *t = i < get_u32(x + 4)
					   ? at(get_u64(x + i), 36)
					   : at(get_u64(at(get_u64(x + 36), 276) + 140), 36);
		char path[4096];
		FILE *f;

		snprintf(path, sizeof path, "%s/%.4s.aml", dir, (const char *)t);
		f = fopen(path, "wb");
		if (!f || fwrite(t, 1, get_u32(t + 4), f) != get_u32(t + 4) || fclose(f)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	static const unsigned ncpus[] = {1, 2, 64, 255, 256, 300, 1024};

	if (argc == 4 && !strcmp(argv[1], "--dump"))
		return dump((unsigned)atoi(argv[2]), argv[3]);
	for (unsigned i = 0; i < ARRAY_LEN(ncpus); i++)
		test_tables(ncpus[i]);
	test_no_space();
	test_aml_terms();
	test_aml_lengths();
	return 0;
}
