// SPDX-License-Identifier: MIT
/*
 * user [NAME...]: runs the tests whose names begin with one of these, or all; a line "PASS NAME",
 * "SKIP NAME why" or "FAIL NAME why" for each, and "DONE" with counts. Exit code 1 if one failed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "user.h"

static const struct user_test *const groups[] = {
	user_fault, user_memory, user_code, user_debug, user_entry, user_fpu,
};
static const char *current;

static _Noreturn void leave(const char *word, int code, const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	printf("%s %s %s\n", word, current, text);
	fflush(stdout);
	_exit(code);
}

void user_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	leave("FAIL", 1, fmt, ap);
}

void user_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	leave("SKIP", 77, fmt, ap);
}

static struct user_signal *caught;
static sigjmp_buf caught_jump;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	/* Linux leaves AC as it was; C code need not be aligned */
	__asm__ volatile("pushfq; andl $~0x40000, (%%rsp); popfq" ::: "cc", "memory");
	caught->sig = sig;
	caught->code = info->si_code;
	caught->addr = (uint64_t)info->si_addr;
	memcpy(caught->reg, uc->uc_mcontext.gregs, sizeof(caught->reg));
	siglongjmp(caught_jump, 1);
}

void user_catch(struct user_signal *s, void (*call)(void *), void *arg)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
	static char stack[65536];
	struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK}, old[5];
	stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};

	memset(s, 0, sizeof(*s));
	caught = s;
	sigaltstack(&alt, NULL);
	for (size_t i = 0; i < 5; i++)
		sigaction(signals[i], &act, &old[i]);
	if (sigsetjmp(caught_jump, 1) == 0)
		call(arg);
	/* direction and alignment-check flags may still be the snippet's */
	__asm__ volatile("pushfq; andq $~0x40400, (%%rsp); popfq" ::: "cc", "memory");
	for (size_t i = 0; i < 5; i++)
		sigaction(signals[i], &old[i], NULL);
}

void *user_map(size_t len, int prot)
{
	uint8_t *p = mmap(NULL, len + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED, "mmap");
	CHECK(mprotect(p, len, prot) == 0, "mprotect");
	return p;
}

bool user_cpu_has(const char *flag)
{
	static char line[16384];
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool has = false;

	CHECK(f, "no /proc/cpuinfo");
	while (!has && fgets(line, sizeof(line), f)) {
		if (strncmp(line, "flags", 5))
			continue;
		for (char *w = strtok(line, " \t\n"); w && !has; w = strtok(NULL, " \t\n"))
			has = !strcmp(w, flag);
		break;
	}
	fclose(f);
	return has;
}

static int run(const struct user_test *t)
{
	struct timespec start, end;
	int status;
	pid_t pid;

	current = t->name;
	clock_gettime(CLOCK_MONOTONIC, &start);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		alarm(120);
		t->run();
		clock_gettime(CLOCK_MONOTONIC, &end);
		printf("PASS %s %ld ms\n", current,
			(long)((end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000));
		fflush(stdout);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return 1;
	if (WIFSIGNALED(status)) {
		printf("FAIL %s ended by signal %d\n", current, WTERMSIG(status));
		return 1;
	}
	return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
	unsigned passed = 0, skipped = 0, failed = 0;

	for (size_t g = 0; g < sizeof(groups) / sizeof(*groups); g++) {
		for (const struct user_test *t = groups[g]; t->name; t++) {
			bool wanted = argc < 2;

			for (int i = 1; i < argc; i++)
				wanted |= !strncmp(t->name, argv[i], strlen(argv[i]));
			if (!wanted)
				continue;
			switch (run(t)) {
			case 0: passed++; break;
			case 77: skipped++; break;
			default: failed++; break;
			}
		}
	}
	printf("DONE %u passed, %u skipped, %u failed\n", passed, skipped, failed);
	return failed || !passed;
}
