/* SPDX-License-Identifier: MIT
 *
 * The rows of bench/cpu: one static program that runs the same work on the host and, as init, in a
 * guest. It talks over standard input and output, which is the guest's console, line by line:
 *
 *	it says				it is told
 *	@hello pid=P cpus=N kernel=R	run ROW N | off
 *	@ready ROW (or @skip ROW why)	go		the caller reads its clock, then says go
 *	@done ROW			sum		reads it again; the guest meanwhile sleeps
 *	@sum ROW checksum cpu-ns wall-ns
 *	@end ROW (or @fail ROW why)
 *
 * So what comes before @ready (making input) and after @done (checking output) is in no figure. Each
 * row is a process of its own with its own seed: a row that dies takes nothing with it, and the same
 * row with the same N has the same checksum everywhere, except where a comment says otherwise.
 *
 * "workloads list" prints the rows, "workloads serve CPUS" is the above on that many host CPUs, and
 * "workloads nop" does nothing, which is what the row fork_exec starts.
 *
 * Default counts are for about half a second under QEMU's TCG.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define BARRIER() __asm__ volatile("" ::: "memory")
#define BUSYBOX "/bin/busybox"
#define MIB (1ul << 20)
#define PAGE 4096ul

/* What a row has computed; hashed into its checksum after @done. */
static uint64_t result;
static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void die(const char *what)
{
	printf("@note %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void *pages(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* FNV-1a: order and every bit count. */
static uint64_t hash(uint64_t h, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ p[i]) * 0x100000001b3ull;
	return h;
}

static uint64_t hash_result(void)
{
	return hash(0xcbf29ce484222325ull, &result, sizeof(result));
}

/* Registers only. The empty asm keeps each step of the loop. */
static void alu_run(long n)
{
	uint64_t a = 1, b = 2, c = 3, d = 4;

	for (long i = 0; i < n; i++) {
		a += b;
		b ^= c;
		c = (c << 1) + a;
		d -= a;
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	}
	result = a + b + c + d;
}

/* Like CoreMark: a linked list, an integer matrix, a state machine over text, CRCs of them all. */
struct node {
	struct node *next;
	short data;
};

static NOINLINE uint16_t crc_u8(uint8_t d, uint16_t crc)
{
	for (int i = 0; i < 8; i++) {
		bool one = (d ^ crc) & 1;

		d >>= 1;
		if (one)
			crc = (uint16_t)(((crc ^ 0x4002) >> 1) | 0x8000);
		else
			crc = (crc >> 1) & 0x7fff;
	}
	return crc;
}

static NOINLINE struct node *list_reverse(struct node *l)
{
	struct node *prev = NULL;

	while (l) {
		struct node *next = l->next;

		l->next = prev;
		prev = l;
		l = next;
	}
	return prev;
}

static NOINLINE int list_find(const struct node *l, int v)
{
	int k = 0;

	while (l && (l->data & 0xff) != v) {
		l = l->next;
		k++;
	}
	return k;
}

static NOINLINE int matrix_multiply(int n, const short *a, const short *b, int *c)
{
	int sum = 0;

	for (int i = 0; i < n; i++) {
		for (int j = 0; j < n; j++) {
			c[i * n + j] = 0;
			for (int k = 0; k < n; k++)
				c[i * n + j] += a[i * n + k] * b[k * n + j];
			sum += c[i * n + j] >> 3;
		}
	}
	return sum;
}

enum scan { START, INTEGER, SIGN, FRACTION, EXP_SIGN, EXPONENT, INVALID, NSCAN };

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static NOINLINE int numbers_scan(const char *p, unsigned count[NSCAN])
{
	enum scan st = START;

	for (; *p; p++) {
		char c = *p;

		count[st]++;
		switch (st) {
		case START:
			if (digit(c))
				st = INTEGER;
			else if (c == '+' || c == '-')
				st = SIGN;
			else
				st = c == '.' ? FRACTION : INVALID;
			break;
		case INTEGER:
			if (c == '.')
				st = FRACTION;
			else if (!digit(c))
				st = c == ',' ? START : INVALID;
			break;
		case SIGN:
			if (digit(c))
				st = INTEGER;
			else
				st = c == '.' ? FRACTION : INVALID;
			break;
		case FRACTION:
			if (c == 'E' || c == 'e')
				st = EXP_SIGN;
			else if (!digit(c))
				st = c == ',' ? START : INVALID;
			break;
		case EXP_SIGN:
			st = c == '+' || c == '-' ? EXPONENT : INVALID;
			break;
		case EXPONENT:
			if (!digit(c))
				st = c == ',' ? START : INVALID;
			break;
		default:
			if (c == ',')
				st = START;
		}
	}
	return st;
}

static void coremark_run(long n)
{
	static const char text[] = "5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,"
		"-.123e-2,-87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,1T3.4e4z,34.0e-T^";
	static struct node list[64];
	static short a[81], b[81];
	static int c[81];
	unsigned count[NSCAN] = { 0 };
	struct node *head = list;
	uint16_t crc = 0;

	for (int i = 0; i < 64; i++) {
		list[i].next = i < 63 ? &list[i + 1] : NULL;
		list[i].data = (short)(i * 7);
	}
	for (int i = 0; i < 81; i++) {
		a[i] = (short)(i * 3);
		b[i] = (short)(i ^ 5);
	}
	for (long i = 0; i < n; i++) {
		int m;

		head = list_reverse(head);
		crc = crc_u8((uint8_t)list_find(head, (int)(i * 7) & 0xff), crc);
		m = matrix_multiply(9, a, b, c);
		crc = crc_u8((uint8_t)m, crc);
		crc = crc_u8((uint8_t)(m >> 8), crc);
		crc = crc_u8((uint8_t)numbers_scan(text, count), crc);
	}
	result = ((uint64_t)crc << 32) + count[FRACTION];
}

static int *numbers;
#define NUMBERS 200000

static void qsort_prep(long n)
{
	(void)n;
	numbers = pages(NUMBERS * sizeof(*numbers));
}

static int int_compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void qsort_run(long n)
{
	for (long r = 0; r < n; r++) {
		for (int i = 0; i < NUMBERS; i++)
			numbers[i] = (int)rnd();
		qsort(numbers, NUMBERS, sizeof(*numbers), int_compare);
	}
}

static uint64_t qsort_check(void)
{
	return hash(1, numbers, NUMBERS * sizeof(*numbers));
}

static NOINLINE int fib(int n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void fib_run(long n)
{
	for (long i = 0; i < n; i++) {
		result += (uint64_t)fib(30);
		BARRIER();
	}
}

/* Calls through pointers, a target that the branch predictor cannot know. */
struct object {
	long (*call)(struct object *o, long x);
	long v;
};

static NOINLINE long object_add(struct object *o, long x)
{
	return (long)((unsigned long)o->v + (unsigned long)x);
}

static NOINLINE long object_xor(struct object *o, long x)
{
	return o->v ^ x;
}

static NOINLINE long object_sub(struct object *o, long x)
{
	return (long)((unsigned long)o->v - (unsigned long)x);
}

static NOINLINE long object_count(struct object *o, long x)
{
	o->v++;
	return x;
}

static void vcall_run(long n)
{
	static long (*const methods[])(struct object *, long) = { object_add, object_xor, object_sub,
		object_count };
	static struct object o[1024];
	long x = 0;

	for (int i = 0; i < 1024; i++) {
		o[i].call = methods[rnd() & 3];
		o[i].v = i;
	}
	for (long i = 0; i < n; i++)
		x = o[i & 1023].call(&o[i & 1023], x);
	result = (uint64_t)x;
}

/* A bytecode interpreter that jumps from the end of each operation to the next one's. */
static NOINLINE uint64_t bytecode_interpret(const uint8_t *code, long n)
{
	static const void *const op[] = { &&add, &&xor, &&rol, &&dec, &&shift, &&mul, &&not, &&mix };
	uint64_t x = 1, y = 2;
	unsigned long pc = 0;

#define NEXT() do {						\
		if (--n < 0)					\
			return x ^ y;				\
		goto *op[code[pc++ & 4095]];			\
	} while (0)
	NEXT();
add:
	x += y;
	NEXT();
xor:
	y ^= x;
	NEXT();
rol:
	x = (x << 3) | (x >> 61);
	NEXT();
dec:
	x -= 3;
	NEXT();
shift:
	y += x >> 3;
	NEXT();
mul:
	x *= 5;
	NEXT();
not:
	y = ~y;
	NEXT();
mix:
	x ^= y << 1;
	NEXT();
#undef NEXT
}

static void bytecode_run(long n)
{
	static uint8_t code[4096];

	for (int i = 0; i < 4096; i++)
		code[i] = rnd() & 7;
	result = bytecode_interpret(code, n);
}

/* A switch with 256 cases of some length, taken in random order: about 20 KiB of code. */
static NOINLINE uint64_t bigcode_step(uint64_t x, uint64_t k)
{
	switch (k & 255) {
#define C1(n)						\
	case n:						\
		x = x * (2 * (n) + 3) + (x >> ((n) & 31));	\
		x ^= x << ((n) & 7);			\
		if (x & (1 << ((n) & 15)))		\
			x += n;				\
		break;
#define C8(n)	C1(n) C1(n + 1) C1(n + 2) C1(n + 3) C1(n + 4) C1(n + 5) C1(n + 6) C1(n + 7)
#define C64(n)	C8(n) C8(n + 8) C8(n + 16) C8(n + 24) C8(n + 32) C8(n + 40) C8(n + 48) C8(n + 56)
	C64(0)
	C64(64)
	C64(128)
	C64(192)
	}
	return x;
}

static void bigcode_run(long n)
{
	uint64_t x = 1;

	for (long i = 0; i < n; i++)
		x = bigcode_step(x, rnd());
	result = x;
}

/* A cycle through all cache lines of an area in random order: each load waits for the one before. */
static uint64_t *chase_area;
static uint64_t *chase_at;

static void chase_prep(size_t bytes)
{
	size_t nlines = bytes / 64;
	uint32_t *order = malloc(nlines * sizeof(*order));

	if (!order)
		die("malloc");
	chase_area = pages(bytes);
	for (size_t i = 0; i < nlines; i++)
		order[i] = (uint32_t)i;
	for (size_t i = nlines - 1; i > 0; i--) {
		size_t j = rnd() % i;
		uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (size_t i = 0; i < nlines; i++) {
		uint64_t *next = &chase_area[order[(i + 1) % nlines] * 8ul];

		chase_area[order[i] * 8ul] = (uint64_t)(uintptr_t)next;
	}
	chase_at = &chase_area[order[0] * 8ul];
	free(order);
}

static void chase_prep_16k(long n)
{
	(void)n;
	chase_prep(16 << 10);
}

static void chase_prep_1m(long n)
{
	(void)n;
	chase_prep(MIB);
}

static void chase_prep_64m(long n)
{
	(void)n;
	chase_prep(64 * MIB);
}

static void chase_run(long n)
{
	for (long i = 0; i < n; i++)
		chase_at = (uint64_t *)(uintptr_t)*chase_at;
	result = (uint64_t)(chase_at - chase_area); /* an index, so not where mmap() put it */
}

/*
 * Floating point: results are compared bit by bit. Numbers are such that operations round, as in
 * all real programs: an emulator may be slower as long as the inexact flag has never been set.
 */
#define ORDER 192	/* of the matrices */
static double mat_a[ORDER * ORDER], mat_b[ORDER * ORDER], mat_c[ORDER * ORDER];

static void matmul_prep(long n)
{
	(void)n;
	for (int i = 0; i < ORDER * ORDER; i++) {
		mat_a[i] = i * 0.5 + 1.0 / (i + 1);
		mat_b[i] = i * 0.25 - 1.0 / (i + 3);
		mat_c[i] = 1.0 / (i + 7);
	}
}

static void matmul_run(long n)
{
	for (long r = 0; r < n; r++) {
		for (int i = 0; i < ORDER; i++) {
			for (int j = 0; j < ORDER; j++) {
				double s = 0;

				for (int k = 0; k < ORDER; k++)
					s += mat_a[i * ORDER + k] * mat_b[k * ORDER + j];
				mat_c[i * ORDER + j] += s;
			}
		}
	}
}

__attribute__((target("avx2,fma"))) static void matmul_avx_run(long n)
{
	for (long r = 0; r < n; r++) {
		for (int i = 0; i < ORDER; i++) {
			for (int j = 0; j < ORDER; j += 8) {
				double *c = &mat_c[i * ORDER + j];
				__m256d c0 = _mm256_loadu_pd(c), c1 = _mm256_loadu_pd(c + 4);

				for (int k = 0; k < ORDER; k++) {
					const double *b = &mat_b[k * ORDER + j];
					__m256d a = _mm256_broadcast_sd(&mat_a[i * ORDER + k]);

					c0 = _mm256_fmadd_pd(a, _mm256_loadu_pd(b), c0);
					c1 = _mm256_fmadd_pd(a, _mm256_loadu_pd(b + 4), c1);
				}
				_mm256_storeu_pd(c, c0);
				_mm256_storeu_pd(c + 4, c1);
			}
		}
	}
}

static uint64_t matmul_check(void)
{
	return hash(1, mat_c, sizeof(mat_c));
}

static void x87_run(long n)
{
	long double x = 1.0L, y = 0.5L;

	for (long i = 0; i < n; i++) {
		x = x * 0.999999L + y;
		y = y / 1.000001L + 0.0001L;
	}
	result = hash(hash(1, &x, 10), &y, 10); /* 10 bytes; the rest is padding */
}

/*
 * Copying and filling 1 MiB. The areas are not a power of two apart, since then they would take turns
 * in one entry of a soft TLB that is indexed by the low bits of the page's number: a row about that
 * would show ten times the cost of a copy.
 */
static uint8_t *copy_from, *copy_to;

static void copy_prep(long n)
{
	(void)n;
	copy_to = pages(2 * MIB + 37 * PAGE);
	copy_from = copy_to + MIB + 37 * PAGE;
	for (size_t i = 0; i < MIB; i += 8)
		*(uint64_t *)(void *)(copy_from + i) = rnd();
}

static void memcpy_sse_run(long n)
{
	for (long r = 0; r < n; r++) {
		copy_from[r & 0xfffff]++;
		for (size_t i = 0; i < MIB; i += 64) {
			const __m128i *s = (const void *)(copy_from + i);
			__m128i x0 = _mm_load_si128(s), x1 = _mm_load_si128(s + 1);
			__m128i x2 = _mm_load_si128(s + 2), x3 = _mm_load_si128(s + 3);
			__m128i *d = (void *)(copy_to + i);

			/* no compiler shall make a call of memcpy() of this */
			__asm__ volatile("" : "+x"(x0), "+x"(x1), "+x"(x2), "+x"(x3));
			_mm_store_si128(d, x0);
			_mm_store_si128(d + 1, x1);
			_mm_store_si128(d + 2, x2);
			_mm_store_si128(d + 3, x3);
		}
		BARRIER();
	}
}

__attribute__((target("avx2"))) static void memcpy_avx_run(long n)
{
	for (long r = 0; r < n; r++) {
		copy_from[r & 0xfffff]++;
		for (size_t i = 0; i < MIB; i += 64) {
			const __m256i *s = (const void *)(copy_from + i);
			__m256i x0 = _mm256_load_si256(s), x1 = _mm256_load_si256(s + 1);
			__m256i *d = (void *)(copy_to + i);

			__asm__ volatile("" : "+x"(x0), "+x"(x1));
			_mm256_store_si256(d, x0);
			_mm256_store_si256(d + 1, x1);
		}
		BARRIER();
	}
}

static void rep_movs_run(long n)
{
	for (long r = 0; r < n; r++) {
		void *d = copy_to, *s = copy_from;
		size_t c = MIB;

		copy_from[r & 0xfffff]++;
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(c) : : "memory");
	}
}

static void rep_stos_run(long n)
{
	for (long r = 0; r < n; r++) {
		void *d = copy_to;
		size_t c = PAGE / 8;

		__asm__ volatile("rep stosq" : "+D"(d), "+c"(c) : "a"(r) : "memory");
	}
}

static uint64_t copy_check(void)
{
	return hash(1, copy_to, MIB);
}

static void xadd_run(long n)
{
	static uint64_t v;

	for (long i = 0; i < n; i++)
		result += __atomic_fetch_add(&v, 1, __ATOMIC_SEQ_CST);
}

static void cmpxchg_run(long n)
{
	static uint64_t v;

	for (long i = 0; i < n; i++) {
		uint64_t old = v;

		result += __atomic_compare_exchange_n(&v, &old, old + 1, false, __ATOMIC_SEQ_CST,
			__ATOMIC_SEQ_CST);
	}
	result += v;
}

/* Clocks: what counts is that they never go back. */
static void rdtsc_run(long n)
{
	uint64_t last = 0;

	for (long i = 0; i < n; i++) {
		uint64_t t = __builtin_ia32_rdtsc();

		result += t >= last;
		last = t;
	}
}

static void clock_run(long n)
{
	struct timespec t, last = { 0 };

	for (long i = 0; i < n; i++) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		result += t.tv_sec > last.tv_sec || (t.tv_sec == last.tv_sec && t.tv_nsec >= last.tv_nsec);
		last = t;
	}
}

static void getppid_run(long n)
{
	pid_t first = getppid();

	for (long i = 0; i < n; i++)
		result += syscall(SYS_getppid) == first;
}

static int zero_fd;

static void read1_prep(long n)
{
	(void)n;
	zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	if (zero_fd < 0)
		die("/dev/zero");
}

static void read1_run(long n)
{
	for (long i = 0; i < n; i++) {
		char c = 1;

		result += read(zero_fd, &c, 1) == 1 && c == 0;
	}
}

static int child_wait(pid_t pid)
{
	int status;

	if (pid < 0)
		die("fork");
	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static void fork_run(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(i & 127);
		result = hash(result, &(int){ child_wait(pid) }, sizeof(int));
	}
}

static void exec_run(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t pid = fork();

		if (!pid) {
			execl("/proc/self/exe", "workloads", "nop", (char *)NULL);
			_exit(127);
		}
		result += child_wait(pid) == 42;
	}
}

static int pipe_there[2], pipe_back[2];

static void pipe_prep(long n)
{
	(void)n;
	if (pipe(pipe_there) || pipe(pipe_back))
		die("pipe");
}

static void pipe_run(long n)
{
	uint8_t c = 0;
	pid_t pid = fork();

	if (!pid) {
		for (long i = 0; i < n; i++) {
			if (read(pipe_there[0], &c, 1) != 1)
				_exit(1);
			c++;
			if (write(pipe_back[1], &c, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	for (long i = 0; i < n; i++) {
		if (write(pipe_there[1], &c, 1) != 1 || read(pipe_back[0], &c, 1) != 1)
			die("pipe");
		result += c;
	}
	result += (uint64_t)child_wait(pid);
}

static void fault_run(long n)
{
	for (long i = 0; i < n; i++) {
		uint8_t *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (p == MAP_FAILED)
			die("mmap");
		madvise(p, MIB, MADV_NOHUGEPAGE);
		for (size_t k = 0; k < MIB; k += PAGE)
			result += ++p[k];
		munmap(p, MIB);
	}
}

static uint8_t *protected;

static void mprotect_prep(long n)
{
	(void)n;
	protected = pages(16 * PAGE);
}

static void mprotect_run(long n)
{
	for (long i = 0; i < n; i++) {
		result += mprotect(protected, 16 * PAGE, PROT_READ) == 0;
		result += mprotect(protected, 16 * PAGE, PROT_READ | PROT_WRITE) == 0;
		result += ++protected[5];
	}
}

/*
 * Rows that are programs: Debian's busybox, the same file on the host and in the guest. Input comes
 * from "in", output goes to "out", both in the current folder, which is in memory.
 */
static void text_file(const char *name, long kib)
{
	static const char *const word[] = { "the", "page", "of", "memory", "is", "mapped", "when", "a",
		"guest", "writes", "to", "it", "first", "and", "not", "before" };
	static char block[MIB + 32];
	size_t len = 0;
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		die(name);
	while (len < MIB)
		len += (size_t)sprintf(block + len, "%s%c", word[rnd() & 15], (rnd() & 7) ? ' ' : '\n');
	for (; kib > 0; kib -= 1024) {
		size_t want = kib < 1024 ? (size_t)kib << 10 : MIB;

		for (size_t done = 0; done < want;) {
			ssize_t r = write(fd, block + done, want - done);

			if (r <= 0)
				die(name);
			done += (size_t)r;
		}
	}
	close(fd);
}

static void lines_prep(long n)
{
	FILE *f = fopen("in", "we");

	if (!f)
		die("in");
	for (long i = 0; i < n; i++)
		fprintf(f, "%lu key%ld\n", (unsigned long)(rnd() >> 34), i % 97);
	if (fclose(f))
		die("in");
}

static void kib_prep(long n)
{
	text_file("in", n);
}

static void empty_prep(long n)
{
	(void)n;
	text_file("in", 0);
}

static void program_run(const char *const argv[])
{
	static char locale[] = "LC_ALL=C", path[] = "PATH=/bin";
	char *const env[] = { locale, path, NULL };
	pid_t pid = fork();

	if (!pid) {
		int in = open("in", O_RDONLY), out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0)
			die("in or out");
		execve(BUSYBOX, (char **)(uintptr_t)argv, env); /* it does not write there */
		_exit(127);
	}
	result = (uint64_t)child_wait(pid);
}

#define PROGRAM(...) program_run((const char *const[]){ "busybox", __VA_ARGS__, NULL })

static void sha256_run(long n)
{
	(void)n;
	PROGRAM("sha256sum");
}

static void gzip_run(long n)
{
	(void)n;
	PROGRAM("gzip", "-c");
}

static void sort_run(long n)
{
	(void)n;
	PROGRAM("sort", "-n");
}

static void awk_int_run(long n)
{
	char script[256];

	snprintf(script, sizeof(script),
		"BEGIN { for (i = 0; i < %ld; i++) { x = (x * 31 + i) %% 65521; a[x %% 512] += i;"
		" s = s + length(x) } for (i = 0; i < 512; i++) t += a[i]; print x, s, t }", n);
	PROGRAM("awk", script);
}

/* Debian's busybox has no functions here (sqrt and the like), so what is left is exact. */
static void awk_float_run(long n)
{
	char script[256];

	snprintf(script, sizeof(script),
		"BEGIN { x = 1; for (i = 1; i < %ld; i++) { x = x * 1.0001 + 1 / i; if (x > 1000) x /= 999;"
		" y += x / (i + 0.5) } printf \"%%.17g %%.17g\\n\", x, y }", n);
	PROGRAM("awk", script);
}

static void sh_run(long n)
{
	char script[256];

	snprintf(script, sizeof(script),
		"i=0 s=1; while [ $i -lt %ld ]; do i=$((i + 1)); s=$(((s * 31 + i) %% 65521)); done;"
		" echo $i $s", n);
	PROGRAM("sh", "-c", script);
}

/* Everything in "out"; an exit code other than 0 makes another checksum, too. */
static uint64_t program_check(void)
{
	static uint8_t buf[65536];
	int fd = open("out", O_RDONLY | O_CLOEXEC);
	uint64_t h = hash_result();
	ssize_t r;

	if (result) {
		printf("@note %s: exit code %d\n", BUSYBOX, (int)result);
		_exit(1);
	}
	if (fd < 0)
		die("out");
	while ((r = read(fd, buf, sizeof(buf))) > 0)
		h = hash(h, buf, (size_t)r);
	close(fd);
	return h;
}

/*
 * As make -j2 would: N jobs, two at a time, each a shell that generates a source, "compiles" it
 * through a pipe of programs into an object, and a link of all objects at the end.
 */
static void make_run(long n)
{
	static const char script[] =
		"b=/bin/busybox; set -e\n"
		"$b awk -v s=$1 'BEGIN { for (i = 0; i < 300; i++) { s = (s * 31 + 7) % 65521;"
		" print s, \"f\" s % 97 \"(\" i \")\" } }' >$1.c\n"
		"$b sed 's/f\\([0-9]*\\)/call \\1/' $1.c | $b sort -n >$1.s\n"
		"$b gzip -c <$1.s >$1.o\n"
		"$b sha256sum $1.o >$1.d\n"
		"[ -s $1.d ]\n";
	long running = 0;

	for (long i = 0; i < n || running > 0;) {
		int status;
		pid_t pid;

		if (i < n && running < 2) {
			char number[24];

			snprintf(number, sizeof(number), "%ld", 1000 + i);
			pid = fork();
			if (!pid) {
				execl(BUSYBOX, "busybox", "sh", "-c", script, "job", number, (char *)NULL);
				_exit(127);
			}
			if (pid < 0)
				die("fork");
			i++;
			running++;
			continue;
		}
		if (wait(&status) < 0)
			die("wait");
		running--;
		if (status) {
			printf("@note a job's wait status is %#x\n", (unsigned)status);
			_exit(1);
		}
	}
	PROGRAM("sh", "-c", "/bin/busybox cat [0-9]*.o | /bin/busybox sha256sum");
}

static bool have_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

/* Columns: name, class for the means (see bench/cpu), CPUs, count, what it does. */
static const struct row {
	const char *name, *class;
	int cpus;
	long count;
	void (*prep)(long n);
	void (*run)(long n);
	uint64_t (*check)(void);
	bool (*have)(void);
} rows[] = {
	{ "alu", "int", 1, 200000000, NULL, alu_run, NULL, NULL },
	{ "coremark", "int", 1, 100000, NULL, coremark_run, NULL, NULL },
	{ "sha256", "int", 1, 20480, kib_prep, sha256_run, program_check, NULL },
	{ "gzip", "int", 1, 1536, kib_prep, gzip_run, program_check, NULL },
	{ "sort", "int", 1, 20000, lines_prep, sort_run, program_check, NULL },
	{ "awk_int", "int", 1, 25000, empty_prep, awk_int_run, program_check, NULL },
	{ "awk_float", "int", 1, 25000, empty_prep, awk_float_run, program_check, NULL },
	{ "sh_arith", "int", 1, 15000, empty_prep, sh_run, program_check, NULL },
	{ "qsort", "int", 1, 4, qsort_prep, qsort_run, qsort_check, NULL },
	{ "fib", "int", 1, 30, NULL, fib_run, NULL, NULL },
	{ "vcall", "int", 1, 16000000, NULL, vcall_run, NULL, NULL },
	{ "bytecode", "int", 1, 16000000, NULL, bytecode_run, NULL, NULL },
	{ "bigcode", "int", 1, 5000000, NULL, bigcode_run, NULL, NULL },
	{ "chase_16k", "int", 1, 80000000, chase_prep_16k, chase_run, NULL, NULL },
	{ "chase_1m", "int", 1, 10000000, chase_prep_1m, chase_run, NULL, NULL },
	{ "chase_64m", "int", 1, 1500000, chase_prep_64m, chase_run, NULL, NULL },
	{ "matmul", "fp", 1, 6, matmul_prep, matmul_run, matmul_check, NULL },
	{ "matmul_avx", "fp", 1, 8, matmul_prep, matmul_avx_run, matmul_check, have_avx2 },
	{ "memcpy_sse", "fp", 1, 600, copy_prep, memcpy_sse_run, copy_check, NULL },
	{ "memcpy_avx", "fp", 1, 800, copy_prep, memcpy_avx_run, copy_check, have_avx2 },
	{ "rep_movsb", "fp", 1, 180, copy_prep, rep_movs_run, copy_check, NULL },
	{ "rep_stosq", "fp", 1, 500000, copy_prep, rep_stos_run, copy_check, NULL },
	{ "x87", "fp", 1, 3000000, NULL, x87_run, NULL, NULL },
	{ "lock_xadd", "atomic", 1, 50000000, NULL, xadd_run, NULL, NULL },
	{ "lock_cmpxchg", "atomic", 1, 50000000, NULL, cmpxchg_run, NULL, NULL },
	{ "rdtsc", "clock", 1, 24000000, NULL, rdtsc_run, NULL, NULL },
	{ "clock_gettime", "clock", 1, 4000000, NULL, clock_run, NULL, NULL },
	{ "getppid", "sys", 1, 600000, NULL, getppid_run, NULL, NULL },
	{ "read1", "sys", 1, 450000, read1_prep, read1_run, NULL, NULL },
	{ "fork_wait", "sys", 1, 500, NULL, fork_run, NULL, NULL },
	{ "fork_exec", "sys", 1, 160, NULL, exec_run, NULL, NULL },
	{ "pipe", "sys", 1, 5000, pipe_prep, pipe_run, NULL, NULL },
	{ "pagefault", "sys", 1, 170, NULL, fault_run, NULL, NULL },
	{ "mprotect", "sys", 1, 20000, mprotect_prep, mprotect_run, NULL, NULL },
	{ "make_j2", "sys", 2, 12, empty_prep, make_run, program_check, NULL },
};
#define NROWS (sizeof(rows) / sizeof(rows[0]))

/* One line of input, byte by byte, since the processes of the rows read from the same descriptor. */
static bool line_read(char *buf, size_t len)
{
	size_t n = 0;
	char c;

	for (;;) {
		ssize_t r = read(0, &c, 1);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		if (c == '\n')
			break;
		if (n + 1 < len && c != '\r')
			buf[n++] = c;
	}
	buf[n] = 0;
	return true;
}

static void told(const char *what)
{
	char line[64];

	if (!line_read(line, sizeof(line)) || strcmp(line, what))
		_exit(2);
}

static uint64_t wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* This process's time, and that of the children it waited for. */
static uint64_t cpu_ns(void)
{
	struct timespec t;
	struct rusage r;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	getrusage(RUSAGE_CHILDREN, &r);
	return ((uint64_t)t.tv_sec + (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec)) * 1000000000u +
		(uint64_t)t.tv_nsec + (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000u;
}

static _Noreturn void row_main(const struct row *r, long n)
{
	uint64_t cpu, wall;

	if (r->prep)
		r->prep(n);
	printf("@ready %s\n", r->name);
	told("go");
	wall = wall_ns();
	cpu = cpu_ns();
	r->run(n);
	cpu = cpu_ns() - cpu;
	wall = wall_ns() - wall;
	printf("@done %s\n", r->name);
	told("sum");
	printf("@sum %s %016llx %llu %llu\n", r->name,
		(unsigned long long)(r->check ? r->check() : hash_result()), (unsigned long long)cpu,
		(unsigned long long)wall);
	_exit(0);
}

static void row_run(const char *name, long n)
{
	const struct row *r = rows;
	int status;
	pid_t pid;

	while (r < rows + NROWS && strcmp(r->name, name))
		r++;
	if (r == rows + NROWS || n < 1) {
		printf("@fail %s no such row or count\n", name);
		return;
	}
	if (r->have && !r->have()) {
		printf("@skip %s not on this CPU\n", name);
		return;
	}
	pid = fork();
	if (!pid)
		row_main(r, n);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		printf("@fail %s %s\n", name, strerror(errno));
	else if (WIFSIGNALED(status))
		printf("@fail %s killed by signal %d (%s)\n", name, WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		printf("@fail %s exit code %d\n", name, WEXITSTATUS(status));
	else
		printf("@end %s\n", name);
}

static void serve(void)
{
	struct utsname u;
	char line[128], name[32];
	long n;

	uname(&u);
	printf("@hello pid=%d cpus=%ld kernel=%s\n", (int)getpid(), sysconf(_SC_NPROCESSORS_ONLN),
		u.release);
	while (line_read(line, sizeof(line)) && strcmp(line, "off")) {
		if (sscanf(line, "run %31s %ld", name, &n) == 2)
			row_run(name, n);
		else
			printf("@fail - unknown: %s\n", line);
	}
}

static void guest_mount(const char *type, const char *where)
{
	mkdir(where, 0755);
	if (mount(type, where, type, 0, NULL))
		printf("@note mount %s: %s\n", where, strerror(errno));
}

/* As init: what the rows need of a system, and a console that does not echo and is quiet. */
static _Noreturn void guest_main(void)
{
	struct termios t;

	guest_mount("proc", "/proc");
	guest_mount("devtmpfs", "/dev");
	guest_mount("tmpfs", "/tmp");
	if (chdir("/tmp"))
		printf("@note /tmp: %s\n", strerror(errno));
	klogctl(8, NULL, 4); /* what is worse than a warning would still show in the middle of a row */
	if (tcgetattr(0, &t) == 0) {
		t.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
		tcsetattr(0, TCSANOW, &t);
	}
	serve();
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

/* The host's: pinned, so that a row for one CPU has one. */
static void host_pin(int ncpus)
{
	cpu_set_t have, want;

	CPU_ZERO(&want);
	if (sched_getaffinity(0, sizeof(have), &have))
		return;
	for (int i = CPU_SETSIZE - 1; i >= 0 && ncpus > 0; i--) {
		if (CPU_ISSET(i, &have)) {
			CPU_SET(i, &want);
			ncpus--;
		}
	}
	if (sched_setaffinity(0, sizeof(want), &want))
		printf("@note sched_setaffinity: %s\n", strerror(errno));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 4096);
	if (argc > 1 && !strcmp(argv[1], "nop"))
		_exit(42);
	if (getpid() == 1)
		guest_main();
	if (argc == 2 && !strcmp(argv[1], "list")) {
		for (size_t i = 0; i < NROWS; i++)
			printf("%s %s %d %ld\n", rows[i].name, rows[i].class, rows[i].cpus, rows[i].count);
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "serve") && atoi(argv[2]) > 0) {
		host_pin(atoi(argv[2]));
		serve();
		return 0;
	}
	fputs("usage: workloads list | serve CPUS | nop\n", stderr);
	return 2;
}
