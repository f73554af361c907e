/* SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/parse.h"
#include "cmd/rundir.h"

enum { AUTO_NAMES = 1000 };
static const char *const contents[] = {"control", "serial", "rfb", "pid", "log"};

/* A directory of ours that nobody else can write to, and no link; made if make. Its fd or -errno. */
static int own_dir(const char *path, bool make, bool private)
{
	struct stat st;
	int fd;

	if (make && mkdir(path, 0700) && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || st.st_uid != geteuid() || (st.st_mode & (private ? 077 : 022))) {
		close(fd);
		return -EPERM;
	}
	return fd;
}

/* Finds BASE and opens it. With make, it is there afterwards; without, -ENOENT is no error to tell. */
static int base_open(bool make, char path[256], struct err *e)
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	char parent[256];
	int rc;

	for (int i = 0; i < 2; i++) {
		if (i == 0 && (!xdg || xdg[0] != '/'))
			continue;
		rc = i == 0 ? snprintf(parent, sizeof parent, "%s", xdg)
			    : snprintf(parent, sizeof parent, "/run/user/%u", (unsigned)geteuid());
		if (rc >= (int)sizeof parent - 8)
			continue;
		rc = own_dir(parent, false, false);
		if (rc < 0)
			continue;
		close(rc);
		snprintf(path, 256, "%.247s/husk", parent);
		rc = own_dir(path, make, false);
		if (rc < 0 && rc != -ENOENT)
			err_set(e, -rc, "cannot use %s: it must be a directory that belongs to you and "
				"that only you can write to", path);
		return rc;
	}
	snprintf(path, 256, "/tmp/husk-%u", (unsigned)geteuid());
	rc = own_dir(path, make, true);
	if (rc == -EPERM || rc == -ELOOP || rc == -ENOTDIR)
		return err_set(e, EPERM, "%s is not a directory of yours with mode 0700: remove it, or "
			"set XDG_RUNTIME_DIR to a directory of your own", path);
	if (rc < 0 && rc != -ENOENT)
		return err_set(e, -rc, "cannot make %s: %s", path, strerror(-rc));
	return rc;
}

static void clear(int fd)
{
	for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++)
		unlinkat(fd, contents[i], 0);
}

/*
 * Opens and locks BASE/name. Between open and flock another process may have removed the directory
 * (it belonged to a dead VM) and made a new one, so the lock counts only if the path still leads
 * to what we locked.
 */
static int lock_dir(int base, const char *name, bool make)
{
	for (int tries = 0; tries < 100; tries++) {
		struct stat a, b;
		int fd;

		if (make && mkdirat(base, name, 0700) && errno != EEXIST)
			return -errno;
		fd = openat(base, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0) {
			if (errno == ENOENT && make)
				continue;
			return -errno;
		}
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			int rc = errno == EWOULDBLOCK ? -EBUSY : -errno;

			close(fd);
			return rc;
		}
		if (!fstat(fd, &a) && !fstatat(base, name, &b, AT_SYMLINK_NOFOLLOW) &&
			a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return fd;
		close(fd);
		if (!make)
			return -ENOENT;
	}
	return -EAGAIN;
}

int rundir_open(struct rundir *r, const char *name, struct err *e)
{
	char base_path[256];
	int base;

	r->fd = -1;
	base = base_open(true, base_path, e);
	if (base < 0)
		return base;
	for (unsigned i = 1; i <= AUTO_NAMES; i++) {
		if (name && i > 1)
			usleep(20000); /* "husk list" may hold a dead VM's lock for a moment */
		if (name)
			snprintf(r->name, sizeof r->name, "%s", name);
		else
			snprintf(r->name, sizeof r->name, "vm%u", i);
		r->fd = lock_dir(base, r->name, true);
		if (r->fd != -EBUSY || (name && i == 5))
			break;
	}
	close(base);
	snprintf(r->path, sizeof r->path, "%s/%s", base_path, r->name);
	if (r->fd == -EBUSY && name)
		return err_set(e, EBUSY, "a VM named '%s' is running already: choose another --name, or "
			"end it with 'husk stop %s'", name, name);
	if (r->fd < 0)
		return err_set(e, -r->fd, "cannot make %s: %s", r->path, strerror(-r->fd));
	clear(r->fd);
	return 0;
}

static void remove_locked(int fd, const char *path)
{
	clear(fd);
	rmdir(path);
	close(fd);
}

void rundir_close(struct rundir *r)
{
	if (r->fd < 0)
		return;
	remove_locked(r->fd, r->path);
	r->fd = -1;
}

static void socket_address(struct sockaddr_un *a, int dir, const char *file)
{
	memset(a, 0, sizeof *a);
	a->sun_family = AF_UNIX;
	snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s", dir, file);
}

int rundir_listen(const struct rundir *r, const char *file, struct err *e)
{
	struct sockaddr_un a;
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc = 0;
	mode_t old = umask(0177);

	socket_address(&a, r->fd, file);
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 16))
		rc = -errno;
	umask(old);
	if (!rc)
		return s;
	if (s >= 0)
		close(s);
	return err_set(e, -rc, "cannot listen on %s/%s: %s", r->path, file, strerror(-rc));
}

int rundir_write(const struct rundir *r, const char *file, const char *text)
{
	int fd = openat(r->fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		rc = errno ? -errno : -EIO;
	close(fd);
	return rc;
}

static int connect_in(int dir, const char *file, int flags)
{
	struct sockaddr_un a;
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (s < 0)
		return -errno;
	socket_address(&a, dir, file);
	if (connect(s, (struct sockaddr *)&a, sizeof a)) {
		int rc = -errno;

		close(s);
		return rc;
	}
	return s;
}

static int connect_to(const char *name, const char *file, int flags, struct err *e)
{
	char base_path[256];
	int base, dir, s;

	if (parse_name(name, e))
		return -EINVAL;
	base = base_open(false, base_path, e);
	if (base < 0 && base != -ENOENT)
		return base;
	dir = base < 0 ? -1 : openat(base, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (base >= 0)
		close(base);
	if (dir < 0)
		return err_set(e, ENOENT, "no VM named '%s' is running; 'husk list' shows those that are",
			name);
	s = connect_in(dir, file, flags);
	close(dir);
	if (s == -ENOENT || s == -ECONNREFUSED)
		return err_set(e, ENOENT, "no VM named '%s' is running; 'husk list' shows those that are",
			name);
	if (s < 0)
		return err_set(e, -s, "cannot reach the VM '%s': %s", name, strerror(-s));
	return s;
}

int rundir_connect(const char *name, struct err *e)
{
	return connect_to(name, "control", 0, e);
}

int rundir_connect_to(const char *name, const char *file, struct err *e)
{
	return connect_to(name, file, SOCK_NONBLOCK, e);
}

static int visible(const struct dirent *d)
{
	return !parse_name(d->d_name, NULL);
}

int rundir_each(int (*fn)(void *arg, const char *name), void *arg, struct err *e)
{
	char base_path[256];
	struct dirent **list;
	int n, rc = 0, base = base_open(false, base_path, e);

	if (base == -ENOENT)
		return 0;
	if (base < 0)
		return base;
	n = scandirat(base, ".", &list, visible, versionsort);
	if (n < 0) {
		rc = err_set(e, errno, "cannot read %s: %s", base_path, strerror(errno));
		n = 0;
		list = NULL;
	}
	for (int i = 0; i < n; i++) {
		int fd = rc ? -1 : lock_dir(base, list[i]->d_name, false);

		if (fd >= 0) {
			clear(fd);
			unlinkat(base, list[i]->d_name, AT_REMOVEDIR);
			close(fd);
		} else if (!rc && fd == -EBUSY) {
			rc = fn(arg, list[i]->d_name);
		}
		free(list[i]);
	}
	free(list);
	close(base);
	return rc;
}
