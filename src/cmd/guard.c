/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/guard.h"

/* Closes all descriptors but these n; standard input, output and error too. */
static void close_others(const int *keep, unsigned n)
{
	int most = 0;

	for (unsigned i = 0; i < n; i++)
		if (keep[i] > most)
			most = keep[i];
	for (int fd = 0; fd < most; fd++) {
		bool kept = false;

		for (unsigned i = 0; i < n; i++)
			kept |= keep[i] == fd;
		if (!kept)
			close(fd);
	}
	if (close_range((unsigned)most + 1, ~0u, 0)) {
		long last = sysconf(_SC_OPEN_MAX);

		for (int fd = most + 1; fd < last; fd++)
			close(fd);
	}
}

static void guard_main(int pipe, struct rundir dir, int tty, const struct termios *saved,
	char (*socks)[GUARD_PATH], unsigned nsocks)
{
	bool raw = false;
	const int keep[] = {pipe, dir.fd, tty};
	sigset_t all;
	char word;
	ssize_t n;

	prctl(PR_SET_NAME, "husk-guard");
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	/* out of the terminal's reach: a hang-up must not end us, and tcsetattr must not stop us */
	setsid();
	close_others(keep, tty < 0 ? 2 : 3);
	while ((n = read(pipe, &word, 1)) == 1 || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		if (word == GUARD_DONE)
			_exit(0);
		if (word == GUARD_RAW || word == GUARD_COOKED)
			raw = word == GUARD_RAW;
	}
	/*
	 * TCSANOW: what the terminal has not taken yet would hold us up, and it may be stopped.
	 * The sequence shows the cursor again and leaves the alternate screen and colours, which the
	 * guest may have been in; a terminal that is in none of them ignores it.
	 */
	if (raw && tty >= 0) {
		static const char back[] = "\033[0m\033[?25h\r\n";

		tcsetattr(tty, TCSANOW, saved);
		if (write(tty, back, sizeof back - 1) < 0) {
			/* the terminal went away: nothing to restore */
		}
	}
	for (unsigned i = 0; i < nsocks; i++)
		if (socks[i][0])
			unlink(socks[i]);
	rundir_close(&dir);
	_exit(0);
}

int guard_start(struct guard *g, const struct rundir *dir, int tty, const struct termios *saved,
	char (*socks)[GUARD_PATH], unsigned nsocks, struct err *e)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return err_set(e, errno, "cannot make a pipe: %s", strerror(errno));
	g->pid = fork();
	if (g->pid < 0) {
		int rc = err_set(e, errno, "cannot fork: %s", strerror(errno));

		g->pid = 0;
		close(p[0]);
		close(p[1]);
		return rc;
	}
	if (g->pid == 0)
		guard_main(p[0], *dir, tty, saved, socks, nsocks);
	close(p[0]);
	g->pipe = p[1];
	return 0;
}

void guard_say(struct guard *g, enum guard_word word)
{
	char c = (char)word;

	if (g->pid && write(g->pipe, &c, 1) != 1) {
		/* the guard was killed: we still put things right ourselves */
	}
}

void guard_stop(struct guard *g)
{
	if (!g->pid)
		return;
	guard_say(g, GUARD_DONE);
	close(g->pipe);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
	g->pid = 0;
}
