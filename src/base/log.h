/* SPDX-License-Identifier: MIT */
/*
 * Log lines for people, on stderr only: "husk-vmm: warn: text". Any thread; a line is one write.
 * Debug lines belong to a category and are off until the category is named with -d.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_init(const char *program, enum log_level level); /* program: borrowed for ever */
/* Categories, comma separated; "all" is every one. Returns -EINVAL if the list is too long. */
int log_debug_set(const char *categories);
bool log_debug_on(const char *category);

void log_line(enum log_level level, const char *category, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_err(...)  log_line(LOG_ERR, 0, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, 0, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, 0, __VA_ARGS__)
#define log_debug(cat, ...)                                                                        \
	do {                                                                                       \
		if (log_debug_on(cat))                                                             \
			log_line(LOG_DEBUG, cat, __VA_ARGS__);                                     \
	} while (0)

/*
 * Rate limit for lines that a guest or peer can cause: true for the first 10 calls per second and
 * place. Any thread; races only make the limit inexact.
 */
struct log_rate {
	uint64_t second;
	unsigned count;
};
bool log_rate_ok(struct log_rate *r);

#endif
