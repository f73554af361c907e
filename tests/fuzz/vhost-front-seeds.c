/* SPDX-License-Identifier: MIT */
/* Writes the seeds of fuzz-vhost-front into the folder that is its argument: whole conversations of good back-ends. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/util.h"
#include "vhost/proto.h"
#include "virtio/virtio.h"

static FILE *out;

static void say(uint8_t how, uint32_t request, uint32_t flags, const void *payload, uint32_t size)
{
	struct vhost_header h = {request, VHOST_VERSION | flags, size};

	assert(fputc(how, out) == how && fwrite(&h, sizeof h, 1, out) == 1);
	assert(!size || fwrite(payload, size, 1, out) == 1);
}

static void answer(uint32_t request, uint64_t v)
{
	say(0, request, VHOST_REPLY, &v, sizeof v);
}

static void begin(const char *dir, const char *name)
{
	char path[4096];

	mkdir(dir, 0777);
	snprintf(path, sizeof path, "%s/%s", dir, name);
	out = fopen(path, "wb");
	assert(out);
}

/* What hello, start and stop ask for, in their order. log: a foreign back-end. */
static void conversation(uint64_t protocol, bool log)
{
	static const uint32_t rings[] = {VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR, VHOST_SET_VRING_KICK, VHOST_SET_VRING_ENABLE};
	struct vhost_config cfg = {.size = 16};
	struct vhost_inflight in = {.mmap_size = 4096, .nqueues = 2, .queue_size = 16};
	struct vhost_range code = {0x5000, 0x1000};

	answer(VHOST_GET_FEATURES, VIRTIO_F_VERSION_1 | VHOST_F_PROTOCOL_FEATURES | VHOST_F_LOG_ALL | 0x11);
	answer(VHOST_GET_PROTOCOL_FEATURES, protocol);
	answer(VHOST_GET_QUEUE_NUM, 2);
	answer(VHOST_SET_OWNER, 0);
	answer(VHOST_SET_BACKEND_REQ_FD, 0);
	say(0, VHOST_GET_CONFIG, VHOST_REPLY, &cfg, offsetof(struct vhost_config, data) + 16);
	if (log)
		answer(VHOST_SET_LOG_BASE, 0);
	answer(VHOST_SET_FEATURES, 0);
	answer(VHOST_SET_MEM_TABLE, 0);
	if (!log)
		answer(VHOST_SET_PAGE_BITS, 0);
	say(1, VHOST_GET_INFLIGHT_FD, VHOST_REPLY, &in, sizeof in);
	answer(VHOST_SET_INFLIGHT_FD, 0);
	for (unsigned q = 0; q < 2; q++)
		for (unsigned i = 0; i < ARRAY_LEN(rings); i++)
			answer(rings[i], 0);
	for (uint32_t q = 0; q < 2; q++)
		say(0, VHOST_GET_VRING_BASE, VHOST_REPLY, &(struct vhost_vring_state){q, 7}, 8);
	answer(VHOST_RESET_DEVICE, 0);
	say(0, VHOST_GET_CONFIG, VHOST_REPLY, &cfg, offsetof(struct vhost_config, data) + 16);
	say(4, VHOST_BACK_CODE, VHOST_NEED_REPLY, &code, sizeof code);
	say(4, VHOST_BACK_CONFIG_CHANGE, 0, NULL, 0);
	say(4, 77, VHOST_NEED_REPLY, NULL, 0);
	assert(!fclose(out));
}

int main(int argc, char **argv)
{
	const uint64_t own = 1ull << VHOST_P_MQ | 1ull << VHOST_P_REPLY_ACK | 1ull << VHOST_P_BACKEND_REQ |
		1ull << VHOST_P_CONFIG | 1ull << VHOST_P_INFLIGHT_SHMFD | 1ull << VHOST_P_RESET_DEVICE;

	assert(argc == 2);
	begin(argv[1], "own");
	conversation(own | 1ull << VHOST_P_HUSK_PAGE_BITS, false);
	begin(argv[1], "foreign");
	conversation(own | 1ull << VHOST_P_LOG_SHMFD, true);
	return 0;
}
