/* SPDX-License-Identifier: MIT */
/*
 * Requests of a hostile driver to virtio-blk: headers, segments and ranges of any shape, on four disks (io_uring, threads with
 * an overlay, read-only, one without discard). The input is a list of requests, and maybe bytes poked into ring and tables
 * before the device looks. Always:
 * - an image that is read-only or has an overlay stays as it was, and no image changes its size;
 * - unless bytes were poked, the device writes nowhere in RAM but in the used ring and in segments that are for it to write, and
 *   every request comes back once, with a status that exists.
 */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "block/virtio_blk.h"
#include "virtio/virtq.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM = 256 << 10, IMAGE = 192 * 1024 + 512, QUEUE = 16, SEGS = 12, DISKS = 4 };
enum { DESC = 0x0, AVAIL = 0x200, USED = 0x400, TABLES = 0x1000, HEADERS = 0x4000, DATA = 0x8000, DATA_LEN = 12 << 10 };

struct disk {
	struct blk *blk;
	struct virtio_dev *dev;
	int image;
	bool same; /* the image must not change */
};

static struct disk disk[DISKS];
static struct mem mem;
static uint8_t *ram, before[RAM], allowed[RAM], pattern[IMAGE];

static int image(void)
{
	int fd = memfd_create("fuzz-blk", MFD_CLOEXEC);

	assert(fd >= 0 && pwrite(fd, pattern, IMAGE, 0) == IMAGE);
	return fd;
}

static void set_up(void)
{
	int fd = memfd_create("fuzz-ram", MFD_CLOEXEC);
	struct err e;

	log_init("fuzz", LOG_ERR);
	for (unsigned i = 0; i < IMAGE; i++)
		pattern[i] = (uint8_t)(i * 31 >> 4 | 1);
	assert(fd >= 0 && !ftruncate(fd, RAM));
	mem_init_empty(&mem);
	assert(!mem_attach(&mem, 0, RAM, fd, 0, NULL));
	ram = mem_at(&mem, 0, RAM);
	close(fd);
	for (unsigned i = 0; i < DISKS; i++) {
		struct blk_config c = {.name = "image", .overlay_fd = -1, .bitmap_fd = -1, .discard = i != 3, .threads = 2,
			.aio = i == 1 || i == 3 ? BLK_AIO_THREADS : BLK_AIO_AUTO, .read_only = i == 2};
		struct virtio_blk_config v = {.nqueues = 1, .queue_size = QUEUE, .discard = i != 3, .serial = "serial"};
		struct virtio_blk *dev;

		disk[i].image = image();
		disk[i].same = i == 1 || i == 2;
		if (i == 1) {
			c.overlay_fd = memfd_create("fuzz-overlay", MFD_CLOEXEC);
			c.bitmap_fd = memfd_create("fuzz-map", MFD_CLOEXEC);
		}
		c.fd = blk_open_file(NULL, disk[i].image, &c, &e);
		assert(c.fd >= 0 && !blk_open(&disk[i].blk, &c, &e));
		v.blk = disk[i].blk;
		assert(!virtio_blk_new(&dev, &v, &e));
		disk[i].dev = virtio_blk_dev(dev);
	}
}

struct input {
	const uint8_t *p;
	size_t left;
};

static unsigned take(struct input *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static uint64_t take_n(struct input *in, unsigned n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | take(in);
	return v;
}

/* Lengths that matter, or any. */
static uint32_t length(struct input *in)
{
	static const uint32_t lens[] = {1, 16, 512, 1024, 4096, 15, 17, 511, 513, 20, 32, 8192};
	unsigned k = take(in);

	return k < 0xe0 ? lens[k % ARRAY_LEN(lens)] : (uint32_t)take_n(in, 2);
}

static void segment(uint8_t *d, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	put_u64(d, addr);
	put_u32(d + 8, len);
	put_u16(d + 12, (uint16_t)flags);
	put_u16(d + 14, (uint16_t)next);
}

/* Chain i: where its last byte to write is, or 0 when it has none. */
static uint64_t request(struct input *in, unsigned i)
{
	static const uint8_t types[] = {0, 1, 0, 1, 4, 8, 11, 13};
	unsigned n = 1 + take(in) % SEGS, nout = take(in) % (n + 1), k = take(in);
	uint8_t *h = ram + HEADERS + i * 256, *d = ram + TABLES + i * 256;
	uint64_t last = 0, at = DATA + i * DATA_LEN;

	put_u32(h, k < 0xf0 ? types[k % ARRAY_LEN(types)] : (uint32_t)take_n(in, 4));
	k = take(in);
	put_u64(h + 8, k < 0xc0 ? k * 2 : k < 0xe0 ? IMAGE / 512 - 4 + k % 8 : take_n(in, 8));
	/* ranges may follow, as a part of the header's segment or of the next ones */
	for (unsigned r = 0; r < 15; r++) {
		put_u64(h + 16 + r * 16ull, take(in) * 2);
		put_u32(h + 24 + r * 16ull, take(in));
		k = take(in);
		put_u32(h + 28 + r * 16ull, k < 0xc0 ? 0 : k & 3);
		if (k % 3)
			break;
	}
	for (unsigned s = 0; s < n; s++) {
		bool write = s >= nout;
		uint32_t len = s == 0 && nout ? 16 : s == n - 1 && write ? 1 : length(in);
		uint64_t addr = s == 0 && nout ? HEADERS + i * 256 : s == 1 && nout > 1 ? HEADERS + i * 256 + 16 : at;

		if (take(in) > 0xf0 && s != n - 1)
			len = length(in);
		if (addr == at) {
			len = (uint32_t)min_u64(len, DATA + (i + 1) * DATA_LEN - 16 - at);
			at += len;
		}
		/* segments that the device writes do not meet anything else */
		if (write && addr + len <= RAM) {
			memset(allowed + addr, 1, len);
			last = len ? addr + len - 1 : last;
		}
		segment(d + s * 16ull, addr, len, (s + 1 < n ? 1u : 0) | (write ? 2u : 0), s + 1);
	}
	if (last)
		ram[last] = 0xaa;
	segment(ram + DESC + i * 16ull, TABLES + i * 256, n * 16, 4, 0);
	put_u16(ram + AVAIL + 4 + 2 * (size_t)i, (uint16_t)i);
	return last;
}

static void call(struct virtq *q, void *arg)
{
	(void)q;
	(void)arg;
}

static void check_image(const struct disk *k)
{
	static uint8_t now[IMAGE];
	struct stat st;

	assert(!fstat(k->image, &st) && st.st_size == IMAGE);
	if (k->same)
		assert(pread(k->image, now, IMAGE, 0) == IMAGE && !memcmp(now, pattern, IMAGE));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	unsigned n, pokes, flags;
	uint64_t last[QUEUE];
	struct virtq q = {.mem = &mem, .call = call};
	uint8_t config[60];
	struct disk *k;
	struct err e;

	if (!ram)
		set_up();
	memset(ram, 0, RAM);
	memset(allowed, 0, RAM);
	memset(allowed + USED, 1, 0x200);
	flags = take(&in);
	k = &disk[flags % DISKS];
	n = 1 + take(&in) % QUEUE;
	for (unsigned i = 0; i < n; i++)
		last[i] = request(&in, i);
	pokes = flags & 0x80 ? take(&in) % 8 : 0;
	for (unsigned i = 0; i < pokes; i++) {
		uint64_t at = take_n(&in, 2) % DATA;

		ram[at] = (uint8_t)take(&in);
	}
	put_u16(ram + AVAIL + 2, (uint16_t)n);
	memcpy(before, ram, RAM);
	q.features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | (flags & 4 ? VIRTIO_F_EVENT_IDX : 0) |
		(flags & 8 ? 1ull << 9 : 0);
	q.ring = (struct virtio_ring){.enabled = true, .size = QUEUE, .desc = DESC, .avail = AVAIL, .used = USED};
	q.kick_fd = -1;
	if (virtq_start(&q, 0, &e))
		return 0;
	k->dev->ops->config_read(k->dev, flags % 60, config, 60 - flags % 60);
	/* what is there is taken when the queue starts, and done when it has stopped */
	assert(!k->dev->ops->start(k->dev, 0, &q));
	k->dev->ops->stop(k->dev, 0);
	if (!pokes) {
		bool bad = false;

		for (unsigned i = 0; i < n; i++)
			bad = bad || !last[i];
		assert(q.broken == bad && (bad || get_u16(ram + USED + 2) == n));
		for (unsigned i = 0; i < RAM; i++)
			assert(allowed[i] || ram[i] == before[i]);
		for (unsigned i = 0; i < n && !bad; i++)
			assert(ram[last[i]] <= 2);
	}
	virtq_stop(&q);
	check_image(k);
	return 0;
}
