/* SPDX-License-Identifier: MIT */
/*
 * What a Linux process sees of its CPU, tested from inside one. Each test runs in a process of its own
 * and must pass on the host as it does in a guest; what this CPU or kernel lacks is skipped, aloud.
 */
#ifndef USER_H
#define USER_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/ucontext.h>

struct user_test {
	const char *name;
	void (*run)(void);
};

extern const struct user_test user_code[], user_debug[], user_entry[], user_fault[], user_fpu[],
	user_memory[];

/* Both end the process: it FAILs, or is skipped. */
_Noreturn void user_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void user_skip(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(cond, ...) \
	do { \
		if (!(cond)) \
			user_fail(__VA_ARGS__); \
	} while (0)
#define CHECK_EQ(what, got, want) \
	do { \
		uint64_t got_ = (uint64_t)(got), want_ = (uint64_t)(want); \
		if (got_ != want_) \
			user_fail("%s: %#lx, expected %#lx (line %d)", what, got_, want_, __LINE__); \
	} while (0)

/* A signal as it was delivered: what siginfo and the saved registers said. */
struct user_signal {
	int sig, code;
	uint64_t addr;
	greg_t reg[NGREG]; /* REG_RIP ... of <sys/ucontext.h> */
};

/*
 * Runs call() on this stack with a handler for all faults, on a stack of its own, that stops it. What was
 * delivered is in *s; s->sig is 0 when nothing was.
 */
void user_catch(struct user_signal *s, void (*call)(void *), void *arg);

void *user_map(size_t len, int prot); /* anonymous memory, with a PROT_NONE page behind it */
bool user_cpu_has(const char *flag);  /* a word of /proc/cpuinfo's flags */

#define PAGE 4096u

#endif
