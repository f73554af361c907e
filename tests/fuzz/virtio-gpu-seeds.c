/* SPDX-License-Identifier: MIT */
/* Writes seeds for virtio-gpu.c: what drivers do. virtio-gpu-seeds FOLDER */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio-gpu.h"

enum { INFO, CREATE, UNREF, SCANOUT, FLUSH, TRANSFER, ATTACH, DETACH, EDID, UPDATE, MOVE };

static uint8_t seed[4096];
static unsigned n;

static void put(unsigned v)
{
	if (n == sizeof seed)
		abort();
	seed[n++] = (uint8_t)v;
}

/* Words behind the header, as many as the command has */
static void command(unsigned kind, const uint8_t *words)
{
	put(OP_COMMAND);
	put(kind);
	put(kind % 2);
	for (unsigned i = 0; i < gpu_kinds[kind].words; i++)
		put(words ? words[i] : 0);
}
#define COMMAND(kind, ...) command(kind, (const uint8_t[]){__VA_ARGS__})

static void attach(unsigned id, unsigned entries)
{
	COMMAND(ATTACH, id, 0);
	put(entries);
	put(1);
	for (unsigned i = 0; i < entries; i++) {
		put(i * 11);
		put(i);
		put(0);
		put(252 - 2 * (i % 2)); /* 16384, or 2^20 */
	}
}

static void picture(unsigned id, unsigned w, unsigned h, unsigned entries)
{
	COMMAND(CREATE, id, 2, w, h);
	attach(id, entries);
	COMMAND(TRANSFER, 0, 0, w, h, 0, 0, id);
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
	n = 0;
}

int main(int argc, char **argv)
{
	if (argc != 2 || (mkdir(argv[1], 0777) && access(argv[1], F_OK)))
		return 1;
	command(INFO, NULL);
	COMMAND(EDID, 0);
	COMMAND(EDID, 1);
	picture(1, 100, 80, 3);
	COMMAND(SCANOUT, 0, 0, 100, 80, 0, 1);
	COMMAND(FLUSH, 0, 0, 100, 80, 1);
	COMMAND(TRANSFER, 10, 10, 20, 20, 0, 0, 1);
	COMMAND(FLUSH, 10, 10, 20, 20, 1);
	COMMAND(SCANOUT, 50, 0, 50, 80, 1, 1);
	picture(2, 220, 210, 100);
	COMMAND(SCANOUT, 0, 0, 220, 210, 0, 2);
	COMMAND(FLUSH, 0, 0, 220, 210, 2);
	COMMAND(DETACH, 1);
	COMMAND(UNREF, 1);
	COMMAND(SCANOUT, 0, 0, 0, 0, 0, 0);
	COMMAND(UNREF, 2);
	end(argv[1], "screen");
	picture(3, 64, 64, 5);
	COMMAND(UPDATE, 0, 50, 60, 0, 3, 4, 5);
	COMMAND(MOVE, 0, 255, 254, 0);
	COMMAND(UPDATE, 1, 50, 60, 0, 3, 240, 240);
	COMMAND(UPDATE, 0, 50, 60, 0, 0, 0, 0);
	end(argv[1], "cursor");
	for (unsigned i = 0; i < 8; i++) {
		picture(1 + i, 20 + 20 * i, 200 - 20 * i, 2 + i);
		COMMAND(SCANOUT, 0, 0, 20 + 20 * i, 200 - 20 * i, i % 2, 1 + i);
		put(OP_RESIZE);
		put(i % 3);
		put(210 + i);
		put(i ? 200 : 0);
		put(OP_ANOTHER);
		put(i > 4);
		if (i > 4) {
			put(2);
			for (unsigned k = 0; k < 2; k++) {
				put(k);
				put(4 * i + k);
				put(i);
			}
		}
		COMMAND(FLUSH, 0, 0, 20, 20, 1 + i);
	}
	put(OP_STOP);
	put(OP_START);
	put(1);
	picture(1, 10, 10, 1);
	end(argv[1], "processes");
	/* absurd numbers, each at each place */
	for (unsigned i = 0; i < 8; i++) {
		picture(1, 250, 249 + i % 3, 4);
		COMMAND(CREATE, 2 + i, 1, 240 + i, 240 + 2 * i % 16);
		picture(30, 50, 50, 4);
		COMMAND(TRANSFER, 240 + i, 0, 1, 1, 0, 0, 30);
		COMMAND(TRANSFER, 0, 0, 50, 50, 240 + i, 255 - i, 30);
		COMMAND(FLUSH, 0, 240 + i, 1, 240, 30);
		COMMAND(SCANOUT, 1, 1, 240 + i, 5, 0, 30);
	}
	put(OP_BYTES);
	put(0);
	put(24);
	put(30);
	for (unsigned i = 0; i < 30; i++)
		put(i == 1);
	put(OP_CONFIG);
	put(4);
	put(3);
	put(1);
	put(OP_SCRIBBLE);
	put(0);
	put(1);
	put(2);
	put(0);
	put(9);
	put(OP_KICK);
	put(0);
	end(argv[1], "absurd");
	return 0;
}
