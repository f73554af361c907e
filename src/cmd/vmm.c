/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/vmm.h"

int vmm_find(char path[4096], struct err *e)
{
	const char *env = getenv("HUSK_VMM");
	char self[3800];
	ssize_t n;

	if (env && *env) {
		snprintf(path, 4096, "%s", env);
		if (access(path, X_OK))
			return err_set(e, errno, "HUSK_VMM is '%s': %s", env, strerror(errno));
		return 0;
	}
	n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n > 0) {
		char *slash;

		self[n] = 0;
		slash = strrchr(self, '/');
		if (slash)
			*slash = 0;
		snprintf(path, 4096, "%s/husk-vmm", self);
		if (!access(path, X_OK))
			return 0;
	}
	snprintf(path, 4096, "%s/husk-vmm", HUSK_LIBEXECDIR);
	if (!access(path, X_OK))
		return 0;
	return err_set(e, ENOENT, "cannot find husk-vmm, neither beside this program nor in %s: build it "
		"with 'make', or say where it is with HUSK_VMM", HUSK_LIBEXECDIR);
}

enum { ARGS_MAX = 40 };
struct args {
	char *v[ARGS_MAX];
	char numbers[8][32];
	unsigned n, nnumbers;
};

static void arg_add(struct args *a, const char *s)
{
	a->v[a->n++] = (char *)(uintptr_t)s; /* execv() promises not to write there */
	a->v[a->n] = NULL;
}

static void arg_number(struct args *a, const char *option, uint64_t v)
{
	char *s = a->numbers[a->nnumbers++];

	snprintf(s, sizeof a->numbers[0], "%llu", (unsigned long long)v);
	arg_add(a, option);
	arg_add(a, s);
}

static void arg_text(struct args *a, const char *option, const char *v)
{
	arg_add(a, option);
	arg_add(a, v);
}

/* In the new process, between fork and exec: nothing but system calls. */
static void child(const char *path, char **argv, pid_t parent, const int *keep, int log, int status)
{
	sigset_t none;
	int null, rc;

	/* dies with the supervisor, even if that is killed: the control line's end is the other way */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* no terminal: its signals are for the supervisor to interpret */
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(log, 2) < 0)
		goto fail;
	for (; *keep >= 0; keep++)
		if (fcntl(*keep, F_SETFD, 0))
			goto fail;
	execv(path, argv);
fail:
	rc = errno;
	if (write(status, &rc, sizeof rc) < 0) {
		/* then the parent sees the end of the pipe and our exit code */
	}
	_exit(127);
}

static void close_pair(int p[2])
{
	for (int i = 0; i < 2; i++)
		if (p[i] >= 0)
			close(p[i]);
}

int vmm_start(struct vmm *v, const char *path, const struct vmm_config *c, struct err *e)
{
	int control[2] = {-1, -1}, serial[2] = {-1, -1}, log[2] = {-1, -1}, status[2] = {-1, -1};
	int keep[5], nkeep = 0, rc = 0;
	struct args a = {.n = 0};
	pid_t parent = getpid();

	*v = (struct vmm){.pidfd = -1, .control = -1, .serial = -1, .log = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, serial) ||
		pipe2(log, O_CLOEXEC) || pipe2(status, O_CLOEXEC)) {
		rc = err_set(e, errno, "cannot make sockets for husk-vmm: %s", strerror(errno));
		goto out;
	}
	arg_add(&a, "husk-vmm");
	arg_number(&a, "--control-fd", (uint64_t)control[1]);
	arg_number(&a, "--kernel-fd", (uint64_t)c->kernel_fd);
	keep[nkeep++] = control[1];
	keep[nkeep++] = c->kernel_fd;
	if (c->initrd_fd >= 0) {
		arg_number(&a, "--initrd-fd", (uint64_t)c->initrd_fd);
		keep[nkeep++] = c->initrd_fd;
	}
	arg_number(&a, "--serial-fd", (uint64_t)serial[1]);
	keep[nkeep++] = serial[1];
	keep[nkeep] = -1;
	arg_text(&a, "--append", c->append);
	arg_number(&a, "--memory", c->memory);
	arg_number(&a, "--cpus", c->cpus);
	arg_text(&a, "--engine", c->engine);
	arg_text(&a, "--cpu", c->cpu);
	arg_text(&a, "--name", c->name);
	if (c->no_reboot)
		arg_add(&a, "--no-reboot");
	if (c->testdev)
		arg_add(&a, "--testdev");
	if (c->debug)
		arg_text(&a, "--debug", c->debug);

	v->pid = fork();
	if (v->pid < 0) {
		v->pid = 0;
		rc = err_set(e, errno, "cannot fork: %s", strerror(errno));
		goto out;
	}
	if (v->pid == 0)
		child(path, a.v, parent, keep, log[1], status[1]);
	close(status[1]);
	status[1] = -1;
	/* ends when exec succeeded, which closes the other end */
	if (read(status[0], &rc, sizeof rc) == sizeof rc)
		rc = err_set(e, rc, "cannot start %s: %s", path, strerror(rc));
	else
		rc = 0;
	v->pidfd = (int)syscall(SYS_pidfd_open, v->pid, 0);
	if (!rc && v->pidfd < 0)
		rc = err_set(e, errno, "cannot watch husk-vmm (pidfd_open): %s", strerror(errno));
	if (!rc) {
		v->control = control[0];
		v->serial = serial[0];
		v->log = log[0];
		control[0] = serial[0] = log[0] = -1;
		fcntl(v->control, F_SETFL, O_NONBLOCK);
		fcntl(v->serial, F_SETFL, O_NONBLOCK);
		fcntl(v->log, F_SETFL, O_NONBLOCK);
	}
out:
	close_pair(control);
	close_pair(serial);
	close_pair(log);
	close_pair(status);
	if (rc)
		vmm_close(v);
	return rc;
}

int vmm_send(struct vmm *v, enum vmm_msg_type type, uint32_t arg)
{
	struct vmm_msg m = {.type = type, .arg = arg};

	if (v->control < 0)
		return -EPIPE;
	if (send(v->control, &m, offsetof(struct vmm_msg, text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int vmm_recv(struct vmm *v, struct vmm_msg *m, char text[VMM_TEXT_MAX + 1])
{
	const size_t head = offsetof(struct vmm_msg, text);
	ssize_t n = recv(v->control, m, sizeof *m, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	/* lengths that do not fit mean that the other side is not what we started, or is broken */
	if (n < (ssize_t)head || m->len > VMM_TEXT_MAX || (size_t)n != head + m->len)
		return 0;
	memcpy(text, m->text, m->len);
	text[m->len] = 0;
	return 1;
}

int vmm_reap(struct vmm *v)
{
	int status = 0;

	while (waitpid(v->pid, &status, 0) < 0 && errno == EINTR)
		;
	v->pid = 0;
	return status;
}

void vmm_close(struct vmm *v)
{
	int *const fds[] = {&v->pidfd, &v->control, &v->serial, &v->log};

	if (v->pid) {
		kill(v->pid, SIGKILL);
		vmm_reap(v);
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
