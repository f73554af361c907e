/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/device.h"
#include "vhost/serve.h"
#include "vm/control.h"

enum { MAX_SYSCALLS = 192, MAX_FDS = 1024, EXIT_FAILED = 1, EXIT_WRONG_USAGE = 2 };
static const size_t DATA_MAX = 64 << 20;

/*
 * The vhost-user server maps what the front-end sends (shared, never executable), and moves descriptors; the loop; the
 * control line, whose recv() and send() are recvfrom and sendto. F_SETFL is not in here on purpose: a descriptor that was
 * passed shares its flags with the one who passed it.
 */
const struct sandbox_syscall device_syscalls[] = {
	SANDBOX_RUNTIME,
	SANDBOX_MEMORY,
	SANDBOX_LOOP,
	SANDBOX_ALLOW(SYS_dup3),
	/* how large what was passed is; stdio, too */
	SANDBOX_ALLOW_IF(SYS_newfstatat, 3, AT_EMPTY_PATH, AT_EMPTY_PATH),
	SANDBOX_END,
};

/* With --listen: the next front-end. */
static const struct sandbox_syscall listen_syscalls[] = {SANDBOX_ALLOW(SYS_accept4), SANDBOX_END};

struct run {
	struct device *d;
	struct vhost_server *server;
	struct watch control_w, listen_w;
	int code;
};

void device_init(struct device *d, const char *program)
{
	int fd;

	memset(d, 0, sizeof *d);
	d->program = program;
	d->control_fd = d->socket_fd = -1;
	log_init(program, LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_NAME, program);
	/* 0 to 2 exist, so that nothing else becomes one of them by chance */
	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
	close_range(DEVICE_STRANGERS, ~0u, 0);
	for (fd = 3; fd < DEVICE_STRANGERS; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			d->stranger[fd / 8] |= (unsigned char)(1u << fd % 8);
	d->loop = loop_new();
	if (!d->loop) {
		log_err("cannot make an event loop: %s", strerror(errno));
		exit(EXIT_FAILED);
	}
}

unsigned long long device_number(const char *option, const char *s, unsigned long long max)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (errno || *end || *s < '0' || *s > '9' || v > max) {
		log_err("--%s %s: not a number from 0 to %llu", option, s, max);
		exit(EXIT_WRONG_USAGE);
	}
	return v;
}

int device_fd(struct device *d, const char *option, const char *s)
{
	int fd = (int)device_number(option, s, INT_MAX);

	if (fcntl(fd, F_GETFD) < 0) {
		log_err("--%s %d: %s", option, fd, strerror(errno));
		exit(EXIT_WRONG_USAGE);
	}
	if (d->nfds == DEVICE_FDS) {
		log_err("--%s %d: too many descriptors: %d at most", option, fd, DEVICE_FDS);
		exit(EXIT_WRONG_USAGE);
	}
	/* not for anything that this process might start, not that it could */
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	d->fds[d->nfds++] = fd;
	return fd;
}

void device_close_others(struct device *d)
{
	for (unsigned i = 0; i < d->nfds; i++)
		if (d->fds[i] < DEVICE_STRANGERS)
			d->stranger[d->fds[i] / 8] &= (unsigned char)~(1u << d->fds[i] % 8);
	for (int fd = 3; fd < DEVICE_STRANGERS; fd++)
		if (d->stranger[fd / 8] & 1u << fd % 8)
			close(fd);
	memset(d->stranger, 0, sizeof d->stranger);
	/* the supervisor's death must not leave this process behind: the end of the control line is the other way */
	if (d->control_fd >= 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
}

bool device_option(struct device *d, int opt, const char *arg)
{
	switch (opt) {
	case DEVICE_OPT_CONTROL:
		d->control_fd = device_fd(d, "control-fd", arg);
		return true;
	case DEVICE_OPT_SOCKET:
		d->socket_fd = device_fd(d, "socket-fd", arg);
		return true;
	case DEVICE_OPT_LISTEN:
		d->listen = arg;
		return true;
	case DEVICE_OPT_DEBUG:
		if (log_debug_set(arg)) {
			log_err("--debug: the list of categories is too long");
			exit(EXIT_WRONG_USAGE);
		}
		return true;
	}
	return false;
}

int device_fail(struct device *d, const struct err *e)
{
	if (d->control_fd >= 0)
		vmm_msg_send(d->control_fd, VMM_ERROR, EXIT_FAILED, 0, e->text);
	else
		log_err("%s", e->text);
	return EXIT_FAILED;
}

int device_listen(const char *option, const char *path, int backlog, struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t old;
	int fd, rc;

	if (!*path || strlen(path) >= sizeof a.sun_path)
		return err_set(e, ENAMETOOLONG, "%s %s: the path of a socket has 1 to %zu bytes", option, path,
			sizeof a.sun_path - 1);
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, errno, "%s %s: %s", option, path, strerror(errno));
	if (!lstat(path, &st)) {
		rc = EADDRINUSE;
		if (S_ISSOCK(st.st_mode) && connect(fd, (struct sockaddr *)&a, sizeof a) &&
			errno == ECONNREFUSED)
			rc = unlink(path) ? errno : 0;
		close(fd);
		if (rc)
			return err_set(e, rc, "%s %s: there is a %s already", option, path,
				S_ISSOCK(st.st_mode) ? "socket that another process serves" : "file");
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	old = umask(077);
	rc = fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, backlog) ? errno : 0;
	umask(old);
	if (!rc)
		return fd;
	if (fd >= 0)
		close(fd);
	return err_set(e, rc, "%s %s: %s", option, path, strerror(rc));
}

/* --- the control line -------------------------------------------------------------------------- */

static void answer_stats(struct run *r, uint32_t id)
{
	static char text[VMM_STATS_MAX];
	struct device *d = r->d;
	size_t n = d->stats ? d->stats(d->arg, text, sizeof text) : 0;

	assert(n <= sizeof text);
	if (r->server)
		n += vhost_server_stats(r->server, text + n, sizeof text - n);
	vmm_stats_send(d->control_fd, id, text, n);
}

static void control_ready(struct watch *w, uint32_t events)
{
	struct run *r = CONTAINER_OF(w, struct run, control_w);
	struct vmm_msg m;
	ssize_t n = recv(w->fd, &m, sizeof m, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < (ssize_t)offsetof(struct vmm_msg, text) || m.type == VMM_QUIT) {
		loop_del(r->d->loop, w);
		loop_stop(r->d->loop);
	} else if (m.type == VMM_GET_STATS) {
		answer_stats(r, m.arg);
	}
}

/* --- front-ends -------------------------------------------------------------------------------- */

static void front_gone(void *arg, const struct err *why)
{
	struct run *r = arg;

	if (why && why->text[0])
		log_warn("front-end: %s", why->text);
	if (!r->d->listen) {
		r->code = why ? EXIT_FAILED : 0;
		loop_stop(r->d->loop);
		return;
	}
	log_info("the front-end has gone; waiting for the next");
	if (loop_add(r->d->loop, &r->listen_w, EPOLLIN)) {
		r->code = EXIT_FAILED;
		loop_stop(r->d->loop);
	}
}

static void listen_ready(struct watch *w, uint32_t events)
{
	struct run *r = CONTAINER_OF(w, struct run, listen_w);
	int sock = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC), rc;

	(void)events;
	if (sock < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			log_err("--listen: %s", strerror(errno));
			r->code = EXIT_FAILED;
			loop_stop(r->d->loop);
		}
		return;
	}
	/* one at a time: the others wait in the socket's queue */
	loop_del(r->d->loop, w);
	rc = vhost_server_again(r->server, sock);
	if (!rc)
		return;
	log_err("cannot serve another front-end: %s", strerror(-rc));
	r->code = EXIT_FAILED;
	loop_stop(r->d->loop);
}

/* --- all of it --------------------------------------------------------------------------------- */

static unsigned add_rows(struct sandbox_syscall *all, unsigned n, const struct sandbox_syscall *rows)
{
	for (; rows && rows->nr >= 0; rows++) {
		assert(n < MAX_SYSCALLS - 1);
		all[n++] = *rows;
	}
	return n;
}

static int confine(struct device *d, const struct virtio_dev *dev, struct sandbox_report *report, struct err *e)
{
	static struct sandbox_syscall all[MAX_SYSCALLS];
	static int fds[MAX_FDS];
	struct sandbox_policy policy = {.program = d->program, .syscalls = all, .keep_fds = fds,
		.new_fds = (dev ? vhost_server_fds(dev) : 0) + d->new_fds + (d->listen ? 1 : 0), .network = d->network,
		.data_max = d->data_max ? d->data_max : DATA_MAX};
	unsigned n = add_rows(all, 0, device_syscalls), nfds = 0;

	n = add_rows(all, n, d->syscalls);
	if (d->listen)
		n = add_rows(all, n, listen_syscalls);
	all[n] = (struct sandbox_syscall)SANDBOX_END;
	/* what is open was handed in by name or opened by the program: see device_close_others() */
	for (int fd = 0; fd < MAX_FDS && nfds < MAX_FDS - 1; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			fds[nfds++] = fd;
	fds[nfds] = -1;
	return sandbox_enter(&policy, report, e);
}

static void say_ready(const struct device *d, const struct sandbox_report *report)
{
	char text[VMM_TEXT_MAX];
	size_t n = 0;

	for (unsigned i = 0; i < SANDBOX_NSTAGES; i++) {
		char line[200];

		sandbox_report_format(report, (enum sandbox_stage)i, line);
		n += (size_t)snprintf(text + n, sizeof text - n, "sandbox=%s\n", line);
	}
	snprintf(text + n, sizeof text - n, "%s", d->ready ? d->ready : "");
	if (d->control_fd >= 0)
		vmm_msg_send(d->control_fd, VMM_READY, 0, 0, text);
	else
		log_info("ready");
}

/* The first front-end: handed in, or waited for. Waiting is done before the sandbox, as the server is made with it. */
static int first_socket(struct device *d, struct run *r, struct err *e)
{
	int sock;

	if (!d->listen)
		return d->socket_fd;
	r->listen_w.fd = device_listen("--listen", d->listen, 4, e);
	if (r->listen_w.fd < 0)
		return r->listen_w.fd;
	log_info("listening at %s", d->listen);
	do {
		sock = accept4(r->listen_w.fd, NULL, NULL, SOCK_CLOEXEC);
	} while (sock < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (sock < 0)
		return err_set(e, errno, "--listen %s: %s", d->listen, strerror(errno));
	/* from here on it may be gone again when we come to it */
	fcntl(r->listen_w.fd, F_SETFL, O_NONBLOCK);
	return sock;
}

int device_run(struct device *d, struct virtio_dev *dev)
{
	struct run r = {.d = d, .control_w = {.fd = d->control_fd, .ready = control_ready},
		.listen_w = {.fd = -1, .ready = listen_ready}};
	struct sandbox_report report;
	struct err e = {.code = 0};
	int sock, rc;

	if (dev) {
		if ((d->socket_fd >= 0) == !!d->listen) {
			log_err("one of --socket-fd and --listen must say where the front-end is");
			return EXIT_WRONG_USAGE;
		}
		sock = first_socket(d, &r, &e);
		if (sock < 0)
			return device_fail(d, &e);
		if (vhost_server_new(&r.server, d->loop, sock, dev, front_gone, &r, &e))
			return device_fail(d, &e);
	}
	if (d->control_fd >= 0) {
		rc = loop_add(d->loop, &r.control_w, EPOLLIN);
		if (rc) {
			err_set(&e, -rc, "cannot watch the control line: %s", strerror(-rc));
			return device_fail(d, &e);
		}
	}
	if (confine(d, dev, &report, &e)) {
		err_prefix(&e, "%s cannot lock itself in", d->program);
		return device_fail(d, &e);
	}
	if (d->confined && d->confined(d->arg, &e))
		return device_fail(d, &e);
	say_ready(d, &report);
	rc = loop_run(d->loop);
	if (rc) {
		log_err("the event loop failed: %s", strerror(-rc));
		r.code = EXIT_FAILED;
	}
	/* queues stop here: what the guest was told to be written is on its way to the host by then */
	vhost_server_free(r.server);
	return r.code;
}
