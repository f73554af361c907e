/* SPDX-License-Identifier: MIT */
/*
 * Shifts, multiplication and division, exchanges, bits, BMI, BCD and the small integer instructions: generic
 * functions that look at struct x86_insn again, because they are rare or slow anyway.
 */
#include "engine/interp/alu.h"
#include "engine/interp/ops-int.h"

__extension__ typedef __int128 i128;
__extension__ typedef unsigned __int128 u128;

/* ---- shifts and rotates ---- */

#define SHIFT_CASE(bits)                                                                           \
	static uint64_t shift##bits(unsigned kind, uint64_t v, uint8_t n, uint32_t *fl)            \
	{                                                                                          \
		uint##bits##_t a = (uint##bits##_t)v;                                              \
		switch (kind) {                                                                    \
		case X86_OP_ROL:                                                                   \
			return alu_rol##bits(a, n, fl);                                            \
		case X86_OP_ROR:                                                                   \
			return alu_ror##bits(a, n, fl);                                            \
		case X86_OP_RCL:                                                                   \
			return alu_rcl##bits(a, n, fl);                                            \
		case X86_OP_RCR:                                                                   \
			return alu_rcr##bits(a, n, fl);                                            \
		case X86_OP_SHR:                                                                   \
			return alu_shr##bits(a, n, fl);                                            \
		case X86_OP_SAR:                                                                   \
			return alu_sar##bits(a, n, fl);                                            \
		default:                                                                           \
			return alu_shl##bits(a, n, fl);                                            \
		}                                                                                  \
	}
SHIFT_CASE(8)
SHIFT_CASE(16)
SHIFT_CASE(32)
SHIFT_CASE(64)

static uint64_t shift(unsigned kind, unsigned size, uint64_t v, unsigned n, uint32_t *fl)
{
	uint32_t old = *fl;

	n &= size == 8 ? 63 : 31;
	if (!n)
		return v;
	switch (size) {
	case 1:
		v = shift8(kind, v, (uint8_t)n, fl);
		/* a rotation by a multiple of the width: the host's CF and OF are right, the rest stays */
		break;
	case 2:
		v = shift16(kind, v, (uint8_t)n, fl);
		break;
	case 4:
		v = shift32(kind, v, (uint8_t)n, fl);
		break;
	default:
		v = shift64(kind, v, (uint8_t)n, fl);
	}
	/*
	 * OF did not go into the host's flags: RCL and RCR with a count that is 0 modulo the width + 1
	 * leave all flags alone.
	 */
	if ((kind == X86_OP_RCL || kind == X86_OP_RCR) && size < 4 && n % (size * 8 + 1) == 0)
		*fl = old;
	return v;
}

static unsigned shift_count(const struct engine_cpu *c, const struct iop *op)
{
	return op->insn->form == X86_F_RM_CL ? (uint8_t)c->s.gpr[X86_RCX]
		: op->insn->form == X86_F_RM_1 ? 1
					       : (uint8_t)op->insn->imm;
}

static void *rmw_any(struct engine_cpu *c, const struct iop *op, uint64_t lin, unsigned size)
{
	switch (size) {
	case 1:
		return mem_rmw8(c, op, lin);
	case 2:
		return mem_rmw16(c, op, lin);
	case 4:
		return mem_rmw32(c, op, lin);
	default:
		return mem_rmw64(c, op, lin);
	}
}

OP(op_shift)
{
	const struct x86_insn *i = op->insn;
	unsigned n = shift_count(c, op), size = i->opsize;

	if (!i->is_mem) {
		reg_put(c, op->dst, size, shift(i->op, size, reg_get(c, op->dst, size), n, &c->fl));
	} else {
		/* written even when the count is 0: the permission is needed then, too */
		void *p = rmw_any(c, op, op_lin(c, op, size, true), size);

		put_size(p, size, shift(i->op, size, get_size(p, size), n, &c->fl));
		mem_rmw_done(c);
	}
	return op_next(c, op);
}

#define SHIFT_RI(name, kind, bits)                                                                 \
	OP(op_##name##_ri##bits)                                                                  \
	{                                                                                          \
		SET_DST(bits, alu_##name##bits(RD(bits), (uint8_t)op->imm, &c->fl));               \
		return op_next(c, op);                                                                     \
	}
SHIFT_RI(shl, X86_OP_SHL, 32)
SHIFT_RI(shl, X86_OP_SHL, 64)
SHIFT_RI(shr, X86_OP_SHR, 32)
SHIFT_RI(shr, X86_OP_SHR, 64)
SHIFT_RI(sar, X86_OP_SAR, 32)
SHIFT_RI(sar, X86_OP_SAR, 64)

OP(op_shld)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize, n = i->form == X86_F_RM_CL ? (uint8_t)c->s.gpr[X86_RCX] : (uint8_t)i->imm;
	uint64_t v, src = reg_get(c, i->reg * 8u, size);
	bool left = i->op == X86_OP_SHLD;
	uint32_t fl = c->fl;
	void *p = NULL;

	n &= size == 8 ? 63 : 31;
	if (i->is_mem) {
		p = rmw_any(c, op, op_lin(c, op, size, true), size);
		v = get_size(p, size);
	} else {
		v = reg_get(c, op->dst, size);
	}
	if (n) {
		switch (size) {
		case 2:
			v = left ? alu_shld16((uint16_t)v, (uint16_t)src, (uint8_t)n, &fl)
				 : alu_shrd16((uint16_t)v, (uint16_t)src, (uint8_t)n, &fl);
			break;
		case 4:
			v = left ? alu_shld32((uint32_t)v, (uint32_t)src, (uint8_t)n, &fl)
				 : alu_shrd32((uint32_t)v, (uint32_t)src, (uint8_t)n, &fl);
			break;
		default:
			v = left ? alu_shld64(v, src, (uint8_t)n, &fl) : alu_shrd64(v, src, (uint8_t)n, &fl);
		}
	}
	if (i->is_mem) {
		put_size(p, size, v);
		mem_rmw_done(c);
	} else {
		reg_put(c, op->dst, size, v);
	}
	c->fl = fl;
	return op_next(c, op);
}
/* ---- multiply, divide ---- */

OP(op_mul1)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->opsize);
	bool sign = i->op == X86_OP_IMUL1;
	uint64_t *a = &c->s.gpr[X86_RAX], *d = &c->s.gpr[X86_RDX];

	switch (i->opsize) {
	case 1: {
		uint16_t r = sign ? alu_imul1_8((uint8_t)*a, (uint8_t)v, &c->fl)
				  : alu_mul8((uint8_t)*a, (uint8_t)v, &c->fl);

		put_u16(a, r);
		break;
	}
	case 2: {
		uint16_t lo = (uint16_t)*a, hi;

		if (sign)
			alu_imul1_16(&lo, &hi, (uint16_t)v, &c->fl);
		else
			alu_mul16(&lo, &hi, (uint16_t)v, &c->fl);
		put_u16(a, lo);
		put_u16(d, hi);
		break;
	}
	case 4: {
		uint32_t lo = (uint32_t)*a, hi;

		if (sign)
			alu_imul1_32(&lo, &hi, (uint32_t)v, &c->fl);
		else
			alu_mul32(&lo, &hi, (uint32_t)v, &c->fl);
		*a = lo;
		*d = hi;
		break;
	}
	default: {
		uint64_t lo = *a, hi;

		if (sign)
			alu_imul1_64(&lo, &hi, v, &c->fl);
		else
			alu_mul64(&lo, &hi, v, &c->fl);
		*a = lo;
		*d = hi;
	}
	}
	return op_next(c, op);
}

OP(op_imul2)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->opsize), old;

	old = i->op == X86_OP_IMUL3 ? (uint64_t)i->imm : reg_get(c, i->reg * 8u, i->opsize);
	switch (i->opsize) {
	case 2:
		v = alu_imul16((uint16_t)old, (uint16_t)v, &c->fl);
		break;
	case 4:
		v = alu_imul32((uint32_t)old, (uint32_t)v, &c->fl);
		break;
	default:
		v = alu_imul64(old, v, &c->fl);
	}
	reg_put(c, i->reg * 8u, i->opsize, v);
	return op_next(c, op);
}

static noreturn void raise_de(struct engine_cpu *c, const struct iop *op)
{
	c->op = op;
	raise_plain(c, X86_DE);
}

/* The flags are undefined after a division; they stay as they were, as AMD's and newer Intel's do. */
OP(op_div)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->opsize);
	uint64_t *a = &c->s.gpr[X86_RAX], *d = &c->s.gpr[X86_RDX];
	bool sign = i->op == X86_OP_IDIV;

	if (i->opsize == 8) {
		if (!v)
			raise_de(c, op);
		if (!sign) {
			if (*d >= v)
				raise_de(c, op);
			__asm__("divq %[v]" : "+a"(*a), "+d"(*d) : [v] "r"(v) : "cc");
		} else {
			i128 n = (i128)((u128)*d << 64 | *a), q;
			int64_t s = (int64_t)v;

			if (s == -1 && n == (i128)((u128)1 << 127))
				raise_de(c, op);
			q = n / s;
			if (q != (int64_t)q)
				raise_de(c, op);
			*a = (uint64_t)q;
			*d = (uint64_t)(n % s);
		}
		return op_next(c, op);
	}
	if (!sign) {
		uint64_t n, bits = i->opsize * 8u;

		v &= (1ull << bits) - 1;
		n = i->opsize == 1 ? (uint16_t)*a
				   : reg_get(c, X86_RDX * 8, i->opsize) << bits |
				reg_get(c, X86_RAX * 8, i->opsize);
		if (!v || n / v >> bits)
			raise_de(c, op);
		reg_put(c, X86_RAX * 8, i->opsize, n / v);
		reg_put(c, i->opsize == 1 ? 1 : X86_RDX * 8, i->opsize, n % v);
	} else {
		int64_t n, s, q, r;

		switch (i->opsize) {
		case 1:
			n = (int16_t)*a;
			s = (int8_t)v;
			break;
		case 2:
			n = (int32_t)((uint32_t)(uint16_t)*d << 16 | (uint16_t)*a);
			s = (int16_t)v;
			break;
		default:
			n = (int64_t)(*d << 32 | (uint32_t)*a);
			s = (int32_t)v;
		}
		if (!s || (s == -1 && n == INT64_MIN))
			raise_de(c, op);
		q = n / s;
		r = n % s;
		if ((i->opsize == 1 && q != (int8_t)q) || (i->opsize == 2 && q != (int16_t)q) ||
			(i->opsize == 4 && q != (int32_t)q))
			raise_de(c, op);
		reg_put(c, X86_RAX * 8, i->opsize, (uint64_t)q);
		reg_put(c, i->opsize == 1 ? 1 : X86_RDX * 8, i->opsize, (uint64_t)r);
	}
	return op_next(c, op);
}
/* ---- exchange ---- */

OP(op_xchg)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize;
	uint64_t v;

	if (!i->is_mem) {
		v = reg_get(c, op->dst, size);
		reg_put(c, op->dst, size, reg_get(c, op->src, size));
		reg_put(c, op->src, size, v);
		return op_next(c, op);
	}
	c->locked = true;
	switch (size) {
	case 1: {
		any_u8 *p = mem_rmw8(c, op, op_lin(c, op, 1, true));

		v = __atomic_exchange_n(&p->v, (uint8_t)reg_get(c, op->src, 1), __ATOMIC_SEQ_CST);
		break;
	}
	case 2: {
		void *p = mem_rmw16(c, op, op_lin(c, op, 2, true));
		uint16_t x = (uint16_t)reg_get(c, op->src, 2);

		__asm__ volatile("xchgw %0, (%1)" : "+r"(x) : "r"(p) : "memory");
		v = x;
		break;
	}
	case 4: {
		void *p = mem_rmw32(c, op, op_lin(c, op, 4, true));
		uint32_t x = (uint32_t)reg_get(c, op->src, 4);

		__asm__ volatile("xchgl %0, (%1)" : "+r"(x) : "r"(p) : "memory");
		v = x;
		break;
	}
	default: {
		void *p = mem_rmw64(c, op, op_lin(c, op, 8, true));
		uint64_t x = reg_get(c, op->src, 8);

		__asm__ volatile("xchgq %0, (%1)" : "+r"(x) : "r"(p) : "memory");
		v = x;
	}
	}
	mem_rmw_done(c);
	c->locked = false;
	reg_put(c, op->src, size, v);
	return op_next(c, op);
}

OP(op_xadd)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize;
	uint64_t src = reg_get(c, op->src, size), old = 0;
	uint32_t f = 0;
	void *p;

	if (!i->is_mem) {
		old = reg_get(c, op->dst, size);
		switch (size) {
		case 1:
			src = alu_add8((uint8_t)old, (uint8_t)src, &c->fl);
			break;
		case 2:
			src = alu_add16((uint16_t)old, (uint16_t)src, &c->fl);
			break;
		case 4:
			src = alu_add32((uint32_t)old, (uint32_t)src, &c->fl);
			break;
		default:
			src = alu_add64(old, src, &c->fl);
		}
		reg_put(c, op->src, size, old);
		reg_put(c, op->dst, size, src);
		return op_next(c, op);
	}
	c->locked = i->pfx & X86_PFX_LOCK;
	p = rmw_any(c, op, op_lin(c, op, size, true), size);
	old = src;
#define XADD(sfx, mod)                                                                             \
	__asm__ volatile("lock xadd" sfx " %" mod "[v], (%[p])\n\t" ALU_FLAGS                      \
		: [v] "+&r"(old), "=&a"(f)                                                         \
		: [p] "r"(p)                                                                       \
		: "cc", "memory")
	switch (size) {
	case 1:
		XADD("b", "b");
		break;
	case 2:
		XADD("w", "w");
		break;
	case 4:
		XADD("l", "k");
		break;
	default:
		XADD("q", "q");
	}
	mem_rmw_done(c);
	c->locked = false;
	c->fl = (uint16_t)f;
	reg_put(c, op->src, size, old);
	return op_next(c, op);
}

OP(op_cmpxchg)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize;
	uint64_t acc = reg_get(c, X86_RAX * 8, size), src = reg_get(c, op->src, size), old = acc, f = c->fl, dst;
	void *p;

	if (!i->is_mem) {
		dst = reg_get(c, op->dst, size);
		p = &dst;
		goto run;
run_done:
		c->fl = (uint16_t)f;
		if (c->fl & FL_ZF) {
			reg_put(c, op->dst, size, src);
		} else {
			/* the destination is not touched, not even the upper half of a 32-bit one */
			reg_put(c, X86_RAX * 8, size, old);
		}
		return op_next(c, op);
	}
	c->locked = i->pfx & X86_PFX_LOCK;
	p = rmw_any(c, op, op_lin(c, op, size, true), size);
run:
#define CMPXCHG(sfx, mod)                                                                          \
	__asm__ volatile("lock cmpxchg" sfx " %" mod "[s], (%[p])\n\t"                             \
		"movq %%rax, %[old]\n\t" ALU_FLAGS "\n\tmovq %%rax, %[f]"                          \
		: "+&a"(acc), [old] "=&r"(old), [f] "=&r"(f)                                       \
		: [s] "r"(src), [p] "r"(p)                                                         \
		: "cc", "memory")
	switch (size) {
	case 1:
		CMPXCHG("b", "b");
		break;
	case 2:
		CMPXCHG("w", "w");
		break;
	case 4:
		CMPXCHG("l", "k");
		break;
	default:
		CMPXCHG("q", "q");
	}
	if (!i->is_mem)
		goto run_done;
	mem_rmw_done(c);
	c->locked = false;
	c->fl = (uint16_t)f;
	if (!(c->fl & FL_ZF))
		reg_put(c, X86_RAX * 8, size, old);
	return op_next(c, op);
}

OP(op_cmpxchg8b)
{
	bool wide = op->insn->opsize == 8, ok;
	uint64_t *g = c->s.gpr, lin = op_lin(c, op, wide ? 16 : 8, true);

	c->op = op;
	c->locked = true;
	if (wide) {
		uint64_t a = g[X86_RAX], d = g[X86_RDX];
		void *p;

		if (lin & 15) {
			c->locked = false;
			raise_gp(c);
		}
		p = mem_rmw_slow(c, lin, 16, op->seg);
		__asm__ volatile("lock cmpxchg16b (%[p])"
			: "+a"(a), "+d"(d), "=@ccz"(ok)
			: [p] "r"(p), "b"(g[X86_RBX]), "c"(g[X86_RCX])
			: "memory");
		mem_rmw_done(c);
		if (!ok) {
			g[X86_RAX] = a;
			g[X86_RDX] = d;
		}
	} else {
		uint64_t want = g[X86_RDX] << 32 | (uint32_t)g[X86_RAX];
		uint64_t set = g[X86_RCX] << 32 | (uint32_t)g[X86_RBX];
		void *p = mem_rmw64(c, op, lin);

		__asm__ volatile("lock cmpxchgq %[s], (%[p])"
			: "+a"(want), "=@ccz"(ok)
			: [p] "r"(p), [s] "r"(set)
			: "memory");
		mem_rmw_done(c);
		if (!ok) {
			g[X86_RAX] = (uint32_t)want;
			g[X86_RDX] = want >> 32;
		}
	}
	c->locked = false;
	c->fl = ok ? c->fl | FL_ZF : c->fl & ~(uint32_t)FL_ZF;
	return op_next(c, op);
}

OP(op_bswap)
{
	if (op->size == 8)
		RD(64) = __builtin_bswap64(RD(64));
	else if (op->size == 4)
		SET_DST(32, __builtin_bswap32(RD(32)));
	else
		RD(16) = 0; /* undefined by the manual; what processors do */
	return op_next(c, op);
}

OP(op_movbe)
{
	const struct x86_insn *i = op->insn;
	bool to_mem = i->form == X86_F_RM_R;
	uint64_t v = to_mem ? reg_get(c, i->reg * 8u, i->opsize) : rm_get(c, op, i->opsize);

	v = i->opsize == 8 ? __builtin_bswap64(v)
		: i->opsize == 4 ? __builtin_bswap32((uint32_t)v)
				 : __builtin_bswap16((uint16_t)v);
	if (to_mem)
		rm_put(c, op, i->opsize, v);
	else
		reg_put(c, i->reg * 8u, i->opsize, v);
	return op_next(c, op);
}
/* ---- bits ---- */

/* BT with a register as bit number reaches memory around the operand. */
OP(op_bt)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize, bits = size * 8, bit;
	bool write = i->op != X86_OP_BT, old;
	uint64_t v, m;

	if (!i->is_mem) {
		uint64_t n = i->form == X86_F_RM_I ? (uint64_t)i->imm : reg_get(c, i->reg * 8u, size);

		bit = (unsigned)(n & (bits - 1));
		v = reg_get(c, op->dst, size);
		old = v >> bit & 1;
		m = 1ull << bit;
		if (i->op == X86_OP_BTS)
			v |= m;
		else if (i->op == X86_OP_BTR)
			v &= ~m;
		else if (i->op == X86_OP_BTC)
			v ^= m;
		if (write)
			reg_put(c, op->dst, size, v);
	} else {
		uint64_t off = op_off(c, op), lin;

		if (i->form == X86_F_RM_I) {
			bit = (unsigned)i->imm & (bits - 1);
		} else {
			uint64_t r = reg_get(c, i->reg * 8u, size);
			int64_t n = size == 8 ? (int64_t)r : size == 4 ? (int32_t)r : (int16_t)r;

			bit = (unsigned)n & (bits - 1);
			off = (off + (uint64_t)((n - (int64_t)bit) / 8)) & op->amask;
		}
		lin = op->flat ? off : seg_lin(c, op, op->seg, off, size, write);
		m = 1ull << bit;
		if (!write) {
			old = load(c, op, lin, size) >> bit & 1;
		} else {
			/* one byte is enough for the operation; the page checks are made for the whole */
			bool lock = i->pfx & X86_PFX_LOCK;
			void *p;

			c->locked = lock;
			p = rmw_any(c, op, lin, size);
#define BIT_LOCK(T)                                                                                \
	do {                                                                                       \
		T *q = p, o, mm = (T)m;                                                            \
		if (!lock) {                                                                       \
			memcpy(&o, q, sizeof o);                                                   \
			T nv = i->op == X86_OP_BTS ? (T)(o | mm)                                   \
				: i->op == X86_OP_BTR ? (T)(o & (T)~mm)                            \
						      : (T)(o ^ mm);                               \
			memcpy(q, &nv, sizeof nv);                                                 \
		} else if (i->op == X86_OP_BTS) {                                                  \
			o = __atomic_fetch_or(q, mm, __ATOMIC_SEQ_CST);                            \
		} else if (i->op == X86_OP_BTR) {                                                  \
			o = __atomic_fetch_and(q, (T)~mm, __ATOMIC_SEQ_CST);                       \
		} else {                                                                           \
			o = __atomic_fetch_xor(q, mm, __ATOMIC_SEQ_CST);                           \
		}                                                                                  \
		old = o >> bit & 1;                                                                \
	} while (0)
			if (size == 2)
				BIT_LOCK(uint16_t);
			else if (size == 4)
				BIT_LOCK(uint32_t);
			else
				BIT_LOCK(uint64_t);
			mem_rmw_done(c);
			c->locked = false;
		}
	}
	c->fl = old ? c->fl | FL_CF : c->fl & ~(uint32_t)FL_CF;
	return op_next(c, op);
}

#define SCAN(name)                                                                                 \
	OP(op_##name)                                                                             \
	{                                                                                          \
		const struct x86_insn *i = op->insn;                                               \
		uint64_t v = rm_get(c, op, i->opsize), old = reg_get(c, i->reg * 8u, i->opsize);   \
                                                                                                   \
		switch (i->opsize) {                                                               \
		case 2:                                                                            \
			v = alu_##name##16((uint16_t)old, (uint16_t)v, &c->fl);                    \
			break;                                                                     \
		case 4:                                                                            \
			v = alu_##name##32((uint32_t)old, (uint32_t)v, &c->fl);                    \
			break;                                                                     \
		default:                                                                           \
			v = alu_##name##64(old, v, &c->fl);                                        \
		}                                                                                  \
		reg_put(c, i->reg * 8u, i->opsize, v);                                             \
		return op_next(c, op);                                                                     \
	}
SCAN(tzcnt)
SCAN(lzcnt)
SCAN(popcnt)

/* A source of 0 leaves the destination as it is, all 64 bits of it (AMD documents it, Intel does it). */
OP(op_bsf)
{
	const struct x86_insn *i = op->insn;
	bool fwd = i->op == X86_OP_BSF;
	uint64_t v = rm_get(c, op, i->opsize), old = reg_get(c, i->reg * 8u, i->opsize), r;

	switch (i->opsize) {
	case 2:
		r = fwd ? alu_bsf16((uint16_t)old, (uint16_t)v, &c->fl) : alu_bsr16((uint16_t)old, (uint16_t)v, &c->fl);
		break;
	case 4:
		r = fwd ? alu_bsf32((uint32_t)old, (uint32_t)v, &c->fl) : alu_bsr32((uint32_t)old, (uint32_t)v, &c->fl);
		break;
	default:
		r = fwd ? alu_bsf64(old, v, &c->fl) : alu_bsr64(old, v, &c->fl);
	}
	if (v)
		reg_put(c, i->reg * 8u, i->opsize, r);
	return op_next(c, op);
}

OP(op_adcx)
{
	const struct x86_insn *i = op->insn;
	uint32_t bit = i->op == X86_OP_ADCX ? FL_CF : FL_OF;
	uint64_t a = rm_get(c, op, i->opsize), b = reg_get(c, i->reg * 8u, i->opsize), r;
	uint64_t cin = c->fl & bit ? 1 : 0;
	bool out;

	if (i->opsize == 4) {
		r = (uint64_t)(uint32_t)a + (uint32_t)b + cin;
		out = r >> 32;
	} else {
		u128 w = (u128)a + b + cin;

		r = (uint64_t)w;
		out = (bool)(w >> 64);
	}
	reg_put(c, i->reg * 8u, i->opsize, r);
	c->fl = out ? c->fl | bit : c->fl & ~bit;
	return op_next(c, op);
}

OP(op_crc32)
{
	const struct x86_insn *i = op->insn;
	uint64_t v = rm_get(c, op, i->srcsize), crc = (uint32_t)reg_get(c, i->reg * 8u, 4);

	switch (i->srcsize) {
	case 1:
		__asm__("crc32b %b1, %k0" : "+r"(crc) : "r"(v));
		break;
	case 2:
		__asm__("crc32w %w1, %k0" : "+r"(crc) : "r"(v));
		break;
	case 4:
		__asm__("crc32l %k1, %k0" : "+r"(crc) : "r"(v));
		break;
	default:
		__asm__("crc32q %1, %0" : "+r"(crc) : "r"(v));
	}
	reg_put(c, i->reg * 8u, 8, (uint32_t)crc);
	return op_next(c, op);
}

OP(op_bmi)
{
	const struct x86_insn *i = op->insn;
	unsigned size = i->opsize, bits = size * 8;
	unsigned dst = i->form == X86_F_V_RM ? i->vvvv : i->reg;
	uint64_t rm, v, r = 0;
	uint32_t fl = c->fl;

	c->op = op;
	if (!(c->s.cr0 & X86_CR0_PE) || c->s.rflags & X86_VM)
		raise_ud(c); /* there is no VEX in real and virtual 8086 mode */
	rm = rm_get(c, op, size);
	v = reg_get(c, i->vvvv * 8u, size);

	switch (i->op) {
	case X86_OP_ANDN:
		r = size == 4 ? alu_andn32((uint32_t)v, (uint32_t)rm, &fl) : alu_andn64(v, rm, &fl);
		break;
	case X86_OP_BEXTR:
		r = size == 4 ? alu_bextr32((uint32_t)rm, (uint32_t)v, &fl) : alu_bextr64(rm, v, &fl);
		break;
	case X86_OP_BZHI:
		r = size == 4 ? alu_bzhi32((uint32_t)rm, (uint32_t)v, &fl) : alu_bzhi64(rm, v, &fl);
		break;
	case X86_OP_BLSI:
		r = size == 4 ? alu_blsi32((uint32_t)rm, &fl) : alu_blsi64(rm, &fl);
		break;
	case X86_OP_BLSMSK:
		r = size == 4 ? alu_blsmsk32((uint32_t)rm, &fl) : alu_blsmsk64(rm, &fl);
		break;
	case X86_OP_BLSR:
		r = size == 4 ? alu_blsr32((uint32_t)rm, &fl) : alu_blsr64(rm, &fl);
		break;
	case X86_OP_MULX: {
		uint64_t d = reg_get(c, X86_RDX * 8, size);
		u128 w = (u128)d * rm;

		if (size == 4)
			w = (uint64_t)(uint32_t)d * (uint32_t)rm;
		/* the low half first: with equal registers the high half stays */
		reg_put(c, i->vvvv * 8u, size, (uint64_t)w);
		r = (uint64_t)(w >> bits);
		break;
	}
	case X86_OP_PDEP:
		__asm__("pdepq %2, %1, %0" : "=r"(r) : "r"(v), "r"(rm));
		break;
	case X86_OP_PEXT:
		__asm__("pextq %2, %1, %0" : "=r"(r) : "r"(v), "r"(rm));
		break;
	case X86_OP_RORX: {
		unsigned n = (unsigned)i->imm & (bits - 1);

		r = n ? rm >> n | rm << (bits - n) : rm;
		break;
	}
	case X86_OP_SARX:
		r = size == 4 ? (uint64_t)((int32_t)rm >> (v & 31)) : (uint64_t)((int64_t)rm >> (v & 63));
		break;
	case X86_OP_SHLX:
		r = rm << (v & (bits - 1));
		break;
	case X86_OP_SHRX:
		r = rm >> (v & (bits - 1));
		break;
	default:
		break;
	}
	reg_put(c, dst * 8u, size, r);
	c->fl = fl;
	return op_next(c, op);
}
/* ---- small ones ---- */

OP(op_setcc)
{
	uint8_t v = cond(c->fl, op->cc);

	if (op->insn->is_mem)
		mem_st8(c, op, op_lin(c, op, 1, true), v);
	else
		RD(8) = v;
	return op_next(c, op);
}

OP(op_cbw)
{
	uint64_t a = c->s.gpr[X86_RAX];

	reg_put(c, X86_RAX * 8, op->size,
		op->size == 8 ? (uint64_t)(int32_t)a
			: op->size == 4 ? (uint64_t)(int16_t)a
					: (uint64_t)(int8_t)a);
	return op_next(c, op);
}

OP(op_cwd)
{
	uint64_t a = c->s.gpr[X86_RAX];
	bool neg = op->size == 8 ? a >> 63 : op->size == 4 ? a >> 31 & 1 : a >> 15 & 1;

	reg_put(c, X86_RDX * 8, op->size, neg ? ~0ull : 0);
	return op_next(c, op);
}

OP(op_xlat)
{
	const struct x86_insn *i = op->insn;
	uint64_t off = (c->s.gpr[X86_RBX] + (uint8_t)c->s.gpr[X86_RAX]) & op->amask;

	reg_put(c, 0, 1, mem_ld8(c, op, seg_lin(c, op, i->seg, off, 1, false)));
	return op_next(c, op);
}

OP(op_lahf)
{
	*reg8(c, 1) = (uint8_t)(c->fl >> 8 & 0xd5) | 2;
	return op_next(c, op);
}

OP(op_sahf)
{
	c->fl = (c->fl & FL_OF) | (uint32_t)(*reg8(c, 1) & 0xd5) << 8;
	return op_next(c, op);
}

OP(op_salc)
{
	*reg8(c, 0) = c->fl & FL_CF ? 0xff : 0;
	return op_next(c, op);
}

OP(op_flag)
{
	switch (op->insn->op) {
	case X86_OP_CLC:
		c->fl &= ~(uint32_t)FL_CF;
		break;
	case X86_OP_STC:
		c->fl |= FL_CF;
		break;
	case X86_OP_CMC:
		c->fl ^= FL_CF;
		break;
	case X86_OP_CLD:
		c->s.rflags &= ~(uint64_t)X86_DF;
		break;
	default:
		c->s.rflags |= X86_DF;
	}
	return op_next(c, op);
}

/* SF, ZF, PF of a byte; AF and CF given, OF cleared */
static uint32_t bcd_flags(uint8_t v, bool af, bool cf)
{
	uint32_t f = 0;

	alu_or8(v, v, &f);
	return (f & (FL_SF | FL_ZF | FL_PF)) | (af ? FL_AF : 0) | (cf ? FL_CF : 0);
}

OP(op_daa)
{
	bool sub = op->insn->op == X86_OP_DAS, af = c->fl & FL_AF, cf = c->fl & FL_CF, ncf = false;
	uint8_t old = *reg8(c, 0), al = old;

	if ((al & 15) > 9 || af) {
		ncf = cf || (sub ? al < 6 : al > 0xf9);
		al = (uint8_t)(sub ? al - 6 : al + 6);
		af = true;
	} else {
		af = false;
	}
	if (old > 0x99 || cf) {
		al = (uint8_t)(sub ? al - 0x60 : al + 0x60);
		ncf = true;
	} else if (!sub) {
		ncf = false;
	}
	*reg8(c, 0) = al;
	c->fl = bcd_flags(al, af, ncf);
	return op_next(c, op);
}

OP(op_aaa)
{
	bool sub = op->insn->op == X86_OP_AAS;
	uint16_t ax = (uint16_t)c->s.gpr[X86_RAX];
	bool adj = (ax & 15) > 9 || c->fl & FL_AF;

	if (adj)
		ax = (uint16_t)(sub ? ax - 0x106 : ax + 0x106);
	ax &= 0xff0f;
	put_u16(c->s.gpr, ax);
	c->fl = bcd_flags((uint8_t)ax, adj, adj);
	return op_next(c, op);
}

OP(op_aam)
{
	uint8_t base = (uint8_t)op->insn->imm, al = *reg8(c, 0);

	if (op->insn->op == X86_OP_AAM) {
		if (!base)
			raise_de(c, op);
		put_u16(c->s.gpr, (uint16_t)(al / base << 8 | al % base));
	} else {
		put_u16(c->s.gpr, (uint8_t)(al + *reg8(c, 1) * base));
	}
	c->fl = bcd_flags(*reg8(c, 0), false, false);
	return op_next(c, op);
}

OP(op_ud)
{
	c->op = op;
	raise_ud(c);
}

OP(op_movnti)
{
	const struct x86_insn *i = op->insn;

	store(c, op, op_lin(c, op, i->regsize, true), i->regsize, reg_get(c, i->reg * 8u, i->regsize));
	return op_next(c, op);
}
