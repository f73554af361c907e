/* SPDX-License-Identifier: MIT */
/*
 * Random instructions and states for the oracle.
 *
 * Bytes are chosen at random with weights; the decoder says what they are; then registers and memory are
 * arranged so that the instruction does something: memory operands point into the data pages, divisions do
 * not always overflow, compare-exchanges find an equal value now and then. What cannot be compared with a
 * Linux process (system calls, segment loads, time) is left out: see comparable().
 *
 * A case is one instruction, a few in a row, or a sequence (seq_make()): up to two dozen with flags that live
 * from one to another across branches forward, counted loops, calls and returns, jumps by register. In a
 * sequence a few registers are set aside as bases, indexes and loop counter, so that most operands are good.
 */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "../vec/random.h"
#include "base/util.h"
#include "oracle-int.h"

static bool chance(unsigned percent)
{
	return rnd_below(100) < percent;
}

void case_pool(uint8_t *pool, uint64_t seed)
{
	rnd_seed(seed ^ 0x706f6f6c);
	for (unsigned o = 0; o < POOL_SIZE; o += 32) {
		rnd_lanes(pool + o, 32);
		if (rnd_below(8) == 0)
			rnd_f80(pool + o + 8);
		if (rnd_below(4) == 0)
			put_u64(pool + o + 24, rnd_below(2) ? rnd_below(256) : (uint64_t)-1 - rnd_below(64));
	}
}

void case_fill(const struct oracle_case *c, const uint8_t *pool, uint8_t *page[DATA_PAGES])
{
	for (unsigned i = 0; i < DATA_PAGES; i++)
		if (i != DATA_HOLE)
			memcpy(page[i], pool + c->pool_off + i * PAGE, PAGE);
	for (unsigned i = 0; i < c->npokes; i++)
		for (unsigned k = 0; k < c->poke[i].len; k++) {
			uint64_t off = c->poke[i].va + k - DATA_VA;

			page[off / PAGE][off % PAGE] = c->poke[i].bytes[k];
		}
}

/* Is [va, va + len) data that can be written? */
static bool data_writable(uint64_t va, unsigned len)
{
	uint64_t first = (va - DATA_VA) / PAGE, last = (va + len - 1 - DATA_VA) / PAGE;

	return va >= DATA_VA && last < DATA_PAGES && (last < DATA_RO || (first == last && first > DATA_HOLE));
}

static void poke(struct oracle_case *c, uint64_t va, const void *p, unsigned len)
{
	if (c->npokes == CASE_POKES || !data_writable(va, len))
		return;
	c->poke[c->npokes].va = va;
	c->poke[c->npokes].len = (uint8_t)len;
	memcpy(c->poke[c->npokes++].bytes, p, len);
}

/* An address for an operand of size bytes: mostly ordinary, often at an edge. */
static uint64_t target(unsigned size)
{
	unsigned kind = rnd_below(100), align = chance(65) ? size & -size : 1;
	uint64_t va = DATA_VA;

	if (kind < 72)
		va += 64 + rnd_below(3 * PAGE - 64 - 128);
	else if (kind < 82) /* across two good pages */
		return va + PAGE * (1 + rnd_below(2)) - 1 - rnd_below(size ? size : 1);
	else if (kind < 86)
		va += DATA_RO * PAGE + 64 + rnd_below(PAGE - 256);
	else if (kind < 89)
		return va + DATA_RO * PAGE - 1 - rnd_below(size ? size : 1);
	else if (kind < 92)
		va += DATA_HOLE * PAGE + rnd_below(PAGE);
	else if (kind < 95)
		return va + DATA_HOLE * PAGE - 1 - rnd_below(size ? size : 1);
	else
		va += (DATA_HOLE + 1) * PAGE + 64 + rnd_below(PAGE - 256);
	if (align > 32)
		align = 16;
	return va & -(uint64_t)(align ? align : 1);
}

/* Can it run in a Linux process and in the virtual machine with the same result? */
static bool comparable(const struct x86_insn *i, bool m32)
{
	/* FS is the C library's; in 32-bit code both are null selectors */
	if (i->seg == X86_FS || (m32 && i->seg == X86_GS))
		return false;
	switch (i->op) {
	case X86_OP_UD:
	/* the kernel, the hypervisor, or time answers */
	case X86_OP_CPUID: case X86_OP_RDTSC: case X86_OP_RDTSCP: case X86_OP_RDPMC: case X86_OP_RDRAND:
	case X86_OP_RDSEED: case X86_OP_RDPID: case X86_OP_SYSCALL: case X86_OP_SYSENTER: case X86_OP_INT:
	case X86_OP_INT1: case X86_OP_VMCALL: case X86_OP_MONITOR: case X86_OP_MWAIT: case X86_OP_RDPRU:
	case X86_OP_XGETBV: case X86_OP_XSETBV: case X86_OP_SERIALIZE: case X86_OP_INVPCID:
	case X86_OP_SYSRET: case X86_OP_SYSEXIT:
	/* Linux emulates them for user mode (UMIP) */
	case X86_OP_SGDT: case X86_OP_SIDT: case X86_OP_SLDT: case X86_OP_STR: case X86_OP_SMSW:
	/* segments and bases */
	case X86_OP_MOVSEG_TO: case X86_OP_POPSEG: case X86_OP_LDS: case X86_OP_JMPFAR:
	case X86_OP_CALLFAR: case X86_OP_RETFAR: case X86_OP_IRET: case X86_OP_LAR: case X86_OP_LSL:
	case X86_OP_VERR: case X86_OP_VERW: case X86_OP_RDFSBASE: case X86_OP_RDGSBASE:
	case X86_OP_WRFSBASE: case X86_OP_WRGSBASE:
	/* compared in fpu_test.c, without FIP and FDP */
	case X86_OP_FXSAVE: case X86_OP_FXRSTOR: case X86_OP_XSAVE: case X86_OP_XSAVEOPT: case X86_OP_XSAVEC:
	case X86_OP_XRSTOR:
		return false;
	case X86_OP_X87: /* the same for FNSTENV, FNSAVE */
		return !(i->is_mem && i->arm & X86_ACC_W && i->memsize > 10);
	case X86_OP_BSWAP: /* of 16 bits: undefined */
		return i->opsize > 2;
	case X86_OP_NOP: /* PREFETCHW of a register: #UD on AMD */
		return !(i->map == 1 && i->opcode == 0x0d && !i->is_mem);
	/* Vendors differ in 64-bit mode: Intel ignores the prefix */
	case X86_OP_JCC: case X86_OP_JMP: case X86_OP_CALL: case X86_OP_RET: case X86_OP_JMPIND:
	case X86_OP_CALLIND: case X86_OP_LOOP: case X86_OP_LOOPE: case X86_OP_LOOPNE: case X86_OP_JCXZ:
		if (!m32 && i->pfx & X86_PFX_66)
			return false;
		/* on AMD a REP prefix says what LOOPE and LOOPNE want of ZF, not the opcode */
		if ((i->op == X86_OP_LOOPE || i->op == X86_OP_LOOPNE) && i->pfx & (X86_PFX_F2 | X86_PFX_F3))
			return false;
		break;
	case X86_OP_MOVSX: /* MOVSXD r16: AMD reads four bytes */
		return !(i->opcode == 0x63 && i->opsize == 2 && i->is_mem);
	case X86_OP_UD2: /* UD0, UD1: the rest may not even be fetched */
		return i->opcode == 0x0b;
	case X86_OP_PAUSE: /* with REX.B AMD takes it for XCHG */
		return !(i->rex & 1);
	case X86_OP_VEC: /* SHA from memory: AMD does not ask for alignment */
		if (i->is_mem && !(i->attr & X86_A_VEX) && ((i->map == 2 && i->opcode >= 0xc8 && i->opcode <= 0xcd) ||
							    (i->map == 3 && i->opcode == 0xcc)))
			return false;
		/* VEX.W of VPEXTRD, VPINSRD and the like in 32-bit code: #UD on AMD, ignored by Intel */
		if (m32 && i->vexw && i->map == 3 && (i->opcode == 0x16 || i->opcode == 0x22))
			return false;
		break;
	}
	return true;
}

static bool is_string(const struct x86_insn *i)
{
	return i->op >= X86_OP_MOVS && i->op <= X86_OP_OUTS;
}

static bool is_branch(const struct x86_insn *i)
{
	return i->attr & X86_A_BRANCH || (i->op >= X86_OP_JCC && i->op <= X86_OP_JCXZ);
}

/*
 * What random bytes would seldom be. pp as in VEX; reg: ModRM.reg, -1 any; mod: memory or register operand.
 */
enum { ANY, MEM, REG };
static const struct favourite {
	bool vex;
	uint8_t map, first, last, pp;
	int8_t reg;
	uint8_t mod;
} favourites[] = {
	{false, 1, 0xb8, 0xb8, 2, -1, ANY}, {false, 1, 0xbc, 0xbd, 2, -1, ANY}, /* POPCNT, TZCNT, LZCNT */
	{false, 1, 0xbc, 0xbd, 0, -1, ANY},                                     /* BSF, BSR */
	{false, 1, 0xc7, 0xc7, 0, 1, MEM},                                      /* CMPXCHG8B, 16B */
	{false, 1, 0xb0, 0xb1, 0, -1, MEM}, {false, 1, 0xc0, 0xc1, 0, -1, MEM}, /* CMPXCHG, XADD */
	{false, 1, 0xae, 0xae, 0, 2, MEM}, {false, 1, 0xae, 0xae, 0, 3, MEM},   /* LDMXCSR, STMXCSR */
	{false, 1, 0xa3, 0xa3, 0, -1, MEM}, {false, 1, 0xab, 0xab, 0, -1, MEM}, /* BT, BTS */
	{false, 1, 0xb3, 0xb3, 0, -1, MEM}, {false, 1, 0xbb, 0xbb, 0, -1, MEM}, /* BTR, BTC */
	{false, 1, 0xa4, 0xa5, 0, -1, ANY}, {false, 1, 0xac, 0xad, 0, -1, ANY}, /* SHLD, SHRD */
	{false, 1, 0xc3, 0xc3, 0, -1, MEM},                                     /* MOVNTI */
	{false, 2, 0xf0, 0xf1, 0, -1, MEM}, {false, 2, 0xf0, 0xf1, 3, -1, ANY}, /* MOVBE, CRC32 */
	{false, 2, 0xf6, 0xf6, 1, -1, ANY}, {false, 2, 0xf6, 0xf6, 2, -1, ANY}, /* ADCX, ADOX */
	{false, 0, 0xf6, 0xf7, 0, 4, ANY}, {false, 0, 0xf6, 0xf7, 0, 5, ANY},   /* MUL, IMUL */
	{false, 0, 0xf6, 0xf7, 0, 6, ANY}, {false, 0, 0xf6, 0xf7, 0, 7, ANY},   /* DIV, IDIV */
	{false, 0, 0xc0, 0xc1, 0, -1, ANY}, {false, 0, 0xd0, 0xd3, 0, -1, ANY}, /* shifts */
	{false, 0, 0xff, 0xff, 0, 2, ANY}, {false, 0, 0xff, 0xff, 0, 4, ANY},   /* CALL, JMP */
	{true, 2, 0xf2, 0xf2, 0, -1, ANY}, {true, 2, 0xf7, 0xf7, 0, -1, ANY},   /* ANDN, BEXTR */
	{true, 2, 0xf3, 0xf3, 0, 1, ANY}, {true, 2, 0xf3, 0xf3, 0, 2, ANY},     /* BLSR, BLSMSK */
	{true, 2, 0xf3, 0xf3, 0, 3, ANY}, {true, 2, 0xf5, 0xf5, 0, -1, ANY},    /* BLSI, BZHI */
	{true, 2, 0xf5, 0xf5, 2, -1, ANY}, {true, 2, 0xf5, 0xf5, 3, -1, ANY},   /* PEXT, PDEP */
	{true, 2, 0xf6, 0xf6, 3, -1, ANY}, {true, 3, 0xf0, 0xf0, 3, -1, ANY},   /* MULX, RORX */
	{true, 2, 0xf7, 0xf7, 1, -1, ANY}, {true, 2, 0xf7, 0xf7, 2, -1, ANY},   /* SHLX, SARX */
	{true, 2, 0xf7, 0xf7, 3, -1, ANY},                                      /* SHRX */
	{true, 2, 0x90, 0x93, 1, -1, MEM}, {true, 2, 0x2c, 0x2f, 1, -1, MEM},   /* gathers, VMASKMOV */
	{true, 2, 0x8c, 0x8c, 1, -1, MEM}, {true, 2, 0x8e, 0x8e, 1, -1, MEM},
	{true, 2, 0x96, 0xbf, 1, -1, ANY},                                      /* FMA */
};

static unsigned favourite_bytes(uint8_t *b, bool m32, bool avx)
{
	static const uint8_t prefix[4] = {0, 0x66, 0xf3, 0xf2};
	const struct favourite *f = &favourites[rnd_below(ARRAY_LEN(favourites))];
	uint8_t modrm = (uint8_t)rnd(), opcode;
	unsigned n = 0;

	while (f->vex && !avx)
		f = &favourites[rnd_below(ARRAY_LEN(favourites))];
	opcode = (uint8_t)(f->first + rnd_below(f->last - f->first + 1u));
	if (chance(4))
		b[n++] = 0x67;
	if (f->vex) {
		b[n++] = 0xc4;
		b[n++] = (uint8_t)((m32 ? 0xc0 | (rnd() & 0x20) : rnd() & 0xe0) | f->map);
		b[n] = (uint8_t)((rnd() & 0xf8) | f->pp | (f->map == 2 && opcode < 0xc0 ? rnd() & 4 : 0));
		n++;
	} else {
		if (f->map < 2 && !f->pp && chance(20))
			b[n++] = 0x66;
		if (f->mod == MEM && chance(15))
			b[n++] = 0xf0;
		if (f->pp)
			b[n++] = prefix[f->pp];
		if (!m32 && chance(60))
			b[n++] = (uint8_t)(0x40 | rnd_below(16));
		if (f->map)
			b[n++] = 0x0f;
		if (f->map > 1)
			b[n++] = f->map == 2 ? 0x38 : 0x3a;
	}
	b[n++] = opcode;
	if (f->reg >= 0)
		modrm = (uint8_t)((modrm & 0xc7) | f->reg << 3);
	if (f->mod == MEM && modrm >= 0xc0)
		modrm &= (uint8_t)(0x3f | rnd_below(3) << 6);
	if (f->map == 2 && (opcode & 0xfc) == 0x90)
		modrm = (modrm & 0xf8) | 4; /* VSIB */
	b[n++] = modrm;
	for (unsigned k = 0; k < 11; k++)
		b[n++] = (uint8_t)rnd();
	return n;
}

/* Random bytes that look like an instruction; returns how many there are. */
static unsigned random_bytes(uint8_t *b, bool m32, bool avx)
{
	static const uint8_t segs64[] = {0x26, 0x2e, 0x36, 0x3e, 0x65}, segs32[] = {0x26, 0x2e, 0x36, 0x3e};
	static const uint8_t strings[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
	static const uint8_t pps[] = {0x66, 0xf3, 0xf2};
	unsigned n = 0, kind = rnd_below(100);
	bool vex = avx && kind >= 82, string = kind < 6, rex = !m32 && !vex && chance(60);

	if (chance(20))
		return favourite_bytes(b, m32, avx);
	if (chance(4))
		b[n++] = m32 ? segs32[rnd_below(4)] : segs64[rnd_below(5)];
	if (chance(6))
		b[n++] = 0x67;
	if (!vex) {
		if (chance(string ? 60 : 3))
			b[n++] = chance(50) ? 0xf2 : 0xf3;
		if (chance(25))
			b[n++] = 0x66;
		if (chance(4))
			b[n++] = 0xf0;
		if (kind >= 60 && chance(50))
			b[n++] = pps[rnd_below(3)];
	}
	if (rex)
		b[n++] = (uint8_t)(0x40 | rnd_below(16));
	if (string) {
		b[n++] = strings[rnd_below(ARRAY_LEN(strings))];
	} else if (kind < 10) { /* x87 */
		b[n++] = (uint8_t)(0xd8 | rnd_below(8));
	} else if (kind < 60) {
		b[n++] = (uint8_t)rnd();
	} else if (!vex) {
		b[n++] = 0x0f;
		if (kind >= 77)
			b[n++] = 0x38;
		else if (kind >= 74)
			b[n++] = 0x3a;
		b[n++] = (uint8_t)(kind == 81 ? 0xf0 + rnd_below(8) : rnd_below(256));
	} else if (chance(30)) {
		b[n++] = 0xc5;
		b[n++] = (uint8_t)(chance(50) ? rnd() | 0x78 : rnd());
		if (m32)
			b[n - 1] |= 0xc0;
		b[n++] = (uint8_t)rnd();
	} else {
		unsigned map = 1 + rnd_below(3);

		b[n++] = 0xc4;
		b[n++] = (uint8_t)((rnd() & 0xe0) | map);
		if (m32)
			b[n - 1] |= 0xc0;
		b[n++] = (uint8_t)(chance(50) ? rnd() | 0x78 : rnd());
		b[n++] = (uint8_t)(map > 1 && chance(25) ? 0xf0 + rnd_below(8) : rnd_below(256));
	}
	for (unsigned k = 0; k < 12; k++)
		b[n++] = (uint8_t)rnd();
	if (chance(50)) /* register operands are short of luck otherwise */
		b[n - 12] |= 0xc0;
	return n;
}

/* Makes gpr[r] what puts the address at va; cut to the address size with rubbish above. */
static void reg_aim(struct oracle_case *c, const struct x86_insn *i, unsigned r, uint64_t va)
{
	if (i->adsize == 4)
		va = (uint32_t)va | (chance(50) ? rnd() << 32 : 0);
	c->in.gpr[r] = va;
}

/* The memory operand of an instruction: aims it at va by registers, or by the displacement in its bytes. */
static void operand_aim(struct oracle_case *c, struct x86_insn *i, uint8_t *b, uint64_t rip, uint64_t va)
{
	uint64_t off = va - (i->seg == X86_GS ? GS_BASE : 0);
	bool index = i->index >= 0 && i->op != X86_OP_GATHER;

	if (i->base == X86_BASE_RIP || (i->base < 0 && !index)) {
		int64_t d = (int64_t)(i->base == X86_BASE_RIP ? off - rip - i->len : off);

		if (i->off_disp)
			memcpy(b + i->off_disp, &d, i->size_disp);
		i->disp = i->size_disp == 4 ? (int32_t)d : d;
		return;
	}
	off -= (uint64_t)i->disp;
	if (i->base < 0) {
		reg_aim(c, i, (unsigned)i->index, off >> i->scale);
		return;
	}
	if (index && i->index != i->base) {
		if (chance(70))
			c->in.gpr[i->index] = (uint64_t)(int64_t)((int)rnd_below(4096) - 2048);
		off -= c->in.gpr[i->index] << i->scale;
	} else if (index) {
		off /= 1u + (1u << i->scale);
	}
	reg_aim(c, i, (unsigned)i->base, off);
}

/* Where the operand will be, by the initial registers */
static uint64_t operand_va(const struct oracle_case *c, const struct x86_insn *i, uint64_t rip)
{
	uint64_t off = (uint64_t)i->disp;

	if (i->base == X86_BASE_RIP)
		off += rip + i->len;
	else if (i->base >= 0)
		off += c->in.gpr[i->base];
	if (i->index >= 0 && i->op != X86_OP_GATHER)
		off += c->in.gpr[i->index] << i->scale;
	if (i->adsize == 4)
		off = (uint32_t)off;
	return off + (i->seg == X86_GS ? GS_BASE : 0);
}

/* A place to jump to: int3 is everywhere in the code pages. */
static uint64_t code_target(const struct oracle_case *c)
{
	uint64_t va = CODE_VA + rnd_below(CODE_PAGES * PAGE);

	while (va >= c->in.rip && va < c->in.rip + CASE_CODE)
		va = CODE_VA + rnd_below(CODE_PAGES * PAGE);
	return va;
}

static void stack_aim(struct oracle_case *c)
{
	uint64_t va = chance(85) ? DATA_VA + PAGE + rnd_below(PAGE) : target(8);

	c->in.gpr[X86_RSP] = chance(85) ? va & ~7ull : va;
}

/* Values that make the instruction go more ways than one. va: its memory operand */
static void arrange_values(struct oracle_case *c, struct x86_insn *i, uint64_t va, const struct oracle_opts *o)
{
	uint64_t *gpr = c->in.gpr;

	if (is_string(i)) {
		gpr[X86_RSI] = target(i->opsize) - (i->seg == X86_GS ? GS_BASE : 0);
		gpr[X86_RDI] = chance(10) ? gpr[X86_RSI] + rnd_below(16) : target(i->opsize);
		if (!chance(3) || !o->wild)
			gpr[X86_RCX] = rnd_below(chance(80) ? 20 : 600);
		if (i->adsize == 4 && chance(50)) {
			gpr[X86_RSI] |= rnd() << 32;
			gpr[X86_RDI] |= rnd() << 32;
			gpr[X86_RCX] |= rnd() << 32;
		}
		return;
	}
	switch (i->op) {
	case X86_OP_GATHER:
		for (unsigned k = 0; k < 32; k += i->opcode & 1 ? 8 : 4) {
			uint32_t v = rnd_below(2 * PAGE >> i->scale) - (chance(50) ? PAGE >> i->scale : 0);

			put_u32(c->in.fpu.ymm[i->index] + k, v);
			if (i->opcode & 1)
				put_u32(c->in.fpu.ymm[i->index] + k + 4, (int32_t)v < 0 ? ~0u : 0);
		}
		break;
	case X86_OP_MASKMOV:
		gpr[X86_RDI] = target(16) - (i->seg == X86_GS ? GS_BASE : 0);
		break;
	case X86_OP_XLAT:
		gpr[X86_RBX] = target(1) - (i->seg == X86_GS ? GS_BASE : 0);
		break;
	case X86_OP_LEAVE:
	case X86_OP_ENTER:
		gpr[X86_RBP] = target(8) & ~(chance(80) ? 7ull : 0);
		break;
	case X86_OP_DIV:
	case X86_OP_IDIV:
		if (chance(70)) {
			uint64_t v = chance(50) ? 0 : rnd_below(100);

			gpr[X86_RDX] = v;
			if (i->op == X86_OP_IDIV && chance(50))
				gpr[X86_RDX] = (int64_t)(gpr[X86_RAX] << (64 - 8 * i->opsize)) < 0 ? ~0ull : 0;
			if (i->opsize == 1)
				gpr[X86_RAX] = rnd_below(0x400);
		}
		break;
	case X86_OP_BT: case X86_OP_BTS: case X86_OP_BTR: case X86_OP_BTC:
		if (i->is_mem && i->form == X86_F_RM_R && (chance(90) || !o->wild))
			gpr[i->reg] = (uint64_t)(int64_t)((int)rnd_below(0x8000) - 0x4000);
		break;
	case X86_OP_CMPXCHG:
		if (i->is_mem && chance(50))
			poke(c, va, &gpr[X86_RAX], i->opsize);
		else if (!i->is_mem && chance(50))
			gpr[i->rm] = gpr[X86_RAX];
		break;
	case X86_OP_CMPXCHG8B:
		if (chance(50)) {
			uint8_t v[16];

			memcpy(v, &gpr[X86_RAX], 8);
			memcpy(v + i->opsize, &gpr[X86_RDX], 8);
			poke(c, va, v, 2 * i->opsize);
		}
		break;
	case X86_OP_JMPIND:
	case X86_OP_CALLIND: {
		uint64_t to = code_target(c);

		if (chance(10) && o->wild)
			break;
		if (i->is_mem)
			poke(c, va, &to, i->opsize);
		else
			gpr[i->rm] = to;
		break;
	}
	case X86_OP_RET: {
		uint64_t to = code_target(c);

		if (chance(90) || !o->wild)
			poke(c, gpr[X86_RSP], &to, i->opsize);
		break;
	}
	case X86_OP_POPF: {
		uint64_t v = rnd() & (X86_ARITH | X86_DF | (chance(10) ? X86_AC | X86_TF : 0));

		v |= X86_FLAG1 | X86_IF;
		gpr[X86_RSP] = (DATA_VA + 64 + rnd_below(2 * PAGE)) & ~7ull;
		poke(c, gpr[X86_RSP], &v, 8);
		break;
	}
	case X86_OP_X87:
		if (i->opcode == 0xd9 && i->is_mem && (i->modrm >> 3 & 7) == 5) { /* FLDCW */
			uint16_t v = (uint16_t)(rnd() | (chance(80) ? 0x3f : 0));

			poke(c, va, &v, 2);
		}
		break;
	case X86_OP_LDMXCSR: {
		/* good, or bad; but AMD has a bit 17 */
		uint32_t v = (uint32_t)rnd() & (chance(70) ? 0xffff : 0xfffdffff);

		v |= chance(60) ? 0x1f80 : 0; /* all masked: else FP code behind it is another path in bt */
		poke(c, va, &v, 4);
		break;
	}
	}
}

static void arrange(struct oracle_case *c, struct x86_insn *i, uint8_t *b, uint64_t rip,
	const struct oracle_opts *o, bool first)
{
	uint64_t va = 0;
	unsigned size = i->memsize ? i->memsize : i->opsize;

	if (i->is_mem && first && (!o->wild || !chance(4)))
		operand_aim(c, i, b, rip, target(i->op == X86_OP_GATHER ? 1 : size));
	else if (i->is_mem && (i->base == X86_BASE_RIP || (i->base < 0 && i->index < 0) || !o->wild))
		operand_aim(c, i, b, rip, target(size));
	if (i->is_mem)
		va = operand_va(c, i, rip);
	arrange_values(c, i, va, o);
}
/* The displacement of near branches must not lead back into the case's own code. */
static bool branch_ok(struct oracle_case *c, struct x86_insn *i, uint8_t *b, uint64_t rip,
	const struct oracle_opts *o)
{
	uint64_t to;

	if (i->form != X86_F_REL)
		return true;
	if (i->size_imm == 4 && (chance(95) || !o->wild)) {
		i->imm = (int32_t)(rnd_below(2 * CODE_PAGES * PAGE) - CODE_PAGES * PAGE);
		memcpy(b + i->off_imm, &i->imm, 4);
	}
	to = rip + i->len + (uint64_t)i->imm;
	return to < c->in.rip - 32 || to > c->in.rip + CASE_CODE;
}

static bool insn_make(struct oracle_case *c, const struct oracle_opts *o)
{
	struct x86_insn *i = &c->insn[c->ninsns];
	enum x86_mode mode = c->mode32 ? X86_MODE32 : X86_MODE64;
	uint64_t rip = c->in.rip + c->len;
	bool first = !c->ninsns;
	uint8_t b[32];

	random_bytes(b, c->mode32, o->avx);
	if (x86_decode(i, mode, b, sizeof b) <= 0 || !comparable(i, c->mode32))
		return false;
	if (c->mode32 && i->is_mem && i->adsize == 2)
		return false;
	if (!first && (i->fl_in & c->undef || i->op == X86_OP_PUSHF || i->op == X86_OP_POPF ||
			      is_branch(i) || is_string(i)))
		return false;
	if (!branch_ok(c, i, b, rip, o))
		return false;
	/* 16-bit double shifts by more than 16 have no defined result */
	if ((i->op == X86_OP_SHLD || i->op == X86_OP_SHRD) && i->opsize == 2) {
		if (i->form == X86_F_RM_R_I ? (i->imm & 31) > 16 : !first)
			return false;
		if (i->form != X86_F_RM_R_I)
			c->in.gpr[X86_RCX] = rnd_below(17) | (rnd() & ~31ull & 0xff);
	}
	arrange(c, i, b, rip, o, first);
	if (c->mode32)
		for (unsigned r = 0; r < 16; r++)
			c->in.gpr[r] = r < 8 ? (uint32_t)c->in.gpr[r] : 0;
	memcpy(c->code + c->len, b, i->len);
	c->len += i->len;
	c->ninsns++;
	c->undef |= i->fl_undef;
	return true;
}

/* ---- sequences ---- */

struct seq {
	uint8_t base[2], index[2], counter; /* registers set aside; [1]: r8 to r15, not in 32-bit code */
	uint16_t kept;                      /* a bit for each of them */
	int loop;                           /* first instruction of the open loop, -1: none */
	unsigned loop_len;
	bool looped;
	unsigned nfix;
	struct {
		int from;     /* number of the instruction, whose last bytes are the displacement ... */
		uint8_t size; /* of so many bytes ... */
		int to;       /* to this one; -1: not known yet */
	} fix[8];
};

/* Registers the instruction names, whether it reads or writes them; those it has by nature are not there. */
static uint16_t named_regs(const struct x86_insn *i)
{
	uint16_t m = (uint16_t)(1u << i->reg | 1u << (i->reg & 3));

	if (!i->is_mem)
		m |= (uint16_t)(1u << i->rm | 1u << (i->rm & 3));
	if (i->pfx & (X86_PFX_VEX2 | X86_PFX_VEX3))
		m |= (uint16_t)(1u << i->vvvv);
	return m;
}

/* Appends an instruction; false when the case is full or the bytes are none. */
static bool seq_put(struct oracle_case *c, const uint8_t *b, unsigned n)
{
	struct x86_insn *i = &c->insn[c->ninsns];

	if (c->ninsns == CASE_INSNS || c->len + 15 >= CASE_CODE ||
	    x86_decode(i, c->mode32 ? X86_MODE32 : X86_MODE64, b, n) <= 0)
		return false;
	c->to[c->ninsns++] = -1;
	memcpy(c->code + c->len, b, i->len);
	c->len += i->len;
	return true;
}

static unsigned seq_offset(const struct oracle_case *c, int k)
{
	unsigned off = 0;

	for (int j = 0; j < k; j++)
		off += c->insn[j].len;
	return off;
}

/* The branch (or LEA) that was put last goes to instruction number to, which need not be there yet. */
static void seq_fix(struct oracle_case *c, struct seq *q, unsigned size, int to)
{
	q->fix[q->nfix].from = (int)c->ninsns - 1;
	q->fix[q->nfix].size = (uint8_t)size;
	q->fix[q->nfix++].to = to;
}

/* False if a displacement is more than its byte holds. */
static bool seq_resolve(struct oracle_case *c, struct seq *q)
{
	for (unsigned f = 0; f < q->nfix; f++) {
		int from = q->fix[f].from, to = q->fix[f].to;
		unsigned end, size = q->fix[f].size;
		int32_t d;

		if (to < 0 || to > (int)c->ninsns)
			to = (int)c->ninsns;
		end = seq_offset(c, from + 1);
		d = (int32_t)(seq_offset(c, to) - end);
		if (size == 1 && d != (int8_t)d)
			return false;
		memcpy(c->code + end - size, &d, size);
		/* what was decoded is looked at for flags only */
		if (c->insn[from].op == X86_OP_LEA)
			c->to[from + 1] = (int8_t)to; /* the JMP behind */
		else
			c->to[from] = (int8_t)to;
	}
	return true;
}

/* JMP, Jcc, LOOPcc, JRCXZ to instruction number to */
static bool seq_branch(struct oracle_case *c, struct seq *q, int to)
{
	uint8_t b[15] = {0};
	unsigned kind = rnd_below(10), cc = rnd_below(16);

	if (q->nfix == ARRAY_LEN(q->fix))
		return false;
	if (kind < 5)
		b[0] = (uint8_t)(0x70 | cc);
	else if (kind < 7)
		b[0] = 0x0f, b[1] = (uint8_t)(0x80 | cc);
	else if (kind == 7)
		b[0] = 0xe9;
	else if (kind == 8)
		b[0] = 0xeb;
	else
		b[0] = (uint8_t)(0xe0 + rnd_below(4));
	if (!seq_put(c, b, sizeof b))
		return false;
	seq_fix(c, q, b[0] == 0x0f || b[0] == 0xe9 ? 4 : 1, to);
	return true;
}

/* The end of the loop: count down and jump back. Nobody may jump in between. */
static bool seq_loop_end(struct oracle_case *c, struct seq *q)
{
	unsigned r = q->counter, kind = c->mode32 ? 2 : rnd_below(3);
	uint8_t rex = (uint8_t)(0x48 | r >> 3), low = r & 7, b[15] = {0};
	int first = (int)c->ninsns, size = chance(70) ? 1 : 4;
	bool ok;

	if (q->nfix == ARRAY_LEN(q->fix))
		return false;
	if (kind == 0) /* dec %r64 */
		b[0] = rex, b[1] = 0xff, b[2] = 0xc8 | low;
	else if (kind == 1) /* sub $1, %r64 */
		b[0] = rex, b[1] = 0x83, b[2] = 0xe8 | low, b[3] = 1;
	else /* lea -1(%r), %r; test %r, %r */
		b[0] = c->mode32 ? 0x3e : rex | (rex << 2 & 4), b[1] = 0x8d, b[2] = (uint8_t)(0x40 | low << 3 | low), b[3] = 0xff;
	if (kind == 2 && low == 4) /* r12 needs a SIB byte */
		b[3] = 0x24, b[4] = 0xff;
	ok = seq_put(c, b, sizeof b);
	if (kind == 2) {
		memset(b, 0, sizeof b);
		b[0] = c->mode32 ? 0x3e : rex | (rex << 2 & 4), b[1] = 0x85, b[2] = (uint8_t)(0xc0 | low << 3 | low);
		ok = ok && seq_put(c, b, sizeof b);
	}
	memset(b, 0, sizeof b);
	if (size == 1)
		b[0] = 0x75;
	else
		b[0] = 0x0f, b[1] = 0x85;
	ok = ok && seq_put(c, b, sizeof b);
	for (unsigned f = 0; f < q->nfix; f++)
		if (q->fix[f].to > first && q->fix[f].to < (int)c->ninsns)
			q->fix[f].to = (int)c->ninsns;
	if (ok)
		seq_fix(c, q, (unsigned)size, q->loop);
	q->loop = -1;
	return ok;
}

/* Instructions that read or write flags in ways of their own */
static unsigned flag_bytes(uint8_t *b, bool m32)
{
	static const struct {
		uint8_t map, opcode, opcodes; /* so many from there */
		int8_t reg[2];                /* -1: any */
	} row[] = {
		{0, 0xfe, 2, {0, 1}}, {0, 0xfe, 2, {0, 1}},     /* INC, DEC */
		{0, 0x10, 4, {-1, -1}}, {0, 0x18, 4, {-1, -1}}, /* ADC, SBB */
		{0, 0x80, 2, {2, 3}}, {0, 0x83, 1, {2, 3}}, {0, 0x83, 1, {0, 7}},
		{0, 0xd0, 4, {2, 3}}, {0, 0xc0, 2, {2, 3}},     /* RCL, RCR */
		{0, 0xd0, 4, {4, 7}}, {0, 0xd0, 4, {0, 1}}, {0, 0xc0, 2, {5, 7}},
		{1, 0x90, 16, {-1, -1}}, {1, 0x40, 16, {-1, -1}}, {1, 0x40, 16, {-1, -1}},
		{0, 0xf5, 1, {-1, -1}}, {0, 0xf8, 2, {-1, -1}}, {0, 0x9e, 2, {-1, -1}}, {0, 0x9c, 2, {-1, -1}},
		{1, 0xba, 1, {4, 7}}, {0, 0x38, 4, {-1, -1}}, {0, 0x84, 2, {-1, -1}}, {0, 0xf6, 2, {2, 3}},
		{0, 0x00, 4, {-1, -1}}, {0, 0x28, 4, {-1, -1}}, {1, 0xc0, 2, {-1, -1}}, {1, 0xb0, 2, {-1, -1}},
		{0, 0x8d, 1, {-1, -1}}, {0, 0x88, 4, {-1, -1}}, {0, 0x50, 16, {-1, -1}}, {1, 0xaf, 1, {-1, -1}},
	};
	unsigned k = rnd_below(ARRAY_LEN(row)), n = 0;

	if (chance(12))
		b[n++] = 0x66;
	if (chance(4))
		b[n++] = 0xf0;
	if (!m32 && chance(65))
		b[n++] = (uint8_t)(0x40 | rnd_below(16));
	if (row[k].map)
		b[n++] = 0x0f;
	b[n++] = (uint8_t)(row[k].opcode + rnd_below(row[k].opcodes));
	b[n] = (uint8_t)(chance(55) ? rnd() | 0xc0 : rnd());
	if (row[k].reg[0] >= 0)
		b[n] = (uint8_t)((b[n] & 0xc7) | row[k].reg[rnd_below(2)] << 3);
	n++;
	for (unsigned j = 0; j < 12; j++)
		b[n++] = (uint8_t)rnd();
	return n;
}

/* Gives a memory operand one of the base registers, and maybe an index; the displacement aims it. */
static void seq_operand(struct oracle_case *c, const struct seq *q, uint8_t *b, unsigned n)
{
	enum x86_mode mode = c->mode32 ? X86_MODE32 : X86_MODE64;
	struct x86_insn i;
	bool hi_base, hi_index, use_sib;
	unsigned m, base, index, scale = rnd_below(4);
	uint64_t va;
	int32_t d;

	if (x86_decode(&i, mode, b, n) <= 0 || !i.is_mem || !i.has_modrm || i.adsize == 2 ||
	    i.op == X86_OP_GATHER || chance(8))
		return;
	m = i.off_modrm;
	/* which halves of the register file do REX or VEX lead to? */
	b[m] = (uint8_t)((b[m] & 0x38) | 0x84);
	b[m + 1] = 0;
	if (x86_decode(&i, mode, b, n) <= 0 || i.base < 0 || i.index < 0)
		return;
	hi_base = i.base >= 8;
	hi_index = i.index >= 8;
	base = q->base[hi_base];
	index = q->index[hi_index];
	use_sib = hi_index || (base & 7) == 4 || chance(35);
	va = chance(90) ? DATA_VA + 64 + rnd_below(3 * PAGE - 256) : target(i.memsize ? i.memsize : i.opsize);
	if (chance(60) && i.memsize)
		va &= -(uint64_t)(i.memsize & -i.memsize);
	va -= c->in.gpr[base] + (i.seg == X86_GS ? GS_BASE : 0);
	if (use_sib && (hi_index || chance(60))) {
		va -= c->in.gpr[index] << scale;
		index &= 7;
	} else {
		index = 4; /* none */
	}
	d = (int32_t)va;
	b[m] = (uint8_t)((b[m] & 0x38) | 0x80 | (use_sib ? 4 : base & 7));
	if (chance(20)) /* somewhere near */
		b[m] ^= 0xc0, d = (int8_t)rnd();
	if (use_sib)
		b[++m] = (uint8_t)(scale << 6 | index << 3 | (base & 7));
	memcpy(b + m + 1, &d, sizeof d);
}

static bool seq_insn(struct oracle_case *c, const struct seq *q, const struct oracle_opts *o)
{
	struct x86_insn i;
	uint16_t named;
	uint64_t keep[16], va = 0, rip = c->in.rip + c->len;
	uint8_t b[40] = {0};
	unsigned n = chance(45) ? flag_bytes(b, c->mode32) : random_bytes(b, c->mode32, o->avx);

	seq_operand(c, q, b, n);
	if (x86_decode(&i, c->mode32 ? X86_MODE32 : X86_MODE64, b, sizeof b) <= 0 || !comparable(&i, c->mode32))
		return false;
	if (is_branch(&i) || (c->mode32 && i.is_mem && i.adsize == 2) || i.fl_in & c->undef)
		return false;
	if ((i.op == X86_OP_SHLD || i.op == X86_OP_SHRD) && i.opsize == 2)
		return false;
	if (c->mode32 && (i.op == X86_OP_ENTER || i.op == X86_OP_LEAVE || i.op == X86_OP_POPA))
		return false; /* they write the counter */
	/* few of what only ends it early */
	if ((i.attr & X86_A_PRIV || i.op == X86_OP_UD2 || i.op == X86_OP_INT3 || i.op == X86_OP_INTO ||
		    i.op == X86_OP_POPF || i.op == X86_OP_IN || i.op == X86_OP_OUT || i.op == X86_OP_CLI ||
		    i.op == X86_OP_STI || i.op == X86_OP_INS || i.op == X86_OP_OUTS) && chance(90))
		return false;
	named = named_regs(&i);
	if (named & 1u << q->counter || (named & q->kept && chance(90)))
		return false;
	memcpy(keep, c->in.gpr, sizeof keep);
	if (i.is_mem) {
		if (i.base == X86_BASE_RIP || (i.base < 0 && i.index < 0))
			operand_aim(c, &i, b, rip, target(i.memsize ? i.memsize : i.opsize));
		va = operand_va(c, &i, rip);
	}
	if (!is_string(&i))
		arrange_values(c, &i, va, o);
	for (unsigned r = 0; r < 16; r++)
		if (q->kept >> r & 1 || (is_string(&i) && r != X86_RCX))
			c->in.gpr[r] = keep[r];
	if (!seq_put(c, b, sizeof b))
		return false;
	c->undef = (uint16_t)((c->undef & ~i.fl_out) | i.fl_undef);
	return true;
}

/* Two or three instructions in a function of their own: call f; jmp end; f: ...; ret; end: */
static bool seq_call(struct oracle_case *c, struct seq *q, const struct oracle_opts *o)
{
	static const uint8_t call[15] = {0xe8}, jmp[15] = {0xeb}, ret[15] = {0xc3};
	int at = (int)c->ninsns, j;

	if (q->nfix + 2 > ARRAY_LEN(q->fix) || !seq_put(c, call, sizeof call))
		return false;
	seq_fix(c, q, 4, at + 2);
	if (!seq_put(c, jmp, sizeof jmp))
		return false;
	seq_fix(c, q, 1, -1);
	j = (int)q->nfix - 1;
	for (unsigned k = 1 + rnd_below(3); k; k--)
		while (!seq_insn(c, q, o))
			if (c->ninsns == CASE_INSNS)
				return false;
	if (!seq_put(c, ret, sizeof ret))
		return false;
	c->to[c->ninsns - 1] = (int8_t)(at + 1);
	q->fix[j].to = (int)c->ninsns;
	return true;
}

/* lea to(%rip), %r; jmp *%r */
static bool seq_indirect(struct oracle_case *c, struct seq *q, int to)
{
	static const uint8_t regs[] = {X86_RAX, X86_RDX};
	unsigned r = regs[rnd_below(2)];
	uint8_t lea[15] = {0x48, 0x8d, (uint8_t)(5 | r << 3)}, jmp[15] = {0xff, (uint8_t)(0xe0 | r)};

	if (c->mode32 || q->nfix == ARRAY_LEN(q->fix) || !seq_put(c, lea, sizeof lea))
		return false;
	/* nobody may come to the JMP with another address in the register: that may lead back */
	for (unsigned f = 0; f < q->nfix; f++)
		if (q->fix[f].to == (int)c->ninsns)
			q->fix[f].to--;
	seq_fix(c, q, 4, to + 1);
	return seq_put(c, jmp, sizeof jmp);
}

static bool direct(const struct x86_insn *i)
{
	return i->form == X86_F_REL;
}

/* Undefined flags forwards, live flags backwards, until nothing changes. False if one that is undefined is read. */
static bool case_flow(struct oracle_case *c)
{
	bool again = true;
	unsigned n = c->ninsns;

	memset(c->undef_at, 0, sizeof c->undef_at);
	memset(c->live_at, 0, sizeof c->live_at);
	c->live_at[n] = X86_ARITH | X86_DF;
	while (again) {
		again = false;
		for (unsigned k = 0; k < n; k++) {
			const struct x86_insn *i = &c->insn[k];
			uint16_t u = (uint16_t)((c->undef_at[k] & ~i->fl_out) | i->fl_undef);
			bool falls = !is_branch(i) || i->op == X86_OP_JCC || (i->op >= X86_OP_LOOP && i->op <= X86_OP_JCXZ);
			uint16_t *to[2] = {falls ? &c->undef_at[k + 1] : NULL, c->to[k] >= 0 ? &c->undef_at[c->to[k]] : NULL};

			for (unsigned j = 0; j < 2; j++)
				if (to[j] && u & ~*to[j]) {
					*to[j] |= u;
					again = true;
				}
		}
		for (unsigned k = n; k--;) {
			const struct x86_insn *i = &c->insn[k];
			uint16_t live = 0;

			/* where an indirect jump goes nobody knows beforehand */
			if (is_branch(i) && (!direct(i) || c->to[k] < 0))
				live = X86_ARITH | X86_DF;
			else if (c->to[k] >= 0)
				live = c->live_at[c->to[k]];
			if (!is_branch(i) || (direct(i) && i->op != X86_OP_JMP && i->op != X86_OP_CALL))
				live |= c->live_at[k + 1];
			live = (uint16_t)((live & ~(i->fl_out | i->fl_undef)) | i->fl_in);
			if (live & ~c->live_at[k]) {
				c->live_at[k] |= live;
				again = true;
			}
		}
	}
	c->undef = 0;
	for (unsigned k = 0; k < n; k++) {
		if (c->insn[k].fl_in & c->undef_at[k])
			return false;
		c->undef |= c->insn[k].fl_undef;
	}
	return true;
}

int case_insn_at(const struct oracle_case *c, uint64_t rip)
{
	uint64_t at = c->in.rip;

	for (unsigned k = 0; k <= c->ninsns; at += c->insn[k++].len)
		if (rip == at)
			return (int)k;
		else if (k == c->ninsns)
			break;
	return rip == at + 1 ? (int)c->ninsns : -1; /* behind the INT3 */
}

static void seq_registers(struct oracle_case *c, struct seq *q)
{
	static const uint8_t low[][2] = {{X86_RBX, X86_RBP}, {X86_RSP, X86_RBX}, {X86_RBP, X86_RBX}};
	unsigned k = c->mode32 ? rnd_below(2) : rnd_below(3), h = rnd_below(8);

	q->base[0] = low[k][0];
	q->index[0] = low[k][1];
	if (c->mode32) {
		q->counter = X86_RBP;
		q->index[0] = q->base[0] == X86_RBX ? X86_RDX : X86_RBX;
		q->base[1] = q->base[0];
		q->index[1] = q->index[0];
	} else {
		q->base[1] = (uint8_t)(8 + h);
		q->index[1] = (uint8_t)(8 + (h + 1 + rnd_below(3)) % 8);
		q->counter = (uint8_t)(8 + (h + 4 + rnd_below(4)) % 8);
	}
	for (unsigned j = 0; j < 2; j++) {
		c->in.gpr[q->base[j]] = (DATA_VA + PAGE / 2 + rnd_below(2 * PAGE)) & ~(chance(70) ? 15ull : 0);
		c->in.gpr[q->index[j]] = chance(80) ? rnd_below(256) : (uint64_t)-(int64_t)rnd_below(256);
		q->kept |= (uint16_t)(1u << q->base[j] | 1u << q->index[j]);
	}
	c->in.gpr[q->counter] = 1 + rnd_below(6);
	q->kept |= (uint16_t)(1u << q->counter);
	/* as string instructions want them */
	c->in.gpr[X86_RSI] = target(8);
	c->in.gpr[X86_RDI] = chance(15) ? c->in.gpr[X86_RSI] + rnd_below(16) : target(8);
	if (chance(80))
		c->in.gpr[X86_RCX] = rnd_below(chance(85) ? 20 : 400);
}

static bool seq_make(struct oracle_case *c, const struct oracle_opts *o)
{
	struct seq q = {.loop = -1};
	unsigned want = 2 + rnd_below(11);

	seq_registers(c, &q);
	while (c->ninsns < want) {
		unsigned k = rnd_below(100);
		int ahead = (int)c->ninsns + 2 + (int)rnd_below(3);

		if (q.loop >= 0 && c->ninsns >= (unsigned)q.loop + q.loop_len) {
			if (!seq_loop_end(c, &q))
				return false;
		} else if (k < 10) {
			if (!seq_branch(c, &q, ahead))
				return false;
		} else if (k < 16 && !q.looped) {
			q.loop = (int)c->ninsns;
			q.loop_len = 1 + rnd_below(5);
			q.looped = true;
		} else if (k < 19) {
			if (!seq_call(c, &q, o))
				return false;
		} else if (k < 22) {
			if (!c->mode32 && !seq_indirect(c, &q, ahead))
				return false;
		} else {
			(void)seq_insn(c, &q, o);
		}
	}
	if (q.loop >= 0 && !seq_loop_end(c, &q))
		return false;
	return seq_resolve(c, &q) && case_flow(c);
}

void case_make(struct oracle_case *c, uint64_t seed, uint64_t n, const struct oracle_opts *o)
{
	unsigned want;

	/* the generator's state is a counter: neighbours must start far apart */
	rnd_seed(seed * 0x100000001b3u + n);
	rnd_seed(rnd());
	memset(c, 0, sizeof *c);
	c->mode32 = o->mode32 && chance(20);
	c->in.seg[X86_CS].sel = c->mode32 ? 0x23 : 0x33;
	rnd_fpu(&c->in.fpu, o->avx);
	for (unsigned i = 0; i < 16; i++) {
		unsigned k = rnd_below(4);

		c->in.gpr[i] = rnd();
		if (k == 1)
			c->in.gpr[i] = (uint64_t)((int64_t)c->in.gpr[i] >> rnd_below(64));
		else if (k == 2)
			c->in.gpr[i] >>= rnd_below(64);
		else if (k == 3 && !o->wild)
			c->in.gpr[i] = rnd_below(512);
	}
	c->in.rflags = X86_FLAG1 | X86_IF | (rnd() & X86_ARITH) | (chance(15) ? X86_DF : 0) |
		(chance(2) ? X86_AC : 0) | (chance(2) ? X86_TF : 0);
	stack_aim(c);
	c->pool_off = rnd_below((POOL_SIZE - DATA_PAGES * PAGE) / 16) * 16;
	/* sometimes across the page boundary, seldom at the end of what can be fetched */
	c->in.rip = CODE_VA + 256 + rnd_below(2 * PAGE - 256 - CASE_CODE);
	if (chance(6))
		c->in.rip = CODE_VA + PAGE - 1 - rnd_below(15);
	else if (chance(1))
		c->in.rip = CODE_VA + CODE_PAGES * PAGE - 1 - rnd_below(8);

	if (chance(o->sequences)) {
		struct oracle_case begun = *c;

		while (!seq_make(c, o))
			*c = begun;
	} else {
		want = chance(75) ? 1 : 2 + rnd_below(3);
		while (c->ninsns < want) {
			while (!insn_make(c, o))
				;
			c->to[c->ninsns - 1] = -1;
			if (is_branch(&c->insn[c->ninsns - 1]))
				break;
		}
		case_flow(c);
	}
	if (c->mode32)
		for (unsigned r = 0; r < 16; r++)
			c->in.gpr[r] = r < 8 ? (uint32_t)c->in.gpr[r] : 0;
	c->code[c->len++] = 0xcc;
}
