/* SPDX-License-Identifier: MIT */
/*
 * A disk: serves a raw file or a block device as virtio-blk over vhost-user. docs/devices.md has the options and what
 * each cache mode promises.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/blk.h"
#include "block/virtio_blk.h"
#include "cmd/device.h"

enum {
	OPT_FILE_FD = DEVICE_OPT_OWN, OPT_IMAGE, OPT_READ_ONLY, OPT_CACHE, OPT_SNAPSHOT, OPT_OVERLAY_FD, OPT_BITMAP_FD,
	OPT_SERIAL, OPT_QUEUES, OPT_QUEUE_SIZE, OPT_SEG_MAX, OPT_SIZE_MAX, OPT_AIO, OPT_THREADS, OPT_DISCARD, OPT_RESTART,
	OPT_FAIL, OPT_SIZE
};

static const struct option options[] = {
	{"file-fd", 1, NULL, OPT_FILE_FD},
	{"image", 1, NULL, OPT_IMAGE},
	{"read-only", 0, NULL, OPT_READ_ONLY},
	{"cache", 1, NULL, OPT_CACHE},
	{"snapshot", 0, NULL, OPT_SNAPSHOT},
	{"overlay-fd", 1, NULL, OPT_OVERLAY_FD},
	{"bitmap-fd", 1, NULL, OPT_BITMAP_FD},
	{"serial", 1, NULL, OPT_SERIAL},
	{"queues", 1, NULL, OPT_QUEUES},
	{"queue-size", 1, NULL, OPT_QUEUE_SIZE},
	{"seg-max", 1, NULL, OPT_SEG_MAX},
	{"size-max", 1, NULL, OPT_SIZE_MAX},
	{"aio", 1, NULL, OPT_AIO},
	{"threads", 1, NULL, OPT_THREADS},
	{"discard", 1, NULL, OPT_DISCARD},
	{"restart", 0, NULL, OPT_RESTART},
	{"fail", 0, NULL, OPT_FAIL},
	{"size", 1, NULL, OPT_SIZE},
	DEVICE_OPTIONS,
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"husk-blk --image PATH --listen SOCKET [options]: a disk for virtual machines, by vhost-user\n"
	"  --image PATH     raw file or block device\n"
	"  --file-fd N      the same, as a descriptor\n"
	"  --read-only      never write it\n"
	"  --snapshot       never write it; what the guest writes is thrown away at the end\n"
	"  --overlay-fd N, --bitmap-fd N   where it goes instead, if it is to outlive this process\n"
	"  --cache MODE     writeback (default), writethrough, direct, unsafe\n"
	"  --aio ENGINE     auto (default), io_uring, threads\n"
	"  --threads N      of --aio threads, per queue; default 4\n"
	"  --discard on|off default on\n"
	"  --serial TEXT    up to 20 bytes\n"
	"  --queues N       default 1\n"
	"  --queue-size N   entries, a power of two; default 256\n"
	"  --seg-max N      segments of a request; default queue size - 2\n"
	"  --size-max N     bytes of a segment; default: no limit\n"
	"  --restart        wait for what an earlier process has left in flight\n"
	"  --fail --size N  a disk of N bytes on which everything fails\n"
	DEVICE_USAGE;

struct husk_blk {
	struct device d;
	struct blk_config blk;
	struct virtio_blk_config virtio;
	const char *image;
	int file_fd;
	bool snapshot;
	struct virtio_blk *dev;
	char name[256], ready[300];
};

/* The number of a word in a list that ends with NULL. */
static unsigned word(const char *option, const char *s, const char *const *words)
{
	for (unsigned i = 0; words[i]; i++)
		if (!strcmp(s, words[i]))
			return i;
	fprintf(stderr, "husk-blk: --%s %s: must be one of:", option, s);
	for (unsigned i = 0; words[i]; i++)
		fprintf(stderr, " %s", words[i]);
	fputc('\n', stderr);
	exit(2);
}

static void __attribute__((noreturn)) wrong(const char *text)
{
	fprintf(stderr, "husk-blk: %s; see husk-blk --help\n", text);
	exit(2);
}

static void option(struct husk_blk *h, int opt, const char *arg)
{
	static const char *const caches[] = {"writeback", "writethrough", "direct", "unsafe", NULL};
	static const char *const engines[] = {"auto", "io_uring", "threads", NULL};
	static const char *const off_on[] = {"off", "on", NULL};

	switch (opt) {
	case OPT_FILE_FD:
		h->file_fd = device_fd(&h->d, "file-fd", arg);
		break;
	case OPT_IMAGE:
		h->image = arg;
		break;
	case OPT_READ_ONLY:
		h->blk.read_only = true;
		break;
	case OPT_CACHE:
		h->blk.cache = (enum blk_cache)word("cache", arg, caches);
		break;
	case OPT_SNAPSHOT:
		h->snapshot = true;
		break;
	case OPT_OVERLAY_FD:
		h->blk.overlay_fd = device_fd(&h->d, "overlay-fd", arg);
		break;
	case OPT_BITMAP_FD:
		h->blk.bitmap_fd = device_fd(&h->d, "bitmap-fd", arg);
		break;
	case OPT_SERIAL:
		if (strlen(arg) > sizeof h->virtio.serial)
			wrong("--serial: at most 20 bytes");
		memcpy(h->virtio.serial, arg, strlen(arg));
		break;
	case OPT_QUEUES:
		h->virtio.nqueues = (unsigned)device_number("queues", arg, VIRTIO_QUEUES);
		break;
	case OPT_QUEUE_SIZE:
		h->virtio.queue_size = (unsigned)device_number("queue-size", arg, VIRTIO_QUEUE_MAX);
		break;
	case OPT_SEG_MAX:
		h->virtio.seg_max = (unsigned)device_number("seg-max", arg, VIRTIO_QUEUE_MAX);
		break;
	case OPT_SIZE_MAX:
		h->virtio.size_max = (unsigned)device_number("size-max", arg, UINT32_MAX);
		break;
	case OPT_AIO:
		h->blk.aio = (enum blk_aio)word("aio", arg, engines);
		break;
	case OPT_THREADS:
		h->blk.threads = (unsigned)device_number("threads", arg, 16);
		break;
	case OPT_DISCARD:
		h->blk.discard = word("discard", arg, off_on);
		break;
	case OPT_RESTART:
		h->blk.restart = true;
		break;
	case OPT_FAIL:
		h->blk.fail = true;
		break;
	case OPT_SIZE:
		h->blk.fail_size = device_number("size", arg, INT64_MAX);
		break;
	case DEVICE_OPT_HELP:
		fputs(usage, stdout);
		exit(0);
	default:
		if (!device_option(&h->d, opt, arg))
			exit(2);
	}
}

/*
 * The image is opened anew, also when it came as a descriptor: lock.c says why. Where that is forbidden (another user's
 * file that was handed in, no /proc) the descriptor itself has to do.
 */
static int open_image(struct husk_blk *h, struct err *e)
{
	int fd = blk_open_file(h->image, h->file_fd, &h->blk, e);

	if (fd >= 0) {
		if (h->file_fd >= 0)
			close(h->file_fd);
	} else if (h->file_fd >= 0 && (fd == -EACCES || fd == -ENOENT)) {
		log_debug("blk", "%s; using the descriptor as it is", e->text);
		fd = h->file_fd;
	} else {
		return fd;
	}
	h->blk.fd = fd;
	return 0;
}

static int open_all(struct husk_blk *h, struct blk **b, struct err *e)
{
	struct blk_config *c = &h->blk;
	int rc = 0;

	if (h->image) {
		c->name = h->image;
	} else if (h->file_fd >= 0) {
		char self[40];
		ssize_t n;

		snprintf(self, sizeof self, "/proc/self/fd/%d", h->file_fd);
		n = readlink(self, h->name, sizeof h->name - 1);
		if (n <= 0)
			snprintf(h->name, sizeof h->name, "descriptor %d", h->file_fd);
		c->name = h->name;
	}
	if (!c->fail) {
		if (h->snapshot && c->overlay_fd < 0)
			rc = blk_overlay_make(&c->overlay_fd, &c->bitmap_fd, e);
		rc = rc ? rc : open_image(h, e);
	}
	return rc ? rc : blk_open(b, c, e);
}

static int confined(void *arg, struct err *e)
{
	return virtio_blk_threads(((struct husk_blk *)arg)->dev, e);
}

static size_t stats(void *arg, char *buf, size_t len)
{
	return virtio_blk_stats(((struct husk_blk *)arg)->dev, buf, len);
}

int main(int argc, char **argv)
{
	static struct husk_blk h;
	struct blk *b = NULL;
	struct err e = {0};
	int opt, rc;

	device_init(&h.d, "husk-blk");
	h.file_fd = h.blk.overlay_fd = h.blk.bitmap_fd = -1;
	h.blk.discard = true;
	h.virtio.nqueues = 1;
	h.virtio.queue_size = 256;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1)
		option(&h, opt, optarg);
	if (optind < argc)
		wrong("arguments that are no options");
	if (h.blk.fail ? h.image || h.file_fd >= 0 : !h.image == (h.file_fd < 0))
		wrong("one of --image, --file-fd and --fail is needed");
	if ((h.blk.overlay_fd >= 0) != (h.blk.bitmap_fd >= 0))
		wrong("--overlay-fd and --bitmap-fd go together");
	device_close_others(&h.d);
	rc = open_all(&h, &b, &e);
	h.virtio.blk = b;
	h.virtio.discard = h.blk.discard;
	rc = rc ? rc : virtio_blk_new(&h.dev, &h.virtio, &e);
	if (rc)
		return device_fail(&h.d, &e);
	snprintf(h.ready, sizeof h.ready, "engine=%s\nengine-why=%s\n", blk_engine(b), blk_engine_why(b));
	log_debug("blk", "%s: %llu bytes, %s%s%s", h.blk.name ? h.blk.name : "failed disk", (unsigned long long)blk_size(b),
		blk_engine(b), blk_engine_why(b)[0] ? ", not io_uring: " : "", blk_engine_why(b));
	h.d.syscalls = blk_syscalls;
	h.d.data_max = (32u << 20) + virtio_blk_memory(&h.virtio, 16);
	h.d.confined = confined;
	h.d.stats = stats;
	h.d.arg = &h;
	h.d.ready = h.ready;
	rc = device_run(&h.d, virtio_blk_dev(h.dev));
	virtio_blk_free(h.dev);
	blk_close(b);
	return rc;
}
