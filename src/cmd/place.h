/* SPDX-License-Identifier: MIT */
/* Where a serial line, console port or vsock of the guest leads: a socket or a file at a path of the user's. */
#ifndef CMD_PLACE_H
#define CMD_PLACE_H

#include "base/err.h"

enum { PLACE_PATH = 4096 };

/*
 * A listening socket; what a dead process left there is replaced. whole: its path from the root, for who removes it
 * later; empty when it fails. The descriptor or -errno with words that begin with option
 * ("--serial unix:") and path.
 */
int place_listen(const char *option, const char *path, char whole[PLACE_PATH], struct err *e);
/* A file, emptied, for output. The descriptor or -errno with words. */
int place_file(const char *option, const char *path, struct err *e);

#endif
