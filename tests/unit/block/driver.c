/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"

uint32_t drv_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

int drv_file(uint64_t size, unsigned seed)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir && *dir ? dir : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	uint64_t state = seed;
	uint32_t buf[1024];

	assert(fd >= 0 && !ftruncate(fd, (off_t)size));
	for (uint64_t off = 0; seed && off < size; off += sizeof buf) {
		for (size_t i = 0; i < ARRAY_LEN(buf); i++)
			buf[i] = drv_random(&state);
		assert(pwrite(fd, buf, min_u64(sizeof buf, size - off), (off_t)off) > 0);
	}
	return fd;
}

int drv_again(int fd, const struct blk_config *c)
{
	struct err e;
	int n = blk_open_file(NULL, fd, c, &e);

	if (n < 0)
		fprintf(stderr, "%s\n", e.text);
	assert(n >= 0);
	return n;
}

static void call(struct virtq *q, void *arg)
{
	struct drv *d = arg;
	uint64_t one = 1;

	assert(q == &d->q && write(d->call, &one, 8) == 8);
}

int drv_open(struct drv *d, const struct drv_config *c, struct err *e)
{
	struct virtio_blk_config v = {.nqueues = c->nqueues ? c->nqueues : 1, .queue_size = DRV_QUEUE,
		.seg_max = c->seg_max, .size_max = c->size_max, .discard = c->blk.discard, .serial = "serial-0123456789abc"};
	int fd, rc;

	memset(d, 0, sizeof *d);
	rc = blk_open(&d->blk, &c->blk, e);
	if (rc)
		return rc;
	v.blk = d->blk;
	rc = virtio_blk_new(&d->v, &v, e);
	if (rc) {
		blk_close(d->blk);
		return rc;
	}
	d->dev = virtio_blk_dev(d->v);
	fd = memfd_create("block-test", MFD_CLOEXEC);
	assert(fd >= 0 && !ftruncate(fd, DRV_RAM));
	mem_init_empty(&d->mem);
	assert(!mem_attach(&d->mem, 0, DRV_RAM, fd, 0, NULL));
	close(fd);
	d->ram = mem_at(&d->mem, 0, DRV_RAM);
	d->kick = d->call = -1;
	return 0;
}

void drv_start(struct drv *d, const struct drv_config *c)
{
	struct err e;

	d->kick = eventfd(0, EFD_CLOEXEC | (c->nonblocking ? EFD_NONBLOCK : 0));
	d->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert(d->kick >= 0 && d->call >= 0);
	memset(d->ram, 0, DRV_TABLES);
	d->avail = d->used = 0;
	d->q = (struct virtq){.mem = &d->mem, .kick_fd = d->kick, .call = call, .call_arg = d,
		.features = (d->dev->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX) & ~c->without};
	d->q.ring = (struct virtio_ring){.enabled = true, .size = DRV_QUEUE, .desc = 0x1000, .avail = 0x2000, .used = 0x3000};
	assert(!virtq_start(&d->q, 0, &e));
	assert(!d->dev->ops->start(d->dev, 0, &d->q));
}

void drv_stop(struct drv *d)
{
	d->dev->ops->stop(d->dev, 0);
	virtq_stop(&d->q);
	close(d->kick);
	close(d->call);
}

void drv_close(struct drv *d)
{
	virtio_blk_free(d->v);
	blk_close(d->blk);
	mem_fini(&d->mem);
}

static void desc(uint8_t *p, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	put_u64(p, addr);
	put_u32(p + 8, len);
	put_u16(p + 12, (uint16_t)flags);
	put_u16(p + 14, (uint16_t)next);
}

void drv_offer(struct drv *d, unsigned i, const struct seg *s, unsigned n)
{
	uint64_t table = DRV_TABLES + (uint64_t)i * DRV_TABLE;

	assert(i < DRV_QUEUE && n * 16 <= DRV_TABLE);
	for (unsigned k = 0; k < n; k++)
		desc(d->ram + table + (size_t)k * 16, s[k].addr, s[k].len, (k + 1 < n ? 1 : 0) | (s[k].write ? 2 : 0), k + 1);
	desc(d->ram + 0x1000 + (size_t)i * 16, table, n * 16, 4, 0);
	put_u16(d->ram + 0x2000 + 4 + 2 * (size_t)(d->avail % DRV_QUEUE), (uint16_t)i);
	d->avail++;
	__atomic_store_n((uint16_t *)(void *)(d->ram + 0x2002), d->avail, __ATOMIC_SEQ_CST);
}

void drv_kick(struct drv *d)
{
	uint64_t one = 1;

	assert(write(d->kick, &one, 8) == 8);
}

bool drv_poll(struct drv *d, unsigned *i)
{
	uint64_t n;

	/* where we want the next interrupt, before looking */
	__atomic_store_n((uint16_t *)(void *)(d->ram + 0x2000 + 4 + 2 * (size_t)DRV_QUEUE), d->used, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n((uint16_t *)(void *)(d->ram + 0x3002), __ATOMIC_ACQUIRE) == d->used)
		return false;
	if (read(d->call, &n, 8) < 0)
		assert(errno == EAGAIN);
	*i = get_u32(d->ram + 0x3004 + 8 * (size_t)(d->used % DRV_QUEUE));
	d->used++;
	return true;
}

unsigned drv_wait(struct drv *d)
{
	unsigned i;

	while (!drv_poll(d, &i)) {
		struct pollfd p = {.fd = d->call, .events = POLLIN};
		uint64_t n;

		/* long: whoever waits for a lost interrupt fails, whoever waits for a slow machine does not */
		assert(poll(&p, 1, 60000) == 1);
		assert(read(d->call, &n, 8) == 8);
	}
	return i;
}

void drv_header(struct drv *d, uint64_t addr, uint32_t type, uint64_t sector)
{
	put_u32(d->ram + addr, type);
	put_u32(d->ram + addr + 4, 0);
	put_u64(d->ram + addr + 8, sector);
}

void drv_range(struct drv *d, uint64_t addr, uint64_t sector, uint32_t n, uint32_t flags)
{
	put_u64(d->ram + addr, sector);
	put_u32(d->ram + addr + 8, n);
	put_u32(d->ram + addr + 12, flags);
}

void drv_request(struct drv *d, unsigned i, uint32_t type, uint64_t sector, uint64_t addr, uint32_t len)
{
	uint64_t h = DRV_HEADERS + (uint64_t)i * 64;
	struct seg s[3] = {{h, 16, false}};
	unsigned n = 1;

	drv_header(d, h, type, sector);
	d->ram[h + 16] = S_NONE;
	if (len)
		s[n++] = (struct seg){addr, len, type == T_IN || type == T_GET_ID};
	s[n++] = (struct seg){h + 16, 1, true};
	drv_offer(d, i, s, n);
}

uint8_t drv_status(const struct drv *d, unsigned i)
{
	return d->ram[DRV_HEADERS + (size_t)i * 64 + 16];
}

uint8_t drv_do(struct drv *d, uint32_t type, uint64_t sector, uint64_t addr, uint32_t len)
{
	drv_request(d, 0, type, sector, addr, len);
	drv_kick(d);
	assert(drv_wait(d) == 0);
	return drv_status(d, 0);
}
