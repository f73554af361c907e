/* SPDX-License-Identifier: MIT */
/*
 * The watchers of the translator see what is wrong: code with a defect put into it does not pass the verifier, and
 * the check engine stops when a translation does something else than interp.
 *
 * What the translator itself makes of the same guest code passes both.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "engine/bt/bt-int.h"

enum { RAM = 16 << 20, CODE = 0x1000, DATA = 0x200000, PML4 = 0x10000, PDPT = 0x11000, MAX = 4096 };

static uint64_t dev_read(void *m, unsigned cpu, bool io, uint64_t addr, unsigned len)
{
	(void)m, (void)cpu, (void)io, (void)addr, (void)len;
	return 0;
}

static void dev_write(void *m, unsigned cpu, bool io, uint64_t addr, uint64_t v, unsigned len)
{
	(void)m, (void)cpu, (void)io, (void)addr, (void)v, (void)len;
}

static int intack(void *m, unsigned cpu)
{
	(void)m, (void)cpu;
	return -1;
}

static const struct cpu_host host = {.read = dev_read, .write = dev_write, .intack = intack};

static struct mem mem;
static struct x86_cpuid cpuid;
static struct engine_vm *vm;
static struct engine_cpu *cpu;
static uint8_t *ram;

static int machine_new(const struct cpu_engine *e)
{
	struct err err;

	if (mem_init(&mem, RAM, &err) || x86_cpuid_init(&cpuid, NULL, 1, x86_host_tsc_khz(), &err) ||
		e->vm_new(&vm, &mem, &cpuid, &host, &err)) {
		printf("%s\n", err.text);
		return -1;
	}
	assert(!e->cpu_new(&cpu, vm, 0, &err));
	ram = mem_at(&mem, 0, RAM);
	return 0;
}

static void machine_free(const struct cpu_engine *e)
{
	e->cpu_free(cpu);
	e->vm_free(vm);
	mem_fini(&mem);
}

/* ---- verifier ---- */

/* Loads, stores, a stack frame, a loop, division, string, bit string, SSE, indirect call, CLI, PUSHF */
static const uint8_t guest[] = {
	0x48, 0x8b, 0x07, 0x48, 0x89, 0x47, 0x08, 0x4c, 0x8b, 0x4f, 0x10, 0x4c, 0x89, 0x4c, 0x24, 0xf0,
	0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x20, 0x89, 0x45, 0xfc, 0x8b, 0x04, 0x8e, 0x31, 0xd2,
	0xf7, 0xf1, 0xf3, 0x48, 0xa5, 0x48, 0x0f, 0xab, 0x0f, 0x0f, 0x28, 0x06, 0x0f, 0x29, 0x07, 0xf0,
	0x48, 0x0f, 0xc1, 0x07, 0xfa, 0x9c, 0x48, 0x85, 0xc0, 0x74, 0xd0, 0xff, 0xd0,
};

static const uint8_t *from, *to;
static struct bt_verify_range range;
static size_t entry;

static bool passes(const uint8_t *code, size_t n, const char **why)
{
	struct bt_violation bad;
	bool ok;

	memcpy(bt_vm(vm)->rw + (from - bt_vm(vm)->rw), code, n);
	ok = bt_verify(bt_vm(vm), from, to, MMU_KERNEL, &range, &bad);
	*why = ok ? "passes" : bad.why;
	return ok;
}

/* Each place where the bytes are found is changed alone; at least one must be there, none may pass. */
static unsigned defect(const uint8_t *good, size_t n, const char *what, const uint8_t *old, const uint8_t *new, size_t len)
{
	uint8_t code[MAX];
	unsigned found = 0;
	const char *why;

	for (size_t at = entry; at + len <= n; at++) {
		if (memcmp(good + at, old, len))
			continue;
		memcpy(code, good, n);
		memcpy(code + at, new, len);
		found++;
		if (passes(code, n, &why)) {
			printf("%s at +%zx has not been seen\n", what, at);
			exit(1);
		}
	}
	if (!found)
		printf("%s: nowhere to put it\n", what);
	assert(found);
	return found;
}

static void put32(uint8_t *p, size_t v)
{
	put_u32(p, (uint32_t)v);
}

static void verifier(void)
{
	const size_t tlb = offsetof(struct bt_cpu, cpu.tlb) + MMU_KERNEL * sizeof(struct tlb);
	static const uint8_t nop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
	static const struct {
		const char *name;
		uint8_t bytes[5];
	} insns[] = {
		{"SYSCALL", {0x0f, 0x05, 0x90, 0x90, 0x90}}, {"HLT", {0xf4, 0x90, 0x90, 0x90, 0x90}},
		{"INT3", {0xcc, 0x90, 0x90, 0x90, 0x90}}, {"INT", {0xcd, 0x80, 0x90, 0x90, 0x90}},
		{"OUT", {0xee, 0x90, 0x90, 0x90, 0x90}}, {"WRGSBASE", {0xf3, 0x48, 0x0f, 0xae, 0xd8}},
		{"WRFSBASE", {0xf3, 0x48, 0x0f, 0xae, 0xd0}}, {"PUSH", {0x50, 0x90, 0x90, 0x90, 0x90}},
		{"RET", {0xc3, 0x90, 0x90, 0x90, 0x90}}, {"CALL", {0xe8, 0, 0, 0, 0}}, {"IRET", {0x48, 0xcf, 0x90, 0x90, 0x90}},
		{"STD", {0xfd, 0x90, 0x90, 0x90, 0x90}}, {"a load", {0x48, 0x8b, 0x07, 0x90, 0x90}},
		{"a store", {0x48, 0x89, 0x07, 0x90, 0x90}}, {"REP STOSB", {0xf3, 0xaa, 0x90, 0x90, 0x90}},
		{"MOV from FS", {0x64, 0x48, 0x8b, 0x07, 0x90}}, {"JMP rax", {0xff, 0xe0, 0x90, 0x90, 0x90}},
		{"LDMXCSR", {0x0f, 0xae, 0x17, 0x90, 0x90}}, {"DIV", {0x48, 0xf7, 0xf1, 0x90, 0x90}},
		{"MOV ss", {0x8e, 0xd0, 0x90, 0x90, 0x90}}, {"XRSTOR", {0x0f, 0xae, 0x2f, 0x90, 0x90}},
		{"a jump away", {0xe9, 0, 0, 0x10, 0}}, {"half of an instruction", {0x90, 0x90, 0x90, 0x90, 0x49}},
	};
	static const uint8_t jne[2] = {0x0f, 0x85}, je[2] = {0x0f, 0x84};
	uint8_t good[MAX], old[16], new[16];
	struct bt_cpu *b = bt_cpu(cpu);
	struct bt_vm *v = bt_vm(vm);
	unsigned seen = 0, tried = 0;
	struct bt_block *blk;
	const char *why;
	size_t n;

	memcpy(ram + CODE, guest, sizeof guest);
	v->verify = true;
	range = (struct bt_verify_range){.sites = v->nsites, .links = v->nlinks, .calls = v->ncalls};
	blk = bt_translate(b, CODE, CODE, 0, MMU_KERNEL | BT_KEY_VEC, sizeof guest);
	assert(blk && v->nverified == 1 && !v->nviolations);
	range.entry = blk->entry;
	from = v->rw + (blk->code - v->rx);
	to = v->rw + v->used;
	n = (size_t)(to - from);
	assert(n < sizeof good);
	entry = (size_t)(blk->entry - from);
	memcpy(good, from, n);
	assert(passes(good, n, &why));

	/* a check that is not one: what is behind the JNE would run in any case, or when it must not */
	for (size_t at = 0; at + 6 <= n; at++) {
		uint8_t code[MAX];

		/* JNE directly behind CMP r9, gs:[r10 * 8 + tag of the TLB] */
		if (memcmp(good + at, jne, 2) || at < 9 || good[at - 9] != 0x65 || good[at - 8] != 0x4e ||
			good[at - 7] != 0x3b || get_u32(good + at - 4) - tlb >= sizeof(struct tlb))
			continue;
		memcpy(code, good, n);
		memcpy(code + at, je, 2);
		assert(!passes(code, n, &why));
		memcpy(code, good, n);
		memcpy(code + at, (const uint8_t[]){0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00}, 6);
		assert(!passes(code, n, &why));
		/* the tag of another mode, of reading where it is written, the prefix lost */
		memcpy(code, good, n);
		put32(code + at - 4, get_u32(good + at - 4) + sizeof(struct tlb));
		assert(!passes(code, n, &why));
		memcpy(code, good, n);
		code[at - 9] = 0x90;
		assert(!passes(code, n, &why));
		seen++;
	}
	assert(seen >= 5);
	memcpy(old, (const uint8_t[]){0x65, 0x4e, 0x3b, 0x0c, 0xd5}, 5);
	memcpy(new, old, 5);
	put32(old + 5, tlb + offsetof(struct tlb, wtag));
	put32(new + 5, tlb + offsetof(struct tlb, rtag));
	defect(good, n, "a read's tag for a write", old, new, 9);
	memcpy(old, (const uint8_t[]){0x65, 0x4e, 0x8b, 0x14, 0xd5}, 5);
	memcpy(new, old, 5);
	put32(old + 5, tlb + offsetof(struct tlb, addend));
	put32(new + 5, tlb + sizeof(struct tlb) + offsetof(struct tlb, addend));
	defect(good, n, "the addend of another mode", old, new, 9);
	defect(good, n, "an index that is not bounded", (const uint8_t[]){0x45, 0x0f, 0xb6, 0xd2},
		(const uint8_t[]){0x45, 0x89, 0xd2, 0x90}, 4);
	defect(good, n, "half of the page number", (const uint8_t[]){0x49, 0xc1, 0xe9, 0x0c},
		(const uint8_t[]){0x49, 0xc1, 0xe9, 0x0d}, 4);
	for (size_t k = 0; k < ARRAY_LEN(insns); k++)
		defect(good, n, insns[k].name, nop5, insns[k].bytes, 5);

	/* no change of a bit makes it crash; many are seen, some are harmless */
	srand(1);
	for (unsigned k = 0; k < 4000; k++) {
		uint8_t code[MAX];

		memcpy(code, good, n);
		code[(size_t)rand() % n] ^= (uint8_t)(1u << (rand() & 7));
		tried += !passes(code, n, &why);
	}
	printf("verifier: %u checks broken and seen; of 4000 changed bits %u\n", seen, tried);
	assert(tried > 1000);
	assert(passes(good, n, &why));
}

/* ---- check ---- */

static enum cpu_stop run(const struct cpu_engine *e)
{
	static const struct x86_seg code = {.limit = ~0u, .sel = 8, .attr = 0xa09b},
		data = {.limit = ~0u, .sel = 16, .attr = 0xc093};
	struct x86_state s;
	struct err err;

	e->get(cpu, &s);
	for (unsigned k = 0; k < X86_NSEG; k++)
		s.seg[k] = k == X86_CS ? code : data;
	s.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP;
	s.cr3 = PML4;
	s.cr4 = X86_CR4_PAE;
	s.efer = X86_EFER_LME | X86_EFER_LMA;
	s.rflags = X86_FLAG1;
	s.rip = CODE;
	s.gpr[X86_RDI] = DATA;
	s.gpr[X86_RBX] = 5;
	s.mp = X86_MP_RUN;
	assert(!e->set(cpu, &s, &err));
	return e->run(cpu);
}

/* The block at CODE: the bytes old in its translation become new. */
static void spoil(const char *old, const char *new, size_t len)
{
	struct bt_vm *v = bt_vm(vm);
	const struct bt_block *blk = &v->blocks[1];
	uint8_t *p;

	while (blk->va != CODE && blk < &v->blocks[v->nblocks])
		blk++;
	assert(blk->va == CODE);
	p = memmem(v->rw + (blk->code - v->rx), MAX, old, len);
	assert(p);
	memcpy(p, new, len);
}

static void lockstep(void)
{
	/* mov eax, 3; add rbx, rax; mov [rdi], rbx; hlt */
	static const uint8_t code[] = {0xb8, 3, 0, 0, 0, 0x48, 0x01, 0xc3, 0x48, 0x89, 0x1f, 0xf4};
	static const struct {
		const char *what, *old, *new;
		size_t len;
	} defects[] = {
		{"registers", "\x48\x01\xc3", "\x48\x29\xc3", 3},             /* sub rbx, rax */
		{"memory", "\x4a\x89\x1c\x17", "\x4a\x89\x04\x17", 4},        /* mov [rdi + r10], rax */
	};
	const struct cpu_engine *e = &engine_check;

	for (size_t k = 0; k < ARRAY_LEN(defects); k++) {
		assert(!machine_new(e));
		put_u64(ram + PML4, PDPT | 7);
		put_u64(ram + PDPT, 0x80 | 7);
		memcpy(ram + CODE, code, sizeof code);
		assert(run(e) == CPU_HALTED && run(e) == CPU_HALTED);
		assert(get_u64(ram + DATA) == 8);
		spoil(defects[k].old, defects[k].new, defects[k].len);
		assert(run(e) == CPU_FAILED);
		printf("check: %s\n", e->error(cpu));
		assert(strstr(e->error(cpu), defects[k].what));
		machine_free(e);
	}
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (machine_new(&engine_bt))
		return 77;
	verifier();
	machine_free(&engine_bt);
	lockstep();
	return 0;
}
