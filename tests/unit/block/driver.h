/* SPDX-License-Identifier: MIT */
/* A disk and, in front of it, what a driver does: requests of any shape, one or many at a time. */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/blk.h"
#include "block/virtio_blk.h"
#include "virtio/virtq.h"

enum { DRV_RAM = 32 << 20, DRV_QUEUE = 64 };
/* Guest addresses: the ring, per request a header, a table of descriptors and a status, then memory for data. */
enum { DRV_TABLES = 0x10000, DRV_TABLE = 0x2000, DRV_HEADERS = 0x100000, DRV_DATA = 0x200000 };
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2, S_NONE = 0xaa };
#define F_RO (1ull << 5)
#define F_FLUSH (1ull << 9)
#define F_DISCARD (1ull << 13)

struct drv {
	struct blk *blk;
	struct virtio_blk *v;
	struct virtio_dev *dev;
	struct mem mem;
	struct virtq q;
	uint8_t *ram;
	int kick, call;
	uint16_t avail, used;
};

struct drv_config {
	struct blk_config blk;
	unsigned seg_max, size_max, nqueues;
	uint64_t without; /* features that the driver does not take */
	bool nonblocking; /* the kick descriptor */
};

struct seg {
	uint64_t addr;
	uint32_t len;
	bool write;
};

int drv_open(struct drv *d, const struct drv_config *c, struct err *e);
void drv_start(struct drv *d, const struct drv_config *c);
void drv_stop(struct drv *d);
void drv_close(struct drv *d);

/* Chain i (below DRV_QUEUE) of these segments, offered; an indirect table of descriptors. */
void drv_offer(struct drv *d, unsigned i, const struct seg *s, unsigned n);
void drv_kick(struct drv *d);
/* Waits for one to be done: its number. */
unsigned drv_wait(struct drv *d);
bool drv_poll(struct drv *d, unsigned *i);
/* A request of the usual shape, header and status apart; offered. */
void drv_request(struct drv *d, unsigned i, uint32_t type, uint64_t sector, uint64_t addr, uint32_t len);
uint8_t drv_status(const struct drv *d, unsigned i);
/* The same, and waits for it: the status. */
uint8_t drv_do(struct drv *d, uint32_t type, uint64_t sector, uint64_t addr, uint32_t len);
void drv_header(struct drv *d, uint64_t addr, uint32_t type, uint64_t sector);
/* One range of a discard or a write of zeroes, at addr */
void drv_range(struct drv *d, uint64_t addr, uint64_t sector, uint32_t n, uint32_t flags);

/* A file of that size without a name in the build's temporary folder; of random bytes when seed is not 0 */
int drv_file(uint64_t size, unsigned seed);
uint32_t drv_random(uint64_t *state);
/* For blk_config: opens once more what fd is */
int drv_again(int fd, const struct blk_config *c);

#endif
