/* SPDX-License-Identifier: MIT */
/*
 * evil blk|net|vsock|gpu|vnc|vmm PROGRAM: what a program that was taken over could still do. The program itself is started, as the
 * supervisor starts it, and says that it is ready; so its sandbox is the real one. Then this process, which traces it,
 * makes it call what it must not: registers are set and one SYSCALL instruction is executed, that of its event loop. Each call
 * must end as the table says: mostly by SIGSYS. What a program is killed for is tried on a new one.
 *
 * Strings for these calls are in the program's environment, since nobody may write to its memory any more.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "display/scanout.h"
#include "sandbox/sandbox.h"
#include "vm/control.h"

enum { BLK = 1, NET = 2, VMM = 4, VSOCK = 8, GPU = 16, VNC = 32, ALL = 63, DEVICES = ALL & ~VMM };
#define BIT(s)  (1u << SANDBOX_##s)
#define SIGNALS (1u << SANDBOX_NSTAGES) /* Landlock that knows signals: ABI 6 */

/* --- what is tried ----------------------------------------------------------------------------- */

/* Arguments that are known only when the program runs */
enum string { PASSWD, ROOT, MAPS, MEM, TRUE_PROGRAM, NEW_FILE, TMPFS, EMPTY, BUFFER, NSTRINGS };
static const char *const strings[NSTRINGS] = {[PASSWD] = "/etc/passwd", [ROOT] = "/", [MAPS] = "/proc/self/maps",
	[MEM] = "/proc/1/mem", [TRUE_PROGRAM] = "/bin/true", [NEW_FILE] = "/tmp/husk-evil", [TMPFS] = "tmpfs", [EMPTY] = "",
	[BUFFER] = ("................................................................................................"
		"................................................................................................")};
enum { SPECIAL_STRING = 0x7e570000, SPECIAL_CONTROL = 0x7e571000, SPECIAL_LINE, SPECIAL_PARENT, SPECIAL_CODE,
	SPECIAL_MEMORY /* as many bytes as it may have in all */ };
#define STR(s)  (SPECIAL_STRING + (s))
#define CTL     SPECIAL_CONTROL /* descriptors: the control line */
#define LINE    SPECIAL_LINE    /* and vhost-user's */
#define PARENT  SPECIAL_PARENT  /* this process */
#define CODE    SPECIAL_CODE    /* address of a page of its code */
#define CWD     ((unsigned long)AT_FDCWD)
#define NO_FD   (~0ul)

/* The filter must end the process; or one of two errors comes, as some other stage sees to. */
enum { KILLED = 0 };
struct attempt {
	const char *what;
	long nr;
	unsigned long arg[6];
	unsigned programs; /* for which ones this row is */
	int error, or_error;
	unsigned stages; /* of these at least one must be in force for that error, or there is nothing to expect */
};

static const struct attempt attempts[] = {
	/* files */
	{"open", SYS_open, {STR(PASSWD), O_RDONLY}, ALL, KILLED, 0, 0},
	{"openat", SYS_openat, {CWD, STR(PASSWD), O_RDONLY}, ALL & ~(NET | VNC), KILLED, 0, 0},
	/* libslirp tries, for /etc/resolv.conf, and libc for a heap of many threads; the filter says that there is no such file */
	{"openat", SYS_openat, {CWD, STR(PASSWD), O_RDONLY}, NET | VNC, ENOENT, 0, BIT(SECCOMP)},
	{"openat /", SYS_openat, {CWD, STR(ROOT), O_RDONLY}, NET, ENOENT, 0, BIT(SECCOMP)},
	{"openat /proc/self/maps", SYS_openat, {CWD, STR(MAPS), O_RDONLY}, NET | VNC, ENOENT, 0, BIT(SECCOMP)},
	{"newfstatat without a flag", SYS_newfstatat, {CWD, STR(ROOT), STR(BUFFER), 0}, NET, ENOENT, 0, BIT(SECCOMP)},
	{"openat /proc/self/maps", SYS_openat, {CWD, STR(MAPS), O_RDONLY}, ALL & ~(NET | VNC), KILLED, 0, 0},
	{"openat, write", SYS_openat, {CWD, STR(MEM), O_RDWR}, ALL, KILLED, 0, 0},
	{"openat, create", SYS_openat, {CWD, STR(NEW_FILE), O_WRONLY | O_CREAT, 0600}, ALL, KILLED, 0, 0},
	{"openat2", SYS_openat2, {CWD, STR(PASSWD), STR(BUFFER), 24}, ALL, KILLED, 0, 0},
	{"creat", SYS_creat, {STR(NEW_FILE), 0600}, ALL, KILLED, 0, 0},
	{"stat", SYS_stat, {STR(PASSWD), STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"newfstatat", SYS_newfstatat, {CWD, STR(PASSWD), STR(BUFFER), AT_EMPTY_PATH}, ALL, ENOENT, 0, BIT(ROOT)},
	{"newfstatat without a flag", SYS_newfstatat, {CWD, STR(PASSWD), STR(BUFFER), 0}, BLK, KILLED, 0, 0},
	{"readlink", SYS_readlink, {STR(MAPS), STR(BUFFER), 64}, ALL, KILLED, 0, 0},
	{"access", SYS_access, {STR(PASSWD), 0}, ALL, KILLED, 0, 0},
	{"mkdir", SYS_mkdir, {STR(NEW_FILE), 0700}, ALL, KILLED, 0, 0},
	{"unlink", SYS_unlink, {STR(NEW_FILE)}, ALL, KILLED, 0, 0},
	{"symlink", SYS_symlink, {STR(PASSWD), STR(NEW_FILE)}, ALL, KILLED, 0, 0},
	{"rename", SYS_rename, {STR(PASSWD), STR(NEW_FILE)}, ALL, KILLED, 0, 0},
	{"chmod", SYS_chmod, {STR(PASSWD), 0777}, ALL, KILLED, 0, 0},
	{"truncate", SYS_truncate, {STR(PASSWD), 0}, ALL, KILLED, 0, 0},
	{"getdents64", SYS_getdents64, {CTL, STR(BUFFER), 64}, ALL, KILLED, 0, 0},
	{"open_by_handle_at", SYS_open_by_handle_at, {CWD, STR(BUFFER), 0}, ALL, KILLED, 0, 0},
	{"chroot", SYS_chroot, {STR(ROOT)}, ALL, KILLED, 0, 0},
	{"chdir", SYS_chdir, {STR(ROOT)}, ALL, KILLED, 0, 0},
	{"mount", SYS_mount, {STR(TMPFS), STR(ROOT), STR(TMPFS), 0, 0}, ALL, KILLED, 0, 0},
	{"umount2", SYS_umount2, {STR(ROOT), 2}, ALL, KILLED, 0, 0},
	{"pivot_root", SYS_pivot_root, {STR(ROOT), STR(ROOT)}, ALL, KILLED, 0, 0},
	{"fsopen", SYS_fsopen, {STR(TMPFS), 0}, ALL, KILLED, 0, 0},
	{"open_tree", SYS_open_tree, {CWD, STR(ROOT), 1}, ALL, KILLED, 0, 0},
	{"move_mount", SYS_move_mount, {CWD, STR(ROOT), CWD, STR(ROOT), 0}, ALL, KILLED, 0, 0},
	{"inotify_init1", SYS_inotify_init1, {0}, ALL, KILLED, 0, 0},
	{"fanotify_init", SYS_fanotify_init, {0, 0}, ALL, KILLED, 0, 0},
	{"memfd_create", SYS_memfd_create, {STR(TMPFS), 0}, ALL, KILLED, 0, 0},

	/* the network, and other processes' sockets */
	{"socket, inet", SYS_socket, {AF_INET, SOCK_STREAM, 0}, ALL & ~NET, KILLED, 0, 0},
	{"socket, unix", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}, ALL, KILLED, 0, 0},
	{"socket, netlink", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, ALL, KILLED, 0, 0},
	{"socket, packet", SYS_socket, {AF_PACKET, SOCK_RAW, 0}, ALL, KILLED, 0, 0},
	{"socket, vsock", SYS_socket, {40, SOCK_STREAM, 0}, ALL, KILLED, 0, 0},
	{"socket, raw", SYS_socket, {AF_INET, SOCK_RAW, 1}, NET, EPERM, 0, BIT(CAPS)},
	{"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"connect", SYS_connect, {LINE, STR(BUFFER), 16}, ALL & ~NET, KILLED, 0, 0},
	{"bind", SYS_bind, {LINE, STR(BUFFER), 16}, ALL & ~NET, KILLED, 0, 0},
	{"accept4", SYS_accept4, {LINE, 0, 0, 0}, ALL & ~(VSOCK | VNC), KILLED, 0, 0},

	/* programs and processes */
	{"execve", SYS_execve, {STR(TRUE_PROGRAM), 0, 0}, ALL, KILLED, 0, 0},
	{"execveat", SYS_execveat, {CTL, STR(EMPTY), 0, 0, AT_EMPTY_PATH}, ALL, KILLED, 0, 0},
	{"fork", SYS_fork, {0}, ALL, KILLED, 0, 0},
	{"vfork", SYS_vfork, {0}, ALL, KILLED, 0, 0},
	{"clone", SYS_clone, {SIGCHLD, 0, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"clone, namespaces", SYS_clone, {CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"clone, thread", SYS_clone, {SANDBOX_CLONE_THREAD, 0, 0, 0, 0}, NET, KILLED, 0, 0},
	{"clone3", SYS_clone3, {STR(BUFFER), 88}, ALL, ENOSYS, 0, BIT(SECCOMP)},
	{"ptrace", SYS_ptrace, {PTRACE_SEIZE, PARENT, 0, 0}, ALL, KILLED, 0, 0},
	{"process_vm_readv", SYS_process_vm_readv, {PARENT, STR(BUFFER), 0, STR(BUFFER), 0, 0}, ALL, KILLED, 0, 0},
	{"process_vm_writev", SYS_process_vm_writev, {PARENT, STR(BUFFER), 0, STR(BUFFER), 0, 0}, ALL, KILLED, 0, 0},
	{"kill", SYS_kill, {PARENT, SIGURG}, ALL, KILLED, 0, 0},
	{"tkill", SYS_tkill, {PARENT, SIGURG}, ALL, KILLED, 0, 0},
	{"tgkill", SYS_tgkill, {PARENT, PARENT, SIGURG}, ALL, EPERM, 0, SIGNALS},
	{"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {PARENT, SIGURG, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"pidfd_open", SYS_pidfd_open, {PARENT, 0}, ALL, KILLED, 0, 0},
	{"pidfd_send_signal", SYS_pidfd_send_signal, {CTL, SIGURG, 0, 0}, ALL, KILLED, 0, 0},
	{"pidfd_getfd", SYS_pidfd_getfd, {CTL, 0, 0}, ALL, KILLED, 0, 0},
	{"unshare", SYS_unshare, {CLONE_NEWUSER}, ALL, KILLED, 0, 0},
	{"setns", SYS_setns, {CTL, 0}, ALL, KILLED, 0, 0},
	{"setresuid", SYS_setresuid, {0, 0, 0}, ALL, KILLED, 0, 0},
	{"capset", SYS_capset, {STR(BUFFER), STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"prctl, dumpable", SYS_prctl, {PR_SET_DUMPABLE, 1, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"prctl, death signal", SYS_prctl, {PR_SET_PDEATHSIG, 0, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"prlimit64", SYS_prlimit64, {0, 7, STR(BUFFER), 0}, ALL, KILLED, 0, 0},
	{"setrlimit", SYS_setrlimit, {7, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"seccomp", SYS_seccomp, {1, 0, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"sched_setaffinity", SYS_sched_setaffinity, {PARENT, 8, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"setpriority", SYS_setpriority, {0, PARENT, 0}, ALL, KILLED, 0, 0},
	{"personality", SYS_personality, {0x0400000}, ALL, KILLED, 0, 0},

	/* code */
	{"mmap exec", SYS_mmap, {0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0}, ALL, KILLED, 0, 0},
	{"mmap write exec", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0},
		ALL, KILLED, 0, 0},
	{"mmap exec, a descriptor's", SYS_mmap, {0, 4096, PROT_EXEC, MAP_SHARED, CTL, 0}, ALL, KILLED, 0, 0},
	{"mprotect exec", SYS_mprotect, {CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC}, ALL, KILLED, 0, 0},
	{"pkey_mprotect exec", SYS_pkey_mprotect, {CODE, 4096, PROT_READ | PROT_EXEC, NO_FD}, ALL, KILLED, 0, 0},
	{"shmat", SYS_shmat, {0, 0, 0100000}, ALL, KILLED, 0, 0},
	{"remap_file_pages", SYS_remap_file_pages, {CODE, 4096, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"userfaultfd", SYS_userfaultfd, {0}, ALL, KILLED, 0, 0},
	{"modify_ldt", SYS_modify_ldt, {0, STR(BUFFER), 16}, ALL, KILLED, 0, 0},
	{"writev", SYS_writev, {CTL, STR(BUFFER), 0}, ALL, KILLED, 0, 0},
	{"an x32 call", 0x40000000 | SYS_getpid, {0}, ALL, KILLED, 0, 0},
	{"no call at all", 4095, {0}, ALL, KILLED, 0, 0},

	/* more than it was given */
	{"memory", SYS_mmap, {0, SPECIAL_MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NO_FD, 0},
		DEVICES, ENOMEM, 0, BIT(LIMITS)},
	{"descriptors", SYS_dup3, {CTL, 4096, 0}, DEVICES, EBADF, 0, BIT(LIMITS)},
	{"dup", SYS_dup, {CTL}, ALL, KILLED, 0, 0},
	{"dup2", SYS_dup2, {CTL, 60}, ALL, KILLED, 0, 0},
	{"fcntl, F_DUPFD", SYS_fcntl, {CTL, F_DUPFD, 0}, ALL, KILLED, 0, 0},
	{"eventfd2", SYS_eventfd2, {0, 0}, ALL, KILLED, 0, 0},
	{"pipe2", SYS_pipe2, {STR(BUFFER), 0}, ALL, KILLED, 0, 0},
	{"epoll_create1", SYS_epoll_create1, {0}, ALL, KILLED, 0, 0},
	{"timerfd_create", SYS_timerfd_create, {1, 0}, ALL, KILLED, 0, 0},
	{"signalfd4", SYS_signalfd4, {NO_FD, STR(BUFFER), 8, 0}, ALL, KILLED, 0, 0},

	/* flags are shared with whoever passed a descriptor: a vCPU could be made to wait */
	{"fcntl, F_SETFL, blocking", SYS_fcntl, {CTL, F_SETFL, 0}, ALL, KILLED, 0, 0},
	{"fcntl, F_SETFL, non-blocking", SYS_fcntl, {CTL, F_SETFL, O_NONBLOCK}, ALL, KILLED, 0, 0},
	{"fcntl, F_SETOWN", SYS_fcntl, {CTL, F_SETOWN, PARENT}, ALL, KILLED, 0, 0},
	{"ioctl, FIONBIO", SYS_ioctl, {CTL, 0x5421, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"ioctl, FIOASYNC", SYS_ioctl, {CTL, 0x5452, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"ioctl, TIOCSTI", SYS_ioctl, {0, 0x5412, STR(BUFFER)}, ALL, KILLED, 0, 0},

	/* the kernel's darker corners */
	{"io_uring_setup", SYS_io_uring_setup, {8, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"io_uring_enter", SYS_io_uring_enter, {CTL, 0, 0, 0, 0, 0}, ALL & ~BLK, KILLED, 0, 0},
	{"io_uring_register, buffers", SYS_io_uring_register, {CTL, IORING_REGISTER_BUFFERS, 0, 0}, ALL, KILLED, 0, 0},
	{"io_uring_register, files", SYS_io_uring_register, {CTL, IORING_REGISTER_FILES, 0, 0}, ALL, KILLED, 0, 0},
	{"io_uring_register, restrictions", SYS_io_uring_register, {CTL, IORING_REGISTER_RESTRICTIONS, 0, 0}, ALL, KILLED,
		0, 0},
	{"io_setup", SYS_io_setup, {8, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"keyctl", SYS_keyctl, {0, 0, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"add_key", SYS_add_key, {STR(TMPFS), STR(TMPFS), 0, 0, 0}, ALL, KILLED, 0, 0},
	{"request_key", SYS_request_key, {STR(TMPFS), STR(TMPFS), 0, 0}, ALL, KILLED, 0, 0},
	{"bpf", SYS_bpf, {0, STR(BUFFER), 64}, ALL, KILLED, 0, 0},
	{"perf_event_open", SYS_perf_event_open, {STR(BUFFER), 0, NO_FD, NO_FD, 0}, ALL, KILLED, 0, 0},
	{"init_module", SYS_init_module, {STR(BUFFER), 16, STR(EMPTY)}, ALL, KILLED, 0, 0},
	{"finit_module", SYS_finit_module, {CTL, STR(EMPTY), 0}, ALL, KILLED, 0, 0},
	{"kexec_load", SYS_kexec_load, {0, 0, 0, 0}, ALL, KILLED, 0, 0},
	{"iopl", SYS_iopl, {3}, ALL, KILLED, 0, 0},
	{"ioperm", SYS_ioperm, {0x80, 1, 1}, ALL, KILLED, 0, 0},
	{"syslog", SYS_syslog, {3, STR(BUFFER), 64}, ALL, KILLED, 0, 0},
	{"clock_settime", SYS_clock_settime, {0, STR(BUFFER)}, ALL, KILLED, 0, 0},
	{"sethostname", SYS_sethostname, {STR(TMPFS), 5}, ALL, KILLED, 0, 0},
	{"vmsplice", SYS_vmsplice, {CTL, STR(BUFFER), 0, 0}, ALL, KILLED, 0, 0},
	{"splice", SYS_splice, {CTL, 0, CTL, 0, 16, 0}, ALL, KILLED, 0, 0},
	{"kcmp", SYS_kcmp, {PARENT, PARENT, 1, 0, 0}, ALL, KILLED, 0, 0},
	{"arch_prctl", SYS_arch_prctl, {0x1002, STR(BUFFER)}, ALL, KILLED, 0, 0},
};

/* --- the program ------------------------------------------------------------------------------- */

enum { CONTROL_FD = 10, LINE_FD = 11, FILE_FD = 12, EVENT_FD = 13, LISTEN_FD = 14 };

static const char *program;
static unsigned which;

static struct victim {
	pid_t pid; /* 0: none */
	int control, line; /* our ends */
	unsigned long string[NSTRINGS], call; /* where these and a SYSCALL instruction are */
	struct user_regs_struct regs;
	struct sandbox_report report;
} v;

static void start_program(int control, int line)
{
	static char env[NSTRINGS][256], *envp[NSTRINGS + 1];
	static const char *const blk[] = {"husk-blk", "--control-fd", "10", "--socket-fd", "11", "--file-fd", "12", NULL};
	static const char *const net[] = {"husk-net", "--control-fd", "10", "--socket-fd", "11", "--mac",
		"52:54:00:12:34:56", "--user", "--dns", "192.0.2.1", NULL};
	static const char *const vmm[] = {"husk-vmm", "--control-fd", "10", "--serial-fd", "11", "--kernel-fd", "12",
		"--engine", "bt", "--memory", "16777216", NULL};
	static const char *const vsock[] = {"husk-vsock", "--control-fd", "10", "--socket-fd", "11", "--path-fd", "12", NULL};
	static const char *const gpu[] = {"husk-gpu", "--control-fd", "10", "--socket-fd", "11", "--state-fd", "12", NULL};
	static const char *const vnc[] = {"husk-vnc", "--control-fd", "10", "--scanout-fd", "12", "--event-fd", "13", "--input-fd", "11",
		"--name", "evil", "--listen-fd", "14,unix", NULL};
	const char *const *argv = which == BLK ? blk : which == NET ? net : which == VSOCK ? vsock : which == GPU ? gpu : which == VNC ? vnc : vmm;
	char path[] = "/tmp/husk-evil-XXXXXX";
	int file = mkstemp(path);
	/* multiboot, "header has addresses" (1.0, 3.1.5): cli, hlt, and back */
	const uint32_t kernel[] = {0x1badb002, 0x10000, -(0x1badb002u + 0x10000u), 0x100000, 0x100000, 0x100028, 0x100028,
		0x100020, 0xfcebf4fa, 0};

	if (file < 0 || unlink(path) || write(file, kernel, sizeof kernel) != sizeof kernel || ftruncate(file, 4 << 20))
		_exit(99);
	if (which & (VSOCK | VNC)) {
		const struct sockaddr_un any = {.sun_family = AF_UNIX};

		file = socket(AF_UNIX, SOCK_STREAM, 0);
		if (file < 0 || bind(file, (const struct sockaddr *)&any, sizeof any.sun_family) || listen(file, 4))
			_exit(99);
	}
	if (which == VNC) {
		int screen = scanout_create("evil", NULL);

		if (dup2(file, LISTEN_FD) < 0 || dup2(eventfd(0, EFD_NONBLOCK), EVENT_FD) < 0)
			_exit(99);
		file = fcntl(scanout_reader(screen, NULL), F_DUPFD, 32);
	}
	for (unsigned i = 0; i < NSTRINGS; i++) {
		snprintf(env[i], sizeof env[i], "EVIL%02u=%s", i, strings[i]);
		envp[i] = env[i];
	}
	if (dup2(control, CONTROL_FD) < 0 || dup2(line, LINE_FD) < 0 || dup2(file, FILE_FD) < 0 ||
		ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(99);
	execve(program, (char *const *)(size_t)argv, envp);
	_exit(98);
}

static long peek(unsigned long at)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, v.pid, at, 0);
	assert(!errno);
	return word;
}

/* Right after exec: argc, argv, NULL, envp, NULL on the stack. */
static void find_strings(void)
{
	unsigned long at;

	assert(!ptrace(PTRACE_GETREGS, v.pid, 0, &v.regs));
	at = v.regs.rsp + 8 * (2 + (unsigned long)peek(v.regs.rsp));
	for (unsigned i = 0; i < NSTRINGS; i++) {
		unsigned long p = (unsigned long)peek(at + 8 * i);
		char name[9] = "";
		long word = peek(p);

		memcpy(name, &word, 7);
		assert(!strncmp(name, "EVIL", 4) && atoi(name + 4) == (int)i);
		v.string[i] = p + 7;
	}
}

/* Stops it where it waits for events. */
static void stop(void)
{
	int status;

	for (unsigned i = 0; i < 1000; i++) {
		/* to that thread: it is the one that is traced */
		assert(!syscall(SYS_tgkill, v.pid, v.pid, SIGSTOP) && waitpid(v.pid, &status, __WALL) == v.pid);
		assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP && !ptrace(PTRACE_GETREGS, v.pid, 0, &v.regs));
		if (v.regs.orig_rax == SYS_epoll_wait && v.regs.rax == (unsigned long)-EINTR) {
			v.call = v.regs.rip - 2;
			return;
		}
		/* not there yet */
		assert(!ptrace(PTRACE_CONT, v.pid, 0, 0));
		usleep(1000);
	}
	assert(!"it does not come to its loop");
}

static void ready(void)
{
	const struct timeval limit = {.tv_sec = 30};
	struct vmm_msg m;
	ssize_t n;

	assert(!setsockopt(v.control, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
	n = recv(v.control, &m, sizeof m, 0);
	if (n < (ssize_t)offsetof(struct vmm_msg, text) || m.type != VMM_READY) {
		fprintf(stderr, "%s did not start: %.*s\n", program, n > 16 ? (int)(n - 16) : 0, m.text);
		exit(1);
	}
	m.text[m.len < VMM_TEXT_MAX ? m.len : VMM_TEXT_MAX - 1] = 0;
	for (char *save = NULL, *l = strtok_r(m.text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (!strncmp(l, "sandbox=", 8))
			assert(!sandbox_report_parse(&v.report, l + 8));
}

static void start(void)
{
	int control[2], line[2], status;

	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control));
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line));
	memset(&v, 0, sizeof v);
	v.pid = fork();
	assert(v.pid >= 0);
	if (!v.pid)
		start_program(control[1], line[1]);
	close(control[1]);
	close(line[1]);
	v.control = control[0];
	v.line = line[0];
	assert(waitpid(v.pid, &status, __WALL) == v.pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 99) {
		printf("ptrace is not possible here\n");
		exit(77);
	}
	assert(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
	/* a child that should not be is traced as well, and ends with us */
	assert(!ptrace(PTRACE_SETOPTIONS, v.pid, 0, PTRACE_O_EXITKILL | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK));
	find_strings();
	assert(!ptrace(PTRACE_CONT, v.pid, 0, 0));
	ready();
	stop();
}

static void end(void)
{
	int status;

	if (v.pid) {
		kill(v.pid, SIGKILL);
		while (waitpid(v.pid, &status, __WALL) == v.pid && !WIFSIGNALED(status) && !WIFEXITED(status))
			;
	}
	close(v.control);
	close(v.line);
	v.pid = 0;
}

static unsigned long memory_limit(void)
{
	const char *words = strrchr(v.report.stage[SANDBOX_LIMITS].text, ';');
	unsigned long mib = 0;

	assert(words && sscanf(words, "; %lu MiB of memory", &mib) == 1 && mib && mib <= (which == VNC ? 2048 : 1024));
	return mib << 20;
}

static unsigned long special(unsigned long arg)
{
	if (arg >= SPECIAL_STRING && arg < SPECIAL_STRING + NSTRINGS)
		return v.string[arg - SPECIAL_STRING];
	switch (arg) {
	case SPECIAL_CONTROL:
		return CONTROL_FD;
	case SPECIAL_LINE:
		return LINE_FD;
	case SPECIAL_PARENT:
		return (unsigned long)getpid();
	case SPECIAL_CODE:
		return v.call & ~4095ul;
	case SPECIAL_MEMORY:
		return memory_limit();
	}
	return arg;
}

/* Makes it call. Its wait status; *result is what the call gave if it still lives. */
static int call(long nr, const unsigned long arg[6], long *result)
{
	struct user_regs_struct r = v.regs;
	int status;

	r.rip = v.call;
	r.rax = (unsigned long)nr;
	r.orig_rax = ~0ul; /* it is in no call that might be begun again */
	r.rdi = special(arg[0]);
	r.rsi = special(arg[1]);
	r.rdx = special(arg[2]);
	r.r10 = special(arg[3]);
	r.r8 = special(arg[4]);
	r.r9 = special(arg[5]);
	assert(!ptrace(PTRACE_SETREGS, v.pid, 0, &r) && !ptrace(PTRACE_SINGLESTEP, v.pid, 0, 0));
	assert(waitpid(v.pid, &status, __WALL) == v.pid);
	*result = 0;
	if (!WIFSTOPPED(status)) {
		v.pid = 0;
		end();
		return status;
	}
	assert(!ptrace(PTRACE_GETREGS, v.pid, 0, &r));
	*result = (long)r.rax;
	return status;
}

/* --- tests ------------------------------------------------------------------------------------- */

static unsigned failures;

static unsigned in_force(void)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++)
		bits |= v.report.stage[i].code ? 0 : 1u << i;
	if (bits & BIT(LANDLOCK) && strstr(v.report.stage[SANDBOX_LANDLOCK].text, "signals"))
		bits |= SIGNALS;
	return bits;
}

static void try(const struct attempt *a)
{
	unsigned stages;
	long result;
	int status;
	bool ok;

	if (!v.pid)
		start();
	stages = in_force();
	status = call(a->nr, a->arg, &result);
	if (a->error == KILLED)
		ok = WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
	else
		ok = WIFSTOPPED(status) &&
			(!(a->stages & stages) || result == -a->error || (a->or_error && result == -a->or_error));
	if (ok)
		return;
	fprintf(stderr, "%s: wait status 0x%x, result %ld\n", a->what, (unsigned)status, result);
	failures++;
	if (v.pid)
		end(); /* whatever that did, the next one is not to see it */
}

/* Back to where it was stopped; then it does its work. */
static void go_on(void)
{
	const struct vmm_msg question = {.type = VMM_GET_STATS, .arg = 7};
	struct vmm_msg m = {.type = 0};

	assert(!ptrace(PTRACE_SETREGS, v.pid, 0, &v.regs) && !ptrace(PTRACE_CONT, v.pid, 0, 0));
	assert(send(v.control, &question, offsetof(struct vmm_msg, text), 0) > 0);
	while (m.type != VMM_STATS)
		assert(recv(v.control, &m, sizeof m, 0) > 0);
	assert(m.arg2 == 7);
}

/* What it lives of goes on working: else all the above would prove nothing. */
static void control(void)
{
	static const struct {
		const char *what;
		long nr;
		unsigned long arg[6];
		long least;
	} works[] = {
		{"write", SYS_write, {CTL, STR(PASSWD), 11}, 11},
		{"sendto", SYS_sendto, {CTL, STR(PASSWD), 11, MSG_DONTWAIT, 0, 0}, 11},
		{"recvfrom", SYS_recvfrom, {CTL, STR(BUFFER), 64, MSG_DONTWAIT, 0, 0}, 5},
		{"read", SYS_read, {CTL, STR(BUFFER), 64}, 5},
		{"mmap", SYS_mmap, {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, NO_FD, 0}, 4096},
		{"mmap, shared", SYS_mmap, {0, 4ul << 30, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, NO_FD, 0}, 4096},
		{"getpid", SYS_getpid, {0}, 1},
		{"clock_gettime", SYS_clock_gettime, {1, STR(BUFFER)}, 0},
	};
	char text[64];

	start();
	for (unsigned i = 0; i < 2; i++)
		assert(send(v.control, "hello", 5, 0) == 5);
	for (size_t i = 0; i < ARRAY_LEN(works); i++) {
		long result;
		int status = call(works[i].nr, works[i].arg, &result);

		if (WIFSTOPPED(status) && result >= works[i].least)
			continue;
		fprintf(stderr, "%s must work: wait status 0x%x, result %ld\n", works[i].what, (unsigned)status, result);
		failures++;
		if (!v.pid)
			return;
	}
	for (unsigned i = 0; i < 2; i++)
		assert(recv(v.control, text, sizeof text, MSG_DONTWAIT) == 11 && !memcmp(text, "/etc/passwd", 11));
	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++)
		printf("%-13s %-8s %s\n", sandbox_stage_name(i), v.report.stage[i].code ? "missing" : "in force",
			v.report.stage[i].text);
	go_on();
	end();
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"blk", "net", "vmm", "vsock", "gpu", "vnc"}; /* by bit */
	unsigned n = 0;

	assert(argc == 3);
	for (unsigned i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(argv[1], names[i]))
			which = 1u << i;
	assert(which);
	program = argv[2];
	signal(SIGURG, SIG_IGN);
	control();
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++)
		if (attempts[i].programs & which) {
			try(&attempts[i]);
			n++;
		}
	if (v.pid)
		end();
	printf("%u attempts, %u failures\n", n, failures);
	return failures != 0;
}
