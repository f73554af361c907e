/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "rig.h"

void rig_fail(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: %s\n", file, line, what);
	abort();
}

/* --- the server ---------------------------------------------------------------------------------- */

static void on_input(void *arg, const struct input_event *ev, unsigned n)
{
	struct rig *g = arg;

	pthread_mutex_lock(&g->lock);
	for (unsigned i = 0; i < n; i++)
		if (ev[i].type != INPUT_VIEWERS && g->nev < RIG_EVENTS)
			g->ev[g->nev++] = ev[i];
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

static int on_resize(void *arg, const struct resize_wish *w, unsigned n)
{
	struct rig *g = arg;

	pthread_mutex_lock(&g->lock);
	assert(n <= 8);
	memcpy(g->wish, w, n * sizeof *w);
	g->nwishes = n;
	pthread_mutex_unlock(&g->lock);
	return g->wish_result;
}

static void on_call(struct watch *w, uint32_t events)
{
	struct rig *g = CONTAINER_OF(w, struct rig, call);
	uint64_t n;

	(void)events;
	assert(read(w->fd, &n, 8) == 8);
	g->fn(g->arg);
	pthread_mutex_lock(&g->lock);
	g->called = true;
	pthread_cond_broadcast(&g->cond);
	pthread_mutex_unlock(&g->lock);
}

void rig_call(struct rig *g, void (*fn)(void *arg), void *arg)
{
	uint64_t one = 1;

	g->fn = fn;
	g->arg = arg;
	g->called = false;
	assert(write(g->call.fd, &one, 8) == 8);
	pthread_mutex_lock(&g->lock);
	while (!g->called)
		pthread_cond_wait(&g->cond, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

static void *run(void *arg)
{
	struct rig *g = arg;

	assert(!loop_run(g->loop));
	return NULL;
}

void rig_start(struct rig *g, const struct rfb_server_config *c, uint32_t w, uint32_t h)
{
	struct err e = {0};
	int ro[3];

	memset(g, 0, sizeof *g);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->cond, NULL);
	g->loop = loop_new();
	g->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (unsigned i = 0; i < 3; i++) {
		g->fd[i] = scanout_create("test", &e);
		assert(g->fd[i] >= 0);
		ro[i] = scanout_reader(g->fd[i], &e);
		assert(!scanout_open(&g->out[i], g->fd[i], g->event_fd, &e));
	}
	if (w) {
		assert(scanout_mode(g->out[1], w, h, &g->s[1]));
		scanout_commit(g->out[1]);
	}
	assert(!display_new(&g->display, g->loop, ro, 3, g->event_fd, &e));
	for (unsigned i = 0; i < 3; i++)
		close(ro[i]);
	if (c)
		g->c = *c;
	g->auth = (struct rfb_auth_config){.none = true};
	g->c.loop = g->loop;
	g->c.display = g->display;
	g->c.name = g->c.name ? g->c.name : "test";
	g->c.input = on_input;
	g->c.resize = on_resize;
	g->c.arg = g;
	g->call = (struct watch){.fd = eventfd(0, EFD_CLOEXEC), .ready = on_call};
	assert(!loop_add(g->loop, &g->call, EPOLLIN));
	assert(!rfb_server_new(&g->server, &g->c, &e));
	assert(!rfb_server_run(g->server, &e));
	assert(!pthread_create(&g->thread, NULL, run, g));
}

void rig_stop(struct rig *g)
{
	loop_stop(g->loop);
	pthread_join(g->thread, NULL);
	rfb_server_free(g->server);
	display_free(g->display);
	loop_del(g->loop, &g->call);
	loop_free(g->loop);
	close(g->call.fd);
	for (unsigned i = 0; i < 3; i++) {
		scanout_close(g->out[i]);
		close(g->fd[i]);
	}
	close(g->event_fd);
	pthread_mutex_destroy(&g->lock);
	pthread_cond_destroy(&g->cond);
}

unsigned rig_events(struct rig *g, unsigned n)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * 1000000ull;
	unsigned have = 0;

	while (now_ns() < end) {
		pthread_mutex_lock(&g->lock);
		have = g->nev;
		pthread_mutex_unlock(&g->lock);
		if (have >= n)
			break;
		usleep(1000);
	}
	return have;
}

struct stat_call {
	struct rig *g;
	char text[8192];
};

static void get_stats(void *arg)
{
	struct stat_call *c = arg;

	rfb_server_stats(c->g->server, c->text, sizeof c->text);
}

uint64_t rig_stat(struct rig *g, const char *name)
{
	static struct stat_call c;
	char key[64];
	char *at;

	c.g = g;
	c.text[0] = '\n';
	rig_call(g, get_stats, &c);
	snprintf(key, sizeof key, "%s ", name);
	for (at = c.text; at && strncmp(at, key, strlen(key)); at = at ? at + 1 : NULL)
		at = strchr(at, '\n');
	assert(at);
	return strtoull(at + strlen(key), NULL, 10);
}

void rig_mode(struct rig *g, unsigned head, uint32_t w, uint32_t h)
{
	if (w) {
		assert(scanout_mode(g->out[head], w, h, &g->s[head]));
	} else {
		scanout_off(g->out[head]);
		g->s[head] = (struct surface){0};
	}
	scanout_commit(g->out[head]);
}

struct state_call {
	struct rig *g;
	uint32_t leds;
	enum input_pointer pointer;
};

static void set_state(void *arg)
{
	struct state_call *c = arg;

	rfb_server_state(c->g->server, c->leds, c->pointer);
}

void rig_state(struct rig *g, uint32_t leds, enum input_pointer pointer)
{
	rig_call(g, set_state, &(struct state_call){g, leds, pointer});
}

/* --- drawing -------------------------------------------------------------------------------------- */

uint32_t rig_random(void)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	return x ^= x << 5;
}

void rig_fill(struct rig *g, struct rect r, uint32_t colour)
{
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			*surface_row(&g->s[1], x, y) = colour;
	scanout_damage(g->out[1], r);
}

void rig_noise(struct rig *g, struct rect r)
{
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			*surface_row(&g->s[1], x, y) = rig_random();
	scanout_damage(g->out[1], r);
}

void rig_smooth(struct rig *g, struct rect r, uint32_t t)
{
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			*surface_row(&g->s[1], x, y) = ((x + t) & 0xff) << 16 | ((y * 2 + t) & 0xff) << 8 | ((x + y) & 0xfc) |
				(rig_random() & 3);
	scanout_damage(g->out[1], r);
}

void rig_scroll(struct rig *g, uint32_t lines)
{
	struct surface *s = &g->s[1];

	memmove(s->px, s->px + (size_t)lines * s->stride, (size_t)(s->h - lines) * s->stride);
	scanout_damage(g->out[1], (struct rect){0, 0, s->w, s->h});
	rig_noise(g, (struct rect){0, s->h - lines, s->w / 3, lines});
}

void rig_commit(struct rig *g)
{
	scanout_commit(g->out[1]);
}

/* --- viewers ---------------------------------------------------------------------------------------- */

struct add_call {
	struct rig *g;
	int fd;
};

static void add(void *arg)
{
	struct add_call *c = arg;
	struct rfb_stream *st = rfb_stream_socket(c->fd);

	assert(st);
	rfb_server_add(c->g->server, st, &c->g->auth, true);
}

void viewer_raw(struct viewer *v, struct rig *g)
{
	int s[2];

	memset(v, 0, sizeof *v);
	v->g = g;
	assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s));
	v->fd = s[0];
	rig_call(g, add, &(struct add_call){g, s[1]});
}

void viewer_send(struct viewer *v, const void *p, size_t n)
{
	const uint8_t *at = p;

	while (n) {
		ssize_t k = send(v->fd, at, n, MSG_NOSIGNAL);

		if (k < 0)
			return; /* the server has closed: the test sees that when it reads */
		at += k;
		n -= (size_t)k;
	}
}

static void fill(struct viewer *v, size_t n)
{
	while (v->len < n) {
		ssize_t k;

		if (v->cap < n + 65536) {
			v->cap = n + 65536;
			v->in = realloc(v->in, v->cap);
			assert(v->in);
		}
		k = recv(v->fd, v->in + v->len, v->cap - v->len, 0);
		CHECK(k > 0);
		v->len += (size_t)k;
	}
}

static void drop(struct viewer *v, size_t n)
{
	assert(n <= v->len);
	v->len -= n;
	memmove(v->in, v->in + n, v->len);
}

static uint32_t be(const uint8_t *p, unsigned n)
{
	uint32_t x = 0;

	while (n--)
		x = x << 8 | *p++;
	return x;
}

void viewer_open(struct viewer *v, struct rig *g)
{
	uint32_t w, h, n;

	viewer_raw(v, g);
	fill(v, 12);
	CHECK(!memcmp(v->in, "RFB 003.008\n", 12));
	drop(v, 12);
	viewer_send(v, "RFB 003.008\n", 12);
	fill(v, 2);
	CHECK(v->in[0] == 1 && v->in[1] == 1);
	drop(v, 2);
	viewer_send(v, "\1", 1);
	fill(v, 4);
	CHECK(!be(v->in, 4));
	drop(v, 4);
	viewer_send(v, "\1", 1);
	fill(v, 24);
	w = be(v->in, 2);
	h = be(v->in + 2, 2);
	n = be(v->in + 20, 4);
	CHECK(rfb_format_get(&v->format, v->in + 4) && n < sizeof v->name);
	fill(v, 24 + n);
	memcpy(v->name, v->in + 24, n);
	v->name[n] = '\0';
	drop(v, 24 + n);
	CHECK(!rfb_decoder_init(&v->d, w, h));
	v->d.format = v->format;
}

void viewer_close(struct viewer *v)
{
	close(v->fd);
	free(v->in);
	rfb_decoder_fini(&v->d);
}

static void put(uint8_t *p, unsigned n, uint32_t x)
{
	while (n--) {
		p[n] = (uint8_t)x;
		x >>= 8;
	}
}

void viewer_encodings(struct viewer *v, unsigned n, const int32_t *e)
{
	uint8_t *p = calloc(1, 4 + 4 * (size_t)n);

	assert(p);
	p[0] = 2;
	put(p + 2, 2, n);
	v->d.tight_png = false;
	for (unsigned i = 0; i < n; i++) {
		put(p + 4 + 4 * (size_t)i, 4, (uint32_t)e[i]);
		v->d.tight_png |= e[i] == RFB_TIGHT_PNG;
	}
	viewer_send(v, p, 4 + 4 * (size_t)n);
	free(p);
}

void viewer_format(struct viewer *v, const struct rfb_format *f)
{
	struct buf b = {0};

	buf_be32(&b, 0);
	rfb_format_put(&b, f);
	viewer_send(v, b.p, b.len);
	v->format = v->d.format = *f;
	if (!f->true_colour) {
		struct buf map = {0};

		rfb_colour_map(&v->d.format, &map);
		buf_fini(&map);
	}
	buf_fini(&b);
}

void viewer_ask(struct viewer *v, bool incremental, struct rect r)
{
	uint8_t p[10] = {3, incremental};

	put(p + 2, 2, r.x);
	put(p + 4, 2, r.y);
	put(p + 6, 2, r.w);
	put(p + 8, 2, r.h);
	viewer_send(v, p, sizeof p);
}

void viewer_ask_all(struct viewer *v, bool incremental)
{
	viewer_ask(v, incremental, (struct rect){0, 0, v->d.w, v->d.h});
}

void viewer_continuous(struct viewer *v, bool on)
{
	uint8_t p[10] = {150, on};

	put(p + 6, 2, v->d.w);
	put(p + 8, 2, v->d.h);
	viewer_send(v, p, sizeof p);
	v->continuous = on;
}

void viewer_key(struct viewer *v, bool down, uint32_t keysym)
{
	uint8_t p[8] = {4, down};

	put(p + 4, 4, keysym);
	viewer_send(v, p, sizeof p);
}

void viewer_xt(struct viewer *v, bool down, uint32_t xt)
{
	uint8_t p[12] = {255, 0, 0, down};

	put(p + 8, 4, xt);
	viewer_send(v, p, sizeof p);
}

void viewer_pointer(struct viewer *v, uint8_t buttons, uint16_t x, uint16_t y)
{
	uint8_t p[6] = {5, buttons};

	put(p + 2, 2, x);
	put(p + 4, 2, y);
	viewer_send(v, p, sizeof p);
}

void viewer_fence(struct viewer *v, uint32_t flags, const void *payload, unsigned n)
{
	uint8_t p[9 + 255] = {248};

	put(p + 4, 4, flags);
	p[8] = (uint8_t)n;
	memcpy(p + 9, payload, n);
	viewer_send(v, p, 9 + n);
}

void viewer_set_size(struct viewer *v, uint16_t w, uint16_t h, unsigned n, const struct rfb_decode_screen *s)
{
	uint8_t p[8 + 16 * 255] = {251};

	put(p + 2, 2, w);
	put(p + 4, 2, h);
	p[6] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *q = p + 8 + 16 * (size_t)i;

		put(q, 4, s[i].id);
		put(q + 4, 2, s[i].x);
		put(q + 6, 2, s[i].y);
		put(q + 8, 2, s[i].w);
		put(q + 10, 2, s[i].h);
	}
	viewer_send(v, p, 8 + 16 * (size_t)n);
}

static size_t on_fence(struct viewer *v)
{
	uint32_t flags;
	unsigned n;

	if (v->len < 9 || v->len < 9u + v->in[8])
		return 0;
	n = v->in[8];
	flags = be(v->in + 4, 4);
	CHECK(n <= 64);
	if (flags & 1u << 31) {
		v->fences++;
		if (!v->no_fences)
			viewer_fence(v, flags & 7, v->in + 9, n);
	} else {
		v->fence_answers++;
		if (flags & 4)
			v->format = v->d.format = v->next;
		v->fence_flags = flags;
		v->fence_len = n;
		memcpy(v->fence, v->in + 9, n);
	}
	return 9 + n;
}

static size_t on_cut(struct viewer *v)
{
	int32_t n;

	if (v->len < 8)
		return 0;
	n = (int32_t)be(v->in + 4, 4);
	if (n < 0)
		n = -n;
	if (v->len < 8 + (size_t)n)
		return 0;
	v->cuts++;
	snprintf(v->cut, sizeof v->cut, "%.*s", n < 200 ? n : 200, (char *)v->in + 8);
	return 8 + (size_t)n;
}

static size_t on_update(struct viewer *v)
{
	size_t at = 0;
	bool was;

	/* rectangle by rectangle, to count them */
	do {
		unsigned before = v->d.nrects;
		ssize_t k;

		was = v->d.updating;
		k = rfb_decode_update(&v->d, v->in + at, v->len - at);
		if (k < 0)
			rig_fail("decoder", __LINE__, v->d.why);
		if (!k)
			return at;
		at += (size_t)k;
		v->rects += v->d.nrects - (was ? before : 0);
	} while (v->d.updating && at < v->len);
	if (!v->d.updating) {
		v->updates++;
		if (!v->manual && !v->continuous)
			viewer_ask_all(v, true);
	}
	return at;
}

/* One message, or a part of an update */
static bool take(struct viewer *v)
{
	static uint32_t map[256];
	size_t used = 0;
	ssize_t k;

	if (!v->len)
		return false;
	if (v->d.updating || v->in[0] == 0) {
		used = on_update(v);
	} else if (v->in[0] == 1) {
		k = rfb_decode_colour_map(&v->d, v->in, v->len, map);
		CHECK(k >= 0);
		used = (size_t)k;
		v->colour_maps += k > 0;
	} else if (v->in[0] == 3) {
		used = on_cut(v);
	} else if (v->in[0] == 150) {
		used = 1;
		v->ends++;
	} else if (v->in[0] == 248) {
		used = on_fence(v);
	} else {
		CHECK(!"a message of unknown type");
	}
	drop(v, used);
	return used;
}

bool viewer_poll(struct viewer *v, int ms)
{
	struct pollfd p = {.fd = v->fd, .events = POLLIN};
	ssize_t k;

	if (v->closed || poll(&p, 1, ms) <= 0)
		return false;
	if (v->cap - v->len < 65536) {
		v->cap = v->cap * 2 + 131072;
		v->in = realloc(v->in, v->cap);
		assert(v->in);
	}
	k = recv(v->fd, v->in + v->len, v->cap - v->len, MSG_DONTWAIT);
	if (k < 0 && errno == EAGAIN)
		return false;
	if (k <= 0) {
		v->closed = true;
		return false;
	}
	v->len += (size_t)k;
	v->bytes += (size_t)k;
	while (take(v))
		;
	return true;
}

void viewer_until(struct viewer *v, bool (*cond)(struct viewer *v), const char *what)
{
	uint64_t end = now_ns() + RIG_WAIT_MS * 1000000ull;

	while (!cond(v)) {
		if (now_ns() > end)
			rig_fail("waited in vain for", 0, what);
		viewer_poll(v, 5);
	}
}

/* What should be at x, y: the heads side by side, or the framebuffer, or black. */
static uint32_t expected(struct rig *g, uint32_t x, uint32_t y)
{
	unsigned first = 1;

	if (!g->s[1].px && !g->s[2].px) {
		if (!g->s[0].px)
			return 0;
		first = 0;
	}
	for (unsigned i = first; i < 3; i++) {
		struct surface *s = &g->s[i];

		if (!s->px)
			continue;
		if (x < s->w)
			return y < s->h ? *surface_row(s, x, y) & 0xffffff : 0;
		x -= s->w;
		if (!first)
			break;
	}
	return 0;
}

bool viewer_same(struct viewer *v)
{
	for (uint32_t y = 0; y < v->d.h; y++)
		for (uint32_t x = 0; x < v->d.w; x++)
			if (v->d.px[(size_t)y * v->d.w + x] != rfb_pixel(&v->d.format, expected(v->g, x, y)))
				return false;
	return true;
}

void viewer_sees(struct viewer *v)
{
	viewer_until(v, viewer_same, "the same picture");
}

bool viewer_is_closed(struct viewer *v)
{
	return v->closed;
}

void viewers_see(struct viewer *v, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		viewer_sees(&v[i]);
}
