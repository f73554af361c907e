/* SPDX-License-Identifier: MIT */
/*
 * A PS/2 mouse with a wheel and five buttons, without the wire: bytes from the host, bytes for it. Part of the i8042, of which
 * it shares the lock.
 */
#ifndef DEV_PS2_MOUSE_INT_H
#define DEV_PS2_MOUSE_INT_H

#include <stdbool.h>
#include <stdint.h>

enum { PS2_MOUSE_PENDING = 16, PS2_MOUSE_MESSAGE = 8 };

struct ps2_mouse {
	/* The message on its way, a packet or an answer; it stays for command 0xfe. */
	uint8_t out[PS2_MOUSE_MESSAGE];
	unsigned at, n;
	bool is_packet;
	bool again; /* a packet was cut off by a command: there will be another, if only for the buttons */

	uint8_t command; /* that waits for its byte, or 0 */
	uint8_t id;      /* 0; 3: IntelliMouse, packets with a wheel; 4: Explorer, five buttons */
	uint8_t rate, rates[2] /* before that */, resolution;
	bool scaling, enabled, remote, wrap;

	/* What has happened and was not yet reported, oldest first: one entry for each state of the buttons */
	struct ps2_move {
		int32_t dx, dy, wheel; /* right, down, up */
		uint8_t buttons;
	} pending[PS2_MOUSE_PENDING];
	unsigned npending;
	uint8_t buttons; /* as reported last */
};

void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, uint8_t v);
bool ps2_mouse_read(struct ps2_mouse *m, uint8_t *v); /* false: nothing to say */
/* As i8042_mouse() */
bool ps2_mouse_move(struct ps2_mouse *m, int32_t dx, int32_t dy, int32_t wheel, unsigned buttons);

#endif
