/* SPDX-License-Identifier: MIT */
/* Operations of virtio-gpu.c: a byte, modulo the last. */
#ifndef TESTS_FUZZ_VIRTIO_GPU_H
#define TESTS_FUZZ_VIRTIO_GPU_H

enum op {
	OP_COMMAND,  /* kind (an index of gpu_kinds), then a byte for each of its words */
	OP_BYTES,    /* queue, length, bytes: a request of just these */
	OP_KICK,     /* queue */
	OP_SCRIBBLE, /* queue, place, bytes: into its rings */
	OP_CONFIG,
	OP_RESIZE,   /* head, width, height */
	OP_STOP,
	OP_START,
	OP_ANOTHER,  /* the process dies; a byte: whether its state is scribbled over */
	OPS,
};

/* A word of a command from a byte: small numbers, sides of screens, and what is at the edge of numbers */
static inline unsigned gpu_word(unsigned byte)
{
	static const unsigned edge[] = {0xffffffff, 0xfffffffe, 0x80000000, 0x7fffffff, 0x40000000, 0x10000, 65535, 8192, 4097,
		4096, 1u << 20, (1u << 21) - 4, 16384, 16385, 100000, 0x3fffffff};

	return byte < 200 ? byte : byte < 240 ? (byte - 199) * 16 : edge[byte - 240];
}

/* Type, queue, words behind the header (a backing: as many entries follow as bytes say) */
static const struct gpu_kind {
	unsigned short type;
	unsigned char queue, words;
} gpu_kinds[] = {
	{0x100, 0, 0},
	{0x101, 0, 4},
	{0x102, 0, 1},
	{0x103, 0, 6},
	{0x104, 0, 5},
	{0x105, 0, 7},
	{0x106, 0, 2},
	{0x107, 0, 1},
	{0x10a, 0, 1},
	{0x300, 1, 7},
	{0x301, 1, 4},
};

#endif
