/* SPDX-License-Identifier: MIT */
/*
 * What a guest sends, headers and frames, on its way through virtio-net and libslirp: nothing of it may do more than be
 * dropped. The network is restricted, so no byte leaves. Input: bytes 0 and 1 are features and how a frame is cut into
 * descriptors, byte 2 which headers are made right; then records of a length (2 bytes, little endian) and as many bytes.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "net/net.h"
#include "virtio/virtq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE = 64, RX_AT = 0x10000, TX_AT = 0x80000, TX_LEN = 80 << 10 };

static struct mem mem;
static struct loop *loop;
static struct net net;
static struct virtio_net *card;

static void set_up(void)
{
	static const struct slirp_config c = {.restricted = true, .dns.s_addr = 0x0100007f};
	struct virtio_net_config v = {.net = &net, .mac = {2, 0, 0, 0, 0, 1}};

	assert(!mem_init(&mem, MIB, NULL));
	loop = loop_new();
	assert(loop && !slirp_net_new(&net, loop, &c, NULL));
	v.loop = loop;
	assert(!virtio_net_new(&card, &v, NULL));
}

static void desc(unsigned q, unsigned i, uint64_t addr, size_t len, unsigned flags, unsigned next)
{
	uint8_t *d = mem_at(&mem, 0x1000 * (q * 4 + 1) + 16 * i, 16);

	put_u64(d, addr);
	put_u32(d + 8, (uint32_t)len);
	put_u16(d + 12, (uint16_t)flags);
	put_u16(d + 14, (uint16_t)next);
}

static void offer(unsigned q, unsigned at, unsigned head)
{
	uint8_t *a = mem_at(&mem, 0x1000 * (q * 4 + 2), 4 + 2 * SIZE);

	put_u16(a + 4 + 2 * (at % SIZE), (uint16_t)head);
	put_u16(a + 2, (uint16_t)(at + 1));
}

/* Headers that lead further in: IPv4's own sum, and Ethernet's types. */
static void repair(uint8_t *f, size_t len, unsigned what)
{
	static const uint8_t types[4][2] = {{8, 0}, {8, 6}, {0x86, 0xdd}, {8, 0}};
	uint32_t sum = 0;

	if (len < 12 + 14 + 20)
		return;
	if (what & 8) {
		memset(f, 0, 12);
		f[0] = what >> 4 & 1;
		f[6] = 34;
		f[8] = what & 0x20 ? 16 : 6;
	}
	f += 12;
	if (what & 4)
		memcpy(f + 12, types[what & 3], 2);
	if (what & 0x40) {
		f[14] = 0x45;
		f[16] = (uint8_t)((len - 26) >> 8);
		f[17] = (uint8_t)(len - 26);
		f[20] = 0;
		f[21] = 0;
	}
	f[24] = f[25] = 0;
	for (unsigned i = 0; i < 20; i += 2)
		sum += (uint32_t)f[14 + i] << 8 | f[15 + i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~((sum & 0xffff) + (sum >> 16));
	f[24] = (uint8_t)(sum >> 8);
	f[25] = (uint8_t)sum;
}

static void tx(const uint8_t *p, size_t len, unsigned cut, unsigned what, unsigned at)
{
	uint8_t *to = mem_at(&mem, TX_AT, TX_LEN);
	size_t first = cut ? (len < cut ? len : cut) : len;

	memcpy(to, p, len);
	repair(to, len, what);
	desc(1, 0, TX_AT, first, first < len, 1);
	desc(1, 1, TX_AT + first, len - first, 0, 0);
	offer(1, at, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtq q[2];
	struct virtio_dev *d;
	uint64_t features;
	unsigned cut, what, n = 0;
	char text[4096];

	if (!card)
		set_up();
	if (size < 3)
		return 0;
	d = virtio_net_dev(card);
	features = VIRTIO_F_VERSION_1 | (data[0] & 1 ? d->features : 0) | (data[0] & 2 ? 1ull << 15 : 0);
	cut = data[1];
	what = data[2];
	data += 3;
	size -= 3;
	d->ops->features_set(d, features);
	for (unsigned i = 0; i < 2; i++) {
		memset(mem_at(&mem, 0x1000 * (i * 4 + 1), 0x3000), 0, 0x3000);
		q[i] = (struct virtq){.mem = &mem, .features = features, .kick_fd = -1, .ring = {.enabled = true, .size = SIZE,
			.desc = 0x1000 * (i * 4 + 1), .avail = 0x1000 * (i * 4 + 2), .used = 0x1000 * (i * 4 + 3)}};
		assert(!virtq_start(&q[i], 0, NULL) && !d->ops->start(d, i, &q[i]));
	}
	/* buffers of many sizes, some too small */
	for (unsigned i = 0; i < SIZE; i++) {
		desc(0, i, RX_AT + 0x600 * i, 1 + (size_t)(cut * 7 + i * 37) % 0x600, 2, 0);
		offer(0, i, i);
	}
	d->ops->kick(d, 0);
	while (size > 2) {
		size_t len = get_u16(data);

		data += 2;
		size -= 2;
		len = len < size ? len : size;
		tx(data, len, cut, what, n++);
		d->ops->kick(d, 1);
		assert(q[1].broken || q[1].used_idx == (uint16_t)n);
		data += len;
		size -= len;
	}
	for (unsigned i = 0; i < 2; i++) {
		d->ops->stop(d, i);
		assert(q[i].broken || q[i].next_avail == q[i].used_idx);
		virtq_stop(&q[i]);
	}
	assert(virtio_net_stats(card, text, sizeof text) <= sizeof text);
	return 0;
}
