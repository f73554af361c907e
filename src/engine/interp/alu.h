/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic by the host's own instructions: each function runs one, then LAHF and SETO take the
 * flags (interp-int.h, FL_*). What the manual leaves undefined comes out as on this host, which is what
 * the translator will do, too.
 */
#ifndef ENGINE_INTERP_ALU_H
#define ENGINE_INTERP_ALU_H

#include <stdint.h>

#define ALU_FLAGS "lahf\n\tseto %%al"
/* puts CF of a flag word in place for what follows */
#define ALU_CF_IN "btl $8, %k[fl]\n\t"
/* puts SF ZF AF PF CF in place; OF is not kept */
#define ALU_ALL_IN "movl %k[fl], %%eax\n\tsahf\n\t"

#define ALU_BINARY(name, insn, T)                                                                  \
	static inline T name(T a, T b, uint32_t *fl)                                               \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__(insn " %[b], %[a]\n\t" ALU_FLAGS                                           \
			: [a] "+&r"(a), "=&a"(f)                                                   \
			: [b] "r"(b)                                                               \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return a;                                                                          \
	}
#define ALU_CARRY(name, insn, T)                                                                   \
	static inline T name(T a, T b, uint32_t *fl)                                               \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__(ALU_CF_IN insn " %[b], %[a]\n\t" ALU_FLAGS                                 \
			: [a] "+&r"(a), "=&a"(f)                                                   \
			: [b] "r"(b), [fl] "r"(*fl)                                                \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return a;                                                                          \
	}
#define ALU_UNARY_CF(name, insn, T)                                                                \
	static inline T name(T a, uint32_t *fl)                                                    \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__(ALU_CF_IN insn " %[a]\n\t" ALU_FLAGS                                       \
			: [a] "+&r"(a), "=&a"(f)                                                   \
			: [fl] "r"(*fl)                                                            \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return a;                                                                          \
	}
/* count is not 0 after masking; flags go in whole for those that keep some */
#define ALU_SHIFT(name, insn, T)                                                                   \
	static inline T name(T a, uint8_t n, uint32_t *fl)                                         \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__(ALU_ALL_IN insn " %[n], %[a]\n\t" ALU_FLAGS                                \
			: [a] "+&r"(a), "=&a"(f)                                                   \
			: [n] "c"(n), [fl] "r"(*fl)                                                \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return a;                                                                          \
	}
#define ALU_SHIFT2(name, insn, T)                                                                  \
	static inline T name(T a, T b, uint8_t n, uint32_t *fl)                                    \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__(ALU_ALL_IN insn " %b[n], %[b], %[a]\n\t" ALU_FLAGS                         \
			: [a] "+&r"(a), "=&a"(f)                                                   \
			: [b] "r"(b), [n] "c"(n), [fl] "r"(*fl)                                    \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return a;                                                                          \
	}

#define ALU_SIZE(bits, sfx)                                                                        \
	ALU_BINARY(alu_add##bits, "add" sfx, uint##bits##_t)                                       \
	ALU_BINARY(alu_or##bits, "or" sfx, uint##bits##_t)                                         \
	ALU_CARRY(alu_adc##bits, "adc" sfx, uint##bits##_t)                                        \
	ALU_CARRY(alu_sbb##bits, "sbb" sfx, uint##bits##_t)                                        \
	ALU_BINARY(alu_and##bits, "and" sfx, uint##bits##_t)                                       \
	ALU_BINARY(alu_sub##bits, "sub" sfx, uint##bits##_t)                                       \
	ALU_BINARY(alu_xor##bits, "xor" sfx, uint##bits##_t)                                       \
	ALU_UNARY_CF(alu_inc##bits, "inc" sfx, uint##bits##_t)                                     \
	ALU_UNARY_CF(alu_dec##bits, "dec" sfx, uint##bits##_t)                                     \
	ALU_UNARY_CF(alu_neg##bits, "neg" sfx, uint##bits##_t)                                     \
	ALU_SHIFT(alu_rol##bits, "rol" sfx, uint##bits##_t)                                        \
	ALU_SHIFT(alu_ror##bits, "ror" sfx, uint##bits##_t)                                        \
	ALU_SHIFT(alu_rcl##bits, "rcl" sfx, uint##bits##_t)                                        \
	ALU_SHIFT(alu_rcr##bits, "rcr" sfx, uint##bits##_t)                                        \
	ALU_SHIFT(alu_shl##bits, "shl" sfx, uint##bits##_t)                                        \
	ALU_SHIFT(alu_shr##bits, "shr" sfx, uint##bits##_t)                                        \
	ALU_SHIFT(alu_sar##bits, "sar" sfx, uint##bits##_t)
ALU_SIZE(8, "b")
ALU_SIZE(16, "w")
ALU_SIZE(32, "l")
ALU_SIZE(64, "q")
ALU_SHIFT2(alu_shld16, "shldw", uint16_t)
ALU_SHIFT2(alu_shld32, "shldl", uint32_t)
ALU_SHIFT2(alu_shld64, "shldq", uint64_t)
ALU_SHIFT2(alu_shrd16, "shrdw", uint16_t)
ALU_SHIFT2(alu_shrd32, "shrdl", uint32_t)
ALU_SHIFT2(alu_shrd64, "shrdq", uint64_t)

/* LOCK forms work on memory in place. */
#define ALU_LOCK(name, insn, T)                                                                    \
	static inline void name(void *p, T b, uint32_t *fl)                                        \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__ volatile(ALU_CF_IN "lock " insn " %[b], (%[p])\n\t" ALU_FLAGS              \
			: "=&a"(f)                                                                 \
			: [p] "r"(p), [b] "r"(b), [fl] "r"(*fl)                                    \
			: "cc", "memory");                                                         \
		*fl = (uint16_t)f;                                                                 \
	}
#define ALU_LOCK1(name, insn)                                                                      \
	static inline void name(void *p, uint32_t *fl)                                             \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__ volatile(ALU_CF_IN "lock " insn " (%[p])\n\t" ALU_FLAGS                    \
			: "=&a"(f)                                                                 \
			: [p] "r"(p), [fl] "r"(*fl)                                                \
			: "cc", "memory");                                                         \
		*fl = (uint16_t)f;                                                                 \
	}
#define ALU_LOCK_SIZE(bits, sfx)                                                                   \
	ALU_LOCK(alu_lock_add##bits, "add" sfx, uint##bits##_t)                                    \
	ALU_LOCK(alu_lock_or##bits, "or" sfx, uint##bits##_t)                                      \
	ALU_LOCK(alu_lock_adc##bits, "adc" sfx, uint##bits##_t)                                    \
	ALU_LOCK(alu_lock_sbb##bits, "sbb" sfx, uint##bits##_t)                                    \
	ALU_LOCK(alu_lock_and##bits, "and" sfx, uint##bits##_t)                                    \
	ALU_LOCK(alu_lock_sub##bits, "sub" sfx, uint##bits##_t)                                    \
	ALU_LOCK(alu_lock_xor##bits, "xor" sfx, uint##bits##_t)                                    \
	ALU_LOCK1(alu_lock_inc##bits, "inc" sfx)                                                   \
	ALU_LOCK1(alu_lock_dec##bits, "dec" sfx)                                                   \
	ALU_LOCK1(alu_lock_neg##bits, "neg" sfx)                                                   \
	ALU_LOCK1(alu_lock_not##bits, "not" sfx)
ALU_LOCK_SIZE(8, "b")
ALU_LOCK_SIZE(16, "w")
ALU_LOCK_SIZE(32, "l")
ALU_LOCK_SIZE(64, "q")

/* One source, one destination, flags: BSF, TZCNT and friends. The destination goes in, too. */
#define ALU_SCAN(name, insn, T)                                                                    \
	static inline T name(T old, T src, uint32_t *fl)                                           \
	{                                                                                          \
		uint32_t f;                                                                        \
                                                                                                   \
		__asm__(ALU_ALL_IN insn " %[s], %[d]\n\t" ALU_FLAGS                                \
			: [d] "+&r"(old), "=&a"(f)                                                 \
			: [s] "r"(src), [fl] "r"(*fl)                                              \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return old;                                                                        \
	}
#define ALU_SCAN_SIZE(bits, sfx)                                                                   \
	ALU_SCAN(alu_bsf##bits, "bsf" sfx, uint##bits##_t)                                         \
	ALU_SCAN(alu_bsr##bits, "bsr" sfx, uint##bits##_t)                                         \
	ALU_SCAN(alu_tzcnt##bits, "tzcnt" sfx, uint##bits##_t)                                     \
	ALU_SCAN(alu_lzcnt##bits, "lzcnt" sfx, uint##bits##_t)                                     \
	ALU_SCAN(alu_popcnt##bits, "popcnt" sfx, uint##bits##_t)                                   \
	ALU_SCAN(alu_imul##bits, "imul" sfx, uint##bits##_t)
ALU_SCAN_SIZE(16, "w")
ALU_SCAN_SIZE(32, "l")
ALU_SCAN_SIZE(64, "q")

#define ALU_MUL(name, insn, T)                                                                     \
	static inline void name(T *lo, T *hi, T src, uint32_t *fl)                                 \
	{                                                                                          \
		uint64_t a = *lo, d = 0;                                                           \
		uint32_t f = *fl;                                                                  \
                                                                                                   \
		__asm__("xchgq %%rax, %q[f]\n\tsahf\n\txchgq %%rax, %q[f]\n\t" insn " %[s]\n\t"    \
			"xchgq %%rax, %q[f]\n\t" ALU_FLAGS "\n\txchgq %%rax, %q[f]"                \
			: "+a"(a), "+d"(d), [f] "+r"(f)                                            \
			: [s] "r"(src)                                                             \
			: "cc");                                                                   \
		*lo = (T)a;                                                                        \
		*hi = (T)d;                                                                        \
		*fl = (uint16_t)f;                                                                 \
	}
ALU_MUL(alu_mul16, "mulw", uint16_t)
ALU_MUL(alu_mul32, "mull", uint32_t)
ALU_MUL(alu_mul64, "mulq", uint64_t)
ALU_MUL(alu_imul1_16, "imulw", uint16_t)
ALU_MUL(alu_imul1_32, "imull", uint32_t)
ALU_MUL(alu_imul1_64, "imulq", uint64_t)

#define ALU_MUL8(name, insn)                                                                       \
	static inline uint16_t name(uint8_t al, uint8_t src, uint32_t *fl)                         \
	{                                                                                          \
		uint64_t a = al;                                                                   \
		uint32_t f = *fl;                                                                  \
                                                                                                   \
		__asm__("xchgq %%rax, %q[f]\n\tsahf\n\txchgq %%rax, %q[f]\n\t" insn " %[s]\n\t"    \
			"xchgq %%rax, %q[f]\n\t" ALU_FLAGS "\n\txchgq %%rax, %q[f]"                \
			: "+a"(a), [f] "+r"(f)                                                     \
			: [s] "r"(src)                                                             \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return (uint16_t)a;                                                                \
	}
ALU_MUL8(alu_mul8, "mulb")
ALU_MUL8(alu_imul1_8, "imulb")

/* BMI: destination, two sources */
#define ALU_BMI3(name, insn, T)                                                                    \
	static inline T name(T a, T b, uint32_t *fl)                                               \
	{                                                                                          \
		uint32_t f;                                                                        \
		T r;                                                                               \
                                                                                                   \
		__asm__(ALU_ALL_IN insn " %[b], %[a], %[r]\n\t" ALU_FLAGS                          \
			: [r] "=&r"(r), "=&a"(f)                                                   \
			: [a] "r"(a), [b] "r"(b), [fl] "r"(*fl)                                    \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return r;                                                                          \
	}
#define ALU_BMI2(name, insn, T)                                                                    \
	static inline T name(T a, uint32_t *fl)                                                    \
	{                                                                                          \
		uint32_t f;                                                                        \
		T r;                                                                               \
                                                                                                   \
		__asm__(ALU_ALL_IN insn " %[a], %[r]\n\t" ALU_FLAGS                                \
			: [r] "=&r"(r), "=&a"(f)                                                   \
			: [a] "r"(a), [fl] "r"(*fl)                                                \
			: "cc");                                                                   \
		*fl = (uint16_t)f;                                                                 \
		return r;                                                                          \
	}
#define ALU_BMI_SIZE(bits, sfx)                                                                    \
	ALU_BMI3(alu_andn##bits, "andn" sfx, uint##bits##_t)   /* ~a & b */                        \
	ALU_BMI3(alu_bextr##bits, "bextr" sfx, uint##bits##_t) /* b by control a, see callers */   \
	ALU_BMI3(alu_bzhi##bits, "bzhi" sfx, uint##bits##_t)                                       \
	ALU_BMI2(alu_blsi##bits, "blsi" sfx, uint##bits##_t)                                       \
	ALU_BMI2(alu_blsmsk##bits, "blsmsk" sfx, uint##bits##_t)                                   \
	ALU_BMI2(alu_blsr##bits, "blsr" sfx, uint##bits##_t)
ALU_BMI_SIZE(32, "l")
ALU_BMI_SIZE(64, "q")

#endif
