/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "cmd/vmm_args.h"
#include "virtio/virtio.h"

enum { ARG_MAX_LEN = 256 };

static int number(const char *s, unsigned max, unsigned *v)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(s, &end, 10);
	if (errno || *end || end == s || *s == '-' || n > max)
		return -EINVAL;
	*v = (unsigned)n;
	return 0;
}

static int mac(const char *s, uint8_t m[6])
{
	unsigned b[6];
	char rest;

	if (sscanf(s, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &rest) != 6)
		return -EINVAL;
	for (unsigned i = 0; i < 6; i++)
		m[i] = (uint8_t)b[i];
	return 0;
}

static int vhost_word(struct vhost_config_dev *v, const char *word)
{
	unsigned n = 0;
	int rc = 0;

	if (!strcmp(word, "blk"))
		v->id = VIRTIO_ID_BLOCK;
	else if (!strcmp(word, "net"))
		v->id = VIRTIO_ID_NET;
	else if (!strcmp(word, "vsock"))
		v->id = VIRTIO_ID_VSOCK;
	else if (!strcmp(word, "gpu"))
		v->id = VIRTIO_ID_GPU;
	else if (!strncmp(word, "fd=", 3) && !(rc = number(word + 3, 1 << 20, &n)))
		v->fd = (int)n;
	else if (!strncmp(word, "queues=", 7) && !(rc = number(word + 7, VIRTIO_QUEUES, &n)))
		v->queues = (uint16_t)n;
	else if (!strncmp(word, "size=", 5) && !(rc = number(word + 5, VIRTIO_QUEUE_MAX, &n)))
		v->queue_size = (uint16_t)n;
	else if (!strncmp(word, "mtu=", 4) && !(rc = number(word + 4, 65535, &n)))
		v->mtu = (uint16_t)n;
	else
		rc = strncmp(word, "mac=", 4) ? -EINVAL : mac(word + 4, v->mac);
	return rc;
}

/* The name in front; the rest of arg is copied to rest for strtok_r(). */
static int name(const char *option, const char *arg, char out[DEVICES_NAME], char rest[ARG_MAX_LEN], struct err *e)
{
	size_t n = strcspn(arg, ",");

	if (!n || n >= DEVICES_NAME || strlen(arg) >= ARG_MAX_LEN)
		return err_set(e, EINVAL, "%s %.60s: a name of 1 to %d bytes comes first", option, arg, DEVICES_NAME - 1);
	memcpy(out, arg, n);
	out[n] = 0;
	strcpy(rest, arg + n);
	return 0;
}

int vmm_arg_vhost(struct devices_config *c, const char *arg, struct err *e)
{
	struct vhost_config_dev *v = &c->vhost[c->nvhost];
	char rest[ARG_MAX_LEN], *save = NULL;
	int rc;

	if (c->nvhost == DEVICES_VHOST)
		return err_set(e, EINVAL, "--vhost: %d devices are the most", DEVICES_VHOST);
	*v = (struct vhost_config_dev){.fd = -1, .queues = 1, .queue_size = 256};
	rc = name("--vhost", arg, v->name, rest, e);
	if (rc)
		return rc;
	for (char *w = strtok_r(rest, ",", &save); w; w = strtok_r(NULL, ",", &save))
		if (vhost_word(v, w))
			return err_set(e, EINVAL, "--vhost %s: '%s' is not understood", arg, w);
	if (!v->id || v->fd < 0 || !v->queues || v->queue_size < 2 || v->queue_size & (v->queue_size - 1))
		return err_set(e, EINVAL, "--vhost %s: blk, net, vsock or gpu, fd=N, queues=N and size=N (a power of two) it takes",
			arg);
	c->nvhost++;
	return 0;
}

int vmm_arg_screen(struct screen_config *c, const char *arg, struct err *e)
{
	unsigned w, h;
	int fd, event, n = 0;

	if (sscanf(arg, "%5ux%5u,fd=%7d,event=%7d%n", &w, &h, &fd, &event, &n) != 4 || arg[n] || fd < 0 || event < 0)
		return err_set(e, EINVAL, "--screen %s: WIDTHxHEIGHT,fd=N,event=N it is", arg);
	*c = (struct screen_config){w, h, fd, event};
	return 0;
}

int vmm_arg_console(struct devices_config *c, const char *arg, struct err *e)
{
	struct console_config *p = &c->console[c->nconsoles];
	char rest[ARG_MAX_LEN];
	unsigned n;
	int rc;

	if (c->nconsoles == DEVICES_CONSOLES)
		return err_set(e, EINVAL, "--console: %d ports are the most", DEVICES_CONSOLES);
	rc = name("--console", arg, p->name, rest, e);
	if (rc)
		return rc;
	if (strncmp(rest, ",fd=", 4) || number(rest + 4, 1 << 20, &n))
		return err_set(e, EINVAL, "--console %s: NAME,fd=N it is", arg);
	p->fd = (int)n;
	c->nconsoles++;
	return 0;
}
