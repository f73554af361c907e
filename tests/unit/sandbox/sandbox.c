/* SPDX-License-Identifier: MIT */
/*
 * Sacrificial children enter the sandbox and try what must not work. Two filters: "strict" is as small
 * as a program's can be, and every attempt must be killed; "wide" allows the calls themselves, so
 * that the other stages have to refuse. Each in four situations: as root, as an ordinary user, as root
 * of a user namespace that may make no others, and with a filter around us that refuses what
 * containers refuse. The reports are printed, and checked.
 */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "sandbox/sandbox.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { LEAKED_FD = 77, TOLD_FD = 9 };
enum situation { AS_ROOT, AS_USER, IN_USERNS, REFUSED, NSITUATIONS };
static const char *const situations[] = {"as root", "as uid 1234", "root of a user namespace",
	"in a filter that refuses"};

static const struct sandbox_syscall strict_rows[] = {
	SANDBOX_RUNTIME, SANDBOX_MEMORY, SANDBOX_THREADS, SANDBOX_ALLOW(SYS_write), SANDBOX_END};
static const struct sandbox_syscall wide_rows[] = {
	SANDBOX_RUNTIME, SANDBOX_MEMORY, SANDBOX_THREADS, SANDBOX_ALLOW(SYS_write), SANDBOX_ALLOW(SYS_read),
	SANDBOX_ALLOW(SYS_openat), SANDBOX_ALLOW(SYS_open), SANDBOX_ALLOW(SYS_socket),
	SANDBOX_ALLOW(SYS_connect), SANDBOX_ALLOW(SYS_bind), SANDBOX_ALLOW(SYS_kill), SANDBOX_ALLOW(SYS_getppid), SANDBOX_ALLOW(SYS_geteuid),
	SANDBOX_ALLOW(SYS_setresuid), SANDBOX_ALLOW(SYS_mount), SANDBOX_ALLOW(SYS_unshare),
	SANDBOX_ALLOW(SYS_fcntl), SANDBOX_ALLOW(SYS_dup), SANDBOX_ALLOW(SYS_prctl), SANDBOX_ALLOW(SYS_close),
	SANDBOX_ALLOW(SYS_chroot), SANDBOX_ALLOW(SYS_mkdir), SANDBOX_ALLOW(SYS_newfstatat),
	SANDBOX_ALLOW(SYS_ptrace), SANDBOX_ALLOW(SYS_fstat), SANDBOX_END};

/* --- attempts: true if the forbidden thing could be done --------------------------------------- */

static bool try_open(void)
{
	return open("/etc/passwd", O_RDONLY) >= 0;
}

static bool try_open_root(void)
{
	return open("/", O_RDONLY) >= 0;
}

static bool try_create(void)
{
	return open("/tmp/husk-sandbox-test", O_WRONLY | O_CREAT, 0600) >= 0;
}

static bool try_proc(void)
{
	return open("/proc/self/maps", O_RDONLY) >= 0;
}

static bool try_parent_memory(void)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/mem", (int)getppid());
	return open(path, O_RDWR) >= 0;
}

static bool try_socket(void)
{
	return socket(AF_INET, SOCK_STREAM, 0) >= 0;
}

static bool try_tcp(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9),
		.sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* "refused" means that it was tried: there is a network */
	return fd >= 0 && (!connect(fd, (struct sockaddr *)&a, sizeof a) || errno == ECONNREFUSED);
}

/* main() listens on this */
static struct sockaddr_un abstract = {.sun_family = AF_UNIX};

static bool try_abstract(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd >= 0 && !connect(fd, (struct sockaddr *)&abstract, sizeof abstract);
}

static bool try_fork(void)
{
	return syscall(SYS_fork) >= 0;
}

static bool try_clone_process(void)
{
	return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) >= 0;
}

static bool try_exec(void)
{
	char *const none[] = {NULL};

	execve("/bin/true", none, none);
	return false;
}

static bool try_kill(void)
{
	return !kill(getppid(), 0);
}

static bool try_kill_parent(void)
{
	return !kill(getppid(), SIGURG); /* ignored by default */
}

static bool try_ptrace(void)
{
	return !ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static bool try_mprotect(void)
{
	static char page[8192];

	return !mprotect((void *)(((uintptr_t)page + 4095) & ~4095ul), 4096, PROT_READ | PROT_EXEC);
}

static bool try_mmap_exec(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

static bool try_become_root(void)
{
	return geteuid() != 0 && !setresuid(0, 0, 0);
}

static bool try_mount(void)
{
	return !syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

static bool try_unshare(void)
{
	return !unshare(CLONE_NEWNS);
}

static bool try_chroot(void)
{
	return !chroot("/");
}

static bool try_leaked(void)
{
	return fcntl(LEAKED_FD, F_GETFD) >= 0;
}

static bool try_new_fd(void)
{
	int n = 0;

	/* gaps below the highest one that was kept may be filled, which leads nowhere */
	while (n < 64 && dup(TOLD_FD) >= 0)
		n++;
	return n > TOLD_FD;
}

static bool try_dumpable(void)
{
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0;
}

static bool try_lost_death_signal(void)
{
	int sig = 0;

	return prctl(PR_GET_PDEATHSIG, &sig, 0, 0, 0) || sig != SIGKILL;
}

enum { DATA_MAX = 32 << 20 };

static bool try_much_memory(void)
{
	void *p = mmap(NULL, DATA_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED || sbrk(DATA_MAX) != (void *)-1;
}

/* What is mapped without access first does not count then, and must count afterwards. */
static bool try_memory_in_steps(void)
{
	void *p = mmap(NULL, DATA_MAX, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED && !mprotect(p, DATA_MAX, PROT_READ | PROT_WRITE);
}

static bool try_bpf(void)
{
	char attr[128] = {0};

	return syscall(SYS_bpf, 0, attr, sizeof attr) >= 0;
}

static bool try_io_uring(void)
{
	char params[120] = {0};

	return syscall(SYS_io_uring_setup, 1, params) >= 0;
}

static bool try_i386(void)
{
	long r = 20; /* getpid of the i386 table; the 64-bit call of that number is writev */

	__asm__ volatile("int $0x80" : "+a"(r) : : "r8", "r9", "r10", "r11", "memory");
	return r > 0;
}

static bool try_x32(void)
{
	return syscall(0x40000000 + SYS_getpid) > 0;
}

/* --- what must go on working ------------------------------------------------------------------- */

static void *thread_main(void *arg)
{
	*(int *)arg = 5;
	return NULL;
}

static bool work(void)
{
	struct timespec ts = {0, 1000};
	char *p = malloc(1 << 20);
	pthread_t t;
	int n = 0;

	memset(p, 1, 1 << 20);
	free(p);
	return !clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL) && !pthread_create(&t, NULL, thread_main, &n) &&
		!pthread_join(t, NULL) && n == 5 && gmtime(&ts.tv_sec);
}

/* The limit is for what is private: guest memory, which is larger, is shared. */
static bool work_in_limit(void)
{
	char *p = mmap(NULL, 4ul * DATA_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	p[3ul * DATA_MAX] = 1;
	return work();
}

/* Stages whose absence excuses a success of a "wide" attempt. */
#define BIT(s) (1u << SANDBOX_##s)
struct attempt {
	const char *what;
	bool (*fn)(void);
	unsigned stages;   /* any of these in force: it must fail */
	bool wide_filter;  /* sanitizer builds allow this call */
};
static const struct attempt strict[] = {
	{"open", try_open, 0, true}, {"/proc/self/maps", try_proc, 0, true}, {"socket", try_socket, 0, false},
	{"fork", try_fork, 0, false}, {"clone", try_clone_process, 0, false}, {"exec", try_exec, 0, false},
	{"kill", try_kill, 0, false}, {"ptrace", try_ptrace, 0, false},
	{"mprotect exec", try_mprotect, 0, true}, {"mmap exec", try_mmap_exec, 0, true},
	{"setresuid", try_become_root, 0, false}, {"mount", try_mount, 0, false},
	{"unshare", try_unshare, 0, false}, {"chroot", try_chroot, 0, false}, {"bpf", try_bpf, 0, false},
	{"io_uring", try_io_uring, 0, false}, {"i386 call", try_i386, 0, false},
	{"x32 call", try_x32, 0, false}, {"dup", try_new_fd, 0, false},
};
static const struct attempt wide[] = {
	{"open", try_open, BIT(ROOT) | BIT(LANDLOCK), 0}, {"open /", try_open_root, BIT(LANDLOCK), 0},
	{"create", try_create, BIT(ROOT) | BIT(LANDLOCK), 0},
	{"/proc/self/maps", try_proc, BIT(ROOT) | BIT(LANDLOCK), 0},
	{"memory of the parent", try_parent_memory, BIT(ROOT) | BIT(LANDLOCK), 0},
	{"tcp", try_tcp, BIT(NAMESPACES) | BIT(LANDLOCK), 0},
	{"abstract socket", try_abstract, BIT(NAMESPACES) | BIT(LANDLOCK), 0},
	{"signal to the parent", try_kill_parent, BIT(LANDLOCK), 0},
	{"become root", try_become_root, BIT(CAPS), 0}, {"mount", try_mount, BIT(CAPS), 0},
	{"unshare", try_unshare, BIT(CAPS), 0}, {"chroot", try_chroot, BIT(CAPS), 0},
	{"leaked descriptor", try_leaked, BIT(FDS), 0}, {"new descriptors", try_new_fd, BIT(LIMITS), 0},
	{"dumpable", try_dumpable, BIT(LIMITS), 0}, {"death signal lost", try_lost_death_signal, BIT(NNP), 0},
};

/* --- situations -------------------------------------------------------------------------------- */

static void write_line(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(99);
	close(fd);
}

/* What Docker's default profile and an old kernel would do */
static void refuse_things(void)
{
	static const int calls[] = {SCMP_SYS(unshare), SCMP_SYS(mount), SCMP_SYS(pivot_root),
		SCMP_SYS(close_range)};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), calls[i], 0);
	seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), 444, 0); /* landlock_create_ruleset */
	if (seccomp_load(ctx))
		_exit(99);
	seccomp_release(ctx);
}

/* Exit code 77: this situation cannot be made here. */
static void become(enum situation s)
{
	char line[64];
	uid_t uid;
	gid_t gid;

	if (s == AS_ROOT) {
		if (geteuid() != 0)
			_exit(77);
		return;
	}
	if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(1234, 1234, 1234) || setresuid(1234, 1234, 1234)))
		_exit(99);
	/* changing ids made us undumpable, and /proc/self root's */
	prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (s == IN_USERNS) {
		uid = geteuid();
		gid = getegid();
		if (unshare(CLONE_NEWUSER))
			_exit(77);
		snprintf(line, sizeof line, "0 %u 1", (unsigned)uid);
		write_line("/proc/self/setgroups", "deny");
		write_line("/proc/self/uid_map", line);
		snprintf(line, sizeof line, "0 %u 1", (unsigned)gid);
		write_line("/proc/self/gid_map", line);
		write_line("/proc/sys/user/max_mnt_namespaces", "0");
		write_line("/proc/sys/user/max_user_namespaces", "0");
	}
	if (s == REFUSED)
		refuse_things();
}

struct told {
	struct sandbox_report report;
	int rc;
};

/* What the next sacrifices are allowed beyond their filter. */
static bool with_network;
static size_t data_max;

/* In the child: 0 the attempt worked, 42 it was refused, 99 the test is broken. */
static void child(enum situation s, const struct sandbox_syscall *rows, bool (*fn)(void), int tell)
{
	static const int keep[] = {2, TOLD_FD, -1};
	const struct sandbox_policy policy = {.program = "test", .syscalls = rows, .keep_fds = keep,
		.network = with_network, .data_max = data_max};
	struct told t = {.rc = 0};
	int fd = open("/etc/passwd", O_RDONLY);
	struct err e = {.code = 0};

	if (dup2(fd, LEAKED_FD) < 0 || dup2(tell, TOLD_FD) < 0)
		_exit(99);
	become(s);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	t.rc = sandbox_enter(&policy, &t.report, &e);
	if (write(TOLD_FD, &t, sizeof t) != sizeof t || t.rc)
		_exit(99);
	_exit(fn() ? 0 : 42);
}

/* The wait status of one sacrifice; t is what it told. */
static int sacrifice(enum situation s, const struct sandbox_syscall *rows, bool (*fn)(void), struct told *t)
{
	int p[2], status;
	pid_t pid;

	memset(t, 0, sizeof *t);
	assert(!pipe(p));
	fflush(stdout);
	pid = fork();
	assert(pid >= 0);
	if (pid == 0)
		child(s, rows, fn, p[1]);
	close(p[1]);
	if (read(p[0], t, sizeof *t) != sizeof *t)
		t->rc = -1;
	close(p[0]);
	assert(waitpid(pid, &status, 0) == pid);
	return status;
}

static unsigned in_force(const struct sandbox_report *r)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++)
		bits |= r->stage[i].code ? 0 : 1u << i;
	return bits;
}

static void print_report(enum situation s, const struct sandbox_report *r)
{
	printf("%s:\n", situations[s]);
	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++) {
		struct sandbox_report back = {0};
		char line[200];

		/* and there and back as a line */
		sandbox_report_format(r, i, line);
		assert(!sandbox_report_parse(&back, line));
		assert(!back.stage[i].code == !r->stage[i].code);
		assert(!strcmp(back.stage[i].text, r->stage[i].text));
		/* what is not in force has a reason */
		assert(!r->stage[i].code || r->stage[i].text[0]);
		printf("  %-13s %-8s %s\n", sandbox_stage_name(i), r->stage[i].code ? "missing" : "in force",
			r->stage[i].text);
	}
}

static unsigned failures;

static void bad(enum situation s, const char *filter, const char *what, int status)
{
	fprintf(stderr, "%s, %s filter: %s: status 0x%x\n", situations[s], filter, what, (unsigned)status);
	failures++;
}

static void test(enum situation s)
{
	struct told t;
	int status = sacrifice(s, strict_rows, work, &t);
	unsigned have, must;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		printf("%s: cannot be made here\n", situations[s]);
		return;
	}
	if (t.rc || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		bad(s, "strict", "ordinary work", status);
	print_report(s, &t.report);
	have = in_force(&t.report);
	must = BIT(NNP) | BIT(FDS) | BIT(LIMITS) | BIT(SECCOMP) | BIT(CAPS);
	if ((have & must) != must)
		bad(s, "strict", "a stage is missing that works everywhere", (int)have);
	/* as root nothing may be missing but what this kernel has not; where things are refused, it is said */
	if (s == AS_ROOT && (have | BIT(LANDLOCK)) != (1u << SANDBOX_NSTAGES) - 1)
		bad(s, "strict", "a stage is missing", (int)have);
	if (s == REFUSED && have & (BIT(NAMESPACES) | BIT(ROOT) | BIT(LANDLOCK)))
		bad(s, "strict", "a stage claims to be in force and cannot be", (int)have);
	if (s == IN_USERNS && have & (BIT(NAMESPACES) | BIT(ROOT)))
		bad(s, "strict", "a stage claims to be in force and cannot be", (int)have);
	for (size_t i = 0; i < ARRAY_LEN(strict); i++) {
		if (SANITIZED && strict[i].wide_filter)
			continue;
		status = sacrifice(s, strict_rows, strict[i].fn, &t);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			bad(s, "strict", strict[i].what, status);
	}
	for (size_t i = 0; i < ARRAY_LEN(wide); i++) {
		status = sacrifice(s, wide_rows, wide[i].fn, &t);
		if (!WIFEXITED(status) || t.rc)
			bad(s, "wide", wide[i].what, status);
		else if (WEXITSTATUS(status) != 42 && wide[i].stages & in_force(&t.report))
			bad(s, "wide", wide[i].what, status);
	}
}

/* A program of the network: TCP as outside, the rest as ever. Whether there is any network at all, is the host's affair. */
static void test_network(enum situation s)
{
	static const struct attempt still[] = {
		{"open", try_open, BIT(ROOT) | BIT(LANDLOCK), 0},
		{"abstract socket", try_abstract, BIT(LANDLOCK), 0},
		{"signal to the parent", try_kill_parent, BIT(LANDLOCK), 0},
		{"mount", try_mount, BIT(CAPS), 0},
	};
	struct told t;
	int status;

	with_network = true;
	status = sacrifice(s, wide_rows, try_tcp, &t);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		with_network = false;
		return;
	}
	if (!WIFEXITED(status) || t.rc || WEXITSTATUS(status) != (try_tcp() ? 0 : 42))
		bad(s, "network", "tcp", status);
	if (!t.report.stage[SANDBOX_NAMESPACES].code && !strstr(t.report.stage[SANDBOX_NAMESPACES].text, "the host's"))
		bad(s, "network", "the report's words", 0);
	for (size_t i = 0; i < ARRAY_LEN(still); i++) {
		status = sacrifice(s, wide_rows, still[i].fn, &t);
		if (!WIFEXITED(status) || t.rc ||
			(WEXITSTATUS(status) != 42 && still[i].stages & in_force(&t.report)))
			bad(s, "network", still[i].what, status);
	}
	with_network = false;
}

static void test_memory(enum situation s)
{
	struct told t;
	int status;

	if (SANITIZED)
		return;
	data_max = DATA_MAX;
	status = sacrifice(s, strict_rows, work_in_limit, &t);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		data_max = 0;
		return;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) || t.rc)
		bad(s, "memory", "within the limit", status);
	if (t.report.stage[SANDBOX_LIMITS].code || !strstr(t.report.stage[SANDBOX_LIMITS].text, "; 32 MiB of memory"))
		bad(s, "memory", "the report's words", 0);
	status = sacrifice(s, strict_rows, try_much_memory, &t);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 42 || t.rc)
		bad(s, "memory", "beyond the limit", status);
	status = sacrifice(s, strict_rows, try_memory_in_steps, &t);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 42 || t.rc)
		bad(s, "memory", "beyond the limit, by mprotect", status);
	data_max = 0;
}

static void test_parse(void)
{
	static const char *const wrong[] = {"", "root", "root\t", "root\tok", "root ok x", "nonsense\tok\tx",
		"root\tmaybe\tx", "root\tOK\tx", "rootok\tx\ty"};
	struct sandbox_report r = {0};
	char line[400] = "root\tno\t";

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert(sandbox_report_parse(&r, wrong[i]) == -EINVAL);
	memset(line + 8, 'x', 300);
	assert(!sandbox_report_parse(&r, line) && r.stage[SANDBOX_ROOT].code);
	assert(strlen(r.stage[SANDBOX_ROOT].text) == sizeof r.stage[0].text - 1);
	assert(!strcmp(sandbox_stage_name((enum sandbox_stage)99), "?"));
}

int main(void)
{
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sandbox_report r;
	struct stat before, after;

	snprintf(abstract.sun_path + 1, sizeof abstract.sun_path - 1, "husk-sandbox-%d", (int)getpid());
	assert(!bind(l, (struct sockaddr *)&abstract, sizeof abstract) && !listen(l, 64));
	signal(SIGURG, SIG_IGN);
	assert(!stat("/", &before));
	test_parse();
	for (enum situation s = AS_ROOT; s < NSITUATIONS; s++) {
		test(s);
		test_network(s);
		test_memory(s);
	}
	unlink("/tmp/husk-sandbox-test"); /* where nothing but seccomp holds, it could be made */
	/* in a child: this process is as it was */
	assert(!sandbox_probe(&r) && !r.stage[SANDBOX_SECCOMP].code);
	assert(!stat("/", &after) && before.st_ino == after.st_ino && before.st_dev == after.st_dev);
	assert(open("/etc/passwd", O_RDONLY) >= 0);
	return failures != 0;
}
