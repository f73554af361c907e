/* SPDX-License-Identifier: MIT */
/* Writes seeds for virtio-local.c: each device as its driver uses it. virtio-local-seeds FOLDER */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio-local.h"

static uint8_t seed[4096];
static unsigned n;

static void put(unsigned v)
{
	if (n == sizeof seed)
		abort();
	seed[n++] = (uint8_t)v;
}

static void begin(unsigned device, unsigned bits)
{
	n = 0;
	put(device);
	put(OP_START);
	put(bits);
}

static void add(unsigned q, unsigned segs, unsigned page, unsigned len, unsigned write)
{
	put(OP_ADD);
	put(q);
	put(segs - 1);
	for (unsigned i = 0; i < segs; i++) {
		put(page + i);
		put(0);
		put(len);
		put(len >> 8);
		put(0);
		put(write);
	}
}

static void two(unsigned op, unsigned a)
{
	put(op);
	put(a);
}

static void control(unsigned id, unsigned event, unsigned value)
{
	put(OP_CONTROL);
	put(id);
	put(event);
	put(value);
}

static void host(unsigned port, unsigned len, unsigned what)
{
	put(OP_HOST);
	put(port);
	put(len);
	put(len >> 8);
	put(what);
}

static void end(const char *folder, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "wb");
	if (!f || fwrite(seed, 1, n, f) != n || fclose(f)) {
		perror(path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2 || (mkdir(argv[1], 0777) && access(argv[1], F_OK)))
		return 1;
	begin(DEVICE_RNG, 7 | 4 << 3);
	for (unsigned i = 0; i < 6; i++) {
		add(0, 1 + i % 3, 140 + i, 64, 1);
		two(OP_KICK, 0);
	}
	end(argv[1], "rng");
	begin(DEVICE_BALLOON, 6 | 7 << 3);
	put(OP_HOST);
	put(4);
	put(0);
	/* page numbers at gpa 0x100000: the driver's choice of bytes is what the rings hold */
	add(0, 1, 8, 1024, 0);
	two(OP_KICK, 0);
	add(1, 1, 8, 1024, 0);
	two(OP_KICK, 1);
	for (unsigned q = 2; q < 5; q++) {
		add(q, 8, 160, 8192, 1);
		two(OP_KICK, q);
	}
	put(OP_CONFIG_WRITE);
	put(4);
	put(3);
	put(4);
	put(0);
	put(0);
	put(0);
	two(OP_CONFIG_READ, 0);
	put(7);
	end(argv[1], "balloon");
	for (unsigned mode = 0; mode < 2; mode++) {
		begin(DEVICE_CONSOLE, (mode ? 6 : 5) | 5 << 3);
		for (unsigned i = 0; i < 10; i++)
			add(2, 1, 140, 4096, 1);
		two(OP_KICK, 2);
		control(255, 0, 1);
		for (unsigned port = 0; port < 3; port++) {
			unsigned q = port ? 2 * port + 2 : 0;

			add(q, 1, 150 + port, 4096, 1);
			two(OP_KICK, q);
			control(port, 3, 1);
			control(port, 6, 1);
			host(port, 300, 2);
			add(q + 1, 3, 160, 200, 0);
			two(OP_KICK, q + 1);
			host(port, 100, 0);
			add(q + 1, 1, 160, 5, 0);
			host(port, 3, 1 + (mode << 7));
			put(mode);
			host(port, 6000, 0);
		}
		two(OP_CONFIG_READ, 4);
		put(3);
		put(OP_CONFIG_WRITE);
		put(8);
		put(3);
		for (unsigned i = 0; i < 4; i++)
			put('x');
		put(OP_STOP);
		put(OP_START);
		put(4);
		end(argv[1], mode ? "console-events" : "console");
	}
	return 0;
}
