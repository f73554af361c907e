/* SPDX-License-Identifier: MIT */
/*
 * Instruction bytes for the decoder. The first byte chooses the mode, the rest is a stream of code. At
 * every step:
 * - no byte after the input is read (each piece is the end of an allocation: ASan looks), and none
 *   after the 15th;
 * - the answer is 0 for fewer bytes than the instruction has, and does not change when more follow;
 * - it does not depend on what was in the struct before;
 * - the fields are within the bounds that decode.h gives, so that engines may index by them.
 */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "x86/decode.h"
#include "x86/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);

static int decode_exact(struct x86_insn *i, enum x86_mode mode, const uint8_t *p, size_t n)
{
	uint8_t *q = malloc(n + 1);
	int r;

	assert(q);
	memcpy(q + 1, p, n);
	r = x86_decode(i, mode, q + 1, n);
	free(q);
	return r;
}

static void check_fields(const struct x86_insn *i)
{
	unsigned end = i->size_imm ? i->off_imm + i->size_imm : i->off_disp + i->size_disp;

	assert(i->op < X86_OP_COUNT && i->form <= X86_F_VEC && i->map < 4 && i->off_opcode < i->len);
	assert(i->base >= -1 && i->base <= X86_BASE_RIP && i->index >= -1 && i->index < 16);
	if (i->op == X86_OP_UD)
		return;
	assert(i->opsize == 1 || i->opsize == 2 || i->opsize == 4 || i->opsize == 8);
	assert(i->srcsize == 1 || i->srcsize == 2 || i->srcsize == 4 || i->srcsize == 8);
	assert(i->adsize == 2 || i->adsize == 4 || i->adsize == 8);
	assert(i->cc < 16 && i->seg < X86_NSEG && i->reg < 16 && i->rm < 16 && i->scale < 4);
	assert(i->vvvv < 16 && i->vl < 2 && i->vexw < 2 && i->vexpp < 4 && i->sreg < 16);
	assert(i->kreg <= X86_K_VSIB && i->kvex <= X86_K_VSIB && i->krm <= X86_K_VSIB);
	assert(i->memsize <= 108 && !(i->fl_out & i->fl_undef));
	assert(!((i->fl_in | i->fl_out | i->fl_undef) & ~(X86_ARITH | X86_DF)));
	if (i->op == X86_OP_VEC || i->op == X86_OP_MMX || i->op == X86_OP_GATHER || i->op == X86_OP_VMASKMOV)
		assert(i->memsize <= 32);
	if (i->is_mem && i->form == X86_F_VEC)
		assert(i->memsize);
	assert(end <= i->len && i->off_modrm < i->len && i->disp32 == (int32_t)i->disp);
	if (i->pfx & X86_PFX_LOCK)
		assert(i->is_mem && i->attr & X86_A_LOCKABLE);
}

static void check(enum x86_mode mode, const uint8_t *p, size_t n)
{
	struct x86_insn a, b;
	uint8_t more[32];
	int r;

	memset(&a, 0x11, sizeof(a));
	memset(&b, 0xee, sizeof(b));
	r = decode_exact(&a, mode, p, n);
	assert(r <= 15 && r >= -1 && r <= (int)n);
	if (r > 0) {
		assert(a.len == r);
		check_fields(&a);
		for (int k = 0; k < r; k++)
			assert(decode_exact(&b, mode, p, k) == 0);
		memset(&b, 0xee, sizeof(b));
		assert(decode_exact(&b, mode, p, r) == r && !memcmp(&a, &b, sizeof(a)));
	} else if (r == 0) {
		assert(n < 15);
		return;
	} else {
		assert(n >= 15);
	}
	for (unsigned fill = 0; fill < 256; fill += 85) {
		unsigned keep = r > 0 ? r : 15;

		memcpy(more, p, keep);
		memset(more + keep, fill, sizeof(more) - keep);
		memset(&b, 0xee, sizeof(b));
		assert(x86_decode(&b, mode, more, sizeof(more)) == r);
		assert(r < 0 || !memcmp(&a, &b, sizeof(a)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
	static const enum x86_mode mode[] = {X86_MODE64, X86_MODE64, X86_MODE32, X86_MODE16};
	struct x86_insn i;
	size_t o = 1;

	if (!len)
		return 0;
	while (o < len && o < 4096) {
		size_t n = len - o < 20 ? len - o : 20;
		int r;

		check(mode[p[0] & 3], p + o, n);
		r = x86_decode(&i, mode[p[0] & 3], p + o, n);
		o += r > 0 ? r : 1;
	}
	return 0;
}
