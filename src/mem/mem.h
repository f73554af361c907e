/* SPDX-License-Identifier: MIT */
/*
 * Guest physical memory: RAM regions backed by one memfd, mapped once into this process.
 * Everything outside them is a device or nothing. The map is fixed before vCPUs run, so all
 * lookups are lock-free and may be done from any thread. A device process has the same struct over the
 * descriptors it was given (mem_attach), and changes it only while its queues are stopped.
 */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { MEM_PAGE = 4096, MEM_REGIONS = 32, MEM_FRAMEBUFFER_PAGES = 4096 /* at most */ };

struct mem_region {
	uint64_t gpa, len; /* bytes, both multiples of MEM_PAGE */
	uint8_t *host;
	uint64_t fd_off; /* where it starts in its file */
	uint64_t first_page; /* number of its first page, counting RAM pages only */
	bool framebuffer; /* see mem_init_framebuffer() */
};

/*
 * Per RAM page, indexed by mem_page(): bits set by engines and devices with atomic operations.
 * DIRTY is the dirty log (screen, migration); CODE means some engine holds or is about to make
 * translations of it; CODE_SYNCED that every vCPU has given up writing to it unnoticed.
 */
enum { MEM_PG_CODE = 1, MEM_PG_DIRTY = 2, MEM_PG_CODE_SYNCED = 4 };

struct mem {
	int fd;      /* sealed: nobody who gets it can make it shorter; -1 in a device process */
	int bits_fd; /* of page_bits; -1 in a device process */
	unsigned nregions;
	struct mem_region region[MEM_REGIONS];
	uint64_t npages;
	uint8_t *page_bits; /* npages bytes; NULL in a device process that was not given them */
	uint64_t watch_page, watch_npages; /* page numbers of the framebuffer; 0, 0: none */
};

/*
 * Allocates size bytes (a multiple of MEM_PAGE, at least 1 MiB) of lazily filled memory and lays it
 * out as a PC does: low part from 0 to at most MEM_LOW_MAX, the rest from 4 GiB on.
 */
#define MEM_LOW_MAX 0xc0000000ull
int mem_init(struct mem *m, uint64_t size, struct err *e);
/*
 * The same, and a framebuffer of fb_len bytes at fb_gpa, in the PCI window: as memory to CPUs and devices, but no RAM that
 * a kernel is told of, and not counted by mem_size(). fb_len 0: none.
 */
int mem_init_framebuffer(struct mem *m, uint64_t size, uint64_t fb_gpa, uint64_t fb_len, struct err *e);
void mem_fini(struct mem *m);

/* A map without regions, and adding one of another process' to it: fd is borrowed. 0 or -errno with words. */
void mem_init_empty(struct mem *m);
int mem_attach(struct mem *m, uint64_t gpa, uint64_t len, int fd, uint64_t off, struct err *e);
int mem_detach(struct mem *m, uint64_t gpa, uint64_t len); /* exactly one that was attached, or -ENOENT */

uint64_t mem_size(const struct mem *m);    /* bytes of RAM in all, the framebuffer not among them */
uint64_t mem_low_end(const struct mem *m); /* end of the RAM that starts at 0 */

/* Host address of [gpa, gpa + len) for bulk data; NULL unless all of it is RAM of one region. */
void *mem_at(const struct mem *m, uint64_t gpa, uint64_t len);
/* Number of the RAM page that holds gpa, for page_bits; UINT64_MAX when it is not RAM. */
uint64_t mem_page(const struct mem *m, uint64_t gpa);
/* The guest address of a host address that mem_at() gave; UINT64_MAX when it is none. */
uint64_t mem_gpa(const struct mem *m, const void *host);
/* Copies; any range that lies in RAM, regions may be crossed. 0 or -EFAULT (then nothing is done). */
int mem_get(const struct mem *m, uint64_t gpa, void *dst, size_t len);
int mem_put(const struct mem *m, uint64_t gpa, const void *src, size_t len);
int mem_zero(const struct mem *m, uint64_t gpa, uint64_t len);

#endif
