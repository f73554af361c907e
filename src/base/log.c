/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

/* The one global of the tree: what to log and under which name. Written before threads start. */
static struct {
	const char *program;
	enum log_level level;
	char categories[256];
} log_state = {.program = "husk", .level = LOG_INFO};

void log_init(const char *program, enum log_level level)
{
	log_state.program = program;
	log_state.level = level;
}

int log_debug_set(const char *categories)
{
	if (strlen(categories) >= sizeof log_state.categories)
		return -EINVAL;
	strcpy(log_state.categories, categories);
	if (categories[0])
		log_state.level = LOG_DEBUG;
	return 0;
}

bool log_debug_on(const char *category)
{
	const char *p = log_state.categories;
	size_t n = strlen(category);

	if (log_state.level < LOG_DEBUG)
		return false;
	while (*p) {
		size_t len = strcspn(p, ",");

		if ((len == n && !memcmp(p, category, n)) || (len == 3 && !memcmp(p, "all", 3)))
			return true;
		p += len;
		p += *p == ',';
	}
	return false;
}

void log_line(enum log_level level, const char *category, const char *fmt, ...)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char line[1024];
	va_list ap;
	int n, m;

	if (level > log_state.level)
		return;
	n = snprintf(line, sizeof line, "%s: %s%s%s: ", log_state.program, names[level],
		category ? " " : "", category ? category : "");
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	if ((size_t)m > sizeof line - (size_t)n - 2)
		m = (int)(sizeof line - (size_t)n - 2);
	line[n + m] = '\n';
	if (write(2, line, (size_t)(n + m + 1)) < 0) {
		/* stderr is gone: there is nobody left to tell */
	}
}

bool log_rate_ok(struct log_rate *r)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (r->second != (uint64_t)ts.tv_sec) {
		r->second = (uint64_t)ts.tv_sec;
		r->count = 0;
	}
	return r->count++ < 10;
}
