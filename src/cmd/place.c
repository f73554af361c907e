/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd/place.h"

int place_listen(const char *option, const char *path, char whole[PLACE_PATH], struct err *e)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char *dir = NULL;
	struct stat st;
	mode_t old;
	int fd, rc = 0;

	whole[0] = 0;
	if (strlen(path) >= sizeof a.sun_path)
		return err_set(e, ENAMETOOLONG, "%s%s: the path of a socket has at most %zu "
			"bytes", option, path, sizeof a.sun_path - 1);
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, errno, "cannot make a socket: %s", strerror(errno));
	if (!lstat(path, &st)) {
		if (!S_ISSOCK(st.st_mode)) {
			rc = err_set(e, EEXIST, "%s%s: there is a file of that name", option, path);
			goto fail;
		}
		if (!connect(fd, (struct sockaddr *)&a, sizeof a) || errno != ECONNREFUSED) {
			rc = err_set(e, EADDRINUSE, "%s%s: another process listens there", option,
				path);
			goto fail;
		}
		unlink(path);
		/* a socket that failed to connect can be bound, but a new one is surer */
		close(fd);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	old = umask(0177); /* who may connect may reach into the guest */
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a))
		rc = err_set(e, errno, "%s%s: %s", option, path, strerror(errno));
	umask(old);
	if (rc)
		goto fail;
	/* the guard does not know our working directory at its end; the path must be whole */
	dir = realpath(path, NULL);
	snprintf(whole, PLACE_PATH, "%s", dir ? dir : path);
	free(dir);
	if (listen(fd, 16) || fcntl(fd, F_SETFL, O_NONBLOCK)) {
		rc = err_set(e, errno, "%s%s: %s", option, path, strerror(errno));
		goto fail;
	}
	return fd;
fail:
	if (fd >= 0)
		close(fd);
	return rc;
}

int place_file(const char *option, const char *path, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);

	if (fd < 0 && errno == ENXIO)
		return err_set(e, ENXIO, "%s%s: nobody reads from this pipe", option, path);
	if (fd < 0)
		return err_set(e, errno, "%s%s: %s", option, path, strerror(errno));
	return fd;
}
