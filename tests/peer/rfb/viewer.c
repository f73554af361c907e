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
 * The first encoding of a phase must be seen, and none that was not asked for. With cu,
 * which needs fence, the format changes behind a fence or behind the end of continuous updates, by turns.
 * -l: nobody has loss, q or not; -p: the pictures of those that were wrong go to viewer-N.ppm; -v: what came.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

#include "viewer.h"

enum { QUIET_MS = 250 };

static struct client clients[VIEWER_CLIENTS];
static unsigned nclients, steps;
struct session session;
static uint32_t *picture;
static bool pictures, verbose, never_lossy;
double patience = 20000;

double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

__attribute__((format(printf, 2, 3), noreturn)) void die(const struct client *c, const char *fmt, ...)
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
	if (p->n < VIEWER_LISTED)
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
	for (char *t = strtok_r(text, "+", &phases); t && c->nphases < VIEWER_PHASES; t = strtok_r(NULL, "+", &phases)) {
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

bool client_listed(const struct client *c, int32_t id)
{
	for (unsigned i = 0; i < c->nphases && i <= c->passed; i++)
		for (unsigned j = 0; j < c->phase[i].n; j++)
			if (c->phase[i].id[j] == id)
				return true;
	return id == RFB_RAW;
}

void client_saw(struct client *c, int32_t id, size_t bytes)
{
	unsigned i = 0;

	if (!client_listed(c, id))
		die(c, "encoding %d was not asked for", id);
	while (i < c->nseen && c->seen[i].id != id)
		i++;
	if (i == VIEWER_IDS)
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

/* Whatever comes within ms; sooner if enough() is true, which is asked after everything that has come. */
static bool serve(double ms, bool (*enough)(void))
{
	double end = now_ms() + ms;

	for (;;) {
		struct pollfd w[VIEWER_CLIENTS];
		double now = now_ms(), until = end;
		int n;

		if (enough && enough())
			return true;
		if (now >= end)
			return false;
		for (unsigned i = 0; i < nclients; i++) {
			struct client *c = &clients[i];
			bool sleeps = c->slow_until > now;

			if (c->end_at && now >= c->end_at)
				client_end(c);
			if (c->later.len && now >= c->later_at)
				client_later(c);
			w[i] = (struct pollfd){c->here && !sleeps ? c->fd : -1, POLLIN, 0};
			if (sleeps && c->slow_until < until)
				until = c->slow_until;
			if (c->end_at && c->end_at < until)
				until = c->end_at;
			if (c->later.len && c->later_at < until)
				until = c->later_at;
		}
		n = poll(w, nclients, (int)(until - now) + 1);
		for (unsigned i = 0; i < nclients && n > 0; i++)
			if (w[i].revents)
				client_read(&clients[i]);
	}
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
	for (i = 4; i < argc && strcmp(argv[i], "--") && nclients < VIEWER_CLIENTS; i++)
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
