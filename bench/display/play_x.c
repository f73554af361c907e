/* SPDX-License-Identifier: MIT */
/* An X server (Xvnc) as the server under test: play_x SESSION DISPLAY PID (its). Draws with MIT-SHM on one window. */
#include <X11/Xlib.h>
#include <X11/Xutil.h>
#include <X11/extensions/XShm.h>
#include <stdbool.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "session.h"

static struct session s;

int main(int argc, char **argv)
{
	XSetWindowAttributes a = {.override_redirect = True, .background_pixmap = None};
	XShmSegmentInfo shm = {.readOnly = False};
	Display *d;
	Window win;
	XImage *image;
	GC gc;
	char c = 'n';

	if (argc != 4)
		return 2;
	session_open(&s, argv[1]);
	d = XOpenDisplay(argv[2]);
	if (!d) {
		fprintf(stderr, "play_x: no display %s\n", argv[2]);
		return 1;
	}
	win = XCreateWindow(d, DefaultRootWindow(d), 0, 0, s.w, s.h, 0, CopyFromParent, InputOutput, CopyFromParent,
		CWOverrideRedirect | CWBackPixmap, &a);
	XMapRaised(d, win);
	XSync(d, False);
	gc = XCreateGC(d, win, 0, NULL);
	XSetGraphicsExposures(d, gc, False);
	image = XShmCreateImage(d, DefaultVisual(d, DefaultScreen(d)), (unsigned)DefaultDepth(d, DefaultScreen(d)), ZPixmap, NULL,
		&shm, s.w, s.h);
	shm.shmid = shmget(IPC_PRIVATE, (size_t)image->bytes_per_line * s.h, IPC_CREAT | 0600);
	shm.shmaddr = image->data = shmat(shm.shmid, NULL, 0);
	XShmAttach(d, &shm);
	XSync(d, False);
	shmctl(shm.shmid, IPC_RMID, NULL);
	for (bool first = true; first || (read(0, &c, 1) == 1 && c != 'q'); first = false) {
		unsigned n;

		if (c != 'n')
			continue;
		n = session_next(&s);
		for (unsigned i = 0; i < n; i++) {
			const struct session_rect *r = &s.rect[i];

			session_draw(r, (uint8_t *)image->data, (size_t)image->bytes_per_line);
			XShmPutImage(d, win, gc, image, (int)r->x, (int)r->y, (int)r->x, (int)r->y, r->w, r->h, False);
		}
		XSync(d, False);
		if (first)
			printf("ready %s\n", argv[3]);
		else
			puts("ok");
		fflush(stdout);
	}
	return 0;
}
