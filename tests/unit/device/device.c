/* SPDX-License-Identifier: MIT */
/*
 * What all device processes have in common (cmd/device.c). With arguments this program is one, with a device that does
 * nothing; without, it starts itself and plays the supervisor and the front-end.
 */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/device.h"
#include "vhost/proto.h"
#include "vm/control.h"

/* --- the device -------------------------------------------------------------------------------- */

static int started(struct virtio_dev *d, unsigned q, struct virtq *vq)
{
	(void)d, (void)q, (void)vq;
	return 0;
}

static void nothing(struct virtio_dev *d, unsigned q)
{
	(void)d, (void)q;
}

static const struct virtio_ops null_ops = {.name = "null", .id = VIRTIO_ID_RNG, .start = started, .stop = nothing,
	.kick = nothing};

static char about[100];

static size_t null_stats(void *arg, char *buf, size_t len)
{
	assert(arg == about && len >= sizeof about);
	memcpy(buf, about, strlen(about));
	return strlen(about);
}

static int confined(void *arg, struct err *e)
{
	return getenv("NOT_CONFINED") ? err_set(e, EPERM, "no thread for %s", (char *)arg) : 0;
}

static int device_main(int argc, char **argv)
{
	enum { OPT_FILE = DEVICE_OPT_OWN, OPT_STRANGER };
	static const struct option options[] = {{"file-fd", 1, NULL, OPT_FILE}, {"stranger", 1, NULL, OPT_STRANGER},
		DEVICE_OPTIONS, {NULL, 0, NULL, 0}};
	static const struct sandbox_syscall none[] = {SANDBOX_END};
	static struct device d;
	struct virtio_dev dev = {.ops = &null_ops, .nqueues = 2, .queue_size = 64};
	int o, file = -1, stranger = -1;

	device_init(&d, "null");
	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (o) {
		case OPT_FILE:
			file = device_fd(&d, "file-fd", optarg);
			break;
		case OPT_STRANGER:
			stranger = (int)device_number("stranger", optarg, 1000);
			break;
		default:
			if (!device_option(&d, o, optarg))
				return 2;
		}
	device_close_others(&d);
	if (getenv("CANNOT")) {
		struct err e;

		err_set(&e, EIO, "it cannot");
		return device_fail(&d, &e);
	}
	snprintf(about, sizeof about, "file %d\nstranger %d\n", fcntl(file, F_GETFD) >= 0, fcntl(stranger, F_GETFD) >= 0);
	d.syscalls = none;
	d.stats = null_stats;
	d.confined = confined;
	d.arg = about;
	d.ready = "engine=null\n";
	return device_run(&d, &dev);
}

/* --- the supervisor ---------------------------------------------------------------------------- */

struct started {
	pid_t pid;
	int control, sock, err;
};

/* Starts it with --control-fd, --socket-fd, --file-fd, an open descriptor that no option names, and more. */
static struct started start(const char *variable, const char *more, const char *value)
{
	int control[2], sock[2], err[2], file = open("/dev/null", O_RDONLY), stranger = open("/dev/null", O_RDONLY);
	struct started s;

	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control));
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock) && !pipe2(err, O_CLOEXEC));
	s.pid = fork();
	assert(s.pid >= 0);
	if (!s.pid) {
		char n[4][16];
		const int fds[] = {control[1], sock[1], file, stranger};

		for (int i = 0; i < 4; i++) {
			snprintf(n[i], sizeof n[i], "%d", fds[i]);
			fcntl(fds[i], F_SETFD, 0);
		}
		if (variable)
			setenv(variable, "1", 1);
		dup2(err[1], 2);
		execl("/proc/self/exe", "null", "--control-fd", n[0], "--socket-fd", n[1], "--file-fd", n[2], "--stranger", n[3],
			more, value, (char *)NULL);
		_exit(99);
	}
	close(control[1]);
	close(sock[1]);
	close(err[1]);
	close(file);
	close(stranger);
	s.control = control[0];
	s.sock = sock[0];
	s.err = err[0];
	return s;
}

static int finish(struct started *s)
{
	int status;

	assert(waitpid(s->pid, &status, 0) == s->pid);
	close(s->err);
	if (s->control >= 0)
		close(s->control);
	if (s->sock >= 0)
		close(s->sock);
	if (WIFSIGNALED(status)) {
		fprintf(stderr, "it died by signal %d\n", WTERMSIG(status));
		return -WTERMSIG(status);
	}
	return WEXITSTATUS(status);
}

static const char *hear(struct started *s, enum vmm_msg_type type)
{
	static char text[VMM_TEXT_MAX + 1];
	struct vmm_msg m;
	struct pollfd p = {.fd = s->control, .events = POLLIN};
	ssize_t n;

	assert(poll(&p, 1, 20000) == 1);
	n = recv(s->control, &m, sizeof m, 0);
	assert(n >= (ssize_t)offsetof(struct vmm_msg, text) && m.type == (uint32_t)type);
	memcpy(text, m.text, m.len);
	text[m.len] = 0;
	return text;
}

static void say(struct started *s, uint32_t type, uint32_t arg)
{
	struct vmm_msg m = {.type = type, .arg = arg};

	assert(send(s->control, &m, offsetof(struct vmm_msg, text), 0) > 0);
}

/* A question of vhost-user and its answer */
static uint64_t ask(int sock, uint32_t request)
{
	struct vhost_msg m = {.h = {.request = request, .flags = VHOST_VERSION}};

	assert(!vhost_send(sock, &m, 5000));
	assert(vhost_recv(sock, &m, 20000) == 1);
	assert(m.h.request == request && m.h.flags & VHOST_REPLY);
	vhost_msg_close(&m);
	return m.p.u64;
}

static void test_life(void)
{
	struct started s = start(NULL, NULL, NULL);
	const char *text = hear(&s, VMM_READY);
	unsigned n = 0;

	/* every stage of the sandbox is told, and what the program adds */
	for (const char *p = text; (p = strstr(p, "sandbox=")); p++)
		n++;
	assert(n == SANDBOX_NSTAGES && strstr(text, "sandbox=seccomp\tok\t") && strstr(text, "\nengine=null\n"));
	assert(ask(s.sock, VHOST_GET_QUEUE_NUM) == 2);
	/* what was handed in is there; a stranger is not */
	say(&s, VMM_GET_STATS, 77);
	text = hear(&s, VMM_STATS);
	assert(strstr(text, "file 1\nstranger 0\n") && strstr(text, "requests 0\n"));
	/* what it does not know it ignores */
	say(&s, VMM_BUTTON, 0);
	say(&s, 12345, 0);
	say(&s, VMM_GET_STATS, 78);
	hear(&s, VMM_STATS);
	say(&s, VMM_QUIT, 0);
	assert(finish(&s) == 0);
}

/* Each of its two lines may end. What is nonsense on the vhost-user line is an end with another exit code. */
static void test_ends(void)
{
	struct started s = start(NULL, NULL, NULL);
	static const char junk[64] = "this is no message of vhost-user, but 64 bytes of something else";

	hear(&s, VMM_READY);
	close(s.control);
	s.control = -1;
	assert(finish(&s) == 0);

	s = start(NULL, NULL, NULL);
	hear(&s, VMM_READY);
	assert(send(s.control, "x", 1, 0) == 1);
	assert(finish(&s) == 0);

	s = start(NULL, NULL, NULL);
	hear(&s, VMM_READY);
	close(s.sock);
	s.sock = -1;
	assert(finish(&s) == 0);

	s = start(NULL, NULL, NULL);
	hear(&s, VMM_READY);
	assert(send(s.sock, junk, sizeof junk, MSG_NOSIGNAL) == sizeof junk);
	assert(finish(&s) == 1);
}

static void test_failures(void)
{
	struct started s = start("CANNOT", NULL, NULL);

	assert(!strcmp(hear(&s, VMM_ERROR), "it cannot"));
	assert(finish(&s) == 1);
	s = start("NOT_CONFINED", NULL, NULL);
	assert(strstr(hear(&s, VMM_ERROR), "no thread for file 1"));
	assert(finish(&s) == 1);
	static const char *const wrong[][2] = {{"--control-fd", "x"}, {"--control-fd", "-1"}, {"--file-fd", "900"},
		{"--file-fd", ""}, {"--file-fd", "99999999999999999999"}, {"--nonsense", "1"}, {"--listen", "/tmp/x"}};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		s = start(NULL, wrong[i][0], wrong[i][1]);
		assert(finish(&s) == 2);
	}
}

/* --listen: one front-end after the other; a socket that nobody serves any more is replaced, a file is not. */
static void test_listen(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int status, fd;
	pid_t pid;

	snprintf(a.sun_path, sizeof a.sun_path, "/tmp/husk-unit-device-%d", (int)getpid());
	for (int round = 0; round < 2; round++) {
		pid = fork();
		assert(pid >= 0);
		if (!pid) {
			int null = open("/dev/null", O_RDWR);

			dup2(null, 2);
			execl("/proc/self/exe", "null", "--listen", a.sun_path, (char *)NULL);
			_exit(99);
		}
		for (int k = 0; k < 3; k++) {
			/* it has to start first */
			for (int t = 0;; t++) {
				fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
				assert(fd >= 0 && t < 2000);
				if (!connect(fd, (struct sockaddr *)&a, sizeof a))
					break;
				close(fd);
				poll(NULL, 0, 10);
			}
			assert(ask(fd, VHOST_GET_QUEUE_NUM) == 2);
			/* nonsense ends this front-end, not the program */
			if (k == 1)
				assert(send(fd, "nonsense, nonsense, nonsense", 28, MSG_NOSIGNAL) == 28);
			close(fd);
		}
		kill(pid, SIGKILL);
		assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	unlink(a.sun_path);
	fd = open(a.sun_path, O_CREAT | O_WRONLY, 0600);
	assert(fd >= 0);
	close(fd);
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 2);
		execl("/proc/self/exe", "null", "--listen", a.sun_path, (char *)NULL);
		_exit(99);
	}
	assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert(!access(a.sun_path, F_OK));
	unlink(a.sun_path);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return device_main(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	test_life();
	test_ends();
	test_failures();
	test_listen();
	return 0;
}
