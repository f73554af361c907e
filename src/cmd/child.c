/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdpass.h"
#include "base/util.h"
#include "cmd/child.h"

/* "husk-vmm" has HUSK_VMM */
static const char *variable(const char *program, char name[32])
{
	size_t i;

	for (i = 0; i < 31 && program[i]; i++)
		name[i] = program[i] == '-' ? '_' : (char)toupper((unsigned char)program[i]);
	name[i] = 0;
	return name;
}

int child_find(const char *program, char path[4096], struct err *e)
{
	char self[3800], name[32];
	const char *env = getenv(variable(program, name));
	ssize_t n;

	if (env && *env) {
		snprintf(path, 4096, "%s", env);
		if (access(path, X_OK))
			return err_set(e, errno, "%s is '%s': %s", name, env, strerror(errno));
		return 0;
	}
	n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n > 0) {
		char *slash;

		self[n] = 0;
		slash = strrchr(self, '/');
		if (slash)
			*slash = 0;
		snprintf(path, 4096, "%s/%s", self, program);
		if (!access(path, X_OK))
			return 0;
	}
	snprintf(path, 4096, "%s/%s", HUSK_LIBEXECDIR, program);
	if (!access(path, X_OK))
		return 0;
	return err_set(e, ENOENT, "cannot find %s, neither beside this program nor in %s: build it "
		"with 'make', or say where it is with %s", program, HUSK_LIBEXECDIR, name);
}

/* --- the command line -------------------------------------------------------------------------- */

void child_arg(struct child_args *a, const char *s)
{
	if (a->n == CHILD_ARGS) {
		a->full = true;
		return;
	}
	a->v[a->n++] = s;
	a->v[a->n] = NULL;
}

void child_arg_text(struct child_args *a, const char *option, const char *value)
{
	child_arg(a, option);
	child_arg(a, value);
}

void child_arg_format(struct child_args *a, const char *fmt, ...)
{
	char *s = a->text + a->len;
	size_t room = sizeof a->text - a->len;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room) {
		a->full = true;
		return;
	}
	a->len += (size_t)n + 1;
	child_arg(a, s);
}

void child_arg_number(struct child_args *a, const char *option, uint64_t v)
{
	child_arg(a, option);
	child_arg_format(a, "%llu", (unsigned long long)v);
}

void child_keep_fd(struct child_args *a, int fd)
{
	if (a->nfds == CHILD_FDS)
		a->full = true;
	else
		a->fd[a->nfds++] = fd;
	a->fd[a->nfds] = -1;
}

void child_arg_fd(struct child_args *a, const char *option, int fd)
{
	child_arg_number(a, option, (uint64_t)fd);
	child_keep_fd(a, fd);
}

/* --- starting ---------------------------------------------------------------------------------- */

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

int child_start(struct child *c, const char *program, const char *path, struct child_args *a, struct err *e)
{
	int control[2] = {-1, -1}, log[2] = {-1, -1}, status[2] = {-1, -1}, rc = 0;
	char *argv[CHILD_ARGS + 4];
	pid_t parent = getpid();
	unsigned n = 0;

	*c = (struct child)CHILD_INIT;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) || pipe2(log, O_CLOEXEC) ||
		pipe2(status, O_CLOEXEC)) {
		rc = err_set(e, errno, "cannot make sockets for %s: %s%s", program, strerror(errno),
			errno == EMFILE ? "; 'ulimit -n 4096' allows more" : "");
		goto out;
	}
	child_arg_fd(a, "--control-fd", control[1]);
	if (a->full) {
		rc = err_set(e, E2BIG, "the command line for %s is too long", program);
		goto out;
	}
	argv[n++] = (char *)(uintptr_t)program; /* execv() promises not to write there */
	for (unsigned i = 0; i <= a->n; i++)
		argv[n++] = (char *)(uintptr_t)a->v[i];

	c->pid = fork();
	if (c->pid < 0) {
		c->pid = 0;
		rc = err_set(e, errno, "cannot fork: %s", strerror(errno));
		goto out;
	}
	if (c->pid == 0)
		child(path, argv, parent, a->fd, log[1], status[1]);
	close(status[1]);
	status[1] = -1;
	/* ends when exec succeeded, which closes the other end */
	if (read(status[0], &rc, sizeof rc) == sizeof rc)
		rc = err_set(e, rc, "cannot start %s: %s", path, strerror(rc));
	else
		rc = 0;
	c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	if (!rc && c->pidfd < 0)
		rc = err_set(e, errno, "cannot watch %s (pidfd_open): %s", program, strerror(errno));
	if (!rc) {
		c->control = control[0];
		c->log = log[0];
		control[0] = log[0] = -1;
		fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
		fcntl(c->control, F_SETFL, O_NONBLOCK);
		fcntl(c->log, F_SETFL, O_NONBLOCK);
	}
out:
	close_pair(control);
	close_pair(log);
	close_pair(status);
	if (rc)
		child_close(c);
	return rc;
}

/* --- talking ----------------------------------------------------------------------------------- */

int child_send(struct child *c, enum vmm_msg_type type, uint32_t arg)
{
	struct vmm_msg m = {.type = type, .arg = arg};

	if (c->control < 0)
		return -EPIPE;
	if (send(c->control, &m, offsetof(struct vmm_msg, text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int child_send_data(struct child *c, enum vmm_msg_type type, const void *data, size_t len)
{
	struct vmm_msg m = {.type = type, .len = (uint32_t)len};

	if (c->control < 0 || len > sizeof m.text)
		return c->control < 0 ? -EPIPE : -EMSGSIZE;
	memcpy(m.text, data, len);
	if (send(c->control, &m, offsetof(struct vmm_msg, text) + len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int child_send_fd(struct child *c, enum vmm_msg_type type, uint32_t arg, int fd)
{
	struct vmm_msg m = {.type = type, .arg = arg};

	/* the line is nonblocking, and so is this */
	return c->control < 0 ? -EPIPE : fd_send(c->control, &m, offsetof(struct vmm_msg, text), &fd, 1);
}

int child_recv(struct child *c, struct vmm_msg *m, char text[VMM_TEXT_MAX + 1])
{
	const size_t head = offsetof(struct vmm_msg, text);
	ssize_t n = recv(c->control, m, sizeof *m, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	/* lengths that do not fit mean that the other side is not what we started, or is broken */
	if (n < (ssize_t)head || m->len > VMM_TEXT_MAX || (size_t)n != head + m->len)
		return 0;
	memcpy(text, m->text, m->len);
	text[m->len] = 0;
	return 1;
}

int child_reap(struct child *c)
{
	int status = 0;

	while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR)
		;
	c->pid = 0;
	return status;
}

void child_close(struct child *c)
{
	int *const fds[] = {&c->pidfd, &c->control, &c->log};

	if (c->pid) {
		kill(c->pid, SIGKILL);
		child_reap(c);
	}
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

void child_sandbox_init(struct sandbox_report *r)
{
	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++) {
		r->stage[i].code = ENODATA;
		strcpy(r->stage[i].text, "the process did not tell");
	}
}

const char *child_status_text(int status, char buf[80])
{
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(buf, 80, "was stopped by its own system call filter (SIGSYS)");
	else if (WIFSIGNALED(status))
		snprintf(buf, 80, "died by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, 80, "ended with code %d", WEXITSTATUS(status));
	return buf;
}

void child_clean(char *text, bool lines)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text) && !(lines && (*text == '\n' || *text == '\t')))
			*text = '?';
}
