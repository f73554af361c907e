/* SPDX-License-Identifier: MIT */
/*
 * Errors of kind (a): the host or the user did something that cannot work. The caller keeps a
 * struct err on its stack; functions return 0 or -errno and put one line of words into it, naming
 * the thing and, where there is one, the fix. Only main() prints and exits. NULL is accepted
 * wherever a struct err * is taken.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

struct err {
	int code; /* positive errno value, 0 if no error was set */
	char text[504];
};

/* Sets the words and returns -code, so that "return err_set(e, EINVAL, ...)" reads well. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "fmt: " in front of the words that are there; keeps the code and returns -code. */
int err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
