/* SPDX-License-Identifier: MIT */
/*
 * Vector, MMX and x87 computation by executing the instruction itself on saved state: a short piece of
 * code (a thunk) loads the operands from memory into host registers, runs the instruction with its
 * registers renamed to fixed ones, and stores the results. Thunks are shared by all instructions
 * that are equal after renaming, live in an arena that is never writable and executable at one
 * address, and are bounded in number. See vec.c.
 *
 * #UD/#NM checks that depend on control registers (CR0.TS/EM, CR4.OSFXSR, XCR0) are the caller's.
 */
#ifndef ENGINE_INTERP_VEC_H
#define ENGINE_INTERP_VEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "x86/decode.h"
#include "x86/state.h"

struct vec; /* per VM; all functions: any thread */

int vec_new(struct vec **v, struct err *e); /* -EACCES etc. when the host refuses executable memory */
void vec_free(struct vec *v);

/* What an instruction needs at run time; kept in the engine's decoded form. */
struct vec_op {
	void (*fn)(void *frame); /* NULL: arena full, a private slot is built on each use */
	struct x86_insn insn;
	struct {                 /* for vec.c: what vec_run() would otherwise ask insn each time */
		uint16_t src[5]; /* by host register: offset of the guest's in x86_fpu.ymm */
		int8_t out;      /* host register that is written, -1 none */
		uint8_t how;
	} plan;
};
/* Prepares X86_OP_VEC, X86_OP_MMX, X86_OP_X87, X86_OP_FWAIT, X86_OP_VZERO. 0, or -1: #UD. */
int vec_prepare(struct vec *v, struct vec_op *op, const struct x86_insn *insn);

/* May the host's CPU execute this VEC or MMX or X87 instruction itself? It exists, and the host has it. */
bool vec_runs(const struct vec *v, const struct x86_insn *insn);

/*
 * X86_MF when an unmasked x87 exception is pending and the instruction waits for it, else 0. Comes before
 * anything that its memory operand may raise; vec_run() looks, too.
 */
int vec_pending(const struct vec *v, const struct vec_op *op, const struct x86_state *s);

/*
 * Runs it. mem: insn.memsize bytes, aligned to 32, the memory operand if insn.arm has X86_ACC_R; on
 * return the result if it has X86_ACC_W (rubbish if the return value is not 0). GPRs in s are read
 * and written as the instruction says (32-bit results zero-extended); EFLAGS in s->rflags if attr has
 * X86_A_FLAGS or for FCOMI, else untouched. FIP/FOP/FDP are set from fip (the instruction's address)
 * and fdp (its memory operand's).
 *
 * Returns 0, or the exception vector X86_XM, X86_MF (pending unmasked x87 exception, checked before
 * a waiting instruction); then the destination is unchanged, MXCSR flags are set as the CPU does.
 * VEC_NOSTORE: it has completed, but memory keeps its old contents (an x87 store that met an
 * unmasked exception, which the next waiting instruction reports): mem is not to be written back.
 */
enum { VEC_NOSTORE = -1 };
int vec_run(struct vec *v, const struct vec_op *op, struct x86_state *s, void *mem, uint64_t fip,
	uint64_t fdp);

/*
 * Gathers, masked moves: memory element by element. read and write get the offset in segment
 * insn.seg; they need not return (the engine may jump away with a fault), so state is kept
 * architecturally right between calls (gathers: completed elements are in place, their mask bits clear).
 */
struct vec_mem {
	void (*read)(void *arg, uint64_t off, void *dst, unsigned len);
	void (*write)(void *arg, uint64_t off, const void *src, unsigned len);
	void *arg;
};
/*
 * X86_OP_GATHER, X86_OP_VMASKMOV, X86_OP_MASKMOV. s->rip is the instruction's address (for
 * RIP-relative operands). 0, -1: #UD, or X86_MF (MASKMOVQ: pending x87 exception).
 */
int vec_run_elements(struct vec *v, const struct x86_insn *insn, struct x86_state *s,
	const struct vec_mem *mem);

#endif
