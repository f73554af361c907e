/* SPDX-License-Identifier: MIT */
/*
 * husk doctor: what this host offers. One line per thing: what it is, ok or missing, the reason, and
 * where something can be done about it, what.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kvm.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/child.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "sandbox/sandbox.h"

enum verdict { OK, WEAK, MISSING };

struct doctor {
	struct cmd_common common;
	bool colour, all_well;
	bool engine_found;
};

static void __attribute__((format(printf, 5, 6)))
line(struct doctor *d, const char *what, enum verdict v, const char *remedy, const char *fmt, ...)
{
	static const char *const words[] = {"ok", "note", "missing"};
	static const char *const colours[] = {"\033[32m", "\033[33m", "\033[31m"};
	va_list ap;

	if (v == MISSING)
		d->all_well = false;
	printf("  %-18s %s%-7s%s  ", what, d->colour ? colours[v] : "", words[v],
		d->colour ? "\033[0m" : "");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("%s%s\n", remedy && v != OK ? "; remedy: " : "", remedy && v != OK ? remedy : "");
}

/* --- engines ----------------------------------------------------------------------------------- */

static void engine_line(struct doctor *d, char *text)
{
	char *save = NULL, *name = strtok_r(text, "\t", &save), *ok = strtok_r(NULL, "\t", &save),
	     *why = strtok_r(NULL, "", &save);
	const char *remedy = NULL;
	bool yes;

	if (!name || !ok)
		return;
	yes = !strcmp(ok, "ok");
	d->engine_found |= yes;
	if (!strcmp(name, "kvm") && access("/dev/kvm", F_OK))
		remedy = "none needed; for speed, a host with KVM, or --device /dev/kvm in a container";
	else if (!strcmp(name, "kvm") && access("/dev/kvm", R_OK | W_OK))
		remedy = "adduser $USER kvm, then log in again";
	line(d, name, yes ? OK : WEAK, remedy, "%s", why ? why : "");
}

static void engines(struct doctor *d)
{
	char path[4096], text[256];
	struct err e;
	int p[2], status = 0;
	pid_t pid;
	FILE *f;

	printf("Engines\n");
	if (child_find("husk-vmm", path, &e)) {
		line(d, "husk-vmm", MISSING, NULL, "%s", e.text);
		return;
	}
	if (pipe2(p, O_CLOEXEC))
		return;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		dup2(p[1], 1);
		execl(path, "husk-vmm", "--probe-engines", (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	f = fdopen(p[0], "r");
	while (f && fgets(text, sizeof text, f)) {
		text[strcspn(text, "\n")] = 0;
		engine_line(d, text);
	}
	if (f)
		fclose(f);
	if (pid > 0)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		line(d, "probe", MISSING, NULL, "%s --probe-engines failed (status 0x%x)", path,
			(unsigned)status);
	else if (!d->engine_found)
		line(d, "engine", MISSING, NULL, "none works here");
}

static void kvm(struct doctor *d)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), version;

	if (fd < 0) {
		line(d, "/dev/kvm", WEAK,
			errno == ENOENT ? "modprobe kvm_intel or kvm_amd, nested virtualization in the cloud, "
					  "or do without"
					: "adduser $USER kvm, then log in again",
			"%s", errno == ENOENT ? "this host has none; husk does without" : strerror(errno));
		return;
	}
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	line(d, "/dev/kvm", version == KVM_API_VERSION ? OK : WEAK, NULL,
		"opens, API version %d; whether it is fast is the engine's line above", version);
	close(fd);
}

/* --- sandbox ----------------------------------------------------------------------------------- */

static void sandbox(struct doctor *d)
{
	static const char *const remedies[SANDBOX_NSTAGES] = {
		[SANDBOX_NNP] = "Linux 3.5 or later",
		[SANDBOX_NAMESPACES] = "allow unprivileged user namespaces (sysctl "
			"kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
			"user.max_user_namespaces); in a container, a seccomp profile that allows unshare",
		[SANDBOX_ROOT] = "as for namespaces; in a container, also a profile that allows mount and "
			"pivot_root",
		[SANDBOX_CAPS] = "start husk as an ordinary user",
		[SANDBOX_LANDLOCK] = "Linux 5.13 or later with lsm=landlock,... on its command line; in a "
			"container, a seccomp profile that allows landlock_*",
		[SANDBOX_SECCOMP] = "a kernel with CONFIG_SECCOMP_FILTER; husk does not run without it",
	};
	struct sandbox_report r;
	int rc;

	printf("\nSandbox, tried just now as uid %u\n", (unsigned)geteuid());
	fflush(stdout);
	rc = sandbox_probe(&r);
	if (rc) {
		line(d, "sandbox", MISSING, NULL, "cannot be tried: %s", strerror(-rc));
		return;
	}
	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++)
		line(d, sandbox_stage_name(i), !r.stage[i].code ? OK
			: i == SANDBOX_NNP || i == SANDBOX_SECCOMP ? MISSING : WEAK, remedies[i], "%s",
			r.stage[i].text);
}

/* --- host -------------------------------------------------------------------------------------- */

static bool read_word(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, len - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return true;
}

static uint64_t read_number(const char *path, uint64_t otherwise)
{
	char buf[64];

	return read_word(path, buf, sizeof buf) ? strtoull(buf, NULL, 10) : otherwise;
}

static const char *limit_text(rlim_t v, char buf[32])
{
	return v == RLIM_INFINITY ? "unlimited" : format_size(v, buf);
}

static void limits(struct doctor *d)
{
	struct rlimit rl;
	char a[32];
	uint64_t n;

	if (!getrlimit(RLIMIT_NOFILE, &rl))
		line(d, "nofile", rl.rlim_cur >= 256 ? OK : MISSING, "ulimit -n 1024",
			"%llu open files", (unsigned long long)rl.rlim_cur);
	if (!getrlimit(RLIMIT_MEMLOCK, &rl))
		line(d, "memlock", OK, NULL, "%s; guest memory is not locked, so this is enough",
			limit_text(rl.rlim_cur, a));
	if (!getrlimit(RLIMIT_AS, &rl))
		line(d, "address space", rl.rlim_cur == RLIM_INFINITY ? OK : WEAK, "ulimit -v unlimited",
			"%s", limit_text(rl.rlim_cur, a));
	if (!getrlimit(RLIMIT_NPROC, &rl))
		line(d, "nproc", rl.rlim_cur >= 512 ? OK : WEAK, "ulimit -u 4096",
			"%llu processes and threads%s", (unsigned long long)rl.rlim_cur,
			rl.rlim_cur >= 512 ? "" : ": each CPU of a guest is a thread");
	n = read_number("/proc/sys/vm/max_map_count", 65530);
	line(d, "max_map_count", n >= 65530 ? OK : WEAK, "sysctl vm.max_map_count=65530", "%llu mappings",
		(unsigned long long)n);
	n = read_number("/proc/sys/vm/overcommit_memory", 0);
	line(d, "overcommit", n == 2 ? WEAK : OK,
		"sysctl vm.overcommit_memory=0, or give guests no more than the commit limit",
		n == 2 ? "strict (2): a guest's memory counts in full from its start"
		       : "mode %llu: guest memory is taken when it is used", (unsigned long long)n);
	n = read_number("/proc/sys/user/max_user_namespaces", 0);
	line(d, "user namespaces", n ? OK : WEAK, "sysctl user.max_user_namespaces=1000",
		"at most %llu", (unsigned long long)n);
}

static void memory(struct doctor *d)
{
	char word[128], *size;
	int fd = memfd_create("husk-doctor", MFD_CLOEXEC);
	uint64_t pages;
	void *p = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, 4096))
		p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (fd < 0)
		line(d, "memfd", MISSING, "a kernel with CONFIG_MEMFD_CREATE", "%s: guest memory lives in one",
			strerror(errno));
	else
		line(d, "memfd exec", p != MAP_FAILED ? OK : WEAK,
			"sysctl vm.memfd_noexec=0, or a security policy that allows execmem",
			"%s", p != MAP_FAILED ? "memory of a memfd may be executable (for the translator)"
					      : "refused: the binary translator cannot run");
	if (p != MAP_FAILED)
		munmap(p, 4096);
	if (fd >= 0)
		close(fd);
	pages = read_number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", 0);
	if (!read_word("/sys/kernel/mm/transparent_hugepage/shmem_enabled", word, sizeof word))
		strcpy(word, "[not there]");
	size = strchr(word, '[');
	if (size)
		size[strcspn(size, "]")] = 0;
	line(d, "hugepages", OK, NULL, "%llu reserved; transparent ones for guest memory: %s",
		(unsigned long long)pages, size ? size + 1 : word);
}

static void io_uring(struct doctor *d)
{
	char params[120] = {0}; /* struct io_uring_params */
	long fd = syscall(SYS_io_uring_setup, 4, params);

	if (fd >= 0) {
		close((int)fd);
		line(d, "io_uring", OK, NULL, "works: disks use it");
		return;
	}
	line(d, "io_uring", WEAK, errno == EPERM ? "sysctl kernel.io_uring_disabled=0, or a container profile "
		"that allows it" : "Linux 5.1 or later", "%s: disks use threads, which costs more CPU", strerror(errno));
}

/* --- devices ----------------------------------------------------------------------------------- */

/* A device process is there, and its libraries are: --help is the least that it can do. */
static void device_program(struct doctor *d, const char *program, const char *what, const char *remedy)
{
	char path[4096];
	struct err e;
	int status = 0;
	pid_t pid;

	if (child_find(program, path, &e)) {
		line(d, program, WEAK, remedy, "%s; there are no %s", e.text, what);
		return;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 1);
		dup2(null, 2);
		execl(path, program, "--help", (char *)NULL);
		_exit(127);
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid > 0 && WIFEXITED(status) && !WEXITSTATUS(status))
		line(d, program, OK, NULL, "starts; for %s", what);
	else
		line(d, program, WEAK, remedy, "does not start (status 0x%x); there are no %s", (unsigned)status, what);
}

static void tun(struct doctor *d)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd >= 0) {
		close(fd);
		line(d, "/dev/net/tun", OK, NULL, "opens; --net tap:NAME takes an interface that this user owns, or any with "
			"CAP_NET_ADMIN");
		return;
	}
	line(d, "/dev/net/tun", WEAK, errno == ENOENT ? "modprobe tun; in a container, --device /dev/net/tun"
						      : "a group that may open it",
		"%s: --net tap:NAME does not work, --net user does without", strerror(errno));
}

static void devices(struct doctor *d)
{
	printf("\nDevices\n");
	device_program(d, "husk-blk", "disks", "build it with 'make'");
	device_program(d, "husk-net", "network cards", "apt-get install libslirp0, which it is linked with");
	device_program(d, "husk-vsock", "sockets into the guest", "build it with 'make'");
	device_program(d, "husk-gpu", "the screen's graphics card", "build it with 'make'");
	device_program(d, "husk-vnc", "viewers of the screen", "apt-get install libpixman-1-0 libgnutls30 libturbojpeg0 libxkbcommon0, "
		"which it is linked with");
	io_uring(d);
	tun(d);
}

static const struct opt opts[] = {CMD_OPT_HELP, {.name = NULL}};

static int run(int argc, char **argv)
{
	struct doctor d = {.all_well = true, .colour = isatty(1)};
	struct err e = {.code = 0};

	if (opts_parse(opts, &d, argc, argv, NULL, &e)) {
		log_err("doctor: %s", e.text);
		return CMD_USAGE;
	}
	if (d.common.help) {
		cmd_help_print(&cmd_doctor);
		return CMD_OK;
	}
	engines(&d);
	kvm(&d);
	sandbox(&d);
	printf("\nHost\n");
	limits(&d);
	memory(&d);
	devices(&d);
	printf("\n%s\n", d.all_well ? "husk can run here." : "husk cannot run here until what is missing "
							   "is put right.");
	return d.all_well ? CMD_OK : CMD_FAILED;
}

const struct cmd cmd_doctor = {
	"doctor", "", "show what this host offers, and remedies", run, opts,
	"\"ok\" works; \"note\" is something husk does without, with what that costs; \"missing\"\n"
	"must be put right first. Exit code 0: husk can run here; 1: it cannot.\n",
};
