/* SPDX-License-Identifier: MIT */
/* A driver of the GPU in the same process, with the protocol as Linux' header has it, and a viewer at each head. */
#ifndef TESTS_VIRTIO_GPU_GUEST_H
#define TESTS_VIRTIO_GPU_GUEST_H

#include <linux/virtio_gpu.h>

#include "../virtio_devices/driver.h"
#include "display/scanout.h"
#include "virtio/gpu.h"

enum { CONTROL, CURSOR, GUEST_RAM = 64 << 20, GUEST_ANSWER = DRV_DATA + (512 << 10), GUEST_FB = 4 << 20 };

struct guest {
	struct mem mem;
	struct drv d;
	struct virtio_dev *dev;
	unsigned nheads;
	int fd[SCANOUT_HEADS];
	struct scanout *out[SCANOUT_HEADS];
	struct scanout_view *view[SCANOUT_HEADS];
	struct virtio_gpu_ctrl_hdr answer; /* of the last command */
	uint32_t next_flags;               /* of the next one, and its fence */
	uint64_t next_fence;
};

/* Memory and scanouts, then guest_device(): 640x480, c without heads. */
void guest_init(struct guest *g, unsigned nheads);
void guest_device(struct guest *g, const struct gpu_config *c);
void guest_fini(struct guest *g);

/* One command of len bytes, type and flags filled in: the type of the answer, whose further bytes are at GUEST_ANSWER */
uint32_t guest_do(struct guest *g, unsigned q, uint32_t type, void *cmd, size_t len);
uint32_t guest_create(struct guest *g, uint32_t id, uint32_t format, uint32_t w, uint32_t h);
uint32_t guest_unref(struct guest *g, uint32_t id);
uint32_t guest_scanout(struct guest *g, uint32_t head, uint32_t id, struct rect r);
uint32_t guest_flush(struct guest *g, uint32_t id, struct rect r);
uint32_t guest_transfer(struct guest *g, uint32_t id, struct rect r, uint64_t off);
uint32_t guest_attach(struct guest *g, uint32_t id, const struct virtio_gpu_mem_entry *e, uint32_t n);
uint32_t guest_attach_at(struct guest *g, uint32_t id, uint64_t gpa, uint32_t len);
uint32_t guest_detach(struct guest *g, uint32_t id);
uint32_t guest_cursor(struct guest *g, uint32_t type, uint32_t head, uint32_t id, int32_t x, int32_t y, uint32_t hot_x,
	uint32_t hot_y);
uint64_t guest_stat(struct guest *g, const char *name);

/* A resource of B8G8R8X8 with its memory at gpa, transferred */
void guest_picture(struct guest *g, uint32_t id, uint32_t w, uint32_t h, uint64_t gpa);
/* Another colour for each pixel of a picture at gpa, and the same numbers once more */
void guest_paint(struct guest *g, uint64_t gpa, uint32_t w, uint32_t h, uint32_t seed);
uint32_t guest_colour(uint32_t x, uint32_t y, uint32_t seed);
/* Does head show w x h, with the pixels in r those of a picture so painted, at x, y? */
bool guest_shows(struct guest *g, unsigned head, uint32_t w, uint32_t h, struct rect r, uint32_t x, uint32_t y, uint32_t seed);
bool guest_dark(struct guest *g, unsigned head);

#endif
