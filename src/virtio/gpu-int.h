/* SPDX-License-Identifier: MIT */
/* What the files of the GPU share: the protocol (Virtual I/O Device 1.2, 5.7.6), resources, the state that survives. */
#ifndef VIRTIO_GPU_INT_H
#define VIRTIO_GPU_INT_H

#include <stdbool.h>
#include <stdint.h>

#include "mem/mem.h"
#include "virtio/gpu.h"
#include "virtio/virtq.h"

#define GPU_F_EDID (1ull << 1)

enum gpu_command {
	GPU_GET_DISPLAY_INFO = 0x100,
	GPU_RESOURCE_CREATE_2D,
	GPU_RESOURCE_UNREF,
	GPU_SET_SCANOUT,
	GPU_RESOURCE_FLUSH,
	GPU_TRANSFER_TO_HOST_2D,
	GPU_RESOURCE_ATTACH_BACKING,
	GPU_RESOURCE_DETACH_BACKING,
	GPU_GET_EDID = 0x10a,
	GPU_UPDATE_CURSOR = 0x300,
	GPU_MOVE_CURSOR,
};

enum gpu_answer {
	GPU_OK = 0x1100,
	GPU_OK_DISPLAY_INFO,
	GPU_OK_EDID = 0x1104,
	GPU_ERR_UNSPEC = 0x1200,
	GPU_ERR_OUT_OF_MEMORY,
	GPU_ERR_INVALID_SCANOUT,
	GPU_ERR_INVALID_RESOURCE,
	GPU_ERR_INVALID_CONTEXT,
	GPU_ERR_INVALID_PARAMETER,
};

/* Names say the bytes in memory, first to last: B8G8R8A8 is 0xAARRGGBB in a little-endian word, which is ours. */
enum gpu_format {
	GPU_B8G8R8A8 = 1,
	GPU_B8G8R8X8 = 2,
	GPU_A8R8G8B8 = 3,
	GPU_X8R8G8B8 = 4,
	GPU_R8G8B8A8 = 67,
	GPU_X8B8G8R8 = 68,
	GPU_A8B8G8R8 = 121,
	GPU_R8G8B8X8 = 134,
};

enum { GPU_FLAG_FENCE = 1, GPU_EVENT_DISPLAY = 1, GPU_WIRE_HEADS = 16, GPU_WIRE_EDID = 1024 };

struct gpu_header {
	uint32_t type, flags;
	uint64_t fence;
	uint32_t context;
	uint8_t ring, padding[3];
};

struct gpu_display_info {
	struct gpu_header h;
	struct {
		struct rect r;
		uint32_t enabled, flags;
	} head[GPU_WIRE_HEADS];
};

struct gpu_edid_info {
	struct gpu_header h;
	uint32_t size, padding;
	uint8_t edid[GPU_WIRE_EDID];
};

struct gpu_wire_entry {
	uint64_t gpa;
	uint32_t len, padding;
};

/* A request but for the entries of a backing; the names of the members say which. */
union gpu_request {
	struct gpu_header h;
	struct {
		struct gpu_header h;
		uint32_t id, padding;
	} unref, detach;
	struct {
		struct gpu_header h;
		uint32_t id, format, width, height;
	} create;
	struct {
		struct gpu_header h;
		struct rect r;
		uint32_t head, id;
	} scanout;
	struct {
		struct gpu_header h;
		struct rect r;
		uint32_t id, padding;
	} flush;
	struct {
		struct gpu_header h;
		struct rect r;
		uint64_t off;
		uint32_t id, padding;
	} transfer;
	struct {
		struct gpu_header h;
		uint32_t id, n;
	} attach;
	struct {
		struct gpu_header h;
		uint32_t head, padding;
	} edid;
	struct {
		struct gpu_header h;
		uint32_t head, x, y, padding;
		uint32_t id, hot_x, hot_y, padding2;
	} cursor;
};
_Static_assert(sizeof(struct gpu_header) == 24 && sizeof(union gpu_request) == 56, "as in the specification");
_Static_assert(sizeof(struct gpu_display_info) == 408 && sizeof(struct gpu_edid_info) == 1056, "as well");

/*
 * GPU_RESOURCES, GPU_ENTRIES: most pictures, and pieces of guest memory behind one of them: a page each for the largest
 * picture that there is. Linux has a handful of pictures.
 */
enum { GPU_RESOURCES = 1024, GPU_ENTRIES = 16384 };

/* Guest memory behind a resource, one entry after the other: at says where in it. The last one is the end and no more. */
struct gpu_piece {
	uint64_t gpa, at;
};

struct gpu_res {
	uint32_t id, format, w, h;
	unsigned slot;
	uint32_t *px;            /* w * h, no gaps: ARGB in our order, the top byte as the guest left it */
	struct gpu_piece *piece; /* NULL: no backing; npieces + 1 */
	uint32_t npieces;
	uint64_t charged, charged_backing; /* of the memory for all */
};

static inline bool gpu_inside(const struct gpu_res *res, struct rect r)
{
	return r.w <= res->w && r.x <= res->w - r.w && r.h <= res->h && r.y <= res->h - r.h;
}

struct gpu_head {
	struct scanout *out;
	struct gpu_res *res; /* NULL: off */
	struct rect r;       /* of the resource, inside it */
	struct surface s;    /* r.w by r.h */
	bool whole;          /* all of it is to be shown when the commands are done */
	uint32_t w, h;       /* what the viewer wishes; 0: off */
	uint32_t hot_x, hot_y;
};

struct gpu {
	struct virtio_dev dev;
	struct virtq *vq[2]; /* NULL: stopped */
	struct iovec *iov;
	unsigned iov_max;
	struct gpu_head head[SCANOUT_HEADS];
	unsigned nheads;
	uint32_t events;
	uint64_t memory, memory_max;
	/* Resources by slot; id 0: free. From nslots on all are. */
	uint32_t id[GPU_RESOURCES];
	struct gpu_res *res[GPU_RESOURCES];
	unsigned nslots, nres;
	struct gpu_state *state;
	bool restore; /* what is in state is still to be made */
	struct {
		uint64_t commands, errors, transferred, shown, cursors, events, restored, lost;
	} n;
};

/*
 * gpu_res.c: resources. enum gpu_answer; mem is the guest's memory now: what a backing names is looked up at each use,
 * since the map may change and guests may lie.
 */
struct gpu_res *gpu_res_find(const struct gpu *g, uint32_t id);
unsigned gpu_res_slot(const struct gpu *g); /* the first free one, or GPU_RESOURCES */
enum gpu_answer gpu_res_new(struct gpu *g, unsigned slot, uint32_t id, uint32_t format, uint32_t w, uint32_t h,
	struct gpu_res **res);
void gpu_res_free(struct gpu *g, struct gpu_res *res);
/*
 * A backing in three steps: begin() for n entries, put() each, end(). put() after an error does nothing, and end() says
 * which it was; then the resource is as before.
 */
struct gpu_backing {
	struct gpu *g;
	struct gpu_res *res;
	const struct mem *mem;
	struct gpu_piece *piece;
	uint32_t n, max;
	enum gpu_answer answer;
};
void gpu_backing_begin(struct gpu_backing *b, struct gpu *g, struct gpu_res *res, const struct mem *mem, uint32_t n);
void gpu_backing_put(struct gpu_backing *b, uint64_t gpa, uint64_t len);
enum gpu_answer gpu_backing_end(struct gpu_backing *b);
void gpu_backing_free(struct gpu *g, struct gpu_res *res);
/* The pixels of r from guest memory at off bytes into the backing, with the resource's stride */
enum gpu_answer gpu_transfer(struct gpu *g, struct gpu_res *res, const struct mem *mem, struct rect r, uint64_t off);

/* gpu.c: r of res from now on; res NULL: off. Nothing changes unless it is GPU_OK. */
enum gpu_answer gpu_head_show(struct gpu *g, unsigned head, struct gpu_res *res, struct rect r);

/*
 * gpu_state.c: what survives the process. All of these do nothing without state. They come after what they tell of has been
 * done, free() of a resource and its backing before.
 */
void gpu_state_open(struct gpu *g, void *state); /* wishes and events are set; the rest by restore() */
void gpu_state_restore(struct gpu *g, const struct mem *mem);
void gpu_state_clear(struct gpu *g);             /* resources and scanouts */
void gpu_state_res(struct gpu *g, const struct gpu_res *res);
void gpu_state_res_free(struct gpu *g, const struct gpu_res *res);
void gpu_state_backing(struct gpu *g, const struct gpu_res *res);
void gpu_state_backing_free(struct gpu *g, const struct gpu_res *res);
void gpu_state_show(struct gpu *g, unsigned head); /* what it shows */
void gpu_state_head(struct gpu *g, unsigned head); /* the rest of a head, and the events */

#endif
