/* SPDX-License-Identifier: MIT */
/*
 * A process that guests, disks or viewers can reach assumes that it will be taken over one day, and
 * arranges beforehand that there is nothing to take. Each stage closes what the others leave open:
 *
 *   no-new-privs  exec of set-uid programs gains nothing. Required by Landlock and seccomp.
 *   descriptors   what the parent leaked. First, while /proc is still there.
 *   namespaces    an unprivileged process makes a user namespace first, which gives it all
 *                 capabilities over the rest of what it makes: mounts, network, IPC, host name, cgroups of its
 *                 own, and all of them empty. A privileged one goes without the user namespace, where
 *                 its capabilities are real, and drops them later. There is no PID namespace:
 *                 unshare() puts children into it and not the caller, there will be no children, and a
 *                 process that waits for such a child cannot make threads any more (clone(2), EINVAL).
 *                 What a PID namespace would hide, other processes, is out of reach through
 *                 seccomp (no kill, no ptrace) and Landlock (no signals).
 *   root          pivot_root() into an empty read-only tmpfs; the old root is unmounted. Not chroot(): one
 *                 descriptor of a directory outside, or CAP_SYS_CHROOT, leads out of that. Where
 *                 mounting is refused, as in most containers, Landlock is what keeps files away.
 *   capabilities  bounding set, ambient set and all else are emptied, and securebits locked so that
 *                 uid 0 means nothing. A real root also becomes nobody, when uid 65534 exists here.
 *   landlock      a ruleset without rules: every kind of access that this kernel knows is denied.
 *                 After root, because a Landlocked process may not mount.
 *   limits        no core dumps (guest memory!), no new descriptors, not dumpable, so that other processes
 *                 of the same user can neither trace it nor look at its memory; private memory up to
 *                 what the program said.
 *   seccomp       last, since all of the above are calls that it forbids.
 *
 * A program whose work is the host's network (policy: network) keeps that namespace and TCP. What of it it may use is
 * up to its filter, by family of socket; abstract Unix sockets stay out of reach.
 *
 * io_uring goes round seccomp: what a ring is told to do is in memory, where no filter looks, so a ring can open files
 * and connect sockets for a process that may call neither. (Landlock and namespaces hold for rings too.) So no filter allows
 * io_uring_setup(): a program that wants a ring makes it before, restricts it to the operations and descriptors that it
 * needs (io_uring_register(2), IORING_REGISTER_RESTRICTIONS), and allows itself io_uring_enter() and what else of
 * io_uring_register() it needs.
 *
 * Containers refuse some of this: Docker's default filter forbids unshare and mount to those without
 * CAP_SYS_ADMIN, some hosts forbid unprivileged user namespaces. Every refusal is in the report. The
 * parts of a stage are tried one by one, so that one refused namespace does not cost the others.
 *
 * The kernel forgets PR_SET_PDEATHSIG when credentials change (prctl(2)), so it is read first
 * and set again after the last change.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "sandbox/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Landlock's bits by number: Debian 12's header knows ABI 1 only. Documentation/userspace-api/landlock.rst */
struct ll_ruleset {
	uint64_t access_fs, access_net, scoped;
};
enum {
	LL_VERSION = 1, /* LANDLOCK_CREATE_RULESET_VERSION */
	LL_NET_TCP = 3, /* bind, connect: ABI 4 */
	LL_SCOPES = 3,  /* abstract Unix sockets, signals: ABI 6 */
};

static const int NOBODY = 65534;

static const char *const stage_names[] = {
	[SANDBOX_NNP] = "no-new-privs",
	[SANDBOX_FDS] = "descriptors",
	[SANDBOX_NAMESPACES] = "namespaces",
	[SANDBOX_ROOT] = "root",
	[SANDBOX_CAPS] = "capabilities",
	[SANDBOX_LANDLOCK] = "landlock",
	[SANDBOX_LIMITS] = "limits",
	[SANDBOX_SECCOMP] = "seccomp",
};
_Static_assert(ARRAY_LEN(stage_names) == SANDBOX_NSTAGES, "a name for each stage");

const char *sandbox_stage_name(enum sandbox_stage s)
{
	return (unsigned)s < SANDBOX_NSTAGES ? stage_names[s] : "?";
}

void sandbox_report_format(const struct sandbox_report *r, enum sandbox_stage s, char line[200])
{
	snprintf(line, 200, "%s\t%s\t%s", stage_names[s], r->stage[s].code ? "no" : "ok", r->stage[s].text);
}

int sandbox_report_parse(struct sandbox_report *r, const char *line)
{
	for (unsigned s = 0; s < SANDBOX_NSTAGES; s++) {
		size_t n = strlen(stage_names[s]);

		if (strncmp(line, stage_names[s], n) || line[n] != '\t')
			continue;
		line += n + 1;
		if (strncmp(line, "ok\t", 3) && strncmp(line, "no\t", 3))
			return -EINVAL;
		r->stage[s].code = line[0] == 'o' ? 0 : EPERM;
		snprintf(r->stage[s].text, sizeof r->stage[s].text, "%s", line + 3);
		return 0;
	}
	return -EINVAL;
}

/* Notes a part of a stage that failed: the first error counts, all are named. */
static void __attribute__((format(printf, 4, 5)))
failed(struct sandbox_report *r, enum sandbox_stage s, int code, const char *fmt, ...)
{
	size_t len = strlen(r->stage[s].text);
	char part[100];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(part, sizeof part, fmt, ap);
	va_end(ap);
	if (!r->stage[s].code)
		len = 0;
	snprintf(r->stage[s].text + len, sizeof r->stage[s].text - len, "%s%s: %s", len ? "; " : "", part,
		strerror(code));
	if (!r->stage[s].code)
		r->stage[s].code = code;
}

static void note(struct sandbox_report *r, enum sandbox_stage s, const char *text)
{
	if (!r->stage[s].code)
		snprintf(r->stage[s].text, sizeof r->stage[s].text, "%s", text);
}

/* --- descriptors ------------------------------------------------------------------------------- */

static bool kept(const int *keep, int fd)
{
	for (; *keep >= 0; keep++)
		if (*keep == fd)
			return true;
	return false;
}

/* The highest number among those that stay open. */
static int highest_fd(const struct sandbox_policy *p)
{
	int most = 2;

	for (const int *k = p->keep_fds; k && *k >= 0; k++)
		most = *k > most ? *k : most;
	/* numbers are given from below; few programs here have more than 30 */
	for (int fd = 3; !p->keep_fds && fd < 4096; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			most = fd;
	return most;
}

/* Without close_range() (Linux before 5.9, or a filter around us): by asking for each number. */
static void close_slowly(int from)
{
	struct rlimit rl;
	int last = 65536;

	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < (rlim_t)last)
		last = (int)rl.rlim_cur;
	for (int fd = from; fd < last; fd++)
		close(fd);
}

void sandbox_close_fds(const int *keep)
{
	int most = 2, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (const int *k = keep; *k >= 0; k++)
		most = *k > most ? *k : most;
	for (int fd = 0; fd <= most; fd++) {
		if (kept(keep, fd) || fd == null)
			continue;
		if (fd <= 2 && null >= 0)
			dup2(null, fd);
		else
			close(fd);
	}
	if (syscall(SYS_close_range, (unsigned)most + 1, ~0u, 0))
		close_slowly(most + 1);
	if (null > 2 && null <= most)
		close(null);
}

static void enter_fds(const struct sandbox_policy *p, struct sandbox_report *r)
{
	if (p->keep_fds)
		sandbox_close_fds(p->keep_fds);
	note(r, SANDBOX_FDS, p->keep_fds ? "all others closed" : "others closed at the start");
}

/* --- namespaces -------------------------------------------------------------------------------- */

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = errno;
	close(fd);
	return rc;
}

/* One id, so that files of ours are still ours; nobody else exists in there. */
static int map_ids(uid_t uid, gid_t gid)
{
	char line[64];
	int rc = write_file("/proc/self/setgroups", "deny"), rc2;

	if (rc == ENOENT) /* a kernel that does not ask for it */
		rc = 0;
	snprintf(line, sizeof line, "%d %u 1", NOBODY, (unsigned)uid);
	rc2 = write_file("/proc/self/uid_map", line);
	rc = rc ? rc : rc2;
	snprintf(line, sizeof line, "%d %u 1", NOBODY, (unsigned)gid);
	rc2 = write_file("/proc/self/gid_map", line);
	return rc ? rc : rc2;
}

static void refuse(char list[64], const char *name, int *code)
{
	size_t n = strlen(list);

	*code = *code ? *code : errno;
	snprintf(list + n, 64 - n, "%s%s", n ? ", " : "", name);
}

/* Returns true when we are in a user namespace of our own. */
static bool enter_namespaces(const struct sandbox_policy *p, struct sandbox_report *r)
{
	static const struct {
		int flag;
		const char *name;
	} spaces[] = {{CLONE_NEWNET, "network"}, {CLONE_NEWIPC, "ipc"}, {CLONE_NEWUTS, "uts"},
		{CLONE_NEWCGROUP, "cgroup"}};
	uid_t uid = geteuid();
	gid_t gid = getegid();
	char refused[64] = "", text[80];
	bool own_user = false;
	int rc, code = 0;

	/* a mount namespace is the one that takes CAP_SYS_ADMIN everywhere */
	if (unshare(CLONE_NEWNS)) {
		if (unshare(CLONE_NEWUSER)) {
			refuse(refused, "user", &code);
		} else {
			own_user = true;
			rc = map_ids(uid, gid);
			if (rc)
				failed(r, SANDBOX_NAMESPACES, rc, "mapping of ids");
		}
		if (unshare(CLONE_NEWNS))
			refuse(refused, "mount", &code);
	}
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
		if (!(p->network && spaces[i].flag == CLONE_NEWNET) && unshare(spaces[i].flag))
			refuse(refused, spaces[i].name, &code);
	if (code)
		failed(r, SANDBOX_NAMESPACES, code, "no own %s", refused);
	snprintf(text, sizeof text, "%smount, %sipc, uts, cgroup%s", own_user ? "user, " : "",
		p->network ? "" : "network, ", p->network ? "; the network is the host's" : "");
	note(r, SANDBOX_NAMESPACES, text);
	return own_user;
}

/* --- root -------------------------------------------------------------------------------------- */

static void enter_root(struct sandbox_report *r)
{
	struct stat st;
	const char *step;

	/* or the mounts below would show up, or be refused, outside */
	step = "making mounts private";
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		goto fail;
	/*
	 * Mounted over "/", the new root hides the old one but is not our root yet; "/.." and the
	 * working directory still lead to the old one. A mount on the root is entered by "/..".
	 */
	step = "tmpfs";
	if (mount("none", "/", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=1,mode=0555"))
		goto fail;
	step = "entering the new root";
	if (chdir("/.."))
		goto fail;
	/* pivot_root(".", "."): the old root lands on top of the new one and is taken off (pivot_root(2)) */
	step = "pivot_root";
	if (syscall(SYS_pivot_root, ".", "."))
		goto fail;
	step = "unmounting the old root";
	if (umount2(".", MNT_DETACH) || chdir("/"))
		goto fail;
	step = "read-only";
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
			NULL))
		goto fail;
	/* believe what is there, not what the calls said */
	step = "looking for what must be gone";
	if (!stat("/proc", &st) || !stat("/usr", &st)) {
		errno = EEXIST;
		goto fail;
	}
	note(r, SANDBOX_ROOT, "empty and read-only");
	return;
fail:
	failed(r, SANDBOX_ROOT, errno, "%s", step);
}

/* --- capabilities ------------------------------------------------------------------------------ */

static void enter_caps(struct sandbox_report *r, bool own_user)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2], none[2] = {{0, 0, 0}, {0, 0, 0}};
	const unsigned nobody = (unsigned)NOBODY;
	const char *uid_text = "none";
	int left;

	for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)) {
			/* an ordinary user cannot, and has no way to make use of the set either */
			if (errno != EPERM || geteuid() == 0)
				failed(r, SANDBOX_CAPS, errno, "bounding set");
			break;
		}
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* before the uid changes: with these bits that leaves the capabilities, which capset() ends */
	prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
		SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
		SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0);
	/* in our own user namespace there is just one id, and it is nobody's already */
	if (!own_user && geteuid() == 0) {
		int groups = setgroups(0, NULL) ? errno : 0;

		if (!setresgid(nobody, nobody, nobody) && !setresuid(nobody, nobody, nobody))
			uid_text = "none; root became nobody";
		else if (errno == EINVAL) /* a user namespace with few ids: its root is someone's ordinary uid */
			uid_text = "none; still uid 0, there is no uid 65534 in this container";
		else
			failed(r, SANDBOX_CAPS, errno, "still uid 0: setresuid");
		/* where a user namespace forbids setgroups() for good, only real groups are a loss */
		if (groups && getgroups(0, NULL) > 0)
			failed(r, SANDBOX_CAPS, groups, "setgroups");
	}
	if (syscall(SYS_capset, &h, none))
		failed(r, SANDBOX_CAPS, errno, "capset");
	if (!syscall(SYS_capget, &h, d)) {
		left = (d[0].permitted | d[1].permitted | d[0].effective | d[1].effective) != 0;
		if (left)
			failed(r, SANDBOX_CAPS, EPERM, "capabilities are left");
	}
	note(r, SANDBOX_CAPS, uid_text);
}

/* --- landlock ---------------------------------------------------------------------------------- */

static void enter_landlock(const struct sandbox_policy *p, struct sandbox_report *r)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LL_VERSION);
	struct ll_ruleset rs = {0, 0, 0};
	size_t size = 8;
	char text[64];
	int fd;

	if (abi < 0) {
		failed(r, SANDBOX_LANDLOCK, errno, "this kernel has it not, or a container forbids it");
		return;
	}
	/* ABI 1: 13 rights; 2: refer; 3: truncate; 5: ioctl of devices */
	rs.access_fs = (1ull << 13) - 1;
	if (abi >= 2)
		rs.access_fs |= 1ull << 13;
	if (abi >= 3)
		rs.access_fs |= 1ull << 14;
	if (abi >= 4) {
		rs.access_net = p->network ? 0 : LL_NET_TCP;
		size = 16;
	}
	if (abi >= 5)
		rs.access_fs |= 1ull << 15;
	if (abi >= 6) {
		rs.scoped = LL_SCOPES;
		size = 24;
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &rs, size, 0);
	if (fd < 0) {
		failed(r, SANDBOX_LANDLOCK, errno, "ruleset");
		return;
	}
	if (syscall(SYS_landlock_restrict_self, fd, 0))
		failed(r, SANDBOX_LANDLOCK, errno, "restrict");
	close(fd);
	snprintf(text, sizeof text, "files%s%s (ABI %ld)", rs.access_net ? ", TCP" : "",
		abi >= 6 ? ", signals, abstract sockets" : "", abi);
	note(r, SANDBOX_LANDLOCK, text);
}

/* --- limits ------------------------------------------------------------------------------------ */

static void limit(struct sandbox_report *r, int what, rlim_t v, const char *name)
{
	struct rlimit rl = {v, v};

	if (setrlimit(what, &rl))
		failed(r, SANDBOX_LIMITS, errno, "%s", name);
}

static void enter_limits(const struct sandbox_policy *p, struct sandbox_report *r)
{
	char text[100] = "no core dump, no new descriptors, not traceable";
	size_t n = strlen(text);

	limit(r, RLIMIT_CORE, 0, "core");
	/* RLIMIT_NOFILE bounds the number of a descriptor; poll() also takes it for a count */
	limit(r, RLIMIT_NOFILE, (rlim_t)highest_fd(p) + 1 + p->new_fds, "nofile");
	limit(r, RLIMIT_MSGQUEUE, 0, "msgqueue");
	limit(r, RLIMIT_LOCKS, 0, "locks");
	limit(r, RLIMIT_RTPRIO, 0, "rtprio");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		failed(r, SANDBOX_LIMITS, errno, "dumpable");
	/* a sanitizer's shadow memory is terabytes, of which next to nothing is used */
	if (p->data_max && SANITIZED) {
		snprintf(text + n, sizeof text - n, "; sanitizer build: any amount of memory");
	} else if (p->data_max) {
		limit(r, RLIMIT_DATA, p->data_max, "data");
		snprintf(text + n, sizeof text - n, "; %zu MiB of memory", (p->data_max + (1u << 19)) >> 20);
	}
	note(r, SANDBOX_LIMITS, text);
}

/* --- seccomp ----------------------------------------------------------------------------------- */

#if SANITIZED
/*
 * The sanitizers' run time maps, reads /proc (which is gone: it copes), and prints. This build is for
 * tests: its filter is wider, and the rest of the sandbox is the same.
 */
static const struct sandbox_syscall sanitizer_rows[] = {
	SANDBOX_MEMORY, SANDBOX_RUNTIME, SANDBOX_THREADS,
	SANDBOX_ALLOW(SYS_mmap), SANDBOX_ALLOW(SYS_mprotect),
	SANDBOX_ALLOW(SYS_read), SANDBOX_ALLOW(SYS_write), SANDBOX_ALLOW(SYS_close),
	SANDBOX_ALLOW(SYS_openat), SANDBOX_ALLOW(SYS_open), SANDBOX_ALLOW(SYS_readlink),
	SANDBOX_ALLOW(SYS_readlinkat), SANDBOX_ALLOW(SYS_fstat), SANDBOX_ALLOW(SYS_newfstatat),
	SANDBOX_ALLOW(SYS_stat), SANDBOX_ALLOW(SYS_ioctl), SANDBOX_ALLOW(SYS_prctl),
	SANDBOX_ALLOW(SYS_getrusage), SANDBOX_ALLOW(SYS_prlimit64), SANDBOX_ALLOW(SYS_uname),
	SANDBOX_END,
};

/* The leak check at exit starts a process that traces this one: not in here. */
static int in_sandbox;
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return in_sandbox;
}
#endif

static int add_rows(scmp_filter_ctx ctx, const struct sandbox_syscall *rows)
{
	for (; rows->nr >= 0; rows++) {
		struct scmp_arg_cmp cmp = {(unsigned)rows->arg, SCMP_CMP_MASKED_EQ, rows->mask, rows->value};
		uint32_t action = rows->refused ? SCMP_ACT_ERRNO((uint32_t)rows->refused) : SCMP_ACT_ALLOW;
		int rc = seccomp_rule_add_array(ctx, action, rows->nr, rows->arg >= 0, &cmp);

		/* a wider rule for the same call is there already */
		if (rc && rc != -EEXIST)
			return rc;
	}
	return 0;
}

static int enter_seccomp(const struct sandbox_policy *p, struct sandbox_report *r, struct err *e)
{
	/* x86_64 only: calls of the i386 and x32 kinds have other numbers, and kill */
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int rc;

	if (!ctx) {
		rc = -ENOSYS;
		goto out;
	}
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	rc = rc ? rc : seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	/*
	 * Best effort from here. A search tree instead of a list. Not CTL_LOG: what is killed is in the
	 * audit log anyway, and it would add a line for every ENOSYS of clone3.
	 */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/*
	 * Before Linux 5.16 a filter also turned speculative store bypass off, which costs an interpreter
	 * dearly; this process holds nothing of others that a guest could spy on.
	 */
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_SSB, 1);
	rc = rc ? rc : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	rc = rc ? rc : add_rows(ctx, p->syscalls);
#if SANITIZED
	rc = rc ? rc : add_rows(ctx, sanitizer_rows);
	in_sandbox = 1;
#endif
	rc = rc ? rc : seccomp_load(ctx);
out:
	if (ctx)
		seccomp_release(ctx);
	if (rc) {
		failed(r, SANDBOX_SECCOMP, -rc, "filter");
		return err_set(e, -rc, "%s cannot confine itself: the system call filter (seccomp) was "
			"refused: %s", p->program, strerror(-rc));
	}
	note(r, SANDBOX_SECCOMP, SANITIZED ? "sanitizer build: a wider filter" : "filter of this program");
	return 0;
}

/* --- all of it --------------------------------------------------------------------------------- */

int sandbox_enter(const struct sandbox_policy *p, struct sandbox_report *r, struct err *e)
{
	int death_signal = 0;
	bool own_user;

	memset(r, 0, sizeof *r);
	prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
	/* libc reads /etc/localtime the first time that any broken-down time is made, gmtime()'s too */
	tzset();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
		int code = errno;

		failed(r, SANDBOX_NNP, code, "prctl");
		return err_set(e, code, "%s cannot confine itself: no_new_privs was refused: %s",
			p->program, strerror(code));
	}
	enter_fds(p, r);
	own_user = enter_namespaces(p, r);
	enter_root(r);
	enter_caps(r, own_user);
	enter_landlock(p, r);
	enter_limits(p, r);
	if (death_signal)
		prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0);
	return enter_seccomp(p, r, e);
}

int sandbox_probe(struct sandbox_report *r)
{
	static const struct sandbox_syscall rows[] = {
		SANDBOX_RUNTIME, SANDBOX_MEMORY, SANDBOX_ALLOW(SYS_write), SANDBOX_END};
	struct sandbox_report got = {.stage = {{.code = 0}}};
	int p[2], rc = 0;
	size_t have = 0;
	pid_t pid;

	memset(r, 0, sizeof *r);
	if (pipe2(p, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		rc = -errno;
		close(p[0]);
		close(p[1]);
		return rc;
	}
	if (pid == 0) {
		const int keep[] = {p[1], 2, -1};
		const struct sandbox_policy policy = {.program = "probe", .syscalls = rows,
			.keep_fds = keep};

		sandbox_enter(&policy, r, NULL);
		_exit(write(p[1], r, sizeof *r) != sizeof *r);
	}
	close(p[1]);
	while (have < sizeof got) {
		ssize_t n = read(p[0], (char *)&got + have, sizeof got - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += (size_t)n;
	}
	close(p[0]);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (have != sizeof got)
		return -EPIPE;
	*r = got;
	return 0;
}
