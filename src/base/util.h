/* SPDX-License-Identifier: MIT */
/* Small things that every module needs: sizes, unaligned little-endian access, allocation. */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define ARRAY_LEN(a)       (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, t, m) ((t *)(void *)((char *)(p) - offsetof(t, m)))
#define KIB                UINT64_C(1024)
#define MIB                (UINT64_C(1024) * KIB)
#define GIB                (UINT64_C(1024) * MIB)
#define likely(x)          __builtin_expect(!!(x), 1)
#define unlikely(x)        __builtin_expect(!!(x), 0)

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* align must be a power of two; the caller has checked that v + align does not wrap */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline uint16_t get_u16(const void *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint32_t get_u32(const void *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline uint64_t get_u64(const void *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof v);
	return v;
}

static inline void put_u16(void *p, uint16_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void put_u32(void *p, uint32_t v)
{
	memcpy(p, &v, sizeof v);
}

static inline void put_u64(void *p, uint64_t v)
{
	memcpy(p, &v, sizeof v);
}

/* Zeroed memory for set-up code; prints and exits 1 when there is none. Never sized by a guest. */
void *xcalloc(size_t n, size_t size);

uint64_t now_ns(void); /* CLOCK_MONOTONIC */

#endif
