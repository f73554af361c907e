/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/util.h"
#include "vm/viewers.h"

struct viewers {
	struct loop *loop;
	struct bus *bus;
	struct screen *screen;
	struct input *input;
	struct watch watch;
	struct input_event state; /* what is to be told */
};

/*
 * The state is told again whenever somebody begins to look, so one that is lost (the line is full as nobody reads it) is not
 * missed.
 */
static void tell(struct viewers *v)
{
	if (v->watch.fd >= 0)
		send(v->watch.fd, &v->state, sizeof v->state, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void viewers_state(void *arg, uint32_t leds, enum input_pointer pointer)
{
	struct viewers *v = arg;

	v->state = (struct input_event){INPUT_STATE, 0, (int32_t)leds, (int32_t)pointer};
	tell(v);
}

void viewers_events(struct viewers *v, const void *data, size_t len)
{
	struct input_event ev[INPUT_EVENTS];
	size_t n = min_u64(len / sizeof *ev, INPUT_EVENTS);

	memcpy(ev, data, n * sizeof *ev);
	bus_lock(v->bus);
	input_events(v->input, ev, (unsigned)n);
	for (size_t i = 0; i < n; i++)
		if (ev[i].type == INPUT_VIEWERS) {
			if (v->screen)
				screen_viewers(v->screen, ev[i].a > 0 ? (unsigned)ev[i].a : 0);
			input_update(v->input);
			tell(v);
		}
	bus_unlock(v->bus);
}

static void ready(struct watch *w, uint32_t events)
{
	struct viewers *v = CONTAINER_OF(w, struct viewers, watch);
	struct input_event ev[INPUT_EVENTS];
	ssize_t n = recv(w->fd, ev, sizeof ev, MSG_DONTWAIT);

	(void)events;
	if (n > 0)
		viewers_events(v, ev, (size_t)n);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		loop_del(v->loop, w); /* the supervisor holds the other end: it is gone, and this machine ends soon */
}

int viewers_new(struct viewers **out, struct loop *l, struct bus *b, struct screen *screen, int fd, struct err *e)
{
	struct viewers *v = xcalloc(1, sizeof *v);
	int rc;

	v->loop = l;
	v->bus = b;
	v->screen = screen;
	v->watch = (struct watch){.fd = fd, .ready = ready};
	v->state.type = INPUT_STATE;
	rc = fd < 0 ? 0 : loop_add(l, &v->watch, EPOLLIN);
	if (rc) {
		free(v);
		return err_set(e, -rc, "--input-fd %d: %s", fd, strerror(-rc));
	}
	*out = v;
	return 0;
}

void viewers_input(struct viewers *v, struct input *in)
{
	v->input = in;
}

void viewers_free(struct viewers *v)
{
	if (!v)
		return;
	loop_del(v->loop, &v->watch);
	free(v);
}
