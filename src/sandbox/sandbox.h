/* SPDX-License-Identifier: MIT */
/*
 * Dropping privilege in named stages. Every stage is tried, each works or says why not: nothing is
 * skipped silently and nothing but no_new_privs and seccomp is required. See sandbox.c for the theory.
 */
#ifndef SANDBOX_SANDBOX_H
#define SANDBOX_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/err.h"

enum sandbox_stage {
	SANDBOX_NNP,        /* no_new_privs */
	SANDBOX_FDS,        /* all descriptors closed but those listed */
	SANDBOX_NAMESPACES, /* empty user, mount, net, ipc, uts, cgroup namespaces */
	SANDBOX_ROOT,       /* pivot into an empty, read-only root */
	SANDBOX_CAPS,       /* all capabilities dropped, bounding set empty; root becomes nobody if it can */
	SANDBOX_LANDLOCK,   /* no file system access at all, no TCP, no signals to others */
	SANDBOX_LIMITS,     /* rlimits: no core, no new files, ...; not to be traced or dumped */
	SANDBOX_SECCOMP,    /* system call filter */
	SANDBOX_NSTAGES
};
const char *sandbox_stage_name(enum sandbox_stage s);

struct sandbox_report {
	struct {
		int code;        /* 0: in force; otherwise errno of what failed */
		char text[120];  /* why not, for people; when in force, empty or what it means here */
	} stage[SANDBOX_NSTAGES];
};

/*
 * One stage as a line of words, "NAME<TAB>ok|no<TAB>TEXT", and back: how husk-vmm tells the supervisor
 * (VMM_READY, one "sandbox=" line per stage). The parser distrusts its input: 0 or -EINVAL; it
 * sets code to 0 or EPERM.
 */
void sandbox_report_format(const struct sandbox_report *r, enum sandbox_stage s, char line[200]);
int sandbox_report_parse(struct sandbox_report *r, const char *line);

/* One program's filter: the system calls it makes after start, kept beside its code. */
struct sandbox_syscall {
	int nr;
	/* argument check: arg index -1 none; otherwise only calls with (arg & mask) == value pass */
	int arg;
	unsigned long mask, value;
	int refused; /* 0: passes; an errno: says that, for what a library tries and can do without */
};

/*
 * Rows for such a table. Several rows for one call mean: any of them. Every filter also has these
 * two without a row: clone3 says ENOSYS, since its flags are in memory, where no filter can look
 * (libc then uses clone); and what is in no row kills the process.
 */
#define SANDBOX_ALLOW(nr)                   {(nr), -1, 0, 0, 0}
#define SANDBOX_ALLOW_IF(nr, arg, mask, value) {(nr), (arg), (mask), (value), 0}
#define SANDBOX_REFUSE_IF(nr, arg, mask, value, code) {(nr), (arg), (mask), (value), (code)}
/* Memory, but never executable. A program that makes code asks for it in rows of its own. */
#define SANDBOX_MEMORY                                                                             \
	SANDBOX_ALLOW_IF(SYS_mmap, 2, PROT_EXEC, 0), SANDBOX_ALLOW_IF(SYS_mprotect, 2, PROT_EXEC, 0),  \
	SANDBOX_ALLOW(SYS_munmap), SANDBOX_ALLOW(SYS_mremap), SANDBOX_ALLOW(SYS_brk),                  \
	SANDBOX_ALLOW(SYS_madvise)
/* What libc does by itself: locks, clocks, signals to itself (abort), the end. */
#define SANDBOX_RUNTIME                                                                            \
	SANDBOX_ALLOW(SYS_exit), SANDBOX_ALLOW(SYS_exit_group), SANDBOX_ALLOW(SYS_rt_sigreturn),       \
	SANDBOX_ALLOW(SYS_rt_sigprocmask), SANDBOX_ALLOW(SYS_rt_sigaction),                            \
	SANDBOX_ALLOW(SYS_sigaltstack), SANDBOX_ALLOW(SYS_restart_syscall),                            \
	SANDBOX_ALLOW(SYS_futex), SANDBOX_ALLOW(SYS_clock_gettime),                                    \
	SANDBOX_ALLOW(SYS_clock_nanosleep), SANDBOX_ALLOW(SYS_nanosleep),                              \
	SANDBOX_ALLOW(SYS_gettimeofday), SANDBOX_ALLOW(SYS_time), SANDBOX_ALLOW(SYS_sched_yield),      \
	SANDBOX_ALLOW(SYS_getpid), SANDBOX_ALLOW(SYS_gettid), SANDBOX_ALLOW(SYS_tgkill),               \
	SANDBOX_ALLOW(SYS_getrandom), SANDBOX_ALLOW(SYS_sched_getaffinity)
/* An event loop (base/loop.h) and its sockets; and stdio, which asks what stderr is. */
#define SANDBOX_LOOP                                                                               \
	SANDBOX_ALLOW(SYS_read), SANDBOX_ALLOW(SYS_write), SANDBOX_ALLOW(SYS_recvfrom),                \
	SANDBOX_ALLOW(SYS_sendto), SANDBOX_ALLOW(SYS_recvmsg), SANDBOX_ALLOW(SYS_sendmsg),             \
	SANDBOX_ALLOW(SYS_poll), SANDBOX_ALLOW(SYS_epoll_wait), SANDBOX_ALLOW(SYS_epoll_ctl),          \
	SANDBOX_ALLOW(SYS_timerfd_settime), SANDBOX_ALLOW(SYS_close), SANDBOX_ALLOW(SYS_fstat)
/* Threads of this process, and no other kind of child: CLONE_VM|FS|FILES|SIGHAND|THREAD. */
#define SANDBOX_CLONE_THREAD 0x00010f00ul
#define SANDBOX_THREADS                                                                            \
	SANDBOX_ALLOW_IF(SYS_clone, 0, SANDBOX_CLONE_THREAD, SANDBOX_CLONE_THREAD),                    \
	SANDBOX_ALLOW(SYS_set_robust_list), SANDBOX_ALLOW(SYS_rseq)
#define SANDBOX_END {-1, -1, 0, 0, 0}

struct sandbox_policy {
	const char *program;
	const struct sandbox_syscall *syscalls; /* nr -1 ends */
	const int *keep_fds; /* -1 ends. NULL: the program called sandbox_close_fds() when it began */
	unsigned new_fds;    /* how many descriptors it may still make; mostly 0 */
	bool network;        /* stays in the network it was started in, and may use TCP */
	/*
	 * Bytes of private writable memory (RLIMIT_DATA), what there is at the start and threads' stacks included;
	 * what is shared does not count. 0: no limit. In sanitizer builds there is none.
	 */
	size_t data_max;
};

/*
 * The stage SANDBOX_FDS by itself, for programs that open descriptors of their own before they enter
 * the rest: to be called first of all, with what the program was handed. keep: -1 ends.
 */
void sandbox_close_fds(const int *keep);

/*
 * Enters all stages. The first part (before threads exist) must be called with one thread; the
 * seccomp filter is applied with TSYNC. Returns 0 when no_new_privs and seccomp are in force,
 * else -errno with words in e. In ASan builds the filter also allows what the run time needs.
 * Of descriptors 0 to 2 those that are not kept become /dev/null. PR_SET_PDEATHSIG is kept.
 */
int sandbox_enter(const struct sandbox_policy *p, struct sandbox_report *r, struct err *e);

/* What this host offers, tried in a child: for husk doctor. */
int sandbox_probe(struct sandbox_report *r);

#endif
