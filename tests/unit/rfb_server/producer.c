/* SPDX-License-Identifier: MIT */
/*
 * By hand: a screen without a machine. Makes scanouts, draws on one of them, and runs husk-vnc on it.
 *
 *   producer HUSK-VNC SOCKET|PORT [WHAT [W H]] [-- options of husk-vnc]
 *
 * WHAT: still, scroll (text, 30 lines a second), noise (a picture that changes), drag (a window over it), type (a letter now and then),
 * resize (another size every 3 s). Keys and the pointer are written to standard output.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "display/input.h"
#include "display/scanout.h"

static struct scanout *out;
static struct surface s;
static uint32_t seed = 1;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	return seed ^= seed << 5;
}

static void fill(struct rect r, uint32_t c)
{
	r = rect_clip(r, s.w, s.h);
	for (uint32_t y = 0; y < r.h; y++)
		for (uint32_t x = 0; x < r.w; x++)
			*surface_row(&s, r.x + x, r.y + y) = c;
	scanout_damage(out, r);
}

/* Something with the statistics of a letter, 8 x 16 */
static void letter(uint32_t x, uint32_t y, uint32_t code)
{
	uint32_t keep = seed;

	seed = code * 2654435761u + 1;
	for (uint32_t j = 0; j < 16 && y + j < s.h; j++) {
		uint32_t bits = j > 2 && j < 13 ? rnd() & rnd() : 0;

		for (uint32_t i = 0; i < 8 && x + i < s.w; i++)
			*surface_row(&s, x + i, y + j) = bits >> i & 1 ? 0xc0c0c0 : 0x000010;
	}
	seed = keep;
}

static void line(uint32_t y)
{
	for (uint32_t x = 0; x + 8 <= s.w; x += 8)
		letter(x, y, x < s.w * (rnd() % 8) / 8 ? rnd() % 60 : 0);
}

static void scroll(void)
{
	uint32_t last = (s.h / 16 - 1) * 16;

	memmove(s.px, s.px + 16 * (size_t)s.stride, (size_t)last * s.stride);
	line(last);
	scanout_damage(out, (struct rect){0, 0, s.w, s.h});
}

static void photo(struct rect r, uint32_t t)
{
	r = rect_clip(r, s.w, s.h);
	for (uint32_t y = r.y; y < r.y + r.h; y++)
		for (uint32_t x = r.x; x < r.x + r.w; x++)
			*surface_row(&s, x, y) = ((x + t) & 0xff) << 16 | ((y + 2 * t) & 0xff) << 8 | (((x * y) >> 9) & 0xf8) | (rnd() & 7);
	scanout_damage(out, r);
}

static void draw(const char *what, unsigned t)
{
	if (!strcmp(what, "scroll")) {
		scroll();
	} else if (!strcmp(what, "noise")) {
		photo((struct rect){0, 0, s.w / 2, s.h / 2}, t);
	} else if (!strcmp(what, "type")) {
		if (t % 10)
			return;
		letter(8 * (t / 10 % (s.w / 8)), 16, rnd() % 60);
		scanout_damage(out, (struct rect){0, 0, s.w, s.h});
	} else if (!strcmp(what, "drag")) {
		uint32_t x = t * 6 % (s.w / 2), y = t * 3 % (s.h / 2);

		seed = 1;
		photo((struct rect){x > 6 ? x - 6 : 0, y > 3 ? y - 3 : 0, 532, 380}, 0);
		fill((struct rect){x, y, 512, 360}, 0xe0e0e0);
		for (uint32_t i = 0; i < 20; i++)
			for (uint32_t j = 0; j < 60; j++)
				letter(x + 8 * j, y + 16 * i, (i * 60 + j) * 7 % 40);
	} else if (!strcmp(what, "resize") && t % 90 == 0) {
		static const uint16_t sizes[][2] = {{1280, 800}, {800, 600}, {1024, 768}, {1921, 1083}};
		const uint16_t *z = sizes[t / 90 % ARRAY_LEN(sizes)];

		scanout_mode(out, z[0], z[1], &s);
		photo((struct rect){0, 0, s.w, s.h}, t);
	}
	scanout_commit(out);
}

static int listener(const char *at)
{
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	bool tcp = strspn(at, "0123456789") == strlen(at);
	int fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM, 0), one = 1;

	snprintf(u.sun_path, sizeof u.sun_path, "%s", at);
	in.sin_port = htons((uint16_t)atoi(at));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (!tcp)
		unlink(at);
	if (bind(fd, tcp ? (struct sockaddr *)&in : (struct sockaddr *)&u, tcp ? sizeof in : sizeof u) || listen(fd, 8)) {
		perror(at);
		exit(1);
	}
	return fd;
}

static void show_input(int fd, unsigned ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct input_event ev[INPUT_EVENTS];
	uint64_t end = now_ns() + ms * 1000000ull, now;

	while ((now = now_ns()) < end && poll(&p, 1, (int)((end - now) / 1000000)) >= 0) {
		ssize_t n = recv(fd, ev, sizeof ev, MSG_DONTWAIT);

		if (!n)
			exit(0);
		for (ssize_t i = 0; i < n / (ssize_t)sizeof ev[0]; i++) {
			printf("type %u code %u a %d b %d\n", ev[i].type, ev[i].code, ev[i].a, ev[i].b);
			if (ev[i].type == INPUT_POINT)
				scanout_cursor_at(out, (int)((uint64_t)ev[i].a * s.w / 32768), (int)((uint64_t)ev[i].b * s.h / 32768));
		}
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 3 ? argv[3] : "still";
	int boot = scanout_create("boot", NULL), head = scanout_create("head", NULL), ev = eventfd(0, EFD_NONBLOCK), in[2], rs[2];
	char *args[64] = {NULL};
	char text[8][24];
	unsigned n = 0;
	int i, own = 4;
	bool tcp;

	if (argc < 3 || boot < 0 || head < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, in) ||
		socketpair(AF_UNIX, SOCK_SEQPACKET, 0, rs)) {
		fprintf(stderr, "usage: producer HUSK-VNC SOCKET|PORT [WHAT [W H]] [-- options]\n");
		return 2;
	}
	fcntl(boot, F_SETFD, 0);
	fcntl(head, F_SETFD, 0);
	tcp = strspn(argv[2], "0123456789") == strlen(argv[2]);
	for (own = 3; own < argc && strcmp(argv[own], "--"); own++)
		;
	scanout_open(&out, head, ev, NULL);
	scanout_mode(out, own > 5 ? (uint32_t)atoi(argv[4]) : 1280, own > 5 ? (uint32_t)atoi(argv[5]) : 800, &s);
	for (uint32_t y = 0; y + 16 <= s.h; y += 16)
		line(y);
	if (strcmp(what, "scroll") && strcmp(what, "type"))
		photo((struct rect){0, 0, s.w, s.h}, 0);
	scanout_commit(out);
	args[n++] = argv[1];
	snprintf(text[0], 24, "%d", boot);
	snprintf(text[1], 24, "%d", head);
	snprintf(text[2], 24, "%d", ev);
	snprintf(text[3], 24, "%d", in[1]);
	snprintf(text[4], 24, "%d", rs[1]);
	snprintf(text[5], 24, "%d,%s", listener(argv[2]), tcp ? "tcp" : "unix");
	static const char *const names[] = {"--scanout-fd", "--scanout-fd", "--event-fd", "--input-fd", "--resize-fd", "--listen-fd"};
	for (i = 0; i < 6; i++) {
		args[n++] = strdup(names[i]);
		args[n++] = text[i];
	}
	if (tcp)
		args[n++] = strdup("--open");
	for (i = own + 1; i < argc && n < 62; i++)
		args[n++] = argv[i];
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(in[0]);
		execv(argv[1], args);
		perror(argv[1]);
		_exit(1);
	}
	close(in[1]);
	for (unsigned t = 0;; t++) {
		struct resize_wish w;

		show_input(in[0], 33);
		if (recv(rs[0], &w, sizeof w, MSG_DONTWAIT) == sizeof w) {
			printf("resize head %u to %u x %u\n", w.head, w.w, w.h);
			if (!w.head && scanout_mode(out, w.w, w.h, &s))
				photo((struct rect){0, 0, s.w, s.h}, t);
		}
		draw(what, t);
	}
}
