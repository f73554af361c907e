/* SPDX-License-Identifier: MIT */
/*
 * The KVM engine (Linux Documentation/virt/kvm/api.rst). Local APICs are in the kernel, the IOAPIC
 * and the PIC in the board ("split irqchip"): the board's IOAPIC sends messages to msi(), KVM says
 * when a level-triggered one is ended, and the PIC's INTR wire is irq().
 *
 * Stopping a vCPU. A flag says what is wanted, then kvm_run.immediate_exit makes KVM_RUN return at
 * once, then a signal gets the thread out of the guest if it is there. The vCPU clears
 * immediate_exit before it looks at the flags, so whichever comes first, none is lost:
 *
 *	vCPU: immediate_exit = 0; in_guest = 1; look at flags; KVM_RUN
 *	else: flag = 1; immediate_exit = 1; if (in_guest) signal
 *
 * The signal has a handler that does nothing and is open all the time. (The older way, open only
 * within KVM_RUN by KVM_SET_SIGNAL_MASK, needs two more system calls per stop to take it from the
 * queue.)
 *
 * A port or device access is finished by the next KVM_RUN, even one with immediate_exit set. So
 * run() leaves only after a KVM_RUN that was interrupted: then registers are complete.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "engine/kvm/kvm-int.h"
#include "engine/kvm/kvm.h"

const int kvm_syscalls[] = {SYS_ioctl, SYS_tgkill, SYS_gettid, SYS_getpid, SYS_rt_sigprocmask,
	SYS_rt_sigreturn, SYS_futex, SYS_munmap, SYS_close, -1};

const unsigned long kvm_ioctls[] = {KVM_RUN, KVM_INTERRUPT, KVM_NMI, KVM_SIGNAL_MSI,
	KVM_SET_GSI_ROUTING, KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_SET_SREGS,
	KVM_GET_XSAVE, KVM_SET_XSAVE, KVM_GET_XCRS, KVM_SET_XCRS, KVM_GET_MSRS, KVM_SET_MSRS,
	KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
	KVM_GET_MP_STATE, KVM_SET_MP_STATE, KVM_SET_LAPIC, KVM_GET_DEVICE_ATTR, KVM_SET_DEVICE_ATTR,
	KVM_HAS_DEVICE_ATTR, KVM_GET_DIRTY_LOG, 0};

static int kick_signal(void)
{
	return SIGRTMIN + 1;
}

static void kick_handler(int sig)
{
	(void)sig;
}

int kvm_open(struct err *e)
{
	static const struct {
		int cap;
		const char *name;
	} need[] = {
		{KVM_CAP_USER_MEMORY, "user memory"},
		{KVM_CAP_EXT_CPUID, "CPUID"},
		{KVM_CAP_SPLIT_IRQCHIP, "split irqchip (Linux 4.4)"},
		{KVM_CAP_IMMEDIATE_EXIT, "immediate exit (Linux 4.12)"},
		{KVM_CAP_SIGNAL_MSI, "MSI"},
		{KVM_CAP_IRQ_ROUTING, "interrupt routing"},
		{KVM_CAP_MP_STATE, "MP state"},
		{KVM_CAP_VCPU_EVENTS, "vCPU events"},
		{KVM_CAP_DEBUGREGS, "debug registers"},
	};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), version;

	if (fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return err_set(e, errno,
			"there is no /dev/kvm: virtualization is off in the firmware, the "
			"kvm module is not loaded, or this is a container or a VM without it");
	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return err_set(e, errno,
			"no permission to open /dev/kvm: join its group "
			"(sudo usermod -aG kvm $USER, then log in again) or, in a container, hand "
			"it in");
	if (fd < 0)
		return err_set(e, errno, "cannot open /dev/kvm: %s", strerror(errno));
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return err_set(e, ENOTSUP, "/dev/kvm speaks API version %d, not %d", version,
			KVM_API_VERSION);
	}
	for (unsigned i = 0; i < ARRAY_LEN(need); i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, need[i].cap) <= 0) {
			close(fd);
			return err_set(e, ENOTSUP, "this host's KVM is too old: it lacks %s",
				need[i].name);
		}
	return fd;
}

static void kvm_vm_free(struct engine_vm *vm);

static int vm_setup(struct engine_vm *vm, struct err *e)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {KVM_IOAPIC_PINS}};
	uint64_t identity = KVM_HOLE_BASE;
	long n;

	vm->kvm = kvm_open(e);
	if (vm->kvm < 0)
		return vm->kvm;
	do
		vm->vm = ioctl(vm->kvm, KVM_CREATE_VM, 0);
	while (vm->vm < 0 && errno == EINTR);
	if (vm->vm < 0)
		return err_set(e, errno, "KVM cannot create a VM: %s", strerror(errno));
	if (vm->cpuid->ncpus > KVM_CPUS)
		return err_set(e, EINVAL, "KVM runs at most %d CPUs here", KVM_CPUS);
	n = ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	if (n > 0 && vm->cpuid->ncpus > (unsigned long)n)
		return err_set(e, EINVAL, "this host's KVM runs at most %ld CPUs", n);
	n = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (n < (long)sizeof(struct kvm_run))
		return err_set(e, ENOTSUP, "KVM_GET_VCPU_MMAP_SIZE: %ld", n);
	vm->run_size = (size_t)n;
	vm->tsc_deadline = ioctl(vm->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	/* Intel's real mode needs the two; others take and ignore them, or do not know them. */
	if (ioctl(vm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) && errno != ENOTTY)
		return err_set(e, errno, "KVM_SET_IDENTITY_MAP_ADDR: %s", strerror(errno));
	if (ioctl(vm->vm, KVM_SET_TSS_ADDR, (unsigned long)(KVM_HOLE_BASE + MEM_PAGE)) &&
		errno != ENOTTY)
		return err_set(e, errno, "KVM_SET_TSS_ADDR: %s", strerror(errno));
	if (ioctl(vm->vm, KVM_ENABLE_CAP, &split))
		return err_set(e, errno, "KVM cannot split the irqchip: %s", strerror(errno));
	for (unsigned i = 0; i < vm->mem->nregions; i++) {
		const struct mem_region *r = &vm->mem->region[i];
		struct kvm_userspace_memory_region slot = {.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->len,
			.userspace_addr = (uintptr_t)r->host,
			.flags = r->framebuffer ? KVM_MEM_LOG_DIRTY_PAGES : 0};

		if (ioctl(vm->vm, KVM_SET_USER_MEMORY_REGION, &slot))
			return err_set(e, errno, "KVM refuses %llu MiB of guest memory: %s",
				(unsigned long long)(r->len / MIB), strerror(errno));
	}
	return 0;
}

static int kvm_vm_new(struct engine_vm **out, struct mem *mem, const struct x86_cpuid *cpuid,
	const struct cpu_host *host, struct err *e)
{
	struct engine_vm *vm = xcalloc(1, sizeof *vm);
	struct sigaction sa = {.sa_handler = kick_handler, .sa_flags = SA_RESTART};
	int rc;

	vm->kvm = vm->vm = -1;
	vm->mem = mem;
	vm->cpuid = cpuid;
	vm->host = host;
	pthread_mutex_init(&vm->route_lock, NULL);
	rc = vm_setup(vm, e);
	if (rc < 0) {
		kvm_vm_free(vm);
		return rc;
	}
	sigaction(kick_signal(), &sa, NULL);
	*out = vm;
	return 0;
}

static void kvm_vm_free(struct engine_vm *vm)
{
	if (!vm)
		return;
	if (vm->vm >= 0)
		close(vm->vm);
	if (vm->kvm >= 0)
		close(vm->kvm);
	pthread_mutex_destroy(&vm->route_lock);
	free(vm);
}

static void kvm_cpu_free(struct engine_cpu *c)
{
	if (!c)
		return;
	c->vm->cpu[c->id] = NULL;
	if (c->run)
		munmap(c->run, c->vm->run_size);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
}

/* Best effort: the host's microcode revision, which tells a guest which bugs are fixed. */
static void set_microcode_revision(struct engine_cpu *c)
{
	uint64_t revision;

	if (kvm_msr_get(c->vm->kvm, 0x8b, &revision))
		kvm_msr_put(c->fd, 0x8b, revision);
}

static int kvm_cpu_new(struct engine_cpu **out, struct engine_vm *vm, unsigned id, struct err *e)
{
	struct engine_cpu *c;
	int rc;

	if (id >= vm->cpuid->ncpus || vm->cpu[id])
		return err_set(e, EINVAL, "vCPU %u: out of range or there already", id);
	c = xcalloc(1, sizeof *c);
	c->vm = vm;
	c->id = id;
	c->extint = -1;
	vm->cpu[id] = c;
	c->fd = ioctl(vm->vm, KVM_CREATE_VCPU, (unsigned long)id);
	if (c->fd < 0) {
		rc = err_set(e, errno, "KVM cannot create vCPU %u: %s", id, strerror(errno));
		goto fail;
	}
	c->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, c->fd, 0);
	if (c->run == MAP_FAILED) {
		c->run = NULL;
		rc = err_set(e, errno, "cannot map vCPU %u: %s", id, strerror(errno));
		goto fail;
	}
	rc = kvm_cpuid_set(c, e);
	if (rc)
		goto fail;
	set_microcode_revision(c);
	if (ioctl(c->fd, KVM_GET_LAPIC, &c->lapic)) {
		rc = err_set(e, errno, "KVM_GET_LAPIC: %s", strerror(errno));
		goto fail;
	}
	*out = c;
	return 0;
fail:
	kvm_cpu_free(c);
	return rc;
}

static void count(struct engine_cpu *c, enum kvm_count n)
{
	atomic_fetch_add_explicit(&c->count[n], 1, memory_order_relaxed);
}

/* Any thread: makes KVM_RUN return, now or the next time, so that the loop looks at its flags. */
static void interrupt(struct engine_cpu *c)
{
	__atomic_store_n(&c->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (atomic_load(&c->in_guest))
		syscall(SYS_tgkill, c->pid, atomic_load(&c->tid), kick_signal());
}

static void kvm_kick(struct engine_cpu *c)
{
	atomic_store(&c->kicked, true);
	interrupt(c);
}

static void kvm_irq(struct engine_cpu *c, bool pending)
{
	if (!atomic_exchange(&c->intr, pending) && pending)
		interrupt(c);
}

static void kvm_nmi(struct engine_cpu *c)
{
	atomic_store(&c->nmi, true);
	interrupt(c);
}

/*
 * KVM tells the end of an interrupt only for vectors that it finds among level-triggered messages
 * in its routing table, pins 0 to 23: it expects to see the IOAPIC's redirection table there. We
 * see messages only, so the table holds the last 24 different ones, which is as many as the IOAPIC
 * has pins. One too many costs an exit at its EOI.
 */
static int route_add(struct engine_vm *vm, uint64_t addr, uint32_t data)
{
	union {
		struct kvm_irq_routing list;
		uint8_t room[sizeof(struct kvm_irq_routing) +
			     KVM_IOAPIC_PINS * sizeof(struct kvm_irq_routing_entry)];
	} table = {.list.nr = 0};
	unsigned oldest = 0;

	for (unsigned i = 0; i < KVM_IOAPIC_PINS; i++) {
		if (vm->route[i].used && vm->route[i].addr == addr && vm->route[i].data == data) {
			vm->route[i].used = ++vm->route_clock;
			return 0;
		}
		if (vm->route[i].used < vm->route[oldest].used)
			oldest = i;
	}
	vm->route[oldest].addr = addr;
	vm->route[oldest].data = data;
	vm->route[oldest].used = ++vm->route_clock;
	for (unsigned i = 0; i < KVM_IOAPIC_PINS; i++)
		if (vm->route[i].used)
			table.list.entries[table.list.nr++] =
				(struct kvm_irq_routing_entry){.gsi = i,
					.type = KVM_IRQ_ROUTING_MSI,
					.u.msi = {.address_lo = (uint32_t)vm->route[i].addr,
						.address_hi = (uint32_t)(vm->route[i].addr >> 32),
						.data = vm->route[i].data}};
	return ioctl(vm->vm, KVM_SET_GSI_ROUTING, &table) ? -errno : 0;
}

static int kvm_msi(struct engine_vm *vm, uint64_t addr, uint32_t data)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)addr, .address_hi = (uint32_t)(addr >> 32), .data = data};
	int rc = 0;

	atomic_fetch_add_explicit(&vm->msis, 1, memory_order_relaxed);
	if (data & 1u << 15) {
		pthread_mutex_lock(&vm->route_lock);
		rc = route_add(vm, addr, data);
		pthread_mutex_unlock(&vm->route_lock);
	}
	if (ioctl(vm->vm, KVM_SIGNAL_MSI, &msi) < 0)
		rc = -errno;
	return rc;
}

static void fail(struct engine_cpu *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Words for CPU_FAILED, with the state that a bug report needs. */
static void fail(struct engine_cpu *c, const char *fmt, ...)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	va_list ap;
	size_t at;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(c->error, sizeof c->error, fmt, ap);
	va_end(ap);
	at = n < 0 ? 0 : (size_t)min_u64((uint64_t)n, sizeof c->error - 1);
	if (ioctl(c->fd, KVM_GET_REGS, &r) || ioctl(c->fd, KVM_GET_SREGS, &s))
		return;
	snprintf(c->error + at, sizeof c->error - at,
		" (vCPU %u at %x:%llx, flags %llx, ss %x, cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer "
		"%llx, "
		"rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx rsp %llx rbp %llx)",
		c->id, s.cs.selector, r.rip, r.rflags, s.ss.selector, s.cr0, s.cr2, s.cr3, s.cr4,
		s.efer, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rsp, r.rbp);
}

static void fail_internal(struct engine_cpu *c)
{
	const struct kvm_run *run = c->run;
	char bytes[64] = "";
	size_t at = 0;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_EMULATION) {
		fail(c, "KVM has an internal error %u", run->internal.suberror);
		return;
	}
	if (run->emulation_failure.ndata >= 3 &&
		run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)
		for (unsigned i = 0; i < run->emulation_failure.insn_size && i < 15; i++)
			at += (size_t)snprintf(bytes + at, sizeof bytes - at, " %02x",
				run->emulation_failure.insn_bytes[i]);
	fail(c, "KVM cannot emulate an instruction%s%s: try --engine interp",
		at ? " with bytes" : "", bytes);
}

static uint64_t get_le(const uint8_t *p, unsigned len)
{
	uint64_t v = 0;

	memcpy(&v, p, len);
	return v;
}

static void do_io(struct engine_cpu *c)
{
	const struct cpu_host *h = c->vm->host;
	struct kvm_run *run = c->run;
	uint8_t *p = (uint8_t *)run + run->io.data_offset;
	unsigned size = run->io.size;

	/* INS, OUTS with REP: as many as fit into KVM's page at once */
	for (uint32_t i = 0; i < run->io.count; i++, p += size) {
		uint64_t v;

		if (run->io.direction == KVM_EXIT_IO_OUT) {
			h->write(h->m, c->id, true, run->io.port, get_le(p, size), size);
		} else {
			v = h->read(h->m, c->id, true, run->io.port, size);
			memcpy(p, &v, size);
		}
	}
}

static void do_mmio(struct engine_cpu *c)
{
	const struct cpu_host *h = c->vm->host;
	struct kvm_run *run = c->run;
	unsigned len = (unsigned)min_u64(run->mmio.len, sizeof run->mmio.data);
	uint64_t v;

	if (run->mmio.is_write) {
		h->write(h->m, c->id, false, run->mmio.phys_addr, get_le(run->mmio.data, len), len);
	} else {
		v = h->read(h->m, c->id, false, run->mmio.phys_addr, len);
		memcpy(run->mmio.data, &v, len);
	}
}

/* What has to be put into the CPU before it goes on: an NMI, the PIC's interrupt. */
static void inject(struct engine_cpu *c)
{
	struct kvm_run *run = c->run;

	if (atomic_exchange(&c->nmi, false))
		ioctl(c->fd, KVM_NMI, 0);
	/*
	 * KVM looks at LINT0 of this CPU's APIC (ExtINT and not masked, as it is after reset on CPU
	 * 0) and at IF before it says that it is ready.
	 */
	if (run->ready_for_interrupt_injection && (c->extint >= 0 || atomic_load(&c->intr))) {
		if (c->extint < 0)
			c->extint = c->vm->host->intack(c->vm->host->m, c->id);
		if (c->extint >= 0) {
			struct kvm_interrupt irq = {.irq = (uint32_t)c->extint};

			/* EEXIST: the one before was not delivered yet, keep this */
			if (!ioctl(c->fd, KVM_INTERRUPT, &irq) || errno != EEXIST)
				c->extint = -1;
		}
	}
	run->request_interrupt_window = c->extint >= 0 || atomic_load(&c->intr);
}

static void enter_thread(struct engine_cpu *c)
{
	int tid = (int)syscall(SYS_gettid);
	sigset_t set;

	if (tid == atomic_load_explicit(&c->tid, memory_order_relaxed))
		return;
	sigemptyset(&set);
	sigaddset(&set, kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	c->pid = (int)getpid();
	atomic_store(&c->tid, tid);
}

static enum cpu_stop kvm_run(struct engine_cpu *c)
{
	const struct cpu_host *h = c->vm->host;
	struct kvm_run *run = c->run;

	if (c->shutdown)
		return CPU_SHUTDOWN;
	enter_thread(c);
	for (;;) {
		int rc, err;

		__atomic_store_n(&run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		atomic_store(&c->in_guest, true);
		if (atomic_load(&c->kicked)) /* finish what is open, but go no further */
			__atomic_store_n(&run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		else
			inject(c);
		rc = ioctl(c->fd, KVM_RUN, 0);
		err = errno;
		atomic_store(&c->in_guest, false);
		count(c, KVM_N_RUN);
		if (rc < 0 && (err == EINTR || err == EAGAIN)) {
			count(c, KVM_N_SIGNAL);
			if (atomic_exchange(&c->kicked, false))
				return CPU_KICKED;
			continue;
		}
		if (rc < 0) {
			fail(c, "KVM cannot run: %s", strerror(err));
			return CPU_FAILED;
		}
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			count(c, KVM_N_IO);
			do_io(c);
			break;
		case KVM_EXIT_MMIO:
			count(c, KVM_N_MMIO);
			do_mmio(c);
			break;
		case KVM_EXIT_IOAPIC_EOI:
			count(c, KVM_N_EOI);
			h->eoi(h->m, run->eoi.vector);
			break;
		case KVM_EXIT_IRQ_WINDOW_OPEN:
			count(c, KVM_N_WINDOW);
			break;
		case KVM_EXIT_INTR:
			count(c, KVM_N_SIGNAL);
			break;
		case KVM_EXIT_HLT: /* the kernel's APIC keeps this to itself */
			count(c, KVM_N_OTHER);
			return CPU_HALTED;
		case KVM_EXIT_DEBUG:
			count(c, KVM_N_OTHER);
			return CPU_DEBUG;
		case KVM_EXIT_SHUTDOWN:
		case KVM_EXIT_SYSTEM_EVENT:
			c->shutdown = true;
			return CPU_SHUTDOWN;
		case KVM_EXIT_FAIL_ENTRY:
			fail(c, "the CPU refuses to enter the guest, reason 0x%llx",
				run->fail_entry.hardware_entry_failure_reason);
			return CPU_FAILED;
		case KVM_EXIT_INTERNAL_ERROR:
			fail_internal(c);
			return CPU_FAILED;
		default:
			fail(c,
				"KVM leaves the guest for a reason we do not know: %u, hardware "
				"%llu",
				run->exit_reason, run->hw.hardware_exit_reason);
			return CPU_FAILED;
		}
	}
}

static const char *kvm_error(struct engine_cpu *c)
{
	return c->error;
}

static size_t kvm_stats(struct engine_vm *vm, char *buf, size_t len)
{
	static const char *const name[KVM_NCOUNT] = {[KVM_N_RUN] = "exits",
		[KVM_N_IO] = "exits.io",
		[KVM_N_MMIO] = "exits.mmio",
		[KVM_N_EOI] = "exits.eoi",
		[KVM_N_WINDOW] = "exits.interrupt_window",
		[KVM_N_SIGNAL] = "exits.signal",
		[KVM_N_OTHER] = "exits.other"};
	size_t at = 0;

	for (unsigned n = 0; n <= KVM_NCOUNT; n++) {
		uint64_t v = n < KVM_NCOUNT ? 0 : atomic_load(&vm->msis);

		for (unsigned i = 0; n < KVM_NCOUNT && i < KVM_CPUS; i++)
			if (vm->cpu[i])
				v += atomic_load_explicit(
					&vm->cpu[i]->count[n], memory_order_relaxed);
		at += (size_t)snprintf(at < len ? buf + at : NULL, at < len ? len - at : 0,
			"%s %llu\n", n < KVM_NCOUNT ? name[n] : "messages", (unsigned long long)v);
	}
	return at < len ? at : len ? len - 1 : 0;
}

static int kvm_dirty(struct engine_vm *vm, uint64_t *bitmap)
{
	uint64_t now[MEM_FRAMEBUFFER_PAGES / 64] = {0};

	for (unsigned i = 0; i < vm->mem->nregions; i++) {
		struct kvm_dirty_log log = {.slot = i, .dirty_bitmap = now};

		if (vm->mem->region[i].framebuffer && ioctl(vm->vm, KVM_GET_DIRTY_LOG, &log))
			return -EAGAIN;
	}
	for (unsigned i = 0; i < vm->mem->watch_npages / 64; i++)
		bitmap[i] |= now[i];
	return 0;
}

const struct cpu_engine engine_kvm = {
	.name = "kvm",
	.about = "the processor's virtualization, through Linux' /dev/kvm",
	.own_lapic = true, /* so init and sipi are the kernel's affair */
	.vm_new = kvm_vm_new,
	.vm_free = kvm_vm_free,
	.cpu_new = kvm_cpu_new,
	.cpu_free = kvm_cpu_free,
	.run = kvm_run,
	.kick = kvm_kick,
	.irq = kvm_irq,
	.nmi = kvm_nmi,
	.msi = kvm_msi,
	.get = kvm_state_get,
	.set = kvm_state_set,
	.dirty = kvm_dirty,
	.error = kvm_error,
	.stats = kvm_stats,
};
