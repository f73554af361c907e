/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cmd/vmm.h"

static void machine_args(struct child_args *a, const struct vmm_config *c)
{
	child_arg_text(a, "--append", c->append);
	child_arg_number(a, "--memory", c->memory);
	child_arg_number(a, "--cpus", c->cpus);
	child_arg_text(a, "--engine", c->engine);
	child_arg_text(a, "--cpu", c->cpu);
	child_arg_text(a, "--name", c->name);
	if (c->no_reboot)
		child_arg(a, "--no-reboot");
	if (c->testdev)
		child_arg(a, "--testdev");
	if (c->no_rng)
		child_arg(a, "--no-rng");
	if (c->no_balloon)
		child_arg(a, "--no-balloon");
	if (c->root_ports)
		child_arg_number(a, "--root-ports", c->root_ports);
	if (c->debug)
		child_arg_text(a, "--debug", c->debug);
}

int vmm_start(struct vmm *v, const char *path, const struct vmm_config *c, struct child_args *a, struct err *e)
{
	int serial[2], rc;

	*v = (struct vmm)VMM_INIT;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, serial))
		return err_set(e, errno, "cannot make a socket for husk-vmm: %s", strerror(errno));
	child_arg_fd(a, "--kernel-fd", c->kernel_fd);
	if (c->initrd_fd >= 0)
		child_arg_fd(a, "--initrd-fd", c->initrd_fd);
	child_arg_fd(a, "--serial-fd", serial[1]);
	machine_args(a, c);
	rc = child_start(&v->child, "husk-vmm", path, a, e);
	close(serial[1]);
	if (rc) {
		close(serial[0]);
		return rc;
	}
	v->serial = serial[0];
	fcntl(v->serial, F_SETFL, O_NONBLOCK);
	return 0;
}

void vmm_close(struct vmm *v)
{
	child_close(&v->child);
	if (v->serial >= 0)
		close(v->serial);
	v->serial = -1;
}
