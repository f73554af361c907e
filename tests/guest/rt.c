/* SPDX-License-Identifier: MIT */
/* Runtime of the guest tests; see rt.h. Both 64-bit and 32-bit images link it. */
#include "rt.h"

/* ---- memory functions the compiler may call */
void *memset(void *d, int c, size_t n)
{
	void *p = d;

	__asm__ volatile("rep stosb" : "+D"(p), "+c"(n) : "a"(c) : "memory");
	return d;
}

void *memcpy(void *d, const void *s, size_t n)
{
	void *p = d;

	__asm__ volatile("rep movsb" : "+D"(p), "+S"(s), "+c"(n) :: "memory");
	return d;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (uint8_t)*a - (uint8_t)*b;
}

/* ---- text: port 0xe9 if it says by its number that it is there, else the first serial port, else blindly */
static volatile uint32_t out_lock;
static bool have_uart;

static void put(char c)
{
	if (!have_uart) {
		outb(0xe9, (uint8_t)c);
		return;
	}
	for (int i = 0; i < 100000 && !(inb(0x3fd) & 0x20); i++)
		;
	outb(0x3f8, (uint8_t)c);
}

static void put_number(uint64_t v, unsigned base, bool neg, int width, char pad)
{
	char b[24];
	int n = 0;

	do {
		/* no 64-bit division in 32-bit images: long division by a small base, bit by bit */
		uint64_t q = 0, r = 0;

		for (int i = 63; i >= 0; i--) {
			r = r << 1 | (v >> i & 1);
			q <<= 1;
			if (r >= base)
				r -= base, q |= 1;
		}
		b[n++] = "0123456789abcdef"[r];
		v = q;
	} while (v);
	if (neg)
		b[n++] = '-';
	for (; width > n; width--)
		put(pad);
	while (n)
		put(b[--n]);
}

static void vsay(const char *f, va_list ap)
{
	for (; *f; f++) {
		int width = 0, longs = 0;
		char pad = ' ';

		if (*f != '%') {
			put(*f);
			continue;
		}
		f++;
		if (*f == '0')
			pad = '0', f++;
		while (*f >= '0' && *f <= '9')
			width = width * 10 + *f++ - '0';
		while (*f == 'l' || *f == 'z')
			longs++, f++;
		if (*f == 's') {
			for (const char *s = va_arg(ap, const char *); *s; s++)
				put(*s);
		} else if (*f == 'c') {
			put((char)va_arg(ap, int));
		} else if (*f == 'p') {
			put_number((ulong)va_arg(ap, void *), 16, false, width, pad);
		} else if (*f == 'd') {
			int64_t v = longs > 1 ? va_arg(ap, long long) : longs ? va_arg(ap, long) : va_arg(ap, int);

			put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, v < 0, width, pad);
		} else if (*f == 'u' || *f == 'x') {
			uint64_t v = longs > 1 ? va_arg(ap, unsigned long long) :
				longs ? va_arg(ap, ulong) : va_arg(ap, unsigned);

			put_number(v, *f == 'x' ? 16 : 10, false, width, pad);
		} else {
			put(*f);
		}
	}
}

static void lock_out(void)
{
	while (__atomic_exchange_n(&out_lock, 1, __ATOMIC_ACQUIRE))
		pause_();
}

static void unlock_out(void)
{
	__atomic_store_n(&out_lock, 0, __ATOMIC_RELEASE);
}

/* say() for who holds the lock */
static void __attribute__((format(printf, 1, 2))) say_(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
}

void say(const char *fmt, ...)
{
	va_list ap;

	lock_out();
	va_start(ap, fmt);
	vsay(fmt, ap);
	va_end(ap);
	unlock_out();
}

/* ---- checks */
static const char *section_name = "start";
static const char *last_known, *quirk_text, *section_quirk;
static unsigned nchecks, nfail, nskip, nknown, nsection_fail;
bool rt_tcg;

void section(const char *name)
{
	section_name = name;
	nsection_fail = 0;
	last_known = quirk_text = section_quirk = NULL;
}

void quirk(const char *why)
{
	quirk_text = why;
}

void quirks(const char *why)
{
	section_quirk = why;
}

void skip(const char *why)
{
	nskip++;
	say("SKIP %s: %s\n", section_name, why);
}

void check_(bool ok, const char *cond, int line, const char *fmt, ...)
{
	const char *known = !rt_tcg ? NULL : quirk_text ? quirk_text : section_quirk;
	va_list ap;

	quirk_text = NULL;
	__atomic_add_fetch(&nchecks, 1, __ATOMIC_RELAXED);
	if (ok)
		return;
	lock_out();
	if (known) {
		nknown++;
	} else {
		nfail++;
		nsection_fail++;
	}
	/* a loop of a thousand combinations need not print them all */
	if (known ? known != last_known : nsection_fail <= 20) {
		last_known = known;
		say_("%s %s: ", known ? "KNOWN" : "FAIL", section_name);
		va_start(ap, fmt);
		vsay(fmt, ap);
		va_end(ap);
		say_(" [%s, line %d]\n", known ? known : cond, line);
	}
	unlock_out();
}

void leave(uint32_t code)
{
	outl(0xf4, code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void finish(void)
{
	say("%s: %u checks, %u failed, %u known, %u skipped\n", nfail ? "FAILED" : "PASSED", nchecks,
		nfail, nknown, nskip);
	leave(nfail != 0);
}

static const char *vec_name(long v)
{
	static const char *const n[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",
		"#TS", "#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC", "#XM"};

	return v == NOTRAP ? "nothing" : v >= 0 && v < 20 ? n[v] : v == USER_RET ? "normal return" : "vector";
}

void want_(struct trap *t, long vec, ulong err, const void *ip, const char *what, int line)
{
	bool has_err = vec == DF || (vec >= TS && vec <= PF) || vec == AC;

	check_(t->vec == vec && (!has_err || t->err == err) && (!ip || t->ip == (ulong)ip), what, line,
		"want %s(%lx) at %lx, got %s %ld(%lx) at %lx cr2 %lx", vec_name(vec), has_err ? err : 0,
		(ulong)ip, vec_name(t->vec), t->vec, t->err, t->ip, t->cr2);
}

/* ---- CPUs, descriptor tables */
struct cpu {
	struct trap trap;
	ulong catch_sp; /* 0: nothing catches */
	void (*fn)(ulong arg);
	ulong arg;
	volatile uint32_t busy;
};
static struct cpu cpus[RT_NCPU];
static uint32_t ncpus_running = 1;
volatile uint32_t rt_apic_id[RT_NCPU];
hook_fn rt_hook[256];
ulong rt_ist_top[4];
char rt_user_stack[16384] USER_DATA __attribute__((aligned(4096)));

struct gate {
	uint16_t off0, sel, attr, off1;
#ifdef __x86_64__
	uint32_t off2, zero;
#endif
};
static struct gate idt[256] __attribute__((aligned(4096)));
static uint8_t tss[RT_NCPU][RT_TSS_ROOM + 7] __attribute__((aligned(16)));
static uint8_t trap_stack[RT_NCPU][8192] __attribute__((aligned(16)));
#ifdef __x86_64__
static uint8_t ist_stack[RT_NCPU][3][4096] __attribute__((aligned(16)));
#endif

extern uint32_t rt_mbi;
extern char image_end[], rt_stacks[];
extern const char rt_gdtr[];
int rt_catch(ulong *sp, const void *fn, ulong a, ulong b, ulong c);
void rt_uncatch(ulong sp) __attribute__((noreturn));
void rt_enter(const void *ip, ulong a, ulong b, const struct enter *e);
void rt_trap(struct frame *f);
void rt_start(void);
void rt_ap_start(unsigned n);

/* The task register tells CPUs apart, whatever a test does to GS. */
unsigned rt_cpu(void)
{
	uint16_t tr;

	__asm__ volatile("str %0" : "=m"(tr));
	return tr >= SEL_TSS && tr < SEL_TSS + 16 * RT_NCPU ? (tr - SEL_TSS) / 16u : 0;
}

static struct cpu *this_cpu(void)
{
	return &cpus[rt_cpu()];
}

void rt_gate(unsigned vec, const void *fn, unsigned dpl, unsigned ist, unsigned type, unsigned sel)
{
	struct gate *g = &idt[vec];
	uint64_t at = (ulong)fn;

	g->off0 = (uint16_t)at;
	g->off1 = (uint16_t)(at >> 16);
	g->sel = (uint16_t)sel;
	g->attr = (uint16_t)(0x8000 | dpl << 13 | type << 8 | ist);
#ifdef __x86_64__
	g->off2 = (uint32_t)(at >> 32);
#endif
	barrier();
}

#ifdef __x86_64__
static const uint8_t has_ist[256] = {[NMI] = 1, [DF] = 1, [MC] = 1};
#endif

void rt_gate_reset(unsigned vec)
{
	unsigned dpl = vec == BP || vec == OF || vec == USER_RET ? 3 : 0;

#ifdef __x86_64__
	rt_gate(vec, rt_stubs + 16 * vec, dpl, has_ist[vec], 14, SEL_KCS);
#else
	rt_gate(vec, rt_stubs + 16 * vec, dpl, 0, 14, SEL_KCS32);
#endif
}

void rt_gate_present(unsigned vec, bool p)
{
	idt[vec].attr = (uint16_t)((idt[vec].attr & ~0x8000u) | (p ? 0x8000 : 0));
	barrier();
}

void rt_gate_ist(unsigned vec, unsigned ist)
{
#ifdef __x86_64__
	idt[vec].attr = (uint16_t)((idt[vec].attr & ~7u) | ist);
	barrier();
#else
	(void)vec, (void)ist;
#endif
}

void rt_gdt_set(unsigned sel, uint64_t desc)
{
	*(volatile uint64_t *)&rt_gdt[sel / 8] = desc;
}

uint64_t rt_desc(uint32_t base, uint32_t limit, unsigned type, unsigned flags)
{
	return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)type << 40 |
		(uint64_t)(limit >> 16 & 0xf) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

uint8_t *rt_tss(void)
{
	return tss[rt_cpu()];
}

ulong *rt_tss_sp0(void)
{
	return (ulong *)(void *)(rt_tss() + 4);
}

static void cpu_tables(unsigned n)
{
	struct __attribute__((packed)) {
		uint16_t limit;
		ulong base;
	} idtr = {sizeof(idt) - 1, (ulong)idt};
	ulong base = (ulong)tss[n];
	ulong top = (ulong)trap_stack[n + 1];
	unsigned sel = SEL_TSS + 16 * n;

	memcpy(tss[n] + 4, &top, sizeof(top));
	tss[n][102] = RT_TSS_SIZE; /* I/O map base: behind the limit, so no ports */
#ifdef __x86_64__
	for (unsigned i = 0; i < 3; i++) {
		ulong ist = (ulong)ist_stack[n][i] + sizeof(ist_stack[n][i]);

		memcpy(tss[n] + 36 + 8 * i, &ist, 8);
		if (!n)
			rt_ist_top[i + 1] = ist;
	}
	rt_gdt_set(sel + 8, base >> 32);
#else
	*(uint16_t *)(void *)(tss[n] + 8) = SEL_KDS;
#endif
	rt_gdt_set(sel, rt_desc((uint32_t)base, RT_TSS_SIZE - 1, 0x89, 0));
	__asm__ volatile("lidt %0" :: "m"(idtr));
	__asm__ volatile("ltr %w0" :: "r"(sel) : "memory");
}

/* ---- exceptions */
void rt_trap(struct frame *f)
{
	struct cpu *c = this_cpu();
	struct trap *t = &c->trap;
	ulong cr2 = rdcr2();

	f->vec &= 0xff;
	if (rt_hook[f->vec] && rt_hook[f->vec](f))
		return;
	if (c->catch_sp) {
		ulong sp = c->catch_sp;

		t->vec = (long)f->vec;
		t->err = f->err;
		t->ip = f->ip;
		t->cs = f->cs;
		t->flags = f->flags;
		t->cr2 = cr2;
		t->handler_sp = (ulong)f + offsetof(struct frame, ip);
		t->handler_flags = rdflags();
#ifdef __x86_64__
		t->sp = f->sp;
		t->ss = f->ss;
		t->regs = *f;
#else
		memcpy(&t->regs, f, f->cs & 3 ? sizeof(*f) : offsetof(struct frame, sp));
		t->sp = f->cs & 3 ? f->sp : (ulong)&f->sp;
		t->ss = f->cs & 3 ? f->ss : SEL_KDS;
#endif
		c->catch_sp = 0;
		rt_uncatch(sp);
	}
	out_lock = 0;
	say("FAIL %s: cpu %u: unexpected %s %lu(%lx) at %lx:%lx flags %lx cr2 %lx\n", section_name, rt_cpu(),
		vec_name((long)f->vec), f->vec, f->err, f->cs, f->ip, f->flags, cr2);
	say("ax %lx bx %lx cx %lx dx %lx si %lx di %lx bp %lx", f->ax, f->bx, f->cx, f->dx, f->si, f->di, f->bp);
#ifdef __x86_64__
	say(" sp %lx", f->sp);
#endif
	say("\n");
	leave(2);
}

struct trap *catch_(const void *fn, ulong a, ulong b, ulong c)
{
	struct cpu *cpu = this_cpu();

	cpu->trap.vec = NOTRAP;
	rt_catch(&cpu->catch_sp, fn, a, b, c);
	cpu->catch_sp = 0;
	return &cpu->trap;
}

/* rt_enter takes four arguments; catch passes three: the context goes by way of this. */
static const void *enter_ip[RT_NCPU];
static void enter_thunk(ulong a, ulong b, const struct enter *e)
{
	rt_enter(enter_ip[rt_cpu()], a, b, e);
}

struct trap *enter(const void *ip, ulong a, ulong b, const struct enter *e)
{
	enter_ip[rt_cpu()] = ip;
	return catch(enter_thunk, a, b, e);
}

struct trap *user_(const void *fn, ulong a, ulong b)
{
#ifdef __x86_64__
	struct enter e = {SEL_UCS, SEL_UDS, (ulong)rt_user_stack_top - 64, FL_1};
#else
	struct enter e = {SEL_UCS32, SEL_UDS, (ulong)rt_user_stack_top - 64, FL_1};
#endif

	return enter(fn, a, b, &e);
}

struct trap *user32(const void *fn, ulong a, ulong b)
{
	struct enter e = {SEL_UCS32, SEL_UDS, (ulong)rt_user_stack_top - 64, FL_1};

	return enter(fn, a, b, &e);
}

/* ---- pages */
static ulong heap = 0x800000;

void *page_alloc_n(unsigned n, ulong align)
{
	ulong p = (heap + align - 1) & -align;

	heap = p + n * (ulong)NPAGE;
	memset((void *)p, 0, n * (size_t)NPAGE);
	return (void *)p;
}

void *page_alloc(void)
{
	return page_alloc_n(1, NPAGE);
}

#ifdef __x86_64__
uint64_t *pte_at(uint64_t *table, ulong va, int level)
{
	for (int l = 4;; l--) {
		uint64_t *e = &table[va >> (3 + 9 * l) & 511];

		if (l == level)
			return e;
		if (!(*e & PTE_P))
			*e = (ulong)page_alloc() | PTE_P | PTE_W | PTE_U;
		table = (uint64_t *)(*e & PTE_ADDR);
	}
}
#endif

/* ---- CPUID */
void cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "0"(leaf), "2"(sub));
}

bool cpu_has(uint64_t f)
{
	uint32_t r[4], leaf = (uint32_t)(f >> 32);

	cpuid(leaf & 0x80000000, 0, r);
	if (leaf > r[0])
		return false;
	cpuid(leaf, f >> 16 & 0xffff, r);
	return r[f >> 8 & 3] >> (f & 31) & 1;
}

unsigned rt_maxphyaddr(void)
{
	uint32_t r[4];

	cpuid(0x80000008, 0, r);
	return r[0] & 0xff;
}

/* ---- interrupt controllers */
static bool x2[RT_NCPU];

uint32_t apic_read(unsigned reg)
{
	if (x2[rt_cpu()])
		return (uint32_t)rdmsr(MSR_X2APIC + reg / 16);
	return *(volatile uint32_t *)(0xfee00000ul + reg);
}

void apic_write(unsigned reg, uint32_t v)
{
	if (x2[rt_cpu()])
		wrmsr(MSR_X2APIC + reg / 16, v);
	else
		*(volatile uint32_t *)(0xfee00000ul + reg) = v;
}

void apic_icr(uint32_t dest, uint32_t low)
{
	if (x2[rt_cpu()]) {
		wrmsr(MSR_X2APIC + 0x30, (uint64_t)dest << 32 | low);
	} else {
		apic_write(0x310, dest << 24);
		apic_write(0x300, low);
		for (int i = 0; i < 100000 && apic_read(0x300) & 0x1000; i++)
			pause_();
	}
}

bool apic_x2(void)
{
	if (!cpu_has(F_X2APIC))
		return false;
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | 0xc00);
	x2[rt_cpu()] = true;
	return true;
}

void apic_enable(void)
{
	apic_write(0xf0, 0x1ff);
	apic_write(0x80, 0);
}

void pic_mask_all(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
}

uint32_t ioapic_read(unsigned reg)
{
	*(volatile uint32_t *)0xfec00000ul = reg;
	return *(volatile uint32_t *)0xfec00010ul;
}

void ioapic_write(unsigned reg, uint32_t v)
{
	*(volatile uint32_t *)0xfec00000ul = reg;
	*(volatile uint32_t *)0xfec00010ul = v;
}

/* ---- the other CPUs */
extern char rt_tramp[], rt_tramp_end[];
extern volatile uint32_t rt_ap_ticket;

unsigned rt_ncpus(void)
{
	return __atomic_load_n(&ncpus_running, __ATOMIC_ACQUIRE);
}

void rt_ap_start(unsigned n)
{
	struct cpu *c = &cpus[n];

	cpu_tables(n);
	rt_apic_id[n] = apic_read(0x20) >> 24;
	__atomic_add_fetch(&ncpus_running, 1, __ATOMIC_RELEASE);
	for (;;) {
		while (!__atomic_load_n(&c->busy, __ATOMIC_ACQUIRE))
			pause_();
		c->fn(c->arg);
		__atomic_store_n(&c->busy, 0, __ATOMIC_RELEASE);
	}
}

void rt_on(unsigned cpu, void (*fn)(ulong arg), ulong arg)
{
	struct cpu *c = &cpus[cpu];

	c->fn = fn;
	c->arg = arg;
	__atomic_store_n(&c->busy, 1, __ATOMIC_RELEASE);
}

void rt_wait(unsigned cpu)
{
	if (!until(!__atomic_load_n(&cpus[cpu].busy, __ATOMIC_ACQUIRE)))
		check(false, "cpu %u does not finish", cpu);
}

unsigned rt_smp_start(void)
{
	ulong want_cpus = 1;

	rt_arg("cpus", &want_cpus);
	if (want_cpus > RT_NCPU)
		want_cpus = RT_NCPU;
	if (want_cpus == 1 || rt_ncpus() > 1)
		return rt_ncpus();
	memcpy((void *)RT_SIPI, rt_tramp, (size_t)(rt_tramp_end - rt_tramp));
	apic_enable();
	rt_apic_id[0] = apic_read(0x20) >> 24;
	apic_icr(0, 0xc4500);                 /* INIT, all but self */
	for (uint64_t t = rdtsc(); rdtsc() - t < 1000000; )
		pause_();
	apic_icr(0, 0xc4600 | RT_SIPI >> 12); /* start-up, all but self */
	if (!until(rt_ncpus() >= want_cpus))
		say("only %u of %lu cpus came up\n", rt_ncpus(), want_cpus);
	return rt_ncpus();
}

/* ---- command line */
static char args[256];

/* Copied before a test writes low memory, where the loader may have put it. */
static void args_copy(void)
{
	const uint32_t *mbi = (const uint32_t *)(ulong)rt_mbi;
	const char *p = (const char *)(ulong)mbi[4];

	for (unsigned i = 0; mbi[0] & 4 && i < sizeof(args) - 1 && p[i]; i++)
		args[i] = p[i];
}

const char *rt_args(void)
{
	return args;
}

bool rt_arg(const char *word, ulong *v)
{
	for (const char *p = rt_args(); *p; p++) {
		const char *q = p, *w = word;

		while (*w && *q == *w)
			q++, w++;
		if (*w || *q != '=' || (p != rt_args() && p[-1] != ' '))
			continue;
		for (*v = 0, q++; *q >= '0' && *q <= '9'; q++)
			*v = *v * 10 + (ulong)(*q - '0');
		return true;
	}
	return false;
}

void rt_start(void)
{
	uint32_t r[4];
	ulong under_kvm;

	args_copy();
	have_uart = inb(0xe9) != 0xe9 && inb(0x3fd) != 0xff;
	cpuid(0x40000000, 0, r);
	/* "TCGT"; tcg=1: the CPU below KVM is TCG's (tests/peer/kvm-nested) */
	rt_tcg = r[1] == 0x54474354 || (rt_arg("tcg", &under_kvm) && under_kvm);
	for (unsigned v = 0; v < 256; v++)
		rt_gate_reset(v);
#ifdef __x86_64__
	for (char *p = user_begin; p < user_end; p += NPAGE) {
		rt_pt[(ulong)p / NPAGE] |= PTE_U;
		invlpg(p);
	}
#endif
	cpu_tables(0);
	pic_mask_all();
	test_main();
	finish();
}
