/* SPDX-License-Identifier: MIT */
/* Input devices (5.8): keyboard, tablet (absolute), mouse (relative). All calls on the transport's thread. */
#ifndef VIRTIO_INPUT_H
#define VIRTIO_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "virtio/virtio.h"

enum virtio_input_kind { VIRTIO_INPUT_KEYBOARD, VIRTIO_INPUT_TABLET, VIRTIO_INPUT_MOUSE };

/* leds: the guest has set enum input_led bits of display/input.h (keyboard only); may be NULL */
struct virtio_dev *virtio_input_new(enum virtio_input_kind kind, void (*leds)(void *arg, uint32_t leds), void *arg);
void virtio_input_free(struct virtio_dev *d); /* NULL too */
/*
 * One report: n events of (type, code, value) as in linux/input-event-codes.h, to which EV_SYN is added. Whole or not at all:
 * false if the driver has given too few buffers, or there is no driver. n: at most VIRTIO_INPUT_EVENTS
 */
enum { VIRTIO_INPUT_EVENTS = 7 };
struct virtio_input_event {
	uint16_t type, code;
	uint32_t value;
};
bool virtio_input_send(struct virtio_dev *d, const struct virtio_input_event *ev, unsigned n);
bool virtio_input_ready(const struct virtio_dev *d); /* a driver has started the event queue */
/* Called when that changes, and when the driver gives buffers, so that what did not go may go now. NULL: nobody */
void virtio_input_notify(struct virtio_dev *d, void (*changed)(void *arg), void *arg);

#endif
