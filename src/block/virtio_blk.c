/* SPDX-License-Identifier: MIT */
#include "block/virtio_blk.h"
