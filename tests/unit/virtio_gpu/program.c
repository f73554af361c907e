/* SPDX-License-Identifier: MIT */
/* The program husk-gpu, as the supervisor starts it: what it is handed, what it refuses, wishes for sizes. program PATH */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "display/scanout.h"
#include "vhost/proto.h"
#include "virtio/gpu.h"
#include "vm/control.h"

static const char *path;
static int control[2], line[2], wish[2]; /* the first is ours */

static char *word(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Words of a command line; they stay */
static char *word(const char *fmt, ...)
{
	static char words[8192];
	static size_t used;
	char *s = words + used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s, sizeof words - used, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < sizeof words - used);
	used += (size_t)n + 1;
	return s;
}

static void pairs(void)
{
	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control));
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, line));
	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, wish));
}

/* keep: descriptors beside the three, -1 ends; then the program's further words, NULL ends */
static pid_t run(const int *keep, char *const *more)
{
	pid_t pid = fork();

	assert(pid >= 0);
	if (!pid) {
		char *argv[32] = {word("husk-gpu"), word("--control-fd"), word("%d", control[1]), word("--socket-fd"),
			word("%d", line[1]), word("--resize-fd"), word("%d", wish[1])};
		unsigned n = 7;

		for (; *more; more++)
			argv[n++] = *more;
		fcntl(control[1], F_SETFD, 0);
		fcntl(line[1], F_SETFD, 0);
		fcntl(wish[1], F_SETFD, 0);
		for (; *keep >= 0; keep++)
			fcntl(*keep, F_SETFD, 0);
		dup2(open("/dev/null", O_WRONLY), 2);
		execv(path, argv);
		_exit(99);
	}
	close(control[1]);
	close(line[1]);
	close(wish[1]);
	return pid;
}

static int ended(pid_t pid)
{
	int status;

	assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	close(control[0]);
	close(line[0]);
	close(wish[0]);
	return WEXITSTATUS(status);
}

static uint32_t told(void)
{
	struct vmm_msg m;

	return recv(control[0], &m, sizeof m, 0) > 0 ? m.type : 0;
}

static struct virtio_gpu_wire {
	uint32_t events, clear, heads, capsets;
} config(void)
{
	struct vhost_msg m = {.h = {VHOST_GET_CONFIG, VHOST_VERSION, 12 + 16}, .p.config = {.size = 16}};
	struct virtio_gpu_wire c;

	assert(!vhost_send(line[0], &m, 10000) && vhost_recv(line[0], &m, 10000) > 0 && m.h.size == 28);
	memcpy(&c, m.p.config.data, sizeof c);
	return c;
}

static void config_clear(void)
{
	struct vhost_msg m = {.h = {VHOST_SET_CONFIG, VHOST_VERSION, 12 + 4}, .p.config = {.offset = 4, .size = 4, .data = {1}}};

	assert(!vhost_send(line[0], &m, 10000) && !config().events);
}

static void runs(int heads, int scanout, int event, int state, bool again)
{
	char *const more[] = {word("--scanout-fd"), word("%d", scanout), word("--event-fd"), word("%d", event), word("--size"),
		word("800x600"), word("--queue-size"), word("64"), word("--state-fd"), word("%d", state), word("--memory"), word("64"),
		heads > 1 ? word("--scanout-fd") : NULL, word("%d", scanout), NULL};
	struct resize_wish w[3] = {{0, 1024, 768}};
	pid_t pid;

	pairs();
	pid = run((const int[]){scanout, event, state, -1}, more);
	assert(told() == VMM_READY && config().heads == (uint32_t)heads);
	assert(config().events == again); /* the one before was killed with an event that nobody had seen */
	config_clear();
	/* no wishes: too short, too long, nothing, of no head, no size; then one */
	assert(send(wish[0], w, 0, 0) == 0 && send(wish[0], w, 11, 0) == 11 && send(wish[0], w, 24, 0) == 24 && send(wish[0], w, sizeof w, 0) == sizeof w);
	w[0].head = 2;
	assert(send(wish[0], w, 12, 0) == 12);
	w[0] = (struct resize_wish){0, UINT32_MAX, 5};
	assert(send(wish[0], w, 12, 0) == 12);
	for (int left = 1; left; poll(NULL, 0, 1))
		assert(!ioctl(wish[0], SIOCOUTQ, &left));
	assert(!config().events); /* one thread: all of them are done */
	w[0] = (struct resize_wish){0, 900 + again, 700};
	assert(send(wish[0], w, 12, 0) == 12);
	while (!config().events)
		poll(NULL, 0, 1);
	if (again) {
		config_clear();
		/* the last viewer goes: it goes on */
		shutdown(wish[0], SHUT_WR);
		assert(config().heads == (uint32_t)heads);
		shutdown(line[0], SHUT_RDWR);
		assert(!ended(pid));
		return;
	}
	kill(pid, SIGKILL);
	assert(waitpid(pid, NULL, 0) == pid);
	close(control[0]);
	close(line[0]);
	close(wish[0]);
}

static int refused(int scanout, const char *option, const char *value)
{
	char *const more[] = {word("--scanout-fd"), word("%d", scanout), word("%s", option), value ? word("%s", value) : NULL, NULL};
	pid_t pid;

	pairs();
	pid = run((const int[]){scanout, -1}, more);
	assert(told() != VMM_READY);
	return ended(pid);
}

int main(int argc, char **argv)
{
	int scanout, event = eventfd(0, EFD_CLOEXEC), state = memfd_create("state", MFD_CLOEXEC);
	struct err e;

	path = argc > 1 ? argv[1] : "";
	scanout = scanout_create("test", &e);
	assert(scanout >= 0 && event >= 0 && state >= 0 && !ftruncate(state, GPU_STATE));
	runs(1, scanout, event, state, false);
	runs(2, scanout, event, state, true);
	assert(refused(scanout, "--size", "800") == 2 && refused(scanout, "--size", "800x") == 2);
	assert(refused(scanout, "--size", "800x600x") == 2 && refused(scanout, "--size", "-1x5") == 2);
	assert(refused(scanout, "--size", "9000x10") == 1 && refused(scanout, "--size", "0x10") == 1);
	assert(refused(scanout, "--queue-size", "63") == 1 && refused(scanout, "--queue-size", "5000") == 2);
	assert(refused(scanout, "--scanout-fd", "999") == 2 && refused(scanout, "more", NULL) == 2 && refused(scanout, "--no", NULL) == 2);
	/* not the memory of a screen, not enough for a state */
	assert(refused(event, "--size", "64x64") == 1);
	assert(!ftruncate(state, GPU_STATE - 1));
	{
		char *const more[] = {word("--scanout-fd"), word("%d", scanout), word("--state-fd"), word("%d", state), NULL};
		pid_t pid;

		pairs();
		pid = run((const int[]){scanout, state, -1}, more);
		assert(told() == VMM_ERROR && ended(pid) == 1);
	}
	return 0;
}
