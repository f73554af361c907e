/* SPDX-License-Identifier: MIT */
/*
 * delay PORT ADDRESS ONE_WAY_MS: a TCP relay to a port of 127.0.0.1 or a Unix socket that holds back what it gets, both ways:
 * a line with a round-trip time of twice as much, and no other limit. Prints "ready".
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536, QUEUE = 4 << 20 };

struct chunk {
	struct chunk *next;
	double due;
	size_t len, at;
	char data[CHUNK];
};

struct way { /* towards fd */
	int fd;
	struct chunk *head, *tail;
	size_t queued;
};

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int reach(const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(address)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int local = strchr(address, '/') != NULL, fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", address);
	if (connect(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in, local ? sizeof un : sizeof in))
		_exit(1);
	return fd;
}

static void take(int from, struct way *to, double delay)
{
	struct chunk *c = malloc(sizeof *c);
	ssize_t n = read(from, c->data, CHUNK);

	if (n <= 0)
		_exit(0);
	c->next = NULL;
	c->due = now_ms() + delay;
	c->len = (size_t)n;
	c->at = 0;
	if (to->head)
		to->tail->next = c;
	else
		to->head = c;
	to->tail = c;
	to->queued += (size_t)n;
}

static void give(struct way *w)
{
	double t = now_ms();

	while (w->head && w->head->due <= t) {
		struct chunk *c = w->head;
		ssize_t n = write(w->fd, c->data + c->at, c->len - c->at);

		if (n < 0)
			return;
		c->at += (size_t)n;
		w->queued -= (size_t)n;
		if (c->at < c->len)
			return;
		w->head = c->next;
		free(c);
	}
}

static void relay(int a, int b, double delay)
{
	struct way way[2] = {{a, NULL, NULL, 0}, {b, NULL, NULL, 0}};
	int one = 1;

	setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(a, F_SETFL, O_NONBLOCK);
	fcntl(b, F_SETFL, O_NONBLOCK);
	for (;;) {
		struct pollfd w[2];
		int wait = 1000;

		for (int i = 0; i < 2; i++) {
			w[i] = (struct pollfd){way[i].fd, way[1 - i].queued < QUEUE ? POLLIN : 0, 0};
			if (way[i].head) {
				double ms = way[i].head->due - now_ms();

				if (ms <= 0)
					w[i].events |= POLLOUT;
				else if (ms < wait)
					wait = (int)ms + 1;
			}
		}
		poll(w, 2, wait);
		for (int i = 0; i < 2; i++) {
			if (w[i].revents & (POLLIN | POLLHUP))
				take(way[i].fd, &way[1 - i], delay);
			give(&way[i]);
		}
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	if (argc != 4) {
		fputs("delay PORT ADDRESS ONE_WAY_MS\n", stderr);
		return 2;
	}
	a.sin_port = htons((unsigned short)atoi(argv[1]));
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(l, (struct sockaddr *)&a, sizeof a) || listen(l, 8)) {
		perror(argv[1]);
		return 1;
	}
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int s = accept(l, NULL, NULL);

		if (s >= 0 && !fork()) {
			close(l);
			relay(s, reach(argv[2]), atof(argv[3]));
		}
		close(s);
	}
}
