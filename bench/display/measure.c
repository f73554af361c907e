/* SPDX-License-Identifier: MIT */
/*
 * An RFB client that steps a player through a session and counts what the server sends and what it costs:
 *   measure ADDRESS ENCODINGS MODE UPDATES QUIET_MS FIRST_MS PLAYER [ARGS...]
 * ADDRESS: a TCP port of 127.0.0.1, or the path of a Unix socket. ENCODINGS: names with commas: raw copyrect rre hextile zlib
 * tight tightpng zrle q0-q9 c0-c9 cu fence lastrect cursor. MODE:
 *   req       a viewer that always asks; the next step QUIET_MS after the last byte, FIRST_MS at most for the first one
 *   still:MS  the same, but nothing happens for MS before each step
 *   free:FPS  the player is stepped FPS times a second, whatever comes
 *   idle      connects, gets the first picture, then nothing is stepped for UPDATES * QUIET_MS ms: what does an idle viewer cost?
 *   nobody    no viewer at all: what the player itself, and drawing, cost the server's process
 *   +blocked  behind one of them (req+blocked): a second viewer has asked and reads nothing
 * A player says "ready PID" (of the server's process) on its output, then "ok" for each "n" it reads and has drawn; "q" ends it.
 * Output: one line of name=value: per step bytes, rectangles, updates, CPU ms of the server's threads (cpu), first and last byte in
 * ms after the step (p50, p95, max), per encoding rectangles and bytes, RSS of the server.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ENC_OTHER = 63, ENC_N = 64 };

struct client {
	int fd;
	uint8_t buf[1 << 20];
	size_t at, len;
	uint64_t total; /* bytes read from the socket */
	unsigned w, h;
	int cu_wanted, cu_on;
	unsigned updates, rects;
	uint64_t enc_rects[ENC_N], enc_bytes[ENC_N];
	double first, last; /* ms, of the bytes since first was set to 0 */
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void die(const char *why)
{
	fprintf(stderr, "measure: %s\n", why);
	exit(3);
}

static void fill(struct client *c)
{
	ssize_t n = read(c->fd, c->buf, sizeof c->buf);

	if (n <= 0)
		die("the server has closed the connection");
	c->at = 0;
	c->len = (size_t)n;
	c->total += (size_t)n;
	c->last = now_ms();
	if (c->first == 0)
		c->first = c->last;
}

static void get(struct client *c, void *to, size_t n)
{
	uint8_t *p = to;

	while (n) {
		size_t k;

		if (c->at == c->len)
			fill(c);
		k = c->len - c->at < n ? c->len - c->at : n;
		if (p) {
			memcpy(p, c->buf + c->at, k);
			p += k;
		}
		c->at += k;
		n -= k;
	}
}

static unsigned get8(struct client *c)
{
	uint8_t b;

	get(c, &b, 1);
	return b;
}

static unsigned get16(struct client *c)
{
	unsigned hi = get8(c);

	return hi << 8 | get8(c);
}

static uint32_t get32(struct client *c)
{
	uint32_t hi = get16(c);

	return hi << 16 | get16(c);
}

static void put(struct client *c, const void *p, size_t n)
{
	if (write(c->fd, p, n) != (ssize_t)n)
		die("cannot write to the server");
}

static uint64_t consumed(const struct client *c)
{
	return c->total - (c->len - c->at);
}

/* Tight's lengths: 7 bits, 7 bits, 8 bits */
static size_t compact(struct client *c)
{
	unsigned b = get8(c);
	size_t v = b & 127;

	if (b & 128) {
		b = get8(c);
		v |= (b & 127) << 7;
		if (b & 128)
			v |= (size_t)get8(c) << 14;
	}
	return v;
}

static void skip_tight(struct client *c, unsigned w, unsigned h)
{
	unsigned kind = get8(c) >> 4, colours;
	size_t n = (size_t)w * h * 3;

	if (kind == 8) {
		get(c, NULL, 3);
		return;
	}
	if (kind == 9 || kind == 10) {
		get(c, NULL, compact(c));
		return;
	}
	if (kind & 4 && get8(c) == 1) {
		colours = get8(c) + 1;
		get(c, NULL, colours * 3);
		n = colours == 2 ? (size_t)((w + 7) / 8) * h : (size_t)w * h;
	}
	get(c, NULL, n < 12 ? n : compact(c));
}

static void skip_hextile(struct client *c, unsigned w, unsigned h)
{
	for (unsigned y = 0; y < h; y += 16)
		for (unsigned x = 0; x < w; x += 16) {
			unsigned tw = w - x < 16 ? w - x : 16, th = h - y < 16 ? h - y : 16, mask = get8(c);

			if (mask & 1) {
				get(c, NULL, (size_t)tw * th * 4);
				continue;
			}
			get(c, NULL, (mask & 2 ? 4 : 0) + (mask & 4 ? 4 : 0));
			if (mask & 8)
				get(c, NULL, (size_t)get8(c) * (mask & 16 ? 6 : 2));
		}
}

/* One FramebufferUpdate; how many rectangles with pixels were in it. */
static unsigned update(struct client *c)
{
	unsigned n, real = 0;

	get8(c);
	n = get16(c);
	c->updates++;
	for (unsigned i = 0; i < n; i++) {
		uint64_t before = consumed(c);
		unsigned w, h, k;
		int32_t e;

		get32(c);
		w = get16(c);
		h = get16(c);
		e = (int32_t)get32(c);
		if (e == -224)
			break;
		c->rects++;
		switch (e) {
		case 0:
			get(c, NULL, (size_t)w * h * 4);
			break;
		case 1:
			get(c, NULL, 4);
			break;
		case 2: {
			uint32_t subs = get32(c);

			get(c, NULL, 4 + (size_t)subs * 12);
			break;
		}
		case 5:
			skip_hextile(c, w, h);
			break;
		case 6:
		case 16:
			get(c, NULL, get32(c));
			break;
		case 7:
		case -260:
			skip_tight(c, w, h);
			break;
		case -239:
			get(c, NULL, (size_t)w * h * 4 + (size_t)((w + 7) / 8) * h);
			break;
		case -223:
			c->w = w;
			c->h = h;
			break;
		case -308:
			get(c, NULL, 3 + (size_t)get8(c) * 16);
			break;
		case -258:
		case -257:
		case -313:
			break;
		default:
			fprintf(stderr, "measure: encoding %d\n", e);
			exit(3);
		}
		real += e >= 0 || e == -260;
		k = e >= 0 && e < ENC_OTHER ? (unsigned)e : ENC_OTHER;
		c->enc_rects[k]++;
		c->enc_bytes[k] += consumed(c) - before;
	}
	return real;
}

static void ask(struct client *c, int incremental)
{
	const uint8_t m[10] = {3, (uint8_t)incremental, 0, 0, 0, 0, (uint8_t)(c->w >> 8), (uint8_t)c->w, (uint8_t)(c->h >> 8),
		(uint8_t)c->h};

	if (!c->cu_on || !incremental)
		put(c, m, sizeof m);
}

static void fence(struct client *c)
{
	uint8_t m[9 + 64] = {248};
	uint32_t flags;

	get(c, NULL, 3);
	flags = get32(c);
	m[8] = (uint8_t)get8(c);
	if (m[8] > 64)
		die("a fence of more than 64 bytes");
	get(c, m + 9, m[8]);
	if (!(flags & 0x80000000))
		return;
	m[7] = flags & 7;
	put(c, m, 9 + m[8]);
}

/* One message; true when it had pixels. */
static int message(struct client *c)
{
	switch (get8(c)) {
	case 0:
		return update(c) > 0;
	case 1:
		get(c, NULL, 3);
		get(c, NULL, (size_t)get16(c) * 6);
		return 0;
	case 2:
		return 0;
	case 3:
		get(c, NULL, 3);
		get(c, NULL, get32(c));
		return 0;
	case 150:
		if (c->cu_wanted && !c->cu_on) {
			const uint8_t m[10] = {150, 1, 0, 0, 0, 0, (uint8_t)(c->w >> 8), (uint8_t)c->w, (uint8_t)(c->h >> 8),
				(uint8_t)c->h};

			put(c, m, sizeof m);
			c->cu_on = 1;
		}
		return 0;
	case 248:
		fence(c);
		return 0;
	default:
		die("an unknown message");
		return 0;
	}
}

static int32_t encoding(const char *name)
{
	static const struct {
		const char *name;
		int32_t value;
	} table[] = {{"raw", 0}, {"copyrect", 1}, {"rre", 2}, {"hextile", 5}, {"zlib", 6}, {"tight", 7}, {"zrle", 16},
		{"tightpng", -260}, {"lastrect", -224}, {"cursor", -239}, {"cu", -313}, {"fence", -312}};

	for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
		if (!strcmp(name, table[i].name))
			return table[i].value;
	if (*name == 'q')
		return -32 + atoi(name + 1);
	if (*name == 'c')
		return -256 + atoi(name + 1);
	die("an encoding that is not known");
	return 0;
}

static int reach(const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int local = strchr(address, '/') != NULL, fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	snprintf(un.sun_path, sizeof un.sun_path, "%s", address);
	for (int i = 0; i < 100; i++) {
		if (!connect(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in, local ? sizeof un : sizeof in)) {
			if (!local)
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
			return fd;
		}
		usleep(50000);
	}
	die("cannot connect");
	return -1;
}

/* Security None, 32 bits per pixel, the first whole picture is asked for. */
static void begin(struct client *c, const char *address, const char *encodings)
{
	static const uint8_t format[20] = {0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0};
	uint8_t m[4 + 64 * 4] = {2};
	char *list = strdup(encodings), *save = NULL;

	c->fd = reach(address);
	get(c, NULL, 12);
	put(c, "RFB 003.008\n", 12);
	get(c, NULL, get8(c));
	put(c, "\1", 1);
	if (get32(c))
		die("the server wants a password");
	put(c, "\1", 1);
	c->w = get16(c);
	c->h = get16(c);
	get(c, NULL, 16);
	get(c, NULL, get32(c));
	put(c, format, sizeof format);
	for (char *t = strtok_r(list, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		uint32_t e = (uint32_t)encoding(t);
		uint8_t *p = m + 4 + 4 * m[3]++;

		c->cu_wanted |= e == (uint32_t)-313;
		p[0] = (uint8_t)(e >> 24);
		p[1] = (uint8_t)(e >> 16);
		p[2] = (uint8_t)(e >> 8);
		p[3] = (uint8_t)e;
	}
	put(c, m, 4 + 4u * m[3]);
	free(list);
	ask(c, 0);
}

static int waiting(struct client *c, int ms)
{
	struct pollfd p = {c->fd, POLLIN, 0};

	return c->at < c->len || poll(&p, 1, ms) > 0;
}

static void serve(struct client *c)
{
	if (message(c))
		ask(c, 1);
}

static void serve_for(struct client *c, double ms)
{
	for (double t = now_ms(); now_ms() - t < ms;)
		if (waiting(c, ms < 50 ? 1 : 50))
			serve(c);
}

/* CPU of all threads, ms */
static double cpu_ms(int pid)
{
	char path[300];
	struct dirent *e;
	double sum = 0;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		double v;
		FILE *f;

		snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, e->d_name);
		f = *e->d_name == '.' ? NULL : fopen(path, "r");
		if (f && fscanf(f, "%lf", &v) == 1)
			sum += v;
		if (f)
			fclose(f);
	}
	if (d)
		closedir(d);
	return sum / 1e6;
}

static long rss_kib(int pid)
{
	char path[64], line[200];
	long v = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof line, f))
		if (!strncmp(line, "RssAnon:", 8))
			v = atol(line + 8);
	if (f)
		fclose(f);
	return v;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, unsigned n, double q)
{
	return n ? sorted[(unsigned)(q * (n - 1) + 0.5)] : 0;
}

struct player {
	FILE *in;
	int out;
	char line[300];
	unsigned have;
};

/* A line of the player; false if there is none within ms. */
static int player_line(struct player *p, int ms)
{
	struct pollfd w = {p->out, POLLIN, 0};

	for (;;) {
		char ch;

		if (poll(&w, 1, ms) <= 0)
			return 0;
		if (read(p->out, &ch, 1) != 1)
			die("the player has ended");
		if (ch == '\n') {
			p->line[p->have] = 0;
			p->have = 0;
			return 1;
		}
		if (p->have < sizeof p->line - 1)
			p->line[p->have++] = ch;
	}
}

static pid_t player_start(struct player *p, char **argv)
{
	int in[2], out[2];
	pid_t pid;

	if (pipe(in) || pipe(out))
		die("no pipe");
	pid = fork();
	if (!pid) {
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
	p->out = out[0];
	return pid;
}

static void player_step(struct player *p)
{
	fputs("n\n", p->in);
	fflush(p->in);
}

/* One step of MODE req: true if something came; first and last in ms after it. */
static int step(struct client *c, struct player *p, int quiet, int first_ms, double *first, double *last)
{
	double begin_ms = now_ms(), limit = begin_ms + first_ms, end = 0;
	int drawn = 0, any = 0;

	c->first = c->last = 0;
	player_step(p);
	for (;;) {
		double t = now_ms();
		struct pollfd w[2] = {{c->fd, POLLIN, 0}, {drawn ? -1 : p->out, POLLIN, 0}};

		if (drawn && (any ? t > end : t > limit))
			break;
		if (c->at == c->len)
			poll(w, 2, !drawn ? 50 : (int)((any ? end : limit) - t) + 1);
		if (w[1].revents && player_line(p, 1000)) {
			drawn = 1;
			limit = now_ms() + first_ms;
		}
		if (c->at < c->len || w[0].revents) {
			serve(c);
			any = 1;
			end = now_ms() + quiet;
		}
	}
	*first = c->first - begin_ms;
	*last = c->last - begin_ms;
	return any;
}

static void run_free(struct client *c, struct player *p, double fps, unsigned n)
{
	double period = 1000 / fps, next = now_ms(), end = next + n * period;
	unsigned stepped = 0;

	while (now_ms() < end) {
		double wait = next - now_ms();
		struct pollfd w[2] = {{c->fd, POLLIN, 0}, {p->out, POLLIN, 0}};

		if (wait <= 0 && stepped < n) {
			player_step(p);
			stepped++;
			next += period;
			continue;
		}
		if (c->at < c->len) {
			serve(c);
			continue;
		}
		poll(w, 2, wait < 1 ? 1 : (int)wait);
		if (w[1].revents)
			player_line(p, 1000);
		if (w[0].revents)
			serve(c);
	}
}

int main(int argc, char **argv)
{
	static struct client c, blocked;
	struct player p = {0};
	unsigned n, lines = 0, missed = 0, updates, rects;
	int quiet, first_ms, server;
	double *first, *last, cpu, began, elapsed;
	uint64_t bytes;
	pid_t pid;

	if (argc < 8) {
		fputs("measure ADDRESS ENCODINGS MODE UPDATES QUIET_MS FIRST_MS PLAYER [ARGS...]\n", stderr);
		return 2;
	}
	n = (unsigned)atoi(argv[4]);
	quiet = atoi(argv[5]);
	first_ms = atoi(argv[6]);
	signal(SIGPIPE, SIG_IGN);
	pid = player_start(&p, argv + 7);
	if (!player_line(&p, 20000))
		die("the player does not begin");
	if (sscanf(p.line, "ready %d", &server) != 1)
		die("the player says something else than ready");
	if (!server)
		server = pid;
	if (!strcmp(argv[3], "nobody")) {
		cpu = cpu_ms(server);
		for (unsigned i = 0; i < n; i++) {
			player_step(&p);
			player_line(&p, 20000);
			usleep((unsigned)quiet * 1000);
		}
		printf("steps=%u cpu=%.3f\n", n, (cpu_ms(server) - cpu) / n);
		goto end;
	}
	begin(&c, argv[1], argv[2]);
	if (strstr(argv[3], "+blocked"))
		begin(&blocked, argv[1], argv[2]);
	while (!message(&c)) {
	}
	ask(&c, 1);
	serve_for(&c, 600);
	first = calloc(n + 1, sizeof *first);
	last = calloc(n + 1, sizeof *last);
	bytes = consumed(&c);
	updates = c.updates;
	rects = c.rects;
	memset(c.enc_rects, 0, sizeof c.enc_rects);
	memset(c.enc_bytes, 0, sizeof c.enc_bytes);
	cpu = cpu_ms(server);
	began = now_ms();
	if (!strncmp(argv[3], "free:", 5)) {
		run_free(&c, &p, atof(argv[3] + 5), n);
	} else if (!strncmp(argv[3], "idle", 4)) {
		serve_for(&c, (double)n * quiet);
	} else {
		for (unsigned i = 0; i < n; i++) {
			serve_for(&c, strncmp(argv[3], "still:", 6) ? 0 : atof(argv[3] + 6));
			if (step(&c, &p, quiet, first_ms, &first[lines], &last[lines]))
				lines++;
			else
				missed++;
		}
	}
	elapsed = now_ms() - began;
	cpu = cpu_ms(server) - cpu;
	bytes = consumed(&c) - bytes;
	qsort(first, lines, sizeof *first, by_value);
	qsort(last, lines, sizeof *last, by_value);
	printf("steps=%u bytes=%.0f updates=%.3f rects=%.2f cpu=%.3f first_p50=%.2f first_p95=%.2f first_max=%.2f last_p50=%.2f "
	       "last_p95=%.2f missed=%u rate=%.2f elapsed=%.0f rss_kib=%ld",
		n, (double)bytes / n, (double)(c.updates - updates) / n, (double)(c.rects - rects) / n, cpu / n,
		quantile(first, lines, 0.5), quantile(first, lines, 0.95), quantile(first, lines, 1), quantile(last, lines, 0.5),
		quantile(last, lines, 0.95), missed, (c.updates - updates) * 1000.0 / elapsed, elapsed, rss_kib(server));
	for (int i = 0; i < ENC_N; i++)
		if (c.enc_rects[i])
			printf(" enc%d=%llu/%llu", i == ENC_OTHER ? -1 : i, (unsigned long long)c.enc_rects[i],
				(unsigned long long)c.enc_bytes[i]);
	putchar('\n');
end:
	fputs("q\n", p.in);
	fflush(p.in);
	fclose(p.in);
	waitpid(pid, NULL, 0);
	return 0;
}
