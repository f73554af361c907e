/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "rfb/server-int.h"

enum { JOIN_MS = 200, ACCEPT_BURST = 16, THREADS_DEFAULT_MAX = 4, OWN_FDS = 4 };

/* --- what goes to the guest ------------------------------------------------------------------------ */

void server_input_flush(struct rfb_server *s)
{
	unsigned n = s->nbatch;

	s->nbatch = 0;
	if (n && s->c.input)
		s->c.input(s->c.arg, s->batch, n);
}

void server_input(struct rfb_server *s, struct input_event ev)
{
	if (s->nbatch == INPUT_EVENTS)
		server_input_flush(s);
	s->batch[s->nbatch++] = ev;
}

bool server_key_held(const struct rfb_server *s, const struct rfb_conn *but, unsigned key)
{
	for (const struct rfb_conn *c = s->conns; c; c = c->next)
		if (c != but && c->keys[key / 8] & 1u << key % 8)
			return true;
	return false;
}

bool server_button_held(const struct rfb_server *s, const struct rfb_conn *but, unsigned button)
{
	for (const struct rfb_conn *c = s->conns; c; c = c->next)
		if (c != but && c->buttons >> button & 1)
			return true;
	return false;
}

void server_viewers(struct rfb_server *s)
{
	unsigned n = 0;

	for (const struct rfb_conn *c = s->conns; c; c = c->next)
		n += c->state == CONN_NORMAL;
	if (n == s->nviewers)
		return;
	s->nviewers = n;
	server_input(s, (struct input_event){.type = INPUT_VIEWERS, .a = (int32_t)n});
	server_input_flush(s);
}

/* --- what goes to viewers ---------------------------------------------------------------------------- */

/* For each connection; what f does may close any of them, whose memory and links stay until the loop comes round. */
static void each(struct rfb_server *s, void (*f)(struct rfb_conn *c))
{
	for (struct rfb_conn *c = s->conns, *next; c; c = next) {
		next = c->next;
		if (c->state == CONN_NORMAL)
			f(c);
	}
}

static void on_resized(struct display_sink *k)
{
	struct rfb_server *s = CONTAINER_OF(k, struct rfb_server, sink);

	for (struct rfb_conn *c = s->conns; c; c = c->next)
		if (c->view && c->view->owner == c)
			view_relaid(c->view);
	each(s, conn_resized);
}

static void on_damaged(struct display_sink *k, const struct rect *r, unsigned n)
{
	struct rfb_server *s = CONTAINER_OF(k, struct rfb_server, sink);

	for (struct rfb_conn *c = s->conns; c; c = c->next)
		if (c->view && c->view->owner == c)
			view_damage(c->view, r, n);
	each(s, conn_pump);
}

static void cursor_changed(struct rfb_conn *c)
{
	const struct scanout_view_cursor *cursor = display_cursor(c->s->env.display);

	if (cursor->generation != c->cursor_generation && c->enc.can & (CAN_CURSOR | CAN_X_CURSOR | CAN_ALPHA_CURSOR))
		c->due |= DUE_CURSOR;
	conn_pump(c);
}

static void on_cursor(struct display_sink *k)
{
	each(CONTAINER_OF(k, struct rfb_server, sink), cursor_changed);
}

void rfb_server_state(struct rfb_server *s, uint32_t leds, enum input_pointer pointer)
{
	bool leds_new = !s->state_known || s->leds != leds, pointer_new = !s->state_known || s->pointer != pointer;

	s->state_known = true;
	s->leds = leds;
	s->pointer = pointer;
	for (struct rfb_conn *c = s->conns; c; c = c->next) {
		if (leds_new && c->enc.can & (CAN_LED | CAN_VMWARE_LED))
			c->due |= DUE_LED;
		if (pointer_new && c->enc.can & CAN_POINTER)
			c->due |= DUE_POINTER;
	}
	each(s, conn_pump);
}

void server_clipboard(struct rfb_server *s, struct rfb_conn *from, const char *text, size_t len)
{
	char *copy;

	s->clip_owner = from->number;
	/* who is given a text tends to say that its clipboard has changed */
	if (len == s->clip_len && (!len || !memcmp(text, s->clip_text, len)))
		return;
	copy = malloc(len + 1);
	if (!copy)
		return;
	if (len)
		memcpy(copy, text, len);
	copy[len] = '\0';
	free(s->clip_text);
	s->clip_text = copy;
	s->clip_len = len;
	for (struct rfb_conn *c = s->conns; c; c = c->next)
		c->clip_due = c != from;
	/* not now: from is in the middle of its message */
	timer_set(s->env.loop, &s->pumper, 1);
}

static void pump_all(struct timer *t)
{
	each(CONTAINER_OF(t, struct rfb_server, pumper), conn_pump);
}

/* --- coming and going ---------------------------------------------------------------------------------- */

static void reap(struct timer *t)
{
	struct rfb_server *s = CONTAINER_OF(t, struct rfb_server, reaper);
	struct rfb_conn *c = s->graves, *next;

	s->graves = NULL;
	for (; c; c = next) {
		next = c->grave;
		conn_free(c);
	}
}

void server_gone(struct rfb_server *s, struct rfb_conn *c)
{
	struct rfb_conn **p = &s->conns;

	while (*p && *p != c)
		p = &(*p)->next;
	assert(*p);
	*p = c->next;
	s->nconns--;
	/* c->next stays: somebody may be walking along it */
	c->grave = s->graves;
	s->graves = c;
	timer_set(s->env.loop, &s->reaper, 1);
	server_viewers(s);
}

/* Room for one more: the oldest of those that have not said who they are goes. */
static bool make_room(struct rfb_server *s)
{
	struct rfb_conn *oldest = NULL;

	if (s->nconns < s->c.max_clients)
		return true;
	for (struct rfb_conn *c = s->conns; c; c = c->next)
		if (c->state < CONN_INIT || c->state == CONN_CLOSING)
			oldest = c;
	if (!oldest)
		return false;
	s->n.dropped++;
	conn_close(oldest, "there are too many others, and it has not said who it is");
	return true;
}

int rfb_server_add(struct rfb_server *s, struct rfb_stream *st, const struct rfb_auth_config *auth, bool local)
{
	static struct log_rate rate;
	struct rfb_conn *c;

	if (!make_room(s)) {
		s->n.refused++;
		if (log_rate_ok(&rate))
			log_warn("a viewer was refused: there are %u", s->nconns);
		st->ops->close(st);
		return -EUSERS;
	}
	c = conn_new(s, st, auth, local);
	if (!c)
		return -ENOMEM;
	s->n.accepted++;
	c->next = s->conns;
	s->conns = c;
	s->nconns++;
	conn_flush(c);
	return 0;
}

static void listener_ready(struct watch *w, uint32_t events)
{
	struct listener *l = CONTAINER_OF(w, struct listener, w);

	(void)events;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		static struct log_rate rate;
		int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct rfb_stream *st;

		if (fd < 0) {
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && log_rate_ok(&rate))
				log_warn("cannot accept a viewer: %s", strerror(errno));
			return;
		}
		st = rfb_stream_socket(fd);
		if (st)
			rfb_server_add(l->s, st, &l->l->auth, l->l->local);
	}
}

/* --- the server ---------------------------------------------------------------------------------------- */

static int check_listener(const struct rfb_auth_config *a, const struct rfb_tls *tls, struct err *e)
{
	if (((a->tls_anonymous || a->tls_x509) && !tls) || (a->tls_x509 && !rfb_tls_has_cert(tls)))
		return err_set(e, EINVAL, "TLS without %s", tls ? "a certificate" : "credentials");
	return rfb_auth_check(a, e);
}

int rfb_server_new(struct rfb_server **out, const struct rfb_server_config *c, struct err *e)
{
	struct rfb_server *s = calloc(1, sizeof *s);
	int rc = 0;

	if (!s)
		return err_set(e, ENOMEM, "no memory for the VNC server");
	assert(c->nlisteners <= RFB_LISTENERS);
	s->c = *c;
	if (!s->c.max_clients || s->c.max_clients > RFB_CLIENTS)
		s->c.max_clients = RFB_CLIENTS;
	s->env.loop = c->loop;
	s->env.display = c->display;
	s->env.mover = mover_new();
	s->name = strdup(c->name ? c->name : "husk");
	s->blacklist = rfb_blacklist_new();
	s->reaper.fire = reap;
	s->pumper.fire = pump_all;
	s->joiner.fire = share_join;
	s->c.join_ms = c->join_ms ? c->join_ms : JOIN_MS;
	if (!s->env.mover || !s->name || !s->blacklist)
		rc = err_set(e, ENOMEM, "no memory for the VNC server");
	for (unsigned i = 0; !rc && i < c->nlisteners; i++)
		rc = check_listener(&c->listener[i].auth, c->tls, e);
	if (!rc)
		rc = rfb_pool_new(&s->env.pool, c->loop, e);
	if (rc) {
		rfb_server_free(s);
		return rc;
	}
	s->sink = (struct display_sink){.resized = on_resized, .damaged = on_damaged, .cursor = on_cursor};
	display_attach(c->display, &s->sink);
	*out = s;
	return 0;
}

static unsigned threads(const struct rfb_server *s)
{
	cpu_set_t set;

	if (s->c.no_threads)
		return 0;
	if (s->c.threads)
		return s->c.threads;
	if (sched_getaffinity(0, sizeof set, &set))
		return 1;
	return (unsigned)min_u64((unsigned)CPU_COUNT(&set), THREADS_DEFAULT_MAX);
}

int rfb_server_run(struct rfb_server *s, struct err *e)
{
	int rc = rfb_pool_start(s->env.pool, threads(s), e);

	for (unsigned i = 0; !rc && i < s->c.nlisteners; i++) {
		struct listener *l = &s->listener[i];

		l->s = s;
		l->l = &s->c.listener[i];
		l->w = (struct watch){.fd = l->l->fd, .ready = listener_ready};
		rc = loop_add(s->env.loop, &l->w, EPOLLIN);
		if (rc)
			err_set(e, -rc, "cannot watch a listening socket: %s", strerror(-rc));
	}
	return rc;
}

void rfb_server_free(struct rfb_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < RFB_LISTENERS; i++)
		if (s->listener[i].w.slot)
			loop_del(s->env.loop, &s->listener[i].w);
	/* the threads first: then no view is busy for longer */
	rfb_pool_free(s->env.pool);
	while (s->conns) {
		struct rfb_conn *c = s->conns;

		conn_close(c, "the server ends");
	}
	view_env_fini(&s->env);
	reap(&s->reaper);
	timer_set(s->env.loop, &s->reaper, 0);
	timer_set(s->env.loop, &s->pumper, 0);
	timer_set(s->env.loop, &s->joiner, 0);
	if (s->sink.resized)
		display_detach(s->env.display, &s->sink);
	rfb_blacklist_free(s->blacklist);
	mover_free(s->env.mover);
	free(s->clip_text);
	free(s->name);
	free(s);
}

unsigned rfb_server_fds(const struct rfb_server *s)
{
	return s->c.max_clients + OWN_FDS;
}

size_t rfb_server_stats(const struct rfb_server *s, char *buf, size_t len)
{
	const struct rfb_counters *n = &s->env.n;
	unsigned views = 0;
	int k;

	for (const struct rfb_conn *c = s->conns; c; c = c->next)
		views += c->view && c->view->owner == c;
	k = snprintf(buf, len,
		"viewers %u\nviews %u\nconnections %u\naccepted %" PRIu64 "\nrefused %" PRIu64 "\nwrong_passwords %" PRIu64 "\ndropped %" PRIu64
		"\nprotocol_errors %" PRIu64 "\nupdates %" PRIu64 "\nencoded %" PRIu64 "\nshared %" PRIu64 "\nrects %" PRIu64 "\ncopies %" PRIu64 "\npixels %" PRIu64
		"\nrefreshes %" PRIu64 "\nencode_us %" PRIu64 "\nto_viewers %" PRIu64 "\nfrom_viewers %" PRIu64 "\nkeys %" PRIu64
		"\nmoves %" PRIu64 "\n",
		s->nviewers, views, s->nconns, s->n.accepted, s->n.refused, s->n.failed, s->n.dropped, s->n.protocol_errors, s->n.updates, n->encoded, s->n.shared,
		n->rects, n->copies, n->pixels, n->refreshes, n->encode_ns / 1000, s->n.bytes_out, s->n.bytes_in, s->n.keys,
		s->n.moves);

	return k < 0 ? 0 : min_u64((uint64_t)k, len ? len - 1 : 0);
}
