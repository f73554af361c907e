/* SPDX-License-Identifier: MIT */
/* The first byte of an input of virtio-local.c, and of its operations, modulo the last of each. */
#ifndef TESTS_FUZZ_VIRTIO_LOCAL_H
#define TESTS_FUZZ_VIRTIO_LOCAL_H

enum { DEVICE_RNG, DEVICE_BALLOON, DEVICE_CONSOLE, DEVICES };
enum op {
	OP_START,
	OP_STOP,
	OP_ADD,
	OP_KICK,
	OP_SCRIBBLE,
	OP_CONFIG_READ,
	OP_CONFIG_WRITE,
	OP_CONTROL,
	OP_HOST,
	OPS,
};

#endif
