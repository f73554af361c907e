/* SPDX-License-Identifier: MIT */
/* PNG (ISO/IEC 15948), RGB without alpha, by libpng. Not for a process with guest data and rights. */
#ifndef DISPLAY_PNG_H
#define DISPLAY_PNG_H

#include "base/err.h"
#include "display/surface.h"

/* Writes s to the descriptor, which is borrowed. name: for messages. 0 or -errno with words. */
int png_write(int fd, const struct surface *s, const char *name, struct err *e);

#endif
