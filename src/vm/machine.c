/* SPDX-License-Identifier: MIT */
/*
 * The board (docs/architecture.md, "The guest's machine") and the threads that run it.
 *
 * Threads. The main thread runs the loop: serial input, timers, control line. vCPU threads run the
 * engine and enter devices through the bus, under its lock. What a device asks for from there
 * (power off, reset, exit, panic) is only noted in m->want; the main thread acts on it, because
 * stopping vCPUs from one of them would wait for itself.
 *
 * Sleep. A halted vCPU waits on its futex word `wake`. Whoever gives it something to do raises the
 * engine's attention first, then counts wake up: the thread has read the word before it ran the
 * engine, so it cannot sleep through it.
 *
 * Pause. vCPUs are stopped by setting m->pause, kicking all, and waiting until all have parked.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"
#include "bus/bus.h"
#include "bus/pci.h"
#include "dev/acpi.h"
#include "dev/ioapic.h"
#include "dev/lapic.h"
#include "dev/legacy.h"
#include "engine/engine.h"
#include "mem/mem.h"
#include "vm/boot.h"
#include "vm/machine.h"
#include "vm/viewers.h"
#include "x86/cpuid.h"

enum { SERIAL_OUT = 64 * 1024, SERIAL_IN = 4096, SERIAL_FLUSH_NS = 1000000, SERIAL_EAGER = 256 };

struct vcpu {
	struct machine *m;
	struct engine_cpu *c;
	unsigned id;
	pthread_t thread;
	bool started;
	_Atomic uint32_t wake; /* futex */
	_Atomic bool asleep;
	bool parked; /* under m->lock */
};

/* What somebody wants to happen to the machine; the strongest wish wins. */
enum want { WANT_NOTHING, WANT_RESET, WANT_END };

struct machine {
	struct machine_config cfg;
	struct loop *loop;
	struct mem mem;
	struct x86_cpuid cpuid;
	const struct cpu_engine *eng;
	struct engine_vm *evm;
	struct cpu_host host;
	char engine_why[256];
	char boot_note[256];
	struct x86_state entry; /* of CPU 0 */

	struct bus *bus;
	struct lapics *lapics;
	struct ioapic *ioapic;
	struct uart *uart;
	struct rtc *rtc;
	struct pic *pic;
	struct pit *pit;
	struct i8042 *i8042;
	struct acpi_pm *pm;
	struct debugport *debugport;
	struct testdev *testdev;
	struct fwcfg *fwcfg;
	struct pci *pci;
	struct devices *devices;
	struct screen *screen;   /* NULL: there is none */
	struct viewers *viewers; /* these two: only if asked for */
	struct input *input;

	struct vcpu *cpu;

	pthread_mutex_t lock; /* pause, quit, parked, want and what goes with it */
	pthread_cond_t parked_cond, resume_cond;
	bool pause, quit;
	bool resetting; /* the loop's: waits until the devices have let go of guest memory */
	enum want want;
	enum vmm_exit exit;
	uint32_t exit_arg2;
	char exit_text[sizeof((struct err *)0)->text];
	int wish_fd; /* eventfd: want has changed */
	struct watch wish_watch;

	struct watch control_watch;
	char stats[VMM_STATS_MAX]; /* the answer to VMM_GET_STATS; the loop's */

	/* serial line: out is under serial_lock, in belongs to the loop */
	pthread_mutex_t serial_lock;
	pthread_cond_t serial_room;
	uint8_t out[SERIAL_OUT];
	size_t out_len;
	bool out_blocked, out_dead, flush_armed;
	struct timer flush_timer;
	struct watch serial_watch;
	uint8_t in[SERIAL_IN];
	size_t in_off, in_len;
	bool serial_eof;
};

/* ---- vCPUs ---- */

static void vcpu_wake(struct vcpu *v)
{
	atomic_fetch_add(&v->wake, 1);
	if (atomic_load(&v->asleep))
		syscall(SYS_futex, &v->wake, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void want(
	struct machine *m, enum want w, enum vmm_exit code, uint32_t arg2, const char *text)
{
	uint64_t one = 1;

	pthread_mutex_lock(&m->lock);
	if (w > m->want) {
		m->want = w;
		m->exit = code;
		m->exit_arg2 = arg2;
		snprintf(m->exit_text, sizeof m->exit_text, "%s", text);
	}
	pthread_mutex_unlock(&m->lock);
	if (write(m->wish_fd, &one, sizeof one) < 0) {
		/* the counter is full: the loop has been told often enough */
	}
}

static bool wish_pending(struct machine *m)
{
	bool yes;

	pthread_mutex_lock(&m->lock);
	yes = m->want != WANT_NOTHING;
	pthread_mutex_unlock(&m->lock);
	return yes;
}

/* Waits while the machine is paused; false when it is over. */
static bool vcpu_may_run(struct vcpu *v)
{
	struct machine *m = v->m;
	bool go;

	pthread_mutex_lock(&m->lock);
	while (m->pause && !m->quit) {
		v->parked = true;
		pthread_cond_signal(&m->parked_cond);
		pthread_cond_wait(&m->resume_cond, &m->lock);
	}
	v->parked = false;
	go = !m->quit;
	pthread_mutex_unlock(&m->lock);
	return go;
}

static void describe_cpu(struct vcpu *v, char *buf, size_t len)
{
	struct x86_state s;

	v->m->eng->get(v->c, &s);
	snprintf(buf, len,
		"CPU %u at rip 0x%" PRIx64 ", rsp 0x%" PRIx64 ", cr2 0x%" PRIx64 ", cr3 0x%" PRIx64,
		v->id, s.rip, s.gpr[X86_RSP], s.cr2, s.cr3);
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	struct machine *m = v->m;
	char text[256], where[200];

	while (vcpu_may_run(v)) {
		uint32_t seen = atomic_load(&v->wake);

		switch (m->eng->run(v->c)) {
		case CPU_KICKED:
		case CPU_DEBUG:
			break;
		case CPU_HALTED:
			atomic_store(&v->asleep, true);
			if (atomic_load(&v->wake) == seen)
				syscall(SYS_futex, &v->wake, FUTEX_WAIT_PRIVATE, seen, NULL, NULL,
					0);
			atomic_store(&v->asleep, false);
			break;
		case CPU_SHUTDOWN:
			/* a guest that asked for a reset tries the next way, at last this one,
			 * until it comes */
			if (wish_pending(m))
				break;
			describe_cpu(v, where, sizeof where);
			snprintf(text, sizeof text, "guest triple fault on %s", where);
			goto over;
		case CPU_FAILED:
			describe_cpu(v, where, sizeof where);
			snprintf(text, sizeof text, "%s engine cannot go on: %.80s; %.150s",
				m->eng->name,
				m->eng->error(v->c), where);
			want(m, WANT_END, VMM_EXIT_ENGINE, 0, text);
			goto park;
		}
	}
	return NULL;
over:
	want(m, WANT_END, VMM_EXIT_TRIPLE, 0, text);
park:
	/* the main thread ends the machine; until then this CPU answers requests to park */
	pthread_mutex_lock(&m->lock);
	v->parked = true;
	pthread_cond_signal(&m->parked_cond);
	while (!m->quit)
		pthread_cond_wait(&m->resume_cond, &m->lock);
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

static void machine_pause(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->pause = true;
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		m->eng->kick(m->cpu[i].c);
		vcpu_wake(&m->cpu[i]);
	}
	for (unsigned i = 0; i < m->cfg.ncpus; i++)
		while (m->cpu[i].started && !m->cpu[i].parked)
			pthread_cond_wait(&m->parked_cond, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

static void machine_resume(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->pause = false;
	for (unsigned i = 0; i < m->cfg.ncpus; i++)
		m->cpu[i].parked = false;
	pthread_cond_broadcast(&m->resume_cond);
	pthread_mutex_unlock(&m->lock);
}

/* ---- what the engine asks for ---- */

static uint64_t host_read(void *arg, unsigned cpu, bool io, uint64_t addr, unsigned len)
{
	return bus_read(((struct machine *)arg)->bus, io ? BUS_PIO : BUS_MMIO, cpu, addr, len);
}

static void host_write(void *arg, unsigned cpu, bool io, uint64_t addr, uint64_t v, unsigned len)
{
	bus_write(((struct machine *)arg)->bus, io ? BUS_PIO : BUS_MMIO, cpu, addr, v, len);
}

static int host_intack(void *arg, unsigned cpu)
{
	struct machine *m = arg;
	int vector;

	bus_lock(m->bus);
	vector = m->lapics ? lapics_ack(m->lapics, cpu) : pic_ack(m->pic);
	bus_unlock(m->bus);
	return vector;
}

static enum cpu_msr msr_result(enum lapic_result r)
{
	return r == LAPIC_OK ? CPU_MSR_OK : r == LAPIC_GP ? CPU_MSR_GP : CPU_MSR_UNKNOWN;
}

static enum cpu_msr host_rdmsr(void *arg, unsigned cpu, uint32_t msr, uint64_t *v)
{
	struct machine *m = arg;
	enum lapic_result r;

	if (!m->lapics)
		return CPU_MSR_UNKNOWN;
	bus_lock(m->bus);
	r = lapics_rdmsr(m->lapics, cpu, msr, v);
	bus_unlock(m->bus);
	return msr_result(r);
}

static enum cpu_msr host_wrmsr(void *arg, unsigned cpu, uint32_t msr, uint64_t v)
{
	struct machine *m = arg;
	enum lapic_result r;

	if (!m->lapics)
		return CPU_MSR_UNKNOWN;
	bus_lock(m->bus);
	r = lapics_wrmsr(m->lapics, cpu, msr, v);
	bus_unlock(m->bus);
	return msr_result(r);
}

static uint64_t host_cr8(void *arg, unsigned cpu)
{
	struct machine *m = arg;
	uint64_t v = 0;

	if (m->lapics) {
		bus_lock(m->bus);
		v = lapics_cr8(m->lapics, cpu);
		bus_unlock(m->bus);
	}
	return v;
}

static void host_set_cr8(void *arg, unsigned cpu, uint64_t v)
{
	struct machine *m = arg;

	if (!m->lapics)
		return;
	bus_lock(m->bus);
	lapics_set_cr8(m->lapics, cpu, v);
	bus_unlock(m->bus);
}

static void host_eoi(void *arg, unsigned vector)
{
	struct machine *m = arg;

	bus_lock(m->bus);
	ioapic_eoi(m->ioapic, vector);
	bus_unlock(m->bus);
}

static void host_touched(void *arg)
{
	screen_touched(((struct machine *)arg)->screen);
}

/* ---- what the local APICs ask for; the bus lock is held ---- */

static void apic_irq(void *arg, unsigned cpu, bool pending)
{
	struct machine *m = arg;

	m->eng->irq(m->cpu[cpu].c, pending);
	if (pending)
		vcpu_wake(&m->cpu[cpu]);
}

static void apic_nmi(void *arg, unsigned cpu)
{
	struct machine *m = arg;

	m->eng->nmi(m->cpu[cpu].c);
	vcpu_wake(&m->cpu[cpu]);
}

static void apic_init(void *arg, unsigned cpu)
{
	struct machine *m = arg;

	m->eng->init(m->cpu[cpu].c);
	vcpu_wake(&m->cpu[cpu]);
}

static void apic_sipi(void *arg, unsigned cpu, uint8_t vector)
{
	struct machine *m = arg;

	m->eng->sipi(m->cpu[cpu].c, vector);
	vcpu_wake(&m->cpu[cpu]);
}

static void apic_eoi(void *arg, unsigned vector)
{
	ioapic_eoi(((struct machine *)arg)->ioapic, vector);
}

static uint64_t apic_tsc(void *arg, unsigned cpu)
{
	(void)arg;
	(void)cpu;
	return __builtin_ia32_rdtsc(); /* engines hand over deadlines in host time */
}

static void board_msi(void *arg, uint64_t addr, uint32_t data)
{
	struct machine *m = arg;

	if (m->lapics)
		lapics_msi(m->lapics, addr, data);
	else
		m->eng->msi(m->evm, addr, data);
}

static void board_intr(void *arg, bool level)
{
	struct machine *m = arg;

	if (m->lapics)
		lapics_extint(m->lapics, level);
	else
		m->eng->irq(m->cpu[0].c, level);
}

/* ISA line: to the 8259s and to the IOAPIC, where the timer sits on pin 2 (MADT override). */
static void board_isa(void *arg, unsigned line, bool level)
{
	struct machine *m = arg;

	pic_set(m->pic, line, level);
	ioapic_set(m->ioapic, line == 0 ? 2 : line, level);
}

/* ---- what virtio devices say; any thread ---- */

static void device_state(void *arg, unsigned number, unsigned state, const char *why)
{
	vmm_msg_send(((struct machine *)arg)->cfg.control_fd, VMM_DEVICE, number, state, why);
}

static void devices_idle_now(void *arg)
{
	want(arg, WANT_NOTHING, 0, 0, "");
}

static void device_wrote_code(void *arg, uint64_t gpa, uint64_t len)
{
	struct machine *m = arg;

	m->eng->code_changed(m->evm, gpa, len);
}

/* ---- what devices ask for; the bus lock is held ---- */

static void dev_poweroff(void *arg)
{
	want(arg, WANT_END, VMM_EXIT_POWEROFF, 0, "guest powered off");
}

static void dev_reset(void *arg)
{
	want(arg, WANT_RESET, VMM_EXIT_POWEROFF, 0, "guest reset");
}

static void dev_exit(void *arg, uint32_t value)
{
	char text[80];

	snprintf(text, sizeof text, "guest ended by debug exit with value %" PRIu32, value);
	want(arg, WANT_END, VMM_EXIT_DEBUG, (value << 1 | 1) & 0xff, text);
}

static void dev_panicked(void *arg, uint8_t events)
{
	if (events & 1)
		want(arg, WANT_END, VMM_EXIT_PANIC, 0,
			"guest kernel panicked (it said so through pvpanic)");
	else
		log_info("guest loaded its crash kernel");
}

/* ---- serial line ---- */

/* Sends what is there; serial_lock held. */
static void serial_flush_locked(struct machine *m)
{
	size_t done = 0;

	if (m->flush_armed) {
		m->flush_armed = false;
		timer_set(m->loop, &m->flush_timer, 0);
	}
	while (done < m->out_len && !m->out_dead) {
		ssize_t n = send(m->cfg.serial_fd, m->out + done, m->out_len - done,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			done += (size_t)n;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN) {
			m->out_blocked = true;
			break;
		} else {
			m->out_dead = true;
		}
	}
	if (m->out_dead)
		done = m->out_len;
	memmove(m->out, m->out + done, m->out_len - done);
	m->out_len -= done;
	if (done)
		pthread_cond_broadcast(&m->serial_room);
}

static void serial_events(struct machine *m);

/* A guest whose console nobody reads waits here: nothing is lost, and husk stop still works. */
static void serial_tx(void *arg, const uint8_t *p, size_t n)
{
	struct machine *m = arg;
	bool eager, blocked;

	if (m->cfg.serial_fd < 0)
		return;
	pthread_mutex_lock(&m->serial_lock);
	for (size_t i = 0; i < n; i++) {
		while (m->out_len == SERIAL_OUT && !m->out_dead)
			pthread_cond_wait(&m->serial_room, &m->serial_lock);
		if (m->out_dead)
			break;
		m->out[m->out_len++] = p[i];
	}
	eager = n && (p[n - 1] == '\n' || m->out_len >= SERIAL_EAGER);
	blocked = m->out_blocked;
	if (!blocked && eager) {
		serial_flush_locked(m);
		blocked = m->out_blocked;
		if (blocked)
			serial_events(m);
	} else if (!blocked && !m->flush_armed) {
		m->flush_armed = true;
		timer_set(m->loop, &m->flush_timer, now_ns() + SERIAL_FLUSH_NS);
	}
	pthread_mutex_unlock(&m->serial_lock);
}

static void serial_tx_byte(void *arg, uint8_t byte)
{
	serial_tx(arg, &byte, 1);
}

static void serial_flush_fire(struct timer *t)
{
	struct machine *m = CONTAINER_OF(t, struct machine, flush_timer);

	pthread_mutex_lock(&m->serial_lock);
	m->flush_armed = false;
	if (!m->out_blocked) {
		serial_flush_locked(m);
		if (m->out_blocked)
			serial_events(m);
	}
	pthread_mutex_unlock(&m->serial_lock);
}

/* epoll_ctl is safe from any thread; the watch itself stays where it is. serial_lock held. */
static void serial_events(struct machine *m)
{
	uint32_t ev = 0;

	if (m->out_blocked)
		ev |= EPOLLOUT;
	if (m->in_off == m->in_len && !m->serial_eof)
		ev |= EPOLLIN;
	if (m->serial_watch.slot)
		loop_mod(m->loop, &m->serial_watch, ev);
}

/* Feeds the UART from the input buffer. */
static void serial_feed(struct machine *m)
{
	bus_lock(m->bus);
	m->in_off += uart_rx(m->uart, m->in + m->in_off, m->in_len - m->in_off);
	bus_unlock(m->bus);
}

static void serial_ready(struct watch *w, uint32_t events)
{
	struct machine *m = CONTAINER_OF(w, struct machine, serial_watch);

	if (events & EPOLLIN && m->in_off == m->in_len) {
		ssize_t n = recv(w->fd, m->in, sizeof m->in, MSG_DONTWAIT);

		if (n > 0) {
			m->in_off = 0;
			m->in_len = (size_t)n;
			serial_feed(m);
		} else if (n == 0) {
			m->serial_eof = true;
		}
	}
	if (events & (EPOLLHUP | EPOLLERR)) {
		loop_del(m->loop, w);
		pthread_mutex_lock(&m->serial_lock);
		m->out_dead = true;
		m->out_len = 0;
		pthread_cond_broadcast(&m->serial_room);
		pthread_mutex_unlock(&m->serial_lock);
		return;
	}
	pthread_mutex_lock(&m->serial_lock);
	if (events & EPOLLOUT) {
		m->out_blocked = false;
		serial_flush_locked(m);
	}
	serial_events(m);
	pthread_mutex_unlock(&m->serial_lock);
}

/* The UART has room again: called on a vCPU thread, the loop does the work. */
static void serial_room(void *arg)
{
	want(arg, WANT_NOTHING, 0, 0, "");
}

/* ---- the line to the supervisor ---- */

static void control_stats(struct machine *m, uint32_t id)
{
	size_t n = 0;

	if (m->eng->stats)
		n = m->eng->stats(m->evm, m->stats, sizeof m->stats);
	n += devices_stats(m->devices, m->stats + n, sizeof m->stats - n);
	if (m->screen)
		n += screen_stats(m->screen, m->stats + n, sizeof m->stats - n);
	vmm_stats_send(m->cfg.control_fd, id, m->stats, n);
}

static void machine_reset(struct machine *m);

static void control_ready(struct watch *w, uint32_t events)
{
	struct machine *m = CONTAINER_OF(w, struct machine, control_watch);
	struct vmm_msg msg;
	unsigned nfds = 1;
	int fd = -1;
	ssize_t n;

	(void)events;
	n = fd_recv(w->fd, &msg, sizeof msg, &fd, &nfds);
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (nfds && n >= (ssize_t)offsetof(struct vmm_msg, text) && msg.type == VMM_NEW_DEVICE &&
		msg.arg < m->cfg.devices.nvhost) {
		devices_socket(m->devices, msg.arg, fd);
		return;
	}
	if (nfds)
		close(fd);
	if (n < (ssize_t)offsetof(struct vmm_msg, text)) {
		/* the supervisor is gone, or it is not one */
		loop_del(m->loop, w);
		want(m, WANT_END, VMM_EXIT_STOPPED, 0, "the supervisor is gone");
		return;
	}
	switch (msg.type) {
	case VMM_BUTTON:
		bus_lock(m->bus);
		acpi_pm_button(m->pm);
		bus_unlock(m->bus);
		break;
	case VMM_QUIT:
		want(m, WANT_END, VMM_EXIT_STOPPED, 0, "stopped");
		break;
	case VMM_GET_STATS:
		control_stats(m, msg.arg);
		break;
	case VMM_SERIAL_BREAK:
		bus_lock(m->bus);
		uart_break(m->uart);
		bus_unlock(m->bus);
		break;
	case VMM_DO_RESET:
		machine_pause(m);
		machine_reset(m);
		break;
	case VMM_INPUT:
		if (m->viewers)
			viewers_events(m->viewers, msg.text, min_u64(msg.len, (size_t)n - offsetof(struct vmm_msg, text)));
		break;
	case VMM_GIVE_UP:
		if (msg.arg < m->cfg.devices.nvhost)
			devices_give_up(m->devices, msg.arg);
		break;
	default:
		break;
	}
}

/* ---- reset ---- */

static int cpus_set_up(struct machine *m, struct err *e)
{
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		struct x86_state s;
		int rc;

		x86_reset(&s, i);
		s.mtrr_def = m->entry.mtrr_def; /* firmware's work: the same on all CPUs */
		rc = m->eng->set(m->cpu[i].c, i ? &s : &m->entry, e);
		if (rc)
			return rc;
	}
	return 0;
}

/* All vCPUs are parked, and no device uses guest memory. Everything starts as after power-on, with RAM given back to the host. */
static void reset_finish(struct machine *m)
{
	const char *note;
	struct err e;

	m->resetting = false;
	for (unsigned i = 0; i < m->mem.nregions; i++) {
		const struct mem_region *r = &m->mem.region[i];

		if (madvise(r->host, r->len, MADV_REMOVE))
			log_debug("vm", "guest memory stays as it is over the reset: %s",
				strerror(errno));
		if (m->eng->code_changed)
			m->eng->code_changed(m->evm, r->gpa, r->len);
	}
	if (m->screen)
		screen_reset(m->screen);
	if (m->input) {
		bus_lock(m->bus);
		input_reset(m->input);
		bus_unlock(m->bus);
	}
	if (machine_boot(m, &note, &e)) {
		want(m, WANT_END, VMM_EXIT_ERROR, 0, e.text);
		return;
	}
	machine_resume(m);
}

/*
 * All vCPUs are parked. Devices in other processes may still have requests under way; the rest of the reset waits until
 * the last of them says that it has stopped (devices_idle_now).
 */
static void machine_reset(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->want = WANT_NOTHING;
	pthread_mutex_unlock(&m->lock);
	bus_reset(m->bus);
	m->resetting = true;
	if (devices_idle(m->devices))
		reset_finish(m);
}

/* Wishes that came from vCPU threads. */
static void wish_ready(struct watch *w, uint32_t events)
{
	struct machine *m = CONTAINER_OF(w, struct machine, wish_watch);
	enum want wish;
	uint64_t n;

	(void)events;
	if (read(w->fd, &n, sizeof n) < 0)
		return;
	if (m->in_off < m->in_len) {
		serial_feed(m);
		pthread_mutex_lock(&m->serial_lock);
		serial_events(m);
		pthread_mutex_unlock(&m->serial_lock);
	}
	pthread_mutex_lock(&m->lock);
	wish = m->want;
	pthread_mutex_unlock(&m->lock);
	if (wish == WANT_END) {
		loop_stop(m->loop);
		return;
	}
	if (m->resetting && devices_idle(m->devices))
		reset_finish(m);
	if (wish != WANT_RESET || m->pause)
		return;
	machine_pause(m);
	if (m->cfg.no_reboot) {
		want(m, WANT_END, VMM_EXIT_POWEROFF, 0, "guest asked for a reboot (--no-reboot)");
		return;
	}
	pthread_mutex_lock(&m->serial_lock);
	serial_flush_locked(m); /* the supervisor looks at the last lines */
	pthread_mutex_unlock(&m->serial_lock);
	if (m->cfg.control_fd >= 0)
		vmm_msg_send(m->cfg.control_fd, VMM_RESET, 0, 0, "guest reset"); /* the answer decides */
	else
		machine_reset(m);
}

/* ---- set-up ---- */

#define MMIO64_SIZE (64 * GIB)

/* Behind RAM, with room for some that may be plugged */
static uint64_t mmio64_base(const struct machine *m)
{
	return align_up(max_u64(4 * GIB, mem_size(&m->mem) + GIB), GIB) + 4 * GIB;
}

static void dev_leds(void *arg, uint32_t leds)
{
	struct machine *m = arg;

	if (m->input)
		input_leds(m->input, true, leds);
}

/* Keys and pointers, for which there are devices by now. */
static int input_start(struct machine *m, struct err *e)
{
	const struct machine_config *c = &m->cfg;
	struct input_config in = {.i8042 = m->i8042,
		.keyboard = devices_input(m->devices, DEVICES_KEYBOARD),
		.tablet = devices_input(m->devices, DEVICES_TABLET),
		.mouse = devices_input(m->devices, DEVICES_MOUSE),
		.w = c->screen.w,
		.h = c->screen.h,
		.state = viewers_state};
	int rc;

	if (!c->screen.w && c->input_fd < 0)
		return 0;
	rc = viewers_new(&m->viewers, m->loop, m->bus, m->screen, c->input_fd, e);
	if (rc)
		return rc;
	in.arg = m->viewers;
	m->input = input_new(&in);
	viewers_input(m->viewers, m->input);
	return 0;
}

/* The 8259s as a BIOS leaves them, IRQ 2 and 11 open: test kernels in real mode count on it. */
static void pic_as_bios(struct machine *m)
{
	static const struct {
		uint16_t port;
		uint8_t value;
	} out[] = {{0x20, 0x11}, {0x21, 0x08}, {0x21, 0x04}, {0x21, 0x01}, {0xa0, 0x11},
		{0xa1, 0x70}, {0xa1, 0x02}, {0xa1, 0x01}, {0x21, 0xfb}, {0xa1, 0xf7}};

	for (unsigned i = 0; i < ARRAY_LEN(out); i++)
		bus_write(m->bus, BUS_PIO, 0, out[i].port, out[i].value, 1);
}

static int board_new(struct machine *m, struct err *e)
{
	const struct machine_config *c = &m->cfg;
	const struct acpi_pm_ops pm = {dev_poweroff, dev_reset, m};
	const struct debug_ops dbg = {serial_tx_byte, dev_exit, dev_panicked, m};
	const uint64_t size = mem_size(&m->mem), low = mem_low_end(&m->mem), fb = m->screen ? SCREEN_SIZE : 0;
	struct devices_config dc = c->devices;
	int rc;

	dc.input = m->screen;
	dc.framebuffer = SCREEN_BASE;
	dc.framebuffer_len = fb;
	m->bus = bus_new();
	m->ioapic = ioapic_new(m->bus, board_msi, m);
	if (ioapic_map(m->ioapic))
		return err_set(e, EEXIST, "IOAPIC: its place is taken");
	if (!m->eng->own_lapic) {
		const struct lapic_cpu_ops ops = {.irq = apic_irq,
			.nmi = apic_nmi,
			.init = apic_init,
			.sipi = apic_sipi,
			.eoi = apic_eoi,
			.tsc = apic_tsc,
			.tsc_khz = m->cpuid.tsc_khz,
			.maxphyaddr = m->cpuid.maxphyaddr,
			.arg = m};

		m->lapics = lapics_new(m->bus, m->loop, c->ncpus, &ops);
		if (lapics_map(m->lapics))
			return err_set(e, EEXIST, "local APIC: its place is taken");
	}
	m->pic = pic_new(m->bus, board_intr, m);
	if (m->lapics)
		lapics_set_pic(m->lapics, pic_ack, m->pic);
	m->pit = pit_new(m->bus, m->loop, (struct irq){board_isa, m, 0});
	m->rtc = rtc_new(m->bus, m->loop, (struct irq){board_isa, m, 8}, low, size - low);
	m->i8042 = i8042_new(m->bus, (struct irq){board_isa, m, 1}, (struct irq){board_isa, m, 12},
		dev_reset, m);
	m->uart = uart_new(m->bus, 0x3f8, (struct irq){board_isa, m, 4}, serial_tx, m);
	uart_on_room(m->uart, serial_room, m);
	m->pm = acpi_pm_new(m->bus, (struct irq){board_isa, m, ACPI_PM_GED_IRQ}, &pm);
	m->debugport = debugport_new(m->bus, &dbg);
	m->pci = pci_new(m->bus, &(struct pci_config){.ecam_base = BOARD_ECAM_BASE,
		.ecam_size = BOARD_ECAM_SIZE,
		.mmio32_base = BOARD_PCI_MMIO32 + fb,
		.mmio32_size = BOARD_ECAM_BASE - BOARD_PCI_MMIO32 - fb,
		.mmio64_base = mmio64_base(m),
		.mmio64_size = MMIO64_SIZE,
		.intx = {ioapic_set, m->ioapic, 16},
		.dense = devices_count(&dc) > 31});
	if (c->testdev) {
		m->testdev = testdev_new(m->bus, board_isa, m);
		m->fwcfg = fwcfg_new(m->bus, size, c->ncpus);
		pic_as_bios(m);
	}
	rc = devices_new(&m->devices, &dc,
		&(struct devices_host){.bus = m->bus, .pci = m->pci, .mem = &m->mem, .loop = m->loop,
			.msi = board_msi, .state = device_state, .idle = devices_idle_now, .leds = dev_leds,
			.code_changed = m->eng->code_changed ? device_wrote_code : NULL, .arg = m},
		e);
	return rc ? rc : input_start(m, e);
}

static int engine_start(struct machine *m, struct err *e)
{
	int rc = m->eng->vm_new(&m->evm, &m->mem, &m->cpuid, &m->host, e);

	if (rc)
		return rc;
	m->cpu = xcalloc(m->cfg.ncpus, sizeof *m->cpu);
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		m->cpu[i].m = m;
		m->cpu[i].id = i;
		rc = m->eng->cpu_new(&m->cpu[i].c, m->evm, i, e);
		if (rc)
			return rc;
	}
	return 0;
}

static void engine_end(struct machine *m)
{
	for (unsigned i = 0; m->cpu && i < m->cfg.ncpus; i++)
		if (m->cpu[i].c)
			m->eng->cpu_free(m->cpu[i].c);
	if (m->evm)
		m->eng->vm_free(m->evm);
	free(m->cpu);
	m->cpu = NULL;
	m->evm = NULL;
}

int machine_new(struct machine **out, const struct machine_config *c, struct err *e)
{
	struct machine *m = xcalloc(1, sizeof *m);
	uint32_t khz;
	int rc;

	m->cfg = *c;
	m->wish_fd = -1;
	m->mem.fd = -1;
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->parked_cond, NULL);
	pthread_cond_init(&m->resume_cond, NULL);
	pthread_mutex_init(&m->serial_lock, NULL);
	pthread_cond_init(&m->serial_room, NULL);
	m->flush_timer.fire = serial_flush_fire;
	m->loop = loop_new();
	m->wish_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!m->loop || m->wish_fd < 0) {
		rc = err_set(e, errno, "event loop: %s", strerror(errno));
		goto fail;
	}
	if (!strcmp(c->engine, "auto")) {
		m->eng = engine_choose(m->engine_why, sizeof m->engine_why);
	} else {
		m->eng = engine_find(c->engine);
		if (!m->eng) {
			rc = err_set(
				e, EINVAL, "no engine '%s': husk doctor lists them", c->engine);
			goto fail;
		}
		snprintf(m->engine_why, sizeof m->engine_why, "asked for with --engine");
	}
	rc = mem_init_framebuffer(&m->mem, c->memory, SCREEN_BASE, c->screen.w ? SCREEN_SIZE : 0, e);
	if (!rc && c->screen.w)
		rc = screen_new(&m->screen, &c->screen, &m->mem, e);
	if (rc)
		goto fail;
	khz = x86_host_tsc_khz();
	rc = x86_cpuid_init(&m->cpuid, c->cpu, c->ncpus, khz, e);
	if (rc)
		goto fail;
	m->host = (struct cpu_host){.read = host_read,
		.write = host_write,
		.intack = host_intack,
		.rdmsr = host_rdmsr,
		.wrmsr = host_wrmsr,
		.cr8 = host_cr8,
		.set_cr8 = host_set_cr8,
		.eoi = host_eoi,
		.touched = m->screen ? host_touched : NULL,
		.m = m};
	rc = engine_start(m, e);
	if (rc && m->eng == &engine_bt) {
		/* no room for its code cache, or the wrong CPU: slow is better than not at all */
		log_warn("%s; going on with interp, which is several times slower", e->text);
		snprintf(m->engine_why, sizeof m->engine_why, "%.200s", e->text);
		engine_end(m);
		m->eng = &engine_interp;
		rc = engine_start(m, e);
	}
	if (rc)
		goto fail;
	rc = board_new(m, e);
	if (rc)
		goto fail;
	m->wish_watch = (struct watch){.fd = m->wish_fd, .ready = wish_ready};
	rc = loop_add(m->loop, &m->wish_watch, EPOLLIN);
	if (!rc && c->control_fd >= 0) {
		m->control_watch = (struct watch){.fd = c->control_fd, .ready = control_ready};
		rc = loop_add(m->loop, &m->control_watch, EPOLLIN);
	}
	if (!rc && c->serial_fd >= 0) {
		m->serial_watch = (struct watch){.fd = c->serial_fd, .ready = serial_ready};
		rc = loop_add(m->loop, &m->serial_watch, EPOLLIN);
	}
	if (rc) {
		err_set(e, -rc, "event loop: %s", strerror(-rc));
		goto fail;
	}
	*out = m;
	return 0;
fail:
	machine_free(m);
	return rc;
}

void machine_free(struct machine *m)
{
	if (!m)
		return;
	screen_free(m->screen);
	devices_free(m->devices);
	engine_end(m);
	if (m->bus) {
		fwcfg_free(m->fwcfg);
		testdev_free(m->testdev);
		pci_free(m->pci);
		debugport_free(m->debugport);
		acpi_pm_free(m->pm);
		uart_free(m->uart);
		input_free(m->input);
		viewers_free(m->viewers);
		i8042_free(m->i8042);
		rtc_free(m->rtc);
		pit_free(m->pit);
		pic_free(m->pic);
		lapics_free(m->lapics);
		ioapic_free(m->ioapic);
		bus_free(m->bus);
	}
	mem_fini(&m->mem);
	loop_free(m->loop);
	if (m->wish_fd >= 0)
		close(m->wish_fd);
	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->parked_cond);
	pthread_cond_destroy(&m->resume_cond);
	pthread_mutex_destroy(&m->serial_lock);
	pthread_cond_destroy(&m->serial_room);
	free(m);
}

unsigned machine_fds(const struct machine *m)
{
	return devices_fds(m->devices) + 1; /* and what comes with VMM_NEW_DEVICE */
}

const char *machine_engine(const struct machine *m)
{
	return m->eng->name;
}

const char *machine_engine_why(const struct machine *m)
{
	return m->engine_why;
}

/*
 * Where a BIOS would be: a guest that reboots by going to the reset vector in real mode asks for a
 * reset. Linux does so when ACPI says "hardware-reduced", from which it concludes UEFI
 * (efi_reboot_required()).
 */
static void put_reset_vector(uint8_t *area)
{
	static const uint8_t code[16] = {
		0xba, ACPI_PM_RESET & 0xff, ACPI_PM_RESET >> 8, /* mov dx, ACPI_PM_RESET */
		0xb0, ACPI_PM_RESET_VALUE,                      /* mov al, ACPI_PM_RESET_VALUE */
		0xee,                                           /* out dx, al */
		0xfa, 0xf4, 0xeb, 0xfd,                         /* cli; 1: hlt; jmp 1b */
	};

	memcpy(area + ACPI_AREA_SIZE - sizeof code, code, sizeof code); /* f000:fff0 */
}

int machine_boot(struct machine *m, const char **note, struct err *e)
{
	const struct machine_config *c = &m->cfg;
	struct boot_config b = {.kernel = c->kernel,
		.kernel_len = c->kernel_len,
		.initrd = c->initrd,
		.initrd_len = c->initrd_len,
		.append = c->append,
		.ncpus = c->ncpus};
	const struct acpi_config a = {.ncpus = c->ncpus,
		.mmio64_base = mmio64_base(m),
		.mmio64_size = MMIO64_SIZE};
	struct boot_result r;
	uint8_t screen[64];
	int rc;

	if (m->screen) {
		screen_info(m->screen, screen);
		b.screen_info = screen;
	}
	if (mem_low_end(&m->mem) >= MIB) {
		uint8_t *area = mem_at(&m->mem, ACPI_RSDP_ADDR, ACPI_AREA_SIZE);

		rc = area ? acpi_build(&a, area, ACPI_AREA_SIZE - 16, e)
			  : err_set(e, ENOMEM, "no room for ACPI tables");
		if (rc < 0)
			return rc;
		put_reset_vector(area);
		b.acpi_rsdp = ACPI_RSDP_ADDR;
	}
	x86_reset(&m->entry, 0);
	rc = boot_load(&b, &m->mem, &m->entry, &r, e);
	/* A reset will read the files again; until then nobody does. */
	if (c->mapped) {
		madvise((void *)(uintptr_t)c->kernel, c->kernel_len, MADV_DONTNEED);
		if (c->initrd)
			madvise((void *)(uintptr_t)c->initrd, c->initrd_len, MADV_DONTNEED);
	}
	if (rc)
		return rc;
	snprintf(m->boot_note, sizeof m->boot_note, "%s", r.note);
	*note = m->boot_note;
	return cpus_set_up(m, e);
}

enum vmm_exit machine_run(struct machine *m, uint32_t *arg2, char *text, size_t len)
{
	enum vmm_exit code;
	struct err e;

	if (devices_run(m->devices, &e) || (m->screen && screen_run(m->screen, m->eng, m->evm, &e)))
		want(m, WANT_END, VMM_EXIT_ERROR, 0, e.text);
	for (unsigned i = 0; i < m->cfg.ncpus; i++) {
		int rc = pthread_create(&m->cpu[i].thread, NULL, vcpu_main, &m->cpu[i]);

		if (rc) {
			snprintf(text, len, "cannot start the thread of CPU %u: %s", i,
				strerror(rc));
			want(m, WANT_END, VMM_EXIT_ERROR, 0, text);
			break;
		}
		m->cpu[i].started = true;
	}
	loop_run(m->loop);
	/* A vCPU that waits for room on a stuck console must get away from there first. */
	pthread_mutex_lock(&m->serial_lock);
	serial_flush_locked(m);
	m->out_dead = true;
	pthread_cond_broadcast(&m->serial_room);
	pthread_mutex_unlock(&m->serial_lock);
	machine_pause(m);
	pthread_mutex_lock(&m->lock);
	m->quit = true;
	code = m->exit;
	*arg2 = m->exit_arg2;
	snprintf(text, len, "%s", m->exit_text);
	pthread_cond_broadcast(&m->resume_cond);
	pthread_mutex_unlock(&m->lock);
	for (unsigned i = 0; i < m->cfg.ncpus; i++)
		if (m->cpu[i].started)
			pthread_join(m->cpu[i].thread, NULL);
	return code;
}
