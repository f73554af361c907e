/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "dev/aml.h"

void aml_init(struct aml *a, uint8_t *buf, size_t cap)
{
	*a = (struct aml){.p = buf, .cap = cap};
}

int aml_fini(const struct aml *a)
{
	assert(!a->depth);
	return a->len > a->cap ? -ENOSPC : 0;
}

void aml_bytes(struct aml *a, const void *p, size_t n)
{
	if (a->len <= a->cap && n <= a->cap - a->len)
		memcpy(a->p + a->len, p, n);
	else
		a->len = a->len > a->cap ? a->len : a->cap + 1; /* stays full */
	a->len += n;
}

static void byte(struct aml *a, unsigned v)
{
	uint8_t b = (uint8_t)v;

	aml_bytes(a, &b, 1);
}

static void word(struct aml *a, uint16_t v)
{
	aml_bytes(a, &v, sizeof v);
}

static void dword(struct aml *a, uint32_t v)
{
	aml_bytes(a, &v, sizeof v);
}

static void qword(struct aml *a, uint64_t v)
{
	aml_bytes(a, &v, sizeof v);
}

/* Puts n bytes at an earlier place; what is behind it moves up. */
static void insert(struct aml *a, size_t at, const uint8_t *p, size_t n)
{
	size_t tail = a->len - at;
	uint8_t pad[16] = {0};

	assert(n <= sizeof pad);
	aml_bytes(a, pad, n);
	if (a->len > a->cap)
		return;
	memmove(a->p + at + n, a->p + at, tail);
	memcpy(a->p + at, p, n);
}

/*
 * 20.2.4: one byte holds up to 63; else the first byte has the count of the others in bits 6-7 and
 * the low 4 bits of the length. own: the length counts the encoding itself (fields' bit counts do
 * not).
 */
static size_t pkg_length(uint8_t out[4], size_t body, bool own)
{
	size_t n = 1, v;

	while (n < 4 && body + (own ? n : 0) >= (n == 1 ? 64 : (size_t)1 << (8 * n - 4)))
		n++;
	v = body + (own ? n : 0);
	if (n == 1) {
		out[0] = (uint8_t)v;
		return 1;
	}
	out[0] = (uint8_t)((n - 1) << 6 | (v & 15));
	for (size_t i = 1; i < n; i++)
		out[i] = (uint8_t)(v >> (8 * i - 4));
	return n;
}

static size_t encode_int(uint8_t out[9], uint64_t v)
{
	unsigned n = v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;

	if (v <= 1) {
		out[0] = (uint8_t)v; /* ZeroOp, OneOp */
		return 1;
	}
	out[0] = n == 1 ? 0x0a : n == 2 ? 0x0b : n == 4 ? 0x0c : 0x0e;
	memcpy(out + 1, &v, n);
	return n + 1;
}

static void begin(struct aml *a, bool buffer)
{
	assert(a->depth < AML_DEPTH);
	a->open[a->depth].at = a->len;
	a->open[a->depth++].buffer = buffer;
}

void aml_end(struct aml *a)
{
	uint8_t enc[9];
	size_t at, n;

	assert(a->depth);
	at = a->open[--a->depth].at;
	if (a->open[a->depth].buffer) {
		n = encode_int(enc, a->len - at);
		insert(a, at, enc, n);
	}
	n = pkg_length(enc, a->len - at, true);
	insert(a, at, enc, n);
}

void aml_op(struct aml *a, unsigned op)
{
	if (op > 0xff)
		byte(a, op >> 8);
	byte(a, op);
}

void aml_int(struct aml *a, uint64_t v)
{
	uint8_t enc[9];

	aml_bytes(a, enc, encode_int(enc, v));
}

void aml_string(struct aml *a, const char *s)
{
	byte(a, 0x0d);
	aml_bytes(a, s, strlen(s) + 1);
}

/* 19.3.4: three letters of 5 bits, four hex digits, most significant byte first */
void aml_eisaid(struct aml *a, const char *id)
{
	unsigned v = 0;

	assert(strlen(id) == 7);
	for (int i = 0; i < 3; i++)
		v = v << 5 | ((unsigned)id[i] - 0x40);
	for (int i = 3; i < 7; i++)
		v = v << 4 | (unsigned)(isdigit(id[i]) ? id[i] - '0' : id[i] - 'A' + 10);
	byte(a, 0x0c);
	dword(a, __builtin_bswap32(v));
}

static const char *segment(struct aml *a, const char *s)
{
	char seg[4] = "____";
	size_t n = strcspn(s, ".");

	assert(n && n <= 4);
	memcpy(seg, s, n);
	aml_bytes(a, seg, 4);
	return s[n] ? s + n + 1 : s + n;
}

void aml_name(struct aml *a, const char *path)
{
	unsigned n = 1;

	if (*path == '\\')
		byte(a, (unsigned)*path++);
	for (const char *s = path; (s = strchr(s, '.')); s++)
		n++;
	if (n == 2) {
		byte(a, 0x2e);
	} else if (n > 2) {
		byte(a, 0x2f);
		byte(a, n);
	}
	while (*path)
		path = segment(a, path);
}

void aml_name_int(struct aml *a, const char *path, uint64_t v)
{
	aml_op(a, AML_NAME);
	aml_name(a, path);
	aml_int(a, v);
}

void aml_name_string(struct aml *a, const char *path, const char *s)
{
	aml_op(a, AML_NAME);
	aml_name(a, path);
	aml_string(a, s);
}

void aml_name_eisaid(struct aml *a, const char *path, const char *id)
{
	aml_op(a, AML_NAME);
	aml_name(a, path);
	aml_eisaid(a, id);
}

void aml_begin_scope(struct aml *a, const char *path)
{
	byte(a, 0x10);
	begin(a, false);
	aml_name(a, path);
}

void aml_begin_device(struct aml *a, const char *path)
{
	aml_op(a, AML_EXT << 8 | 0x82);
	begin(a, false);
	aml_name(a, path);
}

void aml_begin_method(struct aml *a, const char *path, unsigned args, bool serialized)
{
	assert(args < 8);
	byte(a, 0x14);
	begin(a, false);
	aml_name(a, path);
	byte(a, args | (serialized ? 8 : 0));
}

void aml_begin_package(struct aml *a, unsigned n)
{
	assert(n <= 255);
	byte(a, 0x12);
	begin(a, false);
	byte(a, n);
}

void aml_begin_if(struct aml *a)
{
	byte(a, 0xa0);
	begin(a, false);
}

void aml_begin_else(struct aml *a)
{
	byte(a, 0xa1);
	begin(a, false);
}

void aml_begin_buffer(struct aml *a)
{
	byte(a, 0x11);
	begin(a, true);
}

void aml_region(struct aml *a, const char *path, enum aml_space space, uint64_t addr, uint64_t len)
{
	aml_op(a, AML_EXT << 8 | 0x80);
	aml_name(a, path);
	byte(a, space);
	aml_int(a, addr);
	aml_int(a, len);
}

void aml_field_byte(struct aml *a, const char *region, const char *name)
{
	uint8_t enc[4];

	aml_op(a, AML_EXT << 8 | 0x81);
	begin(a, false);
	aml_name(a, region);
	byte(a, 1); /* ByteAcc, NoLock, Preserve */
	segment(a, name);
	aml_bytes(a, enc, pkg_length(enc, 8, false)); /* bits */
	aml_end(a);
}

static unsigned hex_digit(char c)
{
	return (unsigned)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
}

/* 19.6.142: the first three groups are little endian, the rest bytes in order */
void aml_uuid(struct aml *a, const char *uuid)
{
	static const uint8_t place[16] = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
	uint8_t v[16];

	assert(strlen(uuid) == 36);
	for (unsigned i = 0; i < 16; i++, uuid += 2) {
		uuid += *uuid == '-';
		v[place[i]] = (uint8_t)(hex_digit(uuid[0]) << 4 | hex_digit(uuid[1]));
	}
	aml_begin_buffer(a);
	aml_bytes(a, v, sizeof v);
	aml_end(a);
}

void aml_res_io(struct aml *a, uint16_t base, uint8_t len)
{
	byte(a, 0x47);
	byte(a, 1); /* decodes 16 bits */
	word(a, base);
	word(a, base);
	byte(a, 1);
	byte(a, len);
}

void aml_res_irq(struct aml *a, unsigned isa_irq)
{
	assert(isa_irq < 16);
	byte(a, 0x22);
	word(a, (uint16_t)(1u << isa_irq));
}

void aml_res_gsi(struct aml *a, uint32_t gsi, bool level)
{
	byte(a, 0x89);
	word(a, 6);
	byte(a, 1 | (level ? 0 : 2)); /* consumer */
	byte(a, 1);
	dword(a, gsi);
}

void aml_res_memory32(struct aml *a, uint32_t base, uint32_t len)
{
	byte(a, 0x86);
	word(a, 9);
	byte(a, 1); /* writable */
	dword(a, base);
	dword(a, len);
}

/* 6.4.3.5: what the address space descriptors have in common; producer, positive decode, fixed ends
 */
enum { RANGE_MEMORY, RANGE_IO, RANGE_BUS };
static void range(struct aml *a, unsigned tag, unsigned body, unsigned kind, unsigned flags)
{
	byte(a, tag);
	word(a, (uint16_t)(body + 3));
	byte(a, kind);
	byte(a, 0x0c);
	byte(a, flags);
}

static void range16(struct aml *a, unsigned kind, unsigned flags, uint16_t first, uint16_t last)
{
	range(a, 0x88, 10, kind, flags);
	word(a, 0); /* granularity */
	word(a, first);
	word(a, last);
	word(a, 0); /* translation */
	word(a, (uint16_t)(last - first + 1));
}

void aml_res_bus_range(struct aml *a, uint16_t first, uint16_t last)
{
	range16(a, RANGE_BUS, 0, first, last);
}

void aml_res_io_range(struct aml *a, uint16_t first, uint16_t last)
{
	range16(a, RANGE_IO, 3, first, last); /* the entire range, ISA and not */
}

void aml_res_memory32_range(struct aml *a, uint32_t first, uint32_t last)
{
	range(a, 0x87, 20, RANGE_MEMORY, 1); /* writable, not cacheable */
	dword(a, 0);
	dword(a, first);
	dword(a, last);
	dword(a, 0);
	dword(a, last - first + 1);
}

void aml_res_memory64_range(struct aml *a, uint64_t first, uint64_t last, bool prefetch)
{
	range(a, 0x8a, 40, RANGE_MEMORY, prefetch ? 1 | 3 << 1 : 1);
	qword(a, 0);
	qword(a, first);
	qword(a, last);
	qword(a, 0);
	qword(a, last - first + 1);
}

void aml_res_end(struct aml *a)
{
	byte(a, 0x79);
	byte(a, 0); /* no checksum */
}
