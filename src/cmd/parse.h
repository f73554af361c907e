/* SPDX-License-Identifier: MIT */
/*
 * What users type: sizes, numbers, times, names. Every function takes the words as they were
 * written and either sets the result and returns 0, or returns -EINVAL or -ERANGE with one line in e
 * that quotes them and shows what would be right.
 */
#ifndef CMD_PARSE_H
#define CMD_PARSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { NAME_LEN_MAX = 48 };

/* "512M", "2G", "1T", "4096K", "512MiB", "1048576": bytes; suffixes are powers of 1024 */
int parse_size(const char *s, uint64_t *bytes, struct err *e);
/* A guest's memory: a size that a machine can have, in whole pages */
int parse_memory(const char *s, uint64_t *bytes, struct err *e);
/* Decimal, lo to hi */
int parse_number(const char *s, unsigned lo, unsigned hi, unsigned *v, struct err *e);
/* "30", "30s", "500ms", "2m", "1h": at most a week */
int parse_duration(const char *s, uint64_t *ns, struct err *e);
/* A VM's name: a letter or digit, then letters, digits, '.', '_' and '-'; at most NAME_LEN_MAX bytes */
int parse_name(const char *s, struct err *e);

/* "512 MiB", "1.5 GiB": the largest unit that keeps the number short */
const char *format_size(uint64_t bytes, char buf[32]);
/* "3 s", "2 min 5 s", "4 h 10 min", "3 d 2 h" */
const char *format_duration(uint64_t ns, char buf[32]);

/* The row of a name list (NULL ends) that is closest to what was written; NULL if none is close. */
const char *nearest(const char *word, const char *const *names);

#endif
