/* SPDX-License-Identifier: MIT */
/*
 * The framebuffer: what a guest writes to it is found, page by page, by every engine; a copy that follows dirty() ends up
 * equal whatever the guest does meanwhile; the screen's thread brings it all to the scanout, and rests when nothing is written.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "display/scanout.h"
#include "engine/engine.h"
#include "vm/screen.h"

enum { RAM = 4 << 20, CODE = 0x1000, BOX = 0x5000, BOXES = 64, PML4 = 0x10000, PDPT = 0x11000, CPUS = 2, W = 640, H = 480 };

/*
 * Each CPU has a mailbox at RBX: a count, an address, a value. When the count changes, the value goes to the address, and the
 * count to the fourth word. With address 1 it writes its own numbers all over the first RCX * 8 bytes at RSI until the count
 * changes again.
 */
static const uint8_t guest[] = {
	0x48, 0x8b, 0x03,             /* wait: mov rax, [rbx] */
	0x48, 0x39, 0xd0,             /*       cmp rax, rdx */
	0x74, 0xf8,                   /*       je wait */
	0x48, 0x89, 0xc2,             /*       mov rdx, rax */
	0x48, 0x8b, 0x7b, 0x08,       /*       mov rdi, [rbx + 8] */
	0x48, 0x83, 0xff, 0x01,       /*       cmp rdi, 1 */
	0x74, 0x0d,                   /*       je wild */
	0x48, 0x8b, 0x6b, 0x10,       /*       mov rbp, [rbx + 16] */
	0x48, 0x89, 0x2f,             /*       mov [rdi], rbp */
	0x48, 0x89, 0x53, 0x18,       /* told: mov [rbx + 24], rdx */
	0xeb, 0xde,                   /*       jmp wait */
	0x4d, 0x69, 0xc0, 0x0d, 0x66, 0x19, 0x00, /* wild: imul r8, r8, 1664525 */
	0x49, 0x81, 0xc0, 0x5f, 0xf3, 0x6e, 0x3c, /*       add r8, 1013904223 */
	0x4c, 0x89, 0xc5,             /*       mov rbp, r8 */
	0x48, 0xc1, 0xed, 0x08,       /*       shr rbp, 8 */
	0x48, 0x21, 0xcd,             /*       and rbp, rcx */
	0x4c, 0x89, 0x04, 0xee,       /*       mov [rsi + rbp * 8], r8 */
	0x48, 0x3b, 0x13,             /*       cmp rdx, [rbx] */
	0x74, 0xdf,                   /*       je wild */
	0xeb, 0xd7,                   /*       jmp told */
};

static struct mem mem;
static struct x86_cpuid cpuid;
static struct engine_vm *vm;
static struct engine_cpu *cpu[CPUS];
static const struct cpu_engine *eng;
static pthread_t thread[CPUS];
static _Atomic bool ending;
static _Atomic unsigned touches;
static struct screen *_Atomic screen;
static uint64_t *box[CPUS];

static uint64_t dev_read(void *m, unsigned c, bool io, uint64_t addr, unsigned len)
{
	(void)m, (void)c, (void)io, (void)addr, (void)len;
	return 0;
}

static void dev_write(void *m, unsigned c, bool io, uint64_t addr, uint64_t v, unsigned len)
{
	(void)m, (void)c, (void)io, (void)addr, (void)v, (void)len;
}

static int intack(void *m, unsigned c)
{
	(void)m, (void)c;
	return -1;
}

static void touched(void *m)
{
	struct screen *s = atomic_load(&screen);

	(void)m;
	atomic_fetch_add(&touches, 1);
	if (s)
		screen_touched(s);
}

static const struct cpu_host host = {.read = dev_read, .write = dev_write, .intack = intack, .touched = touched};

static void *run(void *arg)
{
	while (!atomic_load(&ending))
		if (eng->run(arg) == CPU_FAILED) {
			printf("%s\n", eng->error(arg));
			abort();
		}
	return NULL;
}

static void segment(struct x86_seg *s, uint16_t sel, uint16_t attr)
{
	*s = (struct x86_seg){.sel = sel, .attr = attr, .limit = UINT32_MAX};
}

static void machine_new(unsigned ncpus)
{
	uint8_t *ram;
	struct err e;

	assert(!mem_init_framebuffer(&mem, RAM, SCREEN_BASE, SCREEN_SIZE, &e));
	assert(mem_size(&mem) == RAM && mem.watch_npages == SCREEN_SIZE / MEM_PAGE);
	assert(!x86_cpuid_init(&cpuid, NULL, ncpus, x86_host_tsc_khz(), &e));
	assert(!eng->vm_new(&vm, &mem, &cpuid, &host, &e));
	ram = mem_at(&mem, 0, RAM);
	memcpy(ram + CODE, guest, sizeof guest);
	put_u64(ram + PML4, PDPT | 7);
	for (unsigned i = 0; i < 4; i++)
		put_u64(ram + PDPT + 8 * i, i * GIB | 0x80 | 7);
	atomic_store(&ending, false);
	for (unsigned i = 0; i < ncpus; i++) {
		struct x86_state s;

		assert(!eng->cpu_new(&cpu[i], vm, i, &e));
		x86_reset(&s, i);
		s.cr0 = 0x80000033;
		s.cr3 = PML4;
		s.cr4 = 0x20;
		s.efer = 0x500;
		segment(&s.seg[X86_CS], 8, 0xa09b);
		for (unsigned k = 0; k < 6; k++)
			if (k != X86_CS)
				segment(&s.seg[k], 16, 0xc093);
		s.rip = CODE;
		s.rflags = 2;
		s.mp = X86_MP_RUN;
		s.gpr[X86_RBX] = BOX + i * BOXES;
		s.gpr[X86_RDX] = 0;
		s.gpr[X86_RSI] = SCREEN_BASE;
		s.gpr[X86_RCX] = 1024 * 256 - 1; /* 2 MiB */
		s.gpr[8] = i * 77 + 1;
		assert(!eng->set(cpu[i], &s, &e));
		box[i] = (uint64_t *)(void *)(ram + BOX + i * BOXES);
		assert(!pthread_create(&thread[i], NULL, run, cpu[i]));
	}
}

static void machine_free(unsigned ncpus)
{
	atomic_store(&ending, true);
	for (unsigned i = 0; i < ncpus; i++) {
		eng->kick(cpu[i]);
		pthread_join(thread[i], NULL);
		eng->cpu_free(cpu[i]);
	}
	eng->vm_free(vm);
	mem_fini(&mem);
}

static void tell(unsigned c, uint64_t addr, uint64_t value, bool wait)
{
	uint64_t count = __atomic_load_n(&box[c][0], __ATOMIC_SEQ_CST) + 1;

	box[c][1] = addr;
	box[c][2] = value;
	__atomic_store_n(&box[c][0], count, __ATOMIC_SEQ_CST);
	while (wait && __atomic_load_n(&box[c][3], __ATOMIC_SEQ_CST) != count)
		usleep(10);
}

static unsigned dirty(uint64_t *map)
{
	unsigned n = 0;
	int rc;

	memset(map, 0, MEM_FRAMEBUFFER_PAGES / 8);
	do
		rc = eng->dirty(vm, map);
	while (rc == -EAGAIN);
	assert(!rc);
	for (unsigned i = 0; i < MEM_FRAMEBUFFER_PAGES / 64; i++)
		n += (unsigned)__builtin_popcountll(map[i]);
	return n;
}

static void pages(void)
{
	static uint64_t map[MEM_FRAMEBUFFER_PAGES / 64];
	uint32_t seed = 5;

	machine_new(CPUS);
	dirty(map);
	for (unsigned i = 0; i < 60; i++) {
		unsigned page, before = atomic_load(&touches);

		seed = seed * 1664525 + 1013904223;
		page = seed >> 20;
		tell(i % CPUS, SCREEN_BASE + (uint64_t)page * MEM_PAGE + 8 * (seed & 255), i, true);
		assert(!eng->tells_writes || atomic_load(&touches) > before);
		assert(dirty(map) == 1 && map[page / 64] >> page % 64 & 1);
		/* twice the same page: once when it was clean, and not noticed again until it is clean again */
		tell(0, SCREEN_BASE + (uint64_t)page * MEM_PAGE, i, true);
		before = atomic_load(&touches);
		tell(0, SCREEN_BASE + (uint64_t)page * MEM_PAGE + 4000, i, true);
		assert(atomic_load(&touches) == before);
		assert(dirty(map) == 1 && !dirty(map));
	}
	/* RAM is nobody's business here */
	tell(0, 0x8000, 1, true);
	assert(!dirty(map));
	machine_free(CPUS);
}

static void wild(void)
{
	static uint64_t map[MEM_FRAMEBUFFER_PAGES / 64];
	uint8_t *copy = calloc(1, SCREEN_SIZE), *fb;
	unsigned looks = 0, all = 0;

	machine_new(CPUS);
	fb = mem_at(&mem, SCREEN_BASE, SCREEN_SIZE);
	for (unsigned i = 0; i < CPUS; i++)
		tell(i, 1, 0, false);
	for (unsigned k = 0; k < 60; k++) {
		unsigned n;

		if (k == 50)
			for (unsigned i = 0; i < CPUS; i++)
				tell(i, SCREEN_BASE, 3, true);
		n = dirty(map);
		looks += n > 0;
		all += n;
		for (unsigned p = 0; p < MEM_FRAMEBUFFER_PAGES; p++)
			if (map[p / 64] >> p % 64 & 1)
				memcpy(copy + p * MEM_PAGE, fb + p * MEM_PAGE, MEM_PAGE);
		if (k == 50) {
			/* nobody writes any more: what was found so far is all */
			assert(!memcmp(copy, fb, SCREEN_SIZE));
			break;
		}
		usleep(500);
	}
	assert(looks > 5 && all > 500);
	machine_free(CPUS);
	free(copy);
}

static uint64_t stat_of(const char *name)
{
	char text[512];
	const char *at;

	text[screen_stats(screen, text, sizeof text)] = 0;
	at = strstr(text, name);
	assert(at);
	return strtoull(at + strlen(name), NULL, 10);
}

/* To the scanout: the right pixels, damage that covers them, and rest afterwards. */
static void thread_works(void)
{
	struct screen_config c = {.w = W, .h = H};
	struct scanout_view *view;
	struct surface s;
	struct rect r[8];
	struct screen *sc;
	struct err e;
	uint32_t generation;
	uint8_t info[64];
	uint64_t looks;

	c.scanout_fd = scanout_create("test", &e);
	c.event_fd = eventfd(0, EFD_NONBLOCK);
	machine_new(1);
	assert(!screen_new(&sc, &c, &mem, &e));
	atomic_store(&screen, sc);
	assert(!scanout_view_open(&view, scanout_reader(c.scanout_fd, &e), &e));
	assert(scanout_view_mode(view, &s, &generation) && s.w == W && s.h == H);
	scanout_view_damage(view, r, 8);
	assert(!screen_run(sc, eng, vm, &e));
	screen_info(sc, info);
	assert(info[0x0f] == 0x70 && get_u16(info + 0x12) == W && get_u16(info + 0x14) == H && get_u32(info + 0x18) == SCREEN_BASE);
	for (unsigned i = 0; i < 20; i++) {
		const uint32_t x = i * 31 % (W - 1), y = i * 23 % H;
		const uint64_t px = 0x00123456ull << 32 | (0x00abc000 + i);
		bool covered = false;

		tell(0, SCREEN_BASE + (uint64_t)y * W * 4 + x * 4, px, true);
		for (unsigned k = 0; k < 400 && !covered; k++) {
			unsigned n;

			scanout_view_wait(view, 10);
			n = scanout_view_damage(view, r, 8);
			for (unsigned j = 0; j < n; j++)
				covered |= x >= r[j].x && x + 2 <= r[j].x + r[j].w && y >= r[j].y && y < r[j].y + r[j].h;
		}
		assert(covered && *surface_row(&s, x, y) == (uint32_t)px && *surface_row(&s, x + 1, y) == 0x123456);
	}
	/* behind the picture: looked at, and nothing comes of it */
	tell(0, SCREEN_BASE + SCREEN_SIZE - 8, 1, true);
	usleep(300000);
	assert(!scanout_view_damage(view, r, 8));
	looks = stat_of("screen.looks ");
	usleep(100000);
	assert(!eng->tells_writes || stat_of("screen.looks ") == looks);
	atomic_store(&screen, NULL);
	screen_free(sc);
	scanout_view_close(view);
	machine_free(1);
	close(c.scanout_fd);
	close(c.event_fd);
}

static void sizes(void)
{
	static const uint32_t bad[][2] = {{0, 0}, {63, 64}, {64, 63}, {4097, 64}, {4104, 64}, {1281, 800}, {4096, 1032}, {UINT32_MAX, 64},
		{64, UINT32_MAX}, {1u << 31, 1u << 31}};
	struct screen_config c = {.scanout_fd = -1, .event_fd = -1};
	struct screen *s;
	struct err e;

	assert(!mem_init_framebuffer(&mem, RAM, SCREEN_BASE, SCREEN_SIZE, &e));
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		c.w = bad[i][0];
		c.h = bad[i][1];
		assert(screen_new(&s, &c, &mem, &e) == -EINVAL && strstr(e.text, "not possible"));
	}
	mem_fini(&mem);
	assert(mem_init_framebuffer(&mem, RAM, SCREEN_BASE, 17 * MIB, &e) == -EINVAL);
}

int main(void)
{
	char why[256];

	log_init("screen", LOG_WARN);
	sizes();
	for (const struct cpu_engine *const *e = engine_list(); *e; e++) {
		eng = *e;
		if (!eng->dirty || eng == &engine_check || engine_probe(eng, why, sizeof why)) {
			printf("%s: skipped\n", eng->name);
			continue;
		}
		pages();
		wild();
		thread_works();
		printf("%s: ok\n", eng->name);
	}
	return 0;
}
