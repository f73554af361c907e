/* SPDX-License-Identifier: MIT */
/* Fragments: RFC 791, 3.2; timeout: RFC 1122, 3.3.2, but shorter, as there is nothing in between that could delay. */
#include <string.h>

#include "base/util.h"
#include "net/net.h"
#include "net/reass-int.h"

static const uint64_t TIMEOUT_NS = 5ull * 1000000000;

static struct reass_slot *find(struct reass *r, const uint8_t *ip, uint64_t now)
{
	struct reass_slot *oldest = &r->slot[0];

	for (unsigned i = 0; i < REASS_SLOTS; i++) {
		struct reass_slot *s = &r->slot[i];

		if (s->used && now - s->since > TIMEOUT_NS) {
			s->used = false;
			r->dropped++;
		}
		if (s->used && s->id == get_u16(ip + 4) && s->proto == ip[9] && s->src == get_u32(ip + 12) &&
			s->dst == get_u32(ip + 16))
			return s;
		if (oldest->used && (!s->used || s->since < oldest->since))
			oldest = s;
	}
	r->dropped += oldest->used;
	memset(oldest, 0, offsetof(struct reass_slot, frame));
	oldest->used = true;
	oldest->id = get_u16(ip + 4);
	oldest->proto = ip[9];
	oldest->src = get_u32(ip + 12);
	oldest->dst = get_u32(ip + 16);
	oldest->since = now;
	return oldest;
}

/* Its bytes, if there is room for them and none is there yet. */
static bool put(struct reass_slot *s, const uint8_t *data, size_t off, size_t len, bool more)
{
	size_t header = s->header ? s->header : 20;

	if (!len || (more && len % 8) || off + len > 65535 - header)
		return false;
	if (s->last ? off + len > s->total : !more && off + len < s->total)
		return false;
	if (!more && s->last)
		return false;
	for (size_t b = off / 8; b <= (off + len - 1) / 8; b++) {
		if (s->blocks[b / 8] & 1u << b % 8)
			return false;
		s->blocks[b / 8] |= (uint8_t)(1u << b % 8);
	}
	memcpy(s->frame + REASS_DATA + off, data, len);
	s->have += len;
	s->total = off + len > s->total ? off + len : s->total;
	s->last |= !more;
	return true;
}

uint8_t *reass_add(struct reass *r, const uint8_t *frame, const struct packet *p, uint64_t now, size_t *len)
{
	const uint8_t *ip = frame + NET_ETH;
	unsigned field = packet_be16(ip + 6);
	size_t off = (size_t)(field & 0x1fff) * 8, header = p->l4 - NET_ETH;
	struct reass_slot *s = find(r, ip, now);
	uint8_t *whole;

	/* the reserved bit is zero */
	if (field & 0x8000 || !put(s, frame + p->l4, off, p->end - p->l4, field & 0x2000))
		goto drop;
	if (!off) {
		s->header = (uint8_t)header;
		memcpy(s->frame + REASS_DATA - header - NET_ETH, frame, NET_ETH + header);
	}
	if (!s->last || s->have < s->total)
		return NULL;
	/* without holes: so the first one is there, too */
	if (s->header + s->total > 65535)
		goto drop;
	whole = s->frame + REASS_DATA - s->header - NET_ETH;
	packet_be16_put(whole + NET_ETH + 2, (unsigned)(s->header + s->total));
	packet_be16_put(whole + NET_ETH + 6, 0);
	packet_ip4_sum(whole + NET_ETH, s->header);
	s->used = false;
	*len = NET_ETH + s->header + s->total;
	return whole;
drop:
	s->used = false;
	r->dropped++;
	return NULL;
}
