/* SPDX-License-Identifier: MIT */
/*
 * vhost-user messages (QEMU docs/interop/vhost-user.rst is the specification): numbers, layouts, and sending and
 * receiving one of them over a stream socket. Both sides are hostile to each other.
 */
#ifndef VHOST_PROTO_H
#define VHOST_PROTO_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum vhost_request { /* front-end to back-end */
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_RESET_OWNER = 4,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_LOG_BASE = 6,
	VHOST_SET_LOG_FD = 7,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_SET_VRING_ERR = 14,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_SET_BACKEND_REQ_FD = 21,
	VHOST_GET_CONFIG = 24,
	VHOST_SET_CONFIG = 25,
	VHOST_GET_INFLIGHT_FD = 31,
	VHOST_SET_INFLIGHT_FD = 32,
	VHOST_RESET_DEVICE = 34,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
	VHOST_SET_STATUS = 39,
	VHOST_GET_STATUS = 40,
	/*
	 * husk's own, offered as a protocol feature: a read-only descriptor of the page bits (mem.h), of as many bytes
	 * as guest RAM has pages, in the order of the memory table. A back-end that got it asks VHOST_BACK_CODE, and waits,
	 * before it publishes a used entry for a request that wrote to a page with MEM_PG_CODE.
	 */
	VHOST_SET_PAGE_BITS = 1000,
};

enum vhost_back_request { /* back-end to front-end, on the back-end's channel */
	VHOST_BACK_CONFIG_CHANGE = 2,
	/*
	 * husk's own: struct vhost_range; the answer (VHOST_NEED_REPLY, u64 0) comes when no translation of it is left.
	 * A front-end answers at any time, also while it waits for a reply itself: a back-end that is to stop a ring
	 * finishes its requests first, which may ask.
	 */
	VHOST_BACK_CODE = 1000,
};

enum {
	VHOST_VERSION = 1,
	VHOST_VERSION_MASK = 3,
	VHOST_REPLY = 4,
	VHOST_NEED_REPLY = 8,
};

/* Protocol features, by bit number */
enum {
	VHOST_P_MQ = 0,
	VHOST_P_LOG_SHMFD = 1,
	VHOST_P_REPLY_ACK = 3,
	VHOST_P_MTU = 4,
	VHOST_P_BACKEND_REQ = 5,
	VHOST_P_CONFIG = 9,
	VHOST_P_BACKEND_SEND_FD = 10,
	VHOST_P_INFLIGHT_SHMFD = 12,
	VHOST_P_RESET_DEVICE = 13,
	VHOST_P_CONFIGURE_MEM_SLOTS = 15,
	VHOST_P_STATUS = 16,
	VHOST_P_HUSK_PAGE_BITS = 62, /* husk's own: far from what the specification will number for a while */
};

enum { VHOST_FDS = 8, VHOST_REGIONS = 8, VHOST_SLOTS = 32, VHOST_CONFIG_MAX = 256 };

#define VHOST_VRING_NOFD  0x100u /* of SET_VRING_KICK, CALL, ERR: there is none, poll */
#define VHOST_VRING_INDEX 0xffu
#define VHOST_VRING_F_LOG 1u

struct vhost_header {
	uint32_t request, flags, size; /* size: of what follows */
};
struct vhost_vring_state {
	uint32_t index, num;
};
struct vhost_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail; /* addresses in the front-end's memory (user_addr) */
	uint64_t log;               /* guest address of the used ring, for the log */
};
struct vhost_region {
	uint64_t gpa, size, user_addr, mmap_offset;
};
struct vhost_memory {
	uint32_t nregions, padding;
	struct vhost_region region[VHOST_REGIONS];
};
struct vhost_mem_reg {
	uint64_t padding;
	struct vhost_region region;
};
struct vhost_log {
	uint64_t size, offset;
};
struct vhost_config {
	uint32_t offset, size, flags;
	uint8_t data[VHOST_CONFIG_MAX];
};
struct vhost_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t nqueues, queue_size;
	uint32_t padding;
};
struct vhost_range {
	uint64_t gpa, len;
};

union vhost_payload {
	uint64_t u64;
	struct vhost_vring_state state;
	struct vhost_vring_addr addr;
	struct vhost_memory memory;
	struct vhost_mem_reg mem_reg;
	struct vhost_log log;
	struct vhost_config config;
	struct vhost_inflight inflight;
	struct vhost_range range;
};

struct vhost_msg {
	struct vhost_header h;
	union vhost_payload p;
	int fds[VHOST_FDS]; /* nfds of them, owned by who holds the message */
	unsigned nfds;
};

const char *vhost_request_name(uint32_t request); /* "SET_VRING_KICK", or a number as words; for messages */

/* Sends header, h.size bytes of payload, and borrows fds. Waits at most timeout_ms (-1: for ever). 0 or -errno. */
int vhost_send(int sock, const struct vhost_msg *m, int timeout_ms);
/*
 * Receives one message; its descriptors are close-on-exec and the caller's. 1, 0 at the end of the stream, -EAGAIN
 * when timeout_ms passed before its first byte, -ETIMEDOUT in the middle, -EPROTO for what is no message (payload too long,
 * wrong version, too many descriptors: closed), or -errno.
 */
int vhost_recv(int sock, struct vhost_msg *m, int timeout_ms);
void vhost_msg_close(struct vhost_msg *m); /* closes the descriptors that are left in it (>= 0) */

#endif
