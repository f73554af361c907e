/* SPDX-License-Identifier: MIT */
/*
 * Memory operands: across pages, at faults, with every register, under changing rights. Instructions run alone
 * between a jump that has loaded all registers, RSP too, and an INT3; all exceptions have a stack of their own
 * (IST), so RSP may be anything. Each is run several times, for translators that start late, first in ordinary
 * memory, whose result is then what is wanted where two pages that are no neighbours meet; then with one of
 * the pages missing or read-only, where nothing at all may have changed at the fault.
 */
#include "rt.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum { AGAIN = 5 };

static uint8_t code[NPAGE] __attribute__((aligned(4096)));
static const ulong va = 0x50000000000ul;
static uint64_t seed = 0x9e3779b97f4a7c15ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

/* ---- one instruction, all registers */
struct regs {
	ulong r[16], flags;
};
ulong x_ctx[17] __attribute__((used)); /* flags, then in the order of POP below */
ulong x_rsp __attribute__((used)), x_ip __attribute__((used));
SNIPPET(x_enter, "lea x_ctx, %rsp\n popf\n pop %rax\n pop %rcx\n pop %rdx\n pop %rbx\n pop %rbp\n pop %rsi\n pop %rdi\n pop %r8\n"
	"pop %r9\n pop %r10\n pop %r11\n pop %r12\n pop %r13\n pop %r14\n pop %r15\n mov x_rsp, %rsp\n jmp *x_ip");

/* Runs code at ip until an exception; out: the registers then. */
static struct trap *exec_at(const void *ip, const struct regs *in, struct regs *out)
{
	struct trap *t;
	unsigned n = 0;

	x_ctx[n++] = in->flags | FL_1;
	for (unsigned i = 0; i < 16; i++)
		if (i != RSP)
			x_ctx[n++] = in->r[i];
	x_rsp = in->r[RSP];
	x_ip = (ulong)ip;
	t = catch(x_enter);
	*out = (struct regs){{t->regs.ax, t->regs.cx, t->regs.dx, t->regs.bx, t->sp, t->regs.bp, t->regs.si, t->regs.di, t->regs.r8,
		t->regs.r9, t->regs.r10, t->regs.r11, t->regs.r12, t->regs.r13, t->regs.r14, t->regs.r15}, t->flags & ~(ulong)FL_RF};
	return t;
}

static uint8_t *code_put(unsigned off, const void *insn, ulong len)
{
	memcpy(code + off, insn, len);
	memset(code + off + len, 0xcc, 8);
	return code + off;
}

static void regs_random(struct regs *r)
{
	for (unsigned i = 0; i < 16; i++)
		r->r[i] = rnd();
	r->flags = FL_1 | (rnd() & (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF));
}

static void map(ulong at, ulong page, uint64_t flags)
{
	*pte_at(rt_pml4, at, 1) = page | flags;
	invlpg((void *)at);
}

/* ---- instructions across pages */
enum { R = 0, W = 1, PUSHES = 2, POPS = 4, ALIGNED = 8, AVX = 16, MULFL = 32 /* leaves SF, ZF, AF, PF undefined */, TWO = 64 /* instructions */ };
#define OPS(X) \
	X(mov1, 1, R, "mov (%rdi), %al") X(mov2, 2, R, "mov (%rdi), %ax") X(mov4, 4, R, "mov (%rdi), %eax") X(mov8, 8, R, "mov (%rdi), %r10") \
	X(movah, 1, R, "mov (%rdi), %ah") X(movr9, 4, R, "mov (%rdi), %r9d") X(movzx, 2, R, "movzwl (%rdi), %r11d") X(movsx, 4, R, "movslq (%rdi), %r8") \
	X(st1, 1, W, "mov %al, (%rdi)") X(st2, 2, W, "mov %r9w, (%rdi)") X(st4, 4, W, "mov %r10d, (%rdi)") X(st8, 8, W, "mov %r11, (%rdi)") \
	X(stch, 1, W, "mov %ch, (%rdi)") X(stdh, 1, W, "mov %dh, (%rdi)") X(stbh, 1, W, "mov %bh, (%rdi)") X(stimm, 8, W, "movq $-5, (%rdi)") \
	X(add2, 2, W, "add %ax, (%rdi)") X(add4, 4, W, "add %r9d, (%rdi)") X(add8, 8, W, "add %rdx, (%rdi)") X(addl, 8, R, "add (%rdi), %rdx") \
	X(adc8, 8, W, "adc %r11, (%rdi)") X(sbb4, 4, R, "sbb (%rdi), %r10d") X(cmp8, 8, R, "cmp %rax, (%rdi)") X(cmpi, 4, R, "cmpl $77, (%rdi)") \
	X(test4, 4, R, "testl $0x1234567, (%rdi)") X(inc4, 4, W, "incl (%rdi)") X(dec8, 8, W, "decq (%rdi)") X(neg8, 8, W, "negq (%rdi)") \
	X(not2, 2, W, "notw (%rdi)") X(shl4, 4, W, "shll $3, (%rdi)") X(rcl8, 8, W, "rclq $1, (%rdi)") X(ror2, 2, W, "rorw $5, (%rdi)") \
	X(shld8, 8, W, "shldq $9, %r10, (%rdi)") X(xchg4, 4, W, "xchg %eax, (%rdi)") X(xchg8, 8, W, "xchg %r9, (%rdi)") X(xadd8, 8, W, "lock xadd %r10, (%rdi)") \
	X(lockadd, 4, W, "lock addl $5, (%rdi)") X(cmpxchg, 8, W, "lock cmpxchg %rdx, (%rdi)") X(cmpxchg8, 8, W, "cmpxchg8b (%rdi)") \
	X(bts, 8, W, "btsq $50, (%rdi)") X(lockbtr, 4, W, "lock btrl $9, (%rdi)") X(bt, 4, R, "btl $31, (%rdi)") X(setc, 1, W, "setc (%rdi)") \
	X(cmov, 8, R, "cmovc (%rdi), %r11") X(imul, 4, R | MULFL, "imul $77, (%rdi), %r9d") X(movbe, 8, W, "movbe %rax, (%rdi)") X(movnti, 8, W, "movnti %r10, (%rdi)") \
	X(mul, 8, R | MULFL, "mulq (%rdi)") X(bsf, 8, R, "popcnt (%rdi), %r9") X(lds, 4, W, "stmxcsr (%rdi)") \
	X(movups, 16, R, "movups (%rdi), %xmm0\n movq %xmm0, %rax") X(movupss, 16, W, "movups %xmm1, (%rdi)") X(movq_x, 8, W, "movq %xmm1, (%rdi)") \
	X(movaps, 16, W | ALIGNED, "movaps %xmm1, (%rdi)") X(addps, 16, R | ALIGNED, "paddd (%rdi), %xmm1") X(pinsr, 2, R, "pinsrw $3, (%rdi), %xmm1") \
	X(cx16, 16, W | ALIGNED, "lock cmpxchg16b (%rdi)") X(vmov, 32, R | AVX, "vmovdqu (%rdi), %ymm0") X(vmovs, 32, W | AVX, "vmovdqu %ymm1, (%rdi)") \
	X(vadd, 32, R | AVX, "vpaddd (%rdi), %ymm1, %ymm2") X(fld, 10, R, "fldt (%rdi)\n fstp %st(0)") X(fstp, 10, W, "fstpt (%rdi)\n fldz") \
	X(fist, 8, W, "fistpll (%rdi)\n fldz") X(fnstcw, 2, W, "fnstcw (%rdi)") X(movsd, 4, W, "movsl") X(stosq, 8, W, "stosq") X(cmpsq, 8, R, "cmpsq") \
	X(scasw, 2, R, "scasw") X(pushm, 8, R, "push (%rdi)") X(popm, 8, W, "pop (%rdi)") X(fxsave, 512, W | ALIGNED, "fxsave (%rdi)") \
	X(jmpm, 8, R | TWO, "cmpq $0, (%rdi)\n mov (%rdi), %rax") \
	X(push, 8, PUSHES, "push %r9") X(pushi, 8, PUSHES, "push $-9") X(pushf_, 8, PUSHES, "pushf") X(push2, 2, PUSHES, "pushw %ax") \
	X(pushrsp, 8, PUSHES, "push %rsp") X(call, 8, PUSHES, "call 1f\n int3\n 1:") X(callr, 8, PUSHES, "call *%rsi") X(enter, 8, PUSHES, "enter $0, $0") \
	X(pop, 8, POPS, "pop %r10") X(pop2, 2, POPS, "pop %ax") X(poprsp, 8, POPS, "pop %rsp") X(addsp, 8, POPS, "add (%rsp), %r9") X(movsp, 8, POPS | W, "mov %r9, (%rsp)") \
	X(xchgsp, 8, POPS | W, "xchg %rax, (%rsp)") X(retsp, 4, POPS | W, "subl $4, (%rsp)")

#define X(n, size, kind, text) SNIPPET_IN(".data", op_##n, text);
OPS(X)
#undef X
static const struct op {
	const char *name, *p, *end;
	unsigned size, kind;
} ops[] = {
#define X(n, size, kind, text) {#n, op_##n, op_##n##_end, size, kind},
	OPS(X)
#undef X
};

/* x87 and vector registers the same each time, also what FXSAVE stores of the last x87 instruction */
static __attribute__((noinline)) void fpu_reset(void)
{
	static const uint64_t v[2] __attribute__((aligned(16))) = {0x0123456789abcdef, 0xfedcba9876543210};

	__asm__ volatile("fninit\n fld1\n movaps %0, %%xmm1\n movaps %0, %%xmm2\n pxor %%xmm0, %%xmm0" :: "m"(v));
}

static bool in_range(ulong v, ulong at)
{
	return v - (at - NPAGE) < 3 * NPAGE;
}

static void crossing(void)
{
	uint8_t *flat = page_alloc_n(2, NPAGE), *p1 = page_alloc(), *gap = page_alloc(), *p2 = page_alloc(), *src = page_alloc();
	uint8_t *want_mem = page_alloc_n(2, NPAGE), *before = page_alloc_n(2, NPAGE), *stack = page_alloc();
	bool avx = cpu_has(F_AVX) && cpu_has(F_XSAVE);

	section("across pages");
	(void)gap;
	for (unsigned i = 0; i < NPAGE; i++)
		src[i] = (uint8_t)rnd();
	for (unsigned k = 0; k < sizeof(ops) / sizeof(*ops); k++) {
		const struct op *o = &ops[k];
		unsigned step = o->kind & ALIGNED ? 16 : o->size > 16 ? 5 : 1;
		uint8_t *ip;

		if (o->kind & AVX && !avx)
			continue;
		if (o->p == op_cx16 && !cpu_has(F_CX16))
			continue;
		if (o->p == op_movbe && !cpu_has(CPUID_(1, 0, 2, 22)))
			continue;
		ip = code_put(64 + k % 16 * 3, o->p, (ulong)(o->end - o->p));
		for (unsigned d = 0; d <= o->size; d += d + step > o->size && d < o->size ? o->size - d : step) {
			ulong at = va + NPAGE - d;
			struct regs in, want_out, out;
			struct trap *t;
			ulong fl_mask;

			if (o->kind & ALIGNED && at % 16)
				continue;
			for (unsigned i = 0; i < NPAGE; i += 8) {
				*(uint64_t *)(before + i) = rnd();
				*(uint64_t *)(before + NPAGE + i) = rnd();
			}
			regs_random(&in);
			in.r[RSI] = o->p == op_callr ? (ulong)code + 2048 : (ulong)src + 8;
			code[2048] = 0xcc;
			in.r[RSP] = (ulong)stack + 2048;
			/* what is wanted: the same in ordinary memory */
#define AIM(regs, where) ((regs)->r[o->kind & (PUSHES | POPS) ? RSP : RDI] = (where) + (o->kind & PUSHES ? o->size : 0))
			memcpy(flat, before, 2 * NPAGE);
			AIM(&in, (ulong)flat + NPAGE - d);
			memset(stack, 0x5a, NPAGE);
			fpu_reset();
			t = exec_at(ip, &in, &want_out);
			check(t->vec == BP, "%s: %ld", o->name, t->vec);
			memcpy(want_mem, flat, 2 * NPAGE);
			fl_mask = ~(o->kind & MULFL ? FL_SF | FL_ZF | FL_AF | FL_PF : 0ul);

			map(va, (ulong)p1, PTE_P | PTE_W);
			map(va + NPAGE, (ulong)p2, PTE_P | PTE_W);
			AIM(&in, at);
			for (unsigned again = 0; again < AGAIN; again++) {
				unsigned bad = 0;

				memcpy(p1, before, NPAGE);
				memcpy(p2, before + NPAGE, NPAGE);
				memset(stack, 0x5a, NPAGE);
				fpu_reset();
				t = exec_at(ip, &in, &out);
				for (unsigned r = 0; r < 16; r++) {
					ulong w = want_out.r[r];

					if (in_range(w, (ulong)flat + NPAGE))
						w += va - (ulong)flat;
					if (w != out.r[r] && !bad++)
						check(false, "%s %u, time %u: register %u is %lx, not %lx", o->name, d, again, r, out.r[r], w);
				}
				/* PUSH RSP writes what differs */
				if (o->p != op_pushrsp && (memcmp(p1, want_mem, NPAGE) || memcmp(p2, want_mem + NPAGE, NPAGE)))
					check(false, "%s %u, time %u: memory", o->name, d, again);
				check(t->vec == BP && !((out.flags ^ want_out.flags) & fl_mask), "%s %u, time %u: vector %ld, flags %lx, not %lx", o->name, d,
					again, t->vec, out.flags, want_out.flags);
			}

			/* one of the pages is missing, or read-only: where the access touches it */
			for (unsigned how = 0; how < 4; how++) {
				bool second = !(how & 1), absent = how < 2, touches = second ? d < o->size : d > 0;
				bool writes = o->kind & (W | PUSHES);
				ulong page = va + (second ? NPAGE : 0);

				map(va, (ulong)p1, PTE_P | PTE_W);
				map(va + NPAGE, (ulong)p2, PTE_P | PTE_W);
				if (!absent)
					map(page, second ? (ulong)p2 : (ulong)p1, PTE_P);
				for (unsigned again = 0; again < AGAIN; again++) {
					bool faults = touches && (absent || writes), ok;

					/* translated code that has worked must notice, too */
					if (absent)
						map(page, second ? (ulong)p2 : (ulong)p1, again & 1 ? PTE_P | PTE_W : 0);
					if (absent && again & 1)
						faults = false;
					memcpy(p1, before, NPAGE);
					memcpy(p2, before + NPAGE, NPAGE);
					memset(stack, 0x5a, NPAGE);
					fpu_reset();
					t = exec_at(ip, &in, &out);
					if (!faults) {
						check(t->vec == BP, "%s %u: vector %ld, though nothing is wrong", o->name, d, t->vec);
						continue;
					}
					ok = t->vec == PF && t->ip == (ulong)ip && (t->cr2 & -(ulong)NPAGE) == page &&
						t->cr2 >= at && t->cr2 < at + o->size && (t->err & ~(ulong)PF_W) == (absent ? 0u : PF_P) &&
						!(t->err & PF_W && !writes);
					if (!(t->err & PF_W) && writes)
						quirk("TCG reads first");
					check(ok && (!writes || t->err & PF_W), "%s %u, %s page %s: vector %ld(%lx) at %lx, cr2 %lx", o->name, d,
						second ? "second" : "first", absent ? "missing" : "read-only", t->vec, t->err, t->ip, t->cr2);
					for (unsigned r = 0; r < 16; r++)
						check(out.r[r] == in.r[r], "%s %u: register %u is %lx at the fault, was %lx", o->name, d, r,
							out.r[r], in.r[r]);
					if (o->p == op_rcl8)
						quirk("TCG writes CF and OF first");
					if (!(o->kind & TWO))
						check(out.flags == (in.flags & ~(ulong)FL_RF), "%s %u: flags %lx at the fault, were %lx", o->name, d,
							out.flags, in.flags);
					/* FXSAVE and the like may write before they fault: SDM Vol. 1 does not say */
					if (o->size > 8)
						quirk("TCG writes in parts");
					if (o->size <= 32)
						check(!memcmp(p1, before, NPAGE) && !memcmp(p2, before + NPAGE, NPAGE),
							"%s %u: memory written before the fault", o->name, d);
				}
			}
		}
	}
}

/* ---- REP that faults half way */
static void strings(void)
{
	static const struct { const char *name; uint8_t n, text[4]; unsigned size; bool load, store; } row[] = {
		{"rep movsb", 2, {0xf3, 0xa4}, 1, true, true}, {"rep movsw", 3, {0x66, 0xf3, 0xa5}, 2, true, true},
		{"rep movsl", 2, {0xf3, 0xa5}, 4, true, true}, {"rep movsq", 3, {0xf3, 0x48, 0xa5}, 8, true, true},
		{"rep stosb", 2, {0xf3, 0xaa}, 1, false, true}, {"rep stosq", 3, {0xf3, 0x48, 0xab}, 8, false, true},
		{"rep lodsl", 2, {0xf3, 0xad}, 4, true, false}, {"repne scasb", 2, {0xf2, 0xae}, 1, false, false},
	};
	uint8_t *a = page_alloc_n(2, NPAGE), *b = page_alloc_n(2, NPAGE);

	section("REP that faults half way");
	for (unsigned k = 0; k < sizeof(row) / sizeof(*row); k++)
		for (unsigned i = 0; i < 60; i++) {
			bool down = i & 1, loads = row[k].load && i & 2, at_load = loads || !(row[k].store || k == 7);
			unsigned size = row[k].size, n = 1 + (unsigned)(rnd() % 300), extra = (unsigned)(rnd() % size);
			/* so many whole elements fit in front of the bad page; then there is one too many */
			ulong edge = at_load ? va + 0x10000 : va + 0x20000, start;
			struct regs in, out;
			struct trap *t;
			uint8_t *ip = code_put(200, row[k].text, row[k].n);
			ulong done = 0, si, di;

			/* pages at edge and behind it: down: the first of them is bad */
			map(edge, (ulong)(at_load ? a : b), down ? 0 : PTE_P | PTE_W);
			map(edge + NPAGE, (ulong)(at_load ? a : b) + NPAGE, down ? PTE_P | PTE_W : 0);
			start = down ? edge + NPAGE + (n - 1) * size + extra : edge + NPAGE - n * size - extra;
			regs_random(&in);
			in.flags = FL_1 | (down ? FL_DF : 0);
			in.r[RCX] = n + 5;
			in.r[RSI] = at_load ? start : (ulong)a + NPAGE;
			in.r[RDI] = at_load ? (ulong)b + NPAGE : start;
			if (k == 7)
				in.r[RAX] = 0x77;
			memset(a, 0x11, 2 * NPAGE);
			memset(b, 0x22, 2 * NPAGE);
			t = exec_at(ip, &in, &out);
			done = in.r[RCX] - out.r[RCX];
			si = row[k].load ? in.r[RSI] + (down ? -done : done) * size : in.r[RSI];
			di = row[k].store || k == 7 ? in.r[RDI] + (down ? -done : done) * size : in.r[RDI];
			check(t->vec == PF && t->ip == (ulong)ip && done == n && out.r[RSI] == si && out.r[RDI] == di, "%s %s: vector %ld, %lu of %u done, rsi %lx rdi %lx",
				row[k].name, down ? "down" : "up", t->vec, done, n, out.r[RSI], out.r[RDI]);
			check((t->cr2 & -(ulong)NPAGE) == (down ? edge : edge + NPAGE), "%s: cr2 %lx", row[k].name, t->cr2);
			if (row[k].store && !at_load) {
				unsigned wrong = 0;
				const uint8_t *mem = b;
				ulong from = down ? NPAGE + extra : NPAGE - n * size - extra;

				for (ulong o = 0; o < 2 * NPAGE; o++) {
					bool in_it = o >= from && o < from + n * size;
					uint8_t v = !in_it ? 0x22 : row[k].load ? 0x11 : ((uint8_t *)&in.r[RAX])[(o - from) % size];

					wrong += mem[o] != v;
				}
				check(!wrong, "%s %s: %u bytes wrong", row[k].name, down ? "down" : "up", wrong);
			}
			/* repaired, it goes on where it was */
			if (k != 7) {
				map(down ? edge : edge + NPAGE, (ulong)(at_load ? a : b) + (down ? 0 : NPAGE), PTE_P | PTE_W);
				in = out;
				t = exec_at(ip, &in, &out);
				check(t->vec == BP && !out.r[RCX], "%s goes on: %ld", row[k].name, t->vec);
			}
		}
}

/* ---- every register as base, index and operand */
static uint8_t *emit_mem(uint8_t *p, unsigned opcode, unsigned reg, unsigned base, unsigned index, unsigned scale, bool wide, bool ad32, int8_t disp)
{
	if (ad32)
		*p++ = 0x67;
	*p++ = (uint8_t)(0x40 | wide << 3 | (reg >> 3) << 2 | (index < 16 ? index >> 3 : 0) << 1 | base >> 3);
	*p++ = (uint8_t)opcode;
	*p++ = (uint8_t)(0x44 | (reg & 7) << 3);
	*p++ = (uint8_t)(scale << 6 | (index < 16 ? index & 7 : 4) << 3 | (base & 7));
	*p++ = (uint8_t)disp;
	return p;
}

static void registers(void)
{
	uint8_t *page = page_alloc();

	section("every register");
	for (unsigned base = 0; base < 16; base++)
		for (unsigned index = 0; index < 17; index++)
			for (unsigned reg = 0; reg < 16; reg++) {
				unsigned scale = (unsigned)(rnd() & 3), again;
				bool ad32 = (rnd() & 7) == 0;
				int8_t disp = (int8_t)rnd();
				ulong where = (ulong)page + 512 + (rnd() & 0x7ff), off, v = rnd();
				struct regs in, out;
				uint8_t insn[16], *end;
				struct trap *t;

				if (index == RSP)
					continue;
				regs_random(&in);
				off = where - (ulong)(long)disp;
				if (index == 16) {
					in.r[base] = off;
				} else if (index == base) {
					ulong f = 1 + (1ul << scale);

					where -= off % f;
					in.r[base] = (where - (ulong)(long)disp) / f;
				} else {
					if (!ad32)
						in.r[index] &= 0xffffffffff;
					in.r[base] = off - (in.r[index] << scale);
				}
				if (ad32 && index != base)
					in.r[base] ^= 0xabcd000000000000 ;
				/* a load, hot */
				end = emit_mem(insn, 0x8b, reg, base, index, scale, true, ad32, disp);
				code_put(300, insn, (ulong)(end - insn));
				for (again = 0; again < 3; again++) {
					memcpy((void *)where, &v, 8);
					t = exec_at(code + 300, &in, &out);
					for (unsigned r = 0; r < 16; r++)
						if (out.r[r] != (r == reg ? v : in.r[r]))
							check(false, "load %u from %u + %u << %u%s: register %u is %lx", reg, base, index, scale,
								ad32 ? " (32 bits)" : "", r, out.r[r]);
					check(t->vec == BP && out.flags == in.flags, "load %u from %u + %u << %u%s: %ld", reg, base, index, scale,
						ad32 ? " (32 bits)" : "", t->vec);
				}
				/* a store and an addition */
				end = emit_mem(insn, 0x89, reg, base, index, scale, true, ad32, disp);
				end = emit_mem(end, 0x01, reg, base, index, scale, false, ad32, disp);
				code_put(340, insn, (ulong)(end - insn));
				for (again = 0; again < 3; again++) {
					uint64_t got;

					memset((void *)where, 0, 8);
					t = exec_at(code + 340, &in, &out);
					memcpy(&got, (void *)where, 8);
					check(t->vec == BP && got == ((in.r[reg] & ~0xfffffffful) | (uint32_t)(2 * in.r[reg])),
						"store %u to %u + %u << %u%s: %ld, %lx", reg, base, index, scale, ad32 ? " (32 bits)" : "", t->vec,
						(ulong)got);
				}
			}
	/* 8-bit operands, with and without REX */
	for (unsigned reg = 0; reg < 24; reg++)
		for (unsigned base = 0; base < 8; base++) {
			bool rex = reg >= 8;
			unsigned r8 = rex ? reg - 8 : reg, whole = rex ? r8 : reg & 3, shift = !rex && reg >= 4 ? 8 : 0;
			uint8_t insn[16], *p = insn;
			struct regs in, out;
			ulong w;

			if (base == RSP || base == RBP)
				continue;
			regs_random(&in);
			in.r[base] = (ulong)page + 64;
			page[64] = 0x42;
			if (rex)
				*p++ = (uint8_t)(0x40 | (r8 >> 3) << 2);
			*p++ = 0x8a; /* mov (base), r8 */
			*p++ = (uint8_t)((r8 & 7) << 3 | base);
			code_put(380, insn, (ulong)(p - insn));
			w = (in.r[whole] & ~(0xfful << shift)) | 0x42ul << shift;
			for (unsigned again = 0; again < 3; again++) {
				exec_at(code + 380, &in, &out);
				for (unsigned r = 0; r < 16; r++)
					if (out.r[r] != (r == whole ? w : in.r[r]))
						check(false, "8-bit register %u from (%u): register %u is %lx", reg, base, r, out.r[r]);
			}
			p[-2] = 0x00; /* add r8, (base) */
			code_put(380, insn, (ulong)(p - insn));
			for (unsigned again = 0; again < 3; again++) {
				page[64] = 0x13;
				exec_at(code + 380, &in, &out);
				check(page[64] == (uint8_t)(0x13 + (in.r[whole] >> shift)), "add of 8-bit register %u to (%u)", reg, base);
			}
		}
}

/* ---- addresses that are none, and segments */
SNIPPET(g_rsp, "mov $1000, %ecx\n xor %eax, %eax\n 1: imul $77, %rsp, %rsp\n add %rcx, %rsp\n mov %rsp, %rdx\n add %rdx, %rax\n"
	"sti\n xor %rcx, %rsp\n cli\n rol $7, %rsp\n dec %ecx\n jnz 1b\n int3");

static bool back(struct frame *f)
{
	apic_write(0xb0, 0);
	return true;
}

static void addresses(void)
{
	static const ulong bad[] = {0x800000000000, 0xffff7fffffffffff, 0x8000000000000000, 0x1234567890abcdef, 0x7ffffffffffd};
	struct regs in, out;
	struct trap *t;

	section("addresses");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		for (unsigned base = 0; base < 16; base++) {
			uint8_t insn[16], *end = emit_mem(insn, 0x8b, RAX, base, 16, 0, true, false, 0);
			bool ss = base == RSP || base == RBP;

			code_put(400, insn, (ulong)(end - insn));
			regs_random(&in);
			in.r[base] = bad[i];
			for (unsigned again = 0; again < 4; again++) {
				t = exec_at(code + 400, &in, &out);
				if (rt_tcg && ss)
					quirk("TCG: #GP for the stack, too");
				if (rt_tcg && i == 4)
					quirk("TCG looks at the first byte");
				check(t->vec == (ss ? SS : GP) && !t->err && t->ip == (ulong)code + 400 && !memcmp(in.r, out.r, sizeof(in.r)),
					"%lx by register %u: %ld(%lx)", bad[i], base, t->vec, t->err);
			}
		}
	for (unsigned again = 0; again < 4; again++) {
		static const struct { const char *p, *end, *name; } row[] = {{op_push, op_push_end, "push"}, {op_pop, op_pop_end, "pop"},
			{op_call, op_call_end, "call"}, {op_pushf_, op_pushf__end, "pushf"}, {op_enter, op_enter_end, "enter"}};

		for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
			code_put(420, row[i].p, (ulong)(row[i].end - row[i].p));
			regs_random(&in);
			in.r[RSP] = 0x8000dead00000000;
			t = exec_at(code + 420, &in, &out);
			quirk("TCG: #GP for the stack, too");
			check(t->vec == SS && !t->err && t->ip == (ulong)code + 420 && out.r[RSP] == in.r[RSP], "%s: %ld", row[i].name, t->vec);
		}
		/* RSP is a number like another between two instructions, and interrupts come on a stack of their own */
		{
			ulong sp, sum = 0;

			rt_hook[0x40] = back;
			rt_gate_ist(0x40, 2);
			apic_enable();
			apic_write(0x3e0, 0xb);
			apic_write(0x320, 0x20000 | 0x40);
			apic_write(0x380, 3000);
			regs_random(&in);
			sp = in.r[RSP];
			for (ulong c = 1000; c; c--) {
				sp = sp * 77 + c;
				sum += sp;
				sp ^= c;
				sp = sp << 7 | sp >> 57;
			}
			t = exec_at(g_rsp, &in, &out);
			check(t->vec == BP && out.r[RSP] == sp && out.r[RAX] == sum, "RSP as a number: %ld, %lx", t->vec, out.r[RSP]);
			apic_write(0x320, 0x10000);
			apic_write(0x380, 0);
			sti_nop_cli();
		}
	}
	rt_hook[0x40] = NULL;
}

static ulong fs_load(ulong off)
{
	ulong v;

	__asm__ volatile("mov %%fs:(%1), %0" : "=r"(v) : "r"(off) : "memory");
	return v;
}

static ulong gs_load(ulong off)
{
	ulong v;

	__asm__ volatile("mov %%gs:(%1), %0" : "=r"(v) : "r"(off) : "memory");
	return v;
}

static void segments(void)
{
	ulong *a = page_alloc_n(4, NPAGE);
	unsigned wrong = 0;

	section("FS and GS");
	for (unsigned i = 0; i < 2048; i++)
		a[i] = i;
	if (cpu_has(F_FSGSBASE))
		wrcr4(rdcr4() | CR4_FSGSBASE);
	for (unsigned i = 0; i < 3000; i++) {
		ulong f = rnd() & 1023, g = rnd() & 1023, o = rnd() & 1023, k = rnd() & 1023;

		if (i & 1 && cpu_has(F_FSGSBASE)) {
			__asm__ volatile("wrfsbase %0\n wrgsbase %1" :: "r"(a + f), "r"(a + g) : "memory");
		} else {
			wrmsr(MSR_FS_BASE, (ulong)(a + f));
			wrmsr(MSR_GS_BASE, (ulong)(a + g));
		}
		wrmsr(MSR_KERNEL_GS, (ulong)(a + k));
		wrong += fs_load(8 * o) != f + o;
		wrong += gs_load(8 * o) != g + o;
		__asm__ volatile("swapgs" ::: "memory");
		wrong += gs_load(8 * o) != k + o;
		__asm__ volatile("movq $7, %%gs:(%0)\n movq $9, %%fs:8(%0)" :: "r"(8 * o) : "memory");
		wrong += k + o == f + o + 1 ? a[k + o] != 9 : a[k + o] != 7 || a[f + o + 1] != 9;
		a[k + o] = k + o;
		a[f + o + 1] = f + o + 1;
		__asm__ volatile("swapgs" ::: "memory");
		wrong += gs_load(8 * o - 8 * g) != o;
	}
	check(!wrong, "%u wrong", wrong);
	/* a base that makes the sum non-canonical, or wrap */
	for (unsigned i = 0; i < 4; i++) {
		wrmsr(MSR_FS_BASE, 0x7ffffffff000);
		want(catch(fs_load, 0x1000), GP, 0, NULL, "base and offset beyond the canonical half");
		wrmsr(MSR_FS_BASE, 0xfffffffffffff000);
		check(fs_load((ulong)a + 0x1000 + 80) == 10, "base and offset wrap");
		/* a null selector takes the base away (Intel; AMD keeps it) */
	}
	wrmsr(MSR_FS_BASE, 0);
	wrmsr(MSR_GS_BASE, 0);
}

/* ---- rights */
SNIPPET(a_load, "mov (%rdi), %rax\n ret");
SNIPPET(a_store, "mov %rsi, (%rdi)\n ret");
SNIPPET(a_rmw, "add %rsi, (%rdi)\n ret");
SNIPPET(a_stac_load, "stac\n mov (%rdi), %rax\n clac\n ret");
SNIPPET(a_stac_both, "stac\n mov (%rdi), %rax\n clac\n mov (%rdi), %rax\n ret");
USER_SNIPPET(ua_load, "mov (%rdi), %rax\n int $0x80");
USER_SNIPPET(ua_store, "mov %rsi, (%rdi)\n int $0x80");

static void rights(void)
{
	uint8_t *page = page_alloc(), *page2 = page_alloc();
	ulong at = va + 0x40000 + 8;
	uint64_t *pte = pte_at(rt_pml4, at, 1);
	unsigned maxed = 0;

	section("rights");
	for (unsigned round = 0; round < 40; round++) {
		uint64_t f = (rnd() & 1 ? PTE_P : 0) | (rnd() & 1 ? PTE_W : 0) | (rnd() & 1 ? PTE_U : 0) | (rnd() & 1 ? PTE_NX : 0);
		bool wp = round % 5 != 0, smap = cpu_has(F_SMAP) && round % 3 == 0, smep = cpu_has(F_SMEP) && round % 4 == 0;
		ulong cr0 = rdcr0(), cr4 = rdcr4();

		*pte = (ulong)page | f;
		invlpg((void *)at);
		page[8] = 0xc3;
		wrcr0(wp ? cr0 | CR0_WP : cr0 & ~(ulong)CR0_WP);
		wrcr4(cr4 | (smap ? CR4_SMAP : 0) | (smep ? CR4_SMEP : 0));
		for (unsigned again = 0; again < 3; again++) {
			bool p = f & PTE_P, w = f & PTE_W, u = f & PTE_U, nx = f & PTE_NX;
			long v;

			v = p && !(smap && u) ? NOTRAP : PF;
			want(catch(a_load, at), v, p ? PF_P : 0, NULL, "load");
			v = p && !(smap && u) && (w || !wp) ? NOTRAP : PF;
			want(catch(a_store, at, 0xc3), v, (p ? PF_P : 0) | PF_W, NULL, "store");
			quirk("TCG reads first");
			want(catch(a_rmw, at, 0), v, (p ? PF_P : 0) | PF_W, NULL, "add");
			if (smap) {
				want(catch(a_stac_load, at), p ? NOTRAP : PF, p ? PF_P : 0, NULL, "load with AC");
				want(catch(a_stac_both, at), p && !u ? NOTRAP : PF, p ? PF_P : 0, NULL, "load with and without AC");
			}
			want(user(ua_load, at), p && u ? USER_RET : PF, (p ? PF_P : 0) | PF_U, NULL, "user load");
			want(user(ua_store, at, 0xc3), p && u && w ? USER_RET : PF, (p ? PF_P : 0) | PF_U | PF_W, NULL, "user store");
			want(catch(at), p && !nx && !(smep && u) ? NOTRAP : PF, (p ? PF_P : 0) | PF_I, NULL, "execute");
		}
		wrcr4(cr4);
		wrcr0(cr0);
	}
	/* more rights need no INVLPG, if a stale entry may fault once; another page does */
	for (unsigned i = 0; i < 200; i++) {
		struct trap *t;

		*pte = (ulong)page | PTE_P;
		invlpg((void *)at);
		catch(a_load, at);
		*pte = (ulong)page | PTE_P | PTE_W;
		t = catch(a_store, at, i);
		if (t->vec == PF)
			maxed++, t = catch(a_store, at, i);
		check(t->vec == NOTRAP && *(uint64_t *)(page + 8) == i, "made writable: %ld", t->vec);
		*pte = (ulong)page2 | PTE_P | PTE_W;
		invlpg((void *)at);
		catch(a_store, at, ~(ulong)i);
		check(*(uint64_t *)(page + 8) == i && *(uint64_t *)(page2 + 8) == ~(ulong)i, "another page");
		/* not present: no INVLPG is needed for what was never there */
		*pte = 0;
		invlpg((void *)at);
		want(catch(a_load, at), PF, 0, a_load, "absent");
		*pte = (ulong)page | PTE_P;
		check(catch(a_load, at)->vec == NOTRAP, "present again");
		/* read-only after writes */
		*pte = (ulong)page | PTE_P;
		invlpg((void *)at);
		want(catch(a_store, at, 1), PF, PF_P | PF_W, a_store, "write-protected again");
		quirk("TCG reads first");
		want(catch(a_rmw, at, 1), PF, PF_P | PF_W, a_rmw, "write-protected again");
	}

	section("accessed and dirty");
	for (unsigned i = 0; i < 100; i++) {
		uint64_t *pde = pte_at(rt_pml4, at, 2);

		*pte = (ulong)page | PTE_P | PTE_W;
		*pde &= ~PTE_A;
		invlpg((void *)at);
		check(!(*pte & (PTE_A | PTE_D)), "clean");
		catch(a_load, at);
		check((*pte & (PTE_A | PTE_D)) == PTE_A && *pde & PTE_A, "read: %lx", (ulong)*pte);
		catch(i & 1 ? a_store : a_rmw, at, 5);
		check((*pte & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "written: %lx", (ulong)*pte);
		*pte &= ~(PTE_A | PTE_D);
		invlpg((void *)at);
		catch(a_store, at, 5);
		check((*pte & (PTE_A | PTE_D)) == (PTE_A | PTE_D), "written again: %lx", (ulong)*pte);
		*pte &= ~PTE_D;
		invlpg((void *)at);
		catch(a_load, at);
		check(!(*pte & PTE_D), "read, not written");
	}
}

/* ---- many pages */
static void pages(void)
{
	enum { PHYS = 512, VIRT = 4096, N = 60000 };
	uint8_t *ram = page_alloc_n(PHYS, NPAGE);
	uint16_t *owner = page_alloc_n(VIRT * 2 / NPAGE, NPAGE);
	ulong base = 0x60000000000ul;
	unsigned wrong = 0;
	uint32_t *model = page_alloc_n(PHYS * 4 / NPAGE + 1, NPAGE);

	section("thousands of pages");
	for (unsigned i = 0; i < VIRT; i++) {
		owner[i] = (uint16_t)(rnd() % PHYS);
		*pte_at(rt_pml4, base + (ulong)i * NPAGE, 1) = (ulong)(ram + owner[i] * NPAGE) | PTE_P | PTE_W;
	}
	wrcr3(rdcr3());
	for (unsigned i = 0; i < N; i++) {
		unsigned v = (unsigned)(rnd() % VIRT), o = owner[v];
		volatile uint32_t *p = (volatile uint32_t *)(base + (ulong)v * NPAGE + 16);

		switch (rnd() & 7) {
		case 0:
			*p = model[o] = (uint32_t)rnd();
			break;
		case 1:
			*p += 3, model[o] += 3;
			break;
		case 2:
			*(volatile uint32_t *)(ram + o * NPAGE + 16) = model[o] = (uint32_t)rnd();
			break;
		case 3: /* moves elsewhere */
			owner[v] = (uint16_t)(rnd() % PHYS);
			*pte_at(rt_pml4, base + (ulong)v * NPAGE, 1) = (ulong)(ram + owner[v] * NPAGE) | PTE_P | PTE_W;
			invlpg((void *)(base + (ulong)v * NPAGE + (rnd() & 4095)));
			break;
		default:
			wrong += *p != model[o];
		}
	}
	check(!wrong, "%u of %u wrong", wrong, N);
}

static void spaces(void)
{
	enum { SPACES = 4 };
	ulong at = 0x61000000000ul, cr4 = rdcr4(), old = rdcr3();
	ulong *page[SPACES + 1];
	uint64_t *root[SPACES];
	unsigned wrong = 0;
	bool pcid = cpu_has(F_PCID);

	section("address spaces");
	for (unsigned i = 0; i < SPACES; i++) {
		root[i] = page_alloc();
		page[i] = page_alloc();
		page[i][0] = i;
		memcpy(root[i], rt_pml4, NPAGE);
		root[i][at >> 39 & 511] = 0;
		*pte_at(root[i], at, 1) = (ulong)page[i] | PTE_P | PTE_W;
		*pte_at(root[i], at + NPAGE, 1) = (ulong)page[0] | PTE_P | PTE_W | PTE_G; /* the same in all of them */
		*pte_at(root[i], at + 2 * NPAGE, 1) = (ulong)page[i] | PTE_P | PTE_W;
	}
	page[SPACES] = page_alloc();
	for (unsigned i = 0; i < 4000; i++) {
		unsigned k = (unsigned)(rnd() % SPACES);

		wrcr3((ulong)root[k]);
		wrong += *(volatile ulong *)at != k || *(volatile ulong *)(at + NPAGE) != 0 || *(volatile ulong *)(at + 2 * NPAGE) != k;
	}
	wrcr3(old);
	check(!wrong, "CR3: %u wrong", wrong);
	if (!pcid) {
		skip("no PCID");
		return;
	}
	wrcr4(cr4 | CR4_PCIDE);
	wrong = 0;
	for (unsigned i = 0; i < 6000; i++) {
		unsigned k = (unsigned)(rnd() % SPACES);
		ulong keep = rnd() & 3 ? 1ul << 63 : 0;

		wrcr3((ulong)root[k] | (k + 1) | keep);
		wrong += *(volatile ulong *)at != k || *(volatile ulong *)(at + 2 * NPAGE) != k;
		if (rnd() % 8 == 0) { /* one's own page goes elsewhere and back: INVLPG is for this PCID */
			uint64_t *pte = pte_at(root[k], at, 1);

			*pte = (ulong)page[SPACES] | PTE_P | PTE_W;
			page[SPACES][0] = 100 + i;
			invlpg((void *)at);
			wrong += *(volatile ulong *)at != 100 + i;
			*pte = (ulong)page[k] | PTE_P | PTE_W;
			invlpg((void *)at);
			wrong += *(volatile ulong *)at != k;
		}
		if (rnd() % 8 == 0) { /* another's goes elsewhere: a flush of its PCID by CR3 without bit 63 */
			unsigned other = (k + 1) % SPACES;
			uint64_t *pte = pte_at(root[other], at, 1);

			*pte = (ulong)page[SPACES] | PTE_P | PTE_W;
			page[SPACES][0] = 200 + i;
			wrcr3((ulong)root[other] | (other + 1));
			wrong += *(volatile ulong *)at != 200 + i;
			*pte = (ulong)page[other] | PTE_P | PTE_W;
			if (cpu_has(F_INVPCID)) {
				struct { ulong id, at; } d = {other + 1, at};

				__asm__ volatile("invpcid %0, %1" :: "m"(d), "r"(0ul) : "memory");
			} else {
				wrcr3((ulong)root[other] | (other + 1));
			}
			wrong += *(volatile ulong *)at != other;
		}
	}
	wrcr3(old);
	wrcr4(cr4);
	check(!wrong, "PCID: %u wrong", wrong);
}

void test_main(void)
{
	if (cpu_has(F_XSAVE)) {
		wrcr4(rdcr4() | CR4_OSXSAVE);
		__asm__ volatile("xsetbv" :: "a"(cpu_has(F_AVX) ? 7 : 3), "d"(0), "c"(0));
	}
	for (unsigned v = 0; v < 32; v++)
		rt_gate_ist(v, 1);
	crossing();
	strings();
	registers();
	addresses();
	for (unsigned v = 0; v < 32; v++)
		rt_gate_reset(v);
	segments();
	rights();
	pages();
	spaces();
}
