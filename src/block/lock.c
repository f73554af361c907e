/* SPDX-License-Identifier: MIT */
/*
 * Who may use an image: an OFD lock (fcntl(2), "Open file description locks") over all of it, exclusive for those who
 * write, shared for those who read. QEMU locks single bytes of its images in the same way, so the two notice each
 * other as far as one of them writes.
 *
 * Such a lock belongs to the open file (struct file) and goes when that goes: with the last reference to it. That is
 * what makes a restart safe. A process that was killed may have left requests in the kernel: an io_uring is taken
 * apart in the background (io_ring_exit_work), and what is in flight by then may still land on the disk, or in guest
 * memory, after the process has been reaped. Each of those requests, and the ring's table of files, holds a reference
 * to the open file; so as long as one may land, the lock is held, and the next process waits for it before it touches
 * anything. For this to be true no two processes may share an open file: it is opened anew by each, never inherited.
 * (An orderly end unlocks: nothing is in flight then, but rings still take their time.)
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "block/blk-int.h"


static bool has_open(const char *pid, const struct stat *want)
{
	char path[300];
	struct dirent *d;
	struct stat st;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (d = readdir(dir))) {
		snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, d->d_name);
		found = !stat(path, &st) && st.st_dev == want->st_dev && st.st_ino == want->st_ino;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* The kernel does not tell whose an OFD lock is. So: who else has the file open, as far as we may look. */
static void who(int fd, char *text, size_t len)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	struct stat st;

	snprintf(text, len, "another process");
	if (!dir || fstat(fd, &st))
		goto out;
	while ((d = readdir(dir))) {
		char path[64], comm[32] = "";
		FILE *f;

		if (d->d_name[0] < '1' || d->d_name[0] > '9' || atoi(d->d_name) == getpid() ||
			!has_open(d->d_name, &st))
			continue;
		snprintf(path, sizeof path, "/proc/%.20s/comm", d->d_name);
		f = fopen(path, "re");
		if (f) {
			if (fgets(comm, sizeof comm, f))
				comm[strcspn(comm, "\n")] = 0;
			fclose(f);
		}
		/* the supervisor holds a descriptor but no lock; name the one that does the work if there is one */
		snprintf(text, len, "%s (pid %.20s)", comm[0] ? comm : "a process", d->d_name);
		if (strcmp(comm, "husk"))
			break;
	}
out:
	if (dir)
		closedir(dir);
}

void unlock_file(int fd)
{
	struct flock fl = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(fd, F_OFD_SETLK, &fl);
}

int lock_file(int fd, const char *name, bool write, bool wait, struct err *e)
{
	uint64_t end = now_ns() + (wait ? LOCK_WAIT_NS : LOCK_GRACE_NS);
	char text[80];

	for (;;) {
		struct flock fl = {.l_type = write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};

		if (!fcntl(fd, F_OFD_SETLK, &fl))
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN && errno != EACCES)
			return err_set(e, errno, "%s: cannot lock it: %s", name, strerror(errno));
		if (now_ns() >= end)
			break;
		nanosleep(&(struct timespec){.tv_nsec = 2 * 1000 * 1000}, NULL);
	}
	if (wait)
		return err_set(e, EBUSY, "%s: the process that had it before has left requests that do not end", name);
	who(fd, text, sizeof text);
	return err_set(e, EBUSY, "%s is in use by %s: stop it%s", name, text,
		write ? ", or use the image with read-only or snapshot=on if that one does so too" : "");
}
