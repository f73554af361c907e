/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/util.h"
#include "vm/control.h"

static bool part_send(int fd, enum vmm_msg_type type, uint32_t arg, uint32_t arg2, const char *text,
	size_t len)
{
	struct vmm_msg msg = {.type = type, .arg = arg, .arg2 = arg2};

	if (fd < 0)
		return false;
	msg.len = (uint32_t)min_u64(len, VMM_TEXT_MAX);
	memcpy(msg.text, text, msg.len);
	if (send(fd, &msg, offsetof(struct vmm_msg, text) + msg.len, MSG_NOSIGNAL) >= 0)
		return true;
	log_debug("control", "supervisor is gone: %s", strerror(errno));
	return false;
}

void vmm_msg_send(int fd, enum vmm_msg_type type, uint32_t arg, uint32_t arg2, const char *text)
{
	part_send(fd, type, arg, arg2, text, strlen(text));
}

void vmm_stats_send(int fd, uint32_t id, const char *text, size_t len)
{
	size_t n;
	bool more;

	len = min_u64(len, VMM_STATS_MAX);
	do {
		n = min_u64(len, VMM_TEXT_MAX);
		more = n < len;
		if (!part_send(fd, VMM_STATS, more, id, text, n))
			return;
		text += n;
		len -= n;
	} while (more);
}
