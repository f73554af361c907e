/* SPDX-License-Identifier: MIT */
/* The line to whoever shows the screen (display/input.h): what its viewers do goes to the guest, LEDs and pointer mode back. */
#ifndef VM_VIEWERS_H
#define VM_VIEWERS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/loop.h"
#include "bus/bus.h"
#include "vm/input.h"
#include "vm/screen.h"

struct viewers;
/* All borrowed. fd: -1: none; input comes through viewers_events() only. screen: NULL: none */
int viewers_new(struct viewers **v, struct loop *l, struct bus *b, struct screen *screen, int fd, struct err *e);
void viewers_free(struct viewers *v);
void viewers_input(struct viewers *v, struct input *in); /* set-up: where events go */
/* len bytes of struct input_event by a peer; the loop's thread, lock not held */
void viewers_events(struct viewers *v, const void *data, size_t len);
/* For struct input_config: arg is the struct viewers; lock held */
void viewers_state(void *arg, uint32_t leds, enum input_pointer pointer);

#endif
