/* SPDX-License-Identifier: MIT */
/* Seeds for virtio-net.c: what a guest sends first, by its own few hundred lines (tests/unit/net/guest.c). */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "../unit/net/guest.h"
#include "base/util.h"

static FILE *out;
static const char *folder;

/* Instead of a device: what is in the ring goes to the file. */
static void kick(struct guest *g, unsigned q)
{
	uint8_t len[2];
	const uint8_t *d, *a = mem_at(&g->mem, g->ring[G_TX].avail, 4 + 2 * G_ENTRIES);

	if (q != G_TX)
		return;
	d = mem_at(&g->mem, g->ring[G_TX].desc + 16ull * get_u16(a + 4 + 2 * ((g->ring[G_TX].avail_idx - 1) % G_ENTRIES)), 16);
	put_u16(len, (uint16_t)get_u32(d + 8));
	fwrite(len, 1, 2, out);
	fwrite(mem_at(&g->mem, get_u64(d), get_u32(d + 8)), 1, get_u32(d + 8), out);
}

static void begin(const char *name, unsigned features, unsigned cut, unsigned what)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", folder, name);
	out = fopen(path, "w");
	assert(out);
	fputc((int)features, out);
	fputc((int)cut, out);
	fputc((int)what, out);
}

int main(int argc, char **argv)
{
	static struct guest g;
	struct gtcp *c;

	assert(argc == 2);
	folder = argv[1];
	mkdir(folder, 0777);
	guest_init(&g, loop_new(), G_CSUM | G_HOST_TSO4);
	g.kick = kick;
	begin("hello", 1, 0, 0);
	guest_arp(&g, 0x0a000202);
	guest_dhcp(&g, 1, 0);
	guest_dhcp(&g, 3, 0x0a00020f);
	guest_ping(&g, 0x0a000202);
	guest_udp(&g, 0x0a000203, 1000, 53, "question", 8);
	fclose(out);
	begin("tcp", 1, 12, 0);
	guest_arp(&g, 0x0a000202);
	c = guest_connect(&g, 0x0a000202, 1000, 80);
	c->open = true;
	c->wnd = 65535;
	c->want = 3000;
	c->close = true;
	guest_output(&g, c);
	fclose(out);
	begin("pieces", 3, 30, 0x4c);
	g.features = 0;
	guest_udp(&g, 0x0a000202, 1000, 69, "\0\1file\0octet", 13);
	guest_udp(&g, 0x0a000202, 1000, 67, "\1\1\6", 3);
	fclose(out);
	begin("fragments", 3, 0, 0);
	g.cut = 16;
	guest_udp(&g, 0x0a000202, 1000, 69, "\0\1a file with a long name\0octet", 32);
	guest_udp(&g, 0x0a000203, 1000, 53, "a question in three pieces", 26);
	fclose(out);
	return 0;
}
