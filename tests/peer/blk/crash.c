/* SPDX-License-Identifier: MIT */
/*
 * husk-blk is killed under load, again and again, and the next one takes over with the same in-flight record. Every request comes
 * back exactly once, every sector has what was last acknowledged, also on the disk in the end.
 *
 *	crash HUSK-BLK FOLDER KILLS [SEED] [-- options of husk-blk]
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "client.h"

enum { DISK = 48 << 20, SECTORS = DISK / 512, QUEUES = 2, DEPTH = 48, LARGEST = 64 << 10, REQUESTS = QUEUES * DEPTH };

#define CHECK(c, ...)                                                                                               \
	do {                                                                                                        \
		if (!(c)) {                                                                                         \
			fprintf(stderr, __VA_ARGS__);                                                               \
			fputc('\n', stderr);                                                                        \
			exit(1);                                                                                    \
		}                                                                                                   \
	} while (0)

struct job {
	bool out;
	uint32_t type, nsectors, generation;
	uint64_t sector;
};

static struct client client;
static struct job job[REQUESTS];
static uint32_t generation[SECTORS]; /* of the last write that was acknowledged; 0: never written */
static uint8_t busy[SECTORS];        /* something is in flight there */
static uint64_t rng = 1, acknowledged, begun;
static uint32_t next_generation = 1;
static int image, overlay = -1, map = -1;
static char **options;

static uint32_t rnd(uint32_t n)
{
	rng = rng * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(rng >> 33) % n;
}

static uint64_t word(uint64_t sector, uint32_t gen, unsigned i)
{
	return gen ? (sector << 32 | gen) * 0x9e3779b97f4a7c15ull + i : 0;
}

static void fill(uint8_t *p, uint64_t sector, uint32_t gen)
{
	for (unsigned i = 0; i < 64; i++)
		put_u64(p + 8ull * i, word(sector, gen, i));
}

static void verify(const uint8_t *p, uint64_t sector, uint32_t gen, const char *where)
{
	for (unsigned i = 0; i < 64; i++)
		CHECK(get_u64(p + 8ull * i) == word(sector, gen, i), "%s: sector %llu is not of generation %u", where,
			(unsigned long long)sector, gen);
}

static pid_t spawn(const char *program, bool restart, int *sock)
{
	const char *argv[40];
	char image_fd[12], sock_fd[12], overlay_fd[12], map_fd[12];
	int pair[2], n = 0;
	pid_t pid, parent = getpid();

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair: %s", strerror(errno));
	fcntl(pair[0], F_SETFD, FD_CLOEXEC);
	snprintf(image_fd, sizeof image_fd, "%d", image);
	snprintf(sock_fd, sizeof sock_fd, "%d", pair[1]);
	argv[n++] = program;
	argv[n++] = "--file-fd";
	argv[n++] = image_fd;
	argv[n++] = "--socket-fd";
	argv[n++] = sock_fd;
	argv[n++] = "--queues";
	argv[n++] = "2";
	if (restart)
		argv[n++] = "--restart";
	if (overlay >= 0) {
		snprintf(overlay_fd, sizeof overlay_fd, "%d", overlay);
		snprintf(map_fd, sizeof map_fd, "%d", map);
		argv[n++] = "--overlay-fd";
		argv[n++] = overlay_fd;
		argv[n++] = "--bitmap-fd";
		argv[n++] = map_fd;
	}
	for (char **o = options; *o && n < 38; o++)
		argv[n++] = *o;
	argv[n] = NULL;
	pid = fork();
	CHECK(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent && (getenv("CRASH_VERBOSE") || freopen("/dev/null", "w", stderr)))
			execv(program, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(pair[1]);
	*sock = pair[0];
	return pid;
}

/* One more request of queue q, if a slot and a place are free. */
static bool send_one(unsigned q)
{
	unsigned slot = 0;
	struct job *j;
	size_t off;

	while (slot < DEPTH && job[q * DEPTH + slot].out)
		slot++;
	if (slot == DEPTH)
		return false;
	j = &job[q * DEPTH + slot];
	off = (q * DEPTH + slot) * (size_t)LARGEST;
	j->type = rnd(3) ? T_OUT : rnd(12) ? T_IN : T_FLUSH;
	j->nsectors = j->type == T_FLUSH ? 0 : 1 + rnd(rnd(4) ? 16 : LARGEST / 512);
	/* most of it in a small part, so that what lands late would hit something newer */
	j->sector = rnd((rnd(4) ? SECTORS / 16 : SECTORS) - LARGEST / 512);
	for (unsigned i = 0; i < j->nsectors; i++)
		if (busy[j->sector + i])
			return false;
	memset(busy + j->sector, 1, j->nsectors);
	if (j->type == T_OUT) {
		j->generation = next_generation++;
		for (unsigned i = 0; i < j->nsectors; i++)
			fill(client.ram + client.data + off + 512ull * i, j->sector + i, j->generation);
	} else {
		memset(client.ram + client.data + off, 0xee, 512ull * j->nsectors);
	}
	j->out = true;
	client_send(&client.q[q], slot, j->type, j->type == T_FLUSH ? 0 : j->sector, off, 512ull * j->nsectors,
		512ull * (1 + rnd(16)));
	begun++;
	return true;
}

static unsigned reap(unsigned q)
{
	unsigned n = 0;
	int slot;

	for (; (slot = client_reap(&client.q[q])) >= 0; n++) {
		struct job *j;
		const uint8_t *data;

		CHECK(slot < DEPTH, "slot %d", slot);
		j = &job[q * DEPTH + (unsigned)slot];
		data = client.ram + client.data + (q * DEPTH + (unsigned)slot) * (size_t)LARGEST;
		CHECK(j->out, "request %d came back twice", slot);
		CHECK(!client_status(&client.q[q], (unsigned)slot), "request %d, type %u: status %u", slot, j->type,
			client_status(&client.q[q], (unsigned)slot));
		j->out = false;
		for (unsigned i = 0; i < j->nsectors; i++) {
			if (j->type == T_OUT)
				generation[j->sector + i] = j->generation;
			else
				verify(data + 512ull * i, j->sector + i, generation[j->sector + i], "read");
			busy[j->sector + i] = 0;
		}
		acknowledged++;
	}
	return n;
}

static unsigned outstanding(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < REQUESTS; i++)
		n += job[i].out;
	return n;
}

/* Requests go and come until so many have come back. */
static void load(unsigned want)
{
	while (want) {
		unsigned n = 0;

		for (unsigned q = 0; q < QUEUES; q++) {
			for (unsigned i = rnd(DEPTH); i; i--)
				send_one(q);
			client_kick(&client.q[q]);
			n += reap(q);
		}
		want -= n < want ? n : want;
		if (!n)
			for (unsigned q = 0; q < QUEUES; q++)
				for (unsigned i = 0; i < DEPTH; i++)
					if (job[q * DEPTH + i].out) {
						CHECK(client_wait(&client.q[q], 30000), "a request does not come back");
						break;
					}
	}
}

static void drain(void)
{
	for (unsigned q = 0; q < QUEUES; q++)
		for (unsigned i = 0; i < DEPTH; i++)
			while (job[q * DEPTH + i].out) {
				if (!reap(q))
					CHECK(client_wait(&client.q[q], 30000), "a request does not come back");
			}
}

static int file(const char *folder, off_t size)
{
	int fd = open(folder, O_TMPFILE | O_RDWR, 0600);

	CHECK(fd >= 0 && !ftruncate(fd, size), "%s: %s", folder, strerror(errno));
	return fd;
}

int main(int argc, char **argv)
{
	static char *none[] = {NULL};
	static uint8_t disk[DISK];
	unsigned kills, in_flight = 0;
	int sock, status = 0;
	pid_t pid = -1;

	CHECK(argc >= 4, "crash HUSK-BLK FOLDER KILLS [SEED] [-- options of husk-blk]");
	kills = (unsigned)atoi(argv[3]);
	options = none;
	for (int i = 4; i < argc; i++) {
		if (!strcmp(argv[i], "--")) {
			options = argv + i + 1;
			break;
		}
		rng = strtoull(argv[i], NULL, 0);
	}
	image = file(argv[2], DISK);
	if (options[0] && !strcmp(options[0], "--snapshot")) {
		overlay = file(argv[2], 0);
		map = memfd_create("map", 0);
	}
	client_init(&client, QUEUES, REQUESTS * (size_t)LARGEST);
	for (unsigned k = 0; k <= kills; k++) {
		pid = spawn(argv[1], k > 0, &sock);
		client_connect(&client, sock);
		CHECK(client.inflight_on && client.capacity == DISK, "no in-flight record, or a wrong size");
		if (k == kills)
			break;
		load(rnd(rnd(4) ? 60 : 600));
		for (unsigned spin = rnd(3000); spin; spin--)
			__asm__ volatile("pause");
		CHECK(!kill(pid, SIGKILL) && waitpid(pid, &status, 0) == pid, "kill: %s", strerror(errno));
		CHECK(WIFSIGNALED(status), "husk-blk ended by itself: %d (CRASH_VERBOSE=1 shows what it says)", status);
		in_flight += outstanding();
	}
	load(2000);
	drain();
	client_send(&client.q[0], 0, T_FLUSH, 0, 0, 0, 512);
	job[0] = (struct job){.out = true, .type = T_FLUSH};
	client_kick(&client.q[0]);
	drain();
	client_bye(&client);
	CHECK(waitpid(pid, &status, 0) == pid && !status, "husk-blk: %d", status);
	CHECK(pread(image, disk, DISK, 0) == DISK, "image: %s", strerror(errno));
	for (unsigned s = 0; s < SECTORS; s++)
		verify(disk + 512ull * s, s, overlay < 0 ? generation[s] : 0, "image");
	printf("%u kills, %llu requests, %u outstanding when killed; all came back once\n", kills,
		(unsigned long long)acknowledged, in_flight);
	CHECK(in_flight > kills || !kills, "hardly anything was in flight: no test");
	return 0;
}
