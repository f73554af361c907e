/* SPDX-License-Identifier: MIT */
/*
 * vec against the host CPU: every vector, MMX and x87 encoding the decoder accepts, with random
 * registers and operands, run natively as it stands and by vec_run(); all registers, MXCSR, the x87 state,
 * flags and memory must be equal, and so must the exception be, if there is one.
 *
 *     vec_test [seed [rounds]]
 */
#undef NDEBUG
#include <assert.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/interp/vec-int.h"
#include "native.h"
#include "random.h"
#include "x86/fpu.h"

/* [code page (rx)][data page][page without access]; the code page is written at code_rw */
enum { PAGE = 4096 };
static uint8_t *code_rx, *code_rw, *data;

static void arena_init(void)
{
	int fd = memfd_create("vec-test", MFD_CLOEXEC | 0x10);
	uint8_t *p;

	if (fd < 0)
		fd = memfd_create("vec-test", MFD_CLOEXEC);
	assert(fd >= 0 && !ftruncate(fd, 2 * PAGE));
	p = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(p != MAP_FAILED);
	code_rx = mmap(p, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);
	data = mmap(p + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, PAGE);
	code_rw = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert(code_rx != MAP_FAILED && data != MAP_FAILED && code_rw != MAP_FAILED);
	close(fd);
}

static void rnd_state(struct x86_state *s)
{
	memset(s, 0, sizeof *s);
	x86_reset(s, 0);
	/* 64-bit mode */
	s->cr0 |= X86_CR0_PE | X86_CR0_PG;
	s->efer |= X86_EFER_LMA | X86_EFER_LME;
	s->seg[X86_CS].attr |= X86_SEG_L;
	s->seg[X86_CS].sel = 0x33;
	for (unsigned i = 0; i < 16; i++)
		s->gpr[i] = rnd() & 1 ? rnd() : (uint64_t)(int64_t)(int32_t)rnd_below(64) - 16;
	s->rflags = (rnd() & X86_ARITH) | X86_FLAG1;
	rnd_fpu(&s->fpu, native_has_avx());
}

static void show_bytes(const char *what, const uint8_t *p, unsigned n)
{
	printf("%s", what);
	for (unsigned i = 0; i < n; i++)
		printf(" %02x", p[i]);
	printf("\n");
}

static void show_diff(const char *what, const void *in, const void *want, const void *got, unsigned n)
{
	if (!memcmp(want, got, n))
		return;
	printf("  %s\n", what);
	show_bytes("    before ", in, n);
	show_bytes("    host   ", want, n);
	show_bytes("    vec    ", got, n);
}

static unsigned failures, cases;

static void compare(const uint8_t *insn, unsigned len, const struct x86_state *in, const uint8_t *mem_in,
	const struct x86_state *want, int want_trap, const uint8_t *mem_want, const struct x86_state *got,
	int got_trap, const uint8_t *mem_got)
{
	cases++;
	if (want_trap == got_trap && !memcmp(want->gpr, got->gpr, sizeof want->gpr) &&
	    want->rflags == got->rflags && !memcmp(&want->fpu, &got->fpu, sizeof want->fpu) &&
	    !memcmp(mem_want, mem_got, PAGE))
		return;
	if (++failures > 20)
		return;
	show_bytes("MISMATCH", insn, len);
	printf("  exception: host %d, vec %d\n", want_trap, got_trap);
	for (unsigned i = 0; i < 16; i++)
		if (want->gpr[i] != got->gpr[i])
			printf("  gpr[%u] before %016" PRIx64 " host %016" PRIx64 " vec %016" PRIx64 "\n", i,
				in->gpr[i], want->gpr[i], got->gpr[i]);
	if (want->rflags != got->rflags)
		printf("  rflags before %" PRIx64 " host %" PRIx64 " vec %" PRIx64 "\n", in->rflags, want->rflags,
			got->rflags);
	for (unsigned i = 0; i < 16; i++)
		show_diff("ymm", in->fpu.ymm[i], want->fpu.ymm[i], got->fpu.ymm[i], 32);
	for (unsigned i = 0; i < 8; i++)
		show_diff("st", in->fpu.st[i], want->fpu.st[i], got->fpu.st[i], 16);
	if (memcmp(&want->fpu.fip, &got->fpu.fip, sizeof want->fpu - offsetof(struct x86_fpu, fip)))
		printf("  fcw %04x %04x %04x fsw %04x %04x %04x ftw %02x %02x %02x fop %x %x %x mxcsr %04x %04x %04x\n",
			in->fpu.fcw, want->fpu.fcw, got->fpu.fcw, in->fpu.fsw, want->fpu.fsw, got->fpu.fsw,
			in->fpu.ftw, want->fpu.ftw, got->fpu.ftw, in->fpu.fop, want->fpu.fop, got->fpu.fop,
			in->fpu.mxcsr, want->fpu.mxcsr, got->fpu.mxcsr);
	for (unsigned o = 0; o < PAGE; o += 16)
		show_diff("memory", mem_in + o, mem_want + o, mem_got + o, 16);
}

/* vec_run_elements() on the data page, with linear addresses */
static uint8_t model_mem[PAGE];
static jmp_buf fault;

static uint8_t *element_at(uint64_t off, unsigned len)
{
	uint64_t o = off - (uint64_t)(uintptr_t)data;

	if (o >= PAGE || o + len > PAGE)
		longjmp(fault, 1);
	return model_mem + o;
}

static void element_read(void *arg, uint64_t off, void *dst, unsigned len)
{
	(void)arg;
	memcpy(dst, element_at(off, len), len);
}

static void element_write(void *arg, uint64_t off, const void *src, unsigned len)
{
	(void)arg;
	memcpy(element_at(off, len), src, len);
}

static const struct vec_mem element_mem = {element_read, element_write, NULL};

static bool by_elements(const struct x86_insn *i)
{
	return i->op == X86_OP_GATHER || i->op == X86_OP_VMASKMOV || i->op == X86_OP_MASKMOV;
}

static bool is_ours(const struct x86_insn *i)
{
	return i->op == X86_OP_VEC || i->op == X86_OP_MMX || i->op == X86_OP_X87 || i->op == X86_OP_FWAIT ||
		i->op == X86_OP_VZERO || by_elements(i);
}

static int elements_run(struct vec *v, const struct x86_insn *i, struct x86_state *s)
{
	int rc;

	if (setjmp(fault))
		return X86_PF_EXC;
	rc = vec_run_elements(v, i, s, &element_mem);
	return rc < 0 ? X86_UD : rc;
}

static int op_run(struct vec *v, const struct vec_op *op, struct x86_state *s, uint64_t at)
{
	const struct x86_insn *i = &op->insn;
	uint8_t operand[128] __attribute__((aligned(32)));
	uint8_t *at_mem = i->is_mem ? element_at(at, i->memsize) : model_mem;
	int rc;

	memset(operand, 0xee, sizeof operand);
	if (i->is_mem && i->arm & X86_ACC_R)
		memcpy(operand, at_mem, i->memsize);
	rc = vec_run(v, op, s, operand, s->rip, at);
	if (!rc && i->is_mem && i->arm & X86_ACC_W)
		memcpy(at_mem, operand, i->memsize);
	return rc == VEC_NOSTORE ? 0 : rc;
}

/* What x87 environment images say about pointers is not for comparing: CPUs differ. */
static void hide_pointers(const struct x86_insn *i, uint8_t *p)
{
	if (i->op != X86_OP_X87 || !i->is_mem || !(i->arm & X86_ACC_W))
		return;
	if (i->memsize == 28 || i->memsize == 108)
		memset(p + 12, 0, 16);
	else if (i->memsize == 14 || i->memsize == 94)
		memset(p + 6, 0, 8);
}

/* Where run_fp() in vec.c says that flags may differ when an unmasked exception ends the instruction. */
static uint32_t vague_flags(const struct x86_insn *i, const struct x86_fpu *in, const struct x86_fpu *want)
{
	if (i->map == 3 && (i->opcode & 0xfe) == 0x40)
		return 0x3f;
	return want->mxcsr & ~(in->mxcsr >> 7) & 0x18 ? 0x20 : 0;
}

static uint64_t ea_of(const struct x86_insn *i, const struct x86_state *s)
{
	uint64_t ea = (uint64_t)i->disp;

	if (i->base == X86_BASE_RIP)
		ea += s->rip + i->len;
	else if (i->base >= 0)
		ea += s->gpr[i->base];
	return ea;
}

static void run_case(struct vec *v, const uint8_t *bytes, unsigned len, struct x86_insn *i)
{
	struct x86_state in, want, got;
	static uint8_t mem_in[PAGE];
	struct native_exit x;
	struct vec_op op;
	int trap, rc;
	uint64_t ea = 0;

	rnd_state(&in);
	in.rip = (uint64_t)(uintptr_t)code_rx;
	for (unsigned o = 0; o < PAGE; o += 32)
		rnd_lanes(mem_in + o, 32);
	if (rnd() & 1)
		rnd_f80(mem_in + PAGE / 2);
	if (by_elements(i)) {
		/* sometimes the end of the page is in reach */
		uint64_t at = (uint64_t)(uintptr_t)data + (rnd_below(4) ? 0 : PAGE - 512 - 24) + rnd_below(64);

		if (i->op == X86_OP_GATHER) {
			for (unsigned k = 0; k < 32; k += i->opcode & 1 ? 8 : 4) {
				put_u32(in.fpu.ymm[i->index] + k, rnd_below(512 >> i->scale));
				if (i->opcode & 1)
					put_u32(in.fpu.ymm[i->index] + k + 4, 0);
			}
		} else {
			at += rnd_below(4) ? 0 : 500;
		}
		if (i->op == X86_OP_MASKMOV)
			in.gpr[X86_RDI] = at;
		else if (i->base >= 0 && i->base != X86_BASE_RIP)
			in.gpr[i->base] = at - (uint64_t)i->disp;
	} else if (i->is_mem) {
		if (i->base >= 0 && i->base != X86_BASE_RIP)
			in.gpr[i->base] = (uint64_t)(uintptr_t)data + PAGE / 2 - (uint64_t)i->disp;
		ea = ea_of(i, &in);
		assert(ea == (uint64_t)(uintptr_t)data + PAGE / 2);
	}
	if (!(i->fl_in | i->fl_out))
		in.rflags &= ~(uint64_t)i->fl_undef;

	rc = vec_prepare(v, &op, i);
	if (by_elements(i))
		rc = 0;
	memcpy(data, mem_in, PAGE);
	memcpy(code_rw, bytes, len);
	code_rw[len] = 0xcc;
	want = in;
	native_run(&want, &x);
	trap = x.trap == X86_BP ? 0 : x.trap;
	if (rc) {
		/* a host without it, and vec knows */
		if (trap != X86_UD) {
			show_bytes("REFUSED", bytes, len);
			failures++;
		}
		return;
	}
	if (want.rip != in.rip + (trap ? 0 : len + 1)) {
		show_bytes("LENGTH", bytes, len);
		failures++;
		return;
	}
	got = in;
	memcpy(model_mem, mem_in, PAGE);
	if (trap == X86_UD && i->op != X86_OP_GATHER) {
		show_bytes("#UD on the host", bytes, len);
		failures++;
		return;
	}
	if (by_elements(i)) {
		rc = elements_run(v, i, &got);
		/* which elements are done before a fault is up to the CPU, and for MASKMOV more */
		if (trap == X86_PF_EXC && (rc == trap || i->op == X86_OP_MASKMOV))
			return;
	} else {
		rc = op_run(v, &op, &got, ea);
	}
	got.rip = want.rip;
	want.fpu.fip = got.fpu.fip;
	want.fpu.fdp = got.fpu.fdp;
	want.fpu.fop = got.fpu.fop;
	if (trap == X86_XM && rc == X86_XM) {
		uint32_t vague = vague_flags(i, &in.fpu, &want.fpu);

		want.fpu.mxcsr |= vague;
		got.fpu.mxcsr |= vague;
	}
	if (i->is_mem && !by_elements(i)) {
		hide_pointers(i, data + PAGE / 2);
		hide_pointers(i, model_mem + PAGE / 2);
	}
	compare(bytes, len, &in, mem_in, &want, trap, data, &got, rc, model_mem);
}

/* Encodes one; mem: with a memory operand, RIP-relative or [base]. Returns the length. */
struct enc {
	unsigned map, opcode, pp, w, l;
	bool vex, mem, vsib;
};

static unsigned encode(const struct enc *e, uint8_t *b)
{
	static const uint8_t prefix[4] = {0, 0x66, 0xf3, 0xf2};
	unsigned n = 0, reg = rnd_below(16), rm = rnd_below(16), index = rnd_below(16);
	unsigned vvvv = rnd() & 1 ? rnd_below(16) : 0;
	bool rip = e->mem && !e->vsib && rnd() & 1;
	int32_t disp;

	if (e->mem && !rip) /* no SIB, and so no RSP or R12; RBP and R13 have a displacement */
		while ((rm & 7) == 4)
			rm = rnd_below(16);
	if (e->vex) {
		b[n++] = 0xc4;
		b[n++] = (uint8_t)(((~reg & 8) << 4) | ((~index & 8) << 3) | ((~rm & 8) << 2) | e->map);
		b[n++] = (uint8_t)(e->w << 7 | (~vvvv & 15) << 3 | e->l << 2 | e->pp);
	} else {
		if (e->pp)
			b[n++] = prefix[e->pp];
		if (e->w || (reg | rm) & 8 || rnd() & 1)
			b[n++] = (uint8_t)(0x40 | e->w << 3 | reg >> 3 << 2 | rm >> 3);
		else
			reg &= 7, rm &= 7;
		if (e->map)
			b[n++] = 0x0f;
		if (e->map > 1)
			b[n++] = e->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = (uint8_t)e->opcode;
	if (!e->mem) {
		b[n++] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
	} else if (e->vsib) {
		b[n++] = (uint8_t)(0x40 | (reg & 7) << 3 | 4);
		b[n++] = (uint8_t)(rnd_below(4) << 6 | (index & 7) << 3 | (rm & 7));
		b[n++] = (uint8_t)rnd();
	} else if (rip) {
		b[n++] = (uint8_t)((reg & 7) << 3 | 5);
		disp = 0; /* patched when the length is known */
		memcpy(b + n, &disp, 4);
		n += 4;
	} else {
		b[n++] = (uint8_t)(0x40 | (reg & 7) << 3 | (rm & 7));
		b[n++] = (uint8_t)rnd();
	}
	b[n] = (uint8_t)rnd(); /* an immediate byte, if there is one */
	return n + 1;
}

static uint8_t seen[2][4][4][256]; /* VEX, map, prefix, opcode */

/* Decodes, aims RIP-relative operands, runs. Returns whether the decoder took it as ours. */
static bool try(struct vec *v, uint8_t *b, unsigned n)
{
	struct x86_insn i;

	memset(b + n, 0, 15 - n);
	if (x86_decode(&i, X86_MODE64, b, 15) <= 0 || !is_ours(&i))
		return false;
	if (i.is_mem && i.base == X86_BASE_RIP) {
		int32_t disp = PAGE + PAGE / 2 - i.len;

		memcpy(b + i.off_disp, &disp, 4);
		assert(x86_decode(&i, X86_MODE64, b, 15) > 0);
	} else if (i.is_mem && i.base < 0) {
		return false;
	}
	seen[!!(i.attr & X86_A_VEX)][i.map][i.vexpp][i.opcode] = 1;
	run_case(v, b, i.len, &i);
	return true;
}

static void test_maps(struct vec *v, unsigned rounds)
{
	for (unsigned c = 0; c < 4 * 256 * 4 * 2 * 2 * 2 * 2; c++) {
		struct enc e = {.opcode = c & 255, .map = c >> 8 & 3, .pp = c >> 10 & 3, .w = c >> 12 & 1,
			.l = c >> 13 & 1, .vex = c >> 14 & 1, .mem = c >> 15 & 1};

		if (!e.map || (e.l && !e.vex) || (e.map == 1 && (e.opcode == 0x38 || e.opcode == 0x3a)))
			continue;
		e.vsib = e.mem && e.vex && e.map == 2 && (e.opcode & 0xfc) == 0x90;
		for (unsigned k = 0; k < rounds; k++) {
			uint8_t b[32];

			try(v, b, encode(&e, b));
		}
	}
}

static void test_x87(struct vec *v, unsigned rounds)
{
	for (unsigned c = 0; c < 8 * 256; c++) {
		for (unsigned k = 0; k < 4 * rounds; k++) {
			uint8_t b[32] = {0};
			unsigned n = 0;

			if (rnd_below(4) == 0)
				b[n++] = 0x66;
			b[n++] = (uint8_t)(0xd8 | (c >> 8));
			b[n++] = (uint8_t)c;
			if ((c & 0xc0) != 0xc0) { /* memory: all forms become [rip], the rest is the decoder's */
				b[n - 1] = (uint8_t)((c & 0x38) | 5);
				n += 4;
			}
			try(v, b, n);
			if ((c & 0xc0) != 0xc0 && (c & 7))
				break;
		}
	}
	for (unsigned k = 0; k < 10 * rounds; k++) {
		uint8_t b[32] = {0x9b};

		try(v, b, 1);
	}
}

/* One x87 instruction, as bytes, on s and mem */
static void x87_step(struct vec *v, struct x86_state *s, const char *bytes, uint8_t *mem)
{
	uint8_t b[15] = {0};
	struct x86_insn i;
	struct vec_op op;

	memcpy(b, bytes, strlen(bytes));
	assert(x86_decode(&i, X86_MODE64, b, sizeof b) > 0 && !vec_prepare(v, &op, &i));
	assert(!vec_run(v, &op, s, mem, 0x123456789a, 0xbcdef01234));
}

/* FIP, FDP and FOP: recorded, stored in all four layouts, loaded back (SDM Vol. 1, figures 8-9 to 8-12) */
static void test_pointers(struct vec *v)
{
	uint8_t env[128] __attribute__((aligned(32))) = {0};
	struct x86_state s;

	rnd_state(&s);
	x86_fpu_reset(&s.fpu);
	x87_step(v, &s, "\xd8\x47\x08", env); /* fadd dword [rdi+8] */
	assert(s.fpu.fip == 0x123456789a && s.fpu.fdp == 0xbcdef01234 && s.fpu.fop == 0x047);
	x87_step(v, &s, "\xd9\x7f\x08", env); /* fnstcw */
	assert(s.fpu.fip == 0x123456789a && s.fpu.fop == 0x047);

	s.fpu.fop = 0x5a5;
	x87_step(v, &s, "\xd9\x77\x08", env); /* fnstenv */
	assert(get_u32(env + 12) == 0x3456789a && get_u32(env + 16) == 0x5a5u << 16);
	assert(get_u32(env + 20) == 0xdef01234 && get_u16(env + 24) == 0);
	s.fpu.fip = s.fpu.fdp = s.fpu.fop = 0;
	x87_step(v, &s, "\xd9\x67\x08", env); /* fldenv */
	assert(s.fpu.fip == 0x3456789a && s.fpu.fdp == 0xdef01234 && s.fpu.fop == 0x5a5);

	x87_step(v, &s, "\x66\xd9\x77\x08", env);
	assert(get_u16(env + 6) == 0x789a && get_u16(env + 8) == 0 && get_u16(env + 10) == 0x1234);

	s.cr0 &= ~X86_CR0_PE;
	s.fpu.fip = 0xf789a;
	s.fpu.fdp = 0xe1234;
	x87_step(v, &s, "\xd9\x77\x08", env);
	assert(get_u16(env + 12) == 0x789a && get_u32(env + 16) == (0xf000u | 0x5a5));
	assert(get_u16(env + 20) == 0x1234 && get_u32(env + 24) == 0xe000);
	s.fpu.fip = s.fpu.fdp = s.fpu.fop = 0;
	x87_step(v, &s, "\xd9\x67\x08", env);
	assert(s.fpu.fip == 0xf789a && s.fpu.fdp == 0xe1234 && s.fpu.fop == 0x5a5);
	x87_step(v, &s, "\x66\xd9\x77\x08", env);
	assert(get_u16(env + 6) == 0x789a && get_u16(env + 8) == (0xf000 | 0x5a5));
	assert(get_u16(env + 10) == 0x1234 && get_u16(env + 12) == 0xe000);
	s.fpu.fip = s.fpu.fdp = s.fpu.fop = 0;
	x87_step(v, &s, "\x66\xd9\x67\x08", env);
	assert(s.fpu.fip == 0xf789a && s.fpu.fdp == 0xe1234 && s.fpu.fop == 0x5a5);

	x87_step(v, &s, "\xdd\x77\x08", env); /* fnsave stores them and clears */
	assert(get_u16(env + 12) == 0x789a && !s.fpu.fip && !s.fpu.fdp && !s.fpu.fop);
}

int main(int argc, char **argv)
{
	unsigned encodings = 0, legacy = 0;
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : now_ns() ^ (uint64_t)getpid() << 40;
	unsigned rounds = argc > 2 ? (unsigned)atoi(argv[2]) : 12;
	struct vec *v;
	struct err e;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("seed %#" PRIx64 "\n", seed);
	rnd_seed(seed);
	arena_init();
	native_init();
	if (vec_new(&v, &e)) {
		printf("%s\n", e.text);
		return 77;
	}
	test_maps(v, rounds);
	printf("%u vector cases\n", cases);
	test_x87(v, rounds);
	test_pointers(v);
	vec_free(v);

	/* the same without room for thunks: the private slot */
	if (vec_new_sized(&v, 4096, &e))
		return 77;
	test_maps(v, 1);
	test_x87(v, 1);
	vec_free(v);

	for (size_t k = 0; k < sizeof seen; k++)
		encodings += ((uint8_t *)seen)[k];
	for (size_t k = 0; k < sizeof seen[0]; k++)
		legacy += ((uint8_t *)seen)[k];
	printf("%u cases of %u opcodes, %u of them not VEX, %u mismatches\n", cases, encodings, legacy, failures);
	/* what the decoder knows, whatever the host has */
	assert(legacy >= 370 && encodings >= 690);
	return failures != 0;
}
