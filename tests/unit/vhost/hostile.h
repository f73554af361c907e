/* SPDX-License-Identifier: MIT */
#ifndef VHOST_HOSTILE_H
#define VHOST_HOSTILE_H

#include <stdbool.h>

/* Messages that cannot be: each is refused, with words, and the server lives. */
void hostile(bool own);

#endif
