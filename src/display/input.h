/* SPDX-License-Identifier: MIT */
/*
 * Keys and pointers on their way to the guest, and what comes back. One datagram on a SOCK_SEQPACKET pair is an array of
 * struct input_event: husk-vnc sends to husk-vmm, husk-vmm answers with INPUT_STATE. The supervisor holds both ends, so
 * that either process may be started again. Keys are Linux' numbers (linux/input-event-codes.h: KEY_A is 30) everywhere
 * in husk; other numbers are translated at the edge by keys.h. Each side distrusts the other: unknown types are ignored.
 */
#ifndef DISPLAY_INPUT_H
#define DISPLAY_INPUT_H

#include <stdbool.h>
#include <stdint.h>

enum input_type {
	INPUT_KEY = 1,   /* code KEY_*, a: 1 down, 0 up, 2 repeated by the viewer */
	INPUT_BUTTON,    /* code BTN_LEFT, BTN_RIGHT, BTN_MIDDLE, BTN_SIDE, BTN_EXTRA; a: 1 down, 0 up */
	INPUT_MOVE,      /* relative: a, b pixels right and down */
	INPUT_POINT,     /* absolute: a, b from 0 to INPUT_POINT_MAX over the whole picture */
	INPUT_WHEEL,     /* a: notches right, b: notches up */
	INPUT_RELEASE,   /* all keys and buttons that are down go up: the viewer that held them is gone */
	INPUT_VIEWERS,   /* a: how many look at the screen now; decides how often the framebuffer is looked at */
	INPUT_STATE = 64, /* to the viewer: a: enum input_led bits, b: enum input_pointer */
};
enum input_led { INPUT_LED_SCROLL = 1, INPUT_LED_NUM = 2, INPUT_LED_CAPS = 4 }; /* as in QEMU's RFB extension */
enum input_pointer { INPUT_RELATIVE, INPUT_ABSOLUTE }; /* what the guest's driver listens to */
enum { INPUT_POINT_MAX = 32767, INPUT_EVENTS = 64 /* in one datagram */ };

struct input_event {
	uint16_t type, code;
	int32_t a, b;
};

/* A wish for another size, from husk-vnc to husk-gpu: a datagram on a pair of its own. */
struct resize_wish {
	uint32_t head, w, h; /* w 0: the head is not wanted */
};

#endif
