/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "mem/mem.h"

static int region_add(struct mem *m, uint64_t gpa, uint64_t len, int fd, uint64_t off, struct err *e)
{
	struct mem_region *r = &m->region[m->nregions];
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)off);

	if (p == MAP_FAILED)
		return err_set(e, errno, "cannot map %" PRIu64 " MiB of guest memory: %s",
			len / MIB, strerror(errno));
	*r = (struct mem_region){
		.gpa = gpa, .len = len, .host = p, .fd_off = off, .first_page = m->npages};
	m->npages += len / MEM_PAGE;
	m->nregions++;
	return 0;
}

/* Shared memory that is len bytes long for ever: who it is given to cannot cut it off under our feet. */
static int sealed_memfd(const char *name, uint64_t len, struct err *e)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), code;

	if (fd < 0)
		return err_set(e, errno, "memfd_create: %s", strerror(errno));
	if (!ftruncate(fd, (off_t)len) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	code = errno;
	close(fd);
	return err_set(e, code, "cannot make %" PRIu64 " MiB of guest memory: %s", len / MIB, strerror(code));
}

int mem_init(struct mem *m, uint64_t size, struct err *e)
{
	return mem_init_framebuffer(m, size, 0, 0, e);
}

int mem_init_framebuffer(struct mem *m, uint64_t size, uint64_t fb_gpa, uint64_t fb_len, struct err *e)
{
	uint64_t low = min_u64(size, MEM_LOW_MAX);
	int rc;

	mem_init_empty(m);
	if (size < MIB || size % MEM_PAGE || size > (1ull << 40))
		return err_set(e, EINVAL,
			"guest memory of %" PRIu64 " bytes is not possible: choose "
			"1 MiB to 1 TiB, a multiple of 4 KiB",
			size);
	if (fb_len % MEM_PAGE || fb_len / MEM_PAGE > MEM_FRAMEBUFFER_PAGES)
		return err_set(e, EINVAL, "a framebuffer of %" PRIu64 " bytes is not possible", fb_len);
	rc = m->fd = sealed_memfd("husk-ram", size + fb_len, e);
	if (rc >= 0)
		rc = m->bits_fd = sealed_memfd("husk-page-bits", (size + fb_len) / MEM_PAGE, e);
	if (rc >= 0)
		rc = region_add(m, 0, low, m->fd, 0, e);
	if (!rc && size > low)
		rc = region_add(m, 4 * GIB, size - low, m->fd, low, e);
	if (!rc && fb_len) {
		m->watch_page = m->npages;
		m->watch_npages = fb_len / MEM_PAGE;
		rc = region_add(m, fb_gpa, fb_len, m->fd, size, e);
	}
	if (rc)
		goto fail;
	if (fb_len)
		m->region[m->nregions - 1].framebuffer = true;
	/* Best effort: without huge pages guests run, only a little slower. */
	for (unsigned i = 0; i < m->nregions; i++)
		madvise(m->region[i].host, m->region[i].len, MADV_HUGEPAGE);
	m->page_bits = mmap(NULL, m->npages, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, m->bits_fd, 0);
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

void mem_init_empty(struct mem *m)
{
	*m = (struct mem){.fd = -1, .bits_fd = -1};
}

int mem_attach(struct mem *m, uint64_t gpa, uint64_t len, int fd, uint64_t off, struct err *e)
{
	struct stat st;

	if (m->nregions == MEM_REGIONS)
		return err_set(e, ENOSPC, "more than %d memory regions", MEM_REGIONS);
	if (!len || gpa + len < gpa || off + len < off || (gpa | len | off) % MEM_PAGE)
		return err_set(e, EINVAL, "memory region of 0x%" PRIx64 " bytes at 0x%" PRIx64 ": no whole pages",
			len, gpa);
	for (unsigned i = 0; i < m->nregions; i++)
		if (gpa < m->region[i].gpa + m->region[i].len && m->region[i].gpa < gpa + len)
			return err_set(e, EEXIST, "memory region at 0x%" PRIx64 " overlaps another", gpa);
	/* what lies behind the file's end is SIGBUS */
	if (fstat(fd, &st) || (S_ISREG(st.st_mode) && (uint64_t)st.st_size < off + len))
		return err_set(e, EINVAL, "memory region at 0x%" PRIx64 " is longer than its file", gpa);
	return region_add(m, gpa, len, fd, off, e);
}

int mem_detach(struct mem *m, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < m->nregions; i++) {
		struct mem_region *r = &m->region[i];

		if (r->gpa != gpa || r->len != len)
			continue;
		munmap(r->host, r->len);
		m->npages -= len / MEM_PAGE;
		memmove(r, r + 1, (m->nregions - i - 1) * sizeof *r);
		m->nregions--;
		for (; i < m->nregions; i++)
			m->region[i].first_page -= len / MEM_PAGE;
		return 0;
	}
	return -ENOENT;
}

void mem_fini(struct mem *m)
{
	for (unsigned i = 0; i < m->nregions; i++)
		munmap(m->region[i].host, m->region[i].len);
	if (m->page_bits)
		munmap(m->page_bits, m->npages);
	if (m->fd >= 0)
		close(m->fd);
	if (m->bits_fd >= 0)
		close(m->bits_fd);
	mem_init_empty(m);
}

uint64_t mem_size(const struct mem *m)
{
	return (m->npages - m->watch_npages) * MEM_PAGE;
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

uint64_t mem_gpa(const struct mem *m, const void *host)
{
	const uint8_t *p = host;

	for (unsigned i = 0; i < m->nregions; i++)
		if ((uintptr_t)p - (uintptr_t)m->region[i].host < m->region[i].len)
			return m->region[i].gpa + (uint64_t)(p - m->region[i].host);
	return UINT64_MAX;
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
