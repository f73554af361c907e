/* SPDX-License-Identifier: MIT */
/*
 * Many viewers of one server at the same time, on the strict decoder, which know what they should see:
 *   viewer [-l] [-p] [-v] [-s SECONDS] ADDRESS SESSION STEP CLIENT... -- PLAYER [ARGS...]
 * A player (bench/display) draws SESSION, and so do we. ADDRESS: a TCP port of 127.0.0.1, or the path of a Unix socket. STEP:
 *   lock      the next step when all viewers without loss show what is to be seen
 *   MS        so many milliseconds between steps, whatever comes
 * When the session has ended all of them, also those with loss, must show the same as we, in their formats, and stay so.
 * CLIENT: words with commas, and with + between what it becomes at its next update, in turn:
 *   raw copyrect rre hextile zlib tight tightpng zrle q0-q9 c0-c9 lastrect cursor xcursor size layout name fence cu
 *   32le 32be 24high bgr 30 565le 565be 555 444 332 111 map     its pixel format; 32le is the default
 *   late      comes when half of the steps are done (from the first phase: it goes on)
 *   slow      takes 4 kB every 5 ms at most
 * The first encoding of a phase must be seen, and none that was not asked for. cu needs fence where the format changes, too.
 * -l: nobody has loss, q or not; -p: the pictures of those that were wrong go to viewer-N.ppm; -v: what came.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "../../../bench/display/session.h"
#include "../../rfb/decode.h"
#include "../../rfb/wire.h"

enum { CLIENTS = 64, PHASES = 8, LISTED = 32, IDS = 32, IN_MIN = 1 << 16, SLOW_BYTES = 4096, SLOW_MS = 5, QUIET_MS = 250,
	LATER_MS = 5 };
enum { MSG_UPDATE, MSG_COLOURS, MSG_BELL, MSG_CUT_TEXT, MSG_CONTINUOUS_END = 150, MSG_FENCE = 248 };
#define FENCE_SYNC_NEXT 4u
#define FENCE_REQUEST 0x80000000u

struct phase {
	struct rfb_format wire, format; /* as it is asked for, and as pixels come then: not the same for a colour map */
	int32_t id[LISTED];
	unsigned n;
	bool lossy, fence, continuous, sizes, png;
};

struct client {
	const char *spec;
	struct phase phase[PHASES];
	unsigned nphases, at, passed;
	bool late, slow, any_lossy, here;
	int fd;
	struct rfb_decoder d;
	uint32_t w, h;                /* at first */
	uint8_t *in;
	size_t len, room;
	bool asked, continuous, offered, turn, turning;
	bool map_due;                 /* no pixels before a colour map */
	bool stale;                   /* something has come since it was compared */
	bool same;
	double slow_until;
	struct buf later;             /* is sent then */
	double later_at;
	struct {
		int32_t id;
		uint64_t rects, bytes;
	} seen[IDS];
	unsigned nseen;
	uint64_t updates, bytes;
};

static struct client clients[CLIENTS];
static unsigned nclients, steps;
static struct session session;
static uint32_t *picture;
static bool pictures, verbose, never_lossy;
static double patience = 20000;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

__attribute__((format(printf, 2, 3), noreturn)) static void die(const struct client *c, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "viewer: %s, step %u: ", c ? c->spec : "-", steps);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

/* --- what clients are ---------------------------------------------------------------------------- */

static const struct {
	const char *name;
	int32_t id;
} ids[] = {
	{"raw", RFB_RAW}, {"copyrect", RFB_COPYRECT}, {"rre", RFB_RRE}, {"hextile", RFB_HEXTILE}, {"zlib", RFB_ZLIB},
	{"tight", RFB_TIGHT}, {"tightpng", RFB_TIGHT_PNG}, {"zrle", RFB_ZRLE}, {"lastrect", RFB_LAST_RECT}, {"cursor", RFB_CURSOR},
	{"xcursor", RFB_X_CURSOR}, {"size", RFB_DESKTOP_SIZE}, {"layout", RFB_EXTENDED_DESKTOP_SIZE}, {"name", RFB_DESKTOP_NAME},
	{"fence", RFB_FENCE}, {"cu", RFB_CONTINUOUS_UPDATES},
};

static const struct {
	const char *name;
	struct rfb_format f;
} formats[] = {
	{"32le", {32, 24, false, true, 255, 255, 255, 16, 8, 0}}, {"32be", {32, 24, true, true, 255, 255, 255, 16, 8, 0}},
	{"24high", {32, 24, false, true, 255, 255, 255, 24, 16, 8}}, {"bgr", {32, 24, true, true, 255, 255, 255, 0, 8, 16}},
	{"30", {32, 30, false, true, 1023, 1023, 1023, 20, 10, 0}}, {"565le", {16, 16, false, true, 31, 63, 31, 11, 5, 0}},
	{"565be", {16, 16, true, true, 31, 63, 31, 11, 5, 0}}, {"555", {16, 15, false, true, 31, 31, 31, 10, 5, 0}},
	{"444", {16, 12, true, true, 15, 15, 15, 0, 4, 8}}, {"332", {8, 8, false, true, 7, 7, 3, 0, 3, 6}},
	{"111", {8, 3, false, true, 1, 1, 1, 2, 1, 0}}, {"map", {8, 8, false, false, 0, 0, 0, 0, 0, 0}},
};

static bool word_format(struct phase *p, const char *word)
{
	struct buf map = {0};

	for (unsigned i = 0; i < ARRAY_LEN(formats); i++)
		if (!strcmp(word, formats[i].name)) {
			p->wire = p->format = formats[i].f;
			if (!p->wire.true_colour)
				rfb_colour_map(&p->format, &map);
			buf_fini(&map);
			return true;
		}
	return false;
}

static bool word_encoding(struct phase *p, const char *word)
{
	int32_t id = 0;

	if ((word[0] == 'q' || word[0] == 'c') && word[1] >= '0' && word[1] <= '9' && !word[2]) {
		id = (word[0] == 'q' ? RFB_JPEG_QUALITY_0 : RFB_COMPRESS_0) + word[1] - '0';
		p->lossy |= word[0] == 'q' && !never_lossy;
	} else {
		unsigned i = 0;

		while (i < ARRAY_LEN(ids) && strcmp(word, ids[i].name))
			i++;
		if (i == ARRAY_LEN(ids))
			return false;
		id = ids[i].id;
	}
	if (p->n < LISTED)
		p->id[p->n++] = id;
	p->fence |= id == RFB_FENCE;
	p->continuous |= id == RFB_CONTINUOUS_UPDATES;
	p->sizes |= id == RFB_DESKTOP_SIZE || id == RFB_EXTENDED_DESKTOP_SIZE;
	p->png |= id == RFB_TIGHT_PNG;
	return true;
}

static void client_parse(struct client *c, const char *spec)
{
	char *text = strdup(spec), *phases = NULL, *words = NULL;

	c->spec = spec;
	for (char *t = strtok_r(text, "+", &phases); t && c->nphases < PHASES; t = strtok_r(NULL, "+", &phases)) {
		struct phase *p = &c->phase[c->nphases++];

		word_format(p, "32le");
		for (char *w = strtok_r(t, ",", &words); w; w = strtok_r(NULL, ",", &words)) {
			if (!strcmp(w, "late"))
				c->late = true;
			else if (!strcmp(w, "slow"))
				c->slow = true;
			else if (!word_format(p, w) && !word_encoding(p, w))
				die(c, "what is '%s'?", w);
		}
		if (!p->n)
			die(c, "no encodings");
		c->any_lossy |= p->lossy;
	}
	free(text);
}

static bool listed(const struct client *c, int32_t id)
{
	for (unsigned i = 0; i < c->nphases && i <= c->passed; i++)
		for (unsigned j = 0; j < c->phase[i].n; j++)
			if (c->phase[i].id[j] == id)
				return true;
	return id == RFB_RAW;
}

static void client_saw(struct client *c, int32_t id, size_t bytes)
{
	unsigned i = 0;

	if (!listed(c, id))
		die(c, "encoding %d was not asked for", id);
	while (i < c->nseen && c->seen[i].id != id)
		i++;
	if (i == IDS)
		die(c, "too many encodings");
	if (i == c->nseen)
		c->nseen++;
	c->seen[i].id = id;
	c->seen[i].rects++;
	c->seen[i].bytes += bytes;
}

/* --- what is to be seen ---------------------------------------------------------------------------- */

static bool session_step(void)
{
	static unsigned w, h;
	unsigned n = session_next(&session);

	if (!n)
		return false;
	if (session.w != w || session.h != h) {
		free(picture);
		w = session.w;
		h = session.h;
		picture = calloc((size_t)w * h, 4);
		if (!picture)
			die(NULL, "no memory");
	}
	for (unsigned i = 0; i < n; i++)
		session_draw(&session.rect[i], (uint8_t *)picture, (size_t)w * 4);
	for (unsigned i = 0; i < nclients; i++)
		clients[i].stale = true;
	return true;
}

struct channels {
	uint32_t r[256], g[256], b[256];
};

static const struct channels *channels(const struct rfb_format *f)
{
	static struct channels t;
	static struct rfb_format of;

	if (rfb_format_same(f, &of))
		return &t;
	of = *f;
	for (uint32_t v = 0; v < 256; v++) {
		t.r[v] = (v * f->rmax + 127) / 255 << f->rshift;
		t.g[v] = (v * f->gmax + 127) / 255 << f->gshift;
		t.b[v] = (v * f->bmax + 127) / 255 << f->bshift;
	}
	return &t;
}

/* Pixels that are wrong, -1: the size is; the first of them. A viewer of fixed size sees the corner, and black beside it. */
static long compare(const struct client *c, uint32_t *wx, uint32_t *wy, uint32_t *want)
{
	const struct channels *t = channels(&c->d.format);
	bool sizes = c->phase[c->at].sizes;
	uint32_t w = sizes ? session.w : c->w, h = sizes ? session.h : c->h;
	long wrong = 0;

	if (c->d.w != w || c->d.h != h)
		return -1;
	for (uint32_t y = 0; y < h; y++) {
		const uint32_t *got = c->d.px + (size_t)y * w, *from = y < session.h ? picture + (size_t)y * session.w : NULL;

		for (uint32_t x = 0; x < w; x++) {
			uint32_t p = from && x < session.w ? from[x] : 0, v = t->r[p >> 16 & 255] | t->g[p >> 8 & 255] | t->b[p & 255];

			if (got[x] == v)
				continue;
			if (!wrong++) {
				*wx = x;
				*wy = y;
				*want = v;
			}
		}
	}
	return wrong;
}

static bool same(struct client *c)
{
	uint32_t x, y, v;

	if (c->stale && c->here && !c->d.updating && !c->turning) {
		c->same = !compare(c, &x, &y, &v);
		c->stale = false;
	}
	return c->same && !c->d.updating && !c->turning;
}

static void write_ppm(const struct client *c)
{
	char path[40];
	FILE *f;

	snprintf(path, sizeof path, "viewer-%u.ppm", (unsigned)(c - clients));
	f = fopen(path, "wb");
	if (!f)
		die(c, "%s: %s", path, strerror(errno));
	fprintf(f, "P6 %u %u 255\n", c->d.w, c->d.h);
	for (size_t i = 0; i < (size_t)c->d.w * c->d.h; i++) {
		uint32_t v = rfb_decode_xrgb(&c->d.format, c->d.px[i]);

		fputc((int)(v >> 16 & 255), f);
		fputc((int)(v >> 8 & 255), f);
		fputc((int)(v & 255), f);
	}
	fclose(f);
}

/* Says what is wrong with whom; how many. */
static unsigned wrong(bool lossy)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nclients; i++) {
		struct client *c = &clients[i];
		uint32_t x = 0, y = 0, want = 0;
		long k;

		if (!c->here || same(c) || (c->any_lossy && !lossy))
			continue;
		n++;
		k = compare(c, &x, &y, &want);
		fprintf(stderr, "viewer: %s, step %u: %ux%u of %ux%u, %ld wrong", c->spec, steps, c->d.w, c->d.h, session.w, session.h, k);
		if (k > 0)
			fprintf(stderr, ", first %u,%u: %#x is to be %#x", x, y, c->d.px[(size_t)y * c->d.w + x], want);
		fprintf(stderr, "; %s%s%sphase %u of %u, %llu updates, last encoding %d\n", c->d.updating ? "in an update, " : "",
			c->turning ? "turning, " : "", c->asked ? "has asked, " : "", c->at, c->nphases, (unsigned long long)c->updates,
			c->d.encoding);
		if (pictures)
			write_ppm(c);
	}
	return n;
}

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
	c->turning = false;
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

static void phase_next(struct client *c)
{
	bool by_fence = c->phase[c->at].fence && c->continuous;

	c->at = (c->at + 1) % c->nphases;
	c->passed++;
	c->turn = false;
	if (by_fence)
		turn_by_fence(c);
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
	if (!listed(c, RFB_FENCE) || n > 64)
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
	if (!listed(c, RFB_CONTINUOUS_UPDATES))
		die(c, "an end of continuous updates");
	if (c->continuous) {
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
		if (k > 0 && c->continuous && c->phase[c->at].fence && c->turn && !c->turning)
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

static void client_read(struct client *c)
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

/* Whatever comes within ms; sooner if enough() is true, which is asked after everything that has come. */
static bool serve(double ms, bool (*enough)(void))
{
	double end = now_ms() + ms;

	for (;;) {
		struct pollfd w[CLIENTS];
		double now = now_ms(), until = end;
		int n;

		if (enough && enough())
			return true;
		if (now >= end)
			return false;
		for (unsigned i = 0; i < nclients; i++) {
			struct client *c = &clients[i];
			bool sleeps = c->slow_until > now;

			if (c->later.len && now >= c->later_at)
				client_send(c, &c->later);
			w[i] = (struct pollfd){c->here && !sleeps ? c->fd : -1, POLLIN, 0};
			if (sleeps && c->slow_until < until)
				until = c->slow_until;
			if (c->later.len && c->later_at < until)
				until = c->later_at;
		}
		n = poll(w, nclients, (int)(until - now) + 1);
		for (unsigned i = 0; i < nclients && n > 0; i++)
			if (w[i].revents)
				client_read(&clients[i]);
	}
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

static void client_connect(struct client *c, const char *address)
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

struct player {
	FILE *in, *out;
	pid_t pid;
};

static void player_says(struct player *p, const char *what)
{
	char line[300];

	if (!fgets(line, sizeof line, p->out) || strncmp(line, what, strlen(what)))
		die(NULL, "the player does not say %s", what);
}

static void player_start(struct player *p, char **argv)
{
	int in[2], out[2];

	if (pipe(in) || pipe(out))
		die(NULL, "no pipe");
	p->pid = fork();
	if (!p->pid) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[0]);
		close(in[1]);
		close(out[0]);
		close(out[1]);
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(1);
	}
	close(in[0]);
	close(out[1]);
	p->in = fdopen(in[1], "w");
	p->out = fdopen(out[0], "r");
	player_says(p, "ready");
}

static void player_tell(struct player *p, char c)
{
	fprintf(p->in, "%c\n", c);
	fflush(p->in);
}

/* --- all of it ------------------------------------------------------------------------------------------ */

static bool lossless_same(void)
{
	for (unsigned i = 0; i < nclients; i++)
		if (clients[i].here && !clients[i].any_lossy && !same(&clients[i]))
			return false;
	return true;
}

static bool all_same(void)
{
	for (unsigned i = 0; i < nclients; i++)
		if (clients[i].here && !same(&clients[i]))
			return false;
	return true;
}

static unsigned session_length(const char *path)
{
	struct session s = {0};
	unsigned n = 0;

	session_open(&s, path);
	while (session_next(&s))
		n++;
	munmap((void *)(uintptr_t)s.p, s.len);
	return n;
}

static void follow(struct player *p, const char *address, bool lock, double ms, unsigned length)
{
	for (steps = 1; steps < length; steps++) {
		for (unsigned i = 0; i < nclients; i++) {
			struct client *c = &clients[i];

			if (c->late && !c->here && steps >= length / 2)
				client_connect(c, address);
			c->turn = c->nphases > 1;
		}
		player_tell(p, 'n');
		player_says(p, "ok");
		session_step();
		if (lock && !serve(patience, lossless_same)) {
			wrong(false);
			die(NULL, "not all show the picture");
		}
		if (!lock)
			serve(ms, NULL);
	}
	for (unsigned i = 0; i < nclients; i++)
		clients[i].turn = false;
	if (!serve(patience, all_same)) {
		wrong(true);
		die(NULL, "not all show the picture in the end");
	}
	serve(QUIET_MS, NULL);
	if (!serve(patience, all_same)) {
		wrong(true);
		die(NULL, "not all go on showing the picture");
	}
}

/* In lock step each phase has had its update. */
static void check_seen(const struct client *c, bool lock)
{
	for (unsigned i = 0; i < (lock ? c->nphases : 1) && i <= c->passed; i++) {
		unsigned k = 0;

		while (k < c->nseen && c->seen[k].id != c->phase[i].id[0])
			k++;
		if (k == c->nseen)
			die(c, "never saw encoding %d", c->phase[i].id[0]);
	}
	if (lock && c->nphases > 1 && c->passed < c->nphases)
		die(c, "came to phase %u only", c->passed);
}

static void report(const struct client *c)
{
	printf("%s: %llu updates, %llu bytes", c->spec, (unsigned long long)c->updates, (unsigned long long)c->bytes);
	for (unsigned i = 0; i < c->nseen; i++)
		printf(" %d:%llu/%llu", c->seen[i].id, (unsigned long long)c->seen[i].rects, (unsigned long long)c->seen[i].bytes);
	putchar('\n');
}

int main(int argc, char **argv)
{
	struct player p = {0};
	unsigned length;
	bool lock;
	int i;

	for (; argc > 1 && argv[1][0] == '-' && argv[1][1] != '-'; argc--, argv++)
		switch (argv[1][1]) {
		case 'l':
			never_lossy = true;
			break;
		case 'p':
			pictures = true;
			break;
		case 'v':
			verbose = true;
			break;
		case 's':
			patience = 1000 * atof(argv[2]);
			argc--;
			argv++;
			break;
		}
	for (i = 4; i < argc && strcmp(argv[i], "--") && nclients < CLIENTS; i++)
		client_parse(&clients[nclients++], argv[i]);
	if (i + 1 >= argc || !nclients || strcmp(argv[i], "--")) {
		fputs("viewer [-l] [-p] [-v] [-s SECONDS] ADDRESS SESSION STEP CLIENT... -- PLAYER [ARGS...]\n", stderr);
		return 2;
	}
	lock = !strcmp(argv[3], "lock");
	length = session_length(argv[2]);
	session_open(&session, argv[2]);
	session_step();
	player_start(&p, argv + i + 1);
	for (unsigned k = 0; k < nclients; k++)
		if (!clients[k].late)
			client_connect(&clients[k], argv[1]);
	if (!serve(patience, lossless_same)) {
		wrong(false);
		die(NULL, "not all show the first picture");
	}
	follow(&p, argv[1], lock, atof(argv[3]), length);
	for (unsigned k = 0; k < nclients; k++) {
		if (verbose)
			report(&clients[k]);
		check_seen(&clients[k], lock);
		rfb_decoder_fini(&clients[k].d);
		free(clients[k].in);
	}
	player_tell(&p, 'q');
	waitpid(p.pid, NULL, 0);
	printf("%u viewers, %u updates of the screen\n", nclients, length);
	free(picture);
	return 0;
}
