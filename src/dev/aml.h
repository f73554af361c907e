/* SPDX-License-Identifier: MIT */
/*
 * A builder for ACPI Machine Language (ACPI 6.4, chapter 20). Terms are appended in order; things
 * that carry a PkgLength are opened by aml_begin_*() and closed by aml_end(), which puts the length
 * in front of what was written since. The buffer is the caller's and never overrun: when it is
 * full, the builder only counts, and aml_fini() says so. Nesting wrongly is a bug of the caller:
 * assert.
 */
#ifndef DEV_AML_H
#define DEV_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AML_DEPTH = 8 };

struct aml {
	uint8_t *p;
	size_t len, cap; /* len > cap: it did not fit */
	unsigned depth;
	struct {
		size_t at;   /* where the PkgLength goes */
		bool buffer; /* a BufferSize goes behind it */
	} open[AML_DEPTH];
};

/* Opcodes used with aml_op(); two-byte ones have AML_EXT in the high byte. */
enum {
	AML_EXT = 0x5b,
	AML_NAME = 0x08,
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_ARG1,
	AML_ARG2,
	AML_ARG3,
	AML_STORE = 0x70,       /* source, target */
	AML_AND = 0x7b,         /* a, b, target */
	AML_OR = 0x7d,          /* a, b, target */
	AML_NOTIFY = 0x86,      /* object, value */
	AML_DWORD_FIELD = 0x8a, /* buffer, byte index, name */
	AML_LNOT = 0x92,
	AML_LEQUAL = 0x93, /* a, b */
	AML_RETURN = 0xa4,
	AML_NO_TARGET = 0x00,
};
enum aml_space { AML_SYSTEM_MEMORY = 0, AML_SYSTEM_IO = 1 };

void aml_init(struct aml *a, uint8_t *buf, size_t cap);
int aml_fini(const struct aml *a); /* 0, or -ENOSPC: the buffer was too small */

void aml_op(struct aml *a, unsigned op);
void aml_int(struct aml *a, uint64_t v); /* shortest form */
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A08" as a number */
void aml_name(struct aml *a, const char *path); /* "_HID", "\\_SB.PCI0"; segments up to 4 letters */
/* Name (path, ...) of the common kinds */
void aml_name_int(struct aml *a, const char *path, uint64_t v);
void aml_name_string(struct aml *a, const char *path, const char *s);
void aml_name_eisaid(struct aml *a, const char *path, const char *id);

void aml_begin_scope(struct aml *a, const char *path);
void aml_begin_device(struct aml *a, const char *path);
void aml_begin_method(struct aml *a, const char *path, unsigned args, bool serialized);
void aml_begin_package(struct aml *a, unsigned n); /* n elements follow, at most 255 */
void aml_begin_if(struct aml *a);                  /* predicate and statements follow */
void aml_begin_else(struct aml *a);
void aml_begin_buffer(struct aml *a); /* bytes follow, by aml_bytes() or aml_res_*() */
void aml_end(struct aml *a);

void aml_bytes(struct aml *a, const void *p, size_t n);
void aml_region(struct aml *a, const char *path, enum aml_space space, uint64_t addr, uint64_t len);
/* Field of one byte-wide register in a region: ByteAcc, NoLock, Preserve */
void aml_field_byte(struct aml *a, const char *region, const char *name);
void aml_uuid(struct aml *a, const char *uuid); /* ToUUID: "33db4d5b-1ff7-..." */

/* Resource descriptors (6.4), inside aml_begin_buffer(); aml_res_end() is the end tag. */
void aml_res_io(struct aml *a, uint16_t base, uint8_t len);
void aml_res_irq(struct aml *a, unsigned isa_irq);         /* edge, active high, exclusive */
void aml_res_gsi(struct aml *a, uint32_t gsi, bool level); /* active high, exclusive */
void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len);
/* Windows of a bridge: first to last inclusive */
void aml_res_bus_range(struct aml *a, uint16_t first, uint16_t last);
void aml_res_io_range(struct aml *a, uint16_t first, uint16_t last);
void aml_res_memory32_range(struct aml *a, uint32_t first, uint32_t last);
void aml_res_memory64_range(struct aml *a, uint64_t first, uint64_t last, bool prefetch);
void aml_res_end(struct aml *a);

#endif
