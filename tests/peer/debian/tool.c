/* SPDX-License-Identifier: MIT */
/*
 * What the tests with Debian run inside the guest, and on the host to compare.
 *
 *   tool scribble FILE SEED OPS THREADS  random writes, reads, flushes, discards, zeroes on a disk that was all zeroes, each
 *                                    thread in its own part; what is read must be what the model says. The same
 *                                    arguments always leave the same bytes, on a guest's disk and on a file.
 *   tool records FILE RUN COUNT      writes records of 4 KiB, each made durable before it says "R number"
 *   tool check FILE RUN COUNT        are the first COUNT records of that run there? (on the host, after a power cut)
 *   tool serve PORT                  TCP on 127.0.0.1: sends back what comes, a byte at a time
 *   tool trips HOST PORT SECONDS     one byte to and fro; says how many per second
 *   tool vsock-serve PORT            virtio-vsock: sends back what comes
 *   tool vsock-trip PORT BYTES       to the host: sends so many, and the end; the same must come back
 *   tool vsock-hold PORT             to the host: says "held", and how the connection ended
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/vm_sockets.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SECTOR = 512, RECORD = 4096, LONGEST = 256 /* sectors */, GRAIN = 8 /* sectors of a discard */ };
#define UNKNOWN UINT32_MAX /* the model of a sector that was discarded */

static void die(const char *what)
{
	fprintf(stderr, "tool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t mix(uint64_t x) /* splitmix64's finish */
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void fill(uint64_t *p, size_t bytes, uint64_t a, uint64_t b)
{
	uint64_t h = mix(mix(a + 1) + b);

	for (size_t i = 0; i < bytes / 8; i++)
		p[i] = h += UINT64_C(0x9e3779b97f4a7c15);
}

struct part {
	int fd;
	bool device;
	uint64_t first, sectors, seed, ops, rng;
	uint32_t *model; /* per sector: 0 zeroes, UNKNOWN, or the number of the operation that wrote it */
	pthread_t thread;
};

static uint64_t rnd(struct part *p, uint64_t n)
{
	return mix(p->rng += UINT64_C(0x9e3779b97f4a7c15)) % n;
}

static void write_sectors(struct part *p, uint8_t *buf, uint64_t at, uint64_t n, uint32_t op)
{
	for (uint64_t i = 0; i < n; i++) {
		fill((uint64_t *)(void *)(buf + i * SECTOR), SECTOR, p->seed + p->first + at + i, op);
		p->model[at + i] = op;
	}
	if (pwrite(p->fd, buf, n * SECTOR, (off_t)((p->first + at) * SECTOR)) != (ssize_t)(n * SECTOR))
		die("write");
}

static void read_sectors(struct part *p, uint8_t *buf, uint64_t at, uint64_t n)
{
	uint64_t want[SECTOR / 8];

	if (pread(p->fd, buf, n * SECTOR, (off_t)((p->first + at) * SECTOR)) != (ssize_t)(n * SECTOR))
		die("read");
	for (uint64_t i = 0; i < n; i++) {
		uint32_t op = p->model[at + i];

		if (op == UNKNOWN)
			continue;
		memset(want, 0, sizeof want);
		if (op)
			fill(want, SECTOR, p->seed + p->first + at + i, op);
		if (memcmp(want, buf + i * SECTOR, SECTOR)) {
			fprintf(stderr, "tool: sector %llu is not what operation %u wrote\n",
				(unsigned long long)(p->first + at + i), op);
			exit(3);
		}
	}
}

/* Discards or writes zeroes: whole grains. */
static void clear_sectors(struct part *p, uint64_t at, uint64_t n, bool zero)
{
	uint64_t range[2] = {(p->first + at) * SECTOR, n * SECTOR};
	int rc;

	if (p->device)
		rc = ioctl(p->fd, zero ? BLKZEROOUT : BLKDISCARD, range);
	else
		rc = fallocate(p->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)range[0], (off_t)range[1]);
	if (rc)
		die(zero ? "zeroes" : "discard");
	for (uint64_t i = 0; i < n; i++)
		p->model[at + i] = zero ? 0 : UNKNOWN;
}

static void *scribble_part(void *arg)
{
	struct part *p = arg;
	uint8_t *all = aligned_alloc(4096, (LONGEST + 8) * SECTOR);

	p->model = calloc(p->sectors, sizeof *p->model);
	if (!all || !p->model)
		die("memory");
	for (uint64_t op = 1; op <= p->ops; op++) {
		uint64_t what = rnd(p, 100), n = 1 + rnd(p, rnd(p, 4) ? 16 : LONGEST), at = rnd(p, p->sectors - n);
		uint8_t *buf = all + rnd(p, 8) * SECTOR; /* segments that begin within a page */

		if (what < 45) {
			write_sectors(p, buf, at, n, (uint32_t)op);
		} else if (what < 85) {
			read_sectors(p, buf, at, n);
		} else if (what < 92) {
			if (fsync(p->fd))
				die("flush");
		} else {
			at -= at % GRAIN;
			n = (n + GRAIN - 1) / GRAIN * GRAIN;
			if (at + n <= p->sectors)
				clear_sectors(p, at, n, what >= 96);
		}
	}
	/* what a discarded sector holds is nobody's business: write it, then look at everything */
	for (uint64_t at = 0; at < p->sectors; at += LONGEST) {
		uint64_t n = p->sectors - at < LONGEST ? p->sectors - at : LONGEST;

		for (uint64_t i = 0; i < n; i++)
			if (p->model[at + i] == UNKNOWN)
				write_sectors(p, all, at + i, 1, (uint32_t)p->ops + 1);
	}
	for (uint64_t at = 0; at < p->sectors; at += LONGEST)
		read_sectors(p, all, at, p->sectors - at < LONGEST ? p->sectors - at : LONGEST);
	if (fsync(p->fd))
		die("flush");
	free(p->model);
	free(all);
	return NULL;
}

static int scribble(const char *path, uint64_t seed, uint64_t ops, unsigned threads)
{
	struct part parts[16];
	struct stat st;
	uint64_t size;
	int fd = open(path, O_RDWR);

	if (fd < 0 || fstat(fd, &st))
		die(path);
	if (S_ISBLK(st.st_mode)) {
		close(fd);
		fd = open(path, O_RDWR | O_DIRECT);
		if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size))
			die(path);
	} else {
		size = (uint64_t)st.st_size;
	}
	if (!threads || threads > 16 || size / SECTOR / threads < 4 * LONGEST) {
		fprintf(stderr, "tool: 1 to 16 threads, and %d KiB for each\n", 4 * LONGEST * SECTOR / 1024);
		return 2;
	}
	for (unsigned i = 0; i < threads; i++) {
		uint64_t each = size / SECTOR / threads / GRAIN * GRAIN;

		parts[i] = (struct part){.fd = fd, .device = S_ISBLK(st.st_mode), .first = i * each, .sectors = each,
			.seed = seed, .ops = ops / threads, .rng = mix(seed) + i};
		if (pthread_create(&parts[i].thread, NULL, scribble_part, &parts[i]))
			die("thread");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(parts[i].thread, NULL);
	printf("scribbled\n");
	return 0;
}

static int records(const char *path, uint64_t run, uint64_t count)
{
	static uint64_t buf[RECORD / 8] __attribute__((aligned(4096)));
	char line[32];
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	if (fd < 0)
		die(path);
	for (uint64_t i = 1; i <= count; i++) {
		fill(buf, RECORD, run, i);
		if (write(fd, buf, RECORD) != RECORD)
			die("write");
		if (i & 1 ? fsync(fd) : fdatasync(fd))
			die("fsync");
		if (write(1, line, (size_t)snprintf(line, sizeof line, "R %llu.\n", (unsigned long long)i)) < 0)
			die("console");
	}
	return 0;
}

static int check(const char *path, uint64_t run, uint64_t count)
{
	static uint64_t buf[RECORD / 8], want[RECORD / 8];
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		die(path);
	for (uint64_t i = 1; i <= count; i++) {
		fill(want, RECORD, run, i);
		if (read(fd, buf, RECORD) != RECORD || memcmp(buf, want, RECORD)) {
			printf("record %llu of %llu is lost\n", (unsigned long long)i, (unsigned long long)count);
			return 1;
		}
	}
	return 0;
}

static int serve(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1, c;
	char b;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 8))
		die("serve");
	while ((c = accept(s, NULL, NULL)) >= 0) {
		setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		while (read(c, &b, 1) == 1 && write(c, &b, 1) == 1)
			;
		close(c);
	}
	return 0;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int trips(const char *host, int port, double seconds)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	unsigned long n = 0;
	double begin;
	char b = 0;

	inet_pton(AF_INET, host, &a.sin_addr);
	if (connect(s, (struct sockaddr *)&a, sizeof a))
		die(host);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	for (begin = now(); now() - begin < seconds; n++)
		if (write(s, &b, 1) != 1 || read(s, &b, 1) != 1)
			die("trips");
	printf("trips %.1f\n", (double)n / (now() - begin));
	return 0;
}

static bool write_all(int fd, const char *p, size_t n)
{
	for (ssize_t k; n; p += k, n -= (size_t)k)
		if ((k = write(fd, p, n)) <= 0)
			return false;
	return true;
}

static int vsock_serve(unsigned port)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};
	int s = socket(AF_VSOCK, SOCK_STREAM, 0), c;
	static char buf[64 << 10];
	ssize_t n;

	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) || listen(s, 8))
		die("vsock-serve");
	while ((c = accept(s, NULL, NULL)) >= 0) {
		while ((n = read(c, buf, sizeof buf)) > 0 && write_all(c, buf, (size_t)n))
			;
		close(c);
	}
	return 0;
}

/* The host's ACCEPT has no answer before somebody comes, so we may be too early: tries for a second. */
static int vsock_connect(unsigned port)
{
	struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_HOST};

	for (int i = 0;; i++) {
		int s = socket(AF_VSOCK, SOCK_STREAM, 0);

		if (s >= 0 && !connect(s, (struct sockaddr *)&a, sizeof a))
			return s;
		if (s < 0 || errno != ECONNRESET || i == 50)
			die("vsock: connect");
		close(s);
		usleep(20000);
	}
}

static int vsock_trip(unsigned port, size_t bytes)
{
	uint64_t *out = calloc(bytes / 8 + 1, 8), *in = calloc(bytes / 8 + 1, 8);
	int s = vsock_connect(port);
	size_t got = 0;
	ssize_t n = 1;

	if (!out || !in)
		die("vsock-trip");
	fill(out, bytes, port, bytes);
	if (!write_all(s, (const char *)out, bytes) || shutdown(s, SHUT_WR))
		die("vsock-trip: write");
	while (n > 0 && got < bytes) {
		n = read(s, (char *)in + got, bytes - got);
		got += n > 0 ? (size_t)n : 0;
	}
	if (got != bytes || memcmp(in, out, bytes) || read(s, in, 1))
		die("vsock-trip: not the same");
	printf("same %zu\n", bytes);
	return 0;
}

static int vsock_hold(unsigned port)
{
	int s = vsock_connect(port);
	ssize_t n;
	char c;

	printf("held\n");
	fflush(stdout);
	n = read(s, &c, 1);
	printf("ended: %s\n", n < 0 ? strerror(errno) : n ? "a byte" : "end of file");
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 2 ? argv[1] : "";

	if (!strcmp(verb, "scribble") && argc == 6)
		return scribble(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0), (unsigned)atoi(argv[5]));
	if (!strcmp(verb, "records") && argc == 5)
		return records(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	if (!strcmp(verb, "check") && argc == 5)
		return check(argv[2], strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	if (!strcmp(verb, "serve") && argc == 3)
		return serve(atoi(argv[2]));
	if (!strcmp(verb, "trips") && argc == 5)
		return trips(argv[2], atoi(argv[3]), atof(argv[4]));
	if (!strcmp(verb, "vsock-serve") && argc == 3)
		return vsock_serve((unsigned)atoi(argv[2]));
	if (!strcmp(verb, "vsock-trip") && argc == 4)
		return vsock_trip((unsigned)atoi(argv[2]), strtoul(argv[3], NULL, 0));
	if (!strcmp(verb, "vsock-hold") && argc == 3)
		return vsock_hold((unsigned)atoi(argv[2]));
	fprintf(stderr, "usage: see the head of tests/peer/debian/tool.c\n");
	return 2;
}
