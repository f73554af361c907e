/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "mem/mem.h"

static int region_add(struct mem *m, uint64_t gpa, uint64_t len, uint64_t off, struct err *e)
{
	struct mem_region *r = &m->region[m->nregions];
	void *p = mmap(
		NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->fd, (off_t)off);

	if (p == MAP_FAILED)
		return err_set(e, errno, "cannot map %" PRIu64 " MiB of guest memory: %s",
			len / MIB, strerror(errno));
	/* Best effort: without huge pages guests run, only a little slower. */
	madvise(p, len, MADV_HUGEPAGE);
	*r = (struct mem_region){
		.gpa = gpa, .len = len, .host = p, .fd_off = off, .first_page = m->npages};
	m->npages += len / MEM_PAGE;
	m->nregions++;
	return 0;
}

int mem_init(struct mem *m, uint64_t size, struct err *e)
{
	uint64_t low = min_u64(size, MEM_LOW_MAX);
	int rc;

	*m = (struct mem){.fd = -1};
	if (size < MIB || size % MEM_PAGE || size > (1ull << 40))
		return err_set(e, EINVAL,
			"guest memory of %" PRIu64 " bytes is not possible: choose "
			"1 MiB to 1 TiB, a multiple of 4 KiB",
			size);
	m->fd = memfd_create("husk-ram", MFD_CLOEXEC);
	if (m->fd < 0)
		return err_set(e, errno, "memfd_create: %s", strerror(errno));
	if (ftruncate(m->fd, (off_t)size)) {
		rc = err_set(e, errno, "cannot make %" PRIu64 " MiB of guest memory: %s",
			size / MIB, strerror(errno));
		goto fail;
	}
	rc = region_add(m, 0, low, 0, e);
	if (!rc && size > low)
		rc = region_add(m, 4 * GIB, size - low, low, e);
	if (rc)
		goto fail;
	m->page_bits = mmap(NULL, m->npages, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->page_bits == MAP_FAILED) {
		m->page_bits = NULL;
		rc = err_set(e, errno, "cannot map the page bits: %s", strerror(errno));
		goto fail;
	}
	return 0;
fail:
	mem_fini(m);
	return rc;
}

void mem_fini(struct mem *m)
{
	for (unsigned i = 0; i < m->nregions; i++)
		munmap(m->region[i].host, m->region[i].len);
	if (m->page_bits)
		munmap(m->page_bits, m->npages);
	if (m->fd >= 0)
		close(m->fd);
	*m = (struct mem){.fd = -1};
}

uint64_t mem_size(const struct mem *m)
{
	return m->npages * MEM_PAGE;
}

uint64_t mem_low_end(const struct mem *m)
{
	return m->nregions ? m->region[0].len : 0;
}

static const struct mem_region *region_of(const struct mem *m, uint64_t gpa)
{
	for (unsigned i = 0; i < m->nregions; i++)
		if (gpa - m->region[i].gpa < m->region[i].len)
			return &m->region[i];
	return NULL;
}

void *mem_at(const struct mem *m, uint64_t gpa, uint64_t len)
{
	const struct mem_region *r = region_of(m, gpa);

	if (!r || len > r->len - (gpa - r->gpa))
		return NULL;
	return r->host + (gpa - r->gpa);
}

uint64_t mem_page(const struct mem *m, uint64_t gpa)
{
	const struct mem_region *r = region_of(m, gpa);

	return r ? r->first_page + (gpa - r->gpa) / MEM_PAGE : UINT64_MAX;
}

static bool in_ram(const struct mem *m, uint64_t gpa, uint64_t len)
{
	while (len) {
		const struct mem_region *r = region_of(m, gpa);
		uint64_t n;

		if (!r)
			return false;
		n = min_u64(len, r->len - (gpa - r->gpa));
		gpa += n;
		len -= n;
	}
	return true;
}

/* Calls fn for each host piece of the range. */
static int pieces(const struct mem *m, uint64_t gpa, uint64_t len,
	void (*fn)(void *host, size_t n, size_t off, void *arg), void *arg)
{
	size_t off = 0;

	if (!in_ram(m, gpa, len))
		return -EFAULT;
	while (len) {
		const struct mem_region *r = region_of(m, gpa);
		size_t n = (size_t)min_u64(len, r->len - (gpa - r->gpa));

		fn(r->host + (gpa - r->gpa), n, off, arg);
		gpa += n;
		len -= n;
		off += n;
	}
	return 0;
}

static void piece_get(void *host, size_t n, size_t off, void *dst)
{
	memcpy((char *)dst + off, host, n);
}

static void piece_put(void *host, size_t n, size_t off, void *src)
{
	memcpy(host, (const char *)src + off, n);
}

static void piece_zero(void *host, size_t n, size_t off, void *unused)
{
	(void)off;
	(void)unused;
	memset(host, 0, n);
}

int mem_get(const struct mem *m, uint64_t gpa, void *dst, size_t len)
{
	return pieces(m, gpa, len, piece_get, dst);
}

int mem_put(const struct mem *m, uint64_t gpa, const void *src, size_t len)
{
	return pieces(m, gpa, len, piece_put, (void *)(size_t)src);
}

int mem_zero(const struct mem *m, uint64_t gpa, uint64_t len)
{
	return pieces(m, gpa, len, piece_zero, NULL);
}
