/* SPDX-License-Identifier: MIT */
/* Cases for the host CPU oracle; see oracle.c. */
#ifndef TESTS_UNIT_ORACLE_INT_H
#define TESTS_UNIT_ORACLE_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "x86/decode.h"
#include "x86/state.h"

/*
 * The address space of a case, the same natively and in the virtual machine. Two pages of code that user mode
 * may read and execute; around them nothing. Data pages: three read-write ones, a read-only one, a hole,
 * one more read-write one. None of them can be executed.
 */
enum { PAGE = 4096, CODE_PAGES = 2, DATA_PAGES = 6, DATA_RO = 3, DATA_HOLE = 4 };
#define CODE_VA 0x10000000ull
#define DATA_VA 0x20000000ull
#define GS_BASE 0x1230ull

enum { CASE_INSNS = 28, CASE_POKES = 4, CASE_CODE = 320, POOL_SIZE = 64 << 10 };

struct oracle_case {
	struct x86_state in; /* GPRs, RIP, RFLAGS, FPU, CS.sel */
	bool mode32;
	unsigned ninsns, len;
	uint8_t code[CASE_CODE]; /* ends with int3 */
	struct x86_insn insn[CASE_INSNS];
	int8_t to[CASE_INSNS]; /* branches inside the case: which instruction (ninsns: the end) they go to; or -1 */
	uint16_t undef;        /* flags that any of them may leave undefined */
	/* in front of each instruction and at the end: flags that may be undefined, flags that are still read */
	uint16_t undef_at[CASE_INSNS + 1], live_at[CASE_INSNS + 1];
	unsigned pool_off; /* data pages are filled from the pool at this offset */
	struct {
		uint64_t va;
		uint8_t len, bytes[16];
	} poke[CASE_POKES]; /* then changed here */
	unsigned npokes;
};

struct oracle_opts {
	bool avx;    /* both sides have it */
	bool wild;   /* addresses that point anywhere */
	bool mode32; /* 32-bit code, too */
	unsigned sequences; /* percent of the cases that are sequences with branches */
};

/* POOL_SIZE bytes that data pages are filled from. */
void case_pool(uint8_t *pool, uint64_t seed);
/* Case number n of the seed: always the same one. */
void case_make(struct oracle_case *c, uint64_t seed, uint64_t n, const struct oracle_opts *o);
/* Number of the instruction at rip, ninsns for the end, -1 for anywhere else. */
int case_insn_at(const struct oracle_case *c, uint64_t rip);
/* Puts the data of a case into memory that is laid out page by page. The hole's page is not touched. */
void case_fill(const struct oracle_case *c, const uint8_t *pool, uint8_t *page[DATA_PAGES]);

#endif
