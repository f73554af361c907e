/* SPDX-License-Identifier: MIT */
/* What differs from kind to kind of device: the words of its program's command line, and of husk-vmm's about it. */
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cmd/devs-int.h"

static int disk_args(struct dev *d, struct child_args *a, bool restart, int *own, struct err *e)
{
	const struct disk_config *c = d->disk;

	if (d->state == DEV_FAILING) {
		child_arg(a, "--fail");
		child_arg_number(a, "--size", d->size);
	} else {
		*own = dev_image_again(d, e);
		if (*own < 0)
			return *own;
		child_arg_fd(a, "--file-fd", *own);
		child_arg_text(a, "--cache", c->cache);
		child_arg_text(a, "--aio", c->aio);
		child_arg_text(a, "--discard", c->discard ? "on" : "off");
		if (d->overlay >= 0) {
			child_arg_fd(a, "--overlay-fd", d->overlay);
			child_arg_fd(a, "--bitmap-fd", d->bitmap);
		}
		if (restart)
			child_arg(a, "--restart");
	}
	if (c->read_only)
		child_arg(a, "--read-only");
	child_arg_number(a, "--queues", d->queues);
	child_arg_number(a, "--queue-size", d->queue_size);
	if (c->seg_max)
		child_arg_number(a, "--seg-max", c->seg_max);
	if (c->size_max)
		child_arg_number(a, "--size-max", c->size_max);
	if (c->serial)
		child_arg_text(a, "--serial", c->serial);
	return 0;
}

static int net_args(struct dev *d, struct child_args *a, bool restart, int *own, struct err *e)
{
	const struct net_config *c = d->net;
	char mac[18];

	(void)restart, (void)own, (void)e;
	child_arg(a, "--mac");
	child_arg_format(a, "%s", mac_format(d->mac, mac));
	child_arg_number(a, "--queue-size", d->queue_size);
	if (c->mtu)
		child_arg_number(a, "--mtu", c->mtu);
	if (d->tap >= 0) {
		child_arg_fd(a, "--tap-fd", d->tap);
		return 0;
	}
	child_arg(a, "--user");
	for (unsigned i = 0; i < c->nforwards; i++)
		child_arg_text(a, "--forward", c->forward[i]);
	if (c->host_loopback)
		child_arg(a, "--host-loopback");
	if (c->restricted)
		child_arg(a, "--restrict");
	child_arg_text(a, "--hostname", c->hostname ? c->hostname : d->all->cfg.name);
	return 0;
}

static int vsock_args(struct dev *d, struct child_args *a, bool restart, int *own, struct err *e)
{
	(void)own, (void)e;
	child_arg_fd(a, "--path-fd", d->all->cfg.vsock_fd);
	child_arg_number(a, "--cid", d->cid);
	if (restart)
		child_arg(a, "--restart");
	return 0;
}

static int gpu_args(struct dev *d, struct child_args *a, bool restart, int *own, struct err *e)
{
	(void)restart, (void)own, (void)e;
	screen_gpu_args(d->screen, a);
	child_arg_number(a, "--queue-size", d->queue_size);
	return 0;
}

static int vnc_args(struct dev *d, struct child_args *a, bool restart, int *own, struct err *e)
{
	(void)restart, (void)own, (void)e;
	screen_vnc_args(d->screen, a);
	child_arg_text(a, "--name", d->all->cfg.name);
	return 0;
}

/* --- how the user has written it --------------------------------------------------------------- */

static void disk_option(const struct dev *d, char *buf, size_t len)
{
	snprintf(buf, len, "--disk %s%s", d->disk->socket ? "socket:" : "", d->disk->path);
}

static void net_option(const struct dev *d, char *buf, size_t len)
{
	static const char *const kinds[] = {"user", "tap:", "tap-fd:", "socket:"};

	if (d->net->kind == NET_TAP_FD)
		snprintf(buf, len, "--net tap-fd:%d", d->net->fd);
	else
		snprintf(buf, len, "--net %s%s", kinds[d->net->kind], d->net->path ? d->net->path : "");
}

static void vsock_option(const struct dev *d, char *buf, size_t len)
{
	snprintf(buf, len, "--vsock %s", d->vsock->path);
}

static void screen_option(const struct dev *d, char *buf, size_t len)
{
	(void)d;
	snprintf(buf, len, "--display vnc");
}

const struct dev_kind dev_kinds[DEV_KINDS] = {
	[DEV_DISK] = {"disk", "husk-blk", "blk", disk_args, disk_option},
	[DEV_NET] = {"net", "husk-net", "net", net_args, net_option},
	[DEV_VSOCK] = {"vsock", "husk-vsock", "vsock", vsock_args, vsock_option},
	[DEV_GPU] = {"gpu", "husk-gpu", "gpu", gpu_args, screen_option},
	[DEV_VNC] = {"vnc", "husk-vnc", NULL, vnc_args, screen_option},
};

const char *dev_option(const struct dev *d, char *buf, size_t len)
{
	d->kind->option(d, buf, len);
	child_clean(buf, false);
	return buf;
}

void dev_vhost_arg(struct dev *d, struct child_args *a)
{
	char mac[32] = "", mtu[16] = "";

	if (!d->kind->word)
		return;
	if (d->net) {
		strcpy(mac, ",mac=");
		mac_format(d->mac, mac + 5);
		if (d->net->mtu)
			snprintf(mtu, sizeof mtu, ",mtu=%u", d->net->mtu);
	}
	child_arg(a, "--vhost");
	child_arg_format(a, "%s,%s,fd=%d,queues=%u,size=%u%s%s", d->name, d->kind->word, d->front, d->queues, d->queue_size,
		mac, mtu);
	child_keep_fd(a, d->front);
}
