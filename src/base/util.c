/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/util.h"

void *xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p) {
		log_err("out of memory while allocating %zu x %zu bytes", n, size);
		exit(1);
	}
	return p;
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
