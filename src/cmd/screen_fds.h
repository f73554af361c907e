/* SPDX-License-Identifier: MIT */
/*
 * What the screen of a machine consists of, as far as the supervisor is concerned: descriptors. They outlive husk-gpu and
 * husk-vnc, which may die and be started again, so all ends of all pairs are kept here. Who has which:
 *
 *   scanout[0]       husk-vmm writes the framebuffer of early boot          --screen WxH,fd=N,event=N
 *   scanout[1..]     husk-gpu writes a head each                            --scanout-fd
 *   reader[]         the same, for reading only: husk-vnc, and clients of the control socket (x-screen)
 *   event            an eventfd: both writers wake husk-vnc
 *   input            keys and pointers from husk-vnc to husk-vmm, LEDs back: display/input.h
 *   resize           wishes for another size from husk-vnc to husk-gpu
 *   state            husk-gpu's memory beyond its death: resources, cursor, modes
 *   listener[]       where husk-vnc accepts viewers; the machine's own socket "rfb" is the first
 *   password, ...    read here with the user's rights, in memory files without a name
 */
#ifndef CMD_SCREEN_FDS_H
#define CMD_SCREEN_FDS_H

#include <stdbool.h>

#include "base/err.h"
#include "cmd/child.h"
#include "cmd/displayopt.h"
#include "cmd/place.h"
#include "cmd/rundir.h"
#include "display/scanout.h"

enum { SCREEN_LISTENERS = 2, SCREEN_STATE_SIZE = 4 << 20, SCREEN_WHERE = 600 };

struct screen_listener {
	int fd;
	bool local;               /* a Unix socket */
	char where[SCREEN_WHERE]; /* "unix:/run/user/1000/husk/web/rfb", "127.0.0.1:5901", "[::1]:5901" */
};

struct screen_fds {
	const struct display_config *cfg; /* borrowed; NULL: never opened, and nothing else is set */
	unsigned n;                       /* scanouts: the framebuffer, then heads */
	int scanout[1 + SCANOUT_HEADS], reader[1 + SCANOUT_HEADS];
	int event, input[2], resize[2], state; /* the first of a pair is husk-vnc's */
	int password, cert, key;          /* -1: none */
	struct screen_listener listener[SCREEN_LISTENERS];
	unsigned nlisteners;
};

/*
 * Makes and opens all of it. path: of the user's own socket, which whoever cleans up removes; empty if there is none. 0, or
 * -errno with words that begin with "--display". On failure, too, screen_close() is to be called.
 */
int screen_open(struct screen_fds *s, const struct display_config *c, const struct rundir *dir, char path[PLACE_PATH],
	struct err *e);
void screen_close(struct screen_fds *s); /* harmless on one that is zero */

/* Words and descriptors for the three programs; nothing if there is no screen. */
void screen_vmm_args(const struct screen_fds *s, struct child_args *a);
void screen_gpu_args(const struct screen_fds *s, struct child_args *a);
void screen_vnc_args(const struct screen_fds *s, struct child_args *a);

#endif
