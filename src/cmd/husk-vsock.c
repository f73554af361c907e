/* SPDX-License-Identifier: MIT */
/*
 * Sockets between a guest and its host: virtio-vsock over vhost-user. Programs of the host use it through one Unix
 * socket (virtio/vsock.h), which is open before the sandbox is entered; nothing is opened afterwards.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "base/util.h"
#include "cmd/device.h"
#include "virtio/vsock.h"

static const struct sandbox_syscall vsock_syscalls[] = {
	SANDBOX_ALLOW(SYS_accept4),
	SANDBOX_ALLOW(SYS_shutdown),
	SANDBOX_END,
};

enum { OPT_CID = DEVICE_OPT_OWN, OPT_PATH, OPT_PATH_FD, OPT_RESTART };
static const struct option options[] = {
	{"cid", 1, NULL, OPT_CID},
	{"path", 1, NULL, OPT_PATH},
	{"path-fd", 1, NULL, OPT_PATH_FD},
	{"restart", 0, NULL, OPT_RESTART},
	DEVICE_OPTIONS,
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"husk-vsock --path SOCKET --listen SOCKET [options]: sockets between host and guest, by vhost-user\n"
	"  --path PATH      listen there for programs of the host, which begin with a line:\n"
	"                   CONNECT PORT to reach that port of the guest, or\n"
	"                   ACCEPT PORT to wait for the guest to reach PORT of CID 2; the answer is OK PORT\n"
	"  --path-fd N      the same, as a descriptor of a listening socket\n"
	"  --cid N          the guest's address, 3 or more; default 3\n"
	"  --restart        the guest may have connections of a process before this one: tell it that they are no more\n"
	DEVICE_USAGE;

static size_t stats(void *arg, char *buf, size_t len)
{
	const struct vsock_counters *n = vsock_counters(arg);
	int k = snprintf(buf, len,
		"clients %" PRIu64 "\nconnections %" PRIu64 "\nnobody_waited %" PRIu64 "\nresets %" PRIu64 "\nto_guest %" PRIu64
		"\nfrom_guest %" PRIu64 "\n", n->accepted, n->opened, n->refused, n->resets, n->in, n->out);

	return k < 0 ? 0 : min_u64((uint64_t)k, len ? len - 1 : 0);
}

int main(int argc, char **argv)
{
	static struct device d;
	struct vsock_config c = {.listen_fd = -1, .cid = 3};
	struct virtio_dev *dev = NULL;
	const char *path = NULL;
	struct err e = {0};
	int opt, rc;

	device_init(&d, "husk-vsock");
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == OPT_CID) {
			c.cid = device_number("cid", optarg, UINT32_MAX);
		} else if (opt == OPT_PATH) {
			path = optarg;
		} else if (opt == OPT_PATH_FD) {
			c.listen_fd = device_fd(&d, "path-fd", optarg);
		} else if (opt == OPT_RESTART) {
			c.restart = true;
		} else if (opt == DEVICE_OPT_HELP) {
			fputs(usage, stdout);
			return 0;
		} else if (!device_option(&d, opt, optarg)) {
			return 2;
		}
	}
	if (optind < argc || !path == (c.listen_fd < 0)) {
		fputs("husk-vsock: one of --path and --path-fd is needed; see husk-vsock --help\n", stderr);
		return 2;
	}
	device_close_others(&d);
	if (path)
		c.listen_fd = device_listen("--path", path, VSOCK_CONNECTIONS, &e);
	if (c.listen_fd >= 0)
		fcntl(c.listen_fd, F_SETFL, O_NONBLOCK);
	c.loop = d.loop;
	rc = c.listen_fd < 0 ? c.listen_fd : vsock_new(&dev, &c, &e);
	if (rc)
		return device_fail(&d, &e);
	d.syscalls = vsock_syscalls;
	d.new_fds = VSOCK_CONNECTIONS;
	d.stats = stats;
	d.arg = dev;
	rc = device_run(&d, dev);
	vsock_free(dev);
	return rc;
}
