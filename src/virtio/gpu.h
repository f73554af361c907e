/* SPDX-License-Identifier: MIT */
/*
 * GPU device (5.7): 2D, several scanouts, EDID, hardware cursor. Pictures go to scanouts (display/scanout.h), which are
 * borrowed. All calls on the transport's thread.
 */
#ifndef VIRTIO_GPU_H
#define VIRTIO_GPU_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "display/input.h"
#include "display/scanout.h"
#include "virtio/virtio.h"

enum { GPU_QUEUE = 256, GPU_STATE = 4 << 20 };

struct gpu_config {
	struct scanout *head[SCANOUT_HEADS];
	unsigned nheads;                      /* 1 to SCANOUT_HEADS; the first is on at the beginning, others when wished for */
	uint32_t w, h;                        /* preferred size of the first */
	uint64_t memory_max;                  /* bytes of pictures on the host, for all resources; 0: 256 MiB */
	uint16_t queue_size;                  /* 0: GPU_QUEUE */
	/*
	 * NULL, or GPU_STATE bytes, zeroes at first, that outlive the process (a shared memfd): what the driver has made. A device
	 * that is made with it goes on where another one was when it died, also in the middle of a command.
	 */
	void *state;
};

int gpu_new(struct virtio_dev **d, const struct gpu_config *c, struct err *e);
void gpu_free(struct virtio_dev *d); /* NULL is harmless */
/* A viewer wants another size, or a head on or off: tells the driver, which may follow. Sizes are checked. 0 or -EINVAL */
int gpu_resize(struct virtio_dev *d, const struct resize_wish *w);
/* "name value" lines; bytes written, cut at len */
size_t gpu_stats(const struct virtio_dev *d, char *buf, size_t len);

enum { GPU_EDID = 128, GPU_EDID_SIDE = 4095 };
/*
 * EDID 1.4 of a monitor of w x h as preferred mode at 60 Hz (VESA E-EDID A2), physical size for 96 dots per inch. Sides
 * are cut to GPU_EDID_SIDE, which is what its fields can hold.
 */
void edid_make(uint8_t edid[GPU_EDID], uint32_t w, uint32_t h, unsigned number);

#endif
