/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <string.h>

#include "base/util.h"
#include "guest.h"

enum { IP = 14, L4 = 34, ICMP = 1, TCP = 6, UDP = 17, FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16 };
enum { SLOTS_AT = 8 << 20, RX_AT = 1 << 20, SLOT_DESCS = G_ENTRIES / G_SLOTS };

static void be16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void be32(uint8_t *p, uint32_t v)
{
	be16(p, v >> 16);
	be16(p + 2, v & 0xffff);
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

uint8_t guest_pattern(uint64_t off)
{
	return (uint8_t)(off ^ off >> 8 ^ off >> 16);
}

uint16_t guest_sum(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i + 1 < len; i += 2) {
		sum += get16(p + i);
		sum = (sum & 0xffff) + (sum >> 16);
	}
	if (len & 1)
		sum += (uint32_t)p[len - 1] << 8;
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)((sum & 0xffff) + (sum >> 16));
}

/* --- rings ------------------------------------------------------------------------------------- */

static void desc_put(struct guest *g, struct gring *r, unsigned i, uint64_t addr, size_t len, unsigned flags, unsigned next)
{
	uint8_t *d = mem_at(&g->mem, r->desc + 16ull * i, 16);

	put_u64(d, addr);
	put_u32(d + 8, (uint32_t)len);
	put_u16(d + 12, (uint16_t)flags);
	put_u16(d + 14, (uint16_t)next);
}

static void offer(struct guest *g, struct gring *r, unsigned head)
{
	uint8_t *a = mem_at(&g->mem, r->avail, 4 + 2ull * r->size);

	put_u16(a + 4 + 2 * (r->avail_idx % r->size), (uint16_t)head);
	r->avail_idx++;
	__atomic_store_n((uint16_t *)(void *)(a + 2), r->avail_idx, __ATOMIC_RELEASE);
}

static void kick(struct guest *g, unsigned q)
{
	const uint8_t *used = mem_at(&g->mem, g->ring[q].used, 4);

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(*(const volatile uint16_t *)(const void *)used & 1))
		g->kick(g, q);
}

void guest_init(struct guest *g, struct loop *l, uint64_t features)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

	memset(g, 0, sizeof *g);
	assert(!mem_init(&g->mem, 48 * MIB, NULL));
	g->loop = l;
	g->features = features;
	memcpy(g->mac, mac, 6);
	memset(g->gw, 0xff, 6);
	g->ip = 0x0a00020f;
	g->mss = 1460;
	g->rx_size = features & G_MRG_RXBUF ? 1536 : 68 << 10;
	g->rx_posted = G_ENTRIES;
	g->slots = ~0ull;
	for (unsigned q = 0; q < G_RINGS; q++)
		g->ring[q] = (struct gring){.desc = 0x10000 * (q + 1), .avail = 0x10000 * (q + 1) + 0x4000,
			.used = 0x10000 * (q + 1) + 0x8000, .size = G_ENTRIES};
	/* what was sent is noticed with the next interrupt for what came, as drivers do it */
	put_u16(mem_at(&g->mem, g->ring[G_TX].avail, 2), 1);
}

void guest_fini(struct guest *g)
{
	timer_set(g->loop, &g->late, 0);
	mem_fini(&g->mem);
}

static uint64_t rx_at(const struct guest *g, unsigned i)
{
	/* big ones are few enough: see guest_post() */
	return RX_AT + (uint64_t)i * g->rx_size;
}

void guest_post(struct guest *g)
{
	struct gring *r = &g->ring[G_RX];
	unsigned most = g->rx_size > 4096 ? 64 : g->rx_posted;

	for (unsigned i = r->avail_idx; i < most; i++) {
		desc_put(g, r, i, g->rx_size > 4096 ? 16 * MIB + (uint64_t)i * g->rx_size : rx_at(g, i), g->rx_size, 2, 0);
		offer(g, r, i);
	}
	kick(g, G_RX);
}

void guest_send_raw(struct guest *g, const void *bytes, size_t len)
{
	struct gring *r = &g->ring[G_TX];
	unsigned slot, n = g->pieces ? g->pieces : 1, at = 0;
	uint64_t to;

	assert(g->slots && len <= G_SLOT && n <= SLOT_DESCS);
	slot = (unsigned)__builtin_ctzll(g->slots);
	g->slots &= ~(1ull << slot);
	to = SLOTS_AT + (uint64_t)slot * G_SLOT;
	/* a bench measures the device: what nobody looks at is not copied */
	assert(!mem_put(&g->mem, to, bytes, g->plain && len > 128 ? 128 : len));
	for (unsigned i = 0; i < n; i++) {
		/* uneven, the first one shorter than a header */
		unsigned k = i + 1 < n ? (i ? (unsigned)len / n : 7) : (unsigned)len - at;

		if (k > len - at)
			k = (unsigned)len - at;
		desc_put(g, r, slot * SLOT_DESCS + i, to + at, k, i + 1 < n, slot * SLOT_DESCS + i + 1);
		at += k;
	}
	offer(g, r, slot * SLOT_DESCS);
	kick(g, G_TX);
}

bool guest_send(struct guest *g, const struct net_hdr *h, const void *frame, size_t len)
{
	static uint8_t both[NET_FRAME_MAX + 64];

	if (!g->slots) {
		g->tx_stalls++;
		return false;
	}
	memset(both, 0, sizeof *h);
	if (h)
		memcpy(both, h, sizeof *h);
	memcpy(both + sizeof *h, frame, g->plain && len > 128 ? 128 : len);
	guest_send_raw(g, both, sizeof *h + len);
	return true;
}

/* --- frames down ------------------------------------------------------------------------------- */

static void ether(struct guest *g, uint8_t *f, const uint8_t *dst, unsigned type)
{
	memcpy(f, dst, 6);
	memcpy(f + 6, g->mac, 6);
	be16(f + 12, type);
}

static void ip4(uint8_t *f, uint32_t src, uint32_t dst, unsigned proto, size_t len)
{
	memset(f + IP, 0, 20);
	f[IP] = 0x45;
	be16(f + IP + 2, (unsigned)(20 + len));
	f[IP + 8] = 64;
	f[IP + 9] = (uint8_t)proto;
	be32(f + IP + 12, src);
	be32(f + IP + 16, dst);
	be16(f + IP + 10, (uint16_t)~guest_sum(f + IP, 20, 0));
}

static uint16_t pseudo(const uint8_t *f, size_t len)
{
	return guest_sum(f + IP + 12, 8, (uint32_t)(f[IP + 9] + len));
}

void guest_arp(struct guest *g, uint32_t ip)
{
	static const uint8_t all[6] = {255, 255, 255, 255, 255, 255}, fixed[8] = {0, 1, 8, 0, 6, 4, 0, 1};
	uint8_t f[60] = {0};

	ether(g, f, all, 0x0806);
	memcpy(f + 14, fixed, 8);
	memcpy(f + 22, g->mac, 6);
	be32(f + 28, g->ip);
	be32(f + 38, ip);
	guest_send(g, NULL, f, sizeof f);
}

/* What is in g->frame, n bytes behind the IP header, in pieces. */
static void send_fragments(struct guest *g, size_t n)
{
	static uint8_t f[2000];

	for (size_t i = (n + g->cut - 1) / g->cut; i-- > 0;) {
		size_t off = i * g->cut, from = off >= g->overlap ? off - g->overlap : off;
		size_t k = off + g->cut < n ? off + g->cut - from : n - from;

		memcpy(f, g->frame, L4);
		memcpy(f + L4, g->frame + L4 + from, k);
		be16(f + IP + 2, (unsigned)(20 + k));
		be16(f + IP + 4, 0x1234);
		be16(f + IP + 6, (unsigned)(from / 8 | (off + g->cut < n ? 0x2000 : 0)));
		be16(f + IP + 10, 0);
		be16(f + IP + 10, (uint16_t)~guest_sum(f + IP, 20, 0));
		guest_send(g, NULL, f, L4 + k);
	}
}

static void udp_frame(struct guest *g, const uint8_t *dst, uint32_t src, uint32_t ip, unsigned lport, unsigned rport,
	const void *data, size_t len)
{
	uint8_t *f = g->frame;
	struct net_hdr h = {.flags = 0};

	ether(g, f, dst, 0x0800);
	ip4(f, src, ip, UDP, 8 + len);
	be16(f + L4, lport);
	be16(f + L4 + 2, rport);
	be16(f + L4 + 4, (unsigned)(8 + len));
	be16(f + L4 + 6, 0);
	memcpy(f + L4 + 8, data, len);
	be16(f + L4 + 6, pseudo(f, 8 + len));
	if (g->features & G_CSUM && !g->cut) {
		h = (struct net_hdr){.flags = NET_NEEDS_CSUM, .csum_start = L4, .csum_offset = 6};
	} else {
		uint16_t sum = (uint16_t)~guest_sum(f + L4, 8 + len, 0);

		be16(f + L4 + 6, sum ? sum : 0xffff);
	}
	if (g->cut)
		send_fragments(g, 8 + len);
	else
		guest_send(g, &h, f, L4 + 8 + len);
}

void guest_udp(struct guest *g, uint32_t ip, uint16_t lport, uint16_t rport, const void *data, size_t len)
{
	udp_frame(g, g->gw, g->ip, ip, lport, rport, data, len);
}

void guest_dhcp(struct guest *g, unsigned type, uint32_t ask)
{
	static const uint8_t all[6] = {255, 255, 255, 255, 255, 255};
	uint8_t b[300] = {1, 1, 6, 0, 1, 2, 3, 4}, *o = b + 240;

	memcpy(b + 28, g->mac, 6);
	be32(b + 236, 0x63825363);
	*o++ = 53;
	*o++ = 1;
	*o++ = (uint8_t)type;
	if (ask) {
		*o++ = 50;
		*o++ = 4;
		be32(o, ask);
		o += 4;
	}
	*o = 255;
	udp_frame(g, all, 0, 0xffffffff, 68, 67, b, sizeof b);
}

void guest_ping(struct guest *g, uint32_t ip)
{
	uint8_t f[L4 + 40] = {0};

	ether(g, f, g->gw, 0x0800);
	ip4(f, g->ip, ip, ICMP, 40);
	f[L4] = 8;
	be16(f + L4 + 4, 0x77);
	memset(f + L4 + 8, 0x5a, 32);
	be16(f + L4 + 2, (uint16_t)~guest_sum(f + L4, 40, 0));
	guest_send(g, NULL, f, sizeof f);
}

/* One segment of n bytes at seq; data is in g->frame already. */
static bool tcp_send(struct guest *g, struct gtcp *c, unsigned flags, uint32_t seq, size_t n)
{
	uint8_t *f = g->frame;
	struct net_hdr h = {.flags = 0};
	size_t options = flags & SYN ? 8 : 0, header = 20 + options;

	ether(g, f, g->gw, 0x0800);
	ip4(f, g->ip, c->ip, TCP, header + n);
	memset(f + L4, 0, 20);
	be16(f + L4, c->lport);
	be16(f + L4 + 2, c->rport);
	be32(f + L4 + 4, seq);
	be32(f + L4 + 8, c->rcv_nxt);
	f[L4 + 12] = (uint8_t)(header / 4 << 4);
	f[L4 + 13] = (uint8_t)flags;
	be16(f + L4 + 14, 65535);
	if (options) {
		/* MSS at an odd place, window scale as all send it */
		uint8_t opt[8] = {1, 2, 4, (uint8_t)(g->mss >> 8), (uint8_t)g->mss, 0, 0, 0};

		memcpy(f + L4 + 20, opt, 8);
	}
	if (g->features & G_CSUM) {
		be16(f + L4 + 16, pseudo(f, header + n));
		h = (struct net_hdr){.flags = NET_NEEDS_CSUM, .csum_start = L4, .csum_offset = 16};
		if (n > g->mss) {
			h.gso_type = NET_GSO_TCPV4;
			h.gso_size = (uint16_t)g->mss;
			h.hdr_len = (uint16_t)(L4 + header);
		}
	} else {
		be16(f + L4 + 16, (uint16_t)~guest_sum(f + L4, header + n, pseudo(f, header + n)));
	}
	c->need_ack = false;
	return guest_send(g, &h, f, L4 + header + n);
}

struct gtcp *guest_connect(struct guest *g, uint32_t ip, uint16_t lport, uint16_t rport)
{
	struct gtcp *c = NULL;

	for (unsigned i = 0; i < G_CONNS && !c; i++)
		if (!g->tcp[i].used)
			c = &g->tcp[i];
	assert(c);
	*c = (struct gtcp){.used = true, .syn_sent = true, .ip = ip, .lport = lport, .rport = rport, .snd_una = 1000,
		.snd_nxt = 1001, .wnd = 1};
	assert(tcp_send(g, c, SYN, 1000, 0));
	return c;
}

void guest_output(struct guest *g, struct gtcp *c)
{
	size_t most = g->features & G_HOST_TSO4 ? 65000 : g->mss < c->peer_mss ? g->mss : c->peer_mss;

	while (c->open && !c->reset && c->sent < c->want && g->slots) {
		uint32_t out = c->snd_nxt - c->snd_una, room = c->wnd > out ? c->wnd - out : 0;
		size_t n = min_u64(min_u64(room, most), c->want - c->sent);

		if (!n || (n < c->want - c->sent && n < 1000 && out))
			break;
		if (!g->plain)
			for (size_t i = 0; i < n; i++)
				g->frame[L4 + 20 + i] = guest_pattern(c->sent + i);
		if (!tcp_send(g, c, ACK | PSH, c->snd_nxt, n))
			break;
		c->snd_nxt += (uint32_t)n;
		c->sent += n;
	}
	if (c->open && c->close && c->sent == c->want && !c->fin_sent && !c->reset && g->slots)
		if (tcp_send(g, c, FIN | ACK, c->snd_nxt, 0)) {
			c->fin_sent = true;
			c->snd_nxt++;
		}
	if (c->need_ack && g->slots)
		tcp_send(g, c, ACK, c->snd_nxt, 0);
}

/* --- frames up --------------------------------------------------------------------------------- */

static void options_in(struct gtcp *c, const uint8_t *o, const uint8_t *end)
{
	while (o + 1 < end && *o)
		if (*o == 1) {
			o++;
		} else {
			if (o[0] == 2)
				c->peer_mss = get16(o + 2);
			o += o[1] ? o[1] : 1;
		}
}

static void tcp_in(struct guest *g, const uint8_t *f, size_t len)
{
	const uint8_t *t = f + L4;
	size_t header = (size_t)(t[12] >> 4) * 4, n = len - L4 - header;
	uint32_t seq = get32(t + 4), ack = get32(t + 8), from = get32(f + IP + 12);
	struct gtcp *c = NULL;

	for (unsigned i = 0; i < G_CONNS; i++)
		if (g->tcp[i].used && g->tcp[i].ip == from && g->tcp[i].rport == get16(t) && g->tcp[i].lport == get16(t + 2))
			c = &g->tcp[i];
	if (!c && g->listening && (t[13] & (SYN | ACK)) == SYN) {
		for (unsigned i = 0; i < G_CONNS && !c; i++)
			if (!g->tcp[i].used)
				c = &g->tcp[i];
		assert(c);
		*c = (struct gtcp){.used = true, .echo = true, .ip = from, .lport = get16(t + 2), .rport = get16(t), .snd_una = 5000,
			.snd_nxt = 5001, .rcv_nxt = seq + 1};
		options_in(c, t + 20, t + header);
		memcpy(g->gw, f + 6, 6);
		assert(tcp_send(g, c, SYN | ACK, 5000, 0));
		return;
	}
	if (!c)
		return;
	if (t[13] & RST) {
		c->reset = true;
		return;
	}
	c->wnd = get16(t + 14);
	if (t[13] & ACK && (int32_t)(ack - c->snd_una) > 0)
		c->snd_una = ack;
	if (t[13] & SYN) {
		options_in(c, t + 20, t + header);
		c->rcv_nxt = seq + 1;
		c->open = c->need_ack = true;
		return;
	}
	if (!c->open && c->snd_una == c->snd_nxt)
		c->open = true;
	if (n) {
		c->need_ack = true;
		if (seq != c->rcv_nxt)
			return;
		for (size_t i = 0; !g->plain && i < n; i++)
			c->wrong |= t[header + i] != guest_pattern(c->in + i);
		c->in += n;
		c->rcv_nxt += (uint32_t)n;
		if (c->echo)
			c->want = c->in;
	}
	if (t[13] & FIN && seq + n == c->rcv_nxt && !c->fin_in) {
		c->fin_in = c->need_ack = true;
		c->rcv_nxt++;
		if (c->echo)
			c->close = true;
	}
}

static void udp_in(struct guest *g, const uint8_t *f, size_t len)
{
	const uint8_t *b = f + L4 + 8;

	g->udp_from = get32(f + IP + 12);
	if (get16(f + L4 + 2) == 68 && len > L4 + 8 + 243) {
		for (const uint8_t *o = b + 240; o + 1 < f + len && *o != 255; o += 2 + o[1]) {
			if (o[0] == 53) {
				g->offer |= o[2] == 2;
				g->ack |= o[2] == 5;
			}
			if (o[0] == 6)
				g->dhcp_dns = get32(o + 2);
			if (o[0] == 3)
				g->dhcp_router = get32(o + 2);
		}
		g->dhcp_ip = get32(b + 16);
		return;
	}
	g->udp_frames++;
	g->udp_bytes = len - L4 - 8;
	memcpy(g->udp, b, g->udp_bytes);
}

/* A fragment's bytes, put where they belong; those of the whole are counted. */
static void fragment_in(struct guest *g, const uint8_t *f, size_t len)
{
	size_t off = (size_t)(get16(f + IP + 6) & 0x1fff) * 8;

	g->udp_fragments++;
	g->udp_from = get32(f + IP + 12);
	memcpy(g->udp + off, f + L4, len - L4);
	g->udp_bytes += len - L4;
}

static void sums(struct guest *g, const struct net_hdr *h, const uint8_t *f, size_t len)
{
	unsigned proto = f[IP + 9];
	bool l4 = proto == TCP || (proto == UDP && get16(f + L4 + 6));

	if (guest_sum(f + IP, 20, 0) != 0xffff)
		g->bad_sums++;
	if (get16(f + IP + 6) & 0x3fff || (proto != TCP && proto != UDP) || g->plain)
		return;
	if (h->flags & NET_NEEDS_CSUM) {
		const uint8_t *at = f + h->csum_start + h->csum_offset;

		if (h->csum_start != L4 || h->csum_offset != (proto == TCP ? 16 : 6) || get16(at) != pseudo(f, len - L4))
			g->bad_sums++;
	} else if (l4 && guest_sum(f + L4, len - L4, pseudo(f, len - L4)) != 0xffff) {
		g->bad_sums++;
	}
}

static void frame_in(struct guest *g, const struct net_hdr *h, uint8_t *f, size_t len)
{
	g->frames++;
	g->gso_frames += h->gso_type != 0;
	g->valid_frames += h->flags & NET_DATA_VALID ? 1 : 0;
	if (h->gso_type)
		g->last_gso_size = h->gso_size;
	if (get16(f + 12) == 0x0806) {
		if (get16(f + 20) == 2) {
			g->arp = true;
			memcpy(g->gw, f + 22, 6);
		} else if (get32(f + 38) == g->ip) {
			uint8_t r[60];

			memcpy(r, f, 42);
			ether(g, r, f + 6, 0x0806);
			be16(r + 20, 2);
			memcpy(r + 22, g->mac, 6);
			be32(r + 28, g->ip);
			memcpy(r + 32, f + 22, 10);
			memset(r + 42, 0, 18);
			guest_send(g, NULL, r, sizeof r);
		}
		return;
	}
	if (get16(f + 12) != 0x0800)
		return;
	g->largest = len > g->largest ? (unsigned)len : g->largest;
	len = (size_t)IP + get16(f + IP + 2) < len ? (size_t)IP + get16(f + IP + 2) : len;
	sums(g, h, f, len);
	if (get16(f + IP + 6) & 0x3fff)
		fragment_in(g, f, len);
	else if (f[IP + 9] == TCP)
		tcp_in(g, f, len);
	else if (f[IP + 9] == UDP)
		udp_in(g, f, len);
	else if (f[IP + 9] == ICMP && f[L4] == 0 && get16(f + L4 + 4) == 0x77)
		g->pong = true;
}

static bool used_next(struct guest *g, struct gring *r, uint32_t *id, uint32_t *len)
{
	const uint8_t *u = mem_at(&g->mem, r->used, 4 + 8ull * r->size);

	if (__atomic_load_n((const uint16_t *)(const void *)(u + 2), __ATOMIC_ACQUIRE) == r->used_idx)
		return false;
	*id = get_u32(u + 4 + 8 * (r->used_idx % r->size));
	*len = get_u32(u + 8 + 8 * (r->used_idx % r->size));
	r->used_idx++;
	return true;
}

static void rx_poll(struct guest *g)
{
	static uint8_t whole[NET_FRAME_MAX + 64];
	struct gring *r = &g->ring[G_RX];
	uint32_t id, len;
	bool any = false;

	while (used_next(g, r, &id, &len)) {
		struct net_hdr h;
		size_t at = 0;

		for (unsigned left = 1, first = 1; left; left--, first = 0) {
			uint64_t from = g->rx_size > 4096 ? 16 * MIB + (uint64_t)id * g->rx_size : rx_at(g, id);

			/* all of a frame's buffers are there at once (5.1.6.4) */
			assert(first || used_next(g, r, &id, &len));
			if (!first)
				from = g->rx_size > 4096 ? 16 * MIB + (uint64_t)id * g->rx_size : rx_at(g, id);
			assert(len <= g->rx_size);
			if (first) {
				assert(len >= sizeof h && !mem_get(&g->mem, from, &h, sizeof h));
				assert(h.num_buffers >= 1);
				left = h.num_buffers;
				from += sizeof h;
				len -= (uint32_t)sizeof h;
			}
			assert(at + len <= sizeof whole);
			if (first || !g->plain)
				assert(!mem_get(&g->mem, from, whole + at, len));
			at += len;
			offer(g, r, id);
			any = true;
		}
		frame_in(g, &h, whole, at);
	}
	if (any)
		kick(g, G_RX);
}

void guest_poll(struct guest *g)
{
	uint32_t id, len;

	rx_poll(g);
	while (used_next(g, &g->ring[G_TX], &id, &len))
		g->slots |= 1ull << id / SLOT_DESCS;
	for (unsigned i = 0; i < G_CONNS; i++)
		if (g->tcp[i].used)
			guest_output(g, &g->tcp[i]);
	if (g->cond && g->cond(g)) {
		g->met = true;
		loop_stop(g->loop);
	}
}

static void late(struct timer *t)
{
	loop_stop(CONTAINER_OF(t, struct guest, late)->loop);
}

bool guest_wait(struct guest *g, bool (*cond)(struct guest *g), unsigned ms)
{
	g->cond = cond;
	g->met = false;
	g->late.fire = late;
	timer_set(g->loop, &g->late, now_ns() + ms * UINT64_C(1000000));
	guest_poll(g);
	assert(!loop_run(g->loop));
	timer_set(g->loop, &g->late, 0);
	g->cond = NULL;
	return g->met;
}
