/* SPDX-License-Identifier: MIT */
/* Who has a port of this host: for a message. /proc/net/tcp names sockets, /proc/PID/fd who holds them. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/port-int.h"

static unsigned long inode_of(const char *table, unsigned port, bool listening)
{
	FILE *f = fopen(table, "re");
	unsigned long found = 0, inode;
	unsigned local, state;
	char line[512];

	/* "  0: 0100007F:0016 00000000:0000 0A tx:rx tr:when retrnsmt uid timeout inode" */
	while (f && !found && fgets(line, sizeof line, f))
		if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*u %lu", &local, &state, &inode) == 3 &&
			local == port && (!listening || state == 10))
			found = inode;
	if (f)
		fclose(f);
	return found;
}

static bool holds(const char *pid, const char *want)
{
	char path[300], link[64];
	struct dirent *e;
	bool found = false;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%s/fd", pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof link - 1);

		link[n > 0 ? n : 0] = '\0';
		found = !strcmp(link, want);
	}
	if (d)
		closedir(d);
	return found;
}

bool port_holder(unsigned port, bool udp, char *name, size_t len)
{
	unsigned long inode = inode_of(udp ? "/proc/net/udp" : "/proc/net/tcp", port, !udp);
	char want[64], path[300], comm[32];
	struct dirent *e;
	bool found = false;
	DIR *d;

	if (!inode)
		inode = inode_of(udp ? "/proc/net/udp6" : "/proc/net/tcp6", port, !udp);
	if (!inode)
		return false;
	snprintf(want, sizeof want, "socket:[%lu]", inode);
	d = opendir("/proc");
	while (d && !found && (e = readdir(d))) {
		FILE *f;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !holds(e->d_name, want))
			continue;
		snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
		f = fopen(path, "re");
		found = f && fgets(comm, sizeof comm, f);
		if (f)
			fclose(f);
		if (!found)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		/* a process chooses its name; what it chose does not reach a terminal as it is */
		for (char *p = comm; *p; p++)
			*p = *p < 0x20 || *p > 0x7e ? '?' : *p;
		snprintf(name, len, "%s (pid %s)", comm, e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}
