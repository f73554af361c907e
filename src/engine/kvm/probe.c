/* SPDX-License-Identifier: MIT */
/*
 * Does KVM work here? That /dev/kvm opens says little: nested in a VM without hardware support it
 * may be emulated (PVM, for one), a thousand times slower in guest kernels and unable to do some
 * instructions at all. So a child process runs a small ring-0 program in a guest, with page tables,
 * stack, memory and one CMPXCHG16B, for milliseconds at most, and tells through shared memory how
 * far it came and how much CPU time it took. A child, since a vCPU that hangs can be killed then.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "engine/kvm/kvm-int.h"
#include "engine/kvm/kvm.h"

enum {
	SETUP_MS = 2000, /* creating a VM waits for the host kernel's RCU, longer on busy hosts */
	RUN_MS = 30,
	LOOP_INSNS = 8, /* per turn of the loops below */
	/* emulated: a few thousand instructions per ms; interp: tens of thousands; real: millions */
	USABLE_PER_MS = 10000,
};

/* The guest's memory: 2 MiB identity mapped by one large page. */
enum {
	GUEST_SIZE = 2 << 20,
	CODE = 0x1000,
	PML4 = 0x2000,
	PDPT = 0x3000,
	PD = 0x4000,
	STACK = 0x8000
};
#define RESULT 0x9000

struct result { /* at RESULT, and read by the parent */
	uint64_t turns, sum;
	uint32_t phase; /* 0 in the first loop, 1 at CMPXCHG16B, 2 in the long loop, 3 done */
	uint32_t pad[3];
	uint64_t pair[2]; /* aligned to 16 */
};
static_assert(
	offsetof(struct result, phase) == 16 && offsetof(struct result, pair) == 32, "the code");

#define STRING(x)  STRING_(x)
#define STRING_(x) #x
/* clang-format off */
__asm__(
	".pushsection .rodata\n"
	"husk_probe_code:\n"
	"	mov $" STRING(RESULT) ", %edi\n"
	"	mov $500, %esi\n"
	"1:	push %rsi\n"
	"	incq (%rdi)\n"
	"	mov (%rdi), %rdx\n"
	"	pop %rcx\n"
	"	lea (%rdx,%rcx), %rdx\n"
	"	add %rdx, 8(%rdi)\n"
	"	dec %esi\n"
	"	jnz 1b\n"
	"	movl $1, 16(%rdi)\n"
	"	xor %eax, %eax\n"
	"	xor %edx, %edx\n"
	"	mov $5, %ebx\n"
	"	mov $7, %ecx\n"
	"	lock cmpxchg16b 32(%rdi)\n"
	"	movl $2, 16(%rdi)\n"
	"	mov $100000, %esi\n"
	"2:	push %rsi\n"
	"	incq (%rdi)\n"
	"	mov (%rdi), %rdx\n"
	"	pop %rcx\n"
	"	lea (%rdx,%rcx), %rdx\n"
	"	add %rdx, 8(%rdi)\n"
	"	dec %esi\n"
	"	jnz 2b\n"
	"	movl $3, 16(%rdi)\n"
	"3:	hlt\n"
	"	jmp 3b\n"
	"4:	.balign 4\n"
	"husk_probe_code_size:\n"
	"	.long 4b - husk_probe_code\n"
	".popsection\n");
/* clang-format on */
extern const uint8_t husk_probe_code[];
extern const uint32_t husk_probe_code_size;

/* What the child tells, in shared memory beside the guest's. */
struct report {
	const char *failed; /* the step that failed; text is the same in both processes */
	int code;           /* errno of it */
	bool ran;
	uint32_t exit, suberror;
	uint64_t cpu_start, cpu_end; /* CPU time, ns */
};

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct kvm_segment flat(uint16_t sel, uint8_t type, uint8_t s, uint8_t l)
{
	return (struct kvm_segment){.limit = 0xffffffff,
		.selector = sel,
		.type = type,
		.present = 1,
		.s = s,
		.l = l,
		.db = !l,
		.g = 1};
}

static int long_mode(int cpu)
{
	struct kvm_sregs k;
	struct kvm_regs r = {.rip = CODE, .rsp = STACK, .rflags = 2};

	if (ioctl(cpu, KVM_GET_SREGS, &k))
		return -1;
	k.cs = flat(8, 11, 1, 1);
	k.ss = k.ds = k.es = k.fs = k.gs = flat(16, 3, 1, 0);
	k.tr = (struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1};
	k.cr0 = X86_CR0_PE | X86_CR0_ET | X86_CR0_NE | X86_CR0_WP | X86_CR0_PG;
	k.cr3 = PML4;
	k.cr4 = X86_CR4_PAE;
	k.efer = X86_EFER_LME | X86_EFER_LMA;
	return ioctl(cpu, KVM_SET_SREGS, &k) || ioctl(cpu, KVM_SET_REGS, &r) ? -1 : 0;
}

/* In the child. Writes a byte to fd when the guest is about to run. No allocation, no locks. */
static void child(int kvm, uint8_t *guest, volatile struct report *rep, int fd)
{
	union kvm_cpuid_buf cpuid;
	struct kvm_userspace_memory_region slot = {
		.memory_size = GUEST_SIZE, .userspace_addr = (uintptr_t)guest};
	struct kvm_run *run = MAP_FAILED;
	int vm, cpu = -1, size;

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	rep->failed = "creating a VM";
	if (vm < 0 || ioctl(vm, KVM_SET_TSS_ADDR, (unsigned long)(KVM_HOLE_BASE + MEM_PAGE)))
		goto fail;
	rep->failed = "giving it memory";
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot))
		goto fail;
	rep->failed = "creating a vCPU";
	cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (cpu >= 0 && size > 0)
		run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	if (run == MAP_FAILED)
		goto fail;
	rep->failed = "setting up a vCPU";
	if (kvm_supported_cpuid(kvm, &cpuid) || ioctl(cpu, KVM_SET_CPUID2, &cpuid) ||
		long_mode(cpu))
		goto fail;
	rep->failed = "entering the guest";
	rep->cpu_start = cpu_ns();
	rep->ran = true;
	if (write(fd, "", 1) != 1)
		_exit(1);
	while (ioctl(cpu, KVM_RUN, 0) < 0)
		if (errno != EINTR && errno != EAGAIN)
			goto fail;
	rep->cpu_end = cpu_ns();
	rep->exit = run->exit_reason;
	rep->suberror = run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? run->internal.suberror : 0;
	rep->failed = NULL;
	_exit(0);
fail:
	rep->code = errno;
	_exit(1);
}

/* Waits until the pipe has something to say or its other end is gone; false after ms. */
static bool wait_pipe(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t end = now_ns() + (uint64_t)ms * 1000000;

	for (;;) {
		uint64_t now = now_ns();
		int n = poll(&p, 1, now < end ? (int)((end - now) / 1000000) + 1 : 0);

		if (n > 0)
			return true;
		if (n == 0 || errno != EINTR)
			return false;
	}
}

/* A process that is stuck in the host's kernel is left to init. */
static void reap(pid_t pid, struct rusage *ru)
{
	const struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};

	kill(pid, SIGKILL);
	for (int i = 0; i < 250; i++) {
		pid_t got = wait4(pid, NULL, WNOHANG, ru);

		if (got == pid || (got < 0 && errno != EINTR))
			return;
		nanosleep(&pause, NULL);
	}
}

static uint64_t rusage_ns(const struct rusage *ru)
{
	return (uint64_t)(ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) * 1000000000u +
	       (uint64_t)(ru->ru_utime.tv_usec + ru->ru_stime.tv_usec) * 1000u;
}

/* The words. rate: instructions per ms of CPU time. */
static int judge(const volatile struct report *rep, const volatile struct result *res, bool started,
	uint64_t rate, char *why, size_t len)
{
	char slow[120] = "";

	if (!started) {
		if (rep->failed && rep->code)
			snprintf(why, len, "/dev/kvm opens, but %s fails: %s", rep->failed,
				strerror(rep->code));
		else
			snprintf(why, len,
				"/dev/kvm opens, but a small VM is not ready within %d ms",
				SETUP_MS);
		return -EIO;
	}
	if (rate < USABLE_PER_MS)
		snprintf(slow, sizeof slow,
			"emulates guest kernel code (%llu instructions per ms, not "
			"hundreds of thousands; nested, PVM?)",
			(unsigned long long)rate);
	if (rep->code) {
		snprintf(why, len, "/dev/kvm opens, but %s fails: %s", rep->failed,
			strerror(rep->code));
		return -EIO;
	}
	if (rep->exit == KVM_EXIT_INTERNAL_ERROR || rep->exit == KVM_EXIT_FAIL_ENTRY) {
		snprintf(why, len, "%s%sdies %s with %s %u", slow, *slow ? " and " : "",
			res->phase == 1   ? "on CMPXCHG16B"
			: res->phase == 0 ? "in the first instructions"
					  : "in a loop",
			rep->exit == KVM_EXIT_INTERNAL_ERROR ? "KVM internal error"
							     : "a failed entry, exit",
			rep->exit == KVM_EXIT_INTERNAL_ERROR ? rep->suberror : rep->exit);
		return -EIO;
	}
	if (*slow) {
		snprintf(why, len, "%s", slow);
		return -ENOTSUP;
	}
	if (!rep->exit) {
		snprintf(why, len,
			"a test of %d ms does not end (%llu instructions per ms): busy host?",
			RUN_MS, (unsigned long long)rate);
		return -ETIME;
	}
	if (rep->exit != KVM_EXIT_HLT || res->phase != 3 || res->pair[0] != 5 ||
		res->pair[1] != 7) {
		snprintf(why, len, "runs a small test wrongly (exit %u in phase %u)", rep->exit,
			res->phase);
		return -EIO;
	}
	snprintf(why, len, "works (%llu instructions per ms in a small test)",
		(unsigned long long)rate);
	return 0;
}

int kvm_probe(char *why, size_t len)
{
	struct rusage ru = {0};
	struct report *rep;
	const volatile struct result *res;
	uint64_t used, rate;
	uint8_t *guest;
	struct err e;
	int kvm = kvm_open(&e), ends[2], rc;
	bool started;
	pid_t pid;

	if (kvm < 0) {
		snprintf(why, len, "%s", e.text);
		return kvm;
	}
	guest = mmap(NULL, GUEST_SIZE + MEM_PAGE, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (guest == MAP_FAILED || pipe(ends)) {
		rc = -errno;
		snprintf(why, len, "cannot be tried: %s", strerror(-rc));
		goto out;
	}
	rep = (struct report *)(void *)(guest + GUEST_SIZE);
	res = (const volatile struct result *)(void *)(guest + RESULT);
	memcpy(guest + CODE, husk_probe_code, husk_probe_code_size);
	put_u64(guest + PML4, PDPT | 3);
	put_u64(guest + PDPT, PD | 3);
	put_u64(guest + PD, 0 | 0x83); /* present, writable, 2 MiB */

	pid = fork();
	if (!pid) {
		close(ends[0]);
		child(kvm, guest, rep, ends[1]);
	}
	rc = -errno;
	close(ends[1]);
	if (pid < 0) {
		snprintf(why, len, "cannot be tried: fork: %s", strerror(-rc));
	} else {
		char byte;

		started = wait_pipe(ends[0], SETUP_MS) && read(ends[0], &byte, 1) == 1;
		if (started)
			wait_pipe(ends[0], RUN_MS);
		reap(pid, &ru);
		used = rep->cpu_end ? rep->cpu_end : rusage_ns(&ru);
		used = used > rep->cpu_start ? used - rep->cpu_start : 0;
		rate = res->turns * LOOP_INSNS * 1000000 / (used + 1);
		rc = judge(rep, res, started, rate, why, len);
	}
	close(ends[0]);
out:
	if (guest != MAP_FAILED)
		munmap(guest, GUEST_SIZE + MEM_PAGE);
	close(kvm);
	return rc;
}
