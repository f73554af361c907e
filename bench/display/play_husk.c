/* SPDX-License-Identifier: MIT */
/*
 * husk-vnc as the server under test: play_husk HUSK_VNC SESSION PORT|PATH [more options of husk-vnc...]. The session goes to a
 * scanout, as husk-gpu would write it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <signal.h>

#include "display/scanout.h"
#include "session.h"
#include "vm/control.h"

static struct session s;

static int listening(const char *address)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(address)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int local = strchr(address, '/') != NULL, one = 1, fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof un.sun_path, "%s", address);
	if (!local)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	else
		unlink(address);
	if (bind(fd, local ? (struct sockaddr *)&un : (struct sockaddr *)&in, local ? sizeof un : sizeof in) || listen(fd, 16)) {
		perror(address);
		exit(1);
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void draw(struct scanout *out, struct surface *px)
{
	unsigned n = session_next(&s);

	if ((s.w != px->w || s.h != px->h) && !scanout_mode(out, s.w, s.h, px))
		exit(1);
	for (unsigned i = 0; i < n; i++) {
		const struct session_rect *r = &s.rect[i];

		session_draw(r, px->px, px->stride);
		scanout_damage(out, (struct rect){r->x, r->y, r->w, r->h});
	}
	scanout_commit(out);
}

int main(int argc, char **argv)
{
	struct scanout *out;
	struct surface px;
	struct err e = {.code = 0};
	int fd, reader, event, input[2], resize[2], control[2], sock;
	char text[8][40], *args[64];
	struct vmm_msg m = {0};
	unsigned n = 0;
	pid_t pid;
	char c;

	if (argc < 4) {
		fputs("play_husk HUSK_VNC SESSION PORT|PATH [OPTIONS...]\n", stderr);
		return 2;
	}
	session_open(&s, argv[2]);
	fd = scanout_create("bench", &e);
	reader = fd < 0 ? -1 : scanout_reader(fd, &e);
	event = eventfd(0, EFD_NONBLOCK);
	if (reader < 0 || scanout_open(&out, fd, event, &e) || !scanout_mode(out, s.w, s.h, &px)) {
		fprintf(stderr, "play_husk: %s\n", e.text);
		return 1;
	}
	draw(out, &px);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, input) || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, resize) ||
		socketpair(AF_UNIX, SOCK_SEQPACKET, 0, control))
		return 1;
	fcntl(reader, F_SETFD, 0);
	sock = listening(argv[3]);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		args[n++] = argv[1];
		snprintf(text[0], sizeof text[0], "--scanout-fd=%d", reader);
		snprintf(text[1], sizeof text[1], "--event-fd=%d", event);
		snprintf(text[2], sizeof text[2], "--input-fd=%d", input[1]);
		snprintf(text[3], sizeof text[3], "--resize-fd=%d", resize[1]);
		snprintf(text[4], sizeof text[4], "--listen-fd=%d,unix", sock); /* unix: without a password */
		snprintf(text[5], sizeof text[5], "--control-fd=%d", control[1]);
		for (unsigned i = 0; i < 6; i++)
			args[n++] = text[i];
		args[n++] = (char[]){"--name=bench"};
		for (int i = 4; i < argc && n < 63; i++)
			args[n++] = argv[i];
		args[n] = NULL;
		execv(argv[1], args);
		perror(argv[1]);
		_exit(1);
	}
	close(sock);
	close(control[1]);
	if (recv(control[0], &m, sizeof m, 0) <= 0 || m.type != VMM_READY) {
		fprintf(stderr, "play_husk: husk-vnc does not begin: %s\n", m.text);
		return 1;
	}
	printf("ready %d\n", pid);
	fflush(stdout);
	while (read(0, &c, 1) == 1 && c != 'q')
		if (c == 'n') {
			char drop[4096];

			draw(out, &px);
			while (recv(input[0], drop, sizeof drop, MSG_DONTWAIT) > 0) {
			}
			puts("ok");
			fflush(stdout);
		}
	kill(pid, SIGKILL);
	return 0;
}
