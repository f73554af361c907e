/* SPDX-License-Identifier: MIT */
/*
 * husk-vmm: vCPU threads and board of one machine. The supervisor (husk run) execs it with
 * descriptors only; it opens no path but /dev/kvm, drops every privilege before it looks at the
 * first byte of the guest, and holds nothing worth stealing. By hand it is good for tests:
 * everything is on the command line.
 */
#include <asm/prctl.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/vmm_args.h"
#include "engine/engine.h"
#include "engine/kvm/kvm.h"
#include "sandbox/sandbox.h"
#include "vm/machine.h"

/*
 * What husk-vmm does after start. Memory: malloc for boot payloads, thread stacks; guest RAM's
 * pages are given back with madvise. The code arena is mapped before, so nothing becomes executable
 * from here on.
 */
static const struct sandbox_syscall vmm_syscalls[] = {
	SANDBOX_RUNTIME,
	SANDBOX_MEMORY,
	SANDBOX_THREADS,
	/* messages of vhost-user bring descriptors, and so does a new line to a device process */
	SANDBOX_LOOP,
	/* stdio */
	SANDBOX_ALLOW(SYS_newfstatat),
	SANDBOX_ALLOW(SYS_fallocate),
	/* bt's GS base, on hosts whose kernel keeps WRGSBASE to itself */
	SANDBOX_ALLOW_IF(SYS_arch_prctl, 0, 0xffffffff, ARCH_SET_GS),
	SANDBOX_END,
};

enum { MAX_SYSCALLS = 128 };

/* The table above and what KVM's engine adds to it: its calls, and ioctl by request. */
static const struct sandbox_syscall *syscalls_with_kvm(void)
{
	static struct sandbox_syscall all[MAX_SYSCALLS];
	unsigned n = 0;

	while (vmm_syscalls[n].nr >= 0) {
		all[n] = vmm_syscalls[n];
		n++;
	}
	for (unsigned i = 0; kvm_syscalls[i] >= 0; i++)
		if (kvm_syscalls[i] != SYS_ioctl)
			all[n++] = (struct sandbox_syscall)SANDBOX_ALLOW(kvm_syscalls[i]);
	for (unsigned i = 0; kvm_ioctls[i]; i++)
		all[n++] = (struct sandbox_syscall)SANDBOX_ALLOW_IF(
			SYS_ioctl, 1, 0xffffffff, kvm_ioctls[i]);
	assert(n < MAX_SYSCALLS);
	all[n] = (struct sandbox_syscall)SANDBOX_END;
	return all;
}

enum { MAX_FDS = 4096 };

/* All descriptors but 0 to 2 and those named on the command line are strangers: they go before we
 * start. */
static void close_strangers(const int *keep, unsigned n)
{
	for (int fd = 3; fd < MAX_FDS; fd++) {
		bool wanted = false;

		for (unsigned i = 0; i < n; i++)
			wanted |= keep[i] == fd;
		if (!wanted)
			close(fd);
	}
	close_range(MAX_FDS, ~0u, 0);
}

/* Each device takes some: as many as are allowed at all, until the sandbox sets what is needed. */
static void allow_fds(void)
{
	struct rlimit rl;

	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static void keep_handed(const struct machine_config *c, int kernel_fd, int initrd_fd)
{
	int keep[7 + DEVICES_VHOST + DEVICES_CONSOLES] = {c->control_fd, c->serial_fd, kernel_fd, initrd_fd, c->input_fd,
		c->screen.scanout_fd, c->screen.event_fd};
	unsigned n = 7;

	for (unsigned i = 0; i < c->devices.nvhost; i++)
		keep[n++] = c->devices.vhost[i].fd;
	for (unsigned i = 0; i < c->devices.nconsoles; i++)
		keep[n++] = c->devices.console[i].fd;
	close_strangers(keep, n);
}

/* What is open then was opened by us: epoll, timers, guest RAM, KVM. */
static void list_fds(int *list)
{
	unsigned n = 0;

	for (int fd = 0; fd < MAX_FDS && n < MAX_FDS - 1; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			list[n++] = fd;
	list[n] = -1;
}

static void usage(FILE *f)
{
	fprintf(f, "husk-vmm runs one virtual machine; husk run starts it. By hand:\n"
		   "  husk-vmm --kernel-fd N [--initrd-fd N] [--serial-fd N] [--control-fd N] "
		   "[--append S]\n"
		   "           [--memory BYTES] [--cpus N] [--engine auto|kvm|bt|interp|check] [--cpu "
		   "MODEL] [--name S]\n"
		   "           [--no-reboot] [--testdev] [--debug CATEGORIES]\n"
		   "           [--vhost NAME,blk|net,fd=N,queues=N,size=N[,mac=MAC][,mtu=N]]... [--console "
		   "NAME,fd=N]...\n"
		   "           [--no-rng] [--no-balloon] [--root-ports N] [--screen WxH,fd=N,event=N] "
		   "[--input-fd N]\n"
		   "  husk-vmm --probe-engines     one line per engine: name, ok or no, reason "
		   "(tab separated)\n"
		   "Exit codes: 0 power-off, 1 error, 2 usage, 3 guest panic, 4 triple fault, 5 "
		   "engine, 6 stopped.\n");
}

static int probe_engines(void)
{
	const struct cpu_engine *const *list = engine_list();
	char why[256];

	for (unsigned i = 0; list[i]; i++) {
		int rc = engine_probe(list[i], why, sizeof why);

		printf("%s\t%s\t%s\n", list[i]->name, rc ? "no" : "ok", why);
	}
	return 0;
}

static int map_file(const char *what, int fd, const uint8_t **p, size_t *len, struct err *e)
{
	struct stat st;
	void *m;

	if (fstat(fd, &st))
		return err_set(e, errno, "%s: %s", what, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "%s is not a regular file", what);
	if (st.st_size == 0)
		return err_set(e, EINVAL, "%s is empty", what);
	m = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (m == MAP_FAILED)
		return err_set(e, errno, "cannot map %s: %s", what, strerror(errno));
	*p = m;
	*len = (size_t)st.st_size;
	return 0;
}

static int fail(int control, const struct err *e)
{
	if (control >= 0)
		vmm_msg_send(control, VMM_ERROR, VMM_EXIT_ERROR, 0, e->text);
	else
		log_err("%s", e->text);
	return VMM_EXIT_ERROR;
}

static void ready_text(char *buf, size_t len, const struct machine *m,
	const struct sandbox_report *r, const char *note)
{
	size_t n = (size_t)snprintf(buf, len, "engine=%s\nengine_why=%s\nboot=%s\n",
		machine_engine(m), machine_engine_why(m), note);

	for (unsigned i = 0; i < SANDBOX_NSTAGES && n < len; i++) {
		char line[200];

		sandbox_report_format(r, (enum sandbox_stage)i, line);
		n += (size_t)snprintf(buf + n, len - n, "sandbox=%s\n", line);
	}
}

static uint64_t number(const char *name, const char *s, uint64_t max)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || end == s || *s == '-' || v > max) {
		log_err("--%s %s: not a number from 0 to %llu", name, s, (unsigned long long)max);
		exit(VMM_EXIT_USAGE);
	}
	return v;
}

int main(int argc, char **argv)
{
	enum {
		OPT_CONTROL = 256,
		OPT_KERNEL,
		OPT_INITRD,
		OPT_SERIAL,
		OPT_APPEND,
		OPT_MEMORY,
		OPT_CPUS,
		OPT_ENGINE,
		OPT_CPU,
		OPT_NAME,
		OPT_NO_REBOOT,
		OPT_TESTDEV,
		OPT_DEBUG,
		OPT_PROBE,
		OPT_VHOST,
		OPT_CONSOLE,
		OPT_NO_RNG,
		OPT_NO_BALLOON,
		OPT_ROOT_PORTS,
		OPT_SCREEN,
		OPT_INPUT,
		OPT_HELP
	};
	static const struct option opts[] = {{"control-fd", 1, NULL, OPT_CONTROL},
		{"kernel-fd", 1, NULL, OPT_KERNEL}, {"initrd-fd", 1, NULL, OPT_INITRD},
		{"serial-fd", 1, NULL, OPT_SERIAL}, {"append", 1, NULL, OPT_APPEND},
		{"memory", 1, NULL, OPT_MEMORY}, {"cpus", 1, NULL, OPT_CPUS},
		{"engine", 1, NULL, OPT_ENGINE}, {"cpu", 1, NULL, OPT_CPU},
		{"name", 1, NULL, OPT_NAME}, {"no-reboot", 0, NULL, OPT_NO_REBOOT},
		{"testdev", 0, NULL, OPT_TESTDEV}, {"debug", 1, NULL, OPT_DEBUG},
		{"probe-engines", 0, NULL, OPT_PROBE}, {"help", 0, NULL, OPT_HELP},
		{"vhost", 1, NULL, OPT_VHOST}, {"console", 1, NULL, OPT_CONSOLE}, {"no-rng", 0, NULL, OPT_NO_RNG},
		{"no-balloon", 0, NULL, OPT_NO_BALLOON}, {"root-ports", 1, NULL, OPT_ROOT_PORTS},
		{"screen", 1, NULL, OPT_SCREEN}, {"input-fd", 1, NULL, OPT_INPUT},
		{NULL, 0, NULL, 0}};
	static struct machine_config c = {.name = "guest",
		.memory = 512 * MIB,
		.devices = {.rng = true, .balloon = true},
		.ncpus = 1,
		.engine = "auto",
		.append = "",
		.control_fd = -1,
		.serial_fd = -1,
		.screen = {.scanout_fd = -1, .event_fd = -1},
		.input_fd = -1};
	int kernel_fd = -1, initrd_fd = -1, o;
	static int fds[MAX_FDS];
	char text[512], append[8192], ready[VMM_TEXT_MAX];
	struct sandbox_policy policy = {.program = "husk-vmm", .keep_fds = fds};
	struct sandbox_report report;
	struct machine *m = NULL;
	enum vmm_exit code;
	const char *note;
	uint32_t arg2 = 0;
	struct err e = {0};

	log_init("husk-vmm", LOG_INFO);
	while ((o = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (o) {
		case OPT_CONTROL:
			c.control_fd = (int)number("control-fd", optarg, 1 << 20);
			break;
		case OPT_KERNEL:
			kernel_fd = (int)number("kernel-fd", optarg, 1 << 20);
			break;
		case OPT_INITRD:
			initrd_fd = (int)number("initrd-fd", optarg, 1 << 20);
			break;
		case OPT_SERIAL:
			c.serial_fd = (int)number("serial-fd", optarg, 1 << 20);
			break;
		case OPT_APPEND:
			c.append = optarg;
			break;
		case OPT_MEMORY:
			c.memory = number("memory", optarg, UINT64_MAX - 1);
			break;
		case OPT_CPUS:
			c.ncpus = (unsigned)number("cpus", optarg, 255);
			break;
		case OPT_ENGINE:
			c.engine = optarg;
			break;
		case OPT_CPU:
			c.cpu = optarg;
			break;
		case OPT_NAME:
			c.name = optarg;
			break;
		case OPT_NO_REBOOT:
			c.no_reboot = true;
			break;
		case OPT_TESTDEV:
			c.testdev = true;
			break;
		case OPT_DEBUG:
			log_debug_set(optarg);
			break;
		case OPT_PROBE:
			return probe_engines();
		case OPT_VHOST:
		case OPT_CONSOLE:
			if (o == OPT_VHOST ? vmm_arg_vhost(&c.devices, optarg, &e)
					   : vmm_arg_console(&c.devices, optarg, &e)) {
				log_err("%s", e.text);
				return VMM_EXIT_USAGE;
			}
			break;
		case OPT_SCREEN:
			if (vmm_arg_screen(&c.screen, optarg, &e)) {
				log_err("%s", e.text);
				return VMM_EXIT_USAGE;
			}
			break;
		case OPT_INPUT:
			c.input_fd = (int)number("input-fd", optarg, 1 << 20);
			break;
		case OPT_NO_RNG:
			c.devices.rng = false;
			break;
		case OPT_NO_BALLOON:
			c.devices.balloon = false;
			break;
		case OPT_ROOT_PORTS:
			c.devices.root_ports = (unsigned)number("root-ports", optarg, 16);
			break;
		case OPT_HELP:
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return VMM_EXIT_USAGE;
		}
	}
	if (kernel_fd < 0 || !c.ncpus || optind != argc) {
		usage(stderr);
		return VMM_EXIT_USAGE;
	}
	signal(SIGPIPE, SIG_IGN);
	keep_handed(&c, kernel_fd, initrd_fd);
	allow_fds();
	if (c.control_fd >= 0)
		prctl(PR_SET_PDEATHSIG,
			SIGKILL); /* the supervisor's death must not leave a guest behind */
	prctl(PR_SET_NAME, "husk-vmm");
	/* A kernel that panics resets, and the supervisor sees why; unless the user wants
	 * otherwise. */
	if (!c.testdev && !strstr(c.append, "panic=")) {
		if (snprintf(append, sizeof append, "%s%spanic=-1", c.append,
			    c.append[0] ? " " : "") < (int)sizeof append)
			c.append = append;
	}
	c.mapped = true;
	if (map_file("the kernel", kernel_fd, &c.kernel, &c.kernel_len, &e) ||
		(initrd_fd >= 0 && map_file("the initrd", initrd_fd, &c.initrd, &c.initrd_len, &e)))
		return fail(c.control_fd, &e);
	close(kernel_fd);
	if (initrd_fd >= 0)
		close(initrd_fd);
	if (machine_new(&m, &c, &e))
		return fail(c.control_fd, &e);
	list_fds(fds);
	policy.new_fds = machine_fds(m);
	policy.syscalls = strcmp(machine_engine(m), "kvm") ? vmm_syscalls : syscalls_with_kvm();
	if (sandbox_enter(&policy, &report, &e)) {
		err_prefix(&e, "husk-vmm cannot lock itself in");
		return fail(c.control_fd, &e);
	}
	if (machine_boot(m, &note, &e))
		return fail(c.control_fd, &e);
	ready_text(ready, sizeof ready, m, &report, note);
	vmm_msg_send(c.control_fd, VMM_READY, 0, 0, ready);
	code = machine_run(m, &arg2, text, sizeof text);
	vmm_msg_send(c.control_fd, VMM_EXIT, code, arg2, text);
	if (c.control_fd < 0)
		log_info("%s", text);
	return code == VMM_EXIT_DEBUG ? (int)arg2 : (int)code;
}
