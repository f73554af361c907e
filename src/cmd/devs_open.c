/* SPDX-License-Identifier: MIT */
/* What --disk, --net and --vsock name: opened with the user's rights, looked at, and refused with words. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/devs-int.h"
#include "cmd/parse.h"
#include "net/net.h"

/* How many ways there are: one line of words for each. */
static int open_failed(const struct disk_config *c, int code, struct err *e)
{
	if (code == ENOENT)
		return err_set(e, code, "there is no such file: 'truncate -s 10G FILE' makes an empty disk");
	if ((code == EACCES || code == EPERM || code == EROFS) && !c->read_only && !c->snapshot &&
		!access(c->path, R_OK))
		return err_set(e, code, "it cannot be written to (%s): add ,ro, or ,snapshot=on to throw away what is written",
			strerror(code));
	if (code == EISDIR)
		return err_set(e, code, "it is a directory; name an image in it");
	if (code == ENXIO)
		return err_set(e, code, "it is a socket or a device without a driver; a back-end's socket is written socket:PATH");
	return err_set(e, code, "cannot open it: %s", strerror(code));
}

/* Formats that have data where a raw disk has its first sectors: as a raw disk, a guest would destroy them. */
static int known_format(int fd, const struct disk_config *c, struct err *e)
{
	static const struct {
		const char *name, *magic;
		unsigned off, len;
	} formats[] = {{"qcow2", "QFI\xfb", 0, 4}, {"VMDK", "KDMV", 0, 4}, {"VMDK", "# Disk DescriptorFile", 0, 21},
		{"VHDX", "vhdxfile", 0, 8}, {"VHD", "conectix", 0, 8}, {"VDI", "\x7f\x10\xda\xbe", 64, 4},
		{"gzip", "\x1f\x8b\x08", 0, 3}, {"xz", "\xfd" "7zXZ", 0, 5},
		{"zstd", "\x28\xb5\x2f\xfd", 0, 4}};
	char head[80] = "";

	if (c->format || pread(fd, head, sizeof head, 0) != sizeof head)
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(formats); i++)
		if (!memcmp(head + formats[i].off, formats[i].magic, formats[i].len))
			return err_set(e, EINVAL, "it is a %s file, and husk takes raw images: 'qemu-img convert -O raw' or an "
				"unpacker makes one (format=raw takes it as it is)", formats[i].name);
	return 0;
}

static int measure(struct dev *d, struct err *e)
{
	const struct disk_config *c = d->disk;
	char size[32];
	struct stat st;

	if (fstat(d->image, &st))
		return err_set(e, errno, "%s", strerror(errno));
	d->dev = S_ISBLK(st.st_mode) ? 0 : st.st_dev;
	d->ino = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_ino;
	if (S_ISBLK(st.st_mode)) {
		int ro = 0;

		if (ioctl(d->image, BLKGETSIZE64, &d->size))
			return err_set(e, errno, "cannot ask for its size: %s", strerror(errno));
		if (!c->read_only && !c->snapshot && !ioctl(d->image, BLKROGET, &ro) && ro)
			return err_set(e, EROFS, "the device is read-only: add ,ro or ,snapshot=on");
	} else if (S_ISREG(st.st_mode)) {
		d->size = (uint64_t)st.st_size;
	} else {
		return err_set(e, EINVAL, "it is %s: a regular file or block device can be a disk",
			S_ISDIR(st.st_mode) ? "a directory" : S_ISFIFO(st.st_mode) ? "a pipe" : "a character device");
	}
	if (!d->size)
		return err_set(e, EINVAL, "it is empty: 'truncate -s 10G FILE' gives it a size");
	if (d->size % 512)
		return err_set(e, EINVAL, "its size, %llu bytes, is no multiple of 512: if it was not cut off, 'truncate -s "
			"%%512 FILE' rounds it up", (unsigned long long)d->size);
	if (d->size > UINT64_C(1) << 62)
		return err_set(e, EFBIG, "%s is too large", format_size(d->size, size));
	return known_format(d->image, c, e);
}

static bool writable(const struct disk_config *c)
{
	return !c->read_only && !c->snapshot;
}

/* The same image twice, and one of them writes: the lock would refuse it, too, but not tell why. */
static int not_twice(const struct dev *d, struct err *e)
{
	for (const struct dev *o = d->all->dev; o < d; o++)
		if (o->disk && o->image >= 0 && o->dev == d->dev && o->ino == d->ino &&
			(writable(o->disk) || writable(d->disk)))
			return err_set(e, EBUSY, "it is %s already: several disks can be one image only if all of them are ro or "
				"snapshot=on", o->name);
	return 0;
}

/* Where writes go that are thrown away: a file without a name, so it is gone with the last who holds it. */
static int overlay_open(struct dev *d, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	uint64_t clusters = d->size / (64 * KIB) + 1;
	char path[4096];

	if (!dir || !*dir)
		dir = "/var/tmp";
	d->overlay = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (d->overlay < 0) {
		/* file systems that cannot (overlayfs, NFS) */
		if (snprintf(path, sizeof path, "%s/husk-XXXXXX", dir) >= (int)sizeof path)
			return err_set(e, ENAMETOOLONG, "TMPDIR is too long");
		d->overlay = mkostemp(path, O_CLOEXEC);
		if (d->overlay < 0)
			return err_set(e, errno, "snapshot=on: cannot make a file in %s: %s; TMPDIR may name another place", dir,
				strerror(errno));
		unlink(path);
	}
	d->bitmap = memfd_create("husk-overlay", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (d->bitmap < 0 || ftruncate(d->bitmap, (off_t)align_up(clusters / 8 + 1, 4096)) ||
		fcntl(d->bitmap, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return err_set(e, errno, "snapshot=on: cannot make its map: %s", strerror(errno));
	return 0;
}

static int image_flags(const struct disk_config *c)
{
	/* O_NONBLOCK: a FIFO must not hold us */
	return (writable(c) ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

int dev_image_again(const struct dev *d, struct err *e)
{
	char path[40];
	int fd;

	snprintf(path, sizeof path, "/proc/self/fd/%d", d->image);
	fd = open(path, image_flags(d->disk));
	return fd < 0 ? err_set(e, errno, "cannot open the image again: %s", strerror(errno)) : fd;
}

static int disk_open(struct dev *d, struct err *e)
{
	const struct disk_config *c = d->disk;
	int rc;

	d->image = open(c->path, image_flags(c));
	if (d->image < 0)
		return open_failed(c, errno, e);
	rc = measure(d, e);
	rc = rc ? rc : not_twice(d, e);
	return rc || !c->snapshot ? rc : overlay_open(d, e);
}

static int net_open(struct dev *d, struct err *e)
{
	const struct net_config *c = d->net;

	if (c->kind == NET_TAP) {
		d->tap = tap_open(c->path, e);
		return d->tap < 0 ? d->tap : 0;
	}
	if (c->kind != NET_TAP_FD)
		return 0;
	if (c->fd < 3 || fcntl(c->fd, F_GETFD) < 0)
		return err_set(e, EBADF, "there is no such descriptor: it must be open in the process that starts husk, and "
			"above 2");
	d->tap = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);
	return d->tap < 0 ? err_set(e, errno, "%s", strerror(errno)) : 0;
}

int dev_connect(const struct dev *d, struct err *e)
{
	const char *path = d->disk ? d->disk->path : d->net->path;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd, rc;

	if (strlen(path) >= sizeof a.sun_path)
		return err_set(e, ENAMETOOLONG, "the path of a socket has at most %zu bytes", sizeof a.sun_path - 1);
	strcpy(a.sun_path, path);
	/* nonblocking: a listener whose queue is full must not hold us */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, errno, "cannot make a socket: %s", strerror(errno));
	if (!connect(fd, (struct sockaddr *)&a, sizeof a)) {
		fcntl(fd, F_SETFL, 0);
		return fd;
	}
	rc = errno;
	close(fd);
	return err_set(e, rc, "cannot connect: %s%s", strerror(rc),
		rc == ENOENT || rc == ECONNREFUSED ? "; start its vhost-user program first" : "");
}

void dev_close(struct dev *d)
{
	const int fds[] = {d->image, d->overlay, d->bitmap, d->tap, d->front};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(d->stats);
}

static int dev_open(struct dev *d, struct err *e)
{
	const bool foreign = d->disk ? d->disk->socket : d->net && d->net->kind == NET_SOCKET;
	char *path = d->all->path[d->id];
	int rc;

	if (foreign) {
		d->front = dev_connect(d, e);
		return d->front < 0 ? d->front : 0;
	}
	d->program = d->kind->program;
	d->path = path;
	if (!*path) {
		rc = child_find(d->program, path, e);
		if (rc)
			return rc;
	}
	return d->disk ? disk_open(d, e) : d->net ? net_open(d, e) : 0;
}

static void disk_init(struct dev *d, unsigned k)
{
	const struct devs_config *c = &d->all->cfg;

	d->disk = &c->disks[k];
	d->queues = d->disk->queues ? d->disk->queues : c->cpus < 4 ? c->cpus : 4;
	d->queue_size = d->disk->queue_size;
}

static void net_init(struct dev *d, unsigned k)
{
	const struct devs_config *c = &d->all->cfg;

	d->net = &c->nets[k];
	d->queues = 2;
	d->queue_size = 256;
	if (d->net->have_mac)
		memcpy(d->mac, d->net->mac, 6);
	else
		mac_of_name(c->name, k, d->mac);
}

static void vsock_init(struct dev *d, unsigned k)
{
	(void)k;
	d->vsock = d->all->cfg.vsock;
	d->cid = d->vsock->cid ? d->vsock->cid : cid_of_name(d->all->cfg.name);
	/* into the guest, out of it, events; the size is the most that husk-vsock takes */
	d->queues = 3;
	d->queue_size = 128;
}

/* husk-gpu and husk-vnc */
static void screen_init(struct dev *d, unsigned k)
{
	(void)k;
	d->screen = d->all->cfg.screen;
	if (d->id == DEV_VNC)
		return;
	/* control and cursor */
	d->queues = 2;
	d->queue_size = 256;
}

static void dev_init(struct devs *all, enum dev_kind_id id, unsigned k)
{
	static void (*const init[DEV_KINDS])(struct dev *, unsigned) = {disk_init, net_init, vsock_init, screen_init, screen_init};
	struct dev *d = &all->dev[all->n];

	*d = (struct dev){.all = all, .number = all->n, .id = id, .kind = &dev_kinds[id], .image = -1, .overlay = -1, .bitmap = -1,
		.tap = -1, .front = -1, .child = CHILD_INIT};
	if (id < DEV_GPU)
		snprintf(d->name, sizeof d->name, "%s%u", d->kind->name, k);
	else
		snprintf(d->name, sizeof d->name, "%s", d->kind->name);
	init[id](d, k);
	all->n++;
}

int devs_new(struct devs **out, const struct devs_config *c, const struct devs_host *h, struct err *e)
{
	const unsigned many[DEV_KINDS] = {c->ndisks, c->nnets, c->vsock ? 1 : 0, c->screen && c->screen->cfg->gpu ? 1 : 0,
		c->screen ? 1 : 0};
	struct devs *all;
	char option[600];
	unsigned n = 0;

	for (enum dev_kind_id id = 0; id < DEV_KINDS; id++)
		n += many[id];
	all = xcalloc(1, sizeof *all + n * sizeof(struct dev));
	all->cfg = *c;
	all->host = *h;
	for (enum dev_kind_id id = 0; id < DEV_KINDS; id++) {
		for (unsigned k = 0; k < many[id]; k++) {
			struct dev *d = &all->dev[all->n];
			int rc;

			dev_init(all, id, k);
			rc = dev_open(d, e);
			if (rc) {
				err_prefix(e, "%s", dev_option(d, option, sizeof option));
				devs_free(all);
				return rc;
			}
		}
	}
	*out = all;
	return 0;
}
