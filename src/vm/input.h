/* SPDX-License-Identifier: MIT */
/*
 * Which device gets a key or a pointer's movement: virtio-input where the guest has a driver at work, else the i8042's
 * keyboard and mouse; absolute places become relative movements for the latter. Remembers what is down. All calls
 * with the board lock held.
 */
#ifndef VM_INPUT_H
#define VM_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dev/legacy.h"
#include "display/input.h"
#include "virtio/input.h"

struct input_config {
	struct i8042 *i8042;                           /* borrowed; NULL: none */
	struct virtio_dev *keyboard, *tablet, *mouse;  /* virtio; borrowed; NULL: none */
	uint32_t w, h;                                 /* pixels of the whole picture: what INPUT_POINT becomes for a PS/2 mouse */
	void (*state)(void *arg, uint32_t leds, enum input_pointer pointer); /* one of them has changed */
	void *arg;
};
/*
 * Asks the devices to be told of room, drivers and the i8042's LEDs (i8042_notify, virtio_input_notify), which
 * input_free() takes back; so free it first. What remains for the owner: virtio_input_new()'s leds to input_leds().
 */
struct input *input_new(const struct input_config *c);
void input_free(struct input *in);
/*
 * Events by a viewer, which is a peer: unknown ones are ignored, key numbers checked. A key that there is no room for is
 * kept, in order, and comes when the guest has taken the others; more than a few hundred are lost, ups never.
 */
void input_events(struct input *in, const struct input_event *ev, unsigned n);
/* virtio's driver came or went, the i8042 has room again, LEDs: called by whoever notices; looks again. */
void input_update(struct input *in);
void input_leds(struct input *in, bool virtio, uint32_t leds);
void input_reset(struct input *in); /* the machine was reset: nothing is down, nothing waits */
size_t input_stats(const struct input *in, char *buf, size_t len);

#endif
