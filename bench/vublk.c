/* SPDX-License-Identifier: MIT */
/*
 * vublk: drives a vhost-user-blk back-end for a while and tells how fast it was, for bench/blk. One queue.
 *
 *	vublk SOCKET PID read|write|fsync BYTES DEPTH rand|seq SEGMENT-BYTES SECONDS
 *
 * PID: the back-end's, whose CPU time is counted (all of its threads, those of the kernel for its io_uring too).
 * fsync: a write and then a flush. Prints name=value words on one line.
 */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/util.h"
#include "client.h"

static double cpu_of(const char *pid)
{
	char path[300];
	unsigned long long ns, sum = 0;
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%.20s/task", pid);
	dir = opendir(path);
	while (dir && (d = readdir(dir))) {
		FILE *f;

		snprintf(path, sizeof path, "/proc/%.20s/task/%.20s/schedstat", pid, d->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return (double)sum * 1e-9;
}

static double cpu_own(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + 1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
	static struct client c;
	struct client_queue *q = &c.q[0];
	unsigned depth, free_slot[CLIENT_SIZE], nfree = 0, flying = 0;
	uint64_t done = 0, blocks, at = 0, rng = 88172645463325252ull, begin, end, now;
	size_t bytes, seg;
	double back, own, seconds;
	bool write, fsync, random;

	if (argc != 9) {
		fprintf(stderr, "vublk SOCKET PID read|write|fsync BYTES DEPTH rand|seq SEGMENT-BYTES SECONDS\n");
		return 2;
	}
	fsync = !strcmp(argv[3], "fsync");
	write = fsync || !strcmp(argv[3], "write");
	bytes = strtoull(argv[4], NULL, 0);
	depth = (unsigned)strtoul(argv[5], NULL, 0);
	random = !strcmp(argv[6], "rand");
	seg = strtoull(argv[7], NULL, 0);
	if (!bytes || bytes % 512 || !depth || depth > CLIENT_SIZE || !seg || (bytes + seg - 1) / seg > CLIENT_SEGS) {
		fprintf(stderr, "vublk: sizes\n");
		return 2;
	}
	client_init(&c, 1, depth * bytes);
	memset(c.ram + c.data, 0x5a, depth * bytes);
	client_connect(&c, client_dial(argv[1]));
	blocks = c.capacity / bytes;
	for (unsigned i = depth; i--;)
		free_slot[nfree++] = i;
	back = cpu_of(argv[2]);
	own = cpu_own();
	now = begin = now_ns();
	end = begin + (uint64_t)(strtod(argv[8], NULL) * 1e9);
	while (now < end || flying) {
		int slot;

		while (nfree && now < end) {
			unsigned i = free_slot[--nfree];

			rng ^= rng << 13;
			rng ^= rng >> 7;
			rng ^= rng << 17;
			client_send(q, i, write ? T_OUT : T_IN, (random ? rng : at++) % blocks * (bytes / 512), i * bytes, bytes, seg);
			flying++;
		}
		client_kick(q);
		if (!client_wait(q, 30000)) {
			fprintf(stderr, "vublk: nothing comes back\n");
			return 1;
		}
		now = now_ns();
		while ((slot = client_reap(q)) >= 0) {
			if (client_status(q, (unsigned)slot)) {
				fprintf(stderr, "vublk: status %u\n", client_status(q, (unsigned)slot));
				return 1;
			}
			/* a flush follows its write in the same slot; its data has no length, so it is told by the header */
			if (fsync && get_u32(q->slots + (size_t)slot * 0x1800) == T_OUT) {
				client_send(q, (unsigned)slot, T_FLUSH, 0, 0, 0, 512);
				continue;
			}
			free_slot[nfree++] = (unsigned)slot;
			flying--;
			done++;
		}
	}
	seconds = (double)(now_ns() - begin) * 1e-9;
	own = cpu_own() - own;
	back = cpu_of(argv[2]) - back;
	client_bye(&c);
	printf("iops=%.0f mib=%.1f back_us=%.3f front_us=%.3f kicks=%.3f calls=%.3f\n", (double)done / seconds,
		(double)done * (double)bytes / seconds / 1048576, back * 1e6 / (double)done, own * 1e6 / (double)done,
		(double)q->kicks / (double)done, (double)q->calls / (double)done);
	return 0;
}
