/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables of the board (ACPI 6.4): RSDP, XSDT, FADT (hardware-reduced), MADT, MCFG, DSDT. The DSDT
 * is made by the small AML builder in aml.h. Pure: no device is touched.
 */
#ifndef DEV_ACPI_H
#define DEV_ACPI_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Fixed places of the board's memory map */
#define ACPI_RSDP_ADDR  0x000e0000ull /* RSDP here; the tables behind it, below 0x100000 */
#define ACPI_AREA_SIZE  0x00020000ull
#define BOARD_ECAM_BASE 0xe8000000ull /* 128 MiB: buses 0-127 */
#define BOARD_ECAM_SIZE 0x08000000ull
#define BOARD_PCI_MMIO32 0xc0000000ull /* to BOARD_ECAM_BASE */

struct acpi_config {
	unsigned ncpus;
	uint64_t mmio64_base, mmio64_size; /* PCI window above RAM */
};

/*
 * Writes all tables for guest address ACPI_RSDP_ADDR into buf (ACPI_AREA_SIZE bytes); returns the bytes
 * used or -ENOSPC.
 */
int acpi_build(const struct acpi_config *c, uint8_t *buf, size_t len, struct err *e);

#endif
