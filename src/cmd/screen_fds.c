/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/screen_fds.h"

enum { SECRET_MAX = 256 << 10, PASSWORD_MAX = 1024, VNC_PASSWORD = 8 };

/* --- files of the user's ----------------------------------------------------------------------- */

/* All of a file, NUL behind it, to be freed. Pipes are fine: <(pass show vnc). */
static int read_all(const char *path, char **text, size_t *len, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	char *p = malloc(SECRET_MAX + 1);
	struct stat st;
	ssize_t n = 0;

	*len = 0;
	if (fd < 0 || !p) {
		free(p);
		err_set(e, errno, "cannot open it: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return -e->code;
	}
	while (*len < SECRET_MAX && (n = read(fd, p + *len, SECRET_MAX - *len)) > 0)
		*len += (size_t)n;
	p[*len] = 0;
	if (n < 0)
		err_set(e, errno, "cannot read it: %s", strerror(errno));
	else if (*len == SECRET_MAX)
		err_set(e, EFBIG, "it is too large for what it should be");
	else if (!*len)
		err_set(e, EINVAL, "it is empty");
	else
		e->code = 0;
	if (!e->code && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_mode & 077)
		log_warn("--display: others than you may open %s: 'chmod 600' helps", path);
	close(fd);
	*text = p;
	if (e->code)
		free(p);
	return -e->code;
}

/* A memory file with these bytes; the descriptor or -errno with words. */
static int keep(const char *name, const char *p, size_t n, struct err *e)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd >= 0 && pwrite(fd, p, n, 0) == (ssize_t)n &&
		!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return fd;
	err_set(e, errno ? errno : EIO, "cannot keep it: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -e->code;
}

/* The first line of the file is the password. */
static int password_open(const struct display_config *c, struct err *e)
{
	char *text;
	size_t n;
	int rc = read_all(c->password_file, &text, &n, e);

	if (rc)
		return rc;
	n = strcspn(text, "\r\n");
	if (!n)
		rc = err_set(e, EINVAL, "its first line, which is the password, is empty");
	else if (n > PASSWORD_MAX)
		rc = err_set(e, EINVAL, "its first line, which is the password, is too long");
	else
		rc = keep("password", text, n, e);
	if (n > VNC_PASSWORD && !c->tls_cert && !c->tls_anonymous)
		log_warn("--display: VNC's own password check looks at the first 8 bytes only; with TLS all of the password counts");
	explicit_bzero(text, strlen(text));
	free(text);
	return rc;
}

static int file_open(const char *name, const char *path, struct err *e)
{
	char *text;
	size_t n;
	int rc = read_all(path, &text, &n, e);

	if (rc)
		return rc;
	rc = keep(name, text, n, e);
	explicit_bzero(text, n);
	free(text);
	return rc;
}

static int secrets_open(struct screen_fds *s, struct err *e)
{
	const struct display_config *c = s->cfg;

	if (c->password_file && (s->password = password_open(c, e)) < 0)
		return err_prefix(e, "--display password-file=%s", c->password_file);
	if (c->tls_cert && (s->cert = file_open("certificate", c->tls_cert, e)) < 0)
		return err_prefix(e, "--display tls-cert=%s", c->tls_cert);
	if (c->tls_key && (s->key = file_open("key", c->tls_key, e)) < 0)
		return err_prefix(e, "--display tls-key=%s", c->tls_key);
	return 0;
}

/* --- where viewers come in --------------------------------------------------------------------- */

static struct screen_listener *add_listener(struct screen_fds *s, int fd, bool local)
{
	struct screen_listener *l = &s->listener[s->nlisteners++];

	*l = (struct screen_listener){.fd = fd, .local = local};
	return l;
}

static bool is_loopback(const struct sockaddr *a)
{
	static const uint8_t v6[16] = {[15] = 1};

	if (a->sa_family == AF_INET)
		return *(const uint8_t *)&((const struct sockaddr_in *)(const void *)a)->sin_addr == 127;
	return !memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr, v6, sizeof v6);
}

static int tcp_try(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc;
	const int on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, 16))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* The port may have been chosen by the kernel. */
static void tcp_where(struct screen_listener *l)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	char host[80] = "?", port[8] = "?";

	if (!getsockname(l->fd, (struct sockaddr *)&a, &len))
		getnameinfo((struct sockaddr *)&a, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(l->where, sizeof l->where, a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int tcp_open(struct screen_fds *s, struct err *e)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	const struct display_config *c = s->cfg;
	struct addrinfo *list;
	struct screen_listener *l;
	bool plain = !c->tls_cert && !c->tls_anonymous, far = false;
	int fd = -EADDRNOTAVAIL, rc;
	char port[8];

	snprintf(port, sizeof port, "%u", c->port);
	rc = getaddrinfo(c->host, port, &hints, &list);
	if (rc)
		return err_set(e, EADDRNOTAVAIL, "--display vnc: the address %s is not known: %s", c->host, gai_strerror(rc));
	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next) {
		fd = tcp_try(ai);
		far = !is_loopback(ai->ai_addr);
	}
	freeaddrinfo(list);
	if (fd < 0)
		return err_set(e, -fd, "--display vnc: cannot listen at %s, port %u: %s%s", c->host, c->port, strerror(-fd),
			fd == -EADDRINUSE ? "; port 0 takes one that is free" : "");
	l = add_listener(s, fd, false);
	tcp_where(l);
	if (far && plain)
		log_warn("--display: %s is not encrypted%s: with tls-cert= and tls-key=, or 'ssh -L', it is", l->where,
			c->open ? ", and asks for no password" : "");
	return 0;
}

static int listeners_open(struct screen_fds *s, const struct rundir *dir, char path[PLACE_PATH], struct err *e)
{
	const struct display_config *c = s->cfg;
	int fd = rundir_listen(dir, "rfb", e);

	if (fd < 0)
		return fd;
	snprintf(add_listener(s, fd, true)->where, SCREEN_WHERE, "unix:%s/rfb", dir->path);
	if (c->host)
		return tcp_open(s, e);
	if (!c->path)
		return 0;
	fd = place_listen("--display vnc=unix:", c->path, path, e);
	if (fd < 0)
		return fd;
	snprintf(add_listener(s, fd, true)->where, SCREEN_WHERE, "unix:%.590s", path);
	return 0;
}

/* --- what the processes share ------------------------------------------------------------------ */

static int scanouts_open(struct screen_fds *s, struct err *e)
{
	unsigned n = 1 + (s->cfg->gpu ? s->cfg->heads : 0);
	char name[32] = "framebuffer";

	for (; s->n < n; s->n++) {
		int *fd = &s->scanout[s->n], *reader = &s->reader[s->n];

		if (s->n)
			snprintf(name, sizeof name, "head%u", s->n - 1);
		*fd = scanout_create(name, e);
		if (*fd < 0)
			return *fd;
		*reader = scanout_reader(*fd, e);
		if (*reader < 0) {
			close(*fd);
			return *reader;
		}
	}
	return 0;
}

static int lines_open(struct screen_fds *s, struct err *e)
{
	const int type = SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK;

	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->state = memfd_create("gpu", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->event < 0 || s->state < 0 || ftruncate(s->state, SCREEN_STATE_SIZE) ||
		fcntl(s->state, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ||
		socketpair(AF_UNIX, type, 0, s->input) || socketpair(AF_UNIX, type, 0, s->resize))
		return err_set(e, errno, "cannot make what the processes of the screen share: %s", strerror(errno));
	return 0;
}

int screen_open(struct screen_fds *s, const struct display_config *c, const struct rundir *dir, char path[PLACE_PATH],
	struct err *e)
{
	int rc;

	*s = (struct screen_fds){.cfg = c, .event = -1, .input = {-1, -1}, .resize = {-1, -1}, .state = -1, .password = -1, .cert = -1,
		.key = -1};
	rc = secrets_open(s, e);
	if (rc)
		return rc;
	rc = scanouts_open(s, e);
	rc = rc ? rc : lines_open(s, e);
	if (rc)
		return err_prefix(e, "--display");
	return listeners_open(s, dir, path, e);
}

void screen_close(struct screen_fds *s)
{
	const int fds[] = {s->event, s->input[0], s->input[1], s->resize[0], s->resize[1], s->state, s->password, s->cert, s->key};

	if (!s->cfg)
		return;
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (unsigned i = 0; i < s->n; i++) {
		close(s->scanout[i]);
		close(s->reader[i]);
	}
	for (unsigned i = 0; i < s->nlisteners; i++)
		close(s->listener[i].fd);
	*s = (struct screen_fds){.cfg = NULL};
}

/* --- command lines ----------------------------------------------------------------------------- */

void screen_vmm_args(const struct screen_fds *s, struct child_args *a)
{
	if (!s->cfg)
		return;
	child_arg(a, "--screen");
	child_arg_format(a, "%ux%u,fd=%d,event=%d", s->cfg->w, s->cfg->h, s->scanout[0], s->event);
	child_keep_fd(a, s->scanout[0]);
	child_keep_fd(a, s->event);
	child_arg_fd(a, "--input-fd", s->input[1]);
}

void screen_gpu_args(const struct screen_fds *s, struct child_args *a)
{
	for (unsigned i = 1; i < s->n; i++)
		child_arg_fd(a, "--scanout-fd", s->scanout[i]);
	child_arg_fd(a, "--event-fd", s->event);
	child_arg_fd(a, "--resize-fd", s->resize[1]);
	child_arg_fd(a, "--state-fd", s->state);
	child_arg(a, "--size");
	child_arg_format(a, "%ux%u", s->cfg->w, s->cfg->h);
}

/* The position in these files is shared by all who have had them: a new process begins at the beginning. */
static void secret_arg(struct child_args *a, const char *option, int fd)
{
	if (fd < 0)
		return;
	lseek(fd, 0, SEEK_SET);
	child_arg_fd(a, option, fd);
}

void screen_vnc_args(const struct screen_fds *s, struct child_args *a)
{
	const struct display_config *c = s->cfg;

	for (unsigned i = 0; i < s->n; i++)
		child_arg_fd(a, "--scanout-fd", s->reader[i]);
	child_arg_fd(a, "--event-fd", s->event);
	child_arg_fd(a, "--input-fd", s->input[0]);
	if (c->gpu)
		child_arg_fd(a, "--resize-fd", s->resize[0]);
	child_arg_text(a, "--layout", c->layout);
	for (unsigned i = 0; i < s->nlisteners; i++) {
		const struct screen_listener *l = &s->listener[i];

		child_arg(a, "--listen-fd");
		child_arg_format(a, "%d,%s", l->fd, l->local ? "unix" : "tcp");
		child_keep_fd(a, l->fd);
	}
	secret_arg(a, "--password-fd", s->password);
	secret_arg(a, "--tls-cert-fd", s->cert);
	secret_arg(a, "--tls-key-fd", s->key);
	if (c->tls_anonymous)
		child_arg(a, "--tls-anonymous");
	if (c->open)
		child_arg(a, "--open");
	if (c->view_only)
		child_arg(a, "--view-only");
	if (c->lossless)
		child_arg(a, "--lossless");
}
