/* SPDX-License-Identifier: MIT */
/*
 * A guest's graphics card: virtio-gpu over vhost-user. It copies what the guest draws into scanouts (display/scanout.h),
 * which are shared memory of the supervisor, and knows nothing of who looks at them, but that wishes for another size come
 * from there. With --state-fd its resources outlive it.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/log.h"
#include "base/util.h"
#include "cmd/device.h"
#include "virtio/gpu.h"

/* A smaller picture gives back the memory of a larger one. */
static const struct sandbox_syscall gpu_syscalls[] = {
	SANDBOX_ALLOW_IF(SYS_fallocate, 1, ~0ul, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE),
	SANDBOX_END,
};

enum { OPT_SCANOUT = DEVICE_OPT_OWN, OPT_EVENT, OPT_RESIZE, OPT_SIZE, OPT_QUEUE, OPT_MEMORY, OPT_STATE };
static const struct option options[] = {
	{"scanout-fd", 1, NULL, OPT_SCANOUT},
	{"event-fd", 1, NULL, OPT_EVENT},
	{"resize-fd", 1, NULL, OPT_RESIZE},
	{"size", 1, NULL, OPT_SIZE},
	{"queue-size", 1, NULL, OPT_QUEUE},
	{"memory", 1, NULL, OPT_MEMORY},
	{"state-fd", 1, NULL, OPT_STATE},
	DEVICE_OPTIONS,
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"husk-gpu --scanout-fd N [--scanout-fd N]... [options]: a graphics card, by vhost-user\n"
	"  --scanout-fd N   shared memory of a head (display/scanout.h); without one, a head that nobody sees\n"
	"  --event-fd N     an eventfd that counts up when a picture has changed\n"
	"  --resize-fd N    a SOCK_SEQPACKET socket by which viewers wish for other sizes\n"
	"  --size WxH       preferred size of the first head; default 1280x800\n"
	"  --queue-size N   entries of a queue, a power of two\n"
	"  --memory MIB     for the guest's pictures on the host; default 256\n"
	"  --state-fd N     4 MiB of shared memory, for the next process if this one dies\n"
	DEVICE_USAGE;

struct program {
	struct device d;
	struct virtio_dev *dev;
	struct watch resize;
};

static size_t stats(void *arg, char *buf, size_t len)
{
	return gpu_stats(((struct program *)arg)->dev, buf, len);
}

/* Viewers' wishes. What is malformed, or no size, is nobody's wish; an empty datagram is no end. */
static void resize_ready(struct watch *w, uint32_t events)
{
	struct program *p = CONTAINER_OF(w, struct program, resize);
	struct resize_wish wish[2];
	ssize_t n = recv(w->fd, wish, sizeof wish, MSG_DONTWAIT);

	if (n < 0 ? errno != EAGAIN && errno != EINTR : !n && events & (EPOLLHUP | EPOLLRDHUP))
		loop_del(p->d.loop, w);
	else if (n == sizeof wish[0] && !gpu_resize(p->dev, &wish[0]))
		log_debug("gpu", "head %u: %ux%u is wished for", wish[0].head, wish[0].w, wish[0].h);
}

static int state_map(int fd, void **state, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st) || st.st_size < GPU_STATE)
		return err_set(e, EINVAL, "--state-fd %d: a file of %d bytes is needed", fd, GPU_STATE);
	*state = mmap(NULL, GPU_STATE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *state == MAP_FAILED ? err_set(e, errno, "--state-fd %d: %s", fd, strerror(errno)) : 0;
}

static int size_parse(const char *s, struct gpu_config *c)
{
	int n = 0;

	if (s[strspn(s, "0123456789x")]) /* sscanf() knows signs and blanks */
		return -EINVAL;
	return sscanf(s, "%5" SCNu32 "x%5" SCNu32 "%n", &c->w, &c->h, &n) == 2 && !s[n] ? 0 : -EINVAL;
}

/* Scanouts, then the device and what it listens to */
static int program_open(struct program *p, struct gpu_config *c, int *scanout, int event_fd, int state_fd, struct err *e)
{
	int rc = 0;

	/* by hand: one that nobody looks at */
	if (!c->nheads) {
		scanout[c->nheads++] = rc = scanout_create("husk-gpu", e);
		if (rc < 0)
			return rc;
	}
	for (unsigned i = 0; i < c->nheads; i++) {
		rc = scanout_open(&c->head[i], scanout[i], event_fd, e);
		if (rc)
			return rc;
	}
	rc = state_fd >= 0 ? state_map(state_fd, &c->state, e) : 0;
	rc = rc ? rc : gpu_new(&p->dev, c, e);
	if (rc || p->resize.fd < 0)
		return rc;
	rc = loop_add(p->d.loop, &p->resize, EPOLLIN | EPOLLRDHUP);
	return rc ? err_set(e, -rc, "--resize-fd: %s", strerror(-rc)) : 0;
}

int main(int argc, char **argv)
{
	static struct program p = {.resize = {.fd = -1, .ready = resize_ready}};
	struct gpu_config c = {.w = 1280, .h = 800, .memory_max = 256 * MIB};
	int scanout[SCANOUT_HEADS], event_fd = -1, state_fd = -1, opt, rc;
	struct err e = {0};

	device_init(&p.d, "husk-gpu");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == OPT_SCANOUT && c.nheads < SCANOUT_HEADS) {
			scanout[c.nheads++] = device_fd(&p.d, "scanout-fd", optarg);
		} else if (opt == OPT_EVENT) {
			event_fd = device_fd(&p.d, "event-fd", optarg);
		} else if (opt == OPT_RESIZE) {
			p.resize.fd = device_fd(&p.d, "resize-fd", optarg);
		} else if (opt == OPT_SIZE && !size_parse(optarg, &c)) {
			continue;
		} else if (opt == OPT_QUEUE) {
			c.queue_size = (uint16_t)device_number("queue-size", optarg, VIRTIO_QUEUE_MAX);
		} else if (opt == OPT_MEMORY) {
			c.memory_max = device_number("memory", optarg, 1 << 20) * MIB;
		} else if (opt == OPT_STATE) {
			state_fd = device_fd(&p.d, "state-fd", optarg);
		} else if (opt == DEVICE_OPT_HELP) {
			fputs(usage, stdout);
			return 0;
		} else if (!device_option(&p.d, opt, optarg)) {
			if (opt == OPT_SCANOUT || opt == OPT_SIZE)
				log_err(opt == OPT_SIZE ? "--size: WIDTHxHEIGHT is needed" : "--scanout-fd: at most %d", SCANOUT_HEADS);
			return 2;
		}
	}
	if (optind < argc) {
		fputs("husk-gpu: only options; see husk-gpu --help\n", stderr);
		return 2;
	}
	device_close_others(&p.d);
	rc = program_open(&p, &c, scanout, event_fd, state_fd, &e);
	if (rc)
		return device_fail(&p.d, &e);
	p.d.syscalls = gpu_syscalls;
	p.d.data_max = c.memory_max + (64 << 20);
	p.d.stats = stats;
	p.d.arg = &p;
	rc = device_run(&p.d, p.dev);
	gpu_free(p.dev);
	for (unsigned i = 0; i < c.nheads; i++)
		scanout_close(c.head[i]);
	return rc;
}
