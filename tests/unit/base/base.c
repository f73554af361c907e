/* SPDX-License-Identifier: MIT */
/* Errors, the event loop, timers, descriptors over a socket. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fdpass.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/util.h"

static void errors(void)
{
	struct err e;
	char longer[2 * sizeof e.text];

	assert(err_set(&e, EINVAL, "disk %d: %s", 3, "no") == -EINVAL && e.code == EINVAL);
	assert(!strcmp(e.text, "disk 3: no"));
	assert(err_prefix(&e, "vm %s", "a") == -EINVAL && !strcmp(e.text, "vm a: disk 3: no"));
	memset(longer, 'x', sizeof longer);
	longer[sizeof longer - 1] = 0;
	err_set(&e, ENOMEM, "%s", longer);
	assert(strlen(e.text) == sizeof e.text - 1);
	err_prefix(&e, "p");
	assert(strlen(e.text) == sizeof e.text - 1 && !strncmp(e.text, "p: xx", 5));
	err_prefix(&e, "%s", longer);
	assert(strlen(e.text) == sizeof e.text - 1 && e.code == ENOMEM);
	assert(err_set(NULL, EIO, "nobody reads this") == -EIO);
}

static void logging(void)
{
	struct log_rate r = {0};
	unsigned passed = 0;
	char many[300];

	assert(log_debug_set("rfb,virtq") == 0);
	assert(log_debug_on("rfb") && log_debug_on("virtq") && !log_debug_on("vir") && !log_debug_on("rfbx"));
	assert(log_debug_set("all") == 0 && log_debug_on("anything"));
	memset(many, 'a', sizeof many);
	many[sizeof many - 1] = 0;
	assert(log_debug_set(many) == -EINVAL && log_debug_on("anything"));
	log_debug_set("");
	assert(!log_debug_on("rfb"));
	for (int i = 0; i < 100; i++)
		passed += log_rate_ok(&r);
	assert(passed >= 10 && passed <= 20); /* the second may change in between */
}

/* ---- watches ---- */

struct pipe_watch {
	struct watch w;
	struct loop *l;
	struct pipe_watch *victim; /* deleted when this one is called */
	int calls;
	bool stop;
};

static void pipe_ready(struct watch *w, uint32_t events)
{
	struct pipe_watch *p = CONTAINER_OF(w, struct pipe_watch, w);

	assert(events & EPOLLIN);
	p->calls++;
	if (p->victim) {
		loop_del(p->l, &p->victim->w);
		loop_del(p->l, &p->victim->w); /* harmless */
	}
	loop_del(p->l, w);
	if (p->stop)
		loop_stop(p->l);
}

static void watches(void)
{
	struct loop *l = loop_new();
	struct pipe_watch a = {.l = l}, b = {.l = l};
	int pa[2], pb[2];

	assert(l && !pipe(pa) && !pipe(pb));
	a.w = (struct watch){.fd = pa[0], .ready = pipe_ready};
	b.w = (struct watch){.fd = pb[0], .ready = pipe_ready};
	a.victim = &b;
	b.victim = &a;
	a.stop = b.stop = true;
	assert(!loop_add(l, &a.w, EPOLLIN) && !loop_add(l, &b.w, EPOLLIN));
	/* both are ready in one batch; whoever comes first deletes the other, which must not be called */
	assert(write(pa[1], "x", 1) == 1 && write(pb[1], "x", 1) == 1);
	assert(!loop_run(l));
	assert(a.calls + b.calls == 1);
	/* a slot that is used again does not get the old one's event */
	a.calls = b.calls = 0;
	a.victim = b.victim = NULL;
	assert(!loop_add(l, &b.w, 0) && !loop_mod(l, &b.w, EPOLLIN));
	assert(!loop_run(l) && b.calls == 1 && a.calls == 0);
	assert(loop_mod(l, &b.w, EPOLLIN) == -ENOENT);
	b.w.fd = -1;
	assert(loop_add(l, &b.w, EPOLLIN) == -EBADF && !b.w.slot);
	/* more than the first allocation holds */
	{
		struct pipe_watch many[40];

		memset(many, 0, sizeof many);
		for (int i = 0; i < 40; i++) {
			many[i] = (struct pipe_watch){
				.w = {.fd = dup(pa[0]), .ready = pipe_ready}, .l = l, .stop = i == 39};
			assert(many[i].w.fd >= 0 && !loop_add(l, &many[i].w, EPOLLIN));
		}
		assert(!loop_run(l) && many[39].calls == 1);
		for (int i = 0; i < 40; i++) {
			loop_del(l, &many[i].w);
			close(many[i].w.fd);
		}
	}
	loop_free(l);
	close(pa[0]);
	close(pa[1]);
	close(pb[0]);
	close(pb[1]);
}

/* ---- timers ---- */

enum { NTIMERS = 50 };
static struct shared {
	struct loop *l;
	struct timer t[NTIMERS];
	uint64_t due[NTIMERS], last;
	unsigned fired;
} sh;

static void timer_fired(struct timer *t)
{
	size_t i = (size_t)(t - sh.t);

	assert(sh.due[i] && now_ns() >= sh.due[i] && sh.due[i] >= sh.last);
	sh.last = sh.due[i];
	sh.due[i] = 0;
	if (++sh.fired == NTIMERS - 10)
		loop_stop(sh.l);
}

static void timer_late(struct timer *t)
{
	(void)t;
	loop_stop(sh.l);
}

static void *arm_from_afar(void *arg)
{
	usleep(20000);
	timer_set(sh.l, arg, now_ns() + 1000);
	return NULL;
}

static void timers(void)
{
	uint64_t base = now_ns() + 5000000;
	struct timer late = {.fire = timer_late};
	pthread_t th;

	sh.l = loop_new();
	for (unsigned i = 0; i < NTIMERS; i++) {
		sh.t[i].fire = timer_fired;
		sh.due[i] = base + i * 7919 % NTIMERS * 100000;
		timer_set(sh.l, &sh.t[i], sh.due[i] + 1000000000);
		timer_set(sh.l, &sh.t[i], sh.due[i]); /* moved */
	}
	for (unsigned i = 0; i < 10; i++) { /* and some taken back */
		timer_set(sh.l, &sh.t[i * 5], 0);
		sh.due[i * 5] = 0;
		timer_set(sh.l, &sh.t[i * 5], 0);
	}
	assert(!loop_run(sh.l) && sh.fired == NTIMERS - 10);
	/* a deadline that has passed fires soon, and one that another thread sets wakes the loop */
	timer_set(sh.l, &late, 1);
	assert(!loop_run(sh.l));
	assert(!pthread_create(&th, NULL, arm_from_afar, &late));
	assert(!loop_run(sh.l));
	pthread_join(th, NULL);
	loop_free(sh.l);
}

/* ---- descriptors ---- */

static void descriptors(void)
{
	int s[2], p[2], got[4], many[9];
	unsigned n;
	char buf[16];

	assert(!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, s) && !pipe(p));
	assert(!fd_send(s[0], "hello", 5, p, 2));
	n = 4;
	assert(fd_recv(s[1], buf, sizeof buf, got, &n) == 5 && n == 2 && !memcmp(buf, "hello", 5));
	assert(fcntl(got[0], F_GETFD) == FD_CLOEXEC);
	assert(write(got[1], "y", 1) == 1 && read(p[0], buf, 1) == 1 && buf[0] == 'y');
	close(got[0]);
	close(got[1]);
	/* more than wanted: the surplus is closed, not leaked */
	assert(!fd_send(s[0], "a", 1, p, 2));
	n = 1;
	assert(fd_recv(s[1], buf, sizeof buf, got, &n) == 1 && n == 1);
	close(got[0]);
	assert(!fd_send(s[0], "b", 1, p, 2));
	assert(fd_recv(s[1], buf, sizeof buf, NULL, NULL) == 1);
	assert(dup(p[0]) == got[0]); /* the lowest number is free again */
	close(got[0]);
	/* a datagram that does not fit is lost whole */
	assert(!fd_send(s[0], "0123456789abcdefg", 17, p, 1));
	n = 4;
	assert(fd_recv(s[1], buf, sizeof buf, got, &n) == -EMSGSIZE && n == 0);
	for (unsigned i = 0; i < 9; i++)
		many[i] = p[0];
	assert(fd_send(s[0], "c", 1, many, 9) == -EINVAL);
	close(s[0]);
	n = 4;
	assert(fd_recv(s[1], buf, sizeof buf, got, &n) == 0 && n == 0);
	assert(fd_send(s[1], "d", 1, NULL, 0) == -EPIPE);
	close(s[1]);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	errors();
	logging();
	watches();
	timers();
	descriptors();
	puts("base: all passed");
	return 0;
}
