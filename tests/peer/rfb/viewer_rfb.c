/* SPDX-License-Identifier: MIT */
/* What viewers say, and what they are told. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../../rfb/wire.h"
#include "viewer.h"

enum { IN_MIN = 1 << 16, SLOW_BYTES = 4096, SLOW_MS = 5, LATER_MS = 5 };
enum { MSG_UPDATE, MSG_COLOURS, MSG_BELL, MSG_CUT_TEXT, MSG_CONTINUOUS_END = 150, MSG_FENCE = 248 };
#define FENCE_SYNC_NEXT 4u
#define FENCE_REQUEST 0x80000000u

/* --- to the server ---------------------------------------------------------------------------------- */

static void client_send(struct client *c, struct buf *b)
{
	if (c->later.len && b != &c->later) { /* nothing between the fence and its message */
		buf_put(&c->later, b->p, b->len);
		buf_fini(b);
		return;
	}
	if (b->failed || send(c->fd, b->p, b->len, MSG_NOSIGNAL) != (ssize_t)b->len)
		die(c, "cannot send: %s", strerror(errno));
	buf_fini(b);
}

void client_later(struct client *c)
{
	client_send(c, &c->later);
	c->asked = true;
	if (!c->turning)
		c->continuous = c->phase[c->at].continuous;
}

static void put_area(struct buf *b, uint8_t type, bool flag, uint32_t w, uint32_t h)
{
	buf_u8(b, type);
	buf_u8(b, flag);
	buf_be32(b, 0);
	buf_be16(b, (uint16_t)w);
	buf_be16(b, (uint16_t)h);
}

static void ask(struct client *c, bool incremental)
{
	struct buf b = {0};

	put_area(&b, 3, incremental, c->d.w, c->d.h);
	client_send(c, &b);
	c->asked = true;
}

static void go_continuous(struct client *c, bool on)
{
	struct buf b = {0};

	put_area(&b, MSG_CONTINUOUS_END, on, c->d.w, c->d.h);
	client_send(c, &b);
	c->continuous |= on;
}

static void put_format(struct buf *b, const struct phase *p)
{
	buf_be32(b, 0);
	rfb_format_put(b, &p->wire);
}

static void put_encodings(struct buf *b, const struct phase *p)
{
	buf_be16(b, 0x200);
	buf_be16(b, (uint16_t)p->n);
	for (unsigned i = 0; i < p->n; i++)
		buf_be32(b, (uint32_t)p->id[i]);
}

/* From here on pixels come in the format of the phase. */
static void phase_begins(struct client *c)
{
	struct phase *p = &c->phase[c->at];

	c->d.format = p->format;
	c->map_due = !p->wire.true_colour;
	c->turning = c->by_end = false;
}

/* Nothing is on its way to us, but fences maybe. */
static void turn_quietly(struct client *c)
{
	struct phase *p = &c->phase[c->at];
	struct buf b = {0};

	put_format(&b, p);
	put_encodings(&b, p);
	client_send(c, &b);
	phase_begins(c);
	c->d.tight_png |= p->png;
	ask(c, false);
	if (p->continuous && c->offered)
		go_continuous(c, true);
}

/*
 * Updates are under way: what comes before the fence's answer is in the old format. The answer belongs to the message behind the
 * fence, which takes its time.
 */
static void turn_by_fence(struct client *c)
{
	struct phase *p = &c->phase[c->at];
	struct buf b = {0};

	buf_be32(&b, (uint32_t)MSG_FENCE << 24);
	buf_be32(&b, FENCE_REQUEST | FENCE_SYNC_NEXT);
	buf_put(&b, "\4turn", 5);
	client_send(c, &b);
	put_format(&c->later, p);
	put_encodings(&c->later, p);
	put_area(&c->later, 3, false, c->d.w, c->d.h);
	c->later_at = now_ms() + LATER_MS;
	c->d.tight_png |= p->png;
	c->asked = true;
	c->turning = true;
}

/*
 * The same by the end of continuous updates, as TigerVNC does it: what comes before EndOfContinuousUpdates is in the old format. Not at once, but at
 * any time between two updates: also when one is on its way.
 */
static void turn_by_end(struct client *c)
{
	c->turning = c->by_end = true;
	c->end_at = now_ms() + c->passed * 5 % 17;
}

void client_end(struct client *c)
{
	struct phase *p = &c->phase[c->at];
	struct buf b = {0};

	c->end_at = 0;
	put_area(&b, MSG_CONTINUOUS_END, false, c->d.w, c->d.h);
	client_send(c, &b);
	put_format(&c->later, p);
	put_encodings(&c->later, p);
	put_area(&c->later, 3, false, c->d.w, c->d.h);
	if (p->continuous)
		put_area(&c->later, MSG_CONTINUOUS_END, true, c->d.w, c->d.h);
	c->later_at = now_ms() + LATER_MS;
	c->d.tight_png |= p->png;
}

static void phase_next(struct client *c)
{
	/* every second time, as both are possible */
	bool by_fence = c->continuous && c->passed & 1, by_end = c->continuous && !by_fence;

	c->at = (c->at + 1) % c->nphases;
	c->passed++;
	c->turn = false;
	if (by_fence)
		turn_by_fence(c);
	else if (by_end)
		turn_by_end(c);
	else
		turn_quietly(c);
}

/* --- from the server --------------------------------------------------------------------------------- */

static void update_ends(struct client *c, bool pixels)
{
	c->updates++;
	c->stale = true;
	if (pixels) {
		if (c->map_due)
			die(c, "pixels before a colour map");
		if (!c->asked && !c->continuous)
			die(c, "an update that nobody has asked for");
		c->asked = false;
	}
	if (c->turn && !c->turning && !c->asked)
		phase_next(c);
	else if (!c->continuous || c->d.w != session.w || c->d.h != session.h)
		ask(c, true);
}

static ssize_t on_update(struct client *c)
{
	/* a rectangle at a time, to see what they are */
	struct rfb_decoder *d = &c->d;
	bool begins = !d->updating;
	uint32_t generation = d->generation;
	ssize_t used, k = 0;

	used = rfb_decode_update(d, c->in, begins ? min_u64(c->len, 4) : 0);
	if (used < 0 || (begins && !used))
		return used;
	while (d->updating) {
		k = rfb_decode_rect(d, c->in + used, c->len - (size_t)used);
		if (k <= 0)
			break;
		used += k;
		d->nrects++;
		d->left = d->encoding == RFB_LAST_RECT ? 0 : d->left - 1;
		d->updating = d->left;
		client_saw(c, d->encoding, (size_t)k);
	}
	if (d->updating && d->need)
		d->need += (size_t)used;
	if (generation != d->generation && c->continuous)
		go_continuous(c, true);
	return d->updating && k < 0 ? k : used;
}

static void on_colours(struct client *c, const uint32_t map[256])
{
	for (uint32_t v = 0; v < 256; v++)
		if (rfb_decode_xrgb(&c->phase[c->at].format, v) != map[v])
			die(c, "colour %u is %#x", v, map[v]);
	c->map_due = false;
}

static ssize_t on_fence(struct client *c)
{
	struct buf b = {0};
	uint32_t flags;
	unsigned n;

	if (c->len < 9 || c->len < 9u + c->in[8])
		return 0;
	flags = be32(c->in + 4);
	n = c->in[8];
	if (!client_listed(c, RFB_FENCE) || n > 64)
		die(c, "a fence");
	if (flags & FENCE_REQUEST) {
		buf_be32(&b, (uint32_t)MSG_FENCE << 24);
		buf_be32(&b, flags & 7);
		buf_put(&b, c->in + 8, n + 1);
		client_send(c, &b);
	} else if (n) {
		if (n != 4 || memcmp(c->in + 9, "turn", 4) || !c->turning)
			die(c, "an answer to a fence that we have not sent");
		phase_begins(c);
		if (!c->phase[c->at].continuous)
			go_continuous(c, false);
	}
	return 9 + (ssize_t)n;
}

static ssize_t on_continuous_end(struct client *c)
{
	if (!client_listed(c, RFB_CONTINUOUS_UPDATES))
		die(c, "an end of continuous updates");
	if (c->continuous && c->turning && c->by_end) {
		phase_begins(c);
		c->continuous = !c->later.len && c->phase[c->at].continuous;
	} else if (c->continuous) {
		c->continuous = false; /* we have asked for that */
		ask(c, true);
	} else if (!c->offered) {
		c->offered = true;
		if (c->phase[c->at].continuous)
			go_continuous(c, true);
	}
	return 1;
}

static ssize_t message(struct client *c)
{
	uint32_t map[256] = {0};
	ssize_t k;

	if (c->d.updating)
		return on_update(c);
	c->d.need = 1;
	switch (c->in[0]) {
	case MSG_UPDATE:
		k = on_update(c);
		if (k > 0 && c->continuous && c->turn && !c->turning)
			phase_next(c);
		return k;
	case MSG_COLOURS:
		k = rfb_decode_colour_map(&c->d, c->in, c->len, map);
		if (k > 0)
			on_colours(c, map);
		return k;
	case MSG_BELL:
		return 1;
	case MSG_CUT_TEXT:
		return c->len < 8 ? 0 : c->len < 8 + be32(c->in + 4) ? 0 : (ssize_t)(8 + be32(c->in + 4));
	case MSG_CONTINUOUS_END:
		return on_continuous_end(c);
	case MSG_FENCE:
		return on_fence(c);
	default:
		die(c, "message %u", c->in[0]);
	}
}

static void client_process(struct client *c)
{
	size_t at = 0;
	uint8_t *in = c->in;
	size_t len = c->len;

	while (at < len) {
		bool was = c->d.updating || c->in[0] == MSG_UPDATE;
		ssize_t k;

		c->d.need = 0;
		k = message(c);
		if (k < 0)
			die(c, "%s", c->d.why);
		at += (size_t)k;
		c->in = in + at;
		c->len = len - at;
		if (was && k && !c->d.updating)
			update_ends(c, c->d.pixels_sent);
		if (!k)
			break;
	}
	if (at == len)
		c->d.need = 0; /* it was counted from where a message begins that is done */
	memmove(in, in + at, len - at);
	c->in = in;
	c->len = len - at;
}

void client_read(struct client *c)
{
	size_t want = c->d.need > c->len + IN_MIN ? c->d.need : c->len + IN_MIN;
	ssize_t k;

	if (c->room < want) {
		c->room = want;
		c->in = realloc(c->in, want);
		if (!c->in)
			die(c, "no memory");
	}
	k = recv(c->fd, c->in + c->len, c->slow ? SLOW_BYTES : c->room - c->len, MSG_DONTWAIT);
	if (k < 0 && errno == EAGAIN)
		return;
	if (k <= 0)
		die(c, "the server has closed: %s", k ? strerror(errno) : "end");
	c->len += (size_t)k;
	c->bytes += (size_t)k;
	if (c->slow)
		c->slow_until = now_ms() + SLOW_MS;
	if (c->len >= c->d.need)
		client_process(c);
}

/* --- the beginning ------------------------------------------------------------------------------------ */

static void get(struct client *c, void *p, size_t n)
{
	if (recv(c->fd, p, n, MSG_WAITALL) != (ssize_t)n)
		die(c, "handshake: %s", strerror(errno));
}

static void put(struct client *c, const void *p, size_t n)
{
	if (send(c->fd, p, n, MSG_NOSIGNAL) != (ssize_t)n)
		die(c, "handshake: %s", strerror(errno));
}

void client_connect(struct client *c, const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	bool local = strchr(address, '/');
	struct timeval limit = {.tv_sec = (long)(patience / 1000)};
	uint8_t m[256];
	int one = 1;

	snprintf(un.sun_path, sizeof un.sun_path, "%s", address);
	c->fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	if (!local)
		setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(c->fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in, local ? sizeof un : sizeof in))
		die(c, "%s: %s", address, strerror(errno));
	get(c, m, 12);
	put(c, "RFB 003.008\n", 12);
	get(c, m, 1);
	get(c, m + 1, m[0]);
	if (!memchr(m + 1, RFB_SEC_NONE, m[0]))
		die(c, "not without a password");
	put(c, "\1", 1);
	get(c, m, 4);
	put(c, "\1", 1);
	get(c, m, 24);
	c->w = be16(m);
	c->h = be16(m + 2);
	if (be32(m + 20) >= sizeof m)
		die(c, "a name of %u bytes", be32(m + 20));
	if (rfb_decoder_init(&c->d, c->w, c->h))
		die(c, "no memory for %u x %u", c->w, c->h);
	get(c, m, be32(m + 20));
	c->here = c->stale = true;
	turn_quietly(c);
}
