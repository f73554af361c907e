/* SPDX-License-Identifier: MIT */
/* Is a descriptor left open? Counted before and after. */
#ifndef TESTS_VHOST_FDS_H
#define TESTS_VHOST_FDS_H

#include <assert.h>
#include <dirent.h>

static inline unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
