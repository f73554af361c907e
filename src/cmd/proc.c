/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/proc.h"

int proc_stat(pid_t pid, struct proc_stat *st)
{
	unsigned long long utime, stime, threads;
	long long rss;
	char path[64], buf[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, buf, sizeof buf - 1);
	close(fd);
	if (n <= 0)
		return -ESRCH;
	buf[n] = 0;
	/* the name may hold spaces and parentheses: fields count from the last ")" on (proc(5)) */
	p = strrchr(buf, ')');
	if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d "
				"%llu %*d %*u %*u %lld", &st->state, &utime, &stime, &threads, &rss) != 5)
		return -EPROTO;
	st->rss = (uint64_t)(rss < 0 ? 0 : rss) * (uint64_t)sysconf(_SC_PAGESIZE);
	st->cpu_ns = (utime + stime) * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
	st->threads = (unsigned)threads;
	return 0;
}
