/* SPDX-License-Identifier: MIT */
/*
 * What a virtio device is (Virtual I/O Device 1.2), whatever carries it: the same struct runs in a unit test, in a
 * fuzzer, behind the PCI transport in husk-vmm, and behind vhost-user in a process of its own.
 */
#ifndef VIRTIO_VIRTIO_H
#define VIRTIO_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

/* Device types (5) */
enum virtio_id {
	VIRTIO_ID_NET = 1,
	VIRTIO_ID_BLOCK = 2,
	VIRTIO_ID_CONSOLE = 3,
	VIRTIO_ID_RNG = 4,
	VIRTIO_ID_BALLOON = 5,
	VIRTIO_ID_GPU = 16,
	VIRTIO_ID_INPUT = 18,
	VIRTIO_ID_VSOCK = 19,
};

/* Feature bits of rings and transport (6); those of devices are below 24 and above 50 and beside their code */
#define VIRTIO_F_NOTIFY_ON_EMPTY  (1ull << 24)
#define VIRTIO_F_ANY_LAYOUT       (1ull << 27)
#define VIRTIO_F_INDIRECT_DESC    (1ull << 28)
#define VIRTIO_F_EVENT_IDX        (1ull << 29)
#define VHOST_F_PROTOCOL_FEATURES (1ull << 30) /* vhost-user's own; guests never see it */
#define VIRTIO_F_VERSION_1        (1ull << 32)
#define VIRTIO_F_ACCESS_PLATFORM  (1ull << 33)
#define VIRTIO_F_RING_PACKED      (1ull << 34)
#define VIRTIO_F_RING_RESET       (1ull << 40)
#define VHOST_F_LOG_ALL           (1ull << 26) /* vhost-user's own: mark what is written */

/* Device status (2.1) */
enum virtio_status {
	VIRTIO_S_ACKNOWLEDGE = 1,
	VIRTIO_S_DRIVER = 2,
	VIRTIO_S_DRIVER_OK = 4,
	VIRTIO_S_FEATURES_OK = 8,
	VIRTIO_S_NEEDS_RESET = 64,
	VIRTIO_S_FAILED = 128,
};

enum { VIRTIO_QUEUES = 64 /* most that a device here may have */, VIRTIO_QUEUE_MAX = 1024 /* entries */ };

struct virtq;
struct virtio_dev;

/*
 * All calls come on one thread, the transport's: the loop of a device process, or in husk-vmm whoever holds the board
 * lock. What a guest can influence is hostile: off + len lies inside config_len, and that is all that holds.
 */
struct virtio_ops {
	const char *name;
	uint16_t id; /* enum virtio_id */
	/*
	 * The device waits for kicks by itself, on a thread of its own, between start() and stop(): vq->kick_fd. Then
	 * kick() is not called. For transports that have such descriptors, which is vhost-user.
	 */
	bool own_kick;
	void (*config_read)(struct virtio_dev *d, uint32_t off, void *buf, uint32_t len);
	void (*config_write)(struct virtio_dev *d, uint32_t off, const void *buf, uint32_t len); /* or NULL */
	/* Negotiated features, before the first start(); NULL: all the same to the device */
	void (*features_set)(struct virtio_dev *d, uint64_t features);
	/*
	 * Queue q works from now on; vq stays valid until stop(q) has returned. There may be requests in it already: the
	 * transport calls kick() once afterwards (own_kick: look for yourself). 0 or -errno.
	 */
	int (*start)(struct virtio_dev *d, unsigned q, struct virtq *vq);
	/* Every request that was popped is done, or (net, console) given back unused, when this returns. */
	void (*stop)(struct virtio_dev *d, unsigned q);
	void (*kick)(struct virtio_dev *d, unsigned q); /* the driver has put something into queue q */
	void (*reset)(struct virtio_dev *d);            /* all queues are stopped; NULL: nothing to do */
};

/* Embedded in its owner, who fills in the first part. */
struct virtio_dev {
	const struct virtio_ops *ops;
	uint64_t features; /* that the device offers; the transport adds the bits of rings and transport */
	uint16_t nqueues, queue_size; /* queue_size: most entries, a power of two */
	uint32_t config_len;
	/* set by the transport: the device calls it when its configuration has changed (same thread as above) */
	void (*config_changed)(void *arg);
	void *config_changed_arg;
};

/* Where a driver has put a ring, and how far it was used. Guest addresses. */
struct virtio_ring {
	bool enabled;
	uint16_t size;
	uint64_t desc, avail, used;
};

#endif
