/* SPDX-License-Identifier: MIT */
/* husk-vmm's --vhost, --console and --screen. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "cmd/vmm_args.h"
#include "virtio/virtio.h"

int main(void)
{
	static const char *const bad[] = {"", ",blk,fd=3", "disk0", "disk0,blk", "disk0,fd=3", "disk0,blk,fd=x", "disk0,blk,fd=-1",
		"disk0,blk,fd=3,queues=0", "disk0,blk,fd=3,queues=65", "disk0,blk,fd=3,size=0", "disk0,blk,fd=3,size=100",
		"disk0,blk,fd=3,size=2048", "disk0,blk,fd=3,mac=1:2:3", "disk0,blk,fd=3,mac=1:2:3:4:5:6:7",
		"disk0,blk,fd=3,mtu=70000", "disk0,blk,fd=3,colour=red", "a-name-that-is-much-too-long,blk,fd=3"};
	static const char *const bad_console[] = {"", "c0", "c0,fd=", "c0,fd=3,x", ",fd=3"};
	static const char *const bad_screen[] = {"", "1280", "1280x800", "1280x800,fd=4", "1280x800,fd=4,event=", "1280x800,fd=-1,event=5",
		"1280x800,fd=4,event=5,", "1280x800,event=5,fd=4", "x800,fd=4,event=5", "1280x800,fd=4,event=-5"};
	static struct devices_config c;
	struct screen_config s;
	struct err e = {.code = 0};

	assert(!vmm_arg_vhost(&c, "disk0,blk,fd=7,queues=4,size=128", &e));
	assert(!vmm_arg_vhost(&c, "net0,net,fd=8,queues=2,size=256,mac=52:54:00:ab:CD:ef,mtu=65520", &e));
	assert(c.nvhost == 2);
	assert(!strcmp(c.vhost[0].name, "disk0") && c.vhost[0].id == VIRTIO_ID_BLOCK && c.vhost[0].fd == 7);
	assert(c.vhost[0].queues == 4 && c.vhost[0].queue_size == 128);
	assert(c.vhost[1].id == VIRTIO_ID_NET && c.vhost[1].mtu == 65520);
	assert(!memcmp(c.vhost[1].mac, "\x52\x54\x00\xab\xcd\xef", 6));
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		e.text[0] = 0;
		assert(vmm_arg_vhost(&c, bad[i], &e) == -EINVAL && e.text[0] && c.nvhost == 2);
	}
	assert(!vmm_arg_vhost(&c, "vsock0,vsock,fd=9,queues=3,size=128", &e) && c.vhost[2].id == VIRTIO_ID_VSOCK && c.vhost[2].queues == 3);
	assert(!vmm_arg_vhost(&c, "gpu,gpu,fd=9,queues=2,size=256", &e) && c.vhost[3].id == VIRTIO_ID_GPU);
	while (c.nvhost < DEVICES_VHOST)
		assert(!vmm_arg_vhost(&c, "disk,blk,fd=7", &e));
	assert(vmm_arg_vhost(&c, "disk,blk,fd=7", &e) == -EINVAL && strstr(e.text, "82"));

	assert(!vmm_arg_screen(&s, "1280x800,fd=4,event=5", &e));
	assert(s.w == 1280 && s.h == 800 && s.scanout_fd == 4 && s.event_fd == 5);
	for (unsigned i = 0; i < ARRAY_LEN(bad_screen); i++)
		assert(vmm_arg_screen(&s, bad_screen[i], &e) == -EINVAL && strstr(e.text, bad_screen[i]));

	assert(!vmm_arg_console(&c, "console0,fd=9", &e) && c.nconsoles == 1 && c.console[0].fd == 9);
	for (unsigned i = 0; i < ARRAY_LEN(bad_console); i++)
		assert(vmm_arg_console(&c, bad_console[i], &e) == -EINVAL && c.nconsoles == 1);
	while (c.nconsoles < DEVICES_CONSOLES)
		assert(!vmm_arg_console(&c, "x,fd=9", &e));
	assert(vmm_arg_console(&c, "x,fd=9", &e) == -EINVAL);
	return 0;
}
