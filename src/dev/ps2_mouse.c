/* SPDX-License-Identifier: MIT */
/*
 * The mouse of IBM's PS/2 technical reference, with what Microsoft's IntelliMouse and its Explorer added: drivers set three
 * sample rates in a row, by which such a mouse knows that its longer packets are understood, and says so by its ID.
 *
 * There is no clock in it: a packet is made when the controller has room for its first byte. What happens meanwhile adds up,
 * so a guest that is slow gets fewer and longer movements, and one that never reads costs nothing. Rate, resolution and
 * scaling are remembered but have no effect: the viewer's own pointer was already accelerated.
 */
#include "dev/ps2_mouse-int.h"

#include <string.h>

enum { ACK = 0xfa, NAK = 0xfe, BAT_OK = 0xaa };
enum { ID_PLAIN = 0, ID_WHEEL = 3, ID_EXPLORER = 4 };
enum { DELTA_MAX = 255, WHEEL_MAX = 7 };
/* Most that is kept of a movement that nobody reads: more would go on for long when somebody does. */
enum { KEEP_DELTA = 16 * DELTA_MAX, KEEP_WHEEL = 16 * WHEEL_MAX };

static void say(struct ps2_mouse *m, uint8_t v)
{
	if (m->n < PS2_MOUSE_MESSAGE)
		m->out[m->n++] = v;
}

static int32_t clamp(int64_t v, int32_t most)
{
	return v > most ? most : v < -most ? -most : (int32_t)v;
}

/* ---- packets ---- */

static int32_t take(int32_t *from, int32_t most)
{
	int32_t v = clamp(*from, most);

	*from -= v;
	return v;
}

/* One packet, of no movement if there is none */
static void packet(struct ps2_mouse *m)
{
	struct ps2_move none = {.buttons = m->buttons}, *p = m->npending ? m->pending : &none;
	int32_t dx = take(&p->dx, DELTA_MAX), dy = -take(&p->dy, DELTA_MAX), z = -take(&p->wheel, WHEEL_MAX);

	m->buttons = p->buttons;
	if (m->npending && !p->dx && !p->dy && !p->wheel)
		memmove(m->pending, m->pending + 1, --m->npending * sizeof *m->pending);
	m->again = false;
	say(m, (uint8_t)((m->buttons & 7) | 8 | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0)));
	say(m, (uint8_t)dx);
	say(m, (uint8_t)dy);
	if (m->id == ID_WHEEL)
		say(m, (uint8_t)z);
	else if (m->id == ID_EXPLORER)
		say(m, (uint8_t)((z & 0x0f) | (m->buttons & 0x18) << 1));
}

bool ps2_mouse_move(struct ps2_mouse *m, int32_t dx, int32_t dy, int32_t wheel, unsigned buttons)
{
	struct ps2_move *p = m->npending ? &m->pending[m->npending - 1] : NULL;

	if (!m->enabled && !m->remote)
		return false;
	buttons &= m->id == ID_EXPLORER ? 0x1f : 7;
	wheel = m->id == ID_PLAIN ? 0 : wheel;
	if (!dx && !dy && !wheel && buttons == (p ? p->buttons : m->buttons))
		return true;
	if (!p || (p->buttons != buttons && m->npending < PS2_MOUSE_PENDING)) {
		p = &m->pending[m->npending++];
		*p = (struct ps2_move){0};
	}
	p->dx = clamp((int64_t)p->dx + dx, KEEP_DELTA);
	p->dy = clamp((int64_t)p->dy + dy, KEEP_DELTA);
	p->wheel = clamp((int64_t)p->wheel + wheel, KEEP_WHEEL);
	p->buttons = (uint8_t)buttons;
	return true;
}

bool ps2_mouse_read(struct ps2_mouse *m, uint8_t *v)
{
	if (m->at == m->n) {
		if (!m->enabled || m->remote || m->wrap || (!m->npending && !m->again))
			return false;
		m->at = m->n = 0;
		m->is_packet = true;
		packet(m);
	}
	*v = m->out[m->at++];
	return true;
}

/* ---- commands ---- */

static void forget(struct ps2_mouse *m)
{
	m->npending = 0;
	m->buttons = 0;
	m->again = false;
}

static void defaults(struct ps2_mouse *m)
{
	forget(m);
	m->rate = 100;
	m->resolution = 2;
	m->scaling = m->enabled = m->remote = m->wrap = false;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	*m = (struct ps2_mouse){.id = ID_PLAIN};
	defaults(m);
}

static void rate(struct ps2_mouse *m, uint8_t v)
{
	m->rates[0] = m->rates[1];
	m->rates[1] = m->rate;
	m->rate = v;
	if (m->rates[0] == 200 && m->rates[1] == 100 && v == 80)
		m->id = ID_WHEEL;
	else if (m->rates[0] == 200 && m->rates[1] == 200 && v == 80)
		m->id = ID_EXPLORER;
}

static void argument(struct ps2_mouse *m, uint8_t command, uint8_t v)
{
	if (command == 0xe8 && v > 3) {
		say(m, NAK);
		return;
	}
	say(m, ACK);
	if (command == 0xe8)
		m->resolution = v;
	else
		rate(m, v);
}

static void status(struct ps2_mouse *m)
{
	say(m, (uint8_t)((m->remote ? 0x40 : 0) | (m->enabled ? 0x20 : 0) | (m->scaling ? 0x10 : 0) |
		(m->buttons & 1) << 2 | (m->buttons & 4) >> 1 | (m->buttons & 2) >> 1));
	say(m, m->resolution);
	say(m, m->rate);
}

static void command(struct ps2_mouse *m, uint8_t v)
{
	say(m, ACK);
	switch (v) {
	case 0xe6:
	case 0xe7:
		m->scaling = v == 0xe7;
		break;
	case 0xe8:
	case 0xf3:
		m->command = v;
		break;
	case 0xe9:
		status(m);
		break;
	case 0xea:
	case 0xf0:
		forget(m);
		m->remote = v == 0xf0;
		break;
	case 0xeb:
		packet(m);
		break;
	case 0xec: /* back from wrap mode to what was before */
	case 0xee:
		m->wrap = v == 0xee;
		break;
	case 0xf2:
		say(m, m->id);
		break;
	case 0xf4:
	case 0xf5:
		forget(m);
		m->enabled = v == 0xf4;
		break;
	case 0xf6:
		defaults(m);
		break;
	case 0xff:
		ps2_mouse_reset(m);
		say(m, ACK);
		say(m, BAT_OK);
		say(m, m->id);
		break;
	default: /* touch pads and pointing sticks have some more: those drivers take it for a no */
		m->out[0] = NAK;
		break;
	}
}

void ps2_mouse_write(struct ps2_mouse *m, uint8_t v)
{
	uint8_t waiting = m->command;

	if (v == 0xfe && !m->wrap) {
		m->at = 0;
		return;
	}
	m->again |= m->is_packet && m->at < m->n;
	m->at = m->n = 0;
	m->is_packet = false;
	m->command = 0;
	if (m->wrap && v != 0xec && v != 0xff)
		say(m, v);
	else if (waiting && v < 0xe6) /* a command ends the wait for an argument */
		argument(m, waiting, v);
	else
		command(m, v);
}
