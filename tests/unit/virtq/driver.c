/* SPDX-License-Identifier: MIT */
#undef NDEBUG
#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "driver.h"

void drv_ram(struct mem *m)
{
	static const uint64_t at[] = {0, DRV_REGION, DRV_FAR, DRV_TOP - DRV_REGION};
	int fd = memfd_create("virtq-test", MFD_CLOEXEC);

	assert(fd >= 0 && !ftruncate(fd, 8 * DRV_REGION));
	mem_init_empty(m);
	/* every other piece of the file, so that what is adjacent for the guest is not so here */
	for (unsigned i = 0; i < ARRAY_LEN(at); i++)
		assert(!mem_attach(m, at[i], DRV_REGION, fd, 2 * i * DRV_REGION, NULL));
	close(fd);
}

void drv_place(struct virtq *q, unsigned size)
{
	q->ring = (struct virtio_ring){.enabled = true, .size = (uint16_t)size, .desc = 0x1000,
		.avail = 0x1000 + 16 * size, .used = 0x4000 + 4};
}

static void call(struct virtq *q, void *arg)
{
	struct drv *d = arg;

	assert(q == &d->q);
	d->calls++;
}

void drv_init(struct drv *d, unsigned size, uint64_t features, uint16_t idx)
{
	memset(d, 0, sizeof *d);
	drv_ram(&d->mem);
	d->q = (struct virtq){.mem = &d->mem, .features = features, .kick_fd = -1, .call = call, .call_arg = d};
	drv_place(&d->q, size);
	d->avail_idx = d->used_idx = idx;
	drv_set16(d, d->q.ring.avail + 2, idx);
	drv_set16(d, d->q.ring.used + 2, idx);
	d->r.iov = d->iov;
	d->r.iov_max = virtq_iov_max(&d->q);
	assert(!virtq_start(&d->q, idx, NULL));
}

void drv_fini(struct drv *d)
{
	virtq_stop(&d->q);
	virtq_stop(&d->q);
	mem_fini(&d->mem);
}

void drv_entry(struct drv *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	uint8_t e[16];

	put_u64(e, addr);
	put_u32(e + 8, len);
	put_u16(e + 12, (uint16_t)flags);
	put_u16(e + 14, (uint16_t)next);
	assert(!mem_put(&d->mem, table + 16ull * i, e, 16));
}

void drv_desc(struct drv *d, unsigned i, uint64_t addr, uint32_t len, unsigned flags, unsigned next)
{
	drv_entry(d, d->q.ring.desc, i, addr, len, flags, next);
}

uint16_t drv_get16(const struct drv *d, uint64_t gpa)
{
	uint16_t v;

	assert(!mem_get(&d->mem, gpa, &v, 2));
	return v;
}

void drv_set16(struct drv *d, uint64_t gpa, uint16_t v)
{
	assert(!mem_put(&d->mem, gpa, &v, 2));
}

void drv_offer(struct drv *d, unsigned head)
{
	drv_set16(d, d->q.ring.avail + 4 + 2 * (d->avail_idx % d->q.ring.size), (uint16_t)head);
	drv_set16(d, d->q.ring.avail + 2, ++d->avail_idx);
}

bool drv_used(struct drv *d, uint32_t *id, uint32_t *len)
{
	uint64_t at = d->q.ring.used + 4 + 8 * (d->used_idx % d->q.ring.size);

	if (drv_get16(d, d->q.ring.used + 2) == d->used_idx)
		return false;
	d->used_idx++;
	assert(!mem_get(&d->mem, at, id, 4) && !mem_get(&d->mem, at + 4, len, 4));
	return true;
}

uint64_t drv_used_event(const struct drv *d)
{
	return d->q.ring.avail + 4 + 2ull * d->q.ring.size;
}

uint64_t drv_avail_event(const struct drv *d)
{
	return d->q.ring.used + 4 + 8ull * d->q.ring.size;
}
