/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/util.h"
#include "vm/control.h"

void vmm_msg_send(int fd, enum vmm_msg_type type, uint32_t arg, uint32_t arg2, const char *text)
{
	struct vmm_msg msg = {.type = type, .arg = arg, .arg2 = arg2};

	if (fd < 0)
		return;
	msg.len = (uint32_t)min_u64(strlen(text), VMM_TEXT_MAX);
	memcpy(msg.text, text, msg.len);
	if (send(fd, &msg, offsetof(struct vmm_msg, text) + msg.len, MSG_NOSIGNAL) < 0)
		log_debug("control", "supervisor is gone: %s", strerror(errno));
}
