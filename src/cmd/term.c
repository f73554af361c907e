/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/term.h"

int fd_reopen(int fd, int flags)
{
	char path[32];
	struct stat st;

	/* a regular file opened anew would have its own position and lose O_APPEND */
	if (fstat(fd, &st) || !(S_ISCHR(st.st_mode) || S_ISFIFO(st.st_mode)))
		return -1;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void term_init(struct term *t, struct guard *guard)
{
	memset(t, 0, sizeof *t);
	t->tty = -1;
	t->guard = guard;
	t->err = fd_reopen(2, O_WRONLY);
	if (t->err < 0)
		t->err = fcntl(2, F_DUPFD_CLOEXEC, 3);
	if (!isatty(0) || tcgetattr(0, &t->saved))
		return;
	t->tty = fd_reopen(0, O_RDWR);
	if (t->tty < 0)
		t->tty = fcntl(0, F_DUPFD_CLOEXEC, 3);
}

bool term_foreground(const struct term *t)
{
	return t->tty >= 0 && tcgetpgrp(0) == getpgrp();
}

static bool set_raw(const struct term *t)
{
	struct termios m = t->saved;

	cfmakeraw(&m);
	return !tcsetattr(0, TCSANOW, &m);
}

bool term_raw(struct term *t)
{
	if (!term_foreground(t))
		return false;
	if (t->raw)
		return true;
	/* the user may have changed modes while we were stopped */
	if (tcgetattr(0, &t->saved))
		return false;
	if (t->guard)
		guard_say(t->guard, GUARD_RAW);
	t->raw = set_raw(t);
	if (!t->raw && t->guard)
		guard_say(t->guard, GUARD_COOKED);
	return t->raw;
}

void term_continued(struct term *t)
{
	if (!t->raw)
		return;
	/* after SIGSTOP, which nobody can prepare for: a shell has set its own modes meanwhile, or nobody has */
	if (term_foreground(t)) {
		set_raw(t);
		return;
	}
	t->raw = false;
	if (t->guard)
		guard_say(t->guard, GUARD_COOKED);
}

void term_cooked(struct term *t)
{
	if (!t->raw)
		return;
	/*
	 * TCSANOW and not TCSADRAIN: a terminal stopped with ^S would hold us for ever. SIGTTOU is
	 * blocked, so this works from the background too.
	 */
	tcsetattr(0, TCSANOW, &t->saved);
	t->raw = false;
	if (t->guard)
		guard_say(t->guard, GUARD_COOKED);
}

void term_fini(struct term *t)
{
	term_cooked(t);
	if (t->tty >= 0)
		close(t->tty);
	if (t->err >= 0)
		close(t->err);
	t->tty = t->err = -1;
}

/* All of it, or as much as fits in 200 ms: a stuck terminal must not stop the supervisor. */
static bool write_patiently(int fd, const char *p, size_t n, int tries)
{
	while (n) {
		struct pollfd pfd = {.fd = fd, .events = POLLOUT};
		size_t most = n < 512 ? n : 512; /* what a pipe takes without waiting */
		ssize_t done;

		if (poll(&pfd, 1, tries ? 50 : 0) <= 0) {
			if (tries-- <= 0)
				return false;
			continue;
		}
		done = write(fd, p, most);
		if (done < 0 && errno != EAGAIN && errno != EINTR)
			return true; /* gone for good: nobody is left to wait for */
		if (done > 0) {
			p += done;
			n -= (size_t)done;
		} else if (tries-- <= 0) {
			return false;
		}
	}
	return true;
}

void term_say(struct term *t, const char *fmt, ...)
{
	char text[8192], out[2 * sizeof text];
	size_t n = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (const char *p = text; *p; p++) {
		if (*p == '\n' && t->raw)
			out[n++] = '\r';
		out[n++] = *p;
	}
	t->stuck = !write_patiently(t->tty >= 0 && t->raw ? t->tty : t->err, out, n, t->stuck ? 0 : 4);
}

size_t escape_filter(struct escape *x, uint8_t *buf, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = buf[i];

		if (x->pending) {
			x->pending = false;
			if (x->key(x->arg, c))
				buf[kept++] = ESCAPE_KEY;
		} else if (c == ESCAPE_KEY) {
			x->pending = true;
			x->open(x->arg);
		} else {
			buf[kept++] = c;
		}
	}
	return kept;
}
