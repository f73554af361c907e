/* SPDX-License-Identifier: MIT */
/*
 * A device process that is killed under load, again and again: whoever comes after it, with the same in-flight record,
 * finishes what was begun. The driver's look at it: every request comes back once, and right (peer_reap).
 */
#undef NDEBUG
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "peer.h"

enum { KILLS_MOST = 5000 };

static uint32_t seed = 1;

static unsigned rnd(unsigned n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

static pid_t child(struct peer *p, bool own)
{
	static struct host h;
	pid_t pid, parent = getpid();
	int pair[2];

	if (p->sock >= 0)
		close(p->sock);
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	pid = fork();
	assert(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(pair[0]);
		toy_slow = 1000;
		peer_serve(&h, own, pair[1]);
		_exit(1); /* only the signal ends it */
	}
	close(pair[1]);
	p->sock = pair[0];
	return pid;
}

/* How many requests of queue i it had begun when it died, by the record */
static unsigned begun(const struct virtq_inflight *f)
{
	unsigned n = 0;

	assert(f->version == 1 && f->desc_num <= TOY_SIZE);
	for (unsigned i = 0; i < f->desc_num; i++)
		n += f->desc[i].inflight;
	return n;
}

static void run(bool own, bool event_idx, unsigned kills)
{
	uint64_t features = PEER_FEATURES | (event_idx ? VIRTIO_F_EVENT_IDX : 0);
	unsigned in_flight[TOY_QUEUES] = {0}, middle = 0;
	uint8_t *record = NULL;
	struct peer p;
	pid_t pid = -1;

	peer_init(&p);
	for (unsigned i = 0; i < TOY_QUEUES; i++)
		peer_queue_new(&p, i, i ? TOY_SIZE : TOY_SIZE / 4, 0);
	for (unsigned k = 0; k <= kills; k++) {
		int status;

		pid = child(&p, own);
		peer_hello(&p, features, PEER_PROTOCOL);
		peer_memory(&p);
		if (!k) {
			peer_inflight_get(&p);
			record = mmap(NULL, p.inflight.mmap_size, PROT_READ, MAP_SHARED, p.inflight_fd, 0);
			assert(record != MAP_FAILED);
		}
		peer_inflight_set(&p);
		for (unsigned i = 0; i < TOY_QUEUES; i++)
			peer_queue_start(&p, i, p.q[i].used_idx);
		/* on a busy machine more are needed until one hits a queue at work: else there is nothing to see here */
		if (k == kills && !middle && kills < KILLS_MOST)
			kills++;
		if (k == kills)
			break;
		for (unsigned left = rnd(60); left;) {
			struct peer_queue *q = &p.q[rnd(TOY_QUEUES)];
			unsigned n = 0;

			while (rnd(8) && peer_send(q, 1 + rnd(TOY_MAX)))
				n++;
			if (n)
				peer_kick(q);
			n = peer_reap(q);
			left -= n < left ? n : left;
			if (!n && q->sent != q->back)
				peer_wait(q);
		}
		/* and some that it will hardly come to */
		for (unsigned i = 0; i < TOY_QUEUES; i++) {
			while (rnd(16) && peer_send(&p.q[i], 1 + rnd(TOY_MAX)))
				;
			peer_kick(&p.q[i]);
		}
		for (unsigned spin = rnd(3000); spin; spin--)
			__asm__ volatile("pause");
		assert(!kill(pid, SIGKILL));
		assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		for (unsigned i = 0; i < TOY_QUEUES; i++) {
			unsigned n = begun((void *)(record + i * virtq_inflight_size(TOY_SIZE)));

			in_flight[i] += n;
			middle += n != 0;
		}
	}
	for (unsigned i = 0; i < TOY_QUEUES; i++) {
		peer_drain(&p.q[i]);
		peer_some(&p.q[i], 100);
		assert(peer_queue_stop(&p, i) == p.q[i].avail_idx);
	}
	assert(!kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid);
	printf("%s%s: %u kills, %u of a queue at work, with %u and %u requests begun of %llu and %llu\n",
		own ? "own thread" : "loop", event_idx ? ", event index" : "", kills, middle, in_flight[0], in_flight[1],
		(unsigned long long)p.q[0].back, (unsigned long long)p.q[1].back);
	assert(middle);
	munmap(record, p.inflight.mmap_size);
	peer_fini(&p);
}

int main(int argc, char **argv)
{
	unsigned kills = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 120;

	if (argc > 2)
		seed = (uint32_t)strtoul(argv[2], NULL, 10);
	run(false, false, kills);
	run(false, true, kills);
	run(true, false, kills);
	run(true, true, kills);
	return 0;
}
