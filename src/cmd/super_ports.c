/* SPDX-License-Identifier: MIT */
/* The ports of --console, each with a hub between husk-vmm and a socket or file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "cmd/super-int.h"

static void port_closed(void *arg, int code)
{
	struct super_port *p = arg;
	char line[PLACE_PATH + 100];

	snprintf(line, sizeof line, "husk: --console file:%s: %s; what the guest writes there is lost from now on\n",
		p->cfg->path, strerror(code));
	super_log(p->s, line);
}

/* Where the ports lead; before the guard, which is to know the sockets. */
int super_ports_open(struct super *s, struct err *e)
{
	for (unsigned i = 0; i < CONSOLES_MAX; i++)
		s->ports[i] = (struct super_port){.s = s, .cfg = &s->cfg->ports[i], .fd = -1, .vm = {-1, -1}};
	for (unsigned i = 0; i < s->cfg->nports; i++) {
		struct super_port *p = &s->ports[i];

		p->fd = p->cfg->file ? place_file("--console file:", p->cfg->path, e)
				     : place_listen("--console unix:", p->cfg->path, s->socks[1 + i], e);
		if (p->fd < 0)
			return p->fd;
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->vm))
			return err_set(e, errno, "cannot make a socket: %s", strerror(errno));
		fcntl(p->vm[0], F_SETFL, O_NONBLOCK);
	}
	return 0;
}

void super_ports_args(struct super *s, struct child_args *a)
{
	for (unsigned i = 0; i < s->cfg->nports; i++) {
		struct super_port *p = &s->ports[i];

		child_arg(a, "--console");
		child_arg_format(a, "%s,fd=%d", p->cfg->name, p->vm[1]);
		child_keep_fd(a, p->vm[1]);
	}
}

int super_ports_begin(struct super *s, struct err *e)
{
	for (unsigned i = 0; i < s->cfg->nports; i++) {
		struct super_port *p = &s->ports[i];
		const struct serial_host h = {.closed = port_closed, .arg = p};
		int rc, fd = p->fd;

		p->hub = serial_new(s->loop, p->vm[0], &h, e);
		p->vm[0] = -1;
		if (!p->hub)
			return -1;
		/* as husk-vmm does: a guest must not wait with a terminal, but a program may */
		if (i && strncmp(p->cfg->name, "console", 7))
			serial_lossless(p->hub);
		close(p->vm[1]);
		p->vm[1] = p->fd = -1;
		rc = p->cfg->file ? serial_add_file(p->hub, fd, e) : serial_add_listener(p->hub, fd, e);
		if (rc)
			return rc;
	}
	return 0;
}

void super_ports_free(struct super *s)
{
	for (unsigned i = 0; i < s->cfg->nports; i++) {
		const int fds[] = {s->ports[i].fd, s->ports[i].vm[0], s->ports[i].vm[1]};

		serial_free(s->ports[i].hub);
		for (size_t k = 0; k < ARRAY_LEN(fds); k++)
			if (fds[k] >= 0)
				close(fds[k]);
	}
}
