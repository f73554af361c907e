/* SPDX-License-Identifier: MIT */
/* husk run: options, the files they name, the default guest; super.c does the rest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/cmd.h"
#include "cmd/parse.h"
#include "cmd/rootfs.h"
#include "cmd/super.h"

enum { ROOT_PORTS_MAX = 16 };

struct run_config {
	struct cmd_common common;
	struct super_config super;
	char kernel_path[4096], initrd_path[4096]; /* of the default guest */
	char append[4096];
};

static int set_kernel(void *cfg, const char *v, struct err *e)
{
	(void)e;
	((struct run_config *)cfg)->super.kernel = v;
	return 0;
}

static int set_initrd(void *cfg, const char *v, struct err *e)
{
	(void)e;
	((struct run_config *)cfg)->super.initrd = v;
	return 0;
}

static int set_append(void *cfg, const char *v, struct err *e)
{
	/* the x86 boot protocol's usual limit, COMMAND_LINE_SIZE */
	if (strlen(v) > 2047)
		return err_set(e, EINVAL, "the command line has %zu bytes; Linux takes 2047 at most",
			strlen(v));
	((struct run_config *)cfg)->super.vmm.append = v;
	return 0;
}

static int set_memory(void *cfg, const char *v, struct err *e)
{
	return parse_memory(v, &((struct run_config *)cfg)->super.vmm.memory, e);
}

static int set_cpus(void *cfg, const char *v, struct err *e)
{
	return parse_number(v, 1, 255, &((struct run_config *)cfg)->super.vmm.cpus, e);
}

static int one_of(const char *v, const char *const *names, struct err *e)
{
	const char *near;
	char all[200] = "";

	for (unsigned i = 0; names[i]; i++) {
		if (!strcmp(v, names[i]))
			return 0;
		snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", names[i]);
	}
	near = nearest(v, names);
	if (near)
		return err_set(e, EINVAL, "'%.40s' is not known; did you mean '%s'?", v, near);
	return err_set(e, EINVAL, "'%.40s' is not known: choose from %s", v, all);
}

static int set_engine(void *cfg, const char *v, struct err *e)
{
	static const char *const names[] = {"auto", "kvm", "bt", "interp", "check", NULL};

	((struct run_config *)cfg)->super.vmm.engine = v;
	return one_of(v, names, e);
}

static int set_cpu(void *cfg, const char *v, struct err *e)
{
	/* husk-vmm knows the models; what it gets must be a word */
	if (!*v || strlen(v) > 64)
		return err_set(e, EINVAL, "'%.40s' is not a CPU model: host, x86-64-v2 and x86-64-v3 are",
			v);
	((struct run_config *)cfg)->super.vmm.cpu = v;
	return 0;
}

static int set_serial(void *cfg, const char *v, struct err *e)
{
	static const struct {
		const char *word;
		enum serial_mode mode;
	} modes[] = {{"stdio", SERIAL_STDIO}, {"none", SERIAL_NONE}, {"unix:", SERIAL_UNIX},
		{"file:", SERIAL_FILE}};
	struct super_config *c = &((struct run_config *)cfg)->super;

	for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
		size_t n = strlen(modes[i].word);
		bool has_path = modes[i].word[n - 1] == ':';

		if (has_path ? strncmp(v, modes[i].word, n) : strcmp(v, modes[i].word))
			continue;
		if (has_path && !v[n])
			return err_set(e, EINVAL, "a path must follow '%s'", modes[i].word);
		c->serial = modes[i].mode;
		c->serial_path = has_path ? v + n : NULL;
		return 0;
	}
	return err_set(e, EINVAL, "'%.40s' is not known: choose from stdio, none, unix:PATH, file:PATH",
		v);
}

static int set_name(void *cfg, const char *v, struct err *e)
{
	((struct run_config *)cfg)->super.vmm.name = v;
	return parse_name(v, e);
}

static int set_debug(void *cfg, const char *v, struct err *e)
{
	if (log_debug_set(v))
		return err_set(e, EINVAL, "the list of categories is too long");
	((struct run_config *)cfg)->super.vmm.debug = v;
	return 0;
}

static int set_no_reboot(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct run_config *)cfg)->super.vmm.no_reboot = true;
	return 0;
}

static int set_testdev(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct run_config *)cfg)->super.vmm.testdev = true;
	return 0;
}

static int set_disk(void *cfg, const char *v, struct err *e)
{
	struct super_config *c = &((struct run_config *)cfg)->super;

	if (c->ndisks == DISKS_MAX)
		return err_set(e, E2BIG, "a machine has at most %d disks", DISKS_MAX);
	return disk_parse(v, &c->disks[c->ndisks], e) ? -EINVAL : (c->ndisks++, 0);
}

static int set_net(void *cfg, const char *v, struct err *e)
{
	struct super_config *c = &((struct run_config *)cfg)->super;

	if (!strcmp(v, "none"))
		return 0; /* which is what there is without --net, too */
	if (c->nnets == NETS_MAX)
		return err_set(e, E2BIG, "a machine has at most %d network cards", NETS_MAX);
	return net_parse(v, &c->nets[c->nnets], e) ? -EINVAL : (c->nnets++, 0);
}

static int set_console(void *cfg, const char *v, struct err *e)
{
	struct super_config *c = &((struct run_config *)cfg)->super;
	struct console_port *p = &c->ports[c->nports];

	if (c->nports == CONSOLES_MAX)
		return err_set(e, E2BIG, "a machine has at most %d console ports", CONSOLES_MAX);
	if (console_parse(v, c->nports, p, e))
		return -EINVAL;
	for (unsigned i = 0; i < c->nports; i++)
		if (!strcmp(c->ports[i].name, p->name)) {
			err_set(e, EINVAL, "there is a port with the name %s already", p->name);
			console_port_free(p);
			return -EINVAL;
		}
	c->nports++;
	return 0;
}

static int set_vsock(void *cfg, const char *v, struct err *e)
{
	struct vsock_socket *s = &((struct run_config *)cfg)->super.vsock;

	if (s->text)
		return err_set(e, E2BIG, "a machine has one, and that is at %s already", s->path);
	return vsock_parse(v, s, e) ? -EINVAL : 0;
}

static int set_display(void *cfg, const char *v, struct err *e)
{
	struct display_config *d = &((struct run_config *)cfg)->super.display;

	if (d->text)
		return err_set(e, E2BIG, "a machine has one display");
	return display_parse(v, d, e) ? -EINVAL : 0;
}

static int set_root_ports(void *cfg, const char *v, struct err *e)
{
	return parse_number(v, 0, ROOT_PORTS_MAX, &((struct run_config *)cfg)->super.vmm.root_ports, e);
}

static int set_no_rng(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct run_config *)cfg)->super.vmm.no_rng = true;
	return 0;
}

static int set_no_balloon(void *cfg, const char *v, struct err *e)
{
	(void)v, (void)e;
	((struct run_config *)cfg)->super.vmm.no_balloon = true;
	return 0;
}

static const struct opt opts[] = {
	{"kernel", 'k', "FILE", set_kernel,
		"bzImage, vmlinux (ELF, PVH) or Multiboot kernel;\nwithout it the built-in guest boots"},
	{"initrd", 'i', "FILE", set_initrd, "initial RAM disk (Multiboot: the first module)"},
	{"append", 'a', "TEXT", set_append,
		"kernel command line; default for Linux: console=ttyS0\n"
		"(with a screen console=tty0 before it),\n"
		"and root= when the first disk leaves no doubt about it.\n"
		"husk adds panic=-1 unless panic= is there"},
	{"disk", 'D', "FILE", set_disk,
		"a raw image or block device as a disk; may be repeated.\n"
		"Behind it, with commas: ro, snapshot=on (writes are thrown\n"
		"away), cache=writeback|writethrough|direct|unsafe,\n"
		"serial=S, queues=N, queue-size=N, seg-max=N, size-max=SIZE,\n"
		"aio=auto|io_uring|threads, discard=on|off, format=raw;\n"
		"socket:PATH is another program's vhost-user back-end"},
	{"net", 'N', "WHAT", set_net,
		"a network card; may be repeated; without it there is none:\n"
		"user, behind it ,forward=tcp:127.0.0.1:2222-:22 (repeat),\n"
		"host-loopback=on, restrict=on, hostname=S; or tap:NAME,\n"
		"tap-fd:N, socket:PATH; behind each ,mac=M ,mtu=N; or none"},
	{"memory", 'm', "SIZE", set_memory, "guest memory, K, M, G or T behind it; default 512M"},
	{"cpus", 'c', "N", set_cpus, "virtual CPUs, 1 to 255; default 1"},
	{"engine", 'e', "NAME", set_engine,
		"auto, kvm, bt, interp, or check, which compares bt with\n"
		"interp, slowly, on one CPU; default auto, which takes\n"
		"the fastest that works here ('husk doctor' shows why)"},
	{"cpu", 0, "MODEL", set_cpu, "CPU model: host, x86-64-v2, x86-64-v3; default host"},
	{"serial", 's', "WHERE", set_serial,
		"the console: stdio, none, unix:PATH (listens there)\nor file:PATH; default stdio"},
	{"console", 0, "WHERE", set_console,
		"a port of a virtio console, unix:PATH or file:PATH, and\n,name=NAME behind it; may be repeated: the first is hvc0,\nthe others are channels, /dev/virtio-ports/NAME"},
	{"vsock", 0, "PATH", set_vsock,
		"sockets between guest and host without a network: listens at\n"
		"PATH; programs begin with 'CONNECT PORT' or 'ACCEPT PORT';\n"
		",cid=N behind it is the guest's address; default by name"},
	{"display", 0, "WHAT", set_display,
		"a screen with keyboard and pointer, seen with a VNC viewer:\n"
		"vnc is the machine's own socket ('husk view NAME' opens it),\n"
		"vnc=unix:PATH, vnc=:1, vnc=HOST:PORT are others beside it.\n"
		"Behind it, with commas: password-file=PATH, tls-cert=PATH,\n"
		"tls-key=PATH, tls-anonymous, open (no password), view-only,\n"
		"size=WxH, heads=N, lossless, layout=us, gpu=off; or none.\n"
		"Default " DISPLAY_DEFAULT},
	{"no-rng", 0, NULL, set_no_rng, "no entropy device"},
	{"no-balloon", 0, NULL, set_no_balloon, "no balloon, by which a guest gives free memory back"},
	{"root-ports", 0, "N", set_root_ports, "empty PCIe root ports, for hot-plug; default 0"},
	{"name", 'n', "NAME", set_name, "name for list, status and stop; default vm1, vm2, ..."},
	{"no-reboot", 0, NULL, set_no_reboot, "end when the guest reboots"},
	{"testdev", 0, NULL, set_testdev, "add the devices that kvm-unit-tests expects"},
	{"debug", 'd', "LIST", set_debug, "log these categories, comma separated; 'all' is every one"},
	CMD_OPT_HELP,
	{.name = NULL},
};

static const char more[] =
	"On the terminal, Ctrl-] is the escape key; Ctrl-] ? shows what can follow it, and\n"
	"Ctrl-] q always gets you out.\n"
	"\n"
	"Examples:\n"
	"  husk run                                  boot the built-in guest to a shell\n"
	"  husk run --kernel vmlinuz --initrd initrd.img --memory 1G --cpus 2\n"
	"  husk run --kernel vmlinuz --initrd initrd.img --disk debian.raw \\\n"
	"           --net user,forward=tcp:127.0.0.1:2222-:22\n"
	"  husk run --kernel vmlinuz --append 'console=ttyS0 quiet' --name web\n"
	"  echo 'uname -a; poweroff -f' | husk run   feed a script to the guest's console\n"
	"  husk run --serial unix:/tmp/c             then: socat -,raw,echo=0 unix:/tmp/c\n"
	"\n"
	"Exit code: 0 the guest powered off; 1 error; 2 wrong usage; 3 the guest's kernel\n"
	"panicked; 4 triple fault; 5 the CPU engine could not go on; 6 stopped the hard way.\n";

/* Opens a file that will be mapped. Its descriptor, or -errno with words. */
static int open_file(const char *option, const char *path, struct err *e)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO must not hold us */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return err_set(e, errno, "%s: cannot open %s: %s", option, path, strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return err_set(e, EINVAL, "%s: %s is a %s", option, path,
			S_ISDIR(st.st_mode) ? "directory; name a file in it"
					    : "device or pipe: copy its content to a file first");
	}
	if (!st.st_size) {
		close(fd);
		return err_set(e, EINVAL, "%s: %s is empty", option, path);
	}
	return fd;
}

static bool is_guest_dir(const char *dir)
{
	char path[4096];

	return snprintf(path, sizeof path, "%s/vmlinuz", dir) < (int)sizeof path &&
		!access(path, F_OK);
}

/* Finds the folder of the default guest: see "husk help run" and husk(1). */
static int guest_dir(char dir[3800], struct err *e)
{
	const char *env = getenv("HUSK_GUEST_DIR");
	ssize_t n;

	if (env && *env) {
		snprintf(dir, 3800, "%s", env);
		if (is_guest_dir(dir))
			return 0;
		return err_set(e, ENOENT, "HUSK_GUEST_DIR is %s, and there is no vmlinuz in it", env);
	}
	n = readlink("/proc/self/exe", dir, 3800 - 1);
	for (int up = 0; n > 0 && up < 4; up++) {
		char *slash;

		dir[n] = 0;
		slash = strrchr(dir, '/');
		if (!slash || slash - dir > 3700)
			break;
		strcpy(slash, "/guest");
		if (is_guest_dir(dir))
			return 0;
		*slash = 0;
		n = slash - dir;
	}
	snprintf(dir, 3800, "%s/husk/guest", HUSK_DATADIR);
	if (is_guest_dir(dir))
		return 0;
	return err_set(e, ENOENT, "the built-in guest is not there (no guest/vmlinuz beside this program, "
		"nor in %s): make it with 'make guest', or name a kernel with --kernel", dir);
}

/* The last one is /dev/console: where a line is, there is a terminal to read it. */
static const char *default_consoles(const struct super_config *s)
{
	return s->display.vnc ? "console=tty0 console=ttyS0" : "console=ttyS0";
}

static int default_guest(struct run_config *c, struct err *e)
{
	struct super_config *s = &c->super;
	char dir[3800], path[4096];
	int rc = guest_dir(dir, e), fd;
	ssize_t n;

	if (rc)
		return rc;
	snprintf(c->kernel_path, sizeof c->kernel_path, "%s/vmlinuz", dir);
	s->kernel = c->kernel_path;
	if (!s->initrd) {
		snprintf(c->initrd_path, sizeof c->initrd_path, "%s/initrd.img", dir);
		s->initrd = c->initrd_path;
	}
	if (s->vmm.append)
		return 0;
	strcpy(c->append, default_consoles(s));
	snprintf(path, sizeof path, "%s/append", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, c->append, 2047);
		close(fd);
		if (n < 0)
			return err_set(e, errno, "cannot read %s: %s", path, strerror(errno));
		c->append[n] = 0;
		c->append[strcspn(c->append, "\n")] = 0;
	}
	s->vmm.append = c->append;
	return 0;
}

/*
 * Linux's root, when the first disk says where it is: without that, most kernels would look for it in vain. devs.c will
 * tell what is wrong with the image; here it only says nothing then.
 */
static void default_append(struct run_config *c)
{
	const struct super_config *s = &c->super;
	const struct disk_config *d = s->disks;
	char part[12] = "";
	struct stat st;
	const char *consoles = default_consoles(s);
	int fd, n = -1;

	strcpy(c->append, consoles);
	if (!s->ndisks || d->socket)
		return;
	fd = open(d->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return;
	if (!fstat(fd, &st) && (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		n = rootfs_find(fd);
	close(fd);
	if (n < 0)
		return;
	if (n)
		snprintf(part, sizeof part, "%d", n);
	snprintf(c->append, sizeof c->append, "%s root=/dev/vda%s %s", consoles, part, d->read_only ? "ro" : "rw");
}

/* "HdrS" at 0x202: Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header" */
static bool is_bzimage(int fd)
{
	char magic[4];

	return pread(fd, magic, 4, 0x202) == 4 && !memcmp(magic, "HdrS", 4);
}

static int open_files(struct run_config *c, struct err *e)
{
	struct super_config *s = &c->super;

	if (!s->kernel) {
		int rc = default_guest(c, e);

		if (rc)
			return rc;
	}
	s->vmm.kernel_fd = open_file("--kernel", s->kernel, e);
	if (s->vmm.kernel_fd < 0)
		return s->vmm.kernel_fd;
	if (s->initrd) {
		s->vmm.initrd_fd = open_file("--initrd", s->initrd, e);
		if (s->vmm.initrd_fd < 0)
			return s->vmm.initrd_fd;
	}
	/* anything but Linux gets no words that were not asked for */
	if (!s->vmm.append && is_bzimage(s->vmm.kernel_fd))
		default_append(c);
	if (!s->vmm.append)
		s->vmm.append = c->append;
	return 0;
}

static void warn_memory(uint64_t bytes)
{
	struct sysinfo si;
	char a[32], b[32];

	if (sysinfo(&si) || bytes <= (uint64_t)(si.totalram + si.totalswap) * si.mem_unit)
		return;
	log_warn("--memory is %s and this host has %s: the guest dies if it uses all of it",
		format_size(bytes, a), format_size((uint64_t)(si.totalram + si.totalswap) * si.mem_unit, b));
}

/*
 * Descriptors 0 to 2 exist from here on, so that no other file becomes one of them by chance, and
 * what our parent left open above them goes no further.
 */
static void clean_descriptors(void)
{
	int fd;

	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

static int run(int argc, char **argv)
{
	struct run_config *c = xcalloc(1, sizeof *c);
	struct super_config *s = &c->super;
	struct err e = {.code = 0};
	int rc;

	clean_descriptors();
	s->vmm = (struct vmm_config){.kernel_fd = -1, .initrd_fd = -1, .memory = 512 * MIB, .cpus = 1,
		.engine = "auto", .cpu = "host"};
	if (opts_parse(opts, c, argc, argv, NULL, &e)) {
		child_clean(e.text, false);
		log_err("run: %s ('husk help run' shows all options)", e.text);
		rc = CMD_USAGE;
		goto out;
	}
	if (c->common.help) {
		cmd_help_print(&cmd_run);
		rc = CMD_OK;
		goto out;
	}
	rc = s->display.text ? 0 : display_parse(DISPLAY_DEFAULT, &s->display, &e);
	rc = rc ? rc : open_files(c, &e);
	if (!rc) {
		warn_memory(s->vmm.memory);
		rc = super_run(s, &e);
	}
	if (rc < 0) {
		child_clean(e.text, false);
		log_err("%s", e.text);
		rc = CMD_FAILED;
	}
	if (s->vmm.kernel_fd >= 0)
		close(s->vmm.kernel_fd);
	if (s->vmm.initrd_fd >= 0)
		close(s->vmm.initrd_fd);
out:
	for (unsigned i = 0; i < s->ndisks; i++)
		disk_config_free(&s->disks[i]);
	for (unsigned i = 0; i < s->nnets; i++)
		net_config_free(&s->nets[i]);
	for (unsigned i = 0; i < s->nports; i++)
		console_port_free(&s->ports[i]);
	vsock_socket_free(&s->vsock);
	display_config_free(&s->display);
	free(c);
	return rc;
}

const struct cmd cmd_run = {
	"run", "[options]", "boot a virtual machine", run, opts, more,
};
