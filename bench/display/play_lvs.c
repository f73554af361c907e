/* SPDX-License-Identifier: MIT */
/* libvncserver as the server under test: play_lvs SESSION PORT */
#include <poll.h>
#include <rfb/rfb.h>

#include "session.h"

static struct session s;

static unsigned draw(rfbScreenInfoPtr screen)
{
	unsigned n = session_next(&s);

	for (unsigned i = 0; i < n; i++)
		session_draw(&s.rect[i], (uint8_t *)screen->frameBuffer, s.w * 4);
	return n;
}

int main(int argc, char **argv)
{
	rfbScreenInfoPtr screen;
	struct pollfd w = {0, POLLIN, 0};
	char c;

	if (argc != 3)
		return 2;
	session_open(&s, argv[1]);
	screen = rfbGetScreen(NULL, NULL, (int)s.w, (int)s.h, 8, 3, 4);
	screen->serverFormat.redShift = 16;
	screen->serverFormat.greenShift = 8;
	screen->serverFormat.blueShift = 0;
	screen->port = atoi(argv[2]);
	screen->ipv6port = 0;
	screen->listenInterface = htonl(INADDR_LOOPBACK);
	screen->alwaysShared = TRUE;
	screen->cursor = NULL;
	screen->deferUpdateTime = 0;
	screen->frameBuffer = calloc((size_t)s.w * s.h, 4);
	rfbLogEnable(0);
	rfbInitServer(screen);
	draw(screen);
	printf("ready %d\n", getpid());
	fflush(stdout);
	for (;;) {
		rfbProcessEvents(screen, 1000);
		if (poll(&w, 1, 0) <= 0)
			continue;
		if (read(0, &c, 1) != 1 || c == 'q')
			return 0;
		if (c != 'n')
			continue;
		for (unsigned n = draw(screen), i = 0; i < n; i++) {
			const struct session_rect *r = &s.rect[i];

			rfbMarkRectAsModified(screen, (int)r->x, (int)r->y, (int)(r->x + r->w), (int)(r->y + r->h));
		}
		puts("ok");
		fflush(stdout);
	}
}
